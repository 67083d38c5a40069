"""Models of films: whole films at once, films that go on from given frames, and films that go on and on. Notebook 21.

A film is (B, F, H, W): frames are channels, so that a U-Net for pictures denoises all frames together. What is given of
it is laid beside it as 2 F more channels (`given_frames`): the frames, and how far each may be trusted.

Sources: Ho et al. 2022 (video diffusion), arXiv 2204.03458; Ho et al. 2021 (cascades), arXiv 2106.15282,
section 3.3 (noise augmentation), here for frames.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from minidiff import generator
from minidiff._tensors import check_whole, noise_like
from minidiff.checkpoints import load_network
from minidiff.data.video import balls, centres, fit_motion
from minidiff.denoisers import from_network
from minidiff.paths import GaussianPath
from minidiff.samplers import State, ancestral, last
from minidiff.schedules import cosine
from minidiff.targets import Target
from minidiff.training import Batch, Draws, Objective, Weight, denoising_loss, spread_times

__all__ = [
    "continued",
    "film_objective",
    "film_result",
    "given_frames",
    "load_film_network",
    "rolled_out",
    "sample_films",
]

PATH, KIND = cosine(), "x0"  # of the shipped model
MOST_GIVEN = 4  # frames, in training
MOST_NOISE = 0.5  # on given frames: its standard deviation


def given_frames(films: Tensor, k: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
    """What a model of films is told: (B, 2 F, H, W), the first k frames with noise of standard deviation s, and trust.

    films: (B, F, H, W), of which only the given frames are looked at. k, s: (B,). A frame that is given has the trust
    1 - s, one that is not is 0 and has the trust 0.
    """
    frame = torch.arange(films.shape[1], device=films.device)
    known = (frame < k.to(films.device)[:, None])[:, :, None, None]
    s = s.to(films)[:, None, None, None]
    noisy = films + s * noise_like(films, generator)
    trust = (1 - s).expand_as(films)
    return torch.cat([noisy.where(known, 0.0), trust.where(known, 0.0)], dim=1)


def film_objective(path: GaussianPath, kind: Target, weight: Weight) -> Objective:
    """The loss of a film model for `train`: half of the films with nothing given, half with 1 to 4 frames.

    weight: what the loss of each film is multiplied by. Half of the films with given frames see them clean, the
    others with noise up to `MOST_NOISE`, and are told so.
    """

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        n, where = len(batch.x0), generator.device
        t, eps = spread_times(n, path, generator).to(batch.x0), noise_like(batch.x0, generator)
        k = torch.randint(1, MOST_GIVEN + 1, (n,), generator=generator, device=where)
        k = k * (torch.rand(n, generator=generator, device=where) < 0.5)
        s = MOST_NOISE * (2 * torch.rand(n, generator=generator, device=where) - 1).clamp(min=0)
        return Draws(batch.x0, t, eps, given_frames(batch.x0, k, s, generator))

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        missed = denoising_loss(net, path, draws.x0, draws.t, draws.eps, kind=kind, y=draws.y)
        return missed * weight(path, draws.t)

    return Objective(draw, loss)


def load_film_network() -> tuple[nn.Module, dict]:
    """The shipped model of films, ready to use, and its card."""
    return load_network("balls")


@torch.no_grad()
def sample_films(net: nn.Module, n: int, *, steps: int, generator: torch.Generator, size: int = 16) -> Tensor:
    """Draw n films from noise, (n, F, size, size), by DDPM's sampler."""
    return last(_walk(net, PATH.prior((n, net.channels, size, size), generator), None, steps, generator))


@torch.no_grad()
def continued(net: nn.Module, first: Tensor, *, s: float = 0.0, steps: int, generator: torch.Generator) -> Tensor:
    """Films that begin with given frames. first: (B, k, H, W), k < F. Returns (B, F, H, W), the given frames as given.

    s: noise that is put on the given frames, which the network is told of: what roll-out needs if frames are a little
    wrong (Ho et al. 2021, section 3.3).
    """
    (n, k), frames = first.shape[:2], net.channels
    check_whole("k", k, 1, frames - 1)
    films = torch.cat([first, first.new_zeros(n, frames - k, *first.shape[2:])], dim=1)
    known = given_frames(films, torch.full((n,), k), torch.full((n,), float(s)), generator)
    drawn = last(_walk(net, PATH.prior(tuple(films.shape), generator), known, steps, generator))
    return torch.cat([first, drawn[:, k:]], dim=1)


def rolled_out(
    net: nn.Module, first: Tensor, frames: int, *, s: float = 0.0, steps: int, generator: torch.Generator
) -> Tensor:
    """A film as long as you like, piece by piece: each goes on from the last k frames of the one before.

    first: (B, k, H, W), the true beginning. Returns (B, frames, H, W).
    """
    film, k = first, first.shape[1]
    while film.shape[1] < frames:
        film = torch.cat([film, continued(net, film[:, -k:], s=s, steps=steps, generator=generator)[:, k:]], dim=1)
    return film[:, :frames]


def film_result(net: nn.Module, n: int, steps: int) -> dict[str, float]:
    """For a card: how well the films of a network obey the physics, and where a ball is after two given frames."""
    source = generator(0, 3)
    real = balls(n, generator(0, 4))
    drawn = sample_films(net, n, steps=steps, generator=source)
    missed = fit_motion(centres(drawn)[0])[1]
    after = continued(net, real[:, :2], steps=steps, generator=source)
    off = (centres(after)[0] - centres(real)[0]).norm(dim=-1)[:, -1]
    return {
        "films that a motion explains to 0.3 pixels": round(float((missed < 0.3).float().mean()), 3),
        "pixels that it leaves unexplained, median": round(float(missed.median()), 3),
        "pixels off in frame 8, given two frames, median": round(float(off.median()), 3),
        "samples": n,
        "sampling steps": steps,
    }


def _walk(net: nn.Module, x: Tensor, known: Tensor | None, steps: int, generator: torch.Generator) -> Iterator[State]:
    return ancestral(
        from_network(net, PATH, KIND, known), PATH, x, torch.linspace(1, 0, steps + 1), generator=generator
    )
