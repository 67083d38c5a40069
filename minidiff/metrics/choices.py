"""Can people tell generated pictures from real ones? The forced choice, counted exactly. Notebook 27.

A person sees a real and a generated picture side by side and says which one is real. Who cannot tell is right in half
of all pairs, whatever their habits: a person who tends to call everything real has no answer that shows it. So 1/2 is
the floor of this measure, and it needs no reference set.

Sources: Clopper & Pearson 1934, doi 10.1093/biomet/26.4.404; Brown, Cai & DasGupta 2001, doi 10.1214/ss/1009213286,
on these and other intervals; Schuirmann 1987, doi 10.1007/BF01068419 (two one-sided tests).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minidiff._tensors import check_whole

__all__ = ["Choice", "choices_needed", "equivalent", "forced_choice", "forced_choice_of_judges", "power_of_choices"]

LARGEST_TRIAL = 100_000


class Choice(NamedTuple):
    """The fraction of right answers, the interval around it, and p, how likely 1/2 would make one as far away."""

    value: float
    low: float
    high: float
    p: float


def forced_choice(right: int, n: int, *, level: float = 0.95) -> Choice:
    """`right` of n independent answers were right. The interval is Clopper and Pearson's, and the test the binomial.

    The interval holds the true probability at least as often as `level` says, at every probability and n. p is two
    sided: twice the smaller tail, at most 1.

    Answers of one person are not independent of each other: see `forced_choice_of_judges`.
    """
    check_whole("n", n)
    check_whole("right", right, 0, n)
    _check_share("level", level)
    from scipy.stats import binom  # here, as below: it takes half a second, and every notebook imports the metrics

    low, high = _interval(right, n, level)
    tail = min(binom.cdf(right, n, 0.5), binom.sf(right - 1, n, 0.5))
    return Choice(right / n, low, high, float(min(1.0, 2 * tail)))


def _interval(right: int, n: int, level: float) -> tuple[float, float]:
    """Clopper and Pearson's limits: the probabilities at which each tail has half of what is left."""
    from scipy.stats import beta

    rest = (1 - level) / 2
    low = 0.0 if right == 0 else beta.ppf(rest, right, n - right + 1)
    high = 1.0 if right == n else beta.ppf(1 - rest, right + 1, n - right)
    return float(low), float(high)


def forced_choice_of_judges(right: Sequence[int], n: int, *, level: float = 0.95) -> Choice:
    """Each of several people answered n pairs. The person is the independent unit: Student's t over their fractions.

    right: one number for each person, 2 people at least. To pool all answers as if they were independent makes the
    interval too narrow, since people differ. Where all fractions are equal, the interval has no width.
    """
    check_whole("n", n)
    if len(right) < 2:
        raise ValueError(f"right must hold a number for each of 2 people or more, but holds {len(right)}")
    for number in right:
        check_whole("each number of right", number, 0, n)
    _check_share("level", level)
    from scipy.stats import t

    fractions = np.array(right, dtype=float) / n
    mean, error = fractions.mean(), fractions.std(ddof=1) / math.sqrt(len(right))
    half = t.ppf((1 + level) / 2, len(right) - 1) * error
    distance = abs(mean - 0.5)
    p = 2 * t.sf(distance / error, len(right) - 1) if error > 0 else float(distance == 0)
    return Choice(float(mean), float(max(0.0, mean - half)), float(min(1.0, mean + half)), float(p))


def power_of_choices(n: int, probability: float, *, level: float = 0.05) -> float:
    """How often n independent answers reject 1/2 at this level, if each is right with this probability."""
    check_whole("n", n)
    _check_share("probability", probability, ends=True)
    _check_share("level", level)
    from scipy.stats import binom

    # the largest count c with 2 P(K <= c) <= level at 1/2; the other tail mirrors it
    c = int(binom.ppf(level / 2, n, 0.5))
    while c >= 0 and 2 * binom.cdf(c, n, 0.5) > level:
        c -= 1
    return float(binom.cdf(c, n, probability) + binom.sf(n - c - 1, n, probability)) if c >= 0 else 0.0


def choices_needed(probability: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """The fewest independent answers that reject 1/2 with this power, if each is right with this probability.

    The power of a count does not rise evenly with n; it is the first n that is meant.
    Raises ValueError where more than 100,000 would be needed.
    """
    _check_share("probability", probability, ends=True)
    _check_share("power", power)
    gap = abs(probability - 0.5)
    n = 1
    while n <= LARGEST_TRIAL and gap > 0:
        if power_of_choices(n, probability, level=level) >= power:
            return n
        n += 1 if n < 3000 else 10
    raise ValueError(
        f"probability must differ enough from 1/2 that {LARGEST_TRIAL:,} answers show it, but is {probability}"
    )


def equivalent(right: int, n: int, *, margin: float = 0.05, level: float = 0.05) -> bool:
    """Whether the data show that the true probability lies within `margin` of 1/2: two one-sided tests at `level`.

    That is: the interval of level 1 - 2 level lies within 1/2 - margin and 1/2 + margin. A test that does not reject
    1/2 shows no such thing: with few answers it hardly ever rejects anything.
    """
    _check_share("margin", margin)
    if margin >= 0.5:
        raise ValueError(f"margin must lie below 1/2, but is {margin}")
    _check_share("level", level)
    if level >= 0.5:
        raise ValueError(f"level must lie below 1/2, but is {level}")
    found = forced_choice(right, n, level=1 - 2 * level)
    return 0.5 - margin < found.low and found.high < 0.5 + margin


def _check_share(name: str, value: float, *, ends: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number, but is {value!r}")
    if not (0 <= value <= 1 if ends else 0 < value < 1):
        raise ValueError(f"{name} must lie {'in [0, 1]' if ends else 'between 0 and 1'}, but is {value}")
