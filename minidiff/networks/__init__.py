"""The networks of the course. Each maps noisy data and a log-SNR to something of the data's shape."""

from minidiff.networks.classifier import Classifier
from minidiff.networks.embeddings import NoiseLevelEmbedding
from minidiff.networks.mlp import MLP
from minidiff.networks.unet import ResidualBlock, SelfAttention, UNet

__all__ = ["MLP", "Classifier", "NoiseLevelEmbedding", "ResidualBlock", "SelfAttention", "UNet"]
