"""A world of captions: a grammar, its tokens, and pictures of MNIST digits that a caption describes. Notebook 19.

A picture is 16 pixels high and 32 wide and has two places, left and right, for a digit each. A caption is one of

    a thin three                                    one digit, on either side
    a thin three left of a slanted seven            two digits, named in an order; also "right of"
    two slanted sevens                              the same digit twice

Every digit may be called thin or thick, then upright or slanted. What a caption does not say is free. The articles are
not read: "an" would betray that the next word begins with a vowel.

The digits are MNIST's (LeCun, Cortes & Burges): the half of each class with the thinnest strokes, sheared upright or
slanted, and widened by a pixel where they are to be thick.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from minidiff import generator as make_generator
from minidiff._tensors import check_whole
from minidiff.data.images import Images
from minidiff.data.mnist import mnist

__all__ = [
    "EMPTY",
    "LENGTH",
    "NAMES",
    "ONE",
    "PAD",
    "PAIR",
    "PICTURE",
    "PLURALS",
    "SLOT",
    "START",
    "TWO",
    "WORDS",
    "Glyphs",
    "NoCaption",
    "Scenes",
    "captioned_digits",
    "captions_of",
    "draw_scenes",
    "glyphs",
    "held_out",
    "ink_moments",
    "null_caption",
    "parse",
    "place_digits",
    "scenes_of",
    "slot_digits",
    "stroke_width",
    "tokenise",
]

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLURALS = ("zeros", "ones", "twos", "threes", "fours", "fives", "sixes", "sevens", "eights", "nines")
THICKNESS, SLANT = ("thin", "thick"), ("upright", "slanted")
WORDS = ("<pad>", "<start>", "left", "right", "of", *THICKNESS, *SLANT, *NAMES, *PLURALS)
ARTICLES = ("a", "an")
PAD, START = 0, 1  # tokens: what fills up a caption that is short, and what every caption begins with
TOKENS = {word: token for token, word in enumerate(WORDS)}
LENGTH = 9  # <start>, two digits with two adjectives each, and "left of"

DIGITS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
ONE, PAIR, TWO = 0, 1, 2  # kinds of captions
SHARES = (ONE, PAIR, PAIR, TWO)  # of the kinds
SLOT = 16  # pixels on a side of a place
PICTURE = (1, SLOT, 2 * SLOT)
EMPTY = 10  # what a judge calls a place without a digit

SHEAR, SHEAR_SPREAD = 0.5, 0.05  # of a slanted digit; an upright one has 0


class NoCaption(ValueError):
    """A line that the grammar does not know. Its message says what it expects instead."""


# Scenes: what a caption says, and what its picture shows


class Scenes(NamedTuple):
    """What n captions say and their pictures show. Place 0 is on the left; of a single digit, entry 0 holds it.

    kind: (n,), ONE, PAIR or TWO. digit, thick, slanted: (n, 2), what is shown. says_thick, says_slant: (n, 2), whether
    the caption says it. on_right: (n,), where a single digit stands. turned: (n,), "right of" in place of "left of".
    """

    kind: Tensor
    digit: Tensor
    thick: Tensor
    slanted: Tensor
    says_thick: Tensor
    says_slant: Tensor
    on_right: Tensor
    turned: Tensor

    def rows(self, rows: Tensor | slice) -> "Scenes":
        """Some of the scenes."""
        return Scenes(*(part[rows] for part in self))


def draw_scenes(
    n: int,
    generator: torch.Generator,
    *,
    digits: Sequence[int] = DIGITS,
    turned: bool = True,
    without: Callable[[Scenes], Tensor] | None = None,
) -> Scenes:
    """Draw n scenes: a quarter of one digit, half of pairs, a quarter of two alike; every adjective said half the time.

    digits: those that occur. turned: whether "right of" occurs. without: scenes that must not occur, (n,), such as
    `held_out`; they are drawn anew.
    """
    check_whole("n", n)
    scenes = _draw(n, generator, digits, turned)
    while without is not None and bool((bad := without(scenes)).any()):
        fresh = _draw(int(bad.sum()), generator, digits, turned)
        for part, new in zip(scenes, fresh, strict=True):
            part[bad] = new
    return scenes


def _draw(n: int, generator: torch.Generator, digits: Sequence[int], turned: bool) -> Scenes:
    def whole(below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=generator)

    kind = torch.tensor(SHARES)[whole(len(SHARES), n)]
    digit = torch.tensor(list(digits))[whole(len(digits), n, 2)]
    thick, slanted, says_thick, says_slant = (whole(2, n, 2).bool() for _ in range(4))
    on_right, is_turned = whole(2, n).bool() & (kind == ONE), whole(2, n).bool() & (kind == PAIR) & turned
    two = kind == TWO  # one noun stands for both digits: so do the adjectives that are said
    for part, shared in ((digit, two), (says_thick, two), (says_slant, two)):
        part[shared, 1] = part[shared, 0]
    for part, said in ((thick, says_thick), (slanted, says_slant)):
        shared = two & said[:, 0]
        part[shared, 1] = part[shared, 0]
    return Scenes(kind, digit, thick, slanted, says_thick, says_slant, on_right, is_turned)


def held_out(scenes: Scenes) -> Tensor:
    """Which scenes no training shows, whatever their caption says: (n,).

    Two slanted sevens; a three left of a nine; any thin eight.
    """
    digit, single = scenes.digit, scenes.kind == ONE
    sevens = ((digit == 7) & scenes.slanted).all(dim=1)
    three_nine = (digit[:, 0] == 3) & (digit[:, 1] == 9)
    thin_eight = (digit == 8) & ~scenes.thick
    return (~single & (sevens | three_nine)) | thin_eight[:, 0] | (~single & thin_eight[:, 1])


# Captions and tokens


def captions_of(scenes: Scenes) -> list[str]:
    """What the scenes' captions say, without articles: "thin three left of slanted seven"."""
    return [_caption(Scenes(*row)) for row in zip(*(part.tolist() for part in scenes), strict=True)]


def _caption(scene: Scenes) -> str:
    def noun(place: int, names: tuple[str, ...] = NAMES) -> list[str]:
        said = [THICKNESS[scene.thick[place]]] if scene.says_thick[place] else []
        said += [SLANT[scene.slanted[place]]] if scene.says_slant[place] else []
        return [*said, names[scene.digit[place]]]

    if scene.kind == ONE:
        return " ".join(noun(0))
    if scene.kind == TWO:
        return " ".join(["two", *noun(0, PLURALS)])
    relation = ["right", "of"] if scene.turned else ["left", "of"]
    first, second = (1, 0) if scene.turned else (0, 1)
    return " ".join([*noun(first), *relation, *noun(second)])


def tokenise(captions: str | Sequence[str], length: int = LENGTH) -> Tensor:
    """The tokens of captions, (n, length): <start>, a number for each word but the articles, and <pad>.

    Words are looked up; the grammar is not asked (`parse` does). Raises NoCaption for a word that is not known, naming
    the nearest one, and for a caption that is too long.
    """
    captions = [captions] if isinstance(captions, str) else captions
    rows = []
    for caption in captions:
        row = [START, *(token_of(word, caption) for word in words_of(caption))]
        if len(row) > length:
            raise NoCaption(f"{caption!r} must have at most {length - 1} words beside articles, but has {len(row) - 1}")
        rows.append(row + [PAD] * (length - len(row)))
    return torch.tensor(rows).reshape(len(rows), length)


def words_of(caption: str) -> list[str]:
    """The words that are read: in small letters, without articles and the full stop."""
    return [word for word in caption.lower().strip().removesuffix(".").split() if word not in ARTICLES]


def token_of(word: str, caption: str) -> int:
    """The number of a word. Raises NoCaption for a word that is not known."""
    if word in TOKENS and word not in WORDS[: START + 1]:
        return TOKENS[word]
    known = WORDS[START + 1 :]
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.0)[0]
    raise NoCaption(f"{caption!r}: the word {word!r} is not known; the nearest one is {nearest!r}")


def null_caption(n: int, length: int = LENGTH) -> Tensor:
    """The tokens of a caption that says nothing, (n, length): <start> alone."""
    y = torch.full((n, length), PAD)
    y[:, 0] = START
    return y


def parse(caption: str) -> Scenes:
    """The scene that a caption describes, as one row; what it does not say is False and 0.

    Raises NoCaption for an unknown word, naming the nearest one, or for a line that is no caption, saying what was
    expected.
    """
    tokenise(caption, length=len(words_of(caption)) + 1)
    words = words_of(caption)
    if not words:
        raise NoCaption(f"{caption!r} says nothing: a caption is a line such as 'a thin three left of a slanted seven'")
    for turned, side in enumerate(("left", "right")):
        if side in words:
            at = words.index(side)
            if words[at + 1 : at + 2] != ["of"]:
                raise NoCaption(f"{caption!r}: after {side!r} comes 'of', as in 'a three {side} of a seven'")
            nouns = [_noun(words[:at], NAMES, caption), _noun(words[at + 2 :], NAMES, caption)]
            return _scene(PAIR, nouns[::-1] if turned else nouns, bool(turned))
    if words[:1] == ["two"] and len(words) > 1:
        noun = _noun(words[1:], PLURALS, caption)
        return _scene(TWO, [noun, noun])
    noun = _noun(words, NAMES, caption)
    return _scene(ONE, [noun, noun._replace(says_thick=False, says_slant=False)])


class _Noun(NamedTuple):
    digit: int
    thick: bool
    slanted: bool
    says_thick: bool
    says_slant: bool


def _noun(words: list[str], names: tuple[str, ...], caption: str) -> _Noun:
    """A digit with its adjectives."""
    rest = list(words)
    said = [rest.pop(0) if rest and rest[0] in pair else None for pair in (THICKNESS, SLANT)]
    if len(rest) != 1 or rest[0] not in names:
        example = f"thin slanted {names[7]}"
        raise NoCaption(
            f"{caption!r}: {' '.join(words) or 'nothing'!r} must be a digit such as {names[7]!r}, after at most one of "
            f"thin and thick and then one of upright and slanted, as in {example!r}"
        )
    thick, slant = said
    return _Noun(names.index(rest[0]), thick == "thick", slant == "slanted", thick is not None, slant is not None)


def _scene(kind: int, nouns: list[_Noun], turned: bool = False) -> Scenes:
    digit, *others = zip(*nouns, strict=True)
    sides = torch.tensor([False]), torch.tensor([turned])
    return Scenes(torch.tensor([kind]), torch.tensor([digit]), *(torch.tensor([part]) for part in others), *sides)


def scenes_of(captions: Sequence[str], generator: torch.Generator | None = None) -> Scenes:
    """The scenes of captions. With a generator, what they leave unsaid is drawn; without, it is False."""
    scenes = Scenes(*(torch.cat(parts) for parts in zip(*map(parse, captions), strict=True)))
    if generator is None:
        return scenes
    n = len(captions)
    drawn = torch.randint(2, (3, n, 2), generator=generator).bool()
    thick = torch.where(scenes.says_thick, scenes.thick, drawn[0])
    slanted = torch.where(scenes.says_slant, scenes.slanted, drawn[1])
    return scenes._replace(thick=thick, slanted=slanted, on_right=drawn[2, :, 0] & (scenes.kind == ONE))


# What can be measured of a digit


def ink_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the ink of images lies, and how it leans: columns and rows of the centres, and the shears, (n,) each.

    x: (n, 1, H, W) in [-1, 1]. The shear is minus the covariance of column and row over the variance of the row:
    positive where a digit leans to the right at its top.
    """
    ink = ((x + 1) / 2).clamp(0, 1)[:, 0]
    rows, columns = (torch.arange(side, dtype=ink.dtype) for side in ink.shape[1:])
    mass = ink.sum(dim=(1, 2)).clamp(min=1e-6)
    centre_x, centre_y = ink.sum(dim=1) @ columns / mass, ink.sum(dim=2) @ rows / mass
    right = columns[None, None, :] - centre_x[:, None, None]
    down = rows[None, :, None] - centre_y[:, None, None]
    covariance, variance = (ink * right * down).sum(dim=(1, 2)), (ink * down**2).sum(dim=(1, 2))
    return centre_x, centre_y, -covariance / variance.clamp(min=1e-3)


def stroke_width(x: Tensor) -> Tensor:
    """How wide the strokes are, in pixels, (n,): twice the area of the ink over its perimeter. x: (n, 1, H, W).

    The perimeter is the integral of the length of the ink's gradient (the coarea formula), so grey edges count too.
    """
    ink = functional.pad(((x + 1) / 2).clamp(0, 1), (1, 1, 1, 1))
    across = (ink[..., 1:-1, 2:] - ink[..., 1:-1, :-2]) / 2
    along = (ink[..., 2:, 1:-1] - ink[..., :-2, 1:-1]) / 2
    perimeter = (across**2 + along**2).sqrt().sum(dim=(1, 2, 3))
    return 2 * ink.sum(dim=(1, 2, 3)) / perimeter.clamp(min=1e-6)


# Pictures


class Glyphs(NamedTuple):
    """Digits ready to be placed. x: (2, 2, 10, n, 1, 16, 16), by slanted, thick, digit and number."""

    x: Tensor

    @property
    def n(self) -> int:
        return self.x.shape[3]


def glyphs(split: Literal["train", "test"] = "train", per_digit: int = 400, *, seed: int = 0) -> Glyphs:
    """`per_digit` MNIST digits of each class, thin and thick, upright and slanted. Raises MnistUnavailable."""
    check_whole("per_digit", per_digit)
    images = mnist(split)
    width = stroke_width(images.x)
    chosen = []
    for digit in range(10):
        rows = (images.y == digit).nonzero()[:, 0]
        chosen.append(rows[width[rows] <= width[rows].median()][:per_digit])
    n = min(map(len, chosen))
    if n < per_digit:
        raise ValueError(
            f"per_digit must be at most {n}, the half of the rarest digit of {split!r}, but is {per_digit}"
        )
    x, source = images.x[torch.cat(chosen)], make_generator(seed, 50)
    styles = [
        styled(x, slanted=slanted, thick=thick, generator=source).unflatten(0, (10, n))
        for slanted in (False, True)
        for thick in (False, True)
    ]
    return Glyphs(torch.stack(styles).unflatten(0, (2, 2)))


def styled(x: Tensor, *, slanted: bool, thick: bool, generator: torch.Generator) -> Tensor:
    """Digits (n, 1, 28, 28), widened where they are to be thick, leaning as they are to lean. (n, 1, 16, 16)."""
    if thick:  # the darkest of five pixels, which form a cross
        pad = functional.pad(x, (1, 1, 1, 1), value=-1.0)
        up, down, left, right = pad[..., :-2, 1:-1], pad[..., 2:, 1:-1], pad[..., 1:-1, :-2], pad[..., 1:-1, 2:]
        x = torch.stack([x, up, down, left, right]).amax(dim=0)
    centre_x, centre_y, own = ink_moments(x)
    wanted = SHEAR * slanted + SHEAR_SPREAD * torch.randn(len(x), generator=generator)
    # a window of 25 of the 28 pixels around the centre; each row is read from farther left or right
    window = 25 / 28
    affine = torch.zeros(len(x), 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = window
    affine[:, 0, 1] = window * (wanted - own)
    affine[:, 0, 2], affine[:, 1, 2] = (centre_x - 13.5) / 14, (centre_y - 13.5) / 14
    grid = functional.affine_grid(affine, (len(x), 1, 2 * SLOT, 2 * SLOT), align_corners=False)
    return functional.avg_pool2d(functional.grid_sample(x + 1, grid, align_corners=False) - 1, 2)


def place_digits(scenes: Scenes, pool: Glyphs, generator: torch.Generator) -> Tensor:
    """A picture of each scene, with digits of the pool. (n, 1, 16, 32) in [-1, 1]."""
    n = len(scenes.kind)
    number = torch.randint(pool.n, (n, 2), generator=generator)
    slots = pool.x[scenes.slanted.long(), scenes.thick.long(), scenes.digit, number]  # (n, 2, 1, 16, 16)
    single = scenes.kind == ONE
    slots[single, 1] = -1.0
    to_right = single & scenes.on_right
    slots[to_right] = slots[to_right].flip(1)
    return torch.cat([slots[:, 0], slots[:, 1]], dim=-1)


# The two data sets that are trained on

PER_DIGIT, PICTURES = {"train": 1500, "test": 400}, {"train": 60_000, "test": 5000}


def captioned_digits(split: Literal["train", "test"] = "train") -> Images:
    """Pictures, x (n, 1, 16, 32), and the tokens of their captions, y (n, 9), without what is held out.

    60,000 to train on and 5,000 to test. Raises MnistUnavailable.
    """
    part = int(split == "test")
    scenes = draw_scenes(PICTURES[split], make_generator(0, 51, part), without=held_out)
    pictures = place_digits(scenes, glyphs(split, PER_DIGIT[split]), make_generator(0, 52, part))
    return Images(pictures, tokenise(captions_of(scenes)))


def slot_digits(split: Literal["train", "test"] = "train") -> Images:
    """Single places, x (n, 1, 16, 16), and what stands there, y (n,): 0 to 9, or EMPTY. A little noise is added.

    A judge of places learns from them: samples are never quite clean. Raises MnistUnavailable.
    """
    x = glyphs(split, PER_DIGIT[split]).x  # (2, 2, 10, n, 1, 16, 16)
    y = torch.arange(10)[None, None, :, None].expand(x.shape[:4]).flatten()
    blank = torch.full((4 * x.shape[3], *x.shape[4:]), -1.0)
    x, y = torch.cat([x.flatten(0, 3), blank]), torch.cat([y, torch.full((len(blank),), EMPTY)])
    return Images(x + 0.05 * torch.randn(x.shape, generator=make_generator(0, 53)), y)
