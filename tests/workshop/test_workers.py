"""Two real processes that train one network, on the CPU: the same as one process with the joint batch."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minidiff._shell import minidiff_command
from minidiff.schedules import cosine
from minidiff.training import Batch, Draws, Objective, denoising_objective
from minidiff.workshop import workers
from minidiff.workshop.workers import Refused, WorkerLost, Workers, joined, local_device, lost_is_said
from tests.processes import end, finished, free_port, lines_of, started, torchrun, wait_until, workers_of

posix = pytest.mark.skipif(os.name != "posix", reason="signals and /proc as on Linux")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")

# --- what two processes compute --------------------------------------------------------------------------------------

SCRIPT = """
import json, sys, torch
from safetensors.torch import save_file
from minidiff import generator
from minidiff.data import moons
from minidiff.networks import MLP, initialised
from minidiff.schedules import cosine
from minidiff.training import Batch, denoising_objective
from minidiff.workshop.workers import joined

with joined(torch.device("cpu")) as team:
    x0 = torch.arange(24.0).reshape(12, 2).double() / 10
    net = initialised(MLP, generator(0)).double()
    for layer in net.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, generator=generator(1))
    seen = []
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    objective = team.rows_of(denoising_objective(cosine(), "v"))
    shared = team.replicated(net)  # it averages only while it lives
    loss = objective(shared, Batch(x0), generator(2)).mean()
    loss.backward()
    tensors = {f"gradient/{name}": p.grad for name, p in net.named_parameters()} | {"seen": seen[0]}
    tensors["loss"] = torch.tensor(team.mean(float(loss.detach())))
    save_file(tensors, sys.argv[1] + str(team.rank))
    told = team.from_lead(lambda: b"from the lead" if team.lead else b"never asked")
    assert told == b"from the lead", told
    assert team.from_lead(lambda: b"") == b""
    assert team.any(team.rank == team.count - 1) and not team.any(False)
    assert team.of_lead(1.5 + team.rank) == 1.5
    assert team.count == 1 or (team.meeting.group and len(team.meeting.messages) > 5)  # see Meeting
if team.count > 1:
    assert team.meeting.group is None and not team.meeting.messages
print("done")
"""


def together(count, script, *arguments, seconds=100):
    """Run a script in `count` processes that meet; returns their (exit code, what they printed)."""
    port, running = str(free_port()), []
    for rank in range(count):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        log = arguments[0] + f"log{rank}"
        program = [sys.executable, "-c", script, *arguments]
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        running.append(started(program=program, log=Path(log), **place, **address))
    try:
        return [(p.wait(timeout=seconds), Path(arguments[0] + f"log{r}").read_text()) for r, p in enumerate(running)]
    finally:
        for process in running:
            end(process)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """What one and two processes made of the same batch: count -> a dictionary for each."""
    outcome = {}
    for count in (1, 2):
        folder = str(tmp_path_factory.mktemp(f"workers{count}")) + os.sep
        for code, printed in together(count, SCRIPT, folder):
            assert code == 0 and printed.endswith("done\n"), printed
        outcome[count] = [load_file(folder + str(rank)) for rank in range(count)]
    return outcome


def test_two_processes_have_the_gradient_of_one_with_the_joint_batch(computed):
    (alone,) = computed[1]
    names = [name for name in alone if name.startswith("gradient/")]
    assert len(names) == 8 and all(float(alone[name].abs().max()) > 0 for name in names)
    for part in computed[2]:
        for name in names:
            torch.testing.assert_close(part[name], alone[name], rtol=1e-10, atol=1e-10)
        assert float(part["loss"]) == pytest.approx(float(alone["loss"]), rel=1e-6)


def test_the_data_are_shared_out_without_overlap(computed):
    (alone,) = computed[1]
    rows = [tuple(row.tolist()) for part in computed[2] for row in part["seen"]]
    assert len(rows) == len(set(rows)) == 12
    assert set(rows) == {tuple(row.tolist()) for row in alone["seen"]}


FAILING_LEAD = """
import sys, torch
from minidiff.workshop.workers import WorkerLost, joined
def fail():
    raise OSError("the disk of the lead is full")
try:
    with joined(torch.device("cpu")) as team:
        team.from_lead(fail)
except (OSError, WorkerLost) as error:
    print(type(error).__name__, error)
"""


def test_where_the_lead_fails_nobody_waits_for_it(tmp_path):
    begun = time.monotonic()
    said = [printed for _, printed in together(2, FAILING_LEAD, str(tmp_path) + os.sep)]
    assert said == ["OSError the disk of the lead is full\n", "LeadGaveUp the lead gave up; it says why\n"]
    assert time.monotonic() - begun < 60


# --- alone -----------------------------------------------------------------------------------------------------------


def test_alone_there_is_nobody_to_ask(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    net = torch.nn.Identity()
    with joined(torch.device("cpu")) as team:
        assert team.lead and team.rows == slice(None) and team.replicated(net) is net
        assert team.mean(1.5) == team.of_lead(1.5) == 1.5 and team.any(True) and not team.any(False)
        assert team.from_lead(lambda: b"said") == b"said"


@pytest.mark.parametrize(("rank", "count", "rows"), [(0, 2, [0, 2, 4]), (1, 2, [1, 3, 5]), (2, 3, [2, 5])])
def test_each_worker_has_every_countth_row(rank, count, rows):
    assert torch.arange(6)[Workers(rank, count).rows].tolist() == rows


@pytest.mark.parametrize("labels", [True, False])
def test_the_workers_together_draw_and_compute_what_one_does(labels, make_generator):
    """Each draws for the whole batch, and computes its rows: side by side the losses are those of one alone."""
    x0, y = torch.randn(6, 2, generator=make_generator(0)), torch.arange(6) if labels else None
    alone = Objective(
        denoising_objective(cosine(), "v").draw,
        lambda net, draws: draws.x0.sum(dim=1) + draws.t + draws.eps[:, 0] + (0 if draws.y is None else draws.y),
    )
    expected = alone(None, Batch(x0, y), make_generator(1))
    losses = torch.empty(6)
    for rank in range(3):
        part = Workers(rank, 3)
        losses[part.rows] = part.rows_of(alone)(None, Batch(x0, y), make_generator(1))
    assert torch.equal(losses, expected)
    assert Workers().rows_of(alone) is alone and Draws(x0).y is None


@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:7", "tpu", "", "cpu0", "cpu:", "cpu:zz", "meta"])
def test_a_device_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(Refused, match=rf"--device must be one that PyTorch finds here \(cpu\), but is '{name}'"):
        local_device(name)


def test_torchrun_gives_each_worker_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert local_device("cuda") == torch.device("cuda", 3)
    assert local_device("cuda:1") == torch.device("cuda", 1)
    assert local_device("cpu") == torch.device("cpu")
    with pytest.raises(Refused, match=r"\(cpu, 4 x cuda\), but is 'cuda:4'"):
        local_device("cuda:4")
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(Refused, match=r"\(cpu, 4 x cuda\), but is 'cuda'"):
        local_device("cuda")


def test_a_world_without_torchrun_is_worked_in_alone(monkeypatch):
    """Batch systems set WORLD_SIZE too, but no place to meet."""
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for size in ("2", ""):
        monkeypatch.setenv("WORLD_SIZE", size)
        with joined(torch.device("cpu")) as team:
            assert team.count == 1


def test_only_errors_of_the_connection_mean_a_lost_worker():
    with pytest.raises(WorkerLost, match="another worker has ended or no longer answers"), lost_is_said():
        raise RuntimeError("[...gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:38046")
    for words in ("mat1 and mat2 shapes cannot be multiplied", "NCCL error: Duplicate GPU detected"):
        with pytest.raises(RuntimeError, match=words) as error, lost_is_said():
            raise RuntimeError(words)
        assert not isinstance(error.value, WorkerLost)
    with pytest.raises(WorkerLost, match="the lead gave up"), lost_is_said():
        raise WorkerLost("the lead gave up; it says why")


def test_a_silent_worker_is_given_up_within_a_minute():
    """torchrun then gives the silent one 30 seconds more before it kills it."""
    assert workers.SILENCE_SECONDS + 30 < 60


# --- the command under torchrun --------------------------------------------------------------------------------------

TRAINING = ("train", "moons", "--batch", 64, "--seed", 1)


def weights(folder):
    return load_file(folder / "weights.safetensors")


def far_apart(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def farthest_losses(a, b):
    """The largest difference between the losses of two logs. Other batches or other noise differ by 0.02 and more; the
    order in which gradients are added, far less."""
    losses = [[json.loads(line)["loss"] for line in lines_of(folder)] for folder in (a, b)]
    return max(abs(x - y) for x, y in zip(*losses, strict=True))


@linux
def test_a_killed_worker_ends_the_run_and_any_number_goes_on(tmp_path):
    """One of two workers is killed; the rest end at once with a clear line; one alone, then two, finish the training.
    The weights are those of a run that was never cut, up to the order in which gradients are added."""
    alone, cut, log = tmp_path / "alone", tmp_path / "cut", tmp_path / "log"
    assert finished(*TRAINING, "--steps", 600, "--out", alone).returncode == 0
    program = torchrun(2, *TRAINING, "--steps", 600, "--save-seconds", 0.2, "--out", cut)
    process = started(program=program, log=log)
    try:
        wait_until(lambda: (cut / "weights.safetensors").exists())
        os.kill(workers_of(process)[1], signal.SIGKILL)
        killed = time.monotonic()
        assert process.wait(timeout=60) != 0
        assert time.monotonic() - killed < 60
    finally:
        end(process)
    printed = log.read_text()
    line = "another worker has ended or no longer answers. To go on from the last save, with any number of workers: "
    assert f"minidiff: {line}{minidiff_command('train', 'moons', '--out', cut, '--resume')}\n" in printed
    stood = json.loads((cut / "card.json").read_text())["steps made"]
    assert 0 < stood < 600

    process = started("train", "moons", "--out", cut, "--resume", "--save-seconds", 0.1, log=log)  # one worker
    try:
        wait_until(lambda: json.loads((cut / "card.json").read_text())["steps made"] > stood)
    finally:
        end(process)
    program = torchrun(2, "train", "moons", "--out", cut, "--resume")  # and two again
    done = started(program=program, log=log)
    try:
        assert done.wait(timeout=100) == 0, log.read_text()
    finally:
        end(done)
    steps = [json.loads(line)["step"] for line in (cut / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(10, 601, 10))
    assert farthest_losses(alone, cut) < 1e-4
    assert far_apart(weights(alone), weights(cut)) < 1e-2  # of up to 0.7; rounding grows from step to step


@posix
def test_two_workers_agree_to_stop_and_only_the_lead_writes(tmp_path):
    """Each is told another folder, as on two machines; only the worker that is no lead gets the signal."""
    port, running = str(free_port()), []
    for rank in range(2):
        place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        out = tmp_path / f"machine{rank}"
        arguments = (*TRAINING, "--steps", 100_000, "--save-seconds", 0.2, "--out", out)
        running.append(started(*arguments, log=tmp_path / f"log{rank}", **place))
    try:
        wait_until(lambda: (tmp_path / "machine0" / "weights.safetensors").exists())
        os.kill(running[1].pid, signal.SIGTERM)
        assert [process.wait(timeout=60) for process in running] == [130, 130]
    finally:
        for process in running:
            end(process)
    assert not (tmp_path / "machine1").exists()
    lead, other = ((tmp_path / f"log{rank}").read_text() for rank in range(2))
    go_on = minidiff_command("train", "moons", "--out", tmp_path / "machine0", "--resume")
    assert f"stopped early; all is saved. To go on: {go_on}\n" in lead
    assert other == "stopping after these steps\n"
    log = [json.loads(line)["step"] for line in (tmp_path / "machine0" / "log.jsonl").read_text().splitlines()]
    made = json.loads((tmp_path / "machine0" / "card.json").read_text())["steps made"]
    assert log == list(range(10, made + 1, 10))


@linux
def test_fault_17_two_workers_agree_on_a_plan_that_the_clock_changes(tmp_path):
    """A promise of minutes: both make the same steps, as many as the lead's clock allows, and the card says so. One is
    stopped for a while, so that the machine changes."""
    log, out = tmp_path / "log", tmp_path / "run"
    process = started(program=torchrun(2, *TRAINING, "--minutes", 0.25, "--out", out), log=log)
    try:
        wait_until(lambda: len(lines_of(out)) > 3)
        victim = workers_of(process)[1]
        os.kill(victim, signal.SIGSTOP)
        time.sleep(4)
        os.kill(victim, signal.SIGCONT)
        assert process.wait(timeout=100) == 0, log.read_text()
    finally:
        end(process)
    card = json.loads((out / "card.json").read_text())
    assert card["steps made"] == card["recipe"]["steps"] and "2 x " in card["hardware"]
    assert 10 < card["seconds"] < 25 and card["recipe"]["minutes"] == 0.25
    assert [json.loads(line)["step"] for line in lines_of(out)][-1] == card["steps made"]


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path):
    port, running = str(free_port()), []
    for rank in range(2):
        place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        arguments = ("train", "moons", "--batch", 7, "--out", tmp_path / "run")
        running.append(started(*arguments, log=tmp_path / f"log{rank}", **place))
    try:
        assert [process.wait(timeout=60) for process in running] == [2, 1]
    finally:
        for process in running:
            end(process)
    assert (tmp_path / "log0").read_text() == "minidiff: --batch must be a multiple of the 2 workers, but is 7\n"
    assert (tmp_path / "log1").read_text() == ""
