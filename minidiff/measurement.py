"""A number with what a perfect model would score, and a finding that says it in one line. Used by every notebook.

Two finite sets of real samples are never at distance 0. The floor is what a perfect model would score at the same
numbers of samples. A value without its floor, or without the numbers behind it, says nothing.
"""

import math
from numbers import Real
from typing import NamedTuple

__all__ = ["Measurement", "finding"]

DIGITS = 2  # of a printed value
BOUND_DIGITS = 6  # at most, of a printed bound: 0.1 + 0.2 is 0.3
SMALLEST, LARGEST = 1e-3, 1e15  # sizes that are printed without an exponent


class Measurement(NamedTuple):
    """A value, what a perfect model would score, and the numbers of samples behind both (generated, real).

    For a distance, what a perfect model scores is a floor. For precision and recall it is a ceiling.
    """

    value: float
    floor: float
    samples: int
    real: int

    @property
    def ratio(self) -> float:
        """The value in multiples of its floor: about 1 for a perfect model, where the floor is a mean."""
        return self.value / self.floor


def finding(
    text: str, value: object, *, above: float | None = None, below: float | None = None, unit: str = ""
) -> None:
    """Print what a lesson has found: whether it holds, its number and its bound.

        finding("the reversal is as good as real data", distance.ratio, below=3, unit="floors")
        ✓ the reversal is as good as real data: 1.3 floors (below 3)

    The line begins with ✓ if the value lies on the right side of its bound, and with ✗ if it does not. A value that
    equals its bound, NaN and infinity are ✗; none of them raises an error.

    text: one line that says what should be true.
    value: a number of Python, NumPy or PyTorch (a tensor of shape ()), or a truth such as `a > b`. A truth has no
        bound and no unit, and prints only `✓ text`.
    above, below: the value must be greater than `above` and less than `below`. A number needs at least one of them.
    unit: what stands after the number, such as "floors" or "%". No colon and no parentheses.

    Two significant digits are printed, and more where the bound is so near that two would hide the distance to it.

    Raises TypeError where an argument is of the wrong kind, and ValueError where a number has no bound, a truth has
    one, a bound is not finite, `above` is not less than `below`, or text or unit would not fit into one such line.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be words, but is {text!r}")
    if not text.strip() or len(text.splitlines()) > 1:
        raise ValueError(f"text must be one line of words, but is {text!r}")
    if not isinstance(unit, str) or len(unit.splitlines()) > 1 or set(unit) & set("():"):
        raise ValueError(f"unit must be words without a colon or parentheses, but is {unit!r}")
    value = _plain(value)
    bounds = {name: _bound(name, bound) for name, bound in (("above", above), ("below", below)) if bound is not None}
    if isinstance(value, bool):
        if bounds or unit:
            raise ValueError(f"value is {value}: a truth takes no bound and no unit")
        print("✓" if value else "✗", text)
        return
    if isinstance(value, Measurement):
        raise TypeError("value is a Measurement: give its ratio, with unit='floors', or its value")
    if not isinstance(value, Real):
        raise TypeError(f"value must be one number or a truth, but is {_short(value)}")
    value = value if isinstance(value, int) else float(value)
    if not bounds:
        raise ValueError(f"give above=, below= or both to judge the number {value}")
    low, high = bounds.get("above", -math.inf), bounds.get("below", math.inf)
    if not low < high:
        raise ValueError(f"above must be less than below, but is {above}, and below is {below}")
    holds = low < value < high  # neither NaN nor infinity lies between two numbers, or between one and infinity
    shown = [_digits(bound, BOUND_DIGITS, strip=True) for bound in bounds.values()]
    limit = f"between {shown[0]} and {shown[1]}" if len(shown) == 2 else f"{next(iter(bounds))} {shown[0]}"
    print("✓" if holds else "✗", f"{text}: {_precise(value, bounds.values())}{' ' * bool(unit)}{unit} ({limit})")


def _plain(value: object) -> object:
    """A scalar of NumPy or PyTorch as Python's own; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _short(value: object) -> str:
    """A value in one line."""
    return " ".join(repr(value).split())


def _bound(name: str, bound: object) -> float:
    """A bound as Python's own number."""
    bound = _plain(bound)
    if isinstance(bound, bool) or not isinstance(bound, Real):
        raise TypeError(f"{name} must be a number, but is {_short(bound)}")
    if not math.isfinite(bound):
        raise ValueError(f"{name} must be a finite number, but is {bound}")
    return bound if isinstance(bound, int) else float(bound)


def _precise(value: float, bounds: object) -> str:
    """The value with so many digits that rounding moves it by at most a tenth of its distance to each bound."""
    if not math.isfinite(value):
        return str(value)
    room = min(abs(value - bound) for bound in bounds) / 10
    for digits in range(DIGITS, 17):
        shown = _digits(value, digits)
        if abs(float(shown.replace(",", "")) - value) <= room:
            return shown
    return _digits(value, 17, strip=True)


def _digits(value: float, digits: int, *, strip: bool = False) -> str:
    """A finite number with so many significant digits; an integer, and what stands before the point, in full.

    `strip` drops zeros at the end: 0.050000 is 0.05.
    """
    if value == 0 or isinstance(value, int):
        return f"{int(value):,}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    plain = SMALLEST <= abs(value) < LARGEST
    number = f"{value:,.{max(0, digits - 1 - int(exponent))}f}" if plain else mantissa
    if strip and "." in number:
        number = number.rstrip("0").rstrip(".")
    return number if plain else f"{number}e{int(exponent)}"
