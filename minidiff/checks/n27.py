"""The exercises of notebook 27, to production: 27.1 to 27.3 in its flow, 27.4 to 27.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math

import numpy as np
import torch
from scipy.stats import binom, norm
from torch import Tensor

from minidiff import metrics
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, normals, uniform

__all__ = ["EXERCISES", "TITLE"]

TITLE = "To production"


# 27.1 nearness


def nearness(test, train, independent):
    def nearest(x):
        return torch.cdist(x.flatten(1), train.flatten(1)).min(dim=1).values

    return nearest(test) / nearest(independent).min()


def nearness_with_loops(test, train, independent):
    def nearest(picture):
        return min((picture - other).square().mean().sqrt() for other in train)

    usual = min(nearest(picture) for picture in independent)
    return torch.stack([nearest(picture) for picture in test]) / usual


def nearness_truth(test, train, independent):
    """By the squares of all pairs at once."""

    def squares(x):
        return (x[:, None] - train).square().flatten(2).sum(2).amin(1)

    return (squares(test) / squares(independent).amin()).sqrt()


def nearness_cases(g):
    train = doubles(0.0, 0.0, 1.0, 0.0, 0.0, 1.0).reshape(3, 1, 1, 2)
    test = doubles(0.1, 0.1, 0.5, 0.3).reshape(2, 1, 1, 2)
    independent = doubles(0.4, 0.2, 0.7, 0.9, -0.5, -0.5).reshape(3, 1, 1, 2)
    return (
        Case((test, train, independent), "two test pictures of two pixels, three to train on and three independent"),
        Case(
            (normals(g, 4, 1, 3, 3), normals(g, 6, 1, 3, 3), normals(g, 5, 1, 3, 3)),
            "4 test pictures of 3 x 3 pixels, 6 to train on and 5 independent",
        ),
    )


def distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x.flatten(1), y.flatten(1))


def with_summary(over_train, over_independent=lambda d: d.min()):
    """A nearness with other summaries of the distances: over_train of a matrix (N, T), over_independent of (M,)."""

    def answer(test, train, independent):
        return over_train(distances(test, train)) / over_independent(over_train(distances(independent, train)))

    return answer


def nearest_of(d: Tensor) -> Tensor:
    return d.min(dim=1).values


def with_size(size):
    """A nearness with another distance: size of the difference (N, T, D) -> (N, T)."""

    def answer(test, train, independent):
        def nearest(x):
            return size((x[:, None] - train).flatten(2)).min(dim=1).values

        return nearest(test) / nearest(independent).min()

    return answer


NEARNESS = Exercise(
    id="27.1",
    name="nearness",
    stub='''
def nearness(test, train, independent):
    """How near each test picture is to its nearest training picture, (N,): 1 for the nearest of independent pictures.

    test: (N, 1, H, W). train: (T, 1, H, W). independent: (M, 1, H, W), known to be no copies of any in train.
    Near: by the root mean square of the difference. Below 1: nearer to train than any independent picture is.
    """
    ...  # your code
''',
    solution=nearness,
    alternative=nearness_with_loops,
    why=(
        "A distance alone means nothing. The independent pictures say how near two pictures get by chance: the "
        "smallest\n"
        "of their distances to the training set is the unit. `torch.cdist` gives Euclidean distances, which differ "
        "from\n"
        "the root mean square by a factor that cancels."
    ),
    truth=nearness_truth,
    cases=nearness_cases,
    hints=(
        "First the distance of one picture to its nearest training picture: a minimum over train.",
        "The same for each independent picture, and of these the smallest. That is the unit.",
        "`torch.cdist(x.flatten(1), train.flatten(1))` holds the distances of all pairs, (N, T).",
    ),
    wrong=(
        Wrong(
            "no null",
            lambda test, train, independent: nearest_of(distances(test, train)) / math.sqrt(test[0].numel()),
            "You return the distance itself. Whether it is small, only the independent pictures can say.",
            UNSEEN,
        ),
        Wrong(
            "no null, and no mean",
            lambda test, train, independent: nearest_of(distances(test, train)),
            "You return the Euclidean distance. Divide by the smallest one of the independent pictures.",
            UNSEEN,
        ),
        Wrong(
            "the mean of the independent",
            with_summary(nearest_of, lambda d: d.mean()),
            "Your unit is the mean over the independent pictures, so about half of all innocent pictures are below 1.",
            UNSEEN,
        ),
        Wrong(
            "the farthest independent",
            with_summary(nearest_of, lambda d: d.max()),
            "Your unit is the largest of the independent distances, so nearly every innocent picture is below 1.",
            UNSEEN,
        ),
        Wrong(
            "the median of the independent",
            with_summary(nearest_of, lambda d: d.median()),
            "Your unit is a median, so half of all innocent pictures are below 1. The smallest is asked for.",
            UNSEEN,
        ),
        Wrong(
            "the mean distance to train",
            with_summary(lambda d: d.mean(dim=1)),
            "You average over the training pictures. A copy of one of them is far from all the others: take the "
            "nearest.",
            UNSEEN,
        ),
        Wrong(
            "the farthest of train",
            with_summary(lambda d: d.max(dim=1).values),
            "You take the farthest training picture. A copy is known by the nearest.",
            UNSEEN,
        ),
        Wrong(
            "squares",
            lambda test, train, independent: nearness(test, train, independent) ** 2,
            "You compare mean squares. The root is missing: the ratio comes out squared.",
            UNSEEN,
        ),
        Wrong(
            "absolute differences",
            with_size(lambda difference: difference.abs().mean(dim=2)),
            "You take the mean absolute difference. The root of the mean square is asked for.",
            UNSEEN,
        ),
        Wrong(
            "the largest pixel",
            with_size(lambda difference: difference.abs().amax(dim=2)),
            "You take the pixel that differs most. One pixel says little about a picture.",
            UNSEEN,
        ),
        Wrong(
            "upside down",
            lambda test, train, independent: 1 / nearness(test, train, independent),
            "Your ratio is upside down: near pictures must come out below 1.",
            UNSEEN,
        ),
        Wrong(
            "against the independent",
            lambda test, train, independent: (
                nearest_of(distances(test, independent)) / nearest_of(distances(independent, train)).min()
            ),
            "You look for the nearest *independent* picture. The leak is between test and train.",
            UNSEEN,
        ),
        Wrong(
            "independent against test",
            lambda test, train, independent: (
                nearest_of(distances(test, train)) / nearest_of(distances(independent, test)).min()
            ),
            "Your unit is the distance of the independent pictures to the test set. They stand in for test pictures, "
            "so "
            "they too must be compared with train.",
            UNSEEN,
        ),
    ),
)


# 27.2 merged_weight


def merged_weight(weight, A, B):
    return weight + torch.einsum("or,rikl->oikl", B, A)


def merged_weight_as_matrices(weight, A, B):
    return weight + (B @ A.flatten(1)).reshape(weight.shape)


def merged_weight_truth(weight, A, B):
    """What the two convolutions do to a single bright pixel, one input channel after the other."""
    channels, height, width = weight.shape[1:]
    found = torch.empty_like(weight)
    for channel in range(channels):
        x = weight.new_zeros(1, channels, 2 * height - 1, 2 * width - 1)
        x[0, channel, height - 1, width - 1] = 1
        inner = torch.conv2d(x, A)
        seen = torch.conv2d(x, weight) + torch.conv2d(inner, B[:, :, None, None])
        found[:, channel] = seen[0].flip(-1, -2)
    return found


def merged_weight_cases(g):
    return (
        Case(
            (
                doubles(1.0, 0.0, 0.0, 1.0).reshape(2, 2, 1, 1),
                doubles(1.0, 2.0).reshape(1, 2, 1, 1),
                doubles(3.0, 0.5).reshape(2, 1),
            ),
            "a 1 x 1 convolution with the unit matrix, A = (1, 2) and B = (3, 0.5)",
        ),
        Case(
            (normals(g, 3, 3, 3, 3), normals(g, 2, 3, 3, 3), normals(g, 3, 2)),
            "a 3 x 3 convolution of 3 channels and rank 2",
        ),
    )


def plus(change):
    return lambda weight, A, B: weight + change(weight, A, B)


def product(B: Tensor, A: Tensor) -> Tensor:
    return torch.einsum("or,rikl->oikl", B, A)


MERGED_WEIGHT = Exercise(
    id="27.2",
    name="merged_weight",
    stub='''
def merged_weight(weight, A, B):
    """The weight of one convolution that does the same as conv(x, weight) + conv(conv(x, A), B). Shape as weight.

    weight: (O, I, k, k). A: (r, I, k, k). B: (O, r), a convolution of size 1 x 1. Convolutions have no bias here.
    """
    ...  # your code
''',
    solution=merged_weight,
    alternative=merged_weight_as_matrices,
    why=(
        "A convolution of size 1 x 1 mixes channels and nothing else. So output o of the second is the sum over r of "
        "B[o, r]\n"
        "times channel r of the first, and the kernels add up in the same way. Flattened, it is the matrix product B A."
    ),
    truth=merged_weight_truth,
    cases=merged_weight_cases,
    hints=(
        "B is a matrix that mixes the r channels that A makes. What does it do to their kernels?",
        "The kernel of output o and input i is weight[o, i] + the sum over r of B[o, r] A[r, i].",
        "`B @ A.flatten(1)` is that sum for all kernels, as a matrix of O rows.",
    ),
    wrong=(
        Wrong(
            "the old weight forgotten",
            lambda weight, A, B: product(B, A),
            "You return the change alone. The old weight belongs to the sum.",
            UNSEEN,
        ),
        Wrong(
            "divided by the rank",
            plus(lambda weight, A, B: product(B, A) / A.shape[0]),
            "You scale the change down. In this course it has no factor alpha / r: it is B A itself.",
            UNSEEN,
        ),
        Wrong(
            "one rank only",
            plus(lambda weight, A, B: product(B[:, :1], A[:1])),
            "You use one channel of A only. The change is the sum over all r.",
            UNSEEN,
        ),
        Wrong(
            "sums multiplied",
            plus(lambda weight, A, B: product(B.sum(1, keepdim=True), A.sum(0, keepdim=True))),
            "You sum A and B over r before you multiply. The product comes first, then the sum.",
            "wdkwdkwdk/CLONE_DK#2, where two changes are merged",
        ),
        Wrong(
            "kernels flipped",
            lambda weight, A, B: (weight + product(B, A)).flip(-1, -2),
            "You flip the kernels, as in the convolution of mathematics. PyTorch's does not flip, and a "
            "sum of kernels needs no flip.",
            UNSEEN,
        ),
        Wrong(
            "subtracted",
            lambda weight, A, B: weight - product(B, A),
            "You subtract the change. The two outputs are added.",
            UNSEEN,
        ),
        Wrong(
            "twice",
            plus(lambda weight, A, B: 2 * product(B, A)),
            "You add the change twice, as happens when a network is merged that had been merged before.",
            "huggingface/peft#1355",
        ),
        Wrong(
            "inputs and outputs exchanged",
            plus(lambda weight, A, B: product(B, A).transpose(0, 1)),
            "Your change has inputs and outputs exchanged: the first axis of a weight is the output.",
            UNSEEN,
        ),
        Wrong(
            "the magnitude of B",
            plus(lambda weight, A, B: product(B.abs(), A)),
            "You use the magnitude of B. Its signs count.",
            UNSEEN,
        ),
    ),
)


# 27.3 timestep_of


def timestep_of(log_snr, alphas_cumprod):
    table = torch.log(alphas_cumprod / (1 - alphas_cumprod))
    return (log_snr[:, None] - table).abs().argmin(dim=1)


def timestep_of_by_search(log_snr, alphas_cumprod):
    table = torch.logit(alphas_cumprod).flip(0)  # rises
    right = torch.searchsorted(table, log_snr).clamp(1, len(table) - 1)
    nearer = torch.where(log_snr - table[right - 1] < table[right] - log_snr, right - 1, right)
    return len(table) - 1 - nearer


def timestep_of_truth(log_snr, alphas_cumprod):
    """By the fractions of signal and noise, one after the other."""
    found = []
    for wanted in log_snr.tolist():
        gaps = [abs(math.log(a) - math.log1p(-a) - wanted) for a in alphas_cumprod.tolist()]
        found.append(gaps.index(min(gaps)))
    return torch.tensor(found)


def timestep_of_cases(g):
    few = doubles(0.9, 0.6, 0.3, 0.05)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64) * uniform(g, 0.9, 1.1)
    table = torch.cumprod(1 - betas, 0)
    numbers = torch.tensor([35, 260, 481, 733, 928]) + torch.randint(0, 9, (5,), generator=g)
    return (
        Case((torch.logit(few[[1]]), few), "a table of four, 0.9, 0.6, 0.3, 0.05, and the log-SNR of its second entry"),
        Case(
            (torch.logit(table[numbers]) + 2e-4, table), f"DDPM's table and the log-SNR of entries {numbers.tolist()}"
        ),
    )


def with_table(make, finish=lambda found, n: found):
    """The nearest place in another table than the right one."""

    def answer(log_snr, alphas_cumprod):
        found = (log_snr[:, None] - make(alphas_cumprod)).abs().argmin(dim=1)
        return finish(found, len(alphas_cumprod))

    return answer


def right_table(a: Tensor) -> Tensor:
    return torch.logit(a)


def ascending_search(log_snr, alphas_cumprod):
    return torch.searchsorted(torch.logit(alphas_cumprod), log_snr)


def time_times_thousand(log_snr, alphas_cumprod):
    """As if the path were the cosine one: t = 2 / pi arctan(sigma / alpha)."""
    return (torch.atan(torch.exp(-log_snr / 2)) * 2 / math.pi * len(alphas_cumprod)).round().long()


TIMESTEP_OF = Exercise(
    id="27.3",
    name="timestep_of",
    stub='''
def timestep_of(log_snr, alphas_cumprod):
    """The timestep whose log-SNR is nearest to each of these. (B,) -> (B,), whole numbers (int64) that count from 0.

    alphas_cumprod: the table of a scheduler of diffusers, (T,), falling: entry i is alpha^2 at timestep i, and the
    noise there has the variance 1 - alpha^2.
    """
    ...  # your code
''',
    solution=timestep_of,
    alternative=timestep_of_by_search,
    why=(
        "The table holds alpha², so its log-SNR is ln(a / (1 - a)). Entry i is timestep i of diffusers, which counts "
        "from 0:\n"
        "our step k = i + 1. Two programs agree about a noise level if they agree about its log-SNR, whatever they "
        "call it."
    ),
    truth=timestep_of_truth,
    cases=timestep_of_cases,
    hints=(
        "What is the log-SNR, ln(alpha² / sigma²), of entry i of the table?",
        "Then look for the entry that is nearest to the log-SNR that is asked for: an argmin of the distance.",
        "`(log_snr[:, None] - table).abs()` is a matrix of all distances, (B, T).",
    ),
    wrong=(
        Wrong(
            "counted from 1",
            with_table(right_table, lambda found, n: found + 1),
            "You are off by one: diffusers' timestep i is our step k = i + 1, and it counts from 0.",
            "CompVis/latent-diffusion#136",
        ),
        Wrong(
            "one too few",
            with_table(right_table, lambda found, n: found - 1),
            "You subtract 1, but a place in the table is the timestep already.",
            UNSEEN,
        ),
        Wrong(
            "counted from the noise",
            with_table(right_table, lambda found, n: n - 1 - found),
            "You count from the noisy end. Timestep 0 is the one with the least noise.",
            UNSEEN,
        ),
        Wrong(
            "an ascending search",
            ascending_search,
            "`torch.searchsorted` needs a table that rises, and this one falls. It says nothing about it, and returns "
            "an end of the table.",
            UNSEEN,
        ),
        Wrong(
            "alpha for its square",
            with_table(lambda a: torch.log(a.square() / (1 - a.square()))),
            "You square the table. Its entries are alpha² already, the cumulative product.",
            UNSEEN,
        ),
        Wrong(
            "half of it",
            with_table(lambda a: 0.5 * torch.logit(a)),
            "That is ln(alpha / sigma), half of the log-SNR. Some papers call it λ; here λ is ln(alpha² / sigma²).",
            UNSEEN,
        ),
        Wrong(
            "noise over signal",
            with_table(lambda a: -torch.logit(a)),
            "Your ratio is upside down: noise over signal.",
            UNSEEN,
        ),
        Wrong(
            "the logarithm of alpha²",
            with_table(lambda a: a.log()),
            "You compare with ln alpha². The noise is missing: ln(alpha² / (1 - alpha²)).",
            UNSEEN,
        ),
        Wrong(
            "time times T",
            time_times_thousand,
            "You turn the log-SNR into a time of the cosine path, and multiply by T. The table is of another path.",
            UNSEEN,
        ),
        Wrong(
            "base 10",
            with_table(lambda a: torch.logit(a) / math.log(10)),
            "That is a logarithm to base 10. The log-SNR is a natural logarithm.",
            UNSEEN,
        ),
    ),
)


# 27.4 choice_p


def choice_p(right, n):
    tail = min(binom.cdf(right, n, 0.5), binom.sf(right - 1, n, 0.5))
    return min(1.0, 2 * tail)


def choice_p_by_summing(right, n):
    counts = np.arange(n + 1)
    as_far = abs(counts - n / 2) >= abs(right - n / 2)
    return binom.pmf(counts[as_far], n, 0.5).sum()


def choice_p_truth(right, n):
    """Every outcome that is at most as likely, counted."""
    here = math.comb(n, right)
    return sum(math.comb(n, k) for k in range(n + 1) if math.comb(n, k) <= here) / 2**n


def choice_p_cases(g):
    n = 40 + int(torch.randint(0, 20, (), generator=g))
    return (
        Case((8, 10), "8 right of 10"),
        Case((5, 10), "5 right of 10"),
        Case((n // 2 + 6, n), f"{n // 2 + 6} right of {n}"),
        Case((n // 2 - 4, n), f"{n // 2 - 4} right of {n}"),
    )


def by_normal(spread, correction=0.0):
    def answer(right, n):
        away = max(0.0, abs(right / n - 0.5) - correction / n)
        return float(2 * norm.sf(away / spread(right / n, n)))

    return answer


CHOICE_P = Exercise(
    id="27.4",
    name="choice_p",
    stub='''
def choice_p(right, n):
    """How likely is it that n guesses, each right with probability 1/2, lie at least as far from n / 2 as `right` does?

    right, n: whole numbers, 0 <= right <= n. Returns a number in [0, 1].
    """
    ...  # your code
''',
    solution=choice_p,
    alternative=choice_p_by_summing,
    why=(
        "The count of guesses is binomial with probability 1/2, which is symmetric. So both tails together are twice "
        "the\n"
        "smaller one. In the middle the two tails overlap, and their sum would exceed 1."
    ),
    truth=choice_p_truth,
    cases=choice_p_cases,
    hints=(
        "The number of lucky guesses is binomial: `scipy.stats.binom.cdf(k, n, 0.5)` is the probability of k or fewer.",
        "The probability of k or more is `binom.sf(k - 1, n, 0.5)`: sf(k) is that of more than k.",
        "Both directions count, so twice the smaller tail; and a probability is at most 1.",
    ),
    wrong=(
        Wrong(
            "one side",
            lambda right, n: float(min(binom.cdf(right, n, 0.5), binom.sf(right - 1, n, 0.5))),
            "You count one tail. A score far below one half is as surprising as one far above.",
            UNSEEN,
        ),
        Wrong(
            "above 1",
            lambda right, n: float(2 * min(binom.cdf(right, n, 0.5), binom.sf(right - 1, n, 0.5))),
            "In the middle your number exceeds 1, since the two tails overlap there. A probability is at most 1.",
            UNSEEN,
        ),
        Wrong(
            "strictly more",
            lambda right, n: float(
                min(1.0, 2 * min(binom.cdf(min(right, n - right), n, 0.5), binom.sf(max(right, n - right), n, 0.5)))
            ),
            "`binom.sf(k)` is the probability of *more than* k. The observed count itself belongs to the tail.",
            UNSEEN,
        ),
        Wrong(
            "this count alone",
            lambda right, n: float(binom.pmf(right, n, 0.5)),
            "That is the probability of exactly this count. Counts that are farther away belong to it as well.",
            UNSEEN,
        ),
        Wrong(
            "a normal approximation",
            by_normal(lambda p, n: math.sqrt(0.25 / n)),
            "That is the normal approximation. The binomial distribution is exact, and costs nothing.",
            UNSEEN,
        ),
        Wrong(
            "with a correction",
            by_normal(lambda p, n: math.sqrt(0.25 / n), correction=0.5),
            "That is the normal approximation with its continuity correction: close, but the exact tail costs nothing.",
            UNSEEN,
        ),
        Wrong(
            "Wald",
            by_normal(lambda p, n: math.sqrt(max(p * (1 - p), 1e-12) / n)),
            "Your standard error is taken at the observed fraction (Wald). Under guessing it is that of 1/2.",
            UNSEEN,
        ),
        Wrong(
            "only above",
            lambda right, n: float(binom.sf(right - 1, n, 0.5)),
            "You count the upper tail only, so that too few right answers look like luck.",
            UNSEEN,
        ),
        Wrong(
            "only below",
            lambda right, n: float(binom.cdf(right, n, 0.5)),
            "You count the lower tail, P(K <= right). Far from n / 2 means both sides.",
            UNSEEN,
        ),
        Wrong(
            "one minus",
            lambda right, n: 1 - choice_p(right, n),
            "You return 1 - p, the probability of being nearer to n / 2.",
            UNSEEN,
        ),
    ),
)


# 27.5 in_eight_bits


def in_eight_bits(weight):
    scale = weight.abs().amax(dim=1, keepdim=True) / 127
    return (weight / scale).round() * scale


def in_eight_bits_row_by_row(weight):
    rows = []
    for row in weight:
        step = row.abs().max() / 127
        rows.append(torch.round(row / step) * step)
    return torch.stack(rows)


def in_eight_bits_truth(weight):
    """The nearest of the 255 numbers that each row may hold."""
    numbers = torch.arange(-127, 128, dtype=weight.dtype)
    found = torch.empty_like(weight)
    for i, row in enumerate(weight):
        allowed = numbers * row.abs().max() / 127
        found[i] = allowed[(row[:, None] - allowed).abs().argmin(dim=1)]
    return found


def in_eight_bits_cases(g):
    sizes = doubles(1.0, 0.03, 5.0)[:, None]
    weight = normals(g, 3, 6)
    weight[:, 0] = -1.2 * weight.abs().amax(dim=1)  # the largest magnitude is that of a negative weight
    return (
        Case((doubles(1.0, -0.302, 0.017).reshape(1, 3),), "one row, 1, -0.302 and 0.017"),
        Case((sizes * weight,), "three rows of very different sizes"),
    )


def rounded(scale, to_whole=torch.round, back=lambda whole, scale: whole * scale):
    """Rounding with another scale or another way to whole numbers."""

    def answer(weight):
        step = scale(weight)
        return back(to_whole(weight / step), step)

    return answer


def right_scale(weight: Tensor) -> Tensor:
    return weight.abs().amax(dim=1, keepdim=True) / 127


def with_zero_point(weight):
    low, high = weight.amin(dim=1, keepdim=True), weight.amax(dim=1, keepdim=True)
    step = (high - low) / 255
    return ((weight - low) / step).round() * step + low


IN_EIGHT_BITS = Exercise(
    id="27.5",
    name="in_eight_bits",
    stub='''
def in_eight_bits(weight):
    """Each row of a weight, rounded to whole numbers from -127 to 127 times a scale of its own. (O, I) -> (O, I).

    weight: (O, I), a row for each output. The largest magnitude of a row becomes 127 (or -127) times its scale.
    """
    ...  # your code
''',
    solution=in_eight_bits,
    alternative=in_eight_bits_row_by_row,
    why=(
        "A byte holds 255 numbers that are symmetric about 0. The scale of a row is its largest magnitude over 127, "
        "so that\n"
        "nothing is cut off. With one scale for all rows, a row of small weights would get very few different numbers."
    ),
    truth=in_eight_bits_truth,
    cases=in_eight_bits_cases,
    hints=(
        "The scale is what one step of the whole number is worth: the largest magnitude of the row over 127.",
        "Divide by the scale, round, multiply by the scale again.",
        "`weight.abs().amax(dim=1, keepdim=True)` is the largest magnitude of each row, (O, 1).",
    ),
    wrong=(
        Wrong(
            "one scale",
            rounded(lambda w: w.abs().max() / 127),
            "You use one scale for the whole matrix. Rows of small weights are left with a few different numbers.",
            UNSEEN,
        ),
        Wrong(
            "a scale for each column",
            rounded(lambda w: w.abs().amax(dim=0, keepdim=True) / 127),
            "Your scales belong to the columns, the inputs. Each row, an output, has its own.",
            UNSEEN,
        ),
        Wrong(
            "rounded down",
            rounded(right_scale, torch.floor),
            "You round down, so that every weight becomes too small on average. Round to the nearest.",
            UNSEEN,
        ),
        Wrong(
            "cut off",
            rounded(right_scale, torch.trunc),
            "You cut the digits off, which shrinks every weight towards 0. Round to the nearest.",
            UNSEEN,
        ),
        Wrong(
            "the whole numbers",
            rounded(right_scale, back=lambda whole, scale: whole),
            "You return the whole numbers. Multiply by the scale, to see which weight they stand for.",
            UNSEEN,
        ),
        Wrong(
            "a zero point",
            with_zero_point,
            "You spread 255 steps from the smallest to the largest weight. That is the scheme with a zero point; here "
            "the "
            "numbers are symmetric about 0.",
            UNSEEN,
        ),
        Wrong(
            "255 steps",
            rounded(lambda w: w.abs().amax(dim=1, keepdim=True) / 255),
            "Your scale is the largest magnitude over 255, so whole numbers up to 255 appear, and they need 9 bits.",
            UNSEEN,
        ),
        Wrong(
            "the largest, not its magnitude",
            rounded(lambda w: w.amax(dim=1, keepdim=True) / 127),
            "You take the largest weight. A large negative one then needs a whole number below -127.",
            UNSEEN,
        ),
        Wrong(
            "nothing rounded",
            lambda weight: weight.clone(),
            "You return the weight as it was. It must be rounded in between.",
            UNSEEN,
        ),
        Wrong(
            "four bits",
            rounded(lambda w: w.abs().amax(dim=1, keepdim=True) / 7),
            "Your whole numbers end at 7: that is 4 bits.",
            UNSEEN,
        ),
    ),
)


# 27.6 the start of a change of low rank


def never_learns():
    """Which start gives neither A nor B a gradient: at B = 0 the gradient of A is 0, and at A = 0 that of B."""
    starts = {
        "A random, B zero": (1.0, 0.0),
        "A zero, B random": (0.0, 1.0),
        "both zero": (0.0, 0.0),
        "both random": (1.0, 1.0),
    }
    stuck = []
    for name, numbers in starts.items():
        a, b = (torch.tensor(number, requires_grad=True) for number in numbers)
        (b * a * 2.0 - 1.0).square().backward()  # the change B A, for an input 2 and a target 1
        if a.grad == 0 and b.grad == 0:
            stuck.append(name)
    return stuck[0]


STUCK = Question(
    id="27.6",
    name="stuck",
    stub="stuck = None  # the start of A and B from which the change B A never learns anything",
    right="both zero",
    solution=never_learns,
    why=(
        "The gradient of B A with respect to A contains B, and that with respect to B contains A. With both at 0 "
        "neither moves.\n"
        "With one of them at 0 the change starts at 0, as it should, and the one that is 0 moves first."
    ),
    choices=("A random, B zero", "A zero, B random", "both zero", "both random"),
    hints=(
        "Write the change for one number: W x + b a x. What is its derivative with respect to a, and to b?",
        "At which values are both derivatives 0?",
        "If a is not 0, the derivative with respect to b is not 0, whatever b is.",
    ),
    wrong=(
        WrongValue(
            "the usual start",
            "A random, B zero",
            "That is the start of LoRA. The gradient of A is 0 in the first step, but that of B is not, so B moves.",
            UNSEEN,
        ),
        WrongValue(
            "the other usual start",
            "A zero, B random",
            "This learns as well: the gradient of B is 0 in the first step, but that of A is not.",
            UNSEEN,
        ),
        WrongValue(
            "two random starts",
            "both random",
            "This learns. Its fault is another one: the change does not begin at 0, so the network is spoilt at first.",
            UNSEEN,
        ),
    ),
)


# 27.7 how many pairs


def pairs_needed():
    """The fewest pairs that show a true 60 % with a power of 80 % at the level of 5 %, by the exact binomial."""
    return metrics.choices_needed(0.6)


PAIRS = Question(
    id="27.7",
    name="pairs",
    stub="pairs = None  # how many pairs show a true 60 % in four of five trials, tested against 1/2 at 5 %",
    right=(193.5, 207.5),
    solution=pairs_needed,
    why=(
        "By the exact binomial it is 199. The usual formula, ((1.96 · 0.5 + 0.84 · 0.49) / 0.1)², gives 194, which is "
        "close."
    ),
    hints=(
        "Four of five trials means a power of 80 %.",
        "`metrics.power_of_choices(n, 0.6)` is the power of n pairs.",
        "`metrics.choices_needed(0.6)` looks for the first n whose power is 0.8.",
    ),
    wrong=(
        WrongValue(
            "no power",
            (93, 101),
            "That many make 60 % just significant. Then half of all trials with a true 60 % fall short of it.",
            UNSEEN,
        ),
        WrongValue(
            "one side",
            (150, 160),
            "That is for a one-sided test. Here the test has two sides, at 5 % together.",
            UNSEEN,
        ),
        WrongValue("of 70 %", (44, 52), "That many show a true 70 %.", UNSEEN),
        WrongValue(
            "of 55 %", (770, 800), "That many show a true 55 %: half the distance needs four times as many.", UNSEEN
        ),
        WrongValue("twenty", (15, 30), "With so few, a true 60 % is found in about one of eight trials.", UNSEEN),
        WrongValue(
            "a power of 90 %", (255, 275), "That is for a power of 90 %: nine of ten trials, not four of five.", UNSEEN
        ),
    ),
)


# 27.8 in words

NO_DIFFERENCE = Explanation(
    id="27.8",
    name="no difference was found",
    task="Ten people see 20 pairs each and are right in 104 of 200: a colleague reports 'p = 0.62, so people cannot "
    "tell our pictures from real ones'; what do you answer?",
    model=(
        "First, a test that does not reject 1/2 does not show 1/2. To show that the true fraction is within 5 points "
        "of 1/2, the 90 % interval would have to lie between 45 and 55 %. With 104 of 200 it reaches from 46 to 58 %. "
        "About 1,000 independent answers are needed. Second, the 200 answers are not independent: they come from ten "
        "people, and people differ. The person is the independent unit, so the interval comes from the ten fractions, "
        "and more people help more than more pairs for each. Third, ask which pairs were shown. Were the generated "
        "pictures chosen by hand? Were all shown at the same size and in random order? Did the people know what to "
        "look for?"
    ),
    look_for=(
        "A test that does not reject is no proof of equality; an equivalence test has a margin.",
        "Answers of one person are not independent of each other.",
        "Pictures must be drawn, not chosen, and shown in random order.",
    ),
    hints=(
        "What would the interval have to look like, if the claim were shown?",
        "How many independent answers are there: 200, or 10?",
        "How were the pictures chosen?",
    ),
)


EXERCISES = (
    *(NEARNESS, MERGED_WEIGHT, TIMESTEP_OF),
    *(CHOICE_P, IN_EIGHT_BITS, STUCK, PAIRS, NO_DIFFERENCE),
)
