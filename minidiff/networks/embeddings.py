"""How a network is told the noise level: sines and cosines of the log-SNR. Taught in notebook 12.

Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.5; Ho et al. 2020 (DDPM), arXiv 2006.11239, appendix B.
"""

import torch
from torch import Tensor, nn

__all__ = ["NoiseLevelEmbedding"]

# Periods of the sines in units of log-SNR. The log-SNR of a path spans about -20 to 20: the longest wave tells the
# ends apart, the shortest resolves a single DDPM step.
LONGEST_PERIOD, SHORTEST_PERIOD = 80.0, 1.0


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
