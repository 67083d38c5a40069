"""Every figure of the course: one style, one set of colours that colour-blind readers can tell apart (Okabe & Ito
2008).

`panels` makes a figure with a row of axes; the other functions draw into one of them. Tensors go in as they are.
In a notebook every figure is shown, whatever the environment variable MPLBACKEND says.
This is the only module that imports matplotlib, and only notebooks and the command line import this module.
"""

import base64
import html
import io
import os
import sys
import wave
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

__all__ = [
    "DATA",
    "LEARNED",
    "NOISE",
    "OTHER",
    "TRUTH",
    "Sound",
    "animation",
    "arrows",
    "curves",
    "density",
    "histogram",
    "image_grid",
    "image_rows",
    "listen",
    "panels",
    "png",
    "point_rows",
    "points",
    "spectrogram",
]

# One colour, one meaning, in every figure.
DATA, NOISE, TRUTH, LEARNED, OTHER = "#0072B2", "#999999", "#000000", "#D55E00", "#009E73"
CYCLE = [DATA, LEARNED, OTHER, "#CC79A7", "#E69F00", "#56B4E9"]
STYLE = {
    "figure.dpi": 80,
    "savefig.dpi": 80,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "legend.frameon": False,
    "lines.linewidth": 2,
    "image.cmap": "cividis",
}
SHOWN_IN_NOTEBOOKS = ("inline", "ipympl", "widget", "nbagg", "notebook")  # in the names of matplotlib's backends
PLANE = 2.8  # half the side of the window on standardised points


def panels(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (3.2, 3.0), titles: Sequence[str] = ()
) -> tuple[Figure, np.ndarray]:
    """A figure with rows x columns axes of `size` inches each. Returns the figure and a flat array of its axes."""
    _show_in_notebooks()
    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(
        rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False, layout="constrained"
    )
    axes = axes.flatten()
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title)
    return figure, axes


def points(
    ax: Axes, x: Tensor, *, colour: str = DATA, label: str | None = None, size: float = 2.0, window: float = PLANE
) -> None:
    """Scatter points, (N, 2), in a square window without ticks around the origin."""
    x = _array(x)
    ax.scatter(x[:, 0], x[:, 1], s=size, c=colour, alpha=0.5, linewidths=0, label=label, rasterized=True)
    _plane(ax, window)
    if label is not None:
        ax.legend(markerscale=4, loc="upper right")


def point_rows(rows: Mapping[str, Sequence[Tensor]], titles: Sequence[str] = (), *, window: float = PLANE) -> Figure:
    """Rows of scatter plots, label -> [points, ...], one colour a row, labels on the left and titles on top."""
    columns = max(len(row) for row in rows.values())
    figure, axes = panels(len(rows), columns, size=(2.0, 2.0), titles=titles)
    for place, (label, row) in enumerate(rows.items()):
        for ax, x in zip(axes[place * columns :], row, strict=False):
            points(ax, x, colour=CYCLE[place % len(CYCLE)], window=window)
        axes[place * columns].set_ylabel(label)
    return figure


def density(
    ax: Axes, log_prob: Callable[[Tensor], Tensor], *, window: float = PLANE, cells: int = 120, behind: bool = False
) -> None:
    """Contours of a density on the plane. log_prob: (N, 2) -> (N,). behind: in light grey, for points to lie on it.

    Each contour holds half the density of the one inside.
    """
    side = torch.linspace(-window, window, cells)
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1)
    p = _array(log_prob(grid.reshape(-1, 2)).exp().reshape(cells, cells))
    levels = p.max() * 0.5 ** np.arange(7, 0, -1)
    ax.contourf(
        _array(side),
        _array(side),
        p,
        levels=[*levels, p.max()],
        cmap="Greys" if behind else "Blues",
        alpha=0.4 if behind else 0.7,
    )
    _plane(ax, window)


def arrows(
    ax: Axes, x: Tensor, vectors: Tensor, *, colour: str = TRUTH, label: str | None = None, scale: float | None = None
) -> None:
    """Arrows at points x, (N, 2).

    `scale` is data units of vector per inch of arrow; by default matplotlib chooses.
    """
    x, vectors = _array(x), _array(vectors)
    ax.quiver(
        *x.T,
        *vectors.T,
        color=colour,
        label=label,
        scale=scale,
        scale_units=None if scale is None else "inches",
        width=0.006,
    )


def curves(
    ax: Axes,
    x: Tensor | Sequence[float],
    lines: Mapping[str, Tensor | Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    truth: str | None = None,
) -> None:
    """Lines over a common x, label -> y. `log` names the logarithmic axes: "", "x", "y" or "xy".

    The line called `truth` is drawn dashed and black.
    """
    for label, y in lines.items():
        if label == truth:
            ax.plot(_array(x), _array(y), label=label, color=TRUTH, linestyle="--", zorder=3)
        else:
            ax.plot(_array(x), _array(y), label=label)
    ax.set(
        xlabel=xlabel, ylabel=ylabel, xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear"
    )
    if len(lines) > 1:
        ax.legend()


def histogram(
    ax: Axes,
    samples: Mapping[str, Tensor],
    *,
    xlabel: str,
    bins: int = 60,
    span: tuple[float, float] | None = None,
    exact: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Histograms of numbers, label -> (N,), as densities, under an exact one, (cells,) -> (cells,), if given.

    One alone is filled; several are outlines, so that none hides another.
    """
    span = span or (min(float(x.min()) for x in samples.values()), max(float(x.max()) for x in samples.values()))
    look = {"histtype": "stepfilled", "alpha": 0.5} if len(samples) == 1 else {"histtype": "step", "linewidth": 2}
    for label, x in samples.items():
        ax.hist(_array(x), bins=bins, range=span, density=True, label=label, **look)
    if exact is not None:
        grid = torch.linspace(*span, 400)
        ax.plot(_array(grid), _array(exact(grid)), color=TRUTH, linestyle="--", label="exact")
    ax.set(xlabel=xlabel, ylabel="density")
    ax.legend()


def image_grid(ax: Axes, x: Tensor, *, columns: int = 8) -> None:
    """Images, (N, 1, H, W) in grey or (N, 3, H, W) in colour, in [-1, 1], as one mosaic on black.

    Values beyond the range are cut off, as any viewer of images does. Raises ValueError for NaN, TypeError for what is
    no set of images.
    """
    _check_images(x)
    n, channels, height, width = x.shape
    rows = -(-n // columns)
    tiles = np.full((rows * columns, height + 1, width + 1, channels), -1.0)
    tiles[:n, :height, :width] = _array(x).transpose(0, 2, 3, 1)
    mosaic = tiles.reshape(rows, columns, height + 1, width + 1, channels).transpose(0, 2, 1, 3, 4)
    mosaic = mosaic.reshape(rows * (height + 1), -1, channels)
    if channels == 1:
        ax.imshow(mosaic[..., 0], cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    else:
        ax.imshow((mosaic.clip(-1, 1) + 1) / 2, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def image_rows(rows: Mapping[str, Tensor], *, columns: int = 10) -> Figure:
    """Rows of images, label -> (N, 1, H, W) or (N, 3, H, W), for comparing sets of images."""
    for x in rows.values():
        _check_images(x)
    _show_in_notebooks()
    lines = [-(-min(len(x), columns * 8) // columns) for x in rows.values()]
    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(
        len(rows),
        1,
        figsize=(0.62 * columns + 1.2, 0.68 * sum(lines)),
        height_ratios=lines,
        squeeze=False,
        layout="constrained",
    )
    for ax, (label, x) in zip(axes[:, 0], rows.items(), strict=True):
        image_grid(ax, x, columns=columns)
        ax.set_ylabel(label, rotation=0, ha="right", va="center")
    return figure


# Sounds


def spectrogram(
    ax: Axes, x: Tensor, rate: int, *, window: int = 256, faintest: float = -60.0, loudest: float = 40.0
) -> None:
    """The power of a sound, (n,), over time and frequency, in dB on one scale for all sounds: from dark to bright.

    Frames of `window` samples under a Hann window, a quarter of a window apart. 0 dB is white noise of variance 1.
    """
    x = torch.from_numpy(np.array(_array(x), dtype=np.float64))
    if x.ndim != 1:
        raise ValueError(f"x must be one sound of shape (n,), but has shape {tuple(x.shape)}")
    hann = torch.hann_window(window, dtype=torch.float64)
    frames = torch.stft(x, window, window // 4, window=hann, pad_mode="constant", return_complex=True)
    power = 10 * torch.log10(frames.abs() ** 2 / hann.square().sum() + 1e-12)
    reach = (0, 1000 * len(x) / rate, 0, rate / 2000)
    ax.imshow(power.numpy(), origin="lower", aspect="auto", extent=reach, vmin=faintest, vmax=loudest)
    ax.set(xlabel="time, ms", ylabel="frequency, kHz")


@dataclass(frozen=True)
class Sound:
    """A sound that a notebook plays. wav: the bytes of a WAV file; says: what there is to hear, in words."""

    wav: bytes
    says: str

    def __repr__(self) -> str:
        return f"(sound) {self.says}"

    def _repr_html_(self) -> str:
        says = html.escape(self.says, quote=True)
        data = base64.b64encode(self.wav).decode()
        player = f'<audio controls preload="none" aria-label="{says}" src="data:audio/wav;base64,{data}"></audio>'
        return f"<figure>{player}<figcaption>{says}</figcaption></figure>"


def listen(x: Tensor, rate: int, says: str, *, volume: float = 0.03) -> Sound:
    """A sound, (n,), or several, (B, n), one after the other, to be played in a notebook. says: in words, for everyone.

    Nothing is made louder or quieter but by `volume`, the same for all sounds, so that loudness can be compared:
    `IPython.display.Audio` normalises each sound unless it is told not to. 16 bits a sample.

    Raises ValueError where volume times a sample leaves [-1, 1]: it would be cut off.
    """
    x = volume * _array(x).astype(np.float64).reshape(-1)
    if not says.strip():
        raise ValueError("says must describe the sound in words, but is empty")
    if not np.isfinite(x).all() or not x.size or np.abs(x).max() > 1:
        largest = np.abs(x).max() / volume if x.size else None
        raise ValueError(f"x must be finite and at most {1 / volume:.4g} at this volume, but its largest is {largest}")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(32767 * x).astype("<i2").tobytes())
    return Sound(out.getvalue(), says)


def animation(frames: Iterable[Figure], *, milliseconds: int = 120) -> bytes:
    """Figures as an endless animated PNG of 64 colours. In a notebook: `IPython.display.Image(data=..., format="png")`.

    frames may be a generator: each figure is closed before the next one is drawn. Why PNG: a GIF that is declared as
    one is left out by some viewers and by nbconvert, while an animated PNG is a PNG everywhere, and moves or stands.
    """
    pictures = [Image.open(io.BytesIO(png(frame))).convert("RGB") for frame in frames]
    width, height = pictures[0].size
    shown = pictures[:: max(1, len(pictures) // 8)]  # an animated PNG has one palette, so it is made of several frames
    strip = Image.new("RGB", (width, height * len(shown)))
    for row, picture in enumerate(shown):
        strip.paste(picture, (0, row * height))
    palette = strip.quantize(64, dither=Image.Dither.NONE)
    colours = np.reshape(palette.getpalette(), (-1, 3))
    colours[colours.min(axis=1) > 245] = 255  # the background, which was mixed with the greys near it
    palette.putpalette(colours.flatten().tolist())
    first, *others = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    out = io.BytesIO()
    first.save(out, "PNG", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)
    return out.getvalue()


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file; the figure is closed."""
    out = io.BytesIO()
    figure.savefig(out, format="png")
    plt.close(figure)
    return out.getvalue()


def _check_images(x: Tensor) -> None:
    floating = isinstance(x, Tensor) and x.is_floating_point()
    if not floating or x.ndim != 4 or x.shape[1] not in (1, 3) or not x.numel():
        given = f"a {x.dtype} tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            "images must be a floating-point tensor of shape (N, 1, H, W) or (N, 3, H, W) with values in [-1, 1], "
            f"but are {given}"
        )
    if bool(x.isnan().any()):
        raise ValueError(f"images must not be NaN, but {int(x.isnan().sum())} of their {x.numel()} values are")


def _show_in_notebooks() -> None:
    """Show figures in a Jupyter notebook, also where MPLBACKEND asks for a file or a window (clusters, Docker)."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    asked = os.environ.get("MPLBACKEND", "").lower()
    if (
        asked
        and hasattr(shell, "kernel")
        and not any(word in backend for backend in (asked, plt.get_backend().lower()) for word in SHOWN_IN_NOTEBOOKS)
    ):
        shell.run_line_magic("matplotlib", "inline")


def _plane(ax: Axes, window: float) -> None:
    ax.set(xlim=(-window, window), ylim=(-window, window), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)


def _array(x: Tensor | Sequence[float]) -> np.ndarray:
    return x.detach().cpu().float().numpy() if isinstance(x, Tensor) else np.asarray(x)
