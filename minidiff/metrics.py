"""How far are two sets of samples apart? Every distance comes with its floor. Taught in notebooks 07, 11 and 13.

Two finite sets of real samples are never at distance 0. The floor is the distance between `real` and `real_again`,
two independent sets of real samples with the sizes of `real` and `samples`: what a perfect model would score. A
distance without its floor, or without the sizes behind it, says nothing. The floor is the mean over several random
splits of all the real samples, since a single one is noisy.

Sources: Szekely & Rizzo 2013, doi 10.1016/j.jspi.2013.03.018 (energy distance); Bonneel et al. 2015,
doi 10.1007/s10851-014-0506-3 (sliced Wasserstein); Dowson & Landau 1982 and Heusel et al. 2017, arXiv 1706.08500
(Frechet).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from minidiff._tensors import check_finite, describe

__all__ = ["Measurement", "energy_distance", "energy_test", "frechet_distance", "sliced_wasserstein"]

FLOOR_SPLITS = 8


class Measurement(NamedTuple):
    """A distance, the floor under it, and the numbers of samples behind it (generated, real)."""

    value: float
    floor: float
    samples: int
    real: int

    @property
    def ratio(self) -> float:
        """The distance in multiples of its floor: about 1 for a perfect model."""
        return self.value / self.floor


def energy_distance(samples: Tensor, real: Tensor, real_again: Tensor, *, generator: torch.Generator) -> Measurement:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, 0 only for equal distributions (Szekely & Rizzo, section 2).

    Taught in notebook 05.

    samples, real_again: (N, *D); real: (M, *D). Every pair counts, also a point with itself, so that the value is
    >= 0.
    """
    samples, real, real_again = _checked(samples, real, real_again)
    value = _energy(_distances(torch.cat([samples, real])), len(samples))
    pooled = _distances(torch.cat([real_again, real]))
    floors = _split_energies(pooled, len(samples), _splits(len(pooled), generator)).tolist()
    return Measurement(value, sum(floors) / len(floors), len(samples), len(real))


def energy_test(x: Tensor, y: Tensor, *, generator: torch.Generator, permutations: int = 200) -> float:
    """p-value of the hypothesis that x and y come from one distribution, by permutation of the energy distance.

    x: (N, *D), y: (M, *D). Under the hypothesis, P(p <= a) <= a for every a. The smallest possible value is
    1 / (permutations + 1). Notebook 05.
    """
    x, y, _ = _checked(x, y, x, names=("x", "y", "x"))
    pooled = _distances(torch.cat([x, y]))
    observed = _energy(pooled, len(x))
    orders = [torch.randperm(len(pooled), generator=generator) for _ in range(permutations)]
    permuted = _split_energies(pooled, len(x), orders)
    return (1 + int((permuted >= observed - 1e-12).sum())) / (permutations + 1)


def sliced_wasserstein(
    samples: Tensor, real: Tensor, real_again: Tensor, *, generator: torch.Generator, projections: int = 200
) -> Measurement:
    """Wasserstein-2 distance along random lines, root mean square (Bonneel et al., section 3). Notebook 07.

    samples, real_again: (N, *D); real: (M, *D), N = M. In units of the data.
    """
    samples, real, real_again = _checked(samples, real, real_again)
    if len(samples) != len(real):
        raise ValueError(f"samples and real must be equally many, but are {len(samples)} and {len(real)}")
    lines = torch.randn(samples.shape[1], projections, generator=generator, dtype=samples.dtype)
    lines = lines / lines.norm(dim=0)

    def distance(x: Tensor, y: Tensor) -> float:
        return float(((x.sort(dim=0).values - y.sort(dim=0).values) ** 2).mean().sqrt())

    value = distance(samples @ lines, real @ lines)
    pooled, n = torch.cat([real_again, real]) @ lines, len(samples)
    floors = [distance(pooled[order[:n]], pooled[order[n:]]) for order in _splits(len(pooled), generator)]
    return Measurement(value, sum(floors) / len(floors), len(samples), len(real))


def frechet_distance(samples: Tensor, real: Tensor, real_again: Tensor, *, generator: torch.Generator) -> Measurement:
    """Squared Wasserstein-2 distance of two Gaussians fitted to features (Heusel et al., equation 6). Notebook 13.

    samples, real_again: (N, d) features; real: (M, d). At small N it is biased upwards, by about
    [2 d + d (d + 1) / 2] / n for whitened features: so always read it over its floor, at the same N.
    """
    samples, real, real_again = _checked(samples, real, real_again)
    for name, features in (("samples", samples), ("real", real)):
        if len(features) <= features.shape[1]:
            raise ValueError(
                f"{name} must hold more samples than features ({features.shape[1]}), but holds {len(features)}"
            )
    pooled, n = torch.cat([real_again, real]), len(samples)
    floors = [_frechet(pooled[order[:n]], pooled[order[n:]]) for order in _splits(len(pooled), generator)]
    return Measurement(_frechet(samples, real), sum(floors) / len(floors), len(samples), len(real))


def _frechet(x: Tensor, y: Tensor) -> float:
    difference = x.mean(dim=0) - y.mean(dim=0)
    cov_x, cov_y = (torch.atleast_2d(z.T.cov()) for z in (x, y))  # of a single feature it is a plain number
    root = _matrix_sqrt(cov_x)
    # tr sqrt(A B) = tr sqrt(sqrt(A) B sqrt(A)), which is symmetric
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float(difference @ difference + cov_x.trace() + cov_y.trace() - 2 * cross)


def _matrix_sqrt(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _distances(points: Tensor) -> Tensor:
    """All pairwise distances, (n, n). Centred first: far from the origin the fast formula loses digits."""
    return torch.cdist(points - points.mean(dim=0), points - points.mean(dim=0))


def _energy(distances: Tensor, n: int) -> float:
    """Energy distance between the first n points and the others, from all pairwise distances."""
    across = distances[:n, n:].mean()
    return float(2 * across - distances[:n, :n].mean() - distances[n:, n:].mean())


def _split_energies(distances: Tensor, n: int, orders: list[Tensor]) -> Tensor:
    """The energy distances of many splits of the same points: the first n of each order against the others.

    One matrix product does them all: the sum of distances within the first part fixes the two other sums.
    """
    member = distances.new_zeros(len(distances), len(orders))
    for column, order in enumerate(orders):
        member[order[:n], column] = 1
    within_x = (member * (distances @ member)).sum(dim=0)
    across = distances.sum(dim=1) @ member - within_x
    within_y = distances.sum() - within_x - 2 * across
    m = len(distances) - n
    return 2 * across / (n * m) - within_x / n**2 - within_y / m**2


def _splits(n: int, generator: torch.Generator) -> list[Tensor]:
    return [torch.randperm(n, generator=generator) for _ in range(FLOOR_SPLITS)]


def _checked(
    samples: Tensor, real: Tensor, real_again: Tensor, names: tuple[str, str, str] = ("samples", "real", "real_again")
) -> tuple[Tensor, Tensor, Tensor]:
    """Flat float64 copies on the CPU, after a check that they can be compared."""
    for name, x in zip(names, (samples, real, real_again), strict=True):
        check_finite(x, name)
        if x.ndim < 2 or x.shape[1:] != real.shape[1:] or len(x) < 2:
            raise ValueError(f"{name} must have shape (N, *{tuple(real.shape[1:])}) with N >= 2, but is {describe(x)}")
    if len(real_again) != len(samples):
        raise ValueError(
            f"real_again must hold as many samples as samples, {len(samples)}, so that the floor is at the same size, "
            f"but holds {len(real_again)}"
        )
    return tuple(x.detach().flatten(1).double().cpu() for x in (samples, real, real_again))
