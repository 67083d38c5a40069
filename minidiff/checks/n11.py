"""The exercises of notebook 11, measuring quality: 11.1 to 11.4 in its flow, 11.5 to 11.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math
from collections.abc import Callable

import torch
from scipy.stats import rice
from torch import Tensor

from minidiff import data, generator
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Measuring quality"


def double(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def cloud(g: torch.Generator, n: int, d: int) -> Tensor:
    """n points in d dimensions, stretched and tilted, so that no two coordinates are alike."""
    points = torch.randn(n, d, generator=g, dtype=torch.float64)
    return points * (0.6 + 0.5 * torch.arange(d)) + 0.5 * points.roll(1, dims=1)


# 11.1 energy_distance


def energy_distance(x, y):
    across, within_x, within_y = torch.cdist(x, y), torch.cdist(x, x), torch.cdist(y, y)
    return 2 * across.mean() - within_x.mean() - within_y.mean()


def energy_distance_by_sums(x, y):
    def total(a, b):
        return (a[:, None] - b[None]).norm(dim=-1).sum()

    n, m = len(x), len(y)
    return 2 * total(x, y) / (n * m) - total(x, x) / n**2 - total(y, y) / m**2


def energy_truth(x, y):
    p, q = x.tolist(), y.tolist()
    pairs = [(a, b, 2 / len(p) / len(q)) for a in p for b in q]
    pairs += [(a, b, -1 / len(z) ** 2) for z in (p, q) for a in z for b in z]
    return sum(weight * math.dist(a, b) for a, b, weight in pairs)


def energy_cases(g):
    x, y = double((0.0, 0.0), (3.0, 4.0)), double((1.0, 0.0), (0.0, 2.0))
    return (
        Case((x, y), "the points (0, 0) and (3, 4) against (1, 0) and (0, 2)"),
        Case((cloud(g, 7, 3), 1.5 + cloud(g, 5, 3)), "7 points against 5, in three dimensions"),
    )


def energy_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the three tables of distances: formula(across, within x, within y)."""
    return Wrong(name, lambda x, y: formula(torch.cdist(x, y), torch.cdist(x, x), torch.cdist(y, y)), message, seen)


def of_others(table: Tensor) -> Tensor:
    """The mean distance between different points of one set."""
    n = len(table)
    return table.sum() / (n * (n - 1))


ENERGY_DISTANCE = Exercise(
    id="11.1",
    name="energy_distance",
    stub='''
def energy_distance(x, y):
    """The energy distance of two clouds, one number. x: (n, d); y: (m, d). All n² and m² pairs count, also i = j."""
    ...  # your code
''',
    solution=energy_distance,
    alternative=energy_distance_by_sums,
    why=(
        "Three tables of distances, three means. Because every pair counts, the result is never negative, and it is 0 "
        "only\n"
        "for two equal sets. The price is a floor above 0, which section 2 computes."
    ),
    truth=energy_truth,
    cases=energy_cases,
    hints=(
        "`torch.cdist(x, y)` is the table of all distances, (n, m). You need three such tables.",
        "The mean of a table is the double sum over the number of its entries.",
        "Twice the mean across, minus the mean within x, minus the mean within y.",
    ),
    wrong=(
        energy_wrong(
            "a point with itself left out",
            lambda across, xx, yy: 2 * across.mean() - of_others(xx) - of_others(yy),
            "You leave out the pairs of a point with itself, or divide by n (n - 1). Then two sets from one "
            "distribution score 0 on average, and many of these scores are negative. The formula above counts all n² "
            "pairs.",
            "the other way round in shogun-toolbox/shogun#5133, google-research#1926, TorchDrift#9",
        ),
        energy_wrong(
            "2 missing",
            lambda across, xx, yy: across.mean() - xx.mean() - yy.mean(),
            "The factor 2 in front of the distances across is missing, so a cloud is not at distance 0 from itself.",
            "the catalogue",
        ),
        energy_wrong(
            "a root",
            lambda across, xx, yy: (2 * across.mean() - xx.mean() - yy.mean()).sqrt(),
            "You take the root. The energy distance of this course is the combination of means itself.",
            "the catalogue",
        ),
        energy_wrong(
            "half",
            lambda across, xx, yy: across.mean() - (xx.mean() + yy.mean()) / 2,
            "That is half of the energy distance. All three means of the formula have twice your factor.",
        ),
        energy_wrong(
            "squared distances",
            lambda across, xx, yy: 2 * across.square().mean() - xx.square().mean() - yy.square().mean(),
            "You average squared distances. Then everything cancels but the means: the result is twice the squared "
            "distance of the two centres, and is blind to all else.",
        ),
        energy_wrong(
            "only across",
            lambda across, xx, yy: across.mean(),
            "You return the mean distance across. It is large for any wide cloud, also for two equal ones. Compare it "
            "with the distances within each cloud.",
        ),
        energy_wrong(
            "sums",
            lambda across, xx, yy: 2 * across.sum() - xx.sum() - yy.sum(),
            "You add the distances up. Take means, so that the number does not grow with the number of points.",
        ),
        energy_wrong(
            "sign",
            lambda across, xx, yy: xx.mean() + yy.mean() - 2 * across.mean(),
            "The sign is reversed: your number is negative. The distances across count with plus.",
        ),
        Wrong(
            "along the axes",
            lambda x, y: (
                2 * torch.cdist(x, y, p=1).mean() - torch.cdist(x, x, p=1).mean() - torch.cdist(y, y, p=1).mean()
            ),
            "You add up the distances along the axes. The distance meant is the length of the straight line, the root "
            "of the sum of squares.",
            UNSEEN,
        ),
    ),
)


# 11.2 frechet


def frechet(x, y):
    cov_x, cov_y = x.T.cov(), y.T.cov()
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + cov_x.trace() + cov_y.trace() - 2 * cross


def frechet_by_the_product(x, y):
    product = torch.cov(x.T) @ torch.cov(y.T)  # not symmetric, but its eigenvalues are those of A^(1/2) B A^(1/2)
    roots = torch.linalg.eigvals(product).real.clamp(min=0).sqrt()
    apart = x.mean(0) - y.mean(0)
    return apart @ apart + torch.cov(x.T).trace() + torch.cov(y.T).trace() - 2 * roots.sum()


def frechet_truth(x, y):
    # with X = A^(1/2)' the centred points over root (n - 1), tr (A^(1/2) B A^(1/2))^(1/2) is the sum of the singular
    # values of the product of the two tables of points: no covariance and no root of a matrix is needed
    p, q = ((z - z.sum(dim=0) / z.shape[0]) / math.sqrt(z.shape[0] - 1) for z in (x, y))
    shift = x.sum(dim=0) / x.shape[0] - y.sum(dim=0) / y.shape[0]
    nuclear = torch.linalg.svdvals(p @ q.T).sum()
    return float((shift * shift).sum() + (p * p).sum() + (q * q).sum() - 2 * nuclear)


def frechet_cases(g):
    x = double((1.0, 0.0), (-1.0, 0.0), (0.0, 2.0), (0.0, -2.0))
    y = double((4.0, 1.0), (2.0, 1.0), (4.0, -1.0), (0.0, 2.0))
    return (
        Case((x, y), "4 points against 4 in the plane"),
        Case((cloud(g, 9, 3), 1.0 + 1.3 * cloud(g, 9, 3).roll(1, dims=1)), "9 points against 9, in three dimensions"),
        Case((cloud(g, 8, 3), 0.5 + 0.7 * cloud(g, 12, 3).flip(1)), "8 points against 12, in three dimensions"),
    )


def root_of(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT


def frechet_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the right parts: formula(shift, A, B, the right trace of the root)."""

    def answer(x, y):
        a, b = x.T.cov(), y.T.cov()
        root = root_of(a)
        return formula(x.mean(0) - y.mean(0), a, b, root_of(root @ b @ root).trace())

    return Wrong(name, answer, message, seen)


def with_correction(x, y, correction: int) -> Tensor:
    a, b = x.T.cov(correction=correction), y.T.cov(correction=correction)
    root, shift = root_of(a), x.mean(0) - y.mean(0)
    return shift @ shift + a.trace() + b.trace() - 2 * root_of(root @ b @ root).trace()


def points_as_variables(x, y):
    a, b = torch.cov(x), torch.cov(y)
    root, shift = root_of(a), x.mean(0) - y.mean(0)
    return shift @ shift + a.trace() + b.trace() - 2 * root_of(root @ b @ root).trace()


FRECHET = Exercise(
    id="11.2",
    name="frechet",
    stub='''
def frechet(x, y):
    """Equation (2), one number. x: (n, d); y: (m, d). Covariances are divided by n - 1 and m - 1, as `cov` does."""
    ...  # your code
''',
    solution=frechet,
    alternative=frechet_by_the_product,
    why=(
        "The root of a symmetric matrix has the same eigenvectors and the roots of the eigenvalues. The trace of a "
        "root is\n"
        "the sum of the roots of the eigenvalues, so the second root need not be built. Rounding may make an "
        "eigenvalue\n"
        "slightly negative, hence the clamp."
    ),
    truth=frechet_truth,
    cases=frechet_cases,
    hints=(
        "`x.T.cov()` is the covariance, (d, d): torch takes rows for variables, so the points must be transposed.",
        "`values, vectors = torch.linalg.eigh(A)` gives A = vectors diag(values) vectors^T. Its root has the roots of "
        "the values.",
        "The trace of a root is the sum of the roots of the eigenvalues: `torch.linalg.eigvalsh(root @ B @ "
        "root).clamp(min=0).sqrt().sum()`.",
    ),
    wrong=(
        frechet_wrong(
            "root of each element",
            lambda shift, a, b, cross: shift @ shift + a.trace() + b.trace() - 2 * (a * b).sqrt().trace(),
            "You multiply and take roots element by element. That compares the variances of the coordinates only, and "
            "never sees that they are correlated. The root of a matrix needs its eigenvalues.",
            "bioinf-jku/TTUR#12",
        ),
        frechet_wrong(
            "root of each element of the matrix product",
            lambda shift, a, b, cross: shift @ shift + a.trace() + b.trace() - 2 * (a @ b).abs().sqrt().trace(),
            "Your product is one of matrices, but your root is taken element by element. The root of a matrix R is "
            "the matrix S with S S = R; its eigenvalues are the roots of those of R.",
        ),
        frechet_wrong(
            "eigvalsh of the product",
            lambda shift, a, b, cross: (
                shift @ shift + a.trace() + b.trace() - 2 * torch.linalg.eigvalsh(a @ b).clamp(min=0).sqrt().sum()
            ),
            "A B is not symmetric, and `eigvalsh` reads one half of it only. Take A^(1/2) B A^(1/2), which is "
            "symmetric and has the same eigenvalues.",
            "toshas/torch-fidelity#46",
        ),
        frechet_wrong(
            "product of the roots",
            lambda shift, a, b, cross: shift @ shift + a.trace() + b.trace() - 2 * (root_of(a) @ root_of(b)).trace(),
            "You take the trace of A^(1/2) B^(1/2). It equals the trace of the formula only where A B = B A.",
        ),
        frechet_wrong(
            "2 missing",
            lambda shift, a, b, cross: shift @ shift + a.trace() + b.trace() - cross,
            "The last trace counts twice. Without the 2 a set is not at distance 0 from itself.",
        ),
        frechet_wrong(
            "means forgotten",
            lambda shift, a, b, cross: a.trace() + b.trace() - 2 * cross,
            "The difference of the means is missing.",
        ),
        frechet_wrong(
            "means not squared",
            lambda shift, a, b, cross: shift.norm() + a.trace() + b.trace() - 2 * cross,
            "The length of the difference of the means is not squared. The covariances are squares, so this must be "
            "one too.",
        ),
        frechet_wrong(
            "a root at the end",
            lambda shift, a, b, cross: (shift @ shift + a.trace() + b.trace() - 2 * cross).sqrt(),
            "You take the root at the end. What is called Fréchet distance in practice, and FID, is the square.",
        ),
        Wrong(
            "points as variables",
            points_as_variables,
            "Your covariances are n × n: `cov` takes each row for a variable. Transpose the points first, `x.T.cov()`.",
            "ganji15/HiGANplus#12",
        ),
        Wrong(
            "divided by n",
            lambda x, y: with_correction(x, y, 0),
            "Your covariances are divided by n. Divide by n - 1, as `cov` does by itself, or they are too small on "
            "average.",
            UNSEEN,
        ),
    ),
)


# 11.3 precision_recall


def precision_recall(x, y, k):
    across = torch.cdist(x, y)
    radius_x = torch.cdist(x, x).sort(dim=1).values[:, k]  # the nearest of all is the point itself
    radius_y = torch.cdist(y, y).sort(dim=1).values[:, k]
    precision = (across <= radius_y).any(dim=1).double().mean()
    recall = (across <= radius_x[:, None]).any(dim=0).double().mean()
    return precision, recall


def precision_recall_by_one_function(x, y, k):
    def covered(points, centres):
        reach = torch.cdist(centres, centres).kthvalue(k + 1, dim=1).values
        inside = torch.cdist(points, centres) <= reach
        return inside.any(dim=1).sum() / len(points)

    return covered(x, y), covered(y, x)


def precision_recall_truth(x, y, k):
    def fraction(inner, outer):
        balls = []
        for i, centre in enumerate(outer):
            others = sorted(math.dist(centre, point) for j, point in enumerate(outer) if j != i)
            balls.append((centre, others[k - 1]))
        return sum(any(math.dist(point, c) <= reach for c, reach in balls) for point in inner) / len(inner)

    p, q = x.tolist(), y.tolist()
    return fraction(p, q), fraction(q, p)


def precision_cases(g):
    line_x = double((0.2,), (1.2,), (6.0,), (6.6,), (9.0,))
    line_y = double((0.0,), (1.0,), (2.5,), (3.0,), (6.5,))
    x, y = 1.2 * cloud(g, 90, 2) + 0.6, cloud(g, 70, 2)
    more_x, more_y = 0.8 * cloud(g, 80, 3), cloud(g, 110, 3) - 0.5
    return (
        Case((line_x, line_y, 1), "5 points against 5 on a line, with k = 1"),
        Case((x, y, 3), "90 samples against 70 real points, with k = 3"),
        Case((more_x, more_y, 2), "80 samples against 110 real points in three dimensions, with k = 2"),
    )


def precision_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the right parts: formula(across, radii of x, radii of y) are its two numbers."""

    def answer(x, y, k):
        radii = [torch.cdist(z, z).sort(dim=1).values[:, k] for z in (x, y)]
        first, second = formula(torch.cdist(x, y), *radii)
        return first.double().mean(), second.double().mean()

    return Wrong(name, answer, message, seen)


def itself_a_neighbour(x, y, k):
    return precision_recall(x, y, k - 1)


def radii_of_the_other_set(x, y, k):
    across = torch.cdist(x, y)
    radius_x, radius_y = across.sort(dim=1).values[:, k - 1], across.sort(dim=0).values[k - 1]
    return (across <= radius_y).any(dim=1).double().mean(), (across <= radius_x[:, None]).any(dim=0).double().mean()


def largest_radius(across, radius_x, radius_y):
    return (across <= radius_y.max()).any(dim=1), (across <= radius_x.max()).any(dim=0)


PRECISION_RECALL = Exercise(
    id="11.3",
    name="precision_recall",
    stub='''
def precision_recall(x, y, k):
    """Precision and recall, two numbers. x: (n, d), samples; y: (m, d), real.

    Each ball reaches the k-th nearest other point of its own set.
    """
    ...  # your code
''',
    solution=precision_recall,
    alternative=precision_recall_by_one_function,
    why=(
        "Both ask the same question with the roles exchanged: which fraction of one set lies in the balls of the "
        "other? In\n"
        "the sorted row of a point the first distance is 0, to itself, so place k is the k-th neighbour."
    ),
    truth=precision_recall_truth,
    cases=precision_cases,
    parts=("the precision", "the recall"),
    hints=(
        "The radii of the real balls: sort each row of `torch.cdist(y, y)`, and take the right place.",
        "Place 0 of a sorted row is the distance of the point from itself, so the k-th neighbour is at place k.",
        "A sample is covered if `across <= radius_y` holds for *any* real point: `.any(dim=1)`. Precision is the mean "
        "of that. For recall the radii belong to the rows: `radius_x[:, None]`, and `.any(dim=0)`.",
    ),
    wrong=(
        precision_wrong(
            "exchanged",
            lambda across, rx, ry: ((across <= rx[:, None]).any(dim=0), (across <= ry).any(dim=1)),
            "Precision and recall are exchanged. Precision asks which samples lie in balls of real points.",
            "the catalogue",
        ),
        Wrong(
            "itself a neighbour",
            itself_a_neighbour,
            "You count each point as its own nearest neighbour, so your balls reach the neighbour k - 1 only. Place 0 "
            "of a sorted row is the point itself.",
            "the catalogue",
        ),
        precision_wrong(
            "balls of the wrong set",
            lambda across, rx, ry: ((across <= rx[:, None]).any(dim=1), (across <= ry).any(dim=0)),
            "You ask whether a sample's own ball holds a real point. Precision asks whether a ball of a real point "
            "holds the sample. A lonely sample has a huge ball, so in your way nonsense counts as precise.",
        ),
        Wrong(
            "radii across",
            radii_of_the_other_set,
            "Your balls reach the k-th nearest point of the *other* set. Then every ball holds k points of the other "
            "set by construction. The radius of a real point comes from the real points alone.",
            UNSEEN,
        ),
        precision_wrong(
            "all balls",
            lambda across, rx, ry: ((across <= ry).all(dim=1), (across <= rx[:, None]).all(dim=0)),
            "A point need not lie in all balls. One is enough: `any`.",
        ),
        precision_wrong(
            "pairs counted",
            lambda across, rx, ry: (across <= ry, across <= rx[:, None]),
            "You count pairs of a point and a ball. Count points: a point that lies in several balls counts once.",
        ),
        precision_wrong(
            "numbers of points",
            lambda across, rx, ry: (len(rx) * (across <= ry).any(dim=1), len(ry) * (across <= rx[:, None]).any(dim=0)),
            "Those are numbers of points. Divide each by the size of its own set.",
        ),
        precision_wrong(
            "the wrong axis",
            lambda across, rx, ry: ((across <= ry).any(dim=0), (across <= rx[:, None]).any(dim=1)),
            "You count the balls that are not empty. Count the points that lie in a ball: the other axis.",
        ),
        precision_wrong(
            "one radius for all",
            largest_radius,
            "You give all balls the largest radius. Each ball has its own, small where points are dense.",
        ),
    ),
)


# 11.4 nearer_to_training


def nearer_to_training(x, train, test):
    to_train = torch.cdist(x, train).min(dim=1).values
    to_test = torch.cdist(x, test).min(dim=1).values
    return (to_train < to_test).double().mean()


def nearer_in_the_pool(x, train, test):
    nearest = torch.cdist(x, torch.cat([train, test])).argmin(dim=1)
    return (nearest < len(train)).sum() / len(x)


def nearer_truth(x, train, test):
    a, b = train.tolist(), test.tolist()
    wins = [min(math.dist(p, q) for q in a) < min(math.dist(p, q) for q in b) for p in x.tolist()]
    return wins.count(True) / len(wins)


def nearer_cases(g):
    train, test = double((0.0, 0.0), (2.0, 0.0), (0.0, 3.0)), double((1.0, 1.0), (-2.0, 1.0), (6.0, 6.0))
    x = double((0.1, 0.1), (1.9, 0.2), (0.8, 0.9), (0.3, 0.1))
    many = [cloud(g, n, 3) for n in (101, 60, 60)]
    many[0][:40] = many[1][:40] + 0.05
    return (
        Case((x, train, test), "4 samples, 3 training points, 3 test points in the plane"),
        Case(tuple(many), "101 samples, of which 40 are near copies, and 60 points in each set"),
        Case((cloud(g, 83, 2), cloud(g, 50, 2), 1 + cloud(g, 50, 2)), "83 samples, and 50 points in each set"),
    )


def nearer_wrong(name: str, formula: Callable, message: str) -> Wrong:
    return Wrong(name, lambda x, a, b: formula(torch.cdist(x, a), torch.cdist(x, b)), message, UNSEEN)


NEARER = Exercise(
    id="11.4",
    name="nearer_to_training",
    stub='''
def nearer_to_training(x, train, test):
    """The fraction of samples x, (n, d), whose nearest training point is nearer than their nearest test point."""
    ...  # your code
''',
    solution=nearer_to_training,
    alternative=nearer_in_the_pool,
    why=(
        "If the model has not seen either set, chance decides which one holds the nearest point, and the fraction is "
        "1/2,\n"
        "however good or bad the model is."
    ),
    truth=nearer_truth,
    cases=nearer_cases,
    hints=(
        "`torch.cdist(x, train)` has a row for each sample and a column for each training point.",
        "The distance to the nearest training point is the minimum of each row, `.min(dim=1).values`.",
        "Compare the two minima sample by sample, and take the mean of what is true.",
    ),
    wrong=(
        nearer_wrong(
            "exchanged",
            lambda a, b: (a.min(dim=1).values > b.min(dim=1).values).double().mean(),
            "That is the fraction nearer to the test set. A model that copies would score 0.",
        ),
        nearer_wrong(
            "mean distances",
            lambda a, b: (a.mean(dim=1) < b.mean(dim=1)).double().mean(),
            "You compare mean distances. A copy lies on one training point and far from the others, so the mean does "
            "not see it. Take the nearest point.",
        ),
        nearer_wrong(
            "the wrong axis",
            lambda a, b: (a.min(dim=0).values < b.min(dim=0).values).double().mean(),
            "Your minima run over the samples: one for each training point. Each sample needs its nearest training "
            "point, which is the minimum of its row.",
        ),
        nearer_wrong(
            "a number of samples",
            lambda a, b: (a.min(dim=1).values < b.min(dim=1).values).double().sum(),
            "That is a number of samples. Divide by how many there are.",
        ),
        nearer_wrong(
            "per cent",
            lambda a, b: 100 * (a.min(dim=1).values < b.min(dim=1).values).double().mean(),
            "That is in per cent. Give the fraction, between 0 and 1.",
        ),
        nearer_wrong(
            "means compared",
            lambda a, b: (a.min(dim=1).values.mean() < b.min(dim=1).values.mean()).double(),
            "You compare one mean with another, so your answer is 0 or 1. Compare sample by sample.",
        ),
        nearer_wrong(
            "a ratio of distances",
            lambda a, b: a.min(dim=1).values.mean() / b.min(dim=1).values.mean(),
            "You return a ratio of distances. Asked for is a fraction of the samples.",
        ),
        nearer_wrong(
            "the farthest point",
            lambda a, b: (a.max(dim=1).values < b.max(dim=1).values).double().mean(),
            "You compare the farthest points. A copy is recognised by its nearest training point.",
        ),
    ),
)


# 11.5 reported


def ratio_with_a_floor_of_halves():
    def floor(n, m):  # in units of Delta
        return 1 / n + 1 / m

    return 1.8 * floor(2000, 2000) / floor(1000, 1000)


REPORTED = Question(
    id="11.5",
    name="reported",
    stub="reported = None  # the ratio that your friend reports, with a floor of half against half",
    right=(0.88, 0.92),
    solution=ratio_with_a_floor_of_halves,
    why=(
        "Half against half are 1,000 points against 1,000, so the floor is twice that of 2,000 against 2,000. Half of "
        "1.8\n"
        "is 0.9: the model seems perfect. The floor must be made of as many points as the value. With 2,000 real "
        "points\n"
        "the honest way is to judge 1,000 samples against 1,000 of them."
    ),
    wrong=(
        WrongValue(
            "the same",
            (1.78, 1.82),
            "The floor depends on the number of points. Half against half are 1,000 against 1,000.",
            UNSEEN,
        ),
        WrongValue(
            "the wrong way",
            (3.55, 3.65),
            "With fewer points the floor is higher, not lower. So the ratio falls.",
            UNSEEN,
        ),
        WrongValue(
            "a root",
            (1.25, 1.3),
            "The floor of the energy distance falls like 1/n and not like the root of it.",
            UNSEEN,
        ),
        WrongValue(
            "one half only",
            (1.15, 1.24),
            "Both halves have 1,000 points. You halve one of the two sets only.",
            UNSEEN,
        ),
        WrongValue(
            "a square",
            (0.44, 0.46),
            "Half the points make the floor twice as high, and not four times.",
            UNSEEN,
        ),
    ),
    hints=(
        "The floor is (1/n + 1/m) Delta. Which n and m did the friend use, and which should it have been?",
        "1/1000 + 1/1000, against 1/2000 + 1/2000.",
        "The value is the same and the floor is twice as high. What is the ratio?",
    ),
)


# 11.6 how many points


def points_for_three_floors():
    ring = data.eight_gaussians()
    gaps, scale = torch.cdist(ring.means, ring.means).double().numpy(), 0.1 * math.sqrt(2)
    table = rice.mean(gaps / scale, scale=scale)  # E|X - Y| for X in one blob and Y in another, exactly
    eight, seven, across = table.mean(), table[:7, :7].mean(), table[:7].mean()
    apart = 2 * across - seven - eight  # the energy distance of the two distributions
    return float(2 * 2 * eight / apart)  # the value is floor + apart = 3 floors, and the floor is 2 Delta / n


ENOUGH = Question(
    id="11.6",
    name="enough",
    stub="enough = None  # points in each set at which a lost blob scores 3 floors on average",
    right=(190, 260),
    solution=points_for_three_floors,
    why=(
        "The value of n points is the floor, 2 Delta / n, plus the distance of the two distributions, which does not "
        "depend\n"
        "on n. It reaches 3 floors where that distance is 2 floors. The distance goes with the square of the lost\n"
        "weight (notebook 30): for a blob of weight 1/80 it would take a hundred times as many points."
    ),
    wrong=(
        WrongValue(
            "three floors more",
            (310, 380),
            "The value contains one floor already. So the distance of the two distributions must be 2 floors, not 3.",
            UNSEEN,
        ),
        WrongValue(
            "one set only",
            (100, 130),
            "Both sets are finite, so the floor is 2 Delta / n and not Delta / n.",
            UNSEEN,
        ),
        WrongValue(
            "a few points a blob",
            (5, 60),
            "A blob that gets no points shows at so few points to the eye, but the energy distance goes with the "
            "square of the lost weight, 1/64.",
            UNSEEN,
        ),
        WrongValue(
            "thousands",
            (1000, 100_000),
            "With so many points the energy distance is above 9 floors. The floor falls as n grows, the distance "
            "stays.",
            UNSEEN,
        ),
    ),
    hints=(
        "On average the value is the floor plus the distance of the two distributions. So which multiple of the floor "
        "must that distance be?",
        "The floor is 2 Delta / n. Measure Delta, and the distance of the distributions from many points.",
        "Or try: `metrics.energy_distance` at n = 100, 200, 400 and 800, the mean over 20 runs each.",
    ),
)


# 11.7 a copier in disguise


def noise_that_hides_copies():
    ring = data.eight_gaussians().to(torch.float64)
    levels = torch.logspace(-2.5, -1, 25, dtype=torch.float64)
    fractions = torch.zeros(len(levels), dtype=torch.float64)
    for run in range(2):
        train, test = (ring.sample(1000, generator(11, 210, run, i))[0] for i in range(2))
        z = torch.randn(1000, 2, generator=generator(11, 211, run), dtype=torch.float64)
        fractions += torch.stack([nearer_to_training(train + std * z, train, test) for std in levels]) / 2
    return float(levels[fractions > 0.6][-1])


DISGUISE = Question(
    id="11.7",
    name="disguise",
    stub="disguise = None  # standard deviation of the noise at which the fraction falls to 0.6",
    right=(0.017, 0.033),
    solution=noise_that_hides_copies,
    why=(
        "The copies hide as soon as the noise is larger than the gaps between the training points. But it is much "
        "smaller than\n"
        "the blobs, of standard deviation 0.1, so the model has still learned nothing. In many dimensions the gaps "
        "are\n"
        "wide, so this disguise is much harder for images."
    ),
    wrong=(
        WrongValue(
            "the width of a blob",
            (0.08, 0.12),
            "At 0.1, the width of a blob, the fraction is at 1/2 already. It falls to 0.6 much earlier.",
            UNSEEN,
        ),
        WrongValue(
            "too much noise",
            (0.04, 0.078),
            "At such noise the fraction has fallen below 0.6 already. Less is enough.",
            UNSEEN,
        ),
        WrongValue(
            "still copies",
            (0.001, 0.008),
            "At such noise more than three quarters of the samples still lie nearest to a training point.",
            UNSEEN,
        ),
        WrongValue(
            "a variance",
            (0.00033, 0.00099),
            "That is the variance. Asked for is the standard deviation.",
            UNSEEN,
        ),
        WrongValue(
            "as wide as the ring",
            (0.5, 2.0),
            "Such noise destroys the blobs, and the samples look like nothing that was learned. Much less is enough.",
            UNSEEN,
        ),
    ),
    hints=(
        "`copies = train + std * torch.randn(...)` for several std, and `nearer_to_training(copies, train, test)`.",
        "What else is as small as that? Look at the distance from a test point to its nearest training point.",
        "Try the standard deviations 0.003, 0.01, 0.03 and 0.1 with 1,000 points in each set.",
    ),
)


# 11.8 in words

REFEREE = Explanation(
    id="11.8",
    name="a referee's questions",
    task="A paper compares its Fréchet distance of 8.2, from 50,000 samples, with a published 9.0 "
    "from 10,000 samples; say what you ask the authors.",
    model=(
        "The two numbers have different biases. The bias falls as 1/n and grows with the square of the number of "
        "features, so at 10,000 samples it may be larger than the whole difference, and the older model may be the "
        "better one. Even at equal n the bias depends on the model: one with too little variety has less of it. So I "
        "ask for the floor, which is the score of real images at the same n, for values at several n or extrapolated "
        "in 1/n, and for the scatter over several runs. Then I ask which features were used and whether both papers "
        "used the same ones. A Fréchet distance sees mean and covariance only, so I ask for precision and recall "
        "beside it. And I ask for a comparison with held-out images, because a model that copies its training set "
        "would score better than any other."
    ),
    look_for=(
        "Different numbers of samples have different biases, and the direction of the error is said.",
        "At equal n the bias still depends on the model, so an extrapolation or at least the floor is needed.",
        "The scatter over runs is asked for before 8.2 and 9.0 are called different.",
        "Mean and covariance are not everything, so a second metric is asked for.",
        "Copies of the training set would win, so held-out data are needed.",
    ),
    hints=(
        "What would real images score at 10,000 samples, and what at 50,000?",
        "Suppose both had used 10,000. Would the comparison be fair?",
        "Which model would have the best Fréchet distance of all to the training set?",
    ),
)

EXERCISES = (ENERGY_DISTANCE, FRECHET, PRECISION_RECALL, NEARER, REPORTED, ENOUGH, DISGUISE, REFEREE)
