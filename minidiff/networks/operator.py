"""A network for functions on a circle that may be used on another grid than its own. Taught in notebook 25.

Source: Li et al. 2021 (Fourier neural operator), arXiv 2010.08895, section 4, equations 4 and 5.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_network_input, check_whole
from minidiff.networks.embeddings import NoiseLevelEmbedding

__all__ = ["FourierNetwork"]


class SpectralLayer(nn.Module):
    """Functions with channels, (B, C, n), filtered: each of the first waves by its own complex matrix, (C, C).

    The weights belong to waves and not to grid points, so n may be anything. Waves that the grid has not stay out.
    """

    def __init__(self, width: int, waves: int):
        super().__init__()
        drawn = nn.Linear(width, 2 * waves * width, bias=False).weight  # so a layer of PyTorch draws the start
        self.weight = nn.Parameter(drawn.detach().reshape(waves, width, width, 2))

    def forward(self, h: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(h)
        waves = min(len(self.weight), spectrum.shape[-1])
        weight = torch.view_as_complex(self.weight)[:waves]
        low = torch.einsum("bcm,mcd->bdm", spectrum[..., :waves], weight)
        return torch.fft.irfft(functional.pad(low, (0, spectrum.shape[-1] - waves)), h.shape[-1])


class FourierBlock(nn.Module):
    """h + something of h: waves filtered, values mixed at each point, told the noise level, (B, E), and bent."""

    def __init__(self, width: int, waves: int):
        super().__init__()
        self.waves, self.values = SpectralLayer(width, waves), nn.Conv1d(width, width, 1)
        self.level, self.out = nn.Linear(width, 2 * width), nn.Conv1d(width, width, 1)
        for layer in (self.level, self.out):  # a block starts as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.level(level)[..., None].chunk(2, dim=1)
        return h + self.out(functional.gelu((self.waves(h) + self.values(h)) * (1 + scale) + shift))


class FourierNetwork(nn.Module):
    """Functions on a circle, (B, n) for any n, and log-SNR, (B,) -> (B, n). A Fourier neural operator.

    width: channels at each point. waves: how many waves the spectral layers see, from the constant on. The last layer
    starts at 0.
    """

    def __init__(self, width: int = 48, layers: int = 3, waves: int = 16):
        super().__init__()
        for name, size in (("width", width), ("layers", layers), ("waves", waves)):
            check_whole(name, size)
        self.inside = nn.Conv1d(1, width, 1)
        self.level = nn.Sequential(NoiseLevelEmbedding(32), nn.Linear(32, width), nn.SiLU())
        self.blocks = nn.ModuleList(FourierBlock(width, waves) for _ in range(layers))
        self.out = nn.Conv1d(width, 1, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, log_snr: Tensor, y: None = None) -> Tensor:
        check_network_input(x, ("B", "n"), self.out.weight)
        if y is not None:
            raise ValueError("y must be None, since this network takes no labels")
        h, level = self.inside(x[:, None]), self.level(log_snr)
        for block in self.blocks:
            h = block(h, level)
        return self.out(h)[:, 0]
