"""The letters A to J in sixteen fonts, turned, sheared and scaled at random: pictures whose law is known.

So a fresh test set of any size can be drawn at any time. The fonts come with matplotlib: DejaVu (Sans, Sans Mono and
Serif) and STIX General. Pillow renders them. Both are looked for only here, when needed.
"""

import functools
import importlib.util
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from minidiff._tensors import check_generator, check_whole
from minidiff.data.images import Images

__all__ = ["LETTERS", "letters"]

LETTERS = "ABCDEFGHIJ"
SIDE = 28
CANVAS, POINTS = 96, 64  # pixels of a rendered letter, and the size of its font
OVERSAMPLED = 3  # each pixel is the mean of 3 x 3 points
MOST_DEGREES, MOST_SHEAR = 15.0, 0.25
SMALLEST, LARGEST = 0.75, 1.15  # 1: the canvas fills the picture
AT_ONCE = 1000


def letters(n: int, generator: torch.Generator) -> Images:
    """Draw n letters: x (n, 1, 28, 28), white on black in [-1, 1], and y (n,), 0 for A to 9 for J. Notebook 27.

    Letter and font are uniform, the turn is uniform in +-15 degrees, the shear in +-0.25, the size in 0.75 to 1.15.
    """
    check_whole("n", n)
    check_generator(generator)
    glyphs = _glyphs()
    u = torch.rand(n, 5, generator=generator)
    y = (u[:, 0] * len(LETTERS)).long()
    font = (u[:, 1] * len(glyphs)).long()
    turn = torch.deg2rad((2 * u[:, 2] - 1) * MOST_DEGREES)
    shear, size = (2 * u[:, 3] - 1) * MOST_SHEAR, SMALLEST + (LARGEST - SMALLEST) * u[:, 4]
    cos, sin = turn.cos(), turn.sin()
    # from a place in the picture to one on the canvas, both in [-1, 1]
    rows = torch.stack([cos, cos * shear - sin, sin, sin * shear + cos], 1).reshape(n, 2, 2) / size[:, None, None]
    maps = torch.cat([rows, torch.zeros(n, 2, 1)], 2)
    parts = [
        _drawn(glyphs[font[i : i + AT_ONCE], y[i : i + AT_ONCE]], maps[i : i + AT_ONCE]) for i in range(0, n, AT_ONCE)
    ]
    return Images(torch.cat(parts), y)


def _drawn(canvas: Tensor, maps: Tensor) -> Tensor:
    """Pictures of canvases, (B, CANVAS, CANVAS), by maps, (B, 2, 3)."""
    fine = SIDE * OVERSAMPLED
    grid = functional.affine_grid(maps, [len(maps), 1, fine, fine], align_corners=False)
    seen = functional.grid_sample(canvas[:, None], grid, align_corners=False)
    return functional.avg_pool2d(seen, OVERSAMPLED) * 2 - 1


@functools.cache
def _glyphs() -> Tensor:
    """Each letter in each font, in the middle of its canvas, in [0, 1]: (fonts, letters, CANVAS, CANVAS)."""
    from PIL import Image, ImageDraw, ImageFont

    found = []
    for path in _font_files():
        font = ImageFont.truetype(str(path), POINTS)
        for letter in LETTERS:
            image = Image.new("L", (CANVAS, CANVAS), 0)
            draw = ImageDraw.Draw(image)
            left, top, right, bottom = draw.textbbox((0, 0), letter, font=font)
            middle = math.floor((CANVAS - left - right) / 2), math.floor((CANVAS - top - bottom) / 2)
            draw.text(middle, letter, fill=255, font=font)
            found.append(np.asarray(image, dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(found)).reshape(-1, len(LETTERS), CANVAS, CANVAS)


def _font_files() -> list[Path]:
    """matplotlib's own fonts, found without importing it, which takes a second."""
    place = importlib.util.find_spec("matplotlib")
    if place is None or not place.submodule_search_locations:
        raise FileNotFoundError("the letters are drawn with the fonts of matplotlib, which is not installed")
    folder = Path(place.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    styles = ("", "-Bold", "-BoldOblique", "-Oblique")
    names = [f"{family}{style}" for family in ("DejaVuSans", "DejaVuSansMono") for style in styles]
    names += [f"DejaVuSerif{style}" for style in ("", "-Bold", "-BoldItalic", "-Italic")]
    names += [f"STIXGeneral{style}" for style in ("", "Bol", "BolIta", "Italic")]
    return [folder / f"{name}.ttf" for name in names]
