"""Small helpers that every module shares: broadcasting of t, drawing of noise, and the checks at the door."""

import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "DIVIDE_BY_T",
    "check_finite",
    "check_generator",
    "check_network_input",
    "check_number",
    "check_samples",
    "check_time",
    "check_times",
    "check_whole",
    "check_xt",
    "describe",
    "expand",
    "in_double",
    "is_integer",
    "like",
    "nan_outside",
    "network_dtype_hint",
    "noise_like",
    "per_sample",
    "readable",
    "squares",
]

# What float32 may do to a time that should be 0 or 1.
TIME_ROUNDING = 1e-6
DIVIDE_BY_T = "divide a step index k by the number of steps T"
SCALE_PIXELS = "bring pixels into [-1, 1] first, such as x.float() / 127.5 - 1 for 0 to 255 (as data.to_images does)"
LONGEST_VALUE = 200  # characters of it that an error repeats


def expand(t: Tensor, x: Tensor) -> Tensor:
    """Shape a number, or one number for each sample, so that it multiplies x.

    t: () or (B,). x: (B, *D). Returns () or (B, 1, ..., 1) in the dtype of x.
    """
    t = like(t, x)
    return t if t.ndim == 0 else t.reshape(-1, *[1] * (x.ndim - 1))


def like(value: Tensor, x: Tensor) -> Tensor:
    """A tensor in the dtype and on the device of x. What is float64 changes its dtype on the CPU: MPS has none."""
    if value.dtype == x.dtype and value.device == x.device:
        return value
    return value.to(x.dtype).to(x.device) if value.device.type == "cpu" else value.to(x.device).to(x.dtype)


def in_double(value: float | Tensor) -> Tensor:
    """A number or a tensor in float64 on the CPU, since not every device has float64."""
    return value.cpu().double() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def per_sample(t: Tensor, x: Tensor) -> Tensor:
    """One time for each sample. t: () or (B,), x: (B, *D); returns (B,). (`repeat`, since `expand` breaks jvp.)"""
    return t.repeat(x.shape[0]) if t.ndim == 0 else t


def squares(x: Tensor) -> Tensor:
    """|x|^2 of each sample, (B,), in float64 on the CPU."""
    return x.flatten(1).square().sum(dim=1).cpu().double()


def noise_like(x: Tensor, generator: torch.Generator | Sequence[torch.Generator]) -> Tensor:
    """Standard normal noise in the shape, dtype and device of x, drawn where the generator lives.

    With a generator for each sample, sample i draws from generator i, and does not depend on how many there are.
    """
    if isinstance(generator, Sequence):
        if len(generator) != len(x):
            raise ValueError(f"generator must hold one for each of the {len(x)} samples, but holds {len(generator)}")
        return torch.stack([noise_like(sample, source) for sample, source in zip(x, generator, strict=True)])
    check_generator(generator)
    if not x.is_floating_point():
        raise TypeError(f"noise can only be drawn for a floating-point tensor, but x is {describe(x)}; {SCALE_PIXELS}")
    return torch.randn(x.shape, dtype=x.dtype, device=generator.device, generator=generator).to(x.device)


def readable(values: Tensor) -> bool:
    """Whether a tensor's values may be looked at: on a GPU that would make the processor wait, in a `vmap` it fails."""
    return (
        not torch.compiler.is_compiling()
        and values.is_cpu
        and not torch._C._functorch.is_functorch_wrapped_tensor(values)
    )


def nan_outside(result: Tensor, values: Tensor, low: float = -TIME_ROUNDING, high: float = 1 + TIME_ROUNDING) -> Tensor:
    """The result, with NaN where the values that it was made from lie outside [low, high], by default times.

    result: (B, *D). values: () or (B,). For values that no check could look at: a GPU is not waited for, `train` finds
    the NaN. Where they could be looked at, the check has raised already, and the result is returned as it is.
    """
    if readable(values):
        return result
    within = (values >= low) & (values <= high)
    return torch.where(within.reshape(-1, *[1] * (result.ndim - 1)), result, math.nan)


def check_xt(x: Tensor, t: Tensor, name: str = "x", *, look: bool = True) -> None:
    """Refuse a pair of samples and times that cannot mean what it says. Of values, only t's are looked at (`look`)."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
        hint = f"; {SCALE_PIXELS}" if isinstance(x, Tensor) and is_integer(x) else ""
        raise TypeError(f"{name} must be a floating-point tensor of shape (B, *D), but is {describe(x)}{hint}")
    check_time(t, look=look)
    if t.ndim > 1 or (t.ndim == 1 and t.shape[0] != x.shape[0]):
        raise ValueError(f"t must have shape () or ({x.shape[0]},) to go with {describe(x)}, but is {describe(t)}")


def check_time(t: Tensor, name: str = "t", *, look: bool = True) -> None:
    """Refuse what is no time: step numbers above all. look: at its values too, where that is possible (`readable`)."""
    if not isinstance(t, Tensor) or not t.is_floating_point():
        hint = f"; {DIVIDE_BY_T}" if is_integer(t) else ""
        raise TypeError(f"{name} must be a floating-point tensor with values in [0, 1], but is {describe(t)}{hint}")
    if look and readable(t) and t.numel():
        low, high = (float(end) for end in t.detach().aminmax()) if t.ndim else [float(t.detach())] * 2
        if not (low >= -TIME_ROUNDING and high <= 1 + TIME_ROUNDING):
            if math.isnan(low):
                raise ValueError(f"{name} must lie in [0, 1], but is NaN")
            given = f"is {low:.6g}" if low == high else f"has values from {low:.6g} to {high:.6g}"
            raise ValueError(f"{name} must lie in [0, 1], but {given}; {DIVIDE_BY_T}")


def check_network_input(x: Tensor, shape: tuple[int | str, ...], weight: Tensor) -> None:
    """Refuse what a network was not made for. shape: a number where the size is fixed, a letter where it is free."""
    fits = isinstance(x, Tensor) and x.ndim == len(shape)
    if not fits or any(isinstance(n, int) and n != size for n, size in zip(shape, x.shape, strict=True)):
        raise ValueError(f"x must have shape ({', '.join(map(str, shape))}), but is {describe(x)}")
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        name, mended = _name(weight.dtype), _mended(weight.dtype)
        raise TypeError(f"x must be {name}, as the network's weights are, but is {describe(x)}; {mended}")


def network_dtype_hint(net: object, x: Tensor) -> str | None:
    """What to do where a network's weights and its input differ in dtype, else None."""
    weight = next((p for p in net.parameters() if p.is_floating_point()), None) if hasattr(net, "parameters") else None
    if weight is None or weight.dtype == x.dtype:
        return None
    return f"the network's weights are {_name(weight.dtype)}, but its input is {describe(x)}; {_mended(weight.dtype)}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _mended(dtype: torch.dtype) -> str:
    return "x = x.float() mends it" if dtype == torch.float32 else f"x = x.to({dtype}) mends it"


def check_times(times: Tensor, t_min: float) -> None:
    """Refuse times that a sampler cannot walk down. Called once, at the entry of every public loop."""
    if not isinstance(times, Tensor) or not times.is_floating_point() or times.ndim != 1 or len(times) < 2:
        hint = f"; {DIVIDE_BY_T}" if is_integer(times) else ""
        raise TypeError(
            f"times must be a floating-point tensor of shape (N + 1,), N >= 1, but is {describe(times)}{hint}"
        )
    if not bool((times[1:] < times[:-1]).all()):
        raise ValueError(
            f"times must fall strictly from noise to data, such as torch.linspace(1, 0, 51), but is {times}"
        )
    if float(times[0]) > 1 or float(times[-1]) < t_min:
        hint = f"; {DIVIDE_BY_T}" if float(times[0]) > 1 + TIME_ROUNDING else ""
        raise ValueError(f"times must lie in [{t_min}, 1], but run from {float(times[0])} to {float(times[-1])}{hint}")


def check_finite(x: Tensor, name: str) -> None:
    """Refuse NaN and infinity. Called at the entry of public loops, never inside formulas."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor, but is {describe(x)}")
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(f"{name} must be finite, but {bad} of its {x.numel()} values are NaN or infinite")


def check_samples(x: Tensor, name: str) -> None:
    """Refuse what are no samples, (B, *D), finite and at least one."""
    check_xt(x, torch.tensor(0.5), name)
    check_finite(x, name)
    if x.numel() == 0:
        raise ValueError(f"{name} must hold at least one sample, but is {describe(x)}")


def check_generator(generator: torch.Generator) -> None:
    """Refuse None: PyTorch would take the global random state in its place."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator (see minidiff.generator), but is {generator!r}")


def check_whole(name: str, value: int, least: int = 1, most: int | None = None) -> None:
    """Refuse anything but a whole number from `least` to `most`. NumPy's integers are whole numbers, booleans not."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, Integral)
        or value < least
        or (most is not None and value > most)
    ):
        limit = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {limit}, but is {value!r}")


def check_number(name: str, value: float, *, zero: bool = False) -> None:
    """Refuse anything but one finite number above 0, or from 0 on with `zero`."""
    if not isinstance(value, (int, float, np.number, Tensor)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, but is {describe(value)}")
    if isinstance(value, Tensor) and value.ndim:
        raise TypeError(f"{name} must be a single number, but is {describe(value)}")
    if not (0 < value < math.inf or (zero and value == 0)):
        raise ValueError(f"{name} must be finite and {'>=' if zero else '>'} 0, but is {value}")


def is_integer(value: object) -> bool:
    """Whether a value is an integer or a tensor of integers (the commonest mistake about t)."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() and not value.is_complex()
    return isinstance(value, int)


def describe(value: object) -> str:
    """A tensor by dtype and shape, anything else by its value: the `what was given` of an error."""
    if isinstance(value, Tensor):
        kind = _name(value.dtype)
        return f"{'an' if kind.startswith('int') else 'a'} {kind} tensor of shape {tuple(value.shape)}"
    words = repr(value)
    return f"{type(value).__name__} {words if len(words) <= LONGEST_VALUE else words[:LONGEST_VALUE] + '...'}"
