"""Networks that a caption steers: an MLP for points and a U-Net for pictures, by cross-attention. Notebook 19.

Every position of the picture (for the MLP: the point) asks a question, every word holds a key and a value, and the
position adds what it collects from the words. (Rombach et al. 2022, arXiv 2112.10752, section 3.3.)
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_network_input, check_whole
from minidiff.networks.attention import Attention
from minidiff.networks.embeddings import NoiseLevelEmbedding
from minidiff.networks.normalisation import group_norm, zero_init
from minidiff.networks.text_encoder import TextEncoder, spread
from minidiff.networks.unet import UNet

__all__ = ["CaptionMLP", "CaptionUNet", "CrossAttention"]


class CrossAttention(nn.Module):
    """Every position of an image looks at the words; x + what it read. (B, width, H, W) -> the same.

    context_width: of a word's vector. side: (H, W); positions are learned, since a word such as "left" can be obeyed
    only by those who know where they are.
    """

    def __init__(self, width: int, context_width: int, side: tuple[int, int], heads: int = 4):
        super().__init__()
        self.norm = group_norm(width)
        self.places = spread(side[0] * side[1], width)
        self.attention = Attention(width, heads, context_width=context_width)
        zero_init(self.attention.out)

    def queries(self, x: Tensor) -> Tensor:
        """What each position asks with: (B, H W, width)."""
        return self.norm(x).flatten(2).transpose(1, 2) + self.places

    def forward(self, x: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        h = self.attention(self.queries(x), words, mask)
        return x + h.transpose(1, 2).unflatten(2, x.shape[2:])


class CaptionMLP(nn.Module):
    """Points, (B, 2), log-SNR, (B,), and tokens, (B, L) -> (B, 2). The point is the only position that asks."""

    def __init__(self, vocabulary: int, width: int = 128, *, order: bool = True, masked: bool = True):
        super().__init__()
        self.encoder = TextEncoder(vocabulary, 32, 1, order=order, masked=masked)
        self.embedding = NoiseLevelEmbedding(32)
        self.first, self.second, self.third = nn.Linear(34, width), nn.Linear(width, width), nn.Linear(width, width)
        self.read = Attention(width, context_width=32)
        self.out = zero_init(nn.Linear(width, 2))

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor) -> Tensor:
        check_network_input(x, ("B", 2), self.out.weight)
        words, mask = self.encoder(y)
        h = functional.silu(self.first(torch.cat([x, self.embedding(log_snr)], dim=1)))
        h = h + self.read(h[:, None], words, mask)[:, 0]
        h = functional.silu(self.second(h))
        return self.out(functional.silu(self.third(h)))


class CaptionUNet(UNet):
    """Pictures, (B, 1, H, W), log-SNR, (B,), and tokens, (B, L) -> (B, 1, H, W): a `UNet` that reads.

    After the self-attention in the middle, and on the way up before the blocks of each level, all positions look at the
    words. vocabulary, order, layers: of the `TextEncoder`. side: (H, W) of the pictures.
    """

    def __init__(
        self,
        vocabulary: int,
        widths: tuple[int, ...] = (48, 96),
        side: tuple[int, int] = (16, 32),
        *,
        blocks: int = 1,
        patch: int = 2,
        words: int = 64,
        layers: int = 2,
        order: bool = True,
    ):
        super().__init__(1, widths, blocks, patch)
        check_whole("words", words)
        if side[0] % self.multiple or side[1] % self.multiple:
            raise ValueError(f"side must be two multiples of {self.multiple}, but is {side}")
        self.side = tuple(side)
        self.encoder = TextEncoder(vocabulary, words, layers, order=order)
        shrunk = [patch * 2**level for level in range(len(widths))]
        reading = [
            CrossAttention(width, words, (side[0] // by, side[1] // by))
            for width, by in zip(widths, shrunk, strict=True)
        ]
        self.reading = nn.ModuleList(reading)  # finest first

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor) -> Tensor:
        check_network_input(x, ("B", self.channels, *self.side), self.conv_in.weight)
        words, mask = self.encoder(y)
        embedding = self.embedding(log_snr)  # (B, embed)
        h = self.conv_in(self.patchify(x).contiguous(memory_format=torch.channels_last))
        skips = []
        for level, shrink in zip(self.down, self.shrink, strict=True):
            for block in level:
                h = block(h, embedding)
            skips.append(h)
            h = shrink(h)
        for block in self.middle:
            h = block(h, embedding)
        h = self.reading[-1](self.attention(h), words, mask)
        for block in self.middle_out:
            h = block(h, embedding)
        ups = zip(self.up, self.grow, skips, self.reading, strict=False)  # the last of `reading` has read already
        for level, grow, skip, read in reversed(list(ups)):
            h = read(grow(h) + skip, words, mask)
            for block in level:
                h = block(h, embedding)
        return self.unpatchify(self.conv_out(functional.silu(self.norm_out(h))))
