"""What is easily overlooked: defaults, the ends of allowed ranges, precision, devices, the words of an error.

Each of these was once a mutant that no other test noticed (`make mutants`).
"""

import itertools
import math
import re

import pytest
import torch

from minidiff import bounds, likelihood
from minidiff._tensors import noise_like
from minidiff.exact import GaussianMixture, finite_denoiser
from minidiff.bounds import variational_bound
from minidiff.likelihood import bits_per_dim, dequantised, ode_log_likelihood, rademacher_probe
from minidiff.paths import GaussianPath
from minidiff.samplers import annealed_langevin, heun, langevin, last, predictor_corrector, predictor_corrector_step
from minidiff.schedules import cosine, ddpm_betas, edm, karras_times, tabulated, ve, vp_linear
from minidiff.targets import network_output, solve
from tests.cases import assert_close, every_path, normal, number, random_mixture

LATE = GaussianPath(torch.cos, torch.sin, t_min=0.1)


class Asked:
    """A denoiser that says half of x and counts."""

    def __init__(self):
        self.times = []

    def __call__(self, x_t, t):
        self.times.append(float(t))
        return 0.5 * x_t


# --- defaults --------------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_papers_are_the_defaults():
    one, half = number(1.0), number(0.5)
    assert_close(ddpm_betas(), torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    assert_close(ve().sigma(torch.stack([half, one])), torch.tensor([0.5**0.5, 50.0], dtype=torch.float64))
    middle = ((0.002 ** (1 / 7) + 80 ** (1 / 7)) / 2) ** 7
    assert_close(edm().sigma(torch.stack([half, one])), torch.tensor([middle, 80.0], dtype=torch.float64))
    levels = (80 ** (1 / 7) + torch.linspace(0, 1, 5, dtype=torch.float64) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    wide = ve(0.001, 100.0)
    assert_close(wide.sigma(karras_times(wide, 5)[:-1]), levels, 1e-9)


def test_pixels_have_256_levels_unless_said_otherwise(make_generator):
    x = torch.tensor([[-1.0, 1.0, 1 / 255]], dtype=torch.float64)
    assert_close(dequantised(x, make_generator(0)), dequantised(x, make_generator(0), 256), 0)
    assert float(bits_per_dim(torch.tensor([-math.log(2 + 2 / 255)]), 1)) == pytest.approx(8)


def test_annealed_langevin_takes_40_steps_at_each_level(make_generator):
    asked = Asked()
    times = torch.tensor([1.0, 0.6, 0.3])
    last(annealed_langevin(asked, cosine(), torch.zeros(2, 2), times, generator=make_generator(0)))
    assert len(asked.times) == 80


def test_the_corrector_is_told_what_the_loop_is_told(make_generator):
    x, times, g = normal((4, 2), make_generator(0)), torch.tensor([0.9, 0.5, 0.2]).double(), make_generator(1)
    told = {"snr": 0.3, "corrections": 2}
    states = predictor_corrector(Asked(), cosine(), x, times, **told, generator=make_generator(1))
    for (t, s), state in zip(itertools.pairwise(times), states, strict=True):
        x = predictor_corrector_step(Asked(), cosine(), x, t, s, **told, generator=g).x
        assert torch.equal(state.x, x)


# --- ends ------------------------------------------------------------------------------------------------------------


def test_langevin_may_stand_at_both_ends(make_generator):
    for t in (LATE.t_min, 1.0):
        state = next(langevin(Asked(), LATE, torch.zeros(2, 2), torch.tensor(t), steps=1, generator=make_generator(0)))
        assert bool(torch.isfinite(state.x).all())


def test_churn_may_happen_at_a_single_level(make_generator):
    level = float(edm().sigma(number(0.5)))
    x, times = normal((2, 2), make_generator(0)), torch.tensor([1.0, 0.5, 0.2]).double()
    found = last(heun(Asked(), edm(), x, times, churn=1.0, churn_between=(level, level), generator=make_generator(1)))
    assert bool(torch.isfinite(found).all())


def test_a_single_point_may_be_drawn(make_generator):
    x, component = random_mixture(2, (2,), make_generator(0)).sample(1, make_generator(1))
    assert x.shape == (1, 2) and component.shape == (1,)


def test_betas_may_all_be_equal():
    assert_close(ddpm_betas(3, 0.01, 0.01), torch.full((3,), 0.01, dtype=torch.float64))


def test_karras_steps_need_room():
    unit = GaussianPath(torch.ones_like, lambda t: 1 * t)
    with pytest.raises(ValueError, match=r"must run from 0 to above 1.0, but runs from 0.0 to 1.0"):
        karras_times(unit, 5, sigma_min=1.0)


def test_karras_steps_start_at_the_very_end_of_a_path():
    for path in (vp_linear(), ve(), GaussianPath(lambda t: 1 - 0.9 * t, lambda t: t / 3)):
        assert float(karras_times(path, 5, sigma_max=1e4)[0]) == pytest.approx(1, abs=1e-12)


def test_pixels_beyond_the_last_level_are_refused(make_generator):
    for beyond in (1 + 2 / 255, -1 - 2 / 255, 1.8 + 0.2 / 255):
        x = torch.full((1, 2), round((beyond + 1) * 127.5) / 127.5 - 1)
        with pytest.raises(ValueError, match="x must lie on the 256 levels"):
            dequantised(x, make_generator(0))


# --- precision and devices -------------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_path_answers_in_the_precision_of_the_question(path, dtype):
    for shape in ((), (3,)):
        t = torch.full(shape, 0.4, dtype=dtype)
        for answer in (path.alpha(t), path.sigma(t), path.log_snr(t)):
            assert answer.dtype == dtype and answer.shape == shape


def test_dequantisation_is_uniform_in_the_precision_of_the_pixels(make_generator):
    x = torch.full((5, 3), 1 / 255, dtype=torch.float64)
    u = torch.rand(x.shape, generator=make_generator(0), dtype=torch.float64)
    assert_close(dequantised(x, make_generator(0)), x + 2 / 255 * (u - 0.5), 1e-15)


def test_stored_data_meet_noisy_data_of_another_precision(make_generator):
    data, x = torch.randn(7, 2, generator=make_generator(0)), normal((3, 2), make_generator(1))
    single, double = (finite_denoiser(d, cosine())(x, number(0.5)) for d in (data, data.double()))
    assert single.dtype == torch.float64
    assert_close(single, double, 1e-12)


def test_noise_is_drawn_where_the_generator_lives(make_generator):
    """With another default device, to stand for a machine that has one."""
    x, pixels = torch.zeros(4, 2), torch.full((4, 2), 1 / 255)
    with torch.device("meta"):
        for drawn in (noise_like(x, make_generator(0)), rademacher_probe(x, make_generator(0))):
            assert drawn.device.type == "cpu"
        assert dequantised(pixels, make_generator(0)).device.type == "cpu"


def test_a_bound_without_steps_is_in_double_precision_too(make_generator):
    x0 = torch.randn(4, 2, generator=make_generator(0))
    bound = variational_bound(Asked(), cosine(), x0, torch.tensor([0.5, 0.0]), generator=make_generator(1))
    assert bound.steps.shape == (0, 4) and bound.steps.dtype == torch.float64


def test_a_labelled_network_hears_the_noise_level_too():
    heard = []

    def net(x, log_snr, y):
        heard.append((log_snr, y))
        return x

    network_output(net, "v", cosine(), torch.zeros(3, 2), torch.tensor(0.5), "a label")
    assert_close(heard[0][0], cosine().log_snr(torch.tensor(0.5)).repeat(3), 1e-6)
    assert heard[0][1] == "a label"


def test_with_probes_the_exact_divergence_is_never_taken(make_generator, monkeypatch):
    """It would cost one backward pass for each dimension, on the first stretch from clean data too."""
    taken, really = [], likelihood._value_and_trace

    def spied(f, x, probes):
        taken.append(probes)
        return really(f, x, probes)

    monkeypatch.setattr(likelihood, "_value_and_trace", spied)
    x = normal((3, 2), make_generator(0))
    ode_log_likelihood(Asked(), vp_linear(), x, probes=2, generator=make_generator(1), tolerance=1e-2)
    assert len(taken) > 3 and all(probes is not None and probes.shape == (2, 3, 2) for probes in taken)


# --- words -----------------------------------------------------------------------------------------------------------


def test_bars_say_what_they_count(make_generator, capsys, monkeypatch):
    monkeypatch.setattr(likelihood, "SHOW_AFTER", 0)
    monkeypatch.setattr(bounds, "SHOW_AFTER", 0)
    x0, times = normal((2, 2), make_generator(0)), torch.tensor([0.9, 0.5, 0.2, 0.0]).double()
    variational_bound(Asked(), cosine(), x0, times, generator=make_generator(1))
    assert re.search(r"\bbound: .*\bstep(/s|\])", capsys.readouterr().err.replace("\r", "\n"))
    ode_log_likelihood(Asked(), vp_linear(), x0, tolerance=1e-2)
    assert re.search(r"\blog-likelihood: .*\bpoint(/s|\])", capsys.readouterr().err.replace("\r", "\n"))


def test_an_error_says_what_was_given():
    with pytest.raises(TypeError, match=r"^x_t must be a floating-point tensor .* but is int 3$"):
        solve("v", cosine(), torch.zeros(2, 2), 3, torch.tensor(0.5))
    with pytest.raises(TypeError, match=r"^betas must be .* but is list \[0.1\]$"):
        tabulated([0.1])
    with pytest.raises(ValueError, match=r"^betas must lie strictly between 0 and 1$"):
        tabulated(torch.tensor([2.0]))
    with pytest.raises(ValueError, match=r"^states must hold at least one state, but is empty$"):
        last(iter(()))
    with pytest.raises(ValueError, match=r"; keep away from that end, or predict v or velocity$"):
        solve("eps", cosine(), torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor(1.0))
    ones = torch.ones(1)
    with pytest.raises(ValueError, match=r"^means must have .*, but are a float32 tensor of shape \(2, 2\)$"):
        GaussianMixture(ones, torch.zeros(2, 2), torch.eye(2)[None])
    with pytest.raises(ValueError, match=r"^covariances must have .*, but are a float32 tensor of shape \(1, 3, 3\)$"):
        GaussianMixture(ones, torch.zeros(1, 2), torch.eye(3)[None])
    with pytest.raises(ValueError, match=r"^covariances must be symmetric and positive definite$"):
        GaussianMixture(ones, torch.zeros(1, 2), -torch.eye(2)[None])
    with pytest.raises(TypeError, match=r"^log_likelihood must be .* but is float -3.0$"):
        bits_per_dim(-3.0, 2)
