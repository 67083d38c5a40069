"""Cards and snapshots that the first edition wrote: they are read, and their trainings go on.

first_edition.json holds what it wrote on 2026-11-29: the cards and the snapshots' records of three trainings that were
cut off at step 20, a digest of the names, types and shapes of the snapshots' tensors, and two shipped cards. The
trainings themselves were then finished by this edition, with the same bits as by that one.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minidiff.checkpoints import load_network, save_weights
from minidiff.digits import digit_network
from minidiff.workshop import commands, runs
from minidiff.workshop.runs import assembled, load_run, plan_of
from minidiff.workshop.snapshots import Snapshot, load_snapshot, save_snapshot, snapshot_of
from minidiff.workshop.subjects import SUBJECTS, recipe_of
from minidiff.workshop.workers import Refused
from tests.cases import same_weights, weights_of
from tests.processes import bits_of, card_of, steps_of

OLD = json.loads(Path(__file__).with_name("first_edition.json").read_text(encoding="utf-8"))
CUT_OFF = ("moons", "digits", "mnist")
CPU = torch.device("cpu")


@pytest.fixture
def cut_off(tmp_path, small_world, one_thread, monkeypatch, capsys):
    """A function: a folder as the first edition left it at step 20, and one of a training that nothing disturbed."""

    def make(name):
        whole, cut, old = tmp_path / "whole", tmp_path / "cut", OLD[name]["record"]
        recipe = old["recipe"]
        numbers = [f"--{option}={recipe[key]}" for option, key in OPTIONS.items()]
        assert commands.main(["train", name, *numbers, "--out", str(whole), "--save-seconds", "0.0001"]) == 0
        state = load_snapshot(whole, pytest.fail)
        shutil.copytree(whole, cut)
        (cut / "state.safetensors").unlink()
        at_20 = snapshot_at(20, name, tmp_path / "again", numbers, monkeypatch)
        assert digest(at_20) == OLD[name]["tensors"] and digest(state) == OLD[name]["tensors"]
        (cut / "state-before.safetensors").unlink()
        save_snapshot(cut, Snapshot(at_20.tensors, {**at_20.record, **old, "training": at_20.record["training"]}))
        shutil.copy(whole / "log.jsonl", cut / "log.jsonl")
        for picture in cut.glob("*.png"):
            picture.unlink()
        record = load_snapshot(cut, pytest.fail).record
        assert all(record[key] == old[key] for key in old if key != "training") and "plan" not in record
        save_weights(
            cut, load_run(whole)[0], {key: value for key, value in OLD[name]["card"].items() if key != "sha256"}
        )
        return cut, whole

    return make


OPTIONS = {"steps": "steps", "batch": "batch_size", "lr": "learning_rate", "seed": "seed", "precision": "precision"}


def snapshot_at(step, name, folder, numbers, monkeypatch):
    """The snapshot of a training at a step."""
    kept = []

    def keep(training, record):
        made = snapshot_of(training, record)
        if record["step"] == step:
            kept.append(made)
            raise KeyboardInterrupt
        return made

    with monkeypatch.context() as patched:
        patched.setattr(runs, "snapshot_of", keep)
        commands.main(["train", name, *numbers, "--out", str(folder), "--save-seconds", "0.0001"])
    (snapshot,) = kept
    tensors = {name: value.clone() for name, value in snapshot.tensors.items()}
    record = {key: value for key, value in snapshot.record.items() if key != "plan"}
    return Snapshot(tensors, record)


def digest(snapshot):
    names = [[name, str(value.dtype), list(value.shape)] for name, value in sorted(snapshot.tensors.items())]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


@pytest.mark.parametrize("name", CUT_OFF)
def test_a_training_of_the_first_edition_goes_on_to_the_same_bits(name, cut_off):
    """Its record says nothing of a plan, of an architecture or of an optimizer. Afterwards card and state do."""
    cut, whole = cut_off(name)
    assert plan_of(load_snapshot(cut, pytest.fail)).total == OLD[name]["record"]["recipe"]["steps"]
    assert commands.main(["train", name, "--out", str(cut), "--resume"]) == 0
    assert bits_of(cut) == bits_of(whole) and steps_of(cut) == steps_of(whole)
    assert recipe_of(card_of(cut)) == recipe_of(card_of(whole)) == recipe_of(load_snapshot(cut, pytest.fail).record)
    assert card_of(cut)["architecture"] == SUBJECTS[name].recipe.architecture


@pytest.mark.parametrize("name", CUT_OFF)
def test_a_card_of_the_first_edition_is_read(name, tmp_path, capsys):
    """It tells the data and no architecture: the workshop knows, `load_network` says that it does not."""
    net = SUBJECTS[name].recipe.network()
    save_weights(tmp_path / "run", net, without_digest(OLD[name]["card"]))
    same, recipe = load_run(tmp_path / "run")
    numbers = OLD[name]["card"]["recipe"]
    assert same_weights(same, weights_of(net)) and recipe.subject == name
    assert all(getattr(recipe, key) == numbers[key] for key in OPTIONS.values())
    assert (recipe.kind, recipe.falls, recipe.classes) == (numbers["kind"], numbers["falls"], numbers["classes"])
    wanted = ["--checkpoint", str(tmp_path / "run"), "--n", "2", "--steps", "2", "--out", str(tmp_path / "x.npz")]
    assert commands.main(["sample", *wanted]) == 0
    with pytest.raises(ValueError, match=r"card.json does not say which network it is: KeyError\('architecture'\)"):
        load_network(tmp_path / "run")


def without_digest(card):
    return {key: value for key, value in card.items() if key != "sha256"}


def test_a_card_of_the_first_edition_is_written_anew_where_its_training_is_resumed(cut_off):
    """Also if there is no step left to make."""
    _, whole = cut_off("moons")
    card = without_digest(OLD["moons"]["card"])
    save_weights(whole, load_run(whole)[0], {**card, "recipe": {**card["recipe"], "steps made": 40}})
    assert commands.main(["train", "moons", "--out", str(whole), "--resume"]) == 0
    assert load_network(whole)[1]["architecture"] == SUBJECTS["moons"].recipe.architecture


def test_a_shipped_card_of_the_first_edition_is_read():
    """It says of its network that it is one of MNIST, without labels, that predicts x0."""
    recipe = recipe_of(OLD["shipped"]["card"])
    today = SUBJECTS["mnist-ddpm"].recipe
    assert recipe == replace(today, subject="mnist", precision="bfloat16")
    assert {key: today.record()[key] for key in ("kind", "largest_weight", "optimizer")} == {
        "kind": "x0",
        "largest_weight": 20.0,
        "optimizer": "muon",
    }


def test_a_training_from_before_there_were_labels_goes_on_without():
    """The oldest records say nothing of labels, of what is predicted, or of whether the rate falls."""
    old = {"data": "mnist", "steps": 10, "batch_size": 4, "learning_rate": 5e-3, "decay": 0.999, "seed": 0}
    recipe = recipe_of({"recipe": {**old, "seed_shift": "0", "precision": "float32"}})
    assert (recipe.kind, recipe.largest_weight, recipe.classes, recipe.falls) == ("v", None, 0, True)
    assert recipe.label_dropout == 0 and recipe.warmup == 1 and recipe.optimizer == "muon"
    training = assembled(recipe, plan_of(Snapshot({}, {"recipe": old, "step": 0})), CPU)
    assert training.schedule.lr_lambdas[0](10) == 0
    stays = replace(recipe, falls=False)
    assert assembled(stays, plan_of(Snapshot({}, {"recipe": old})), CPU).schedule.lr_lambdas[0](10) == 1
    assert same_weights(training.net, weights_of(digit_network()))


def test_data_that_nobody_knows_are_named():
    with pytest.raises(Refused, match=r"the card must name its data, one of moons, .*, but says 'faces'"):
        recipe_of({"data": "faces", "recipe": {"steps": 3}})
