"""What the clock decides in a training: how many threads compute, in which precision, and how many steps there will be.

Nothing here changes what a step computes, but for the rounding of numbers: on one thread (`OMP_NUM_THREADS=1`) and with
a fixed number of steps, the clock has no say at all.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator

import torch

from minidiff.training import Batch

__all__ = ["Plan", "Threads", "candidates", "falling", "until"]

FAMILIAR = 5  # steps whose median is the speed of today
SLOWER = 1.4  # this many times slower than when it was chosen: the machine has changed, so measure again
TRIAL_STEPS = 3  # of each candidate; the first does not count, since threads have to wake up
HOPELESS = 1.5  # a candidate whose first steps take this many times as long as the best is not tried further
TOLERANCE = 0.02  # of the steps that are left: smaller changes of a plan are not worth it
PATIENCE, LONGEST_PATIENCE = 20.0, 600.0  # seconds from one measurement to the next, though nothing seems to change


def candidates(most: int) -> list[int]:
    """Numbers of threads worth trying: 1, 2, 4, ... and `most` itself. Only `most` where the reader has fixed it."""
    if os.environ.get("OMP_NUM_THREADS"):
        return [most]
    return sorted({most, *(2**k for k in range(most.bit_length()) if 2**k <= most)})


class Threads:
    """Chooses the number of threads by the time that steps take, and again when they slow down.

    Two threads are faster than one on an idle machine. Beside other busy programs they wait for each other, and one may
    be ten times as fast. So each candidate makes a few steps of the training itself; none is wasted. The choice is made
    again when steps become slower, and from time to time, since the other programs end some day.
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
        self.reference = math.nan  # what a step took when it was chosen
        self.recent: list[float] = []
        self.patience, self.measured_at = PATIENCE, -math.inf

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, while the time between one and the next is measured. The number of threads is put back."""
        before = torch.get_num_threads()
        try:
            yield from self._watched(batches) if len(self.numbers) > 1 else batches
        finally:
            if torch.get_num_threads() != before:
                self.set_threads(before)

    def _watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        batches = iter(batches)
        while True:
            if self._is_due():
                ended = yield from self._trial(batches)
                if ended:
                    return
            batch = next(batches, None)
            if batch is None:
                return
            begin = self.clock()
            yield batch
            self.recent = [*self.recent, self.clock() - begin][-FAMILIAR:]

    def _is_due(self) -> bool:
        if len(self.recent) == FAMILIAR and statistics.median(self.recent) > SLOWER * self.reference:
            self.patience = PATIENCE
            return True
        return self.clock() - self.measured_at > self.patience

    def _trial(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Let each candidate make a few steps, and take the fastest. Returns whether the batches have ended."""
        took: dict[int, float] = {}
        for number in [self.chosen, *(other for other in self.numbers if other != self.chosen)]:
            self.set_threads(number)
            seconds: list[float] = []
            for step in range(TRIAL_STEPS):
                batch = next(batches, None)
                if batch is None:
                    return True
                begin = self.clock()
                yield batch
                if step:
                    seconds.append(self.clock() - begin)
                    if took and min(seconds) > HOPELESS * min(took.values()):
                        break
            took[number] = min(seconds)  # a step may hold a save or a picture
        best = min(took, key=took.__getitem__)
        self.patience = min(2 * self.patience, LONGEST_PATIENCE) if best == self.chosen else PATIENCE
        self.chosen, self.reference, self.recent, self.measured_at = best, took[best], [], self.clock()
        self.set_threads(best)
        return False


class Plan:
    """How many steps a training will have made at its end: fixed, or as many as fit into the minutes promised.

    changes: (step, total) for each time that the plan was made, so that a training that is resumed follows the same
    learning rates. Progress grows from 0 to 1 evenly in steps from each change on.
    """

    def __init__(self, steps: int, changes: Iterable[tuple[int, int]] = ()):
        self.changes = [(int(step), int(total)) for step, total in changes] or [(0, steps)]

    @property
    def total(self) -> int:
        return self.changes[-1][1]

    def progress(self, step: int, since: int = 0) -> float:
        """The part of the training that lies between step `since` and step `step`."""
        done, ends = 0.0, [begin for begin, _ in self.changes[1:]] + [step]
        for (begin, total), end in zip(self.changes, ends, strict=True):
            begin, end = max(begin, since), min(end, step)
            if end > begin:
                done += (1 - done) * (end - begin) / max(1, total - begin)
        return min(1.0, done)

    def keep(self, step: int, seconds: float, seconds_per_step: float) -> None:
        """Change the total where the clock says so: `seconds` are left, and a step takes `seconds_per_step` now."""
        total = step + max(0, math.floor(seconds / seconds_per_step))
        if total == step or abs(total - self.total) > TOLERANCE * (total - step):
            self.changes.append((step, total))


def until(plan: Plan, batches: Iterable[Batch], start: int) -> Iterator[Batch]:
    """The batches from `start` on, as long as the plan asks for more."""
    batches, step = iter(batches), start
    while step < plan.total:
        yield next(batches)
        step += 1


def falling(optimizer: torch.optim.Optimizer, plan: Plan, warmup: int) -> torch.optim.lr_scheduler.LambdaLR:
    """`training.warmup_cosine` over a plan, which may change on the way: then the rate goes on from where it is."""

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * plan.progress(step, since=warmup)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
