"""A training in a folder: what it leaves, how it goes on, and what it refuses. In this process, on one thread."""

import json
import os
import re
import shutil
from dataclasses import replace

import pytest
import torch

from minidiff import generator
from minidiff.checkpoints import load_network, save_weights
from minidiff.data import moons
from minidiff.networks import MLP, initialised
from minidiff.schedules import cosine
from minidiff.training import EMA, batches, denoising_objective, fresh_batches, train, warmup_cosine
from minidiff.workshop import commands, runs, subjects
from minidiff.workshop.display import trim_log
from minidiff.workshop.pace import Plan
from minidiff.workshop.runs import Wish, assembled, load_run, on_device, plan_of, train_in
from minidiff.workshop.snapshots import load_snapshot, restore, save_snapshot
from minidiff.workshop.subjects import SUBJECTS, recipe_of
from minidiff.workshop.workers import Workers
from tests.cases import PlugPulled, same_weights, weights_of
from tests.processes import bits_of, card_of, finished, steps_of
from tests.workshop.conftest import STEPS, noisy_images

CPU = torch.device("cpu")

# --- what a run leaves -----------------------------------------------------------------------------------------------


def test_a_run_leaves_weights_state_card_log_and_pictures(whole):
    folder, result = whole
    names = {path.name for path in folder.iterdir()}
    pictures = {f"samples-{step:06d}.png" for step in (80, 150, 230, 300)}
    states = {"state.safetensors", "state-before.safetensors"}
    assert names == {"weights.safetensors", "card.json", "log.jsonl", ".lock", *states, *pictures}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    card = card_of(folder)
    assert card["subject"] == "moons" and card["steps made"] == STEPS and card["recipe"]["seed"] == 3
    assert card["architecture"] == {"network": "MLP", "dimension": 2, "width": 128, "layers": 3, "classes": 0}
    assert (
        card["command"]
        == f"python -m minidiff train moons --steps {STEPS} --batch 64 --lr 0.005 --seed 3 --precision float32"
    )
    assert result.stdout == "" and result.stderr.endswith(f"trained: {folder}\n")


def test_the_log_has_a_line_for_every_ten_steps(whole):
    folder, _ = whole
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10, STEPS + 1, 10))
    names = ["step", "loss", "gradient norm", "learning rate", "samples per second", "seconds", "threads"]
    assert all(list(line) == names for line in lines)
    assert lines[-1]["learning rate"] == 0 and max(line["learning rate"] for line in lines) == pytest.approx(
        0.005, rel=0.1
    )
    assert {line["threads"] for line in lines} == {1}
    assert all(0 < line["loss"] < 2 and line["samples per second"] > 0 for line in lines)


def test_a_run_is_the_course_s_own_training(whole, one_thread):
    """Written out with the functions that the notebooks use, the weights are the same to the last bit."""
    folder, _ = whole
    net = initialised(MLP, generator(3))
    ema, objective = EMA(net, 0.999), denoising_objective(cosine(), "v")
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0, fused=True)
    data = fresh_batches(moons, batch_size=64, steps=STEPS, seed=3)
    schedule = warmup_cosine(optimizer, steps=STEPS, warmup=30)
    list(train(net, data, objective, optimizer, generator=generator(3, 2), schedule=schedule, ema=ema))
    assert same_weights(load_network(folder)[0], weights_of(ema.net))


# --- cut off, damaged, complete ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_wherever_the_plug_is_pulled_in_the_last_save_resume_mends_it(name, tmp_path, monkeypatch, one_thread, capsys):
    """The last of twelve steps, at each touch of the disk in turn: `--resume` then leaves what a whole run does."""
    arguments = ["train", "moons", "--steps", "12", "--batch", "8", "--out"]
    whole = tmp_path / "whole"
    assert commands.main([*arguments, str(whole)]) == 0
    real, pulled = getattr(os, name), 0
    for touch in range(20):
        folder, left = tmp_path / str(touch), [None]

        def last_save(snapshot_folder, snapshot, left=left, touch=touch):
            if snapshot.record["step"] == 12:
                left[0] = touch
            save_snapshot(snapshot_folder, snapshot)

        def touched(*where, left=left):
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0:
                    raise PlugPulled
            return real(*where)

        with monkeypatch.context() as patched:
            patched.setattr(runs, "save_snapshot", last_save)
            patched.setattr(os, name, touched)
            try:
                commands.main([*arguments, str(folder)])
                break
            except PlugPulled:
                pulled += 1
        assert commands.main(["train", "moons", "--out", str(folder), "--resume"]) == 0
        assert bits_of(folder) == bits_of(whole) and card_of(folder)["steps made"] == 12
        assert {path.name for path in whole.iterdir()} - {path.name for path in folder.iterdir()} == set()
    assert pulled > 3


def test_damaged_weights_of_a_complete_run_are_written_again(whole, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    for name in ("weights.safetensors", "card.json"):
        (folder / name).write_bytes(b"damaged")
        assert commands.main(["sample", "--checkpoint", str(folder), "--out", str(tmp_path / "x.npz")]) == 1
        assert "is damaged" in capsys.readouterr().err
        assert commands.main(["train", "moons", "--out", str(folder), "--resume"]) == 0
        assert bits_of(folder) == bits_of(whole[0])


def test_garbage_in_the_log_is_dropped(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    with (folder / "log.jsonl").open("ab") as file:
        file.write(b'[]\n5\nnull\n{"a": 1}\n{"step": "x"}\n\xff\xfe\n{"step": 3')
    trim_log(folder, STEPS)
    assert (folder / "log.jsonl").read_bytes() == (whole[0] / "log.jsonl").read_bytes()


def test_a_training_goes_on_on_another_kind_of_device(whole, tmp_path, capsys):
    """As if it had begun on a GPU, whose generator has a state of 16 bytes."""
    snapshot = load_snapshot(whole[0], pytest.fail)
    recipe = recipe_of(snapshot.record)
    foreign = snapshot._replace(
        tensors={**snapshot.tensors, "generator": torch.zeros(16, dtype=torch.uint8)},
        record={**snapshot.record, "device": "cuda"},
    )
    mended = on_device(foreign, recipe, CPU, Workers())
    assert capsys.readouterr().err == "the training began on cuda and goes on on cpu, with other noise\n"
    training = assembled(recipe, plan_of(snapshot), CPU)
    restore(training, mended)
    expected = generator(recipe.seed, 2, STEPS)
    assert torch.equal(torch.rand(3, generator=training.generator), torch.rand(3, generator=expected))
    assert on_device(snapshot, recipe, CPU, Workers()) is snapshot


def test_a_damaged_state_is_passed_over_with_a_line_that_says_so(whole, tmp_path, capsys):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    content = bytearray((folder / "state.safetensors").read_bytes())
    content[len(content) // 2] ^= 4
    (folder / "state.safetensors").write_bytes(content)
    before = load_snapshot(folder, lambda line: None).record["step"]
    assert before < STEPS
    result = finished("train", "moons", "--out", folder, "--resume")
    assert result.returncode == 0
    first = result.stderr.splitlines()[0]
    assert first.startswith(
        f"{folder / 'state.safetensors'} is damaged (its SHA-256 is not the one it was written with)"
    )
    assert first.endswith(f"going on from the one before it, {folder / 'state-before.safetensors'}")
    assert bits_of(folder) == bits_of(whole[0]) and steps_of(folder) == steps_of(whole[0])

    for name in ("state.safetensors", "state-before.safetensors"):
        (folder / name).write_bytes(b"")
    assert commands.main(["train", "moons", "--out", str(folder), "--resume"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no whole one is left, so begin again in another folder" in said


def test_a_finished_run_says_so(whole, monkeypatch, capsys):
    folder, _ = whole
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert commands.main(["train", "moons", "--out", str(folder), "--resume"]) == 0
    assert f"is complete: all {STEPS} steps are made" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# --- what goes wrong -------------------------------------------------------------------------------------------------


BROKEN = {
    "exploding": ("1e4", "400"),
    "exploding at once": ("10", "300"),
    "not a number": ("1e30", "400"),
    "not a number after the only step": ("1e39", "1"),
}


@pytest.mark.parametrize(("rate", "steps"), BROKEN.values(), ids=BROKEN)
def test_a_loss_that_explodes_stops_the_run_and_leaves_a_good_checkpoint(rate, steps, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["train", "moons", "--batch", "64", "--steps", steps, "--lr", rate, "--out", str(folder)]
    assert commands.main(arguments) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"minidiff: (the loss explodes: .* at step \d+|training broke down at step \d+: )", line)
    assert "ower the learning rate" in line and line.endswith(f"{folder}; train again into another folder")
    snapshot = load_snapshot(folder, pytest.fail)
    assert all(bool(value.isfinite().all()) for value in snapshot.tensors.values() if value.is_floating_point())


def test_one_loss_that_stands_out_is_no_explosion():
    runs.check_loss(5, [0.9, 0.9, 8.7, 0.9, 0.9])
    runs.check_loss(5, [0.9, 80.0, 8.7, 0.9, 0.9])
    with pytest.raises(
        FloatingPointError, match=r"the loss explodes: 8.7 at step 5, where a network that predicts nothing"
    ):
        runs.check_loss(5, [0.9, 80.0, 8.7, 9.9, 0.9])


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--precision", "bfloat16"], "add --resume to go on"),
        (["--resume", "--precision", "bfloat16"], "--precision must be float32, as when"),
        ([], "holds a training at step 300 of 300: add --resume to go on with it, or choose another folder"),
        (["--resume", "--seed", "4"], "--seed must be 3, as when the training in"),
        (["--resume", "--lr", "0.1"], "--lr must be 0.005, as when"),
        (["--resume", "--batch", "65"], "--batch must be 64, as when"),
    ],
)
def test_a_folder_is_not_used_for_something_else(whole, more, line, monkeypatch, capsys):
    assert commands.main(["train", "moons", "--out", str(whole[0]), *more]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1


def test_a_shifted_seed_is_noticed(whole, monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_SEED", "1")
    assert commands.main(["train", "moons", "--out", str(whole[0]), "--resume"]) == 2
    assert "MINIDIFF_SEED must be 0, as when" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["log.jsonl", "weights.safetensors"])
def test_what_lies_in_the_folder_is_not_written_over(name, tmp_path, capsys):
    (tmp_path / name).write_text("my precious notes")
    assert commands.main(["train", "moons", "--out", str(tmp_path)]) == 2
    assert "holds weights or a log, and no training to go on with" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "my precious notes"


def test_a_file_in_the_folder_s_place_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert commands.main(["train", "moons", "--out", str(tmp_path / "file")]) == 2
    assert "--out must be a folder, but" in capsys.readouterr().err


# --- longer than it was meant to be ----------------------------------------------------------------------------------

MNIST = ["train", "mnist", "--batch", "4", "--precision", "float32"]  # its learning rate does not fall


def test_a_training_whose_rate_stays_goes_on_to_more_steps_as_if_it_had_been_asked_for_at_once(
    small_world, one_thread, tmp_path, capsys
):
    """Eleven steps, then six more, and three more, end with the bits of twenty. Pictures are drawn on the way."""
    at_once, longer = tmp_path / "at once", tmp_path / "longer"
    assert commands.main([*MNIST, "--steps", "20", "--out", str(at_once)]) == 0
    assert commands.main([*MNIST, "--steps", "11", "--out", str(longer)]) == 0
    for steps in ("17", "20"):
        assert commands.main(["train", "mnist", "--out", str(longer), "--resume", "--steps", steps]) == 0
    assert bits_of(longer) == bits_of(at_once)
    assert card_of(longer)["recipe"] == card_of(at_once)["recipe"] and card_of(longer)["steps made"] == 20
    assert card_of(longer)["command"] == card_of(at_once)["command"]
    assert {"samples-000011.png", "samples-000017.png", "samples-000020.png"} < {path.name for path in longer.iterdir()}
    capsys.readouterr()
    assert commands.main(["train", "mnist", "--out", str(longer), "--resume", "--steps", "19"]) == 2
    expected = f"minidiff: --steps must be at least 20, since so many are made in {longer}, but is 19\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("option", [["--steps", "301"], ["--steps", "299"], ["--minutes", "7"]])
def test_a_training_whose_rate_falls_does_not_go_on_to_more(option, whole, capsys):
    name, value = option
    assert commands.main(["train", "moons", "--out", str(whole[0]), "--resume", *option]) == 2
    was = "300" if name == "--steps" else "left out"
    assert capsys.readouterr().err == (
        f"minidiff: {name} must be {was}, as when the training in {whole[0]} began, since its learning rate falls to 0 "
        f"at the end, but is {value}: choose another folder\n"
    )


def test_what_was_asked_for_at_the_beginning_may_be_said_again(whole, capsys):
    again = ["--steps", "300", "--batch", "64", "--seed", "3", "--lr", "0.005", "--precision", "float32"]
    assert commands.main(["train", "moons", "--out", str(whole[0]), "--resume", *again]) == 0
    assert "is complete: all 300 steps are made" in capsys.readouterr().err


# --- from weights alone ----------------------------------------------------------------------------------------------


def only_weights(folder):
    """Take away all but what notebook 13 leaves: weights and their card."""
    for path in folder.iterdir():
        if path.name not in ("weights.safetensors", "card.json"):
            path.unlink()


def test_weights_alone_go_on_with_their_own_data_and_a_fresh_optimizer(small_world, one_thread, tmp_path, capsys):
    """Against three steps written out with the functions of the notebooks."""
    folder = tmp_path / "mine"
    assert commands.main([*MNIST, "--steps", "11", "--out", str(folder)]) == 0
    only_weights(folder)
    net, card = load_network(folder)
    net.requires_grad_(True).train()
    ema, recipe = EMA(net, 0.999), recipe_of(card)
    ema.steps = 11
    x, y = noisy_images("train")
    steps = batches(x, y, batch_size=4, steps=14, seed=0, start=11)
    optimizer = recipe.optimize(net)
    rising = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / 100)
    how = {"generator": generator(0, 2, 11), "schedule": rising, "ema": ema, "start": 11}
    list(train(net, steps, recipe.loss(), optimizer, **how))
    capsys.readouterr()
    assert commands.main(["train", "mnist", "--out", str(folder), "--resume", "--steps", "14"]) == 0
    assert "holds weights at step 11, and no more: going on from them" in capsys.readouterr().err
    assert card_of(folder)["steps made"] == 14
    assert same_weights(load_network(folder)[0], weights_of(ema.net))
    assert commands.main(["train", "mnist", "--out", str(folder), "--resume", "--steps", "17"]) == 0
    assert "holds weights" not in capsys.readouterr().err  # by now there is a whole snapshot


def test_weights_alone_whose_rate_has_fallen_do_not_go_on(whole, tmp_path, capsys):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    only_weights(folder)
    before = bits_of(folder)
    assert commands.main(["train", "moons", "--out", str(folder), "--resume"]) == 2
    said = capsys.readouterr().err
    assert "holds weights whose learning rate fell to 0 at step 300" in said and said.count("\n") == 1
    assert bits_of(folder) == before


@pytest.mark.parametrize("made", [None, "900", -1, True])
def test_weights_alone_must_say_how_many_steps_they_took(made, small_world, one_thread, tmp_path, capsys):
    folder = tmp_path / "mine"
    assert commands.main([*MNIST, "--steps", "2", "--out", str(folder)]) == 0
    only_weights(folder)
    net, card = load_network(folder)
    save_weights(folder, net, {**card, "steps made": made})
    assert commands.main(["train", "mnist", "--out", str(folder), "--resume"]) == 2
    assert f"must say how many steps were made, but says {made!r}" in capsys.readouterr().err


# --- minutes ---------------------------------------------------------------------------------------------------------


class Ticking:
    """A clock for a training: each step takes a while, by `seconds` of the number of steps made."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.steps = 0.0, seconds, 0
        monkeypatch.setattr(runs.time, "perf_counter", lambda: self.now)
        real = subjects.training_batches

        def ticking(*arguments, **more):
            for batch in real(*arguments, **more):
                yield batch
                self.steps += 1
                self.now += self.seconds(self.steps)

        monkeypatch.setattr(runs, "training_batches", ticking)


def test_minutes_become_steps(monkeypatch, one_thread, tmp_path, capsys):
    """By a clock that is made up. The card says the steps that were made, and the command that makes as many."""
    Ticking(monkeypatch, lambda step: 0.1)
    folder = tmp_path / "run"
    arguments = ["train", "moons", "--minutes", "0.5", "--batch", "64", "--out", str(folder)]
    assert commands.main(arguments) == 0
    said = re.match(r"of 0.5 minutes 27 seconds are left, about (\d+) steps of 0.1 s\n", capsys.readouterr().err)
    card = card_of(folder)  # two seconds went into measuring, and ten steps that came before
    made = card["steps made"]
    assert int(said[1]) == pytest.approx(270, abs=3) and made == pytest.approx(270, abs=3)
    assert made == card["recipe"]["steps"] and card["recipe"]["minutes"] == 0.5
    assert f"--steps {made} " in card["command"] and card["seconds"] == pytest.approx(30, abs=0.2)
    rates = [json.loads(line)["learning rate"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert rates[-1] < 0.01 * max(rates)
    assert commands.main([*arguments, "--resume"]) == 0
    assert "is complete" in capsys.readouterr().err and card_of(folder) == card


def test_minutes_are_those_of_all_sittings_and_may_become_more(monkeypatch, small_world, one_thread, tmp_path, capsys):
    """A training whose rate stays: six seconds, then three more; then, by steps, three more."""
    Ticking(monkeypatch, lambda step: 0.2)
    folder = tmp_path / "run"
    assert commands.main([*MNIST, "--minutes", "0.1", "--out", str(folder)]) == 0
    first = card_of(folder)
    assert first["seconds"] == pytest.approx(6, abs=0.21)
    go_on = ["train", "mnist", "--out", str(folder), "--resume"]
    assert commands.main([*go_on, "--minutes", "0.1"]) == 0
    assert card_of(folder) == first
    assert commands.main([*go_on, "--minutes", "0.15"]) == 0
    second = card_of(folder)
    assert second["steps made"] - first["steps made"] == pytest.approx(15, abs=1)
    assert second["recipe"]["minutes"] == 0.15 and second["seconds"] == pytest.approx(9, abs=0.21)
    more = second["steps made"] + 3
    assert commands.main([*go_on, "--steps", str(more)]) == 0
    third = card_of(folder)
    assert third["steps made"] == third["recipe"]["steps"] == more and third["recipe"]["minutes"] is None


@pytest.mark.parametrize("slow", [0.3, 1, 4, 30])
def test_fault_17_minutes_are_kept_though_the_machine_changes(slow, monkeypatch, one_thread, tmp_path, capsys):
    """A minute by a clock that is made up: a step takes 0.2 s, and so many times as long after 100 steps."""
    clock = Ticking(monkeypatch, lambda step: 0.2 * (slow if step > 100 else 1))
    assert commands.main(["train", "moons", "--minutes", "1", "--batch", "8", "--out", str(tmp_path / "run")]) == 0
    assert 54 < clock.now < 66
    steps = card_of(tmp_path / "run")["steps made"]
    assert steps_of(tmp_path / "run")[-1] == steps and (tmp_path / "run" / f"samples-{steps:06d}.png").exists()
    assert len(list((tmp_path / "run").glob("*.png"))) == (2 if slow == 30 else 4)
    logged = [json.loads(line)["learning rate"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert logged[-1] < (0.02 if slow < 10 else 0.9) * 0.005


def test_a_training_that_the_clock_ends_between_two_reports_is_saved(monkeypatch, one_thread, tmp_path, capsys):
    """The last step takes all the time that is left: no report comes after it, and nothing is lost."""
    for last in (91, 95, 100, 101):
        with monkeypatch.context() as patched:
            clock = Ticking(patched, lambda step, last=last: 0.1 if step < last else 300)
            folder = tmp_path / str(last)
            assert commands.main(["train", "moons", "--minutes", "0.25", "--batch", "8", "--out", str(folder)]) == 0
            assert clock.now > 15
        made = card_of(folder)["steps made"]
        assert load_snapshot(folder, pytest.fail).record["step"] == made == steps_of(folder)[-1]
        assert Plan(*load_snapshot(folder, pytest.fail).record["plan"]).total == made


def test_a_training_that_is_faster_at_its_very_end_is_complete(monkeypatch, one_thread, tmp_path, capsys):
    """There would be time for more steps when the last one is reported, but no batches come any more. Of these moments
    at which the machine becomes twice as fast, some lie behind the last full report."""
    for fast in (52, 54, 57):
        with monkeypatch.context() as patched:
            Ticking(patched, lambda step, fast=fast: 0.1 if step < fast else 0.05)
            how = ["--minutes", "0.105", "--batch", "8", "--out", str(tmp_path / str(fast))]
            assert commands.main(["train", "moons", *how]) == 0, fast


# --- threads and devices ---------------------------------------------------------------------------------------------


def test_a_run_puts_the_number_of_threads_back(tmp_path, monkeypatch, capsys):
    """Also where it ends with an error, and where a training is only measured."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        asked = []
        monkeypatch.setattr(runs, "candidates", lambda most: asked.append(most) or [1, most])
        assert commands.main(["train", "moons", "--minutes", "0.04", "--batch", "8", "--out", str(tmp_path / "a")]) == 0
        assert torch.get_num_threads() == 2 and asked == [2, 2]
        wrong = ["train", "moons", "--steps", "50", "--lr", "1e30", "--batch", "8", "--out", str(tmp_path / "b")]
        assert commands.main(wrong) == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    threads = {json.loads(line)["threads"] for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()}
    assert threads <= {1, 2}


def test_several_workers_share_a_batch_that_nobody_asked_for(tmp_path, one_thread):
    """512 points are no multiple of 3, and 510 are."""
    recipe = runs.new_recipe(SUBJECTS["moons"], Wish(steps=3), None, CPU, 3)
    assert recipe.batch_size == 510 and runs.new_recipe(SUBJECTS["moons"], Wish(), None, CPU, 1).batch_size == 512


def test_a_card_s_command_keeps_every_digit_of_the_rate(tmp_path, one_thread, capsys):
    recipe = replace(SUBJECTS["moons"].recipe, learning_rate=0.012345678)
    assert "--lr 0.012345678 " in runs.command_of(recipe)
    pictures = replace(recipe, source="/my pictures", shape=(1, 16, 16))
    assert "train '/my pictures' --size 16 --grey --steps " in runs.command_of(pictures)


def test_the_package_s_own_function_trains_too(tmp_path, one_thread, capsys):
    """Without the command line, as a lab may call it."""
    how = {"device": CPU, "save_seconds": 0.001}
    assert train_in(tmp_path / "run", SUBJECTS["moons"], Wish(steps=20, batch_size=8), **how)
    assert load_run(tmp_path / "run")[1].steps == 20
