"""The digit models that notebooks 13 to 15 use: how they learn, how they are loaded, and how they draw.

`python -m minidiff train NAME` makes them from nothing, for the four names that lie in data/checkpoints.

Sources: Salimans & Ho 2022, arXiv 2202.00512, section 4; Li & He 2025, arXiv 2511.13720; Dhariwal & Nichol 2021, arXiv
2105.05233, section 4.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from minidiff import generator
from minidiff._tensors import noise_like
from minidiff.checkpoints import load_network
from minidiff.denoisers import Denoiser, from_network, guided
from minidiff.measurement import Measurement
from minidiff.metrics import frechet_distance
from minidiff.networks import Attention, Classifier, NoisyClassifier, ResidualBlock, SelfAttention, UNet, initialised
from minidiff.optimizers import Muon, muon_for
from minidiff.paths import GaussianPath
from minidiff.samplers import State, ancestral, last
from minidiff.schedules import cosine
from minidiff.targets import network_input
from minidiff.training import (
    EMA,
    Batch,
    Draws,
    Objective,
    TrainStep,
    batches,
    denoising_objective,
    spread_times,
    train,
    warmup_cosine,
)

__all__ = [
    "KIND",
    "PATH",
    "class_log_prob",
    "classification_objective",
    "classifier_features",
    "digit_distance",
    "digit_network",
    "digit_objective",
    "digit_optimizer",
    "digit_training",
    "digit_weight",
    "load_classifier",
    "load_digit_network",
    "load_labelled_digit_network",
    "load_noisy_classifier",
    "noisy_classification_objective",
    "sample_digits",
    "sample_labelled_digits",
]

# The DDPM: the cosine path, whose ends are both well behaved, with a network that predicts the clean digit.
PATH, KIND = cosine(), "x0"
LARGEST_WEIGHT = 20.0
FEATURE_CHUNK = 500
SAMPLING_CHUNK = 250

# The classifier, whose features measure distances between sets of digits


def classification_objective() -> Objective:
    """Cross entropy, (B,). Nothing is drawn."""

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        return functional.cross_entropy(net(draws.x0), draws.y, reduction="none")

    return Objective(lambda batch, _: Draws(batch.x0, y=batch.y), loss)


def load_classifier() -> Classifier:
    """The shipped classifier, ready to use."""
    return load_network("mnist-classifier")[0]


@torch.no_grad()
def classifier_features(classifier: Classifier, x: Tensor) -> Tensor:
    """The 128 numbers behind the classifier's answer, for images (N, 1, 28, 28). Returns (N, 128)."""
    return torch.cat([classifier.features(part) for part in x.split(FEATURE_CHUNK)])


# The classifier of noisy digits


def noisy_classification_objective(path: GaussianPath) -> Objective:
    """Cross entropy of noisy digits, (B,), at times drawn evenly. Dhariwal & Nichol 2021, section 4. Notebook 14."""

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        t = spread_times(len(batch.x0), path, generator).to(batch.x0)
        return Draws(batch.x0, t, noise_like(batch.x0, generator), batch.y)

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        x_t = path.perturb(draws.x0, draws.t, draws.eps)
        return -class_log_prob(net, draws.y, path)(x_t, draws.t)

    return Objective(draw, loss)


def class_log_prob(net: nn.Module, y: Tensor, path: GaussianPath = PATH) -> Callable[[Tensor, Tensor], Tensor]:
    """log p(y | x_t) by a classifier of noisy data, for `denoisers.classifier_guided`. y: () or (B,). Notebook 14."""

    def log_prob(x_t: Tensor, t: Tensor) -> Tensor:
        answers = torch.log_softmax(net(*network_input(path, x_t, t)), dim=1)
        return answers.gather(1, y.expand(len(x_t))[:, None])[:, 0]

    return log_prob


def load_noisy_classifier() -> NoisyClassifier:
    """The shipped classifier of noisy digits, ready to use."""
    return load_network("mnist-classifier-noisy")[0]


# The DDPM


def digit_weight(path: GaussianPath, t: Tensor, largest: float = LARGEST_WEIGHT) -> Tensor:
    """1 / sigma^2, at most 20: it makes the square error of x0 that of v. (B,) -> (B,).

    Where a guess of x0 is off by d, the v that follows from it is off by d / sigma (Salimans & Ho 2022, section 4; it
    takes alpha^2 + sigma^2 = 1). So the network may predict one thing and the loss be the error in another (Li & He
    2025). Notebook 13.
    """
    return path.sigma(t).square().reciprocal().clamp(max=largest)


def digit_objective(*, label_dropout: float = 0.0) -> Objective:
    """What the DDPM learns by: it predicts x0, and the loss is the error in v. See `denoising_objective`."""
    return denoising_objective(PATH, KIND, weight=digit_weight, label_dropout=label_dropout)


def digit_network(seed: int = 0, classes: int = 0) -> UNet:
    """The U-Net of notebook 13, at its random start. classes: how many labels it knows; the notebook's knows ten."""
    return initialised(lambda: UNet(widths=(64, 128), blocks=1, patch=2, classes=classes), generator(seed))


def digit_optimizer(
    net: nn.Module,
    learning_rate: float,
    others: float = 0.4,
    *,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.99),
    momentum: float = 0.95,
) -> Muon:
    """Muon for convolutions and attention of the blocks; AdamW at `others` of its learning rate for the rest."""
    hidden = []
    for block in net.modules():
        if isinstance(block, ResidualBlock):
            hidden += [block.conv_in.weight, block.conv_out.weight]
        elif isinstance(block, SelfAttention):
            hidden += [block.qkv.weight, block.out.weight]
        elif isinstance(block, Attention):
            hidden += [block.query.weight, block.key_value.weight, block.out.weight]
    shared = {"weight_decay": weight_decay, "betas": betas, "momentum": momentum}
    return muon_for(net, hidden, learning_rate, others, **shared)


def digit_training(
    net: UNet,
    x: Tensor,
    y: Tensor | None = None,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    decay: float,
    label_dropout: float = 0.0,
    falls: bool = False,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> tuple[EMA, Iterator[TrainStep]]:
    """Everything that trains the DDPM on images x, (N, 1, H, W): returns the moving average and the running training.

    y: labels, (N,), for a network with classes; `label_dropout` of them are withheld, so that it learns both.
    falls: let the learning rate fall to 0 by the last step. Without it the rate stays, the average does the smoothing,
    and you may stop at any step: better for minutes, while a long training gains a little by the fall.

    `python -m minidiff train` does the same in a folder, where it may be cut off and resumed.
    """
    optimizer = digit_optimizer(net, learning_rate)
    ema = EMA(net, decay)
    falling = warmup_cosine(optimizer, steps=steps, warmup=min(200, steps // 10)) if falls else None
    return ema, train(
        net,
        batches(x, y, batch_size=batch_size, steps=steps, seed=seed),
        digit_objective(label_dropout=label_dropout),
        optimizer,
        generator=generator(seed, 2),
        schedule=falling,
        ema=ema,
        dtype=dtype,
    )


def load_digit_network() -> tuple[UNet, dict]:
    """The shipped DDPM, ready to use, and its card."""
    return load_network("mnist-ddpm")


def load_labelled_digit_network() -> tuple[UNet, dict]:
    """The shipped DDPM that knows which digit it draws, ready to use, and its card. Notebooks 13, 14."""
    return load_network("mnist-ddpm-labels")


def sample_digits(
    net: nn.Module, n: int, *, steps: int, seed: int, side: int = 28, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Draw n images, (n, 1, side, side), by DDPM's sampler in a few steps, with a progress bar."""
    return _drawn(lambda rows: from_network(net, PATH, KIND), n, steps, seed, side, dtype, ancestral)


def sample_labelled_digits(
    net: nn.Module,
    y: Tensor,
    *,
    w: float = 1.0,
    steps: int,
    seed: int,
    side: int = 28,
    dtype: torch.dtype = torch.float32,
    sampler: Callable[..., Iterator[State]] = ancestral,
) -> Tensor:
    """Draw one image for each label of y, (n,), by classifier-free guidance at weight w. Notebooks 13 and 14.

    w = 1 is plain conditional sampling and evaluates the network once a step; any other w twice. sampler: a loop of
    `samplers` that takes a generator.
    """

    def denoiser(rows: slice) -> Denoiser:
        labelled = from_network(net, PATH, KIND, y[rows])
        return labelled if w == 1 else guided(labelled, from_network(net, PATH, KIND), w)

    return _drawn(denoiser, len(y), steps, seed, side, dtype, sampler)


def _drawn(
    denoiser: Callable[[slice], Denoiser],
    n: int,
    steps: int,
    seed: int,
    side: int,
    dtype: torch.dtype,
    sampler: Callable[..., Iterator[State]],
) -> Tensor:
    """n images, a chunk at a time, each by the denoiser of its rows. (n, 1, side, side)."""
    source, parts = generator(seed, 3), []
    noise, times = PATH.prior((n, 1, side, side), source), torch.linspace(1, 0, steps + 1)
    for begin in tqdm(range(0, n, SAMPLING_CHUNK), desc="sampling", unit="batch"):
        rows = slice(begin, begin + SAMPLING_CHUNK)
        with torch.autocast(noise.device.type, dtype, enabled=dtype != torch.float32):
            parts.append(last(sampler(denoiser(rows), PATH, noise[rows], times, generator=source)))
    return torch.cat(parts)


def digit_distance(samples: Tensor, test: Tensor, classifier: Classifier, *, seed: int = 0) -> Measurement:
    """Frechet distance of n samples to n test images, over the floor between test images. samples: (n, 1, 28, 28).

    The test images are drawn at random, since MNIST is ordered by writer. 2 n must not exceed the test set.
    """
    n = len(samples)
    if 2 * n > len(test):
        raise ValueError(f"samples must hold at most {len(test) // 2} images, half the test set, but holds {n}")
    rows = torch.randperm(len(test), generator=generator(seed, 4))[: 2 * n]
    real, real_again = classifier_features(classifier, test[rows]).split(n)
    return frechet_distance(classifier_features(classifier, samples), real, real_again, generator=generator(seed, 5))
