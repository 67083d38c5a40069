"""Notebook 30: right answers in unusual forms, and wrong ones that are in no list."""

import math

import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression

from minidiff.checks.n30 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def permutation_forms():
    def by_labels(x, y, distance, times, g):
        pool, labels = torch.cat([y, x]), torch.arange(len(x) + len(y)) >= len(y)
        given = distance(pool[labels], pool[~labels])
        values = []
        for _ in range(times):
            shuffled = labels[torch.randperm(len(labels), generator=g)]
            values.append(distance(pool[shuffled], pool[~shuffled]))
        return torch.tensor(float(1 + (torch.stack(values) >= given).sum()) / (times + 1))

    def shuffled_again_and_again(x, y, distance, times, g):
        given, pool, count = distance(x, y), torch.cat([x, y]), 1
        for _ in range(times):
            pool = pool[torch.randperm(len(pool), generator=g)]
            if not distance(pool[: len(x)], pool[-len(y) :]) < given:
                count += 1
        return count / (times + 1)

    def with_numpy(x, y, distance, times, g):
        rng = np.random.default_rng(int(torch.randint(2**31, (), generator=g)))
        pool, n = torch.cat([x, y]), len(x)
        orders = [torch.from_numpy(rng.permutation(len(pool))) for _ in range(times)]
        found = np.array([float(distance(pool[order[:n]], pool[order[n:]])) for order in orders])
        return (np.sum(found >= float(distance(x, y))) + 1) / (times + 1)

    def by_chosen_places(x, y, distance, times, g):
        pool, n = torch.vstack([x, y]), x.shape[0]
        hits = 0
        for _ in range(times):
            chosen = torch.multinomial(torch.ones(len(pool)), n, generator=g)
            rest = torch.ones(len(pool), dtype=torch.bool)
            rest[chosen] = False
            hits += bool(distance(pool[chosen], pool[rest]) >= distance(x, y))
        return np.float64(hits + 1) / (times + 1)

    return by_labels, shuffled_again_and_again, with_numpy, by_chosen_places


def logistic_forms():
    def with_signs(x, y):
        n, m = x.shape[0] // 2, y.shape[0] // 2
        sign = np.concatenate([np.ones(n), -np.ones(m)])
        model = LogisticRegression().fit(np.vstack([x[:n].numpy(), y[:m].numpy()]), sign)
        height = model.decision_function(np.vstack([x[n:].numpy(), y[m:].numpy()]))
        return np.mean(np.sign(height) == sign)

    def by_counting(x, y):
        (a, b), (c, d) = torch.tensor_split(x, 2), torch.tensor_split(y, 2)
        model = LogisticRegression(max_iter=1000)
        model.fit(torch.cat([a, c]).numpy(), ["generated"] * len(a) + ["real"] * len(c))
        hits = sum(model.predict(b.numpy()) == "generated") + sum(model.predict(d.numpy()) == "real")
        return int(hits) / (len(b) + len(d))

    return with_signs, by_counting


def mmd_forms():
    def with_scipy(x, y, b):
        def kernel(p, q):
            return np.exp(-cdist(p, q, "sqeuclidean") / (2 * b**2))

        x, y = x.numpy(), y.numpy()
        within = [kernel(z, z)[~np.eye(len(z), dtype=bool)].mean() for z in (x, y)]
        return within[0] + within[1] - 2 * kernel(x, y).mean()

    def by_signs_over_the_pool(x, y, b):
        pool, n, m = torch.cat([x, y]), len(x), len(y)
        table = (-(torch.cdist(pool, pool) ** 2) / (2 * b**2)).exp().fill_diagonal_(0)
        return float(
            table[:n, :n].sum() / n / (n - 1) + table[n:, n:].sum() / m / (m - 1) - 2 * table[:n, n:].sum() / n / m
        )

    return with_scipy, by_signs_over_the_pool


def scales_forms():
    def by_broadcasting(distance, bandwidths):
        b = torch.tensor(bandwidths, dtype=distance.dtype)
        return torch.exp(-0.5 * (distance[..., None] / b) ** 2).mean(dim=-1)

    def with_reciprocals(distance, bandwidths):
        squares = distance**2
        return sum(math.e ** (-squares / (2 * b * b)) for b in bandwidths) / len(bandwidths)

    return by_broadcasting, with_reciprocals


def smallest_forms():
    def with_torch(p_value, g):
        return torch.tensor([p_value(g) for _ in range(3)]).min()

    def one_after_the_other(p_value, g):
        smallest = 1.0
        for _ in range(3):
            p = p_value(g)
            if p < smallest:
                smallest = p
        return smallest

    def with_numpy(p_value, g):
        return np.min([p_value(g), p_value(g), p_value(g)])

    def nested(p_value, g):
        return min(p_value(g), min(p_value(g), p_value(g)))

    return with_torch, one_after_the_other, with_numpy, nested


FORMS = [
    *[("permutation_p", form) for form in permutation_forms()],
    *[("logistic_accuracy", form) for form in logistic_forms()],
    *[("mmd", form) for form in mmd_forms()],
    *[("kernel_of_many_scales", form) for form in scales_forms()],
    *[("smallest_of_three", form) for form in smallest_forms()],
]


def right(name, *args):
    return BY_NAME[name].solution(*args)


UNKNOWN = {
    "permutation_p": [
        lambda x, y, distance, times, g: right("permutation_p", x, y, distance, times, g) ** 2,
        lambda x, y, distance, times, g: right("permutation_p", x, y, distance, times, g) / 3,
    ],
    "logistic_accuracy": [
        lambda x, y: right("logistic_accuracy", x, y) ** 2,
        lambda x, y: right("logistic_accuracy", x, y) / 2,
    ],
    "mmd": [
        lambda x, y, b: right("mmd", x, y, b) ** 2,
        lambda x, y, b: right("mmd", x, y, 2 * b),
        lambda x, y, b: right("mmd", x, x + 1, b),
    ],
    "kernel_of_many_scales": [
        lambda distance, bandwidths: 1 - right("kernel_of_many_scales", distance, bandwidths),
        lambda distance, bandwidths: right("kernel_of_many_scales", distance, bandwidths[:1]) ** 0.5,
    ],
    "smallest_of_three": [
        lambda p_value, g: right("smallest_of_three", p_value, g) ** 2,
        lambda p_value, g: min(right("smallest_of_three", p_value, g), p_value(g)),
    ],
}
