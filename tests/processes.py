"""Real processes: the command line as a person calls it, and workers as torchrun starts them. One thread each."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def environment(**variables: str) -> dict[str, str]:
    """This environment with one thread, no shifted seeds, and what is given."""
    kept = {name: value for name, value in os.environ.items() if name not in ("MINIDIFF_SEED", "RANK", "WORLD_SIZE")}
    return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **variables}


def command(*arguments: object) -> list[str]:
    """`python -m minidiff ...`."""
    return [sys.executable, "-m", "minidiff", *map(str, arguments)]


def finished(
    *arguments: object, seconds: float = 120, encoding: str | None = None, **variables: str
) -> subprocess.CompletedProcess:
    """Run a command of minidiff to its end. encoding: of what it prints."""
    how = {"capture_output": True, "text": True, "encoding": encoding, "timeout": seconds}
    return subprocess.run(command(*arguments), **how, env=environment(**variables))


def started(
    *arguments: object, program: list[str] | None = None, log: Path | None = None, **variables: str
) -> subprocess.Popen:
    """Start a command of minidiff (or another program) in its own group; what it prints goes to the log."""
    with (log or Path(os.devnull)).open("w") as file:
        return subprocess.Popen(
            program or command(*arguments),
            stdout=file,
            stderr=file,
            env=environment(**variables),
            start_new_session=True,
        )


def wait_until(condition: Callable[[], object], seconds: float = 60) -> object:
    """What `condition()` returns once it is true; fails when it never is."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def end(process: subprocess.Popen) -> None:
    """Kill a process and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def workers_of(process: subprocess.Popen) -> list[int]:
    """The processes that torchrun has started, in order."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return sorted(map(int, path.read_text().split())) if path.exists() else []


def torchrun(count: int, *arguments: object) -> list[str]:
    """`torchrun ... -m minidiff ...`, at a port of its own."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}"),
        *(f"--master-port={free_port()}", "--master-addr=127.0.0.1", "-m", "minidiff", *map(str, arguments)),
    ]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# What a run has left in its folder


def steps_of(folder: Path) -> list[int]:
    """The steps that its log reports."""
    return [json.loads(line)["step"] for line in lines_of(folder)]


def bits_of(folder: Path) -> str:
    """The SHA-256 of its weights."""
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def card_of(folder: Path) -> dict:
    """What its card says."""
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))


def lines_of(folder: Path) -> list[str]:
    """The lines of a run's log, which may be there, and may be being written."""
    log = folder / "log.jsonl"
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []
