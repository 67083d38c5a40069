"""The exercises of notebook 31, what helps: 31.1 to 31.4 in its flow, 31.5 to 31.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import itertools
import math
import statistics

import torch

from minidiff import schedules
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN

__all__ = ["EXERCISES", "TITLE"]

TITLE = "What helps"
POST = (3.4445, -4.7750, 2.0315)  # the coefficients of Muon's authors


def double(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def said(matrix):
    return f"a matrix of shape {tuple(matrix.shape)}"


# 31.1 orthogonalise


def orthogonalise(matrix, a, b, c, steps):
    x = matrix / matrix.norm()
    for _ in range(steps):
        square = x @ x.T
        x = a * x + b * square @ x + c * square @ square @ x
    return x


def orthogonalise_from_the_right(matrix, a, b, c, steps):
    x = matrix / torch.linalg.matrix_norm(matrix)
    for _ in range(steps):
        gram = x.T @ x
        x = x @ (a * torch.eye(len(gram), dtype=x.dtype) + b * gram + c * torch.linalg.matrix_power(gram, 2))
    return x


def orthogonalise_truth(matrix, a, b, c, steps):
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.pow(2).sum().sqrt()
    for _step in itertools.repeat(None, steps):
        values = values.mul(a) + b * values.pow(3) + c * values.pow(5)
    return left.mul(values) @ right


def matrix_cases(g):
    wide, tall = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((3, 5), (6, 4)))
    return (
        Case(
            (torch.diag(double(3, 1)), 2.0, -1.5, 0.5, 1),
            "the diagonal matrix (3, 1), a = 2, b = -1.5, c = 0.5, 1 step",
        ),
        Case((wide, *POST, 3), f"{said(wide)} and three steps"),
        Case((tall, *POST, 5), f"{said(tall)} and five steps"),
    )


def orthogonalise_wrong(name, step, message, seen=UNSEEN, first=lambda matrix: matrix / matrix.norm()):
    """A wrong answer: step(x, a, b, c) -> x, after first(matrix)."""

    def answer(matrix, a, b, c, steps):
        x = first(matrix)
        for _ in range(steps):
            x = step(x, a, b, c)
        return x

    return Wrong(name, answer, message, seen)


def right_step(x, a, b, c):
    square = x @ x.T
    return a * x + b * square @ x + c * square @ square @ x


ORTHOGONALISE = Exercise(
    id="31.1",
    name="orthogonalise",
    stub='''
def orthogonalise(matrix, a, b, c, steps):
    """Divide by the Frobenius norm. Then, `steps` times, X becomes a X + b (X X^T) X + c (X X^T)² X. (n, m)."""
    ...  # your code
''',
    solution=orthogonalise,
    alternative=orthogonalise_from_the_right,
    why=(
        "X X^T has the left singular vectors of X and the squares of its singular values. So a step keeps all\n"
        "vectors, and each singular value s becomes a s + b s³ + c s⁵. No decomposition is needed, only products of\n"
        "matrices."
    ),
    truth=orthogonalise_truth,
    cases=matrix_cases,
    hints=(
        "`matrix.norm()` is the Frobenius norm, the root of the sum of all squares. No singular value is larger.",
        "In each step compute `square = x @ x.T` first. Which product is (X X^T)² X?",
        "The three terms are `a * x`, `b * square @ x` and `c * square @ square @ x`, all with the x of before the "
        "step.",
    ),
    wrong=(
        orthogonalise_wrong(
            "not normalised",
            right_step,
            "You do not divide by the norm. The polynomial brings values between 0 and 1 towards 1, and sends large "
            "ones to infinity.",
            first=lambda matrix: matrix,
        ),
        orthogonalise_wrong(
            "the spectral norm",
            right_step,
            "You divide by the largest singular value. That works too, but it needs a decomposition, which is what "
            "this method avoids. The Frobenius norm is `matrix.norm()`.",
            first=lambda matrix: matrix / torch.linalg.matrix_norm(matrix, 2),
        ),
        orthogonalise_wrong(
            "the largest element",
            right_step,
            "You divide by the largest element. The singular values may then still be larger than 1. The Frobenius "
            "norm is the root of the sum of all squares.",
            first=lambda matrix: matrix / matrix.abs().max(),
        ),
        orthogonalise_wrong(
            "powers of the elements",
            lambda x, a, b, c: a * x + b * x**3 + c * x**5,
            "You raise each element to a power. The products have to be products of matrices, `@`, so that the "
            "singular values are raised and the vectors stay.",
        ),
        orthogonalise_wrong(
            "the square of the elements",
            lambda x, a, b, c: a * x + b * (x @ x.T) @ x + c * (x @ x.T) ** 2 @ x,
            "Your (X X^T)² squares each element, `** 2`. It has to be the matrix times itself, `square @ square`.",
        ),
        orthogonalise_wrong(
            "b and c exchanged",
            lambda x, a, b, c: right_step(x, a, c, b),
            "b and c are exchanged. b belongs to the third power of X, c to the fifth.",
        ),
        orthogonalise_wrong(
            "the first term is missing",
            lambda x, a, b, c: right_step(x, 0.0, b, c),
            "The term a X is missing. It is the one that makes small singular values grow.",
        ),
        orthogonalise_wrong(
            "a fourth power",
            lambda x, a, b, c: a * x + b * (x @ x.T) @ x + c * (x @ x.T) @ (x @ x.T) @ (x @ x.T) @ x,
            "Your last term holds X X^T three times, which is a seventh power. It should be (X X^T)² X.",
        ),
        orthogonalise_wrong(
            "normalised in every step",
            lambda x, a, b, c: right_step(x / x.norm(), a, b, c),
            "You divide by the norm in every step, which makes the singular values small again. Do it once, before the "
            "loop.",
        ),
        Wrong(
            "one step only",
            lambda matrix, a, b, c, steps: right_step(matrix / matrix.norm(), a, b, c),
            "You make one step, however many are asked for. The loop is missing, or it starts from the first matrix "
            "each time.",
            UNSEEN,
        ),
    ),
)


# 31.2 paired


def paired(row, base):
    logs = (row / base).log()
    return logs.mean(), logs.std() / len(logs) ** 0.5


def paired_by_differences(row, base):
    gaps = torch.log(row) - torch.log(base)
    centred = gaps - gaps.sum() / gaps.numel()
    return gaps.sum() / gaps.numel(), ((centred @ centred) / (gaps.numel() * (gaps.numel() - 1))).sqrt()


def paired_truth(row, base):
    ratios = [math.log(float(a)) - math.log(float(b)) for a, b in zip(row, base, strict=True)]
    return statistics.fmean(ratios), math.sqrt(statistics.variance(ratios) / len(ratios))


def paired_cases(g):
    base = 2 + 3 * torch.rand(5, generator=g, dtype=torch.float64)
    row = base * (0.7 + 0.4 * torch.randn(5, generator=g, dtype=torch.float64)).exp()
    return (
        Case((double(2, 8), double(1, 2)), "row = (2, 8) and base = (1, 2)"),
        Case((row, base), "five seeds"),
    )


PAIRED = Exercise(
    id="31.2",
    name="paired",
    stub='''
def paired(row, base):
    """Compare n trainings, seed by seed: the mean of ln(row / base) and its standard error. row, base: (n,)."""
    ...  # your code
''',
    solution=paired,
    alternative=paired_by_differences,
    why=(
        "The two trainings of one seed share their first weights and their batches, so part of their luck cancels in\n"
        "the ratio. The logarithm makes twice as far and half as far equally large. The standard error of a mean of n\n"
        "numbers is their standard deviation over the root of n."
    ),
    truth=paired_truth,
    parts=("the mean", "the standard error"),
    cases=paired_cases,
    hints=(
        "Divide the two, seed by seed, and take the logarithm. You have n numbers.",
        "The standard error of their mean is their standard deviation over the root of n.",
        "`logs.std()` divides by n - 1, as it should for few numbers. Return `logs.mean()` and the standard error.",
    ),
    wrong=(
        Wrong(
            "upside down",
            lambda row, base: ((base / row).log().mean(), (base / row).log().std() / len(row) ** 0.5),
            "The ratio is upside down. ln(row / base) is positive where the row is farther from real data than the "
            "base.",
            UNSEEN,
        ),
        Wrong(
            "the ratio of the means",
            lambda row, base: ((row.mean() / base.mean()).log(), (row / base).log().std() / len(row) ** 0.5),
            "You divide the mean of the row by the mean of the base. Then one bad seed decides. Divide seed by seed "
            "first.",
            UNSEEN,
        ),
        Wrong(
            "no logarithm",
            lambda row, base: ((row / base).mean(), (row / base).std() / len(row) ** 0.5),
            "You take the mean of the ratios. There 2 and 1/2 do not cancel. Take the logarithm first.",
            UNSEEN,
        ),
        Wrong(
            "the logarithm of the mean ratio",
            lambda row, base: ((row / base).mean().log(), (row / base).log().std() / len(row) ** 0.5),
            "You take the logarithm of the mean. Take the mean of the logarithms.",
            UNSEEN,
        ),
        Wrong(
            "decimal logarithm",
            lambda row, base: ((row / base).log10().mean(), (row / base).log10().std() / len(row) ** 0.5),
            "You take the decimal logarithm. The natural one is `log`. With it, 0.1 means about ten per cent.",
            UNSEEN,
        ),
        Wrong(
            "the standard deviation",
            lambda row, base: ((row / base).log().mean(), (row / base).log().std()),
            "The second number is the standard deviation of one training. The mean of n is surer than that: divide by "
            "the root of n.",
            UNSEEN,
        ),
        Wrong(
            "divided by n",
            lambda row, base: ((row / base).log().mean(), (row / base).log().std() / len(row)),
            "You divide the standard deviation by n. A mean of n numbers scatters by the root of n less, not by n.",
            UNSEEN,
        ),
        Wrong(
            "variance",
            lambda row, base: ((row / base).log().mean(), (row / base).log().var() / len(row)),
            "The second number is the square of the standard error. Its root is missing.",
            UNSEEN,
        ),
        Wrong(
            "n for n - 1",
            lambda row, base: ((row / base).log().mean(), (row / base).log().std(unbiased=False) / len(row) ** 0.5),
            "Your standard deviation divides by n. With two or three seeds that makes it much too small: divide by n "
            "- 1, as `std()` does.",
            "the default of NumPy's std",
        ),
        Wrong(
            "not paired",
            lambda row, base: ((row / base).log().mean(), ((row.log().var() + base.log().var()) / len(row)) ** 0.5),
            "Your standard error treats the two rows as if they had nothing in common. The scatter of the ratios, "
            "seed by seed, is what counts here.",
            UNSEEN,
        ),
    ),
)


# 31.3 lead


def most_of_the_lead():
    images = 40_192, 144_384  # minidiff has seen so many at 10.1 and at 2.05 floors
    way = math.log(10.1 / 5.35) / math.log(10.1 / 2.05)  # along that line, to the 5.35 floors where diffusers ends
    needed = images[0] * (images[1] / images[0]) ** way
    factors = {"the recipe": 81_696 / needed, "speed": 960 / 68}  # fewer images, and more of them in a second
    return max(factors, key=factors.get)


LEAD = Question(
    id="31.3",
    name="lead",
    stub='lead = None  # what most of the lead over diffusers is: "the recipe", "speed" or "the sampler"',
    right="speed",
    solution=most_of_the_lead,
    why=(
        "The lead in seconds is the product of two factors: how many times fewer images are needed, about 1.2, and\n"
        "how many times more are seen in a second, about 14."
    ),
    wrong=(
        WrongValue(
            "the recipe",
            "the recipe",
            "Look at the middle panel, over images seen: there the curves of minidiff and diffusers are close. "
            "The recipe helps, but it is not most of the lead.",
            UNSEEN,
        ),
        WrongValue(
            "the sampler",
            "the sampler",
            "The left panel counts seconds of training only, and each library draws with the best of its own "
            "samplers. The sampler decides about the right panel.",
            UNSEEN,
        ),
    ),
    hints=(
        "Compare the left panel, over seconds, with the middle one, over images seen.",
        "Divide the images by the seconds in the table: how many does each library see in a second?",
        "In the table minidiff sees about 960 images in a second, and diffusers 68.",
    ),
    choices=("the recipe", "speed", "the sampler"),
)


# 31.4 slope


def slope(x0, guess):
    return ((x0 - guess) * guess).sum() / (guess**2).sum()


def slope_by_products(x0, guess):
    flat = guess.flatten()
    return x0.flatten() @ flat / (flat @ flat) - 1


def slope_truth(x0, guess):
    return torch.linalg.lstsq(guess.reshape(-1, 1), (x0 - guess).reshape(-1, 1)).solution[0, 0]


def slope_cases(g):
    x0 = 0.4 + torch.randn(6, 3, generator=g, dtype=torch.float64)
    guess = 0.6 * x0 + 0.5 * torch.randn(6, 3, generator=g, dtype=torch.float64)
    return (
        Case((double(1, 3)[None], double(1, 2)[None]), "x0 = (1, 3) and guess = (1, 2)"),
        Case((x0, guess), "six points in three dimensions"),
    )


SLOPE = Exercise(
    id="31.4",
    name="slope",
    stub='''
def slope(x0, guess):
    """The number k for which k * guess is nearest to the error x0 - guess, in least squares. x0, guess: (B, d)."""
    ...  # your code
''',
    solution=slope,
    alternative=slope_by_products,
    why=(
        "The sum of (e - k g)² is smallest where its derivative is 0, so k is the sum of e g over the sum of g².\n"
        "For the conditional mean the error is orthogonal to every function of x_t, so also to the guess itself,\n"
        "and k is 0."
    ),
    truth=slope_truth,
    cases=slope_cases,
    hints=(
        "Call the error e and the guess g. Differentiate the sum of (e - k g)² with respect to k.",
        "The derivative is 0 for k = (sum of e g) / (sum of g²). Both sums run over all numbers of all points.",
        "In PyTorch the upper sum is `((x0 - guess) * guess).sum()`.",
    ),
    wrong=(
        Wrong(
            "of x0",
            lambda x0, guess: (x0 * guess).sum() / (guess**2).sum(),
            "This is the slope of x0 itself, which is larger by 1. The error is x0 - guess.",
            UNSEEN,
        ),
        Wrong(
            "the sign of the error",
            lambda x0, guess: ((guess - x0) * guess).sum() / (guess**2).sum(),
            "The sign of the error is wrong: it is x0 - guess. A positive slope means that the guesses are too timid.",
            UNSEEN,
        ),
        Wrong(
            "along x0",
            lambda x0, guess: ((x0 - guess) * x0).sum() / (x0**2).sum(),
            "You compare the error with x0. Even a perfect guess leaves an error that goes along with x0, because the "
            "part of x0 that nobody can know is in both.",
            UNSEEN,
        ),
        Wrong(
            "over x0 squared",
            lambda x0, guess: ((x0 - guess) * guess).sum() / (x0**2).sum(),
            "You divide by the sum of x0². The guess is what is multiplied by k, so its squares stand below the line.",
            UNSEEN,
        ),
        Wrong(
            "correlation",
            lambda x0, guess: ((x0 - guess) * guess).sum() / ((x0 - guess).norm() * guess.norm()),
            "This is the cosine of the angle between error and guess, and no slope. Divide by the sum of guess².",
            UNSEEN,
        ),
        Wrong(
            "the mean error",
            lambda x0, guess: (x0 - guess).mean(),
            "This is the mean error. It has to be 0 too, but it is another test: a guess may be right on average and "
            "still too timid.",
            UNSEEN,
        ),
        Wrong(
            "a slope for each point",
            lambda x0, guess: (((x0 - guess) * guess).sum(dim=1) / (guess**2).sum(dim=1)).mean(),
            "You compute a slope for each point and take their mean. One k shall fit all points: sum over all of them, "
            "then divide.",
            UNSEEN,
        ),
        Wrong(
            "with a constant",
            lambda x0, guess: (
                ((x0 - guess - (x0 - guess).mean()) * (guess - guess.mean())).sum()
                / ((guess - guess.mean()) ** 2).sum()
                if guess.numel() > 2
                else ((x0 - guess) * guess).mean() / (guess**2).mean()
            ),
            "You subtract the means first, as in a fit with a constant. Here only k * guess is fitted.",
            UNSEEN,
        ),
    ),
)


# 31.5 trainings


def trainings_needed():
    scatter, difference = 0.22, math.log(1.1)
    return math.ceil(2 * scatter**2 / (difference / 3) ** 2)  # two recipes, so the variances add up


TRAININGS = Question(
    id="31.5",
    name="trainings",
    stub="trainings = None  # of each recipe: how many, until a ratio of 1.1 is three standard errors?",
    right=(86, 105),
    solution=trainings_needed,
    why=(
        "The difference of two means of n trainings has the variance 2 s² / n, with s = 0.22. It is to be a third of\n"
        "ln 1.1, squared. This is why a table of single trainings cannot show what ten per cent are worth."
    ),
    wrong=(
        WrongValue(
            "one recipe scatters",
            (43, 56),
            "That is right if only one of the two recipes scattered. Both do, so their variances add up.",
            UNSEEN,
        ),
        WrongValue(
            "one standard error",
            (10.3, 11.5),
            "With so many, a ratio of 1.1 is one standard error. Three were asked for, which takes nine times as many.",
            UNSEEN,
        ),
        WrongValue(
            "the root is not squared",
            (6, 10.2),
            "You did not square: the standard error falls only with the root of n, so n is the square of what you "
            "have.",
            UNSEEN,
        ),
        WrongValue(
            "three",
            (2.5, 3.5),
            "Three trainings can show a factor of two, but not one of 1.1. The standard error of the difference of two "
            "means is 0.22 * sqrt(2 / n).",
            UNSEEN,
        ),
    ),
    hints=(
        "What is the variance of the mean of n numbers whose standard deviation is 0.22? And of the difference of two?",
        "Its root, 0.22 * sqrt(2 / n), shall be a third of ln 1.1 = 0.0953.",
        "Solve for n: 2 * 0.22² / 0.0318².",
    ),
)


# 31.6 polar


def polar(matrix):
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    return u @ vt


def polar_by_the_root(matrix):
    values, vectors = torch.linalg.eigh(matrix @ matrix.T)
    return vectors @ torch.diag(values.rsqrt()) @ vectors.T @ matrix


def polar_truth(matrix):  # Newton's iteration for the polar factor; it needs the smaller side in front
    y = matrix.clone()
    for _ in range(60):
        y = 1.5 * y / y.norm() * min(y.shape) ** 0.5 - 0.5 * (z := y / y.norm() * min(y.shape) ** 0.5) @ z.T @ z
        if torch.dist(y @ y.T, torch.eye(len(y), dtype=y.dtype)) < 1e-13:
            break
    return y


def polar_cases(g):
    wide = torch.randn(3, 5, generator=g, dtype=torch.float64)
    square = torch.eye(3, dtype=torch.float64) * 1.5 + 0.5 * torch.randn(3, 3, generator=g, dtype=torch.float64)
    return (
        Case((double(0, 2, -1, 0).reshape(2, 2),), "the matrix with the rows (0, 2) and (-1, 0)"),
        Case((square,), said(square)),
        Case((wide,), said(wide)),
    )


POLAR = Exercise(
    id="31.6",
    name="polar",
    stub='''
def polar(matrix):
    """U V^T of the singular value decomposition U S V^T, (n, m) -> (n, m), for n <= m. All singular values become 1."""
    ...  # your code
''',
    solution=polar,
    alternative=polar_by_the_root,
    why=(
        "`torch.linalg.svd` returns V^T as its third part, so U V^T is the product of the first and the third.\n"
        "The other way, (M M^T)^(-1/2) M, divides by the singular values without naming the vectors."
    ),
    truth=polar_truth,
    cases=polar_cases,
    hints=(
        "`torch.linalg.svd(matrix, full_matrices=False)` returns three things. What is the third, V or V^T?",
        "It is V^T already. Leave out the singular values.",
        "Return the product of the first and the third, with `@`.",
    ),
    wrong=(
        Wrong(
            "transposed once more",
            lambda matrix: (lambda u, s, vt: u @ (vt.T if vt.shape[0] == vt.shape[1] else vt.flip(1)))(
                *torch.linalg.svd(matrix, full_matrices=False)
            ),
            "You transpose the third part. `torch.linalg.svd` returns V^T already, unlike the older `torch.svd`.",
            UNSEEN,
        ),
        Wrong(
            "with the singular values",
            lambda matrix: matrix.clone(),
            "This is the matrix itself, U S V^T. The singular values have to go.",
            UNSEEN,
        ),
        Wrong(
            "the sign of the elements",
            torch.sign,
            "You take the sign of each element, as some optimizers do. The singular values are not 1 then.",
            "signSGD",
        ),
        Wrong(
            "divided by the norm",
            lambda matrix: matrix / torch.linalg.matrix_norm(matrix, 2),
            "You divide by the largest singular value. The others stay smaller than 1.",
            UNSEEN,
        ),
        Wrong(
            "the inverse",
            lambda matrix: torch.linalg.pinv(matrix).T.contiguous(),
            "This is U S^(-1) V^T: you divided by the singular values twice. Once makes them 1.",
            UNSEEN,
        ),
        Wrong(
            "orthogonal rows by QR",
            lambda matrix: torch.linalg.qr(matrix.T).Q.T.contiguous(),
            "A QR decomposition gives orthogonal rows too, but it turns them, and the first row keeps its direction "
            "at the cost of the others. U V^T is the nearest one to the matrix.",
            UNSEEN,
        ),
        Wrong(
            "each row divided by its length",
            lambda matrix: matrix / matrix.norm(dim=1, keepdim=True),
            "You give each row the length 1. The rows are still not orthogonal to one another.",
            UNSEEN,
        ),
    ),
)


# 31.7 steps_needed


def steps_that_keep_95_percent():
    path, variance = schedules.cosine(), 1.0  # of the data

    def kept(steps):
        spread = torch.ones((), dtype=torch.float64)  # of x_t, at first that of the noise
        for t, s in itertools.pairwise(torch.linspace(1, 0, steps + 1, dtype=torch.float64)):
            alpha, sigma = path.alpha(t), path.sigma(t)
            gain = alpha * variance / (alpha**2 * variance + sigma**2)  # E[x0 | x_t] = gain * x_t
            factor, w = path.transition(t, s)
            along = factor * path.sigma(s) ** 2 / sigma**2 + path.alpha(s) * w / sigma**2 * gain
            spread = along**2 * spread + w * path.sigma(s) ** 2 / sigma**2
        return float(spread) / variance

    return next(steps for steps in (25, 50, 75, 100, 150, 200, 400) if kept(steps) >= 0.95)


STEPS_NEEDED = Question(
    id="31.7",
    name="steps_needed",
    stub="steps_needed = None  # the fewest of 25, 50, 75, 100, 150, 200, 400 with which DDPM keeps 95 % of the "
    "variance",
    right=(100, 100),
    solution=steps_that_keep_95_percent,
    why=(
        "What is lost falls as one over the number of steps, because DDPM's step is right to first order: 16, 9, 6\n"
        "and 5 % at 25, 50, 75 and 100 steps. A method of second order needs far fewer steps for the same."
    ),
    wrong=(
        WrongValue(
            "too few",
            (20, 76),
            "With so few steps more than 5 % of the variance are lost. Follow the variance from step to step.",
            UNSEEN,
        ),
        WrongValue(
            "more than needed",
            (149, 401),
            "That keeps more than 95 %, but a smaller number in the list does too.",
            UNSEEN,
        ),
    ),
    hints=(
        "The data are N(0, 1), so E[x0 | x_t] = alpha x_t. Every x_t is Gaussian: follow its variance from step to "
        "step.",
        "The posterior step multiplies x_t by one factor and x0 by another, and adds noise of the variance "
        "w sigma_s² / sigma_t².",
        "What is lost falls as 1 / steps. At 50 steps about 9 % are lost.",
    ),
)


# 31.8 in words

REFEREE = Explanation(
    id="31.8",
    name="a referee's questions",
    task="A paper reports that a new optimizer halves the Fréchet distance of a small diffusion model after one "
    "hour, with one training each; say what you ask the authors.",
    model=(
        "I ask how far trainings of one recipe scatter with the seed, and for at least three seeds of each, compared "
        "seed by seed. I ask for the distance of real data at the same number of samples, because near that floor a "
        "half means little. I ask whether the learning rate of the old optimizer was searched as carefully as that of "
        "the new one. I ask for the curves over seconds and over images seen, because an optimizer that costs more "
        "per step may win the one and lose the other. And I ask for a second point in time, because a choice that "
        "wins after one hour may lose after four."
    ),
    look_for=(
        "Several seeds of each recipe, compared with the same seeds.",
        "The floor, and the number of samples behind the distance.",
        "The same care for the loser, above all its learning rate.",
        "Another time of measurement, or a curve instead of one point.",
    ),
    hints=(
        "What would a second training with the same optimizer and another seed show?",
        "Who chose the settings of the optimizer that lost, and how many were tried?",
        "Two recipes of the table change places between two and four minutes. What does that ask for?",
    ),
)

EXERCISES = (ORTHOGONALISE, PAIRED, LEAD, SLOPE, TRAININGS, POLAR, STEPS_NEEDED, REFEREE)
