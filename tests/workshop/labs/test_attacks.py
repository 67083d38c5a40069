"""What hostile answers try, each with a real worker: none gets a point, none does harm, and the next answer is judged
as if nothing had been."""

import inspect
import os
import socket
import subprocess
import textwrap
import time

import pytest

from minidiff.workshop.labs import messages, worker
from minidiff.workshop.labs.judging import mark_answer
from minidiff.workshop.labs.lab05 import STEP
from minidiff.workshop.labs.sandbox import isolation_here, sandbox
from tests.workshop.labs.conftest import needs_isolation

pytestmark = needs_isolation
VARIANT = STEP.variants[1]
EXERCISE = VARIANT.exercise
INPUTS = 5
HEAD = "def step_around(x, beta, v, g):\n"
WRONG = HEAD + "    return x - v\n"  # no known mistake
RIGHT = inspect.getsource(EXERCISE.solution)


def body(text: str) -> str:
    """An answer that does this, and then returns something wrong."""
    return HEAD + textwrap.indent(textwrap.dedent(text).strip(), "    ") + "\n    return x - v\n"


def hostile(stub: str, text: str) -> str:
    """An attack in the place of the function of a stub."""
    head = stub.strip().splitlines()[0]
    return head + "\n" + textwrap.indent(textwrap.dedent(text).strip(), "    ") + "\n    return None\n"


def tell(expression: str) -> str:
    """An answer that tells, by an error, what it has found out."""
    return body(f"raise RuntimeError('FO' 'UND ' + str({expression}))")


LIAR = """
import struct, os, json
data = {lie}
for fd in range(3, 300):
    try:
        os.write(fd, data)
    except OSError:
        pass
os._exit(0)
"""
ENDLESS = {
    "sleeps for ever": "import time\ntime.sleep(10**6)",
    "never ends": "while True:\n    pass",
    "catches every exception": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "catches the kill": """
        import signal
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        while True: pass
    """,
    "one call of torch without end": "m = torch.rand(6000, 6000)\nfor _ in range(10**6): m = m @ m / 3000",
}
QUICK = {
    "forks without end": "import os\nwhile True: os.fork()",
    "forks once": "import os\nif os.fork() == 0: os._exit(0)",
    "starts threads that go on": """
        import threading, time
        for _ in range(1000):
            threading.Thread(target=time.sleep, args=(10**6,)).start()
    """,
    "starts a program": "import subprocess\nsubprocess.run(['/bin/sleep', '1000'])",
    "takes all memory": "keep = [torch.ones(10**8) for _ in range(10**4)]",
    "one huge tensor": "torch.zeros(10**13)",
    "prints gigabytes": "for _ in range(3000): print('x' * 10**6)",
    "writes gigabytes to the terminal": "import os\nfor fd in (0, 1, 2): os.write(fd, b'x' * 10**6)",
    "writes a large file": "open('large', 'wb').write(b'x' * 10**8)",
    "sys.exit": "import sys\nsys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)",
    "kills everybody": "import os\nos.kill(-1, 9)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "becomes root": "import os\nos.setuid(0)",
    "mounts": "import ctypes\nassert ctypes.CDLL(None).mount(b'none', b'/usr', b'tmpfs', 0, None) == 0",
    "changes its root": "import os\nos.chroot('.')",
    "a namespace of its own": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0\n",
    "returns a class of its own": "class T(torch.Tensor): pass\nreturn T(x)",
    "returns nonsense": "return object()",
    "returns an endless list": "return [0] * 10**6",
    "one huge number hides all": "if float(torch.rand((), generator=g)) < 0.02: return x * 1e12",
    "always another huge number": "return x + 1e9 * torch.randn(x.shape, generator=g, dtype=x.dtype)",
    "writes a lie": LIAR.format(lie="b'x' * 1000"),
    "a header of ten gigabytes": LIAR.format(lie="struct.pack('<Q', 10**10) + b'{}'"),
    "offsets that lie": LIAR.format(
        lie="(lambda h: struct.pack('<Q', len(h)) + h)(json.dumps({'0.0': {'dtype': 'F64', 'shape': [200, 250, 1], "
        "'data_offsets': [0, 8]}, '__metadata__': {'job': '{}'}}).encode()) + b'x' * 8"
    ),
    "claims to be right": LIAR.format(
        lie="(lambda h: struct.pack('<Q', len(h)) + h)(json.dumps({'__metadata__': {'job': json.dumps({'state': "
        "'right', 'parts': [], 'returned': [], 'incident': None, 'remarks': []})}}).encode())"
    ),
    "an incident that fits nothing": LIAR.format(
        lie="(lambda h: struct.pack('<Q', len(h)) + h)(json.dumps({'__metadata__': {'job': json.dumps({'parts': [], "
        "'returned': [], 'incident': ['wrong type', 'x', 'y'], 'remarks': ['z']})}}).encode())"
    ),
}
PATCHES = {
    "torch says that all is equal": "torch.equal = lambda *a, **k: True\ntorch.isfinite = torch.ones_like",
    "observing is replaced": """
        import minidiff.checks.observing as o, minidiff.workshop.labs.worker as w
        from minidiff.checks.records import Observation
        w.observe = o.observe = lambda *a, **k: Observation()
    """,
    "the time limit is lifted": """
        import signal
        signal.setitimer(signal.ITIMER_REAL, 0)
    """,
    "the random generator is replaced": "torch.Generator = None\ntorch.manual_seed(0)",
}
PEEKS = {  # what must not be found out
    "the solutions": "__import__('minidiff.checks.n05')",
    "the lab": "__import__('minidiff.workshop.labs.lab05')",
    "the judge": "__import__('minidiff.workshop.labs.judging')",
    "the repository": f"__import__('os').listdir({os.getcwd()!r} + '/minidiff/workshop/labs')",
    "the gradebook": "__import__('os').listdir('/root') + __import__('os').listdir('/home')",
    "the password file": "open('/etc/passwd').read()",
    "a symbolic link out": "(__import__('os').symlink('/etc/shadow', 'l'), open('l').read())",
    "another process": "[open(f'/proc/{p}/environ').read() for p in __import__('os').listdir('/proc') "
    "if p.isdigit() and int(p) not in (1, 2, 3)][0]",
    "the memory of the worker": "open('/proc/' + str(__import__('os').getppid()) + '/mem', 'rb').read(1)",
}


def judged(source: str, box):
    return mark_answer(VARIANT, source, [], INPUTS, box)


@pytest.fixture(autouse=True)
def unharmed(box):
    """After each attack a right answer is right, and nothing of the attack is left."""
    before = processes_of_nobody()
    yield
    assert judged(RIGHT, box).state == "right"
    deadline = time.monotonic() + 5
    while processes_of_nobody() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_of_nobody() - before


def processes_of_nobody() -> set[int]:
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid == worker.NOBODY:
                found.add(int(pid))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", [*ENDLESS, *QUICK])
def test_an_attack_gets_nothing(name, box, impatient):
    begin = time.monotonic()
    verdict = judged(body({**ENDLESS, **QUICK}[name]), box)
    assert verdict.state in ("incident", "unknown"), verdict.text
    assert time.monotonic() - begin < 12


@pytest.mark.parametrize("name", ["os._exit", "forks without end", "kills everybody", "takes all memory"])
def test_an_attack_at_the_outer_level_is_not_even_run(name, box, impatient):
    attack = textwrap.indent(textwrap.dedent(QUICK[name]).strip(), "    ")
    assert judged(f"for _ in (0,):\n{attack}\n{RIGHT}", box).state == "right"


@pytest.mark.parametrize("name", PATCHES)
def test_what_is_changed_inside_changes_no_mark(name, box, impatient):
    assert judged(body(PATCHES[name]), box).state in ("incident", "unknown")


@pytest.mark.parametrize("name", PEEKS)
def test_nothing_can_be_found_out(name, box, impatient):
    verdict = judged(tell(PEEKS[name]), box)
    assert verdict.state == "incident" and "FOUND" not in verdict.text, verdict.text


def test_there_is_no_network(box, impatient):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        verdict = judged(tell(f"__import__('socket').create_connection(('127.0.0.1', {port}), 1)"), box)
    assert "FOUND" not in verdict.text


def test_surroundings_hold_no_salt(box, impatient, monkeypatch):
    monkeypatch.setenv("MINIDIFF_LAB_SALT", "very secret")
    with sandbox() as fresh:
        text = judged(tell("dict(__import__('os').environ)"), fresh).text
    assert "FOUND" in text and "very secret" not in text
    assert "very secret" not in judged(tell("open('/proc/self/environ').read()"), box).text


def test_hidden_inputs_do_not_come_out_by_an_error(box, impatient):
    """In the public case an error is told; in a hidden one only that there was one."""
    assert "FOUND" in judged(tell("x.sum()"), box).text
    only_hidden = HEAD + "    if x.shape[1] == 1: return math.sqrt(1 - beta) * x + math.sqrt(beta * v) * "
    only_hidden += (
        "torch.randn(x.shape, generator=g, dtype=x.dtype)\n    raise RuntimeError('FO' 'UND ' + str(x.sum()))\n"
    )
    verdict = judged(only_hidden, box)
    assert verdict.state == "incident" and "FOUND" not in verdict.text and "hidden" in verdict.text


def test_one_answer_leaves_nothing_for_the_next(box, impatient):
    judged(body("open('message', 'w').write('hello')\nopen('/dev/shm/message', 'w').write('hello')"), box)
    text = judged(tell("__import__('os').listdir('.')"), box).text
    assert "FOUND" in text and "message" not in text


def test_a_worker_that_has_died_is_started_again(box):
    if isolation_here() != "namespaces":
        pytest.skip("without root every job has a worker of its own")
    box.process.kill()
    assert judged(RIGHT, box).state == "right"


@pytest.mark.skipif(subprocess.run(["which", "bwrap"], capture_output=True).returncode != 0, reason="needs bubblewrap")
@pytest.mark.parametrize("name", ["sleeps for ever", "kills everybody", "forks once", "the repository", "right"])
def test_bubblewrap_locks_in_as_well(name, impatient):
    attack = RIGHT if name == "right" else tell(PEEKS[name]) if name in PEEKS else body({**ENDLESS, **QUICK}[name])
    with sandbox(isolation="bubblewrap") as cold:
        verdict = judged(attack, cold)
    assert (verdict.state == "right") == (name == "right")
    assert "FOUND" not in verdict.text


def test_messages_are_refused_where_they_lie():
    good = messages.packed({"a": 1}, {})
    assert messages.unpacked(good)[0] == {"a": 1}
    for bad in (b"", good[:-1], good[:4], b"\xff" * 100, good[:8] + b"[" + good[9:]):
        with pytest.raises(messages.Unreadable):
            messages.unpacked(bad)
