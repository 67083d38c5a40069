"""minidiff: diffusion models, small enough to read and tested against the truth.

One idea carries the whole package. A noisy point is `x_t = alpha(t) x0 + sigma(t) eps`, and everything else is a
way to learn, or to use, the conditional mean `E[x0 | x_t]`. The alphabet, in the order in which the course meets it:

data         two-dimensional distributions, 8x8 digits, MNIST, your own pictures
physics      potentials, random walks, Langevin dynamics, the Fokker-Planck equation, what one measures
paths        GaussianPath: how data dissolves into noise, and the exact way back when x0 is known
schedules    the paths that people use, from ddpm_linear to rectified_flow, and times to walk down them
exact        the truth: score, log-density, E[x0 | x_t] of Gaussian mixtures and of finite data sets
structured   the truth for sounds: mixtures of thousands of numbers with simple covariances (notebook 23)
targets      x0, eps, score, v and velocity are one thing: the only place that converts between them
denoisers    E[x0 | x_t] from a network; clipping; guidance
networks     an MLP for points, U-Nets and a transformer for images, attention, a Fourier network for functions
training     the loss, the training loop, moving averages of weights
optimizers   Muon, which trains the digits: every direction of a weight matrix learns alike
samplers     DDPM, DDIM, Euler, Heun, DPM-Solver++, the reverse SDE, Langevin: one step and one loop each
bounds       the variational bound, term by term
likelihood   log-likelihood by the probability-flow ODE
inverse      what was x0, if only a blurred or masked part of it was measured?
measurement  a number with its floor, and a finding that says it
metrics      distances between two sets of samples, each with its floor
plots        every figure of the course
checkpoints  weights on disk, with a card that says what they are
languages    a small English with an exact entropy, and the names of Unicode's characters
flows        pairs of noise and data, and what the flow between them costs (notebook 16)
latents      what an autoencoder keeps, the holes it leaves, and when a latent is decided (notebook 17)
similarity   denoisers that compare patches: within a noisy picture, within a window (notebook 18)
cascades     spectra, pictures from coarse to fine, noise between the stages (notebook 21)
films        models of films, which go on from given frames (notebook 21)
distillation  students that do in one step what a sampler does in fifty (notebook 20)
captioned    models that a caption steers, and whether their pictures obey (notebook 19)
discrete     diffusion of words: masks, other words, and what several at once cost (notebook 22)
signals      plucked strings and whispered vowels, their pitch and their spectrograms (notebook 23)
planning     plans as samples: walks in a maze, goals and rewards, all beside the exact answer (notebook 24)
functions    data that are functions: Gaussian processes, noise on any grid, bands of samples (notebook 25)
rivals       flows, autoregression, a VAE, a GAN and an energy model of points (notebook 26)
adapt        fine-tuning: changes of low rank beside trained layers (notebook 27)
clinic       models with one fault each, and instruments that say where it is (notebook 28)
digits       the digit models of notebooks 13 to 15: how they learn, are loaded and draw
explorer     a page to play with: a mixture and its exact diffusion model, in a browser
checks       the exercises: what you write is checked, and your mistake is named

Behind a wall, since no lesson needs it:

workshop     the command line, trainings in folders, several workers, the doctor
"""

import os

import numpy as np
import torch

from minidiff._tensors import check_whole

__all__ = ["generator"]


def generator(seed: int, *stream: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Make a random generator from a seed. Every generator of the course is made here.

    `stream` names independent streams under the same seed: `generator(0, 7)` may draw batch 7 without knowing what
    batches 0 to 6 drew. NumPy's SeedSequence mixes the numbers, so that neighbouring seeds share nothing.

    The environment variable `MINIDIFF_SEED=n` shifts every seed of the course at once. A finding that holds under
    several shifts is not a lucky draw.

    Raises ValueError where a number is negative or `MINIDIFF_SEED` is not a whole number.
    """
    shift = os.environ.get("MINIDIFF_SEED", "0")
    if not shift.isdecimal():
        raise ValueError(f"the environment variable MINIDIFF_SEED must be a whole number >= 0, but is {shift!r}")
    for name, number in [("seed", seed), *(("stream", number) for number in stream)]:
        check_whole(name, number, least=0)
    # as a spawn key, since SeedSequence drops zeros at the end of the seed itself: streams () and (0,) would be one
    mixed = np.random.SeedSequence([int(shift), int(seed)], spawn_key=tuple(map(int, stream)))
    mixed = int(mixed.generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(mixed >> 1)  # torch wants 63 bits
