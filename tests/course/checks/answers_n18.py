"""Notebook 18: right answers in unusual forms, and wrong ones that are in no list."""

import numpy as np
import torch
from torch.nn import functional

from minidiff import exact, networks
from minidiff.checks.n18 import EXERCISES
from minidiff.networks.attention import attention
from minidiff.paths import GaussianPath
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)


def attention_forms():
    def the_package(q, k, v):
        return attention(q, k, v)

    def with_numpy(q, k, v):
        scores = q.numpy() @ k.numpy().T / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return torch.from_numpy(weights / weights.sum(axis=1, keepdims=True) @ v.numpy())

    def keys_in_the_rows(q, k, v):
        weights = torch.softmax(k @ (q / 2).T, dim=0) if q.shape[1] == 4 else None
        return torch.einsum("mn,me->ne", weights, v)

    return the_package, with_numpy, keys_in_the_rows


def denoise_forms():
    def the_package(data, x_t, alpha, sigma):
        path = GaussianPath(lambda t: alpha * torch.ones_like(t), lambda t: sigma * torch.ones_like(t))
        return exact.finite_denoiser(data, path)(x_t, torch.tensor(0.5, dtype=x_t.dtype))

    def by_attention(data, x_t, alpha, sigma):
        q = torch.cat([alpha * x_t / sigma**2, torch.full((len(x_t), 1), -(alpha**2) / (2 * sigma**2)).to(x_t)], 1)
        k = torch.cat([data, data.square().sum(1, keepdim=True)], 1)
        return attention(q * q.shape[1] ** 0.5, k, data)

    def by_distance(data, x_t, alpha, sigma):
        return torch.softmax(-(torch.cdist(x_t, alpha * data) ** 2) / (2 * sigma**2), 1) @ data

    return the_package, by_attention, by_distance


def patchify_forms():
    def the_package(x, patch):
        return networks.patchify(x, patch)

    def by_unfold(x, patch):
        squares = x.unfold(2, patch, patch).unfold(3, patch, patch)  # (B, C, rows, columns, patch, patch)
        return squares.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)

    def by_chunks(x, patch):
        rows = x.split(patch, dim=2)
        return torch.cat([torch.stack([s.flatten(1) for s in row.split(patch, dim=3)], 1) for row in rows], 1)

    return the_package, by_unfold, by_chunks


def gap_forms():
    def by_matrix(f, x, order):
        mix = torch.eye(len(order), dtype=x.dtype)[order]
        return (f(mix @ x) - mix @ f(x)).abs().amax()

    def picture_by_picture(f, x, order):
        before, after = f(x), f(x[:, order])
        return max((a - b[order]).abs().max() for a, b in zip(after, before, strict=True))

    return by_matrix, picture_by_picture


def norm_forms():
    def the_package(x, scale, shift):
        return functional.layer_norm(x, (x.shape[-1],), eps=0) * (1 + scale).unsqueeze(1) + shift.unsqueeze(1)

    def with_the_usual_eps(x, scale, shift):
        return functional.layer_norm(x, x.shape[-1:]) * (1 + scale[:, None]) + shift[:, None]

    def token_by_token(x, scale, shift):
        out = x.clone()
        for b in range(x.shape[0]):
            for n in range(x.shape[1]):
                token = x[b, n]
                out[b, n] = (token - token.mean()) / token.std(correction=0) * (1 + scale[b]) + shift[b]
        return out

    return the_package, with_the_usual_eps, token_by_token


def distance_forms():
    def by_products(y, std):
        norms = (y**2).sum(1)
        apart = norms[:, None] + norms - 2 * y @ y.T - 2 * std**2 * y.shape[1]
        return apart.clamp(min=0) * (1 - torch.eye(len(y)))

    def with_where(y, std):
        apart = (y[:, None] - y).square().sum(-1)
        return torch.where(torch.eye(len(y)).bool(), 0.0, (apart - 2 * std**2 * y.shape[1]).clamp_min(0))

    return by_products, with_where


FORMS = [
    *[("attention", form) for form in attention_forms()],
    *[("denoise_by_attention", form) for form in denoise_forms()],
    *[("patchify", form) for form in patchify_forms()],
    *[("order_gap", form) for form in gap_forms()],
    *[("adaptive_norm", form) for form in norm_forms()],
    *[("patch_distances", form) for form in distance_forms()],
]


UNKNOWN = {
    "attention": [
        lambda q, k, v: solution("attention")(q, k, v) + q,
        lambda q, k, v: solution("attention")(2 * q, 3 * k, v),
        lambda q, k, v: wrong("attention", "softmax over the queries")(2 * q, k, v),
    ],
    "denoise_by_attention": [
        lambda data, x_t, alpha, sigma: solution("denoise_by_attention")(data, x_t, sigma, alpha),
        lambda data, x_t, alpha, sigma: solution("denoise_by_attention")(data, 2 * x_t, alpha, sigma),
        lambda data, x_t, alpha, sigma: wrong("denoise_by_attention", "no alpha")(data, -x_t, alpha, sigma),
    ],
    "patchify": [
        lambda x, patch: 2 * solution("patchify")(x, patch),
        lambda x, patch: solution("patchify")(x.roll(1, 2), patch),
        lambda x, patch: solution("patchify")(x, patch).flip(2),
    ],
    "order_gap": [
        lambda f, x, order: 3 * solution("order_gap")(f, x, order),
        lambda f, x, order: solution("order_gap")(f, 2 * x, order),
        lambda f, x, order: (f(x[:, order]) - f(x)[:, order]).std(),
    ],
    "adaptive_norm": [
        lambda x, scale, shift: solution("adaptive_norm")(x, scale, 2 * shift),
        lambda x, scale, shift: solution("adaptive_norm")(x, 2 * scale, shift),
        lambda x, scale, shift: solution("adaptive_norm")(x, scale, shift) + x,
    ],
    "patch_distances": [
        lambda y, std: 2 * solution("patch_distances")(y, std),
        lambda y, std: solution("patch_distances")(y, 0.7 * std) + 0.1,
        lambda y, std: solution("patch_distances")(y, std) + torch.eye(len(y)),
    ],
}
