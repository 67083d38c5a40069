"""What a person sees meanwhile, and what is written for later."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.workshop import display
from minidiff.workshop.pace import Plan


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(display.time, "monotonic", lambda: self.now)


def test_where_there_is_no_terminal_a_line_a_minute(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    with display.Display(Plan(1000), 0, shown=True) as shown:
        for step in range(10, 1001, 10):
            clock.now += 3
            shown.show(step, 0.5, 123.4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "step 10 of 1000, loss 0.5000, 123 samples/s, 5.0 min left"
    assert [int(line.split()[1]) for line in lines] == [10, 210, 410, 610, 810, 1000]
    assert lines[-1].endswith("0.0 min left")
    with display.Display(Plan(1000), 0, shown=False) as shown:
        shown.show(10, 0.5, 1.0)
    assert capsys.readouterr().err == ""


def test_the_time_that_is_left_follows_the_plan(monkeypatch, capsys):
    clock, plan = Clock(monkeypatch), Plan(1000)
    with display.Display(plan, 500, shown=True) as shown:
        clock.now += 50
        shown.show(510, 0.5, 10.0)
        plan.change(510, 530)
        clock.now += 60
        shown.show(520, 0.5, 10.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 510 of 1000") and lines[0].endswith("40.8 min left")
    assert lines[1].startswith("step 520 of 530") and lines[1].endswith("0.9 min left")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("n", "side"), [(1, 8), (5, 8), (6, 28), (9, 100)])
def test_a_picture_shows_each_sample_pixel_by_pixel(channels, n, side):
    """In rows of a square, black where there is none; small ones are enlarged so that each pixel can be seen."""
    x = torch.linspace(-1, 1, n * channels * side * side).reshape(n, channels, side, side)
    picture = np.asarray(Image.open(io.BytesIO(display.picture_of(x))))
    columns = int(np.ceil(np.sqrt(n)))
    rows, larger = -(-n // columns), max(1, 64 // side)
    assert picture.shape[:2] == (rows * side * larger, columns * side * larger)
    small = picture[::larger, ::larger].reshape(rows, side, columns, side, channels)
    for i in range(rows * columns):
        row, column = divmod(i, columns)
        tile = small[row, :, column].transpose(2, 0, 1)
        expected = ((x[i] + 1) * 127.5).round().numpy() if i < n else np.zeros((channels, side, side))
        np.testing.assert_array_equal(tile, expected)


def test_a_picture_of_points_is_a_figure():
    assert display.picture_of(torch.zeros(5, 2)).startswith(b"\x89PNG")
