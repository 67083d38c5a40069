"""The exercises of notebook 16, flow matching: 16.1 to 16.3 in its flow, 16.4 to 16.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math

import torch
from scipy.integrate import quad
from scipy.optimize import brentq, linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from minidiff import exact, schedules
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, normals, uniform
from minidiff.targets import target

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Flow matching"
STRAIGHT = schedules.rectified_flow()


# 16.1 marginal_velocity


def marginal_velocity(data, x_t, t):
    squares = ((x_t[:, None] - (1 - t) * data) ** 2).sum(dim=2)
    weights = torch.softmax(-squares / (2 * t**2), dim=1)
    return (x_t - weights @ data) / t


def marginal_velocity_pair_by_pair(data, x_t, t):
    x1 = (x_t[:, None, :] - (1 - t) * data[None, :, :]) / t  # the noise that would lead from each data point to x_t
    likelihood = torch.exp(-0.5 * torch.linalg.vector_norm(x1, dim=2) ** 2)
    share = likelihood / likelihood.sum(dim=1, keepdim=True)
    return torch.einsum("bn,bnd->bd", share, x1 - data)


def marginal_velocity_truth(data, x_t, t):
    time = torch.tensor(t, dtype=x_t.dtype)
    x0_hat = exact.finite_denoiser(data, STRAIGHT)(x_t, time)
    return target("velocity", STRAIGHT, x0_hat, (x_t - (1 - time) * x0_hat) / time, time)


def marginal_velocity_cases(g):
    t = uniform(g, 0.6, 0.8)
    return (
        Case((doubles(-1, 2)[:, None], doubles(0.5)[:, None], 0.6), "data at -1 and 2, x_t = 0.5 and t = 0.6"),
        Case((0.5 + normals(g, 20, 2), normals(g, 6, 2), t), f"20 data points and 6 points x_t in the plane, t = {t}"),
    )


def with_weights(weigh, last=lambda x_t, x0_hat, t: (x_t - x0_hat) / t):
    """A velocity from weights of another kind: weigh(x_t - (1 - t) data, (B, N, d), t) -> (B, N)."""

    def answer(data, x_t, t):
        return last(x_t, weigh(x_t[:, None] - (1 - t) * data, t) @ data, t)

    return answer


def right_weights(gap, t):
    return torch.softmax(-(gap**2).sum(2) / (2 * t**2), 1)


def other_way_round(data, x_t, t):
    gap = x_t[:, None] - t * data
    return (torch.softmax(-(gap**2).sum(2) / (2 * (1 - t) ** 2), 1) @ data - x_t) / (1 - t)


def data_not_shrunk(data, x_t, t):
    gap = x_t[:, None] - data
    return (x_t - torch.softmax(-(gap**2).sum(2) / (2 * t**2), 1) @ data) / t


MARGINAL_VELOCITY = Exercise(
    id="16.1",
    name="marginal_velocity",
    stub='''
def marginal_velocity(data, x_t, t):
    """E[x1 - x0 | x_t] on the straight path x_t = (1 - t) x0 + t x1, (B, d). x1 is standard normal noise.

    data: (N, d), the points that x0 may be, all equally likely. x_t: (B, d). t: a number, 0 < t < 1.
    """
    ...  # your code
''',
    solution=marginal_velocity,
    alternative=marginal_velocity_pair_by_pair,
    why=(
        "A pair that passes through x_t has x1 = (x_t - (1 - t) x0) / t, so its velocity is x1 - x0 = (x_t - x0) / t.\n"
        "How likely a pair is, given x_t, follows from Bayes: the density of its noise, normalised over the data."
    ),
    truth=marginal_velocity_truth,
    cases=marginal_velocity_cases,
    hints=(
        "If you know x_t and x0, you know x1. Which velocity does this pair have?",
        "The velocity is the mean over the data of (x_t - x0) / t, with the weights p(x0 | x_t) of notebook 06.",
        "x_t given x0 is normal with mean (1 - t) x0 and standard deviation t: `torch.softmax` of the log-densities.",
    ),
    wrong=(
        Wrong(
            "averaged over all data",
            lambda data, x_t, t: (x_t - data.mean(dim=0)) / t,
            "You average over all data points alike. Only pairs that pass through x_t count, each with its posterior "
            "probability p(x0 | x_t). With this velocity every point ends at the mean of the data.",
            f"{UNSEEN}: section 1, the wrong version",
        ),
        Wrong(
            "the sign",
            with_weights(right_weights, lambda x_t, x0_hat, t: (x0_hat - x_t) / t),
            "Your velocity is x0 - x1, which points from noise to data. In this course time grows towards the noise, "
            "so dx/dt is x1 - x0. A sampler goes against it.",
            "papers on flows, where t = 1 is the data",
        ),
        Wrong(
            "time the other way round",
            other_way_round,
            "You have x_t = t x0 + (1 - t) x1, as in most papers on flows. Here t = 0 is the data and t = 1 the noise.",
            "Lipman et al. 2023, equation 22",
        ),
        Wrong(
            "t for t²",
            with_weights(lambda gap, t: torch.softmax(-(gap**2).sum(2) / (2 * t), 1)),
            "You divide the squares by 2 t. The noise has the standard deviation t, so its variance is t².",
            UNSEEN,
        ),
        Wrong(
            "the 2 is missing",
            with_weights(lambda gap, t: torch.softmax(-(gap**2).sum(2) / t**2, 1)),
            "You divide the squares by t². A normal density has the square over twice the variance in its exponent.",
            UNSEEN,
        ),
        Wrong(
            "the data are not shrunk",
            data_not_shrunk,
            "You measure the distance from x_t to x0. Given x0, x_t lies around (1 - t) x0.",
            UNSEEN,
        ),
        Wrong(
            "distances not squared",
            with_weights(lambda gap, t: torch.softmax(-gap.norm(dim=2) / (2 * t**2), 1)),
            "You put the distance into the exponent. A normal density needs its square.",
            UNSEEN,
        ),
        Wrong(
            "far points count most",
            with_weights(lambda gap, t: torch.softmax((gap**2).sum(2) / (2 * t**2), 1)),
            "The sign in your exponent is wrong: data that are far from x_t get the largest weights.",
            UNSEEN,
        ),
        Wrong(
            "weights over the wrong axis",
            with_weights(lambda gap, t: torch.softmax(-(gap**2).sum(2) / (2 * t**2), 0)),
            "Your weights add up to 1 over the noisy points. For each noisy point they must add up to 1 over the data.",
            UNSEEN,
        ),
        Wrong(
            "weights that do not add up to 1",
            with_weights(lambda gap, t: torch.exp(-(gap**2).sum(2) / (2 * t**2))),
            "Your weights are not normalised. Divide them by their sum over the data, as `torch.softmax` does.",
            UNSEEN,
        ),
        Wrong(
            "the nearest point only",
            with_weights(lambda gap, t: torch.nn.functional.one_hot((gap**2).sum(2).argmin(1), gap.shape[1]).to(gap)),
            "You take the most likely data point only. The velocity is a mean over all of them.",
            UNSEEN,
        ),
        Wrong(
            "not divided by t",
            with_weights(right_weights, lambda x_t, x0_hat, t: x_t - x0_hat),
            "You return x_t - x0_hat. From x0 to x_t only the time t has passed: divide by t.",
            UNSEEN,
        ),
        Wrong(
            "the data, not the velocity",
            with_weights(right_weights, lambda x_t, x0_hat, t: x0_hat),
            "You return E[x0 | x_t], the denoiser. The velocity is E[x1 | x_t] - E[x0 | x_t].",
            UNSEEN,
        ),
        Wrong(
            "the noise, not the velocity",
            with_weights(right_weights, lambda x_t, x0_hat, t: (x_t - (1 - t) * x0_hat) / t),
            "You return E[x1 | x_t], the noise. Subtract E[x0 | x_t].",
            UNSEEN,
        ),
    ),
)


# 16.2 straightness


def straightness(velocity, x0, x1, steps):
    x, energy = x1, 0.0
    for t in torch.linspace(1, 0, steps + 1, dtype=x1.dtype)[:-1]:
        v = velocity(x, t)
        energy = energy + (v**2).sum(dim=1) / steps
        x = x - v / steps
    return (energy - ((x - x1) ** 2).sum(dim=1)).mean()


def straightness_by_means(velocity, x0, x1, steps):
    squares, way = [], torch.zeros_like(x1)
    for i in range(steps):
        now = velocity(x1 - way, torch.tensor(1 - i / steps, dtype=x1.dtype))
        squares.append(now.square().sum())
        way = way + now / steps
    return (sum(squares) / steps - way.square().sum()) / len(x1)


def straightness_truth(velocity, x0, x1, steps):
    """The variance of the velocity over time: how far each point is from keeping its mean velocity."""
    found, here = [], x1.clone()
    for left in range(steps, 0, -1):
        found.append(velocity(here, doubles(left / steps)[0]))
        here = here - found[-1] / steps
    found = torch.stack(found)
    return (found - found.mean(dim=0)).pow(2).sum(dim=2).mean()


def swirl(x, t):
    """A velocity that is as good as any for a check."""
    return torch.cat([x[:, :1] * (1 + t) + 0.3, t * t * x[:, -1:] - 0.5 * x[:, :1]], dim=1)[:, -x.shape[1] :]


def straightness_cases(g):
    shift = doubles(1.5, -0.5)
    return (
        Case((swirl, doubles(0.5)[:, None], doubles(2.0)[:, None], 2), "one pair, x0 = 0.5 and x1 = 2, in 2 steps"),
        Case((swirl, shift + normals(g, 7, 2), normals(g, 7, 2), 5), "seven pairs in the plane, in 5 steps"),
    )


def walked(
    total=lambda squares, x, x0, x1: (squares.mean(0) - ((x - x1) ** 2).sum(1)).mean(),
    *,
    start=lambda x0, x1: x1,
    times=lambda steps: torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1],
    sign=-1,
    at=lambda x, x0, x1, t: x,
    square=lambda v: (v**2).sum(1),
):
    """Straightness with parts exchanged. total: of the squared velocities, (steps, B), and where each point ends."""

    def answer(velocity, x0, x1, steps):
        x, squares = start(x0, x1), []
        for t in times(steps).to(x1):
            v = velocity(at(x, x0, x1, t), t)
            squares.append(square(v))
            x = x + sign * v / steps
        return total(torch.stack(squares), x, x0, x1)

    return answer


STRAIGHTNESS = Exercise(
    id="16.2",
    name="straightness",
    stub='''
def straightness(velocity, x0, x1, steps):
    """S of a flow: the mean over time of |velocity|^2, less the squared displacement |x(0) - x(1)|^2. Mean over points.

    Start at the noise x1, (B, d), and take even Euler steps in t, from 1 down to 0: velocity(x, t) is dx/dt at the
    beginning of a step, and t a tensor (). x0: the data that x1 was paired with. Squares are summed over the d numbers
    of a point. Returns a tensor ().
    """
    ...  # your code
''',
    solution=straightness,
    alternative=straightness_by_means,
    why=(
        "The mean of a square less the square of the mean is a variance: S is the variance of the velocity along a\n"
        "path. It is 0 only if each point keeps its velocity. The data x0 do not enter: the flow ends where it ends."
    ),
    truth=straightness_truth,
    cases=straightness_cases,
    hints=(
        "Keep two things while you walk: the point x, and the sum of the squares of its velocities.",
        "t falls, so a step is `x = x - velocity(x, t) / steps`.",
        "At the end subtract the squared distance from x1 to the point where *the flow* ended.",
        "`torch.linspace(1, 0, steps + 1)[:-1]` are the times at which the steps begin.",
    ),
    wrong=(
        Wrong(
            "the displacement of the pairs",
            walked(lambda squares, x, x0, x1: (squares.mean(0) - ((x0 - x1) ** 2).sum(1)).mean()),
            "You subtract |x0 - x1|² of the pairs. The flow carries x1 somewhere else than to its partner: subtract "
            "the squared displacement of the flow.",
            f"{UNSEEN}: easy to read into Liu et al. 2023",
        ),
        Wrong(
            "along the lines of the pairs",
            walked(
                lambda squares, x, x0, x1: (squares.mean(0) - ((x0 - x1) ** 2).sum(1)).mean(),
                at=lambda x, x0, x1, t: (1 - t) * x0 + t * x1,
            ),
            "You evaluate the velocity on the straight lines between the pairs. Points of the flow leave these lines: "
            "follow the flow from x1.",
            UNSEEN,
        ),
        Wrong(
            "no square",
            walked(lambda squares, x, x0, x1: (squares.mean(0) - (x - x1).norm(dim=1)).mean()),
            "You subtract the length of the displacement. It must be squared, as the velocity is.",
            UNSEEN,
        ),
        Wrong(
            "from t = 0",
            walked(
                lambda squares, x, x0, x1: (squares.mean(0) - ((x - x0) ** 2).sum(1)).mean(),
                start=lambda x0, x1: x0,
                times=lambda steps: torch.linspace(0, 1, steps + 1, dtype=torch.float64)[:-1],
                sign=1,
            ),
            "You start at the data, at t = 0, and walk to the noise. A sampler starts at x1, at t = 1.",
            "papers on flows, where t = 0 is the noise",
        ),
        Wrong(
            "time rises",
            walked(times=lambda steps: torch.linspace(0, 1, steps + 1, dtype=torch.float64)[:-1]),
            "You start at x1, but at t = 0. The noise x1 belongs to t = 1, and t falls from there.",
            "papers on flows, where t = 0 is the noise",
        ),
        Wrong(
            "the wrong direction",
            walked(sign=1),
            "You add the velocity. Time falls by 1 / steps, so the step is minus the velocity over steps.",
            UNSEEN,
        ),
        Wrong(
            "the point never moves",
            walked(at=lambda x, x0, x1, t: x1),
            "You evaluate the velocity at x1 in every step. Evaluate it where the point is now.",
            UNSEEN,
        ),
        Wrong(
            "a step late",
            walked(times=lambda steps: torch.linspace(1, 0, steps + 1, dtype=torch.float64)[1:]),
            "You evaluate the velocity at the time at which a step ends. Euler's method takes the beginning.",
            UNSEEN,
        ),
        Wrong(
            "a mean over the numbers of a point",
            walked(
                lambda squares, x, x0, x1: (squares.mean(0) - ((x - x1) ** 2).mean(1)).mean(),
                square=lambda v: (v**2).mean(1),
            ),
            "You take the mean over the numbers of a point. |v|² is their sum.",
            UNSEEN,
        ),
        Wrong(
            "summed over the points",
            walked(lambda squares, x, x0, x1: (squares.mean(0) - ((x - x1) ** 2).sum(1)).sum()),
            "You sum over the points. S is a mean over them.",
            UNSEEN,
        ),
        Wrong(
            "summed over time",
            walked(lambda squares, x, x0, x1: (squares.sum(0) - ((x - x1) ** 2).sum(1)).mean()),
            "You add up the squares of all steps. The integral over time is their mean: divide by steps.",
            UNSEEN,
        ),
        Wrong(
            "the sign of S",
            walked(lambda squares, x, x0, x1: (((x - x1) ** 2).sum(1) - squares.mean(0)).mean()),
            "Your difference is the wrong way round. The mean of a square is never below the square of the mean.",
            UNSEEN,
        ),
        Wrong(
            "the energy alone",
            walked(lambda squares, x, x0, x1: squares.mean()),
            "You return the mean of |v|². A straight flow has that too: subtract the squared displacement.",
            UNSEEN,
        ),
        Wrong(
            "one mean velocity for all points",
            walked(lambda squares, x, x0, x1: squares.mean() - ((x - x1).mean(0) ** 2).sum()),
            "You square the mean displacement of all points. Square that of each point, then take the mean.",
            UNSEEN,
        ),
    ),
)


# 16.3 pair


def pair(x0, x1):
    costs = torch.cdist(x1, x0) ** 2
    _, columns = linear_sum_assignment(costs.numpy())
    return x0[torch.from_numpy(columns)]


def pair_by_products(x0, x1):
    rows, columns = linear_sum_assignment((x0 @ x1.T).numpy(), maximize=True)
    return x0[torch.from_numpy(rows[columns.argsort()])]


def pair_truth(x0, x1):
    """By another algorithm, for sparse costs; one more everywhere, since a cost of 0 would be no edge."""
    between = 1 + (x1[:, None] - x0[None]).pow(2).sum(2)
    return x0[torch.from_numpy(min_weight_full_bipartite_matching(csr_array(between.numpy()))[1]).long()]


def pair_cases(g):
    few = doubles(-0.9, -0.1, 1.3, 0.4)[:, None], doubles(0.6, 1.5, 0.1, -1.2)[:, None]
    return (
        Case(few, "x0 = -0.9, -0.1, 1.3, 0.4 and x1 = 0.6, 1.5, 0.1, -1.2"),
        Case((0.3 + normals(g, 40, 2), normals(g, 40, 2)), "40 points and 40 noises in the plane"),
    )


def assigned(costs, reorder=lambda x0, x1, rows, columns: x0[columns], most=False):
    """A pairing with another cost: costs(gap, (n, n, d): x1 less x0) -> (n, n)."""

    def answer(x0, x1):
        rows, columns = linear_sum_assignment(costs(x1[:, None] - x0[None]).numpy(), maximize=most)
        return reorder(x0, x1, torch.from_numpy(rows), torch.from_numpy(columns))

    return answer


def square_costs(gap):
    return (gap**2).sum(2)


def greedy(x0, x1):
    left, found = list(range(len(x0))), []
    for noise in x1:
        nearest = min(left, key=lambda i: float(((x0[i] - noise) ** 2).sum()))
        left.remove(nearest)
        found.append(nearest)
    return x0[found]


def by_rank(key):
    """Both sides sorted by a number, and paired by rank."""

    def answer(x0, x1):
        return x0[key(x0).argsort()][key(x1).argsort().argsort()]

    return answer


PAIR = Exercise(
    id="16.3",
    name="pair",
    stub='''
def pair(x0, x1):
    """x0, (B, d), in another order: row by row with x1, (B, d), the sum of |x1 - x0|^2 is as small as it can be.

    Each row of x0 is used exactly once. x1 stays as it is.
    """
    ...  # your code
''',
    solution=pair,
    alternative=pair_by_products,
    why=(
        "`linear_sum_assignment` finds, for each row of a matrix of costs, a column, each once. With x1 in the rows,\n"
        "the columns are the order of x0. |x1|² and |x0|² add up to the same in every order, so the least\n"
        "sum of squares is the largest sum of products x0 · x1."
    ),
    truth=pair_truth,
    cases=pair_cases,
    hints=(
        "How much does it cost to pair row i of x1 with row j of x0? Make the whole matrix, (B, B).",
        "`rows, columns = linear_sum_assignment(costs)` (from scipy.optimize) gives the best column for each row.",
        "If x1 is in the rows of your matrix, `x0[columns]` is the answer. `torch.cdist` gives distances, not squares.",
    ),
    wrong=(
        Wrong(
            "the order is not used",
            lambda x0, x1: x0.clone(),
            "x0 comes back in its old order. `linear_sum_assignment` returns indices: use its second array to reorder "
            "x0.",
            UNSEEN,
        ),
        Wrong(
            "points used twice",
            lambda x0, x1: x0[torch.cdist(x1, x0).argmin(1)],
            "Each noise takes its nearest data point, so some data are used several times and others never. The "
            "marginal of the data is no longer theirs.",
            "a known library draws pairs with replacement",
        ),
        Wrong(
            "noise used twice",
            lambda x0, x1: x0[torch.cdist(x1, x0).argmin(0)],
            "You take, for each data point, the index of the nearest noise, and use it as an index of x0. Use each "
            "row of x0 exactly once.",
            UNSEEN,
        ),
        Wrong(
            "distances not squared",
            assigned(lambda gap: gap.norm(dim=2)),
            "Your cost is the distance. The flow of least |x1 - x0|² needs the square: many short ways may be better "
            "than a few long ones.",
            f"{UNSEEN}: torch.cdist returns distances",
        ),
        Wrong(
            "the sum of absolute differences",
            assigned(lambda gap: gap.abs().sum(2)),
            "Your cost is the sum of the absolute differences. It must be the sum of their squares.",
            UNSEEN,
        ),
        Wrong(
            "the inverse order",
            assigned(square_costs, lambda x0, x1, rows, columns: x0[columns.argsort()]),
            "Your matrix has x0 in the rows, so its columns are rows of x1, but you reorder x0 by them. That is the "
            "inverse order. Put x1 into the rows.",
            UNSEEN,
        ),
        Wrong(
            "the worst pairs",
            assigned(square_costs, most=True),
            "You found the largest sum. Without `maximize=True`, and with costs and not products, it is the smallest.",
            UNSEEN,
        ),
        Wrong(
            "one after the other",
            greedy,
            "Each noise in turn takes the nearest data point that is left. The last ones get what nobody wanted. The "
            "best pairing looks at all at once.",
            UNSEEN,
        ),
        Wrong(
            "sorted by the first coordinate",
            by_rank(lambda x: x[:, 0]),
            "You pair by the rank of the first coordinate. That is right on a line only.",
            UNSEEN,
        ),
        Wrong(
            "sorted by distance from the origin",
            by_rank(lambda x: x.norm(dim=1)),
            "You pair by the distance from the origin, whatever the direction.",
            UNSEEN,
        ),
        Wrong(
            "each coordinate sorted by itself",
            lambda x0, x1: torch.gather(x0.sort(0).values, 0, x1.argsort(0).argsort(0)),
            "You sort each coordinate by itself. Then a row holds numbers of different points, which is no data point.",
            UNSEEN,
        ),
        Wrong(
            "the noise is returned",
            assigned(square_costs, lambda x0, x1, rows, columns: x1[columns]),
            "You return rows of x1. Return the rows of x0, in the order that goes with x1.",
            UNSEEN,
        ),
    ),
)


# 16.4 straight_denoiser


def straight_denoiser(denoise, path, x, t):
    s = schedules.time_at_log_snr(path, 2 * torch.log((1 - t) / t))
    return denoise(x / torch.sqrt((1 - t) ** 2 + t**2), s)


def straight_denoiser_by_signal(denoise, path, x, t):
    s = schedules.time_at_log_snr(path, STRAIGHT.log_snr(t))
    scaled = x / (1 - t)  # x0 + u eps, on every path
    return denoise(path.alpha(s) * scaled, s)


def straight_denoiser_truth(denoise, path, x, t):
    def excess(guess):
        now = doubles(guess)[0]
        return float(path.sigma(now) * (1 - t) - path.alpha(now) * t)

    now = doubles(brentq(excess, path.t_min, 1.0, xtol=1e-15, rtol=1e-14))[0]
    return denoise(x * (path.sigma(now) / t), now)


def curved(x, t):
    """A denoiser that is as good as any for a check."""
    return 0.4 + (0.9 - 0.5 * t) * x + 0.3 * torch.sin(2 * x)


def straight_denoiser_cases(g):
    vp, cosine = schedules.vp_linear(), schedules.cosine()
    t = uniform(g, 0.55, 0.75)
    return (
        Case((curved, vp, doubles(1.0, 2.0)[:, None], doubles(0.3)[0]), "x = 1 and 2, a path `vp_linear`, t = 0.3"),
        Case((curved, cosine, normals(g, 5, 2), doubles(t)[0]), f"five points, a path `cosine`, t = {t}"),
    )


def reread(time=lambda path, t: 2 * torch.log((1 - t) / t), scale=lambda t, x: x / torch.hypot(1 - t, t)):
    """The denoiser with another log-SNR, time(path, t), or another scale."""
    return lambda denoise, path, x, t: denoise(scale(t, x), schedules.time_at_log_snr(path, time(path, t)))


def same_alpha(path, t):
    now = brentq(lambda guess: float(path.alpha(doubles(guess)[0]) - (1 - t)), path.t_min, 1.0, xtol=1e-15)
    return path.log_snr(doubles(now)[0])


STRAIGHT_DENOISER = Exercise(
    id="16.4",
    name="straight_denoiser",
    stub='''
def straight_denoiser(denoise, path, x, t):
    """E[x0 | x_t = x] on the straight path, x_t = (1 - t) x0 + t x1, from a denoiser of another path.

    denoise(x, s) is the denoiser of `path`, on which alpha^2 + sigma^2 = 1. x: (B, d); t: a tensor (), 0 < t < 1.
    """
    ...  # your code
''',
    solution=straight_denoiser,
    alternative=straight_denoiser_by_signal,
    why=(
        "What x_t tells about x0 depends on the log-SNR only. So find the time s at which the other path has the same\n"
        "log-SNR, and bring x to the scale that points have there, where alpha² + sigma² = 1."
    ),
    truth=straight_denoiser_truth,
    cases=straight_denoiser_cases,
    hints=(
        "The two paths differ in clock and scale only (notebook 10). At which time s has `path` the noise of t?",
        "`schedules.time_at_log_snr(path, log_snr)` finds s. On the straight path SNR = ((1 - t) / t)².",
        "At s the point must be alpha(s) x0 + sigma(s) eps. By which factor is x too short?",
    ),
    wrong=(
        Wrong(
            "nothing is translated",
            lambda denoise, path, x, t: denoise(x, t),
            "You evaluate the denoiser at t with x as it is. Clock and scale of the two paths are different.",
            "VinAIResearch/LFM#19",
        ),
        Wrong(
            "the scale stays",
            reread(scale=lambda t, x: x),
            "The time is right, but x is still at the scale of the straight path. There signal and noise are 1 - t and "
            "t, whose squares do not add up to 1.",
            UNSEEN,
        ),
        Wrong(
            "the clock stays",
            reread(time=lambda path, t: path.log_snr(t)),
            "The scale is right, but at the same t the two paths have different amounts of noise. Look for the same "
            "log-SNR.",
            UNSEEN,
        ),
        Wrong(
            "the scale is inverted",
            reread(scale=lambda t, x: x * torch.hypot(1 - t, t)),
            "You multiply by the root where you should divide. On the straight path x is shorter, not longer.",
            UNSEEN,
        ),
        Wrong(
            "the root is missing",
            reread(scale=lambda t, x: x / ((1 - t) ** 2 + t**2)),
            "You divide by the sum of the squares. Lengths scale with its root.",
            UNSEEN,
        ),
        Wrong(
            "only divided by 1 - t",
            reread(scale=lambda t, x: x / (1 - t)),
            "You divide by 1 - t, so the signal has the factor 1. On `path` it has the factor alpha(s).",
            UNSEEN,
        ),
        Wrong(
            "half the log-SNR",
            reread(time=lambda path, t: torch.log((1 - t) / t)),
            "You take ln(alpha / sigma). The log-SNR is ln(alpha² / sigma²), twice as much.",
            "Lu et al. 2022, whose lambda is half of ours",
        ),
        Wrong(
            "the sign of the log-SNR",
            reread(time=lambda path, t: 2 * torch.log(t / (1 - t))),
            "You take the noise over the signal. Log-SNR is the signal, 1 - t, over the noise, t.",
            "papers on flows, where t = 1 is the data",
        ),
        Wrong(
            "the same alpha",
            reread(time=same_alpha),
            "You look for the time at which alpha(s) = 1 - t. With the same alpha the noise is different: what must "
            "agree is the ratio of the two.",
            UNSEEN,
        ),
        Wrong(
            "the answer is scaled too",
            lambda denoise, path, x, t: straight_denoiser(denoise, path, x, t) * torch.hypot(1 - t, t),
            "You scale the result back. x0 is the same on both paths: only x changes its scale.",
            UNSEEN,
        ),
    ),
)


# 16.5 entropic_covariance


def entropic_covariance(a, b, reg):
    return math.sqrt(a * b + (reg / 4) ** 2) - reg / 4


def entropic_covariance_stable(a, b, reg):
    quarter = 0.25 * reg
    return a * b / (quarter + (quarter**2 + a * b) ** 0.5)


def entropic_covariance_truth(a, b, reg):
    """Where the derivative of a + b - 2 c - reg ln(1 - c² / (a b)) / 2 is zero."""
    largest = (a * b) ** 0.5
    return brentq(lambda c: reg * c - 2 * (a * b - c * c), 0.0, largest, xtol=1e-15, rtol=1e-14)


def entropic_covariance_cases(g):
    a, b, reg = uniform(g, 1.6, 2.4), uniform(g, 0.3, 0.5), uniform(g, 1.2, 1.8)
    return (
        Case((1.0, 4.0, 3.0), "a = 1, b = 4 and reg = 3"),
        Case((a, b, reg), f"a = {a}, b = {b} and reg = {reg}"),
    )


ENTROPIC_COVARIANCE = Exercise(
    id="16.5",
    name="entropic_covariance",
    stub='''
def entropic_covariance(a, b, reg):
    """The covariance of x0 and x1 in the coupling that makes E|x1 - x0|^2 + reg KL as small as it can be. A number.

    x0 and x1 are normal numbers of mean 0 and variances a and b. KL: of the coupling from the independent one, which
    for a normal coupling with covariance c is -ln(1 - c^2 / (a b)) / 2.
    """
    ...  # your code
''',
    solution=entropic_covariance,
    alternative=entropic_covariance_stable,
    why=(
        "E|x1 - x0|² = a + b - 2 c. The derivative by c of a + b - 2 c - (reg / 2) ln(1 - c² / (a b)) is zero where\n"
        "c² + (reg / 2) c - a b = 0, and the positive root is the answer. For reg = 0 it is sqrt(a b), optimal\n"
        "transport, and for a large reg it goes to 0, the independent coupling."
    ),
    truth=entropic_covariance_truth,
    cases=entropic_covariance_cases,
    hints=(
        "Write E|x1 - x0|² with a, b and c.",
        "Take the derivative by c of the whole sum and set it to zero. Multiply by a b - c².",
        "c² + (reg / 2) c - a b = 0. Which of its two roots is a covariance that makes pairs closer?",
    ),
    wrong=(
        Wrong(
            "reg taken for the variance",
            lambda a, b, reg: math.sqrt(a * b + (reg / 2) ** 2) - reg / 2,
            "You have reg / 2 where reg / 4 should be. In formulas with the variance sigma² of a Brownian bridge, "
            "reg is 2 sigma².",
            "Tong et al. 2024, section 3: reg = 2 sigma²",
        ),
        Wrong(
            "optimal transport",
            lambda a, b, reg: math.sqrt(a * b),
            "That is the covariance of optimal transport, for reg = 0. The entropy pulls the coupling towards the "
            "independent one.",
            UNSEEN,
        ),
        Wrong(
            "independent",
            lambda a, b, reg: 0.0,
            "That is the independent coupling. It has no KL, but it costs a + b: a little covariance always pays.",
            UNSEEN,
        ),
        Wrong(
            "the sign of reg",
            lambda a, b, reg: math.sqrt(a * b + (reg / 4) ** 2) + reg / 4,
            "You add reg / 4. Your covariance is larger than sqrt(a b), which no coupling can have.",
            UNSEEN,
        ),
        Wrong(
            "the other root",
            lambda a, b, reg: -math.sqrt(a * b + (reg / 4) ** 2) - reg / 4,
            "You took the negative root of the quadratic equation. It lies below -sqrt(a b).",
            UNSEEN,
        ),
        Wrong(
            "pairs far apart",
            lambda a, b, reg: reg / 4 - math.sqrt(a * b + (reg / 4) ** 2),
            "Your covariance is negative, so the pairs are farther apart than independent ones.",
            UNSEEN,
        ),
        Wrong(
            "no square under the root",
            lambda a, b, reg: math.sqrt(a * b + reg / 4) - reg / 4,
            "Under the root stands (reg / 4)². Solve the quadratic equation again.",
            UNSEEN,
        ),
        Wrong(
            "standard deviations",
            lambda a, b, reg: math.sqrt((a * b) ** 2 + (reg / 4) ** 2) - reg / 4,
            "You take a and b for standard deviations. They are variances already.",
            UNSEEN,
        ),
        Wrong(
            "a correlation",
            lambda a, b, reg: (math.sqrt(a * b + (reg / 4) ** 2) - reg / 4) / math.sqrt(a * b),
            "You return the correlation. The covariance is sqrt(a b) times as large.",
            UNSEEN,
        ),
        Wrong(
            "reg to first order",
            lambda a, b, reg: math.sqrt(a * b) - reg / 4,
            "That is the first order for small reg. Solve the quadratic equation.",
            UNSEEN,
        ),
        Wrong(
            "the 2 of the cost is forgotten",
            lambda a, b, reg: math.sqrt(a * b + (reg / 8) ** 2) - reg / 8,
            "You have reg / 8. Count the factors again: the cost has -2 c, and the KL has a half.",
            UNSEEN,
        ),
    ),
)


# 16.6 least_loss


def least_loss():
    std = 0.2

    def variance(t):  # of x1 - x0 given x_t, for normal data: Var(x1 - x0) less what x_t explains
        of_x_t = (1 - t) ** 2 * std**2 + t**2
        shared = t - (1 - t) * std**2
        return 1 + std**2 - shared**2 / of_x_t

    return quad(variance, 0, 1)[0]


LEAST_LOSS = Question(
    id="16.6",
    name="least_loss",
    stub="least_loss = None  # the loss of the perfect velocity for numbers x0 from N(0, 0.04), to two digits",
    right=(0.30, 0.33),
    solution=least_loss,
    why=(
        "The loss cannot fall below the variance of x1 - x0 given x_t. Its mean over t is pi std / 2, and here std is\n"
        "0.2. A loss that stops at 0.31 is a loss that has nothing left to learn."
    ),
    hints=(
        "Section 2 has a formula for normal data of standard deviation std.",
        "The variance is 0.04. What is the standard deviation?",
        "pi times std, over 2.",
    ),
    wrong=(
        WrongValue(
            "no loss",
            (-0.01, 0.02),
            "Zero would need a network that knows x1 - x0 from x_t alone. Many pairs pass through one x_t.",
            UNSEEN,
        ),
        WrongValue(
            "the variance for the standard deviation",
            (0.055, 0.07),
            "You put the variance into the formula. It needs the standard deviation, 0.2.",
            UNSEEN,
        ),
        WrongValue(
            "the straightness",
            (0.08, 0.09),
            "That is the straightness of the flow, (2 - pi / 2) std. The loss that is left is another entry of the "
            "books.",
            UNSEEN,
        ),
        WrongValue(
            "half of it",
            (0.15, 0.165),
            "That is pi std / 4. Integrate over the whole time, from 0 to 1.",
            UNSEEN,
        ),
        WrongValue(
            "the spread of the data",
            (0.195, 0.205),
            "That is the standard deviation of the data. The uncertainty of the noise counts as well.",
            UNSEEN,
        ),
        WrongValue(
            "what the flow carries",
            (0.62, 0.66),
            "That is the transport, (1 - std)². The loss that is left is another entry of the books.",
            UNSEEN,
        ),
        WrongValue(
            "a network that knows nothing",
            (1.0, 1.08),
            "That is the loss of a network that always predicts 0, the cost of the coupling. x_t tells a lot.",
            UNSEEN,
        ),
        WrongValue(
            "data of variance 1",
            (1.5, 1.6),
            "That is pi / 2, for data of standard deviation 1.",
            UNSEEN,
        ),
        WrongValue(
            "two dimensions",
            (0.6, 0.6199),
            "You count two numbers for each point. Here x0 is a single number.",
            UNSEEN,
        ),
    ),
)


# 16.7 on paper, 16.8 open

ROTATION = Explanation(
    id="16.7",
    name="a rotation",
    task="Noise x1 in the plane is paired with x0 = R x1, turned by 90 degrees: find all four entries of the books.",
    model=(
        "R x1 is standard normal as well, so both marginals are right. On the straight path x_t = ((1 - t) R + t) x1. "
        "This matrix can be inverted for every t, so x_t determines the pair, and the loss L is 0. Each point keeps "
        "the velocity x1 - R x1, so S is 0. The coupling costs E|x1 - R x1|² = 2 (1 - cos 90°) E|x1|² = 4, and all of "
        "it is transport: C = 4. Optimal transport between two equal distributions costs 0: leave each point "
        "where it is. So a flow can be perfectly straight, with nothing left for reflow to "
        "do, and as far from optimal as that. At 180 degrees all lines pass through the origin at t = 1/2, the matrix "
        "is 0 there, and the argument fails."
    ),
    look_for=(
        "Both marginals are standard normal.",
        "Only one pair passes through x_t, so L and S are 0 and reflow changes nothing.",
        "C is 4, and optimal transport costs 0.",
    ),
    hints=(
        "Write x_t as a matrix times x1. Can you get x1 back from x_t?",
        "If x_t determines the pair, what is the variance of x1 - x0 given x_t?",
        "The books must balance: what is left for C?",
    ),
)

LOWER_LOSS = Explanation(
    id="16.8",
    name="a lower loss",
    task="A colleague pairs by optimal transport in blocks, and the loss falls from 2.6 to 0.2: is the model better?",
    model=(
        "The loss says nothing about that. Its floor is the variance of x1 - x0 given x_t, and this floor belongs to "
        "the coupling. With better pairs fewer of them cross, so x_t determines the velocity almost, and a perfect "
        "network has a loss near 0. The network of the independent coupling may be as close to its own floor. To "
        "compare the two, compare samples at equal numbers of evaluations, with the floor of the distance beside them. "
        "What may be compared between losses is the distance of each from the floor of its own coupling."
    ),
    look_for=(
        "The floor of the loss depends on the coupling.",
        "A loss may be compared with its own floor only.",
        "Samples are compared at equal numbers of evaluations.",
    ),
    hints=(
        "What is the loss of a perfect network, for each coupling?",
        "Which entry of the books does a coupling change?",
        "What would you measure in place of the loss?",
    ),
)

EXERCISES = (
    *(MARGINAL_VELOCITY, STRAIGHTNESS, PAIR),
    *(STRAIGHT_DENOISER, ENTROPIC_COVARIANCE, LEAST_LOSS, ROTATION, LOWER_LOSS),
)
