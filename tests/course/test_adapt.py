"""Changes of low rank: what they begin as, what learns, what they merge to, and the best that any of them can do."""

import pytest
import torch
from torch import nn

from minidiff.adapt import LowRank, excess_by_rank, merged, with_low_rank
from minidiff.networks import MLP, UNet, initialised
from tests.cases import assert_close, normal, weights_of


def small_net(make_generator):
    return initialised(lambda: UNet(widths=(16, 16), blocks=1, patch=2), make_generator(1))


def inputs(make_generator):
    return normal((3, 1, 8, 8), make_generator(2)).float(), normal((3,), make_generator(3)).float()


def randomised(net, make_generator):
    """With every `up` away from its start at 0."""
    for k, module in enumerate(m for m in net.modules() if isinstance(m, LowRank)):
        with torch.no_grad():
            module.up.weight.copy_(0.1 * normal(tuple(module.up.weight.shape), make_generator(k)).float())
    return net


def test_it_begins_as_the_network_that_it_changes(make_generator):
    net, x = small_net(make_generator), inputs(make_generator)
    assert torch.equal(net(*x), with_low_rank(net, 4, make_generator(0))(*x))


def test_only_the_changes_learn_and_the_first_step_moves_only_the_half_that_is_zero(make_generator):
    net = with_low_rank(small_net(make_generator), 2, make_generator(0))
    learning = {name for name, p in net.named_parameters() if p.requires_grad}
    assert learning and all(name.endswith(("up.weight", "down.weight")) for name in learning)
    net.conv_out.up.weight.data.fill_(0.1)  # the U-Net's own last layer is 0 at the start
    net(*inputs(make_generator)).square().sum().backward()
    assert net.conv_in.down.weight.grad.abs().max() == 0 and net.conv_out.layer.weight.grad is None


def test_the_original_is_left_as_it_was(make_generator):
    net = small_net(make_generator)
    before = {name: value.clone() for name, value in weights_of(net).items()}
    randomised(with_low_rank(net, 2, make_generator(0)), make_generator)
    assert all(torch.equal(value, before[name]) for name, value in weights_of(net).items())
    assert all(p.requires_grad for p in net.parameters())


def test_merged_it_does_the_same_with_the_parameters_of_the_original(make_generator):
    net, x = small_net(make_generator).double(), inputs(make_generator)
    x = tuple(part.double() for part in x)
    changed = randomised(with_low_rank(net, 3, make_generator(0)), make_generator)
    plain = merged(changed)
    assert_close(plain(*x), changed(*x), 1e-12)
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in net.named_parameters()]
    assert (plain.conv_in.weight - net.conv_in.weight).abs().max() > 0.01
    assert_close(plain(*x), merged(plain)(*x), 1e-15)  # nothing is left to merge


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Linear(5, 4),
        lambda: nn.Conv2d(3, 4, 3, padding=1, stride=2),
        lambda: nn.Conv2d(3, 4, 3, dilation=2, bias=False),
        lambda: nn.Conv2d(3, 4, (2, 3)),
    ],
)
def test_a_change_is_a_weight_of_its_rank(layer, make_generator):
    layer = initialised(layer, make_generator(4)).double()
    change = randomised(initialised(lambda: nn.Sequential(LowRank(layer, 2)), make_generator(5)), make_generator)[0]
    assert torch.linalg.matrix_rank(change.change().flatten(1)) == 2
    x = normal((2, 5) if isinstance(layer, nn.Linear) else (2, 3, 9, 9), make_generator(6))
    assert_close(merged(nn.Sequential(change))(x), change(x), 1e-12)
    assert_close(change.weight, change.layer.weight + change.change())


def test_what_cannot_be_changed_is_refused(make_generator):
    net, grouped = (initialised(make, make_generator(0)) for make in (MLP, lambda: nn.Conv2d(4, 4, 3, groups=2)))
    with pytest.raises(TypeError, match="layer must be a Linear or a plain Conv2d"):
        LowRank(grouped, 1)
    with pytest.raises(ValueError, match="rank must be a whole number >= 1"):
        with_low_rank(net, 0, make_generator(0))
    with pytest.raises(ValueError, match="changes of low rank already"):
        with_low_rank(with_low_rank(net, 1, make_generator(0)), 1, make_generator(0))
    with pytest.raises(TypeError, match="generator must be"):
        with_low_rank(net, 1, None)


def test_the_same_seed_makes_the_same_start_and_leaves_the_global_state(make_generator):
    net, before = initialised(MLP, make_generator(1)), torch.random.get_rng_state()
    nets = [with_low_rank(net, 2, make_generator(0)) for _ in range(2)]
    downs = [[m.down.weight for m in net.modules() if isinstance(m, LowRank)] for net in nets]
    assert all(torch.equal(a, b) for a, b in zip(*downs, strict=True))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_best_change_of_each_rank_is_found_by_descent(make_generator):
    """Reduced-rank regression: no pair B, A of that rank does better, and descent gets there."""
    d = 5
    root = normal((d, d), make_generator(1))
    moment, change = root @ root.T + torch.eye(d, dtype=torch.float64), normal((d, d), make_generator(2))
    best = excess_by_rank(change, moment)
    assert best.shape == (d + 1,) and best[-1] == 0 and (best[1:] < best[:-1]).all()
    assert_close(best[0], torch.trace(change @ moment @ change.T) / d, 1e-12)
    rank = 2
    a, b = (normal(shape, make_generator(rank)).requires_grad_() for shape in ((rank, d), (d, rank)))
    optimizer = torch.optim.LBFGS([a, b], max_iter=100, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def excess():
        optimizer.zero_grad()
        left = change - b @ a
        value = torch.trace(left @ moment @ left.T) / d
        value.backward()
        return value

    optimizer.step(excess)
    assert_close(excess().detach(), best[rank], 1e-6)
