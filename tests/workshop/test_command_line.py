"""`python -m minidiff` with real processes, real signals, real terminals and full disks."""

import ast
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from minidiff import __main__ as command_line
from minidiff import recipes, runs
from minidiff.checkpoints import load_weights, save_snapshot, save_weights
from minidiff.data import digits, find_mnist, mnist, moons
from minidiff.denoisers import from_network
from minidiff.networks import MLP, initialised
from minidiff.samplers import ancestral, ddim, last
from minidiff.training import EMA, denoising_objective, fresh_batches, train, warmup_cosine
from minidiff.workshop.workers import Refused, Workers
from tests.cases import PlugPulled
from tests.processes import command, end, environment, finished, lines_of, started, wait_until

posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals as on Linux and macOS")
needs_mnist = pytest.mark.skipif(find_mnist() is None, reason="MNIST not found")

STEPS = 300
MOONS = ("train", "moons", "--batch", 64, "--seed", 3)


def steps_of(folder):
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def bits_of(folder):
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def card_of(folder):
    return json.loads((folder / "card.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed, and what it printed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = finished(*MOONS, "--steps", STEPS, "--out", folder)
    assert result.returncode == 0, result.stderr
    return folder, result


# --- what a run leaves -----------------------------------------------------------------------------------------------


def test_a_run_leaves_weights_state_card_log_and_pictures(whole):
    folder, result = whole
    names = {path.name for path in folder.iterdir()}
    pictures = {f"samples-{step:06d}.png" for step in (80, 150, 230, 300)}
    states = {"state.safetensors", "state-before.safetensors"}
    assert names == {"weights.safetensors", "card.json", "log.jsonl", ".lock", *states, *pictures}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    card = card_of(folder)
    assert card["data"] == "moons" and card["recipe"]["steps made"] == STEPS and card["recipe"]["seed"] == 3
    assert (
        card["command"]
        == f"python -m minidiff train moons --steps {STEPS} --batch 64 --lr 0.005 --seed 3 --precision float32"
    )
    assert result.stdout == "" and result.stderr.endswith(f"trained: {folder}\n")


def test_the_log_has_a_line_for_every_ten_steps(whole):
    folder, _ = whole
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10, STEPS + 1, 10))
    names = ["step", "loss", "gradient norm", "learning rate", "samples per second", "seconds"]
    assert all(list(line) == names for line in lines)
    assert lines[-1]["learning rate"] == 0 and max(line["learning rate"] for line in lines) == pytest.approx(
        0.005, rel=0.1
    )
    assert all(0 < line["loss"] < 2 and line["samples per second"] > 0 for line in lines)


def test_a_run_is_the_course_s_own_training(whole, monkeypatch, one_thread):
    """Written out with the functions that the notebooks use, the weights are the same to the last bit."""
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    folder, _ = whole
    net = initialised(MLP, runs.generator(3))
    ema, objective = EMA(net, 0.999), denoising_objective(runs.PATH, "v")
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0, fused=True)
    data = fresh_batches(moons, batch_size=64, steps=STEPS, seed=3)
    schedule = warmup_cosine(optimizer, steps=STEPS, warmup=30)
    list(train(net, data, objective, optimizer, generator=runs.generator(3, 2), schedule=schedule, ema=ema))
    saved = initialised(MLP, runs.generator(0))
    load_weights(folder, saved)
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), ema.net.parameters(), strict=True))


# --- cut off at any moment -------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("data", ["moons", "digits"])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(data, whole, tmp_path, seed):
    """Twice killed -9 at a random moment of the training, with as many saves as fit. Nothing is drawn in the runs
    themselves that depends on these moments."""
    moment, folder = random.Random(seed), tmp_path / "cut"
    options = (
        ("train", "digits", "--batch", 8, "--steps", 40, "--precision", "float32")
        if data == "digits"
        else (*MOONS, "--steps", STEPS)
    )
    expected = whole[0]
    if data == "digits":
        expected = tmp_path / "whole"
        assert finished(*options, "--out", expected).returncode == 0
    for _ in range(2):
        before = len(lines_of(folder))
        process = started(*options, "--out", folder, "--resume", "--save-seconds", 0.001)
        try:
            wait_until(lambda before=before: len(lines_of(folder)) > before)
            time.sleep(moment.uniform(0, 0.3))
        finally:
            end(process)
    assert finished(*options, "--out", folder, "--resume").returncode == 0
    assert bits_of(folder) == bits_of(expected)
    assert steps_of(folder) == steps_of(expected)


@posix
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupted_run_saves_what_it_made_and_goes_on(number, whole, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    process = started(*MOONS, "--steps", STEPS, "--save-seconds", 0.001, "--out", folder, log=log)
    try:
        wait_until(lambda: len(lines_of(folder)) >= 3)
        process.send_signal(getattr(signal, number))
        assert process.wait(timeout=30) == 130
    finally:
        end(process)
    printed = log.read_text()
    assert "stopping after these steps\n" in printed
    assert printed.endswith(f"all is saved. To go on: python -m minidiff train moons --out {folder} --resume\n")
    assert "Traceback" not in printed
    made = card_of(folder)["recipe"]["steps made"]
    assert 30 <= made < STEPS and steps_of(folder) == list(range(10, made + 1, 10))
    assert finished("train", "moons", "--out", folder, "--resume").returncode == 0
    assert bits_of(folder) == bits_of(whole[0])


@posix
def test_ctrl_c_before_the_first_step_is_heard(tmp_path):
    """While the two precisions are measured: the folder is taken, no step is made. It is heard at the first report."""
    process = started("train", "digits", "--steps", 100_000, "--out", tmp_path / "run", log=tmp_path / "log")
    try:
        wait_until(lambda: (tmp_path / "run" / ".lock").exists())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        end(process)
    printed = (tmp_path / "log").read_text()
    assert "Traceback" not in printed and "stopping after these steps" in printed
    assert "stopped early; all is saved" in printed and steps_of(tmp_path / "run") == [10]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_wherever_the_plug_is_pulled_in_the_last_save_resume_mends_it(name, tmp_path, monkeypatch, one_thread, capsys):
    """The last of twelve steps, at each touch of the disk in turn: `--resume` then leaves what a whole run does."""
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    arguments = ["train", "moons", "--steps", "12", "--batch", "8", "--out"]
    whole = tmp_path / "whole"
    assert command_line.main([*arguments, str(whole)]) == 0
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
                command_line.main([*arguments, str(folder)])
                break
            except PlugPulled:
                pulled += 1
        assert command_line.main(["train", "moons", "--out", str(folder), "--resume"]) == 0
        assert bits_of(folder) == bits_of(whole) and card_of(folder)["recipe"]["steps made"] == 12
        assert {path.name for path in whole.iterdir()} - {path.name for path in folder.iterdir()} == set()
    assert pulled > 3


def test_damaged_weights_of_a_complete_run_are_written_again(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    folder = shutil.copytree(whole[0], tmp_path / "run")
    for name in ("weights.safetensors", "card.json"):
        (folder / name).write_bytes(b"damaged")
        assert command_line.main(["sample", "--checkpoint", str(folder), "--out", str(tmp_path / "x.npz")]) == 1
        assert "is damaged" in capsys.readouterr().err
        assert command_line.main(["train", "moons", "--out", str(folder), "--resume"]) == 0
        assert bits_of(folder) == bits_of(whole[0])


def test_garbage_in_the_log_is_dropped(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    with (folder / "log.jsonl").open("ab") as file:
        file.write(b'[]\n5\nnull\n{"a": 1}\n{"step": "x"}\n\xff\xfe\n{"step": 3')
    runs.trim_log(folder, STEPS)
    assert (folder / "log.jsonl").read_bytes() == (whole[0] / "log.jsonl").read_bytes()


def test_a_training_goes_on_on_another_kind_of_device(whole, tmp_path, capsys):
    """As if it had begun on a GPU, whose generator has a state of 16 bytes."""
    snapshot = runs.load_snapshot(whole[0], pytest.fail)
    recipe = runs.Recipe(**snapshot.record["recipe"])
    foreign = snapshot._replace(
        tensors={**snapshot.tensors, "generator": torch.zeros(16, dtype=torch.uint8)},
        record={**snapshot.record, "device": "cuda"},
    )
    mended = runs.on_device(foreign, recipe, torch.device("cpu"), Workers())
    assert capsys.readouterr().err == "the training began on cuda and goes on on cpu, with other noise\n"
    training = runs.assembled(recipe, torch.device("cpu"))
    runs.restore(training, mended)
    expected = runs.generator(recipe.seed, 2, STEPS)
    assert torch.equal(torch.rand(3, generator=training.generator), torch.rand(3, generator=expected))
    assert runs.on_device(snapshot, recipe, torch.device("cpu"), Workers()) is snapshot


def test_a_damaged_state_is_passed_over_with_a_line_that_says_so(whole, tmp_path, capsys):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    content = bytearray((folder / "state.safetensors").read_bytes())
    content[len(content) // 2] ^= 4
    (folder / "state.safetensors").write_bytes(content)
    before = runs.load_snapshot(folder, lambda line: None).record["step"]
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
    assert command_line.main(["train", "moons", "--out", str(folder), "--resume"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no whole one is left, so begin again in another folder" in said


def test_a_finished_run_says_so(whole, monkeypatch, capsys):
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    folder, _ = whole
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert command_line.main(["train", "moons", "--out", str(folder), "--resume"]) == 0
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
    assert command_line.main(arguments) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"minidiff: (the loss explodes: .* at step \d+|training broke down at step \d+: )", line)
    assert "ower the learning rate" in line and line.endswith(f"{folder}; train again into another folder")
    snapshot = runs.load_snapshot(folder, pytest.fail)
    assert all(bool(value.isfinite().all()) for value in snapshot.tensors.values() if value.is_floating_point())


def test_one_loss_that_stands_out_is_no_explosion():
    runs.check_loss(5, [0.9, 0.9, 8.7, 0.9, 0.9])
    runs.check_loss(5, [0.9, 80.0, 8.7, 0.9, 0.9])
    with pytest.raises(
        FloatingPointError, match=r"the loss explodes: 8.7 at step 5, where a network that says nothing"
    ):
        runs.check_loss(5, [0.9, 80.0, 8.7, 9.9, 0.9])


@posix
def test_two_runs_into_one_folder_are_refused(tmp_path, capsys):
    folder = tmp_path / "run"
    process = started(*MOONS, "--steps", 100_000, "--out", folder)
    try:
        wait_until(lambda: (folder / "log.jsonl").exists())
        for more in ([], ["--resume"]):
            assert command_line.main([*map(str, MOONS), "--out", str(folder), *more]) == 1
            expected = f"minidiff: another run is writing to {folder}: wait for it to end, or choose another folder\n"
            assert capsys.readouterr().err == expected
        assert process.poll() is None
    finally:
        end(process)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--precision", "bfloat16"], "add --resume to go on"),
        (["--resume", "--precision", "bfloat16"], "--precision must be float32, as when"),
        ([], "holds a training at step 300 of 300: add --resume to go on with it, or choose another folder"),
        (["--resume", "--seed", "4"], "--seed must be 3, as when the training in"),
        (["--resume", "--lr", "0.1"], "--lr must be 0.005, as when"),
        (["--resume", "--steps", "301"], "--steps must be 300, as when"),
        (["--resume", "--batch", "65"], "--batch must be 64, as when"),
    ],
)
def test_a_folder_is_not_used_for_something_else(whole, more, line, monkeypatch, capsys):
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    assert command_line.main(["train", "moons", "--out", str(whole[0]), *more]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1


def test_a_shifted_seed_is_noticed(whole, monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_SEED", "1")
    assert command_line.main(["train", "moons", "--out", str(whole[0]), "--resume"]) == 2
    assert "MINIDIFF_SEED must be 0, as when" in capsys.readouterr().err


def test_a_full_disk_is_said_and_what_was_saved_stays(tmp_path):
    """On a disk of 700 kB: the first state fits, a second one does not."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("no small disk can be made here")
    try:
        result = finished(*MOONS, "--steps", 100, "--out", disk / "run")
        assert result.returncode == 1 and "Traceback" not in result.stderr
        lines = result.stderr.splitlines()
        meanwhile = f"make room in {disk / 'run'}; training goes on"
        assert f"could not save at step 30 (No space left on device): {meanwhile}" in lines
        kept = f"the last good state stands in {disk / 'run'}"
        last = f"minidiff: could not save step 100 (No space left on device): {kept}"
        assert lines[-1] == last
        steps = [json.loads(line)["step"] for line in lines_of(disk / "run")]
        assert steps == sorted(set(steps)) and steps[:2] == [10, 20]
        assert runs.load_snapshot(disk / "run", pytest.fail) is not None
        assert not list(disk.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", disk], check=True)


WRONG = {
    "nothing": [],
    "no such command": ["learn"],
    "no such data": ["train", "cifar"],
    "steps 0": ["train", "moons", "--steps", "0"],
    "steps and minutes": ["train", "moons", "--steps", "5", "--minutes", "1"],
    "minutes -1": ["train", "moons", "--minutes", "-1"],
    "lr nan": ["train", "moons", "--lr", "nan"],
    "seed -1": ["train", "moons", "--seed", "-1"],
    "batch a": ["train", "moons", "--batch", "a"],
    "out of nothing": ["train", "moons", "--out", ""],
    "no such device": ["train", "moons", "--device", "tpu"],
    "no checkpoint named": ["sample", "--out", "x.npz"],
    "no such sampler": ["sample", "--checkpoint", "mnist-ddpm", "--sampler", "magic", "--out", "x.npz"],
    "no such device number": ["train", "moons", "--device", "cpu:zz"],
    "out is a folder": ["sample", "--checkpoint", "mnist-ddpm", "--out", "folder.npz"],
    "not npz": ["sample", "--checkpoint", "mnist-ddpm", "--out", "x.txt"],
    "too few to measure": ["evaluate", "--checkpoint", "mnist-ddpm", "--n", "100"],
    "too many to measure": ["evaluate", "--checkpoint", "mnist-ddpm", "--n", "5001"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_usage_is_exit_code_2_with_nothing_on_the_standard_output(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    try:
        code = command_line.main(arguments)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2 and said.out == "" and said.err
    assert [path.name for path in tmp_path.iterdir()] == ["folder.npz"]


def test_a_seed_shift_that_is_no_number_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_SEED", "abc")
    assert command_line.main(["train", "moons"]) == 2
    assert capsys.readouterr().err == "minidiff: MINIDIFF_SEED must be a whole number >= 0, but is 'abc'\n"


@pytest.mark.parametrize("name", ["log.jsonl", "weights.safetensors"])
def test_what_lies_in_the_folder_is_not_written_over(name, tmp_path, capsys):
    (tmp_path / name).write_text("my precious notes")
    assert command_line.main(["train", "moons", "--out", str(tmp_path)]) == 2
    assert "holds weights or a log, and no training to go on with" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "my precious notes"


def test_a_file_in_the_folder_s_place_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert command_line.main(["train", "moons", "--out", str(tmp_path / "file")]) == 2
    assert "--out must be a folder, but" in capsys.readouterr().err


@posix
def test_nobody_has_to_listen(tmp_path):
    """`train ... | head -1` and `evaluate ... | true`: the training goes on to its end, nothing is said."""
    shell = "set -o pipefail; {} 2>&1 | head -1"
    train_line = shell.format(" ".join(command(*MOONS, "--steps", 60, "--out", tmp_path / "run")))
    subprocess.run(["bash", "-c", train_line], capture_output=True, env=environment(), check=False)
    assert card_of(tmp_path / "run")["recipe"]["steps made"] == 60
    deaf = f"{' '.join(command('evaluate', '--checkpoint', tmp_path / 'run', '--n', 50, '--steps', 2))} | true"
    result = subprocess.run(["bash", "-c", deaf], capture_output=True, text=True, env=environment(), check=False)
    assert result.stderr == ""


def test_a_network_that_draws_nan_is_one_line(whole, monkeypatch, tmp_path, capsys):
    net, card = runs.load_run(whole[0])
    net.out.bias.fill_(float("nan"))
    monkeypatch.setattr(runs, "load_run", lambda place: (net, card))
    assert command_line.main(["sample", "--checkpoint", "x", "--out", str(tmp_path / "x.npz")]) == 1
    assert capsys.readouterr().err == "minidiff: the network in x draws NaN or infinite values: train it again\n"
    assert not (tmp_path / "x.npz").exists()


def test_a_checkpoint_that_is_not_there_is_one_line(tmp_path, capsys):
    for command_name, out in (("sample", ["--out", str(tmp_path / "x.npz")]), ("evaluate", [])):
        assert command_line.main([command_name, "--checkpoint", str(tmp_path / "nowhere"), *out]) == 1
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and "nowhere" in said.err
    assert not list(tmp_path.iterdir())


def test_the_names_on_the_command_line_are_those_of_the_package():
    assert list(command_line.DATA) == runs.DATA


def test_help_and_a_missing_package_need_nothing_else():
    """`--help` imports no PyTorch code of ours but the package itself; a missing package is a line."""
    source = ast.parse(open(command_line.__file__, encoding="utf-8").read())
    at_the_top = {node.module for node in source.body if isinstance(node, ast.ImportFrom)}
    assert not any(module.startswith("minidiff") for module in at_the_top)
    hide = "import sys; sys.modules['safetensors'] = None; from minidiff.__main__ import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", hide, "train", "moons"], capture_output=True, text=True, env=environment()
    )
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "safetensors" in result.stderr and "python -m minidiff doctor" in result.stderr


def test_the_doctor_answers():
    result = finished("doctor", "--json")
    assert result.returncode in (0, 1) and {"facts", "problems"} <= set(json.loads(result.stdout))


# --- what a person sees meanwhile ------------------------------------------------------------------------------------


@posix
def test_on_a_terminal_there_is_a_bar_with_loss_speed_and_time_left(tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 110, 0, 0))
    process = subprocess.Popen(
        command(*MOONS, "--steps", 100, "--out", tmp_path / "run"),
        stdout=theirs,
        stderr=theirs,
        env=environment(),
    )
    os.close(theirs)
    printed = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        printed += piece
    assert process.wait(timeout=60) == 0
    text = printed.decode()
    assert re.search(r"100/100 \[00:\d\d<00:00, .*step/s, loss \d\.\d{4}, \d+ samples/s\]", text), text[-400:]
    assert "step 100 of 100" not in text


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(runs.time, "monotonic", lambda: self.now)


def test_where_there_is_no_terminal_a_line_a_minute(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    recipe = runs.Recipe("moons", 1000, 64, 5e-3, 0.999, 0, "0", "float32")
    with runs.Display(recipe, 0, shown=True) as display:
        for step in range(10, 1001, 10):
            clock.now += 3
            display.show(step, 0.5, 123.4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "step 10 of 1000, loss 0.5000, 123 samples/s, 5.0 min left"
    assert [int(line.split()[1]) for line in lines] == [10, 210, 410, 610, 810, 1000]
    assert lines[-1].endswith("0.0 min left")
    with runs.Display(recipe, 0, shown=False) as display:
        display.show(10, 0.5, 1.0)
    assert capsys.readouterr().err == ""


def test_minutes_become_steps_that_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    folder = tmp_path / "run"
    assert command_line.main(["train", "moons", "--minutes", "0.05", "--batch", "64", "--out", str(folder)]) == 0
    said = re.search(r"0.05 minutes are about (\d+) steps", capsys.readouterr().err)
    made = card_of(folder)["recipe"]["steps made"]
    assert int(said[1]) == made == card_of(folder)["recipe"]["steps"] > 10
    assert command_line.main(["train", "moons", "--minutes", "7", "--out", str(folder), "--resume"]) == 0
    assert "is complete" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("cl") is None, reason="no C++ compiler")
def test_a_compiled_run_learns_the_same(whole, tmp_path):
    """torch.compile may round differently: 20 steps apart by less than 1e-4."""
    for name, more in (("plain", []), ("compiled", ["--compile"])):
        result = finished(*MOONS, "--steps", 20, "--out", tmp_path / name, *more, seconds=300)
        assert result.returncode == 0, result.stderr
    plain, compiled = (runs.load_run(tmp_path / name)[0] for name in ("plain", "compiled"))
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


# --- sample and evaluate ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sampler"), [("ancestral", ancestral), ("ddim", ddim)])
def test_sample_writes_what_the_sampler_draws(name, sampler, whole, tmp_path, monkeypatch, one_thread, capsys):
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    out = tmp_path / "new" / "x.npz"
    arguments = ["sample", "--checkpoint", str(whole[0]), "--n", "7", "--steps", "5", "--sampler", name, "--seed", "2"]
    assert command_line.main([*arguments, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: x (7, 2)\n"
    assert [path.name for path in out.parent.iterdir()] == ["x.npz"]
    with np.load(out, allow_pickle=False) as file:
        assert file.files == ["x"]
        x = file["x"]
    net, source = runs.load_run(whole[0])[0], runs.generator(2, 3, 0)
    start = runs.PATH.prior((7, 2), source)
    with torch.no_grad():
        expected = last(
            sampler(from_network(net, runs.PATH, "v"), runs.PATH, start, torch.linspace(1, 0, 6), generator=source)
        )
    np.testing.assert_array_equal(x, expected.numpy())


def test_sample_draws_from_a_shipped_checkpoint_by_its_name(tmp_path):
    result = finished("sample", "--checkpoint", "mnist-ddpm", "--n", 3, "--steps", 3, "--out", tmp_path / "x.npz")
    assert result.returncode == 0, result.stderr
    x = np.load(tmp_path / "x.npz")["x"]
    assert x.shape == (3, 1, 28, 28) and np.isfinite(x).all() and -1.6 < x.min() < -0.9


def test_evaluate_prints_distances_with_floor_and_n(whole, monkeypatch, one_thread, capsys):
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    result = finished("evaluate", "--checkpoint", whole[0], "--n", 500, "--steps", 10, "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert set(told["distances"]) == {"energy distance", "sliced Wasserstein distance"}
    for numbers in told["distances"].values():
        assert numbers["samples"] == numbers["real"] == 500
        assert numbers["value"] > 0 and numbers["ratio"] == pytest.approx(numbers["value"] / numbers["floor"])
    assert command_line.main(["evaluate", "--checkpoint", str(whole[0]), "--n", "500", "--steps", "10"]) == 0
    table = capsys.readouterr().out
    for name, numbers in told["distances"].items():
        assert re.search(
            rf"^{name} +{numbers['value']:.4g} +{numbers['floor']:.4g} +\d+\.\d +500$", table, re.MULTILINE
        )


@pytest.mark.parametrize("data", ["moons", "digits"])
def test_real_samples_are_at_the_floor_and_noise_is_not(data, make_generator):
    """The ratio of real samples lies below 2.5 in every distance; that of noise is above 3. Chance: real digits are a
    fixed split, and 2,000 points are at 2.5 floors with a probability below 1e-7 (their ratios scatter by 0.25)."""
    if data == "moons":
        real, noise = moons(2000, make_generator(0)), torch.randn(2000, 2, generator=make_generator(1))
    else:
        x = digits().x
        real = x[torch.arange(len(x)) % 3 != 2][torch.randperm(1198, generator=make_generator(0))[:250]]
        noise = torch.randn(250, 1, 8, 8, generator=make_generator(1))
    for name, measured in runs.evaluate(real, data, seed=0).items():
        assert measured.ratio < 2.5, name
        assert runs.evaluate(noise, data, seed=0)[name].ratio > 3, name


def test_principal_components_are_scikit_learn_s(make_generator):
    from sklearn.decomposition import PCA

    x = torch.randn(300, 1, 4, 4, generator=make_generator(0)) * torch.linspace(0.5, 2, 16).reshape(4, 4)
    mine = runs.principal_view(x, 5)(x[:50]).numpy()[:, ::-1]
    theirs = PCA(5).fit(x.flatten(1).numpy()).transform(x[:50].flatten(1).numpy())
    np.testing.assert_allclose(np.abs(mine), np.abs(theirs), atol=1e-3)


def test_held_out_digits_are_never_trained_on():
    train_rows = {tuple(row.tolist()) for row in runs.images("digits").x.flatten(1)}
    held_out = runs.test_images("digits")
    assert (
        len(held_out) == runs.HELD_OUT["digits"]
        and len(runs.images("digits").x) == len(runs.images("digits").y) == 1198
    )
    assert not any(tuple(row.tolist()) in train_rows for row in held_out.flatten(1))


def test_a_card_that_names_no_data_is_refused(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    card = card_of(folder)
    card["data"] = "faces"
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(Refused, match=r"card.json must name its data, one of moons, .*, but says 'faces'"):
        runs.load_run(folder)


@needs_mnist
def test_mnist_runs_on_the_command_line_too(tmp_path):
    """Eleven steps, the shipped recipe otherwise; the picture and a sample of the right shape."""
    folder = tmp_path / "run"
    assert command_line.main(["train", "mnist", "--steps", "11", "--batch", "8", "--out", str(folder)]) == 0
    assert steps_of(folder) == [10, 11] and (folder / "samples-000011.png").exists()
    net, card = runs.load_run(folder)
    assert card["data"] == "mnist" and card["recipe"]["precision"] in ("float32", "bfloat16")
    assert runs.classes_of(card) == card["recipe"]["classes"] == 10
    assert runs.kind_of(card) == card["recipe"]["kind"] == "x0"
    how = {"kind": "x0", "times": torch.linspace(1, 0, 3), "sampler": ddim, "seed": 0}
    x = runs.sample(net, "mnist", 2, torch.tensor([4, 2]), **how)
    assert x.shape == (2, 1, 28, 28)


@needs_mnist
def test_a_run_on_mnist_is_the_recipe_with_labels(tmp_path, monkeypatch, one_thread):
    """Written out with `recipes.digit_training` and the labels, the weights are the same to the last bit."""
    monkeypatch.delenv("MINIDIFF_SEED", raising=False)
    folder = tmp_path / "run"
    wanted = ["train", "mnist", "--steps", "3", "--batch", "4", "--precision", "float32", "--out", str(folder)]
    assert command_line.main(wanted) == 0
    images, same = mnist("train"), {"learning_rate": 0.01, "decay": 0.999, "label_dropout": 0.1}
    net = recipes.digit_network(0, classes=10)
    ema, running = recipes.digit_training(net, images.x, images.y, steps=3, batch_size=4, **same)
    list(running)
    saved, card = runs.load_run(folder)
    assert [card["recipe"][name] for name in ("learning_rate", "decay", "falls")] == [0.01, 0.999, False]
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), ema.net.parameters(), strict=True))


def test_a_run_from_before_there_were_labels_goes_on_without():
    old = dict(zip(runs.Recipe._fields[:8], ("mnist", 10, 4, 5e-3, 0.999, 0, "0", "float32"), strict=True))
    recipe = runs.Recipe(**old)
    training = runs.assembled(recipe, torch.device("cpu"))
    assert recipe.kind == "v" and runs.kind_of({"recipe": old}) == runs.kind_of({}) == "v"
    assert recipe.falls and training.schedule.lr_lambdas[0](10) == 0
    stays = runs.assembled(recipe._replace(falls=False), torch.device("cpu")).schedule.lr_lambdas[0]
    assert stays(0) == stays(10) == 1
    assert training.net.state_dict().keys() == recipes.digit_network().state_dict().keys()
    for a, b in zip(training.net.parameters(), recipes.digit_network().parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.fixture
def two_labels(tmp_path):
    """The folder of a network that knows the labels 0 to 9, at its random start, with labels that make a difference."""
    net = recipes.digit_network(0, classes=10)
    with torch.no_grad():
        for weight in net.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=runs.generator(1))
    save_weights(tmp_path / "run", net, {"data": "mnist", "recipe": {"classes": 10, "kind": "x0"}})
    return tmp_path / "run", net.eval().requires_grad_(False)


@pytest.mark.parametrize(("asked", "expected"), [([], [0, 1, 2]), (["--label", "7"], [7, 7, 7])])
def test_sample_draws_all_labels_in_turn_or_the_one_asked_for(asked, expected, two_labels, tmp_path, capsys):
    folder, net = two_labels
    out = tmp_path / "x.npz"
    wanted = ["sample", "--checkpoint", str(folder), "--n", "3", "--steps", "2", "--out", str(out), *asked]
    assert command_line.main(wanted) == 0
    with np.load(out, allow_pickle=False) as file:
        x, y = file["x"], file["y"]
    assert y.tolist() == expected
    source = runs.generator(0, 3, 0)
    start, denoise = runs.PATH.prior((3, 1, 28, 28), source), from_network(net, runs.PATH, "x0", torch.tensor(expected))
    alone = last(ancestral(denoise, runs.PATH, start, torch.linspace(1, 0, 3), generator=source))
    np.testing.assert_array_equal(x, alone.numpy())
    if asked:
        in_turn = from_network(net, runs.PATH, "x0", torch.arange(3))
        assert not torch.allclose(denoise(start, torch.tensor(0.5)), in_turn(start, torch.tensor(0.5)), atol=1e-3)


def test_more_samples_than_fit_into_a_chunk_keep_their_labels(two_labels, monkeypatch):
    _, net = two_labels
    asked = []
    monkeypatch.setattr(runs, "from_network", lambda net, path, kind, y: asked.append(y) or (lambda x, t: x))
    how = {"kind": "x0", "times": torch.linspace(1, 0, 2), "sampler": ddim, "seed": 0}
    runs.sample(net, "mnist", 503, runs.even_labels(503, 10), **how)
    assert [len(y) for y in asked] == [250, 250, 3]
    assert torch.equal(torch.cat(asked), torch.arange(503) % 10)


@pytest.mark.parametrize(("known", "label", "said"), [(10, "10", "the labels 0 to 9"), (0, "1", "no labels")])
def test_a_label_that_the_network_does_not_know_is_refused(known, label, said, two_labels, whole, tmp_path, capsys):
    folder = two_labels[0] if known else whole[0]
    wanted = ["sample", "--checkpoint", str(folder), "--label", label, "--out", str(tmp_path / "x.npz")]
    assert command_line.main(wanted) == 2
    expected = f"minidiff: --label must be one that the network knows, but is {label}, and it knows {said}\n"
    assert capsys.readouterr().err == expected
    assert not (tmp_path / "x.npz").exists()
