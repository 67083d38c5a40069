"""From noise back to data: one step function and one loop for each sampler. Notebooks 06, 08 to 10 and 29.

A loop walks down `times`, (N + 1,), falling from at most 1 to at least `path.t_min`, and yields a State after
every step, so that the caller may plot, measure or stop; `last` runs it to its end. `x` starts as
`path.prior(shape, generator)`.

All samplers evaluate the denoiser, x0_hat = E[x0 | x_t], and split x with it: x = alpha(t) x0_hat + sigma(t)
eps_hat. They differ in how they go on from there to a lower time s:

    ddim                 mix x0_hat and eps_hat again, with the weights alpha(s) and sigma(s)
    ancestral            the same, with a part of eps_hat replaced by fresh noise
    euler                one straight piece of the ODE dx = x0_hat dalpha + eps_hat dsigma
    heun                 the same, with the mean of the estimates at both ends of the piece
    dpmpp_2m             ddim, with an x0_hat extrapolated from the last two; ancestral likewise, with eta = 1
    langevin             not at all: it shakes x at one and the same t, which leaves p_t as it is
    euler_maruyama       euler and a little langevin in every step: the reverse SDE
    annealed_langevin    langevin at one noise level after another
    predictor_corrector  ancestral, then langevin

Two loops of notebook 20 evaluate no denoiser. They go down by larger steps, and what they are handed has another type:

    renoised             a FlowMap takes x to clean data at once, and fresh noise brings it back to time s
    generated            a DrawX0 draws x0 from p(x0 | x_t), and x_s follows from the posterior

Why no step in t? Along the ODE that carries p_1 into p_0 (SDE, equation 13), dx/dt = alpha' x0_hat + sigma' eps_hat:
t only sets the pace. Steps in alpha and sigma themselves come out the same however a path keeps its time, need no
derivative (a tabulated path has none at its knots), and are defined from t = 1 on, even where alpha(1) = 0 and
sigma / alpha is infinite. Where alpha = 1 they are Karras' steps in sigma; on the straight path of a flow they are
steps in t. Euler's method becomes DDIM.

The last step: where sigma(s) = 0 there is no noise left to shape, and every sampler makes the step of `ddim_step`,
which ends on x0_hat itself. (`ancestral` does so by its own formula.) No denoiser is evaluated at sigma = 0.

Sources: Ho et al. 2020 (DDPM), arXiv 2006.11239, algorithm 2; Song, Meng & Ermon 2021 (DDIM), arXiv 2010.02502; Song
& Ermon 2019 (NCSN), arXiv 1907.05600, algorithm 1; Song et al. 2021 (SDE), arXiv 2011.13456; Karras et al. 2022 (EDM),
arXiv 2206.00364, algorithms 1 and 2; Lu et al. 2022 (DPM-Solver++), arXiv 2211.01095, algorithm 2; Zhang & Chen 2023
(DEIS), arXiv 2204.13902, section 2.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from minidiff._tensors import check_finite, check_times, check_whole, check_xt, expand, like, noise_like
from minidiff.denoisers import Denoiser, predict
from minidiff.paths import GaussianPath
from minidiff.schedules import time_at_log_snr
from minidiff.targets import Prediction

__all__ = [
    "DrawX0",
    "FlowMap",
    "State",
    "Step",
    "Variance",
    "along_the_ode",
    "ancestral",
    "ancestral_step",
    "annealed_langevin",
    "churned",
    "ddim",
    "ddim_step",
    "dpmpp_2m",
    "dpmpp_2m_step",
    "euler",
    "euler_maruyama",
    "euler_maruyama_step",
    "euler_step",
    "forward_variance",
    "generated",
    "generated_step",
    "heun",
    "heun_step",
    "langevin",
    "langevin_step",
    "last",
    "posterior_variance",
    "predict",
    "predictor_corrector",
    "predictor_corrector_step",
    "reaches_data",
    "renoised",
    "renoised_step",
    "shake",
    "walk",
]

Variance = Callable[[GaussianPath, Tensor, Tensor], Tensor]  # (path, t, s) -> the variance of the step from t to s

LARGEST_CHURN = math.sqrt(2) - 1  # one step at most doubles the variance of the noise (EDM, algorithm 2)


class State(NamedTuple):
    """Where a sampler stands after a step. t: (); x and x0_hat (the estimate that made the step): (B, *D)."""

    t: Tensor
    x: Tensor
    x0_hat: Tensor


Step = Callable[[Tensor, Tensor, Tensor], State]  # (x, t, s) -> the state at s


class FlowMap(Protocol):
    """Where the ODE carries x_t by time s: x_t, (B, *D), t and s, () -> x_s, (B, *D). Notebook 20.

    Not a Denoiser: at s = 0 it is the point where one trajectory ends, and not the mean E[x0 | x_t].
    """

    def __call__(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor: ...


class DrawX0(Protocol):
    """A draw from p(x0 | x_t): x_t, (B, *D), t, (), and a generator -> (B, *D). Not a Denoiser. Notebook 20."""

    def __call__(self, x_t: Tensor, t: Tensor, generator: torch.Generator) -> Tensor: ...


# The pieces that samplers share


def walk(step: Step, path: GaussianPath, x: Tensor, times: Tensor) -> Iterator[State]:
    """Make one step after another down `times`: the loop of every sampler. Taught in notebook 06.

    x: (B, *D), noise at times[0]. times: (N + 1,), falling. step: (x, t, s) -> State. Yields N states. Raises
    ValueError, at the call, for NaN in x or for times that do not fall within [path.t_min, 1].
    """
    check_start(path, x, times)
    return _steps(step, x, itertools.pairwise(times))


@torch.no_grad()
def _steps(step: Step, x: Tensor, pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[State]:
    for t, s in pairs:
        state = step(x, t, s)
        x = state.x
        yield state


def along_the_ode(path: GaussianPath, estimate: Prediction, t: Tensor, s: Tensor) -> Tensor:
    """How far x moves from t to s while its estimate stays: x0_hat dalpha + eps_hat dsigma (SDE, equation 13)."""
    dalpha, dsigma = path.alpha(s) - path.alpha(t), path.sigma(s) - path.sigma(t)
    return expand(dalpha, estimate.x0) * estimate.x0 + expand(dsigma, estimate.eps) * estimate.eps


def shake(path: GaussianPath, eps_hat: Tensor, noise: Tensor, t: Tensor, step: Tensor | float) -> Tensor:
    """How far one step of Langevin dynamics moves x: d score + sqrt(2 d) noise, with d = step sigma(t)^2.

    So a step is measured in units of the noise that is there. Written with eps_hat, since score = -eps_hat / sigma.
    """
    step = expand(torch.as_tensor(step, dtype=noise.dtype), noise)
    return expand(path.sigma(t), noise) * (torch.sqrt(2 * step) * noise - step * eps_hat)


def reaches_data(path: GaussianPath, s: Tensor) -> bool:
    """Whether s is the end: sigma(s) = 0. Then the step is that of `ddim_step`."""
    return not bool(path.sigma(s) > 0)


def posterior_variance(path: GaussianPath, t: Tensor, s: Tensor) -> Tensor:
    """The variance of q(x_s | x_t, x0), right for data at a single point (DDPM, equation 7: beta tilde)."""
    return path.posterior_variance(t, s)


def forward_variance(path: GaussianPath, t: Tensor, s: Tensor) -> Tensor:
    """The variance of q(x_t | x_s), right for data that is N(0, I) (DDPM, section 3.2: beta).

    0 on the last step.
    """
    _, variance = path.transition(t, s)
    return torch.where(path.sigma(s) > 0, variance, torch.zeros_like(variance))


# DDPM's sampler


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

    x, times and the errors are those of `walk`; `torch.linspace(1, 0, T + 1)` is the whole chain.
    """
    step = partial(ancestral_step, denoise, path, generator=generator, variance=variance)
    return walk(step, path, x, times)


# The ODE


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
    x0_hat, eps_hat = predict(denoise, path, x, t)
    variance = eta**2 * posterior_variance(path, t, s)
    spread = (path.sigma(s) ** 2 - variance).clamp(min=0).sqrt()
    x_s = expand(path.alpha(s), x) * x0_hat + expand(spread, x) * eps_hat
    if eta > 0:
        x_s = x_s + expand(variance.sqrt(), x) * noise_like(x, generator)
    return State(s, x_s, x0_hat)


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

    First order in the size of its steps. x, times and the errors are those of `walk`. eta in [0, 1]; a generator
    is needed where eta > 0.
    """
    _check_amount("eta", eta, 1)
    _check_noise("eta", eta, generator)
    step = partial(ddim_step, denoise, path, eta=eta, generator=generator)
    return walk(step, path, x, times)


def euler_step(denoise: Denoiser, path: GaussianPath, x: Tensor, t: Tensor, s: Tensor) -> State:
    """One step of Euler's method along the ODE, from t down to s (SDE, equation 13; EDM, algorithm 1).

    x: (B, *D) at time t. t, s: (), s < t. Put in x = alpha x0_hat + sigma eps_hat and find that this is DDIM with
    eta = 0 (DDIM, equations 13 and 14, for steps in sigma / alpha). Taught in notebook 10.
    """
    if reaches_data(path, s):
        return ddim_step(denoise, path, x, t, s)
    estimate = predict(denoise, path, x, t)
    return State(s, x + along_the_ode(path, estimate, t, s), estimate.x0)


def euler(denoise: Denoiser, path: GaussianPath, x: Tensor, times: Tensor) -> Iterator[State]:
    """Euler's method along the ODE (SDE, equation 13). First order. Taught in notebooks 09 and 10.

    x, times and the errors are those of `walk`. Draws nothing.
    """
    step = partial(euler_step, denoise, path)
    return walk(step, path, x, times)


def heun_step(denoise: Denoiser, path: GaussianPath, x: Tensor, t: Tensor, s: Tensor) -> State:
    """One step of Heun's method along the ODE, from t down to s (EDM, algorithm 1). Taught in notebook 10.

    x: (B, *D) at time t. t, s: (), s < t. Takes Euler's step, evaluates again where it ends, and goes the mean of
    both. So it evaluates twice, but once on the last step to sigma = 0. Where alpha = 1 it is EDM's step in sigma; on
    other paths EDM steps in sigma / alpha, which is of the same order, but is infinite where alpha = 0.
    """
    if reaches_data(path, s):
        return ddim_step(denoise, path, x, t, s)
    estimate = predict(denoise, path, x, t)
    first = along_the_ode(path, estimate, t, s)
    second = along_the_ode(path, predict(denoise, path, x + first, s), t, s)
    return State(s, x + (first + second) / 2, estimate.x0)


def heun(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    times: Tensor,
    *,
    churn: float = 0.0,
    churn_between: tuple[float, float] = (0.0, math.inf),
    churn_noise: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[State]:
    """Karras' sampler (EDM, algorithm 2): Heun's method, with noise put back before each step. Notebook 10.

    x, times and the errors are those of `walk`. churn, churn_between and churn_noise are EDM's S_churn, (S_tmin,
    S_tmax), in units of sigma / alpha, and S_noise. With churn = 0 nothing is drawn and the method is of second order;
    a generator is needed where churn > 0. Noise is never raised above that of t = 1, where the path ends.
    """
    _check_amount("churn", churn)
    _check_amount("churn_noise", churn_noise)
    _check_noise("churn", churn, generator)
    if not 0 <= churn_between[0] <= churn_between[1]:
        raise ValueError(f"churn_between must be (low, high) with 0 <= low <= high, but is {churn_between}")
    if churn == 0:
        return walk(partial(heun_step, denoise, path), path, x, times)
    check_start(path, x, times)
    raised = iter(churned(path, times, churn, churn_between))

    def step(x: Tensor, t: Tensor, s: Tensor) -> State:
        higher = next(raised)
        if higher > t:
            factor, variance = path.transition(higher, t)
            noise = churn_noise * noise_like(x, generator)
            x = expand(factor, x) * x + expand(variance.sqrt(), x) * noise
        return heun_step(denoise, path, x, higher, s)

    return _steps(step, x, itertools.pairwise(times))


def churned(path: GaussianPath, times: Tensor, churn: float, between: tuple[float, float] = (0.0, math.inf)) -> Tensor:
    """How far up `heun` goes before each step: to a 1 + gamma times larger sigma / alpha (EDM, algorithm 2, line 5).

    times: (N + 1,). gamma is churn / N, but at most sqrt(2) - 1, and 0 outside `between`. Returns (N,) times.
    """
    starts = times[:-1]
    gamma = min(churn / len(starts), LARGEST_CHURN)
    log_snr, (low, high) = path.log_snr(starts), between
    raised = like(time_at_log_snr(path, log_snr - 2 * math.log1p(gamma)), starts)
    ratio = torch.exp(-log_snr / 2)
    return torch.where((low <= ratio) & (ratio <= high), torch.maximum(raised, starts), starts)


def dpmpp_2m_step(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    previous: tuple[Tensor, Tensor] | None = None,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> State:
    """One step of DPM-Solver++(2M), from t down to s (DPM-Solver++, algorithm 2). Taught in notebook 10.

    x: (B, *D) at time t. t, s: (), s < t. previous: the time before t and the estimate x0_hat that was made there, or
    None at the start. It is a step of DDIM with x0_hat extrapolated, along a straight line in log-SNR, to the middle
    of the step. The State holds x0_hat as the denoiser gave it. eta is DDIM's: with 1 it is a step of DDPM's sampler,
    extrapolated likewise.
    """
    if previous is None or reaches_data(path, s):
        return ddim_step(denoise, path, x, t, s, eta=eta, generator=generator)
    before, x0_before = previous
    x0_hat, _ = predict(denoise, path, x, t)
    h = path.log_snr(s) - path.log_snr(t)
    h_before = path.log_snr(t) - path.log_snr(before)  # infinite after a start at alpha = 0: then nothing is added
    middle = x0_hat + expand(h / (2 * h_before), x) * (x0_hat - x0_before)
    step = ddim_step(lambda *_: middle, path, x, t, s, eta=eta, generator=generator)
    return State(s, step.x, x0_hat)


def dpmpp_2m(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    times: Tensor,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[State]:
    """DPM-Solver++(2M): second order, one evaluation a step (DPM-Solver++, algorithm 2). Notebook 10.

    x, times and the errors are those of `walk`. Its first step, which has no memory, and its last, to sigma = 0,
    are DDIM's. eta = 0 draws nothing. With eta in (0, 1] and a generator it draws fresh noise as `ddim` does; eta = 1
    is SDE-DPM-Solver++(2M): the sampler of DDPM with a memory, of second order where that is of first (weak orders).
    """
    _check_amount("eta", eta, 1)
    _check_noise("eta", eta, generator)
    previous = None

    def step(x: Tensor, t: Tensor, s: Tensor) -> State:
        nonlocal previous
        state = dpmpp_2m_step(denoise, path, x, t, s, previous=previous, eta=eta, generator=generator)
        previous = t, state.x0_hat
        return state

    return walk(step, path, x, times)


# The reverse SDE


def euler_maruyama_step(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    stochasticity: float = 1.0,
    generator: torch.Generator | None = None,
) -> State:
    """One step of the Euler-Maruyama method for the reverse SDE, from t down to s. Taught in notebook 09.

    x: (B, *D) at time t. t, s: (), s < t. With c the stochasticity, the SDE is `dx = (f x - (1 + c^2) / 2 g^2 score)
    dt + c g dw` (DEIS, section 2). That is the ODE and, on top of it, Langevin dynamics of size c^2 g^2 / 2 (EDM,
    equation 6). g^2 dt over a step is the variance that the path adds there.
    """
    if reaches_data(path, s):
        return ddim_step(denoise, path, x, t, s)
    estimate = predict(denoise, path, x, t)
    move = along_the_ode(path, estimate, t, s)
    if stochasticity > 0:
        _, variance = path.transition(t, s)
        step = stochasticity**2 * variance / (2 * path.sigma(t) ** 2)
        move = move + shake(path, estimate.eps, noise_like(x, generator), t, step)
    return State(s, x + move, estimate.x0)


def euler_maruyama(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    times: Tensor,
    *,
    stochasticity: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[State]:
    """The reverse SDE at any stochasticity: all of them have the same marginals. Weak order 1. Notebook 09.

    stochasticity: 0 is the ODE (SDE, equation 13), where nothing is drawn and no generator is needed; 1 is Song's
    reverse SDE (SDE, equation 6). x, times and the errors are those of `walk`.
    """
    _check_amount("stochasticity", stochasticity)
    _check_noise("stochasticity", stochasticity, generator)
    step = partial(euler_maruyama_step, denoise, path, stochasticity=stochasticity, generator=generator)
    return walk(step, path, x, times)


# Langevin dynamics


def langevin_step(
    denoise: Denoiser, path: GaussianPath, x: Tensor, t: Tensor, *, step: float, generator: torch.Generator
) -> State:
    """One step of Langevin dynamics at t, which leaves p_t as it is up to O(step) (NCSN, equation 4). Notebook 08.

    x: (B, *D) at time t, (). step: in units of sigma(t)^2, small against 1. NCSN's step alpha_i is 2 step sigma^2.
    """
    x0_hat, eps_hat = predict(denoise, path, x, t)
    return State(t, x + shake(path, eps_hat, noise_like(x, generator), t, step), x0_hat)


def langevin(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    t: Tensor,
    *,
    steps: int,
    step: float = 0.1,
    generator: torch.Generator,
) -> Iterator[State]:
    """Langevin dynamics at one noise level (NCSN, equation 4). It hardly ever finds its way between modes. Notebook 08.

    x: (B, *D), any start. t: (), in [path.t_min, 1], with sigma(t) > 0. Yields `steps` states.
    """
    check_xt(x, t, look=False)
    check_finite(x, "x")
    check_whole("steps", steps)
    _check_amount("step", step, 1)
    if t.ndim > 0 or not path.t_min <= float(t) <= 1 or reaches_data(path, t):
        raise ValueError(f"t must be one time in [{path.t_min}, 1] with sigma(t) > 0, but is {t}")
    shaken = partial(langevin_step, denoise, path, step=step, generator=generator)
    return _steps(lambda x, t, _: shaken(x, t), x, [(t, t)] * steps)


def annealed_langevin(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    times: Tensor,
    *,
    steps: int = 40,
    step: float = 0.1,
    generator: torch.Generator,
) -> Iterator[State]:
    """Annealed Langevin dynamics: `steps` steps of Langevin at each time in turn (NCSN, algorithm 1). Notebook 08.

    x, times and the errors are those of `walk`. Nothing is done at times[0], where x is right from the start. step
    is in units of sigma^2 and the same at every level, as in NCSN. Yields a state for each level.
    """
    check_whole("steps", steps)
    _check_amount("step", step, 1)

    def level(x: Tensor, t: Tensor, s: Tensor) -> State:
        if reaches_data(path, s):
            return ddim_step(denoise, path, x, t, s)
        for _ in range(steps):
            state = langevin_step(denoise, path, x, s, step=step, generator=generator)
            x = state.x
        return state

    return walk(level, path, x, times)


def predictor_corrector_step(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    snr: float = 0.16,
    corrections: int = 1,
    generator: torch.Generator,
) -> State:
    """One step of the predictor, from t down to s, then corrections at s (SDE, algorithms 1 to 5). Notebook 29.

    x: (B, *D) at time t. t, s: (), s < t. The predictor is `ancestral_step`. The corrector is Langevin dynamics whose
    step d = 2 (snr |noise| / |score|)^2 is measured on the batch, as mean norms. (The paper's factor alpha_i, 1 on VE
    and within 2 % of 1 on DDPM's table, is left out.)
    """
    state = ancestral_step(denoise, path, x, t, s, generator=generator)
    if reaches_data(path, s):
        return state
    x = state.x
    for _ in range(corrections):
        _, eps_hat = predict(denoise, path, x, s)
        noise = noise_like(x, generator)
        ratio = noise.flatten(1).norm(dim=1).mean() / eps_hat.flatten(1).norm(dim=1).mean()
        x = x + shake(path, eps_hat, noise, s, 2 * (snr * ratio) ** 2)
    return State(s, x, state.x0_hat)


def predictor_corrector(
    denoise: Denoiser,
    path: GaussianPath,
    x: Tensor,
    times: Tensor,
    *,
    snr: float = 0.16,
    corrections: int = 1,
    generator: torch.Generator,
) -> Iterator[State]:
    """Song's predictor-corrector sampler (SDE, algorithms 1 to 5; snr from appendix G). Taught in notebook 29.

    x, times and the errors are those of `walk`. Evaluates the denoiser 1 + corrections times a step.
    """
    _check_amount("snr", snr)
    check_whole("corrections", corrections)
    step = partial(predictor_corrector_step, denoise, path, snr=snr, corrections=corrections, generator=generator)
    return walk(step, path, x, times)


# Few steps, by what is no denoiser


def renoised_step(
    flow_map: FlowMap, path: GaussianPath, x: Tensor, t: Tensor, s: Tensor, *, generator: torch.Generator
) -> State:
    """Jump to clean data, then perturb them up to s (Song et al. 2023, arXiv 2303.01469, algorithm 1). Notebook 20.

    x: (B, *D) at time t. t, s: (), s < t. The state's x0_hat is where the jump ended.
    """
    check_xt(x, t)
    x0 = flow_map(x, t, torch.zeros_like(t))
    return State(s, path.perturb(x0, s, noise_like(x, generator)), x0)


def renoised(
    flow_map: FlowMap, path: GaussianPath, x: Tensor, times: Tensor, *, generator: torch.Generator
) -> Iterator[State]:
    """A consistency model in several steps (Song et al. 2023, arXiv 2303.01469, algorithm 1). Notebook 20.

    x, times and the errors are those of `walk`. With the exact flow map every state has the marginal of its time.
    """
    return walk(partial(renoised_step, flow_map, path, generator=generator), path, x, times)


def generated_step(
    draw: DrawX0, path: GaussianPath, x: Tensor, t: Tensor, s: Tensor, *, generator: torch.Generator
) -> State:
    """Draw x0, then x_s from q(x_s | x_t, x0) (Xiao et al. 2022, arXiv 2112.07804). Notebook 20.

    x: (B, *D) at time t. t, s: (), s < t. The state's x0_hat is the draw. `ancestral_step` has the mean in its place.
    """
    check_xt(x, t)
    x0 = draw(x, t, generator)
    mean, variance = path.posterior(x, x0, t, s)
    return State(s, mean + expand(variance.sqrt(), x) * noise_like(x, generator), x0)


def generated(
    draw: DrawX0, path: GaussianPath, x: Tensor, times: Tensor, *, generator: torch.Generator
) -> Iterator[State]:
    """Large random steps (Xiao et al. 2022, arXiv 2112.07804). Notebook 20.

    x, times and the errors are those of `walk`. With exact draws of p(x0 | x_t) it is exact in any number of steps.
    """
    return walk(partial(generated_step, draw, path, generator=generator), path, x, times)


def last(states: Iterable[State]) -> Tensor:
    """Run a sampler to its end and return its samples, (B, *D). Raises ValueError where it made no step."""
    state = None
    for state in states:  # noqa: B007 - only the last one counts
        pass
    if state is None:
        raise ValueError("states must hold at least one state, but is empty")
    return state.x


# Checks at the door of the loops


def check_start(path: GaussianPath, x: Tensor, times: Tensor) -> None:
    """Refuse samples and times that no sampler can walk down from."""
    check_times(times, path.t_min)
    check_xt(x, times[0])
    check_finite(x, "x")


def _check_amount(name: str, value: float, most: float = math.inf) -> None:
    if not 0 <= value <= most or math.isinf(value):
        raise ValueError(f"{name} must lie in [0, {most}{')' if math.isinf(most) else ']'}, but is {value}")


def _check_noise(name: str, value: float, generator: torch.Generator | None) -> None:
    if value > 0 and generator is None:
        raise ValueError(f"{name} = {value} draws noise, so generator must be given")
