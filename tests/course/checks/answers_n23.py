"""Notebook 23: right answers in unusual forms, and wrong ones that are in no list."""

import numpy as np
import torch

from minidiff import signals, structured
from minidiff.checks.n23 import EXERCISES
from minidiff.paths import GaussianPath
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)


def delay_forms():
    def from_the_mean(f, rate):
        return (2 * rate - f) / (2 * f)

    def as_a_tensor(f, rate):
        return torch.tensor(rate / f) - 0.5

    return from_the_mean, as_a_tensor


def gain_forms():
    def by_snr(S, alpha, sigma):
        snr = alpha**2 * S / sigma**2
        return snr / (1 + snr) / alpha

    def with_numpy(S, alpha, sigma):
        return torch.from_numpy(1 / (alpha + sigma**2 / (alpha * S.numpy())))

    def by_the_package(S, alpha, sigma):
        mixture = structured.StationaryMixture(torch.ones(1).to(S), torch.cat([S, S[:1]])[None] * alpha**2 / sigma**2)
        path = GaussianPath(alpha=torch.ones_like, sigma=torch.ones_like)
        x = torch.fft.irfft(torch.ones(len(S) + 1).to(S), mixture.n)
        found = torch.fft.rfft(mixture.denoiser(path)(x[None], torch.tensor(0.5).to(S)))[0].real
        return found[: len(S)] / alpha

    return by_snr, with_numpy, by_the_package


def posterior_forms():
    def by_eigenvectors(x_t, covariances, alpha, sigma):
        values, vectors = torch.linalg.eigh(covariances)
        v = alpha**2 * values + sigma**2
        seen = torch.einsum("kij,bi->bkj", vectors, x_t)
        return torch.softmax(-0.5 * (seen**2 / v + v.log()).sum(-1), -1)

    def with_distributions(x_t, covariances, alpha, sigma):
        noisy = alpha**2 * covariances + sigma**2 * torch.eye(x_t.shape[1]).to(x_t)
        laws = torch.distributions.MultivariateNormal(torch.zeros(x_t.shape[1]).to(x_t), noisy)
        log_p = laws.log_prob(x_t[:, None])
        return (log_p - torch.logsumexp(log_p, 1, keepdim=True)).exp()

    def density_by_density(x_t, covariances, alpha, sigma):
        rows = []
        for x in x_t.numpy():
            p = []
            for C in covariances.numpy():
                M = alpha**2 * C + sigma**2 * np.eye(len(C))
                p.append(np.exp(-0.5 * x @ np.linalg.solve(M, x)) / np.sqrt(np.linalg.det(M)))
            rows.append(np.array(p) / sum(p))
        return torch.from_numpy(np.array(rows))

    return by_eigenvectors, with_distributions, density_by_density


def cents_forms():
    def the_package(f, reference):
        return signals.cents(f, reference)

    def with_logarithms(f, reference):
        return 1200 * (torch.log(f) - torch.log(reference)) / np.log(2)

    return the_package, with_logarithms


FORMS = [
    *[("string_delay", form) for form in delay_forms()],
    *[("wiener_gain", form) for form in gain_forms()],
    *[("note_posterior", form) for form in posterior_forms()],
    *[("cents", form) for form in cents_forms()],
]


UNKNOWN = {
    "string_delay": [
        lambda f, rate: 2 * rate / f - 0.5,
        lambda f, rate: rate / f - 0.25,
    ],
    "wiener_gain": [
        lambda S, alpha, sigma: 2 * solution("wiener_gain")(S, alpha, sigma),
        lambda S, alpha, sigma: solution("wiener_gain")(S, alpha, 2 * sigma),
    ],
    "note_posterior": [
        lambda x_t, covariances, alpha, sigma: solution("note_posterior")(2 * x_t, covariances, alpha, sigma),
        lambda x_t, covariances, alpha, sigma: solution("note_posterior")(x_t, covariances, alpha, sigma).flip(1),
    ],
    "cents": [
        lambda f, reference: 2 * solution("cents")(f, reference),
        lambda f, reference: solution("cents")(f, reference) + 1200,
    ],
}
