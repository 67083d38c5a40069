"""How good are samples? Every answer comes with its floor. Taught in notebooks 07, 11, 13, 15, 27 and 30.

Two finite sets of real samples are never at distance 0. The floor is what a perfect model would score at the same
numbers of samples. A value without its floor, or without the numbers behind it, says nothing.

    distances    one number for how far apart two sets are: energy, MMD, sliced Wasserstein, Frechet; permutation tests
    diagnostics  what is wrong: a classifier that tries to tell them apart, precision and recall, weights of modes
    images       how close an image is to the right one: PSNR and SSIM
    choices      whether people can tell generated pictures from real ones, counted exactly

Each sees something and is blind to something; each docstring says what. All of them work through pairs of samples in
tiles, in float64 on the CPU: 10,000 samples against 10,000 take well under 1 GB.
"""

from minidiff.measurement import Measurement
from minidiff.metrics.choices import (
    Choice,
    choices_needed,
    equivalent,
    forced_choice,
    forced_choice_of_judges,
    power_of_choices,
)
from minidiff.metrics.diagnostics import (
    ClassifierTest,
    ModeWeights,
    PrecisionRecall,
    classifier_test,
    mode_weights,
    precision_recall,
)
from minidiff.metrics.distances import (
    energy_distance,
    energy_test,
    frechet_distance,
    frechet_extrapolated,
    median_distance,
    mmd,
    mmd_test,
    sliced_wasserstein,
)
from minidiff.metrics.images import ImageScore, psnr, ssim

__all__ = [
    "Choice",
    "ClassifierTest",
    "ImageScore",
    "Measurement",
    "ModeWeights",
    "PrecisionRecall",
    "choices_needed",
    "classifier_test",
    "energy_distance",
    "energy_test",
    "equivalent",
    "forced_choice",
    "forced_choice_of_judges",
    "frechet_distance",
    "frechet_extrapolated",
    "median_distance",
    "mmd",
    "mmd_test",
    "mode_weights",
    "power_of_choices",
    "precision_recall",
    "psnr",
    "sliced_wasserstein",
    "ssim",
]
