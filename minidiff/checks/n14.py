"""The exercises of notebook 14, guidance: 14.1 to 14.4 in its flow, 14.5 to 14.9 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from minidiff import networks
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Guidance"
DOUBLE = torch.float64


# 14.1 classifier_guided


def classifier_guided(x0_hat, x_t, logits, y, alpha, sigma, w):
    def log_prob(x):  # of each point's own class, summed over the points
        return functional.log_softmax(logits(x), dim=1)[torch.arange(len(y)), y].sum()

    gradient = torch.func.grad(log_prob)(x_t)
    return x0_hat + w * sigma**2 / alpha * gradient


def classifier_guided_by_cross_entropy(x0_hat, x_t, logits, y, alpha, sigma, w):
    x = x_t.detach().requires_grad_()
    loss = functional.cross_entropy(logits(x), y, reduction="sum")  # minus the log-probability
    (uphill,) = torch.autograd.grad(-loss, x)
    score_of_all = (alpha * x0_hat - x_t) / sigma**2
    return (x_t + sigma**2 * (score_of_all + w * uphill)) / alpha


def classifier_truth(x0_hat, x_t, logits, y, alpha, sigma, w):  # from each point's Jacobian and its probabilities
    moved = []
    for guess, point, mine in zip(x0_hat, x_t, y.tolist(), strict=True):
        slopes = torch.func.jacrev(lambda p: logits(p[None])[0])(point)  # (classes, d)
        share = logits(point[None])[0].exp()
        mean_slope = (share[:, None] * slopes).sum(dim=0) / share.sum()
        moved.append(guess + w * sigma * (slopes[mine] - mean_slope) * (sigma / alpha))
    return torch.stack(moved)


def three_classes(x: Tensor) -> Tensor:
    """Logits that are linear in x."""
    slopes = torch.tensor([[1.0, -0.5, 0.25], [0.5, 1.5, -1.0]], dtype=x.dtype)
    return x @ slopes + torch.tensor([0.25, 0.0, -0.5], dtype=x.dtype)


def curved_classes(x: Tensor) -> Tensor:
    """Logits of four Gaussians of different widths."""
    centres = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0], [0.5, 1.0]], dtype=x.dtype)
    widths = torch.tensor([0.8, 1.1, 1.4, 0.9], dtype=x.dtype)
    return -((x[:, None] - centres) ** 2).sum(dim=2) / (2 * widths**2) - 2 * widths.log()


def classifier_cases(g):
    sigma = round(0.5 + 0.15 * float(torch.rand((), generator=g)), 3)
    points, guesses = (torch.randn(30, 2, generator=g, dtype=DOUBLE) for _ in range(2))
    y = torch.arange(30) % 4
    plain = (torch.tensor([[0.5, 0.2], [1.5, -1.0]]), torch.tensor([[0.3, 1.0], [-0.8, 0.4]]))
    return (
        Case(
            (*plain, three_classes, torch.tensor([2, 0]), 0.8, 0.6, 1.0),
            "two points, three classes with linear logits, y = 2 and 0, alpha = 0.8, sigma = 0.6 and w = 1",
        ),
        Case(
            (guesses, points, curved_classes, y, math.sqrt(1 - sigma**2), sigma, 2.5),
            f"30 points in float64, the logits of four Gaussians, sigma = {sigma} and w = 2.5",
        ),
    )


def own_class(values, y):
    return values[torch.arange(len(y)), y]


def moved_by(factor, value=None):
    """A wrong answer: the estimate moves by a factor(alpha, sigma, w) times the gradient of value(logits, y)."""

    def summed(logits, y):
        return own_class(functional.log_softmax(logits, dim=1), y).sum()

    def answer(x0_hat, x_t, logits, y, alpha, sigma, w):
        gradient = torch.func.grad(lambda x: (value or summed)(logits(x), y))(x_t)
        return x0_hat + factor(alpha, sigma, w) * gradient

    return answer


def right_factor(alpha, sigma, w):
    return w * sigma**2 / alpha


def at_the_estimate(x0_hat, x_t, logits, y, alpha, sigma, w):
    return x0_hat + (classifier_guided(x0_hat, x0_hat, logits, y, alpha, sigma, w) - x0_hat)


CLASSIFIER_GUIDED = Exercise(
    id="14.1",
    name="classifier_guided",
    stub='''
def classifier_guided(x0_hat, x_t, logits, y, alpha, sigma, w):
    """The estimate of x0, moved by w times the gradient of log p(y | x_t). Returns (B, d).

    x0_hat, x_t: (B, d). logits: a function of x_t that returns (B, classes). y: (B,), the wanted classes, int64.
    """
    ...  # your code
''',
    solution=classifier_guided,
    alternative=classifier_guided_by_cross_entropy,
    why=(
        "Bayes' rule adds w times the gradient of log p(y | x_t) to the score. By Tweedie's formula the estimate is\n"
        "(x_t + sigma² score) / alpha, so it moves by w sigma² / alpha times the gradient. The probability of a\n"
        "class is the softmax of the logits, so its logarithm is `log_softmax`. Each point's log-probability\n"
        "depends on that point alone, so the gradient of the sum gives all points their own gradients at once."
    ),
    truth=classifier_truth,
    cases=classifier_cases,
    hints=(
        "log p(y | x_t) is `functional.log_softmax(logits(x), dim=1)`, taken at each point's own class. How do you "
        "pick one number from each row?",
        "`torch.func.grad(f)(x_t)` needs an f that returns one number. The sum over the points does, and mixes "
        "nothing.",
        "Put score + w gradient into x0 = (x_t + sigma² score) / alpha. By how much does x0 change?",
    ),
    wrong=(
        Wrong(
            "softmax for log",
            moved_by(right_factor, lambda z, y: own_class(z.softmax(dim=1), y).sum()),
            "You take the gradient of the probability, and not of its logarithm. Bayes' rule adds up logarithms. Where "
            "the class is improbable, the logarithm pushes hard and the probability hardly at all.",
            UNSEEN,
        ),
        Wrong(
            "the logit alone",
            moved_by(right_factor, lambda z, y: own_class(z, y).sum()),
            "You take the gradient of the logit of the class. A logit becomes a log-probability only if the logarithm "
            "of the sum over all classes is subtracted, and that sum depends on x_t too.",
            UNSEEN,
        ),
        Wrong(
            "the sign",
            moved_by(lambda alpha, sigma, w: -w * sigma**2 / alpha),
            "The sign is wrong, so the estimate moves away from the class. (A cross entropy is *minus* the "
            "log-probability.)",
            UNSEEN,
        ),
        Wrong(
            "sigma² missing",
            moved_by(lambda alpha, sigma, w: w / alpha),
            "The factor sigma² is missing. A change of the score by one moves the estimate by sigma² / alpha.",
            UNSEEN,
        ),
        Wrong(
            "sigma for sigma²",
            moved_by(lambda alpha, sigma, w: w * sigma / alpha),
            "You multiply by sigma and not by sigma². One sigma belongs to the change of eps, and x0 changes by "
            "sigma / alpha times that.",
            "Dhariwal and Nichol 2021, algorithm 2, which changes eps",
        ),
        Wrong(
            "alpha missing",
            moved_by(lambda alpha, sigma, w: w * sigma**2),
            "You do not divide by alpha. In x_t the data are shrunk by alpha, so a move of x_t by d is a move of x0 by "
            "d / alpha.",
            UNSEEN,
        ),
        Wrong(
            "times alpha",
            moved_by(lambda alpha, sigma, w: w * sigma**2 * alpha),
            "You multiply by alpha where you should divide by it.",
            UNSEEN,
        ),
        Wrong(
            "the gradient as it is",
            moved_by(lambda alpha, sigma, w: w),
            "You add the gradient to the estimate of x0 as it is. It has to be added to the score, and the score is "
            "not x0.",
            UNSEEN,
        ),
        Wrong(
            "the rule for eps",
            moved_by(lambda alpha, sigma, w: -w * sigma),
            "This is the change of eps, which is -sigma times the gradient. The change of x0 is asked for.",
            "Dhariwal and Nichol 2021, algorithm 2",
        ),
        Wrong(
            "w missing",
            moved_by(lambda alpha, sigma, w: sigma**2 / alpha),
            "Your function never uses w, so the guidance has the strength 1 whatever is asked for.",
            UNSEEN,
        ),
        Wrong(
            "the mean over the points",
            moved_by(right_factor, lambda z, y: own_class(functional.log_softmax(z, dim=1), y).mean()),
            "You take the mean of the log-probabilities over the points, so each gradient is divided by the number of "
            "points. Then guidance gets weaker in larger batches. Take the sum.",
            "the default of `cross_entropy`",
        ),
        Wrong(
            "every class for every point",
            moved_by(right_factor, lambda z, y: functional.log_softmax(z, dim=1)[:, y].sum()),
            "`[:, y]` picks all the wanted classes at every point, a (B, B) table. You want one class a point: "
            "`[torch.arange(len(y)), y]`, or `gather`.",
            UNSEEN,
        ),
        Wrong(
            "always class 0",
            moved_by(right_factor, lambda z, y: functional.log_softmax(z, dim=1)[:, 0].sum()),
            "You always steer to class 0, whatever y says.",
            UNSEEN,
        ),
        Wrong(
            "asked at the estimate",
            at_the_estimate,
            "You evaluate the classifier at x0_hat. This classifier was made for noisy points, so evaluate it at x_t, "
            "and take its gradient there.",
            UNSEEN,
        ),
    ),
)


# 14.2 guide


def guide(cond, uncond, w):
    return uncond + w * (cond - uncond)


def guide_by_weights(cond, uncond, w):
    return (1 - w) * uncond + w * cond


def guide_truth(cond, uncond, w):  # from where the class already is
    further = (w - 1) * torch.sub(cond, uncond)
    return torch.add(cond, further)


def guide_cases(g):
    w = round(2.5 + 2 * float(torch.rand((), generator=g)), 3)
    return (
        Case((torch.tensor([[2.0]]), torch.tensor([[1.0]]), 3.0), "cond = 2, uncond = 1 and w = 3"),
        Case(
            (*torch.randn(2, 20, 2, generator=g, dtype=DOUBLE).unbind(), w), f"20 random points in float64 and w = {w}"
        ),
        Case((*torch.randn(2, 3, 1, 4, 4, generator=g).unbind(), 0.3), "three random images and w = 0.3"),
    )


GUIDE = Exercise(
    id="14.2",
    name="guide",
    stub='''
def guide(cond, uncond, w):
    """The guided estimate of x0 from the estimate with the label (cond) and without it (uncond), both (B, *D)."""
    ...  # your code
''',
    solution=guide,
    alternative=guide_by_weights,
    why=(
        "Start at the estimate without the label and go w times the way to the estimate with it. At w = 0 you stay,\n"
        "at w = 1 you arrive, and at w > 1 you go further in the same direction."
    ),
    truth=guide_truth,
    cases=guide_cases,
    hints=(
        "What should come out at w = 0, and what at w = 1?",
        "The line through two points a and b is a + w (b - a). Which point is a?",
        "Equation (3) holds for the estimates of x0 as it does for the scores, because 1 - w and w add up to 1.",
    ),
    wrong=(
        Wrong(
            "1 + w",
            lambda cond, uncond, w: cond + w * (cond - uncond),
            "This is the convention of Ho and Salimans' paper, in which w = 0 is the conditional model. In this "
            "course, as in most software, w = 1 is. So your guidance is stronger by 1 than what was asked for.",
            "lucidrains#207 and #155, diffusers#5882, stable-dreamfusion#32, threestudio#127, CompVis#796, "
            "DALLE2-pytorch#303",
        ),
        Wrong(
            "exchanged",
            lambda cond, uncond, w: cond + w * (uncond - cond),
            "The two estimates are exchanged: at w = 0 you get the class, and a large w leads away from it.",
            UNSEEN,
        ),
        Wrong(
            "the difference alone",
            lambda cond, uncond, w: w * (cond - uncond),
            "You return w times the difference. It has to be added to the estimate without the label.",
            UNSEEN,
        ),
        Wrong(
            "away from the class",
            lambda cond, uncond, w: uncond - w * (cond - uncond),
            "The sign of the difference is wrong: you move away from the class.",
            UNSEEN,
        ),
        Wrong(
            "nothing subtracted",
            lambda cond, uncond, w: uncond + w * cond,
            "You add w times the estimate with the label, and subtract nothing. The weights of the two must add up to "
            "1, or the estimate gets a wrong scale.",
            UNSEEN,
        ),
        Wrong(
            "a weighted mean",
            lambda cond, uncond, w: (uncond + w * cond) / (1 + w),
            "This is a weighted mean of the two, so it lies between them for every w. Guidance with w > 1 goes beyond "
            "the estimate with the label.",
            UNSEEN,
        ),
        Wrong(
            "always one unconditional estimate",
            lambda cond, uncond, w: w * cond - uncond,
            "You subtract the estimate without the label once. It has to be subtracted w - 1 times, so that the "
            "weights add up to 1.",
            UNSEEN,
        ),
        Wrong(
            "plus for minus",
            lambda cond, uncond, w: w * cond + (w - 1) * uncond,
            "The second sign is wrong: w times the one *minus* w - 1 times the other.",
            UNSEEN,
        ),
        Wrong(
            "w - 1",
            lambda cond, uncond, w: uncond + (w - 1) * (cond - uncond),
            "You go w - 1 times the way from the unconditional estimate. Either start there and go w times the way, or "
            "start at the conditional one and go w - 1 times.",
            UNSEEN,
        ),
    ),
)


# 14.3 drop_labels


def drop_labels(y, p, g):
    dropped = torch.rand(len(y), generator=g) < p
    return torch.where(dropped, networks.NO_LABEL, y)


def drop_labels_by_masking(y, p, g):
    kept = torch.bernoulli(torch.full(y.shape, 1.0 - p), generator=g).bool()
    return y.masked_fill(~kept, -1)


def drop_truth(y, p, g):  # a table of two columns: the label itself, and none
    column = torch.multinomial(torch.tensor([1 - p, p]), len(y), replacement=True, generator=g)
    return torch.stack([y, torch.full_like(y, -1)], dim=1).gather(1, column[:, None])[:, 0]


def drop_cases(g):
    p = round(0.3 + 0.1 * float(torch.rand((), generator=g)), 3)  # never 0.5, where p and 1 - p are one number
    y = torch.randint(1, 10, (100,), generator=g)
    return (
        Case((torch.full((200,), 3), 0.2, RNG), "y = 3 (200 times) and p = 0.2"),
        Case((y, p, RNG), f"100 labels from 1 to 9 and p = {p}"),
    )


def drop_numbers(out, y, p):
    lost = (out == networks.NO_LABEL).double()
    fraction = lost.mean(dim=1)
    return {
        "the fraction that is NO_LABEL": fraction,
        "the fraction that has become another label": ((out != y) & (lost == 0)).double().mean(dim=1),
        "the square of the fraction's distance to p": (fraction - p) ** 2,
        "the fraction of neighbours that both are NO_LABEL": (lost[:, 1:] * lost[:, :-1]).mean(dim=1),
        "the mean of the labels that are left": (out * (1 - lost)).mean(dim=1),
    }


def none_where(lost):
    """A wrong answer: NO_LABEL where lost(y, p, g) is true."""
    return lambda y, p, g: y.masked_fill(lost(y, p, g), -1)


def chance(y, g):
    return torch.rand(y.shape, generator=g)


DROP_LABELS = Exercise(
    id="14.4",
    name="drop_labels",
    stub='''
def drop_labels(y, p, g):
    """The labels y (B,), int64, in which each is replaced by networks.NO_LABEL with probability p. y stays as it is."""
    ...  # your code
''',
    solution=drop_labels,
    alternative=drop_labels_by_masking,
    why=(
        "A uniform number lies below p with probability p, and each label needs a number of its own. `torch.where`\n"
        "and `masked_fill` make a new tensor, so the labels of the data set stay as they are."
    ),
    truth=drop_truth,
    cases=drop_cases,
    view=drop_numbers,
    hints=(
        "`torch.rand(len(y), generator=g)` gives one uniform number for each label. How often is it below p?",
        "`torch.where(mask, a, y)` takes a where the mask is true, and y elsewhere.",
        "If an incident says that your function changes its argument: `y[mask] = ...` writes into y itself.",
    ),
    wrong=(
        Wrong(
            "1 - p",
            none_where(lambda y, p, g: chance(y, g) > p),
            "You drop the labels with probability 1 - p: the inequality is turned around.",
            "eje24/iap-diffusion-labs#3",
        ),
        Wrong(
            "the mask is not used",
            lambda y, p, g: (chance(y, g) < p, y.clone())[1],
            "No label is dropped. A mask may have been drawn, but what you return are the old labels.",
            "DALLE2-pytorch#235",
        ),
        Wrong(
            "once for the whole batch",
            none_where(lambda y, p, g: (torch.rand(1, generator=g) < p).expand(y.shape)),
            "You draw one number for the whole batch, so either all labels are dropped or none. Each label needs its "
            "own number.",
            "YuchuanTian/U-DiT#12",
        ),
        Wrong(
            "exactly the share p",
            none_where(lambda y, p, g: torch.argsort(chance(y, g)) < round(p * len(y))),
            "You drop exactly p B labels in every batch. The share is right, but the labels are not independent, and "
            "in a batch of one nothing would ever be dropped. Draw one number a label.",
            UNSEEN,
        ),
        Wrong(
            "class 0 for no label",
            lambda y, p, g: y.masked_fill(chance(y, g) < p, 0),
            "You replace labels by 0. But 0 is a class: the network would learn that class from a mixture of all. "
            "NO_LABEL is -1.",
            UNSEEN,
        ),
        Wrong(
            "multiplied by -1",
            lambda y, p, g: torch.where(chance(y, g) < p, -y, y),
            "You change the sign of the labels. NO_LABEL is the number -1 for every class.",
            UNSEEN,
        ),
        Wrong(
            "normal numbers",
            none_where(lambda y, p, g: torch.randn(y.shape, generator=g) < p),
            "You compare *normal* numbers with p, and they are below 0.2 in 58 % of the cases. `torch.rand` is "
            "uniform.",
            UNSEEN,
        ),
        Wrong(
            "another label",
            lambda y, p, g: torch.where(chance(y, g) < p, 1 + torch.randint(9, y.shape, generator=g), y),
            "You replace labels by random other ones. That teaches the network wrong labels. A dropped label becomes "
            "NO_LABEL.",
            UNSEEN,
        ),
        Wrong(
            "dropped twice",
            none_where(lambda y, p, g: (chance(y, g) < p) | (chance(y, g) < p)),
            "You draw the mask twice and drop a label if either says so, so the probability is 1 - (1 - p)².",
            "one mask in the loop and another one in the network",
        ),
    ),
)


# 14.3 tilted


def tilted(m, v, V, w):
    precision = w / v + (1 - w) / V  # of a product of powers: the precisions, each times its power, add up
    return (w * m / v) / precision, 1 / precision


def tilted_by_common_denominator(m, v, V, w):
    denominator = w * V - (w - 1) * v
    return w * m * V / denominator, v * V / denominator


def tilted_truth(m, v, V, w):  # the density itself, on a fine grid
    x = torch.linspace(-60, 60, 60_001, dtype=DOUBLE)
    log_density = w * -((x - m) ** 2) / (2 * v) + (1 - w) * -(x**2) / (2 * V)
    density = torch.softmax(log_density, dim=0)
    mean = float(density @ x)
    return mean, float(density @ (x - mean) ** 2)


def tilted_cases(g):
    m, v, V, w = (round(low + float(torch.rand((), generator=g)), 3) for low in (1.5, 0.6, 2.5, 2.2))
    return (
        Case((1.0, 0.5, 1.0, 2.0), "m = 1, v = 0.5, V = 1 and w = 2"),
        Case((m, v, V, w), f"m = {m}, v = {v}, V = {V} and w = {w}"),
    )


def from_precision(precision):
    """A wrong answer with this precision(v, V, w), and a mean that goes with it."""

    def answer(m, v, V, w):
        P = precision(v, V, w)
        return w * m / v / P, 1 / P

    return answer


TILTED = Exercise(
    id="14.3",
    name="tilted",
    stub='''
def tilted(m, v, V, w):
    """Mean and variance of the density proportional to p(x | y)^w p(x)^(1 - w), for N(m, v) and N(0, V)."""
    ...  # your code
''',
    solution=tilted,
    alternative=tilted_by_common_denominator,
    why=(
        "The logarithm of a Gaussian is -x²/2 times its precision, plus x times precision times mean, and a constant.\n"
        "A power multiplies the logarithm, and a product adds logarithms. So the precisions add with the powers w and\n"
        "1 - w, and so do the precisions times the means."
    ),
    truth=tilted_truth,
    cases=tilted_cases,
    parts=("the mean", "the variance"),
    hints=(
        "Write down the logarithm of the product, and collect the terms with x² and those with x.",
        "A Gaussian of precision P and mean μ has the logarithm -P x²/2 + P μ x, up to a constant.",
        "P = w / v + (1 - w) / V. Only N(m, v) has a term with x, and it is w m / v. What is the mean?",
    ),
    wrong=(
        Wrong(
            "precisions averaged",
            lambda m, v, V, w: (w * m / v / (w / v + 1 / V), (1 + w) / (w / v + 1 / V)),
            "You average the precisions with the weights 1 and w, as if two measurements were combined. The exponents "
            "here are w and 1 - w, and precisions of a product add up with the exponents.",
            UNSEEN,
        ),
        Wrong(
            "added for subtracted",
            from_precision(lambda v, V, w: w / v + 1 / V),
            "You add w times the precision of the class to the full precision of all data. The exponent of p(x) is "
            "1 - w, which is negative for w > 1, so its precision is subtracted w - 1 times.",
            UNSEEN,
        ),
        Wrong(
            "variances averaged",
            lambda m, v, V, w: (w * m, w * v + (1 - w) * V),
            "You combine means and variances with the weights w and 1 - w. In a product of Gaussians it is the "
            "precisions that add, and the precisions times the means.",
            UNSEEN,
        ),
        Wrong(
            "the power of the class alone",
            lambda m, v, V, w: (m, v / w),
            "This is p(x | y)^w alone. The density of all data belongs to it too, with the power 1 - w.",
            UNSEEN,
        ),
        Wrong(
            "w - 1",
            lambda m, v, V, w: tilted(m, v, V, w - 1),
            "Your powers are w - 1 and 2 - w. That is p(x) p(y | x)^(w - 1). If you start from the class, "
            "p(x | y) p(y | x)^(w - 1), then w - 1 is the power of the classifier, and the class comes on top.",
            UNSEEN,
        ),
        Wrong(
            "w + 1",
            lambda m, v, V, w: tilted(m, v, V, w + 1),
            "Your powers are w + 1 and -w. That is the convention of Ho and Salimans' paper, or p(x | y) p(y | x)^w.",
            UNSEEN,
        ),
        Wrong(
            "the mean of the class",
            lambda m, v, V, w: (m, tilted(m, v, V, w)[1]),
            "Your variance is right, but the mean is that of the class. Tilting moves the mean away from the mean of "
            "all data: it is w m / v, divided by the precision.",
            UNSEEN,
        ),
        Wrong(
            "w times the mean",
            lambda m, v, V, w: (w * m, tilted(m, v, V, w)[1]),
            "Your variance is right, but the mean is w m. That holds only for v = V.",
            UNSEEN,
        ),
        Wrong(
            "geometric",
            lambda m, v, V, w: (tilted(m, v, V, w)[0], v**w * V ** (1 - w)),
            "Your variance is the geometric mean of the two with weights w and 1 - w. (The ODE ends with this "
            "variance. The tilted distribution does not have it.)",
            "notebook 14, section 6",
        ),
        Wrong(
            "a standard deviation",
            lambda m, v, V, w: (tilted(m, v, V, w)[0], tilted(m, v, V, w)[1] ** 0.5),
            "You return the standard deviation, and the variance is asked for.",
            UNSEEN,
        ),
        Wrong(
            "the precision",
            lambda m, v, V, w: (tilted(m, v, V, w)[0], 1 / tilted(m, v, V, w)[1]),
            "You return the precision. The variance is one over it.",
            UNSEEN,
        ),
        Wrong(
            "not divided",
            lambda m, v, V, w: (w * m / v, tilted(m, v, V, w)[1]),
            "Your variance is right. But w m / v is the precision times the mean, and still has to be divided by the "
            "precision.",
            UNSEEN,
        ),
    ),
)


# 14.5 guided_within


def guided_within(cond, uncond, t, low, high, w):
    weight = w if low <= t <= high else 1
    return uncond + weight * (cond - uncond)


def guided_within_by_where(cond, uncond, t, low, high, w):
    inside = (t >= low) & (t <= high)
    return torch.where(inside, cond + (w - 1) * (cond - uncond), cond)


def within_truth(cond, uncond, t, low, high, w):  # further than cond by a number that is 0 outside
    further = (w - 1) * float(abs(float(t) - (low + high) / 2) <= (high - low) / 2)
    return (1 + further) * cond - further * uncond


def within_cases(g):
    cond, uncond = torch.randn(2, 10, 2, generator=g, dtype=DOUBLE).unbind()
    plain = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    middle, late, early = (torch.tensor(t, dtype=DOUBLE) for t in (0.42, 0.93, 0.07))
    return (
        Case((*plain, torch.tensor(0.5), 0.2, 0.7, 3.0), "cond = 2, uncond = 1, t = 0.5 in [0.2, 0.7] and w = 3"),
        Case((*plain, torch.tensor(0.1), 0.2, 0.7, 3.0), "cond = 2, uncond = 1, t = 0.1 below [0.2, 0.7] and w = 3"),
        Case((*plain, torch.tensor(0.75), 0.2, 0.7, 3.0), "cond = 2, uncond = 1, t = 0.75 above [0.2, 0.7] and w = 3"),
        Case((cond, uncond, middle, 0.35, 0.5, 4.5), "random points, t = 0.42 in [0.35, 0.5] and w = 4.5"),
        Case((cond, uncond, late, 0.02, 0.2, 4.5), "random points, t = 0.93 above [0.02, 0.2] and w = 4.5"),
        Case((cond, uncond, early, 0.5, 0.9, 4.5), "random points, t = 0.07 below [0.5, 0.9] and w = 4.5"),
    )


def weighted_by(weight):
    """A wrong answer with this weight(t, low, high, w)."""
    return lambda cond, uncond, t, low, high, w: uncond + weight(float(t), low, high, w) * (cond - uncond)


GUIDED_WITHIN = Exercise(
    id="14.5",
    name="guided_within",
    stub='''
def guided_within(cond, uncond, t, low, high, w):
    """The guided estimate of x0: weight w where low <= t <= high, and weight 1 elsewhere. t: a tensor of shape ()."""
    ...  # your code
''',
    solution=guided_within,
    alternative=guided_within_by_where,
    why=(
        "Outside the interval the weight is 1 and not 0, because the class is still wanted there. There one\n"
        "evaluation of the network would do, so guidance within an interval is cheaper too. On the arch, w = 4 at\n"
        "low noise, for t from 0 to about 0.2, keeps both legs and thins out the crossings. It is the guidance at\n"
        "higher noise that moves the points outwards and empties the right leg."
    ),
    truth=within_truth,
    cases=within_cases,
    hints=(
        "Choose the weight first, then guide with it as in 14.2.",
        "`low <= t <= high` works for a tensor of shape ().",
        "Which of the two estimates is the weight 1?",
    ),
    wrong=(
        Wrong(
            "weight 0 outside",
            weighted_by(lambda t, low, high, w: w if low <= t <= high else 0),
            "Outside the interval you return the estimate without the label, so there the class is forgotten. The "
            "weight of plain conditional sampling is 1.",
            UNSEEN,
        ),
        Wrong(
            "nothing outside",
            lambda cond, uncond, t, low, high, w: (
                uncond + w * (cond - uncond) if low <= t <= high else torch.zeros_like(cond)
            ),
            "Outside the interval you return 0. The weight should be 1 there, and the estimate that of the class.",
            UNSEEN,
        ),
        Wrong(
            "outside for inside",
            weighted_by(lambda t, low, high, w: 1 if low <= t <= high else w),
            "You guide outside the interval and leave out its inside.",
            UNSEEN,
        ),
        Wrong(
            "at every time",
            weighted_by(lambda t, low, high, w: w),
            "You guide with w at every time, so the interval has no effect.",
            UNSEEN,
        ),
        Wrong(
            "at no time",
            weighted_by(lambda t, low, high, w: w if low <= 1000 * t <= high else 1),
            "You never use w. low and high are times between 0 and 1, and not numbers of steps.",
            UNSEEN,
        ),
        Wrong(
            "time turned around",
            weighted_by(lambda t, low, high, w: w if low <= 1 - t <= high else 1),
            "You compare 1 - t with the interval. It is an interval of the time t, in which 1 is pure noise, and not "
            "of the progress of the sampler.",
            UNSEEN,
        ),
        Wrong(
            "no upper end",
            weighted_by(lambda t, low, high, w: w if low <= t else 1),
            "You check only the lower end of the interval, so you also guide above it.",
            UNSEEN,
        ),
        Wrong(
            "no lower end",
            weighted_by(lambda t, low, high, w: w if t <= high else 1),
            "You check only the upper end of the interval, so you also guide below it.",
            UNSEEN,
        ),
        Wrong(
            "1 + w",
            weighted_by(lambda t, low, high, w: 1 + w if low <= t <= high else 1),
            "Inside the interval your weight is 1 + w. In this course w = 1 is the conditional model.",
            "the convention of Ho and Salimans",
        ),
    ),
)


# 14.6 langevin_variance


def langevin_variance():
    """The variance that Langevin dynamics follows, step by step, for V = 1, v = 1/4 and w = 2. All is linear."""
    V, v, w = 1.0, 0.25, 2
    variance = 101.0  # of u = x / alpha, at a noise of variance 100
    for nu in torch.logspace(2, -4, 60, dtype=torch.float64).tolist():  # the levels
        pull = w / (v + nu) - (w - 1) / (V + nu)  # the guided score is -pull times u, plus a constant
        h = 0.05 * nu
        for _ in range(200):
            variance = (1 - h * pull) ** 2 * variance + 2 * h
    return variance


LANGEVIN_VARIANCE = Question(
    id="14.6",
    name="langevin_variance",
    stub="langevin_variance = None  # the variance of the samples",
    right=(0.137, 0.168),
    solution=langevin_variance,
    why=(
        "Langevin dynamics that has time to settle samples the density whose score it follows. At each level that is\n"
        "p_t p_t(y | x_t)^w, and at the lowest level it is the tilted distribution. For this Gaussian its variance is\n"
        "1 / (2 · 4 - 1) = 1/7 = 0.143. (With 40 steps at each of 25 levels it is still some 10 % larger.)"
    ),
    wrong=(
        WrongValue(
            "the class",
            (0.24, 0.26),
            "This is the variance of the class, w = 1. The score that the samples follow is tilted.",
            UNSEEN,
        ),
        WrongValue(
            "the ODE",
            (0.06, 0.065),
            "This is v² / V, the variance with which the ODE ends. Langevin dynamics forgets where it came from, and "
            "the ODE does not.",
            "notebook 14, section 6",
        ),
        WrongValue(
            "the SDE",
            (0.107, 0.113),
            "This is the variance of the SDE, whose corrector has no time to settle. Here there are many steps at each "
            "level.",
            "notebook 14, section 6",
        ),
        WrongValue(
            "tilted with 2w - 1",
            (0.098, 0.102),
            "This is the tilted distribution at 2w - 1. It is the target of the corrector inside the SDE. Here the "
            "Langevin dynamics follows the guided score of w itself.",
            "notebook 14, section 5",
        ),
        WrongValue(
            "the power of the class alone",
            (0.123, 0.127),
            "This is v / w, the variance of p(x | y)² alone. The density of all data is divided out once.",
            UNSEEN,
        ),
    ),
    hints=(
        "Which density does Langevin dynamics leave unchanged, if it follows a score s?",
        "At the lowest noise the guided score is that of p(x) p(y | x)^w. You know its variance from 14.3.",
        "Put v = 1/4, V = 1 and w = 2 into 1 / P with P = w / v + (1 - w) / V, or simulate it.",
    ),
)


# 14.7 and 14.8, in words

NEGATIVE = Explanation(
    id="14.7",
    name="away from something",
    task="Say which distribution the tempting reading promises for a negative prompt, and what you get in its place.",
    model=(
        "The guided score is w times that of the arch and 1 - w times that of the bowl. So the tempting reading\n"
        "promises p(x | arch)^w p(x | bowl)^(1 - w), up to a factor. By Bayes' rule this is p(x) p(arch | x)^w /\n"
        "p(bowl | x)^(w - 1): it asks for points that are arch, and once more for points that are not bowl. Far\n"
        "from the bowl its denominator is tiny, so it need not even have a finite integral. The samples are not\n"
        "drawn from it, for the reason of equation (5). They show the symptoms of section 3, but stronger. At w = 2\n"
        "and 4 they are several times as many floors away from p(x | arch) as with the unconditional denoiser, they\n"
        "lie higher, and fewer are left in the right leg. For a gentle push away from something, stay near w = 1."
    ),
    look_for=(
        "The two powers w and 1 - w of the two class densities are named.",
        "It is said that the samples are not drawn from this density either, for the reason of equation (5).",
        "There is a measured distance to the class, or a picture, at the same w and from the same noise.",
    ),
    hints=(
        "Write the guided score as the gradient of a logarithm at t = 0.",
        "Use p(x | bowl) = p(x) p(bowl | x) / p(bowl), and the same for the arch.",
        "With `of_bowl = exact.mixture_denoiser(bowl, path)`, sample `denoisers.guided(conditional, of_bowl, w)` for "
        "w = 1, 2, 4 from the noise of section 3, and use `distance`.",
    ),
)

WORSE_VERSION = Explanation(
    id="14.8",
    name="a bad version of itself",
    task="Find out whether guidance by a worse network brings a learned network nearer to the class.",
    model=(
        "Both networks know the label, so their difference contains no label. It points from the larger mistakes of\n"
        "the small network to the smaller mistakes of the good one, and w > 1 goes on in this direction. With the\n"
        "network of section 7 the best weight is 1: at w = 1 it is at the floor, so nothing is left to correct.\n"
        "With a network that is trained for 600 steps only, some 12 floors away, weights of 1.5 to 2 bring the\n"
        "samples a little nearer to the class. At the same weight above 1, autoguidance always stays nearer to the\n"
        "class than classifier-free guidance, because it does not push away from the other class."
    ),
    look_for=(
        "The distance to p(x | y) is measured over several w, beside its floor, and on more than one seed.",
        "It is said which difference of the two networks is amplified, and why it is not the label.",
        "The conclusion goes no further than the scatter between the seeds allows.",
    ),
    hints=(
        "Train the smaller network with `fit` for 300 steps, and make it a denoiser with the label ARCH.",
        "Sample `denoisers.guided(learned_arch, worse_arch, w)` for w = 1, 1.5, 2 and 3, from the same noise.",
        "Compare with `distance(x, from_class)`, and with classifier-free guidance at the same weights.",
    ),
)


# 14.9 far_mean


def far_mean():
    """The ODE's mean at a very large weight, for V = 1, v = 1/4 and m = 1, from the formula of section 6."""
    from scipy.integrate import quad

    V, v, m, w = 1.0, 0.25, 1.0, 200.0
    # (v / V)^((w - 1) / 2), a part of sqrt(v^w V^(1 - w)), goes inside the integral, where it keeps the numbers small
    integral, _ = quad(lambda b: ((1 + b * b) * v / V) ** ((w - 1) / 2), 0, math.sqrt(V / v - 1))
    return w * m * math.sqrt(v / (V - v)) * integral


FAR_MEAN = Question(
    id="14.9",
    name="far_mean",
    stub="far_mean = None  # the place where the means end up",
    right=(1.32, 1.35),
    solution=far_mean,
    why=(
        "All three means go to m V / (V - v) = 4/3. There p(y | x), which is proportional to N(x; m, v) / N(x; 0,\n"
        "V), has its maximum: (x - m) / v = x / V. The tilted mean and that of the SDE rise towards it. The mean of\n"
        "the ODE passes it and comes back."
    ),
    wrong=(
        WrongValue(
            "the mean of the class",
            (0.99, 1.01),
            "This is m, the mean at w = 1. All three means move outwards from there.",
            UNSEEN,
        ),
        WrongValue(
            "the ODE at w = 4",
            (1.5, 1.53),
            "This is about the largest mean that the ODE reaches, near w = 4. For still larger weights it comes back.",
            UNSEEN,
        ),
        WrongValue(
            "m V / v",
            (3.9, 4.1),
            "This is m V / v. Set the derivative of log p(y | x) to 0: (x - m) / v = x / V. Then V - v stands below.",
            UNSEEN,
        ),
        WrongValue(
            "m v / (V - v)",
            (0.32, 0.35),
            "This has v above the line in place of V. Check it: for v much smaller than V the place must be m.",
            UNSEEN,
        ),
        WrongValue(
            "back to 0",
            (-0.01, 0.01),
            "0 is the mean of all data. Guidance leads away from it.",
            UNSEEN,
        ),
    ),
    hints=(
        "In the tilted mean w m / v / P, divide above and below by w, and let w grow.",
        "In the mean of the SDE (v / V)^w goes to 0.",
        "Where is the derivative of log p(y | x) = log N(x; m, v) - log N(x; 0, V) + const equal to 0?",
    ),
)


EXERCISES = (
    CLASSIFIER_GUIDED,
    GUIDE,
    TILTED,
    DROP_LABELS,
    GUIDED_WITHIN,
    LANGEVIN_VARIANCE,
    NEGATIVE,
    WORSE_VERSION,
    FAR_MEAN,
)
