"""How a network is told the noise level, by sines and cosines of the log-SNR (notebook 12), and a label (notebook 14).

Sources: Vaswani et al. 2017, arXiv 1706.03762, section 3.5; Ho et al. 2020 (DDPM), arXiv 2006.11239, appendix B; Ho &
Salimans 2022, arXiv 2207.12598, section 3.2 (one network with and without a label).
"""

import torch
from torch import Tensor, nn

from minidiff._tensors import check_whole, describe, nan_outside, readable

__all__ = ["NO_LABEL", "LabelEmbedding", "NoiseLevelEmbedding"]

# Periods of the sines in units of log-SNR. The log-SNR of a path spans about -20 to 20: the longest wave tells the
# ends apart, the shortest resolves a single DDPM step.
LONGEST_PERIOD, SHORTEST_PERIOD = 80.0, 1.0

NO_LABEL = -1  # the label that says nothing: what an unconditional model is told. Nothing else defines it.


class NoiseLevelEmbedding(nn.Module):
    """log-SNR, (B,) -> features, (B, width). width must be even."""

    def __init__(self, width: int):
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"width must be an even number >= 2, but is {width}")
        ratio = torch.linspace(0, 1, width // 2)
        period = LONGEST_PERIOD * (SHORTEST_PERIOD / LONGEST_PERIOD) ** ratio
        self.register_buffer("frequency", 2 * torch.pi / period, persistent=False)

    def forward(self, log_snr: Tensor) -> Tensor:
        angle = log_snr[:, None] * self.frequency  # (B, width / 2)
        return torch.cat([angle.sin(), angle.cos()], dim=1)  # (B, width)


class LabelEmbedding(nn.Module):
    """Labels, () or (B,), from 0 to classes - 1 or NO_LABEL -> features, (B, width). None is NO_LABEL for everyone.

    All features start at 0, so that a network starts as if it knew no labels. A network without classes refuses any.
    """

    def __init__(self, classes: int, width: int):
        super().__init__()
        check_whole("classes", classes, 0)
        check_whole("width", width)
        self.classes = classes
        self.table = nn.Embedding(classes + 1, width) if classes else None  # row 0 is NO_LABEL
        if classes:
            nn.init.zeros_(self.table.weight)

    def forward(self, y: Tensor | None, like: Tensor) -> Tensor:
        if self.table is None:
            if y is not None:
                raise ValueError("y must be None, since the network was made without classes")
            return torch.zeros_like(like)
        if y is None:
            y = torch.tensor(NO_LABEL, device=like.device)
        if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.ndim > 1 or (y.ndim == 1 and len(y) != len(like)):
            raise ValueError(f"y must be an int64 tensor of shape () or ({len(like)},), but is {describe(y)}")
        last = self.classes - 1
        if readable(y) and bool(((y < NO_LABEL) | (y > last)).any()):
            wrong = sorted(set(y[(y < NO_LABEL) | (y > last)].tolist()))
            raise ValueError(f"y must hold labels from 0 to {last}, or NO_LABEL = {NO_LABEL}, but holds {wrong}")
        y = y.to(like.device)
        return nan_outside(self.table(y.clamp(NO_LABEL, last) - NO_LABEL), y, NO_LABEL, last).expand_as(like)
