"""How probable is a sample under a diffusion model? The value, from its ODE. Notebooks 09 and 29. (A bound: `bounds`.)

All log-likelihoods are natural logarithms of densities, in nats per sample: of data in their own units, with d
numbers each. `ode_log_likelihood` needs a path whose rates are finite. Densities of pictures say nothing until the
levels of a pixel are mentioned: `dequantised` and `bits_per_dim` do that, for pixels in [-1, 1].

Sources: Song et al. 2021 (SDE), arXiv 2011.13456, section 4.3 and equation 39; Chen et al. 2018, arXiv 1806.07366,
theorem 1 (instantaneous change of variables); Hutchinson 1990, doi 10.1080/03610919008812866, and Grathwohl et al.
2019 (FFJORD), arXiv 1810.01367, section 3.1 (the trace from random probes); Theis, van den Oord & Bethge 2016, arXiv
1511.01844, section 3.1 (dequantisation).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from minidiff._tensors import (
    check_samples,
    check_whole,
    check_xt,
    describe,
    expand,
    in_double,
    like,
    noise_like,
    squares,
)
from minidiff.denoisers import Denoiser, predict
from minidiff.paths import GaussianPath
from minidiff.targets import target

__all__ = [
    "LogLikelihood",
    "bits_per_dim",
    "dequantised",
    "normal_probe",
    "ode_log_likelihood",
    "rademacher_probe",
    "velocity_and_divergence",
]

Probe = Callable[[Tensor, torch.Generator], Tensor]  # (x, generator) -> shape of x, E[v v^T] = I

EARLIEST = 1e-5  # where the ODE starts on a path that reaches clean data (SDE, appendix C)
SHOW_AFTER = 3  # seconds without a progress bar
LEVEL_TOLERANCE = 1e-3  # of the gap between two levels of a pixel: what float32 may lose, and no more


# The log-likelihood by the probability-flow ODE


class LogLikelihood(NamedTuple):
    """log p(x) by the probability-flow ODE, in nats per sample, in float64 on the CPU.

    value: (B,). standard_error: (B,), what random probes leave uncertain in each value: 0 with the exact divergence,
    NaN with a single probe. latent: (B, *D), where the ODE takes each x at t = 1. evaluations: calls of the denoiser,
    summed over chunks.
    """

    value: Tensor
    standard_error: Tensor
    latent: Tensor
    evaluations: int


def rademacher_probe(x: Tensor, generator: torch.Generator) -> Tensor:
    """Signs, +1 or -1, in the shape of x: of all probes those of the least variance (Hutchinson 1990)."""
    signs = torch.randint(0, 2, x.shape, generator=generator, device=generator.device)
    return 2 * like(signs, x) - 1


def normal_probe(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers in the shape of x (FFJORD, section 3.1)."""
    return noise_like(x, generator)


@torch.no_grad()
def velocity_and_divergence(
    denoise: Denoiser, path: GaussianPath, x: Tensor, t: Tensor, probes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """dx/dt of the probability-flow ODE and its divergence at x (SDE, equations 13 and 40). Notebook 09.

    x: (B, *D). t: (). probes: (P, B, *D) for Hutchinson's estimator, one row of estimates v^T J v for each, whose mean
    estimates the divergence; None for the exact one, which costs d backward passes. Returns (B, *D) and (P, B), P = 1
    for the exact one. The velocity is alpha' x0 + sigma' eps at the denoiser's estimates: finite also where alpha = 0.
    """
    check_xt(x, t)
    return _value_and_trace(lambda z: _velocity(denoise, path, z, t), x, probes)


@torch.no_grad()
def ode_log_likelihood(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    *,
    probes: int = 0,
    generator: torch.Generator | None = None,
    draw_probe: Probe = rademacher_probe,
    t0: float | None = None,
    to_data: bool = True,
    tolerance: float = 1e-5,
    chunk: int = 1024,
) -> LogLikelihood:
    """log p(x) by the change of variables along the probability-flow ODE (SDE, equation 39). Notebook 09.

    x: (B, *D). It is carried from t0 to t = 1, where its density is that of the path's prior, while the divergence
    adds up. probes = 0 takes the exact divergence, for d up to about 100. With probes > 0, it is Hutchinson's
    estimate from that many probes for each sample, drawn once for the whole way.

    t0: where the ODE starts, since the rates of most paths are infinite where sigma = 0; the larger of 1e-5 and
    path.t_min unless given. The noise that is left there: by default, x is data, and the stretch from 0 to t0 is one
    Euler step in the variable sigma^2 / alpha^2, in which the ODE is smooth. It leaves an error of order sigma(t0)^4,
    where the custom of reading the density of x_t0 at x leaves sigma(t0)^2. With `to_data=False`, x is a noisy point
    x_t0, and the answer is log p_t0(x).

    What the prior has wrong about p_1 stays in the answer: on vp_linear, where alpha(1) = 0.0066, less than 1e-4 nats a
    number for data of mean 0. A tabulated path will do, but its rates jump at every knot, and the solver loses 1e-2
    nats there: evaluate a network along `vp_linear`, whatever path it was trained on, since all it knows is log-SNR.

    The solver is scipy's RK45 with `tolerance` both relative and absolute, in float64. The denoiser is evaluated in the
    dtype of x: float64 for numbers to trust. `chunk` samples are one system: its error is controlled on average
    over them.

    Raises ValueError for NaN in x, for a path whose rates are not finite on [t0, 1]; FloatingPointError where the
    denoiser returns NaN or the solver gives up.
    """
    t0 = max(EARLIEST, path.t_min) if t0 is None else t0
    _check_request(path, x, probes, generator, t0, tolerance, chunk)
    parts = []
    with tqdm(total=len(x), desc="log-likelihood", unit="point", delay=SHOW_AFTER) as bar:
        for points in x.split(chunk):
            drawn = torch.stack([draw_probe(points, generator) for _ in range(probes)]) if probes else None
            parts.append(_chunk_log_likelihood(denoise, path, points, drawn, t0, to_data, tolerance, bar))
    value, error, latent = (torch.cat(column) for column in list(zip(*parts, strict=True))[:3])
    return LogLikelihood(value, error, latent, sum(part.evaluations for part in parts))


def _chunk_log_likelihood(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    probes: Tensor | None,
    t0: float,
    to_data: bool,
    tolerance: float,
    bar: tqdm,
) -> LogLikelihood:
    log_det, evaluations = 0.0, 0
    if to_data:
        x, log_det = _leave_data(denoise, path, x, t0, probes)
        evaluations = 1
    latent, added, more = _solve(denoise, path, x, probes, t0, tolerance, bar)
    one = torch.ones((), dtype=torch.float64)
    total = float(path.alpha(one) ** 2 + path.sigma(one) ** 2)
    prior = -0.5 * (squares(latent) / total + latent[0].numel() * math.log(2 * math.pi * total))
    values = prior + added + log_det  # (P, B)
    error = values.std(dim=0) / math.sqrt(len(values)) if len(values) > 1 else torch.full_like(prior, math.nan)
    return LogLikelihood(
        values.mean(dim=0), torch.zeros_like(prior) if probes is None else error, latent, evaluations + more
    )


def _leave_data(
    denoise: Denoiser, path: GaussianPath, x: Tensor, t0: float, probes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """From clean data to time t0: x_t0, (B, *D), and the logarithm of the volume it gained, (P, B).

    With y = x_t / alpha and v = (sigma / alpha)^2 the ODE reads dy/dv = (y - E[x0 | x_t]) / 2v, which is smooth at
    v = 0; this is its Euler step from there.
    """
    t = torch.tensor(t0, dtype=torch.float64)
    alpha = expand(path.alpha(t), x)
    half_way, trace = _value_and_trace(lambda y: 0.5 * (y - denoise(alpha * y, t)), x, probes)
    return alpha * (x + half_way), x[0].numel() * float(path.alpha(t).log()) + in_double(trace)


def _solve(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    probes: Tensor | None,
    t0: float,
    tolerance: float,
    bar: tqdm,
) -> tuple[Tensor, Tensor, int]:
    """Carry x from t0 to 1: where it ends, (B, *D), the integral of the divergence, (P, B), and the evaluations."""
    shape, rows = x.shape, 1 if probes is None else len(probes)

    def rates(t: float, state: np.ndarray) -> np.ndarray:
        points = like(torch.from_numpy(state[: x.numel()]).reshape(shape), x)
        velocity, divergence = velocity_and_divergence(denoise, path, points, torch.tensor(t).double(), probes)
        both = torch.cat([in_double(velocity.flatten()), in_double(divergence.flatten())])
        if not bool(torch.isfinite(both).all()):
            raise FloatingPointError(f"the denoiser or its derivative is NaN or infinite at t = {t:.6g}")
        return both.numpy()

    from scipy.integrate import RK45  # here, since SciPy takes half a second

    start = np.concatenate([in_double(x.flatten()).numpy(), np.zeros(rows * len(x))])
    solver, before = RK45(rates, t0, start, 1.0, rtol=tolerance, atol=tolerance), bar.n
    while solver.status == "running":
        message = solver.step()
        bar.update(before + int(len(x) * (solver.t - t0) / (1 - t0)) - bar.n)
    if solver.status == "failed":
        raise FloatingPointError(f"the solver gave up at t = {solver.t:.6g}: {message}")
    end = torch.from_numpy(solver.y)
    return end[: x.numel()].reshape(shape), end[x.numel() :].reshape(rows, -1), solver.nfev


def _velocity(denoise: Denoiser, path: GaussianPath, x: Tensor, t: Tensor) -> Tensor:
    """The velocity at a denoiser's estimates, finite also where alpha = 0."""
    return target("velocity", path, *predict(denoise, path, x, t), t)


def _value_and_trace(f: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor | None) -> tuple[Tensor, Tensor]:
    """f(x), (B, *D), and v^T J v for each probe, (P, B), or the trace of each sample's Jacobian J itself, (1, B).

    f treats every sample alike and apart, so that one backward pass serves them all.
    """
    value, pull = torch.func.vjp(f, x)
    if probes is None:  # the unit vectors, which together give the trace itself
        d = x[0].numel()
        vectors = torch.eye(d, dtype=x.dtype, device=x.device).reshape(d, 1, *x.shape[1:]).expand(d, *x.shape)
    else:
        vectors = probes
    # row by row, as jacrev with chunk_size=1: in a vmap over rows, networks in channels_last order do not run
    products = torch.stack([(pull(v.contiguous())[0] * v).flatten(1).sum(dim=1) for v in vectors])
    return value, products.sum(dim=0, keepdim=True) if probes is None else products


def _check_request(
    path: GaussianPath,
    x: Tensor,
    probes: int,
    generator: torch.Generator | None,
    t0: float,
    tolerance: float,
    chunk: int,
) -> None:
    """Refuse a likelihood that nobody can compute, before the work begins."""
    check_samples(x, "x")
    for name, number, least in (("probes", probes, 0), ("chunk", chunk, 1)):
        check_whole(name, number, least)
    if probes and not isinstance(generator, torch.Generator):
        raise TypeError(f"probes = {probes} draws, so generator must be a torch.Generator, but is {generator!r}")
    if not 1e-12 <= tolerance < 1:
        raise ValueError(f"tolerance must lie in [1e-12, 1), but is {tolerance}")
    if not max(path.t_min, 0) <= t0 < 1:
        raise ValueError(f"t0 must lie in [{path.t_min}, 1), but is {t0}")
    times = torch.linspace(t0, 1, 257, dtype=torch.float64)
    for name, values in zip(
        ("alpha'", "sigma'", "1 / sigma"), (*path.rates(times), 1 / path.sigma(times)), strict=True
    ):
        if not bool(torch.isfinite(values).all()):
            where = float(times[~torch.isfinite(values)][0])
            raise ValueError(
                f"path must have finite rates on [t0, 1] = [{t0}, 1], but {name} is not at t = {where:.6g}; "
                "a path such as vp_linear has them for every t0 > 0"
            )


# Pictures


def dequantised(x: Tensor, generator: torch.Generator, levels: int = 256) -> Tensor:
    """Add noise that fills the gaps between the levels of a pixel, evenly (Theis et al., section 3.1). Notebook 29.

    x: (B, *D) in [-1, 1], on levels 2 / (levels - 1) apart, as `data` scales them: 256 for MNIST, 17 for the digits.
    Each level becomes an interval of that width around it, so that the whole reaches from -1 - 1 / (levels - 1) to
    1 + 1 / (levels - 1), without gap or overlap.
    """
    gap = _gap(levels)
    check_samples(x, "x")
    place = (x + 1) / gap
    if not bool(((place - place.round()).abs() < LEVEL_TOLERANCE).all()) or float(x.abs().max()) > 1 + gap / 4:
        raise ValueError(f"x must lie on the {levels} levels -1, {-1 + gap:.6g}, ..., 1, but does not: was it scaled?")
    u = torch.rand(x.shape, dtype=x.dtype, device=generator.device, generator=generator).to(x.device)
    return x + gap * (u - 0.5)


def bits_per_dim(log_likelihood: Tensor, d: int, levels: int = 256) -> Tensor:
    """What a log-density of dequantised pixels costs in bits for each of d numbers. Notebook 29.

    log_likelihood: (B,), in nats, of `dequantised` pictures in [-1, 1]; d: the numbers of each, such as 784. A level
    is an interval of width w = 2 / (levels - 1), and -log2 of its probability is on average at most
    -(log_likelihood + d log w) / (d log 2) (Theis et al., section 3.1). A model that knows nothing, spread evenly over
    all levels, costs log2(levels): 8 bits for 256.
    """
    if not isinstance(log_likelihood, Tensor) or not log_likelihood.is_floating_point():
        raise TypeError(
            f"log_likelihood must be a floating-point tensor of shape (B,), but is {describe(log_likelihood)}"
        )
    check_whole("d", d)
    return -(log_likelihood / d + math.log(_gap(levels))) / math.log(2)


def _gap(levels: int) -> float:
    """The distance of neighbouring levels of a pixel in [-1, 1]."""
    check_whole("levels", levels, 2)
    return 2 / (levels - 1)
