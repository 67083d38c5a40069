"""Notebook 27: right answers in unusual forms, and wrong ones that are in no list."""

import numpy as np
import torch
from scipy.stats import binomtest

from minidiff import adapt, generator, metrics
from minidiff.checks.n27 import EXERCISES
from minidiff.data.audit import pixel_distances
from minidiff.networks import initialised
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)


def nearness_forms():
    def the_package(test, train, independent):
        return pixel_distances(test, train).amin(1) / pixel_distances(independent, train).min()

    def with_numpy(test, train, independent):
        def nearest(x):
            gap = x.numpy()[:, None] - train.numpy()[None]
            return np.sqrt((gap**2).mean(axis=(2, 3, 4))).min(axis=1)

        return torch.from_numpy(nearest(test) / nearest(independent).min())

    def sorted_first(test, train, independent):
        everything = torch.cat([test, independent]).flatten(1)
        near = torch.linalg.vector_norm(everything[:, None] - train.flatten(1), dim=2).sort(dim=1).values[:, 0]
        return near[: len(test)] / near[len(test) :].sort().values[0]

    return the_package, with_numpy, sorted_first


def merged_forms():
    def the_package(weight, A, B):
        def both_layers():
            out, channels, *kernel = weight.shape
            layer = torch.nn.Conv2d(channels, out, kernel, bias=False, dtype=weight.dtype)
            layer.weight.data.copy_(weight)
            return adapt.LowRank(layer, A.shape[0])

        both = initialised(both_layers, generator(0))
        both.down.weight.data.copy_(A)
        both.up.weight.data.copy_(B[:, :, None, None])
        return adapt.merged(torch.nn.Sequential(both))[0].weight.detach()

    def loops(weight, A, B):
        found = weight.clone()
        for o in range(B.shape[0]):
            for r in range(B.shape[1]):
                found[o] += B[o, r] * A[r]
        return found

    def tensordot(weight, A, B):
        return torch.tensordot(B, A, dims=1) + weight

    return the_package, loops, tensordot


def timestep_forms():
    def by_signal(log_snr, alphas_cumprod):
        gaps = alphas_cumprod.log() - torch.log1p(-alphas_cumprod) - log_snr[:, None]
        return torch.argmin(gaps**2, 1)

    def numpy_search(log_snr, alphas_cumprod):
        table = np.log(alphas_cumprod.numpy() / (1 - alphas_cumprod.numpy()))
        return torch.from_numpy(np.abs(table[None] - log_snr.numpy()[:, None]).argmin(1))

    return by_signal, numpy_search


def choice_forms():
    def the_package(right, n):
        return metrics.forced_choice(right, n).p

    def by_scipy(right, n):
        return binomtest(right, n).pvalue

    return the_package, by_scipy


def eight_bit_forms():
    def with_division(weight):
        largest = weight.abs().max(dim=1).values[:, None]
        return torch.round(127 * weight / largest) * largest / 127

    def as_bytes(weight):
        scale = weight.abs().amax(1, keepdim=True) / 127
        return (weight / scale).round().clamp(-127, 127).to(torch.int8).to(weight.dtype) * scale

    return with_division, as_bytes


FORMS = [
    *[("nearness", form) for form in nearness_forms()],
    *[("merged_weight", form) for form in merged_forms()],
    *[("timestep_of", form) for form in timestep_forms()],
    *[("choice_p", form) for form in choice_forms()],
    *[("in_eight_bits", form) for form in eight_bit_forms()],
]


UNKNOWN = {
    "nearness": [
        lambda test, train, independent: 2 * solution("nearness")(test, train, independent),
        lambda test, train, independent: solution("nearness")(test, train, independent) + 0.5,
        lambda test, train, independent: solution("nearness")(test, train, independent).sqrt(),
    ],
    "merged_weight": [
        lambda weight, A, B: solution("merged_weight")(2 * weight, A, B),
        lambda weight, A, B: solution("merged_weight")(weight, 3 * A, B),
        lambda weight, A, B: weight.clone(),
    ],
    "timestep_of": [
        lambda log_snr, alphas_cumprod: solution("timestep_of")(log_snr, alphas_cumprod) + 2,
        lambda log_snr, alphas_cumprod: solution("timestep_of")(log_snr + 0.7, alphas_cumprod),
    ],
    "choice_p": [
        lambda right, n: 0.3 * solution("choice_p")(right, n),
        lambda right, n: solution("choice_p")(right, n) ** 2,
    ],
    "in_eight_bits": [
        lambda weight: 2 * solution("in_eight_bits")(weight),
        lambda weight: wrong("in_eight_bits", "one scale")(weight) / 2,
        lambda weight: weight.sign() * weight.abs().amax(dim=1, keepdim=True),
    ],
}
