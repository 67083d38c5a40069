"""The exercises of notebook 08, score matching: 8.1 to 8.4 in its flow, 8.5 to 8.9 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math

import torch

from minidiff import schedules
from minidiff.checks.records import RNG, Case, Exercise, Question, Wrong, WrongValue
from minidiff.checks.views import flat, means, moments_of, normal
from minidiff.paths import GaussianPath

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Score matching"
DOUBLE = torch.float64


# 8.1 dsm_loss


def dsm_loss(score, x, sigma, g):
    eps = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return (score(x + sigma * eps) + eps / sigma).square().sum(dim=1)


def dsm_loss_from_the_points(score, x, sigma, g):
    noisy = torch.empty_like(x).normal_(generator=g).mul_(sigma).add_(x)
    target = (x - noisy) / sigma**2
    return torch.linalg.vector_norm(score(noisy) - target, dim=1) ** 2


def dsm_truth(score, x, sigma, g):  # from the density of the noisy points, whose score is the target
    kernel = torch.distributions.Normal(x.double(), sigma)
    y = torch.normal(x, torch.full_like(x, sigma), generator=g).double().requires_grad_()
    (target,) = torch.autograd.grad(kernel.log_prob(y).sum(), y)
    y = y.detach().to(x.dtype)
    return torch.sum((target.to(x.dtype) - score(y)) ** 2, dim=-1)


def score_of_the_unit_normal(x):
    return -x


def score_off_centre(x):  # of a normal distribution around (1, -2, 3), of variance 4 on each axis
    return (torch.tensor([1.0, -2.0, 3.0], dtype=x.dtype) - x) / 4


def dsm_cases(g):
    sigma = round(0.5 + 0.2 * float(torch.rand((), generator=g)), 3)  # not 1, where sigma and sigma² are one number
    x = 0.5 * torch.randn(100, 3, generator=g, dtype=DOUBLE) + 1
    return (
        Case(
            (score_of_the_unit_normal, torch.ones(200, 1), 0.8, RNG), "score(x) = -x, x = 1 (200 times) and sigma = 0.8"
        ),
        Case(
            (score_off_centre, x, sigma, RNG),
            f"score(x) = (c - x) / 4 with c = (1, -2, 3), 100 points in float64 and sigma = {sigma}",
        ),
    )


def dsm_numbers(out, score, x, sigma):
    return means(
        {
            "the mean loss": out,
            "the mean square of the losses": out**2,
            "the mean root of the losses": out.abs().sqrt(),
            "the variance of the losses within one call": out.var(dim=1, keepdim=True),
        }
    )


def dsm_wrong(name, loss, message, seen="not seen in public yet", noise=normal):
    """A wrong answer: loss(score, x, noisy points, eps, sigma) -> (B,)."""

    def answer(score, x, sigma, g):
        eps = noise(x, g)
        return loss(score, x, x + sigma * eps, eps, sigma)

    return Wrong(name, answer, message, seen)


def squared(residual):
    return residual.square().sum(dim=1)


def right_loss(score, x, y, eps, sigma):
    return squared(score(y) + eps / sigma)


DSM_LOSS = Exercise(
    id="8.1",
    name="dsm_loss",
    stub='''
def dsm_loss(score, x, sigma, g):
    """The squared norm of score + eps / sigma at noisy points, one for each of the points x (B, d). Returns (B,)."""
    ...  # your code
''',
    solution=dsm_loss,
    alternative=dsm_loss_from_the_points,
    why=(
        "The target is the score of the noise, -eps / sigma, or (x - noisy) / sigma². Its mean at a given noisy point "
        "is\n"
        "the score of the noisy data, and least squares finds that mean. One noise makes both the point and the target."
    ),
    truth=dsm_truth,
    cases=dsm_cases,
    view=dsm_numbers,
    calls=220,
    hints=(
        "Draw eps of the shape of x. Where is the noisy point, and at which point do you evaluate the score?",
        "The target is -eps / sigma. What do you get if you subtract it from the score?",
        "A squared norm is the sum of the squares over the coordinates, dim=1. Do not take the mean over the points.",
    ),
    wrong=(
        dsm_wrong(
            "the sign of the target",
            lambda score, x, y, eps, sigma: squared(score(y) - eps / sigma),
            "The sign is wrong: you compare the score with +eps / sigma. A score points back to the data, against the "
            "noise. Walkers that follow the opposite go downhill and never come back.",
            "soran-ghaderi/torchebm#318, acids-ircam/diffusion_models#11, lebellig/flow-matching#2",
        ),
        dsm_wrong(
            "eps for eps / sigma",
            lambda score, x, y, eps, sigma: squared(score(y) + eps),
            "Your target is -eps. That is the target of a network that predicts noise. The score is smaller by the "
            "factor sigma: -eps / sigma.",
            "acids-ircam/diffusion_models#5",
        ),
        dsm_wrong(
            "eps / sigma²",
            lambda score, x, y, eps, sigma: squared(score(y) + eps / sigma**2),
            "You divide eps by sigma². The formula with sigma² has the displacement above the line, noisy - x, which "
            "is sigma times eps.",
            "yang-song/score_sde_pytorch#26",
        ),
        dsm_wrong(
            "the displacement, not divided",
            lambda score, x, y, eps, sigma: squared(score(y) + sigma * eps),
            "Your target is x - noisy, the way back to the data. The score is this way divided by sigma².",
        ),
        dsm_wrong(
            "the score at the clean points",
            lambda score, x, y, eps, sigma: squared(score(x) + eps / sigma),
            "You evaluate the score at the clean points x. It has to be evaluated at the noisy points, because the "
            "loss is about the noisy density.",
        ),
        Wrong(
            "noise without sigma",
            lambda score, x, sigma, g: squared(score(x + (eps := normal(x, g))) + eps / sigma),
            "You add eps and not sigma times eps, so your noisy points have noise of size 1 at every level.",
            "not seen in public yet",
        ),
        Wrong(
            "sigma² times the noise",
            lambda score, x, sigma, g: squared(score(x + sigma**2 * (eps := normal(x, g))) + eps / sigma),
            "You add sigma² times eps. The factor before noise is a standard deviation, and that is sigma.",
            "not seen in public yet",
        ),
        Wrong(
            "two different noises",
            lambda score, x, sigma, g: squared(score(x + sigma * normal(x, g)) + normal(x, g) / sigma),
            "You draw the noise twice, once for the point and once for the target. Then the target knows nothing of "
            "the point, and the best answer is 0 everywhere. Draw once and use it in both places.",
            "not seen in public yet",
        ),
        dsm_wrong(
            "weighted already",
            lambda score, x, y, eps, sigma: squared(sigma * score(y) + eps),
            "Your loss has the factor sigma². That is a good weight where many levels are added up (section 7). Here "
            "one level is asked for, without a weight.",
            "Song and Ermon 2019, equation 6",
        ),
        dsm_wrong(
            "half of it",
            lambda *a: 0.5 * right_loss(*a),
            "You return half of the square. Papers often put ½ in front. In this notebook no loss has it.",
            "Song and Ermon 2019, equation 5",
        ),
        dsm_wrong(
            "the mean over the coordinates",
            lambda score, x, y, eps, sigma: (score(y) + eps / sigma).square().mean(dim=1),
            "You take the mean of the squares over the coordinates. A squared norm is their sum.",
        ),
        dsm_wrong(
            "the norm",
            lambda *a: right_loss(*a).sqrt(),
            "You return the norm and not its square. Only the square is smallest at the conditional mean.",
        ),
        dsm_wrong(
            "the sum before the square",
            lambda score, x, y, eps, sigma: (score(y) + eps / sigma).sum(dim=1) ** 2,
            "You add up the coordinates first and then square. Square each coordinate, then add up.",
        ),
        dsm_wrong(
            "one noise for all points",
            right_loss,
            "All points get the same noise, because you draw it for one point only and it is broadcast. Draw noise of "
            "the shape of x.",
            "jolibrain/joliGEN#527",
            lambda x, g: normal(x[:1], g).expand_as(x),
        ),
        dsm_wrong(
            "one noise for all axes",
            right_loss,
            "Each point gets one number as noise, and it is used on all axes. Draw noise of the shape of x.",
            "broadcasting of (B, 1)",
            lambda x, g: normal(x[:, :1], g).expand_as(x),
        ),
        dsm_wrong(
            "uniform noise",
            right_loss,
            "Your noise is uniform, of variance 1. The target -eps / sigma is the score of *Gaussian* noise only.",
            "acids-ircam/diffusion_models#8",
            flat,
        ),
    ),
)


# 8.2 step_sizes


def step_sizes(sigmas, smallest):
    return smallest * (sigmas / sigmas[-1]) ** 2


def step_sizes_with_eta(sigmas, smallest):
    eta = smallest / sigmas[-1] ** 2  # the step in units of sigma², the same at every level
    return eta * sigmas.square()


def step_sizes_truth(sigmas, smallest):  # from the last level up, from each level to the one before it
    sizes = [smallest]
    for low, high in zip(sigmas.tolist()[:0:-1], sigmas.tolist()[-2::-1], strict=True):
        sizes.insert(0, sizes[0] * math.exp(2 * math.log(high / low)))
    return torch.tensor(sizes, dtype=sigmas.dtype)


def step_sizes_cases(g):
    ratios = 0.4 + 0.4 * torch.rand(6, generator=g, dtype=DOUBLE)
    return (
        Case((torch.tensor([8.0, 4.0, 2.0]), 0.1), "sigmas = 8, 4, 2 and smallest = 0.1"),
        Case((9 * ratios.cumprod(0), 0.003), "six falling sigmas in float64 and smallest = 0.003"),
    )


STEP_SIZES = Exercise(
    id="8.2",
    name="step_sizes",
    stub='''
def step_sizes(sigmas, smallest):
    """The step size h of each level. sigmas: (L,), falling. The last level has h = smallest. Returns (L,)."""
    ...  # your code
''',
    solution=step_sizes,
    alternative=step_sizes_with_eta,
    why=(
        "The kick sqrt(2 h) z is the same fraction of sigma at every level if h is proportional to sigma². The drift\n"
        "h s is then at most a fixed fraction too, because s is at most about 1 / sigma. Song and Ermon's algorithm 1\n"
        "is the same, for twice h."
    ),
    truth=step_sizes_truth,
    cases=step_sizes_cases,
    hints=(
        "The kick is sqrt(2 h) z. Which power of sigma must h be, so that the kick is a fixed fraction of sigma?",
        "Check the drift too: h times a score of at most about 1 / sigma. Is it at most a fixed fraction of sigma?",
        "h is a constant times sigma². The last level fixes the constant.",
    ),
    wrong=(
        Wrong(
            "not squared",
            lambda sigmas, smallest: smallest * sigmas / sigmas[-1],
            "Your steps are proportional to sigma. Then the kick, sqrt(2 h), grows only as the root of sigma, and at "
            "high noise the walkers hardly move. Square the ratio.",
            "not seen in public yet",
        ),
        Wrong(
            "one size for all",
            lambda sigmas, smallest: torch.full_like(sigmas, smallest),
            "All your steps have the size of the smallest. At high noise it would take forever to cross the cloud.",
            "plain Langevin dynamics",
        ),
        Wrong(
            "the wrong way round",
            lambda sigmas, smallest: smallest * (sigmas[-1] / sigmas) ** 2,
            "Your ratio is upside down: the steps shrink where the noise grows.",
            "not seen in public yet",
        ),
        Wrong(
            "relative to the highest level",
            lambda sigmas, smallest: smallest * (sigmas / sigmas[0]) ** 2,
            "You divide by the highest sigma, so the first level gets `smallest` and the last one far less.",
            "not seen in public yet",
        ),
        Wrong(
            "not divided at all",
            lambda sigmas, smallest: smallest * sigmas**2,
            "You multiply by sigma² and do not divide by that of the last level. Then `smallest` is a number in units "
            "of sigma², which this notebook calls eta, and not the last step.",
            "Song and Ermon 2019, algorithm 1",
        ),
        Wrong(
            "divided by sigma once",
            lambda sigmas, smallest: smallest * sigmas**2 / sigmas[-1],
            "You square sigma above the line but not below it. The ratio of two levels has to be squared as a whole.",
            "not seen in public yet",
        ),
        Wrong(
            "smallest squared too",
            lambda sigmas, smallest: (smallest * sigmas / sigmas[-1]) ** 2,
            "You square `smallest` as well. Only the ratio of the sigmas is squared.",
            "a bracket too many",
        ),
        Wrong(
            "rising",
            lambda sigmas, smallest: (smallest * (sigmas / sigmas[-1]) ** 2).flip(0),
            "Your sizes are right but in the reverse order. The first level has the highest noise, so it has the "
            "largest step.",
            "levels rising",
        ),
        Wrong(
            "the root of the ratio",
            lambda sigmas, smallest: smallest * (sigmas / sigmas[-1]).sqrt(),
            "You take the root of the ratio where its square belongs.",
            "not seen in public yet",
        ),
        Wrong(
            "twice the size",
            lambda sigmas, smallest: 2 * smallest * (sigmas / sigmas[-1]) ** 2,
            "Your sizes are twice too large. Song and Ermon's alpha is 2 h, and h is asked for.",
            "Song and Ermon 2019, algorithm 1",
        ),
    ),
)


# 8.3 anneal


def anneal(score, x, sigmas, steps, eta, g):
    for sigma in sigmas:
        h = eta * sigma**2
        for _ in range(steps):
            z = torch.randn(x.shape, generator=g, dtype=x.dtype)
            x = x + h * score(x, sigma) + math.sqrt(2 * h) * z
    return x


def anneal_in_one_loop(score, x, sigmas, steps, eta, g):
    for sigma in [sigma for sigma in sigmas for _ in range(steps)]:
        kick = torch.empty_like(x).normal_(generator=g).mul_(sigma * (2 * eta) ** 0.5)
        x = kick.add_(x).add_(score(x, sigma), alpha=eta * sigma * sigma)
    return x


def anneal_truth(score, x, sigmas, steps, eta, g):  # each step draws from its normal distribution
    places = x
    for k in range(len(sigmas) * steps):
        level = sigmas[k // steps]
        uphill = eta * level**2 * score(places, level)
        places = torch.normal(places + uphill, torch.full_like(x, (2 * eta) ** 0.5 * level), generator=g)
    return places


CENTRE, VARIANCE = (1.0, -2.0), 0.25  # of the normal data of the second case


def noisy_unit_score(x, sigma):
    return -x / (1 + sigma**2)


def noisy_score(x, sigma):
    return (torch.tensor(CENTRE, dtype=x.dtype) - x) / (VARIANCE + sigma**2)


def anneal_cases(g):
    x = torch.tensor([4.0, 6.0], dtype=DOUBLE) + 2 * torch.randn(80, 2, generator=g, dtype=DOUBLE)
    eta = round(0.1 + 0.04 * float(torch.rand((), generator=g)), 3)
    return (
        Case(
            (noisy_unit_score, torch.full((100, 1), 3.0), [2.0], 1, 0.1, RNG),
            "score(x, sigma) = -x / (1 + sigma²), x = 3 (100 times), sigmas = [2], steps = 1 and eta = 0.1",
        ),
        Case(
            (noisy_score, x, [4.0, 0.5, 0.25], 3, eta, RNG),
            f"the score of noisy normal data, 80 points in float64, sigmas = [4, 0.5, 0.25], steps = 3 and eta = {eta}",
        ),
    )


def anneal_numbers(out, score, x, sigmas, steps, eta):
    mean = x
    for sigma in sigmas:  # the scores are linear, so the mean moves as a point without noise does
        for _ in range(steps):
            mean = mean + eta * sigma**2 * score(mean, sigma)
    return moments_of(out, mean, x)


def annealed(drift=1.0, kick=1.0, noise=normal, size=lambda eta, sigma: eta * sigma**2):
    """Annealed Langevin dynamics with its parts exchangeable: size gives h, and drift and kick multiply the parts."""

    def answer(score, x, sigmas, steps, eta, g):
        for sigma in sigmas:
            h = size(eta, sigma)
            for _ in range(steps):
                x = x + drift * h * score(x, sigma) + kick * math.sqrt(2 * h) * noise(x, g)
        return x

    return answer


def restarted(score, x, sigmas, steps, eta, g):
    for sigma in sigmas:
        y = x
        for _ in range(steps):
            y = y + eta * sigma**2 * score(y, sigma) + sigma * math.sqrt(2 * eta) * normal(x, g)
    return y


def one_draw_a_level(score, x, sigmas, steps, eta, g):
    for sigma in sigmas:
        z = normal(x, g)
        for _ in range(steps):
            x = x + eta * sigma**2 * score(x, sigma) + sigma * math.sqrt(2 * eta) * z
    return x


def at_the_first_level(score, x, sigmas, steps, eta, g):
    return annealed()(lambda y, _: score(y, sigmas[0]), x, sigmas, steps, eta, g)


def kicked_by_h(score, x, sigmas, steps, eta, g):
    for sigma in sigmas:
        for _ in range(steps):
            x = x + eta * sigma**2 * (score(x, sigma) + 2 * normal(x, g))
    return x


def noise_taken_for_score(score, x, sigmas, steps, eta, g):
    for sigma in sigmas:
        for _ in range(steps):
            x = x - eta * sigma * score(x, sigma) + sigma * math.sqrt(2 * eta) * normal(x, g)
    return x


def denoised_at_the_end(score, x, sigmas, steps, eta, g):
    x = annealed()(score, x, sigmas, steps, eta, g)
    return x + sigmas[-1] ** 2 * score(x, sigmas[-1])


ANNEAL = Exercise(
    id="8.3",
    name="anneal",
    stub='''
def anneal(score, x, sigmas, steps, eta, g):
    """Annealed Langevin dynamics from x (B, d): `steps` steps of size eta sigma^2 at each level. Returns (B, d)."""
    ...  # your code
''',
    solution=anneal,
    alternative=anneal_in_one_loop,
    why=(
        "Two loops: over the levels, and over the steps of a level. Each step adds h times the score at this level,\n"
        "and sqrt(2 h) times fresh noise, with h = eta sigma². The points go on from where the last level left them."
    ),
    truth=anneal_truth,
    cases=anneal_cases,
    view=anneal_numbers,
    calls=160,
    limit="The check makes three levels at most. With a real score, use as many as section 8 does.",
    hints=(
        "You need two loops, one inside the other. Which of them runs over the sigmas?",
        "One step: x + h s + sqrt(2 h) z, with the score at the present level and fresh noise z.",
        "h = eta * sigma**2. The points of one level are the start of the next.",
    ),
    wrong=(
        Wrong(
            "the root of h",
            annealed(kick=math.sqrt(0.5)),
            "Your kick is sqrt(h) z, without the 2. Then drift and kick do not balance, and the walkers end too near "
            "the tops.",
            "notebook 02",
        ),
        Wrong(
            "2 h for its root",
            kicked_by_h,
            "Your kick is 2 h z. The factor before noise is a standard deviation: sqrt(2 h).",
            "not seen in public yet",
        ),
        Wrong(
            "sigma not squared",
            annealed(size=lambda eta, sigma: eta * sigma),
            "Your step is eta sigma. It has to be eta sigma², so that the kick is the same fraction of sigma "
            "everywhere.",
            "not seen in public yet",
        ),
        Wrong(
            "eta alone",
            annealed(size=lambda eta, sigma: eta),
            "Your step is eta at every level. At high noise that is far too small, and at low noise too large.",
            "plain Langevin dynamics",
        ),
        Wrong(
            "downhill",
            annealed(drift=-1.0),
            "The sign of the score is turned around, so your walkers go downhill.",
            "soran-ghaderi/torchebm#318",
        ),
        Wrong(
            "half the drift",
            annealed(drift=0.5),
            "Your drift is h s / 2. That is Song and Ermon's form with the kick sqrt(h) z, for a step of 2 h. Here "
            "the two parts are mixed.",
            "Song and Ermon 2019, equation 4",
        ),
        Wrong(
            "twice the drift",
            annealed(drift=2.0),
            "Your drift is 2 h s. That is what an ancestral step does on its way to a lower noise. Langevin dynamics "
            "stays at one level.",
            "notebook 08, section 11",
        ),
        Wrong(
            "denoised at the end",
            denoised_at_the_end,
            "You take the noise off at the end, with a step to E[x0 | x]. That is a good end for a sampler, and the "
            "notebook does it next. Here the points after the last Langevin step are asked for.",
            "Jolicoeur-Martineau et al. 2021",
        ),
        Wrong(
            "one step a level",
            lambda score, x, sigmas, steps, eta, g: annealed()(score, x, sigmas, 1, eta, g),
            "You make one step at each level and ignore `steps`.",
            "not seen in public yet",
        ),
        Wrong(
            "levels rising",
            lambda score, x, sigmas, steps, eta, g: annealed()(score, x, sigmas[::-1], steps, eta, g),
            "You go through the levels in reverse order. The given order is the right one, from high noise to low.",
            "not seen in public yet",
        ),
        Wrong(
            "a new start at every level",
            restarted,
            "At each level you start again from the x that was given. Go on from where the level before ended.",
            "not seen in public yet",
        ),
        Wrong(
            "the last level is missing",
            lambda score, x, sigmas, steps, eta, g: annealed()(score, x, [*sigmas[:-1]], steps, eta, g),
            "The last level is missing. Make steps at all of the levels.",
            "off by one",
        ),
        Wrong(
            "one draw for a level",
            one_draw_a_level,
            "You draw the noise once for each level and use it in all its steps. Draw fresh noise for every step.",
            "not seen in public yet",
        ),
        Wrong(
            "the score of the first level",
            at_the_first_level,
            "You evaluate the score at the first level all the time. Hand it the sigma of the present level.",
            "not seen in public yet",
        ),
        Wrong(
            "noise taken for the score",
            noise_taken_for_score,
            "You treat the score as if it were predicted noise, with the step -eta sigma eps. `score` returns the "
            "score itself.",
            "not seen in public yet",
        ),
        Wrong(
            "no kick",
            annealed(kick=0.0),
            "There is no kick. Without noise this is ascent, and all walkers end on the tops.",
            "not seen in public yet",
        ),
        Wrong(
            "one noise for all points",
            annealed(noise=lambda x, g: normal(x[:1], g)),
            "All walkers get the same kick. Draw noise of the shape of x.",
            "jolibrain/joliGEN#527",
        ),
        Wrong(
            "uniform noise",
            annealed(noise=flat),
            "Your noise is uniform. Over many small steps that hardly matters, but a step of Langevin dynamics is "
            "normal: `torch.randn`.",
            "acids-ircam/diffusion_models#8",
        ),
    ),
)


# 8.4 score_from_eps


def score_from_eps(eps, path, t):
    sigma = path.sigma(t)
    if sigma.ndim:  # one time for each point: (B,) against (B, d)
        sigma = sigma[:, None]
    return -eps / sigma


def score_from_eps_by_rows(eps, path, t):
    times = t.expand(len(eps))
    return torch.stack([row / -path.sigma(time) for row, time in zip(eps, times, strict=True)])


def score_from_eps_truth(eps, path, t):  # a point with x0 = 0, and the gradient of its Gaussian
    alpha, sigma = path.alpha(t.reshape(-1, 1)), path.sigma(t.reshape(-1, 1))
    x = (sigma * eps).requires_grad_()
    log_q = torch.distributions.Normal(alpha * 0, sigma).log_prob(x)
    return torch.autograd.grad(log_q.sum(), x)[0]


def score_from_eps_cases(g):
    times = 0.2 + 0.6 * torch.rand(5, generator=g, dtype=DOUBLE)
    return (
        Case(
            (torch.tensor([[1.0, -2.0], [0.5, 3.0]]), schedules.ve(0.02, 10.0), torch.tensor(0.3)),
            "two points on schedules.ve(0.02, 10) at t = 0.3",
        ),
        Case(
            (torch.randn(5, 3, generator=g, dtype=DOUBLE), schedules.vp_linear(), times),
            "five points in three dimensions on schedules.vp_linear(), each at its own time",
        ),
    )


def converted(factor):
    """A wrong answer: factor(alpha, sigma) times eps."""

    def answer(eps, path: GaussianPath, t):
        return factor(path.alpha(t).reshape(-1, 1), path.sigma(t).reshape(-1, 1)) * eps

    return answer


SCORE_FROM_EPS = Exercise(
    id="8.4",
    name="score_from_eps",
    stub='''
def score_from_eps(eps, path, t):
    """The score of p_t at points whose predicted noise is eps (B, d), on any path. t: () or (B,). Returns (B, d)."""
    ...  # your code
''',
    solution=score_from_eps,
    alternative=score_from_eps_by_rows,
    why=(
        "The identity of section 6: E[eps | x_t] = -sigma times the score, so the score is -eps / sigma. There is no\n"
        "alpha in it, because the score is taken at x_t itself. At x_t / alpha it would be alpha times as large."
    ),
    truth=score_from_eps_truth,
    cases=score_from_eps_cases,
    hints=(
        "Which formula in section 6 connects the mean noise with the score?",
        "Solve it for the score. Which of alpha and sigma do you need?",
        "t may have the shape (B,), and eps has (B, d). `[:, None]` makes a column of a row.",
    ),
    wrong=(
        Wrong(
            "the sign",
            converted(lambda alpha, sigma: 1 / sigma),
            "The sign is missing. Noise leads away from the data, and the score back to them.",
            "soran-ghaderi/torchebm#318",
        ),
        Wrong(
            "not divided",
            converted(lambda alpha, sigma: -torch.ones_like(sigma)),
            "You turn the sign and do not divide by sigma. The score is larger where the noise is small.",
            "acids-ircam/diffusion_models#5",
        ),
        Wrong(
            "sigma squared",
            converted(lambda alpha, sigma: -1 / sigma**2),
            "You divide by sigma². That belongs to the displacement x_t - alpha x0, which is sigma times eps.",
            "yang-song/score_sde_pytorch#26",
        ),
        Wrong(
            "multiplied by sigma",
            converted(lambda alpha, sigma: -sigma),
            "You multiply by sigma. That is the way from a score to the noise; here you go from noise to score.",
            "not seen in public yet",
        ),
        Wrong(
            "the scale of another path",
            converted(lambda alpha, sigma: -alpha / sigma),
            "You divide by sigma / alpha, the noise of the VE path. That gives the score at x_t / alpha, and the score "
            "at x_t is asked for.",
            "deepinv/deepinv#736",
        ),
        Wrong(
            "divided by alpha too",
            converted(lambda alpha, sigma: -1 / (alpha * sigma)),
            "You divide by alpha as well. In the identity there is only sigma.",
            "deepinv/deepinv#736",
        ),
        Wrong(
            "divided by alpha only",
            converted(lambda alpha, sigma: -1 / alpha),
            "You divide by alpha, the factor of the data. The noise has the factor sigma.",
            "not seen in public yet",
        ),
        Wrong(
            "one time for all points",
            lambda eps, path, t: -eps / path.sigma(t.flatten()[0]),
            "You use the first time for all points. Every point may have its own.",
            "not seen in public yet",
        ),
        Wrong(
            "divided by the size of the noisy point",
            converted(lambda alpha, sigma: -1 / torch.hypot(alpha, sigma)),
            "You divide by sqrt(alpha² + sigma²), the size of a noisy point. Divide by sigma, the size of its noise.",
            "not seen in public yet",
        ),
    ),
)


# 8.5 hot_fraction


def hot_fraction():
    u = torch.linspace(-8, 8, 16001, dtype=torch.float64)
    left, right = (torch.exp(-((u - c) ** 2) / (2 * 0.28**2)) for c in (-0.96 * math.sqrt(2), 0.96 * math.sqrt(2)))
    hot = (0.2 * left + 0.8 * right) ** (1 / 5)
    return float(hot[u < 0].sum() / hot.sum())


HOT_FRACTION = Question(
    id="8.5",
    name="hot_fraction",
    stub="hot_fraction = None  # your number",
    right=(0.424, 0.439),
    solution=hot_fraction,
    why=(
        "Stronger kicks are a higher temperature: the walkers settle into p to the power 1/5. Each blob gets wider by\n"
        "sqrt(5), and its weight becomes proportional to its own fifth root. The roots of 0.2 and 0.8 are 0.725 and\n"
        "0.956, so the fraction is about 0.43. The barrier is five times lower, so walkers do cross."
    ),
    wrong=(
        WrongValue(
            "the weights of the data",
            (0.19, 0.21),
            "This is the weight in p. With stronger kicks the walkers settle into another density, in which the small "
            "blob has more than that.",
            "not seen in public yet",
        ),
        WrongValue(
            "one half",
            (0.495, 0.505),
            "One half is the limit of very strong kicks, or the start that walkers remember if they never cross. Here "
            "they cross, and the larger blob still has more of them.",
            "notebook 08, section 2",
        ),
        WrongValue(
            "the power 5",
            (0.0005, 0.0015),
            "This is p to the power 5, a low temperature. Stronger kicks make differences smaller and not larger.",
            "not seen in public yet",
        ),
        WrongValue(
            "the power 1/25",
            (0.483, 0.489),
            "This is p to the power 1/25. It belongs to kicks that are 5 times as strong, and not sqrt(5) times.",
            "not seen in public yet",
        ),
        WrongValue(
            "the power 1/sqrt(5)",
            (0.345, 0.355),
            "This is p to the power 1/sqrt(5). The temperature is the *square* of the factor of the kick.",
            "not seen in public yet",
        ),
        WrongValue(
            "the other side",
            (0.561, 0.576),
            "This is the fraction on the side of the upper right blob.",
            "not seen in public yet",
        ),
        WrongValue(
            "in percent",
            (42, 44),
            "This is the fraction in percent. Give a number between 0 and 1.",
            "not seen in public yet",
        ),
        WrongValue(
            "divided by 5",
            (0.038, 0.042),
            "A weight is not divided by 5. The density as a whole is raised to a power.",
            "not seen in public yet",
        ),
    ),
    hints=(
        "Write the step as in notebook 02, with a temperature. Which one has kicks sqrt(5) times as strong?",
        "exp(-U / 5) is p to the power 1/5, up to a constant. What becomes of 0.2 and 0.8?",
        "Add up p(u) to the power 1/5 on a grid, for u < 0 and for all u. The direction across does not matter.",
    ),
)


# 8.6 sliced_trace


def sliced_trace(score, x, g):
    xi = 2.0 * torch.randint(0, 2, x.shape, generator=g).to(x.dtype) - 1
    y = x.detach().clone().requires_grad_()
    (pulled,) = torch.autograd.grad((score(y) * xi).sum(), y)  # xi times the Jacobian, for each point
    return (pulled * xi).sum(dim=1)


def sliced_trace_by_a_product(score, x, g):
    xi = torch.sign(torch.rand(x.shape, generator=g, dtype=x.dtype) - 0.5)
    _, pulled = torch.autograd.functional.vjp(score, x, xi)
    return torch.einsum("bi,bi->b", xi, pulled)


def jacobians(score, x):
    """The Jacobian at each point, (B, d, d)."""
    x = x.detach().clone().requires_grad_()
    s = score(x)
    rows = [torch.autograd.grad(s[:, i].sum(), x, retain_graph=True)[0] for i in range(x.shape[1])]
    return torch.stack(rows, dim=1)


def sliced_truth(score, x, g):  # with the whole matrix, which the exercise is there to avoid
    signs = torch.where(torch.bernoulli(torch.full_like(x, 0.5), generator=g) > 0, 1.0, -1.0).to(x.dtype)
    return (signs[:, None] @ jacobians(score, x) @ signs[:, :, None]).reshape(-1)


def linear_score(x):
    return x @ torch.tensor([[-4.0, 1.0], [0.5, 1.0]], dtype=x.dtype).T


def curved_score(x):
    return torch.sin(x.roll(1, dims=1)) * 2 - x**3 + x[:, :1]


def sliced_cases(g):
    return (
        Case((linear_score, torch.ones(60, 2), RNG), "score(x, y) = (-4 x + y, x / 2 + y) at (1, 1), 60 times"),
        Case(
            (curved_score, torch.randn(60, 3, generator=g, dtype=DOUBLE), RNG),
            "a curved score at 60 points in three dimensions, in float64",
        ),
    )


def sliced_numbers(out, score, x):
    trace = jacobians(score, x).diagonal(dim1=1, dim2=2).sum(dim=1).double()
    return means(
        {
            "the mean": out,
            "the mean of the result times the trace": out * trace,
            "the mean square distance from the trace": (out - trace) ** 2,
            "the fourth moment of that distance": (out - trace) ** 4,
            "the mean product of the distances of one point and the next": (out - trace)[:, :-1] * (out - trace)[:, 1:],
        }
    )


def sliced(direction, form=lambda j, a: (a[:, None] @ j @ a[:, :, None]).reshape(-1)):
    """A wrong answer: another random direction, or another form of Jacobian and direction."""
    return lambda score, x, g: form(jacobians(score, x), direction(x, g))


def coin(x, g):
    return 2.0 * torch.randint(0, 2, x.shape, generator=g).to(x.dtype) - 1


def of_unit_length(x, g):
    a = normal(x, g)
    return a / a.norm(dim=1, keepdim=True)


SLICED_TRACE = Exercise(
    id="8.6",
    name="sliced_trace",
    stub='''
def sliced_trace(score, x, g):
    """An estimate of the trace of the Jacobian of score at each point, from one random direction of +1 and -1. (B,)"""
    ...  # your code
''',
    solution=sliced_trace,
    alternative=sliced_trace_by_a_product,
    why=(
        "The form is the sum of J_ij xi_i xi_j. For i = j the product of the signs is 1, and for i ≠ j its mean is 0, "
        "so\n"
        "the mean is the trace. One backward pass gives xi times J, whatever the dimension. For training, hand\n"
        "create_graph=True to autograd.grad, so that the loss can be differentiated once more."
    ),
    truth=sliced_truth,
    cases=sliced_cases,
    view=sliced_numbers,
    calls=120,
    limit="The check cannot see whether the graph is kept. For training it must be: create_graph=True.",
    hints=(
        "Multiply score(x) by xi, add up everything, and take the gradient with respect to x. What is that?",
        "The gradient is xi times the Jacobian, a vector for each point. Which product of it with xi is a number?",
        "x needs requires_grad_() first. Draw xi with `torch.randint(0, 2, x.shape, generator=g)`, as 2 times it - 1.",
    ),
    wrong=(
        Wrong(
            "normal directions",
            sliced(normal),
            "Your direction is normal. The mean is right, but the estimate scatters more: with +1 and -1 the diagonal "
            "does not scatter at all.",
            "Song et al. 2019, sliced score matching",
        ),
        Wrong(
            "directions of length 1",
            sliced(of_unit_length),
            "Your direction has length 1. Then the mean is the trace divided by the dimension.",
            "not seen in public yet",
        ),
        Wrong(
            "uniform directions",
            sliced(lambda x, g: 2 * torch.rand(x.shape, generator=g, dtype=x.dtype) - 1),
            "The entries of your direction are uniform between -1 and 1. Their mean square is 1/3, so you get a third "
            "of the trace.",
            "not seen in public yet",
        ),
        Wrong(
            "a coin of 0 and 1",
            sliced(lambda x, g: torch.randint(0, 2, x.shape, generator=g).to(x.dtype)),
            "Your coin shows 0 or 1. It has to be -1 or 1, so that mixed terms have mean 0.",
            "not seen in public yet",
        ),
        Wrong(
            "the square of the product",
            sliced(coin, lambda j, a: (a[:, None] @ j).square().sum(dim=(1, 2))),
            "You return the squared length of xi times the Jacobian. That is a mean over *squares* of its entries. "
            "Take the product with xi instead.",
            "not seen in public yet",
        ),
        Wrong(
            "not multiplied by xi again",
            sliced(coin, lambda j, a: (a[:, None] @ j).sum(dim=(1, 2))),
            "You add up xi times the Jacobian and do not multiply by xi again. Its mean is 0.",
            "not seen in public yet",
        ),
        Wrong(
            "one direction for all points",
            sliced(lambda x, g: coin(x[:1], g).expand_as(x)),
            "All points share one direction, so their errors do not average out. Draw one for each point.",
            "not seen in public yet",
        ),
        Wrong(
            "no signs",
            sliced(lambda x, g: torch.ones_like(x)),
            "All entries of your direction are equal, so you get the sum of the whole Jacobian. Draw a sign for every "
            "coordinate.",
            "not seen in public yet",
        ),
        Wrong(
            "divided by the dimension",
            sliced(coin, lambda j, a: (a[:, None] @ j @ a[:, :, None]).reshape(-1) / j.shape[1]),
            "You divide by the dimension, perhaps by a mean in place of a sum. The trace is a sum.",
            "not seen in public yet",
        ),
        Wrong(
            "the trace itself",
            sliced(lambda x, g: x, lambda j, a: j.diagonal(dim1=1, dim2=2).sum(dim=1)),
            "You compute the trace itself, with a pass for each coordinate. That is what an estimate from one pass "
            "should replace.",
            "notebook 08, section 4",
        ),
        Wrong(
            "the sign of the result",
            sliced(coin, lambda j, a: -(a[:, None] @ j @ a[:, :, None]).reshape(-1)),
            "The sign of your result is turned around.",
            "not seen in public yet",
        ),
    ),
)


# 8.7 budget


def budget():
    reach, eta = 0.96 * math.sqrt(2), 0.2  # the distribution along the line through the centres, on a grid
    x = torch.linspace(-36, 36, 901)
    moves = []
    for sigma in [0.02 * 500 ** (1 - k / 50) for k in range(1, 50)]:
        if sigma > 0.2:  # below, walkers no longer cross
            variance, h = 0.28**2 + sigma**2, eta * sigma**2
            mean = reach * torch.tanh(reach * x / variance + math.log(4) / 2)
            move = torch.exp(-((x[:, None] - x - h * (mean - x) / variance) ** 2) / (4 * h))
            moves.append(move / move.sum(dim=0))
    for steps in range(5, 41):  # with fewer, the walkers lag far behind
        p = torch.exp(-(x**2) / (2 * 101))
        for move in moves:
            for _ in range(steps):
                p = move @ p
        if p[x < 0].sum() / p.sum() < 0.22:
            return 49 * steps


BUDGET = Question(
    id="8.7",
    name="budget",
    stub="budget = None  # your number of evaluations",
    right=(430, 560),
    solution=budget,
    why=(
        "It takes about 10 steps at each of the 49 levels, or 490 evaluations. (9 and 11 are right too, because a\n"
        "simulation scatters.) With more steps the error falls, because the walkers lag less behind the noise. More\n"
        "levels near sigma = 0.5, where walkers stop crossing, make better use of the same budget."
    ),
    wrong=(
        WrongValue(
            "steps for evaluations",
            (8.5, 11.5),
            "This is the number of steps at one level. Multiply by the number of levels.",
            "not seen in public yet",
        ),
        WrongValue(
            "eight steps",
            (388, 405),
            "Eight steps a level just miss: the weight is off by 0.022 or 0.023. You need many walkers to see it.",
            "not seen in public yet",
        ),
        WrongValue(
            "the rule of thumb",
            (240, 260),
            "Five steps of size 0.2 make K eta = 1. That is a rule of thumb, and here the weight is still off by 0.03.",
            "notebook 08, section 9",
        ),
        WrongValue(
            "as in section 8",
            (1900, 2100),
            "This is what section 8 spends, with eta = 0.1. With eta = 0.2 far fewer are enough.",
            "notebook 08, section 8",
        ),
        WrongValue(
            "six or seven steps",
            (290, 352),
            "Six or seven steps a level are too few: the weight is off by more than 0.023. Only many walkers show it.",
            "not seen in public yet",
        ),
        WrongValue(
            "more than needed",
            (585, 915),
            "These are enough, but not the fewest. Make the number of steps at each level smaller, one by one.",
            "not seen in public yet",
        ),
        WrongValue(
            "half of section 8",
            (930, 1070),
            "These are enough, but not the fewest: with 20 steps a level the weight is off by 0.012 only.",
            "not seen in public yet",
        ),
        WrongValue(
            "one step a level",
            (45, 55),
            "With one step a level the weight is off by more than 0.1. The walkers cannot follow the falling noise.",
            "not seen in public yet",
        ),
    ),
    hints=(
        "Keep the 49 levels and lower the number of steps. How does the weight depend on it?",
        "Use 100,000 walkers, so that the weight scatters by 0.001 only. Try 4, 8 and 16 steps first.",
        "Between 5 and 16 steps a level, which is the smallest number that is good enough? Multiply it by 49.",
    ),
)


# 8.8 log10_steps


def log10_steps():
    from scipy.integrate import quad

    reach, std = 2 * 0.96 * math.sqrt(2), 0.28
    blobs = [(0.2, -reach), (0.8, reach)]

    def density(y):
        return sum(w * math.exp(-((y - c) ** 2) / (2 * std**2)) for w, c in blobs) / (math.sqrt(2 * math.pi) * std)

    def below(y):
        return sum(w / 2 * math.erfc((c - y) / (math.sqrt(2) * std)) for w, c in blobs)

    time = quad(lambda y: below(y) / density(y), -reach, reach, points=[0], limit=400)[0]
    return math.log10(time / 0.004)


LOG10_STEPS = Question(
    id="8.8",
    name="log10_steps",
    stub="log10_steps = None  # your number, such as 7.3",
    right=(20.95, 21.1),
    solution=log10_steps,
    why=(
        "The barrier is half the squared distance of a centre from the middle, over the variance of a blob. At twice\n"
        "the distance it is four times as high: 47 instead of 11.8. That alone is a factor of e^35, or 15 powers of\n"
        "ten. In section 8 the highest noise must exceed the largest distance of two points, which is now about 7 and\n"
        "still below 10. So nothing has to change there: annealing crosses at high noise, where there is no barrier."
    ),
    wrong=(
        WrongValue(
            "distance for squared distance",
            (10.95, 11.35),
            "You let the exponent grow with the distance. It grows with the *square* of the distance: four times, and "
            "not twice.",
            "not seen in public yet",
        ),
        WrongValue(
            "twice as long",
            (6.29, 6.38),
            "You made the trip twice as long. That holds for a walk at constant speed, and not over a barrier.",
            "not seen in public yet",
        ),
        WrongValue(
            "four times as long",
            (6.58, 6.7),
            "You made the trip four times as long, as for a free random walk. Here a barrier is in the way. (Or this "
            "is the trip back, at the old distance.)",
            "not seen in public yet",
        ),
        WrongValue(
            "unchanged",
            (5.95, 6.1),
            "This is the trip at the old distance.",
            "notebook 08, section 3",
        ),
        WrongValue(
            "the square of the time",
            (11.9, 12.2),
            "You squared the number of steps. Four times the barrier is the fourth power, apart from the factor in "
            "front.",
            "not seen in public yet",
        ),
        WrongValue(
            "from the large blob",
            (21.55, 21.7),
            "This is the trip from the large blob to the small one, which takes four times as long.",
            "not seen in public yet",
        ),
        WrongValue(
            "time for steps",
            (18.5, 18.75),
            "This is the time, and not the number of steps. Divide by the size of a step, 0.004.",
            "not seen in public yet",
        ),
        WrongValue(
            "the number itself",
            (1e4, math.inf),
            "Is this the number of steps itself? Give its logarithm to the base 10.",
            "not seen in public yet",
        ),
        WrongValue(
            "the natural logarithm",
            (48.2, 48.7),
            "This is the natural logarithm. The logarithm to the base 10 is asked for.",
            "not seen in public yet",
        ),
    ),
    hints=(
        "How high is the barrier, minus the logarithm of p in the middle, and how does it depend on the distance?",
        "REACH becomes twice as large in the formula of section 3. Nothing else changes.",
        "Compute trip_time with 2 * REACH, divide by 0.004, and take math.log10.",
    ),
)


# 8.9 table_eps


def table_eps(x, x0, eps, sigma, edges):
    where = torch.bucketize(x0 + sigma * eps, edges[1:-1])
    total = torch.zeros(len(edges) - 1, dtype=eps.dtype).index_add(0, where, eps)
    count = torch.bincount(where, minlength=len(edges) - 1)
    return (total / count.clamp(min=1))[torch.bucketize(x, edges[1:-1])]


def table_eps_by_bins(x, x0, eps, sigma, edges):
    result, noisy = torch.zeros_like(x), x0 + sigma * eps
    for k in range(len(edges) - 1):
        low, high = edges[k], edges[k + 1]
        inside = (noisy >= low) & (noisy < high)
        if inside.any():
            result[(x >= low) & (x < high)] = eps[inside].mean()
    return result


def table_truth(x, x0, eps, sigma, edges):  # by pairs: which of the noisy points share the bin of which x
    bins = [(points[:, None] >= edges[1:-1]).sum(dim=1) for points in (x, x0 + sigma * eps)]
    together = (bins[0][:, None] == bins[1]).to(eps.dtype)
    return (together @ eps) / torch.maximum(together.sum(dim=1), torch.ones_like(x))


def table_cases(g):
    edges = torch.linspace(-6, 6, 25, dtype=DOUBLE)
    x0 = torch.randn(300, generator=g, dtype=DOUBLE) + 1
    eps = torch.randn(300, generator=g, dtype=DOUBLE)
    x = torch.cat([torch.tensor([-5.2, 5.7], dtype=DOUBLE), 2 * torch.randn(40, generator=g, dtype=DOUBLE)])
    plain = [torch.tensor(values) for values in ([0.5, 2.5, 1.5], [0.2, 0.3, 3.9], [0.4, 1.6, -1.0])]
    return (
        Case(
            (*plain, 0.5, torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])),
            "x = 0.5, 2.5, 1.5, the noisy points 0.4, 1.1, 3.4 (x0 = 0.2, 0.3, 3.9, eps = 0.4, 1.6, -1, sigma = 0.5) "
            "and the edges 0, 1, 2, 3, 4",
        ),
        Case((x.clamp(-5.9, 5.9), x0, eps, 0.7, edges), "300 noisy points and 24 bins in float64"),
    )


def tabulated(place=lambda x0, eps, sigma: x0 + sigma * eps, value=lambda x0, eps, sigma: eps, empty=0.0, mean=True):
    """The look-up with its parts exchangeable: where a point lies, what is averaged, what an empty bin holds."""

    def answer(x, x0, eps, sigma, edges):
        where, values = torch.bucketize(place(x0, eps, sigma), edges[1:-1]), value(x0, eps, sigma)
        total = torch.zeros(len(edges) - 1, dtype=eps.dtype).index_add(0, where, values)
        count = torch.bincount(where, minlength=len(edges) - 1)
        filling = eps.mean() if empty == "mean" else torch.tensor(empty, dtype=eps.dtype)
        table = torch.where(count > 0, total / (count.clamp(min=1) if mean else 1), filling)
        return table[torch.bucketize(x, edges[1:-1])]

    return answer


TABLE_EPS = Exercise(
    id="8.9",
    name="table_eps",
    stub='''
def table_eps(x, x0, eps, sigma, edges):
    """For each of x (N,): the mean of eps over the points x0 + sigma eps in the same bin, or 0 if there is none. (N,)

    x0, eps: (P,). edges: (K + 1,), rising; bin k lies between edges[k] and edges[k + 1]. All points lie inside.
    """
    ...  # your code
''',
    solution=table_eps,
    alternative=table_eps_by_bins,
    why=(
        "The table holds a conditional mean, which is what least squares finds, bin by bin. An empty bin has no mean, "
        "and 0\n"
        "is a guess. With it, walkers in such a bin only diffuse until they reach a bin that knows more."
    ),
    truth=table_truth,
    cases=table_cases,
    hints=(
        "`torch.bucketize(points, edges[1:-1])` gives the number of the bin of each point.",
        "Sort the *noisy* points into bins. In each bin you need the sum of eps and the number of points.",
        "In an empty bin the number is 0. `count.clamp(min=1)` avoids 0 / 0, and the sum is 0 there anyway.",
    ),
    wrong=(
        Wrong(
            "the sign",
            tabulated(value=lambda x0, eps, sigma: -eps),
            "The sign is turned around. The mean noise is asked for. The score has the other sign.",
            "not seen in public yet",
        ),
        Wrong(
            "the score",
            tabulated(value=lambda x0, eps, sigma: -eps / sigma),
            "You return the score, -mean / sigma. The mean noise itself is asked for.",
            "not seen in public yet",
        ),
        Wrong(
            "sigma is missing",
            tabulated(place=lambda x0, eps, sigma: x0 + eps),
            "Your noisy points are x0 + eps. The noise has to be multiplied by sigma.",
            "not seen in public yet",
        ),
        Wrong(
            "bins of the clean points",
            tabulated(place=lambda x0, eps, sigma: x0),
            "You sort the clean points x0 into bins. There the mean noise is about 0. Sort the noisy points.",
            "not seen in public yet",
        ),
        Wrong(
            "empty bins",
            tabulated(empty=math.nan),
            "An empty bin gives 0 / 0, which is NaN, and a walker that meets it is lost. Put 0 there.",
            "notebook 08, section 6",
        ),
        Wrong(
            "the mean of all in empty bins",
            tabulated(empty="mean"),
            "In empty bins you put the mean of all the noise. 0 is asked for.",
            "not seen in public yet",
        ),
        Wrong(
            "a sum for a mean",
            tabulated(mean=False),
            "You return the sum of the noise in a bin. Divide by the number of its points.",
            "not seen in public yet",
        ),
        Wrong(
            "the displacement",
            tabulated(value=lambda x0, eps, sigma: sigma * eps),
            "You average sigma times eps. The mean of eps is asked for.",
            "not seen in public yet",
        ),
        Wrong(
            "the clean points averaged",
            tabulated(value=lambda x0, eps, sigma: x0),
            "You average x0 in each bin. That is a denoiser, E[x0 | x]. The mean of eps is asked for.",
            "not seen in public yet",
        ),
        Wrong(
            "the nearest point",
            lambda x, x0, eps, sigma, edges: eps[(x[:, None] - (x0 + sigma * eps)).abs().argmin(dim=1)],
            "You take the eps of the nearest noisy point. One draw is no mean: average over the bin.",
            "not seen in public yet",
        ),
    ),
)

EXERCISES = (
    *(DSM_LOSS, STEP_SIZES, ANNEAL, SCORE_FROM_EPS),
    *(HOT_FRACTION, SLICED_TRACE, BUDGET, LOG10_STEPS, TABLE_EPS),
)
