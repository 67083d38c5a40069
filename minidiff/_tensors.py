"""Small helpers that every module shares: broadcasting of t, drawing of noise, and the checks at the door."""

import torch
from torch import Tensor

__all__ = ["check_finite", "check_times", "check_xt", "expand", "noise_like", "per_sample"]


def expand(t: Tensor, x: Tensor) -> Tensor:
    """Shape a number, or one number for each sample, so that it multiplies x.

    t: () or (B,). x: (B, *D). Returns () or (B, 1, ..., 1) in the dtype of x.
    """
    t = t.to(device=x.device, dtype=x.dtype)
    return t if t.ndim == 0 else t.reshape(-1, *[1] * (x.ndim - 1))


def per_sample(t: Tensor, x: Tensor) -> Tensor:
    """One time for each sample. t: () or (B,), x: (B, *D); returns (B,). (`repeat`, since `expand` breaks jvp.)"""
    return t.repeat(x.shape[0]) if t.ndim == 0 else t


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise in the shape, dtype and device of x, drawn where the generator lives."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator (see minidiff.generator), but is {generator!r}")
    return torch.randn(x.shape, dtype=x.dtype, device=generator.device, generator=generator).to(x.device)


def check_xt(x: Tensor, t: Tensor, name: str = "x") -> None:
    """Refuse a pair of samples and times that cannot mean what it says. Shapes and dtypes only: values are free."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
        raise TypeError(f"{name} must be a floating-point tensor of shape (B, *D), but is {describe(x)}")
    if not isinstance(t, Tensor) or not t.is_floating_point():
        hint = "; divide a step index k by the number of steps T" if is_integer(t) else ""
        raise TypeError(f"t must be a floating-point tensor with values in [0, 1], but is {describe(t)}{hint}")
    if t.ndim > 1 or (t.ndim == 1 and t.shape[0] != x.shape[0]):
        raise ValueError(f"t must have shape () or ({x.shape[0]},) to go with {describe(x)}, but is {describe(t)}")


def check_times(times: Tensor, t_min: float) -> None:
    """Refuse times that a sampler cannot walk down. Called once, at the entry of every public loop."""
    if not isinstance(times, Tensor) or not times.is_floating_point() or times.ndim != 1 or len(times) < 2:
        raise TypeError(f"times must be a floating-point tensor of shape (N + 1,), N >= 1, but is {describe(times)}")
    if not bool((times[1:] < times[:-1]).all()):
        raise ValueError(
            f"times must fall strictly from noise to data, such as torch.linspace(1, 0, 51), but is {times}"
        )
    if float(times[0]) > 1 or float(times[-1]) < t_min:
        raise ValueError(f"times must lie in [{t_min}, 1], but run from {float(times[0])} to {float(times[-1])}")


def check_finite(x: Tensor, name: str) -> None:
    """Refuse NaN and infinity. Called at the entry of public loops, never inside formulas."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor, but is {describe(x)}")
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(f"{name} must be finite, but {bad} of its {x.numel()} values are NaN or infinite")


def is_integer(value: object) -> bool:
    """Whether a value is an integer or a tensor of integers (the commonest mistake about t)."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() and not value.is_complex()
    return isinstance(value, int)


def describe(value: object) -> str:
    """A tensor by dtype and shape, anything else by its value: the `what was given` of an error."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {value!r}"
