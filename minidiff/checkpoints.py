"""Weights on disk, with a card that says what they are. Taught in notebook 13.

Every file is written under a temporary name, flushed to the disk, and renamed: a reader finds the old file or the new
one, never half of one. Nothing is unpickled. Each file is known by its SHA-256, so that damage is noticed.
"""

import contextlib
import copy
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from minidiff import generator
from minidiff._shell import minidiff_command
from minidiff._shipped import how_to_install_again, shipped_folder
from minidiff.data.places import course_file
from minidiff.networks import build, initialised

__all__ = [
    "CARD",
    "NEW_CARD",
    "WEIGHTS",
    "Damaged",
    "as_stored",
    "checkpoint_folder",
    "load_network",
    "load_weights",
    "read_card",
    "save_weights",
    "write_file",
]

SHIPPED = (
    *("mnist-classifier", "mnist-classifier-noisy", "mnist-ddpm", "mnist-ddpm-labels", "mnist-autoencoder"),
    *("captions", "captions-judge", "mnist-4-steps", "mnist-1-step", "plane-gan", "balls", "mnist-upsampler"),
    *("english-fifteen", "english-uniform", "english-gaussian", "english-left-to-right"),
)
WEIGHTS, CARD = "weights.safetensors", "card.json"
NEW_CARD = ".card-new.json"  # whole, but not yet in place


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


class Damaged(ValueError):
    """A file is not what was written."""


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
    content = safetensors.torch.save({name: as_stored(value) for name, value in net.state_dict().items()})
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
    fill(net, content, folder)
    return card


def load_network(place: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a folder, or of a checkpoint that comes with the course, by its name; ready to use, and its card.

    The card says what the network looks like, so nothing else needs to be known. Raises as `load_weights` does, and
    Damaged where the card does not describe a network.
    """
    folder = folder_of(place)
    content, card = read_weights(folder)
    try:
        net = initialised(lambda: build(card["architecture"]), generator(0))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Damaged(f"{folder / CARD} does not say which network it is: {error!r}") from error
    fill(net, content, folder)
    return net.eval().requires_grad_(False), card


def folder_of(place: str | Path) -> Path:
    """The folder that somebody means who names a folder, its weights or card, or a checkpoint of the course."""
    path = Path(place).expanduser()
    if path.is_dir():
        return path
    if path.name in (WEIGHTS, CARD) and path.is_file():
        return path.parent
    return checkpoint_folder(str(place))


def fill(net: nn.Module, content: bytes, folder: Path) -> None:
    """Put the weights of a file into a network. Raises Damaged where they do not fit, with the network untouched."""
    try:
        weights = safetensors.torch.load(content)
        copy.deepcopy(net).load_state_dict(weights)  # a misfit is found here, before it has half filled the network
        net.load_state_dict(weights)
    except (RuntimeError, SafetensorError) as error:
        why = " ".join(str(error).split())
        raise Damaged(f"the weights in {folder} do not fit this network: {shortened(why)}") from error


def shortened(text: str, most: int = 300) -> str:
    """The beginning and the end of a long text: the cause of an error tends to stand at its end."""
    return text if len(text) <= most else f"{text[: most // 3]} ... {text[-2 * most // 3 :]}"


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


def checkpoint_folder(name: str) -> Path:
    """Where a checkpoint of the course lies.

    Raises FileNotFoundError, naming the folders it looked in.
    """
    try:
        return course_file(f"checkpoints/{name}/{CARD}").parent
    except FileNotFoundError as error:
        making = f"`{minidiff_command('train', name, '--out', f'data/checkpoints/{name}')}` makes it"
        cure = f"; {how_to_install_again() if shipped_folder() else making}" if name in SHIPPED else ""
        raise FileNotFoundError(f"no checkpoint {name!r}: {error}{cure}") from None


def as_stored(value: Tensor) -> Tensor:
    """A tensor as files hold it: on the CPU, row by row."""
    return value.detach().cpu().contiguous()
