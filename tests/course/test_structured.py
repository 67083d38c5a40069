"""Mixtures of simple structure: against full covariances, conditionals by matrices, and quadrature over frequencies."""

import math

import pytest
import torch

from minidiff import exact
from minidiff.paths import GaussianPath
from minidiff.schedules import cosine
from minidiff.structured import LowRankMixture, StationaryMixture
from tests.cases import assert_close, every_path, normal, number

N, GAP = 12, torch.tensor([3, 4, 5, 9])
KNOWN = torch.ones(N, dtype=torch.bool).index_fill(0, GAP, False)


def low_rank(make_generator) -> LowRankMixture:
    """Two components, of rank 3 and 2."""
    matrices = [normal((N, 3), make_generator(0)), 2 * normal((N, 2), make_generator(1))]
    return LowRankMixture.from_matrices(matrices, floor=0.05, weights=torch.tensor([0.3, 0.7], dtype=torch.float64))


def stationary(make_generator) -> StationaryMixture:
    spectra = torch.exp(normal((2, N // 2 + 1), make_generator(0)))
    return StationaryMixture(torch.tensor([0.3, 0.7], dtype=torch.float64), spectra)


def full(mixture) -> exact.GaussianMixture:
    """The same distribution with a matrix for each component."""
    if isinstance(mixture, StationaryMixture):
        covariances = mixture.covariance()
    else:
        covariances = mixture.bases @ torch.diag_embed(mixture.variances) @ mixture.bases.mT
        covariances = covariances + mixture.floor * torch.eye(N, dtype=torch.float64)
    return exact.GaussianMixture(mixture.weights, torch.zeros(2, N).double(), (covariances + covariances.mT) / 2)


every_mixture = pytest.mark.parametrize("make", [low_rank, stationary])


def test_from_matrices_has_their_covariances(make_generator):
    mixture, a = low_rank(make_generator), normal((N, 3), make_generator(0))
    assert_close(full(mixture).covariances[0], a @ a.T + 0.05 * torch.eye(N, dtype=torch.float64), 1e-10)
    assert mixture.bases.shape == (2, N, 3) and float(mixture.bases[1, :, 2].abs().max()) == 0
    even = LowRankMixture.from_matrices([a, a], 0.1)
    assert_close(even.weights, torch.tensor([0.5, 0.5], dtype=torch.float64))


def test_a_circulant_covariance_depends_on_the_distance_on_the_circle(make_generator):
    mixture = stationary(make_generator)
    found = mixture.covariance()
    assert_close(found, found.roll((1, 1), (1, 2)))
    white = StationaryMixture(torch.ones(1).double(), torch.ones(1, 5).double())
    assert_close(white.covariance()[0], torch.eye(8, dtype=torch.float64))


@every_mixture
@every_path
def test_all_that_is_known_agrees_with_full_covariances(make, path, make_generator):
    mixture = make(make_generator)
    other, x = full(mixture), 2 * normal((6, N), make_generator(2))
    for t in (number(0.1), number(0.6), torch.linspace(0.1, 0.9, 6, dtype=torch.float64)):
        assert_close(mixture.denoiser(path)(x, t), exact.posterior_mean(other, path, x, t), 1e-8)
        assert_close(mixture.responsibilities(path, x, t), exact.responsibilities(other, path, x, t), 1e-8)
        total = torch.logsumexp(mixture.log_joint(path, x, t), dim=1)
        assert_close(total, exact.log_prob(other, path, x, t), 1e-8)


@every_mixture
def test_samples_have_the_covariance_and_the_labels(make, make_generator):
    """40,000 draws: an entry's standard error is at most sqrt(2) times the variance over 200; 7 of them."""
    mixture = make(make_generator)
    x, component = mixture.sample(40_000, make_generator(3))
    for k in (0, 1):
        own = x[component == k]
        wanted = full(mixture).covariances[k]
        bound = 7 * math.sqrt(2 / len(own)) * float(wanted.diagonal().max())
        assert float((own.T @ own / len(own) - wanted).abs().max()) < bound
    assert float((component == 1).double().mean()) == pytest.approx(0.7, abs=0.02)


@every_mixture
def test_one_component_is_a_distribution_of_its_own(make, make_generator):
    mixture, x = make(make_generator), normal((3, N), make_generator(2))
    alone = exact.GaussianMixture(torch.ones(1).double(), torch.zeros(1, N).double(), full(mixture).covariances[1:])
    found = mixture.only(1).denoiser(cosine())(x, number(0.4))
    assert_close(found, exact.posterior_mean(alone, cosine(), x, number(0.4)), 1e-8)


def conditional(covariance, y):
    """Mean, (B, 4), and covariance, (4, 4), of the gap given the rest, by the textbook's formula; and log p(y)."""
    seen, across = covariance[KNOWN][:, KNOWN], covariance[~KNOWN][:, KNOWN]
    gain = across @ torch.linalg.inv(seen)
    law = torch.distributions.MultivariateNormal(torch.zeros(len(seen)).double(), seen)
    return y @ gain.T, covariance[~KNOWN][:, ~KNOWN] - gain @ across.T, law.log_prob(y)


@every_mixture
def test_a_gap_is_filled_with_the_conditional_mean(make, make_generator):
    mixture = make(make_generator)
    x, _ = mixture.sample(5, make_generator(2))
    parts = [conditional(C, x[:, KNOWN]) for C in full(mixture).covariances]
    weights = torch.softmax(mixture.weights.log() + torch.stack([part[2] for part in parts], 1), dim=1)
    wanted = sum(weights[:, k : k + 1] * part[0] for k, part in enumerate(parts))
    found = mixture.fill(x, KNOWN)
    assert_close(found.x[:, ~KNOWN], wanted, 1e-8)
    assert torch.equal(found.x[:, KNOWN], x[:, KNOWN]) and torch.equal(found.component, weights.argmax(1))
    hidden = x.masked_fill(~KNOWN, 1e3)  # what stands in the gap does not matter
    assert_close(mixture.fill(hidden, KNOWN).x, found.x, 1e-8)


@every_mixture
def test_draws_into_a_gap_have_the_conditional_distribution(make, make_generator):
    """20,000 draws for one known part. Mean and covariance of each component within 7 standard errors."""
    mixture = make(make_generator)
    x = mixture.sample(1, make_generator(4))[0].expand(20_000, N)
    found = mixture.fill(x, KNOWN, make_generator(5))
    parts = [conditional(C, x[:1, KNOWN]) for C in full(mixture).covariances]
    log_p = mixture.weights.log() + torch.cat([part[2] for part in parts])
    share = float(torch.softmax(log_p, 0)[1])
    assert float((found.component == 1).double().mean()) == pytest.approx(share, abs=0.03)
    for k, (mean, covariance, _) in enumerate(parts):
        drawn = found.x[found.component == k][:, ~KNOWN]
        if len(drawn) > 500:
            bound = 7 * float(covariance.diagonal().max()) / math.sqrt(len(drawn))
            assert float((drawn.mean(0) - mean).abs().max()) < 7 * math.sqrt(covariance.diagonal().max() / len(drawn))
            assert float((torch.cov(drawn.T) - covariance).abs().max()) < math.sqrt(2) * bound
    assert torch.equal(found.x[:, KNOWN], x[:, KNOWN])


@every_path
def test_the_error_of_wieners_filter_is_the_trace_of_the_posterior(path, make_generator):
    mixture, t = stationary(make_generator), number(0.5)
    wanted = []
    for k in (0, 1):
        alone = exact.GaussianMixture(
            torch.ones(1).double(), torch.zeros(1, N).double(), full(mixture).covariances[k][None]
        )
        spread = exact.reverse_kernel(alone, path, torch.zeros(1, N).double(), t, number(0.0), to_data=True)
        wanted.append(spread.covariance()[0].diagonal().mean())
    assert_close(mixture.error(path, t), torch.stack(wanted), 1e-9)


def test_the_share_of_energy_inside_a_space(make_generator):
    mixture = low_rank(make_generator)
    x = normal((4, 2), make_generator(2)) @ mixture.bases[1, :, :2].T
    assert_close(mixture.inside(x)[:, 1], torch.ones(4, dtype=torch.float64))
    across = torch.linalg.lstsq(mixture.bases[0], x.T).solution
    assert_close(mixture.inside(x)[:, 0], across.square().sum(0) / x.square().sum(1), 1e-9)


def test_scaled_data_and_single_precision(make_generator):
    mixture, x = low_rank(make_generator), normal((4, N), make_generator(2))
    path, t = cosine(), number(0.4)
    louder = GaussianPath(alpha=lambda t: path.alpha(t) * 3, sigma=path.sigma)
    assert_close(mixture.scaled(3.0).denoiser(path)(x, t), 3 * mixture.denoiser(louder)(x, t), 1e-9)
    for kind in (mixture, stationary(make_generator)):
        found = kind.denoiser(path)(x.float(), t.float())
        assert found.dtype == torch.float32
        assert_close(found.double(), kind.denoiser(path)(x, t), 1e-5)
        assert kind.fill(x.float(), KNOWN).x.dtype == torch.float32
    assert mixture.like(x.float()) is mixture.like(x.float()) and mixture.like(x) is mixture


def test_what_cannot_be_meant_is_refused(make_generator):
    one, basis = torch.ones(1).double(), torch.eye(4).double()[None, :, :2]
    with pytest.raises(ValueError, match="weights must be positive and sum to 1"):
        LowRankMixture(0.5 * one, basis, torch.ones(1, 2).double(), 0.1)
    with pytest.raises(ValueError, match="floor must be finite and > 0"):
        LowRankMixture(one, basis, torch.ones(1, 2).double(), 0.0)
    with pytest.raises(ValueError, match="bases must have shape"):
        LowRankMixture(one, basis[0], torch.ones(1, 2).double(), 0.1)
    with pytest.raises(ValueError, match="variances must be of shape"):
        LowRankMixture(one, basis, -torch.ones(1, 2).double(), 0.1)
    with pytest.raises(ValueError, match="must be orthonormal"):
        LowRankMixture(one, 2 * basis, torch.ones(1, 2).double(), 0.1)
    with pytest.raises(ValueError, match="spectra must be positive"):
        StationaryMixture(one, torch.zeros(1, 5).double())
    for mixture in (low_rank(make_generator), stationary(make_generator)):
        with pytest.raises(ValueError, match=r"x_t must hold signals of 12 numbers"):
            mixture.denoiser(cosine())(torch.zeros(2, 11).double(), number(0.5))
        with pytest.raises(ValueError, match="known must be a bool tensor"):
            mixture.fill(torch.zeros(2, N).double(), KNOWN.double())
        with pytest.raises(ValueError, match="known must leave a gap"):
            mixture.fill(torch.zeros(2, N).double(), torch.ones(N, dtype=torch.bool))
        with pytest.raises(ValueError, match="count must be a whole number"):
            mixture.sample(0, make_generator(0))
