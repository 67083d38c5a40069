"""Call an answer and write down what it did. Nothing here knows what is right, so a sandbox can run it alone.

The call is the independent unit: a random answer is called many times for each case, and each call gives one row.
"""

import contextlib
import dis
import inspect
import linecache
import reprlib
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import CodeType

import numpy as np
import torch
from torch import Tensor

from minidiff import generator
from minidiff._tensors import describe as describe_tensor
from minidiff.checks.guards import Silence, TimeIsUp, random_states, time_limit, untouched
from minidiff.checks.records import RNG, Case, Incident, Observation

__all__ = ["SECONDS", "codes", "describe", "observe", "readable"]

SECONDS = 10.0  # patience for one case
MOST = 20_000  # an output with more numbers than this has a wrong shape, and one of it is enough


def observe(
    answer: Callable,
    cases: tuple[Case, ...],
    *,
    names: tuple[str, ...],
    calls: int,
    seed: int,
    seconds: float = SECONDS,
) -> Observation:
    """Call an answer on every case and return what it did. Never raises, but for the learner's own stop button.

    names: of the arguments. calls: how often an answer is called for a case that has a generator. seed: of that
    generator. seconds: how long one case may take. Whatever is global is afterwards as it was.
    """
    outputs, returned, incident, silence = [], [], None, Silence()
    with (
        untouched(),
        warnings.catch_warnings(action="ignore"),  # what a library warns of is not what the answer prints
        contextlib.redirect_stdout(silence),
        contextlib.redirect_stderr(silence),
    ):
        for number, case in enumerate(cases):
            done: list = []
            watched = _Watched(answer, case, names, calls, (seed, number))
            try:
                with time_limit(seconds):
                    incident = watched.run(done)
            except TimeIsUp:
                incident = _no_end(case, len(done), watched.planned, seconds)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # SystemExit too
                incident = Incident("exception", _raised(error, answer, case))
            if done:
                outputs.append(_stacked(done))
                returned.append(watched.returned)
            if incident:
                break
    return Observation(tuple(outputs), tuple(returned), incident, tuple(_remarks(answer, silence)))


class _Watched:
    """An answer on one case, called again and again with the same copies of the arguments."""

    def __init__(
        self, answer: Callable, case: Case, names: tuple[str, ...], calls: int, seeds: tuple[int, int]
    ) -> None:
        self.answer, self.case, self.names, self.seeds = answer, case, names, seeds
        self.given = [argument.clone() if isinstance(argument, Tensor) else argument for argument in case.args]
        self.random = any(argument is RNG for argument in case.args)
        self.planned = calls if self.random else 2
        self.returned = "nothing"

    def run(self, done: list[tuple[Tensor, ...]]) -> Incident | None:
        """Make all the calls and append what came back to `done`. Returns the incident that ended it, if any."""
        g = generator(*self.seeds)
        out = self.call(g)  # whatever is imported now may draw, and is not held against the answer
        before = random_states()
        self.returned = describe(out)
        if out is None:
            return Incident("returns nothing", "Your function returns None.", "Is the `return` missing?")
        if (first := readable(out)) is None:
            return Incident("wrong type", f"For {self.case.says} your function returns {self.returned}")
        done.append(first)
        if self.changed():
            return self.changes()
        small = sum(part.numel() for part in first) <= MOST
        for _ in range(self.planned - 1 if small else 1):
            out = self.call(g)
            if (row := readable(out)) is None or [p.shape for p in row] != [p.shape for p in first]:
                text = f"One call returns {self.returned}, and another one with the same arguments {describe(out)}."
                return Incident("not repeatable", text)
            done.append(row)
        again = readable(self.call(generator(*self.seeds)))
        if self.changed():
            return self.changes()
        if random_states() != before:
            advice = (
                "Hand the generator on, as in `torch.randn(x.shape, generator=g)`." if self.random else "Draw nothing."
            )
            text = "Your function draws from a global random state, so nobody can repeat what it does."
            return Incident("global randomness", text, advice)
        return self.odd(done, again)

    def call(self, g: torch.Generator) -> object:
        """Call the answer once."""
        return self.answer(*[g if argument is RNG else argument for argument in self.given])

    def changed(self) -> str | None:
        """The name of the first argument that the answer has changed, if any."""
        for name, given, kept in zip(self.names, self.given, self.case.args, strict=True):
            if isinstance(kept, Tensor) and not (given.shape == kept.shape and torch.equal(given, kept)):
                return name
        return None

    def changes(self) -> Incident:
        """What to say about it."""
        text = f"Your function changes its argument {self.changed()} itself, and whoever called it still needs that."
        advice = "Make a new tensor instead: no `+=`, and no method with _ at the end."
        return Incident("changes its input", text, advice)

    def odd(self, done: list[tuple[Tensor, ...]], again: tuple[Tensor, ...] | None) -> Incident | None:
        """What is strange about these outputs, whatever the right ones may be."""
        if not all(bool(torch.isfinite(part).all()) for part in _stacked(done)):
            return Incident("not finite", f"For {self.case.says} your function returns NaN or infinity.")
        if not _same(done[0], again) or (not self.random and not _same(done[0], done[1])):
            what = "the same generator" if self.random else "the same arguments"
            return Incident("not repeatable", f"Two calls with {what} give different numbers.")
        if self.random and all(_same(done[0], row) for row in done):
            text = f"For {self.case.says}, all calls give the same numbers, so nothing in them is random."
            return Incident("no randomness", text, "Does every call draw new numbers from g?")
        return None


def readable(out: object) -> tuple[Tensor, ...] | None:
    """What an answer returned, as copied tensors: one, or one for each entry of a tuple; None where it is neither."""
    if type(out) is Tensor and out.device.type == "cpu" and out.dtype in (torch.float32, torch.float64):
        if not out.is_sparse:
            return (out.detach().clone(),)
    if isinstance(out, (tuple, list)):
        parts = [readable(part) for part in out[:10]]  # no answer of the course returns more
        return tuple(part[0] for part in parts) if parts and all(p and len(p) == 1 for p in parts) else None
    if isinstance(out, Tensor):
        plain = not out.is_sparse and not out.is_complex() and out.device.type != "meta"
        return (out.detach().to("cpu", copy=True),) if plain else None
    if isinstance(out, (int, float, np.number)) and not isinstance(out, (bool, np.complexfloating)):
        return (torch.tensor(float(out), dtype=torch.float64),)
    return None


def describe(value: object) -> str:
    """A returned value in words. Never raises, and never takes more than a line."""
    try:
        if isinstance(value, Tensor):
            return describe_tensor(value)
        if isinstance(value, np.ndarray):
            return f"a NumPy array of shape {value.shape}"
        if isinstance(value, (tuple, list)):
            return f"a {type(value).__name__} of {len(value)}"
        if isinstance(value, (int, float, np.number)):
            return f"the number {value}"
        if callable(value):
            return "a function"
        return f"{type(value).__name__} {reprlib.repr(value)}"
    except Exception:
        return f"a {type(value).__name__}"


def codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of every function inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def _code(answer: Callable) -> CodeType | None:
    with contextlib.suppress(Exception):
        plain = inspect.unwrap(answer)
        plain = getattr(plain, "func", plain)  # functools.partial
        return getattr(plain if hasattr(plain, "__code__") else type(plain).__call__, "__code__", None)
    return None


def _stacked(rows: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(part) for part in zip(*rows, strict=True))


def _same(a: tuple[Tensor, ...], b: tuple[Tensor, ...] | None) -> bool:
    return b is not None and len(a) == len(b) and all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def _no_end(case: Case, made: int, planned: int, seconds: float) -> Incident:
    text = f"For {case.says} your function did not end within {seconds:.3g} s, and was stopped."
    if made:
        text = (
            f"Your function is too slow to be checked: for {case.says}, {made} of {planned} calls took {seconds:.3g} s."
        )
    return Incident("no end", text)


def _raised(error: BaseException, answer: Callable, case: Case) -> str:
    try:
        message = str(error).strip().splitlines()
    except Exception:
        message = []
    said = f"{type(error).__name__}: {message[0][:300]}" if message else type(error).__name__
    text = f"For {case.says} your function raises {said}{_line(error, answer)}."
    if "must be Tensor, not float" in said:
        text += " The argument is a plain number there: take `math.sqrt`, not `torch.sqrt`."
    return text


def _line(error: BaseException, answer: Callable) -> str:
    """The line of the answer that raised, never one of the engine or of a library."""
    with contextlib.suppress(Exception):
        own = _code(answer)
        frames = [(frame, number) for frame, number in traceback.walk_tb(error.__traceback__) if own is not None]
        mine = [number for frame, number in frames if frame.f_code in set(codes(own))]
        if mine:
            source = linecache.getline(own.co_filename, mine[-1]).strip()
            return f" in line {mine[-1] - own.co_firstlineno + 1} of it" + (f", `{source}`" if source else "")
    return ""


def _remarks(answer: Callable, silence: Silence) -> Iterator[str]:
    if silence.disturbed:
        yield "Your function prints. In a loop of a thousand steps it would print a thousand times."
    with contextlib.suppress(Exception):
        own, plain = _code(answer), inspect.unwrap(answer)
        space = getattr(plain, "__globals__", {})
        read = [i.argval for code in codes(own) for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"]
        borrowed = [
            name for name in dict.fromkeys(read) if isinstance(space.get(name), (Tensor, np.ndarray, float, int, list))
        ]
        if borrowed:
            names = " and ".join(borrowed)
            yield f"Your function reads {names} from the notebook. Its arguments should be all it needs."
