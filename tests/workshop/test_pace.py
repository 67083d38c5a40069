"""What the clock decides, by clocks that are made up: numbers of threads, and numbers of steps."""

import itertools
import math

import pytest
import torch
from torch import nn

from minidiff.training import warmup_cosine
from minidiff.workshop.pace import Plan, Threads, candidates, falling, threads_put_back, until

# --- how many threads ------------------------------------------------------------------------------------------------


class Machine:
    """A clock that steps move on, as long as they take with so many threads: seconds(threads, now)."""

    def __init__(self, seconds, numbers=(1, 2)):
        self.now, self.threads, self.seconds = 0.0, numbers[-1], seconds
        self.used, self.took = [], []
        self.chooser = Threads(list(numbers), clock=lambda: self.now, set_threads=self.set_threads)

    def set_threads(self, number):
        self.threads = number

    def train(self, until, batches=None):
        """Make steps until the clock says so. Returns the numbers of threads that they were made with."""
        for _ in self.chooser.watch(batches or itertools.repeat(0)):
            took = self.seconds(self.threads, self.now)
            self.now += took
            self.used.append(self.threads)
            self.took.append(took)
            if self.now >= until:
                break
        return self.used

    def speed(self, since, until):
        """Steps per second between two times."""
        ends = list(itertools.accumulate(self.took))
        return sum(since < end <= until for end in ends) / (until - since)


def quiet(threads, now):
    return 0.1 / threads


def busy(threads, now):
    """As it was found beside two other programs on two cores: 18 images a second with two threads, 145 with one."""
    return {1: 0.9, 2: 7.0}[threads]


@pytest.mark.parametrize(("machine", "best"), [(quiet, 2), (busy, 1)])
def test_the_faster_number_of_threads_is_taken(machine, best):
    made = Machine(machine)
    made.train(200)
    assert made.threads == best and made.used.count(best) > 0.9 * len(made.used) - 6


def test_of_many_cores_the_best_number_is_taken_and_what_lies_beyond_hopeless_ones_is_not_tried():
    seconds = {1: 8.0, 2: 4.0, 4: 2.0, 8: 1.0, 16: 1.3}
    made = Machine(lambda threads, now: seconds[threads], tuple(seconds))
    made.train(19)
    assert made.used == [*[16] * 3, *[8] * 3, *[4] * 2, *[8] * 9]
    made = Machine(lambda threads, now: seconds[threads] if now < 30 else 0.5 * threads, tuple(seconds))
    made.train(200)
    assert made.threads == 1


@pytest.mark.parametrize("changes", [[60.0], [60.0, 130.0], [60.0, 130.0, 400.0]])
def test_fault_17_training_never_runs_at_less_than_half_of_the_best_choice(changes):
    """Other programs come and go. Each half minute makes more than half of the steps that the better choice would have
    made, but for the minute in which they came."""

    def now_is(now):
        return busy if sum(now >= change for change in changes) % 2 else quiet

    made = Machine(lambda threads, now: now_is(now)(threads, now) * (1 + 0.02 * math.sin(now)))
    made.train(600)
    for begin in range(0, 570, 10):
        if not any(change - 30 < begin < change + 30 for change in changes):
            best = 1 / min(now_is(begin)(threads, begin) for threads in (1, 2))
            assert made.speed(begin, begin + 30) > 0.5 * best, begin


def test_a_machine_that_changes_is_noticed_at_once_and_measured_again():
    made = Machine(lambda threads, now: (busy if now > 60 else quiet)(threads, now))
    made.train(60)
    assert made.threads == 2
    made.train(120)
    assert made.threads == 1 and made.took.count(7.0) < 8


def test_where_nothing_changes_it_is_measured_more_and_more_rarely():
    made = Machine(quiet)
    made.train(1000)
    measured = [i for i, (a, b) in enumerate(itertools.pairwise(made.used)) if (a, b) == (2, 1)]
    assert 7 <= len(measured) <= 10 and made.used.count(1) <= 3 * len(measured)


def test_measuring_takes_a_tenth_of_the_time_at_most():
    """Even if each step is of another length than the one before."""
    made = Machine(lambda threads, now: {1: 1.0, 2: 30.0}[threads] * (1 + (int(now) // 7) % 3))
    made.train(5000)
    assert sum(took for took, used in zip(made.took[9:], made.used[9:], strict=True) if used == 2) < 0.15 * made.now


def test_a_save_or_a_picture_in_between_is_no_reason_to_measure():
    """One long step in ten, three times as long as the others."""
    made = Machine(lambda threads, now: quiet(threads, now) * (3 if int(now * 20) % 10 == 0 else 1))
    made.train(19)
    assert made.used[6:] == [2] * (len(made.used) - 6)


@pytest.mark.parametrize("n", range(9))
def test_every_batch_is_passed_on_once_and_in_order(n):
    made, seen = Machine(quiet), []
    for batch in made.chooser.watch(range(n)):
        made.now += made.seconds(made.threads, made.now)
        seen.append(batch)
    assert seen == list(range(n))


def test_a_number_that_the_reader_has_fixed_is_not_measured(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert candidates(2) == [2]
    made = Machine(busy, candidates(2))
    made.train(100)
    assert set(made.used) == {2}
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [candidates(most) for most in (1, 2, 6, 16)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]]


def test_threads_are_put_back_whatever_happens():
    before = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt), threads_put_back():
        torch.set_num_threads(before + 1)
        raise KeyboardInterrupt
    assert torch.get_num_threads() == before


# --- how many steps --------------------------------------------------------------------------------------------------


def test_the_rate_falls_as_warmup_cosine_does_to_the_last_bit():
    def rates(schedule_of):
        optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.3)
        schedule = schedule_of(optimizer)
        made = []
        for _ in range(41):
            made.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return made

    with torch.random.fork_rng(devices=[]):
        ours = rates(lambda optimizer: falling(optimizer, Plan(40, since=7), 7))
        course = rates(lambda optimizer: warmup_cosine(optimizer, steps=40, warmup=7))
    assert ours == course and ours[-1] == 0


def test_progress_goes_on_from_where_it_is_when_a_plan_changes():
    plan = Plan(110, since=10)
    assert [plan.progress(step) for step in (0, 10, 60, 110, 200)] == [0, 0, 0.5, 1, 1]
    plan.change(60, 260)
    assert plan.progress(60) == 0.5 and plan.progress(160) == 0.75 and plan.progress(260) == 1
    plan.change(160, 161)
    assert plan.progress(160) == 0.75 and plan.progress(161) == 1
    again = Plan(*plan.record())
    assert [again.progress(step) for step in range(150, 170)] == [plan.progress(step) for step in range(150, 170)]


def test_a_plan_that_changes_in_the_warm_up_leaves_it_alone():
    plan = Plan(100, since=10)
    plan.change(5, 50)
    assert plan.since == 10 and plan.done == 0 and plan.progress(30) == 0.5
    plan.change(5, 5)
    assert plan.total == 5


@pytest.mark.parametrize(
    ("left", "pace", "total"),
    [(90.0, 1.0, 100), (91.0, 1.0, 100), (45.0, 1.0, 55), (90.0, 0.5, 190), (0.5, 1.0, 10), (-3.0, 1.0, 10)],
)
def test_the_clock_changes_a_plan_if_it_is_worth_it(left, pace, total):
    plan = Plan(100)
    plan.keep(10, left, pace)
    assert plan.total == total


@pytest.mark.parametrize("slow", [0.2, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("when", [0.1, 0.5, 0.9])
def test_fault_17_minutes_are_kept_within_a_tenth_though_the_machine_changes(slow, when):
    """A training of a minute, whose steps take so many times as long from some moment on. At the end the learning rate
    has fallen, unless all happened within the last report."""
    clock, promised, plan = [0.0], 60.0, Plan(600, since=60)

    def left():
        return promised - clock[0]

    step = mark = 0
    for step, _ in enumerate(until(plan, itertools.repeat(0), 0, left), start=1):
        clock[0] += 0.1 * (slow if clock[0] > when * promised else 1)
        if step % 10 == 0:
            plan.keep(step, left(), (clock[0] - mark) / 10)
            mark = clock[0]
    assert abs(clock[0] - promised) < 0.1 * promised
    assert (plan.total == step and 1 - plan.progress(step) < 1e-9) or (slow == 20 and plan.total == step)


def test_batches_end_with_the_plan_or_with_the_time():
    plan = Plan(5)
    assert list(until(plan, itertools.count(), 2)) == [0, 1, 2]
    plan.change(5, 7)
    assert list(until(plan, itertools.count(), 5)) == [0, 1]
    times = iter([3.0, 1.0, 0.0])
    assert list(until(Plan(100), itertools.count(), 10, lambda: next(times))) == [0, 1, 2]
    out_of_time = Plan(100)
    assert list(until(out_of_time, itertools.count(), 10, lambda: -1.0)) == [0]  # a step is made in any case
    assert out_of_time.total == 11
