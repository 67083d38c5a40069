"""The exercises of notebook 17, latent diffusion: 17.1 to 17.3 in its flow, 17.4 to 17.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math

import torch
from scipy.optimize import brentq

from minidiff import schedules
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, normals, uniform

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Latent diffusion"


# 17.1 elbo


def elbo(x, x_decoded, mean, log_variance, std):
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
    error = ((x - x_decoded) ** 2).sum(dim=1)
    return -kl - error / (2 * std**2) - x.shape[1] / 2 * math.log(2 * math.pi * std**2)


def elbo_by_distributions(x, x_decoded, mean, log_variance, std):
    q = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    likelihood = torch.distributions.Normal(x_decoded, std).log_prob(x)
    return likelihood.sum(1) - torch.distributions.kl_divergence(q, p).sum(1)


def elbo_truth(x, x_decoded, mean, log_variance, std):
    """One row and one number at a time."""
    values = []
    for i in range(len(x)):
        total = 0.0
        for a, b in zip(x[i].tolist(), x_decoded[i].tolist(), strict=True):
            total -= 0.5 * ((a - b) / std) ** 2 + math.log(std) + 0.5 * math.log(2 * math.pi)
        for m, lv in zip(mean[i].tolist(), log_variance[i].tolist(), strict=True):
            total -= (m * m + math.exp(lv) - lv - 1) / 2
        values.append(total)
    return torch.tensor(values, dtype=x.dtype)


def elbo_cases(g):
    std = uniform(g, 0.4, 0.6)
    plain = doubles(1.0, 0.0, -0.5)[None], doubles(0.8, 0.3, -0.5)[None], doubles(0.7, -1.2)[None]
    return (
        Case((*plain, doubles(-0.5, -1.0)[None], 0.5), "one x of three numbers, two latents, std = 0.5"),
        Case(
            (normals(g, 4, 5), normals(g, 4, 5), normals(g, 4, 3), 0.7 * normals(g, 4, 3), std),
            f"four x of five numbers, three latents, std = {std}",
        ),
    )


def kl_of(mean, log_variance):
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def elbo_with(
    kl=lambda mean, log_variance: kl_of(mean, log_variance).sum(1),
    error=lambda gap, std: (gap**2).sum(1) / (2 * std**2),
    constant=lambda d, std: d / 2 * math.log(2 * math.pi * std**2),
):
    """An ELBO with parts exchanged."""

    def answer(x, x_decoded, mean, log_variance, std):
        return -kl(mean, log_variance) - error(x - x_decoded, std) - constant(x.shape[1], std)

    return answer


ELBO = Exercise(
    id="17.1",
    name="elbo",
    stub='''
def elbo(x, x_decoded, mean, log_variance, std):
    """The ELBO of each x, (B,), in nats, estimated with one z from q(z | x) = N(mean, exp(log_variance)).

    x: (B, d). x_decoded: (B, d), the decoder's mean for that z. mean, log_variance: (B, k). std: of the decoder's
    normal distribution, a number. The prior of the k latents is N(0, I).
    """
    ...  # your code
''',
    solution=elbo,
    alternative=elbo_by_distributions,
    why=(
        "log p(x | z) is the log-density of d independent normal numbers, and KL is a sum over k independent latents.\n"
        "Both are sums. A mean over pixels with a sum over latents, or the other way round, weighs one of them by a\n"
        "number that nobody chose."
    ),
    truth=elbo_truth,
    cases=elbo_cases,
    hints=(
        "ELBO = log p(x | z) - KL. Write the two apart.",
        "log N(x; x_decoded, std² I) has the squared error over 2 std², and d times ln(2 pi std²) / 2.",
        "KL of N(m, v) from N(0, 1) is (m² + v - 1 - ln v) / 2, summed over the latents. `log_variance` is ln v.",
    ),
    wrong=(
        Wrong(
            "a mean over the latents",
            elbo_with(kl=lambda mean, log_variance: kl_of(mean, log_variance).mean(1)),
            "You take the mean of KL over the latents. The latents are independent, so their divergences add up.",
            "mkusner/grammarVAE#2, podgorskiy/VAE#1, keras-team/keras-io#270",
        ),
        Wrong(
            "a mean over the numbers of x",
            elbo_with(error=lambda gap, std: (gap**2).mean(1) / (2 * std**2)),
            "You take the mean of the squared error over the numbers of x. The log-density of x is a sum over them. "
            "With a mean, KL weighs d times too much, and the latents collapse.",
            "zdebruine/MMVAE#19: mse_loss takes the mean by itself",
        ),
        Wrong(
            "the sign of KL",
            elbo_with(kl=lambda mean, log_variance: -kl_of(mean, log_variance).sum(1)),
            "You add KL. It is what the latents cost, so it must be subtracted.",
            UNSEEN,
        ),
        Wrong(
            "the loss",
            lambda x, x_decoded, mean, log_variance, std: -elbo(x, x_decoded, mean, log_variance, std),
            "That is the loss, minus the ELBO. The ELBO is what grows as the model gets better.",
            UNSEEN,
        ),
        Wrong(
            "the decoder's variance is forgotten",
            elbo_with(error=lambda gap, std: (gap**2).sum(1) / 2),
            "Your squared error is not divided by std². That would be right for std = 1 only. The smaller std is, the "
            "more an error costs.",
            "most tutorials, which hide std = 1 in the loss",
        ),
        Wrong(
            "std for its square",
            elbo_with(error=lambda gap, std: (gap**2).sum(1) / (2 * std)),
            "You divide by 2 std. A normal density has the variance there, std².",
            UNSEEN,
        ),
        Wrong(
            "the half of the error",
            elbo_with(error=lambda gap, std: (gap**2).sum(1) / std**2),
            "The half before the squared error is missing.",
            UNSEEN,
        ),
        Wrong(
            "the half of KL",
            elbo_with(kl=lambda mean, log_variance: 2 * kl_of(mean, log_variance).sum(1)),
            "The half before KL is missing.",
            UNSEEN,
        ),
        Wrong(
            "no constant",
            elbo_with(constant=lambda d, std: 0.0),
            "You left out d / 2 ln(2 pi std²). For training it does not matter, but without it the number is no bound "
            "on log p(x), and cannot be compared for two values of std.",
            UNSEEN,
        ),
        Wrong(
            "the constant of one number",
            elbo_with(constant=lambda d, std: 0.5 * math.log(2 * math.pi * std**2)),
            "You count ln(2 pi std²) / 2 once. It belongs to each of the d numbers of x.",
            UNSEEN,
        ),
        Wrong(
            "ln v taken for ln of the standard deviation",
            elbo_with(kl=lambda mean, log_variance: kl_of(mean, 2 * log_variance).sum(1)),
            "You take log_variance for the logarithm of the standard deviation, and square its exponential.",
            UNSEEN,
        ),
        Wrong(
            "ln v taken for v",
            elbo_with(kl=lambda mean, v: 0.5 * (mean**2 + v.abs() - 1 - v.abs().log()).sum(1)),
            "You take log_variance for the variance. It is its logarithm, so the variance is `log_variance.exp()`.",
            UNSEEN,
        ),
        Wrong(
            "the mean is not squared",
            elbo_with(kl=lambda mean, lv: 0.5 * (mean.abs() + lv.exp() - 1 - lv).sum(1)),
            "KL has the square of the mean, not its size.",
            UNSEEN,
        ),
        Wrong(
            "KL the other way round",
            elbo_with(kl=lambda mean, lv: 0.5 * ((1 + mean**2) * torch.exp(-lv) - 1 + lv).sum(1)),
            "That is KL of N(0, I) from q. The ELBO has KL of q from N(0, I): the mean is taken over q.",
            UNSEEN,
        ),
        Wrong(
            "no KL",
            elbo_with(kl=lambda mean, log_variance: 0.0),
            "That is log p(x | z) alone, the goal of a plain autoencoder. Subtract what the latents cost, KL.",
            UNSEEN,
        ),
    ),
)


# 17.2 hole


def hole(z, log_q):
    log_p = -(z**2) / 2 - math.log(2 * math.pi) / 2
    return (log_q.exp() * (log_q - log_p)).sum() * (z[1] - z[0])


def hole_by_trapezoids(z, log_q):
    prior = torch.distributions.Normal(0.0, 1.0)
    return torch.trapezoid(torch.exp(log_q) * (log_q - prior.log_prob(z)), z)


def hole_truth(z, log_q):
    """Cross entropy less entropy, each summed one place after the other."""
    width = float(z[-1] - z[0]) / (len(z) - 1)
    cross, entropy = 0.0, 0.0
    for place, value in zip(z.tolist(), log_q.tolist(), strict=True):
        mass = math.exp(value) * width
        cross += mass * (0.5 * place * place + 0.5 * math.log(2 * math.pi))
        entropy -= mass * value
    return torch.tensor(cross - entropy, dtype=z.dtype)


def log_density(z, weights, means, stds):
    parts = [
        math.log(w) - 0.5 * ((z - m) / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi)
        for w, m, s in zip(weights, means, stds, strict=True)
    ]
    return torch.logsumexp(torch.stack(parts), 0)


def hole_cases(g):
    z = torch.linspace(-6, 6, 241, dtype=torch.float64)
    far, w = uniform(g, 0.9, 1.1), uniform(g, 0.3, 0.4)
    return (
        Case((z, log_density(z, [1.0], [0.5], [0.6])), "q(z) = N(0.5, 0.36), on 241 places from -6 to 6"),
        Case(
            (z, log_density(z, [w, 1 - w], [-far, far], [0.4, 0.6])),
            f"two blobs at -{far} and {far}, the left one with weight {w}",
        ),
    )


def hole_with(integrand, last=lambda z, values: values.sum() * (z[1] - z[0])):
    """A quadrature of integrand(z, log q, log p)."""

    def answer(z, log_q):
        return last(z, integrand(z, log_q, -(z**2) / 2 - math.log(2 * math.pi) / 2))

    return answer


def divergence(z, log_q, log_p):
    return log_q.exp() * (log_q - log_p)


def as_one_normal(z, log_q):
    mass = log_q.exp() * (z[1] - z[0])
    mean, square = (mass * z).sum(), (mass * z**2).sum()
    return 0.5 * (square - 1 - torch.log(square - mean**2))


HOLE = Exercise(
    id="17.2",
    name="hole",
    stub='''
def hole(z, log_q):
    """KL of q(z) from the prior N(0, 1), in nats, by a sum over an even grid. A tensor ().

    z: (n,), the places of the grid, which reach far enough. log_q: (n,), the logarithm of the density q at them.
    """
    ...  # your code
''',
    solution=hole,
    alternative=hole_by_trapezoids,
    why=(
        "KL(q, p) is the integral of q (ln q - ln p). On an even grid an integral is a sum times the step. For smooth\n"
        "densities that vanish at both ends this simple sum is as exact as numbers can be."
    ),
    truth=hole_truth,
    cases=hole_cases,
    hints=(
        "KL of q from p is the mean over q of ln q - ln p. As an integral: q times that, over all z.",
        "ln p(z) = -z² / 2 - ln(2 pi) / 2.",
        "The sum over the grid, times the distance of two neighbours, `z[1] - z[0]`.",
    ),
    wrong=(
        Wrong(
            "the other way round",
            hole_with(lambda z, log_q, log_p: log_p.exp() * (log_p - log_q)),
            "That is KL of the prior from q. It weighs with p, and grows without limit where q vanishes. The rate "
            "contains KL of q from p, the mean over q.",
            UNSEEN,
        ),
        Wrong(
            "no step",
            hole_with(divergence, lambda z, values: values.sum()),
            "You add up the values and leave out the step. Your result grows with the number of places.",
            UNSEEN,
        ),
        Wrong(
            "a mean over the grid",
            hole_with(divergence, lambda z, values: values.mean()),
            "You take the mean over the places of the grid. An integral is the sum times the step.",
            UNSEEN,
        ),
        Wrong(
            "the sign",
            hole_with(lambda z, log_q, log_p: -divergence(z, log_q, log_p)),
            "Your sign is wrong: a divergence is never negative.",
            UNSEEN,
        ),
        Wrong(
            "q is not in the weights",
            hole_with(lambda z, log_q, log_p: log_q - log_p),
            "You integrate ln q - ln p over all places alike. Weigh it with q: it is a mean over q.",
            UNSEEN,
        ),
        Wrong(
            "ln q as the weight",
            hole_with(lambda z, log_q, log_p: log_q * (log_q - log_p)),
            "You weigh with ln q. The weight is the density itself, `log_q.exp()`.",
            UNSEEN,
        ),
        Wrong(
            "the prior without its constant",
            hole_with(lambda z, log_q, log_p: log_q.exp() * (log_q + z**2 / 2)),
            "Your prior lacks the factor 1 / sqrt(2 pi), so it is no density.",
            UNSEEN,
        ),
        Wrong(
            "the constant with the wrong sign",
            hole_with(lambda z, log_q, log_p: log_q.exp() * (log_q + z**2 / 2 - math.log(2 * math.pi) / 2)),
            "ln p is -z² / 2 - ln(2 pi) / 2. After the subtraction both terms must be positive.",
            UNSEEN,
        ),
        Wrong(
            "the half in the exponent",
            hole_with(lambda z, log_q, log_p: log_q.exp() * (log_q + z**2 + math.log(2 * math.pi) / 2)),
            "ln p has z² / 2, with the half.",
            UNSEEN,
        ),
        Wrong(
            "in bits",
            hole_with(lambda z, log_q, log_p: divergence(z, log_q, log_p) / math.log(2)),
            "Your result is in bits. Nats need the natural logarithm.",
            UNSEEN,
        ),
        Wrong(
            "the entropy",
            hole_with(lambda z, log_q, log_p: -log_q.exp() * log_q),
            "That is the entropy of q. The prior does not occur in it.",
            UNSEEN,
        ),
        Wrong(
            "the cross entropy",
            hole_with(lambda z, log_q, log_p: -log_q.exp() * log_p),
            "That is the cross entropy, the mean over q of -ln p. Subtract the entropy of q.",
            UNSEEN,
        ),
        Wrong(
            "the total variation",
            hole_with(lambda z, log_q, log_p: 0.5 * (log_q.exp() - log_p.exp()).abs()),
            "That is the total variation distance, half of the area between the two densities. KL needs the logarithm "
            "of their ratio.",
            UNSEEN,
        ),
        Wrong(
            "a normal density with the mean and variance of q",
            as_one_normal,
            "You replace q by the normal density with the same mean and variance. That cannot see a hole between two "
            "blobs: put q itself into the integral.",
            f"{UNSEEN}: the check that mean and variance are 0 and 1",
        ),
    ),
)


# 17.3 scaled


def scaled(train, z):
    shift = train.mean(dim=0)
    spread = (train - shift).square().mean().sqrt()
    return (z - shift) / spread


def scaled_by_variances(train, z):
    of_all_numbers = torch.var(train, dim=0, correction=0).mean()
    return torch.sub(z, train.mean(0)) * torch.rsqrt(of_all_numbers)


def scaled_truth(train, z):
    """Column by column."""
    n, k = train.shape
    means = [sum(train[:, j].tolist()) / n for j in range(k)]
    square = sum((float(train[i, j]) - means[j]) ** 2 for i in range(n) for j in range(k)) / (n * k)
    return torch.stack([(z[:, j] - means[j]) / math.sqrt(square) for j in range(k)], dim=1)


def scaled_cases(g):
    stds = doubles(0.5, 4.0, 2.0)
    means = doubles(3.0, -1.0, 1.5)
    return (
        Case((doubles(1.0, 5.0, 3.0)[:, None], doubles(2.0, 6.0)[:, None]), "train = 1, 5, 3 and z = 2, 6"),
        Case(
            (means + stds * normals(g, 12, 3), means + 1 + 1.5 * stds * normals(g, 6, 3)),
            "twelve latents of three numbers to measure, six to scale",
        ),
    )


def scaled_with(shift=lambda train, z: train.mean(0), spread=None, last=lambda z, shift, spread: (z - shift) / spread):
    """Latents in other units."""
    spread = spread or (lambda train, z: (train - train.mean(0)).square().mean().sqrt())
    return lambda train, z: last(z, shift(train, z), spread(train, z))


SCALED = Exercise(
    id="17.3",
    name="scaled",
    stub='''
def scaled(train, z):
    """Latents z, (B, k), in units of the latents `train`, (N, k).

    In these units each number of `train` has mean 0. All its numbers together have the mean square 1: there is one
    scale for all of them.
    """
    ...  # your code
''',
    solution=scaled,
    alternative=scaled_by_variances,
    why=(
        "Shift and scale are measured once, on the training set, and then belong to the model like its weights. One\n"
        "scale for all numbers keeps their proportions: it is a shift of the log-SNR and nothing else."
    ),
    truth=scaled_truth,
    cases=scaled_cases,
    hints=(
        "Measure two things on `train`: the mean of each column, and one number for the spread.",
        "The spread is the root of the mean square of `train` after the means are subtracted, over all numbers.",
        "Subtract first, then divide.",
    ),
    wrong=(
        Wrong(
            "multiplied",
            scaled_with(last=lambda z, shift, spread: (z - shift) * spread),
            "You multiply by the spread. The way to the diffusion model divides, the way back to the decoder "
            "multiplies.",
            "silent-chen/layout-guidance#9: is 1 / 0.18215 the way in, or the way back?",
        ),
        Wrong(
            "measured on z",
            scaled_with(
                shift=lambda train, z: z.mean(0), spread=lambda train, z: (z - z.mean(0)).square().mean() ** 0.5
            ),
            "You measure mean and spread on z itself. Then a latent has other units in each batch, and the decoder "
            "cannot undo them. Measure on `train`, once.",
            UNSEEN,
        ),
        Wrong(
            "the mean stays",
            scaled_with(shift=lambda train, z: 0.0),
            "You do not subtract the mean. The noise at t = 1 has mean 0, so the latents should.",
            "LTH14/mar#62: only the scale",
        ),
        Wrong(
            "the spread around 0",
            scaled_with(spread=lambda train, z: train.square().mean().sqrt()),
            "Your spread contains the means of the columns. Subtract them before you square.",
            UNSEEN,
        ),
        Wrong(
            "only the scale, around 0",
            scaled_with(shift=lambda train, z: 0.0, spread=lambda train, z: train.square().mean().sqrt()),
            "You divide by the root mean square, and leave the mean in it and in the result.",
            UNSEEN,
        ),
        Wrong(
            "the variance",
            scaled_with(spread=lambda train, z: (train - train.mean(0)).square().mean()),
            "You divide by the variance. Take its root.",
            UNSEEN,
        ),
        Wrong(
            "a scale for each number",
            scaled_with(spread=lambda train, z: train.std(0, correction=0)),
            "You give each number a scale of its own. That is a fair choice, but it changes the proportions of the "
            "latent space. Here there is one scale for all of them.",
            "hpcaitech/Open-Sora#493: normalised channel by channel",
        ),
        Wrong(
            "a scale for each number, with n - 1",
            scaled_with(spread=lambda train, z: train.std(0)),
            "You give each number a scale of its own, and `std` divides by n - 1 besides. Here there is one scale for "
            "all numbers: the root of their mean square after the means are subtracted.",
            UNSEEN,
        ),
        Wrong(
            "divided by n - 1",
            scaled_with(spread=lambda train, z: (train - train.mean(0)).std()),
            "Your spread divides by n - 1, as `std` does unless it is told otherwise. A mean square of 1 needs the "
            "plain mean, for example by `correction=0`.",
            UNSEEN,
        ),
        Wrong(
            "one mean for all numbers",
            scaled_with(shift=lambda train, z: train.mean(), spread=lambda train, z: train.std(correction=0)),
            "You subtract one mean for all numbers, and the standard deviation around it. Each number has a mean of "
            "its own.",
            UNSEEN,
        ),
        Wrong(
            "the mean of the standard deviations",
            scaled_with(spread=lambda train, z: train.std(0, correction=0).mean()),
            "You take the mean of the standard deviations. For a mean square of 1, take the root of the mean of the "
            "variances.",
            UNSEEN,
        ),
        Wrong(
            "divided first",
            scaled_with(last=lambda z, shift, spread: z / spread - shift),
            "You divide first and then subtract a mean that is in the old units.",
            UNSEEN,
        ),
        Wrong(
            "Stable Diffusion's number",
            lambda train, z: (z - train.mean(0)) * 0.18215,
            "0.18215 is one over the spread of the latents of one autoencoder, that of Stable Diffusion 1. Every "
            "other autoencoder needs a number of its own.",
            "hpcaitech/Open-Sora#493, huggingface/diffusers#437",
        ),
        Wrong(
            "the way back",
            scaled_with(last=lambda z, shift, spread: z * spread + shift),
            "That is the way back, from the diffusion model to the decoder.",
            UNSEEN,
        ),
    ),
)


# 17.4 slerp


def slerp(a, b, share):
    cosine = (a * b).sum(dim=1, keepdim=True) / (a.norm(dim=1, keepdim=True) * b.norm(dim=1, keepdim=True))
    angle = torch.acos(cosine)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def slerp_by_rotation(a, b, share):
    """In the plane of a and b: a, and the direction at a right angle to it, for a and b of one length."""
    u = a / a.norm(dim=1, keepdim=True)
    across = b - (b * u).sum(dim=1, keepdim=True) * u
    v = across / across.norm(dim=1, keepdim=True)
    angle = torch.atan2((b * v).sum(dim=1, keepdim=True), (b * u).sum(dim=1, keepdim=True)) * share
    return a.norm(dim=1, keepdim=True) * (torch.cos(angle) * u + torch.sin(angle) * v)


def slerp_truth(a, b, share):
    """By a rotation matrix: the exponential of the angle times the generator of the plane."""
    rows = []
    for x, y in zip(a, b, strict=True):
        first = x / torch.linalg.vector_norm(x)
        second = y - (y @ first) * first
        second = second / torch.linalg.vector_norm(second)
        turned = math.acos(float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)))
        rows.append(torch.linalg.matrix_exp(share * turned * (second.outer(first) - first.outer(second))) @ x)
    return torch.stack(rows)


def of_length(x, length):
    return x * (length / x.norm(dim=1, keepdim=True))


def slerp_cases(g):
    share = uniform(g, 0.2, 0.35)
    a, b = normals(g, 5, 4), normals(g, 5, 4)
    return (
        Case(
            (doubles(2.0, 0.0)[None], doubles(1.0, 3.0**0.5)[None], 0.25), "a = (2, 0), b at 60 degrees, share = 0.25"
        ),
        Case(
            (of_length(a, 2.0), of_length(b + 0.3 * a, 2.0), share),
            f"five pairs of length 2 in four dimensions, share = {share}",
        ),
    )


def angle_of(a, b):
    return torch.acos((of_length(a, 1.0) * of_length(b, 1.0)).sum(1, keepdim=True))


def slerp_with(angle=angle_of, first=lambda s: 1 - s, second=lambda s: s, below=torch.sin):
    """Weights sin(first(share) angle) and sin(second(share) angle), over below(angle)."""

    def answer(a, b, share):
        turn = angle(a, b)
        return (torch.sin(first(share) * turn) * a + torch.sin(second(share) * turn) * b) / below(turn)

    return answer


SLERP = Exercise(
    id="17.4",
    name="slerp",
    stub='''
def slerp(a, b, share):
    """The point at `share` of the way along the arc from a to b, row by row: 0 is a, and 1 is b. (B, d).

    a, b: (B, d), rows of one and the same length, and no two of them parallel. share: a number between 0 and 1.
    """
    ...  # your code
''',
    solution=slerp,
    alternative=slerp_by_rotation,
    why=(
        "With the angle w between a and b, the weights sin((1 - share) w) / sin(w) and sin(share w) / sin(w) keep the\n"
        "length and turn by share times w. For two independent noises w is close to 90 degrees, and at share = 1/2 "
        "the\n"
        "weights are sqrt(1/2), whose squares add up to 1."
    ),
    truth=slerp_truth,
    cases=slerp_cases,
    hints=(
        "Find the angle between the rows first: the arc cosine of their dot product over both lengths.",
        "One dot product for each row: sum over dim=1, and keep the dimension.",
        "The weight of b is sin(share angle) / sin(angle). What is that of a?",
    ),
    wrong=(
        Wrong(
            "a straight line",
            lambda a, b, share: (1 - share) * a + share * b,
            "That is the straight line. Half-way between two noises it has half of their variance: it leaves the "
            "sphere on which noise lies.",
            "AUTOMATIC1111/stable-diffusion-webui#1229",
        ),
        Wrong(
            "a straight line, stretched",
            lambda a, b, share: of_length((1 - share) * a + share * b, a.norm(dim=1, keepdim=True)),
            "You stretch the straight line to the right length. Your point is on the arc, but not at `share` of it: "
            "the angle does not grow evenly.",
            UNSEEN,
        ),
        Wrong(
            "a and b exchanged",
            slerp_with(first=lambda s: s, second=lambda s: 1 - s),
            "You go from b to a. At share = 0 the result must be a.",
            "AUTOMATIC1111/stable-diffusion-webui#3068: in the fallback",
        ),
        Wrong(
            "not normalised",
            slerp_with(angle=lambda a, b: torch.acos((a * b).sum(1, keepdim=True).clamp(-1, 1))),
            "You take the arc cosine of the dot product. It is the cosine of the angle only after division by both "
            "lengths.",
            "AUTOMATIC1111/stable-diffusion-webui#1229",
        ),
        Wrong(
            "one angle for all rows",
            slerp_with(angle=lambda a, b: torch.acos((a * b).sum() / (a.norm() * b.norm()))),
            "You take one dot product over all rows together. Each pair has an angle of its own.",
            "AUTOMATIC1111/stable-diffusion-webui#3068: dot.mean()",
        ),
        Wrong(
            "degrees",
            slerp_with(angle=lambda a, b: torch.rad2deg(angle_of(a, b))),
            "Your angle is in degrees. `torch.sin` takes radians.",
            UNSEEN,
        ),
        Wrong(
            "not divided by the sine",
            slerp_with(below=torch.ones_like),
            "The division by sin(angle) is missing. At share = 0 the weight of a must be 1.",
            UNSEEN,
        ),
        Wrong(
            "weights whose squares add up to 1",
            lambda a, b, share: math.sqrt(1 - share) * a + math.sqrt(share) * b,
            "The squares of your weights add up to 1. That keeps the variance of independent noise, but your point "
            "does not move evenly along the arc, and for rows that are not at right angles its length is wrong.",
            UNSEEN,
        ),
        Wrong(
            "always a right angle",
            lambda a, b, share: math.cos(share * math.pi / 2) * a + math.sin(share * math.pi / 2) * b,
            "You take the angle for 90 degrees. For long noise that is nearly true, but not for any a and b.",
            UNSEEN,
        ),
        Wrong(
            "the cosine for the angle",
            slerp_with(angle=lambda a, b: (of_length(a, 1.0) * of_length(b, 1.0)).sum(1, keepdim=True)),
            "You use the cosine of the angle as if it were the angle. The arc cosine is missing.",
            UNSEEN,
        ),
        Wrong(
            "half-way, whatever the share",
            slerp_with(first=lambda s: 0.5, second=lambda s: 0.5),
            "Your point is always half-way. `share` does not occur.",
            UNSEEN,
        ),
        Wrong(
            "unit length",
            lambda a, b, share: of_length(slerp(a, b, share), 1.0),
            "Your point has length 1. It must have the length of a and b.",
            UNSEEN,
        ),
    ),
)


# 17.5 split_time


def split_time(path, m, std):
    target_log_snr = -math.log(m**2 - std**2)
    return schedules.time_at_log_snr(path, torch.tensor(target_log_snr, dtype=torch.float64))


def split_time_by_bisection(path, m, std):
    low, high = 0.01, 0.99
    for _ in range(60):
        t = torch.tensor((low + high) / 2, dtype=torch.float64)
        still_two = (path.alpha(t) * m) ** 2 > (path.alpha(t) * std) ** 2 + path.sigma(t) ** 2
        low, high = (float(t), high) if still_two else (low, float(t))
    return low


def split_time_truth(path, m, std):
    """Where the curvature of the density at 0 is zero: two normal densities, their second derivatives by hand."""

    def curvature(t):
        time = doubles(t)[0]
        centre, variance = (
            float(path.alpha(time)) * m,
            (float(path.alpha(time)) * std) ** 2 + float(path.sigma(time)) ** 2,
        )
        return centre * centre / variance - 1

    return torch.tensor(brentq(curvature, 0.005, 0.995, xtol=1e-13), dtype=torch.float64)


def split_time_cases(g):
    m, std = uniform(g, 1.3, 1.5), uniform(g, 0.4, 0.5)
    return (
        Case((schedules.rectified_flow(), 1.0, 0.4), "the straight path, modes at -1 and 1, std = 0.4"),
        Case((schedules.vp_linear(), m, std), f"a path `vp_linear`, modes at -{m} and {m}, std = {std}"),
        Case((schedules.cosine(), 0.9, 0.3), "a path `cosine`, modes at -0.9 and 0.9, std = 0.3"),
    )


def at_snr(snr):
    """The time at which the signal-to-noise ratio is snr(m, std)."""

    def answer(path, m, std):
        return schedules.time_at_log_snr(path, torch.tensor(math.log(snr(m, std)), dtype=torch.float64))

    return answer


def at_where(path, of):
    """The time at which of(alpha, sigma) changes its sign."""

    def value(t):
        time = doubles(t)[0]
        return of(float(path.alpha(time)), float(path.sigma(time)))

    return torch.tensor(brentq(value, 0.005, 0.995, xtol=1e-13), dtype=torch.float64)


def drift_turns(path, m, std):
    rest = 1 - std**2
    signal = 1 / (m**2 + math.hypot(m**2, rest))
    return schedules.time_at_log_snr(path, torch.tensor(math.log(signal / (1 - signal)), dtype=torch.float64))


SPLIT_TIME = Exercise(
    id="17.5",
    name="split_time",
    stub='''
def split_time(path, m, std):
    """The time t at which the density of x_t stops having two peaks, and has one. A tensor () or a number.

    The data are two modes on a line, at -m and m, equally likely, each normal with the standard deviation std < m.
    path.alpha(t) and path.sigma(t) take a tensor.
    """
    ...  # your code
''',
    solution=split_time,
    alternative=split_time_by_bisection,
    why=(
        "A noisy mode has its centre at alpha m and the variance alpha² std² + sigma². The sum of two equal normal\n"
        "densities has two peaks as long as the centre is farther from the middle than one standard deviation:\n"
        "alpha² m² = alpha² std² + sigma², which says SNR = 1 / (m² - std²)."
    ),
    truth=split_time_truth,
    cases=split_time_cases,
    hints=(
        "At time t, where is the centre of a mode, and what is its variance?",
        "Two equal normal densities make one peak when their centres are at most one standard deviation from the "
        "middle.",
        "Solve alpha² m² = alpha² std² + sigma² for alpha² / sigma², then use `schedules.time_at_log_snr(path, "
        "log_snr)`.",
    ),
    wrong=(
        Wrong(
            "modes without a width",
            at_snr(lambda m, std: 1 / m**2),
            "You set alpha m equal to sigma. The modes have a width of their own, alpha std, which makes them melt "
            "earlier.",
            UNSEEN,
        ),
        Wrong(
            "the width is not shrunk",
            lambda path, m, std: at_where(path, lambda a, s: a**2 * m**2 - std**2 - s**2),
            "You take std² for the width of a mode. At time t it is alpha² std².",
            UNSEEN,
        ),
        Wrong(
            "the distance of the modes",
            at_snr(lambda m, std: 1 / (4 * m**2 - std**2)),
            "You take 2 m, the distance of the two modes. What counts is the distance from the middle, m.",
            UNSEEN,
        ),
        Wrong(
            "half the distance to the middle",
            at_snr(lambda m, std: 1 / (m**2 / 4 - std**2)),
            "You take m / 2. The modes are at -m and m, so m is the distance from the middle already.",
            UNSEEN,
        ),
        Wrong(
            "standard deviations added",
            at_snr(lambda m, std: 1 / (m - std) ** 2),
            "You have alpha m = alpha std + sigma. Variances add up, standard deviations do not.",
            UNSEEN,
        ),
        Wrong(
            "the sign of the width",
            at_snr(lambda m, std: 1 / (m**2 + std**2)),
            "Your width has the wrong sign: wide modes must melt earlier, not later.",
            UNSEEN,
        ),
        Wrong(
            "noise over signal",
            at_snr(lambda m, std: m**2 - std**2),
            "You have sigma² / alpha². SNR is the signal over the noise.",
            UNSEEN,
        ),
        Wrong(
            "half the log-SNR",
            at_snr(lambda m, std: (m**2 - std**2) ** -0.5),
            "You take ln(alpha / sigma). The log-SNR of the course is ln(alpha² / sigma²), twice as much.",
            "Lu et al. 2022, whose lambda is half of ours",
        ),
        Wrong(
            "the squares are missing",
            at_snr(lambda m, std: 1 / (m - std)),
            "You compare m with std and sigma without squares.",
            UNSEEN,
        ),
        Wrong(
            "where the drift turns",
            drift_turns,
            "That is the time at which the drift of the reverse SDE turns unstable. The density splits later on the "
            "way back.",
            "Raya & Ambrogioni 2023",
        ),
        Wrong(
            "as much signal as noise",
            at_snr(lambda m, std: 1.0),
            "You take the time at which alpha = sigma. Data whose modes are far apart stay split beyond it.",
            UNSEEN,
        ),
    ),
)


# 17.6 rate_of_three


def rate_of_three():
    variances, std = (5.0, 1.25, 0.2), 0.5
    return sum(0.5 * math.log(variance / std**2) for variance in variances if variance > std**2)


RATE_OF_THREE = Question(
    id="17.6",
    name="rate_of_three",
    stub="rate_of_three = None  # the rate in nats, to two digits",
    right=(2.25, 2.36),
    solution=rate_of_three,
    why=(
        "The water level is std² = 0.25. The first two eigenvalues lie above it, by the factors 20 and 5, and the "
        "third\n"
        "lies below, so its latent has collapsed. The rate is ln(20) / 2 + ln(5) / 2 = ln(10)."
    ),
    hints=(
        "The level is std², not std.",
        "A latent that is active costs half the logarithm of its eigenvalue over the level.",
        "Which of 5, 1.25 and 0.2 lie above 0.25?",
    ),
    wrong=(
        WrongValue(
            "std for the level", (1.58, 1.64), "You took 0.5 for the level. It is the variance, std² = 0.25.", UNSEEN
        ),
        WrongValue(
            "the collapsed latent counts",
            (2.17, 2.22),
            "You added ln(0.2 / 0.25) / 2 for the third latent. Its eigenvalue lies below the level, so it has "
            "collapsed, and its rate is 0.",
            UNSEEN,
        ),
        WrongValue(
            "no half", (4.5, 4.7), "The half is missing: an active latent costs ln(eigenvalue / level) / 2.", UNSEEN
        ),
        WrongValue("bits", (3.3, 3.34), "That is the rate in bits. In nats it is smaller by the factor ln 2.", UNSEEN),
        WrongValue("log to the base 10", (0.98, 1.02), "You took logarithms to the base 10.", UNSEEN),
        WrongValue("the first latent only", (1.48, 1.52), "Two eigenvalues lie above the level, not one.", UNSEEN),
        WrongValue("the distortion", (0.69, 0.71), "That is the distortion D of (3).", UNSEEN),
        WrongValue(
            "the level is forgotten",
            (0.9, 0.93),
            "You took ln(eigenvalue) / 2. What counts is the eigenvalue over the level.",
            UNSEEN,
        ),
        WrongValue(
            "signal plus noise", (2.4, 2.45), "You have ln(1 + eigenvalue / level) / 2 for two latents.", UNSEEN
        ),
    ),
)


# 17.7 on paper, 17.8 open

COVARIANCE_ONE = Explanation(
    id="17.7",
    name="why mean and variance see no hole",
    task="Show that an active latent of the best linear VAE has mean 0 and variance 1, whatever the data are.",
    model=(
        "Latent i is a projection and noise: z = w (u · (x - mean)) / kappa + noise, with a principal axis u, its "
        "eigenvalue kappa, w² = kappa - std², and noise of variance std² / kappa. The mean of x - mean is 0, so "
        "that "
        "of z is 0. The projection u · (x - mean) has the variance kappa, because kappa is an eigenvalue of the "
        "covariance. So the variance of z is w² / kappa + std² / kappa = (kappa - std² + std²) / kappa = 1. Only "
        "the "
        "covariance of the data was used. Two latents are uncorrelated, because their axes are eigenvectors. So q(z) "
        "has mean 0 and covariance I even if the data are two blobs, and a check of mean and covariance passes while "
        "half of the prior lies in a hole."
    ),
    look_for=(
        "The variance of z is the variance of the projection plus that of the noise.",
        "They add up to 1 because of the values that the optimum has.",
        "Only mean and covariance of the data are used, so the shape of q(z) is free.",
    ),
    hints=(
        "Write z as a number times the projection of x onto a principal axis, plus noise.",
        "What is the variance of the projection? What is that of the noise?",
        "Which properties of the data did you use?",
    ),
)

ONLY_SPEED = Explanation(
    id="17.8",
    name="only about speed",
    task="A colleague says: a latent space is only about speed, and with enough computers we would use pixels. Answer.",
    model=(
        "Speed is the main reason why people use it, but it is not the only thing that changes. First, the decoder "
        "sets a limit: a perfect latent model is as good as the reconstructions, and no better. In 32 numbers they are "
        "near real digits but not at the floor, with fewer numbers they are farther away, and a pixel model has no "
        "such limit. Second, "
        "what the encoder throws away is "
        "chosen by its loss: detail of small variance goes first. Third, the units of the latent are somebody's "
        "choice, and they decide at which times a sample makes its decisions. Fourth, in 32 numbers much simpler "
        "models do the same job: a hundred Gaussians are about as good here. To measure it, train both for the same "
        "seconds and compare both with real digits, in floors, with the reconstructions as a third row."
    ),
    look_for=(
        "A perfect latent model is as far from real images as the reconstructions.",
        "The encoder decides what is lost.",
        "A comparison at equal time, with the reconstructions beside it.",
    ),
    hints=(
        "What is the best that a perfect latent model can do?",
        "Who decides which details of an image are kept?",
        "What would you put into a table to settle it?",
    ),
)

EXERCISES = (
    *(ELBO, HOLE, SCALED),
    *(SLERP, SPLIT_TIME, RATE_OF_THREE, COVARIANCE_ONE, ONLY_SPEED),
)
