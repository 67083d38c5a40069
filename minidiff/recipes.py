"""The trained networks that come with the course, each made from nothing. Taught in notebooks 13 and 14.

    python -m minidiff.recipes mnist-classifier          about 2 minutes on two CPU cores
    python -m minidiff.recipes mnist-ddpm                about 20 minutes on two CPU cores
    python -m minidiff.recipes mnist-ddpm-labels         it knows which digit it draws; about an hour on two CPU cores
    python -m minidiff.recipes mnist-classifier-noisy    recognises noisy digits, for classifier guidance; 5 minutes
    python -m minidiff.recipes picture                   the picture at the head of the README, in data/

Each of the networks writes `weights.safetensors` and `card.json` (recipe, seed, steps, hardware, time, results) to
data/checkpoints/NAME.
Ctrl-C ends a run early and still writes what it has learned so far.
"""

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from minidiff import generator
from minidiff._tensors import expand, noise_like, per_sample
from minidiff.checkpoints import checkpoint_folder, load_weights, save_weights
from minidiff.data import Images, mnist
from minidiff.denoisers import Denoiser, from_network, guided
from minidiff.exact import GaussianMixture, mixture_denoiser
from minidiff.metrics import Measurement, frechet_distance
from minidiff.networks import Classifier, NoisyClassifier, ResidualBlock, SelfAttention, UNet, initialised
from minidiff.optimizers import Muon
from minidiff.paths import GaussianPath
from minidiff.samplers import State, ancestral, ddim, last
from minidiff.schedules import cosine
from minidiff.targets import LARGEST_LOG_SNR
from minidiff.training import (
    ALL_ROWS,
    EMA,
    Batch,
    Loss,
    TrainStep,
    batches,
    denoising_objective,
    faster_dtype,
    spread_times,
    train,
    warmup_cosine,
)

__all__ = [
    "class_log_prob",
    "classification_loss",
    "classifier_features",
    "classifier_training",
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
    "main",
    "noisy_classification_loss",
    "noisy_classifier_training",
    "picture",
    "sample_digits",
    "sample_labelled_digits",
]

# The DDPM: the cosine path, whose ends are both well behaved, with a network that predicts the clean digit.
PATH, KIND = cosine(), "x0"
LARGEST_WEIGHT = 20.0
FEATURE_CHUNK = 500
SAMPLING_CHUNK = 250

# The classifier, whose features measure distances between sets of digits


def classification_loss(net: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """Cross entropy, (B,). Draws nothing."""
    return functional.cross_entropy(net(batch.x0), batch.y, reduction="none")


def classifier_training(images: Images, *, steps: int, seed: int = 0) -> tuple[EMA, Iterator[TrainStep]]:
    """Everything that makes the shipped classifier: AdamW, three epochs at batch 128, a moving average of weights."""
    net = initialised(Classifier, generator(seed))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    ema = EMA(net, decay=0.995)
    data = batches(images.x, images.y, batch_size=128, steps=steps, seed=seed)
    schedule = warmup_cosine(optimizer, steps=steps, warmup=steps // 20)
    return ema, train(
        net, data, classification_loss, optimizer, generator=generator(seed, 1), schedule=schedule, ema=ema
    )


def load_classifier() -> Classifier:
    """The shipped classifier, ready to use."""
    net = initialised(Classifier, generator(0)).eval().requires_grad_(False)
    load_weights(checkpoint_folder("mnist-classifier"), net)
    return net


@torch.no_grad()
def classifier_features(classifier: Classifier, x: Tensor) -> Tensor:
    """The 128 numbers behind the classifier's answer, for images (N, 1, 28, 28). Returns (N, 128)."""
    return torch.cat([classifier.features(part) for part in x.split(FEATURE_CHUNK)])


# The classifier of noisy digits


def noisy_classification_loss(net: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """Cross entropy of noisy digits, (B,), at times drawn evenly. Dhariwal & Nichol 2021, section 4. Notebook 14."""
    t = spread_times(len(batch.x0), PATH, generator).to(batch.x0)
    x_t = PATH.perturb(batch.x0, t, noise_like(batch.x0, generator))
    return -class_log_prob(net, batch.y)(x_t, t)


def class_log_prob(net: nn.Module, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """log p(y | x_t) by a classifier of noisy data, for `denoisers.classifier_guided`. y: () or (B,). Notebook 14."""

    def log_prob(x_t: Tensor, t: Tensor) -> Tensor:
        scale = expand(1 / torch.hypot(PATH.alpha(t), PATH.sigma(t)), x_t)
        log_snr = per_sample(PATH.log_snr(t).clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR), x_t).to(x_t)
        answers = torch.log_softmax(net(scale * x_t, log_snr), dim=1)
        return answers.gather(1, y.expand(len(x_t))[:, None])[:, 0]

    return log_prob


def noisy_classifier_training(images: Images, *, steps: int, seed: int = 0) -> tuple[EMA, Iterator[TrainStep]]:
    """Everything that makes the shipped classifier of noisy digits: AdamW, batch 128, a moving average of weights."""
    net = initialised(NoisyClassifier, generator(seed))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    ema = EMA(net, decay=0.999)
    data = batches(images.x, images.y, batch_size=128, steps=steps, seed=seed)
    schedule = warmup_cosine(optimizer, steps=steps, warmup=steps // 20)
    return ema, train(
        net, data, noisy_classification_loss, optimizer, generator=generator(seed, 1), schedule=schedule, ema=ema
    )


def load_noisy_classifier() -> NoisyClassifier:
    """The shipped classifier of noisy digits, ready to use."""
    net = initialised(NoisyClassifier, generator(0)).eval().requires_grad_(False)
    load_weights(checkpoint_folder("mnist-classifier-noisy"), net)
    return net


# The DDPM


def digit_weight(path: GaussianPath, t: Tensor) -> Tensor:
    """1 / sigma^2, at most 20: it makes the square error of x0 that of v. (B,) -> (B,).

    Where a guess of x0 is off by d, the v that follows from it is off by d / sigma (Salimans & Ho 2022, section 4; it
    takes alpha^2 + sigma^2 = 1). So the network may say one thing and the loss judge another (Li & He 2025, arXiv
    2511.13720). Notebook 13.
    """
    return path.sigma(t).square().reciprocal().clamp(max=LARGEST_WEIGHT)


def digit_objective(*, label_dropout: float = 0.0, rows: slice = ALL_ROWS) -> Loss:
    """What the DDPM learns by: it predicts x0, and is judged as if it predicted v. See `denoising_objective`."""
    return denoising_objective(PATH, KIND, weight=digit_weight, label_dropout=label_dropout, rows=rows)


def digit_network(seed: int = 0, classes: int = 0) -> UNet:
    """The U-Net of notebook 13, at its random start. classes: how many labels it knows; the notebook's knows ten."""
    return initialised(lambda: UNet(widths=(64, 128), blocks=1, patch=2, classes=classes), generator(seed))


def digit_optimizer(net: UNet, learning_rate: float) -> Muon:
    """Muon for the convolutions and the attention of the blocks; AdamW at 0.4 of its learning rate for the rest."""
    hidden = []
    for block in net.modules():
        if isinstance(block, ResidualBlock):
            hidden += [block.conv_in.weight, block.conv_out.weight]
        elif isinstance(block, SelfAttention):
            hidden += [block.qkv.weight, block.out.weight]
    in_hidden = {id(weight) for weight in hidden}
    others = [weight for weight in net.parameters() if id(weight) not in in_hidden]
    return Muon(hidden, others, lr=learning_rate, other_lr=0.4 * learning_rate)


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

    The same code makes notebook 13's live model and the shipped one; they differ in these numbers only.
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
    net = digit_network().eval().requires_grad_(False)
    return net, load_weights(checkpoint_folder("mnist-ddpm"), net)


def load_labelled_digit_network() -> tuple[UNet, dict]:
    """The shipped DDPM that knows which digit it draws, ready to use, and its card. Notebook 14."""
    net = digit_network(classes=10).eval().requires_grad_(False)
    return net, load_weights(checkpoint_folder("mnist-ddpm-labels"), net)


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

    w = 1 is plain conditional sampling and asks the network once a step; any other w asks twice. sampler: a loop of
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


# The command

CLASSIFIER_STEPS = 3 * 468  # three epochs
DDPM_RECIPE = {"steps": 7500, "batch_size": 128, "learning_rate": 1e-2, "decay": 0.995, "falls": True, "seed": 0}
LABELS_RECIPE = {**DDPM_RECIPE, "steps": 24_000, "label_dropout": 0.1}
# For minutes; its training may stop at any step
ANY_TIME_RECIPE = {**LABELS_RECIPE, "steps": 7500, "decay": 0.999, "falls": False}
NOISY_CLASSIFIER_STEPS = 5 * 468
DISTANCE_SAMPLES, DISTANCE_STEPS = 2000, 50


def picture(out: Path) -> None:
    """Draw the picture at the head of the README: a spiral and a few digits, dissolving and coming back."""
    from minidiff import plots  # here, since matplotlib takes long to import

    figure, axes = plots.panels(3, 7, size=(1.7, 1.75))
    spiral = spiral_mixture()
    times = torch.linspace(1, 0, 401)
    x0, _ = spiral.sample(1500, generator(0))
    eps = torch.randn(x0.shape, generator=generator(1))
    walk = list(ancestral(mixture_denoiser(spiral, PATH), PATH, eps, times, generator=generator(2)))
    net, _ = load_digit_network()
    digits = list(ddim(from_network(net, PATH, KIND), PATH, PATH.prior((9, 1, 28, 28), generator(3)), times[::8]))
    for column, t in enumerate([0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0]):
        back = [0.995, 0.75, 0.5, 0.35, 0.2, 0.1, 0.0][column]
        axes[column].set_title(f"t = {t:.2g}")
        plots.points(axes[column], PATH.perturb(x0, torch.tensor(t), eps), window=2.4)
        plots.points(axes[7 + column], nearest_state(walk, back).x, colour=plots.OTHER, window=2.4)
        plots.image_grid(axes[14 + column], nearest_state(digits, back).x, columns=3)
        axes[14 + column].set_xlabel(f"t = {back:.2g}")
    for row, label in enumerate(["data to noise", "and back, exactly", "digits, learned"]):
        axes[7 * row].set_ylabel(label)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_suffix(".tmp")
    draft.write_bytes(plots.png(figure))
    draft.replace(out)


def spiral_mixture(components: int = 80) -> GaussianMixture:
    """A spiral of small equal Gaussians, whose denoiser is exact."""
    angle = torch.linspace(1.5**2, 4.5**2, components).sqrt() * torch.pi  # about evenly spaced along the line
    means = torch.stack([angle * angle.cos(), angle * angle.sin()], dim=1)
    covariance = 0.12 * torch.eye(2).expand(components, 2, 2)
    return GaussianMixture(torch.full((components,), 1 / components), means, covariance.contiguous()).standardised()


def nearest_state(states: list[State], t: float) -> State:
    """The state of a walk at the time nearest to t."""
    return min(states, key=lambda state: abs(float(state.t) - t))


def main(arguments: list[str] | None = None) -> None:
    """`python -m minidiff.recipes NAME [--out FOLDER] [--steps N]`."""
    parser = argparse.ArgumentParser(prog="python -m minidiff.recipes", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=[*NETWORKS, "picture"])
    parser.add_argument("--out", type=Path, help="where to write: a folder, or the picture's file")
    parser.add_argument("--steps", type=int, help="fewer steps than the recipe, for a trial")
    options = parser.parse_args(arguments)
    if options.name == "picture":
        return picture(options.out or Path("data") / "picture.png")
    out = options.out or Path("data") / "checkpoints" / options.name
    card = NETWORKS[options.name](out, options.steps)
    print(f"wrote {out}: {card['result']}")


def make_classifier(out: Path, steps: int | None = None) -> dict:
    """Train the classifier and write it. Returns its card."""
    recipe = {"steps": steps or CLASSIFIER_STEPS, "seed": 0}
    ema, running = classifier_training(mnist("train"), **recipe)
    seconds = run(running, recipe["steps"])
    test = mnist("test")
    with torch.no_grad():
        answers = torch.cat([ema.net(part).argmax(dim=1) for part in test.x.split(FEATURE_CHUNK)])
    accuracy = float((answers == test.y).float().mean())
    return write(out, ema, recipe, seconds, {"test accuracy": round(accuracy, 4)})


def make_noisy_classifier(out: Path, steps: int | None = None) -> dict:
    """Train the classifier of noisy digits and write it. Returns its card."""
    recipe = {"steps": steps or NOISY_CLASSIFIER_STEPS, "seed": 0}
    ema, running = noisy_classifier_training(mnist("train"), **recipe)
    seconds = run(running, recipe["steps"])
    test, result = mnist("test"), {}
    for t in (0.1, 0.5, 0.8):
        eps = torch.randn(test.x.shape, generator=generator(0, 6))
        x_t, log_snr = PATH.perturb(test.x, torch.tensor(t), eps), PATH.log_snr(torch.tensor(t))
        with torch.no_grad():
            parts = x_t.split(FEATURE_CHUNK)
            answers = torch.cat([ema.net(part, log_snr.repeat(len(part))).argmax(dim=1) for part in parts])
        result[f"test accuracy at t = {t}"] = round(float((answers == test.y).float().mean()), 4)
    return write(out, ema, recipe, seconds, result)


def make_labelled_ddpm(out: Path, steps: int | None = None) -> dict:
    """Train the DDPM that knows its labels, measure it, and write it. Returns its card."""
    recipe = {**LABELS_RECIPE, "steps": steps or LABELS_RECIPE["steps"]}
    classes = 10
    net, images = digit_network(classes=classes), mnist("train")
    dtype = faster_dtype(net, images.x[: recipe["batch_size"]], digit_objective())
    ema, running = digit_training(net, images.x, images.y, **recipe, dtype=dtype)
    seconds = run(running, recipe["steps"])
    result = labelled_result(ema.net)
    return write(out, ema, {**recipe, "classes": classes, "kind": KIND, "precision": str(dtype)}, seconds, result)


def make_ddpm(out: Path, steps: int | None = None) -> dict:
    """Train the DDPM, measure it, and write it. Returns its card."""
    recipe = {**DDPM_RECIPE, "steps": steps or DDPM_RECIPE["steps"]}
    net, x = digit_network(), mnist("train").x
    dtype = faster_dtype(net, x[: recipe["batch_size"]], digit_objective())
    ema, running = digit_training(net, x, **recipe, dtype=dtype)
    seconds = run(running, recipe["steps"])
    samples = sample_digits(ema.net, DISTANCE_SAMPLES, steps=DISTANCE_STEPS, seed=0, dtype=dtype)
    result = distance_result(samples, load_classifier())
    return write(out, ema, {**recipe, "kind": KIND, "precision": str(dtype)}, seconds, result)


def labelled_result(net: nn.Module) -> dict:
    """For a card: how often a digit is what it was asked to be, and the distance of all."""
    y, classifier = torch.arange(DISTANCE_SAMPLES) % 10, load_classifier()
    samples = sample_labelled_digits(net, y, steps=DISTANCE_STEPS, seed=0)
    with torch.no_grad():
        answers = torch.cat([classifier(part).argmax(dim=1) for part in samples.split(FEATURE_CHUNK)])
    recognised = float((answers == y).float().mean())
    return {"recognised as their class": round(recognised, 4), **distance_result(samples, classifier)}


def distance_result(samples: Tensor, classifier: Classifier) -> dict:
    """For a card: the distance of samples to test images, its floor, and how they were drawn."""
    distance = digit_distance(samples, mnist("test").x, classifier)
    return {
        "Frechet distance on the classifier's features": round(distance.value, 3),
        "its floor": round(distance.floor, 3),
        "samples": distance.samples,
        "sampling steps": DISTANCE_STEPS,
    }


def run(running: Iterator[TrainStep], steps: int) -> float:
    """Train to the end, or to Ctrl-C, with a progress bar. Returns the seconds it took."""
    begin = time.perf_counter()
    bar = tqdm(running, total=steps, unit="step")
    try:
        for step in bar:
            if step.step % 20 == 0:
                bar.set_postfix(loss=f"{step.loss:.4f}")
    except KeyboardInterrupt:
        print("stopped early: measuring and writing what was learned so far")
    return time.perf_counter() - begin


def write(out: Path, ema: EMA, recipe: dict, seconds: float, result: dict) -> dict:
    """Write the average's weights with a card, and return the card."""
    card = {
        "command": f"python -m minidiff.recipes {out.name}",
        "data": "mnist",
        "recipe": {**recipe, "steps made": ema.steps, "moving average": ema.decay},
        "seconds": round(seconds),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "parameters": sum(value.numel() for value in ema.net.parameters()),
        "result": result,
    }
    save_weights(out, ema.net, card)
    return card


NETWORKS = {
    "mnist-classifier": make_classifier,
    "mnist-ddpm": make_ddpm,
    "mnist-ddpm-labels": make_labelled_ddpm,
    "mnist-classifier-noisy": make_noisy_classifier,
}

if __name__ == "__main__":
    main()
