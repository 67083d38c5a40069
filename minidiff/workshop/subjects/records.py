"""Recipes on disk: in a card, in a snapshot, and in those of the first edition."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from minidiff.digits import KIND, LARGEST_WEIGHT
from minidiff.workshop.subjects.digits import LABEL_DROPOUT
from minidiff.workshop.subjects.known import SUBJECTS
from minidiff.workshop.subjects.recipes import Recipe
from minidiff.workshop.workers import Refused

__all__ = ["recipe_of"]


def recipe_of(record: Mapping[str, Any]) -> Recipe:
    """The recipe in a snapshot's record or in a card, also in one from the first edition.

    Raises Refused where it says too little, or what no recipe says.
    """
    said = record.get("recipe")
    named = {**record, **(said if isinstance(said, Mapping) else {})}
    if "subject" not in named:
        return from_the_first_edition(named)
    known = {field.name: named[field.name] for field in fields(Recipe) if field.name in named}
    try:
        recipe = Recipe(**known)
        return replace(recipe, shape=tuple(recipe.shape), betas=tuple(recipe.betas))
    except TypeError as error:
        raise Refused(f"the recipe in the card must be whole, but is not: {error}") from error


def from_the_first_edition(said: Mapping[str, Any]) -> Recipe:
    """What a recipe of the first edition left to the code: it named its data, and little more."""
    name = said.get("data")
    if not isinstance(name, str) or name not in SUBJECTS:
        raise Refused(f"the card must name its data, one of {', '.join(SUBJECTS)}, but says {name!r}")
    today = SUBJECTS[name].recipe
    kind, steps, classes = said.get("kind", "v"), said.get("steps", today.steps), said.get("classes", 0)
    falls = said.get("falls", True)
    told = ("steps", "batch_size", "learning_rate", "decay", "seed", "seed_shift")
    return replace(
        today,
        **{field: said[field] for field in told if field in said},
        architecture={**today.architecture, "classes": classes},
        precision=said.get("precision", "float32").removeprefix("torch."),
        kind=kind,
        largest_weight=LARGEST_WEIGHT if kind == KIND else None,
        label_dropout=said.get("label_dropout", LABEL_DROPOUT if classes else 0.0),
        falls=falls,
        warmup=min(200, steps // 10) if falls else 0,
    )
