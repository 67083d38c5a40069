"""The five targets are one thing: the table, the round trips, and what a network sees and gives."""

import itertools
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from minidiff import _tensors
from minidiff.exact import posterior_mean, score
from minidiff.networks import MLP, initialised
from minidiff.paths import GaussianPath
from minidiff.targets import coefficients, network_output, solve, target
from tests.cases import (
    KINDS,
    PATHS,
    assert_close,
    every_kind,
    every_path,
    every_shape,
    inner_times,
    normal,
    number,
    random_mixture,
)

COSINE, FLOW, VE, VP = PATHS["cosine"], PATHS["flow"], PATHS["ve"], PATHS["vp_linear"]


# --- the table -------------------------------------------------------------------------------------------------------


def by_hand(kind, path, x0, eps, t, h=1e-6):
    """The definitions, for one sample; the velocity as a finite difference."""
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    match kind:
        case "x0":
            return x0
        case "eps":
            return eps
        case "score":
            return -eps / sigma
        case "v":
            return alpha * eps - sigma * x0
        case "velocity":
            later, earlier = (path.perturb(x0[None], t + step, eps[None])[0] for step in (h, -h))
            return (later - earlier) / (2 * h)


@every_path
@every_kind
@every_shape
def test_target_is_its_definition(path, kind, shape, make_generator):
    x0, eps = normal(shape, make_generator(0)), normal(shape, make_generator(1))
    t = torch.tensor([0.1505, 0.3505, 0.5505, 0.8505], dtype=torch.float64)[: shape[0]]  # between knots of the table
    together = target(kind, path, x0, eps, t)
    for i in range(shape[0]):
        assert_close(together[i], by_hand(kind, path, x0[i], eps[i], t[i]), 1e-6)
    assert_close(target(kind, path, x0, eps, t[1])[1], together[1], 0)


def test_velocity_of_the_straight_path_is_eps_minus_x0(make_generator):
    x0, eps, t = normal((4, 2), make_generator(0)), normal((4, 2), make_generator(1)), inner_times(4, make_generator(2))
    assert_close(target("velocity", FLOW, x0, eps, t), eps - x0, 1e-10)


# --- round trips -----------------------------------------------------------------------------------------------------


@every_path
@every_kind
@settings(max_examples=20)
@given(
    numbers=st.lists(st.floats(-5, 5), min_size=8, max_size=8),
    times=st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2),
    shape=st.sampled_from([(2, 2), (2, 1, 2, 1)]),
)
def test_solve_undoes_target(path, kind, numbers, times, shape):
    x0, eps = torch.tensor(numbers, dtype=torch.float64).reshape(2, *shape)
    t = torch.tensor(times, dtype=torch.float64)
    found = solve(kind, path, target(kind, path, x0, eps, t), path.perturb(x0, t, eps), t)
    assert_close(found.x0, x0, 1e-8)
    assert_close(found.eps, eps, 1e-8)


@pytest.mark.parametrize(("kind", "other"), list(itertools.permutations(KINDS, 2)))
def test_any_prediction_converts_into_any_other(kind, other, make_generator):
    for path, shape in itertools.product(PATHS.values(), [(4, 2), (4, 1, 8, 8)]):
        x0, eps, t = (
            normal(shape, make_generator(0)),
            normal(shape, make_generator(1)),
            inner_times(4, make_generator(2)),
        )
        found = solve(kind, path, target(kind, path, x0, eps, t), path.perturb(x0, t, eps), t)
        assert_close(target(other, path, *found, t), target(other, path, x0, eps, t), 1e-8)


@every_path
@every_kind
def test_the_conditional_mean_of_every_target_gives_the_same_x0(path, kind, make_generator):
    """The table is linear: E[target | x_t] comes from E[x0 | x_t] and from the exact score alike (Tweedie)."""
    mixture = random_mixture(3, (2,), make_generator(0))
    x_t, t = normal((6, 2), make_generator(1)), inner_times(6, make_generator(2))
    mean, exact_score = posterior_mean(mixture, path, x_t, t), score(mixture, path, x_t, t)
    eps = -path.sigma(t)[:, None] * exact_score
    assert_close(solve(kind, path, target(kind, path, mean, eps, t), x_t, t).x0, mean, 1e-8)
    assert_close(solve("score", path, exact_score, x_t, t).x0, mean, 1e-8)


@pytest.mark.parametrize("path", [COSINE, VP, FLOW], ids=["cosine", "vp_linear", "flow"])
@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_v_determines_both_at_both_ends(path, end, dtype, make_generator):
    x0, eps = normal((3, 2), make_generator(0)).to(dtype), normal((3, 2), make_generator(1)).to(dtype)
    t = torch.tensor(end, dtype=dtype)
    found = solve("v", path, target("v", path, x0, eps, t), path.perturb(x0, t, eps), t)
    torch.testing.assert_close(found.x0, x0)
    torch.testing.assert_close(found.eps, eps)


# --- where no answer exists ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path", "t"),
    [
        ("eps", COSINE, 1.0),
        ("score", COSINE, 1.0),
        ("eps", FLOW, 1.0),
        ("x0", COSINE, 0.0),
        ("x0", VP, 0.0),
        ("x0", PATHS["ddpm_linear"], 0.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_prediction_that_says_nothing_there_is_refused(kind, path, t, dtype):
    x_t = torch.ones(2, 2, dtype=dtype)
    words = rf"a prediction of {kind} does not determine x0 and eps at t = {t:g}.*predict v or velocity"
    with pytest.raises(ValueError, match=words):
        solve(kind, path, x_t, x_t, torch.tensor(t, dtype=dtype))


def test_the_refusal_names_the_worst_time_of_the_batch():
    x_t = torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"at t = 1 "):
        solve("eps", COSINE, x_t, x_t, torch.tensor([0.5, 1.0, 0.9]))


def test_a_score_under_great_noise_is_harmless(make_generator):
    """Its determinant is 1 / 80; relative to its terms that is no smaller than any other."""
    x0, eps, t = normal((3, 2), make_generator(0)).float(), normal((3, 2), make_generator(1)).float(), torch.tensor(1.0)
    found = solve("score", VE, target("score", VE, x0, eps, t), VE.perturb(x0, t, eps), t)
    torch.testing.assert_close(found.x0, x0, rtol=0, atol=1e-4)


@pytest.mark.parametrize("unit", [1e-8, 1e8])
def test_what_is_refused_does_not_depend_on_the_units_of_a_path(unit, make_generator):
    path = GaussianPath(alpha=lambda t: unit * COSINE.alpha(t), sigma=lambda t: unit * COSINE.sigma(t))
    x0, eps, t = normal((3, 2), make_generator(0)), normal((3, 2), make_generator(1)), number(0.5)
    for kind in KINDS:
        found = solve(kind, path, target(kind, path, x0, eps, t), path.perturb(x0, t, eps), t)
        assert_close(found.x0, x0, 1e-10)
    with pytest.raises(ValueError, match="a prediction of eps does not determine"):
        solve("eps", path, eps, x0, number(1.0))


@pytest.mark.parametrize("kind", ["epsilon", "", None])
def test_an_unknown_kind_is_refused(kind):
    with pytest.raises(ValueError, match=f"kind must be one of x0, eps, score, v, velocity, but is {kind!r}"):
        coefficients(kind, COSINE, torch.tensor(0.5))


def test_shapes_that_do_not_fit_are_refused():
    x_t, t = torch.zeros(4, 2), torch.full((4,), 0.5)
    with pytest.raises(ValueError, match=r"out must have the shape of x_t, \(4, 2\), but has \(4, 1\)"):
        solve("v", COSINE, torch.zeros(4, 1), x_t, t)
    with pytest.raises(TypeError, match=r"t must be a floating-point tensor.*divide a step index k"):
        solve("v", COSINE, x_t, x_t, torch.arange(4))
    with pytest.raises(TypeError, match=r"x_t must be a floating-point tensor"):
        network_output(None, "v", COSINE, x_t[0], t)


@every_kind
def test_solve_runs_under_vmap_and_jacrev(kind, make_generator):
    """The exact divergence of notebook 09 needs it: the check reads t alone. x0 is linear in out and in x_t."""
    t, x = number(0.4), normal((5, 2), make_generator(0))

    def x0_of(x):
        return solve(kind, COSINE, 3 * x[None], x[None], t).x0[0]

    jacobians = torch.func.vmap(torch.func.jacrev(x0_of))(x)
    slope = solve(kind, COSINE, 3 * torch.ones(1, 1).double(), torch.ones(1, 1).double(), t).x0
    assert_close(jacobians, (slope * torch.eye(2)).expand(5, 2, 2), 1e-10)


# --- what a network sees and gives -----------------------------------------------------------------------------------


class Recorder(nn.Module):
    """Answers 1 everywhere and keeps what it was shown."""

    def forward(self, x, log_snr, *rest):
        self.x, self.log_snr, self.rest = x, log_snr, rest
        return torch.ones_like(x)


@every_path
@every_kind
@every_shape
def test_a_network_sees_and_gives_unit_scale(path, kind, shape, make_generator):
    net, x_t, t = Recorder(), normal(shape, make_generator(0)), inner_times(shape[0], make_generator(1))
    out = network_output(net, kind, path, x_t, t)
    alpha, sigma = path.alpha(t), path.sigma(t)
    for i in range(shape[0]):
        scale = (alpha[i] ** 2 + sigma[i] ** 2).sqrt()
        assert_close(net.x[i], x_t[i] / scale, 1e-10)
        # for x0 and eps of unit variance the target's variance is the sum of its squared coefficients
        one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
        a, b = (float(target(kind, path, *ends, t[i])) for ends in ((one, zero), (zero, one)))
        assert_close(out[i], torch.full(shape[1:], (a**2 + b**2) ** 0.5, dtype=torch.float64), 1e-10)
    assert_close(net.log_snr, 2 * torch.log(alpha / sigma), 1e-10)
    assert net.rest == ()


def test_a_network_always_gets_one_finite_noise_level_for_each_sample():
    net, x_t = Recorder(), torch.zeros(3, 1, 8, 8)
    for path, t in ((COSINE, 0.0), (COSINE, 1.0), (VP, 0.0), (FLOW, 1.0), (VP, 0.5)):
        network_output(net, "v", path, x_t, torch.tensor(t))
        assert net.log_snr.shape == (3,) and net.log_snr.dtype == x_t.dtype
        assert (net.log_snr == net.log_snr[0]).all() and net.log_snr.abs().max() <= 20
    network_output(net, "v", COSINE, x_t, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert net.x.dtype == net.log_snr.dtype == torch.float32
    assert net.log_snr[0] == 20 and net.log_snr[2] == -20


def test_what_the_network_understands_passes_unopened():
    net, caption = Recorder(), object()
    network_output(net, "v", COSINE, torch.zeros(3, 2), torch.tensor(0.5), caption)
    assert net.rest == (caption,)


def test_v_along_a_path_of_growing_noise_is_the_skip_connection_of_edm(make_generator):
    """EDM, table 1, at sigma_data = 1: c_skip = 1 / (sigma^2 + 1), |c_out| = sigma / sqrt(sigma^2 + 1) = sigma c_in."""
    x_t, t = normal((4, 2), make_generator(0)), inner_times(4, make_generator(1))
    sigma = VE.sigma(t)[:, None]

    def net(x, log_snr):
        return torch.sin(3 * x)

    x0_hat = solve("v", VE, network_output(net, "v", VE, x_t, t), x_t, t).x0
    c_in = 1 / (sigma**2 + 1).sqrt()
    assert_close(x0_hat, x_t / (sigma**2 + 1) - sigma * c_in * net(c_in * x_t, None), 1e-10)


# --- the small print: defaults, the ends of ranges, precision, words --------------------------------------------------


def test_a_labelled_network_hears_the_noise_level_too():
    heard = []

    def net(x, log_snr, y):
        heard.append((log_snr, y))
        return x

    network_output(net, "v", COSINE, torch.zeros(3, 2), torch.tensor(0.5), "a label")
    assert_close(heard[0][0], COSINE.log_snr(torch.tensor(0.5)).repeat(3), 1e-6)
    assert heard[0][1] == "a label"


def test_an_error_of_solve_says_what_was_given():
    with pytest.raises(TypeError, match=r"^x_t must be a floating-point tensor .* but is int 3$"):
        solve("v", COSINE, torch.zeros(2, 2), 3, torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"; keep away from that end, or predict v or velocity$"):
        solve("eps", COSINE, torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor(1.0))


# --- times and dtypes at the door ------------------------------------------------------------------------------------


@every_path
@every_kind
@pytest.mark.parametrize("t", [torch.tensor([3.0, 500.0]), torch.tensor(math.nan)])
def test_times_that_are_none_are_refused_where_a_network_is_asked(path, kind, t):
    x = torch.ones(2, 2)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\], but"):
        network_output(lambda x, log_snr: x, kind, path, x, t)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\], but"):
        solve(kind, path, x, x, t)


@every_path
@every_kind
def test_on_a_gpu_a_network_asked_at_step_numbers_answers_nan(path, kind, monkeypatch):
    monkeypatch.setattr(_tensors, "readable", lambda values: False)
    out = network_output(
        lambda x, log_snr: torch.ones_like(x), kind, path, torch.ones(3, 2), torch.tensor([0.3, 7, 0.4])
    )
    assert out.isnan().any(dim=1).tolist() == [False, True, False]


class Linear(nn.Module):
    """A network of somebody's own, without checks."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2, device="meta").to_empty(device="cpu")

    def forward(self, x, log_snr):
        return self.layer(x)


def test_two_precisions_are_named_in_one_line(make_generator):
    x, t = torch.ones(3, 2), torch.tensor(0.5)
    own, ours = Linear(), initialised(MLP, make_generator(0))
    for net in (own, ours):
        with pytest.raises(
            TypeError, match=r"float32, .*is a float64 tensor of shape \(3, 2\); x = x.float\(\) mends it"
        ):
            network_output(net, "v", COSINE, x.double(), t)
        network_output(net, "v", COSINE, x, t.double())
        assert network_output(net.double(), "v", COSINE, x.double(), t).dtype == torch.float64
        with pytest.raises(TypeError, match=r"float64, .*is a float32 tensor .*; x = x.to\(torch.float64\) mends it"):
            network_output(net, "v", COSINE, x, t)
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):  # another mistake stays what it is
        network_output(Linear(), "v", COSINE, torch.ones(3, 5), t)
