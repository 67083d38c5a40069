"""Notebook 14: right answers in unusual forms, and wrong ones that are in no list."""

import math

import torch

from minidiff.checks.n14 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def wrong(name, mistake):
    """The known wrong answer of this name."""
    (found,) = (wrong.answer for wrong in BY_NAME[name].wrong if wrong.name == mistake)
    return found


def classifier_forms():
    def point_by_point(x0_hat, x_t, logits, y, alpha, sigma, w):
        rows = []
        for i, label in enumerate(y.tolist()):
            x = x_t[i : i + 1].clone().requires_grad_()
            z = logits(x)[0]
            (z[label] - z.logsumexp(0)).backward()
            rows.append(x0_hat[i] + w * sigma**2 * x.grad[0] / alpha)
        return torch.stack(rows)

    def gathered(x0_hat, x_t, logits, y, alpha, sigma, w):
        with torch.enable_grad():
            x = x_t.clone().requires_grad_(True)
            torch.log_softmax(logits(x), 1).gather(1, y[:, None]).sum().backward()
        return x0_hat + x.grad * (w * sigma * sigma / alpha)

    def by_eps(x0_hat, x_t, logits, y, alpha, sigma, w):
        eps = (x_t - alpha * x0_hat) / sigma
        one_hot = torch.nn.functional.one_hot(y, logits(x_t).shape[1]).to(x_t.dtype)
        gradient = torch.func.grad(lambda x: (logits(x).softmax(1).log() * one_hot).sum())(x_t)
        return (x_t - sigma * (eps - w * sigma * gradient)) / alpha

    def differences(x0_hat, x_t, logits, y, alpha, sigma, w):
        def value(x):
            return torch.log_softmax(logits(x), 1)[torch.arange(len(y)), y]

        x, h = x_t.double(), 1e-5
        slopes = [(value(x + h * e) - value(x - h * e)) / (2 * h) for e in torch.eye(x.shape[1], dtype=x.dtype)]
        return (x0_hat + w * sigma**2 / alpha * torch.stack(slopes, dim=1)).to(x_t.dtype)

    return point_by_point, gathered, by_eps, differences


def guide_forms():
    def lerp(cond, uncond, w):
        return torch.lerp(uncond, cond, w)

    def paper_weight(cond, uncond, w):
        paper = w - 1
        return (1 + paper) * cond - paper * uncond

    def einsum(cond, uncond, w):
        return torch.einsum("k,k...->...", torch.tensor([w, 1 - w], dtype=cond.dtype), torch.stack([cond, uncond]))

    return lerp, paper_weight, einsum


def tilted_forms():
    def completed_square(m, v, V, w):
        a, b = 0.5 * (w / v - (w - 1) / V), w * m / v
        return b / (2 * a), 1 / (2 * a)

    def tensors(m, v, V, w):
        powers, precisions = torch.tensor([w, 1 - w]).double(), 1 / torch.tensor([v, V]).double()
        means = torch.tensor([m, 0.0]).double()
        P = (powers * precisions).sum()
        return (powers * precisions * means).sum() / P, 1 / P

    def a_list(m, v, V, w):
        P = w / v - w / V + 1 / V
        return [m * w / (v * P), P**-1]

    return completed_square, tensors, a_list


def drop_forms():
    def one_by_one(y, p, g):
        return torch.tensor([-1 if torch.rand((), generator=g) < p else label for label in y.tolist()])

    def copied(y, p, g):
        y = y.clone()
        y[torch.rand(y.shape, generator=g, dtype=torch.float64) < p] = -1
        return y

    def arithmetic(y, p, g):
        kept = (torch.rand(y.shape, generator=g) >= p).long()
        return y * kept - (1 - kept)

    def by_a_normal_number(y, p, g):
        threshold = math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * p - 1, dtype=torch.float64)))
        return y.masked_fill(torch.randn(len(y), generator=g) < threshold, -1)

    def by_whole_numbers(y, p, g):
        return torch.where(torch.randint(1_000_000, y.shape, generator=g) >= p * 1_000_000, y, -torch.ones_like(y))

    return one_by_one, copied, arithmetic, by_a_normal_number, by_whole_numbers


def within_forms():
    def early_return(cond, uncond, t, low, high, w):
        if t < low or t > high:
            return cond.clone()
        return torch.lerp(uncond, cond, w)

    def arithmetic(cond, uncond, t, low, high, w):
        inside = float(t >= low) * float(t <= high)
        weight = 1 + inside * (w - 1)
        return weight * cond + (1 - weight) * uncond

    return early_return, arithmetic


FORMS = [
    *[("classifier_guided", form) for form in classifier_forms()],
    *[("guide", form) for form in guide_forms()],
    *[("tilted", form) for form in tilted_forms()],
    *[("drop_labels", form) for form in drop_forms()],
    *[("guided_within", form) for form in within_forms()],
]

UNKNOWN = {
    "classifier_guided": [
        lambda x0_hat, *a: x0_hat + 2 * (BY_NAME["classifier_guided"].solution(x0_hat, *a) - x0_hat),
        lambda x0_hat, *a: BY_NAME["classifier_guided"].solution(x0_hat, *a) - x0_hat,
        lambda x0_hat, *a: 2 * x0_hat - wrong("classifier_guided", "softmax for log")(x0_hat, *a),  # two at once
    ],
    "guide": [
        lambda cond, uncond, w: uncond + 2 * w * (cond - uncond),
        lambda cond, uncond, w: uncond + w**2 * (cond - uncond),
        lambda cond, uncond, w: uncond + (1 + w) * (uncond - cond),  # two at once
    ],
    "tilted": [
        lambda m, v, V, w: (m, v),
        lambda m, v, V, w: (0.0, 1 / (w / v + (1 - w) / V)),
        lambda m, v, V, w: (w * m, (1 / (w / v + (1 - w) / V)) ** 0.5),  # two at once
    ],
    "drop_labels": [
        lambda y, p, g: y.masked_fill(torch.rand(y.shape, generator=g) < p**2, -1),
        lambda y, p, g: y.masked_fill(torch.rand(y.shape, generator=g) < p, -2),
        lambda y, p, g: y.masked_fill(torch.rand(y.shape, generator=g) > p, 0),  # two at once
    ],
    "guided_within": [
        lambda cond, uncond, t, low, high, w: cond + w * (cond - uncond) * (low <= t <= high) + 1,
        lambda cond, uncond, t, low, high, w: uncond + (w if low <= t <= high else 2) * (cond - uncond),
        lambda cond, uncond, t, low, high, w: uncond + (0 if low <= t <= high else w) * (cond - uncond),
    ],
}
