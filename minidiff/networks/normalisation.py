"""How the networks keep their numbers at unit scale, and how a layer starts at nothing. Taught in notebook 12.

Source: Wu & He 2018, arXiv 1803.08494 (group normalisation); Goyal et al. 2017, arXiv 1706.02677, section 5.1 (the last
layer of a residual block starts at 0, so that the block starts as the identity).
"""

from torch import nn

__all__ = ["GROUP", "check_widths", "group_norm", "zero_init"]

# GroupNorm shares its mean and variance among 16 channels (Wu & He 2018, arXiv 1803.08494); so does every width here.
GROUP = 16


def check_widths(widths: tuple[int, ...]) -> None:
    """Refuse widths that cannot be divided into the groups of `group_norm`."""
    if not widths or any(width < GROUP or width % GROUP for width in widths):
        raise ValueError(f"widths must be one or more multiples of {GROUP}, but are {widths}")


def group_norm(width: int) -> nn.GroupNorm:
    """Mean 0 and variance 1 over the positions and each GROUP channels, then a learned scale and shift."""
    return nn.GroupNorm(width // GROUP, width)


def zero_init(layer: nn.Module) -> nn.Module:
    """Start a layer at 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
