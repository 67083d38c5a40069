"""Denoisers that compare: against loops, the ideal denoisers of `exact`, and closed forms for corners that agree."""

import math

import pytest
import torch
from scipy.integrate import quad

from minidiff import exact, similarity
from minidiff.networks.attention import attention
from minidiff.schedules import cosine, rectified_flow
from tests.cases import assert_close, every_path, inner_times, normal, number

PATH = cosine()


def pictures(make_generator, n=6, channels=1, height=4, width=5):
    return normal((n, channels, height, width), make_generator(0))


# --- the ideal denoiser is attention ---------------------------------------------------------------------------------


@every_path
def test_the_ideal_denoiser_is_one_layer_of_attention(path, make_generator):
    """Queries alpha x_t / sigma^2 with a last number 1, keys x_i with a last number -alpha^2 |x_i|^2 / 2 sigma^2."""
    data, x_t = normal((30, 7), make_generator(0)), 2 * normal((9, 7), make_generator(1))
    for t in path.t_min + (1 - path.t_min) * inner_times(3, make_generator(2)):
        alpha, sigma = path.alpha(t), path.sigma(t)
        q = torch.cat([alpha / sigma**2 * x_t, torch.ones(9, 1)], 1) * math.sqrt(8)
        k = torch.cat([data, -(alpha**2 / (2 * sigma**2)) * (data**2).sum(1, keepdim=True)], 1)
        assert_close(attention(q, k, data), exact.finite_denoiser(data, path)(x_t, t), 1e-9)


# --- non-local means -------------------------------------------------------------------------------------------------


def test_non_local_means_is_its_weighted_mean_patch_by_patch(make_generator):
    y, std = normal((7, 5), make_generator(0)), 0.6
    found = similarity.non_local_means(y, std)
    for i in range(7):
        weights = []
        for j in range(7):
            apart = 0.0 if i == j else max(0.0, float(((y[i] - y[j]) ** 2).sum()) - 2 * std**2 * 5)
            weights.append(math.exp(-apart / (4 * std**2)))
        assert_close(found[i], sum(w * patch for w, patch in zip(weights, y, strict=True)) / sum(weights), 1e-10)


def test_non_local_means_of_copies_is_nearly_their_mean(make_generator):
    """Two patches far apart, 40 noisy copies of each. The noise of 200 numbers: the distances scatter by 10 %."""
    clean = 3 * normal((2, 200), make_generator(0)).repeat_interleave(40, 0)
    y = clean + 0.1 * normal(clean.shape, make_generator(1))
    left = float(((similarity.non_local_means(y, 0.1) - clean) ** 2).mean())
    assert left < 0.1**2 / 8  # the mean of all copies has 0.1^2 / 40
    assert float(((y - clean) ** 2).mean()) == pytest.approx(0.01, rel=0.1)


def test_a_patch_that_resembles_no_other_stays_as_it_is(make_generator):
    y = 50 * torch.eye(4, dtype=torch.float64)
    assert_close(similarity.non_local_means(y, 0.5), y, 1e-9)


# --- what a window can know ------------------------------------------------------------------------------------------


@every_path
def test_a_window_as_wide_as_the_picture_is_the_ideal_denoiser(path, make_generator):
    data, x_t = pictures(make_generator, channels=2), normal((3, 2, 4, 5), make_generator(1))
    t = path.t_min + (1 - path.t_min) * inner_times(3, make_generator(2))
    found = similarity.local_denoiser(data, path, 4)(x_t, t)
    assert_close(found, exact.finite_denoiser(data, path)(x_t, t), 1e-8)


@pytest.mark.parametrize("std", [0.2, 1.0])
@every_path
def test_with_normal_data_too(path, std, make_generator):
    """A mixture of normal distributions around the pictures, by the eigenvectors of `exact`."""
    data, x_t = pictures(make_generator, height=3, width=2), normal((4, 1, 3, 2), make_generator(1))
    weights = torch.full((6,), 1 / 6, dtype=torch.float64)
    mixture = exact.GaussianMixture(weights, data, std**2 * torch.eye(6, dtype=torch.float64).expand(6, -1, -1))
    t = path.t_min + (1 - path.t_min) * inner_times(4, make_generator(2))
    found = similarity.local_denoiser(data, path, 3, std=std)(x_t, t)
    assert_close(found, exact.posterior_mean(mixture, path, x_t, t), 1e-8)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_a_window_is_that_of_each_pixel_cut_off_at_the_border(reach, make_generator):
    """Each pixel by the ideal denoiser of its window alone."""
    data, x_t, t = pictures(make_generator, channels=2), normal((2, 2, 4, 5), make_generator(1)), number(0.4)
    found = similarity.local_denoiser(data, PATH, reach)(x_t, t)
    for i in range(4):
        for j in range(5):
            rows, columns = slice(max(0, i - reach), i + reach + 1), slice(max(0, j - reach), j + reach + 1)
            window = exact.finite_denoiser(data[:, :, rows, columns], PATH)(x_t[:, :, rows, columns], t)
            here = window[:, :, i - rows.start, j - columns.start]
            assert_close(found[:, :, i, j], here, 1e-10)


def test_it_does_not_depend_on_chunks_or_neighbours(make_generator, monkeypatch):
    data, x_t = pictures(make_generator), normal((7, 1, 4, 5), make_generator(1))
    t = inner_times(7, make_generator(2))
    whole = similarity.local_denoiser(data, PATH, 1, std=0.3)(x_t, t)
    monkeypatch.setattr(similarity, "CHUNK", 2 * data.numel())
    assert_close(similarity.local_denoiser(data, PATH, 1, std=0.3)(x_t, t), whole, 1e-12)
    assert_close(similarity.local_denoiser(data, PATH, 1, std=0.3)(x_t[3:4], t[3]), whole[3:4], 1e-12)


def test_it_answers_in_the_type_it_is_asked(make_generator):
    denoise = similarity.local_denoiser(pictures(make_generator), PATH, 1)
    x_t = normal((2, 1, 4, 5), make_generator(1))
    single = denoise(x_t.float(), torch.tensor(0.5))
    assert single.dtype == torch.float32
    assert_close(single.double(), denoise(x_t, number(0.5)), 1e-4)


# --- corners that agree ----------------------------------------------------------------------------------------------


def corners(side=8, size=2):
    picture = torch.zeros(1, 1, side, side, dtype=torch.float64)
    for rows in (slice(None, size), slice(-size, None)):
        for columns in (slice(None, size), slice(-size, None)):
            picture[..., rows, columns] = 1
    return torch.cat([picture, -picture])


def expected_error(seen, path, t, std):
    """E|x0 - x0_hat|^2 of a corner's pixel where `seen` pixels tell its sign, less what the texture leaves.

    The sign is known through a normal number whose mean and variance are both m = seen alpha^2 / V. (1 - tanh) is by
    how much the guess is off.
    """
    alpha, sigma = path.alpha(t), path.sigma(t)
    variance = alpha**2 * std**2 + sigma**2
    m = float(seen * alpha**2 / variance)

    def off(z):
        return math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (1 - math.tanh(m + math.sqrt(m) * z)) ** 2

    left = float(std**2 * sigma**2 / variance)
    return left + float((sigma**2 / variance) ** 2) * quad(off, -12, 12)[0]


@pytest.mark.parametrize("path", [PATH, rectified_flow()], ids=["cosine", "straight"])
@pytest.mark.parametrize(("reach", "seen"), [(8, 16), (3, 4)])
def test_the_error_on_corners_is_its_integral(path, reach, seen, make_generator):
    """20,000 pictures. 7 % is beyond 6 standard errors (by 30 repetitions)."""
    std, t, two, n = 0.3, number(0.74), corners(), 20_000
    x0 = two[torch.randint(2, (n,), generator=make_generator(0))] + std * normal((n, 1, 8, 8), make_generator(1))
    x_t = path.perturb(x0, t, normal(x0.shape, make_generator(2)))
    errors = (similarity.local_denoiser(two, path, reach, std=std)(x_t, t) - x0) ** 2
    on_corners = float(errors[:, two[0].abs() > 0].mean())
    assert on_corners == pytest.approx(expected_error(seen, path, t, std), rel=0.07)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_meant_is_refused(make_generator):
    data = pictures(make_generator)
    for call, words in [
        (lambda: similarity.local_denoiser(data[:, 0, 0], PATH, 1), "data must be images"),
        (lambda: similarity.local_denoiser(data, PATH, -1), "reach must be a whole number >= 0"),
        (lambda: similarity.local_denoiser(data, PATH, 1, std=-1.0), "std must be finite and >= 0"),
        (
            lambda: similarity.local_denoiser(data, PATH, 1)(data[..., :3], number(0.5)),
            "x_t must be images as the data",
        ),
        (lambda: similarity.non_local_means(data, 0.5), "y must be patches"),
        (lambda: similarity.non_local_means(data[0, 0], 0.0), "std must be finite and > 0"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
