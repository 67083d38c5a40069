"""Models that a caption steers: how they learn, how they draw, and whether their pictures obeyed. Notebook 19.

`python -m minidiff train captions` makes the model, `python -m minidiff train captions-judge` its judge, both from
nothing.

Sources: Ho & Salimans 2022, arXiv 2207.12598, algorithm 1 (dropping what a sample is told); Rombach et al. 2022, arXiv
2112.10752, section 3.3 (cross-attention).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from minidiff._tensors import noise_like
from minidiff.data.captions import PAD, START
from minidiff.paths import GaussianPath
from minidiff.targets import Target
from minidiff.training import Batch, Draws, Objective, Weight, denoising_loss, spread_times

__all__ = ["caption_objective", "noisier_times", "without_some_captions"]


# How the model learns


def without_some_captions(y: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Tokens (B, L), where a share of the captions keep nothing but <start>: whole captions, never single words."""
    lost = torch.rand(len(y), generator=generator, device=generator.device) < share
    words = torch.arange(y.shape[1], device=y.device) > 0
    return y.masked_fill(lost.to(y.device)[:, None] & words, PAD)


def noisier_times(power: float) -> Callable[[int, GaussianPath, torch.Generator], Tensor]:
    """Times that are drawn more often where the noise is high: t = u^power, u evenly spread, power < 1.

    Where the noise is high, the picture is hardly there, and only the caption can say what it is to become.
    """
    return lambda n, path, generator: spread_times(n, path, generator) ** power


def caption_objective(
    path: GaussianPath, kind: Target, *, weight: Weight | None = None, dropout: float = 0.1, power: float = 1.0
) -> Objective:
    """The plain loss of `denoising_objective`, for a network that reads tokens, y: (B, L).

    dropout: the share of captions that are dropped. power: see `noisier_times`.
    """
    draw_times = noisier_times(power)

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        t = draw_times(len(batch.x0), path, generator).to(batch.x0)
        return Draws(batch.x0, t, noise_like(batch.x0, generator), without_some_captions(batch.y, dropout, generator))

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        losses = denoising_loss(net, path, draws.x0, draws.t, draws.eps, kind=kind, y=draws.y)
        return losses if weight is None else losses * weight(path, draws.t)

    return Objective(draw, loss)
