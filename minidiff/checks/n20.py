"""The exercises of notebook 20, few steps: 20.1 to 20.3 in its flow, 20.4 to 20.9 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import itertools
import math

import torch
from torch import Tensor

from minidiff import exact, schedules
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, normals, uniform
from minidiff.paths import GaussianPath

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Few steps"
COSINE, STRAIGHT = schedules.cosine(), schedules.rectified_flow()
# A path that does not preserve variance, so that a coefficient of one step cannot pass for another
TILTED = GaussianPath(alpha=lambda t: 1 - 0.8 * t, sigma=lambda t: 1.5 * t)


def number(value: float) -> Tensor:
    """A tensor () in double precision."""
    return torch.tensor(value, dtype=torch.float64)


# 20.1 flow_map


def flow_map(mixture, path, x_t, t, s):
    return exact.quantile(mixture, path, exact.cdf(mixture, path, x_t, t), s)


def flow_map_by_bisection(mixture, path, x_t, t, s):
    p = exact.cdf(mixture, path, x_t, t)
    low, high = torch.full_like(x_t, -20.0), torch.full_like(x_t, 20.0)
    for _ in range(60):
        middle = (low + high) / 2
        left = (exact.cdf(mixture, path, middle, s) < p)[:, None]
        low, high = torch.where(left, middle, low), torch.where(left, high, middle)
    return (low + high) / 2


def flow_map_truth(mixture, path, x_t, t, s):
    return exact.line_flow(mixture, path, x_t, t, s)


def two_blobs(g):
    """Unequal blobs on a line, in double precision."""
    share, right = uniform(g, 0.25, 0.4), uniform(g, 0.7, 1.1)
    means, variances = doubles(-1.2, right)[:, None], doubles(0.25, 0.4).square()[:, None, None]
    return exact.GaussianMixture(doubles(share, 1 - share), means, variances)


def flow_map_cases(g):
    blobs, t, s = two_blobs(g), uniform(g, 0.6, 0.75), uniform(g, 0.25, 0.4)
    few = doubles(-0.7, 0.2, 1.1)[:, None]
    return (
        Case(
            (blobs, STRAIGHT, few, number(0.8), number(0.3)), "three points on the straight path, t = 0.8 and s = 0.3"
        ),
        Case(
            (blobs, COSINE, normals(g, 6, 1), number(t), number(s)), f"six points on the cosine path, t = {t}, s = {s}"
        ),
        Case((blobs, COSINE, normals(g, 6, 1), number(t), number(0.0)), f"six points, from t = {t} to the data"),
    )


def mean_at(mixture, path, x_t, t, s):
    return exact.reverse_kernel(mixture, path, x_t, t, s).mean()


def one_ddim_step(mixture, path, x_t, t, s, x0_hat=None):
    x0_hat = exact.posterior_mean(mixture, path, x_t, t) if x0_hat is None else x0_hat
    return path.alpha(s) * x0_hat + path.sigma(s) * (x_t - path.alpha(t) * x0_hat) / path.sigma(t)


FLOW_MAP = Exercise(
    id="20.1",
    name="flow_map",
    stub='''
def flow_map(mixture, path, x_t, t, s):
    """Where the ODE carries x_t from t to s, for a mixture on a line.

    x_t: (B, 1); t, s: tensors (), s < t. Returns (B, 1).
    """
    ...  # your code
''',
    solution=flow_map,
    alternative=flow_map_by_bisection,
    why=(
        "Trajectories on a line cannot cross, so the fraction of points to the left of a trajectory stays as it is:\n"
        "F_s(x_s) = F_t(x_t). In the far right tail F_t(x) rounds to 1, and all its digits are lost. exact.line_flow\n"
        "mirrors such points first."
    ),
    truth=flow_map_truth,
    cases=flow_map_cases,
    hints=(
        "What stays the same along a trajectory on a line?",
        "The fraction of all points that lie to the left: F_t(x_t) = F_s(x_s).",
        "Solve for x_s: `exact.quantile` at time s of `exact.cdf` at time t.",
    ),
    wrong=(
        Wrong(
            "the posterior mean of x0",
            lambda mixture, path, x_t, t, s: exact.posterior_mean(mixture, path, x_t, t),
            "You return E[x0 | x_t], the denoiser. It is a mean over all x0 that x_t may come from. The flow "
            "map is the "
            "one point to which the ODE leads.",
            f"{UNSEEN}: section 1",
        ),
        Wrong(
            "the mean of x_s given x_t",
            mean_at,
            "You return E[x_s | x_t], the mean of the random reverse step. The ODE has no randomness to average over.",
            UNSEEN,
        ),
        Wrong(
            "one DDIM step",
            one_ddim_step,
            "You take one DDIM step from t to s. It is the flow map only in the limit of small steps.",
            UNSEEN,
        ),
        Wrong(
            "down to the data",
            lambda mixture, path, x_t, t, s: (
                exact.line_flow(mixture, path, x_t, t, torch.zeros_like(t)) + (0.0 if float(s) else 1e-9 * x_t)
            ),
            "You go down to t = 0. The map should end at time s: use the quantile function of that time.",
            UNSEEN,
        ),
        Wrong(
            "the times exchanged",
            lambda mixture, path, x_t, t, s: exact.line_flow(mixture, path, x_t, s, t),
            "You take the fraction at s and the quantile at t. The point x_t lives at time t.",
            UNSEEN,
        ),
        Wrong(
            "noise as if at t = 1",
            lambda mixture, path, x_t, t, s: exact.quantile(mixture, path, torch.special.ndtr(x_t[:, 0]), s),
            "You take the fraction of the standard normal distribution, Phi(x_t). That is F_t only at t = 1.",
            UNSEEN,
        ),
        Wrong(
            "the quantile of one Gaussian",
            lambda mixture, path, x_t, t, s: exact.line_flow(one_gaussian_like(mixture), path, x_t, t, s),
            "You treat the mixture as one Gaussian with its mean and variance. Then the map is a straight "
            "line, and the "
            "blobs are gone.",
            UNSEEN,
        ),
        Wrong(
            "the scale alone",
            lambda mixture, path, x_t, t, s: x_t * path.alpha(s) / path.alpha(t),
            "You only change the scale by alpha. The noise in x_t has to go too.",
            UNSEEN,
        ),
        Wrong(
            "the fraction itself",
            lambda mixture, path, x_t, t, s: exact.cdf(mixture, path, x_t, t)[:, None],
            "You return the fraction of points to the left. Turn it into a place with the quantile function of time s.",
            UNSEEN,
        ),
        Wrong(
            "the fraction on the right",
            lambda mixture, path, x_t, t, s: exact.quantile(mixture, path, 1 - exact.cdf(mixture, path, x_t, t), s),
            "You take the fraction of points on the right. So the map falls, and trajectories would have to cross.",
            UNSEEN,
        ),
        Wrong(
            "nothing moves",
            lambda mixture, path, x_t, t, s: x_t.clone(),
            "You return x_t itself. It is a typical point at time t, and not at time s.",
            UNSEEN,
        ),
    ),
    limit="Far out on the right p = F_t(x) rounds to 1, and no quantile is left. exact.line_flow takes care of that.",
)


def one_gaussian_like(mixture):
    """One Gaussian with the mean and covariance of a mixture."""
    return exact.GaussianMixture(torch.ones_like(mixture.weights[:1]), mixture.mean()[None], mixture.covariance()[None])


# 20.2 step_target


def step_target(denoise, path, x_t, t, s):
    def ddim(x, t, s):
        x0 = denoise(x, t)
        return path.alpha(s) * x0 + path.sigma(s) * (x - path.alpha(t) * x0) / path.sigma(t)

    middle = (t + s) / 2
    x_s = ddim(ddim(x_t, t, middle), middle, s)
    ratio = path.sigma(s) / path.sigma(t)
    return (x_s - ratio * x_t) / (path.alpha(s) - ratio * path.alpha(t))


def step_target_by_two_equations(denoise, path, x_t, t, s):
    times, x = (t, (t + s) / 2, s), x_t
    for now, then in itertools.pairwise(times):
        x0_hat = denoise(x, now)
        eps_hat = (x - path.alpha(now) * x0_hat) / path.sigma(now)
        x = path.alpha(then) * x0_hat + path.sigma(then) * eps_hat
    # alpha x0 + sigma eps = x at both ends, with one x0 and one eps
    matrix = torch.stack([torch.stack([path.alpha(u), path.sigma(u)]) for u in (t, s)])
    return torch.linalg.solve(matrix, torch.stack([x_t.flatten(), x.flatten()]))[0].reshape(x_t.shape)


def step_target_truth(denoise, path, x_t, t, s):
    """In the coordinate x / alpha, where DDIM is Euler's method in sigma / alpha."""
    half, scaled = t + (s - t) / 2, x_t / path.alpha(t)
    ratio = [path.sigma(u) / path.alpha(u) for u in (t, half, s)]
    first = denoise(x_t, t)
    between = first + (scaled - first) * ratio[1] / ratio[0]
    second = denoise(path.alpha(half) * between, half)
    end = second + (between - second) * ratio[2] / ratio[1]
    share = ratio[2] / ratio[0]
    return (end - share * scaled) / (1 - share)


def bent(x, t):
    """A denoiser that is as good as any for a check."""
    return torch.tanh(1.3 * x) * (1 - 0.5 * t) + 0.2 * t


def step_target_cases(g):
    t, s = uniform(g, 0.6, 0.8), uniform(g, 0.15, 0.3)
    few = doubles(-0.5, 1.2)[:, None]
    return (
        Case(
            (bent, STRAIGHT, few, number(0.8), number(0.4)), "two points on the straight path, from t = 0.8 to s = 0.4"
        ),
        Case((bent, TILTED, normals(g, 4, 2), number(t), number(s)), f"four points of another path, from {t} to {s}"),
        Case((bent, TILTED, normals(g, 4, 2), number(t), number(0.0)), f"four points, from t = {t} to the data"),
    )


def two_steps(last=None, *, middle=lambda path, t, s: (t + s) / 2, second_at=None, steps=2):
    """The target with parts exchanged. last: (x_s, x_t, path, t, s, second x0, middle x) -> what is returned."""

    def ddim(x0, path, x, t, s):
        return path.alpha(s) * x0 + path.sigma(s) * (x - path.alpha(t) * x0) / path.sigma(t)

    def answer(denoise, path, x_t, t, s):
        m = middle(path, t, s)
        first = denoise(x_t, t)
        x_m = ddim(first, path, x_t, t, m)
        second = denoise(x_m, m if second_at is None else second_at(t, m, s))
        x_s = ddim(second, path, x_m, m, s)
        return last(x_s, x_t, path, t, s, first, second, x_m) if last else solved(x_s, x_t, path, t, s)

    return answer


def solved(x_s, x_t, path, t, s):
    r = path.sigma(s) / path.sigma(t)
    return (x_s - r * x_t) / (path.alpha(s) - r * path.alpha(t))


STEP_TARGET = Exercise(
    id="20.2",
    name="step_target",
    stub='''
def step_target(denoise, path, x_t, t, s):
    """The x0 with which one DDIM step from t to s ends where two of the teacher's do. (B, d)

    The teacher's steps go from t to (t + s) / 2 and from there to s. denoise(x, t): the teacher's estimate of x0.
    x_t: (B, d); t, s: tensors (), s < t. path.alpha(t) and path.sigma(t) are tensors ().
    """
    ...  # your code
''',
    solution=step_target,
    alternative=step_target_by_two_equations,
    why=(
        "Two DDIM steps end at some x_s. One step with x0 ends at alpha_s x0 + r (x_t - alpha_t x0), where r is\n"
        "sigma_s / sigma_t. "
        "Set both equal and solve for x0. At s = 0 the ratio r is 0, and the target is x_s itself."
    ),
    truth=step_target_truth,
    cases=step_target_cases,
    hints=(
        "Make the teacher's two steps first. A DDIM step keeps the estimates of x0 and eps, and mixes them anew.",
        "One step with x0 ends at alpha_s x0 + sigma_s (x_t - alpha_t x0) / sigma_t. Collect what stands with x0.",
        "With r = sigma_s / sigma_t: x0 = (x_s - r x_t) / (alpha_s - r alpha_t).",
    ),
    wrong=(
        Wrong(
            "x_s itself",
            two_steps(lambda x_s, x_t, path, t, s, first, second, x_m: x_s + (0.0 if float(s) else 1e-3 * x_t)),
            "You return x_s, where the two steps end. The network of the student returns an x0, from which a DDIM step "
            "then makes x_s. Solve for that x0.",
            f"{UNSEEN}: right at s = 0 only",
        ),
        Wrong(
            "the teacher's second estimate",
            two_steps(lambda x_s, x_t, path, t, s, first, second, x_m: second),
            "You return the teacher's estimate of x0 in its second step. One step with it does not end where two steps "
            "do, because it does not start from the middle.",
            UNSEEN,
        ),
        Wrong(
            "the teacher's first estimate",
            two_steps(lambda x_s, x_t, path, t, s, first, second, x_m: first),
            "You return the teacher's estimate at x_t. Then one step of the student is one of the teacher's, and "
            "nothing is gained.",
            UNSEEN,
        ),
        Wrong(
            "the mean of both estimates",
            two_steps(lambda x_s, x_t, path, t, s, first, second, x_m: (first + second) / 2),
            "You return the mean of the teacher's two estimates. The right weights follow from where the two "
            "steps end.",
            UNSEEN,
        ),
        Wrong(
            "one step of the teacher",
            lambda denoise, path, x_t, t, s: denoise(x_t, t) + 1e-3 * (x_t - denoise(x_t, t)),
            "You take one step of the teacher and solve for x0, which gives the teacher's own estimate back.",
            UNSEEN,
        ),
        Wrong(
            "the second step at the wrong time",
            two_steps(second_at=lambda t, m, s: t),
            "Your second step evaluates the teacher at x_m, but tells it the time t. The point in the middle "
            "belongs to "
            "the middle time.",
            UNSEEN,
        ),
        Wrong(
            "the middle as a geometric mean",
            two_steps(middle=lambda path, t, s: (t * s).sqrt().clamp(min=1e-3)),
            "Your middle time is the geometric mean of t and s. The grid is even in t: take (t + s) / 2.",
            UNSEEN,
        ),
        Wrong(
            "solved from the middle",
            two_steps(lambda x_s, x_t, path, t, s, first, second, x_m: solved(x_s, x_m, path, t, s)),
            "You solve with the point in the middle in place of x_t. The student starts at x_t.",
            UNSEEN,
        ),
        Wrong(
            "the denominator",
            two_steps(
                lambda x_s, x_t, path, t, s, first, second, x_m: (
                    (x_s - path.sigma(s) / path.sigma(t) * x_t) / path.alpha(s) * (1 if float(s) else 1.001)
                )
            ),
            "You divide by alpha_s alone. The x0 also stands in the noise: alpha_s - r alpha_t, with r = "
            "sigma_s / sigma_t.",
            UNSEEN,
        ),
        Wrong(
            "the ratio upside down",
            two_steps(
                lambda x_s, x_t, path, t, s, first, second, x_m: (
                    (x_s - path.sigma(t) / path.sigma(s).clamp(min=1e-2) * x_t)
                    / (path.alpha(s) - path.sigma(t) / path.sigma(s).clamp(min=1e-2) * path.alpha(t))
                )
            ),
            "Your ratio is sigma_t / sigma_s. The noise shrinks on the way down: r = sigma_s / sigma_t, which "
            "is 0 at the "
            "data.",
            UNSEEN,
        ),
        Wrong(
            "the noise, not the data",
            two_steps(
                lambda x_s, x_t, path, t, s, first, second, x_m: (
                    (x_t - path.alpha(t) * solved(x_s, x_t, path, t, s)) / path.sigma(t)
                )
            ),
            "You return the eps that belongs to the target. The x0 is asked for.",
            UNSEEN,
        ),
        Wrong(
            "x_s without its scale",
            two_steps(
                lambda x_s, x_t, path, t, s, first, second, x_m: x_s / path.alpha(s) + (0.0 if float(s) else 2e-3 * x_t)
            ),
            "You divide x_s by alpha_s, as if nothing but the scale were left at time s. There is noise left too.",
            UNSEEN,
        ),
    ),
)


# 20.3 energy_score


def energy_score(a, b, x0):
    def length(x):
        return torch.linalg.vector_norm(x, dim=1)

    return (length(a - x0) + length(b - x0)) / 2 - length(a - b) / 2


def energy_score_of_means(a, b, x0):
    to_real = torch.stack([a - x0, b - x0]).square().sum(2).sqrt().mean(0)
    return to_real - 0.5 * torch.nn.functional.pairwise_distance(a, b, eps=0)


def energy_score_truth(a, b, x0):
    """From all distances among the three points: half of each to x0, less half of that between the draws."""
    sides = torch.cdist(torch.stack([a, b, x0], 1), torch.stack([a, b, x0], 1))
    return 0.5 * (sides[:, 0, 2] + sides[:, 1, 2] - sides[:, 0, 1])


def energy_score_cases(g):
    return (
        Case(
            (doubles(0.0)[:, None], doubles(2.0)[:, None], doubles(3.0)[:, None]), "draws 0 and 2 for x0 = 3 on a line"
        ),
        Case((normals(g, 5, 2), 0.5 + normals(g, 5, 2), 2 * normals(g, 5, 2)), "five triples of points in the plane"),
        Case((normals(g, 3, 7), normals(g, 3, 7), normals(g, 3, 7)), "three triples in seven dimensions"),
    )


def scored(real=lambda p, q: (p + q) / 2, apart=lambda d: -d / 2, length=lambda x: x.norm(dim=1)):
    """The energy score with parts exchanged."""
    return lambda a, b, x0: real(length(a - x0), length(b - x0)) + apart(length(a - b))


ENERGY_SCORE = Exercise(
    id="20.3",
    name="energy_score",
    stub='''
def energy_score(a, b, x0):
    """The energy score of two draws a and b for one real x0. a, b, x0: (B, d). Returns (B,)."""
    ...  # your code
''',
    solution=energy_score,
    alternative=energy_score_of_means,
    why=(
        "For independent draws its mean is E|a - x0| - E|a - b| / 2. An energy distance is twice that, less the mean\n"
        "distance of real points, which no generator can change. So the least mean is that of draws with the\n"
        "distribution of x0."
    ),
    truth=energy_score_truth,
    cases=energy_score_cases,
    hints=(
        "Three distances occur: from a to x0, from b to x0, and from a to b. Each is (B,).",
        "A distance is the root of a sum of squares over the d numbers: `torch.linalg.vector_norm(..., dim=1)`.",
        "Half of each distance to x0, minus half of the distance between the draws.",
    ),
    wrong=(
        Wrong(
            "no second term",
            scored(apart=lambda d: 0 * d),
            "You leave out the distance between the two draws. Without it the best draws are all the same "
            "point, the median.",
            f"{UNSEEN}: section 5",
        ),
        Wrong(
            "the sign of the second term",
            scored(apart=lambda d: d / 2),
            "You add the distance between the draws. That rewards draws that agree; they should be pushed apart.",
            UNSEEN,
        ),
        Wrong(
            "a whole second term",
            scored(apart=lambda d: -d),
            "You subtract the whole distance between the draws. With more than half of it, draws that are too "
            "wide win.",
            UNSEEN,
        ),
        Wrong(
            "squared distances",
            scored(length=lambda x: x.square().sum(dim=1)),
            "You square the distances. Then only the mean of the draws matters, and any distribution with the "
            "right mean "
            "has the least score.",
            UNSEEN,
        ),
        Wrong(
            "half squared distances",
            scored(length=lambda x: x.square().sum(dim=1) / 2),
            "You take half the square in place of each distance, as in the exponent of a Gaussian. Only the "
            "mean of the "
            "draws would matter then.",
            UNSEEN,
        ),
        Wrong(
            "sums in place of means",
            scored(real=lambda p, q: p + q, apart=lambda d: -d),
            "Your score is twice as large. Each of the three distances counts half.",
            UNSEEN,
        ),
        Wrong(
            "distances to x0 not halved",
            scored(real=lambda p, q: p + q),
            "You add the two distances to x0. Take their mean, or the draws are pulled to the median too strongly.",
            UNSEEN,
        ),
        Wrong(
            "one draw only",
            scored(real=lambda p, q: p),
            "You compare only the first draw with x0. Both draws count, each by half.",
            UNSEEN,
        ),
        Wrong(
            "the distance of the mean",
            lambda a, b, x0: ((a + b) / 2 - x0).norm(dim=1) - (a - b).norm(dim=1) / 2,
            "You measure how far the mean of the two draws is from x0. Measure each draw, then take the mean.",
            UNSEEN,
        ),
        Wrong(
            "the best of two",
            scored(real=torch.minimum),
            "You take the nearer of the two draws. The score needs the mean of both distances.",
            UNSEEN,
        ),
        Wrong(
            "sums of absolute values",
            scored(length=lambda x: x.abs().sum(dim=1)),
            "You sum absolute values over the numbers of a point. |x| is the Euclidean length here.",
            UNSEEN,
        ),
        Wrong(
            "a mean over the numbers of a point",
            scored(length=lambda x: x.square().mean(dim=1).sqrt()),
            "You take the mean of the squares over the numbers of a point. A length needs their sum.",
            UNSEEN,
        ),
        Wrong(
            "the mean of the batch",
            lambda a, b, x0: energy_score(a, b, x0).mean().expand(len(a)),
            "You return the mean over the batch. The loss of the package is one number for each sample.",
            UNSEEN,
        ),
    ),
)


# 20.4 shrunk


def shrunk(path, std, N):
    times = torch.linspace(0, 1, N + 1, dtype=torch.float64)
    alpha, sigma = path.alpha(times), path.sigma(times)
    spread = (alpha**2 * std**2 + sigma**2).sqrt()
    shared = alpha[1:] * alpha[:-1] * std**2 + sigma[1:] * sigma[:-1]
    return std * (shared / (spread[1:] * spread[:-1])).prod()


def shrunk_one_step_at_a_time(path, std, N):
    slope = torch.ones((), dtype=torch.float64)  # f(x, t) = slope x
    for k in range(1, N + 1):
        s, t = torch.tensor([(k - 1) / N, k / N], dtype=torch.float64)
        variance = (path.alpha(t) * std) ** 2 + path.sigma(t) ** 2
        slope = slope * (path.alpha(t) * path.alpha(s) * std**2 + path.sigma(t) * path.sigma(s)) / variance
    return slope * variance.sqrt()


def shrunk_truth(path, std, N):
    """DDIM with the exact denoiser, followed for one point: for normal data it is what training converges to."""
    x, grid = torch.ones(1, 1, dtype=torch.float64), torch.linspace(1, 0, N + 1, dtype=torch.float64)
    for t, s in itertools.pairwise(grid):
        x0_hat = path.alpha(t) * std**2 / (path.alpha(t) ** 2 * std**2 + path.sigma(t) ** 2) * x
        x = path.alpha(s) * x0_hat + path.sigma(s) / path.sigma(t) * (x - path.alpha(t) * x0_hat)
    at_start = math.hypot(float(path.alpha(grid[0])) * std, float(path.sigma(grid[0])))
    return at_start * x[0, 0]


def shrunk_cases(g):
    std = uniform(g, 0.25, 0.45)
    return (
        Case((COSINE, 0.5, 2), "the cosine path, std = 0.5 and N = 2"),
        Case((COSINE, std, 4), f"the cosine path, std = {std} and N = 4"),
        Case((TILTED, std, 5), f"a path that does not preserve variance, std = {std} and N = 5"),
    )


def by_factors(factor, begin=lambda std: std, gather=torch.prod):
    """A product over the steps: factor(alpha_t, sigma_t, alpha_s, sigma_s, std), each (N,)."""

    def answer(path, std, N):
        u = torch.linspace(0, 1, N + 1, dtype=torch.float64)
        a, s = path.alpha(u), path.sigma(u)
        return begin(std) * gather(factor(a[1:], s[1:], a[:-1], s[:-1], std))

    return answer


def correlation(a, s, b, r, v):
    return (a * b * v**2 + s * r) / ((a**2 * v**2 + s**2) * (b**2 * v**2 + r**2)).sqrt()


SHRUNK = Exercise(
    id="20.4",
    name="shrunk",
    stub='''
def shrunk(path, std, N):
    """The standard deviation of one-step samples of consistency training at N steps, for data from N(0, std^2).

    Times are k / N. path.alpha and path.sigma take tensors of times. Noise at t = 1 has the standard deviation of x_1.
    Returns a tensor ().
    """
    ...  # your code
''',
    solution=shrunk,
    alternative=shrunk_one_step_at_a_time,
    why=(
        "For normal data f is linear, f(x, t) = c_t x, and (4) says c_t x_t = c_s E[x_s | x_t]. With x_t and x_s of\n"
        "the same pair, E[x_s | x_t] = Cov(x_s, x_t) / Var(x_t) x_t. The standard deviation of f is multiplied by the\n"
        "correlation of x_t and x_s in every step. DDIM gives the same number, because f is linear."
    ),
    truth=shrunk_truth,
    cases=shrunk_cases,
    hints=(
        "f(x, t) = c_t x is linear for normal data. How does c_t follow from c_s by equation (4)?",
        "E[x_s | x_t] = Cov(x_s, x_t) / Var(x_t) x_t, with x_t and x_s made of the same x0 and eps.",
        "In every step the standard deviation is multiplied by the correlation of x_s and x_t.",
        "Cov(x_s, x_t) = alpha_s alpha_t std² + sigma_s sigma_t.",
    ),
    wrong=(
        Wrong(
            "fresh noise at both times",
            by_factors(lambda a, s, b, r, v: a * b * v**2 / ((a**2 * v**2 + s**2) * (b**2 * v**2 + r**2)).sqrt()),
            "You leave out the noise that x_t and x_s share. Consistency training uses the same eps at both times, so "
            "sigma_s sigma_t belongs to the covariance.",
            UNSEEN,
        ),
        Wrong(
            "the product of alpha",
            by_factors(lambda a, s, b, r, v: a),
            "You multiply the alpha of all times. What shrinks the map is the correlation of neighbours.",
            UNSEEN,
        ),
        Wrong(
            "the last factor only",
            by_factors(correlation, gather=lambda factors: factors[-1]),
            "You use the step from t = 1 alone. Every step multiplies by its own correlation.",
            UNSEEN,
        ),
        Wrong(
            "the first factor only",
            by_factors(correlation, gather=lambda factors: factors[0]),
            "You use the step next to the data alone. Every step multiplies by its own correlation.",
            UNSEEN,
        ),
        Wrong(
            "the covariance for the correlation",
            by_factors(lambda a, s, b, r, v: a * b * v**2 + s * r),
            "You multiply covariances. Divide each by the two standard deviations.",
            UNSEEN,
        ),
        Wrong(
            "the slope, not the spread",
            by_factors(lambda a, s, b, r, v: (a * b * v**2 + s * r) / (a**2 * v**2 + s**2), begin=lambda v: v),
            "You multiply the slopes Cov / Var(x_t) and then by std. The slopes act on x_1, so multiply by the "
            "standard "
            "deviation of x_1.",
            UNSEEN,
        ),
        Wrong(
            "correlations squared",
            by_factors(lambda a, s, b, r, v: correlation(a, s, b, r, v) ** 2),
            "You multiply squared correlations. That is the factor of the variance; the standard deviation is "
            "asked for.",
            UNSEEN,
        ),
        Wrong(
            "relative to std",
            by_factors(correlation, begin=lambda v: 1.0),
            "You return the spread over std. Multiply by std.",
            UNSEEN,
        ),
        Wrong(
            "nothing shrinks",
            by_factors(lambda a, s, b, r, v: torch.ones_like(a)),
            "You return std itself. That is the limit of many steps; at finite N each mean shrinks the map.",
            UNSEEN,
        ),
        Wrong(
            "std for the variance",
            by_factors(lambda a, s, b, r, v: correlation(a, s, b, r, math.sqrt(v))),
            "You use std where the variance of the data belongs. Square it.",
            UNSEEN,
        ),
        Wrong(
            "data of unit variance",
            by_factors(lambda a, s, b, r, v: correlation(a, s, b, r, 1.0)),
            "You compute the correlations for data with variance 1. The variance is std².",
            UNSEEN,
        ),
        Wrong(
            "two clean pairs",
            by_factors(lambda a, s, b, r, v: a * b * v / ((a**2 * v**2 + s**2) * (b**2 * v**2 + r**2)).sqrt() + s * r),
            "The two parts of your covariance have different units. Both belong over the product of the standard "
            "deviations.",
            UNSEEN,
        ),
    ),
)


# 20.5 mean_velocity_target


def mean_velocity_target(u, V, x, r, t):
    _, rate = torch.func.jvp(lambda x, t: u(x, r, t), (x, t), (V, torch.ones_like(t)))
    return V - (t - r)[:, None] * rate


def mean_velocity_target_by_parts(u, V, x, r, t):
    rows = []
    for i in range(len(x)):

        def of_place(place, i=i):
            return u(place[None], r[i : i + 1], t[i : i + 1])[0]

        def of_time(time, i=i):
            return u(x[i : i + 1], r[i : i + 1], time[None])[0]

        along = torch.func.jacrev(of_place)(x[i]) @ V[i] + torch.func.jacfwd(of_time)(t[i])
        rows.append(V[i] - (t[i] - r[i]) * along)
    return torch.stack(rows)


def mean_velocity_target_truth(u, V, x, r, t):
    """By a central difference along the trajectory, of fourth order."""
    h, span = 2e-3, (t - r)[:, None]
    ahead = [u(x + k * h * V, r, t + k * h) for k in (-2, -1, 1, 2)]
    return V - span * (ahead[0] - 8 * ahead[1] + 8 * ahead[2] - ahead[3]) / (12 * h)


def wave(x, r, t):
    """A mean velocity that is as good as any for a check."""
    return torch.sin(x + 0.5 * t[:, None]) * (1 + 0.3 * r[:, None]) + 0.4 * x.flip(1) * t[:, None] ** 2 + r[:, None] * x


def mean_velocity_cases(g):
    return (
        Case(
            (wave, doubles(1.5)[:, None], doubles(0.4)[:, None], doubles(0.2), doubles(0.7)),
            "one point, r = 0.2, t = 0.7",
        ),
        Case(
            (wave, normals(g, 4, 2), normals(g, 4, 2), doubles(0.1, 0.2, 0.3, 0.0), doubles(0.5, 0.9, 0.4, 1.0)),
            "four points in the plane",
        ),
    )


def along(tangents, last=lambda V, span, rate: V - span * rate):
    """The target with other directions of the derivative: tangents(V, u's value) -> those of x, r and t."""

    def answer(u, V, x, r, t):
        dx, dr, dt = tangents(V, u(x, r, t), torch.ones_like(t))
        _, rate = torch.func.jvp(u, (x, r, t), (dx, dr, dt))
        return last(V, (t - r)[:, None], rate)

    return answer


def right_way(V, value, ones):
    return V, 0 * ones, ones


MEAN_VELOCITY = Exercise(
    id="20.5",
    name="mean_velocity_target",
    stub='''
def mean_velocity_target(u, V, x, r, t):
    """What the mean velocity u(x_t, r, t) between r and t must be: V - (t - r) du/dt, along the trajectory. (B, d)

    u: a function of x, (B, d), r and t, (B,) each. V: (B, d), the velocity dx/dt at (x, t). r < t stays where it is.
    """
    ...  # your code
''',
    solution=mean_velocity_target,
    alternative=mean_velocity_target_by_parts,
    why=(
        "(t - r) u is the displacement between r and t. Its derivative in t is the velocity V at the end:\n"
        "u + (t - r) du/dt = V. The point moves too, so du/dt is V times the slope in x plus the slope in t:\n"
        "one forward derivative."
    ),
    truth=mean_velocity_target_truth,
    cases=mean_velocity_cases,
    hints=(
        "(t - r) u is the way from r to t. Differentiate both sides in t, with r fixed.",
        "du/dt is a total derivative: x moves with the velocity V while t grows with rate 1.",
        "`torch.func.jvp(u, (x, r, t), (V, zeros, ones))` returns the value and this derivative.",
    ),
    wrong=(
        Wrong(
            "x stands still",
            along(lambda V, value, ones: (0 * V, 0 * ones, ones)),
            "You differentiate in t at a fixed place. Along the trajectory x moves too, with the velocity V.",
            UNSEEN,
        ),
        Wrong(
            "t stands still",
            along(lambda V, value, ones: (V, 0 * ones, 0 * ones)),
            "You differentiate along x only. The time t grows too, with rate 1.",
            UNSEEN,
        ),
        Wrong(
            "r moves too",
            along(lambda V, value, ones: (V, ones, ones)),
            "You let r grow together with t. The lower end r stays where it is.",
            UNSEEN,
        ),
        Wrong(
            "r moves in place of t",
            along(lambda V, value, ones: (V, ones, 0 * ones)),
            "Your derivative moves r and keeps t. It is the upper end t that moves.",
            UNSEEN,
        ),
        Wrong(
            "x moves with u",
            along(lambda V, value, ones: (value, 0 * ones, ones)),
            "You move x with the mean velocity u. The trajectory passes x_t with the velocity V.",
            UNSEEN,
        ),
        Wrong(
            "the sign",
            along(right_way, lambda V, span, rate: V + span * rate),
            "You add (t - r) du/dt. From u + (t - r) du/dt = V follows a minus.",
            UNSEEN,
        ),
        Wrong(
            "no factor t - r",
            along(right_way, lambda V, span, rate: V - rate),
            "You leave out t - r. At r = t the mean velocity must be V itself.",
            UNSEEN,
        ),
        Wrong(
            "r - t",
            along(lambda V, value, ones: (-V, 0 * ones, -ones), lambda V, span, rate: -V - span * rate),
            "Time runs the other way in your derivative, and the velocity has the other sign. Here t grows towards the "
            "noise, and V is dx/dt.",
            "papers in which t = 1 is the data",
        ),
        Wrong(
            "V itself",
            lambda u, V, x, r, t: V.clone(),
            "You return V. That is the target of ordinary flow matching, right only for r = t.",
            UNSEEN,
        ),
        Wrong(
            "u for V",
            lambda u, V, x, r, t: u(x, r, t) - (V - along(right_way)(u, V, x, r, t)),
            "You subtract the derivative from u. The target is V minus it.",
            UNSEEN,
        ),
        Wrong(
            "the velocity at r = t",
            lambda u, V, x, r, t: u(x, t, t),
            "You evaluate u at r = t. That is the network's estimate of the velocity, and no target for r < t.",
            UNSEEN,
        ),
        Wrong(
            "divided by t - r",
            along(right_way, lambda V, span, rate: V - rate / span),
            "You divide the derivative by t - r. Multiply.",
            UNSEEN,
        ),
    ),
)


# 20.6 fold


def fold():
    blobs = exact.GaussianMixture(
        torch.tensor([0.3, 0.7]), torch.tensor([[-1.2], [0.9]]), torch.tensor([[[0.25**2]], [[0.4**2]]])
    ).standardised()
    z = torch.linspace(-3, 3, 301, dtype=torch.float64)[:, None]
    weights = torch.softmax(-(z[:, 0] ** 2) / 2, 0)
    truth = exact.line_flow(blobs, schedules.cosine(), z, z.new_ones(()), z.new_zeros(()))
    errors = {}
    for N in (8, 32):
        found = exact.consistency_on_a_line(blobs, schedules.cosine(), z, torch.linspace(1, 0, N + 1))
        errors[N] = float((weights * (found - truth)[:, 0] ** 2).sum().sqrt())
    rate = math.log(errors[8] / errors[32]) / math.log(4)  # error ~ N^-rate
    return 2 ** (1 / rate)


FOLD = Question(
    id="20.6",
    name="fold",
    stub="fold = None  # by which factor must N grow so that the error of consistency training is halved, near N = 16?",
    right=(3.4, 6.0),
    solution=fold,
    why=(
        "In the figure of section 4 the error falls like N to the power -0.5 or a little slower. To halve it, N must\n"
        "grow about fourfold or more. For distillation, of first order, a factor of 2 is enough."
    ),
    hints=(
        "Read two errors of the line `training` from `errors` in section 4, at N = 8 and at N = 32.",
        "The error falls like N to some power -r: r = ln(error ratio) / ln(ratio of N).",
        "The factor is 2 to the power 1 / r.",
    ),
    wrong=(
        WrongValue(
            "the factor of distillation",
            (1.7, 2.3),
            "With a factor of 2 the error would fall like 1 / N, as that of distillation does. The line of training is "
            "flatter. If you divided two errors: that is not yet a factor of N.",
            UNSEEN,
        ),
        WrongValue(
            "second order",
            (1.3, 1.5),
            "A factor of 1.4 would mean an error like 1 / N². Here training is slower than 1 / N, not faster. If you "
            "divided two errors: that is not yet a factor of N.",
            UNSEEN,
        ),
        WrongValue(
            "the power itself",
            (0.3, 0.6),
            "That is the power of N. Ask which factor c makes c to the power -r equal to 1/2.",
            UNSEEN,
        ),
        WrongValue(
            "the ratio of the errors",
            (2.4, 3.0),
            "That is no factor of N. Fit the power r from two points of the line, then compute 2 to the power 1 / r.",
            UNSEEN,
        ),
    ),
)


# 20.7 fault


def fault():
    points = torch.linspace(-2, 2, 5)
    constant = torch.full_like(points, 0.3)  # f(x, t) of the collapsed network, at neighbours x_t and x_s alike
    consistency_loss, boundary_error = (constant - constant).square().mean(), (constant - points).square().mean()
    return "boundary condition" if consistency_loss == 0 and boundary_error > 0 else "learning rate"


FAULT = Question(
    id="20.7",
    name="fault",
    stub='fault = None  # one of: "learning rate", "boundary condition", "random teacher" or "too few steps"',
    right="boundary condition",
    solution=fault,
    why=(
        "A loss near 0 together with samples that agree is the constant map. It is perfectly consistent, and only\n"
        "f(x, 0) = x rules it out. A student of random ends also collapses, but its loss stays near the variance of\n"
        "the data."
    ),
    hints=(
        "Two things are known: the loss is nearly 0, and all samples agree.",
        "Two failures of this notebook end in one point. How large was the loss of each?",
        "Which map makes every consistency loss 0?",
    ),
    choices=("learning rate", "boundary condition", "random teacher", "too few steps"),
    wrong=(
        WrongValue(
            "the learning rate",
            "learning rate",
            "A learning rate that is too large makes a loss rise or jump. Here it fell to 0.",
            UNSEEN,
        ),
        WrongValue(
            "a random teacher",
            "random teacher",
            "The student of random ends also draws one point, but its loss stays at the variance of the data.",
            UNSEEN,
        ),
        WrongValue(
            "too few steps",
            "too few steps",
            "Few steps shrink the map, as exercise 20.4 computes. They do not make all samples agree.",
            UNSEEN,
        ),
    ),
)

ON_PAPER = Explanation(
    id="20.8",
    name="normal data",
    task="Show that consistency training and consistency distillation converge to the same map for normal data.",
    model=(
        "For normal data f(x, t) is linear in x: f(x, 0) = x, and both rules in (4) turn a linear f at s into "
        "a linear f at "
        "t. For a linear f the mean may be drawn inside: E[f(x_s, s) | x_t] = f(E[x_s | x_t], s). The DDIM "
        "step leads to "
        "alpha_s E[x0 | x_t] + sigma_s E[eps | x_t], which is E[x_s | x_t] for x_s of the same pair. So both "
        "rules are the "
        "same. For other data f bends, and Jensen's inequality separates them."
    ),
    look_for=(
        "The map is linear at every time, by induction from f(x, 0) = x.",
        "A mean can be drawn inside a linear function.",
        "The DDIM step ends at E[x_s | x_t] with x_s of the same pair.",
    ),
    hints=(
        "Begin at s = 0, where f(x, 0) = x, and go up one time after another.",
        "E[x_s | x_t] is linear in x_t for normal data.",
        "When is E[f(X)] = f(E[X])?",
    ),
)

OPEN = Explanation(
    id="20.9",
    name="one step only",
    task="A paper reports a one-step model with a loss of 0.003 and shows 16 samples. What do you ask?",
    model=(
        "The loss of a student says nothing by itself: a collapsed consistency model has a loss of 0, a GAN's "
        "loss is the "
        "same for good and bad samples, and the loss of progressive distillation measures the distance to the "
        "teacher's "
        "few steps. Ask for a distance to real data beside its floor, with the number of samples; for the "
        "teacher at 1, 2, 4 "
        "and 8 steps in the same table; for the diversity of the samples given one label; for the number of network "
        "evaluations in training, including those of the teacher; and where possible for the distance to the "
        "teacher's own "
        "end from the same noise."
    ),
    look_for=(
        "The loss of a student or a GAN is no measure of its samples.",
        "The teacher at few steps must stand in the same table.",
        "A distance needs its floor, and sixteen samples show no lack of diversity.",
    ),
    hints=(
        "Which of the losses of this notebook were small although the samples were bad?",
        "What does the teacher draw in 4 steps?",
        "Which map should the student have learned, and can one measure the distance to it?",
    ),
)

EXERCISES = (FLOW_MAP, STEP_TARGET, ENERGY_SCORE, SHRUNK, MEAN_VELOCITY, FOLD, FAULT, ON_PAPER, OPEN)
