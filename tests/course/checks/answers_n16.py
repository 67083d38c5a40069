"""Notebook 16: right answers in unusual forms, and wrong ones that are in no list."""

import itertools
import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from minidiff import exact, flows, schedules
from minidiff.checks.n16 import EXERCISES
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)
STRAIGHT = schedules.rectified_flow()


def velocity_forms():
    def the_package(data, x_t, t):
        denoise = exact.finite_denoiser(data, STRAIGHT)
        return flows.velocity_of(denoise, STRAIGHT)(x_t, torch.tensor(t, dtype=x_t.dtype))

    def point_by_point(data, x_t, t):
        rows = []
        for x in x_t:
            log_weights = -torch.stack([((x - (1 - t) * x0) ** 2).sum() for x0 in data]) / (2 * t**2)
            weights = torch.exp(log_weights - torch.logsumexp(log_weights, dim=0))
            rows.append(sum(w * (x - x0) / t for w, x0 in zip(weights, data, strict=True)))
        return torch.stack(rows)

    def with_cdist(data, x_t, t):
        weights = (-0.5 * (torch.cdist(x_t, (1 - t) * data) / t) ** 2).softmax(-1)
        return (x_t - torch.matmul(weights, data)).div(t)

    return the_package, point_by_point, with_cdist


def straightness_forms():
    def one_by_one(velocity, x0, x1, steps):
        total = 0.0
        for x in x1.split(1):
            begin, squares = x, 0.0
            for i in range(steps):
                v = velocity(x, torch.tensor((steps - i) / steps, dtype=x.dtype))
                squares += float((v * v).sum())
                x = x - v / steps
            total += squares / steps - float(((x - begin) ** 2).sum())
        return torch.tensor(total / len(x1))

    def pairwise(velocity, x0, x1, steps):
        x, energy = x1, torch.zeros((), dtype=x1.dtype)
        for t, s in itertools.pairwise(torch.linspace(1, 0, steps + 1).double()):
            v = velocity(x, t)
            energy = energy + (t - s) * v.norm(dim=1).square().mean()
            x = x + (s - t) * v
        return energy - (x - x1).norm(dim=1).square().mean()

    return one_by_one, pairwise


def pair_forms():
    def the_package(x0, x1):
        return flows.minibatch_optimal(flows.Pairs(x0, x1), len(x0)).x0

    def with_numpy(x0, x1):
        a, b = x0.numpy(), x1.numpy()
        _, order = linear_sum_assignment(((b[:, None, :] - a[None, :, :]) ** 2).sum(-1))
        return torch.from_numpy(a[order].copy())

    def data_in_the_rows(x0, x1):
        rows, columns = linear_sum_assignment(torch.cdist(x0, x1).square())
        found = torch.empty_like(x0)
        found[columns] = x0[rows]
        return found

    return the_package, with_numpy, data_in_the_rows


def reread_forms():
    def any_path(denoise, path, x, t):
        s = schedules.time_at_log_snr(path, STRAIGHT.log_snr(t))
        scale = torch.hypot(path.alpha(s), path.sigma(s)) / torch.hypot(STRAIGHT.alpha(t), STRAIGHT.sigma(t))
        return denoise(scale * x, s)

    def in_numbers(denoise, path, x, t):
        low, high = path.t_min, 1.0
        for _ in range(80):
            middle = (low + high) / 2
            now = torch.tensor(middle, dtype=torch.float64)
            above = float(path.sigma(now) / path.alpha(now)) > float(t) / (1 - float(t))
            low, high = (low, middle) if above else (middle, high)
        return denoise(x / math.sqrt(1 - 2 * float(t) + 2 * float(t) ** 2), torch.tensor(high, dtype=torch.float64))

    return any_path, in_numbers


def covariance_forms():
    def by_numpy(a, b, reg):
        return np.roots([1, reg / 2, -a * b]).max()

    def as_a_tensor(a, b, reg):
        return torch.tensor(a * b + reg**2 / 16).sqrt() - reg / 4

    def sinkhorn(a, b, reg):
        """Sinkhorn's iterations for normal densities: the plan is exp(2 x0 x1 / reg) times one factor of each side."""
        p, q = 1 / a, 1 / b
        for _ in range(400):  # precisions of the joint density [[p, -2/reg], [-2/reg, q]], each side fitted in turn
            p = 1 / a + (2 / reg) ** 2 / q
            q = 1 / b + (2 / reg) ** 2 / p
        return (2 / reg) / (p * q - (2 / reg) ** 2)

    return by_numpy, as_a_tensor, sinkhorn


FORMS = [
    *[("marginal_velocity", form) for form in velocity_forms()],
    *[("straightness", form) for form in straightness_forms()],
    *[("pair", form) for form in pair_forms()],
    *[("straight_denoiser", form) for form in reread_forms()],
    *[("entropic_covariance", form) for form in covariance_forms()],
]


UNKNOWN = {
    "marginal_velocity": [
        lambda data, x_t, t: 2 * solution("marginal_velocity")(data, x_t, t),
        lambda data, x_t, t: solution("marginal_velocity")(data, x_t, t / 2),
        lambda data, x_t, t: wrong("marginal_velocity", "t for t²")(data, x_t, t) / 2,
    ],
    "straightness": [
        lambda velocity, x0, x1, steps: 2 * solution("straightness")(velocity, x0, x1, steps),
        lambda velocity, x0, x1, steps: solution("straightness")(velocity, x0, x1, 3 * steps),
        lambda velocity, x0, x1, steps: wrong("straightness", "a step late")(velocity, x0, x1, steps) ** 2,
    ],
    "pair": [
        lambda x0, x1: x0.flip(0),
        lambda x0, x1: solution("pair")(x0, x1) + 0.5,
        lambda x0, x1: solution("pair")(x0, x1).roll(1, 0),
    ],
    "straight_denoiser": [
        lambda denoise, path, x, t: 2 * solution("straight_denoiser")(denoise, path, x, t),
        lambda denoise, path, x, t: solution("straight_denoiser")(denoise, path, x, t / 2),
        lambda denoise, path, x, t: wrong("straight_denoiser", "the clock stays")(denoise, path, -x, t),
    ],
    "entropic_covariance": [
        lambda a, b, reg: 2 * solution("entropic_covariance")(a, b, reg),
        lambda a, b, reg: solution("entropic_covariance")(a, a, reg),
        lambda a, b, reg: solution("entropic_covariance")(a, b, 3 * reg),
    ],
}
