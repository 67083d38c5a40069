"""A folder of pictures: what is used, what is made of it, what is left out, and that each of these is said."""

import hashlib
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from minidiff.data import PicturesUnfit, digits, pictures, to_images
from minidiff.networks import UNet

EXIF_ORIENTATION = 0x0112


def noise(n, height=32, width=32, channels=3, stream=0):
    """n different pictures, the same at every run."""
    shape = (n, height, width, channels) if channels else (n, height, width)
    bits = hashlib.shake_128(b"%d" % stream).digest(math.prod(shape))
    return np.frombuffer(bits, np.uint8).reshape(shape)


def fill(folder, n=20, stream=0, **shape):
    """Store n different pictures in a folder, and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    all_pixels = noise(n, stream=stream, **shape)
    for place, pixels in enumerate(all_pixels):
        Image.fromarray(pixels).save(folder / f"{place:03}.png")
    return all_pixels


def all_of(read):
    """Every picture of both parts, (N, C, H, W), as bytes again."""
    return ((torch.cat([read.train.x, read.test.x]) + 1) * 127.5).round().to(torch.uint8)


def shows(read, pixels):
    """In how many of the pictures these very pixels are seen. pixels: (H, W, C)."""
    wanted = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
    return int((all_of(read) == wanted).flatten(1).all(dim=1).sum())


def seen(part):
    return {x.numpy().tobytes() for x in part.x}


def the_other(read):
    """The picture that is not one of the 20 that `fill` stored, (H, W, C)."""
    usual = {pixels.tobytes() for pixels in noise(20)}
    (other,) = [x for x in all_of(read).permute(0, 2, 3, 1).numpy() if x.tobytes() not in usual]
    return other


# --- scaling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint16, np.float16, np.float32, np.float64, ">i4"])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_pixels_are_scaled_element_by_element(dtype, channels):
    shape = (2, 3, 5) if channels is None else (2, 3, 5, channels)
    pixels = (np.arange(math.prod(shape)) % 17).reshape(shape).astype(dtype)
    x, y = to_images(pixels, np.array([4, 2]), largest=16)
    assert x.shape == (2, channels or 1, 3, 5) and x.dtype == torch.float32 and x.is_contiguous()
    for n, i, j, c in np.ndindex(2, 3, 5, channels or 1):
        value = pixels[n, i, j] if channels is None else pixels[n, i, j, c]
        assert x[n, c, i, j] == float(value) / 8 - 1
    assert y.tolist() == [4, 2] and y.dtype == torch.int64


def test_images_may_have_no_labels():
    assert to_images(np.zeros((2, 4, 4), np.uint8), None, largest=255).y is None


@pytest.mark.parametrize(
    ("pixels", "labels", "largest", "error", "words"),
    [
        (
            np.full((1, 2, 2), 256),
            None,
            255,
            ValueError,
            r"pixels must lie in \[0, largest\] = \[0, 255\], .* 256 to 256",
        ),
        (np.full((1, 2, 2), -1), None, 255, ValueError, "but run from -1 to -1"),
        (np.full((1, 2, 2), np.nan), None, 1, ValueError, "but run from nan to nan"),
        (
            np.zeros((2, 2)),
            None,
            1,
            ValueError,
            r"pixels must have shape \(N, H, W\) or \(N, H, W, C\), but has \(2, 2\)",
        ),
        (
            np.zeros((2, 2, 2), bool),
            None,
            1,
            TypeError,
            "pixels must be a NumPy array of .* numbers, but is one of bool",
        ),
        (torch.zeros(2, 2, 2), None, 1, TypeError, "pixels must be a NumPy array of .* numbers, but is a Tensor"),
        (np.zeros((2, 2, 2)), np.zeros(3, int), 1, ValueError, r"labels must have shape \(2,\), .* but has \(3,\)"),
        (
            np.zeros((2, 2, 2)),
            np.zeros(2),
            1,
            TypeError,
            "labels must be .* whole numbers or None, but is one of float64",
        ),
        (np.zeros((2, 2, 2)), None, 0, ValueError, "largest must be finite and > 0, but is 0"),
        (np.zeros((2, 2, 2)), None, True, TypeError, "largest must be a number, but is bool True"),
    ],
)
def test_pixels_that_cannot_be_meant_are_refused(pixels, labels, largest, error, words):
    with pytest.raises(error, match=words):
        to_images(pixels, labels, largest)


def test_digits_are_scaled_by_the_same_function():
    x, y = digits()
    assert x.shape == (1797, 1, 8, 8) and x.min() == -1 and x.max() == 1 and y.dtype == torch.int64


# --- what is made of a picture ---------------------------------------------------------------------------------------


def test_pictures_of_the_size_are_used_as_they_are(tmp_path):
    stored = fill(tmp_path)
    read = pictures(tmp_path)
    assert len(read.train.x) + len(read.test.x) == 20 and all(shows(read, pixels) == 1 for pixels in stored)
    assert read.train.x.shape[1:] == (3, 32, 32) and read.train.x.dtype == torch.float32
    assert read.notes == read.names == () and read.train.y is None and read.test.y is None


def test_one_channel_is_pillow_s_grey(tmp_path):
    stored = fill(tmp_path)
    read = pictures(str(tmp_path), grey=True)
    assert read.train.x.shape[1:] == (1, 32, 32) and read.notes == ()
    luma = stored @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    every = all_of(read)[:, 0].double()
    for grey in luma:
        assert (every - torch.from_numpy(grey)).abs().flatten(1).amax(dim=1).min() <= 1


def test_a_set_that_is_grey_is_said_to_be(tmp_path):
    fill(tmp_path, channels=0)
    assert pictures(tmp_path).notes == (
        "Every picture is grey: read as grey, they would need one channel instead of three.",
    )
    assert pictures(tmp_path, grey=True).notes == ()


def lanczos(signal, n):
    """Lanczos' filter with three lobes, widened where it shrinks: by the formula, along the first axis."""
    scale = len(signal) / n
    widest = max(scale, 1)
    centres = (np.arange(n) + 0.5) * scale
    u = (np.arange(len(signal)) + 0.5 - centres[:, None]) / widest
    weights = np.where(abs(u) < 3, np.sinc(u) * np.sinc(u / 3), 0)
    return np.tensordot(weights / weights.sum(1, keepdims=True), signal, 1)


@pytest.mark.parametrize("side", [80, 33, 20])
def test_sizes_are_changed_by_lanczos_filter(tmp_path, side):
    """By the formula in float64; Pillow rounds to a byte after each axis, and the second enlarges that a little."""
    fill(tmp_path)
    there = np.linspace(0, 3, side)
    smooth = (127 + 60 * np.sin(there)[:, None] + 60 * np.cos(2 * there)).astype(np.uint8)
    smooth = np.stack([smooth, smooth.T, 255 - smooth], axis=2)
    Image.fromarray(smooth).save(tmp_path / "other.png")
    read = pictures(tmp_path)
    expected = np.swapaxes(lanczos(np.swapaxes(lanczos(smooth.astype(float), 32), 0, 1), 32), 0, 1)
    np.testing.assert_allclose(the_other(read), expected.clip(0, 255), rtol=0, atol=1.5)
    note = "Enlarged, since they are smaller than the size: 1 of 21 pictures (other.png)."
    assert read.notes == ((note,) if side < 32 else ())


def test_a_fine_pattern_that_shrinks_becomes_its_mean(tmp_path):
    """Without averaging a chessboard of pixels would turn all black or all white."""
    fill(tmp_path)
    board = (np.indices((320, 320)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    inner = the_other(pictures(tmp_path))
    assert abs(inner.astype(int) - 127).max() <= 3


@pytest.mark.parametrize(("height", "width"), [(32, 71), (70, 32)])
def test_the_middle_of_odd_shapes_is_used(tmp_path, height, width):
    fill(tmp_path)
    pixels = noise(1, height, width, stream=5)[0]
    Image.fromarray(pixels).save(tmp_path / "odd.png")
    read = pictures(tmp_path)
    top, left = (height - 32) // 2, (width - 32) // 2
    np.testing.assert_array_equal(the_other(read), pixels[top : top + 32, left : left + 32])
    assert read.notes == ("Cut to their middle, since they are not square: 1 of 21 pictures (odd.png).",)


UPRIGHT = {  # by the EXIF standard: where the first row and the first column of what is stored are in what is seen
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_turned_as_the_camera_noted(tmp_path, orientation, ending):
    fill(tmp_path)
    stored = noise(1, stream=6)[0]
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    Image.fromarray(stored).save(tmp_path / f"turned.{ending}", exif=exif)
    read = pictures(tmp_path)
    np.testing.assert_array_equal(the_other(read), UPRIGHT[orientation](stored))
    if ending == "png":  # Pillow turns a TIFF itself, unasked, and leaves no trace
        assert read.notes == ("Turned upright, as their EXIF data ask: 1 of 21 pictures (turned.png).",)


def test_exif_data_that_ask_for_nothing_or_are_damaged_change_nothing(tmp_path):
    fill(tmp_path)
    for place, (pixels, exif) in enumerate(zip(noise(3, stream=7), [1, 0, 9], strict=True)):
        data = Image.Exif()
        data[EXIF_ORIENTATION] = exif
        Image.fromarray(pixels).save(tmp_path / f"exif {place}.png", exif=data)
    broken = noise(1, stream=8)[0]
    Image.fromarray(broken).save(tmp_path / "broken.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff12345")
    read = pictures(tmp_path)
    assert len(all_of(read)) == 24 and shows(read, broken) == 1 and read.notes == ()
    assert all(shows(read, pixels) == 1 for pixels in noise(3, stream=7))


def over_white(pixels, opacity):
    opacity = opacity[..., None] / 255
    return pixels * opacity + 255 * (1 - opacity)


def test_white_shows_through_what_is_transparent(tmp_path):
    """Not the colour that the file hides there."""
    fill(tmp_path)
    rgba = noise(1, channels=4, stream=9)[0]
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    read = pictures(tmp_path)
    np.testing.assert_allclose(the_other(read), over_white(rgba[..., :3], rgba[..., 3]), atol=1)
    assert read.notes == ("Shown on white, since they are transparent in parts: 1 of 21 pictures (clear.png).",)


def test_a_transparent_picture_without_a_clear_pixel_is_like_any_other(tmp_path):
    fill(tmp_path)
    rgba = noise(1, channels=4, stream=9)[0].copy()
    rgba[..., 3] = 255
    Image.fromarray(rgba).save(tmp_path / "opaque.png")
    read = pictures(tmp_path)
    np.testing.assert_array_equal(the_other(read), rgba[..., :3])
    assert read.notes == ()


@pytest.mark.parametrize("mode", ["LA", "P", "RGB", "1"])
def test_every_way_to_be_transparent(tmp_path, mode):
    fill(tmp_path)
    grey = noise(1, channels=0, stream=10)[0] // 128 * 255
    image, options = Image.fromarray(grey).convert(mode), {}
    if mode == "LA":
        image.putalpha(Image.fromarray(255 - grey))  # black is opaque, white is clear
    else:
        options = {
            "transparency": {"RGB": (0, 0, 0), "P": image.getpixel(tuple(np.argwhere(grey.T == 0)[0])), "1": 0}[mode]
        }
    image.save(tmp_path / "clear.png", **options)
    read = pictures(tmp_path)
    other = the_other(read)
    expected = grey if mode == "LA" else np.full_like(grey, 255)  # black is clear: white on white
    np.testing.assert_array_equal(other, np.stack([expected] * 3, axis=2))
    assert [note.split(":")[0] for note in read.notes] == ["Shown on white, since they are transparent in parts"]


def test_sixteen_bits_become_eight(tmp_path):
    """By division by 257, which takes 65535 to 255; Pillow would cut off at 255."""
    fill(tmp_path)
    grey = (np.arange(1024).reshape(32, 32) * 64 + 63).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    expected = np.stack([np.round(grey / 257)] * 3, axis=2)
    np.testing.assert_array_equal(the_other(pictures(tmp_path)), expected)


def test_palettes_black_and_white_and_inks(tmp_path):
    fill(tmp_path)
    pixels = np.repeat(np.repeat(noise(1, 4, 4, stream=11)[0], 8, axis=0), 8, axis=1)
    Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE, colors=16).save(tmp_path / "palette.gif")
    two = (noise(1, channels=0, stream=12)[0] > 127).astype(np.uint8) * 255
    Image.fromarray(two).convert("1").save(tmp_path / "two.bmp")
    inks = np.full((32, 32, 4), [255, 0, 0, 0], np.uint8)  # cyan alone takes the red out of white
    Image.fromarray(inks, "CMYK").save(tmp_path / "inks.tif")
    read = pictures(tmp_path)
    assert shows(read, pixels) == shows(read, np.stack([two] * 3, 2)) == 1
    assert shows(read, np.full((32, 32, 3), [0, 255, 255])) == 1 and read.notes == ()


def test_of_several_frames_the_first_is_used(tmp_path):
    fill(tmp_path)
    frames = [Image.fromarray(pixels) for pixels in noise(3, stream=13)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[1].save(tmp_path / "pages.tiff", save_all=True, append_images=frames[2:])
    read = pictures(tmp_path)
    assert [shows(read, frame) for frame in frames] == [1, 1, 0]
    words = "Used by their first frame or page, of several: 2 of 22 pictures (moving.webp, pages.tiff)."
    assert read.notes == (words,)


# --- what is left out ------------------------------------------------------------------------------------------------


def test_broken_files_are_named(tmp_path):
    fill(tmp_path)
    whole = (tmp_path / "000.png").read_bytes()
    Image.fromarray(noise(1)[0]).save(tmp_path / "half.jpg")
    jpeg = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "letter.png").write_text("Dear picture,")
    (tmp_path / "bits.png").write_bytes(whole[:40] + bytes(20) + whole[60:])
    read = pictures(tmp_path)
    assert len(all_of(read)) == 20
    (note,) = read.notes
    assert re.fullmatch(
        r"Left out, since they cannot be read: 5 of 25 pictures \(bits\.png \(.+\), empty\.png \(it is empty\), "
        r"half\.jpg \(.*[Tt]runcated.*\) and 2 more\)\.",
        note,
    )


def test_pillow_s_programs_are_not_called(tmp_path, monkeypatch):
    """PostScript under a picture's name would be run by Ghostscript."""
    fill(tmp_path)
    Image.fromarray(noise(1)[0]).save(tmp_path / "script.eps")
    (tmp_path / "script.eps").replace(tmp_path / "script.png")
    Image.fromarray(noise(1)[0]).save(tmp_path / "other.eps")
    monkeypatch.setattr(subprocess, "check_call", lambda *given, **named: pytest.fail("it is run"))
    read = pictures(tmp_path)
    assert read.notes == (
        "Left out, since they cannot be read: 1 of 21 pictures (script.png (no picture that Pillow knows)).",
        "Left out, since they do not end as pictures do that Pillow reads: 1 file (.eps: 1).",
    )


@pytest.mark.parametrize("limit", [1100, 2100])
def test_pictures_that_pillow_takes_for_an_attack_are_named(tmp_path, monkeypatch, limit):
    """Over its limit it warns, over twice the limit it raises."""
    fill(tmp_path)
    Image.fromarray(noise(1, 32, 70, stream=14)[0]).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    read = pictures(tmp_path)
    assert len(all_of(read)) == 20
    assert read.notes == ("Left out, since Pillow refuses pictures as large as they are: 1 of 21 pictures (bomb.png).",)


def test_what_one_may_not_read_is_named(tmp_path, monkeypatch):
    """The operating system's answer is ours here, since root may read everything."""
    fill(tmp_path)
    fill(tmp_path / "shut", n=2, stream=1)
    scandir, image_open = os.scandir, Image.open

    def refuse(path, real, **options):
        if str(path).endswith(("shut", "000.png")):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "scandir", lambda path: refuse(path, scandir))
    monkeypatch.setattr(Image, "open", lambda path, **options: refuse(path, image_open, **options))
    read = pictures(tmp_path)
    assert len(all_of(read)) == 19 and read.notes == (
        "Left out, since they cannot be read: 1 of 20 pictures (000.png (you may not read it)).",
        "Left out, since you may not look into them: 1 folder (shut).",
    )


def test_numbers_of_unknown_range_are_no_pictures(tmp_path):
    fill(tmp_path)
    Image.fromarray(noise(1, channels=0)[0].astype(np.float32)).save(tmp_path / "float.tif")
    (note,) = pictures(tmp_path).notes
    assert "1 of 21 pictures (float.tif (its numbers are not those of 8 or 16 bits))." in note


def test_other_files_are_counted_and_hidden_ones_passed_over(tmp_path):
    fill(tmp_path)
    for name in ("notes.txt", "more.TXT", "README", "phone.heic"):
        (tmp_path / name).write_text("x")
    for name in (".DS_Store", "._000.png", ".hidden/a.png", "__MACOSX/._000.png", "__MACOSX/b.png", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    words = (
        "Left out, since they do not end as pictures do that Pillow reads: 4 files (.txt: 2, no ending: 1, .heic: 1)."
    )
    assert pictures(tmp_path).notes == (words,)


def test_endings_may_be_in_capitals_and_wrong(tmp_path):
    stored = fill(tmp_path)
    (tmp_path / "000.png").rename(tmp_path / "000.PNG")
    (tmp_path / "001.png").rename(tmp_path / "001.JpG")
    read = pictures(tmp_path)
    assert shows(read, stored[0]) == shows(read, stored[1]) == 1 and read.notes == ()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other links, and no pipes of this kind")
def test_links_are_followed_but_not_round_and_pipes_are_not_waited_for(tmp_path):
    stored = fill(tmp_path / "real")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "inner").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "round").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "single.png").symlink_to(tmp_path / "elsewhere.png")
    Image.fromarray(noise(1, stream=15)[0]).save(tmp_path / "elsewhere.png")
    (tmp_path / "set" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "set" / "pipe.png")
    read = pictures(tmp_path / "set")
    assert len(all_of(read)) == 21 and shows(read, stored[3]) == shows(read, noise(1, stream=15)[0]) == 1
    assert "2 of 23 pictures (lost.png (a broken link), pipe.png (not a file))." in read.notes[0]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their file systems have no such names")
def test_names_are_printed_safely(tmp_path):
    fill(tmp_path)
    for place, names in enumerate([(b"a\x1b[31m\n.png", b"b\xff.png"), ("\u202egnp".encode(), b"c" * 200 + b".png")]):
        (tmp_path / str(place)).mkdir()
        for name in names:
            with open(os.fsencode(tmp_path) + b"/%d/" % place + name, "wb"):
                pass
    left, ending = pictures(tmp_path).notes
    assert left.isprintable() and left.encode() and r"0/a\x1b[31m\n.png" in left and r"0/b\udcff.png" in left
    assert f"...{'c' * 53}.png (it is empty)" in left and "no ending: 1" in ending
    os.rename(os.fsencode(tmp_path) + b"/0", os.fsencode(tmp_path) + b"/\xff\n")
    fill(tmp_path / os.fsdecode(b"\xff\n"), n=2, stream=1)
    fill(tmp_path / "1", n=16, stream=2)
    assert pictures(tmp_path).names == ("1", r"\udcff\n")


# --- copies and the split --------------------------------------------------------------------------------------------


def test_copies_are_left_out_however_they_are_stored(tmp_path):
    stored = fill(tmp_path)
    comment = PngInfo()
    comment.add_text("comment", "other bytes")
    Image.fromarray(stored[0]).save(tmp_path / "x.png", pnginfo=comment, compress_level=0)
    Image.fromarray(stored[0]).save(tmp_path / "y.bmp")
    Image.fromarray(stored[1]).resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "z.webp", lossless=True)
    read = pictures(tmp_path)
    assert shows(read, stored[0]) == 1 and len(all_of(read)) == 21  # twice the size is another picture to Lanczos
    words = "Left out, since they are copies of others at this size: 2 of 23 pictures"
    assert read.notes == (f"{words} (x.png of 000.png, y.bmp of 000.png).",)


def test_what_is_one_picture_at_the_size_is_a_copy(tmp_path):
    """Plain squares stay plain at every size."""
    fill(tmp_path)
    for side in (8, 32, 50, 100):
        Image.new("RGB", (side, side), (200, 30, 4)).save(tmp_path / f"plain {side}.png")
    read = pictures(tmp_path)
    assert shows(read, np.full((32, 32, 3), (200, 30, 4), np.uint8)) == 1 and len(all_of(read)) == 21
    assert any("copies of others at this size: 3 of 24 pictures" in note for note in read.notes)


def test_a_copy_under_another_label_is_said_to_be_one(tmp_path):
    stored = fill(tmp_path / "cat", n=12)
    fill(tmp_path / "dog", n=12, stream=1)
    Image.fromarray(stored[0]).save(tmp_path / "dog" / "same.png")
    read = pictures(tmp_path)
    words = "Left out, since they are copies of pictures that lie under another label: 1 of 25 pictures"
    assert read.notes == (f"{words} (dog/same.png of cat/000.png).",)


def test_the_parts_share_nothing_and_are_a_tenth_and_the_rest(tmp_path):
    """400 hashes: the share lies within 7 standard deviations of a tenth (the pictures never change)."""
    fill(tmp_path, n=400, height=8, width=8)
    read = pictures(tmp_path, size=8)
    assert not seen(read.train) & seen(read.test) and len(seen(read.train) | seen(read.test)) == 400
    assert abs(len(read.test.x) - 40) < 7 * 6


def test_neither_order_nor_names_nor_more_pictures_move_a_picture(tmp_path):
    stored = fill(tmp_path / "one", n=300, height=8, width=8)
    before = pictures(tmp_path / "one", size=8)
    (tmp_path / "two" / "deeper").mkdir(parents=True)
    for place, pixels in enumerate(stored[::-1]):
        Image.fromarray(pixels).save(tmp_path / "two" / "deeper" / f"{place * 7919 % 300} renamed.bmp")
    renamed = pictures(tmp_path / "two", size=8)
    assert seen(renamed.train) == seen(before.train) and seen(renamed.test) == seen(before.test)
    fill(tmp_path / "two", n=200, height=8, width=8, stream=1)
    more = pictures(tmp_path / "two", size=8)
    assert seen(more.train) > seen(before.train) and seen(more.test) > seen(before.test)


def test_which_copy_is_kept_follows_no_name(tmp_path):
    """Two files of other content show the same at this size: the split must not depend on which comes first."""
    colours = noise(100, 1, 1, stream=3)[:, 0, 0]
    for turn in (0, 1):
        (tmp_path / str(turn)).mkdir()
        for place, colour in enumerate(colours):
            for side in (8, 12):
                first = (side == 8) == (turn == 0)
                Image.new("RGB", (side, side), tuple(map(int, colour))).save(
                    tmp_path / str(turn) / f"{'ab'[not first]}{place}.png"
                )
    one, two = (pictures(tmp_path / str(turn), size=8) for turn in (0, 1))
    assert len(all_of(one)) == 100 and seen(one.test) == seen(two.test) and seen(one.train) == seen(two.train)


def test_neither_the_size_nor_grey_moves_a_picture(tmp_path):
    """So that a model of small pictures and one that enlarges them test on the same ones."""
    fill(tmp_path, n=100, height=16, width=16)
    small, large = pictures(tmp_path, size=8, grey=True), pictures(tmp_path, size=16)
    expected = set()
    for x in large.test.x:
        image = Image.fromarray(((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
        shrunk = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.LANCZOS))
        expected.add(to_images(shrunk[None], None, 255).x[0].numpy().tobytes())
    assert seen(small.test) == expected


def test_reading_twice_gives_the_same(tmp_path):
    fill(tmp_path)
    one, two = pictures(tmp_path), pictures(tmp_path)
    assert torch.equal(one.train.x, two.train.x) and torch.equal(one.test.x, two.test.x)


@pytest.mark.parametrize("stream", range(5))
@pytest.mark.parametrize("n", [18, 19, 25])
def test_small_sets_have_enough_in_both_parts(tmp_path, n, stream):
    fill(tmp_path, n=n, height=8, width=8, stream=stream)
    read = pictures(tmp_path, size=8)
    assert len(read.test.x) >= 2 and len(read.train.x) >= 16 and len(all_of(read)) == n


# --- labels ----------------------------------------------------------------------------------------------------------


def test_subfolders_are_labels(tmp_path):
    stored = {
        name: fill(tmp_path / name, n=15, stream=place) for place, name in enumerate(["dog", "ant", "cat/kitten"])
    }
    fill(tmp_path / "cat", n=2, stream=9)
    read = pictures(tmp_path)
    assert read.names == ("ant", "cat", "dog") and read.notes == ()
    for part in (read.train, read.test):
        assert part.y.dtype == torch.int64 and len(part.y) == len(part.x)
        for x, y in zip(part.x, part.y, strict=True):
            pixels = ((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            truth = [name for name, all_pixels in stored.items() if (all_pixels == pixels).all((1, 2, 3)).any()] or [
                "cat"
            ]
            assert read.names[y] == truth[0].split("/")[0]


@pytest.mark.parametrize("stream", range(5))
def test_every_label_can_be_learned(tmp_path, stream):
    """Ten labels of two pictures, of which by the hash alone both would often be for testing; and some of one."""
    for label in range(10):
        fill(tmp_path / str(label), n=2, height=8, width=8, stream=1000 + 100 * stream + label)
    for label in range(10, 14):
        fill(tmp_path / str(label), n=1, height=8, width=8, stream=100 * stream + label)
    read = pictures(tmp_path, size=8)
    assert set(read.train.y.tolist()) == set(range(14)) and len(read.test.x) >= 2


def test_where_every_label_has_one_picture_two_are_still_tested(tmp_path):
    for label in range(20):
        fill(tmp_path / f"{label:02}", n=1, height=8, width=8, stream=label)
    read = pictures(tmp_path, size=8)
    assert len(read.names) == 20 and len(read.test.x) == 2


def test_pictures_beside_the_labels_are_left_out(tmp_path):
    for place, name in enumerate(["a", "b"]):
        fill(tmp_path / name, n=10, stream=place)
    fill(tmp_path, n=2, stream=7)
    read = pictures(tmp_path)
    assert read.names == ("a", "b") and len(all_of(read)) == 20
    words = "Left out, since they lie beside the subfolders, whose names are the labels, and so have none"
    assert read.notes == (f"{words}: 2 of 22 pictures (000.png, 001.png).",)


def test_one_subfolder_makes_no_labels(tmp_path):
    fill(tmp_path / "inner", n=18)
    fill(tmp_path, n=3, stream=1)
    (tmp_path / "empty").mkdir()
    read = pictures(tmp_path)
    assert read.names == () and read.train.y is None and len(all_of(read)) == 21
    assert read.notes == ("There are no labels, since pictures of only one subfolder are used (inner).",)


def test_a_label_that_loses_all_its_pictures_is_none(tmp_path):
    stored = fill(tmp_path / "a", n=10)
    fill(tmp_path / "b", n=10, stream=1)
    for name, content in (("c", b""), ("d", None)):
        (tmp_path / name).mkdir()
        if content is None:
            Image.fromarray(stored[0]).save(tmp_path / name / "copy.png")
        else:
            (tmp_path / name / "empty.png").write_bytes(content)
    read = pictures(tmp_path)
    assert read.names == ("a", "b")
    assert read.notes[-1] == "No label, since none of their pictures is used: 2 subfolders (c, d)."


def test_parts_that_were_taken_for_labels_are_named(tmp_path):
    for place, name in enumerate(["Train", "test"]):
        fill(tmp_path / name, n=10, stream=place)
    assert pictures(tmp_path).notes == (
        "The subfolders Train and test are taken for labels. If they are parts of one set, name one of them.",
    )


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -4, 4, 32.0, "32", True, None])
def test_a_size_that_is_no_whole_number_is_refused(tmp_path, size):
    with pytest.raises(ValueError, match=f"size must be a whole number >= 8, but is {size!r}"):
        pictures(tmp_path, size=size)


@pytest.mark.parametrize(("size", "near"), [(30, "28 or 32"), (33, "32 or 36")])
def test_a_size_that_the_network_cannot_halve_is_refused(tmp_path, size, near):
    with pytest.raises(ValueError, match=f"size must be a multiple of 4, .* but is {size}: take {near}"):
        pictures(tmp_path, size=size)


def test_the_network_takes_every_multiple(tmp_path):
    """The digit network's patch and levels, at a size that is no multiple of 8."""
    fill(tmp_path, n=18)
    x = pictures(tmp_path, size=np.int64(12)).test.x[:1]
    with torch.random.fork_rng():  # the first weights are drawn from PyTorch's own state
        net = UNet(3, widths=(16, 16))
    assert net(x, torch.zeros(1)).shape == x.shape


@pytest.mark.parametrize("grey", [None, "no", 1])
def test_grey_is_yes_or_no(tmp_path, grey):
    with pytest.raises(TypeError, match=f"grey must be True or False, but is {grey!r}"):
        pictures(tmp_path, grey=grey)


def test_what_is_no_folder_is_named(tmp_path):
    words = "folder must be a folder of pictures, but {} {}. What to do: check the path"
    (tmp_path / "file").touch()
    for name, given in (("nowhere", "does not exist"), ("file", "is a file")):
        with pytest.raises(PicturesUnfit) as error:
            pictures(tmp_path / name)
        assert str(error.value) == words.format(tmp_path / name, given)
    assert issubclass(PicturesUnfit, ValueError)


@pytest.mark.parametrize(("folder", "error"), [(None, TypeError), (5, TypeError), (b"x", TypeError), ("", ValueError)])
def test_what_is_no_path_is_refused(folder, error):
    with pytest.raises(error, match="folder must be the path of a folder, but is"):
        pictures(folder)


def test_the_home_may_be_written_in_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    fill(tmp_path / "photos")
    assert len(all_of(pictures("~/photos"))) == 20


def test_too_few_pictures_are_counted_and_explained(tmp_path):
    stored = fill(tmp_path, n=17)
    Image.fromarray(stored[0]).save(tmp_path / "copy.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(PicturesUnfit) as error:
        pictures(tmp_path)
    assert str(error.value) == (
        "folder must hold at least 18 different pictures, 16 to train on and 2 to test on, but 17 of the 19 in "
        f"{tmp_path} can be used. Left out, since they cannot be read: 1 of 19 pictures (empty.png (it is empty)). "
        "Left out, since they are copies of others at this size: 1 of 19 pictures (copy.png of 000.png). What to do: "
        "add pictures, or name another folder"
    )


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(PicturesUnfit, match=f"but {re.escape(str(tmp_path))} holds none. Left out, .*txt: 1"):
        pictures(tmp_path)


# --- the package -----------------------------------------------------------------------------------------------------


def test_data_loads_neither_pillow_nor_plots():
    code = "import sys, minidiff.data; print([m for m in ('PIL', 'matplotlib', 'sklearn') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "[]"


def test_long_reading_shows_a_bar(tmp_path, monkeypatch, capsys):
    asked = {}

    def bar(files, **options):
        asked.update(options)
        return tqdm(files, **options | {"delay": 0})

    fill(tmp_path)
    # not by its name in the package, which is that of the function
    monkeypatch.setattr(sys.modules["minidiff.data.pictures"], "tqdm", bar)
    pictures(tmp_path)
    assert asked["delay"] == 3 and "reading pictures: 100%" in capsys.readouterr().err
