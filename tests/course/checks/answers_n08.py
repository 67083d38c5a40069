"""Notebook 08: right answers in unusual forms, and wrong ones that are in no list."""

import math

import torch

from minidiff.checks.n08 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def loss_forms():
    def in_float64(score, x, sigma, g):
        eps = torch.randn(x.shape, generator=g, dtype=torch.float64)
        return ((score(x + (sigma * eps).to(x.dtype)) + (eps / sigma).to(x.dtype)) ** 2).sum(1)

    def minus_the_noise(score, x, sigma, g):
        eps = torch.empty_like(x).normal_(generator=g)
        return (score(x - sigma * eps) - eps / sigma).pow(2).sum(-1)

    def weighted_and_back(score, x, sigma, g):
        eps = torch.randn(x.shape, generator=g, dtype=x.dtype)
        return (sigma * score(x + sigma * eps) + eps).square().sum(dim=1) / sigma**2

    def box_muller(score, x, sigma, g):
        u, v = (torch.rand(x.shape, generator=g, dtype=torch.float64) for _ in range(2))
        eps = (torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(2 * math.pi * v)).to(x.dtype)
        return (score(x + sigma * eps) + eps / sigma).norm(dim=1) ** 2

    def einsum(score, x, sigma, g):
        noisy = torch.normal(x, sigma, generator=g)
        residual = score(noisy) + (noisy - x) / sigma**2
        return torch.einsum("bi,bi->b", residual, residual)

    return in_float64, minus_the_noise, weighted_and_back, box_muller, einsum


def anneal_forms():
    def in_units_of_the_noise(score, x, sigmas, steps, eta, g):
        for sigma in sigmas:
            for _ in range(steps):
                kick = math.sqrt(2 * eta) * torch.randn(x.shape, generator=g, dtype=x.dtype)
                x = x + sigma * (eta * sigma * score(x, sigma) + kick)
        return x

    def song_and_ermon(score, x, sigmas, steps, eta, g):
        for sigma in sigmas:
            alpha = 2 * eta * sigma**2
            for _ in range(steps):
                x = x + alpha / 2 * score(x, sigma) + math.sqrt(alpha) * torch.empty_like(x).normal_(generator=g)
        return x

    def minus_the_noise(score, x, sigmas, steps, eta, g):
        for sigma in sigmas:
            for _ in range(steps):
                x = (
                    x
                    + eta * sigma**2 * score(x, sigma)
                    - (2 * eta) ** 0.5 * sigma * torch.randn(x.shape, generator=g, dtype=x.dtype)
                )
        return x

    def all_noise_at_once(score, x, sigmas, steps, eta, g):
        noise = torch.randn(len(sigmas), steps, *x.shape, generator=g, dtype=x.dtype)
        for sigma, draws in zip(sigmas, noise, strict=True):
            for z in draws:
                x = x + eta * sigma**2 * score(x, sigma) + math.sqrt(2 * eta * sigma**2) * z
        return x

    def two_half_noises(score, x, sigmas, steps, eta, g):
        for sigma in sigmas:
            for _ in range(steps):
                z = sum(torch.randn(x.shape, generator=g, dtype=x.dtype) for _ in range(2))
                x = x + eta * sigma**2 * score(x, sigma) + math.sqrt(eta) * sigma * z
        return x

    return in_units_of_the_noise, song_and_ermon, minus_the_noise, all_noise_at_once, two_half_noises


def trace_forms():
    def one_gradient_a_point(score, x, g):
        found = []
        for point in x.unbind():
            xi = torch.sign(torch.randn(1, x.shape[1], generator=g, dtype=x.dtype))
            y = point[None].clone().requires_grad_()
            (row,) = torch.autograd.grad(score(y), y, grad_outputs=xi)
            found.append((row * xi).sum())
        return torch.stack(found)

    def grad_outputs(score, x, g):
        xi = (torch.rand(x.shape, generator=g) < 0.5).to(x.dtype) * 2 - 1
        y = x.clone().requires_grad_(True)
        return (torch.autograd.grad(score(y), y, grad_outputs=xi, create_graph=True)[0] * xi).sum(-1)

    def differences(score, x, g):
        xi = 1 - 2 * torch.randint(0, 2, x.shape, generator=g).double()
        h = 1e-6
        y = x.double()
        return ((score(y + h * xi) - score(y - h * xi)) / (2 * h) * xi).sum(dim=1).to(x.dtype)

    def vjp(score, x, g):
        xi = (-1.0) ** torch.randint(10, x.shape, generator=g)
        _, pull = torch.func.vjp(score, x)
        return (pull(xi.to(x.dtype))[0] * xi).sum(dim=1).to(x.dtype)

    def from_a_table(score, x, g):
        xi = torch.tensor([-1.0, 1.0], dtype=x.dtype)[torch.randint(2, x.shape, generator=g)]
        return torch.linalg.vecdot(torch.autograd.functional.jvp(score, x, xi)[1], xi)

    return one_gradient_a_point, grad_outputs, differences, vjp, from_a_table


def exact_forms():
    def sizes_by_a_list(sigmas, smallest):
        return torch.tensor([smallest * (float(s) / float(sigmas[-1])) ** 2 for s in sigmas], dtype=sigmas.dtype)

    def sizes_by_logarithms(sigmas, smallest):
        return torch.exp(math.log(smallest) + 2 * (sigmas.log() - sigmas.log().min()))

    def score_by_log_snr(eps, path, t):
        sigma = path.alpha(t) * torch.exp(-path.log_snr(t) / 2)
        return -eps / sigma.reshape(-1, 1).to(eps.dtype)

    def score_transposed(eps, path, t):
        return -(eps.T / path.sigma(t)).T

    def table_with_numpy_like_loops(x, x0, eps, sigma, edges):
        noisy = (x0 + sigma * eps).tolist()
        found = []
        for value in x.tolist():
            k = sum(value >= edge for edge in edges.tolist()[1:-1])
            low, high = float(edges[k]), float(edges[k + 1])
            inside = [e for e, y in zip(eps.tolist(), noisy, strict=True) if low <= y < high]
            found.append(sum(inside) / len(inside) if inside else 0.0)
        return torch.tensor(found, dtype=x.dtype)

    def table_nan_to_num(x, x0, eps, sigma, edges):
        where = torch.searchsorted(edges, x0 + sigma * eps, right=True)
        sums = torch.bincount(where, weights=eps.double(), minlength=len(edges) + 1)
        table = (sums / torch.bincount(where, minlength=len(edges) + 1)).nan_to_num(nan=0.0)
        return table[torch.searchsorted(edges, x, right=True)].to(x.dtype)

    return [
        *[("step_sizes", form) for form in (sizes_by_a_list, sizes_by_logarithms)],
        *[("score_from_eps", form) for form in (score_by_log_snr, score_transposed)],
        *[("table_eps", form) for form in (table_with_numpy_like_loops, table_nan_to_num)],
    ]


FORMS = [
    *[("dsm_loss", form) for form in loss_forms()],
    *[("anneal", form) for form in anneal_forms()],
    *[("sliced_trace", form) for form in trace_forms()],
    *exact_forms(),
]

UNKNOWN = {
    "dsm_loss": [
        lambda score, x, sigma, g: (score(x + sigma * torch.randn(x.shape, generator=g, dtype=x.dtype)) ** 2).sum(1),
        lambda score, x, sigma, g: 2 * BY_NAME["dsm_loss"].solution(score, x, sigma, g),
        lambda score, x, sigma, g: 0.5 * BY_NAME["dsm_loss"].wrong[0].answer(score, x, sigma, g),  # two at once
    ],
    "step_sizes": [
        lambda sigmas, smallest: smallest * (sigmas / sigmas[-1]) ** 3,
        lambda sigmas, smallest: smallest + (sigmas - sigmas[-1]) ** 2,
        lambda sigmas, smallest: BY_NAME["step_sizes"].wrong[0].answer(sigmas, smallest).flip(0),  # two at once
    ],
    "anneal": [
        lambda score, x, sigmas, steps, eta, g: BY_NAME["anneal"].solution(score, x, sigmas, steps + 1, eta, g),
        lambda score, x, sigmas, steps, eta, g: BY_NAME["anneal"].solution(score, x, sigmas, steps, 2 * eta, g),
        lambda score, x, sigmas, steps, eta, g: (
            BY_NAME["anneal"]
            .wrong[0]
            .answer(  # two at once
                score, x, sigmas[::-1], steps, eta, g
            )
        ),
    ],
    "score_from_eps": [
        lambda eps, path, t: -eps / path.sigma(t).reshape(-1, 1).sqrt(),
        lambda eps, path, t: -2 * eps / path.sigma(t).reshape(-1, 1),
        lambda eps, path, t: eps / path.sigma(t).reshape(-1, 1) ** 2,  # two at once
    ],
    "sliced_trace": [
        lambda score, x, g: 2 * BY_NAME["sliced_trace"].solution(score, x, g),
        lambda score, x, g: BY_NAME["sliced_trace"].solution(score, x, g) ** 2,
        lambda score, x, g: -BY_NAME["sliced_trace"].wrong[0].answer(score, x, g),  # two at once
    ],
    "table_eps": [
        lambda x, x0, eps, sigma, edges: torch.zeros_like(x),
        lambda x, x0, eps, sigma, edges: 2 * BY_NAME["table_eps"].solution(x, x0, eps, sigma, edges),
        lambda x, x0, eps, sigma, edges: -BY_NAME["table_eps"].wrong[3].answer(x, x0, eps, sigma, edges),  # two at once
    ],
}
