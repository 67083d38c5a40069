"""A network that hears: it guesses the spectrum of a sound from its noisy frames, and a Wiener filter does the rest.

Taught in notebook 23. Source of the gain: Wiener 1949; of the frames, Allen & Rabiner 1977, Proc. IEEE 65(11).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_network_input, check_whole
from minidiff.networks.embeddings import LabelEmbedding, NoiseLevelEmbedding

__all__ = ["WienerNet"]

LABEL_SPREAD = 0.5  # standard deviation of the label features at the start: from 0 they are learned too late
FAINTEST, LOUDEST = -14.0, 8.0  # of the log of a spectrum; the noise at its smallest and data of unit variance fit in
SCALE = 3.0  # one unit of what the convolutions see and say, in units of log power


class FrameBlock(nn.Module):
    """h + something of h, (B, width, frames): three neighbouring frames mixed, told noise level and label, and bent."""

    def __init__(self, width: int):
        super().__init__()
        self.told = nn.Linear(width, 2 * width)
        self.frames, self.out = nn.Conv1d(width, width, 3, padding=1), nn.Conv1d(width, width, 1)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(functional.silu(told))[:, :, None].chunk(2, dim=1)
        return h + self.out(functional.silu(self.frames(h) * (1 + scale) + shift))


class WienerNet(nn.Module):
    """Noisy sounds, (B, n), log-SNR, (B,), and labels -> the clean sounds, (B, n). It predicts x0.

    For a path that preserves variance: alpha^2 and sigma^2 are read off the log-SNR. The sound is cut into frames
    (short-time Fourier transform). The network sees only the logarithm of their power over that of the noise, and
    answers with a spectrum S for each frame. Each coefficient is then multiplied by alpha S / (alpha^2 S + sigma^2),
    so phases are never learned: they stay those of the noisy sound.

    n: samples; width: channels; window: samples of a frame, a quarter of which lies between two frames.
    """

    def __init__(self, n: int = 2048, classes: int = 8, width: int = 128, layers: int = 2, window: int = 512):
        super().__init__()
        for name, size in (("n", n), ("width", width), ("layers", layers)):
            check_whole(name, size)
        check_whole("window", window, least=8)
        if window % 4:
            raise ValueError(f"window must be a multiple of 4, but is {window}")
        self.n, self.window = n, window
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        self.level = nn.Sequential(NoiseLevelEmbedding(64), nn.Linear(64, width), nn.SiLU())
        self.labels = LabelEmbedding(classes, width)
        if classes:
            drawn = nn.Embedding(classes + 1, width).weight.detach()  # so a layer of PyTorch draws the start
            self.labels.table.weight.data = LABEL_SPREAD * drawn
        self.inside = nn.Conv1d(window // 2 + 1, width, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(1, width, n // (window // 4) + 1))  # a note begins and fades
        self.blocks = nn.ModuleList(FrameBlock(width) for _ in range(layers))
        self.out = nn.Conv1d(width, window // 2 + 1, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def hidden(self) -> list[nn.Parameter]:
        """The weights for Muon: all convolutions but the last one."""
        layers = [self.inside, *(layer for block in self.blocks for layer in (block.frames, block.out))]
        return [layer.weight for layer in layers]

    def spectrum(self, frames: Tensor, log_snr: Tensor, y: Tensor | None = None) -> Tensor:
        """The guess of the clean power in each coefficient of noisy frames, (B, window/2 + 1, T), in units of noise."""
        noise = torch.sigmoid(-log_snr)[:, None, None] * self.hann.square().sum()
        power = torch.log(frames.abs().square() / noise + 1e-3).clamp(-6, 8) / SCALE
        told = self.level(log_snr)
        h, told = self.inside(power) + self.place, told + self.labels(y, told)
        for block in self.blocks:
            h = block(h, told)
        return torch.exp((SCALE * self.out(h)).clamp(FAINTEST, LOUDEST))

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None) -> Tensor:
        check_network_input(x, ("B", self.n), self.out.weight)
        cut = {"n_fft": self.window, "hop_length": self.window // 4, "window": self.hann, "center": True}
        frames = torch.stft(x, **cut, pad_mode="constant", return_complex=True)
        alpha2, sigma2 = (torch.sigmoid(sign * log_snr)[:, None, None] for sign in (1, -1))
        clean = self.spectrum(frames, log_snr, y)
        return torch.istft(frames * (alpha2.sqrt() * clean / (alpha2 * clean + sigma2)), **cut, length=self.n)
