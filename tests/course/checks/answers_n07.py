"""Notebook 07: right answers in unusual forms, and wrong ones that are in no list."""

import math

import torch

from minidiff import targets, training
from minidiff.checks.n07 import EXERCISES
from minidiff.paths import GaussianPath

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def loss_forms():
    def with_the_package(net, path, x0, t, eps):
        return training.denoising_loss(net, path, x0, t, eps, kind="eps").mean()

    def point_by_point(net, path, x0, t, eps):
        squares = []
        for x, time, noise in zip(x0, t, eps, strict=True):
            x_t = path.alpha(time) * x + path.sigma(time) * noise
            squares.append((net(x_t[None], path.log_snr(time)[None])[0] - noise).square().mean())
        return sum(squares) / len(squares)

    def an_inner_product(net, path, x0, t, eps):
        off = (eps - net(path.perturb(x0, t, eps), torch.log(path.alpha(t) ** 2 / path.sigma(t) ** 2))).flatten()
        return float(off @ off) / off.numel()

    return with_the_package, point_by_point, an_inner_product


def train_forms():
    def zeroing_at_the_end(net, batches, loss, lr):
        optimizer, losses = torch.optim.Adam(net.parameters(), lr=lr), torch.empty(len(batches))
        for k, (x0, t, eps) in enumerate(batches):
            value = loss(net, x0, t, eps)
            losses[k] = value.detach()
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
        return losses

    def by_index(net, batches, loss, lr):
        optimizer, losses = torch.optim.Adam(list(net.parameters()), lr=lr), []
        for k in range(len(batches)):
            x0, t, eps = batches[k]
            optimizer.zero_grad(set_to_none=False)
            (value := loss(net, x0, t, eps)).backward()
            losses.append(value.detach())
            optimizer.step()
        return torch.stack(losses)

    def with_a_closure(net, batches, loss, lr):
        optimizer, losses = torch.optim.Adam(net.parameters(), lr=lr, foreach=False), []
        for batch in iter(batches):

            def closure(batch=batch):
                optimizer.zero_grad()
                value = loss(net, *batch)
                value.backward()
                return value

            losses.append(optimizer.step(closure).item())
        return torch.tensor(losses)

    def by_the_functional_gradient(net, batches, loss, lr):
        optimizer, losses = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0), []
        for batch in batches:
            value = loss(net, *batch)
            for weight, slope in zip(net.parameters(), torch.autograd.grad(value, list(net.parameters())), strict=True):
                weight.grad = slope
            optimizer.step()
            losses.append(value.item())
        return torch.tensor(losses)

    return zeroing_at_the_end, by_index, with_a_closure, by_the_functional_gradient


def kl_forms():
    def by_multivariate_normals(mean_q, variance_q, mean_p, variance_p):
        eye = torch.eye(mean_q.shape[1], dtype=mean_q.dtype)
        q, p = (
            torch.distributions.MultivariateNormal(mean, variance * eye)
            for mean, variance in ((mean_q, variance_q), (mean_p, variance_p))
        )
        return torch.distributions.kl_divergence(q, p)

    def by_logarithms_of_roots(mean_q, variance_q, mean_p, variance_p):
        d, off = mean_q.shape[1], torch.linalg.norm(mean_q - mean_p, dim=1)
        return d * torch.log(variance_p.sqrt() / variance_q.sqrt()) + (d * variance_q + off**2) / variance_p / 2 - d / 2

    return by_multivariate_normals, by_logarithms_of_roots


def x0_forms():
    def through_eps(kind, out, x_t, alpha, sigma):
        if kind == "x0":
            return out.clone()
        eps = {"eps": out, "score": -sigma * out, "v": alpha * out + sigma * x_t}[kind]
        return (x_t - sigma * eps) / alpha

    def through_two_equations(kind, out, x_t, alpha, sigma):
        second = {"x0": (1, 0), "eps": (0, 1), "score": (0, -1 / sigma), "v": (-sigma, alpha)}[kind]
        matrix = torch.tensor([[alpha, sigma], second], dtype=x_t.dtype)
        return torch.linalg.solve(matrix, torch.stack([x_t.flatten(), out.flatten()]))[0].reshape(x_t.shape)

    def with_the_package(kind, out, x_t, alpha, sigma):
        path = GaussianPath(lambda t: 0 * t + alpha, lambda t: 0 * t + sigma)
        return targets.solve(kind, path, out, x_t, torch.tensor(0.3, dtype=x_t.dtype)).x0

    return through_eps, through_two_equations, with_the_package


def average_forms():
    def lerp(weights, decay):
        average = weights[0].clone()
        for new in weights[1:]:
            average.lerp_(new, 1 - decay)
        return average

    def recursive(weights, decay):
        if len(weights) == 1:
            return weights[0]
        return decay * recursive(weights[:-1], decay) + (1 - decay) * weights[-1]

    return lerp, recursive


def uniform_forms():
    def in_place(n, d, generator):
        return torch.empty(n, d).uniform_(-math.sqrt(3), math.sqrt(3), generator=generator)

    def coordinate_by_coordinate(n, d, generator):
        return torch.stack([(torch.rand(n, generator=generator) - 0.5) * 12**0.5 for _ in range(d)], dim=1)

    def in_float64(n, d, generator):
        return ((torch.rand(n, d, generator=generator, dtype=torch.float64) * 2 - 1) * 3**0.5).float()

    def mirrored(n, d, generator):
        return 3**0.5 * (1 - 2 * torch.rand(d, n, generator=generator).T)

    def a_random_sign(n, d, generator):
        sign = 2 * torch.randint(2, (n, d), generator=generator) - 1
        return sign * math.sqrt(3) * torch.rand(n, d, generator=generator)

    return in_place, coordinate_by_coordinate, in_float64, mirrored, a_random_sign


def bound_forms():
    def by_alpha_and_sigma(squares, path, t, T):
        t = torch.clip(t, 2 / T)
        s = t - 1 / T
        weight = (path.alpha(s) * path.sigma(t) / path.sigma(s) / path.alpha(t)) ** 2 - 1
        return torch.dot(weight, squares) / len(squares)

    def one_by_one(squares, path, t, T):
        total = 0.0
        for square, time in zip(squares, t, strict=True):
            time = max(time, torch.tensor(2 / T, dtype=t.dtype))
            total += float(square * (torch.exp(path.log_snr(time - 1 / T) - path.log_snr(time)) - 1))
        return total / len(t)

    return by_alpha_and_sigma, one_by_one


def min_snr_forms():
    def with_min(path, t, kind, cap):
        snr = (path.alpha(t) / path.sigma(t)).square()
        least = torch.min(snr, torch.full_like(snr, cap))
        return least if kind == "x0" else least / (snr + (kind == "v"))

    def with_the_package(path, t, kind, cap):
        return training.min_snr_weight(kind, cap)(path, t) * 1.0

    return with_min, with_the_package


FORMS = [
    *[("denoising_loss", form) for form in loss_forms()],
    *[("train", form) for form in train_forms()],
    *[("gaussian_kl", form) for form in kl_forms()],
    *[("x0_from", form) for form in x0_forms()],
    *[("moving_average", form) for form in average_forms()],
    *[("uniform_of_unit_variance", form) for form in uniform_forms()],
    *[("bound_loss", form) for form in bound_forms()],
    *[("min_snr", form) for form in min_snr_forms()],
]


def right(name, *args):
    return BY_NAME[name].solution(*args)


UNKNOWN = {
    "denoising_loss": [
        lambda net, path, x0, t, eps: right("denoising_loss", net, path, x0, t, eps) / 2,
        lambda net, path, x0, t, eps: ((net(path.perturb(x0, t, eps), path.log_snr(t)) + eps) ** 2).mean(),
        lambda net, path, x0, t, eps: ((net(x0, t) - eps) ** 2).mean(),  # two at once
    ],
    "train": [
        lambda net, batches, loss, lr: right("train", net, batches, loss, 2 * lr),
        lambda net, batches, loss, lr: right("train", net, batches, loss, lr).flip(0),
        lambda net, batches, loss, lr: right("train", net, batches, loss, lr) / 8,
    ],
    "gaussian_kl": [
        lambda mean_q, variance_q, mean_p, variance_p: (
            2.5 * right("gaussian_kl", mean_q, variance_q, mean_p, variance_p)
        ),
        lambda mean_q, variance_q, mean_p, variance_p: (mean_q - mean_p).abs().sum(dim=1),
    ],
    "x0_from": [
        lambda kind, out, x_t, alpha, sigma: x_t - out,
        lambda kind, out, x_t, alpha, sigma: alpha * right("x0_from", kind, out, x_t, alpha, sigma),
    ],
    "moving_average": [
        lambda weights, decay: weights.median(dim=0).values,
        lambda weights, decay: right("moving_average", weights.flip(0), decay),
    ],
    "uniform_of_unit_variance": [
        lambda n, d, generator: math.sqrt(6) * (torch.rand(n, d, generator=generator) - 0.5),
        lambda n, d, generator: torch.rand(n, d, generator=generator) + torch.rand(n, d, generator=generator) - 1,
    ],
    "bound_loss": [
        lambda squares, path, t, T: squares.mean(),
        lambda squares, path, t, T: right("bound_loss", squares, path, t, T) / 2,
    ],
    "min_snr": [
        lambda path, t, kind, cap: right("min_snr", path, t, kind, cap) ** 2,
        lambda path, t, kind, cap: torch.full_like(t, cap),
    ],
}
