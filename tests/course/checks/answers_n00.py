"""Notebook 00: right answers in unusual forms, and wrong ones that are in no list."""

import torch

from minidiff.checks.n00 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def blend_forms():
    def diagonal(x0, eps, alpha, sigma):
        return torch.diag(alpha) @ x0 + torch.diag(sigma) @ eps

    def row_by_row(x0, eps, alpha, sigma):
        return torch.stack([alpha[i] * x0[i] + sigma[i] * eps[i] for i in range(len(x0))])

    def addcmul(x0, eps, alpha, sigma):
        return torch.addcmul(x0 * alpha.reshape(-1, 1), eps, sigma.view(-1, 1).expand_as(eps))

    def einsum(x0, eps, alpha, sigma):
        return torch.einsum("b,bd->bd", alpha, x0) + torch.einsum("b,bd->bd", sigma, eps)

    def in_float64(x0, eps, alpha, sigma):
        both = torch.stack([x0, eps]).double() * torch.stack([alpha, sigma]).double().unsqueeze(2)
        return both.sum(dim=0).to(x0.dtype)

    return diagonal, row_by_row, addcmul, einsum, in_float64


def step_forms():
    def by_perturb(x_t, x0_hat, path, t, s):
        eps_hat = (x_t - path.perturb(x0_hat, t, torch.zeros_like(x_t))) / path.sigma(t)
        return path.perturb(x0_hat, s, eps_hat)

    def by_signal_to_noise(x_t, x0_hat, path, t, s):
        shrunk = x_t / path.sigma(t) - x0_hat * torch.exp(path.log_snr(t) / 2)
        return path.sigma(s) * (shrunk + x0_hat * torch.exp(path.log_snr(s) / 2))

    def euler(x_t, x0_hat, path, t, s):  # dx = x0_hat d alpha + eps_hat d sigma
        eps_hat = (x_t - path.alpha(t) * x0_hat) / path.sigma(t)
        return x_t + x0_hat * (path.alpha(s) - path.alpha(t)) + eps_hat * (path.sigma(s) - path.sigma(t))

    def in_numbers(x_t, x0_hat, path, t, s):
        a, p, b, q = (float(f(time)) for time in (t, s) for f in (path.alpha, path.sigma))
        return b * x0_hat + q / p * (x_t - a * x0_hat)

    return by_perturb, by_signal_to_noise, euler, in_numbers


def nearest_forms():
    def one_hot(x_t, alpha, means):
        chosen = torch.cdist(x_t, alpha * means).argmin(dim=1)
        return torch.nn.functional.one_hot(chosen, len(means)).to(means.dtype) @ means

    def undone(x_t, alpha, means):
        return means[torch.cdist(x_t / alpha, means).argmin(dim=1)]

    def a_loop(x_t, alpha, means):
        return torch.stack([means[(x - alpha * means).norm(dim=1).argmin()] for x in x_t])

    def sorted_distances(x_t, alpha, means):
        return means[torch.cdist(x_t, alpha * means).sort(dim=1).indices[:, 0]]

    return one_hot, undone, a_loop, sorted_distances


FORMS = [
    *[("blend", form) for form in blend_forms()],
    *[("step_back", form) for form in step_forms()],
    *[("guess_the_nearest_mean", form) for form in nearest_forms()],
]

UNKNOWN = {
    "blend": [
        lambda x0, eps, alpha, sigma: sigma[:, None] * (x0 + eps),
        lambda x0, eps, alpha, sigma: alpha[:, None] ** 2 * eps + sigma[:, None] * x0,  # two at once
        lambda x0, eps, alpha, sigma: alpha.mean() * x0 + sigma.mean() * eps + 0.01,
    ],
    "step_back": [
        lambda x_t, x0_hat, path, t, s: (x_t + x0_hat) / 2,
        lambda x_t, x0_hat, path, t, s: x0_hat + path.sigma(s) * (x_t - x0_hat),
        lambda x_t, x0_hat, path, t, s: BY_NAME["step_back"].solution(x_t, x0_hat, path, t, s / 2),
    ],
    "guess_the_nearest_mean": [
        lambda x_t, alpha, means: torch.softmax(-torch.cdist(x_t, alpha * means), dim=1) @ means,
        lambda x_t, alpha, means: means.mean(dim=0).expand_as(x_t).clone(),
        lambda x_t, alpha, means: alpha * means[torch.cdist(x_t, means).argmin(dim=1)],  # two at once
    ],
}
