"""The exercises of notebook 15, inverse problems: 15.1 to 15.3 in its flow, 15.4 to 15.10 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from minidiff import exact, inverse, schedules
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN
from minidiff.denoisers import classifier_guided

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Inverse problems"
DOUBLE = torch.float64


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=DOUBLE)


def odd_denoiser(x: Tensor, t: Tensor) -> Tensor:
    """A fixed function in place of a denoiser of points in three dimensions. Its Jacobian is not symmetric."""
    mix = double(0.6, 0.5, -0.2, -0.3, 0.8, 0.4, 0.1, -0.5, 0.7).reshape(3, 3).to(x.dtype)
    return torch.tanh(x @ mix.T + 0.3 * t) + 0.2 * x


COSINE, DDPM = schedules.cosine(), schedules.ddpm_linear()


def gaussian_denoiser(x: Tensor, t: Tensor) -> Tensor:
    """The exact denoiser, along the cosine path, of a Gaussian in the plane with variances 1 and correlation 0.6."""
    alpha, sigma = COSINE.alpha(t), COSINE.sigma(t)
    on, off = alpha**2 + sigma**2, 0.6 * alpha**2
    G = torch.stack([on - 0.6 * off, 0.6 * on - off, 0.6 * on - off, on - 0.6 * off]).reshape(2, 2)
    return x @ G.to(x.dtype) * alpha / (on**2 - off**2)


# 15.1 gaussian_posterior


def gaussian_posterior(mean, C, A, y, std):
    S = A @ C @ A.T + std**2 * torch.eye(len(y), dtype=C.dtype)
    K = C @ A.T @ torch.linalg.inv(S)
    return mean + K @ (y - A @ mean), C - K @ A @ C


def gaussian_posterior_solved(mean, C, A, y, std):
    S = A @ C @ A.T + std**2 * torch.eye(len(y), dtype=C.dtype)
    K = torch.linalg.solve(S, A @ C).T
    return mean + K @ (y - A @ mean), C - K @ S @ K.T


def gaussian_posterior_truth(mean, C, A, y, std):  # by precisions: Bishop, equations 2.116 and 2.117
    prior = torch.linalg.inv(C)
    covariance = torch.linalg.inv(prior + A.mT @ A / std**2)
    return covariance @ (prior @ mean + A.mT @ y / std**2), covariance


def gaussian_posterior_cases(g):
    small = (double(1.0, -1.0), double(1.0, 0.8, 0.8, 1.5).reshape(2, 2), double(0.0, 1.0)[None], double(1.5), 0.5)
    root, A = (torch.randn(n, 4, generator=g, dtype=DOUBLE) for n in (4, 2))
    mean, y = (torch.randn(n, generator=g, dtype=DOUBLE) for n in (4, 2))
    C = root @ root.T / 4 + 0.5 * torch.eye(4, dtype=DOUBLE)
    return (
        Case(small, "two coordinates of correlation 0.65, the second one measured with std 0.5"),
        Case((2 + mean, C, A, y, 0.7), "four coordinates, two measurements with std 0.7"),
    )


def posterior_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the right parts: formula(mean, C, A, y, std, identity, K, surprise)."""

    def answer(mean, C, A, y, std):
        one = torch.eye(len(y), dtype=C.dtype)
        K = C @ A.T @ torch.linalg.inv(A @ C @ A.T + std**2 * one)
        return formula(mean, C, A, y, std, one, K, y - A @ mean)

    return Wrong(name, answer, message, seen)


def with_gain(gain: Callable) -> Callable:
    """The posterior with another gain: gain(C, A, std, identity)."""

    def formula(mean, C, A, y, std, one, K, surprise):
        other = gain(C, A, std, one)
        return mean + other @ surprise, C - other @ A @ C

    return formula


GAUSSIAN_POSTERIOR = Exercise(
    id="15.1",
    name="gaussian_posterior",
    stub='''
def gaussian_posterior(mean, C, A, y, std):
    """The mean, (d,), and the covariance, (d, d), of x0 given y = A x0 + std z. mean: (d,); C: (d, d); A: (m, d)."""
    ...  # your code
''',
    solution=gaussian_posterior,
    alternative=gaussian_posterior_solved,
    why=(
        "Cov[e, y] = C A^T - K S = 0 gives K = C A^T S^-1. Once y is known, x0 is mean + K (y - A mean) plus e, which\n"
        "is independent of y. The covariance of e is C - K S K^T, and that is C - K A C."
    ),
    truth=gaussian_posterior_truth,
    cases=gaussian_posterior_cases,
    parts=("the mean", "the covariance"),
    hints=(
        "First S = A C A^T + std² I. The equation C A^T - K S = 0 then gives K.",
        "The mean of x0 given y is `mean + K @ (y - A @ mean)`. The covariance is that of e, and y has no part in it.",
        "Cov[e] = C - K S K^T. Since K S = C A^T, that is `C - K @ A @ C`.",
    ),
    wrong=(
        posterior_wrong(
            "std for the variance",
            with_gain(lambda C, A, std, one: C @ A.T @ torch.linalg.inv(A @ C @ A.T + std * one)),
            "You add std to the diagonal of S. The noise is std times z, so its variance is std².",
            "the catalogue: std for variance",
        ),
        posterior_wrong(
            "no noise in S",
            with_gain(lambda C, A, std, one: C @ A.T @ torch.linalg.inv(A @ C @ A.T)),
            "You leave the noise of the measurement out of S. Then y is taken to be exact, whatever std is.",
        ),
        posterior_wrong(
            "S is the noise alone",
            with_gain(lambda C, A, std, one: C @ A.T @ torch.linalg.inv(std**2 * one)),
            "Your S is the noise of the measurement alone. The covariance of y also holds A C A^T, since x0 is random.",
        ),
        posterior_wrong(
            "S not inverted",
            with_gain(lambda C, A, std, one: C @ A.T @ (A @ C @ A.T + std**2 * one)),
            "You multiply by S where you should multiply by its inverse: K S = C A^T.",
        ),
        posterior_wrong(
            "divided by the diagonal",
            with_gain(lambda C, A, std, one: C @ A.T / (A @ C @ A.T + std**2 * one).diagonal()),
            "You divide by the diagonal of S. Two measurements of one x0 are correlated, so S has to be inverted as a "
            "matrix.",
        ),
        posterior_wrong(
            "the mean is lost",
            lambda mean, C, A, y, std, one, K, surprise: (K @ surprise, C - K @ A @ C),
            "You return K (y - A mean) without the mean in front of it. If the measurement is no surprise at all, the "
            "answer is the old mean and not 0.",
            "the catalogue: prior mean lost",
        ),
        posterior_wrong(
            "the surprise is y",
            lambda mean, C, A, y, std, one, K, surprise: (mean + K @ y, C - K @ A @ C),
            "You multiply K by y. The surprise is y - A mean: what was measured minus what was expected.",
            "the catalogue: prior mean lost",
        ),
        posterior_wrong(
            "as if the mean were 0",
            lambda mean, C, A, y, std, one, K, surprise: (K @ y, C - K @ A @ C),
            "You return K y, which is right for a prior of mean 0. Here the mean has to be subtracted from y, and "
            "added to the result.",
            "the catalogue: prior mean lost",
        ),
        posterior_wrong(
            "the old covariance",
            lambda mean, C, A, y, std, one, K, surprise: (mean + K @ surprise, C),
            "Your covariance is the old one. The measurement makes it smaller, by K A C.",
        ),
        posterior_wrong(
            "the covariance grows",
            lambda mean, C, A, y, std, one, K, surprise: (mean + K @ surprise, C + K @ A @ C),
            "You add K A C to the covariance. A measurement of a Gaussian takes uncertainty away.",
        ),
        posterior_wrong(
            "C is missing",
            lambda mean, C, A, y, std, one, K, surprise: (
                mean + K @ surprise,
                torch.eye(len(C), dtype=C.dtype) - K @ A,
            ),
            "You return I - K A. That is the share of the covariance that is left: it still has to be multiplied by C.",
        ),
        posterior_wrong(
            "the precision",
            lambda mean, C, A, y, std, one, K, surprise: (
                mean + K @ surprise,
                torch.linalg.inv(C) + A.T @ A / std**2,
            ),
            "You return the inverse of the covariance, the precision.",
        ),
    ),
)


# 15.2 replace_known


def replace_known(x, y, known, path, t, s, z):
    noisy = path.alpha(s) * y + path.sigma(s) * z
    return torch.where(known, noisy, x)


def replace_known_in_a_copy(x, y, known, path, t, s, z):
    out = x.clone()
    out[:, known] = path.perturb(y.expand_as(x), s, z)[:, known]
    return out


def replace_known_truth(x, y, known, path, t, s, z):  # a number at a time
    rows = [list(row) for row in x.tolist()]
    level = math.exp(0.5 * float(path.log_snr(s))) if s > 0 else math.inf  # alpha / sigma
    for row, noise in zip(rows, z.tolist(), strict=True):
        for place in known.nonzero().flatten().tolist():
            row[place] = float(path.alpha(s)) * (float(y[place]) + noise[place] / level)
    return torch.tensor(rows, dtype=x.dtype)


def replace_known_cases(g):
    known = torch.tensor([True, False, True, True])
    x, z = (torch.randn(5, 4, generator=g, dtype=DOUBLE) for _ in range(2))
    y = double(1.5, 9.0, -1.0, 0.7)
    later = round(0.6 + 0.1 * float(torch.rand((), generator=g)), 2)
    middle = (x, y, known, COSINE, double(later)[0], double(0.35)[0], z)
    end = (1 + x, y, known, DDPM, double(0.02)[0], double(0.0)[0], z)
    return (
        Case(middle, f"5 points with 3 of 4 coordinates known, from t = {later} to s = 0.35"),
        Case(end, "5 points with 3 of 4 coordinates known, in the last step, from t = 0.02 to s = 0"),
    )


def replaced_by(name: str, value: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer that puts in another value: value(x, y, path, t, s, z)."""

    def answer(x, y, known, path, t, s, z):
        return torch.where(known, value(x, y, path, t, s, z), x)

    return Wrong(name, answer, message, seen)


def last_step_as_it_is(x, y, known, path, t, s, z):
    return x if s == 0 else replace_known(x, y, known, path, t, s, z)


REPLACE_KNOWN = Exercise(
    id="15.2",
    name="replace_known",
    stub='''
def replace_known(x, y, known, path, t, s, z):
    """x, (B, d), at time s, with its known coordinates replaced. y: (d,); known: (d,), bool; z: (B, d), fresh noise."""
    ...  # your code
''',
    solution=replace_known,
    alternative=replace_known_in_a_copy,
    why=(
        "x is at time s now, so the known coordinates have the distribution of noisy data at time s:\n"
        "alpha(s) y + sigma(s) z, with a fresh z for each number. All others stay as the sampler made them."
    ),
    truth=replace_known_truth,
    cases=replace_known_cases,
    hints=(
        "At which time is x now, t or s? What does a clean y look like at that time?",
        "It is alpha(s) y + sigma(s) z, with `path.alpha(s)` and `path.sigma(s)`.",
        "`torch.where(known, noisy, x)` takes noisy where known is True, and x elsewhere.",
    ),
    wrong=(
        replaced_by(
            "the noise of t",
            lambda x, y, path, t, s, z: path.alpha(t) * y + path.sigma(t) * z,
            "You take alpha and sigma at time t, where x came from. x is at time s now.",
            "huggingface/diffusers#1582",
        ),
        Wrong(
            "not in the last step",
            last_step_as_it_is,
            "At s = 0 you return x as it is. Then the answer does not contain what was measured: the last step has to "
            "be replaced too.",
            "lucidrains/denoising-diffusion-pytorch#322",
        ),
        replaced_by(
            "without noise",
            lambda x, y, path, t, s, z: (path.alpha(s) * y).expand_as(x),
            "You put in alpha y without noise. The denoiser expects a point at the noise level of s, and a part of it "
            "would be too clean.",
        ),
        replaced_by(
            "clean values",
            lambda x, y, path, t, s, z: y.expand_as(x),
            "You put in the clean y itself. At time s the denoiser expects alpha(s) y under noise.",
        ),
        replaced_by(
            "alpha is missing",
            lambda x, y, path, t, s, z: y + path.sigma(s) * z,
            "You add noise to y without shrinking it. Noisy data are alpha(s) x0 + sigma(s) z.",
        ),
        replaced_by(
            "sigma for its square",
            lambda x, y, path, t, s, z: path.alpha(s) * y + path.sigma(s) ** 2 * z,
            "You multiply the noise by sigma², its variance. Noise is multiplied by its standard deviation, sigma.",
        ),
        replaced_by(
            "coefficients exchanged",
            lambda x, y, path, t, s, z: path.sigma(s) * y + path.alpha(s) * z,
            "alpha and sigma are exchanged: alpha belongs to y, and sigma to the noise.",
        ),
        replaced_by(
            "added",
            lambda x, y, path, t, s, z: x + path.alpha(s) * y + path.sigma(s) * z,
            "You add the noisy y to what is there. It has to take its place.",
        ),
        replaced_by(
            "noise of unit size",
            lambda x, y, path, t, s, z: path.alpha(s) * y + z,
            "You add z as it is. The noise at time s has the standard deviation sigma(s).",
        ),
        Wrong(
            "mask upside down",
            lambda x, y, known, path, t, s, z: torch.where(known, x, path.alpha(s) * y + path.sigma(s) * z),
            "You replace the unknown coordinates and keep the known ones. known is True where y was measured.",
            UNSEEN,
        ),
        Wrong(
            "the unknown part is lost",
            lambda x, y, known, path, t, s, z: known * (path.alpha(s) * y + path.sigma(s) * z),
            "Your unknown coordinates are 0. They have to stay as the sampler made them: use torch.where, or add x "
            "times (1 - known).",
            UNSEEN,
        ),
        Wrong(
            "noise for the unknown part",
            lambda x, y, known, path, t, s, z: torch.where(known, path.alpha(s) * y, x) + path.sigma(s) * z,
            "You add noise to the unknown coordinates too. They have the noise of time s already.",
            UNSEEN,
        ),
        Wrong(
            "all replaced",
            lambda x, y, known, path, t, s, z: path.alpha(s) * y + path.sigma(s) * z,
            "You replace all coordinates and never look at known. Where it is False, x stays as it is.",
            UNSEEN,
        ),
    ),
    limit="(In a sampler, draw z afresh at every step.)",
)


# 15.3 dps_step


def dps_step(denoise, x_t, t, x_s, A, y, zeta):
    x_t = x_t.detach().requires_grad_()
    length = (y - denoise(x_t, t) @ A.T).norm(dim=1)
    (gradient,) = torch.autograd.grad(length.square().sum(), x_t)
    return x_s - (zeta / length)[:, None].detach() * gradient


def dps_step_by_the_length(denoise, x_t, t, x_s, A, y, zeta):
    slope = torch.func.grad(lambda z: torch.linalg.vector_norm(denoise(z, t) @ A.T - y, dim=1).sum())(x_t)
    return x_s - 2 * zeta * slope


def differences(f: Callable, x: Tensor, h: float = 1e-5) -> Tensor:
    """The derivative of f by each coordinate of a point, by central differences: a last axis for the coordinates."""
    steps = h * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.stack([(f(x + step) - f(x - step)) / (2 * h) for step in steps], dim=-1)


def dps_truth(denoise, x_t, t, x_s, A, y, zeta):  # by differences of the length, whose gradient counts twice
    def misfit(points: Tensor) -> Tensor:
        return torch.einsum("md,bd->bm", A, denoise(points, t)).sub(y).square().sum(dim=1).sqrt()

    return x_s - differences(misfit, x_t).mul(2 * zeta)


def dps_cases(g):
    x_t = double(0.8, -0.3, -1.1, 0.9).reshape(2, 2)
    many, next_ones = (torch.randn(5, 3, generator=g, dtype=DOUBLE) for _ in range(2))
    A = torch.randn(2, 3, generator=g, dtype=DOUBLE)
    first, second = double(0.3)[0], double(0.6)[0]
    return (
        Case(
            (gaussian_denoiser, x_t, first, 0.9 * x_t + 0.1, double(0.0, 1.0)[None], double(-0.6), 0.2),
            "two points, data from a Gaussian in the plane, the second coordinate measured, and zeta = 0.2",
        ),
        Case(
            (odd_denoiser, many, second, next_ones, A, double(1.5, -2.0), 0.35),
            "five points in three dimensions, two measurements, and zeta = 0.35",
        ),
    )


def dps_wrong(name: str, step: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer from the misfit: step(length, gradient, zeta), where gradient is that of the summed squares."""

    def answer(denoise, x_t, t, x_s, A, y, zeta):
        x = x_t.detach().requires_grad_()
        length = (y - denoise(x, t) @ A.T).norm(dim=1)
        (gradient,) = torch.autograd.grad(length.square().sum(), x)
        return x_s + step(length[:, None].detach(), gradient, zeta)

    return Wrong(name, answer, message, seen)


def dps_without_the_network(denoise, x_t, t, x_s, A, y, zeta):
    miss = y - denoise(x_t, t) @ A.T
    return x_s + 2 * zeta * (miss @ A) / miss.norm(dim=1, keepdim=True)


def dps_at_x_s(denoise, x_t, t, x_s, A, y, zeta):
    return dps_step(denoise, x_s, t, x_s, A, y, zeta)


def dps_from_x_t(denoise, x_t, t, x_s, A, y, zeta):
    return dps_step(denoise, x_t, t, x_t, A, y, zeta)


def dps_y_rescaled(denoise, x_t, t, x_s, A, y, zeta):
    return dps_step(denoise, x_t, t, x_s, A, 2 * y - 1, zeta)


def dps_mean(denoise, x_t, t, x_s, A, y, zeta):
    return dps_step(denoise, x_t, t, x_s, A, y, zeta / len(y))


DPS_STEP = Exercise(
    id="15.3",
    name="dps_step",
    stub='''
def dps_step(denoise, x_t, t, x_s, A, y, zeta):
    """x_s after the correction of DPS, (B, d). x_t, x_s: (B, d); A: (m, d); y: (m,). denoise(x_t, t) is x0_hat."""
    ...  # your code
''',
    solution=dps_step,
    alternative=dps_step_by_the_length,
    why=(
        "The gradient of the square of the misfit, in x_t and through the network, times zeta over the misfit's own\n"
        "length. Since the gradient of a square is twice the length times that of the length, the second form has no\n"
        "division at all. (The authors' code multiplies the gradient of the length by its scale, without the 2.)"
    ),
    truth=dps_truth,
    cases=dps_cases,
    hints=(
        "Compute x0_hat = denoise(x_t, t), then y - x0_hat A^T, (B, m), and its length for each point, (B,).",
        "The gradient is taken in x_t, so x_t needs `requires_grad_()`. The points do not influence each other, so the "
        "gradient of the sum over the batch holds each point's own gradient.",
        "`torch.autograd.grad(length.square().sum(), x_t)`, times zeta / length for each point, is subtracted from "
        "x_s.",
    ),
    wrong=(
        dps_wrong(
            "the gradient of the length",
            lambda length, gradient, zeta: -zeta * gradient / (2 * length),
            "You take zeta times the gradient of the misfit's length, as the authors' code does. The formula here has "
            "the gradient of its square, divided by the length. That is twice as long.",
            "DPS2022/diffusion-posterior-sampling#20",
        ),
        dps_wrong(
            "divided once too often",
            lambda length, gradient, zeta: -zeta * gradient / (2 * length**2),
            "You take the gradient of the length and divide by the length once more. The division belongs to the "
            "gradient of the square.",
            "DPS2022/diffusion-posterior-sampling#20",
        ),
        dps_wrong(
            "not divided",
            lambda length, gradient, zeta: -zeta * gradient,
            "You leave out the division by the length. Then the step is long where the misfit is large, which is the "
            "case at the start, where x0_hat is only a guess.",
            "DPS2022/diffusion-posterior-sampling#20",
        ),
        dps_wrong(
            "divided by the square",
            lambda length, gradient, zeta: -zeta * gradient / length**2,
            "You divide by the square of the length. DPS divides by the length itself.",
        ),
        dps_wrong(
            "uphill",
            lambda length, gradient, zeta: zeta * gradient / length,
            "You add the gradient, so the misfit grows. Subtract it.",
        ),
        dps_wrong(
            "one length for the batch",
            lambda length, gradient, zeta: -zeta * gradient / length.norm(),
            "You divide by one length for the whole batch. Each point has its own, or the result for a point depends "
            "on the others.",
        ),
        dps_wrong(
            "the gradient of the whole batch's length",
            lambda length, gradient, zeta: -zeta * gradient / (2 * length.norm()),
            "You take the gradient of one length for the whole batch, as the authors' code does, which restores one "
            "picture at a time. Each point has its own length, and the formula has the gradient of its square, divided "
            "by the length: twice the gradient of the length.",
            "DPS2022/diffusion-posterior-sampling#20",
        ),
        Wrong(
            "not through the network",
            dps_without_the_network,
            "You take the gradient in x0_hat and not in x_t. Then only what was measured moves: the factor "
            "(d x0_hat / d x_t)^T is missing, through which the network moves the rest.",
            UNSEEN,
        ),
        Wrong(
            "the misfit at x_s",
            dps_at_x_s,
            "You compute x0_hat and its gradient at x_s. DPS takes both at x_t: there the time is t, and the "
            "evaluation is shared with DDPM's step.",
            UNSEEN,
        ),
        Wrong(
            "from x_t",
            dps_from_x_t,
            "You correct x_t and lose the step of DDPM. What is corrected is x_s.",
            UNSEEN,
        ),
        Wrong(
            "y rescaled",
            dps_y_rescaled,
            "You turn y into 2 y - 1, as for pictures stored in [0, 1]. y is given in the units of x0 already.",
            "DPS2022/diffusion-posterior-sampling#6, LingxiaoYang2023/DSG2024#11",
        ),
        Wrong(
            "a mean over the measurement",
            dps_mean,
            "You take the mean of the squares over the measured numbers. The square of a length is their sum.",
            UNSEEN,
        ),
    ),
)


# 15.4 motion_blur


def motion_blur(x, y):
    Ax = functional.pad(x, (0, 4)).unfold(-1, 5, 1).mean(dim=-1)
    back = functional.pad(y, (4, 0)).unfold(-1, 5, 1).mean(dim=-1)
    return Ax, back


def motion_blur_by_shifts(x, y):
    width = x.shape[-1]
    to_the_right, to_the_left = functional.pad(x, (0, 4)), functional.pad(y, (4, 0))
    Ax = sum(to_the_right[..., k : k + width] for k in range(5)) / 5
    return Ax, sum(to_the_left[..., k : k + width] for k in range(5)) / 5


def motion_truth(x, y):  # with a matrix
    size = x.shape[-1]
    A = torch.zeros(size, size, dtype=x.dtype)
    for k in range(5):
        A += torch.diag(torch.full((max(size - k, 0),), 0.2, dtype=x.dtype), k)[:size, :size]
    return x @ A.T, y @ A


def motion_cases(g):
    spot = torch.zeros(1, 1, 1, 9, dtype=DOUBLE)
    spot[..., 5] = 1
    many, others = (torch.randn(2, 1, 7, 11, generator=g, dtype=DOUBLE) for _ in range(2))
    return (
        Case((spot, spot), "one row of 9 pixels, black but for pixel [5], which is 1"),
        Case((many, others), "two random pictures of 7 x 11 pixels"),
    )


def motion_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    return Wrong(name, formula, message, seen)


def moving_mean(x: Tensor, left: int, right: int, n: int = 5) -> Tensor:
    return functional.pad(x, (left, right)).unfold(-1, n, 1).mean(dim=-1)


def repeated(x: Tensor, left: int, right: int) -> Tensor:
    """The moving mean with the outermost columns repeated beyond the border."""
    parts = [x[..., :1].expand(*x.shape[:-1], left), x, x[..., -1:].expand(*x.shape[:-1], right)]
    return torch.cat(parts, dim=-1).unfold(-1, 5, 1).mean(dim=-1)


def rolled(x: Tensor, sign: int) -> Tensor:
    return sum(x.roll(sign * k, -1) for k in range(5)) / 5


def whole_windows_only(x, y):
    inside = moving_mean(x, 0, 0)
    return functional.pad(inside, (0, 4)), functional.pad(moving_mean(y, 0, 0), (4, 0))


def mean_of_those_there(x, y):
    there = moving_mean(torch.ones_like(x), 0, 4)
    return moving_mean(x, 0, 4) / there, moving_mean(y / there, 4, 0)


MOTION_BLUR = Exercise(
    id="15.4",
    name="motion_blur",
    stub='''
def motion_blur(x, y):
    """A x and A^T y, two tensors of the shape (B, 1, H, W), for pictures x and y of that shape."""
    ...  # your code
''',
    solution=motion_blur,
    alternative=motion_blur_by_shifts,
    why=(
        "Pixel j of A x is the mean of the pixels j to j + 4. So pixel i of x appears in the pixels i - 4 to i of\n"
        "A x, each time with 1/5. The adjoint collects from those: a mean over the four neighbours to the *left*."
    ),
    truth=motion_truth,
    cases=motion_cases,
    parts=("A x", "A^T y"),
    hints=(
        "`functional.pad(x, (0, 4))` puts four columns of 0 to the right of a picture, and `unfold(-1, 5, 1)` makes "
        "all windows of five neighbours.",
        "For the adjoint, ask in which pixels of A x the pixel i of x appears, and with which factor.",
        "The adjoint is the same mean over the four neighbours to the left. Try `dot_product_test`.",
    ),
    wrong=(
        motion_wrong(
            "adjoint as forward",
            lambda x, y: (moving_mean(x, 0, 4), moving_mean(y, 0, 4)),
            "Your adjoint is A itself: it is not flipped. A looks to the right, so its transpose looks to the left.",
            "annegnx/PnP-Flow#19",
        ),
        motion_wrong(
            "left and right exchanged",
            lambda x, y: (moving_mean(x, 4, 0), moving_mean(y, 0, 4)),
            "You average over the neighbours to the left. That is a motion blur too, and the dot-product test passes, "
            "but here the camera averages to the right.",
        ),
        motion_wrong(
            "around the edge",
            lambda x, y: (rolled(x, -1), rolled(y, 1)),
            "Your picture wraps around: what leaves at the right edge comes back at the left one. Beyond the border "
            "there is 0.",
            "the catalogue: wraps",
        ),
        motion_wrong(
            "the border is lost",
            whole_windows_only,
            "You average only where all five pixels exist, and the last four columns become 0. They have fewer "
            "neighbours, but not none.",
            "pytorch/pytorch#5057, NVlabs/pacnet#20",
        ),
        motion_wrong(
            "the border is repeated",
            lambda x, y: (repeated(x, 0, 4), repeated(y, 4, 0)),
            "You repeat the last column beyond the border. There should be 0.",
        ),
        motion_wrong(
            "divided by those that exist",
            mean_of_those_there,
            "At the border you divide by the number of pixels that exist. The pixels beyond it count as 0, so it "
            "is always 5.",
        ),
        motion_wrong(
            "not averaged",
            lambda x, y: (5 * moving_mean(x, 0, 4), 5 * moving_mean(y, 4, 0)),
            "You add the five pixels up. The camera averages them, so divide by 5.",
            "the catalogue: not averaged",
        ),
        motion_wrong(
            "adjoint not averaged",
            lambda x, y: (moving_mean(x, 0, 4), 5 * moving_mean(y, 4, 0)),
            "Your adjoint adds the five numbers up. The entries of A are 1/5, and so are those of its transpose.",
        ),
        motion_wrong(
            "centred",
            lambda x, y: (moving_mean(x, 2, 2), moving_mean(y, 2, 2)),
            "You average over two neighbours on each side. Here all four lie to the right.",
        ),
        motion_wrong(
            "four pixels",
            lambda x, y: (moving_mean(x, 0, 3, n=4), moving_mean(y, 3, 0, n=4)),
            "You average four pixels. It is the pixel itself and its four neighbours, so five.",
        ),
        motion_wrong(
            "along the columns",
            lambda x, y: (moving_mean(x.mT, 0, 4).mT, moving_mean(y.mT, 4, 0).mT),
            "You average over neighbours below. The last axis, the width, goes to the right.",
        ),
    ),
)


# 15.5 x0_covariance


def x0_covariance(denoise, path, x_t, t):
    jacobian = torch.func.vmap(torch.func.jacrev(lambda point: denoise(point[None], t)[0]))(x_t)
    return path.sigma(t) ** 2 / path.alpha(t) * jacobian


def x0_covariance_by_rows(denoise, path, x_t, t):
    x = x_t.detach().requires_grad_()
    x0_hat = denoise(x, t)
    rows = [torch.autograd.grad(x0_hat[:, i].sum(), x, retain_graph=True)[0] for i in range(x.shape[1])]
    return torch.stack(rows, dim=1) * path.sigma(t) ** 2 / path.alpha(t)


def x0_covariance_truth(denoise, path, x_t, t):
    return differences(lambda points: denoise(points, t), x_t).mul(path.sigma(t).square().div(path.alpha(t)))


def covariance_cases(g):
    many = torch.randn(4, 3, generator=g, dtype=DOUBLE)
    return (
        Case(
            (gaussian_denoiser, COSINE, double(0.5, -0.2)[None], double(0.3)[0]),
            "one noisy point at t = 0.3, and data from a Gaussian in the plane",
        ),
        Case((odd_denoiser, COSINE, many, double(0.55)[0]), "four points, and a denoiser that is no exact one"),
    )


def covariance_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer from the Jacobian: formula(J, alpha, sigma)."""

    def answer(denoise, path, x_t, t):
        J = differences(lambda points: denoise(points, t), x_t)
        return formula(J, path.alpha(t), path.sigma(t))

    return Wrong(name, answer, message, seen)


def jacobian_of_the_batch(denoise, path, x_t, t):
    J = torch.autograd.functional.jacobian(lambda x: denoise(x, t), x_t)
    return path.sigma(t) ** 2 / path.alpha(t) * J


X0_COVARIANCE = Exercise(
    id="15.5",
    name="x0_covariance",
    stub='''
def x0_covariance(denoise, path, x_t, t):
    """sigma^2/alpha times the Jacobian of denoise at each point, (B, d, d): [b, i, j] is d x0_hat_i / d x_t_j. t: ()"""
    ...  # your code
''',
    solution=x0_covariance,
    alternative=x0_covariance_by_rows,
    why=(
        "p(x0 | x_t) is proportional to p(x0) exp(alpha x0 · x_t / sigma² + ...). Its mean's derivative by alpha x_t\n"
        "/ sigma² is its covariance, so the derivative by x_t is alpha / sigma² times the covariance.\n"
        "In (4), for the mixture and noise 0.1, this takes off more than half of the error of the weights (about 0.06\n"
        "is left of 0.14), if the logarithm of the standard deviation is kept too. Without it hardly anything is\n"
        "gained. What is left is there because p(x0 | x_t) is no Gaussian: between two modes it has two hills."
    ),
    truth=x0_covariance_truth,
    cases=covariance_cases,
    hints=(
        "`torch.func.jacrev(f)` is the Jacobian of a function f of one point, (d,) -> (d,).",
        "`lambda point: denoise(point[None], t)[0]` is such a function, and `torch.func.vmap` applies it to a batch.",
        "Or take `torch.autograd.grad(x0_hat[:, i].sum(), x_t)` for each i and stack them. Then multiply by "
        "sigma² / alpha.",
    ),
    wrong=(
        covariance_wrong(
            "alpha is missing",
            lambda J, alpha, sigma: sigma**2 * J,
            "You multiply by sigma² alone. The factor is sigma² / alpha.",
            "the catalogue: alpha",
        ),
        covariance_wrong(
            "times alpha",
            lambda J, alpha, sigma: sigma**2 * alpha * J,
            "You multiply by alpha. Where alpha is small, x0_hat hardly changes with x_t although x0 is uncertain, so "
            "one has to divide.",
            "the catalogue: alpha",
        ),
        covariance_wrong(
            "alpha squared",
            lambda J, alpha, sigma: (sigma / alpha) ** 2 * J,
            "You divide by alpha². One alpha is enough: the exponent holds alpha x0 · x_t / sigma².",
            "the catalogue: alpha",
        ),
        covariance_wrong(
            "sigma for its square",
            lambda J, alpha, sigma: sigma / alpha * J,
            "You multiply by sigma / alpha. The factor is sigma² / alpha.",
        ),
        covariance_wrong(
            "upside down",
            lambda J, alpha, sigma: alpha / sigma**2 * J,
            "Your factor is upside down: it is sigma² / alpha.",
        ),
        covariance_wrong(
            "transposed",
            lambda J, alpha, sigma: sigma**2 / alpha * J.mT,
            "Your Jacobian is transposed: [b, i, j] should be the derivative of output i by input j. For an exact "
            "denoiser it is symmetric and nobody would notice. A network's is not.",
            "the catalogue: transposed",
        ),
        covariance_wrong(
            "the diagonal only",
            lambda J, alpha, sigma: sigma**2 / alpha * torch.diag_embed(J.diagonal(dim1=1, dim2=2)),
            "You keep the diagonal only. The correlations carry a measurement to the unknown coordinates.",
        ),
        covariance_wrong(
            "the bare Jacobian",
            lambda J, alpha, sigma: J,
            "That is the Jacobian itself. The covariance is sigma² / alpha times as large.",
        ),
        Wrong(
            "the whole batch",
            jacobian_of_the_batch,
            "You compute the derivative of each point by every point, (B, d, B, d). The points do not influence each "
            "other, so only the blocks with equal b are wanted.",
            UNSEEN,
        ),
    ),
)


# 15.6 follow_guided


def follow_guided(rho, y, std, path, times):
    prior = torch.tensor([[1, rho], [rho, 1]], dtype=torch.float64)
    one, a = torch.eye(2, dtype=torch.float64), torch.tensor([0, 1], dtype=torch.float64)
    mean, C = torch.zeros(2, dtype=torch.float64), path.sigma(times[0]) ** 2 * one
    for t, s in itertools.pairwise(times):
        alpha, sigma = path.alpha(t), path.sigma(t)
        G = alpha * prior @ torch.linalg.inv(alpha**2 * prior + sigma**2 * one)  # x0_hat = G x_t
        r2 = sigma**2 / (alpha**2 + sigma**2)
        pull = sigma**2 / alpha * (G.T @ a) / (r2 + std**2)  # guided: x0_hat + pull (y - a x0_hat)
        factor, w = path.transition(t, s)
        step = factor * path.sigma(s) ** 2 / sigma**2 * one
        c0, variance = path.alpha(s) * w / sigma**2, w * path.sigma(s) ** 2 / sigma**2
        F = step + c0 * (G - torch.outer(pull, a @ G))
        mean, C = F @ mean + c0 * pull * y, F @ C @ F.T + variance * one
    return mean, C


def follow_guided_by_the_package(rho, y, std, path, times):
    prior, height = torch.eye(2) + rho * (1 - torch.eye(2)), torch.tensor([[0.0, 1.0]])
    gaussian = exact.GaussianMixture(torch.ones(1), torch.zeros(1, 2), prior[None]).to(torch.float64)
    plain = exact.mixture_denoiser(gaussian, path)
    problem = inverse.from_matrix(height, (2,), std)
    likelihood = inverse.gaussian_likelihood(plain, path, problem, torch.tensor([[y]], dtype=torch.float64))
    guided = classifier_guided(plain, path, likelihood)
    probes = torch.tensor([[0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    mean, C = torch.zeros(2, dtype=torch.float64), path.sigma(times[0]) ** 2 * torch.eye(2, dtype=torch.float64)
    for t, s in itertools.pairwise(times):
        out, variance = path.posterior(probes, guided(probes, t), t, s)
        F = (out[1:] - out[0]).T  # a step is linear: what it makes of 0 and of the unit vectors says all
        mean, C = out[0] + F @ mean, F @ C @ F.T + variance * torch.eye(2, dtype=torch.float64)
    return mean, C


def guided_moments(rho, y, std, path, times, *, spread=None, pull=None, variance=None, once=False):
    """The moments along the steps, by formulas for two coordinates; a wrong answer changes one of them."""
    spread = spread or (lambda alpha, sigma: sigma**2 / (alpha**2 + sigma**2))
    pull = pull or (lambda alpha, sigma, column, total: sigma**2 / alpha * column / total)
    variance = variance or (lambda w, sigma_s, sigma_t: w * sigma_s**2 / sigma_t**2)
    mu, V = double(0.0, 0.0), torch.diag(path.sigma(times[0]).double() ** 2 * double(1.0, 1.0))
    for k in range(len(times) - 1):
        t, s = times[k], times[k + 1]
        a_t, s_t, a_s, s_s = (float(f(time)) for time in (t, s) for f in (path.alpha, path.sigma))
        alone, both = a_t**2 + s_t**2, a_t**2 * rho
        det = alone**2 - both**2
        on, off = a_t * (alone - rho * both) / det, a_t * (rho * alone - both) / det
        G = double(on, off, off, on).reshape(2, 2)
        push = pull(a_t, s_t, double(off, on), spread(a_t, s_t) + std**2)
        ratio = a_t / a_s
        w = s_t**2 - ratio**2 * s_s**2
        F = ratio * s_s**2 / s_t**2 * torch.eye(2, dtype=DOUBLE)
        F = F + a_s * w / s_t**2 * (G - push[:, None] * G[1][None])
        mu = F @ mu + a_s * w / s_t**2 * push * y
        V = F @ V if once else F @ V @ F.mT
        V = V + variance(w, s_s, s_t) * torch.eye(2, dtype=DOUBLE)
    return mu, V


def guided_truth(rho, y, std, path, times):
    return guided_moments(rho, y, std, path, times)


def guided_cases(g):
    shift = 0.1 * float(torch.rand((), generator=g))
    path = DDPM
    few, many = torch.linspace(0.8, 0.2, 3, dtype=DOUBLE), torch.linspace(1, 0, 9, dtype=DOUBLE)
    return (
        Case((0.8, 1.5, 0.5, path, few), "rho = 0.8, y = 1.5, std = 0.5 and the times 0.8, 0.5, 0.2"),
        Case((round(-0.5 - shift, 3), -0.7, 0.3, path, many), "a negative rho, y = -0.7, std = 0.3 and 8 steps to 0"),
    )


def guided_wrong(name: str, message: str, seen: str = UNSEEN, *, changed: dict) -> Wrong:
    return Wrong(
        name, lambda rho, y, std, path, times: guided_moments(rho, y, std, path, times, **changed), message, seen
    )


FOLLOW_GUIDED = Exercise(
    id="15.6",
    name="follow_guided",
    stub='''
def follow_guided(rho, y, std, path, times):
    """Mean, (2,), and covariance, (2, 2), float64, of ancestral ΠGDM at the last time. v = y measured with noise std.

    Data N(0, [[1, rho], [rho, 1]]), exact denoiser, unit spread. times: float64, falling; the last one may be 0.
    """
    ...  # your code
''',
    solution=follow_guided,
    alternative=follow_guided_by_the_package,
    why=(
        "The exact denoiser is a matrix G times x_t, so its Jacobian is G, and a guided step is linear in x_t.\n"
        "For noise 0.3 and y = 1.5 the mean of u is right at rho = 0, where the unit spread is exact, and its error\n"
        "grows with |rho|: 0.06 at 0.8 and 0.09 at 0.99, of a mean of 1.1 and 1.4. The stronger the\n"
        "correlation, the more the other coordinate tells, and the further the unit spread is above the true variance."
    ),
    truth=guided_truth,
    cases=guided_cases,
    parts=("the mean", "the covariance"),
    hints=(
        "x0_hat = G x_t with G = alpha Sigma (alpha² Sigma + sigma² I)^-1. So the Jacobian of x0_hat is G.",
        "Guidance adds sigma² / alpha times the gradient of (4): the vector sigma²/alpha G^T (0, 1) / (r² + std²), "
        "times y minus the second coordinate of x0_hat.",
        "DDPM's step is x_s = a x_t + c_0 x0_guided + noise. With `factor, w = path.transition(t, s)`, a = factor "
        "sigma_s²/sigma_t², c_0 = alpha_s w / sigma_t², and the variance of the noise is w sigma_s²/sigma_t².",
        "Put in x0_guided, which is a matrix times x_t plus a vector. Then x_s = F x_t + vector + noise. Mean: F "
        "mean + "
        "vector. Covariance: F C F^T + variance I.",
    ),
    wrong=(
        guided_wrong(
            "no spread",
            "Your r² is 0, as in theorem 1 of DPS. ΠGDM has the unit spread sigma² / (alpha² + sigma²).",
            changed={"spread": lambda alpha, sigma: 0.0},
        ),
        guided_wrong(
            "r for its square",
            "You add r to the variance of the measurement. Variances add, so it is r² = sigma² / (alpha² + sigma²).",
            changed={"spread": lambda alpha, sigma: sigma / math.sqrt(alpha**2 + sigma**2)},
        ),
        guided_wrong(
            "the noise for the spread",
            "Your r² is sigma² / alpha², the variance of the noise in x_t / alpha. The unit spread is smaller, "
            "sigma² / (alpha² + sigma²), because the prior knows x0 too: its variance is 1.",
            changed={"spread": lambda alpha, sigma: sigma**2 / alpha**2},
        ),
        guided_wrong(
            "not through the denoiser",
            "You pull along A^T alone. The gradient goes through the denoiser: G^T A^T, which is what moves u.",
            changed={"pull": lambda alpha, sigma, column, total: sigma**2 / alpha * double(0.0, 1.0) / total},
        ),
        guided_wrong(
            "alpha is missing",
            "You add sigma² times the gradient to x0_hat. The score is (alpha x0_hat - x_t) / sigma², so it is "
            "sigma² / alpha.",
            changed={"pull": lambda alpha, sigma, column, total: sigma**2 * column / total},
        ),
        guided_wrong(
            "the wrong sign",
            "Your guidance pushes away from the measurement. The gradient of the logarithm holds + (y - A x0_hat).",
            changed={"pull": lambda alpha, sigma, column, total: -(sigma**2) / alpha * column / total},
        ),
        guided_wrong(
            "not guided",
            "You follow the unconditional sampler: y has no influence.",
            changed={"pull": lambda alpha, sigma, column, total: 0 * column},
        ),
        guided_wrong(
            "multiplied once",
            "You multiply the covariance by F once. A linear map makes of C the matrix F C F^T.",
            changed={"once": True},
        ),
        guided_wrong(
            "no noise",
            "You leave out the noise of the steps. Each step but one to s = 0 adds the posterior variance to C.",
            changed={"variance": lambda w, sigma_s, sigma_t: 0.0},
        ),
        guided_wrong(
            "the forward variance",
            "You add the variance w of the forward step. The ancestral sampler adds w sigma_s² / sigma_t².",
            changed={"variance": lambda w, sigma_s, sigma_t: w},
        ),
    ),
)


# 15.7 effective_number


def effective_number(log_w):
    w = torch.exp(log_w - log_w.max())
    return w.sum() ** 2 / (w**2).sum()


def effective_number_by_softmax(log_w):
    return 1 / torch.softmax(log_w, dim=0).square().sum()


def effective_truth(log_w):
    return torch.exp(2 * torch.logsumexp(log_w.double(), 0) - torch.logsumexp(2 * log_w.double(), 0))


def effective_cases(g):
    few = torch.log(double(1.0, 1.0, 2.0))
    many = 1.5 * torch.randn(40, generator=g, dtype=DOUBLE)
    return (
        Case((few,), "the weights 1, 1 and 2"),
        Case((many + 0.3,), "40 random weights"),
        Case((many - 2000,), "the same 40 weights, all divided by e^2000"),
    )


def effective_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer from the normalised weights: formula(p, log_w)."""
    return Wrong(name, lambda log_w: formula(torch.softmax(log_w, dim=0), log_w), message, seen)


EFFECTIVE_NUMBER = Exercise(
    id="15.7",
    name="effective_number",
    stub='''
def effective_number(log_w):
    """The effective number of particles, one number. log_w: (N,), logarithms of weights, of any size."""
    ...  # your code
''',
    solution=effective_number,
    alternative=effective_number_by_softmax,
    why=(
        "A common factor of all weights cancels, so subtract the largest logarithm first: else all weights may round\n"
        "to 0. In `twisted` at noise 0.1 the number stays near that of all particles for most of the steps, and near\n"
        "the end it collapses in a single one: to 20 of 4,000 when we ran it. All answers then descend from those few."
    ),
    truth=effective_truth,
    cases=effective_cases,
    hints=(
        "If you multiply all weights by the same number, what becomes of (sum w)² / sum w²?",
        "So you may subtract the largest logarithm from all of them before you take exp. Else exp(-2000) is 0.",
        "`torch.softmax(log_w, dim=0)` does both: its weights add up to 1. What is left is one over the sum of their "
        "squares.",
    ),
    wrong=(
        effective_wrong(
            "upside down",
            lambda p, log_w: p.square().sum(),
            "Your fraction is upside down: equal weights should give N, and yours give 1/N.",
            "the catalogue: upside down",
        ),
        effective_wrong(
            "no maximum subtracted",
            lambda p, log_w: log_w.exp().sum() ** 2 / log_w.exp().square().sum(),
            "You take exp of the logarithms as they are. Here all weights round to 0, and 0 / 0 is left: subtract the "
            "largest logarithm first.",
            "the catalogue: no maximum subtracted",
        ),
        effective_wrong(
            "not normalised",
            lambda p, log_w: 1 / (log_w - log_w.max()).exp().square().sum(),
            "One over the sum of the squares is right for weights that add up to 1. Yours do not.",
        ),
        effective_wrong(
            "logarithms as weights",
            lambda p, log_w: log_w.sum() ** 2 / log_w.square().sum(),
            "You use the logarithms as if they were the weights. Take exp first.",
        ),
        effective_wrong(
            "the exponential of the entropy",
            lambda p, log_w: torch.exp(-(p * p.log()).sum()),
            "You compute exp of the entropy, the perplexity. It is another effective number, and a larger one.",
        ),
        effective_wrong(
            "a root",
            lambda p, log_w: 1 / p.square().sum().sqrt(),
            "You take a root: both sums count squares, above (sum w)² and below sum w².",
        ),
        effective_wrong(
            "one over the largest",
            lambda p, log_w: 1 / p.max(),
            "You divide by the largest weight. That looks at one particle only.",
        ),
        effective_wrong(
            "a share",
            lambda p, log_w: 1 / p.square().mean() / len(p) ** 2,
            "You return the share of effective particles, between 1/N and 1. Asked for is their number.",
        ),
    ),
)


# 15.8 drowned


def drowned_directions():
    A = inverse.blurred((1, 28, 28), 1.5, 0.05).matrix()
    return int((torch.linalg.svdvals(A) < 0.05).sum())


DROWNED = Question(
    id="15.8",
    name="drowned",
    stub="drowned = None  # the number of singular values of the blur that are below its noise, 0.05",
    right=(600, 620),
    solution=drowned_directions,
    why=(
        "The pseudoinverse divides each direction of y by its singular value, and so its noise too. For three "
        "quarters of\nthem the noise becomes larger than a unit signal, for the smallest by a factor of 10^8. The "
        "posterior does not divide:\nwhere the signal is below the noise, it keeps what the model knows about digits."
    ),
    wrong=(
        WrongValue(
            "the others",
            (164, 184),
            "You counted the singular values above the noise. Asked for are those below it.",
            UNSEEN,
        ),
        WrongValue(
            "eigenvalues of A A^T",
            (690, 712),
            "You compared the eigenvalues of A A^T with 0.05. They are the squares of the singular values.",
            UNSEEN,
        ),
        WrongValue(
            "none",
            (0, 0),
            "A can be inverted, so no direction is lost in exact arithmetic. But many come through weaker than the "
            "noise, and dividing by them multiplies the noise.",
            UNSEEN,
        ),
        WrongValue(
            "all",
            (784, 784),
            "The blur keeps slow changes of the picture nearly as they are. Only its fine details drown.",
            UNSEEN,
        ),
    ),
    hints=(
        'The matrix is `measurements["blurred"].matrix()`, (784, 784).',
        "`torch.linalg.svdvals` gives its singular values.",
        "Compare them with 0.05 and count: `(values < 0.05).sum()`.",
    ),
)


# 15.9 and 15.10 in words

TOO_GOOD = Explanation(
    id="15.9",
    name="too good to be true",
    task="Derive the expected square error of samples with the right mean and c times the right variance, and judge "
    "samples that are only 1 dB behind the posterior mean.",
    model=(
        "Given y, the sample and the truth are independent and have the same mean. So the expected square of their "
        "difference is the sum of their variances: c MMSE + MMSE = (1 + c) MMSE. A gap of 1 dB means 1 + c = "
        "10^0.1 = 1.26, so c = 0.26. If the mean is right, those samples have about a quarter of the variance that "
        "they should have, so they show far less doubt than there is. Right samples are 3 dB behind. A gap that is "
        "smaller is no success, unless the goal is the error and not the picture; then one should return the mean."
    ),
    look_for=(
        "The cross term vanishes because sample and truth are independent given y, with a common mean.",
        "The result is (1 + c) times the MMSE, and c = 1 gives the 3 dB.",
        "A gap of 1 dB means c = 0.26, so the samples are too much alike.",
        "Whether that is good depends on the goal: least error, or a fair picture of what is possible.",
    ),
    hints=(
        "Subtract the posterior mean from both the sample and the truth, and expand the square.",
        "The cross term is the mean of a product of two independent numbers, each of mean 0 given y.",
        "A decibel is a factor of 10^0.1 in the square error. So (1 + c) = 10^0.1.",
    ),
)

OWN_DAMAGE = Explanation(
    id="15.10",
    name="your own measurement",
    task="Write a damage of your own as a measurement, test its adjoint, restore your digit, and find a damage that "
    "leaves two digits about equally likely.",
    model=(
        "A fold that hides the middle rows: known = torch.ones(PICTURE, dtype=torch.bool), then known[:, 10:18] = "
        "False, and inverse.masked(known). The dot-product test gives an error near 1e-17, as for every mask. Of a 3 "
        "drawn as above, upper and lower arcs are left, which may fit a 3, an 8, a 0 or a 2. Hide more or fewer rows, "
        "or the left third only, draw 24 answers, and read them with the classifier, until two digits have about "
        "equal counts. With 24 answers a count of 12 is uncertain by about 2.4, the root of 24 / 4."
    ),
    look_for=(
        "The measurement is linear, and its adjoint passes the dot-product test.",
        "Several answers are shown, not one, and they agree with what was measured.",
        "The counts of digits come with their uncertainty.",
    ),
    hints=(
        "A mask is the simplest measurement: `inverse.masked(known)`, where known is True where a pixel is left.",
        "`restore` of section 13 takes a measurement, its y for each answer, the starting noise and a generator. "
        "Section 14 shows how to call it.",
        "Which strokes tell a 3 from an 8? Hide those, and little else.",
    ),
)


EXERCISES = (
    *(GAUSSIAN_POSTERIOR, REPLACE_KNOWN, DPS_STEP),
    *(MOTION_BLUR, X0_COVARIANCE, FOLLOW_GUIDED, EFFECTIVE_NUMBER, DROWNED, TOO_GOOD, OWN_DAMAGE),
)
