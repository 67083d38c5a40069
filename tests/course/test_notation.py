"""The notation table of notebook 10. Every row of it is a conversion, and the test that holds it carries the row.

`@row` says what the thing is called: in this course, by the five papers and by the two libraries. The body computes our
side with the package, and each other side in the other one's letters. `python -m tests.tools.notation` makes the
notebook's tables from these rows, in this order. A test in `tests/repository/test_notation_tool.py` fails where the
notebook holds anything else, and where a test here has no row.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    ScoreSdeVeScheduler,
)
from torch import Tensor, nn

from minidiff.denoisers import from_network
from minidiff.exact import GaussianMixture, log_prob, mixture_denoiser, posterior_mean, score
from minidiff.flows import flow_matching_objective
from minidiff.likelihood import velocity_and_divergence
from minidiff.paths import GaussianPath
from minidiff.samplers import (
    along_the_ode,
    ancestral_step,
    churned,
    ddim_step,
    euler_maruyama_step,
    euler_step,
    forward_variance,
    heun,
    heun_step,
    langevin_step,
    last,
    posterior_variance,
    predict,
)
from minidiff.schedules import ddpm_linear, edm, karras_times, rectified_flow, ve, vp_linear
from minidiff.targets import Prediction, network_output, solve, target
from minidiff.training import Batch, edm_weight, noise_variance_weight
from tests.cases import normal, number, random_mixture
from tests.tools.notation import row

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# Our side: the paths, and times on them
T = 1000
DDPM, VP, VE, EDM, FLOW = ddpm_linear(T), vp_linear(), ve(), edm(), rectified_flow()
BY_SIGMA = GaussianPath(alpha=torch.ones_like, sigma=lambda t: 1 * t)  # Karras' choice, s = 1 and sigma(t) = t
SCALED = GaussianPath(alpha=torch.ones_like, sigma=lambda t: DDPM.sigma(t) / DDPM.alpha(t))  # DDPM in x / alpha
K = torch.tensor([10, 137, 500, 999, 1000])
AT_K = K.double() / T
BEFORE_K = (K.double() - 1) / T
TIMES = torch.tensor([0.05, 0.3, 0.7, 0.95], dtype=torch.float64)

# Ho's letters; entry t - 1 of a table belongs to his t
BETA = np.linspace(1e-4, 0.02, T)
ALPHA = 1 - BETA
ALPHA_BAR = np.cumprod(ALPHA)
ALPHA_BAR_BEFORE = np.append(1, ALPHA_BAR[:-1])
BETA_TILDE = (1 - ALPHA_BAR_BEFORE) / (1 - ALPHA_BAR) * BETA  # equation 7

SETTINGS = dict(num_train_timesteps=T, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")


def at(table) -> Tensor:
    """The entries of a table that starts at step 1, or at timestep 0, that belong to our steps K."""
    return torch.as_tensor(table)[K - 1].double()


def song_beta(t):
    return 0.1 + 19.9 * t


def song_b(t):
    """The integral of beta from 0 to t."""
    return 0.1 * t + 19.9 * t**2 / 2


def song_ve_sigma(t):
    return 0.01 * (50 / 0.01) ** t


def karras_sigma(t):
    """VP in Karras' table 1."""
    return torch.sqrt(torch.exp(19.9 * t**2 / 2 + 0.1 * t) - 1)


def karras_s(t):
    return 1 / torch.sqrt(torch.exp(19.9 * t**2 / 2 + 0.1 * t))


def lu_alpha(t):
    """VP in Lu et al.: the logarithm of alpha_t is given."""
    return torch.exp(-19.9 / 4 * t**2 - 0.1 / 2 * t)


def lu_sigma(t):
    return torch.sqrt(1 - lu_alpha(t) ** 2)


def lu_lambda(t):
    """Half of our log-SNR."""
    return torch.log(lu_alpha(t) / lu_sigma(t))


def lu_drift_and_diffusion(t):
    """f(t) = dln(alpha_t)/dt and g(t)^2 = dsigma_t^2/dt - 2 f(t) sigma_t^2, by automatic differentiation."""
    one = torch.ones_like(t)
    _, f = torch.func.jvp(lambda t: lu_alpha(t).log(), (t,), (one,))
    _, slope = torch.func.jvp(lambda t: lu_sigma(t) ** 2, (t,), (one,))
    return f, slope - 2 * f * lu_sigma(t) ** 2


def to_d(x, sigma, denoised):
    """k-diffusion's slope."""
    return (x - denoised) / sigma


def get_ancestral_step(sigma_from, sigma_to, eta=1.0):
    """k-diffusion's split of a step: how far down, and how much noise goes on top."""
    sigma_up = eta * sigma_to * (1 - sigma_to**2 / sigma_from**2) ** 0.5
    return (sigma_to**2 - sigma_up**2) ** 0.5, sigma_up


def equal(ours, theirs) -> None:
    """Formula against formula, in float64."""
    theirs = torch.as_tensor(theirs, dtype=torch.float64).expand_as(ours)
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def near(ours, theirs, rtol=3e-4) -> None:
    """Against a library's tables, which are float32."""
    theirs = torch.as_tensor(theirs).double().expand_as(ours)
    torch.testing.assert_close(ours.double(), theirs, rtol=rtol, atol=2e-5)


class Truth(NamedTuple):
    """A noisy point, what it means, and the score, by automatic differentiation. x: (5, 2)."""

    x: Tensor
    x0: Tensor
    eps: Tensor
    score: Tensor


def truth(path, t, make_generator) -> Truth:
    mixture: GaussianMixture = random_mixture(3, (2,), make_generator(0))
    x = path.perturb(mixture.sample(5, make_generator(1))[0], t, normal((5, 2), make_generator(2)))
    x0 = posterior_mean(mixture, path, x, t)
    score = torch.func.grad(lambda x: log_prob(mixture, path, x, t).sum())(x)
    return Truth(x, x0, predict(lambda *_: x0, path, x, t).eps, score)


def lipman_v(path, t, make_generator) -> tuple[Truth, float, Tensor]:
    """The marginal velocity in Lipman's time, the mean of equation 21: (E[x_1 | x] - x) / (1 - t)."""
    found, theirs = truth(path, t, make_generator), 1 - float(t)
    return found, theirs, (found.x0 - found.x) / (1 - theirs)


class Spy(nn.Module):
    """A network that keeps what it was shown, and answers with a fixed function of it."""

    def forward(self, x, log_snr):
        self.x, self.log_snr = x, log_snr
        return torch.sin(3 * x) + 0.1


def noises(make_generator):
    """x0, eps: (5, 2)."""
    return normal((5, 2), make_generator(0)), normal((5, 2), make_generator(1))


# --- what the paths are called ---------------------------------------------------------------------------------------


@row(
    "data, noisy data",
    "$x_0$, $x_t$",
    papers=(
        "$x_0$, $x_t$",
        "$x(0)$, $x(t)$",
        r"$y$, $x = s(t)\,(y + n)$",
        r"$x_1$, $x_t = t\,x_1 + (1-t)\,x_0$",
        "$x_0$, $x_t$",
    ),
    libraries=("`original_samples`, `add_noise(...)`", "`input`, `input + noise * sigma`"),
)
def test_data_and_noisy_data(make_generator):
    x0, eps = noises(make_generator)
    scheduler = DDPMScheduler(**SETTINGS)
    for k, t, bar in zip(K, AT_K, at(ALPHA_BAR), strict=True):
        ours = DDPM.perturb(x0, t, eps)
        equal(ours, bar.sqrt() * x0 + (1 - bar).sqrt() * eps)
        near(ours, scheduler.add_noise(x0.float(), eps.float(), k[None] - 1))
    for t in TIMES:
        ours = VP.perturb(x0, t, eps)
        equal(ours, torch.exp(-song_b(t) / 2) * x0 + torch.sqrt(1 - torch.exp(-song_b(t))) * eps)
        equal(ours, lu_alpha(t) * x0 + lu_sigma(t) * eps)
        equal(ours, karras_s(t) * (x0 + karras_sigma(t) * eps))
        equal(ours / VP.alpha(t), x0 + eps * karras_sigma(t))
        theirs = 1 - t
        equal(FLOW.perturb(x0, t, eps), theirs * x0 + (1 - theirs) * eps)


@row(
    "step index, number of steps",
    r"$k = 0 \dots T$",
    papers=(
        r"$t = 0 \dots T$",
        r"$i = 0 \dots N$",
        r"$i = 0 \dots N$, from noise to data",
        "–",
        r"$i = 0 \dots M$, from noise to data",
    ),
    libraries=("`timestep = k - 1`, `num_train_timesteps`", "index into `sigmas`, from noise to data"),
)
def test_step_index():
    ours = DDPM.alpha(torch.arange(T + 1, dtype=torch.float64) / T) ** 2
    equal(ours, np.append(1, ALPHA_BAR))
    beta_i = [0.1 / T + i / (T * (T - 1)) * 19.9 for i in range(T)]  # Song, equation 32, i from 0 instead of from 1
    equal(ours, np.append(1, np.cumprod(1 - np.array(beta_i))))
    scheduler = DDPMScheduler(**SETTINGS)
    assert scheduler.config.num_train_timesteps == T
    assert scheduler.timesteps.tolist() == list(range(T - 1, -1, -1))
    near(ours[1:], scheduler.alphas_cumprod)
    sigmas = EDM.sigma(karras_times(EDM, 18))
    assert len(sigmas) == 19
    equal(sigmas[[0, 17, 18]], [80.0, 0.002, 0.0])
    assert bool((sigmas[1:] < sigmas[:-1]).all())
    scheduler = DPMSolverMultistepScheduler(**SETTINGS)  # of Lu et al.: M steps, i = 0 is noise and i = M data
    scheduler.set_timesteps(20)
    assert len(scheduler.sigmas) == 21 and bool((scheduler.sigmas.diff() < 0).all()) and scheduler.sigmas[-1] == 0


@row(
    "time",
    r"$t = k/T \in [0, 1]$",
    papers=("–", r"$t \in [0, 1]$", r"$t = \sigma$", "$1 - t$", r"$t \in [0, T]$"),
    libraries=("`(timestep + 1) / 1000`; flows: `timestep / 1000`", "`sigma`"),
)
def test_time(make_generator):
    equal(VP.alpha(TIMES), torch.exp(-song_b(TIMES) / 2))
    equal(VP.alpha(TIMES), lu_alpha(TIMES))  # with T = 1
    equal(VE.sigma(TIMES), song_ve_sigma(TIMES))
    t, s = number(0.5), number(0.45)
    found = truth(EDM, t, make_generator)
    moved = along_the_ode(EDM, Prediction(found.x0, found.eps), t, s)
    equal(moved / (EDM.sigma(s) - EDM.sigma(t)), (found.x - found.x0) / EDM.sigma(t))  # (x - D) / t: dx / dt, t = sigma
    equal(FLOW.alpha(TIMES), 1 - TIMES)  # Lipman: mu_t = t x_1
    timestep = torch.arange(9, T, 100)
    near(DDPM.alpha((timestep + 1).double() / 1000) ** 2, DDPMScheduler(**SETTINGS).alphas_cumprod[timestep])
    flow = FlowMatchEulerDiscreteScheduler()
    flow.set_timesteps(20)
    near(FLOW.sigma(flow.timesteps.double() / 1000), flow.sigmas[:-1])


@row(
    "direction of time",
    "noise grows with $t$",
    papers=(
        "noise grows with $t$",
        "noise grows with $t$",
        "noise grows with $t$",
        "noise falls with $t$",
        "noise grows with $t$",
    ),
    libraries=("noise grows with `timestep`", "noise grows with `sigma`"),
)
def test_direction_of_time():

    def grows(values):
        return bool((torch.as_tensor(values).diff() > 0).all())

    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    for path in (DDPM, VP, VE, EDM, FLOW):
        assert grows(path.sigma(t) / path.alpha(t))
    assert grows(1 - ALPHA_BAR) and grows(1 - torch.exp(-song_b(t))) and grows(song_ve_sigma(t))
    assert grows(karras_sigma(t)) and grows(BY_SIGMA.sigma(t)) and grows(lu_sigma(t) / lu_alpha(t))
    equal(FLOW.sigma(1 - t), 1 - t)  # in Lipman's t
    assert not grows(1 - t) and grows((1 - t).flip(0))
    flow = FlowMatchEulerDiscreteScheduler()
    assert grows(1 - DDPMScheduler(**SETTINGS).alphas_cumprod) and grows(flow.sigmas[flow.timesteps.argsort()])


@row(
    "variance added by a step",
    r"$\beta_k$",
    papers=(r"$\beta_t$", r"$\beta_i \approx \beta(i/N)/N$", "–", "–", "–"),
    libraries=("`betas[k - 1]`", "–"),
)
def test_beta():
    _, ours = DDPM.transition(AT_K, BEFORE_K)
    equal(ours, at(BETA))
    near(ours, at(DDPMScheduler(**SETTINGS).betas))
    equal(ours, [0.1 / T + (i - 1) / (T * (T - 1)) * 19.9 for i in K.tolist()])
    torch.testing.assert_close(ours, song_beta(AT_K) / T, rtol=0, atol=20 / T**2)  # one step apart in time
    torch.testing.assert_close(VP.transition(AT_K, BEFORE_K)[1], song_beta(AT_K) / T, rtol=0.05, atol=0)


@row(
    "squared factor of a step",
    r"$1-\beta_k$ (no letter)",
    papers=(r"$\alpha_t$", r"$1-\beta_i$", "–", "–", "–"),
    libraries=("`alphas[k - 1]`", "–"),
)
def test_squared_factor_of_a_step():
    ours = DDPM.transition(AT_K, BEFORE_K)[0] ** 2
    equal(ours, at(ALPHA))
    equal(ours, [1 - 0.1 / T - (i - 1) / (T * (T - 1)) * 19.9 for i in K.tolist()])
    near(ours, at(DDPMScheduler(**SETTINGS).alphas), rtol=1e-6)


@row(
    "share of the data's variance left",
    r"$\alpha(t)^2 = \bar\alpha_k$",
    papers=(r"$\bar\alpha_t$", "$e^{-B(t)}$", "$s(t)^2$", "$t^2$", r"$\alpha_t^2$"),
    libraries=("`alphas_cumprod[k - 1]`", "`1 / (sigma**2 + 1)`"),
)
def test_share_of_the_variance():
    equal(DDPM.alpha(AT_K) ** 2, at(ALPHA_BAR))
    near(DDPM.alpha(AT_K) ** 2, at(DDPMScheduler(**SETTINGS).alphas_cumprod))
    ours = VP.alpha(TIMES) ** 2
    for theirs in (torch.exp(-song_b(TIMES)), karras_s(TIMES) ** 2, 1 / (karras_sigma(TIMES) ** 2 + 1)):
        equal(ours, theirs)
    equal(ours, lu_alpha(TIMES) ** 2)
    equal(FLOW.alpha(1 - TIMES) ** 2, TIMES**2)


@row(
    "factor of the data",
    r"$\alpha(t)$",
    papers=(r"$\sqrt{\bar\alpha_t}$", "$e^{-B(t)/2}$; VE: $1$", "$s(t)$", "$t$", r"$\alpha_t$"),
    libraries=("`alphas_cumprod[k - 1] ** 0.5`", "`1 / (sigma**2 + 1) ** 0.5`"),
)
def test_factor_of_the_data():
    equal(DDPM.alpha(AT_K), at(ALPHA_BAR).sqrt())
    near(DDPM.alpha(AT_K), at(DDPMScheduler(**SETTINGS).alphas_cumprod) ** 0.5)
    near(DDPM.alpha(AT_K), at(DPMSolverMultistepScheduler(**SETTINGS).alpha_t))
    for theirs in (torch.exp(-song_b(TIMES) / 2), karras_s(TIMES), 1 / (karras_sigma(TIMES) ** 2 + 1) ** 0.5):
        equal(VP.alpha(TIMES), theirs)
    equal(VP.alpha(TIMES), lu_alpha(TIMES))
    equal(VE.alpha(TIMES), 1.0)
    equal(FLOW.alpha(1 - TIMES), TIMES)


@row(
    "standard deviation of the noise",
    r"$\sigma(t)$",
    papers=(
        r"$\sqrt{1-\bar\alpha_t}$",
        r"$\sqrt{1-e^{-B(t)}}$; VE: $\sigma(t)$",
        r"$s(t)\,\sigma(t)$",
        "$1-t$",
        r"$\sigma_t$",
    ),
    libraries=("`(1 - alphas_cumprod[k - 1]) ** 0.5`; flows: `sigmas`", "`sigma / (sigma**2 + 1) ** 0.5`"),
)
def test_standard_deviation_of_the_noise():
    equal(DDPM.sigma(AT_K), (1 - at(ALPHA_BAR)).sqrt())
    near(DDPM.sigma(AT_K), (1 - at(DDPMScheduler(**SETTINGS).alphas_cumprod)) ** 0.5)
    sigma = karras_sigma(TIMES)
    for theirs in ((1 - torch.exp(-song_b(TIMES))).sqrt(), karras_s(TIMES) * sigma, sigma / (sigma**2 + 1) ** 0.5):
        equal(VP.sigma(TIMES), theirs)
    equal(VP.sigma(TIMES), lu_sigma(TIMES))
    equal(VE.sigma(TIMES), song_ve_sigma(TIMES))
    equal(FLOW.sigma(1 - TIMES), 1 - TIMES)
    flow = FlowMatchEulerDiscreteScheduler()
    near(FLOW.sigma(flow.timesteps.double() / T), flow.sigmas)


@row(
    "noise over signal",
    r"$\sigma(t)/\alpha(t)$",
    papers=(
        r"$\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$",
        r"$\sqrt{e^{B(t)}-1}$; VE: $\sigma(t)$",
        r"$\sigma(t)$",
        "$(1-t)/t$",
        r"$e^{-\lambda_t}$",
    ),
    libraries=("`sigmas` of Euler, Heun and 2M", "`sigma`"),
)
def test_noise_over_signal():
    ours = DDPM.sigma(AT_K) / DDPM.alpha(AT_K)
    equal(ours, ((1 - at(ALPHA_BAR)) / at(ALPHA_BAR)).sqrt())
    for kind in (EulerDiscreteScheduler, HeunDiscreteScheduler, DPMSolverMultistepScheduler):
        scheduler = kind(**SETTINGS, timestep_spacing="trailing")
        scheduler.set_timesteps(20)
        t = (scheduler.timesteps.double() + 1) / T
        near(DDPM.sigma(t) / DDPM.alpha(t), scheduler.sigmas[:-1])
    for theirs in (torch.sqrt(torch.exp(song_b(TIMES)) - 1), karras_sigma(TIMES), torch.exp(-lu_lambda(TIMES))):
        equal(VP.sigma(TIMES) / VP.alpha(TIMES), theirs)
    equal(VE.sigma(TIMES) / VE.alpha(TIMES), song_ve_sigma(TIMES))
    equal(FLOW.sigma(1 - TIMES) / FLOW.alpha(1 - TIMES), (1 - TIMES) / TIMES)


@row(
    "noise of one step; of the jump",
    r"$z$; $\varepsilon$",
    papers=(r"no letter; $\epsilon$", "$z$; $z$", r"–; $n/\sigma$", "–; $x_0$", r"$z$; $\epsilon$"),
    libraries=("`variance_noise`; `noise`", "`randn_like(x)`; `noise`"),
)
def test_noise(make_generator):
    x0, eps = noises(make_generator)
    t = number(0.4)
    x_t = VP.perturb(x0, t, eps)
    equal((x_t - torch.exp(-song_b(t) / 2) * x0) / (1 - torch.exp(-song_b(t))).sqrt(), eps)
    equal((x_t - lu_alpha(t) * x0) / lu_sigma(t), eps)
    n = x_t / karras_s(t) - x0
    equal(n / karras_sigma(t), eps)
    equal((x_t / VP.alpha(t) - x0) / karras_sigma(t), eps)  # input + noise * sigma
    theirs = 1 - t
    equal((FLOW.perturb(x0, t, eps) - theirs * x0) / (1 - theirs), eps)
    k, scheduler = 500, DDPMScheduler(**SETTINGS)
    bar = float(ALPHA_BAR[k - 1])
    equal((DDPM.perturb(x0, number(k / T), eps) - bar**0.5 * x0) / (1 - bar) ** 0.5, eps)
    noisy = scheduler.add_noise(x0.float(), eps.float(), torch.tensor([k - 1]))
    near(eps, (noisy - bar**0.5 * x0) / (1 - bar) ** 0.5)
    # of a step, here the backward one of variance beta tilde: the same z is drawn on all sides
    t, s = number(k / T), number((k - 1) / T)
    z = torch.randn(5, 2, generator=make_generator(5), dtype=torch.float64)
    ours = ancestral_step(lambda *_: x0, DDPM, x_t, t, s, generator=make_generator(5)).x
    mean, _ = DDPM.posterior(x_t, x0, t, s)
    equal((ours - mean) / BETA_TILDE[k - 1] ** 0.5, z)
    found = DDIMScheduler(**SETTINGS, clip_sample=False, prediction_type="sample")
    found.set_timesteps(T)
    found = found.step(x0.float(), k - 1, x_t.float(), eta=1.0, variance_noise=z.float()).prev_sample
    near((found - mean) / BETA_TILDE[k - 1] ** 0.5, z, rtol=1e-3)
    down, up = get_ancestral_step(SCALED.sigma(t), SCALED.sigma(s))
    x = x_t / DDPM.alpha(t)
    theirs = x + to_d(x, SCALED.sigma(t), x0) * (down - SCALED.sigma(t)) + z * up
    equal(ours / DDPM.alpha(s), theirs)
    t, s = number(0.4), number(0.35)  # SDE-DPM-Solver++1 of Lu et al., with their h, half of ours
    ours = ancestral_step(lambda *_: x0, VP, x_t, t, s, generator=make_generator(5)).x
    h = lu_lambda(s) - lu_lambda(t)
    mean = lu_sigma(s) / lu_sigma(t) * torch.exp(-h) * x_t + lu_alpha(s) * (1 - torch.exp(-2 * h)) * x0
    equal((ours - mean) / (lu_sigma(s) * torch.sqrt(1 - torch.exp(-2 * h))), z)


@row(
    "signal-to-noise ratio",
    r"$\alpha(t)^2/\sigma(t)^2$",
    papers=(
        r"$\bar\alpha_t/(1-\bar\alpha_t)$",
        "$1/(e^{B(t)}-1)$",
        r"$1/\sigma^2$",
        "$t^2/(1-t)^2$",
        r"$\alpha_t^2/\sigma_t^2 = e^{2\lambda_t}$",
    ),
    libraries=("`alphas_cumprod[k - 1] / (1 - alphas_cumprod[k - 1])`", "`1 / sigma**2`"),
)
def test_signal_to_noise_ratio():
    equal(DDPM.log_snr(AT_K).exp(), at(ALPHA_BAR) / (1 - at(ALPHA_BAR)))
    found = at(DDPMScheduler(**SETTINGS).alphas_cumprod)
    near(DDPM.log_snr(AT_K).exp(), found / (1 - found))
    lu = lu_alpha(TIMES) ** 2 / lu_sigma(TIMES) ** 2
    for theirs in (
        1 / (torch.exp(song_b(TIMES)) - 1),
        1 / karras_sigma(TIMES) ** 2,
        lu,
        torch.exp(2 * lu_lambda(TIMES)),
    ):
        equal(VP.log_snr(TIMES).exp(), theirs)
    equal(FLOW.log_snr(1 - TIMES).exp(), TIMES**2 / (1 - TIMES) ** 2)


@row(
    "log-SNR",
    r"$\lambda = \ln(\alpha^2/\sigma^2)$, `path.log_snr`",
    papers=(
        r"$\ln\frac{\bar\alpha_t}{1-\bar\alpha_t}$",
        r"$-\ln(e^{B(t)}-1)$",
        r"$-2\ln\sigma$",
        r"$2\ln\frac{t}{1-t}$",
        r"$2\lambda_t$, with $\lambda_t = \ln(\alpha_t/\sigma_t)$",
    ),
    libraries=("`2 * lambda_t[k - 1]` of 2M", "`-2 * sigma.log()`"),
)
def test_log_snr():
    equal(DDPM.log_snr(AT_K), torch.log(at(ALPHA_BAR) / (1 - at(ALPHA_BAR))))
    near(DDPM.log_snr(AT_K), 2 * at(DPMSolverMultistepScheduler(**SETTINGS).lambda_t))
    for theirs in (-torch.log(torch.exp(song_b(TIMES)) - 1), -2 * karras_sigma(TIMES).log(), 2 * lu_lambda(TIMES)):
        equal(VP.log_snr(TIMES), theirs)
    theirs = 1 - TIMES
    equal(FLOW.log_snr(TIMES), 2 * torch.log(theirs / (1 - theirs)))


@row(
    "drift and diffusion",
    r"$f = \alpha'/\alpha$, $g^2 = 2\sigma(\sigma' - f\sigma)$",
    papers=(
        "–",
        r"$-\frac12\beta(t)$, $\beta(t)$; VE: $0$, $d\sigma^2/dt$",
        r"$\dot s/s$, $2s^2\dot\sigma\sigma$",
        "–",
        r"$f(t) = \frac{d\ln\alpha_t}{dt}$, $g^2(t) = \frac{d\sigma_t^2}{dt} - 2 f(t)\,\sigma_t^2$",
    ),
)
def test_drift_and_diffusion():
    drift, g2 = VP.drift_and_diffusion(TIMES)
    equal(drift, -song_beta(TIMES) / 2)
    equal(g2, song_beta(TIMES))
    for ours, theirs in zip((drift, g2), lu_drift_and_diffusion(TIMES), strict=True):
        equal(ours, theirs)
    s, s_dot = torch.func.jvp(karras_s, (TIMES,), (torch.ones_like(TIMES),))
    sigma, sigma_dot = torch.func.jvp(karras_sigma, (TIMES,), (torch.ones_like(TIMES),))
    equal(drift, s_dot / s)
    equal(g2, 2 * s**2 * sigma_dot * sigma)
    drift, g2 = VE.drift_and_diffusion(TIMES)
    equal(drift, 0.0)
    equal(g2, 2 * song_ve_sigma(TIMES) ** 2 * math.log(50 / 0.01))


# --- what a network says ---------------------------------------------------------------------------------------------


@row(
    "score",
    r'`kind="score"`, $-\hat\varepsilon/\sigma$',
    papers=(
        r"$-\epsilon_\theta/\sqrt{1-\bar\alpha_t}$",
        r"$s_\theta(x, t)$",
        r"$(D_\theta(x;\sigma) - x)/\sigma^2$",
        r"$(t\,v_t - x)/(1-t)$",
        r"$-\epsilon_\theta/\sigma_t$",
    ),
    libraries=("`model_output` of `ScoreSdeVeScheduler`", "`(denoised - x) / sigma**2`"),
)
def test_score(make_generator):
    for path, t in ((DDPM, AT_K[1]), (VP, TIMES[1]), (EDM, TIMES[2]), (FLOW, TIMES[1])):  # Song's is the gradient
        found = truth(path, t, make_generator)
        equal(target("score", path, found.x0, found.eps, t), found.score)
    t, bar = AT_K[2], ALPHA_BAR[499]
    found = truth(DDPM, t, make_generator)
    eps = (found.x - bar**0.5 * found.x0) / (1 - bar) ** 0.5
    equal(found.score, -eps / (1 - bar) ** 0.5)
    found = truth(EDM, number(0.6), make_generator)
    equal(found.score, (found.x0 - found.x) / EDM.sigma(number(0.6)) ** 2)
    found, theirs, v = lipman_v(FLOW, number(0.6), make_generator)
    equal(found.score, (theirs * v - found.x) / (1 - theirs))
    found, alpha = truth(VP, number(0.3), make_generator), VP.alpha(number(0.3))
    equal(alpha * found.score, (found.x0 - found.x / alpha) / karras_sigma(number(0.3)) ** 2)  # of x / alpha
    equal(found.score, -found.eps / lu_sigma(number(0.3)))
    steps, i = 50, 30
    scheduler = ScoreSdeVeScheduler(num_train_timesteps=steps, sigma_min=0.01, sigma_max=50.0)
    scheduler.set_timesteps(steps)
    scheduler.set_sigmas(steps)
    t, s = number(i / (steps - 1)), number((i - 1) / (steps - 1))
    found = truth(VE, t, make_generator)
    inside = float(t) + 1e-6  # they round down
    theirs = scheduler.step_pred(found.score.float(), inside, found.x.float(), generator=make_generator(3))
    near(VE.posterior(found.x, found.x0, t, s)[0], theirs.prev_sample_mean)


@row(
    "guess of the noise",
    r'`kind="eps"`, $\varepsilon_\theta$',
    papers=(
        r"$\epsilon_\theta(x_t, t)$",
        r"$-\sqrt{1-e^{-B(t)}}\;s_\theta$",
        r"$(x - D_\theta)/\sigma$",
        r"$x - t\,v_t$",
        r"$\epsilon_\theta(x_t, t)$",
    ),
    libraries=('`prediction_type="epsilon"`', "`to_d(x, sigma, denoised)`"),
)
def test_guess_of_the_noise(make_generator):
    t = number(0.3)
    found = truth(VP, t, make_generator)
    ours = target("eps", VP, found.x0, found.eps, t)
    equal(ours, -torch.sqrt(1 - torch.exp(-song_b(t))) * found.score)
    equal(ours, to_d(found.x / VP.alpha(t), karras_sigma(t), found.x0))
    equal(solve("eps", VP, ours, found.x, t).x0, found.x0)
    equal(ours, (found.x - lu_alpha(t) * found.x0) / lu_sigma(t))
    found = truth(EDM, t, make_generator)
    equal(target("eps", EDM, found.x0, found.eps, t), (found.x - found.x0) / EDM.sigma(t))
    found, theirs, v = lipman_v(FLOW, t, make_generator)
    equal(target("eps", FLOW, found.x0, found.eps, t), found.x - theirs * v)
    k, t = 500, AT_K[2]
    found = truth(DDPM, t, make_generator)
    eps = target("eps", DDPM, found.x0, found.eps, t)
    equal(found.x, ALPHA_BAR[k - 1] ** 0.5 * found.x0 + (1 - ALPHA_BAR[k - 1]) ** 0.5 * eps)
    near(found.x0, original_sample("epsilon", eps, k, found.x, make_generator), rtol=1e-3)


def original_sample(kind, output, k, x, make_generator):
    """What diffusers makes of a network's answer."""
    scheduler = DDPMScheduler(**SETTINGS, clip_sample=False, prediction_type=kind)
    return scheduler.step(output.float(), k - 1, x.float(), generator=make_generator(9)).pred_original_sample


@row(
    "guess of the data",
    r'`kind="x0"`, $\hat x_0$',
    papers=(
        "$x_0$ predicted, section 3.2",
        r"$e^{B(t)/2}\,(x + (1-e^{-B(t)})\,s_\theta)$",
        r"$D_\theta(x;\sigma)$",
        r"$x + (1-t)\,v_t$",
        r"$x_\theta(x_t, t)$",
    ),
    libraries=('`prediction_type="sample"`, `pred_original_sample`', "`denoised = model(x, sigma)`"),
)
def test_guess_of_the_data(make_generator):
    t = number(0.3)
    found = truth(VP, t, make_generator)
    equal(found.x0, torch.exp(song_b(t) / 2) * (found.x + (1 - torch.exp(-song_b(t))) * found.score))
    equal(found.x0, (found.x - lu_sigma(t) * found.eps) / lu_alpha(t))
    denoised = found.x / VP.alpha(t) - karras_sigma(t) * found.eps  # x - sigma d, in k-diffusion's variables
    equal(target("x0", VP, found.x0, found.eps, t), denoised)
    mixture = random_mixture(3, (2,), make_generator(0))
    y = posterior_mean(mixture, BY_SIGMA, found.x / VP.alpha(t), karras_sigma(t))  # Karras' D at the same noise level
    equal(found.x0, y)
    found, theirs, v = lipman_v(FLOW, t, make_generator)
    equal(solve("velocity", FLOW, -v, found.x, t).x0, found.x + (1 - theirs) * v)
    k, t = 500, AT_K[2]
    found = truth(DDPM, t, make_generator)
    bar = ALPHA_BAR[k - 1]
    equal(solve("eps", DDPM, found.eps, found.x, t).x0, (found.x - (1 - bar) ** 0.5 * found.eps) / bar**0.5)
    near(found.x0, original_sample("sample", found.x0, k, found.x, make_generator))


@row(
    "the mixed target",
    r'`kind="v"`, $\alpha\varepsilon - \sigma x_0$',
    papers=("–", "–", r"$-F_\theta$ if $\sigma_\text{data} = 1$", "–", "–"),
    libraries=('`prediction_type="v_prediction"`, `get_velocity(...)`', "`inner_model` of `VDenoiser`"),
)
def test_mixed_target(make_generator):
    x0, eps = noises(make_generator)
    t = number(0.3)
    sigma, y, n = karras_sigma(t), x0, karras_sigma(t) * eps
    ours = target("v", VP, x0, eps, t)
    c_skip, c_out = 1 / (sigma**2 + 1), sigma / (sigma**2 + 1).sqrt()
    equal(ours, -(y - c_skip * (y + n)) / c_out)  # Karras, equation 8: what F is trained for
    equal(x0, ours * -c_out + (x0 + sigma * eps) * c_skip)  # VDenoiser: its c_out is negative
    k, t = 500, AT_K[2]
    ours, x = target("v", DDPM, x0, eps, t), DDPM.perturb(x0, t, eps)
    near(ours, DDPMScheduler(**SETTINGS).get_velocity(x0.float(), eps.float(), torch.tensor([k - 1])))
    near(solve("v", DDPM, ours, x, t).x0, original_sample("v_prediction", ours, k, x, make_generator), rtol=1e-3)


@row(
    "velocity",
    r"""`kind="velocity"`, $\alpha' x_0 + \sigma'\varepsilon$""",
    papers=(
        "–",
        r"$f x - \frac12 g^2 s_\theta$",
        r"$(x - D_\theta)/\sigma$",
        "$-v_t$",
        r"$f(t)\,x_t + \frac{g^2(t)}{2\sigma_t}\,\epsilon_\theta$",
    ),
    libraries=("flows: `model_output`", "`to_d(x, sigma, denoised)`"),
)
def test_velocity(make_generator):
    t = number(0.3)
    found = truth(VP, t, make_generator)
    ours = target("velocity", VP, found.x0, found.eps, t)
    equal(ours, -song_beta(t) / 2 * found.x - song_beta(t) / 2 * found.score)
    f, g2 = lu_drift_and_diffusion(t)
    equal(ours, f * found.x + g2 / (2 * lu_sigma(t)) * found.eps)
    found = truth(BY_SIGMA, t, make_generator)  # dx / dt with t = sigma
    equal(target("velocity", BY_SIGMA, found.x0, found.eps, t), to_d(found.x, t, found.x0))
    found, _, v = lipman_v(FLOW, t, make_generator)
    ours = target("velocity", FLOW, found.x0, found.eps, t)
    equal(ours, -v)
    flow = FlowMatchEulerDiscreteScheduler()
    flow.set_timesteps(10)
    t, s = flow.sigmas[3].double(), flow.sigmas[4].double()
    found = truth(FLOW, t, make_generator)
    output = target("velocity", FLOW, found.x0, found.eps, t).float()
    theirs = flow.step(output, flow.timesteps[3], found.x.float()).prev_sample
    near(euler_step(lambda *_: found.x0, FLOW, found.x, t, s).x, theirs)


@row(
    "a pair, and the point on its line",
    r"$(x_0, x_1)$, $(1-t)\,x_0 + t\,x_1$",
    papers=("–", "–", "–", r"$(x_1, x_0)$, $t\,x_1 + (1 - (1-\sigma_\text{min})\,t)\,x_0$", "–"),
    libraries=("flows: `scale_noise(sample, timestep, noise)`", "–"),
)
def test_pair(make_generator):
    x0, x1 = noises(make_generator)
    almost = GaussianPath(alpha=lambda t: 1 - t, sigma=lambda t: 1 - 0.9 * (1 - t))  # sigma_min = 0.1
    for t in TIMES:
        equal(FLOW.perturb(x0, t, x1), (1 - t) * x0 + t * x1)
        equal(FLOW.perturb(x0, t, x1), lipman_point(1 - t, x0, x1, 0.0))
        equal(almost.perturb(x0, t, x1), lipman_point(1 - t, x0, x1, 0.1))
    flow = FlowMatchEulerDiscreteScheduler()
    timestep = flow.timesteps[300][None]
    near(FLOW.perturb(x0, timestep[0].double() / 1000, x1), flow.scale_noise(x0.float(), timestep, x1.float()))


def lipman_point(t, data, noise, sigma_min):
    """Lipman, equation 22: psi_t(x_0) for the data x_1, in Lipman's time, where t = 0 is noise."""
    return t * data + (1 - (1 - sigma_min) * t) * noise


@row(
    "velocity of a pair",
    "`flow_matching_objective`, $x_1 - x_0$",
    papers=("–", "–", "–", r"$x_1 - (1-\sigma_\text{min})\,x_0$", "–"),
)
def test_velocity_of_a_pair(make_generator):
    x0, x1 = noises(make_generator)
    draws = flow_matching_objective(FLOW, at_source=0).draw(Batch(x0, x1), make_generator(2))
    ours = target("velocity", FLOW, draws.x0, draws.eps, draws.t)
    equal(ours, x1 - x0)
    equal(ours, -(x0 - (1 - 0.0) * x1))  # Lipman, equation 23, at sigma_min = 0; time runs the other way
    theirs = torch.func.jvp(lambda t: lipman_point(t, x0, x1, 0.1), (number(0.3),), (number(1.0),))[1]
    equal(theirs, x0 - (1 - 0.1) * x1)


@row(
    "divergence of the velocity",
    r"$\nabla \cdot \dot x$, `velocity_and_divergence`",
    papers=(
        "–",
        r"$\nabla \cdot \tilde f_\theta(x, t)$, equation 39",
        "–",
        r"$-\operatorname{div}(v_t)$",
        "–",
    ),
)
def test_divergence_of_the_velocity(make_generator):
    def trace(f, x):  # d separate derivatives at each point
        return torch.stack([torch.func.jacrev(lambda y: f(y[None])[0])(row).trace() for row in x])

    t = number(0.3)
    mixture, found = random_mixture(3, (2,), make_generator(0)), truth(VP, t, make_generator)
    _, (ours,) = velocity_and_divergence(mixture_denoiser(mixture, VP), VP, found.x, t)
    slopes = trace(lambda x: score(mixture, VP, x, t), found.x)
    equal(ours, -song_beta(t) / 2 * 2 - song_beta(t) / 2 * slopes)  # of f x in d = 2 dimensions, and of the score
    found, theirs = truth(FLOW, t, make_generator), 1 - float(t)
    _, (ours,) = velocity_and_divergence(mixture_denoiser(mixture, FLOW), FLOW, found.x, t)
    equal(ours, -trace(lambda x: (posterior_mean(mixture, FLOW, x, t) - x) / (1 - theirs), found.x))


# --- what a loss is weighted with ------------------------------------------------------------------------------------


@row(
    "weight of the loss of a score",
    r"`noise_variance_weight`, $\sigma(t)^2$",
    papers=(r"$1$ for $\epsilon_\theta$", r"$\lambda(t)$, equation 7", r"$1/\sigma^2$ for $D_\theta$", "–", "–"),
)
def test_weight_of_the_loss_of_a_score(make_generator):
    x0, eps = noises(make_generator)
    guess = normal((5, 2), make_generator(2))  # of the noise
    for path, t in ((VP, number(0.3)), (VE, number(0.6)), (BY_SIGMA, number(0.4))):
        wrong = target("score", path, x0, guess, t) - target("score", path, x0, eps, t)
        ours = noise_variance_weight(path, t) * wrong**2
        equal(ours, (guess - eps) ** 2)  # Ho, equation 14
    t = number(0.3)
    wrong = target("score", VP, x0, guess, t) - target("score", VP, x0, eps, t)
    equal(noise_variance_weight(VP, t) * wrong**2, (1 - torch.exp(-song_b(t))) * wrong**2)  # Song: 1 / E|score|^2
    t = number(0.4)
    wrong_data = -t * (guess - eps)  # of Karras' D where the noisy point is y + n = y + sigma eps
    equal((guess - eps) ** 2, wrong_data**2 / BY_SIGMA.sigma(t) ** 2)


@row(
    "weight of EDM's loss",
    r"`edm_weight`, $1/(\alpha^2+\sigma^2)$ for $v$",
    papers=(
        "–",
        "–",
        r"$(\sigma^2+\sigma_\text{data}^2)/(\sigma\sigma_\text{data})^2$ for $D_\theta$",
        "–",
        "–",
    ),
)
def test_weight_of_the_loss_of_edm(make_generator):
    x0, eps = noises(make_generator)
    for path, t in ((VP, number(0.3)), (EDM, number(0.3)), (FLOW, number(0.6))):
        x, guess = path.perturb(x0, t, eps), normal((5, 2), make_generator(2))
        wrong = guess - target("v", path, x0, eps, t)
        sigma = path.sigma(t) / path.alpha(t)
        wrong_data = solve("v", path, guess, x, t).x0 - x0
        equal(edm_weight(path, t) * wrong**2, (sigma**2 + 1) / sigma**2 * wrong_data**2)


# --- what a step does ------------------------------------------------------------------------------------------------


def ddpm_step(variance_type, output, k, x, make_generator):
    """prev_sample of diffusers, and the noise that it drew."""
    scheduler = DDPMScheduler(**SETTINGS, clip_sample=False, prediction_type="sample", variance_type=variance_type)
    found = scheduler.step(output.float(), k - 1, x.float(), generator=make_generator(9)).prev_sample
    return found.double(), torch.randn(x.shape, generator=make_generator(9)).double()


@row(
    "mean of the posterior",
    r"$\tilde\mu$, `path.posterior`",
    papers=(
        r"$\tilde\mu_t(x_t, x_0)$",
        r"VE: $x_i + (\sigma_i^2 - \sigma_{i-1}^2)\,s_\theta$",
        "–",
        "–",
        r"$\frac{\sigma_t}{\sigma_s} e^{-h} x_s + \alpha_t (1 - e^{-2h})\,x_\theta$",
    ),
    libraries=("`DDPMScheduler.step(...)`, less its noise", "`x + to_d(...) * (sigma_down - sigma_from)`"),
)
def test_mean_of_the_posterior(make_generator):
    for k in (2, 500, 1000):
        t, s, i = number(k / T), number((k - 1) / T), k - 1
        found = truth(DDPM, t, make_generator)
        ours, _ = DDPM.posterior(found.x, found.x0, t, s)
        of_x0 = ALPHA_BAR_BEFORE[i] ** 0.5 * BETA[i] / (1 - ALPHA_BAR[i])
        of_x = ALPHA[i] ** 0.5 * (1 - ALPHA_BAR_BEFORE[i]) / (1 - ALPHA_BAR[i])
        equal(ours, of_x0 * found.x0 + of_x * found.x)
        theirs, noise = ddpm_step("fixed_small", found.x0, k, found.x, make_generator)
        near(ours, theirs - BETA_TILDE[i] ** 0.5 * noise, rtol=1e-3)
        x, sigma_from, sigma_to = found.x / DDPM.alpha(t), SCALED.sigma(t), SCALED.sigma(s)
        sigma_down, _ = get_ancestral_step(sigma_from, sigma_to)
        equal(ours / DDPM.alpha(s), x + to_d(x, sigma_from, found.x0) * (sigma_down - sigma_from))
    t, s = number(0.6), number(0.55)
    found = truth(VE, t, make_generator)
    added = song_ve_sigma(t) ** 2 - song_ve_sigma(s) ** 2
    equal(VE.posterior(found.x, found.x0, t, s)[0], found.x + added * found.score)
    s, t = number(0.6), number(0.55)  # of Lu et al.: from s down to t
    found, h = truth(VP, s, make_generator), lu_lambda(t) - lu_lambda(s)
    mean = lu_sigma(t) / lu_sigma(s) * torch.exp(-h) * found.x + lu_alpha(t) * (1 - torch.exp(-2 * h)) * found.x0
    equal(VP.posterior(found.x, found.x0, s, t)[0], mean)


@row(
    "variance of the posterior",
    r"$\tilde\sigma^2$, `posterior_variance`",
    papers=(
        r"$\tilde\beta_t$",
        r"VE: $\sigma_{i-1}^2(\sigma_i^2 - \sigma_{i-1}^2)/\sigma_i^2$",
        "–",
        "–",
        r"$\sigma_t^2 (1 - e^{-2h})$",
    ),
    libraries=('`variance_type="fixed_small"`', "`sigma_up**2`"),
)
def test_variance_of_the_posterior(make_generator):
    ours = posterior_variance(DDPM, AT_K, BEFORE_K)
    equal(ours, at(BETA_TILDE))
    _, sigma_up = get_ancestral_step(SCALED.sigma(AT_K), SCALED.sigma(BEFORE_K))
    equal(ours / DDPM.alpha(BEFORE_K) ** 2, sigma_up**2)
    high, low = song_ve_sigma(TIMES), song_ve_sigma(TIMES - 0.04)
    equal(posterior_variance(VE, TIMES, TIMES - 0.04), low**2 * (high**2 - low**2) / high**2)
    h = lu_lambda(TIMES - 0.04) - lu_lambda(TIMES)  # of Lu et al.
    equal(posterior_variance(VP, TIMES, TIMES - 0.04), lu_sigma(TIMES - 0.04) ** 2 * (1 - torch.exp(-2 * h)))
    for k, variance in zip(K.tolist(), ours, strict=True):
        zero = torch.zeros(5, 2)
        theirs, noise = ddpm_step("fixed_small", zero, k, zero, make_generator)
        near(variance.sqrt() * noise, theirs)


@row(
    "variance of the forward step",
    "$w$, `forward_variance`",
    papers=(r"$\beta_t$", r"$\beta_i$; VE: $\sigma_i^2 - \sigma_{i-1}^2$", "–", "–", "–"),
    libraries=('`variance_type="fixed_large"`', "–"),
)
def test_variance_of_the_forward_step(make_generator):
    ours = forward_variance(DDPM, AT_K, BEFORE_K)
    equal(ours, at(BETA))
    equal(ours, [0.1 / T + (i - 1) / (T * (T - 1)) * 19.9 for i in K.tolist()])
    equal(forward_variance(VE, TIMES, TIMES - 0.04), song_ve_sigma(TIMES) ** 2 - song_ve_sigma(TIMES - 0.04) ** 2)
    for k, variance in zip(K.tolist(), ours, strict=True):
        zero = torch.zeros(5, 2)
        theirs, noise = ddpm_step("fixed_large", zero, k, zero, make_generator)
        near(variance.sqrt() * noise, theirs)


@row(
    "exponent of the learned variance",
    r"$\nu_k$",
    libraries=('`variance_type="learned_range"`, `(predicted_variance + 1) / 2`', "–"),
)
@pytest.mark.parametrize("nu", [0.0, 0.3, 1.0])
def test_exponent_of_the_learned_variance(nu, make_generator):
    t, s = AT_K[2], BEFORE_K[2]
    ours = forward_variance(DDPM, t, s) ** nu * posterior_variance(DDPM, t, s) ** (1 - nu)  # notebook 07, section 10
    output = torch.cat([torch.zeros(5, 2), torch.full((5, 2), 2 * nu - 1)], dim=1)
    theirs, noise = ddpm_step("learned_range", output, 500, torch.zeros(5, 2), make_generator)
    near(ours.sqrt() * noise, theirs)


@row(
    "fresh noise in a step",
    r"`eta` $= \eta$",
    papers=(r"$\eta = 1$", "–", "–", "–", "–"),
    libraries=("`eta` of `DDIMScheduler.step`", "`eta` of `get_ancestral_step`"),
)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_fresh_noise_in_a_step(eta, make_generator):
    scheduler = DDIMScheduler(**SETTINGS, clip_sample=False, prediction_type="sample")
    scheduler.set_timesteps(50)
    i = int(scheduler.timesteps[20])
    t, s = number((i + 1) / T), number((i - 20 + 1) / T)
    found = truth(DDPM, t, make_generator)
    x, x0 = found.x.float(), found.x0.float()
    ours = ddim_step(lambda *_: x0, DDPM, x, t, s, eta=eta, generator=make_generator(4)).x
    near(ours, scheduler.step(x0, i, x, eta=eta, generator=make_generator(4)).prev_sample)
    if eta == 1:
        near(ours, ancestral_step(lambda *_: x0, DDPM, x, t, s, generator=make_generator(4)).x)
    z = torch.randn(5, 2, generator=make_generator(4)).double()
    down, up = get_ancestral_step(SCALED.sigma(t), SCALED.sigma(s), eta)
    z_t = found.x / DDPM.alpha(t)
    theirs = z_t + to_d(z_t, SCALED.sigma(t), found.x0) * (down - SCALED.sigma(t)) + up * z
    near(ours / DDPM.alpha(s).float(), theirs)


@row(
    "stochasticity of the reverse SDE",
    "`stochasticity` $= c$",
    papers=("–", "$c = 1$: equation 6; $c = 0$: equation 13", r"$\beta(t) = c^2\,\dot\sigma/\sigma$", "–", "–"),
)
@pytest.mark.parametrize("c", [0.0, 0.5, 1.0, 2.0])
def test_stochasticity(c, make_generator):
    t, h = number(0.4), 1e-6
    z = torch.randn(5, 2, generator=make_generator(6), dtype=torch.float64)

    def step(path, x, x0):
        return euler_maruyama_step(lambda *_: x0, path, x, t, t - h, stochasticity=c, generator=make_generator(6)).x

    def compare(ours, theirs, slope):
        torch.testing.assert_close(ours / slope, theirs / slope, rtol=0, atol=3e-4)

    found = truth(VP, t, make_generator)
    drift, g2 = -song_beta(t) / 2 * found.x, song_beta(t)
    if c in (0.0, 1.0):
        score_share = {0.0: 0.5, 1.0: 1.0}[c]  # equations 13 and 6
        theirs = -h * (drift - score_share * g2 * found.score) + c * (g2 * h).sqrt() * z
        compare(step(VP, found.x, found.x0) - found.x, theirs, h if c == 0 else math.sqrt(h))
    found = truth(BY_SIGMA, t, make_generator)
    sigma, sigma_dot, score = t, 1.0, found.score
    beta = c**2 * sigma_dot / sigma
    towards_data = sigma_dot * sigma * score + beta * sigma**2 * score  # Karras, equation 6, with time running down
    theirs = h * towards_data + torch.sqrt(2 * beta * h) * sigma * z
    compare(step(BY_SIGMA, found.x, found.x0) - found.x, theirs, h if c == 0 else math.sqrt(h))


@row(
    "churn",
    "`churn`, `churn_between`, `churn_noise`",
    papers=("–", "–", r"$S_\text{churn}$, $[S_\text{tmin}, S_\text{tmax}]$, $S_\text{noise}$", "–", "–"),
    libraries=("`s_churn`, `s_tmin`, `s_tmax`, `s_noise`", "`s_churn`, `s_tmin`, `s_tmax`, `s_noise`"),
)
def test_churn(make_generator):
    S_churn, S_tmin, S_tmax, S_noise = 4.0, 0.05, 40.0, 1.1
    scheduler = EulerDiscreteScheduler(**SETTINGS, timestep_spacing="trailing")
    scheduler.set_timesteps(20)
    times = torch.cat([(scheduler.timesteps.double() + 1) / T, torch.zeros(1)])
    raised = churned(DDPM, times, S_churn, (S_tmin, S_tmax))
    sigmas = SCALED.sigma(times[:-1])
    gamma = torch.where((sigmas >= S_tmin) & (sigmas <= S_tmax), min(S_churn / 20, math.sqrt(2) - 1), 0.0)
    assert 0 < int((gamma > 0).sum()) < 20
    equal(SCALED.sigma(raised), sigmas + gamma * sigmas)

    x, z = noises(make_generator)
    for i, t in enumerate(times[:-1]):  # a network that sees no noise leaves x where diffusers' churn puts it
        scheduler.scale_model_input(x.float(), scheduler.timesteps[i])
        theirs = scheduler.step(
            torch.zeros(5, 2),
            scheduler.timesteps[i],
            x.float(),
            s_churn=S_churn,
            s_tmin=S_tmin,
            s_tmax=S_tmax,
            s_noise=S_noise,
            generator=make_generator(7),
        ).prev_sample
        noise = torch.randn(5, 2, generator=make_generator(7)).double()
        _, variance = SCALED.transition(raised[i], t)
        near(x + S_noise * variance.sqrt() * noise, theirs)

    times, x0 = torch.tensor([0.7, 0.6], dtype=torch.float64), z
    sigma_hat = (1 + math.sqrt(2) - 1) * EDM.sigma(times[0])
    noise = torch.randn(5, 2, generator=make_generator(8), dtype=torch.float64)
    x_hat = x + (sigma_hat**2 - EDM.sigma(times[0]) ** 2).sqrt() * S_noise * noise
    (t_hat,) = churned(EDM, times, 100.0)
    theirs = heun_step(lambda *_: x0, EDM, x_hat, t_hat, times[1]).x
    g = make_generator(8)
    equal(last(heun(lambda *_: x0, EDM, x, times, churn=100.0, churn_noise=S_noise, generator=g)), theirs)


@row(
    "step of Langevin dynamics",
    r"$h = \eta\,\sigma^2$, `step` $= \eta$",
    papers=("–", r"$\epsilon_i$, algorithm 4; NCSN: $\alpha_i = 2h$", r"$\beta(t)\,\sigma^2\,dt$", "–", "–"),
)
def test_step_of_langevin_dynamics(make_generator):
    t, eta = number(0.4), 0.05
    z = torch.randn(5, 2, generator=make_generator(6), dtype=torch.float64)
    for path in (VE, VP, BY_SIGMA):
        found = truth(path, t, make_generator)
        ours = langevin_step(lambda *_, x0=found.x0: x0, path, found.x, t, step=eta, generator=make_generator(6)).x
        h = eta * path.sigma(t) ** 2
        equal(ours, found.x + h * found.score + torch.sqrt(2 * h) * z)  # Song, algorithms 4 and 5
        alpha = 2 * h
        equal(ours, found.x + alpha / 2 * found.score + alpha.sqrt() * z)  # NCSN, algorithm 1
    sigma, beta_dt = t, eta  # Karras, equation 6: its two last terms over a time dt
    equal(ours, found.x + beta_dt * sigma**2 * found.score + math.sqrt(2 * beta_dt) * sigma * z)


@row(
    "prior",
    r"`path.prior`, variance $\alpha(1)^2 + \sigma(1)^2$",
    papers=(
        r"$\mathcal N(0, I)$",
        r"$\mathcal N(0, I)$; VE: $\mathcal N(0, \sigma_\text{max}^2 I)$",
        r"$\mathcal N(0, \sigma_\text{max}^2 I)$",
        r"$\mathcal N(0, I)$",
        r"$\mathcal N(0, \tilde\sigma^2 I)$",
    ),
    libraries=("`init_noise_sigma * noise`", "`sigmas[0] * noise`"),
)
def test_prior(make_generator):
    noise = torch.randn(5, 2, generator=make_generator(0))
    for path, theirs in ((DDPM, 1.0), (VP, 1.0), (FLOW, 1.0), (VE, math.hypot(50, 1)), (EDM, math.hypot(80, 1))):
        torch.testing.assert_close(path.prior((5, 2), make_generator(0)), theirs * noise, rtol=1e-6, atol=0)
        one = number(1.0)
        assert math.isclose(float(path.alpha(one) ** 2 + path.sigma(one) ** 2), theirs**2, rel_tol=1e-9)
    equal(lu_alpha(number(1.0)) ** 2 + lu_sigma(number(1.0)) ** 2, 1.0)  # of Lu et al., where sigma tilde = 1
    # Song (VE), Karras and k-diffusion leave out the variance of the data, 1
    assert math.isclose(math.hypot(50, 1) ** 2 - song_ve_sigma(1) ** 2, 1, rel_tol=1e-9)
    assert math.isclose(math.hypot(80, 1) ** 2 - float(EDM.sigma(karras_times(EDM, 5)[0])) ** 2, 1, rel_tol=1e-9)
    assert DDIMScheduler(**SETTINGS).init_noise_sigma == DPMSolverMultistepScheduler(**SETTINGS).init_noise_sigma == 1
    assert math.isclose(EDMEulerScheduler().init_noise_sigma, math.hypot(80, 1))
    assert ScoreSdeVeScheduler(sigma_max=50.0).init_noise_sigma == 50
    for spacing, data in (("leading", 1), ("trailing", 0)):
        scheduler = EulerDiscreteScheduler(**SETTINGS, timestep_spacing=spacing)
        scheduler.set_timesteps(20)
        t = (scheduler.timesteps[0].double() + 1) / T
        near(torch.sqrt(SCALED.sigma(t) ** 2 + data), scheduler.init_noise_sigma)


# --- around the network ----------------------------------------------------------------------------------------------


def shown(path, x, t) -> Spy:
    net = Spy()
    network_output(net, "v", path, x, t)
    return net


@row(
    "scaling of a network's input",
    r"$1/\sqrt{\alpha^2+\sigma^2}$",
    papers=("$1$", "–", r"$c_\text{in} = 1/\sqrt{\sigma^2+\sigma_\text{data}^2}$", "–", "–"),
    libraries=("`scale_model_input(...)`", "`c_in`"),
)
def test_scaling_of_the_input(make_generator):
    x, _ = noises(make_generator)
    equal(shown(DDPM, x, number(0.3)).x, x)
    t = number(0.3)
    sigma = karras_sigma(t)
    equal(shown(VP, x, t).x, x / VP.alpha(t) / torch.sqrt(sigma**2 + 1))  # of x / alpha, with sigma_data = 1
    sigma = EDM.sigma(t)
    equal(shown(EDM, x, t).x, x / torch.sqrt(sigma**2 + 1))
    near(shown(EDM, x, t).x, EDMEulerScheduler(sigma_data=1.0).precondition_inputs(x, float(sigma)))
    scheduler = EulerDiscreteScheduler(**SETTINGS, timestep_spacing="trailing")
    scheduler.set_timesteps(20)
    t = (scheduler.timesteps[0].double() + 1) / T
    scaled = scheduler.scale_model_input((x / DDPM.alpha(t)).float(), scheduler.timesteps[0])
    near(shown(DDPM, x, t).x, scaled)


@row(
    "skip and scale of its output",
    '`from_network(net, path, "v")`',
    papers=(
        "–",
        "–",
        r"$c_\text{skip} = \sigma_\text{data}^2/(\sigma^2+\sigma_\text{data}^2)$, $c_\text{out} = \sigma\sigma_\text{data}/\sqrt{\sigma^2+\sigma_\text{data}^2}$",  # noqa: E501
        "–",
        "–",
    ),
    libraries=("`precondition_outputs(...)` of `EDMEulerScheduler`", "`c_skip`, `c_out`"),
)
def test_skip_and_scale_of_the_output(make_generator):
    x, _ = noises(make_generator)
    for path in (VP, EDM, FLOW):
        t = number(0.3)
        net, sigma = Spy(), path.sigma(t) / path.alpha(t)
        ours = from_network(net, path, "v")(x, t)
        F = -net(net.x, None)
        c_skip, c_out = 1 / (sigma**2 + 1), sigma / torch.sqrt(sigma**2 + 1)
        equal(ours, c_skip * (x / path.alpha(t)) + c_out * F)
        theirs = EDMEulerScheduler(sigma_data=1.0).precondition_outputs(x / path.alpha(t), F, sigma)
        near(ours, theirs)


@row(
    "noise level that it is told",
    "log-SNR",
    papers=("$t$", "$t$", r"$c_\text{noise} = \frac14\ln\sigma$", "$t$", "$t$"),
    libraries=("`timestep`; EDM: `precondition_noise(sigma)`", "`sigma`"),
)
def test_noise_level(make_generator):
    x, _ = noises(make_generator)
    t = number(0.3)
    ours = shown(VP, x, t).log_snr
    equal(ours, -8 * (karras_sigma(t).log() / 4))
    equal(ours, -2 * karras_sigma(t).log())
    equal(ours, -torch.log(torch.exp(song_b(t)) - 1))
    equal(ours, 2 * lu_lambda(t))
    near(ours, -8 * EDMEulerScheduler().precondition_noise(karras_sigma(t)))
    theirs = 1 - t
    equal(shown(FLOW, x, t).log_snr, 2 * torch.log(theirs / (1 - theirs)))
    k, bars = 137, DDPMScheduler(**SETTINGS).alphas_cumprod
    ours = shown(DDPM, x, number(k / T)).log_snr
    equal(ours, math.log(ALPHA_BAR[k - 1] / (1 - ALPHA_BAR[k - 1])))
    near(ours, torch.log(bars[k - 1] / (1 - bars[k - 1])))


@row(
    "Karras' steps",
    "`karras_times`",
    papers=("–", "–", r"$\sigma_i$, equation 5", "–", "–"),
    libraries=("`use_karras_sigmas=True`", "`get_sigmas_karras`"),
)
def test_karras_steps():
    n, low, high, rho = 18, 0.002, 80.0, 7
    i = torch.arange(n, dtype=torch.float64)
    theirs = (high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    ours = EDM.sigma(karras_times(EDM, n, sigma_min=low, sigma_max=high, rho=rho))
    equal(ours, torch.cat([theirs, torch.zeros(1)]))  # k-diffusion appends the zero, too
    scheduler = EulerDiscreteScheduler(**SETTINGS, use_karras_sigmas=True)
    scheduler.set_timesteps(n)
    low, high = float(scheduler.sigmas[-2]), float(scheduler.sigmas[0])
    times = karras_times(DDPM, n, sigma_min=low, sigma_max=high)
    near(DDPM.sigma(times) / DDPM.alpha(times), scheduler.sigmas)
