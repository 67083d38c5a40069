"""Two small classifiers of MNIST digits: one whose features the Frechet distance compares, one for noisy digits.

The first is a plain stack of convolutions with batch normalisation (LeCun et al. 1998; Ioffe & Szegedy 2015, arXiv
1502.03167), taught in notebook 13. The second is the way down of a U-Net, told the noise level (Dhariwal & Nichol 2021,
arXiv 2105.05233, section 4), taught in notebook 14.
"""

from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import check_network_input, check_whole
from minidiff.networks.embeddings import NoiseLevelEmbedding
from minidiff.networks.normalisation import check_widths, group_norm
from minidiff.networks.unet import ResidualBlock

__all__ = ["Classifier", "NoisyClassifier"]


class Classifier(nn.Module):
    """Images, (B, 1, 28, 28) in [-1, 1] -> logits, (B, classes). `features` gives the (B, 128) behind them."""

    def __init__(self, classes: int = 10):
        super().__init__()
        check_whole("classes", classes)
        self.layers = nn.Sequential(
            *convolution(1, 32, stride=2),  # (B, 32, 14, 14)
            *convolution(32, 64),
            *convolution(64, 64, stride=2),  # (B, 64, 7, 7)
            *convolution(64, 128),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),  # (B, 128)
        )
        self.head = nn.Linear(128, classes)

    def features(self, x: Tensor) -> Tensor:
        check_network_input(x, ("B", 1, "H", "W"), self.head.weight)
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class NoisyClassifier(nn.Module):
    """Noisy images at unit scale, (B, channels, H, W), and log-SNR, (B,) -> logits, (B, classes).

    H and W must be multiples of 4.
    """

    def __init__(self, channels: int = 1, widths: tuple[int, int] = (32, 64), classes: int = 10):
        super().__init__()
        check_whole("channels", channels)
        check_whole("classes", classes)
        check_widths(widths)
        if len(widths) != 2:
            raise ValueError(f"widths must be those of two levels, but are {widths}")
        fine, coarse = widths
        self.channels = channels
        embed = 2 * fine
        self.embedding = nn.Sequential(
            NoiseLevelEmbedding(64), nn.Linear(64, embed), nn.SiLU(), nn.Linear(embed, embed), nn.SiLU()
        )
        self.conv_in = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, fine, 3, padding=1))
        self.fine = nn.ModuleList(ResidualBlock(fine, embed) for _ in range(2))
        self.shrink = nn.Conv2d(fine, coarse, 2, stride=2)
        self.coarse = nn.ModuleList(ResidualBlock(coarse, embed) for _ in range(2))
        self.norm_out, self.head = group_norm(coarse), nn.Linear(coarse, classes)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        check_network_input(x, ("B", self.channels, "H", "W"), self.head.weight)
        if x.shape[-1] % 4 or x.shape[-2] % 4:
            raise ValueError(f"x must have sides that are multiples of 4, but has shape {tuple(x.shape)}")
        embedding = self.embedding(log_snr)  # (B, embed)
        h = self.conv_in(x)  # (B, fine, H / 2, W / 2)
        for block in self.fine:
            h = block(h, embedding)
        h = self.shrink(h)  # (B, coarse, H / 4, W / 4)
        for block in self.coarse:
            h = block(h, embedding)
        return self.head(functional.silu(self.norm_out(h)).mean(dim=(2, 3)))


def convolution(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, normalisation, nonlinearity."""
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.SiLU(),
    ]
