"""Points in the plane, and a GAN of three Gaussians."""

from collections.abc import Callable

from torch import Tensor

from minidiff.data import checkerboard, moons, swiss_roll
from minidiff.workshop import few_steps
from minidiff.workshop.subjects import sets
from minidiff.workshop.subjects.recipes import Recipe, Subject

__all__ = ["SUBJECTS"]


def of_points(name: str, draw: Callable[..., Tensor], about: str) -> Subject:
    mlp = {"network": "MLP", "dimension": 2, "width": 128, "layers": 3, "classes": 0}
    recipe = Recipe(name, mlp, (2,), 4000, 512, 5e-3, 0.999, warmup=200)
    return Subject(recipe, about, points=draw)


PLANE_GAN = Recipe(
    "plane-gan",
    {"network": "Adversaries", "dimension": 2, "noise": 2, "width": 128, "layers": 3},
    (2,),
    3000,
    256,
    1e-3,
    0.995,
    objective="adversarial",
    kind="x0",
    betas=(0.5, 0.9),
    warmup=100,
    max_norm=10.0,
    options={"steps": 4, "penalty": 0.01, "critic_rate": 2e-3},
)


SUBJECTS = (
    of_points("moons", moons, "two half circles in the plane; half a minute"),
    of_points("swissroll", swiss_roll, "a spiral in the plane; half a minute"),
    of_points("checkerboard", checkerboard, "eight squares in the plane; half a minute"),
    Subject(
        PLANE_GAN,
        "a GAN of three Gaussians in the plane, in 4 steps; one minute",
        points=few_steps.points,
        result=lambda net, recipe: few_steps.plane_result(net, recipe, sets.RESULT_SAMPLES),
    ),
)
