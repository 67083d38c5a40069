"""From noise back to data: one step function and one loop for each sampler. Taught in notebooks 06, 07 and 13.

A loop walks down `times`, (N + 1,), falling from at most 1 to at least `path.t_min`, and yields a State after
every step, so that the caller may plot, measure or stop. `x` starts as `path.prior(shape, generator)`. Where the
last time has sigma = 0 the step ends on x0_hat itself: the posterior's variance is 0 there, in every sampler, and
no noise is added. That is the one place where the last step is made, and it follows from the formulas.

Sources: Ho et al. 2020 (DDPM), arXiv 2006.11239, algorithm 2; Song, Meng & Ermon 2021 (DDIM), arXiv 2010.02502.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff._tensors import check_finite, check_times, check_xt, expand, noise_like
from minidiff.denoisers import Denoiser
from minidiff.paths import GaussianPath

__all__ = [
    "State",
    "Variance",
    "ancestral",
    "ancestral_step",
    "ddim",
    "ddim_step",
    "forward_variance",
    "last",
    "posterior_variance",
]

Variance = Callable[[GaussianPath, Tensor, Tensor], Tensor]  # (path, t, s) -> the variance of the step from t to s


class State(NamedTuple):
    """Where a sampler stands after a step. t: (); x and x0_hat (the estimate that made the step): (B, *D)."""

    t: Tensor
    x: Tensor
    x0_hat: Tensor


def posterior_variance(path: GaussianPath, t: Tensor, s: Tensor) -> Tensor:
    """The variance of q(x_s | x_t, x0), right for data at a single point (DDPM, equation 7: beta tilde)."""
    _, variance = path.transition(t, s)
    return variance * path.sigma(s) ** 2 / path.sigma(t) ** 2


def forward_variance(path: GaussianPath, t: Tensor, s: Tensor) -> Tensor:
    """The variance of q(x_t | x_s), right for data that is N(0, I) (DDPM, section 3.2: beta).

    0 on the last step.
    """
    _, variance = path.transition(t, s)
    return torch.where(path.sigma(s) > 0, variance, torch.zeros_like(variance))


def ancestral_step(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    generator: torch.Generator,
    variance: Variance = posterior_variance,
) -> State:
    """One step of DDPM's sampler, from t down to s (DDPM, algorithm 2, line 4). Taught in notebook 06.

    x: (B, *D) at time t. t, s: (), s < t. Draws x_s from q(x_s | x_t, x0 = E[x0 | x_t]).
    """
    check_xt(x, t)
    x0_hat = denoise(x, t)
    mean, _ = path.posterior(x, x0_hat, t, s)
    return State(s, mean + expand(variance(path, t, s).sqrt(), x) * noise_like(x, generator), x0_hat)


@torch.no_grad()
def ancestral(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator,
    variance: Variance = posterior_variance,
) -> Iterator[State]:
    """DDPM's sampler (DDPM, algorithm 2). Taught in notebook 06.

    x: (B, *D), noise at times[0]. times: (N + 1,), falling; `torch.linspace(1, 0, T + 1)` is the whole chain.
    Yields N states. Raises ValueError for NaN in x or for times that do not fall within [path.t_min, 1].
    """
    check_times(times, path.t_min)
    check_xt(x, times[0])
    check_finite(x, "x")
    for t, s in itertools.pairwise(times):
        state = ancestral_step(denoise, path, x, t, s, generator=generator, variance=variance)
        x = state.x
        yield state


def ddim_step(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> State:
    """One step of DDIM, from t down to s (DDIM, equation 12). Taught in notebook 10; used from notebook 13 on.

    x: (B, *D) at time t. t, s: (), s < t. eta = 0 draws nothing; eta = 1 has the variance of DDPM's sampler.
    """
    check_xt(x, t)
    x0_hat = denoise(x, t)
    eps_hat = (x - expand(path.alpha(t), x) * x0_hat) / expand(path.sigma(t), x)
    variance = eta**2 * posterior_variance(path, t, s)
    spread = (path.sigma(s) ** 2 - variance).clamp(min=0).sqrt()
    x_s = expand(path.alpha(s), x) * x0_hat + expand(spread, x) * eps_hat
    if eta > 0:
        x_s = x_s + expand(variance.sqrt(), x) * noise_like(x, generator)
    return State(s, x_s, x0_hat)


@torch.no_grad()
def ddim(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    times: Tensor,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[State]:
    """DDIM: the same marginals in fewer steps (DDIM, section 4). Taught in notebook 10; used from notebook 13 on.

    x, times and the errors are those of `ancestral`. eta in [0, 1]; a generator is needed where eta > 0.
    """
    check_times(times, path.t_min)
    check_xt(x, times[0])
    check_finite(x, "x")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], but is {eta}")
    if eta > 0 and generator is None:
        raise ValueError(f"eta = {eta} draws noise, so generator must be given")
    for t, s in itertools.pairwise(times):
        state = ddim_step(denoise, path, x, t, s, eta=eta, generator=generator)
        x = state.x
        yield state


def last(states: Iterable[State]) -> Tensor:
    """Run a sampler to its end and return its samples, (B, *D). Raises ValueError where it made no step."""
    state = None
    for state in states:  # noqa: B007 - only the last one counts
        pass
    if state is None:
        raise ValueError("states must hold at least one state, but is empty")
    return state.x
