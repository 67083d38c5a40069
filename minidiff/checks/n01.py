"""The exercises of notebook 01, random walks: 1.1 to 1.3 in its flow, 1.4 to 1.9 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from minidiff.checks.records import RNG, Case, Exercise, Question, Wrong, WrongValue

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Random walks"
WALKERS = 250  # in the plainest case; with 400 calls, 100,000 draws
NEW = "not seen in public yet"


def normal(shape, g, dtype=torch.float32):
    return torch.randn(shape, generator=g, dtype=dtype)


def averages(numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each number within each call: (R, ...) to (R,)."""
    return {name: value.double().flatten(1).mean(dim=1) for name, value in numbers.items()}


# 1.1 diffusion_coefficient


def diffusion_coefficient(paths, dt):
    frames, _, d = paths.shape
    moved = paths[-1] - paths[0]
    return (moved**2).sum(dim=1).mean() / (2 * d * (frames - 1) * dt)


def diffusion_coefficient_by_axes(paths, dt):
    """D is the same along each axis, so the mean over walkers and axes needs no d."""
    return (paths[-1] - paths[0]).square().mean() / (2 * dt * (len(paths) - 1))


def diffusion_truth(paths, dt):  # walker by walker and axis by axis, in plain numbers
    begin, end = paths[0].tolist(), paths[-1].tolist()
    squares = [(b - a) ** 2 for first, last in zip(begin, end, strict=True) for a, b in zip(first, last, strict=True)]
    time = dt * (paths.shape[0] - 1)
    return torch.tensor(math.fsum(squares) / len(squares) / time / 2, dtype=paths.dtype)


def diffusion_cases(g):
    coins = 2.0 * torch.randint(0, 2, (4, 5, 1), generator=g, dtype=torch.float64) - 1
    coins[:, 0] = 1  # so that somebody moves
    on_a_line = 10 + torch.cat([torch.zeros(1, 5, 1, dtype=torch.float64), coins.cumsum(dim=0)])
    steps = normal((8, 60, 3), g, torch.float64) * torch.tensor([0.6, 1.0, 1.7], dtype=torch.float64) + 0.1
    start = 2 + normal((1, 60, 3), g, torch.float64)
    return (
        Case((on_a_line, 1.0), "5 coin walkers that start at 10 and make 4 steps on a line, with dt = 1"),
        Case(
            (torch.cat([start, start + steps.cumsum(dim=0)]), 0.25), "60 walkers in 3 directions, 9 frames, dt = 0.25"
        ),
    )


def measured_squares(paths):
    return (paths[-1] - paths[0]).square().sum(dim=1).mean()


def diffusion_wrong(name, formula, message, seen=NEW):
    """A wrong answer: formula(paths, d, time, dt)."""

    def answer(paths, dt):
        return formula(paths, paths.shape[2], (paths.shape[0] - 1) * dt, dt)

    return Wrong(name, answer, message, seen)


DIFFUSION = Exercise(
    id="1.1",
    name="diffusion_coefficient",
    stub='''
def diffusion_coefficient(paths, dt):
    """D from the mean squared displacement between the first and the last frame. paths: (frames, walkers, d)."""
    ...  # your code
''',
    solution=diffusion_coefficient,
    alternative=diffusion_coefficient_by_axes,
    why=(
        "The mean squared displacement is 2 d D t, so D is the mean squared displacement over 2 d t. Between n\n"
        "frames lie n - 1 steps. And a displacement is measured from where the walker began, which need not be\n"
        "the origin."
    ),
    truth=diffusion_truth,
    cases=diffusion_cases,
    hints=(
        "Solve E|x(t) - x(0)|² = 2 d D t for D. Which of these can you read from `paths`?",
        "The displacement of every walker is `paths[-1] - paths[0]`. Sum its squares over directions, then average.",
        "How much time lies between the first and the last of n frames?",
    ),
    wrong=(
        diffusion_wrong(
            "the factor d",
            lambda paths, d, time, dt: measured_squares(paths) / (2 * time),
            "The number of directions is missing: every direction adds 2 D t to the mean squared displacement, so "
            "divide by d as well.",
            "zincware/MDSuite#492",
        ),
        diffusion_wrong(
            "the factor 2",
            lambda paths, d, time, dt: measured_squares(paths) / (d * time),
            "The factor 2 is missing: the mean squared displacement is 2 d D t.",
            "OpenDrift/opendrift#855",
        ),
        diffusion_wrong(
            "the factor d twice",
            lambda paths, d, time, dt: (paths[-1] - paths[0]).square().mean() / (2 * d * time),
            "You divide by d twice: a mean over walkers *and* directions has already divided by d. Sum the squares "
            "over the directions.",
        ),
        diffusion_wrong(
            "both factors",
            lambda paths, d, time, dt: measured_squares(paths) / time,
            "You divide by the time only. The mean squared displacement is 2 d D t, so 2 and d are missing.",
        ),
        diffusion_wrong(
            "one axis for all",
            lambda paths, d, time, dt: (paths[-1] - paths[0])[:, 0].square().mean() / (2 * d * time),
            "You square the first coordinate only and divide by d. Sum the squares over all directions.",
            "bjornaa/ladim1#6",
        ),
        diffusion_wrong(
            "the first axis alone",
            lambda paths, d, time, dt: (paths[-1] - paths[0])[:, 0].square().mean() / (2 * time),
            "You use the first direction only. If D is the same in all directions that is a fair estimate, but it "
            "throws away most of the data.",
        ),
        diffusion_wrong(
            "from the origin",
            lambda paths, d, time, dt: paths[-1].square().sum(dim=1).mean() / (2 * d * time),
            "You measure the distance from the origin. The displacement is measured from where the walker began.",
            NEW,
        ),
        diffusion_wrong(
            "the difference of the squares",
            lambda paths, d, time, dt: (paths[-1].square() - paths[0].square()).sum(dim=1).mean() / (2 * d * time),
            "You subtract the squares. First subtract the positions, then square.",
        ),
        diffusion_wrong(
            "as many steps as frames",
            lambda paths, d, time, dt: measured_squares(paths) / (2 * d * (time + dt)),
            "You count as many steps as frames. Between n frames lie n - 1 steps.",
            "off by one",
        ),
        diffusion_wrong(
            "no dt",
            lambda paths, d, time, dt: measured_squares(paths) / (2 * d * time / dt),
            "You divide by the number of steps. D is per time, so each step counts dt.",
        ),
        diffusion_wrong(
            "the square of the mean distance",
            lambda paths, d, time, dt: (paths[-1] - paths[0]).norm(dim=1).mean() ** 2 / (2 * d * time),
            "You average the distances and then square. First square, then average: that is a mean square.",
        ),
        diffusion_wrong(
            "the square of the mean displacement",
            lambda paths, d, time, dt: (paths[-1] - paths[0]).mean(dim=0).square().sum() / (2 * d * time),
            "You average the displacements and then square. Left and right cancel in that average. First square.",
        ),
        diffusion_wrong(
            "a distance for its square",
            lambda paths, d, time, dt: (paths[-1] - paths[0]).norm(dim=1).mean() / (2 * d * time),
            "You use the mean distance. It is the squared distance that grows with the time.",
        ),
        diffusion_wrong(
            "a sum over walkers",
            lambda paths, d, time, dt: (paths[-1] - paths[0]).square().sum() / (2 * d * time),
            "You sum over the walkers, so D grows with their number. Average over them.",
        ),
        diffusion_wrong(
            "single steps",
            lambda paths, d, time, dt: paths.diff(dim=0).square().sum(dim=2).mean() / (2 * d * dt),
            "You average the squares of the single steps. For independent steps without drift that estimates the same "
            "D, but asked for is the displacement between the first and the last frame.",
        ),
        diffusion_wrong(
            "the mean drift subtracted",
            lambda paths, d, time, dt: (paths[-1] - paths[0]).var(dim=0, correction=0).sum() / (2 * d * time),
            "You take the variance of the displacements, so the mean displacement is subtracted. Asked for is the mean "
            "square.",
        ),
    ),
)


# 1.2 brownian_step


def brownian_step(x, D, dt, g):
    dw = math.sqrt(dt) * torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x + math.sqrt(2 * D) * dw


def brownian_step_in_one_line(x, D, dt, g):
    return x + (2 * D * dt) ** 0.5 * torch.empty_like(x).normal_(generator=g)


def brownian_truth(x, D, dt, g):  # from the law: a normal with this mean and this standard deviation
    return torch.normal(x, torch.full_like(x, 2 * D * dt).sqrt(), generator=g)


def brownian_cases(g):
    far = torch.tensor([10.0, -20.0], dtype=torch.float64) + 4 * normal((100, 2), g, torch.float64)
    D = round(0.6 + 0.2 * float(torch.rand((), generator=g)), 3)
    return (
        Case((torch.ones(WALKERS, 1), 0.3, 0.2, RNG), f"x = 1 ({WALKERS} times), D = 0.3 and dt = 0.2"),
        Case((far, D, 0.05, RNG), f"100 walkers around (10, -20) in float64, D = {D} and dt = 0.05"),
    )


def brownian_numbers(out, x, D, dt):
    noise = out - x
    numbers = {
        "the mean of the result": out,
        "the variance of the step": noise**2,
        "the fourth moment of the step": noise**4,
        "the mean product of the steps of one walker and the next": noise[:, :-1] * noise[:, 1:],
        "the variance of the step within one call": noise.var(dim=1),
    }
    if x.shape[1] > 1:
        numbers["the mean product of a walker's steps on both axes"] = noise[..., :1] * noise[..., 1:]
        numbers["the mean product of x and the step"] = x * noise
    return averages(numbers)


def brownian_wrong(name, step, message, seen=NEW):
    """A wrong answer whose step is wrong: step(x, D, dt, z, g) with a standard normal z."""
    return Wrong(name, lambda x, D, dt, g: x + step(x, D, dt, normal(x.shape, g, x.dtype), g), message, seen)


BROWNIAN = Exercise(
    id="1.2",
    name="brownian_step",
    stub='''
def brownian_step(x, D, dt, g):
    """The positions one step of Brownian motion later. x: (walkers, d). D and dt are numbers."""
    ...  # your code
''',
    solution=brownian_step,
    alternative=brownian_step_in_one_line,
    why=(
        "dw is a normal number of variance dt, so dw = sqrt(dt) z. The step sqrt(2 D) dw has variance 2 D dt in\n"
        "each direction. After n steps the variances have added up to 2 D n dt, whatever dt is."
    ),
    truth=brownian_truth,
    cases=brownian_cases,
    view=brownian_numbers,
    hints=(
        "The new position is the old one plus dx. What is dx?",
        "dx = sqrt(2 D) dw. Which variance has dw, and how do you make it from `torch.randn`, which has variance 1?",
        "Draw with `torch.randn(x.shape, generator=g, dtype=x.dtype)`. Its factor is a standard deviation.",
    ),
    wrong=(
        brownian_wrong(
            "dt for sqrt(dt)",
            lambda x, D, dt, z, g: math.sqrt(2 * D) * dt * z,
            "You multiply the noise by dt. Variances add, so noise carries the root of the time step. With this step "
            "the randomness dies as dt gets smaller.",
            "jason-ash/pyesg#73, uclales/uclales#7",
        ),
        brownian_wrong(
            "no root at all",
            lambda x, D, dt, z, g: 2 * D * dt * z,
            "You multiply the noise by 2 D dt. That is the variance of the step. A factor before noise is a standard "
            "deviation, its root.",
            NEW,
        ),
        brownian_wrong(
            "no root on 2 D",
            lambda x, D, dt, z, g: 2 * D * math.sqrt(dt) * z,
            "The root is over dt only. It belongs over all of 2 D dt.",
        ),
        brownian_wrong(
            "the 2 is missing",
            lambda x, D, dt, z, g: math.sqrt(D * dt) * z,
            "The 2 is missing: a step has the variance 2 D dt in each direction.",
            NEW,
        ),
        brownian_wrong(
            "the 2 before the root",
            lambda x, D, dt, z, g: 2 * math.sqrt(D * dt) * z,
            "The 2 stands before the root. It belongs under the root.",
        ),
        brownian_wrong(
            "dt is missing",
            lambda x, D, dt, z, g: math.sqrt(2 * D) * z,
            "The step does not depend on dt. dw has the variance dt, so its factor is sqrt(dt).",
        ),
        brownian_wrong(
            "D is missing",
            lambda x, D, dt, z, g: math.sqrt(dt) * z,
            "You add dw alone. The factor sqrt(2 D) is missing.",
        ),
        brownian_wrong(
            "the factor d",
            lambda x, D, dt, z, g: math.sqrt(2 * x.shape[1] * D * dt) * z,
            "You put the number of directions under the root. 2 d D dt is the mean square of the whole step. Each "
            "direction has the variance 2 D dt, and they add up by themselves.",
        ),
        Wrong(
            "x forgotten",
            lambda x, D, dt, g: math.sqrt(2 * D * dt) * normal(x.shape, g, x.dtype),
            "You return the step alone. The walkers go on from where they are: add x.",
            "brian-team/brian2#686",
        ),
        Wrong(
            "x shrinks too",
            lambda x, D, dt, g: math.sqrt(1 - dt) * x + math.sqrt(2 * D * dt) * normal(x.shape, g, x.dtype),
            "You shrink x before you add the step. A diffusion model does so (notebook 05), but a free walker keeps "
            "all of its position.",
            "the forward step of DDPM",
        ),
        brownian_wrong(
            "uniform noise from 0 to 1",
            lambda x, D, dt, z, g: math.sqrt(2 * D * dt) * torch.rand(x.shape, generator=g, dtype=x.dtype),
            "Your noise is uniform from 0 to 1, as `torch.rand` draws it, so all walkers drift to the right. The "
            "normal distribution is `torch.randn`.",
            "acids-ircam/diffusion_models#8",
        ),
        brownian_wrong(
            "coin flips",
            lambda x, D, dt, z, g: math.sqrt(2 * D * dt) * z.sign(),
            "Your steps are coin flips. Their variance is right, but a Brownian increment is normal at every dt.",
            "notebook 01, section 1",
        ),
        brownian_wrong(
            "uniform noise of variance 1",
            lambda x, D, dt, z, g: math.sqrt(6 * D * dt) * (2 * torch.rand(x.shape, generator=g, dtype=x.dtype) - 1),
            "Your noise has the right mean and variance, but it is uniform. A Brownian increment is normal.",
            "notebook 01, section 3",
        ),
        brownian_wrong(
            "one noise for all walkers",
            lambda x, D, dt, z, g: math.sqrt(2 * D * dt) * z[:1],
            "All walkers make the same step, because you draw for one walker only. Draw noise of the shape of x.",
            "jolibrain/joliGEN#527",
        ),
        brownian_wrong(
            "one noise for all directions",
            lambda x, D, dt, z, g: math.sqrt(2 * D * dt) * z[:, :1],
            "Each walker makes the same step in all directions, so it moves along a diagonal. Draw noise of the shape "
            "of x.",
            "broadcasting of (walkers, 1)",
        ),
    ),
)


# 1.3 heat_step


def heat_step(p, r):
    return r * p.roll(1) + (1 - 2 * r) * p + r * p.roll(-1)


def heat_step_by_what_changes(p, r):
    left, right = torch.roll(p, 1), torch.roll(p, -1)
    return p + r * (left - 2 * p + right)


def heat_truth(p, r):  # the matrix of the hops on the ring, applied to p
    n = len(p)
    hops = torch.eye(n, dtype=p.dtype) * (1 - 2 * r)
    for i in range(n):
        hops[(i + 1) % n, i] += r
        hops[(i - 1) % n, i] += r
    return hops @ p


def heat_cases(g):
    spike = torch.zeros(5, dtype=torch.float64)
    spike[0] = 1
    r = round(0.15 + 0.05 * float(torch.rand((), generator=g)), 3)  # not 1/3, where all three parts are equal
    p = 0.5 + torch.rand(9, generator=g, dtype=torch.float64)
    return (
        Case((spike, 0.2), "p = (1, 0, 0, 0, 0) and r = 0.2"),
        Case((p, r), f"nine unequal cells and r = {r}"),
    )


def with_walls(p, before, after):
    """The left and the right neighbours of all cells, with these values beyond the two ends."""
    return torch.cat([before, p[:-1]]), torch.cat([p[1:], after])


def in_place(p, r):
    """Cell by cell from the left, with what is already new."""
    q = p.clone()
    for i in range(len(q)):
        q[i] = r * q[i - 1] + (1 - 2 * r) * q[i] + r * q[(i + 1) % len(q)]
    return q


def lost_at_the_rim(p, r):
    left, right = with_walls(p, torch.zeros_like(p[:1]), torch.zeros_like(p[:1]))
    return p + r * (left - 2 * p + right)


def kept_by_walls(p, r):
    left, right = with_walls(p, p[:1], p[-1:])
    return p + r * (left - 2 * p + right)


def rim_untouched(p, r):
    q = heat_step(p, r)
    q[0], q[-1] = p[0], p[-1]
    return q


HEAT = Exercise(
    id="1.3",
    name="heat_step",
    stub='''
def heat_step(p, r):
    """Equation (1) on a ring of cells. p: (cells,). Returns the new p, and leaves the old one as it is."""
    ...  # your code
''',
    solution=heat_step,
    alternative=heat_step_by_what_changes,
    why=(
        "`p.roll(1)` shifts all cells by one to the right, so at place i it holds p[i - 1], the left neighbour.\n"
        "What goes out at one end comes in at the other, which makes the line a ring. The three weights r, 1 - 2r\n"
        "and r add up to 1, so no walker is lost."
    ),
    truth=heat_truth,
    cases=heat_cases,
    hints=(
        "You need the left and the right neighbour of every cell. What does `p.roll(1)` do to p = (1, 2, 3, 4)?",
        "`p.roll(1)` holds the left neighbours and `p.roll(-1)` the right ones, with the ring closed.",
        "The new p is r times the one, plus r times the other, plus how much of p itself?",
    ),
    wrong=(
        Wrong(
            "updated in place",
            in_place,
            "You go from cell to cell and use values that are already new. All three values on the right side of "
            "equation (1) are old ones.",
            NEW,
        ),
        Wrong(
            "r/2 to each side",
            lambda p, r: r / 2 * p.roll(1) + (1 - r) * p + r / 2 * p.roll(-1),
            "You send r/2 to each side. In equation (1) r is the probability to hop to *one* neighbour.",
            NEW,
        ),
        Wrong(
            "lost at the rim",
            lost_at_the_rim,
            "Walkers who leave at one end are lost. On a ring the last cell is the left neighbour of the first.",
            NEW,
        ),
        Wrong(
            "walls at the rim",
            kept_by_walls,
            "You put walls at the two ends. No walker is lost, but on a ring the last cell is the left neighbour of "
            "the first.",
            NEW,
        ),
        Wrong(
            "the rim untouched",
            rim_untouched,
            "The first and the last cell keep their old value. On a ring they have two neighbours like all others.",
            NEW,
        ),
        Wrong(
            "1 - r stays",
            lambda p, r: r * p.roll(1) + (1 - r) * p + r * p.roll(-1),
            "You let the fraction 1 - r rest. But r leaves to each side, so 1 - 2r rests. Your walkers become more and "
            "more.",
            NEW,
        ),
        Wrong(
            "all of p stays",
            lambda p, r: p + r * p.roll(1) + r * p.roll(-1),
            "Nobody leaves in your step: you add what comes in and keep all of p.",
            NEW,
        ),
        Wrong(
            "nobody rests",
            lambda p, r: r * p.roll(1) + r * p.roll(-1),
            "Those who rest are missing: the fraction 1 - 2r of each cell stays where it is.",
            NEW,
        ),
        Wrong(
            "the change alone",
            lambda p, r: r * (p.roll(1) - 2 * p + p.roll(-1)),
            "You return the change of p. Asked for is the new p.",
            NEW,
        ),
        Wrong(
            "the sign of the change",
            lambda p, r: p - r * (p.roll(1) - 2 * p + p.roll(-1)),
            "The sign of the change is turned around, so hills grow. That is the film run backwards.",
            NEW,
        ),
        Wrong(
            "the same neighbour twice",
            lambda p, r: 2 * r * p.roll(1) + (1 - 2 * r) * p,
            "You take the left neighbour twice. `roll(-1)` gives the right one.",
            NEW,
        ),
        Wrong(
            "the right neighbour twice",
            lambda p, r: 2 * r * p.roll(-1) + (1 - 2 * r) * p,
            "You take the right neighbour twice. `roll(1)` gives the left one.",
            NEW,
        ),
        Wrong(
            "neighbours two cells away",
            lambda p, r: r * p.roll(2) + (1 - 2 * r) * p + r * p.roll(-2),
            "Your walkers hop two cells at a time.",
            NEW,
        ),
    ),
)


# 1.4 unfair_coin


def unfair_coin(shape, g, right=0.55):
    heads = torch.rand(shape, generator=g) < right
    return 2 * heads.float() - 1


def unfair_coin_by_cases(shape, g, right=0.55):
    return torch.where(torch.rand(shape, generator=g) < right, 1.0, -1.0)


def unfair_truth(shape, g, right=0.55):
    return 1 - 2 * torch.bernoulli(torch.full(shape, 1 - right), generator=g)


def unfair_cases(g):
    right = round(0.75 + 0.1 * float(torch.rand((), generator=g)), 3)
    return (
        Case(((WALKERS, 1), RNG, 0.55), f"shape ({WALKERS}, 1) and right = 0.55"),
        Case(((100, 2), RNG, right), f"shape (100, 2) and right = {right}"),
    )


def coin_numbers(out, shape, right):
    numbers = {
        "the mean": out,
        "the mean square": out**2,
        "the fraction of +1": (out - 1).abs() < 1e-6,
        "the fourth moment": out**4,
        "the mean product of one walker's step and the next one's": out[:, :-1] * out[:, 1:],
    }
    if shape[1] > 1:
        numbers["the mean product of a walker's steps on both axes"] = out[..., :1] * out[..., 1:]
    return averages(numbers)


def tossed(shape, g, right):
    return torch.where(torch.rand(shape, generator=g) < right, 1.0, -1.0)


UNFAIR = Exercise(
    id="1.4",
    name="unfair_coin",
    stub='''
def unfair_coin(shape, g, right=0.55):
    """Steps of +1 with probability `right`, otherwise -1, in a float32 tensor of this shape."""
    ...  # your code
''',
    solution=unfair_coin,
    alternative=unfair_coin_by_cases,
    why=(
        "A uniform number lies below `right` with exactly this probability. The mean of a step is 2 right - 1.\n"
        "Its square is always 1, so the variance is 1 - (2 right - 1)² = 4 right (1 - right)."
    ),
    truth=unfair_truth,
    cases=unfair_cases,
    view=coin_numbers,
    hints=(
        "`torch.rand` gives uniform numbers from 0 to 1. How often is such a number below `right`?",
        "A comparison gives True or False. How do you turn that into +1 or -1?",
        "`torch.where(condition, 1.0, -1.0)` chooses between two numbers.",
    ),
    wrong=(
        Wrong(
            "a coin of 0 and 1",
            lambda shape, g, right=0.55: (torch.rand(shape, generator=g) < right).float(),
            "Your coin shows 0 or 1, so nobody ever steps to the left. It has to be -1 or +1.",
            "notebook 05, exercise 5.6",
        ),
        Wrong(
            "left and right exchanged",
            lambda shape, g, right=0.55: -tossed(shape, g, right),
            "Left and right are exchanged: a uniform number is *above* `right` with probability 1 - right.",
            NEW,
        ),
        Wrong(
            "a fair coin",
            lambda shape, g, right=0.55: tossed(shape, g, 0.5),
            "Your coin is fair: `right` is not used.",
            NEW,
        ),
        Wrong(
            "always 0.55",
            lambda shape, g, right=0.55: tossed(shape, g, 0.55),
            "Your coin always uses 0.55, whatever `right` is.",
            NEW,
        ),
        Wrong(
            "a fair coin moved",
            lambda shape, g, right=0.55: tossed(shape, g, 0.5) + 2 * right - 1,
            "You add the drift to a fair coin. Its mean is right, but its values are not -1 and +1, and its variance "
            "is 1.",
            NEW,
        ),
        Wrong(
            "the size for the chance",
            lambda shape, g, right=0.55: torch.where(torch.rand(shape, generator=g) < 0.5, right, right - 1),
            "Your coin shows `right` or `right` - 1, with equal chance. It is the probability that is unfair, not the "
            "size of the step.",
            NEW,
        ),
        Wrong(
            "an unfair coin of a normal number",
            lambda shape, g, right=0.55: torch.where(normal(shape, g) < right, 1.0, -1.0),
            "You compare a normal number with `right`. Take a uniform one: `torch.rand`.",
            NEW,
        ),
        Wrong(
            "one coin for all walkers",
            lambda shape, g, right=0.55: tossed((1, *shape[1:]), g, right).expand(shape).clone(),
            "You toss one coin for all walkers. Toss one for each.",
            NEW,
        ),
        Wrong(
            "one coin for all directions",
            lambda shape, g, right=0.55: tossed((shape[0], 1), g, right).expand(shape).clone(),
            "You toss one coin for each walker and use it in all directions. Toss one for each direction.",
            NEW,
        ),
        Wrong(
            "a normal step",
            lambda shape, g, right=0.55: 2 * right - 1 + math.sqrt(4 * right * (1 - right)) * normal(shape, g),
            "Your steps have the right mean and variance, but they are normal. A coin shows two values only.",
            NEW,
        ),
    ),
)


# 1.5 steps_needed


def steps_needed():
    mean = 0.55 * 1 + 0.45 * (-1)  # of one step
    variance = 1 - mean**2  # the mean square is 1
    return 5**2 * variance / mean**2  # n * mean = 5 * sqrt(n * variance)


STEPS_NEEDED = Question(
    id="1.5",
    name="steps_needed",
    stub="steps_needed = None  # the number of steps after which the drift is five times the spread",
    right=(2473, 2477),
    solution=steps_needed,
    why=(
        "The mean of n steps is 0.1 n and their variance 0.99 n. So 0.1 n = 5 sqrt(0.99 n), and n = 25 * 0.99 /\n"
        "0.01 = 2475. The drift grows as n and the spread as its root, so the drift wins in the end, however\n"
        "small it is."
    ),
    hints=(
        "Which mean and which variance has a single step? Its square is always 1.",
        "Means add, and variances add. What are both after n steps?",
        "Set the mean of n steps equal to five times the *root* of the variance of n steps, and solve for n.",
    ),
    wrong=(
        WrongValue(
            "a variance of 1",
            (2498, 2502),
            "You take 1 for the variance of a step. That is its mean square. The variance is less by the square of the "
            "mean, 0.01.",
            "the variance predicted as 1",
        ),
        WrongValue(
            "the factor 5 forgotten",
            (98.5, 101),
            "After so many steps the drift is as large as the spread. Asked for is five times the spread.",
            NEW,
        ),
        WrongValue(
            "the factor 5 not squared",
            (490, 502),
            "You multiply by 5. But the number of steps stands under a root, so the factor is squared when you solve "
            "for n.",
            NEW,
        ),
        WrongValue(
            "the spread of one step",
            (49, 51),
            "You take the spread of a single step. The variance grows with every step, so after n steps it is n times "
            "as large.",
            NEW,
        ),
        WrongValue(
            "the factor 5 on the wrong side",
            (3.9, 4.1),
            "After so many steps the spread is five times the drift. Asked for is the other way round.",
            NEW,
        ),
        WrongValue(
            "the probability for the mean",
            (81, 83.5),
            "You take 0.55 for the mean of a step. A step to the left counts -1, so the mean is 0.55 - 0.45.",
            NEW,
        ),
        WrongValue(
            "the variance of 0 and 1",
            (617, 626),
            "You take right (1 - right) for the variance. That belongs to a coin of 0 and 1. Between -1 and +1 lies "
            "twice the distance, so the variance is four times as large.",
            NEW,
        ),
        WrongValue(
            "a coin of 0 and 1",
            (19, 22),
            "You work with a coin of 0 and 1. Ours shows -1 and +1.",
            NEW,
        ),
        WrongValue(
            "half the drift",
            (9898, 10002),
            "Your mean of a step is half of the right one: 0.05. The mean is right minus left, 0.55 - 0.45.",
            NEW,
        ),
    ),
)


# 1.6 student


def student(shape, g, degrees=3):
    squares = sum(torch.randn(shape, generator=g) ** 2 for _ in range(degrees))
    return torch.randn(shape, generator=g) / (squares / degrees).sqrt()


def student_in_one_tensor(shape, g, degrees=3):
    z = torch.randn((degrees + 1, *shape), generator=g)
    return z[0] / z[1:].square().mean(dim=0).sqrt()


def student_truth(shape, g, degrees=3):  # Bailey's polar method: any degrees, from two uniform numbers
    u = 1 - torch.rand(shape, generator=g, dtype=torch.float64)
    angle = 2 * math.pi * torch.rand(shape, generator=g, dtype=torch.float64)
    return (torch.sqrt(degrees * (u ** (-2 / degrees) - 1)) * torch.cos(angle)).float()


def student_cases(g):
    degrees = 5 + int(torch.randint(0, 2, (), generator=g))
    return (
        Case(((WALKERS, 1), RNG, degrees), f"shape ({WALKERS}, 1) and {degrees} degrees of freedom"),
        Case(((150, 2), RNG, 3), "shape (150, 2) and 3 degrees of freedom"),
    )


def student_numbers(out, shape, degrees):  # fractions and logarithms, since fourth moments may be infinite
    size = out.abs()
    numbers = {
        "the fraction of positive numbers": out > 0,
        "the fraction between -0.3 and 0.3": size < 0.3,
        "the fraction beyond 1": size > 1,
        "the fraction beyond 2": size > 2,
        "the fraction beyond 4": size > 4,
    }
    if shape[1] > 1:
        log = size.clamp(min=1e-3).log()
        log = log - log.mean()
        numbers["the covariance of ln |x| and ln |y|"] = log[..., :1] * log[..., 1:]
        numbers["the mean product of the signs on both axes"] = out[..., :1].sign() * out[..., 1:].sign()
    beyond = (size > 1).double().flatten(1).mean(dim=1)
    spread = math.prod(shape) * (beyond - beyond.mean()) ** 2
    return averages(numbers) | {"how much the fraction beyond 1 varies from call to call": spread}


def chi_squared(shape, g, degrees):
    return torch.randn((degrees, *shape), generator=g).square().sum(dim=0)


STUDENT = Exercise(
    id="1.6",
    name="student",
    stub='''
def student(shape, g, degrees=3):
    """Steps of Student's t distribution, not scaled, in a float32 tensor of this shape. degrees: a whole number."""
    ...  # your code
''',
    solution=student,
    alternative=student_in_one_tensor,
    why=(
        "A small mean of squares below the line makes a huge number, and with few degrees of freedom small means\n"
        "are common: the tail falls as a power, |x|^-(degrees + 1). With 1 degree the step is Cauchy's and never\n"
        "ends in a bell. With 3 the variance is 3 and the theorem holds, but slowly, because the tail is heavy.\n"
        "With 5 the variance is 5/3 and the theorem works sooner."
    ),
    truth=student_truth,
    cases=student_cases,
    view=student_numbers,
    hints=(
        "You need `degrees` + 1 normal numbers for each entry: one above the line and `degrees` below it.",
        "Below the line stands a root of a mean of squares. What is it near to, if there are many?",
        "`torch.randn((degrees, *shape), generator=g)` gives all that stands below the line. Average over dim 0.",
    ),
    wrong=(
        Wrong(
            "no root below the line",
            lambda shape, g, degrees=3: normal(shape, g) / (chi_squared(shape, g, degrees) / degrees),
            "You divide by the mean of the squares. Divide by its root.",
            NEW,
        ),
        Wrong(
            "a sum for the mean",
            lambda shape, g, degrees=3: normal(shape, g) / chi_squared(shape, g, degrees).sqrt(),
            "You divide by the root of the *sum* of squares. Take the mean: divide the sum by `degrees`.",
            NEW,
        ),
        Wrong(
            "divided by degrees - 1",
            lambda shape, g, degrees=3: normal(shape, g) / (chi_squared(shape, g, degrees) / (degrees - 1)).sqrt(),
            "You divide the sum of squares by `degrees` - 1. Nothing was estimated here, so it is `degrees`.",
            NEW,
        ),
        Wrong(
            "one square too few",
            lambda shape, g, degrees=3: normal(shape, g) / (chi_squared(shape, g, degrees - 1) / (degrees - 1)).sqrt(),
            "You use one square too few. There are `degrees` squares below the line.",
            "off by one",
        ),
        Wrong(
            "one square too many",
            lambda shape, g, degrees=3: normal(shape, g) / (chi_squared(shape, g, degrees + 1) / (degrees + 1)).sqrt(),
            "You use one square too many. There are `degrees` squares below the line.",
            "off by one",
        ),
        Wrong(
            "one denominator for all",
            lambda shape, g, degrees=3: normal(shape, g) / (chi_squared((1, 1), g, degrees) / degrees).sqrt(),
            "You divide all numbers by one and the same root, so they are all large or all small together. Each entry "
            "needs its own.",
            NEW,
        ),
        Wrong(
            "one denominator for all directions",
            lambda shape, g, degrees=3: normal(shape, g) / (chi_squared((shape[0], 1), g, degrees) / degrees).sqrt(),
            "The steps of a walker in all directions share one denominator. Each entry needs its own.",
            "the multivariate t distribution",
        ),
        Wrong(
            "scaled to variance 1",
            lambda shape, g, degrees=3: student(shape, g, degrees) * math.sqrt((degrees - 2) / degrees),
            "You scale the result to variance 1. Asked for is Student's distribution itself; scale later, in the "
            "figure.",
            NEW,
        ),
        Wrong(
            "normal numbers",
            lambda shape, g, degrees=3: normal(shape, g),
            "You return normal numbers. Their tail is far too light.",
            NEW,
        ),
        Wrong(
            "multiplied",
            lambda shape, g, degrees=3: normal(shape, g) * (chi_squared(shape, g, degrees) / degrees).sqrt(),
            "You multiply by the root. It stands below the line.",
            NEW,
        ),
        Wrong(
            "the same normal number twice",
            lambda shape, g, degrees=3: (
                (z := torch.randn((degrees, *shape), generator=g))[0] / z.square().mean(dim=0).sqrt()
            ),
            "The number above the line is also one of those below it, so the result is never beyond the root of "
            "`degrees`. Draw one more.",
            NEW,
        ),
        Wrong(
            "Cauchy's distribution",
            lambda shape, g, degrees=3: normal(shape, g) / normal(shape, g),
            "You return Cauchy's distribution. That is Student's with 1 degree of freedom.",
            "notebook 05, exercise 5.9",
        ),
        Wrong(
            "the root of degrees twice",
            lambda shape, g, degrees=3: student(shape, g, degrees) * math.sqrt(degrees),
            "Your numbers are too large by the root of `degrees`: you divide by it once too often below the line.",
            NEW,
        ),
    ),
)


# 1.7 orders_for


def orders_for(r):
    def kernel(x, t):
        return torch.exp(-(x**2) / (2 * t)) / math.sqrt(2 * math.pi * t)  # D = 1/2

    errors = []
    for cells in (64, 128, 256):
        h = 12.8 / cells
        x = (torch.arange(cells, dtype=torch.float64) + 0.5) * h - 6.4
        p = kernel(x, 0.1)
        for _ in range(round(0.48 / (r * h**2 / 0.5))):
            p = r * p.roll(1) + (1 - 2 * r) * p + r * p.roll(-1)
        errors.append((p - kernel(x, 0.58)).abs().max())
    return [float(torch.log2(coarse / fine)) for coarse, fine in pairwise(errors)]


def orders_for_many_steps_at_once(r):
    """All steps are one power of a matrix."""
    errors = []
    for cells in (64, 128, 256):
        h, one = 12.8 / cells, torch.eye(cells, dtype=torch.float64)
        x = torch.linspace(-6.4 + h / 2, 6.4 - h / 2, cells, dtype=torch.float64)
        step = (1 - 2 * r) * one + r * (one.roll(1, 0) + one.roll(-1, 0))
        start, end = (torch.exp(-(x**2) / (2 * t)) / math.sqrt(2 * math.pi * t) for t in (0.1, 0.58))
        p = torch.linalg.matrix_power(step, round(0.24 / (r * h**2))) @ start
        errors.append(float((p - end).abs().max()))
    return math.log2(errors[0] / errors[1]), math.log2(errors[1] / errors[2])


def grid_error(cells, r, steps=None, largest=True, span=0.48):
    """The error by Fourier's waves: each is multiplied by the same factor in each step."""
    h = 12.8 / cells
    steps = round(span / (2 * r * h**2)) if steps is None else steps
    x = -6.4 + h * (torch.arange(cells, dtype=torch.float64) + 0.5)
    widths = torch.tensor([[0.1], [0.1 + span]], dtype=torch.float64).sqrt()
    before, after = torch.distributions.Normal(0 * widths, widths).log_prob(x).exp()
    angles = 2 * math.pi * torch.fft.rfftfreq(cells, dtype=torch.float64)
    waves = torch.fft.rfft(before) * (1 - 2 * r * (1 - torch.cos(angles))) ** steps
    gap = (torch.fft.irfft(waves, n=cells) - after).abs()
    return float(gap.max() if largest else gap.square().mean().sqrt())


def grid_errors(r, largest=True):
    return [grid_error(cells, r, largest=largest) for cells in (64, 128, 256)]


def orders_truth(r):
    a, b, c = map(math.log2, grid_errors(r))
    return a - b, b - c


def orders_wrong(name, formula, message, seen=NEW, largest=True):
    """A wrong answer: formula(coarse, fine) of the errors on neighbouring grids."""

    def answer(r):
        return [formula(coarse, fine) for coarse, fine in pairwise(grid_errors(r, largest))]

    return Wrong(name, answer, message, seen)


ORDERS = Exercise(
    id="1.7",
    name="orders_for",
    stub='''
def orders_for(r):
    """The orders from 64 to 128 and from 128 to 256 cells: two numbers, from `error_at(cells, r)` of section 5.

    Ring of length 12.8, D = 0.5, from the heat kernel at t = 0.1 to t = 0.58, largest error, in float64.
    """
    ...  # your code
''',
    solution=orders_for,
    alternative=orders_for_many_steps_at_once,
    why=(
        "With error = c h^q, halving h divides the error by 2^q, so the order q is the binary logarithm of the\n"
        "ratio. It is 2 at r = 0.1 and 0.4, and 4 at r = 1/6. The time step leaves an error of dt / 2 times the\n"
        "second time derivative, which is D² dt / 2 times the fourth derivative in space. The space differences\n"
        "leave D h² / 12 times the same fourth derivative. The two cancel where D dt / 2 = h² / 12, and that is r\n"
        "= 1/6."
    ),
    truth=orders_truth,
    cases=lambda g: (Case((0.4,), "r = 0.4"), Case((0.1,), "r = 0.1"), Case((1 / 6,), "r = 1/6")),
    parts=("the order from 64 to 128 cells", "the order from 128 to 256 cells"),
    hints=(
        "Call `error_at(cells, r)` for 64, 128 and 256 cells. How do two neighbouring errors tell the order?",
        "If the error is c h^q and h is halved, the error is divided by 2^q. Which function gives q?",
        "q = log2(error on the coarse grid / error on the fine grid), for two pairs of grids.",
    ),
    wrong=(
        orders_wrong(
            "the ratio",
            lambda coarse, fine: coarse / fine,
            "You return the ratios of the errors. The order is their binary logarithm: a ratio of 4 is order 2.",
        ),
        orders_wrong(
            "upside down",
            lambda coarse, fine: math.log2(fine / coarse),
            "Your orders are negative: the ratio is upside down. The error on the coarse grid stands above the line.",
        ),
        orders_wrong(
            "another logarithm",
            lambda coarse, fine: math.log(coarse / fine),
            "You take the natural logarithm. The width is halved, so the order is the logarithm to base 2.",
        ),
        orders_wrong(
            "a decimal logarithm",
            lambda coarse, fine: math.log10(coarse / fine),
            "You take the decimal logarithm. The width is halved, so the order is the logarithm to base 2.",
        ),
        orders_wrong(
            "squared errors",
            lambda coarse, fine: 2 * math.log2(coarse / fine),
            "Your orders are twice too large, as from squared errors.",
        ),
        orders_wrong(
            "half the order",
            lambda coarse, fine: math.log2(coarse / fine) / 2,
            "Your orders are half of the right ones. With r fixed, dt is divided by 4 where h is halved: you have the "
            "order in dt, and asked for is the order in h.",
        ),
        orders_wrong(
            "the mean square error",
            lambda coarse, fine: math.log2(coarse / fine),
            "You compare root mean square errors. The order is nearly the same, but asked for is the largest error.",
            largest=False,
        ),
        Wrong(
            "the same steps on every grid",
            lambda r: same_steps(r),
            "You make the same number of steps on every grid, so the finer grids stop earlier. Compare at the same "
            "time: half the width needs four times the steps.",
            NEW,
        ),
        Wrong(
            "the errors themselves",
            lambda r: grid_errors(r)[:2],
            "You return errors. The order is the binary logarithm of the ratio of two of them.",
            NEW,
        ),
        Wrong(
            "from 64 to 256 cells",
            lambda r: [(math.log2(grid_errors(r)[0] / grid_errors(r)[2]))] * 2,
            "You compare 64 with 256 cells, where the width is a quarter. Compare neighbouring grids.",
            NEW,
        ),
    ),
)


def same_steps(r):
    steps = round(0.48 / (2 * r * 0.2**2))  # those of the coarsest grid
    return [math.log2(a / b) for a, b in pairwise(short_error(cells, r, steps) for cells in (64, 128, 256))]


def short_error(cells, r, steps):
    """The error against t = 0.58 of a run that stopped earlier."""
    h = 12.8 / cells
    x = -6.4 + h * (torch.arange(cells, dtype=torch.float64) + 0.5)
    p = torch.exp(-(x**2) / 0.2) / math.sqrt(0.2 * math.pi)
    for _ in range(steps):
        p = heat_step(p, r)
    return float((p - torch.exp(-(x**2) / 1.16) / math.sqrt(1.16 * math.pi)).abs().max())


# 1.8 not_yet_back


def not_yet_back(steps, d, g, walkers=10_000):
    x = torch.zeros(walkers, d)
    back = torch.zeros(walkers, dtype=torch.bool)
    for _ in range(steps):
        x = x + 2 * torch.randint(0, 2, x.shape, generator=g) - 1
        back = back | (x == 0).all(dim=1)
    return 1 - back.float().mean()


def not_yet_back_all_steps_at_once(steps, d, g, walkers=10_000):
    x = (2 * torch.randint(0, 2, (steps, walkers, d), generator=g) - 1).cumsum(dim=0)
    away = (x != 0).any(dim=2)  # (steps, walkers)
    return away.all(dim=0).double().mean()


def chance_not_back(steps, d):
    """By the chance to be at the start after 2m steps, and what it says about the first return (renewal)."""
    there = [(math.comb(2 * m, m) / 4**m) ** d for m in range(steps // 2 + 1)]
    first = [0.0]
    for m in range(1, len(there)):
        first.append(there[m] - sum(first[k] * there[m - k] for k in range(1, m)))
    return 1 - sum(first)


def back_truth(steps, d, g, walkers=10_000):
    chances = torch.full((walkers,), chance_not_back(steps, d), dtype=torch.float64)
    return float(torch.bernoulli(chances, generator=g).mean())


def back_cases(g):
    return (
        Case((4, 1, RNG, 200), "4 steps on a line, 200 walkers"),
        Case((8, 1, RNG, 200), "8 steps on a line, 200 walkers"),
        Case((6, 2, RNG, 200), "6 steps in the plane, 200 walkers"),
    )


def back_numbers(out, steps, d, walkers):
    return {
        "the mean fraction": out,
        "how much the fraction varies from call to call": walkers * (out - out.mean()) ** 2,
    }


def coin_paths(steps, d, g, walkers):
    return (2 * torch.randint(0, 2, (steps, walkers, d), generator=g) - 1).cumsum(dim=0)


def back_wrong(name, formula, message, seen=NEW):
    """A wrong answer: formula(home), from where each walker is at the start, (steps, walkers, d), to a fraction."""

    def answer(steps, d, g, walkers=10_000):
        return float(formula(coin_paths(steps, d, g, walkers) == 0))

    return Wrong(name, answer, message, seen)


NOT_YET_BACK = Exercise(
    id="1.8",
    name="not_yet_back",
    stub='''
def not_yet_back(steps, d, g, walkers=10_000):
    """The fraction of coin walkers (section 1) that were not at their start again in the first `steps` steps."""
    ...  # your code
''',
    solution=not_yet_back,
    alternative=not_yet_back_all_steps_at_once,
    why=(
        "Note for each walker whether it was ever at 0 again, in all directions at once. On a line the fraction\n"
        "falls as n^(-1/2). (A theorem says even more: it equals the chance to be at the start after n steps, n\n"
        "even.) In the plane everybody comes back too, but the fraction falls as 1 / ln n, so slowly that no\n"
        "experiment can tell. In three directions some never come back (Polya 1921)."
    ),
    truth=back_truth,
    cases=back_cases,
    view=back_numbers,
    hints=(
        "A walker that came back and left again has come back. So you need a memory for each walker.",
        "After each step, note who is at 0 now: `back = back | (x == 0).all(dim=1)`.",
        "In the plane a walker is back only if *both* coordinates are 0 at the same time.",
    ),
    wrong=(
        back_wrong(
            "those who are away now",
            lambda home: (~home[-1].all(dim=1)).double().mean(),
            "You look at the last step only. A walker that was back and left again counts as back.",
        ),
        back_wrong(
            "those who were back",
            lambda home: home.all(dim=2).any(dim=0).double().mean(),
            "You return the fraction that was back. Asked for is the fraction that was not.",
        ),
        back_wrong(
            "right on a line only",
            lambda home: (~home.any(dim=2).any(dim=0)).double().mean(),
            "This is right on a line only. Perhaps a walker counts as back where one of its coordinates is 0: all of "
            "them must be. Or you count those who are at the start after the last step. On a line, after an even "
            "number of steps, that has the same mean, by a theorem.",
            "'is at the start' for 'ever was'",
        ),
        back_wrong(
            "each axis on its own",
            lambda home: (~home.any(dim=0).all(dim=1)).double().mean(),
            "You look at each axis on its own: x may be 0 at one time and y at another. Both must be 0 at the "
            "same time.",
        ),
        back_wrong(
            "each return counted",
            lambda home: 1 - home.all(dim=2).sum() / home.shape[1],
            "You subtract all returns, and a walker that returns twice counts twice. Note for each walker whether it "
            "was *ever* back.",
        ),
        Wrong(
            "the sum of the coordinates",
            lambda steps, d, g, walkers=10_000: float(
                (coin_paths(steps, d, g, walkers).sum(dim=2) != 0).all(dim=0).double().mean()
            ),
            "In the plane you take a walker for back where its coordinates *add up* to 0. Both must be 0.",
            NEW,
        ),
        back_wrong(
            "the last step left out",
            lambda home: (~home[:-1].all(dim=2).any(dim=0)).double().mean(),
            "You leave out the last step. A return in step number `steps` counts.",
            "off by one",
        ),
        back_wrong(
            "the start counted",
            lambda home: 0.0 * home.double().mean(),
            "Everybody is back at once, because you count the start itself. Look after each step, not before.",
        ),
        back_wrong(
            "a mean over the time",
            lambda home: (~home.all(dim=2)).double().mean(),
            "You average over all steps. That is the fraction of the time that walkers spend away.",
        ),
        back_wrong(
            "nobody comes back",
            lambda home: (~home[::2].all(dim=2).any(dim=0)).double().mean(),
            "With your function nobody ever comes back. That happens where one looks after odd numbers of steps only, "
            "since a coin walker can be at its start after an *even* number. It also happens with steps that are not "
            "whole numbers.",
            "parity",
        ),
        Wrong(
            "the value for a line",
            lambda steps, d, g, walkers=10_000: float((coin_paths(steps, 1, g, walkers) != 0).all(0).double().mean()),
            "In the plane you get the fraction for a line. One coin for all directions does that, and so does an "
            "average over the axes. Each direction has its own coin, and a walker is back where all coordinates are "
            "0.",
            NEW,
        ),
    ),
)


# 1.9 evidence


def evidence(first, last):
    def squares(x):
        return ((x - x.mean(dim=0)) ** 2).sum()

    return (squares(last) - squares(first)) / 2


def evidence_by_variances(first, last):
    n = len(first)
    return n / 2 * (last.var(dim=0, correction=0) - first.var(dim=0, correction=0)).sum()


def log_crowd(x):
    """The log-density of a crowd of variance 1 around a middle that is equally likely everywhere, up to a constant.

    In other coordinates: the middle is one direction of the space of all walkers, and the rest is standard normal.
    """
    n = len(x)
    helmert = torch.linalg.qr(torch.cat([torch.ones(n, 1, dtype=x.dtype), torch.eye(n, dtype=x.dtype)[:, 1:]], dim=1))[
        0
    ]
    rest = helmert[:, 1:].T @ x
    return torch.distributions.Normal(0.0, 1.0).log_prob(rest).sum()


def evidence_truth(first, last):  # start and jump, in both directions of time
    jump = torch.distributions.Normal(0.0, 1.0)
    forwards = log_crowd(first) + jump.log_prob(last - first).sum()
    backwards = log_crowd(last) + jump.log_prob(first - last).sum()
    return forwards - backwards


def evidence_cases(g):
    first = torch.tensor([[4.0, 0.0], [6.0, 0.0]], dtype=torch.float64)
    last = torch.tensor([[3.0, 1.0], [7.0, 1.0]], dtype=torch.float64)
    crowd = torch.tensor([3.0, -2.0], dtype=torch.float64) + normal((12, 2), g, torch.float64)
    moved = crowd + 0.4 + normal((12, 2), g, torch.float64)
    return (
        Case((first, last), "two walkers that go from (4, 0) and (6, 0) to (3, 1) and (7, 1)"),
        Case((crowd, moved), "a crowd of 12 walkers around (3, -2)"),
    )


def around(x):
    return x - x.mean(dim=0)


EVIDENCE = Exercise(
    id="1.9",
    name="evidence",
    stub='''
def evidence(first, last):
    """The log of the odds that a film runs forwards, from its first and last frame, (walkers, 2) each: a number."""
    ...  # your code
''',
    solution=evidence,
    alternative=evidence_by_variances,
    why=(
        "The density of a film is that of its start, times that of all its steps. The steps have the same density\n"
        "in both directions, so they cancel, and all frames between the two ends with them. What is left is the\n"
        "density of the start, read off at one end and at the other: exp(-sum |x - mean|² / 2), since the middle\n"
        "is unknown. So no rule that looks at all frames can do better than 'the wider end is the last'."
    ),
    truth=evidence_truth,
    cases=evidence_cases,
    hints=(
        "The density of a film is p(start) times the densities of the steps. Which of them are the same backwards?",
        "Forwards the start is `first`, backwards it is `last`. What is the log of p(first) / p(last)?",
        "The middle is unknown, so only distances from the crowd's own mean count: -sum |x - mean|² / 2.",
    ),
    wrong=(
        Wrong(
            "the sign",
            lambda first, last: (around(first).square().sum() - around(last).square().sum()) / 2,
            "The sign is turned around: for a film in which the crowd gets wider, forwards is more likely.",
            NEW,
        ),
        Wrong(
            "the factor 1/2",
            lambda first, last: around(last).square().sum() - around(first).square().sum(),
            "The factor 1/2 is missing: the log of a normal density is -x²/2.",
            NEW,
        ),
        Wrong(
            "a mean over walkers",
            lambda first, last: (around(last).square().sum() - around(first).square().sum()) / 2 / len(first),
            "You average over the walkers. They are independent, so their log-densities add: every walker is evidence.",
            NEW,
        ),
        Wrong(
            "a mean over everything",
            lambda first, last: (around(last).square().mean() - around(first).square().mean()) / 2,
            "You average over walkers and directions. Both are independent, so their log-densities add.",
            NEW,
        ),
        Wrong(
            "one direction only",
            lambda first, last: (around(last)[:, 0].square().sum() - around(first)[:, 0].square().sum()) / 2,
            "You use the first direction only. The sum over the directions is missing.",
            NEW,
        ),
        Wrong(
            "one walker's evidence each",
            lambda first, last: (around(last).square() - around(first).square()).sum(dim=1) / 2,
            "You return a number for each walker. The evidence of the film is their sum.",
            NEW,
        ),
        Wrong(
            "distances for squares",
            lambda first, last: (around(last).norm(dim=1).sum() - around(first).norm(dim=1).sum()) / 2,
            "You add distances. The log of a normal density holds squared distances.",
            NEW,
        ),
        Wrong(
            "standard deviations",
            lambda first, last: len(first) / 2 * (last.std(dim=0) - first.std(dim=0)).sum(),
            "You compare standard deviations. It is the squares, the variances, that stand in the log-density.",
            NEW,
        ),
        Wrong(
            "variances over n - 1",
            lambda first, last: len(first) / 2 * (last.var(dim=0) - first.var(dim=0)).sum(),
            "Your variances divide by n - 1, as `var` does by default. The log-density holds the sum of squares, "
            "which is n times the variance over n.",
            NEW,
        ),
        Wrong(
            "the middle at the origin",
            lambda first, last: (last.square().sum() - first.square().sum()) / 2,
            "You measure distances from the origin. The middle is unknown: measure from the crowd's own mean.",
            NEW,
        ),
        Wrong(
            "one middle for both frames",
            lambda first, last: ((last - first.mean(dim=0)).square().sum() - around(first).square().sum()) / 2,
            "You measure both frames from the middle of the first one. Backwards, the start is the last frame, and its "
            "own middle counts.",
            NEW,
        ),
        Wrong(
            "a variance of 2 at the end",
            lambda first, last: (
                (around(last).square().sum() / 2 - around(first).square().sum()) / 2 + (len(first) - 1) * math.log(2)
            ),
            "You give the first frame the distribution of the start, and the last one that of the end. Compare the two "
            "*films*: in each of them the start has variance 1.",
            NEW,
        ),
        Wrong(
            "the odds themselves",
            lambda first, last: torch.exp((around(last).square().sum() - around(first).square().sum()) / 2),
            "You return the odds. Asked for is their logarithm.",
            NEW,
        ),
        Wrong(
            "a probability",
            lambda first, last: torch.sigmoid((around(last).square().sum() - around(first).square().sum()) / 2),
            "You return the probability of forwards. Asked for is the log of the odds.",
            NEW,
        ),
    ),
)

EXERCISES = (DIFFUSION, BROWNIAN, HEAT, UNFAIR, STEPS_NEEDED, STUDENT, ORDERS, NOT_YET_BACK, EVIDENCE)
