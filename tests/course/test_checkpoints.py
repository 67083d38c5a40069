"""Weights and their card: they come back to the last bit, damage is noticed, and the card alone is enough to load."""

import contextlib
import errno
import hashlib
import itertools
import json
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from minidiff import checkpoints
from minidiff.checkpoints import Damaged, checkpoint_folder, load_network, load_weights, save_weights
from minidiff.data.places import repositories_above
from minidiff.networks import MLP, Classifier, NoisyClassifier, UNet, build, initialised
from tests.cases import PlugPulled, same_weights, weights_of

# --- weights --------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path, make_generator):
    """A network with statistics and integer counters, and the folder in which it was saved."""
    net = initialised(Classifier, make_generator(0))
    net(torch.randn(4, 1, 28, 28, generator=make_generator(1)))
    save_weights(tmp_path / "new" / "folder", net, {"recipe": "some", "seed": 3})
    return net, tmp_path / "new" / "folder"


def other_classifier(make_generator):
    return initialised(Classifier, make_generator(5))


def test_what_was_saved_comes_back(saved, make_generator):
    net, folder = saved
    other = other_classifier(make_generator)
    assert not same_weights(other, weights_of(net))
    card = load_weights(str(folder), other)
    assert same_weights(other, weights_of(net))
    assert card == json.loads((folder / "card.json").read_text())
    assert card["recipe"] == "some" and card["seed"] == 3
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]


def test_weights_are_plain_safetensors(saved):
    net, folder = saved
    with safe_open(folder / "weights.safetensors", "pt") as file:
        assert sorted(file.keys()) == sorted(net.state_dict())
        for name, value in net.state_dict().items():
            assert torch.equal(file.get_tensor(name), value)


@pytest.mark.parametrize("name", ["weights.safetensors", "card.json"])
def test_a_missing_file_is_named(saved, name):
    net, folder = saved
    (folder / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"{name} is missing: folder must hold weights.safetensors and card.json"
    ):
        load_weights(folder, net)


def test_damaged_weights_are_refused(saved, make_generator):
    _, folder = saved
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)
    other = other_classifier(make_generator)
    before = weights_of(other)
    with pytest.raises(ValueError, match=r"weights.safetensors is damaged: its SHA-256 is not the one in card.json"):
        load_weights(folder, other)
    assert same_weights(other, before)


@pytest.mark.parametrize("make", [lambda: Classifier(classes=3), MLP], ids=["other size", "other kind"])
def test_weights_of_another_network_are_refused_and_change_nothing(saved, make, make_generator):
    _, folder = saved
    other = initialised(make, make_generator(0))
    before = weights_of(other)
    with pytest.raises(ValueError, match=r"the weights in .*folder do not fit this network"):
        load_weights(folder, other)
    assert same_weights(other, before)


def test_a_file_that_is_no_safetensors_is_refused_though_its_card_agrees(saved):
    net, folder = saved
    (folder / "weights.safetensors").write_bytes(b"nothing of the kind")
    digest = hashlib.sha256(b"nothing of the kind").hexdigest()
    (folder / "card.json").write_text(json.dumps({"sha256": digest}))
    with pytest.raises(ValueError, match="do not fit this network"):
        load_weights(folder, net)


def test_weights_and_card_agree_wherever_the_plug_is_pulled(tmp_path, pulled_at, monkeypatch, make_generator):
    """At each of the touches of the disk in turn: afterwards the folder holds the old pair or the new one."""
    old, new = (initialised(lambda: MLP(width=4, layers=1), make_generator(stream)) for stream in (0, 1))
    seen, finished, touches = set(), False, 0
    while not finished:
        folder = tmp_path / str(touches)
        save_weights(folder, old, {"recipe": "old"})
        pulled_at(touches)
        try:
            save_weights(folder, new, {"recipe": "new"})
            finished = True
        except PlugPulled:
            pass
        monkeypatch.undo()
        back = initialised(lambda: MLP(width=4, layers=1), make_generator(2))
        card = load_weights(folder, back)
        assert same_weights(back, weights_of({"old": old, "new": new}[card["recipe"]]))
        seen.add((card["recipe"], finished))
        save_weights(folder, new, {"recipe": "new"})
        assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
        touches += 1
    assert touches > 5 and {("old", False), ("new", False), ("new", True)} == seen


def test_weights_and_card_agree_though_the_plug_is_pulled_twice(tmp_path, pulled_at, monkeypatch, make_generator):
    """At each pair of touches of the disk: a second run that is cut off where a first one was."""
    nets = {
        name: initialised(lambda: MLP(width=4, layers=1), make_generator(i))
        for i, name in enumerate(["old", "new", "newer"])
    }
    for first, second in itertools.product(range(8), repeat=2):
        folder = tmp_path / f"{first}-{second}"
        save_weights(folder, nets["old"], {"recipe": "old"})
        for touches, name in ((first, "new"), (second, "newer")):
            pulled_at(touches)
            with contextlib.suppress(PlugPulled):
                save_weights(folder, nets[name], {"recipe": name})
            monkeypatch.undo()
        back = initialised(lambda: MLP(width=4, layers=1), make_generator(5))
        card = load_weights(folder, back)
        assert same_weights(back, weights_of(nets[card["recipe"]])), (first, second)


def test_who_reads_while_another_writes_finds_a_pair(tmp_path, make_generator):
    """A hundred saves in another thread, and as many readings as fit in between."""
    nets = [initialised(lambda: MLP(width=4, layers=1), make_generator(stream)) for stream in (0, 1)]
    save_weights(tmp_path, nets[0], {"recipe": 0})
    writer = threading.Thread(
        target=lambda: [save_weights(tmp_path, nets[i % 2], {"recipe": i % 2}) for i in range(100)]
    )
    writer.start()
    back, readings = initialised(lambda: MLP(width=4, layers=1), make_generator(2)), 0
    while writer.is_alive():
        card = load_weights(tmp_path, back)
        assert same_weights(back, weights_of(nets[card["recipe"]]))
        readings += 1
    writer.join()
    assert readings > 3


CARDS = {"no JSON": b"not json", "empty": b"", "a list": b"[]", "a number": b"5", "no text": b"\xff\xfe"}


@pytest.mark.parametrize("content", CARDS.values(), ids=CARDS)
def test_a_card_that_is_damaged_is_named(saved, content):
    net, folder = saved
    (folder / "card.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"card.json is damaged: it (is not JSON|must hold a JSON object)"):
        load_weights(folder, net)


def test_a_full_disk_leaves_the_old_files_and_no_draft(saved, pulled_at, monkeypatch, make_generator):
    net, folder = saved
    other = other_classifier(make_generator)
    pulled_at(0, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        save_weights(folder, other, {"recipe": "other"})
    monkeypatch.undo()
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert load_weights(folder, other)["recipe"] == "some" and same_weights(other, weights_of(net))


def test_a_card_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path, make_generator):
    with pytest.raises(TypeError):
        save_weights(tmp_path / "folder", other_classifier(make_generator), {"when": object()})
    assert list(tmp_path.iterdir()) == []


# --- the card alone is enough ----------------------------------------------------------------------------------------

ARCHITECTURES = {
    "points": {"network": "MLP", "dimension": 3, "width": 8, "layers": 1, "classes": 2},
    "images": {"network": "UNet", "channels": 3, "widths": [16, 32], "blocks": 1, "patch": 1, "classes": 4},
    "classes": {"network": "Classifier", "classes": 3},
    "noisy classes": {"network": "NoisyClassifier", "channels": 1, "widths": [16, 32], "classes": 3},
    "as it comes": {"network": "MLP"},
}


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
@pytest.mark.parametrize("place", ["", "weights.safetensors", "card.json"])
def test_a_network_is_loaded_by_its_card_alone(architecture, place, tmp_path, make_generator):
    """By its folder, and by either of its files. It is ready to use: in evaluation, and without gradients."""
    net = initialised(lambda: build(architecture), make_generator(4))
    save_weights(tmp_path, net, {"architecture": architecture, "seed": 3})
    before = torch.get_rng_state()
    back, card = load_network(tmp_path / place)
    assert torch.equal(torch.get_rng_state(), before)
    assert type(back) is type(net) and same_weights(back, weights_of(net))
    assert card["seed"] == 3 and card["architecture"] == architecture
    assert not back.training and not any(weight.requires_grad for weight in back.parameters())


def test_a_network_is_built_as_its_record_says(make_generator):
    """The four kinds of network, with their own arguments. Lists are what JSON makes of tuples."""
    made = initialised(
        lambda: build({"network": "UNet", "widths": [16, 32], "blocks": 1, "classes": 2}), make_generator(0)
    )
    alike = initialised(lambda: UNet(widths=(16, 32), blocks=1, classes=2), make_generator(0))
    assert same_weights(made, weights_of(alike))
    with torch.random.fork_rng(devices=[]):
        kinds = {name: type(build({"network": name})) for name in ("MLP", "Classifier", "NoisyClassifier")}
    assert kinds == {"MLP": MLP, "Classifier": Classifier, "NoisyClassifier": NoisyClassifier}


WRONG = {
    "no network": ({}, "must name a network, one of MLP, UNet, .*, but names None"),
    "another network": ({"network": "Sequential"}, "but names 'Sequential'"),
    "another argument": ({"network": "MLP", "depth": 3}, "must hold arguments of MLP, but holds {'depth': 3} "),
    "a wrong argument": ({"network": "UNet", "widths": [5]}, r"widths must be one or more multiples of 16"),
}


@pytest.mark.parametrize(("architecture", "words"), WRONG.values(), ids=WRONG)
def test_an_architecture_that_is_none_is_refused(architecture, words, tmp_path, make_generator):
    with torch.random.fork_rng(devices=[]), pytest.raises(ValueError, match=words):
        build(architecture)
    save_weights(tmp_path, initialised(MLP, make_generator(0)), {"architecture": architecture})
    with pytest.raises(Damaged, match=r"card.json does not say which network it is: .*" + words):
        load_network(tmp_path)


@pytest.mark.parametrize("card", [{}, {"architecture": None}, {"architecture": ["MLP"]}, {"architecture": "MLP"}])
def test_a_card_without_an_architecture_is_refused(card, tmp_path, make_generator):
    save_weights(tmp_path, initialised(MLP, make_generator(0)), card)
    with pytest.raises(Damaged, match=r"card.json does not say which network it is: "):
        load_network(tmp_path)


def test_fault_16_a_misfit_shows_its_cause(tmp_path, make_generator):
    """The beginning and the end of what PyTorch says of it, where the cause tends to stand."""
    save_weights(tmp_path, initialised(lambda: MLP(width=8), make_generator(0)), {})
    other = initialised(lambda: MLP(width=16), make_generator(0))
    with pytest.raises(Damaged) as error:
        load_weights(tmp_path, other)
    said = str(error.value)
    assert said.startswith(f"the weights in {tmp_path} do not fit this network: Error(s) in loading state_dict for MLP")
    assert said.endswith(
        "copying a param with shape torch.Size([2, 8]) from checkpoint, the shape in current model is "
        "torch.Size([2, 16])."
    )
    assert len(said) < 500 and "\n" not in said


def test_the_home_is_found_in_a_folder_s_name(tmp_path, monkeypatch, make_generator):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_weights(tmp_path / "run", initialised(MLP, make_generator(0)), {"architecture": {"network": "MLP"}})
    assert load_network("~/run")[1]["architecture"] == {"network": "MLP"}


# --- where they lie --------------------------------------------------------------------------------------------------


def test_fault_16_the_data_folder_may_begin_with_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("MINIDIFF_DATA", "~/x")
    (tmp_path / "x" / "checkpoints" / "mine").mkdir(parents=True)
    (tmp_path / "x" / "checkpoints" / "mine" / "card.json").touch()
    assert checkpoint_folder("mine") == tmp_path / "x" / "checkpoints" / "mine"


@pytest.mark.parametrize(
    ("python", "typed"),
    [
        ("{here}/.venv/bin/python", ".venv/bin/python"),
        ("{here}/my env/bin/python", "'my env/bin/python'"),
        ("{here}/python", "./python"),
        ("/usr/bin/python3", "/usr/bin/python3"),
    ],
)
def test_fault_9_a_missing_checkpoint_comes_with_a_command_that_can_be_typed(python, typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", python.format(here=Path.cwd()))
    monkeypatch.setattr(checkpoints, "course_file", nowhere)
    with pytest.raises(FileNotFoundError) as error:
        checkpoint_folder("mnist-ddpm")
    making = f"{typed} -m minidiff train mnist-ddpm --out data/checkpoints/mnist-ddpm"
    assert str(error.value) == f"no checkpoint 'mnist-ddpm': no such file; `{making}` makes it"


def nowhere(name):
    raise FileNotFoundError("no such file")


def test_checkpoints_are_looked_for_in_order(tmp_path, monkeypatch):
    """$MINIDIFF_DATA, then the repository above the working directory, then that of the package."""
    repository, elsewhere = tmp_path / "course", tmp_path / "data"
    (repository / "minidiff").mkdir(parents=True)
    (repository / "minidiff" / "__init__.py").touch()
    (repository / "notebooks").mkdir()
    monkeypatch.chdir(repository / "notebooks")
    monkeypatch.setenv("MINIDIFF_DATA", str(elsewhere))
    assert repositories_above() == [repository]
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint 'digits-x': no checkpoints/digits-x/card.json in .*data$"
    ) as error:
        checkpoint_folder("digits-x")
    for folder in (elsewhere, repository / "data"):
        assert str(folder) in str(error.value)
    for folder in (repository / "data" / "checkpoints", elsewhere / "checkpoints"):
        (folder / "digits-x").mkdir(parents=True)
        (folder / "digits-x" / "card.json").touch()
        assert checkpoint_folder("digits-x") == folder / "digits-x"
    monkeypatch.delenv("MINIDIFF_DATA")
    assert checkpoint_folder("digits-x") == repository / "data" / "checkpoints" / "digits-x"
