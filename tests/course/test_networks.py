"""The networks: shapes, starts, gradients, and that each sample and each noise level is seen on its own."""

import itertools
import re

import pytest
import torch
from torch import nn

from minidiff.networks import (
    MLP,
    Attention,
    Classifier,
    DiT,
    NoiseLevelEmbedding,
    NoisyClassifier,
    ResidualBlock,
    SelfAttention,
    UNet,
    initialised,
    multi_head_attention,
)
from minidiff.schedules import ddpm_linear

SMALL = {"widths": (16, 32), "blocks": 1}
CASES = {
    "mlp": (MLP, (5, 2)),
    "mlp on a line": (lambda: MLP(1, width=8, layers=1), (4, 1)),
    "mlp in 5 dimensions": (lambda: MLP(5, width=16, layers=2), (4, 5)),
    "unet 8x8": (lambda: UNet(**SMALL), (3, 1, 8, 8)),
    "unet 28x28": (lambda: UNet(**SMALL), (2, 1, 28, 28)),
    "unet 12x20 in colour": (lambda: UNet(channels=3, **SMALL), (2, 3, 12, 20)),
    "unet of one level": (lambda: UNet(widths=(16,)), (2, 1, 6, 6)),
    "unet of three levels": (lambda: UNet(widths=(16, 32, 48), blocks=2), (2, 1, 16, 16)),
    "unet of whole pixels": (lambda: UNet(patch=1, **SMALL), (2, 1, 6, 6)),
    "transformer": (lambda: DiT(width=16, depth=2), (3, 1, 8, 8)),
    "transformer in colour": (lambda: DiT(6, 3, patch=3, width=12, depth=1, positions="learned"), (2, 3, 6, 6)),
    "transformer without positions": (lambda: DiT(4, patch=1, width=8, depth=1, positions="none"), (2, 1, 4, 4)),
}
every_network = pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES)


def fresh(make, make_generator):
    return initialised(make, make_generator(0))


def shaken(make, make_generator):
    """A network with no zero left in it: as if it had been trained."""
    net, g = fresh(make, make_generator), make_generator(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=g))
    return net


def inputs(shape, make_generator):
    return torch.randn(shape, generator=make_generator(2)), 5 * torch.randn(shape[0], generator=make_generator(3))


# --- what all of them promise ----------------------------------------------------------------------------------------


@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_has_the_shape_and_type_of_the_input_and_starts_at_0(make, shape, dtype, make_generator):
    x, log_snr = inputs(shape, make_generator)
    out = fresh(make, make_generator).to(dtype)(x.to(dtype), log_snr.to(dtype))
    assert out.shape == shape and out.dtype == dtype
    assert torch.equal(out, torch.zeros_like(out))


@every_network
def test_the_architecture_needs_no_particular_device(make, shape):
    """On `meta`, tensors have shapes and no numbers: what is made on another device would be noticed."""
    with torch.device("meta"):
        out = make()(torch.empty(shape), torch.empty(shape[0]))
    assert out.shape == shape and out.device.type == "meta"


@every_network
def test_gradients_reach_every_parameter_after_a_few_steps(make, shape, make_generator):
    """Layers that start at 0 shield those before them, two deep: two steps uncover them all."""
    net, (x, log_snr) = fresh(make, make_generator), inputs(shape, make_generator)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    answer = torch.randn(shape, generator=make_generator(4))
    for _ in range(3):
        optimizer.zero_grad()
        ((net(x, log_snr) - answer) ** 2).mean().backward()
        optimizer.step()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@every_network
def test_a_sample_does_not_see_its_neighbours(make, shape, make_generator):
    net, (x, log_snr) = shaken(make, make_generator), inputs(shape, make_generator)
    for i in range(shape[0]):
        others_x, others_t = torch.full_like(x, 7.0), torch.full_like(log_snr, -3.0)
        others_x[i], others_t[i] = x[i], log_snr[i]
        torch.testing.assert_close(net(others_x, others_t)[i], net(x, log_snr)[i], rtol=1e-5, atol=1e-6)


@every_network
def test_the_noise_level_makes_a_difference(make, shape, make_generator):
    net, (x, log_snr) = shaken(make, make_generator), inputs(shape, make_generator)
    assert (net(x, log_snr) - net(x, log_snr + 1)).flatten(1).norm(dim=1).min() > 1e-3


@every_network
def test_initialised_is_a_function_of_the_seed(make, shape, make_generator):
    g = make_generator(0)
    before = g.get_state()
    first, again, other = initialised(make, g), initialised(make, g), initialised(make, make_generator(1))
    assert torch.equal(g.get_state(), before)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


# --- the embedding ---------------------------------------------------------------------------------------------------


def test_embedding_is_sines_and_cosines_of_geometric_periods():
    log_snr = torch.linspace(-20, 20, 9, dtype=torch.float64)
    features = NoiseLevelEmbedding(8).double()(log_snr)
    periods = [80 / 80 ** (j / 3) for j in range(4)]  # 80, ..., 1
    for i, level in enumerate(log_snr):
        for j, period in enumerate(periods):
            angle = 2 * torch.pi * level / period
            assert float(features[i, j]) == pytest.approx(float(angle.sin()), abs=1e-5)
            assert float(features[i, j + 4]) == pytest.approx(float(angle.cos()), abs=1e-5)


@pytest.mark.parametrize("width", [32, 64])
def test_embedding_tells_every_step_of_a_ddpm_from_every_other(width):
    log_snr = ddpm_linear().log_snr(torch.arange(1, 1001) / 1000)
    features = NoiseLevelEmbedding(width)(log_snr)
    apart = torch.cdist(features, features) + 10 * torch.eye(1000)
    assert apart.min() > 0.05  # of 2 sqrt(width / 2) at most
    assert (features**2).sum(dim=1) == pytest.approx(width / 2)


@pytest.mark.parametrize("width", [0, -2, 7])
def test_embedding_refuses_an_odd_width(width):
    with pytest.raises(ValueError, match=f"width must be an even number >= 2, but is {width}"):
        NoiseLevelEmbedding(width)


def test_frequencies_are_no_weights(make_generator):
    assert not any("frequency" in name for make in (MLP, UNet) for name in fresh(make, make_generator).state_dict())


# --- the U-Net and its parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 28])
def test_every_output_pixel_sees_the_whole_image(side, make_generator):
    net = shaken(lambda: UNet(**SMALL), make_generator)
    x = torch.randn(1, 1, side, side, generator=make_generator(2)).requires_grad_()
    out = net(x, torch.zeros(1))
    for row, column in itertools.product((0, side // 2, side - 1), repeat=2):
        (gradient,) = torch.autograd.grad(out[0, 0, row, column], x, retain_graph=True)
        assert (gradient != 0).all()


def test_skips_carry_detail_around_the_middle(make_generator):
    """With nothing coming back up from the coarse level, every pixel still sees what is near it, and no more."""
    net = shaken(lambda: UNet(**SMALL), make_generator)
    for parameter in net.grow.parameters():
        nn.init.zeros_(parameter)
    net.norm_out = nn.Identity()  # normalisation looks at the whole image
    for block in (*net.down[0], *net.up[0]):
        block.norm_in = block.norm_out = nn.Identity()
    x = torch.randn(1, 1, 28, 28, generator=make_generator(2)).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x, torch.zeros(1))[0, 0, 14, 14], x)
    assert gradient[0, 0, 14, 14] != 0 and gradient[0, 0, 0, 0] == 0


@pytest.mark.parametrize("side", [9, 10, 27, 30])
def test_unet_refuses_sides_that_it_cannot_halve(side, make_generator):
    net = fresh(lambda: UNet(**SMALL), make_generator)
    for height, width in ((side, 28), (28, side)):
        with pytest.raises(ValueError, match=rf"multiples of 4, but has shape \(2, 1, {height}, {width}\)"):
            net(torch.zeros(2, 1, height, width), torch.zeros(2))


@pytest.mark.parametrize("widths", [(), (24,), (16, 40), (0,)])
def test_unet_refuses_widths_that_groups_do_not_divide(widths):
    with pytest.raises(ValueError, match="widths must be one or more multiples of 16, but are"):
        UNet(widths=widths)


@pytest.mark.parametrize("sizes", [(0, 128, 3), (2, 0, 3), (2, 128, 0)])
def test_mlp_refuses_sizes_below_1(sizes):
    with pytest.raises(ValueError, match=r"(dimension|width|layers) must be a whole number >= 1, but is 0"):
        MLP(*sizes)


def test_blocks_start_as_the_identity(make_generator):
    x, embedding = torch.randn(2, 32, 4, 4, generator=make_generator(0)), torch.ones(2, 6)
    assert torch.equal(fresh(lambda: ResidualBlock(32, 6), make_generator)(x, embedding), x)
    assert torch.equal(fresh(lambda: SelfAttention(32), make_generator)(x), x)


def test_a_block_scales_and_shifts_by_the_noise_level(make_generator):
    """DDPM's block with Nichol & Dhariwal's modulation, written out; 16 channels to a group."""
    block, f = shaken(lambda: ResidualBlock(32, 6), make_generator), nn.functional
    x, embedding = torch.randn(2, 32, 4, 4, generator=make_generator(2)), torch.randn(2, 6, generator=make_generator(3))
    h = block.conv_in(f.silu(f.group_norm(x, 2, block.norm_in.weight, block.norm_in.bias)))
    h = f.group_norm(h, 2, block.norm_out.weight, block.norm_out.bias)
    modulation = embedding @ block.modulation.weight.T + block.modulation.bias
    h = h * (1 + modulation[:, :32, None, None]) + modulation[:, 32:, None, None]
    torch.testing.assert_close(block(x, embedding), x + block.conv_out(f.silu(h)), rtol=1e-5, atol=1e-5)


def test_attention_is_its_softmax_over_all_positions(make_generator):
    """Vaswani et al., equation 1, head by head and position by position."""
    attention = shaken(lambda: SelfAttention(16, heads=2), make_generator)
    x = torch.randn(2, 16, 3, 3, generator=make_generator(2))
    tokens = attention.norm(x).flatten(2).mT  # (2, 9, 16)
    q, k, v = attention.qkv(tokens).chunk(3, dim=2)  # (2, 9, 16) each
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        weights = torch.softmax(q[:, :, head] @ k[:, :, head].mT / 8**0.5, dim=-1)  # (2, 9, 9)
        heads.append(weights @ v[:, :, head])
    expected = x + attention.out(torch.cat(heads, dim=2)).mT.reshape(x.shape)
    torch.testing.assert_close(attention(x), expected)


def test_attention_is_blind_to_the_order_of_positions(make_generator):
    attention = shaken(lambda: SelfAttention(16), make_generator)
    x = torch.randn(2, 16, 4, 4, generator=make_generator(2))
    order = torch.randperm(16, generator=make_generator(3))
    moved = attention(x.flatten(2)[:, :, order].reshape(x.shape))
    torch.testing.assert_close(moved.flatten(2), attention(x).flatten(2)[:, :, order])


def test_attention_is_pytorchs_own(make_generator):
    """torch.nn.functional.scaled_dot_product_attention, head by head, with and without a mask."""
    q, k, v = (torch.randn(2, n, 8, generator=make_generator(n)) for n in (5, 7, 6))
    k, v = k[:, :6], v[:, :6]
    seen = torch.rand(2, 5, 6, generator=make_generator(1)) < 0.7
    seen[:, :, 0] = True
    for mask, told in ((None, None), (seen, seen[:, None]), (seen[:, 0], seen[:, None, :1])):
        heads = [x.unflatten(2, (2, 4)).transpose(1, 2) for x in (q, k, v)]
        expected = nn.functional.scaled_dot_product_attention(*heads, attn_mask=told).transpose(1, 2).flatten(2)
        torch.testing.assert_close(multi_head_attention(q, k, v, 2, mask), expected)


def test_a_hidden_word_changes_nothing(make_generator):
    net = shaken(lambda: Attention(16, heads=2, context_width=6), make_generator)
    x, words = torch.randn(3, 4, 16, generator=make_generator(2)), torch.randn(3, 5, 6, generator=make_generator(3))
    seen = torch.tensor([True, True, True, False, False]).expand(3, 5)
    torch.testing.assert_close(net(x, words, seen), net(x, words[:, :3]))
    weights = net.weights(x, words, seen)  # (3, 2, 4, 5)
    assert weights.shape == (3, 2, 4, 5) and (weights[..., 3:] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 4))
    assert not torch.allclose(net(x, words), net(x, words, seen))


def test_attention_without_a_context_looks_at_itself(make_generator):
    net = shaken(lambda: Attention(8, heads=2), make_generator)
    x = torch.randn(2, 5, 8, generator=make_generator(2))
    order = torch.randperm(5, generator=make_generator(3))
    torch.testing.assert_close(net(x[:, order]), net(x)[:, order])


def test_attention_says_what_it_expects(make_generator):
    x = torch.zeros(1, 2, 8)
    plain, crossing = (fresh(lambda w=w: Attention(8, context_width=w), make_generator) for w in (None, 3))
    with pytest.raises(ValueError, match="width must be a multiple of heads, but 10 is not one of 4"):
        Attention(10)
    with pytest.raises(ValueError, match="context must be given"):
        crossing(x)
    with pytest.raises(ValueError, match="context must be None"):
        plain(x, x)
    with pytest.raises(ValueError, match=r"boolean, of shape \(1, 2\) or \(1, 2, 2\), but is torch.float32, \(1, 2\)"):
        plain(x, mask=torch.ones(1, 2))


# --- the classifier --------------------------------------------------------------------------------------------------


def test_classifier_reads_its_logits_off_its_features(make_generator):
    net = shaken(lambda: Classifier(classes=7), make_generator).eval()
    x = torch.randn(5, 1, 28, 28, generator=make_generator(2))
    features = net.features(x)
    assert features.shape == (5, 128) and net(x).shape == (5, 7)
    torch.testing.assert_close(net(x), features @ net.head.weight.T + net.head.bias)
    torch.testing.assert_close(net(x[2:3])[0], net(x)[2], rtol=1e-4, atol=1e-5)


def test_classifier_learns_what_it_is_shown(make_generator):
    """Bright against dark images; a network that cannot learn stays at log 2."""
    net = fresh(lambda: Classifier(classes=2), make_generator)
    y = torch.arange(16) % 2
    x = 0.5 * torch.randn(16, 1, 28, 28, generator=make_generator(2)) + (2 * y - 1)[:, None, None, None]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(10):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_the_noisy_classifier_sees_image_and_noise_level_each_on_its_own(make_generator):
    net = shaken(NoisyClassifier, make_generator)
    x, log_snr = torch.randn(4, 1, 28, 28, generator=make_generator(2)), torch.tensor([-2.0, 0.0, 2.0, 4.0])
    answers = net(x, log_snr)
    assert answers.shape == (4, 10)
    torch.testing.assert_close(net(x[1:2], log_snr[1:2])[0], answers[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net(x, log_snr + 1), answers, atol=1e-3)
    with pytest.raises(ValueError, match="sides that are multiples of 4"):
        net(torch.zeros(1, 1, 30, 30), torch.zeros(1))


# --- what a network was not made for ---------------------------------------------------------------------------------

WRONG_INPUTS = [
    (lambda: UNet(channels=4, **SMALL), (4, 12, 16, 16), r"\(B, 4, H, W\)"),
    (lambda: UNet(**SMALL), (4, 28, 28), r"\(B, 1, H, W\)"),
    (lambda: UNet(**SMALL), (4, 2), r"\(B, 1, H, W\)"),
    (NoisyClassifier, (4, 3, 28, 28), r"\(B, 1, H, W\)"),
    (lambda: MLP(3), (4, 2), r"\(B, 3\)"),
    (MLP, (4, 1, 8, 8), r"\(B, 2\)"),
]


@pytest.mark.parametrize(("make", "shape", "expected"), WRONG_INPUTS)
def test_a_network_names_what_it_was_given_and_what_it_expected(make, shape, expected, make_generator):
    given = rf"a float32 tensor of shape {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=rf"^x must have shape {expected}, but is {given}$"):
        fresh(make, make_generator)(torch.zeros(shape), torch.zeros(shape[0]))


@pytest.mark.parametrize("shape", [(4, 3, 28, 28), (4, 28, 28)])
def test_the_classifier_does_too(shape, make_generator):
    net = fresh(Classifier, make_generator)
    for ask in (net, net.features):
        with pytest.raises(ValueError, match=r"^x must have shape \(B, 1, H, W\), but is a float32 tensor of shape"):
            ask(torch.zeros(shape))


@every_network
def test_double_precision_is_mended_in_one_line(make, shape, make_generator):
    x, log_snr = inputs(shape, make_generator)
    net, words = fresh(make, make_generator), "x must be float32, as the network's weights are, but is a float64 tensor"
    with pytest.raises(TypeError, match=rf"^{words} of shape .*; x = x.float\(\) mends it$"):
        net(x.double(), log_snr)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x.bfloat16(), log_snr).shape == shape  # mixed precision changes dtypes as it likes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: UNet(channels=0), "channels must be a whole number >= 1, but is 0"),
        (lambda: UNet(patch=0), "patch must be a whole number >= 1, but is 0"),
        (lambda: UNet(blocks=0), "blocks must be a whole number >= 1, but is 0"),
        (lambda: UNet(blocks=1.5), "blocks must be a whole number >= 1, but is 1.5"),
        (lambda: UNet(classes=-1), "classes must be a whole number >= 0, but is -1"),
        (lambda: MLP(classes=True), "classes must be a whole number >= 0, but is True"),
        (lambda: Classifier(0), "classes must be a whole number >= 1, but is 0"),
        (lambda: NoisyClassifier(channels=0), "channels must be a whole number >= 1, but is 0"),
        (lambda: NoisyClassifier(classes=0), "classes must be a whole number >= 1, but is 0"),
        (lambda: NoisyClassifier(widths=(24, 48)), r"widths must be one or more multiples of 16, but are \(24, 48\)"),
        (lambda: NoisyClassifier(widths=(16,)), r"widths must be those of two levels, but are \(16,\)"),
    ],
)
def test_a_network_of_nothing_is_refused(make, words, make_generator):
    with pytest.raises(ValueError, match=words):
        fresh(make, make_generator)
