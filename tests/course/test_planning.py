"""Plans as samples, against the sum over all walks, powers of the matrix, and a Gaussian worked out in one piece."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from minidiff import data, inverse, networks, samplers
from minidiff import planning as pl
from minidiff.schedules import cosine, log_snr_times, rectified_flow, vp_linear
from minidiff.training import EMA, train
from tests.cases import assert_close, falling, inner_times, normal, number

VP = vp_linear()
TINY = data.maze(["..", "#."])  # three places in a row
BENT = data.maze(["...", "#.#"])  # four, one of them in a corner
every_path = pytest.mark.parametrize("path", [VP, cosine(), rectified_flow()], ids=["vp", "cosine", "flow"])


def all_walks(chain: pl.Chain) -> tuple[Tensor, Tensor]:
    """Every walk, (S^H, H), and the log of its weight, one after the other."""
    S = len(chain.places)
    walks = torch.tensor(list(itertools.product(range(S), repeat=chain.H)))
    weights = []
    for walk in walks.tolist():
        p = math.log(chain.start[walk[0]]) + sum(float(chain.log_weights[k, s]) for k, s in enumerate(walk))
        for a, b in itertools.pairwise(walk):
            move = float(chain.moves[a, b])
            p += math.log(move) if move > 0 else -math.inf
        weights.append(p)
    return walks, torch.tensor(weights, dtype=torch.float64)


def some_chain(maze: data.Maze, H: int, make_generator, *, pins: bool) -> pl.Chain:
    """A chain with random rewards, and two pins."""
    chain = pl.tilted(pl.walk_chain(maze, H), normal((H, len(maze.places)), make_generator(7)))
    return pl.pinned(chain, {0: 0, -1: 2}) if pins else chain


def by_enumeration(chain, path, x_t, t):
    """E[x0 | x_t], (B, 2, H), and the log of the evidence up to the normal constant, (B,)."""
    walks, weights = all_walks(chain)
    places = chain.places[walks].transpose(1, 2)  # (W, 2, H)
    alpha, sigma = path.alpha(t), path.sigma(t)
    logs = weights - ((x_t[:, None] - alpha * places) ** 2).sum(dim=(2, 3)) / (2 * sigma**2)
    return torch.einsum("bw,wdh->bdh", torch.softmax(logs, dim=1), places), torch.logsumexp(logs, dim=1)


# --- mazes -----------------------------------------------------------------------------------------------------------


def test_the_moves_of_a_maze_by_hand():
    expected = [[0.2, 0.8, 0, 0], [0.8 / 3, 0.2, 0.8 / 3, 0.8 / 3], [0, 0.8, 0.2, 0], [0, 0.8, 0, 0.2]]
    assert_close(BENT.moves, torch.tensor(expected, dtype=torch.float64))
    assert_close(BENT.start, torch.tensor([1, 3, 1, 1], dtype=torch.float64) / 6)
    assert BENT.cells == ((0, 0), (0, 1), (0, 2), (1, 1)) and BENT.place(1, 1) == 3
    assert BENT.distances(3).tolist() == [2, 1, 2, 0]


@pytest.mark.parametrize("rows", [data.SMALL_MAZE, data.LARGE_MAZE], ids=["small", "large"])
def test_a_maze_keeps_its_law_and_has_unit_scale(rows):
    maze = data.maze(rows)
    assert_close(maze.start @ maze.moves, maze.start)
    assert_close(maze.moves.sum(dim=1), torch.ones(len(maze.places), dtype=torch.float64))
    assert_close(maze.start @ maze.places, torch.zeros(2, dtype=torch.float64))
    assert float((maze.start @ maze.places**2).mean()) == pytest.approx(1)
    near = torch.cdist(maze.places, maze.places)
    beside = (maze.moves > 0) & ~torch.eye(len(near), dtype=torch.bool)
    assert_close(near[beside], torch.full((int(beside.sum()),), maze.step, dtype=torch.float64))
    assert bool((maze.distances(0) >= 0).all()) and int(data.maze().distances(data.maze().place(4, 4))[12]) > 0


def test_walks_move_as_the_matrix_says(make_generator):
    """Frequencies of moves within 6 standard errors: 16 numbers, one in ten million."""
    walks = BENT.walks(4000, 6, make_generator(0))
    pairs = torch.stack([walks[:, :-1].flatten(), walks[:, 1:].flatten()])
    counts = torch.zeros(4, 4, dtype=torch.float64).index_put((pairs[0], pairs[1]), torch.ones(20_000).double(), True)
    expected = BENT.start[:, None] * BENT.moves
    error = 6 * (expected * (1 - expected) / 4000).sqrt()  # a walk is one draw, its moves are not independent
    assert bool(((counts / counts.sum() - expected).abs() <= error).all())
    assert bool(BENT.legal(walks).all()) and bool((BENT.walks(9, 3, make_generator(1), start=2)[:, 0] == 2).all())


def test_a_trajectory_and_its_walk(make_generator):
    maze = data.maze()
    walks = maze.walks(50, 9, make_generator(0))
    x = maze.trajectories(walks)
    assert x.shape == (50, 2, 9) and torch.equal(x[3, :, 4], maze.places[walks[3, 4]])
    assert torch.equal(maze.nearest(x + 0.4 * maze.step * torch.sign(x)), walks) or torch.equal(maze.nearest(x), walks)
    jump = walks.clone()
    jump[:, 4] = (jump[:, 3] + 9) % len(maze.places)
    moved = maze.moves[jump[:, 3], jump[:, 4]] * maze.moves[jump[:, 4], jump[:, 5]] > 0
    assert torch.equal(maze.legal(jump), moved)


# --- forward-backward ------------------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("pins", [False, True])
def test_the_denoiser_is_the_mean_over_all_walks(path, pins, make_generator):
    for maze, H in ((TINY, 5), (BENT, 4)):
        chain = some_chain(maze, H, make_generator, pins=pins)
        x = normal((6, 2, H), make_generator(0))
        for t in inner_times(4, make_generator(1)):
            expected, evidence = by_enumeration(chain, path, x, t)
            assert_close(pl.chain_denoiser(chain, path)(x, t), expected, 1e-10)
            assert_close(pl.log_evidence(chain, path)(x, t), evidence, 1e-10)


def test_a_time_for_each_sample_and_single_precision(make_generator):
    chain, t = pl.walk_chain(BENT, 4), inner_times(6, make_generator(1))
    x, denoise = normal((6, 2, 4), make_generator(0)), pl.chain_denoiser(pl.walk_chain(BENT, 4), VP)
    one_by_one = torch.cat([denoise(x[i : i + 1], t[i]) for i in range(6)])
    assert_close(denoise(x, t), one_by_one)
    assert denoise(x.float(), t.float()).dtype == torch.float32
    assert_close(pl.log_evidence(chain, VP)(x, t)[2:3], pl.log_evidence(chain, VP)(x[2:3], t[2]))


def test_the_gradient_of_the_evidence_is_the_score(make_generator):
    """Tweedie: alpha x0_hat - x_t over sigma^2, by automatic differentiation of the whole recursion."""
    chain, t = some_chain(BENT, 5, make_generator, pins=True), number(0.4)
    x = normal((3, 2, 5), make_generator(0))
    found = torch.func.grad(lambda x: pl.log_evidence(chain, VP)(x, t).sum())(x)
    expected = (VP.alpha(t) * pl.chain_denoiser(chain, VP)(x, t) - x) / VP.sigma(t) ** 2
    assert_close(found, expected, 1e-10)


def test_expected_reward_is_the_mean_over_all_walks(make_generator):
    chain, reward, t = pl.walk_chain(BENT, 4), normal((4, 4), make_generator(3)), number(0.35)
    x = normal((5, 2, 4), make_generator(0))
    walks, weights = all_walks(chain)
    squares = ((x[:, None] - VP.alpha(t) * chain.places[walks].transpose(1, 2)) ** 2).sum(dim=(2, 3))
    p = torch.softmax(weights - squares / (2 * VP.sigma(t) ** 2), dim=1)
    earned = reward[torch.arange(4), walks].sum(dim=1)
    assert_close(pl.expected_reward(chain, VP, reward)(x, t), p @ earned, 1e-10)


def test_the_bridge_and_exact_draws(make_generator):
    """Marginals against all walks, and draws within 6 standard errors of them."""
    chain = some_chain(BENT, 5, make_generator, pins=True)
    walks, weights = all_walks(chain)
    p = torch.softmax(weights, dim=0)
    expected = torch.stack([torch.zeros(4).double().index_add(0, walks[:, k], p) for k in range(5)])
    assert_close(pl.bridge(chain), expected, 1e-10)
    drawn = pl.draw_walks(chain, 4000, make_generator(2))
    assert bool(BENT.legal(drawn).all())
    frequencies = torch.nn.functional.one_hot(drawn, 4).double().mean(dim=0)
    assert bool(((frequencies - expected).abs() <= 6 * (expected * (1 - expected) / 4000).sqrt() + 1e-12).all())
    code, weight = 4 ** torch.arange(5), p.clone()  # whole walks too, not only their marginals
    share = torch.zeros(4**5).double().index_add(0, drawn @ code, torch.ones(4000).double() / 4000)[walks @ code]
    assert bool(((share - weight).abs() <= 6 * (weight * (1 - weight) / 4000).sqrt() + 4 / 4000).all())


def test_pins_and_powers_of_the_matrix():
    """p(goal at the end | start) is an entry of moves^(H - 1)."""
    maze, H = data.maze(), 20
    S, G = maze.place(4, 0), maze.place(4, 4)
    plain = pl.walk_chain(maze, H)
    from_start = pl.bridge(pl.pinned(plain, {0: S}))
    assert_close(from_start, torch.stack([torch.linalg.matrix_power(maze.moves, k)[S] for k in range(H)]))
    pinned = pl.bridge(pl.pinned(plain, {0: S, H - 1: G}))
    assert float(pinned[0, S]) == float(pinned[-1, G]) == 1
    middle = torch.linalg.matrix_power(maze.moves, 9)[S] * torch.linalg.matrix_power(maze.moves, 10)[:, G]
    assert_close(pinned[9], middle / middle.sum())


def test_numbers_do_not_run_out_in_long_walks_and_little_noise(make_generator):
    maze = data.maze(data.LARGE_MAZE)
    chain = pl.walk_chain(maze, 200)
    walks = maze.walks(3, 200, make_generator(0))
    x0 = maze.trajectories(walks)
    for t in (1e-3, 0.05):
        x = VP.perturb(x0, number(t), normal(x0.shape, make_generator(1)))
        found = pl.chain_denoiser(chain, VP)(x, number(t))
        assert bool(found.isfinite().all()) and (t > 1e-2 or float((found - x0).abs().max()) < 1e-6)
    lost = normal(x0.shape, make_generator(2))  # near no walk at all, where the noise is small
    assert bool(pl.chain_denoiser(chain, VP)(lost, number(1e-3)).isfinite().all())


def test_sampling_a_pinned_chain_draws_from_its_bridge(make_generator):
    """Every plan arrives by legal moves; occupancies within 7 standard errors and 0.02 for the finite steps."""
    maze, H, n = BENT, 6, 600
    chain = pl.pinned(pl.walk_chain(maze, H), {0: 0, -1: 3})
    times = torch.cat([log_snr_times(VP, 40, 1e-3), number(0)[None]])
    x = normal((n, 2, H), make_generator(0))
    drawn = samplers.last(samplers.ancestral(pl.chain_denoiser(chain, VP), VP, x, times, generator=make_generator(1)))
    walks, p = maze.nearest(drawn), pl.bridge(chain)
    assert bool(maze.legal(walks).all()) and bool((walks[:, 0] == 0).all()) and bool((walks[:, -1] == 3).all())
    frequencies = torch.nn.functional.one_hot(walks, 4).double().mean(dim=0)
    assert bool(((frequencies - p).abs() <= 7 * (p * (1 - p) / n).sqrt() + 0.02).all())


def test_trajectories_fit_the_measurements_of_notebook_15(make_generator):
    known = torch.zeros(2, 5, dtype=torch.bool)
    known[:, [0, -1]] = True
    measurement, x = inverse.masked(known), normal((4, 2, 5), make_generator(0))
    y = measurement.forward(BENT.trajectories(torch.tensor([[0, 1, 1, 1, 3]])))
    denoise = pl.chain_denoiser(pl.walk_chain(BENT, 5), VP)
    times = falling(8, 0.99, 0)
    end = samplers.last(inverse.replacement(denoise, VP, measurement, y, x, times, generator=make_generator(1)))
    assert_close(end[:, :, [0, -1]], BENT.trajectories(torch.tensor([[0, 3]])).expand(4, -1, -1), 1e-10)


# --- long walks from short ones --------------------------------------------------------------------------------------


def test_windows_that_share_one_step_are_the_whole_chain_where_the_noise_is_small(make_generator):
    """A single place that both share parts past from future only where it is known."""
    chain = pl.walk_chain(BENT, 9)
    walks = BENT.walks(20, 9, make_generator(0))
    x0, eps = BENT.trajectories(walks), normal((20, 2, 9), make_generator(1))
    whole, parts = pl.chain_denoiser(chain, VP), pl.stitched(chain, VP, length=5, overlap=1)
    x = VP.perturb(x0, number(0.01), eps)
    assert_close(parts(x, number(0.01)), whole(x, number(0.01)), 1e-9)
    x = VP.perturb(x0, number(0.3), eps)
    assert float((parts(x, number(0.3)) - whole(x, number(0.3))).abs().max()) > 1e-2


def test_one_window_is_the_chain_itself_and_averages_count(make_generator):
    chain, x, t = pl.walk_chain(BENT, 6), normal((3, 2, 6), make_generator(0)), number(0.4)
    whole = pl.chain_denoiser(chain, VP)(x, t)
    assert_close(pl.stitched(chain, VP, length=6, overlap=3)(x, t), whole)
    short = pl.chain_denoiser(pl.walk_chain(BENT, 4), VP)
    first, second = short(x[:, :, :4], t), short(x[:, :, 2:], t)
    both = pl.stitched(chain, VP, length=4, overlap=2, mean=True)(x, t)
    assert_close(both[:, :, :2], first[:, :, :2])
    assert_close(both[:, :, 2:4], (first[:, :, 2:] + second[:, :, :2]) / 2)
    added = pl.stitched(chain, VP, length=4, overlap=2)(x, t)
    middle = pl.chain_denoiser(pl.walk_chain(BENT, 2), VP)(x[:, :, 2:4], t)
    assert_close(added[:, :, 2:4], first[:, :, 2:] + second[:, :, :2] - middle)
    assert_close(added[:, :, 4:], second[:, :, 2:])


def test_windows_of_a_pinned_chain_keep_the_pins(make_generator):
    chain = pl.pinned(pl.walk_chain(BENT, 9), {0: 0, -1: 3})
    found = pl.stitched(chain, VP, length=5, overlap=1)(normal((4, 2, 9), make_generator(0)), number(0.7))
    assert_close(found[:, :, 0], BENT.places[0].expand(4, 2))
    assert_close(found[:, :, -1], BENT.places[3].expand(4, 2))


# --- a network -------------------------------------------------------------------------------------------------------


def test_a_planner_sees_clean_ends_and_puts_them_in(make_generator):
    maze = data.maze()
    net = networks.initialised(lambda: pl.Planner(maze, width=16, blocks=1), make_generator(0))
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.1, generator=make_generator(1))
    ends, x, t = torch.tensor([[0, 5], [3, 3]]), normal((2, 2, 8), make_generator(2)).float(), torch.tensor(0.5)
    denoise = pl.learned_denoiser(net, VP, ends)
    with torch.no_grad():
        found = denoise(x, t)
        other = x.clone()
        other[:, :, [0, -1]] += 3
        assert torch.equal(denoise(other, t), found)  # noise at the ends is not looked at
        elsewhere = pl.learned_denoiser(net, VP, ends.flip(1))(x, t)
    assert_close(found[:, :, [0, -1]], maze.places.float()[ends].transpose(1, 2))
    assert float((elsewhere - found)[0, :, 1:-1].abs().max()) > 1e-3
    assert float(found.abs().max()) <= float(maze.places.abs().max()) + 1e-6  # a mean of places


def test_the_loss_of_places_is_the_cross_entropy(make_generator):
    maze = data.maze()
    walks = maze.walks(6, 8, make_generator(0))
    batch = next(pl.walk_batches(maze, walks, batch_size=4, steps=1, seed=1))
    assert torch.equal(maze.nearest(batch.x0), batch.y) and batch.x0.dtype == torch.float32
    objective = pl.place_objective(VP)
    draws = objective.draw(batch, make_generator(1))
    net = networks.initialised(lambda: pl.Planner(maze, width=16, blocks=1), make_generator(2))
    assert_close(objective.loss(net, draws), torch.full((4,), math.log(len(maze.places))), 1e-5)  # it begins at nothing


def test_a_short_training_beats_knowing_nothing(make_generator):
    """On three places in a row the loss falls below half of log 3."""
    net = networks.initialised(lambda: pl.Planner(TINY, width=16, blocks=1), make_generator(0))
    walks = TINY.walks(500, 8, make_generator(1))
    batches = pl.walk_batches(TINY, walks, batch_size=32, steps=60, seed=0)
    ema = EMA(net, 0.9)
    reports = list(
        train(net, batches, pl.place_objective(VP), pl.planner_optimizer(net), generator=make_generator(2), ema=ema)
    )
    assert reports[0].loss == pytest.approx(math.log(3), abs=1e-3)
    assert sum(report.loss for report in reports[-10:]) / 10 < 0.75 * math.log(3)


def test_a_row_unet_keeps_its_length_and_starts_at_nothing(make_generator):
    net = networks.initialised(lambda: networks.UNet1d(3, 5, (16, 32), 1), make_generator(0))
    x = normal((2, 3, 12), make_generator(1)).float()
    assert net(x, torch.zeros(2)).shape == (2, 5, 12) and float(net(x, torch.zeros(2)).detach().abs().max()) == 0
    for wrong in (x[:, :, :7], x[:, :2], x[0]):
        with pytest.raises(ValueError, match="x must have"):
            net(wrong, torch.zeros(2))
    with pytest.raises(ValueError, match="kernel must be odd"):
        networks.UNet1d(kernel=4)


def test_a_row_unet_is_told_the_noise_and_reaches_as_far_as_its_blocks(make_generator):
    net = networks.initialised(lambda: networks.UNet1d(2, 2, (16,), 1, kernel=3), make_generator(0))
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=make_generator(1))
    x = normal((1, 2, 31), make_generator(2)).float().requires_grad_(True)
    out = net(x, torch.zeros(1))
    assert float((net(x, torch.ones(1)) - out).detach().abs().max()) > 1e-3
    first = net.conv_in(x)
    near = torch.autograd.grad(first[0, :, 15].sum(), x)[0][0].abs().sum(dim=0)
    assert near.nonzero()[:, 0].tolist() == [14, 15, 16]


# --- control ---------------------------------------------------------------------------------------------------------


def double_integrator(H: int) -> pl.LinearSystem:
    dt = 0.2
    A = torch.tensor([[1, dt], [0, 1]], dtype=torch.float64)
    B = torch.tensor([[dt**2 / 2], [dt]], dtype=torch.float64)
    Q, Qf = torch.diag(torch.tensor([1.0, 0.1]).double()), torch.diag(torch.tensor([20.0, 1.0]).double())
    return pl.LinearSystem(A, B, Q, Qf, H)


def test_lqr_is_the_minimum_of_the_cost():
    """Autograd: the gradient of the cost vanishes at the controls of Riccati, and any other costs more."""
    system, s0 = double_integrator(7), torch.tensor([-2.0, 0.5], dtype=torch.float64)
    now, u = s0, []
    for gain in pl.riccati_gains(system):
        u.append(-gain @ now)
        now = system.A @ now + system.B @ u[-1]
    u = torch.stack(u)[None].requires_grad_(True)
    cost = system.cost(system.states(s0, u), u)
    (slope,) = torch.autograd.grad(cost.sum(), u)
    assert float(slope.abs().max()) < 1e-12 * float(cost.detach())
    assert_close(system.states(s0, u.detach())[0, -1], now)
    push = torch.full((1, 7, 1), 0.3, dtype=torch.float64)
    assert_close(system.states(s0, u, push), system.states(s0, u + push))
    by_hand = sum(0.5 * float(s @ system.Q @ s) for s in system.states(s0, u.detach())[0, :-1])
    last = system.states(s0, u.detach())[0, -1]
    assert float(cost.detach()) == pytest.approx(
        by_hand + 0.5 * float(last @ system.Qf @ last) + 0.5 * float((u.detach() ** 2).sum())
    )


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_meant_is_refused(make_generator):
    maze = data.maze()
    for rows in ([], ["..", "."], ["ab"], ["..", "##", "#."]):
        with pytest.raises(ValueError, match="must"):
            data.maze(rows)
    with pytest.raises(ValueError, match="stay must lie"):
        data.maze(stay=1.0)
    with pytest.raises(ValueError, match="must be a free place"):
        maze.place(0, 2)
    with pytest.raises(ValueError, match="x must have shape"):
        maze.nearest(torch.zeros(3, 20, 2))
    for lost in (math.nan, math.inf):  # the nearest place of NaN would be place 0, and a walk that rests there is legal
        x = torch.zeros(3, 2, 20)
        x[1, 0, 7] = lost
        with pytest.raises(ValueError, match="x must be finite"):
            maze.nearest(x)
    with pytest.raises(ValueError, match="at must leave some walk"):
        pl.pinned(pl.walk_chain(maze, 5), {0: maze.place(4, 0), -1: maze.place(4, 4)})
    with pytest.raises(ValueError, match="a step must be"):
        pl.pinned(pl.walk_chain(maze, 5), {5: 0})
    with pytest.raises(ValueError, match="a place must be"):
        pl.pinned(pl.walk_chain(maze, 5), {0: 19})
    with pytest.raises(ValueError, match="reward must have shape"):
        pl.tilted(pl.walk_chain(maze, 5), torch.zeros(19))
    with pytest.raises(ValueError, match="windows must end"):
        pl.stitched(pl.walk_chain(maze, 9), VP, length=4, overlap=2)
    with pytest.raises(ValueError, match="n must be"):
        pl.draw_walks(pl.walk_chain(maze, 5), 0, make_generator(0))
