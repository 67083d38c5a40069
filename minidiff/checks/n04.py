"""The exercises of notebook 04, out of equilibrium: 4.1 to 4.3 in its flow, 4.4 to 4.9 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from minidiff import physics
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Wrong

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Out of equilibrium"
UNSEEN = "not seen in public yet"
WALKERS = 250  # in the plainest case; with 400 calls, 100,000 draws


def normal(x, g):
    return torch.randn(x.shape, generator=g, dtype=x.dtype)


def uniform(low: float, high: float, g: torch.Generator) -> float:
    """A number of two decimals between low and high."""
    return round(low + (high - low) * float(torch.rand((), generator=g)), 2)


# 4.1 ou_jump


def ou_jump(x, stiffness, temperature, t, g):
    keep = math.exp(-stiffness * t)
    variance = temperature / stiffness * (1 - keep**2)
    return keep * x + math.sqrt(variance) * torch.randn(x.shape, generator=g, dtype=x.dtype)


def ou_jump_in_place(x, stiffness, temperature, t, g):
    spread = (-temperature * math.expm1(-2 * stiffness * t) / stiffness) ** 0.5
    return torch.empty_like(x).normal_(generator=g).mul_(spread).add_(x, alpha=math.exp(-stiffness * t))


def followed(stiffness: float, temperature: float, t: float) -> tuple[float, float]:
    """Factor and variance from two half jumps, and so on down to a tiny one, which Euler's step makes well enough."""
    halvings = 40
    dt = t / 2**halvings
    factor, variance = -stiffness * dt, 2 * temperature * dt  # factor is kept minus 1, so that nothing is lost
    for _ in range(halvings):
        variance = variance * (1 + (1 + factor) ** 2)
        factor = factor * (2 + factor)
    return 1 + factor, variance


def ou_truth(x, stiffness, temperature, t, g):
    factor, variance = followed(stiffness, temperature, t)
    return torch.normal(factor * x, torch.full_like(x, variance**0.5), generator=g)


def ou_cases(g):
    centre = torch.tensor([10.0, -20.0], dtype=torch.float64)  # far out, so that wrong factors show
    cloud = centre + 4 * torch.randn(100, 2, generator=g, dtype=torch.float64)
    kappa, heat, t = uniform(0.4, 0.6, g), uniform(1.8, 2.2, g), uniform(0.6, 0.9, g)
    return (
        Case(
            (torch.ones(WALKERS, 1, dtype=torch.float32), 2.0, 4.0, 0.25, RNG),
            f"x = 1 ({WALKERS} walkers), stiffness 2, temperature 4 and t = 0.25",
        ),
        Case(
            (cloud, kappa, heat, t, RNG),
            f"100 walkers around (10, -20) in float64, stiffness {kappa}, temperature {heat} and t = {t}",
        ),
    )


def ou_numbers(out: Tensor, x: Tensor, stiffness: float, temperature: float, t: float) -> dict[str, Tensor]:
    """What a jump kept of x and what noise it added: for each number a mean for each call."""
    noise = out - followed(stiffness, temperature, t)[0] * x
    numbers = {
        "the mean of the result": out,
        "the mean of the result times x": out * x,
        "the variance of the noise": noise**2,
        "the fourth moment of the noise": noise**4,
        "the mean product of the noise of one walker and the next": noise[:, :-1] * noise[:, 1:],
        "the variance of the noise within one call": noise.var(dim=1),
    }
    if x.shape[1] > 1:
        numbers["the mean product of a walker's noise on both axes"] = noise[..., :1] * noise[..., 1:]
    return {name: value.double().flatten(1).mean(dim=1) for name, value in numbers.items()}


def jumped(factor, variance):
    """A jump with a wrong factor or variance; each is a function of stiffness, temperature and time."""

    def answer(x, stiffness, temperature, t, g):
        k, heat = stiffness, temperature
        return factor(k, heat, t) * x + math.sqrt(variance(k, heat, t)) * normal(x, g)

    return answer


def kept(k, heat, t):
    return math.exp(-k * t)


def added(k, heat, t):
    return heat / k * (1 - math.exp(-2 * k * t))


OU_JUMP = Exercise(
    id="4.1",
    name="ou_jump",
    stub='''
def ou_jump(x, stiffness, temperature, t, g):
    """x(t) for walkers that are at x at time 0, of the same shape and dtype. All but x and g are numbers."""
    ...  # your code
''',
    solution=ou_jump,
    alternative=ou_jump_in_place,
    why=(
        "With y = e^(kappa t) x the force drops out, so y only collects noise. Divided by e^(kappa t), the noise of a\n"
        "moment s has the variance 2 k_B T e^(-2 kappa (t - s)) ds. Its integral from 0 to t is\n"
        "(k_B T / kappa) (1 - e^(-2 kappa t)): 0 at the start, and Boltzmann's variance after a long time."
    ),
    truth=ou_truth,
    cases=ou_cases,
    view=ou_numbers,
    hints=(
        "Put y = e^(kappa t) x and differentiate it. What is left of dy, and what multiplies dw?",
        "x(t) is e^(-kappa t) x(0) plus noise. Its variance is 2 k_B T times an integral of e^(-2 kappa (t - s)) "
        "over s.",
        "Test the variance: it must be 0 at t = 0, and k_B T / kappa after a long time. Noise takes its root.",
    ),
    wrong=(
        Wrong(
            "rate 2 kappa in the mean",
            jumped(lambda k, heat, t: math.exp(-2 * k * t), added),
            "You multiply x by e^(-2 kappa t). That is how the variance of the start fades. The position itself fades "
            "like e^(-kappa t).",
            UNSEEN,
        ),
        Wrong(
            "no root before the noise",
            lambda x, stiffness, temperature, t, g: (
                math.exp(-stiffness * t) * x + added(stiffness, temperature, t) * normal(x, g)
            ),
            "You multiply the noise by its variance. A factor before random numbers is a standard deviation, so the "
            "root is missing.",
            UNSEEN,
        ),
        Wrong(
            "temperature and stiffness missing in the noise",
            jumped(kept, lambda k, heat, t: 1 - math.exp(-2 * k * t)),
            "The factor k_B T / kappa is missing in the variance of the noise. A hotter or softer bowl ends with a "
            "wider cloud.",
            UNSEEN,
        ),
        Wrong(
            "not divided by the stiffness",
            jumped(kept, lambda k, heat, t: heat * (1 - math.exp(-2 * k * t))),
            "The variance of your noise ends at k_B T. In a bowl of stiffness kappa it must end at k_B T / kappa.",
            UNSEEN,
        ),
        Wrong(
            "temperature missing",
            jumped(kept, lambda k, heat, t: (1 - math.exp(-2 * k * t)) / k),
            "The temperature is missing: your noise is that of k_B T = 1.",
            UNSEEN,
        ),
        Wrong(
            "multiplied by the stiffness",
            jumped(kept, lambda k, heat, t: heat * k * (1 - math.exp(-2 * k * t))),
            "You multiply the variance of the noise by the stiffness. A stiffer bowl holds the walkers closer "
            "together, "
            "so divide by it.",
            UNSEEN,
        ),
        Wrong(
            "rate kappa in the variance",
            jumped(kept, lambda k, heat, t: heat / k * (1 - math.exp(-k * t))),
            "Your variance has e^(-kappa t) in it. Noise shrinks by this factor, so its variance shrinks by the "
            "square, e^(-2 kappa t).",
            UNSEEN,
        ),
        Wrong(
            "one Euler step",
            jumped(lambda k, heat, t: 1 - k * t, lambda k, heat, t: 2 * heat * t),
            "This is one Euler step of length t. It is right for very small t only. The exercise asks for an exact "
            "jump.",
            UNSEEN,
        ),
        Wrong(
            "noise of free Brownian motion",
            jumped(kept, lambda k, heat, t: 2 * heat * t),
            "Your noise has the variance 2 k_B T t, as without a bowl. But the bowl also shrinks the noise that came "
            "in earlier.",
            UNSEEN,
        ),
        Wrong(
            "the box as it stands",
            jumped(lambda k, heat, t: math.exp(-t), lambda k, heat, t: 1 - math.exp(-2 * t)),
            "You use the boxed jump as it stands. It holds for stiffness 1 and temperature 1 only.",
            UNSEEN,
        ),
        Wrong(
            "stiffness missing in both exponents",
            jumped(lambda k, heat, t: math.exp(-t), lambda k, heat, t: heat / k * (1 - math.exp(-2 * t))),
            "The stiffness is missing in the exponents. A stiff bowl pulls the walkers in faster, like e^(-kappa t).",
            UNSEEN,
        ),
        Wrong(
            "the noise of the end at once",
            jumped(kept, lambda k, heat, t: heat / k),
            "You add the noise of the equilibrium in full, at every t. At t = 0 a jump must change nothing.",
            UNSEEN,
        ),
        Wrong(
            "the noise shrinks too",
            lambda x, stiffness, temperature, t, g: (
                math.exp(-stiffness * t) * (x + math.sqrt(added(stiffness, temperature, t)) * normal(x, g))
            ),
            "You add the noise before you shrink, so the noise is shrunk once too often. Shrink x alone, then add.",
            UNSEEN,
        ),
        Wrong(
            "factor and noise add up to 1",
            lambda x, stiffness, temperature, t, g: (
                math.exp(-stiffness * t) * x
                + math.sqrt(temperature / stiffness) * (1 - math.exp(-stiffness * t)) * normal(x, g)
            ),
            "Your noise has the factor 1 - e^(-kappa t). The two factors do not add up to 1. Their squares do, because "
            "variances add.",
            UNSEEN,
        ),
        Wrong(
            "uniform noise",
            lambda x, stiffness, temperature, t, g: (
                math.exp(-stiffness * t) * x
                + math.sqrt(added(stiffness, temperature, t)) * torch.rand(x.shape, generator=g, dtype=x.dtype)
            ),
            "Your noise is uniform from 0 to 1, as `torch.rand` draws it. The normal distribution is `torch.randn`.",
            "acids-ircam/diffusion_models#8, zhuangdizhu/FedGen#10",
        ),
        Wrong(
            "one noise for all walkers",
            lambda x, stiffness, temperature, t, g: (
                math.exp(-stiffness * t) * x + math.sqrt(added(stiffness, temperature, t)) * normal(x[:1], g)
            ),
            "All walkers get the same noise, because you draw it for one walker only. Draw noise of the shape of x.",
            "jolibrain/joliGEN#527",
        ),
    ),
)


# 4.2 beta_of


def beta_of(stiffness, dt):
    return 1 - math.exp(-2 * stiffness * dt)


def beta_of_by_the_factor(stiffness, dt):
    keep = math.exp(-stiffness * dt)  # what is left of x; a cloud of variance 1 keeps it, so keep² + beta = 1
    return (1 - keep) * (1 + keep)


def beta_truth(stiffness, dt):  # the noise of the package's process, with the temperature that gives variance 1
    bowl = physics.OrnsteinUhlenbeck(torch.zeros(1), stiffness=stiffness, temperature=stiffness)
    return float(bowl.transition(dt)[1])


def beta_cases(g):
    kappa, dt = uniform(0.3, 0.7, g), uniform(0.8, 1.2, g)
    return (
        Case((2.0, 0.25), "stiffness 2 and dt = 0.25"),
        Case((kappa, dt), f"stiffness {kappa} and dt = {dt}"),
        Case((1.0, 0.01), "stiffness 1 and dt = 0.01"),  # not smaller: 1 - e^(-2 kappa dt) has to survive float32
    )


BETA_OF = Exercise(
    id="4.2",
    name="beta_of",
    stub='''
def beta_of(stiffness, dt):
    """The variance that one exact step of length dt adds, in a bowl whose equilibrium has variance 1. A number."""
    ...  # your code
''',
    solution=beta_of,
    alternative=beta_of_by_the_factor,
    why=(
        "A jump over dt adds the variance (k_B T / kappa) (1 - e^(-2 kappa dt)), and k_B T / kappa = 1 here. For "
        "small\n"
        "steps this is about 2 kappa dt. But it never exceeds 1, however long the step is."
    ),
    truth=beta_truth,
    cases=beta_cases,
    hints=(
        "It is exercise 4.1 once more: what is the variance of the noise of a jump over the time dt?",
        "The variance at equilibrium is k_B T / kappa. What does it mean that this is 1?",
        "Test it: after a very long step nothing is left of the start. How large must beta be then?",
    ),
    wrong=(
        Wrong(
            "small steps",
            lambda stiffness, dt: 2 * stiffness * dt,
            "You take 2 kappa dt. That is the first term for small steps, and it exceeds 1 for long ones. The exercise "
            "asks for the exact variance.",
            UNSEEN,
        ),
        Wrong(
            "small steps, stiffness missing",
            lambda stiffness, dt: 2 * dt,
            "You take 2 dt. That is the first term for small steps, and at stiffness 1 only. The exercise asks for the "
            "exact variance, for any stiffness.",
            UNSEEN,
        ),
        Wrong(
            "the factor of x",
            lambda stiffness, dt: math.exp(-stiffness * dt),
            "You return e^(-kappa dt). That is the factor before the old position, sqrt(1 - beta).",
            UNSEEN,
        ),
        Wrong(
            "1 minus the factor",
            lambda stiffness, dt: 1 - math.exp(-stiffness * dt),
            "You return 1 - e^(-kappa dt). Then factor and beta would add up to 1. It is the *square* of the factor "
            "that adds up to 1 with beta.",
            UNSEEN,
        ),
        Wrong(
            "1 - beta",
            lambda stiffness, dt: math.exp(-2 * stiffness * dt),
            "You return e^(-2 kappa dt). That is what is left of the old variance, 1 - beta. (DDPM calls it alpha.)",
            UNSEEN,
        ),
        Wrong(
            "stiffness forgotten",
            lambda stiffness, dt: 1 - math.exp(-2 * dt),
            "The stiffness is missing. In a stiffer bowl the same time step forgets more.",
            UNSEEN,
        ),
        Wrong(
            "standard deviation",
            lambda stiffness, dt: math.sqrt(1 - math.exp(-2 * stiffness * dt)),
            "You return the standard deviation of the noise. beta is its variance.",
            "NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "temperature 1",
            lambda stiffness, dt: (1 - math.exp(-2 * stiffness * dt)) / stiffness,
            "You divide by the stiffness, as at k_B T = 1. But here the equilibrium has variance 1, so "
            "k_B T / kappa = 1.",
            UNSEEN,
        ),
        Wrong(
            "half the rate is missing",
            lambda stiffness, dt: 1 - math.exp(-4 * stiffness * dt),
            "You have e^(-4 kappa dt). The factor before x is e^(-kappa dt), and its square is e^(-2 kappa dt): you "
            "squared once too often.",
            UNSEEN,
        ),
        Wrong(
            "the sign of the exponent",
            lambda stiffness, dt: 1 - math.exp(2 * stiffness * dt),
            "The sign of your exponent is turned around, so your variance is negative.",
            UNSEEN,
        ),
        Wrong(
            "from Euler's factor",
            lambda stiffness, dt: 1 - (1 - stiffness * dt) ** 2,
            "You take 1 - kappa dt for the factor before x. That is Euler's step. The exact factor is e^(-kappa dt).",
            UNSEEN,
        ),
    ),
)


# 4.3 jarzynski


def jarzynski(work, temperature):
    return -temperature * float(torch.logsumexp(-work / temperature, dim=0) - math.log(len(work)))


def jarzynski_from_the_smallest(work, temperature):
    least = work.min()  # the walker that counts most; its weight becomes 1, and no number is too large or too small
    weights = torch.exp(-(work - least) / temperature)
    return float(least - temperature * weights.mean().log())


def jarzynski_truth(work, temperature):  # one walker after another, by the logarithm of a sum of two
    total = -math.inf
    for value in work.tolist():
        high, low = max(total, -value / temperature), min(total, -value / temperature)
        total = high + math.log1p(math.exp(low - high))
    return temperature * (math.log(work.numel()) - total)


def work_cases(g):
    few = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    many = 1 + 1.5 * torch.randn(40, generator=g, dtype=torch.float64)
    large = 5000 + 2 * torch.randn(40, generator=g, dtype=torch.float64)
    heat = uniform(1.8, 2.4, g)
    return (
        Case((few, 0.5), "work = 0.5, 1, 3 and temperature 0.5"),
        Case((many, heat), f"40 works around 1 and temperature {heat}"),
        Case((large, 1.0), "40 works around 5000 and temperature 1"),
    )


def log_mean_exp(values):
    return torch.logsumexp(values, dim=0) - math.log(len(values))


JARZYNSKI = Exercise(
    id="4.3",
    name="jarzynski",
    stub='''
def jarzynski(work, temperature):
    """The estimate of Delta F. work: (N,), one number a walker; temperature: k_B T, a number. Returns a number."""
    ...  # your code
''',
    solution=jarzynski,
    alternative=jarzynski_from_the_smallest,
    why=(
        "Solve the equality for Delta F: it is -k_B T times the logarithm of the mean of e^(-W / k_B T). The "
        "mean is a\n"
        "sum divided by the number of walkers, so its logarithm is that of the sum minus ln N. `torch.logsumexp` "
        "takes\n"
        "out the largest term before it computes the exponentials, and adds it back. So e^(-5000) never appears."
    ),
    truth=jarzynski_truth,
    cases=work_cases,
    hints=(
        "Take the logarithm of both sides of the equality. What do you multiply by to get Delta F alone?",
        "The mean is over e^(-W / k_B T), one number for each walker. The logarithm comes after the mean.",
        "e^(-5000) is 0 for a computer. Compute ln sum e^(...) by `torch.logsumexp`, and turn the sum into a mean.",
    ),
    wrong=(
        Wrong(
            "the mean work",
            lambda work, temperature: float(work.mean()),
            "You return the mean work. It is larger than Delta F, by what is lost as heat. (The logarithm and the mean "
            "cannot be exchanged.)",
            UNSEEN,
        ),
        Wrong(
            "the sign in the exponent",
            lambda work, temperature: temperature * float(log_mean_exp(work / temperature)),
            "You average e^(+W / k_B T). Then the walkers with the most work count most. It is e^(-W / k_B T).",
            UNSEEN,
        ),
        Wrong(
            "the sign in front",
            lambda work, temperature: temperature * float(log_mean_exp(-work / temperature)),
            "The minus in front is missing: you return -Delta F.",
            UNSEEN,
        ),
        Wrong(
            "no temperature",
            lambda work, temperature: -float(log_mean_exp(-work)),
            "The temperature appears nowhere: you take k_B T = 1.",
            UNSEEN,
        ),
        Wrong(
            "temperature missing in front",
            lambda work, temperature: -float(log_mean_exp(-work / temperature)),
            "You return Delta F in units of k_B T. Multiply by the temperature at the end.",
            "choderalab/pymbar#406",
        ),
        Wrong(
            "temperature missing in the exponent",
            lambda work, temperature: -temperature * float(log_mean_exp(-work)),
            "The temperature is missing in the exponent: it is W / k_B T.",
            UNSEEN,
        ),
        Wrong(
            "times the temperature in the exponent",
            lambda work, temperature: -float(log_mean_exp(-work * temperature)) / temperature,
            "You take the temperature for its inverse, as if it were beta = 1 / k_B T.",
            UNSEEN,
        ),
        Wrong(
            "sum for mean",
            lambda work, temperature: -temperature * float(torch.logsumexp(-work / temperature, dim=0)),
            "You take the logarithm of the sum, not of the mean. Subtract ln N, or more walkers would mean a smaller "
            "Delta F.",
            UNSEEN,
        ),
        Wrong(
            "divided after the logarithm",
            lambda work, temperature: -temperature * float(torch.logsumexp(-work / temperature, dim=0)) / len(work),
            "You divide the logarithm of the sum by N. The mean has to be taken before the logarithm: subtract ln N.",
            UNSEEN,
        ),
        Wrong(
            "overflow",
            lambda work, temperature: -temperature * float(torch.log(torch.exp(-work / temperature).mean())),
            "Your formula is right, but its numbers are too small for a computer: e^(-5000) is 0, and ln 0 is minus "
            "infinity. `torch.logsumexp` avoids them.",
            "choderalab/perses#1239, choderalab/pymbar#406",
        ),
        Wrong(
            "maximum not added back",
            lambda work, temperature: -temperature * float(torch.exp(-(work - work.min()) / temperature).mean().log()),
            "You subtract the smallest work before the exponential, which is a good idea, but you never add it back.",
            "choderalab/perses#1239",
        ),
        Wrong(
            "mean minus half the variance",
            lambda work, temperature: float(work.mean() - work.var(unbiased=False) / (2 * temperature)),
            "You return the mean minus Var / 2 k_B T. That is right if the work is normal, or hardly scatters. The "
            "equality holds for any distribution.",
            UNSEEN,
        ),
        Wrong(
            "the smallest work",
            lambda work, temperature: float(work.min()),
            "You return the smallest work. The walkers with little work count most, but not alone.",
            UNSEEN,
        ),
        Wrong(
            "the average itself",
            lambda work, temperature: float(torch.exp(-work / temperature).mean()),
            "You return the mean of e^(-W / k_B T). That is e^(-Delta F / k_B T). Solve it for Delta F.",
            UNSEEN,
        ),
    ),
)


# 4.4 two_axes


def two_axes(stiffness, t):
    factor = torch.exp(-stiffness * t)
    variance = (1 - factor**2) / stiffness
    return factor, variance, 2 * float(stiffness.min())


def two_axes_in_numbers(stiffness, t):
    factors = [math.exp(-kappa * t) for kappa in stiffness.tolist()]
    variances = [-math.expm1(-2 * kappa * t) / kappa for kappa in stiffness.tolist()]
    rate = 2 * min(stiffness.tolist())
    return torch.tensor(factors, dtype=torch.float64), torch.tensor(variances, dtype=torch.float64), rate


def axes_truth(stiffness, t):  # by the package, and the rate by following the KL of a wrong mean
    bowl = physics.OrnsteinUhlenbeck(torch.zeros(2), stiffness=torch.diag(stiffness), temperature=1.0)
    decay, noise = bowl.transition(t)
    late, precision = 20.0, torch.linalg.inv(bowl.equilibrium()[1])
    means = [bowl.transition(time)[0].sum(dim=1) for time in (late, late + 1)]
    first, second = (float(mean @ precision @ mean) / 2 for mean in means)
    return decay.diagonal(), noise.diagonal(), math.log(first / second)


def axes_cases(g):
    other = torch.tensor([uniform(1.2, 1.6, g), uniform(2.6, 3.2, g)], dtype=torch.float64)
    t = uniform(0.2, 0.4, g)
    return (
        Case((torch.tensor([4.0, 1.0], dtype=torch.float64), 0.5), "stiffness (4, 1) and t = 0.5"),
        Case((other, t), f"stiffness ({other[0]:.2f}, {other[1]:.2f}) and t = {t}"),
    )


def axes_wrong(name, message, factor=None, variance=None, rate=None):
    """A wrong answer with one part exchanged."""

    def answer(stiffness, t):
        right = two_axes(stiffness, t)
        parts = [part if right is None else right(stiffness, t) for part, right in zip(right, changes, strict=True)]
        return tuple(parts)

    changes = (factor, variance, rate)
    return Wrong(name, answer, message, UNSEEN)


TWO_AXES = Exercise(
    id="4.4",
    name="two_axes",
    stub='''
def two_axes(stiffness, t):
    """The factor of the mean at time t on each axis, (2,), the variance that noise has added by then, (2,), and a rate.
    stiffness: (2,), one for each axis. The rate is a number r: in the end the KL falls like e^(-r t)."""
    ...  # your code
''',
    solution=two_axes,
    alternative=two_axes_in_numbers,
    why=(
        "The axes do not know of each other, so each of them is a bowl of its own. The stiff axis is forgotten "
        "first. The\n"
        "KL of a wrong mean is of second order in the mean, so it falls like e^(-2 kappa t) on each axis, and in "
        "the end\n"
        "only the soft axis counts."
    ),
    truth=axes_truth,
    cases=axes_cases,
    parts=("the factors", "the variances", "the rate"),
    hints=(
        "With a diagonal stiffness matrix, does the motion along one axis depend on the other?",
        "Use exercise 4.1 on each axis, at temperature 1. In which direction is the cloud narrower in the end?",
        "On each axis the KL of a wrong mean m is kappa m² / 2. How fast does it fall, and which axis is the last?",
    ),
    wrong=(
        Wrong(
            "axes exchanged",
            lambda stiffness, t: two_axes(stiffness.flip(0), t),
            "Your two axes are exchanged. The first entry belongs to the first stiffness.",
            UNSEEN,
        ),
        Wrong(
            "variances for stiffnesses",
            lambda stiffness, t: two_axes(1 / stiffness, t),
            "You take the stiffnesses for variances. At k_B T = 1 the variance in the end is 1 / kappa, so a "
            "stiff axis "
            "is narrow.",
            UNSEEN,
        ),
        axes_wrong(
            "rate kappa for 2 kappa",
            "Your rate is that of the mean. The KL of a wrong mean is of second order in it, so it falls twice "
            "as fast.",
            rate=lambda stiffness, t: float(stiffness.min()),
        ),
        axes_wrong(
            "the rate of the stiff axis",
            "Your rate is that of the stiff axis, which is forgotten first. In the end the slowest part is left.",
            rate=lambda stiffness, t: 2 * float(stiffness.max()),
        ),
        axes_wrong(
            "the rates added up",
            "You add up the rates of both axes. The KL is a sum of two terms, and in the end the slower one is left.",
            rate=lambda stiffness, t: 2 * float(stiffness.sum()),
        ),
        axes_wrong(
            "the mean of the rates",
            "You take the mean of both rates. The KL is a sum of two terms, and in the end the slower one is left.",
            rate=lambda stiffness, t: float(stiffness.sum()),
        ),
        axes_wrong(
            "the rate of a wrong variance",
            "Your rate, 4 kappa, is that of a wrong variance. The mean is wrong too, and it is remembered longer.",
            rate=lambda stiffness, t: 4 * float(stiffness.min()),
        ),
        axes_wrong(
            "not divided by the stiffness",
            "Your variances both end at 1. At k_B T = 1 they must end at 1 / kappa.",
            variance=lambda stiffness, t: 1 - torch.exp(-2 * stiffness * t),
        ),
        axes_wrong(
            "rate kappa in the variance",
            "Your variances have e^(-kappa t) in them. Noise shrinks by this factor, so its variance shrinks by the "
            "square.",
            variance=lambda stiffness, t: (1 - torch.exp(-stiffness * t)) / stiffness,
        ),
        axes_wrong(
            "standard deviations",
            "You return standard deviations. The exercise asks for variances.",
            variance=lambda stiffness, t: ((1 - torch.exp(-2 * stiffness * t)) / stiffness).sqrt(),
        ),
        axes_wrong(
            "the variances of the end",
            "You return the variances of the equilibrium. At the time t noise has not added all of them yet.",
            variance=lambda stiffness, t: 1 / stiffness,
        ),
        axes_wrong(
            "the factor squared",
            "Your factors are e^(-2 kappa t). That is what is left of the start's variance. The mean is multiplied by "
            "its root.",
            factor=lambda stiffness, t: torch.exp(-2 * stiffness * t),
        ),
    ),
)


# 4.5 slowest_rate


def slowest_rate(barrier, grid):
    operator = physics.fokker_planck_operator(physics.double_well(barrier), grid, temperature=1.0)
    eigenvalues = torch.linalg.eigvals(torch.from_numpy(operator.toarray())).real.sort(descending=True).values
    return -2 * float(eigenvalues[1])  # eigenvalues[0] is 0: the equilibrium, which stays


def slowest_rate_by_symmetry(barrier, grid):
    well = physics.double_well(barrier)
    matrix = torch.from_numpy(physics.fokker_planck_operator(well, grid, temperature=1.0).toarray())
    root = physics.boltzmann(well, grid, 1.0).flatten().sqrt()
    symmetric = matrix * root / root[:, None]  # detailed balance makes it so, with the same eigenvalues
    return -2 * torch.linalg.eigvalsh((symmetric + symmetric.T) / 2)[-2].item()


def well_rates(barrier: float, grid: physics.Grid) -> Tensor:
    """The rates of all parts of a density, (n,), the slowest first, from the hops between neighbouring cells."""
    energy = barrier * (grid.points[:, 0] ** 2 - 1) ** 2
    rise = energy.diff()
    rise = torch.where(rise.abs() < 1e-9, 1e-9, rise)  # the rate on flat land is a limit
    up = rise / torch.expm1(rise) / grid.widths[0] ** 2
    down = up * rise.exp()
    away = torch.zeros_like(energy)
    away[:-1] += up
    away[1:] += down
    beside = (up * down).sqrt()  # the symmetric form of the matrix has these beside its diagonal
    return torch.linalg.eigvalsh(away.diag() - beside.diag(1) - beside.diag(-1))


def rate_truth(barrier, grid):
    return 2 * float(well_rates(barrier, grid)[1])


def rate_cases(g):
    barrier = uniform(1.8, 3.2, g)
    return (
        Case((1.0, physics.Grid(((-2.5, 2.5),), (50,))), "barrier 1 on 50 cells from -2.5 to 2.5"),
        Case((barrier, physics.Grid(((-2.4, 2.4),), (60,))), f"barrier {barrier} on 60 cells from -2.4 to 2.4"),
    )


def kramers(barrier):
    return math.sqrt(8 * barrier * 4 * barrier) / (2 * math.pi) * math.exp(-barrier)


SLOWEST_RATE = Exercise(
    id="4.5",
    name="slowest_rate",
    stub='''
def slowest_rate(barrier, grid):
    """The rate r of the KL, which falls like e^(-r t) in the end, in a double well on the grid at temperature 1."""
    ...  # your code
''',
    solution=slowest_rate,
    alternative=slowest_rate_by_symmetry,
    why=(
        "One eigenvalue is 0 and belongs to the equilibrium. The next one belongs to the slowest way to get "
        "there: walkers\n"
        "that cross the barrier from the fuller well. What is left of the start falls like e^(-omega t), and "
        "the KL is\n"
        "of second order in it, so r = 2 omega. The rate falls steeply with the barrier. So a forward process in a\n"
        "landscape with wells would need very long to mix far modes, and a bowl has no barrier."
    ),
    truth=rate_truth,
    cases=rate_cases,
    hints=(
        "`physics.fokker_planck_operator(physics.double_well(barrier), grid, temperature=1.0).toarray()` is L.",
        "One eigenvalue of L is 0. Why? And which one decides how fast the last part of the start fades? "
        "(`torch.linalg.eigvals` does not sort them.)",
        "If p - p_eq falls like e^(-omega t), how does the KL fall? Remember the wrong mean in the bowl.",
    ),
    wrong=(
        Wrong(
            "the zero eigenvalue",
            lambda barrier, grid: 0.0,
            "Your rate is 0, up to rounding. That is the eigenvalue of the equilibrium, which does not fade. Take the "
            "next one.",
            UNSEEN,
        ),
        Wrong(
            "half the rate",
            lambda barrier, grid: float(well_rates(barrier, grid)[1]),
            "You return the rate of the density. The KL is of second order in what is left, so it falls twice as fast.",
            UNSEEN,
        ),
        Wrong(
            "the sign",
            lambda barrier, grid: -rate_truth(barrier, grid),
            "The sign is turned around. The eigenvalues of L are negative, and the rate r in e^(-r t) is positive.",
            UNSEEN,
        ),
        Wrong(
            "half the rate, and the sign",
            lambda barrier, grid: -float(well_rates(barrier, grid)[1]),
            "You return the eigenvalue itself. It is negative, and the KL falls twice as fast as the density.",
            UNSEEN,
        ),
        Wrong(
            "the fastest",
            lambda barrier, grid: 2 * float(well_rates(barrier, grid)[-1]),
            "You take the fastest rate. It belongs to a density that jumps up and down from cell to cell, and depends "
            "on the grid. In the end the slowest part is left.",
            UNSEEN,
        ),
        Wrong(
            "one too far",
            lambda barrier, grid: 2 * float(well_rates(barrier, grid)[2]),
            "You are one eigenvalue too far: there is a slower part. Only one eigenvalue is 0.",
            "off by one",
        ),
        Wrong(
            "twice too often",
            lambda barrier, grid: 2 * rate_truth(barrier, grid),
            "Your rate is twice too large. The KL falls like e^(-2 omega t).",
            UNSEEN,
        ),
        Wrong(
            "the curvature of a well",
            lambda barrier, grid: 16 * barrier,
            "You take the rate of a bowl as stiff as one well, 2 U''. That is how fast a cloud relaxes *within* "
            "a well. "
            "The walkers that have to cross the barrier are slower.",
            UNSEEN,
        ),
        Wrong(
            "Kramers' rate",
            lambda barrier, grid: 4 * kramers(barrier),
            "You use Kramers' estimate for high barriers. It is a good one, but the exercise asks for the "
            "eigenvalue itself.",
            UNSEEN,
        ),
    ),
)


# 4.6 two clouds, on paper

TWO_CLOUDS = Explanation(
    id="4.6",
    name="two clouds",
    task="Show how the KL of two solutions of the same Fokker-Planck equation changes with time.",
    model=(
        "d/dt KL is the integral of (dp/dt) (ln(p/q) + 1) minus the integral of (p/q) (dq/dt). Put in\n"
        "dp/dt = -div J_p and dq/dt = -div J_q with J_p = a p - D grad p, and integrate by parts:\n"
        "d/dt KL = int J_p . grad ln(p/q) - int J_q . grad(p/q). Since grad(p/q) = (p/q) grad ln(p/q), this is\n"
        "int (J_p - (p/q) J_q) . grad ln(p/q). In the bracket the drift cancels, because a p - (p/q) a q = 0. What is\n"
        "left is -D (grad p - (p/q) grad q) = -D p grad ln(p/q). So d/dt KL = -D int p |grad ln(p/q)|², and\n"
        "grad ln(p/q) = grad ln p - grad ln q. With q at equilibrium and D = k_B T this is (decay).\n"
        "Two data sets in one forward process become more alike at every moment, until nobody can tell them apart. So\n"
        "the forward process loses information, and the reverse process has to put it back: a network learns it."
    ),
    look_for=(
        "Both p and q depend on time, so the derivative has a second term, with dq/dt.",
        "The integration by parts uses that there is no flux far out.",
        "The drift cancels, whatever it is, so the rate depends on the noise and the two scores alone.",
        "The answer says that the forward process makes any two data sets more alike.",
    ),
    hints=(
        "p ln(p/q) depends on time through p and through q. What is the derivative with respect to each of them?",
        "Write both equations with fluxes, J = a p - D grad p, and integrate by parts.",
        "grad(p/q) = (p/q) grad ln(p/q). Collect both fluxes before this gradient. What happens to the drift?",
    ),
)


# 4.7 drag


def drag(distance, duration, steps, n, g):
    lag = torch.randn(n, generator=g, dtype=torch.float64)  # x minus the centre; at k_B T = kappa = 1 its variance is 1
    work, keep = torch.zeros(n, dtype=torch.float64), math.exp(-duration / steps)
    for _ in range(steps):
        after = lag - distance / steps  # the centre moves, the walker stays
        work = work + 0.5 * (after**2 - lag**2)
        lag = keep * after + math.sqrt(1 - keep**2) * torch.randn(n, generator=g, dtype=torch.float64)
    return work


def drag_with_centres(distance, duration, steps, n, g):
    x = torch.randn(n, generator=g, dtype=torch.float64)
    work = torch.zeros_like(x)
    shrink = math.exp(-duration / steps)
    for k in range(steps):
        old, new = distance * k / steps, distance * (k + 1) / steps
        work += (new - old) * ((new + old) / 2 - x)
        x = new + shrink * (x - new) + (1 - shrink**2) ** 0.5 * torch.randn(n, generator=g, dtype=torch.float64)
    return work


def drag_truth(distance, duration, steps, n, g):  # the work is normal, and its variance is twice its mean
    shift, left = distance / steps, math.exp(-duration / steps)
    mean, behind = 0.0, 0.0  # behind: how far the walkers are behind the centre, on average
    for _ in [None] * steps:
        mean += shift * behind + shift**2 / 2
        behind = left * (behind + shift)
    return torch.normal(mean, math.sqrt(2 * mean), (n,), generator=g, dtype=torch.float64)


def drag_cases(g):
    distance, duration = uniform(2.6, 3.2, g), uniform(0.3, 0.5, g)
    return (
        Case((2.0, 2.0, 4, 100, RNG), "distance 2, duration 2, 4 steps and 100 walkers"),
        Case((distance, duration, 3, 50, RNG), f"distance {distance}, duration {duration}, 3 steps and 50 walkers"),
    )


def drag_numbers(out, distance, duration, steps, n):
    return {
        "the mean work": out.mean(dim=1),
        "the variance of the work within one call": out.var(dim=1),
        "the mean square of the work": (out**2).mean(dim=1),
        "the mean product of the work on one walker and the next": (out[:, :-1] * out[:, 1:]).mean(dim=1),
    }


def dragged(
    gain=lambda before, after, relaxed, old, new: 0.5 * ((before - new) ** 2 - (before - old) ** 2),
    start=1.0,
    time=lambda duration, steps: duration / steps,
    noise=lambda keep: math.sqrt(1 - keep**2),
    centre=lambda old, new: new,
    sign=1.0,
    shared=False,
    offset=lambda distance: 0.0,
):
    """`drag` with its parts exchangeable. gain: what a step adds, from x before it, x after it, and both centres."""

    def answer(distance, duration, steps, n, g):
        def draw():
            return torch.randn(1 if shared else n, generator=g, dtype=torch.float64)

        x, work = start * draw() * torch.ones(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        keep = math.exp(-time(duration, steps))
        for k in range(steps):
            old, new = distance * k / steps, distance * (k + 1) / steps
            middle = centre(old, new)
            moved = middle + keep * (x - middle) + noise(keep) * draw()
            work = work + gain(x, moved, moved, old, new)
            x = moved
        return sign * work + offset(distance)

    return answer


DRAG = Exercise(
    id="4.7",
    name="drag",
    stub='''
def drag(distance, duration, steps, n, g):
    """The work on each of n walkers, (n,), float64, when the centre of the bowl moves at kappa = k_B T = 1.
    They start in equilibrium around 0. In each of `steps` equal steps the centre moves by distance / steps, and
    then the walkers make an exact jump of the time duration / steps."""
    ...  # your code
''',
    solution=drag,
    alternative=drag_with_centres,
    why=(
        "The work of a step is U_new(x) - U_old(x) at the place where the walker is when the centre moves. Z does not\n"
        "depend on the centre, so Delta F = 0. If W is normal with mean m and variance v, then the mean of e^(-W "
        "/ k_B T)\n"
        "is e^(-m / k_B T + v / 2 (k_B T)²). It is 1 only if m = v / 2 k_B T. All of the mean work is lost."
    ),
    truth=drag_truth,
    cases=drag_cases,
    view=drag_numbers,
    calls=120,
    hints=(
        "The centre moves while the walker stays. By how much does the potential at the walker's place change?",
        "After that the walker makes a jump of 4.1, but around the *new* centre.",
        "Follow x minus the centre. A step of the centre changes it by -distance / steps, and a jump shrinks it.",
    ),
    wrong=(
        Wrong(
            "the sign",
            dragged(sign=-1.0),
            "The sign of the work is turned around. Work on a walker is positive if its potential energy rises "
            "under it.",
            UNSEEN,
        ),
        Wrong(
            "measured after the walkers moved",
            dragged(lambda x, moved, _, old, new: 0.5 * ((moved - new) ** 2 - (moved - old) ** 2)),
            "You measure the change of the potential at the place that the walkers reach afterwards. First the centre "
            "moves, and the work is done on the walker where it is.",
            UNSEEN,
        ),
        Wrong(
            "the change of energy",
            dragged(lambda x, moved, _, old, new: 0.5 * ((moved - new) ** 2 - (x - old) ** 2)),
            "You add up the whole change of the energy. It is work plus heat. The part that comes from the walker's "
            "own motion is heat.",
            UNSEEN,
        ),
        Wrong(
            "heat for work",
            dragged(lambda x, moved, _, old, new: 0.5 * ((moved - new) ** 2 - (x - new) ** 2)),
            "You add up the change of energy while the walker moves. That is the heat. Work is done while the centre "
            "moves.",
            UNSEEN,
        ),
        Wrong(
            "the force before",
            dragged(lambda x, moved, _, old, new: -(new - old) * (x - old)),
            "You take the force before the centre moves, times its step. The force changes during the step: take the "
            "difference of the two potentials.",
            UNSEEN,
        ),
        Wrong(
            "the force after",
            dragged(lambda x, moved, _, old, new: -(new - old) * (x - new)),
            "You take the force after the centre has moved, times its step. The force changes during the step: take "
            "the difference of the two potentials.",
            UNSEEN,
        ),
        Wrong(
            "not at rest",
            dragged(start=0.0),
            "All your walkers start at the centre. They have to start in equilibrium, with the variance k_B T / kappa "
            "= 1.",
            UNSEEN,
        ),
        Wrong(
            "the whole time in each step",
            dragged(time=lambda duration, steps: duration),
            "Each of your jumps takes the whole duration. It has to be divided by the number of steps.",
            UNSEEN,
        ),
        Wrong(
            "walkers around the old centre",
            dragged(centre=lambda old, new: old),
            "Your walkers jump around the old centre. It has moved already, so they are pulled to the new one.",
            "off by one",
        ),
        Wrong(
            "walkers around 0",
            dragged(centre=lambda old, new: 0.0),
            "Your walkers jump around 0 all the time, as if the bowl had not moved.",
            UNSEEN,
        ),
        Wrong(
            "Delta F not 0",
            dragged(offset=lambda distance: -(distance**2) / 2),
            "You subtract distance² / 2, the energy of a walker that stays at 0. But Delta F is 0 here: the moved bowl "
            "has the same Z. And the function returns the work itself.",
            UNSEEN,
        ),
        Wrong(
            "no noise",
            dragged(noise=lambda keep: 0.0),
            "Your walkers only slide and are never kicked: the noise of the jump is missing.",
            UNSEEN,
        ),
        Wrong(
            "one noise for all walkers",
            dragged(shared=True),
            "All your walkers get the same noise. Draw n numbers, and not one.",
            "jolibrain/joliGEN#527",
        ),
    ),
)


# 4.8 crooks


def crooks(stiffnesses, duration, n, g):
    def squeezed(stiffnesses):
        x = torch.randn(n, generator=g, dtype=torch.float64) / math.sqrt(stiffnesses[0])
        work = torch.zeros(n, dtype=torch.float64)
        for old, new in pairwise(stiffnesses):
            work = work + 0.5 * (new - old) * x**2
            keep = math.exp(-new * duration / (len(stiffnesses) - 1))
            x = keep * x + math.sqrt((1 - keep**2) / new) * torch.randn(n, generator=g, dtype=torch.float64)
        return work

    return torch.stack([squeezed(stiffnesses), -squeezed(stiffnesses[::-1])])


def crooks_by_the_package(stiffnesses, duration, n, g):
    from minidiff import physics

    def relax(x, stiffness, g):
        return physics.OrnsteinUhlenbeck(torch.zeros(1), stiffness, temperature=1.0).sample(x, dt, g)

    rows, dt = [], duration / (len(stiffnesses) - 1)
    for sign, protocol in [(1, stiffnesses), (-1, stiffnesses[::-1])]:
        start = torch.randn(n, 1, generator=g, dtype=torch.float64) / protocol[0] ** 0.5
        *_, end = physics.driven(physics.harmonic, start, protocol, relax, generator=g)
        rows.append(sign * end.work)
    return torch.stack(rows)


def places(protocol: list[float], dt: float) -> Tensor:
    """The covariance of a walker's places at the moments when the stiffness changes, (N, N)."""
    covariance = torch.zeros(len(protocol) - 1, len(protocol) - 1, dtype=torch.float64)
    variance = 1 / protocol[0]
    for i, stiffness in enumerate(protocol[:-1]):
        left = math.exp(-stiffness * dt) if i else 1.0  # what the jump before this moment keeps
        variance = left**2 * variance + (1 - left**2) / stiffness
        covariance[i, :i] = covariance[:i, i] = left * covariance[i - 1, :i] if i else 0.0
        covariance[i, i] = variance
    return covariance


def crooks_truth(stiffnesses, duration, n, g):  # all places of a walker at once, from their covariance
    dt, both = duration / (len(stiffnesses) - 1), []
    for protocol in (list(stiffnesses), list(reversed(stiffnesses))):
        root = torch.linalg.cholesky(places(protocol, dt))
        x = torch.randn(n, len(root), generator=g, dtype=torch.float64) @ root.T
        both.append((x**2 * torch.tensor(protocol, dtype=torch.float64).diff() / 2).sum(dim=1))
    return torch.stack([both[0], both[1].neg()])


def crooks_cases(g):
    first, last, duration = uniform(1.4, 1.7, g), uniform(3.0, 3.4, g), uniform(0.4, 0.6, g)
    return (
        Case(([1.0, 2.0, 4.0], 0.4, 250, RNG), "stiffnesses 1, 2, 4, duration 0.4 and 250 walkers"),
        Case(
            ([first, 2.0, 2.2, last], duration, 250, RNG),
            f"stiffnesses {first}, 2, 2.2, {last}, duration {duration} and 250 walkers",
        ),
    )


def crooks_numbers(out, stiffnesses, duration, n):
    forwards, backwards = out[:, 0], out[:, 1]
    return {
        "the mean work when squeezing": forwards.mean(dim=1),
        "the mean of minus the work on the way back": backwards.mean(dim=1),
        "the mean square of the work when squeezing": (forwards**2).mean(dim=1),
        "the mean square of the work on the way back": (backwards**2).mean(dim=1),
        "the mean of e^(-W) when squeezing": torch.exp(-forwards.clamp(min=-20)).mean(dim=1),
        "the mean product of both works of a walker": (forwards * backwards).mean(dim=1),
    }


def driven_work(protocol, duration, n, g, *, start=None, late=False):
    """The work on n walkers. start: the variance at the start. late: measure it after the walkers have moved."""
    spread = math.sqrt(1 / protocol[0] if start is None else start)
    x = spread * torch.randn(n, generator=g, dtype=torch.float64)
    work, dt = torch.zeros(n, dtype=torch.float64), duration / (len(protocol) - 1)
    for old, new in pairwise(protocol):
        keep = math.exp(-new * dt)
        moved = keep * x + math.sqrt((1 - keep**2) / new) * torch.randn(n, generator=g, dtype=torch.float64)
        work = work + 0.5 * (new - old) * (moved if late else x) ** 2
        x = moved
    return work


def both_ways(forwards, backwards):
    """A wrong answer from two functions (stiffnesses, duration, n, g) -> (n,)."""
    return lambda stiffnesses, duration, n, g: torch.stack(
        [forwards(stiffnesses, duration, n, g), backwards(stiffnesses, duration, n, g)]
    )


def there(s, duration, n, g):
    return driven_work(s, duration, n, g)


def minus_back(s, duration, n, g):
    return -driven_work(s[::-1], duration, n, g)


def one_cloud(stiffnesses, duration, n, g):
    """The walkers of the squeeze go straight on, and are let go without having come to rest."""
    x = torch.randn(n, generator=g, dtype=torch.float64) / math.sqrt(stiffnesses[0])
    works, dt = [], duration / (len(stiffnesses) - 1)
    for protocol in (stiffnesses, stiffnesses[::-1]):
        work = torch.zeros(n, dtype=torch.float64)
        for old, new in pairwise(protocol):
            work = work + 0.5 * (new - old) * x**2
            keep = math.exp(-new * dt)
            x = keep * x + math.sqrt((1 - keep**2) / new) * torch.randn(n, generator=g, dtype=torch.float64)
        works.append(work)
    return torch.stack([works[0], -works[1]])


CROOKS = Exercise(
    id="4.8",
    name="crooks",
    stub='''
def crooks(stiffnesses, duration, n, g):
    """Work when squeezing by these stiffnesses, and minus the work on the way back, at k_B T = 1: (2, n), float64.
    Both start in equilibrium, with n walkers each. A step, as in `squeeze`, takes duration / (number of steps)."""
    ...  # your code
''',
    solution=crooks,
    alternative=crooks_by_the_package,
    why=(
        "The way back uses the same stiffnesses in reverse order, and its walkers start in equilibrium in the *last* "
        "bowl. Crooks'\n"
        "relation compares W with minus the work of the way back. The two histograms cross where their ratio is "
        "1, which\n"
        "is at W = Delta F. So one can read Delta F off a figure, without any exponential average."
    ),
    truth=crooks_truth,
    cases=crooks_cases,
    view=crooks_numbers,
    calls=120,
    hints=(
        "`squeeze` of section 6 does both. What are its stiffnesses on the way back?",
        "Walkers on the way back start in equilibrium as well. In which bowl?",
        "The second row is *minus* the work. What is the sign of the work when you let a bowl go?",
    ),
    wrong=(
        Wrong(
            "minus missing",
            both_ways(there, lambda s, duration, n, g: driven_work(s[::-1], duration, n, g)),
            "The second row is the work on the way back. Crooks compares with *minus* this work.",
            UNSEEN,
        ),
        Wrong(
            "the way back starts in the first bowl",
            both_ways(there, lambda s, duration, n, g: -driven_work(s[::-1], duration, n, g, start=1 / s[0])),
            "On the way back your walkers start with the variance of the first bowl. They have to start in "
            "equilibrium in the last one.",
            UNSEEN,
        ),
        Wrong(
            "the way back starts out of equilibrium",
            one_cloud,
            "On the way back you go on with the walkers of the squeeze. They are not in equilibrium. Draw new ones "
            "that are.",
            UNSEEN,
        ),
        Wrong(
            "the way there twice",
            both_ways(there, lambda s, duration, n, g: -driven_work(s, duration, n, g)),
            "Both rows squeeze. On the way back the stiffnesses come in reverse order.",
            UNSEEN,
        ),
        Wrong(
            "rows exchanged",
            both_ways(minus_back, there),
            "Your rows are exchanged. The first one is the work of squeezing.",
            UNSEEN,
        ),
        Wrong(
            "minus in the other row",
            both_ways(
                lambda s, duration, n, g: -there(s, duration, n, g),
                lambda s, duration, n, g: -minus_back(s, duration, n, g),
            ),
            "The minus is in the wrong row. It belongs to the work on the way back.",
            UNSEEN,
        ),
        Wrong(
            "measured after the walkers moved",
            both_ways(
                lambda s, duration, n, g: driven_work(s, duration, n, g, late=True),
                lambda s, duration, n, g: -driven_work(s[::-1], duration, n, g, late=True),
            ),
            "You measure the work at the place that the walkers reach afterwards. First the bowl changes, then the "
            "walkers move.",
            UNSEEN,
        ),
        Wrong(
            "no equilibrium at the start",
            both_ways(
                lambda s, duration, n, g: driven_work(s, duration, n, g, start=1.0),
                lambda s, duration, n, g: -driven_work(s[::-1], duration, n, g, start=1.0),
            ),
            "Your walkers start with variance 1 in any bowl. In equilibrium it is 1 / kappa.",
            UNSEEN,
        ),
        Wrong(
            "the whole time in each step",
            both_ways(
                lambda s, duration, n, g: driven_work(s, duration * (len(s) - 1), n, g),
                lambda s, duration, n, g: -driven_work(s[::-1], duration * (len(s) - 1), n, g),
            ),
            "Each of your steps takes the whole duration. Divide it by the number of steps.",
            UNSEEN,
        ),
        Wrong(
            "all at once",
            both_ways(
                lambda s, duration, n, g: driven_work([s[0], s[-1]], duration, n, g),
                lambda s, duration, n, g: -driven_work([s[-1], s[0]], duration, n, g),
            ),
            "You change the stiffness all at once, from the first to the last. Use the steps between them too.",
            UNSEEN,
        ),
    ),
)


# 4.9 lost_work


def lost_work(stiffnesses, duration):
    variance, mean_work = 1 / stiffnesses[0], 0.0
    dt = duration / (len(stiffnesses) - 1)
    for old, new in pairwise(stiffnesses):
        mean_work += 0.5 * (new - old) * variance  # the bowl changes
        left = math.exp(-2 * new * dt)  # the walkers move: their variance goes towards 1 / new
        variance = left * variance + (1 - left) / new
    return mean_work - 0.5 * math.log(stiffnesses[-1] / stiffnesses[0])


def lost_work_by_the_excess(stiffnesses, duration):
    k = torch.tensor(stiffnesses, dtype=torch.float64)
    left = torch.exp(-2 * k * duration / (len(k) - 1)).tolist()
    excess, lost = 0.0, 0.0  # of the variance, over that of rest in the bowl where the walkers are
    for i in range(len(stiffnesses) - 1):
        old, new = stiffnesses[i], stiffnesses[i + 1]
        lost += 0.5 * (new - old) * (excess + 1 / old) - 0.5 * math.log(new / old)
        excess = left[i + 1] * (excess + 1 / old - 1 / new)
    return lost


def lost_truth(stiffnesses, duration):  # from the covariance of all places of a walker
    squares = places(list(stiffnesses), duration / (len(stiffnesses) - 1)).diagonal()
    work = squares @ torch.tensor(stiffnesses, dtype=torch.float64).diff() / 2
    return float(work) - math.log((stiffnesses[-1] / stiffnesses[0]) ** 0.5)


def lost_cases(g):
    first, last = uniform(1.3, 1.6, g), uniform(5.0, 6.0, g)
    return (
        Case(([1.0, 2.0, 4.0], 1.0), "stiffnesses 1, 2, 4 and duration 1"),
        Case(([first, 3.0, 3.5, last, last], 0.6), f"stiffnesses {first}, 3, 3.5, {last}, {last} and duration 0.6"),
    )


def lost_with(
    start=lambda k: 1 / k[0],
    steps=lambda k: list(pairwise(k)),
    dt=lambda k, duration: duration / (len(k) - 1),
    keep=lambda old, new, dt: math.exp(-2 * new * dt),
    rest=lambda old, new: 1 / new,
    late=False,
    delta_f=lambda k: 0.5 * math.log(k[-1] / k[0]),
):
    """`lost_work` with its parts exchangeable."""

    def answer(stiffnesses, duration):
        variance, work = start(stiffnesses), 0.0
        for old, new in steps(stiffnesses):
            left = keep(old, new, dt(stiffnesses, duration))
            moved = left * variance + (1 - left) * rest(old, new)
            work += 0.5 * (new - old) * (moved if late else variance)
            variance = moved
        return work - delta_f(stiffnesses)

    return answer


LOST_WORK = Exercise(
    id="4.9",
    name="lost_work",
    stub='''
def lost_work(stiffnesses, duration):
    """The exact mean work minus Delta F, a number, at k_B T = 1.
    stiffnesses: a list; the walkers start in equilibrium in the bowl of the first one. A step, as in `squeeze`, takes
    duration / (number of steps)."""
    ...  # your code
''',
    solution=lost_work,
    alternative=lost_work_by_the_excess,
    why=(
        "A step does the mean work (new - old) <x²> / 2, and <x²> is the variance. A jump moves the variance towards\n"
        "1 / kappa by the factor e^(-2 kappa dt). The best ramp jumps up at once, then lets the *width* of the cloud\n"
        "shrink at a constant speed, and jumps again at the end. For 1 to 4 within time 1 it loses 0.197. An "
        "even ramp\n"
        "of 100 steps loses 0.243, and one that is even in ln(kappa) loses 0.235."
    ),
    truth=lost_truth,
    cases=lost_cases,
    hints=(
        "The work of a step is (new - old) x² / 2 for one walker. What is its mean, if you know the variance of x?",
        "What does a jump of exercise 4.1 do to the variance of x, in a bowl of stiffness `new`?",
        "Delta F = ln(last / first) / 2 at k_B T = 1. It is subtracted once, at the end.",
    ),
    wrong=(
        Wrong(
            "Delta F not subtracted",
            lost_with(delta_f=lambda k: 0.0),
            "You return the mean work. The part Delta F of it is not lost.",
            UNSEEN,
        ),
        Wrong(
            "Delta F added",
            lost_with(delta_f=lambda k: -0.5 * math.log(k[-1] / k[0])),
            "Delta F has the wrong sign: squeezing raises the free energy, so Delta F is positive and is subtracted.",
            UNSEEN,
        ),
        Wrong(
            "no half in Delta F",
            lost_with(delta_f=lambda k: math.log(k[-1] / k[0])),
            "Delta F is ln(last / first) / 2. The half comes from the root in Z.",
            UNSEEN,
        ),
        Wrong(
            "the first jump forgotten",
            lost_with(steps=lambda k: list(pairwise(k))[1:]),
            "The first change of the stiffness is missing. A jump at the beginning costs work too.",
            UNSEEN,
        ),
        Wrong(
            "the last stiffness missed",
            lost_with(steps=lambda k: list(pairwise(k[:-1]))),
            "The last change of the stiffness is missing.",
            "off by one",
        ),
        Wrong(
            "walkers move in the old bowl",
            lost_with(keep=lambda old, new, dt: math.exp(-2 * old * dt), rest=lambda old, new: 1 / old),
            "Your walkers move in the old bowl. The bowl has changed already when they move.",
            UNSEEN,
        ),
        Wrong(
            "variance 1 at the start",
            lost_with(start=lambda k: 1.0),
            "Your walkers start with variance 1. In equilibrium in the first bowl it is 1 / kappa.",
            UNSEEN,
        ),
        Wrong(
            "rate kappa for the variance",
            lost_with(keep=lambda old, new, dt: math.exp(-new * dt)),
            "Your variance moves towards its end by e^(-kappa dt). That is the factor of x, and the variance has its "
            "square.",
            UNSEEN,
        ),
        Wrong(
            "a division too much",
            lost_with(dt=lambda k, duration: duration / len(k)),
            "You divide the duration by the number of stiffnesses. There is one step less.",
            "off by one",
        ),
        Wrong(
            "the whole time in each step",
            lost_with(dt=lambda k, duration: duration),
            "Each of your steps takes the whole duration. Divide it by the number of steps.",
            UNSEEN,
        ),
        Wrong(
            "measured after the walkers moved",
            lost_with(late=True),
            "You use the variance after the walkers have moved. First the bowl changes, and the work is done then.",
            UNSEEN,
        ),
        Wrong(
            "walkers always at rest",
            lost_with(keep=lambda old, new, dt: 0.0),
            "You take 1 / kappa for the variance at every step, as if the walkers were in equilibrium all the time. In "
            "a hurry "
            "they are not.",
            UNSEEN,
        ),
        Wrong(
            "walkers never move",
            lost_with(keep=lambda old, new, dt: 1.0),
            "Your variance never changes. Between two changes of the bowl the walkers move.",
            UNSEEN,
        ),
    ),
)


EXERCISES = (OU_JUMP, BETA_OF, JARZYNSKI, TWO_AXES, SLOWEST_RATE, TWO_CLOUDS, DRAG, CROOKS, LOST_WORK)
