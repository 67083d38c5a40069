"""Notebook 24: right answers in unusual forms, and wrong ones that are in no list."""

import math

import numpy as np
import torch

from minidiff import planning
from minidiff.checks.n24 import EXERCISES
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)


def smooth_forms():
    def the_package(start, moves, likelihood):
        chain = planning.Chain(torch.zeros(len(start), 1).double(), moves, start, torch.zeros_like(likelihood))
        return planning.smooth(chain, likelihood.log()[None]).posterior[0]

    def in_logs(start, moves, likelihood):
        logs, f = likelihood.log(), [start.log() + likelihood[0].log()]
        for row in logs[1:]:
            f.append(torch.logsumexp(f[-1][:, None] + moves.log(), dim=0) + row)
        b = [torch.zeros_like(start)]
        for row in logs[1:].flip(0):
            b.insert(0, torch.logsumexp(moves.log() + (row + b[0])[None, :], dim=1))
        return torch.softmax(torch.stack(f) + torch.stack(b), dim=1)

    def normalised_on_the_way(start, moves, likelihood):
        a = start * likelihood[0]
        forward = [a / a.sum()]
        for row in likelihood[1:]:
            a = torch.einsum("i,ij,j->j", forward[-1], moves, row)
            forward.append(a / a.sum())
        found = [forward[-1]]
        for before in forward[-2::-1]:  # Rauch-Tung-Striebel: no backward likelihoods at all
            joint = before[:, None] * moves
            found.insert(0, (joint / joint.sum(0) * found[0]).sum(1))
        return torch.stack(found)

    return the_package, in_logs, normalised_on_the_way


def policy_forms():
    def as_one_division(moves, goal, H, k):
        later = torch.linalg.matrix_power(moves, H - 2 - k)
        return moves * later[:, goal] / (moves @ later)[:, goal].unsqueeze(1)

    def with_numpy(moves, goal, H, k):
        h = np.linalg.matrix_power(moves.numpy(), H - 2 - k)[:, goal]
        policy = moves.numpy() * h[None]
        return torch.from_numpy(policy / policy.sum(1, keepdims=True))

    return as_one_division, with_numpy


def push_forms():
    def with_expm1(p, lam):
        return torch.log1p(p * math.expm1(lam))

    def with_logaddexp(p, lam):
        return torch.logaddexp((1 - p).log(), p.log() + lam)

    return with_expm1, with_logaddexp


def arrival_forms():
    def products(moves, start, goal, H):
        power = torch.eye(len(moves), dtype=moves.dtype)
        for _ in range(1, H):
            power = power @ moves
        return power[start, goal]

    def a_number(moves, start, goal, H):
        values, vectors = np.linalg.eig(moves.numpy())
        power = vectors @ np.diag(values ** (H - 1)) @ np.linalg.inv(vectors)
        return torch.tensor(power[start, goal].real)

    return products, a_number


def stitch_forms():
    def padded(first, second, middle):
        more = first.shape[2] - middle.shape[2]
        pad = torch.nn.functional.pad
        return pad(first, (0, more)) + pad(second, (more, 0)) - pad(middle, (more, more))

    def in_place(first, second, middle):
        o = middle.shape[2]
        second = second.clone()
        second[:, :, :o] += first[:, :, first.shape[2] - o :] - middle
        return torch.cat((first[:, :, : first.shape[2] - o], second), -1)

    return padded, in_place


FORMS = [
    *[("smooth", form) for form in smooth_forms()],
    *[("bridge_policy", form) for form in policy_forms()],
    *[("needed_push", form) for form in push_forms()],
    *[("arrival_probability", form) for form in arrival_forms()],
    *[("stitch", form) for form in stitch_forms()],
]


UNKNOWN = {
    "smooth": [
        lambda start, moves, likelihood: solution("smooth")(start, moves, likelihood).sqrt(),
        lambda start, moves, likelihood: solution("smooth")(start, moves, likelihood**2),
        lambda start, moves, likelihood: solution("smooth")(start, moves, likelihood).flip(0),
    ],
    "bridge_policy": [
        lambda moves, goal, H, k: solution("bridge_policy")(moves, (goal + 1) % len(moves), H, k),
        lambda moves, goal, H, k: solution("bridge_policy")(moves, goal, H, k) @ moves,
    ],
    "needed_push": [
        lambda p, lam: solution("needed_push")(p, 2 * lam),
        lambda p, lam: -solution("needed_push")(p, lam),
        lambda p, lam: solution("needed_push")(p, lam) / lam,
    ],
    "arrival_probability": [
        lambda moves, start, goal, H: 1 - solution("arrival_probability")(moves, start, goal, H),
        lambda moves, start, goal, H: solution("arrival_probability")(moves, start, goal, H) ** 2,
    ],
    "stitch": [
        lambda first, second, middle: 2 * solution("stitch")(first, second, middle),
        lambda first, second, middle: solution("stitch")(second, first, middle),
    ],
}
