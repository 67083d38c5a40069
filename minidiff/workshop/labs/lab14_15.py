"""Lab 14-15, guidance and inverse problems: after notebooks 14 and 15."""

import math

import torch
from torch import Tensor

from minidiff.checks.records import Case, Exercise, Wrong
from minidiff.checks.views import UNSEEN
from minidiff.workshop.labs.hidden import between, double, normals
from minidiff.workshop.labs.records import Lab, Plot, Problem, Variant

__all__ = ["LAB"]

DOUBLE = torch.float64


def level(g, early: float, late: float) -> tuple[float, float]:
    """alpha and sigma of the cosine path at a time between two others."""
    angle = math.pi / 2 * between(g, early, late)
    return math.cos(angle), math.sin(angle)


# guide: two networks that predict different things, and the other convention of the weight


def guided_x0(v_cond, eps_uncond, x_t, alpha, sigma, w):
    cond = alpha * x_t - sigma * v_cond
    uncond = (x_t - sigma * eps_uncond) / alpha
    return (1 + w) * cond - w * uncond


def guided_x0_by_v(v_cond, eps_uncond, x_t, alpha, sigma, w):
    v_uncond = (eps_uncond - sigma * x_t) / alpha
    return alpha * x_t - sigma * (v_cond + w * (v_cond - v_uncond))


def guided_x0_truth(v_cond, eps_uncond, x_t, alpha, sigma, w):  # scores, and the gradient of ln p(y | x_t)
    score_cond = -(sigma * x_t + alpha * v_cond) / sigma
    score_uncond = eps_uncond / -sigma
    score = score_uncond + (w + 1) * (score_cond - score_uncond)
    return (x_t + sigma**2 * score) / alpha


PUBLIC_POINTS = double(1.5, -0.7, 0.4, -1.8).reshape(2, 2)
PUBLIC_COND, PUBLIC_UNCOND = double(0.3, -1.1, 0.8, 0.5).reshape(2, 2), double(-0.4, 0.9, 1.3, -0.6).reshape(2, 2)


def guide_cases(g, cond: str, uncond: str):
    return (
        Case(
            (PUBLIC_COND, PUBLIC_UNCOND, PUBLIC_POINTS, 0.8, 0.6, 2.0),
            f"two points x_t = ((1.5, -0.7), (0.4, -1.8)), {cond} = ((0.3, -1.1), (0.8, 0.5)), {uncond} = "
            "((-0.4, 0.9), (1.3, -0.6)), alpha = 0.8, sigma = 0.6 and w = 2",
        ),
        Case(
            (normals(g, 4, 3), normals(g, 4, 3), normals(g, 4, 3), *level(g, 0.55, 0.85), between(g, 1.3, 3.7)),
            "hidden points at a late time",
        ),
        Case(
            (normals(g, 3, 2), normals(g, 3, 2), normals(g, 3, 2), *level(g, 0.15, 0.4), between(g, 0.3, 0.8)),
            "hidden points at an early time, with a small weight",
        ),
    )


GUIDED_X0 = Exercise(
    id="lab14-15.guide.estimate",
    name="guided_x0",
    stub='''
def guided_x0(v_cond, eps_uncond, x_t, alpha, sigma, w):
    """The guided estimate of x0, (B, d), in the convention in which w = 0 is the conditional model."""
    ...  # your code
''',
    solution=guided_x0,
    alternative=guided_x0_by_v,
    why="Bring both predictions to x0, and then go beyond the conditional one by w times the difference of the two.",
    truth=guided_x0_truth,
    cases=lambda g: guide_cases(g, "v_cond", "eps_uncond"),
    hints=(),
    wrong=(
        Wrong(
            "the notebook's weight",
            lambda v_cond, eps_uncond, x_t, alpha, sigma, w: (
                (1 - w) * (x_t - sigma * eps_uncond) / alpha + w * (alpha * x_t - sigma * v_cond)
            ),
            "Your weight is that of the notebook, where w = 1 is the conditional model. Here w = 0 is.",
            "lucidrains#207 and #155, diffusers#5882, stable-dreamfusion#32, threestudio#127, CompVis#796",
        ),
        Wrong(
            "exchanged",
            lambda v_cond, eps_uncond, x_t, alpha, sigma, w: (
                (1 + w) * (x_t - sigma * eps_uncond) / alpha - w * (alpha * x_t - sigma * v_cond)
            ),
            "You have exchanged the two networks: your result moves away from the class.",
            "the catalogue: exchanged",
        ),
        Wrong(
            "raw predictions mixed",
            lambda v_cond, eps_uncond, x_t, alpha, sigma, w: alpha * x_t - sigma * ((1 + w) * v_cond - w * eps_uncond),
            "You mix what the two networks return. But one of them returns v and the other eps, so bring both to the "
            "same quantity before you mix.",
            UNSEEN,
        ),
        Wrong(
            "the other sign of v",
            lambda v_cond, eps_uncond, x_t, alpha, sigma, w: (
                (1 + w) * (alpha * x_t + sigma * v_cond) - w * (x_t - sigma * eps_uncond) / alpha
            ),
            "You have the sign of v turned around on the way to x0. Put x_t and v into your formula: the noise should "
            "cancel.",
            "huggingface/diffusers#1421",
        ),
        Wrong(
            "not divided by alpha",
            lambda v_cond, eps_uncond, x_t, alpha, sigma, w: (
                (1 + w) * (alpha * x_t - sigma * v_cond) - w * (x_t - sigma * eps_uncond)
            ),
            "Your unconditional estimate is alpha times x0. What is left of x_t without its noise has to be divided by "
            "alpha.",
            UNSEEN,
        ),
    ),
)


def guided_eps(x0_cond, v_uncond, x_t, alpha, sigma, w):
    cond = (x_t - alpha * x0_cond) / sigma
    uncond = sigma * x_t + alpha * v_uncond
    return (1 + w) * cond - w * uncond


def guided_eps_by_x0(x0_cond, v_uncond, x_t, alpha, sigma, w):
    x0_uncond = alpha * x_t - sigma * v_uncond
    return (x_t - alpha * (x0_cond + w * (x0_cond - x0_uncond))) / sigma


def guided_eps_truth(x0_cond, v_uncond, x_t, alpha, sigma, w):  # scores, and the gradient of ln p(y | x_t)
    score_cond = (alpha * x0_cond - x_t) / sigma**2
    score_uncond = (alpha * (alpha * x_t - sigma * v_uncond) - x_t) / sigma**2
    return -sigma * (score_uncond + (w + 1) * (score_cond - score_uncond))


GUIDED_EPS = Exercise(
    id="lab14-15.guide.noise",
    name="guided_eps",
    stub='''
def guided_eps(x0_cond, v_uncond, x_t, alpha, sigma, w):
    """The guided estimate of the noise, (B, d), in the convention in which w = 0 is the conditional model."""
    ...  # your code
''',
    solution=guided_eps,
    alternative=guided_eps_by_x0,
    why="Bring both predictions to eps, and then go beyond the conditional one by w times the difference of the two.",
    truth=guided_eps_truth,
    cases=lambda g: guide_cases(g, "x0_cond", "v_uncond"),
    hints=(),
    wrong=(
        Wrong(
            "the notebook's weight",
            lambda x0_cond, v_uncond, x_t, alpha, sigma, w: (
                (1 - w) * (sigma * x_t + alpha * v_uncond) + w * (x_t - alpha * x0_cond) / sigma
            ),
            "Your weight is that of the notebook, where w = 1 is the conditional model. Here w = 0 is.",
            "lucidrains#207 and #155, diffusers#5882, stable-dreamfusion#32, threestudio#127, CompVis#796",
        ),
        Wrong(
            "exchanged",
            lambda x0_cond, v_uncond, x_t, alpha, sigma, w: (
                (1 + w) * (sigma * x_t + alpha * v_uncond) - w * (x_t - alpha * x0_cond) / sigma
            ),
            "You have exchanged the two networks: your result moves away from the class.",
            "the catalogue: exchanged",
        ),
        Wrong(
            "v taken for eps",
            lambda x0_cond, v_uncond, x_t, alpha, sigma, w: (1 + w) * (x_t - alpha * x0_cond) / sigma - w * v_uncond,
            "You take the unconditional v for a noise. It holds noise and image, so bring it to eps before you mix.",
            UNSEEN,
        ),
        Wrong(
            "the other sign of v",
            lambda x0_cond, v_uncond, x_t, alpha, sigma, w: (
                (1 + w) * (x_t - alpha * x0_cond) / sigma - w * (sigma * x_t - alpha * v_uncond)
            ),
            "You have the sign of v turned around on the way to eps. Put x_t and v into your formula: x0 should "
            "cancel.",
            "huggingface/diffusers#1421",
        ),
        Wrong(
            "an estimate of x0",
            lambda x0_cond, v_uncond, x_t, alpha, sigma, w: (1 + w) * x0_cond - w * (alpha * x_t - sigma * v_uncond),
            "You return the guided estimate of x0. Asked for is that of the noise.",
            UNSEEN,
        ),
        Wrong(
            "not divided by sigma",
            lambda x0_cond, v_uncond, x_t, alpha, sigma, w: (
                (1 + w) * (x_t - alpha * x0_cond) - w * (sigma * x_t + alpha * v_uncond)
            ),
            "Your conditional noise is sigma times eps. What is left of x_t without its image has to be divided by "
            "sigma.",
            UNSEEN,
        ),
    ),
)

GUIDE_SETTING = (
    "On the cosine path $x_t = \\alpha x_0 + \\sigma\\varepsilon$, where $\\alpha^2 + \\sigma^2 = 1$, there are two "
    "networks. "
)
GUIDE_WEIGHT = (
    "The weight $w$ is that of Ho and Salimans, as in the remark on the convention in notebook 14: $w = 0$ is the "
    "conditional model, and a larger $w$ moves away from the unconditional one. All tensors have the shape (B, d) and "
    "are float64; `alpha`, `sigma` and `w` are numbers, and `alpha` and `sigma` are positive."
)

GUIDE = Problem(
    name="guide",
    points=3,
    variants=(
        Variant(
            GUIDED_X0,
            GUIDE_SETTING
            + "The one that knows the label predicts $v = \\alpha\\varepsilon - \\sigma x_0$, and its prediction at "
            "$x_t$ is `v_cond`. The one without a label predicts $\\varepsilon$, and its prediction at the same $x_t$ "
            "is "
            "`eps_uncond`. Write a function that returns the guided estimate of $x_0$. " + GUIDE_WEIGHT,
            "notebook 14, section 2",
        ),
        Variant(
            GUIDED_EPS,
            GUIDE_SETTING
            + "The one that knows the label predicts $x_0$, and its prediction at $x_t$ is `x0_cond`. The one "
            "without a label predicts $v = \\alpha\\varepsilon - \\sigma x_0$, and its prediction at the same $x_t$ is "
            "`v_uncond`. Write a function that returns the guided estimate of $\\varepsilon$. " + GUIDE_WEIGHT,
            "notebook 14, section 2",
        ),
    ),
)


# steer: a classifier that is asked for any of several classes, or for any class but one


def classifier(x):
    """What a classifier of noisy points returns for x, (B, 2): the logits of four classes, (B, 4)."""
    centres = torch.tensor([[1.2, 0.3], [-0.8, 0.9], [0.1, -1.1], [-0.5, -0.4]], dtype=x.dtype)
    narrow = torch.tensor([0.7, 0.5, 0.9, 0.4], dtype=x.dtype)
    return torch.sin(x[:, :1]) - narrow * ((x[:, None] - centres) ** 2).sum(dim=2)


def by_differences(function, x: Tensor) -> Tensor:
    """The gradient of function, (B, 2) -> (B,), at each point by itself, from differences. (B, 2)."""
    step, columns = 1e-5, []
    for axis in (double(step, 0.0), double(0.0, step)):
        columns.append((function(x + axis) - function(x - axis)) / (2 * step))
    return torch.stack(columns, dim=1)


def eps_towards(eps_hat, x_t, logits, wanted, sigma, w):
    def log_prob(x):
        scores = logits(x)
        return (torch.logsumexp(scores[:, wanted], dim=1) - torch.logsumexp(scores, dim=1)).sum()

    return eps_hat - w * sigma * torch.func.grad(log_prob)(x_t)


def eps_towards_by_autograd(eps_hat, x_t, logits, wanted, sigma, w):
    x = x_t.clone().requires_grad_()
    chance = torch.softmax(logits(x), dim=1) @ wanted.to(x.dtype)
    (gradient,) = torch.autograd.grad(chance.log().sum(), x)
    return eps_hat - w * sigma * gradient


def eps_towards_truth(eps_hat, x_t, logits, wanted, sigma, w):
    def log_prob(x):
        weights = logits(x).exp()
        return torch.log((weights * wanted).sum(dim=1) / weights.sum(dim=1))

    return eps_hat + sigma * w * -by_differences(log_prob, x_t)


def eps_towards_cases(g):
    late, early = level(g, 0.5, 0.8)[1], level(g, 0.2, 0.4)[1]
    return (
        Case(
            (PUBLIC_COND, PUBLIC_POINTS, classifier, torch.tensor([True, False, True, False]), 0.6, 2.0),
            "two points x_t = ((1.5, -0.7), (0.4, -1.8)), eps_hat = ((0.3, -1.1), (0.8, 0.5)), the first and the third "
            "class wanted, sigma = 0.6 and w = 2",
        ),
        Case(
            (
                normals(g, 5, 2),
                normals(g, 5, 2),
                classifier,
                torch.tensor([False, True, True, True]),
                late,
                between(g, 1.2, 3),
            ),
            "hidden points, and all classes wanted but the first",
        ),
        Case(
            (
                normals(g, 4, 2),
                normals(g, 4, 2),
                classifier,
                torch.tensor([False, True, False, True]),
                early,
                between(g, 1.2, 3),
            ),
            "hidden points, and the second and the last class wanted",
        ),
    )


def eps_towards_all(eps_hat, x_t, logits, wanted, sigma, w):
    def log_prob(x):
        return torch.log_softmax(logits(x), dim=1)[:, wanted].sum()

    return eps_hat - w * sigma * torch.func.grad(log_prob)(x_t)


def eps_towards_the_likeliest(eps_hat, x_t, logits, wanted, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[:, wanted]
        return p.amax(dim=1).log().sum()

    return eps_hat - w * sigma * torch.func.grad(log_prob)(x_t)


def eps_towards_without_a_logarithm(eps_hat, x_t, logits, wanted, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[:, wanted]
        return p.sum()

    return eps_hat - w * sigma * torch.func.grad(log_prob)(x_t)


def eps_towards_by_logits(eps_hat, x_t, logits, wanted, sigma, w):
    def log_prob(x):
        return torch.logsumexp(logits(x)[:, wanted], dim=1).sum()

    return eps_hat - w * sigma * torch.func.grad(log_prob)(x_t)


def eps_towards_and_back(eps_hat, x_t, logits, wanted, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[:, wanted]
        return p.sum(dim=1).log().sum()

    return eps_hat + w * sigma * torch.func.grad(log_prob)(x_t)


def eps_towards_by_sigma_squared(eps_hat, x_t, logits, wanted, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[:, wanted]
        return p.sum(dim=1).log().sum()

    return eps_hat - w * sigma**2 * torch.func.grad(log_prob)(x_t)


EPS_TOWARDS = Exercise(
    id="lab14-15.steer.several",
    name="eps_towards",
    stub='''
def eps_towards(eps_hat, x_t, logits, wanted, sigma, w):
    """The noise, (B, d), once the score has been moved towards any of the wanted classes, (classes,), bool."""
    ...  # your code
''',
    solution=eps_towards,
    alternative=eps_towards_by_autograd,
    why=(
        "The probability of one of the wanted classes is the sum of their probabilities, and the score plus a gradient "
        "is the noise minus sigma times that gradient."
    ),
    truth=eps_towards_truth,
    cases=eps_towards_cases,
    hints=(),
    wrong=(
        Wrong(
            "the sum of the logarithms",
            eps_towards_all,
            "You add the logarithms of the probabilities, which asks for all wanted classes at once. The probability "
            "of one or another is a sum of probabilities.",
            UNSEEN,
        ),
        Wrong(
            "the likeliest alone",
            eps_towards_the_likeliest,
            "You take the gradient of the likeliest wanted class. The others that are wanted have a part in it, too.",
            UNSEEN,
        ),
        Wrong(
            "no logarithm",
            eps_towards_without_a_logarithm,
            "You take the gradient of the probability. A score is the gradient of a logarithm.",
            "the catalogue: softmax for log",
        ),
        Wrong(
            "not normalised",
            eps_towards_by_logits,
            "You leave out the classes that are not wanted. Logits alone are no probabilities: these are divided by "
            "the sum over all classes.",
            UNSEEN,
        ),
        Wrong(
            "the sign",
            eps_towards_and_back,
            "You add the gradient to the noise, and so you move away from the wanted classes. The score is minus the "
            "noise over sigma.",
            "the catalogue: sign",
        ),
        Wrong(
            "sigma squared",
            eps_towards_by_sigma_squared,
            "You multiply the gradient by sigma². That factor belongs to an estimate of x0; the score is minus the "
            "noise over sigma, once.",
            "the catalogue: sigma² missing",
        ),
    ),
)


def v_away(v_hat, x_t, logits, y, alpha, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[torch.arange(len(y)), y]
        return torch.log(1 - p).sum()

    return v_hat - w * sigma / alpha * torch.func.grad(log_prob)(x_t)


def v_away_by_masking(v_hat, x_t, logits, y, alpha, sigma, w):
    x = x_t.clone().requires_grad_()
    scores = logits(x)
    others = scores.scatter(1, y[:, None], -torch.inf)
    (gradient,) = torch.autograd.grad((others.logsumexp(dim=1) - scores.logsumexp(dim=1)).sum(), x)
    x0_hat = alpha * x_t - sigma * v_hat + w * sigma**2 / alpha * gradient
    return (alpha * x_t - x0_hat) / sigma


def v_away_truth(v_hat, x_t, logits, y, alpha, sigma, w):
    def log_prob(x):
        weights = logits(x).exp()
        others = torch.stack([row.sum() - row[k] for row, k in zip(weights, y.tolist(), strict=True)])
        return torch.log(others / weights.sum(dim=1))

    eps_hat = sigma * x_t + alpha * v_hat - sigma * w * by_differences(log_prob, x_t)
    return (eps_hat - sigma * x_t) / alpha


def v_away_cases(g):
    return (
        Case(
            (PUBLIC_COND, PUBLIC_POINTS, classifier, torch.tensor([0, 2]), 0.8, 0.6, 2.0),
            "two points x_t = ((1.5, -0.7), (0.4, -1.8)), v_hat = ((0.3, -1.1), (0.8, 0.5)), y = (0, 2), alpha = 0.8, "
            "sigma = 0.6 and w = 2",
        ),
        Case(
            (
                normals(g, 5, 2),
                normals(g, 5, 2),
                classifier,
                torch.tensor([1, 3, 0, 2, 3]),
                *level(g, 0.5, 0.8),
                between(g, 1.2, 3),
            ),
            "hidden points at a late time",
        ),
        Case(
            (
                normals(g, 4, 2),
                normals(g, 4, 2),
                classifier,
                torch.tensor([3, 0, 1, 1]),
                *level(g, 0.2, 0.4),
                between(g, 1.2, 3),
            ),
            "hidden points at an early time",
        ),
    )


def v_away_by_minus_the_logarithm(v_hat, x_t, logits, y, alpha, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[torch.arange(len(y)), y]
        return -torch.log(p).sum()

    return v_hat - w * sigma / alpha * torch.func.grad(log_prob)(x_t)


def v_away_and_back(v_hat, x_t, logits, y, alpha, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[torch.arange(len(y)), y]
        return torch.log(1 - p).sum()

    return v_hat + w * sigma / alpha * torch.func.grad(log_prob)(x_t)


def v_away_without_a_logarithm(v_hat, x_t, logits, y, alpha, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[torch.arange(len(y)), y]
        return (1 - p).sum()

    return v_hat - w * sigma / alpha * torch.func.grad(log_prob)(x_t)


def v_away_as_eps(v_hat, x_t, logits, y, alpha, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[torch.arange(len(y)), y]
        return torch.log(1 - p).sum()

    return v_hat - w * sigma * torch.func.grad(log_prob)(x_t)


def v_away_as_x0(v_hat, x_t, logits, y, alpha, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[torch.arange(len(y)), y]
        return torch.log(1 - p).sum()

    return v_hat + w * sigma**2 / alpha * torch.func.grad(log_prob)(x_t)


def v_away_on_average(v_hat, x_t, logits, y, alpha, sigma, w):
    def log_prob(x):
        p = torch.softmax(logits(x), dim=1)[torch.arange(len(y)), y]
        return torch.log(1 - p).mean()

    return v_hat - w * sigma / alpha * torch.func.grad(log_prob)(x_t)


V_AWAY = Exercise(
    id="lab14-15.steer.away",
    name="v_away",
    stub='''
def v_away(v_hat, x_t, logits, y, alpha, sigma, w):
    """The v, (B, d), once the score has been moved towards any class but y. y: (B,), int64, one for each point."""
    ...  # your code
''',
    solution=v_away,
    alternative=v_away_by_masking,
    why=(
        "Any class but y has the probability 1 - p(y | x_t). x0 moves by sigma² / alpha times what is added to the "
        "score, and v by -1 / sigma times that."
    ),
    truth=v_away_truth,
    cases=v_away_cases,
    hints=(),
    wrong=(
        Wrong(
            "minus the logarithm",
            v_away_by_minus_the_logarithm,
            "You turn the gradient of ln p(y | x_t) around. That repels even points that are surely of another class; "
            "the probability of any class but y is 1 - p.",
            "notebook 14, exercise 14.7",
        ),
        Wrong(
            "towards the class",
            v_away_and_back,
            "You add the gradient to v, and so you move towards the class that should be avoided. On the way from the "
            "score to v the sign turns.",
            "the catalogue: sign",
        ),
        Wrong(
            "no logarithm",
            v_away_without_a_logarithm,
            "You take the gradient of the probability. A score is the gradient of a logarithm.",
            "the catalogue: softmax for log",
        ),
        Wrong(
            "the rule for eps",
            v_away_as_eps,
            "You move v as if it were eps, by sigma times the gradient. In v the change of x0 comes on top.",
            UNSEEN,
        ),
        Wrong(
            "the rule for x0",
            v_away_as_x0,
            "You move v as if it were x0. It is x0 that moves by sigma² / alpha times the gradient, and v has to "
            "follow.",
            UNSEEN,
        ),
        Wrong(
            "the mean over the points",
            v_away_on_average,
            "You take the mean over the points before the gradient, which divides each gradient by their number. A "
            "point should not depend on how many others are in the batch.",
            "the default of `cross_entropy`",
        ),
    ),
)

STEER = Problem(
    name="steer",
    points=4,
    variants=(
        Variant(
            EPS_TOWARDS,
            "On a path $x_t = \\alpha x_0 + \\sigma\\varepsilon$, a network without labels predicts the noise in each "
            "of B points, `eps_hat`. You want points of *any one* of several classes, and use a classifier of noisy "
            "points for it. `logits(x_t)` returns its logits, (B, classes), and `wanted`, (classes,) and bool, is True "
            "for each class that will do. So $w$ times the gradient, with respect to $x_t$, of the logarithm of the "
            "probability that the class of the point is a wanted one is added to the score. Each point's own gradient "
            "counts for that point. Write a function that returns the predicted noise that belongs to this new score. "
            "`eps_hat` and `x_t` have the shape (B, d) and are float64; `sigma` and `w` are positive numbers. For your "
            "own tests you can pass `classifier`, from the first cell with code, as `logits`.",
            "notebook 14, section 1",
            (classifier,),
        ),
        Variant(
            V_AWAY,
            "On the cosine path $x_t = \\alpha x_0 + \\sigma\\varepsilon$ with $\\alpha^2 + \\sigma^2 = 1$, a network "
            "without labels predicts $v = \\alpha\\varepsilon - \\sigma x_0$ for each of B points, `v_hat`. You want "
            "points of *any class but* $y$, and use a classifier of noisy points for it. `logits(x_t)` returns its "
            "logits, (B, classes), and `y`, (B,) and int64, holds the class that each point should avoid, counted from "
            "0. So $w$ times the gradient, with respect to $x_t$, of the logarithm of the probability that the class "
            "of the point is not $y$ is added to the score. Each point's own gradient counts for that point. Write a "
            "function that returns the $v$ that belongs to this new score. `v_hat` and `x_t` have the shape (B, d) and "
            "are float64; `alpha`, `sigma` and `w` are positive numbers. For your own tests you can pass `classifier`, "
            "from the first cell with code, as `logits`.",
            "notebook 14, section 1",
            (classifier,),
        ),
    ),
)


# posterior: the weights of a mixture, or two measurements of one thing


def plane() -> Tensor:
    """A fine grid of points of the plane, (n, 2), for integrals."""
    line = torch.arange(-9, 9, 0.1, dtype=DOUBLE)
    return torch.cartesian_prod(line, line)


def density(x: Tensor, mean: Tensor, C: Tensor) -> Tensor:
    """Of a Gaussian at the points x, up to a factor that all C of one size share. (n,)."""
    shift = x - mean
    return torch.exp(-((shift @ torch.linalg.inv(C)) * shift).sum(dim=1) / 2) / torch.linalg.det(C).sqrt()


def posterior_weights(weights, means, C, A, y, std):
    S = A @ C @ A.T + std**2 * torch.eye(len(y), dtype=y.dtype)
    shift = y - means @ A.T
    squares = (shift * torch.linalg.solve(S, shift)).sum(dim=1)
    return torch.softmax(weights.log() - squares / 2 - torch.linalg.det(S).log() / 2, dim=0)


def posterior_weights_by_the_library(weights, means, C, A, y, std):
    found = []
    for weight, mean, covariance in zip(weights, means, C, strict=True):
        S = A @ covariance @ A.T + std**2 * torch.eye(len(y), dtype=y.dtype)
        found.append(weight * torch.distributions.MultivariateNormal(A @ mean, S).log_prob(y).exp())
    return torch.stack(found) / sum(found)


def posterior_weights_truth(weights, means, C, A, y, std):  # Bayes' rule on a grid of x0
    x0 = plane()
    likelihood = torch.exp(-((y - x0 @ A.T) ** 2).sum(dim=1) / (2 * std**2))
    found = [
        weight * (density(x0, mean, covariance) * likelihood).sum()
        for weight, mean, covariance in zip(weights, means, C, strict=True)
    ]
    return torch.stack(found) / sum(found)


def turned(g) -> Tensor:
    """A rotation of the plane by an angle at which no entry is small. (2, 2)."""
    angle = between(g, 0.4, 1.1)
    return double(math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)).reshape(2, 2)


def covariance(g) -> Tensor:
    """A covariance of the plane for the hidden cases, which fits on the grid. (2, 2)."""
    axes = turned(g)
    return axes @ torch.diag(double(between(g, 0.4, 0.8), between(g, 1.1, 1.8))) @ axes.T


def places(g, *shape: int) -> Tensor:
    """Numbers between -1.5 and 1.5 for the hidden cases."""
    return 3 * torch.rand(shape, generator=g, dtype=DOUBLE) - 1.5


def posterior_weights_cases(g):
    C = double(1.0, 0.6, 0.6, 0.8, 0.3, -0.1, -0.1, 0.5).reshape(2, 2, 2)
    means = double(-1.0, 0.5, 1.5, -0.4).reshape(2, 2)
    hidden = torch.stack([covariance(g) for _ in range(3)])
    A = turned(g) @ torch.diag(double(between(g, 0.6, 0.8), between(g, 1.1, 1.4)))
    return (
        Case(
            (double(0.7, 0.3), means, C, double(1.0, 2.0).reshape(1, 2), double(0.4), 0.6),
            "two Gaussians with the weights 0.7 and 0.3, A = (1, 2), y = 0.4 and std = 0.6",
        ),
        Case(
            (double(0.5, 0.2, 0.3), places(g, 3, 2), hidden, A, places(g, 2), between(g, 0.5, 0.8)),
            "three hidden Gaussians, of which two numbers were measured",
        ),
        Case(
            (double(0.2, 0.45, 0.35), places(g, 3, 2), hidden.flip(0), A[:1], places(g, 1), between(g, 1.2, 1.6)),
            "three hidden Gaussians, of which one number was measured with more noise",
        ),
    )


def posterior_weights_by_exponentials(weights, means, C, A, y, std):
    S = A @ C @ A.T + std**2 * torch.eye(len(y), dtype=y.dtype)
    shift = y - means @ A.T
    squares = (shift * torch.linalg.solve(S, shift)).sum(dim=1)
    return torch.softmax(weights.log() - squares / 2, dim=0)


def posterior_weights_of_nothing(weights, means, C, A, y, std):
    S = A @ C @ A.T + std**2 * torch.eye(len(y), dtype=y.dtype)
    found = torch.distributions.MultivariateNormal(means @ A.T, S).log_prob(y)
    return torch.softmax(found, dim=0)


def posterior_weights_of_points(weights, means, C, A, y, std):
    squares = ((y - means @ A.T) ** 2).sum(dim=1) / std**2
    return torch.softmax(weights.log() - squares / 2, dim=0)


def posterior_weights_without_noise(weights, means, C, A, y, std):
    found = torch.distributions.MultivariateNormal(means @ A.T, A @ C @ A.T).log_prob(y)
    return torch.softmax(weights.log() + found, dim=0)


def posterior_weights_by_std(weights, means, C, A, y, std):
    S = A @ C @ A.T + std * torch.eye(len(y), dtype=y.dtype)
    found = torch.distributions.MultivariateNormal(means @ A.T, S).log_prob(y)
    return torch.softmax(weights.log() + found, dim=0)


def posterior_weights_without_a_logarithm(weights, means, C, A, y, std):
    S = A @ C @ A.T + std**2 * torch.eye(len(y), dtype=y.dtype)
    found = torch.distributions.MultivariateNormal(means @ A.T, S).log_prob(y)
    return torch.softmax(weights + found, dim=0)


POSTERIOR_WEIGHTS = Exercise(
    id="lab14-15.posterior.weights",
    name="posterior_weights",
    stub='''
def posterior_weights(weights, means, C, A, y, std):
    """How likely each Gaussian is, once y is known, (K,). weights: (K,); means: (K, d); C: (K, d, d); A: (m, d)."""
    ...  # your code
''',
    solution=posterior_weights,
    alternative=posterior_weights_by_the_library,
    why="Under component k, y has mean A mean_k and covariance A C_k A^T + std² I; multiply its density by the weight.",
    truth=posterior_weights_truth,
    cases=posterior_weights_cases,
    hints=(),
    wrong=(
        Wrong(
            "no determinant",
            posterior_weights_by_exponentials,
            "You use the exponential of a Gaussian density without the factor before it. It holds the determinant of "
            "the covariance, which differs between the components.",
            UNSEEN,
        ),
        Wrong(
            "the prior weights are lost",
            posterior_weights_of_nothing,
            "You leave out the weights that the components had before. Bayes' rule multiplies by them.",
            UNSEEN,
        ),
        Wrong(
            "the noise alone",
            posterior_weights_of_points,
            "You take for y the noise of the measurement alone, as if every x0 lay at the mean of its component. The "
            "spread of a component spreads its y as well.",
            UNSEEN,
        ),
        Wrong(
            "no noise in S",
            posterior_weights_without_noise,
            "Your covariance of y is A C A^T, without the noise of the measurement.",
            UNSEEN,
        ),
        Wrong(
            "std for the variance",
            posterior_weights_by_std,
            "You add the standard deviation of the noise to a covariance. Variances add, so square it.",
            "the catalogue: std for variance",
        ),
        Wrong(
            "weights for their logarithms",
            posterior_weights_without_a_logarithm,
            "You add the weights themselves to logarithms of densities. What is multiplied becomes a sum of "
            "logarithms.",
            UNSEEN,
        ),
    ),
)


def posterior_of_two(mean, C, A1, y1, std1, A2, y2, std2):
    for A, y, std in [(A1, y1, std1), (A2, y2, std2)]:
        S = A @ C @ A.T + std**2 * torch.eye(len(y), dtype=y.dtype)
        K = C @ A.T @ torch.linalg.inv(S)
        mean, C = mean + K @ (y - A @ mean), C - K @ A @ C
    return mean, C


def posterior_of_two_by_precisions(mean, C, A1, y1, std1, A2, y2, std2):
    prior = torch.linalg.inv(C)
    after = torch.linalg.inv(prior + A1.T @ A1 / std1**2 + A2.T @ A2 / std2**2)
    return after @ (prior @ mean + A1.T @ y1 / std1**2 + A2.T @ y2 / std2**2), after


def posterior_of_two_truth(mean, C, A1, y1, std1, A2, y2, std2):  # Bayes' rule on a grid of x0
    x0 = plane()
    p = density(x0, mean, C)
    for A, y, std in [(A1, y1, std1), (A2, y2, std2)]:
        p = p * torch.exp(-((y - x0 @ A.T) ** 2).sum(dim=1) / (2 * std**2))
    p = p / p.sum()
    centred = x0 - p @ x0
    return p @ x0, (p[:, None] * centred).T @ centred


def posterior_of_two_cases(g):
    C = double(1.0, 0.6, 0.6, 0.8).reshape(2, 2)
    first = (double(1.0, 2.0).reshape(1, 2), double(0.4), 0.6)
    second = (double(1.0, -1.0).reshape(1, 2), double(-0.9), 0.8)
    two = (turned(g) @ torch.diag(double(0.7, 1.3)), places(g, 2), between(g, 1.2, 1.6))
    one = (turned(g)[:1], places(g, 1), between(g, 0.5, 0.8))
    return (
        Case(
            (double(-1.0, 0.5), C, *first, *second),
            "mean = (-1, 0.5), C = ((1, 0.6), (0.6, 0.8)), y1 = 0.4 by A1 = (1, 2) with std1 = 0.6, and y2 = -0.9 by "
            "A2 = (1, -1) with std2 = 0.8",
        ),
        Case(
            (places(g, 2), covariance(g), *two, *one),
            "a hidden Gaussian, of which two numbers and then one were measured",
        ),
        Case(
            (places(g, 2), covariance(g), *one, *two),
            "a hidden Gaussian, of which one number and then two were measured",
        ),
    )


def start_again_from_C(mean, C, A1, y1, std1, A2, y2, std2):
    K1 = C @ A1.T @ torch.linalg.inv(A1 @ C @ A1.T + std1**2 * torch.eye(len(y1), dtype=y1.dtype))
    mean = mean + K1 @ (y1 - A1 @ mean)
    K2 = C @ A2.T @ torch.linalg.inv(A2 @ C @ A2.T + std2**2 * torch.eye(len(y2), dtype=y2.dtype))
    return mean + K2 @ (y2 - A2 @ mean), C - K2 @ A2 @ C


def mean_of_the_two(mean, C, A1, y1, std1, A2, y2, std2):
    K1 = C @ A1.T @ torch.linalg.inv(A1 @ C @ A1.T + std1**2 * torch.eye(len(y1), dtype=y1.dtype))
    K2 = C @ A2.T @ torch.linalg.inv(A2 @ C @ A2.T + std2**2 * torch.eye(len(y2), dtype=y2.dtype))
    return mean + (K1 @ (y1 - A1 @ mean) + K2 @ (y2 - A2 @ mean)) / 2, C - (K1 @ A1 + K2 @ A2) @ C / 2


def the_second_alone(mean, C, A1, y1, std1, A2, y2, std2):
    K = C @ A2.T @ torch.linalg.inv(A2 @ C @ A2.T + std2**2 * torch.eye(len(y2), dtype=y2.dtype))
    return mean + K @ (y2 - A2 @ mean), C - K @ A2 @ C


def one_noise_for_both(mean, C, A1, y1, std1, A2, y2, std2):
    A, y = torch.cat([A1, A2]), torch.cat([y1, y2])
    K = C @ A.T @ torch.linalg.inv(A @ C @ A.T + std1**2 * torch.eye(len(y), dtype=y.dtype))
    return mean + K @ (y - A @ mean), C - K @ A @ C


def stds_for_variances(mean, C, A1, y1, std1, A2, y2, std2):
    for A, y, std in [(A1, y1, std1), (A2, y2, std2)]:
        K = C @ A.T @ torch.linalg.inv(A @ C @ A.T + std * torch.eye(len(y), dtype=y.dtype))
        mean, C = mean + K @ (y - A @ mean), C - K @ A @ C
    return mean, C


def the_prior_twice(mean, C, A1, y1, std1, A2, y2, std2):
    prior = torch.linalg.inv(C)
    after = torch.linalg.inv(2 * prior + A1.T @ A1 / std1**2 + A2.T @ A2 / std2**2)
    return after @ (2 * prior @ mean + A1.T @ y1 / std1**2 + A2.T @ y2 / std2**2), after


POSTERIOR_OF_TWO = Exercise(
    id="lab14-15.posterior.two",
    name="posterior_of_two",
    stub='''
def posterior_of_two(mean, C, A1, y1, std1, A2, y2, std2):
    """The mean, (d,), and the covariance, (d, d), of x0 given two measurements. mean: (d,); C: (d, d); A1: (m1, d)."""
    ...  # your code
''',
    solution=posterior_of_two,
    alternative=posterior_of_two_by_precisions,
    why="What is known after the first measurement, mean and covariance, is the prior of the second one.",
    truth=posterior_of_two_truth,
    cases=posterior_of_two_cases,
    parts=("the mean", "the covariance"),
    hints=(),
    wrong=(
        Wrong(
            "the old covariance again",
            start_again_from_C,
            "Your second measurement starts from the new mean, but from the covariance that x0 had before the first "
            "one. The first one has made x0 more certain.",
            UNSEEN,
        ),
        Wrong(
            "the mean of two posteriors",
            mean_of_the_two,
            "You compute a posterior for each measurement and take the mean of the two. But both measurements together "
            "leave less doubt than each alone.",
            UNSEEN,
        ),
        Wrong(
            "the second alone",
            the_second_alone,
            "Your result does not depend on the first measurement.",
            UNSEEN,
        ),
        Wrong(
            "one noise for both",
            one_noise_for_both,
            "You give both measurements the noise of the first one.",
            UNSEEN,
        ),
        Wrong(
            "stds for variances",
            stds_for_variances,
            "You add the standard deviation of the noise to a covariance. Variances add, so square it.",
            "the catalogue: std for variance",
        ),
        Wrong(
            "the prior twice",
            the_prior_twice,
            "You multiply two posteriors. Each of them holds the prior, so it counts twice.",
            UNSEEN,
        ),
    ),
)

POSTERIOR = Problem(
    name="posterior",
    points=4,
    variants=(
        Variant(
            POSTERIOR_WEIGHTS,
            "A point $x_0$ of $d$ numbers comes from a mixture of $K$ Gaussians: with probability `weights[k]` from "
            "$\\mathcal N(\\mu_k, C_k)$. The means $\\mu_k$ are the rows of `means`, (K, d), and the covariances are "
            "`C`, (K, d, d). A measurement $y = A x_0 + \\varsigma z$ is known, where $z \\sim \\mathcal N(0, I)$ and "
            "`std` is the standard deviation $\\varsigma$; `A` is a matrix (m, d), and `y` has the shape (m,). Write a "
            "function that returns the probability that $x_0$ came from the $k$-th Gaussian, given $y$, for all $k$. "
            "The result has the shape (K,) and sums to 1. All tensors are float64, and `std` is a positive number.",
            "notebook 15, section 4",
        ),
        Variant(
            POSTERIOR_OF_TWO,
            "A point $x_0$ of $d$ numbers comes from $\\mathcal N(\\mu, C)$: $\\mu$ is `mean`, (d,), and $C$ is a "
            "covariance, (d, d). It was measured twice, $y_1 = A_1 x_0 + \\varsigma_1 z_1$ and $y_2 = A_2 x_0 + "
            "\\varsigma_2 z_2$, where $z_1$ and $z_2$ are independent and standard normal. The standard deviations "
            "$\\varsigma_1$ and $\\varsigma_2$ are `std1` and `std2`. `A1` is a matrix $(m_1, d)$ and `y1` has the "
            "shape $(m_1,)$; `A2` is a matrix $(m_2, d)$ and `y2` has the shape $(m_2,)$. Write a function that "
            "returns two things: the mean, (d,), and the covariance, (d, d), of $x_0$ given both $y_1$ and $y_2$. All "
            "tensors are float64, and the stds are positive numbers.",
            "notebook 15, section 4",
        ),
    ),
)


# replace: a measurement with noise of its own, or one along other directions than the axes


def replace_noisy(x, y, stds, known, alpha, sigma, z):
    missing = sigma**2 - (alpha * stds) ** 2
    noisy = alpha * y + missing.clamp(min=0).sqrt() * z
    return torch.where(known & (missing > 0), noisy, x)


def replace_noisy_in_place(x, y, stds, known, alpha, sigma, z):
    out, chosen = x.clone(), known & (sigma > alpha * stds)
    out[:, chosen] = alpha * y[chosen] + z[:, chosen] * torch.sqrt(sigma**2 - alpha**2 * stds[chosen] ** 2)
    return out


def replace_noisy_truth(
    x, y, stds, known, alpha, sigma, z
):  # in x / alpha, whose noise has the variance sigma² / alpha²
    out = x.clone()
    for i, (value, std) in enumerate(zip(y.tolist(), stds.tolist(), strict=True)):
        if known[i] and sigma / alpha > std:
            for b in range(len(x)):
                out[b, i] = alpha * (value + math.sqrt((sigma / alpha) ** 2 - std**2) * float(z[b, i]))
    return out


def replace_noisy_cases(g):
    public = double(1.5, -0.7, 0.4, -1.8, 0.6, 1.1).reshape(2, 3)
    noise = double(0.4, -1.3, 2.0, 0.9, -0.5, 0.7).reshape(2, 3)
    stds = double(between(g, 0.1, 0.3), between(g, 1.5, 1.6), between(g, 0.2, 0.4), 0.0, 0.9)  # 0.9: late, not early
    late, early = level(g, 0.5, 0.6), level(g, 0.3, 0.4)
    return (
        Case(
            (public, double(1.2, -0.8, 0.5), double(0.5, 1.5, 0.2), torch.tensor([True, True, False]), 0.8, 0.6, noise),
            "two points of three numbers, y = (1.2, -0.8, 0.5), stds = (0.5, 1.5, 0.2), of which the first two are "
            "known, alpha = 0.8 and sigma = 0.6",
        ),
        Case(
            (
                normals(g, 4, 5),
                normals(g, 5),
                stds,
                torch.tensor([True, True, False, True, True]),
                *late,
                normals(g, 4, 5),
            ),
            "hidden points, measured with several noises",
        ),
        Case(
            (
                normals(g, 3, 5),
                normals(g, 5),
                stds,
                torch.tensor([True, False, True, True, True]),
                *early,
                normals(g, 3, 5),
            ),
            "other hidden points at an earlier time",
        ),
    )


REPLACE_NOISY = Exercise(
    id="lab14-15.replace.noisy",
    name="replace_noisy",
    stub='''
def replace_noisy(x, y, stds, known, alpha, sigma, z):
    """x, (B, d), with its known coordinates replaced where y is less noisy than x. y, stds: (d,); known: (d,), bool."""
    ...  # your code
''',
    solution=replace_noisy,
    alternative=replace_noisy_in_place,
    why="alpha y has noise of the variance alpha² std² already, so only sigma² - alpha² std² is missing, if any.",
    truth=replace_noisy_truth,
    cases=replace_noisy_cases,
    hints=(),
    wrong=(
        Wrong(
            "the whole noise on top",
            lambda x, y, stds, known, alpha, sigma, z: torch.where(
                known & (sigma > alpha * stds), alpha * y + sigma * z, x
            ),
            "You add noise of the whole sigma. But y has noise of its own, so only the missing part has to be added.",
            UNSEEN,
        ),
        Wrong(
            "a variance for its root",
            lambda x, y, stds, known, alpha, sigma, z: torch.where(
                known & (sigma > alpha * stds), alpha * y + (sigma**2 - alpha**2 * stds**2) * z, x
            ),
            "You multiply z by the missing variance. Noise is multiplied by a standard deviation.",
            "the catalogue: std for variance",
        ),
        Wrong(
            "standard deviations subtracted",
            lambda x, y, stds, known, alpha, sigma, z: torch.where(
                known & (sigma > alpha * stds), alpha * y + (sigma - alpha * stds) * z, x
            ),
            "You subtract standard deviations. It is the variances of independent noises that add up.",
            UNSEEN,
        ),
        Wrong(
            "alpha forgotten in the noise",
            lambda x, y, stds, known, alpha, sigma, z: torch.where(
                known & (sigma > stds), alpha * y + (sigma**2 - stds**2).clamp(min=0).sqrt() * z, x
            ),
            "You compare sigma with the noise of y. What goes into x is alpha y, whose noise is alpha times as large.",
            UNSEEN,
        ),
        Wrong(
            "always replaced",
            lambda x, y, stds, known, alpha, sigma, z: torch.where(
                known, alpha * y + (sigma**2 - alpha**2 * stds**2).clamp(min=0).sqrt() * z, x
            ),
            "You replace coordinates whose measurement is noisier than x is. There x knows better and should stay.",
            UNSEEN,
        ),
        Wrong(
            "the unknown as well",
            lambda x, y, stds, known, alpha, sigma, z: torch.where(
                sigma > alpha * stds, alpha * y + (sigma**2 - alpha**2 * stds**2).clamp(min=0).sqrt() * z, x
            ),
            "You replace coordinates that were not measured.",
            "the catalogue: mask",
        ),
    ),
)


def replace_turned(x, y, known, U, alpha, sigma, z):
    c = torch.where(known, alpha * y + sigma * z, x @ U)
    return c @ U.T


def replace_turned_by_moving(x, y, known, U, alpha, sigma, z):
    move = alpha * y + sigma * z - torch.einsum("bi,ij->bj", x, U)
    return x + torch.einsum("bj,ij->bi", move * known, U)


def replace_turned_truth(x, y, known, U, alpha, sigma, z):  # the point whose products with the directions are these
    rows = []
    for point, noise in zip(x, z, strict=True):
        wanted = [
            alpha * float(y[j]) + sigma * float(noise[j]) if known[j] else float((U[:, j] * point).sum())
            for j in range(len(y))
        ]
        rows.append(torch.linalg.solve(U.T, double(*wanted)))
    return torch.stack(rows)


def replace_turned_cases(g):
    public = double(1.5, -0.7, 0.4, -1.8).reshape(2, 2)
    noise = double(0.4, -1.3, 2.0, 0.9).reshape(2, 2)
    U = double(0.6, -0.8, 0.8, 0.6).reshape(2, 2)
    known, (turn, _) = torch.tensor([True, False, True, False]), torch.linalg.qr(normals(g, 4, 4))
    return (
        Case(
            (public, double(1.2, -0.5), torch.tensor([True, False]), U, 0.8, 0.6, noise),
            "two points of the plane, U = ((0.6, -0.8), (0.8, 0.6)), the first coordinate known, y = (1.2, -0.5), "
            "alpha = 0.8 and sigma = 0.6",
        ),
        Case(
            (normals(g, 5, 4), normals(g, 4), known, turn, *level(g, 0.3, 0.7), normals(g, 5, 4)),
            "hidden points with four axes",
        ),
    )


REPLACE_TURNED = Exercise(
    id="lab14-15.replace.turned",
    name="replace_turned",
    stub='''
def replace_turned(x, y, known, U, alpha, sigma, z):
    """x, (B, d), whose known coordinates along the columns of U, (d, d), are replaced. y: (d,); known: (d,), bool."""
    ...  # your code
''',
    solution=replace_turned,
    alternative=replace_turned_by_moving,
    why="The coordinates along the columns of U are x @ U; replace the known ones, and turn back by the transpose.",
    truth=replace_turned_truth,
    cases=replace_turned_cases,
    hints=(),
    wrong=(
        Wrong(
            "along the axes",
            lambda x, y, known, U, alpha, sigma, z: torch.where(known, alpha * y + sigma * z, x),
            "You replace coordinates along the axes. What was measured are coordinates along the columns of U.",
            UNSEEN,
        ),
        Wrong(
            "not turned back",
            lambda x, y, known, U, alpha, sigma, z: torch.where(known, alpha * y + sigma * z, x @ U),
            "You return coordinates along the columns of U. The sampler goes on with those along the axes.",
            "the catalogue: not turned back from the eigenbasis",
        ),
        Wrong(
            "turned the wrong way",
            lambda x, y, known, U, alpha, sigma, z: torch.where(known, alpha * y + sigma * z, x @ U.T) @ U,
            "You use the rows of U for its columns. The coordinate along a column is the product of x with that "
            "column.",
            "the catalogue: factor transposed",
        ),
        Wrong(
            "no noise",
            lambda x, y, known, U, alpha, sigma, z: torch.where(known, alpha * y, x @ U) @ U.T,
            "You put in a value without noise. The rest of x has noise of the size sigma, and the denoiser expects it "
            "everywhere.",
            UNSEEN,
        ),
        Wrong(
            "sigma squared",
            lambda x, y, known, U, alpha, sigma, z: torch.where(known, alpha * y + sigma**2 * z, x @ U) @ U.T,
            "You multiply the noise by sigma², which is its variance. Noise is multiplied by a standard deviation.",
            "the catalogue: sigma for sigma**2",
        ),
        Wrong(
            "no alpha",
            lambda x, y, known, U, alpha, sigma, z: torch.where(known, y + sigma * z, x @ U) @ U.T,
            "You put in y at its full size. In a noisy x all of the signal is multiplied by alpha.",
            UNSEEN,
        ),
    ),
)

REPLACE = Problem(
    name="replace",
    points=3,
    variants=(
        Variant(
            REPLACE_NOISY,
            "Some coordinates of a point $x_0$ were measured, each with noise of its own: $y_i = x_{0,i} + "
            "\\varsigma_i z_i'$, where $z_i'$ is standard normal and `stds[i]` is the standard deviation "
            "$\\varsigma_i$, which may be 0. `known[i]` is True for the measured ones; for the others, `y[i]` and "
            "`stds[i]` mean nothing. A sampler has just arrived at `x`, (B, d), on the path $x = \\alpha x_0 + "
            "\\sigma\\varepsilon$. Write the replacement for a noisy measurement. Where a coordinate was measured, and "
            "the noise in $x_i$ has a larger standard deviation than the noise in $\\alpha y_i$, the new $x_i$ is "
            "$\\alpha y_i$ plus a multiple of `z[:, i]`, such that all its noise together has the variance "
            "$\\sigma^2$. Everywhere else $x_i$ stays. `z`, (B, d), is standard normal and independent of all other "
            "noise, and `alpha` and `sigma` are positive numbers. All tensors but `known` are float64.",
            "notebook 15, section 10",
        ),
        Variant(
            REPLACE_TURNED,
            "The columns of the orthogonal matrix `U`, (d, d), are $d$ directions of length 1, at right angles to each "
            "other. The coordinate of a point along the direction $j$ is its scalar product with column $j$. Of a "
            "point $x_0$, the coordinates along some of these directions were measured without noise: where `known[j]` "
            "is True, `y[j]` is that of $x_0$ along the direction $j$; the other values of `y` mean nothing. A sampler "
            "has just arrived at `x`, (B, d), on the path $x = \\alpha x_0 + \\sigma\\varepsilon$, in the usual "
            "coordinates. Write the replacement: along each known direction $j$, the coordinate of $x$ becomes that of "
            "$x_0$, brought to the noise level of $x$ with `z[:, j]` as its $\\varepsilon$, and along all other "
            "directions it stays. Return the points in the usual coordinates, (B, d). `z`, (B, d), is standard normal, "
            "and `alpha` and `sigma` are positive numbers. All tensors but `known` are float64.",
            "notebook 15, section 6",
        ),
    ),
)


# adjoint: the transpose of a measurement that is not a mask


def differences_adjoint(y, gap):
    return torch.nn.functional.pad(y, (gap, 0)) - torch.nn.functional.pad(y, (0, gap))


def differences_adjoint_in_place(y, gap):
    x = torch.zeros(*y.shape[:-1], y.shape[-1] + gap, dtype=y.dtype)
    x[..., gap:] += y
    x[..., :-gap] -= y
    return x


def differences_adjoint_truth(y, gap):  # the measurement as a matrix: what it makes of the unit vectors
    units = torch.eye(y.shape[-1] + gap, dtype=y.dtype)
    return torch.einsum("bchj,ij->bchi", y, units[:, gap:] - units[:, :-gap])


def differences_adjoint_cases(g):
    return (
        Case((double(1.5, -0.7, 0.4).reshape(1, 1, 1, 3), 1), "y = (1.5, -0.7, 0.4) and gap = 1"),
        Case((normals(g, 2, 1, 3, 7), 2), "hidden pictures with a small gap"),
        Case((normals(g, 3, 1, 2, 4), 5), "hidden pictures with a gap that is wider than y"),
    )


def differences_adjoint_inside(y, gap):
    x = torch.nn.functional.pad(y, (gap, 0)) - torch.nn.functional.pad(y, (0, gap))
    x[..., :gap] = 0
    x[..., -gap:] = 0
    return x


DIFFERENCES_ADJOINT = Exercise(
    id="lab14-15.adjoint.differences",
    name="differences_adjoint",
    stub='''
def differences_adjoint(y, gap):
    """A^T y, (B, 1, H, n + gap), for y (B, 1, H, n), where A takes differences of pixels that are gap apart."""
    ...  # your code
''',
    solution=differences_adjoint,
    alternative=differences_adjoint_in_place,
    why="Number j of y went into A with 1 at pixel j + gap and with -1 at pixel j, and so it goes back to these.",
    truth=differences_adjoint_truth,
    cases=differences_adjoint_cases,
    hints=(),
    wrong=(
        Wrong(
            "the forward again",
            lambda y, gap: torch.nn.functional.pad(y, (0, gap)) - torch.nn.functional.pad(y, (gap, 0)),
            "You take differences of y, as A does of x. That is -A^T: the dot-product test returns two numbers of "
            "opposite signs.",
            "annegnx/PnP-Flow#19",
        ),
        Wrong(
            "the border is lost",
            differences_adjoint_inside,
            "You lose the pixels near both borders, which enter a single difference. They, too, have a part in A x.",
            "the catalogue: border lost",
        ),
        Wrong(
            "no minus",
            lambda y, gap: torch.nn.functional.pad(y, (gap, 0)) + torch.nn.functional.pad(y, (0, gap)),
            "You give both pixels of a difference the same sign. In A one has 1 and the other -1, and A^T has the same "
            "numbers.",
            UNSEEN,
        ),
        Wrong(
            "one of the two pixels",
            lambda y, gap: torch.nn.functional.pad(y, (gap, 0)),
            "You give each difference back to one pixel only. It came from two.",
            UNSEEN,
        ),
        Wrong(
            "halves",
            lambda y, gap: (torch.nn.functional.pad(y, (gap, 0)) - torch.nn.functional.pad(y, (0, gap))) / 2,
            "You share each difference among its two pixels. A transpose does not share anything: its entries are "
            "those of A, 1 and -1.",
            UNSEEN,
        ),
        Wrong(
            "shifted by one",
            lambda y, gap: torch.nn.functional.pad(y, (0, gap)).roll(1, dims=-1) - torch.nn.functional.pad(y, (0, gap)),
            "You shift by one pixel whatever the gap is.",
            UNSEEN,
        ),
    ),
)


def fading_adjoint(y, keep):
    i = torch.arange(y.shape[-1], dtype=y.dtype)
    steps = i[:, None] - i  # from the pixel i, a column, to the number j, a row
    return y @ (keep ** steps.clamp(min=0) * (steps >= 0))


def fading_adjoint_from_the_right(y, keep):
    columns, total = [], torch.zeros_like(y[..., 0])
    for j in reversed(range(y.shape[-1])):
        total = y[..., j] + keep * total
        columns.append(total)
    return torch.stack(columns[::-1], dim=-1)


def fading_adjoint_truth(y, keep):  # the gradient of the scalar product of A x and y
    x = torch.zeros_like(y, requires_grad=True)
    with torch.enable_grad():
        line = []
        for column in x.unbind(dim=-1):
            line.append(column + keep * line[-1] if line else column)
        product = (torch.stack(line, dim=-1) * y).sum()
    return torch.autograd.grad(product, x)[0]


def fading_adjoint_cases(g):  # positive, so that sums in single precision are near enough
    return (
        Case((double(1.5, -0.7, 0.4).reshape(1, 1, 1, 3), 0.8), "y = (1.5, -0.7, 0.4) and keep = 0.8"),
        Case((0.3 + normals(g, 2, 1, 3, 7).abs(), between(g, 0.6, 0.9)), "hidden pictures"),
        Case((0.3 + normals(g, 3, 1, 2, 5).abs(), between(g, 0.3, 0.5)), "hidden pictures that fade sooner"),
    )


def fading_adjoint_of_the_others(y, keep):
    x = torch.zeros_like(y)
    for i in range(y.shape[-1]):
        for j in range(i + 1, y.shape[-1]):
            x[..., i] += keep ** (j - i) * y[..., j]
    return x


def fading_adjoint_as_forward(y, keep):
    x = torch.zeros_like(y)
    for j in range(y.shape[-1]):
        for i in range(j + 1):
            x[..., j] += keep ** (j - i) * y[..., i]
    return x


FADING_ADJOINT = Exercise(
    id="lab14-15.adjoint.fading",
    name="fading_adjoint",
    stub='''
def fading_adjoint(y, keep):
    """A^T y for y (B, 1, H, W), where A smears each pixel to the right, by the factor keep for each pixel. As y."""
    ...  # your code
''',
    solution=fading_adjoint,
    alternative=fading_adjoint_from_the_right,
    why="Pixel i went into all numbers j >= i with the factor keep^(j - i), so it collects them with the same factors.",
    truth=fading_adjoint_truth,
    cases=fading_adjoint_cases,
    hints=(),
    wrong=(
        Wrong(
            "the forward again",
            fading_adjoint_as_forward,
            "You return A y, which smears to the right. The transpose goes the other way: to each pixel come the "
            "numbers into which it went.",
            "annegnx/PnP-Flow#19",
        ),
        Wrong(
            "undone",
            lambda y, keep: y - keep * torch.nn.functional.pad(y, (1, 0))[..., :-1],
            "You undo the smear: that is the inverse of A. Its transpose does not take anything back.",
            UNSEEN,
        ),
        Wrong(
            "undone to the left",
            lambda y, keep: y - keep * torch.nn.functional.pad(y, (0, 1))[..., 1:],
            "You return the transpose of the inverse. The transpose of A itself has the entries of A, which are all "
            "positive or 0.",
            UNSEEN,
        ),
        Wrong(
            "without the pixel itself",
            fading_adjoint_of_the_others,
            "You leave out the number at the pixel itself, j = i. Its factor is 1.",
            UNSEEN,
        ),
        Wrong(
            "nothing fades",
            lambda y, keep: y.flip(-1).cumsum(dim=-1).flip(-1),
            "You add up all numbers to the right with the factor 1. In A they fade with the distance, and so they do "
            "in A^T.",
            UNSEEN,
        ),
        Wrong(
            "the neighbour alone",
            lambda y, keep: y + keep * torch.nn.functional.pad(y, (0, 1))[..., 1:],
            "You collect the next number only. A pixel reaches all those to its right.",
            UNSEEN,
        ),
    ),
)

ADJOINT = Problem(
    name="adjoint",
    points=3,
    variants=(
        Variant(
            DIFFERENCES_ADJOINT,
            "A sensor measures differences along the rows of a picture: for a picture $x$ of shape (B, 1, H, W), the "
            "number $(Ax)_j = x_{j + \\text{gap}} - x_j$ is computed in each row, for $j = 0, 1, \\dots, W - "
            "\\text{gap} - 1$. So $Ax$ has the shape (B, 1, H, $n$) with $n = W - $ `gap`. Write its adjoint: a "
            "function that returns $A^\\top y$, (B, 1, H, $n$ + `gap`), for any `y` of the shape (B, 1, H, $n$) and "
            "float64. `gap` is a whole number of at least 1, and it may be larger than $n$.",
            "notebook 15, section 3",
        ),
        Variant(
            FADING_ADJOINT,
            "The screen of an old sensor glows on: while it is read from left to right, each pixel is smeared to the "
            "right and fades. For a picture $x$ of shape (B, 1, H, W), the number $(Ax)_j = \\sum_{i = 0}^{j} "
            "\\text{keep}^{\\,j - i}\\, x_i$ is computed in each row, for $j = 0, 1, \\dots, W - 1$. So $Ax$ has the "
            "shape of $x$. Write its adjoint: a function that returns $A^\\top y$, (B, 1, H, W), for any `y` of the "
            "shape (B, 1, H, W) and float64. `keep` is a number between 0 and 1.",
            "notebook 15, section 3",
        ),
    ),
)


# plot: two classes that do not overlap, and noisy points that do

PLOT = Plot(
    prompt=(
        "The data are one number, $-1$ or $1$, each with probability one half, and the class $y$ is the number $1$. So "
        "the exact denoiser of the class returns 1, and that of all data returns $\\tanh(\\alpha x_t/\\sigma^2)$. Take "
        "the cosine path, and at each time $t$ from 0.05 to 0.995 the point $x_t = \\alpha$, the mean of the noisy "
        "points of the class. Plot over $t$ the guided estimate of $x_0$ there, in the convention of notebook 14, for "
        "$w = 1$, 2 and 4, and dashed the estimate that the exact denoiser of the tilted distribution (section 3 of "
        "notebook 14) would give at the same $x_t$. Then repeat the curve for $w = 4$ with the numbers $-3$ and $3$ "
        "(divide the estimate by 3; the denoiser of all data is then $3 \\tanh(3 \\alpha x_t/\\sigma^2)$, and $x_t = "
        "3\\alpha$). Explain in about four sentences. Where is the dashed line for each $w$, and why? Why does the "
        "curve for $w = 4$ leave it, although the two classes do not overlap, and to which value does it go as $t \\to "
        "1$? From which $t$ on does it exceed the dashed line by more than 0.1, and why is that another time for $-3$ "
        "and $3$?"
    ),
    rubric=(
        (
            1,
            "The plot shows labelled curves: w = 1 is constant at 1, those for w = 2 and 4 are at 1 for small t and "
            "rise to 2 and 4 at t = 1, and the one for -3 and 3 rises later.",
        ),
        (
            1,
            "The dashed line is at 1 for every w > 0: p(y | x0) is 0 or 1, and so is its power, so the tilted "
            "distribution is the class itself.",
        ),
        (
            1,
            "Noisy points of the two classes overlap, so p(y | x_t) has a gradient, which is right at w = 1 and which "
            "guidance multiplies by 4. As t goes to 1 the unconditional estimate goes to 0, the mean of all data, so "
            "the guided one goes to 4 · 1 - 3 · 0 = 4, where there are no data.",
        ),
        (
            1,
            "The curve for w = 4 exceeds 1.1 from t = 0.39 on, and from 0.72 on for -3 and 3: the tanh there has to "
            "fall below 0.967, and numbers that are 3 times as far apart overlap only under 3 times the noise sigma / "
            "alpha.",
        ),
    ),
)


LAB = Lab(
    number="14-15",
    title="Guidance and inverse problems",
    after=("14", "15"),
    problems=(GUIDE, STEER, POSTERIOR, REPLACE, ADJOINT),
    plot=PLOT,
)
