"""Trainings of notebook 20: students of a denoiser that is shipped, and a GAN of the plane. What they learn, how they
draw, and what their cards say. A recipe's `options` name the teacher, where the weights start, and the steps.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from minidiff.checkpoints import load_network
from minidiff.data import three_gaussians
from minidiff.denoisers import Denoiser, from_network
from minidiff.digits import digit_distance, digit_weight, load_classifier
from minidiff.distillation import NetworkDraw, adversarial_objective, progressive_objective
from minidiff.samplers import State, ddim, generated
from minidiff.training import Objective
from minidiff.workshop import evaluation

if TYPE_CHECKING:
    from minidiff.workshop.subjects import Recipe

__all__ = ["FEW", "adversarial", "digit_result", "own_sampler", "own_steps", "plane_result", "players", "points"]
__all__ += ["progressive", "sample_few"]

FEW = ("progressive", "adversarial")  # objectives whose networks are no denoisers, and draw in steps of their own


def own_steps(recipe: "Recipe") -> int:
    """The only number of steps in which such a network draws."""
    return recipe.options["steps"]


def own_sampler(recipe: "Recipe") -> Callable[..., Iterator[State]]:
    """The only loop by which such a network draws."""
    return by_draws if recipe.objective == "adversarial" else ddim


def progressive(recipe: "Recipe") -> Objective:
    """Learns to do in one step what its teacher, a shipped network, does in several."""
    net, card = load_network(recipe.options["teacher"])
    path, kind = recipe.gaussian_path(), card["recipe"]["kind"]

    def teacher(y: Tensor | None) -> Denoiser:
        return from_network(net if y is None else net.to(y.device), path, kind, y)

    how = {"steps": own_steps(recipe), "substeps": recipe.options["substeps"], "weight": digit_weight}
    return progressive_objective(teacher, path, recipe.kind, **how)


def adversarial(recipe: "Recipe") -> Objective:
    """A generator learns large random steps, and a critic to tell them from real ones."""
    return adversarial_objective(recipe.gaussian_path(), steps=own_steps(recipe), penalty=recipe.options["penalty"])


def players(net: nn.Module, generator_rate: float, critic_rate: float) -> list[dict[str, Any]]:
    """The weights of both players for an optimizer, each with a learning rate of its own."""
    return [
        {"params": list(net.generator.parameters()), "lr": generator_rate},
        {"params": list(net.critic.parameters()), "lr": critic_rate},
    ]


def points(n: int, generator: torch.Generator) -> Tensor:
    """n points of the three Gaussians, (n, 2)."""
    return three_gaussians().sample(n, generator)[0]


def by_draws(denoise: from_network, path, x: Tensor, times: Tensor, *, generator) -> Iterator[State]:
    """What `evaluation.sample` hands over is no denoiser here: its network draws, and only that is used."""
    return generated(NetworkDraw(denoise.net, path), path, x, times, generator=generator)


def sample_few(net: nn.Module, recipe: "Recipe", n: int, y: Tensor | None = None, *, seed: int) -> Tensor:
    """Draw n samples, (n, *shape), in the network's own steps. y: the label of each, (n,), where it knows labels.

    A step of a student is a step of DDIM with what it returns, on its own grid and on no other.
    """
    how = {"times": torch.linspace(1, 0, own_steps(recipe) + 1), "sampler": own_sampler(recipe), "seed": seed}
    return evaluation.sample(net, recipe.gaussian_path(), recipe.kind, recipe.shape, n, y, **how)


def digit_result(net: nn.Module, recipe: "Recipe", n: int, test: Tensor) -> dict[str, Any]:
    """For a card: the distance of n samples to test images, and how often a digit is what it was asked to be."""
    y = evaluation.even_labels(n, recipe.classes)
    samples = sample_few(net, recipe, n, y, seed=0)
    distance = digit_distance(samples, test, load_classifier())
    return {**evaluation.recognised(samples, y), **evaluation.frechet_card(distance, own_steps(recipe))}


def plane_result(net: nn.Module, recipe: "Recipe", n: int) -> dict[str, Any]:
    """For a card: the distances of n generated points to real ones, each in multiples of its floor."""
    samples = sample_few(net, recipe, n, seed=0)
    found = evaluation.point_distances(samples, points, seed=0)
    ratios = {f"{name}, in floors": round(measured.ratio, 2) for name, measured in found.items()}
    return {**ratios, "samples": n, "sampling steps": own_steps(recipe)}
