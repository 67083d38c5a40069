"""Everything that can be trained: one record each. A new stage of the course adds one.

A `Recipe` holds all that a training follows from, so that nothing is read from a constant that a later version may
change; card and snapshots hold the recipe. A `Subject` is a recipe with its data, and how the result is measured.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff import films, generator
from minidiff.captioned import caption_objective, load_caption_judge, look, obeyed
from minidiff.cascades import enlarged, halved, upsampled, upsampling_objective
from minidiff.checkpoints import load_network
from minidiff.data import Images, checkerboard, digits, mnist, moons, swiss_roll
from minidiff.data.captions import (
    PICTURE,
    SLOT,
    WORDS,
    captioned_digits,
    captions_of,
    draw_scenes,
    glyphs,
    held_out,
    place_digits,
    slot_digits,
    tokenise,
)
from minidiff.data.pictures import PicturesUnfit, pictures
from minidiff.data.video import balls
from minidiff.digits import (
    KIND,
    LARGEST_WEIGHT,
    classification_objective,
    digit_distance,
    digit_optimizer,
    digit_weight,
    load_classifier,
    noisy_classification_objective,
)
from minidiff.films import film_objective
from minidiff.latents import autoencoder_objective
from minidiff.measurement import Measurement
from minidiff.networks import build, initialised
from minidiff.optimizers import muon_for
from minidiff.paths import GaussianPath
from minidiff.samplers import ancestral
from minidiff.schedules import cosine
from minidiff.targets import Target
from minidiff.training import Batch, Objective, Weight, batches, denoising_objective, fresh_batches
from minidiff.workshop import evaluation, few_steps, texts
from minidiff.workshop.reconstruction import autoencoder_result
from minidiff.workshop.workers import Refused

__all__ = ["SUBJECTS", "Recipe", "Subject", "of_pictures", "recipe_of", "subject_of"]

PATHS: Mapping[str, Callable[[], GaussianPath]] = {"cosine": cosine}
NOISE_STREAMS = {"denoise": 2}  # of the seed, and 1 for all others, so that old trainings go on alike
LABEL_DROPOUT = 0.1
RESULT_SAMPLES, RESULT_STEPS = 2000, 50
PICTURE_SAMPLES = 200  # to measure with, where a folder holds enough pictures that no training sees
VIEWED = 16  # pixels on a side by which pictures are compared: more would take minutes, and vary little by themselves
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


# What a network learns by, and what it learns from


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


def of_points(name: str, draw: Callable[..., Tensor], about: str) -> Subject:
    mlp = {"network": "MLP", "dimension": 2, "width": 128, "layers": 3, "classes": 0}
    recipe = Recipe(name, mlp, (2,), 4000, 512, 5e-3, 0.999, warmup=200)
    return Subject(recipe, about, points=draw)


def small_digits(part: str) -> Images:
    """scikit-learn's digits. Every third is kept for the test."""
    x, y = digits()
    kept = (torch.arange(len(x)) % 3 != 2) == (part == "train")
    return Images(x[kept], y[kept])


def two_views(images: Callable[[str], Images]) -> Callable[[], dict[str, evaluation.View]]:
    """What the shipped classifier sees, and the directions in which the training images vary most."""
    return lambda: {
        "classifier": evaluation.classifier_view(),
        f"{evaluation.COMPONENTS} principal components": evaluation.principal_view(images("train").x),
    }


# `mnist` is looked up when it is called, so that a test may put something small in its place
def whole_mnist(part: str) -> Images:
    return mnist(part)


def captioned_pictures(part: str) -> Images:
    return captioned_digits(part)


def slots(part: str) -> Images:
    return slot_digits(part)


def one_view(images: Callable[[str], Images]) -> Callable[[], dict[str, evaluation.View]]:
    """The directions in which the training images vary most."""
    return lambda: {f"{evaluation.COMPONENTS} principal components": evaluation.principal_view(images("train").x)}


U_NET = {"network": "UNet", "channels": 1, "widths": [64, 128], "blocks": 1, "patch": 2, "classes": 0}
MUON = {
    **{"kind": KIND, "largest_weight": LARGEST_WEIGHT},
    **{"optimizer": "muon", "weight_decay": 0.01, "betas": (0.9, 0.99), "momentum": 0.95},
}


def digit_result(net: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """For a card: the distance of samples to test images, and how often a digit is what it was asked to be."""
    n = RESULT_SAMPLES
    y, times = evaluation.even_labels(n, recipe.classes), torch.linspace(1, 0, RESULT_STEPS + 1)
    how = {"times": times, "sampler": ancestral, "seed": 0}
    samples = evaluation.sample(net, recipe.gaussian_path(), recipe.kind, recipe.shape, n, y, **how)
    distance = digit_distance(samples, mnist("test").x, load_classifier())
    seen = {} if y is None else evaluation.recognised(samples, y)
    return {**seen, **evaluation.frechet_card(distance, RESULT_STEPS)}


def half_mnist(part: str) -> Images:
    """MNIST with the means over 2 x 2 pixels."""
    return Images(halved(whole_mnist(part).x), None)


def coarse_views() -> dict[str, evaluation.View]:
    """What the shipped classifier sees in the small digits, enlarged, and the directions in which they vary most."""
    seen = evaluation.classifier_view()
    return {
        "classifier, enlarged": lambda x: seen(enlarged(x)),
        f"{evaluation.COMPONENTS} principal components": evaluation.principal_view(half_mnist("train").x),
    }


def upsampler_result(net: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """For a card: the distance of real digits that were halved and enlarged again to other test images."""
    test = mnist("test").x
    rows = torch.randperm(len(test), generator=generator(0, 6))
    coarse = halved(test[rows[:RESULT_SAMPLES]])  # and 2 n of the others to compare with
    source = generator(0, 3)
    samples = [upsampled(net, part, 0.1, steps=RESULT_STEPS, generator=source) for part in coarse.split(250)]
    distance = digit_distance(torch.cat(samples), test[rows[RESULT_SAMPLES:]], load_classifier())
    return evaluation.frechet_card(distance, RESULT_STEPS, of=", from real coarse digits")


def student_result(net: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """The same for a student, in its own steps."""
    return few_steps.digit_result(net, recipe, RESULT_SAMPLES, mnist("test").x)


def of_digits(recipe: Recipe, about: str, *, result: Callable[..., dict] | None = None) -> Subject:
    """A DDPM of MNIST."""
    return Subject(recipe, about, images=whole_mnist, views=two_views(whole_mnist), features=128, result=result)


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


def caption_result(net: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """For a card: how often pictures obey their captions, and how often real pictures seem to, which is the ceiling."""
    judge, n = load_caption_judge(), RESULT_SAMPLES // 2
    scenes = draw_scenes(n, generator(0, 55), without=held_out)
    real = place_digits(scenes, glyphs("test"), generator(0, 56))
    y, how = tokenise(captions_of(scenes)), {"times": torch.linspace(1, 0, RESULT_STEPS + 1), "sampler": ancestral}
    drawn = evaluation.sample(net, recipe.gaussian_path(), recipe.kind, recipe.shape, n, y, **how, seed=0)
    shares = {"drawn": obeyed(look(judge, drawn), scenes), "real": obeyed(look(judge, real), scenes)}
    return {
        **{
            f"{name} pictures, {what}": value for name, share in shares.items() for what, value in share.means().items()
        },
        "samples": n,
        "sampling steps": RESULT_STEPS,
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


def of_english(name: str, learns_by: str, about: str) -> Subject:
    """The small English of notebook 22. learns_by: one of `texts.OBJECTIVES`."""
    causal = learns_by == "next word"
    network = {"network": "TokenTransformer", "vocabulary": texts.WORDS, "length": texts.LENGTH, "causal": causal}
    recipe = Recipe(
        name,
        network,
        (texts.LENGTH,),
        1000,
        64,
        0.03,
        0.9,
        objective="words",
        optimizer="muon",
        betas=(0.9, 0.99),
        other_rate=0.2,
        warmup=20,
        options={"learns by": learns_by},
    )
    return Subject(recipe, f"{about}; half a minute", points=texts.english, result=texts.result_of(learns_by))


SUBJECTS: Mapping[str, Subject] = {
    subject.recipe.subject: subject
    for subject in [
        of_points("moons", moons, "two half circles in the plane; half a minute"),
        of_points("swissroll", swiss_roll, "a spiral in the plane; half a minute"),
        of_points("checkerboard", checkerboard, "eight squares in the plane; half a minute"),
        Subject(
            SMALL_DIGITS,
            "8x8 digits that need no download; two minutes",
            images=small_digits,
            views=two_views(small_digits),
            features=128,
            samples=200,
        ),
        Subject(
            TRANSFORMER,
            "the same digits by a transformer, notebook 18; three minutes",
            images=small_digits,
            views=two_views(small_digits),
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
            images=whole_mnist,
            result=lambda net, recipe: evaluation.accuracy(net, mnist("test")),
        ),
        Subject(
            NOISY_CLASSIFIER,
            "the course's classifier of noisy digits; five minutes",
            images=whole_mnist,
            result=lambda net, recipe: evaluation.accuracy_in_noise(net, recipe.gaussian_path(), mnist("test")),
        ),
        Subject(
            AUTOENCODER,
            "the course's autoencoder of MNIST; five minutes",
            images=whole_mnist,
            result=lambda net, recipe: autoencoder_result(net, mnist("test").x, RESULT_SAMPLES),
        ),
        Subject(
            BALLS,
            "films of a ball that bounces, 8 frames of 16x16; ten minutes",
            points=balls,
            result=lambda net, recipe: films.film_result(net, RESULT_SAMPLES // 5, RESULT_STEPS),
        ),
        Subject(
            COARSE,
            "MNIST at half its size, 14x14, the first stage of a cascade; two minutes",
            images=half_mnist,
            views=coarse_views,
            features=128,
        ),
        Subject(
            UPSAMPLER,
            "MNIST from its half-size pictures, the second stage of a cascade; five minutes",
            images=whole_mnist,
            views=two_views(whole_mnist),
            features=128,
            result=upsampler_result,
        ),
        of_digits(FOUR_STEPS, "a student of mnist-ddpm-labels, in 4 steps; 6 minutes", result=student_result),
        of_digits(ONE_STEP, "a student of mnist-4-steps, in 1 step; 8 minutes", result=student_result),
        Subject(
            PLANE_GAN,
            "a GAN of three Gaussians in the plane, in 4 steps; one minute",
            points=few_steps.points,
            result=lambda net, recipe: few_steps.plane_result(net, recipe, RESULT_SAMPLES),
        ),
        Subject(
            CAPTIONS,
            "digits as a caption asks for them; a quarter of an hour",
            images=captioned_pictures,
            views=one_view(captioned_pictures),
            result=caption_result,
        ),
        Subject(
            CAPTIONS_JUDGE,
            "who says which digit stands in a place; two minutes",
            images=slots,
            result=lambda net, recipe: evaluation.accuracy(net, slot_digits("test")),
        ),
        of_english("english-masked", "hidden words", "a small English whose words are hidden"),
        of_english("english-fifteen", "15 % hidden words", "the same, with 15 % of the words hidden, as BERT learns"),
        of_english("english-uniform", "exchanged words", "the small English whose words are exchanged"),
        of_english("english-gaussian", "words as vectors", "the small English as vectors in Gaussian noise"),
        of_english("english-left-to-right", "next word", "the small English, word by word"),
    ]
}


def of_pictures(folder: str | Path, *, size: int = 32, grey: bool = False) -> Subject:
    """A folder of pictures, whose subfolders are labels. Trained as MNIST is.

    Raises Refused for a size that cannot be, PicturesUnfit for a folder that will not do.
    """
    try:
        found = pictures(folder, size=size, grey=grey)
    except PicturesUnfit:
        raise
    except ValueError as error:
        raise Refused(f"--{error}") from error
    classes = len(found.names)
    recipe = replace(
        LIVE,
        subject="pictures",
        architecture={**U_NET, "channels": 1 if grey else 3, "classes": classes},
        shape=(1 if grey else 3, size, size),
        batch_size=min(LIVE.batch_size, len(found.train.x)),
        label_dropout=LABEL_DROPOUT if classes else 0.0,
        source=str(Path(folder).expanduser().resolve()),
    )

    def views() -> dict[str, evaluation.View]:
        view = evaluation.principal_view(shrunk(found.train.x))
        return {f"{evaluation.COMPONENTS} principal components": lambda x: view(shrunk(x))}

    return Subject(
        recipe,
        "a folder of pictures",
        images=lambda part: getattr(found, part),
        views=views,
        samples=min(PICTURE_SAMPLES, len(found.test.x) // 2),
        notes=found.notes,
    )


def shrunk(x: Tensor) -> Tensor:
    """Pictures at the size by which they are compared, by averaging over what becomes one pixel."""
    return functional.interpolate(x, size=(VIEWED, VIEWED), mode="area") if x.shape[-1] > VIEWED else x


def subject_of(recipe: Recipe) -> Subject:
    """The subject that a recipe was made for. Raises Refused where nobody knows it, or its pictures are gone."""
    if recipe.source is not None:
        channels, size, _ = recipe.shape
        try:
            return of_pictures(recipe.source, size=size, grey=channels == 1)
        except PicturesUnfit as error:
            raise Refused(f"the pictures that it was trained on are needed to measure it: {error}") from error
    if recipe.subject not in SUBJECTS:
        raise Refused(f"the card must name its subject, one of {', '.join(SUBJECTS)}, but says {recipe.subject!r}")
    return SUBJECTS[recipe.subject]


# Recipes on disk


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
