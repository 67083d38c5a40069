"""Distributions of points in the plane. Taught in notebooks 00 and 05.

Points are `(n, 2)` in float32, shifted and scaled by the mean and the standard deviation of the *population*,
worked out by hand, never by those of the sample: so exact parameters stay exact.

Sources: Pedregosa et al. 2011 (scikit-learn) for moons and swiss roll; Johnson et al. 2016, arXiv 1603.06277, for
the pinwheel.
"""

import math

import torch
from torch import Tensor

from minidiff._tensors import check_whole
from minidiff.exact import GaussianMixture

__all__ = ["checkerboard", "eight_gaussians", "moons", "pinwheel", "rings", "swiss_roll", "three_gaussians"]


def three_gaussians() -> GaussianMixture:
    """Three unequal Gaussians with tilted covariances: the course's first truth.

    Mean 0 and variance 1 on each axis.
    """
    return GaussianMixture(
        weights=torch.tensor([0.5, 0.3, 0.2]),
        means=torch.tensor([[-2.0, -0.5], [1.5, 1.8], [1.8, -1.6]]),
        covariances=torch.tensor(
            [[[0.30, 0.18], [0.18, 0.30]], [[0.40, -0.10], [-0.10, 0.12]], [[0.10, 0.0], [0.0, 0.25]]]
        ),
    ).standardised()


def eight_gaussians(std: float = 0.1) -> GaussianMixture:
    """Eight equal round Gaussians on a circle, of standard deviation `std` after scaling; variance 1 on each axis."""
    if not 0 < std < 1:
        raise ValueError(f"std must lie in (0, 1), since the variance of the whole is 1, but is {std}")
    angles = torch.arange(8) * (math.pi / 4)
    radius = math.sqrt(2 * (1 - std**2))
    return GaussianMixture(
        weights=torch.full((8,), 1 / 8),
        means=radius * torch.stack([angles.cos(), angles.sin()], dim=1),
        covariances=std**2 * torch.eye(2).expand(8, 2, 2).contiguous(),
    )


def moons(n: int, generator: torch.Generator, *, noise: float = 0.1) -> Tensor:
    """Two interleaved half circles. Returns (n, 2), mean 0 and variance 1 on each axis of the population.

    Angles are drawn at random. scikit-learn's `make_moons` spaces them evenly: its points are not independent
    draws, and a two-sample test on them reports a floor that is too low.
    """
    check_whole("n", n)
    angle = math.pi * uniform(n, generator)
    lower = uniform(n, generator) < 0.5
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    points = torch.stack([x, y], dim=1) + noise * torch.randn(n, 2, generator=generator)
    return standardise(points, mean=(0.5, 0.25), variance=(0.75 + noise**2, 9 / 16 - 1 / math.pi + noise**2))


def swiss_roll(n: int, generator: torch.Generator, *, noise: float = 0.3) -> Tensor:
    """A spiral, scikit-learn's swiss roll seen from the side.

    Returns (n, 2), mean 0 and variance 1 of the population.
    """
    from sklearn.datasets import make_swiss_roll  # here, since scikit-learn takes a second to import

    check_whole("n", n)
    points, _ = make_swiss_roll(n, noise=noise, random_state=sklearn_seed(generator))
    # t is uniform on [1.5 pi, 4.5 pi]; the moments of (t cos t, t sin t) by parts
    variance_x = 4.875 * math.pi**2 - 0.25 - 4 + noise**2
    variance_y = 4.875 * math.pi**2 + 0.25 - (2 / (3 * math.pi)) ** 2 + noise**2
    points = torch.from_numpy(points[:, [0, 2]]).float()
    return standardise(points, mean=(2.0, 2 / (3 * math.pi)), variance=(variance_x, variance_y))


def checkerboard(n: int, generator: torch.Generator) -> Tensor:
    """The eight dark squares of a four by four board, each filled evenly.

    Returns (n, 2), variance 1 of the population.
    """
    check_whole("n", n)
    x = 4 * uniform(n, generator) - 2
    row = 2 * (uniform(n, generator) < 0.5).float() - 2 + x.floor().remainder(2)
    points = torch.stack([x, row + uniform(n, generator)], dim=1)
    return standardise(points, mean=(0.0, 0.0), variance=(4 / 3, 4 / 3))


def rings(n: int, generator: torch.Generator, *, noise: float = 0.05) -> Tensor:
    """Three circles of radius 1, 2 and 3, each point of a line equally likely.

    Returns (n, 2), variance 1 of the population.
    """
    check_whole("n", n)
    radii = torch.tensor([1.0, 2.0, 3.0])
    radius = radii[torch.multinomial(radii, n, replacement=True, generator=generator)]
    angle = 2 * math.pi * uniform(n, generator)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    variance = float((radii**3).sum() / radii.sum()) / 2 + noise**2
    return standardise(
        points + noise * torch.randn(n, 2, generator=generator), mean=(0.0, 0.0), variance=(variance, variance)
    )


def pinwheel(n: int, generator: torch.Generator, *, arms: int = 5) -> Tensor:
    """Bent arms around a centre (Johnson et al. 2016). Returns (n, 2), mean 0 and variance 1 of the population."""
    check_whole("n", n)
    check_whole("arms", arms, 3)  # two arms are not symmetric
    radial, tangential, bend = 0.3, 0.05, 0.25
    arm = torch.randint(arms, (n,), generator=generator)
    along = 1 + radial * torch.randn(n, generator=generator)
    across = tangential * torch.randn(n, generator=generator)
    angle = 2 * math.pi * arm / arms + bend * along.exp()
    points = torch.stack(
        [along * angle.cos() - across * angle.sin(), along * angle.sin() + across * angle.cos()], dim=1
    )
    variance = (1 + radial**2 + tangential**2) / 2  # the arms' symmetry makes the covariance isotropic
    return standardise(points, mean=(0.0, 0.0), variance=(variance, variance))


def standardise(points: Tensor, mean: tuple[float, float], variance: tuple[float, float]) -> Tensor:
    """Shift and scale by the moments of the population. points: (n, 2)."""
    return (points - torch.tensor(mean)) / torch.tensor(variance).sqrt()


def uniform(n: int, generator: torch.Generator) -> Tensor:
    """n numbers, uniform on [0, 1)."""
    return torch.rand(n, generator=generator)


def sklearn_seed(generator: torch.Generator) -> int:
    """A seed for scikit-learn, drawn from our generator."""
    return int(torch.randint(2**31 - 1, (), generator=generator))
