"""Images as plain tensors, `(N, C, H, W)` in [-1, 1], and the 8x8 digits that need no download. Notebook 12.

Sources: Alpaydin & Kaynak 1998 for the 8x8 digits.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minidiff._tensors import check_number

__all__ = ["Images", "digits", "to_images"]


class Images(NamedTuple):
    """x: (N, C, H, W), float32 in [-1, 1]. y: (N,), int64, the label of each (of a digit, itself), or None."""

    x: Tensor
    y: Tensor | None


def to_images(pixels: np.ndarray, labels: np.ndarray | None, largest: float) -> Images:
    """Scale pixels from [0, largest] to [-1, 1]: the only place that does.

    pixels: (N, H, W) or, with C channels, (N, H, W, C), of any kind of whole or floating-point number. labels: (N,),
    whole numbers, or None. Returns x (N, C, H, W), C = 1 where pixels has no channels, and y.

    Raises TypeError where an array is of another kind, ValueError where its shape is wrong or a pixel lies outside
    [0, largest].
    """
    check_number("largest", largest)
    check_pixels(pixels, largest)
    if labels is not None:
        check_labels(labels, len(pixels))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    x = torch.from_numpy(pixels.astype(np.float32, order="C"))
    # in place: large sets of pictures fill much of the memory
    return Images(x.mul_(2 / largest).sub_(1), None if labels is None else torch.from_numpy(labels.astype(np.int64)))


def check_pixels(pixels: np.ndarray, largest: float) -> None:
    """Refuse pixels that are no numbers of [0, largest], or that have another shape than images."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype.kind not in "iuf":
        given = f"one of {pixels.dtype}" if isinstance(pixels, np.ndarray) else f"a {type(pixels).__name__}"
        raise TypeError(f"pixels must be a NumPy array of whole or floating-point numbers, but is {given}")
    if pixels.ndim not in (3, 4):
        raise ValueError(f"pixels must have shape (N, H, W) or (N, H, W, C), but has {pixels.shape}")
    if not pixels.size:
        return
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= largest):  # NaN is neither
        raise ValueError(f"pixels must lie in [0, largest] = [0, {largest}], but run from {low} to {high}")


def check_labels(labels: np.ndarray, n: int) -> None:
    """Refuse labels that are not one whole number for each of n images."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        given = f"one of {labels.dtype}" if isinstance(labels, np.ndarray) else f"a {type(labels).__name__}"
        raise TypeError(f"labels must be a NumPy array of whole numbers or None, but is {given}")
    if labels.shape != (n,):
        raise ValueError(f"labels must have shape ({n},), one for each image, but has {labels.shape}")


def digits() -> Images:
    """scikit-learn's 8x8 digits, which need no download: x (1797, 1, 8, 8) and y (1797,)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return to_images(bunch.images, bunch.target, largest=16)
