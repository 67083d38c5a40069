"""The small English as something to train on, with one kind of noise or another. Used by `subjects`."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from minidiff import generator, samplers
from minidiff.discrete import (
    TokenDenoiser,
    VectorDenoiser,
    fifteen_percent_objective,
    masked,
    masked_objective,
    most_certain,
    network_posterior,
    next_word_objective,
    token_chain,
    token_objective,
    uniform,
    unmask,
    vector_objective,
    write_from_left,
)
from minidiff.languages import Language, small_english
from minidiff.schedules import cosine
from minidiff.training import Objective

__all__ = ["ENGLISH", "LENGTH", "OBJECTIVES", "english", "result_of"]

LENGTH = 12  # words
ENGLISH: Language = small_english()
WORDS = len(ENGLISH.words)
SENTENCES, STEPS = 2000, 48

OBJECTIVES: Mapping[str, Callable[[], Objective]] = {
    "hidden words": lambda: masked_objective(masked(WORDS)),
    "15 % hidden words": lambda: fifteen_percent_objective(masked(WORDS)),
    "exchanged words": lambda: token_objective(uniform(WORDS)),
    "words as vectors": lambda: vector_objective(cosine(), WORDS),
    "next word": lambda: next_word_objective(WORDS),
}


def english(n: int, source: torch.Generator) -> Tensor:
    """n windows of the small English, (n, LENGTH), int64."""
    return ENGLISH.sample(n, LENGTH, source)


def written(objective: str, net: nn.Module, source: torch.Generator) -> Tensor:
    """Sentences of a network: with STEPS steps, or one word at a time where nothing else makes sense."""
    posterior, shape = network_posterior(net), (SENTENCES, LENGTH)
    if objective == "next word":
        return write_from_left(net, SENTENCES, generator=source)
    if objective == "exchanged words":
        path, times = uniform(WORDS), torch.linspace(1, 0, STEPS + 1)
        start = path.prior(shape, source)
        return samplers.last(token_chain(TokenDenoiser(posterior, path), path, start, times, generator=source))
    if objective == "words as vectors":
        path, times = cosine(), torch.cat([torch.linspace(0.999, 0.4, STEPS), torch.zeros(1)])
        start = path.prior((*shape, WORDS), source)
        return samplers.last(samplers.ddim(VectorDenoiser(posterior, path), path, start, times)).argmax(-1)
    path = masked(WORDS)
    start, sizes = path.prior(shape, source), [1] * LENGTH
    return samplers.last(unmask(TokenDenoiser(posterior, path), path, start, sizes, most_certain, generator=source))


def result_of(objective: str) -> Callable[[nn.Module, object], dict[str, Any]]:
    """For a card: which share of what a network writes is grammatical, and how many of its sentences are different."""

    def result(net: nn.Module, recipe: object) -> dict[str, Any]:
        x = written(objective, net, generator(0, 3))
        valid = float(ENGLISH.log_prob(x).isfinite().float().mean())
        return {
            "share of valid sentences": round(valid, 3),
            "different sentences": len(x.unique(dim=0)),
            "samples": len(x),
        }

    return result
