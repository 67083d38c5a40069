"""Notebook 17: right answers in unusual forms, and wrong ones that are in no list."""

import math

import numpy as np
import torch
from scipy.integrate import simpson
from scipy.optimize import brentq
from sklearn.preprocessing import StandardScaler

from minidiff import latents
from minidiff.checks.n17 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def elbo_forms():
    def the_package(x, x_decoded, mean, log_variance, std):
        squares = (x - x_decoded).square().sum(-1)
        normaliser = x.shape[-1] * (math.log(std) + 0.5 * math.log(2 * math.pi))
        return -(latents.rate(mean, log_variance) + squares / (2 * std**2) + normaliser)

    def with_multivariate_normals(x, x_decoded, mean, log_variance, std):
        normal, diagonal = torch.distributions.MultivariateNormal, torch.diag_embed(log_variance.exp())
        q = normal(mean, diagonal)
        p = normal(torch.zeros_like(mean), torch.eye(mean.shape[1], dtype=mean.dtype))
        likelihood = normal(x_decoded, std**2 * torch.eye(x.shape[1], dtype=x.dtype)).log_prob(x)
        return likelihood - torch.distributions.kl_divergence(q, p)

    def by_einsum(x, x_decoded, mean, log_variance, std):
        gap = (x - x_decoded) / std
        found = torch.einsum("bd,bd->b", gap, gap) + x.shape[1] * math.log(2 * math.pi * std * std)
        return -0.5 * (found - torch.sum(1 + log_variance - mean**2 - log_variance.exp(), -1))

    return the_package, with_multivariate_normals, by_einsum


def hole_forms():
    def by_simpson(z, log_q):
        values = np.exp(log_q.numpy()) * (log_q.numpy() + z.numpy() ** 2 / 2 + 0.5 * np.log(2 * np.pi))
        return simpson(values, x=z.numpy())

    def as_a_mean_over_q(z, log_q):
        mass = torch.softmax(log_q, 0)
        return (mass * (log_q - torch.distributions.Normal(0, 1).log_prob(z))).sum()

    return by_simpson, as_a_mean_over_q


def scaled_forms():
    def the_package(train, z):
        return latents.units_of(train).to(z)

    def with_scikit_learn(train, z):
        centre = StandardScaler(with_std=False).fit(train.numpy())
        scale = np.sqrt((centre.transform(train.numpy()) ** 2).mean())
        return torch.from_numpy(centre.transform(z.numpy()) / scale)

    def by_one_standard_deviation(train, z):
        mean = train.mean(0)
        return (z - mean) / (train - mean).std(unbiased=False)

    return the_package, with_scikit_learn, by_one_standard_deviation


def slerp_forms():
    def the_package(a, b, share):
        return latents.slerp(a, b, share)

    def with_numpy(a, b, share):
        x, y = a.numpy(), b.numpy()
        cosine = np.einsum("ij,ij->i", x, y) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        angle = np.arccos(cosine)[:, None]
        return torch.from_numpy((np.sin((1 - share) * angle) * x + np.sin(share * angle) * y) / np.sin(angle))

    def row_by_row(a, b, share):
        rows = []
        for x, y in zip(a, b, strict=True):
            angle = torch.acos(torch.nn.functional.cosine_similarity(x, y, dim=0))
            rows.append(x * torch.sin(angle - share * angle) / angle.sin() + y * (share * angle).sin() / angle.sin())
        return torch.stack(rows)

    return the_package, with_numpy, row_by_row


def split_forms():
    def the_package(path, m, std):
        return latents.density_split(path, m, std)

    def by_a_root_finder(path, m, std):
        def gap(t):
            time = torch.tensor(t, dtype=torch.float64)
            return float(path.alpha(time) ** 2 * (m**2 - std**2) - path.sigma(time) ** 2)

        return brentq(gap, 0.01, 0.99, xtol=1e-12)

    return the_package, by_a_root_finder


FORMS = [
    *[("elbo", form) for form in elbo_forms()],
    *[("hole", form) for form in hole_forms()],
    *[("scaled", form) for form in scaled_forms()],
    *[("slerp", form) for form in slerp_forms()],
    *[("split_time", form) for form in split_forms()],
]


def solution(name):
    return BY_NAME[name].solution


UNKNOWN = {
    "elbo": [
        lambda x, x_decoded, mean, log_variance, std: 2 * solution("elbo")(x, x_decoded, mean, log_variance, std),
        lambda x, x_decoded, mean, log_variance, std: solution("elbo")(x, x_decoded, mean, log_variance, 3 * std),
        lambda x, x_decoded, mean, log_variance, std: solution("elbo")(x, x_decoded, mean + 1, log_variance, std),
    ],
    "hole": [
        lambda z, log_q: 3 * solution("hole")(z, log_q),
        lambda z, log_q: solution("hole")(z + 1, log_q),
        lambda z, log_q: solution("hole")(z, log_q) ** 2,
    ],
    "scaled": [
        lambda train, z: 3 * solution("scaled")(train, z),
        lambda train, z: solution("scaled")(train, -z),
        lambda train, z: solution("scaled")(train, z) + 1,
    ],
    "slerp": [
        lambda a, b, share: 3 * solution("slerp")(a, b, share),
        lambda a, b, share: solution("slerp")(a, -b, share),
        lambda a, b, share: solution("slerp")(a, b, share**2),
    ],
    "split_time": [
        lambda path, m, std: 0.5 * solution("split_time")(path, m, std),
        lambda path, m, std: solution("split_time")(path, 3 * m, std),
        lambda path, m, std: 1 - solution("split_time")(path, m, std),
    ],
}
