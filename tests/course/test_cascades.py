"""Gaussian fields, octaves, cascades and the upsampler: against definitions, simulation, quadrature and matrices."""

import itertools
import math

import pytest
import torch

from minidiff import cascades, digits, samplers, schedules
from minidiff.networks import ConditionedUNet, initialised
from minidiff.training import Batch
from tests.cases import assert_close, normal

COSINE = schedules.cosine()
TIMES = torch.linspace(1, 0, 21, dtype=torch.float64)


def test_the_spectrum_of_white_noise_is_one_whatever_its_size(make_generator):
    """10,000 numbers at least in a spectrum: its mean is beyond 0.08 of 1 less than once in 10^8."""
    for n in (8, 12):
        x = normal((100, 1, n, n), make_generator(n))
        assert abs(float(cascades.power(x).mean()) - 1) < 0.08
        assert_close(cascades.power(x).mean(), x.square().mean())  # Parseval


def test_a_wave_lies_in_its_ring():
    place = torch.arange(16).double()
    for a, b in ((3, 0), (0, 5), (2, 2), (-3, 4)):
        wave = torch.cos(2 * math.pi * (a * place[:, None] + b * place) / 16)[None, None]
        found = cascades.ring_means(cascades.power(wave))
        assert int(found.argmax()) == round(math.hypot(a, b))
        assert float(found.sum() - found.max()) < 1e-20


def test_the_field_has_the_spectrum_that_was_asked_for(make_generator):
    S = cascades.power_law(16)
    assert float(S.mean()) == pytest.approx(1)
    x = cascades.draw_field(S, 1500, make_generator(0))
    ratio = cascades.ring_means(cascades.power(x.double())) / cascades.ring_means(S)
    assert float((ratio - 1).abs().max()) < 0.2


def test_the_covariance_of_a_field_is_that_of_its_pixels(make_generator):
    S = cascades.power_law(6)
    covariance = cascades.field_covariance(S)
    assert_close(covariance, covariance.T)
    assert_close(covariance.diagonal(), torch.ones(36).double())
    shifted = covariance.reshape(6, 6, 6, 6).roll((1, 2, 1, 2), (0, 1, 2, 3)).reshape(36, 36)
    assert_close(shifted, covariance)  # the same wherever one begins
    assert_close(torch.linalg.eigvalsh(covariance), S.flatten().sort().values)


def test_the_denoiser_is_the_best_linear_one(make_generator):
    """E[x0 | x_t] by matrices: alpha C (alpha^2 C + sigma^2)^-1 x_t."""
    S, t = cascades.power_law(6), torch.tensor(0.45, dtype=torch.float64)
    x, C = normal((4, 1, 6, 6), make_generator(0)).double(), cascades.field_covariance(S)
    alpha, sigma = COSINE.alpha(t), COSINE.sigma(t)
    by_matrix = alpha * x.flatten(1) @ torch.linalg.inv(alpha**2 * C + sigma**2 * torch.eye(36).double()) @ C
    assert_close(cascades.field_denoiser(S, COSINE)(x, t).flatten(1), by_matrix)


def test_the_recursion_is_what_the_sampler_of_the_package_draws(make_generator):
    """A step with the noise taken out is linear, so that its factor can be read from one picture."""
    S, source = cascades.power_law(6), make_generator(1)
    denoise, V = cascades.field_denoiser(S, COSINE), torch.ones(6, 6).double()
    wave = normal((1, 1, 6, 6), make_generator(0)).double()
    for t, s in itertools.pairwise(TIMES):
        mean = COSINE.posterior(wave, denoise(wave, t), t, s)[0]
        factor = (torch.fft.fft2(mean) / torch.fft.fft2(wave)).real[0, 0]
        V = factor**2 * V + COSINE.posterior_variance(t, s)
    assert_close(cascades.sampled_spectrum(S, COSINE, TIMES), V)
    x = samplers.last(
        samplers.ancestral(denoise, COSINE, COSINE.prior((3000, 1, 6, 6), source).double(), TIMES, generator=source)
    )
    assert float((cascades.power(x) / V - 1).abs().max()) < 0.15  # 3,000 squares each: 5 standard errors


def worst(sampled, n, steps):
    S, times = cascades.power_law(n), torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return float((sampled(S, COSINE, times) / S - 1).abs().max())


def test_many_steps_draw_the_right_spectrum_and_octaves_need_fewer():
    assert worst(cascades.sampled_spectrum, 8, 1000) < 0.01
    direct = [worst(cascades.sampled_spectrum, n, 50) for n in (16, 64)]
    octaves = [worst(cascades.sampled_by_octaves, n, 50) for n in (16, 64)]
    assert direct[1] > 0.25 > 1.4 * direct[0]
    assert octaves[1] == pytest.approx(octaves[0], rel=0.02) and octaves[0] < 0.11


@pytest.mark.parametrize("n", [4, 9, 16])
def test_every_frequency_is_in_one_octave(n):
    assert torch.equal(sum(octave.long() for octave in cascades.octaves(n)), torch.ones(n, n).long())


def test_a_cascade_that_is_told_the_truth_is_exact():
    C, A = cascades.field_covariance(cascades.power_law(8)), cascades.halving(8)
    for s in (0.01, 0.3, 2.0):
        assert_close(cascades.level_covariance(C, A, told=s, added=s), C)
    wrong = cascades.level_covariance(C, A, told=0.3, added=0.0)
    assert cascades.kl(wrong, C) > 0.05 and cascades.kl(C, C) == pytest.approx(0, abs=1e-9)
    assert cascades.disagreement(C, A, 1e-6) < 1e-6 < 0.01 < cascades.disagreement(C, A, 0.2)


def test_the_covariance_of_a_cascade_is_that_of_what_it_draws(make_generator):
    """By drawing: a coarse picture, its noise, then the fine picture given both, from the joint normal density."""
    C, A, told, added = cascades.field_covariance(cascades.power_law(4)), cascades.halving(4), 0.4, 0.2
    n, g = 40_000, make_generator(0)
    x = normal((n, 16), g).double() @ torch.linalg.cholesky(C).T
    seen = x @ A.T + added * normal((n, 4), g).double()
    joint = A @ C @ A.T + told**2 * torch.eye(4)
    mean = seen @ torch.linalg.inv(joint) @ A @ C
    rest = C - C @ A.T @ torch.linalg.inv(joint) @ A @ C
    drawn = mean + normal((n, 16), g).double() @ torch.linalg.cholesky(rest).T
    assert float((torch.cov(drawn.T) - cascades.level_covariance(C, A, told=told, added=added)).abs().max()) < 0.04


def test_kl_of_a_number_is_the_closed_form():
    a, b = torch.tensor([[0.7]]).double(), torch.tensor([[1.9]]).double()
    assert cascades.kl(a, b) == pytest.approx(0.5 * (0.7 / 1.9 - 1 - math.log(0.7 / 1.9)))


def test_halved_and_enlarged_undo_each_other(make_generator):
    coarse = normal((2, 1, 3, 3), make_generator(0))
    assert_close(cascades.halved(cascades.enlarged(coarse)), coarse)
    x = normal((1, 1, 6, 6), make_generator(1)).double()
    assert_close(x.flatten(1) @ cascades.halving(6).T, cascades.halved(x).flatten(1))


def test_an_upsampler_sees_a_noisy_coarse_picture_and_how_noisy(make_generator):
    x, s = normal((200, 1, 8, 8), make_generator(0)), torch.linspace(0, 0.5, 200).double()
    y = cascades.coarse_beside(cascades.halved(x), s, make_generator(1))
    assert y.shape == (200, 2, 8, 8)
    assert_close(y[:, 1], (1 - s)[:, None, None].expand(-1, 8, 8))
    noise = (cascades.halved(y[:, :1]) - cascades.halved(x))[100:] / s[100:, None, None, None]
    assert abs(float(noise.square().mean()) - 1) < 0.2
    assert_close(cascades.enlarged(cascades.halved(y[:, :1])), y[:, :1])


def test_the_objective_hands_the_network_what_it_is_told(make_generator):
    objective = cascades.upsampling_objective(COSINE, "x0", digits.digit_weight)
    draws = objective.draw(Batch(normal((400, 1, 8, 8), make_generator(0)).float()), make_generator(1))
    silent = draws.y.flatten(1).abs().sum(1) == 0
    assert 10 < int(silent.sum()) < 80  # a tenth
    trust = draws.y[~silent, 1, 0, 0]
    assert float(trust.min()) >= 0.5 and float(trust.max()) <= 1
    net = initialised(lambda: ConditionedUNet(1, 2, (16, 16), 1, 2), make_generator(2))
    losses = objective.loss(net, draws)
    assert losses.shape == (400,)
    weights = digits.digit_weight(COSINE, draws.t)  # the network begins with 0, so that the loss is x0's square
    assert_close(losses, weights * draws.x0.square().flatten(1).mean(1))


def test_what_lies_beside_changes_the_answer_and_may_be_left_out(make_generator):
    net = initialised(lambda: ConditionedUNet(2, 3, (16, 16), 1, 2), make_generator(0))
    torch.nn.init.normal_(net.net.conv_out.weight, generator=make_generator(3))
    x, y = normal((2, 2, 8, 8), make_generator(1)).float(), normal((2, 3, 8, 8), make_generator(2)).float()
    level = torch.zeros(2)
    with torch.no_grad():
        alone, silent, told = net(x, level), net(x, level, torch.zeros_like(y)), net(x, level, y)
    assert alone.shape == x.shape
    assert_close(alone, silent)
    assert float((told - alone).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="y must have shape"):
        net(x, level, y[:, :2])


def test_upsampled_pictures_are_twice_as_large_and_follow_the_seed(make_generator):
    net = initialised(lambda: ConditionedUNet(1, 2, (16, 16), 1, 2), make_generator(0))
    coarse = normal((3, 1, 4, 4), make_generator(1)).float()
    x, again = (cascades.upsampled(net, coarse, 0.1, steps=3, generator=make_generator(2)) for _ in range(2))
    assert x.shape == (3, 1, 8, 8) and torch.equal(x, again)
