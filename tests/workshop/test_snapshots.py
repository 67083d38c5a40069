"""Whole trainings on disk: they go on to the same bits, damage is noticed, and a plug may be pulled at any moment."""

import json

import pytest
import torch

from minidiff.checkpoints import Damaged
from minidiff.digits import digit_optimizer
from minidiff.networks import MLP, UNet, initialised
from minidiff.schedules import cosine
from minidiff.training import EMA, denoising_objective, fresh_batches, train, warmup_cosine
from minidiff.workshop.snapshots import (
    STATE,
    STATE_BEFORE,
    FolderInUse,
    Training,
    from_bytes,
    load_snapshot,
    restore,
    save_snapshot,
    snapshot_of,
    sole_writer,
    to_bytes,
)
from tests.cases import PlugPulled, same_weights, weights_of


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
    save_snapshot(tmp_path, snapshot_of(begun, {"step": cut}))
    advance(other, kind, 0, 3)  # whatever it did before is forgotten
    snapshot = load_snapshot(tmp_path, pytest.fail)
    assert snapshot.record["step"] == cut
    restore(other, snapshot)
    assert before + advance(other, kind, cut, 10) == losses
    assert same_weights(other.net, weights_of(whole.net)) and same_weights(other.ema.net, weights_of(whole.ema.net))
    assert other.ema.steps == whole.ema.steps == 10
    assert other.schedule.get_last_lr() == whole.schedule.get_last_lr()
    assert torch.equal(other.generator.get_state(), whole.generator.get_state())
    mine, theirs = snapshot_of(other, {}), snapshot_of(whole, {})
    assert json.dumps(mine.record) == json.dumps(theirs.record) and mine.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(value, theirs.tensors[name]) for name, value in mine.tensors.items())


def test_a_snapshot_of_another_training_is_refused_in_one_line(make_generator):
    points, images = (some_training(kind, make_generator) for kind in ("points", "images"))
    with pytest.raises(Damaged, match="the snapshot is of another training") as error:
        restore(points, snapshot_of(images, {}))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    incomplete = snapshot_of(points, {})
    del incomplete.tensors["generator"]
    with pytest.raises(Damaged, match="the snapshot is of another training"):
        restore(points, incomplete)


@KINDS
def test_a_snapshot_travels_as_bytes(kind, make_generator):
    """As the lead sends it to the other workers."""
    snapshot = snapshot_of(some_training(kind, make_generator), {"step": 3, "losses": [0.1]})
    back = from_bytes(to_bytes(snapshot))
    assert back.record == json.loads(json.dumps(snapshot.record)) and back.tensors.keys() == snapshot.tensors.keys()
    assert all(torch.equal(value, snapshot.tensors[name]) for name, value in back.tensors.items())


@pytest.fixture
def two_snapshots(tmp_path, make_generator):
    """A folder with snapshots of steps 1 and 2, and the training."""
    training = some_training("points", make_generator)
    for step in (1, 2, 3):
        advance(training, "points", step - 1, step)
        save_snapshot(tmp_path, snapshot_of(training, {"step": step}))
    return tmp_path, training


def test_the_last_two_snapshots_are_kept(two_snapshots):
    folder, _ = two_snapshots
    assert sorted(path.name for path in folder.iterdir()) == [STATE_BEFORE, STATE]
    steps = [from_bytes((folder / name).read_bytes()).record["step"] for name in (STATE, STATE_BEFORE)]
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
            save_snapshot(folder, snapshot_of(training, {"step": newest + 1}))
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
        snapshot_of(training, {})


# --- one writer ------------------------------------------------------------------------------------------------------


def test_a_folder_has_one_writer_at_a_time(tmp_path):
    with sole_writer(tmp_path / "run"):
        with pytest.raises(FolderInUse, match=r"another run is writing to .*run: wait"), sole_writer(tmp_path / "run"):
            pass
        with sole_writer(tmp_path / "other"):
            pass
    with sole_writer(tmp_path / "run"):
        pass
