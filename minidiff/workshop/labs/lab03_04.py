"""Lab 03-04, inertia and forgetting: after notebooks 03 and 04."""

import math

import torch

from minidiff.checks.records import RNG, Case, Exercise, Wrong
from minidiff.checks.views import UNSEEN, means, moments_of, normal
from minidiff.workshop.labs.hidden import between
from minidiff.workshop.labs.records import Lab, Plot, Problem, Variant

__all__ = ["LAB"]

PARTICLES = 250  # in the public case of a random step
EXACT = torch.float64


def column(*values):
    """Numbers as particles on a line, (B, 1)."""
    return torch.tensor(values, dtype=EXACT)[:, None]


# verlet: velocity Verlet, but with momenta, or back in time


def spring(x):
    return -x


def wall(x):
    return 0.5 - 3 * x - x**3


def verlet_with_momenta(x, p, force, dt, mass):
    p = p + dt / 2 * force(x)
    x = x + dt * p / mass
    p = p + dt / 2 * force(x)
    return x, p


def verlet_with_momenta_in_one_piece(x, p, force, dt, mass):
    before = force(x)
    there = x + (p * dt + before * dt**2 / 2) / mass
    return there, p + (before + force(there)) * dt / 2


def verlet_with_momenta_truth(x, p, force, dt, mass):  # Störmer: the momentum from the positions before and after
    first = x + dt * (p / mass) + dt**2 / (2 * mass) * force(x)
    second = 2 * first - x + dt**2 / mass * force(first)
    return first, mass * (second - x) / (2 * dt)


def phase_points(g, n):
    """Positions, velocities or momenta, and masses of particles in the plane."""
    x, v = torch.randn(2, n, 2, generator=g, dtype=EXACT)
    return x, 0.5 + v, 1.5 + 2 * torch.rand(n, 1, generator=g, dtype=EXACT)


def verlet_with_momenta_cases(g):
    x, p, mass = phase_points(g, 5)
    return (
        Case((column(1.0), column(0.6), spring, 0.5, 2.0), "x = 1, p = 0.6, the force -x, dt = 0.5 and mass = 2"),
        Case((x, p, wall, between(g, 0.2, 0.3), mass), "hidden particles of unequal mass, with the force 'wall'"),
        Case((x, 2 * p, spring, between(g, 0.5, 0.8), 0.7), "hidden light particles, with the force 'spring'"),
    )


def momenta_kicked_like_velocities(x, p, force, dt, mass):
    p = p + dt / 2 * force(x) / mass
    x = x + dt * p
    p = p + dt / 2 * force(x) / mass
    return x, p


def mass_in_kick_and_drift(x, p, force, dt, mass):
    p = p + dt / 2 * force(x) / mass
    x = x + dt * p / mass
    p = p + dt / 2 * force(x) / mass
    return x, p


def drift_by_the_momentum(x, p, force, dt, mass):
    p = p + dt / 2 * force(x)
    x = x + dt * p
    p = p + dt / 2 * force(x)
    return x, p


def the_old_force_twice(x, p, force, dt, mass):
    kick = dt / 2 * force(x)
    p = p + kick
    x = x + dt * p / mass
    return x, p + kick


def one_kick_and_a_drift(x, p, force, dt, mass):
    p = p + dt * force(x)
    x = x + dt * p / mass
    return x, p


def momenta_without_the_last_kick(x, p, force, dt, mass):
    p = p + dt / 2 * force(x)
    x = x + dt * p / mass
    return x, p


VERLET_WITH_MOMENTA = Exercise(
    id="lab03-04.verlet.momenta",
    name="verlet_with_momenta",
    stub='''
def verlet_with_momenta(x, p, force, dt, mass):
    """One step of velocity Verlet. Returns the new position and the new momentum. x, p: (B, d)."""
    ...  # your code
''',
    solution=verlet_with_momenta,
    alternative=verlet_with_momenta_in_one_piece,
    why=(
        "A force is the rate of change of a momentum, so that a kick knows nothing of the mass. The mass is needed in "
        "the drift, where the velocity is p / m."
    ),
    truth=verlet_with_momenta_truth,
    cases=verlet_with_momenta_cases,
    parts=("the position", "the momentum"),
    hints=(),
    wrong=(
        Wrong(
            "momenta taken for velocities",
            momenta_kicked_like_velocities,
            "You kick by force / mass and drift by p, as if p were a velocity. The momentum is m v.",
            UNSEEN,
        ),
        Wrong(
            "the mass in the kicks too",
            mass_in_kick_and_drift,
            "You divide by the mass in the kicks and in the drift as well. In one of the two it does not belong: ask "
            "what the rate of change of m v is.",
            UNSEEN,
        ),
        Wrong(
            "the drift without the mass",
            drift_by_the_momentum,
            "Your mass is nowhere: you drift by p. A heavy particle with the same momentum is slower.",
            "jax-md/jax-md#145",
        ),
        Wrong(
            "the old force twice",
            the_old_force_twice,
            "Both of your half kicks use the force at the old position. The second one needs the force at the new "
            "position.",
            "a force computed once",
        ),
        Wrong(
            "one whole kick",
            one_kick_and_a_drift,
            "You do one whole kick and then a drift. That is symplectic Euler, whose error is of first order.",
            "softmatterlab/SOCS#28",
        ),
        Wrong(
            "the last half kick is missing",
            momenta_without_the_last_kick,
            "Your momentum is that of half time, because the last half kick is missing.",
            "chaos-polymtl/lethe#2082",
        ),
    ),
)


def verlet_backwards(x, v, force, dt, mass):
    v = v - dt / 2 * force(x) / mass
    x = x - dt * v
    v = v - dt / 2 * force(x) / mass
    return x, v


def verlet_backwards_by_turning(x, v, force, dt, mass):
    there = x + (-v) * dt + force(x) / mass * dt**2 / 2
    turned = -v + (force(x) + force(there)) / mass * dt / 2
    return there, -turned


def verlet_backwards_truth(x, v, force, dt, mass):  # Störmer's positions before x
    at_half_time = v - dt / (2 * mass) * force(x)
    before = x - dt * at_half_time
    still_before = 2 * before - x + dt**2 / mass * force(before)
    return before, (x - still_before) / (2 * dt)


def verlet_backwards_cases(g):
    x, v, mass = phase_points(g, 5)
    return (
        Case((column(1.0), column(0.6), spring, 0.5, 2.0), "x = 1, v = 0.6, the force -x, dt = 0.5 and mass = 2"),
        Case((x, v, wall, between(g, 0.2, 0.3), mass), "hidden particles of unequal mass, with the force 'wall'"),
        Case((x, 2 * v, spring, between(g, 0.5, 0.8), 0.7), "hidden light particles, with the force 'spring'"),
    )


def a_step_forwards(x, v, force, dt, mass):
    v = v + dt / 2 * force(x) / mass
    x = x + dt * v
    v = v + dt / 2 * force(x) / mass
    return x, v


def turned_and_not_turned_back(x, v, force, dt, mass):
    v = -v + dt / 2 * force(x) / mass
    x = x + dt * v
    v = v + dt / 2 * force(x) / mass
    return x, v


def kicks_forwards_and_drift_backwards(x, v, force, dt, mass):
    v = v + dt / 2 * force(x) / mass
    x = x - dt * v
    v = v + dt / 2 * force(x) / mass
    return x, v


def the_new_force_twice(x, v, force, dt, mass):
    kick = dt / 2 * force(x) / mass
    v = v - kick
    x = x - dt * v
    return x, v - kick


def back_without_the_mass(x, v, force, dt, mass):
    v = v - dt / 2 * force(x)
    x = x - dt * v
    v = v - dt / 2 * force(x)
    return x, v


VERLET_BACKWARDS = Exercise(
    id="lab03-04.verlet.back",
    name="verlet_backwards",
    stub='''
def verlet_backwards(x, v, force, dt, mass):
    """Position and velocity *before* a step of velocity Verlet that led to x and v. x, v: (B, d)."""
    ...  # your code
''',
    solution=verlet_backwards,
    alternative=verlet_backwards_by_turning,
    why=(
        "Each of the three parts changes one of x and v by an amount that depends on the other one alone, so it is "
        "undone by subtracting that amount. The last part is undone first. The result is a step with -dt."
    ),
    truth=verlet_backwards_truth,
    cases=verlet_backwards_cases,
    parts=("the position", "the velocity"),
    hints=(),
    wrong=(
        Wrong(
            "a step forwards",
            a_step_forwards,
            "This is the step forwards, to where the particle will be. Asked for is where it was.",
            "exercise 3.1",
        ),
        Wrong(
            "the velocity not turned back",
            turned_and_not_turned_back,
            "You turn the velocity and take a step, which brings the particle back. But then it still has the turned "
            "velocity, so the sign of what you return is wrong.",
            UNSEEN,
        ),
        Wrong(
            "the kicks go forwards",
            kicks_forwards_and_drift_backwards,
            "Your drift goes back in time, and your kicks go forwards. What the force has added to v must be taken "
            "away again.",
            UNSEEN,
        ),
        Wrong(
            "Euler's step backwards",
            lambda x, v, force, dt, mass: (x - dt * v, v - dt * force(x) / mass),
            "This is Euler's step with -dt. It does not undo a step of Verlet exactly: kick, drift and kick have to be "
            "undone one by one.",
            "notebook 03, section 1",
        ),
        Wrong(
            "the same force twice",
            the_new_force_twice,
            "Both of your half kicks use the force at the place that you were given. The first half kick of the step "
            "was done at the place *before* it.",
            "a force computed once",
        ),
        Wrong(
            "the mass is missing",
            back_without_the_mass,
            "Your mass is nowhere. A force changes a velocity at the rate force / mass, and as much must be taken "
            "away.",
            "jax-md/jax-md#145",
        ),
    ),
)


# friction: friction and noise, but with a friction and a mass for each particle, or for momenta and with a half-life


def kick_by_particle(v, friction, temperature, mass, dt, g):
    keep = torch.exp(-friction * dt)
    spread = torch.sqrt((1 - keep**2) * temperature / mass)
    return keep[:, None] * v + spread[:, None] * torch.randn(v.shape, generator=g, dtype=v.dtype)


def kick_by_particle_in_columns(v, friction, temperature, mass, dt, g):
    variance = -torch.expm1(-2 * friction * dt) * temperature / mass
    columns = []
    for direction in range(v.shape[1]):
        z = torch.empty_like(mass).normal_(generator=g)
        columns.append(torch.exp(-friction * dt) * v[:, direction] + variance**0.5 * z)
    return torch.stack(columns, dim=1)


def kick_by_particle_truth(v, friction, temperature, mass, dt, g):  # the noise builds up like the integral of a decay
    time = torch.linspace(0, dt, 65, dtype=EXACT)
    decay = torch.exp(-2 * friction.double()[:, None] * time)
    built = 2 * friction * temperature / mass * torch.trapezoid(decay, time, dim=1)
    left = decay[:, -1:].sqrt().to(v)
    return torch.normal(left * v, built.sqrt().to(v)[:, None].expand(v.shape), generator=g)


def kick_by_particle_cases(g):
    v = torch.tensor([6.0, -9.0], dtype=EXACT) + 2 * torch.randn(100, 2, generator=g, dtype=EXACT)
    friction = 0.3 + 3 * torch.rand(100, generator=g, dtype=EXACT)
    mass = 0.4 + 2.5 * torch.rand(100, generator=g, dtype=EXACT)
    half = torch.arange(PARTICLES) < PARTICLES // 2
    return (
        Case(
            (torch.ones(PARTICLES, 2), torch.where(half, 0.8, 2.0), 0.6, torch.where(half, 3.0, 0.7), 0.5, RNG),
            f"v = (1, 1) ({PARTICLES} times), friction 0.8 and mass 3 for half of the particles, friction 2 and mass "
            "0.7 for the others, temperature = 0.6 and dt = 0.5",
        ),
        Case((v, friction, between(g, 0.5, 0.8), mass, between(g, 0.25, 0.4), RNG), "hidden particles of many kinds"),
    )


def kick_by_particle_numbers(out, v, friction, temperature, mass, dt):
    mean = torch.exp(-friction * dt)[:, None] * v
    return moments_of(out, mean, v) | means(
        {
            "the variance of the noise times the mass": (out - mean) ** 2 * mass[:, None],
            "the variance of the noise times the friction": (out - mean) ** 2 * friction[:, None],
            "the mean of the result times the friction": out * friction[:, None],
        }
    )


KICK_BY_PARTICLE = Exercise(
    id="lab03-04.friction.particles",
    name="kick_by_particle",
    stub='''
def kick_by_particle(v, friction, temperature, mass, dt, g):
    """Friction and noise for a time dt, exactly. v: (B, d). friction, mass: (B,), one for each particle."""
    ...  # your code
''',
    solution=kick_by_particle,
    alternative=kick_by_particle_in_columns,
    why=(
        "Each particle keeps exp(-friction dt) of its velocity, and noise fills its variance up to temperature / mass. "
        "`[:, None]` gives each particle its own numbers in all directions."
    ),
    truth=kick_by_particle_truth,
    cases=kick_by_particle_cases,
    view=kick_by_particle_numbers,
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "the factor is not squared",
            lambda v, friction, temperature, mass, dt, g: (
                torch.exp(-friction * dt)[:, None] * v
                + torch.sqrt((1 - torch.exp(-friction * dt)) * temperature / mass)[:, None] * normal(v, g)
            ),
            "Your noise has the variance (1 - exp(-friction dt)) temperature / mass. A factor acts on a variance by "
            "its square.",
            UNSEEN,
        ),
        Wrong(
            "the noise of a small step",
            lambda v, friction, temperature, mass, dt, g: (
                torch.exp(-friction * dt)[:, None] * v
                + torch.sqrt(2 * friction * temperature * dt / mass)[:, None] * normal(v, g)
            ),
            "Your factor is exact, but your noise is that of a small step. In a long step the friction acts on the "
            "noise as well.",
            UNSEEN,
        ),
        Wrong(
            "the mass is missing",
            lambda v, friction, temperature, mass, dt, g: (
                torch.exp(-friction * dt)[:, None] * v
                + torch.sqrt((1 - torch.exp(-2 * friction * dt)) * temperature)[:, None] * normal(v, g)
            ),
            "Your noise does not know the mass. In equilibrium heavy particles are slower than light ones.",
            "jax-md/jax-md#145",
        ),
        Wrong(
            "the mass outside the root",
            lambda v, friction, temperature, mass, dt, g: (
                torch.exp(-friction * dt)[:, None] * v
                + (torch.sqrt((1 - torch.exp(-2 * friction * dt)) * temperature) / mass)[:, None] * normal(v, g)
            ),
            "You divide the noise by the mass. It is the *variance* that is divided by the mass in equilibrium.",
            UNSEEN,
        ),
        Wrong(
            "the mean friction",
            lambda v, friction, temperature, mass, dt, g: (
                math.exp(-friction.mean() * dt) * v
                + torch.sqrt((1 - math.exp(-2 * friction.mean() * dt)) * temperature / mass)[:, None] * normal(v, g)
            ),
            "You take the mean of the frictions for all particles. Each particle has its own.",
            UNSEEN,
        ),
        Wrong(
            "friction over mass",
            lambda v, friction, temperature, mass, dt, g: (
                torch.exp(-friction / mass * dt)[:, None] * v
                + torch.sqrt((1 - torch.exp(-2 * friction / mass * dt)) * temperature / mass)[:, None] * normal(v, g)
            ),
            "You divide the friction by the mass in the exponent. In this course the friction is a rate already: left "
            "alone, a velocity fades like exp(-friction t).",
            "a friction coefficient, which is a force per velocity",
        ),
    ),
)


def kick_of_momenta(p, half_life, temperature, mass, dt, g):
    keep = 0.5 ** (dt / half_life)
    spread = math.sqrt((1 - keep**2) * mass * temperature)
    return keep * p + spread * torch.randn(p.shape, generator=g, dtype=p.dtype)


def kick_of_momenta_in_place(p, half_life, temperature, mass, dt, g):
    friction = math.log(2) / half_life
    variance = -math.expm1(-2 * friction * dt) * temperature * mass
    return torch.empty_like(p).normal_(std=variance**0.5, generator=g).add_(p, alpha=math.exp(-friction * dt))


def kick_of_momenta_truth(p, half_life, temperature, mass, dt, g):  # the noise builds up like the integral of a decay
    friction = math.log(2) / half_life
    time = torch.linspace(0, dt, 65, dtype=EXACT)
    built = 2 * mass * friction * temperature * float(torch.trapezoid(torch.exp(-2 * friction * time), time))
    return torch.normal(p / 2 ** (dt / half_life), torch.full_like(p, built).sqrt(), generator=g)


def kick_of_momenta_cases(g):
    p = torch.tensor([6.0, -9.0], dtype=EXACT) + 2 * torch.randn(100, 2, generator=g, dtype=EXACT)
    half_life, dt = between(g, 0.5, 0.8), between(g, 0.3, 0.45)
    return (
        Case(
            (torch.ones(PARTICLES, 1), 0.4, 0.6, 3.0, 0.3, RNG),
            f"p = 1 ({PARTICLES} times), half_life = 0.4, temperature = 0.6, mass = 3 and dt = 0.3",
        ),
        Case((p, half_life, between(g, 1.5, 1.9), 0.4, dt, RNG), "hidden light particles in the plane"),
    )


KICK_OF_MOMENTA = Exercise(
    id="lab03-04.friction.momenta",
    name="kick_of_momenta",
    stub='''
def kick_of_momenta(p, half_life, temperature, mass, dt, g):
    """Friction and noise for a time dt, exactly, on momenta p, (B, d). All but p and g are numbers."""
    ...  # your code
''',
    solution=kick_of_momenta,
    alternative=kick_of_momenta_in_place,
    why=(
        "In the time dt the momentum is multiplied by 2^(-dt / half_life). In equilibrium the velocity has the "
        "variance k_B T / m, so the momentum m v has m k_B T, and the noise fills up to that."
    ),
    truth=kick_of_momenta_truth,
    cases=kick_of_momenta_cases,
    view=lambda out, p, half_life, temperature, mass, dt: moments_of(out, p * 2 ** (-dt / half_life), p),
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "the variance of a velocity",
            lambda p, half_life, temperature, mass, dt, g: (
                2 ** (-dt / half_life) * p + math.sqrt((1 - 4 ** (-dt / half_life)) * temperature / mass) * normal(p, g)
            ),
            "You fill up to the variance temperature / mass, which is that of a velocity. Here it is the momentum m v "
            "that comes to equilibrium, and the factor m multiplies a variance by m².",
            UNSEEN,
        ),
        Wrong(
            "half-life for relaxation time",
            lambda p, half_life, temperature, mass, dt, g: (
                math.exp(-dt / half_life) * p
                + math.sqrt((1 - math.exp(-2 * dt / half_life)) * temperature * mass) * normal(p, g)
            ),
            "You use 1 / half_life for the friction. After your half-life exp(-1) = 0.37 of the momentum is left, and "
            "not one half.",
            UNSEEN,
        ),
        Wrong(
            "the half-life of the variance",
            lambda p, half_life, temperature, mass, dt, g: (
                2 ** (-dt / half_life / 2) * p
                + math.sqrt((1 - 2 ** (-dt / half_life)) * temperature * mass) * normal(p, g)
            ),
            "After your half-life the *square* of a momentum has fallen to one half. It is the momentum itself that is "
            "halved in this time.",
            UNSEEN,
        ),
        Wrong(
            "the factor is not squared",
            lambda p, half_life, temperature, mass, dt, g: (
                2 ** (-dt / half_life) * p + math.sqrt((1 - 2 ** (-dt / half_life)) * temperature * mass) * normal(p, g)
            ),
            "Your factor before p is right, but the noise fills up what is missing of the factor and not of its "
            "square. A factor acts on a variance by its square.",
            UNSEEN,
        ),
        Wrong(
            "the mass outside the root",
            lambda p, half_life, temperature, mass, dt, g: (
                2 ** (-dt / half_life) * p + mass * math.sqrt((1 - 4 ** (-dt / half_life)) * temperature) * normal(p, g)
            ),
            "You multiply the noise by the mass, outside the root, as if all velocities were alike. But a heavy "
            "particle is slower, so the variance of m v is not proportional to m².",
            UNSEEN,
        ),
        Wrong(
            "no root",
            lambda p, half_life, temperature, mass, dt, g: (
                2 ** (-dt / half_life) * p + (1 - 4 ** (-dt / half_life)) * temperature * mass * normal(p, g)
            ),
            "You multiply the noise by its variance. A factor before normal numbers is a standard deviation.",
            UNSEEN,
        ),
    ),
)


# thermometer: equipartition, but from positions and forces, or in a wind


def thermometer_of_places(x, force):
    return -(x * force).mean()


def thermometer_of_places_by_a_sum(x, force):
    return -torch.einsum("bi,bi->", x, force) / x.numel()


def thermometer_of_places_truth(x, force):  # one direction after the other, in plain numbers
    temperatures = []
    for places, forces in zip(x.T.tolist(), force.T.tolist(), strict=True):
        temperatures.append(-math.fsum(a * b for a, b in zip(places, forces, strict=True)) / len(places))
    return sum(temperatures) / len(temperatures)


def thermometer_of_places_cases(g):
    x = 0.4 + torch.randn(40, 3, generator=g, dtype=EXACT)
    bowl = torch.tensor([0.7, 1.5, 3.0], dtype=EXACT)
    plain = torch.tensor([[1.0, 0.5], [-0.5, -1.0], [0.2, 0.4]], dtype=EXACT)
    pull = torch.tensor([[-2.0, -0.5], [1.5, 0.5], [-0.6, -1.0]], dtype=EXACT)
    return (
        Case((plain, pull), "x = (1, 0.5), (-0.5, -1), (0.2, 0.4) and the forces (-2, -0.5), (1.5, 0.5), (-0.6, -1)"),
        Case((x, -bowl * x - 0.3 * x.flip(1)), "hidden particles in a tilted bowl in three dimensions"),
        Case((x[:15, :2], 0.4 - 4 * x[:15, :2] ** 3), "hidden particles in a steep valley in the plane"),
    )


THERMOMETER_OF_PLACES = Exercise(
    id="lab03-04.thermometer.places",
    name="thermometer_of_places",
    stub='''
def thermometer_of_places(x, force):
    """The temperature k_B T, a number, of particles at x, (B, d), on which these forces act, (B, d)."""
    ...  # your code
''',
    solution=thermometer_of_places,
    alternative=thermometer_of_places_by_a_sum,
    why=(
        "By equipartition the mean of x dU/dx is k_B T in each direction, whatever the landscape, and the force is "
        "-dU/dx. So it is minus the mean of x times force over particles and directions."
    ),
    truth=thermometer_of_places_truth,
    cases=thermometer_of_places_cases,
    hints=(),
    wrong=(
        Wrong(
            "the sign",
            lambda x, force: (x * force).mean(),
            "Your temperature is negative. A force points back to the valley, against x, because it is minus the "
            "slope.",
            UNSEEN,
        ),
        Wrong(
            "summed over directions",
            lambda x, force: -(x * force).sum(dim=1).mean(),
            "You add up the directions. Each of them has k_B T by itself, so that your number grows with d.",
            UNSEEN,
        ),
        Wrong(
            "the energy",
            lambda x, force: -(x * force).mean() / 2,
            "You return the mean potential energy for each direction, as it is in a bowl. That is half of k_B T.",
            UNSEEN,
        ),
        Wrong(
            "twice the mean",
            lambda x, force: -2 * (x * force).mean(),
            "Your factor 2 is one too much. It belongs to the *energy* of a bowl, 2 U = x U', and here x U' itself is "
            "averaged.",
            UNSEEN,
        ),
        Wrong(
            "a product of means",
            lambda x, force: -(x.mean(dim=0) * force.mean(dim=0)).mean(),
            "You multiply the mean position by the mean force, and both are near 0 in equilibrium. First multiply, "
            "then average.",
            UNSEEN,
        ),
        Wrong(
            "lengths",
            lambda x, force: (x.norm(dim=1) * force.norm(dim=1)).mean() / x.shape[1],
            "You multiply the lengths of position and force. They need not point in opposite directions, so multiply "
            "component by component.",
            UNSEEN,
        ),
    ),
)


def thermometer_in_wind(v, mass):
    wind = (mass[:, None] * v).sum(dim=0) / mass.sum()
    return (mass[:, None] * (v - wind) ** 2).sum() / ((len(v) - 1) * v.shape[1])


def thermometer_in_wind_by_energies(v, mass):
    momentum = mass @ v
    twice = (mass @ v**2).sum() - (momentum**2).sum() / mass.sum()  # the energy, without that of the wind
    return twice / (v.numel() - v.shape[1])


def thermometer_in_wind_truth(v, mass):  # Lagrange: pairs of particles know nothing of the wind
    apart = (v[:, None, :] - v[None, :, :]).square().sum(dim=2)
    twice = float(mass @ apart @ mass) / 2 / float(mass.sum())
    return twice / (v.shape[0] - 1) / v.shape[1]


def thermometer_in_wind_cases(g):
    v = torch.tensor([3.0, -2.0, 1.0], dtype=EXACT) + torch.randn(12, 3, generator=g, dtype=EXACT)
    mass = 0.4 + 4 * torch.rand(12, generator=g, dtype=EXACT)
    plain = torch.tensor([[2.0, 0.0], [4.0, 1.0], [3.0, -2.0]], dtype=EXACT)
    return (
        Case((plain, torch.tensor([1.0, 2.0, 5.0], dtype=EXACT)), "v = (2, 0), (4, 1), (3, -2) and masses 1, 2 and 5"),
        Case((v, mass), "hidden particles in three dimensions"),
        Case((0.3 * v[:5, :2] + 4, mass[:5]), "a few hidden particles in the plane, in a strong wind"),
    )


def wind_left_in(v, mass):
    return (mass[:, None] * v**2).sum() / ((len(v) - 1) * v.shape[1])


def wind_without_masses(v, mass):
    wind = v.mean(dim=0)
    return (mass[:, None] * (v - wind) ** 2).sum() / ((len(v) - 1) * v.shape[1])


def wind_for_free(v, mass):
    wind = (mass[:, None] * v).sum(dim=0) / mass.sum()
    return (mass[:, None] * (v - wind) ** 2).mean()


def one_wind_for_all_directions(v, mass):
    wind = (mass[:, None] * v).sum() / (mass.sum() * v.shape[1])
    return (mass[:, None] * (v - wind) ** 2).sum() / ((len(v) - 1) * v.shape[1])


def wind_summed_over_directions(v, mass):
    wind = (mass[:, None] * v).sum(dim=0) / mass.sum()
    return (mass[:, None] * (v - wind) ** 2).sum() / (len(v) - 1)


def temperature_without_masses(v, mass):
    wind = (mass[:, None] * v).sum(dim=0) / mass.sum()
    return ((v - wind) ** 2).sum() / ((len(v) - 1) * v.shape[1])


THERMOMETER_IN_WIND = Exercise(
    id="lab03-04.thermometer.wind",
    name="thermometer_in_wind",
    stub='''
def thermometer_in_wind(v, mass):
    """The temperature k_B T, a number, of particles that all drift with the same wind. v: (B, d). mass: (B,)."""
    ...  # your code
''',
    solution=thermometer_in_wind,
    alternative=thermometer_in_wind_by_energies,
    why=(
        "The energy of the common motion is no heat, so the velocity of the centre of mass is subtracted. It takes up "
        "one square in each direction, so (B - 1) d squares are left, and each carries k_B T / 2."
    ),
    truth=thermometer_in_wind_truth,
    cases=thermometer_in_wind_cases,
    hints=(),
    wrong=(
        Wrong(
            "the wind left in",
            wind_left_in,
            "You count the common motion as heat. A wind is not hot: the temperature is in the velocities relative to "
            "it.",
            UNSEEN,
        ),
        Wrong(
            "a wind without masses",
            wind_without_masses,
            "Your wind is the plain mean of the velocities, in which a light particle counts as much as a heavy one. "
            "The centre of mass moves differently.",
            UNSEEN,
        ),
        Wrong(
            "the wind for free",
            wind_for_free,
            "You divide by all B d squares. The wind was taken from the same particles, so one square for each "
            "direction is used up, and your temperature is too low on average.",
            "torch.var's correction",
        ),
        Wrong(
            "one wind for all directions",
            one_wind_for_all_directions,
            "You subtract one number in all directions. But the wind is a vector, with a component for each direction.",
            "a mean without dim",
        ),
        Wrong(
            "summed over directions",
            wind_summed_over_directions,
            "You add up the directions. Each of them has k_B T by itself, so that your number grows with d.",
            UNSEEN,
        ),
        Wrong(
            "squares without the mass",
            temperature_without_masses,
            "Your squares are not multiplied by the mass. In equilibrium light particles are faster than heavy ones, "
            "and m v² is the same for both.",
            UNSEEN,
        ),
    ),
)


# forgetting: the way of a Gaussian cloud to equilibrium, by its KL or its free energy, in any bowl


def kl_after(t, mean, variance, stiffness, temperature):
    rest = temperature / stiffness
    mean = math.exp(-stiffness * t) * mean
    variance = rest + math.exp(-2 * stiffness * t) * (variance - rest)
    return 0.5 * ((mean**2 + variance) / rest - 1 - math.log(variance / rest))


def kl_after_by_its_parts(t, mean, variance, stiffness, temperature):
    left = math.exp(-2 * stiffness * t)
    excess = left * (variance * stiffness / temperature - 1)
    return (left * mean**2 * stiffness / temperature + excess - math.log1p(excess)) / 2


def moments_at(t, mean, variance, stiffness, temperature):
    """Mean and variance at time t, from the rates at which the first two moments change: a matrix exponential."""
    rates = torch.tensor([[-2 * stiffness, 2 * temperature], [0.0, 0.0]], dtype=EXACT)
    square, _ = (torch.matrix_exp(t * rates) @ torch.tensor([mean**2 + variance, 1.0], dtype=EXACT)).tolist()
    there = float(torch.matrix_exp(torch.tensor([[-stiffness * t]], dtype=EXACT))) * mean
    return there, square - there**2


def gaussian_on_a_line(mean, variance):
    """Places, and the logarithm of a normal density at them."""
    x = mean + math.sqrt(variance) * torch.linspace(-12, 12, 2001, dtype=EXACT)
    return x, torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x)


def kl_after_truth(t, mean, variance, stiffness, temperature):  # the integral of p ln(p / p_eq)
    x, logs = gaussian_on_a_line(*moments_at(t, mean, variance, stiffness, temperature))
    bowl = -stiffness * x**2 / 2 / temperature
    wide = math.sqrt(temperature / stiffness) * torch.linspace(-12, 12, 2001, dtype=EXACT)
    z = float(torch.trapezoid(torch.exp(-stiffness * wide**2 / 2 / temperature), wide))
    return float(torch.trapezoid(logs.exp() * (logs - bowl + math.log(z)), x))


def forgetting_cases(g):
    return (
        Case((0.3, 1.5, 2.0, 1.6, 0.7), "t = 0.3, mean = 1.5, variance = 2, stiffness = 1.6 and temperature = 0.7"),
        Case((0.4, between(g, -1.5, -1.1), between(g, 2, 3), between(g, 0.6, 0.8), 1.5), "a hidden wide start"),
        Case((0.15, between(g, 0.6, 0.9), between(g, 0.05, 0.09), between(g, 1.8, 2.3), 0.6), "a hidden narrow start"),
    )


def kl_with_the_factor_of_x(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left * (variance - rest)
    return 0.5 * ((mean**2 + variance) / rest - 1 - math.log(variance / rest))


def kl_to_the_unit_normal(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left**2 * (variance - rest)
    return 0.5 * (mean**2 + variance - 1 - math.log(variance))


def kl_with_a_mean_in_plain_units(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left**2 * (variance - rest)
    return 0.5 * (mean**2 + variance / rest - 1 - math.log(variance / rest))


def kl_the_other_way_round(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left**2 * (variance - rest)
    return 0.5 * ((mean**2 + rest) / variance - 1 - math.log(rest / variance))


def kl_without_the_half(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left**2 * (variance - rest)
    return (mean**2 + variance) / rest - 1 - math.log(variance / rest)


def kl_of_the_start_that_fades(t, mean, variance, stiffness, temperature):
    rest = temperature / stiffness
    start = 0.5 * ((mean**2 + variance) / rest - 1 - math.log(variance / rest))
    return math.exp(-2 * stiffness * t) * start


KL_AFTER = Exercise(
    id="lab03-04.forgetting.kl",
    name="kl_after",
    stub='''
def kl_after(t, mean, variance, stiffness, temperature):
    """KL(p || p_eq) at time t, a number, for walkers on a line that start as a Gaussian. All are numbers."""
    ...  # your code
''',
    solution=kl_after,
    alternative=kl_after_by_its_parts,
    why=(
        "The cloud stays Gaussian. Its mean fades by e^(-kappa t), and its variance goes to k_B T / kappa by the "
        "square of that factor. In units of the equilibrium width the KL is that of notebook 04."
    ),
    truth=kl_after_truth,
    cases=forgetting_cases,
    hints=(),
    wrong=(
        Wrong(
            "the factor of x for the variance",
            kl_with_the_factor_of_x,
            "Your variance goes to its end by e^(-kappa t). That is the factor of x, and a factor acts on a variance "
            "by its square.",
            UNSEEN,
        ),
        Wrong(
            "an equilibrium of variance 1",
            kl_to_the_unit_normal,
            "Your cloud moves rightly, but you compare it with a Gaussian of variance 1. In this bowl the equilibrium "
            "has another variance.",
            UNSEEN,
        ),
        Wrong(
            "the mean in plain units",
            kl_with_a_mean_in_plain_units,
            "Your variance is compared with that of equilibrium, but your mean is squared as it is. A shift counts in "
            "units of the equilibrium width.",
            UNSEEN,
        ),
        Wrong(
            "exchanged",
            kl_the_other_way_round,
            "This is KL(p_eq || p). Here the average is taken over the walkers, so p comes first.",
            "openai/spinningup#192",
        ),
        Wrong(
            "the half is missing",
            kl_without_the_half,
            "Your KL is twice as large as it should be. Write down ln p - ln p_eq once more: all its terms have a "
            "half.",
            "google-deepmind/torch-distributions#34",
        ),
        Wrong(
            "the bound for the KL",
            kl_of_the_start_that_fades,
            "You multiply the KL of the start by e^(-2 kappa t). That is an upper bound, which only a start with the "
            "right variance follows: the part of a wrong variance fades faster.",
            UNSEEN,
        ),
    ),
)


def free_energy_after(t, mean, variance, stiffness, temperature):
    rest = temperature / stiffness
    mean = math.exp(-stiffness * t) * mean
    variance = rest + math.exp(-2 * stiffness * t) * (variance - rest)
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    return 0.5 * stiffness * (mean**2 + variance) - temperature * entropy


def free_energy_after_by_the_kl(t, mean, variance, stiffness, temperature):
    left = math.exp(-2 * stiffness * t)
    excess = left * (variance * stiffness / temperature - 1)
    kl = (left * mean**2 * stiffness / temperature + excess - math.log1p(excess)) / 2
    return temperature * (kl - math.log(2 * math.pi * temperature / stiffness) / 2)


def free_energy_after_truth(t, mean, variance, stiffness, temperature):  # the integral of p U + k_B T p ln p
    x, logs = gaussian_on_a_line(*moments_at(t, mean, variance, stiffness, temperature))
    return float(torch.trapezoid(logs.exp() * (stiffness * x**2 / 2 + temperature * logs), x))


def free_energy_with_the_factor_of_x(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left * (variance - rest)
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    return 0.5 * stiffness * (mean**2 + variance) - temperature * entropy


def entropy_added(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left**2 * (variance - rest)
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    return 0.5 * stiffness * (mean**2 + variance) + temperature * entropy


def entropy_without_temperature(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left**2 * (variance - rest)
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    return 0.5 * stiffness * (mean**2 + variance) - entropy


def energy_of_the_width_alone(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    variance = rest + left**2 * (variance - rest)
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    return 0.5 * stiffness * variance - temperature * entropy


def entropy_without_e(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left**2 * (variance - rest)
    entropy = 0.5 * math.log(2 * math.pi * variance)
    return 0.5 * stiffness * (mean**2 + variance) - temperature * entropy


def free_energy_towards_variance_one(t, mean, variance, stiffness, temperature):
    left = math.exp(-stiffness * t)
    mean, variance = left * mean, 1 + left**2 * (variance - 1)
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    return 0.5 * stiffness * (mean**2 + variance) - temperature * entropy


def excess_free_energy(t, mean, variance, stiffness, temperature):
    rest, left = temperature / stiffness, math.exp(-stiffness * t)
    mean, variance = left * mean, rest + left**2 * (variance - rest)
    return 0.5 * temperature * ((mean**2 + variance) / rest - 1 - math.log(variance / rest))


FREE_ENERGY_AFTER = Exercise(
    id="lab03-04.forgetting.energy",
    name="free_energy_after",
    stub='''
def free_energy_after(t, mean, variance, stiffness, temperature):
    """The free energy at time t, a number, of walkers on a line that start as a Gaussian. All are numbers."""
    ...  # your code
''',
    solution=free_energy_after,
    alternative=free_energy_after_by_the_kl,
    why=(
        "The cloud stays Gaussian. Its mean fades by e^(-kappa t), and its variance goes to k_B T / kappa by the "
        "square of that factor. Then the energy is kappa (m² + s²) / 2, and the entropy is ln(2 pi e s²) / 2."
    ),
    truth=free_energy_after_truth,
    cases=forgetting_cases,
    hints=(),
    wrong=(
        Wrong(
            "the factor of x for the variance",
            free_energy_with_the_factor_of_x,
            "Your variance goes to its end by e^(-kappa t). That is the factor of x, and a factor acts on a variance "
            "by its square.",
            UNSEEN,
        ),
        Wrong(
            "the sign of the entropy",
            entropy_added,
            "You add the entropy. It is subtracted: a wide cloud has a large entropy and therefore a low free energy.",
            UNSEEN,
        ),
        Wrong(
            "no temperature before the entropy",
            entropy_without_temperature,
            "Your entropy is subtracted as it is. It has no unit, so it needs the temperature to become an energy.",
            UNSEEN,
        ),
        Wrong(
            "the mean forgotten",
            energy_of_the_width_alone,
            "Your energy is that of a cloud around the bottom. This cloud is off-centre, and that costs energy too.",
            UNSEEN,
        ),
        Wrong(
            "the entropy without its half",
            entropy_without_e,
            "Your entropy is ln(2 pi s²) / 2, which is only the constant in -ln p. The mean of (x - m)² / 2 s² is "
            "missing, and it is one half.",
            UNSEEN,
        ),
        Wrong(
            "the excess over equilibrium",
            excess_free_energy,
            "You return k_B T times the KL. That is by how much the free energy exceeds that of equilibrium, which is "
            "not 0 itself.",
            UNSEEN,
        ),
        Wrong(
            "an equilibrium of variance 1",
            free_energy_towards_variance_one,
            "Your variance goes to 1. That is right where k_B T = kappa, and here the two need not be equal.",
            "notebook 04, section 3",
        ),
    ),
)


# schedule: the forward process as a bowl looked at after certain times, from betas to times and back


def times_of(betas, stiffness):
    return -torch.log(1 - betas).cumsum(dim=0) / (2 * stiffness)


def times_of_by_a_product(betas, stiffness):
    return -torch.log(torch.cumprod(1 - betas, dim=0)) / stiffness / 2


def times_of_truth(betas, stiffness):  # 1 - e^(-2y) = beta has the solution y = atanh(beta / (2 - beta))
    times, now = [], 0.0
    for beta in betas.tolist():
        now += math.atanh(beta / (2 - beta)) / stiffness
        times.append(now)
    return torch.tensor(times, dtype=EXACT)


def times_of_cases(g):
    many = torch.linspace(between(g, 0.02, 0.05), between(g, 0.3, 0.5), 9, dtype=EXACT)
    few = 0.2 + 0.6 * torch.rand(4, generator=g, dtype=EXACT)
    return (
        Case((torch.tensor([0.1, 0.3, 0.6], dtype=EXACT), 1.6), "betas = (0.1, 0.3, 0.6) and stiffness = 1.6"),
        Case((many, between(g, 0.5, 0.8)), "hidden betas that grow"),
        Case((few, between(g, 2.2, 3.0)), "a few hidden betas"),
    )


TIMES_OF = Exercise(
    id="lab03-04.schedule.times",
    name="times_of",
    stub='''
def times_of(betas, stiffness):
    """The time in the bowl after each step, (T,), counted from the start of the first one. betas: (T,)."""
    ...  # your code
''',
    solution=times_of,
    alternative=times_of_by_a_product,
    why=(
        "A step of the time dt adds the variance beta = 1 - e^(-2 kappa dt), so dt = -ln(1 - beta) / 2 kappa. The time "
        "after a step is the sum of all dt so far."
    ),
    truth=times_of_truth,
    cases=times_of_cases,
    hints=(),
    wrong=(
        Wrong(
            "small steps",
            lambda betas, stiffness: betas.cumsum(dim=0) / (2 * stiffness),
            "You take beta = 2 kappa dt, which holds for small steps only. These betas are not small.",
            UNSEEN,
        ),
        Wrong(
            "the time of each step",
            lambda betas, stiffness: -torch.log(1 - betas) / (2 * stiffness),
            "You return how long each step takes. Asked for is the time after it, from the start of the first one.",
            UNSEEN,
        ),
        Wrong(
            "rate kappa",
            lambda betas, stiffness: -torch.log(1 - betas).cumsum(dim=0) / stiffness,
            "Your 1 - beta is e^(-kappa dt). That is the factor of x, and 1 - beta is what is left of its *variance*.",
            UNSEEN,
        ),
        Wrong(
            "the stiffness is missing",
            lambda betas, stiffness: -torch.log(1 - betas).cumsum(dim=0) / 2,
            "Your times do not depend on the stiffness. A stiff bowl forgets sooner.",
            UNSEEN,
        ),
        Wrong(
            "beginning at 0",
            lambda betas, stiffness: (torch.log(1 - betas) - torch.log(1 - betas).cumsum(dim=0)) / (2 * stiffness),
            "Your times are those *before* each step, and the first one is 0. Asked for are the times after the steps.",
            "off by one",
        ),
        Wrong(
            "a product of the betas",
            lambda betas, stiffness: -torch.log(1 - torch.cumprod(betas, dim=0)) / (2 * stiffness),
            "You multiply the betas. What multiplies from step to step is what is *left* of a variance, 1 - beta.",
            "LuChengTHU/dpm-solver#13",
        ),
    ),
)


def betas_of(times, stiffness):
    start = torch.zeros(1, dtype=times.dtype)
    return 1 - torch.exp(-2 * stiffness * torch.diff(times, prepend=start))


def betas_of_by_alpha_bars(times, stiffness):
    alpha_bars = torch.exp(-2 * stiffness * times)
    before = torch.cat([torch.ones_like(times[:1]), alpha_bars[:-1]])
    return 1 - alpha_bars / before


def betas_of_truth(times, stiffness):  # the noise of one step builds up like the integral of a decay
    betas, last = [], 0.0
    for time in times.tolist():
        s = torch.linspace(0, time - last, 4001, dtype=EXACT)
        betas.append(float(torch.trapezoid(2 * stiffness * torch.exp(-2 * stiffness * s), s)))
        last = time
    return torch.tensor(betas, dtype=EXACT)


def betas_of_cases(g):
    many = (0.05 + 0.2 * torch.rand(9, generator=g, dtype=EXACT)).cumsum(dim=0)
    few = (0.1 + 0.3 * torch.rand(4, generator=g, dtype=EXACT)).cumsum(dim=0)
    return (
        Case((torch.tensor([0.1, 0.3, 0.7], dtype=EXACT), 1.6), "times = (0.1, 0.3, 0.7) and stiffness = 1.6"),
        Case((many, between(g, 0.5, 0.8)), "hidden times in a soft bowl"),
        Case((few, between(g, 2.2, 3.0)), "a few hidden times in a stiff bowl"),
    )


def betas_without_the_first_gap(times, stiffness):
    return 1 - torch.exp(-2 * stiffness * torch.diff(times, prepend=times[:1]))


def betas_of_small_steps(times, stiffness):
    return 2 * stiffness * torch.diff(times, prepend=torch.zeros_like(times[:1]))


def betas_of_rate_kappa(times, stiffness):
    return 1 - torch.exp(-stiffness * torch.diff(times, prepend=torch.zeros_like(times[:1])))


def what_is_left(times, stiffness):
    return torch.exp(-2 * stiffness * torch.diff(times, prepend=torch.zeros_like(times[:1])))


def betas_without_stiffness(times, stiffness):
    return 1 - torch.exp(-2 * torch.diff(times, prepend=torch.zeros_like(times[:1])))


BETAS_OF = Exercise(
    id="lab03-04.schedule.betas",
    name="betas_of",
    stub='''
def betas_of(times, stiffness):
    """The variance of the noise that each step adds, (T,). times: (T,), the time in the bowl after each step."""
    ...  # your code
''',
    solution=betas_of,
    alternative=betas_of_by_alpha_bars,
    why=(
        "A step takes the difference of two times, and the first one begins at 0. A step of the time dt adds the "
        "variance beta = 1 - e^(-2 kappa dt)."
    ),
    truth=betas_of_truth,
    cases=betas_of_cases,
    hints=(),
    wrong=(
        Wrong(
            "all noise so far",
            lambda times, stiffness: 1 - torch.exp(-2 * stiffness * times),
            "You return the variance of all noise since the start, 1 - alpha_bar. A beta belongs to one step.",
            UNSEEN,
        ),
        Wrong(
            "small steps",
            betas_of_small_steps,
            "You take beta = 2 kappa dt, which holds for small steps only. Your betas can even exceed 1.",
            UNSEEN,
        ),
        Wrong(
            "rate kappa",
            betas_of_rate_kappa,
            "Your 1 - beta is e^(-kappa dt). That is the factor of x, and 1 - beta is what is left of its *variance*.",
            UNSEEN,
        ),
        Wrong(
            "what is left",
            what_is_left,
            "You return 1 - beta, the fraction of a variance that is left after a step. Asked for is what the noise "
            "adds.",
            UNSEEN,
        ),
        Wrong(
            "the first gap",
            betas_without_the_first_gap,
            "Your first beta is 0. The first step begins at time 0, so it takes as long as the first time says.",
            "off by one",
        ),
        Wrong(
            "standard deviations",
            lambda times, stiffness: torch.sqrt(
                1 - torch.exp(-2 * stiffness * torch.diff(times, prepend=torch.zeros_like(times[:1])))
            ),
            "You return the standard deviation of the noise of each step. A beta is its variance, without a root.",
            UNSEEN,
        ),
        Wrong(
            "the stiffness is missing",
            betas_without_stiffness,
            "Your betas do not depend on the stiffness. In a stiff bowl the noise builds up sooner.",
            UNSEEN,
        ),
    ),
)


LAB = Lab(
    number="03-04",
    title="Inertia and forgetting",
    after=("03", "04"),
    problems=(
        Problem(
            name="verlet",
            points=3,
            variants=(
                Variant(
                    VERLET_WITH_MOMENTA,
                    "Physicists like to describe a particle by its position $x$ and its *momentum* $p = m v$. Write "
                    "one step of velocity Verlet (half a kick, a drift, half a kick) that takes $x$ and $p$, both (B, "
                    "d), and returns the new position and the new momentum, in this order. `force` is a function of "
                    "$x$ that returns (B, d), $dt$ is a number, and `mass` is a number or a tensor (B, 1) with one "
                    "mass for each particle. Two forces to try it with are given at the top.",
                    "notebook 03, section 1",
                    given=(spring, wall),
                ),
                Variant(
                    VERLET_BACKWARDS,
                    "A step of velocity Verlet with a positive $dt$ has just led a particle to the position $x$ and "
                    "the velocity $v$, both (B, d). Where was it before that step, and which velocity did it have? "
                    "Undo the step exactly, and return the old position and the old velocity, in this order. `force` "
                    "is a function of $x$ that returns (B, d), $dt$ is a number, and `mass` is a number or a tensor "
                    "(B, 1) with one mass for each particle. Two forces to try it with are given at the top.",
                    "notebook 03, section 1",
                    given=(spring, wall),
                ),
            ),
        ),
        Problem(
            name="friction",
            points=3,
            variants=(
                Variant(
                    KICK_BY_PARTICLE,
                    "Particles of several kinds move in a fluid, without any force. Each particle has a friction "
                    "$\\gamma$ of its own and a mass of its own, in `friction` and `mass`, both (B,). The friction is "
                    "a rate: left alone, a velocity fades like $e^{-\\gamma t}$. `temperature` is $k_BT$, the same "
                    "number for all. Let friction and noise act on the velocities `v` (B, d) for the time $dt$, "
                    "*exactly*, also if $dt$ is long, such that each particle ends at the temperature $k_BT$. Return "
                    "the new velocities.",
                    "notebook 03, section 2",
                ),
                Variant(
                    KICK_OF_MOMENTA,
                    "Particles of one mass $m$, in `mass`, move in a fluid without any force, and are described by "
                    "their momenta $p = m v$, in `p` (B, d). Instead of the friction you know the *half-life*: left "
                    "alone, without noise, a momentum falls to one half of its value in the time `half_life`. "
                    "`temperature` is $k_BT$. Let friction and noise act on the momenta for the time $dt$, *exactly*, "
                    "also if $dt$ is long, such that the particles end at the temperature $k_BT$. Return the new "
                    "momenta.",
                    "notebook 03, section 2",
                ),
            ),
        ),
        Problem(
            name="thermometer",
            points=3,
            variants=(
                Variant(
                    THERMOMETER_OF_PLACES,
                    "The velocities of particles are a thermometer. But a simulation has saved only the positions, in "
                    "`x` (B, d), and the force on each particle, in `force` (B, d). The particles are in equilibrium "
                    "in some landscape that confines them. It need not be a bowl, and its valley may lie anywhere. "
                    "Estimate the temperature $k_BT$, one number, by a mean over all particles and all $d$ directions "
                    "that is right in every such landscape. Do not subtract any means.",
                    "notebook 03, section 5",
                ),
                Variant(
                    THERMOMETER_IN_WIND,
                    "Particles fly with a wind: the velocity of each of them is that of the wind, which is the same "
                    "for all and not known, plus a thermal velocity, as in equilibrium at $k_BT$. `v` (B, d) holds "
                    "the velocities and `mass` (B,) the masses. Take the velocity of the centre of mass for the wind, "
                    "and estimate $k_BT$, one number, from the velocities relative to it. The estimate must be right "
                    "on average also for a few particles, although the wind is found from the same particles.",
                    "notebook 03, section 5",
                ),
            ),
        ),
        Problem(
            name="forgetting",
            points=4,
            variants=(
                Variant(
                    KL_AFTER,
                    "Walkers on a line move in the bowl $U = \\tfrac12\\kappa x^2$ at mobility 1, in continuous time. "
                    "At time 0 they are a Gaussian cloud with the mean `mean` and the variance `variance`. Return the "
                    "divergence $\\mathrm{KL}(p\\,\\|\\,p_\\mathrm{eq})$ of their density $p$ at the time $t$ from "
                    "the equilibrium of the bowl, in natural logarithms. `stiffness` is $\\kappa$ and `temperature` "
                    "is $k_BT$, and they need not be 1 or equal.",
                    "notebook 04, sections 1 and 3",
                ),
                Variant(
                    FREE_ENERGY_AFTER,
                    "Walkers on a line move in the bowl $U = \\tfrac12\\kappa x^2$ at mobility 1, in continuous time. "
                    "At time 0 they are a Gaussian cloud with the mean `mean` and the variance `variance`. Return the "
                    "free energy $F = \\langle U\\rangle - k_BT\\,S$ of the cloud at the time $t$, where $S = -\\int "
                    "p\\ln p\\,dx$ is the entropy of its density. `stiffness` is $\\kappa$ and `temperature` is "
                    "$k_BT$, and they need not be 1 or equal.",
                    "notebook 04, sections 1 and 4",
                ),
            ),
        ),
        Problem(
            name="schedule",
            points=3,
            variants=(
                Variant(
                    TIMES_OF,
                    "A diffusion model adds noise in steps, and the noise of step $k$ has the variance $\\beta_k$. "
                    "Read its forward process as walkers in a bowl of stiffness $\\kappa$ with $k_BT = \\kappa$, at "
                    "mobility 1. The bowl is the same in all steps, so it is the time that a step takes which makes "
                    "its $\\beta_k$. `betas` (T,) holds $\\beta_1, \\dots, \\beta_T$. Return the time in the bowl "
                    "after each of the steps, as a tensor (T,), where the first step begins at time 0. The $\\beta_k$ "
                    "are not small, so the times must be exact.",
                    "notebook 04, section 5",
                ),
                Variant(
                    BETAS_OF,
                    "A diffusion model adds noise in steps. Read its forward process as walkers in a bowl of "
                    "stiffness $\\kappa$ with $k_BT = \\kappa$, at mobility 1. Step $k$ ends at the time $t_k$, and "
                    "these times, $t_1 < t_2 < \\dots < t_T$, are given in `times` (T,) and not evenly spaced. The "
                    "first step begins at time 0. Return $\\beta_1, \\dots, \\beta_T$ as a tensor (T,), where "
                    "$\\beta_k$ is the variance of the noise that step $k$ adds. The steps are not short, so the "
                    "$\\beta_k$ must be exact.",
                    "notebook 04, section 5",
                ),
            ),
        ),
    ),
    plot=Plot(
        prompt=(
            "Take the bowl with $\\kappa = k_BT = 1$ on a line, at mobility 1. Draw the divergence "
            "$\\mathrm{KL}(p\\,\\|\\,p_\\mathrm{eq})$ over the time from 0 to 6, with a logarithmic vertical axis, "
            "for three Gaussian starts: A with mean 1 and variance 1, B with mean 0 and variance 4, and C with mean "
            "0.1 and variance 4. The formula of notebook 04, section 3, is enough, so no walkers are needed. Explain "
            "in about six sentences why A and B end with different slopes, and why C first lies on B and in the "
            "end runs parallel to A. Estimate from the formula at which time C bends from the one slope to the other. "
            "Then say how the figure changes if stiffness and temperature are both doubled, and the starts stay the "
            "same."
        ),
        rubric=(
            (
                1,
                "It says that A falls like e^(-2t), because its mean fades like e^(-t) and the KL is the square of it.",
            ),
            (
                1,
                "It says that B ends like e^(-4t), because a wrong variance fades like e^(-2t) and the KL is of second "
                "order in it (not so at the start, where the excess of 3 is not small).",
            ),
            (
                1,
                "It says that C begins with nearly all of its KL in the variance (0.807 against 0.005), so that it "
                "lies on B, and that it ends parallel to A, 100 times lower, because the part that fades slowest wins.",
            ),
            (
                1,
                "It finds the bend where both parts are equal, e^(-2t) 0.005 = e^(-4t) 9/4, at a time of about 3.05. "
                "Anything from 2.5 to 3.5 with a reason counts.",
            ),
            (
                1,
                "It says that the equilibrium stays the same, since only k_B T / kappa counts, and that all happens "
                "twice as fast: the end slopes are -4 and -8, and the bend lies at about 1.5.",
            ),
        ),
    ),
)
