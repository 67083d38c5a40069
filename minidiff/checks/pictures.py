"""A learner's answer drawn over the right one."""

import textwrap
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff.checks.asking import examined, find
from minidiff.checks.judging import cases_of, observed, reference
from minidiff.checks.records import Exercise

__all__ = ["picture"]

INNER = (0.005, 0.995)  # the quantiles between which a histogram is drawn: some answers have heavy tails


def picture(id: str, answer: Callable):
    """Draw an answer over the right one, a panel for each case. Returns the figure, or None where there is none.

    A random answer is drawn as histograms of all that it returned, any other as lines or points. An answer that does
    not run, or is not filled in, gets its line of text, as from `check`. Raises ValueError for an unknown id.
    """
    exercise = find(id)
    verdict = examined(exercise, answer)
    if verdict.state in ("unfilled", "incident") or not isinstance(exercise, Exercise):
        print(f"{exercise.id} {exercise.name}: {verdict.text}")
        return None
    seen = observed(exercise, answer, seed=0)
    if seen.incident:  # of a mistake that is known by it
        print(f"{exercise.id} {exercise.name}: {verdict.text}")
        return None
    draw = _random if exercise.view else _exact
    return draw(exercise, seen.outputs, reference(exercise, "").outputs)


def _random(exercise: Exercise, mine: tuple, right: tuple):
    from minidiff import plots

    cases = cases_of(exercise)
    figure, axes = plots.panels(1, len(cases), size=(4.2, 3.2))
    for ax, case, (a,), (b,) in zip(axes, cases, mine, right, strict=True):
        low, high = _span(b)
        edges = torch.linspace(low, high, 81)
        for x, label, colour, style in [(b, "right", plots.TRUTH, "--"), (a, "yours", plots.LEARNED, "-")]:
            heights = torch.histc(x.double().flatten(), 80, low, high) / x.numel() * 80 / (high - low)
            ax.stairs(heights.numpy(), edges.numpy(), label=label, color=colour, linestyle=style, linewidth=1.5)
        ax.set(xlabel=_wrapped(f"{exercise.name}, for {case.says}"), ylabel="density")
        ax.xaxis.label.set(fontsize=8)
        ax.legend()
    return figure


def _exact(exercise: Exercise, mine: tuple, right: tuple):
    from minidiff import plots

    cases, parts = cases_of(exercise), exercise.parts or (exercise.name,)
    figure, axes = plots.panels(len(parts), len(cases), size=(4.2, 3.0))
    places = [(part, number) for part in range(len(parts)) for number in range(len(cases))]
    for ax, (part, number) in zip(axes, places, strict=True):
        for outputs, label, colour, style in [
            (right, "right", plots.TRUTH, "o--"),
            (mine, "yours", plots.LEARNED, "x-"),
        ]:
            y = outputs[number][part][0].double().flatten()
            ax.plot(y.numpy(), style if len(y) < 20 else style[1:], label=label, color=colour, linewidth=1.5)
        ax.set(xlabel=_wrapped(f"element, for {cases[number].says}"), ylabel=parts[part])
        ax.xaxis.label.set(fontsize=8)
        ax.legend()
    return figure


def _wrapped(label: str) -> str:
    return textwrap.fill(label, 55)


def _span(x: Tensor) -> tuple[float, float]:
    x = x.double().flatten()[:100_000]
    low, high = (float(x.quantile(q)) for q in INNER)
    margin = 0.1 * (high - low) or 0.5
    return low - margin, high + margin
