"""The letters of notebook 27, and what the audit of a folder finds: each planted fault, and nothing else."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff import data
from minidiff.data import PicturesUnfit, audit, difference_hash, hash_distances, letters, pixel_distances, unusual
from tests.cases import assert_close


@pytest.fixture(scope="module")
def drawn():
    return letters(120, torch.Generator().manual_seed(3))


def as_bytes(x):
    return ((x[:, 0] + 1) * 127.5).round().byte().numpy()


# --- letters ---------------------------------------------------------------------------------------------------------


def test_letters_are_images_in_range_and_a_function_of_the_seed(drawn, make_generator):
    assert drawn.x.shape == (120, 1, 28, 28) and drawn.x.dtype == torch.float32
    assert drawn.x.min() == -1 and 0.9 < drawn.x.max() <= 1
    assert drawn.y.dtype == torch.int64 and set(drawn.y.tolist()) == set(range(10))
    again = letters(120, torch.Generator().manual_seed(3))
    assert torch.equal(drawn.x, again.x) and torch.equal(drawn.y, again.y)
    assert not torch.equal(letters(1, make_generator(1)).x, letters(1, make_generator(2)).x)


def test_a_letter_lies_within_its_picture(drawn):
    """At its largest size and turn: the outermost pixels stay black."""
    edge = torch.cat([drawn.x[:, 0, 0], drawn.x[:, 0, -1], drawn.x[:, 0, :, 0], drawn.x[:, 0, :, -1]])
    assert edge.max() == -1


def test_letters_look_like_their_labels():
    """A nearest mean, from one half to the other, is right far more often than by chance."""
    x, y = letters(1200, torch.Generator().manual_seed(1))
    means = torch.stack([x[:600][y[:600] == k].mean(0) for k in range(10)])
    assert (pixel_distances(x[600:], means).argmin(1) == y[600:]).float().mean() > 0.6


@pytest.mark.parametrize("n", [0, 2.5, True])
def test_a_number_that_is_none_is_refused(n, make_generator):
    with pytest.raises(ValueError, match="n must be a whole number >= 1"):
        letters(n, make_generator(0))


# --- distances -------------------------------------------------------------------------------------------------------


def test_distances_are_root_mean_squares():
    x, y = torch.zeros(2, 1, 2, 2), torch.tensor([[0.0, 0, 0, 1], [2, 2, 2, 2]]).reshape(2, 1, 2, 2)
    assert_close(pixel_distances(x, y), torch.tensor([[0.5, 2.0]] * 2), 1e-6)
    assert torch.equal(pixel_distances(x).diagonal(), torch.zeros(2))


def test_pictures_of_another_form_are_refused():
    with pytest.raises(ValueError, match="pictures of one form"):
        pixel_distances(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="x must be finite"):
        pixel_distances(torch.full((1, 1, 2, 2), torch.nan))


def test_a_hash_has_a_bit_for_each_pair_of_neighbours():
    rising = torch.arange(9.0).expand(1, 1, 8, 9)
    names = difference_hash(torch.cat([rising, -rising]))
    assert names.tolist() == [[True] * 64, [False] * 64]
    assert hash_distances(names, names).tolist() == [[0, 64], [64, 0]]


def test_a_hash_does_not_see_brightness_or_contrast(drawn):
    assert torch.equal(difference_hash(drawn.x), difference_hash(0.25 * drawn.x + 0.5))


def test_unusual_numbers_do_not_hide_each_other(make_generator):
    values = torch.cat([torch.linspace(-1, 1, 50), torch.tensor([40.0, 41.0, -50.0])])
    assert unusual(values) == [50, 51, 52]
    assert unusual(torch.ones(5)) == []


# --- a folder --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(drawn, tmp_path_factory):
    """40 letters with planted faults."""
    root = tmp_path_factory.mktemp("letters")
    pixels = as_bytes(drawn.x[:40])
    for place, picture in enumerate(pixels):
        Image.fromarray(picture).save(root / f"{place:02}.png")
    Image.fromarray(pixels[3]).save(root / "copy.png", compress_level=1)
    Image.fromarray(pixels[4]).save(root / "resaved.jpg", quality=60)
    Image.fromarray(255 - pixels[5]).save(root / "inverted.png")
    Image.fromarray((pixels[6] / 255).astype(np.uint8)).save(root / "nearly_black.png")
    Image.fromarray(pixels[7]).convert("RGB").resize((28, 40)).save(root / "tall.png")
    (root / "broken.png").write_bytes((root / "01.png").read_bytes()[:100])
    (root / "broken (1).png").write_text("no picture")
    (root / "notes.txt").write_text("hello")
    return root


def test_an_audit_finds_what_was_planted_and_nothing_else(folder):
    found = audit(folder, alike=0.02, size=28, grey=True)
    assert found.x.shape == (45, 1, 28, 28) and len(found.files) == 45
    assert [name for name, _ in found.refused] == ["broken (1).png", "broken.png", "notes.txt"]
    assert (
        found.refused[0][1] == "no picture that Pillow knows" and found.refused[2][1] == "not a picture by its ending"
    )
    assert [name for name, _ in found.altered] == ["tall.png"]
    assert [(pair.file, pair.other, pair.distance) for pair in found.alike] == [("03.png", "copy.png", 0.0)]
    assert {name for name, _ in found.odd} == {"inverted.png", "nearly_black.png"}


def test_an_audit_finds_near_copies_at_the_threshold_that_it_is_given(folder):
    pairs = [(pair.file, pair.other) for pair in audit(folder, alike=0.08, size=28, grey=True).alike]
    assert pairs[0] == ("03.png", "copy.png") and ("04.png", "resaved.jpg") in pairs


def test_what_an_audit_reads_is_what_training_reads(folder):
    """The same pixels, but for the copy, which `pictures` leaves out."""
    read = data.pictures(folder, size=28, grey=True)
    seen = audit(folder, alike=0.02, size=28, grey=True).x
    assert len(read.train.x) + len(read.test.x) == len(seen) - 1
    assert pixel_distances(torch.cat([read.train.x, read.test.x]), seen).min(1).values.max() == 0


def test_an_audit_refuses_what_it_cannot_do(tmp_path):
    (tmp_path / "a.txt").write_text("no picture")
    with pytest.raises(PicturesUnfit, match="holds none that can be read"):
        audit(tmp_path, alike=0.1)
    with pytest.raises(PicturesUnfit, match="does not exist"):
        audit(tmp_path / "nowhere", alike=0.1)
    with pytest.raises(ValueError, match="alike must be finite and > 0"):
        audit(tmp_path, alike=0.0)


def test_a_resaved_picture_differs_less_than_another(drawn):
    buffer = io.BytesIO()
    Image.fromarray(as_bytes(drawn.x)[0]).save(buffer, "JPEG", quality=75)
    resaved = torch.from_numpy(np.asarray(Image.open(buffer)).copy()) / 127.5 - 1
    near = pixel_distances(resaved[None, None], drawn.x)[0]
    assert near.argmin() == 0 and near[0] < 0.5 * near[1:].min()
