"""MNIST and scikit-learn's digits: DDPMs, classifiers, an autoencoder."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from minidiff.digits import KIND, LARGEST_WEIGHT, digit_distance, load_classifier
from minidiff.samplers import ancestral
from minidiff.workshop import evaluation
from minidiff.workshop.reconstruction import autoencoder_result
from minidiff.workshop.subjects import sets
from minidiff.workshop.subjects.recipes import Recipe, Subject

__all__ = ["CLASSIFIER", "LABEL_DROPOUT", "LIVE", "MUON", "PLAIN", "SUBJECTS", "U_NET", "of_digits"]


LABEL_DROPOUT = 0.1
U_NET = {"network": "UNet", "channels": 1, "widths": [64, 128], "blocks": 1, "patch": 2, "classes": 0}
MUON = {
    **{"kind": KIND, "largest_weight": LARGEST_WEIGHT},
    **{"optimizer": "muon", "weight_decay": 0.01, "betas": (0.9, 0.99), "momentum": 0.95},
}


def digit_result(net: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """For a card: the distance of samples to test images, and how often a digit is what it was asked to be."""
    n = sets.RESULT_SAMPLES
    y, times = evaluation.even_labels(n, recipe.classes), torch.linspace(1, 0, sets.RESULT_STEPS + 1)
    how = {"times": times, "sampler": ancestral, "seed": 0}
    samples = evaluation.sample(net, recipe.gaussian_path(), recipe.kind, recipe.shape, n, y, **how)
    distance = digit_distance(samples, sets.whole_mnist("test").x, load_classifier())
    seen = {} if y is None else evaluation.recognised(samples, y)
    return {**seen, **evaluation.frechet_card(distance, sets.RESULT_STEPS)}


def of_digits(recipe: Recipe, about: str, *, result: Callable[..., dict] | None = None) -> Subject:
    """A DDPM of MNIST."""
    return Subject(
        recipe, about, images=sets.whole_mnist, views=sets.two_views(sets.whole_mnist), features=128, result=result
    )


LIVE = Recipe(
    "mnist",
    {**U_NET, "classes": 10},
    (1, 28, 28),
    7500,
    128,
    1e-2,
    0.999,
    label_dropout=LABEL_DROPOUT,
    falls=False,
    **MUON,
)
PLAIN = Recipe(
    "mnist-plain",
    {**U_NET, "widths": [32, 64]},
    (1, 28, 28),
    7500,
    64,
    4e-3,
    0.999,
    betas=(0.9, 0.99),
    falls=False,
)
UNLABELLED = {"architecture": U_NET, "label_dropout": 0.0}
SHIPPED = replace(LIVE, subject="mnist-ddpm", **UNLABELLED, decay=0.995, falls=True, warmup=200)
CLASSIFIER = Recipe(
    "mnist-classifier",
    {"network": "Classifier", "classes": 10},
    (1, 28, 28),
    3 * 468,  # three epochs
    128,
    3e-3,
    0.995,
    objective="classify",
    weight_decay=0.05,
    warmup=3 * 468 // 20,
)
NOISY_CLASSIFIER = replace(
    CLASSIFIER,
    subject="mnist-classifier-noisy",
    architecture={"network": "NoisyClassifier", "channels": 1, "widths": [32, 64], "classes": 10},
    objective="classify noisy",
    steps=5 * 468,
    learning_rate=2e-3,
    decay=0.999,
    warmup=5 * 468 // 20,
)
AUTOENCODER = Recipe(
    "mnist-autoencoder",
    {"network": "Autoencoder", "channels": 1, "side": 28, "latent": 32, "widths": [32, 64], "narrow": 8},
    (1, 28, 28),
    2000,
    128,
    2e-3,
    0.995,
    objective="autoencode",
    weight_decay=1e-3,
    warmup=100,
    options={"std": 0.2},
)
SMALL_DIGITS = Recipe(
    "digits",
    {"network": "UNet", "channels": 1, "widths": [32, 64], "blocks": 1, "patch": 1, "classes": 0},
    (1, 8, 8),
    1500,
    64,
    5e-3,
    0.995,
    warmup=150,
    **MUON,
)
TRANSFORMER = replace(
    SMALL_DIGITS,
    subject="digits-transformer",
    architecture={
        **{"network": "DiT", "side": 8, "channels": 1, "patch": 2, "width": 64, "depth": 4, "heads": 4},
        **{"classes": 0, "positions": "sines"},
    },
    steps=3000,
    learning_rate=2e-3,
    **{"kind": "v", "largest_weight": None, "optimizer": "adamw", "weight_decay": 0.05, "betas": (0.9, 0.99)},
)


SUBJECTS = (
    Subject(
        SMALL_DIGITS,
        "8x8 digits that need no download; two minutes",
        images=sets.small_digits,
        views=sets.two_views(sets.small_digits),
        features=128,
        samples=200,
    ),
    Subject(
        TRANSFORMER,
        "the same digits by a transformer, notebook 18; three minutes",
        images=sets.small_digits,
        views=sets.two_views(sets.small_digits),
        features=128,
        samples=200,
    ),
    of_digits(LIVE, "MNIST with labels, for as long as you like; 20 minutes"),
    of_digits(PLAIN, "a plain DDPM of MNIST, as notebook 13 trains it; 15 minutes"),
    of_digits(SHIPPED, "the course's DDPM of MNIST without labels; 20 minutes", result=digit_result),
    of_digits(
        replace(
            SHIPPED,
            subject="mnist-ddpm-labels",
            architecture=LIVE.architecture,
            steps=24_000,
            label_dropout=LABEL_DROPOUT,
        ),
        "the course's DDPM of MNIST with labels; an hour",
        result=digit_result,
    ),
    Subject(
        CLASSIFIER,
        "the course's classifier of MNIST; two minutes",
        images=sets.whole_mnist,
        result=lambda net, recipe: evaluation.accuracy(net, sets.whole_mnist("test")),
    ),
    Subject(
        NOISY_CLASSIFIER,
        "the course's classifier of noisy digits; five minutes",
        images=sets.whole_mnist,
        result=lambda net, recipe: evaluation.accuracy_in_noise(net, recipe.gaussian_path(), sets.whole_mnist("test")),
    ),
    Subject(
        AUTOENCODER,
        "the course's autoencoder of MNIST; five minutes",
        images=sets.whole_mnist,
        result=lambda net, recipe: autoencoder_result(net, sets.whole_mnist("test").x, sets.RESULT_SAMPLES),
    ),
)
