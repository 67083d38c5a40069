"""Denoising by similarity: what the patches of a picture tell about one another, and what a window can know.

An ideal denoiser compares x_t with all of the data at once (`exact.finite_denoiser`, which is one layer of attention).
Here are its two relatives. `non_local_means` has no data but the noisy picture itself, and averages the patches that
resemble each other. `local_denoiser` compares within a window only, as a convolution must. Taught in notebook 18.

Sources: Buades, Coll & Morel 2005, A review of image denoising algorithms, with a new one (non-local means);
Kamb & Ganguli 2024, arXiv 2412.20292 (the local score machine: the ideal denoiser of who sees a window only).
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from minidiff._tensors import check_number, check_whole, check_xt, describe, expand, like, per_sample
from minidiff.denoisers import Denoiser
from minidiff.paths import GaussianPath

__all__ = ["local_denoiser", "non_local_means"]

CHUNK = 2**24  # numbers that are held at once


def non_local_means(y: Tensor, std: float) -> Tensor:
    """Each noisy patch becomes the mean of all, weighted by their resemblance. y: (N, d). Returns (N, d). Notebook 18.

    std: of the noise, > 0. Two noisy copies of one patch have the squared distance 2 std^2 d, on average. That is
    subtracted, except from the distance of a patch to itself, which is 0.
    """
    if not isinstance(y, Tensor) or not y.is_floating_point() or y.ndim != 2:
        raise ValueError(f"y must be patches, a floating-point tensor of shape (N, d), but is {describe(y)}")
    check_number("std", std)
    squares = torch.cdist(y, y) ** 2 - 2 * std**2 * y.shape[1]
    squares = squares.clamp(min=0).fill_diagonal_(0)
    return torch.softmax(-squares / (4 * std**2), dim=1) @ y  # the noise of a difference has variance 2 std^2


def local_denoiser(data: Tensor, path: GaussianPath, reach: int, *, std: float = 0.0) -> Denoiser:
    """The best denoiser among those that see, for each pixel, a window only: E[x0_i | x_t within `reach` of pixel i].

    data: (N, C, H, W), all equally likely, each the centre of a normal distribution of standard deviation std. A
    window is a square of 2 reach + 1 pixels, cut off at the border. With a reach of the whole picture this is the
    ideal denoiser (EDM, appendix B.3). It is the local score machine of Kamb & Ganguli. Notebook 18.
    """
    check_xt(data, torch.tensor(0.5), "data")
    if data.ndim != 4:
        raise ValueError(f"data must be images, (N, C, H, W), but are {describe(data)}")
    check_whole("reach", reach, 0)
    check_number("std", std, zero=True)
    return partial(_local_mean, data, path, reach, std)


def _local_mean(data: Tensor, path: GaussianPath, reach: int, std: float, x_t: Tensor, t: Tensor) -> Tensor:
    check_xt(x_t, t, "x_t", look=False)
    if x_t.shape[1:] != data.shape[1:]:
        raise ValueError(f"x_t must be images as the data are, {tuple(data.shape[1:])}, but is {describe(x_t)}")
    t, data = like(per_sample(t, x_t), x_t), like(data, x_t)
    alpha, sigma = expand(path.alpha(t), x_t), expand(path.sigma(t), x_t)
    variance = alpha**2 * std**2 + sigma**2  # of x_t, given which datum it comes from
    norms = _windows(data**2, reach)  # (N, H, W)
    parts = []
    for x, a, v in zip(*(part.split(max(1, CHUNK // data.numel())) for part in (x_t, alpha, variance)), strict=True):
        # |x - a x_i|^2 in each window without |x|^2, which is the same for every i
        products = _windows((x[:, None] * data[None]).flatten(0, 1), reach).unflatten(0, (len(x), -1))
        weights = torch.softmax((a * products - a**2 / 2 * norms) / v, dim=1)  # (B, N, H, W)
        parts.append(torch.einsum("bnhw,nchw->bchw", weights, data))
    mean = torch.cat(parts)
    return mean + alpha * std**2 / variance * (x_t - alpha * mean)


def _windows(x: Tensor, reach: int) -> Tensor:
    """Sums over channels and the window of each pixel: (N, C, H, W) -> (N, H, W)."""
    side, total = 2 * reach + 1, x.sum(dim=1, keepdim=True)
    return functional.avg_pool2d(total, side, stride=1, padding=reach, divisor_override=1)[:, 0]
