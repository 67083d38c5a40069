"""What stands between an answer and the rest of the program: a time limit, and a guard over everything global."""

import contextlib
import ctypes
import io
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import torch
from numpy.random import get_state, set_state
from torch import get_default_dtype, set_default_dtype

__all__ = ["Silence", "TimeIsUp", "random_states", "time_limit", "untouched"]

AGAIN = 0.005  # seconds until the next attempt, for an answer that catches every exception


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


def time_limit(seconds: float) -> "contextlib.AbstractContextManager[None]":
    """A block that TimeIsUp is raised inside once it has taken this long.

    On the main thread of a POSIX system this is a signal, which also ends a sleep. Elsewhere it is a second thread,
    which can only interrupt between two lines of Python. Where there are no threads either, there is no limit.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    free = on_main_thread and hasattr(signal, "setitimer") and not any(signal.getitimer(signal.ITIMER_REAL))
    return _Signal(seconds) if free else _Thread(seconds)


class _Signal:
    """A time limit by a signal. A class and no generator, so that all of its own frames lie in this file."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGALRM, self.ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds, AGAIN)

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before or signal.SIG_DFL)

    def ring(self, number: int, frame: FrameType | None) -> None:
        """Interrupt, unless this very limit is being lifted."""
        if frame is None or frame.f_code.co_filename != __file__:
            raise TimeIsUp


class _Thread:
    """A time limit by a second thread.

    The interruption may arrive anywhere, also between taking a lock and holding it. So the thread that is watched
    touches no lock here, waits until the watcher has gone, and lets what may be on its way arrive. (To take it back,
    with a null pointer for an exception, leaves Python 3.11 in an endless loop where a tracer runs.)
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.over, self.gone = seconds, False, False
        self.watched = threading.get_ident()

    def __enter__(self) -> None:
        self.around = sys._getframe(1)  # whoever has asked for the limit
        try:
            threading.Thread(target=self.watch, daemon=True).start()
        except RuntimeError:  # no threads here, as in a browser
            self.gone = True

    def __exit__(self, *error: object) -> None:
        while True:
            try:
                self.over = True
                while not self.gone:
                    time.sleep(AGAIN / 5)
                for _ in range(100):  # an interruption that is on its way arrives here
                    pass
                break
            except TimeIsUp:
                continue
        del self.around

    def watch(self) -> None:
        """Interrupt when the time is up, and again, for an answer that catches every exception."""
        due = time.monotonic() + self.seconds
        while not self.over:
            time.sleep(AGAIN)
            if time.monotonic() < due:
                continue
            frame = inner = sys._current_frames().get(self.watched)
            while frame is not None and frame is not self.around:
                frame = frame.f_back
            if frame is None:  # the block was left by an exception that arrived while the limit was being lifted
                break
            if inner.f_code.co_filename != __file__ and not self.over:
                error = ctypes.py_object(TimeIsUp)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.watched), error)
        self.gone = True
