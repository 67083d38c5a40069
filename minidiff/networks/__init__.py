"""The networks of the course. Each maps noisy data and a log-SNR to something of the data's shape."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from minidiff.networks.attention import Attention, SelfAttention, attention_weights, multi_head_attention
from minidiff.networks.autoencoder import Autoencoder
from minidiff.networks.captioned import CaptionMLP, CaptionUNet, CrossAttention
from minidiff.networks.classifier import Classifier, NoisyClassifier
from minidiff.networks.conditioned import ConditionedUNet
from minidiff.networks.dit import DiT, TransformerBlock, modulated, patchify, sine_positions, unpatchify
from minidiff.networks.embeddings import NO_LABEL, LabelEmbedding, NoiseLevelEmbedding
from minidiff.networks.few_steps import Adversaries, StepCritic, StepGenerator
from minidiff.networks.mlp import MLP
from minidiff.networks.operator import FourierNetwork
from minidiff.networks.text_encoder import TextEncoder
from minidiff.networks.transformer import TokenTransformer
from minidiff.networks.unet import ResidualBlock, UNet
from minidiff.networks.unet1d import ResidualBlock1d, UNet1d
from minidiff.networks.wiener import WienerNet

__all__ = [
    "MLP",
    "NO_LABEL",
    "Adversaries",
    "Attention",
    "Autoencoder",
    "CaptionMLP",
    "CaptionUNet",
    "Classifier",
    "ConditionedUNet",
    "CrossAttention",
    "DiT",
    "FourierNetwork",
    "LabelEmbedding",
    "NoiseLevelEmbedding",
    "NoisyClassifier",
    "ResidualBlock",
    "ResidualBlock1d",
    "SelfAttention",
    "StepCritic",
    "StepGenerator",
    "TextEncoder",
    "TokenTransformer",
    "TransformerBlock",
    "UNet",
    "UNet1d",
    "WienerNet",
    "attention_weights",
    "build",
    "initialised",
    "modulated",
    "multi_head_attention",
    "patchify",
    "sine_positions",
    "unpatchify",
]


def initialised(make: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """Make a network whose random start is a function of the generator's seed: `initialised(MLP, generator(0))`.

    PyTorch's layers draw from the global random state. It is seeded for the duration of this call and then put
    back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        return make()


NETWORKS = {
    network.__name__: network
    for network in (
        *(MLP, UNet, UNet1d, Classifier, NoisyClassifier),
        *(Autoencoder, CaptionUNet, ConditionedUNet, DiT),
        *(Adversaries, StepGenerator, FourierNetwork, TokenTransformer, WienerNet),
    )
}


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """Make a network from what a checkpoint's card says of it: `{"network": "MLP", "width": 64}` is `MLP(width=64)`.

    So a checkpoint can be loaded without knowing what it was trained on. PyTorch's layers draw from the global random
    state: call this within `initialised` where the start matters.

    Raises ValueError for a network that is not one of this package, or arguments that it does not take.
    """
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in architecture.items()}
    name = arguments.pop("network", None)
    if name not in NETWORKS:
        raise ValueError(f"architecture must name a network, one of {', '.join(NETWORKS)}, but names {name!r}")
    try:
        return NETWORKS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"architecture must hold arguments of {name}, but holds {arguments} ({error})") from error
