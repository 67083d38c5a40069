"""Training on disk: weights with a card that says what they are, and the whole state of a training that may be cut off
at any moment. Taught in notebook 13.

Every file is written under a temporary name, flushed to the disk, and renamed: a reader finds the old file or the new
one, never half of one. Nothing is unpickled. Each file is known by its SHA-256, so that damage is noticed.
"""

import contextlib
import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from minidiff._tensors import describe
from minidiff.data import repositories_above
from minidiff.training import EMA

__all__ = [
    "CARD",
    "NEW_CARD",
    "STATE",
    "STATE_BEFORE",
    "WEIGHTS",
    "Damaged",
    "FolderInUse",
    "Snapshot",
    "Training",
    "checkpoint_folder",
    "course_file",
    "load_snapshot",
    "load_weights",
    "packed",
    "put_in_place",
    "read_card",
    "read_snapshot",
    "restore",
    "save_snapshot",
    "save_weights",
    "sole_writer",
    "take",
    "write_file",
]

SHIPPED = ("mnist-classifier", "mnist-classifier-noisy", "mnist-ddpm", "mnist-ddpm-labels")
WEIGHTS, CARD = "weights.safetensors", "card.json"
STATE, STATE_BEFORE = "state.safetensors", "state-before.safetensors"  # the last two snapshots
NEW_CARD, NEW_STATE = ".card-new.json", ".state-new.safetensors"  # whole, but not yet in place


def write_file(path: Path, content: bytes) -> None:
    """Put a file in place, whole or not at all, also where the power fails. An error leaves nothing behind."""
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name is on the disk only once the folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class FolderInUse(RuntimeError):
    """Another run is writing to the folder."""


class Damaged(ValueError):
    """A file is not what was written."""


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder for as long as a run writes to it. Raises FolderInUse where another run does.

    The operating system lets go of the folder when the process ends, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise FolderInUse(
            f"another run is writing to {folder}: wait for it to end, or choose another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


# Weights and their card


def save_weights(folder: str | Path, net: nn.Module, card: dict[str, Any]) -> None:
    """Write a network's weights and a card that says what they are: `weights.safetensors` and `card.json`.

    The card holds the SHA-256 of the weights. A run that is cut off between the two files leaves the new card beside
    the old one, under its temporary name, where `load_weights` finds it.
    """
    json.dumps(card)  # a card that cannot be written fails here, before anything is
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / NEW_CARD).is_file() and (folder / WEIGHTS).is_file():  # of a run that was cut off: is it theirs?
        with contextlib.suppress(Damaged):
            if card_of(folder / NEW_CARD).get("sha256") == sha256_of((folder / WEIGHTS).read_bytes()):
                os.replace(folder / NEW_CARD, folder / CARD)
    content = safetensors.torch.save({name: stored(value) for name, value in net.state_dict().items()})
    text = json.dumps({**card, "sha256": sha256_of(content)}, indent=2) + "\n"
    write_file(folder / NEW_CARD, text.encode())
    write_file(folder / WEIGHTS, content)
    os.replace(folder / NEW_CARD, folder / CARD)


def load_weights(folder: str | Path, net: nn.Module) -> dict[str, Any]:
    """Fill a network with the weights of a folder, and return their card. Nothing is unpickled.

    Raises FileNotFoundError where a file is missing, Damaged (a ValueError) where the weights are damaged or of another
    network.
    """
    folder = Path(folder)
    content, card = read_weights(folder)
    try:
        weights = safetensors.torch.load(content)
        copy.deepcopy(net).load_state_dict(weights)  # a misfit is found here, before it has half filled the network
        net.load_state_dict(weights)
    except (RuntimeError, SafetensorError) as error:
        why = " ".join(str(error).split())[:200]
        raise Damaged(f"the weights in {folder} do not fit this network: {why}") from error
    return card


def read_weights(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the weights and the card that belongs to them."""
    for patience in (0.2, 0.2, 0):  # a run may be writing just now: then another look finds them in order
        cards = [folder / name for name in (CARD, NEW_CARD) if (folder / name).is_file()]
        if not (folder / WEIGHTS).is_file() or not cards:
            missing = folder / (CARD if (folder / WEIGHTS).is_file() else WEIGHTS)
            raise FileNotFoundError(f"{missing} is missing: folder must hold {WEIGHTS} and {CARD}")
        content = (folder / WEIGHTS).read_bytes()
        for path in cards:
            with contextlib.suppress(FileNotFoundError):
                card = card_of(path)
                if card.get("sha256") == sha256_of(content):
                    return content, card
        time.sleep(patience)
    raise Damaged(f"{folder / WEIGHTS} is damaged: its SHA-256 is not the one in {CARD}")


def card_of(path: Path) -> dict[str, Any]:
    """What a card says. Raises Damaged where it is no JSON object."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Damaged(f"{path} is damaged: it is not JSON ({error})") from error
    if not isinstance(card, dict):
        raise Damaged(f"{path} is damaged: it must hold a JSON object, but holds {type(card).__name__}")
    return card


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_card(folder: Path) -> dict[str, Any]:
    """The card of the weights in a folder, once they are known to be whole."""
    return read_weights(folder)[1]


def course_file(name: str) -> Path:
    """Where a file that comes with the course lies: in `$MINIDIFF_DATA`, the `data` of the repository above, or that of
    the package.

    Raises FileNotFoundError, naming the folders it looked in.
    """
    folders = [Path(os.environ["MINIDIFF_DATA"])] if os.environ.get("MINIDIFF_DATA") else []
    folders += [above / "data" for above in repositories_above()]
    folders.append(Path(__file__).parents[1] / "data")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"no {name} in {', '.join(dict.fromkeys(str(folder) for folder in folders))}")


def checkpoint_folder(name: str) -> Path:
    """Where a checkpoint of the course lies.

    Raises FileNotFoundError, naming the folders it looked in.
    """
    try:
        return course_file(f"checkpoints/{name}/{CARD}").parent
    except FileNotFoundError as error:
        cure = f"; `python -m minidiff.recipes {name}` makes it" if name in SHIPPED else ""
        raise FileNotFoundError(f"no checkpoint {name!r}: {error}{cure}") from None


# The whole state of a training


class Training(NamedTuple):
    """Everything that a step of training changes."""

    net: nn.Module
    ema: EMA
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    generator: torch.Generator


class Snapshot(NamedTuple):
    """Everything that the next step depends on: tensors by name, and what can be said in JSON."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]


def take(training: Training, record: dict[str, Any]) -> Snapshot:
    """The state of a training between two steps. `record` is the caller's own part, such as the step.

    On the CPU it shares memory with the training: write it before the next step.
    """
    net, ema, optimizer, schedule, generator = training
    optimizing = optimizer.state_dict()
    tensors = {f"network/{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in ema.net.state_dict().items()}
    for index, state in optimizing["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    tensors["generator"] = generator.get_state()
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"the state of an optimizer must be made of tensors, but {name} is {describe(value)}")
    scheduling = {name: value for name, value in schedule.state_dict().items() if name != "lr_lambdas"}
    numbers = {"groups": optimizing["param_groups"], "schedule": scheduling, "average steps": ema.steps}
    return Snapshot({name: stored(value) for name, value in tensors.items()}, {**record, "training": numbers})


def restore(training: Training, snapshot: Snapshot) -> None:
    """Put a training to where `take` found it. Raises ValueError where the snapshot is of another training."""
    net, ema, optimizer, schedule, generator = training
    numbers, device = snapshot.record["training"], next(net.parameters()).device
    parts: dict[str, dict] = {"network": {}, "average": {}, "optimizer": {}}
    for name, value in snapshot.tensors.items():
        part, _, rest = name.partition("/")
        if rest:
            parts[part][rest] = value.to(device)
    try:
        net.load_state_dict(parts["network"])
        ema.net.load_state_dict(parts["average"])
        optimizer.load_state_dict({"state": by_parameter(parts["optimizer"]), "param_groups": numbers["groups"]})
        generator.set_state(snapshot.tensors["generator"])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the snapshot is of another training: {error}") from error
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:  # stored row by row; a fused optimizer wants the parameter's own layout
                state[name] = torch.empty_like(parameter).copy_(value)
    schedule.load_state_dict({**numbers["schedule"], "lr_lambdas": [None] * len(optimizer.param_groups)})
    ema.steps = numbers["average steps"]


def by_parameter(flat: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """`index/name` -> tensor, as PyTorch's optimizers number their parameters: index -> name -> tensor."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in flat.items():
        index, _, rest = name.partition("/")
        state.setdefault(int(index), {})[rest] = value
    return state


def save_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Write a snapshot to `state.safetensors`; the one that was there becomes `state-before.safetensors`."""
    write_file(folder / NEW_STATE, packed(snapshot))  # whole, before the two that are there are touched
    put_in_place(folder)


def put_in_place(folder: Path) -> None:
    """Give a new snapshot its name, also where the run that wrote it was cut off before it could."""
    if (folder / NEW_STATE).is_file():
        if (folder / STATE).is_file():
            os.replace(folder / STATE, folder / STATE_BEFORE)
        os.replace(folder / NEW_STATE, folder / STATE)


def load_snapshot(folder: Path, warn: Callable[[str], None]) -> Snapshot | None:
    """The newest snapshot of a folder that is whole, or None where there never was one.

    Says through `warn` which one is damaged. Raises Damaged where all are.
    """
    damaged = []
    for name in (NEW_STATE, STATE, STATE_BEFORE):
        if not (folder / name).is_file():
            continue
        try:
            snapshot = read_snapshot((folder / name).read_bytes())
        except Damaged as error:
            damaged.append(f"{folder / name} is damaged ({error})")
            continue
        for line in damaged:
            warn(f"{line}: going on from the one before it, {folder / name}")
        return snapshot
    if damaged:
        raise Damaged("; ".join(damaged) + ": no whole one is left, so begin again in another folder")
    return None


def packed(snapshot: Snapshot) -> bytes:
    """A snapshot as the bytes of a safetensors file, with its own SHA-256."""
    record = json.dumps(snapshot.record)
    return safetensors.torch.save(snapshot.tensors, {"record": record, "sha256": digest(snapshot.tensors, record)})


def read_snapshot(content: bytes) -> Snapshot:
    """The snapshot in the bytes of a file. Raises Damaged where they are not what was written."""
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        note = json.loads(content[8 : 8 + length])["__metadata__"]
        whole = note["sha256"] == digest(tensors, note["record"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Damaged(str(error) or type(error).__name__) from error
    if not whole:
        raise Damaged("its SHA-256 is not the one it was written with")
    return Snapshot(tensors, json.loads(note["record"]))


def digest(tensors: dict[str, Tensor], record: str) -> str:
    """The SHA-256 of everything that a snapshot says."""
    sha = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(memoryview(value.reshape(-1).view(torch.uint8).numpy()))
    return sha.hexdigest()


def stored(value: Tensor) -> Tensor:
    """A tensor as files hold it: on the CPU, row by row."""
    return value.detach().cpu().contiguous()
