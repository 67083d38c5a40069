"""Autoencoders and their latents: against probabilistic PCA, SciPy's quadrature, gradients, walks, and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm
from sklearn.decomposition import PCA
from torch import nn

from minidiff import exact, latents, samplers, schedules
from minidiff.exact import GaussianMixture
from minidiff.latents import LinearVAE
from minidiff.networks import Autoencoder, initialised
from minidiff.schedules import cosine, vp_linear
from minidiff.training import Batch, batches, train
from tests.cases import assert_close, dkw_bound, normal, number, random_mixture

EIGENVALUES = torch.tensor([6.0, 3.0, 1.5, 0.75, 0.3, 0.15], dtype=torch.float64)
STD, MEAN = 0.2, math.sqrt(1 - 0.2**2)
VP = vp_linear()
every_level = pytest.mark.parametrize("level", [2.0, 1.0, 0.5, 0.2, 0.1])


def normal_data(make_generator):
    """Mean, covariance and axes of normal data in six dimensions."""
    axes = torch.linalg.qr(normal((6, 6), make_generator(0))).Q
    return normal((6,), make_generator(1)), (axes * EIGENVALUES) @ axes.T, axes


def two_blobs(distance=1.0, std=0.2):
    weights, means = (torch.tensor(values, dtype=torch.float64) for values in ([0.4, 0.6], [[-distance], [distance]]))
    return GaussianMixture(weights, means, torch.full((2, 1, 1), std**2, dtype=torch.float64))


class Scripted(nn.Module):
    """An autoencoder that can be read: the latent is the sum of x, and its image 3 z in every number."""

    def encode(self, x):
        total = x.flatten(1).sum(dim=1, keepdim=True)
        return total, torch.full_like(total, math.log(0.25))

    def decode(self, z):
        return (3 * z).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


# --- rate and loss ---------------------------------------------------------------------------------------------------


def test_the_rate_is_the_divergence_of_pytorch_s_normals(make_generator):
    mean, log_variance = normal((5, 3), make_generator(0)), normal((5, 3), make_generator(1))
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    p = torch.distributions.Normal(torch.zeros(5, 3).double(), torch.ones(5, 3).double())
    assert_close(latents.rate(mean, log_variance), torch.distributions.kl_divergence(q, p).sum(dim=1))
    assert_close(latents.rate(torch.zeros(2, 3), torch.zeros(2, 3)), torch.zeros(2))


def test_the_loss_is_minus_the_elbo_up_to_scale_and_constant(make_generator):
    """By hand: -log p(x | z) by SciPy's normal density at the latent that was drawn, and the rate."""
    x, std = normal((3, 1, 2, 2), make_generator(0)), 0.7
    objective = latents.autoencoder_objective(1, std)
    draws = objective.draw(Batch(x), make_generator(1))
    assert draws.eps.shape == (3, 1) and draws.eps.dtype == x.dtype and draws.t is None
    net = Scripted()
    z = net.encode(x)[0] + 0.5 * draws.eps
    minus_log_p = [
        -multivariate_normal.logpdf(one.flatten().numpy(), (3 * code.numpy()).repeat(4), std**2)
        for one, code in zip(x, z, strict=True)
    ]
    minus_elbo = torch.tensor(minus_log_p) + latents.rate(*net.encode(x))
    assert_close(objective.loss(net, draws), 2 * std**2 / 4 * (minus_elbo - 2 * math.log(2 * math.pi * std**2)))


def test_the_loss_draws_from_q(make_generator):
    """The mean over 40,000 draws, within 6 standard errors."""
    x = torch.full((40_000, 1, 2, 2), 0.1, dtype=torch.float64)
    loss = latents.autoencoder_objective(1, 1.0)(Scripted(), Batch(x), make_generator(0))
    error = 4 * ((0.1 - 3 * 0.4) ** 2 + 9 * 0.25)  # bias, and variance of 3 z
    expected = (error + 2 * latents.rate(*Scripted().encode(x[:1]))) / 4
    assert abs(float(loss.mean() - expected)) < 6 * float(loss.std()) / 200


def test_encoded_and_decoded_go_through_all_parts(make_generator):
    x = normal((1203, 1, 2, 2), make_generator(0))
    means = latents.encoded(Scripted(), x)
    assert_close(means, x.flatten(1).sum(dim=1, keepdim=True))
    drawn = latents.encoded(Scripted(), x, make_generator(1)) - means
    assert abs(float(drawn.std()) - 0.5) < 0.06 and len(drawn.unique()) > 1200
    assert_close(latents.decoded(Scripted(), means), (3 * means)[:, :, None, None].expand(-1, -1, 2, 2))


# --- the linear VAE --------------------------------------------------------------------------------------------------


@every_level
def test_the_best_linear_vae_reaches_the_likelihood_of_probabilistic_pca(level, make_generator):
    """Its ELBO is E log N(x; mean, W W^T + level I), which no ELBO can pass, and rate and distortion fill up water."""
    mean, covariance, axes = normal_data(make_generator)
    vae = latents.linear_vae(mean, covariance, 5, math.sqrt(level))
    found = latents.costs(vae, covariance)
    model = vae.decoder @ vae.decoder.T + level * torch.eye(6, dtype=torch.float64)
    likelihood = -0.5 * (
        6 * math.log(2 * math.pi) + torch.logdet(model) + torch.linalg.solve(model, covariance).trace()
    )
    kept = EIGENVALUES[:5]
    assert found.elbo == pytest.approx(float(likelihood), abs=1e-9)
    assert found.rate == pytest.approx(float(0.5 * torch.log((kept / level).clamp(min=1)).sum()), abs=1e-9)
    assert found.distortion == pytest.approx(float(kept.clamp(max=level).sum() + EIGENVALUES[5]), abs=1e-9)
    assert vae.active == int((kept > level).sum())
    assert_close((axes.T @ vae.decoder).abs()[:5], torch.diag((kept - level).clamp(min=0).sqrt()), 1e-6)


def test_the_model_is_scikit_learn_s_pca(make_generator):
    x = normal((400, 6), make_generator(2)) * EIGENVALUES.sqrt()
    pca = PCA(3).fit(x.numpy())
    vae = latents.linear_vae(x.mean(dim=0), x.T.cov(), 3, math.sqrt(pca.noise_variance_))
    model = vae.decoder @ vae.decoder.T + pca.noise_variance_ * torch.eye(6, dtype=torch.float64)
    np.testing.assert_allclose(model.numpy(), pca.get_covariance(), rtol=1e-8)
    covariance = x.T.cov(correction=0)
    vae = LinearVAE(vae.encoder, vae.decoder, vae.mean, vae.variances, vae.std)
    tight = latents.costs(latents.linear_vae(vae.mean, covariance, 3, vae.std), covariance).elbo
    assert tight == pytest.approx(pca.score(x.numpy()), rel=1e-3)  # scikit-learn divides by n - 1


@every_level
def test_no_change_of_a_weight_makes_the_elbo_larger(level, make_generator):
    mean, covariance, _ = normal_data(make_generator)
    best = latents.linear_vae(mean, covariance, 4, math.sqrt(level))
    highest, g = latents.costs(best, covariance).elbo, make_generator(5)
    for size in (1e-3, 1e-2, 0.3):
        for _ in range(5):
            other = LinearVAE(
                best.encoder + size * normal(best.encoder.shape, g),
                best.decoder + size * normal(best.decoder.shape, g),
                best.mean,
                best.variances * torch.exp(size * normal(best.variances.shape, g)),
                best.std,
            )
            assert latents.costs(other, covariance).elbo < highest


def test_costs_are_the_means_over_data(make_generator):
    """Of any linear VAE. 200,000 draws; the bounds are above 6 standard errors."""
    mean, covariance, _ = normal_data(make_generator)
    g = make_generator(3)
    vae = LinearVAE(0.3 * normal((3, 6), g), normal((6, 3), g), mean, normal((3,), g).exp() / 2, 0.8)
    x = mean + normal((200_000, 6), g) @ torch.linalg.cholesky(covariance).T
    found, codes = latents.costs(vae, covariance), vae.encode(x)
    z = codes[0] + (codes[1] / 2).exp() * normal((200_000, 3), g)
    errors, rates = (x - vae.decode(z)).square().sum(dim=1), latents.rate(*codes)
    for samples, expected in ((errors, found.distortion), (rates, found.rate)):
        assert abs(float(samples.mean()) - expected) < 6 * float(samples.std()) / math.sqrt(200_000)
    assert found.elbo == pytest.approx(-found.rate - found.distortion / 1.28 - 3 * math.log(2 * math.pi * 0.64))


def test_training_finds_the_same_latents(make_generator):
    """A linear network, by the package's loss: rate within 0.1 nats of the exact one, and two latents asleep."""

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False)
            self.log_variance = nn.Parameter(torch.zeros(3))

        def encode(self, x):
            return self.encoder(x), self.log_variance.expand(len(x), -1)

        def decode(self, z):
            return self.decoder(z)

    covariance = torch.diag(torch.tensor([5.0, 0.5, 0.3, 0.1]))
    x = torch.randn(4000, 4, generator=make_generator(0)) * covariance.diagonal().sqrt()
    net = initialised(Linear, make_generator(1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    loss = latents.autoencoder_objective(3, 1.0)
    for _ in train(net, batches(x, batch_size=256, steps=400, seed=0), loss, optimizer, generator=make_generator(2)):
        pass
    weights = (
        *(w.detach() for w in (net.encoder.weight, net.decoder.weight)),
        torch.zeros(4),
        net.log_variance.detach().exp(),
        1.0,
    )
    found = latents.costs(LinearVAE(*weights), covariance)
    best = latents.costs(latents.linear_vae(torch.zeros(4), covariance, 3, 1.0), covariance)
    assert LinearVAE(*weights).active == 1
    assert found.rate == pytest.approx(best.rate, abs=0.1) and best.elbo - 0.05 < found.elbo <= best.elbo + 1e-6


# --- aggregate posterior and holes -----------------------------------------------------------------------------------


def test_the_latents_of_all_data_have_the_aggregate_density(make_generator):
    mixture = random_mixture(3, (4,), make_generator(0))
    vae = latents.linear_vae(mixture.mean(), mixture.covariance(), 1, 0.3)
    q = latents.aggregate(mixture, vae)
    mean, log_variance = vae.encode(mixture.sample(20_000, make_generator(1))[0])
    z = mean + (log_variance / 2).exp() * normal(mean.shape, make_generator(2))
    cdf = exact.cdf(q, cosine(), z.sort(dim=0).values, number(0.0))
    steps = torch.arange(1, 20_001) / 20_000
    assert float((cdf - steps).abs().max()) < dkw_bound(20_000)


def test_active_latents_of_any_data_have_mean_zero_and_covariance_one(make_generator):
    """So mean and covariance cannot see a hole: a theorem about the best linear VAE, whatever the data."""
    mixture = random_mixture(5, (6,), make_generator(0))
    vae = latents.linear_vae(mixture.mean(), mixture.covariance(), 6, 0.25)
    q = latents.aggregate(mixture, vae)
    assert 1 <= vae.active
    assert_close(q.mean(), torch.zeros(6, dtype=torch.float64), 1e-10)
    assert_close(q.covariance(), torch.eye(6, dtype=torch.float64), 1e-10)


@pytest.mark.parametrize("variance", [0.05, 0.3, 0.8])
def test_the_rate_splits_into_information_and_hole(variance):
    """Each by SciPy's quadrature. The latents: two blobs whose means z are blurred by N(0, variance)."""
    q = two_blobs(0.9, math.sqrt(0.04 + variance))
    found = latents.rate_parts(q, variance)
    assert found.rate == pytest.approx(found.information + found.hole, abs=1e-9)

    def density(z):
        std = math.sqrt(0.04 + variance)
        return 0.4 * norm.pdf(z, -0.9, std) + 0.6 * norm.pdf(z, 0.9, std)

    hole = quad(lambda z: density(z) * (math.log(density(z)) - norm.logpdf(z)), -8, 8, limit=200)[0]
    entropy = quad(lambda z: -density(z) * math.log(density(z)), -8, 8, limit=200)[0]
    assert found.hole == pytest.approx(hole, abs=1e-8)
    assert found.information == pytest.approx(entropy - 0.5 * math.log(2 * math.pi * math.e * variance), abs=1e-8)


def test_normal_latents_have_no_hole():
    one = GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.ones(1, 1, 1))
    found = latents.rate_parts(one, 0.25)
    assert found.hole == pytest.approx(0, abs=1e-9) and found.information == pytest.approx(math.log(2))
    assert latents.in_the_hole(one) == 0 and latents.in_the_hole(one, 0.5) == pytest.approx(1)


def test_the_hole_of_two_blobs_lies_between_them_and_outside():
    """Its edges by a root finder."""
    q = two_blobs(1.0, 0.2)

    def excess(z):
        return norm.pdf(z) - 3 * (0.4 * norm.pdf(z, -1, 0.2) + 0.6 * norm.pdf(z, 1, 0.2))

    edges = [brentq(excess, *ends) for ends in ((-3, -1), (-1, 0), (0, 1), (1, 3))]
    cdf = norm.cdf(edges)
    expected = cdf[0] + cdf[2] - cdf[1] + 1 - cdf[3]
    assert latents.in_the_hole(q) == pytest.approx(expected, abs=2e-3)


def test_holes_are_seen_on_a_line_only(make_generator):
    with pytest.raises(ValueError, match="latents must lie on a line"):
        latents.rate_parts(random_mixture(2, (2,), make_generator(0)), 0.1)


# --- scale, and the way between two latents --------------------------------------------------------------------------


def test_units_bring_latents_to_unit_scale_and_back(make_generator):
    z = 5 + normal((3000, 4), make_generator(0)) * torch.tensor([1.0, 2.0, 3.0, 0.1], dtype=torch.float64)
    units = latents.units_of(z)
    scaled = units.to(z)
    assert_close(scaled.mean(dim=0), torch.zeros(4, dtype=torch.float64), 1e-10)
    assert float(scaled.square().mean()) == pytest.approx(1)
    assert_close(scaled.std(dim=0)[1] / scaled.std(dim=0)[0], z.std(dim=0)[1] / z.std(dim=0)[0])  # one scale for all
    assert_close(units.back(scaled), z)
    other = latents.units_of(normal((50, 2, 3, 3), make_generator(1)))
    assert other.shift.shape == (2, 3, 3) and other.spread.shape == ()


def test_a_scale_of_the_data_is_a_shift_of_log_snr(make_generator):
    """E[c x0 | c x0 at t] = c E[x0 | x0 at s], where the log-SNR at s is larger by 2 ln c: exactly."""
    path, scale, t = cosine(), 5.5, number(0.8)
    mixture = random_mixture(3, (2,), make_generator(0))
    large = GaussianMixture(mixture.weights, scale * mixture.means, scale**2 * mixture.covariances)
    s = schedules.time_at_log_snr(path, path.log_snr(t) + 2 * math.log(scale))
    x = normal((6, 2), make_generator(1))
    moved = x * path.sigma(s) / path.sigma(t)
    assert_close(exact.posterior_mean(large, path, x, t), scale * exact.posterior_mean(mixture, path, moved, s), 1e-9)


def test_slerp_goes_along_the_arc(make_generator):
    a, b = (normal((7, 3, 2, 2), make_generator(i)) for i in range(2))
    assert_close(latents.slerp(a, b, 0.0), a)
    assert_close(latents.slerp(a, b, 1.0), b)
    unit = [x / x.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) for x in (a, b)]
    angle = torch.acos((unit[0] * unit[1]).flatten(1).sum(dim=1))
    for share in (0.25, 0.5, 0.9):
        point = latents.slerp(*unit, share)
        assert_close(point.flatten(1).norm(dim=1), torch.ones(7, dtype=torch.float64))
        assert_close(torch.acos((point * unit[0]).flatten(1).sum(dim=1)), share * angle, 1e-7)
        length = (1 - share) * a.flatten(1).norm(dim=1) + share * b.flatten(1).norm(dim=1)
        assert_close(latents.slerp(a, b, share).flatten(1).norm(dim=1), length)


def test_slerp_of_one_point_with_itself_is_that_point(make_generator):
    a = normal((4, 5), make_generator(0))
    assert_close(latents.slerp(a, a, 0.3), a)
    assert_close(latents.slerp(a, 2 * a, 0.5), 1.5 * a)
    with pytest.raises(ValueError, match="b must have the shape of a"):
        latents.slerp(a, a[:2], 0.5)


# --- when it is decided ----------------------------------------------------------------------------------------------


def modes(mean=MEAN, std=STD):
    return GaussianMixture(torch.tensor([0.5, 0.5]), torch.tensor([[-mean], [mean]]), torch.full((2, 1, 1), std**2)).to(
        torch.float64
    )


@pytest.mark.parametrize("path", [VP, cosine(), schedules.rectified_flow()], ids=["vp", "cosine", "straight"])
def test_the_density_splits_where_its_curvature_at_the_middle_changes_sign(path):
    def curvature(t):
        x = number(0.0)
        second = torch.func.grad(torch.func.grad(lambda x: density(x, t)))
        return float(second(x))

    def density(x, t):
        return exact.log_prob(modes(), path, x.reshape(1, 1), number(t))[0].exp()

    assert latents.density_split(path, MEAN, STD) == pytest.approx(brentq(curvature, 0.02, 0.98), abs=1e-6)


@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), (2.0, 0.5), (0.7, 0.3)])
def test_the_drift_splits_where_its_slope_at_the_middle_changes_sign(mean, std):
    """The reverse SDE of a path with beta: dx = (x / 2 + score) beta ds. At the middle score is slope times x."""

    def slope(t):
        score = exact.score(modes(mean, std), VP, torch.full((1, 1), 1e-6, dtype=torch.float64), number(t))
        return 0.5 + float(score) / 1e-6

    assert latents.drift_split(VP, mean, std) == pytest.approx(brentq(slope, 0.02, 0.98), abs=1e-5)


def test_the_splits_of_data_with_variance_1():
    """alpha^2 mean^2 is 1/2 where the density splits, and sqrt(2) - 1 where the drift does (Raya & Ambrogioni)."""
    for split, expected in ((latents.density_split, 0.5), (latents.drift_split, math.sqrt(2) - 1)):
        signal = VP.alpha(number(split(VP, MEAN, STD))) * MEAN
        assert float(signal**2) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("t", [0.1, 0.3, 0.6])
def test_two_walks_agree_as_often_as_quadrature_says(t, make_generator):
    """Both ends drawn from the exact p(x0 | x_t), 20,000 times: within 6 standard errors."""
    x0, _ = modes().sample(20_000, make_generator(0))
    x_t = VP.perturb(x0, number(t), normal(x0.shape, make_generator(1)))
    kernel = exact.reverse_kernel(modes(), VP, x_t, number(t), number(0.0), to_data=True)
    ends = [kernel.sample(make_generator(i)) > 0 for i in (2, 3)]
    agreed = float((ends[0] == ends[1]).double().mean())
    assert abs(agreed - latents.clone_agreement(VP, MEAN, STD, t)) < 6 * 0.5 / math.sqrt(20_000)


def test_a_sampler_s_walks_agree_as_often(make_generator):
    """By 60 ancestral steps from t = 0.3, 4,000 pairs: within 0.04, of which 0.02 is the steps' own error."""
    t = number(0.3)
    x0, _ = modes().sample(4000, make_generator(0))
    x_t = VP.perturb(x0, t, normal(x0.shape, make_generator(1)))
    times = torch.cat([schedules.log_snr_times(VP, 60, 1e-4, 0.3), torch.zeros(1, dtype=torch.float64)])
    denoise = exact.mixture_denoiser(modes(), VP)
    ends = [
        samplers.last(samplers.ancestral(denoise, VP, x_t, times, generator=make_generator(i)))[:, 0] > 0
        for i in (2, 3)
    ]
    agreed = float((ends[0] == ends[1]).double().mean())
    assert abs(agreed - latents.clone_agreement(VP, MEAN, STD, 0.3)) < 0.04


def test_only_the_direction_between_the_modes_counts(make_generator):
    """In 9 dimensions, E sum r^2 of the mixture itself by 40,000 draws, against mean = 3 m."""
    m, t = MEAN / 2, number(0.35)
    means = torch.full((2, 9), m, dtype=torch.float64)
    means[0] *= -1
    covariances = (STD**2 * torch.eye(9, dtype=torch.float64)).expand(2, 9, 9)
    mixture = GaussianMixture(torch.tensor([0.5, 0.5], dtype=torch.float64), means, covariances)
    x0, _ = mixture.sample(40_000, make_generator(0))
    r = exact.responsibilities(mixture, VP, VP.perturb(x0, t, normal(x0.shape, make_generator(1))), t)
    squares = r.square().sum(dim=1)
    expected = latents.clone_agreement(VP, 3 * m, STD, 0.35)
    assert abs(float(squares.mean()) - expected) < 6 * float(squares.std()) / 200


def test_the_clone_time_is_where_three_of_four_pairs_agree():
    t = latents.clone_time(VP, MEAN, STD)
    assert latents.clone_agreement(VP, MEAN, STD, t) == pytest.approx(0.75, abs=1e-9)
    assert latents.density_split(VP, MEAN, STD) < t < latents.drift_split(VP, MEAN, STD)
    assert latents.clone_time(VP, MEAN, STD, 0.9) < t
    assert latents.clone_agreement(VP, MEAN, STD, 1e-6) == pytest.approx(1, abs=1e-6)
    for share in (0.5, 1.0):
        with pytest.raises(ValueError, match="share must lie between"):
            latents.clone_time(VP, MEAN, STD, share)
    with pytest.raises(ValueError, match="share must be reached"):
        latents.clone_time(VP, 0.05, 0.2, 0.9)


def test_one_peak_never_splits():
    for split in (latents.density_split, latents.drift_split):
        with pytest.raises(ValueError, match="mean must be larger than std"):
            split(VP, 0.2, 0.3)


# --- the network -----------------------------------------------------------------------------------------------------


def small(**more):
    return Autoencoder(**{"side": 8, "latent": 3, "widths": (16, 32), "narrow": 2, **more})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_autoencoder_gives_a_normal_distribution_and_an_image(dtype, make_generator):
    net = initialised(lambda: small(channels=3), make_generator(0)).to(dtype)
    x = normal((5, 3, 8, 8), make_generator(1)).to(dtype)
    mean, log_variance = net.encode(x)
    assert mean.shape == log_variance.shape == (5, 3) and mean.dtype == dtype
    assert net.decode(mean).shape == x.shape and torch.equal(net(x), net.decode(mean))
    torch.testing.assert_close(net.encode(x[:2])[0], mean[:2])  # a sample does not see its neighbours
    assert float(net.encode(1e6 * x)[1].detach().abs().max()) <= 14


def test_gradients_reach_every_weight_of_the_autoencoder(make_generator):
    net, x = initialised(small, make_generator(0)), torch.randn(8, 1, 8, 8, generator=make_generator(1))
    optimizer, loss = torch.optim.SGD(net.parameters(), lr=0.1), latents.autoencoder_objective(3, 1.0)
    for _ in range(2):
        optimizer.zero_grad()
        loss(net, Batch(x), make_generator(2)).mean().backward()
        optimizer.step()
    for name, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"side": 10}, "side must be a multiple of 4, but is 10"),
        ({"widths": (16,)}, "widths must be those of two levels"),
        ({"widths": (10, 20)}, "widths must be one or more multiples of 16"),
        ({"latent": 0}, "latent must be a whole number >= 1"),
    ],
)
def test_what_no_autoencoder_can_be_is_refused(made, words):
    with pytest.raises(ValueError, match=words):
        small(**made)


def test_images_and_latents_of_another_size_are_refused(make_generator):
    net = initialised(small, make_generator(0))
    with pytest.raises(ValueError, match=r"x must have shape \(B, 1, 8, 8\)"):
        net.encode(torch.zeros(2, 1, 12, 12))
    with pytest.raises(ValueError, match=r"x must have shape \(B, 3\)"):
        net.decode(torch.zeros(2, 4))
