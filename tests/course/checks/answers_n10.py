"""Notebook 10: right answers in unusual forms, and wrong ones that are in no list."""

import itertools
import math

import numpy as np
import torch

from minidiff import samplers
from minidiff.checks.n10 import EXERCISES
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)


def ddim_forms():
    def the_package(denoise, path, x, t, s):
        return samplers.ddim_step(denoise, path, x, t, s).x

    def euler_in_alpha_and_sigma(denoise, path, x, t, s):
        x0_hat, eps_hat = samplers.predict(denoise, path, x, t)
        return x + (path.alpha(s) - path.alpha(t)) * x0_hat + (path.sigma(s) - path.sigma(t)) * eps_hat

    def point_by_point(denoise, path, x, t, s):
        rows = []
        for row in x:
            x0_hat = denoise(row[None], t)[0]
            rows.append(path.alpha(s) * x0_hat + path.sigma(s) / path.sigma(t) * (row - path.alpha(t) * x0_hat))
        return torch.stack(rows)

    def in_numbers(denoise, path, x, t, s):
        a, b = (float(path.alpha(r)) for r in (t, s))
        u, v = (float(path.sigma(r)) for r in (t, s))
        guess = denoise(x, t)
        return b * guess + v * (x - a * guess) / u if v else guess.clone()

    return the_package, euler_in_alpha_and_sigma, point_by_point, in_numbers


def level_forms():
    def with_numpy(n, u_max, u_min, rho):
        powers = np.linspace(u_max ** (1 / rho), u_min ** (1 / rho), n)
        return torch.from_numpy(np.append(powers**rho, 0.0))

    def a_list(n, u_max, u_min, rho):
        step = (u_min ** (1 / rho) - u_max ** (1 / rho)) / (n - 1)
        return torch.tensor([(u_max ** (1 / rho) + i * step) ** rho for i in range(n)] + [0.0], dtype=torch.float64)

    def by_logarithms(n, u_max, u_min, rho):
        ends = torch.tensor([u_max, u_min], dtype=torch.float64).log() / rho
        share = torch.arange(n, dtype=torch.float64) / (n - 1)
        powers = ends[0].exp() * (1 - share) + ends[1].exp() * share
        return torch.nn.functional.pad((rho * powers.log()).exp(), (0, 1))

    return with_numpy, a_list, by_logarithms


def heun_forms():
    def the_package(denoise, path, x, t, s):
        return samplers.heun_step(denoise, path, x, t, s).x

    def two_half_moves(denoise, path, x, t, s):
        there = samplers.ddim_step(denoise, path, x, t, s).x
        if not path.sigma(s) > 0:
            return there
        back = samplers.predict(denoise, path, there, s)
        second = samplers.along_the_ode(path, back, t, s)
        return 0.5 * there + 0.5 * (x + second)

    def stacked(denoise, path, x, t, s):
        change = torch.stack([path.alpha(s) - path.alpha(t), path.sigma(s) - path.sigma(t)])
        first = torch.stack(tuple(samplers.predict(denoise, path, x, t)))
        move = torch.einsum("i,ibd->bd", change, first)
        if float(s) == 0:
            return x + move
        second = torch.stack(tuple(samplers.predict(denoise, path, x + move, s)))
        return x + torch.einsum("i,ibd->bd", change, (first + second) / 2)

    return the_package, two_half_moves, stacked


def memory_forms():
    def recursion(denoise, path, x, times, before=None):
        if len(times) == 1:
            return x
        t, s = times[0], times[1]
        u_t, u_s = path.sigma(t) / path.alpha(t), path.sigma(s) / path.alpha(s)
        eps = samplers.predict(denoise, path, x, t).eps
        share = 0 if before is None else (u_s - u_t) / (u_t - before[0]) / 2
        old = eps if before is None else before[1]
        x = path.alpha(s) * (x / path.alpha(t) + (u_s - u_t) * ((1 + share) * eps - share * old))
        return recursion(denoise, path, x, times[1:], (u_t, eps))

    def recursive(denoise, path, x, times):
        return recursion(denoise, path, x, times)

    def by_ddim(denoise, path, x, times):
        levels, old = (path.sigma(times) / path.alpha(times)).tolist(), None
        for i, (t, s) in enumerate(itertools.pairwise(times)):
            eps = samplers.predict(denoise, path, x, t).eps
            ahead = (
                eps
                if old is None
                else eps + 0.5 * (levels[i + 1] - levels[i]) / (levels[i] - levels[i - 1]) * (eps - old)
            )
            x = path.alpha(s) * (x - path.sigma(t) * ahead) / path.alpha(t) + path.sigma(s) * ahead
            old = eps
        return x

    return recursive, by_ddim


def timestep_forms():
    def with_numpy(n, T):
        return torch.from_numpy(np.rint(np.linspace(T, 0, n + 1))).long()

    def rising_and_flipped(n, T):
        return (torch.arange(n + 1).double() * T / n).round().flip(0).to(torch.int64)

    return with_numpy, rising_and_flipped


def churn_forms():
    def minus_z(x, u, strength, n, g):
        gamma = min(strength / n, 2**0.5 - 1)
        return x - u * (gamma * (gamma + 2)) ** 0.5 * torch.randn(x.shape, generator=g, dtype=x.dtype)

    def torch_normal(x, u, strength, n, g):
        raised = u * min(1 + strength / n, math.sqrt(2))
        return torch.normal(x, torch.full_like(x, (raised**2 - u**2) ** 0.5), generator=g)

    def two_half_noises(x, u, strength, n, g):
        gamma = torch.tensor(strength / n).clamp(max=math.sqrt(2) - 1).double()
        half = u * (((1 + gamma) ** 2 - 1) / 2).sqrt()
        return x + sum(half * torch.empty_like(x).normal_(generator=g) for _ in range(2))

    def box_muller(x, u, strength, n, g):
        gamma = min(strength / n, math.sqrt(2) - 1)
        p, q = torch.rand(2, *x.shape, generator=g, dtype=x.dtype)
        z = torch.sqrt(-2 * torch.log1p(-p)) * torch.cos(2 * math.pi * q)
        return x + u * math.sqrt((1 + gamma) ** 2 - 1) * z

    def row_by_row(x, u, strength, n, g):
        gamma = min(strength / n, math.sqrt(2) - 1)
        z = torch.stack([torch.randn(x.shape[0], generator=g, dtype=x.dtype) for _ in range(x.shape[1])], dim=1)
        return x + u * math.sqrt((1 + gamma) ** 2 - 1) * z

    return minus_z, torch_normal, two_half_noises, box_muller, row_by_row


FORMS = [
    *[("ddim_step", form) for form in ddim_forms()],
    *[("karras_levels", form) for form in level_forms()],
    *[("heun_step", form) for form in heun_forms()],
    *[("adams_bashforth", form) for form in memory_forms()],
    *[("timesteps", form) for form in timestep_forms()],
    *[("churn", form) for form in churn_forms()],
]


UNKNOWN = {
    "ddim_step": [
        lambda denoise, path, x, t, s: 2 * solution("ddim_step")(denoise, path, x, t, s),
        lambda denoise, path, x, t, s: solution("ddim_step")(denoise, path, x, t, s / 2),
        lambda denoise, path, x, t, s: wrong("ddim_step", "the sign of the noise")(denoise, path, x, t, t - 0.001),
    ],
    "karras_levels": [
        lambda n, u_max, u_min, rho: solution("karras_levels")(n, u_max, u_min, rho + 1),
        lambda n, u_max, u_min, rho: solution("karras_levels")(n, 2 * u_max, u_min, rho),
        lambda n, u_max, u_min, rho: wrong("karras_levels", "even in u")(n, u_max, u_min, rho).flip(0),
    ],
    "heun_step": [
        lambda denoise, path, x, t, s: x + 3 * (solution("heun_step")(denoise, path, x, t, s) - x),
        lambda denoise, path, x, t, s: (2 * x + solution("heun_step")(denoise, path, x, t, s)) / 3,
        lambda denoise, path, x, t, s: -wrong("heun_step", "only the end counts")(denoise, path, x, t, s),
    ],
    "adams_bashforth": [
        lambda denoise, path, x, times: 2 * solution("adams_bashforth")(denoise, path, x, times),
        lambda denoise, path, x, times: solution("adams_bashforth")(denoise, path, x, times[:-1]),
        lambda denoise, path, x, times: wrong("adams_bashforth", "equal steps")(denoise, path, x, times) / 2,
    ],
    "timesteps": [
        lambda n, T: 2 * solution("timesteps")(n, T),
        lambda n, T: torch.cat([solution("timesteps")(n, T)[:-1], torch.tensor([-1])]),
        lambda n, T: torch.tensor([math.ceil(T * left / n) for left in range(n, -1, -1)]),
    ],
    "churn": [
        lambda x, u, strength, n, g: 2 * solution("churn")(x, u, strength, n, g),
        lambda x, u, strength, n, g: solution("churn")(x, 2 * u, strength, n, g),
        lambda x, u, strength, n, g: -wrong("churn", "no cap")(x, u, strength, n, g),
    ],
}
