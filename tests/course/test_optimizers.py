"""Muon against singular values, PyTorch's own Muon and AdamW, and on a problem that it should solve."""

import copy

import pytest
import torch
from torch import nn

from minidiff.networks import initialised
from minidiff.optimizers import Muon, orthogonalised
from minidiff.training import warmup_cosine


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6), (1, 5), (128, 300)])
def test_orthogonalised_keeps_the_singular_vectors_and_evens_the_values(shape, make_generator):
    """Values between 1 and 1/30 of the largest go to 0.65 ... 1.25; the vectors stay. Nothing is left to chance."""
    short = min(shape)
    u = torch.linalg.qr(torch.randn(shape[0], short, generator=make_generator(0), dtype=torch.float64))[0]
    v = torch.linalg.qr(torch.randn(shape[1], short, generator=make_generator(1), dtype=torch.float64))[0]
    values = torch.logspace(0, -1.5, short, dtype=torch.float64)
    for size in (1e-4, 1.0, 1e4):
        between = u.T @ orthogonalised(size * (u * values) @ v.T) @ v
        assert 0.65 < between.diagonal().min() and between.diagonal().max() < 1.25
        assert (between - between.diagonal().diag()).abs().max() < 1e-8


def test_a_gradient_of_zeros_moves_nothing():
    assert torch.equal(orthogonalised(torch.zeros(4, 7)), torch.zeros(4, 7))


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(12, 12)
        self.outer = nn.Linear(12, 3)

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x)))


def small(make_generator):
    return initialised(Small, make_generator(0))


def split(net):
    return [net.inner.weight], [net.inner.bias, *net.outer.parameters()]


def loss_of(net, make_generator, stream):
    x = torch.randn(64, 12, generator=make_generator(10, stream))
    return ((net(x) - x[:, :3].sin()) ** 2).mean()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon of its own")
def test_it_steps_like_the_two_optimizers_of_pytorch(make_generator):
    """Ten steps. PyTorch's Muon computes in bfloat16, so they agree to a few per cent of the way."""
    ours, theirs = small(make_generator), small(make_generator)
    start = copy.deepcopy(ours)
    optimizer = Muon(*split(ours), lr=0.01, other_lr=3e-3, weight_decay=0.1)
    hidden, others = split(theirs)
    references = [
        torch.optim.Muon(hidden, lr=0.01, weight_decay=0.1),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.99), weight_decay=0.1),
    ]
    for step in range(10):
        for net, optimizers in ((ours, [optimizer]), (theirs, references)):
            net.zero_grad()
            loss_of(net, make_generator, step).backward()
            for each in optimizers:
                each.step()
    for name, weight in ours.named_parameters():
        way = theirs.get_parameter(name) - start.get_parameter(name)
        assert way.norm() > 0.01
        assert (weight - theirs.get_parameter(name)).norm() < 0.05 * way.norm(), name


def test_a_convolution_is_a_matrix_with_a_row_for_each_output(make_generator):
    """One step without momentum or decay moves every weight by lr times its orthogonalised gradient."""
    weight = nn.Parameter(torch.randn(4, 3, 2, 2, generator=make_generator(0)))
    tall = nn.Parameter(torch.randn(9, 1, 2, 2, generator=make_generator(1)))
    before = [weight.detach().clone(), tall.detach().clone()]
    optimizer = Muon([weight, tall], [nn.Parameter(torch.zeros(1))], lr=0.1, other_lr=0.1, momentum=0, weight_decay=0)
    for i, parameter in enumerate((weight, tall)):
        parameter.grad = torch.randn(parameter.shape, generator=make_generator(2, i))
    optimizer.step()
    for parameter, old, scale in ((weight, before[0], 1.0), (tall, before[1], (9 / 4) ** 0.5)):
        rows = parameter.grad.reshape(len(parameter), -1)
        moved = (old - parameter.detach()).reshape(rows.shape)
        torch.testing.assert_close(moved, 0.1 * scale * orthogonalised(rows), rtol=1e-4, atol=1e-6)


def test_a_schedule_multiplies_both_learning_rates(make_generator):
    """At the end of a cosine both are 0, and nothing moves any more."""
    net = small(make_generator)
    optimizer = Muon(*split(net), lr=0.01, other_lr=3e-3)
    schedule = warmup_cosine(optimizer, steps=4, warmup=0)
    for _ in range(4):
        loss_of(net, make_generator, 0).backward()
        optimizer.step()
        schedule.step()
    still = copy.deepcopy(net.state_dict())
    optimizer.step()
    assert all(torch.equal(value, still[name]) for name, value in net.state_dict().items())


def test_its_state_can_be_saved_and_taken_up_again(make_generator):
    """Five steps, saved, loaded into a fresh optimizer, five more: to the bit, the weights of ten steps at once."""

    def steps(net, optimizer, numbers):
        for step in numbers:
            net.zero_grad()
            loss_of(net, make_generator, step).backward()
            optimizer.step()

    whole = small(make_generator)
    steps(whole, Muon(*split(whole), lr=0.01, other_lr=3e-3), range(10))
    halves = small(make_generator)
    first = Muon(*split(halves), lr=0.01, other_lr=3e-3)
    steps(halves, first, range(5))
    second = Muon(*split(halves), lr=0.5, other_lr=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(halves, second, range(5, 10))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, halves.state_dict()[name]), name


def test_weights_without_gradient_stay(make_generator):
    net = small(make_generator)
    before = copy.deepcopy(net.state_dict())
    Muon(*split(net), lr=0.1, other_lr=0.1).step()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_is_no_matrix_is_refused(make_generator):
    net = small(make_generator)
    with pytest.raises(ValueError, match=r"hidden must be matrices or convolutions, but one has shape \(12,\)"):
        Muon([net.inner.bias], [net.inner.weight], lr=0.1, other_lr=0.1)


def test_a_closure_is_refused(make_generator):
    with pytest.raises(ValueError, match="closure must be None"):
        Muon(*split(small(make_generator)), lr=0.1, other_lr=0.1).step(lambda: 0.0)
