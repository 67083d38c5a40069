"""A clinic for diffusion models: patients with one fault each, and instruments that say where it is. Notebook 28.

A patient is a small diffusion model of points in the plane, trained and sampled by lines that somebody wrote: its
`Training` and its `Sampling`. The defaults are right. A `Fault` changes one of them. An instrument looks at a patient
from outside and gives a `Reading`: a number, and the bounds between which it lies for a healthy patient. The data are
`data.three_gaussians()`, so that every instrument can compare with the exact answer.

The loop that trains patients is their own, and not `training.train`: that one clears gradients, leaves data alone and
warms up its average, so some of these faults cannot be made with it.

The bounds (`BOUNDS`) were chosen with the seeds 5 to 9, and then tried with the seeds 0 to 4.

Sources: Ho, Jain & Abbeel 2020 (DDPM), arXiv 2006.11239, algorithms 1 and 2; Song & Ermon 2020, arXiv 2006.09011
(a moving average of the weights); Ho & Salimans 2022, arXiv 2207.12598 (guidance, labels dropped in training).
"""

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff import denoisers, exact, generator, networks, samplers, schedules, training
from minidiff._tensors import check_whole, noise_like
from minidiff.data import three_gaussians
from minidiff.denoisers import Denoiser
from minidiff.exact import GaussianMixture
from minidiff.networks import NO_LABEL
from minidiff.paths import GaussianPath

__all__ = [
    "BOUNDS",
    "FAULTS",
    "INSTRUMENTS",
    "LABELLED_BOUNDS",
    "MIXTURE",
    "PATH",
    "WARD",
    "Clinic",
    "Consultation",
    "Fault",
    "Patient",
    "Reading",
    "Ruler",
    "Sampling",
    "Training",
    "examine",
    "is_right",
    "loss_floor",
    "pair_of_steps",
    "rings",
    "score_error",
    "symptoms",
    "train",
]

MIXTURE, PATH = three_gaussians(), schedules.ddpm_linear()
CLASSES = 3
POINTS, STEPS, BATCH, WIDTH, RATE = 10_000, 700, 512, 64, 1e-2  # of a training
WALK = 100  # steps of a patient's sampler
DRAWN = 3000  # samples that are compared with real ones
MOMENTS = (torch.arange(25) + 0.5) / 25  # times at which a network is compared with the exact mean
LAST = 200  # steps over which the loss is averaged
LEVELS = (-20.0, 20.0)  # of log-SNR, as the network is told


# What a patient does. Every default is right.


def as_it_is(x: Tensor) -> Tensor:
    return x


def same_labels(y: Tensor, g: torch.Generator) -> Tensor:
    return y


def mixed(path: GaussianPath, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    return path.perturb(x0, t, eps)


def level(path: GaussianPath, t: Tensor) -> Tensor:
    """The log-SNR, which the network is told."""
    return path.log_snr(t).clamp(*LEVELS)


def cleared(optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()


def warmed_up(average: training.EMA, net: nn.Module) -> None:
    average.update(net)


def from_eps(path: GaussianPath, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """x0 from the predicted noise. t: (B,)."""
    return (x - path.sigma(t)[:, None] * out) / path.alpha(t)[:, None]


def normal_start(n: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, 2, generator=g)


def falling(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return pairs


def own_step(path: GaussianPath, denoise: Denoiser, x: Tensor, t: Tensor, s: Tensor, g: torch.Generator) -> Tensor:
    """One step of DDPM's sampler (DDPM, algorithm 2)."""
    mean, variance = path.posterior(x, denoise(x, t), t, s)
    return mean + variance.sqrt() * noise_like(x, g)


def at_the_end(t: Tensor, s: Tensor) -> Tensor:
    """Where Heun's method evaluates a second time."""
    return s


@dataclass(frozen=True)
class Training:
    """What a patient does with data, noise and network while it learns. The defaults are right.

    prepare: x0, (N, 2), before anything else. relabel: (y, generator) -> y. dropped: the share of labels that are
    hidden. latest: the largest t. noise: (x0, generator) -> eps. mix: (path, x0, t, eps) -> x_t. told: (path, t) -> the
    level that the network is told, (B,). clear: what happens to the gradients before the backward pass. average: how
    the average of the weights moves, with decay. dropout: the share of activations that are dropped, in sampling too.
    """

    path: GaussianPath = PATH
    prepare: Callable[[Tensor], Tensor] = as_it_is
    relabel: Callable[[Tensor, torch.Generator], Tensor] = same_labels
    dropped: float = 0.2
    latest: float = 1.0
    noise: Callable[[Tensor, torch.Generator], Tensor] = noise_like
    mix: Callable[[GaussianPath, Tensor, Tensor, Tensor], Tensor] = mixed
    told: Callable[[GaussianPath, Tensor], Tensor] = level
    clear: Callable[[torch.optim.Optimizer], None] = cleared
    average: Callable[[training.EMA, nn.Module], None] = warmed_up
    decay: float = 0.99
    dropout: float = 0.0


@dataclass(frozen=True)
class Sampling:
    """What a patient does with its network when it draws. The defaults are right.

    asked: (path, t) -> the level that the network is told; None: as in training. x0: (path, output, x, t) -> x0_hat.
    start: (n, generator) -> x at t = 1. order: the pairs (t, s) of the steps, as they are made. step: one ancestral
    step, (path, denoise, x, t, s, generator) -> x_s. second: (t, s) -> the time of the second evaluation of Heun's
    method. guide: (conditional, unconditional, w) -> Denoiser.
    """

    asked: Callable[[GaussianPath, Tensor], Tensor] | None = None
    x0: Callable[[GaussianPath, Tensor, Tensor, Tensor], Tensor] = from_eps
    start: Callable[[int, torch.Generator], Tensor] = normal_start
    order: Callable[[list], list] = falling
    step: Callable[..., Tensor] = own_step
    second: Callable[[Tensor, Tensor], Tensor] = at_the_end
    guide: Callable[[Denoiser, Denoiser, float], Denoiser] = denoisers.guided


# The faults


def scaled(x: Tensor) -> Tensor:
    return 3 * x + 2


def shuffled(y: Tensor, g: torch.Generator) -> Tensor:
    return y[torch.randperm(len(y), generator=g)]


def uniform_noise(x0: Tensor, g: torch.Generator) -> Tensor:
    return torch.rand(x0.shape, generator=g)


def frozen_noise(x0: Tensor, g: torch.Generator) -> Tensor:
    return torch.randn(x0.shape, generator=torch.Generator().manual_seed(42))


def variance_times_noise(path: GaussianPath, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    return path.alpha(t)[:, None] * x0 + path.sigma(t)[:, None] ** 2 * eps


def into_the_data(path: GaussianPath, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    return x0.mul_(path.alpha(t)[:, None]).add_(path.sigma(t)[:, None] * eps)


def nothing_told(path: GaussianPath, t: Tensor) -> Tensor:
    return torch.zeros_like(t)


def time_itself(path: GaussianPath, t: Tensor) -> Tensor:
    return 1.0 * t


def flipped(path: GaussianPath, t: Tensor) -> Tensor:
    return level(path, (1 - t).clamp(min=1e-3))


def never_cleared(optimizer: torch.optim.Optimizer) -> None:
    pass


@torch.no_grad()
def from_the_start(average: training.EMA, net: nn.Module) -> None:
    for old, new in zip(average.net.parameters(), net.parameters(), strict=True):
        old.lerp_(new, 1 - average.decay)


def as_if_v(path: GaussianPath, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
    return path.alpha(t)[:, None] * x - path.sigma(t)[:, None] * out


def wrong_sign(path: GaussianPath, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
    return (x + path.sigma(t)[:, None] * out) / path.alpha(t)[:, None]


def uniform_start(n: int, g: torch.Generator) -> Tensor:
    return torch.rand(n, 2, generator=g)


def rising(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return pairs[::-1]


def variance_as_std(path, denoise, x, t, s, g):
    mean, variance = path.posterior(x, denoise(x, t), t, s)
    return mean + variance * noise_like(x, g)


def noise_at_the_end(path, denoise, x, t, s, g):
    mean, variance = path.posterior(x, denoise(x, t), t, s)
    if not s > 0:
        variance = path.transition(t, s)[1]
    return mean + variance.sqrt() * noise_like(x, g)


def betas_of_the_table(path, denoise, x, t, s, g):
    mean, _ = path.posterior(x, denoise(x, t), t, s)
    one_of_a_thousand = path.transition(t, (t - 1e-3).clamp(min=0))[1]
    return mean + one_of_a_thousand.sqrt() * noise_like(x, g)


def clipped_step(path, denoise, x, t, s, g):
    mean, variance = path.posterior(x, denoise(x, t).clamp(-1, 1), t, s)
    return mean + variance.sqrt() * noise_like(x, g)


def same_noise(path, denoise, x, t, s, g):
    mean, variance = path.posterior(x, denoise(x, t), t, s)
    return mean + variance.sqrt() * torch.randn(x.shape, generator=torch.Generator().manual_seed(7))


def predicted_noise(path, denoise, x, t, s, g):
    x0 = denoise(x, t)
    mean, variance = path.posterior(x, x0, t, s)
    return mean + variance.sqrt() * (x - path.alpha(t) * x0) / path.sigma(t)


def off_by_one(path, denoise, x, t, s, g):
    mean, variance = path.posterior(x, denoise(x, s if s > 0 else t), t, s)
    return mean + variance.sqrt() * noise_like(x, g)


def at_the_beginning(t: Tensor, s: Tensor) -> Tensor:
    return t


def on_top(conditional: Denoiser, unconditional: Denoiser, w: float) -> Denoiser:
    return lambda x, t: conditional(x, t) + w * (conditional(x, t) - unconditional(x, t))


def swapped(conditional: Denoiser, unconditional: Denoiser, w: float) -> Denoiser:
    return denoisers.guided(unconditional, conditional, w)


@dataclass(frozen=True)
class Fault:
    """One fault. `FAULTS` holds them by name.

    wrong, right: the line as somebody wrote it, and as it should be. rings: the names of the instruments that ring, as
    tried with the seeds 0 to 9. training, sampling: what the patient does. labelled: whether its network knows labels.
    seen: public threads about it, owner/name#number.
    """

    wrong: str
    right: str
    rings: tuple[str, ...]
    training: Training = Training()
    sampling: Sampling = Sampling()
    labelled: bool = False
    seen: tuple[str, ...] = ()


HEALTHY, HEALTHY_LABELS = "healthy", "healthy, with labels"
FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        HEALTHY: Fault("", "", ()),
        HEALTHY_LABELS: Fault("", "", (), labelled=True),
        "uniform noise": Fault(
            "eps = torch.rand(x0.shape)",
            "eps = torch.randn(x0.shape)",
            ("loss", "forward", "ends", "score", "network"),
            Training(noise=uniform_noise),
            seen=("acids-ircam/diffusion_models#8",),
        ),
        "variance in x_t": Fault(
            "x_t = alpha * x0 + sigma**2 * eps",
            "x_t = alpha * x0 + sigma * eps",
            ("loss", "forward", "score"),
            Training(mix=variance_times_noise),
            seen=("Ryota-Kawamura/How-Diffusion-Models-Work#1",),
        ),
        "data not scaled": Fault(
            "x0 = pixels",
            "x0 = (pixels - mean) / std",
            ("loss", "forward", "score", "network"),
            Training(prepare=scaled),
        ),
        "data noised in place": Fault(
            "x_t = x0.mul_(alpha).add_(sigma * eps)",
            "x_t = alpha * x0 + sigma * eps",
            ("loss", "score", "network", "data"),
            Training(mix=into_the_data),
        ),
        "same noise in every batch": Fault(
            "torch.manual_seed(42); eps = torch.randn(x0.shape)",
            "eps = torch.randn(x0.shape, generator=g)",
            ("repeats",),
            Training(noise=frozen_noise),
        ),
        "time not given": Fault(
            "out = net(x_t, 0 * log_snr)",
            "out = net(x_t, log_snr)",
            ("loss", "score", "network", "time"),
            Training(told=nothing_told),
        ),
        "only small t": Fault(
            "t = 0.5 * torch.rand(n)",
            "t = torch.rand(n)",
            ("loss", "score"),
            Training(latest=0.5),
        ),
        "labels shuffled": Fault(
            "x, y = x[torch.randperm(n)], y[torch.randperm(n)]",
            "rows = torch.randperm(n); x, y = x[rows], y[rows]",
            ("loss", "labels"),
            Training(relabel=shuffled),
            labelled=True,
        ),
        "labels never dropped": Fault(
            "out = net(x_t, log_snr, y)",
            "y = y.masked_fill(torch.rand(n) < 0.2, NO_LABEL); out = net(x_t, log_snr, y)",
            ("loss", "score"),
            Training(dropped=0.0),
            labelled=True,
            seen=("mlfoundations/open-diffusion#6",),
        ),
        "gradients not cleared": Fault(
            "loss.backward(); optimizer.step()",
            "optimizer.zero_grad(); loss.backward(); optimizer.step()",
            ("loss", "score", "network", "time"),
            Training(clear=never_cleared),
        ),
        "dropout left on": Fault(
            "x0_hat = from_network(net, path, 'eps')",
            "x0_hat = from_network(net.eval(), path, 'eps')",
            ("score", "twice"),
            Training(dropout=0.1),
            seen=("ipolharvard/ethos-ares#20",),
        ),
        "average from the start": Fault(
            "average = 0.9999 * average + 0.0001 * net",
            "keep = min(0.9999, k / (k + 9)); average = keep * average + (1 - keep) * net",
            ("score", "network", "time", "average"),
            Training(average=from_the_start, decay=0.9999),
            seen=("konpatp/diffae#16", "openai/improved-diffusion#59"),
        ),
        "fewer steps, same betas": Fault(
            "path = tabulated(torch.linspace(1e-4, 0.02, 50))",
            "path = tabulated(20 * torch.linspace(1e-4, 0.02, 50))",
            ("ends",),
            Training(path=schedules.ddpm_linear(50)),
            seen=("zoubohao/DenoisingDiffusionProbabilityModel-ddpm-#14",),
        ),
        "another scale of time": Fault(
            "out = net(x, t)",
            "out = net(x, log_snr(t))",
            ("score", "network"),
            sampling=Sampling(asked=time_itself),
        ),
        "time flipped": Fault(
            "out = net(x, log_snr(1 - t))",
            "out = net(x, log_snr(t))",
            ("score", "network"),
            sampling=Sampling(asked=flipped),
        ),
        "noise read as v": Fault(
            "x0_hat = alpha * x - sigma * out",
            "x0_hat = (x - sigma * out) / alpha",
            ("score", "network"),
            sampling=Sampling(x0=as_if_v),
            seen=("invoke-ai/InvokeAI#7495",),
        ),
        "sign of the noise": Fault(
            "x0_hat = (x + sigma * out) / alpha",
            "x0_hat = (x - sigma * out) / alpha",
            ("score", "network"),
            sampling=Sampling(x0=wrong_sign),
        ),
        "variance for the standard deviation": Fault(
            "x = mean + variance * z",
            "x = mean + variance.sqrt() * z",
            ("sampler", "noise", "one step"),
            sampling=Sampling(step=variance_as_std),
            seen=("labmlai/annotated_deep_learning_paper_implementations#152",),
        ),
        "betas of the full table": Fault(
            "x = mean + beta[k].sqrt() * z  # one of 1000, in a sampler of 100 steps",
            "x = mean + path.posterior_variance(t, s).sqrt() * z",
            ("sampler", "noise", "one step", "last step"),
            sampling=Sampling(step=betas_of_the_table),
            seen=("huggingface/diffusers#2076",),
        ),
        "noise in the last step": Fault(
            "x = mean + beta.sqrt() * z",
            "x = mean + (beta.sqrt() * z if s > 0 else 0)",
            ("last step",),
            sampling=Sampling(step=noise_at_the_end),
        ),
        "clipped to the range of pixels": Fault(
            "x0_hat = denoise(x, t).clamp(-1, 1)",
            "x0_hat = denoise(x, t)  # points in the plane have no such range",
            ("sampler", "one step", "last step"),
            sampling=Sampling(step=clipped_step),
            seen=("CompVis/latent-diffusion#239",),
        ),
        "same noise in every step": Fault(
            "z = torch.randn(n, 2)  # once, above the loop",
            "z = torch.randn(n, 2)  # in every step",
            ("sampler", "repeats", "one step"),
            sampling=Sampling(step=same_noise),
        ),
        "predicted noise for fresh noise": Fault(
            "x = mean + std * eps_hat",
            "x = mean + std * torch.randn(n, 2)",
            ("sampler", "noise", "repeats", "one step"),
            sampling=Sampling(step=predicted_noise),
        ),
        "steps in the wrong order": Fault(
            "for k in range(T):",
            "for k in reversed(range(T)):",
            ("sampler", "last step"),
            sampling=Sampling(order=rising),
        ),
        "asked for the time of the next step": Fault(
            "x0_hat = denoise(x, s)",
            "x0_hat = denoise(x, t)",
            ("one step",),
            sampling=Sampling(step=off_by_one),
            seen=("huggingface/diffusers#5832",),
        ),
        "Heun's second time": Fault(
            "second = slope(x + first, t)",
            "second = slope(x + first, s)",
            ("order",),
            sampling=Sampling(second=at_the_beginning),
        ),
        "uniform start": Fault(
            "x = torch.rand(n, 2)",
            "x = torch.randn(n, 2)",
            ("ends",),
            sampling=Sampling(start=uniform_start),
            seen=("HRI-EU/flow_matching#7",),
        ),
        "guidance on top of the conditional": Fault(
            "x0_hat = c + w * (c - u)",
            "x0_hat = u + w * (c - u)",
            ("guidance",),
            sampling=Sampling(guide=on_top),
            labelled=True,
            seen=("huggingface/diffusers#5882",),
        ),
        "guidance the wrong way round": Fault(
            "x0_hat = c + w * (u - c)",
            "x0_hat = u + w * (c - u)",
            ("guidance",),
            sampling=Sampling(guide=swapped),
            labelled=True,
        ),
    }
)


# Patients


@dataclass(frozen=True, eq=False)
class Patient:
    """A trained diffusion model of points in the plane, as somebody wrote it. What the instruments look at.

    net: its network as it samples with it; raw: the network without the average. loss: the mean of its last training
    losses. x, y: its data, (N, 2) and (N,), as they are after training; moved: by how much training changed x (root
    mean square). seed: of its sampler.
    """

    training: Training
    sampling: Sampling
    labelled: bool
    net: nn.Module = field(repr=False)
    raw: nn.Module = field(repr=False)
    loss: float
    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    moved: float
    seed: int = 0

    @property
    def path(self) -> GaussianPath:
        return self.training.path

    def noised(self, x0: Tensor, t: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        """Its x_t and its noise. x0: (B, 2), which stays as it is; t: (B,)."""
        eps = self.training.noise(x0, g)
        return self.training.mix(self.path, x0.clone(), t, eps), eps

    def denoiser(self, y: Tensor | None = None, *, raw: bool = False) -> Denoiser:
        """E[x0 | x_t] as it reads it from its network. y: labels, () or (B,), for a patient with labels."""
        net, asked = self.raw if raw else self.net, self.sampling.asked or self.training.told

        @torch.no_grad()
        def denoise(x: Tensor, t: Tensor) -> Tensor:
            t = t.to(x).expand(len(x)) if t.ndim == 0 else t
            return self.sampling.x0(self.path, net(x, asked(self.path, t), y), x, t)

        return denoise

    def steps(self, denoise: Denoiser, x: Tensor, n: int, g: torch.Generator) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Its ancestral sampler, in n steps: (t, s, x at s) for each, as they are made."""
        pairs = self.sampling.order(list(itertools.pairwise(torch.linspace(1, 0, n + 1))))
        made = []
        for t, s in pairs:
            x = self.sampling.step(self.path, denoise, x, t, s, g)
            made.append((t, s, x))
        return made

    def draw(self, n: int, g: torch.Generator, *, denoise: Denoiser | None = None) -> Tensor:
        """n samples of its own, (n, 2), with labels as often as in the data if it knows any.

        denoise: another denoiser in place of its network.
        """
        denoise = denoise or self.denoiser(self.some_labels(n, g))
        return self.steps(denoise, self.sampling.start(n, g), WALK, g)[-1][-1]

    def some_labels(self, n: int, g: torch.Generator) -> Tensor | None:
        """Labels as often as in the data, (n,); None for a patient without labels."""
        return torch.multinomial(MIXTURE.weights, n, replacement=True, generator=g) if self.labelled else None

    def heun(self, denoise: Denoiser, path: GaussianPath, x: Tensor, times: Tensor) -> Tensor:
        """Its solver for the ODE, down `times`, which end above 0."""
        for t, s in itertools.pairwise(times):
            first = samplers.along_the_ode(path, samplers.predict(denoise, path, x, t), t, s)
            again = samplers.predict(denoise, path, x + first, self.sampling.second(t, s))
            x = x + (first + samplers.along_the_ode(path, again, t, s)) / 2
        return x


class _Dropout(nn.Module):
    """Drop a share of the activations in training. PyTorch's own layer draws from the global random state."""

    def __init__(self, share: float):
        super().__init__()
        self.share, self.asked = share, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.asked += 1
        kept = torch.rand(x.shape, generator=generator(28, 22, self.asked)) >= self.share
        return x * kept / (1 - self.share)


class _Dropping(networks.MLP):
    """An MLP that drops some activations in training."""

    def __init__(self, share: float, classes: int):
        super().__init__(width=WIDTH, classes=classes)
        first, *others = self.hidden
        self.hidden = nn.Sequential(first, *(nn.Sequential(layer, _Dropout(share)) for layer in others))


def train(do: Training, labelled: bool, *, seed: int, steps: int = STEPS) -> Patient:
    """Train a patient by what it does in training. Its sampling is healthy. One or two seconds on one core.

    seed: of data, network and noise. Raises ValueError where seed or steps is no such whole number.
    """
    check_whole("seed", seed, least=0)
    check_whole("steps", steps, least=50)
    classes = CLASSES if labelled else 0
    x, y = MIXTURE.sample(POINTS, generator(seed, 28, 0))
    x, y = do.prepare(x), do.relabel(y, generator(seed, 28, 1))
    before, g = x.clone(), generator(seed, 28, 3)
    make = (
        (lambda: _Dropping(do.dropout, classes)) if do.dropout else lambda: networks.MLP(width=WIDTH, classes=classes)
    )
    net = networks.initialised(make, generator(seed, 28, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    schedule = training.warmup_cosine(optimizer, steps=steps, warmup=steps // 17)
    average, losses = training.EMA(net, do.decay), []
    for step in range(steps):
        first = step % (POINTS // BATCH) * BATCH
        here = slice(first, first + BATCH)  # neighbouring rows: what writes into a batch writes into the data
        t = do.latest * training.spread_times(BATCH, do.path, g)
        hidden = torch.rand(BATCH, generator=g) < do.dropped
        label = y[here].masked_fill(hidden, NO_LABEL) if labelled else None
        eps = do.noise(x[here], g)
        x_t = do.mix(do.path, x[here], t, eps)
        loss = (net(x_t, do.told(do.path, t), label) - eps).square().mean()
        do.clear(optimizer)
        loss.backward()
        optimizer.step()
        schedule.step()
        do.average(average, net)
        losses.append(loss.detach())
    moved = float((x - before).square().mean().sqrt())
    used = average.net.train() if do.dropout else average.net
    last = float(torch.stack(losses[-LAST:]).mean())
    return Patient(do, Sampling(), labelled, used, net if do.dropout else net.eval(), last, x, y, moved, seed)


class Clinic:
    """Where patients are admitted. Patients that differ in their sampling only share one training, so it is made once.

    seed: of everything. steps: of each training; fewer give patients that are less well trained than the bounds ask.
    """

    def __init__(self, seed: int = 0, *, steps: int = STEPS):
        check_whole("seed", seed, least=0)
        check_whole("steps", steps, least=50)
        self.seed, self.steps = seed, steps
        self._trained: dict[tuple[Training, bool], Patient] = {}

    def admit(self, name: str) -> Patient:
        """The patient with this fault. Raises ValueError for a name that is not in `FAULTS`."""
        fault = _fault(name)
        key = fault.training, fault.labelled
        if key not in self._trained:
            self._trained[key] = train(fault.training, fault.labelled, seed=self.seed, steps=self.steps)
        return replace(self._trained[key], sampling=fault.sampling)

    def ward(self, number: int) -> Patient:
        """One of the six patients without a name, 1 to 6. `is_right` says whether a diagnosis is right."""
        _check_bed(number)
        return self.admit(next(name for name in FAULTS if is_right(number, name)))


WARD = (  # SHA-256 of the salt, the number of the bed and the name of the fault
    "cc86bdf85e0229410eb3f69e63bdc43d0cb52f9e482d83c428cf80098ee6449e",
    "b624bce9d60cc899f204302f8f7b84b9a42efe4156870ee86da4eb9b710052ee",
    "0bb6f5b90b5d1b2768f9739ca8b24386ac6bd2bac2eafa00fdf577375eb59ec7",
    "2b67911185a7caeb373596f9be47c1b01d35eab3763697b06e891fe7c046e9e7",
    "7b6505e5ce798899e49dbbf902116e044978423768927c54f1e81191e173db7a",
    "bd8ee9b5c63a60a550504607fdb246a5a4e4aa5d695dd77d52cf90e2624874d8",
)
SALT = "minidiff, notebook 28"


def is_right(number: int, name: str) -> bool:
    """Whether this is the fault of patient 1 to 6 of the ward. name: one of `FAULTS`; anything else is a ValueError."""
    _check_bed(number)
    _fault(name)
    return _digest(number, name) == WARD[number - 1]


def _digest(number: int, name: str) -> str:
    return hashlib.sha256(f"{SALT}/{number}/{name}".encode()).hexdigest()


def _fault(name: str) -> Fault:
    if name not in FAULTS:
        raise ValueError(f"name must be one of {', '.join(map(repr, FAULTS))}, but is {name!r}")
    return FAULTS[name]


def _check_bed(number: int) -> None:
    check_whole("number", number, most=len(WARD))


# Instruments


class Reading(NamedTuple):
    """What an instrument shows, and the bounds between which it lies for a healthy patient."""

    value: float
    low: float
    high: float

    @property
    def rings(self) -> bool:
        """Whether the value is out of bounds. NaN is."""
        return not self.low <= self.value <= self.high


class Ruler:
    """Sliced Wasserstein-2 distance to real data in multiples of its floor, from samples (N, 2). Notebook 11.

    truth: where real data come from. n: how many points are compared; None: 3000. The distance is the mean over three
    sets of real points, equally many, and the floor is what four more such sets come to.
    """

    def __init__(self, truth: GaussianMixture, n: int | None = None):
        n = n or DRAWN
        lines = torch.randn(2, 40, generator=generator(28, 1))
        self.lines = lines / lines.norm(dim=0)
        self.real = [self._sorted(truth.sample(n, generator(28, 2, i))[0]) for i in range(3)]
        again = [truth.sample(n, generator(28, 3, i))[0] for i in range(4)]
        self.floor = sum(map(self.distance, again)) / len(again)

    def _sorted(self, x: Tensor) -> Tensor:
        return (x @ self.lines).sort(dim=0).values

    def distance(self, x: Tensor) -> float:
        """In units of the data. Infinite values count as far away."""
        ours = self._sorted(x.nan_to_num(1e3, 1e3, -1e3).clamp(-1e3, 1e3))
        return sum(float((ours - real).square().mean().sqrt()) for real in self.real) / len(self.real)

    def ratio(self, x: Tensor) -> float:
        """In floors: about 1 for real data."""
        return self.distance(x) / self.floor


def component(k: int) -> GaussianMixture:
    """The data with label k alone."""
    return GaussianMixture(torch.ones(1), MIXTURE.means[k : k + 1], MIXTURE.covariances[k : k + 1])


def loss_floor(path: GaussianPath, mixture: GaussianMixture = MIXTURE, *, n: int = 1000) -> float:
    """The loss of the exact network, mean square error of eps, with t uniform: no network can go below. Notebook 07.

    The error of x0_hat at time t is the mean of Cov[x0 | x_t], and eps_hat is off by alpha / sigma times as much. n:
    noisy points at each of 25 times.
    """
    t = MOMENTS.repeat_interleave(n)
    x0 = mixture.sample(len(t), generator(28, 4))[0]
    x_t = path.perturb(x0, t, noise_like(x0, generator(28, 5)))
    kernel = exact.reverse_kernel(mixture, path, x_t, t, torch.zeros_like(t), to_data=True)
    left = kernel.covariance().diagonal(dim1=1, dim2=2).mean(dim=1)
    return float((path.log_snr(t).exp() * left).mean())


def claimed_floor(patient: Patient) -> float:
    """The floor of the loss that the patient says it trains with: a fifth of the labels hidden, if there are any."""
    unlabelled = loss_floor(patient.path)
    if not patient.labelled:
        return unlabelled
    labelled = sum(float(w) * loss_floor(patient.path, component(k)) for k, w in enumerate(MIXTURE.weights))
    share = Training().dropped
    return share * unlabelled + (1 - share) * labelled


def score_error(
    denoise: Denoiser, truth: Denoiser, path: GaussianPath, mixture: GaussianMixture = MIXTURE, *, n: int = 200
) -> Tensor:
    """How far a denoiser is from the exact one at each of the times `MOMENTS`, (25,): RMS error of eps_hat.

    The points are rightly noised data, n at each time. An error of x0_hat, times alpha / sigma, is one of eps_hat.
    """
    t = MOMENTS.repeat_interleave(n)
    x0 = mixture.sample(len(t), generator(28, 6))[0]
    x_t = path.perturb(x0, t, noise_like(x0, generator(28, 7)))
    off = (denoise(x_t, t) - truth(x_t, t)).square().mean(dim=1).reshape(-1, n).mean(dim=1)
    return (path.log_snr(MOMENTS).exp() * off).sqrt()


def pair_of_steps(
    patient: Patient, t: float, s: float, *, n: int = 500, denoise: Denoiser | None = None
) -> tuple[Tensor, Tensor]:
    """One step of the patient's sampler and one of ours, each (n, 2), from the same noisy data with the same noise.

    denoise: what both evaluate; the exact one where none is given.
    """
    path, denoise = patient.path, denoise or exact.mixture_denoiser(MIXTURE, patient.path)
    t, s = torch.tensor(t), torch.tensor(s)
    x0 = MIXTURE.sample(n, generator(28, 8))[0]
    x = path.perturb(x0, t, noise_like(x0, generator(28, 9)))
    theirs = patient.sampling.step(path, denoise, x, t, s, generator(28, 10))
    return theirs, samplers.ancestral_step(denoise, path, x, t, s, generator=generator(28, 10)).x


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _correlation(a: Tensor, b: Tensor) -> float:
    return abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]))


def _rows(patient: Patient, n: int, g: torch.Generator) -> Tensor:
    return patient.x[torch.randint(len(patient.x), (n,), generator=g)]


class Consultation:
    """What several instruments need of one patient, each thing computed once."""

    def __init__(self, patient: Patient):
        self.patient, self.path = patient, patient.path
        self.truth = exact.mixture_denoiser(MIXTURE, patient.path)
        self.own = patient.denoiser()

    @functools.cached_property
    def ruler(self) -> Ruler:
        return Ruler(MIXTURE)

    @functools.cached_property
    def walk(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Its sampler with the exact mean; the start is normal, as it should be."""
        g = generator(28, 11)
        return self.patient.steps(self.truth, normal_start(DRAWN, g), WALK, g)

    @functools.cached_property
    def score(self) -> float:
        return _rms(score_error(self.own, self.truth, self.path))

    def noises(self) -> tuple[Tensor, Tensor, Tensor]:
        """The noise of two neighbouring steps of its sampler, as ours would need it, and x before the first."""
        found = []
        for k in (40, 41):
            (_, _, x), (t, s, x_s) = self.walk[k - 1], self.walk[k]
            mean, variance = self.path.posterior(x, self.truth(x, t), t, s)
            found.append((x_s - mean) / variance.sqrt())
        return *found, self.walk[39][-1]


def training_loss(the: Consultation) -> float:
    """Its training loss in multiples of the exact floor."""
    return the.patient.loss / claimed_floor(the.patient)


def second_moment(the: Consultation) -> float:
    """How far E[x_t^2] of its own noisy data is from 1, its value for data of unit variance; the worst t."""
    g, worst = generator(28, 12), 0.0
    for t in (0.02, 0.25, 0.5, 0.75, 1.0):
        x_t, _ = the.patient.noised(_rows(the.patient, 4000, g), torch.full((4000,), t), g)
        worst = max(worst, abs(float(x_t.square().mean()) - 1))
    return worst


def both_ends(the: Consultation) -> float:
    """Distance between x_1 of its training and the start of its sampler, in floors of normal noise."""
    g, n = generator(28, 13), 2 * DRAWN
    x_1, _ = the.patient.noised(_rows(the.patient, n, g), torch.ones(n), g)
    start = the.patient.sampling.start(n, g)
    lines = the.ruler.lines

    def distance(a: Tensor, b: Tensor) -> float:
        return _rms((a @ lines).sort(dim=0).values - (b @ lines).sort(dim=0).values)

    floors = [distance(torch.randn(n, 2, generator=g), torch.randn(n, 2, generator=g)) for _ in range(4)]
    return distance(x_1, start) / (sum(floors) / len(floors))


def distance_to_score(the: Consultation) -> float:
    """Its network, as its sampler reads it, against the exact mean: root mean square error of eps_hat over all t."""
    return the.score


def labelled_score(the: Consultation) -> float:
    """The same with each label, against the exact mean of that label's data."""
    total = 0.0
    for k, weight in enumerate(MIXTURE.weights):
        alone = component(k)
        truth = exact.mixture_denoiser(alone, the.path)
        error = score_error(the.patient.denoiser(torch.tensor(k)), truth, the.path, alone, n=70)
        total += float(weight) * float(error.square().mean())
    return math.sqrt(total)


def their_sampler(the: Consultation) -> float:
    """Its sampler with the exact mean in place of its network: distance of the samples, in floors."""
    return the.ruler.ratio(the.walk[-1][-1])


def their_network(the: Consultation) -> float:
    """Its network with our sampler: distance of the samples, in floors. It gets labels if it knows any."""
    g = generator(28, 14)
    own, times = the.patient.denoiser(the.patient.some_labels(DRAWN, g)), torch.linspace(1, 0, WALK + 1)
    walked = samplers.ancestral(own, the.path, normal_start(DRAWN, g), times, generator=g)
    return the.ruler.ratio(samplers.last(walked))


def size_of_noise(the: Consultation) -> float:
    """Standard deviation of the noise that its sampler adds, over what it should be."""
    return float(the.noises()[0].std())


def repeated_noise(the: Consultation) -> float:
    """The largest correlation of noise: of two training batches, of two steps, of a step and x. Independent: near 0."""
    first, second, x = the.noises()
    data = _rows(the.patient, 500, generator(28, 15))
    g = generator(28, 16)
    batches = [the.patient.noised(data, torch.full((500,), 0.5), g)[1] for _ in range(2)]
    return max(_correlation(*batches), _correlation(first, second), _correlation(first, x))


def response_to_time(the: Consultation) -> float:
    """How much the output of its network changes from t = 0.1 to t = 0.6 at the same points, root mean square."""
    asked, x = the.patient.sampling.asked or the.patient.training.told, MIXTURE.sample(200, generator(28, 17))[0]
    with torch.no_grad():
        a, b = (the.patient.net(x, asked(the.path, torch.full((200,), t))) for t in (0.1, 0.6))
    return _rms(a - b)


def asked_twice(the: Consultation) -> float:
    """The largest difference between two answers to the same question."""
    x, t = MIXTURE.sample(500, generator(28, 18))[0], torch.tensor(0.5)
    return float((the.own(x, t) - the.own(x, t)).abs().max())


def moved_data(the: Consultation) -> float:
    """How far its data moved while it trained, root mean square."""
    return the.patient.moved


def average_over_raw(the: Consultation) -> float:
    """The score's error with the average of the weights, over that with the weights themselves."""
    return the.score / _rms(score_error(the.patient.denoiser(raw=True), the.truth, the.path))


def order_of_solver(the: Consultation) -> float:
    """The order of its Heun solver, with the exact mean: by what power of the step does its error fall?"""
    path = schedules.vp_linear()
    denoise = exact.mixture_denoiser(MIXTURE, path)
    x = torch.randn(100, 2, generator=generator(28, 19), dtype=torch.float64)
    ends = [the.patient.heun(denoise, path, x, schedules.log_snr_times(path, n, 0.01)) for n in (20, 40)]
    right = samplers.last(samplers.heun(denoise, path, x, schedules.log_snr_times(path, 160, 0.01)))
    coarse, fine = (float((end - right).norm(dim=1).median()) for end in ends)
    return math.log2(coarse / fine)


def guidance_at_0_and_1(the: Consultation) -> float:
    """How far its guidance is from the unconditional mean at w = 0, and from the conditional one at w = 1."""
    x0, t = MIXTURE.sample(500, generator(28, 20))[0], torch.tensor(0.3)
    x = the.path.perturb(x0, t, noise_like(x0, generator(28, 21)))
    conditional = exact.mixture_denoiser(component(0), the.path)
    both = [(0.0, the.truth), (1.0, conditional)]
    return max(_rms(the.patient.sampling.guide(conditional, the.truth, w)(x, t) - right(x, t)) for w, right in both)


def one_step(the: Consultation) -> float:
    """One step of its sampler against ours, same noise, over the noise of the step; the worst of three times."""
    worst = 0.0
    for t, s in ((0.9, 0.89), (0.5, 0.49), (0.1, 0.09)):
        theirs, ours = pair_of_steps(the.patient, t, s)
        std = float(the.path.posterior_variance(torch.tensor(t), torch.tensor(s)).sqrt())
        worst = max(worst, _rms(theirs - ours) / std)
    return worst


def last_step(the: Consultation) -> float:
    """How far its samples are from the exact mean of the last step, on which they should end."""
    (_, _, x), (t, _, x_0) = the.walk[-2], the.walk[-1]
    return _rms(x_0 - the.truth(x, t))


INSTRUMENTS: Mapping[str, Callable[[Consultation], float]] = MappingProxyType(
    {
        "sampler": their_sampler,
        "network": their_network,
        "loss": training_loss,
        "forward": second_moment,
        "score": distance_to_score,
        "labels": labelled_score,
        "time": response_to_time,
        "one step": one_step,
        "last step": last_step,
        "noise": size_of_noise,
        "repeats": repeated_noise,
        "ends": both_ends,
        "order": order_of_solver,
        "guidance": guidance_at_0_and_1,
        "average": average_over_raw,
        "data": moved_data,
        "twice": asked_twice,
    }
)
ROUNDING = 1e-4
# Between which bounds a healthy patient lies. Chosen with the seeds 5 to 9, tried with the seeds 0 to 4.
BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "sampler": (0.0, 2.4),
        "network": (0.0, 2.4),
        "loss": (0.95, 1.2),
        "forward": (0.0, 0.1),
        "score": (0.0, 0.11),
        "labels": (0.0, 0.15),
        "time": (0.05, math.inf),
        "one step": (0.0, ROUNDING),
        "last step": (0.0, ROUNDING),
        "noise": (0.9, 1.1),
        "repeats": (0.0, 0.1),
        "ends": (0.0, 1.8),
        "order": (1.5, math.inf),
        "guidance": (0.0, ROUNDING),
        "average": (0.0, 1.5),
        "data": (0.0, ROUNDING),
        "twice": (0.0, ROUNDING),
    }
)
# A network with labels learns the unlabelled case from a fifth of each batch, so it is less exact there.
LABELLED_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType({"score": (0.0, 0.3)})


def examine(patient: Patient, only: Sequence[str] = ()) -> dict[str, Reading]:
    """Every instrument's reading of a patient, or of those named; `labels` only where the network knows labels.

    Half a second. Raises ValueError for the name of an instrument that is not in `INSTRUMENTS`.
    """
    for name in only:
        if name not in INSTRUMENTS:
            raise ValueError(f"only must name instruments of {', '.join(INSTRUMENTS)}, but names {name!r}")
    the, found = Consultation(patient), {}
    for name, instrument in INSTRUMENTS.items():
        if (only and name not in only) or (name == "labels" and not patient.labelled):
            continue
        bounds = {**BOUNDS, **(LABELLED_BOUNDS if patient.labelled else {})}[name]
        found[name] = Reading(instrument(the), *bounds)
    return found


def rings(readings: Mapping[str, Reading]) -> tuple[str, ...]:
    """The names of the instruments that ring."""
    return tuple(name for name, reading in readings.items() if reading.rings)


def symptoms() -> str:
    """Which fault shows how: a Markdown table of `FAULTS`, a row for each, those with the same symptoms together."""
    rows = ["| what rings | fault | the wrong line | the right line | public threads |"]
    rows.append("|---|---|---|---|---|")
    places = {name: place for place, name in enumerate(INSTRUMENTS)}
    faults = [(name, fault) for name, fault in FAULTS.items() if fault.rings]
    for name, fault in sorted(faults, key=lambda pair: sorted(places[ringing] for ringing in pair[1].rings)):
        ringing = ", ".join(sorted(fault.rings, key=places.__getitem__))
        seen = ", ".join(_link(thread) for thread in fault.seen)
        rows.append(f"| {ringing} | {name} | `{fault.wrong}` | `{fault.right}` | {seen} |")
    return "\n".join(rows)


def _link(thread: str) -> str:
    repository, number = thread.split("#")
    return f"[{thread}](https://github.com/{repository}/issues/{number})"
