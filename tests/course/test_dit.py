"""The transformer for images: against loops, PyTorch's own layers, and what symmetry demands."""

import itertools
import math

import pytest
import torch
from torch import nn

from minidiff.networks import (
    DiT,
    TransformerBlock,
    build,
    initialised,
    modulated,
    patchify,
    sine_positions,
    unpatchify,
)
from tests.cases import assert_close, normal


def shaken(make, make_generator, by=0.3):
    """A network in double precision with no zero left in it, as if it had been trained."""
    net = initialised(make, make_generator(0)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(by * normal(parameter.shape, make_generator(1)))
    return net


def small(make_generator, **options):
    return shaken(lambda: DiT(**{"side": 6, "patch": 2, "width": 8, "depth": 2, "heads": 2} | options), make_generator)


def seen(make_generator, side=6, channels=1, n=3):
    return normal((n, channels, side, side), make_generator(2)), 4 * normal((n,), make_generator(3))


# --- patches ---------------------------------------------------------------------------------------------------------


def test_patchify_cuts_squares_in_reading_order(make_generator):
    """Pixel by pixel, on pictures that are not square and have two channels."""
    x, patch = normal((2, 2, 4, 6), make_generator(0)), 2
    tokens = patchify(x, patch)
    assert tokens.shape == (2, 6, 8)
    for n in range(6):
        row, column = divmod(n, 3)
        square = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.equal(tokens[:, n], square.reshape(2, 8))  # channels, then rows, then columns


@pytest.mark.parametrize(
    ("shape", "patch"), [((2, 1, 8, 8), 2), ((1, 3, 6, 9), 3), ((2, 2, 4, 4), 1), ((1, 1, 4, 8), 4)]
)
def test_unpatchify_undoes_patchify(shape, patch, make_generator):
    x = normal(shape, make_generator(0))
    assert torch.equal(unpatchify(patchify(x, patch), patch, shape[2]), x)
    unfolded = nn.functional.unfold(x, patch, stride=patch).transpose(1, 2)
    assert torch.equal(patchify(x, patch), unfolded)


# --- positions -------------------------------------------------------------------------------------------------------


def test_positions_are_sines_and_cosines_of_row_and_column():
    rows, width = 3, 8
    table = sine_positions(rows, width)
    assert table.shape == (9, 8)
    for place in range(9):
        for offset, coordinate in ((0, place // rows), (4, place % rows)):
            for j, frequency in enumerate((1.0, 1 / 100)):
                assert float(table[place, offset + j]) == pytest.approx(math.sin(coordinate * frequency), abs=1e-6)
                assert float(table[place, offset + 2 + j]) == pytest.approx(math.cos(coordinate * frequency), abs=1e-6)


@pytest.mark.parametrize("rows", [4, 8, 14])
def test_positions_tell_all_places_apart_and_are_of_equal_length(rows):
    table = sine_positions(rows, 64)
    apart = (table[:, None] - table[None]).norm(dim=2)
    assert float((apart + 10 * torch.eye(rows**2)).min()) > 0.9
    assert_close(table.norm(dim=1), torch.full((rows**2,), math.sqrt(32)), 1e-5)


def test_the_product_of_two_positions_depends_on_how_far_apart_they_are():
    """The sum of cosines of the differences: what attention can read off as a distance."""
    table = sine_positions(5, 16).double()
    for i, j in ((0, 7), (6, 13), (11, 18)):  # one row down, two columns to the right
        expected = sum(math.cos(step * 10_000 ** (-k / 4)) for step in (1, 2) for k in range(4))
        assert float(table[i] @ table[j]) == pytest.approx(expected, abs=1e-6)


# --- the block -------------------------------------------------------------------------------------------------------


def test_modulated_is_normalisation_scaled_and_shifted(make_generator):
    x = 3 * normal((2, 4, 16), make_generator(0)) + 1
    scale, shift = normal((2, 16), make_generator(1)), normal((2, 16), make_generator(2))
    for b in range(2):
        for n in range(4):
            token = x[b, n]
            plain = (token - token.mean()) / (token.var(correction=0) + 1e-6).sqrt()
            assert_close(modulated(x, scale, shift)[b, n], plain * (1 + scale[b]) + shift[b], 1e-12)


def test_a_block_is_pytorchs_transformer_layer_where_the_modulation_is_neutral(make_generator):
    """`nn.TransformerEncoderLayer` with the normalisation first, given the same weights; gates of 1."""
    block = shaken(lambda: TransformerBlock(8, 2, 5), make_generator)
    with torch.random.fork_rng(devices=[]):
        theirs = nn.TransformerEncoderLayer(
            *(8, 2, 32), 0.0, nn.GELU(approximate="tanh"), layer_norm_eps=1e-6, batch_first=True, norm_first=True
        ).double()
    ours = block.attention
    with torch.no_grad():
        block.modulation.weight.zero_()
        block.modulation.bias.copy_(torch.tensor([0.0, 0, 1, 0, 0, 1]).repeat_interleave(8))
        theirs.self_attn.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.self_attn.out_proj.load_state_dict(ours.out.state_dict())
        theirs.linear1.load_state_dict(block.mlp[0].state_dict())
        theirs.linear2.load_state_dict(block.mlp[2].state_dict())
    x, c = normal((3, 5, 8), make_generator(4)), normal((3, 5), make_generator(5))
    assert_close(block(x, c), theirs(x), 1e-9)
    may = torch.rand(5, 5, generator=make_generator(6)) < 0.6
    may |= torch.eye(5, dtype=torch.bool)
    assert_close(block(x, c, may.expand(3, -1, -1)), theirs(x, src_mask=~may), 1e-9)


def test_gates_and_scales_come_from_the_condition_in_their_order(make_generator):
    """Scale, shift and gate of the attention, then of the small network: each alone, by hand."""
    block = shaken(lambda: TransformerBlock(8, 2, 5), make_generator)
    x, c = normal((2, 3, 8), make_generator(4)), normal((2, 5), make_generator(5))
    scale, shift, gate, scale2, shift2, gate2 = (part[:, None] for part in block.modulation(c).chunk(6, 1))
    norm = nn.LayerNorm(8, eps=1e-6, elementwise_affine=False)
    middle = x + gate * block.attention(norm(x) * (1 + scale) + shift)
    assert_close(block(x, c), middle + gate2 * block.mlp(norm(middle) * (1 + scale2) + shift2), 1e-12)


def test_a_fresh_block_is_the_identity(make_generator):
    block = initialised(lambda: TransformerBlock(8, 2, 5), make_generator(0))
    x = torch.randn(2, 3, 8, generator=make_generator(1))
    assert torch.equal(block(x, torch.randn(2, 5, generator=make_generator(2))), x)


# --- what the network knows of places --------------------------------------------------------------------------------


def moved(x, order):
    """The pixels of small pictures in another order."""
    return x.flatten(2)[:, :, order].reshape(x.shape)


def test_without_positions_the_order_of_tokens_means_nothing(make_generator):
    net = small(make_generator, side=4, patch=1, positions="none")
    x, log_snr = seen(make_generator, side=4)
    order = torch.randperm(16, generator=make_generator(4))
    assert_close(net(moved(x, order), log_snr), moved(net(x, log_snr), order), 1e-12)


@pytest.mark.parametrize("positions", ["sines", "learned"])
def test_with_positions_it_does_and_with_the_table_moved_along_it_does_not(positions, make_generator):
    net = small(make_generator, side=4, patch=1, positions=positions)
    x, log_snr = seen(make_generator, side=4)
    order = torch.randperm(16, generator=make_generator(4))
    expected = moved(net(x, log_snr), order).detach()
    assert float((net(moved(x, order), log_snr).detach() - expected).abs().max()) > 0.1
    net.positions.data = net.positions.data[order]
    assert_close(net(moved(x, order), log_snr), expected, 1e-12)


def test_only_a_learned_table_is_a_weight(make_generator):
    for positions, stored in (("sines", False), ("none", False), ("learned", True)):
        assert ("positions" in small(make_generator, positions=positions).state_dict()) is stored


def test_every_token_sees_every_other_and_with_a_mask_only_what_it_may(make_generator):
    net = small(make_generator, depth=1)
    x, log_snr = seen(make_generator)
    mask = torch.eye(9, dtype=torch.bool)
    mask[4, 2] = True  # the middle may look at the corner at the top right
    slopes = torch.autograd.functional.jacobian(lambda x: net(x, log_snr[:1])[0, 0, 2:4, 2:4].sum(), x[:1])[0, 0]
    assert bool((slopes.abs() > 1e-9).all())
    masked = torch.autograd.functional.jacobian(lambda x: net(x, log_snr[:1], mask=mask)[0, 0, 2:4, 2:4].sum(), x[:1])[
        0, 0
    ]
    may = torch.zeros(6, 6, dtype=torch.bool)
    may[2:4, 2:4] = may[:2, 4:] = True
    assert torch.equal(masked.abs() > 1e-12, may)


def test_a_mask_that_forbids_nothing_changes_nothing(make_generator):
    net = small(make_generator)
    x, log_snr = seen(make_generator)
    assert_close(net(x, log_snr, mask=torch.ones(9, 9, dtype=torch.bool)), net(x, log_snr), 1e-12)


def test_attention_maps_are_the_weights_that_the_network_uses(make_generator):
    """Rows sum to 1, and the output of the first block follows from the first map."""
    net = small(make_generator, side=4)
    x, log_snr = seen(make_generator, side=4)
    maps = net.attention_maps(x, log_snr)
    assert [tuple(m.shape) for m in maps] == [(3, 2, 4, 4)] * 2
    for m in maps:
        assert_close(m.sum(-1), torch.ones(3, 2, 4, dtype=torch.float64), 1e-12)
    kept = []
    hook = net.blocks[1].register_forward_hook(lambda block, given, out: kept.append(given[:2]))
    net(x, log_snr)
    hook.remove()
    assert_close(maps[1], net.blocks[1].weights(*kept[0]), 1e-12)
    block, (h, c) = net.blocks[0], net._start(x, log_snr, None, None)[:2]
    scale, shift, gate, *_ = block.modulation(c).chunk(6, 1)
    _, v = block.attention.key_value(modulated(h, scale, shift)).chunk(2, 2)
    seen_by = torch.cat([maps[0][:, head] @ v[:, :, 4 * head : 4 * head + 4] for head in range(2)], 2)
    middle = h + gate[:, None] * block.attention.out(seen_by)
    scale, shift, gate = block.modulation(c).chunk(6, 1)[3:]
    assert_close(kept[0][0], middle + gate[:, None] * block.mlp(modulated(middle, scale, shift)), 1e-12)


def test_it_knows_labels(make_generator):
    net = small(make_generator, classes=3)
    x, log_snr = seen(make_generator)
    with torch.no_grad():
        net.labels.table.weight.normal_(generator=make_generator(5))
    answers = [net(x, log_snr, torch.tensor(y)).detach() for y in range(3)]
    assert min(float((a - b).abs().max()) for a, b in itertools.pairwise(answers)) > 1e-3


def test_it_can_be_built_from_a_card():
    architecture = {"network": "DiT", "side": 8, "patch": 4, "width": 16, "depth": 1, "positions": "none"}
    with torch.random.fork_rng(devices=[]):
        net = build(architecture)
    assert isinstance(net, DiT) and net.positions.shape == (4, 16) and not net.positions.any()


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_meant_is_refused(make_generator):
    x = torch.zeros(2, 1, 6, 6)
    for call, words in [
        (lambda: patchify(x, 4), "sides are multiples of 4"),
        (lambda: patchify(x[0], 2), "x must be images"),
        (lambda: unpatchify(patchify(x, 2), 2, 5), "tokens must be those of images 5 high"),
        (lambda: unpatchify(patchify(x, 2), 2, 8), "tokens must be those"),
        (lambda: unpatchify(patchify(x, 3), 2, 4), "tokens must be those"),
        (lambda: sine_positions(3, 6), "width must be a multiple of 4"),
        (lambda: DiT(side=7), "side must be a multiple of patch"),
        (lambda: DiT(positions="2d"), 'positions must be "sines"'),
        (lambda: DiT(depth=0), "depth must be a whole number"),
        (lambda: DiT(width=20, heads=8), "width must be a multiple of heads"),
        (lambda: DiT(side=8)(x, torch.zeros(2)), "x must have shape"),
        (lambda: DiT(side=6)(x, torch.zeros(2), mask=torch.ones(9, 9)), "mask must be boolean"),
        (lambda: DiT(side=6)(x, torch.zeros(2), mask=torch.ones(4, 4).bool()), "mask must be boolean"),
    ]:
        with pytest.raises(ValueError, match=words), torch.random.fork_rng(devices=[]):
            call()
