"""MNIST: on the disk, or downloaded and checked. Notebook 13.

Sources: LeCun, Cortes & Burges, The MNIST database.
"""

import errno
import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
import pooch

from minidiff.data.downloads import MirrorsFailed, alone_in, fetch, folder_fault
from minidiff.data.images import Images, to_images
from minidiff.data.places import data_folder, named_folder, repositories_above

__all__ = ["MIRRORS", "MnistUnavailable", "find_mnist", "mnist", "mnist_folders", "read_idx"]

# The PyTorch project's mirror and that of the Common Visual Data Foundation.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# file -> SHA-256 of its content, SHA-256 of the archive on the mirrors (archives elsewhere may be packed
# differently)
MNIST_FILES = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
MNIST_MEGABYTES = 12  # the four archives together
TORCHVISION = Path("MNIST", "raw")  # where torchvision's MNIST puts the files, below the folder that it is given

# third byte of an IDX file -> the numbers that it holds
IDX_NUMBERS = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_BEGINS = b"\x1f\x8b"


class MnistUnavailable(RuntimeError):
    """MNIST is neither on this machine nor to be had. The first line says why and what to do, the others the rest."""


def mnist(
    split: Literal["train", "test"] = "train", folder: str | Path | None = None, *, mirrors: Sequence[str] = MIRRORS
) -> Images:
    """MNIST: x (60000, 1, 28, 28) for `train`, (10000, 1, 28, 28) for `test`, and the labels y.

    Looks for the four files in the folders of `mnist_folders`: `folder`, or else `$MINIDIFF_DATA/mnist`, `data/mnist`
    of the repository above the working directory, and the user's cache folder; also where torchvision puts them, and
    under the names that Kaggle gives them. Where it finds none it downloads them from the mirrors in turn. The content
    is checked by SHA-256 either way.

    Raises MnistUnavailable where it can neither be found nor downloaded, ValueError where a file's content is
    wrong.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', but is {split!r}")
    found = find_mnist(folder) or download_mnist(folder, mirrors)
    prefix = "train" if split == "train" else "t10k"
    pixels = mnist_numbers(found, f"{prefix}-images-idx3-ubyte")
    return to_images(pixels, mnist_numbers(found, f"{prefix}-labels-idx1-ubyte"), largest=255)


def find_mnist(folder: str | Path | None = None) -> Path | None:
    """The first of the folders named in `mnist_folders` that holds all four files, or None. Reads no content."""
    for candidate in mnist_folders(folder):
        if all(stored_file(candidate, name) for name in MNIST_FILES):
            return candidate
    return None


def mnist_folders(folder: str | Path | None = None) -> list[Path]:
    """Where MNIST is looked for, in order. A folder that is named is the only one.

    1. `$MINIDIFF_DATA/mnist`, where that variable is set
    2. `data/mnist` of each repository of the course at or above the working directory, from below
    3. `mnist` in the user's cache folder

    torchvision makes a folder `MNIST/raw` below the one that it is given. Where there is one below a folder of this
    list, or below `$MINIDIFF_DATA` or `data`, it follows that folder.
    """
    if folder is not None:
        named = named_folder("folder", folder)
        return [named, *torchvision_below(named)]
    own = data_folder()
    roots = ([own] if own else []) + [above / "data" for above in repositories_above()]
    folders = []
    for root in roots:
        folders += [root / "mnist", *torchvision_below(root / "mnist"), *torchvision_below(root)]
    return [*folders, Path(pooch.os_cache("minidiff")) / "mnist"]


def torchvision_below(folder: Path) -> list[Path]:
    """The folder in which torchvision stores MNIST, if it is there."""
    return [folder / TORCHVISION] if os.path.isdir(folder / TORCHVISION) else []


def stored_file(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder, packed or not; or under Kaggle's name, which has a dot before `idx`; or in a
    folder of either name, as Kaggle's archive has it. In this order."""
    names = (name, name.replace("-idx", ".idx"))
    places = [folder, *(folder / inner for inner in names)]
    for path in (place / f"{file}{ending}" for place in places for file in names for ending in (".gz", "")):
        if os.path.isfile(path):  # no error where one may not look, unlike Path.is_file
            return path
    return None


def mnist_numbers(folder: Path, name: str) -> np.ndarray:
    """What one of MNIST's four files holds, after a check of its content: (N, 28, 28) or (N,), uint8."""
    path = stored_file(folder, name)
    keep = "What to do: move that file elsewhere or name another folder, and run again"
    try:
        content = unpacked(path)
    except PermissionError as error:
        raise ValueError(f"{path} may not be read by you: ask its owner, or name another folder") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}): it may be damaged. {keep}") from error
    if hashlib.sha256(content).hexdigest() != MNIST_FILES[name][0]:
        raise ValueError(
            f"{path} does not hold MNIST (its SHA-256 differs): it is damaged, or it belongs to another data set that "
            f"gives its files the same names, such as Fashion-MNIST or KMNIST. {keep}"
        )
    return idx_numbers(content, path)


def read_idx(path: str | Path) -> np.ndarray:
    """The numbers in an IDX file (LeCun's format, in which MNIST and its relatives come), in the shape of its header.

    The file may be packed by gzip; its content tells. Returns an array of the file's own kind of number: uint8, int8,
    int16, int32, float32 or float64.

    Raises ValueError where it is no IDX file or its length does not fit its header, OSError where it cannot be read.
    """
    path = Path(path).expanduser()
    try:
        return idx_numbers(unpacked(path), path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is packed by gzip, but cannot be unpacked ({error}): it is damaged") from error


def unpacked(path: Path) -> bytes:
    """What a file holds, or what it holds packed. No IDX file begins as a packed one does."""
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(GZIP_BEGINS) else content


def idx_numbers(content: bytes, path: Path) -> np.ndarray:
    """Numbers by an IDX header: 0, 0, kind of number, number of dimensions; each dimension in 4 bytes; the numbers.
    The highest byte of each comes first."""
    kind, n_dimensions = content[2:4] if len(content) >= 4 else (None, 0)
    if content[:2] != b"\0\0" or kind not in IDX_NUMBERS:
        kinds = ", ".join(f"{known:02x}" for known in IDX_NUMBERS)
        given = f"begins with {content[:4].hex(' ')}" if content else "is empty"
        raise ValueError(
            f"{path} is no IDX file: it must begin with the bytes 00 00, one of {kinds}, and the number of dimensions, "
            f"but {given}"
        )
    begin = 4 + 4 * n_dimensions
    if len(content) < begin:
        raise ValueError(f"{path} ends within its header, which must have {begin} bytes, but has {len(content)}")
    shape = struct.unpack(f">{n_dimensions}I", content[4:begin])
    numbers = np.dtype(IDX_NUMBERS[kind])
    expected = math.prod(shape) * numbers.itemsize
    if len(content) - begin != expected:
        raise ValueError(
            f"{path} must hold {expected} bytes after its header, which tells of {numbers.name} of shape {shape}, but "
            f"holds {len(content) - begin}: it is damaged"
        )
    return np.frombuffer(content, numbers, offset=begin).reshape(shape).astype(numbers.newbyteorder("="))


def download_mnist(folder: str | Path | None = None, mirrors: Sequence[str] = MIRRORS) -> Path:
    """Download the archives that are missing, each from the first mirror that delivers it, and return their folder."""
    target = mnist_folders(folder)[0 if folder is not None or data_folder() else -1]
    try:
        with alone_in(target):
            for name, (_, archive_hash) in MNIST_FILES.items():
                if not stored_file(target, name):
                    delivered = fetch(f"{name}.gz", archive_hash, target, mirrors)
                    # asked first from now on: a mirror that does not answer costs its wait once, not four times
                    mirrors = [delivered, *(mirror for mirror in mirrors if mirror != delivered)]
    except MirrorsFailed as failure:
        raise MnistUnavailable(mirrors_failed(failure, target) + other_ways(folder)) from failure
    except OSError as error:
        raise MnistUnavailable(not_stored(error, target, named=folder is not None) + other_ways(folder)) from error
    return target


def mirrors_failed(failure: MirrorsFailed, target: Path) -> str:
    """One line that says what each mirror did and what to do, and one for each mirror's address."""
    each = "; ".join(f"{urlsplit(mirror).netloc or mirror} {fault}" for mirror, fault in failure.faults.items())
    return (
        f"MNIST could not be downloaded: {each or 'no mirror was named'}. What to do: check the connection and run "
        f"again, or put the four files {next(iter(MNIST_FILES))}.gz and so on into {target}.\nTried:\n"
    ) + "\n".join(f"  {mirror}: {fault}" for mirror, fault in failure.faults.items())


def not_stored(error: OSError, target: Path, named: bool) -> str:
    """One line that says why the folder takes no file and what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cure = f"free {MNIST_MEGABYTES} MB there, or " if full else ""
    cure += "name" if named else "set the environment variable MINIDIFF_DATA to"
    return (
        f"MNIST could not be stored in {target}: {folder_fault(error)}. What to do: {cure} another folder that you "
        "can write to, and run again."
    )


def other_ways(folder: str | Path | None) -> str:
    """Where MNIST was looked for, and how to bring it there by hand."""
    looked = "\n".join(f"  {path}" for path in mnist_folders(folder))
    return (
        f"\nLooked in:\n{looked}\nBy hand: on a machine with a connection, fetch the four files "
        + ", ".join(f"{file}.gz" for file in MNIST_FILES)
        + " from one of the mirrors, put them into a folder called mnist, and set the environment variable "
        "MINIDIFF_DATA to the folder above it."
    )
