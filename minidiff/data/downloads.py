"""Files from the network: whole and checked under their name, or a plain reason why not.

`requests` asks the mirrors, in turn. `pooch` writes to a temporary name, checks the SHA-256 and only then renames, so
that nothing half ever bears a file's name. What a mirror does wrong is a MirrorFault, and the next one is asked. An
OSError is the folder's (full, locked, read-only): no other mirror would mend it, and none is asked.

Nothing waits for ever: not for a connection, a silent server, one that sends a byte now and then, or another process.
"""

import errno
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import pooch
import requests
from tqdm import tqdm

__all__ = ["MirrorFault", "MirrorsFailed", "alone_in", "fetch", "folder_fault"]

CONNECT_SECONDS = 10  # for each address of a mirror, and a large one has many
SILENCE_SECONDS = 30
SLOWEST_BYTES_PER_SECOND = 1_000  # asked of every stretch of WATCH_SECONDS
WATCH_SECONDS = 60
LARGEST_BYTES = 16 * 2**20  # nothing here is larger; a server that sends without end would fill the disk
PIECE_BYTES = 2**16
ROUNDS = 2  # how often a mirror is asked that was there, but unwell
PAUSE_SECONDS = 2
QUIET_WAIT_SECONDS = 1
LONGEST_WAIT_SECONDS = 900


class MirrorFault(Exception):
    """What one mirror did wrong, as the rest of a sentence that begins with its name.

    `passing` says whether it may do better when it is asked again.
    """

    def __init__(self, words: str, passing: bool = False):
        super().__init__(words)
        self.passing = passing


class MirrorsFailed(RuntimeError):
    """No mirror delivered a file. `faults` holds each mirror's MirrorFault."""

    def __init__(self, name: str, faults: dict[str, MirrorFault]):
        super().__init__(f"no mirror delivered {name}")
        self.faults = faults


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make a folder, and let one process at a time download into it: the next one then finds what it came for.

    The lock ends with its process, however that ends. It only spares a second download, since files are whole with
    or without it: where a file system or its permissions allow no lock, or its holder sleeps, we go on without.

    Raises OSError where the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".downloading.lock")
    with suppress(OSError, NotImplementedError):  # filelock's Timeout is an OSError too
        try:
            lock.acquire(timeout=QUIET_WAIT_SECONDS)
        except filelock.Timeout:
            print(f"Another process is downloading into {folder}: waiting for it.", file=sys.stderr, flush=True)
            lock.acquire(timeout=LONGEST_WAIT_SECONDS)
    try:
        yield
    finally:
        lock.release()


def fetch(name: str, sha256: str, folder: Path, mirrors: Sequence[str]) -> str:
    """Download a file of a known SHA-256 into a folder, and return the mirror that delivered it.

    A mirror that answered, but was out of order or broke off, is asked again after all others.

    Raises MirrorsFailed where none delivered it, OSError where the folder cannot take it.
    """
    asking, faults = list(mirrors), {}
    for turn in range(ROUNDS):
        if turn and asking:
            time.sleep(PAUSE_SECONDS)
        for mirror in tuple(asking):
            try:
                pooch.retrieve(f"{mirror}{name}", sha256, name, folder, downloader=download)
                return mirror
            except ValueError:  # pooch's word for a SHA-256 that differs
                faults[mirror] = MirrorFault("sent something else (its SHA-256 differs)")
            except MirrorFault as fault:
                faults[mirror] = fault
            if not faults[mirror].passing:
                asking.remove(mirror)
    raise MirrorsFailed(name, faults)


def download(address: str, output: str, _pooch: None) -> None:
    """Write what an address holds to a file, under a progress bar: the function that pooch calls.

    Raises MirrorFault for all that the network does, OSError for what the disk does.
    """
    with ask(address) as response, open(output, "wb") as file:
        name, size = address.rpartition("/")[2], response.raw.length_remaining
        with tqdm(total=size, desc=name, unit="B", unit_scale=True) as bar:
            for piece in fast_enough(pieces(response)):
                file.write(piece)
                bar.update(len(piece))
    with suppress(OSError):  # some file systems have no permissions
        Path(output).chmod(0o644)  # temporary files are their owner's alone, but a class shares this one


def ask(address: str) -> requests.Response:
    """A mirror's answer, of which nothing but the head has been read."""
    try:
        # as it is stored: packed once more on the way, its bytes would not be those of the SHA-256
        headers = {"Accept-Encoding": "identity"}
        response = requests.get(address, stream=True, timeout=(CONNECT_SECONDS, SILENCE_SECONDS), headers=headers)
    except OSError as error:  # as all errors of requests are
        raise MirrorFault(why_unreachable(error), isinstance(origin(error), ConnectionResetError)) from error
    if response.status_code != 200:
        response.close()
        unwell = response.status_code >= 500 or response.status_code == 429  # 429: too many requests
        raise MirrorFault(f"answered {response.status_code} {response.reason}", unwell)
    return response


def pieces(response: requests.Response) -> Iterator[bytes]:
    """What a mirror sends, as it comes. Raises MirrorFault where it ends too soon or does not end."""
    # `read` waits until a piece is full, which one byte now and then puts off for ever; urllib3 1 has no `read1`
    read = getattr(response.raw, "read1", response.raw.read)
    received, size = 0, response.raw.length_remaining
    while True:
        try:
            piece = read(PIECE_BYTES)
        except Exception as error:  # urllib3's own, which are no OSErrors
            silent = isinstance(origin(error), TimeoutError)
            words = f"{'fell silent' if silent else 'broke off'} after {received} of {size or 'unknown'} bytes"
            raise MirrorFault(words, passing=not silent) from error
        if not piece:
            return
        received += len(piece)
        if received > LARGEST_BYTES:
            raise MirrorFault(f"sent more than {LARGEST_BYTES} bytes")
        yield piece


def fast_enough(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces. Raises MirrorFault after a stretch of WATCH_SECONDS that brought too little."""
    received, since = 0, time.monotonic()
    for piece in pieces:
        yield piece
        received += len(piece)
        passed = time.monotonic() - since
        if passed > WATCH_SECONDS:
            if received < SLOWEST_BYTES_PER_SECOND * passed:
                raise MirrorFault(f"was too slow ({received} bytes in {passed:.0f} s)")
            received, since = 0, time.monotonic()


def origin(error: BaseException) -> BaseException:
    """The operating system's error below those of requests and urllib3, or the error itself where there is none.

    Not by way of `__context__`, which leads on to whatever the caller was handling.
    """
    below = error
    while below is not None and (not isinstance(below, OSError) or isinstance(below, requests.RequestException)):
        below = below.__cause__ or next((held for held in below.args if isinstance(held, BaseException)), None)
    return below or error


def why_unreachable(error: OSError) -> str:
    """In words, why requests got no answer."""
    through = " through your proxy" if isinstance(error, requests.exceptions.ProxyError) else ""
    match origin(error):
        case socket.gaierror():
            return f"is not found{through} (its name is not known here: no connection?)"
        case TimeoutError():
            return f"did not answer{through} in time"
        case ssl.SSLError() as reason:
            reason = getattr(reason, "verify_message", reason.reason)
            return f"cannot be reached safely{through} ({reason})"
        case reason:
            reason = getattr(reason, "strerror", None) or str(reason).splitlines()[0][:200]
            return f"cannot be reached{through} ({reason})"


def folder_fault(error: OSError) -> str:
    """In words, why a folder took no file."""
    match error:
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "no space is left there"
        case OSError(errno=errno.EROFS):
            return "it is read-only"
        case PermissionError():
            return "you may not write there"
        case FileExistsError():
            return "it is a file, not a folder"
        case NotADirectoryError():
            return "a folder above it is a file"
    return f"{error.strerror or error}".splitlines()[0] + (f" ({error.filename})" if error.filename else "")
