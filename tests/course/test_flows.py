"""Couplings, the loss on pairs, flows and their books: against closed forms, brute force, SciPy and exact maps."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import linear_sum_assignment
from torch import nn

from minidiff import exact, flows
from minidiff.flows import Pairs, books, flow
from minidiff.schedules import cosine, rectified_flow, vp_linear
from minidiff.training import Batch, train
from tests.cases import assert_close, inner_times, normal, number, one_gaussian, random_mixture

STRAIGHT = rectified_flow()
STDS = (0.2, 0.5, 1.0, 2.0)
every_std = pytest.mark.parametrize("std", STDS)


def pairs_of(n, make_generator, d=2):
    return Pairs(1.5 * normal((n, d), make_generator(0)) + 1, normal((n, d), make_generator(1)))


def cost(pairs):
    return float(((pairs.x1 - pairs.x0) ** 2).sum())


def exact_velocity(std, path=STRAIGHT):
    return flows.velocity_of(exact.mixture_denoiser(one_gaussian(std), path), path)


def convex_map(x):
    """The gradient of a convex function, 0.15 |x|^2 / 2 + 0.12 logsumexp(x . m / 0.12): an optimal map (Brenier)."""
    angles = torch.arange(5, dtype=torch.float64) * 2 * math.pi / 5 + 0.3
    means = 1.6 * torch.stack([angles.cos(), 0.8 * angles.sin()], 1)
    return 0.15 * x + torch.softmax(x @ means.T / 0.12, 1) @ means


# --- couplings -------------------------------------------------------------------------------------------------------


def test_independent_pairs_have_the_data_and_normal_noise(make_generator):
    """The correlation of 20,000 independent pairs is beyond 0.05 less than once in 10^11 (7 standard errors)."""
    x0, x1 = flows.independent(lambda n, g: torch.rand(n, 1, generator=g).double())(20_000, make_generator(0))
    assert float(x0.min()) >= 0 and float(x0.max()) <= 1 and x1.dtype == x0.dtype
    assert abs(float(torch.corrcoef(torch.stack([x0[:, 0], x1[:, 0]]))[0, 1])) < 0.05
    assert abs(float((x1**2).mean()) - 1) < 0.08


def test_minibatch_optimal_is_the_best_of_all_permutations_in_each_block(make_generator):
    pairs = pairs_of(14, make_generator)
    found = flows.minibatch_optimal(pairs, 4)
    assert torch.equal(found.x1, pairs.x1)
    for rows in torch.arange(14).split(4):
        block = Pairs(pairs.x0[rows], pairs.x1[rows])
        costs = [cost(Pairs(block.x0[list(p)], block.x1)) for p in itertools.permutations(range(len(rows)))]
        assert cost(Pairs(found.x0[rows], found.x1[rows])) == pytest.approx(min(costs))
        assert sorted(found.x0[rows].tolist()) == sorted(block.x0.tolist())  # each point exactly once


def test_minibatch_optimal_is_that_of_scipy_and_takes_images(make_generator):
    x0, x1 = normal((20, 1, 3, 3), make_generator(0)), normal((20, 1, 3, 3), make_generator(1))
    found = flows.minibatch_optimal(Pairs(x0, x1), 20)
    costs = ((x0[:, None] - x1[None]) ** 2).flatten(2).sum(2).numpy()
    rows, columns = linear_sum_assignment(costs)
    assert cost(found) == pytest.approx(costs[rows, columns].sum()) and found.x0.shape == x0.shape
    assert torch.equal(found.x0[torch.from_numpy(columns)], x0[torch.from_numpy(rows)])


def test_on_a_line_the_best_pairs_are_those_of_equal_rank(make_generator):
    found = flows.minibatch_optimal(pairs_of(300, make_generator, d=1), 300)
    order = found.x1[:, 0].argsort()
    assert bool((found.x0[order, 0].diff() > 0).all())


def test_pairs_of_an_optimal_map_are_found_again(make_generator):
    x1 = normal((200, 2), make_generator(0))
    mixed = Pairs(convex_map(x1)[torch.randperm(200, generator=make_generator(1))], x1)
    assert torch.equal(flows.minibatch_optimal(mixed, 200).x0, convex_map(x1))
    assert cost(flows.minibatch_optimal(mixed, 20)) > cost(flows.minibatch_optimal(mixed, 200))


def test_a_block_of_one_changes_nothing(make_generator):
    pairs = pairs_of(5, make_generator)
    assert torch.equal(flows.minibatch_optimal(pairs, 1).x0, pairs.x0)


def test_stored_pairs_stay_together(make_generator):
    drawn = flows.stored(Pairs(torch.arange(50.0)[:, None], torch.arange(50.0)[:, None] + 100))(400, make_generator(0))
    assert torch.equal(drawn.x0 + 100, drawn.x1) and len(drawn.x0.unique()) > 40


def test_a_batch_of_pairs_is_a_function_of_seed_and_number():
    couple = flows.independent(lambda n, g: torch.rand(n, 2, generator=g))
    whole = list(flows.coupled_batches(couple, batch_size=3, steps=5, seed=4))
    later = list(flows.coupled_batches(couple, batch_size=3, steps=5, seed=4, start=3))
    assert [len(whole), len(later)] == [5, 2] and all(isinstance(batch, Batch) for batch in whole)
    for a, b in zip(whole[3:], later, strict=True):
        assert torch.equal(a.x0, b.x0) and torch.equal(a.y, b.y)
    assert not torch.equal(whole[0].x0, whole[1].x0)


# --- the loss --------------------------------------------------------------------------------------------------------


class Straight(nn.Module):
    """A network that knows x1 - x0 where x0 = 2 and nothing else: x1 = (x_t - (1 - t) 2) / t. It sees unit scale."""

    def forward(self, x, log_snr):
        t = 1 / (1 + torch.exp(log_snr / 2))[:, None]
        x_t = x * torch.hypot(1 - t, t)
        return ((x_t - 2 * (1 - t)) / t - 2) / math.sqrt(2)


def test_the_loss_is_the_square_error_of_x1_minus_x0(make_generator):
    objective = flows.flow_matching_objective(STRAIGHT, at_source=0)
    x1 = normal((8, 2), make_generator(0))
    draws = objective.draw(Batch(torch.full_like(x1, 2.0), x1), make_generator(1))
    assert torch.equal(draws.eps, x1) and bool((draws.t < 1).all())
    assert float(objective.loss(Straight(), draws).max()) < 1e-9
    off = objective.loss(Straight(), draws._replace(x0=draws.x0 + 3.0))  # x_t moves by 3 (1 - t), so x1 - x0 by 3 / t
    assert_close(off, (3 / draws.t) ** 2, 1e-6)


@pytest.mark.parametrize("share", [0.0, 1 / 8, 0.3, 1.0])
def test_the_share_of_a_batch_at_the_source(share, make_generator):
    draw = flows.flow_matching_objective(STRAIGHT, at_source=share).draw
    t = draw(Batch(torch.zeros(400, 2), torch.zeros(400, 2)), make_generator(0)).t
    assert int((t == 1).sum()) == round(400 * share)
    if 0 < share < 1:
        gaps = (t == 1).nonzero()[:, 0].diff()
        assert float(gaps.max()) <= math.ceil(1 / share) and float(t[t < 1].min()) < 0.05


def test_training_on_pairs_learns_their_velocity(make_generator):
    """Noise coupled to 2 x1 + 1: the velocity is x1 - x0 = -(x1 + 1) on x_t = (2 - t) x1 + 1 - t."""

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.zeros(1))

        def forward(self, x, log_snr):
            t = 1 / (1 + torch.exp(log_snr / 2))[:, None]
            x1 = (x * torch.hypot(1 - t, t) - 1 + t) / (2 - t)
            return self.a * (x1 + 1) / math.sqrt(2)

    def couple(n, g):
        x1 = torch.randn(n, 1, generator=g)
        return Pairs(2 * x1 + 1, x1)

    net, optimizer_of = Line(), torch.optim.SGD
    batches = flows.coupled_batches(couple, batch_size=32, steps=60, seed=1)
    objective = flows.flow_matching_objective(STRAIGHT)
    for _ in train(net, batches, objective, optimizer_of(net.parameters(), lr=0.2), generator=make_generator(0)):
        pass
    assert float(net.a.detach()) == pytest.approx(-1, abs=1e-4)


# --- flows and books -------------------------------------------------------------------------------------------------

UNIT = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)  # its mean square is exactly 1


def test_the_velocity_of_a_mixture_moves_each_quantile(make_generator):
    """Against the derivative of the exact solution on a line."""
    mixture = random_mixture(3, (1,), make_generator(0))
    for path, t in itertools.product((STRAIGHT, cosine(), vp_linear()), inner_times(3, make_generator(1))):
        x, h = normal((6, 1), make_generator(2)), 1e-4
        ahead, behind = (exact.line_flow(mixture, path, x, t, t + sign * h) for sign in (1, -1))
        found = flows.velocity_of(exact.mixture_denoiser(mixture, path), path)(x, t)
        assert_close(found, (ahead - behind) / (2 * h), 1e-4)


@every_std
def test_the_straightness_of_a_gaussian_is_its_closed_form(std):
    """(2 - pi / 2) std on the straight path, and the flow ends on std x1."""
    end = flow(exact_velocity(std), UNIT, 400)
    assert_close(end.x0, std * UNIT, 1e-5)
    straightness = float(end.energy.mean()) - (1 - std) ** 2
    assert straightness == pytest.approx((2 - math.pi / 2) * std, abs=1e-5)


@pytest.mark.parametrize("path", [cosine(), vp_linear()], ids=["cosine", "vp_linear"])
def test_standard_normal_data_stay_where_they_are_on_a_path_that_preserves_variance(path):
    end = flow(exact_velocity(1.0, path), UNIT, 20)
    assert_close(end.x0, UNIT, 1e-9)
    assert float(end.energy.abs().max()) < 1e-12


def test_the_energy_is_the_mean_square_of_the_velocity_over_time():
    """x' = t^2, from x1 = 0: x0 = -1 / 3, energy 1 / 5 a number. The midpoint rule is off by what it must be."""
    n = 10
    end = flow(lambda x, t: t**2 * torch.ones_like(x), torch.zeros(3, 2).double(), n)
    middles = (np.arange(n) + 0.5) / n
    assert_close(end.x0, torch.full((3, 2), -1 / 3 + 1 / (12 * n**2), dtype=torch.float64))
    assert_close(end.energy, torch.full((3,), 2 * np.mean(middles**4), dtype=torch.float64))


def test_the_midpoint_rule_evaluates_at_half_a_step():
    """x' = x, one step from 1: x - (x - x / 2) = x / 2."""
    assert_close(flow(lambda x, t: x, UNIT, 1).x0, UNIT / 2)


def test_a_flow_asks_twice_a_step_and_never_at_the_data():
    asked = []
    flow(lambda x, t: asked.append(float(t)) or torch.zeros_like(x), torch.ones(2, 2), 5)
    assert_close(torch.tensor(asked), torch.linspace(1, 0.1, 10), 1e-6)


@every_std
def test_the_loss_that_is_left_is_pi_half_std(std, make_generator):
    """By quadrature of Var[x1 - x0 | x_t], and measured, within 7 standard errors."""
    variance = quad(lambda t: std**2 / ((1 - t) ** 2 * std**2 + t**2), 0, 1)[0]
    assert variance == pytest.approx(math.pi * std / 2)
    n, d = 10_000, 2
    pairs = Pairs(std * normal((n, d), make_generator(0)), normal((n, d), make_generator(1)))
    found = books(exact_velocity_of(std, d), pairs, steps=100, generator=make_generator(2))
    assert found.loss == pytest.approx(d * math.pi * std / 2, rel=7 * 1.5 / math.sqrt(n))
    assert found.straightness == pytest.approx(d * (2 - math.pi / 2) * std, rel=7 * 1.5 / math.sqrt(n))
    assert found.transport == pytest.approx(d * (1 - std) ** 2, rel=7 * 1.5 / math.sqrt(n), abs=1e-9)
    assert found.coupling == pytest.approx(d * (1 + std**2), rel=7 * 1.5 / math.sqrt(n))
    total = found.loss + found.straightness + found.transport
    assert total == pytest.approx(found.coupling, rel=14 * 1.5 / math.sqrt(n))


def exact_velocity_of(std, d):
    return flows.velocity_of(exact.mixture_denoiser(one_gaussian(std, (d,)), STRAIGHT), STRAIGHT)


@pytest.mark.parametrize("degrees", [30, 90, 150])
def test_a_rotation_is_a_straight_flow_that_costs_what_optimal_transport_would_not(degrees, make_generator):
    """x0 = R x1: no loss, straightness 0 and C = 2 (1 - cos) |x1|^2, where leaving all in place would cost 0."""
    angle, one = math.radians(degrees), torch.eye(2, dtype=torch.float64)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)

    def velocity(x, t):
        t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, 1, 1)
        x1 = torch.linalg.solve((1 - t) * turn + t * one, x[:, :, None])
        return ((one - turn) @ x1)[:, :, 0]

    x1 = normal((500, 2), make_generator(0))
    found = books(velocity, Pairs(x1 @ turn.T, x1), steps=7, generator=make_generator(1))
    assert found.loss == pytest.approx(0, abs=1e-9) and found.straightness == pytest.approx(0, abs=1e-9)
    assert found.transport == pytest.approx(2 * (1 - math.cos(angle)) * float((x1**2).sum(1).mean()))
    assert found.coupling == pytest.approx(found.transport)


def test_the_books_of_a_mixture_balance(make_generator):
    """5 % is 8 standard errors of the sum of independent terms at 20,000 pairs."""
    mixture = random_mixture(3, (2,), make_generator(0))
    couple = flows.independent(lambda n, g: mixture.sample(n, g)[0])
    velocity = flows.velocity_of(exact.mixture_denoiser(mixture, STRAIGHT), STRAIGHT)
    found = books(velocity, couple(20_000, make_generator(1)), steps=60, generator=make_generator(2))
    expected = 2 + float(mixture.covariance().trace() + (mixture.mean() ** 2).sum())
    assert found.coupling == pytest.approx(expected, rel=0.05)
    assert found.loss + found.straightness + found.transport == pytest.approx(found.coupling, rel=0.05)
    assert min(found) > 0


def test_a_flow_takes_images_and_keeps_their_dtype(make_generator):
    x = torch.ones(3, 1, 4, 4)
    end = flow(lambda x, t: -x, x, 10)
    assert end.x0.shape == x.shape and end.x0.dtype == torch.float32 and end.energy.shape == (3,)
    assert float(end.x0.mean()) == pytest.approx(math.e, rel=1e-2)
    pairs = Pairs(x, -x)
    assert books(lambda x, t: torch.zeros_like(x), pairs, steps=2, generator=make_generator(0)) == (64, 64, 0, 0)


def test_the_caller_keeps_its_gradients():
    weight = torch.ones((), requires_grad=True)
    assert not flow(lambda x, t: weight * x, torch.ones(2, 2), 2).x0.requires_grad and torch.is_grad_enabled()


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_meant_is_refused(make_generator):
    one, two = torch.zeros(3, 2), torch.zeros(4, 2)
    for wrong in (Pairs(one, two), Pairs(one[:0], one[:0])):
        for refusing in (flows.stored, lambda p: flows.minibatch_optimal(p, 2)):
            with pytest.raises(ValueError, match="pairs must hold x0 and x1 of one shape"):
                refusing(wrong)
        with pytest.raises(ValueError, match="pairs must hold"):
            books(lambda x, t: x, wrong, steps=2, generator=make_generator(0))
    with pytest.raises(ValueError, match="block must be a whole number"):
        flows.minibatch_optimal(Pairs(one, one), 0)
    with pytest.raises(ValueError, match="at_source must lie in"):
        flows.flow_matching_objective(STRAIGHT, at_source=1.5)
    with pytest.raises(ValueError, match="steps must be a whole number"):
        flow(lambda x, t: x, one, 0)


def test_numbers_have_no_need_of_a_path(make_generator):
    """`number` in double precision as a time."""
    x = normal((4, 1), make_generator(0))
    assert_close(exact_velocity(0.5)(x, number(0.5)), x * (0.5 - 0.5 * 0.25) / (0.25 * 0.25 + 0.25), 1e-12)
    assert np.isfinite(exact_velocity(0.5)(x, number(1.0)).numpy()).all()
