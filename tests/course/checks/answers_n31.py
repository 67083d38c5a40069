"""Notebook 31: right answers in unusual forms, and wrong ones that are in no list."""

import torch


def orthogonalise_forms():
    def with_einsum(matrix, a, b, c, steps):
        x = matrix / matrix.square().sum().sqrt()
        for _ in range(steps):
            third = torch.einsum("ij,kj,kl->il", x, x, x)
            fifth = torch.einsum("ij,kj,kl->il", x, x, third)
            x = a * x + b * third + c * fifth
        return x

    def by_recursion(matrix, a, b, c, steps, first=True):
        x = matrix / torch.linalg.norm(matrix) if first else matrix
        if steps == 0:
            return x
        s = x @ x.mT
        return by_recursion((a * torch.eye(len(s), dtype=x.dtype) + b * s + c * (s @ s)) @ x, a, b, c, steps - 1, False)

    return with_einsum, by_recursion


def paired_forms():
    def plain_numbers(row, base):
        logs = torch.log(row / base).numpy()
        return float(logs.mean()), float(logs.std(ddof=1) / len(logs) ** 0.5)

    def by_moments(row, base):
        x = row.log() - base.log()
        n = len(x)
        return x.mean(), (((x**2).mean() - x.mean() ** 2) / (n - 1)).sqrt()

    return plain_numbers, by_moments


def slope_forms():
    def by_dot(x0, guess):
        return torch.dot((x0 - guess).flatten(), guess.flatten()) / torch.linalg.vector_norm(guess) ** 2

    def by_means(x0, guess):
        return float(((x0 - guess) * guess).mean() / guess.square().mean())

    return by_dot, by_means


def polar_forms():
    def with_einsum(matrix):
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        return torch.einsum("ik,kj->ij", u, vh)

    def the_other_root(matrix):
        u, s, _ = torch.linalg.svd(matrix, full_matrices=False)
        return u @ torch.diag(1 / s) @ u.T @ matrix

    return with_einsum, the_other_root


FORMS = [
    *(("orthogonalise", form) for form in orthogonalise_forms()),
    *(("paired", form) for form in paired_forms()),
    *(("slope", form) for form in slope_forms()),
    *(("polar", form) for form in polar_forms()),
]

UNKNOWN = {
    "orthogonalise": [
        lambda matrix, a, b, c, steps: matrix / matrix.norm(),
        lambda matrix, a, b, c, steps: 2 * orthogonalise_forms()[0](matrix, a, b, c, steps),
    ],
    "paired": [
        lambda row, base: ((row / base).log().median(), (row / base).log().std()),
        lambda row, base: ((row - base).mean(), (row - base).std() / len(row) ** 0.5),
    ],
    "slope": [
        lambda x0, guess: 2 * slope_forms()[0](x0, guess),
        lambda x0, guess: ((x0 - guess) ** 2).sum() / (guess**2).sum(),
    ],
    "polar": [
        lambda matrix: -polar_forms()[0](matrix),
        lambda matrix: torch.softmax(matrix, dim=1),
    ],
}
