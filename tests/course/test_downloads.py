"""Downloads under faults, from a real server on loopback: one clear line each, and nothing half that is trusted."""

import builtins
import errno
import gzip
import hashlib
import http.server
import io
import multiprocessing
import os
import re
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import filelock
import pytest
import torch

from minidiff.data import MnistUnavailable, downloads, find_mnist, mnist, mnist_folders
from tests.course.test_data import NAMES, expect_small_files, idx_file, mnist_module, store

ALL = sorted(f"{name}.gz" for name in NAMES)
LOCK = ".downloading.lock"
PATIENCE = 20  # seconds after which a test gives up on another process or thread: far more than it ever takes


@pytest.fixture
def small(tmp_path, monkeypatch):
    """name -> content of four small IDX files that the package now expects; and pauses are short."""
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.02)
    return expect_small_files(tmp_path, monkeypatch)


def files_below(folder):
    """Every file but the lock, which holds nothing."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    if LOCK in files:
        assert files.pop(LOCK).read_bytes() == b""
    return sorted(files)


def archives(files):
    return {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()}


# --- a server, and its ways to answer --------------------------------------------------------------------------------


@pytest.fixture
def closing():
    """Set when the test is over: what a server waits for that does not answer."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def serve(closing):
    """A function: path -> content, and perhaps a way to answer -> the address of a real server on loopback, and the
    list of what was asked of it."""
    servers = []

    def start(files, answer=None):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.lstrip("/")
                self.earlier = asked.count(name)
                self.closing = closing
                asked.append(name)
                if name not in files:
                    return self.send_error(404)
                (answer or whole)(self, files[name])

            def do_CONNECT(self):
                self.send_error(403)

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        return run(server), asked

    def run(server):
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    start.run = run
    yield start
    closing.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def head(handler, content):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()


def whole(handler, content):
    head(handler, content)
    handler.wfile.write(content)


def half(handler, content):
    """Break off in the middle of a file."""
    head(handler, content)
    handler.wfile.write(content[: len(content) // 2])


def half_first(handler, content):
    (whole if handler.earlier else half)(handler, content)


def half_and_silence(handler, content):
    half(handler, content)
    handler.closing.wait(PATIENCE)


def silence(handler, content):
    handler.closing.wait(PATIENCE)


def drip(handler, content):
    """A byte now and then, each soon enough to be no silence."""
    head(handler, bytes(100_000))
    while not handler.closing.wait(0.03):
        handler.wfile.write(b"\0")


def endless(handler, content):
    """No length, and no end."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.closing.is_set():
        handler.wfile.write(bytes(50_000))


def hang_up(handler, content):
    """Not a word."""


def other_content(handler, content):
    whole(handler, content + b"\0")


def status(*codes):
    """Answers these codes, one a time, and then the file."""

    def answer(handler, content):
        if handler.earlier < len(codes):
            return handler.send_error(codes[handler.earlier])
        whole(handler, content)

    return answer


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class NoTLS(socketserver.BaseRequestHandler):
    """A server that answers a handshake with something else."""

    def handle(self):
        self.request.sendall(b"I do not speak that.\r\n" * 10)


# --- it arrives ------------------------------------------------------------------------------------------------------


def test_the_real_files_come_from_a_real_server(serve, tmp_path, monkeypatch, capfd):
    """Those on this machine may be packed differently from the mirrors': so the archive's hash is theirs."""
    real = find_mnist()
    if real is None:
        pytest.skip("MNIST is not on this machine: set MINIDIFF_DATA to the folder above mnist/")
    if not all((real / name).is_file() for name in ALL):
        pytest.skip(f"{real} holds MNIST unpacked: there are no archives to serve")
    files = {name: (real / name).read_bytes() for name in ALL}
    served = {
        name: (content, hashlib.sha256(files[f"{name}.gz"]).hexdigest())
        for name, (content, _) in mnist_module.MNIST_FILES.items()
    }
    monkeypatch.setattr(mnist_module, "MNIST_FILES", served)
    address, asked = serve(files)
    x, y = mnist("test", tmp_path / "mnist", mirrors=[address])
    assert sorted(asked) == files_below(tmp_path / "mnist") == ALL
    there = mnist("test", real)
    assert torch.equal(x, there.x) and torch.equal(y, there.y)
    shown = capfd.readouterr().err
    for name, content in files.items():
        assert re.search(rf"{name}: 100%\|.*{len(content) / 1e6:.1f}"[:40], shown), "no progress bar"


@pytest.mark.parametrize("where", ["argument", "environment", "cache"])
def test_downloads_go_where_the_next_run_looks_first(small, serve, tmp_path, monkeypatch, where):
    address, asked = serve(archives(small))
    folder = {"argument": "named", "environment": "environment/mnist", "cache": "cache/minidiff/mnist"}[where]
    if where == "environment":
        monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "environment"))
    argument = tmp_path / "named" if where == "argument" else None
    assert mnist("train", argument, mirrors=[address]).y.tolist() == [7, 0, 9]
    assert files_below(tmp_path / folder) == sorted(asked) == ALL
    assert mnist("test", argument, mirrors=[]).y.tolist() == [4]
    assert len(asked) == 4


@pytest.mark.parametrize("where", ["argument", "environment"])
def test_a_home_written_in_short_is_no_folder_of_that_name(small, serve, tmp_path, monkeypatch, where):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    address, asked = serve(archives(small))
    if where == "environment":
        monkeypatch.setenv("MINIDIFF_DATA", "~/data")
    assert mnist("train", "~/data/mnist" if where == "argument" else None, mirrors=[address]).y.tolist() == [7, 0, 9]
    assert files_below(tmp_path / "home" / "data" / "mnist") == sorted(asked) == ALL
    assert not Path("~").exists()


def test_what_torchvision_has_in_part_is_downloaded_whole_beside_it(small, serve, tmp_path):
    """One folder must hold all four; what lies elsewhere stays as it is."""
    address, asked = serve(archives(small))
    store({NAMES[0]: small[NAMES[0]]}, tmp_path / "named" / "MNIST" / "raw", packed=False)
    assert mnist("train", tmp_path / "named", mirrors=[address]).y.tolist() == [7, 0, 9]
    assert sorted(asked) == ALL and files_below(tmp_path / "named") == sorted([f"MNIST/raw/{NAMES[0]}", *ALL])


def test_only_what_is_missing_is_downloaded(small, serve, tmp_path):
    address, asked = serve(archives(small))
    store({NAMES[0]: small[NAMES[0]]}, tmp_path / "mnist", packed=False)
    store({NAMES[1]: small[NAMES[1]]}, tmp_path / "mnist")
    assert mnist("train", tmp_path / "mnist", mirrors=[address]).y.tolist() == [7, 0, 9]
    assert asked == [f"{NAMES[2]}.gz", f"{NAMES[3]}.gz"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_class_can_read_what_one_downloaded(small, serve, tmp_path):
    mnist("train", tmp_path / "mnist", mirrors=[serve(archives(small))[0]])
    for name in ALL:
        assert stat.S_IMODE((tmp_path / "mnist" / name).stat().st_mode) == 0o644


def test_an_archive_that_a_server_calls_packed_is_left_packed(small, serve, tmp_path):
    """Some servers take .gz for a way of sending: the bytes must stay those of the SHA-256."""

    def packed(handler, content):
        assert handler.headers["Accept-Encoding"] == "identity"
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    address, _ = serve(archives(small), packed)
    assert mnist("test", tmp_path / "mnist", mirrors=[address]).y.tolist() == [4]


# --- the mirrors' faults ---------------------------------------------------------------------------------------------

# way to answer, what is said of the mirror, and how often it is asked for the file
FAULTS = {
    "truncated": (half, r"broke off after \d+ of \d+ bytes", 2),
    "wrong content": (other_content, r"sent something else \(its SHA-256 differs\)", 1),
    "403": (status(403, 403), "answered 403 Forbidden", 1),
    "404": (status(404, 404), "answered 404 Not Found", 1),
    "429": (status(429, 429), "answered 429 Too Many Requests", 2),
    "500": (status(500, 500), "answered 500 Internal Server Error", 2),
    "silent": (silence, "did not answer in time", 1),
    "silent in the middle": (half_and_silence, r"fell silent after [1-9]\d* of \d+ bytes", 1),
    "dripping": (drip, r"was too slow \(\d+ bytes in \d+ s\)", 1),
    "endless": (endless, "sent more than 100000 bytes", 1),
    "hanging up": (hang_up, r"cannot be reached \(Remote end closed connection without response\)", 2),
}


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(downloads, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(downloads, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(downloads, "LARGEST_BYTES", 100_000)


def first_line(error):
    return str(error.value).splitlines()[0]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mirror_s_fault_is_said_in_one_line(small, serve, impatient, tmp_path, monkeypatch, fault):
    """Also in a process that is handling another error, whose reasons are not this one's."""
    answer, words, times = FAULTS[fault]
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "environment"))
    (address, asked), (nothing, _) = serve(archives(small), answer), serve({})
    with pytest.raises(MnistUnavailable) as error:
        try:
            raise TimeoutError("another")
        except TimeoutError:
            mnist("train", mirrors=[address, nothing])
    folder = tmp_path / "environment" / "mnist"
    host, other = address[7:-1], nothing[7:-1]
    assert re.fullmatch(
        f"MNIST could not be downloaded: {host} {words}; {other} answered 404 Not Found. What to do: check the "
        f"connection and run again, or put the four files {NAMES[0]}.gz and so on into {folder}.",
        first_line(error),
    )
    assert asked == [f"{NAMES[0]}.gz"] * times
    assert files_below(folder) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_where_one_mirror_fails_the_other_serves(small, serve, impatient, tmp_path, fault):
    """And is asked first from then on: a mirror that hangs costs its wait once."""
    (broken, in_vain), (address, asked) = serve(archives(small), FAULTS[fault][0]), serve(archives(small))
    assert mnist("train", tmp_path / "mnist", mirrors=[broken, address]).y.tolist() == [7, 0, 9]
    assert in_vain == [f"{NAMES[0]}.gz"]
    assert sorted(asked) == files_below(tmp_path / "mnist") == ALL


@pytest.mark.parametrize("answer", [status(500), status(503), status(429), half_first])
def test_a_mirror_that_recovers_is_asked_again(small, serve, tmp_path, answer):
    address, asked = serve(archives(small), answer)
    assert mnist("train", tmp_path / "mnist", mirrors=[address]).y.tolist() == [7, 0, 9]
    assert sorted(asked) == sorted(2 * ALL) and files_below(tmp_path / "mnist") == ALL


def test_what_arrived_whole_is_kept_when_a_later_file_fails(small, serve, tmp_path):
    files = archives(small)
    address, _ = serve({name: files[name] for name in (f"{NAMES[0]}.gz", f"{NAMES[1]}.gz")})
    with pytest.raises(MnistUnavailable, match="answered 404"):
        mnist("train", tmp_path / "mnist", mirrors=[address])
    assert files_below(tmp_path / "mnist") == sorted(f"{name}.gz" for name in NAMES[:2])


def refused(serve, monkeypatch):
    return f"http://127.0.0.1:{closed_port()}/", r"cannot be reached \(Connection refused\)"


def no_route(serve, monkeypatch):
    """What the kernel says where no network is up, which it is asked to say here."""

    def connect(*arguments):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return f"http://127.0.0.1:{closed_port()}/", r"cannot be reached \(Network is unreachable\)"


def no_name(serve, monkeypatch):
    """What the resolver says without a network, which we do not ask."""

    def getaddrinfo(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return "http://mirror.invalid/", r"is not found \(its name is not known here: no connection\?\)"


def no_tls(serve, monkeypatch):
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), NoTLS)
    server.daemon_threads = True
    return serve.run(server).replace("http:", "https:"), r"cannot be reached safely \(\w+\)"


def a_proxy_refuses(serve, monkeypatch):
    monkeypatch.setenv("https_proxy", serve({})[0])
    return (
        "https://mirror.invalid/",
        r"cannot be reached through your proxy \(Tunnel connection failed: 403 Forbidden\)",
    )


def no_address(serve, monkeypatch):
    return "mirror/", r"cannot be reached \(Invalid URL .*\)"


@pytest.mark.parametrize("way", [refused, no_route, no_name, no_tls, a_proxy_refuses, no_address])
def test_a_mirror_that_is_not_reached_is_said_in_one_line(small, serve, tmp_path, monkeypatch, way):
    if sys.platform != "linux" and way in (refused, no_route):
        pytest.skip("other systems have other words")
    mirror, words = way(serve, monkeypatch)
    with pytest.raises(MnistUnavailable) as error:
        mnist("train", tmp_path / "mnist", mirrors=[mirror])
    name = mirror.split("//")[-1].rstrip("/")
    assert re.fullmatch(rf"MNIST could not be downloaded: {name}/? {words}\. What to do: .+", first_line(error))
    assert files_below(tmp_path / "mnist") == []


def test_a_mirror_that_is_not_reached_is_asked_once(small, monkeypatch, tmp_path):
    calls = []

    def getaddrinfo(*arguments, **options):
        calls.append(arguments[0])
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(MnistUnavailable):
        mnist("train", tmp_path / "mnist", mirrors=["http://one.invalid/", "http://two.invalid/"])
    assert calls == ["one.invalid", "two.invalid"]


def test_no_mirror_at_all_is_said_too(small, tmp_path):
    with pytest.raises(MnistUnavailable, match=r"^MNIST could not be downloaded: no mirror was named\. What to do: "):
        mnist("train", tmp_path / "mnist", mirrors=[])


def test_the_other_lines_tell_the_rest(small, serve):
    mirrors = [serve({})[0], serve({})[0]]
    with pytest.raises(MnistUnavailable) as error:
        mnist("train", mirrors=mirrors)
    _, tried, looked, by_hand = re.split("\nTried:|\nLooked in:|\nBy hand: ", str(error.value))
    assert tried.splitlines() == ["", *(f"  {mirror}: answered 404 Not Found" for mirror in mirrors)]
    assert looked.splitlines() == ["", *(f"  {folder}" for folder in mnist_folders())]
    assert "MINIDIFF_DATA" in by_hand and all(name in by_hand for name in ALL)


# --- the folder's faults ---------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path):
    """A function: options of a small file system in memory -> the folder where it is mounted."""
    folder = tmp_path / "mount"
    folder.mkdir()
    mounts = []

    def mount(options, source="tmpfs"):
        command = ["mount", "-t", "tmpfs", "-o", options, source, str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        except (OSError, subprocess.SubprocessError):
            pytest.skip("mounting a file system is not permitted here")
        mounts.append(folder)
        return folder

    yield mount
    for place in mounts:
        subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True, timeout=PATIENCE)


@pytest.fixture
def not_root():
    """A folder of root's (or of ours) under which only it may write, and for the rest of the test we are not root."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such permissions")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = os.geteuid() == 0
        yield lambda: os.seteuid(65534) if root else Path(folder).chmod(0o555), Path(folder)
        if root:
            os.seteuid(0)
        Path(folder).chmod(0o755)


def line_of_a_folder(mirrors, folder=None):
    """The first line, where a folder is at fault: it must say nothing of mirrors."""
    with pytest.raises(MnistUnavailable) as error:
        mnist("train", folder, mirrors=mirrors)
    line = first_line(error)
    assert "127.0.0.1" not in str(error.value) and re.match("MNIST could not be stored in .+ What to do: ", line)
    return line


def test_a_disk_that_is_full_is_no_fault_of_a_mirror(small, serve, mounted, monkeypatch):
    folder = mounted("size=64k")
    (folder / "ballast").write_bytes(bytes(64 * 1024))
    monkeypatch.setenv("MINIDIFF_DATA", str(folder))
    (address, asked), (other, not_asked) = serve(archives(small)), serve(archives(small))
    assert line_of_a_folder([address, other]) == (
        f"MNIST could not be stored in {folder / 'mnist'}: no space is left there. What to do: free 12 MB there, or "
        "set the environment variable MINIDIFF_DATA to another folder that you can write to, and run again."
    )
    assert asked == [f"{NAMES[0]}.gz"] and not_asked == []
    assert files_below(folder) == ["ballast", f"mnist/{LOCK}"]
    (folder / "ballast").unlink()
    assert mnist("train", mirrors=[address]).y.tolist() == [7, 0, 9]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("when", ["write", "close"])
def test_a_disk_that_fills_up_leaves_nothing_half(small, serve, tmp_path, monkeypatch, code, when):
    """The operating system's answer is ours here, for machines where nothing can be mounted."""

    class Full(io.FileIO):
        def write(self, content):
            super().write(content[: len(content) // 2])
            self.fail("write")
            return super().write(content[len(content) // 2 :])

        def close(self):
            written = not self.closed and self.tell()
            super().close()
            if written:
                self.fail("close")

        def fail(self, moment):
            if moment == when:
                raise OSError(code, os.strerror(code), self.name)

    def full(path, mode):
        assert mode == "wb"
        return Full(path, mode)

    (address, asked), (other, not_asked) = serve(archives(small)), serve(archives(small))
    monkeypatch.setattr(downloads, "open", full, raising=False)
    line = line_of_a_folder([address, other], tmp_path / "named")
    assert line.endswith(
        "no space is left there. What to do: free 12 MB there, or name another folder that you can write to, and run "
        "again."
    )
    assert len(asked) == 1 and not_asked == [] and files_below(tmp_path / "named") == []
    monkeypatch.setattr(downloads, "open", builtins.open)
    assert mnist("train", tmp_path / "named", mirrors=[address]).y.tolist() == [7, 0, 9]


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_one_may_not_write_to_is_named(small, serve, not_root, monkeypatch, exists):
    leave_root, folder = not_root
    monkeypatch.setenv("MINIDIFF_DATA", str(folder))
    if exists:
        (folder / "mnist").mkdir(mode=0o555)
    address, asked = serve(archives(small))
    leave_root()
    assert line_of_a_folder([address]) == (
        f"MNIST could not be stored in {folder / 'mnist'}: you may not write there. What to do: set the environment "
        "variable MINIDIFF_DATA to another folder that you can write to, and run again."
    )
    assert asked == []


def test_a_folder_that_one_may_not_look_into_is_named(small, serve, not_root, monkeypatch):
    leave_root, folder = not_root
    monkeypatch.setenv("MINIDIFF_DATA", str(folder / "secret"))
    (folder / "secret" / "mnist").mkdir(parents=True)
    (folder / "secret").chmod(0)
    leave_root()
    assert find_mnist() is None
    assert "you may not write there" in line_of_a_folder([serve(archives(small))[0]])
    if os.geteuid() != 65534:
        (folder / "secret").chmod(0o755)


def test_a_file_that_one_may_not_read_is_not_called_damaged(small, not_root):
    leave_root, folder = not_root
    store(small, folder / "mnist")
    (folder / "mnist" / f"{NAMES[0]}.gz").chmod(0)
    leave_root()
    with pytest.raises(ValueError, match=rf"{NAMES[0]}\.gz may not be read by you: ask its owner, or name another"):
        mnist("train", folder / "mnist")


def test_another_s_lock_does_not_lock_out(small, serve, not_root):
    """The lock of a shared folder belongs to whoever was first."""
    leave_root, folder = not_root
    (folder / "mnist").mkdir()
    (folder / "mnist" / LOCK).touch(mode=0o400)
    (folder / "mnist").chmod(0o777)
    leave_root()
    address, asked = serve(archives(small))
    assert mnist("train", folder / "mnist", mirrors=[address]).y.tolist() == [7, 0, 9]
    assert sorted(asked) == ALL


def test_a_read_only_disk_is_named_and_what_it_holds_is_read(small, serve, mounted, monkeypatch):
    folder = mounted("size=1m")
    monkeypatch.setenv("MINIDIFF_DATA", str(folder))
    remount = ["mount", "-o", "remount,{}", str(folder)]
    subprocess.run([word.format("ro") for word in remount], check=True, timeout=PATIENCE)
    address, asked = serve(archives(small))
    assert f"stored in {folder / 'mnist'}: it is read-only. What to do: set" in line_of_a_folder([address])
    assert asked == []
    subprocess.run([word.format("rw") for word in remount], check=True, timeout=PATIENCE)
    store(small, folder / "mnist")
    subprocess.run([word.format("ro") for word in remount], check=True, timeout=PATIENCE)
    assert mnist("train", mirrors=[]).y.tolist() == [7, 0, 9]


@pytest.mark.parametrize(
    ("place", "words"),
    [("environment", "a folder above it is a file"), ("environment/mnist", "it is a file, not a folder")],
)
def test_a_folder_that_is_a_file_is_named(small, serve, tmp_path, monkeypatch, place, words):
    folder = tmp_path / "environment"
    monkeypatch.setenv("MINIDIFF_DATA", str(folder))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()
    address, asked = serve(archives(small))
    assert f"stored in {folder / 'mnist'}: {words}. What to do: set" in line_of_a_folder([address])
    assert asked == []


def test_a_folder_in_a_file_s_place_is_no_fault_of_a_mirror(small, serve, tmp_path):
    place = tmp_path / "named" / f"{NAMES[0]}.gz"
    place.mkdir(parents=True)
    assert f"Is a directory ({place})" in line_of_a_folder([serve(archives(small))[0]], tmp_path / "named")


def test_where_mnist_is_found_nothing_is_written(small, tmp_path, monkeypatch):
    store(small, tmp_path / "named")

    def lock(*arguments):
        raise AssertionError("a lock, only to read")

    monkeypatch.setattr(filelock, "FileLock", lock)
    assert mnist("train", tmp_path / "named", mirrors=[]).y.tolist() == [7, 0, 9]
    assert not (tmp_path / "named" / LOCK).exists()


# --- interrupted, and two at once: real processes --------------------------------------------------------------------

INTERRUPTED = 42


def in_another_process(files, folder, mirror, log):
    """What a second process does: download, its errors into a log, its end in its exit code."""
    sys.stderr = open(log, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells switch it off for what runs in the background
    mnist_module.MNIST_FILES, downloads.QUIET_WAIT_SECONDS = files, 0.05
    try:
        mnist_module.download_mnist(folder, [mirror])
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@pytest.fixture
def start(small, tmp_path):
    """A function: a mirror -> a process that downloads from it into tmp_path/mnist, and the path of its log."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such signals")
    context = multiprocessing.get_context("forkserver")  # torch's threads do not survive a plain fork
    context.set_forkserver_preload(["minidiff.data"])
    processes = []

    def process(mirror):
        log = tmp_path / f"log {len(processes)}"
        arguments = (mnist_module.MNIST_FILES, tmp_path / "mnist", mirror, log)
        processes.append(context.Process(target=in_another_process, args=arguments))
        processes[-1].start()
        return processes[-1], log

    yield process
    for started in processes:
        started.kill()
        started.join(PATIENCE)


def wait_until(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "the other process does not get there"
        time.sleep(0.005)


def size(path):
    """Of a file that may just have been renamed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_nothing_half_is_trusted_after_an_interruption(small, serve, start, tmp_path, monkeypatch, capfd, how):
    """In the middle of the third file: the first two stay, the third is fetched again, and no lock stands in the
    way. Only where it was killed is the temporary file left, under a name that nobody reads."""
    # large enough for its half to be on the disk
    small[NAMES[2]] = idx_file(0x08, (400, 28, 28), hashlib.shake_128().digest(400 * 784))
    content, archive = small[NAMES[2]], archives(small)[f"{NAMES[2]}.gz"]
    hashes = hashlib.sha256(content).hexdigest(), hashlib.sha256(archive).hexdigest()
    monkeypatch.setattr(mnist_module, "MNIST_FILES", {**mnist_module.MNIST_FILES, NAMES[2]: hashes})

    def answer(handler, content):
        (half_and_silence if handler.path == f"/{NAMES[2]}.gz" else whole)(handler, content)

    process, _ = start(serve(archives(small), answer)[0])
    folder = tmp_path / "mnist"
    wait_until(lambda: any(size(temporary) > 50_000 for temporary in folder.glob("tmp*")))
    os.kill(process.pid, getattr(signal, how))
    process.join(PATIENCE)
    assert process.exitcode == (INTERRUPTED if how == "SIGINT" else -signal.SIGKILL)
    left = files_below(folder)
    assert [name for name in left if not name.startswith("tmp")] == [f"{name}.gz" for name in NAMES[:2]]
    assert len(left) == (2 if how == "SIGINT" else 3) and find_mnist(folder) is None
    address, asked = serve(archives(small))
    monkeypatch.setattr(downloads, "LONGEST_WAIT_SECONDS", 0)
    assert mnist("train", folder, mirrors=[address]).y.tolist() == [7, 0, 9]
    assert sorted(asked) == sorted(f"{name}.gz" for name in NAMES[2:])
    assert "Another process" not in capfd.readouterr().err


def test_of_two_processes_at_once_one_downloads(small, serve, start, tmp_path):
    go = threading.Event()

    def answer(handler, content):
        go.wait(PATIENCE)
        whole(handler, content)

    address, asked = serve(archives(small), answer)
    both = [start(address), start(address)]
    waiting = f"Another process is downloading into {tmp_path / 'mnist'}: waiting for it.\n"
    wait_until(lambda: asked and any(waiting in log.read_text() for _, log in both if log.exists()))
    go.set()
    for process, _ in both:
        process.join(PATIENCE)
        assert process.exitcode == 0
    assert sorted(asked) == files_below(tmp_path / "mnist") == ALL
    assert sorted(log.read_text() == waiting for _, log in both) == [False, True]


def test_who_waits_too_long_goes_on_alone(small, serve, tmp_path, monkeypatch, capfd):
    """A process that sleeps with its lock may never wake up."""
    monkeypatch.setattr(downloads, "QUIET_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(downloads, "LONGEST_WAIT_SECONDS", 0.05)
    (tmp_path / "mnist").mkdir()
    holds, done = threading.Event(), threading.Event()

    def sleeper():
        with filelock.FileLock(tmp_path / "mnist" / LOCK):
            holds.set()
            done.wait(PATIENCE)

    thread = threading.Thread(target=sleeper)
    thread.start()
    assert holds.wait(PATIENCE)
    try:
        address, _ = serve(archives(small))
        assert mnist("train", tmp_path / "mnist", mirrors=[address]).y.tolist() == [7, 0, 9]
        assert thread.is_alive(), "it waited until the lock was free"
        assert "waiting for it" in capfd.readouterr().err
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("error", [NotImplementedError("no flock"), OSError(errno.ENOLCK, "No locks available")])
def test_where_no_lock_can_be_had_the_files_still_come(small, serve, tmp_path, monkeypatch, error):
    def acquire(*arguments, **options):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    assert mnist("train", tmp_path / "mnist", mirrors=[serve(archives(small))[0]]).y.tolist() == [7, 0, 9]


# --- the waits are those that a bad network needs --------------------------------------------------------------------


def test_waits_are_bounded_and_a_slow_line_is_let_be():
    """The largest file, 9.9 MB, at 2 kB a second takes 83 minutes, and is let be; a byte every 29 s is not."""
    pieces = [b"\0" * 20_000] * 5
    assert b"".join(downloads.fast_enough(iter(pieces))) == b"".join(pieces)
    assert downloads.CONNECT_SECONDS <= 10 and downloads.SILENCE_SECONDS <= 30 and downloads.WATCH_SECONDS <= 60
    assert downloads.SLOWEST_BYTES_PER_SECOND <= 2_000 and downloads.LARGEST_BYTES > 9_912_422
