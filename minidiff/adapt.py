"""Fine-tuning: a change of low rank beside each layer of a trained network, and the best that such a change can do.

The layer's own weights stay, and W x becomes W x + B A x, where A has `rank` rows. B starts at 0, so that the network
begins as it was. Taught in notebook 27.

Sources: Hu et al. 2021 (LoRA), arXiv 2106.09685, section 4.1; Eckart & Young 1936, doi 10.1007/BF02288367.
"""

import copy

import torch
from torch import Tensor, nn

from minidiff._tensors import check_generator, check_whole
from minidiff.networks import initialised

__all__ = ["LowRank", "excess_by_rank", "merged", "with_low_rank"]


class LowRank(nn.Module):
    """layer(x) + up(down(x)): a linear layer or a convolution that stays, and a change of low rank that learns.

    `down` has the layer's inputs (and its kernel, stride and padding) and `rank` outputs; `up` leads on to the layer's
    outputs and starts at 0 (Hu et al., section 4.1). Neither has a bias. The layer is frozen.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int):
        super().__init__()
        check_whole("rank", rank)
        self.layer = layer.requires_grad_(False)
        if isinstance(layer, nn.Linear):
            self.down = nn.Linear(layer.in_features, rank, bias=False)
            self.up = nn.Linear(rank, layer.out_features, bias=False)
        elif isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros":
            shape = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            self.down = nn.Conv2d(layer.in_channels, rank, layer.kernel_size, bias=False, **shape)
            self.up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            raise TypeError(f"layer must be a Linear or a plain Conv2d, but is {layer}")
        nn.init.zeros_(self.up.weight)
        self.to(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.up(self.down(x))

    def change(self) -> Tensor:
        """B A, in the shape of the layer's weight."""
        rows = self.up.weight.flatten(1) @ self.down.weight.flatten(1)
        return rows.reshape(self.layer.weight.shape)

    @property
    def weight(self) -> Tensor:
        """W + B A: the weight of one layer that does the same."""
        return self.layer.weight + self.change()


def with_low_rank(net: nn.Module, rank: int, generator: torch.Generator) -> nn.Module:
    """A copy of a network in which only changes of low rank learn, one beside each linear layer and convolution.

    Everything else is frozen. At the start it computes what `net` does. `merged` makes a plain network of it again.
    Raises ValueError where a rank is no whole number >= 1, or the network has changes of low rank already.
    """
    check_whole("rank", rank)
    check_generator(generator)
    if any(isinstance(module, LowRank) for module in net.modules()):
        raise ValueError("net must be a plain network, but has changes of low rank already: merge them first")
    net = copy.deepcopy(net).requires_grad_(False)

    def replaced() -> nn.Module:
        for parent in list(net.modules()):
            for name, child in list(parent.named_children()):
                if _fits(child):
                    setattr(parent, name, LowRank(child, rank))
        return net

    return initialised(replaced, generator)


def _fits(layer: nn.Module) -> bool:
    plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
    return isinstance(layer, nn.Linear) or plain


@torch.no_grad()
def merged(net: nn.Module) -> nn.Module:
    """A copy of the network in which every W x + B A x is one layer again, with the weight W + B A."""
    net = copy.deepcopy(net)
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LowRank):
                child.layer.weight.copy_(child.weight)
                setattr(parent, name, child.layer)
    return net


def excess_by_rank(change: Tensor, second_moment: Tensor) -> Tensor:
    """What is lost by a change of rank 0, 1, 2, ... in place of the whole one, (n + 1,), a mean over d outputs.

    change: (d, d), the change of a linear map that is right, for inputs x. second_moment: E[x x^T], (d, d). With a
    change D of rank r the mean square error grows by tr((change - D) E[x x^T] (change - D)^T). With E[x x^T] = L L^T
    that is the squared Frobenius norm of (change - D) L, so the best D keeps the r largest singular values of change L
    (Eckart & Young 1936), and what is lost is the sum of the squares of the others.
    """
    values = torch.linalg.svdvals(change @ torch.linalg.cholesky(second_moment)).square()
    return torch.cat([values.flip(0).cumsum(0).flip(0), values.new_zeros(1)]) / len(change)
