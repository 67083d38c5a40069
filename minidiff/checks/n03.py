"""The exercises of notebook 03, Maxwell and Boltzmann: 3.1 to 3.3 in its flow, 3.4 to 3.9 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from minidiff import generator, physics
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Maxwell and Boltzmann"
NOT_SEEN = "not seen in public yet"
PARTICLES = 250  # in the plainest case; with 400 calls, 100,000 draws


def normal_like(x, g):
    return torch.randn(x.shape, generator=g, dtype=x.dtype)


def column(*values: float) -> Tensor:
    """Numbers as particles on a line, (B, 1), in double precision."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


# 3.1 velocity_verlet


def velocity_verlet(x, v, force, dt, mass):
    v = v + dt / 2 * force(x) / mass
    x = x + dt * v
    v = v + dt / 2 * force(x) / mass
    return x, v


def velocity_verlet_in_one_piece(x, v, force, dt, mass):
    before = force(x) / mass
    there = x + v * dt + before * dt**2 / 2
    return there, v + (before + force(there) / mass) * dt / 2


def verlet_truth(x, v, force, dt, mass):  # Störmer's three positions, and the velocity between the outer two
    first = x + dt * v + dt**2 / (2 * mass) * force(x)
    second = 2 * first - x + dt**2 / mass * force(first)
    return first, (second - x) / (2 * dt)


def soft_spring(x):
    return -x


def wall(x):
    return -3 * x - x**3 + 0.5


def verlet_cases(g):
    x, v = torch.randn(2, 4, 2, generator=g, dtype=torch.float64)
    masses = 1 + 3 * torch.rand(4, 1, generator=g, dtype=torch.float64)
    return (
        Case((column(1.0), column(0.5), soft_spring, 0.5, 1.0), "x = 1, v = 0.5, the force -x, dt = 0.5 and mass = 1"),
        Case((column(1.0), column(0.5), soft_spring, 0.5, 2.0), "x = 1, v = 0.5, the force -x, dt = 0.5 and mass = 2"),
        Case(
            (x, v, wall, 0.3, masses), "4 particles in the plane, the force 0.5 - 3x - x³, dt = 0.3 and unequal masses"
        ),
    )


def kicked(x, v, force, dt, mass):
    return v + dt * force(x) / mass


def verlet_parts(x, v, force, dt, mass, first=0.5, drift=1.0, second=0.5):
    """Velocity Verlet, with the shares of the step exchangeable."""
    v = kicked(x, v, force, first * dt, mass)
    x = x + drift * dt * v
    return x, kicked(x, v, force, second * dt, mass)


def one_force(x, v, force, dt, mass):
    half = kicked(x, v, force, dt / 2, mass)
    return x + dt * half, kicked(x, half, force, dt / 2, mass)


def kick_then_drift(x, v, force, dt, mass):
    v = kicked(x, v, force, dt, mass)
    return x + dt * v, v


def drift_then_kick(x, v, force, dt, mass):
    x = x + dt * v
    return x, kicked(x, v, force, dt, mass)


def position_verlet(x, v, force, dt, mass):
    x = x + dt / 2 * v
    v = kicked(x, v, force, dt, mass)
    return x + dt / 2 * v, v


def old_velocity_drifts(x, v, force, dt, mass):
    there = x + dt * v
    return there, v + dt / 2 * (force(x) + force(there)) / mass


def no_half_in_the_position(x, v, force, dt, mass):
    there = x + dt * v + dt**2 * force(x) / mass
    return there, v + dt / 2 * (force(x) + force(there)) / mass


VELOCITY_VERLET = Exercise(
    id="3.1",
    name="velocity_verlet",
    stub='''
def velocity_verlet(x, v, force, dt, mass):
    """One step of velocity Verlet. Returns the new position and the new velocity.

    x, v: (B, d). force: a function of x that returns (B, d). dt: a number. mass: a number or (B, 1).
    """
    ...  # your code
''',
    solution=velocity_verlet,
    alternative=velocity_verlet_in_one_piece,
    why=(
        "Each line changes one of the two and leaves the other alone, so each is a shear of phase space and keeps\n"
        "areas. The two half kicks use the force at two places: the old one and the new one."
    ),
    truth=verlet_truth,
    cases=verlet_cases,
    parts=("the position", "the velocity"),
    hints=(
        "There are three lines: half a kick, a whole drift, half a kick. Which of x and v does each of them change?",
        "A kick adds force / mass times its time to v. Half a kick takes the time dt / 2.",
        "The second half kick uses the force at the new position: call `force` again after the drift.",
    ),
    wrong=(
        Wrong(
            "Euler's step",
            lambda x, v, force, dt, mass: (x + dt * v, kicked(x, v, force, dt, mass)),
            "This is Euler's step: position and velocity both move with what is known at the beginning. Kick, drift "
            "and kick in turn.",
            "notebook 03, section 1",
        ),
        Wrong(
            "a kick, then a drift",
            kick_then_drift,
            "You do one whole kick and then a drift. That is symplectic Euler: it keeps areas, but its error is of "
            "first order. Split the kick into two halves, one before and one after the drift.",
            "softmatterlab/SOCS#28",
        ),
        Wrong(
            "a drift, then a kick",
            drift_then_kick,
            "You drift with the old velocity and then do one whole kick. That is symplectic Euler. Half of the kick "
            "belongs before the drift.",
            "softmatterlab/SOCS#28",
        ),
        Wrong(
            "half a drift, a kick, half a drift",
            position_verlet,
            "You do half a drift, a whole kick, half a drift. That is position Verlet, a scheme of the same quality. "
            "Asked for is velocity Verlet: half a kick, a drift, half a kick.",
            NOT_SEEN,
        ),
        Wrong(
            "the old force twice",
            one_force,
            "Both half kicks use the force at the old position. The second one needs the force at the new position: "
            "call `force` again after the drift.",
            "a force computed once",
        ),
        Wrong(
            "two whole kicks",
            lambda *args: verlet_parts(*args, first=1.0, second=1.0),
            "You do two whole kicks. Together they must take the time dt, so each of them takes dt / 2.",
            "chaos-polymtl/lethe#134",
        ),
        Wrong(
            "the second kick is whole",
            lambda *args: verlet_parts(*args, second=1.0),
            "Your second kick takes the whole time dt. Half of it was done before the drift.",
            "chaos-polymtl/lethe#134",
        ),
        Wrong(
            "the last half kick is missing",
            lambda *args: verlet_parts(*args, second=0.0),
            "The last half kick is missing, so the velocity you return is that of half time.",
            "chaos-polymtl/lethe#2082",
        ),
        Wrong(
            "half a drift",
            lambda *args: verlet_parts(*args, drift=0.5),
            "You drift for half the time only. The kicks come in halves; the drift is whole.",
            NOT_SEEN,
        ),
        Wrong(
            "the drift uses the old velocity",
            old_velocity_drifts,
            "Your position moves with the old velocity: the term with dt² is missing. It must move with the velocity "
            "after the first half kick.",
            "headmyshoulder/odeint-v2#150",
        ),
        Wrong(
            "no 1/2 before dt²",
            no_half_in_the_position,
            "The 1/2 in the position is missing: x + v dt + 1/2 a dt². You add a whole a dt².",
            "headmyshoulder/odeint-v2#150",
        ),
        Wrong(
            "the mass is missing",
            lambda x, v, force, dt, mass: velocity_verlet(x, v, force, dt, 1.0),
            "The mass is missing. A force changes a velocity at the rate force / mass.",
            "jax-md/jax-md#145",
        ),
        Wrong(
            "multiplied by the mass",
            lambda x, v, force, dt, mass: velocity_verlet(x, v, force, dt, 1 / mass),
            "You multiply the force by the mass. A heavy particle is harder to accelerate: divide.",
            NOT_SEEN,
        ),
        Wrong(
            "the sign of the force",
            lambda x, v, force, dt, mass: velocity_verlet(x, v, lambda y: -force(y), dt, mass),
            "The sign of the force is turned round. `force` is a force already, minus the slope, so add it.",
            NOT_SEEN,
        ),
        Wrong(
            "position and velocity exchanged",
            lambda *args: velocity_verlet(*args)[::-1],
            "You return the velocity first. The position comes first.",
            NOT_SEEN,
        ),
    ),
)


# 3.2 ou_kick


def ou_kick(v, friction, temperature, mass, dt, g):
    keep = math.exp(-friction * dt)
    spread = math.sqrt((1 - keep**2) * temperature / mass)
    return keep * v + spread * torch.randn(v.shape, generator=g, dtype=v.dtype)


def ou_kick_in_place(v, friction, temperature, mass, dt, g):
    variance = -math.expm1(-2 * friction * dt) * temperature / mass
    return torch.empty_like(v).normal_(std=variance**0.5, generator=g).add_(v, alpha=math.exp(-friction * dt))


def ou_truth(v, friction, temperature, mass, dt, g):  # from the variance that builds up, the integral of the noise
    left = torch.exp(torch.tensor(-friction * dt, dtype=torch.float64))
    built = 2 * friction * temperature / mass * (1 - left**2) / (2 * friction)
    return torch.normal(left.to(v) * v, built.sqrt().item(), generator=g)


def ou_cases(g):
    dt = round(0.3 + 0.3 * float(torch.rand((), generator=g)), 3)
    v = 6 + 2 * torch.randn(100, 2, generator=g, dtype=torch.float64)
    one = torch.ones(PARTICLES, 1, dtype=torch.float32)
    return (
        Case(
            (one, 1.0, 1.0, 1.0, 0.5, RNG), f"v = 1 ({PARTICLES} times), friction, temperature and mass 1, and dt = 0.5"
        ),
        Case((v, 1.6, 0.6, 2.5, dt, RNG), f"100 velocities, friction 1.6, temperature 0.6, mass 2.5 and dt = {dt}"),
    )


def ou_numbers(out, v, friction, temperature, mass, dt):
    noise = out - math.exp(-friction * dt) * v
    numbers = {
        "the mean of the result": out,
        "the mean of the result times v": out * v,
        "the variance of the noise": noise**2,
        "the fourth moment of the noise": noise**4,
        "the mean product of the noise of one particle and the next": noise[:, :-1] * noise[:, 1:],
        "the variance of the noise within one call": noise.var(dim=1),
    }
    if v.shape[1] > 1:
        numbers["the mean product of a particle's noise in both directions"] = noise[..., :1] * noise[..., 1:]
    return {name: value.double().flatten(1).mean(dim=1) for name, value in numbers.items()}


def ou_wrong(name, law, message, seen=NOT_SEEN):
    """A wrong answer with normal noise: law(friction, temperature, mass, dt) -> factor and variance."""

    def answer(v, friction, temperature, mass, dt, g):
        factor, variance = law(friction, temperature, mass, dt)
        return factor * v + math.sqrt(variance) * normal_like(v, g)

    return Wrong(name, answer, message, seen)


def ou_noise(noise):
    """The right factor and spread with another noise: noise(v, g)."""

    def answer(v, friction, temperature, mass, dt, g):
        keep = math.exp(-friction * dt)
        return keep * v + math.sqrt((1 - keep**2) * temperature / mass) * noise(v, g)

    return answer


def forgotten(friction, dt, power=2):
    """1 minus a power of what is kept."""
    return 1 - math.exp(-power * friction * dt)


OU_KICK = Exercise(
    id="3.2",
    name="ou_kick",
    stub='''
def ou_kick(v, friction, temperature, mass, dt, g):
    """Friction and noise for a time dt, exactly. Returns new velocities, of the shape and dtype of v.

    v: (B, d). friction, temperature (k_B T), mass and dt are plain numbers. g: the generator to draw from.
    """
    ...  # your code
''',
    solution=ou_kick,
    alternative=ou_kick_in_place,
    why=(
        "Friction multiplies the velocity by exp(-friction dt), and so its variance by exp(-2 friction dt). The\n"
        "noise puts back what is missing to temperature / mass. A factor before normal numbers is a standard\n"
        "deviation, hence the root."
    ),
    truth=ou_truth,
    cases=ou_cases,
    view=ou_numbers,
    hints=(
        "Two things happen: the old velocity is multiplied by a factor, and normal noise is added. What is the factor?",
        "In equilibrium the variance is temperature / mass. The factor takes some of it away, and the noise puts it "
        "back.",
        "What is left of a variance after the factor exp(-friction dt)? Mind the square, and then the root.",
    ),
    wrong=(
        ou_wrong(
            "the factor is not squared",
            lambda c, T, m, dt: (math.exp(-c * dt), forgotten(c, dt, 1) * T / m),
            "Your noise has the variance (1 - exp(-friction dt)) temperature / mass. A factor acts on a variance by "
            "its square, so the exponent needs a 2.",
        ),
        ou_wrong(
            "the noise of a small step",
            lambda c, T, m, dt: (math.exp(-c * dt), 2 * c * T * dt / m),
            "Your factor is exact, but your noise is that of Euler's step, with variance 2 friction temperature dt / "
            "mass. For a long step this is too much: friction acts on the noise as well.",
        ),
        ou_wrong(
            "Euler's step",
            lambda c, T, m, dt: (1 - c * dt, 2 * c * T * dt / m),
            "This is Euler's step, with the factor 1 - friction dt. It is right for small steps only. Asked for is "
            "the exact solution.",
        ),
        ou_wrong(
            "the factor of a small step",
            lambda c, T, m, dt: (1 - c * dt, forgotten(c, dt) * T / m),
            "Your noise is exact, but your factor 1 - friction dt is that of a small step. The exact one is "
            "exp(-friction dt).",
        ),
        ou_wrong(
            "the mass is missing",
            lambda c, T, m, dt: (math.exp(-c * dt), forgotten(c, dt) * T),
            "The mass is missing in the noise. The variance in equilibrium is temperature / mass.",
            "jax-md/jax-md#145",
        ),
        ou_wrong(
            "multiplied by the mass",
            lambda c, T, m, dt: (math.exp(-c * dt), forgotten(c, dt) * T * m),
            "You multiply the variance by the mass. Heavy particles are slower at the same temperature: divide.",
        ),
        ou_wrong(
            "the mass outside the root",
            lambda c, T, m, dt: (math.exp(-c * dt), forgotten(c, dt) * T / m**2),
            "You divide by the mass outside the root. The variance is temperature / mass, so the mass belongs under "
            "it.",
        ),
        ou_wrong(
            "the temperature is missing",
            lambda c, T, m, dt: (math.exp(-c * dt), forgotten(c, dt) / m),
            "The temperature is missing. The variance in equilibrium is temperature / mass.",
        ),
        ou_wrong(
            "the temperature outside the root",
            lambda c, T, m, dt: (math.exp(-c * dt), forgotten(c, dt) * T**2 / m),
            "The temperature stands outside the root. It is a variance times a mass, so it belongs under the root.",
        ),
        ou_wrong(
            "no root",
            lambda c, T, m, dt: (math.exp(-c * dt), (forgotten(c, dt) * T / m) ** 2),
            "You multiply the noise by its variance. The factor before normal numbers is a standard deviation: take "
            "the root.",
            "Y-debug-sys/Diffusion-TS#135",
        ),
        ou_wrong(
            "noise of the full width",
            lambda c, T, m, dt: (math.exp(-c * dt), T / m),
            "You add noise of the full variance temperature / mass to what is left of the velocity. Then the variance "
            "grows beyond it. Only what friction has taken away is put back.",
        ),
        ou_wrong(
            "the variance's factor before v",
            lambda c, T, m, dt: (math.exp(-2 * c * dt), forgotten(c, dt) * T / m),
            "You multiply v by exp(-2 friction dt). That is the factor of its variance. The velocity itself fades "
            "like exp(-friction dt).",
        ),
        ou_wrong(
            "friction divided by the mass",
            lambda c, T, m, dt: (math.exp(-c * dt / m), forgotten(c / m, dt) * T / m),
            "You divide the friction by the mass. In this course the friction is a rate already: the braking force is "
            "mass times friction times v.",
            "two conventions for the friction",
        ),
        ou_wrong(
            "dt is missing",
            lambda c, T, m, dt: (math.exp(-c), forgotten(c, 1) * T / m),
            "The time dt is missing in the exponent.",
        ),
        ou_wrong(
            "factors exchanged",
            lambda c, T, m, dt: (math.sqrt(forgotten(c, dt)), math.exp(-2 * c * dt) * T / m),
            "The two factors are exchanged: v gets that of the noise.",
            "sii-research/tau-0-vla#7",
        ),
        ou_wrong(
            "the velocity grows",
            lambda c, T, m, dt: (math.exp(c * dt), forgotten(c, dt) * T / m),
            "The sign in the exponent before v is wrong: your velocity grows. Friction brakes.",
        ),
        Wrong(
            "the noise is braked too",
            lambda v, friction, temperature, mass, dt, g: (
                math.exp(-friction * dt)
                * (v + math.sqrt(forgotten(friction, dt) * temperature / mass) * normal_like(v, g))
            ),
            "You add the noise before you multiply, so the noise is braked too. Multiply v alone, then add.",
            "a bracket too many",
        ),
        Wrong(
            "uniform noise from 0 to 1",
            ou_noise(lambda v, g: torch.rand(v.shape, generator=g, dtype=v.dtype)),
            "Your noise is uniform from 0 to 1, as `torch.rand` draws it. The normal distribution is `torch.randn`.",
            "acids-ircam/diffusion_models#8",
        ),
        Wrong(
            "one noise for all particles",
            ou_noise(lambda v, g: normal_like(v[:1], g)),
            "All particles get the same noise, because you draw it for one of them only. Draw noise of the shape of v.",
            "jolibrain/joliGEN#527",
        ),
    ),
)


# 3.3 thermometer


def thermometer(v, mass):
    return (mass * v**2).mean()


def thermometer_by_energy(v, mass):
    kinetic = (0.5 * mass * v**2).sum()  # of all particles and directions
    return 2 * kinetic / v.numel()


def thermometer_truth(v, mass):  # number by number
    rows, masses = v.tolist(), torch.as_tensor(mass).flatten().tolist() * len(v)
    numbers = [m * speed * speed for row, m in zip(rows, masses, strict=False) for speed in row]
    return math.fsum(numbers) / len(numbers)


def thermometer_cases(g):
    v = torch.randn(20, 3, generator=g, dtype=torch.float64) + 0.5
    masses = 1 + 4 * torch.rand(20, 1, generator=g, dtype=torch.float64)
    plane = torch.tensor([[1.0, -2.0], [3.0, 0.5], [-1.0, 1.0]], dtype=torch.float64)
    return (
        Case((column(1.0, -2.0, 4.0), 1.0), "velocities 1, -2 and 4 on a line, and mass 1"),
        Case((plane, 3.0), "three velocities in the plane, (1, -2), (3, 0.5) and (-1, 1), and mass 3"),
        Case((v, masses), "20 velocities in three dimensions and unequal masses"),
    )


def mean_mass(mass):
    return torch.as_tensor(mass, dtype=torch.float64).mean()


THERMOMETER = Exercise(
    id="3.3",
    name="thermometer",
    stub='''
def thermometer(v, mass):
    """The temperature k_B T, as one number, of particles with velocities v, (B, d). mass: a number or (B, 1)."""
    ...  # your code
''',
    solution=thermometer,
    alternative=thermometer_by_energy,
    why=(
        "In each direction the mean of mass v² is the temperature, whatever the mass. So every particle and every\n"
        "direction is a thermometer of its own, and the mean over all of them is the best one."
    ),
    truth=thermometer_truth,
    cases=thermometer_cases,
    hints=(
        "In equilibrium the mean of v² in one direction is the temperature over the mass. Solve for the temperature.",
        "Each particle has its own mass, so multiply before you take the mean.",
        "The mean goes over particles and directions: over all B times d numbers.",
    ),
    wrong=(
        Wrong(
            "summed over directions",
            lambda v, mass: (mass * v**2).sum(dim=1).mean(),
            "You sum over the directions. That is d times the temperature: take the mean over directions as well.",
            NOT_SEEN,
        ),
        Wrong(
            "the kinetic energy",
            lambda v, mass: (0.5 * mass * v**2).mean(),
            "You return the kinetic energy of a direction, which is half the temperature.",
            NOT_SEEN,
        ),
        Wrong(
            "the kinetic energy of a particle",
            lambda v, mass: (0.5 * mass * v**2).sum(dim=1).mean(),
            "You return the mean kinetic energy of a particle. It is d / 2 times the temperature.",
            NOT_SEEN,
        ),
        Wrong(
            "the mass is missing",
            lambda v, mass: (v**2).mean(),
            "The mass is missing. The mean of v² is the temperature over the mass.",
            "jax-md/jax-md#145",
        ),
        Wrong(
            "divided by the mass",
            lambda v, mass: (v**2 / mass).mean(),
            "You divide by the mass. The mean of v² is the temperature over the mass, so multiply.",
            NOT_SEEN,
        ),
        Wrong(
            "the mean mass",
            lambda v, mass: mean_mass(mass) * (v**2).mean(),
            "You multiply the mean mass by the mean of v². Light particles are faster, so each square needs its own "
            "mass before the mean.",
            NOT_SEEN,
        ),
        Wrong(
            "the square of the mean speed",
            lambda v, mass: mean_mass(mass) * v.abs().mean() ** 2,
            "You square after the mean. The mean of the squares is larger than the square of the mean: square first.",
            NOT_SEEN,
        ),
        Wrong(
            "the square of the mean speed of particles",
            lambda v, mass: mean_mass(mass) * v.norm(dim=1).mean() ** 2 / v.shape[1],
            "You take the mean of the speeds and square it. Square first, then take the mean.",
            NOT_SEEN,
        ),
        Wrong(
            "the mean velocity is subtracted",
            lambda v, mass: (mass * (v - v.mean(dim=0)) ** 2).mean(),
            "You subtract the mean velocity first. One does so for a gas that flows as a whole. Here the particles "
            "know nothing of each other, and the mean of mass v² is asked for.",
            "the convention of molecular dynamics",
        ),
        Wrong(
            "the variance",
            lambda v, mass: mean_mass(mass) * v.var(),
            "You use `v.var()`, which subtracts the mean of all numbers, divides by one less than their number, and "
            "knows no masses of single particles. Asked for is the mean of mass v².",
            NOT_SEEN,
        ),
        Wrong(
            "a root",
            lambda v, mass: (mass * v**2).mean().sqrt(),
            "You return the root. The temperature is the mean of mass v² itself.",
            NOT_SEEN,
        ),
        Wrong(
            "a sum over all",
            lambda v, mass: (mass * v**2).sum(),
            "You return the sum over all particles and directions. The temperature is their mean.",
            NOT_SEEN,
        ),
        Wrong(
            "divided by the directions twice",
            lambda v, mass: (mass * v**2).mean() / v.shape[1],
            "You divide by the number of directions twice: the mean over all numbers has done it already.",
            NOT_SEEN,
        ),
    ),
)


# 3.4 there_and_back


def there_and_back(step, x, v, steps):
    start = x
    for _ in range(steps):
        x, v = step(x, v)
    v = -v
    for _ in range(steps):
        x, v = step(x, v)
    return (x - start).norm(dim=1).max()


def there_and_back_in_one_loop(step, x, v, steps):
    state = x, v
    for k in range(2 * steps):
        if k == steps:
            state = state[0], -state[1]
        state = step(*state)
    return ((state[0] - x) ** 2).sum(dim=1).max() ** 0.5


def retraced(step, x, v, steps):
    """Where a particle ends up, by recursion: the turn is in the middle of all steps."""
    if steps == 0:
        return x, -v
    return step(*retraced(step, *step(x, v), steps - 1))


def there_and_back_truth(step, x, v, steps):
    gaps = torch.cdist(retraced(step, x, v, steps)[0], x).diagonal()
    return round(float(max(gaps)), 12)  # so that what is 0 up to rounding is 0


def euler_in_a_bowl(x, v):
    return x + 0.25 * v, v - 0.25 * x


def braked_in_a_well(x, v):
    v = 0.95 * (v - 0.05 * x**3)
    return x + 0.1 * v, v


def free(x, v):
    return x + 0.25 * v, v


def there_cases(g):
    x, v = torch.randn(2, 5, 2, generator=g, dtype=torch.float64)
    return (
        Case((free, column(1.0, 2.0), column(0.5, -1.0), 2), "two free particles (they come back exactly) and 2 steps"),
        Case((euler_in_a_bowl, column(1.0), column(0.5), 3), "Euler's step, x = 1, v = 0.5 and 3 steps"),
        Case((braked_in_a_well, x, v + 1, 6), "5 particles in the plane, a step with friction, and 6 steps"),
    )


def walked(step, x, v, steps):
    for _ in range(steps):
        x, v = step(x, v)
    return x, v


def returned(turn=lambda x, v: (x, -v), gap=lambda x, v, x0, v0: (x - x0).norm(dim=1).max(), back=0):
    """There and back, with the turn and the distance exchangeable. back: how many more steps back."""

    def answer(step, x, v, steps):
        there = walked(step, x, v, steps)
        return gap(*walked(step, *turn(*there), steps + back), x, v)

    return answer


def from_the_turning_point(step, x, v, steps):
    there = walked(step, x, v, steps)
    return (walked(step, there[0], -there[1], steps)[0] - there[0]).norm(dim=1).max()


THERE_AND_BACK = Exercise(
    id="3.4",
    name="there_and_back",
    stub='''
def there_and_back(step, x, v, steps):
    """Walk `steps` steps, turn round, walk as many back: the largest distance of a particle from its start.

    step: (x, v) -> new x, new v. x, v: (B, d). Returns a number.
    """
    ...  # your code
''',
    solution=there_and_back,
    alternative=there_and_back_in_one_loop,
    why=(
        "Verlet is its own mirror image: half a kick, a drift, half a kick, read from either end. So with the\n"
        "velocities turned round it retraces its steps, up to rounding: the distance is some 1e-12 in float64, and\n"
        "some 1e-4 in float32. Euler's step has no such symmetry. Friction cannot be undone at all: after the turn it\n"
        "brakes once more, and does not give back what it took."
    ),
    truth=there_and_back_truth,
    cases=there_cases,
    hints=(
        "There are two loops of the same length. What happens between them?",
        "To turn round means that the position stays and the velocity changes its sign.",
        "The distance of a particle is a norm over its coordinates, `dim=1`. Then take the largest.",
    ),
    wrong=(
        Wrong(
            "nothing is turned",
            returned(turn=lambda x, v: (x, v)),
            "You do not turn round: all steps go forward. Change the sign of the velocities between the two loops.",
            NOT_SEEN,
        ),
        Wrong(
            "the positions are turned",
            returned(turn=lambda x, v: (-x, v)),
            "You turn the positions round. To go back, a particle stays where it is and changes the sign of its "
            "velocity.",
            NOT_SEEN,
        ),
        Wrong(
            "positions and velocities are turned",
            returned(turn=lambda x, v: (-x, -v)),
            "You turn positions and velocities round. The positions must stay: only the velocities change their sign.",
            NOT_SEEN,
        ),
        Wrong(
            "the velocities are lost",
            returned(turn=lambda x, v: (x, 0 * v)),
            "You start the way back at rest. The particles have to go back as fast as they came.",
            NOT_SEEN,
        ),
        Wrong(
            "the average",
            returned(gap=lambda x, v, x0, v0: (x - x0).norm(dim=1).mean()),
            "You return the average distance. Asked for is the largest, because one particle that does not come back "
            "is enough.",
            NOT_SEEN,
        ),
        Wrong(
            "the largest coordinate",
            returned(gap=lambda x, v, x0, v0: (x - x0).abs().max()),
            "You return the largest difference of a coordinate. A distance is the norm over the coordinates of a "
            "particle.",
            NOT_SEEN,
        ),
        Wrong(
            "one norm over all particles",
            returned(gap=lambda x, v, x0, v0: (x - x0).norm()),
            "Your norm goes over all particles at once. Take it over the coordinates of each one, `dim=1`, and then "
            "the largest.",
            NOT_SEEN,
        ),
        Wrong(
            "the squared distance",
            returned(gap=lambda x, v, x0, v0: ((x - x0) ** 2).sum(dim=1).max()),
            "You return the squared distance. The root is missing.",
            NOT_SEEN,
        ),
        Wrong(
            "the distance in phase space",
            returned(gap=lambda x, v, x0, v0: ((x - x0) ** 2 + (v + v0) ** 2).sum(dim=1).max().sqrt()),
            "Your distance counts the velocities too. Asked for is the distance of the positions.",
            NOT_SEEN,
        ),
        Wrong(
            "from the turning point",
            from_the_turning_point,
            "You measure the distance from the turning point. Keep the start before the first loop: x is overwritten "
            "in it.",
            NOT_SEEN,
        ),
        Wrong(
            "the way there alone",
            lambda step, x, v, steps: (walked(step, x, v, steps)[0] - x).norm(dim=1).max(),
            "You walk there and not back. After the turn there are as many steps again.",
            NOT_SEEN,
        ),
        Wrong(
            "one step too few",
            returned(back=-1),
            "The way back is one step too short.",
            "off by one",
        ),
        Wrong(
            "one step too many",
            returned(back=1),
            "The way back is one step too long.",
            "off by one",
        ),
    ),
)


# 3.5 fourth_moment_of_all

CROWD = 10_000


def fourth_moment_of_all(g):
    mass = 1 + 4 * torch.rand(10_000, generator=g)
    v = torch.randn(10_000, generator=g) / mass.sqrt()
    return (v**4).mean() / (v**2).mean() ** 2


def fourth_moment_by_scipy(g):
    from scipy.stats import kurtosis

    masses = torch.empty(10_000).uniform_(1, 5, generator=g)
    velocities = torch.normal(0.0, masses.pow(-0.5), generator=g)
    return float(kurtosis(velocities.numpy(), fisher=False))


def fourth_moment_truth(g):  # in double precision, by sums
    width = (1 / (5 - 4 * torch.rand(CROWD, generator=g, dtype=torch.float64))) ** 0.5
    squares = (width * torch.randn(CROWD, generator=g, dtype=torch.float64)) ** 2
    return CROWD * float(squares.dot(squares)) / float(squares.sum()) ** 2


def a_crowd(g, low=1.0, high=5.0, power=-0.5):
    """Velocities of particles with masses from low to high: normal, times a power of the mass."""
    mass = low + (high - low) * torch.rand(CROWD, generator=g)
    return mass, mass**power * torch.randn(CROWD, generator=g)


def ratio(v):
    return (v**4).mean() / (v**2).mean() ** 2


def by_whole_masses(g):
    mass = torch.randint(1, 6, (CROWD,), generator=g)
    return ratio(torch.randn(CROWD, generator=g) / mass.sqrt())


def centred_speed(g):
    speed = a_crowd(g)[1].abs()
    return ratio(speed - speed.mean())


FOURTH_MOMENT = Exercise(
    id="3.5",
    name="fourth_moment_of_all",
    stub='''
def fourth_moment_of_all(g):
    """The mean of v^4 over the square of the mean of v^2, for 10,000 particles with masses drawn evenly from 1 to 5."""
    ...  # your code
''',
    solution=fourth_moment_of_all,
    alternative=fourth_moment_by_scipy,
    why=(
        "Each mass has a normal distribution of its own width, so all together they are a mixture. Its fourth moment\n"
        "is 3 times the mean of 1 / mass² over the square of the mean of 1 / mass: 3 (1/5) / (ln 5 / 4)² = 3.71. Yet\n"
        "every mass has the same temperature. A histogram of all velocities is not normal, although each particle is\n"
        "in equilibrium."
    ),
    truth=fourth_moment_truth,
    cases=lambda g: (Case((RNG,), "10,000 particles"),),
    view=lambda out: {"the mean of the result": out.flatten(), "its mean square": out.flatten() ** 2},
    calls=160,
    hints=(
        "In equilibrium a velocity is normal with variance 1 / mass. A normal number times which factor has this "
        "variance?",
        "Draw 10,000 masses, `1 + 4 * torch.rand(10_000, generator=g)`, and one velocity for each.",
        "The mean of v^4 goes over the square of the mean of v^2, each over all 10,000 velocities.",
    ),
    wrong=(
        Wrong(
            "all masses brought to one width",
            lambda g: ratio((crowd := a_crowd(g))[1] * crowd[0].sqrt()),
            "Your result is 3, that of one normal distribution. You bring all velocities to the same width first, or "
            "draw one mass for all. The question is about all velocities together, each with the width of its mass.",
            NOT_SEEN,
        ),
        Wrong(
            "the variance is not squared",
            lambda g: ((v := a_crowd(g)[1]) ** 4).mean() / (v**2).mean(),
            "You divide by the variance. Divide by its square, so that the unit of the velocity drops out.",
            NOT_SEEN,
        ),
        Wrong(
            "not divided at all",
            lambda g: (a_crowd(g)[1] ** 4).mean(),
            "You return the fourth moment itself. Divide it by the square of the variance.",
            NOT_SEEN,
        ),
        Wrong(
            "3 is subtracted",
            lambda g: ratio(a_crowd(g)[1]) - 3,
            "You subtract 3. That is the excess over a normal distribution, which SciPy returns unless you say "
            "fisher=False.",
            "scipy.stats.kurtosis",
        ),
        Wrong(
            "heavy particles are faster",
            lambda g: ratio(a_crowd(g, power=0.5)[1]),
            "Your heavy particles are the fast ones: you multiply by the root of the mass. Divide by it.",
            NOT_SEEN,
        ),
        Wrong(
            "divided by the mass",
            lambda g: ratio(a_crowd(g, power=-1.0)[1]),
            "You divide the normal numbers by the mass. The variance is 1 / mass, so divide by the root of the mass.",
            NOT_SEEN,
        ),
        Wrong(
            "whole masses",
            by_whole_masses,
            "Your masses are whole numbers, as `torch.randint` draws them. They should lie anywhere between 1 and 5.",
            NOT_SEEN,
        ),
        Wrong(
            "masses from 1 to 6",
            lambda g: ratio(a_crowd(g, high=6.0)[1]),
            "Your masses run from 1 to 6. `torch.rand` runs from 0 to 1, so multiply it by 4 and add 1.",
            "5 * rand + 1",
        ),
        Wrong(
            "a centred speed",
            centred_speed,
            "You use the speed, the absolute value of the velocity, and subtract its mean. Velocities have mean 0 "
            "already: no absolute value, and nothing to subtract.",
            NOT_SEEN,
        ),
        Wrong(
            "upside down",
            lambda g: 1 / ratio(a_crowd(g)[1]),
            "Your ratio is upside down. The fourth moment stands above.",
            NOT_SEEN,
        ),
    ),
)


# 3.6 best_friction


def best_friction():
    crossed = {}
    for friction in (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0):
        g = generator(3, 20)
        x, v = torch.ones(2000, 1), 0.5 * torch.randn(2000, 1, generator=g)  # at a temperature of 0.25
        for state in physics.underdamped_langevin(
            physics.double_well(1.0), x, v, temperature=0.25, friction=friction, dt=0.05, steps=1000, generator=g
        ):
            x = state.x
        crossed[friction] = float((x < 0).double().mean())
    return max(crossed, key=crossed.get)


BEST_FRICTION = Question(
    id="3.6",
    name="best_friction",
    stub="best_friction = None  # the friction with which most particles have crossed, a number",
    right=(0.4, 2.0),
    solution=best_friction,
    why=(
        "Most particles cross at a friction between about 0.5 and 1.5. With less friction a particle hardly\n"
        "exchanges energy with the fluid, so it waits long until it has enough to cross. With more friction it has\n"
        "the energy soon, but it moves over the top as through honey, at a speed proportional to 1 / friction.\n"
        "Kramers found both limits in 1940."
    ),
    wrong=(
        WrongValue(
            "no friction",
            (0.0, 0.004),
            "Without friction there is no noise either. The energy of each particle stays what it is, and most of the "
            "particles never have enough to cross.",
            NOT_SEEN,
        ),
        WrongValue(
            "the weakest",
            (0.005, 0.02),
            "This is about the weakest friction, where very few particles have crossed. Have you counted those that "
            "are still on the right? A particle on the left has x < 0.",
            "the fraction on the right",
        ),
        WrongValue(
            "too weak",
            (0.021, 0.25),
            "This friction is too weak. Little energy comes in from the noise, so most of the particles are still "
            "waiting for enough of it.",
            NOT_SEEN,
        ),
        WrongValue(
            "nearly, from below",
            (0.26, 0.39),
            "Close, but more particles cross with a little more friction. Try values between this one and 1 as well.",
            NOT_SEEN,
        ),
        WrongValue(
            "somewhat too strong",
            (2.1, 5.3),
            "This friction is somewhat too strong: it already slows the way over the barrier. Try values between 0.5 "
            "and this one as well.",
            NOT_SEEN,
        ),
        WrongValue(
            "critical damping",
            (5.4, 5.9),
            "This is critical damping at the bottom of a well, 2 times the root of 8. It forgets a position in a well "
            "soonest, but the way over a barrier is another question: measure it.",
            "section 7 of notebook 03",
        ),
        WrongValue(
            "the more the better",
            (9.0, 1e9),
            "More friction also means more noise, but it makes every motion slow: strong friction is the honey of "
            "notebook 02. Few particles have crossed at time 50.",
            NOT_SEEN,
        ),
    ),
    hints=(
        "Write a function of the friction that returns the fraction with x < 0 at time 50, and try 0.01, 0.1, 1, 10, "
        "100.",
        "Steps of 0.05 and 2,000 particles are enough: 1,000 steps of `physics.underdamped_langevin`.",
        "The normal velocities at the start have the variance 0.25, the temperature over the mass.",
    ),
)


# 3.7 aboba_matrices


def aboba_matrices(dt, friction):
    drift = torch.tensor([[1, dt / 2], [0, 1]], dtype=torch.float64)  # half a drift
    kick = torch.tensor([[1, 0], [-dt / 2, 1]], dtype=torch.float64)  # half a kick
    keep = math.exp(-friction * dt)
    brake = torch.tensor([[1, 0], [0, keep]], dtype=torch.float64)
    noise = torch.tensor([[0], [math.sqrt(1 - keep**2)]], dtype=torch.float64)
    return drift @ kick @ brake @ kick @ drift, drift @ kick @ noise


def aboba_matrices_by_unit_steps(dt, friction):
    def step(x, v, z):
        x = x + dt / 2 * v
        v = v - dt / 2 * x
        v = math.exp(-friction * dt) * v + math.sqrt(-math.expm1(-2 * friction * dt)) * z
        v = v - dt / 2 * x
        return x + dt / 2 * v, v

    columns = [step(*unit) for unit in [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]]
    both = torch.tensor(columns, dtype=torch.float64).T
    return both[:, :2], both[:, 2:]


def aboba_truth(dt, friction):  # multiplied out by hand
    h, c = dt / 2, math.exp(-friction * dt)
    s = math.sqrt(1 - c * c)
    a = [[1 - h * h * (1 + c), h + h * (c - h * h * (1 + c))], [-h * (1 + c), c - h * h * (1 + c)]]
    return torch.tensor(a, dtype=torch.float64), torch.tensor([[h * s], [s]], dtype=torch.float64)


def aboba_cases(g):
    dt = round(0.3 + 0.4 * float(torch.rand((), generator=g)), 3)
    return (
        Case((1.0, 0.5), "dt = 1 and friction = 0.5"),
        Case((dt, 1.3), f"dt = {dt} and friction = 1.3"),
    )


def square(rows):
    return torch.tensor(rows, dtype=torch.float64)


def pieces(dt, friction):
    """Half a drift, half a kick, the friction and its noise."""
    keep = math.exp(-friction * dt)
    a, b = square([[1, dt / 2], [0, 1]]), square([[1, 0], [-dt / 2, 1]])
    return a, b, square([[1, 0], [0, keep]]), square([[0], [math.sqrt(1 - keep**2)]])


def aboba_wrong(name, formula, message, seen=NOT_SEEN):
    """A wrong answer made of the right parts: formula(a, b, o, n) of drift, kick, friction and noise."""
    return Wrong(name, lambda dt, friction: formula(*pieces(dt, friction)), message, seen)


def aboba_of(drift, kick, keep, noise):
    """The right order with numbers in place of the parts' own."""
    a, b = square([[1, drift], [0, 1]]), square([[1, 0], [-kick, 1]])
    return a @ b @ square([[1, 0], [0, keep]]) @ b @ a, a @ b @ square([[0], [noise]])


def kept(dt, friction, share=1.0):
    return math.exp(-share * friction * dt)


def spread(dt, friction, share=1.0):
    return math.sqrt(1 - kept(dt, friction, share) ** 2)


ABOBA = Exercise(
    id="3.7",
    name="aboba_matrices",
    stub='''
def aboba_matrices(dt, friction):
    """The matrix M, (2, 2), and the vector u, (2, 1), of one step of A B O B A for a spring; float64 tensors."""
    ...  # your code
''',
    solution=aboba_matrices,
    alternative=aboba_matrices_by_unit_steps,
    why=(
        "The part that is done first stands rightmost in a product. After the noise come one half kick and one half\n"
        "drift, so the noise vector is multiplied by these two. In equilibrium the position is exactly right, as with\n"
        "BAOAB. The variance of the velocity is 1 / (1 - dt²/4): too large, where that of BAOAB, 1 - dt²/4, is too\n"
        "small."
    ),
    truth=aboba_truth,
    cases=aboba_cases,
    parts=("the matrix M", "the vector u"),
    hints=(
        "Take the matrices of section 9: half a kick, half a drift, the friction. Only their order changes.",
        "The part that is done first stands rightmost in the product, because it meets (x, v) first.",
        "Which parts come after the noise? The noise vector is multiplied by these, the last one leftmost.",
    ),
    wrong=(
        aboba_wrong(
            "BAOAB",
            lambda a, b, o, n: (b @ a @ o @ a @ b, b @ a @ n),
            "This is BAOAB: it begins and ends with half a kick. ABOBA begins and ends with half a drift.",
            "ericagol/NbodyGradient.jl#13",
        ),
        aboba_wrong(
            "the noise of BAOAB",
            lambda a, b, o, n: (a @ b @ o @ b @ a, b @ a @ n),
            "Your matrix is right, but the noise is moved in the wrong order. After the noise comes the half kick and "
            "then the half drift, so the drift stands leftmost.",
            "ericagol/NbodyGradient.jl#13",
        ),
        aboba_wrong(
            "the matrix of BAOAB",
            lambda a, b, o, n: (b @ a @ o @ a @ b, a @ b @ n),
            "Your vector is right, but your matrix is that of BAOAB.",
        ),
        aboba_wrong(
            "the noise is not moved",
            lambda a, b, o, n: (a @ b @ o @ b @ a, n),
            "You add the noise at the end of the step. It is added in the middle, and half a kick and half a drift "
            "come after it.",
        ),
        aboba_wrong(
            "the noise is braked",
            lambda a, b, o, n: (a @ b @ o @ b @ a, a @ b @ o @ n),
            "You brake the noise too. The noise comes with the friction, after the factor, so only the half kick and "
            "the half drift come after it.",
        ),
        aboba_wrong(
            "noise at the beginning",
            lambda a, b, o, n: (a @ b @ o @ b @ a, a @ b @ o @ b @ a @ n),
            "You multiply the noise by the whole matrix, as if it were added at the beginning. Only the parts after O "
            "act on it.",
        ),
        Wrong(
            "whole drifts",
            lambda dt, friction: aboba_of(dt, dt / 2, kept(dt, friction), spread(dt, friction)),
            "Your drifts are whole. There are two of them, so each takes dt / 2.",
            "chaos-polymtl/lethe#134",
        ),
        Wrong(
            "whole kicks",
            lambda dt, friction: aboba_of(dt / 2, dt, kept(dt, friction), spread(dt, friction)),
            "Your kicks are whole. There are two of them, so each takes dt / 2.",
            "chaos-polymtl/lethe#134",
        ),
        Wrong(
            "whole drifts and kicks",
            lambda dt, friction: aboba_of(dt, dt, kept(dt, friction), spread(dt, friction)),
            "Your drifts and your kicks are whole. There are two of each, so each takes dt / 2.",
            "chaos-polymtl/lethe#134",
        ),
        Wrong(
            "half the friction",
            lambda dt, friction: aboba_of(dt / 2, dt / 2, kept(dt, friction, 0.5), spread(dt, friction, 0.5)),
            "Your friction acts for half the time. There is one O in the step, so it takes the whole dt.",
            NOT_SEEN,
        ),
        Wrong(
            "the force pushes outward",
            lambda dt, friction: aboba_of(dt / 2, -dt / 2, kept(dt, friction), spread(dt, friction)),
            "Your kicks push outward. The force of a spring is -x.",
            NOT_SEEN,
        ),
        Wrong(
            "a variance for a factor",
            lambda dt, friction: aboba_of(dt / 2, dt / 2, kept(dt, friction), spread(dt, friction) ** 2),
            "Your noise has the factor 1 - keep². That is its variance: the root is missing.",
            NOT_SEEN,
        ),
        Wrong(
            "keep is not squared",
            lambda dt, friction: aboba_of(dt / 2, dt / 2, kept(dt, friction), math.sqrt(1 - kept(dt, friction))),
            "Your noise has the variance 1 - keep. A factor acts on a variance by its square: 1 - keep².",
            NOT_SEEN,
        ),
        Wrong(
            "Euler's noise",
            lambda dt, friction: aboba_of(dt / 2, dt / 2, kept(dt, friction), math.sqrt(2 * friction * dt)),
            "Your noise is that of Euler's step. The friction step is exact, with the variance 1 - keep².",
            NOT_SEEN,
        ),
        Wrong(
            "transposed",
            lambda dt, friction: (aboba_truth(dt, friction)[0].T.clone(), aboba_truth(dt, friction)[1]),
            "Your matrix is transposed. It acts on the column (x, v): the first row makes the new position.",
            NOT_SEEN,
        ),
    ),
)


# 3.8 energies_in_equilibrium


def energies_in_equilibrium(n, d, temperature, g):
    x, v = math.sqrt(temperature) * torch.randn(2, n, d, generator=g)
    return (x**2 + v**2).sum(dim=1) / 2


def energies_by_one_tensor(n, d, temperature, g):
    squares = torch.empty(n, 2 * d).normal_(std=temperature**0.5, generator=g).square()
    return 0.5 * squares.sum(dim=-1)


def energies_truth(n, d, temperature, g):  # a Gamma distribution: a sum of d exponential numbers
    u = torch.rand(n, d, generator=g, dtype=torch.float64)
    return (-temperature * torch.log1p(-u).sum(dim=1)).float()


def energies_numbers(out, n, d, temperature):
    first, second = out[:, :-1], out[:, 1:]
    numbers = {
        "the mean energy": out,
        "the mean square of the energy": out**2,
        "the mean cube of the energy": out**3,
        "the mean squared difference of the energies of two particles": (first - second) ** 2,
    }
    return {name: value.double().mean(dim=1) for name, value in numbers.items()}


def squares(n, d, temperature, g):
    """The sum of d squares in equilibrium, over 2, for each particle."""
    return temperature * (torch.randn(n, d, generator=g) ** 2).sum(dim=1) / 2


def the_same_for_both(n, d, temperature, g):
    x = math.sqrt(temperature) * torch.randn(n, d, generator=g)
    return (x**2).sum(dim=1)


ENERGIES = Exercise(
    id="3.8",
    name="energies_in_equilibrium",
    stub='''
def energies_in_equilibrium(n, d, temperature, g):
    """n energies of a particle in a bowl in d dimensions (stiffness and mass 1), in equilibrium. (n,), float32."""
    ...  # your code
''',
    solution=energies_in_equilibrium,
    alternative=energies_by_one_tensor,
    why=(
        "Positions and velocities are independent normal numbers of variance temperature, 2 d of them. The energy\n"
        "has a Gamma distribution with mean d temperature and variance d temperature². So relative to its mean it\n"
        "varies by 1 / sqrt(d): all of it for d = 1, 3 % for d = 1000. That is why the energy of a large system\n"
        "looks like a constant."
    ),
    truth=energies_truth,
    cases=lambda g: (
        Case((PARTICLES, 1, 1.0, RNG), f"n = {PARTICLES}, d = 1 and temperature = 1"),
        Case((50, 6, 0.5, RNG), "n = 50, d = 6 and temperature = 0.5"),
    ),
    view=energies_numbers,
    hints=(
        "In equilibrium a position is normal with variance temperature / stiffness, a velocity with variance "
        "temperature / mass.",
        "Draw x and v independently, both of the shape (n, d), with the root of the temperature as the factor.",
        "The energy is half the sum of all squares, of x and of v, over `dim=1`.",
    ),
    wrong=(
        Wrong(
            "the kinetic energy alone",
            lambda n, d, temperature, g: squares(n, d, temperature, g),
            "Your energy has d squares. It needs 2 d, because kinetic and potential energy both have d of them.",
            NOT_SEEN,
        ),
        Wrong(
            "no 1/2",
            lambda n, d, temperature, g: 2 * squares(n, 2 * d, temperature, g),
            "The 1/2 is missing: the energy is x²/2 + v²/2.",
            NOT_SEEN,
        ),
        Wrong(
            "the mean over directions",
            lambda n, d, temperature, g: squares(n, 2 * d, temperature, g) / d,
            "You take the mean over the directions. The total energy is their sum.",
            NOT_SEEN,
        ),
        Wrong(
            "the temperature is missing",
            lambda n, d, temperature, g: squares(n, 2 * d, 1.0, g),
            "The temperature is missing. Positions and velocities have the variance temperature.",
            NOT_SEEN,
        ),
        Wrong(
            "the temperature as a standard deviation",
            lambda n, d, temperature, g: squares(n, 2 * d, temperature**2, g),
            "You multiply the normal numbers by the temperature. It is their variance, so take its root.",
            NOT_SEEN,
        ),
        Wrong(
            "the temperature for the velocities only",
            lambda n, d, temperature, g: squares(n, d, temperature, g) + squares(n, d, 1.0, g),
            "The temperature acts on half of your numbers only. Positions and velocities both need it.",
            NOT_SEEN,
        ),
        Wrong(
            "the same numbers twice",
            the_same_for_both,
            "Your positions and velocities are the same numbers. The mean energy is right, but it varies too much: "
            "draw them independently.",
            NOT_SEEN,
        ),
        Wrong(
            "one exponential number",
            lambda n, d, temperature, g: d * temperature * torch.empty(n).exponential_(generator=g),
            "Your energies have an exponential distribution with the right mean. That is right for d = 1 only.",
            "the Boltzmann factor taken for the distribution of the energy",
        ),
        Wrong(
            "a normal distribution",
            lambda n, d, temperature, g: d * temperature + temperature * math.sqrt(d) * torch.randn(n, generator=g),
            "Your energies are normal, with the right mean and variance. For large d that is nearly right, but an "
            "energy is never negative.",
            "the central limit theorem for few terms",
        ),
        Wrong(
            "one particle for all",
            lambda n, d, temperature, g: squares(1, 2 * d, temperature, g).expand(n).clone(),
            "All particles have the same energy, because you draw one particle only. Draw numbers of the shape (n, d).",
            "jolibrain/joliGEN#527",
        ),
        Wrong(
            "uniform numbers",
            lambda n, d, temperature, g: temperature * (torch.rand(n, 2 * d, generator=g) ** 2).sum(dim=1) / 2,
            "Your numbers are uniform from 0 to 1, as `torch.rand` draws them. In equilibrium they are normal: "
            "`torch.randn`.",
            "acids-ircam/diffusion_models#8",
        ),
    ),
)


# 3.9 friction that depends on the place

PLACE = Explanation(
    id="3.9",
    name="friction that depends on the place",
    task="Let the friction depend on the position, and find out where the particles settle.",
    model=(
        "In the equation for p only the flux of friction and noise changes: J_v = -γ(x) v p - γ(x) (k_BT / m) dp/dv. "
        "It is γ(x) times the old one, and its derivative is taken in v, where γ(x) is a constant. For p = exp(-E / "
        "k_BT) / Z the bracket vanishes as before, so J_v = 0 at every x. Newton's two terms do not contain γ at all. "
        "So the same density stands still: the particles settle where they settle with any other friction above 0. "
        "Only the way there is different."
    ),
    look_for=(
        "Only the line of J_v changes, because friction and noise act on the velocity alone.",
        "The factor γ(x) comes out of J_v, since the derivative is taken in v at a fixed x.",
        "The equilibrium density is still exp(-E / k_BT) / Z, so position and velocity are still independent.",
        "The noise has to change with the friction, as 2 m γ(x) k_BT, because otherwise the bracket does not vanish.",
    ),
    hints=(
        "Where does γ stand in the Klein–Kramers equation?",
        "By which variable is J_v differentiated, and what is γ(x) for this derivative?",
        "Put the density into J_v and take γ(x) out of the bracket. What is left in it?",
    ),
)

EXERCISES = (
    VELOCITY_VERLET,
    OU_KICK,
    THERMOMETER,
    THERE_AND_BACK,
    FOURTH_MOMENT,
    BEST_FRICTION,
    ABOBA,
    ENERGIES,
    PLACE,
)
assert all(a.id < b.id for a, b in pairwise(EXERCISES))
