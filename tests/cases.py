"""What many tests share: paths, shapes and mixtures to try, and the bound behind the tests on samples."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from minidiff.exact import GaussianMixture, log_prob, posterior_mean
from minidiff.paths import GaussianPath
from minidiff.schedules import cosine, ddpm_linear, vp_linear
from minidiff.targets import coefficients, target

# The package's own paths, and two that it does not have yet: nothing may lean on alpha^2 + sigma^2 = 1.
PATHS = {
    "ddpm_linear": ddpm_linear(),
    "cosine": cosine(),
    "vp_linear": vp_linear(),
    "flow": GaussianPath(alpha=lambda t: 1 - t, sigma=lambda t: 1 * t),
    "ve": GaussianPath(alpha=torch.ones_like, sigma=lambda t: 0.01 * 8000**t, t_min=1e-3),
}
SHAPES = {"points": (4, 2), "images": (3, 1, 8, 8)}
KINDS = ("x0", "eps", "score", "v", "velocity")

every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
every_kind = pytest.mark.parametrize("kind", KINDS)


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def number(value: float) -> Tensor:
    """A scalar tensor in float64."""
    return torch.tensor(value, dtype=torch.float64)


def inner_times(n: int, generator: torch.Generator) -> Tensor:
    """n times in [0.02, 0.98], away from the ends at which some prediction says nothing. (n,), float64."""
    return 0.02 + 0.96 * torch.rand(n, generator=generator, dtype=torch.float64)


def random_mixture(components: int, shape: tuple[int, ...], generator: torch.Generator) -> GaussianMixture:
    """Unequal weights, means about 1 from the origin, full covariances far from round; in float64."""
    d = math.prod(shape)
    weights = 0.2 + torch.rand(components, generator=generator, dtype=torch.float64)
    factors = normal((components, d, d), generator) * (0.4 / math.sqrt(d))
    covariances = factors @ factors.mT + 0.02 * torch.eye(d, dtype=torch.float64)
    return GaussianMixture(weights / weights.sum(), normal((components, *shape), generator), covariances)


def falling(n: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """n even steps down from start to end, (n + 1,), float64."""
    return torch.linspace(start, end, n + 1, dtype=torch.float64)


def one_gaussian(std: float, shape: tuple[int, ...] = (1,)) -> GaussianMixture:
    """N(0, std^2 I), in float64."""
    d = math.prod(shape)
    return GaussianMixture(torch.ones(1), torch.zeros(1, *shape), std**2 * torch.eye(d)[None]).to(torch.float64)


def exact_log_prob(mixture: GaussianMixture, x: Tensor) -> Tensor:
    """log p of clean data."""
    return log_prob(mixture, vp_linear(), x, number(0.0))


def wavy(x_t: Tensor, t: Tensor) -> Tensor:
    """Some denoiser."""
    return torch.sin(2 * x_t) + t


def halved(x_t: Tensor, t: Tensor) -> Tensor:
    """A denoiser that says half of x."""
    return 0.5 * x_t


class Counting:
    """A denoiser that counts what it is asked, and in which dtype."""

    def __init__(self, denoise):
        self.denoise, self.calls, self.dtypes = denoise, 0, set()

    def __call__(self, x_t, t):
        self.calls += 1
        self.dtypes.add(x_t.dtype)
        return self.denoise(x_t, t)


def assert_close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    """Fail unless a and b agree in shape, type and every element, to `tolerance` absolutely plus relatively."""
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def farthest_from_cdf(samples: Tensor, cdf: Callable[[np.ndarray], np.ndarray]) -> float:
    """sup |F_n - F| of numbers, (n,), against their exact distribution (the Kolmogorov-Smirnov statistic)."""
    x = np.sort(samples.double().numpy())
    exact, n = cdf(x), len(x)
    return float(max((np.arange(1, n + 1) / n - exact).max(), (exact - np.arange(n) / n).max()))


def dkw_bound(n: int, false_alarm: float = 1e-10) -> float:
    """What sup |F_n - F| of n independent draws exceeds with at most this probability.

    P(sup |F_n - F| > e) <= 2 exp(-2 n e^2), for every n and every F (Dvoretzky, Kiefer & Wolfowitz 1956; Massart
    1990). So a test on samples has a false-alarm rate that holds without any approximation.
    """
    return math.sqrt(math.log(2 / false_alarm) / (2 * n))


def line_cdf(line: Tensor, weights: Tensor, means: Tensor, covariances: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """The exact distribution of line . x for x from a mixture. line: (d,); means: (K, d); covariances: (K, d, d)."""
    centres, spreads = means @ line, torch.einsum("i,kij,j->k", line, covariances, line).sqrt()
    return lambda x: norm.cdf((x[:, None] - centres.numpy()) / spreads.numpy()) @ weights.numpy()


class PerfectNetwork(nn.Module):
    """Answers E[target | x_t] of a mixture at one time t, at unit scale, and keeps the y that it was given."""

    def __init__(self, mixture: GaussianMixture, path: GaussianPath, kind: str, t: Tensor):
        super().__init__()
        self.mixture, self.path, self.kind, self.t, self.y = mixture, path, kind, t, None

    def forward(self, x, log_snr, y=None):
        self.y = y
        alpha, sigma = self.path.alpha(self.t), self.path.sigma(self.t)
        x_t = x * torch.hypot(alpha, sigma)
        mean = posterior_mean(self.mixture, self.path, x_t, self.t)
        answer = target(self.kind, self.path, mean, (x_t - alpha * mean) / sigma, self.t)
        return answer / torch.hypot(*coefficients(self.kind, self.path, self.t))


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """A copy of all that a network holds."""
    return {name: value.clone() for name, value in net.state_dict().items()}


def same_weights(net: nn.Module, weights: dict[str, Tensor]) -> bool:
    """Whether a network holds just these, to the last bit."""
    return all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


class PlugPulled(BaseException):
    """What no code may catch: the process is gone."""
