"""The loss, the loop and the moving average, each against its formula written out."""

import itertools
import math
import warnings

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from minidiff import _tensors, training
from minidiff.denoisers import from_network
from minidiff.digits import digit_optimizer
from minidiff.exact import GaussianMixture, mixture_denoiser, reverse_kernel
from minidiff.networks import MLP, Classifier, UNet, embeddings, initialised
from minidiff.paths import GaussianPath
from minidiff.schedules import cosine, ddpm_linear, vp_linear
from minidiff.targets import network_output, solve
from minidiff.training import (
    EMA,
    Batch,
    Draws,
    batches,
    denoising_loss,
    denoising_objective,
    edm_weight,
    faster_dtype,
    fresh_batches,
    min_snr_weight,
    noise_variance_weight,
    spread_times,
    train,
    warmup_cosine,
)
from tests.cases import (
    PATHS,
    PerfectNetwork,
    dkw_bound,
    every_kind,
    every_path,
    every_shape,
    farthest_from_cdf,
    inner_times,
    normal,
    number,
    random_mixture,
    same_weights,
    weights_of,
)

# --- the loss --------------------------------------------------------------------------------------------------------


class Wavy(nn.Module):
    """Some function of both inputs, sample by sample."""

    def forward(self, x, log_snr, y=0.0):
        return torch.sin(3 * x) + log_snr.reshape(-1, *[1] * (x.ndim - 1)) / 10 + y


@every_path
@every_kind
@every_shape
def test_denoising_loss_is_its_formula(path, kind, shape, make_generator):
    x0, eps = normal(shape, make_generator(0)), normal(shape, make_generator(1))
    t = torch.tensor([0.1505, 0.3505, 0.5505, 0.8505], dtype=torch.float64)[: shape[0]]  # between knots of the table
    losses = denoising_loss(Wavy(), path, x0, t, eps, kind=kind)
    assert losses.shape == (shape[0],)
    for i in range(shape[0]):
        alpha, sigma, h = float(path.alpha(t[i])), float(path.sigma(t[i])), 1e-6
        rates = [float(f(t[i] + h) - f(t[i] - h)) / (2 * h) for f in (path.alpha, path.sigma)]
        table = {"x0": (1, 0), "eps": (0, 1), "score": (0, -1 / sigma), "v": (-sigma, alpha), "velocity": rates}
        a, b = table[kind]
        x_in = (alpha * x0[i] + sigma * eps[i]) / math.hypot(alpha, sigma)
        answer = math.hypot(a, b) * (torch.sin(3 * x_in) + math.log(alpha**2 / sigma**2) / 10)
        expected = float(((answer - a * x0[i] - b * eps[i]) ** 2).mean())
        assert float(losses[i]) == pytest.approx(expected, rel=1e-5)


def test_denoising_loss_hands_y_to_the_network(make_generator):
    x0, eps, t = normal((3, 2), make_generator(0)), normal((3, 2), make_generator(1)), inner_times(3, make_generator(2))
    y = normal((3, 2), make_generator(3))
    with_y = denoising_loss(Wavy(), cosine(), x0, t, eps, kind="x0", y=y)
    shifted = denoising_loss(lambda x, log_snr: Wavy()(x, log_snr) + y, cosine(), x0, t, eps, kind="x0")
    torch.testing.assert_close(with_y, shifted)


@every_path
@every_kind
def test_the_exact_mean_of_a_gaussian_scores_the_floor(path, kind, make_generator):
    """Var[x0 | x_t] = v sigma^2 / (alpha^2 v + sigma^2) for data of variance v; an error e in x0 is an error
    (a - b alpha / sigma) e in the target a x0 + b eps. 7 standard errors: false alarms below 1e-10."""
    n, v, t = 20_000, 0.25, number(0.4505)
    data = GaussianMixture(torch.ones(1).double(), torch.ones(1, 2).double(), v * torch.eye(2)[None].double())
    x0, _ = data.sample(n, make_generator(0))
    net = PerfectNetwork(data, path, kind, t)
    losses = denoising_loss(net, path, x0, t, normal((n, 2), make_generator(1)), kind=kind)
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    rates = [float(rate) for rate in path.rates(t)]
    a, b = {"x0": (1, 0), "eps": (0, 1), "score": (0, -1 / sigma), "v": (-sigma, alpha), "velocity": rates}[kind]
    floor = (a - b * alpha / sigma) ** 2 * v * sigma**2 / (alpha**2 * v + sigma**2)
    assert abs(float(losses.mean()) - floor) < 7 * float(losses.std()) / math.sqrt(n)


def test_the_floor_of_a_mixture_is_the_mean_posterior_variance(make_generator):
    """The loss less the posterior's variance has mean 0, sample by sample: 7 standard errors, below 1e-11."""
    n, t, path = 20_000, number(0.4), vp_linear()
    mixture = random_mixture(3, (2,), make_generator(0))
    (x0, _), eps = mixture.sample(n, make_generator(1)), normal((n, 2), make_generator(2))
    losses = denoising_loss(PerfectNetwork(mixture, path, "x0", t), path, x0, t, eps, kind="x0")
    posterior = reverse_kernel(mixture, path, path.perturb(x0, t, eps), t, torch.zeros_like(t), to_data=True)
    excess = losses - posterior.covariance().diagonal(dim1=1, dim2=2).mean(1)
    assert abs(float(excess.mean())) < 7 * float(excess.std()) / math.sqrt(n)


def test_denoising_loss_refuses_an_integer_time():
    x0 = torch.zeros(4, 2)
    with pytest.raises(TypeError, match=r"t must be a floating-point tensor .* divide a step index k"):
        denoising_loss(Wavy(), cosine(), x0, torch.arange(4), x0, kind="v")


# --- times and noise -------------------------------------------------------------------------------------------------

LATE = GaussianPath(torch.cos, torch.sin, t_min=0.2)


@pytest.mark.parametrize("path", [cosine(), LATE], ids=["from 0", "from 0.2"])
@pytest.mark.parametrize("n", [1, 2, 7, 512])
def test_spread_times_are_evenly_spread_within_the_path(path, n, make_generator):
    for stream in range(20):
        t = spread_times(n, path, make_generator(stream))
        assert t.shape == (n,) and t.dtype == torch.float32
        assert path.t_min < t.min() and t.max() <= 1
        gaps = t.sort().values.diff()
        torch.testing.assert_close(gaps, torch.full((n - 1,), (1 - path.t_min) / n), rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", [cosine(), LATE], ids=["from 0", "from 0.2"])
def test_each_spread_time_is_uniform(path, make_generator):
    """Over 2,000 draws of 5 times, by the DKW bound: false alarms below 1e-9."""
    drawn = torch.stack([spread_times(5, path, make_generator(0, stream)) for stream in range(2_000)])
    for times in drawn.T:
        uniform = farthest_from_cdf(times, lambda t: (t - path.t_min) / (1 - path.t_min))
        assert uniform < dkw_bound(2_000)


def early_times(n, path, generator):
    return 0.5 * torch.rand(n, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("given", "draw_times"), [((), spread_times), ((early_times,), early_times)])
def test_denoising_objective_is_the_loss_at_the_times_drawn_and_fresh_noise(dtype, given, draw_times, make_generator):
    x0, path = torch.randn(6, 1, 8, 8, generator=make_generator(0)).to(dtype), cosine()
    losses = denoising_objective(path, "v", *given)(Wavy(), Batch(x0, 0.5), make_generator(1))
    g = make_generator(1)
    t = draw_times(6, path, g).to(dtype)
    eps = torch.randn(x0.shape, generator=g, dtype=dtype)
    torch.testing.assert_close(losses, denoising_loss(Wavy(), path, x0, t, eps, kind="v", y=0.5))


# --- weights ---------------------------------------------------------------------------------------------------------


def objective(path, kind, x0, generator, *, net=None, weight=None):
    """The losses that `train` would see, at times in [0.02, 0.98]."""
    loss = denoising_objective(path, kind, lambda n, path, g: inner_times(n, g), weight=weight)
    return loss(net or Wavy(), Batch(x0), generator)


@every_path
@every_shape
def test_ncsn_is_ddpm_on_another_path(path, shape, make_generator):
    """A score is -eps / sigma, and the package scales what a network answers by 1 / sigma: so the sign is all that is
    left between the two networks, and weighted with sigma^2 their losses are the same numbers."""
    x0 = normal(shape, make_generator(0))
    scores = objective(path, "score", x0, make_generator(1), weight=noise_variance_weight)
    eps = objective(path, "eps", x0, make_generator(1), net=lambda x, log_snr: -Wavy()(x, log_snr))
    torch.testing.assert_close(scores, eps, rtol=1e-10, atol=0)


@every_path
@every_shape
def test_edm_weight_makes_the_loss_of_v_that_of_edm(path, shape, make_generator):
    """EDM, table 1, at sigma_data = 1: lambda |D - x0|^2, lambda = (sigma^2 + 1) / sigma^2, where D estimates x0 from
    x0 + sigma eps; that sigma is our sigma / alpha."""
    x0 = normal(shape, make_generator(0))
    losses = objective(path, "v", x0, make_generator(1), weight=edm_weight)
    g = make_generator(1)
    t, eps = inner_times(len(x0), g), normal(shape, g)
    x_t = path.perturb(x0, t, eps)
    estimate = solve("v", path, network_output(Wavy(), "v", path, x_t, t), x_t, t).x0
    ratio = path.sigma(t) / path.alpha(t)
    expected = (ratio**2 + 1) / ratio**2 * ((estimate - x0) ** 2).flatten(1).mean(dim=1)
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["ddpm_linear", "cosine", "vp_linear"])
def test_where_variance_is_preserved_edm_is_the_plain_loss_of_v(name, make_generator):
    t = inner_times(50, make_generator(0))
    torch.testing.assert_close(edm_weight(PATHS[name], t), torch.ones_like(t), rtol=1e-12, atol=0)


@every_path
@every_kind
@pytest.mark.parametrize("gamma", [5.0, 0.5])
def test_min_snr_weighs_the_error_of_x0(path, kind, gamma, make_generator):
    """min(SNR, gamma) |x0_hat - x0|^2 for every kind, and for eps and v the two formulas of Hang et al."""
    x0 = normal((40, 2), make_generator(0))
    weight = min_snr_weight(kind, gamma)
    losses = objective(path, kind, x0, make_generator(1), weight=weight)
    g = make_generator(1)
    t, eps = inner_times(40, g), normal((40, 2), g)
    x_t = path.perturb(x0, t, eps)
    estimate = solve(kind, path, network_output(Wavy(), kind, path, x_t, t), x_t, t).x0
    snr = (path.alpha(t) / path.sigma(t)) ** 2
    expected = snr.clamp(max=gamma) * ((estimate - x0) ** 2).flatten(1).mean(dim=1)
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=0)
    if kind == "eps":
        torch.testing.assert_close(weight(path, t), snr.clamp(max=gamma) / snr, rtol=1e-9, atol=0)
    if kind == "v" and path in (PATHS["cosine"], PATHS["vp_linear"]):
        torch.testing.assert_close(weight(path, t), snr.clamp(max=gamma) / (snr + 1), rtol=1e-9, atol=0)


def test_min_snr_is_finite_where_no_signal_is_left():
    end = torch.ones(1)  # cosine's alpha is 0 here
    assert float(min_snr_weight("eps")(cosine(), end)) == 1
    for kind in ("x0", "v"):
        assert float(min_snr_weight(kind)(cosine(), end)) < 1e-12
    assert math.isfinite(float(min_snr_weight("score")(cosine(), end)))
    for gamma in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="gamma must be positive"):
            min_snr_weight("eps", gamma)


@every_shape
def test_a_weight_enters_sample_by_sample(shape, make_generator):
    path, x0 = vp_linear(), normal(shape, make_generator(0))
    plain = objective(path, "v", x0, make_generator(1))
    weighted = objective(path, "v", x0, make_generator(1), weight=lambda path, t: t + path.alpha(t))
    t = inner_times(len(x0), make_generator(1))
    torch.testing.assert_close(weighted, plain * (t + path.alpha(t)), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (lambda path, t: t[:, None], r"must return a tensor of shape \(4,\), but returned .* of shape \(4, 1\)"),
        (lambda path, t: t.mean(), r"must return a tensor of shape \(4,\), but returned .* of shape \(\)"),
        (lambda path, t: 2.0, "but returned float 2.0"),
    ],
)
def test_a_weight_that_would_be_broadcast_is_refused(weight, words, make_generator):
    with pytest.raises(ValueError, match=words):
        objective(vp_linear(), "v", normal((4, 2), make_generator(0)), make_generator(1), weight=weight)


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "size"), [(24, 8), (22, 4), (5, 5), (7, 1)])
def test_an_epoch_covers_each_sample_at_most_once_and_all_that_fit(n, size, seed):
    x, y = torch.arange(n).float()[:, None], 10 * torch.arange(n)
    per_epoch = n // size
    rows = [batch.x0[:, 0].tolist() for batch in batches(x, y, batch_size=size, steps=3 * per_epoch, seed=seed)]
    for epoch in range(3):
        covered = list(itertools.chain(*rows[epoch * per_epoch : (epoch + 1) * per_epoch]))
        assert len(covered) == len(set(covered)) == per_epoch * size
    if n > 20:  # too many orders for two epochs to agree by chance
        assert rows[:per_epoch] != rows[per_epoch : 2 * per_epoch]
    for batch in batches(x, y, batch_size=size, steps=5, seed=seed):
        assert torch.equal(batch.y, 10 * batch.x0[:, 0].long())


def test_batch_i_is_a_function_of_the_seed_and_i(seed):
    x = torch.arange(20).float()[:, None]

    def rows(steps, seed):
        return [batch.x0[:, 0].tolist() for batch in batches(x, batch_size=6, steps=steps, seed=seed)]

    assert rows(10, seed) == rows(10, seed)
    assert rows(4, seed) == rows(10, seed)[:4]
    assert rows(10, seed) != rows(10, seed + 1)
    interrupted = itertools.islice(batches(x, batch_size=6, steps=10, seed=seed), 7, None)
    assert [batch.x0[:, 0].tolist() for batch in interrupted] == rows(10, seed)[7:]
    assert next(batches(x, batch_size=6, steps=1, seed=seed)).y is None


def test_every_order_is_as_likely():
    """Which of 4 samples comes first over 2,000 seeds: 7 standard deviations, false alarms below 1e-10."""
    x = torch.arange(4).float()[:, None]
    first = [int(next(batches(x, batch_size=1, steps=1, seed=s)).x0) for s in range(2_000)]
    counts = torch.bincount(torch.tensor(first), minlength=4)
    assert (counts - 500).abs().max() < 7 * math.sqrt(2_000 * 3 / 16)


def test_fresh_batches_are_drawn_by_batch_number(seed):
    def draw(n, generator):
        return torch.randn(n, 2, generator=generator)

    first = list(fresh_batches(draw, batch_size=3, steps=5, seed=seed))
    again = list(fresh_batches(draw, batch_size=3, steps=8, seed=seed))
    assert len(first) == 5 and len(again) == 8
    assert all(torch.equal(a.x0, b.x0) for a, b in zip(first, again, strict=False))
    assert not torch.equal(first[0].x0, first[1].x0)
    assert first[0].x0.shape == (3, 2) and first[0].y is None


@pytest.mark.parametrize(
    ("x", "y", "size", "words"),
    [
        (torch.zeros(4, 2), None, 5, r"batch_size must lie in \[1, 4\], the size of x, but is 5"),
        (torch.zeros(4, 2), None, 0, r"batch_size must lie in \[1, 4\], the size of x, but is 0"),
        (
            torch.zeros(4, 2),
            torch.zeros(3),
            2,
            "y must have one entry for each of the 4 samples of x, but is a float32",
        ),
        (torch.full((4, 2), math.nan), None, 2, "x must be finite, but 8 of its 8 values are NaN or infinite"),
    ],
)
def test_batches_that_do_not_fit_are_refused(x, y, size, words):
    with pytest.raises(ValueError, match=words):
        next(batches(x, y, batch_size=size, steps=1, seed=0))


# --- the moving average ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_ema_obeys_its_recursion(decay):
    net = nn.Linear(1, 1, bias=False, dtype=torch.float64, device="meta").to_empty(device="cpu")
    nn.init.constant_(net.weight, 3.0)
    ema, expected = EMA(net, decay), 3.0
    for k in range(1, 200):
        nn.init.constant_(net.weight, math.sin(k))
        ema.update(net)
        keep = min(decay, k / (k + 9))
        expected = keep * expected + (1 - keep) * math.sin(k)
        assert float(ema.net.weight) == pytest.approx(expected, abs=1e-12)
    assert ema.steps == 199


def test_ema_is_a_network_of_its_own_ready_to_use(make_generator):
    net = initialised(Classifier, make_generator(0))
    before, ema = weights_of(net), EMA(net)
    assert same_weights(ema.net, before)
    assert not ema.net.training and not any(p.requires_grad for p in ema.net.parameters())
    assert net.training and all(p.requires_grad for p in net.parameters())
    net(torch.randn(4, 1, 28, 28, generator=make_generator(1)))  # moves the statistics and the integer counters
    assert same_weights(ema.net, before)
    ema.update(net)
    counters = [value for value in ema.net.state_dict().values() if not value.is_floating_point()]
    assert counters and all(counter == 1 for counter in counters)
    running = "layers.1.running_mean"
    torch.testing.assert_close(ema.net.state_dict()[running], 0.9 * net.state_dict()[running])


@pytest.mark.parametrize("decay", [1.0, -0.1, math.nan])
def test_ema_refuses_a_decay_that_is_no_share(decay):
    with pytest.raises(ValueError, match=rf"decay must lie in \[0, 1\), but is {decay}"):
        EMA(nn.Identity(), decay)


# --- the learning rate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "warmup"), [(10, 4), (10, 0), (3, 2)])
def test_warmup_cosine_is_its_formula(steps, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = warmup_cosine(optimizer, steps=steps, warmup=warmup)
    for step in range(steps + 3):
        if step < warmup:
            share = (step + 1) / (warmup + 1)
        else:
            share = math.cos(math.pi / 2 * min(1, (step - warmup) / (steps - warmup))) ** 2
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * share, abs=1e-12)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(("steps", "warmup"), [(10, 10), (10, -1), (0, 0)])
def test_warmup_must_end_before_the_steps_do(steps, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    with pytest.raises(
        ValueError, match=rf"warmup must lie in \[0, steps\), but warmup = {warmup} and steps = {steps}"
    ):
        warmup_cosine(optimizer, steps=steps, warmup=warmup)


# --- the loop --------------------------------------------------------------------------------------------------------


class Line(nn.Module):
    """w . x, from given weights."""

    def __init__(self, *weights):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(weights))

    def forward(self, x):
        return x @ self.w


def squares(net, batch, generator):
    """A loss that knows no diffusion."""
    return (net(batch.x0) - batch.y) ** 2


def line_batches(steps, make_generator, size=8):
    for step in range(steps):
        x = torch.randn(size, 2, generator=make_generator(step))
        yield Batch(x, x @ torch.tensor([2.0, -1.0]))


@pytest.mark.parametrize("max_norm", [1.0, 1e9], ids=["clipped", "not clipped"])
def test_a_step_is_adamw_written_out(max_norm, make_generator):
    """Loshchilov & Hutter, algorithm 2, on gradients worked out by hand and clipped by their norm."""
    net = Line(5.0, 3.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, betas=(0.8, 0.9), eps=1e-8, weight_decay=0.3)
    w, m, v = torch.tensor([5.0, 3.0], dtype=torch.float64), torch.zeros(2).double(), torch.zeros(2).double()
    data = list(line_batches(4, make_generator))
    steps = train(net, data, squares, optimizer, generator=make_generator(9), max_norm=max_norm)
    for k, (batch, step) in enumerate(zip(data, steps, strict=True), start=1):
        x, errors = batch.x0.double(), batch.x0.double() @ w - batch.y.double()
        gradient = 2 * (errors[:, None] * x).mean(0)
        assert step.step == k
        assert step.loss == pytest.approx(float((errors**2).mean()), rel=1e-5)
        assert step.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-5)
        gradient = gradient * min(1, max_norm / float(gradient.norm()))
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient**2
        w = w - 0.1 * 0.3 * w
        w = w - 0.1 * (m / (1 - 0.8**k)) / ((v / (1 - 0.9**k)).sqrt() + 1e-8)
        torch.testing.assert_close(net.w.detach().double(), w, rtol=1e-5, atol=1e-5)


def test_a_report_comes_after_the_step_its_schedule_and_its_average(make_generator):
    net = Line(5.0, 3.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    schedule, ema = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (k + 1)), EMA(net)
    net.eval()
    before, average = weights_of(net), 5.0
    data = line_batches(3, make_generator)
    for step in train(net, data, squares, optimizer, generator=make_generator(9), schedule=schedule, ema=ema):
        assert net.training
        assert not same_weights(net, before)
        assert ema.steps == step.step
        keep = step.step / (step.step + 9)
        average = keep * average + (1 - keep) * float(net.w[0].detach())
        assert float(ema.net.w[0]) == pytest.approx(average, rel=1e-5)
        assert optimizer.param_groups[0]["lr"] == 1 / (step.step + 1)
        before = weights_of(net)
    assert step.step == 3


def test_the_loop_finds_what_least_squares_finds(make_generator):
    net = Line(0.0, 0.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.05, weight_decay=0)
    data = line_batches(300, make_generator)
    assert len(list(train(net, data, squares, optimizer, generator=make_generator(9)))) == 300
    torch.testing.assert_close(net.w.detach(), torch.tensor([2.0, -1.0]), atol=1e-3, rtol=0)


def broken(net, batch, generator):
    """A loss that is finite while its gradient is not."""
    return squares(net, batch, generator) + torch.sqrt((net.w - net.w.detach()).abs().sum())


@pytest.mark.parametrize("way", ["nan data", "infinite loss", "infinite gradient"])
def test_training_that_breaks_down_stops_with_the_last_good_weights(way, make_generator):
    net = Line(5.0, 3.0)
    optimizer, ema = torch.optim.AdamW(net.parameters()), EMA(net)
    data = list(line_batches(4, make_generator))
    if way != "infinite gradient":
        data[2].x0[0] = math.nan if way == "nan data" else 1e30

    def loss(net, batch, generator):
        return (broken if way == "infinite gradient" and batch is data[2] else squares)(net, batch, generator)

    steps = train(net, data, loss, optimizer, generator=make_generator(9), ema=ema)
    next(steps), next(steps)
    before, average = weights_of(net), weights_of(ema.net)
    with pytest.raises(
        FloatingPointError, match=r"training broke down at step 3: loss .*, gradient norm .*; look for NaN"
    ):
        next(steps)
    assert same_weights(net, before) and same_weights(ema.net, average) and ema.steps == 2


def test_an_early_stop_keeps_what_is_done_and_draws_no_batch_in_advance(make_generator):
    drawn = []

    def counted():
        for batch in line_batches(100, make_generator):
            drawn.append(batch)
            yield batch

    net = Line(5.0, 3.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in train(net, counted(), squares, optimizer, generator=make_generator(9)):
        if step.step == 3:
            break
    assert len(drawn) == 3
    alone = Line(5.0, 3.0)
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
    list(train(alone, drawn, squares, optimizer, generator=make_generator(9)))
    assert torch.equal(net.w, alone.w)


def test_the_same_generator_trains_the_same_network(make_generator):
    def trained(stream):
        net = initialised(lambda: MLP(width=8, layers=1), make_generator(0))
        data = fresh_batches(lambda n, g: torch.randn(n, 2, generator=g), batch_size=8, steps=3, seed=0)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        list(train(net, data, denoising_objective(cosine(), "v"), optimizer, generator=make_generator(stream)))
        return net

    assert same_weights(trained(1), weights_of(trained(1)))
    assert not same_weights(trained(1), weights_of(trained(2)))


def test_mixed_precision_leaves_the_weights_in_single_precision(make_generator):
    net = initialised(lambda: MLP(width=8, layers=1), make_generator(0))
    seen = []

    def loss(net, batch, generator):
        seen.append(net.hidden(torch.zeros(1, 34)).dtype)
        return denoising_objective(cosine(), "v")(net, batch, generator)

    data = fresh_batches(lambda n, g: torch.randn(n, 2, generator=g), batch_size=8, steps=2, seed=0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    steps = list(train(net, data, loss, optimizer, generator=make_generator(1), dtype=torch.bfloat16))
    assert seen == [torch.bfloat16, torch.bfloat16]
    assert all(p.dtype == torch.float32 for p in net.parameters())
    assert all(isinstance(step.loss, float) and math.isfinite(step.loss) for step in steps)


def test_a_small_network_learns_one_gaussian_down_to_the_floor(make_generator):
    """Against the exact denoiser at the same draws, the network adds less than 1 % to the floor (0.2 % is usual)."""
    path = cosine()
    data = GaussianMixture(torch.ones(1), torch.tensor([[0.5, -1.0]]), torch.tensor([[[0.5, 0.3], [0.3, 0.4]]]))
    net = initialised(lambda: MLP(width=32, layers=2), make_generator(0))
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0)
    ema, steps = EMA(net, 0.99), 800
    drawn = fresh_batches(lambda n, g: data.sample(n, g)[0], batch_size=256, steps=steps, seed=0)
    objective, schedule = denoising_objective(path, "v"), warmup_cosine(optimizer, steps=steps, warmup=20)
    list(train(net, drawn, objective, optimizer, generator=make_generator(1), schedule=schedule, ema=ema))

    (x0, _), t = data.sample(20_000, make_generator(2)), spread_times(20_000, path, make_generator(3))
    x_t = path.perturb(x0, t, torch.randn(x0.shape, generator=make_generator(4)))
    exact = mixture_denoiser(data, path)(x_t, t)
    with torch.no_grad():
        learned = from_network(ema.net, path, "v")(x_t, t)
    floor = float(((exact - x0) ** 2).mean())
    added = float(((learned - exact) ** 2).mean())
    assert added < 0.01 * floor
    untrained = path.alpha(t)[:, None] * x_t  # a network that says 0 for v
    assert float(((untrained - exact) ** 2).mean()) > 0.3 * floor


# --- going on, in parts, and without waiting -------------------------------------------------------------------------


def test_batches_go_on_where_they_were_cut_off(make_generator):
    x, y = torch.arange(20.0)[:, None], torch.arange(20)
    span = {"batch_size": 6, "steps": 11, "seed": 3}  # three batches an epoch
    whole = list(batches(x, y, **span))
    drawn = list(fresh_batches(lambda n, g: torch.randn(n, 2, generator=g), **span))
    for start in range(12):
        rest = list(batches(x, y, **span, start=start))
        assert len(rest) == 11 - start
        assert all(torch.equal(a.x0, b.x0) and torch.equal(a.y, b.y) for a, b in zip(rest, whole[start:], strict=True))
        again = fresh_batches(lambda n, g: torch.randn(n, 2, generator=g), **span, start=start)
        assert all(torch.equal(a.x0, b.x0) for a, b in zip(again, drawn[start:], strict=True))


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_losses_of_some_rows_of_the_draws_are_those_rows_of_the_losses(count, make_generator):
    """Several workers make the same draws and take the loss of different rows: no row twice, none left out."""
    batch = Batch(normal((6, 2), make_generator(0)), normal((6, 2), make_generator(1)))
    objective = denoising_objective(cosine(), "v", weight=noise_variance_weight)
    whole, draws = objective(Wavy(), batch, make_generator(2)), objective.draw(batch, make_generator(2))
    for rank in range(count):
        part = objective.loss(Wavy(), Draws(*(drawn[rank::count] for drawn in draws)))
        torch.testing.assert_close(part, whole[rank::count], rtol=1e-12, atol=0)
    assert len(set(whole.tolist())) == 6


def trained_line(make_generator, report_every):
    net = Line(5.0, 3.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    data = line_batches(11, make_generator)
    steps = train(net, data, squares, optimizer, generator=make_generator(9), report_every=report_every, start=100)
    return list(steps), weights_of(net)


@pytest.mark.parametrize("every", [1, 2, 4, 11, 50])
def test_a_report_of_several_steps_is_the_mean_of_theirs_and_changes_nothing_else(every, make_generator):
    single, weights = trained_line(make_generator, 1)
    reports, again = trained_line(make_generator, every)
    assert [step.step for step in single] == list(range(101, 112))
    ends = [step for step in range(101, 112) if step % every == 0]
    assert [report.step for report in reports] == (ends if ends and ends[-1] == 111 else [*ends, 111])
    before = 100
    for report in reports:
        part = [step for step in single if before < step.step <= report.step]
        assert report.loss == pytest.approx(sum(step.loss for step in part) / len(part), rel=1e-6)
        assert report.gradient_norm == max(step.gradient_norm for step in part)
        before = report.step
    assert all(torch.equal(value, weights[name]) for name, value in again.items())


def test_a_breakdown_between_reports_is_found_at_the_next_and_names_its_step(make_generator):
    net = Line(5.0, 3.0)
    data = list(line_batches(10, make_generator))
    data[6].x0[0] = math.nan
    steps = train(
        net, data, squares, torch.optim.SGD(net.parameters(), lr=0.1), generator=make_generator(9), report_every=5
    )
    assert next(steps).step == 5
    with pytest.raises(FloatingPointError, match="training broke down at step 7: loss nan"):
        next(steps)


def test_report_every_must_be_a_number_of_steps(make_generator):
    net = Line(5.0, 3.0)
    with pytest.raises(ValueError, match="report_every must be a whole number >= 1, but is 0"):
        next(train(net, [], squares, torch.optim.SGD(net.parameters()), generator=make_generator(9), report_every=0))


class Waits(TorchDispatchMode):
    """Counts what would make a processor wait for a GPU: numbers fetched from tensors, and tensors from the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = str(function)
        self.count += name.startswith(("aten._local_scalar_dense", "aten.nonzero", "aten.equal.", "aten.is_nonzero"))
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("kind", ["points", "images"])
def test_between_reports_nothing_waits_for_the_device(kind, make_generator, monkeypatch):
    """With the CPU in the GPU's place, where no check looks at values: 20 steps with a report every 10 fetch as many
    numbers as 40 steps with one every 20, so that a step itself fetches none. Batches, times, noise, precision, Muon,
    average and schedule included."""
    for module in (_tensors, embeddings):
        monkeypatch.setattr(module, "readable", lambda values: False)
    shape = (2,) if kind == "points" else (1, 8, 8)
    make = MLP if kind == "points" else lambda: UNet(widths=(16, 32), blocks=1, patch=1)

    def waits(steps, every):
        net = initialised(make, make_generator(0))
        fused = torch.optim.AdamW(net.parameters(), fused=True)  # the plain one fetches its step count
        optimizer = fused if kind == "points" else digit_optimizer(net, 0.01)
        data = batches(torch.randn(256, *shape, generator=make_generator(1)), batch_size=4, steps=steps, seed=0)
        schedule = warmup_cosine(optimizer, steps=steps, warmup=2)
        with Waits() as seen:
            list(
                train(
                    *(net, data, denoising_objective(cosine(), "v"), optimizer),
                    **{"generator": make_generator(2), "schedule": schedule, "ema": EMA(net)},
                    **{"dtype": torch.bfloat16, "report_every": every},
                )
            )
        return seen.count

    assert waits(20, 10) == waits(40, 20)
    assert waits(20, 1) > waits(20, 10)  # reading a loss is counted


# --- which precision is faster ---------------------------------------------------------------------------------------


class Clock:
    """A clock by which a step in one precision takes longer than in the other."""

    def __init__(self, seconds):
        self.seconds, self.now, self.running = seconds, 0.0, False

    def __call__(self):
        if self.running:
            self.now += self.seconds[self.dtype]
        self.running = not self.running
        return self.now


@pytest.mark.parametrize(("slow", "fast"), [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)])
def test_faster_dtype_is_the_one_that_took_less_time(slow, fast, monkeypatch, make_generator):
    clock = Clock({slow: 2.0, fast: 1.0})
    monkeypatch.setattr(training.time, "perf_counter", clock)

    def loss(net, batch, generator):
        clock.dtype = net.out(torch.zeros(1, 8)).dtype
        return denoising_objective(cosine(), "v")(net, batch, generator)

    net = initialised(lambda: MLP(width=8, layers=1), make_generator(0)).eval()
    before = weights_of(net)
    assert faster_dtype(net, torch.zeros(4, 2), loss) == fast
    assert same_weights(net, before) and not net.training
    assert all(parameter.grad is None for parameter in net.parameters())


def test_faster_dtype_measures_this_machine(make_generator):
    net = initialised(lambda: MLP(width=8, layers=1), make_generator(0))
    assert faster_dtype(net, torch.zeros(4, 2), denoising_objective(cosine(), "v")) in (torch.float32, torch.bfloat16)


# --- step numbers for times ------------------------------------------------------------------------------------------


def small(make_generator, **changed):
    """A network and its optimizer, and all else that `train` needs, some of it changed."""
    net = initialised(lambda: MLP(width=8, layers=1), make_generator(0))
    data = [Batch(torch.randn(8, 2, generator=make_generator(1, k))) for k in range(4)]
    given = {
        **{"net": net, "data": data, "loss": denoising_objective(cosine(), "v")},
        **{"optimizer": torch.optim.SGD(net.parameters(), lr=0.1), "generator": make_generator(2)},
        **changed,
    }
    positional = [given.pop(name) for name in ("net", "data", "loss", "optimizer")]
    return train(*positional, **given)


def step_numbers(n, path, generator):
    return torch.randint(1, 1001, (n,), generator=generator).float()


@every_kind
@pytest.mark.parametrize("path", [ddpm_linear(), cosine()], ids=["ddpm_linear", "cosine"])
def test_step_numbers_as_floats_are_no_times_of_a_loss(path, kind, make_generator):
    """It once trained down to 0.0001 of a loss whose floor is 0.22, or to NaN."""
    x0, t = normal((4, 2), make_generator(0)), torch.tensor([1.0, 250.0, 999.0, 1000.0])
    words = r"t must lie in \[0, 1\], but has values from 1 to 1000; divide a step index k by the number of steps T"
    with pytest.raises(ValueError, match=words):
        denoising_loss(Wavy(), path, x0, t, x0, kind=kind)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\], .* divide a step index k"):
        next(small(make_generator, loss=denoising_objective(path, kind, step_numbers)))


def test_on_a_gpu_times_that_are_none_end_the_training_and_the_error_names_the_cure(make_generator, monkeypatch):
    monkeypatch.setattr(_tensors, "readable", lambda values: False)
    words = r"step 1: loss nan.*outside \[0, 1\] \(divide a step index k by the number of steps T\) and for labels"
    for path in PATHS.values():
        with pytest.raises(FloatingPointError, match=words):
            next(small(make_generator, loss=denoising_objective(path, "v", step_numbers)))


# --- what people bring -----------------------------------------------------------------------------------------------

X, Y = torch.arange(24.0).reshape(12, 2) / 24, torch.arange(12) % 3
LOADERS = {
    "(x,)": (DataLoader(TensorDataset(X), batch_size=4, generator=torch.Generator()), None),
    "(x, y)": (DataLoader(TensorDataset(X, Y), batch_size=4, generator=torch.Generator()), Y),
    "plain tensors": (DataLoader(X, batch_size=4, generator=torch.Generator()), None),
    "tuples": ([(X[i : i + 4], Y[i : i + 4]) for i in (0, 4, 8)], Y),
    "lists of one": ([[X[i : i + 4]] for i in (0, 4, 8)], None),
    "batches": ([Batch(X[i : i + 4], Y[i : i + 4]) for i in (0, 4, 8)], Y),
}


@pytest.mark.parametrize(("loader", "y"), LOADERS.values(), ids=LOADERS)
def test_what_a_data_loader_gives_is_a_batch(loader, y, make_generator):
    seen = []

    def loss(net, batch, generator):
        seen.append(batch)
        return denoising_objective(cosine(), "v")(net, Batch(batch.x0), generator)

    assert len(list(small(make_generator, data=loader, loss=loss))) == 3
    assert torch.equal(torch.cat([batch.x0 for batch in seen]), X)
    assert all(batch.y is None for batch in seen) if y is None else torch.equal(torch.cat([b.y for b in seen]), y)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (X, r"data must give batch after batch, such as batches\(.*\) or a DataLoader, but is a float32 tensor of sha"),
        (7, r"data must give batch after batch, .* but is int 7"),
        ([{"x": 1}], r"data must give batches, .* but batch 1 is dict \{'x': 1\}"),
        ([X.numpy()], r"data must give batches, .* but batch 1 is ndarray"),
        ([(X, Y, Y)], r"data must give batches, .* but batch 1 is tuple"),
        ([[1.0, 2.0]], r"data must give batches, .* but batch 1 is list \[1.0, 2.0\]"),
    ],
)
def test_what_is_no_data_is_named(data, words, make_generator):
    with pytest.raises(TypeError, match=words) as caught:
        list(small(make_generator, data=data))
    assert len(str(caught.value)) < 500


def test_numpys_double_precision_is_mended_in_one_line(make_generator):
    data = [Batch(torch.from_numpy(X.numpy().astype("float64")))]
    with pytest.raises(TypeError, match=r"x must be float32, .* but is a float64 tensor .*; x = x.float\(\) mends it"):
        next(small(make_generator, data=data))


def test_a_double_network_trains_in_double_precision(make_generator):
    net = initialised(lambda: MLP(width=8, layers=1), make_generator(0)).double()
    data = [Batch(X.double())] * 2
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    assert len(list(small(make_generator, net=net, data=data, optimizer=optimizer))) == 2


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_pixels_that_were_not_scaled_are_refused(dtype, make_generator):
    with pytest.raises(TypeError, match=r"but .* is an? u?int.* tensor of shape .* \[-1, 1\] first.* data.to_images"):
        next(small(make_generator, data=[Batch((100 * X).to(dtype))]))


def test_data_far_from_unit_scale_are_warned_of_once(make_generator):
    with pytest.warns(UserWarning, match=r"the largest \|x0\| of the first batch is 255, .*data.to_images") as caught:
        list(small(make_generator, data=[255 * X / X.max()] * 3))
    assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(small(make_generator, data=[20 * X / X.max()] * 2))


# --- what is refused at the call -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"generator": None}, TypeError, "generator must be a torch.Generator .* but is None"),
        (
            {"dtype": torch.float64},
            ValueError,
            "dtype must be torch.float32 or torch.bfloat16, but is torch.float64; ",
        ),
        ({"dtype": torch.float16}, ValueError, "dtype must be torch.float32 or torch.bfloat16, but is torch.float16$"),
        ({"report_every": 0}, ValueError, "report_every must be a whole number >= 1, but is 0"),
        ({"start": -1}, ValueError, "start must be a whole number >= 0, but is -1"),
        ({"max_norm": 0.0}, ValueError, "max_norm must be positive, but is 0.0"),
        ({"net": lambda x: x}, TypeError, "net must be a torch.nn.Module, but is function"),
    ],
)
def test_train_refuses_at_the_call(changed, error, words, make_generator):
    if "net" in changed:
        changed = {**changed, "optimizer": None}
    with pytest.raises(error, match=words):
        small(make_generator, **changed)


# --- cut off within a step -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["in the loss", "in the data"])
def test_a_second_loop_after_an_interrupt_is_told_where_to_go_on(where, make_generator):
    """It once made no step, without a word."""
    losses, armed = denoising_objective(cosine(), "v"), [True]

    def data(start):
        for k in range(start, 5):
            if k == 2 and where == "in the data" and armed and armed.pop():
                raise KeyboardInterrupt
            yield Batch(torch.full((4, 2), float(k)))

    def loss(net, batch, generator):
        if where == "in the loss" and float(batch.x0[0, 0]) == 2 and armed and armed.pop():
            raise KeyboardInterrupt
        return losses(net, batch, generator)

    steps = small(make_generator, data=data(0), loss=loss)
    with pytest.raises(KeyboardInterrupt):
        list(steps)
    words = r"cut off inside step 3, .* start another with `batches\(..., start=2\)` and `train\(..., start=2\)`"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=words):
            list(steps)
    again = small(make_generator, data=data(2), loss=lambda *given: losses(*given), start=2)
    assert [step.step for step in again] == [3, 4, 5]


def test_a_loop_that_its_caller_leaves_goes_on(make_generator):
    steps = small(make_generator)
    for step in steps:
        if step.step == 2:
            break
    assert [step.step for step in steps] == [3, 4] and list(steps) == []


def test_a_training_that_broke_down_is_not_said_to_be_complete(make_generator):
    steps = small(make_generator, data=[Batch(X * math.nan)])
    with pytest.raises(FloatingPointError):
        list(steps)
    with pytest.raises(RuntimeError, match="the training was cut off inside step 1"):
        list(steps)
