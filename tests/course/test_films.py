"""Films of a ball, the measures of their physics, and models of films: against brute force and known motions."""

import pytest
import torch

from minidiff import digits, exact, films, schedules
from minidiff.data import video
from minidiff.networks import ConditionedUNet, initialised
from minidiff.training import Batch
from tests.cases import assert_close, normal

COSINE = schedules.cosine()


def network(generator):
    net = initialised(lambda: ConditionedUNet(8, 16, (16, 16), 1, 2), generator)
    torch.nn.init.normal_(net.net.conv_out.weight, std=0.02, generator=generator)
    return net


def test_a_ball_is_where_a_mirror_after_the_other_puts_it(make_generator):
    place = 60 * normal((200,), make_generator(0)).double()
    x = place.clone()
    for _ in range(100):
        x = torch.where(x > video.HIGH, 2 * video.HIGH - x, x)
        x = torch.where(x < video.LOW, 2 * video.LOW - x, x)
    assert_close(video.bounced(place), x)


def test_motions_stay_between_the_walls_and_keep_their_speed(make_generator):
    motion = video.draw_motion(300, make_generator(0))
    track = video.tracks(motion, 30).double()
    assert float(track.min()) >= video.LOW and float(track.max()) <= video.HIGH
    steps = track.diff(dim=1).abs()
    assert float((steps - motion.velocity.abs()[:, None]).max()) < 1e-4  # a step is shorter only where it bounces
    assert float((steps - motion.velocity.abs()[:, None]).abs().median()) < 1e-5
    assert_close(track[:, 0], motion.place.double())


@pytest.mark.parametrize("dimension", [1, 2])
def test_the_measures_find_the_motion_that_made_a_film(make_generator, dimension):
    motion = video.draw_motion(100, make_generator(0), dimension)
    track = video.tracks(motion)
    centre, mass = video.centres(video.film(track), dimension)
    assert centre.shape == track.shape and mass.shape == (100, 8)
    assert float((centre - track).abs().max()) < 0.2  # a ball at the wall loses a little of its light
    found, missed = video.fit_motion(track)
    assert float(missed.max()) < 0.02
    assert float((found.velocity - motion.velocity).abs().median()) < 0.01
    assert float(video.fit_motion(centre)[1].max()) < 0.12


def test_shuffled_frames_are_no_motion(make_generator):
    track = video.tracks(video.draw_motion(200, make_generator(0), 1))
    shuffled = track[:, torch.randperm(8, generator=make_generator(1))]
    assert float(video.fit_motion(shuffled)[1].median()) > 0.5


def test_the_dictionary_holds_all_films(make_generator):
    book, motion = video.line_films(40, 30)
    assert book.shape == (1200, 8, 16) and len(motion.place) == 1200
    assert_close(book, video.film(video.tracks(motion)))
    drawn = video.film(video.tracks(video.draw_motion(100, make_generator(0), 1)))
    nearest = torch.cdist(drawn.flatten(1), book.flatten(1)).amin(1).square() / 128
    assert float(nearest.sqrt().max()) < 0.2  # root mean square of a pixel that reaches from -1 to 1


def test_the_floor_of_a_frame_is_the_floor_of_a_film_of_one_frame(make_generator):
    """A dictionary of films that all stand still knows eight times as much as one of its frames."""
    place = torch.linspace(video.LOW, video.HIGH, 60)[:, None]
    one, still = video.film(place), video.film(place[:, None].expand(-1, 8, -1))
    x0, t = still[::5], torch.tensor(0.6)
    x_t = COSINE.perturb(x0, t, normal(x0.shape, make_generator(0)).float())
    single = exact.finite_denoiser(one, COSINE)(x_t.reshape(-1, 16), t).reshape(x0.shape)
    whole = exact.finite_denoiser(still, COSINE)(x_t, t)
    assert float((whole - x0).square().mean()) < float((single - x0).square().mean())


def test_given_frames_are_told_with_how_far_to_trust_them(make_generator):
    x = normal((3, 8, 4, 4), make_generator(0))
    y = films.given_frames(
        x, torch.tensor([0, 2, 3]), torch.tensor([0.0, 0.0, 0.4], dtype=torch.float64), make_generator(1)
    )
    assert y.shape == (3, 16, 4, 4)
    assert not y[0].any()
    assert_close(y[1, :2], x[1, :2])
    assert_close(y[1:, 8:, 0, 0], torch.tensor([[1.0] * 2 + [0] * 6, [0.6] * 3 + [0] * 5], dtype=torch.float64))
    assert not y[1, 2:8].any() and not y[2, 3:8].any()
    assert 0.2 < float((y[2, :3] - x[2, :3]).std()) < 0.6


def test_half_of_the_films_are_shown_frames_and_their_noise_is_what_they_are_told(make_generator):
    objective = films.film_objective(COSINE, "x0", digits.digit_weight)
    x0 = normal((600, 8, 4, 4), make_generator(0)).float()
    draws = objective.draw(Batch(x0), make_generator(1))
    trust = draws.y[:, 8:, 0, 0]
    shown = (trust > 0).sum(1)
    assert 0.4 < float((shown > 0).float().mean()) < 0.6
    assert set(shown.tolist()) == {0, 1, 2, 3, 4}
    first = trust[shown > 0, 0]
    assert 0.4 < float((first == 1).float().mean()) < 0.6 and float(first.min()) >= 0.5
    clean = (trust[:, 0] == 1) & (shown > 0)
    assert_close(draws.y[clean, 0], x0[clean, 0])
    noisy = (trust[:, 0] < 0.9) & (shown > 0)
    scaled = (draws.y[noisy, 0] - x0[noisy, 0]) / (1 - trust[noisy, 0])[:, None, None]
    assert abs(float(scaled.square().mean()) - 1) < 0.25
    assert objective.loss(network(make_generator(2)), draws).shape == (600,)


def test_a_continued_film_begins_as_given_and_a_roll_out_has_its_length(make_generator):
    net = network(make_generator(0))
    first = normal((2, 3, 16, 16), make_generator(1)).float()
    film = films.continued(net, first, steps=2, generator=make_generator(2))
    assert film.shape == (2, 8, 16, 16) and torch.equal(film[:, :3], first)
    long = films.rolled_out(net, first, 19, s=0.2, steps=2, generator=make_generator(2))
    assert long.shape == (2, 19, 16, 16) and torch.equal(long[:, :3], first)
    assert films.sample_films(net, 2, steps=2, generator=make_generator(3)).shape == (2, 8, 16, 16)
    with pytest.raises(ValueError, match="k must be"):
        films.continued(net, normal((2, 8, 16, 16), make_generator(1)).float(), steps=2, generator=make_generator(2))


def test_the_given_frames_change_what_follows(make_generator):
    net = network(make_generator(0))
    a, b = normal((2, 2, 2, 16, 16), make_generator(1)).float()
    same = {"steps": 2}
    one, other = (films.continued(net, first, **same, generator=make_generator(2)) for first in (a, b))
    assert float((one - other)[:, 2:].abs().max()) > 1e-4
