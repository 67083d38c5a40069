"""What several rivals share: plain layers, the density of standard noise, and minus a log-likelihood as a loss."""

import itertools
import math

import torch
from torch import Tensor, nn

from minidiff._tensors import check_whole
from minidiff.training import Batch

__all__ = ["LOG_ROOT", "dense", "likelihood_loss", "standard_log_prob"]

LOG_ROOT = 0.5 * math.log(2 * math.pi)  # -log of the height of the standard normal density


def dense(inputs: int, outputs: int, width: int, layers: int = 3) -> nn.Sequential:
    """`layers` hidden layers of `width` units with SiLU, (B, inputs) -> (B, outputs)."""
    for name, value in (("inputs", inputs), ("outputs", outputs), ("width", width), ("layers", layers)):
        check_whole(name, value)
    sizes = [inputs] + [width] * layers
    hidden = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], outputs))


def standard_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) of each row, (..., d) -> (...)."""
    return -0.5 * z.square().sum(-1) - z.shape[-1] * LOG_ROOT


def likelihood_loss(net: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """-log p(x0), (B,), of a network that has `log_prob`: a `Loss` for `train` that draws nothing. Notebook 26."""
    return -net.log_prob(batch.x0)
