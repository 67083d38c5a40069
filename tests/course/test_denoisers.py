"""Denoisers: the exact answer in any of its five forms, clipping, and guidance against Bayes' rule."""

import pickle

import pytest
import torch
from torch import nn

from minidiff.denoisers import classifier_guided, clipped, from_network, guided
from minidiff.exact import GaussianMixture, finite_denoiser, mixture_denoiser, posterior_mean, responsibilities
from minidiff.networks import MLP, UNet, initialised
from minidiff.samplers import ddim, last, predict
from minidiff.schedules import cosine, ddpm_linear, vp_linear
from minidiff.targets import solve, target
from tests.cases import PerfectNetwork, every_kind, every_path, every_shape, normal, number, random_mixture


@every_path
@every_kind
@every_shape
def test_a_perfect_network_of_every_kind_is_the_exact_denoiser(path, kind, shape, make_generator):
    mixture, t = random_mixture(2, shape[1:], make_generator(0)), number(0.4)
    x_t = normal(shape, make_generator(1))
    denoise = from_network(PerfectNetwork(mixture, path, kind, t), path, kind)
    for time in (t, t.repeat(shape[0])):
        torch.testing.assert_close(denoise(x_t, time), posterior_mean(mixture, path, x_t, t), rtol=1e-8, atol=1e-8)


def test_labels_reach_the_network_unopened(make_generator):
    mixture, label = random_mixture(2, (2,), make_generator(0)), object()
    net = PerfectNetwork(mixture, cosine(), "v", number(0.4))
    from_network(net, cosine(), "v", label)(torch.zeros(3, 2).double(), number(0.4))
    assert net.y is label


def test_an_unknown_kind_is_refused_before_any_sampling():
    with pytest.raises(ValueError, match="kind must be one of x0, eps, score, v, velocity, but is 'noise'"):
        from_network(nn.Identity(), cosine(), "noise")


@pytest.mark.parametrize("make", [MLP, lambda: UNet(widths=(16, 32), blocks=1)], ids=["mlp", "unet"])
def test_networks_fit_and_their_gradients_pass(make, make_generator):
    net = initialised(make, make_generator(0))
    shape = (3, 2) if isinstance(net, MLP) else (3, 1, 8, 8)
    x_t = torch.randn(shape, generator=make_generator(1)).requires_grad_()
    x0_hat = from_network(net, cosine(), "v")(x_t, torch.tensor(0.5))
    assert x0_hat.shape == shape and x0_hat.dtype == torch.float32
    (gradient,) = torch.autograd.grad(x0_hat.sum(), x_t)
    assert gradient.abs().min() > 0


def test_clipping_touches_only_what_lies_outside(make_generator):
    estimate = 3 * torch.randn(5, 1, 8, 8, generator=make_generator(0))
    low, high = -1.0, 0.5
    kept = clipped(lambda x_t, t: estimate, low, high)(estimate, torch.tensor(0.5))
    for before, after in zip(estimate.flatten().tolist(), kept.flatten().tolist(), strict=True):
        assert after == min(max(before, low), high)
    by_default = clipped(lambda x_t, t: estimate)(estimate, torch.tensor(0.5))
    assert by_default.min() == -1 and by_default.max() == 1


@pytest.mark.parametrize(("low", "high"), [(1.0, -1.0), (0.0, 0.0), (float("nan"), 1.0)])
def test_an_empty_range_is_refused(low, high):
    with pytest.raises(ValueError, match=f"low must be below high, but low = {low} and high = {high}"):
        clipped(lambda x_t, t: x_t, low, high)


def test_guidance_mixes_two_denoisers(make_generator):
    conditional, unconditional, x = (normal((4, 2), make_generator(i)) for i in range(3))

    def guide(w):
        return guided(lambda x_t, t: conditional, lambda x_t, t: unconditional, w)(x, number(0.5))

    torch.testing.assert_close(guide(0.0), unconditional, rtol=0, atol=0)
    torch.testing.assert_close(guide(1.0), conditional)
    torch.testing.assert_close(guide(3.0), 3 * conditional - 2 * unconditional)


@every_path
def test_guidance_adds_w_times_the_gradient_of_log_p_of_the_label(path, make_generator):
    """Ho & Salimans, section 3: with the exact scores, guidance is the gradient of p(x) p(y | x)^w.

    E[x0 | x_t] = (x_t + sigma^2 score) / alpha, and p(y | x_t) is here the responsibility of component y.
    """
    mixture, t, y, w = random_mixture(3, (2,), make_generator(0)), number(0.6), 1, 2.5
    alone = GaussianMixture(torch.ones(1).double(), mixture.means[[y]], mixture.covariances[[y]])
    x = normal((5, 2), make_generator(1)).requires_grad_()
    (of_label,) = torch.autograd.grad(responsibilities(mixture, path, x, t)[:, y].log().sum(), x)
    guide = guided(mixture_denoiser(alone, path), mixture_denoiser(mixture, path), w)
    expected = posterior_mean(mixture, path, x, t) + w * path.sigma(t) ** 2 / path.alpha(t) * of_label
    torch.testing.assert_close(guide(x, t), expected, rtol=1e-8, atol=1e-8)


def test_wrapped_denoisers_walk_down_a_sampler(make_generator):
    mixture = random_mixture(2, (2,), make_generator(0))
    exact = mixture_denoiser(mixture, cosine())
    denoise = clipped(guided(exact, exact, 3.0), -0.1, 0.1)
    x = last(ddim(denoise, cosine(), cosine().prior((50, 2), make_generator(1)), torch.linspace(1, 0, 11)))
    assert x.abs().max() <= 0.1 + 1e-6


# --- guidance by a gradient ------------------------------------------------------------------------------------------


@pytest.fixture
def classes(make_generator):
    """A mixture of three, its first component as "the class", and log p(class | x_t) by Bayes' rule."""
    mixture = random_mixture(3, (2,), make_generator(0))
    one = GaussianMixture(torch.ones(1, dtype=torch.float64), mixture.means[:1], mixture.covariances[:1])
    return mixture, one, lambda path: lambda x, t: responsibilities(mixture, path, x, t)[:, 0].log()


@every_path
def test_with_the_exact_classifier_one_is_conditional_and_zero_unconditional(path, classes, make_generator):
    mixture, one, log_prob = classes
    x, t = normal((5, 2), make_generator(1)), number(0.4)
    unconditional, conditional = mixture_denoiser(mixture, path), mixture_denoiser(one, path)
    for w, wanted in ((0.0, unconditional), (1.0, conditional)):
        found = classifier_guided(unconditional, path, log_prob(path), w)(x, t)
        torch.testing.assert_close(found, wanted(x, t), rtol=1e-9, atol=1e-9)


@every_path
@pytest.mark.parametrize("w", [-1.0, 0.5, 3.0])
def test_both_kinds_of_guidance_are_one_where_the_classifier_is_exact(path, w, classes, make_generator):
    mixture, one, log_prob = classes
    x, t = normal((5, 2), make_generator(1)), number(0.4).repeat(5)
    base, conditional = mixture_denoiser(mixture, path), mixture_denoiser(one, path)
    free = guided(conditional, base, w)(x, t)
    torch.testing.assert_close(classifier_guided(base, path, log_prob(path), w)(x, t), free, rtol=1e-9, atol=1e-9)


@every_path
@every_kind
def test_guidance_says_the_same_in_every_form(path, kind, classes, make_generator):
    """In x0, eps, score, v or velocity: base + w (conditional - base)."""
    mixture, one, _ = classes
    x, t, w = normal((5, 2), make_generator(1)), number(0.4), 2.5
    forms = []
    for denoise in (mixture_denoiser(one, path), mixture_denoiser(mixture, path)):
        x0, eps = predict(denoise, path, x, t)
        forms.append(target(kind, path, x0, eps, t))
    conditional, base = forms
    steered = solve(kind, path, base + w * (conditional - base), x, t).x0
    wanted = guided(mixture_denoiser(one, path), mixture_denoiser(mixture, path), w)(x, t)
    torch.testing.assert_close(steered, wanted, rtol=1e-8, atol=1e-8)


def test_guidance_by_a_gradient_is_refused_where_there_is_no_signal(classes):
    mixture, _, log_prob = classes
    guide = classifier_guided(mixture_denoiser(mixture, cosine()), cosine(), log_prob(cosine()))
    with pytest.raises(ValueError, match="needs alpha > 0; start the sampler a little below t = 1"):
        guide(torch.zeros(2, 2).double(), number(1.0))


def test_guidance_by_a_gradient_runs_where_gradients_are_off(classes, make_generator):
    mixture, _, log_prob = classes
    path = ddpm_linear()
    guide = classifier_guided(mixture_denoiser(mixture, path), path, log_prob(path), 2.0)
    x = normal((4, 2), make_generator(1))
    found = last(ddim(guide, path, x, torch.linspace(1, 0, 6).double()))
    assert bool(torch.isfinite(found).all()) and not found.requires_grad


# --- in another process ----------------------------------------------------------------------------------------------


def unlikely_far_out(x_t, t):
    """A log-probability that a module holds, so that another process finds it."""
    return -(x_t**2).flatten(1).sum(dim=1)


def test_denoisers_can_be_handed_to_another_process(make_generator):
    """By pickling, which `spawn` on Windows and macOS needs: the same numbers, to the last bit."""
    path, x, t = vp_linear(), normal((4, 2), make_generator(0)).float(), torch.tensor([0.2, 0.4, 0.6, 0.8])
    net, g = initialised(lambda: MLP(width=8, layers=1, classes=3), make_generator(0)), make_generator(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g))
    learned, labelled = from_network(net, path, "v"), from_network(net, path, "v", torch.tensor([0, 1, 2, 1]))
    exact = mixture_denoiser(random_mixture(3, (2,), make_generator(2)), path)
    stored = finite_denoiser(normal((7, 2), make_generator(3)), path)
    made = [learned, labelled, exact, stored, clipped(exact, -0.5, 0.5), guided(labelled, learned, 3.0)]
    made += [classifier_guided(clipped(exact), path, unlikely_far_out, 0.5)]
    for denoise in made:
        expected = denoise(x, t)
        assert torch.equal(pickle.loads(pickle.dumps(denoise))(x, t), expected)
