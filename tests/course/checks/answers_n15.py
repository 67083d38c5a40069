"""Notebook 15: right answers in unusual forms, and wrong ones that are in no list."""

import itertools
import math

import numpy as np
import torch
from torch.nn import functional

from minidiff.checks.n15 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def posterior_forms():
    def by_precisions(mean, C, A, y, std):
        precision = torch.linalg.inv(C) + A.T @ A / std**2
        right = torch.linalg.solve(C, mean) + A.T @ y / std**2
        return torch.linalg.solve(precision, right), torch.linalg.inv(precision)

    def joseph(mean, C, A, y, std):
        K = C @ A.T @ torch.linalg.inv(A @ C @ A.T + std**2 * torch.eye(len(A), dtype=C.dtype))
        left = torch.eye(len(C), dtype=C.dtype) - K @ A
        return left @ mean + K @ y, left @ C @ left.T + std**2 * K @ K.T

    def one_number_after_another(mean, C, A, y, std):
        for row, value in zip(A, y, strict=True):
            gain = C @ row / (row @ C @ row + std**2)
            mean, C = mean + gain * (value - row @ mean), C - torch.outer(gain, row @ C)
        return mean, C

    def in_numpy(mean, C, A, y, std):
        m, C, A, y = (part.numpy() for part in (mean, C, A, y))
        K = np.linalg.solve(A @ C @ A.T + std**2 * np.eye(len(y)), A @ C).T
        return torch.from_numpy(m + K @ (y - A @ m)), torch.from_numpy((np.eye(len(C)) - K @ A) @ C)

    return by_precisions, joseph, one_number_after_another, in_numpy


def replace_forms():
    def with_perturb(x, y, known, path, t, s, z):
        return known * path.perturb(y.expand_as(x), s, z) + (~known) * x

    def coordinate_by_coordinate(x, y, known, path, t, s, z):
        columns = []
        for i, is_known in enumerate(known.tolist()):
            columns.append(float(path.alpha(s)) * y[i] + float(path.sigma(s)) * z[:, i] if is_known else x[:, i])
        return torch.stack(columns, dim=1)

    def as_a_change(x, y, known, path, t, s, z):
        return x + known * (path.alpha(s) * y + path.sigma(s) * z - x)

    def in_numpy(x, y, known, path, t, s, z):
        noisy = path.alpha(s).item() * y.numpy() + path.sigma(s).item() * z.numpy()
        return torch.from_numpy(np.where(known.numpy(), noisy, x.numpy()))

    return with_perturb, coordinate_by_coordinate, as_a_change, in_numpy


def dps_forms():
    def point_by_point(denoise, x_t, t, x_s, A, y, zeta):
        moved = []
        for now, then in zip(x_t, x_s, strict=True):
            z = now[None].clone().requires_grad_()
            length = torch.linalg.norm(y - A @ denoise(z, t)[0])
            length.backward()
            moved.append(then - 2 * zeta * z.grad[0])
        return torch.stack(moved).detach()

    def vector_jacobian(denoise, x_t, t, x_s, A, y, zeta):
        x0_hat, pull = torch.func.vjp(lambda z: denoise(z, t), x_t)
        miss = y - x0_hat @ A.T
        unit = miss / miss.norm(dim=1, keepdim=True)
        return x_s + 2 * zeta * pull(unit @ A)[0]

    def einsum(denoise, x_t, t, x_s, A, y, zeta):
        z = x_t.clone().requires_grad_()
        miss = y - torch.einsum("md,bd->bm", A, denoise(z, t))
        square = torch.einsum("bm,bm->b", miss, miss)
        (gradient,) = torch.autograd.grad(square, z, torch.ones_like(square))
        return x_s - torch.einsum("b,bd->bd", zeta * square.detach().rsqrt(), gradient)

    return point_by_point, vector_jacobian, einsum


def blur_forms():
    def convolutions(x, y):
        kernel = torch.full((1, 1, 1, 5), 0.2, dtype=x.dtype)
        back = functional.conv_transpose2d(y, kernel)[..., : y.shape[-1]]
        return functional.conv2d(functional.pad(x, (0, 4)), kernel), back

    def pooling(x, y):
        Ax = functional.avg_pool2d(functional.pad(x, (0, 4)), (1, 5), stride=1)
        return Ax, functional.avg_pool2d(functional.pad(y.flip(-1), (0, 4)), (1, 5), stride=1).flip(-1)

    def by_autograd(x, y):
        def forward(x):
            return functional.pad(x, (0, 4)).unfold(-1, 5, 1).sum(dim=-1) / 5

        return forward(x), torch.func.vjp(forward, x)[1](y)[0]

    def running_sums(x, y):
        def behind(z):
            total = functional.pad(z, (5, 0)).cumsum(dim=-1)
            return (total[..., 5:] - total[..., :-5]) / 5

        return behind(x.flip(-1)).flip(-1), behind(y)

    return convolutions, pooling, by_autograd, running_sums


def covariance_forms():
    def autograd_functional(denoise, path, x_t, t):
        rows = [torch.autograd.functional.jacobian(lambda p: denoise(p[None], t)[0], point) for point in x_t]
        return torch.stack(rows) * (path.sigma(t) ** 2 / path.alpha(t))

    def forward_mode(denoise, path, x_t, t):
        J = torch.func.vmap(torch.func.jacfwd(lambda p: denoise(p[None], t).squeeze(0)))(x_t)
        return J * torch.exp(-path.log_snr(t)) * path.alpha(t)

    def differences(denoise, path, x_t, t):
        h, columns = 1e-5, []
        for i in range(x_t.shape[1]):
            step = torch.zeros_like(x_t)
            step[:, i] = h
            columns.append((denoise(x_t + step, t) - denoise(x_t - step, t)) / (2 * h))
        return torch.stack(columns, dim=2) * path.sigma(t) ** 2 / path.alpha(t)

    return autograd_functional, forward_mode, differences


def guided_forms():
    def by_precisions(rho, y, std, path, times):
        one, a = torch.eye(2, dtype=torch.float64), torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        prior = one + rho * (1 - one)
        mean, C = torch.zeros(2, 1, dtype=torch.float64), one * path.sigma(times[0]) ** 2
        for t, s in itertools.pairwise(times):
            snr = path.log_snr(t).exp()
            G = torch.linalg.inv(torch.linalg.inv(prior) + snr * one) * snr / path.alpha(t)
            gain = G.T @ a / (1 / (1 + snr) + std**2) * path.alpha(t) / snr
            still, variance = path.posterior(torch.zeros(1, 2, dtype=torch.float64), (gain * y).T, t, s)
            unit, _ = path.posterior(one, (G - gain @ a.T @ G).T, t, s)
            mean = unit.T @ mean + still.T
            C = unit.T @ C @ unit + variance * one
        return mean[:, 0], C

    def with_one_more_coordinate(rho, y, std, path, times):
        one = torch.eye(2, dtype=torch.float64)
        second = torch.zeros(3, 3, dtype=torch.float64)  # of (x, 1)
        second[:2, :2] = one * path.sigma(times[0]) ** 2
        second[2, 2] = 1
        for k in range(len(times) - 1):
            t, s = times[k], times[k + 1]
            alpha, sigma = path.alpha(t), path.sigma(t)
            prior = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
            G = torch.linalg.solve(alpha**2 * prior + sigma**2 * one, alpha * prior)
            gain = sigma**2 / alpha * G[1] / (sigma**2 / (alpha**2 + sigma**2) + std**2)
            affine = torch.cat([G - gain[:, None] * G[1], (gain * y)[:, None]], dim=1)
            factor, w = path.transition(t, s)
            F = torch.zeros(3, 3, dtype=torch.float64)
            F[:2] = path.alpha(s) * w / sigma**2 * affine
            F[:2, :2] += factor * path.sigma(s) ** 2 / sigma**2 * one
            F[2, 2] = 1
            second = F @ second @ F.T
            second[:2, :2] += w * path.sigma(s) ** 2 / sigma**2 * one
        return second[:2, 2], second[:2, :2] - torch.outer(second[:2, 2], second[:2, 2])

    return by_precisions, with_one_more_coordinate


def number_forms():
    def in_numpy(log_w):
        w = np.exp(log_w.numpy() - float(log_w.mean()))
        return float(w.sum() ** 2 / (w @ w))

    def by_log_sum_exp(log_w):
        return (2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0)).exp()

    def a_loop(log_w):
        top = max(log_w.tolist())
        w = [math.exp(value - top) for value in log_w.tolist()]
        return sum(w) ** 2 / sum(value**2 for value in w)

    return in_numpy, by_log_sum_exp, a_loop


FORMS = [
    *[("gaussian_posterior", form) for form in posterior_forms()],
    *[("replace_known", form) for form in replace_forms()],
    *[("dps_step", form) for form in dps_forms()],
    *[("motion_blur", form) for form in blur_forms()],
    *[("x0_covariance", form) for form in covariance_forms()],
    *[("follow_guided", form) for form in guided_forms()],
    *[("effective_number", form) for form in number_forms()],
]


def right(name):
    return BY_NAME[name].solution


def wrong(name, place):
    return BY_NAME[name].wrong[place].answer


def twice_the_covariance(mean, C, A, y, std):
    mu, after = right("gaussian_posterior")(mean, C, A, y, std)
    return mu, 2 * after


def half_the_noise(mean, C, A, y, std):
    return right("gaussian_posterior")(mean, C, A, y, std / 2)


def two_posterior_mistakes(mean, C, A, y, std):  # std for the variance, and the mean lost
    mu, after = wrong("gaussian_posterior", 0)(mean, C, A, y, std)
    return mu - mean, after


def twice_the_noise(x, y, known, path, t, s, z):
    return right("replace_known")(x, y, known, path, t, s, 2 * z)


def variance_of_both(x, y, known, path, t, s, z):
    return torch.where(known, path.alpha(s) ** 2 * y + path.sigma(s) ** 2 * z, x)


def two_replace_mistakes(x, y, known, path, t, s, z):  # upside down, and the noise of t
    return torch.where(known, x, path.alpha(t) * y + path.sigma(t) * z)


def dps_thrice(denoise, x_t, t, x_s, A, y, zeta):
    return right("dps_step")(denoise, x_t, t, x_s, A, y, 3 * zeta)


def two_dps_mistakes(denoise, x_t, t, x_s, A, y, zeta):  # uphill, and the gradient of the length
    return 2 * x_s - wrong("dps_step", 0)(denoise, x_t, t, x_s, A, y, zeta)


def both_twice(x, y):
    return tuple(2 * part for part in right("motion_blur")(x, y))


def two_blur_mistakes(x, y):  # along the columns, and not averaged
    return tuple(5 * part for part in wrong("motion_blur", -1)(x, y))


def six_pixels(x, y):
    Ax = functional.pad(x, (0, 5)).unfold(-1, 6, 1).mean(dim=-1)
    return Ax, functional.pad(y, (5, 0)).unfold(-1, 6, 1).mean(dim=-1)


def covariance_twice(denoise, path, x_t, t):
    return 2 * right("x0_covariance")(denoise, path, x_t, t)


def two_covariance_mistakes(denoise, path, x_t, t):  # alpha missing, and transposed
    return wrong("x0_covariance", 0)(denoise, path, x_t, t).mT


def guided_with_another_noise(rho, y, std, path, times):
    return right("follow_guided")(rho, y, 2 * std, path, times)


def guided_one_step_short(rho, y, std, path, times):
    return right("follow_guided")(rho, y, std, path, times[:-1])


UNKNOWN = {
    "gaussian_posterior": [twice_the_covariance, half_the_noise, two_posterior_mistakes],
    "replace_known": [twice_the_noise, variance_of_both, two_replace_mistakes],
    "dps_step": [dps_thrice, two_dps_mistakes],
    "motion_blur": [both_twice, two_blur_mistakes, six_pixels],
    "x0_covariance": [covariance_twice, two_covariance_mistakes],
    "follow_guided": [guided_with_another_noise, guided_one_step_short],
    "effective_number": [
        lambda log_w: 2 * right("effective_number")(log_w),
        lambda log_w: right("effective_number")(2 * log_w),
        lambda log_w: torch.tensor(float(len(log_w))),
    ],
}
