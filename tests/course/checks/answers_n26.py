"""Notebook 26: right answers in unusual forms, and wrong ones that are in no list."""

import math

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch.nn.functional import logsigmoid

from minidiff import rivals
from minidiff.checks.n26 import EXERCISES
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)


def coupling_forms():
    def addcmul(b, s, shift):
        return torch.addcmul(shift, b, torch.exp(s)), torch.einsum("bm->b", s)

    def by_autograd(b, s, shift):
        move = lambda row, k, m: row * k.exp() + m  # noqa: E731
        jacobian = torch.func.vmap(torch.func.jacrev(move))(b, s, shift)
        return move(b, s, shift), torch.linalg.det(jacobian).abs().log()

    def row_by_row(b, s, shift):
        z = torch.stack([x * torch.exp(k) + m for x, k, m in zip(b, s, shift, strict=True)])
        return z, torch.stack([torch.exp(k).prod().log() for k in s])

    return addcmul, by_autograd, row_by_row


def mixture_forms():
    def the_package(logits, means, log_stds, x):
        return rivals.mixture_log_prob(logits, means, log_stds, x)

    def with_scipy(logits, means, log_stds, x):
        parts = norm.logpdf(x.numpy()[:, None], means.numpy(), np.exp(log_stds.numpy()))
        weights = logits.numpy() - logsumexp(logits.numpy(), axis=1, keepdims=True)
        return torch.from_numpy(logsumexp(weights + parts, axis=1))

    def unnormalised(logits, means, log_stds, x):
        """Divide by the sum of the weights at the end."""
        parts = -0.5 * ((x[:, None] - means) * torch.exp(-log_stds)) ** 2 - log_stds
        total = torch.logsumexp(logits + parts, 1) - torch.logsumexp(logits, 1)
        return total - math.log(math.sqrt(2 * math.pi))

    return the_package, with_scipy, unnormalised


def bound_forms():
    def with_scipy(log_joint, log_q):
        return torch.from_numpy(logsumexp((log_joint - log_q).numpy(), axis=0, b=1 / len(log_q)))

    def one_after_the_other(log_joint, log_q):
        total = log_joint[0] - log_q[0]
        for joint, q in zip(log_joint[1:], log_q[1:], strict=True):
            total = torch.logaddexp(total, joint - q)
        return total - math.log(len(log_q))

    return with_scipy, one_after_the_other


def window_forms():
    def in_place(good, wrong, x_t, t, low, high):
        out = good(x_t, t).clone()
        inside = ~((t <= low) | (t > high))
        out[inside] = wrong(x_t, t)[inside]
        return out

    def the_parts_alone(good, wrong, x_t, t, low, high):
        out = torch.empty_like(x_t)
        inside = (low < t) * (t <= high)
        for rows, rule in ((inside, wrong), (~inside, good)):
            if rows.any():
                out[rows] = rule(x_t[rows], t[rows])
        return out

    return in_place, the_parts_alone


def loss_forms():
    def with_logsigmoid(of_real, of_fake):
        return -(logsigmoid(of_real).mean() + logsigmoid(-of_fake).mean()), -logsigmoid(of_fake).mean()

    def with_probabilities(of_real, of_fake):
        p, q = torch.sigmoid(of_real), torch.sigmoid(of_fake)
        return -(p.log() + (1 - q).log()).mean(), -q.log().mean()

    return with_logsigmoid, with_probabilities


FORMS = [
    *[("coupling", form) for form in coupling_forms()],
    *[("mixture_log_prob", form) for form in mixture_forms()],
    *[("importance_bound", form) for form in bound_forms()],
    *[("window", form) for form in window_forms()],
    *[("losses", form) for form in loss_forms()],
]


def scaled(name, factor=2):
    """The right answer, times a factor."""

    def answer(*args):
        out = solution(name)(*args)
        return tuple(factor * part for part in out) if isinstance(out, tuple) else factor * out

    return answer


UNKNOWN = {
    "coupling": [
        scaled("coupling"),
        lambda b, s, shift: (b * (2 * s).exp() + shift, 2 * s.sum(1)),
        lambda b, s, shift: (b * s.exp() - shift, s.sum(1)),
    ],
    "mixture_log_prob": [
        scaled("mixture_log_prob"),
        lambda logits, means, log_stds, x: solution("mixture_log_prob")(-logits, means, log_stds, x),
        lambda logits, means, log_stds, x: solution("mixture_log_prob")(logits, means, -log_stds, x),
    ],
    "importance_bound": [
        scaled("importance_bound"),
        lambda log_joint, log_q: solution("importance_bound")(log_joint[:1], log_q[:1]),
        lambda log_joint, log_q: wrong("importance_bound", "mean of the logarithms")(log_joint, 2 * log_q),
    ],
    "window": [
        scaled("window"),
        lambda good, wrong, x_t, t, low, high: solution("window")(good, wrong, x_t, t + 0.1, low, high),
        lambda good, wrong, x_t, t, low, high: good(x_t, t),
    ],
    "losses": [
        scaled("losses"),
        lambda of_real, of_fake: solution("losses")(of_real + 1, of_fake),
        lambda of_real, of_fake: tuple(part + 0.3 for part in solution("losses")(of_real, of_fake)),
    ],
}
