"""The world of captions: grammar, tokens and pictures, against counting by hand and measures of the pictures."""

import itertools

import pytest
import torch
from torch.nn import functional

from minidiff.data import captions, mnist
from minidiff.data.captions import (
    EMPTY,
    LENGTH,
    NAMES,
    ONE,
    PAD,
    PAIR,
    SLOT,
    START,
    TWO,
    WORDS,
    NoCaption,
    captions_of,
    draw_scenes,
    glyphs,
    held_out,
    ink_moments,
    null_caption,
    parse,
    place_digits,
    scenes_of,
    stroke_width,
    tokenise,
)


@pytest.fixture(scope="module")
def pool():
    return glyphs("test", 60)


@pytest.fixture
def scenes(make_generator):
    return draw_scenes(4000, make_generator(0))


def strokes(width, shear=0.0, side=28):
    """A bar of a given width that leans as it is told, drawn at four times the size: (1, 1, side, side)."""
    fine = 4
    rows, columns = torch.meshgrid(torch.arange(fine * side), torch.arange(fine * side), indexing="ij")
    middle = (fine * side - 1) / 2
    across = (columns - middle + shear * (rows - middle)).abs() / fine
    along = (rows - middle).abs() / fine
    ink = ((across < width / 2) & (along < 9)).float()[None, None]
    return 2 * functional.avg_pool2d(ink, fine) - 1


# --- grammar ---------------------------------------------------------------------------------------------------------


def test_the_course_s_own_sentences_are_read():
    scene = parse("a thin three left of a slanted seven")
    assert scene.kind.tolist() == [PAIR] and scene.digit.tolist() == [[3, 7]] and scene.turned.tolist() == [False]
    assert scene.says_thick.tolist() == [[True, False]] and scene.thick.tolist() == [[False, False]]
    assert scene.says_slant.tolist() == [[False, True]] and scene.slanted.tolist() == [[False, True]]
    scene = parse("Two slanted sevens.")
    assert scene.kind.tolist() == [TWO] and scene.digit.tolist() == [[7, 7]] and scene.slanted.tolist() == [[True] * 2]
    assert parse("an eight").kind.tolist() == [ONE]


def test_right_of_is_the_same_scene_told_from_the_other_side():
    one, other = parse("thin three left of seven"), parse("seven right of a thin three")
    assert all(torch.equal(a, b) for a, b in zip(one[:-1], other[:-1], strict=True))
    assert (bool(one.turned), bool(other.turned)) == (False, True)


def test_every_caption_is_read_as_the_scene_that_it_was_written_for(scenes):
    told = captions_of(scenes)
    again = scenes_of(told)
    assert captions_of(again) == told
    for name in ("kind", "turned", "says_thick"):
        counts = scenes.kind != ONE if name == "says_thick" else slice(None)
        assert torch.equal(getattr(again, name)[counts], getattr(scenes, name)[counts])
    pairs = scenes.kind != ONE
    assert torch.equal(again.digit[pairs], scenes.digit[pairs])
    assert torch.equal(again.digit[:, 0], scenes.digit[:, 0])


def test_all_captions_are_there_and_no_two_have_the_same_tokens():
    """Counted by hand: 90 noun phrases; 90 single ones, 90 of two alike, 2 x 90 x 90 pairs."""
    nouns = [" ".join(filter(None, (a, b, name))) for a in ("", "thin", "thick") for b in ("", "upright", "slanted")
             for name in NAMES]  # fmt: skip
    plurals = [" ".join(["two", *noun.split()[:-1], captions.PLURALS[NAMES.index(noun.split()[-1])]]) for noun in nouns]
    pairs = [f"{a} {side} of {b}" for side in ("left", "right") for a, b in itertools.product(nouns[::7], nouns[::5])]
    told = nouns + plurals + pairs
    assert [captions_of(parse(line))[0] for line in told] == told
    assert len(tokenise(told).unique(dim=0)) == len(told)


def test_shares_of_kinds_and_of_what_is_said(scenes):
    """Six standard errors of 4,000 coins are 0.05."""
    assert abs(float((scenes.kind == PAIR).float().mean()) - 0.5) < 0.05
    assert abs(float((scenes.kind == TWO).float().mean()) - 0.25) < 0.05
    assert abs(float(scenes.says_thick.float().mean()) - 0.5) < 0.05
    two = scenes.rows(scenes.kind == TWO)
    assert torch.equal(two.digit[:, 0], two.digit[:, 1])
    assert torch.equal(two.thick[two.says_thick[:, 0], 0], two.thick[two.says_thick[:, 0], 1])
    assert bool((two.thick[~two.says_thick[:, 0], 0] != two.thick[~two.says_thick[:, 0], 1]).any())


def test_what_is_held_out_is_never_drawn(make_generator):
    def shows(scene, text):
        return held_out(scenes_of([text]))[0].item()

    assert shows(None, "two slanted sevens") and shows(None, "three left of nine") and shows(None, "thin eight")
    assert shows(None, "nine right of three") and shows(None, "slanted seven left of slanted seven")
    assert shows(None, "two left of a thin eight")
    for text in ("two upright sevens", "nine left of three", "thick eight", "a thin three left of a slanted seven"):
        assert not shows(None, text)
    drawn = draw_scenes(3000, make_generator(1), without=held_out)
    assert not bool(held_out(drawn).any()) and bool(held_out(draw_scenes(3000, make_generator(1))).any())


def test_a_smaller_world_has_its_digits_only(make_generator):
    scenes = draw_scenes(500, make_generator(0), digits=(1, 7), turned=False)
    assert set(scenes.digit.flatten().tolist()) == {1, 7} and not bool(scenes.turned.any())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("two slanted seven", "'slanted seven' must be a digit such as 'sevens'"),
        ("seven left", "after 'left' comes 'of'"),
        ("slanted thin seven", "after at most one of thin and thick and then one of upright and slanted"),
        ("two fin sevens", "the word 'fin' is not known; the nearest one is 'thin'"),
        ("two slanted sevns", "the nearest one is 'sevens'"),
        ("<start> seven", "the word '<start>' is not known"),
        ("one left of two left of three", "must be a digit"),
        ("  a ", "says nothing"),
        ("of", "must be a digit"),
    ],
)
def test_a_line_that_is_no_caption_is_refused_with_what_was_expected(line, words):
    with pytest.raises(NoCaption, match=words.replace("(", r"\(")):
        parse(line)


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_tokens_are_the_words_without_articles():
    tokens = tokenise("a thin three left of a slanted seven")
    words = [WORDS[token] for token in tokens[0]]
    assert words == ["<start>", "thin", "three", "left", "of", "slanted", "seven", "<pad>", "<pad>"]
    assert tokens.shape == (1, LENGTH) and tokens.dtype == torch.int64
    assert torch.equal(tokenise("an eight"), tokenise("a eight"))  # "an" would betray the vowel
    longer = tokenise(["seven", "two twos"], 12)
    assert longer.shape == (2, 12) and torch.equal(longer[:, :LENGTH], tokenise(["seven", "two twos"]))


def test_the_longest_caption_fits_and_a_longer_line_is_refused():
    line = "a thin upright three right of a thick slanted seven"
    assert bool((tokenise(line) != PAD).all())
    with pytest.raises(NoCaption, match="at most 8 words"):
        tokenise(line + " seven")


def test_a_caption_that_says_nothing_keeps_its_start():
    y = null_caption(3, 5)
    assert y.tolist() == [[START, PAD, PAD, PAD, PAD]] * 3


# --- measures and pictures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2.0, 3.0, 4.0])
def test_the_stroke_width_is_that_of_a_bar(width):
    """Twice the area over the perimeter of a bar of 18 by w is 18 w / (18 + w). (Rounded corners cost 7 %.)"""
    assert float(stroke_width(strokes(width))) == pytest.approx(18 * width / (18 + width), rel=0.12)


@pytest.mark.parametrize("shear", [-0.3, 0.0, 0.5])
def test_the_shear_is_that_of_a_bar(shear):
    x, y, found = ink_moments(strokes(3.0, shear))
    assert (float(x), float(y)) == (pytest.approx(13.5, abs=0.01), pytest.approx(13.5, abs=0.01))
    assert float(found) == pytest.approx(shear, abs=0.02)
    moved = torch.roll(strokes(3.0, shear), (2, -1), dims=(2, 3))
    assert float(ink_moments(moved)[2]) == pytest.approx(float(found), abs=1e-4)


def test_glyphs_lean_and_are_thick_as_they_should(pool):
    assert pool.x.shape == (2, 2, 10, 60, 1, SLOT, SLOT) and pool.n == 60
    assert float(pool.x.min()) >= -1 and float(pool.x.max()) <= 1
    shear = ink_moments(pool.x.flatten(0, 3))[2].unflatten(0, pool.x.shape[:4])
    width = stroke_width(pool.x.flatten(0, 3)).unflatten(0, pool.x.shape[:4])
    assert float(shear[0].mean()) == pytest.approx(0, abs=0.03) and float(shear[1].mean()) == pytest.approx(
        0.5, abs=0.03
    )
    assert float(shear[0].std()) < 0.08
    assert float((width[:, 0] < 2.32).float().mean()) > 0.93 and float((width[:, 1] > 2.32).float().mean()) > 0.9


def test_a_picture_shows_its_scene(pool, make_generator):
    scenes = scenes_of(["seven", "three left of nine", "nine right of three", "two thick ones"], make_generator(0))
    scenes = scenes._replace(on_right=torch.tensor([True, False, False, False]))
    pictures = place_digits(scenes, pool, make_generator(1))
    assert pictures.shape == (4, 1, SLOT, 2 * SLOT)
    assert bool((pictures[0, :, :, :SLOT] == -1).all()) and not bool((pictures[0, :, :, SLOT:] == -1).all())

    def is_one_of(slot, digit):
        return bool((pool.x[:, :, digit].flatten(0, 2) == slot).flatten(1).all(dim=1).any())

    for row, left, right in ((1, 3, 9), (2, 3, 9), (3, 1, 1)):
        assert is_one_of(pictures[row, :, :, :SLOT], left) and is_one_of(pictures[row, :, :, SLOT:], right)
    assert is_one_of(pictures[0, :, :, SLOT:], 7)
    assert torch.equal(place_digits(scenes, pool, make_generator(1)), pictures)


def test_placing_leaves_the_pool_alone(pool, make_generator):
    before = pool.x.clone()
    place_digits(draw_scenes(50, make_generator(0)), pool, make_generator(1))
    assert torch.equal(pool.x, before)


def test_the_two_data_sets(monkeypatch):
    few = mnist("test")
    monkeypatch.setattr(captions, "mnist", lambda split: few)
    monkeypatch.setattr(captions, "PER_DIGIT", {"train": 20, "test": 20})
    monkeypatch.setattr(captions, "PICTURES", {"train": 50, "test": 40})
    x, y = captions.captioned_digits("train")
    assert x.shape == (50, 1, SLOT, 2 * SLOT) and y.shape == (50, LENGTH) and bool((y[:, 0] == START).all())
    assert not torch.equal(captions.captioned_digits("test").y, y[:40])
    x, y = captions.slot_digits("train")
    assert len(x) == 880 and torch.equal(y.bincount(), torch.full((11,), 80))
    assert float((x[y == EMPTY] + 1).std()) == pytest.approx(0.05, rel=0.02)


def test_more_digits_than_there_are_is_refused():
    with pytest.raises(ValueError, match="per_digit must be at most"):
        glyphs("test", 600)
