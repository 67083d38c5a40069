"""Trainings in processes of their own that are killed, interrupted, crowded out, or run out of disk."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
import torch

from minidiff._shell import minidiff_command
from minidiff.workshop import commands
from minidiff.workshop.runs import load_run
from minidiff.workshop.snapshots import load_snapshot
from tests.processes import (
    bits_of,
    card_of,
    command,
    end,
    environment,
    finished,
    lines_of,
    started,
    steps_of,
    wait_until,
)
from tests.workshop.conftest import MOONS, STEPS

posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals as on Linux and macOS")


@posix
@pytest.mark.parametrize("data", ["moons", "digits"])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(data, whole, tmp_path, seed):
    """Twice killed -9 at a random moment of the training, with as many saves as fit. Nothing is drawn in the runs
    themselves that depends on these moments."""
    moment, folder = random.Random(seed), tmp_path / "cut"
    options = (
        ("train", "digits", "--batch", 8, "--steps", 40, "--precision", "float32")
        if data == "digits"
        else (*MOONS, "--steps", STEPS)
    )
    expected = whole[0]
    if data == "digits":
        expected = tmp_path / "whole"
        assert finished(*options, "--out", expected).returncode == 0
    for _ in range(2):
        before = len(lines_of(folder))
        process = started(*options, "--out", folder, "--resume", "--save-seconds", 0.001)
        try:
            wait_until(lambda before=before: len(lines_of(folder)) > before)
            time.sleep(moment.uniform(0, 0.3))
        finally:
            end(process)
    assert finished(*options, "--out", folder, "--resume").returncode == 0
    assert bits_of(folder) == bits_of(expected)
    assert steps_of(folder) == steps_of(expected)


@posix
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupted_run_saves_what_it_made_and_goes_on(number, whole, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    process = started(*MOONS, "--steps", STEPS, "--save-seconds", 0.001, "--out", folder, log=log)
    try:
        wait_until(lambda: len(lines_of(folder)) >= 3)
        process.send_signal(getattr(signal, number))
        assert process.wait(timeout=30) == 130
    finally:
        end(process)
    printed = log.read_text()
    assert "stopping after these steps\n" in printed
    go_on = minidiff_command("train", "moons", "--out", folder, "--resume")
    assert printed.endswith(f"all is saved. To go on: {go_on}\n")
    assert "Traceback" not in printed
    made = card_of(folder)["steps made"]
    assert 30 <= made < STEPS and steps_of(folder) == list(range(10, made + 1, 10))
    typed = subprocess.run(["sh", "-c", go_on], capture_output=True, text=True, env=environment(), check=False)
    assert typed.returncode == 0, typed.stderr  # as it was printed
    assert bits_of(folder) == bits_of(whole[0])


@posix
def test_ctrl_c_before_the_first_step_is_heard(tmp_path):
    """While the two precisions are measured: the folder is taken, no step is made. It is heard at the first report."""
    process = started("train", "digits", "--steps", 100_000, "--out", tmp_path / "run", log=tmp_path / "log")
    try:
        wait_until(lambda: (tmp_path / "run" / ".lock").exists())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        end(process)
    printed = (tmp_path / "log").read_text()
    assert "Traceback" not in printed and "stopping after these steps" in printed
    assert "stopped early; all is saved" in printed and steps_of(tmp_path / "run") == [10]


@posix
def test_two_runs_into_one_folder_are_refused(tmp_path, capsys):
    folder = tmp_path / "run"
    process = started(*MOONS, "--steps", 100_000, "--out", folder)
    try:
        wait_until(lambda: (folder / "log.jsonl").exists())
        for more in ([], ["--resume"]):
            assert commands.main([*map(str, MOONS), "--out", str(folder), *more]) == 1
            expected = f"minidiff: another run is writing to {folder}: wait for it to end, or choose another folder\n"
            assert capsys.readouterr().err == expected
        assert process.poll() is None
    finally:
        end(process)


def test_a_full_disk_is_said_and_what_was_saved_stays(tmp_path):
    """On a disk of 700 kB: the first state fits, a second one does not."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("no small disk can be made here")
    try:
        result = finished(*MOONS, "--steps", 100, "--out", disk / "run")
        assert result.returncode == 1 and "Traceback" not in result.stderr
        lines = result.stderr.splitlines()
        meanwhile = f"make room in {disk / 'run'}; training goes on"
        assert f"could not save at step 30 (No space left on device): {meanwhile}" in lines
        kept = f"the last good state stands in {disk / 'run'}"
        last = f"minidiff: could not save step 100 (No space left on device): {kept}"
        assert lines[-1] == last
        steps = [json.loads(line)["step"] for line in lines_of(disk / "run")]
        assert steps == sorted(set(steps)) and steps[:2] == [10, 20]
        assert load_snapshot(disk / "run", pytest.fail) is not None
        assert not list(disk.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", disk], check=True)


@posix
def test_nobody_has_to_listen(tmp_path):
    """`train ... | head -1` and `evaluate ... | true`: the training goes on to its end, nothing is said."""
    shell = "set -o pipefail; {} 2>&1 | head -1"
    train_line = shell.format(" ".join(command(*MOONS, "--steps", 60, "--out", tmp_path / "run")))
    subprocess.run(["bash", "-c", train_line], capture_output=True, env=environment(), check=False)
    assert card_of(tmp_path / "run")["steps made"] == 60
    deaf = f"{' '.join(command('evaluate', '--checkpoint', tmp_path / 'run', '--n', 50, '--steps', 2))} | true"
    result = subprocess.run(["bash", "-c", deaf], capture_output=True, text=True, env=environment(), check=False)
    assert result.stderr == ""


@posix
def test_on_a_terminal_there_is_a_bar_with_loss_speed_and_time_left(tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 110, 0, 0))
    process = subprocess.Popen(
        command(*MOONS, "--steps", 100, "--out", tmp_path / "run"),
        stdout=theirs,
        stderr=theirs,
        env=environment(),
    )
    os.close(theirs)
    printed = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        printed += piece
    assert process.wait(timeout=60) == 0
    text = printed.decode()
    assert re.search(r"100/100 \[00:\d\d<00:00, .*step/s, loss \d\.\d{4}, \d+ samples/s\]", text), text[-400:]
    assert "step 100 of 100" not in text


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("cl") is None, reason="no C++ compiler")
def test_a_compiled_run_learns_the_same(whole, tmp_path):
    """torch.compile may round differently: 20 steps apart by less than 1e-4."""
    for name, more in (("plain", []), ("compiled", ["--compile"])):
        result = finished(*MOONS, "--steps", 20, "--out", tmp_path / name, *more, seconds=300)
        assert result.returncode == 0, result.stderr
    plain, compiled = (load_run(tmp_path / name)[0] for name in ("plain", "compiled"))
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
