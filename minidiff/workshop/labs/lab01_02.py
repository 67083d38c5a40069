"""Lab 01-02, random walks and Langevin steps: after notebooks 01 and 02."""

import math

import torch

from minidiff.checks.records import RNG, Case, Exercise, Wrong
from minidiff.checks.views import UNSEEN, means, moments_of, normal
from minidiff.workshop.labs.hidden import between
from minidiff.workshop.labs.records import Lab, Plot, Problem, Variant

__all__ = ["LAB"]

WALKERS = 250  # in the public case of a random step
EXACT = torch.float64


def hidden_paths(g, frames, walkers, d):
    """Paths that begin far from the origin, with a wind and a spread of its own on each axis. (frames, walkers, d)."""
    axes = torch.arange(d, dtype=EXACT)
    steps = (0.5 + 0.4 * axes) * torch.randn(frames - 1, walkers, d, generator=g, dtype=EXACT) + 0.3 - 0.5 * axes
    start = 2 + torch.randn(1, walkers, d, generator=g, dtype=EXACT)
    return torch.cat([start, start + steps.cumsum(dim=0)])


# diffusion: D from paths, but in a wind, or at a lag


def diffusion_in_wind(paths, dt):
    frames, _, d = paths.shape
    moved = paths[-1] - paths[0]
    moved = moved - moved.mean(dim=0)
    return (moved**2).sum(dim=1).mean() / (2 * d * (frames - 1) * dt)


def diffusion_in_wind_by_variances(paths, dt):
    return (paths[-1] - paths[0]).var(dim=0, correction=0).mean() / (2 * (len(paths) - 1) * dt)


def diffusion_in_wind_truth(paths, dt):  # two walkers' displacements differ by twice the variance: no mean is needed
    moved = paths[-1] - paths[0]
    pairs = (moved[:, None, :] - moved[None, :, :]).square().mean()
    return pairs / 4 / (dt * (paths.shape[0] - 1))


def diffusion_in_wind_cases(g):
    plain = torch.tensor([[10.0, 12.0, 13.0], [11.0, 12.0, 17.0], [12.0, 16.0, 22.0]], dtype=EXACT)[:, :, None]
    return (
        Case((plain, 0.5), "3 walkers on a line, from 10, 12, 13 over 11, 12, 17 to 12, 16, 22, with dt = 0.5"),
        Case((hidden_paths(g, 6, 20, 3), between(g, 0.2, 0.4)), "hidden walkers in three directions"),
        Case((hidden_paths(g, 9, 15, 2), between(g, 1.5, 2.5)), "hidden walkers in the plane"),
    )


def one_wind_for_all_axes(paths, dt):
    frames, _, d = paths.shape
    moved = paths[-1] - paths[0]
    moved = moved - moved.mean()
    return (moved**2).sum(dim=1).mean() / (2 * d * (frames - 1) * dt)


def wind_without_directions(paths, dt):
    moved = paths[-1] - paths[0]
    moved = moved - moved.mean(dim=0)
    return (moved**2).sum(dim=1).mean() / (2 * (len(paths) - 1) * dt)


def steps_like_frames(paths, dt):
    frames, _, d = paths.shape
    moved = paths[-1] - paths[0]
    moved = moved - moved.mean(dim=0)
    return (moved**2).sum(dim=1).mean() / (2 * d * frames * dt)


DIFFUSION_IN_WIND = Exercise(
    id="lab01-02.diffusion.wind",
    name="diffusion_in_wind",
    stub='''
def diffusion_in_wind(paths, dt):
    """D, a number, of walkers that all drift with one unknown velocity. paths: (frames, walkers, d)."""
    ...  # your code
''',
    solution=diffusion_in_wind,
    alternative=diffusion_in_wind_by_variances,
    why=(
        "The wind moves all walkers alike, so that it is in the mean displacement and not in the spread around it. The "
        "variance of the displacement is 2 D t on each axis."
    ),
    truth=diffusion_in_wind_truth,
    cases=diffusion_in_wind_cases,
    hints=(),
    wrong=(
        Wrong(
            "the wind left in",
            lambda paths, dt: (paths[-1] - paths[0]).square().mean() / (2 * (len(paths) - 1) * dt),
            "You take the mean squared displacement as it is, so the wind counts as diffusion. The wind moves all "
            "walkers alike, and you can see in the paths by how much.",
            "the free walker of exercise 1.1",
        ),
        Wrong(
            "one wind for all axes",
            one_wind_for_all_axes,
            "You subtract one number from the displacements on all axes. But the wind is a vector, with a component "
            "for each axis.",
            "a mean without dim",
        ),
        Wrong(
            "the factor d",
            wind_without_directions,
            "The number of directions is missing: you have summed the squares over d axes, and each of them brings "
            "2 D t.",
            "zincware/MDSuite#492",
        ),
        Wrong(
            "the factor 2",
            lambda paths, dt: (paths[-1] - paths[0]).var(dim=0, correction=0).mean() / ((len(paths) - 1) * dt),
            "The 2 is missing: the variance of the displacement on an axis is 2 D t.",
            "OpenDrift/opendrift#855",
        ),
        Wrong(
            "as many steps as frames",
            steps_like_frames,
            "You count as many steps as frames. Between the first frame and the last one there is one step less.",
            "off by one",
        ),
        Wrong(
            "one walker less",
            lambda paths, dt: (paths[-1] - paths[0]).var(dim=0).mean() / (2 * (len(paths) - 1) * dt),
            "Your variance divides by the number of walkers minus 1, as `torch.var` does unless it is told otherwise. "
            "Asked for is the mean over the walkers.",
            "torch.var's correction",
        ),
    ),
)


def diffusion_at_lag(paths, lag, dt):
    moved = paths[lag:] - paths[:-lag]
    return (moved**2).sum(dim=2).mean() / (2 * paths.shape[2] * lag * dt)


def diffusion_at_lag_by_a_loop(paths, lag, dt):
    frames = len(paths)
    squares = [(paths[k + lag] - paths[k]).square().mean() for k in range(frames - lag)]
    return sum(squares) / (frames - lag) / (2 * dt * lag)


def diffusion_at_lag_truth(paths, lag, dt):  # walker by walker and axis by axis, in plain numbers
    squares = []
    for line in paths.flatten(1).T.tolist():  # one coordinate of one walker, over the frames
        squares += [(there - here) ** 2 for here, there in zip(line, line[lag:], strict=False)]
    return math.fsum(squares) / len(squares) / 2 / (lag * dt)


def diffusion_at_lag_cases(g):
    plain = torch.tensor([[10.0, 20.0], [11.0, 20.0], [13.0, 19.0], [12.0, 15.0], [14.0, 18.0]], dtype=EXACT)
    return (
        Case(
            (plain[:, :, None], 2, 0.5),
            "2 walkers on a line, at 10, 11, 13, 12, 14 and at 20, 20, 19, 15, 18, with lag = 2 and dt = 0.5",
        ),
        Case((hidden_paths(g, 8, 12, 3), 3, between(g, 0.2, 0.4)), "hidden walkers in three directions"),
        Case((hidden_paths(g, 13, 9, 2), 4, between(g, 1.5, 2.5)), "hidden walkers in the plane"),
    )


def lag_from_the_first_frame(paths, lag, dt):
    moved = paths[lag] - paths[0]
    return (moved**2).sum(dim=1).mean() / (2 * paths.shape[2] * lag * dt)


def lag_without_overlap(paths, lag, dt):
    moved = paths[lag::lag] - paths[:-lag:lag]
    return (moved**2).sum(dim=2).mean() / (2 * paths.shape[2] * lag * dt)


def lag_without_its_time(paths, lag, dt):
    moved = paths[lag:] - paths[:-lag]
    return (moved**2).sum(dim=2).mean() / (2 * paths.shape[2] * dt)


def lag_without_directions(paths, lag, dt):
    moved = paths[lag:] - paths[:-lag]
    return (moved**2).sum(dim=2).mean() / (2 * lag * dt)


def lag_of_squares(paths, lag, dt):
    squares = (paths**2).sum(dim=2)
    return (squares[lag:] - squares[:-lag]).mean() / (2 * paths.shape[2] * lag * dt)


DIFFUSION_AT_LAG = Exercise(
    id="lab01-02.diffusion.lag",
    name="diffusion_at_lag",
    stub='''
def diffusion_at_lag(paths, lag, dt):
    """D, a number, from all pairs of frames that lie `lag` frames apart. paths: (frames, walkers, d)."""
    ...  # your code
''',
    solution=diffusion_at_lag,
    alternative=diffusion_at_lag_by_a_loop,
    why=(
        "Every frame is the beginning of a walk of its own, so that each pair of frames at this lag has the mean "
        "squared displacement 2 d D t with t = lag dt."
    ),
    truth=diffusion_at_lag_truth,
    cases=diffusion_at_lag_cases,
    hints=(),
    wrong=(
        Wrong(
            "the first frame only",
            lag_from_the_first_frame,
            "You use one pair of frames, which begins with the first frame. But a walk may be taken to begin at any "
            "frame, and all pairs are asked for.",
            UNSEEN,
        ),
        Wrong(
            "no overlap",
            lag_without_overlap,
            "Your pairs follow one another without overlap, so most pairs at this lag are left out. All of them are "
            "asked for.",
            UNSEEN,
        ),
        Wrong(
            "the time of one frame",
            lag_without_its_time,
            "Your displacements are over `lag` frames, but you divide by the time between two neighbouring ones. The "
            "walkers had `lag` times as long.",
            UNSEEN,
        ),
        Wrong(
            "the factor d",
            lag_without_directions,
            "The number of directions is missing: you have summed the squares over d axes, and each of them brings "
            "2 D t.",
            "zincware/MDSuite#492",
        ),
        Wrong(
            "the difference of the squares",
            lag_of_squares,
            "You square the positions and then subtract. First subtract the positions, then square: a displacement "
            "does not know where the origin is.",
            UNSEEN,
        ),
        Wrong(
            "single steps",
            lambda paths, lag, dt: paths.diff(dim=0).square().mean() / (2 * dt),
            "You use the single steps, whatever the lag is. For independent steps this estimates the same D, but asked "
            "for are the displacements over `lag` frames.",
            UNSEEN,
        ),
    ),
)


# step: a Langevin step, but with a mobility for each axis, or for each walker


def step_by_axis(x, force, mobility, temperature, dt, g):
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x + mobility * force * dt + torch.sqrt(2 * mobility * temperature * dt) * z


def step_by_axis_in_columns(x, force, mobility, temperature, dt, g):
    columns = []
    for axis, mu in enumerate(mobility.tolist()):
        kick = torch.empty_like(x[:, axis]).normal_(std=math.sqrt(2 * mu * temperature * dt), generator=g)
        columns.append(x[:, axis] + mu * dt * force[:, axis] + kick)
    return torch.stack(columns, dim=1)


def step_by_axis_truth(x, force, mobility, temperature, dt, g):  # from the law: independent normals
    spread = (2 * dt * temperature * mobility) ** 0.5
    return torch.normal(x + dt * (mobility * force), spread.expand(x.shape), generator=g)


def step_by_axis_cases(g):
    x = torch.tensor([10.0, -20.0, 5.0], dtype=EXACT) + 4 * torch.randn(100, 3, generator=g, dtype=EXACT)
    force = torch.tensor([6.0, 9.0, -7.0], dtype=EXACT) + 2 * torch.randn(100, 3, generator=g, dtype=EXACT)
    mobility = torch.tensor([between(g, 0.2, 0.4), between(g, 1.4, 1.7), between(g, 2.5, 3.5)], dtype=EXACT)
    one = torch.ones(WALKERS, 2)
    return (
        Case(
            (one, -2 * one, torch.tensor([0.5, 2.5]), 0.6, 0.1, RNG),
            f"x = (1, 1) ({WALKERS} times), force = (-2, -2), mobility = (0.5, 2.5), temperature = 0.6 and dt = 0.1",
        ),
        Case((x, force, mobility, between(g, 0.4, 0.7), between(g, 0.05, 0.08), RNG), "hidden walkers with three axes"),
    )


def step_by_axis_numbers(out, x, force, mobility, temperature, dt):
    mean = x + mobility * force * dt
    return moments_of(out, mean, x) | means(
        {
            "the variance of the noise over the mobility": (out - mean) ** 2 / mobility,
            "the mean of the result on the first axis": out[..., 0],
        }
    )


STEP_BY_AXIS = Exercise(
    id="lab01-02.step.axes",
    name="step_by_axis",
    stub='''
def step_by_axis(x, force, mobility, temperature, dt, g):
    """One Langevin step. x, force: (walkers, d). mobility: (d,), one for each axis. temperature is k_B T, a number."""
    ...  # your code
''',
    solution=step_by_axis,
    alternative=step_by_axis_in_columns,
    why=("Each axis is a Langevin equation of its own: the drift is mu F dt, and its kick has variance 2 mu k_B T dt."),
    truth=step_by_axis_truth,
    cases=step_by_axis_cases,
    view=step_by_axis_numbers,
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "the kicks without the mobility",
            lambda x, force, mobility, temperature, dt, g: (
                x + mobility * force * dt + math.sqrt(2 * temperature * dt) * normal(x, g)
            ),
            "Your kicks do not depend on the mobility. Kicks and friction come from the same molecules, so that "
            "D = mu k_B T; with your kicks the axes end at different temperatures.",
            UNSEEN,
        ),
        Wrong(
            "the mobility before the root",
            lambda x, force, mobility, temperature, dt, g: (
                x + mobility * force * dt + mobility * math.sqrt(2 * temperature * dt) * normal(x, g)
            ),
            "Your mobility stands before the root. The *variance* of a kick is proportional to the mobility, so that "
            "it belongs under the root.",
            UNSEEN,
        ),
        Wrong(
            "dt for its root",
            lambda x, force, mobility, temperature, dt, g: (
                x + mobility * force * dt + torch.sqrt(2 * mobility * temperature) * dt * normal(x, g)
            ),
            "You multiply the noise by dt. Variances add, so noise carries the root of the time step.",
            "jason-ash/pyesg#73, uclales/uclales#7",
        ),
        Wrong(
            "the 2 is missing",
            lambda x, force, mobility, temperature, dt, g: (
                x + mobility * force * dt + torch.sqrt(mobility * temperature * dt) * normal(x, g)
            ),
            "The 2 is missing under your root, so the cloud has half the temperature.",
            "google-research/ibc#6",
        ),
        Wrong(
            "the drift without the mobility",
            lambda x, force, mobility, temperature, dt, g: (
                x + force * dt + torch.sqrt(2 * mobility * temperature * dt) * normal(x, g)
            ),
            "Your drift is force times dt. The speed under a force is mobility times force.",
            UNSEEN,
        ),
        Wrong(
            "the mean mobility",
            lambda x, force, mobility, temperature, dt, g: (
                x + mobility.mean() * force * dt + torch.sqrt(2 * mobility.mean() * temperature * dt) * normal(x, g)
            ),
            "You take the mean of the mobilities for all axes. Each axis has its own.",
            UNSEEN,
        ),
        Wrong(
            "no root",
            lambda x, force, mobility, temperature, dt, g: (
                x + mobility * force * dt + 2 * mobility * temperature * dt * normal(x, g)
            ),
            "You multiply the noise by the variance of a kick. A factor before normal numbers is a standard deviation.",
            UNSEEN,
        ),
    ),
)


def step_by_radius(x, force, radius, temperature, dt, g):
    mobility = 1 / radius[:, None]
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return x + mobility * force * dt + torch.sqrt(2 * mobility * temperature * dt) * z


def step_by_radius_in_columns(x, force, radius, temperature, dt, g):
    spread = (2 * temperature * dt / radius) ** 0.5
    columns = []
    for axis in range(x.shape[1]):
        z = torch.empty_like(radius).normal_(generator=g)
        columns.append(x[:, axis] + force[:, axis] * dt / radius + spread * z)
    return torch.stack(columns, dim=1)


def step_by_radius_truth(x, force, radius, temperature, dt, g):  # from the law: independent normals
    time = (dt / radius)[:, None].expand(x.shape)  # mobility times time
    return torch.normal(x + time * force, (2 * temperature * time).sqrt(), generator=g)


def step_by_radius_cases(g):
    x = torch.tensor([10.0, -20.0], dtype=EXACT) + 4 * torch.randn(100, 2, generator=g, dtype=EXACT)
    force = torch.tensor([6.0, 9.0], dtype=EXACT) + 2 * torch.randn(100, 2, generator=g, dtype=EXACT)
    radius = 0.3 + 2.7 * torch.rand(100, generator=g, dtype=EXACT)
    one, half = torch.ones(WALKERS, 2), torch.arange(WALKERS) < WALKERS // 2
    return (
        Case(
            (one, -2 * one, torch.where(half, 0.4, 2.5), 0.6, 0.1, RNG),
            f"x = (1, 1) ({WALKERS} times), force = (-2, -2), radius 0.4 for half of the walkers and 2.5 for the "
            "others, temperature = 0.6 and dt = 0.1",
        ),
        Case((x, force, radius, between(g, 0.4, 0.7), between(g, 0.05, 0.08), RNG), "hidden walkers of many sizes"),
    )


def step_by_radius_numbers(out, x, force, radius, temperature, dt):
    mean = x + force * dt / radius[:, None]
    return moments_of(out, mean, x) | means(
        {
            "the variance of the noise times the radius": (out - mean) ** 2 * radius[:, None],
            "the mean of the result times the radius": out * radius[:, None],
        }
    )


STEP_BY_RADIUS = Exercise(
    id="lab01-02.step.radius",
    name="step_by_radius",
    stub='''
def step_by_radius(x, force, radius, temperature, dt, g):
    """One Langevin step. x, force: (walkers, d). radius: (walkers,); the mobility of a walker is 1 / radius."""
    ...  # your code
''',
    solution=step_by_radius,
    alternative=step_by_radius_in_columns,
    why=(
        "A walker of radius a has the mobility 1 / a, so that it drifts by F dt / a, and its kick has the variance "
        "2 k_B T dt / a. `radius[:, None]` gives each walker its own, on all axes."
    ),
    truth=step_by_radius_truth,
    cases=step_by_radius_cases,
    view=step_by_radius_numbers,
    calls=200,
    hints=(),
    wrong=(
        Wrong(
            "the kicks without the radius",
            lambda x, force, radius, temperature, dt, g: (
                x + force * dt / radius[:, None] + math.sqrt(2 * temperature * dt) * normal(x, g)
            ),
            "Your kicks do not depend on the radius. Kicks and friction come from the same molecules, so that "
            "D = mu k_B T; with your kicks large walkers end hotter than small ones.",
            UNSEEN,
        ),
        Wrong(
            "the radius outside the root",
            lambda x, force, radius, temperature, dt, g: (
                x + (force * dt + math.sqrt(2 * temperature * dt) * normal(x, g)) / radius[:, None]
            ),
            "You divide the kicks by the radius outside the root. The *variance* of a kick is proportional to the "
            "mobility, so that the radius belongs under the root.",
            UNSEEN,
        ),
        Wrong(
            "dt for its root",
            lambda x, force, radius, temperature, dt, g: (
                x + (force / radius[:, None] + torch.sqrt(2 * temperature / radius[:, None]) * normal(x, g)) * dt
            ),
            "You multiply the noise by dt. Variances add, so noise carries the root of the time step.",
            "jason-ash/pyesg#73, uclales/uclales#7",
        ),
        Wrong(
            "the 2 is missing",
            lambda x, force, radius, temperature, dt, g: (
                x + force * dt / radius[:, None] + torch.sqrt(temperature * dt / radius[:, None]) * normal(x, g)
            ),
            "The 2 is missing under your root, so the cloud has half the temperature.",
            "google-research/ibc#6",
        ),
        Wrong(
            "the radius for the mobility",
            lambda x, force, radius, temperature, dt, g: (
                x + force * dt * radius[:, None] + torch.sqrt(2 * temperature * dt * radius[:, None]) * normal(x, g)
            ),
            "You multiply by the radius. A large walker moves slowly, because its mobility is 1 / radius.",
            UNSEEN,
        ),
        Wrong(
            "one kick for all axes",
            lambda x, force, radius, temperature, dt, g: (
                x
                + force * dt / radius[:, None]
                + torch.sqrt(2 * temperature * dt / radius[:, None]) * normal(x[:, :1], g)
            ),
            "Each walker gets one number as its kick, which is used on all axes. Draw noise of the shape of x.",
            "broadcasting of (n, 1)",
        ),
        Wrong(
            "no root",
            lambda x, force, radius, temperature, dt, g: (
                x + force * dt / radius[:, None] + 2 * temperature * dt / radius[:, None] * normal(x, g)
            ),
            "You multiply the noise by the variance of a kick. A factor before normal numbers is a standard deviation.",
            UNSEEN,
        ),
    ),
)


# crowd: a step of the diffusion equation, but between walls, or in the plane


def crowd_between_walls(p, r):
    padded = torch.cat([p[:1], p, p[-1:]])
    return (1 - 2 * r) * p + r * (padded[:-2] + padded[2:])


def crowd_between_walls_by_its_flux(p, r):
    flux = r * (p[:-1] - p[1:])
    new = p.clone()
    new[:-1] -= flux
    new[1:] += flux
    return new


def crowd_between_walls_truth(p, r):  # a walker's chances, as a matrix
    n = len(p)
    chances = torch.zeros(n, n, dtype=p.dtype)
    for here in range(n):
        for there, chance in ((here - 1, r), (here + 1, r), (here, 1 - 2 * r)):
            chances[min(max(there, 0), n - 1), here] += chance
    return chances @ p


def hidden_fractions(g, *shape):
    p = 0.1 + torch.rand(*shape, generator=g, dtype=EXACT)
    return p / p.sum()


def crowd_between_walls_cases(g):
    plain = torch.tensor([0.4, 0.3, 0.0, 0.1, 0.2], dtype=EXACT)
    return (
        Case((plain, 0.2), "p = (0.4, 0.3, 0, 0.1, 0.2) and r = 0.2"),
        Case((hidden_fractions(g, 7), between(g, 0.12, 0.23)), "hidden fractions, with a small r"),
        Case((hidden_fractions(g, 12), between(g, 0.35, 0.45)), "hidden fractions, with a large r"),
    )


def walls_that_swallow(p, r):
    new = (1 - 2 * r) * p
    new[1:] += r * p[:-1]
    new[:-1] += r * p[1:]
    return new


def ends_that_rest(p, r):
    new = p.clone()
    new[1:-1] = r * p[:-2] + (1 - 2 * r) * p[1:-1] + r * p[2:]
    return new


def mirrors_of_the_next_cell(p, r):
    padded = torch.cat([p[1:2], p, p[-2:-1]])
    return (1 - 2 * r) * p + r * (padded[:-2] + padded[2:])


def walls_with_half_of_r(p, r):
    padded = torch.cat([p[:1], p, p[-1:]])
    return (1 - r) * p + r / 2 * (padded[:-2] + padded[2:])


def thrown_back_from_the_wall(p, r):
    new = (1 - 2 * r) * p
    new[1:] += r * p[:-1]
    new[:-1] += r * p[1:]
    new[1] += r * p[0]
    new[-2] += r * p[-1]
    return new


CROWD_BETWEEN_WALLS = Exercise(
    id="lab01-02.crowd.walls",
    name="crowd_between_walls",
    stub='''
def crowd_between_walls(p, r):
    """One step of the crowd on a line with a wall at both ends. p: (cells,). Returns the new p, a new tensor."""
    ...  # your code
''',
    solution=crowd_between_walls,
    alternative=crowd_between_walls_by_its_flux,
    why=(
        "A walker that hops against a wall stays in its cell, as if it had come from a cell beyond the wall that is as "
        "full as its own. So nothing flows through the wall, and nobody is lost."
    ),
    truth=crowd_between_walls_truth,
    cases=crowd_between_walls_cases,
    hints=(),
    wrong=(
        Wrong(
            "a ring",
            lambda p, r: (1 - 2 * r) * p + r * (p.roll(1) + p.roll(-1)),
            "Your line is bent into a ring: who leaves at one end comes in at the other. Here there is a wall at each "
            "end.",
            "exercise 1.3",
        ),
        Wrong(
            "walls that swallow",
            walls_that_swallow,
            "Your walkers vanish when they hop against a wall, so the sum of p shrinks. They should stay in their "
            "cell.",
            UNSEEN,
        ),
        Wrong(
            "the ends rest",
            ends_that_rest,
            "Your first and last cell never change. But walkers leave them, and come into them from one side.",
            UNSEEN,
        ),
        Wrong(
            "a mirror of the next cell",
            mirrors_of_the_next_cell,
            "Your first cell gets walkers from the second one twice, as if that stood beyond the wall as well. But "
            "nobody comes through a wall, and the sum of p is no longer 1.",
            "padding by reflection",
        ),
        Wrong(
            "half of r to each side",
            walls_with_half_of_r,
            "Your walkers hop with probability r in all, half of it to each side. Here r is the probability for *one* "
            "side, so a walker rests with probability 1 - 2r.",
            UNSEEN,
        ),
        Wrong(
            "thrown back",
            thrown_back_from_the_wall,
            "Your walkers rebound from a wall into the next cell. A walker that hops against a wall should stay where "
            "it is.",
            UNSEEN,
        ),
    ),
)


def crowd_in_the_plane(p, r):
    neighbours = p.roll(1, dims=0) + p.roll(-1, dims=0) + p.roll(1, dims=1) + p.roll(-1, dims=1)
    return (1 - 4 * r) * p + r * neighbours


def crowd_in_the_plane_by_indices(p, r):
    rows, columns = torch.arange(p.shape[0]), torch.arange(p.shape[1])
    change = p[rows - 1] + p[(rows + 1) % len(rows)] - 2 * p
    change = change + p[:, columns - 1] + p[:, (columns + 1) % len(columns)] - 2 * p
    return p + r * change


def crowd_in_the_plane_truth(p, r):  # every cell sends its walkers to four others
    new, (rows, columns) = torch.zeros_like(p), p.shape
    for i in range(rows):
        for j in range(columns):
            for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                new[(i + down) % rows, (j + right) % columns] += r * p[i, j]
            new[i, j] += p[i, j] - 4 * r * p[i, j]
    return new


def crowd_in_the_plane_cases(g):
    plain = torch.tensor([[0.3, 0.1, 0.0, 0.05], [0.0, 0.2, 0.05, 0.0], [0.1, 0.0, 0.0, 0.2]], dtype=EXACT)
    return (
        Case((plain, 0.1), "p with the rows (0.3, 0.1, 0, 0.05), (0, 0.2, 0.05, 0), (0.1, 0, 0, 0.2), and r = 0.1"),
        Case((hidden_fractions(g, 5, 3), between(g, 0.06, 0.12)), "hidden fractions, with a small r"),
        Case((hidden_fractions(g, 4, 6), between(g, 0.17, 0.23)), "hidden fractions, with a large r"),
    )


def both_axes_in_turn(p, r):
    p = (1 - 2 * r) * p + r * (p.roll(1, dims=0) + p.roll(-1, dims=0))
    return (1 - 2 * r) * p + r * (p.roll(1, dims=1) + p.roll(-1, dims=1))


def walls_around_the_plane(p, r):
    tall = torch.cat([p[:1], p, p[-1:]])
    wide = torch.cat([p[:, :1], p, p[:, -1:]], dim=1)
    return (1 - 4 * r) * p + r * (tall[:-2] + tall[2:] + wide[:, :-2] + wide[:, 2:])


def diagonal_neighbours(p, r):
    corners = p.roll((1, 1), (0, 1)) + p.roll((1, -1), (0, 1)) + p.roll((-1, 1), (0, 1)) + p.roll((-1, -1), (0, 1))
    return (1 - 4 * r) * p + r * corners


def plane_that_rests_as_a_line(p, r):
    neighbours = p.roll(1, dims=0) + p.roll(-1, dims=0) + p.roll(1, dims=1) + p.roll(-1, dims=1)
    return (1 - 2 * r) * p + r * neighbours


def plane_with_half_of_r(p, r):
    neighbours = p.roll(1, dims=0) + p.roll(-1, dims=0) + p.roll(1, dims=1) + p.roll(-1, dims=1)
    return (1 - 2 * r) * p + r / 2 * neighbours


CROWD_IN_THE_PLANE = Exercise(
    id="lab01-02.crowd.plane",
    name="crowd_in_the_plane",
    stub='''
def crowd_in_the_plane(p, r):
    """One step of the crowd in the plane. p: (rows, columns), bent into rings. Returns the new p, a new tensor."""
    ...  # your code
''',
    solution=crowd_in_the_plane,
    alternative=crowd_in_the_plane_by_indices,
    why="A cell has four neighbours, so that a walker rests with probability 1 - 4r, and the sum of p stays 1.",
    truth=crowd_in_the_plane_truth,
    cases=crowd_in_the_plane_cases,
    hints=(),
    wrong=(
        Wrong(
            "rests as on a line",
            plane_that_rests_as_a_line,
            "Your walkers hop to four sides with probability r each, and yet rest with probability 1 - 2r, as on a "
            "line. These five chances are more than 1 in all, so the sum of p grows.",
            UNSEEN,
        ),
        Wrong(
            "half of r to each side",
            plane_with_half_of_r,
            "Your walkers hop to each of the four sides with probability r / 2. Here r is the probability for *one* of "
            "them.",
            UNSEEN,
        ),
        Wrong(
            "one axis after the other",
            both_axes_in_turn,
            "You do a whole step along one axis and then one along the other, so that a walker can get to a diagonal "
            "neighbour. In one step it makes one hop at most.",
            UNSEEN,
        ),
        Wrong(
            "diagonal neighbours",
            diagonal_neighbours,
            "Your walkers hop to the four cells at the corners. The neighbours are those at the sides: above, below, "
            "left and right.",
            UNSEEN,
        ),
        Wrong(
            "walls",
            walls_around_the_plane,
            "You have put walls around the plane. Here it is bent into rings: who leaves at one edge comes in at the "
            "opposite one.",
            UNSEEN,
        ),
        Wrong(
            "one axis only",
            lambda p, r: (1 - 2 * r) * p + r * (p.roll(1, dims=0) + p.roll(-1, dims=0)),
            "Your walkers hop from row to row only. They also hop from column to column.",
            UNSEEN,
        ),
    ),
)


# boltzmann: weights of Boltzmann, but of whole valleys, or from one temperature to another


def shares_of_valleys(bottoms, stiffness, temperature):
    logs = -bottoms / temperature - torch.log(stiffness).sum(dim=1) / 2
    return torch.softmax(logs, dim=0)


def shares_of_valleys_by_weights(bottoms, stiffness, temperature):
    weights = torch.exp(-(bottoms - bottoms.min()) / temperature) / stiffness.prod(dim=1).sqrt()
    return weights / weights.sum()


def shares_of_valleys_truth(bottoms, stiffness, temperature):  # Boltzmann's integral over each bowl, by quadrature
    x = torch.linspace(-60, 60, 4001, dtype=EXACT)
    logs = []
    for bottom, axes in zip(bottoms.tolist(), stiffness.tolist(), strict=True):
        integrals = [float(torch.trapezoid(torch.exp(-kappa * x**2 / 2 / temperature), x)) for kappa in axes]
        logs.append(sum(math.log(integral) for integral in integrals) - bottom / temperature)
    top = max(logs)
    total = math.fsum(math.exp(log - top) for log in logs)
    return torch.tensor([math.exp(log - top) / total for log in logs], dtype=EXACT)


def shares_of_valleys_cases(g):
    stiffness = 0.5 + 6 * torch.rand(3, 3, generator=g, dtype=EXACT)
    bottoms = torch.tensor([between(g, -0.3, 0.3), between(g, 0.6, 0.9), between(g, -1.2, -0.9)], dtype=EXACT)
    plain = torch.tensor([[8.0, 2.0], [0.5, 1.0]], dtype=EXACT)
    return (
        Case(
            (torch.tensor([0.0, 1.0], dtype=EXACT), plain, 0.6),
            "bottoms = (0, 1), stiffnesses (8, 2) in the first valley and (0.5, 1) in the second, temperature = 0.6",
        ),
        Case((bottoms, stiffness, between(g, 0.4, 0.8)), "hidden valleys in three dimensions"),
        Case((bottoms[:2] - 900, stiffness[:2, :1], between(g, 0.7, 0.9)), "hidden valleys that lie very deep"),
    )


def valleys_that_overflow(bottoms, stiffness, temperature):
    weights = torch.exp(-bottoms / temperature) / stiffness.prod(dim=1).sqrt()
    return weights / weights.sum()


SHARES_OF_VALLEYS = Exercise(
    id="lab01-02.boltzmann.valleys",
    name="shares_of_valleys",
    stub='''
def shares_of_valleys(bottoms, stiffness, temperature):
    """The fraction of the walkers in each of K valleys, (K,). bottoms: energies (K,). stiffness: (K, d)."""
    ...  # your code
''',
    solution=shares_of_valleys,
    alternative=shares_of_valleys_by_weights,
    why=(
        "The weight of a bowl is e^(-U0 / k_B T) times the product of the widths sqrt(2 pi k_B T / kappa). All bowls "
        "have the same number of widths, so that the temperature and 2 pi in them drop out of the fractions."
    ),
    truth=shares_of_valleys_truth,
    cases=shares_of_valleys_cases,
    hints=(),
    wrong=(
        Wrong(
            "all equally wide",
            lambda bottoms, stiffness, temperature: torch.softmax(-bottoms / temperature, dim=0),
            "You weigh the valleys by the energy of their bottoms alone. A wide valley holds more walkers than a "
            "narrow one of the same depth.",
            UNSEEN,
        ),
        Wrong(
            "the exponential overflows",
            valleys_that_overflow,
            "Your formula is right, but its exponentials overflow where the energies are very low, so that you divide "
            "infinity by infinity. An energy is defined only up to a constant, and you may choose that constant.",
            "rust-ml/linfa#443",
        ),
        Wrong(
            "no root of the stiffness",
            lambda bottoms, stiffness, temperature: torch.softmax(
                -bottoms / temperature - stiffness.log().sum(dim=1), dim=0
            ),
            "You divide by the stiffness. The width of a bowl is a standard deviation, which goes as one over the "
            "*root* of the stiffness.",
            UNSEEN,
        ),
        Wrong(
            "temperature 1",
            lambda bottoms, stiffness, temperature: torch.softmax(-bottoms - stiffness.log().sum(dim=1) / 2, dim=0),
            "Your fractions do not depend on the temperature. Boltzmann's exponent is the energy in units of k_B T.",
            UNSEEN,
        ),
        Wrong(
            "the sign of the energy",
            lambda bottoms, stiffness, temperature: torch.softmax(
                bottoms / temperature - stiffness.log().sum(dim=1) / 2, dim=0
            ),
            "Your highest valley holds the most walkers. The exponent is *minus* the energy over k_B T.",
            "soran-ghaderi/torchebm#318",
        ),
        Wrong(
            "the widths divided by the temperature",
            lambda bottoms, stiffness, temperature: torch.softmax(
                -(bottoms + stiffness.log().sum(dim=1) / 2) / temperature, dim=0
            ),
            "You divide the logarithm of the widths by the temperature as well. Only the energy stands over k_B T: a "
            "width is a volume that counts walkers, whatever the temperature.",
            UNSEEN,
        ),
        Wrong(
            "the widths upside down",
            lambda bottoms, stiffness, temperature: torch.softmax(
                -bottoms / temperature + stiffness.log().sum(dim=1) / 2, dim=0
            ),
            "You give more weight to a stiff valley than to a soft one. But a stiff valley is narrow, so that fewer "
            "walkers find room in it.",
            UNSEEN,
        ),
    ),
)


def mean_at(values, energy, old, new):
    return (torch.softmax(energy / old - energy / new, dim=0) * values).sum()


def mean_at_by_weights(values, energy, old, new):
    exponent = -(1 / new - 1 / old) * energy
    weights = torch.exp(exponent - exponent.max())
    return weights @ values / weights.sum()


def mean_at_truth(values, energy, old, new):  # in plain numbers, from the mean energy up
    middle = float(energy.mean())
    pairs = [
        (math.exp((u - middle) / old - (u - middle) / new), v)
        for u, v in zip(energy.tolist(), values.tolist(), strict=True)
    ]
    return math.fsum(w * v for w, v in pairs) / math.fsum(w for w, _ in pairs)


def mean_at_cases(g):
    energy = 3 * torch.rand(30, generator=g, dtype=EXACT)
    values = 2 + torch.randn(30, generator=g, dtype=EXACT) + energy
    old, new = between(g, 1.1, 1.3), between(g, 0.5, 0.7)
    cold, hot = between(g, 0.6, 0.7), between(g, 1.1, 1.2)
    plain = torch.tensor([0.2, 0.5, 1.5, 3.0], dtype=EXACT)
    return (
        Case(
            (torch.tensor([1.0, 4.0, 2.0, 8.0], dtype=EXACT), plain, 1.5, 0.6),
            "values = (1, 4, 2, 8), energy = (0.2, 0.5, 1.5, 3), from old = 1.5 to new = 0.6",
        ),
        Case((values, energy, old, new), "hidden walkers, from a high temperature to a low one"),
        Case((values[:12], energy[:12] - 5000, cold, hot), "hidden walkers with low energies, from cold to hot"),
    )


def mean_with_plain_weights(values, energy, old, new):
    weights = torch.exp(energy / old - energy / new)
    return (weights * values).sum() / weights.sum()


MEAN_AT = Exercise(
    id="lab01-02.boltzmann.reweighting",
    name="mean_at",
    stub='''
def mean_at(values, energy, old, new):
    """The mean of the values at temperature new, from walkers at temperature old. values, energy: (walkers,)."""
    ...  # your code
''',
    solution=mean_at,
    alternative=mean_at_by_weights,
    why=(
        "The walkers come with the density e^(-U / old), and the wanted one is e^(-U / new). So each walker counts "
        "with the ratio e^(-U / new + U / old), divided by the sum of all ratios, because Z is not known."
    ),
    truth=mean_at_truth,
    cases=mean_at_cases,
    hints=(),
    wrong=(
        Wrong(
            "the new weights alone",
            lambda values, energy, old, new: (torch.softmax(-energy / new, dim=0) * values).sum(),
            "You weigh each walker by e^(-U / new). But low energies are frequent among these walkers already, since "
            "they come from the old temperature, so you count Boltzmann's factor twice.",
            UNSEEN,
        ),
        Wrong(
            "upside down",
            lambda values, energy, old, new: (torch.softmax(energy / new - energy / old, dim=0) * values).sum(),
            "Your weights are upside down: cooling gives more weight to high energies. The wanted density stands "
            "above the old one.",
            UNSEEN,
        ),
        Wrong(
            "the difference of the temperatures",
            lambda values, energy, old, new: (torch.softmax(-energy / (new - old), dim=0) * values).sum(),
            "You divide the energy by the difference of the temperatures. It is their reciprocals that are subtracted.",
            UNSEEN,
        ),
        Wrong(
            "the ratio of the temperatures",
            lambda values, energy, old, new: (torch.softmax(-energy * old / new, dim=0) * values).sum(),
            "You multiply the energy by the ratio of the temperatures. Divide one of Boltzmann's factors by the other "
            "instead, and look at the exponent that is left.",
            UNSEEN,
        ),
        Wrong(
            "weights that do not add up to 1",
            lambda values, energy, old, new: (torch.exp(energy / old - energy / new) * values).mean(),
            "You divide by the number of walkers, so your weights do not add up to 1. Boltzmann's factor is a density "
            "only up to Z, which is another number at each temperature.",
            UNSEEN,
        ),
        Wrong(
            "the exponential leaves the range of numbers",
            mean_with_plain_weights,
            "Your formula is right, but where the energies are very low all its exponentials are 0 or infinite. An "
            "energy is defined only up to a constant, and you may choose that constant.",
            "rust-ml/linfa#443",
        ),
    ),
)


# scheme: what Euler-Maruyama steps do in a bowl, but on the way to rest, or between two times


def variance_after(steps, variance, stiffness, temperature, dt):
    kept = (1 - stiffness * dt) ** 2
    for _ in range(steps):
        variance = kept * variance + 2 * temperature * dt
    return variance


def variance_after_in_closed_form(steps, variance, stiffness, temperature, dt):
    h = stiffness * dt
    rest = temperature / stiffness / (1 - h / 2)
    return rest + (1 - h) ** (2 * steps) * (variance - rest)


def variance_after_truth(steps, variance, stiffness, temperature, dt):  # all kicks, each with the factor it ends with
    factors = [(1 - stiffness * dt) ** j for j in range(steps + 1)]  # after j more steps
    kicks = math.fsum(factor**2 for factor in factors[:-1])
    return variance * factors[-1] ** 2 + kicks * math.sqrt(2 * temperature * dt) ** 2


def variance_after_cases(g):
    return (
        Case((3, 2.0, 1.6, 0.7, 0.2), "steps = 3, variance = 2, stiffness = 1.6, temperature = 0.7 and dt = 0.2"),
        Case((5, between(g, 3, 5), between(g, 1.2, 1.7), between(g, 0.5, 0.8), 0.13), "a hidden wide cloud"),
        Case((4, between(g, 0.05, 0.2), between(g, 0.6, 0.8), between(g, 1.6, 2.4), 0.3), "a hidden narrow cloud"),
    )


def factor_of_x(steps, variance, stiffness, temperature, dt):
    for _ in range(steps):
        variance = (1 - stiffness * dt) * variance + 2 * temperature * dt
    return variance


def kicks_that_stay(steps, variance, stiffness, temperature, dt):
    return (1 - stiffness * dt) ** (2 * steps) * variance + 2 * temperature * dt * steps


def rest_of_boltzmann(steps, variance, stiffness, temperature, dt):
    rest = temperature / stiffness
    return rest + (1 - stiffness * dt) ** (2 * steps) * (variance - rest)


def exact_jumps(steps, variance, stiffness, temperature, dt):
    rest = temperature / stiffness
    return rest + math.exp(-2 * stiffness * steps * dt) * (variance - rest)


def kicks_without_the_two(steps, variance, stiffness, temperature, dt):
    for _ in range(steps):
        variance = (1 - stiffness * dt) ** 2 * variance + temperature * dt
    return variance


def kicks_with_dt_squared(steps, variance, stiffness, temperature, dt):
    for _ in range(steps):
        variance = (1 - stiffness * dt) ** 2 * variance + 2 * temperature * dt**2
    return variance


VARIANCE_AFTER = Exercise(
    id="lab01-02.scheme.steps",
    name="variance_after",
    stub='''
def variance_after(steps, variance, stiffness, temperature, dt):
    """The exact variance of x after so many Euler-Maruyama steps in a bowl on a line, at mobility 1. All numbers."""
    ...  # your code
''',
    solution=variance_after,
    alternative=variance_after_in_closed_form,
    why=(
        "A step multiplies x by 1 - kappa dt, and so the variance by its square, and it adds a fresh kick of variance "
        "2 k_B T dt."
    ),
    truth=variance_after_truth,
    cases=variance_after_cases,
    hints=(),
    wrong=(
        Wrong(
            "the factor of x",
            factor_of_x,
            "You multiply the variance by 1 - kappa dt. That is what a step does to x, and a factor acts on a variance "
            "by its square.",
            UNSEEN,
        ),
        Wrong(
            "kicks that stay",
            kicks_that_stay,
            "You add up the kicks of all steps as they are. But a kick is part of x afterwards, so that later steps "
            "shrink it too.",
            UNSEEN,
        ),
        Wrong(
            "Boltzmann's variance at the end",
            rest_of_boltzmann,
            "Your start fades as it should, by powers of 1 - kappa dt, but your variance goes to k_B T / kappa. That "
            "is the limit of short steps, and steps of this length end at a larger one.",
            "notebook 02, section 5",
        ),
        Wrong(
            "continuous time",
            exact_jumps,
            "Your formula is that of continuous time, with an exponential. Asked for is what the *steps* do, and these "
            "are not short.",
            "notebook 04, section 1",
        ),
        Wrong(
            "the 2 is missing",
            kicks_without_the_two,
            "The 2 is missing: a kick has the variance 2 k_B T dt.",
            "google-research/ibc#6",
        ),
        Wrong(
            "dt squared",
            kicks_with_dt_squared,
            "Your kicks have the variance 2 k_B T dt², as if the noise were multiplied by dt. It is multiplied by the "
            "root of dt.",
            "jason-ash/pyesg#73, uclales/uclales#7",
        ),
    ),
)


def covariance_at_lag(lag, stiffness, temperature, dt):
    h = stiffness * dt
    return (1 - h) ** lag * temperature / stiffness / (1 - h / 2)


def covariance_at_lag_by_steps(lag, stiffness, temperature, dt):
    factor = 1 - stiffness * dt
    covariance = 2 * temperature * dt / (1 - factor**2)  # of x with itself: at rest a step does not change it
    for _ in range(lag):
        covariance = factor * covariance
    return covariance


def covariance_at_lag_truth(lag, stiffness, temperature, dt):  # the kicks that both times have in common
    age = torch.arange(4000, dtype=EXACT)
    early, late = (1 - stiffness * dt) ** age, (1 - stiffness * dt) ** (age + lag)
    return float((early * late).sum()) * 2 * temperature * dt


def covariance_at_lag_cases(g):
    return (
        Case((3, 1.6, 0.7, 0.2), "lag = 3, stiffness = 1.6, temperature = 0.7 and dt = 0.2"),
        Case((5, between(g, 1.2, 1.7), between(g, 0.5, 0.8), 0.13), "a hidden bowl, with short steps"),
        Case((2, between(g, 0.6, 0.8), between(g, 1.6, 2.4), 0.6), "a hidden bowl, with long steps"),
    )


COVARIANCE_AT_LAG = Exercise(
    id="lab01-02.scheme.lag",
    name="covariance_at_lag",
    stub='''
def covariance_at_lag(lag, stiffness, temperature, dt):
    """The exact mean of x_k x_(k + lag) at rest, for Euler-Maruyama steps in a bowl on a line, at mobility 1."""
    ...  # your code
''',
    solution=covariance_at_lag,
    alternative=covariance_at_lag_by_steps,
    why=(
        "The new kicks are independent of x_k, so each step multiplies the mean of the product by 1 - kappa dt. It "
        "begins with the variance at rest of the steps, k_B T / kappa / (1 - h / 2)."
    ),
    truth=covariance_at_lag_truth,
    cases=covariance_at_lag_cases,
    hints=(),
    wrong=(
        Wrong(
            "Boltzmann's variance",
            lambda lag, stiffness, temperature, dt: (1 - stiffness * dt) ** lag * temperature / stiffness,
            "Your memory fades as it should, by powers of 1 - kappa dt, but you begin with the variance k_B T / kappa. "
            "That is the limit of short steps, and with steps of this length the cloud at rest is wider.",
            "notebook 02, section 5",
        ),
        Wrong(
            "continuous time",
            lambda lag, stiffness, temperature, dt: math.exp(-stiffness * lag * dt) * temperature / stiffness,
            "Both your variance and your memory are those of continuous time. Asked for is what the *steps* do, and "
            "these are not short.",
            "notebook 04, section 1",
        ),
        Wrong(
            "an exponential for the factor",
            lambda lag, stiffness, temperature, dt: (
                math.exp(-stiffness * lag * dt) * temperature / stiffness / (1 - stiffness * dt / 2)
            ),
            "Your variance is that of the steps, but your memory fades as in continuous time. A step multiplies x by "
            "1 - kappa dt, which is not quite an exponential.",
            UNSEEN,
        ),
        Wrong(
            "the factor squared",
            lambda lag, stiffness, temperature, dt: (
                (1 - stiffness * dt) ** (2 * lag) * temperature / stiffness / (1 - stiffness * dt / 2)
            ),
            "You square the factor of each step, as for a variance. But only one of the two places in the product has "
            "made these steps.",
            UNSEEN,
        ),
        Wrong(
            "the correlation",
            lambda lag, stiffness, temperature, dt: (1 - stiffness * dt) ** lag,
            "You return the correlation, which is 1 at lag 0. Asked for is the mean of the product, which is the "
            "variance there.",
            UNSEEN,
        ),
        Wrong(
            "h for h / 2",
            lambda lag, stiffness, temperature, dt: (
                (1 - stiffness * dt) ** lag * temperature / stiffness / (1 - stiffness * dt)
            ),
            "Your variance at rest is too large: its denominator is not 1 - h. Write down once more what a step does "
            "to the variance, and ask when it stays the same.",
            UNSEEN,
        ),
    ),
)


LAB = Lab(
    number="01-02",
    title="Random walks and Langevin steps",
    after=("01", "02"),
    problems=(
        Problem(
            name="diffusion",
            points=3,
            variants=(
                Variant(
                    DIFFUSION_IN_WIND,
                    "Walkers in a wind: in a time $t$ each of them is displaced by $u\\,t$ plus a Brownian "
                    "displacement. The vector $u$, with $d$ components, is the same for all walkers and not known, "
                    "and $D$ is the same on all axes. `paths` (frames, walkers, d) holds their positions, and $dt$ is "
                    "the time from one frame to the next. Estimate $D$ from the *first and the last* frame only: take "
                    "the mean square of the displacements around their mean, with means that divide by the number of "
                    "walkers (not by that number minus 1), and use all $d$ axes.",
                    "notebook 01, section 1",
                ),
                Variant(
                    DIFFUSION_AT_LAG,
                    "A film of free walkers holds more than its first and last frame. `paths` (frames, walkers, d) "
                    "holds their positions, and $dt$ is the time from one frame to the next. A pair of frames $k$ and "
                    "$k + \\ell$ lies $\\ell$ frames apart; $\\ell$ is the argument `lag`, at least 1. Estimate $D$, "
                    "which is the same on all axes, from the mean squared displacement over *all* such pairs, also "
                    "those that overlap, and over all walkers. There is no wind, so do not subtract a mean.",
                    "notebook 01, section 1",
                ),
            ),
        ),
        Problem(
            name="step",
            points=3,
            variants=(
                Variant(
                    STEP_BY_AXIS,
                    "A long particle moves more easily along its axis than across it. So let the mobility differ from "
                    "axis to axis: on axis $i$ it is $\\mu_i$, in `mobility` (d,). You get the places $x$ of the "
                    "walkers and the force on each of them, both (walkers, d), the temperature $k_BT$ as a number, "
                    "the time step $dt$, and a generator. Write one step of the Langevin equation (Euler–Maruyama), "
                    "such that the cloud ends at the temperature $k_BT$ on every axis. Return the new places.",
                    "notebook 02, section 2",
                ),
                Variant(
                    STEP_BY_RADIUS,
                    "A large ball moves through honey less easily than a small one. So let each walker have a radius "
                    "of its own, in `radius` (walkers,). In our units a walker of radius $a$ has the mobility "
                    "$\\mu = 1/a$ on every axis. You get the places $x$ of the walkers and the force on each of them, "
                    "both (walkers, d), the temperature $k_BT$ as a number, the time step $dt$, and a generator. "
                    "Write one step of the Langevin equation (Euler–Maruyama), such that walkers of every size end at "
                    "the temperature $k_BT$. Return the new places.",
                    "notebook 02, section 2",
                ),
            ),
        ),
        Problem(
            name="crowd",
            points=3,
            variants=(
                Variant(
                    CROWD_BETWEEN_WALLS,
                    "Cut a line into cells, and put a wall at the left of the first cell and at the right of the last "
                    "one. In one step a walker hops to the right with probability $r$ and to the left with "
                    "probability $r$, and rests otherwise. If a wall is in the way of its hop, it stays in its cell. "
                    "`p` (cells,) holds the fraction of a very large crowd in each cell. Return the fractions after "
                    "one step as a new tensor, and leave `p` as it is. There are at least three cells.",
                    "notebook 01, section 4",
                ),
                Variant(
                    CROWD_IN_THE_PLANE,
                    "Cut the plane into square cells. In one step a walker hops with probability $r$ to each of its "
                    "four neighbours, which are the cells above, below, left and right of its own, and rests "
                    "otherwise. `p` (rows, columns) holds the fraction of a very large crowd in each cell. To have no "
                    "walls, both directions are bent into rings: the last row is a neighbour of the first one, and "
                    "the last column of the first one. Return the fractions after one step as a new tensor, and leave "
                    "`p` as it is.",
                    "notebook 01, section 4",
                ),
            ),
        ),
        Problem(
            name="boltzmann",
            points=4,
            variants=(
                Variant(
                    SHARES_OF_VALLEYS,
                    "A landscape in $d$ dimensions has $K$ valleys with high barriers between them. Near its bottom, "
                    "valley $k$ is a bowl, $U = U_k + \\tfrac12\\sum_i \\kappa_{ki}\\,u_i^2$, where $u$ is the vector "
                    "from the bottom to the walker. `bottoms` (K,) holds the energies $U_k$, `stiffness` (K, d) the "
                    "$\\kappa_{ki}$, and `temperature` is $k_BT$, a number. Which fraction of the walkers is in each "
                    "valley in equilibrium? Treat each valley as a whole bowl, as if this formula held at every "
                    "distance. The fractions add up to 1, and your function must also work with energies as low as "
                    "$-1000$.",
                    "notebook 02, section 7",
                ),
                Variant(
                    MEAN_AT,
                    "Walkers were drawn from the Boltzmann distribution of a landscape at one temperature, and you "
                    "want to know a mean at another temperature without new walkers. `old` and `new` are both "
                    "temperatures, as $k_BT$. For each walker you know its energy $U$, in `energy` (walkers,), and a "
                    "quantity of interest, in `values` (walkers,). Estimate the mean of this quantity at the "
                    "temperature `new` by a weighted mean of `values`. The weights add up to 1, no partition function "
                    "$Z$ is known, and your function must also work with energies as low as $-3000$.",
                    "notebook 02, section 7",
                ),
            ),
        ),
        Problem(
            name="scheme",
            points=4,
            variants=(
                Variant(
                    VARIANCE_AFTER,
                    "Walkers on a line make Euler–Maruyama steps of the Langevin equation in the bowl "
                    "$U = \\tfrac12\\kappa x^2$, at mobility 1, from a start of mean 0. `variance` is the variance of "
                    "$x$ at the start, `stiffness` is $\\kappa$, `temperature` is $k_BT$, and all are numbers. Return "
                    "the exact variance of $x$ after `steps` steps of the length $dt$. The steps are not short, so "
                    "what they really do is asked for, and not what happens in continuous time.",
                    "notebook 02, section 5",
                ),
                Variant(
                    COVARIANCE_AT_LAG,
                    "Walkers on a line have made Euler–Maruyama steps of the Langevin equation in the bowl "
                    "$U = \\tfrac12\\kappa x^2$, at mobility 1, for so long that their variance no longer changes. "
                    "Return the exact mean of the product $x_k\\,x_{k+\\ell}$ of a walker's places after $k$ and after "
                    "$k + \\ell$ steps, where $\\ell$ is the argument `lag`. `stiffness` is $\\kappa$, `temperature` "
                    "is $k_BT$, and all are numbers. The steps of the length $dt$ are not short, so what they really "
                    "do is asked for, and not what happens in continuous time.",
                    "notebook 02, section 5",
                ),
            ),
        ),
    ),
    plot=Plot(
        prompt=(
            "Put 20,000 walkers at the bottom of a bowl, $x = 0$ on a line, once with stiffness $\\kappa = 4$ and "
            "once with $\\kappa = 0.25$. Let them make Langevin steps at $k_BT = 1$, mobility 1 and $dt = 0.01$ until "
            "time 20. Draw the mean of $x^2$ over the time, both curves in one figure with two logarithmic axes, from "
            "the first step on, since such an axis has no 0. Explain in about six sentences why both curves begin "
            "on the same line, at about which time each of them leaves it and why then, and at which heights they "
            "end. Then say what both curves would look like at twice the temperature, and why."
        ),
        rubric=(
            (
                1,
                "It says that both begin on the line 2 k_B T t, that is 2t, of free walkers, because near the bottom "
                "the force is small and the kicks do not depend on the stiffness.",
            ),
            (
                1,
                "It says that a curve bends where the free spread 2t reaches 1 / kappa, at a time of about "
                "1 / (2 kappa): 0.125 in the stiff bowl and 2 in the soft one. There the force takes away as much "
                "variance as the kicks bring.",
            ),
            (
                1,
                "It says that the curves end at k_B T / kappa, 0.25 and 4. The stiff one ends 2 % higher, at 0.255, "
                "because h = 0.04, but nobody has to see this.",
            ),
            (
                1,
                "It says that at twice the temperature both curves are twice as high at every time, and bend at the "
                "same times, because the bend depends on the stiffness and the mobility and not on the temperature.",
            ),
        ),
    ),
)
