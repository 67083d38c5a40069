"""Notebook 11: right answers in unusual forms, and wrong ones that are in no list."""

import numpy as np
import torch
from scipy.linalg import sqrtm
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from minidiff.checks.n11 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def energy_forms():
    def with_scipy(x, y):
        a, b = x.numpy(), y.numpy()
        return 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()

    def by_signs_over_the_pool(x, y):
        pool = torch.cat([x, y])
        signs = torch.cat([torch.full((len(x),), 1 / len(x)), torch.full((len(y),), -1 / len(y))]).to(x.dtype)
        return -(signs @ torch.cdist(pool, pool) @ signs)

    def with_different_pairs_only(x, y):
        n, m = len(x), len(y)
        within = 2 * torch.pdist(x).sum() / n**2 + 2 * torch.pdist(y).sum() / m**2
        return float(2 * torch.cdist(x, y).mean() - within)

    return with_scipy, by_signs_over_the_pool, with_different_pairs_only


def frechet_forms():
    def with_scipy(x, y):
        a, b = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
        shift = (x.mean(0) - y.mean(0)).numpy()
        return shift @ shift + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))

    def by_singular_values(x, y):
        p = (x - x.mean(0)) / (len(x) - 1) ** 0.5
        q = (y - y.mean(0)) / (len(y) - 1) ** 0.5
        gap = torch.dist(x.mean(0), y.mean(0)) ** 2
        return gap + p.square().sum() + q.square().sum() - 2 * torch.linalg.matrix_norm(p @ q.T, "nuc")

    def with_cholesky(x, y):
        a, b = x.T.cov(), y.T.cov()
        factor = torch.linalg.cholesky(a)
        roots = torch.linalg.eigvalsh(factor.T @ b @ factor).clamp(min=0).sqrt()
        return (x.mean(0) - y.mean(0)).square().sum() + torch.trace(a + b) - 2 * roots.sum()

    return with_scipy, by_singular_values, with_cholesky


def precision_forms():
    def with_trees(x, y, k):
        a, b = x.numpy(), y.numpy()

        def covered(points, centres):
            reach = KDTree(centres).query(centres, k + 1)[0][:, k]
            return float((cdist(points, centres) <= reach[None]).any(1).mean())

        return covered(a, b), covered(b, a)

    def with_topk(x, y, k):
        def radii(z):
            table = torch.cdist(z, z).fill_diagonal_(float("inf"))
            return table.topk(k, largest=False).values[:, -1]

        across = (x[:, None] - y[None]).norm(dim=-1)
        inside_y, inside_x = across - radii(y) <= 0, across.T - radii(x) <= 0
        return inside_y.any(1).float().mean(), inside_x.any(1).float().mean()

    return with_trees, with_topk


def nearer_forms():
    def with_trees(x, train, test):
        return float((KDTree(train.numpy()).query(x.numpy())[0] < KDTree(test.numpy()).query(x.numpy())[0]).mean())

    def one_by_one(x, train, test):
        count = 0
        for point in x:
            count += bool((train - point).square().sum(1).min() < (test - point).square().sum(1).min())
        return count / len(x)

    return with_trees, one_by_one


FORMS = [
    *[("energy_distance", form) for form in energy_forms()],
    *[("frechet", form) for form in frechet_forms()],
    *[("precision_recall", form) for form in precision_forms()],
    *[("nearer_to_training", form) for form in nearer_forms()],
]


def right(name, *args):
    return BY_NAME[name].solution(*args)


UNKNOWN = {
    "energy_distance": [
        lambda x, y: right("energy_distance", x, y) ** 2,
        lambda x, y: right("energy_distance", x, y) / torch.cdist(x, y).mean(),
        lambda x, y: (x.mean(0) - y.mean(0)).norm(),
    ],
    "frechet": [
        lambda x, y: right("frechet", x, y) / x.shape[1],
        lambda x, y: right("frechet", x, 2 * y),
        lambda x, y: (x.T.cov() - y.T.cov()).square().sum(),
    ],
    "precision_recall": [
        lambda x, y, k: (right("precision_recall", x, y, k)[0], right("precision_recall", x, y, k)[0]),
        lambda x, y, k: right("precision_recall", 2 * x, y, k),
        lambda x, y, k: tuple(1 - one for one in right("precision_recall", x, y, k)),
    ],
    "nearer_to_training": [
        lambda x, train, test: right("nearer_to_training", x, train, test) ** 2,
        lambda x, train, test: right("nearer_to_training", train, x, test),
    ],
}
