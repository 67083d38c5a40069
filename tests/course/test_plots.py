"""The drawing functions: what they draw is what they were given, and no figure is left behind."""

import base64
import io
import re
import wave

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from nbclient import NotebookClient
from PIL import Image

from minidiff import generator, plots


@pytest.fixture(autouse=True)
def every_figure_is_accounted_for():
    """Those that a test asked for are closed here; those that a function made in passing would be found."""
    assert plt.get_fignums() == []
    with plt.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def ax():
    figure, (ax,) = plots.panels()
    yield ax
    figure.canvas.draw()  # all that was asked for can be drawn
    assert plt.get_fignums() == [figure.number]


def test_panels_are_axes_of_the_size_and_titles_asked_for():
    figure, axes = plots.panels(2, 3, size=(2.0, 1.5), titles=["a", "b"])
    assert axes.shape == (6,)
    assert figure.get_size_inches().tolist() == [6.0, 3.0]
    assert [ax.get_title() for ax in axes] == ["a", "b", "", "", "", ""]


def test_colours_have_one_meaning_each():
    meanings = [plots.DATA, plots.NOISE, plots.TRUTH, plots.LEARNED, plots.OTHER]
    assert len({to_rgb(colour) for colour in meanings}) == 5


def test_points_are_scattered_where_they_lie(ax, make_generator):
    x = torch.randn(20, 2, generator=make_generator(0)).requires_grad_()
    plots.points(ax, x, colour=plots.LEARNED, label="learned", window=3.0)
    (drawn,) = ax.collections
    np.testing.assert_allclose(drawn.get_offsets(), x.detach().numpy(), rtol=1e-6)
    assert to_hex(drawn.get_facecolor()[0]) == to_hex(plots.LEARNED)
    assert ax.get_xlim() == ax.get_ylim() == (-3.0, 3.0)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["learned"]


def test_points_without_a_label_have_no_legend(ax):
    plots.points(ax, torch.zeros(3, 2))
    assert ax.get_legend() is None


def test_point_rows_put_labels_left_and_titles_above(make_generator):
    x = torch.randn(5, 10, 2, generator=make_generator(0))
    figure = plots.point_rows({"forward": list(x[:3]), "reverse": list(x[3:])}, titles=["t = 0", "t = 1"])
    axes = np.array(figure.axes).reshape(2, 3)
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["forward", "reverse"]
    assert [ax.get_title() for ax in axes[0]] == ["t = 0", "t = 1", ""]
    for ax, part in zip([*axes[0], *axes[1, :2]], x, strict=True):
        np.testing.assert_allclose(ax.collections[0].get_offsets(), part.numpy(), rtol=1e-6)
    assert not axes[1, 2].collections


def test_density_draws_contours_that_halve(ax):
    plots.density(ax, lambda x: -(x**2).sum(1) / 2, window=2.0, cells=41)
    (contours,) = ax.collections
    np.testing.assert_allclose(contours.levels[1:] / contours.levels[:-1], 2)
    assert contours.levels[-1] == pytest.approx(1)  # the density at the centre, which is a cell of the grid
    assert ax.get_xlim() == (-2.0, 2.0)


@pytest.mark.parametrize("scale", [None, 4.0])
def test_arrows_start_at_points_and_show_vectors(ax, scale, make_generator):
    x, vectors = torch.randn(2, 6, 2, generator=make_generator(0))
    plots.arrows(ax, x, vectors, scale=scale, label="score")
    (drawn,) = ax.collections
    np.testing.assert_allclose(drawn.get_offsets(), x.numpy(), rtol=1e-6)
    np.testing.assert_allclose(np.stack([drawn.U, drawn.V], 1), vectors.numpy(), rtol=1e-6)
    assert drawn.scale == scale and drawn.get_label() == "score"


@pytest.mark.parametrize(
    ("log", "scales"), [("", ("linear", "linear")), ("x", ("log", "linear")), ("xy", ("log", "log"))]
)
def test_curves_are_labelled_lines_with_the_truth_dashed(ax, log, scales):
    x = torch.tensor([1.0, 2.0, 3.0])
    plots.curves(ax, x, {"net": x**2, "floor": [1.0, 1.0, 2.0]}, xlabel="t", ylabel="loss", log=log, truth="floor")
    net, floor = ax.get_lines()
    assert net.get_ydata().tolist() == [1, 4, 9] and floor.get_ydata().tolist() == [1, 1, 2]
    assert net.get_xdata().tolist() == floor.get_xdata().tolist() == [1, 2, 3]
    assert floor.get_linestyle() == "--" and floor.get_color() == plots.TRUTH
    assert net.get_linestyle() == "-" and net.get_color() != plots.TRUTH
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("t", "loss")
    assert (ax.get_xscale(), ax.get_yscale()) == scales
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["net", "floor"]


def test_one_curve_needs_no_legend(ax):
    plots.curves(ax, [0, 1], {"only": [0, 1]}, xlabel="x", ylabel="y")
    assert ax.get_legend() is None


@pytest.mark.parametrize("span", [None, (-2.0, 2.0)])
def test_histogram_is_a_density_under_an_exact_one(ax, span, make_generator):
    x = torch.randn(500, generator=make_generator(0))
    low, high = span or (float(x.min()), float(x.max()))
    plots.histogram(ax, {"samples": x}, xlabel="x", bins=20, span=span, exact=lambda g: torch.exp(-(g**2) / 2))
    heights, _ = np.histogram(x.numpy(), bins=20, range=(low, high), density=True)
    outline = ax.patches[0].get_xy()
    assert outline[:, 1].max() == pytest.approx(heights.max(), rel=1e-5)
    (exact,) = ax.get_lines()
    assert exact.get_xdata()[[0, -1]] == pytest.approx([low, high])
    np.testing.assert_allclose(exact.get_ydata(), np.exp(-(exact.get_xdata() ** 2) / 2), rtol=1e-5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "density")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["samples", "exact"]


def test_image_grid_lays_images_out_row_by_row(ax):
    x = torch.linspace(-1, 1, 5)[:, None, None, None].expand(5, 1, 3, 4)
    plots.image_grid(ax, x, columns=2)
    mosaic = ax.images[0].get_array()
    assert mosaic.shape == (3 * 4, 2 * 5)  # a line of one pixel below and right of each image
    for i in range(5):
        row, column = divmod(i, 2)
        tile = mosaic[4 * row : 4 * row + 3, 5 * column : 5 * column + 4]
        np.testing.assert_allclose(tile, float(x[i, 0, 0, 0]))
    assert (mosaic[8:, 5:] == -1).all() and (mosaic[3] == -1).all()
    assert ax.images[0].get_clim() == (-1, 1)


def test_image_rows_are_labelled_grids():
    figure = plots.image_rows({"real": torch.zeros(4, 1, 8, 8), "drawn": torch.ones(7, 1, 8, 8)}, columns=4)
    assert [ax.get_ylabel() for ax in figure.axes] == ["real", "drawn"]
    assert [ax.images[0].get_array().shape for ax in figure.axes] == [(9, 36), (18, 36)]


def square(level):
    figure, (ax,) = plots.panels(size=(1.0, 1.0))
    ax.imshow(np.full((2, 2), level), vmin=0, vmax=1)
    return figure


def test_png_is_a_picture_of_the_size_of_the_figure_and_closes_it():
    picture = Image.open(io.BytesIO(plots.png(square(0.5))))
    assert picture.format == "PNG" and picture.size == (80, 80)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
def test_an_animation_is_an_endless_loop_of_all_frames_and_closes_them(kind):
    content = plots.animation(kind([square(level) for level in (0.0, 0.5, 1.0)]), milliseconds=70)
    film = Image.open(io.BytesIO(content))
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and film.format == "PNG" and film.is_animated
    assert film.n_frames == 3 and film.size == (80, 80)
    assert film.info["loop"] == 0 and film.info["duration"] == 70
    assert plt.get_fignums() == []


def test_an_animation_keeps_the_colours_of_every_frame():
    """It has one palette for all frames, which must not be that of the first alone."""
    content = plots.animation(square(level) for level in (0.0, 0.5, 1.0))
    film = Image.open(io.BytesIO(content))
    for number, level in enumerate((0.0, 0.5, 1.0)):
        film.seek(number)
        expected = Image.open(io.BytesIO(plots.png(square(level)))).convert("RGB")
        assert np.abs(np.asarray(film.convert("RGB"), float) - np.asarray(expected, float)).max() < 40


def test_the_background_of_an_animation_is_white():
    def frame():
        figure, (ax,) = plots.panels(titles=["t = 0.5"])
        plots.points(ax, torch.randn(200, 2, generator=generator(0)))
        return figure

    pixels = np.asarray(Image.open(io.BytesIO(plots.animation(frame() for _ in range(3)))).convert("RGB"))
    assert (pixels[:3] == 255).all() and (pixels.reshape(-1, 3) == 255).all(axis=1).mean() > 0.5


def test_an_animation_draws_one_figure_at_a_time():
    def frames():
        for level in (0.0, 0.5, 1.0):
            assert plt.get_fignums() == []
            yield square(level)

    assert Image.open(io.BytesIO(plots.animation(frames()))).n_frames == 3


# --- pictures in colour, and what are no pictures --------------------------------------------------------------------


def test_a_colour_picture_is_drawn_in_its_colours(ax):
    """It was once drawn as its red channel: a blue one was black."""
    x = torch.full((3, 3, 4, 5), -1.0)
    for channel in range(3):
        x[channel, channel] = 1.0
    x[1, 0], x[2, 1] = 0.0, 7.0  # half red, and far beyond the range
    plots.image_grid(ax, x, columns=2)
    mosaic = ax.images[0].get_array()
    assert mosaic.shape == (2 * 5, 2 * 6, 3)
    expected = {(0, 0): (1, 0, 0), (0, 1): (0.5, 1, 0), (1, 0): (0, 1, 1)}
    for (row, column), colour in expected.items():
        tile = mosaic[5 * row : 5 * row + 4, 6 * column : 6 * column + 5]
        np.testing.assert_allclose(tile, np.broadcast_to(colour, (4, 5, 3)))
    assert (mosaic[5:, 6:] == 0).all() and (mosaic[4] == 0).all() and (mosaic[:, 5] == 0).all()


def test_values_beyond_the_range_of_a_grey_picture_are_cut_off(ax):
    plots.image_grid(ax, torch.tensor([-5.0, -1.0, 1.0, 5.0]).reshape(4, 1, 1, 1))
    pixels = ax.images[0].make_image(ax.figure.canvas.get_renderer(), unsampled=True)[0]
    assert pixels[0, [0, 2, 4, 6], 0].tolist() == [0, 0, 255, 255]


def test_rows_may_be_in_colour():
    figure = plots.image_rows({"real": torch.zeros(4, 3, 8, 8), "grey": torch.ones(7, 1, 8, 8)}, columns=4)
    assert [ax.images[0].get_array().shape for ax in figure.axes] == [(9, 36, 3), (18, 36)]


@pytest.mark.parametrize(
    ("x", "error", "given"),
    [
        (torch.zeros(4, 8, 8), TypeError, r"a torch.float32 tensor of shape \(4, 8, 8\)"),
        (torch.zeros(4, 2, 8, 8), TypeError, r"a torch.float32 tensor of shape \(4, 2, 8, 8\)"),
        (torch.zeros(4, 8, 8, 3), TypeError, r"a torch.float32 tensor of shape \(4, 8, 8, 3\)"),
        (torch.zeros(0, 1, 8, 8), TypeError, r"a torch.float32 tensor of shape \(0, 1, 8, 8\)"),
        (torch.zeros(4, 1, 8, 8).byte(), TypeError, r"a torch.uint8 tensor of shape"),
        (np.zeros((4, 1, 8, 8)), TypeError, "but are ndarray"),
        (torch.full((4, 1, 8, 8), torch.nan), ValueError, "images must not be NaN, but 256 of their 256 values are"),
    ],
)
def test_what_are_no_pictures_is_named(ax, x, error, given):
    words = given if error is ValueError else rf"\(N, 1, H, W\) or \(N, 3, H, W\) .*{given}"
    with pytest.raises(error, match=words):
        plots.image_grid(ax, x)
    with pytest.raises(error, match=words):
        plots.image_rows({"x": x})


# --- figures in a notebook -------------------------------------------------------------------------------------------


def shown_in_a_notebook(*cells: str) -> int:
    """How many pictures a kernel shows, started as Jupyter starts it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("backend", ["agg", "TkAgg", None])
def test_a_notebook_shows_its_figures_whatever_mplbackend_says(backend, monkeypatch):
    """Clusters and Docker set it to agg, with which a notebook once showed nothing, without a word."""
    monkeypatch.delenv("MPLBACKEND", raising=False)
    if backend is not None:
        monkeypatch.setenv("MPLBACKEND", backend)
    figures = "figure, _ = plots.panels()", "plots.image_rows({'x': torch.zeros(2, 1, 4, 4)});"
    assert shown_in_a_notebook("import torch\nfrom minidiff import plots", *figures) == 2


def test_outside_of_notebooks_the_backend_stays(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    plots.panels()
    assert plt.get_backend().lower() == "agg"


# --- sounds ----------------------------------------------------------------------------------------------------------


def test_a_spectrogram_is_bright_where_the_sound_is(ax):
    time = torch.arange(4000) / 8000
    plots.spectrogram(ax, torch.sin(2 * np.pi * 1000 * time), 8000)
    (image,) = ax.images
    power = np.asarray(image.get_array())
    assert abs(power[:, power.shape[1] // 2].argmax() * 8000 / 256 - 1000) < 32
    assert tuple(image.get_extent()) == (0, 500, 0, 4)
    assert ax.get_ylabel() == "frequency, kHz"
    with pytest.raises(ValueError, match="x must be one sound"):
        plots.spectrogram(ax, torch.zeros(2, 2000), 8000)


def test_white_noise_is_at_zero_decibels(ax, make_generator):
    plots.spectrogram(ax, torch.randn(40_000, generator=make_generator(0)), 8000)
    power = 10 ** (np.asarray(ax.images[0].get_array())[1:-1, 4:-4] / 10)
    assert 10 * np.log10(power.mean()) == pytest.approx(0, abs=0.2)


def played(sound):
    with wave.open(io.BytesIO(sound.wav)) as file:
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32767


def test_a_sound_is_played_as_loud_as_it_is():
    x = torch.stack([torch.linspace(-1, 1, 50), torch.zeros(50)])
    rate, samples = played(plots.listen(x, 8000, "A ramp and silence.", volume=0.5))
    assert rate == 8000
    np.testing.assert_allclose(samples, 0.5 * x.reshape(-1), atol=2e-5)
    assert np.abs(played(plots.listen(0.01 * x, 8000, "A faint ramp.", volume=0.5))[1]).max() < 0.0051


def test_a_sound_says_in_words_what_there_is_to_hear():
    sound = plots.listen(torch.zeros(10), 8000, 'A "click" & silence')
    shown = sound._repr_html_()
    assert "<figcaption>A &quot;click&quot; &amp; silence</figcaption>" in shown and "<audio controls" in shown
    assert base64.b64decode(re.search(r"base64,([^\"]+)", shown)[1]) == sound.wav
    assert repr(sound) == '(sound) A "click" & silence'


def test_a_sound_that_would_be_cut_off_is_refused():
    for wrong in (torch.full((4,), 40.0), torch.tensor([float("nan")]), torch.zeros(0)):
        with pytest.raises(ValueError, match="x must be finite and at most 33"):
            plots.listen(wrong, 8000, "Too loud.")
    with pytest.raises(ValueError, match="says must describe"):
        plots.listen(torch.zeros(4), 8000, " ")
