"""How close is an image to the right one? For inverse problems, where the right one is known. Notebooks 11 and 15.

Sources: Wang, Bovik, Sheikh & Simoncelli 2004, Image quality assessment: from error visibility to structural
similarity, doi 10.1109/TIP.2003.819861; Blau & Michaeli 2018, arXiv 1711.06077 (why such scores like blur).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff._tensors import check_finite, check_number, check_whole, describe, in_double

__all__ = ["ImageScore", "psnr", "ssim"]

# Wang et al., section III-C and the text under equation 7: a Gaussian window, and constants against division by 0.
WINDOW_STD, K1, K2 = 1.5, 0.01, 0.03
# 500 images of 28 x 28 with all their local moments: about 20 MB.
IMAGES_AT_ONCE = 500


class ImageScore(NamedTuple):
    """The mean score over images, its floor, the number of images, and the score of each, (N,), float64.

    No second set of real samples makes a floor here, since each image is compared with its own reference. The floor is
    the mean score of an answer that knows next to nothing: the reference's own mean grey, channel by channel.
    """

    value: float
    floor: float
    images: int
    each: Tensor


def psnr(images: Tensor, reference: Tensor, *, data_range: float) -> ImageScore:
    """Peak signal-to-noise ratio, 10 log10(data_range^2 / mean squared error), in decibels. Notebooks 11, 15.

    images, reference: (N, C, H, W). data_range: the largest possible value minus the smallest, 2 for images in
    [-1, 1]. The value is the mean of the images' ratios; an image that equals its reference has an infinite one.
    Blind spot: it likes blur. The mean of all possible answers has half the expected squared error of any one drawn
    from them, and so scores 3 dB more, though it looks like none of them.
    """
    return _score(images, reference, data_range, lambda x, y: _decibels(x, y, data_range))


def ssim(images: Tensor, reference: Tensor, *, data_range: float, window: int = 11) -> ImageScore:
    """Structural similarity (Wang et al., equations 13 and 17), between -1 and 1. Notebooks 11, 15.

    images, reference: (N, C, H, W). data_range: 2 for images in [-1, 1]. Means, variances and the covariance are taken
    under a Gaussian window of `window` pixels (an odd number) and standard deviation 1.5, at all places where it lies
    within the image, and the index is averaged over places and channels. For 8x8 digits take window=7: on images
    smaller than 11 pixels the paper's own does not fit. Only scores with the same window can be compared. Blind spot:
    where things are rather than what they are; a fine texture moved by one pixel scores like another image.
    """
    check_whole(
        "window", window, most=min(images.shape[-2:]) if isinstance(images, Tensor) and images.ndim == 4 else None
    )
    if window % 2 == 0:
        raise ValueError(f"window must be odd, so that it has a middle, but is {window}")
    return _score(images, reference, data_range, lambda x, y: _similarity(x, y, data_range, window))


def _score(
    images: Tensor, reference: Tensor, data_range: float, each: Callable[[Tensor, Tensor], Tensor]
) -> ImageScore:
    for name, x in (("images", images), ("reference", reference)):
        check_finite(x, name)
        if x.ndim != 4 or x.shape != images.shape or x.numel() == 0:
            shape = "(N, C, H, W)" if images.ndim != 4 or x is images else f"{tuple(images.shape)}, as images has"
            raise ValueError(f"{name} must have shape {shape}, but is {describe(x)}")
    check_number("data_range", data_range)
    images, reference = (in_double(x.detach()) for x in (images, reference))
    grey = reference.mean(dim=(2, 3), keepdim=True).expand_as(reference)
    found, floor = (
        torch.cat([each(*part) for part in zip(x.split(IMAGES_AT_ONCE), reference.split(IMAGES_AT_ONCE), strict=True)])
        for x in (images, grey)
    )
    return ImageScore(float(found.mean()), float(floor.mean()), len(found), found)


def _decibels(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    return 10 * torch.log10(data_range**2 / ((x - y) ** 2).mean(dim=(1, 2, 3)))


def _similarity(x: Tensor, y: Tensor, data_range: float, window: int) -> Tensor:
    """The mean structural similarity of each image, (N,)."""
    down, across = (_window_matrix(size, window).to(x) for size in x.shape[-2:])

    def local(z: Tensor) -> Tensor:
        """The mean under the window, wherever it fits."""
        return down @ z @ across.T

    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _window_matrix(size: int, window: int) -> Tensor:
    """A Gaussian window slid along `size` pixels: one row for each place, (size - window + 1, size)."""
    offsets = torch.arange(window, dtype=torch.float64) - window // 2
    weights = torch.exp(-(offsets**2) / (2 * WINDOW_STD**2))
    weights = weights / weights.sum()
    matrix = torch.zeros(size - window + 1, size, dtype=torch.float64)
    for place in range(len(matrix)):
        matrix[place, place : place + window] = weights
    return matrix
