"""What the clock decides in a training: how many threads compute, and how many steps there will be.

Nothing here changes what a step computes, but for the rounding of numbers: on one thread (`OMP_NUM_THREADS=1`) and with
a fixed number of steps, the clock has no say at all.
"""

import contextlib
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator

import torch

from minidiff.training import Batch

__all__ = ["Plan", "Threads", "candidates", "falling", "threads_put_back", "until"]

# The number of threads
FAMILIAR = 5  # steps whose median is the speed of today
CHANGED = 1.4  # so many times slower or faster than before: the machine has changed, so measure again
TRIAL_STEPS = 3  # of each candidate; the first does not count, since threads have to wake up
HOPELESS = 1.5  # a number whose steps take so many times as long as the best is tried no further, nor those beyond it
HOPELESS_AT_ONCE = 3.0  # the same for its very first step
PATIENCE, LONGEST_PATIENCE = 20.0, 160.0  # seconds from one measurement to the next, though nothing seems to change
WORTH = 10.0  # so many times as long as the last measurement took, its choice stands at least

# The number of steps
TOLERANCE = 0.02  # of the steps that are left: smaller changes of a plan are not worth it


# How many threads


def candidates(most: int) -> list[int]:
    """Numbers of threads worth trying: 1, 2, 4, ... and `most` itself. Only `most` where the reader has fixed it."""
    if os.environ.get("OMP_NUM_THREADS"):
        return [most]
    return sorted({most, *(2**k for k in range(most.bit_length()))})


@contextlib.contextmanager
def threads_put_back() -> Iterator[None]:
    """Afterwards PyTorch computes with as many threads as before."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


class Threads:
    """Chooses the number of threads by the time that steps take, and again when that changes.

    Two threads are faster than one on an idle machine. Beside other busy programs they wait for each other, and one may
    be ten times as fast. So each candidate makes a few steps of the training itself; none is wasted. The choice is made
    again when steps become slower or faster, and from time to time, since the other programs come and go.
    """

    def __init__(
        self,
        numbers: list[int],
        *,
        clock: Callable[[], float] = time.perf_counter,
        set_threads: Callable[[int], None] = torch.set_num_threads,
    ):
        self.numbers, self.clock, self.set_threads = numbers, clock, set_threads
        self.chosen = numbers[-1]
        self.usual = math.nan  # what a step took soon after the choice
        self.recent: list[float] = []
        self.measured_at, self.cost, self.patience = -math.inf, 0.0, PATIENCE

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, while the time from each to the next is measured."""
        batches = iter(batches)
        if len(self.numbers) == 1:
            yield from batches
            return
        ended = False
        while not ended:
            if self._is_due():
                ended = yield from self._measure(batches)
            else:
                ended = yield from self._step(batches, self.recent)
                self.recent = self.recent[-FAMILIAR:]
                if len(self.recent) == FAMILIAR and math.isnan(self.usual):
                    self.usual = statistics.median(self.recent)

    def _is_due(self) -> bool:
        stood, ratio = self.clock() - self.measured_at, self._slower()
        cost = self.cost * min(1, ratio)  # what it would take today
        return stood >= WORTH * cost and (stood > self.patience or not 1 / CHANGED <= ratio <= CHANGED)

    def _slower(self) -> float:
        """How many times as long steps take as they did soon after the choice; 1 while too few are known."""
        return 1.0 if math.isnan(self.usual) else statistics.median(self.recent) / self.usual

    def _step(self, batches: Iterator[Batch], seconds: list[float]) -> Iterator[Batch]:
        """Let one step be made, and note what it takes. Returns whether the batches have ended."""
        batch = next(batches, None)
        if batch is None:
            return True
        begin = self.clock()
        yield batch
        seconds.append(self.clock() - begin)
        return False

    def _measure(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Let each candidate make a few steps, and take the fastest. Returns whether the batches have ended."""
        begin, took = self.clock(), {}
        fewer = [number for number in reversed(self.numbers) if number < self.chosen]
        more = [number for number in self.numbers if number > self.chosen]
        for direction in ([self.chosen], fewer, more):
            if took and min(took.values()) < took[self.chosen]:
                break  # where fewer are better, more are worse
            for number in direction:
                self.set_threads(number)
                seconds: list[float] = []
                while len(seconds) < TRIAL_STEPS and not hopeless(seconds, took):
                    if (yield from self._step(batches, seconds)):
                        return True
                if hopeless(seconds, took):
                    break  # and so are those that lie beyond it
                took[number] = min(seconds[1:])  # the smallest, since a step may hold a save or a picture
        best, changed = min(took, key=took.__getitem__), not 1 / CHANGED <= self._slower() <= CHANGED
        same = best == self.chosen and not changed
        self.patience = min(2 * self.patience, LONGEST_PATIENCE) if same else PATIENCE
        self.chosen, self.usual, self.recent = best, math.nan, []
        self.measured_at = self.clock()
        self.cost = self.measured_at - begin
        self.set_threads(best)
        return False


def hopeless(seconds: list[float], took: dict[int, float]) -> bool:
    """Whether a candidate that needed these seconds for its steps cannot be better than those that were tried."""
    if not seconds or not took:
        return False
    best = min(took.values())
    return seconds[0] > HOPELESS_AT_ONCE * best or (len(seconds) > 1 and min(seconds[1:]) > HOPELESS * best)


# How many steps


class Plan:
    """How many steps a training will have made at its end: a fixed number, or as many as fit into the time promised.

    Progress is 0 until step `since` (such as the end of the warm-up) and grows evenly to 1 at step `total`. Where the
    plan changes, it goes on from where it is: `since` is then the step of the change, and `done` the progress there.
    """

    def __init__(self, total: int, since: int = 0, done: float = 0.0):
        self.total, self.since, self.done = total, since, done

    def record(self) -> list[float]:
        """As a snapshot holds it: `Plan(*record)` is the plan again."""
        return [self.total, self.since, self.done]

    def progress(self, step: int) -> float:
        """How much of the training is done at a step, from 0 to 1."""
        if step <= self.since:
            return self.done
        return min(1.0, self.done + (1 - self.done) * (step - self.since) / max(1, self.total - self.since))

    def change(self, step: int, total: int) -> None:
        """At a step, plan another total."""
        self.done, self.since = self.progress(step), max(step, self.since)
        self.total = total

    def keep(self, step: int, seconds_left: float, seconds_per_step: float) -> None:
        """Change the total where the clock says so."""
        left = max(0, math.floor(seconds_left / seconds_per_step))
        if left == 0 or abs(step + left - self.total) > TOLERANCE * left:
            self.change(step, step + left)


def until(
    plan: Plan, batches: Iterable[Batch], start: int, seconds_left: Callable[[], float] | None = None
) -> Iterator[Batch]:
    """The batches from `start` on, as long as the plan asks for more and there is time left."""
    batches, step = iter(batches), start
    while step < plan.total:
        if seconds_left is not None and step > start and seconds_left() <= 0:
            plan.change(step, step)
            return
        yield next(batches)
        step += 1


def falling(optimizer: torch.optim.Optimizer, plan: Plan, warmup: int) -> torch.optim.lr_scheduler.LambdaLR:
    """`training.warmup_cosine` over a plan that begins after the warm-up, and may change on the way."""

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * plan.progress(step)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
