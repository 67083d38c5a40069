"""`make soak`: the plug pulled fifty times at random moments, and workers killed. Not part of `make test`: ten minutes.

The moments are drawn anew each time (`--seed` draws others), the outcome must not depend on them.
"""

import os
import random
import signal
import time

import pytest
from tqdm import tqdm

from minidiff.workshop.runs import load_run
from minidiff.workshop.snapshots import load_snapshot
from tests.processes import bits_of, end, finished, lines_of, started, steps_of, torchrun, wait_until, workers_of
from tests.workshop.test_workers import farthest_losses, linux

KILLS, WORKER_KILLS = 50, 6
TRAINING = ("train", "moons", "--batch", 64, "--seed", 5, "--save-seconds", 0.001)


def test_fifty_kills_and_the_same_bits(tmp_path, seed):
    """kill -9 at a random moment of twice the time that a run takes to its first report: while Python starts, while the
    state is read, while steps are made, while files are written. After each, what stands in the folder is whole."""
    steps, moment = 12_000, random.Random(seed)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    begun, process = time.monotonic(), started(*TRAINING, "--steps", steps, "--out", whole)
    try:
        wait_until(lambda: lines_of(whole))
        start_up = time.monotonic() - begun
        assert process.wait(timeout=900) == 0
    finally:
        end(process)
    stood = []
    for _ in tqdm(range(KILLS), desc="kills"):
        process = started(*TRAINING, "--steps", steps, "--out", cut, "--resume")
        time.sleep(moment.uniform(0, 2 * start_up))
        assert process.poll() is None or process.returncode == 0
        end(process)
        snapshot = load_snapshot(cut, pytest.fail)
        stood.append(snapshot.record["step"] if snapshot else 0)
        if (cut / "weights.safetensors").exists():
            load_run(cut)
    print(f"steps that stood after each kill: {stood}")
    assert stood == sorted(stood) and len(set(stood)) > KILLS // 4
    assert finished(*TRAINING, "--steps", steps, "--out", cut, "--resume", seconds=900).returncode == 0
    assert bits_of(cut) == bits_of(whole)
    assert steps_of(cut) == steps_of(whole)


@linux
def test_workers_are_killed_and_stopped_and_others_go_on(tmp_path, seed):
    """In turn two workers and one; of two, a random one is killed, or stopped so that it falls silent."""
    steps, moment = 1500, random.Random(seed)
    whole, cut, log = tmp_path / "whole", tmp_path / "cut", tmp_path / "log"
    assert finished(*TRAINING, "--steps", steps, "--out", whole, seconds=900).returncode == 0
    for turn in tqdm(range(WORKER_KILLS), desc="workers killed"):
        arguments = (*TRAINING, "--steps", steps, "--out", cut, "--resume")
        program = torchrun(2, *arguments) if turn % 2 == 0 else None
        before = len(lines_of(cut))
        process = started(*arguments, program=program, log=log)
        try:
            wait_until(lambda before=before: len(lines_of(cut)) > before, seconds=120)
            time.sleep(moment.uniform(0, 1))
            if program is None:
                continue  # killed below, as a whole
            victim = moment.choice(workers_of(process))
            os.kill(victim, signal.SIGSTOP if turn == 2 else signal.SIGKILL)
            killed = time.monotonic()
            assert process.wait(timeout=90) != 0
            assert time.monotonic() - killed < 60
        finally:
            end(process)
    assert finished(*TRAINING, "--steps", steps, "--out", cut, "--resume", seconds=900).returncode == 0
    assert steps_of(cut) == steps_of(whole)
    assert farthest_losses(whole, cut) < 1e-4
