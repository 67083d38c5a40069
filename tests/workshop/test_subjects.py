"""Everything that can be trained: each trains, draws and is measured; recipes come back from JSON; shipped cards."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from minidiff import generator
from minidiff.checkpoints import load_network, load_weights, save_weights
from minidiff.data import digits, moons
from minidiff.digits import digit_network, digit_training
from minidiff.networks import MLP, initialised
from minidiff.samplers import ddim
from minidiff.workshop import commands, evaluation, subjects
from minidiff.workshop.runs import load_run
from minidiff.workshop.subjects import SUBJECTS, recipe_of, subject_of
from minidiff.workshop.workers import Refused
from tests.cases import same_weights, weights_of
from tests.processes import card_of, steps_of
from tests.workshop.conftest import noisy_images

CHECKPOINTS = Path(__file__).parents[2] / "data" / "checkpoints"
ENGLISH = ("english-fifteen", "english-uniform", "english-gaussian", "english-left-to-right")
SHIPPED = (
    *("mnist-classifier", "mnist-classifier-noisy", "mnist-ddpm", "mnist-ddpm-labels", "mnist-autoencoder"),
    *("captions", "captions-judge", "mnist-4-steps", "mnist-1-step", "plane-gan", "balls", "mnist-upsampler"),
    *ENGLISH,
)
DRAWING = [name for name in SUBJECTS if SUBJECTS[name].recipe.draws]


def train(folder, name, *more):
    """A few steps of a few samples, in one precision."""
    few = ["--steps", "3", "--batch", "8", "--precision", "float32", "--out", str(folder)]
    assert commands.main(["train", name, *few, *more]) == 0


# --- each of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_trains_and_is_loaded_by_its_card(name, small_world, tmp_path, capsys):
    """From nothing, on tiny data, to a folder whose card says all that is needed to load it and to train it again."""
    train(tmp_path / "run", name)
    card = card_of(tmp_path / "run")
    usual = SUBJECTS[name].recipe
    asked = {"steps": 3, "batch_size": 8, "precision": "float32", "warmup": 0}
    assert recipe_of(card) == replace(usual, **asked)
    assert card["subject"] == name and card["steps made"] == 3 and steps_of(tmp_path / "run") == [3]
    net, seen = load_network(tmp_path / "run")
    assert seen == card and sum(value.numel() for value in net.parameters()) == card["parameters"]
    again, recipe = load_run(tmp_path / "run")
    assert same_weights(again, weights_of(net)) and recipe == recipe_of(card)
    fresh = recipe.network()
    load_weights(tmp_path / "run", fresh)
    assert same_weights(fresh, weights_of(net)) and not same_weights(recipe.network(), weights_of(net))
    assert ("result" in card) == (SUBJECTS[name].result is not None)


@pytest.mark.parametrize("name", DRAWING)
def test_every_subject_that_draws_is_drawn_and_measured(name, small_world, tmp_path, capsys):
    train(tmp_path / "run", name)
    out, shape = tmp_path / "x.npz", SUBJECTS[name].recipe.shape
    wanted = ["--checkpoint", str(tmp_path / "run"), "--steps", "2"]
    assert commands.main(["sample", *wanted, "--n", "3", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: x {(3, *shape)}\n"
    assert (tmp_path / "run" / "samples-000003.png").exists()
    assert commands.main(["evaluate", *wanted, "--n", "150", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["data"] == name and len(measured["distances"]) == (1 if name == "captions" else 2)
    assert all(each["samples"] == 150 and each["floor"] > 0 for each in measured["distances"].values())


RESULTS = {
    "mnist-classifier": {"test accuracy"},
    "mnist-classifier-noisy": {f"test accuracy at t = {t}" for t in (0.1, 0.5, 0.8)},
    "mnist-ddpm": {"Frechet distance on the classifier's features", "its floor", "samples", "sampling steps"},
}
RESULTS["mnist-autoencoder"] = {
    *("rate, nats", "mean square error of a pixel", "their floor", "samples"),
    *("Frechet distance of reconstructions", "Frechet distance of samples from N(0, I)"),
}
RESULTS["captions-judge"] = {"test accuracy"}
RESULTS["captions"] = {"samples", "sampling steps"} | {
    f"{kind} pictures, {what}"
    for kind in ("drawn", "real")
    for what in ("digits", "places", "adjectives", "everything")
}
RESULTS["mnist-ddpm-labels"] = {*RESULTS["mnist-ddpm"], "recognised as their class"}
COUNTS = {"its floor", "samples", "sampling steps"}
RESULTS["mnist-upsampler"] = {"Frechet distance on the classifier's features, from real coarse digits", *COUNTS}
RESULTS["balls"] = {
    "films that a motion explains to 0.3 pixels",
    "pixels that it leaves unexplained, median",
    "pixels off in frame 8, given two frames, median",
    "samples",
    "sampling steps",
}
RESULTS |= dict.fromkeys(("mnist-4-steps", "mnist-1-step"), RESULTS["mnist-ddpm-labels"])
RESULTS["plane-gan"] = {"energy distance, in floors", "sliced Wasserstein distance, in floors", "samples"}
RESULTS["plane-gan"] |= {"sampling steps"}
RESULTS |= {name: {"share of valid sentences", "different sentences", "samples"} for name in ENGLISH}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_result_is_written_also_when_the_run_was_cut_off_before_it(
    name, small_world, tmp_path, monkeypatch, capsys
):
    """Cut off while it was being measured; `--resume` makes no step, and measures. A third time nothing is done."""

    def cut_off(net, recipe):
        raise KeyboardInterrupt

    folder, subject = tmp_path / "run", SUBJECTS[name]
    with monkeypatch.context() as patched:
        patched.setattr(subjects, "SUBJECTS", {**SUBJECTS, name: replace(subject, result=cut_off)})
        few = ["--steps", "3", "--batch", "8", "--precision", "float32"]
        assert commands.main(["train", name, *few, "--out", str(folder)]) == 130
    assert "result" not in card_of(folder) and card_of(folder)["steps made"] == 3
    weights = (folder / "weights.safetensors").read_bytes()
    assert commands.main(["train", name, "--out", str(folder), "--resume"]) == 0
    assert "measuring what it has learned" in capsys.readouterr().err
    result = card_of(folder)["result"]
    assert set(result) == RESULTS[name] and all(value >= 0 for value in result.values())
    assert (folder / "weights.safetensors").read_bytes() == weights
    assert commands.main(["train", name, "--out", str(folder), "--resume"]) == 0
    assert "measuring" not in capsys.readouterr().err and card_of(folder)["result"] == result


@pytest.mark.parametrize("labels", [True, False])
def test_a_run_on_mnist_is_the_course_s_own_training(labels, small_world, tmp_path, one_thread):
    """Written out with `digits.digit_training`, the weights are the same to the last bit: live, and as shipped."""
    folder = tmp_path / "run"
    train(folder, "mnist" if labels else "mnist-ddpm")
    images, same = noisy_images("train"), {"steps": 3, "batch_size": 8, "learning_rate": 0.01}
    net = digit_network(0, classes=10 if labels else 0)
    how = {"decay": 0.999, "label_dropout": 0.1} if labels else {"decay": 0.995, "falls": True}
    ema, steps = digit_training(net, images.x, images.y if labels else None, **same, **how)
    list(steps)
    assert same_weights(load_run(folder)[0], weights_of(ema.net))


def test_the_names_on_the_command_line_are_those_of_the_package():
    assert list(commands.SUBJECTS) == list(SUBJECTS) == [subject.recipe.subject for subject in SUBJECTS.values()]
    assert all(subject.about for subject in SUBJECTS.values())


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_recipe_comes_back_from_json(name):
    """As a snapshot holds it, and as a card does: there three of its parts stand at the top."""
    recipe = replace(SUBJECTS[name].recipe, seed=7, learning_rate=1 / 3, minutes=2.5, seed_shift="4")
    record = json.loads(json.dumps(recipe.record()))
    assert recipe_of({"step": 3, "recipe": record}) == recipe
    top = {part: record.pop(part) for part in ("subject", "architecture", "shape")}
    assert recipe_of({**top, "recipe": record, "steps made": 3, "seconds": 1.0}) == recipe


def test_a_part_that_a_later_version_adds_is_passed_over():
    recipe = SUBJECTS["digits"].recipe
    assert recipe_of({"recipe": {**recipe.record(), "something new": 3}}) == recipe


INCOMPLETE = {
    "nothing": {},
    "no recipe": {"recipe": None},
    "no data": {"recipe": {"steps": 3}},
    "data that is no name": {"data": ["moons"], "recipe": {}},
    "only a subject": {"subject": "moons"},
    "a shape that is none": {**SUBJECTS["moons"].recipe.record(), "shape": 5},
}


@pytest.mark.parametrize("record", INCOMPLETE.values(), ids=INCOMPLETE)
def test_a_record_that_says_too_little_is_refused(record):
    with pytest.raises(Refused, match=r"the card must name its data|the recipe in the card must be whole, but is not"):
        recipe_of(record)


def test_a_subject_that_nobody_knows_can_be_drawn_from_and_not_measured(whole, tmp_path, capsys):
    """Such as one of a later version: its card says all that drawing takes."""
    net, recipe = load_run(whole[0])
    stranger = replace(recipe, subject="faces")
    with pytest.raises(Refused, match=r"the card must name its subject, one of moons, .*, but says 'faces'"):
        subject_of(stranger)
    record = stranger.record()
    save_weights(tmp_path / "run", net, {"subject": "faces", "recipe": record})
    wanted = ["--checkpoint", str(tmp_path / "run"), "--n", "2", "--steps", "2"]
    assert commands.main(["sample", *wanted, "--out", str(tmp_path / "x.npz")]) == 0
    assert commands.main(["evaluate", *wanted]) == 2
    assert "the card must name its subject, one of moons" in capsys.readouterr().err


# --- what is shipped -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_card_tells_the_recipe_of_its_command(name):
    """But for the precision, which is measured where a training begins."""
    card = json.loads((CHECKPOINTS / name / "card.json").read_text(encoding="utf-8"))
    assert card["command"] == f"python -m minidiff train {name} --out data/checkpoints/{name}"
    recipe = recipe_of(card)
    assert replace(recipe, precision="float32") == SUBJECTS[name].recipe
    assert recipe.precision in ("float32", "bfloat16")
    assert card["steps made"] == recipe.steps
    assert {"seconds", "hardware", "parameters", "result", "sha256"} <= set(card)
    assert set(card["result"]) == RESULTS[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_is_loaded_by_its_card_alone(name):
    net, card = load_network(name)
    again, recipe = load_run(name)
    assert same_weights(again, weights_of(net)) and recipe.subject == name
    assert sum(value.numel() for value in net.parameters()) == card["parameters"]


# --- data and measures -----------------------------------------------------------------------------------------------


def test_held_out_digits_are_never_trained_on():
    train_set, test_set = (SUBJECTS["digits"].images(part) for part in ("train", "test"))
    train_rows = {tuple(row.tolist()) for row in train_set.x.flatten(1)}
    assert len(test_set.x) == 599 and len(train_set.x) == len(train_set.y) == 1198
    assert not any(tuple(row.tolist()) in train_rows for row in test_set.x.flatten(1))


@pytest.mark.parametrize("name", ["moons", "digits"])
def test_real_samples_are_at_the_floor_and_noise_is_not(name, make_generator):
    """The ratio of real samples lies below 2.5 in every distance; that of noise is above 3. Chance: real digits are a
    fixed split, and 2,000 points are at 2.5 floors with a probability below 1e-7 (their ratios scatter by 0.25)."""
    if name == "moons":
        real, noise = moons(2000, make_generator(0)), torch.randn(2000, 2, generator=make_generator(1))
    else:
        x = digits().x
        real = x[torch.arange(len(x)) % 3 != 2][torch.randperm(1198, generator=make_generator(0))[:250]]
        noise = torch.randn(250, 1, 8, 8, generator=make_generator(1))
    for distance, measured in SUBJECTS[name].distances(real, seed=0).items():
        assert measured.ratio < 2.5, distance
        assert SUBJECTS[name].distances(noise, seed=0)[distance].ratio > 3, distance


@pytest.mark.parametrize(
    ("name", "n", "words"),
    [
        ("moons", 1, "--n must lie between 2 and 10000, since all pairs are compared, but is 1"),
        ("moons", 10_001, "--n must lie between 2 and 10000"),
        ("digits", 128, "--n must lie between 129, one more than the features, and 299, half the images that"),
        ("digits", 300, "--n must lie between 129, one more than the features, and 299"),
        ("mnist-autoencoder", 200, "--checkpoint must draw samples to be evaluated, but mnist-autoencoder encodes"),
        ("mnist-classifier", 200, "--checkpoint must draw samples to be evaluated, but mnist-classifier classifies"),
    ],
)
def test_a_number_that_cannot_be_measured_is_refused(name, n, words):
    with pytest.raises(Refused, match=words):
        SUBJECTS[name].check_samples(n)


def test_principal_components_are_scikit_learn_s(make_generator):
    from sklearn.decomposition import PCA

    x = torch.randn(300, 1, 4, 4, generator=make_generator(0)) * torch.linspace(0.5, 2, 16).reshape(4, 4)
    mine = evaluation.principal_view(x, 5)(x[:50]).numpy()[:, ::-1]
    theirs = PCA(5).fit(x.flatten(1).numpy()).transform(x[:50].flatten(1).numpy())
    np.testing.assert_allclose(np.abs(mine), np.abs(theirs), atol=1e-3)


def test_a_recipe_of_points_is_the_mlp_of_notebook_07():
    """With its defaults, so that a card says what the notebook says."""
    made = replace(SUBJECTS["moons"].recipe, seed=5).network()
    assert same_weights(made, weights_of(initialised(MLP, generator(5))))


# --- few steps -------------------------------------------------------------------------------------------------------


def test_a_student_begins_with_its_teacher_s_weights_and_draws_in_its_own_steps(tmp_path, capsys):
    """The recipe names teacher, start and steps; `--steps` and `--sampler` say nothing to what is no denoiser."""
    recipe = SUBJECTS["mnist-4-steps"].recipe
    assert same_weights(recipe.beginning(), weights_of(load_network("mnist-ddpm-labels")[0]))
    assert not same_weights(recipe.network(), weights_of(recipe.beginning()))
    drawn = []
    for steps in ("3", "7"):
        out = tmp_path / f"{steps}.npz"
        wanted = ["--checkpoint", "mnist-4-steps", "--n", "2", "--steps", steps, "--sampler", "2m", "--out", str(out)]
        assert commands.main(["sample", *wanted]) == 0
        drawn.append(np.load(out)["x"])
    assert capsys.readouterr().err.count("mnist-4-steps draws in steps of its own: 4") == 2
    net, times = load_run("mnist-4-steps")[0], torch.linspace(1, 0, 5)
    how = {"times": times, "sampler": ddim, "seed": 0}
    y = torch.tensor([0, 1])
    expected = evaluation.sample(net, recipe.gaussian_path(), "x0", recipe.shape, 2, y, **how)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], expected.numpy())


def test_the_gan_s_players_have_rates_of_their_own():
    recipe = SUBJECTS["plane-gan"].recipe
    net = recipe.network()
    generator_group, critic_group = recipe.optimize(net).param_groups
    assert (generator_group["lr"], critic_group["lr"]) == (1e-3, 2e-3)
    assert {id(p) for p in critic_group["params"]} == {id(p) for p in net.critic.parameters()}


def test_what_writes_text_draws_no_points(small_world, tmp_path, capsys):
    """`sample` and `evaluate` say so, in one line."""
    train(tmp_path / "run", "english-masked")
    wanted = ["--checkpoint", str(tmp_path / "run"), "--n", "2", "--steps", "2"]
    for command in (["sample", *wanted, "--out", str(tmp_path / "x.npz")], ["evaluate", *wanted]):
        assert commands.main(command) == 2
        assert "writes text (notebook 22 writes with it)" in capsys.readouterr().err
