"""A page to play with: a mixture of Gaussians and its exact diffusion model, in a browser. Notebooks 00, 06 and 14.

`explorer.html`, beside this module, computes what `exact`, `samplers` and `denoisers.guided` compute, in plain
JavaScript, and needs nothing else: it opens from the disk too. A test holds its numbers against theirs, to 1e-9.
"""

import base64
import html
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EXPERIMENTS", "PAGE", "Shown", "show"]

PAGE = Path(__file__).with_suffix(".html")
PICTURE = Path(__file__).with_suffix(".png")  # of the page, drawn by `python -m tests.tools.explorer_picture`
LINK = "../minidiff/explorer.html"  # from a notebook of the course
HEIGHT = 860  # pixels, until the page knows better: it fits its frame to itself where it may

# The experiments that the page suggests, by the names that `show` and the end of its address (#guidance) take.
EXPERIMENTS = tuple(re.findall(r'<option value="(\w+)">\d', PAGE.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Shown:
    """The page as a notebook shows it. experiment: the one that it begins with, or None."""

    experiment: str | None = None

    def _repr_html_(self) -> str:
        begin = f' data-begin="{self.experiment}"' if self.experiment else ""
        page = PAGE.read_text(encoding="utf-8").replace('<html lang="en">', f'<html lang="en"{begin}>', 1)
        anchor = f"#{self.experiment}" if self.experiment else ""
        picture = base64.b64encode(PICTURE.read_bytes()).decode()
        return (
            f'<iframe srcdoc="{html.escape(page)}" title="Noise, and the way back: a page to play with" '
            f'style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>\n'
            # The page hides what follows. Where scripts may not run, JupyterLab takes the frame out and leaves this.
            "<details open><summary>A still picture, since no scripts may run here</summary>\n"
            f"<p>In JupyterLab, <em>Trust Notebook</em> in the list of commands brings the page to life. "
            f'Or <a href="{LINK}{anchor}">open it by itself</a> in a browser.</p>\n'
            f'<img src="data:image/png;base64,{picture}" alt="{ALTERNATIVE}">\n'
            "</details>"
        )


ALTERNATIVE = (
    "A square plane with three numbered rings, one around each mode of the data. Grey shades show the density of noisy "
    "data, black arrows its score, which leads to the modes, and orange dots the samples on their way there. A line "
    "leads from a noisy point to the mean of the data that it may have come from."
)


def show(experiment: str | None = None) -> Shown:
    """The page, for the last line of a notebook's cell.

    experiment: the one to begin with, of EXPERIMENTS. Raises ValueError for another name.
    """
    if experiment is not None and experiment not in EXPERIMENTS:
        raise ValueError(f"experiment must be one of {', '.join(EXPERIMENTS)}, but is {experiment!r}")
    return Shown(experiment)
