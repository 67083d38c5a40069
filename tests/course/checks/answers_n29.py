"""Notebook 29: right answers in unusual forms, and wrong ones that are in no list."""

import math

import numpy as np
import torch

from minidiff import samplers
from minidiff.checks.n29 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def trace_forms():
    def by_autograd(f, x, probes):
        total = torch.zeros_like(x[:, 0])
        for r in probes:
            leaf = x.detach().clone().requires_grad_()
            (pulled,) = torch.autograd.grad((f(leaf) * r).sum(), leaf)
            total += (pulled * r).sum(dim=1)
        return total / len(probes)

    def all_probes_in_one_batch(f, x, probes):
        count, n, d = probes.shape
        _, pull = torch.func.vjp(f, x.repeat(count, 1))
        products = pull(probes.reshape(-1, d))[0].reshape(count, n, d)
        return torch.einsum("pbi,pbi->b", products, probes) / count

    def by_vmap(f, x, probes):
        _, pull = torch.func.vjp(f, x)
        return torch.func.vmap(lambda r: (pull(r)[0] * r).sum(-1))(probes).mean(0)

    return by_autograd, all_probes_in_one_batch, by_vmap


def dequantise_forms():
    def by_levels(x, levels, g):
        number = ((x + 1) * (levels - 1) / 2).round()
        return 2 * (number + torch.rand(x.shape, generator=g, dtype=x.dtype) - 0.5) / (levels - 1) - 1

    def mirrored(x, levels, g):
        return x + (1 - 2 * torch.rand(x.shape, generator=g, dtype=x.dtype)) / (levels - 1)

    def pixel_by_pixel(x, levels, g):
        columns = [
            x[:, i] + (torch.rand(len(x), generator=g).double() - 0.5) * 2 / (levels - 1) for i in range(x.shape[1])
        ]
        return torch.stack(columns, dim=1)

    def a_random_side(x, levels, g):
        side = 2.0 * torch.randint(0, 2, x.shape, generator=g) - 1
        return x + side * torch.rand(x.shape, generator=g, dtype=x.dtype) / (levels - 1)

    def the_middle_of_a_larger_draw(x, levels, g):
        return x + torch.rand(2, *x.shape, generator=g, dtype=x.dtype)[1].sub(0.5).mul(2 / (levels - 1))

    return by_levels, mirrored, pixel_by_pixel, a_random_side, the_middle_of_a_larger_draw


def bits_forms():
    def through_the_probability(log_p, d, levels):
        return -(log_p + d * math.log(2) - d * math.log(levels - 1)) / d / math.log(2)

    def with_numpy(log_p, d, levels):
        return torch.from_numpy(np.log2((levels - 1) / 2) - log_p.numpy() * np.log2(np.e) / d)

    return through_the_probability, with_numpy


def parabola_forms():
    def by_a_linear_system(lam, answers, at):
        powers = torch.stack([lam**k for k in range(3)], dim=1)
        coefficients = torch.linalg.solve(powers, answers.reshape(3, -1))
        return (
            (coefficients * torch.tensor([[1.0], [at], [at**2]], dtype=lam.dtype)).sum(dim=0).reshape(answers[0].shape)
        )

    def by_neville(lam, answers, at):
        def between(i, j):
            if i == j:
                return answers[i]
            return ((at - lam[j]) * between(i, j - 1) - (at - lam[i]) * between(i + 1, j)) / (lam[i] - lam[j])

        return between(0, 2)

    return by_a_linear_system, by_neville


def half_forms():
    def by_lerp(denoise, path, x, t):
        return torch.lerp(x / path.alpha(t), denoise(x, t), 0.5)

    def with_the_estimated_noise(denoise, path, x, t):
        x0_hat, eps_hat = samplers.predict(denoise, path, x, t)
        return (path.alpha(t) * x0_hat + 0.5 * path.sigma(t) * eps_hat) / path.alpha(t)

    return by_lerp, with_the_estimated_noise


FORMS = [
    *[("trace_estimate", form) for form in trace_forms()],
    *[("dequantise", form) for form in dequantise_forms()],
    *[("bits_per_dim", form) for form in bits_forms()],
    *[("parabola", form) for form in parabola_forms()],
    *[("half_way", form) for form in half_forms()],
]


def right(name, *args):
    return BY_NAME[name].solution(*args)


UNKNOWN = {
    "trace_estimate": [
        lambda f, x, probes: 2 * right("trace_estimate", f, x, probes),
        lambda f, x, probes: right("trace_estimate", f, x, probes).abs().sqrt(),
        lambda f, x, probes: right("trace_estimate", f, x, probes[1:]),
    ],
    "dequantise": [
        lambda x, levels, g: x + 3 * (torch.rand(x.shape, generator=g, dtype=x.dtype) - 0.5) / (levels - 1),
        lambda x, levels, g: x + 0.1 * torch.randn(x.shape, generator=g, dtype=x.dtype) / (levels - 1),
    ],
    "bits_per_dim": [
        lambda log_p, d, levels: right("bits_per_dim", log_p, d, levels) / 2,
        lambda log_p, d, levels: -log_p / d,  # two at once
    ],
    "parabola": [
        lambda lam, answers, at: 1.1 * right("parabola", lam, answers, at),
        lambda lam, answers, at: answers[0] + answers[1] - answers[2],
    ],
    "half_way": [
        lambda denoise, path, x, t: 0.9 * right("half_way", denoise, path, x, t),
        lambda denoise, path, x, t: denoise(x, t) / 3 + 2 * x / path.alpha(t) / 3,
    ],
}
