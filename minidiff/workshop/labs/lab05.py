"""Lab 05, forward diffusion: after notebook 05."""

import math
from itertools import pairwise

import torch

from minidiff.checks.records import RNG, Case, Exercise, Wrong
from minidiff.checks.views import UNSEEN, means, moments_of, normal
from minidiff.workshop.labs.hidden import between
from minidiff.workshop.labs.records import Lab, Plot, Problem, Variant

__all__ = ["LAB"]

POINTS = 250  # in the public case


def hidden_cloud(g, n=100, d=2):
    """Points far from the origin, so that wrong factors show. (n, d), float64."""
    return 10 - 20 * torch.arange(d, dtype=torch.float64) + 4 * torch.randn(n, d, generator=g, dtype=torch.float64)


# step: a step of the forward process, but with a beta for each axis, or around a variance that is not 1


def step_by_axis(x, betas, g):
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return torch.sqrt(1 - betas) * x + torch.sqrt(betas) * z


def step_by_axis_in_columns(x, betas, g):
    columns = []
    for axis, beta in enumerate(betas.tolist()):
        z = torch.empty_like(x[:, axis]).normal_(generator=g)
        columns.append((1 - beta) ** 0.5 * x[:, axis] + beta**0.5 * z)
    return torch.stack(columns, dim=1)


def step_by_axis_truth(x, betas, g):  # from the law: independent normals
    return torch.normal((1 - betas) ** 0.5 * x, betas.sqrt().expand(x.shape), generator=g)


def step_by_axis_cases(g):
    betas = torch.tensor([between(g, 0.1, 0.2), between(g, 0.3, 0.45), between(g, 0.6, 0.8)], dtype=torch.float64)
    plain = torch.tensor([0.1, 0.4], dtype=torch.float32)
    return (
        Case((torch.ones(POINTS, 2), plain, RNG), f"x = (1, 1) ({POINTS} times) and betas = (0.1, 0.4)"),
        Case((hidden_cloud(g, d=3), betas, RNG), "hidden points with three axes"),
    )


def step_by_axis_view(out, x, betas):
    mean = torch.sqrt(1 - betas) * x
    first, last = ((out - mean)[..., axis] ** 2 for axis in (0, -1))
    alone = {"the variance of the noise on the first axis": first, "the variance of the noise on the last axis": last}
    return moments_of(out, mean, x) | means(alone)


STEP_BY_AXIS = Exercise(
    id="lab05.step.axes",
    name="step_by_axis",
    stub='''
def step_by_axis(x, betas, g):
    """One step of the forward process, x (n, d), with a beta of its own for each axis, betas (d,)."""
    ...  # your code
''',
    solution=step_by_axis,
    alternative=step_by_axis_in_columns,
    why="Each axis is a forward process of its own: it keeps sqrt(1 - beta) of x, and its noise has variance beta.",
    truth=step_by_axis_truth,
    cases=step_by_axis_cases,
    view=step_by_axis_view,
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "betas for their roots",
            lambda x, betas, g: torch.sqrt(1 - betas) * x + betas * normal(x, g),
            "You multiply the noise by beta. But beta is a variance, and noise is multiplied by a standard deviation.",
            "Y-debug-sys/Diffusion-TS#135",
        ),
        Wrong(
            "no root before x",
            lambda x, betas, g: (1 - betas) * x + torch.sqrt(betas) * normal(x, g),
            "You multiply x by 1 - beta, and so its variance by (1 - beta)². The factor of x needs a root as well.",
            "ermongroup/CSDI#9",
        ),
        Wrong(
            "the mean of the betas",
            lambda x, betas, g: torch.sqrt(1 - betas.mean()) * x + torch.sqrt(betas.mean()) * normal(x, g),
            "You take the mean of the betas for all axes. Each axis has its own.",
            UNSEEN,
        ),
        Wrong(
            "one noise for all axes",
            lambda x, betas, g: torch.sqrt(1 - betas) * x + torch.sqrt(betas) * normal(x[:, :1], g),
            "Each point gets one number as noise, which is used on all axes. Draw noise of the shape of x.",
            "broadcasting of (n, 1)",
        ),
        Wrong(
            "uniform noise",
            lambda x, betas, g: (
                torch.sqrt(1 - betas) * x + torch.sqrt(betas) * torch.rand(x.shape, generator=g, dtype=x.dtype)
            ),
            "Your noise is uniform between 0 and 1, so its mean is not 0. The normal distribution is `torch.randn`.",
            "acids-ircam/diffusion_models#8",
        ),
        Wrong(
            "one noise for all points",
            lambda x, betas, g: torch.sqrt(1 - betas) * x + torch.sqrt(betas) * normal(x[:1], g),
            "All points get the same noise, because you draw it for one point only. Draw noise of the shape of x.",
            "jolibrain/joliGEN#527",
        ),
    ),
)


def step_around(x, beta, v, g):
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return math.sqrt(1 - beta) * x + math.sqrt(beta * v) * z


def step_around_in_place(x, beta, v, g):
    return torch.empty_like(x).normal_(0, (v * beta) ** 0.5, generator=g).add_(x, alpha=(1 - beta) ** 0.5)


def step_around_truth(x, beta, v, g):  # the variance that is missing from v after shrinking
    kept = (1 - beta) ** 0.5
    return torch.normal(kept * x, torch.full_like(x, (v - kept**2 * v) ** 0.5), generator=g)


def step_around_cases(g):
    beta, v = between(g, 0.2, 0.4), between(g, 2.0, 4.0)
    return (
        Case((torch.ones(POINTS, 1), 0.2, 4.0, RNG), f"x = 1 ({POINTS} times), beta = 0.2 and v = 4"),
        Case((hidden_cloud(g), beta, v, RNG), "hidden points in the plane"),
    )


STEP_AROUND = Exercise(
    id="lab05.step.variance",
    name="step_around",
    stub='''
def step_around(x, beta, v, g):
    """One step that leaves a cloud of variance v per axis at variance v: x is multiplied by sqrt(1 - beta)."""
    ...  # your code
''',
    solution=step_around,
    alternative=step_around_in_place,
    why="Shrinking leaves (1 - beta) v of the variance, so the noise must bring beta v.",
    truth=step_around_truth,
    cases=step_around_cases,
    view=lambda out, x, beta, v: moments_of(out, math.sqrt(1 - beta) * x, x),
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "noise of variance beta",
            lambda x, beta, v, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * normal(x, g),
            "Your noise has variance beta, so the cloud ends at variance 1, not at v.",
            UNSEEN,
        ),
        Wrong(
            "v for its root",
            lambda x, beta, v, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * v * normal(x, g),
            "You multiply the noise by v. But v is a variance, and noise is multiplied by a standard deviation.",
            UNSEEN,
        ),
        Wrong(
            "no root at all before the noise",
            lambda x, beta, v, g: math.sqrt(1 - beta) * x + beta * v * normal(x, g),
            "You multiply the noise by beta v, which is its variance. A factor before noise is a standard deviation.",
            "Y-debug-sys/Diffusion-TS#135",
        ),
        Wrong(
            "noise that fills up to 1 + v",
            lambda x, beta, v, g: math.sqrt(1 - beta) * x + math.sqrt(v) * normal(x, g),
            "Your noise has the whole variance v, but sqrt(1 - beta) x has kept (1 - beta) v of it already.",
            UNSEEN,
        ),
        Wrong(
            "uniform noise",
            lambda x, beta, v, g: (
                math.sqrt(1 - beta) * x
                + math.sqrt(12 * beta * v) * (torch.rand(x.shape, generator=g, dtype=x.dtype) - 0.5)
            ),
            "Your noise has the right mean and variance, but it is uniform: its fourth moment is 1.8 times the square "
            "of its variance, and not 3 times.",
            "notebook 05, section 2",
        ),
    ),
)

STEP = Problem(
    name="step",
    points=3,
    variants=(
        Variant(
            STEP_BY_AXIS,
            "In notebook 05 one number $\\beta$ served all axes. Now each axis $i$ has its own $\\beta_i$. Write one "
            "step of the forward process, such that an axis on which the data have mean 0 and variance 1 keeps both.",
            "notebook 05, section 3",
        ),
        Variant(
            STEP_AROUND,
            "In notebook 05 the data had variance 1. Now they have mean 0 and variance $v$ on each axis. Write one "
            "step that multiplies $x$ by $\\sqrt{1-\\beta}$ and adds normal noise, such that they keep variance $v$. "
            "Both $\\beta$ and $v$ are numbers.",
            "notebook 05, section 3",
        ),
    ),
)


# jump: many steps at once, but from a step that is not the first, or to a step that each point has for itself


def law_of_steps(betas):
    """The factor and the variance of a chain with these betas, one step after another."""
    factor, variance = 1.0, 0.0
    for beta in betas:
        factor, variance = math.sqrt(1 - beta) * factor, (1 - beta) * variance + beta
    return factor, variance


def jump_between(x, j, k, betas, g):
    kept = float((1 - betas[j:k]).prod())
    eps = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return math.sqrt(kept) * x + math.sqrt(1 - kept) * eps


def jump_between_with_a_table(x, j, k, betas, g):
    alpha_bar = [1.0, *torch.cumprod(1 - betas, dim=0).tolist()]
    ratio = alpha_bar[k] / alpha_bar[j]
    return torch.empty_like(x).normal_(generator=g) * (1 - ratio) ** 0.5 + x * ratio**0.5


def jump_between_truth(x, j, k, betas, g):
    factor, variance = law_of_steps(betas.tolist()[j:k])
    return torch.normal(factor * x, torch.full_like(x, math.sqrt(variance)), generator=g)


def jump_between_cases(g):
    plain = torch.tensor([0.1, 0.3, 0.2, 0.4, 0.5], dtype=torch.float64)
    table = 0.05 + 0.1 * torch.rand(9, generator=g, dtype=torch.float64)
    table[3], table[4], table[6], table[7] = 0.4, 0.3, 0.35, 0.25  # so that the steps at both ends are unlike others
    return (
        Case(
            (torch.ones(POINTS, 1), 2, 4, plain, RNG),
            f"x = 1 ({POINTS} times), j = 2, k = 4 and betas = 0.1, 0.3, 0.2, 0.4, 0.5",
        ),
        Case((hidden_cloud(g), 4, 7, table, RNG), "hidden points in the plane and a hidden table of betas"),
    )


def jump_from_the_data(x, j, k, betas, g):
    kept = (1 - betas[:k]).prod()
    return torch.sqrt(kept) * x + torch.sqrt(1 - kept) * normal(x, g)


def jump_with_step_j(x, j, k, betas, g):
    kept = (1 - betas[j - 1 : k]).prod()
    return torch.sqrt(kept) * x + torch.sqrt(1 - kept) * normal(x, g)


def jump_one_step_short(x, j, k, betas, g):
    kept = (1 - betas[j : k - 1]).prod()
    return torch.sqrt(kept) * x + torch.sqrt(1 - kept) * normal(x, g)


def jump_without_a_root(x, j, k, betas, g):
    kept = (1 - betas[j:k]).prod()
    return kept * x + torch.sqrt(1 - kept) * normal(x, g)


def jump_with_a_sum(x, j, k, betas, g):
    kept = (1 - betas[j:k]).prod()
    return torch.sqrt(kept) * x + torch.sqrt(betas[j:k].sum()) * normal(x, g)


def jump_with_all_noise(x, j, k, betas, g):
    kept, alpha_bar = (1 - betas[j:k]).prod(), (1 - betas[:k]).prod()
    return torch.sqrt(kept) * x + torch.sqrt(1 - alpha_bar) * normal(x, g)


def jump_with_a_difference(x, j, k, betas, g):
    earlier, later = (1 - betas[:j]).prod(), (1 - betas[:k]).prod()
    return torch.sqrt(later / earlier) * x + torch.sqrt(earlier - later) * normal(x, g)


JUMP_BETWEEN = Exercise(
    id="lab05.jump.between",
    name="jump_between",
    stub='''
def jump_between(x, j, k, betas, g):
    """x_k at once, from x = x_j, of the same shape and dtype; 1 <= j < k. betas (T,): betas[0] belongs to step 1."""
    ...  # your code
''',
    solution=jump_between,
    alternative=jump_between_with_a_table,
    why="Only steps j + 1 to k are taken, and their factors 1 - beta multiply up to alpha_bar_k / alpha_bar_j.",
    truth=jump_between_truth,
    cases=jump_between_cases,
    view=lambda out, x, j, k, betas: moments_of(out, law_of_steps(betas.tolist()[j:k])[0] * x, x),
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "a jump from the data",
            jump_from_the_data,
            "You jump as if x were the data: your product begins at step 1. But x has taken j steps already.",
            UNSEEN,
        ),
        Wrong(
            "step j once more",
            jump_with_step_j,
            "You take step j a second time. x is what came out of step j, so the first step to take is the next one.",
            "off by one",
        ),
        Wrong(
            "one step short",
            jump_one_step_short,
            "You stop one step early: step k is missing. A slice leaves out its upper end, and betas[0] is step 1.",
            "off by one",
        ),
        Wrong(
            "no root before x",
            jump_without_a_root,
            "You multiply x by the share of the variance that is left. The factor of x is the root of that share.",
            "labmlai/annotated_deep_learning_paper_implementations#152",
        ),
        Wrong(
            "the noise of the whole way",
            jump_with_all_noise,
            "Your noise has the variance 1 - alpha_bar_k of the whole way from the data. A part of it is in x already.",
            UNSEEN,
        ),
        Wrong(
            "a difference of alpha_bars",
            jump_with_a_difference,
            "Your noise has the variance alpha_bar_j - alpha_bar_k. That difference forgets that the jump also shrinks "
            "the noise which x already has, and this has to be made up for.",
            UNSEEN,
        ),
        Wrong(
            "a sum of betas",
            jump_with_a_sum,
            "You add up the betas for the variance of your noise. Each later step shrinks the noise of the earlier "
            "ones, so less is left.",
            "notebook 05, section 7",
        ),
    ),
)


def jump_each(x0, ks, betas, g):
    alpha_bar = torch.cat([torch.ones(1, dtype=betas.dtype), (1 - betas).cumprod(dim=0)])
    left = alpha_bar[ks][:, None]
    return torch.sqrt(left) * x0 + torch.sqrt(1 - left) * torch.randn(x0.shape, generator=g, dtype=x0.dtype)


def jump_each_by_walking(x0, ks, betas, g):
    x = x0
    for k, beta in enumerate(betas.tolist(), start=1):
        z = torch.randn(x.shape, generator=g, dtype=x.dtype)
        x = torch.where(ks[:, None] >= k, math.sqrt(1 - beta) * x + math.sqrt(beta) * z, x)
    return x


def laws_of_points(ks, betas):
    """The factor and the standard deviation of each point, two (n, 1)."""
    laws = [law_of_steps(betas.tolist()[:k]) for k in range(len(betas) + 1)]
    factors, variances = torch.tensor(laws, dtype=betas.dtype)[ks].T
    return factors[:, None], torch.sqrt(variances)[:, None]


def jump_each_truth(x0, ks, betas, g):
    factor, std = laws_of_points(ks, betas)
    return torch.normal(factor * x0, std.expand(x0.shape), generator=g)


def jump_each_cases(g):
    plain = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float32)
    table = 0.05 + 0.3 * torch.rand(8, generator=g, dtype=torch.float64)
    return (
        Case(
            (torch.ones(POINTS, 1), torch.arange(POINTS) % 5, plain, RNG),
            f"x0 = 1 ({POINTS} times), ks = 0, 1, 2, 3, 4 again and again, and betas = 0.1, 0.2, 0.3, 0.4, 0.5",
        ),
        Case(
            (hidden_cloud(g), torch.randint(0, 8, (100,), generator=g), table, RNG),
            "hidden points in the plane, each with a step of its own",
        ),
    )


def jump_each_view(out, x0, ks, betas):
    factor, _ = laws_of_points(ks, betas)
    mean = factor.double() * x0.double()
    by_step = {"the mean product of k and the square of the noise": ks[:, None] * (out - mean) ** 2}
    return moments_of(out, mean, x0.double()) | means(by_step)


def each_one_too_far(x0, ks, betas, g):
    left = (1 - betas).cumprod(dim=0)[ks][:, None]
    return torch.sqrt(left) * x0 + torch.sqrt(1 - left) * normal(x0, g)


def each_with_a_last_step(x0, ks, betas, g):
    left = (1 - betas).cumprod(dim=0)[ks - 1][:, None]
    return torch.sqrt(left) * x0 + torch.sqrt(1 - left) * normal(x0, g)


def all_at_one_step(x0, ks, betas, g):
    left = (1 - betas[: int(ks[-1])]).prod()
    return torch.sqrt(left) * x0 + torch.sqrt(1 - left) * normal(x0, g)


def each_by_one_beta(x0, ks, betas, g):
    left = torch.cat([torch.ones(1, dtype=betas.dtype), 1 - betas])[ks][:, None]
    return torch.sqrt(left) * x0 + torch.sqrt(1 - left) * normal(x0, g)


def each_without_a_root(x0, ks, betas, g):
    left = torch.cat([torch.ones(1, dtype=betas.dtype), (1 - betas).cumprod(dim=0)])[ks][:, None]
    return torch.sqrt(left) * x0 + (1 - left) * normal(x0, g)


def each_with_one_noise(x0, ks, betas, g):
    left = torch.cat([torch.ones(1, dtype=betas.dtype), (1 - betas).cumprod(dim=0)])[ks][:, None]
    return torch.sqrt(left) * x0 + torch.sqrt(1 - left) * normal(x0[:1], g)


JUMP_EACH = Exercise(
    id="lab05.jump.each",
    name="jump_each",
    stub='''
def jump_each(x0, ks, betas, g):
    """Each point i at its own step ks[i], from x0 (n, d) at once, of the same shape and dtype.

    ks: (n,), whole numbers from 0 to T. betas: (T,), of the dtype of x0; betas[0] belongs to step 1.
    """
    ...  # your code
''',
    solution=jump_each,
    alternative=jump_each_by_walking,
    why="A table of T + 1 values begins with 1, and a column of factors meets the points row by row.",
    truth=jump_each_truth,
    cases=jump_each_cases,
    view=jump_each_view,
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "one step too far",
            each_one_too_far,
            "All your points are one step too far: entry 0 of your cumulative product belongs to step 1, and step 0 is "
            "the data.",
            "off by one",
        ),
        Wrong(
            "the last entry for step 0",
            each_with_a_last_step,
            "Your points of step 0 come out as noise. Their index is -1, and that is the last entry of the table.",
            UNSEEN,
        ),
        Wrong(
            "one step for all points",
            all_at_one_step,
            "You bring all points to one and the same step. Each has its own.",
            "catalogue of the course, 07 N1: one t for the batch",
        ),
        Wrong(
            "the last beta alone",
            each_by_one_beta,
            "You use the beta of step k alone, and none of the steps before it. What is left is a product over all.",
            "ermongroup/ddim#44",
        ),
        Wrong(
            "no root before the noise",
            each_without_a_root,
            "You multiply the noise by 1 - alpha_bar, which is its variance. A factor before noise is a standard "
            "deviation.",
            "labmlai/annotated_deep_learning_paper_implementations#152",
        ),
        Wrong(
            "one noise for all points",
            each_with_one_noise,
            "All points get the same noise, because you draw it for one point only. Draw noise of the shape of x0.",
            "jolibrain/joliGEN#527",
        ),
    ),
)

JUMP = Problem(
    name="jump",
    points=3,
    variants=(
        Variant(
            JUMP_BETWEEN,
            "The points $x$ have already taken $j$ steps of the forward process with the given $\\beta$, so they are "
            "$x_j$. Bring them to step $k > j$ at once, with a single draw of noise of the shape of $x$, such that "
            "the result has the distribution of $x_k$ given $x_j$. As in notebook 05, step $i$ has the variance "
            "$\\beta_i$, which stands in `betas[i - 1]`.",
            "notebook 05, section 4",
        ),
        Variant(
            JUMP_EACH,
            "To train a model one needs every point of a batch at a step of its own. Point $i$, row $i$ of `x0`, is to "
            "arrive at step $k_i$, which stands in `ks[i]`, with the distribution of $x_{k_i}$ given $x_0$. Step 0 is "
            "the data, unchanged. As in notebook 05, step $k$ has the variance $\\beta_k$, which stands in "
            "`betas[k - 1]`.",
            "notebook 05, section 4",
        ),
    ),
)


# chain: the mean and the variance of a chain that need not keep the variance at 1


def end_of_chain(m, v, keeps, stds):
    for c, s in zip(keeps.tolist(), stds.tolist(), strict=True):
        m, v = c * m, c**2 * v + s**2
    return m, v


def end_of_chain_at_once(m, v, keeps, stds):
    after = torch.cat([keeps.flip(0).cumprod(0).flip(0)[1:], torch.ones(1, dtype=keeps.dtype)])
    whole = keeps.prod()
    return whole * m, whole**2 * v + (after**2 * stds**2).sum()


def law_of_vector(m, v, keeps, noises):
    """The last entry of the Gaussian vector (x_0, ..., x_T) that solves x_k - c_k x_{k-1} = noise of this variance."""
    size = len(keeps) + 1
    solve = torch.linalg.inv(torch.eye(size, dtype=torch.float64) - torch.diag(keeps, -1))
    start = torch.tensor([v], dtype=torch.float64)
    covariance = solve @ torch.diag(torch.cat([start, noises])) @ solve.T
    return m * solve[-1, 0], covariance[-1, -1]


def end_of_chain_truth(m, v, keeps, stds):
    return law_of_vector(m, v, keeps, stds**2)


def end_of_chain_cases(g):
    plain = torch.tensor([0.9, 0.8], dtype=torch.float64), torch.tensor([0.3, 0.5], dtype=torch.float64)
    keeps = 0.7 + 0.5 * torch.rand(6, generator=g, dtype=torch.float64)
    stds = 0.2 + 0.5 * torch.rand(6, generator=g, dtype=torch.float64)
    return (
        Case((2.0, 3.0, *plain), "m = 2, v = 3, keeps = (0.9, 0.8) and stds = (0.3, 0.5)"),
        Case((between(g, -3, -1), between(g, 1.5, 2.5), keeps, stds), "a hidden start and a longer chain"),
    )


def standard_deviations_added(m, v, keeps, stds):
    spread = v**0.5
    for c, s in zip(keeps.tolist(), stds.tolist(), strict=True):
        m, spread = c * m, c * spread + s
    return m, spread**2


def factor_not_squared(m, v, keeps, stds):
    for c, s in zip(keeps.tolist(), stds.tolist(), strict=True):
        m, v = c * m, c * v + s**2
    return m, v


def std_for_variance(m, v, keeps, stds):
    for c, s in zip(keeps.tolist(), stds.tolist(), strict=True):
        m, v = c * m, c**2 * v + s
    return m, v


def noise_alone(m, v, keeps, stds):
    v = 0.0
    for c, s in zip(keeps.tolist(), stds.tolist(), strict=True):
        m, v = c * m, c**2 * v + s**2
    return m, v


END_OF_CHAIN = Exercise(
    id="lab05.chain.after",
    name="end_of_chain",
    stub='''
def end_of_chain(m, v, keeps, stds):
    """Mean and variance of x_T, two numbers, for x_0 of mean m and variance v. keeps, stds: (T,), c_k and s_k."""
    ...  # your code
''',
    solution=end_of_chain,
    alternative=end_of_chain_at_once,
    why="A step multiplies the mean by c and the variance by c², and then adds the variance s² of its noise.",
    truth=end_of_chain_truth,
    cases=end_of_chain_cases,
    parts=("the mean", "the variance"),
    hints=(),
    wrong=(
        Wrong(
            "s for s²",
            std_for_variance,
            "You add s to the variance. But s is the standard deviation of the noise, and what adds up are variances.",
            "NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "c for c²",
            factor_not_squared,
            "You multiply the variance by c. A factor multiplies a variance by its square.",
            "ermongroup/CSDI#9",
        ),
        Wrong(
            "standard deviations added",
            standard_deviations_added,
            "You add standard deviations. x and its noise are independent, so their variances add up.",
            UNSEEN,
        ),
        Wrong(
            "what is missing from 1",
            lambda m, v, keeps, stds: (keeps.prod() * m, keeps.prod() ** 2 * v + 1 - keeps.prod() ** 2),
            "You fill the variance up to 1, as alpha_bar v + 1 - alpha_bar does. That is right where c² + s² = 1 at "
            "every step, and here it need not be.",
            "notebook 05, section 3",
        ),
        Wrong(
            "noise that does not shrink",
            lambda m, v, keeps, stds: (keeps.prod() * m, keeps.prod() ** 2 * v + (stds**2).sum()),
            "You add the noise of all steps in full. But the later steps multiply the noise of the earlier ones too.",
            UNSEEN,
        ),
        Wrong(
            "the data forgotten",
            noise_alone,
            "Your variance is that of the noise alone: it starts at 0. The data have the variance v, and a part of it "
            "is left.",
            UNSEEN,
        ),
    ),
)


def end_of_shaken(m, v, keeps, betas):
    for c, beta in zip(keeps.tolist(), betas.tolist(), strict=True):
        m, v = c * m, c**2 * (v + beta)
    return m, v


def end_of_shaken_at_once(m, v, keeps, betas):
    onward = keeps.flip(0).cumprod(0).flip(0)  # what multiplies the noise of step k until the end
    return onward[0] * m, onward[0] ** 2 * v + onward**2 @ betas


def end_of_shaken_truth(m, v, keeps, betas):
    return law_of_vector(m, v, keeps, keeps**2 * betas)


def end_of_shaken_cases(g):
    plain = torch.tensor([0.9, 0.8], dtype=torch.float64), torch.tensor([0.3, 0.5], dtype=torch.float64)
    keeps = 0.7 + 0.5 * torch.rand(6, generator=g, dtype=torch.float64)
    betas = 0.2 + 0.5 * torch.rand(6, generator=g, dtype=torch.float64)
    return (
        Case((2.0, 3.0, *plain), "m = 2, v = 3, keeps = (0.9, 0.8) and betas = (0.3, 0.5)"),
        Case((between(g, -3, -1), between(g, 1.5, 2.5), keeps, betas), "a hidden start and a longer chain"),
    )


def shaken_after(m, v, keeps, betas):
    for c, beta in zip(keeps.tolist(), betas.tolist(), strict=True):
        m, v = c * m, c**2 * v + beta
    return m, v


def shaken_by_c(m, v, keeps, betas):
    for c, beta in zip(keeps.tolist(), betas.tolist(), strict=True):
        m, v = c * m, c * (v + beta)
    return m, v


def shaken_by_squares(m, v, keeps, betas):
    for c, beta in zip(keeps.tolist(), betas.tolist(), strict=True):
        m, v = c * m, c**2 * (v + beta**2)
    return m, v


def shaken_noise_alone(m, v, keeps, betas):
    v = 0.0
    for c, beta in zip(keeps.tolist(), betas.tolist(), strict=True):
        m, v = c * m, c**2 * (v + beta)
    return m, v


END_OF_SHAKEN = Exercise(
    id="lab05.chain.before",
    name="end_of_shaken",
    stub='''
def end_of_shaken(m, v, keeps, betas):
    """Mean and variance of x_T, two numbers, for x_0 of mean m and variance v. keeps, betas: (T,), c_k and beta_k."""
    ...  # your code
''',
    solution=end_of_shaken,
    alternative=end_of_shaken_at_once,
    why="The noise adds its variance beta first, and then the factor multiplies all of the variance by c².",
    truth=end_of_shaken_truth,
    cases=end_of_shaken_cases,
    parts=("the mean", "the variance"),
    hints=(),
    wrong=(
        Wrong(
            "the noise after the factor",
            shaken_after,
            "You shrink first and add the noise afterwards. Here the noise is inside the bracket, so it shrinks too.",
            UNSEEN,
        ),
        Wrong(
            "c for c²",
            shaken_by_c,
            "You multiply the variance by c. A factor multiplies a variance by its square.",
            "ermongroup/CSDI#9",
        ),
        Wrong(
            "beta squared",
            shaken_by_squares,
            "You square beta. The factor before z is its root, so beta is the variance already.",
            "Y-debug-sys/Diffusion-TS#135",
        ),
        Wrong(
            "what is missing from 1",
            lambda m, v, keeps, betas: (keeps.prod() * m, keeps.prod() ** 2 * v + 1 - keeps.prod() ** 2),
            "You fill the variance up to 1, as alpha_bar v + 1 - alpha_bar does. That is right for a chain that keeps "
            "variance 1, and this one need not.",
            "notebook 05, section 3",
        ),
        Wrong(
            "all noise shrinks alike",
            lambda m, v, keeps, betas: (keeps.prod() * m, keeps.prod() ** 2 * (v + betas.sum())),
            "You multiply all noise by all factors. But the noise of step k meets the factors from step k on, and none "
            "of those before.",
            UNSEEN,
        ),
        Wrong(
            "the data forgotten",
            shaken_noise_alone,
            "Your variance is that of the noise alone: it starts at 0. The data have the variance v, and a part of it "
            "is left.",
            UNSEEN,
        ),
    ),
)

CHAIN = Problem(
    name="chain",
    points=4,
    variants=(
        Variant(
            END_OF_CHAIN,
            "A chain on the line takes the steps $x_k = c_k\\, x_{k-1} + s_k\\, z_k$ for $k = 1, \\dots, T$, with "
            "independent $z_k \\sim \\mathcal N(0, 1)$, independent of $x_0$ too. The factors $c_k > 0$ and the "
            "standard deviations $s_k > 0$ are any numbers, so that the chain need not keep the variance. $c_1$ stands "
            "in `keeps[0]` and $s_1$ in `stds[0]`. The start $x_0$ has the mean $m$ and the variance $v$. Return the "
            "mean and the variance of $x_T$.",
            "notebook 05, section 3",
        ),
        Variant(
            END_OF_SHAKEN,
            "A chain on the line adds noise *before* it shrinks: $x_k = c_k\\,(x_{k-1} + \\sqrt{\\beta_k}\\, z_k)$ for "
            "$k = 1, \\dots, T$, with independent $z_k \\sim \\mathcal N(0, 1)$, independent of $x_0$ too. The factors "
            "$c_k > 0$ and the variances $\\beta_k > 0$ are any numbers, so that the chain need not keep the variance. "
            "$c_1$ stands in `keeps[0]` and $\\beta_1$ in `betas[0]`. The start $x_0$ has the mean $m$ and the "
            "variance $v$. Return the mean and the variance of $x_T$.",
            "notebook 05, section 3",
        ),
    ),
)


# schedule: the betas of a schedule that is given by something else


def betas_of_log_snr(first, last, T):
    alpha_bar = torch.sigmoid(torch.linspace(first, last, T, dtype=torch.float64))
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return 1 - alpha_bar / before


def betas_of_log_snr_in_numbers(first, last, T):
    betas, before = [], 1.0
    for k in range(T):
        ratio = math.exp(first + (last - first) * k / (T - 1))
        betas.append(1 - ratio / (1 + ratio) / before)
        before = ratio / (1 + ratio)
    return torch.tensor(betas, dtype=torch.float64)


def beta_between(left, right):
    """By bisection: the beta whose step takes noise of the variance `left` to noise of the variance `right`."""
    low, high = 0.0, 1.0
    for _ in range(60):
        beta = (low + high) / 2
        low, high = (beta, high) if (1 - beta) * left + beta < right else (low, beta)
    return high


def betas_of_log_snr_truth(first, last, T):
    noise = [0.0] + [1 / (1 + math.exp(first + (last - first) * k / (T - 1))) for k in range(T)]
    return torch.tensor([beta_between(*pair) for pair in pairwise(noise)], dtype=torch.float64)


def betas_of_log_snr_cases(g):
    return (
        Case((3.0, -5.0, 5), "first = 3, last = -5 and T = 5"),
        Case((between(g, 1.5, 4), between(g, -7, -5), 9), "hidden ends and a longer chain"),
    )


def snr_of_factors(first, last, T):
    alpha_bar = torch.sigmoid(2 * torch.linspace(first, last, T, dtype=torch.float64))
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return 1 - alpha_bar / before


def snr_for_alpha_bar(first, last, T):
    alpha_bar = torch.exp(torch.linspace(first, last, T, dtype=torch.float64))
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return 1 - alpha_bar / before


def first_step_missing(first, last, T):
    alpha_bar = torch.sigmoid(torch.linspace(first, last, T, dtype=torch.float64))
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def log_snr_from_step_0(first, last, T):
    alpha_bar = torch.sigmoid(torch.linspace(first, last, T + 1, dtype=torch.float64))
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def kept_of_log_snr(first, last, T):
    alpha_bar = torch.sigmoid(torch.linspace(first, last, T, dtype=torch.float64))
    return alpha_bar / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])


def log_snr_upside_down(first, last, T):
    alpha_bar = torch.sigmoid(torch.linspace(first, last, T, dtype=torch.float64))
    return 1 - torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]]) / alpha_bar


BETAS_OF_LOG_SNR = Exercise(
    id="lab05.schedule.snr",
    name="betas_of_log_snr",
    stub='''
def betas_of_log_snr(first, last, T):
    """beta_1 to beta_T, (T,), float64, whose log-SNR falls evenly from `first` at k = 1 to `last` at k = T."""
    ...  # your code
''',
    solution=betas_of_log_snr,
    alternative=betas_of_log_snr_in_numbers,
    why="alpha_bar = SNR / (1 + SNR), and 1 - beta is the ratio of alpha_bar to the one before, at first to 1.",
    truth=betas_of_log_snr_truth,
    cases=betas_of_log_snr_cases,
    hints=(),
    wrong=(
        Wrong(
            "a ratio of standard deviations",
            snr_of_factors,
            "You read the log-SNR as the logarithm of alpha / sigma. It is that of alpha² / sigma², twice as much.",
            UNSEEN,
        ),
        Wrong(
            "the SNR for alpha_bar",
            snr_for_alpha_bar,
            "You take the SNR itself for alpha_bar, and so get negative betas. The SNR is alpha_bar over the rest, "
            "1 - alpha_bar.",
            UNSEEN,
        ),
        Wrong(
            "the first step missing",
            first_step_missing,
            "You return T - 1 betas. The first step leads from the data, where alpha_bar is 1, to the first log-SNR.",
            "off by one",
        ),
        Wrong(
            "the noise of the jump",
            lambda first, last, T: 1 - torch.sigmoid(torch.linspace(first, last, T, dtype=torch.float64)),
            "You return 1 - alpha_bar, the variance of the noise since the data. A beta is the variance that one step "
            "adds.",
            UNSEEN,
        ),
        Wrong(
            "1 - beta for beta",
            kept_of_log_snr,
            "You return 1 - beta, what a step keeps of the variance. DDPM calls that alpha.",
            UNSEEN,
        ),
        Wrong(
            "upside down",
            log_snr_upside_down,
            "Your ratio is upside down, so your betas are negative. The later alpha_bar is the smaller one, and it "
            "stands above the line.",
            "lucidrains/denoising-diffusion-pytorch#173",
        ),
        Wrong(
            "the first log-SNR at step 0",
            log_snr_from_step_0,
            "You have put `first` at k = 0. It belongs to k = 1, and at k = 0 there is no noise at all.",
            "off by one",
        ),
    ),
)


def betas_of_sigma(last, T):
    alpha_bar = 1 - torch.linspace(0, last, T + 1, dtype=torch.float64) ** 2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def betas_of_sigma_in_numbers(last, T):
    variance = [(last * k / T) ** 2 for k in range(T + 1)]
    return torch.tensor([(w - v) / (1 - v) for v, w in pairwise(variance)], dtype=torch.float64)


def betas_of_sigma_truth(last, T):
    return torch.tensor(
        [beta_between((last * (k - 1) / T) ** 2, (last * k / T) ** 2) for k in range(1, T + 1)], dtype=torch.float64
    )


def betas_of_sigma_cases(g):
    return (
        Case((0.9, 5), "last = 0.9 and T = 5"),
        Case((between(g, 0.93, 0.97), 9), "a hidden end and a longer chain"),
    )


def sigma_for_variance(last, T):
    alpha_bar = 1 - torch.linspace(0, last, T + 1, dtype=torch.float64)
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def alpha_for_alpha_bar(last, T):
    alpha = torch.sqrt(1 - torch.linspace(0, last, T + 1, dtype=torch.float64) ** 2)
    return 1 - alpha[1:] / alpha[:-1]


def step_0_missing(last, T):
    alpha_bar = 1 - torch.linspace(0, last, T, dtype=torch.float64) ** 2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def differences_of_variances(last, T):
    variance = torch.linspace(0, last, T + 1, dtype=torch.float64) ** 2
    return variance[1:] - variance[:-1]


def kept_of_sigma(last, T):
    alpha_bar = 1 - torch.linspace(0, last, T + 1, dtype=torch.float64) ** 2
    return alpha_bar[1:] / alpha_bar[:-1]


def sigma_upside_down(last, T):
    alpha_bar = 1 - torch.linspace(0, last, T + 1, dtype=torch.float64) ** 2
    return 1 - alpha_bar[:-1] / alpha_bar[1:]


BETAS_OF_SIGMA = Exercise(
    id="lab05.schedule.sigma",
    name="betas_of_sigma",
    stub='''
def betas_of_sigma(last, T):
    """beta_1 to beta_T, (T,), float64, for which sigma rises evenly from 0 at k = 0 to `last` at k = T; last < 1."""
    ...  # your code
''',
    solution=betas_of_sigma,
    alternative=betas_of_sigma_in_numbers,
    why="alpha_bar = 1 - sigma², and 1 - beta_k is the ratio of alpha_bar to the one before.",
    truth=betas_of_sigma_truth,
    cases=betas_of_sigma_cases,
    hints=(),
    wrong=(
        Wrong(
            "sigma for sigma²",
            sigma_for_variance,
            "You take 1 - sigma for alpha_bar. But sigma is a standard deviation, and alpha_bar is 1 minus a variance.",
            UNSEEN,
        ),
        Wrong(
            "alpha for alpha_bar",
            alpha_for_alpha_bar,
            "You divide the factors alpha. 1 - beta is the ratio of two alpha_bars, which are their squares.",
            UNSEEN,
        ),
        Wrong(
            "T ends for T steps",
            step_0_missing,
            "You return T - 1 betas. T steps have T + 1 ends, from k = 0 to k = T.",
            "lucidrains/denoising-diffusion-pytorch#19",
        ),
        Wrong(
            "differences of variances",
            differences_of_variances,
            "You take the growth of sigma² for beta. But a step also shrinks the noise that is there, so it has to "
            "add more than the growth.",
            UNSEEN,
        ),
        Wrong(
            "1 - beta for beta",
            kept_of_sigma,
            "You return 1 - beta, what a step keeps of the variance. DDPM calls that alpha.",
            UNSEEN,
        ),
        Wrong(
            "upside down",
            sigma_upside_down,
            "Your ratio is upside down, so your betas are negative. The later alpha_bar is the smaller one, and it "
            "stands above the line.",
            "lucidrains/denoising-diffusion-pytorch#173",
        ),
    ),
)

SCHEDULE = Problem(
    name="schedule",
    points=4,
    variants=(
        Variant(
            BETAS_OF_LOG_SNR,
            "A schedule keeps the variance, $\\alpha_k^2 + \\sigma_k^2 = 1$ with $\\alpha_k^2 = \\bar\\alpha_k$, and "
            "is given by its log-SNR, $\\lambda_k = \\ln(\\bar\\alpha_k / (1 - \\bar\\alpha_k))$ with the natural "
            "logarithm. $\\lambda_k$ falls in equal steps from `first` at $k = 1$ to `last` at $k = T$, with $T \\ge "
            "2$; at $k = 0$ are the clean data, $\\bar\\alpha_0 = 1$. Return the variances $\\beta_1, \\dots, "
            "\\beta_T$ of the steps.",
            "notebook 05, sections 4 and 10",
        ),
        Variant(
            BETAS_OF_SIGMA,
            "A schedule keeps the variance, $\\alpha_k^2 + \\sigma_k^2 = 1$ with $\\alpha_k^2 = \\bar\\alpha_k$, and "
            "is given by the standard deviation of its noise, $\\sigma_k = \\sqrt{1 - \\bar\\alpha_k}$. $\\sigma_k$ "
            "rises in equal steps from 0 at $k = 0$, the clean data, to `last` $< 1$ at $k = T$. Return the variances "
            "$\\beta_1, \\dots, \\beta_T$ of the steps.",
            "notebook 05, sections 4 and 10",
        ),
    ),
)


# length: fewer steps, or more, that do the same


def merged(betas, n):
    return 1 - (1 - betas).reshape(-1, n).prod(dim=1)


def merged_by_logarithms(betas, n):
    table = torch.cat([torch.zeros(1, dtype=betas.dtype), torch.log1p(-betas).cumsum(0)])[::n]
    return -torch.expm1(table[1:] - table[:-1])


def merged_truth(betas, n):  # the noise of n steps, one after another
    groups = [betas.tolist()[i : i + n] for i in range(0, len(betas), n)]
    return torch.tensor([law_of_steps(group)[1] for group in groups], dtype=torch.float64)


def merged_cases(g):
    plain = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], dtype=torch.float64)
    return (
        Case((plain, 2), "betas = 0.1, 0.2, 0.3, 0.4, 0.5, 0.6 and n = 2"),
        Case((0.05 + 0.4 * torch.rand(12, generator=g, dtype=torch.float64), 3), "a hidden table of betas"),
    )


MERGED = Exercise(
    id="lab05.length.merged",
    name="merged",
    stub='''
def merged(betas, n):
    """The betas of T / n steps, (T / n,), each of which does what n steps of the table betas (T,) do."""
    ...  # your code
''',
    solution=merged,
    alternative=merged_by_logarithms,
    why="n steps keep the product of their 1 - beta of the variance, and one step has to keep as much.",
    truth=merged_truth,
    cases=merged_cases,
    hints=(),
    wrong=(
        Wrong(
            "sums",
            lambda betas, n: betas.reshape(-1, n).sum(dim=1),
            "You add up the betas. That holds to first order only, because later steps shrink the noise of the earlier "
            "ones.",
            "notebook 05, section 7",
        ),
        Wrong(
            "every n-th beta",
            lambda betas, n: betas[n - 1 :: n].clone(),
            "You pick every n-th beta. Each still forgets as much as one step, and not as much as n.",
            "zoubohao/DenoisingDiffusionProbabilityModel-ddpm-#14",
        ),
        Wrong(
            "n times a beta",
            lambda betas, n: n * betas[n - 1 :: n],
            "You take n times one of the betas. Each of the n steps has a beta of its own, and they do not add up.",
            UNSEEN,
        ),
        Wrong(
            "the wrong neighbours",
            lambda betas, n: 1 - (1 - betas).reshape(n, -1).prod(dim=0),
            "You multiply steps that are far apart. The steps that become one are neighbours: mind the order of the "
            "dimensions of `reshape`.",
            UNSEEN,
        ),
        Wrong(
            "the product of the betas",
            lambda betas, n: betas.reshape(-1, n).prod(dim=1),
            "You multiply the betas. What a step keeps is 1 - beta, and that is what multiplies up.",
            "LuChengTHU/dpm-solver#13",
        ),
        Wrong(
            "all steps so far",
            lambda betas, n: 1 - (1 - betas).cumprod(dim=0)[n - 1 :: n],
            "You return 1 - alpha_bar, the noise since the data. A beta belongs to one step of the short chain.",
            UNSEEN,
        ),
    ),
)


def split(betas, n):
    return torch.repeat_interleave(1 - (1 - betas) ** (1 / n), n)


def split_by_numbers(betas, n):
    parts = [-math.expm1(math.log1p(-beta) / n) for beta in betas.tolist() for _ in range(n)]
    return torch.tensor(parts, dtype=betas.dtype)


def split_truth(betas, n):  # by bisection, from the noise of n equal steps
    found = []
    for beta in betas.tolist():
        low, high = 0.0, 1.0
        for _ in range(60):
            small = (low + high) / 2
            low, high = (small, high) if law_of_steps([small] * n)[1] < beta else (low, small)
        found += [high] * n
    return torch.tensor(found, dtype=torch.float64)


def split_cases(g):
    return (
        Case((torch.tensor([0.3, 0.6], dtype=torch.float64), 2), "betas = 0.3, 0.6 and n = 2"),
        Case((0.1 + 0.6 * torch.rand(5, generator=g, dtype=torch.float64), 3), "a hidden table of betas"),
    )


SPLIT = Exercise(
    id="lab05.length.split",
    name="split",
    stub='''
def split(betas, n):
    """The betas of n T steps, (n T,): each step of the table betas (T,) becomes n equal ones that do the same."""
    ...  # your code
''',
    solution=split,
    alternative=split_by_numbers,
    why="n equal steps keep (1 - beta')^n of the variance, and that has to be 1 - beta.",
    truth=split_truth,
    cases=split_cases,
    hints=(),
    wrong=(
        Wrong(
            "beta shared out",
            lambda betas, n: torch.repeat_interleave(betas / n, n),
            "You divide beta by n. That holds to first order only, because later steps shrink the noise of the earlier "
            "ones.",
            "notebook 05, section 7",
        ),
        Wrong(
            "a root of beta",
            lambda betas, n: torch.repeat_interleave(betas ** (1 / n), n),
            "You take a root of beta. What multiplies up from step to step is what they keep, 1 - beta.",
            UNSEEN,
        ),
        Wrong(
            "the power upside down",
            lambda betas, n: torch.repeat_interleave(1 - (1 - betas) ** n, n),
            "Your small steps forget more than the large one. Your exponent is upside down.",
            UNSEEN,
        ),
        Wrong(
            "a factor for a share of variance",
            lambda betas, n: torch.repeat_interleave(1 - (1 - betas) ** (1 / (2 * n)), n),
            "You return 1 minus the factor of x in a small step. beta is 1 minus the square of that factor.",
            UNSEEN,
        ),
        Wrong(
            "the table n times over",
            lambda betas, n: (1 - (1 - betas) ** (1 / n)).repeat(n),
            "You put the whole table n times in a row. The n parts of a step follow each other, before the next step.",
            UNSEEN,
        ),
        Wrong(
            "1 - beta for beta",
            lambda betas, n: torch.repeat_interleave((1 - betas) ** (1 / n), n),
            "You return 1 - beta, what a small step keeps of the variance. DDPM calls that alpha.",
            UNSEEN,
        ),
    ),
)

LENGTH = Problem(
    name="length",
    points=2,
    variants=(
        Variant(
            MERGED,
            "A chain has the variances `betas`, step 1 in `betas[0]`. Make a shorter chain of it: its first step does "
            "what the first $n$ steps did together, its second step what the next $n$ did, and so on, so that the law "
            "of $x_{jn}$ given $x_0$ is that of the short chain after $j$ steps. $T$, the number of betas, is a "
            "multiple of $n$. Return the betas of the short chain.",
            "notebook 05, section 4",
        ),
        Variant(
            SPLIT,
            "A chain has the variances `betas`, step 1 in `betas[0]`. Make a longer chain of it: each step becomes $n$ "
            "steps with the same beta as each other, one after another, which do together what the one step did, so "
            "that the law of $x_k$ given $x_0$ is that of the long chain after $n k$ steps. Return the betas of the "
            "long chain.",
            "notebook 05, section 4",
        ),
    ),
)

PLOT = Plot(
    prompt=(
        "Take 5,000 points on the line with mean 2 and standard deviation 0.5, and let them walk through the usual "
        "1,000 betas, evenly from 0.0001 to 0.02. Over the step $k$ from 0 to 1,000, draw with a logarithmic vertical "
        "axis, from $10^{-5}$ to 10, the absolute value of the mean of the points, and the distance $|v_k - 1|$ of "
        "their variance $v_k$ from 1. Add what the formulas of notebook 05, section 3, say, as two dashed lines. Then "
        "explain in about six sentences: which of the two falls faster, and how much faster? Why do the dashed "
        "lines bend, although every step multiplies by a factor? At about which height does the measured variance "
        "leave its dashed line, why there, and what would you change to follow the line further down? And what should "
        "you do to data of this kind before you train a model?"
    ),
    rubric=(
        (
            1,
            "The plot has a logarithmic vertical axis, names on both axes, two measured and two dashed lines; the "
            "dashed ones begin at 2 and 0.75 and end at 0.013 and 0.00003.",
        ),
        (
            1,
            "The variance is forgotten twice as fast: its distance from 1 falls like alpha_bar, the mean like its "
            "root, so on this axis the variance falls with twice the slope.",
        ),
        (
            1,
            "The lines bend down because the factor changes from step to step: the slope of the logarithm is about "
            "-beta / 2 for the mean and -beta for the variance, and beta grows 200 times.",
        ),
        (
            1,
            "The measured variance leaves its line between steps 400 and 700, where the line comes down to a few "
            "times 0.02 = sqrt(2 / 5000), which is the error of a variance from so many points. This is no property "
            "of the chain: with 100 times as many points it would be 10 times lower.",
        ),
        (
            1,
            "Centre the data, because a wrong mean lives longest: it falls only like the root of alpha_bar. To divide "
            "by the standard deviation too is right, but is no answer without the centring.",
        ),
    ),
)

LAB = Lab(
    number="05",
    title="Forward diffusion",
    after=("05",),
    problems=(STEP, JUMP, CHAIN, SCHEDULE, LENGTH),
    plot=PLOT,
)
