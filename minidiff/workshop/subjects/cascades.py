"""The two stages of a cascade, and films of a ball (notebook 21)."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from minidiff import films, generator
from minidiff.cascades import halved, upsampled
from minidiff.data.video import balls
from minidiff.digits import digit_distance, load_classifier
from minidiff.workshop import evaluation
from minidiff.workshop.subjects import sets
from minidiff.workshop.subjects.digits import MUON, PLAIN, U_NET
from minidiff.workshop.subjects.recipes import Recipe, Subject

__all__ = ["SUBJECTS"]


def upsampler_result(net: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """For a card: the distance of real digits that were halved and enlarged again to other test images."""
    test = sets.whole_mnist("test").x
    rows = torch.randperm(len(test), generator=generator(0, 6))
    coarse = halved(test[rows[: sets.RESULT_SAMPLES]])  # and 2 n of the others to compare with
    source = generator(0, 3)
    samples = [upsampled(net, part, 0.1, steps=sets.RESULT_STEPS, generator=source) for part in coarse.split(250)]
    distance = digit_distance(torch.cat(samples), test[rows[sets.RESULT_SAMPLES :]], load_classifier())
    return evaluation.frechet_card(distance, sets.RESULT_STEPS, of=", from real coarse digits")


COARSE = replace(
    PLAIN,
    subject="mnist-coarse",
    architecture={**U_NET, "widths": [64], "blocks": 2},
    shape=(1, 14, 14),
    steps=1500,
    learning_rate=1e-2,
    decay=0.995,
    falls=True,
    warmup=200,
    **MUON,
)
UPSAMPLER = replace(
    COARSE,
    subject="mnist-upsampler",
    architecture={
        "network": "ConditionedUNet",
        "channels": 1,
        "beside": 2,
        "widths": [32, 64],
        "blocks": 1,
        "patch": 2,
    },
    shape=(1, 28, 28),
    steps=3000,
    objective="upsample",
)
BALLS = Recipe(
    "balls",
    {"network": "ConditionedUNet", "channels": 8, "beside": 16, "widths": [48, 96], "blocks": 1, "patch": 2},
    (8, 16, 16),
    5000,
    64,
    1e-2,
    0.995,
    objective="films",
    warmup=200,
    **MUON,
)


SUBJECTS = (
    Subject(
        BALLS,
        "films of a ball that bounces, 8 frames of 16x16; ten minutes",
        points=balls,
        result=lambda net, recipe: films.film_result(net, sets.RESULT_SAMPLES // 5, sets.RESULT_STEPS),
    ),
    Subject(
        COARSE,
        "MNIST at half its size, 14x14, the first stage of a cascade; two minutes",
        images=sets.half_mnist,
        views=sets.coarse_views,
        features=128,
    ),
    Subject(
        UPSAMPLER,
        "MNIST from its half-size pictures, the second stage of a cascade; five minutes",
        images=sets.whole_mnist,
        views=sets.two_views(sets.whole_mnist),
        features=128,
        result=upsampler_result,
    ),
)
