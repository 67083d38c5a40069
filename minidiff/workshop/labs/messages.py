"""What the judge and the worker tell each other: one frame of safetensors each, tensors with a header of words.

Nothing is unpickled. What comes from a worker was written by a stranger's program: it is read with limits, and its form
is checked before anything is done with it.
"""

import json
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import torch
from safetensors.torch import load, save
from torch import Tensor

from minidiff.checks.records import RNG, Case, Incident, Observation

__all__ = ["MOST_BYTES", "Unreadable", "packed", "read_cases", "read_frame", "read_observation", "unpacked"]
__all__ += ["write_cases", "write_frame", "write_observation"]

MOST_BYTES = 1 << 26  # of a frame: 200 calls of 10,000 numbers in double precision are a quarter of it
MOST_HEADER = 1 << 20
LONGEST_WORDS = 2000
FRAME = struct.Struct("<Q")
JOB = "job"


class Unreadable(ValueError):
    """What came back is no message."""


def packed(words: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    """Words in JSON's types, and tensors, as one message."""
    apart = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return save(apart, {JOB: json.dumps(words)})  # safetensors takes no two tensors of one memory


def unpacked(message: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The words and the tensors of a message. Raises Unreadable for anything else."""
    if len(message) < FRAME.size or len(message) > MOST_BYTES:
        raise Unreadable(f"a message has {len(message)} bytes")
    (length,) = FRAME.unpack_from(message)
    if length > min(MOST_HEADER, len(message) - FRAME.size):
        raise Unreadable(f"a header claims {length} bytes")
    try:
        header = json.loads(message[FRAME.size : FRAME.size + length])
        words = json.loads(header["__metadata__"][JOB])
        tensors = load(message)
    except Exception as error:  # safetensors has errors of its own
        raise Unreadable(f"no message: {type(error).__name__}") from None
    if not isinstance(words, dict):
        raise Unreadable("no message: its words are no table")
    return words, tensors


def write_frame(stream: BinaryIO, message: bytes) -> None:
    """The length of a message, and the message."""
    stream.write(FRAME.pack(len(message)) + message)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next message, None where there is none left. Raises Unreadable where one is broken off or too long."""
    head = stream.read(FRAME.size)
    if not head:
        return None
    length = FRAME.unpack(head)[0] if len(head) == FRAME.size else MOST_BYTES + 1
    if length > MOST_BYTES:
        raise Unreadable("a frame is broken off or too long")
    message = stream.read(length)
    if len(message) < length:
        raise Unreadable("a frame is broken off")
    return message


def write_cases(cases: tuple[Case, ...], given: tuple[Callable, ...]) -> tuple[list[dict], dict[str, Tensor]]:
    """Cases as words and tensors. Functions of `given` travel by name."""
    tensors: dict[str, Tensor] = {}

    def coded(value: object) -> list:
        if value is RNG:
            return ["rng"]
        if isinstance(value, Tensor):
            tensors[key := f"argument {len(tensors)}"] = value
            return ["tensor", key]
        if isinstance(value, tuple):
            return ["tuple", [coded(part) for part in value]]
        if value in given:
            return ["given", value.__name__]
        if value is None or isinstance(value, (bool, int, float, str)):
            return ["plain", value]
        raise TypeError(f"a case holds {value!r}, which cannot travel to a sandbox")

    return [{"args": [coded(value) for value in case.args], "says": case.says} for case in cases], tensors


def read_cases(listed: list[dict], tensors: dict[str, Tensor], given: dict[str, Callable]) -> tuple[Case, ...]:
    """The cases that `write_cases` wrote."""

    def value_of(code: list) -> object:
        kind, *rest = code
        if kind == "rng":
            return RNG
        if kind == "tensor":
            return tensors[rest[0]]
        if kind == "tuple":
            return tuple(value_of(part) for part in rest[0])
        return given[rest[0]] if kind == "given" else rest[0]

    return tuple(Case(tuple(value_of(code) for code in one["args"]), one["says"]) for one in listed)


def write_observation(seen: Observation) -> bytes:
    """An observation as a message."""
    tensors = {f"{k}.{j}": part for k, parts in enumerate(seen.outputs) for j, part in enumerate(parts)}
    incident = seen.incident and [seen.incident.kind, seen.incident.text, seen.incident.advice]
    words = {"parts": [len(parts) for parts in seen.outputs], "returned": seen.returned, "incident": incident}
    return packed({**words, "remarks": seen.remarks}, tensors)


def read_observation(message: bytes, cases: tuple[Case, ...], calls: int) -> Observation:
    """The observation in a message from a worker, checked. Raises Unreadable where it is not what a worker writes.

    An answer may have written it itself. It can do no more with that than with what it returns: without an incident
    there are finite numbers for every case, as many rows as there were calls.
    """
    words, tensors = unpacked(message)
    parts, incident = words.get("parts"), words.get("incident")
    if (
        not isinstance(parts, list)
        or not all(type(n) is int and 1 <= n <= 10 for n in parts)
        or len(parts) > len(cases)
    ):
        raise Unreadable("its parts are no list")
    if incident is not None and not (_words(incident) and len(incident) == 3):
        raise Unreadable("its incident is none")
    if not _words(words.get("returned")) or not _words(words.get("remarks")):
        raise Unreadable("its words are none")
    if sorted(tensors) != sorted(f"{k}.{j}" for k, n in enumerate(parts) for j in range(n)):
        raise Unreadable("its tensors are others than it says")
    if len(words["returned"]) != len(parts) or (incident is None and len(parts) != len(cases)):
        raise Unreadable("cases are missing")
    outputs = tuple(tuple(tensors[f"{k}.{j}"] for j in range(n)) for k, n in enumerate(parts))
    if incident is None:
        for case, given in zip(cases, outputs, strict=True):
            rows = calls if any(argument is RNG for argument in case.args) else 2
            for part in given:
                if part.ndim < 1 or len(part) != rows or not bool(torch.isfinite(part).all()):
                    raise Unreadable(f"{len(part) if part.ndim else 0} rows instead of {rows}, or not finite")
    return Observation(outputs, tuple(words["returned"]), incident and Incident(*incident), tuple(words["remarks"]))


def _words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and len(one) <= LONGEST_WORDS for one in value)
