"""`minidiff doctor --model`: a healthy run is told so, and each thing that is broken on purpose rings, with a cure."""

import dataclasses
import json
import shutil

import pytest
import torch
from torch import nn

import minidiff
from minidiff import checkpoints
from minidiff.data import MnistUnavailable
from minidiff.networks import LabelEmbedding, initialised
from minidiff.workshop import checkup
from minidiff.workshop.checkup import CHECKS, examine_model
from minidiff.workshop.commands import main
from minidiff.workshop.runs import load_run
from minidiff.workshop.subjects import SUBJECTS
from tests.processes import finished

KEYS = ["model", *CHECKS]


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of the healthy run, to be broken."""
    return shutil.copytree(whole[0], tmp_path / "run")


def rewritten(folder, change=lambda net: None, **card):
    """The same run with other weights, or with something else in its card."""
    net, _ = load_run(folder)
    net.requires_grad_(False)
    change(net)
    checkpoints.save_weights(folder, net, {**checkpoints.read_card(folder), **card})
    return folder


def only_problem(folder, what, cure, *, of=1):
    """The report on a run in which `of` things ring, one of them with these words."""
    report = examine_model(folder)
    found = [problem for problem in report.problems if what in problem.what]
    assert len(found) == 1 and len(report.problems) == of, report.problems
    assert cure in found[0].cure
    return report


# --- healthy ---------------------------------------------------------------------------------------------------------


def test_a_healthy_run_is_told_so(whole):
    report = examine_model(whole[0])
    assert report.problems == [] and list(report.facts) == KEYS and None not in report.facts.values()
    assert report.facts["training"].value["steps made"] == 300
    assert min(report.facts["loss"].value["over answering 0"]) < checkup.LEARNED_NOTHING
    assert 0 < report.facts["average"].value["apart"] < checkup.AVERAGE_OFF
    low, high = checkup.SPREAD
    spread = report.facts["samples"].value
    assert low < spread["spread"] / spread["spread of data"] < high
    assert report.facts["labels"].lines == ["the network knows no labels"]


def test_the_command(whole):
    folder = whole[0]
    healthy = finished("doctor", "--model", folder, "--json")
    found = json.loads(healthy.stdout)
    assert healthy.returncode == 0 and found["healthy"] is True and list(found["facts"]) == KEYS


def test_the_command_where_something_is_wrong(tmp_path, monkeypatch, capsys):
    where = ["doctor", "--model", str(tmp_path / "nothing")]
    assert main(where) == 1
    screen = capsys.readouterr().out
    assert "no checkpoint" in screen and screen.endswith("\n1 problem\n")
    monkeypatch.setenv("MINIDIFF_SEED", "many")
    assert main(where) == 2 and "MINIDIFF_SEED must be a whole number" in capsys.readouterr().err


def test_the_screen(whole, capsys):
    assert checkup.checkup(whole[0], as_json=False) == 0
    screen = capsys.readouterr().out
    assert screen.startswith("model        moons, MLP, in ") and screen.endswith(
        "\n\nnothing rings, which is no proof of health (notebook 28)\n"
    )


# --- broken on purpose -----------------------------------------------------------------------------------------------


def test_weights_that_are_nan(copy):
    def break_one(net):
        net.hidden[1][0].weight[0, 0] = float("nan")

    report = only_problem(rewritten(copy, break_one), "NaN or infinite: hidden.1.0.weight", "train moons")
    assert report.facts["answers"] is None  # all that follows would be NaN


def test_damaged_weights(copy):
    content = bytearray((copy / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(content)
    assert only_problem(copy, "is damaged", "train again").facts["model"] is None


def test_a_training_that_was_cut_off(copy):
    only_problem(rewritten(copy, **{"steps made": 120}), "120 of 300 steps are made", "--resume")


def test_a_loss_that_still_falls_is_a_note(copy):
    lines = [json.dumps({"step": k, "loss": 1 / (1 + 0.2 * k)}) for k in range(100)]
    (copy / "log.jsonl").write_text("\n".join([*lines, '{"step": 100, "lo']))
    report = examine_model(copy)
    assert report.problems == [] and any("still falling" in words for words in report.notes)


def test_a_loss_that_is_nan(copy):
    (copy / "log.jsonl").write_text("\n".join('{"step": 1, "loss": NaN}' for _ in range(40)))
    only_problem(copy, "the loss at the end of the log is nan", "train again")


def test_an_untrained_network(copy):
    def begin_anew(net):
        nn.init.zeros_(net.out.weight)
        nn.init.zeros_(net.out.bias)

    rewritten(copy, begin_anew)
    only_problem(copy, "answers 0 to everything", "train again", of=3)
    only_problem(copy, "a network that answers 0, or more, at every noise level", "train longer", of=3)
    only_problem(copy, "the average of the weights answers 100 % off", "its decay is", of=3)


def test_an_average_far_from_the_network_behind_it(copy):
    """As an average that is too slow: mostly the random start, and a little of what was learned."""

    def slow(net):
        net.out.weight *= 0.2
        net.out.bias *= 0.2

    only_problem(rewritten(copy, slow), "% off the network that it averages, and worse", "decay is 0.999")


@pytest.mark.parametrize("change", [lambda x: 3 * x + 2, lambda x: 10 * x], ids=["scaled and shifted", "too large"])
def test_data_in_another_range_than_the_networks(copy, monkeypatch, change):
    moons = SUBJECTS["moons"]
    other = dataclasses.replace(moons, points=lambda n, g: change(moons.points(n, g)))
    monkeypatch.setattr(checkup, "subject_of", lambda recipe: other)
    report = examine_model(copy)
    said = " ".join(problem.what for problem in report.problems)
    assert "times that of a network that answers 0" in said and "samples have mean" in said


def test_a_network_that_does_not_hear_the_time(copy):
    def deaf(net):
        net.hidden[0][0].weight[:, 2:] = 0

    only_problem(rewritten(copy, deaf), "does not hear the time", "log-SNR", of=len(examine_model(copy).problems))
    assert len(examine_model(copy).problems) <= 4


def in_memory(monkeypatch, folder, change):
    """The run in this folder, as if its network had been changed by somebody's own code."""
    net, recipe = load_run(folder)
    net, recipe = change(net, recipe)
    monkeypatch.setattr(checkup, "load_run", lambda place: (net, recipe))


class Dropping(nn.Module):
    """A network whose dropout nobody switched off."""

    def __init__(self, net):
        super().__init__()
        self.net, self.out, self.source = net, net.out, torch.Generator().manual_seed(0)

    def forward(self, x, log_snr, y=None):
        kept = torch.rand(x.shape, generator=self.source) > 0.1
        return self.net(x, log_snr, y) * kept


def test_a_network_that_answers_differently_when_asked_twice(copy, monkeypatch):
    in_memory(monkeypatch, copy, lambda net, recipe: (Dropping(net), recipe))
    only_problem(copy, "two answers to the same question", "net.eval()", of=len(examine_model(copy).problems))


def test_samples_that_are_nearly_one(copy, monkeypatch):
    monkeypatch.setattr(checkup, "sample", lambda *given, **how: torch.ones(500, 2) * torch.tensor([1.0, -1.0]))
    only_problem(copy, "they are nearly one", "noise is drawn once")


def test_samples_that_are_not_finite(copy, monkeypatch):
    monkeypatch.setattr(checkup, "sample", lambda *given, **how: torch.full((500, 2), float("inf")))
    assert only_problem(copy, "samples are NaN", "train again").facts["samples"].lines == ["not finite"]


# --- labels and guidance ---------------------------------------------------------------------------------------------


def labelled(net, recipe):
    """The run with a network of three labels, which shift its answers."""
    net.labels = initialised(lambda: LabelEmbedding(3, 128), minidiff.generator(0)).requires_grad_(False)
    net.labels.table.weight.copy_(0.1 * torch.randn(4, 128, generator=minidiff.generator(1)))
    return net, dataclasses.replace(recipe, architecture={**recipe.architecture, "classes": 3})


def without_data(monkeypatch):
    def gone(recipe):
        raise MnistUnavailable("no data here")

    monkeypatch.setattr(checkup, "subject_of", gone)


def test_a_network_that_hears_its_labels(copy, monkeypatch):
    in_memory(monkeypatch, copy, labelled)
    without_data(monkeypatch)
    report = examine_model(copy)
    assert report.problems == [] and report.facts["labels"].value["guidance"] < 1e-5
    assert report.notes[0].startswith("its data are not on this machine")
    assert report.facts["loss"].lines == ["not examined: its data are not here"]


@pytest.mark.parametrize(
    ("wrong", "off"),
    [
        (lambda c, u, w: lambda x, t: c(x, t) + w * (c(x, t) - u(x, t)), "guidance at w = 0 and 1"),
        (lambda c, u, w: lambda x, t: c(x, t) + w * (u(x, t) - c(x, t)), "guidance at w = 0 and 1"),
    ],
)
def test_guidance_that_does_not_give_back_the_two_predictions(copy, monkeypatch, wrong, off):
    in_memory(monkeypatch, copy, labelled)
    without_data(monkeypatch)
    monkeypatch.setattr(checkup, "guided", wrong)
    only_problem(copy, off, "u + w (c - u)")


@pytest.mark.parametrize(
    ("rows", "what", "cure"),
    [
        (slice(0, 4), "does not hear labels", "whether labels reach the network"),
        (slice(1, 4), "does not hear labels", "whether labels reach the network"),
    ],
)
def test_a_network_that_is_deaf_to_labels(copy, monkeypatch, rows, what, cure):
    def deaf(net, recipe):
        net, recipe = labelled(net, recipe)
        net.labels.table.weight[rows] = 0
        return net, recipe

    in_memory(monkeypatch, copy, deaf)
    without_data(monkeypatch)
    only_problem(copy, what, cure)


# --- other models ----------------------------------------------------------------------------------------------------


def test_images_with_labels_are_examined_whole(small_world, tmp_path, monkeypatch):
    """A tiny U-Net, hardly trained: it is told so, and training data are compared with new data."""
    recipe = dataclasses.replace(
        SUBJECTS["digits"].recipe, architecture={**SUBJECTS["digits"].recipe.architecture, "widths": [16]}, steps=7
    )
    card = {"subject": recipe.subject, "steps made": 7, "recipe": recipe.record(), "shape": list(recipe.shape)}
    checkpoints.save_weights(tmp_path, recipe.network(), {**card, "architecture": dict(recipe.architecture)})
    monkeypatch.setattr(checkup, "DRAWN", {True: 10, False: 4})
    monkeypatch.setattr(checkup, "SAMPLING_STEPS", 2)
    report = examine_model(tmp_path)
    assert "answers 0 to everything" in report.problems[0].what
    assert report.facts["loss"].value["new over old"] == pytest.approx(1, abs=0.2)
    assert report.facts["average"].lines == ["not examined: the raw weights are not in this folder"]


def test_what_does_not_denoise_is_examined_in_part():
    report = examine_model("mnist-classifier")
    assert report.problems == [] and report.facts["loss"].lines == ["not examined"]
    assert report.notes == ["its objective is 'classify': only training and weights are examined"]
