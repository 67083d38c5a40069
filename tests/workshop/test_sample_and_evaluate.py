"""Sample and evaluate: what is drawn follows from seed and number alone, and is measured beside its floor."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff import generator
from minidiff.checkpoints import save_weights
from minidiff.denoisers import from_network
from minidiff.digits import digit_network
from minidiff.networks import MLP, build, initialised
from minidiff.samplers import ancestral, ddim, dpmpp_2m, last
from minidiff.schedules import cosine
from minidiff.workshop import commands, evaluation, runs
from minidiff.workshop.evaluation import even_labels, sample
from minidiff.workshop.runs import load_run
from minidiff.workshop.subjects import SUBJECTS
from minidiff.workshop.workers import Refused
from tests.processes import card_of, finished

PATH = cosine()
SAMPLERS = {"ancestral": ancestral, "ddim": ddim, "2m": dpmpp_2m}
every_sampler = pytest.mark.parametrize(("name", "sampler"), SAMPLERS.items(), ids=SAMPLERS)


def own_noise(seed, n, shape):
    """A generator for each sample, and where each starts, (n, *shape)."""
    sources = [generator(seed, 3, i) for i in range(n)]
    return sources, torch.cat([PATH.prior((1, *shape), source) for source in sources])


# --- what is drawn ---------------------------------------------------------------------------------------------------


@every_sampler
def test_sample_writes_what_the_sampler_draws(name, sampler, whole, tmp_path, one_thread, capsys):
    out = tmp_path / "new" / "x.npz"
    arguments = ["sample", "--checkpoint", str(whole[0]), "--n", "7", "--steps", "5", "--sampler", name, "--seed", "2"]
    assert commands.main([*arguments, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: x (7, 2)\n"
    assert [path.name for path in out.parent.iterdir()] == ["x.npz"]
    with np.load(out, allow_pickle=False) as file:
        assert file.files == ["x"]
        x = file["x"]
    sources, start = own_noise(2, 7, (2,))
    denoise = from_network(load_run(whole[0])[0], PATH, "v")
    with torch.no_grad():
        expected = last(sampler(denoise, PATH, start, torch.linspace(1, 0, 6), generator=sources))
    np.testing.assert_array_equal(x, expected.numpy())


def test_sample_draws_from_a_shipped_checkpoint_by_its_name(tmp_path):
    result = finished("sample", "--checkpoint", "mnist-ddpm", "--n", 3, "--steps", 3, "--out", tmp_path / "x.npz")
    assert result.returncode == 0, result.stderr
    x = np.load(tmp_path / "x.npz")["x"]
    assert x.shape == (3, 1, 28, 28) and np.isfinite(x).all() and -1.6 < x.min() < -0.9


def test_a_network_that_draws_nan_is_one_line(whole, monkeypatch, tmp_path, capsys):
    net, recipe = load_run(whole[0])
    net.out.bias.fill_(float("nan"))
    monkeypatch.setattr(runs, "load_run", lambda place: (net, recipe))
    assert commands.main(["sample", "--checkpoint", "x", "--out", str(tmp_path / "x.npz")]) == 1
    assert capsys.readouterr().err == "minidiff: the network in x draws NaN or infinite values: train it again\n"
    assert not (tmp_path / "x.npz").exists()


def test_a_checkpoint_that_is_not_there_is_one_line(tmp_path, capsys):
    for command_name, out in (("sample", ["--out", str(tmp_path / "x.npz")]), ("evaluate", [])):
        assert commands.main([command_name, "--checkpoint", str(tmp_path / "nowhere"), *out]) == 1
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and "nowhere" in said.err
    assert not list(tmp_path.iterdir())


@every_sampler
@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)], ids=["points", "images"])
def test_fault_15_sample_i_does_not_depend_on_how_many_are_drawn(name, sampler, shape, monkeypatch, one_thread):
    """The same for 1, 3 and 8 of them, also where they are drawn three at a time. Networks round batches of different
    sizes differently, by less than 1e-5."""
    monkeypatch.setattr(evaluation, "POINTS_AT_ONCE", 3)
    monkeypatch.setattr(evaluation, "IMAGES_AT_ONCE", 3)
    net = shaken(MLP if len(shape) == 1 else lambda: build(SMALL))
    how = {"times": torch.linspace(1, 0, 5), "sampler": sampler, "seed": 4}
    drawn = {n: sample(net, PATH, "x0", shape, n, **how) for n in (1, 3, 8)}
    for n in (1, 3):
        torch.testing.assert_close(drawn[n], drawn[8][:n], rtol=0, atol=1e-5)
    distances = torch.pdist(drawn[8].flatten(1))
    assert distances.min() > 2e-4  # no two are alike
    other = sample(net, PATH, "x0", shape, 8, **{**how, "seed": 5})
    assert (other - drawn[8]).flatten(1).norm(dim=1).min() > 2e-4


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("more", [250, 251])
def test_fault_15_on_the_command_line_across_the_chunks(name, more, tmp_path, one_thread, capsys):
    """Images 248 and 249 of 250, and of 251, whose last one is alone in its chunk."""
    save_weights(
        tmp_path / "run",
        shaken(lambda: build(SMALL)),
        {"subject": "digits", "recipe": {**SUBJECTS["digits"].recipe.record(), "architecture": SMALL}},
    )
    wanted = ["sample", "--checkpoint", str(tmp_path / "run"), "--steps", "2", "--sampler", name, "--seed", "3"]
    for n in (249, more):
        assert commands.main([*wanted, "--n", str(n), "--out", str(tmp_path / f"{n}.npz")]) == 0
    few, many = (np.load(tmp_path / f"{n}.npz")["x"] for n in (249, more))
    np.testing.assert_allclose(many[:249], few, rtol=0, atol=1e-4)
    assert len(many) == more


SMALL = {"network": "UNet", "channels": 1, "widths": [16], "blocks": 1, "patch": 2, "classes": 0}


def shaken(make):
    """A network as if it had been trained: no weight is 0 any more."""
    net = initialised(make, generator(0)).eval().requires_grad_(False)
    for weight in net.parameters():
        weight += 0.05 * torch.randn(weight.shape, generator=generator(1))
    return net


@pytest.mark.parametrize("ending", ["", "weights.safetensors", "card.json"])
def test_fault_16_a_checkpoint_may_be_named_by_its_files(ending, whole, tmp_path, capsys):
    wanted = ["sample", "--checkpoint", str(whole[0] / ending), "--n", "2", "--steps", "2"]
    assert commands.main([*wanted, "--out", str(tmp_path / "x.npz")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["x"].shape, (2, 2))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_become_a_picture(sampler, tmp_path, capsys):
    """Of points a figure; of images a mosaic."""
    out = tmp_path / "x.PNG"
    wanted = ["sample", "--checkpoint", "mnist-ddpm", "--n", "5", "--steps", "2", "--sampler", sampler]
    assert commands.main([*wanted, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: x (5, 1, 28, 28)\n"
    assert Image.open(out).size == (3 * 56, 2 * 56)


def test_points_become_a_picture(whole, tmp_path, capsys):
    out = tmp_path / "x.png"
    assert commands.main(["sample", "--checkpoint", str(whole[0]), "--n", "9", "--steps", "2", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_labels(tmp_path):
    """The folder of a network that knows the labels 0 to 9, at its random start, with labels that make a difference."""
    net = digit_network(0, classes=10)
    with torch.no_grad():
        for weight in net.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator(1))
    record = SUBJECTS["mnist"].recipe.record()
    save_weights(tmp_path / "run", net, {"subject": "mnist", "architecture": record["architecture"], "recipe": record})
    return tmp_path / "run", net.eval().requires_grad_(False)


@pytest.mark.parametrize(("asked", "expected"), [([], [0, 1, 2]), (["--label", "7"], [7, 7, 7])])
def test_sample_draws_all_labels_in_turn_or_the_one_asked_for(asked, expected, two_labels, tmp_path, capsys):
    folder, net = two_labels
    out = tmp_path / "x.npz"
    wanted = ["sample", "--checkpoint", str(folder), "--n", "3", "--steps", "2", "--out", str(out), *asked]
    assert commands.main(wanted) == 0
    with np.load(out, allow_pickle=False) as file:
        x, y = file["x"], file["y"]
    assert y.tolist() == expected
    sources, start = own_noise(0, 3, (1, 28, 28))
    denoise = from_network(net, PATH, "x0", torch.tensor(expected))
    alone = last(ancestral(denoise, PATH, start, torch.linspace(1, 0, 3), generator=sources))
    np.testing.assert_array_equal(x, alone.numpy())
    if asked:
        in_turn = from_network(net, PATH, "x0", torch.arange(3))
        assert not torch.allclose(denoise(start, torch.tensor(0.5)), in_turn(start, torch.tensor(0.5)), atol=1e-3)


def test_more_samples_than_fit_into_a_chunk_keep_their_labels(two_labels, monkeypatch):
    _, net = two_labels
    asked = []
    monkeypatch.setattr(evaluation, "from_network", lambda net, path, kind, y: asked.append(y) or (lambda x, t: x))
    how = {"times": torch.linspace(1, 0, 2), "sampler": ddim, "seed": 0}
    sample(net, PATH, "x0", (1, 28, 28), 503, even_labels(503, 10), **how)
    assert [len(y) for y in asked] == [250, 250, 3]
    assert torch.equal(torch.cat(asked), torch.arange(503) % 10)


@pytest.mark.parametrize(("known", "label", "said"), [(10, "10", "the labels 0 to 9"), (0, "1", "no labels")])
def test_a_label_that_the_network_does_not_know_is_refused(known, label, said, two_labels, whole, tmp_path, capsys):
    folder = two_labels[0] if known else whole[0]
    wanted = ["sample", "--checkpoint", str(folder), "--label", label, "--out", str(tmp_path / "x.npz")]
    assert commands.main(wanted) == 2
    expected = f"minidiff: --label must be one that the network knows, but is {label}, and it knows {said}\n"
    assert capsys.readouterr().err == expected
    assert not (tmp_path / "x.npz").exists()


# --- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_prints_distances_with_floor_and_n(whole, one_thread, capsys):
    result = finished("evaluate", "--checkpoint", whole[0], "--n", 500, "--steps", 10, "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert set(told["distances"]) == {"energy distance", "sliced Wasserstein distance"}
    for numbers in told["distances"].values():
        assert numbers["samples"] == numbers["real"] == 500
        assert numbers["value"] > 0 and numbers["ratio"] == pytest.approx(numbers["value"] / numbers["floor"])
    assert commands.main(["evaluate", "--checkpoint", str(whole[0]), "--n", "500", "--steps", "10"]) == 0
    table = capsys.readouterr().out
    for name, numbers in told["distances"].items():
        assert re.search(
            rf"^{name} +{numbers['value']:.4g} +{numbers['floor']:.4g} +\d+\.\d +500$", table, re.MULTILINE
        )


def test_a_card_that_names_no_data_is_refused(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    card = card_of(folder)
    del card["subject"]
    card["data"] = "faces"
    (folder / "card.json").write_text(json.dumps(card))
    words = (
        r"card.json does not say which network it is: the card must name its data, one of moons, .*, but says 'faces'"
    )
    with pytest.raises(Refused, match=words):
        load_run(folder)
