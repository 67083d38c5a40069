"""Notebook 21: right answers in unusual forms, and wrong ones that are in no list."""

import math

import torch

from minidiff import cascades
from minidiff.checks.n21 import EXERCISES
from minidiff.data import video

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def spectrum_forms():
    def the_package(x):
        return cascades.ring_means(cascades.power(x[:, None]))

    def with_rfft(x):
        n = x.shape[-1]
        half = torch.fft.rfft2(x, norm="ortho").abs().pow(2).mean(0)
        k1, k2 = torch.fft.fftfreq(n, d=1 / n).double(), torch.arange(n // 2 + 1).double()
        ring = torch.sqrt(k1[:, None] ** 2 + k2**2).round()
        twice = torch.where((k2 == 0) | (k2 == n / 2), 1.0, 2.0).expand_as(ring)  # a real picture: X(-k) = conj X(k)
        return torch.stack([(half * twice)[ring == r].sum() / twice[ring == r].sum() for r in range(n // 2 + 1)])

    return the_package, with_rfft


def step_forms():
    def one_by_one(V, S, alpha_t, sigma_t, alpha_s, sigma_s):
        found = []
        for v, power in zip(V.tolist(), S.tolist(), strict=True):
            a, b, c, d = (float(z) for z in (alpha_t, sigma_t, alpha_s, sigma_s))
            wiener = a * power / (a * a * power + b * b)
            left = b * b - (a * d / c) ** 2
            found.append(((a * d * d / c + c * left * wiener) / (b * b)) ** 2 * v + left * (d / b) ** 2)
        return torch.tensor(found, dtype=torch.float64)

    def as_a_joint_covariance(V, S, alpha_t, sigma_t, alpha_s, sigma_s):
        r = alpha_t / alpha_s
        total = sigma_t.square() - (r * sigma_s).square()
        of_x = r * sigma_s.square() / sigma_t.square()
        of_x0 = alpha_s * total / sigma_t.square()
        guess = alpha_t * S / (alpha_t.square() * S + sigma_t.square())
        second = torch.stack(
            [torch.stack([V, guess * V]), torch.stack([guess * V, guess * guess * V])]
        )  # of x_t, x0_hat
        weights = torch.stack([of_x, of_x0])
        return torch.einsum("i,ijk,j->k", weights, second, weights) + total * (sigma_s / sigma_t).square()

    return one_by_one, as_a_joint_covariance


def coarse_forms():
    def by_reshape(x, s, generator):
        b, n, _ = x.shape
        coarse = x.reshape(b, n // 2, 2, n // 2, 2).mean(dim=(2, 4))
        noisy = torch.normal(coarse, s.reshape(b, 1, 1).expand_as(coarse), generator=generator)
        return noisy[:, :, None, :, None].expand(b, n // 2, 2, n // 2, 2).reshape(b, n, n)

    def picture_by_picture(x, s, generator):
        rows = []
        for picture, std in zip(x, s, strict=True):
            coarse = torch.nn.functional.avg_pool2d(picture[None], 2)[0]
            noisy = coarse - float(std) * torch.randn(coarse.shape, generator=generator, dtype=x.dtype)
            rows.append(torch.kron(noisy, torch.ones(2, 2, dtype=x.dtype)))
        return torch.stack(rows)

    def by_matrices(x, s, generator):
        half = torch.kron(torch.eye(x.shape[1] // 2, dtype=x.dtype), torch.full((1, 2), 0.5, dtype=x.dtype))
        coarse = half @ x @ half.T
        noise = torch.randn(2, *coarse.shape, generator=generator, dtype=x.dtype)
        noisy = coarse + s[:, None, None] * (noise[0] + noise[1]) / math.sqrt(2)
        return (2 * half).T @ noisy @ (2 * half)

    return by_reshape, picture_by_picture, by_matrices


def going_on_forms():
    def with_cdist(films, x_t, first, alpha, sigma, std):
        k = first.shape[1]
        noise = torch.cdist(x_t.flatten(1), alpha * films.flatten(1)) / sigma
        given = torch.cdist(first.flatten(1), films[:, :k].flatten(1)) / std
        return (torch.softmax(-(noise**2 + given**2) / 2, -1) @ films.flatten(1)).reshape(x_t.shape)

    def one_after_the_other(films, x_t, first, alpha, sigma, std):
        k = first.shape[1]
        prior = torch.softmax(-((first[:, None] - films[:, :k]) ** 2).flatten(2).sum(2) / (2 * std**2), 1)
        likelihood = torch.exp(-((x_t[:, None] - alpha * films) ** 2).flatten(2).sum(2) / (2 * sigma**2))
        joint = prior * likelihood
        return torch.tensordot(joint / joint.sum(1, keepdim=True), films, dims=1)

    return with_cdist, one_after_the_other


def place_forms():
    def the_package(place, velocity, k, low, high):
        return video.bounced(place + k * velocity, low, high)

    def frame_by_frame(place, velocity, k, low, high):
        found = []
        for x, v in zip(place.tolist(), velocity.tolist(), strict=True):
            left = abs(v) * k
            up = v > 0
            while left > 0:
                room = high - x if up else x - low
                step = min(left, room)
                x, left = x + step if up else x - step, left - step
                if left > 0:
                    up = not up
            found.append(x)
        return torch.tensor(found, dtype=place.dtype)

    return the_package, frame_by_frame


FORMS = [
    *[("radial_spectrum", form) for form in spectrum_forms()],
    *[("variance_after_step", form) for form in step_forms()],
    *[("shown_coarse", form) for form in coarse_forms()],
    *[("going_on", form) for form in going_on_forms()],
    *[("place_at", form) for form in place_forms()],
]


def solution(name):
    return BY_NAME[name].solution


UNKNOWN = {
    "radial_spectrum": [
        lambda x: 2 * solution("radial_spectrum")(x),
        lambda x: solution("radial_spectrum")(x).flip(0),
        lambda x: solution("radial_spectrum")(x - 0.1),
    ],
    "variance_after_step": [
        lambda V, S, *levels: 2 * solution("variance_after_step")(V, S, *levels),
        lambda V, S, *levels: solution("variance_after_step")(S, V, *levels),
        lambda V, S, *levels: solution("variance_after_step")(V, 3 * S, *levels),
    ],
    "shown_coarse": [
        lambda x, s, generator: 2 * solution("shown_coarse")(x, s, generator),
        lambda x, s, generator: solution("shown_coarse")(x.flip(1), s / 3, generator),
    ],
    "going_on": [
        lambda films, x_t, *rest: 2 * solution("going_on")(films, x_t, *rest),
        lambda films, x_t, *rest: solution("going_on")(films, -x_t, *rest),
        lambda films, x_t, first, *rest: solution("going_on")(films, x_t, -first, *rest),
    ],
    "place_at": [
        lambda place, velocity, k, low, high: solution("place_at")(place, velocity / 2, k, low, high),
        lambda place, velocity, k, low, high: solution("place_at")(place, velocity, k, low, high) + 0.5,
    ],
}
