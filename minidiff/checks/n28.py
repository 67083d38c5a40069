"""The exercises of notebook 28, the clinic: 28.1 to 28.3 in its flow, 28.4 to 28.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import torch
from torch import Tensor

from minidiff import data, exact, schedules
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, normals, uniform

__all__ = ["EXERCISES", "TITLE"]

TITLE = "The clinic"


# 28.1 score_by_time


def score_by_time(denoise, truth, path, x0, eps, times):
    errors = []
    for t in times:
        x_t = path.perturb(x0, t, eps)
        off = denoise(x_t, t) - truth(x_t, t)
        errors.append(path.alpha(t) / path.sigma(t) * off.square().mean().sqrt())
    return torch.stack(errors)


def score_by_time_from_the_noise(denoise, truth, path, x0, eps, times):
    """The predicted noise of both, and the root mean square of their difference."""
    found = []
    for t in times:
        alpha, sigma = path.alpha(t), path.sigma(t)
        noisy = alpha * x0 + sigma * eps
        theirs, right = ((noisy - alpha * model(noisy, t)) / sigma for model in (denoise, truth))
        found.append(torch.mean((theirs - right) ** 2) ** 0.5)
    return torch.stack(found)


def score_by_time_truth(denoise, truth, path, x0, eps, times):
    n, d = x0.shape
    all_times = times.repeat_interleave(n)
    noisy = torch.cat([path.alpha(u) * x0 + path.sigma(u) * eps for u in times])
    gap = (denoise(noisy, all_times) - truth(noisy, all_times)) ** 2
    snr = path.log_snr(times).exp()
    return torch.sqrt(snr * gap.reshape(len(times), n * d).sum(dim=1) / (n * d))


class Leaning:
    """A denoiser that is off by something that depends on the point and on the time."""

    def __init__(self, truth, by: float):
        self.truth, self.by = truth, by

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        t = t.expand(len(x))[:, None] if t.ndim == 0 else t[:, None]
        return self.truth(x, t[:, 0]) + self.by * (1 + t) * torch.tanh(x) + 0.3 * t


def score_cases(g):
    first, second = uniform(g, 0.1, 0.3), uniform(g, 0.4, 0.6)
    found = []
    mixture = data.three_gaussians().to(torch.float64)
    for name, path, n, times in (
        ("rectified_flow", schedules.rectified_flow(), 2, (0.3, 0.8)),
        ("cosine", schedules.cosine(), 5, (0.2, 0.5, 0.7)),
    ):
        truth = exact.mixture_denoiser(mixture, path)
        arguments = (Leaning(truth, first), truth, path, normals(g, n, 2), normals(g, n, 2), doubles(*times))
        found.append(Case(arguments, f"the path `{name}`, {n} points, and the times {', '.join(map(str, times))}"))
        first = second
    return tuple(found)


def by_time(measure, noisy=lambda path, x0, eps, t: path.perturb(x0, t, eps)):
    """measure(off, alpha, sigma) at each time, where off = denoise - truth."""

    def answer(denoise, truth, path, x0, eps, times):
        found = []
        for t in times:
            x_t = noisy(path, x0, eps, t)
            found.append(measure(denoise(x_t, t) - truth(x_t, t), path.alpha(t), path.sigma(t)))
        return torch.stack(found)

    return answer


def rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


def pooled(denoise, truth, path, x0, eps, times):
    each = score_by_time(denoise, truth, path, x0, eps, times)
    return rms(each).expand(len(times)).clone()


def against_the_data(denoise, truth, path, x0, eps, times):
    found = []
    for t in times:
        off = denoise(path.perturb(x0, t, eps), t) - x0
        found.append(path.alpha(t) / path.sigma(t) * rms(off))
    return torch.stack(found)


def truth_at_clean_points(denoise, truth, path, x0, eps, times):
    found = []
    for t in times:
        off = denoise(path.perturb(x0, t, eps), t) - truth(x0, t)
        found.append(path.alpha(t) / path.sigma(t) * rms(off))
    return torch.stack(found)


def one_time_for_all(denoise, truth, path, x0, eps, times):
    here = by_time(lambda off, a, s: a / s * rms(off))(denoise, truth, path, x0, eps, times[:1])
    return here.expand(len(times)).clone()


SCORE_BY_TIME = Exercise(
    id="28.1",
    name="score_by_time",
    stub='''
def score_by_time(denoise, truth, path, x0, eps, times):
    """How far a denoiser is from the exact one at each time, as root mean square error of the predicted noise, (T,).

    denoise, truth: (x_t, t) -> x0_hat, (n, d). path: with path.perturb(x0, t, eps), path.alpha(t), path.sigma(t).
    x0, eps: clean data and noise, (n, d). times: (T,), all above 0.
    """
    ...  # your code
''',
    solution=score_by_time,
    alternative=score_by_time_from_the_noise,
    why=(
        "x_t = alpha x0_hat + sigma eps_hat holds for both, at the same x_t. So an error of x0_hat is alpha / sigma\n"
        "times as large in eps_hat. The mean runs over points and coordinates, and each time keeps its own number."
    ),
    truth=score_by_time_truth,
    cases=score_cases,
    hints=(
        "At each time: make x_t, ask both denoisers at the same x_t, and take the root mean square of the difference.",
        "eps_hat = (x_t - alpha x0_hat) / sigma. If x0_hat is off by d, by how much is eps_hat off?",
        "`path.perturb(x0, t, eps)` makes x_t. Collect one number for each t and end with `torch.stack`.",
    ),
    wrong=(
        Wrong(
            "the error of x0",
            by_time(lambda off, a, s: rms(off)),
            "That is the error of x0_hat. In eps_hat it is alpha / sigma times as large, and times can be compared.",
            UNSEEN,
        ),
        Wrong(
            "the factor inverted",
            by_time(lambda off, a, s: s / a * rms(off)),
            "Your factor is sigma / alpha. From x_t = alpha x0_hat + sigma eps_hat it is alpha / sigma.",
            UNSEEN,
        ),
        Wrong(
            "the error of the score",
            by_time(lambda off, a, s: a / s**2 * rms(off)),
            "That is the error of the score, -eps_hat / sigma. The error of eps_hat has one sigma less.",
            UNSEEN,
        ),
        Wrong(
            "no root",
            by_time(lambda off, a, s: (a / s) ** 2 * off.square().mean()),
            "You have the mean square error. Take its root.",
            UNSEEN,
        ),
        Wrong(
            "the factor squared",
            by_time(lambda off, a, s: (a / s) ** 2 * rms(off)),
            "alpha² / sigma² belongs under the root, to the squares. Outside it is alpha / sigma.",
            UNSEEN,
        ),
        Wrong(
            "summed over coordinates",
            by_time(lambda off, a, s: a / s * off.square().sum(dim=1).mean().sqrt()),
            "You sum the squares over the coordinates of a point. The mean runs over points and coordinates.",
            UNSEEN,
        ),
        Wrong(
            "mean absolute error",
            by_time(lambda off, a, s: a / s * off.abs().mean()),
            "That is the mean of the absolute values. Asked for is the root of the mean square.",
            UNSEEN,
        ),
        Wrong(
            "signed mean",
            by_time(lambda off, a, s: a / s * off.mean()),
            "You average signed differences, so that errors to the left and to the right cancel.",
            UNSEEN,
        ),
        Wrong(
            "the largest error",
            by_time(lambda off, a, s: a / s * off.abs().max()),
            "That is the largest error of any point. Asked for is the root mean square.",
            UNSEEN,
        ),
        Wrong(
            "all times pooled",
            pooled,
            "You average over the times as well. The profile over t is the fingerprint: keep one number for each time.",
            UNSEEN,
        ),
        Wrong(
            "one time for all",
            one_time_for_all,
            "All your numbers belong to the first time.",
            UNSEEN,
        ),
        Wrong(
            "against the data",
            against_the_data,
            "You compare with x0 itself. Even the exact denoiser is far from x0 there, because x_t does not say all.",
            UNSEEN,
        ),
        Wrong(
            "at clean points",
            by_time(lambda off, a, s: a / s * rms(off), noisy=lambda path, x0, eps, t: x0),
            "You ask both at the clean points x0. The sampler will ask at noisy ones.",
            UNSEEN,
        ),
        Wrong(
            "the truth at clean points",
            truth_at_clean_points,
            "You ask the exact denoiser at x0 and the other at x_t. Both must see the same point.",
            UNSEEN,
        ),
        Wrong(
            "variance for the standard deviation",
            by_time(
                lambda off, a, s: a / s * rms(off),
                noisy=lambda path, x0, eps, t: path.alpha(t) * x0 + path.sigma(t) ** 2 * eps,
            ),
            "Your x_t has sigma² where sigma should be.",
            "Ryota-Kawamura/How-Diffusion-Models-Work#1",
        ),
    ),
)


# 28.2 one_step_difference


def one_step_difference(own, reference, x, pairs, z):
    return torch.stack([(own(x, t, s, z) - reference(x, t, s, z)).square().mean().sqrt() for t, s in pairs])


def one_step_difference_by_norms(own, reference, x, pairs, z):
    found = torch.zeros(len(pairs), dtype=x.dtype)
    for k, (t, s) in enumerate(pairs):
        gap = own(x, t, s, z) - reference(x, t, s, z)
        found[k] = torch.linalg.vector_norm(gap) / gap.numel() ** 0.5
    return found


def one_step_difference_truth(own, reference, x, pairs, z):
    a = torch.stack([own(x, *pair, z) for pair in pairs])
    b = torch.stack([reference(x, *pair, z) for pair in pairs])
    mean_square = a.pow(2).mean(dim=(1, 2)) - 2 * (a * b).mean(dim=(1, 2)) + b.pow(2).mean(dim=(1, 2))
    return mean_square.sqrt()


class StepOf:
    """A step of a sampler with given noise: from x at time t to time s. late: its denoiser is asked at s."""

    def __init__(self, path, *, late: bool = False, power: float = 0.5, pull: float = 0.6):
        self.path, self.late, self.power, self.pull = path, late, power, pull

    def __call__(self, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
        asked = s if self.late else t
        x0 = self.pull * self.path.alpha(asked) * torch.sin(2 * x) + 0.4
        mean, variance = self.path.posterior(x, x0, t, s)
        return mean + variance**self.power * z


def step_cases(g):
    a, b = uniform(g, 0.7, 0.9), uniform(g, 0.4, 0.6)
    flow, cosine = schedules.rectified_flow(), schedules.cosine()
    few, noise = doubles(0.9, -0.4, 0.2, -1.5).reshape(2, 2), doubles(1.0, -0.5, 0.3, 2.0).reshape(2, 2)
    first = [(number(0.8), number(0.5)), (number(0.4), number(0.2))]
    second = [(number(a), number(b)), (number(b), number(0.3)), (number(0.3), number(0.1))]
    return (
        Case(
            (StepOf(flow, power=1.0), StepOf(flow), few, first, noise),
            "a sampler that takes the variance for the standard deviation, two points, and two pairs of times",
        ),
        Case(
            (StepOf(cosine, late=True), StepOf(cosine), normals(g, 5, 2), second, normals(g, 5, 2)),
            f"a sampler that asks for the next time, five points, and three pairs of times from {a} on",
        ),
        Case(
            (StepOf(cosine, power=0.7, pull=0.9), StepOf(cosine), normals(g, 4, 2) + 1, second, normals(g, 4, 2)),
            "another sampler, four points, and the same pairs of times",
        ),
    )


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def over_pairs(measure):
    """measure(own's result, the reference's, x) for each pair of times."""

    def answer(own, reference, x, pairs, z):
        return torch.stack([measure(own(x, t, s, z), reference(x, t, s, z), x) for t, s in pairs])

    return answer


def other_noise(change):
    def answer(own, reference, x, pairs, z):
        return torch.stack([rms(own(x, t, s, z) - reference(x, t, s, change(z))) for t, s in pairs])

    return answer


def without_noise(own, reference, x, pairs, z):
    return torch.stack([rms(own(x, t, s, 0 * z) - reference(x, t, s, 0 * z)) for t, s in pairs])


def along_the_walk(own, reference, x, pairs, z):
    a = b = x
    found = []
    for t, s in pairs:
        a, b = own(a, t, s, z), reference(b, t, s, z)
        found.append(rms(a - b))
    return torch.stack(found)


def times_exchanged(own, reference, x, pairs, z):
    return torch.stack([rms(own(x, s, t, z) - reference(x, s, t, z)).nan_to_num(7.0) for t, s in pairs])


def one_after_the_other(own, reference, x, pairs, z):
    return torch.stack([rms(own(x, t, s, z) - reference(own(x, t, s, z), t, s, z)) for t, s in pairs])


def only_the_first_pair(own, reference, x, pairs, z):
    t, s = pairs[0]
    return rms(own(x, t, s, z) - reference(x, t, s, z)).expand(len(pairs)).clone()


ONE_STEP_DIFFERENCE = Exercise(
    id="28.2",
    name="one_step_difference",
    stub='''
def one_step_difference(own, reference, x, pairs, z):
    """One step of a sampler against a reference: root mean square difference for each pair of times, (P,).

    own, reference: (x, t, s, z) -> x_s, where z is the noise to be used. x, z: (n, d); every step begins at x.
    pairs: a list of P pairs (t, s), s < t.
    """
    ...  # your code
''',
    solution=one_step_difference,
    alternative=one_step_difference_by_norms,
    why=(
        "With the same x and z, two right implementations of a sampler give the same numbers, up to rounding. With\n"
        "fresh noise for each, only distributions could be compared, and small faults drown in the noise."
    ),
    truth=one_step_difference_truth,
    cases=step_cases,
    hints=(
        "Call both functions with the same four arguments.",
        "Compare point by point, before any mean: square the difference, average, take the root.",
        "There is one number for each pair of times. Collect them with `torch.stack`.",
    ),
    wrong=(
        Wrong(
            "other noise for the reference",
            other_noise(lambda z: z.flip(0)),
            "The two steps use different noise, so they differ even where both are right. Give the same z to both.",
            UNSEEN,
        ),
        Wrong(
            "noise for one only",
            other_noise(lambda z: 0 * z),
            "The reference gets no noise, so you measure the noise of the other.",
            UNSEEN,
        ),
        Wrong(
            "no noise at all",
            without_noise,
            "Without noise a wrong standard deviation cannot show. Use z in both.",
            UNSEEN,
        ),
        Wrong(
            "means only",
            over_pairs(lambda a, b, x: rms(a.mean(dim=0) - b.mean(dim=0))),
            "You compare the mean of all points. Differences of single points cancel in it.",
            UNSEEN,
        ),
        Wrong(
            "spread only",
            over_pairs(lambda a, b, x: (a.std() - b.std()).abs()),
            "You compare how far the results are spread. Two quite different steps may agree in that.",
            UNSEEN,
        ),
        Wrong(
            "signed mean",
            over_pairs(lambda a, b, x: (a - b).mean()),
            "You average signed differences, so that they cancel.",
            UNSEEN,
        ),
        Wrong(
            "mean absolute difference",
            over_pairs(lambda a, b, x: (a - b).abs().mean()),
            "That is the mean of the absolute values. Asked for is the root of the mean square.",
            UNSEEN,
        ),
        Wrong(
            "no root",
            over_pairs(lambda a, b, x: (a - b).square().mean()),
            "You have the mean square. Take its root.",
            UNSEEN,
        ),
        Wrong(
            "summed over coordinates",
            over_pairs(lambda a, b, x: (a - b).square().sum(dim=1).mean().sqrt()),
            "You sum the squares over the coordinates of a point. The mean runs over points and coordinates.",
            UNSEEN,
        ),
        Wrong(
            "the largest difference",
            over_pairs(lambda a, b, x: (a - b).abs().max()),
            "That is the largest difference of any point. Asked for is the root mean square.",
            UNSEEN,
        ),
        Wrong(
            "relative",
            over_pairs(lambda a, b, x: rms(a - b) / rms(b)),
            "You divide by the size of the result. Asked for is the difference itself.",
            UNSEEN,
        ),
        Wrong(
            "how far the step goes",
            over_pairs(lambda a, b, x: rms(a - x)),
            "That is how far the step moves x. Compare it with the step of the reference.",
            UNSEEN,
        ),
        Wrong(
            "along the walk",
            along_the_walk,
            "Your second step begins where the first one ended, so errors of earlier steps are in it. Begin each at x.",
            UNSEEN,
        ),
        Wrong(
            "times exchanged",
            times_exchanged,
            "You pass s before t. A step goes from t down to s.",
            UNSEEN,
        ),
        Wrong(
            "one after the other",
            one_after_the_other,
            "Your reference begins where the other step ended. Both must begin at x.",
            UNSEEN,
        ),
        Wrong(
            "the first pair only",
            only_the_first_pair,
            "All your numbers belong to the first pair. Some faults show at a few times only.",
            UNSEEN,
        ),
    ),
)


# 28.3 ends_meet


def ends_meet(x1, start):
    return (x1.sort(dim=0).values - start.sort(dim=0).values).square().mean().sqrt()


def ends_meet_by_quantiles(x1, start):
    levels = torch.linspace(0, 1, len(x1), dtype=x1.dtype)
    gap = torch.quantile(x1, levels, dim=0) - torch.quantile(start, levels, dim=0)
    return torch.sqrt((gap**2).mean())


def ends_meet_truth(x1, start):
    """The cheapest assignment, found by trying all: for one coordinate it is the sorted one."""
    from scipy.optimize import linear_sum_assignment

    total = 0.0
    for a, b in zip(x1.T, start.T, strict=True):
        cost = (a[:, None] - b[None, :]) ** 2
        rows, columns = linear_sum_assignment(cost.numpy())
        total = total + cost[torch.from_numpy(rows), torch.from_numpy(columns)].sum()
    return torch.sqrt(total / x1.numel())


def ends_cases(g):
    return (
        Case(
            (doubles(1.0, -2.0, 0.5)[:, None], doubles(0.2, 0.9, -0.4)[:, None]),
            "x1 = (1, -2, 0.5) and start = (0.2, 0.9, -0.4), in one dimension",
        ),
        Case(
            (normals(g, 7, 2), torch.rand(7, 2, generator=g, dtype=torch.float64)), "normal against uniform, 7 points"
        ),
        Case((0.8 * normals(g, 6, 3) + 0.3, normals(g, 6, 3)), "six points in three dimensions, shifted and narrower"),
    )


def sorted_gap(x1: Tensor, start: Tensor) -> Tensor:
    return x1.sort(dim=0).values - start.sort(dim=0).values


ENDS_MEET = Exercise(
    id="28.3",
    name="ends_meet",
    stub='''
def ends_meet(x1, start):
    """The Wasserstein-2 distance of two sets of points, coordinate by coordinate: a tensor ().

    Sort each coordinate of both sets. The answer is the root mean square difference of the sorted values.
    x1: what training noises data to at t = 1. start: what sampling starts from. Both (n, d).
    """
    ...  # your code
''',
    solution=ends_meet,
    alternative=ends_meet_by_quantiles,
    why=(
        "On a line, the cheapest way to carry one set of points into another keeps their order. So sort both sets\n"
        "and compare: the smallest with the smallest, and so on. The distance is 0 only where all values agree."
    ),
    truth=ends_meet_truth,
    cases=ends_cases,
    hints=(
        "Points of the two sets have nothing to do with one another, so sort before you compare.",
        "`x1.sort(dim=0).values` sorts each coordinate by itself.",
        "Then square the differences, average over points and coordinates, and take the root.",
    ),
    wrong=(
        Wrong(
            "not sorted",
            lambda x1, start: rms(x1 - start),
            "You compare the first point with the first, though they have nothing to do with each other. Sort both.",
            UNSEEN,
        ),
        Wrong(
            "means only",
            lambda x1, start: rms(x1.mean(dim=0) - start.mean(dim=0)),
            "You compare the means. A start that is too narrow, or uniform, may have the right mean.",
            UNSEEN,
        ),
        Wrong(
            "spread only",
            lambda x1, start: rms(x1.std(dim=0) - start.std(dim=0)),
            "You compare the standard deviations. A start around 0.5 may have the right one.",
            UNSEEN,
        ),
        Wrong(
            "mean and spread",
            lambda x1, start: (
                ((x1.mean(dim=0) - start.mean(dim=0)).square() + (x1.std(dim=0) - start.std(dim=0)).square())
                .mean()
                .sqrt()
            ),
            "That is the distance of two normal distributions with these means and spreads. The shape is not in it.",
            UNSEEN,
        ),
        Wrong(
            "sorted within each point",
            lambda x1, start: rms(x1.sort(dim=-1).values - start.sort(dim=-1).values),
            "You sort the coordinates of each point. Sort along the points, dim=0.",
            UNSEEN,
        ),
        Wrong(
            "only one is sorted",
            lambda x1, start: rms(x1.sort(dim=0).values - start),
            "You sort x1 and leave start as it is.",
            UNSEEN,
        ),
        Wrong(
            "one the other way round",
            lambda x1, start: rms(x1.sort(dim=0).values - start.sort(dim=0, descending=True).values),
            "You sort one set up and the other down, which pairs the smallest with the largest.",
            UNSEEN,
        ),
        Wrong(
            "mean absolute difference",
            lambda x1, start: sorted_gap(x1, start).abs().mean(),
            "That is the Wasserstein-1 distance. Asked for is the root of the mean square.",
            UNSEEN,
        ),
        Wrong(
            "no root",
            lambda x1, start: sorted_gap(x1, start).square().mean(),
            "You have the mean square. Take its root.",
            UNSEEN,
        ),
        Wrong(
            "summed over coordinates",
            lambda x1, start: sorted_gap(x1, start).square().sum(dim=0).mean().sqrt(),
            "You sum over the points. The mean runs over points and coordinates.",
            UNSEEN,
        ),
        Wrong(
            "the largest difference",
            lambda x1, start: sorted_gap(x1, start).abs().max(),
            "That is the largest difference of the sorted values. Asked for is the root mean square.",
            UNSEEN,
        ),
        Wrong(
            "signed mean",
            lambda x1, start: sorted_gap(x1, start).mean(),
            "You average signed differences. That is the difference of the means, sorted or not.",
            UNSEEN,
        ),
    ),
)


# 28.4 diagnose


def diagnose(rang, chances):
    likelihood = torch.where(rang, chances, 1 - chances).prod(dim=1)
    return likelihood / likelihood.sum()


def diagnose_by_logarithms(rang, chances):
    r = rang.to(chances.dtype)
    return torch.softmax(chances.log() @ r + (1 - chances).log() @ (1 - r), dim=0)


def diagnose_truth(rang, chances):
    weights = []
    for row in chances.tolist():
        weight = 1.0
        for one, p in zip(rang.tolist(), row, strict=True):
            weight *= p if one else 1 - p
        weights.append(weight)
    return torch.tensor([weight / sum(weights) for weight in weights], dtype=chances.dtype)


def diagnose_cases(g):
    rows = torch.rand(4, 5, generator=g, dtype=torch.float64) * 0.8 + 0.1
    first = doubles(0.9, 0.2, 0.6, 0.7, 0.3, 0.2).reshape(3, 2)
    return (
        Case((torch.tensor([True, False]), first), "two instruments, the first rang, and three faults"),
        Case((torch.tensor([True, False, True, True, False]), rows), "five instruments, three rang, and four faults"),
    )


def normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum()


DIAGNOSE = Exercise(
    id="28.4",
    name="diagnose",
    stub='''
def diagnose(rang, chances):
    """The probability of each fault, given which instruments rang, by Bayes' rule, (F,).

    rang: (I,), bool, True where an instrument rang. chances: (F, I), how probable it is that instrument i rings for
    fault f, between 0 and 1. All faults are equally frequent, and given the fault, instruments are independent.
    """
    ...  # your code
''',
    solution=diagnose,
    alternative=diagnose_by_logarithms,
    why=(
        "Given the fault, the probability of what was observed is a product: p for each instrument that rang, 1 - p\n"
        "for each that was silent. All faults are equally frequent, so it only has to be divided by its sum."
    ),
    truth=diagnose_truth,
    cases=diagnose_cases,
    hints=(
        "How probable is it, given one fault, that just these instruments ring and the others are silent?",
        "Silence is evidence, too: a silent instrument contributes the factor 1 - p.",
        "`torch.where(rang, chances, 1 - chances)` has the factors. Multiply along the instruments, then normalise.",
    ),
    wrong=(
        Wrong(
            "silence ignored",
            lambda rang, chances: normalised(chances[:, rang].prod(dim=1)),
            "You use the instruments that rang only. Those that were silent count as well, with 1 - p.",
            UNSEEN,
        ),
        Wrong(
            "ringing ignored",
            lambda rang, chances: normalised((1 - chances[:, ~rang]).prod(dim=1)),
            "You use the silent instruments only.",
            UNSEEN,
        ),
        Wrong(
            "not normalised",
            lambda rang, chances: torch.where(rang, chances, 1 - chances).prod(dim=1),
            "That is the probability of the observation given each fault. Divide by the sum over the faults.",
            UNSEEN,
        ),
        Wrong(
            "the other way round",
            lambda rang, chances: normalised(torch.where(rang, 1 - chances, chances).prod(dim=1)),
            "You take p for the silent instruments and 1 - p for those that rang.",
            UNSEEN,
        ),
        Wrong(
            "silence as if it rang",
            lambda rang, chances: normalised(chances.prod(dim=1)),
            "You multiply all p, whatever rang.",
            UNSEEN,
        ),
        Wrong(
            "a sum",
            lambda rang, chances: normalised(torch.where(rang, chances, 1 - chances).sum(dim=1)),
            "You add the probabilities. Independent observations multiply.",
            UNSEEN,
        ),
        Wrong(
            "the best one",
            lambda rang, chances: torch.nn.functional.one_hot(
                torch.where(rang, chances, 1 - chances).prod(dim=1).argmax(), len(chances)
            ).to(chances),
            "You return certainty for the most probable fault. Asked for are the probabilities of all.",
            UNSEEN,
        ),
        Wrong(
            "logarithms",
            lambda rang, chances: normalised(torch.where(rang, chances, 1 - chances).log().sum(dim=1)),
            "You normalise the logarithms. Take the exponential first.",
            UNSEEN,
        ),
        Wrong(
            "softmax of probabilities",
            lambda rang, chances: torch.softmax(torch.where(rang, chances, 1 - chances).prod(dim=1), dim=0),
            "A softmax takes logarithms. Your numbers are probabilities already, so divide by their sum.",
            UNSEEN,
        ),
        Wrong(
            "a vote",
            lambda rang, chances: normalised(((chances > 0.5) == rang).sum(dim=1).to(chances)),
            "You count with how many instruments a fault agrees. Bayes' rule weighs them by how sure they are.",
            UNSEEN,
        ),
        Wrong(
            "normalised for each instrument",
            lambda rang, chances: (
                torch.where(rang, chances, 1 - chances) / torch.where(rang, chances, 1 - chances).sum(dim=0)
            ).mean(dim=1),
            "You normalise for each instrument and average. Multiply over the instruments first, then normalise once.",
            UNSEEN,
        ),
    ),
)


# 28.5 below_the_floor, 28.6 the_instrument


def below():
    floor, claimed = 1.0, 0.6
    excess = 0.0  # the mean square distance of a denoiser to the exact one, which is never negative
    return "easier task" if claimed < floor + excess else "better than exact"


def finds_it():
    t, s, x = torch.tensor(0.5), torch.tensor(0.49), torch.tensor([[1.0, -1.0]])
    denoise = exact.mixture_denoiser(data.three_gaussians(), schedules.ddpm_linear())
    differs = float((denoise(x, s) - denoise(x, t)).abs().max()) > 1e-6  # the same x, no noise left to average over
    return "one step" if differs else "samples"


BELOW_THE_FLOOR = Question(
    id="28.5",
    name="below",
    stub='below = None  # loss at 0.6 of its floor: "better than exact", "unlucky seed", "easier task", "overfit"',
    right="easier task",
    solution=below,
    why=(
        "The exact denoiser has the smallest mean square error of all functions of x_t and t, on fresh data. A loss "
        "far\n"
        "below that is the loss of an easier task: less noise, fewer times, or labels that are always told."
    ),
    choices=("better than exact", "unlucky seed", "easier task", "overfit"),
    hints=(
        "Which function of x_t has the smallest mean square error?",
        "How far does the mean of 200 batches of 512 points vary from seed to seed?",
        "What would make the task easier than the one that the floor was computed for?",
    ),
    wrong=(
        WrongValue(
            "better than exact",
            "better than exact",
            "No function of x_t and t has a smaller mean square error than E[x0 | x_t].",
            UNSEEN,
        ),
        WrongValue(
            "unlucky seed",
            "unlucky seed",
            "The mean of the last 200 losses varies by a percent or two, and not by forty.",
            UNSEEN,
        ),
        WrongValue(
            "overfit",
            "overfit",
            "That is possible with few data, but 10,000 points with fresh noise in each step are too many to remember.",
            UNSEEN,
        ),
    ),
)
INSTRUMENT = Question(
    id="28.6",
    name="finds_it",
    stub='finds_it = None  # finds a denoiser that is asked at s for t: "samples", "loss", "score", "one step", "ends"',
    right="one step",
    solution=finds_it,
    why=(
        "Loss and score look at the network, which is right. The samples stay at the floor with 100 steps. One step\n"
        "against the reference, with the same noise, differs at once, because there nothing is averaged."
    ),
    choices=("samples", "loss", "score", "one step", "ends"),
    hints=(
        "Is the network wrong, or what is done with it?",
        "Which instruments never run the patient's sampler?",
        "With 100 steps s is near t. Which instrument sees a small difference?",
    ),
    wrong=(
        WrongValue(
            "samples", "samples", "With 100 steps the samples are as good as those of a healthy patient.", UNSEEN
        ),
        WrongValue("loss", "loss", "The loss belongs to the training, which is right here.", UNSEEN),
        WrongValue("score", "score", "The network is right at each time that it is asked for.", UNSEEN),
        WrongValue("ends", "ends", "The sampler starts where it should, so the ends meet.", UNSEEN),
    ),
)


# 28.7 on paper, 28.8 open

ONE_BATCH = Explanation(
    id="28.7",
    name="overfit one batch",
    task="A colleague overfits one batch, sees the loss fall to 0, and says that the training code is right: is it?",
    model=(
        "It depends on what is kept fixed. If x0, t and eps are all fixed, the network can learn the noise of each "
        "point "
        "by heart, so the loss falls to 0 whatever is wrong with the noise, the path, the labels or the time. It "
        "only proves that gradients reach the weights. If only x0 is fixed and t and eps are fresh, the loss cannot "
        "fall "
        "to 0, because several points could have made x_t; its floor is that of the exact denoiser of the empirical "
        "distribution, which `exact` can compute. Reaching this floor is a real test of the network and the loss, "
        "but it "
        "still says nothing about the sampler, or about the range of other data."
    ),
    look_for=(
        "With fixed noise, the network may learn the noise by heart.",
        "With fresh noise there is a floor above 0, which can be computed.",
        "The sampler is not tested at all.",
    ),
    hints=(
        "What does the network have to know to make the loss 0 if the noise is the same in every step?",
        "Would the loss fall to 0 for noise from torch.rand?",
        "What is the smallest loss if the noise is fresh in each step?",
    ),
)
OWN_MODEL = Explanation(
    id="28.8",
    name="a model of your own",
    task="Which instruments of this notebook can you use on a model of real pictures, where nobody knows the score?",
    model=(
        "All that need no exact answer: the second moment of x_t against that of the data, both ends, one step against "
        "another implementation with the same noise, the order of the solver measured against many steps, guidance at "
        "w = 0 and 1, the same question twice, data before and after, the average against the raw weights, the "
        "response "
        "to time and labels. The exact mean can still drive the sampler: put it into a toy problem, since a sampler "
        "does not know where its denoiser comes from. Loss over floor and score error need the truth. What is left of "
        "them is the loss by time against that of a network that answers 0, and new data against training data."
    ),
    look_for=(
        "The sampler can be tested on a toy problem whose exact denoiser is known.",
        "Most instruments compare a thing with itself or with another implementation.",
        "Loss over floor and the error of the score need the truth.",
    ),
    hints=(
        "Go through the instruments: which of them use `exact`?",
        "Does your sampler know whether its denoiser is a network?",
        "`minidiff doctor --model FOLDER` does what can be done.",
    ),
)

EXERCISES = (
    *(SCORE_BY_TIME, ONE_STEP_DIFFERENCE, ENDS_MEET),
    *(DIAGNOSE, BELOW_THE_FLOOR, INSTRUMENT, ONE_BATCH, OWN_MODEL),
)
