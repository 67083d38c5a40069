"""`minidiff sample --prompt`: what is typed is drawn, or refused in a line that says what to type instead."""

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.captioned import sample_captions
from minidiff.checkpoints import save_weights
from minidiff.data.captions import captions_of, draw_scenes, null_caption, tokenise
from minidiff.denoisers import from_network, guided
from minidiff.samplers import ddim, last
from minidiff.workshop import commands, evaluation
from minidiff.workshop.runs import load_run
from minidiff.workshop.subjects import SUBJECTS


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder with a network that reads captions, untrained, but steered by every word."""
    folder, recipe = tmp_path_factory.mktemp("reader") / "run", SUBJECTS["captions"].recipe
    net = recipe.network()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for value in net.parameters():
            if not bool(value.any()):
                torch.nn.init.normal_(value, std=0.1)
    save_weights(folder, net, {"recipe": recipe.record()})
    return folder


def drawn(reader, tmp_path, *more):
    out = tmp_path / "x.npz"
    how = ["--checkpoint", str(reader), "--n", "3", "--steps", "2", "--sampler", "ddim", "--out", str(out)]
    assert commands.main(["sample", *how, *more]) == 0
    with np.load(out) as file:
        return torch.from_numpy(file["x"]), torch.from_numpy(file["y"])


def test_a_prompt_is_drawn(reader, tmp_path, capsys):
    x, y = drawn(reader, tmp_path, "--prompt", "A thin three left of a slanted seven.")
    assert x.shape == (3, 1, 16, 32) and torch.equal(y, tokenise(["thin three left of slanted seven"] * 3))
    same, _ = drawn(reader, tmp_path, "--prompt", "thin three left of slanted seven")
    other, _ = drawn(reader, tmp_path, "--prompt", "thin seven left of slanted three")
    assert torch.equal(x, same) and float((x - other).abs().max()) > 1e-3
    assert not torch.equal(x[0], x[1])


def test_a_prompt_makes_a_picture(reader, tmp_path, capsys):
    out = tmp_path / "x.png"
    how = ["--checkpoint", str(reader), "--n", "4", "--steps", "2", "--out", str(out)]
    assert commands.main(["sample", *how, "--prompt", "two slanted sevens"]) == 0
    line = 1  # between pictures; all is drawn three times as large
    assert Image.open(out).size == (3 * 2 * (32 + line), 3 * 2 * (16 + line))


def test_without_a_prompt_captions_of_all_kinds_are_drawn(reader, tmp_path):
    _, y = drawn(reader, tmp_path)
    assert torch.equal(y, tokenise(captions_of(draw_scenes(3, evaluation.generator(0, 54)))))


def test_guidance_pushes_away_from_the_caption_that_says_nothing(reader, tmp_path):
    """Against the guided sampler of the lesson, with the same noise."""
    x, y = drawn(reader, tmp_path, "--prompt", "two sevens", "--guidance", "2.5")
    plain, _ = drawn(reader, tmp_path, "--prompt", "two sevens", "--guidance", "1")
    assert torch.equal(plain, drawn(reader, tmp_path, "--prompt", "two sevens")[0])
    net, recipe = load_run(reader)
    sources = [evaluation.generator(0, 3, i) for i in range(3)]
    start = torch.cat([recipe.gaussian_path().prior((1, *recipe.shape), source) for source in sources])
    path = recipe.gaussian_path()
    denoise = guided(from_network(net, path, "x0", y), from_network(net, path, "x0", null_caption(3)), 2.5)
    expected = last(ddim(denoise, path, start, torch.linspace(1, 0, 3)))
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)
    assert float((x - plain).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("two slanted sevns", "the word 'sevns' is not known; the nearest one is 'sevens'"),
        ("a fin seven", "the nearest one is 'thin'"),
        ("two slanted seven", "'slanted seven' must be a digit such as 'sevens'"),
        ("", "says nothing: a caption is a line such as"),
        ("seven on the left", "the word 'on' is not known; the nearest one is 'one'"),
    ],
)
def test_a_prompt_that_is_no_caption_is_one_line(reader, prompt, words, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.png")]
    assert commands.main(["sample", "--checkpoint", str(reader), "--prompt", prompt, *out]) == 2
    said = capsys.readouterr().err
    assert said.startswith("minidiff: --prompt ") and words in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [("--prompt", "two sevens"), ("--guidance", "2")])
def test_a_network_that_reads_no_captions_refuses_them(option, whole, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.png")]
    assert commands.main(["sample", "--checkpoint", str(whole[0]), *option, *out]) == 2
    said = capsys.readouterr().err
    assert option[0] in said and "reads no captions" in said and said.count("\n") == 1


def test_a_label_is_refused_where_captions_are_read(reader, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.png")]
    assert commands.main(["sample", "--checkpoint", str(reader), "--label", "3", *out]) == 2
    assert "no labels" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        commands.main(["sample", "--checkpoint", str(reader), "--label", "3", "--prompt", "seven", *out])


def test_the_help_shows_a_prompt(capsys):
    with pytest.raises(SystemExit):
        commands.main(["sample", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--prompt" in said and "two slanted sevens" in said and "a thin three left of a slanted seven" in said


def test_the_lesson_draws_with_the_same_guidance(reader):
    net, _ = load_run(reader)
    y = tokenise(["two sevens"] * 2)
    one, two = (sample_captions(net, y, w=w, steps=2, seed=0, sampler=ddim) for w in (1.0, 3.0))
    assert one.shape == (2, 1, 16, 32) and float((one - two).abs().max()) > 1e-3
