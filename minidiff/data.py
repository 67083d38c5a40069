"""Data as plain tensors: points in the plane, 8x8 digits, MNIST.

Points are `(n, 2)` in float32, shifted and scaled by the mean and the standard deviation of the *population*,
worked out by hand, never by those of the sample: so exact parameters stay exact. Images are `(N, 1, H, W)`
in [-1, 1].

Sources: Pedregosa et al. 2011 (scikit-learn) for moons and swiss roll; Johnson et al. 2016, arXiv 1603.06277, for
the pinwheel; LeCun, Cortes & Burges, The MNIST database; Alpaydin & Kaynak 1998 for the 8x8 digits.
"""

import errno
import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pooch
import torch
from torch import Tensor

from minidiff.downloads import MirrorsFailed, alone_in, fetch, folder_fault
from minidiff.exact import GaussianMixture

__all__ = [
    "MIRRORS",
    "Images",
    "MnistUnavailable",
    "checkerboard",
    "digits",
    "eight_gaussians",
    "find_mnist",
    "mnist",
    "moons",
    "pinwheel",
    "rings",
    "swiss_roll",
    "three_gaussians",
]

# Points in the plane


def three_gaussians() -> GaussianMixture:
    """Three unequal Gaussians with tilted covariances: the course's first truth.

    Mean 0 and variance 1 on each axis.
    """
    return GaussianMixture(
        weights=torch.tensor([0.5, 0.3, 0.2]),
        means=torch.tensor([[-2.0, -0.5], [1.5, 1.8], [1.8, -1.6]]),
        covariances=torch.tensor(
            [[[0.30, 0.18], [0.18, 0.30]], [[0.40, -0.10], [-0.10, 0.12]], [[0.10, 0.0], [0.0, 0.25]]]
        ),
    ).standardised()


def eight_gaussians(std: float = 0.1) -> GaussianMixture:
    """Eight equal round Gaussians on a circle, of standard deviation `std` after scaling; variance 1 on each axis."""
    if not 0 < std < 1:
        raise ValueError(f"std must lie in (0, 1), since the variance of the whole is 1, but is {std}")
    angles = torch.arange(8) * (math.pi / 4)
    radius = math.sqrt(2 * (1 - std**2))
    return GaussianMixture(
        weights=torch.full((8,), 1 / 8),
        means=radius * torch.stack([angles.cos(), angles.sin()], dim=1),
        covariances=std**2 * torch.eye(2).expand(8, 2, 2).contiguous(),
    )


def moons(n: int, generator: torch.Generator, *, noise: float = 0.1) -> Tensor:
    """Two interleaved half circles. Returns (n, 2), mean 0 and variance 1 on each axis of the population.

    Angles are drawn at random. scikit-learn's `make_moons` spaces them evenly: its points are not independent
    draws, and a two-sample test on them reports a floor that is too low.
    """
    check_size(n)
    angle = math.pi * uniform(n, generator)
    lower = uniform(n, generator) < 0.5
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    points = torch.stack([x, y], dim=1) + noise * torch.randn(n, 2, generator=generator)
    return standardise(points, mean=(0.5, 0.25), variance=(0.75 + noise**2, 9 / 16 - 1 / math.pi + noise**2))


def swiss_roll(n: int, generator: torch.Generator, *, noise: float = 0.3) -> Tensor:
    """A spiral, scikit-learn's swiss roll seen from the side.

    Returns (n, 2), mean 0 and variance 1 of the population.
    """
    from sklearn.datasets import make_swiss_roll  # here, since scikit-learn takes a second to import

    check_size(n)
    points, _ = make_swiss_roll(n, noise=noise, random_state=sklearn_seed(generator))
    # t is uniform on [1.5 pi, 4.5 pi]; the moments of (t cos t, t sin t) by parts
    variance_x = 4.875 * math.pi**2 - 0.25 - 4 + noise**2
    variance_y = 4.875 * math.pi**2 + 0.25 - (2 / (3 * math.pi)) ** 2 + noise**2
    points = torch.from_numpy(points[:, [0, 2]]).float()
    return standardise(points, mean=(2.0, 2 / (3 * math.pi)), variance=(variance_x, variance_y))


def checkerboard(n: int, generator: torch.Generator) -> Tensor:
    """The eight dark squares of a four by four board, each filled evenly.

    Returns (n, 2), variance 1 of the population.
    """
    check_size(n)
    x = 4 * uniform(n, generator) - 2
    row = 2 * (uniform(n, generator) < 0.5).float() - 2 + x.floor().remainder(2)
    points = torch.stack([x, row + uniform(n, generator)], dim=1)
    return standardise(points, mean=(0.0, 0.0), variance=(4 / 3, 4 / 3))


def rings(n: int, generator: torch.Generator, *, noise: float = 0.05) -> Tensor:
    """Three circles of radius 1, 2 and 3, each point of a line equally likely.

    Returns (n, 2), variance 1 of the population.
    """
    check_size(n)
    radii = torch.tensor([1.0, 2.0, 3.0])
    radius = radii[torch.multinomial(radii, n, replacement=True, generator=generator)]
    angle = 2 * math.pi * uniform(n, generator)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    variance = float((radii**3).sum() / radii.sum()) / 2 + noise**2
    return standardise(
        points + noise * torch.randn(n, 2, generator=generator), mean=(0.0, 0.0), variance=(variance, variance)
    )


def pinwheel(n: int, generator: torch.Generator, *, arms: int = 5) -> Tensor:
    """Bent arms around a centre (Johnson et al. 2016). Returns (n, 2), mean 0 and variance 1 of the population."""
    check_size(n)
    if not isinstance(arms, int) or arms < 3:
        raise ValueError(f"arms must be a whole number >= 3, since two arms are not symmetric, but is {arms!r}")
    radial, tangential, bend = 0.3, 0.05, 0.25
    arm = torch.randint(arms, (n,), generator=generator)
    along = 1 + radial * torch.randn(n, generator=generator)
    across = tangential * torch.randn(n, generator=generator)
    angle = 2 * math.pi * arm / arms + bend * along.exp()
    points = torch.stack(
        [along * angle.cos() - across * angle.sin(), along * angle.sin() + across * angle.cos()], dim=1
    )
    variance = (1 + radial**2 + tangential**2) / 2  # the arms' symmetry makes the covariance isotropic
    return standardise(points, mean=(0.0, 0.0), variance=(variance, variance))


def standardise(points: Tensor, mean: tuple[float, float], variance: tuple[float, float]) -> Tensor:
    """Shift and scale by the moments of the population. points: (n, 2)."""
    return (points - torch.tensor(mean)) / torch.tensor(variance).sqrt()


def uniform(n: int, generator: torch.Generator) -> Tensor:
    """n numbers, uniform on [0, 1)."""
    return torch.rand(n, generator=generator)


def sklearn_seed(generator: torch.Generator) -> int:
    """A seed for scikit-learn, drawn from our generator."""
    return int(torch.randint(2**31 - 1, (), generator=generator))


def check_size(n: int) -> None:
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a number of points >= 1, but is {n!r}")


# Images


class Images(NamedTuple):
    """x: (N, 1, H, W), float32 in [-1, 1]. y: (N,), int64, the digit that each shows."""

    x: Tensor
    y: Tensor


def to_images(pixels: np.ndarray, labels: np.ndarray, largest: float) -> Images:
    """Scale pixels from [0, largest] to [-1, 1]: the only place that does. pixels: (N, H, W)."""
    x = torch.from_numpy(pixels.astype(np.float32)).unsqueeze(1) * (2 / largest) - 1
    return Images(x, torch.from_numpy(labels.astype(np.int64)))


def digits() -> Images:
    """scikit-learn's 8x8 digits, which need no download: x (1797, 1, 8, 8) and y (1797,)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return to_images(bunch.images, bunch.target, largest=16)


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
MNIST_HEADER_BYTES = {"images": 16, "labels": 8}
MNIST_MEGABYTES = 12  # the four archives together


class MnistUnavailable(RuntimeError):
    """MNIST is neither on this machine nor to be had. The first line says why and what to do, the others the rest."""


def mnist(
    split: Literal["train", "test"] = "train", folder: str | Path | None = None, *, mirrors: Sequence[str] = MIRRORS
) -> Images:
    """MNIST: x (60000, 1, 28, 28) for `train`, (10000, 1, 28, 28) for `test`, and the labels y.

    Looks for the four files, packed (.gz) or not, in `folder`, or else in `$MINIDIFF_DATA/mnist`, in `data/mnist`
    of the repository above the working directory, and in the user's cache folder. Where it finds none it downloads
    them from the mirrors in turn. The content is checked by SHA-256 either way.

    Raises MnistUnavailable where it can neither be found nor downloaded, ValueError where a file's content is
    wrong.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', but is {split!r}")
    found = find_mnist(folder) or download_mnist(folder, mirrors)
    prefix = "train" if split == "train" else "t10k"
    pixels = read_idx(found, f"{prefix}-images-idx3-ubyte").reshape(-1, 28, 28)
    return to_images(pixels, read_idx(found, f"{prefix}-labels-idx1-ubyte"), largest=255)


def find_mnist(folder: str | Path | None = None) -> Path | None:
    """The first of the folders named in `mnist` that holds all four files, or None. Reads no content."""
    for candidate in mnist_folders(folder):
        if all(stored_file(candidate, name) for name in MNIST_FILES):
            return candidate
    return None


def mnist_folders(folder: str | Path | None = None) -> list[Path]:
    """Where MNIST is looked for, in order. A folder that is named is the only one."""
    if folder is not None:
        return [Path(folder)]
    folders = [Path(os.environ["MINIDIFF_DATA"]) / "mnist"] if os.environ.get("MINIDIFF_DATA") else []
    folders += [above / "data" / "mnist" for above in repositories_above()]
    return [*folders, Path(pooch.os_cache("minidiff")) / "mnist"]


def repositories_above() -> list[Path]:
    """Folders at or above the working directory that hold this course (a notebook's kernel starts in notebooks/)."""
    here = Path.cwd()
    return [above for above in (here, *here.parents) if os.path.isfile(above / "minidiff" / "__init__.py")]


def stored_file(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder, packed or not."""
    for path in (folder / f"{name}.gz", folder / name):
        if os.path.isfile(path):  # no error where one may not look, unlike Path.is_file
            return path
    return None


def read_idx(folder: Path, name: str) -> np.ndarray:
    """The numbers in an IDX file, flat, after a check of its content."""
    path = stored_file(folder, name)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except PermissionError as error:
        raise ValueError(f"{path} may not be read by you: ask its owner, or name another folder") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it and run again") from error
    if hashlib.sha256(content).hexdigest() != MNIST_FILES[name][0]:
        raise ValueError(f"{path} does not hold the MNIST data (its SHA-256 differs): delete it and run again")
    return np.frombuffer(content, dtype=np.uint8, offset=MNIST_HEADER_BYTES["images" if "images" in name else "labels"])


def download_mnist(folder: str | Path | None = None, mirrors: Sequence[str] = MIRRORS) -> Path:
    """Download the archives that are missing, each from the first mirror that delivers it, and return their folder."""
    target = mnist_folders(folder)[0] if folder or os.environ.get("MINIDIFF_DATA") else mnist_folders()[-1]
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
