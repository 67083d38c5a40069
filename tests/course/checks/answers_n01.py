"""Notebook 01: right answers in unusual forms, and wrong ones that are in no list."""

import math

import numpy as np
import torch

from minidiff.checks.n01 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def exact_forms():
    def einsum(paths, dt):
        moved = paths[-1] - paths[0]
        frames, walkers, d = paths.shape
        return torch.einsum("wd,wd->", moved, moved) / (2 * d * walkers * (frames - 1) * dt)

    def from_the_steps(paths, dt):
        moved = paths.diff(dim=0).sum(dim=0)
        return float(torch.cat(list(moved)).square().mean()) / (2 * dt * (paths.size(0) - 1))

    def in_numpy(paths, dt):
        x = paths.numpy()
        return np.mean(np.linalg.norm(x[-1] - x[0], axis=1) ** 2) / (2 * x.shape[2] * dt * (len(x) - 1))

    def by_index(p, r):
        i = torch.arange(len(p))
        return r * p[i - 1] + (1 - 2 * r) * p + r * p[(i + 1) % len(p)]

    def in_a_loop(p, r):
        n = len(p)
        return torch.tensor([r * p[i - 1] + (1 - 2 * r) * p[i] + r * p[(i + 1) % n] for i in range(n)], dtype=p.dtype)

    def by_convolution(p, r):
        padded = torch.cat([p[-1:], p, p[:1]])
        kernel = torch.tensor([[[r, 1 - 2 * r, r]]], dtype=p.dtype)
        return torch.nn.functional.conv1d(padded[None, None], kernel)[0, 0]

    def in_float32(p, r):
        p = p.float()
        return (p + r * (torch.roll(p, 1) + torch.roll(p, -1) - 2 * p)).double()

    def by_fourier(p, r):
        k = 2 * math.pi * torch.fft.rfftfreq(len(p), dtype=p.dtype)
        return torch.fft.irfft(torch.fft.rfft(p) * (1 - 2 * r + 2 * r * torch.cos(k)), n=len(p))

    def a_tensor_of_orders(r):
        return tuple(torch.tensor(order, dtype=torch.float64) for order in BY_NAME["orders_for"].solution(r))

    def by_the_ratio_of_widths(r):
        return [order * math.log(2) / math.log(0.2 / 0.1) for order in BY_NAME["orders_for"].alternative(r)]

    def from_all_pairs(first, last):
        def squares(x):
            return (torch.cdist(x, x) ** 2).sum() / (2 * len(x))

        return 0.5 * (squares(last) - squares(first))

    def by_covariances(first, last):
        return (len(first) - 1) / 2 * float(torch.trace(torch.cov(last.T)) - torch.trace(torch.cov(first.T)))

    def as_log_densities(first, last):
        def log_density(x):
            return -0.5 * torch.sum(x**2) + 0.5 * len(x) * torch.sum(x.mean(0) ** 2)

        return log_density(first) - log_density(last)

    return [
        *[("diffusion_coefficient", form) for form in (einsum, from_the_steps, in_numpy)],
        *[("heat_step", form) for form in (by_index, in_a_loop, by_convolution, in_float32, by_fourier)],
        *[("orders_for", form) for form in (a_tensor_of_orders, by_the_ratio_of_widths)],
        *[("evidence", form) for form in (from_all_pairs, by_covariances, as_log_densities)],
    ]


def brownian_forms():
    def torch_normal(x, D, dt, g):
        return torch.normal(x, math.sqrt(2 * D * dt), generator=g)

    def in_float64(x, D, dt, g):
        return (x.double() + (2 * D * dt) ** 0.5 * torch.randn(x.shape, generator=g, dtype=torch.float64)).to(x.dtype)

    def minus_the_noise(x, D, dt, g):
        return x - torch.randn(x.shape, generator=g, dtype=x.dtype) * math.sqrt(dt) * math.sqrt(2) * math.sqrt(D)

    def two_half_steps(x, D, dt, g):
        for _ in range(2):
            x = x + math.sqrt(D * dt) * torch.randn(x.shape, generator=g, dtype=x.dtype)
        return x

    def box_muller(x, D, dt, g):
        u, v = (torch.rand(x.shape, generator=g, dtype=torch.float64) for _ in range(2))
        return (x + torch.sqrt(-4 * D * dt * torch.log1p(-u)) * torch.cos(2 * math.pi * v)).to(x.dtype)

    def row_by_row(x, D, dt, g):
        scale = math.sqrt(2 * D * dt)
        return torch.stack([row + scale * torch.randn(len(row), generator=g, dtype=x.dtype) for row in x])

    def out_of_place(x, D, dt, g):
        return torch.empty_like(x).normal_(std=(2 * D * dt) ** 0.5, generator=g).add_(x)

    return torch_normal, in_float64, minus_the_noise, two_half_steps, box_muller, row_by_row, out_of_place


def coin_forms():
    def bernoulli(shape, g, right=0.55):
        return 2 * torch.empty(shape).bernoulli_(right, generator=g) - 1

    def left_first(shape, g, right=0.55):
        return torch.where(torch.rand(shape, generator=g) < 1 - right, -1.0, 1.0)

    def by_sign(shape, g, right=0.55):
        return torch.sign(right - torch.rand(shape, generator=g, dtype=torch.float64)).float()

    def from_a_table(shape, g, right=0.55):
        sides = torch.tensor([-1.0, 1.0])
        drawn = torch.multinomial(torch.tensor([1 - right, right]), math.prod(shape), replacement=True, generator=g)
        return sides[drawn].reshape(shape)

    def a_power(shape, g, right=0.55):
        return (-1.0) ** (torch.rand(shape, generator=g) >= right).float()

    return bernoulli, left_first, by_sign, from_a_table, a_power


def student_forms():
    def one_by_one(shape, g, degrees=3):
        total = torch.zeros(shape)
        for _ in range(degrees):
            total += torch.randn(shape, generator=g) ** 2
        return math.sqrt(degrees) * torch.randn(shape, generator=g) / total.sqrt()

    def in_float64(shape, g, degrees=3):
        z = torch.randn((*shape, degrees + 1), generator=g, dtype=torch.float64)
        return (z[..., -1] / z[..., :-1].pow(2).mean(dim=-1).sqrt()).float()

    def by_a_norm(shape, g, degrees=3):
        below = torch.randn((degrees, *shape), generator=g).norm(dim=0)
        return -torch.randn(shape, generator=g) * degrees**0.5 / below

    def by_exponential_numbers(shape, g, degrees=3):  # two squares are an exponential number of mean 2
        pairs, odd = divmod(degrees, 2)
        total = -2 * torch.log1p(-torch.rand((pairs, *shape), generator=g)).sum(dim=0)
        total = total + torch.randn((odd, *shape), generator=g).square().sum(dim=0)
        return torch.randn(shape, generator=g) / (total / degrees).sqrt()

    def a_reciprocal_root(shape, g, degrees=3):
        return torch.randn(shape, generator=g) * torch.randn((degrees, *shape), generator=g).square().mean(0).rsqrt()

    return one_by_one, in_float64, by_a_norm, by_exponential_numbers, a_reciprocal_root


def back_forms():
    def those_left(steps, d, g, walkers=10_000):
        x = torch.zeros(walkers, d)
        for _ in range(steps):  # who is back is taken out
            x = x + 2.0 * torch.randint(0, 2, x.shape, generator=g) - 1
            x = x[(x != 0).any(dim=1)]
        return len(x) / walkers

    def by_distance(steps, d, g, walkers=10_000):
        moves = torch.where(torch.rand(steps, walkers, d, generator=g) < 0.5, -1.0, 1.0)
        return (moves.cumsum(dim=0).norm(dim=2).amin(dim=0) > 0.5).float().mean()

    def never(steps, d, g, walkers=10_000):
        x, back = torch.zeros(walkers, d, dtype=torch.int64), set()
        for _ in range(steps):
            x = x + 2 * torch.randint(0, 2, (walkers, d), generator=g) - 1
            back |= set((x.abs().sum(dim=1) == 0).nonzero().flatten().tolist())
        return (walkers - len(back)) / walkers

    def even_steps_only(steps, d, g, walkers=10_000):
        x = (1 - 2 * torch.randint(2, (steps, walkers, d), generator=g)).cumsum(0)[1::2]
        return 1 - (x == 0).all(2).any(0).double().mean().item()

    def a_count(steps, d, g, walkers=10_000):
        x = (2 * torch.bernoulli(torch.full((walkers, d, steps), 0.5), generator=g) - 1).cumsum(dim=2)
        return float(((x == 0).sum(dim=1) < d).all(dim=1).sum()) / walkers

    return those_left, by_distance, never, even_steps_only, a_count


FORMS = [
    *exact_forms(),
    *[("brownian_step", form) for form in brownian_forms()],
    *[("unfair_coin", form) for form in coin_forms()],
    *[("student", form) for form in student_forms()],
    *[("not_yet_back", form) for form in back_forms()],
]


def noise(x, g):
    return torch.randn(x.shape, generator=g, dtype=x.dtype)


UNKNOWN = {
    "diffusion_coefficient": [
        lambda paths, dt: 3 * BY_NAME["diffusion_coefficient"].solution(paths, dt),
        lambda paths, dt: paths[-1].square().sum(dim=1).mean() / (len(paths) * dt),  # two at once
        lambda paths, dt: BY_NAME["diffusion_coefficient"].solution(paths[:-1], dt),
    ],
    "brownian_step": [
        lambda x, D, dt, g: x + math.sqrt(3 * D * dt) * noise(x, g),
        lambda x, D, dt, g: x + math.sqrt(D) * dt * noise(x, g),  # two at once
        lambda x, D, dt, g: x + math.sqrt(2 * D * dt) * x * noise(x, g),
    ],
    "heat_step": [
        lambda p, r: (1 - r) * p + r * p.roll(1),
        lambda p, r: p.mean().expand(len(p)).clone(),
        lambda p, r: r**2 * p.roll(1) + (1 - 2 * r**2) * p + r**2 * p.roll(-1),
    ],
    "unfair_coin": [
        lambda shape, g, right=0.55: 2 * BY_NAME["unfair_coin"].solution(shape, g, right),
        lambda shape, g, right=0.55: BY_NAME["unfair_coin"].solution(shape, g, right**2),
        lambda shape, g, right=0.55: torch.rand(shape, generator=g) * 2 - 1,
    ],
    "student": [
        lambda shape, g, degrees=3: BY_NAME["student"].solution(shape, g, degrees).abs(),
        lambda shape, g, degrees=3: BY_NAME["student"].solution(shape, g, 2 * degrees),
        lambda shape, g, degrees=3: BY_NAME["student"].solution(shape, g, degrees).clamp(-3, 3),
    ],
    "orders_for": [
        lambda r: (2.0, 4.0),
        lambda r: [1 + order for order in BY_NAME["orders_for"].solution(r)],
    ],
    "not_yet_back": [
        lambda steps, d, g, walkers=10_000: BY_NAME["not_yet_back"].solution(steps + 4, d, g, walkers),
        lambda steps, d, g, walkers=10_000: 0.5 * BY_NAME["not_yet_back"].solution(steps, d, g, walkers),
    ],
    "evidence": [
        lambda first, last: (last - first).square().sum(),
        lambda first, last: 3 * BY_NAME["evidence"].solution(first, last),
        lambda first, last: last.var() - first.var(),
    ],
}
