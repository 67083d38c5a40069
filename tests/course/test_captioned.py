"""Models that a caption steers: against exact means, exchanged words, padding, and pictures whose scene is known."""

import itertools

import pytest
import torch
from torch import nn

from minidiff import captioned, exact
from minidiff.captioned import (
    PATH,
    PLANE_WORDS,
    attention_maps,
    bag_reading,
    caption_objective,
    exchanged,
    look,
    noisier_times,
    obeyed,
    plane,
    plane_batches,
    plane_captions,
    plane_denoiser,
    possible,
    sample_captions,
    without_some_captions,
)
from minidiff.data.captions import (
    EMPTY,
    LENGTH,
    ONE,
    PAIR,
    WORDS,
    captions_of,
    draw_scenes,
    null_caption,
    scenes_of,
    tokenise,
)
from minidiff.exact import GaussianMixture
from minidiff.networks import CaptionMLP, CaptionUNet, TextEncoder, attention_weights, build, initialised
from minidiff.samplers import ddim
from minidiff.schedules import cosine
from minidiff.training import Batch, denoising_loss, spread_times
from tests.cases import assert_close


def shaken(net):
    """A network all of whose weights count: a layer that starts at 0 hides what is behind it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for value in net.parameters():
            if not bool(value.any()):
                nn.init.normal_(value, std=0.3)
    return net.eval().requires_grad_(False)


def small_unet(make_generator, **options):
    return shaken(initialised(lambda: CaptionUNet(len(WORDS), (16, 32), words=32, **options), make_generator(3)))


@pytest.fixture
def told(make_generator):
    """Eight captions, and noise of their pictures' shape."""
    scenes = draw_scenes(8, make_generator(0))
    return tokenise(captions_of(scenes)), torch.randn(8, 1, 16, 32, generator=make_generator(1))


# --- the plane -------------------------------------------------------------------------------------------------------


def test_the_plane_has_a_component_for_each_pair_of_words():
    mixture = plane()
    for row, (a, b) in enumerate(itertools.product(range(3), repeat=2)):
        assert mixture.means[row].tolist() == pytest.approx([1.2 * (a - 1), 1.2 * (b - 1)])
        correlation = float(mixture.covariances[row][0, 1] / mixture.covariances[row][0, 0])
        assert correlation == pytest.approx(0.7 if (a + b) % 2 else -0.7)
        caption = plane_captions(torch.tensor([row]), torch.tensor([2]))[0]
        assert [PLANE_WORDS[token] for token in caption] == ["<start>", PLANE_WORDS[2 + a], PLANE_WORDS[2 + b]]
        assert possible(caption) == [row]
        assert possible(caption, order=False) == sorted({row, 3 * b + a})


def test_a_short_caption_leaves_more_possible():
    y = plane_captions(torch.tensor([5, 5, 5]), torch.tensor([0, 1, 2]), 6)
    assert y.shape == (3, 6) and [possible(row) for row in y] == [list(range(9)), [3, 4, 5], [5]]
    assert possible(y[1], order=False) == [3, 4, 5]


def test_plane_batches_tell_what_they_show():
    x0, y = next(plane_batches(6000, 1, 0))
    said = (y > 1).sum(dim=1)
    assert [abs(float((said == n).float().mean()) - share) < 0.03 for n, share in ((0, 1 / 6), (1, 1 / 6), (2, 2 / 3))]
    full = y[said == 2]
    component = 3 * (full[:, 1] - 2) + full[:, 2] - 2
    assert float((x0[said == 2] - plane().means[component]).norm(dim=1).max()) < 1.3  # 0.25 is one standard deviation


@pytest.mark.parametrize("order", [True, False])
def test_the_exact_denoiser_of_a_caption_is_bayes_rule(order, make_generator):
    """By hand: the posterior mean of each component, weighted with its density at x_t."""
    x_t, t = torch.randn(12, 2, generator=make_generator(0)), torch.tensor(0.6)
    y = plane_captions(torch.arange(12) % 9, torch.arange(12) % 3)
    found = plane_denoiser(PATH, y, order=order)(x_t, t)
    mixture = plane()
    singles = [
        GaussianMixture(torch.ones(1), mixture.means[k : k + 1], mixture.covariances[k : k + 1]) for k in range(9)
    ]
    means = torch.stack([exact.posterior_mean(single, PATH, x_t, t) for single in singles])  # (9, 12, 2)
    log_p = torch.stack([exact.log_prob(single, PATH, x_t, t) for single in singles])  # (9, 12)
    for i in range(12):
        rows = possible(y[i], order=order)
        weights = torch.softmax(log_p[rows, i], dim=0)
        assert_close(found[i], weights @ means[rows, i], 2e-5)


def test_times_may_differ_from_point_to_point(make_generator):
    x_t, y = torch.randn(9, 2, generator=make_generator(0)), plane_captions(torch.arange(9), torch.full((9,), 2))
    t = torch.linspace(0.1, 0.9, 9)
    together = plane_denoiser(PATH, y)(x_t, t)
    alone = torch.cat([plane_denoiser(PATH, y[i : i + 1])(x_t[i : i + 1], t[i]) for i in range(9)])
    assert_close(together, alone, 1e-5)


# --- what is dropped, and when ---------------------------------------------------------------------------------------


def test_captions_are_dropped_whole(make_generator):
    y = tokenise(["a thin three left of a slanted seven"] * 4000)
    found = without_some_captions(y, 0.1, make_generator(0))
    lost = (found != y).any(dim=1)
    assert torch.equal(found[lost], null_caption(int(lost.sum()))) and torch.equal(found[~lost], y[~lost])
    assert abs(float(lost.float().mean()) - 0.1) < 0.03  # six standard errors
    assert torch.equal(without_some_captions(y, 0.0, make_generator(0)), y)


def test_noisier_times_have_the_right_distribution(make_generator):
    """t = u^p has the cumulative distribution t^(1/p)."""
    t = noisier_times(0.6)(5000, PATH, make_generator(0)).sort().values
    assert float((t ** (1 / 0.6) - torch.arange(1, 5001) / 5000).abs().max()) < 1e-3
    assert torch.equal(noisier_times(1.0)(9, PATH, make_generator(0)), spread_times(9, PATH, make_generator(0)))


def test_the_objective_is_the_plain_loss_of_what_was_drawn(told, make_generator):
    y, x0 = told
    net = small_unet(make_generator)
    objective = caption_objective(PATH, "x0", weight=lambda path, t: 3 * t, dropout=0.5, power=0.6)
    draws = objective.draw(Batch(x0, y), make_generator(5))
    plain = denoising_loss(net, PATH, x0, draws.t, draws.eps, kind="x0", y=draws.y)
    assert_close(objective(net, Batch(x0, y), make_generator(5)), 3 * draws.t * plain, 1e-6)
    assert {tuple(row.tolist()) for row in draws.y} <= {tuple(row.tolist()) for row in torch.cat([y, null_caption(1)])}


# --- networks that read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: CaptionMLP(len(WORDS)), lambda: TextEncoder(len(WORDS), 32)])
def test_padding_changes_nothing(make, told, make_generator):
    net, (y, _) = shaken(initialised(make, make_generator(0))), told
    longer = torch.cat([y, torch.zeros(8, 5, dtype=torch.int64)], dim=1)
    if isinstance(net, TextEncoder):
        (short, mask), (long, longer_mask) = net(y), net(longer)
        assert_close(long[:, :LENGTH][mask], short[mask], 1e-5)
        assert torch.equal(longer_mask, longer != 0)
    else:
        x = torch.randn(8, 2, generator=make_generator(1))
        assert_close(net(x, torch.zeros(8), longer), net(x, torch.zeros(8), y), 1e-5)


def test_without_the_mask_padding_leaks(told, make_generator):
    y, x = told
    net, longer = small_unet(make_generator), torch.cat([y, torch.zeros(8, 5, dtype=torch.int64)], dim=1)
    right = net(x, torch.zeros(8), y)
    assert_close(net(x, torch.zeros(8), longer), right, 1e-4)
    net.encoder.masked = False
    leaks = [net(x, torch.zeros(8), tokens) for tokens in (y, longer)]
    assert float((leaks[0] - leaks[1]).abs().max()) > 1e-2 * float(right.std())


@pytest.mark.parametrize("order", [True, False])
def test_a_bag_cannot_bind_whatever_its_weights(order, make_generator):
    """All orders of a caption's words look the same to an encoder without positions, and only to it."""
    net = small_unet(make_generator, order=order)
    words = tokenise("thin three left of slanted seven")[0, 1:7]
    y = torch.stack([torch.cat([torch.tensor([1]), words[list(p)], torch.zeros(2, dtype=torch.int64)])
                     for p in list(itertools.permutations(range(6)))[::103]])  # fmt: skip
    x = torch.randn(1, 1, 16, 32, generator=make_generator(0)).expand(len(y), -1, -1, -1)
    out = net(x, torch.zeros(len(y)), y)
    spread = float((out - out[:1]).abs().max() / out.std())
    assert spread < 1e-4 if not order else spread > 1e-2


def test_the_words_are_read_on_every_level(told, make_generator):
    """Without positions in the picture, an empty picture cannot tell left from right: with them it can."""
    y, _ = told
    net = small_unet(make_generator)
    out = net(torch.zeros(8, 1, 16, 32), torch.zeros(8), y)
    assert float((out[..., :16] - out[..., 16:]).abs().max()) > 1e-2 * float(out.std())
    for read in net.reading:
        read.attention.out.weight.zero_(), read.attention.out.bias.zero_()
    silent = net(torch.zeros(8, 1, 16, 32), torch.zeros(8), y)
    assert_close(silent, silent[:1].expand(8, -1, -1, -1), 1e-6)


def test_a_caption_network_is_built_from_a_card_and_refuses_what_it_cannot_read(told, make_generator):
    card = {"network": "CaptionUNet", "vocabulary": 29, "widths": [16, 32], "side": [16, 32], "words": 32}
    net = initialised(lambda: build(card), make_generator(0))
    y, x = told
    assert torch.equal(net(x, torch.zeros(8), y), torch.zeros_like(x))  # it starts at 0
    with pytest.raises(ValueError, match=r"tokens must be an int64 tensor of shape \(B, L\)"):
        net(x, torch.zeros(8), y[:, 0])
    with pytest.raises(ValueError, match="tokens must be at most 16 a caption"):
        net(x, torch.zeros(8), null_caption(8, 17))
    with pytest.raises(ValueError, match="side must be two multiples of 4"):
        initialised(lambda: CaptionUNet(29, side=(16, 30)), make_generator(0))


# --- drawing ---------------------------------------------------------------------------------------------------------


def test_guidance_at_1_is_plain_and_at_0_forgets_the_caption(told, make_generator):
    y, _ = told
    net = small_unet(make_generator)
    how = {"steps": 3, "seed": 2, "sampler": ddim}
    plain = sample_captions(net, y, **how)
    assert plain.shape == (8, 1, 16, 32)
    forgets = sample_captions(net, y, w=0.0, **how)
    assert_close(forgets, sample_captions(net, null_caption(8), **how), 1e-4)
    assert float((plain - forgets).abs().max()) > 1e-2


def test_attention_maps_are_the_weights_that_the_network_uses(told, make_generator):
    y, x = told
    net = small_unet(make_generator)
    fine, coarse = attention_maps(net, x, torch.tensor(0.5), y)
    assert fine.shape == (8, 8, 16, LENGTH) and coarse.shape == (8, 4, 8, LENGTH)
    for maps in (fine, coarse):
        assert_close(maps.sum(dim=-1), torch.ones(maps.shape[:-1]), 1e-5)
        assert not bool(maps[(y == 0)[:, None, None].expand_as(maps)].any())
    assert not net.reading[0]._forward_hooks  # nothing is left behind
    read, seen = net.reading[1], []
    hook = read.register_forward_hook(lambda module, given, out: seen.append(given))
    attention_maps(net, x, torch.tensor(0.5), y)
    hook.remove()
    h, words, mask = seen[0]
    q, k = read.attention.query(read.queries(h)), read.attention.key_value(words).chunk(2, dim=-1)[0]
    heads = [attention_weights(a, b, mask[:, None]) for a, b in zip(q.chunk(4, -1), k.chunk(4, -1), strict=True)]
    assert_close(coarse.flatten(1, 2), torch.stack(heads).mean(dim=0), 1e-5)


# --- obedience -------------------------------------------------------------------------------------------------------


class Reader(nn.Module):
    """A judge of pictures whose digit is written into the first pixel of its place."""

    def forward(self, x):
        return nn.functional.one_hot(((x[:, 0, 0, 0] + 1) * 5.5).round().long(), 11).float()


def written(digits):
    """Pictures for the reader: (n, 2) -> (n, 1, 16, 32)."""
    x = torch.full((len(digits), 1, 16, 32), -1.0)
    x[:, 0, 0, ::16] = torch.tensor(digits) / 5.5 - 1
    return x


def test_a_place_is_read_left_then_right():
    assert look(Reader(), written([[3, 9], [EMPTY, 0]])).digit.tolist() == [[3, 9], [EMPTY, 0]]


def seen_as(digit, thick=((0, 0),), slanted=((0, 0),)):
    return captioned.Seen(torch.tensor(digit), torch.tensor(thick).bool(), torch.tensor(slanted).bool())


@pytest.mark.parametrize(
    ("caption", "seen", "digits", "places", "adjectives"),
    [
        ("three left of nine", seen_as([[3, 9]]), True, True, True),
        ("three left of nine", seen_as([[9, 3]]), True, False, True),
        ("three left of nine", seen_as([[3, 3]]), False, False, True),
        ("nine right of three", seen_as([[3, 9]]), True, True, True),
        ("seven", seen_as([[7, EMPTY]]), True, True, True),
        ("seven", seen_as([[EMPTY, 7]]), True, True, True),
        ("seven", seen_as([[7, 7]]), False, False, True),
        ("seven", seen_as([[EMPTY, EMPTY]]), False, False, True),
        ("thick seven", seen_as([[EMPTY, 7]], [[0, 1]]), True, True, True),
        ("thick seven", seen_as([[EMPTY, 7]], [[1, 0]]), True, True, False),
        ("thin three left of nine", seen_as([[3, 9]], [[0, 1]]), True, True, True),
        ("thin three left of nine", seen_as([[3, 9]], [[1, 0]]), True, True, False),
        ("nine right of slanted three", seen_as([[3, 9]], [[0, 0]], [[1, 0]]), True, True, True),
        ("nine right of slanted three", seen_as([[3, 9]], [[0, 0]], [[0, 1]]), True, True, False),
        ("two slanted sevens", seen_as([[7, 7]], [[0, 1]], [[1, 1]]), True, True, True),
        ("two slanted sevens", seen_as([[7, 7]], [[0, 1]], [[1, 0]]), True, True, False),
    ],
)
def test_obedience_of_what_is_seen(caption, seen, digits, places, adjectives):
    found = [bool(part) for part in obeyed(seen, scenes_of([caption]))]
    assert found == [digits, places, adjectives, places and adjectives]


def test_exchanged_words_are_the_same_bag_and_another_scene(make_generator):
    scenes = draw_scenes(300, make_generator(0))
    pairs = scenes.rows(scenes.kind == PAIR)
    for one, other in zip(captions_of(pairs), captions_of(exchanged(pairs)), strict=True):
        assert sorted(one.split()) == sorted(other.split())
    both = exchanged(exchanged(pairs))
    assert all(torch.equal(a, b) for a, b in zip(both, pairs, strict=True))


def test_a_bag_is_read_as_each_of_its_captions_equally_often(make_generator):
    caption = "thin three left of thick seven"
    scenes = bag_reading(scenes_of([caption] * 4000), make_generator(0))
    told = captions_of(scenes)
    assert {tuple(sorted(line.split())) for line in told} == {tuple(sorted(caption.split()))}
    counts = {line: told.count(line) / 4000 for line in set(told)}
    assert len(counts) == 4 and all(abs(share - 0.25) < 0.045 for share in counts.values())  # six standard errors
    alone = scenes_of(["thin three"] * 50)
    assert captions_of(bag_reading(alone, make_generator(1))) == ["thin three"] * 50
    assert bool((alone.kind == ONE).all())


def test_the_path_of_the_model_is_that_of_the_digits():
    t = torch.linspace(0, 1, 5)
    assert torch.equal(PATH.alpha(t), cosine().alpha(t)) and captioned.KIND == "x0"
