"""Flows, autoregression, VAE, GAN, energy models: against autograd, torch.distributions, quadrature, closed forms."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from minidiff import data, networks, rivals, training
from minidiff.rivals.layers import dense, standard_log_prob
from tests.cases import assert_close, exact_log_prob, normal, number

MIXTURE = data.three_gaussians()


def shaken(make, generator, size=0.4):
    """A network in float64 whose weights are random everywhere, the last layer's as well."""
    net = networks.initialised(make, generator).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(size * normal(tuple(weight.shape), generator))
    return net


def trained(make, loss, generator, steps):
    """A network after a few steps on three Gaussians."""
    net = networks.initialised(make, generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    fresh = training.fresh_batches(lambda n, g: MIXTURE.sample(n, g)[0], batch_size=128, steps=steps, seed=3)
    for _ in training.train(net, fresh, loss, optimizer, generator=generator, max_norm=10.0):
        pass
    return net.eval()


def gap(log_prob, generator):
    """The KL divergence of the data from a model, from 2,000 points, in nats."""
    x = MIXTURE.sample(2000, generator)[0]
    with torch.no_grad():
        return float((exact_log_prob(MIXTURE.to(torch.float64), x.double()) - log_prob(x)).mean())


# --- flow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_the_log_determinant_is_that_of_the_jacobian(dimension, make_generator):
    flow = shaken(lambda: rivals.Flow(dimension, couplings=3, width=8), make_generator(0))
    x = normal((6, dimension), make_generator(1))
    z, log_det = flow(x)
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda u: flow(u[None])[0][0], row) for row in x])
    assert_close(log_det, torch.linalg.slogdet(jacobians).logabsdet, 1e-9)
    assert bool((log_det.abs() > 1e-3).all()) and bool(((z - x).abs() > 0.1).any())
    assert_close(flow.inverse(z), x, 1e-9)
    assert_close(flow.log_prob(x), standard_log_prob(z) + log_det)


def test_a_coupling_keeps_one_half_and_a_fresh_one_is_the_identity(make_generator):
    x = normal((5, 5), make_generator(0))
    for flip, kept in ((False, slice(0, 2)), (True, slice(2, 5))):
        coupling = shaken(lambda flip=flip: rivals.Coupling(5, 8, flip=flip), make_generator(1))
        moved = coupling(x)[0] != x
        assert not bool(moved[:, kept].any()) and int(moved.sum()) == 5 * (3 if not flip else 2)
    fresh, log_det = networks.initialised(lambda: rivals.Coupling(5, 8), make_generator(2)).double()(x)
    assert torch.equal(fresh, x) and not bool(log_det.any())


def test_no_coupling_stretches_by_more_than_e_squared(make_generator):
    coupling = shaken(lambda: rivals.Coupling(2, 8), make_generator(0), size=20.0)
    log_det = coupling(normal((200, 2), make_generator(1)))[1]
    assert 1.9 < float(log_det.detach().abs().max()) <= 2.0


# --- autoregression --------------------------------------------------------------------------------------------------


def test_the_log_density_of_a_mixture_is_that_of_torch(make_generator):
    logits, means, log_stds = (normal((7, 4), make_generator(i)) for i in range(3))
    x = 2 * normal((7,), make_generator(3))
    theirs = MixtureSameFamily(Categorical(logits=logits), Normal(means, log_stds.exp())).log_prob(x)
    assert_close(rivals.mixture_log_prob(logits, means, log_stds, x), theirs)


@pytest.mark.parametrize("backwards", [False, True])
def test_autoregression_is_a_density_and_its_samples_are_from_it(backwards, make_generator):
    """40,000 draws: a mean or second moment is off by 7 standard errors less than once in 10^11."""
    model = shaken(lambda: rivals.MixtureAutoregression(2, 4, 8, backwards=backwards), make_generator(0), 0.2).float()
    assert rivals.log_integral(model.log_prob, 12.0, 300) == pytest.approx(0, abs=1e-3)
    x = model.sample(40_000, make_generator(1)).double()
    z, _ = rivals.square(12.0, 300)
    with torch.no_grad():
        weights = torch.softmax(model.log_prob(z).double(), dim=0)
    for power in (1, 2):
        wanted, spread = weights @ z.double() ** power, (weights @ z.double() ** (2 * power)).sqrt()
        assert float(((x**power).mean(0) - wanted).abs().sub(7 * spread / 200).max()) < 2e-3
    wanted = weights @ z.double().prod(dim=1)
    assert float((x.prod(dim=1).mean() - wanted).abs()) < 7 * float(x.prod(dim=1).std()) / 200 + 2e-3


def test_backwards_begins_with_the_last_coordinate(make_generator):
    """The first coordinate of the order has one mixture for all points."""
    x = torch.tensor([[0.3, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    for backwards, alike in ((True, x), (False, x.flip(1))):
        model = shaken(lambda b=backwards: rivals.MixtureAutoregression(2, 4, 8, backwards=b), make_generator(0))
        first = rivals.mixture_log_prob(*(part[None].expand(2, -1) for part in model.first.chunk(3)), number(1.0)[None])
        given = rivals.mixture_log_prob(*model.nets[0](alike.new_full((2, 1), 1.0)).chunk(3, dim=1), x[:, 0])
        assert_close(model.log_prob(alike), first + given)


def test_in_one_dimension_there_is_only_the_first_mixture(make_generator):
    model = networks.initialised(lambda: rivals.MixtureAutoregression(1, 3, 8), make_generator(0))
    assert len(model.nets) == 0 and model.sample(5, make_generator(0)).shape == (5, 1)


# --- VAE -------------------------------------------------------------------------------------------------------------


def test_the_elbo_is_reconstruction_minus_divergence(make_generator):
    vae = shaken(lambda: rivals.VAE(3, 2, 8), make_generator(0))
    x, eps = normal((6, 3), make_generator(1)), normal((6, 2), make_generator(2))
    mean, log_std = vae.encode(x)
    q = Normal(mean, log_std.exp())
    decoder = Normal(vae.decoder(mean + log_std.exp() * eps), vae.log_std.exp()).log_prob(x).sum(1)
    assert_close(rivals.elbo(vae, x, eps), decoder - kl_divergence(q, Normal(0.0, 1.0)).sum(1))


def plain_vae():
    vae = rivals.VAE(2, 2, 8, std=0.3)
    vae.decoder, vae.encoder = nn.Linear(2, 2, bias=False), nn.Linear(2, 4)
    return vae


def linear_vae(generator):
    """x = A z + 0.3 noise, whose log p(x) is known: encoder and decoder are linear, and the encoder is not the best."""
    vae = networks.initialised(plain_vae, generator).double()
    decoder = torch.tensor([[1.0, 0.3], [-0.2, 0.6]], dtype=torch.float64)
    gain = decoder.T @ torch.linalg.inv(decoder @ decoder.T + 0.09 * torch.eye(2, dtype=torch.float64))
    with torch.no_grad():
        vae.decoder.weight.copy_(decoder)
        vae.encoder.weight.copy_(torch.cat([0.9 * gain, 0.05 * normal((2, 2), generator)]))
        vae.encoder.bias.copy_(torch.tensor([0.0, 0.0, -0.7, -0.5]))
    covariance = vae.decoder.weight @ vae.decoder.weight.T + 0.09 * torch.eye(2, dtype=torch.float64)
    return vae, torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance.detach())


def test_quadrature_of_a_linear_vae_is_its_closed_form_and_the_bounds_lie_below(make_generator):
    """The importance bound with 4,000 draws for each of 30 points, whose standard error is some 5e-4."""
    vae, exactly = linear_vae(make_generator(0))
    x = 0.8 * normal((30, 2), make_generator(1))
    truth = exactly.log_prob(x)
    assert_close(rivals.by_quadrature(vae, x, 7.0, 250), truth, 1e-4)
    with torch.no_grad():
        elbos = torch.stack([rivals.elbo(vae, x, normal((30, 2), make_generator(2, i))) for i in range(200)]).mean()
    bounds = [float(rivals.importance_bound(vae, x, draws, make_generator(3, draws)).mean()) for draws in (10, 4000)]
    assert float(elbos) + 0.1 < bounds[0] < bounds[1] < float(truth.mean()) + 5e-3
    assert bounds[1] == pytest.approx(float(truth.mean()), abs=5e-3)


def test_the_importance_bound_with_one_draw_is_the_elbo_on_average(make_generator):
    """400 draws for each of 40 points: within 7 standard errors."""
    vae, _ = linear_vae(make_generator(0))
    x = normal((40, 2), make_generator(1))
    with torch.no_grad():
        a = torch.stack([rivals.importance_bound(vae, x, 1, make_generator(2, i)).mean() for i in range(400)])
        b = torch.stack([rivals.elbo(vae, x, normal((40, 2), make_generator(3, i))).mean() for i in range(400)])
    assert float((a.mean() - b.mean()).abs()) < 7 * math.sqrt(float(a.var() + b.var()) / 400)


def test_samples_of_a_vae_are_means_plus_noise(make_generator):
    vae, exactly = linear_vae(make_generator(0))
    x, plain = vae.sample(20_000, make_generator(1)), vae.sample(20_000, make_generator(1), noise=False)
    assert float((x - plain).std()) == pytest.approx(0.3, abs=0.01)
    assert float((torch.cov(x.T) - exactly.covariance_matrix).abs().max()) < 0.08


# --- GAN -------------------------------------------------------------------------------------------------------------


def of_players(net, loss, batch, generator):
    """Gradients of the generator and of the critic."""
    net.zero_grad()
    loss(net, batch, generator).mean().backward()
    return [torch.cat([p.grad.flatten() for p in part.parameters()]) for part in (net.generator, net.judge)]


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_one_loss_trains_both_players(paired, penalty, make_generator):
    """The gradients are those of two losses, each for its own player."""
    net = shaken(lambda: rivals.Players(2, 2, 8), make_generator(0), 0.2)
    x = normal((16, 2), make_generator(1))
    objective = rivals.adversarial_objective(2, paired=paired, penalty=penalty)
    eps = objective.draw(training.Batch(x), make_generator(2)).eps
    found = of_players(net, objective, training.Batch(x), make_generator(2))

    ones, real = torch.ones(16, dtype=torch.float64), x.clone().requires_grad_()
    entropy = binary_cross_entropy_with_logits
    fake = net.generator(eps)
    if paired:
        player = entropy(net.critic(fake) - net.critic(real), ones)
    else:
        player = entropy(net.critic(fake), ones)
    wanted = [torch.cat([g.flatten() for g in torch.autograd.grad(player, [*net.generator.parameters()])])]
    fake = net.generator(eps).detach().requires_grad_()
    if paired:
        critic = entropy(net.critic(real) - net.critic(fake), ones)
    else:
        critic = entropy(net.critic(real), ones) + entropy(net.critic(fake), 0 * ones)
    for points in (real, fake) if paired else (real,):
        slopes = torch.autograd.grad(net.critic(points).sum(), points, create_graph=True)[0]
        critic = critic + penalty / 2 * (slopes**2).sum(1).mean()
    wanted.append(torch.cat([g.flatten() for g in torch.autograd.grad(critic, [*net.judge.parameters()])]))
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b, 1e-9)


# --- energy ----------------------------------------------------------------------------------------------------------


def test_a_perfect_energy_model_has_the_exact_density_and_score(make_generator):
    """With the exact log-odds in place of the network: log Z is 0, and the score is that of the mixture."""
    model = networks.initialised(lambda: rivals.EnergyModel(2, 8, std=1.3), make_generator(1)).double()
    mixture = MIXTURE.to(torch.float64)

    class Odds(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            noise = Normal(torch.zeros((), dtype=torch.float64), 1.3).log_prob(x).sum(1)
            return (exact_log_prob(mixture, x) - noise)[:, None]

    model.net = nn.Sequential(Odds())
    x = normal((9, 2), make_generator(0))
    assert_close(model.log_density(x), exact_log_prob(mixture, x))
    u = x.clone().requires_grad_()
    assert_close(model.score(x), torch.autograd.grad(exact_log_prob(mixture, u).sum(), u)[0])
    assert rivals.log_integral(lambda z: model.log_density(z.double()), 5.0, 300) == pytest.approx(0, abs=1e-3)


def test_noise_contrastive_loss_is_a_logistic_regression(make_generator):
    model = shaken(lambda: rivals.EnergyModel(2, 8), make_generator(0))
    objective, batch = rivals.noise_contrastive_objective(1.3), training.Batch(normal((8, 2), make_generator(1)))
    noise = 1.3 * objective.draw(batch, make_generator(2)).eps
    logits = model.log_odds(torch.cat([batch.x0, noise]))
    labels = torch.cat([torch.ones(8), torch.zeros(8)]).double()
    wanted = 2 * binary_cross_entropy_with_logits(logits, labels)
    assert_close(objective(model, batch, make_generator(2)).mean(), wanted)


def test_the_grid_draws_from_the_density(make_generator):
    """20,000 draws: a mean or variance is off by 7 standard errors less than once in 10^11."""
    log_density = lambda x: exact_log_prob(MIXTURE.to(torch.float64), x.double()) + 3.0  # noqa: E731
    assert rivals.log_integral(log_density, 5.0, 300) == pytest.approx(3, abs=1e-3)
    x = rivals.draw_from_grid(log_density, 20_000, make_generator(0), 5.0, 300).double()
    assert float(x.mean(0).abs().max()) < 7 / math.sqrt(20_000)
    assert float((torch.cov(x.T) - MIXTURE.covariance()).abs().max()) < 7 * math.sqrt(2 / 20_000)


def test_a_square_is_cut_into_equal_cells():
    middles, log_area = rivals.square(2.0, 4)
    assert_close(middles[:5], torch.tensor([[-1.5, -1.5], [-1.5, -0.5], [-1.5, 0.5], [-1.5, 1.5], [-0.5, -1.5]]))
    assert len(middles) == 16 and log_area == pytest.approx(0)


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_rival_learns_with_the_loop_of_the_course(make_generator):
    """After a few steps each is nearer to three Gaussians than one Gaussian of the same mean and covariance."""
    one = torch.distributions.MultivariateNormal(torch.zeros(2), MIXTURE.covariance())
    plain = gap(one.log_prob, make_generator(9))
    flow = trained(lambda: rivals.Flow(couplings=4, width=24), rivals.likelihood_loss, make_generator(0), 100)
    chain = trained(lambda: rivals.MixtureAutoregression(width=32), rivals.likelihood_loss, make_generator(1), 50)
    vae = trained(lambda: rivals.VAE(width=32), rivals.elbo_objective(), make_generator(2), 120)
    energy = trained(lambda: rivals.EnergyModel(width=32), rivals.noise_contrastive_objective(), make_generator(3), 60)
    log_z = rivals.log_integral(energy.log_density, 5.0, 100)
    assert gap(flow.log_prob, make_generator(9)) < 0.85 * plain
    assert gap(chain.log_prob, make_generator(9)) < 0.7 * plain
    assert gap(lambda x: rivals.importance_bound(vae, x, 50, make_generator(8)), make_generator(9)) < 0.9 * plain
    assert gap(lambda x: energy.log_density(x) - log_z, make_generator(9)) < 0.7 * plain


def test_samples_are_a_function_of_the_generator(make_generator):
    for make in (rivals.Flow, rivals.MixtureAutoregression, rivals.VAE, rivals.Players):
        net = networks.initialised(make, make_generator(0))
        a, b = (net.sample(4, make_generator(1)) for _ in range(2))
        assert torch.equal(a, b) and a.shape == (4, 2) and not a.requires_grad
        assert net.double().sample(3, make_generator(1)).dtype == torch.float64


def test_what_cannot_be_meant_is_refused(make_generator):
    with pytest.raises(ValueError, match="dimension must be a whole number >= 2"):
        rivals.Coupling(1)
    with pytest.raises(ValueError, match="width must be a whole number"):
        dense(2, 2, 0)
    for make, name in (
        (rivals.Flow, "couplings"),
        (rivals.MixtureAutoregression, "components"),
        (rivals.VAE, "latent"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be a whole number"):
            make(2, 0)
    for make in (rivals.VAE, rivals.EnergyModel):
        with pytest.raises(ValueError, match="std must be"):
            make(std=0.0)
    with pytest.raises(ValueError, match="penalty must be"):
        rivals.adversarial_objective(penalty=-1.0)
    with pytest.raises(ValueError, match="noise must be a whole number"):
        rivals.Players(noise=0)
    three = torch.zeros(4, 3)
    flow, chain, vae, energy, longer = (
        networks.initialised(make, make_generator(1))
        for make in (
            *(rivals.Flow, rivals.MixtureAutoregression, rivals.VAE, rivals.EnergyModel),
            lambda: rivals.VAE(latent=3),
        )
    )
    for net in (flow, chain):
        with pytest.raises(ValueError, match="x must have shape"):
            net.log_prob(three)
        with pytest.raises(ValueError, match="n must be a whole number"):
            net.sample(0, make_generator(0))
    with pytest.raises(ValueError, match="x must have shape"):
        vae.encode(three)
    with pytest.raises(ValueError, match="x must have shape"):
        energy.log_odds(three)
    with pytest.raises(ValueError, match="two numbers"):
        rivals.by_quadrature(longer, torch.zeros(1, 2))
    with pytest.raises(ValueError, match="draws must be"):
        rivals.importance_bound(vae, torch.zeros(1, 2), 0, make_generator(0))
    with pytest.raises(ValueError, match="edge must be"):
        rivals.square(0.0, 3)
    with pytest.raises(TypeError, match="generator must be"):
        rivals.draw_from_grid(lambda x: x[:, 0], 3, None)
