"""Notebook 03: right answers in unusual forms, and wrong ones that are in no list."""

import math

import torch

from minidiff.checks.n03 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def verlet_forms():
    def acceleration_first(x, v, force, dt, mass):
        def a(y):
            return force(y) / mass

        new = x + dt * (v + a(x) * dt / 2)
        return [new, v + dt * (a(x) + a(new)) / 2]

    def in_place(x, v, force, dt, mass):
        x, v = x.clone(), v.clone()
        v += force(x) * (dt / (2 * mass))
        x.add_(v, alpha=dt)
        v += force(x) * (dt / (2 * mass))
        return x, v

    def in_momentum(x, v, force, dt, mass):
        p = mass * v + 0.5 * dt * force(x)
        x = x + dt * p / mass
        return x, (p + 0.5 * dt * force(x)) / mass

    return acceleration_first, in_place, in_momentum


def ou_forms():
    def torch_normal(v, friction, temperature, mass, dt, g):
        keep = math.exp(-friction * dt)
        return torch.normal(keep * v, ((1 - keep**2) * temperature / mass) ** 0.5, generator=g)

    def in_float64(v, friction, temperature, mass, dt, g):
        z = torch.randn(v.shape, generator=g, dtype=torch.float64)
        return (math.exp(-friction * dt) * v + math.sqrt(forgotten(friction * dt) * temperature / mass) * z).to(v.dtype)

    def minus_the_noise(v, friction, temperature, mass, dt, g):
        z = torch.randn(v.shape, generator=g, dtype=v.dtype)
        return v * math.exp(-friction * dt) - math.sqrt(temperature / mass * forgotten(friction * dt)) * z

    def two_halves_of_the_time(v, friction, temperature, mass, dt, g):
        for _ in range(2):
            z = torch.randn(v.shape, generator=g, dtype=v.dtype)
            v = math.exp(-friction * dt / 2) * v + math.sqrt(forgotten(friction * dt / 2) * temperature / mass) * z
        return v

    def a_step_of_diffusion(v, friction, temperature, mass, dt, g):
        unit = math.sqrt(temperature / mass)
        beta = forgotten(friction * dt)
        return unit * (math.sqrt(1 - beta) * v / unit + math.sqrt(beta) * torch.randn(v.shape, generator=g).to(v))

    def forgotten(time):
        return 1 - math.exp(-2 * time)

    return torch_normal, in_float64, minus_the_noise, two_halves_of_the_time, a_step_of_diffusion


def thermometer_forms():
    def a_number(v, mass):
        return float((mass * v * v).sum()) / (v.shape[0] * v.shape[1])

    def by_weighted_norms(v, mass):
        return (torch.as_tensor(mass, dtype=v.dtype).sqrt() * v).norm() ** 2 / v.numel()

    def by_directions(v, mass):
        return (mass * v**2).mean(dim=0).mean().reshape(())

    return a_number, by_weighted_norms, by_directions


def there_forms():
    def a_number(step, x, v, steps):
        a, b = x, v
        for k in range(2 * steps):
            a, b = step(a, -b if k == steps else b)
        return max(math.dist(p, q) for p, q in zip(a.tolist(), x.tolist(), strict=True))

    def by_a_list(step, x, v, steps):
        path = [(x.clone(), v.clone())]
        for _ in range(steps):
            path.append(step(*path[-1]))
        path.append((path[-1][0], -path[-1][1]))
        for _ in range(steps):
            path.append(step(*path[-1]))
        return torch.linalg.vector_norm(path[-1][0] - path[0][0], dim=-1).amax()

    return a_number, by_a_list


def fourth_forms():
    def a_number(g):
        m = torch.empty(10_000, dtype=torch.float64).uniform_(1, 5, generator=g)
        v = torch.normal(torch.zeros_like(m), 1 / m**0.5, generator=g)
        return float(v.pow(4).mean() / v.pow(2).mean().square())

    def centred(g):
        v = torch.randn(10_000, generator=g) * (5 - 4 * torch.rand(10_000, generator=g)).rsqrt()
        v = v - v.mean()
        return (v**4).mean() / v.var() ** 2

    def in_three_directions(g):  # 30,000 velocities of 10,000 particles scatter less, around the same value
        v = torch.randn(10_000, 1, generator=g) / (4 * torch.rand(10_000, 1, generator=g) + 1).sqrt()
        return ((v**2).square().mean() / v.square().mean().square()).item()

    return a_number, centred, in_three_directions


def aboba_forms():
    def by_matrix_products(dt, friction):
        a = torch.eye(2, dtype=torch.float64)
        a[0, 1] = dt / 2
        b = torch.eye(2, dtype=torch.float64)
        b[1, 0] = -dt / 2
        o = torch.diag(torch.tensor([1.0, math.exp(-friction * dt)], dtype=torch.float64))
        s = torch.tensor([0.0, (1 - math.exp(-2 * friction * dt)) ** 0.5], dtype=torch.float64)
        return torch.linalg.multi_dot([a, b, o, b, a]), (a @ (b @ s))[:, None]

    def by_baoab(dt, friction):
        """ABOBA is BAOAB with the roles of position and velocity exchanged, up to signs."""
        h, c = dt / 2, math.exp(-friction * dt)
        half = torch.tensor([[1 - h * h, h], [-h, 1.0]], dtype=torch.float64)  # half a drift after half a kick
        first = torch.tensor([[1.0, h], [-h, 1 - h * h]], dtype=torch.float64)
        brake = torch.tensor([[1.0, 0.0], [0.0, c]], dtype=torch.float64)
        return half @ brake @ first, half[:, 1:] * math.sqrt(1 - c * c)

    return by_matrix_products, by_baoab


def energies_forms():
    def gamma_of_exponentials(n, d, temperature, g):
        return temperature * torch.empty(n, d).exponential_(generator=g).sum(dim=1)

    def kinetic_and_potential(n, d, temperature, g):
        x = torch.normal(0.0, temperature**0.5, (n, d), generator=g)
        v = torch.normal(0.0, temperature**0.5, (n, d), generator=g)
        return 0.5 * x.norm(dim=1) ** 2 + 0.5 * v.norm(dim=1) ** 2

    def in_float64(n, d, temperature, g):
        z = torch.randn(2 * d, n, generator=g, dtype=torch.float64)
        return (0.5 * temperature * torch.einsum("kn,kn->n", z, z)).float()

    def particle_by_particle(n, d, temperature, g):
        return torch.stack([temperature / 2 * torch.randn(2 * d, generator=g).square().sum() for _ in range(n)])

    def by_the_radius(n, d, temperature, g):  # each pair (x, v) has an exponential energy: Box and Muller backwards
        return -temperature * torch.log(1 - torch.rand(n, d, generator=g)).sum(dim=1)

    return gamma_of_exponentials, kinetic_and_potential, in_float64, particle_by_particle, by_the_radius


FORMS = [
    *[("velocity_verlet", form) for form in verlet_forms()],
    *[("ou_kick", form) for form in ou_forms()],
    *[("thermometer", form) for form in thermometer_forms()],
    *[("there_and_back", form) for form in there_forms()],
    *[("fourth_moment_of_all", form) for form in fourth_forms()],
    *[("aboba_matrices", form) for form in aboba_forms()],
    *[("energies_in_equilibrium", form) for form in energies_forms()],
]


def right(name, *args):
    return BY_NAME[name].solution(*args)


UNKNOWN = {
    "velocity_verlet": [
        lambda x, v, force, dt, mass: (x + dt * v, v + dt / 2 * force(x)),  # two at once
        lambda x, v, force, dt, mass: right("velocity_verlet", x, v, force, 2 * dt, mass),
        lambda x, v, force, dt, mass: right("velocity_verlet", x, -v, force, dt, mass),
    ],
    "ou_kick": [
        lambda v, c, T, m, dt, g: right("ou_kick", v, c, 2 * T, m, dt, g),
        lambda v, c, T, m, dt, g: right("ou_kick", v, c, m, T, dt, g) + T,
        lambda v, c, T, m, dt, g: (1 - c * dt) * v + torch.randn(v.shape, generator=g, dtype=v.dtype),  # two at once
    ],
    "thermometer": [
        lambda v, mass: (mass * v**2).mean() / 3,
        lambda v, mass: (mass * v).mean(),
        lambda v, mass: (mass**2 * v**2).mean(),
    ],
    "there_and_back": [
        lambda step, x, v, steps: 2 * right("there_and_back", step, x, v, steps) + 1,
        lambda step, x, v, steps: right("there_and_back", step, x, v, 2 * steps) + v.norm(),
    ],
    "fourth_moment_of_all": [
        lambda g: 2 * right("fourth_moment_of_all", g),
        lambda g: right("fourth_moment_of_all", g) ** 2,
        lambda g: torch.randn(10_000, generator=g).mean(),
    ],
    "aboba_matrices": [
        lambda dt, friction: right("aboba_matrices", 2 * dt, friction),
        lambda dt, friction: right("aboba_matrices", dt, 2 * friction),
    ],
    "energies_in_equilibrium": [
        lambda n, d, temperature, g: right("energies_in_equilibrium", n, d, temperature, g) + 1,
        lambda n, d, temperature, g: right("energies_in_equilibrium", n, d, temperature, g).sqrt(),
        lambda n, d, temperature, g: right("energies_in_equilibrium", n, d + 1, temperature, g),
    ],
}
