"""A small transformer for text: what each place says by itself in, what stands there out. Taught in notebook 22.

Its input is a table, and not words: for each place of a sentence and each word, how probable what was observed there
is if that word stands there. A visible word is a row with a single 1, a hidden word a row of equal numbers, and a word
seen through noise lies in between. So one network serves every kind of noise, and needs no clock: all that the time
changes stands in the table.

Sources: Vaswani et al. 2017, arXiv 1706.03762 (transformer); Xiong et al. 2020, arXiv 2002.04745 (normalisation before
each layer); Raffel et al. 2020, arXiv 1910.10683, section 2.1 (a number for each distance, added to the scores).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_network_input, check_whole
from minidiff.networks.attention import multi_head_attention
from minidiff.networks.normalisation import zero_init

__all__ = ["TokenBlock", "TokenTransformer"]


class TokenBlock(nn.Module):
    """x + attention(x), then x + MLP(x). (B, L, width) -> the same. It starts as the identity."""

    def __init__(self, width: int, heads: int, length: int):
        super().__init__()
        self.heads = heads
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), zero_init(nn.Linear(width, width))
        self.up, self.down = nn.Linear(width, 4 * width), zero_init(nn.Linear(4 * width, width))
        self.distance = nn.Parameter(torch.zeros(heads, 2 * length - 1))  # for distances from 1 - length to length - 1
        places = torch.arange(length)
        self.register_buffer("gap", places[:, None] - places + length - 1, persistent=False)  # (L, L)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.qkv(self.norm_in(x)).chunk(3, dim=-1)  # (B, L, width) each
        x = x + self.out(multi_head_attention(q, k, v, self.heads, mask, self.distance[:, self.gap]))
        return x + self.down(functional.gelu(self.up(self.norm_out(x))))


class TokenTransformer(nn.Module):
    """What was observed at each place, (B, length, vocabulary), rows scaled at will -> logits of the same shape.

    softmax of the logits estimates p(word at each place | all that was observed). With `causal`, a place sees only
    places before it and itself: that is a model that writes from left to right.
    """

    def __init__(
        self, vocabulary: int, length: int, width: int = 48, layers: int = 3, heads: int = 4, causal: bool = False
    ):
        super().__init__()
        for name, number in (("vocabulary", vocabulary), ("length", length), ("width", width), ("layers", layers)):
            check_whole(name, number)
        check_whole("heads", heads)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, but {width} is not one of {heads}")
        self.vocabulary, self.length, self.causal = vocabulary, length, causal
        self.embedding = nn.Parameter(nn.Embedding(vocabulary, width).weight.detach() / width**0.5)
        self.place = nn.Parameter(0.02 * nn.Embedding(length, width).weight.detach())
        self.blocks = nn.ModuleList(TokenBlock(width, heads, length) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        check_network_input(x, ("B", self.length, self.vocabulary), self.embedding)
        h = x / x.sum(-1, keepdim=True) @ self.embedding + self.place  # (B, L, width)
        mask = None
        if self.causal:
            mask = torch.ones(self.length, self.length, dtype=torch.bool, device=x.device).tril().expand(len(x), -1, -1)
        for block in self.blocks:
            h = block(h, mask)
        return self.head(self.norm(h))

    def hidden_weights(self) -> list[nn.Parameter]:
        """The matrices between hidden layers, for Muon."""
        return [
            p for block in self.blocks for name, p in block.named_parameters() if p.ndim == 2 and name != "distance"
        ]
