"""Everything runs where the data are, also on a device without float64, and gives the numbers of the CPU there.

The device is played by the CPU (`tests.elsewhere`): it refuses what MPS refuses. So each case is computed twice.
"""

import itertools

import pytest
import torch
from torch import Tensor

import minidiff
from minidiff import bounds, exact, inverse, likelihood, metrics, physics, samplers, training
from minidiff._tensors import expand, noise_like
from minidiff.denoisers import classifier_guided, clipped, from_network, guided, predict
from minidiff.networks import MLP, UNet, initialised
from minidiff.optimizers import Muon
from minidiff.schedules import cosine, ddpm_linear, karras_times, log_snr_times, tabulated, time_at_log_snr, vp_linear
from minidiff.targets import network_output, solve, target
from tests.cases import KINDS, PATHS, every_kind, every_path, halved
from tests.elsewhere import Elsewhere, Remote


def on(place, value):
    """A tensor, or the tensors of a tuple, on the CPU (None) or on the device."""
    if isinstance(value, tuple):
        return tuple(on(place, part) for part in value)
    return value if place is None or not isinstance(value, Tensor) else value.to(place)


def numbers(result) -> list[Tensor]:
    """All tensors of a result, brought to the CPU."""
    if isinstance(result, Tensor):
        return [result.detach().cpu()]
    if isinstance(result, (float, int)):
        return [torch.tensor(float(result))]
    if isinstance(result, (tuple, list)):
        return list(itertools.chain(*map(numbers, result)))
    return []


def same_on_the_device(compute, *tensors, tolerance=1e-5, stays=True):
    """Compute on the CPU and on the device, and compare. stays: the first tensor of the result must lie there."""
    expected = numbers(compute(*tensors))
    with Elsewhere() as elsewhere:
        result = compute(*(on(elsewhere.device, tensor) for tensor in tensors))
        first = result[0] if isinstance(result, (tuple, list)) else result
        assert isinstance(first, Remote) == stays, type(first)
        found = numbers(result)
    assert expected and len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, check_dtype=True, equal_nan=True)


def three(d: int = 2) -> exact.GaussianMixture:
    means = 2 * torch.eye(3, d) - 0.5
    return exact.GaussianMixture(torch.tensor([0.2, 0.3, 0.5]), means, 0.1 * torch.eye(d).repeat(3, 1, 1))


def points(n, *stream) -> Tensor:
    return torch.randn(n, 2, generator=minidiff.generator(0, *stream))


# --- the device itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refused",
    [
        lambda x: x.double(),
        lambda x: x.to("cpu", torch.float64),
        lambda x: torch.zeros(2, dtype=torch.float64, device=x.device),
        lambda x: x + torch.ones(4, 2),
        lambda x: torch.ones(2).double().to(x.device),
        lambda x: x.numpy(),
    ],
)
def test_the_device_refuses_what_mps_refuses(refused):
    with Elsewhere() as elsewhere, pytest.raises((TypeError, RuntimeError), match=r"float64|same device|numpy"):
        refused(torch.ones(4, 2).to(elsewhere.device))


def test_the_device_computes_and_counts_what_waits_for_it():
    with Elsewhere() as elsewhere:
        x = torch.arange(6.0).to(elsewhere.device)
        assert isinstance(x * 2 + 1, Remote) and elsewhere.waits == 0
        assert float((x * 2 + 1).sum()) == 36 and elsewhere.waits == 1
        assert torch.equal((x.cpu().double() + 1), torch.arange(1.0, 7).double())


# --- formulas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (4,)])
def test_a_time_on_the_cpu_meets_x_on_the_device(dtype, shape):
    """As `karras_times` and its like return them, in float64: they are brought over in the dtype of x."""
    t = torch.full(shape, 0.3, dtype=dtype)
    same_on_the_device(lambda x: expand(t, x) * x, points(4))


@every_path
@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_formulas_with_times_of_either_kind(path, kind, dtype):
    t, net = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=dtype), lambda x, log_snr: torch.tanh(x) + log_snr[:, None] / 30

    def compute(x, eps):
        x_t = path.perturb(x, t, eps)
        out = network_output(net, kind, path, x_t, t)
        return [
            x_t,
            path.posterior(x_t, x, t, t / 2)[0],
            target(kind, path, x, eps, t),
            out,
            *solve(kind, path, out, x_t, t),
        ]

    same_on_the_device(compute, points(4), points(4, 1), tolerance=1e-4)


@every_path
def test_times_on_the_device(path):
    def compute(x, t):
        x_t = path.perturb(x, t, x)
        return [x_t, *path.rates(t), path.log_snr(t), *path.drift_and_diffusion(t), training.edm_weight(path, t)]

    same_on_the_device(compute, points(4), torch.tensor([0.21, 0.41, 0.61, 0.81]))


def test_walks_of_float64():
    """Each returns float64 on the CPU, whatever it was made of."""
    same_on_the_device(lambda log_snr: time_at_log_snr(cosine(), log_snr), torch.linspace(-3, 3, 5), stays=False)
    betas = torch.linspace(1e-4, 0.02, 50)
    same_on_the_device(lambda betas: tabulated(betas).alpha(torch.tensor(0.3)), betas, stays=False)
    for times in (karras_times(vp_linear(), 6), log_snr_times(vp_linear(), 6, 1e-3)):
        same_on_the_device(
            lambda x, times=times: samplers.last(samplers.dpmpp_2m(halved, vp_linear(), x, times)), points(4)
        )


# --- the truth -------------------------------------------------------------------------------------------------------


def test_mixtures_follow_x():
    mixture, path, t = three(), cosine(), torch.tensor(0.4)
    for function in (exact.log_prob, exact.responsibilities, exact.score, exact.posterior_mean):
        same_on_the_device(lambda x, function=function: function(mixture, path, x, t), points(4))
        same_on_the_device(lambda x, function=function: function(mixture, path, x, t.double()), points(4))
    same_on_the_device(lambda x: exact.mixture_denoiser(mixture, path)(x, t), points(4))
    same_on_the_device(lambda x: exact.mixture_denoiser(mixture.to(torch.float64), path)(x, t), points(4))
    same_on_the_device(lambda x: exact.finite_denoiser(points(9, 1), path)(x, t), points(4))

    def kernel(x):
        found = exact.reverse_kernel(mixture, path, x, t, t / 2)
        return [found.mean(), found.covariance(), found.sample(minidiff.generator(1))]

    same_on_the_device(kernel, points(4))


def test_a_mixture_of_the_device():
    path, t, x = cosine(), torch.tensor(0.4), points(4)

    def compute(weights, means, covariances):
        mixture = exact.GaussianMixture(weights, means, covariances)
        there = on(None if means.device.type == "cpu" else means.device, x)
        narrowed = exact.posterior(mixture, torch.tensor([[1.0, 0.5]]), torch.tensor([0.3]), 0.4)
        return [
            *(mixture.mean(), mixture.covariance(), mixture.standardised().means),
            *mixture.sample(5, minidiff.generator(0)),
            *(exact.score(mixture, path, there, t), narrowed.means, narrowed.weights),
            exact.score(mixture, path, x.double(), t),  # and back to the CPU, in double precision
        ]

    mixture = three()
    same_on_the_device(compute, mixture.weights, mixture.means, mixture.covariances)


# --- denoisers and samplers ------------------------------------------------------------------------------------------


def test_denoisers():
    path, t = cosine(), torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
    plain = exact.mixture_denoiser(three(), path)
    for denoise in (
        clipped(plain),
        guided(plain, halved, 2.0),
        classifier_guided(plain, path, lambda x, t: -(x**2).sum(dim=1), 0.5),
    ):
        same_on_the_device(lambda x, denoise=denoise: [denoise(x, t), *predict(denoise, path, x, t)], points(4))


PATH = vp_linear()
EXACT = exact.mixture_denoiser(three(), PATH)
TIMES = {
    "float32": torch.linspace(1, 0, 5),
    "float64": torch.linspace(1, 0, 5, dtype=torch.float64),
    "there": torch.linspace(1, 0, 5),
}
G = minidiff.generator


def jump(x, t, s):
    """A map to another time, as a student of few steps is one. Which one is of no interest here."""
    return x * (1 + s) / (1 + t)


def drawn(x, t, generator):
    """A draw of x0 given x_t, likewise."""
    return x / 2 + noise_like(x, generator)


SAMPLERS = {
    "ancestral": lambda x, times: samplers.ancestral(EXACT, PATH, x, times, generator=G(0)),
    "ancestral, beta": lambda x, times: samplers.ancestral(
        EXACT, PATH, x, times, generator=G(0), variance=samplers.forward_variance
    ),
    "ddim": lambda x, times: samplers.ddim(EXACT, PATH, x, times),
    "ddim, eta": lambda x, times: samplers.ddim(EXACT, PATH, x, times, eta=0.5, generator=G(0)),
    "euler": lambda x, times: samplers.euler(EXACT, PATH, x, times),
    "heun": lambda x, times: samplers.heun(EXACT, PATH, x, times),
    "heun, churn": lambda x, times: samplers.heun(EXACT, PATH, x, times, churn=2.0, generator=G(0)),
    "dpmpp_2m": lambda x, times: samplers.dpmpp_2m(EXACT, PATH, x, times),
    "dpmpp_2m, eta": lambda x, times: samplers.dpmpp_2m(EXACT, PATH, x, times, eta=1.0, generator=G(0)),
    "euler_maruyama": lambda x, times: samplers.euler_maruyama(EXACT, PATH, x, times, generator=G(0)),
    "langevin": lambda x, times: samplers.langevin(EXACT, PATH, x, times[2], steps=3, generator=G(0)),
    "annealed_langevin": lambda x, times: samplers.annealed_langevin(EXACT, PATH, x, times, steps=2, generator=G(0)),
    "predictor_corrector": lambda x, times: samplers.predictor_corrector(EXACT, PATH, x, times, generator=G(0)),
    "renoised": lambda x, times: samplers.renoised(jump, PATH, x, times, generator=G(0)),
    "generated": lambda x, times: samplers.generated(drawn, PATH, x, times, generator=G(0)),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", TIMES)
def test_samplers(name, kind):
    def compute(x):
        times = on(x.device if kind == "there" and isinstance(x, Remote) else None, TIMES[kind])
        return [part for state in SAMPLERS[name](x, times) for part in (state.x, state.x0_hat)]

    same_on_the_device(compute, points(4), tolerance=1e-4)


def test_every_sampler_is_tried():
    loops = {name for name in samplers.__all__ if f"{name}_step" in samplers.__all__} | {"annealed_langevin"}
    assert loops == {name.split(",")[0] for name in SAMPLERS}


# --- training --------------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("path", [ddpm_linear(), vp_linear()], ids=["table", "formula"])
def test_training_and_asking_a_network(path, kind):
    def compute(x, y):
        net = initialised(lambda: MLP(width=16, layers=2, classes=3), G(0)).to(x.device)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, foreach=False)
        objective = training.denoising_objective(path, kind, weight=training.min_snr_weight(kind), label_dropout=0.3)
        ema = training.EMA(net)
        data = training.batches(x, y, batch_size=8, steps=3, seed=0)
        steps = list(training.train(net, data, objective, optimizer, generator=G(1), ema=ema))
        with torch.no_grad():
            estimate = from_network(ema.net, path, kind, y[:8])(x[:8], torch.tensor(0.4, dtype=torch.float64))
        return [estimate, [(step.loss, step.gradient_norm) for step in steps]]

    same_on_the_device(compute, points(24), torch.arange(24) % 3, tolerance=1e-3)


def test_training_of_images_with_muon():
    def compute(x):
        net = initialised(lambda: UNet(widths=(16,), blocks=1, patch=1), G(0)).to(x.device)
        hidden = [p for p in net.middle.parameters() if p.ndim > 1]
        others = [p for p in net.parameters() if not any(p is other for other in hidden)]
        optimizer = Muon(hidden, others, lr=1e-3, other_lr=1e-3)
        optimizer.adamw = torch.optim.AdamW(others, lr=1e-3, foreach=False)  # the fused one is PyTorch's matter
        optimizer.adamw.state = optimizer.state
        data = [training.Batch(x)] * 2
        objective = training.denoising_objective(cosine(), "v")
        for _ in training.train(net, data, objective, optimizer, generator=G(1)):
            pass
        return list(net.parameters())

    x = torch.randn(4, 1, 8, 8, generator=G(0))
    same_on_the_device(compute, x, tolerance=1e-3)


# --- likelihood, inverse problems, metrics ---------------------------------------------------------------------------


def test_likelihoods():
    def ode(x, probes=0):
        return likelihood.ode_log_likelihood(EXACT, PATH, x, probes=probes, generator=G(0), tolerance=1e-3)

    same_on_the_device(lambda x: ode(x)[:3], points(4), tolerance=1e-3, stays=False)
    same_on_the_device(lambda x: ode(x, 2)[:3], points(4), tolerance=1e-3, stays=False)
    for draw in (likelihood.rademacher_probe, likelihood.normal_probe):
        same_on_the_device(lambda x, draw=draw: draw(x, G(0)), points(4))
    pixels = torch.linspace(-1, 1, 17).repeat(4, 1)
    same_on_the_device(lambda x: likelihood.dequantised(x, G(0), 17), pixels)
    same_on_the_device(lambda value: likelihood.bits_per_dim(value, 2), points(4)[:, 0])
    times = torch.linspace(1, 0, 5)
    same_on_the_device(
        lambda x: bounds.variational_bound(EXACT, PATH, x, times, generator=G(0))[:3], points(4), stays=False
    )
    same_on_the_device(
        lambda x, times: bounds.variational_bound(EXACT, PATH, x, times, generator=G(0))[:3],
        *(points(4), times),
        stays=False,
    )


MEASUREMENTS = {
    "noisy": lambda there: inverse.noisy((1, 4, 4), 0.3),
    "masked": lambda there: inverse.masked(there(torch.rand(1, 4, 4, generator=G(5)) < 0.5), 0.2),
    "downsampled": lambda there: inverse.downsampled((1, 4, 4), 2, 0.2),
    "blurred": lambda there: inverse.blurred((1, 4, 4), 0.8, 0.2),
    "from_matrix": lambda there: inverse.from_matrix(there(torch.randn(5, 16, generator=G(5))), (1, 4, 4), 0.2),
}
METHODS = {
    "replacement": lambda m, y, x, times: inverse.replacement(halved, PATH, m, y, x, times, generator=G(0)),
    "repaint": lambda m, y, x, times: inverse.repaint(halved, PATH, m, y, x, times, repeats=2, generator=G(0)),
    "dps": lambda m, y, x, times: inverse.dps(halved, PATH, m, y, x, times, generator=G(0)),
    "guidance": lambda m, y, x, times: samplers.ancestral(
        classifier_guided(halved, PATH, inverse.gaussian_likelihood(halved, PATH, m, y)), PATH, x, times, generator=G(0)
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("measurement", MEASUREMENTS)
@pytest.mark.parametrize("y_there", [False, True], ids=["y on the CPU", "y on the device"])
def test_inverse_problems(method, measurement, y_there):
    truth, times = torch.randn(2, 1, 4, 4, generator=G(3)), torch.linspace(0.9, 0.1, 4)

    def compute(x):
        place = x.device if isinstance(x, Remote) else None
        measured = MEASUREMENTS[measurement](lambda tensor: on(place, tensor))
        y = measured.measure(on(place, truth), G(2))
        y = y if y_there else y.cpu()
        return [state.x for state in METHODS[method](measured, y, x, times)]

    same_on_the_device(compute, torch.randn(2, 1, 4, 4, generator=G(4)), tolerance=1e-4)


def test_metrics():
    def compute(x, real, again):
        given = {"generator": G(0)}
        return [
            metrics.energy_distance(x, real, again, **given),
            metrics.energy_test(x, real, permutations=20, **given),
            metrics.mmd(x, real, again, **given),
            metrics.mmd_test(x, real, permutations=20, **given),
            metrics.median_distance(x, **given),
            metrics.sliced_wasserstein(x, real, again, **given),
            metrics.frechet_distance(x, real, again, **given),
            metrics.frechet_extrapolated(x, real, again, **given),
            metrics.classifier_test(x, real, **given),
            metrics.precision_recall(x, real, again, **given),
            metrics.mode_weights(x, three(), **given)[2],
        ]

    same_on_the_device(compute, points(40), points(40, 1), points(40, 2), stays=False)
    images = torch.rand(3, 1, 12, 12, generator=G(0)) * 2 - 1
    for score in (metrics.psnr, metrics.ssim):
        same_on_the_device(
            lambda x, y, score=score: score(x, y, data_range=2.0)[0:2], images, images.flip(0), stays=False
        )


# --- physics ---------------------------------------------------------------------------------------------------------


def potentials(there):
    return {
        "harmonic": physics.harmonic(there(torch.tensor([[2.0, 0.3], [0.3, 1.0]])), there(torch.tensor([0.1, -0.2]))),
        "spring": physics.harmonic(2.0),
        "double_well": physics.double_well(),
        "ring": physics.ring(),
        "mueller_brown": physics.mueller_brown(0.01),
    }


@pytest.mark.parametrize("name", potentials(lambda x: x))
def test_walkers(name):
    def compute(x):
        place = x.device if isinstance(x, Remote) else None
        potential = potentials(lambda tensor: on(place, tensor))[name]
        shared = {"temperature": 0.5, "dt": 0.01, "steps": 3}
        return [
            physics.force(potential, x),
            list(physics.overdamped_langevin(potential, x, **shared, generator=G(0))),
            list(physics.underdamped_langevin(potential, x, 0 * x, **shared, friction=1.0, generator=G(0))),
        ]

    same_on_the_device(compute, points(5))


def test_free_walkers():
    same_on_the_device(lambda x: list(physics.brownian(x, diffusion=1.0, dt=0.1, steps=3, generator=G(0))), points(5))

    def step(shape, generator):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    same_on_the_device(lambda x: list(physics.random_walk(step, x, steps=3, generator=G(0))), points(5))


def test_driven_walkers_and_work():
    bowl = physics.OrnsteinUhlenbeck(torch.zeros(2), 1.0, 1.0)

    def compute(x):
        relax = lambda x, stiffness, generator: bowl.sample(x, 0.1, generator)  # noqa: E731
        states = list(physics.driven(physics.harmonic, x, [1.0, 1.5, 2.0], relax, generator=G(0)))
        return [*states, physics.jarzynski(states[-1].work, 1.0)]

    expected = numbers(compute(points(5)))
    with Elsewhere() as elsewhere:
        found = numbers(compute(points(5).to(elsewhere.device)))
        work = torch.ones(4).to(elsewhere.device)
        assert physics.jarzynski(work, 1.0) == pytest.approx(1)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_bowl_of_the_device():
    def compute(x, mean, stiffness):
        bowl = physics.OrnsteinUhlenbeck(mean, stiffness, 0.7)
        moments = bowl.moments(mean, stiffness, 0.3)
        return [bowl.sample(x, 0.2, G(0)), *bowl.transition(0.2), *moments, *bowl.equilibrium()]

    same_on_the_device(compute, points(5), torch.tensor([0.3, -0.1]), torch.tensor([[2.0, 0.3], [0.3, 1.0]]))


def test_observables_and_densities():
    grid = physics.Grid(((-6, 6), (-6, 6)), (12, 12))
    q = physics.boltzmann(physics.harmonic(1.0), grid, 1.0)

    def compute(x, x0, p):
        operator = physics.fokker_planck_operator(physics.harmonic(1.0), grid, temperature=1.0)
        return [
            physics.histogram(x, grid),
            physics.mean_squared_displacement(x, x0),
            physics.kinetic_temperature(x, 2.0),
            physics.entropy(p, grid),
            physics.kl_divergence(p, q, grid),
            physics.free_energy(p, physics.harmonic(1.0), grid, 1.0),
            list(physics.evolve(operator, p, 0.1, 2)),
        ]

    p = physics.histogram(points(200), grid).float()
    same_on_the_device(compute, points(50), points(50, 1), p, stays=False)
    same_on_the_device(
        lambda x, q: physics.kl_to_density(x, q, grid, generator=G(0)),
        points(50),
        q.float() / float(q.float().sum()),
        stays=False,
    )


# --- nothing is waited for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PATHS)
def test_a_loss_never_waits_for_the_device(name, kind):
    """Not for times, nor for labels (issues 1 and 6)."""
    with Elsewhere() as elsewhere:
        x, y = points(8).to(elsewhere.device), (torch.arange(8) % 3).to(elsewhere.device)
        net = initialised(lambda: MLP(width=8, layers=1, classes=3), G(0)).to(elsewhere.device)
        objective = training.denoising_objective(PATHS[name], kind, label_dropout=0.5)
        losses = objective(net, training.Batch(x, y), G(1))
        assert isinstance(losses, Remote) and elsewhere.waits == 0
