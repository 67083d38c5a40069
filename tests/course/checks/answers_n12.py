"""Notebook 12: right answers in unusual forms, and wrong ones that are in no list."""

import math

import numpy as np
import torch
from torch.nn import functional

from minidiff import data, denoisers, exact, networks
from minidiff.checks.n12 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def right(name, *args):
    return BY_NAME[name].solution(*args)


def to_model_forms():
    def with_the_package(pixels, largest):
        return data.to_images(np.asarray(pixels), None, largest).x

    def by_a_table(pixels, largest):
        return torch.linspace(-1, 1, largest + 1)[pixels.long()].unsqueeze(1)

    def picture_by_picture(pixels, largest):
        return torch.stack([(picture.float() / largest - 0.5)[None] * 2 for picture in pixels])

    return with_the_package, by_a_table, picture_by_picture


def embed_forms():
    def with_the_package(log_snr, width):
        return networks.NoiseLevelEmbedding(width)(log_snr).to(log_snr.dtype)

    def by_complex_numbers(log_snr, width):
        half = width // 2
        frequency = torch.tensor([80 ** (k / max(half - 1, 1)) / 80 for k in range(half)], dtype=log_snr.dtype)
        turns = torch.exp(2j * torch.pi * torch.einsum("b,k->bk", log_snr, frequency))
        return torch.cat([turns.imag, turns.real], dim=1)

    def sines_of_a_shifted_angle(log_snr, width):
        share = torch.linspace(1, 0, width // 2, dtype=log_snr.dtype) if width > 2 else torch.ones(1).to(log_snr)
        angle = torch.outer(log_snr, math.tau * torch.exp(-math.log(80) * share))
        return torch.sin(torch.cat([angle, angle + math.pi / 2], dim=1))

    def with_periods_in_single_precision(log_snr, width):
        period = 80 ** torch.linspace(1, 0, width // 2) if width > 2 else torch.tensor([80.0])
        angle = 2 * torch.pi * log_snr[:, None] / period
        return torch.cat([angle.sin(), angle.cos()], 1)

    return with_the_package, by_complex_numbers, sines_of_a_shifted_angle, with_periods_in_single_precision


def modulate_forms():
    def with_the_axes_moved(h, scale, shift):
        moved = h.permute(2, 3, 0, 1)  # (H, W, B, C)
        return (moved * (scale + 1) + shift).permute(2, 3, 0, 1)

    def by_addcmul(h, scale, shift):
        return torch.addcmul(h + shift[..., None, None], h, scale[..., None, None])

    def as_a_convolution(h, scale, shift):
        B, C, H, W = h.shape
        weight = (1 + scale).reshape(B * C, 1, 1, 1)
        return functional.conv2d(h.reshape(1, B * C, H, W), weight, shift.flatten(), groups=B * C).reshape(h.shape)

    return with_the_axes_moved, by_addcmul, as_a_convolution


def clip_forms():
    def with_the_factors(denoise, path, x_t, t, s):
        x0 = denoise(x_t, t).clip(min=-1).clip(max=1)
        variance = path.transition(t, s)[1]
        to_x0 = path.alpha(s) * variance / path.sigma(t) ** 2
        to_x_t = (path.alpha(t) / path.alpha(s)) * (path.sigma(s) / path.sigma(t)) ** 2
        return to_x0 * x0 + to_x_t * x_t

    def as_a_correction(denoise, path, x_t, t, s):
        raw = denoise(x_t, t)
        too_far = functional.hardtanh(raw) - raw
        plain, moved = (path.posterior(x_t, x0, t, s)[0] for x0 in (raw, raw + too_far))
        return plain + (moved - plain)

    def with_a_wrapper(denoise, path, x_t, t, s):
        return path.posterior(x_t, denoisers.clipped(denoise, -1.0, 1.0)(x_t, t), t, s)[0]

    return with_the_factors, as_a_correction, with_a_wrapper


def to_pixels_forms():
    def with_numpy(x, largest):
        levels = np.rint((x.numpy().astype(np.float64) + 1) * largest / 2)
        return torch.from_numpy(np.clip(levels, 0, largest).astype(np.uint8))

    def clipped_first(x, largest):
        return ((x.clamp(-1, 1) * largest + largest) / 2 + 0.5).to(torch.uint8)

    def by_counting(x, largest):
        borders = (2 * torch.arange(largest, dtype=torch.float64) + 1) / largest - 1  # halfway between two levels
        return (x.double()[..., None] > borders).sum(dim=-1).to(torch.uint8)

    return with_numpy, clipped_first, by_counting


def blind_forms():
    def sample_by_sample(mixture, path, levels, x_t):
        out = []
        for x in x_t:
            row = x[None].expand(len(levels), *x.shape)
            weights = torch.exp(exact.log_prob(mixture, path, row, levels))
            out.append(torch.tensordot(weights / weights.sum(), exact.posterior_mean(mixture, path, row, levels), 1))
        return torch.stack(out)

    def through_the_score(mixture, path, levels, x_t):
        shape = (-1, *[1] * (x_t.ndim - 1))
        top, bottom = torch.zeros_like(x_t), torch.zeros(len(x_t), dtype=x_t.dtype).reshape(shape)
        for t in levels.unbind():
            p = exact.log_prob(mixture, path, x_t, t).exp().reshape(shape)
            x0 = (x_t + path.sigma(t) ** 2 * exact.score(mixture, path, x_t, t)) / path.alpha(t)
            top, bottom = top + p * x0, bottom + p
        return top / bottom

    return sample_by_sample, through_the_score


FORMS = [
    *[("to_model", form) for form in to_model_forms()],
    *[("embed", form) for form in embed_forms()],
    *[("modulate", form) for form in modulate_forms()],
    *[("clip_estimate", form) for form in clip_forms()],
    *[("to_pixels", form) for form in to_pixels_forms()],
    *[("blind", form) for form in blind_forms()],
]


UNKNOWN = {
    "to_model": [
        lambda pixels, largest: right("to_model", pixels, largest) ** 2,
        lambda pixels, largest: 0.9 * right("to_model", pixels, largest),
        lambda pixels, largest: (1 - pixels.float() / largest)[:, None],  # two at once
    ],
    "embed": [
        lambda log_snr, width: right("embed", 2 * log_snr, width),
        lambda log_snr, width: right("embed", log_snr, width).flip(1),
        lambda log_snr, width: torch.ones(len(log_snr), width, dtype=log_snr.dtype),
    ],
    "modulate": [
        lambda h, scale, shift: h * (1 + scale[:, :, None, None]) - shift[:, :, None, None],
        lambda h, scale, shift: h * scale.exp()[:, :, None, None] + shift[:, :, None, None],
        lambda h, scale, shift: h * shift[:, :, None, None] + scale[:, :, None, None],  # two at once
    ],
    "clip_estimate": [
        lambda denoise, path, x_t, t, s: path.posterior(x_t, denoise(x_t, t).clamp(-1, 1), s, s / 2)[0],
        lambda denoise, path, x_t, t, s: path.posterior(x_t, denoise(x_t, t).clamp(-0.5, 0.5), t, s)[0],
        lambda denoise, path, x_t, t, s: x_t.clamp(-1, 1),
    ],
    "to_pixels": [
        lambda x, largest: largest - right("to_pixels", x, largest),
        lambda x, largest: right("to_pixels", 0.5 * x, largest),
    ],
    "blind": [
        lambda mixture, path, levels, x_t: right("blind", mixture, path, levels[:-1], x_t),
        lambda mixture, path, levels, x_t: right("blind", mixture, path, levels, x_t) / 2,
        lambda mixture, path, levels, x_t: x_t.clone(),
    ],
}
