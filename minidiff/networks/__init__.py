"""The networks of the course. Each maps noisy data and a log-SNR to something of the data's shape."""

from collections.abc import Callable

import torch
from torch import nn

from minidiff.networks.classifier import Classifier, NoisyClassifier
from minidiff.networks.embeddings import NO_LABEL, LabelEmbedding, NoiseLevelEmbedding
from minidiff.networks.mlp import MLP
from minidiff.networks.unet import ResidualBlock, SelfAttention, UNet

__all__ = [
    "MLP",
    "NO_LABEL",
    "Classifier",
    "LabelEmbedding",
    "NoiseLevelEmbedding",
    "NoisyClassifier",
    "ResidualBlock",
    "SelfAttention",
    "UNet",
    "initialised",
]


def initialised(make: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """Make a network whose random start is a function of the generator's seed: `initialised(MLP, generator(0))`.

    PyTorch's layers draw from the global random state. It is seeded for the duration of this call and then put
    back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        return make()
