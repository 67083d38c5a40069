"""Few steps: flow maps, targets and losses of students, random steps. Against closed forms and exact maps."""

import itertools
import math

import pytest
import torch
from scipy.stats import norm
from torch import nn

from minidiff import data, distillation, exact, networks, samplers
from minidiff.denoisers import from_network
from minidiff.distillation import ConsistencyMap, NetworkDraw, SolvedMap, StepMap
from minidiff.networks import MLP, Adversaries, StepCritic, StepGenerator, initialised
from minidiff.schedules import cosine, rectified_flow
from minidiff.targets import network_input, network_output, target
from minidiff.training import Batch, Draws, train
from tests.cases import PATHS, assert_close, falling, inner_times, normal, number, one_gaussian, random_mixture, wavy

COSINE = cosine()
ZERO, ONE = number(0.0), number(1.0)
BLOBS = exact.GaussianMixture(
    torch.tensor([0.3, 0.7]), torch.tensor([[-1.2], [0.9]]), torch.tensor([[[0.25**2]], [[0.4**2]]])
).standardised()


def by_row(x_t, t):
    """Some denoiser that takes a time for each row too."""
    return wavy(x_t, t.reshape(-1, *[1] * (x_t.ndim - 1)) if t.ndim else t)


def mlp(make_generator, dimension=2, *, spread=0.2):
    """A network in double precision whose last layer is not 0."""
    net = initialised(lambda: MLP(dimension, 32, 2), make_generator(90)).double()
    nn.init.normal_(net.out.weight, std=spread, generator=make_generator(91))
    return net


# --- flow maps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PATHS["cosine"], PATHS["flow"]], ids=["cosine", "flow"])
def test_the_solved_map_is_the_quantile_map_on_a_line(path):
    z = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    t, s = number(0.9), number(0.2)
    found = SolvedMap(exact.mixture_denoiser(BLOBS, path), path, 200)(z, t, s)
    assert_close(found, exact.line_flow(BLOBS, path, z, t, s), 2e-3)


def test_the_solved_map_takes_even_steps_to_exactly_s():
    found = SolvedMap(wavy, COSINE, 3)(torch.ones(2, 1).double(), number(0.9), number(0.3))
    states = samplers.heun(wavy, COSINE, torch.ones(2, 1).double(), falling(3, 0.9, 0.3))
    assert_close(found, samplers.last(states))


def test_a_step_map_is_one_ddim_step_on_its_own_grid_and_nowhere_else(make_generator):
    net, x = mlp(make_generator), normal((5, 2), make_generator(0))
    jump = StepMap(net, COSINE, "v", 4)
    expected = samplers.ddim_step(from_network(net, COSINE, "v"), COSINE, x, number(0.5), number(0.25)).x
    assert torch.equal(jump(x, number(0.5), number(0.25)), expected)
    for t, s in [(0.5, 0.0), (0.5, 0.3), (0.6, 0.35), (0.25, 0.5), (0.0, -0.25)]:
        with pytest.raises(ValueError, match="a student of 4 steps goes from k / 4 to"):
            jump(x, number(t), number(s))


def test_a_consistency_map_goes_to_clean_data_only_and_keeps_clean_data(make_generator):
    jump, x = ConsistencyMap(mlp(make_generator), COSINE), normal((5, 2), make_generator(0))
    assert_close(jump(x, ZERO, ZERO), x)  # the boundary condition, whatever the network
    assert jump(x, ONE, ZERO).shape == x.shape
    with pytest.raises(ValueError, match=r"goes to s = 0 only, and not to 0\.5"):
        jump(x, ONE, number(0.5))


def test_a_flow_map_is_no_denoiser_and_a_sampler_says_so(make_generator):
    jump, x = StepMap(mlp(make_generator), COSINE, "v", 4), normal((5, 2), make_generator(0))
    for sampler in (samplers.ddim, samplers.heun):
        with pytest.raises(TypeError, match="missing 1 required positional argument: 's'"):
            samplers.last(sampler(jump, COSINE, x, falling(4)))


def test_carried_makes_one_jump_after_another():
    x = torch.ones(2, 1).double()
    found = distillation.carried(lambda x, t, s: x * (1 + t) + s, x, torch.tensor([1.0, 0.5, 0.0]).double())
    assert found.tolist() == [[3.75], [3.75]]


# --- progressive distillation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("substeps", [1, 2, 3])
def test_one_step_with_the_target_ends_where_the_teacher_s_steps_do(path, substeps, make_generator):
    x, t, s = normal((6, 2), make_generator(0)), number(0.8), number(0.2)
    found = distillation.step_target(wavy, path, x, t, s, substeps=substeps)
    times = falling(substeps, 0.8, 0.2)
    wanted = samplers.last(samplers.ddim(wavy, path, x, times))
    assert_close(samplers.ddim_step(lambda x, t: found, path, x, t, s).x, wanted, 1e-9)


def test_the_target_of_each_row_has_its_own_times(make_generator):
    x, t = normal((4, 2), make_generator(0)), 0.3 + 0.5 * inner_times(4, make_generator(1))
    together = distillation.step_target(by_row, COSINE, x, t, t - 0.2)
    alone = [distillation.step_target(wavy, COSINE, x[i : i + 1], t[i], t[i] - 0.2) for i in range(4)]
    assert_close(together, torch.cat(alone))


def test_the_target_of_one_step_is_the_teacher_and_at_the_data_it_is_the_end(make_generator):
    x = normal((4, 2), make_generator(0))
    assert_close(distillation.step_target(wavy, COSINE, x, number(0.5), number(0.25), substeps=1), wavy(x, number(0.5)))
    end = samplers.last(samplers.ddim(wavy, COSINE, x, falling(2)))
    assert_close(distillation.step_target(wavy, COSINE, x, ONE, ZERO), end)


class Knows(nn.Module):
    """Predicts v of the denoiser with which a single step does what the teacher's two do."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.shift = steps, nn.Parameter(torch.zeros(()))

    def forward(self, x, log_snr, y=None):
        t = torch.atan(torch.exp(-log_snr / 2)) / (math.pi / 2)  # about right: the test finds the grid's own times
        k = (t * self.steps).round()
        t, s = k / self.steps, (k - 1) / self.steps
        x0 = distillation.step_target(by_row, COSINE, x, t, s)
        eps = (x - COSINE.alpha(t)[:, None] * x0) / COSINE.sigma(t)[:, None]
        return target("v", COSINE, x0, eps, t) + self.shift


def test_the_progressive_loss_is_0_for_the_right_student_and_a_shift_costs_its_square(make_generator):
    objective = distillation.progressive_objective(lambda y: by_row, COSINE, "v", steps=4)
    batch, net = Batch(normal((64, 2), make_generator(0))), Knows(4).double()
    assert float(objective(net, batch, make_generator(1)).detach().max()) < 1e-20
    net.shift.data.fill_(0.3)
    assert_close(objective(net, batch, make_generator(1)).detach(), torch.full((64,), 0.09, dtype=torch.float64))
    weighed = distillation.progressive_objective(lambda y: by_row, COSINE, "v", steps=4, weight=lambda path, t: 2 * t)
    draws = weighed.draw(batch, make_generator(1))
    assert_close(weighed.loss(net, draws).detach(), 0.18 * draws.t)


@pytest.mark.parametrize("steps", [1, 4, 32])
def test_times_lie_on_the_grid_and_each_comes_alike_often(steps, make_generator):
    draw = distillation.progressive_objective(lambda y: by_row, COSINE, "v", steps=steps).draw
    k = draw(Batch(torch.zeros(320, 2)), make_generator(0)).t * steps
    assert torch.equal(k, k.round()) and set(k.int().tolist()) == set(range(1, steps + 1))
    assert torch.unique(k, return_counts=True)[1].float().std(correction=0) <= 1


def test_the_teacher_is_asked_with_the_labels_of_the_batch(make_generator):
    seen = []

    def teacher(y):
        seen.append(y)
        return by_row

    net = initialised(lambda: MLP(2, 16, 1, classes=3), make_generator(0))
    batch = Batch(torch.randn(4, 2, generator=make_generator(1)), torch.tensor([0, 1, 2, 0]))
    distillation.progressive_objective(teacher, COSINE, "v", steps=2)(net, batch, make_generator(2))
    assert len(seen) == 1 and torch.equal(seen[0], batch.y)


# --- consistency -----------------------------------------------------------------------------------------------------


def shrunk(path, std, steps):
    """Normal data: each mean multiplies the spread by the correlation of x_t and x_s of one pair."""
    a, s = path.alpha(falling(steps)), path.sigma(falling(steps))
    var = a**2 * std**2 + s**2
    return float(std * ((a[1:] * a[:-1] * std**2 + s[1:] * s[:-1]) / (var[1:] * var[:-1]).sqrt()).prod())


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
def test_training_and_distillation_shrink_normal_data_alike_and_as_in_closed_form(steps):
    x, std = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None], 0.6
    expected = shrunk(COSINE, std, steps) * x
    trained = exact.consistency_on_a_line(one_gaussian(std), COSINE, x, falling(steps))
    assert_close(trained, expected, 2e-4)
    denoise = exact.mixture_denoiser(one_gaussian(std), COSINE)
    assert_close(samplers.last(samplers.ddim(denoise, COSINE, x, falling(steps))), expected, 1e-7)


def test_one_consistency_step_is_the_posterior_mean_and_two_are_its_mean(make_generator):
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    blobs = BLOBS.to(torch.float64)
    for path in (COSINE, rectified_flow()):
        one = exact.consistency_on_a_line(BLOBS, path, x, torch.tensor([0.5, 0.0]))
        assert_close(one, exact.posterior_mean(blobs, path, x, number(0.5)), 2e-4)
    # two steps from t = 0.8, by simulation: x0 from p(x0 | x_t), x_s of the same pair, and its posterior mean
    two = exact.consistency_on_a_line(BLOBS, COSINE, x, torch.tensor([0.8, 0.4, 0.0]))
    t, s, rows = number(0.8), number(0.4), x.repeat(40_000, 1)
    x0 = exact.reverse_kernel(blobs, COSINE, rows, t, ZERO, to_data=True).sample(make_generator(0))
    x_s = COSINE.perturb(x0, s, (rows - COSINE.alpha(t) * x0) / COSINE.sigma(t))
    mean = exact.posterior_mean(blobs, COSINE, x_s, s).reshape(40_000, 5).mean(dim=0)
    assert_close(two[:, 0], mean, 0.03)  # 6 standard errors of a mean of numbers with spread 1


def test_many_consistency_steps_come_to_the_flow_map_slowly():
    z = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    truth = exact.line_flow(BLOBS, COSINE, z, ONE, ZERO)
    errors = [
        float((exact.consistency_on_a_line(BLOBS, COSINE, z, falling(n)) - truth).square().mean().sqrt())
        for n in (2, 8, 32)
    ]
    assert all(1.5 < a / b < 3 for a, b in itertools.pairwise(errors))


def test_the_consistency_loss_written_out(make_generator):
    net, x0 = mlp(make_generator), normal((8, 2), make_generator(0))

    def f(x, t):
        out = network_output(net, "v", COSINE, x, t)
        return COSINE.alpha(t)[:, None] * x - COSINE.sigma(t)[:, None] * out

    for teacher in (None, lambda y: by_row):
        objective = distillation.consistency_objective(COSINE, steps=4, teacher=teacher)
        draws = objective.draw(Batch(x0), make_generator(1))
        x_t, s = COSINE.perturb(x0, draws.t, draws.eps), draws.t - 0.25
        if teacher is None:
            x_s = COSINE.perturb(x0, s, draws.eps)
        else:
            mean = torch.sin(2 * x_t) + draws.t[:, None]
            eps = (x_t - COSINE.alpha(draws.t)[:, None] * mean) / COSINE.sigma(draws.t)[:, None]
            x_s = COSINE.alpha(s)[:, None] * mean + COSINE.sigma(s)[:, None] * eps
        expected = ((f(x_t, draws.t) - f(x_s, s)) / COSINE.sigma(draws.t)[:, None]).square().mean(1)
        assert_close(objective.loss(net, draws).detach(), expected.detach())
        loss = objective.loss(net, draws).sum()
        whole = torch.autograd.grad(expected.sum(), net.out.bias, retain_graph=True)[0]
        assert not torch.allclose(torch.autograd.grad(loss, net.out.bias)[0], whole)  # the target has no gradient


def test_at_the_lowest_time_the_target_is_clean_data(make_generator):
    """f(x, 0) = x: with one step, consistency training is plain regression of x0 on noise."""
    net, x0 = mlp(make_generator), normal((8, 2), make_generator(0))
    objective = distillation.consistency_objective(COSINE, steps=1)
    draws = objective.draw(Batch(x0), make_generator(1))
    expected = (-network_output(net, "v", COSINE, draws.eps, ONE) - x0).square().mean(1)
    assert bool((draws.t == 1).all())
    assert_close(objective.loss(net, draws).detach(), expected.detach())


# --- random steps ----------------------------------------------------------------------------------------------------


def test_renoised_with_the_exact_map_keeps_the_marginals(make_generator):
    """Kolmogorov-Smirnov: 5,000 points exceed 0.035 with a probability of 1e-5."""
    exact_map = lambda x, t, s: exact.line_flow(BLOBS, COSINE, x, t, s)  # noqa: E731
    z = normal((5000, 1), make_generator(0))
    for state in samplers.renoised(exact_map, COSINE, z, falling(3), generator=make_generator(1)):
        p = exact.cdf(BLOBS, COSINE, state.x.sort(dim=0).values, state.t)
        assert float((p - (torch.arange(5000) + 0.5) / 5000).abs().max()) < 0.035
    assert torch.equal(state.x, state.x0_hat)


def test_generated_with_exact_draws_is_exact_and_with_the_mean_it_is_ancestral(make_generator):
    mixture = random_mixture(3, (1,), make_generator(0))
    z = normal((5000, 1), make_generator(1))

    def draw(x, t, g):
        return exact.reverse_kernel(mixture, COSINE, x, t, torch.zeros_like(t), to_data=True).sample(g)

    for state in samplers.generated(draw, COSINE, z, falling(2), generator=make_generator(2)):
        p = exact.cdf(mixture, COSINE, state.x.sort(dim=0).values, state.t)
        assert float((p - (torch.arange(5000) + 0.5) / 5000).abs().max()) < 0.035
    mean = exact.mixture_denoiser(mixture, COSINE)
    ours = samplers.generated(lambda x, t, g: mean(x, t), COSINE, z, falling(3), generator=make_generator(3))
    theirs = samplers.ancestral(mean, COSINE, z, falling(3), generator=make_generator(3))
    assert torch.equal(samplers.last(ours), samplers.last(theirs))


def test_the_energy_score_of_normal_draws_in_closed_form():
    """E|a - x| - E|a - b| / 2 on a line, a and b of spread s, x of spread 1: least at s = 1."""
    q = torch.from_numpy(norm.ppf((torch.arange(200) + 0.5) / 200))
    a, b, x = (part.reshape(-1, 1) for part in torch.meshgrid(q, q, q[::5], indexing="ij"))
    found = {s: float(distillation.energy_score(s * a, s * b, x).mean()) for s in (0.5, 1.0, 1.5)}
    for s, value in found.items():
        closed = math.sqrt(2 / math.pi) * (math.sqrt(1 + s**2) - s / math.sqrt(2))
        assert value == pytest.approx(closed, abs=0.01)
    assert found[1.0] < min(found[0.5], found[1.5])


def test_the_energy_score_has_a_slope_everywhere_and_takes_images():
    same = torch.zeros(3, 1, 4, 4, requires_grad=True)
    score = distillation.energy_score(same, same * 1.0, torch.zeros(3, 1, 4, 4))
    score.sum().backward()
    assert score.shape == (3,) and bool(same.grad.isfinite().all())


def test_a_generator_that_learns_by_the_energy_score_learns_the_spread(make_generator):
    """Data at a single time, x0 independent of x_t = noise: draws must have the spread of the data, not their mean."""
    net = initialised(lambda: StepGenerator(1, 1, 32, 2), make_generator(0))
    loss = distillation.energy_score_objective(COSINE, steps=1)
    batches = [Batch(0.5 * torch.randn(256, 1, generator=make_generator(1, i))) for i in range(200)]
    for _ in train(net, batches, loss, torch.optim.Adam(net.parameters(), lr=5e-3), generator=make_generator(2)):
        pass
    x = torch.randn(2000, 1, generator=make_generator(3))
    with torch.no_grad():
        found = NetworkDraw(net, COSINE)(x, torch.tensor(1.0), make_generator(4))
    assert 0.4 < float(found.std()) < 0.6 and abs(float(found.mean())) < 0.1


def test_the_adversarial_loss_written_out_with_each_player_s_gradient(make_generator):
    net = initialised(lambda: Adversaries(2, 2, 16, 2), make_generator(0)).double()
    objective = distillation.adversarial_objective(COSINE, steps=4, penalty=0.3)
    batch = Batch(data.three_gaussians().to(torch.float64).sample(32, make_generator(1))[0])
    draws = objective.draw(batch, make_generator(2))
    assert draws.eps.shape == (32, 4, 2)
    objective.loss(net, draws).sum().backward()
    t, s = draws.t, draws.t - 0.25
    real = COSINE.perturb(draws.x0, s, draws.eps[:, 0]).requires_grad_()
    factor, variance = COSINE.transition(t, s)
    x_t = (factor[:, None] * real + variance.sqrt()[:, None] * draws.eps[:, 1]).detach()
    x_in, log_snr = network_input(COSINE, x_t, t)
    x0 = net.generator(x_in, log_snr, draws.eps[:, 3])
    mean, variance = COSINE.posterior(x_t, x0, t, s)
    fake = mean + variance.sqrt()[:, None] * draws.eps[:, 2]
    on_real = net.critic(real, x_in, log_snr)
    (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
    softplus = nn.functional.softplus
    critic = softplus(-on_real) + softplus(net.critic(fake.detach(), x_in, log_snr)) + 0.15 * slope.square().sum(1)
    generator = softplus(-net.critic(fake, x_in, log_snr))
    of_critic = torch.autograd.grad(critic.sum(), list(net.critic.parameters()), allow_unused=True)
    for weight, expected in zip(net.critic.parameters(), of_critic, strict=True):
        assert_close(weight.grad, expected, 1e-9)
    of_generator = torch.autograd.grad(generator.sum(), list(net.generator.parameters()))
    for weight, expected in zip(net.generator.parameters(), of_generator, strict=True):
        assert_close(weight.grad, expected, 1e-9)
    assert_close(objective.loss(net, draws).detach(), (critic + generator).detach())


def test_the_networks_of_a_random_step(make_generator):
    net = initialised(lambda: Adversaries(3, 5, 16, 2), make_generator(0))
    x, log_snr = torch.randn(4, 3, generator=make_generator(1)), torch.zeros(4)
    z = torch.randn(4, 5, generator=make_generator(2))
    assert torch.equal(net(x, log_snr, z), net.generator(x, log_snr, z)) and net(x, log_snr, z).shape == (4, 3)
    assert not torch.allclose(net(x, log_snr, z), net(x, log_snr, z.flip(0)))
    assert net.critic(x, x, log_snr).shape == (4,)
    drawn = NetworkDraw(net, COSINE)(x, torch.tensor(0.5), make_generator(3))
    z = torch.randn(4, 5, generator=make_generator(3))
    assert torch.equal(drawn, net(*network_input(COSINE, x, torch.tensor(0.5)), z))
    for make in (lambda: StepGenerator(noise=0), lambda: StepCritic(width=0), lambda: Adversaries(noise=0)):
        with pytest.raises(ValueError, match="must be"):
            make()
    assert {"StepGenerator", "Adversaries"} <= set(networks.NETWORKS)


def test_objectives_refuse_steps_that_are_none():
    for make in (
        lambda steps: distillation.consistency_objective(COSINE, steps=steps),
        lambda steps: distillation.energy_score_objective(COSINE, steps=steps),
        lambda steps: distillation.adversarial_objective(COSINE, steps=steps),
    ):
        with pytest.raises(ValueError, match="steps must"):
            make(0)
    assert isinstance(Draws(torch.zeros(1)), Draws)
