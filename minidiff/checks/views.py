"""What several notebooks' exercises share: the numbers by which random answers are compared, and usual inputs."""

import math

import torch
from torch import Tensor

__all__ = ["UNSEEN", "doubles", "flat", "means", "moments_of", "normal", "normals", "uniform"]

UNSEEN = "not seen in public yet"  # where nobody has found a wrong answer so far


def doubles(*values: float) -> Tensor:
    """Numbers in double precision."""
    return torch.tensor(values, dtype=torch.float64)


def normals(g: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers in double precision."""
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def uniform(g: torch.Generator, low: float, high: float) -> float:
    """A number with three digits after the point."""
    return round(low + (high - low) * float(torch.rand((), generator=g)), 3)


def normal(x: Tensor, g: torch.Generator) -> Tensor:
    """Standard normal noise in the form of x."""
    return torch.randn(x.shape, generator=g, dtype=x.dtype)


def flat(x: Tensor, g: torch.Generator) -> Tensor:
    """Uniform noise of mean 0 and variance 1 in the form of x: the shape that wrong answers give to noise."""
    return math.sqrt(3) * (2 * torch.rand(x.shape, generator=g, dtype=x.dtype) - 1)


def means(numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    """A mean for each call. Values: (R, *D), a row for each call. Returns values (R,)."""
    return {name: value.double().flatten(1).mean(dim=1) for name, value in numbers.items()}


def moments_of(out: Tensor, mean: Tensor, x: Tensor) -> dict[str, Tensor]:
    """What a random step came to: its result, and the noise around the mean that it should have, a mean for each call.

    out: (R, n, d), a row for each call; mean: as out or (n, d); x: (n, d), where the step began.
    """
    noise = out - mean
    numbers = {
        "the mean of the result": out,
        "the mean of the result times x": out * x,
        "the variance of the noise": noise**2,
        "the fourth moment of the noise": noise**4,
        "the mean product of the noise of one point and the next": noise[:, :-1] * noise[:, 1:],
        "the variance of the noise within one call": noise.var(dim=1),
    }
    if x.shape[1] > 1:
        numbers["the mean product of a point's noise on both axes"] = noise[..., :1] * noise[..., 1:]
    return means(numbers)
