"""Muon: momentum, made orthogonal. Taught in notebook 31. It trains the shipped digit models in place of AdamW.

The momentum of a weight matrix is mostly a few directions. Muon replaces it by a matrix with the same singular vectors
whose singular values are all about 1, so that every direction learns alike. Weights that are no matrices between hidden
layers stay with AdamW.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks",
https://kellerjordan.github.io/posts/muon. PyTorch's own, torch.optim.Muon, takes no convolutions.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["Muon", "muon_for", "orthogonalised"]

# One iteration maps each singular value s to a s + b s^3 + c s^5: small ones grow 3.4 times, and those near 1 stay
# between 0.7 and 1.2. Five iterations bring all but the smallest there. (The post's coefficients.)
A, B, C, ITERATIONS = 3.4445, -4.7750, 2.0315, 5


def orthogonalised(matrix: Tensor) -> Tensor:
    """U V^T, roughly, of a matrix U S V^T: the same singular vectors, singular values about 1. (n, m) -> the same.

    Each iteration multiplies by a polynomial in x x^T. These all commute, so they are gathered on the short side, and
    the long side enters only at the beginning and the end.
    """
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (torch.linalg.matrix_norm(x) + 1e-7)  # singular values at most 1
    square, identity = x @ x.T, torch.eye(len(x), dtype=x.dtype, device=x.device)
    factor = identity
    for _ in range(ITERATIONS):
        step = A * identity + B * square + C * square @ square
        factor, square = step @ factor, step @ square @ step
    x = factor @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(torch.optim.Optimizer):
    """Muon for `hidden`, AdamW for `others`, in one optimizer.

    hidden: weights of two dimensions or more (those of a convolution count as a matrix with a row for each output).
    lr, other_lr: the two learning rates. A learning-rate schedule multiplies both. weight_decay is AdamW's, decoupled.
    Raises ValueError for a hidden weight that is no matrix.
    """

    def __init__(
        self,
        hidden: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        lr: float,
        other_lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.01,
    ):
        hidden, others = list(hidden), list(others)
        for parameter in hidden:
            if parameter.ndim < 2:
                raise ValueError(f"hidden must be matrices or convolutions, but one has shape {tuple(parameter.shape)}")
        super().__init__([{"params": hidden, "lr": lr}, {"params": others, "lr": other_lr}], {})
        self.momentum, self.weight_decay = momentum, weight_decay
        self.adamw = torch.optim.AdamW(others, lr=other_lr, betas=betas, weight_decay=weight_decay, fused=True)
        self.adamw.state = self.state  # so that state_dict() holds both

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.adamw.state = self.state

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """One step of both. `closure` is there for the scheduler's sake and must be None."""
        if closure is not None:
            raise ValueError("closure must be None")
        hidden, others = self.param_groups
        for parameter in hidden["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            average = state["momentum"].lerp_(parameter.grad, 1 - self.momentum)
            ahead = parameter.grad.lerp(average, self.momentum)  # Nesterov's: the average after one more such gradient
            update = orthogonalised(ahead.flatten(1)).reshape(parameter.shape)
            rows, columns = parameter.flatten(1).shape
            parameter.mul_(1 - hidden["lr"] * self.weight_decay)
            parameter.add_(update, alpha=-hidden["lr"] * max(1, rows / columns) ** 0.5)
        self.adamw.param_groups[0]["lr"] = others["lr"]
        self.adamw.step()


def muon_for(
    net: nn.Module,
    hidden: Iterable[nn.Parameter],
    learning_rate: float,
    others: float,
    *,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.99),
    momentum: float = 0.95,
) -> Muon:
    """Muon for the hidden weights of a network, AdamW at `others` of its learning rate for all others."""
    hidden = list(hidden)
    known = {id(weight) for weight in hidden}
    rest = [weight for weight in net.parameters() if id(weight) not in known]
    shared = {"weight_decay": weight_decay, "betas": betas, "momentum": momentum}
    return Muon(hidden, rest, lr=learning_rate, other_lr=others * learning_rate, **shared)
