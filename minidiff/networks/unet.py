"""A U-Net for small images, built for two CPU cores. Taught block by block in notebook 12.

The costly part of a U-Net is its finest level. Here every 2x2 patch of pixels first moves into channels (Shi et
al. 2016, arXiv 1609.05158), so that the finest convolutions see 14x14 positions of an MNIST digit instead of
28x28. Blocks are those of DDPM (Ho et al. 2020, arXiv 2006.11239, appendix B), with the noise level as scale and
shift (Nichol & Dhariwal 2021, arXiv 2102.09672, appendix A) and skip connections that are added (Ronneberger et al.
2015, arXiv 1505.04597, concatenates).
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_network_input, check_whole
from minidiff.networks.attention import SelfAttention
from minidiff.networks.embeddings import LabelEmbedding, NoiseLevelEmbedding
from minidiff.networks.normalisation import check_widths, group_norm, zero_init

__all__ = ["ResidualBlock", "UNet"]


class ResidualBlock(nn.Module):
    """x + conv(conv(x)), with the noise level as scale and shift in between. (B, width, H, W) -> the same."""

    def __init__(self, width: int, embedding_width: int):
        super().__init__()
        self.norm_in, self.norm_out = group_norm(width), group_norm(width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = nn.Linear(embedding_width, 2 * width)
        zero_init(self.conv_out)  # every block starts as the identity

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)  # (B, width, 1, 1) each
        h = self.conv_in(functional.silu(self.norm_in(x)))
        h = self.conv_out(functional.silu(self.norm_out(h) * (1 + scale) + shift))
        return x + h


class UNet(nn.Module):
    """Images, (B, channels, H, W), and log-SNR, (B,) -> (B, channels, H, W).

    widths: channels of each level, finest first. blocks: residual blocks of a level on the way down, and again up.
    patch: side of the squares of pixels that become channels. H and W must be multiples of patch * 2^(levels - 1).
    classes: how many labels it knows, y: (B,), which enter where the noise level does.
    """

    def __init__(
        self,
        channels: int = 1,
        widths: tuple[int, ...] = (64, 128),
        blocks: int = 2,
        patch: int = 2,
        classes: int = 0,
    ):
        super().__init__()
        for name, number in (("channels", channels), ("blocks", blocks), ("patch", patch)):
            check_whole(name, number)
        check_widths(widths)
        self.channels, self.multiple = channels, patch * 2 ** (len(widths) - 1)
        embed = 2 * widths[0]
        self.embedding = nn.Sequential(
            NoiseLevelEmbedding(64), nn.Linear(64, embed), nn.SiLU(), nn.Linear(embed, embed), nn.SiLU()
        )
        self.labels = LabelEmbedding(classes, embed)
        self.patchify, self.unpatchify = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        self.conv_in = nn.Conv2d(channels * patch**2, widths[0], 3, padding=1)

        def level(width: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock(width, embed) for _ in range(blocks))

        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(level(width) for width in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.middle = level(widths[-1])
        self.attention = SelfAttention(widths[-1])
        self.middle_out = level(widths[-1])
        self.grow = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(level(width) for width in widths[:-1])
        self.norm_out = group_norm(widths[0])
        self.conv_out = zero_init(nn.Conv2d(widths[0], channels * patch**2, 3, padding=1))
        self.to(memory_format=torch.channels_last)  # the same numbers, in the order that convolutions like

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None) -> Tensor:
        check_network_input(x, ("B", self.channels, "H", "W"), self.conv_in.weight)
        if x.shape[-1] % self.multiple or x.shape[-2] % self.multiple:
            raise ValueError(f"x must have sides that are multiples of {self.multiple}, but has shape {tuple(x.shape)}")
        embedding = self.embedding(log_snr)  # (B, embed)
        embedding = embedding + self.labels(y, embedding)
        x = self.patchify(x).contiguous(memory_format=torch.channels_last)
        h = self.conv_in(x)  # (B, widths[0], H / patch, W / patch)
        skips = []
        for level, shrink in zip(self.down, self.shrink, strict=True):
            for block in level:
                h = block(h, embedding)
            skips.append(h)
            h = shrink(h)  # half the height and width
        for block in self.middle:
            h = block(h, embedding)
        h = self.attention(h)
        for block in self.middle_out:
            h = block(h, embedding)
        for level, grow, skip in reversed(list(zip(self.up, self.grow, skips, strict=True))):
            h = grow(h) + skip  # twice the height and width
            for block in level:
                h = block(h, embedding)
        return self.unpatchify(self.conv_out(functional.silu(self.norm_out(h))))
