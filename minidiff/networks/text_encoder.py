"""A small transformer that reads a caption. Taught in notebook 19.

Every word becomes a vector; with positions, the words know where they stand; then each word looks at all others, layer
after layer. Without positions nothing depends on the order of the words: such an encoder reads a bag of words.

Source: Vaswani et al. 2017, arXiv 1706.03762, sections 3.1 (layers; here the norm comes first) and 3.4 (embeddings).
"""

import torch
from torch import Tensor, nn

from minidiff._tensors import check_whole, describe
from minidiff.networks.attention import Attention

__all__ = ["TextEncoder", "TextLayer", "spread"]

PADDING = 0  # the token that fills up short captions, in every vocabulary
STARTING_SPREAD = 0.3  # of words and positions


def spread(n: int, width: int) -> nn.Parameter:
    """n vectors to begin with, (n, width), normal with a small standard deviation."""
    return nn.Parameter(STARTING_SPREAD * nn.Embedding(n, width).weight.detach())


class TextLayer(nn.Module):
    """Words look at each other, then each thinks for itself; both are added. (B, L, width) -> the same."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.each = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        h = h + self.attention(self.norm_in(h), mask=mask)
        return h + self.each(self.norm_out(h))


class TextEncoder(nn.Module):
    """Tokens, (B, L), int64 -> a vector for each word, (B, L, width), and which of them are words, (B, L).

    vocabulary: how many tokens there are; token 0 is padding. order: whether words know where they stand. longest: the
    longest caption that may be read. masked: whether padding is kept out of sight; False is a mistake that notebook 19
    makes on purpose.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int = 64,
        layers: int = 2,
        *,
        order: bool = True,
        longest: int = 16,
        masked: bool = True,
    ):
        super().__init__()
        for name, size in (("vocabulary", vocabulary), ("width", width), ("longest", longest)):
            check_whole(name, size)
        check_whole("layers", layers, 0)
        self.masked = masked
        self.words = nn.Embedding(vocabulary, width)
        self.words.weight = spread(vocabulary, width)
        self.places = spread(longest, width) if order else None
        self.longest = longest
        self.layers = nn.ModuleList(TextLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(tokens, Tensor) or tokens.dtype != torch.int64 or tokens.ndim != 2:
            raise ValueError(f"tokens must be an int64 tensor of shape (B, L), but is {describe(tokens)}")
        if tokens.shape[1] > self.longest:
            raise ValueError(f"tokens must be at most {self.longest} a caption, but are {tokens.shape[1]}")
        mask = tokens != PADDING if self.masked else torch.ones_like(tokens, dtype=torch.bool)
        h = self.words(tokens)
        if self.places is not None:
            h = h + self.places[: tokens.shape[1]]
        for layer in self.layers:
            h = layer(h, mask)
        return self.norm(h), mask
