"""Students of notebook 20, which draw digits in a few steps."""

from dataclasses import replace
from typing import Any

from torch import nn

from minidiff.workshop import few_steps
from minidiff.workshop.subjects import sets
from minidiff.workshop.subjects.digits import LIVE, of_digits
from minidiff.workshop.subjects.recipes import Recipe

__all__ = ["SUBJECTS"]


def student_result(net: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """The same for a student, in its own steps."""
    return few_steps.digit_result(net, recipe, sets.RESULT_SAMPLES, sets.whole_mnist("test").x)


FOUR_STEPS = replace(
    LIVE,
    subject="mnist-4-steps",
    objective="progressive",
    steps=600,
    batch_size=64,
    learning_rate=3e-3,
    decay=0.98,
    label_dropout=0.0,
    falls=True,
    warmup=20,
    options={"teacher": "mnist-ddpm-labels", "start": "mnist-ddpm-labels", "steps": 4, "substeps": 4},
)
ONE_STEP = replace(
    FOUR_STEPS,
    subject="mnist-1-step",
    steps=800,
    options={"teacher": "mnist-4-steps", "start": "mnist-4-steps", "steps": 1, "substeps": 4},
)


SUBJECTS = (
    of_digits(FOUR_STEPS, "a student of mnist-ddpm-labels, in 4 steps; 6 minutes", result=student_result),
    of_digits(ONE_STEP, "a student of mnist-4-steps, in 1 step; 8 minutes", result=student_result),
)
