"""The pictures that subjects are trained on, what they are compared by, and with how many."""

from collections.abc import Callable

import torch

from minidiff.cascades import enlarged, halved
from minidiff.data import Images, digits, mnist
from minidiff.data.captions import captioned_digits, slot_digits
from minidiff.workshop import evaluation

__all__ = ["RESULT_SAMPLES", "RESULT_STEPS", "captioned_pictures", "coarse_views", "half_mnist", "one_view", "slots"]
__all__ += ["small_digits", "two_views", "whole_mnist"]


RESULT_SAMPLES, RESULT_STEPS = 2000, 50  # what the card of a finished network is measured with


def small_digits(part: str) -> Images:
    """scikit-learn's digits. Every third is kept for the test."""
    x, y = digits()
    kept = (torch.arange(len(x)) % 3 != 2) == (part == "train")
    return Images(x[kept], y[kept])


# `mnist` is looked up when it is called, so that a test may put something small in its place
def whole_mnist(part: str) -> Images:
    """MNIST with its labels."""
    return mnist(part)


def captioned_pictures(part: str) -> Images:
    """Digits in places, with the captions that ask for them."""
    return captioned_digits(part)


def slots(part: str) -> Images:
    """Single places of such pictures: a digit, or nothing."""
    return slot_digits(part)


def one_view(images: Callable[[str], Images]) -> Callable[[], dict[str, evaluation.View]]:
    """The directions in which the training images vary most."""
    return lambda: {f"{evaluation.COMPONENTS} principal components": evaluation.principal_view(images("train").x)}


def half_mnist(part: str) -> Images:
    """MNIST with the means over 2 x 2 pixels."""
    return Images(halved(whole_mnist(part).x), None)


def two_views(images: Callable[[str], Images]) -> Callable[[], dict[str, evaluation.View]]:
    """What the shipped classifier sees, and the directions in which the training images vary most."""
    return lambda: {
        "classifier": evaluation.classifier_view(),
        f"{evaluation.COMPONENTS} principal components": evaluation.principal_view(images("train").x),
    }


def coarse_views() -> dict[str, evaluation.View]:
    """What the shipped classifier sees in the small digits, enlarged, and the directions in which they vary most."""
    seen = evaluation.classifier_view()
    return {
        "classifier, enlarged": lambda x: seen(enlarged(x)),
        f"{evaluation.COMPONENTS} principal components": evaluation.principal_view(half_mnist("train").x),
    }
