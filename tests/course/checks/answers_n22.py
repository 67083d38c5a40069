"""Notebook 22: right answers in unusual forms, and wrong ones that are in no list."""

import itertools

import numpy as np
import torch
from torch.nn import functional

from minidiff import discrete
from minidiff.checks.n22 import EXERCISES
from tests.course.checks.known import answers_of

solution, wrong = answers_of(EXERCISES)


def reverse_forms():
    def the_package(table, x_t, a_t, a_s):
        path = discrete.uniform(table.shape[1])
        return path.step(x_t[None], table[None], torch.tensor(1 - a_t), torch.tensor(1 - a_s))[0]

    def by_einsum(table, x_t, a_t, a_s):
        V = table.shape[1]
        q = [a * np.eye(V) + (1 - a) / V for a in (a_s, a_t / a_s, a_t)]
        joint = q[0][:, :, None] * q[1][None] / q[2][:, None, :]  # (x0, x_s, x_t)
        return torch.from_numpy(np.einsum("lv,vul->lu", table.numpy(), joint[:, :, x_t.numpy()]))

    return the_package, by_einsum


def profile_forms():
    def with_scatter(marginals, x0, order, V):
        out = []
        for m in range(x0.shape[1]):
            hidden = torch.ones_like(x0, dtype=torch.bool).scatter(1, order[:, :m], False)
            likelihood = functional.one_hot(x0, V).double().masked_fill(hidden[..., None], 1 / V)  # any constant
            p = marginals(likelihood)
            entropy = -torch.xlogy(p, p).sum(-1)
            out.append((entropy * hidden).sum() / hidden.sum())
        return torch.stack(out)

    def categorical(marginals, x0, order, V):
        ranks = order.argsort(1)
        likelihoods = [torch.where((ranks < m)[..., None], torch.eye(V).double()[x0], 2.0) for m in range(x0.shape[1])]
        entropies = [torch.distributions.Categorical(marginals(one)).entropy() for one in likelihoods]
        return torch.stack([e[ranks >= m].mean() for m, e in enumerate(entropies)])

    return with_scatter, categorical


def error_forms():
    def the_package(f, sizes):
        return discrete.factorisation_error(f, sizes)

    def with_numpy(f, sizes):
        begins = np.cumsum([0, *sizes[:-1]])
        return float(np.dot(sizes, f.numpy()[begins]) - f.numpy().sum())

    def repeated(f, sizes):
        sizes = torch.tensor(sizes)
        return (f[sizes.cumsum(0) - sizes].repeat_interleave(sizes) - f).sum()

    return the_package, with_numpy, repeated


def loss_forms():
    def flat(logits, x0, hidden):
        B, L, V = logits.shape
        surprise = functional.cross_entropy(logits.reshape(-1, V), x0.reshape(-1), reduction="none").reshape(B, L)
        return surprise.masked_fill(~hidden, 0).sum(-1) / hidden.float().sum(-1)

    def nll(logits, x0, hidden):
        log_p = logits - logits.logsumexp(-1, keepdim=True)
        right = (log_p * functional.one_hot(x0, logits.shape[-1])).sum(-1)
        return torch.stack([-right[i, hidden[i]].mean() for i in range(len(x0))])

    def with_l_over_m(logits, x0, hidden):
        per_word = -torch.distributions.Categorical(logits=logits).log_prob(x0)
        L = x0.shape[1]
        return (per_word * hidden * (L / hidden.sum(1, keepdim=True))).mean(1)

    return flat, nll, with_l_over_m


def least_forms():
    def the_package(f, steps):
        return discrete.factorisation_error(f, discrete.best_sizes(f, steps))

    def try_all(f, steps):
        ends = itertools.combinations(range(1, len(f)), steps - 1)
        totals = []
        for cut in ends:
            begin, end = [0, *cut], [*cut, len(f)]
            totals.append(sum((e - b) * f[b].item() for b, e in zip(begin, end, strict=True)))
        return torch.tensor(min(totals) - f.sum().item())

    return the_package, try_all


FORMS = [
    *[("reverse_probabilities", form) for form in reverse_forms()],
    *[("profile", form) for form in profile_forms()],
    *[("factorisation_error", form) for form in error_forms()],
    *[("masked_loss", form) for form in loss_forms()],
    *[("least_error", form) for form in least_forms()],
]


UNKNOWN = {
    "reverse_probabilities": [
        lambda table, x_t, a_t, a_s: 2 * solution("reverse_probabilities")(table, x_t, a_t, a_s),
        lambda table, x_t, a_t, a_s: solution("reverse_probabilities")(table.flip(1), x_t, a_t, a_s),
        lambda table, x_t, a_t, a_s: wrong("reverse_probabilities", "x_t is not used")(table, x_t, a_t, a_s).sqrt(),
    ],
    "profile": [
        lambda marginals, x0, order, V: 3 * solution("profile")(marginals, x0, order, V),
        lambda marginals, x0, order, V: solution("profile")(marginals, x0, order.flip(1), V) ** 2,
        lambda marginals, x0, order, V: wrong("profile", "prefixes")(marginals, x0, order, V) + 1,
    ],
    "factorisation_error": [
        lambda f, sizes: 3 * solution("factorisation_error")(f, sizes),
        lambda f, sizes: solution("factorisation_error")(f**2, sizes),
        lambda f, sizes: float(f[0]) + 7,
    ],
    "masked_loss": [
        lambda logits, x0, hidden: 7 * solution("masked_loss")(logits, x0, hidden),
        lambda logits, x0, hidden: solution("masked_loss")(logits, x0.roll(1, 1), hidden) + 0.3,
        lambda logits, x0, hidden: wrong("masked_loss", "a sum")(logits, x0, hidden) ** 2,
    ],
    "least_error": [
        lambda f, steps: 2 * solution("least_error")(f, steps),
        lambda f, steps: solution("least_error")(f**2, steps),
    ],
}
