"""What a training follows from: `Recipe`, and what is trained: `Subject`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from minidiff import generator
from minidiff.captioned import caption_objective
from minidiff.cascades import upsampling_objective
from minidiff.checkpoints import load_network
from minidiff.data import Images
from minidiff.digits import classification_objective, digit_optimizer, digit_weight, noisy_classification_objective
from minidiff.films import film_objective
from minidiff.latents import autoencoder_objective
from minidiff.measurement import Measurement
from minidiff.networks import build, initialised
from minidiff.optimizers import muon_for
from minidiff.paths import GaussianPath
from minidiff.schedules import cosine
from minidiff.targets import Target
from minidiff.training import Batch, Objective, Weight, batches, denoising_objective, fresh_batches
from minidiff.workshop import evaluation, few_steps, texts
from minidiff.workshop.workers import Refused

__all__ = ["OBJECTIVES", "Recipe", "Subject", "training_batches"]


PATHS: Mapping[str, Callable[[], GaussianPath]] = {"cosine": cosine}
NOISE_STREAMS = {"denoise": 2}  # of the seed, and 1 for all others, so that old trainings go on alike
ENDLESS = 10**9  # batches: the plan says when to stop


@dataclass(frozen=True)
class Recipe:
    """All that a training follows from, in JSON's own types. Card and snapshots hold it."""

    subject: str
    architecture: Mapping[str, Any]  # see networks.build
    shape: tuple[int, ...]  # of one sample
    steps: int
    batch_size: int
    learning_rate: float
    decay: float  # of the moving average of the weights
    objective: str = "denoise"  # or another of OBJECTIVES
    path: str = "cosine"
    kind: Target = "v"  # what the network predicts
    largest_weight: float | None = None  # of the loss, which is then the error in v; None: the plain loss
    label_dropout: float = 0.0
    optimizer: str = "adamw"  # or "muon"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)  # of AdamW, also of the part of Muon that is AdamW
    momentum: float = 0.95  # of Muon
    other_rate: float = 0.4  # muon: the learning rate of the other weights, as a share of its own
    falls: bool = True  # the learning rate; otherwise it stays
    warmup: int = 0
    max_norm: float = 1.0  # of a gradient
    seed: int = 0
    seed_shift: str = "0"  # MINIDIFF_SEED
    precision: str = "float32"  # or bfloat16: asked for, or measured to be faster where the training began
    minutes: float | None = None  # a promise: then `steps` is a plan, which the clock changes
    source: str | None = None  # the folder of a reader's own pictures
    pictures: str | None = None  # the fingerprint of all of them; None in cards from before there was one
    options: Mapping[str, Any] = field(default_factory=dict)  # what else its objective needs, in JSON's own types

    @property
    def classes(self) -> int:
        """The labels that the network knows, 0 if none."""
        return self.architecture.get("classes", 0)

    @property
    def draws(self) -> bool:
        """Whether samples can be drawn from noise, a label or a caption alone."""
        return self.objective in ("denoise", "captions", *few_steps.FEW)

    @property
    def reads(self) -> bool:
        """Whether the network is steered by a caption."""
        return self.objective == "captions"

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        lists = {"shape": list(self.shape), "betas": list(self.betas)}
        return {**asdict(self), "architecture": dict(self.architecture), **lists}

    def network(self) -> nn.Module:
        """The network at its random start."""
        return initialised(lambda: build(self.architecture), generator(self.seed))

    def beginning(self) -> nn.Module:
        """The network before its first step: at its random start, or with the weights of the one it goes on from."""
        net, before = self.network(), self.options.get("start")
        if before is not None:
            net.load_state_dict(load_network(before)[0].state_dict())
        return net

    def gaussian_path(self) -> GaussianPath:
        return PATHS[self.path]()

    def loss(self) -> Objective:
        """What the network learns by."""
        return OBJECTIVES[self.objective](self)

    def optimize(self, net: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of the network's weights."""
        if self.optimizer == "muon":
            shared = {"weight_decay": self.weight_decay, "betas": self.betas, "momentum": self.momentum}
            if hasattr(net, "hidden_weights"):
                return muon_for(net, net.hidden_weights(), self.learning_rate, self.other_rate, **shared)
            return digit_optimizer(net, self.learning_rate, self.other_rate, **shared)
        shared = {"weight_decay": self.weight_decay, "betas": self.betas}
        if "critic_rate" in self.options:
            both = few_steps.players(net, self.learning_rate, self.options["critic_rate"])
            return torch.optim.AdamW(both, lr=self.learning_rate, **shared, fused=True)
        return torch.optim.AdamW(net.parameters(), lr=self.learning_rate, **shared, fused=True)

    def noise(self, *stream: int, device: torch.device) -> torch.Generator:
        """Where the noise of the training comes from."""
        return generator(self.seed, NOISE_STREAMS.get(self.objective, 1), *stream, device=device)


@dataclass(frozen=True)
class Subject:
    """Something that can be trained. Either `points` never run out, or `images` gives a training set and a test set.

    recipe: the defaults. images: "train" or "test" -> Images. views: what its images are compared by. result: (net,
    recipe) -> what the card of a finished network says, for those that come with the course.
    """

    recipe: Recipe
    about: str
    points: Callable[[int, torch.Generator], Tensor] | None = None
    images: Callable[[str], Images] | None = None
    views: Callable[[], dict[str, evaluation.View]] | None = None
    features: int = evaluation.COMPONENTS  # the most numbers in a view: more samples than these are needed
    samples: int = 2000  # to measure with
    result: Callable[[nn.Module, Recipe], dict[str, Any]] | None = None
    notes: tuple[str, ...] = ()  # what a person should know of the data

    def training_set(self, device: torch.device) -> Images | None:
        """The images to train on, on a device; None for points."""
        if self.points is not None:
            return None
        return Images(*(None if part is None else part.to(device) for part in self.images("train")))

    def check_samples(self, n: int) -> None:
        """Refuse a number of samples that cannot be measured."""
        if self.points is not None:
            evaluation.check_points(n)
        elif self.views is None:
            does = "encodes" if self.recipe.objective == "autoencode" else "classifies"
            raise Refused(f"--checkpoint must draw samples to be evaluated, but {self.recipe.subject} {does}")
        else:
            evaluation.check_images(n, len(self.images("test").x), self.features)

    def distances(self, samples: Tensor, *, seed: int) -> dict[str, Measurement]:
        """How far n samples, (n, *D), are from as many real ones, by name, each with its floor."""
        self.check_samples(len(samples))
        if self.points is not None:
            return evaluation.point_distances(samples, self.points, seed=seed)
        return evaluation.image_distances(samples, self.images("test").x, self.views(), seed=seed)


def training_batches(
    subject: Subject, recipe: Recipe, train_set: Images | None, device: torch.device, *, start: int
) -> Iterator[Batch]:
    """The batches of a training from `start` on, without end. train_set: on the device; None for points."""
    span = {"batch_size": recipe.batch_size, "steps": ENDLESS, "seed": recipe.seed, "start": start}
    if train_set is None:
        return (Batch(batch.x0.to(device)) for batch in fresh_batches(subject.points, **span))
    return batches(train_set.x, train_set.y if recipe.classes or recipe.reads else None, **span)


# What a network learns by


def weight_of(recipe: Recipe) -> Weight | None:
    """What the loss of each sample is multiplied by."""
    return None if recipe.largest_weight is None else partial(digit_weight, largest=recipe.largest_weight)


def denoising(recipe: Recipe) -> Objective:
    weight, dropout = weight_of(recipe), recipe.label_dropout
    return denoising_objective(recipe.gaussian_path(), recipe.kind, weight=weight, label_dropout=dropout)


def captioned(recipe: Recipe) -> Objective:
    weight = partial(digit_weight, largest=recipe.largest_weight)
    return caption_objective(recipe.gaussian_path(), recipe.kind, weight=weight, **recipe.options)


OBJECTIVES: Mapping[str, Callable[[Recipe], Objective]] = {
    "denoise": denoising,
    "captions": captioned,
    "classify": lambda recipe: classification_objective(),
    "classify noisy": lambda recipe: noisy_classification_objective(recipe.gaussian_path()),
    "autoencode": lambda recipe: autoencoder_objective(recipe.architecture["latent"], recipe.options["std"]),
    "films": lambda recipe: film_objective(recipe.gaussian_path(), recipe.kind, weight_of(recipe)),
    "upsample": lambda recipe: upsampling_objective(recipe.gaussian_path(), recipe.kind, weight_of(recipe)),
    "progressive": few_steps.progressive,
    "adversarial": few_steps.adversarial,
    "words": lambda recipe: texts.OBJECTIVES[recipe.options["learns by"]](),
}
