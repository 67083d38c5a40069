"""Notebook 20: right answers in unusual forms, and wrong ones that are in no list."""

import numpy as np
import torch
from scipy.optimize import brentq

from minidiff import distillation, exact, samplers
from minidiff.checks.n20 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def map_forms():
    def with_brentq(mixture, path, x_t, t, s):
        found = []
        for p in exact.cdf(mixture, path, x_t, t).tolist():

            def gap(x, p=p):
                return float(exact.cdf(mixture, path, torch.tensor([[x]], dtype=torch.float64), s)) - p

            found.append([brentq(gap, -30, 30, xtol=1e-12)])
        return torch.tensor(found, dtype=torch.float64)

    def one_by_one(mixture, path, x_t, t, s):
        return torch.cat([exact.line_flow(mixture, path, x, t, s) for x in x_t.split(1)])

    return with_brentq, one_by_one


def target_forms():
    def the_package(denoise, path, x_t, t, s):
        return distillation.step_target(denoise, path, x_t, t, s)

    def with_samplers(denoise, path, x_t, t, s):
        x_s = samplers.last(samplers.ddim(denoise, path, x_t, torch.stack([t, (t + s) / 2, s])))
        shrink = path.sigma(s) / path.sigma(t)
        return (x_s - shrink * x_t).div(path.alpha(s) - shrink * path.alpha(t))

    return the_package, with_samplers


def score_forms():
    def with_numpy(a, b, x0):
        a, b, x0 = (x.numpy() for x in (a, b, x0))
        norm = np.linalg.norm
        return torch.from_numpy(0.5 * (norm(a - x0, axis=1) + norm(b - x0, axis=1) - norm(a - b, axis=1)))

    def row_by_row(a, b, x0):
        return torch.stack(
            [((p - x).norm() + (q - x).norm() - (p - q).norm()) / 2 for p, q, x in zip(a, b, x0, strict=True)]
        )

    return with_numpy, row_by_row


def shrunk_forms():
    def in_numbers(path, std, N):
        product = 1.0
        for k in range(N):
            s, t = torch.tensor(k / N, dtype=torch.float64), torch.tensor((k + 1) / N, dtype=torch.float64)
            a, b, u, v = (float(x) for x in (path.alpha(s), path.alpha(t), path.sigma(s), path.sigma(t)))
            product *= (a * b * std**2 + u * v) / ((a * a * std**2 + u * u) * (b * b * std**2 + v * v)) ** 0.5
        return std * product

    def by_angles(path, std, N):
        times = torch.linspace(0, 1, N + 1, dtype=torch.float64)
        return std * torch.atan2(path.sigma(times), path.alpha(times) * std).diff().cos().prod()

    return in_numbers, by_angles


def mean_velocity_forms():
    def with_autograd(u, V, x, r, t):
        _, rate = torch.autograd.functional.jvp(u, (x, r, t), (V, torch.zeros_like(r), torch.ones_like(t)))
        return V - (t - r).reshape(-1, 1) * rate

    def a_small_step(u, V, x, r, t):
        h = 1e-5
        rate = (u(x + h * V, r, t + h) - u(x - h * V, r, t - h)) / (2 * h)
        return V + (r - t)[:, None] * rate

    return with_autograd, a_small_step


FORMS = [
    *[("flow_map", form) for form in map_forms()],
    *[("step_target", form) for form in target_forms()],
    *[("energy_score", form) for form in score_forms()],
    *[("shrunk", form) for form in shrunk_forms()],
    *[("mean_velocity_target", form) for form in mean_velocity_forms()],
]


def solution(name):
    return BY_NAME[name].solution


UNKNOWN = {
    "flow_map": [
        lambda mixture, path, x_t, t, s: 2 * solution("flow_map")(mixture, path, x_t, t, s),
        lambda mixture, path, x_t, t, s: solution("flow_map")(mixture, path, x_t, t, (s + t) / 2),
    ],
    "step_target": [
        lambda denoise, path, x_t, t, s: 2 * solution("step_target")(denoise, path, x_t, t, s),
        lambda denoise, path, x_t, t, s: solution("step_target")(denoise, path, x_t + 0.3, t, s),
    ],
    "energy_score": [
        lambda a, b, x0: solution("energy_score")(a, b, x0) + 0.7,
        lambda a, b, x0: solution("energy_score")(a, x0, b),
    ],
    "shrunk": [
        lambda path, std, N: 1.1 * solution("shrunk")(path, std, N),
        lambda path, std, N: solution("shrunk")(path, std, 3 * N),
    ],
    "mean_velocity_target": [
        lambda u, V, x, r, t: 2 * solution("mean_velocity_target")(u, V, x, r, t),
        lambda u, V, x, r, t: solution("mean_velocity_target")(u, V, x + 0.2, r, t),
    ],
}
