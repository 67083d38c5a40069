"""What is wrong with a folder of pictures, before anything is trained on it. Notebook 27.

`pictures` reads a folder and drops exact copies. `audit` goes on from there: which pictures are alike without being
equal, and which are unlike all others? Both need a threshold, and a threshold needs to know what independent pictures
do.
"""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from minidiff._tensors import check_finite, check_number, check_whole
from minidiff.data.images import to_images
from minidiff.data.pictures import ALTERED, LEFT_OUT, PicturesUnfit, checked_folder, files_below, read_all, shown

__all__ = ["Audit", "Pair", "audit", "difference_hash", "hash_distances", "pixel_distances", "unusual"]

AT_ONCE = 2000  # rows of a matrix of distances
UNUSUAL = 6.0  # robust standard deviations
FAINT = 0.1  # of the usual contrast: a picture of almost one colour


class Pair(NamedTuple):
    """Two files whose pictures are alike, and the root mean square of their difference, in [0, 2]."""

    file: str
    other: str
    distance: float


class Audit(NamedTuple):
    """What was found in a folder. All files are named as seen from it, and sorted.

    files, x: the pictures that can be read, and how they look at the size: (N, C, size, size) in [-1, 1].
    refused: (file, why) for files that cannot be read. altered: (file, what was done) to bring them to the form.
    alike: pairs that differ by less than the threshold, the nearest first; exact copies have distance 0.
    odd: (file, why) for pictures whose brightness or contrast is far from that of all others, or that hold little more
        than one colour.
    """

    files: tuple[str, ...]
    x: Tensor
    refused: tuple[tuple[str, str], ...]
    altered: tuple[tuple[str, str], ...]
    alike: tuple[Pair, ...]
    odd: tuple[tuple[str, str], ...]


def audit(folder: str | Path, *, alike: float, size: int = 32, grey: bool = False) -> Audit:
    """Read every picture below a folder, and say what a person should look at before training.

    alike: pictures whose root mean square difference, with pixels in [-1, 1], is below it are reported as a pair. Take
    it from `pixel_distances` of pictures that are known to be no copies of each other: a little below the smallest.

    Nothing is changed and nothing is dropped: that is for the owner to do. Raises PicturesUnfit where the folder is
    none or holds no picture that can be read.
    """
    check_number("alike", alike)
    check_whole("size", size, 8)
    root = checked_folder(folder)
    files, others, _ = files_below(root)
    met = {kind: [] for kind in (*LEFT_OUT, *ALTERED)}
    kept = read_all(root, files, int(size), bool(grey), met)
    if not kept:
        raise PicturesUnfit(f"folder must hold pictures, but {root} holds none that can be read")
    names = [str(each.file) for each in kept]
    x = to_images(np.stack([each.square.pixels for each in kept]), None, largest=255).x
    refused = _refused([path.relative_to(root) for path in files], {each.file for each in kept}, met)
    refused += [(str(path.relative_to(root)), "not a picture by its ending") for path in others]
    altered = [(name, ALTERED[kind]) for name, each in zip(names, kept, strict=True) for kind in each.square.altered]
    contrast = x.flatten(1).std(dim=1)
    odd = [(names[i], "brightness") for i in unusual(x.flatten(1).mean(dim=1))]
    odd += [(names[i], "contrast") for i in unusual(contrast)]
    odd += [
        (names[i], "almost no contrast") for i in torch.nonzero(contrast < FAINT * contrast.median())[:, 0].tolist()
    ]
    return Audit(
        tuple(names), x, tuple(sorted(refused)), tuple(altered), tuple(_alike(x, names, alike)), tuple(sorted(odd))
    )


def _refused(files: Sequence[Path], read: Container[Path], met: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """(file, why) for each file that was not read. In `met`, `read_all` wrote down `name (why)`, or the name alone."""
    said = [line for kind in ("unreadable", "too large") for line in met[kind]]
    found = []
    for file in files:
        if file not in read:
            name = shown(file)
            whys = [line[len(name) + 2 : -1] for line in said if line.startswith(f"{name} (")]
            found.append((str(file), whys[0] if whys else "too large"))
    return found


def _alike(x: Tensor, names: Sequence[str], alike: float) -> list[Pair]:
    distances = pixel_distances(x)
    i, j = torch.triu_indices(len(x), len(x), offset=1)
    found = [
        Pair(names[a], names[b], float(distances[a, b]))
        for a, b in zip(i.tolist(), j.tolist(), strict=True)
        if distances[a, b] < alike
    ]
    return sorted(found, key=lambda pair: (pair.distance, pair.file, pair.other))


def pixel_distances(x: Tensor, y: Tensor | None = None) -> Tensor:
    """The root mean square difference of every picture of x and every one of y: (N, ...), (M, ...) -> (N, M).

    y None: of x with itself. With pixels in [-1, 1] the distance lies in [0, 2]. Equal pictures have exactly 0.
    """
    y = x if y is None else y
    for name, pictures in (("x", x), ("y", y)):
        check_finite(pictures, name)
    if x.shape[1:] != y.shape[1:] or x.ndim < 2:
        raise ValueError(f"x and y must hold pictures of one form, but have {tuple(x.shape)} and {tuple(y.shape)}")
    rows = torch.cat(
        [
            torch.cdist(part, y.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
            for part in x.flatten(1).split(AT_ONCE)
        ]
    )
    return rows / x[0].numel() ** 0.5


def difference_hash(x: Tensor, side: int = 8) -> Tensor:
    """A widely used short name for a picture: is each of side x (side + 1) patches darker than its right neighbour?

    x: (N, 1, H, W) -> (N, side^2), bool. It knows nothing of how much darker, so on an even background rounding
    decides. Two names are compared by the number of bits in which they differ: `hash_distances`.
    """
    check_whole("side", side)
    if x.ndim != 4 or x.shape[1] != 1:
        raise ValueError(f"x must have shape (N, 1, H, W), but has {tuple(x.shape)}")
    small = functional.adaptive_avg_pool2d(x, (side, side + 1))[:, 0]
    return (small[:, :, 1:] > small[:, :, :-1]).flatten(1)


def hash_distances(a: Tensor, b: Tensor) -> Tensor:
    """In how many bits each name of a differs from each of b: (N, K), (M, K), bool -> (N, M)."""
    a, b = a.float(), b.float()
    return (a @ (1 - b).T + (1 - a) @ b.T).round().long()


def unusual(values: Tensor, most: float = UNUSUAL) -> list[int]:
    """Places of numbers that lie farther than `most` robust standard deviations from the median. values: (N,).

    The robust one is 1.4826 times the median distance from the median, which a few outliers hardly move.
    """
    check_finite(values, "values")
    distance = (values - values.median()).abs()
    scale = 1.4826 * distance.median()
    return torch.nonzero(distance > most * scale)[:, 0].tolist() if scale > 0 else []
