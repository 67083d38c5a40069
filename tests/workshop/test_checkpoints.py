"""Weights and whole trainings on disk: they come back to the last bit, and damage is noticed."""

import contextlib
import hashlib
import itertools
import json
import threading

import pytest
import torch
from safetensors import safe_open

from minidiff import checkpoints
from minidiff.checkpoints import (
    STATE,
    STATE_BEFORE,
    Damaged,
    FolderInUse,
    Training,
    checkpoint_folder,
    load_snapshot,
    load_weights,
    read_snapshot,
    restore,
    save_snapshot,
    save_weights,
    sole_writer,
    take,
)
from minidiff.data import repositories_above
from minidiff.networks import MLP, Classifier, UNet, initialised
from minidiff.recipes import digit_optimizer
from minidiff.schedules import cosine
from minidiff.training import EMA, denoising_objective, fresh_batches, train, warmup_cosine
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
    pulled_at(0, OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        save_weights(folder, other, {"recipe": "other"})
    monkeypatch.undo()
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert load_weights(folder, other)["recipe"] == "some" and same_weights(other, weights_of(net))


def test_a_card_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path, make_generator):
    with pytest.raises(TypeError):
        save_weights(tmp_path / "folder", other_classifier(make_generator), {"when": object()})
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_looked_for_in_order(tmp_path, monkeypatch):
    """$MINIDIFF_DATA, then the repository above the working directory, then that of the package."""
    repository, elsewhere = tmp_path / "course", tmp_path / "data"
    (repository / "minidiff").mkdir(parents=True)
    (repository / "minidiff" / "__init__.py").touch()
    (repository / "notebooks").mkdir()
    monkeypatch.chdir(repository / "notebooks")
    monkeypatch.setenv("MINIDIFF_DATA", str(elsewhere))
    assert repositories_above() == [repository]
    checkpoints_file = checkpoints.__file__
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint 'digits-x': no checkpoints/digits-x/card.json in .*data$"
    ) as error:
        checkpoint_folder("digits-x")
    with pytest.raises(FileNotFoundError, match=r"`python -m minidiff.recipes mnist-ddpm` makes it"):
        monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "package" / "minidiff" / "checkpoints.py"))
        checkpoint_folder("mnist-ddpm")
    monkeypatch.setattr(checkpoints, "__file__", checkpoints_file)
    for folder in (elsewhere, repository / "data"):
        assert str(folder) in str(error.value)
    for folder in (repository / "data" / "checkpoints", elsewhere / "checkpoints"):
        (folder / "digits-x").mkdir(parents=True)
        (folder / "digits-x" / "card.json").touch()
        assert checkpoint_folder("digits-x") == folder / "digits-x"
    monkeypatch.delenv("MINIDIFF_DATA")
    assert checkpoint_folder("digits-x") == repository / "data" / "checkpoints" / "digits-x"


# --- snapshots -------------------------------------------------------------------------------------------------------


def some_training(kind, make_generator):
    """A training of points with AdamW, or of images with Muon and AdamW, in channels_last."""
    net = initialised(MLP if kind == "points" else lambda: UNet(widths=(16, 32), blocks=1, patch=1), make_generator(0))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01) if kind == "points" else digit_optimizer(net, 0.01)
    return Training(net, EMA(net), optimizer, warmup_cosine(optimizer, steps=12, warmup=3), make_generator(1))


def advance(training, kind, start, stop):
    """The steps from start to stop, as any caller would make them. Returns the losses."""
    shape = (2,) if kind == "points" else (1, 8, 8)
    net, ema, optimizer, schedule, generator = training
    data = fresh_batches(
        lambda n, g: torch.randn(n, *shape, generator=g), batch_size=4, steps=stop, seed=0, start=start
    )
    objective = denoising_objective(cosine(), "v")
    steps = train(net, data, objective, optimizer, generator=generator, schedule=schedule, ema=ema, start=start)
    return [tuple(step) for step in steps]


KINDS = pytest.mark.parametrize("kind", ["points", "images"])


@KINDS
@pytest.mark.parametrize("cut", [0, 1, 2, 7])
def test_a_training_that_is_put_back_ends_with_the_same_bits(kind, cut, tmp_path, make_generator, one_thread):
    whole, begun, other = (some_training(kind, make_generator) for _ in range(3))
    losses = advance(whole, kind, 0, 10)
    before = advance(begun, kind, 0, cut)
    save_snapshot(tmp_path, take(begun, {"step": cut}))
    advance(other, kind, 0, 3)  # whatever it did before is forgotten
    snapshot = load_snapshot(tmp_path, pytest.fail)
    assert snapshot.record["step"] == cut
    restore(other, snapshot)
    assert before + advance(other, kind, cut, 10) == losses
    assert same_weights(other.net, weights_of(whole.net)) and same_weights(other.ema.net, weights_of(whole.ema.net))
    assert other.ema.steps == whole.ema.steps == 10
    assert other.schedule.get_last_lr() == whole.schedule.get_last_lr()
    assert torch.equal(other.generator.get_state(), whole.generator.get_state())
    mine, theirs = take(other, {}), take(whole, {})
    assert json.dumps(mine.record) == json.dumps(theirs.record) and mine.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(value, theirs.tensors[name]) for name, value in mine.tensors.items())


def test_a_snapshot_of_another_training_is_refused(make_generator):
    points, images = (some_training(kind, make_generator) for kind in ("points", "images"))
    with pytest.raises(ValueError, match="the snapshot is of another training"):
        restore(points, take(images, {}))


@pytest.fixture
def two_snapshots(tmp_path, make_generator):
    """A folder with snapshots of steps 1 and 2, and the training."""
    training = some_training("points", make_generator)
    for step in (1, 2, 3):
        advance(training, "points", step - 1, step)
        save_snapshot(tmp_path, take(training, {"step": step}))
    return tmp_path, training


def test_the_last_two_snapshots_are_kept(two_snapshots):
    folder, _ = two_snapshots
    assert sorted(path.name for path in folder.iterdir()) == [STATE_BEFORE, STATE]
    steps = [read_snapshot((folder / name).read_bytes()).record["step"] for name in (STATE, STATE_BEFORE)]
    assert steps == [3, 2]


def places(content):
    """Where to flip a bit: the length of the header, the header, the tensors."""
    length = int.from_bytes(content[:8], "little")
    note = content.index(b"__metadata__")
    return [0, 7, 9, note, note + 30, 8 + length // 2, 8 + length - 3, 8 + length, len(content) // 2, len(content) - 1]


DAMAGES = {
    **{f"bit {i}": lambda content, i=i: flipped(content, places(content)[i]) for i in range(10)},
    "cut off": lambda content: content[: len(content) // 2],
    "cut off by one": lambda content: content[:-1],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "something else": lambda content: b"{}" * 1000,
}


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_snapshot_is_recognised_and_the_one_before_it_is_used(two_snapshots, damage):
    folder, _ = two_snapshots
    (folder / STATE).write_bytes(damage((folder / STATE).read_bytes()))
    said = []
    snapshot = load_snapshot(folder, said.append)
    assert snapshot.record["step"] == 2
    assert len(said) == 1 and "\n" not in said[0]
    assert f"{folder / STATE} is damaged (" in said[0]
    assert said[0].endswith(f": going on from the one before it, {folder / STATE_BEFORE}")


def test_where_both_are_damaged_nothing_is_made_up(two_snapshots):
    folder, _ = two_snapshots
    for name in (STATE, STATE_BEFORE):
        (folder / name).write_bytes(flipped((folder / name).read_bytes(), -1 + (folder / name).stat().st_size))
    with pytest.raises(Damaged, match=r"no whole one is left, so begin again in another folder"):
        load_snapshot(folder, pytest.fail)


def test_a_folder_without_snapshots_has_none(tmp_path):
    assert load_snapshot(tmp_path, pytest.fail) is None
    assert load_snapshot(tmp_path / "nowhere", pytest.fail) is None


def test_wherever_the_plug_is_pulled_a_whole_snapshot_stands(two_snapshots, pulled_at, monkeypatch):
    folder, training = two_snapshots
    newest, finished, touches, seen = 3, False, 0, set()
    while not finished:
        pulled_at(touches)
        try:
            save_snapshot(folder, take(training, {"step": newest + 1}))
            finished = True
        except PlugPulled:
            pass
        monkeypatch.undo()
        step = load_snapshot(folder, pytest.fail).record["step"]
        assert step in (newest, newest + 1)
        seen.add(step - newest)
        newest = step
        touches += 1
    assert touches > 3 and seen == {0, 1}


def test_the_state_of_an_optimizer_must_be_tensors(make_generator):
    training = some_training("points", make_generator)
    training.optimizer.state[next(training.net.parameters())]["calls"] = 3
    with pytest.raises(TypeError, match=r"must be made of tensors, but optimizer/0/calls is int 3"):
        take(training, {})


# --- one writer ------------------------------------------------------------------------------------------------------


def test_a_folder_has_one_writer_at_a_time(tmp_path):
    with sole_writer(tmp_path / "run"):
        with pytest.raises(FolderInUse, match=r"another run is writing to .*run: wait"), sole_writer(tmp_path / "run"):
            pass
        with sole_writer(tmp_path / "other"):
            pass
    with sole_writer(tmp_path / "run"):
        pass
