"""The exercises of notebook 02, Langevin and Boltzmann: 2.1 to 2.3 in its flow, 2.4 to 2.11 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math

import torch
from scipy.integrate import quad

from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Langevin and Boltzmann"
WALKERS = 250  # in the plainest case; with 400 calls, 100,000 draws


def normal(x, g):
    return torch.randn(x.shape, generator=g, dtype=x.dtype)


def flat(x, g):
    return torch.rand(x.shape, generator=g, dtype=x.dtype)


def between(low, high, g, digits=3):
    """A number for a case, as short as a learner can read it."""
    return round(low + (high - low) * float(torch.rand((), generator=g)), digits)


# 2.1 langevin_step


def langevin_step(x, force, temperature, dt, g):
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x + force * dt + math.sqrt(2 * temperature * dt) * z


def langevin_step_with_dw(x, force, temperature, dt, g):
    dw = dt**0.5 * torch.empty_like(x).normal_(generator=g)
    return x + force * dt + (2 * temperature) ** 0.5 * dw


def step_truth(x, force, temperature, dt, g):  # from the distribution: a normal with this mean and this spread
    return torch.normal(torch.add(x, force, alpha=dt), (2 * temperature * dt) ** 0.5, generator=g)


def step_cases(g):
    ones = torch.ones(WALKERS, 1, dtype=torch.float32)
    temperature, dt = between(0.6, 0.9, g), between(0.1, 0.2, g)
    centre = torch.tensor([10.0, -20.0], dtype=torch.float64)
    x = centre + 4 * torch.randn(100, 2, generator=g, dtype=torch.float64)
    force = 6 * torch.randn(100, 2, generator=g, dtype=torch.float64)
    words = f"temperature = {temperature} and dt = {dt}"
    return (
        Case((ones, -2 * ones, 3.0, 0.04, RNG), f"x = 1 and force = -2 ({WALKERS} times), temperature = 3, dt = 0.04"),
        Case((x, force, temperature, dt, RNG), f"100 walkers around (10, -20) in float64, random forces, {words}"),
    )


def step_numbers(out, x, force, temperature, dt):
    noise = out - x - force * dt
    numbers = {
        "the mean of the result": out,
        "the mean of the noise times the force": noise * force,
        "the variance of the noise": noise**2,
        "the fourth moment of the noise": noise**4,
        "the mean product of the noise of one walker and the next": noise[:, :-1] * noise[:, 1:],
    }
    if x.shape[1] > 1:
        numbers["the mean product of a walker's noise on both axes"] = noise[..., :1] * noise[..., 1:]
        numbers["the fraction of walkers with the same noise on both axes"] = (
            noise[..., :1] - noise[..., 1:]
        ).abs() < 1e-3
    return {name: value.double().flatten(1).mean(dim=1) for name, value in numbers.items()}


def stepped(drift=lambda force, dt: force * dt, kick=lambda T, dt: math.sqrt(2 * T * dt), noise=normal):
    """A step with another drift(force, dt), another size of its kicks, or another kind of noise."""
    return lambda x, force, temperature, dt, g: x + drift(force, dt) + kick(temperature, dt) * noise(x, g)


LANGEVIN_STEP = Exercise(
    id="2.1",
    name="langevin_step",
    stub='''
def langevin_step(x, force, temperature, dt, g):
    """One step of the Langevin equation at mobility 1. x, force: (B, d). temperature is k_B T, a number."""
    ...  # your code
''',
    solution=langevin_step,
    alternative=langevin_step_with_dw,
    why=(
        "In the time dt the force moves a walker by force times dt. dw is a normal draw of variance dt, so its size\n"
        "is sqrt(dt), and the equation multiplies it by sqrt(2 k_B T). The kick has the variance 2 k_B T dt."
    ),
    truth=step_truth,
    cases=step_cases,
    view=step_numbers,
    hints=(
        "Translate the equation term by term: the old place, plus the drift, plus the kick. What is dx?",
        "dw is a normal draw of variance dt. You have `torch.randn`, which has variance 1. What do you multiply it by?",
        "The kick is sqrt(2 * temperature) times sqrt(dt) times a standard normal draw of the shape of x.",
    ),
    wrong=(
        Wrong(
            "dt for sqrt(dt)",
            stepped(kick=lambda T, dt: math.sqrt(2 * T) * dt),
            "Your kick is sqrt(2 k_B T) times dt. But dw has the variance dt, so its size is sqrt(dt). With dt in its "
            "place, smaller steps make the cloud colder: section 5 shows it.",
            "google-research/ibc#6, jason-ash/pyesg#73",
        ),
        Wrong(
            "the 2 is missing",
            stepped(kick=lambda T, dt: math.sqrt(T * dt)),
            "The variance of your kick is k_B T dt, and should be 2 k_B T dt. Without the 2 the cloud has half the "
            "temperature.",
            "google-research/ibc#6",
        ),
        Wrong(
            "no 2, and dt for sqrt(dt)",
            stepped(kick=lambda T, dt: math.sqrt(T) * dt),
            "Your kick is sqrt(k_B T) times dt. Two things are wrong with it: the 2 is missing, and dw has the size "
            "sqrt(dt) and not dt.",
            "google-research/ibc#6",
        ),
        Wrong(
            "no root at all",
            stepped(kick=lambda T, dt: 2 * T * dt),
            "You multiply the noise by 2 k_B T dt. That is the variance of the kick. What stands before a random draw "
            "is its standard deviation, so take the root.",
            "not seen in public yet",
        ),
        Wrong(
            "the 2 outside the root",
            stepped(kick=lambda T, dt: 2 * math.sqrt(T * dt)),
            "The 2 stands outside the root, so your kick has the variance 4 k_B T dt: the cloud is twice too hot.",
            "not seen in public yet: a bracket in the wrong place",
        ),
        Wrong(
            "the temperature outside the root",
            stepped(kick=lambda T, dt: T * math.sqrt(2 * dt)),
            "The temperature stands outside the root, so the variance of your kick grows with its square. It should "
            "grow in proportion to it.",
            "not seen in public yet: a bracket in the wrong place",
        ),
        Wrong(
            "kicks of temperature 1",
            stepped(kick=lambda T, dt: math.sqrt(2 * dt)),
            "Your kicks do not depend on the temperature: they are those of k_B T = 1.",
            "not seen in public yet",
        ),
        Wrong(
            "the score for the force",
            lambda x, force, temperature, dt, g: x + force / temperature * dt + math.sqrt(2 * dt) * normal(x, g),
            "You divide the force by the temperature and kick as at temperature 1. That is Langevin dynamics with a "
            "score. It ends in the same distribution, but its clock runs differently: here the mobility is 1, and the "
            "kick depends on the temperature.",
            "not seen in public yet: Song & Ermon 2019, equation 4, in place of ours",
        ),
        Wrong(
            "half a step",
            stepped(drift=lambda force, dt: force * dt / 2, kick=lambda T, dt: math.sqrt(T * dt)),
            "You take half the drift and half the variance. This is a correct step of the length dt / 2, as papers "
            "with the other convention write it (Song & Ermon 2019, equation 4). Here a step takes the time dt.",
            "not seen in public yet: the convention of the papers on sampling",
        ),
        Wrong(
            "uphill",
            stepped(drift=lambda force, dt: -force * dt),
            "Your walkers go uphill. The force is minus the slope of the energy already, so it is added.",
            "soran-ghaderi/torchebm#318",
        ),
        Wrong(
            "the force without dt",
            stepped(drift=lambda force, dt: force),
            "You add the whole force, without dt. The drift in the time dt is force times dt.",
            "not seen in public yet",
        ),
        Wrong(
            "sqrt(dt) for the drift",
            stepped(drift=lambda force, dt: force * math.sqrt(dt)),
            "You multiply the force by sqrt(dt). Only the kicks grow as sqrt(dt). The drift grows as dt.",
            "not seen in public yet",
        ),
        Wrong(
            "no force",
            stepped(drift=lambda force, dt: 0 * force),
            "Your step does not use the force. What is left is Brownian motion, which spreads for ever.",
            "notebook 02, section 2",
        ),
        Wrong(
            "x is forgotten",
            lambda x, force, temperature, dt, g: force * dt + math.sqrt(2 * temperature * dt) * normal(x, g),
            "You return dx, the change of x. The new place is x plus this change.",
            "brian-team/brian2#686",
        ),
        Wrong(
            "uniform kicks from 0 to 1",
            stepped(noise=flat),
            "Your kicks are uniform from 0 to 1, as `torch.rand` draws them. They push every walker to the right, and "
            "their variance is 1/12. The normal distribution is `torch.randn`.",
            "HRI-EU/flow_matching#7",
        ),
        Wrong(
            "uniform kicks from -1 to 1",
            stepped(noise=lambda x, g: 2 * flat(x, g) - 1),
            "Your kicks are uniform from -1 to 1. Their mean is 0, but their variance is 1/3, and a step of Brownian "
            "motion is normal.",
            "not seen in public yet",
        ),
        Wrong(
            "uniform kicks of variance 1",
            stepped(noise=lambda x, g: math.sqrt(3) * (2 * flat(x, g) - 1)),
            "Mean and variance of your kicks are right, but the kicks are uniform: their fourth moment is 1.8 and not "
            "3. Many small steps forgive it. The equation says that dw is normal.",
            "notebook 01: many steps of any such kind end in the normal distribution",
        ),
        Wrong(
            "one kick for all walkers",
            stepped(noise=lambda x, g: normal(x[:1], g)),
            "All walkers get the same kick, because you draw it for one walker only and it is broadcast. Draw noise of "
            "the shape of x.",
            "jolibrain/joliGEN#527",
        ),
        Wrong(
            "one kick for both axes",
            stepped(noise=lambda x, g: normal(x[:, :1], g)),
            "Each walker gets one number as its kick, and it is used on all axes, so kicks go along the diagonal only. "
            "Draw noise of the shape of x.",
            "broadcasting of (B, 1)",
        ),
        Wrong(
            "one number for everything",
            stepped(noise=lambda x, g: normal(x[:1, :1], g)),
            "You draw one single number and add it to every walker and every axis, so the cloud moves as a whole. "
            "Draw noise of the shape of x.",
            "not seen in public yet: torch.randn(1)",
        ),
    ),
)


# 2.2 boltzmann_on_grid


def boltzmann_on_grid(energy, temperature, dx):
    weight = torch.exp(-(energy - energy.min()) / temperature)
    return weight / (weight.sum() * dx)


def boltzmann_by_softmax(energy, temperature, dx):
    return torch.softmax(-energy / temperature, dim=0) / dx


def grid_truth(energy, temperature, dx):  # one over p is a sum of exp of differences of energies
    differences = (energy[:, None] - energy[None, :]) / temperature
    return torch.stack([1 / (dx * torch.exp(row).sum()) for row in differences])


def grid_cases(g):
    rugged = torch.rand(12, generator=g, dtype=torch.float64) * 4 - 1
    temperature, dx = between(0.6, 0.9, g), between(0.1, 0.3, g)
    deep = torch.tensor([-600.0, -600.5, -601.0, -300.0, 0.0], dtype=torch.float64)
    return (
        Case(
            (torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64), 2.0, 0.5),
            "energy = [0, 1, 3], temperature = 2 and dx = 0.5",
        ),
        Case((rugged, temperature, dx), f"twelve energies from -1 to 3, temperature = {temperature} and dx = {dx}"),
        Case((deep, 0.5, 0.5), "energy = [-600, -600.5, -601, -300, 0], temperature = 0.5 and dx = 0.5"),
    )


def on_grid(weight):
    """The density in proportion to weight(energy, temperature)."""
    return lambda energy, temperature, dx: weight(energy, temperature) / (weight(energy, temperature).sum() * dx)


def ends_counted_half(energy, temperature, dx):
    weight = torch.softmax(-energy / temperature, dim=0)
    return weight / torch.trapezoid(weight, dx=dx)


BOLTZMANN_ON_GRID = Exercise(
    id="2.2",
    name="boltzmann_on_grid",
    stub='''
def boltzmann_on_grid(energy, temperature, dx):
    """Boltzmann's density in n cells of width dx, as a tensor (n,). energy: (n,), at their centres."""
    ...  # your code
''',
    solution=boltzmann_on_grid,
    alternative=boltzmann_by_softmax,
    why=(
        "The weight of a cell is exp(-U / k_B T), and Z is the sum of all weights times dx. Subtract the lowest\n"
        "energy first: the factor exp(U_min / k_B T) stands in every weight and in Z, so it drops out, and no\n"
        "exponential overflows. This is what `torch.softmax` does."
    ),
    truth=grid_truth,
    cases=grid_cases,
    hints=(
        "First the weights without Z. What is the sign of the exponent, if low energies are to be likely?",
        "Then Z: the integral of the weights is their sum times dx. Divide by it.",
        "Does your density stay the same if you add 1,000 to every energy? Subtract the lowest energy first.",
    ),
    wrong=(
        Wrong(
            "the exponential overflows",
            on_grid(lambda U, T: torch.exp(-U / T)),
            "The formula is right, but exp(-U / k_B T) overflows where the energy is far below 0. Only differences of "
            "energies matter, so subtract the lowest energy first.",
            "rust-ml/linfa#443",
        ),
        Wrong(
            "the sign of the energy",
            on_grid(lambda U, T: torch.softmax(U / T, dim=0)),
            "The minus in the exponent is missing: your walkers sit on the hills.",
            "soran-ghaderi/torchebm#318",
        ),
        Wrong(
            "temperature 1",
            on_grid(lambda U, T: torch.softmax(-U, dim=0)),
            "Your density does not depend on the temperature. The energy is divided by k_B T.",
            "not seen in public yet",
        ),
        Wrong(
            "times the temperature",
            on_grid(lambda U, T: torch.softmax(-U * T, dim=0)),
            "You multiply the energy by the temperature, and should divide. A hot particle cares less about "
            "differences of energy.",
            "not seen in public yet: the inverse temperature and the temperature exchanged",
        ),
        Wrong(
            "half the energy",
            on_grid(lambda U, T: torch.softmax(-U / (2 * T), dim=0)),
            "Your exponent is -U / 2 k_B T. There is no 2 in it. (The 2 of the bell curve comes from U = x² / 2.)",
            "not seen in public yet",
        ),
        Wrong(
            "dx is missing",
            lambda U, T, dx: torch.softmax(-U / T, dim=0),
            "Your numbers add up to 1, so they are the fractions of the walkers in the cells. A density is a fraction "
            "per length: divide by dx.",
            "not seen in public yet",
        ),
        Wrong(
            "dx is missing, and overflow",
            lambda U, T, dx: torch.exp(-U / T) / torch.exp(-U / T).sum(),
            "Your numbers add up to 1, so they are fractions and not a density: divide by dx. Besides, "
            "exp(-U / k_B T) overflows where the energy is far below 0: subtract the lowest energy first.",
            "not seen in public yet",
        ),
        Wrong(
            "times dx",
            lambda U, T, dx: torch.softmax(-U / T, dim=0) * dx,
            "You multiply the fractions by dx, and should divide. A density is a fraction per length.",
            "not seen in public yet",
        ),
        Wrong(
            "not normalised",
            lambda U, T, dx: torch.exp(-U / T),
            "You return exp(-U / k_B T) without dividing by Z, so the integral of your density is not 1.",
            "not seen in public yet",
        ),
        Wrong(
            "1 at the bottom",
            lambda U, T, dx: torch.exp(-(U - U.min()) / T),
            "Your density is 1 at the lowest energy. It is not normalised yet: divide by its sum times dx.",
            "not seen in public yet",
        ),
        Wrong(
            "the ends counted half",
            ends_counted_half,
            "You use the trapezoidal rule, which counts the first and the last cell half. The energies belong to the "
            "centres of whole cells, so every cell counts in full.",
            "not seen in public yet: np.trapezoid",
        ),
    ),
)


# 2.3 escape_rate


def escape_rate(height, valley, top, temperature):
    return math.sqrt(valley * top) / (2 * math.pi) * math.exp(-height / temperature)


def escape_rate_from_widths(height, valley, top, temperature):
    widths = [math.sqrt(2 * math.pi * temperature / curvature) for curvature in (valley, top)]
    return temperature * math.exp(-height / temperature) / (widths[0] * widths[1])


def rate_truth(height, valley, top, temperature):  # the two Gaussian integrals, by quadrature
    inside = quad(lambda u: math.exp(-valley * u * u / (2 * temperature)), -30, 30, points=[0])[0]
    across = quad(lambda u: math.exp(-top * u * u / (2 * temperature)), -30, 30, points=[0])[0]
    return temperature / (inside * across * math.exp(height / temperature))


def rate_cases(g):
    height, valley, top = between(0.5, 1.5, g), between(5, 9, g), between(2, 4, g)
    temperature = between(0.3, 0.45, g)
    words = f"height = {height}, valley = {valley}, top = {top} and temperature = {temperature}"
    return (
        Case((1.0, 8.0, 4.0, 0.5), "height = 1, valley = 8, top = 4 and temperature = 0.5"),
        Case((height, valley, top, temperature), words),
    )


def rated(factor, exponent=lambda height, T: -height / T):
    """A rate with another factor(valley, top, temperature) or another exponent."""
    return lambda height, valley, top, temperature: (
        factor(valley, top, temperature) * math.exp(exponent(height, temperature))
    )


def kramers_factor(valley, top, T=None):
    return math.sqrt(valley * top) / (2 * math.pi)


ESCAPE_RATE = Exercise(
    id="2.3",
    name="escape_rate",
    stub='''
def escape_rate(height, valley, top, temperature):
    """1 / crossing time at mobility 1. valley, top: the curvature |U''| at each. All are plain numbers."""
    ...  # your code
''',
    solution=escape_rate,
    alternative=escape_rate_from_widths,
    why=(
        "Each Gaussian integral is sqrt(2 pi k_B T / curvature). Their product is 2 pi k_B T / sqrt(valley * top), and "
        "the\n"
        "k_B T in it cancels the one in front of the double integral. What is left of the two exponentials is\n"
        "exp(height / k_B T) in the time, so exp(-height / k_B T) in the rate."
    ),
    truth=rate_truth,
    cases=rate_cases,
    hints=(
        "The integral of exp(-c u² / 2) over all u is sqrt(2 pi / c). What is c in the valley, and what at the top?",
        "Multiply the two integrals and divide by k_B T. Does a k_B T survive outside the exponential?",
        "That was the time. The rate is 1 over it, so a high barrier makes it small.",
    ),
    wrong=(
        Wrong(
            "2 pi is missing",
            rated(lambda valley, top, T: math.sqrt(valley * top)),
            "The 2 pi of the two Gaussian integrals is missing. Each of them gives a root of 2 pi.",
            "not seen in public yet",
        ),
        Wrong(
            "only one root of 2 pi",
            rated(lambda valley, top, T: math.sqrt(valley * top / (2 * math.pi))),
            "You have one root of 2 pi. There are two Gaussian integrals, and each gives one.",
            "not seen in public yet",
        ),
        Wrong(
            "the root is missing",
            rated(lambda valley, top, T: valley * top / (2 * math.pi)),
            "The root over the curvatures is missing. A Gaussian integral is sqrt(2 pi k_B T / curvature).",
            "not seen in public yet",
        ),
        Wrong(
            "the sign of the barrier",
            rated(kramers_factor, exponent=lambda height, T: height / T),
            "In your formula a higher barrier is crossed more often. The rate falls as exp(-height / k_B T).",
            "not seen in public yet",
        ),
        Wrong(
            "the crossing time",
            lambda height, valley, top, temperature: 1 / rated(kramers_factor)(height, valley, top, temperature),
            "You return the mean crossing time. The rate is 1 over it.",
            "not seen in public yet",
        ),
        Wrong(
            "temperature 1",
            rated(kramers_factor, exponent=lambda height, T: -height),
            "The height of the barrier is not divided by k_B T. What counts is the barrier in units of the "
            "temperature.",
            "not seen in public yet",
        ),
        Wrong(
            "the exponential alone",
            rated(lambda valley, top, T: 1.0),
            "This is the exponential alone. It matters most, but the widths of the two Gaussian integrals make a "
            "factor in front of it.",
            "not seen in public yet: Arrhenius' law without its factor",
        ),
        Wrong(
            "a temperature in front",
            rated(lambda valley, top, T: T * kramers_factor(valley, top)),
            "You have a k_B T in front of the exponential. The two Gaussian integrals give one k_B T between them, and "
            "it cancels the k_B T in front of the double integral.",
            "not seen in public yet: Eyring's formula for reactions has one",
        ),
        Wrong(
            "one over the temperature in front",
            rated(lambda valley, top, T: kramers_factor(valley, top) / T),
            "Your rate is divided by k_B T once too often. The k_B T of the two Gaussian integrals cancels the one in "
            "front of the double integral.",
            "not seen in public yet",
        ),
        Wrong(
            "the time to the top",
            rated(lambda valley, top, T: 2 * kramers_factor(valley, top)),
            "Your rate is twice too large. It is the rate of reaching the *top*, and from there half of the walkers "
            "go back. The Gaussian at the top counts on both sides of it.",
            "not seen in public yet",
        ),
        Wrong(
            "a ratio of the curvatures",
            rated(lambda valley, top, T: math.sqrt(valley / top) / (2 * math.pi)),
            "You divide the curvatures. They are multiplied: a sharper top is crossed faster too.",
            "not seen in public yet",
        ),
        Wrong(
            "the valley twice",
            rated(lambda valley, top, T: valley / (2 * math.pi)),
            "You use the curvature of the valley twice. The second integral is over the top of the barrier.",
            "not seen in public yet",
        ),
    ),
)


# 2.4 covariance_of_the_scheme


def covariance_of_the_scheme(stiffness, temperature, dt):
    kappa, axes = torch.linalg.eigh(stiffness)
    variances = temperature / kappa / (1 - kappa * dt / 2)
    return axes @ torch.diag(variances) @ axes.T


def covariance_by_an_inverse(stiffness, temperature, dt):
    return temperature * torch.linalg.inv(stiffness - stiffness @ stiffness * dt / 2)


def covariance_truth(stiffness, temperature, dt):  # the fixed point of C -> A C A + 2 T dt, as a linear system
    d = len(stiffness)
    one = torch.eye(d, dtype=stiffness.dtype)
    a = one - dt * stiffness
    system = torch.eye(d * d, dtype=stiffness.dtype) - torch.kron(a, a)
    return torch.linalg.solve(system, (2 * temperature * dt * one).flatten()).reshape(d, d)


def covariance_cases(g):
    plain = torch.tensor([[2.0, 0.7], [0.7, 0.5]], dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64)).Q
    kappa = torch.tensor([0.5, 1.5, 3.0], dtype=torch.float64)
    general = q @ torch.diag(kappa + 0.3 * torch.rand(3, generator=g, dtype=torch.float64)) @ q.T
    temperature, dt = between(1.5, 2.5, g), between(0.2, 0.4, g)
    return (
        Case((plain, 3.0, 0.4), "the matrix of the text, temperature = 3 and dt = 0.4"),
        Case(
            ((general + general.T) / 2, temperature, dt),
            f"a matrix of size 3, temperature = {temperature}, dt = {dt}",
        ),
    )


def in_eigenbasis(variance, back=lambda axes, v: axes @ torch.diag(v) @ axes.T):
    """A covariance with another variance(kappa, temperature, dt) along each axis, or turned back in another way."""

    def answer(stiffness, temperature, dt):
        kappa, axes = torch.linalg.eigh(stiffness)
        return back(axes, variance(kappa, temperature, dt))

    return answer


def scheme_variance(kappa, T, dt):
    return T / (kappa * (1 - kappa * dt / 2))


COVARIANCE = Exercise(
    id="2.4",
    name="covariance_of_the_scheme",
    stub='''
def covariance_of_the_scheme(stiffness, temperature, dt):
    """The covariance at rest of Euler-Maruyama steps in a bowl with the stiffness matrix K, (d, d). Mobility 1."""
    ...  # your code
''',
    solution=covariance_of_the_scheme,
    alternative=covariance_by_an_inverse,
    why=(
        "In the axes in which K is diagonal the coordinates are independent, so each is the bowl of section 5.\n"
        "Turned back, the result is k_B T (K - K² dt / 2)^-1. At dt = 0 it is Boltzmann's covariance k_B T K^-1."
    ),
    truth=covariance_truth,
    cases=covariance_cases,
    hints=(
        "`torch.linalg.eigh` gives the stiffness along each axis, and the axes. What is the variance along one axis?",
        "Along an axis of stiffness kappa it is that of section 5, with h = kappa dt.",
        "A diagonal matrix in the new axes is axes @ diagonal @ axes.T in the old ones.",
    ),
    wrong=(
        Wrong(
            "Boltzmann's covariance",
            in_eigenbasis(lambda kappa, T, dt: T / kappa),
            "This is Boltzmann's covariance, k_B T times the inverse of K. The scheme with its step dt makes the cloud "
            "wider.",
            "not seen in public yet",
        ),
        Wrong(
            "element by element",
            lambda stiffness, temperature, dt: temperature / (stiffness * (1 - stiffness * dt / 2)),
            "You apply the formula to each element of K. One over a matrix is its inverse, and not one over its "
            "elements.",
            "not seen in public yet",
        ),
        Wrong(
            "not turned back",
            in_eigenbasis(scheme_variance, back=lambda axes, v: torch.diag(v)),
            "Your matrix is diagonal: it holds the right variances, but along the axes of K. Turn it back into the "
            "old axes.",
            "not seen in public yet",
        ),
        Wrong(
            "turned the wrong way",
            in_eigenbasis(scheme_variance, back=lambda axes, v: axes.T @ torch.diag(v) @ axes),
            "You turn the matrix the wrong way. The columns of `axes` are the axes, so it is axes @ diagonal @ axes.T.",
            "not seen in public yet",
        ),
        Wrong(
            "the sign of dt",
            in_eigenbasis(lambda kappa, T, dt: T / (kappa * (1 + kappa * dt / 2))),
            "The sign of dt is wrong: your cloud is too narrow. Long steps make it too wide.",
            "not seen in public yet",
        ),
        Wrong(
            "dt for dt / 2",
            in_eigenbasis(lambda kappa, T, dt: T / (kappa * (1 - kappa * dt))),
            "You divide by 1 - kappa dt. Work out 1 - (1 - h)² once more: it is 2h (1 - h / 2).",
            "not seen in public yet",
        ),
        Wrong(
            "to first order in dt",
            in_eigenbasis(lambda kappa, T, dt: T / kappa * (1 + kappa * dt / 2)),
            "You take 1 + h / 2 for 1 / (1 - h / 2). That is the first order in dt. The exact result is asked for.",
            "not seen in public yet",
        ),
        Wrong(
            "temperature 1",
            in_eigenbasis(lambda kappa, T, dt: 1 / (kappa * (1 - kappa * dt / 2))),
            "The temperature is missing. The variance is in proportion to it.",
            "not seen in public yet",
        ),
        Wrong(
            "standard deviations",
            in_eigenbasis(lambda kappa, T, dt: torch.sqrt(scheme_variance(kappa, T, dt))),
            "You take roots, so along the axes these are standard deviations. A covariance matrix holds variances.",
            "not seen in public yet",
        ),
    ),
)


# 2.5 kl_in_floors


def kl_in_floors(counts, exact):
    seen = counts / counts.sum()
    kl = torch.xlogy(seen, seen / exact).sum()
    return kl / ((len(counts) - 1) / (2 * counts.sum()))


def kl_in_floors_of_occupied_cells(counts, exact):
    hit = counts > 0
    seen = counts[hit] / counts.sum()
    floor = (len(counts) - 1) / (2 * counts.sum())
    return (seen * (seen.log() - exact[hit].log())).sum() / floor


def floors_truth(counts, exact):  # twice the log of a likelihood ratio, over its degrees of freedom
    total = float(counts.sum())
    terms = [c * math.log(c / (total * p)) for c, p in zip(counts.tolist(), exact.tolist(), strict=True) if c > 0]
    return 2 * math.fsum(terms) / (len(counts) - 1)


def floors_cases(g):
    exact = 0.2 + torch.rand(12, generator=g, dtype=torch.float64)
    counts = torch.randint(20, 90, (12,), generator=g).double()
    holes = counts.clone()
    holes[[3, 7]] = 0
    return (
        Case(
            (torch.tensor([60.0, 30.0, 10.0], dtype=torch.float64), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)),
            "counts = [60, 30, 10] and exact = [0.5, 0.3, 0.2]",
        ),
        Case((counts, exact / exact.sum()), "twelve cells, all of them hit"),
        Case((holes, exact / exact.sum()), "twelve cells, two of them empty"),
    )


def in_floors(value, floor=lambda n, total: (n - 1) / (2 * total)):
    """Another value(fractions, exact), or over another floor."""
    return lambda counts, exact: value(counts / counts.sum(), exact) / floor(len(counts), counts.sum())


def plain_kl(p, q):
    return torch.xlogy(p, p / q).sum()


KL_IN_FLOORS = Exercise(
    id="2.5",
    name="kl_in_floors",
    stub='''
def kl_in_floors(counts, exact):
    """The KL of a histogram to exact fractions, in floors. counts: walkers in each cell, (n,); exact: (n,), sum 1."""
    ...  # your code
''',
    solution=kl_in_floors,
    alternative=kl_in_floors_of_occupied_cells,
    why=(
        "The histogram holds fractions, counts / N. A cell without walkers contributes 0, since p ln p goes to 0 with "
        "p.\n"
        "The floor of n cells and N walkers is (n - 1) / 2N. Statisticians know 2 N KL as the G test: it has n - 1 "
        "degrees\n"
        "of freedom."
    ),
    truth=floors_truth,
    cases=floors_cases,
    hints=(
        "First turn the counts into fractions. Which of the two distributions stands in front of the logarithm?",
        "A cell without a walker contributes 0 to the sum. `torch.xlogy(0, 0)` is 0, and 0 * log(0) is not a number.",
        "The floor is (n - 1) / 2N for n cells and N walkers. How many floors is the KL?",
    ),
    wrong=(
        Wrong(
            "0 ln 0",
            in_floors(lambda p, q: (p * torch.log(p / q)).sum()),
            "An empty cell gives 0 times the logarithm of 0, which is NaN. Its contribution is 0: use `torch.xlogy`, "
            "or leave such cells out.",
            "not seen in public yet",
        ),
        Wrong(
            "exchanged",
            in_floors(lambda p, q: (q * torch.log(q / p)).sum()),
            "You exchanged the two distributions. The histogram stands in front of the logarithm. The other way round "
            "one empty cell makes the KL infinite.",
            "probml/pml-book#11",
        ),
        Wrong(
            "the sign",
            in_floors(lambda p, q: torch.xlogy(p, q / p.clamp(min=1e-300)).sum()),
            "Your KL is negative. The logarithm is that of histogram over exact.",
            "probml/pml-book#11",
        ),
        Wrong(
            "the floor is forgotten",
            lambda counts, exact: plain_kl(counts / counts.sum(), exact),
            "This is the KL itself. Divide it by its floor, (n - 1) / 2N, to see whether it is more than chance.",
            "not seen in public yet",
        ),
        Wrong(
            "not normalised",
            lambda counts, exact: plain_kl(counts, exact) / ((len(counts) - 1) / (2 * counts.sum())),
            "You use the counts as they are. The KL compares fractions: divide by the number of walkers.",
            "not seen in public yet",
        ),
        Wrong(
            "n cells for n - 1",
            in_floors(plain_kl, floor=lambda n, total: n / (2 * total)),
            "Your floor is n / 2N. The fractions add up to 1, so only n - 1 of them are free: (n - 1) / 2N.",
            "not seen in public yet",
        ),
        Wrong(
            "the floor without 2",
            in_floors(plain_kl, floor=lambda n, total: (n - 1) / total),
            "Your floor is (n - 1) / N. There is a 2 below it: (n - 1) / 2N.",
            "not seen in public yet",
        ),
        Wrong(
            "the root of the floor",
            in_floors(plain_kl, floor=lambda n, total: ((n - 1) / (2 * total)) ** 0.5),
            "You take the root of the floor. A KL is of second order in the deviations already, so its floor falls as "
            "1 / N and not as its root.",
            "not seen in public yet",
        ),
        Wrong(
            "bits",
            in_floors(lambda p, q: torch.xlogy(p, p / q).sum() / math.log(2)),
            "You use the logarithm to base 2. The floor (n - 1) / 2N holds for the natural logarithm.",
            "not seen in public yet",
        ),
        Wrong(
            "the mean over the cells",
            in_floors(lambda p, q: torch.xlogy(p, p / q).mean()),
            "You take the mean over the cells. The KL is the sum: the fractions are its weights already.",
            "not seen in public yet: F.kl_div with its default reduction",
        ),
    ),
)


# 2.6 longest_step


def longest_step():
    from minidiff import physics

    landscape, x = physics.mueller_brown(), torch.tensor([[-0.5, 1.4]], dtype=torch.float64)
    for _ in range(500):  # descend into the deepest valley
        x = x + 1e-4 * physics.force(landscape, x)
    curvatures = torch.autograd.functional.hessian(lambda y: landscape(y).sum(), x).reshape(2, 2)
    steepest = float(torch.linalg.eigvalsh(curvatures)[-1])
    return 2 * (1 - 1 / 1.05) / steepest  # from 1 / (1 - h / 2) = 1.05 with h = steepest * dt


LONGEST_STEP = Question(
    id="2.6",
    name="longest_step",
    stub="longest_step = None  # your number, such as 1e-3",
    right=(2.2e-5, 2.6e-5),
    solution=longest_step,
    why=(
        "The curvatures at the bottom are about 410 and 4,070. The larger one decides: 1 / (1 - h / 2) = 1.05 gives "
        "h = 0.095,\n"
        "and dt = h / 4,070 is about 2.3e-5."
    ),
    wrong=(
        WrongValue(
            "ten times too long",
            (2.15e-4, 2.65e-4),
            "This step is ten times too long. It fits the direction along the valley, where the curvature is about "
            "410. Across the valley it is about ten times as large, and the steepest direction decides.",
            "not seen in public yet",
        ),
        WrongValue(
            "the limit of stability",
            (4.8e-4, 5.1e-4),
            "At this step, 2 / kappa, the walkers begin to run away. For a variance that is 5 % too large it must be "
            "about twenty times shorter.",
            "not seen in public yet",
        ),
        WrongValue(
            "half the limit of stability",
            (2.4e-4 + 2.6e-5, 3.0e-4),
            "This is far too long: across the valley a step would go more than all the way to the bottom.",
            "not seen in public yet",
        ),
        WrongValue(
            "the standard deviation",
            (4.4e-5, 4.75e-5),
            "At this step the *standard deviation* is 5 % too large. The variance is asked for.",
            "not seen in public yet",
        ),
        WrongValue(
            "h = 0.05",
            (1.15e-5, 1.3e-5),
            "You set h = kappa dt to 0.05. The variance is too large by about h / 2.",
            "not seen in public yet",
        ),
        WrongValue(
            "another valley",
            (3.05e-5, 3.35e-5),
            "This is the step for the valley at the lower right, near (0.62, 0.03). The deepest valley is near "
            "(-0.56, 1.44), and it is steeper.",
            "not seen in public yet",
        ),
    ),
    hints=(
        "Walk downhill from (-0.5, 1.4) at temperature 0 with small steps, until nothing moves any more.",
        "`torch.autograd.functional.hessian` gives the matrix of second derivatives. Its eigenvalues are the stiffness "
        "along and across the valley.",
        "Section 5: the variance is too large by 1 / (1 - h / 2) with h = kappa dt. Solve for h, then for dt.",
    ),
)


# 2.7 steeper_bowl


def steeper_bowl(x, power, temperature):
    force = -power * torch.sign(x) * x.abs() ** (power - 1)
    return force, temperature / power


def steeper_bowl_by_autograd(x, power, temperature):
    place = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((place.abs() ** power).sum(), place)
    return -slope, temperature / power


def bowl_truth(x, power, temperature):  # by x |x|^(n - 2), and by quadrature
    def weight(u):
        return math.exp(-(u**power) / temperature)

    mean = quad(lambda u: u**power * weight(u), 0, 8)[0] / quad(weight, 0, 8)[0]
    return -(power * x) * x.abs().pow(power - 2), mean


def bowl_cases(g):
    x = 0.3 + 2 * torch.rand(6, generator=g, dtype=torch.float64)
    temperature = between(0.6, 0.9, g)
    return (
        Case((torch.tensor([2.0, -1.0], dtype=torch.float64), 4, 3.0), "x = [2, -1], power = 4 and temperature = 3"),
        Case((torch.cat([x, -x]), 3, temperature), f"power = 3, walkers on both sides, temperature = {temperature}"),
    )


def in_bowl(force=None, energy=None):
    """Another force(x, power), or another energy(power, temperature)."""

    def answer(x, power, temperature):
        right = -power * x.sign() * x.abs() ** (power - 1), temperature / power
        return (force(x, power) if force else right[0]), (energy(power, temperature) if energy else right[1])

    return answer


STEEPER_BOWL = Exercise(
    id="2.7",
    name="steeper_bowl",
    stub='''
def steeper_bowl(x, power, temperature):
    """Returns two things: the force at x, (B,), in U = |x| ** power, and the mean energy at rest, a number."""
    ...  # your code
''',
    solution=steeper_bowl,
    alternative=steeper_bowl_by_autograd,
    why=(
        "By parts, the integral of x U' exp(-U / k_B T) is k_B T times that of exp(-U / k_B T), so the mean of x U' is "
        "k_B T.\n"
        "For U = |x|^n, x U' is n U. So the mean energy is k_B T / n, and k_B T / 2 is the special case of the bowl."
    ),
    truth=bowl_truth,
    cases=bowl_cases,
    parts=("the force", "the mean energy"),
    hints=(
        "On the right of 0 the landscape is x ** n. What is the force there, and what is it at the mirrored place?",
        "U' exp(-U / k_B T) is the derivative of -k_B T exp(-U / k_B T). Integrate x times it by parts.",
        "x U' is n U here. So what is the mean of U, if the mean of x U' is k_B T?",
    ),
    wrong=(
        Wrong(
            "half the temperature",
            in_bowl(energy=lambda n, T: T / 2),
            "The mean energy of k_B T / 2 belongs to U = x². In a steeper bowl it is less.",
            "not seen in public yet",
        ),
        Wrong(
            "n times the temperature",
            in_bowl(energy=lambda n, T: n * T),
            "You multiply k_B T by n, and should divide. The mean of n U is k_B T.",
            "not seen in public yet",
        ),
        Wrong(
            "the whole temperature",
            in_bowl(energy=lambda n, T: T),
            "k_B T is the mean of x U', which is n times the energy.",
            "not seen in public yet",
        ),
        Wrong(
            "divided by n - 1",
            in_bowl(energy=lambda n, T: T / (n - 1)),
            "You divide by n - 1. x U' is x times n x^(n-1), which is n U.",
            "not seen in public yet",
        ),
        Wrong(
            "half of T / n",
            in_bowl(energy=lambda n, T: T / (2 * n)),
            "You halve k_B T / n. For n = 2 this would be k_B T / 4, and the bowl has k_B T / 2.",
            "not seen in public yet",
        ),
        Wrong(
            "the sign of |x| is lost",
            in_bowl(force=lambda x, n: -n * x ** (n - 1)),
            "You derive x^n instead of |x|^n. For an odd power your force pushes walkers on the left even further to "
            "the left.",
            "not seen in public yet",
        ),
        Wrong(
            "always to the left",
            in_bowl(force=lambda x, n: -n * x.abs() ** (n - 1)),
            "Your force points to the left everywhere. On the left of 0 it must point to the right: multiply by the "
            "sign of x.",
            "not seen in public yet",
        ),
        Wrong(
            "uphill",
            in_bowl(force=lambda x, n: n * x.sign() * x.abs() ** (n - 1)),
            "You return the slope. The force is minus the slope, so that it points to the bottom.",
            "soran-ghaderi/torchebm#318",
        ),
        Wrong(
            "the factor n is missing",
            in_bowl(force=lambda x, n: -x.sign() * x.abs() ** (n - 1)),
            "The factor n is missing in the force: the derivative of x^n is n x^(n-1).",
            "not seen in public yet",
        ),
        Wrong(
            "the power is not lowered",
            in_bowl(force=lambda x, n: -n * x.sign() * x.abs() ** n),
            "The derivative of x^n has the power n - 1, and your force has the power n.",
            "not seen in public yet",
        ),
    ),
)


# 2.8 farthest


def farthest():
    dt = 0.005
    low, high = 1.0, 100.0
    for _ in range(60):  # bisect: does a step at temperature 0 lead farther out?
        x = (low + high) / 2
        there = x - 4 * x**3 * dt
        low, high = (x, high) if abs(there) < x else (low, x)
    return low


FARTHEST = Question(
    id="2.8",
    name="farthest",
    stub="farthest = None  # your number",
    right=(9.9, 10.1),
    solution=farthest,
    why=(
        "A step leads from x to x (1 - 4 x² dt). It leads farther out if 4 x² dt is more than 2, so beyond\n"
        "x = 1 / sqrt(2 dt) = 10. Halving dt moves this distance out by a factor of sqrt(2) only."
    ),
    wrong=(
        WrongValue(
            "the first overshoot",
            (7.0, 7.14),
            "From here a step leads just to the bottom, and beyond it a step overshoots. But a walker that overshoots "
            "by less than it was away still comes closer.",
            "not seen in public yet",
        ),
        WrongValue(
            "the curvature",
            (5.7, 5.85),
            "You asked that dt times the curvature 12 x² is 2. That is the limit near the bottom of a bowl. A step "
            "uses the force, which is 4 x³ here.",
            "not seen in public yet",
        ),
        WrongValue(
            "x for its square",
            (98, 102),
            "This is the square of the distance. Take the root.",
            "not seen in public yet",
        ),
        WrongValue(
            "the force x³",
            (19.8, 20.2),
            "You took x³ for the force. It is 4 x³, the derivative of x to the power 4.",
            "not seen in public yet",
        ),
        WrongValue(
            "a bowl of stiffness 4",
            (300, 500),
            "This is not a distance: it is 2 / dt. The limit dt = 2 / kappa belongs to a bowl of one stiffness. Here "
            "the stiffness grows with the distance.",
            "not seen in public yet",
        ),
    ),
    hints=(
        "At temperature 0 a step leads from x to x - 4 x³ dt. Write this as x times a factor.",
        "A walker gets away if the size of the factor is more than 1. Which sign does it have then?",
        "So 4 x² dt = 2. Solve for x with dt = 0.005.",
    ),
)


# 2.9 minus_log_density


def minus_log_density(x, weights, means, width):
    squares = ((x[:, None, :] - means) ** 2).sum(dim=2)
    logs = weights.log() - squares / (2 * width**2) - math.log(2 * math.pi * width**2)
    return -torch.logsumexp(logs, dim=1)


def minus_log_density_by_a_sum(x, weights, means, width):
    parts = torch.exp(-((x[:, None, :] - means) ** 2).sum(dim=2) / (2 * width**2)) / (2 * math.pi * width**2)
    return -torch.log(parts @ weights)


def energy_truth(x, weights, means, width):
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(weights),
        torch.distributions.Independent(torch.distributions.Normal(means, torch.full_like(means, width)), 1),
    )
    return -mixture.log_prob(x)


def energy_cases(g):
    x = torch.randn(20, 2, generator=g, dtype=torch.float64)
    means = 1.5 * torch.randn(3, 2, generator=g, dtype=torch.float64)
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    width = between(0.6, 0.8, g)
    one = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    two = torch.tensor([[0.0, 0.0], [2.0, 1.0]], dtype=torch.float64)
    return (
        Case(
            (one, torch.tensor([0.3, 0.7], dtype=torch.float64), two, 1.5),
            "x = (0.5, 0), weights 0.3 and 0.7, means (0, 0) and (2, 1), width = 1.5",
        ),
        Case((x, weights, means, width), f"20 places, weights 0.2, 0.3 and 0.5, random means, width = {width}"),
    )


def mixed(squares=None, weigh=None, constant=None, end=lambda logs: -torch.logsumexp(logs, dim=1)):
    """An energy from other squares(offset, width), weights, constant(width), or another end."""
    squares = squares or (lambda offset, width: (offset**2).sum(dim=2) / (2 * width**2))
    weigh = weigh or (lambda weights: weights.log())
    constant = constant or (lambda width: math.log(2 * math.pi * width**2))
    return lambda x, weights, means, width: end(
        weigh(weights) - squares(x[:, None, :] - means, width) - constant(width)
    )


def one_number_an_axis(x, weights, means, width):
    normals = -((x[:, None, :] - means) ** 2) / (2 * width**2) - math.log(2 * math.pi * width**2) / 2
    return -torch.logsumexp(weights.log()[:, None] + normals, dim=1)


def sum_of_logs(x, weights, means, width):
    squares = ((x[:, None, :] - means) ** 2).sum(dim=2)
    return (squares / (2 * width**2) + math.log(2 * math.pi * width**2)) @ weights


MINUS_LOG_DENSITY = Exercise(
    id="2.9",
    name="minus_log_density",
    stub='''
def minus_log_density(x, weights, means, width):
    """Minus ln p at x, (B, 2), for a mixture of K normals. weights (K,), means (K, 2), width: a standard deviation."""
    ...  # your code
''',
    solution=minus_log_density,
    alternative=minus_log_density_by_a_sum,
    why=(
        "p(x) is the sum of w_k exp(-|x - m_k|² / 2 s²) / (2 pi s²), and its logarithm is the logarithm of the whole "
        "sum.\n"
        "`torch.logsumexp` computes it without leaving logarithms, so that it also works far out, where every "
        "exponential is 0."
    ),
    truth=energy_truth,
    cases=energy_cases,
    hints=(
        "First the density of one normal in the plane, at every x: a table (B, K) of squared distances to the means.",
        "Weigh the K densities and add them up. Only then comes the logarithm.",
        "`torch.logsumexp` of log weight plus log density does both at once. And an energy is minus the logarithm.",
    ),
    wrong=(
        Wrong(
            "the sign",
            mixed(end=lambda logs: torch.logsumexp(logs, dim=1)),
            "You return ln p. The energy is minus that. With your sign walkers flee from where p is large.",
            "soran-ghaderi/torchebm#318",
        ),
        Wrong(
            "the density for its logarithm",
            mixed(end=lambda logs: logs.exp().sum(dim=1)),
            "You return the density itself. The energy is minus its logarithm.",
            "not seen in public yet",
        ),
        Wrong(
            "minus the density",
            mixed(end=lambda logs: -logs.exp().sum(dim=1)),
            "You return minus the density, and should return minus its logarithm. Only the logarithm makes "
            "exp(-U) the density again.",
            "not seen in public yet",
        ),
        Wrong(
            "a sum of logarithms",
            sum_of_logs,
            "You add up the logarithms of the normals, each with its weight. The density is the sum of the normals, "
            "and the logarithm comes after it.",
            "not seen in public yet: log of sum and sum of logs",
        ),
        Wrong(
            "one number for each axis",
            one_number_an_axis,
            "You return one number for each axis, (B, 2). An energy is one number for each walker: add up the squares "
            "over the axes first.",
            "not seen in public yet",
        ),
        Wrong(
            "the constant is missing",
            mixed(constant=lambda width: 0.0),
            "The factor 1 / (2 pi s²) of the normals is missing. Your *force* is right all the same, because a "
            "constant in the energy has no slope. But here -ln p itself is asked for.",
            "not seen in public yet",
        ),
        Wrong(
            "the constant of one dimension",
            mixed(constant=lambda width: math.log(2 * math.pi * width**2) / 2),
            "Your factor is 1 / sqrt(2 pi s²), that of one dimension. In the plane it is 1 / (2 pi s²).",
            "not seen in public yet",
        ),
        Wrong(
            "equal weights",
            mixed(weigh=lambda weights: torch.full_like(weights, 1 / len(weights)).log()),
            "You do not use the weights: all your normals count alike.",
            "not seen in public yet",
        ),
        Wrong(
            "the weight for its logarithm",
            mixed(weigh=lambda weights: weights),
            "You add the weights to the logarithms. A weight is a factor of the density, so its logarithm is added.",
            "not seen in public yet",
        ),
        Wrong(
            "the width for its square",
            mixed(squares=lambda offset, width: (offset**2).sum(dim=2) / (2 * width)),
            "You divide the squared distance by 2 s. The width s is a standard deviation, so it is squared: 2 s².",
            "not seen in public yet",
        ),
        Wrong(
            "the 2 below the square",
            mixed(squares=lambda offset, width: (offset**2).sum(dim=2) / width**2),
            "The 2 in exp(-|x - m|² / 2 s²) is missing: your normals are too narrow.",
            "not seen in public yet",
        ),
    ),
)


# 2.10 temperature_plan


def temperature_plan(step, steps, hot, cold):
    return hot * (cold / hot) ** (step / (steps - 1))


def temperature_plan_by_logarithms(step, steps, hot, cold):
    done = step / (steps - 1)
    return math.exp((1 - done) * math.log(hot) + done * math.log(cold))


def plan_truth(step, steps, hot, cold):  # one factor a step
    factor = math.exp(math.log(cold / hot) / (steps - 1))
    temperature = hot
    for _ in range(step):
        temperature *= factor
    return temperature


def plan_cases(g):
    hot, cold = between(1.5, 2.5, g), between(0.05, 0.15, g)
    return (
        Case((2, 5, 1.6, 0.1), "step = 2, the middle one of steps = 5, from hot = 1.6 to cold = 0.1"),
        Case((4, 5, 1.6, 0.1), "step = 4, the last one of steps = 5, from hot = 1.6 to cold = 0.1"),
        Case((0, 5, 1.6, 0.1), "step = 0, the first one of steps = 5, from hot = 1.6 to cold = 0.1"),
        Case((13, 40, hot, cold), f"step = 13 of steps = 40, from hot = {hot} to cold = {cold}"),
    )


def planned(mean, done=lambda step, steps: step / (steps - 1)):
    """A plan by another mean(hot, cold, fraction done), or with another fraction done."""
    return lambda step, steps, hot, cold: mean(hot, cold, done(step, steps))


def geometric(hot, cold, done):
    return hot * (cold / hot) ** done


TEMPERATURE_PLAN = Exercise(
    id="2.10",
    name="temperature_plan",
    stub='''
def temperature_plan(step, steps, hot, cold):
    """The temperature at a step, from hot at step 0 to cold at step steps - 1, by the same factor every step."""
    ...  # your code
''',
    solution=temperature_plan,
    alternative=temperature_plan_by_logarithms,
    why=(
        "The crossing time depends on the *ratio* of barrier and temperature, so a good plan takes as long from 2 to 1 "
        "as from\n"
        "1 to 1/2: it lowers the logarithm evenly. There are steps - 1 factors between the first and the last step."
    ),
    truth=plan_truth,
    cases=plan_cases,
    hints=(
        "The same factor every step: after two steps it has acted twice. What must it be after all of them?",
        "From step 0 to step steps - 1 there are steps - 1 factors, and together they are cold / hot.",
        "So at a step the factor is cold / hot to the power step / (steps - 1).",
    ),
    wrong=(
        Wrong(
            "ends hot",
            planned(geometric, done=lambda step, steps: step / steps),
            "Your last step is still hotter than `cold`. Steps are counted from 0, so the last one is steps - 1: "
            "divide by that.",
            "off by one",
        ),
        Wrong(
            "too long",
            planned(geometric, done=lambda step, steps: step / 3999),
            "Your plan does not depend on `steps`: it takes 4,000 steps whatever is asked for, and is not cold at the "
            "end of a shorter run.",
            "not seen in public yet",
        ),
        Wrong(
            "evenly in 1 / T",
            planned(lambda hot, cold, done: 1 / ((1 - done) / hot + done / cold)),
            "You raise 1 / k_B T evenly. This plan cools at once and then spends most of its time in the cold, where "
            "nothing crosses the barrier.",
            "not seen in public yet",
        ),
        Wrong(
            "evenly in T",
            planned(lambda hot, cold, done: hot + (cold - hot) * done),
            "You lower the temperature evenly, by the same difference every step. The same *factor* every step is "
            "asked for.",
            "not seen in public yet",
        ),
        Wrong(
            "upside down",
            planned(lambda hot, cold, done: cold * (hot / cold) ** done),
            "Your plan heats: it begins at cold and ends at hot.",
            "not seen in public yet",
        ),
        Wrong(
            "cold at once",
            planned(lambda hot, cold, done: cold),
            "Your plan is cold from the first step on. That is the sudden cooling, which has no time to cross.",
            "not seen in public yet",
        ),
        Wrong(
            "one step ahead",
            planned(geometric, done=lambda step, steps: (step + 1) / steps),
            "You are one step ahead: step 0 is already cooler than `hot`. At step 0 no factor has acted yet.",
            "off by one",
        ),
        Wrong(
            "the root of the factor",
            planned(lambda hot, cold, done: hot * (cold / hot) ** (done / 2)),
            "Your exponent is half of what it should be: the plan ends between hot and cold.",
            "not seen in public yet",
        ),
    ),
)


# 2.11 in words

SLOW_COOLING = Explanation(
    id="2.11",
    name="what slow cooling remembers",
    task=(
        "Explain why the fraction of walkers on the left ends between two Boltzmann values after a slow cooling, and "
        "why a slower one ends nearer to the cold value."
    ),
    model=(
        "While it is hot, walkers cross the barrier much faster than the temperature changes, so the fraction\n"
        "follows the Boltzmann value of the moment. As it gets colder the crossing time grows as\n"
        "exp(barrier / k_B T). At some temperature it becomes longer than the time in which the plan cools\n"
        "noticeably. From then on nobody crosses, and the fraction stays what it was: the Boltzmann value of that\n"
        "temperature, not of the final one. A slower plan reaches this point later, at a lower temperature. But the\n"
        "crossing time grows exponentially, so a plan that is ten times as slow gains only a little. A sudden\n"
        "cooling freezes the fraction of the hot start. Glass is made in this way."
    ),
    look_for=(
        "It compares two times, the crossing time and the time of cooling.",
        "It says that the fraction freezes at the temperature at which the two are about equal.",
        "It says that slower cooling freezes later, at a lower temperature, and that the gain is only logarithmic.",
    ),
    hints=(
        "Follow the fraction through the plan. When is it the Boltzmann value of the moment?",
        "How long does a crossing take at 1.0, and how long at 0.1? Compare with the time that the plan spends there.",
        "Once nobody crosses any more, what can still change the fraction?",
    ),
)


EXERCISES = (
    LANGEVIN_STEP,
    BOLTZMANN_ON_GRID,
    ESCAPE_RATE,
    COVARIANCE,
    KL_IN_FLOORS,
    LONGEST_STEP,
    STEEPER_BOWL,
    FARTHEST,
    MINUS_LOG_DENSITY,
    TEMPERATURE_PLAN,
    SLOW_COOLING,
)
