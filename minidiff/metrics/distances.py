"""How far are two sets of samples apart? One number, its floor, and permutation tests. Notebooks 05, 07, 11, 13 and 30.

For the distances the floor is the mean over several random splits of all the real samples into two sets of the sizes
of `samples` and `real`. Two of them are unbiased: they scatter around 0 for a perfect model, and their floor is the
root mean square of that scatter, so that the ratio counts its standard deviations.

Sources: Szekely & Rizzo 2013, doi 10.1016/j.jspi.2013.03.018 (energy distance); Gretton et al. 2012, A kernel
two-sample test, JMLR 13 (MMD); Sejdinovic et al. 2013, arXiv 1207.6076 (they are one family: the energy distance is
the squared MMD of the kernel -|x - y|); Bonneel et al. 2015, doi 10.1007/s10851-014-0506-3 (sliced Wasserstein);
Dowson & Landau 1982 and Heusel et al. 2017, arXiv 1706.08500 (Frechet); Chong & Forsyth 2020, arXiv 1911.07023 (its
extrapolation); Phipson & Smyth 2010, doi 10.2202/1544-6115.1585 (p-values of permutation tests).
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from minidiff._tensors import check_number, check_whole, noise_like
from minidiff.measurement import Measurement
from minidiff.metrics._sets import (
    FLOOR_SPLITS,
    comparable,
    pairwise,
    progress,
    same_size,
    shuffles,
    tile_pairs,
)

__all__ = [
    "energy_distance",
    "energy_test",
    "frechet_distance",
    "frechet_extrapolated",
    "median_distance",
    "mmd",
    "mmd_test",
    "sliced_wasserstein",
]

# A standard deviation needs more splits than a mean.
SCATTER_SPLITS = 32
# The median distance is taken over at most this many points: 2 million pairs say it to a few parts in a thousand.
MEDIAN_POINTS = 2000
# The fits behind the extrapolation: whole sets, halves, thirds and quarters.
PARTS = (1, 2, 3, 4)


def energy_distance(samples: Tensor, real: Tensor, real_again: Tensor, *, generator: torch.Generator) -> Measurement:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, 0 only for equal distributions (Szekely & Rizzo, section 2).

    Taught in notebooks 05 and 11.

    samples, real_again: (N, *D); real: (M, *D). Every pair counts, also a point with itself, so that the value is
    >= 0. On a line it is 2 integral (F - G)^2. Blind spot: what happens in a few samples; a mode of weight w that is
    missing counts as w^2.
    """
    model, truth = _with_real(samples, real, real_again)
    n, orders = len(samples), shuffles(len(truth), FLOOR_SPLITS, generator)
    value, floors = _energies(model, n, _as_given(model)), _energies(truth, n, orders)
    return Measurement(float(value), float(floors.mean()), n, len(real))


def energy_test(x: Tensor, y: Tensor, *, generator: torch.Generator, permutations: int = 200) -> float:
    """p-value of the hypothesis that x and y come from one distribution, by permutation of the energy distance.

    x: (N, *D), y: (M, *D). Under the hypothesis, P(p <= a) <= a for every a. The smallest possible value is
    1 / (permutations + 1). Notebooks 05 and 30.
    """
    check_whole("permutations", permutations)
    pooled = torch.cat(comparable(x, y, names=("x", "y")))
    orders = _as_given(pooled) + shuffles(len(pooled), permutations, generator)
    return _p_value(_energies(pooled, len(x), orders))


def mmd(
    samples: Tensor, real: Tensor, real_again: Tensor, *, generator: torch.Generator, bandwidth: float | None = None
) -> Measurement:
    """Squared maximum mean discrepancy, its unbiased estimate (Gretton et al., equation 3). Notebook 30.

    samples, real_again: (N, *D); real: (M, *D). The kernel is exp(-|x - y|^2 / 2 bandwidth^2), with the median
    distance between real samples for a bandwidth where none is given (Gretton et al., section 8), so that every model
    is measured by one ruler.

    The value is 0 on average for a perfect model, and so it is often negative; the floor is its root mean square
    there, and one perfect model in a hundred exceeds 4 of them. Blind spot: all that is much smaller than the
    bandwidth, such as the width of narrow modes. Raises ValueError where the median distance is 0.
    """
    model, truth = _with_real(samples, real, real_again)
    n = len(samples)
    bandwidth = _bandwidth(truth, bandwidth, generator)
    value = _mmds(model, n, _as_given(model), bandwidth)
    scatter = _mmds(truth, n, shuffles(len(truth), SCATTER_SPLITS, generator), bandwidth)
    return Measurement(float(value), _root_mean_square(scatter), n, len(real))


def mmd_test(
    x: Tensor, y: Tensor, *, generator: torch.Generator, permutations: int = 200, bandwidth: float | None = None
) -> float:
    """p-value of the hypothesis that x and y come from one distribution, by permutation of the squared MMD.

    x: (N, *D), y: (M, *D). As energy_test; the median distance is taken over both sets. Notebook 30.
    """
    check_whole("permutations", permutations)
    pooled = torch.cat(comparable(x, y, names=("x", "y")))
    bandwidth = _bandwidth(pooled, bandwidth, generator)  # blind to which is which, as the test needs it
    orders = _as_given(pooled) + shuffles(len(pooled), permutations, generator)
    return _p_value(_mmds(pooled, len(x), orders, bandwidth))


def median_distance(x: Tensor, *, generator: torch.Generator) -> float:
    """The median distance between two of the points, a bandwidth for MMD. x: (N, *D). Notebook 30.

    Of an even number of pairs, the lower of the two middle ones. More than 2,000 points are represented by 2,000 of
    them, chosen at random.
    """
    points, _ = comparable(x, x, names=("x", "x"))
    (order,) = shuffles(len(points), 1, generator)
    return float(torch.pdist(points[order[:MEDIAN_POINTS]]).median())


def sliced_wasserstein(
    samples: Tensor, real: Tensor, real_again: Tensor, *, generator: torch.Generator, projections: int = 200
) -> Measurement:
    """Wasserstein-2 distance along random lines, root mean square (Bonneel et al.). Notebook 11.

    samples, real_again: (N, *D); real: (M, *D), N = M. In units of the data. Blind spot: many dimensions; of a
    difference in one of d coordinates, a line sees a d-th part.
    """
    check_whole("projections", projections)
    model, truth = _with_real(samples, real, real_again)
    n = len(samples)
    if n != len(real):
        raise ValueError(f"samples and real must be equally many, but are {n} and {len(real)}")
    lines = noise_like(model.new_empty(model.shape[1], projections), generator)
    lines = lines / lines.norm(dim=0)

    def distance(points: Tensor, order: Tensor) -> float:
        x, y = points[order[:n]].sort(dim=0).values, points[order[n:]].sort(dim=0).values
        return float(((x - y) ** 2).mean().sqrt())

    value = distance(model @ lines, *_as_given(model))
    orders = shuffles(len(truth), FLOOR_SPLITS, generator)
    floors = [distance(truth @ lines, order) for order in progress(orders, "splits for the floor")]
    return Measurement(value, sum(floors) / len(floors), n, len(real))


def frechet_distance(samples: Tensor, real: Tensor, real_again: Tensor, *, generator: torch.Generator) -> Measurement:
    """Squared Wasserstein-2 distance of two Gaussians fitted to features (Heusel et al., equation 6). Notebook 11.

    samples, real_again: (N, d) features; real: (M, d). At small N it is biased upwards, by about
    [2 d + d (d + 1) / 2] / n for whitened features: so always read it over its floor, at the same N. Blind spot: all
    but mean and covariance.
    """
    model, truth = _features(samples, real, real_again, 1)
    n, orders = len(samples), shuffles(len(truth), FLOOR_SPLITS, generator)
    floors = [_frechet(truth[order[:n]], truth[order[n:]]) for order in orders]
    return Measurement(_frechet(model[:n], model[n:]), sum(floors) / len(floors), n, len(real))


def frechet_extrapolated(
    samples: Tensor, real: Tensor, real_again: Tensor, *, generator: torch.Generator
) -> Measurement:
    """Frechet distance at infinitely many samples, extrapolated in 1 / n (Chong & Forsyth). Notebook 11.

    samples, real_again: (N, d) features; real: (M, d). The bias falls as 1 / n, with a factor that depends on the
    model: comparing two models at the same n does not remove it. So the distance is measured on the whole sets, and on
    average on their halves, thirds and quarters; a straight line through the four says where it goes.

    The value is about 0 for a perfect model, and may be negative; the floor is its root mean square there. What is
    left of the bias falls as 1 / n^2: at n = 30 d it was 1 % of it for equal and 3 % for unequal distributions.
    """
    model, truth = _features(samples, real, real_again, max(PARTS))
    n, orders = len(samples), shuffles(len(truth), FLOOR_SPLITS + 1, generator)
    # what comes first in a set may differ from what comes last, and parts must not
    within = torch.cat([orders[0][orders[0] < n], orders[0][orders[0] >= n]])
    scatter = torch.tensor([_extrapolate(truth[order], n) for order in orders[1:]], dtype=torch.float64)
    return Measurement(_extrapolate(model[within], n), _root_mean_square(scatter), n, len(real))


def _with_real(samples: Tensor, real: Tensor, real_again: Tensor) -> tuple[Tensor, Tensor]:
    """Samples over real ones, and real ones over real ones, each (N + M, d), after the checks at the door."""
    checked, again = comparable(samples, real), comparable(real_again, real, names=("real_again", "real"))
    same_size(samples, real_again)
    return torch.cat(checked), torch.cat(again)


def _features(samples: Tensor, real: Tensor, real_again: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    model, truth = _with_real(samples, real, real_again)
    d = model.shape[1]
    for name, features in (("samples", samples), ("real", real)):
        if len(features) // parts <= d:
            of_parts = "" if parts == 1 else f"{parts} parts, each of "
            raise ValueError(f"{name} must hold {of_parts}more samples than features ({d}), but holds {len(features)}")
    return model, truth


def _as_given(points: Tensor) -> list[Tensor]:
    """The split that is no split: in the order in which they came."""
    return [torch.arange(len(points))]


def _root_mean_square(x: Tensor) -> float:
    return float((x**2).mean().sqrt())


def _p_value(statistics: Tensor) -> float:
    """How many of all orders, the given one first, are at least as extreme as it (Phipson & Smyth, equation 2).

    Equal splits are summed in other orders and differ in their last digits: they count as equal.
    """
    tie = 1e-9 * statistics.abs().max()
    return float((statistics >= statistics[0] - tie).double().mean())


# Energy distance and MMD: sums over all pairs


def _pair_sums(
    points: Tensor, n: int, orders: list[Tensor], kernel: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of kernel(distance) over all pairs within x, across, and within y, for many splits at once, (S,) each.

    x are the first n points of each order, y the others. A point with itself counts, and each pair within a set counts
    twice. One matrix product does all splits, and no more than one tile of pairs is ever held.
    """
    points = points - points.mean(dim=0)
    member = points.new_zeros(len(points), len(orders))
    for column, order in enumerate(orders):
        member[order[:n], column] = 1
    within_x, per_point = points.new_zeros(len(orders)), points.new_zeros(len(points))
    for i, j in tile_pairs(len(points)):
        distances = pairwise(points[i], points[j])
        if i == j:
            distances.fill_diagonal_(0)  # which a matrix product only knows to 1e-8
        values = kernel(distances)
        within_x += (1 if i == j else 2) * (member[i] * (values @ member[j])).sum(dim=0)
        per_point[i] += values.sum(dim=1)
        if i != j:
            per_point[j] += values.sum(dim=0)
    across = per_point @ member - within_x
    return within_x, across, per_point.sum() - within_x - 2 * across


def _energies(points: Tensor, n: int, orders: list[Tensor]) -> Tensor:
    """The energy distance of each split, (S,)."""
    m = len(points) - n
    within_x, across, within_y = _pair_sums(points, n, orders, lambda distances: distances)
    return 2 * across / (n * m) - within_x / n**2 - within_y / m**2


def _mmds(points: Tensor, n: int, orders: list[Tensor], bandwidth: float) -> Tensor:
    """The unbiased squared MMD of each split, (S,): without the pairs of a point with itself, whose kernel is 1."""
    m = len(points) - n
    within_x, across, within_y = _pair_sums(points, n, orders, partial(_gaussian, bandwidth=bandwidth))
    return (within_x - n) / (n * (n - 1)) + (within_y - m) / (m * (m - 1)) - 2 * across / (n * m)


def _gaussian(distances: Tensor, bandwidth: float) -> Tensor:
    return distances.div_(math.sqrt(2) * bandwidth).square_().neg_().exp_()


def _bandwidth(points: Tensor, bandwidth: float | None, generator: torch.Generator) -> float:
    if bandwidth is not None:
        check_number("bandwidth", bandwidth)
        return bandwidth
    median = median_distance(points, generator=generator)
    if median == 0:
        raise ValueError("bandwidth must be given, since most of the samples are equal and their median distance is 0")
    return median


# Frechet: two Gaussians


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


def _extrapolate(points: Tensor, n: int) -> float:
    """Where the Frechet distance of the first n points and the others goes as the number of samples grows."""
    x, y, heights = points[:n], points[n:], []
    for parts in PARTS:
        pieces = zip(*(z.split(len(z) // parts)[:parts] for z in (x, y)), strict=True)
        heights.append(sum(_frechet(*piece) for piece in pieces) / parts)
    # least squares: the height at 0 of the line through these points
    centre, height = sum(PARTS) / len(PARTS), sum(heights) / len(PARTS)
    rise = sum((place - centre) * h for place, h in zip(PARTS, heights, strict=True))
    return height - centre * rise / sum((place - centre) ** 2 for place in PARTS)
