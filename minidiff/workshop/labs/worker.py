"""Run the answers of strangers. This program runs in the sandbox, and `sandbox` starts it.

It knows no truth, no salt and no other submission. Started as root (`serve`), it is one warm process that has imported
torch, and forks for every job. The fork has process, mount and network namespaces of its own, sees nothing but Python's
and PyTorch's files, is nobody, and can start no second process. Started for one job (`once`), it runs that and ends.
What comes back is one message through a pipe; everything else that the answer writes or prints is lost.
"""

import ctypes
import json
import linecache
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from minidiff.checks.observing import observe
from minidiff.checks.records import Incident, Observation
from minidiff.workshop.labs.messages import MOST_BYTES, read_cases, read_frame, unpacked, write_frame, write_observation

__all__ = ["job_of", "main", "observed_job"]

NEW_MOUNTS, NEW_PROCESSES, NEW_NETWORK = 0x20000, 0x20000000, 0x40000000
NEW_IPC, NEW_NAMES = 0x8000000, 0x4000000
BIND, RECURSIVE, PRIVATE, REMOUNT, READ_ONLY, NO_SETUID, NO_DEVICES = 4096, 16384, 1 << 18, 32, 1, 2, 4
NO_NEW_PRIVILEGES = 38
NOBODY = 65534
MEMORY, FILE_BYTES, FILES = 5 << 30, 1 << 20, 64
LATE, DIED, ANSWERED, READY = b"late", b"died", b"done", b"ready"
DEVICES = ("null", "zero", "urandom")
SCRATCH = "scratch"  # where an answer may write; not tmp, in which Python itself may be installed


# What an answer does


def job_of(message: bytes) -> Callable[[], Observation]:
    """What to run for a message of the judge."""
    words, tensors = unpacked(message)
    return lambda: observed_job(words, tensors)


def observed_job(job: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Observation:
    """Define what is given and what the student wrote, and observe the function that is asked for."""
    space: dict[str, Any] = {"__name__": "lab", "math": math, "torch": torch}
    for source in job["given"]:
        exec(compile(source, "<given>", "exec"), space)
    given, troubles = dict(space), []
    for number, source in enumerate(job["cells"], start=1):
        name = f"<your cell {number}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            exec(compile(source, name, "exec"), space)
        except BaseException as error:  # whatever a cell does, the others may be right
            troubles.append(f"{type(error).__name__}: {error}"[:300])
    answer = space.get(job["name"])
    if not callable(answer):
        text = f"{job['name']} is not defined." + "".join(f" A cell ended with {trouble}" for trouble in troubles[:1])
        return Observation(incident=Incident("not defined", text))
    cases = read_cases(job["cases"], tensors, given)
    limits = {"calls": job["calls"], "seed": job["seed"], "seconds": job["seconds"]}
    return observe(answer, cases, names=tuple(job["names"]), **limits)


def lock(seconds: float) -> None:
    """Limits on what this process may use, until it ends."""
    import resource  # POSIX only

    limits = {"CPU": math.ceil(seconds), "FSIZE": FILE_BYTES, "NOFILE": FILES, "AS": MEMORY, "CORE": 0}
    limits["NPROC"] = 1  # counted for the user: it can start no other process, and no thread
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


def quiet() -> None:
    """Nothing that an answer prints goes anywhere."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def answered(job: Callable[[], Observation], out: int) -> None:
    """Run a job and write what was seen into a pipe. It ends the process."""
    try:
        message = write_observation(job())
        with os.fdopen(out, "wb") as pipe:
            pipe.write(message[: MOST_BYTES + 1])
    except BaseException:  # the judge says that nothing came back
        os._exit(1)
    os._exit(0)


# One job, in a sandbox that somebody else has made


def once() -> None:
    """Run the job on the standard input, and write what was seen to where the standard output was.

    It says when it is ready, so that the time of the answer does not count how long Python took to start.
    """
    out = os.dup(1)
    with os.fdopen(os.dup(1), "wb") as outside:
        write_frame(outside, READY)
    message = read_frame(sys.stdin.buffer)
    job = job_of(message)
    quiet()
    seconds = unpacked(message)[0]["patience"]
    if os.name == "posix":
        lock(seconds)
    answered(job, out)


# Many jobs, each in a fork with namespaces of its own


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """A system call by its C function. Raises OSError."""
    if getattr(libc(), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    call("mount", *words, ctypes.c_ulong(flags), os.fsencode(options))


def build_root(root: str, shown: list[str]) -> None:
    """A tree of what is shown, read-only, of three devices, and of places for /proc and to write. Seen by us alone."""
    call("unshare", NEW_MOUNTS | NEW_NETWORK | NEW_IPC | NEW_NAMES)
    mount("none", "/", None, RECURSIVE | PRIVATE)
    mount("none", root, "tmpfs", NO_SETUID, "size=1m,mode=755")
    for path in shown:
        inside = root + path
        if os.path.islink(path):
            os.makedirs(os.path.dirname(inside), exist_ok=True)
            os.symlink(os.readlink(path), inside)
            continue
        os.makedirs(inside, exist_ok=True)
        mount(path, inside, None, BIND | RECURSIVE)
        mount("none", inside, None, BIND | REMOUNT | READ_ONLY | NO_SETUID | NO_DEVICES)
    for device in DEVICES:
        os.makedirs(f"{root}/dev", exist_ok=True)
        Path(f"{root}/dev/{device}").touch()
        mount(f"/dev/{device}", f"{root}/dev/{device}", None, BIND)
    for name in ("proc", SCRATCH):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    mount("none", root, None, REMOUNT | READ_ONLY | NO_SETUID, "size=1m,mode=755")


def imprisoned(job: Callable[[], Observation], root: str, seconds: float, out: int) -> None:
    """The first process of its own namespace: give up everything, and run the job. It ends the process."""
    try:
        call("unshare", NEW_MOUNTS)
        mount("none", f"{root}/proc", "proc", NO_SETUID | NO_DEVICES)
        mount("none", f"{root}/{SCRATCH}", "tmpfs", NO_SETUID | NO_DEVICES, "size=16m,mode=777")
        quiet()
        os.chroot(root)
        os.chdir(f"/{SCRATCH}")
        lock(seconds)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        os.closerange(3, out)
        os.closerange(out + 1, 256)
        os.environ.clear()
    except BaseException:
        os._exit(1)
    answered(job, out)


def guard(job: Callable[[], Observation], root: str, seconds: float, out: int, told: int) -> None:
    """Start the first process of a new namespace, tell its number, and wait for it. It ends the process."""
    try:
        call("unshare", NEW_PROCESSES)
        first = os.fork()
        if first == 0:
            os.close(told)
            imprisoned(job, root, seconds, out)
        os.close(out)
        os.write(told, str(first).encode())
        os.close(told)
        os.waitpid(first, 0)
    finally:
        os._exit(0)


def collected(pipe: int, until: float) -> tuple[bytes, bytes]:
    """What is written into a pipe until it is closed: how that ended, and the message."""
    parts, size = [], 0
    while (left := until - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            break
        part = os.read(pipe, 1 << 20)
        if not part:
            return (ANSWERED if size else DIED), b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            return DIED, b""
    return LATE, b""


def run_job(message: bytes, root: str) -> tuple[bytes, bytes]:
    """Run one job in a fork, and end everything that it started."""
    job, seconds = job_of(message), unpacked(message)[0]["patience"]
    until = time.monotonic() + seconds
    (heard, out), (hears, told) = os.pipe(), os.pipe()
    guarding = os.fork()
    if guarding == 0:
        os.close(heard)
        os.close(hears)
        guard(job, root, seconds, out, told)
    os.close(out)
    os.close(told)
    try:
        first = os.read(hears, 20)
        ended = collected(heard, until)
        if first:
            os.kill(int(first), signal.SIGKILL)  # and with the first process all others of its namespace
    except ProcessLookupError:
        pass
    finally:
        os.close(heard)
        os.close(hears)
        os.waitpid(guarding, 0)
    return ended


def serve(root: str, shown: list[str]) -> None:
    """Run the jobs that come in, until there are no more."""
    inside, outside = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    torch.rand(
        2, generator=torch.Generator()
    ).requires_grad_().sum().backward()  # whatever is loaded late, is loaded now
    try:
        build_root(root, shown)
    except OSError as error:
        write_frame(outside, f"{error.strerror or error}".encode())
        return
    quiet()
    write_frame(outside, READY)
    while (message := read_frame(inside)) is not None:
        how, answer = run_job(message, root)
        write_frame(outside, how)
        write_frame(outside, answer)


def main(arguments: list[str]) -> None:
    """`once`, or `serve ROOT SHOWN`, where SHOWN is a JSON list of paths."""
    torch.set_num_threads(1)
    if arguments[0] == "once":
        once()
    else:
        serve(arguments[1], json.loads(arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
