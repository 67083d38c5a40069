"""A small classifier of MNIST digits, whose features the Frechet distance compares. Taught in notebook 13.

A plain stack of convolutions with batch normalisation (LeCun et al. 1998; Ioffe & Szegedy 2015, arXiv 1502.03167).
"""

from torch import Tensor, nn

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """Images, (B, 1, 28, 28) in [-1, 1] -> logits, (B, classes). `features` gives the (B, 128) behind them."""

    def __init__(self, classes: int = 10):
        super().__init__()
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
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def convolution(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, normalisation, nonlinearity."""
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.SiLU(),
    ]
