"""A folder of one's own pictures: it is trained on, drawn, and measured where it holds enough; else a clear line."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.checkpoints import load_network
from minidiff.workshop import commands
from minidiff.workshop.runs import check_same, load_run
from minidiff.workshop.subjects import of_pictures, own, recipe_of, subject_of
from minidiff.workshop.workers import Refused
from tests.cases import same_weights, weights_of
from tests.processes import bits_of, card_of, finished, steps_of

FEW = ["--steps", "3", "--batch", "8", "--precision", "float32"]


def train(folder, out, *more):
    return commands.main(["train", str(folder), *FEW, "--out", str(out), *more])


@pytest.mark.parametrize(("size", "grey", "labels"), [(None, False, 2), (16, True, 3), (12, False, 0)])
def test_a_folder_is_trained_on_and_drawn(size, grey, labels, album, tmp_path, capsys):
    """In colour or grey, at any size, with labels or without; drawn as numbers and as a picture, by each sampler."""
    folder, out = album([f"label {i}" for i in range(labels)]), tmp_path / "run"
    more = [*(["--size", str(size)] if size else []), *(["--grey"] if grey else [])]
    assert train(folder, out, *more) == 0
    side, channels, card = size or 32, 1 if grey else 3, card_of(out)
    assert card["shape"] == [channels, side, side] and card["architecture"]["classes"] == labels
    assert card["recipe"]["source"] == str(folder) and card["recipe"]["label_dropout"] == (0.1 if labels else 0)
    assert same_weights(load_network(out)[0], weights_of(load_run(out)[0]))
    assert (out / "samples-000003.png").read_bytes().startswith(b"\x89PNG")
    for sampler, name in (("ancestral", "x.png"), ("2m", "x.npz"), ("ddim", "y.npz")):
        wanted = ["--checkpoint", str(out), "--n", "4", "--steps", "2", "--sampler", sampler]
        assert commands.main(["sample", *wanted, "--out", str(tmp_path / name)]) == 0
    with np.load(tmp_path / "x.npz") as drawn:
        assert drawn["x"].shape == (4, channels, side, side) and ("y" in drawn.files) == bool(labels)
    picture = Image.open(tmp_path / "x.png")
    assert picture.mode == ("L" if grey else "RGB") and picture.size == (2 * side * (64 // side),) * 2


def test_the_notes_are_printed(album, tmp_path, capsys):
    folder = album(["cats", "dogs"])
    (folder / "notes.txt").write_text("no picture")
    assert train(folder, tmp_path / "run") == 0
    said = capsys.readouterr().err
    assert "Enlarged, since they are smaller than the size: 40 of 40 pictures" in said
    assert "Left out, since they do not end as pictures do that Pillow reads: 1 " in said and "(.txt: 1)." in said


def test_one_label_is_none(album, tmp_path, capsys):
    assert train(album(["cats"]), tmp_path / "run") == 0
    assert card_of(tmp_path / "run")["architecture"]["classes"] == 0
    assert "There are no labels, since pictures of only one subfolder are used (cats)." in capsys.readouterr().err


def test_few_pictures_make_small_batches(album, tmp_path, capsys):
    """Eighteen, of which two are for the test. Asking for more is refused."""
    folder, one = album([], n=18), ["--steps", "1", "--precision", "float32"]
    assert of_pictures(folder).recipe.batch_size == 16
    assert commands.main(["train", str(folder), *one, "--out", str(tmp_path / "a")]) == 0
    assert card_of(tmp_path / "a")["recipe"]["batch_size"] == 16
    capsys.readouterr()
    assert train(folder, tmp_path / "b", "--batch", "17") == 2
    assert "--batch must be at most 16, the number of training images, but is 17" in capsys.readouterr().err


def test_a_training_goes_on_to_the_same_bits(album, tmp_path, one_thread, capsys):
    """Its rate stays: three steps, then two more, are five. `--size` and `--grey` are said again."""
    folder, more = album(["cats", "dogs"]), ["--size", "16", "--grey"]
    assert train(folder, tmp_path / "cut", *more) == 0
    again = ["train", str(folder), *more, "--out", str(tmp_path / "cut"), "--resume", "--steps", "5"]
    assert commands.main(again) == 0
    assert commands.main([*again[:5], *FEW, "--steps", "5", "--out", str(tmp_path / "whole")]) == 0
    assert bits_of(tmp_path / "cut") == bits_of(tmp_path / "whole") and steps_of(tmp_path / "whole") == [5]
    capsys.readouterr()
    assert commands.main(["train", str(folder), "--out", str(tmp_path / "cut"), "--resume"]) == 2
    asked, held = f"{folder}, 3 x 32 x 32", f"{folder}, 1 x 16 x 16"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"minidiff: {tmp_path / 'cut'} holds a training of the pictures in {held}, not of the pictures in {asked}: "
        "choose another folder"
    )


def test_a_folder_that_has_one_more_label_is_another_one(album, tmp_path, capsys):
    folder = album(["cats", "dogs"])
    assert train(folder, tmp_path / "run") == 0
    shutil.copytree(folder / "cats", folder / "zebras")
    for file in (folder / "cats").iterdir():
        Image.open(file).rotate(90).save(folder / "zebras" / file.name)
    capsys.readouterr()
    assert commands.main(["train", str(folder), "--out", str(tmp_path / "run"), "--resume"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"minidiff: {folder} must hold pictures of 2 labels, as when the training in {tmp_path / 'run'} began, but "
        "holds 3: choose another folder for a new training"
    )


@pytest.mark.parametrize("change", ["added", "taken away", "another in its place", "renamed"])
def test_a_folder_that_has_changed_is_another_one(change, album, tmp_path, capsys):
    """Its batches would be others. What is no picture may come and go."""
    folder, out = album(["cats", "dogs"]), tmp_path / "run"
    assert train(folder, out) == 0
    again = ["train", str(folder), "--out", str(out), "--resume"]
    (folder / "notes.txt").write_text("no picture")
    assert commands.main(again) == 0
    file, other = folder / "cats" / "0.png", folder / "cats" / "new.png"
    if change in ("added", "another in its place"):
        turned = Image.open(file).rotate(90)
        turned.save(other if change == "added" else file)
    elif change == "renamed":
        file.rename(other)
    else:
        file.unlink()
    capsys.readouterr()
    assert commands.main(again) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"minidiff: {folder} must hold the same pictures, under the same names, as when the training in {out} began, "
        "but they have changed: choose another folder for a new training"
    )


def test_a_training_from_before_the_fingerprint_goes_on(album, tmp_path):
    folder = album(["cats", "dogs"])
    asked = of_pictures(folder).recipe
    check_same(tmp_path, asked, replace(asked, pictures=None))
    with pytest.raises(Refused, match="they have changed"):
        check_same(tmp_path, asked, replace(asked, pictures="0"))


# --- measured --------------------------------------------------------------------------------------------------------


def test_enough_pictures_are_measured(album, tmp_path, capsys):
    """By the directions in which they vary most, at 16 pixels; of as many as there are, half of those held out."""
    folder = album([], n=1300, side=8)
    held_out = len(of_pictures(folder, size=20).images("test").x)
    assert train(folder, tmp_path / "run", "--size", "20") == 0
    capsys.readouterr()
    assert commands.main(["evaluate", "--checkpoint", str(tmp_path / "run"), "--steps", "2", "--json"]) == 0
    ((name, measured),) = json.loads(capsys.readouterr().out)["distances"].items()
    assert name == "Frechet distance, 50 principal components" and measured["samples"] == held_out // 2 > 50
    assert measured["value"] > 0 and measured["floor"] > 0
    assert own.shrunk(torch.zeros(2, 3, 64, 64)).shape == (2, 3, 16, 16)
    assert own.shrunk(torch.zeros(2, 3, 12, 12)).shape == (2, 3, 12, 12)


def test_too_few_pictures_to_measure_are_said(album, tmp_path, capsys):
    assert train(album(["cats", "dogs"]), tmp_path / "run") == 0
    capsys.readouterr()
    assert commands.main(["evaluate", "--checkpoint", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    words = "minidiff: the data must hold at least 102 images that no training sees, to be measured by, but hold "
    assert said.startswith(words) and said.count("\n") == 1


# --- what will not do ------------------------------------------------------------------------------------------------

SIZES = {"30": "take 28 or 32", "7": "size must be a whole number >= 8, but is 7", "33": "take 32 or 36"}


@pytest.mark.parametrize(("size", "words"), SIZES.items())
def test_a_size_that_the_network_cannot_take_is_refused(size, words, album, tmp_path, capsys):
    assert train(album(), tmp_path / "run", "--size", size) == 2
    said = capsys.readouterr().err
    assert said.startswith("minidiff: --size must be") and words in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_too_few_pictures_are_said_with_what_was_met(album, tmp_path, capsys):
    folder = album([], n=5)
    assert train(folder, tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert said.startswith("minidiff: folder must hold at least 18 different pictures") and said.count("\n") == 1


def test_a_folder_that_has_gone_is_named(album, tmp_path, capsys):
    """When it is resumed, and when it is to be measured. Drawing does without."""
    folder = album(["cats", "dogs"])
    gone = shutil.move(folder, tmp_path / "pictures")
    assert train(gone, tmp_path / "run") == 0
    shutil.rmtree(gone)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        commands.main(["train", str(gone), "--out", str(tmp_path / "run"), "--resume"])
    assert stop.value.code == 2
    assert f"or a folder of pictures, but is '{gone}', which is no folder" in capsys.readouterr().err
    assert commands.main(["evaluate", "--checkpoint", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said == (
        "minidiff: the pictures that it was trained on are needed to measure it: folder must be a folder of pictures, "
        f"but {gone} does not exist. What to do: check the path\n"
    )
    with pytest.raises(Refused, match="does not exist"):
        subject_of(recipe_of(card_of(tmp_path / "run")))
    wanted = ["sample", "--checkpoint", str(tmp_path / "run"), "--n", "2", "--steps", "2"]
    assert commands.main([*wanted, "--out", str(tmp_path / "x.npz")]) == 0


def test_a_run_inside_of_its_pictures_is_refused(album, monkeypatch, capsys):
    """Its own pictures would become part of what it learns."""
    folder = album()
    monkeypatch.chdir(folder)
    assert commands.main(["train", ".", *FEW]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"minidiff: --out must lie outside of the folder of pictures, ., but is runs/{folder.name}"


def test_the_whole_of_it_on_the_command_line(album, tmp_path):
    """As a reader types it, with its name taken from the folder, and what is printed to go on."""
    folder = shutil.copytree(album(["cats", "dogs"]), tmp_path / "my pictures")
    result = finished("train", folder, *FEW, "--out", tmp_path / "runs" / "mine")
    assert result.returncode == 0 and result.stdout == "", result.stderr
    card = json.loads((tmp_path / "runs" / "mine" / "card.json").read_text())
    assert f"train '{folder}' --size 32 --steps 3 --batch 8 " in card["command"]
