"""The loss, the loop and moving averages. The loop knows no diffusion. Taught in notebooks 07 and 13.

Sources: Ho et al. 2020 (DDPM), arXiv 2006.11239, equation 14 and algorithm 1; Kingma et al. 2021 (VDM), arXiv
2107.00630, appendix I.1 (evenly spread times); Loshchilov & Hutter 2019, arXiv 1711.05101 (AdamW) and 2017, arXiv
1608.03983 (cosine); Karras et al. 2022 (EDM), arXiv 2206.00364, table 1 (weight) and appendix F (moving average with
a warm-up); Song & Ermon 2019 (NCSN), arXiv 1907.05600, equation 6; Hang et al. 2023, arXiv 2303.09556, section 3.4.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import minidiff
from minidiff._tensors import check_finite, check_xt, describe, noise_like
from minidiff.networks.embeddings import NO_LABEL
from minidiff.paths import GaussianPath
from minidiff.targets import Target, coefficients, network_output, target

__all__ = [
    "EMA",
    "Batch",
    "DrawTimes",
    "Loss",
    "TrainStep",
    "Weight",
    "batches",
    "denoising_loss",
    "denoising_objective",
    "edm_weight",
    "faster_dtype",
    "fresh_batches",
    "min_snr_weight",
    "noise_variance_weight",
    "spread_times",
    "train",
    "warmup_cosine",
]


class Batch(NamedTuple):
    """x0: (B, *D). y: whatever the network understands, or None; the code between passes it on unopened."""

    x0: Tensor
    y: Any = None


class TrainStep(NamedTuple):
    """What training came to. step counts from 1; loss and gradient_norm (before clipping) are plain numbers.

    Where several steps make one report, loss is their mean and gradient_norm the largest of them.
    """

    step: int
    loss: float
    gradient_norm: float


Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]  # -> (B,)
DrawTimes = Callable[[int, GaussianPath, torch.Generator], Tensor]  # -> (B,)
Weight = Callable[[GaussianPath, Tensor], Tensor]  # times, (B,) -> what each sample's loss is multiplied by, (B,)

ALL_ROWS = slice(None)

# Losses


def denoising_loss(
    net: nn.Module, path: GaussianPath, x0: Tensor, t: Tensor, eps: Tensor, *, kind: Target, y=None
) -> Tensor:
    """The mean square error of a network against its target (DDPM, equation 14). Draws nothing. Notebook 07.

    x0, eps: (B, *D); t: () or (B,). Returns (B,): the mean over the numbers of each sample, not yet over samples.
    """
    check_xt(x0, t, "x0")
    out = network_output(net, kind, path, path.perturb(x0, t, eps), t, y)
    return ((out - target(kind, path, x0, eps, t)) ** 2).flatten(1).mean(dim=1)


def spread_times(n: int, path: GaussianPath, generator: torch.Generator) -> Tensor:
    """Draw n times in (t_min, 1], each uniform, together evenly spread (VDM, appendix I.1). Returns (n,).

    The loss then varies less from batch to batch than with independent times.
    """
    start = torch.rand((), generator=generator, device=generator.device)
    u = (start + torch.arange(n, device=generator.device) / n) % 1
    return 1 - (1 - path.t_min) * u


def noise_variance_weight(path: GaussianPath, t: Tensor) -> Tensor:
    """sigma^2: all noise levels count alike in the loss of a score (NCSN, equation 6; SDE, equation 7). Notebook 08.

    A score is -eps / sigma, so with this weight the loss of `kind="score"` is DDPM's plain loss of eps, on any path.
    """
    return path.sigma(t) ** 2


def edm_weight(path: GaussianPath, t: Tensor) -> Tensor:
    """1 / (alpha^2 + sigma^2): EDM's loss, for `kind="v"` and data of unit variance (EDM, table 1). Notebook 10.

    EDM weighs the square error of x0 with (sigma^2 + 1) / sigma^2, so that the network itself, which works at unit
    scale, has the weight 1 at every noise level. Of v, whose scale is sqrt(alpha^2 + sigma^2), that is this weight. On
    a path that preserves variance it is 1: there, the plain loss of v is EDM's.
    """
    return 1 / (path.alpha(t) ** 2 + path.sigma(t) ** 2)


def min_snr_weight(kind: Target, gamma: float = 5.0) -> Weight:
    """Weigh the square error of x0 with min(SNR, gamma), whatever the network predicts (Hang et al., section 3.4).

    Clean levels, where x0 is easy, then cannot drown out the others. An error e of x0 is (a - b alpha / sigma) e of the
    target a x0 + b eps, so for eps the weight is min(SNR, gamma) / SNR, and for v on a path that preserves variance
    min(SNR, gamma) / (SNR + 1).
    """
    if not gamma > 0:
        raise ValueError(f"gamma must be positive, but is {gamma}")

    def weight(path: GaussianPath, t: Tensor) -> Tensor:
        alpha, sigma = path.alpha(t), path.sigma(t)
        a, b = coefficients(kind, path, t)
        tiny = torch.finfo(t.dtype).tiny  # for eps where alpha = 0: the limit 1, and not 0 / 0
        error = (a * sigma - b * alpha) ** 2
        return torch.minimum(alpha**2, gamma * sigma**2).clamp(min=tiny) / error.clamp(min=tiny)

    return weight


def denoising_objective(
    path: GaussianPath,
    kind: Target,
    draw_times: DrawTimes = spread_times,
    *,
    weight: Weight | None = None,
    label_dropout: float = 0.0,
    rows: slice = ALL_ROWS,
) -> Loss:
    """A loss for `train`: draw t and eps, then take the plain mean square error (DDPM, algorithm 1).

    draw_times: times that are not uniform put the training where a network needs it. Notebooks 07 and 13.
    weight: what each sample's loss is multiplied by, as a function of its time; None is 1. NCSN is this same objective
    with `kind="score"`, a path of growing noise and `noise_variance_weight`. Notebook 08.
    label_dropout: the share of samples that lose their label, y: (B,), so that one network learns to do with and
    without (Ho & Salimans 2022, arXiv 2207.12598, algorithm 1). Notebook 14.
    rows: the part of each batch that counts. Times and noise are drawn for all of it, so that several processes, each
    with its own rows and the same generator, do together what one does alone.

    Raises ValueError where a weight does not give one number for each sample, or labels are to be dropped that are
    not there.
    """
    if not 0 <= label_dropout <= 1:
        raise ValueError(f"label_dropout must lie in [0, 1], but is {label_dropout}")

    def loss(net: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        t = draw_times(len(batch.x0), path, generator).to(batch.x0)
        eps = noise_like(batch.x0, generator)
        y = batch.y if label_dropout == 0 else _without_some_labels(batch, label_dropout, generator)
        y = y if rows == ALL_ROWS or y is None else y[rows]
        losses = denoising_loss(net, path, batch.x0[rows], t[rows], eps[rows], kind=kind, y=y)
        return losses if weight is None else losses * _checked_weights(weight(path, t[rows]), losses)

    return loss


def _without_some_labels(batch: Batch, share: float, generator: torch.Generator) -> Tensor:
    """The labels of a batch, (B,), each replaced by NO_LABEL with probability `share`."""
    if not isinstance(batch.y, Tensor) or batch.y.shape != batch.x0.shape[:1]:
        raise ValueError(f"y must be a tensor of {len(batch.x0)} labels to drop some, but is {describe(batch.y)}")
    lost = torch.rand(len(batch.y), generator=generator, device=generator.device) < share
    return batch.y.masked_fill(lost.to(batch.y.device), NO_LABEL)


def _checked_weights(weights: Tensor, losses: Tensor) -> Tensor:
    """Refuse weights that would be broadcast: a column against a row makes B^2 losses of B."""
    if not isinstance(weights, Tensor) or weights.shape != losses.shape:
        raise ValueError(
            f"weight must return a tensor of shape {tuple(losses.shape)}, but returned {describe(weights)}"
        )
    return weights


# Data


def batches(
    x: Tensor, y: Tensor | None = None, *, batch_size: int, steps: int, seed: int, start: int = 0
) -> Iterator[Batch]:
    """Batches start to steps - 1 of a data set, shuffled anew each epoch. Batch i is a function of (seed, i) alone.

    x: (N, *D), y: (N, ...) or None. Raises ValueError where a batch would not fit into the data.
    """
    check_finite(x, "x")
    if not 1 <= batch_size <= len(x):
        raise ValueError(f"batch_size must lie in [1, {len(x)}], the size of x, but is {batch_size}")
    if y is not None and len(y) != len(x):
        raise ValueError(f"y must have one entry for each of the {len(x)} samples of x, but is {describe(y)}")
    per_epoch = len(x) // batch_size
    for i in range(start, steps):
        epoch, place = divmod(i, per_epoch)
        if place == 0 or i == start:  # the order goes to the data's device once an epoch, not once a batch
            order = torch.randperm(len(x), generator=minidiff.generator(seed, epoch)).to(x.device)
        rows = order[place * batch_size : (place + 1) * batch_size]
        yield Batch(x[rows], None if y is None else y[rows])


def fresh_batches(
    draw: Callable[[int, torch.Generator], Tensor], *, batch_size: int, steps: int, seed: int, start: int = 0
) -> Iterator[Batch]:
    """Batches start to steps - 1, drawn anew from a distribution that never runs out.

    Batch i is a function of (seed, i) alone.
    """
    for i in range(start, steps):
        yield Batch(draw(batch_size, minidiff.generator(seed, i)))


# The loop


class EMA:
    """A moving average of a network's weights, in `net`, ready to use. Taught in notebook 13.

    After step k the average keeps the share min(decay, k / (k + 9)) of itself, so that the random start is soon
    forgotten.
    """

    def __init__(self, net: nn.Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), but is {decay}")
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average a little towards the network."""
        self.steps += 1
        keep = min(self.decay, self.steps / (self.steps + 9))
        for average, value in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)


def warmup_cosine(optimizer: torch.optim.Optimizer, *, steps: int, warmup: int) -> torch.optim.lr_scheduler.LambdaLR:
    """A learning rate that rises linearly for `warmup` steps, then falls to 0 along a half cosine at step `steps`."""
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup must lie in [0, steps), but warmup = {warmup} and steps = {steps}")

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (steps - warmup))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def train(
    net: nn.Module,
    data: Iterable[Batch],
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    *,
    generator: torch.Generator,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    ema: EMA | None = None,
    max_norm: float = 1.0,
    dtype: torch.dtype = torch.float32,
    start: int = 0,
    report_every: int = 1,
) -> Iterator[TrainStep]:
    """Train, one step for each batch, and report after each (and after its moving average). Notebook 07.

    It is a generator: the caller shows progress, plots, measures, saves or stops. Gradients are clipped to
    `max_norm`. dtype=torch.bfloat16 computes in mixed precision: faster on some machines, slower on most (see
    `faster_dtype`). start: the steps that were made before, where a training goes on. report_every: to read a loss, the
    processor waits for the device; between reports a GPU is never waited for.

    Raises FloatingPointError where a loss or its gradient is no longer finite; with report_every = 1 the weights then
    are the last good ones.
    """
    if report_every < 1:
        raise ValueError(f"report_every must be a number of steps >= 1, but is {report_every}")
    net.train()
    unread: list[Tensor] = []
    for step, batch in enumerate(data, start=start + 1):
        with torch.autocast(batch.x0.device.type, dtype, enabled=dtype != torch.float32):
            mean = loss(net, batch, generator).float().mean()
        optimizer.zero_grad(set_to_none=True)
        mean.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), max_norm)
        unread.append(torch.stack([mean.detach(), norm]))
        report = _read(unread, step) if step % report_every == 0 else None
        optimizer.step()
        if schedule is not None:
            schedule.step()
        if ema is not None:
            ema.update(net)
        if report is not None:
            unread.clear()
            yield report
    if unread:
        yield _read(unread, step)


def _read(unread: list[Tensor], step: int) -> TrainStep:
    """Fetch losses and gradient norms, (2,) each, from where they were computed, and refuse what is not finite."""
    losses, norms = torch.stack(unread).cpu().double().T
    finite = losses.isfinite() & norms.isfinite()
    if not bool(finite.all()):
        first = int(finite.long().argmin())
        raise FloatingPointError(
            f"training broke down at step {step - len(unread) + 1 + first}: loss {float(losses[first])}, gradient norm "
            f"{float(norms[first])}; look for NaN in the data, or lower the learning rate"
        )
    return TrainStep(step, float(losses.mean()), float(norms.max()))


def faster_dtype(net: nn.Module, x: Tensor, loss: Loss, *, repeats: int = 2) -> torch.dtype:
    """Measure on this machine whether bfloat16 or float32 trains faster, and return it. The network stays
    untouched.

    Most laptops have no bfloat16 arithmetic and are up to ten times slower with it, so the answer is measured.
    """
    trial, seconds = copy.deepcopy(net), {}
    generator = torch.Generator(x.device).manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        best = math.inf
        for _ in range(repeats + 1):  # the first one warms up
            begin = time.perf_counter()
            with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
                loss(trial, Batch(x), generator).float().mean().backward()
            float(next(trial.parameters()).grad.sum())  # waits for a GPU
            best = min(best, time.perf_counter() - begin)
        seconds[dtype] = best
    return min(seconds, key=seconds.__getitem__)
