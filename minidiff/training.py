"""The loss, the loop, moving averages, and weights on disk. The loop knows no diffusion. Taught in notebooks 07
and 13.

Sources: Ho et al. 2020 (DDPM), arXiv 2006.11239, equation 14 and algorithm 1; Kingma et al. 2021 (VDM), arXiv
2107.00630, appendix I.1 (evenly spread times); Loshchilov & Hutter 2019, arXiv 1711.05101 (AdamW) and 2017, arXiv
1608.03983 (cosine); Karras et al. 2022 (EDM), arXiv 2206.00364, appendix F (moving average with a warm-up).
"""

import copy
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import minidiff
from minidiff._tensors import check_finite, check_xt, describe, noise_like
from minidiff.data import repositories_above
from minidiff.paths import GaussianPath
from minidiff.targets import Target, network_output, target

__all__ = [
    "EMA",
    "Batch",
    "DrawTimes",
    "Loss",
    "TrainStep",
    "batches",
    "checkpoint_folder",
    "denoising_loss",
    "denoising_objective",
    "faster_dtype",
    "fresh_batches",
    "load_weights",
    "save_weights",
    "spread_times",
    "train",
    "warmup_cosine",
]


class Batch(NamedTuple):
    """x0: (B, *D). y: whatever the network understands, or None; the code between passes it on unopened."""

    x0: Tensor
    y: Any = None


class TrainStep(NamedTuple):
    """What one step of training came to. step counts from 1; loss and gradient_norm are plain numbers."""

    step: int
    loss: float
    gradient_norm: float


Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]  # -> (B,)
DrawTimes = Callable[[int, GaussianPath, torch.Generator], Tensor]  # -> (B,)

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


def denoising_objective(path: GaussianPath, kind: Target, draw_times: DrawTimes = spread_times) -> Loss:
    """A loss for `train`: draw t and eps, then take the plain mean square error (DDPM, algorithm 1).

    draw_times: times that are not uniform put the training where a network needs it. Notebooks 07 and 13.
    """

    def loss(net: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        t = draw_times(len(batch.x0), path, generator).to(batch.x0)
        eps = noise_like(batch.x0, generator)
        return denoising_loss(net, path, batch.x0, t, eps, kind=kind, y=batch.y)

    return loss


# Data


def batches(x: Tensor, y: Tensor | None = None, *, batch_size: int, steps: int, seed: int) -> Iterator[Batch]:
    """Batches of a data set, shuffled anew each epoch. Batch i is a function of (seed, i) alone.

    x: (N, *D), y: (N, ...) or None. Raises ValueError where a batch would not fit into the data.
    """
    check_finite(x, "x")
    if not 1 <= batch_size <= len(x):
        raise ValueError(f"batch_size must lie in [1, {len(x)}], the size of x, but is {batch_size}")
    if y is not None and len(y) != len(x):
        raise ValueError(f"y must have one entry for each of the {len(x)} samples of x, but is {describe(y)}")
    per_epoch = len(x) // batch_size
    for i in range(steps):
        epoch, place = divmod(i, per_epoch)
        if place == 0:
            order = torch.randperm(len(x), generator=minidiff.generator(seed, epoch))
        rows = order[place * batch_size : (place + 1) * batch_size].to(x.device)
        yield Batch(x[rows], None if y is None else y[rows])


def fresh_batches(
    draw: Callable[[int, torch.Generator], Tensor], *, batch_size: int, steps: int, seed: int
) -> Iterator[Batch]:
    """Batches drawn anew from a distribution that never runs out. Batch i is a function of (seed, i) alone."""
    for i in range(steps):
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
) -> Iterator[TrainStep]:
    """Train, one step for each batch, and report after each (and after its moving average). Notebook 07.

    It is a generator: the caller shows progress, plots, measures, saves or stops. Gradients are clipped to
    `max_norm`. dtype=torch.bfloat16 computes in mixed precision: faster on some machines, slower on most (see
    `faster_dtype`). Raises FloatingPointError where the loss or its gradient is no longer finite; the weights then
    are the last good ones.
    """
    net.train()
    for step, batch in enumerate(data, start=1):
        with torch.autocast(batch.x0.device.type, dtype, enabled=dtype != torch.float32):
            mean = loss(net, batch, generator).float().mean()
        optimizer.zero_grad(set_to_none=True)
        mean.backward()
        norm = float(nn.utils.clip_grad_norm_(net.parameters(), max_norm))
        if not math.isfinite(float(mean.detach())) or not math.isfinite(norm):
            raise FloatingPointError(
                f"training broke down at step {step}: loss {float(mean.detach())}, gradient norm {norm}; "
                "look for NaN in the data, or lower the learning rate"
            )
        optimizer.step()
        if schedule is not None:
            schedule.step()
        if ema is not None:
            ema.update(net)
        yield TrainStep(step, float(mean.detach()), norm)


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
            best = min(best, time.perf_counter() - begin)
        seconds[dtype] = best
    return min(seconds, key=seconds.__getitem__)


# Weights on disk

WEIGHTS, CARD = "weights.safetensors", "card.json"


def save_weights(folder: str | Path, net: nn.Module, card: dict[str, Any]) -> None:
    """Write a network's weights and a card that says what they are: `weights.safetensors` and `card.json`.

    Each file is written under a temporary name and renamed, the card last; it holds the SHA-256 of the weights.
    """
    json.dumps(card)  # a card that cannot be written fails here, before anything is
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights, draft = folder / WEIGHTS, folder / f".{WEIGHTS}.tmp"
    save_file({name: value.contiguous().cpu() for name, value in net.state_dict().items()}, draft)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    card_draft = folder / f".{CARD}.tmp"
    card_draft.write_text(json.dumps({**card, "sha256": digest}, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, weights)
    os.replace(card_draft, folder / CARD)


def load_weights(folder: str | Path, net: nn.Module) -> dict[str, Any]:
    """Fill a network with the weights of a folder, and return their card. Nothing is unpickled.

    Raises FileNotFoundError where a file is missing, ValueError where the weights are damaged or of another
    network.
    """
    folder = Path(folder)
    for name in (WEIGHTS, CARD):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing: folder must hold {WEIGHTS} and {CARD}")
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    if hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() != card.get("sha256"):
        raise ValueError(f"{folder / WEIGHTS} is damaged: its SHA-256 is not the one in {CARD}")
    try:
        weights = load_file(folder / WEIGHTS)
        copy.deepcopy(net).load_state_dict(weights)  # a misfit is found here, before it has half filled the network
        net.load_state_dict(weights)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"the weights in {folder} do not fit this network: {error}") from error
    return card


def checkpoint_folder(name: str) -> Path:
    """Where a checkpoint of the course lies: `$MINIDIFF_DATA/checkpoints`, the repository above, or that of the
    package.

    Raises FileNotFoundError, naming the folders it looked in.
    """
    folders = [Path(os.environ["MINIDIFF_DATA"]) / "checkpoints"] if os.environ.get("MINIDIFF_DATA") else []
    folders += [above / "data" / "checkpoints" for above in repositories_above()]
    folders.append(Path(__file__).parents[1] / "data" / "checkpoints")
    for folder in folders:
        if (folder / name / CARD).is_file():
            return folder / name
    looked = ", ".join(str(folder) for folder in folders)
    raise FileNotFoundError(f"no checkpoint {name!r} in {looked}; `python -m minidiff.recipes {name}` makes it")
