"""A small variational autoencoder: images to a few numbers, and back. Taught in notebook 17.

The encoder gives a normal distribution over latents for each image, the decoder the image that a latent stands for
(Kingma & Welling 2014, arXiv 1312.6114, appendix C). Its convolutions see what those of the U-Net see: 2x2 patches of
pixels as channels, then half of that. Few channels are left before the one dense layer, which otherwise would hold most
of the weights.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_network_input, check_whole
from minidiff.networks.normalisation import check_widths, group_norm, zero_init

__all__ = ["Autoencoder"]

SPAN = (-14.0, 6.0)  # of ln(variance): beyond it, exp would leave what a network can learn from
SHRINKS = 4  # sides of the image over sides of what the dense layer sees


class PlainBlock(nn.Module):
    """x + conv(conv(x)): a residual block without a noise level. (B, width, H, W) -> the same."""

    def __init__(self, width: int):
        super().__init__()
        self.norm_in, self.norm_out = group_norm(width), group_norm(width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = zero_init(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(functional.silu(self.norm_in(x)))
        return x + self.conv_out(functional.silu(self.norm_out(h)))


class Autoencoder(nn.Module):
    """Images, (B, channels, side, side) <-> latents, (B, latent). side must be a multiple of 4.

    `encode` gives mean and ln(variance) of a normal distribution for each image, `decode` the mean image of a latent.
    """

    def __init__(
        self,
        channels: int = 1,
        side: int = 28,
        latent: int = 32,
        widths: tuple[int, int] = (32, 64),
        narrow: int = 8,
    ):
        super().__init__()
        for name, number in (("channels", channels), ("side", side), ("latent", latent), ("narrow", narrow)):
            check_whole(name, number)
        check_widths(widths)
        if len(widths) != 2:
            raise ValueError(f"widths must be those of two levels, but are {widths}")
        if side % SHRINKS:
            raise ValueError(f"side must be a multiple of {SHRINKS}, but is {side}")
        self.channels, self.side, self.latent = channels, side, latent
        fine, coarse = widths
        small = (narrow, side // SHRINKS, side // SHRINKS)
        dense = narrow * (side // SHRINKS) ** 2
        self.encoder = nn.Sequential(
            *(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, fine, 3, padding=1), PlainBlock(fine)),
            *(nn.Conv2d(fine, coarse, 2, stride=2), PlainBlock(coarse), group_norm(coarse), nn.SiLU()),
            *(nn.Conv2d(coarse, narrow, 1), nn.Flatten(), nn.SiLU(), nn.Linear(dense, 2 * latent)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(latent, dense), nn.SiLU(), nn.Unflatten(1, small), nn.Conv2d(narrow, coarse, 3, padding=1)),
            *(PlainBlock(coarse), nn.ConvTranspose2d(coarse, fine, 2, stride=2), PlainBlock(fine)),
            *(group_norm(fine), nn.SiLU(), nn.Conv2d(fine, 4 * channels, 3, padding=1), nn.PixelShuffle(2)),
        )
        self.to(memory_format=torch.channels_last)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and ln(variance) of q(z | x), (B, latent) each."""
        check_network_input(x, ("B", self.channels, self.side, self.side), self.decoder[0].weight)
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance.clamp(*SPAN)

    def decode(self, z: Tensor) -> Tensor:
        """The mean image of each latent, (B, channels, side, side)."""
        check_network_input(z, ("B", self.latent), self.decoder[0].weight)
        return self.decoder(z)

    def forward(self, x: Tensor) -> Tensor:
        """What comes back of an image, by the mean of its latent."""
        return self.decode(self.encode(x)[0])
