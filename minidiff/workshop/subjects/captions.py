"""Digits as a caption asks for them, and who judges whether they obey (notebook 19)."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from minidiff import generator
from minidiff.captioned import load_caption_judge, look, obeyed
from minidiff.data.captions import (
    PICTURE,
    SLOT,
    WORDS,
    captions_of,
    draw_scenes,
    glyphs,
    held_out,
    place_digits,
    tokenise,
)
from minidiff.samplers import ancestral
from minidiff.workshop import evaluation
from minidiff.workshop.subjects import sets
from minidiff.workshop.subjects.digits import CLASSIFIER, MUON
from minidiff.workshop.subjects.recipes import Recipe, Subject

__all__ = ["SUBJECTS"]


def caption_result(net: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """For a card: how often pictures obey their captions, and how often real pictures seem to, which is the ceiling."""
    judge, n = load_caption_judge(), sets.RESULT_SAMPLES // 2
    scenes = draw_scenes(n, generator(0, 55), without=held_out)
    real = place_digits(scenes, glyphs("test"), generator(0, 56))
    y, how = tokenise(captions_of(scenes)), {"times": torch.linspace(1, 0, sets.RESULT_STEPS + 1), "sampler": ancestral}
    drawn = evaluation.sample(net, recipe.gaussian_path(), recipe.kind, recipe.shape, n, y, **how, seed=0)
    shares = {"drawn": obeyed(look(judge, drawn), scenes), "real": obeyed(look(judge, real), scenes)}
    return {
        **{
            f"{name} pictures, {what}": value for name, share in shares.items() for what, value in share.means().items()
        },
        "samples": n,
        "sampling steps": sets.RESULT_STEPS,
    }


CAPTIONS = Recipe(
    "captions",
    {"network": "CaptionUNet", "vocabulary": len(WORDS), "widths": [48, 96], "side": list(PICTURE[1:])},
    PICTURE,
    6120,
    64,
    1e-2,
    0.999,
    objective="captions",
    falls=False,
    warmup=100,
    options={"dropout": 0.1, "power": 0.6},
    **MUON,
)
CAPTIONS_JUDGE = replace(
    CLASSIFIER,
    subject="captions-judge",
    architecture={"network": "Classifier", "classes": 11},
    shape=(1, SLOT, SLOT),
    steps=2500,
    warmup=125,
)


SUBJECTS = (
    Subject(
        CAPTIONS,
        "digits as a caption asks for them; a quarter of an hour",
        images=sets.captioned_pictures,
        views=sets.one_view(sets.captioned_pictures),
        result=caption_result,
    ),
    Subject(
        CAPTIONS_JUDGE,
        "who says which digit stands in a place; two minutes",
        images=sets.slots,
        result=lambda net, recipe: evaluation.accuracy(net, sets.slots("test")),
    ),
)
