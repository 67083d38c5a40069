"""Lab 07-08, learning to denoise and score matching: after notebooks 07 and 08."""

import math

import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from minidiff.checks.records import Case, Exercise, Wrong
from minidiff.checks.views import UNSEEN
from minidiff.workshop.labs.hidden import between, double, normals
from minidiff.workshop.labs.records import Lab, Plot, Problem, Variant

__all__ = ["LAB"]

DOUBLE = torch.float64


# floor: how low the loss can get, for the noise or for the difference of noise and data


def least_square_error(target_0, target_eps, alpha, sigma, variance):
    """What the best line in x_t leaves of target_0 x0 + target_eps eps: by quadrature with two nodes for x0 and eps."""
    x0, eps = torch.cartesian_prod(double(-1, 1) * math.sqrt(variance), double(-1, 1)).T
    x_t, target = alpha * x0 + sigma * eps, target_0 * x0 + target_eps * eps
    slope = (target * x_t).mean() / (x_t**2).mean()
    return float(((target - slope * x_t) ** 2).mean())


def floor_of_eps(variances, alpha, sigma):
    unknown = variances * sigma**2 / (alpha**2 * variances + sigma**2)  # the variance of x0, once x_t is known
    return (alpha**2 / sigma**2 * unknown).mean()


def floor_of_eps_from_the_noise(variances, alpha, sigma):
    explained = sigma**2 / (alpha**2 * variances + sigma**2)
    return 1 - explained.mean()


def floor_of_eps_truth(variances, alpha, sigma):
    floors = [least_square_error(0, 1, alpha, sigma, variance) for variance in variances.tolist()]
    return sum(floors) / len(floors)


def floor_of_eps_cases(g):
    variances = double(between(g, 0.2, 0.5), between(g, 1.5, 3.0), between(g, 0.01, 0.05))
    return (
        Case((double(2.0, 0.25), 0.8, 0.5), "variances = (2, 0.25), alpha = 0.8 and sigma = 0.5"),
        Case((variances, between(g, 0.5, 0.9), between(g, 0.3, 0.7)), "hidden variances of three coordinates"),
    )


FLOOR_OF_EPS = Exercise(
    id="lab07-08.floor.eps",
    name="floor_of_eps",
    stub='''
def floor_of_eps(variances, alpha, sigma):
    """The lowest mean square error of the predicted noise, one number. variances (d,): of the coordinates of x0."""
    ...  # your code
''',
    solution=floor_of_eps,
    alternative=floor_of_eps_from_the_noise,
    why=(
        "Once x_t is known, a coordinate of normal data has the variance v sigma² / (alpha² v + sigma²) left. An "
        "error\n"
        "in x0 is an error in eps times alpha / sigma, so its square is multiplied by the SNR."
    ),
    truth=floor_of_eps_truth,
    cases=floor_of_eps_cases,
    hints=(),
    wrong=(
        Wrong(
            "the floor of x0",
            lambda variances, alpha, sigma: (variances * sigma**2 / (alpha**2 * variances + sigma**2)).mean(),
            "This is the floor of a network that predicts x0. At a fixed x_t, an error in x0 is an error in the noise, "
            "but of another size.",
            UNSEEN,
        ),
        Wrong(
            "alpha / sigma without the square",
            lambda variances, alpha, sigma: (
                alpha / sigma * variances * sigma**2 / (alpha**2 * variances + sigma**2)
            ).mean(),
            "You multiply the floor of x0 by alpha / sigma. That is the ratio of the errors, but a floor is a mean of "
            "their squares.",
            UNSEEN,
        ),
        Wrong(
            "a sum over the coordinates",
            lambda variances, alpha, sigma: (alpha**2 * variances / (alpha**2 * variances + sigma**2)).sum(),
            "You add up the coordinates. The loss is a mean over them too, so that a network that always answers 0 has "
            "the loss 1 in any dimension.",
            UNSEEN,
        ),
        Wrong(
            "the mean variance",
            lambda variances, alpha, sigma: alpha**2 * variances.mean() / (alpha**2 * variances.mean() + sigma**2),
            "You take the mean of the variances first, as if all coordinates had the same. The floor is not "
            "proportional to the variance, so each coordinate needs its own.",
            UNSEEN,
        ),
        Wrong(
            "variances taken for standard deviations",
            lambda variances, alpha, sigma: (alpha**2 * variances**2 / (alpha**2 * variances**2 + sigma**2)).mean(),
            "You square the variances, as if they were standard deviations. They are squares already.",
            UNSEEN,
        ),
        Wrong(
            "what x_t explains",
            lambda variances, alpha, sigma: (sigma**2 / (alpha**2 * variances + sigma**2)).mean(),
            "This is the part of the noise's variance that x_t explains. The floor is the part that it does not "
            "explain: it should grow with the variance of the data, in which the noise hides.",
            UNSEEN,
        ),
    ),
)


def floor_of_difference(variances, t):
    unknown = variances * t**2 / ((1 - t) ** 2 * variances + t**2)  # the variance of x0, once x_t is known
    return (unknown / t**2).mean()


def floor_of_difference_by_covariance(variances, t):
    of_x_t = (1 - t) ** 2 * variances + t**2
    together = t - (1 - t) * variances  # the covariance of eps - x0 and x_t
    return (1 + variances - together**2 / of_x_t).mean()


def floor_of_difference_truth(variances, t):
    floors = [least_square_error(-1, 1, 1 - t, t, variance) for variance in variances.tolist()]
    return sum(floors) / len(floors)


def floor_of_difference_cases(g):
    variances = double(between(g, 0.2, 0.5), between(g, 1.5, 3.0), between(g, 0.01, 0.05))
    return (
        Case((double(2.0, 0.25), 0.4), "variances = (2, 0.25) and t = 0.4"),
        Case((variances, between(g, 0.55, 0.85)), "hidden variances of three coordinates"),
    )


FLOOR_OF_DIFFERENCE = Exercise(
    id="lab07-08.floor.difference",
    name="floor_of_difference",
    stub='''
def floor_of_difference(variances, t):
    """The lowest mean square error of a predicted eps - x0, one number. variances (d,): of the coordinates of x0."""
    ...  # your code
''',
    solution=floor_of_difference,
    alternative=floor_of_difference_by_covariance,
    why=(
        "Once x_t is known, a coordinate of normal data has the variance v t² / ((1 - t)² v + t²) left. At a fixed "
        "x_t\n"
        "an error e in x0 comes with the error -(1 - t) e / t in eps, so eps - x0 is off by -e / t."
    ),
    truth=floor_of_difference_truth,
    cases=floor_of_difference_cases,
    hints=(),
    wrong=(
        Wrong(
            "the floor of x0",
            lambda variances, t: (variances * t**2 / ((1 - t) ** 2 * variances + t**2)).mean(),
            "This is the floor of a network that predicts x0. At a fixed x_t, an error in x0 is an error in eps - x0, "
            "but of another size.",
            UNSEEN,
        ),
        Wrong(
            "the floor of eps",
            lambda variances, t: ((1 - t) ** 2 * variances / ((1 - t) ** 2 * variances + t**2)).mean(),
            "This is the floor of a network that predicts the noise alone. x0 is not known either.",
            UNSEEN,
        ),
        Wrong(
            "the two floors added",
            lambda variances, t: (((1 - t) ** 2 + t**2) * variances / ((1 - t) ** 2 * variances + t**2)).mean(),
            "You add the floors of eps and of x0. That would be right if their errors were independent, but x_t ties "
            "them together: where x0 is guessed too low, eps is guessed too high.",
            UNSEEN,
        ),
        Wrong(
            "divided by t once",
            lambda variances, t: (variances * t / ((1 - t) ** 2 * variances + t**2)).mean(),
            "You found the ratio of the errors, but a floor is a mean of their squares.",
            UNSEEN,
        ),
        Wrong(
            "a sum over the coordinates",
            lambda variances, t: (variances / ((1 - t) ** 2 * variances + t**2)).sum(),
            "You add up the coordinates. The loss is a mean over them too, so that losses in different dimensions can "
            "be compared.",
            UNSEEN,
        ),
        Wrong(
            "the mean variance",
            lambda variances, t: variances.mean() / ((1 - t) ** 2 * variances.mean() + t**2),
            "You take the mean of the variances first, as if all coordinates had the same. The floor is not "
            "proportional to the variance, so each coordinate needs its own.",
            UNSEEN,
        ),
    ),
)

FLOOR = Problem(
    name="floor",
    points=3,
    variants=(
        Variant(
            FLOOR_OF_EPS,
            "The data are normal, and the coordinates of $x_0$ are independent: coordinate $i$ has the variance $v_i$. "
            "(The means do not matter.) A network sees $x_t = \\alpha x_0 + \\sigma\\varepsilon$ and predicts the "
            "noise $\\varepsilon$. Its loss is the mean square of its error, where the mean runs over the points and "
            "over the $d$ coordinates, as in notebook 07. How low can this loss get? `variances`, of shape (d,), holds "
            "the $v_i$; `alpha` and `sigma` are positive numbers, and $\\alpha^2 + \\sigma^2$ need not be 1. Return "
            "one number.",
            "notebook 07, section 2",
        ),
        Variant(
            FLOOR_OF_DIFFERENCE,
            "The data are normal, and the coordinates of $x_0$ are independent: coordinate $i$ has the variance $v_i$. "
            "(The means do not matter.) A network sees $x_t = (1-t)\\,x_0 + t\\,\\varepsilon$ and predicts the "
            "difference $\\varepsilon - x_0$. Its loss is the mean square of its error, where the mean runs over the "
            "points and over the $d$ coordinates, as in notebook 07. How low can this loss get at the time $t$? "
            "`variances`, of shape (d,), holds the $v_i$; `t` is a number between 0 and 1. Return one number.",
            "notebook 07, sections 2 and 9",
        ),
    ),
)


# target: what a network predicts, turned into something else, on a path that need not keep the variance


def both_from(first, second, out, x_t):
    """x0 and eps from two equations: rows (A, B) say that A x0 + B eps is x_t, and `out`."""
    matrix = torch.tensor([first, second], dtype=DOUBLE)
    return torch.linalg.solve(matrix, torch.stack([x_t.flatten(), out.flatten()])).reshape(2, *x_t.shape)


def eps_from_v(out, x_t, alpha, sigma):
    return (alpha * out + sigma * x_t) / (alpha**2 + sigma**2)


def eps_from_v_by_x0(out, x_t, alpha, sigma):
    x0 = (alpha * x_t - sigma * out) / (alpha**2 + sigma**2)
    return (x_t - alpha * x0) / sigma


def eps_from_v_truth(out, x_t, alpha, sigma):
    return both_from([alpha, sigma], [-sigma, alpha], out, x_t)[1]


def eps_from_v_cases(g):
    plain = double(1.0, -2.0).reshape(1, 2), double(0.5, 3.0).reshape(1, 2)
    return (
        Case((*plain, 0.9, 0.7), "out = (1, -2), x_t = (0.5, 3), alpha = 0.9 and sigma = 0.7"),
        Case((normals(g, 5, 3), normals(g, 5, 3), between(g, 0.3, 0.6), between(g, 1.5, 2.5)), "hidden points"),
    )


EPS_FROM_V = Exercise(
    id="lab07-08.target.v",
    name="eps_from_v",
    stub='''
def eps_from_v(out, x_t, alpha, sigma):
    """The noise from a predicted v = alpha eps - sigma x0, on any path. out, x_t: (B, d). Returns (B, d)."""
    ...  # your code
''',
    solution=eps_from_v,
    alternative=eps_from_v_by_x0,
    why=(
        "alpha v + sigma x_t = (alpha² + sigma²) eps: the terms with x0 cancel. Only where the variance is preserved "
        "is "
        "the bracket 1."
    ),
    truth=eps_from_v_truth,
    cases=eps_from_v_cases,
    hints=(),
    wrong=(
        Wrong(
            "as if the variance were preserved",
            lambda out, x_t, alpha, sigma: alpha * out + sigma * x_t,
            "You use alpha² + sigma² = 1. Here the path need not keep the variance, so the sum of the squares stays in "
            "the formula.",
            UNSEEN,
        ),
        Wrong(
            "the sign of v",
            lambda out, x_t, alpha, sigma: (sigma * x_t - alpha * out) / (alpha**2 + sigma**2),
            "The sign of v is turned around. Its noise has the factor +alpha, and its data have the factor -sigma.",
            "huggingface/diffusers#1421",
        ),
        Wrong(
            "x0 in place of the noise",
            lambda out, x_t, alpha, sigma: (alpha * x_t - sigma * out) / (alpha**2 + sigma**2),
            "You solved for x0. The noise is asked for.",
            UNSEEN,
        ),
        Wrong(
            "alpha and sigma exchanged",
            lambda out, x_t, alpha, sigma: (sigma * out + alpha * x_t) / (alpha**2 + sigma**2),
            "Your alpha and sigma are exchanged, so x0 does not cancel. Look which factor x0 has in v, and which in "
            "x_t.",
            "VinAIResearch/LFM#19",
        ),
        Wrong(
            "a root in the denominator",
            lambda out, x_t, alpha, sigma: (alpha * out + sigma * x_t) / math.sqrt(alpha**2 + sigma**2),
            "You divide by the length of (alpha, sigma). The determinant of the two equations is the square of that.",
            UNSEEN,
        ),
        Wrong(
            "v taken for x0",
            lambda out, x_t, alpha, sigma: (x_t - alpha * out) / sigma,
            "You use the prediction as if it were x0. It is v, a mixture of the noise and the data.",
            UNSEEN,
        ),
    ),
)


def score_from_difference(out, x_t, alpha, sigma):
    eps = (x_t + alpha * out) / (alpha + sigma)
    return -eps / sigma


def score_from_difference_by_x0(out, x_t, alpha, sigma):
    x0 = (x_t - sigma * out) / (alpha + sigma)
    return (alpha * x0 - x_t) / sigma**2


def score_from_difference_truth(out, x_t, alpha, sigma):
    return both_from([alpha, sigma], [-1.0, 1.0], out, x_t)[1].div(-sigma)


SCORE_FROM_DIFFERENCE = Exercise(
    id="lab07-08.target.difference",
    name="score_from_difference",
    stub='''
def score_from_difference(out, x_t, alpha, sigma):
    """The score at x_t from a predicted eps - x0, on any path. out, x_t: (B, d). Returns (B, d)."""
    ...  # your code
''',
    solution=score_from_difference,
    alternative=score_from_difference_by_x0,
    why=(
        "x_t + alpha out = (alpha + sigma) eps: the terms with x0 cancel. The score is -eps / sigma. Only where "
        "alpha + sigma = 1 is the bracket 1."
    ),
    truth=score_from_difference_truth,
    cases=eps_from_v_cases,
    hints=(),
    wrong=(
        Wrong(
            "the noise in place of the score",
            lambda out, x_t, alpha, sigma: (x_t + alpha * out) / (alpha + sigma),
            "You return the predicted noise. The score is the noise with the opposite sign and on another scale.",
            "acids-ircam/diffusion_models#5",
        ),
        Wrong(
            "the sign of the score",
            lambda out, x_t, alpha, sigma: (x_t + alpha * out) / (sigma * (alpha + sigma)),
            "The sign is turned around. On average the noise points away from the data, and the score points to them.",
            "soran-ghaderi/torchebm#318",
        ),
        Wrong(
            "as if alpha + sigma were 1",
            lambda out, x_t, alpha, sigma: -(x_t + alpha * out) / sigma,
            "You use alpha + sigma = 1. Here the path may be any, so their sum stays in the formula.",
            UNSEEN,
        ),
        Wrong(
            "the prediction taken for noise",
            lambda out, x_t, alpha, sigma: -out / sigma,
            "You use the prediction as if it were the noise. It is the difference of the noise and the data.",
            UNSEEN,
        ),
        Wrong(
            "divided by sigma squared",
            lambda out, x_t, alpha, sigma: -(x_t + alpha * out) / (sigma**2 * (alpha + sigma)),
            "You divide the noise by sigma². The *displacement* sigma eps is divided by sigma², so eps by less.",
            "yang-song/score_sde_pytorch#26",
        ),
        Wrong(
            "the sign of the prediction",
            lambda out, x_t, alpha, sigma: -(x_t - alpha * out) / (sigma * (alpha + sigma)),
            "You take the prediction for x0 - eps. It is eps - x0, so in your sum the data do not cancel.",
            UNSEEN,
        ),
    ),
)

TARGET = Problem(
    name="target",
    points=3,
    variants=(
        Variant(
            EPS_FROM_V,
            "A network predicts $v = \\alpha\\varepsilon - \\sigma x_0$, but on a path $x_t = \\alpha x_0 + "
            "\\sigma\\varepsilon$ on which $\\alpha^2 + \\sigma^2$ need not be 1. Which noise $\\varepsilon$ does it "
            "predict? `out` is the predicted $v$, and `x_t` holds the noisy points, both of shape (B, d). `alpha` and "
            "`sigma` are positive numbers, the same for all points. Return (B, d).",
            "notebook 07, section 9",
        ),
        Variant(
            SCORE_FROM_DIFFERENCE,
            "A network predicts $\\varepsilon - x_0$ on a path $x_t = \\alpha x_0 + \\sigma\\varepsilon$, where "
            "$\\alpha$ and $\\sigma$ may be any positive numbers. Which score $\\nabla\\ln p_t(x_t)$ does it predict? "
            "`out` is the predicted difference, and `x_t` holds the noisy points, both of shape (B, d). `alpha` and "
            "`sigma` are the numbers $\\alpha$ and $\\sigma$, the same for all points. Return (B, d).",
            "notebook 07, sections 7 and 9",
        ),
    ),
)


# kl: normal densities with a variance of its own for each axis


def kl_by_axis(mean_q, variance_q, mean_p, variance_p):
    ratio = variance_q / variance_p
    return 0.5 * (ratio - 1 - ratio.log() + (mean_q - mean_p) ** 2 / variance_p).sum(dim=1)


def kl_one_axis_after_the_other(mean_q, variance_q, mean_p, variance_p):
    total = torch.zeros_like(mean_q[:, 0])
    for axis in range(mean_q.shape[1]):
        second_moment = variance_q[axis] + (mean_q[:, axis] - mean_p[:, axis]) ** 2
        total = total + (second_moment / variance_p[axis] - 1 + torch.log(variance_p[axis] / variance_q[axis])) / 2
    return total


def kl_by_axis_truth(mean_q, variance_q, mean_p, variance_p):
    q, p = (
        Independent(Normal(mean, variance.sqrt()), 1) for mean, variance in ((mean_q, variance_q), (mean_p, variance_p))
    )
    return kl_divergence(q, p)


def kl_by_axis_cases(g):
    def variances():
        return double(*(between(g, low, high) for low, high in ((0.2, 0.6), (1.2, 2.0), (2.5, 4.0))))

    return (
        Case(
            (double(1.0, 0.5)[None], double(0.5, 2.0), double(0.0, -1.0)[None], double(1.5, 1.0)),
            "q with mean (1, 0.5) and variances (0.5, 2), p with mean (0, -1) and variances (1.5, 1)",
        ),
        Case((normals(g, 4, 3), variances(), 1 + normals(g, 4, 3), variances().flip(0)), "hidden pairs, three axes"),
    )


KL_BY_AXIS = Exercise(
    id="lab07-08.kl.axes",
    name="kl_by_axis",
    stub='''
def kl_by_axis(mean_q, variance_q, mean_p, variance_p):
    """KL(q || p) in nats of n pairs, (n,). Means: (n, d). Variances: (d,), of each axis, the same for all pairs."""
    ...  # your code
''',
    solution=kl_by_axis,
    alternative=kl_one_axis_after_the_other,
    why="Independent axes: the densities are products, so their logarithms add up, and with them the KL of each axis.",
    truth=kl_by_axis_truth,
    cases=kl_by_axis_cases,
    hints=(),
    wrong=(
        Wrong(
            "no half",
            lambda mean_q, variance_q, mean_p, variance_p: (
                variance_q / variance_p - 1 - torch.log(variance_q / variance_p) + (mean_q - mean_p) ** 2 / variance_p
            ).sum(dim=1),
            "Your result is twice as large as it should be, because the exponent of a normal density has the factor "
            "1/2.",
            "google-deepmind/torch-distributions#34",
        ),
        Wrong(
            "q and p exchanged",
            lambda mean_q, variance_q, mean_p, variance_p: (
                0.5
                * (
                    variance_p / variance_q
                    - 1
                    - torch.log(variance_p / variance_q)
                    + (mean_q - mean_p) ** 2 / variance_q
                ).sum(dim=1)
            ),
            "This is KL(p || q). The mean is taken over points from the first density, so the two are not the same.",
            "openai/spinningup#192",
        ),
        Wrong(
            "the sign of the logarithm",
            lambda mean_q, variance_q, mean_p, variance_p: (
                0.5
                * (
                    variance_q / variance_p
                    - 1
                    + torch.log(variance_q / variance_p)
                    + (mean_q - mean_p) ** 2 / variance_p
                ).sum(dim=1)
            ),
            "The logarithm alone has the wrong sign. With it your KL can be negative, and a KL never is.",
            "FluxML/model-zoo#147",
        ),
        Wrong(
            "over the variance of q",
            lambda mean_q, variance_q, mean_p, variance_p: (
                0.5
                * (
                    variance_q / variance_p
                    - 1
                    - torch.log(variance_q / variance_p)
                    + (mean_q - mean_p) ** 2 / variance_q
                ).sum(dim=1)
            ),
            "The terms with the variances alone are right, but you divide the distance of the means by the variance of "
            "q. The distance comes from ln p, where it stands over the variance of p.",
            UNSEEN,
        ),
        Wrong(
            "a mean over the axes",
            lambda mean_q, variance_q, mean_p, variance_p: (
                0.5
                * (
                    variance_q / variance_p
                    - 1
                    - torch.log(variance_q / variance_p)
                    + (mean_q - mean_p) ** 2 / variance_p
                ).mean(dim=1)
            ),
            "You take a mean over the axes. The logarithms of independent axes add up.",
            UNSEEN,
        ),
        Wrong(
            "one axis too few",
            lambda mean_q, variance_q, mean_p, variance_p: (
                0.5
                * (
                    (variance_q / variance_p).sum()
                    - 1
                    - torch.log(variance_q / variance_p).sum()
                    + ((mean_q - mean_p) ** 2 / variance_p).sum(dim=1)
                )
            ),
            "The number 1 is subtracted once. It comes from the second moment of an axis under q, and there are d "
            "axes.",
            "ericjang/draw#2",
        ),
    ),
)


def end_term(x0, alpha, sigma, prior_variances):
    ratio = sigma**2 / prior_variances
    return 0.5 * (ratio - 1 - ratio.log() + (alpha * x0) ** 2 / prior_variances).sum(dim=1)


def end_term_by_second_moments(x0, alpha, sigma, prior_variances):
    logarithms = torch.log(prior_variances).sum() - 2 * x0.shape[1] * math.log(sigma)
    return ((alpha**2 * x0**2 + sigma**2) / prior_variances - 1).sum(dim=1) / 2 + logarithms / 2


def end_term_truth(x0, alpha, sigma, prior_variances):
    end = MultivariateNormal(alpha * x0, sigma**2 * torch.eye(x0.shape[1], dtype=x0.dtype))
    return kl_divergence(end, MultivariateNormal(torch.zeros_like(prior_variances), prior_variances.diag()))


def end_term_cases(g):
    prior = double(between(g, 0.4, 0.8), between(g, 1.3, 2.0), between(g, 2.5, 4.0))
    return (
        Case(
            (double(1.0, -2.0)[None], 0.4, 0.7, double(2.0, 0.8)),
            "x0 = (1, -2), alpha = 0.4, sigma = 0.7 and prior variances (2, 0.8)",
        ),
        Case((2 * normals(g, 4, 3), between(g, 0.2, 0.5), between(g, 0.6, 0.8), prior), "hidden points, three axes"),
    )


END_TERM = Exercise(
    id="lab07-08.kl.end",
    name="end_term",
    stub='''
def end_term(x0, alpha, sigma, prior_variances):
    """L_T in nats for each of the points x0 (B, d), (B,). prior_variances (d,): of a prior of mean 0, axis by axis."""
    ...  # your code
''',
    solution=end_term,
    alternative=end_term_by_second_moments,
    why=(
        "Given x0, the end of the path is normal with the mean alpha x0 and the variance sigma² on each axis. The "
        "axes\n"
        "are independent, so the KLs of the axes add up."
    ),
    truth=end_term_truth,
    cases=end_term_cases,
    hints=(),
    wrong=(
        Wrong(
            "the two densities exchanged",
            lambda x0, alpha, sigma, prior_variances: (
                0.5
                * (
                    prior_variances / sigma**2
                    - 1
                    - torch.log(prior_variances / sigma**2)
                    + (alpha * x0) ** 2 / sigma**2
                ).sum(dim=1)
            ),
            "This is the KL of the prior from the end of the path. In the bound the mean is taken over points of the "
            "path, so q comes first.",
            "openai/spinningup#192",
        ),
        Wrong(
            "the sign of the logarithm",
            lambda x0, alpha, sigma, prior_variances: (
                0.5
                * (
                    sigma**2 / prior_variances
                    - 1
                    + torch.log(sigma**2 / prior_variances)
                    + (alpha * x0) ** 2 / prior_variances
                ).sum(dim=1)
            ),
            "The logarithm alone has the wrong sign. With it your KL can be negative, and a KL never is.",
            "FluxML/model-zoo#147",
        ),
        Wrong(
            "the clean point as the mean",
            lambda x0, alpha, sigma, prior_variances: (
                0.5
                * (
                    sigma**2 / prior_variances - 1 - torch.log(sigma**2 / prior_variances) + x0**2 / prior_variances
                ).sum(dim=1)
            ),
            "You take x0 for the mean of the end of the path. Only a part of x0 is left there.",
            UNSEEN,
        ),
        Wrong(
            "alpha without the square",
            lambda x0, alpha, sigma, prior_variances: (
                0.5
                * (
                    sigma**2 / prior_variances
                    - 1
                    - torch.log(sigma**2 / prior_variances)
                    + alpha * x0**2 / prior_variances
                ).sum(dim=1)
            ),
            "In your distance of the means alpha is not squared. It belongs to the mean, and the mean is squared.",
            UNSEEN,
        ),
        Wrong(
            "sigma for its square",
            lambda x0, alpha, sigma, prior_variances: (
                0.5
                * (
                    sigma / prior_variances
                    - 1
                    - torch.log(sigma / prior_variances)
                    + (alpha * x0) ** 2 / prior_variances
                ).sum(dim=1)
            ),
            "You compare sigma with the prior's variance. sigma is a standard deviation.",
            "NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "no half",
            lambda x0, alpha, sigma, prior_variances: (
                sigma**2 / prior_variances
                - 1
                - torch.log(sigma**2 / prior_variances)
                + (alpha * x0) ** 2 / prior_variances
            ).sum(dim=1),
            "Your result is twice as large as it should be, because the exponent of a normal density has the factor "
            "1/2.",
            "google-deepmind/torch-distributions#34",
        ),
        Wrong(
            "a mean over the axes",
            lambda x0, alpha, sigma, prior_variances: (
                0.5
                * (
                    sigma**2 / prior_variances
                    - 1
                    - torch.log(sigma**2 / prior_variances)
                    + (alpha * x0) ** 2 / prior_variances
                ).mean(dim=1)
            ),
            "You take a mean over the axes. The logarithms of independent axes add up.",
            UNSEEN,
        ),
    ),
)

KL = Problem(
    name="kl",
    points=3,
    variants=(
        Variant(
            KL_BY_AXIS,
            "In notebook 07 each density had one variance for all its axes. Now $q$ and $p$ are normal with a variance "
            "of their own for each axis, and the axes are independent. Return $\\mathrm{KL}(q\\,\\Vert\\,p)$ in nats "
            "for $n$ pairs of means. `mean_q` and `mean_p` have the shape (n, d); `variance_q` and `variance_p` have "
            "the shape (d,), hold variances, and belong to all $n$ pairs. Return (n,).",
            "notebook 07, section 4",
        ),
        Variant(
            END_TERM,
            "Return the term $L_T = \\mathrm{KL}\\bigl(q(x_T \\mid x_0)\\,\\Vert\\,p(x_T)\\bigr)$ of the variational "
            "bound in nats, for each of the data points `x0`, of shape (B, d). At the end of the path $x_T = \\alpha "
            "x_0 + \\sigma\\varepsilon$, with the positive numbers `alpha` and `sigma`. The prior $p(x_T)$ is normal "
            "with mean 0 and independent axes, but not standard: `prior_variances`, of shape (d,), holds the variance "
            "of each axis. Return (B,).",
            "notebook 07, section 4",
        ),
    ),
)


# loss: denoising score matching with noise that is not N(0, sigma² I)


def wavy_score(y):
    """What some network takes for the score at the points y (B, d). Returns (B, d)."""
    return torch.sin(y) - 0.4 * y.flip(1)


def slope_of(log_density, y):
    y = y.detach().clone().requires_grad_()
    return torch.autograd.grad(log_density(y).sum(), y)[0]


def loss_with_covariance(score, x, z, L):
    target = -torch.linalg.solve(L.T, z.T).T
    return (score(x + z @ L.T) - target).square().sum(dim=1)


def loss_with_covariance_by_inverse(score, x, z, L):
    noise = torch.stack([L @ row for row in z])
    return (score(x + noise) + noise @ torch.inverse(L @ L.T)).square().sum(dim=1)


def loss_with_covariance_truth(score, x, z, L):  # the gradient of ln q, by automatic differentiation
    y = x + torch.einsum("ij,bj->bi", L, z)
    target = slope_of(MultivariateNormal(x, scale_tril=L).log_prob, y)
    return torch.linalg.vector_norm(score(y) - target, dim=1) ** 2


def loss_with_covariance_cases(g):
    L = torch.tensor([[between(g, 0.5, 0.8), 0, 0], [between(g, 0.4, 0.9), between(g, 0.9, 1.2), 0], [0, 0, 0]])
    L[2] = torch.tensor([between(g, -0.7, -0.4), between(g, 0.3, 0.6), between(g, 1.3, 1.6)])
    plain = torch.tensor([[0.5, 0.0], [1.0, 2.0]], dtype=DOUBLE)
    return (
        Case(
            (wavy_score, double(1.0, -1.0)[None], double(2.0, 1.0)[None], plain),
            "wavy_score, x = (1, -1), z = (2, 1) and L = [[0.5, 0], [1, 2]]",
        ),
        Case((wavy_score, 2 * normals(g, 6, 3), normals(g, 6, 3), L.double()), "hidden points with three coordinates"),
    )


def covariance_other_way_round(score, x, z, L):
    noise = z @ L
    return ((score(x + noise) + noise @ torch.inverse(L @ L.T)) ** 2).sum(dim=1)


LOSS_WITH_COVARIANCE = Exercise(
    id="lab07-08.loss.covariance",
    name="loss_with_covariance",
    stub='''
def loss_with_covariance(score, x, z, L):
    """Denoising score matching with noise of covariance L L^T, one for each point, (B,). x, z: (B, d). L: (d, d)."""
    ...  # your code
''',
    solution=loss_with_covariance,
    alternative=loss_with_covariance_by_inverse,
    why=(
        "The target is the gradient of ln q(y | x), which is -C^-1 (y - x) with C = L L^T. With y - x = L z that is\n"
        "-L^-T z: neither z nor L^-1 z."
    ),
    truth=loss_with_covariance_truth,
    cases=loss_with_covariance_cases,
    hints=(),
    wrong=(
        Wrong(
            "the sign of the target",
            lambda score, x, z, L: ((score(x + z @ L.T) - z @ torch.inverse(L)) ** 2).sum(dim=1),
            "The sign of your target is turned around. The noise points away from the data, and the score should point "
            "back.",
            "soran-ghaderi/torchebm#318, lebellig/flow-matching#2",
        ),
        Wrong(
            "z as the target",
            lambda score, x, z, L: ((score(x + z @ L.T) + z) ** 2).sum(dim=1),
            "Your target is -z, whose size does not depend on the noise. The smaller the noise, the longer are the "
            "arrows of the score.",
            "acids-ircam/diffusion_models#5",
        ),
        Wrong(
            "L for its transpose",
            lambda score, x, z, L: ((score(x + z @ L.T) + z @ torch.inverse(L).T) ** 2).sum(dim=1),
            "Your target is -L^-1 z. Write the exponent of q(y | x) with the inverse of L L^T, and differentiate it. "
            "Only one of the two factors cancels against the L in L z.",
            UNSEEN,
        ),
        Wrong(
            "the covariance divides z",
            lambda score, x, z, L: ((score(x + z @ L.T) + z @ torch.inverse(L @ L.T)) ** 2).sum(dim=1),
            "You multiply z by the inverse of the covariance. It is the displacement, L z, that the covariance "
            "divides.",
            "yang-song/score_sde_pytorch#26",
        ),
        Wrong(
            "the score at the clean points",
            lambda score, x, z, L: ((score(x) + z @ torch.inverse(L)) ** 2).sum(dim=1),
            "You evaluate the score at the clean points. It is the noisy density whose score is learned.",
            UNSEEN,
        ),
        Wrong(
            "rows and columns",
            covariance_other_way_round,
            "Your noise is z @ L. A point is a row here, so that is L^T z, which has the covariance L^T L.",
            UNSEEN,
        ),
    ),
)


def loss_with_logistic(score, x, noise, b):
    target = -torch.tanh(noise / (2 * b)) / b
    return (score(x + noise) - target).square().sum(dim=1)


def loss_with_logistic_by_exponentials(score, x, noise, b):
    share = 1 / (1 + torch.exp(-noise / b))
    error = score(x + noise) + (2 * share - 1) / b
    return (error * error).sum(dim=1)


def loss_with_logistic_truth(score, x, noise, b):  # the gradient of ln q, by automatic differentiation
    def log_density(y):
        r = (y - x) / b
        return torch.nn.functional.logsigmoid(r) + torch.nn.functional.logsigmoid(-r)

    y = x.add(noise)
    return torch.linalg.vector_norm(score(y) - slope_of(log_density, y), dim=1) ** 2


def loss_with_logistic_cases(g):
    u = 0.02 + 0.96 * torch.rand(6, 3, generator=g, dtype=DOUBLE)
    b = between(g, 0.5, 0.8)
    return (
        Case(
            (wavy_score, double(1.0, -1.0)[None], double(2.0, -0.5)[None], 0.7),
            "wavy_score, x = (1, -1), noise (2, -0.5) and b = 0.7",
        ),
        Case((wavy_score, 2 * normals(g, 6, 3), b * torch.logit(u), b), "hidden points with three coordinates"),
    )


LOSS_WITH_LOGISTIC = Exercise(
    id="lab07-08.loss.logistic",
    name="loss_with_logistic",
    stub='''
def loss_with_logistic(score, x, noise, b):
    """Denoising score matching with logistic noise of scale b, one for each point, (B,). x, noise: (B, d)."""
    ...  # your code
''',
    solution=loss_with_logistic,
    alternative=loss_with_logistic_by_exponentials,
    why=(
        "The target is the gradient of ln q(y | x) in y. Here ln q = -2 ln cosh(n / 2b) + a constant, and its slope "
        "is\n"
        "-tanh(n / 2b) / b. -n / variance is the slope of the normal density only."
    ),
    truth=loss_with_logistic_truth,
    cases=loss_with_logistic_cases,
    hints=(),
    wrong=(
        Wrong(
            "the sign of the target",
            lambda score, x, noise, b: ((score(x + noise) - torch.tanh(noise / (2 * b)) / b) ** 2).sum(dim=1),
            "The sign of your target is turned around. The noise points away from the data, and the score should point "
            "back.",
            "soran-ghaderi/torchebm#318, lebellig/flow-matching#2",
        ),
        Wrong(
            "b taken for sigma",
            lambda score, x, noise, b: ((score(x + noise) + noise / b**2) ** 2).sum(dim=1),
            "Your target is that of normal noise with the standard deviation b. The noise has another density here, "
            "and its logarithm another slope.",
            UNSEEN,
        ),
        Wrong(
            "normal noise of the same variance",
            lambda score, x, noise, b: ((score(x + noise) + 3 * noise / (math.pi * b) ** 2) ** 2).sum(dim=1),
            "Your target is that of normal noise with the same variance, (pi b)² / 3. But the slope of ln q depends on "
            "the shape of the density and not on its variance alone.",
            UNSEEN,
        ),
        Wrong(
            "the exponent 2 is lost",
            lambda score, x, noise, b: ((score(x + noise) + torch.tanh(noise / (2 * b)) / (2 * b)) ** 2).sum(dim=1),
            "Your slope is half of what it should be. The hyperbolic cosine is squared in the density, so its "
            "logarithm counts twice.",
            UNSEEN,
        ),
        Wrong(
            "no inner derivative",
            lambda score, x, noise, b: ((score(x + noise) + 2 * torch.tanh(noise / (2 * b))) ** 2).sum(dim=1),
            "You forgot the derivative of what is inside the hyperbolic cosine, n / 2b.",
            UNSEEN,
        ),
        Wrong(
            "the score at the clean points",
            lambda score, x, noise, b: ((score(x) + torch.tanh(noise / (2 * b)) / b) ** 2).sum(dim=1),
            "You evaluate the score at the clean points. It is the noisy density whose score is learned.",
            UNSEEN,
        ),
    ),
)

LOSS = Problem(
    name="loss",
    points=4,
    variants=(
        Variant(
            LOSS_WITH_COVARIANCE,
            "Denoising score matching does not need noise that is equal on all axes. Let a noisy point be $y = x + Lz$ "
            "with a standard normal $z$, so that its noise has the covariance $LL^\\top$. You get the clean points `x` "
            "and the numbers `z` that were drawn, both of shape (B, d) with one point in each row, and `L`, an "
            "invertible lower triangular matrix of shape (d, d). `score(y)` returns a model's score at points of shape "
            "(B, d). For each point, return the squared norm of the difference between `score` at the noisy point and "
            "the target of denoising score matching. The target is a vector that you compute from the clean point and "
            "its noise. Its mean over all pairs of clean point and noise that lead to the same noisy point is the "
            "score of the noisy density there, whatever the data are. The loss has no weight and no 1/2 in front. "
            "Return (B,). For your own tests you can pass `wavy_score`, from the first cell with code, as `score`.",
            "notebook 08, section 6",
            given=(wavy_score,),
        ),
        Variant(
            LOSS_WITH_LOGISTIC,
            "Denoising score matching does not need normal noise. Let a noisy point be $y = x + n$, where each "
            "coordinate of the noise $n$ is drawn by itself from the logistic density $q(n) = "
            "\\frac{1}{4b}\\,\\cosh^{-2}\\!\\bigl(\\frac{n}{2b}\\bigr)$ with the scale $b > 0$. You get the clean "
            "points `x` and the `noise` that was drawn, both of shape (B, d), and the number `b`. `score(y)` returns a "
            "model's score at points of shape (B, d). For each point, return the squared norm of the difference "
            "between `score` at the noisy point and the target of denoising score matching. The target is a vector "
            "that you compute from the clean point and its noise. Its mean over all pairs of clean point and noise "
            "that lead to the same noisy point is the score of the noisy density there, whatever the data are. The "
            "loss has no weight and no 1/2 in front. Return (B,). For your own tests you can pass `wavy_score`, from "
            "the first cell with code, as `score`.",
            "notebook 08, section 6",
            given=(wavy_score,),
        ),
    ),
)


# variance: how wide a crowd of walkers is after Langevin steps of a finite size


def variance_after_annealing(start, v, sigmas, steps, eta):
    w = start
    for sigma in sigmas.tolist():
        h = eta * sigma**2
        for _ in range(steps):
            w = (1 - h / (v + sigma**2)) ** 2 * w + 2 * h
    return w


def variance_after_annealing_by_level(start, v, sigmas, steps, eta):
    w = start
    for sigma in sigmas:
        h = eta * sigma**2
        kept = (1 - h / (v + sigma**2)) ** 2
        rest = 2 * h / (1 - kept)  # where the walkers would settle
        w = rest + kept**steps * (w - rest)
    return w


def variance_after_annealing_truth(start, v, sigmas, steps, eta):  # each kick, times all factors that come after it
    h = (eta * sigmas.square()).repeat_interleave(steps)
    factors = 1 - h / (v + sigmas.square()).repeat_interleave(steps)
    after = torch.cat([factors, torch.ones(1, dtype=DOUBLE)]).flip(0).cumprod(0).flip(0)
    return (after[0] ** 2 * start + (2 * h * after[1:] ** 2).sum()).item()


def variance_after_annealing_cases(g):
    return (
        Case(
            (9.0, 0.5, double(2.0, 1.0), 2, 0.3),
            "the variance 9 at the start, v = 0.5, sigmas = (2, 1), 2 steps at each level and eta = 0.3",
        ),
        Case(
            (
                between(g, 10, 20),
                between(g, 0.2, 0.4),
                double(between(g, 2.5, 3.0), between(g, 1.3, 1.6), between(g, 0.6, 0.8)),
                3,
                between(g, 0.15, 0.3),
            ),
            "a hidden start, and hidden levels",
        ),
    )


def annealed_data_forgotten(start, v, sigmas, steps, eta):
    w = start
    for sigma in sigmas.tolist():
        h = eta * sigma**2
        for _ in range(steps):
            w = (1 - h / sigma**2) ** 2 * w + 2 * h
    return w


def annealed_half_the_kick(start, v, sigmas, steps, eta):
    w = start
    for sigma in sigmas.tolist():
        h = eta * sigma**2
        for _ in range(steps):
            w = (1 - h / (v + sigma**2)) ** 2 * w + h
    return w


def annealed_factor_not_squared(start, v, sigmas, steps, eta):
    w = start
    for sigma in sigmas.tolist():
        h = eta * sigma**2
        for _ in range(steps):
            w = (1 - h / (v + sigma**2)) * w + 2 * h
    return w


def annealed_in_tiny_steps(start, v, sigmas, steps, eta):
    w = start
    for sigma in sigmas.tolist():
        level = v + sigma**2
        w = level + math.exp(-2 * steps * eta * sigma**2 / level) * (w - level)
    return w


def annealed_without_sigma(start, v, sigmas, steps, eta):
    w = start
    for sigma in sigmas.tolist():
        for _ in range(steps):
            w = (1 - eta / (v + sigma**2)) ** 2 * w + 2 * eta
    return w


VARIANCE_AFTER_ANNEALING = Exercise(
    id="lab07-08.variance.levels",
    name="variance_after_annealing",
    stub='''
def variance_after_annealing(start, v, sigmas, steps, eta):
    """The variance of walkers after annealed Langevin dynamics, one number. start: their variance before. sigmas: (L,)

    v: the variance of the clean data, N(0, v) on the line. steps: at each level. eta: the size of a step over sigma².
    """
    ...  # your code
''',
    solution=variance_after_annealing,
    alternative=variance_after_annealing_by_level,
    why=(
        "At the level sigma the score is -x / (v + sigma²). A step multiplies x by 1 - h / (v + sigma²), so the "
        "variance\n"
        "by the square of it, and the kick adds 2h."
    ),
    truth=variance_after_annealing_truth,
    cases=variance_after_annealing_cases,
    hints=(),
    wrong=(
        Wrong(
            "the data are forgotten",
            annealed_data_forgotten,
            "You take the score of the noise alone, -x / sigma². The noisy data have the variance of the data as well.",
            UNSEEN,
        ),
        Wrong(
            "half the kick",
            annealed_half_the_kick,
            "Your kick adds the variance h. The factor before z is the root of 2h, and the variance added is its "
            "square.",
            UNSEEN,
        ),
        Wrong(
            "the factor is not squared",
            annealed_factor_not_squared,
            "You multiply the variance by the factor of x. A variance is multiplied by the square of it.",
            UNSEEN,
        ),
        Wrong(
            "steps without a size",
            annealed_in_tiny_steps,
            "You let the walkers relax as in infinitely many tiny steps. These steps have a size, and a walker jumps "
            "a good part of the way in one of them.",
            "notebook 08, section 9",
        ),
        Wrong(
            "eta alone",
            annealed_without_sigma,
            "Your steps have the size eta at every level. It should shrink with the noise: h = eta sigma².",
            "plain Langevin dynamics",
        ),
        Wrong(
            "where they should be",
            lambda start, v, sigmas, steps, eta: v + float(sigmas[-1]) ** 2,
            "This is the variance of the noisy data at the last level. The walkers lag behind, and their steps are not "
            "small, so theirs is another one.",
            "notebook 08, section 9",
        ),
    ),
)


def covariance_after_steps(start, C, h, steps):
    factor = torch.eye(len(C), dtype=C.dtype) - h * torch.inverse(C)
    w = start
    for _ in range(steps):
        w = factor @ w @ factor.T + 2 * h * torch.eye(len(C), dtype=C.dtype)
    return w


def covariance_after_steps_along_the_axes(start, C, h, steps):
    variances, axes = torch.linalg.eigh(C)
    kept = torch.outer(1 - h / variances, 1 - h / variances)
    w, rest = axes.T @ start @ axes, torch.diag(2 * h / (1 - kept.diagonal()))
    return axes @ (rest + kept**steps * (w - rest)) @ axes.T


def covariance_after_steps_truth(start, C, h, steps):  # a power of one matrix that acts on all elements, and on a 1
    d = len(C)
    unit = torch.eye(d, dtype=DOUBLE)
    factor = unit - h * torch.linalg.solve(C, unit)
    move = torch.zeros(d * d + 1, d * d + 1, dtype=DOUBLE)
    move[:-1, :-1], move[:-1, -1], move[-1, -1] = torch.kron(factor, factor), 2 * h * unit.flatten(), 1
    end = torch.linalg.matrix_power(move, steps) @ torch.cat([start.flatten(), torch.ones(1, dtype=DOUBLE)])
    return end[:-1].reshape(d, d)


def covariance_after_steps_cases(g):
    a, b = normals(g, 3, 3), normals(g, 3, 3)
    unit = torch.eye(3, dtype=DOUBLE)
    return (
        Case(
            (
                torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=DOUBLE),
                torch.tensor([[1.0, -0.4], [-0.4, 0.7]], dtype=DOUBLE),
                0.15,
                3,
            ),
            "the covariance [[3, 1], [1, 2]] at the start, C = [[1, -0.4], [-0.4, 0.7]], h = 0.15 and 3 steps",
        ),
        Case(
            (2 * unit + a @ a.T, unit + 0.3 * b @ b.T, between(g, 0.2, 0.4), 4),
            "a hidden start, and a hidden C, in three dimensions",
        ),
    )


def covariance_with_c_for_its_inverse(start, C, h, steps):
    factor = torch.eye(len(C), dtype=C.dtype) - h * C
    w = start
    for _ in range(steps):
        w = factor @ w @ factor.T + 2 * h * torch.eye(len(C), dtype=C.dtype)
    return w


def covariance_with_inverse_elements(start, C, h, steps):
    factor = torch.eye(len(C), dtype=C.dtype) - h / C
    w = start
    for _ in range(steps):
        w = factor @ w @ factor.T + 2 * h * torch.eye(len(C), dtype=C.dtype)
    return w


def covariance_with_half_the_kick(start, C, h, steps):
    factor = torch.eye(len(C), dtype=C.dtype) - h * torch.inverse(C)
    w = start
    for _ in range(steps):
        w = factor @ w @ factor.T + h * torch.eye(len(C), dtype=C.dtype)
    return w


def covariance_with_one_factor(start, C, h, steps):
    factor = torch.eye(len(C), dtype=C.dtype) - h * torch.inverse(C)
    w = start
    for _ in range(steps):
        w = factor @ w + 2 * h * torch.eye(len(C), dtype=C.dtype)
    return w


def covariance_with_kicks_everywhere(start, C, h, steps):
    factor = torch.eye(len(C), dtype=C.dtype) - h * torch.inverse(C)
    w = start
    for _ in range(steps):
        w = factor @ w @ factor.T + 2 * h
    return w


def covariance_in_tiny_steps(start, C, h, steps):
    left = torch.matrix_exp(-h * steps * torch.inverse(C))
    return C + left @ (start - C) @ left.T


COVARIANCE_AFTER_STEPS = Exercise(
    id="lab07-08.variance.axes",
    name="covariance_after_steps",
    stub='''
def covariance_after_steps(start, C, h, steps):
    """The covariance of walkers after Langevin steps of size h with the score of N(0, C), (d, d). C, start: (d, d).

    start: their covariance before. h and steps: a number, and a whole number.
    """
    ...  # your code
''',
    solution=covariance_after_steps,
    alternative=covariance_after_steps_along_the_axes,
    why=(
        "The score is -C^-1 x. A step multiplies x by A = 1 - h C^-1, so the covariance becomes A W A^T, and the kick\n"
        "adds 2h on the diagonal."
    ),
    truth=covariance_after_steps_truth,
    cases=covariance_after_steps_cases,
    hints=(),
    wrong=(
        Wrong(
            "C for its inverse",
            covariance_with_c_for_its_inverse,
            "You take -C x for the score. The wider the density, the weaker is the pull.",
            UNSEEN,
        ),
        Wrong(
            "the inverse of each element",
            covariance_with_inverse_elements,
            "You divide by each element of C. The inverse of a matrix is another one, unless the matrix is a single "
            "number.",
            UNSEEN,
        ),
        Wrong(
            "half the kick",
            covariance_with_half_the_kick,
            "Your kick adds the variance h. The factor before z is the root of 2h, and the variance added is its "
            "square.",
            UNSEEN,
        ),
        Wrong(
            "multiplied from one side",
            covariance_with_one_factor,
            "You multiply the covariance by the factor of x once. A covariance is a mean of x x^T, so both x have the "
            "factor.",
            UNSEEN,
        ),
        Wrong(
            "kicks in all elements",
            covariance_with_kicks_everywhere,
            "You add 2h to all elements of the covariance. That would be one kick shared by all axes, but each axis "
            "has a kick of its own.",
            "broadcasting of a number",
        ),
        Wrong(
            "steps without a size",
            covariance_in_tiny_steps,
            "You let the walkers relax as in infinitely many tiny steps. These steps have a size, and a walker jumps "
            "a good part of the way in one of them.",
            "notebook 08, section 9",
        ),
    ),
)

VARIANCE = Problem(
    name="variance",
    points=4,
    variants=(
        Variant(
            VARIANCE_AFTER_ANNEALING,
            "The clean data are $\\mathcal N(0, v)$ on the line, and the score is exact at every noise level of the "
            "path $x_\\sigma = x_0 + \\sigma\\varepsilon$. Walkers with mean 0 and the variance `start` make annealed "
            "Langevin dynamics: at each level of `sigmas`, in the order given, `steps` steps $x \\leftarrow x + "
            "h\\,s(x) + \\sqrt{2h}\\,z$ of the size $h = \\eta\\sigma^2$, where $s$ is the score of the noisy data at "
            "that level. Which variance do infinitely many walkers have in the end? "
            "The steps are not small, so compute it exactly, and draw no random numbers. `start`, `v` and `eta` are "
            "positive numbers, `sigmas` is a tensor of shape (L,). Return one number.",
            "notebook 08, section 8",
        ),
        Variant(
            COVARIANCE_AFTER_STEPS,
            "Walkers in $d$ dimensions make Langevin steps $x \\leftarrow x + h\\,s(x) + \\sqrt{2h}\\,z$ with the "
            "exact "
            "score $s$ of $\\mathcal N(0, C)$, where the covariance $C$ is not diagonal. They begin with mean 0 and "
            "the covariance `start`. Which covariance do infinitely many walkers have after `steps` steps of the size "
            "`h`? The steps are not small, so compute it exactly, and draw no random numbers. `start` and `C` are "
            "symmetric matrices of shape (d, d), and all eigenvalues of `C` are larger than `h`. Return (d, d).",
            "notebook 08, section 1",
        ),
    ),
)

LAB = Lab(
    number="07-08",
    title="Learning to denoise, and score matching",
    after=("07", "08"),
    problems=(FLOOR, TARGET, KL, LOSS, VARIANCE),
    plot=Plot(
        prompt=(
            "The clean data are two points on the line: $-1$ with the probability 0.2 and $+1$ with the probability "
            "0.8 (A). For comparison take the same points with the probabilities exchanged, 0.8 and 0.2 (B). Draw the "
            "exact scores of A and of B for the noisy data $x_\\sigma = x_0 + \\sigma\\varepsilon$, as two curves over "
            "$x$ from $-2.5$ to $2.5$, in three panels for $\\sigma = 0.2$, $0.5$ and $1$. Explain in three or four "
            "sentences. How do the curves of A and B differ in each panel? Why can a network that sees samples of A "
            "learn at $\\sigma = 1$ that the probabilities are those of A and not those of B, and why hardly at "
            "$\\sigma = 0.2$? Annealed Langevin dynamics goes from $\\sigma = 10$ down to $0.2$ in many levels, with "
            "the scores of A: why does it end with the right fractions of points at $-1$ and $+1$ all the same? And "
            "what would become of these fractions if it used the score of B at the last level, $\\sigma = 0.2$, and "
            "only there?"
        ),
        rubric=(
            (
                1,
                "The three panels are right: at 0.2 a zigzag that falls with the slope -25 around both points and "
                "rises steeply in the middle, with zeros near -1, -0.03 and 1 for A; at 1 the curve of A falls "
                "everywhere and has one zero only, near 0.92, and that of B one near -0.92.",
            ),
            (
                1,
                "At 0.2 the two curves coincide but for the steep part, where they are shifted by sigma² ln 4 = 0.055. "
                "Few data lie there (the density at 0 is 5e-6 of that at 1), so that in the mean over the data the "
                "squared difference is 2e-5 of the squared score. At 0.5 the shift is 0.35 and the ratio 0.4. At 1 "
                "the shift is 1.4 and the ratio 0.8, because the "
                "blobs overlap and almost every place may have come from either point.",
            ),
            (
                1,
                "The fractions come from the high levels: there walkers cross from one side to the other, so that the "
                "fractions settle by the score, which depends on the probabilities. Once crossing stops, the walkers "
                "keep their fractions, which hardly have to change any more.",
            ),
            (
                1,
                "With the score of B at the last level almost nothing happens to the fractions: at 0.2 the scores "
                "differ in the gap only, where there are no walkers, and nobody crosses it within the steps of a "
                "level.",
            ),
        ),
    ),
)
