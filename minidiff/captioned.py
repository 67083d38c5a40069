"""Models that a caption steers: how they learn, how they draw, and whether their pictures obeyed. Notebook 19.

`python -m minidiff train captions` makes the model, `python -m minidiff train captions-judge` its judge, both from
nothing.

Sources: Ho & Salimans 2022, arXiv 2207.12598, algorithm 1 (dropping what a sample is told); Rombach et al. 2022, arXiv
2112.10752, section 3.3 (cross-attention).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minidiff import generator as make_generator
from minidiff._tensors import noise_like
from minidiff.checkpoints import load_network
from minidiff.data.captions import (
    EMPTY,
    ONE,
    PAD,
    PAIR,
    PICTURE,
    SLOT,
    START,
    Scenes,
    ink_moments,
    null_caption,
    stroke_width,
)
from minidiff.denoisers import Denoiser, from_network, guided
from minidiff.exact import GaussianMixture, posterior_mean
from minidiff.networks import CaptionUNet, Classifier, CrossAttention
from minidiff.paths import GaussianPath
from minidiff.samplers import State, ancestral, last
from minidiff.schedules import cosine
from minidiff.targets import Target, network_output
from minidiff.training import Batch, Draws, Objective, Weight, denoising_loss, spread_times

__all__ = [
    "KIND",
    "PATH",
    "PLANE_LENGTH",
    "PLANE_WORDS",
    "Obedience",
    "Seen",
    "attention_maps",
    "bag_reading",
    "caption_objective",
    "exchanged",
    "load_caption_judge",
    "load_caption_network",
    "look",
    "noisier_times",
    "obeyed",
    "plane",
    "plane_batches",
    "plane_captions",
    "plane_denoiser",
    "possible",
    "sample_captions",
    "without_some_captions",
]

PATH, KIND = cosine(), "x0"  # of the shipped model, as of the digits' own
SAMPLING_CHUNK = 250
WIDTH_CUT, SHEAR_CUT = 2.32, 0.25  # between thin and thick, upright and slanted: halfway, on training digits

# A world of words in the plane, where everything is known

PLANE_WORDS = ("<pad>", "<start>", "low", "middle", "high")
PLANE_LENGTH = 3  # <start>, the word for the horizontal place, the word for the vertical one
PLACES, STD, CORRELATION = (-1.2, 0.0, 1.2), 0.25, 0.7


def plane() -> GaussianMixture:
    """Nine Gaussians on a grid of three by three. Two words name each: component 3 a + b is called a, b."""
    a, b = grid_of_words()
    place, sign = torch.tensor(PLACES), torch.where((a + b) % 2 == 1, 1.0, -1.0)
    covariances = STD**2 * (torch.eye(2) + CORRELATION * sign[:, None, None] * torch.eye(2).flip(0))
    return GaussianMixture(torch.full((9,), 1 / 9), torch.stack([place[a], place[b]], dim=1), covariances)


def grid_of_words() -> tuple[Tensor, Tensor]:
    """The first and the second word of each component, 0 to 2: (9,) each."""
    return torch.arange(9) // 3, torch.arange(9) % 3


def plane_captions(component: Tensor, said: Tensor, length: int = PLANE_LENGTH) -> Tensor:
    """The tokens of what is said of components, (n, length). said: (n,), how many words are said, 0 to 2."""
    y = torch.full((len(component), length), PAD)
    y[:, 0] = START
    for place, word in enumerate(grid_of_words()):
        y[:, 1 + place] = torch.where(said > place, word[component] + 2, PAD)
    return y


def plane_batches(n: int, steps: int, seed: int) -> Iterator[Batch]:
    """Batches of n points with their captions. A sixth say nothing, a sixth the first word only, the others both."""
    mixture = plane()
    for step in range(steps):
        source = make_generator(seed, 5, step)
        x0, component = mixture.sample(n, source)
        said = (torch.randint(6, (n,), generator=source) - 1).clamp(0, 2)
        yield Batch(x0, plane_captions(component, said))


def possible(caption: Tensor, *, order: bool = True) -> list[int]:
    """The components that a caption, (L,), leaves possible; without order, for one who sees only which words occur."""
    words = [token - 2 for token in caption.tolist() if token > START]
    readings = {tuple(words)} if order else {tuple(words), tuple(words[::-1])}
    names = list(zip(*(part.tolist() for part in grid_of_words()), strict=True))
    return [row for row, name in enumerate(names) if any(name[: len(words)] == reading for reading in readings)]


@dataclass(frozen=True, eq=False)
class plane_denoiser:
    """The exact E[x0 | x_t, caption] of the plane, for captions y, (B, L). order=False: for a reader of bags."""

    path: GaussianPath
    y: Tensor
    order: bool = True

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        mixture, x0_hat = plane(), torch.empty_like(x_t)
        captions, group = self.y.unique(dim=0, return_inverse=True)
        for number, caption in enumerate(captions):
            rows, left = group == number, possible(caption, order=self.order)
            known = GaussianMixture(
                torch.full((len(left),), 1 / len(left)), mixture.means[left], mixture.covariances[left]
            )
            x0_hat[rows] = posterior_mean(known, self.path, x_t[rows], t if t.ndim == 0 else t[rows])
        return x0_hat


# How the model learns


def without_some_captions(y: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Tokens (B, L), where a share of the captions keep nothing but <start>: whole captions, never single words."""
    lost = torch.rand(len(y), generator=generator, device=generator.device) < share
    words = torch.arange(y.shape[1], device=y.device) > 0
    return y.masked_fill(lost.to(y.device)[:, None] & words, PAD)


def noisier_times(power: float) -> Callable[[int, GaussianPath, torch.Generator], Tensor]:
    """Times that are drawn more often where the noise is high: t = u^power, u evenly spread, power < 1.

    Where the noise is high, the picture is hardly there, and only the caption can say what it is to become.
    """
    return lambda n, path, generator: spread_times(n, path, generator) ** power


def caption_objective(
    path: GaussianPath, kind: Target, *, weight: Weight | None = None, dropout: float = 0.1, power: float = 1.0
) -> Objective:
    """The plain loss of `denoising_objective`, for a network that reads tokens, y: (B, L).

    dropout: the share of captions that are dropped. power: see `noisier_times`.
    """
    draw_times = noisier_times(power)

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        t = draw_times(len(batch.x0), path, generator).to(batch.x0)
        return Draws(batch.x0, t, noise_like(batch.x0, generator), without_some_captions(batch.y, dropout, generator))

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        losses = denoising_loss(net, path, draws.x0, draws.t, draws.eps, kind=kind, y=draws.y)
        return losses if weight is None else losses * weight(path, draws.t)

    return Objective(draw, loss)


# How it draws


def load_caption_network() -> tuple[CaptionUNet, dict]:
    """The shipped model, ready to use, and its card."""
    return load_network("captions")


def sample_captions(
    net: nn.Module,
    y: Tensor,
    *,
    w: float = 1.0,
    steps: int,
    seed: int,
    path: GaussianPath = PATH,
    kind: Target = KIND,
    shape: tuple[int, ...] = PICTURE,
    sampler: Callable[..., Iterator[State]] = ancestral,
) -> Tensor:
    """Draw a picture for each caption of y, (n, L), with guidance at weight w against the caption that says nothing.

    w = 1 evaluates the network once a step, any other w twice. sampler: a loop of `samplers` that takes a generator.
    """
    source, parts = make_generator(seed, 3), []
    noise, times = path.prior((len(y), *shape), source), torch.linspace(1, 0, steps + 1)
    for rows in torch.arange(len(y)).split(SAMPLING_CHUNK):
        denoise: Denoiser = from_network(net, path, kind, y[rows])
        if w != 1:
            denoise = guided(denoise, from_network(net, path, kind, null_caption(len(rows), y.shape[1])), w)
        parts.append(last(sampler(denoise, path, noise[rows], times, generator=source)))
    return torch.cat(parts)


@torch.no_grad()
def attention_maps(net: CaptionUNet, x_t: Tensor, t: Tensor, y: Tensor, path: GaussianPath = PATH) -> list[Tensor]:
    """How much each position looks at each word, for each level, finest first: (B, H, W, L), the mean of the heads."""
    seen: dict[int, Tensor] = {}

    def watch(level: int, module: CrossAttention, given: tuple[Tensor, ...], _: Any) -> None:
        x, words, mask = given
        weights = module.attention.weights(module.queries(x), words, mask)  # (B, heads, H W, L)
        seen[level] = weights.mean(dim=1).unflatten(1, x.shape[2:])

    hooks = [read.register_forward_hook(partial(watch, level)) for level, read in enumerate(net.reading)]
    try:
        network_output(net, KIND, path, x_t, t, y)
    finally:
        for hook in hooks:
            hook.remove()
    return [seen[level] for level in range(len(net.reading))]


# Did the pictures obey?


def load_caption_judge() -> Classifier:
    """The shipped judge of single places, ready to use."""
    return load_network("captions-judge")[0]


class Seen(NamedTuple):
    """What is seen in the two places of n pictures: digit (n, 2), EMPTY where there is none; thick, slanted (n, 2)."""

    digit: Tensor
    thick: Tensor
    slanted: Tensor


@torch.no_grad()
def look(judge: nn.Module, pictures: Tensor) -> Seen:
    """Look at each place of pictures, (n, 1, 16, 32): the judge names the digit, two measures tell the rest."""
    slots = torch.stack(pictures.split(SLOT, dim=-1), dim=1).flatten(0, 1).contiguous()  # (2 n, 1, 16, 16)
    digit = torch.cat([judge(part).argmax(dim=1) for part in slots.split(2 * SAMPLING_CHUNK)])
    thick, slanted = stroke_width(slots) > WIDTH_CUT, ink_moments(slots)[2] > SHEAR_CUT
    return Seen(*(part.unflatten(0, (-1, 2)) for part in (digit, thick, slanted)))


class Obedience(NamedTuple):
    """Of each picture, (n,), whether it obeys. digits: the right ones, wherever; places: and where they belong;
    adjectives: those that are said, in the places that are asked for; everything: places and adjectives."""

    digits: Tensor
    places: Tensor
    adjectives: Tensor
    everything: Tensor

    def means(self) -> dict[str, float]:
        """How often, by name."""
        return {name: round(float(part.float().mean()), 4) for name, part in self._asdict().items()}


def obeyed(seen: Seen, scenes: Scenes) -> Obedience:
    """Compare what is seen with what the captions of scenes say. What a caption does not say is free."""
    single, rows = scenes.kind == ONE, torch.arange(len(scenes.kind))
    # a single digit may stand on either side: its place comes first, and the other one must be empty
    first = (single & (seen.digit[:, 0] == EMPTY)).long()
    found, thick, slanted = (torch.stack([part[rows, first], part[rows, 1 - first]], dim=1) for part in seen)
    wanted = torch.where(single[:, None] & torch.tensor([False, True]), EMPTY, scenes.digit)
    places = (found == wanted).all(dim=1)
    digits = (found.sort(dim=1).values == wanted.sort(dim=1).values).all(dim=1)
    counts = torch.stack([torch.ones_like(single), ~single], dim=1)
    right_thick = (thick == scenes.thick) | ~scenes.says_thick | ~counts
    right_slant = (slanted == scenes.slanted) | ~scenes.says_slant | ~counts
    adjectives = (right_thick & right_slant).all(dim=1)
    return Obedience(digits, places, adjectives, places & adjectives)


def exchanged(scenes: Scenes) -> Scenes:
    """The same scenes with left and right exchanged: the same words in another order, for pairs."""
    flipped = (part.flip(1) if part.ndim == 2 else part for part in scenes)
    return Scenes(*flipped)


def bag_reading(scenes: Scenes, generator: torch.Generator) -> Scenes:
    """What one draws who reads the captions of scenes as bags of words: one of all scenes with these words, at random.

    Of a pair, digits and adjectives may each be in either order. What is not said is
    drawn too. The scenes that come out say what was said.
    """
    n, pair = len(scenes.kind), scenes.kind == PAIR
    coins = torch.randint(2, (3, n), generator=generator).bool() & pair
    free = torch.randint(2, (2, n, 2), generator=generator).bool()

    def turned(part: Tensor, coin: Tensor) -> Tensor:
        return torch.where(coin[:, None], part.flip(1), part)

    digit = turned(scenes.digit, coins[0])
    says_thick, thick = turned(scenes.says_thick, coins[1]), turned(scenes.thick, coins[1])
    says_slant, slanted = turned(scenes.says_slant, coins[2]), turned(scenes.slanted, coins[2])
    thick, slanted = torch.where(says_thick, thick, free[0]), torch.where(says_slant, slanted, free[1])
    return Scenes(scenes.kind, digit, thick, slanted, says_thick, says_slant, scenes.on_right, scenes.turned)
