"""Notebook 28: right answers in unusual forms, and wrong ones that are in no list."""

import numpy as np
import torch

from minidiff.checks.n28 import EXERCISES
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)


def score_forms():
    def from_the_score(denoise, truth, path, x0, eps, times):
        """sigma times the error of the score."""
        found = []
        for t in times:
            a, s = path.alpha(t), path.sigma(t)
            x = a * x0 + s * eps
            scores = [(a * model(x, t) - x) / s**2 for model in (denoise, truth)]
            found.append(s * (scores[0] - scores[1]).square().mean().sqrt())
        return torch.stack(found)

    def filled_in(denoise, truth, path, x0, eps, times):
        found = torch.empty(len(times), dtype=x0.dtype)
        for k, t in enumerate(times):
            x = path.perturb(x0, t.repeat(len(x0)), eps)
            off = (denoise(x, t.repeat(len(x0))) - truth(x, t.repeat(len(x0)))).numpy()
            found[k] = float(np.sqrt((off**2).mean()) * float(path.alpha(t)) / float(path.sigma(t)))
        return found

    return from_the_score, filled_in


def step_forms():
    def with_numpy(own, reference, x, pairs, z):
        return torch.tensor(
            [np.sqrt(np.mean((own(x, t, s, z) - reference(x, t, s, z)).numpy() ** 2)) for t, s in pairs],
            dtype=x.dtype,
        )

    def coordinate_by_coordinate(own, reference, x, pairs, z):
        found = []
        for t, s in pairs:
            gap = own(x, t, s, z.clone()) - reference(x, t, s, z.clone())
            found.append((sum((column @ column for column in gap.T)) / gap.numel()) ** 0.5)
        return torch.stack(found)

    return with_numpy, coordinate_by_coordinate


def ends_forms():
    def with_numpy(x1, start):
        gap = np.sort(x1.numpy(), axis=0) - np.sort(start.numpy(), axis=0)
        return torch.tensor(np.sqrt((gap**2).mean()), dtype=x1.dtype)

    def both_downwards(x1, start):
        a, b = (x.sort(dim=0, descending=True).values for x in (x1, start))
        return torch.linalg.vector_norm(a - b) / x1.numel() ** 0.5

    return with_numpy, both_downwards


def diagnose_forms():
    def bernoulli(rang, chances):
        log_prob = torch.distributions.Bernoulli(probs=chances).log_prob(rang.to(chances)).sum(dim=1)
        return (log_prob - log_prob.logsumexp(dim=0)).exp()

    def one_after_the_other(rang, chances):
        belief = torch.full((len(chances),), 1 / len(chances), dtype=chances.dtype)
        for i, one in enumerate(rang):
            belief = belief * (chances[:, i] if one else 1 - chances[:, i])
            belief = belief / belief.sum()
        return belief

    return bernoulli, one_after_the_other


FORMS = [
    *[("score_by_time", form) for form in score_forms()],
    *[("one_step_difference", form) for form in step_forms()],
    *[("ends_meet", form) for form in ends_forms()],
    *[("diagnose", form) for form in diagnose_forms()],
]

UNKNOWN = {
    "score_by_time": [
        lambda denoise, truth, path, x0, eps, times: (
            2 * solution("score_by_time")(denoise, truth, path, x0, eps, times)
        ),
        lambda denoise, truth, path, x0, eps, times: solution("score_by_time")(denoise, truth, path, x0, -eps, times),
        lambda denoise, truth, path, x0, eps, times: solution("score_by_time")(
            denoise, truth, path, x0, eps, times
        ).flip(0),
    ],
    "one_step_difference": [
        lambda own, reference, x, pairs, z: 2 * solution("one_step_difference")(own, reference, x, pairs, z),
        lambda own, reference, x, pairs, z: solution("one_step_difference")(own, reference, -x, pairs, z),
        lambda own, reference, x, pairs, z: solution("one_step_difference")(own, reference, x, pairs, 2 * z),
    ],
    "ends_meet": [
        lambda x1, start: 2 * solution("ends_meet")(x1, start),
        lambda x1, start: solution("ends_meet")(x1, -start),
        lambda x1, start: solution("ends_meet")(x1[:-1], start[:-1]),
    ],
    "diagnose": [
        lambda rang, chances: solution("diagnose")(rang, chances).sqrt(),
        lambda rang, chances: solution("diagnose")(rang, chances**2),
        lambda rang, chances: solution("diagnose")(rang, chances).flip(0),
    ],
}
