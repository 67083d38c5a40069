"""The exercises of notebook 26, rivals: 26.1 to 26.3 in its flow, 26.4 to 26.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math

import torch
from torch import Tensor, distributions
from torch.nn.functional import relu, softplus

from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, normals, uniform

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Rivals"


# 26.1 coupling


def coupling(b, s, shift):
    return b * s.exp() + shift, s.sum(dim=1)


def coupling_by_jacobian(b, s, shift):
    stretch = torch.diag_embed(torch.exp(s))
    z = torch.einsum("bij,bj->bi", stretch, b) + shift
    return z, torch.linalg.slogdet(stretch).logabsdet


def coupling_truth(b, s, shift):
    """One number after the other, in plain Python."""
    z = [
        [x * math.exp(k) + m for x, k, m in zip(*row, strict=True)]
        for row in zip(b.tolist(), s.tolist(), shift.tolist(), strict=True)
    ]
    return b.new_tensor(z), b.new_tensor([math.fsum(row) for row in s.tolist()])


def coupling_cases(g):
    return (
        Case(
            (doubles(2.0)[None], doubles(-0.5)[None], doubles(0.3)[None]),
            "one point with one number that moves, b = 2, s = -0.5, shift = 0.3",
        ),
        Case(
            (normals(g, 4, 3), 0.7 * normals(g, 4, 3) + 0.2, normals(g, 4, 3)),
            "four points with three numbers that move",
        ),
    )


def moved(z, log_det):
    """An answer from two formulas of (b, s, shift)."""
    return lambda b, s, shift: (z(b, s, shift), log_det(b, s, shift))


def right_z(b, s, shift):
    return b * s.exp() + shift


def right_log_det(b, s, shift):
    return s.sum(dim=1)


COUPLING = Exercise(
    id="26.1",
    name="coupling",
    stub='''
def coupling(b, s, shift):
    """What an affine coupling makes of the half that moves, (B, m), and log |det| of its Jacobian, (B,).

    b, s, shift: (B, m). Each number of b is stretched by e to the power of its s, then shifted.
    """
    ...  # your code
''',
    solution=coupling,
    alternative=coupling_by_jacobian,
    why=(
        "The half that stays has the derivative 1, and it reaches b only below the diagonal of the Jacobian.\n"
        "On the diagonal stand the ones and exp(s), so log |det| is the sum of s over the numbers of each point."
    ),
    truth=coupling_truth,
    parts=("the moved half", "the log-determinant"),
    cases=coupling_cases,
    hints=(
        "First the points: b times exp(s), plus shift.",
        "The determinant of a triangular matrix is the product of its diagonal. Here the diagonal is exp(s).",
        "The logarithm of a product of exponentials is a sum. Sum over dim=1, so that each point keeps its own.",
    ),
    wrong=(
        Wrong(
            "the sign of the log-determinant",
            moved(right_z, lambda b, s, shift: -s.sum(1)),
            "Your log-determinant has the wrong sign: it belongs to the inverse map. This map stretches by exp(s).",
            UNSEEN,
        ),
        Wrong(
            "product of s",
            moved(right_z, lambda b, s, shift: s.prod(1)),
            "You multiply the s. The determinant is the product of exp(s), so its logarithm is the sum of s.",
            UNSEEN,
        ),
        Wrong(
            "no logarithm",
            moved(right_z, lambda b, s, shift: s.sum(1).exp()),
            "You return the determinant itself. Asked for is its logarithm.",
            UNSEEN,
        ),
        Wrong(
            "the shift counted",
            moved(right_z, lambda b, s, shift: (s + shift).sum(1)),
            "You added the shift to the log-determinant. A shift moves all points alike and changes no volume.",
            UNSEEN,
        ),
        Wrong(
            "log of the moved numbers",
            moved(right_z, lambda b, s, shift: (s.exp() + shift).abs().log().sum(1)),
            "You take the logarithm of exp(s) + shift. The derivative of b exp(s) + shift by b is exp(s) alone.",
            UNSEEN,
        ),
        Wrong(
            "mean in place of a sum",
            moved(right_z, lambda b, s, shift: (s / (s.shape[1] + 1)).sum(1)),
            "You take a mean over the numbers of a point. A volume is a product of lengths, so the logarithms add up.",
            UNSEEN,
        ),
        Wrong(
            "mean over the moving half",
            moved(lambda b, s, shift: b * s.exp() + 2 * shift, lambda b, s, shift: s.mean(1)),
            "Your shift counts twice, and your log-determinant is a mean. Add the shift once, and sum s.",
            UNSEEN,
        ),
        Wrong(
            "shift before the stretch",
            moved(lambda b, s, shift: (b + shift) * s.exp(), right_log_det),
            "You shift first and stretch then, so that the shift is stretched, too. First the stretch, then the shift.",
            UNSEEN,
        ),
        Wrong(
            "no exponential",
            moved(lambda b, s, shift: b * s + shift, lambda b, s, shift: s.abs().log().sum(1)),
            "You stretch by s itself. It may be 0 or negative, and then the map cannot be undone. Stretch by exp(s).",
            UNSEEN,
        ),
        Wrong(
            "one plus s",
            moved(lambda b, s, shift: b * (1 + s) + shift, lambda b, s, shift: (1 + s).abs().log().sum(1)),
            "You stretch by 1 + s, which is exp(s) for small s only.",
            UNSEEN,
        ),
        Wrong(
            "the inverse map",
            moved(lambda b, s, shift: (b - shift) * (-s).exp(), lambda b, s, shift: -s.sum(1)),
            "That is the inverse, from the latent back to the data.",
            UNSEEN,
        ),
        Wrong(
            "only shifted",
            moved(lambda b, s, shift: b + shift, lambda b, s, shift: torch.zeros_like(s[:, 0])),
            "You shift only. Such an additive coupling keeps all volumes. Here each number is stretched as well.",
            "NICE, the forerunner of this coupling",
        ),
        Wrong(
            "s without a sign",
            moved(right_z, lambda b, s, shift: s.abs().sum(1)),
            "You take |s|. The bars in log |det| are about the determinant: exp(s) is positive, and s may be negative.",
            UNSEEN,
        ),
    ),
)


# 26.2 mixture_log_prob


def mixture_log_prob(logits, means, log_stds, x):
    z = (x[:, None] - means) / log_stds.exp()
    log_normal = -0.5 * z**2 - log_stds - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(torch.log_softmax(logits, dim=1) + log_normal, dim=1)


def mixture_log_prob_by_densities(logits, means, log_stds, x):
    stds = torch.exp(log_stds)
    heights = torch.exp(-((x.unsqueeze(1) - means).square()) / (2 * stds.square())) / (math.sqrt(2 * math.pi) * stds)
    return torch.log((torch.softmax(logits, 1) * heights).sum(1))


def mixture_log_prob_truth(logits, means, log_stds, x):
    """The library's mixture."""
    parts = distributions.Normal(means, log_stds.exp())
    return distributions.MixtureSameFamily(distributions.Categorical(logits=logits), parts).log_prob(x)


def mixture_log_prob_cases(g):
    return (
        Case(
            (doubles(0.0, 1.0)[None], doubles(-1.0, 2.0)[None], doubles(-0.7, 0.4)[None], doubles(0.5)),
            "one point at 0.5 and two components, logits (0, 1), means (-1, 2), log_stds (-0.7, 0.4)",
        ),
        Case(
            (normals(g, 5, 3), 1.5 * normals(g, 5, 3), 0.5 * normals(g, 5, 3) - 0.3, normals(g, 5)),
            "five points, and three components for each",
        ),
    )


def mixed(log_weights=lambda logits: torch.log_softmax(logits, 1), log_parts=None, combine=None):
    """An answer from log-weights, log-densities of the components (z, log_stds), and how they are combined."""

    def answer(logits, means, log_stds, x):
        z = (x[:, None] - means) / log_stds.exp()
        parts = (log_parts or right_parts)(z, log_stds)
        return (combine or (lambda w, p: torch.logsumexp(w + p, 1)))(log_weights(logits), parts)

    return answer


def right_parts(z, log_stds):
    return -0.5 * z**2 - log_stds - 0.5 * math.log(2 * math.pi)


def log_stds_as(scale):
    """The right formula with another reading of log_stds."""
    return lambda logits, means, log_stds, x: mixture_log_prob(logits, means, scale(log_stds), x)


MIXTURE_LOG_PROB = Exercise(
    id="26.2",
    name="mixture_log_prob",
    stub='''
def mixture_log_prob(logits, means, log_stds, x):
    """log of sum_k w_k N(x; mean_k, std_k²) for each point, (B,). w = softmax of the logits of a point.

    logits, means, log_stds: (B, K), log_stds are natural logarithms. x: (B,).
    """
    ...  # your code
''',
    solution=mixture_log_prob,
    alternative=mixture_log_prob_by_densities,
    why=(
        "log N = -z²/2 - ln std - ln(2 pi)/2 with z = (x - mean)/std. The weights are added as log-probabilities, and\n"
        "logsumexp adds densities without ever leaving logarithms, so that far points do not become log 0."
    ),
    truth=mixture_log_prob_truth,
    cases=mixture_log_prob_cases,
    hints=(
        "Write the log-density of each component first: z = (x[:, None] - means) / std, shape (B, K).",
        "A narrow component is high: log N has a term -ln std. And there is -ln(2 pi) / 2.",
        "Densities add up, their logarithms do not: torch.logsumexp(log_weights + log_normal, dim=1).",
    ),
    wrong=(
        Wrong(
            "ln std forgotten",
            mixed(log_parts=lambda z, s: -0.5 * z**2 - 0.5 * math.log(2 * math.pi)),
            "You left out -ln std. Without it the model may narrow every component for nothing, and it is no density.",
            UNSEEN,
        ),
        Wrong(
            "softmax over the batch",
            mixed(lambda logits: torch.log_softmax(logits, 0)),
            "Your softmax runs over the batch, dim 0. Each point has its own weights: dim=1.",
            UNSEEN,
        ),
        Wrong(
            "log before the sum",
            mixed(combine=lambda w, p: (w.exp() * p).sum(1)),
            "You average the logarithms. The density is a sum, and its logarithm is taken last.",
            UNSEEN,
        ),
        Wrong(
            "weights not normalised",
            mixed(lambda logits: logits),
            "You took the logits for the log-weights. They must sum to 1 as weights: log_softmax.",
            UNSEEN,
        ),
        Wrong(
            "no logarithm of the weights",
            mixed(lambda logits: torch.softmax(logits, 1)),
            "You added the weights themselves to log-densities. Take log_softmax, not softmax.",
            UNSEEN,
        ),
        Wrong(
            "log-variances",
            log_stds_as(lambda s: s / 2),
            "You read log_stds as logarithms of variances.",
            UNSEEN,
        ),
        Wrong(
            "the exponential forgotten",
            lambda logits, means, log_stds, x: mixture_log_prob_by_densities(logits, means, log_stds.abs().log(), x),
            "You use log_stds as standard deviations. Take their exponential first.",
            UNSEEN,
        ),
        Wrong(
            "no constant",
            mixed(log_parts=lambda z, s: -0.5 * z**2 - s),
            "You left out -ln(2 pi) / 2. For training it does not matter, for a likelihood it does.",
            UNSEEN,
        ),
        Wrong(
            "half missing",
            mixed(log_parts=lambda z, s: -(z**2) - s - 0.5 * math.log(2 * math.pi)),
            "The exponent of a normal density is -z²/2, and you have -z².",
            UNSEEN,
        ),
        Wrong(
            "z not squared by the std",
            mixed(log_parts=lambda z, s: -0.5 * z**2 * s.exp() - s - 0.5 * math.log(2 * math.pi)),
            "You divide the square by the standard deviation. It is divided by the variance.",
            UNSEEN,
        ),
        Wrong(
            "the nearest component only",
            mixed(combine=lambda w, p: (w + p).amax(1)),
            "You keep the largest component only. All of them add to the density.",
            UNSEEN,
        ),
        Wrong(
            "the density",
            mixed(combine=lambda w, p: (w + p).exp().sum(1)),
            "That is the density. Asked for is its logarithm.",
            UNSEEN,
        ),
        Wrong(
            "the loss",
            mixed(combine=lambda w, p: -torch.logsumexp(w + p, 1)),
            "You return minus the log-density, the loss. Asked for is the log-density.",
            UNSEEN,
        ),
        Wrong(
            "equal weights",
            mixed(lambda logits: torch.full_like(logits, -math.log(logits.shape[1]))),
            "Your components all have the weight 1 / K. The logits say how much each counts.",
            UNSEEN,
        ),
    ),
)


# 26.3 importance_bound


def importance_bound(log_joint, log_q):
    log_w = log_joint - log_q
    return torch.logsumexp(log_w, dim=0) - math.log(len(log_w))


def importance_bound_from_the_largest(log_joint, log_q):
    log_w = log_joint - log_q
    largest = log_w.max(0).values
    return largest + (log_w - largest).exp().mean(0).log()


def importance_bound_truth(log_joint, log_q):
    """Weights added one by one, each to what is there."""
    found = []
    for joint, q in zip(log_joint.T.tolist(), log_q.T.tolist(), strict=True):
        w = [a - b for a, b in zip(joint, q, strict=True)]
        top = max(w)
        found.append(top + math.log(math.fsum(math.exp(v - top) for v in w) / len(w)))
    return torch.tensor(found, dtype=log_joint.dtype)


def importance_bound_cases(g):
    far = uniform(g, 850, 950)
    return (
        Case(
            (doubles(-1.0, -3.0)[:, None], doubles(-0.5, -1.0)[:, None]),
            "one point, two latents, log p(x, z) = -1 and -3, log q(z | x) = -0.5 and -1",
        ),
        Case((normals(g, 5, 3) - 2, 0.8 * normals(g, 5, 3) - 1), "three points and five latents for each"),
        Case(
            (normals(g, 4, 2) - far, normals(g, 4, 2)),
            f"two points for which log p(x, z) is about {-far}, as for an image",
        ),
    )


def bounded(combine, log_w=lambda joint, q: joint - q):
    """An answer from log-weights, (K, B)."""
    return lambda log_joint, log_q: combine(log_w(log_joint, log_q))


def log_mean(log_w):
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


IMPORTANCE_BOUND = Exercise(
    id="26.3",
    name="importance_bound",
    stub='''
def importance_bound(log_joint, log_q):
    """The logarithm of the mean of p(x, z) / q(z | x) over K latents z, for each point, (B,).

    log_joint: log p(x, z) = log p(x | z) + log p(z), (K, B). log_q: log q(z | x), (K, B).
    """
    ...  # your code
''',
    solution=importance_bound,
    alternative=importance_bound_from_the_largest,
    why=(
        "p(x) is the mean of p(x, z) / q(z | x) over z from q, so the mean of K weights estimates it without bias.\n"
        "Its logarithm is too low on average. logsumexp - ln K is the log of the mean, even where a weight is e^-900."
    ),
    truth=importance_bound_truth,
    cases=importance_bound_cases,
    hints=(
        "The logarithm of one weight is log_joint - log_q.",
        "First the mean of the weights, then the logarithm. In the other order it is the ELBO.",
        "exp(-900) is 0 for a computer. torch.logsumexp(log_w, dim=0) is log of the sum, and a mean divides by K.",
    ),
    wrong=(
        Wrong(
            "mean of the logarithms",
            bounded(lambda w: w.mean(0)),
            "You average the logarithms. That is the ELBO, with K draws for each point. Average the weights first.",
            UNSEEN,
        ),
        Wrong(
            "ln K forgotten",
            bounded(lambda w: torch.logsumexp(w, 0)),
            "You have the log of the sum. For the log of the mean subtract ln K, or the bound grows with every draw.",
            UNSEEN,
        ),
        Wrong(
            "ln K added",
            bounded(lambda w: torch.logsumexp(w, 0) + math.log(len(w))),
            "You add ln K. A mean divides by K, so subtract it.",
            UNSEEN,
        ),
        Wrong(
            "divided by K",
            bounded(lambda w: torch.logsumexp(w, 0) / len(w)),
            "You divide the logarithm by K. Divide the sum inside the logarithm, which subtracts ln K outside.",
            UNSEEN,
        ),
        Wrong(
            "q forgotten",
            bounded(log_mean, lambda joint, q: joint),
            "You left out q. It says how likely each latent was to be drawn, and the weight divides by it.",
            UNSEEN,
        ),
        Wrong(
            "q added",
            bounded(log_mean, lambda joint, q: joint + q),
            "You add log q. The weight is p(x, z) divided by q(z | x).",
            UNSEEN,
        ),
        Wrong(
            "the weight upside down",
            bounded(log_mean, lambda joint, q: q - joint),
            "You have q over p.",
            UNSEEN,
        ),
        Wrong(
            "the loss",
            bounded(lambda w: -log_mean(w)),
            "You return minus the bound, the loss. Asked for is the bound of log p(x).",
            UNSEEN,
        ),
        Wrong(
            "the best draw",
            bounded(lambda w: w.amax(0)),
            "You keep the largest weight. The mean counts all of them.",
            UNSEEN,
        ),
        Wrong(
            "weighted mean of the logarithms",
            bounded(lambda w: (torch.softmax(w, 0) * w).sum(0)),
            "You average the logarithms with normalised weights. Average the weights, then take one logarithm.",
            UNSEEN,
        ),
        Wrong(
            "over the points",
            bounded(lambda w: (torch.logsumexp(w, 1) - math.log(w.shape[1])).mean().expand(w.shape[1])),
            "You average over the points. Each point has K latents of its own, along dim 0.",
            UNSEEN,
        ),
        Wrong(
            "the middle draw",
            bounded(lambda w: w.quantile(0.5, dim=0)),
            "You take the median. The estimate of p(x) is the mean of the weights, and large ones count much.",
            UNSEEN,
        ),
    ),
)


# 26.4 window


def window(good, wrong, x_t, t, low, high):
    inside = (t > low) & (t <= high)
    return torch.where(inside[:, None], wrong(x_t, t), good(x_t, t))


def window_by_mask(good, wrong, x_t, t, low, high):
    share = ((t > low).to(x_t) * (t <= high).to(x_t)).reshape(-1, 1)
    return share * wrong(x_t, t) + (1 - share) * good(x_t, t)


def window_truth(good, wrong, x_t, t, low, high):
    """Point by point."""
    rows = [(wrong if low < float(now) <= high else good)(x[None], now[None]) for x, now in zip(x_t, t, strict=True)]
    return torch.cat(rows)


def one_denoiser(x_t: Tensor, t: Tensor) -> Tensor:
    """x0 by some rule."""
    return 0.8 * x_t - t[:, None]


def another_denoiser(x_t: Tensor, t: Tensor) -> Tensor:
    """x0 by another rule."""
    return torch.tanh(x_t) + 0.5 * t[:, None] + 1


def window_cases(g):
    low, high = uniform(g, 0.25, 0.35), uniform(g, 0.55, 0.65)
    inner = torch.rand(6, generator=g, dtype=torch.float64)
    times = torch.cat([doubles(0.1, low, (low + high) / 2, high, 0.9), inner])
    rules = one_denoiser, another_denoiser
    return (
        Case((*rules, 0.3 * normals(g, 1, 2) + 1, doubles(0.5), 0.2, 0.7), "one point at t = 0.5, between 0.2 and 0.7"),
        Case((*rules, normals(g, 11, 2), times, low, high), f"eleven times, and the window ({low}, {high}]"),
        Case(
            (*rules, normals(g, 4, 2), doubles(0.15, 0.7, 0.8, 0.9), 0.1, 0.2), "four times, and the window (0.1, 0.2]"
        ),
    )


def chosen(inside):
    """The wrong denoiser where a condition on (t, low, high) holds."""
    return lambda good, wrong, x_t, t, low, high: torch.where(
        inside(t, low, high)[:, None], wrong(x_t, t), good(x_t, t)
    )


def mixed_inside(combine):
    """Inside the window a combination of both answers, and the good one outside."""

    def answer(good, wrong, x_t, t, low, high):
        a, b = good(x_t, t), wrong(x_t, t)
        inside = ((t > low) & (t <= high))[:, None]
        return torch.where(inside, combine(a, b), a)

    return answer


def nothing_outside(good, wrong, x_t, t, low, high):
    return ((t > low) & (t <= high))[:, None] * wrong(x_t, t)


WINDOW = Exercise(
    id="26.4",
    name="window",
    stub='''
def window(good, wrong, x_t, t, low, high):
    """E[x0 | x_t] from `wrong` where low < t <= high, and from `good` at all other times. (B, d).

    good, wrong: denoisers, functions of (x_t, t). x_t: (B, d). t: (B,). low, high: numbers.
    """
    ...  # your code
''',
    solution=window,
    alternative=window_by_mask,
    why=(
        "Each point has a time of its own, so the choice is made row by row with torch.where. The condition of shape\n"
        "(B,) becomes a column, (B, 1), so that it decides for all coordinates of its point.\n"
        "With the good denoiser from 0.1 to 0.8 only, about a tenth of the harm was left, in two trials."
    ),
    truth=window_truth,
    cases=window_cases,
    hints=(
        "`(t > low) & (t <= high)` is True inside the window, one truth for each point.",
        "torch.where(condition, a, b) takes a where the condition holds, else b.",
        "The condition has the shape (B,), the points have (B, d): write condition[:, None].",
    ),
    wrong=(
        Wrong(
            "inverted",
            chosen(lambda t, low, high: ~((t > low) & (t <= high))),
            "You use the wrong denoiser outside of the window and the good one inside.",
            UNSEEN,
        ),
        Wrong(
            "or in place of and",
            chosen(lambda t, low, high: (t > low) | (t <= high)),
            "Every time is above low *or* below high. Both must hold: `&`.",
            UNSEEN,
        ),
        Wrong(
            "no upper end",
            chosen(lambda t, low, high: t > low),
            "Your window has no upper end.",
            UNSEEN,
        ),
        Wrong(
            "no lower end",
            chosen(lambda t, low, high: t <= high),
            "Your window has no lower end.",
            UNSEEN,
        ),
        Wrong(
            "ends exchanged",
            chosen(lambda t, low, high: (t >= low) & (t < high)),
            "Your window holds its lower end and not its upper one. Asked for is low < t <= high, so that windows side "
            "by side cover each time once.",
            UNSEEN,
        ),
        Wrong(
            "both ends",
            chosen(lambda t, low, high: (t >= low) & (t <= high)),
            "Your window holds both its ends. Asked for is low < t <= high.",
            UNSEEN,
        ),
        Wrong(
            "neither end",
            chosen(lambda t, low, high: (t > low) & (t < high)),
            "Your window holds neither of its ends. Asked for is low < t <= high.",
            UNSEEN,
        ),
        Wrong(
            "a mean of both",
            mixed_inside(lambda a, b: (a + b) / 2),
            "Inside the window you take the mean of both. Then half of the answer is right.",
            UNSEEN,
        ),
        Wrong(
            "both added",
            mixed_inside(lambda a, b: a + b),
            "Inside the window you add the two estimates of x0. One takes the place of the other.",
            UNSEEN,
        ),
        Wrong(
            "the difference",
            mixed_inside(lambda a, b: b - a),
            "Inside the window you return the error of the wrong denoiser, not its answer.",
            UNSEEN,
        ),
        Wrong(
            "nothing outside",
            nothing_outside,
            "Outside of the window you return 0. There the good denoiser answers.",
            UNSEEN,
        ),
        Wrong(
            "the noise level for t",
            chosen(lambda t, low, high: (t.sqrt() > low) & (t.sqrt() <= high)),
            "You compare something else than t with the ends, such as a noise level.",
            UNSEEN,
        ),
        Wrong(
            "one decision for all",
            chosen(lambda t, low, high: ((t.mean() > low) & (t.mean() <= high)).expand(len(t))),
            "You decide once for the whole batch. Each point has its own time.",
            UNSEEN,
        ),
    ),
)


# 26.5 within


def within_share():
    """The square of the radius over the variance is exponential: P(r > k std) = exp(-k² / 2)."""
    return 1 - math.exp(-(3**2) / 2)


WITHIN = Question(
    id="26.5",
    name="within",
    stub="within = None  # the share of points of a round Gaussian in the plane within 3 standard deviations",
    right=(0.9882, 0.9896),
    solution=within_share,
    why=(
        "In the plane r²/std² is exponential with the mean 2, so exp(-9/2) = 1.1 % of all real points lie outside.\n"
        "A model at 98.9 % is perfect. In 100 dimensions nearly all points lie farther than 3 standard deviations."
    ),
    hints=(
        "99.7 % is the answer on a line. In the plane there is more room far out.",
        "In polar coordinates the density of the radius is r exp(-r²/2), with std = 1.",
        "That integrates to P(r > 3) = exp(-9/2).",
    ),
    wrong=(
        WrongValue(
            "on a line", (0.9968, 0.9978), "99.7 % is the share on a line. In the plane the radius counts.", UNSEEN
        ),
        WrongValue(
            "a square",
            (0.994, 0.9952),
            "That is a square with sides of 6 standard deviations. Cut its corners.",
            UNSEEN,
        ),
        WrongValue("the exponent not squared", (0.948, 0.952), "1 - exp(-3): the exponent is 3²/2, not 3.", UNSEEN),
        WrongValue("half missing", (0.9997, 0.99995), "1 - exp(-9): the exponent is 3²/2.", UNSEEN),
        WrongValue("half", (0.775, 0.779), "1 - exp(-3/2): the 3 is squared in the exponent.", UNSEEN),
        WrongValue("outside", (0.0105, 0.0117), "That is the share outside.", UNSEEN),
        WrongValue("per cent", (98.8, 98.96), "Right in per cent. Give a share between 0 and 1.", UNSEEN),
        WrongValue("all", (1.0, 1.0), "A Gaussian has no end: some points lie farther out.", UNSEEN),
    ),
)


# 26.6 losses


def losses(of_real, of_fake):
    softplus = torch.nn.functional.softplus
    return softplus(-of_real).mean() + softplus(of_fake).mean(), softplus(-of_fake).mean()


def losses_by_cross_entropy(of_real, of_fake):
    ones, zeros = torch.ones_like(of_fake), torch.zeros_like(of_fake)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    return entropy(of_real, torch.ones_like(of_real)) + entropy(of_fake, zeros), entropy(of_fake, ones)


def losses_truth(of_real, of_fake):
    """Probabilities, then logarithms, one after the other."""
    chance = [[1 / (1 + math.exp(-d)) for d in row.tolist()] for row in (of_real, of_fake)]
    of_reals = -math.fsum(math.log(p) for p in chance[0]) / len(chance[0])
    of_fakes = -math.fsum(math.log(1 - p) for p in chance[1]) / len(chance[1])
    generator = -math.fsum(math.log(p) for p in chance[1]) / len(chance[1])
    return torch.stack([of_real.new_tensor(of_reals + of_fakes), of_real.new_tensor(generator)]).unbind()


def losses_cases(g):
    return (
        Case((doubles(2.0), doubles(-0.5)), "one real point with the number 2, one generated point with -0.5"),
        Case((normals(g, 6) + 1, normals(g, 6) - 0.4), "six real and six generated points"),
    )


def played(critic, player):
    """An answer from two formulas of (of_real, of_fake)."""
    return lambda of_real, of_fake: (critic(of_real, of_fake), player(of_real, of_fake))


def right_critic(r, f):
    return softplus(-r).mean() + softplus(f).mean()


def right_player(r, f):
    return softplus(-f).mean()


def with_two_sigmoids(r, f):
    p, q = r.sigmoid(), f.sigmoid()
    return softplus(-p).mean() + softplus(q).mean(), softplus(-q).mean()


LOSSES = Exercise(
    id="26.6",
    name="losses",
    stub='''
def losses(of_real, of_fake):
    """The loss of the critic and that of the generator, (), for the plain GAN with the non-saturating loss.

    of_real, of_fake: what the critic says of real and of generated points, (B,): log-odds of being real.
    The critic's loss is the sum of two means, one over the real points, one over the generated ones.
    """
    ...  # your code
''',
    solution=losses,
    alternative=losses_by_cross_entropy,
    why=(
        "With log-odds d, -log sigmoid(d) = softplus(-d) and -log(1 - sigmoid(d)) = softplus(d). The critic wants\n"
        "real points called real, and generated ones not. The generator wants its points called real. Where the\n"
        "critic is sure that a point is generated, the non-saturating loss is steep, and log(1 - D) is flat.\n"
        "In two trials of 700 steps with averaged weights, the small rate alone brought the total variation distance\n"
        "of the mode weights from 0.38 and 0.28 down to 0.10 and 0.04. Pairs and penalties alone brought it to 0.05\n"
        "and 0.30, so they helped in one trial only. All of the cure gave 0.03 and 0.02."
    ),
    truth=losses_truth,
    parts=("the critic's loss", "the generator's loss"),
    cases=losses_cases,
    hints=(
        "The probability that a point is real is D = sigmoid(d). The critic's loss is -log D(real) - log(1 - D(fake)).",
        "In terms of softplus, -log sigmoid(d) is softplus(-d), and -log(1 - sigmoid(d)) is softplus(d).",
        "The non-saturating generator makes -log D(fake) small.",
    ),
    wrong=(
        Wrong(
            "the saturating generator",
            played(right_critic, lambda r, f: -softplus(f).mean()),
            "Your generator makes log(1 - D) small. That is flat where the critic is sure, so a bad generator learns "
            "nothing.",
            UNSEEN,
        ),
        Wrong(
            "the generator helps the critic",
            played(right_critic, lambda r, f: softplus(f).mean()),
            "Your generator has a small loss where its points are recognised as generated.",
            UNSEEN,
        ),
        Wrong(
            "real and generated exchanged",
            played(lambda r, f: softplus(r).mean() + softplus(-f).mean(), right_player),
            "Your critic learns to call generated points real.",
            UNSEEN,
        ),
        Wrong(
            "labels exchanged everywhere",
            played(lambda r, f: softplus(r).mean() + softplus(-f).mean(), lambda r, f: softplus(f).mean()),
            "Both of your losses take the numbers for log-odds of being generated. Here they are those of being real.",
            UNSEEN,
        ),
        Wrong(
            "the losses in the other order",
            played(right_player, right_critic),
            "You return the generator's loss first. The critic's comes first.",
            UNSEEN,
        ),
        Wrong(
            "no logarithm",
            played(lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
            "You take the numbers themselves. That is the Wasserstein GAN, whose critic needs a bounded slope.",
            UNSEEN,
        ),
        Wrong(
            "two sigmoids",
            with_two_sigmoids,
            "You apply the sigmoid twice: log-odds become probabilities, and these are taken for log-odds. Then the "
            "loss can never fall to 0.",
            UNSEEN,
        ),
        Wrong(
            "probabilities",
            played(lambda r, f: 1 - r.sigmoid().mean() + f.sigmoid().mean(), lambda r, f: 1 - f.sigmoid().mean()),
            "You average probabilities. The loss is a cross-entropy, a mean of logarithms.",
            UNSEEN,
        ),
        Wrong(
            "half the critic's loss",
            played(lambda r, f: right_critic(r, f) / 2, right_player),
            "You take the mean over real and generated points. Asked for is the sum of the two means.",
            UNSEEN,
        ),
        Wrong(
            "paired",
            played(
                lambda r, f: softplus(f - r).mean(),
                lambda r, f: softplus(r - f).mean(),
            ),
            "That is the relativistic loss, which compares a real point with a generated one. Asked for is the plain "
            "one.",
            UNSEEN,
        ),
        Wrong(
            "the generator sees real points",
            played(right_critic, lambda r, f: softplus(-f).mean() + softplus(r).mean()),
            "Your generator's loss holds a term of the real points. It cannot change them, so leave that term out.",
            UNSEEN,
        ),
        Wrong(
            "only generated points",
            played(lambda r, f: softplus(f).mean(), right_player),
            "Your critic sees generated points only. It can call everything generated, and be right.",
            UNSEEN,
        ),
        Wrong(
            "only real points",
            played(lambda r, f: softplus(-r).mean(), right_player),
            "Your critic sees real points only. It can call everything real, and be right.",
            UNSEEN,
        ),
        Wrong(
            "hinge",
            played(lambda r, f: relu(1 - r).mean() + relu(1 + f).mean(), lambda r, f: -f.mean()),
            "That is the hinge loss. Asked for is the cross-entropy.",
            UNSEEN,
        ),
    ),
)


# 26.7 and 26.8, in words

INCENTIVE = Explanation(
    id="26.7",
    name="No incentive to drop a mode",
    task="Show that the loss of a denoiser gives a mode of weight 0.01 its share, and say what this does not prove.",
    model=(
        "The loss is a mean over data points, so one in a hundred of its terms comes from the rare mode. The\n"
        "minimiser at each x_t is E[x0 | x_t], and a change of the estimate near the rare mode changes the loss there "
        "and nowhere\n"
        "else: no gain elsewhere pays for leaving the mode out. The generator of a GAN has no such term: where no "
        "sample of it falls,\n"
        "the critic's answer does not matter to its loss.\n"
        "This is about the minimum. A network that is too small, trained too briefly, or trained on data without the "
        "mode, may miss\n"
        "it all the same; and a strong guidance or few steps change what is drawn from the same network."
    ),
    look_for=(
        "The loss is a mean over the data, so each mode counts by its weight.",
        "The loss of a GAN's generator is a mean over its own samples, and a mode without samples does not appear.",
        "The statement is about the minimum, and a trained network need not be there.",
    ),
    hints=(
        "Over what is the loss of a denoiser averaged, and over what that of a GAN's generator?",
        "What does each loss lose when the model never makes a point near the rare mode?",
        "What lies between the minimum of a loss and a network that somebody trained?",
    ),
)

BOARD = Explanation(
    id="26.8",
    name="Another ruler",
    task="Run the table on `data.checkerboard`, whose entropy is ln 6, and explain which places change.",
    model=(
        "The density is 1/6 on the dark squares, whose area is 8 · 3/4 = 6 after standardising. So the entropy is "
        "ln 6 = 1.79 nats.\n"
        "There are no modes with a standard deviation: count the points outside of the dark squares. In two trials\n"
        "with this budget the autoregressive model came first again (KL 0.24 and 0.26), the flow second (0.41 and\n"
        "0.45), then diffusion (0.52 and 0.67) and the VAE (0.67 and 0.71): the flow and diffusion had changed\n"
        "places. The lead of the autoregressive model was much smaller, since a mixture of Gaussians does not fit\n"
        "sharp edges. So a ranking belongs to the data, the budget and the ruler. To\n"
        "choose a model, repeat it with your data."
    ),
    look_for=(
        "The entropy and the measure of misplaced points belong to the data, and are computed anew.",
        "The order of the families changes with the data.",
        "A statement about one family is a statement about its size, training and ruler as well.",
    ),
    hints=(
        "Which parts of the ruler belong to the eight Gaussians?",
        "The area of the dark squares is 8 · (3/4), in units of the standard deviation squared. What is the entropy?",
        "Which family has the hardest time with an edge, and why?",
    ),
)


EXERCISES = (
    COUPLING,
    MIXTURE_LOG_PROB,
    IMPORTANCE_BOUND,
    WINDOW,
    WITHIN,
    LOSSES,
    INCENTIVE,
    BOARD,
)
