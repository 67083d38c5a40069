"""Films of a ball that flies at constant velocity and bounces off walls: data whose physics can be measured.

On a line (frames of 16 pixels) or in the plane (frames of 16x16), in 8 frames. Everything follows from a place and a
velocity, two numbers a dimension, so that a film can be judged: is there a motion that explains it? Notebook 21.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from minidiff._tensors import check_whole, check_xt

__all__ = ["FRAMES", "HIGH", "LOW", "PIXELS", "Motion", "balls", "bounced", "centres", "draw_motion", "film"]
__all__ += ["fit_motion", "line_films", "tracks"]

PIXELS, FRAMES = 16, 8
LOW, HIGH = 2.0, 13.0  # the walls, for the ball's centre, in pixels
FASTEST = 2.5  # pixels a frame, in each dimension
WIDTH = 1.1  # of a ball, in pixels: the standard deviation of its brightness
DIMMEST = 0.15  # of a pixel that counts as ball
PLACES, SPEEDS = 60, 81  # of the grid on which a motion is sought first


class Motion(NamedTuple):
    """place: where the ball is in the first frame, (n, d); velocity: pixels a frame, (n, d)."""

    place: Tensor
    velocity: Tensor


def bounced(place: Tensor, low: float = LOW, high: float = HIGH) -> Tensor:
    """Where a ball is that would be at `place` if there were no walls: the line, folded at both walls."""
    span = high - low
    beyond = (place - low).remainder(2 * span)
    return low + torch.where(beyond > span, 2 * span - beyond, beyond)


def draw_motion(n: int, generator: torch.Generator, dimension: int = 2) -> Motion:
    """n places between the walls and n velocities, all uniform. Each (n, dimension)."""
    check_whole("n", n)
    place = LOW + (HIGH - LOW) * torch.rand(n, dimension, generator=generator)
    return Motion(place, FASTEST * (2 * torch.rand(n, dimension, generator=generator) - 1))


def tracks(motion: Motion, frames: int = FRAMES) -> Tensor:
    """The ball's centre in every frame, (n, frames, d)."""
    when = torch.arange(frames, dtype=motion.place.dtype)[:, None]
    return bounced(motion.place[:, None] + motion.velocity[:, None] * when)


def film(centre: Tensor) -> Tensor:
    """The pictures of a ball, -1 where it is dark. (..., 1) -> (..., 16); (..., 2) -> (..., 16, 16), x in the last."""
    pixel = torch.arange(PIXELS, dtype=centre.dtype)
    light = torch.exp(-((pixel - centre[..., None]) ** 2) / (2 * WIDTH**2))  # (..., d, 16)
    if centre.shape[-1] == 1:
        return 2 * light[..., 0, :] - 1
    return 2 * light[..., 1, :, None] * light[..., 0, None, :] - 1


def balls(n: int, generator: torch.Generator) -> Tensor:
    """n films of a ball in the plane, (n, 8, 16, 16), in [-1, 1]: frames are channels."""
    return film(tracks(draw_motion(n, generator)))


def line_films(places: int, speeds: int) -> tuple[Tensor, Motion]:
    """The films of a ball on a line for a grid of places and velocities, (places * speeds, 8, 16), and the motions.

    With a fine grid they are a dictionary of all films: `exact.finite_denoiser` then says what no network can better.
    """
    place = LOW + (HIGH - LOW) * (torch.arange(places) + 0.5) / places
    speed = FASTEST * (2 * (torch.arange(speeds) + 0.5) / speeds - 1)
    motion = Motion(*(each.reshape(-1, 1) for each in torch.meshgrid(place, speed, indexing="ij")))
    return film(tracks(motion)), motion


# The measures


def centres(films: Tensor, dimension: int = 2) -> tuple[Tensor, Tensor]:
    """The centre of the light of each frame, and how much light there is: (n, F, d) and (n, F).

    films: (n, F, 16) with dimension 1, (n, F, 16, 16) with 2. Pixels that are nearly dark do not count.
    """
    check_xt(films, torch.tensor(0.5), "films")
    light = ((films + 1) / 2).clamp(max=1.2)
    light = light.where(light > DIMMEST, 0.0)
    pixel, mass = torch.arange(PIXELS, dtype=films.dtype), light.flatten(2).sum(2)
    # light summed over the other dimension: along x, then along y
    profiles = [light] if dimension == 1 else [light.sum(-2), light.sum(-1)]
    return torch.stack([(p * pixel).sum(-1) / mass.clamp(min=1e-6) for p in profiles], dim=-1), mass


def fit_motion(centre: Tensor) -> tuple[Motion, Tensor]:
    """The motion that explains the centres of n films best, and what it does not explain.

    centre: (n, F, d). Returns the motion and the root mean square distance of the centres from it in pixels, (n,). Each
    dimension is fitted by itself, on a grid of places and velocities and then on three finer ones.
    """
    parts = [_fit(centre[..., i]) for i in range(centre.shape[-1])]
    place, velocity, missed = (torch.stack(part, dim=-1) for part in zip(*parts, strict=True))
    return Motion(place, velocity), missed.sum(-1).sqrt()


def _fit(centre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places, velocities and mean square residuals, (n,) each. centre: (n, F)."""
    kind = {"dtype": centre.dtype}
    place = torch.linspace(LOW - 0.3, HIGH + 0.3, PLACES, **kind)
    speed = torch.linspace(-1.25 * FASTEST, 1.25 * FASTEST, SPEEDS, **kind)
    when = torch.arange(centre.shape[1], **kind)
    grid = bounced(place[:, None, None] + speed[:, None] * when).flatten(0, 1)
    best = torch.cat([torch.cdist(part, grid).argmin(1) for part in centre.split(500)])
    found = place[best // SPEEDS], speed[best % SPEEDS]
    small = torch.linspace(-1, 1, 15, **kind)
    for shrink in (1, 0.25, 0.06):
        p = (found[0][:, None, None] + 0.25 * shrink * small[:, None]).expand(-1, 15, 15).flatten(1)
        v = (found[1][:, None, None] + 0.08 * shrink * small).expand(-1, 15, 15).flatten(1)
        missed = (bounced(p[..., None] + v[..., None] * when) - centre[:, None]).square().mean(-1)  # (n, 225)
        best = missed.argmin(1, keepdim=True)
        found = p.gather(1, best)[:, 0], v.gather(1, best)[:, 0]
    return *found, missed.gather(1, best)[:, 0]
