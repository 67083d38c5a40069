"""A small multilayer perceptron for points. Taught in notebook 07."""

import itertools

import torch
from torch import Tensor, nn

from minidiff._tensors import check_network_input, check_whole
from minidiff.networks.embeddings import LabelEmbedding, NoiseLevelEmbedding

__all__ = ["MLP"]


class MLP(nn.Module):
    """Points, (B, dimension), and log-SNR, (B,) -> (B, dimension). `layers` hidden layers of `width` units, SiLU
    between. With `classes`, it also takes labels, y: (B,).

    The last layer starts at 0, so that training starts from the loss of the constant guess 0.
    """

    def __init__(self, dimension: int = 2, width: int = 128, layers: int = 3, classes: int = 0):
        super().__init__()
        for name, size in (("dimension", dimension), ("width", width), ("layers", layers)):
            check_whole(name, size)
        self.embedding = NoiseLevelEmbedding(32)
        self.labels = LabelEmbedding(classes, width)
        sizes = [dimension + 32] + [width] * layers
        hidden = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in itertools.pairwise(sizes)]
        self.hidden = nn.Sequential(*hidden)
        self.out = nn.Linear(width, dimension)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None) -> Tensor:
        check_network_input(x, ("B", self.out.out_features), self.out.weight)
        first, *others = self.hidden
        h = first(torch.cat([x, self.embedding(log_snr)], dim=1))
        h = h + self.labels(y, h)
        for layer in others:
            h = layer(h)
        return self.out(h)
