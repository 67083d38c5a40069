"""`python -m tests.tools.explorer_picture`: photograph the page to play with, for minidiff/explorer.png.

It is what a notebook shows where no scripts may run. It needs playwright and an installed Chromium.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from minidiff.checkpoints import write_file
from minidiff.explorer import PAGE, PICTURE

__all__ = ["main", "photograph"]

SIDE = 480  # of the picture, which lies in three notebooks: it has to be small
# The density fades through many greys, and lines and points have few colours: a palette that is chosen by counting
# pixels takes the colours for grey, so each gets its own part of the palette.
GREYS, COLOURS = range(165, 256, 3), 64
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def photograph(out: Path) -> None:
    """The plane as the page opens, without the selected mode's grips, which nobody can drag in a picture."""
    from playwright.sync_api import sync_playwright  # here, since only this tool and tests of pages ask for it

    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        sys.exit("Chromium is missing: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport={"width": SIDE + 16, "height": 900}, color_scheme="light")
        page.goto(PAGE.as_uri())
        page.add_style_tag(content=".grip { display: none } #stage { border: 0 !important }")
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        picture = Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB")
        browser.close()
    colours = picture.quantize(COLOURS, Image.Quantize.FASTOCTREE).getpalette()[: 3 * COLOURS]
    palette = np.array([3 * [grey] for grey in GREYS] + np.reshape(colours, (-1, 3)).tolist())
    seen, which = np.unique(np.asarray(picture, dtype=int).reshape(-1, 3), axis=0, return_inverse=True)
    nearest = ((seen[:, None] - palette) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    file = io.BytesIO()
    small = Image.frombytes("P", picture.size, nearest[which].tobytes())
    small.putpalette(palette.astype(np.uint8).tobytes())
    small.save(file, "PNG", optimize=True)
    write_file(out, file.getvalue())


def main(arguments: list[str] | None = None) -> None:
    """`python -m tests.tools.explorer_picture [--out FILE]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURE, help="default: minidiff/explorer.png")
    photograph(parser.parse_args(arguments).out)


if __name__ == "__main__":
    main()
