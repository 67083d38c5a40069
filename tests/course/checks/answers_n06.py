"""Notebook 06: right answers in unusual forms, and wrong ones that are in no list."""

import itertools
import math

import numpy as np
import torch

from minidiff import exact, samplers
from minidiff.checks.n06 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def table_forms():
    def with_numpy(x0, x_t, edges):
        where = np.digitize(x_t.numpy(), edges.numpy()[1:-1])
        parts = [x0.numpy()[where == i] for i in range(len(edges) - 1)]
        return torch.tensor([part.mean() if len(part) else 0.0 for part in parts], dtype=x0.dtype)

    def clamped(x0, x_t, edges):
        where = (torch.searchsorted(edges, x_t.contiguous(), right=True) - 1).clamp(0, len(edges) - 2)
        total = torch.zeros(len(edges) - 1, dtype=x0.dtype).index_add(0, where, x0)
        count = torch.zeros_like(total).index_add(0, where, torch.ones_like(x0))
        return torch.where(count > 0, total / count, 0.0)

    def nan_to_num(x0, x_t, edges):
        where = torch.bucketize(x_t, edges[1:-1])
        means = [x0[where == i].mean() for i in range(len(edges) - 1)]
        return torch.stack(means).nan_to_num(0.0)

    def scattered(x0, x_t, edges):
        where = torch.bucketize(x_t, edges[1:-1])
        empty = torch.zeros(len(edges) - 1, dtype=x0.dtype)
        return empty.scatter_reduce(0, where, x0, reduce="mean", include_self=False)

    return with_numpy, clamped, nan_to_num, scattered


def given_forms():
    def in_ddpm_letters(path, x_t, x0, t, s):
        bar_t, bar_s = path.alpha(t) ** 2, path.alpha(s) ** 2
        beta = 1 - bar_t / bar_s
        mean = torch.sqrt(1 - beta) * (1 - bar_s) / (1 - bar_t) * x_t + torch.sqrt(bar_s) * beta / (1 - bar_t) * x0
        return mean, (1 - bar_s) / (1 - bar_t) * beta

    def the_package(path, x_t, x0, t, s):
        return path.posterior(x_t.reshape(-1, 1), x0.reshape(-1, 1), t, s)[0].reshape(
            x_t.shape
        ), path.posterior_variance(t, s)

    def in_numbers(path, x_t, x0, t, s):
        a, b = float(path.alpha(t)), float(path.alpha(s))
        u, v = float(path.sigma(t)) ** 2, float(path.sigma(s)) ** 2
        return a / b * v / u * x_t + b * (1 - a**2 * v / (b**2 * u)) * x0, v - (a / b * v) ** 2 / u

    def by_the_noise(path, x_t, x0, t, s):
        eps = (x_t - path.alpha(t) * x0) / path.sigma(t)
        variance = path.posterior_variance(t, s)
        return path.alpha(s) * x0 + torch.sqrt(path.sigma(s) ** 2 - variance) * eps, variance

    return in_ddpm_letters, the_package, in_numbers, by_the_noise


def walk_forms():
    def recursion(denoise, path, x, times, g):
        if len(times) == 1:
            return x
        mean, variance = path.posterior(x, denoise(x, times[0]), times[0], times[1])
        x = torch.normal(mean, variance.sqrt().expand_as(x), generator=g)
        return recursion(denoise, path, x, times[1:], g)

    def with_the_sampler(denoise, path, x, times, g):
        return samplers.last(samplers.ancestral(denoise, path, x, times, generator=g))

    def no_noise_where_none_is_due(denoise, path, x, times, g):
        for t, s in itertools.pairwise(times):
            mean, variance = path.posterior(x, denoise(x, t), t, s)
            x = mean if s == 0 else mean - variance**0.5 * torch.empty_like(x).normal_(generator=g)
        return x

    def all_noise_at_first(denoise, path, x, times, g):
        z = torch.randn(len(times), *x.shape, generator=g, dtype=x.dtype)
        for k in range(1, len(times)):
            mean, variance = path.posterior(x, denoise(x, times[k - 1]), times[k - 1], times[k])
            x = mean + variance.sqrt() * z[k]
        return x

    def two_half_noises(denoise, path, x, times, g):
        left = list(times)
        while len(left) > 1:
            t = left.pop(0)
            mean, variance = path.posterior(x, denoise(x, t), t, left[0])
            x = mean + sum((variance / 2).sqrt() * torch.randn(x.shape, generator=g, dtype=x.dtype) for _ in range(2))
        return x

    def box_muller(denoise, path, x, times, g):
        for i in range(times.numel() - 1):
            mean, variance = path.posterior(x, denoise(x, times[i]), times[i], times[i + 1])
            u, v = torch.rand(2, *x.shape, generator=g, dtype=x.dtype)
            x = mean + variance.sqrt() * torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(2 * math.pi * v)
        return x

    return recursion, with_the_sampler, no_noise_where_none_is_due, all_noise_at_first, two_half_noises, box_muller


def mean_forms():
    def the_package(x_t, alpha, sigma, weights, means, variances):
        from minidiff.paths import GaussianPath

        path = GaussianPath(lambda t: alpha + 0 * t, lambda t: sigma + 0 * t)
        mixture = exact.GaussianMixture(weights, means[:, None], variances[:, None, None])
        return exact.posterior_mean(mixture, path, x_t[:, None], torch.tensor(0.5, dtype=x_t.dtype))[:, 0]

    def one_by_one(x_t, alpha, sigma, weights, means, variances):
        total, mass = torch.zeros_like(x_t), torch.zeros_like(x_t)
        for share, m, v in zip(weights, means, variances, strict=True):
            spread = alpha**2 * v + sigma**2
            p = share * torch.exp(-0.5 * (x_t - alpha * m) ** 2 / spread) * spread**-0.5
            total, mass = total + p * (m * sigma**2 + alpha * v * x_t) / spread, mass + p
        return total / mass

    def by_the_score(x_t, alpha, sigma, weights, means, variances):
        x = x_t.clone().requires_grad_()
        log_p = torch.distributions.Normal(alpha * means, (alpha**2 * variances + sigma**2).sqrt()).log_prob(x[:, None])
        (score,) = torch.autograd.grad(torch.logsumexp(weights.log() + log_p, dim=1).sum(), x)
        return (x_t + sigma**2 * score) / alpha

    return the_package, one_by_one, by_the_score


def tweedie_forms():
    def in_place(x_t, score, alpha, sigma):
        return x_t.clone().add_(score, alpha=sigma**2).div_(alpha)

    def two_parts(x_t, score, alpha, sigma):
        return x_t * alpha**-1 - (-score) * sigma * sigma / alpha

    return in_place, two_parts


def width_forms():
    def with_matrices(path, v0, counts):
        rows = []
        for T in counts:
            walk = torch.linspace(1, 0, T + 1, dtype=torch.float64)
            v = [1.0, 1.0]
            for t, s in itertools.pairwise(walk):
                f, w = path.transition(t, s)
                gain = path.alpha(t) * v0 / (path.alpha(t) ** 2 * v0 + path.sigma(t) ** 2)
                c = (f * path.sigma(s) ** 2 + path.alpha(s) * w * gain) / path.sigma(t) ** 2
                v[0] = c**2 * v[0] + w * path.sigma(s) ** 2 / path.sigma(t) ** 2
                v[1] = c**2 * v[1] + (w if s > 0 else 0)
            rows.append(torch.stack([torch.tensor(float(T)).double(), (v[0] / v0) ** 0.5, (v[1] / v0) ** 0.5]))
        return torch.stack(rows)

    def columns(path, v0, counts):
        table = BY_NAME["compare_variances"].solution(path, v0, counts)
        return torch.stack([table[:, 0], table[:, 1], table[:, 2]], dim=1)

    return with_matrices, columns


def better_forms():
    def torch_distribution_root(mixture, path, x_t, t, s, g):
        kernel = exact.reverse_kernel(mixture, path, x_t, t, s)
        u, d, _ = torch.linalg.svd(kernel.covariance())
        return kernel.mean() - (u * d.sqrt()[:, None] @ torch.randn(len(x_t), 2, 1, generator=g).double())[..., 0]

    def symmetric_root(mixture, path, x_t, t, s, g):
        kernel = exact.reverse_kernel(mixture, path, x_t, t, s)
        values, vectors = torch.linalg.eigh(kernel.covariance())
        root = vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
        return kernel.mean() + (torch.randn(len(x_t), 1, 2, generator=g, dtype=x_t.dtype) @ root)[:, 0]

    def upper(mixture, path, x_t, t, s, g):
        kernel = exact.reverse_kernel(mixture, path, x_t, t, s)
        root = torch.linalg.cholesky(kernel.covariance(), upper=True)
        return kernel.mean() + torch.einsum("bji,bj->bi", root, torch.empty_like(x_t).normal_(generator=g))

    def by_total_variance(mixture, path, x_t, t, s, g):
        data = exact.reverse_kernel(mixture, path, x_t, t, s, to_data=True)
        _factor, variance = path.transition(t, s)
        of_x0 = path.alpha(s) * variance / path.sigma(t) ** 2
        mean, left = path.posterior(x_t, data.mean(), t, s)
        covariance = left * torch.eye(2, dtype=x_t.dtype) + of_x0**2 * data.covariance()
        z = torch.randn(x_t.shape, generator=g, dtype=x_t.dtype)
        return mean + (torch.linalg.cholesky(covariance) @ z[..., None])[..., 0]

    def two_half_noises(mixture, path, x_t, t, s, g):
        kernel = exact.reverse_kernel(mixture, path, x_t, t, s)
        root = torch.linalg.cholesky(kernel.covariance() / 2)
        z = torch.randn(len(x_t), 2, 2, generator=g, dtype=x_t.dtype)
        return kernel.mean() + (root @ z).sum(dim=2)

    return torch_distribution_root, symmetric_root, upper, by_total_variance, two_half_noises


def score_forms():
    def the_package(x, alpha, sigma, weights, means, covariances):
        from minidiff.paths import GaussianPath

        path = GaussianPath(lambda t: alpha + 0 * t, lambda t: sigma + 0 * t)
        mixture = exact.GaussianMixture(weights, means, covariances)
        return exact.score(mixture, path, x, torch.tensor(0.5, dtype=x.dtype))

    def with_the_inverse(x, alpha, sigma, weights, means, covariances):
        precision = torch.linalg.inv(alpha**2 * covariances + sigma**2 * torch.eye(2, dtype=x.dtype))
        pull = torch.einsum("kij,bkj->bki", precision, alpha * means - x[:, None])
        logs = weights.log() - 0.5 * (pull * (alpha * means - x[:, None])).sum(-1) + 0.5 * torch.logdet(precision)
        return torch.einsum("bk,bki->bi", (logs - logs.logsumexp(1, keepdim=True)).exp(), pull)

    return the_package, with_the_inverse


def widened_forms():
    def stacked(points, h):
        n = len(points)
        return torch.ones(n, dtype=points.dtype) / n, points, torch.stack([h**2 * torch.eye(2, dtype=points.dtype)] * n)

    def a_list(points, h):
        covariances = torch.zeros(len(points), 2, 2, dtype=points.dtype)
        covariances[:, 0, 0] = covariances[:, 1, 1] = h * h
        return [torch.softmax(torch.zeros_like(points[:, 0]), dim=0), points.clone(), covariances]

    return stacked, a_list


FORMS = [
    *[("fill_table", form) for form in table_forms()],
    *[("step_given_x0", form) for form in given_forms()],
    *[("walk_back", form) for form in walk_forms()],
    *[("posterior_mean", form) for form in mean_forms()],
    *[("tweedie", form) for form in tweedie_forms()],
    *[("compare_variances", form) for form in width_forms()],
    *[("better_gaussian_step", form) for form in better_forms()],
    *[("mixture_score", form) for form in score_forms()],
    *[("widened", form) for form in widened_forms()],
]


def two_mistakes_in_a_walk(denoise, path, x, times, g):
    for t, s in itertools.pairwise(times):
        mean, variance = path.posterior(x, denoise(x, s), t, s)
        x = mean + variance * torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x


def twice_the_noise(denoise, path, x, times, g):
    for t, s in itertools.pairwise(times):
        mean, variance = path.posterior(x, denoise(x, t), t, s)
        x = mean + 2 * variance.sqrt() * torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x


UNKNOWN = {
    "fill_table": [
        lambda x0, x_t, edges: 2 * BY_NAME["fill_table"].solution(x0, x_t, edges),
        lambda x0, x_t, edges: (edges[1:] + edges[:-1]) / 2,
        lambda x0, x_t, edges: -BY_NAME["fill_table"].solution(x0, x_t, edges),
    ],
    "step_given_x0": [
        lambda path, x_t, x0, t, s: (x0 + 0 * x_t, path.posterior_variance(t, s)),
        lambda path, x_t, x0, t, s: ((x_t + x0) / 2, path.transition(t, s)[1]),
    ],
    "walk_back": [two_mistakes_in_a_walk, twice_the_noise],
    "posterior_mean": [
        lambda x_t, alpha, sigma, weights, means, variances: x_t,
        lambda x_t, alpha, sigma, weights, means, variances: torch.full_like(x_t, float(weights @ means)),
    ],
    "tweedie": [
        lambda x_t, score, alpha, sigma: (x_t - sigma * score) / alpha**2,  # two at once
        lambda x_t, score, alpha, sigma: x_t + score,
    ],
    "compare_variances": [
        lambda path, v0, counts: 2 * BY_NAME["compare_variances"].solution(path, v0, counts),
        lambda path, v0, counts: BY_NAME["compare_variances"].solution(path, v0, counts).flip(1),
    ],
    "better_gaussian_step": [
        lambda mixture, path, x_t, t, s, g: x_t + torch.randn(x_t.shape, generator=g, dtype=x_t.dtype),
        lambda mixture, path, x_t, t, s, g: (
            exact.reverse_kernel(mixture, path, x_t, t, s).mean() + torch.rand(x_t.shape, generator=g).double()
        ),
    ],
    "mixture_score": [
        lambda x, alpha, sigma, weights, means, covariances: -x,
        lambda x, alpha, sigma, weights, means, covariances: (
            2 * BY_NAME["mixture_score"].solution(x, alpha, sigma, weights, means, covariances)
        ),
    ],
    "widened": [
        lambda points, h: (*BY_NAME["widened"].solution(points, h)[:2], BY_NAME["widened"].solution(points, 2 * h)[2]),
        lambda points, h: (torch.linspace(0, 1, len(points)).to(points), *BY_NAME["widened"].solution(points, h)[1:]),
    ],
}
