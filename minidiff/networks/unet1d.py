"""A U-Net for trajectories and other rows of numbers: that of `unet`, with one dimension in place of two. Notebook 24.

Source: Janner et al. 2022 (Diffuser), arXiv 2205.09991: convolutions along the time of a trajectory. A denoiser that
sees only neighbours still makes whole trajectories, since each step of a sampler passes on what the last one found.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_network_input, check_whole
from minidiff.networks.embeddings import NoiseLevelEmbedding
from minidiff.networks.normalisation import check_widths, group_norm, zero_init

__all__ = ["ResidualBlock1d", "UNet1d"]


class ResidualBlock1d(nn.Module):
    """x + conv(conv(x)), with the noise level as scale and shift in between. (B, width, H) -> the same."""

    def __init__(self, width: int, embedding_width: int, kernel: int):
        super().__init__()
        self.norm_in, self.norm_out = group_norm(width), group_norm(width)
        self.conv_in = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.conv_out = zero_init(nn.Conv1d(width, width, kernel, padding=kernel // 2))
        self.modulation = nn.Linear(embedding_width, 2 * width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None].chunk(2, dim=1)  # (B, width, 1) each
        h = self.conv_in(functional.silu(self.norm_in(x)))
        h = self.conv_out(functional.silu(self.norm_out(h) * (1 + scale) + shift))
        return x + h


class UNet1d(nn.Module):
    """Rows of numbers, (B, channels, H), and log-SNR, (B,) -> (B, channels_out, H).

    widths: channels of each level, finest first. blocks: residual blocks of a level on the way down, and again up.
    kernel: how many neighbours a convolution sees, odd. H must be a multiple of 2^(levels - 1).
    """

    def __init__(
        self,
        channels: int = 2,
        channels_out: int = 2,
        widths: tuple[int, ...] = (64,),
        blocks: int = 2,
        kernel: int = 5,
    ):
        super().__init__()
        for name, number in (("channels", channels), ("channels_out", channels_out), ("blocks", blocks)):
            check_whole(name, number)
        check_whole("kernel", kernel)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that a row keeps its length, but is {kernel}")
        check_widths(widths)
        self.channels, self.multiple = channels, 2 ** (len(widths) - 1)
        embed = 2 * widths[0]
        self.embedding = nn.Sequential(
            NoiseLevelEmbedding(64), nn.Linear(64, embed), nn.SiLU(), nn.Linear(embed, embed), nn.SiLU()
        )
        self.conv_in = nn.Conv1d(channels, widths[0], kernel, padding=kernel // 2)

        def level(width: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock1d(width, embed, kernel) for _ in range(blocks))

        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(level(width) for width in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv1d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.middle, self.middle_out = level(widths[-1]), level(widths[-1])
        self.grow = nn.ModuleList(nn.ConvTranspose1d(coarse, fine, 2, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(level(width) for width in widths[:-1])
        self.norm_out = group_norm(widths[0])
        self.conv_out = zero_init(nn.Conv1d(widths[0], channels_out, kernel, padding=kernel // 2))

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        check_network_input(x, ("B", self.channels, "H"), self.conv_in.weight)
        if x.shape[-1] % self.multiple:
            raise ValueError(f"x must have a length that is a multiple of {self.multiple}, but has {tuple(x.shape)}")
        embedding = self.embedding(log_snr)
        h, skips = self.conv_in(x), []
        for level, shrink in zip(self.down, self.shrink, strict=True):
            for block in level:
                h = block(h, embedding)
            skips.append(h)
            h = shrink(h)  # half the length
        for block in (*self.middle, *self.middle_out):
            h = block(h, embedding)
        for level, grow, skip in reversed(list(zip(self.up, self.grow, skips, strict=True))):
            h = grow(h) + skip
            for block in level:
                h = block(h, embedding)
        return self.conv_out(functional.silu(self.norm_out(h)))
