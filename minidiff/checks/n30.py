"""The exercises of notebook 30, metrics under test: 30.1 to 30.3 in its flow, 30.4 to 30.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from minidiff import generator
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, means

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Metrics under test"
CATALOGUE = "statlab/permute#108, cosanlab/nltools#314, scipy#16460"


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# 30.1 permutation_p


def permutation_p(x, y, distance, times, g):
    pool, n, given = torch.cat([x, y]), len(x), distance(x, y)
    as_far = 0
    for _ in range(times):
        order = torch.randperm(len(pool), generator=g)
        as_far += int(distance(pool[order[:n]], pool[order[n:]]) >= given)
    return (1 + as_far) / (1 + times)


def permutation_p_by_rank(x, y, distance, times, g):
    pool = torch.cat([x, y])
    shuffled = [pool[torch.randperm(len(pool), generator=g)] for _ in range(times)]
    found = [distance(x, y)] + [distance(z[: len(x)], z[len(x) :]) for z in shuffled]
    return float((torch.tensor(found, dtype=torch.float64) >= float(found[0])).double().mean())


def permutation_truth(x, y, distance, times, g):
    # sorting by random keys is a random order; the given division is the first of all
    both, labels, first = torch.vstack((x, y)), torch.arange(len(x) + len(y)) < len(x), None
    count = 0
    for turn in range(times + 1):
        chosen = labels if turn == 0 else labels[torch.rand(len(both), generator=g).argsort()]
        value = float(distance(both[chosen], both[~chosen]))
        first = value if first is None else first
        count += value >= first
    return count / (times + 1)


def gap_of_means(x: Tensor, y: Tensor) -> Tensor:
    """The distance of the two means. x: (n, 1); y: (m, 1)."""
    return (x.mean() - y.mean()).abs()


def column(*numbers: float) -> Tensor:
    return double(*numbers)[:, None]


def permutation_cases(g):
    middling = column(0.0, 1.0, 1.0, 2.0), column(0.0, 0.0, 0.0, 2.0)
    ties = column(0.0, 0.0, 0.0, 1.0), column(0.0, 1.0, 1.0, 1.0)
    far = column(0.0, 1.0, 2.0, 3.0, 5.0), column(4.0, 6.0, 7.0, 9.0)
    # numbers between -1 and 1, of which the first ten are moved; then all in units and from a zero that g chooses
    noise = torch.linspace(-1, 1, 12, dtype=torch.float64)[torch.tensor([0, 7, 2, 9, 4, 11, 6, 1, 8, 3, 10, 5])]
    unit, zero = 0.5 + torch.rand(2, generator=g, dtype=torch.float64)
    x, y = zero + unit * (noise[:10] - noise[:10].mean() + 0.5), zero + unit * (noise[10:] - noise[10:].mean())
    return (
        Case((*middling, gap_of_means, 2, RNG), "the sets 0, 1, 1, 2 and 0, 0, 0, 2, the gap of means, and times = 2"),
        Case((*ties, gap_of_means, 4, RNG), "the sets 0, 0, 0, 1 and 0, 1, 1, 1, the gap of means, and times = 4"),
        Case((*far, gap_of_means, 4, RNG), "the sets 0, 1, 2, 3, 5 and 4, 6, 7, 9, the gap of means, and times = 4"),
        Case((x[:, None], y[:, None], gap_of_means, 3, RNG), "10 numbers against 2, the gap of means, and times = 3"),
    )


def permutation_view(out, *arguments):
    rows = out.reshape(len(out), 1)
    return means({"the mean p-value": rows, "the mean square of the p-value": rows**2})


def divisions(x: Tensor, y: Tensor, distance: Callable, times: int, g: torch.Generator) -> list[float]:
    """The distances of random divisions."""
    pool, found = torch.cat([x, y]), []
    for _ in range(times):
        order = torch.randperm(len(pool), generator=g)
        found.append(float(distance(pool[order[: len(x)]], pool[order[len(x) :]])))
    return found


def permutation_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the given distance and those of the divisions: formula(given, others, times)."""

    def answer(x, y, distance, times, g):
        return formula(float(distance(x, y)), np.array(divisions(x, y, distance, times, g)), times)

    return Wrong(name, answer, message, seen)


def each_set_shuffled(x, y, distance, times, g):
    given, count = float(distance(x, y)), 0
    for _ in range(times):
        a, b = (z[torch.randperm(len(z), generator=g)] for z in (x, y))
        count += float(distance(a, b)) >= given - 1e-9
    return (1 + count) / (1 + times)


def with_replacement(x, y, distance, times, g):
    pool, given, count = torch.cat([x, y]), float(distance(x, y)), 0
    for _ in range(times):
        a, b = (pool[torch.randint(len(pool), (len(z),), generator=g)] for z in (x, y))
        count += float(distance(a, b)) >= given
    return (1 + count) / (1 + times)


def real_set_kept(x, y, distance, times, g):
    pool, given, count = torch.cat([x, y]), float(distance(x, y)), 0
    for _ in range(times):
        count += float(distance(pool[torch.randperm(len(pool), generator=g)[: len(x)]], y)) >= given
    return (1 + count) / (1 + times)


def cut_in_the_middle(x, y, distance, times, g):
    pool, given, count = torch.cat([x, y]), float(distance(x, y)), 0
    half = len(pool) // 2
    for _ in range(times):
        order = torch.randperm(len(pool), generator=g)
        count += float(distance(pool[order[:half]], pool[order[half:]])) >= given
    return (1 + count) / (1 + times)


PERMUTATION_P = Exercise(
    id="30.1",
    name="permutation_p",
    stub='''
def permutation_p(x, y, distance, times, g):
    """Equation (1) with `times` random divisions; distance(x, y) is a number. x: (n, d); y: (m, d)."""
    ...  # your code
''',
    solution=permutation_p,
    alternative=permutation_p_by_rank,
    why=(
        "A random order of the pool, cut after n points, is a random division. The given division is one of\n"
        "times + 1 that are equally likely under the null hypothesis, so it counts above and below. Equal distances\n"
        "count as at least as far apart, or the p-value would be too small where ties occur."
    ),
    truth=permutation_truth,
    cases=permutation_cases,
    view=permutation_view,
    calls=600,
    hints=(
        "Put all points into one pool: `pool = torch.cat([x, y])`. Compute the given distance first.",
        "`order = torch.randperm(len(pool), generator=g)`; the first n of the order are one set and the rest the "
        "other.",
        "Count the divisions whose distance is >= the given one. Return (1 + count) / (1 + times).",
    ),
    wrong=(
        permutation_wrong(
            "the given division not counted",
            lambda given, others, times: float((others >= given).mean()),
            "You leave the given division out, above and below. Then p can be 0, and the test rejects too often.",
            CATALOGUE,
        ),
        permutation_wrong(
            "the 1 missing below",
            lambda given, others, times: (1 + int((others >= given).sum())) / times,
            "You add 1 to the number above, but not to the one below. So p can exceed 1.",
        ),
        permutation_wrong(
            "the 1 missing above",
            lambda given, others, times: int((others >= given).sum()) / (1 + times),
            "You add 1 to the number below, but not to the one above. The given division is at least as far apart as "
            "itself.",
        ),
        permutation_wrong(
            "ties not counted",
            lambda given, others, times: (1 + int((others > given).sum())) / (1 + times),
            "You count only what is farther apart, with >. Divisions with the same distance count too, with >=.",
            "the catalogue",
        ),
        permutation_wrong(
            "the other tail",
            lambda given, others, times: (1 + int((others <= given).sum())) / (1 + times),
            "You count the divisions that are nearer. The p-value asks how often chance gives at least this distance.",
        ),
        permutation_wrong(
            "one minus p",
            lambda given, others, times: 1 - (1 + int((others >= given).sum())) / (1 + times),
            "You return 1 - p. A small p-value should mean that chance seldom gives such a distance.",
        ),
        permutation_wrong(
            "doubled",
            lambda given, others, times: min(1.0, 2 * (1 + int((others >= given).sum())) / (1 + times)),
            "You double the p-value. A distance has one direction in which it is bad, so there is nothing to double.",
        ),
        Wrong(
            "each set shuffled by itself",
            each_set_shuffled,
            "You shuffle each set by itself. That does not change the sets, so every distance equals the given one. "
            "Shuffle the pool of both.",
            UNSEEN,
        ),
        Wrong(
            "drawn with replacement",
            with_replacement,
            "You draw from the pool with replacement, as in a bootstrap. A division uses every point exactly once: "
            "take a random order of the pool.",
            UNSEEN,
        ),
        Wrong(
            "cut in the middle",
            cut_in_the_middle,
            "You cut the pool in the middle. The sets of a division must be as large as the given ones: n points in "
            "the "
            "first and m in the second.",
            UNSEEN,
        ),
        Wrong(
            "the real set kept",
            real_set_kept,
            "You draw only the first set anew and keep y as it is. The points that are not in the first set must form "
            "the second one.",
            UNSEEN,
        ),
    ),
)


# 30.2 logistic_accuracy


def logistic_accuracy(x, y):
    n, m = len(x) // 2, len(y) // 2
    train, test = torch.cat([x[:n], y[:m]]).numpy(), torch.cat([x[n:], y[m:]]).numpy()
    labels = np.repeat([1, 0], [n, m])  # 1 is generated
    called = LogisticRegression().fit(train, labels).predict(test)
    return float((called == labels).mean())


def logistic_accuracy_by_score(x, y):
    (x_train, x_test), (y_train, y_test) = x.chunk(2), y.chunk(2)
    train, test = torch.cat([y_train, x_train]), torch.cat([y_test, x_test])
    is_model = [False] * len(y_train) + [True] * len(x_train)
    return LogisticRegression().fit(train.numpy(), is_model).score(test.numpy(), is_model)


def fitted(points: Tensor, labels: Tensor) -> Tensor:
    """Logistic regression with half the squared slope as penalty, by Newton's method: slope, then offset."""
    design = torch.cat([points, torch.ones(len(points), 1, dtype=points.dtype)], dim=1)
    ridge = torch.eye(design.shape[1], dtype=points.dtype)
    ridge[-1, -1] = 0
    w = torch.zeros(design.shape[1], dtype=points.dtype)
    for _ in range(25):
        p = torch.sigmoid(design @ w)
        slope = design.T @ (p - labels) + ridge @ w
        curvature = (design.T * (p * (1 - p))) @ design + ridge
        w = w - torch.linalg.solve(curvature, slope)
    return w


def logistic_truth(x, y):
    a, b = x.shape[0] // 2, y.shape[0] // 2
    ones, zeros = torch.ones(a, dtype=x.dtype), torch.zeros(b, dtype=x.dtype)
    w = fitted(torch.vstack((x[:a], y[:b])), torch.hstack((ones, zeros)))
    hits = ((x[a:] @ w[:-1] + w[-1]) > 0).sum() + ((y[b:] @ w[:-1] + w[-1]) <= 0).sum()
    return float(hits) / (a + b)


def logistic_cases(g):
    def sets(n, m, d, shift):
        x, y = (torch.randn(k, d, generator=g, dtype=torch.float64) for k in (n, m))
        return x + shift / math.sqrt(d), y

    return (
        Case((column(2.0, 3.0, 2.5, 0.2), column(-1.0, 0.0, 0.5, 2.2)), "2, 3, 2.5, 0.2 against -1, 0, 0.5, 2.2"),
        Case(sets(120, 120, 8, 0.8), "120 samples against 120 real points, in eight dimensions"),
        Case(sets(180, 60, 10, 0.7), "180 samples against 60 real points, in ten dimensions"),
        Case(sets(70, 130, 6, 1.0), "70 samples against 130 real points, in six dimensions"),
    )


def logistic_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer: formula(fit, the two halves of x, the two halves of y); fit(x, y) gives two rows of hits."""

    def fit(x_train, y_train, x_test, y_test):
        labels = np.repeat([1, 0], [len(x_train), len(y_train)])
        model = LogisticRegression().fit(torch.cat([x_train, y_train]).numpy(), labels)
        return model.predict(x_test.numpy()) == 1, model.predict(y_test.numpy()) == 0

    return Wrong(name, lambda x, y: formula(fit, x.chunk(2), y.chunk(2)), message, seen)


def cut_at_half_of_x(x, y):
    half = len(x) // 2
    train, test = torch.cat([x[:half], y[:half]]).numpy(), torch.cat([x[half:], y[half:]]).numpy()
    labels = np.repeat([1, 0], [half, len(y[:half])])
    called = LogisticRegression().fit(train, labels).predict(test)
    return float((called == np.repeat([1, 0], [len(x) - half, len(y[half:])])).mean())


def pooled(hits: tuple) -> float:
    return float(np.concatenate(hits).mean())


LOGISTIC_ACCURACY = Exercise(
    id="30.2",
    name="logistic_accuracy",
    stub='''
def logistic_accuracy(x, y):
    """Learn from the first half of each set. Return the fraction of all other points that are classified rightly.

    x: (n, d), samples; y: (m, d), real points; n and m are even. Logistic regression as scikit-learn sets it.
    """
    ...  # your code
''',
    solution=logistic_accuracy,
    alternative=logistic_accuracy_by_score,
    why=(
        "Both halves of both sets keep the same order and the same labels. What was learned from the first halves is\n"
        "tested on the second halves, which it has not seen. On its training points any classifier looks better than\n"
        "it is, also where there is nothing to find."
    ),
    truth=logistic_truth,
    cases=logistic_cases,
    hints=(
        "`x[: len(x) // 2]` and `x[len(x) // 2 :]` are the two halves. Learn from the first halves of x and y.",
        "The points to learn from are `torch.cat([...]).numpy()`, and their labels 1 for samples and 0 for real ones.",
        "`called = LogisticRegression().fit(train, labels).predict(test)`; return the mean of `called == labels`.",
    ),
    wrong=(
        logistic_wrong(
            "tested on the training points",
            lambda fit, x, y: pooled(fit(x[0], y[0], x[0], y[0])),
            "You test on the points that were learned from. There every classifier looks better than it is. Test on "
            "the second halves.",
            "the catalogue",
        ),
        logistic_wrong(
            "everything learned and tested",
            lambda fit, x, y: pooled(fit(torch.cat(x), torch.cat(y), torch.cat(x), torch.cat(y))),
            "You learn from all points and test on all of them. Nothing is held out.",
        ),
        logistic_wrong(
            "everything learned, half tested",
            lambda fit, x, y: pooled(fit(torch.cat(x), torch.cat(y), x[1], y[1])),
            "You learn from all points, the ones of the test among them. Learn from the first halves only.",
        ),
        logistic_wrong(
            "halves exchanged",
            lambda fit, x, y: pooled(fit(x[1], y[1], x[0], y[0])),
            "You learn from the second halves and test on the first. That is honest too, but asked for is the other "
            "way round.",
        ),
        Wrong(
            "both cut at half of x",
            cut_at_half_of_x,
            "You cut both sets at half of len(x). The sets may have different sizes, so cut y at half of len(y).",
            UNSEEN,
        ),
        logistic_wrong(
            "every second point",
            lambda fit, x, y: pooled(fit(*(torch.cat(z)[i::2] for i in (0, 1) for z in (x, y)))),
            "You learn from every second point. That is honest too, but asked for is to learn from the first half of "
            "each set.",
        ),
        logistic_wrong(
            "labels exchanged",
            lambda fit, x, y: 1 - pooled(fit(x[0], y[0], x[1], y[1])),
            "That is the fraction of errors. The labels are exchanged between learning and testing, or you count what "
            "is wrong.",
        ),
        logistic_wrong(
            "only samples tested",
            lambda fit, x, y: float(fit(x[0], y[0], x[1], y[1])[0].mean()),
            "You test on samples only. The real points of the second half count too, or who calls everything generated "
            "would be perfect.",
        ),
        logistic_wrong(
            "only real points tested",
            lambda fit, x, y: float(fit(x[0], y[0], x[1], y[1])[1].mean()),
            "You test on real points only. The samples of the second half count too.",
        ),
        logistic_wrong(
            "mean of two accuracies",
            lambda fit, x, y: float(np.mean([hits.mean() for hits in fit(x[0], y[0], x[1], y[1])])),
            "You average the accuracies of the two sets. With n and m unequal that is another number than the fraction "
            "of all held-out points.",
        ),
        logistic_wrong(
            "a number of hits",
            lambda fit, x, y: float(np.concatenate(fit(x[0], y[0], x[1], y[1])).sum()),
            "That is a number of points. Divide by how many were tested.",
        ),
    ),
)


# 30.3 mmd


def mmd(x, y, b):
    def kernel(p, q):
        return torch.exp(-(torch.cdist(p, q) ** 2) / (2 * b**2))

    n, m = len(x), len(y)
    within_x = (kernel(x, x).sum() - n) / (n * (n - 1))  # the n pairs of a point with itself are 1 each
    within_y = (kernel(y, y).sum() - m) / (m * (m - 1))
    return within_x + within_y - 2 * kernel(x, y).mean()


def mmd_of_different_pairs(x, y, b):
    within = [torch.exp(-(torch.pdist(z) ** 2) / 2 / b**2).mean() for z in (x, y)]
    across = torch.exp(-((x[:, None] - y[None]) ** 2).sum(dim=-1) / 2 / b**2).mean()
    return sum(within) - 2 * across


def mmd_truth(x, y, b):
    p, q = x.tolist(), y.tolist()
    pairs = [
        (one, two, 1 / len(z) / (len(z) - 1)) for z in (p, q) for i, one in enumerate(z) for two in z[:i] + z[i + 1 :]
    ]
    pairs += [(one, two, -2 / len(p) / len(q)) for one in p for two in q]
    return sum(weight * math.exp(-0.5 * (math.dist(one, two) / b) ** 2) for one, two, weight in pairs)


def mmd_cases(g):
    x = torch.randn(7, 3, generator=g, dtype=torch.float64)
    y = 0.6 * torch.randn(5, 3, generator=g, dtype=torch.float64) + 0.8
    plain = (
        torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64),
        torch.tensor([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0]]),
    )
    return (
        Case((plain[0], plain[1].double(), 1.0), "the points (0, 0) and (1, 2) against three others, with b = 1"),
        Case((x, y, 1.7), "7 points against 5 in three dimensions, with b = 1.7"),
    )


def mmd_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the three tables of distances: formula(within x, across, within y, b)."""
    return Wrong(
        name, lambda x, y, b: formula(torch.cdist(x, x), torch.cdist(x, y), torch.cdist(y, y), b), message, seen
    )


def gauss(table: Tensor, b: float) -> Tensor:
    return torch.exp(-(table**2) / (2 * b**2))


def of_pairs(values: Tensor) -> Tensor:
    """The mean over all pairs of different points."""
    n = len(values)
    return (values.sum() - values.diagonal().sum()) / (n * (n - 1))


def unbiased(xx: Tensor, xy: Tensor, yy: Tensor, kernel: Callable) -> Tensor:
    return of_pairs(kernel(xx)) + of_pairs(kernel(yy)) - 2 * kernel(xy).mean()


def removed_but_counted(values: Tensor) -> Tensor:
    return (values.sum() - values.diagonal().sum()) / len(values) ** 2


MMD = Exercise(
    id="30.3",
    name="mmd",
    stub='''
def mmd(x, y, b):
    """The unbiased estimate of the squared MMD (4) with bandwidth b, one number. x: (n, d); y: (m, d)."""
    ...  # your code
''',
    solution=mmd,
    alternative=mmd_of_different_pairs,
    why=(
        "Each pair of different points within a set is an independent pair, so the mean of their kernels has the "
        "right\n"
        "mean. Across there is no pair of a point with itself, and nothing is left out. `torch.pdist` holds each pair\n"
        "of different points once, which is all that a mean needs."
    ),
    truth=mmd_truth,
    cases=mmd_cases,
    hints=(
        "`torch.exp(-(torch.cdist(p, q) ** 2) / (2 * b**2))` is the table of kernels. You need three such tables.",
        "The kernel of a point with itself is 1. Within x there are n of them in the sum, so subtract n.",
        "Within x: divide by n (n - 1). Across: the plain mean, twice, with minus.",
    ),
    wrong=(
        mmd_wrong(
            "all pairs",
            lambda xx, xy, yy, b: gauss(xx, b).mean() + gauss(yy, b).mean() - 2 * gauss(xy, b).mean(),
            "You count the pairs of a point with itself. So your estimate is too large by (5), and never negative.",
            "shogun-toolbox/shogun#5133, google-research#1926, TorchDrift#9",
        ),
        mmd_wrong(
            "left out but counted",
            lambda xx, xy, yy, b: (
                removed_but_counted(gauss(xx, b)) + removed_but_counted(gauss(yy, b)) - 2 * gauss(xy, b).mean()
            ),
            "You leave out the pairs of a point with itself, but divide by n² still. There are n (n - 1) pairs left.",
        ),
        mmd_wrong(
            "left in but not counted",
            lambda xx, xy, yy, b: (
                gauss(xx, b).sum() / (len(xx) * (len(xx) - 1))
                + gauss(yy, b).sum() / (len(yy) * (len(yy) - 1))
                - 2 * gauss(xy, b).mean()
            ),
            "You divide by n (n - 1), but the pairs of a point with itself are still in the sum. Subtract n first.",
        ),
        mmd_wrong(
            "2 missing across",
            lambda xx, xy, yy, b: of_pairs(gauss(xx, b)) + of_pairs(gauss(yy, b)) - gauss(xy, b).mean(),
            "The factor 2 in front of the kernels across is missing, so two equal distributions are not at 0.",
        ),
        mmd_wrong(
            "2 missing in the kernel",
            lambda xx, xy, yy, b: unbiased(xx, xy, yy, lambda t: torch.exp(-(t**2) / b**2)),
            "Your kernel is exp(-z²/b²). The one meant has 2 b² below, as the density of a normal distribution.",
        ),
        mmd_wrong(
            "b not squared",
            lambda xx, xy, yy, b: unbiased(xx, xy, yy, lambda t: torch.exp(-(t**2) / (2 * b))),
            "The bandwidth in your kernel is not squared. It is a length, as the distance is.",
        ),
        mmd_wrong(
            "distance not squared",
            lambda xx, xy, yy, b: unbiased(xx, xy, yy, lambda t: torch.exp(-t / (2 * b**2))),
            "The distance in your kernel is not squared. `torch.cdist` gives distances and not their squares.",
        ),
        mmd_wrong(
            "sign",
            lambda xx, xy, yy, b: -unbiased(xx, xy, yy, lambda t: gauss(t, b)),
            "The sign is reversed. The kernel is large where points are near, so the terms within count with plus.",
        ),
        mmd_wrong(
            "pairs counted once",
            lambda xx, xy, yy, b: 2 * of_pairs(gauss(xx, b)) + 2 * of_pairs(gauss(yy, b)) - 2 * gauss(xy, b).mean(),
            "Your terms within the sets are twice too large. The table within x holds every pair twice, so divide by "
            "n (n - 1) and not by half of that.",
        ),
        mmd_wrong(
            "n for both",
            lambda xx, xy, yy, b: (
                of_pairs(gauss(xx, b))
                + (gauss(yy, b).sum() - len(xx)) / (len(xx) * (len(xx) - 1))
                - 2 * gauss(xy, b).sum() / len(xx) ** 2
            ),
            "You use the number of samples for both sets. The number of real points, len(y), may be another.",
        ),
        mmd_wrong(
            "a pair left out across",
            lambda xx, xy, yy, b: (
                of_pairs(gauss(xx, b))
                + of_pairs(gauss(yy, b))
                - 2 * (gauss(xy, b).sum() - gauss(xy, b).diagonal().sum()) / (xy.shape[0] * xy.shape[1] - min(xy.shape))
            ),
            "You leave out the diagonal of the table across. There no pair is a point with itself, so all of them "
            "count.",
        ),
    ),
)


# 30.4 kernel_of_many_scales


def kernel_of_many_scales(distance, bandwidths):
    return torch.stack([torch.exp(-(distance**2) / (2 * b**2)) for b in bandwidths]).mean(dim=0)


def kernel_of_many_scales_by_a_loop(distance, bandwidths):
    total = torch.zeros_like(distance)
    for b in bandwidths:
        total = total + (-0.5 * (distance / b).square()).exp()
    return total / len(bandwidths)


def scales_truth(distance, bandwidths):
    rows = [
        [math.fsum(math.exp(-(z * z) / b / b / 2) for b in bandwidths) / len(bandwidths) for z in row]
        for row in distance.tolist()
    ]
    return torch.tensor(rows, dtype=distance.dtype)


def scales_cases(g):
    table = 2 * torch.rand(3, 4, generator=g, dtype=torch.float64)
    return (
        Case((double(0.0, 1.0)[None], (0.5, 1.0)), "the distances 0 and 1 and the bandwidths 0.5 and 1"),
        Case((table, (0.3, 1.0, 3.0)), "a table of 3 × 4 distances and the bandwidths 0.3, 1 and 3"),
    )


def scales_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the table of each kernel, (K, n, m): formula(kernels, distance, bandwidths)."""

    def answer(distance, bandwidths):
        kernels = torch.stack([gauss(distance, b) for b in bandwidths])
        return formula(kernels, distance, torch.tensor(bandwidths, dtype=distance.dtype))

    return Wrong(name, answer, message, seen)


KERNEL_OF_MANY_SCALES = Exercise(
    id="30.4",
    name="kernel_of_many_scales",
    stub='''
def kernel_of_many_scales(distance, bandwidths):
    """The mean of the Gaussian kernels of all these bandwidths, for a table of distances, (n, m)."""
    ...  # your code
''',
    solution=kernel_of_many_scales,
    alternative=kernel_of_many_scales_by_a_loop,
    why=(
        "By (3) a mean of kernels is a mean of weights over the frequencies, so it sees all scales, each with a part\n"
        "of the weight. It is still 1 at distance 0, so that the bias (5) and the unbiased estimate stay as they are,\n"
        "and the permutation test is calibrated as for any distance. In the clinic it finds most defects about as\n"
        "often as the best single bandwidth. It loses where a single bandwidth is needed, for modes that are too\n"
        "narrow or too wide, because this bandwidth has only a part of the weight."
    ),
    truth=scales_truth,
    cases=scales_cases,
    hints=(
        "For one bandwidth b the kernel is `torch.exp(-(distance**2) / (2 * b**2))`.",
        "Compute one table for each bandwidth and put them into a list.",
        "`torch.stack(tables).mean(dim=0)` is the mean over the bandwidths, entry by entry.",
    ),
    wrong=(
        scales_wrong(
            "a sum",
            lambda kernels, distance, b: kernels.sum(dim=0),
            "You add the kernels up. Then k(0) is not 1 any more, and `our_mmd`, which subtracts n for the pairs of a "
            "point with itself, subtracts too little.",
            "the catalogue",
        ),
        scales_wrong(
            "the mean bandwidth",
            lambda kernels, distance, b: gauss(distance, float(b.mean())),
            "You take one kernel with the mean bandwidth. It sees one scale only. Take the mean of the kernels.",
            "the catalogue",
        ),
        scales_wrong(
            "a product",
            lambda kernels, distance, b: kernels.prod(dim=0),
            "You multiply the kernels. A product of Gaussians is one Gaussian, narrower than the narrowest of them.",
        ),
        scales_wrong(
            "the widest only",
            lambda kernels, distance, b: kernels.max(dim=0).values,
            "You take the largest kernel at each distance. That is always the one with the largest bandwidth.",
        ),
        scales_wrong(
            "the narrowest only",
            lambda kernels, distance, b: kernels.min(dim=0).values,
            "You take the smallest kernel at each distance. That is always the one with the smallest bandwidth.",
        ),
        scales_wrong(
            "2 missing",
            lambda kernels, distance, b: (kernels**2).mean(dim=0),
            "Your kernels are exp(-z²/b²). The ones meant have 2 b² below.",
        ),
        scales_wrong(
            "one number",
            lambda kernels, distance, b: kernels.mean(),
            "You average over the distances too. The result should be a table, with one number for each distance.",
        ),
    ),
)


# 30.5 smallest_of_three


def smallest_of_three(p_value, g):
    return min(p_value(g) for _ in range(3))


def smallest_of_three_sorted(p_value, g):
    found = [p_value(g), p_value(g), p_value(g)]
    return sorted(found)[0]


def smallest_truth(p_value, g):
    # P(smallest > a) = (1 - a)^3 for uniform p-values
    return 1 - (1 - float(torch.rand((), generator=g, dtype=torch.float64))) ** (1 / 3)


def uniform_p(g: torch.Generator) -> float:
    """A p-value of a perfect model: uniform between 0 and 1."""
    return float(torch.rand((), generator=g, dtype=torch.float64))


def smallest_cases(g):
    return (Case((uniform_p, RNG), "uniform p-values"),)


def smallest_view(out, *arguments):
    rows = out.reshape(len(out), 1)
    return means(
        {
            "the mean": rows,
            "how often it is below 0.05": (rows < 0.05).double(),
            "the mean square": rows**2,
            "the mean cube": rows**3,
        }
    )


def one_seed_thrice(p_value, g):
    seed = int(torch.randint(2**31, (), generator=g))
    return min(p_value(generator(seed)) for _ in range(3))


def smallest_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN, count: int = 3) -> Wrong:
    """A wrong answer made of several p-values: formula(p, as a tensor)."""
    return Wrong(
        name,
        lambda p_value, g: float(formula(torch.tensor([p_value(g) for _ in range(count)], dtype=torch.float64))),
        message,
        seen,
    )


SMALLEST_OF_THREE = Exercise(
    id="30.5",
    name="smallest_of_three",
    stub='''
def smallest_of_three(p_value, g):
    """The smallest of three p-values of a perfect model. Each call of p_value(g) makes a new run and tests it."""
    ...  # your code
''',
    solution=smallest_of_three,
    alternative=smallest_of_three_sorted,
    why=(
        "The smallest is above 0.05 only if all three are, with the probability 0.95³ = 0.857. So a perfect model is\n"
        "rejected in 14.3 % of the cases. For 5 % in all, test each at the level 1 - 0.95^(1/3) = 0.0170, or at\n"
        "0.05 / 3 = 0.0167, which also holds where the three are not independent."
    ),
    truth=smallest_truth,
    cases=smallest_cases,
    view=smallest_view,
    calls=1500,
    hints=(
        "Call `p_value(g)` three times. Each call takes new random numbers from g.",
        "Python's `min` takes several numbers or a list.",
        "`min(p_value(g) for _ in range(3))` is all that is needed. Now repeat it often and count.",
    ),
    wrong=(
        smallest_wrong(
            "the mean",
            lambda p: p.mean(),
            "You report the mean of the three. That is no p-value either, but the one asked for is the smallest.",
            "the catalogue",
        ),
        Wrong(
            "one seed thrice",
            one_seed_thrice,
            "Your three runs have the same seed, so they are one run. Hand g on to each call.",
            "the catalogue",
        ),
        smallest_wrong(
            "the largest",
            lambda p: p.max(),
            "You report the largest. Who wants to reject reports the smallest.",
        ),
        smallest_wrong(
            "a product",
            lambda p: p.prod(),
            "You multiply the p-values. The probability that three things happen together is another question.",
        ),
        smallest_wrong(
            "two runs", lambda p: p.min(), "You make two runs. With three the smallest is smaller still.", count=2
        ),
        smallest_wrong(
            "Bonferroni",
            lambda p: (3 * p.min()).clamp(max=1),
            "You correct it already, by a factor of 3. That is the remedy. Here the smallest is asked for as it is.",
        ),
    ),
)


# 30.6 from hits to a p-value


def p_of_sixty_hits():
    from scipy.stats import hypergeom

    # 200 points, 100 of them are samples, and 100 are picked: the probability of 60 or more samples among the picked
    return float(hypergeom.sf(60 - 1, 200, 100, 100))


P_OF_HITS = Question(
    id="30.6",
    name="p_of_hits",
    stub="p_of_hits = None  # the p-value of 60 hits among 100 points that are called generated",
    right=(0.00345, 0.0037),
    solution=p_of_sixty_hits,
    why=(
        "Under the null hypothesis the 100 picked points are any 100 of the 200, so the number of samples among them "
        "is\n"
        "hypergeometric, with the mean 50 and the variance 100 * 1/2 * 1/2 * 100/199 = 12.6. Sixty is 2.8 standard\n"
        "deviations above. `sf(k)` is the probability of more than k, so 60 or more needs `sf(59)`."
    ),
    wrong=(
        WrongValue(
            "more than 60",
            (0.00142, 0.00147),
            "That is the probability of more than 60 hits. The p-value includes 60 itself: `sf(59)`.",
            UNSEEN,
        ),
        WrongValue(
            "binomial",
            (0.022, 0.031),
            "That is binomial, with 100 trials. The points are drawn without replacement, from 100 samples and 100 "
            "real points, so the number of hits scatters less.",
            UNSEEN,
        ),
        WrongValue(
            "the normal approximation",
            (0.0023, 0.00245),
            "That is the normal approximation at 60. The number of hits is whole, so 60 or more begins at 59.5. Or "
            "compute it exactly with `hypergeom.sf`.",
            UNSEEN,
        ),
        WrongValue(
            "exactly 60",
            (0.00206, 0.00212),
            "That is the probability of exactly 60 hits. The p-value asks for 60 or more.",
            UNSEEN,
        ),
        WrongValue(
            "both sides",
            (0.007, 0.0072),
            "You count both sides. A classifier that is worse than chance is no sign of a difference, so one side is "
            "enough.",
            UNSEEN,
        ),
        WrongValue(
            "120 right answers",
            (0.0028, 0.0029),
            "That is binomial: 120 right answers in 200 trials. But the numbers of samples and of picked points are "
            "fixed, so "
            "the answers are not independent.",
            UNSEEN,
        ),
        WrongValue(
            "the accuracy",
            (0.59, 0.61),
            "That is the accuracy. The p-value is the probability of such an accuracy, or a higher one, by chance.",
            UNSEEN,
        ),
        WrongValue(
            "one minus p",
            (0.9960, 0.9970),
            "That is 1 - p. A small p-value should mean that chance seldom gives so many hits.",
            UNSEEN,
        ),
    ),
    hints=(
        "Think of an urn with 100 samples and 100 real points. The classifier draws 100 of them, without replacement.",
        "How probable are 60 or more samples among the 100 that are drawn?",
        "`hypergeom.sf(k, 200, 100, 100)` is the probability of more than k.",
    ),
)


# 30.7 how many real points


def real_points_needed():
    w = 0.01
    return math.ceil(math.log(0.05) / math.log(1 - w))  # (1 - w)^n is 5 %


NEEDED = Question(
    id="30.7",
    name="needed",
    stub="needed = None  # the number of real points",
    right=(295, 302),
    solution=real_points_needed,
    why=(
        "None of n independent points comes from the mode with the probability (1 - w)^n, about exp(-n w). That is 5 "
        "%\n"
        "at n = 3 / w = 300. So no test with power above 95 % can do with fewer points by much, however good it is.\n"
        "The mode weights come near to that. The energy distance needs a number that goes with 1 / w²."
    ),
    wrong=(
        WrongValue(
            "one over w",
            (90, 110),
            "With 1/w = 100 points the mode has one point on average. With the probability 0.99^100 = 37 % it has "
            "none.",
            UNSEEN,
        ),
        WrongValue(
            "one over w squared",
            (9000, 11000),
            "That is 1/w², the order that the energy distance needs. Here one point from the mode is enough.",
            UNSEEN,
        ),
        WrongValue(
            "5 % that one comes",
            (4, 7),
            "At so few points the mode has a point with a probability of 5 %. It should be 95 %.",
            UNSEEN,
        ),
        WrongValue(
            "even odds",
            (65, 75),
            "That is the number for a probability of one half.",
            UNSEEN,
        ),
        WrongValue(
            "90 %",
            (225, 235),
            "That is the number for a probability of 90 %.",
            UNSEEN,
        ),
        WrongValue(
            "99 %",
            (450, 470),
            "That is the number for a probability of 99 %.",
            UNSEEN,
        ),
    ),
    hints=(
        "What is the probability that a single real point does not come from the mode?",
        "For n independent points it is 0.99^n. It should be 5 %.",
        "Take logarithms: n = ln 0.05 / ln 0.99.",
    ),
)


# 30.8 in words

REPORT = Explanation(
    id="30.8",
    name="a report",
    task="A friend compared two models by 12 metrics with 500 samples, and reports the one p-value of 0.03 and a "
    "classifier test that found nothing; say what you tell him.",
    model=(
        "Twelve metrics were looked at and one was reported. If nothing were different, the smallest of twelve "
        "p-values "
        "would be below 0.05 far more often than in 5 % of all cases: in 46 % if they were independent. So either "
        "he "
        "chooses the metric before, or he tests each at 0.05 / 12 = 0.004, and 0.03 is then no discovery. He should "
        "also "
        "say which null hypothesis the p-value belongs to: that a model differs from real data is not that one model "
        "is "
        "better than the other. MMD has a bandwidth, and he should name it and say that it was not tuned on these "
        "samples. That the classifier found nothing proves little. With 500 samples it learns from 250 of them, its "
        "power may be small, and nearest neighbours fail in many dimensions. He should measure its power on a defect "
        "that he builds in on purpose. And all points must be independent, and held-out data are needed to find copies."
    ),
    look_for=(
        "Reporting the best of twelve metrics is multiple testing, and a correction or a choice beforehand is named.",
        "With the correction the result is no longer significant.",
        "A test that does not reject proves nothing unless its power is known.",
        "The bandwidth of MMD was a choice and must be given.",
        "The p-value is about a certain null hypothesis, which is not the question of which model is better.",
    ),
    hints=(
        "How often is the smallest of twelve p-values below 0.05 where nothing is different?",
        "What is the power of the classifier test with 500 samples, and how could he find out?",
        "What does MMD with that bandwidth not see?",
    ),
)

EXERCISES = (
    PERMUTATION_P,
    LOGISTIC_ACCURACY,
    MMD,
    KERNEL_OF_MANY_SCALES,
    SMALLEST_OF_THREE,
    P_OF_HITS,
    NEEDED,
    REPORT,
)
