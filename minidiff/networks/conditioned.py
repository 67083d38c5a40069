"""A U-Net that sees more than the noisy data: what is known is laid beside them, as further channels.

Taught in notebook 21. The plainest way to show a picture to a denoiser (Ho et al. 2021, arXiv 2106.15282;
Saharia et al. 2021, arXiv 2104.07636). It serves an upsampler, which sees the coarse picture, and a model of films,
whose frames are channels and which sees the frames that are given.
"""

import torch
from torch import Tensor, nn

from minidiff._tensors import check_whole
from minidiff.networks.unet import UNet

__all__ = ["ConditionedUNet"]


class ConditionedUNet(nn.Module):
    """Images, (B, channels, H, W), log-SNR, (B,), and what is known, y: (B, beside, H, W) -> (B, channels, H, W).

    Without y nothing is known: all its channels are 0. The other arguments are those of `UNet`, which this one holds.
    """

    def __init__(
        self, channels: int = 1, beside: int = 2, widths: tuple[int, ...] = (32, 64), blocks: int = 1, patch: int = 2
    ):
        super().__init__()
        for name, number in (("channels", channels), ("beside", beside)):
            check_whole(name, number)
        self.channels, self.beside = channels, beside
        self.net = UNet(channels + beside, widths, blocks, patch)

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None) -> Tensor:
        shape = (len(x), self.beside, *x.shape[2:])
        if y is not None and tuple(y.shape) != shape:
            raise ValueError(f"y must have shape {shape}, to lie beside x, but has {tuple(y.shape)}")
        known = x.new_zeros(shape) if y is None else y.to(x.dtype)
        return self.net(torch.cat([x, known], dim=1), log_snr)[:, : self.channels]
