"""The loss, the loop and moving averages. The loop knows no diffusion. Taught in notebooks 07 and 13.

Sources: Ho et al. 2020 (DDPM), arXiv 2006.11239, equation 14 and algorithm 1; Kingma et al. 2021 (VDM), arXiv
2107.00630, appendix I.1 (evenly spread times); Loshchilov & Hutter 2019, arXiv 1711.05101 (AdamW) and 2017, arXiv
1608.03983 (cosine); Karras et al. 2022 (EDM), arXiv 2206.00364, table 1 (weight) and appendix F (moving average with
a warm-up); Song & Ermon 2019 (NCSN), arXiv 1907.05600, equation 6; Hang et al. 2023, arXiv 2303.09556, section 3.4.
"""

import contextlib
import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import minidiff
from minidiff._tensors import DIVIDE_BY_T, check_finite, check_generator, check_whole, describe, noise_like
from minidiff.networks.embeddings import NO_LABEL
from minidiff.paths import GaussianPath
from minidiff.targets import Target, coefficients, network_output, target

__all__ = [
    "EMA",
    "Batch",
    "DrawNoise",
    "DrawTimes",
    "Draws",
    "Loss",
    "Objective",
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


# Noise has unit scale, and so should data: a first batch that reaches farther is warned of. (Pixels reach to 255.)
LARGEST_USUAL = 20.0


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
DrawNoise = Callable[[Tensor, torch.Generator], Tensor]  # data, (B, *D) -> noise in their form
Weight = Callable[[GaussianPath, Tensor], Tensor]  # times, (B,) -> what each sample's loss is multiplied by, (B,)

# Losses


def denoising_loss(
    net: nn.Module, path: GaussianPath, x0: Tensor, t: Tensor, eps: Tensor, *, kind: Target, y=None
) -> Tensor:
    """The mean square error of a network against its target (DDPM, equation 14). Draws nothing. Notebook 07.

    x0, eps: (B, *D); t: () or (B,). Returns (B,): the mean over the numbers of each sample, not yet over samples.
    """
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


class Draws(NamedTuple):
    """What one step of training is computed from, a row for each sample. x0, eps: (B, *D); t: (B,); y as in `Batch`."""

    x0: Tensor
    t: Tensor | None = None
    eps: Tensor | None = None
    y: Any = None


@dataclass(frozen=True)
class Objective:
    """A loss in two parts: what is drawn for a batch, and the formula, which draws nothing. Itself a `Loss`.

    draw: (batch, generator) -> Draws. loss: (net, draws) -> (B,). The two are kept apart so that several processes can
    make the same draws and compute the loss of different rows: together they do what one does alone.
    """

    draw: Callable[[Batch, torch.Generator], Draws]
    loss: Callable[[nn.Module, Draws], Tensor]

    def __call__(self, net: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.loss(net, self.draw(batch, generator))


def denoising_objective(
    path: GaussianPath,
    kind: Target,
    draw_times: DrawTimes = spread_times,
    *,
    weight: Weight | None = None,
    label_dropout: float = 0.0,
    noise: DrawNoise = noise_like,
) -> Objective:
    """A loss for `train`: draw t and eps, then take the plain mean square error (DDPM, algorithm 1).

    draw_times: times that are not uniform put the training where a network needs it. Notebooks 07 and 13.
    weight: what each sample's loss is multiplied by, as a function of its time; None is 1. NCSN is this same objective
    with `kind="score"`, a path of growing noise and `noise_variance_weight`. Notebook 08.
    label_dropout: the share of samples that lose their label, y: (B,), so that one network learns to do with and
    without (Ho & Salimans 2022, arXiv 2207.12598, algorithm 1). Notebook 14.
    noise: draws eps, where it is not white: `functions.Whitening(...).noise`. Notebook 25.

    Raises ValueError where a weight does not give one number for each sample, or labels are to be dropped that are
    not there.
    """
    if not 0 <= label_dropout <= 1:
        raise ValueError(f"label_dropout must lie in [0, 1], but is {label_dropout}")

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        t = draw_times(len(batch.x0), path, generator).to(batch.x0)
        eps = noise(batch.x0, generator)
        y = batch.y if label_dropout == 0 else _without_some_labels(batch, label_dropout, generator)
        return Draws(batch.x0, t, eps, y)

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        losses = denoising_loss(net, path, draws.x0, draws.t, draws.eps, kind=kind, y=draws.y)
        return losses if weight is None else losses * _checked_weights(weight(path, draws.t), losses)

    return Objective(draw, loss)


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
    data: Iterable[Batch | Tensor | Sequence],
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

    data: batches, as `batches` and `fresh_batches` make them, or what a DataLoader gives: x0, (x0,) or (x0, y).

    The caller of the iterator shows progress, plots, measures, saves or stops. Gradients are clipped to `max_norm`.
    dtype=torch.bfloat16 computes in mixed precision: faster on some machines, slower on most (see `faster_dtype`).
    start: the steps that were made before, where a training goes on. report_every: to read a loss, the processor waits
    for the device; between reports a GPU is never waited for.

    Raises FloatingPointError where a loss or its gradient is no longer finite; with report_every = 1 the weights then
    are the last good ones. Raises RuntimeError where the iterator is asked to go on after a step that was cut off.
    """
    _check_request(net, data, generator, max_norm, dtype, start, report_every)
    made = _Steps(start)
    made.reports = _train(made, net, data, loss, optimizer, generator, schedule, ema, max_norm, dtype, report_every)
    return made


class _Steps:
    """The reports of a training, one after the other. A plain generator that was cut off would end without a word."""

    def __init__(self, start: int):
        self.done, self.cut_off = start, False
        self.reports: Iterator[TrainStep] = iter(())

    def __iter__(self) -> Iterator[TrainStep]:
        return self

    def __next__(self) -> TrainStep:
        if self.cut_off:
            raise RuntimeError(
                f"the training was cut off inside step {self.done + 1}, and this iterator cannot go on: to make that "
                f"step again, start another with `batches(..., start={self.done})` and `train(..., start={self.done})`"
            )
        try:
            return next(self.reports)
        except StopIteration:
            raise
        except BaseException:
            self.cut_off = True
            raise


def _train(
    made: _Steps,
    net: nn.Module,
    data: Iterable,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    schedule: torch.optim.lr_scheduler.LRScheduler | None,
    ema: EMA | None,
    max_norm: float,
    dtype: torch.dtype,
    report_every: int,
) -> Iterator[TrainStep]:
    net.train()
    unread: list[Tensor] = []
    first = made.done + 1
    for step, given in enumerate(data, start=first):
        batch = _as_batch(given, step)
        if step == first:
            _warn_of_scale(batch.x0)
        with _precision(batch.x0, dtype):
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
        made.done = step
        if report is not None:
            unread.clear()
            yield report
    if unread:
        yield _read(unread, step)


def _check_request(
    net: nn.Module,
    data: object,
    generator: torch.Generator,
    max_norm: float,
    dtype: torch.dtype,
    start: int,
    report_every: int,
) -> None:
    """Refuse a training that cannot be what is meant, before it begins."""
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, but is {describe(net)}")
    if isinstance(data, Tensor) or not isinstance(data, Iterable):
        raise TypeError(
            "data must give batch after batch, such as batches(x, batch_size=128, steps=1000, seed=0) or a DataLoader, "
            f"but is {describe(data)}"
        )
    check_generator(generator)
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, but is {max_norm}")
    if dtype not in (torch.float32, torch.bfloat16):
        hint = "; for double precision make the network and the data double, and leave dtype out"
        raise ValueError(
            f"dtype must be torch.float32 or torch.bfloat16, but is {dtype}{hint if dtype == torch.float64 else ''}"
        )
    check_whole("start", start, 0)
    check_whole("report_every", report_every)


def _as_batch(given: object, step: int) -> Batch:
    """What a data set or a DataLoader gives, as a Batch: x0, (x0,), (x0, y), or a Batch itself."""
    if hasattr(given, "x0"):
        return given
    if isinstance(given, Tensor):
        return Batch(given)
    if isinstance(given, (tuple, list)) and len(given) in (1, 2) and isinstance(given[0], Tensor):
        return Batch(*given)
    raise TypeError(
        f"data must give batches, Batch(x0, y), x0, (x0,) or (x0, y) with a tensor x0, but batch {step} is "
        f"{describe(given)}"
    )


def _warn_of_scale(x0: Tensor) -> None:
    largest = float(x0.detach().abs().max()) if x0.is_floating_point() and x0.numel() else 0.0
    if largest > LARGEST_USUAL:
        warnings.warn(
            f"the largest |x0| of the first batch is {largest:.4g}, but noise has unit scale, and data should: bring "
            "pixels into [-1, 1] (as data.to_images does), or divide x0 by its standard deviation",
            stacklevel=4,
        )


def _precision(x: Tensor, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Mixed precision on the device of x, or none for float32."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(x.device.type, dtype)


def _read(unread: list[Tensor], step: int) -> TrainStep:
    """Fetch losses and gradient norms, (2,) each, from where they were computed, and refuse what is not finite."""
    losses, norms = torch.stack(unread).cpu().double().T
    finite = losses.isfinite() & norms.isfinite()
    if not bool(finite.all()):
        first = int(finite.long().argmin())
        raise FloatingPointError(
            f"training broke down at step {step - len(unread) + 1 + first}: loss {float(losses[first])}, gradient norm "
            f"{float(norms[first])}; look for NaN in the data, lower the learning rate, or, on a GPU, look for times "
            f"outside [0, 1] ({DIVIDE_BY_T}) and for labels that the network has no class for"
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
            with _precision(x, dtype):
                loss(trial, Batch(x), generator).float().mean().backward()
            float(next(trial.parameters()).grad.sum())  # waits for a GPU
            best = min(best, time.perf_counter() - begin)
        seconds[dtype] = best
    return min(seconds, key=seconds.__getitem__)
