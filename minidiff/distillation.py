"""Few steps: networks that do at once what a sampler does in many steps. Taught in notebook 20.

Two answers exist to the question where one large step from t to s should lead. Both are known exactly for a mixture.

    along the ODE    one point, the flow map: (x_t, t, s) -> x_s. On a line it is F_s^-1(F_t(x_t)) (exact.line_flow).
                     Learned by `progressive_objective` and `consistency_objective`.
    at random        a draw from q(x_s | x_t). Given a draw of x0 from p(x0 | x_t), the rest is the posterior of
                     notebook 06. Learned by `energy_score_objective` and `adversarial_objective`.

Neither is E[x0 | x_t]. So a student is no `Denoiser`: it has a type of its own, `samplers.FlowMap` or
`samplers.DrawX0`, with other arguments, and a sampler of notebook 10 that is handed one fails at once.

Sources: Salimans & Ho 2022 (progressive distillation), arXiv 2202.00512, algorithm 2; Song, Dhariwal, Chen & Sutskever
2023 (consistency models), arXiv 2303.01469, algorithms 1 to 3; Xiao, Kreis & Vahdat 2022 (denoising diffusion GAN),
arXiv 2112.07804; De Bortoli et al. 2025 (scoring rules), arXiv 2502.02483; Mescheder, Geiger & Nowozin 2018
(the gradient penalty R1), arXiv 1801.04406.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_whole, expand, noise_like
from minidiff.denoisers import Denoiser, from_network
from minidiff.paths import GaussianPath
from minidiff.samplers import FlowMap, ddim_step, heun, last
from minidiff.targets import Target, network_input, network_output, target
from minidiff.training import Batch, Draws, Objective, Weight, spread_times

__all__ = [
    "ConsistencyMap",
    "NetworkDraw",
    "SolvedMap",
    "StepMap",
    "Teacher",
    "adversarial_objective",
    "carried",
    "consistency_objective",
    "energy_score",
    "energy_score_objective",
    "progressive_objective",
    "step_target",
]

Teacher = Callable[[Any], Denoiser]  # what is asked for (a label, or None) -> the denoiser that a student learns from

SMALLEST_SQUARE = 1e-6  # added to |x|^2 below a root, whose slope is infinite at 0

# Flow maps: from (x_t, t) straight to x_s


@dataclass(frozen=True, eq=False)
class SolvedMap:
    """The flow map by Heun's method, in so many even steps from t to s: what students are held against. Notebook 20."""

    denoise: Denoiser
    path: GaussianPath
    steps: int

    def __call__(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        share = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        times = float(t) + (float(s) - float(t)) * share
        times[-1] = float(s)
        return last(heun(self.denoise, self.path, x_t, times))


@dataclass(frozen=True, eq=False)
class StepMap:
    """A student of N steps: one DDIM step with its network, from k / N to (k - 1) / N (Salimans & Ho, algorithm 2).

    What its network returns is no E[x0 | x_t]: it is what makes one DDIM step *of this size* end where it should. So it
    refuses all other times. Notebook 20.
    """

    net: nn.Module
    path: GaussianPath
    kind: Target
    steps: int
    y: Any = None

    def __call__(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        k = round(float(t) * self.steps)
        own = torch.tensor([k, k - 1.0]) / self.steps
        if k < 1 or not torch.allclose(torch.stack([t, s]).to(own), own, atol=1e-6):
            raise ValueError(
                f"a student of {self.steps} steps goes from k / {self.steps} to (k - 1) / {self.steps} only, and not "
                f"from {float(t):.6g} to {float(s):.6g}"
            )
        return ddim_step(from_network(self.net, self.path, self.kind, self.y), self.path, x_t, t, s).x


@dataclass(frozen=True, eq=False)
class ConsistencyMap:
    """A consistency model: from any t at once to s = 0, and nowhere else (Song et al. 2023, section 3). Notebook 20.

    With kind="v" the boundary condition f(x, 0) = x holds by itself, since f = alpha x - sigma v.
    """

    net: nn.Module
    path: GaussianPath
    kind: Target = "v"
    y: Any = None

    def __call__(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        if float(s) != 0:
            raise ValueError(f"a consistency model goes to s = 0 only, and not to {float(s):.6g}")
        return from_network(self.net, self.path, self.kind, self.y)(x_t, t)


@torch.no_grad()
def carried(flow_map: FlowMap, x: Tensor, times: Tensor) -> Tensor:
    """Follow a flow map down `times`, (N + 1,), one jump after the other. x: (B, *D) at times[0]. Notebook 20."""
    for t, s in itertools.pairwise(times):
        x = flow_map(x, t, s)
    return x


# Along the ODE: progressive distillation


def step_target(
    denoise: Denoiser, path: GaussianPath, x_t: Tensor, t: Tensor, s: Tensor, *, substeps: int = 2
) -> Tensor:
    """The x0 with which *one* DDIM step from t to s ends where `substeps` of the teacher's do. Notebook 20.

    Salimans & Ho 2022, algorithm 2. One step goes to alpha_s x0 + sigma_s (x_t - alpha_t x0) / sigma_t,
    which is solved for x0. x_t: (B, *D); t, s: () or (B,). Returns (B, *D).
    """
    check_whole("substeps", substeps)
    x, now = x_t, t
    for k in range(1, substeps + 1):
        then = s if k == substeps else t + (s - t) * (k / substeps)
        x, now = ddim_step(denoise, path, x, now, then).x, then
    ratio = path.sigma(s) / path.sigma(t)
    return (x - expand(ratio, x) * x_t) / expand(path.alpha(s) - ratio * path.alpha(t), x)


def progressive_objective(
    teacher: Teacher,
    path: GaussianPath,
    kind: Target,
    *,
    steps: int,
    substeps: int = 2,
    weight: Weight | None = None,
) -> Objective:
    """A loss for `train`: one step of the student is `substeps` of the teacher (Salimans & Ho, algorithm 2).

    steps: of the student, N. Times are k / N. The least of it is the flow map of the teacher's DDIM steps: both sides
    are functions of x_t, so that this loss, unlike that of a denoiser, can fall to 0. Notebook 20.
    """

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        x_t, t, s = path.perturb(draws.x0, draws.t, draws.eps), draws.t, step_before(draws.t, steps)
        with torch.no_grad():
            x0 = step_target(teacher(draws.y), path, x_t, t, s, substeps=substeps)
            wanted = target(kind, path, x0, (x_t - expand(path.alpha(t), x_t) * x0) / expand(path.sigma(t), x_t), t)
        out = network_output(net, kind, path, x_t, t, draws.y)
        losses = (out - wanted).square().flatten(1).mean(1)
        return losses if weight is None else losses * weight(path, t)

    return Objective(on_grid(path, steps), loss)


def on_grid(path: GaussianPath, steps: int) -> Callable[[Batch, torch.Generator], Draws]:
    """Times k / N, k from 1 to N, all alike often, and noise."""
    check_whole("steps", steps)

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        t = (spread_times(len(batch.x0), path, generator) * steps).ceil().clamp(min=1) / steps
        return Draws(batch.x0, t.to(batch.x0), noise_like(batch.x0, generator), batch.y)

    return draw


def step_before(t: Tensor, steps: int) -> Tensor:
    """(k - 1) / N for t = k / N."""
    return ((t * steps).round() - 1) / steps


# Along the ODE: consistency


def consistency_objective(path: GaussianPath, *, steps: int, teacher: Teacher | None = None) -> Objective:
    """A loss for `train`: two neighbouring points of one trajectory must be sent to the same x0. Notebook 20.

    teacher: the neighbour is one DDIM step of its (consistency distillation, Song et al. 2023, algorithm 2). None: it
    is the same pair (x0, eps) at the lower time (consistency training, algorithm 3). The target is the network's own
    answer there, without a gradient and without a moving average (Song & Dhariwal 2024, arXiv 2310.14189).
    The network predicts v, which makes f(x, 0) = x. The error of x0 over sigma_t is the error of v.
    """

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        x_t, t, s = path.perturb(draws.x0, draws.t, draws.eps), draws.t, step_before(draws.t, steps)
        f = from_network(net, path, "v", draws.y)
        with torch.no_grad():
            if teacher is None:
                x_s = path.perturb(draws.x0, s, draws.eps)
            else:
                x_s = ddim_step(teacher(draws.y), path, x_t, t, s).x
            wanted = f(x_s, s)
        return ((f(x_t, t) - wanted) / expand(path.sigma(t), x_t)).square().flatten(1).mean(1)

    return Objective(on_grid(path, steps), loss)


# At random: a draw of x0


@dataclass(frozen=True, eq=False)
class NetworkDraw:
    """A draw of x0 given x_t, by a network of x_t, the log-SNR and its own noise z (networks.StepGenerator)."""

    net: nn.Module
    path: GaussianPath

    def __call__(self, x_t: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        z = noise_like(x_t.new_empty(len(x_t), self.net.noise), generator)
        return self.net(*network_input(self.path, x_t, t), z)


def lengths(x: Tensor) -> Tensor:
    """|x| of each sample, (B,), with a slope everywhere."""
    return (x.flatten(1).square().sum(1) + SMALLEST_SQUARE).sqrt()


def energy_score(a: Tensor, b: Tensor, x0: Tensor) -> Tensor:
    """(|a - x0| + |b - x0|) / 2 - |a - b| / 2 of two draws a, b for one x0, (B, *D) -> (B,). Notebook 20.

    Its mean is least where a and b have the distribution of x0, and nowhere else (Gneiting & Raftery 2007, section
    4.3). Without the second term all draws would go to one point, the median.
    """
    return (lengths(a - x0) + lengths(b - x0) - lengths(a - b)) / 2


def energy_score_objective(path: GaussianPath, *, steps: int) -> Objective:
    """A loss for `train`: draws of x0 given x_t, scored by one real x0 (De Bortoli et al. 2025). Notebook 20.

    The network is a StepGenerator whose z has as many numbers as a point. Times are k / N with N = steps.
    """

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        eps, first, second = draws.eps.unbind(1)
        seen = network_input(path, path.perturb(draws.x0, draws.t, eps), draws.t)
        return energy_score(net(*seen, first), net(*seen, second), draws.x0)

    return Objective(with_noise(on_grid(path, steps), 3), loss)


def with_noise(draw: Callable[[Batch, torch.Generator], Draws], parts: int) -> Callable:
    """The same draws with several noises in eps, (B, parts, *D)."""

    def more(batch: Batch, generator: torch.Generator) -> Draws:
        draws = draw(batch, generator)
        return draws._replace(eps=torch.stack([noise_like(batch.x0, generator) for _ in range(parts)], 1))

    return more


def adversarial_objective(path: GaussianPath, *, steps: int, penalty: float = 0.01) -> Objective:
    """A loss for `train` with two players: the denoising diffusion GAN (Xiao, Kreis & Vahdat 2022).

    The critic tells pairs (x_s, x_t) of the forward process from pairs whose x_s was generated; the generator draws x0,
    and x_s follows from the posterior of notebook 06. Each player has a loss of its own. Their sum is one loss for both
    at once, since what is generated reaches the critic's loss without a gradient, and the generator's loss sees a
    critic whose weights stand still.

    penalty: R1, on the critic's slope at real pairs (Mescheder et al. 2018).

    The network is `networks.Adversaries`. Nothing can be read from the size of this loss. Notebook 20.
    """

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        noise, between, again, *z = draws.eps.unbind(1)
        t, s = draws.t, step_before(draws.t, steps)
        factor, variance = path.transition(t, s)
        real = path.perturb(draws.x0, s, noise).requires_grad_()
        x_t = (expand(factor, real) * real + expand(variance.clamp(min=0).sqrt(), real) * between).detach()
        x_in, log_snr = network_input(path, x_t, t)
        of_real = net.critic(real, x_in, log_snr)
        (slope,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
        mean, _ = path.posterior(x_t, net.generator(x_in, log_snr, z[0]), t, s)
        fake = mean + expand(path.posterior_variance(t, s).clamp(min=0).sqrt(), mean) * again
        still = {name: value.detach() for name, value in net.critic.named_parameters()}
        critic = functional.softplus(-of_real) + functional.softplus(net.critic(fake.detach(), x_in, log_snr))
        player = functional.softplus(-torch.func.functional_call(net.critic, still, (fake, x_in, log_snr)))
        return critic + penalty / 2 * slope.square().flatten(1).sum(1) + player

    return Objective(with_noise(on_grid(path, steps), 4), loss)
