"""A value beside its floor, and the one line in which a lesson says what it has found."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from minidiff.measurement import Measurement, finding


def printed(capsys, *arguments, **options) -> str:
    """The one line that a finding prints."""
    assert finding(*arguments, **options) is None  # nbval would compare a value on the last line of a cell
    line, end, rest = capsys.readouterr().out.partition("\n")
    assert end == "\n" and rest == ""
    return line


def test_a_ratio_is_the_value_in_multiples_of_its_floor():
    assert Measurement(0.6, 0.2, 100, 100).ratio == pytest.approx(3)


# --- what a finding says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "bounds", "line"),
    [
        (1.3, {"below": 3, "unit": "floors"}, "✓ as good as real data: 1.3 floors (below 3)"),
        (3.4, {"below": 3, "unit": "floors"}, "✗ as good as real data: 3.4 floors (below 3)"),
        (31.2, {"above": 5}, "✓ as good as real data: 31 (above 5)"),
        (4.2, {"above": 5}, "✗ as good as real data: 4.2 (above 5)"),
        (1.9, {"above": 1.5, "below": 2.5, "unit": "%"}, "✓ as good as real data: 1.9 % (between 1.5 and 2.5)"),
        (2.7, {"above": 1.5, "below": 2.5, "unit": "%"}, "✗ as good as real data: 2.7 % (between 1.5 and 2.5)"),
        (1.2, {"above": 1.5, "below": 2.5, "unit": "%"}, "✗ as good as real data: 1.2 % (between 1.5 and 2.5)"),
        (True, {}, "✓ as good as real data"),
        (False, {}, "✗ as good as real data"),
    ],
)
def test_a_finding_is_one_line_with_its_verdict_number_and_bound(value, bounds, line, capsys):
    assert printed(capsys, "as good as real data", value, **bounds) == line


@pytest.mark.parametrize("bounds", [{"above": 3}, {"below": 3}, {"above": 3, "below": 4}, {"above": 2, "below": 3}])
def test_a_value_that_equals_its_bound_fails(bounds, capsys):
    assert printed(capsys, "text", 3, **bounds).startswith("✗ text: 3 (")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("bounds", [{"above": 3}, {"below": 3}, {"above": -1, "below": 1}])
def test_what_is_no_finite_number_never_holds(value, bounds, capsys):
    assert printed(capsys, "text", value, **bounds).startswith(f"✗ text: {value} (")


@pytest.mark.parametrize(
    "value",
    [
        *(1.25, np.float32(1.25), np.float64(1.25), np.array(1.25)),
        *(torch.tensor(1.25), torch.tensor(1.25, dtype=torch.float64), torch.tensor(1.25, dtype=torch.bfloat16)),
        *(torch.tensor(1.25, requires_grad=True), Fraction(5, 4), np.longdouble(1.25)),
    ],
)
def test_numbers_of_every_library_are_numbers(value, capsys):
    assert printed(capsys, "text", value, below=2) == "✓ text: 1.2 (below 2)"
    assert printed(capsys, "text", 0, below=value) == "✓ text: 0 (below 1.25)"


@pytest.mark.parametrize("value", [1 < 2, np.bool_(True), np.array(True), torch.tensor(True)])
def test_truths_of_every_library_are_truths(value, capsys):
    assert printed(capsys, "text", value) == "✓ text"
    with pytest.raises(ValueError, match=r"value is True.*takes no bound and no unit"):
        finding("text", value, below=2)


# --- how many digits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "digits"),
    [
        *((1.312, "1.3"), (0.123, "0.12"), (-0.123, "-0.12"), (12.34, "12"), (136.4, "136"), (25527.1, "25,527")),
        *((9.96, "10"), (0.0996, "0.10"), (0.0012345, "0.0012"), (0.000999, "1.0e-3"), (3.14159e-16, "3.1e-16")),
        *((-3.14159e-16, "-3.1e-16"), (0.0, "0"), (-0.0, "0"), (2.0, "2.0"), (100.0, "100"), (1e9, "1,000,000,000")),
        *((1.23e20, "1.2e20"), (7, "7"), (123456, "123,456"), (np.int64(7), "7"), (torch.tensor(7), "7")),
    ],
)
def test_two_digits_and_whole_numbers_in_full(value, digits, capsys):
    assert printed(capsys, "text", value, above=-1e30) == f"✓ text: {digits} (above -1e30)"


@pytest.mark.parametrize(
    ("value", "bound", "digits"),
    [
        *((2.98, 3, "2.98"), (3.04, 3, "3.04"), (2.99999, 3, "2.99999"), (0.998, 0.99, "0.998"), (2.9, 3, "2.9")),
        *((99.6, 100, "99.6"), (100.04, 100, "100.04"), (1.049, 1.1, "1.05"), (1.0000001, 1, "1.0000001")),
        *((1.04e-12, 1e-12, "1.04e-12"), (3.0, 3, "3.0")),
    ],
)
def test_more_digits_where_two_would_hide_on_which_side_of_the_bound_a_value_lies(value, bound, digits, capsys):
    assert re.fullmatch(rf". text: {re.escape(digits)} \(below \S+\)", printed(capsys, "text", value, below=bound))
    assert f" {digits} " in printed(capsys, "text", value, above=bound)


@pytest.mark.parametrize("seed", range(3))
def test_the_printed_number_has_the_verdict_of_the_value(seed, capsys):
    draws = np.random.default_rng(seed)
    for _ in range(300):
        bound = round(float(draws.normal() * 10.0 ** draws.integers(-9, 9)), 3) or 1e-12
        value = bound * (1 + float(draws.normal()) * 10.0 ** -draws.integers(0, 9))
        sign, number = re.fullmatch(r"(.) text: (\S+) \(.*\)", printed(capsys, "text", value, below=bound)).groups()
        shown = float(number.replace(",", ""))
        assert (sign == "✓") == (value < bound) == (shown < bound)
        assert shown == pytest.approx(value, rel=0.05)


@pytest.mark.parametrize(
    ("bound", "shown"),
    [
        *((3, "3"), (3.0, "3"), (0.05, "0.05"), (1e-12, "1e-12"), (1000, "1,000"), (1e4, "10,000"), (-0.5, "-0.5")),
        *((0, "0"), (1.25, "1.25"), (0.1 + 0.2, "0.3"), (np.float32(0.1), "0.1"), (0.001, "0.001"), (0.0005, "5e-4")),
    ],
)
def test_a_bound_is_printed_as_it_is_written(bound, shown, capsys):
    assert printed(capsys, "text", 1e10, above=bound) == f"✓ text: 10,000,000,000 (above {shown})"


# --- misuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "bounds", "error", "words"),
    [
        (("text", 1.3), {}, ValueError, "give above=, below= or both to judge the number 1.3"),
        (("text", 1.3), {"unit": "floors"}, ValueError, "give above=, below= or both"),
        (("text", True), {"unit": "floors"}, ValueError, "takes no bound and no unit"),
        (("text", 1.3), {"above": 3, "below": 3}, ValueError, "above must be less than below, but is 3"),
        (("text", 1.3), {"below": math.nan}, ValueError, "below must be a finite number, but is nan"),
        (("text", 1.3), {"above": math.inf}, ValueError, "above must be a finite number, but is inf"),
        (("text", 1.3), {"above": True}, TypeError, "above must be a number, but is True"),
        (("text", 1.3), {"below": "3"}, TypeError, "below must be a number, but is '3'"),
        (("text", "1.3"), {"below": 3}, TypeError, "value must be one number or a truth, but is '1.3'"),
        (("text", None), {"below": 3}, TypeError, "value must be one number or a truth, but is None"),
        (("text", 1j), {"below": 3}, TypeError, "value must be one number or a truth"),
        (("text", torch.ones(2)), {"below": 3}, TypeError, "value must be one number or a truth"),
        (("text", np.ones(1)), {"below": 3}, TypeError, "value must be one number or a truth"),
        (("text", Measurement(1, 1, 1, 1)), {"below": 3}, TypeError, "give its ratio, with unit='floors'"),
        ((1.3, "text"), {"below": 3}, TypeError, "text must be words, but is 1.3"),
        (("", 1.3), {"below": 3}, ValueError, "text must be one line of words"),
        (("two\nlines", 1.3), {"below": 3}, ValueError, "text must be one line of words"),
        (("text", 1.3), {"below": 3, "unit": "a\nb"}, ValueError, "unit must"),
        (("text", 1.3), {"below": 3, "unit": "m (SI)"}, ValueError, "unit must"),
        (("text", 1.3), {"below": 3, "unit": "a: b"}, ValueError, "unit must"),
        (("text", 1.3), {"below": 3, "unit": None}, ValueError, "unit must"),
    ],
)
def test_misuse_is_told_in_one_line(arguments, bounds, error, words, capsys):
    with pytest.raises(error) as told:
        finding(*arguments, **bounds)
    assert words in str(told.value) and "\n" not in str(told.value)
    assert capsys.readouterr().out == ""
