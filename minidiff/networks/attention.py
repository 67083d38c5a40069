"""Attention: every query collects the values whose keys resemble it. One module for U-Nets, transformers and text.

Taught in notebooks 12 (one layer in a U-Net), 18 (what it can do that a convolution cannot) and 19 (words that steer a
picture). Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.2, equation 1 (scaled dot product) and 3.2.2 (heads).
"""

import torch
from torch import Tensor, nn

from minidiff._tensors import check_whole
from minidiff.networks.normalisation import group_norm, zero_init

__all__ = ["Attention", "SelfAttention", "attention", "attention_weights", "multi_head_attention"]


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) over the keys: what share of each value a query takes. (Vaswani et al., equation 1)

    q: (..., N, d); k: (..., M, d). mask: True where a query may look at a key, broadcast to (..., N, M). bias: what is
    added before the softmax, such as a number for each distance in the text (notebook 22). Returns (..., N, M); each
    row sums to 1. A query that may look at no key gets NaN: the caller leaves it one.
    """
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores, dim=-1)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """The values, averaged with `attention_weights` (Vaswani et al., equation 1). v: (..., M, e). -> (..., N, e)"""
    return attention_weights(q, k, mask, bias) @ v


def multi_head_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Attention in each of `heads` equal parts of the features (Vaswani et al., section 3.2.2, without projections).

    q: (B, N, C); k, v: (B, M, C), C a multiple of heads. mask: True where a query may look at a key, (B, M) (the same
    for all queries) or (B, N, M). bias: added to the scores of each head, (heads, N, M). Returns (B, N, C).
    """
    q, k, v = (split_heads(x, heads) for x in (q, k, v))  # (B, heads, N or M, C / heads)
    return attention(q, k, v, for_heads(mask, q, k), bias).transpose(1, 2).flatten(2)  # (B, N, C)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, C / heads)"""
    return x.unflatten(2, (heads, -1)).transpose(1, 2).contiguous()


def for_heads(mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """A mask over keys, (B, M) or (B, N, M), as all heads understand it. q: (B, heads, N, d); k: (B, heads, M, d)."""
    if mask is None:
        return None
    B, N, M = len(q), q.shape[2], k.shape[2]
    if mask.dtype != torch.bool or tuple(mask.shape) not in ((B, M), (B, N, M)):
        raise ValueError(
            f"mask must be boolean, of shape ({B}, {M}) or ({B}, {N}, {M}), but is {mask.dtype}, {tuple(mask.shape)}"
        )
    return mask[:, None, None] if mask.ndim == 2 else mask[:, None]


class Attention(nn.Module):
    """Attention between tokens, with projections (Vaswani et al., section 3.2.2). (B, N, width) -> the same.

    Without a context, tokens look at each other (self-attention). With one, (B, M, context_width), they look at it
    alone (cross-attention). mask: True where a token may be looked at, (B, M), or (B, N, M).
    """

    def __init__(self, width: int, heads: int = 4, *, context_width: int | None = None):
        super().__init__()
        for name, number in (("width", width), ("heads", heads)):
            check_whole(name, number)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, but {width} is not one of {heads}")
        self.heads, self.crosses = heads, context_width is not None
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width or width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        if (context is None) == self.crosses:
            raise ValueError(f"context must be {'given' if self.crosses else 'None'}: so the network was made")
        k, v = self.key_value(x if context is None else context).chunk(2, dim=-1)
        return self.out(multi_head_attention(self.query(x), k, v, self.heads, mask))

    def weights(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Where each token looks, head by head: (B, heads, N, M). To be looked at (notebook 19)."""
        k, _ = self.key_value(x if context is None else context).chunk(2, dim=-1)
        q, k = split_heads(self.query(x), self.heads), split_heads(k, self.heads)
        return attention_weights(q, k, for_heads(mask, q, k))


class SelfAttention(nn.Module):
    """Every position of an image looks at every other; x + what it saw. (B, width, H, W) -> the same."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = group_norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = zero_init(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, H W, width)
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        h = self.out(multi_head_attention(q, k, v, self.heads))
        return x + h.transpose(1, 2).unflatten(2, x.shape[2:])
