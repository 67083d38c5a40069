"""What stands between an answer and the rest of the program: a time limit, and a guard over everything global."""

import contextlib
import ctypes
import io
import signal
import sys
import threading
from collections.abc import Iterator

import torch
from numpy.random import get_state, set_state
from torch import get_default_dtype, set_default_dtype

__all__ = ["Silence", "TimeIsUp", "random_states", "time_limit", "untouched"]

AGAIN = 0.1  # seconds until the next attempt, for an answer that catches every exception


class TimeIsUp(BaseException):
    """Raised inside an answer that does not end. Not an Exception, so that `except Exception` lets it through."""


class Silence(io.TextIOBase):
    """Where an answer's prints go. It keeps nothing: an endless loop may print without end."""

    def __init__(self) -> None:
        self.disturbed = False

    def writable(self) -> bool:
        """True: it takes everything."""
        return True

    def write(self, text: str) -> int:
        """Notice that something was printed, and forget it."""
        self.disturbed = True
        return len(text)


def random_states() -> tuple:
    """The states of the three global random generators: PyTorch's, NumPy's and Python's."""
    numpys = get_state(legacy=False)  # noqa: NPY002 - it is watched, and nothing is drawn
    numpys = (numpys["state"]["key"].tobytes(), numpys["state"]["pos"], numpys["has_gauss"])
    return torch.get_rng_state().numpy().tobytes(), numpys, _pythons().getstate()


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Put back what is global, whatever happens inside: random states, default dtype, grad mode, number of threads."""
    torchs, numpys, pythons = torch.get_rng_state(), get_state(legacy=False), _pythons().getstate()  # noqa: NPY002
    dtype, grad, threads = get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_rng_state(torchs)
        set_state(numpys)  # noqa: NPY002
        _pythons().setstate(pythons)
        set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _pythons():
    """Python's module of random numbers, which PyTorch has loaded. Its state is read and put back, and never drawn."""
    return sys.modules["random"]


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp inside the block once it has taken this long.

    On the main thread of a POSIX system this is a signal, which also ends a sleep. Elsewhere it is a second thread,
    which can only interrupt between two lines of Python. Where there are no threads either, there is no limit.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    if on_main_thread and hasattr(signal, "setitimer") and not any(signal.getitimer(signal.ITIMER_REAL)):
        with _by_signal(seconds):
            yield
    else:
        with _by_thread(seconds):
            yield


@contextlib.contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    def ring(number, frame):
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    try:  # twice, since the alarm may ring in the inner `finally`
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


@contextlib.contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    target, ended, lock = ctypes.c_ulong(threading.get_ident()), threading.Event(), threading.Lock()

    def interrupt(error: type | None) -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(target, None if error is None else ctypes.py_object(error))

    def watch() -> None:
        patience = seconds
        while not ended.wait(patience):
            with lock:
                if not ended.is_set():
                    interrupt(TimeIsUp)
            patience = AGAIN

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        watcher.start()
    except RuntimeError:  # no threads here, as in a browser
        yield
        return
    try:
        try:
            yield
        finally:
            ended.set()
    finally:
        with lock:
            ended.set()
            interrupt(None)  # one that is on its way and has not arrived
