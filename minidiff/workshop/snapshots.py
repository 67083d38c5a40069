"""The whole state of a training that may be cut off at any moment.

Every file is written under a temporary name, flushed to the disk, and renamed. A snapshot knows its own SHA-256, so
that damage is noticed; the one before it is kept.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from minidiff._tensors import describe
from minidiff.checkpoints import Damaged, as_stored, shortened, write_file
from minidiff.training import EMA

__all__ = [
    "STATE",
    "STATE_BEFORE",
    "FolderInUse",
    "Snapshot",
    "Training",
    "from_bytes",
    "load_snapshot",
    "put_in_place",
    "restore",
    "save_snapshot",
    "snapshot_of",
    "sole_writer",
    "to_bytes",
]

STATE, STATE_BEFORE = "state.safetensors", "state-before.safetensors"  # the last two snapshots
NEW_STATE = ".state-new.safetensors"  # whole, but not yet in place


class FolderInUse(RuntimeError):
    """Another run is writing to the folder."""


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


def snapshot_of(training: Training, record: dict[str, Any]) -> Snapshot:
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
    return Snapshot({name: as_stored(value) for name, value in tensors.items()}, {**record, "training": numbers})


def restore(training: Training, snapshot: Snapshot) -> None:
    """Put a training to where `snapshot_of` found it. Raises Damaged (a ValueError) where it is of another one."""
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
    except (RuntimeError, ValueError, KeyError) as error:
        why = shortened(" ".join(str(error).split()))
        raise Damaged(f"the snapshot is of another training: {why}") from error
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
    write_file(folder / NEW_STATE, to_bytes(snapshot))  # whole, before the two that are there are touched
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
            snapshot = from_bytes((folder / name).read_bytes())
        except Damaged as error:
            damaged.append(f"{folder / name} is damaged ({error})")
            continue
        for line in damaged:
            warn(f"{line}: going on from the one before it, {folder / name}")
        return snapshot
    if damaged:
        raise Damaged("; ".join(damaged) + ": no whole one is left, so begin again in another folder")
    return None


def to_bytes(snapshot: Snapshot) -> bytes:
    """A snapshot as the bytes of a safetensors file, with its own SHA-256."""
    record = json.dumps(snapshot.record)
    return safetensors.torch.save(snapshot.tensors, {"record": record, "sha256": digest(snapshot.tensors, record)})


def from_bytes(content: bytes) -> Snapshot:
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
