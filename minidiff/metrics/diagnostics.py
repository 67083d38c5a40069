"""What is wrong with these samples? Three answers that say more than a distance does. Notebooks 08, 11 and 30.

Sources: Lopez-Paz & Oquab 2017, arXiv 1610.06545 (classifier two-sample test); Fisher 1935, The design of experiments
(the exact test behind its p-value); Kynkaanniemi et al. 2019, arXiv 1904.06991 (precision and recall); Bishop 2006,
Pattern Recognition and Machine Learning, equation 9.13 (responsibilities).
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from minidiff._tensors import check_finite, check_generator, check_whole, describe, in_double
from minidiff.exact import GaussianMixture, responsibilities
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
from minidiff.paths import GaussianPath

if TYPE_CHECKING:  # SciPy's distributions and scikit-learn take over a second: they are imported where they are used
    from sklearn.base import ClassifierMixin

__all__ = ["ClassifierTest", "ModeWeights", "PrecisionRecall", "classifier_test", "mode_weights", "precision_recall"]

# Distances by matrix product are good to about 1e-8 of the spread: a point must not fall out of a ball for that.
SLACK = 1e-7
# So many samples from 10 modes of 100 coordinates: 8 MB.
SAMPLES_AT_ONCE = 1000
# Time 0: a path on which nothing has happened to the data.
CLEAN = GaussianPath(alpha=torch.ones_like, sigma=torch.zeros_like)


class ClassifierTest(NamedTuple):
    """How well a classifier tells two sets apart, and the p-value of the hypothesis that none could.

    accuracy: on the points that it has not seen. Its floor is chance, 1/2; 1 is the worst that a model can score.
    """

    accuracy: Measurement
    p_value: float


class PrecisionRecall(NamedTuple):
    """precision: how much of what is generated looks real. recall: how much of what is real can be generated."""

    precision: Measurement
    recall: Measurement


class ModeWeights(NamedTuple):
    """weights, expected: (K,), what was found and what the mixture has. distance: their total variation distance."""

    weights: Tensor
    expected: Tensor
    distance: Measurement


def classifier_test(
    samples: Tensor, real: Tensor, *, generator: torch.Generator, classifier: "ClassifierMixin | None" = None
) -> ClassifierTest:
    """Can a classifier tell generated from real? (Lopez-Paz & Oquab, section 3.) Notebook 30.

    samples: (N, *D); real: (M, *D). It learns from a random half of each set and is tested once on the others:
    cross-validation would test every point and seem twice as sure, but each tested point also trains the classifiers
    of the other folds, so the hits depend on each other, and it rejects a true hypothesis too often. `classifier` is
    any of scikit-learn's, of which a copy is trained; without one, the vote of the sqrt(n) nearest of n training
    points, as in the paper.

    The accuracy is the mean of the two sets' own, so that chance is 1/2 also where N and M differ. Given what the
    classifier predicts, the number of hits is hypergeometric under the hypothesis: the p-value is exact at every size,
    and P(p <= a) <= a. Blind spot: whatever this classifier cannot learn from half of the points.
    """
    from scipy.stats import hypergeom
    from sklearn.base import clone
    from sklearn.neighbors import KNeighborsClassifier

    points = comparable(samples, real)
    trained, tested = zip(*(_halves(x, generator) for x in points), strict=True)
    sizes = [len(x) for x in trained]
    if classifier is None:
        classifier = KNeighborsClassifier(max(1, round(math.sqrt(sum(sizes)))))
    labels = torch.cat([torch.ones(sizes[0]), torch.zeros(sizes[1])]).int()
    fitted = clone(classifier).fit(torch.cat(trained).numpy(), labels.numpy())
    of_samples, of_real = ((fitted.predict(x.numpy()) == 1) for x in tested)
    accuracy = float(of_samples.mean() + (1 - of_real.mean())) / 2
    called, hits, total = int(of_samples.sum() + of_real.sum()), int(of_samples.sum()), len(of_samples) + len(of_real)
    p_value = float(hypergeom.sf(hits - 1, total, called, len(of_samples)))
    return ClassifierTest(Measurement(accuracy, 0.5, len(samples), len(real)), p_value)


def precision_recall(
    samples: Tensor, real: Tensor, real_again: Tensor, *, generator: torch.Generator, neighbours: int = 3
) -> PrecisionRecall:
    """Precision and recall of two sets of points (Kynkaanniemi et al., equations 1 and 2). Notebook 11.

    samples, real_again: (N, *D); real: (M, *D). Around each point of a set lies a ball that reaches to its k-th
    nearest neighbour in the same set. Precision is the part of `samples` that lies in a ball of `real`; recall is the
    part of `real` that lies in a ball of `samples`. Noise lowers precision; a mode that is missing lowers recall.

    Higher is better, and what a perfect model scores is below 1: here the "floor" is a ceiling. Blind spots: how many
    samples a mode gets, as long as it gets some; an outlier has a large ball, which excuses what falls into it.
    """
    (x, y), (again, _) = comparable(samples, real), comparable(real_again, real, names=("real_again", "real"))
    same_size(samples, real_again)
    check_whole("neighbours", neighbours, most=min(len(x), len(y)) - 1)
    n, truth = len(x), torch.cat([again, y])
    orders = shuffles(len(truth), FLOOR_SPLITS, generator)
    found = _covered(x, y, neighbours)
    splits = progress(orders, "splits for the ceiling")
    ideal = [_covered(truth[order[:n]], truth[order[n:]], neighbours) for order in splits]
    ceilings = (sum(one) / len(one) for one in zip(*ideal, strict=True))
    return PrecisionRecall(*(Measurement(*both, n, len(y)) for both in zip(found, ceilings, strict=True)))


def mode_weights(samples: Tensor, mixture: GaussianMixture, *, generator: torch.Generator) -> ModeWeights:
    """How the samples divide among the modes of the mixture they should come from. Notebooks 08, 11 and 30.

    samples: (N, *D), of the shape of the mixture's means. The weight of a mode is its mean posterior responsibility
    p(mode | sample) (Bishop, equation 9.13). A perfect model gets the true weights on average, however much the modes
    overlap; counting the nearest mode would not do that. For other weights v the average is sum_j v_j E_j[p(k | x)]:
    where modes overlap, a wrong weight is drawn towards the true one and the error looks smaller than it is.

    The distance is half the sum of |weight - expected|; its floor is the mean of that over draws of N points from the
    mixture itself. Blind spot: everything that happens within a mode.
    """
    if not isinstance(mixture, GaussianMixture):
        raise TypeError(f"mixture must be a GaussianMixture, but is {describe(mixture)}")
    check_finite(samples, "samples")
    shape = tuple(mixture.means.shape[1:])
    if samples.ndim < 2 or tuple(samples.shape[1:]) != shape or len(samples) < 1:
        raise ValueError(f"samples must have shape (N, *{shape}) to go with mixture, but is {describe(samples)}")
    check_generator(generator)
    points, n = in_double(samples.detach()), len(samples)
    mixture = mixture.like(points)
    weights = _mean_responsibilities(points, mixture)
    draws = [_mean_responsibilities(mixture.sample(n, generator)[0], mixture) for _ in range(FLOOR_SPLITS)]
    value, *floors = (0.5 * float((found - mixture.weights).abs().sum()) for found in [weights, *draws])
    return ModeWeights(weights, mixture.weights, Measurement(value, sum(floors) / len(floors), n, n))


def _halves(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    (order,) = shuffles(len(x), 1, generator)
    return x[order[: len(x) // 2]], x[order[len(x) // 2 :]]


def _covered(x: Tensor, y: Tensor, neighbours: int) -> tuple[float, float]:
    """The part of x in balls of y, and the part of y in balls of x."""
    centre = y.mean(dim=0)
    x, y = x - centre, y - centre
    slack = SLACK * float(torch.cat([x, y]).square().sum(dim=1).mean().sqrt())
    radius_x, radius_y = (_radii(z, neighbours) + slack for z in (x, y))
    x_in, y_in = torch.zeros(len(x), dtype=torch.bool), torch.zeros(len(y), dtype=torch.bool)
    for i, j in tile_pairs(len(x), len(y)):
        distances = pairwise(x[i], y[j])
        x_in[i] |= (distances <= radius_y[j]).any(dim=1)
        y_in[j] |= (distances <= radius_x[i, None]).any(dim=0)
    return float(x_in.double().mean()), float(y_in.double().mean())


def _radii(x: Tensor, neighbours: int) -> Tensor:
    """Each point's distance to its k-th nearest neighbour; a point is no neighbour of its own. (N,)"""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=neighbours).fit(x.numpy()).kneighbors()
    return torch.from_numpy(distances[:, -1])


def _mean_responsibilities(x: Tensor, mixture: GaussianMixture) -> Tensor:
    """(K,). In parts: inside, each sample is seen from each mode."""
    now = x.new_zeros(())
    return sum(responsibilities(mixture, CLEAN, part, now).sum(dim=0) for part in x.split(SAMPLES_AT_ONCE)) / len(x)
