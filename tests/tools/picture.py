"""`python -m tests.tools.picture`: draw the picture at the head of the README, in data/picture.png."""

import argparse
from pathlib import Path

import torch

from minidiff import generator, plots
from minidiff.checkpoints import write_file
from minidiff.denoisers import from_network
from minidiff.digits import KIND, PATH, load_digit_network
from minidiff.exact import GaussianMixture, mixture_denoiser
from minidiff.samplers import State, ancestral, ddim

__all__ = ["main", "picture"]


def picture(out: Path, *, steps: int = 400) -> None:
    """A spiral and a few digits, dissolving and coming back. steps: of the spiral's way back; the digits take an
    eighth."""
    figure, axes = plots.panels(3, 7, size=(1.7, 1.75))
    spiral = spiral_mixture()
    times = torch.linspace(1, 0, steps + 1)
    x0, _ = spiral.sample(1500, generator(0))
    eps = torch.randn(x0.shape, generator=generator(1))
    walk = list(ancestral(mixture_denoiser(spiral, PATH), PATH, eps, times, generator=generator(2)))
    net, _ = load_digit_network()
    digits = list(ddim(from_network(net, PATH, KIND), PATH, PATH.prior((9, 1, 28, 28), generator(3)), times[::8]))
    for column, t in enumerate([0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0]):
        back = [0.995, 0.75, 0.5, 0.35, 0.2, 0.1, 0.0][column]
        axes[column].set_title(f"t = {t:.2g}")
        plots.points(axes[column], PATH.perturb(x0, torch.tensor(t), eps), window=2.4)
        plots.points(axes[7 + column], nearest_state(walk, back).x, colour=plots.OTHER, window=2.4)
        plots.image_grid(axes[14 + column], nearest_state(digits, back).x, columns=3)
        axes[14 + column].set_xlabel(f"t = {back:.2g}")
    for row, label in enumerate(["data to noise", "and back, exactly", "digits, learned"]):
        axes[7 * row].set_ylabel(label)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, plots.png(figure))


def spiral_mixture(components: int = 80) -> GaussianMixture:
    """A spiral of small equal Gaussians, whose denoiser is exact."""
    angle = torch.linspace(1.5**2, 4.5**2, components).sqrt() * torch.pi  # about evenly spaced along the line
    means = torch.stack([angle * angle.cos(), angle * angle.sin()], dim=1)
    covariance = 0.12 * torch.eye(2).expand(components, 2, 2)
    return GaussianMixture(torch.full((components,), 1 / components), means, covariance.contiguous()).standardised()


def nearest_state(states: list[State], t: float) -> State:
    """The state of a walk at the time nearest to t."""
    return min(states, key=lambda state: abs(float(state.t) - t))


def main(arguments: list[str] | None = None) -> None:
    """`python -m tests.tools.picture [--out FILE]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data") / "picture.png", help="default: data/picture.png")
    picture(parser.parse_args(arguments).out)


if __name__ == "__main__":
    main()
