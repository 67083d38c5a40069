"""A transformer for images: patches become tokens, and every token looks at every other. Taught in notebook 18.

A picture is cut into squares, each of which is one token, a row of numbers (Dosovitskiy et al. 2021, arXiv 2010.11929,
section 3.1). Nothing in a transformer knows where a token lies, so a table of positions is added. The blocks are those
of the diffusion transformer with adaLN-Zero (Peebles & Xie 2023, arXiv 2212.09748, section 3.2): the noise level sets
scale and shift after each normalisation, and a gate before each sum that starts at 0.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_network_input, check_whole, describe
from minidiff.networks.attention import Attention
from minidiff.networks.embeddings import LabelEmbedding, NoiseLevelEmbedding
from minidiff.networks.normalisation import zero_init

__all__ = ["DiT", "TransformerBlock", "modulated", "patchify", "sine_positions", "unpatchify"]

Positions = Literal["sines", "learned", "none"]
LONGEST = 10_000  # the longest wave of a position, over 2 pi (Vaswani et al. 2017, arXiv 1706.03762, section 3.5)
LEARNED_SPREAD = 0.5  # of a learned table at its start: as large as what it is added to
EPS = 1e-6  # in the normalisation, as in the paper's code


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut images into squares: (B, C, H, W) -> tokens, (B, N, C patch^2), N = (H / patch) (W / patch). Notebook 18.

    Tokens are in reading order. Within a token channels come first, then rows, then columns.
    """
    check_whole("patch", patch)
    if x.ndim != 4 or x.shape[2] % patch or x.shape[3] % patch:
        raise ValueError(f"x must be images whose sides are multiples of {patch}, but is {describe(x)}")
    return functional.pixel_unshuffle(x, patch).flatten(2).transpose(1, 2)


def unpatchify(tokens: Tensor, patch: int, height: int) -> Tensor:
    """The images that `patchify` cut: tokens, (B, N, C patch^2), and the height of an image -> (B, C, H, W)."""
    check_whole("patch", patch)
    rows = height // patch
    if tokens.ndim != 3 or rows < 1 or height % patch or tokens.shape[1] % rows or tokens.shape[2] % patch**2:
        raise ValueError(f"tokens must be those of images {height} high, but are {describe(tokens)}")
    return functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, -1)), patch)


def sine_positions(rows: int, width: int) -> Tensor:
    """A table that tells the places of a square of rows x rows tokens apart: (rows^2, width). width: a multiple of 4.

    One half of each row of the table are sines and cosines of the token's row, the other half those of its column, of
    geometric periods (Vaswani et al. 2017, section 3.5; in two dimensions as in Peebles & Xie).
    """
    check_whole("rows", rows)
    if width < 4 or width % 4:
        raise ValueError(f"width must be a multiple of 4, but is {width}")
    frequency = LONGEST ** (-torch.arange(width // 4) / (width // 4))
    angle = torch.arange(rows)[:, None] * frequency
    line = torch.cat([angle.sin(), angle.cos()], dim=1)  # (rows, width / 2)
    by_row, by_column = line[:, None].expand(-1, rows, -1), line[None].expand(rows, -1, -1)
    return torch.cat([by_row, by_column], dim=2).flatten(0, 1)


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Adaptive normalisation: each token to mean 0 and variance 1, then (1 + scale) times that, plus shift.

    x: (B, N, width); scale, shift: (B, width). (Peebles & Xie, section 3.2, adaLN.) Notebook 18.
    """
    return functional.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale[:, None]) + shift[:, None]


class TransformerBlock(nn.Module):
    """Attention between tokens, then a small network for each token, both with adaLN-Zero. (B, N, width) -> the same.

    c: (B, embedding_width), what the noise level (and a label) say. mask: as in `Attention`.
    """

    def __init__(self, width: int, heads: int, embedding_width: int, ratio: int = 4):
        super().__init__()
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, ratio * width), nn.GELU(approximate="tanh"), nn.Linear(ratio * width, width)
        )
        self.modulation = zero_init(nn.Linear(embedding_width, 6 * width))  # so every block starts as the identity

    def forward(self, x: Tensor, c: Tensor, mask: Tensor | None = None) -> Tensor:
        scale, shift, gate, scale2, shift2, gate2 = self.modulation(c).chunk(6, dim=1)  # (B, width) each
        x = x + gate[:, None] * self.attention(modulated(x, scale, shift), mask=mask)
        return x + gate2[:, None] * self.mlp(modulated(x, scale2, shift2))

    def weights(self, x: Tensor, c: Tensor, mask: Tensor | None = None) -> Tensor:
        """Where each token looks, head by head: (B, heads, N, N)."""
        scale, shift, *_ = self.modulation(c).chunk(6, dim=1)
        return self.attention.weights(modulated(x, scale, shift), mask=mask)


class DiT(nn.Module):
    """Images, (B, channels, side, side), and log-SNR, (B,) -> the same shape as the images.

    patch: side of the squares of pixels that become tokens. positions: "sines", "learned" or "none". classes: how many
    labels it knows, y: (B,). mask: (N, N), True where a token (a row) may look at another; None lets all look at all.
    """

    def __init__(
        self,
        side: int = 8,
        channels: int = 1,
        patch: int = 2,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        classes: int = 0,
        positions: Positions = "sines",
    ):
        super().__init__()
        for name, number in (("side", side), ("channels", channels), ("patch", patch), ("depth", depth)):
            check_whole(name, number)
        if side % patch:
            raise ValueError(f"side must be a multiple of patch, but {side} is not one of {patch}")
        if positions not in ("sines", "learned", "none"):
            raise ValueError(f'positions must be "sines", "learned" or "none", but is {positions!r}')
        self.side, self.channels, self.patch = side, channels, patch
        rows = side // patch
        self.embed = nn.Linear(channels * patch**2, width)
        if positions == "learned":
            self.positions = nn.Parameter(LEARNED_SPREAD * nn.Embedding(rows**2, width).weight.detach())
        else:
            table = sine_positions(rows, width) if positions == "sines" else torch.zeros(rows**2, width)
            self.register_buffer("positions", table, persistent=False)
        self.embedding = nn.Sequential(
            NoiseLevelEmbedding(64), nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.labels = LabelEmbedding(classes, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, width) for _ in range(depth))
        self.modulation = zero_init(nn.Linear(width, 2 * width))
        self.out = zero_init(nn.Linear(width, channels * patch**2))

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        h, c, mask = self._start(x, log_snr, y, mask)
        for block in self.blocks:
            h = block(h, c, mask)
        scale, shift = self.modulation(c).chunk(2, dim=1)
        return unpatchify(self.out(modulated(h, scale, shift)), self.patch, self.side)

    def attention_maps(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None) -> list[Tensor]:
        """Where each token looks, block by block: (B, heads, N, N) each. To be looked at (notebook 18)."""
        (h, c, _), maps = self._start(x, log_snr, y, None), []
        for block in self.blocks:
            maps.append(block.weights(h, c))
            h = block(h, c)
        return maps

    def _start(
        self, x: Tensor, log_snr: Tensor, y: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Tokens with their positions, (B, N, width), what modulates them, (B, width), and the mask, (B, N, N)."""
        check_network_input(x, ("B", self.channels, self.side, self.side), self.embed.weight)
        tokens = self.embed(patchify(x, self.patch)) + self.positions  # (B, N, width)
        embedding = self.embedding(log_snr)  # (B, width)
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != (tokens.shape[1],) * 2:
                raise ValueError(f"mask must be boolean, one row and column for each token, but is {describe(mask)}")
            mask = mask.expand(len(x), -1, -1)
        return tokens, functional.silu(embedding + self.labels(y, embedding)), mask
