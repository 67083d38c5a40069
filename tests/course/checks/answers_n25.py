"""Notebook 25: right answers in unusual forms, and wrong ones that are in no list."""

import math

import numpy as np
import torch
from scipy.signal import resample as scipy_resample

from minidiff import exact, functions, schedules
from minidiff.checks.n25 import EXERCISES
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)


def chain_forms():
    def the_package(path, times):
        return functions.chain_covariance(path, times)

    def entry_by_entry(path, times):
        found = torch.zeros(len(times), len(times), dtype=times.dtype)
        for i, a in enumerate(times):
            for j, b in enumerate(times):
                s, t = min(a, b), max(a, b)
                found[i, j] = path.transition(t, s)[0] * path.sigma(s) ** 2 if s < t else path.sigma(s) ** 2
        return found

    def by_its_inverse(path, times):
        """The precision of a Markov chain, from its steps, turned over."""
        n = len(times)
        step = torch.eye(n, dtype=times.dtype)
        variances = [path.sigma(times[0]) ** 2]
        for i in range(1, n):
            factor, variance = path.transition(times[i], times[i - 1])
            step[i, i - 1] = -factor
            variances.append(variance)
        return torch.linalg.inv(step.T @ torch.diag(1 / torch.stack(variances)) @ step)

    return the_package, entry_by_entry, by_its_inverse


def gp_forms():
    def by_the_package(f_t, K, C, alpha, sigma):
        path = schedules.rectified_flow()
        t = torch.tensor(sigma / (alpha + sigma), dtype=f_t.dtype)  # the straight path, rescaled
        whitening = functions.Whitening(C)
        mixture = whitening.mixture(functions.gaussian_process(K, jitter=0.0))
        return whitening.coloured(exact.posterior_mean(mixture, path, whitening.white(f_t) / (alpha + sigma), t))

    def with_numpy(f_t, K, C, alpha, sigma):
        total = alpha**2 * K.numpy() + sigma**2 * C.numpy()
        return torch.from_numpy((alpha * K.numpy() @ np.linalg.solve(total, f_t.numpy().T)).T.copy())

    def divided_by_alpha(f_t, K, C, alpha, sigma):
        return f_t / alpha @ torch.linalg.inv(K + (sigma / alpha) ** 2 * C) @ K

    def by_cholesky(f_t, K, C, alpha, sigma):
        L = torch.linalg.cholesky(K * alpha**2 + C * sigma**2)
        return torch.einsum("ij,jb->bi", K, torch.cholesky_solve(f_t.T, L)) * alpha

    return by_the_package, with_numpy, divided_by_alpha, by_cholesky


def resample_forms():
    def the_package(f, n):
        return functions.resample(f, n)

    def by_scipy(f, n):
        return torch.from_numpy(scipy_resample(f.numpy(), n, axis=-1))

    def complex_waves(f, n):
        n0 = f.shape[-1]
        c, x = torch.fft.fft(f) / n0, torch.arange(n).double() / n
        k = torch.fft.fftfreq(n0, 1 / n0, dtype=torch.float64)
        waves = torch.exp(2j * math.pi * k[:, None] * x)
        waves[n0 // 2] = torch.cos(math.pi * n0 * x)
        return (c @ waves.to(c)).real

    return the_package, by_scipy, complex_waves


def coverage_forms():
    def the_package(samples, truth, known, level):
        return functions.coverage(samples, truth, level)[:, ~known].mean()

    def by_sorting(samples, truth, known, level):
        ordered = samples.sort(dim=1).values
        cut = round((1 - level) / 2 * (samples.shape[1] - 1))
        inside = (ordered[:, cut] < truth) & (truth < ordered[:, samples.shape[1] - 1 - cut])
        return float(inside[:, ~known].double().mean())

    return the_package, by_sorting


def crps_forms():
    def the_package(samples, truth):
        return functions.crps(samples[None], truth[None])[0]

    def each_pair_once(samples, truth):
        i, j = torch.triu_indices(len(samples), len(samples), offset=1)
        return (samples - truth).abs().mean(0) - (samples[i] - samples[j]).abs().mean(0) / 2

    return the_package, each_pair_once


FORMS = [
    *[("chain_covariance", form) for form in chain_forms()],
    *[("denoise_gp", form) for form in gp_forms()],
    *[("resample", form) for form in resample_forms()],
    *[("coverage", form) for form in coverage_forms()],
    *[("crps", form) for form in crps_forms()],
]


UNKNOWN = {
    "chain_covariance": [
        lambda path, times: 2 * solution("chain_covariance")(path, times),
        lambda path, times: solution("chain_covariance")(path, times / 2),
        lambda path, times: wrong("chain_covariance", "the correlation")(path, times) ** 2,
    ],
    "denoise_gp": [
        lambda f_t, K, C, alpha, sigma: 2 * solution("denoise_gp")(f_t, K, C, alpha, sigma),
        lambda f_t, K, C, alpha, sigma: solution("denoise_gp")(f_t, K, C, alpha, 2 * sigma),
        lambda f_t, K, C, alpha, sigma: f_t,
    ],
    "resample": [
        lambda f, n: 2 * solution("resample")(f, n),
        lambda f, n: solution("resample")(f, n).roll(1, -1),
        lambda f, n: wrong("resample", "steps")(f, n) / 2,
    ],
    "coverage": [
        lambda samples, truth, known, level: solution("coverage")(samples, truth, known, level / 2),
        lambda samples, truth, known, level: solution("coverage")(samples, truth + 0.5, known, level),
        lambda samples, truth, known, level: torch.tensor(level, dtype=torch.float64),
    ],
    "crps": [
        lambda samples, truth: 2 * solution("crps")(samples, truth),
        lambda samples, truth: solution("crps")(samples, truth + 1),
        lambda samples, truth: solution("crps")(samples[:-1], truth),
    ],
}
