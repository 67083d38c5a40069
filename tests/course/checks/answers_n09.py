"""Notebook 09: right answers in unusual forms, and wrong ones that are in no list."""

import math
from itertools import pairwise

import numpy as np
import torch

from minidiff import exact, samplers, schedules
from minidiff.checks.n09 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def velocity_forms():
    def in_differences(score, path, x, t):
        h = 1e-6
        early, late = t.double() - h, t.double() + h
        f = (path.alpha(late).log() - path.alpha(early).log()) / (2 * h)
        growth = (path.sigma(late) ** 2 - path.sigma(early) ** 2) / (2 * h)
        g2 = growth - 2 * f * path.sigma(t.double()) ** 2
        return (f * x.double() - g2 / 2 * score(x, t).double()).to(x.dtype)

    def point_by_point(score, path, x, t):
        f, g2 = path.drift_and_diffusion(t)
        return torch.stack([f * row - g2 * score(row[None], t)[0] / 2 for row in x])

    def addcmul(score, path, x, t):
        f, g2 = path.drift_and_diffusion(t.reshape(1))
        return torch.addcmul(x * f, g2.expand_as(x), score(x, t), value=-0.5)

    return in_differences, point_by_point, addcmul


def step_forms():
    def in_float64(score, path, x, t, s, g):
        f, g2 = path.drift_and_diffusion(t.double())
        z = torch.randn(x.shape, generator=g, dtype=torch.float64)
        dt = t.double() - s.double()
        return (x + (g2 * score(x, t) - f * x) * dt + math.sqrt(g2 * dt) * z).to(x.dtype)

    def minus_the_noise(score, path, x, t, s, g):
        f, g2 = path.drift_and_diffusion(t)
        dt = s - t
        return (
            x
            + f * x * dt
            - g2 * score(x, t) * dt
            - torch.sqrt(-g2 * dt) * torch.randn(x.shape, generator=g, dtype=x.dtype)
        )

    def box_muller(score, path, x, t, s, g):
        f, g2 = path.drift_and_diffusion(t)
        u, v = (torch.rand(x.shape, generator=g, dtype=torch.float64) for _ in range(2))
        z = (torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(2 * math.pi * v)).to(x.dtype)
        return x - (f * x - g2 * score(x, t)) * (t - s) + g2.sqrt() * (t - s).sqrt() * z

    def two_half_noises(score, path, x, t, s, g):
        f, g2 = path.drift_and_diffusion(t)
        z = sum(torch.randn(x.shape, generator=g, dtype=x.dtype) for _ in range(2)) / math.sqrt(2)
        return x + (s - t) * (f * x - g2 * score(x, t)) + z * float(g2 * (t - s)) ** 0.5

    def from_the_velocity(score, path, x, t, s, g):
        _, g2 = path.drift_and_diffusion(t)
        moved = x + (BY_NAME["ode_drift"].solution(score, path, x, t) - g2 / 2 * score(x, t)) * (s - t)
        return torch.normal(moved, torch.sqrt(g2 * (t - s)).expand_as(x), generator=g)

    return in_float64, minus_the_noise, box_muller, two_half_noises, from_the_velocity


def path_forms():
    def in_units_of_the_data(mixture, first, second, x, log_snr):
        ends = []
        noise = torch.exp(-log_snr / 2)
        start = x / first.alpha(schedules.time_at_log_snr(first, log_snr))[0]
        for path in (first, second):
            y, times = start, schedules.time_at_log_snr(path, log_snr)
            for k in range(len(times) - 1):
                x0 = exact.posterior_mean(mixture, path, path.alpha(times[k]) * y, times[k])
                y = x0 + noise[k + 1] / noise[k] * (y - x0)
            ends.append(y)
        return ends[0], ends[1]

    def step_by_step(mixture, first, second, x, log_snr):
        first_times, second_times = (schedules.time_at_log_snr(p, log_snr) for p in (first, second))
        y = x * second.alpha(second_times[0]) / first.alpha(first_times[0])
        for t, s in pairwise(first_times):
            x = samplers.euler_step(exact.mixture_denoiser(mixture, first), first, x, t, s).x
        for t, s in pairwise(second_times):
            y = samplers.euler_step(exact.mixture_denoiser(mixture, second), second, y, t, s).x
        return [x / first.alpha(first_times[-1]), y / second.alpha(second_times[-1])]

    return in_units_of_the_data, step_by_step


def noise_forms():
    def with_short_loops(denoise, path, c, x, times, g):
        for k in range(len(times) - 1):
            pair = times[k : k + 2]
            walk = samplers.euler_maruyama(denoise, path, x, pair, stochasticity=c(pair[0]), generator=g)
            x = samplers.last(walk)
        return x

    def by_index(denoise, path, c, x, times, g):
        for k in range(1, len(times)):
            t, s = times[k - 1], times[k]
            amount = torch.as_tensor(c(t), dtype=x.dtype)
            state = samplers.euler_maruyama_step(denoise, path, x, t, s, stochasticity=amount, generator=g)
            x = state.x
        return x

    def ode_and_langevin(denoise, path, c, x, times, g):
        for t, s in pairwise(times):
            x0, eps = samplers.predict(denoise, path, x, t)
            step = c(t) ** 2 * path.transition(t, s)[1] / (2 * path.sigma(t) ** 2)
            z = torch.randn(x.shape, generator=g, dtype=x.dtype)
            x = path.alpha(s) * x0 + path.sigma(s) * eps + samplers.shake(path, eps, z, t, step)
        return x

    def minus_the_noise(denoise, path, c, x, times, g):
        for t, s in pairwise(times):
            x0 = denoise(x, t)
            eps = (x - path.alpha(t) * x0) / path.sigma(t)
            w = path.transition(t, s)[1] * c(t) ** 2
            z = torch.randn(x.shape, generator=g, dtype=torch.float64).to(x.dtype)
            x = path.alpha(s) * x0 + (path.sigma(s) - w / path.sigma(t) / 2) * eps - w.sqrt() * z
        return x

    def recursive(denoise, path, c, x, times, g):
        if len(times) == 1:
            return x
        t, s = times[0], times[1]
        x = samplers.euler_maruyama_step(denoise, path, x, t, s, stochasticity=c(t), generator=g).x
        return recursive(denoise, path, c, x, times[1:], g)

    return with_short_loops, by_index, ode_and_langevin, minus_the_noise, recursive


def sum_forms():
    def with_numpy(log_density, cells, window):
        edges = np.linspace(-window, window, cells + 1)
        side = (edges[1:] + edges[:-1]) / 2
        grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
        return float(np.exp(log_density(torch.from_numpy(grid)).numpy()).sum() * (side[1] - side[0]) ** 2)

    def from_edge_to_edge(log_density, cells, window):
        side = torch.linspace(-window, window, cells, dtype=torch.float64)
        grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1)
        return log_density(grid.reshape(-1, 2)).exp().sum() * (side[1] - side[0]) ** 2

    def trapezoid(log_density, cells, window):
        side = torch.linspace(-window, window, cells, dtype=torch.float64)
        p = log_density(torch.cartesian_prod(side, side)).exp().reshape(cells, cells)
        return torch.trapezoid(torch.trapezoid(p, side), side)

    return with_numpy, from_edge_to_edge, trapezoid


FORMS = [
    *[("ode_drift", form) for form in velocity_forms()],
    *[("reverse_step", form) for form in step_forms()],
    *[("both_paths", form) for form in path_forms()],
    *[("varying_noise", form) for form in noise_forms()],
    *[("total_probability", form) for form in sum_forms()],
]

UNKNOWN = {
    "ode_drift": [
        lambda score, path, x, t: 2 * BY_NAME["ode_drift"].solution(score, path, x, t),
        lambda score, path, x, t: (
            path.drift_and_diffusion(t)[0] * x - 0.25 * path.drift_and_diffusion(t)[1] * score(x, t)
        ),
        lambda score, path, x, t: -BY_NAME["ode_drift"].wrong[0].answer(score, path, x, t),  # two at once
    ],
    "reverse_step": [
        lambda score, path, x, t, s, g: 2 * BY_NAME["reverse_step"].solution(score, path, x, t, s, g) - x,
        lambda score, path, x, t, s, g: BY_NAME["reverse_step"].solution(score, path, 1.1 * x, t, s, g),
        lambda score, path, x, t, s, g: BY_NAME["reverse_step"].solution(  # the sign of dt and the score downhill
            lambda y, u: -2 * score(y, u), path, x, t, s, g
        ),
    ],
    "both_paths": [
        lambda mixture, first, second, x, log_snr: BY_NAME["both_paths"].solution(
            mixture, first, second, 2 * x, log_snr
        ),
        lambda mixture, first, second, x, log_snr: BY_NAME["both_paths"].solution(
            mixture, first, second, x, log_snr[::2]
        ),
        lambda mixture, first, second, x, log_snr: (
            BY_NAME["both_paths"]
            .wrong[0]
            .answer(  # two at once
                mixture, first, second, x, log_snr[:-1]
            )
        ),
    ],
    "varying_noise": [
        lambda denoise, path, c, x, times, g: BY_NAME["varying_noise"].solution(
            denoise, path, lambda t: 2 * c(t), x, times, g
        ),
        lambda denoise, path, c, x, times, g: BY_NAME["varying_noise"].solution(denoise, path, c, 2 * x, times, g),
        lambda denoise, path, c, x, times, g: (
            BY_NAME["varying_noise"]
            .wrong[0]
            .answer(  # two at once
                denoise, path, c, x, times[:-1], g
            )
        ),
    ],
    "total_probability": [
        lambda log_density, cells, window: 2 * BY_NAME["total_probability"].solution(log_density, cells, window),
        lambda log_density, cells, window: BY_NAME["total_probability"].solution(log_density, cells, window) ** 2 + 1,
        lambda log_density, cells, window: (
            BY_NAME["total_probability"]
            .wrong[4]
            .answer(  # two at once
                log_density, cells, window / 2
            )
        ),
    ],
}
