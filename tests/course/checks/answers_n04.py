"""Notebook 04: right answers in unusual forms, and wrong ones that are in no list."""

import math
from itertools import pairwise

import torch

from minidiff import physics
from minidiff.checks.n04 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def jump_forms():
    def the_package(x, stiffness, temperature, t, g):
        centre = torch.zeros(x.shape[1], dtype=x.dtype)
        return physics.OrnsteinUhlenbeck(centre, stiffness, temperature).sample(x, t, g)

    def torch_normal(x, stiffness, temperature, t, g):
        left = math.exp(-stiffness * t)
        return torch.normal(left * x, (temperature / stiffness * (1 - left * left)) ** 0.5, generator=g)

    def two_half_jumps(x, stiffness, temperature, t, g):
        for _ in range(2):
            left = math.exp(-stiffness * t / 2)
            z = torch.randn(x.shape, generator=g, dtype=x.dtype)
            x = left * x + math.sqrt(temperature / stiffness * (1 - left**2)) * z
        return x

    def minus_the_noise(x, stiffness, temperature, t, g):
        spread = math.sqrt(-math.expm1(-2 * stiffness * t) * temperature / stiffness)
        return x / math.exp(stiffness * t) - spread * torch.randn(x.shape, generator=g, dtype=x.dtype)

    def in_float64(x, stiffness, temperature, t, g):
        kappa, heat = torch.tensor([stiffness, temperature], dtype=torch.float64)
        z = torch.randn(x.shape, generator=g, dtype=torch.float64)
        variance = 2 * heat * torch.exp(-kappa * t) * torch.sinh(kappa * t) / kappa
        return (torch.exp(-kappa * t) * x.double() + variance.sqrt() * z).to(x.dtype)

    def box_muller(x, stiffness, temperature, t, g):
        u, v = (torch.rand(x.shape, generator=g, dtype=torch.float64) for _ in range(2))
        z = torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(2 * math.pi * v)
        spread = math.sqrt(temperature / stiffness * (1 - math.exp(-2 * stiffness * t)))
        return (math.exp(-stiffness * t) * x + spread * z).to(x.dtype)

    return the_package, torch_normal, two_half_jumps, minus_the_noise, in_float64, box_muller


def drag_forms():
    def the_package(distance, duration, steps, n, g):
        def relax(x, centre, g):
            return physics.OrnsteinUhlenbeck(centre * torch.ones(1), 1.0, 1.0).sample(x, duration / steps, g)

        x = torch.randn(n, 1, generator=g, dtype=torch.float64)
        centres = torch.linspace(0, distance, steps + 1, dtype=torch.float64).tolist()
        *_, end = physics.driven(lambda c: physics.harmonic(1.0, c), x, centres, relax, generator=g)
        return end.work

    def jump_first(distance, duration, steps, n, g):
        """Walkers at rest may jump before the centre moves; then the last jump is left out."""
        x, work = torch.randn(n, generator=g, dtype=torch.float64), 0.0
        keep, step = math.exp(-duration / steps), distance / steps
        for k in range(steps):
            noise = math.sqrt(1 - keep**2) * torch.randn(n, generator=g, dtype=torch.float64)
            x = k * step + keep * (x - k * step) + noise
            work = work + 0.5 * ((x - (k + 1) * step) ** 2 - (x - k * step) ** 2)
        return work

    def the_force_in_the_middle(distance, duration, steps, n, g):
        lag = torch.normal(0.0, 1.0, (n,), generator=g, dtype=torch.float64)
        works, keep = [], math.exp(-duration / steps)
        for _ in range(steps):
            works.append(-(distance / steps) * (lag - distance / steps / 2))
            lag = (lag - distance / steps) * keep
            lag = lag - math.sqrt(1 - keep**2) * torch.randn(n, generator=g, dtype=torch.float64)
        return torch.stack(works).sum(dim=0)

    return the_package, jump_first, the_force_in_the_middle


def crooks_forms():
    def squeezed(protocol, duration, n, g):
        x = torch.normal(0.0, protocol[0] ** -0.5, (n, 1), generator=g, dtype=torch.float64)
        work = torch.zeros(n, dtype=torch.float64)
        for old, new in pairwise(protocol):
            work += physics.harmonic(new)(x) - physics.harmonic(old)(x)
            keep = math.exp(-new * duration / (len(protocol) - 1))
            z = torch.randn(x.shape, generator=g, dtype=torch.float64)
            x = keep * x - ((1 - keep**2) / new) ** 0.5 * z
        return work

    def the_way_back_first(stiffnesses, duration, n, g):
        back = squeezed(list(reversed(stiffnesses)), duration, n, g)
        return torch.stack([squeezed(stiffnesses, duration, n, g), -back])

    def by_rows(stiffnesses, duration, n, g):
        out = torch.empty(2, n, dtype=torch.float64)
        out[0] = squeezed(stiffnesses, duration, n, g)
        out[1] = -squeezed(stiffnesses[::-1], duration, n, g)
        return out

    return the_way_back_first, by_rows


def exact_forms():
    def as_a_tensor(stiffness, dt):
        return -torch.expm1(torch.tensor(-2.0 * stiffness * dt, dtype=torch.float64))

    def from_alpha(stiffness, dt):
        return 1 - math.exp(-stiffness * dt) ** 2

    def the_package(work, temperature):
        return physics.jarzynski(work, temperature)

    def by_softmax(work, temperature):
        weights = torch.softmax(-work / temperature, dim=0)  # e^(-W / T) / sum, for the first walker
        return work[0] + temperature * (torch.log(weights[0]) + math.log(len(work)))

    def by_logaddexp(work, temperature):
        total = -work[0] / temperature
        for w in work[1:]:
            total = torch.logaddexp(total, -w / temperature)
        return -temperature * (total - math.log(len(work)))

    def a_list(stiffness, t):
        return [torch.exp(-t * stiffness), -torch.expm1(-2 * t * stiffness) / stiffness, 2 * stiffness.min()]

    def one_axis_at_a_time(stiffness, t):
        bowls = [physics.OrnsteinUhlenbeck(torch.zeros(1), float(k), 1.0).transition(t) for k in stiffness]
        factor, variance = (torch.cat([part.flatten() for part in parts]) for parts in zip(*bowls, strict=True))
        return factor, variance, 2.0 * min(float(k) for k in stiffness)

    def by_numpy(barrier, grid):
        import numpy as np

        matrix = physics.fokker_planck_operator(physics.double_well(barrier), grid, temperature=1.0).toarray()
        return -2 * np.sort(np.linalg.eigvals(matrix).real)[-2]

    def by_following_the_kl(barrier, grid):
        well = physics.double_well(barrier)
        matrix = torch.from_numpy(physics.fokker_planck_operator(well, grid, temperature=1.0).toarray())
        rest = physics.boltzmann(well, grid, 1.0)
        p = rest * (grid.points[:, 0] < 0)
        p = torch.linalg.matrix_exp(6 * matrix) @ (p / p.sum() / grid.volume)
        late = torch.linalg.matrix_exp(1.0 * matrix) @ p
        first, second = (float(((q - rest) ** 2 / rest).sum()) for q in (p, late))
        return math.log(first / second)

    def with_tensors(stiffnesses, duration):
        k = torch.tensor(stiffnesses, dtype=torch.float64)
        variance, left = 1 / k[0], torch.exp(-2 * k * duration / (len(k) - 1))
        works = []
        for i in range(1, len(k)):
            works.append((k[i] - k[i - 1]) * variance / 2)
            variance = 1 / k[i] + left[i] * (variance - 1 / k[i])
        return sum(works) - 0.5 * torch.log(k[-1] / k[0])

    def by_small_parts(stiffnesses, duration):
        variance, work = 1 / stiffnesses[0], 0.0
        for old, new in pairwise(stiffnesses):
            work += (new - old) * variance / 2
            for _ in range(8):
                left = math.exp(-new * duration / (len(stiffnesses) - 1) / 4)
                variance = left * variance + (1 - left) / new
        return work + 0.5 * math.log(stiffnesses[0]) - 0.5 * math.log(stiffnesses[-1])

    return [
        *[("beta_of", f) for f in (as_a_tensor, from_alpha)],
        *[("jarzynski", f) for f in (the_package, by_softmax, by_logaddexp)],
        *[("two_axes", f) for f in (a_list, one_axis_at_a_time)],
        *[("slowest_rate", f) for f in (by_numpy, by_following_the_kl)],
        *[("lost_work", f) for f in (with_tensors, by_small_parts)],
    ]


FORMS = [
    *[("ou_jump", form) for form in jump_forms()],
    *[("drag", form) for form in drag_forms()],
    *[("crooks", form) for form in crooks_forms()],
    *exact_forms(),
]


def noise(x, g):
    return torch.randn(x.shape, generator=g, dtype=x.dtype)


UNKNOWN = {
    "ou_jump": [
        lambda x, k, heat, t, g: math.exp(-2 * k * t) * x + heat / k * noise(x, g),  # two at once
        lambda x, k, heat, t, g: math.exp(-k * t) * x + math.sqrt(heat * t) * noise(x, g),
        lambda x, k, heat, t, g: x + math.sqrt(heat / k * (1 - math.exp(-2 * k * t))) * noise(x, g),
    ],
    "beta_of": [
        lambda stiffness, dt: stiffness * dt,
        lambda stiffness, dt: math.exp(-2 * stiffness * dt) / stiffness,
        lambda stiffness, dt: 1 - math.exp(-4 * dt),  # two at once
    ],
    "jarzynski": [
        lambda work, temperature: float(work.median()),
        lambda work, temperature: float(work.mean() - work.var() / temperature),
        lambda work, temperature: float(torch.logsumexp(-work, dim=0)),
    ],
    "two_axes": [
        lambda stiffness, t: (torch.exp(-2 * stiffness * t), 1 / stiffness, 2 * float(stiffness.min())),  # two at once
        lambda stiffness, t: (torch.exp(-stiffness * t), stiffness, 2 * float(stiffness.min())),
    ],
    "slowest_rate": [
        lambda barrier, grid: math.exp(-barrier),
        lambda barrier, grid: 2.0 * len(grid.points),
    ],
    "drag": [
        lambda distance, duration, steps, n, g: distance * torch.randn(n, generator=g, dtype=torch.float64),
        lambda distance, duration, steps, n, g: 3 * BY_NAME["drag"].solution(distance, duration, steps, n, g),
    ],
    "crooks": [
        lambda s, duration, n, g: 2 * BY_NAME["crooks"].solution(s, duration, n, g),
        lambda s, duration, n, g: BY_NAME["crooks"].solution(s, duration, n, g) ** 2,
    ],
    "lost_work": [
        lambda stiffnesses, duration: 0.5 * (stiffnesses[-1] - stiffnesses[0]) * duration,
        lambda stiffnesses, duration: 2 * BY_NAME["lost_work"].solution(stiffnesses, duration),
    ],
}
