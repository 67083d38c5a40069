"""Notebook 02: right answers in unusual forms, and wrong ones that are in no list."""

import math

import numpy as np
import torch

from minidiff.checks.n02 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def step_forms():
    def torch_normal(x, force, temperature, dt, g):
        return torch.normal(x + dt * force, (2 * dt * temperature) ** 0.5, generator=g)

    def minus_the_noise(x, force, temperature, dt, g):
        return x + dt * force - math.sqrt(2 * dt * temperature) * torch.randn(x.shape, generator=g)

    def box_muller(x, force, temperature, dt, g):
        u, v = (torch.rand(x.shape, generator=g, dtype=torch.float64) for _ in range(2))
        z = torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(2 * math.pi * v)
        return (x + dt * force + math.sqrt(2 * dt * temperature) * z).to(x.dtype)

    def row_by_row(x, force, temperature, dt, g):
        size = math.sqrt(2 * dt * temperature)
        rows = [a + dt * f + size * torch.randn(a.shape, generator=g) for a, f in zip(x, force, strict=True)]
        return torch.stack(rows)

    def two_half_noises(x, force, temperature, dt, g):
        z = sum(torch.randn(x.shape, generator=g, dtype=x.dtype) for _ in range(2))
        return x.clone().add_(z, alpha=math.sqrt(temperature * dt)).add_(force, alpha=dt)

    def einsum(x, force, temperature, dt, g):
        parts = torch.stack([x, force, torch.randn(x.shape, generator=g, dtype=x.dtype)])
        return torch.einsum("k,k...->...", torch.tensor([1, dt, (2 * temperature * dt) ** 0.5], dtype=x.dtype), parts)

    def one_array_for_all_temperatures(x, force, temperature, dt, g):
        spread = (2 * torch.as_tensor(temperature, dtype=x.dtype) * dt).sqrt()
        return x + force * dt + spread * torch.randn(x.shape, generator=g)

    return (
        *(torch_normal, minus_the_noise, box_muller, row_by_row),
        *(two_half_noises, einsum, one_array_for_all_temperatures),
    )


def exact_forms():
    def grid_by_numpy(energy, temperature, dx):
        weight = np.exp(-(energy.numpy() - energy.numpy().min()) / temperature)
        return torch.from_numpy(weight / weight.sum() / dx)

    def grid_by_logarithms(energy, temperature, dx):
        logs = -energy / temperature
        return torch.exp(logs - torch.logsumexp(logs, 0) - math.log(dx))

    def grid_from_the_mean_energy(energy, temperature, dx):
        weight = torch.exp((energy[:3].mean() - energy) / temperature)
        return weight / weight.sum() / dx

    def rate_as_one_over_a_time(height, valley, top, temperature):
        time = 2 * math.pi / (valley * top) ** 0.5 * math.exp(height / temperature)
        return 1 / time

    def rate_as_a_tensor(height, valley, top, temperature):
        curvatures = torch.tensor([valley, top])
        return (curvatures.prod().sqrt() / (2 * torch.pi)) * torch.exp(torch.tensor(-height / temperature))

    def covariance_by_many_steps(stiffness, temperature, dt):
        one = torch.eye(len(stiffness), dtype=stiffness.dtype)
        a, c = one - dt * stiffness, torch.zeros_like(stiffness)
        for _ in range(2000):
            c = a @ c @ a.T + 2 * temperature * dt * one
        return c

    def covariance_by_solve(stiffness, temperature, dt):
        one = torch.eye(len(stiffness), dtype=stiffness.dtype)
        return temperature * torch.linalg.solve(stiffness @ (one - dt / 2 * stiffness), one)

    def floors_in_a_loop(counts, exact):
        total, n = counts.sum(), len(counts)
        kl = sum(c / total * math.log(c / total / p) for c, p in zip(counts, exact, strict=True) if c)
        return float(kl * 2 * total / (n - 1))

    def floors_by_kl_div(counts, exact):
        kl = torch.nn.functional.kl_div(exact.log(), counts / counts.sum(), reduction="sum")
        return kl / (len(counts) - 1) * 2 * counts.sum()

    def bowl_by_powers(x, power, temperature):
        return [-power * x * x.abs() ** (power - 2), torch.tensor(temperature / power, dtype=torch.float64)]

    def bowl_by_where(x, power, temperature):
        steep = power * x.abs() ** (power - 1)
        return torch.where(x > 0, -steep, steep), 1 / power * temperature

    def energy_in_a_loop(x, weights, means, width):
        q = 0
        for w, m in zip(weights, means, strict=True):
            q = q + w * torch.exp(-((x - m) ** 2).sum(1) / (2 * width**2)) / (2 * math.pi * width**2)
        return -q.log()

    def energy_by_cdist(x, weights, means, width):
        logs = torch.log(weights) - torch.cdist(x, means) ** 2 / (2 * width**2)
        return math.log(2 * math.pi) + 2 * math.log(width) - logs.logsumexp(dim=1)

    def plan_by_numpy(step, steps, hot, cold):
        return np.geomspace(hot, cold, steps)[step]

    def plan_by_torch(step, steps, hot, cold):
        return torch.logspace(math.log10(hot), math.log10(cold), steps, dtype=torch.float64)[step]

    return [
        *[("boltzmann_on_grid", f) for f in (grid_by_numpy, grid_by_logarithms, grid_from_the_mean_energy)],
        *[("escape_rate", f) for f in (rate_as_one_over_a_time, rate_as_a_tensor)],
        *[("covariance_of_the_scheme", f) for f in (covariance_by_many_steps, covariance_by_solve)],
        *[("kl_in_floors", f) for f in (floors_in_a_loop, floors_by_kl_div)],
        *[("steeper_bowl", f) for f in (bowl_by_powers, bowl_by_where)],
        *[("minus_log_density", f) for f in (energy_in_a_loop, energy_by_cdist)],
        *[("temperature_plan", f) for f in (plan_by_numpy, plan_by_torch)],
    ]


FORMS = [*[("langevin_step", form) for form in step_forms()], *exact_forms()]


UNKNOWN = {
    "langevin_step": [
        lambda x, force, temperature, dt, g: x - force * dt + math.sqrt(2 * dt) * torch.randn(x.shape, generator=g),
        lambda x, force, temperature, dt, g: (
            x + force * dt + math.sqrt(2 * temperature * dt) * x * torch.randn(x.shape, generator=g)
        ),
        lambda x, force, temperature, dt, g: (
            x + force * dt + 2.4 * math.sqrt(temperature * dt) * torch.randn(x.shape, generator=g)
        ),
    ],
    "boltzmann_on_grid": [
        lambda energy, temperature, dx: torch.softmax(-energy / temperature**2, dim=0) / dx,
        lambda energy, temperature, dx: torch.softmax(energy, dim=0) / dx,  # two at once
        lambda energy, temperature, dx: torch.softmax(-energy / temperature, dim=0) / dx**2,
    ],
    "escape_rate": [
        lambda height, valley, top, temperature: math.exp(-height / temperature) / temperature,  # two at once
        lambda height, valley, top, temperature: (valley + top) / (4 * math.pi) * math.exp(-height / temperature),
        lambda height, valley, top, temperature: (
            math.sqrt(valley * top) * math.exp(height / temperature)
        ),  # two at once
    ],
    "covariance_of_the_scheme": [
        lambda stiffness, temperature, dt: temperature * stiffness,
        lambda stiffness, temperature, dt: 2 * temperature * dt * torch.linalg.inv(stiffness),
        lambda stiffness, temperature, dt: torch.linalg.inv(stiffness),  # two at once
    ],
    "kl_in_floors": [
        lambda counts, exact: (counts / counts.sum() - exact).abs().sum() / 2,
        lambda counts, exact: ((counts / counts.sum() - exact) ** 2).sum() * 2 * counts.sum() / (len(counts) - 1),
    ],
    "steeper_bowl": [
        lambda x, power, temperature: (-x, temperature / power),
        lambda x, power, temperature: (power * x.abs() ** power, power / temperature),
    ],
    "minus_log_density": [
        lambda x, weights, means, width: torch.cdist(x, means).min(dim=1).values,
        lambda x, weights, means, width: 2 * BY_NAME["minus_log_density"].solution(x, weights, means, width),
    ],
    "temperature_plan": [
        lambda step, steps, hot, cold: hot * 0.5**step,
        lambda step, steps, hot, cold: math.sqrt(hot * cold),
    ],
}
