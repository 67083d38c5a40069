"""The Fourier network: its filter against a sum written out, on two grids, and what any of its kind must do."""

import math

import pytest
import torch
from torch import nn

from minidiff.functions import circle, resample
from minidiff.networks import FourierNetwork, build, initialised
from minidiff.networks.operator import FourierBlock, SpectralLayer
from tests.cases import assert_close, normal


def some_network(make_generator, **sizes):
    """A network in float64 whose zero layers hold something, so that everything in it counts."""
    net = initialised(lambda: FourierNetwork(**({"width": 6, "layers": 2, "waves": 5} | sizes)), make_generator(0))
    g = make_generator(1)
    for parameter in net.parameters():
        if not parameter.any():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=g)
    return net.double()


def slow(n, make_generator):
    """Functions of the waves 0 to 3 on n points, the same ones for every n: (4, n)."""
    heights, phases = normal((4, 4, 1), make_generator(2)), normal((4, 4, 1), make_generator(3))
    k = torch.arange(4, dtype=torch.float64)[:, None]
    return (heights * torch.cos(2 * math.pi * k * circle(n) + phases)).sum(1)


@pytest.mark.parametrize("n", [6, 9, 16])
def test_the_spectral_layer_is_a_matrix_for_each_wave(n, make_generator):
    layer, h = (
        initialised(lambda: SpectralLayer(3, 4), make_generator(4)).double(),
        normal((2, 3, n), make_generator(0)),
    )
    weight, wanted = torch.view_as_complex(layer.weight), torch.zeros(2, 3, n, dtype=torch.complex128)
    for k in range(-(n // 2), n // 2 + 1):
        if abs(k) >= 4:
            continue
        wave = torch.exp(2j * math.pi * k * circle(n))
        moved = (h.to(wave) @ wave.conj() / n) @ (weight[k] if k >= 0 else weight[-k].conj())
        share = 0.5 if 2 * abs(k) == n else 1.0
        wanted += share * moved[:, :, None] * wave
    assert_close(layer(h), wanted.real, 1e-10)


def test_the_spectral_layer_does_the_same_on_every_grid(make_generator):
    layer = initialised(lambda: SpectralLayer(1, 5), make_generator(4)).double()
    coarse = slow(16, make_generator)[:, None]
    for n in (33, 64):
        assert_close(layer(resample(coarse, n)), resample(layer(coarse), n), 1e-10)


def test_the_network_does_the_same_on_a_finer_grid(make_generator):
    """Values between the points come from the same function, but for what bending adds beyond the waves of a grid."""
    net, log_snr = some_network(make_generator), torch.tensor([-2.0, 0.0, 1.0, 4.0]).double()
    fine, finer = net(slow(64, make_generator), log_snr), net(slow(256, make_generator), log_snr)
    assert_close(finer[:, ::4], fine, 1e-5)
    assert float(fine.detach().std()) > 0.05


def test_a_turn_of_the_circle_turns_the_answer(make_generator):
    net, log_snr = some_network(make_generator), torch.zeros(4).double()
    f = normal((4, 20), make_generator(2))
    assert_close(net(f.roll(3, 1), log_snr), net(f, log_snr).roll(3, 1), 1e-10)


def test_every_sample_has_its_own_noise_level(make_generator):
    net, f = some_network(make_generator), slow(16, make_generator)
    log_snr = torch.tensor([-3.0, 0.0, 2.0, 5.0]).double()
    together = net(f, log_snr)
    for i in range(4):
        assert_close(net(f[i : i + 1], log_snr[i : i + 1]), together[i : i + 1], 1e-10)
    assert float((net(f, log_snr + 1) - together).detach().abs().max()) > 1e-3


def test_a_new_network_predicts_zero_and_a_new_block_changes_nothing(make_generator):
    net = initialised(FourierNetwork, make_generator(0))
    assert float(net(torch.ones(2, 32), torch.zeros(2)).detach().abs().max()) == 0
    h = torch.randn(2, 6, 16, generator=make_generator(1))
    assert torch.equal(initialised(lambda: FourierBlock(6, 4), make_generator(2))(h, torch.ones(2, 6)), h)
    assert sum(p.numel() for p in net.parameters()) == 251_137


def test_a_card_makes_it_again_and_bad_input_is_refused(make_generator):
    card = {"network": "FourierNetwork", "width": 4, "layers": 1, "waves": 3}
    net = initialised(lambda: build(card), make_generator(0))
    assert isinstance(net, FourierNetwork) and isinstance(net.blocks, nn.ModuleList) and len(net.blocks) == 1
    with pytest.raises(ValueError, match="x must have shape"):
        net(torch.zeros(2, 1, 8), torch.zeros(2))
    with pytest.raises(TypeError, match="x must be float32"):
        net(torch.zeros(2, 8).double(), torch.zeros(2))
    with pytest.raises(ValueError, match="takes no labels"):
        net(torch.zeros(2, 8), torch.zeros(2), torch.zeros(2))
    for wrong in ({"width": 0}, {"layers": 0}, {"waves": 0}):
        with pytest.raises(ValueError, match="must be a whole number"):
            FourierNetwork(**wrong)
