"""What one does with a trained network: draw from it, and measure how far its samples are from real ones.

Every sample has noise of its own, a function of the seed and of its number: sample 3 is the same whether four or four
thousand are drawn.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from minidiff import generator
from minidiff.data import Images
from minidiff.data.captions import captions_of, draw_scenes, tokenise
from minidiff.denoisers import from_network, guided
from minidiff.digits import FEATURE_CHUNK, classifier_features, load_classifier
from minidiff.measurement import Measurement
from minidiff.metrics import energy_distance, frechet_distance, sliced_wasserstein
from minidiff.paths import GaussianPath
from minidiff.samplers import State, last
from minidiff.targets import Target, network_input
from minidiff.workshop.workers import Refused

__all__ = [
    "View",
    "accuracy",
    "accuracy_in_noise",
    "classifier_view",
    "even_labels",
    "even_told",
    "frechet_card",
    "image_distances",
    "noise_source",
    "point_distances",
    "principal_view",
    "recognised",
    "sample",
    "walk_down",
]

MOST_POINTS = 10_000  # all pairs are compared
COMPONENTS = 50
POINTS_AT_ONCE, IMAGES_AT_ONCE = 5000, 250

View = Callable[[Tensor], Tensor]  # images -> features, (N, D)


def even_labels(n: int, classes: int) -> Tensor | None:
    """0, 1, 2, ... in turn, (n,), for a network that knows labels; None for one that does not."""
    return torch.arange(n) % classes if classes else None


def even_told(n: int, recipe: Any) -> Tensor | None:
    """What n samples are told where nobody says it: labels in turn, captions as in the data, or nothing."""
    return tokenise(captions_of(draw_scenes(n, generator(0, 54)))) if recipe.reads else even_labels(n, recipe.classes)


def sample(
    net: nn.Module,
    path: GaussianPath,
    kind: Target,
    shape: Sequence[int],
    n: int,
    y: Tensor | None = None,
    *,
    times: Tensor,
    sampler: Callable[..., Iterator[State]],
    seed: int,
    w: float = 1.0,
    nothing: Tensor | None = None,
) -> Tensor:
    """Draw n samples, (n, *shape), in the units of the data, on the CPU. sampler: `ancestral`, `ddim` or `dpmpp_2m`.

    y: what each is told, (n, ...), for a network that knows labels or reads captions. kind: what the network predicts.
    w: the weight of guidance against `nothing`, (1, ...), what a sample is told that is told nothing.
    """
    parts = []
    at_once = POINTS_AT_ONCE if len(shape) == 1 else IMAGES_AT_ONCE
    with tqdm(total=n, desc="sampling", unit="sample", disable=n <= at_once or not sys.stderr.isatty()) as bar:
        for begin in range(0, n, at_once):
            rows = range(begin, min(begin + at_once, n))
            sources = [noise_source(net, seed, i) for i in rows]
            told = None if y is None else y[rows.start : rows.stop]
            against = {"w": w, "nothing": nothing} if w != 1 else {}
            parts.append(last(walk_down(net, path, kind, shape, sources, told, times, sampler, **against)).cpu())
            bar.update(len(rows))
    return torch.cat(parts)


def noise_source(net: nn.Module, seed: int, i: int) -> torch.Generator:
    """Where the noise of sample i comes from."""
    return generator(seed, 3, i, device=next(net.parameters()).device)


def walk_down(
    net: nn.Module,
    path: GaussianPath,
    kind: Target,
    shape: Sequence[int],
    sources: Sequence[torch.Generator],
    y: Tensor | None,
    times: Tensor,
    sampler: Callable[..., Iterator[State]],
    *,
    w: float = 1.0,
    nothing: Tensor | None = None,
) -> Iterator[State]:
    """The steps of one batch, a sample for each source of noise. The rest is that of `sample`."""
    device = next(net.parameters()).device
    denoise = from_network(net, path, kind, None if y is None else y.to(device))
    if nothing is not None:
        silent = nothing.expand(len(sources), *nothing.shape[1:]).to(device)
        denoise = guided(denoise, from_network(net, path, kind, silent), w)
    start = torch.cat([path.prior((1, *shape), source) for source in sources])
    return sampler(denoise, path, start, times, generator=sources)


# Distances, each with its floor


def point_distances(samples: Tensor, draw: Callable[..., Tensor], *, seed: int) -> dict[str, Measurement]:
    """The distances of n points, (n, 2), to as many real ones, by name."""
    n, source = len(samples), generator(seed, 5)
    real, again = (draw(n, generator(seed, 4, part)) for part in (0, 1))
    return {
        "energy distance": energy_distance(samples, real, again, generator=source),
        "sliced Wasserstein distance": sliced_wasserstein(samples, real, again, generator=source),
    }


def image_distances(samples: Tensor, held_out: Tensor, views: dict[str, View], *, seed: int) -> dict[str, Measurement]:
    """The Frechet distances of n images to as many that no training sees, in each view, by name."""
    n, source = len(samples), generator(seed, 5)
    rows = torch.randperm(len(held_out), generator=generator(seed, 4))[: 2 * n]
    real, again = held_out[rows].split(n)
    return {
        f"Frechet distance, {name}": frechet_distance(view(samples), view(real), view(again), generator=source)
        for name, view in views.items()
    }


def check_points(n: int) -> None:
    """Refuse a number of points that cannot be measured, before they are drawn."""
    if not 2 <= n <= MOST_POINTS:
        raise Refused(f"--n must lie between 2 and {MOST_POINTS}, since all pairs are compared, but is {n}")


def check_images(n: int, held_out: int, features: int) -> None:
    """Refuse a number of images that cannot be measured, before they are drawn."""
    if held_out < 2 * (features + 1):
        raise Refused(
            f"the data must hold at least {2 * (features + 1)} images that no training sees, to be measured by, but "
            f"hold {held_out}"
        )
    if not features < n <= held_out // 2:
        raise Refused(
            f"--n must lie between {features + 1}, one more than the features, and {held_out // 2}, half the "
            f"images that no training sees, but is {n}"
        )


def classifier_view() -> View:
    """(N, 1, H, W) -> (N, 128): what the shipped classifier sees.

    8x8 digits are laid out as MNIST lays out its own, 20 pixels in a frame of 28, with the contrast that enlarging has
    cost. The classifier then recognises 91 % of them, though it never saw one.
    """
    classifier = load_classifier()

    def view(x: Tensor) -> Tensor:
        if x.shape[-1] == 8:
            large = functional.interpolate(x, size=(20, 20), mode="bicubic")
            x = functional.pad((2 * large).clamp(-1, 1), (4, 4, 4, 4), value=-1.0)
        return classifier_features(classifier, x)

    return view


def principal_view(x: Tensor, components: int = COMPONENTS) -> View:
    """(N, *D) -> (N, components): the directions in which training images vary most (Pearson 1901)."""
    flat = x.flatten(1).cpu().double()
    mean = flat.mean(dim=0)
    _, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean))  # ascending
    return lambda y: (y.flatten(1).cpu().double() - mean) @ vectors[:, -components:]


# What a card says of a finished network


@torch.no_grad()
def answers(net: nn.Module, x: Tensor, log_snr: Tensor | None = None) -> Tensor:
    """The class that a classifier sees in each image, (N,). log_snr: (N,), for a classifier of noisy images."""
    told = [x] if log_snr is None else [x, log_snr]
    parts = zip(*(each.split(FEATURE_CHUNK) for each in told), strict=True)
    device = next(net.parameters()).device
    return torch.cat([net(*(each.to(device) for each in part)).argmax(dim=1).cpu() for part in parts])


def share(right: Tensor) -> float:
    return round(float(right.float().mean()), 4)


def accuracy(net: nn.Module, test: Images) -> dict[str, float]:
    """How often a classifier is right about images that no training saw."""
    return {"test accuracy": share(answers(net, test.x) == test.y)}


def accuracy_in_noise(net: nn.Module, path: GaussianPath, test: Images) -> dict[str, float]:
    """How often a classifier of noisy images is right, at three times."""
    eps = torch.randn(test.x.shape, generator=generator(0, 6))
    result = {}
    for t in (0.1, 0.5, 0.8):
        x_t, log_snr = network_input(path, path.perturb(test.x, torch.tensor(t), eps), torch.tensor(t))
        result[f"test accuracy at t = {t}"] = share(answers(net, x_t, log_snr) == test.y)
    return result


def frechet_card(distance: Measurement, steps: int, *, of: str = "") -> dict[str, float]:
    """What a card says of a Frechet distance between digits. of: what was drawn, where it is not plain samples."""
    return {
        f"Frechet distance on the classifier's features{of}": round(distance.value, 3),
        "its floor": round(distance.floor, 3),
        "samples": distance.samples,
        "sampling steps": steps,
    }


def recognised(samples: Tensor, y: Tensor) -> dict[str, float]:
    """How often the shipped classifier sees in a digit what it was asked to be."""
    return {"recognised as their class": share(answers(load_classifier(), samples) == y)}
