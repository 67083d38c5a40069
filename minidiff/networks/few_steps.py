"""Networks for one large random step: a generator that draws x0, and a critic of pairs. Taught in notebook 20.

Source: Xiao, Kreis & Vahdat 2022 (denoising diffusion GAN), arXiv 2112.07804.
"""

import itertools

import torch
from torch import Tensor, nn

from minidiff._tensors import check_whole
from minidiff.networks.embeddings import NoiseLevelEmbedding

__all__ = ["Adversaries", "StepCritic", "StepGenerator"]


class _Layers(nn.Module):
    """Numbers, (B, inputs), and log-SNR, (B,) -> (B, outputs). As the MLP, but it need not end as wide as it began."""

    def __init__(self, inputs: int, width: int, layers: int, outputs: int):
        super().__init__()
        self.embedding = NoiseLevelEmbedding(32)
        sizes = [inputs + 32] + [width] * layers
        hidden = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in itertools.pairwise(sizes)]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, outputs))

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        return self.layers(torch.cat([x, self.embedding(log_snr)], dim=1))


class StepGenerator(nn.Module):
    """Points x_t, (B, dimension), log-SNR, (B,), and noise z, (B, noise) -> a draw of x0, (B, dimension)."""

    def __init__(self, dimension: int = 2, noise: int = 2, width: int = 128, layers: int = 3):
        super().__init__()
        for name, size in (("dimension", dimension), ("noise", noise), ("width", width), ("layers", layers)):
            check_whole(name, size)
        self.noise = noise
        self.net = _Layers(dimension + noise, width, layers, dimension)

    def forward(self, x: Tensor, log_snr: Tensor, z: Tensor) -> Tensor:
        return self.net(torch.cat([x, z], dim=1), log_snr)


class StepCritic(nn.Module):
    """Pairs x_s and x_t, (B, dimension) each, and log-SNR, (B,) -> how real a pair looks, (B,)."""

    def __init__(self, dimension: int = 2, width: int = 128, layers: int = 3):
        super().__init__()
        for name, size in (("dimension", dimension), ("width", width), ("layers", layers)):
            check_whole(name, size)
        self.net = _Layers(2 * dimension, width, layers, 1)

    def forward(self, x_s: Tensor, x_t: Tensor, log_snr: Tensor) -> Tensor:
        return self.net(torch.cat([x_s, x_t], dim=1), log_snr)[:, 0]


class Adversaries(nn.Module):
    """A generator and its critic, trained against one another. Used as a network, it is the generator."""

    def __init__(self, dimension: int = 2, noise: int = 2, width: int = 128, layers: int = 3):
        super().__init__()
        self.noise = noise
        self.generator = StepGenerator(dimension, noise, width, layers)
        self.critic = StepCritic(dimension, width, layers)

    def forward(self, x: Tensor, log_snr: Tensor, z: Tensor) -> Tensor:
        return self.generator(x, log_snr, z)
