"""What the tests of the workshop share: a whole run, tiny data, and a folder of pictures."""

import numpy as np
import pytest
import torch

import minidiff
from minidiff.data import Images
from minidiff.data.captions import PICTURE, SLOT, Glyphs, captions_of, draw_scenes, tokenise
from minidiff.workshop import display, texts
from minidiff.workshop.subjects import captions, sets
from tests.processes import finished

STEPS = 300
MOONS = ("train", "moons", "--batch", 64, "--seed", 3)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A run of moons that nothing disturbed, and what it printed. Nobody writes into its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = finished(*MOONS, "--steps", STEPS, "--out", folder)
    assert result.returncode == 0, result.stderr
    return folder, result


@pytest.fixture(autouse=True)
def seeds_as_they_are(monkeypatch):
    """No seed is shifted, and no command of one test looks for another number of workers."""
    for name in ("MINIDIFF_SEED", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def noisy_images(part: str, n: int = 600) -> Images:
    """Something of MNIST's shape."""
    source = minidiff.generator(0, {"train": 0, "test": 1}[part])
    x = torch.rand(n, 1, 28, 28, generator=source) * 2 - 1
    return Images(x, torch.randint(10, (n,), generator=source))


def noisy_captions(part: str, n: int = 600) -> Images:
    """Something of the shape of captioned pictures."""
    source = minidiff.generator(0, {"train": 2, "test": 3}[part])
    scenes = draw_scenes(n, source)
    return Images(torch.rand(n, *PICTURE, generator=source) * 2 - 1, tokenise(captions_of(scenes)))


def noisy_slots(part: str) -> Images:
    """Something of the shape of single places."""
    x, y = noisy_captions(part)
    return Images(x[..., :SLOT].contiguous(), y[:, 1] % 11)


def noisy_glyphs(split: str) -> Glyphs:
    """Something of the shape of digits that are ready to be placed."""
    return Glyphs(torch.rand(2, 2, 10, 3, 1, SLOT, SLOT, generator=minidiff.generator(0, 4)) * 2 - 1)


@pytest.fixture
def small_world(monkeypatch):
    """MNIST is tiny, what comes with the course is measured by few samples, and pictures show four."""
    monkeypatch.setattr(display, "IMAGES_DRAWN", 4)
    monkeypatch.setattr(sets, "mnist", noisy_images)
    monkeypatch.setattr(sets, "captioned_digits", noisy_captions)
    monkeypatch.setattr(sets, "slot_digits", noisy_slots)
    monkeypatch.setattr(captions, "glyphs", noisy_glyphs)
    monkeypatch.setattr(sets, "RESULT_SAMPLES", 150)
    monkeypatch.setattr(sets, "RESULT_STEPS", 2)
    monkeypatch.setattr(texts, "SENTENCES", 20)
    monkeypatch.setattr(texts, "STEPS", 2)


@pytest.fixture(scope="session")
def album(tmp_path_factory):
    """A function: a folder of pictures in colour, 20 of each label, or without labels."""
    from PIL import Image

    def make(labels=("cats", "dogs"), n=20, side=12):
        folder = tmp_path_factory.mktemp("album")
        source = np.random.default_rng(0)
        for number, label in enumerate(labels or [""]):
            (folder / label).mkdir(exist_ok=True)
            for i in range(n):
                pixels = source.integers(0, 256, (side, side, 3), dtype=np.uint8)
                pixels[:, :, number % 3] //= 4
                Image.fromarray(pixels).save(folder / label / f"{i}.png")
        return folder

    return make
