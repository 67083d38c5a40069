"""`minidiff serve`: who asks gets the pictures asked for, alone or in a crowd, or a sentence that says what is wrong.

The server is a real one, in a thread or a process; the networks are small and untrained, but steered by all they are
told. The page is opened in a real browser.
"""

import base64
import contextlib
import io
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from minidiff import _shipped
from minidiff._shell import python_here
from minidiff.checkpoints import save_weights
from minidiff.data.captions import null_caption, tokenise
from minidiff.denoisers import from_network, guided
from minidiff.samplers import ddim, last
from minidiff.workshop import commands, evaluation, studio
from minidiff.workshop.few_steps import sample_few
from minidiff.workshop.studio import BadOrder, Busy, Limits, NoJson, Order, Studio, drawn, load_model, order_of
from minidiff.workshop.subjects import SUBJECTS
from tests.processes import REPOSITORY, command, end, environment, wait_until

server = pytest.importorskip("minidiff.workshop.serve", reason="FastAPI is missing: pip install -e '.[production]'")

NETWORKS = {  # by what they can be asked: small ones of the course's own kinds
    "labels": replace(
        SUBJECTS["digits"].recipe,
        architecture={"network": "UNet", "channels": 1, "widths": [16], "blocks": 1, "patch": 1, "classes": 10},
        shape=(1, 8, 8),
        label_dropout=0.1,
    ),
    "plain": replace(
        SUBJECTS["mnist-ddpm"].recipe,
        architecture={"network": "UNet", "channels": 3, "widths": [16], "blocks": 1, "patch": 2, "classes": 0},
        shape=(3, 12, 12),
        source="/home/somebody/pictures",
    ),
    "captions": replace(
        SUBJECTS["captions"].recipe, architecture={**SUBJECTS["captions"].recipe.architecture, "widths": [16, 16]}
    ),
    "few": replace(
        SUBJECTS["mnist-4-steps"].recipe,
        architecture={"network": "UNet", "channels": 1, "widths": [16], "blocks": 1, "patch": 2, "classes": 10},
        shape=(1, 8, 8),
    ),
    "gan": SUBJECTS["plane-gan"].recipe,
    "moons": SUBJECTS["moons"].recipe,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with a network for each of NETWORKS, whose every weight says something."""
    made = {}
    for name, recipe in NETWORKS.items():
        net, made[name] = recipe.network(), tmp_path_factory.mktemp("served") / name
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for value in net.parameters():
                if not bool(value.any()):
                    torch.nn.init.normal_(value, std=0.2)
        save_weights(made[name], net, {"recipe": recipe.record(), "command": "python -m minidiff train my-secrets"})
    return made


@pytest.fixture(scope="module")
def models(folders):
    few_points = {"gan": Limits(pictures=100, places=40), "moons": Limits(pictures=100, places=40)}  # to be quick
    return {name: load_model(folder, few_points.get(name)) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def model(models):
    """The one that knows labels, within narrow limits."""
    return replace(models["labels"], limits=replace(models["labels"].limits, steps=3, body=1000))


@pytest.fixture(scope="module")
def address(model):
    with Studio(model) as its_studio, server.running(its_studio) as its_address:
        yield its_address


def ask(address, order, path="/draw", **more):
    return requests.post(address + path, json=order, timeout=60, **more)


def pixels(content):
    return torch.from_numpy(np.array(Image.open(io.BytesIO(content))))


# --- what an order draws ---------------------------------------------------------------------------------------------

ORDERS = {
    "labels": {"n": 3, "seed": 5, "steps": 3, "label": 7},
    "plain": {"n": 2, "seed": 1, "steps": 3},
    "captions": {"n": 2, "steps": 2, "prompt": "A thin three left of a slanted seven."},
    "few": {"n": 3, "label": 2},
    "gan": {"n": 30, "seed": 2},
    "moons": {"n": 30, "steps": 3},
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_draws_what_minidiff_sample_draws(name, models):
    """The same seed, labels and steps there: `--sampler ddim`, or the network's own way."""
    model = models[name]
    order = model.order(ORDERS[name])
    (x,) = drawn(model, [order])
    y, words = model.told(order)
    recipe, net = model.recipe, model.net
    if name in ("few", "gan"):
        expected = sample_few(net, recipe, order.n, y, seed=order.seed)
        assert order.steps == 4
    else:
        how = {"times": torch.linspace(1, 0, order.steps + 1), "sampler": ddim, "seed": order.seed}
        expected = evaluation.sample(net, recipe.gaussian_path(), recipe.kind, recipe.shape, order.n, y, **how)
    assert x.shape == (order.n, *recipe.shape) and float((x[0] - x[1]).abs().max()) > 1e-3
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)
    assert words == {"labels": ["7"] * 3, "few": ["2"] * 3, "captions": ["thin three left of slanted seven"] * 2}.get(
        name, []
    )


@pytest.mark.parametrize("name", ["labels", "captions"])
def test_guidance_pushes_away_from_what_is_told_nothing(name, models):
    model, w = models[name], 2.5
    order = model.order({**ORDERS[name], "guidance": w})
    y, _ = model.told(order)
    path, kind = model.recipe.gaussian_path(), model.recipe.kind
    nothing = null_caption(order.n) if name == "captions" else None
    denoise = guided(from_network(model.net, path, kind, y), from_network(model.net, path, kind, nothing), w)
    sources = [evaluation.generator(order.seed, 3, i) for i in range(order.n)]
    start = torch.cat([path.prior((1, *model.recipe.shape), source) for source in sources])
    expected = last(ddim(denoise, path, start, torch.linspace(1, 0, order.steps + 1)))
    (x,) = drawn(model, [order])
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)
    assert float((x - drawn(model, [replace(order, guidance=1.0)])[0]).abs().max()) > 1e-3


def test_what_is_left_out_is_drawn_in_turn(models):
    model = models["labels"]
    assert model.told(model.order({"n": 12}))[1] == [*"0123456789", "0", "1"]
    words = models["captions"].told(models["captions"].order({"n": 3}))[1]
    assert torch.equal(tokenise(words), evaluation.even_told(3, models["captions"].recipe))


CROWDS = {  # of samples before and after the order
    "alone": ([], []),
    "behind others": ([1, 3], []),
    "before others": ([], [2, 2]),
    "between": ([1], [1, 1]),
    "in several rounds": ([7], [16, 5]),
}


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
@pytest.mark.parametrize("name", ORDERS)
def test_company_changes_no_bit_of_an_order(crowd, name, models):
    """Whatever the others ask for, and at whatever place the order comes."""
    model = models[name]
    order = model.order(ORDERS[name])
    before, after = ([model.order({"n": n, "seed": 90 + n, "steps": order.steps}) for n in part] for part in crowd)
    (alone,) = drawn(model, [order])
    assert torch.equal(drawn(model, [*before, order, *after])[len(before)], alone)


def test_company_changes_no_bit_of_a_shipped_network():
    """Which is as large as the kernels ask for that PyTorch chooses by the size of a batch."""
    model = load_model("mnist-ddpm-labels")
    order = model.order({"n": 1, "seed": 3, "steps": 2, "label": 4})
    crowd = [model.order({"n": 2, "seed": 8, "steps": 2}), order, model.order({"n": 5, "seed": 9, "steps": 2})]
    assert torch.equal(drawn(model, crowd)[1], drawn(model, [order])[0])


def test_the_network_always_sees_the_same_number_of_places(models):
    model, seen = models["labels"], []
    hook = model.net.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    try:
        for counts in ([1], [8], [5, 5], [16, 16, 1]):
            drawn(model, [model.order({"n": n, "steps": 1}) for n in counts])
    finally:
        hook.remove()
    assert seen == [8] * (1 + 1 + 2 + 5)


def test_orders_of_two_kinds_are_not_drawn_together(models):
    with pytest.raises(ValueError, match="of one kind"):
        drawn(models["labels"], [Order(steps=1), Order(steps=2)])


# --- what is no order ------------------------------------------------------------------------------------------------

COMMON = {
    "no whole number": ('{"n": 2.5}', "n must be a whole number from 1 to 16, but is 2.5"),
    "2.0": ('{"n": 2.0}', "but is 2.0"),
    "NaN": ('{"n": NaN}', "n must be a whole number from 1 to 16, but is NaN"),
    "infinity": ('{"seed": Infinity}', "seed must be a whole number from 0 to 9007199254740991, but is Infinity"),
    "too large to be written": ('{"seed": 1e999}', "but is Infinity"),
    "true": ('{"n": true}', "but is true"),
    "text": ('{"n": "4"}', 'but is "4"'),
    "a list": ('{"seed": [1]}', "but is [1]"),
    "none": ('{"n": 0}', "but is 0"),
    "too many": ('{"n": 17}', "but is 17"),
    "many digits": (f'{{"n": {"9" * 900}}}', "but is 999999999"),
    "below zero": ('{"seed": -1}', "but is -1"),
    "an unknown field": (
        '{"stepz": 3}',
        'an order has the fields n, seed, steps, label, prompt, guidance, but this one has "stepz"',
    ),
    "half a letter": ('{"\\ud800": 3}', 'but this one has "\\ud800"'),
    "no object": ("[1, 2]", 'an order must be an object such as {"n": 4, "seed": 7}, but is [1, 2]'),
    "a number": ("NaN", "but is NaN"),
    "guidance NaN": ('{"guidance": NaN}', "guidance must be a number from 0 to 20, but is NaN"),
    "guidance infinite": ('{"guidance": -Infinity}', "but is -Infinity"),
    "guidance true": ('{"guidance": true}', "but is true"),
    "guidance text": ('{"guidance": "2"}', 'but is "2"'),
    "guidance too strong": ('{"guidance": 21}', "but is 21"),
    "guidance of many digits": (f'{{"guidance": {"9" * 900}}}', "but is 999999999"),
}
OF_LABELS = {
    "an unknown label": ('{"label": 10}', "label must be a whole number from 0 to 9, but is 10"),
    "a label NaN": ('{"label": NaN}', "but is NaN"),
    "a prompt": ('{"prompt": "two sevens"}', "prompt must be left out, since labels takes a label"),
    "steps": ('{"steps": 7}', "steps must be a whole number from 1 to 3, but is 7"),
}
NO_JSON = {
    "empty": ("", "must be JSON such as {"),
    "cut off": ('{"n": 4', "must be JSON such as {"),
    "letters of no alphabet": (b"\xff\xfe\x00", "must be JSON such as {"),
    "a deep nest": ("[" * 900, "must be JSON such as {"),
}
OF_OTHERS = {
    ("captions", '{"prompt": "two slanted sevns"}'): "the word 'sevns' is not known; the nearest one is 'sevens'",
    ("captions", '{"prompt": "seven of"}'): "must be a digit such as 'seven'",
    ("captions", '{"prompt": "\\ud800"}'): "the word '\\ud800' is not known",
    ("captions", '{"prompt": 7}'): "prompt must be a text of at most 120 letters, but is 7",
    ("captions", json.dumps({"prompt": "seven " * 30})): "prompt must be a text of at most 120 letters",
    ("captions", '{"label": 3}'): "label must be left out, since captions takes a prompt",
    ("plain", '{"label": 3}'): "label must be left out, since plain takes no label",
    ("plain", '{"prompt": "seven"}'): "prompt must be left out, since plain takes no prompt",
    ("plain", '{"guidance": 2}'): "guidance must be 1 or left out",
    ("few", '{"guidance": 2}'): "guidance must be 1 or left out",
    ("few", '{"steps": 5}'): "steps must be 4, the only one of this model, but is 5",
    ("moons", '{"n": 101}'): "n must be a whole number from 1 to 100, but is 101",
}


def post(address, content, **headers):
    kind = {"Content-Type": "application/json"}
    return requests.post(address + "/draw", data=content, headers={**kind, **headers}, timeout=60)


def sentence(answer):
    """What an answer complains of: one field, one line."""
    said = answer.json()
    assert list(said) == ["error"] and said["error"] and "\n" not in said["error"]
    return said["error"]


@pytest.mark.parametrize(
    ("content", "words", "status"),
    [*((*case, 422) for case in (COMMON | OF_LABELS).values()), *((*case, 400) for case in NO_JSON.values())],
    ids=[*COMMON, *OF_LABELS, *NO_JSON],
)
def test_what_is_no_order_is_answered_in_plain_words(content, words, status, address):
    answer = post(address, content)
    assert answer.status_code == status and words in sentence(answer)


@pytest.mark.parametrize(("case", "words"), OF_OTHERS.items(), ids=map(" ".join, OF_OTHERS))
def test_what_a_model_does_not_take_is_refused(case, words, models):
    name, content = case
    with pytest.raises(BadOrder, match=re.escape(words)) as refused:
        order_of(models[name], content.encode())
    assert not isinstance(refused.value, NoJson) and "\n" not in str(refused.value)


def test_null_says_nothing(model):
    nothing = dict.fromkeys(studio.FIELDS)
    assert model.order(nothing) == model.order({}) == Order(steps=3)
    assert model.order({"guidance": 2}) == model.order({"guidance": 2.0, "n": 1})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.integers(0, 20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
said = st.dictionaries(st.sampled_from([*studio.FIELDS, "steps ", "x"]), anything, max_size=4) | anything
sent = st.one_of(
    said.map(json.dumps).map(str.encode), said.map(json.dumps).map(lambda text: text.encode()[:-1]), st.binary()
)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(sent)
def test_whatever_is_sent_is_drawn_or_refused(address, content):
    answer = post(address, content)
    assert answer.status_code in (200, 400, 413, 422), answer.text
    if answer.status_code != 200:
        sentence(answer)
    elif content.strip():
        assert len(answer.json()["pictures"]) == answer.json()["order"]["n"]


def test_other_addresses_and_other_ways_are_sentences(address):
    answer = requests.get(address + "/nowhere", timeout=60)
    assert answer.status_code == 404 and "the page is at /" in sentence(answer)
    answer = requests.get(address + "/draw", timeout=60)
    assert answer.status_code == 405 and sentence(answer) == "/draw takes POST, but not GET"
    answer = requests.post(address + "/draw", data="n=4", timeout=60)
    assert answer.status_code == 415 and "application/json" in sentence(answer)


def test_a_long_body_is_put_down(address):
    content = json.dumps({"n": 1, "prompt": "x" * 1000})
    for body in (content, iter([content.encode()] * 3)):  # with its length said before, and in pieces
        answer = post(address, body)
        assert answer.status_code == 413 and "at most 1000 bytes" in sentence(answer)
    assert ask(address, {"steps": 1}).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(address, monkeypatch):
    monkeypatch.setattr(server, "BODY_SECONDS", 0.2)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as line:
        head = f"POST /draw HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{"
        line.sendall(head.encode())
        assert b"408" in line.recv(1000).splitlines()[0]


# --- answers ---------------------------------------------------------------------------------------------------------


def test_an_answer_holds_the_order_the_pictures_and_all_of_them_as_one(address, model):
    answer = ask(address, {"n": 3, "seed": 5, "label": 7})
    said = answer.json()
    assert said["order"] == {"n": 3, "seed": 5, "steps": 3, "label": 7, "prompt": None, "guidance": 1.0}
    assert said["told"] == ["7"] * 3 and re.fullmatch(r"draw;dur=\d+\.\d", answer.headers["Server-Timing"])
    (x,) = drawn(model, [model.order({"n": 3, "seed": 5, "label": 7})])
    expected = ((x.clamp(-1, 1) + 1) * 127.5).round()
    for picture, wanted in zip(said["pictures"], expected, strict=True):
        assert float((pixels(base64.b64decode(picture)) - wanted[0]).abs().max()) <= 1
    sheet = ask(address, {"n": 3, "seed": 5, "label": 7}, "/draw.png")
    assert sheet.headers["Content-Type"] == "image/png" and sheet.content == base64.b64decode(said["sheet"])
    assert Image.open(io.BytesIO(sheet.content)).size == (128, 128)  # two by two, enlarged
    assert ask(address, {"n": 3, "seed": 6, "label": 7}).json()["pictures"] != said["pictures"]


def test_colours_and_points(models):
    with Studio(models["plain"]) as its_studio, server.running(its_studio) as address:
        said = ask(address, {"n": 2, "steps": 1}).json()
        assert Image.open(io.BytesIO(base64.b64decode(said["pictures"][1]))).mode == "RGB" and said["told"] == []
    with Studio(models["moons"]) as its_studio, server.running(its_studio) as address:
        said = ask(address, {"n": 40, "steps": 2}).json()
    (x,) = drawn(models["moons"], [models["moons"].order({"n": 40, "steps": 2})])
    torch.testing.assert_close(torch.tensor(said["points"]), x)
    assert len(said["pictures"]) == 1 and said["pictures"][0] == said["sheet"]


def test_health_says_what_the_model_takes_and_keeps_what_is_private(address, models):
    said = requests.get(address + "/health", timeout=60).json()
    assert said["ready"] is True and said["waiting"] == 0 and said["drawing"] is None
    assert said["limits"] == {"pictures": 16, "places": 8, "steps": 3, "guidance": 20.0, "waiting": 256, "body": 1000}
    facts = {name: value for name, value in said["model"].items() if name != "card"}
    expected = {"name": "labels", "shape": [1, 8, 8], "labels": 10, "reads": False, "steps": None, "guidance": True}
    assert facts == expected and said["model"]["card"]["recipe"]["subject"] == "digits"
    assert "secret" not in json.dumps(said) and "somebody" not in json.dumps(models["plain"].facts())
    assert models["few"].facts()["steps"] == 4 and models["few"].facts()["guidance"] is False
    assert models["captions"].facts()["reads"] is True


# --- the queue -------------------------------------------------------------------------------------------------------


class Gate:
    """Drawings that wait until they are let through. orders: those of each batch."""

    def __init__(self, monkeypatch):
        self.open, self.orders, real = threading.Event(), [], studio.drawn

        def wait(model, orders, watch):
            self.orders.append(list(orders))
            assert self.open.wait(60)
            return real(model, orders, watch)

        monkeypatch.setattr(studio, "drawn", wait)


@pytest.fixture
def gate(monkeypatch):
    made = Gate(monkeypatch)
    yield made
    made.open.set()


def test_the_oldest_order_is_next_and_its_kind_comes_along(gate, model):
    with Studio(model) as its_studio:
        first = its_studio.take(Order(n=1, steps=1))
        wait_until(lambda: gate.orders)
        sizes = [(3, 2), (2, 1), (4, 2), (3, 2), (1, 2), (6, 1), (16, 1), (2, 1)]  # how many, in how many steps
        waiting = [its_studio.take(Order(n=n, seed=i, steps=steps)) for i, (n, steps) in enumerate(sizes)]
        assert its_studio.state() == {
            "waiting": 8,
            "drawing": {"orders": 1, "pictures": 1, "step": 0, "steps": 1},
            "done": {"orders": 0, "batches": 0},
        }
        gate.open.set()
        assert [future.result(60).order.n for future in (first, *waiting)] == [1, *(n for n, _ in sizes)]
        assert its_studio.state()["done"] == {"orders": 9, "batches": 6}
    drawn_together = [[(order.n, order.steps) for order in batch] for batch in gate.orders]
    # eight places: 3 + 4 + 1 of two steps, 2 + 6 of one, what is left of two, two rounds for sixteen, and the rest
    assert drawn_together == [[(1, 1)], [(3, 2), (4, 2), (1, 2)], [(2, 1), (6, 1)], [(3, 2)], [(16, 1)], [(2, 1)]]


def test_steps_are_counted_while_it_draws(model):
    seen = []
    drawn(model, [Order(n=9, steps=3), Order(n=2, steps=3)], lambda step, of: seen.append((step, of)))
    assert seen == [(step, 6) for step in range(1, 7)]


def test_whoever_is_too_late_hears_when_to_come_again(gate, model):
    few = replace(model, limits=replace(model.limits, waiting=3))
    with Studio(few) as its_studio, server.running(its_studio) as address, ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(ask, address, {"seed": 0})]
        wait_until(lambda: gate.orders)
        answers += [pool.submit(ask, address, {"seed": seed}) for seed in range(1, 10)]
        wait_until(lambda: sum(answer.done() for answer in answers) == 6)
        assert requests.get(address + "/health", timeout=60).json()["waiting"] == 3
        gate.open.set()
        answers = [answer.result() for answer in answers]
    late = [answer for answer in answers if answer.status_code == 503]
    assert len(late) == 6 and sum(answer.status_code == 200 for answer in answers) == 4
    for answer in late:
        assert int(answer.headers["Retry-After"]) >= 1
        assert sentence(answer) == "3 orders are waiting, which is all that fit; try again later"


def test_an_order_whose_sender_has_left_is_not_drawn(gate, model, caplog):
    with Studio(model) as its_studio, server.running(its_studio) as address, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, address, {"seed": 1})
        wait_until(lambda: gate.orders)
        with pytest.raises(requests.Timeout):
            requests.post(address + "/draw", json={"seed": 2}, timeout=0.3)
        wait_until(lambda: its_studio.state()["waiting"] == 0)
        gate.open.set()
        assert first.result().status_code == 200 and ask(address, {"seed": 3}).status_code == 200
    assert [order.seed for batch in gate.orders for order in batch] == [1, 3]
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]  # nothing to complain of


def test_an_error_reaches_whoever_asked_and_nobody_else(model, monkeypatch, capfd):
    real = studio.drawn

    def faulty(model, orders, watch):
        if any(order.seed == 13 for order in orders):
            raise ZeroDivisionError("a mistake of ours")
        samples = real(model, orders, watch)
        return [x * math.nan if order.seed == 14 else x for order, x in zip(orders, samples, strict=True)]

    monkeypatch.setattr(studio, "drawn", faulty)
    with Studio(model) as its_studio, server.running(its_studio) as address:
        answer = ask(address, {"seed": 13})
        assert answer.status_code == 500 and "a fault of minidiff's own, ZeroDivisionError" in sentence(answer)
        answer = ask(address, {"seed": 14})
        assert answer.status_code == 500 and "draws NaN or infinite values: train it again" in sentence(answer)
        assert ask(address, {"seed": 15}).status_code == 200


def test_an_order_that_fails_does_not_spoil_its_company(gate, model, monkeypatch):
    real = studio.developed

    def faulty(model, order, x):
        return real(model, order, x * math.nan if order.seed == 14 else x)

    monkeypatch.setattr(studio, "developed", faulty)
    with Studio(model) as its_studio:
        its_studio.take(Order(steps=1))
        wait_until(lambda: gate.orders)
        answers = [its_studio.take(Order(seed=seed, steps=1)) for seed in (13, 14, 15)]
        gate.open.set()
        assert answers[0].result(60).order.seed == 13 and answers[2].result(60).order.seed == 15
        with pytest.raises(FloatingPointError, match="draws NaN"):
            answers[1].result(60)
    assert [order.seed for order in gate.orders[1]] == [13, 14, 15]


def test_an_error_beside_it_ends_a_studio_after_the_next_step(gate, model):
    with pytest.raises(KeyboardInterrupt):
        with Studio(model) as its_studio:
            first = its_studio.take(Order(steps=3))
            wait_until(lambda: gate.orders)
            second = its_studio.take(Order(steps=3))
            threading.Timer(0.3, gate.open.set).start()
            raise KeyboardInterrupt
    assert second.cancelled()
    with pytest.raises(Busy, match="ended before"):
        first.result(0)


def test_at_the_end_nothing_is_taken_and_what_was_taken_is_drawn(gate, model):
    with Studio(model) as its_studio:
        taken = [its_studio.take(Order(seed=seed, steps=1 + seed % 2)) for seed in range(5)]
        closing = threading.Thread(target=its_studio.close)
        closing.start()
        wait_until(lambda: its_studio.closing)
        with pytest.raises(Busy, match="shutting down"):
            its_studio.take(Order())
        gate.open.set()
        closing.join(60)
        assert all(future.done() and future.result().order.seed == seed for seed, future in enumerate(taken))


def test_an_order_that_is_cancelled_makes_room(gate, model):
    few = replace(model, limits=replace(model.limits, waiting=1))
    with Studio(few) as its_studio:
        its_studio.take(Order(steps=1))
        wait_until(lambda: gate.orders)
        second = its_studio.take(Order(steps=1))
        with pytest.raises(Busy):
            its_studio.take(Order(steps=1))
        assert second.cancel()
        third = its_studio.take(Order(steps=1))
        gate.open.set()
        assert third.result(60)
        with pytest.raises(CancelledError):
            second.result()


def test_two_hundred_at_once_and_nothing_is_lost(model):
    """Half of them in 1 step and half in 2. Everyone gets the pictures that were asked for, and batches were joined."""
    orders = [{"n": 1 + i % 4, "seed": i, "label": i % 10, "steps": 1 + i % 2} for i in range(200)]
    together = threading.Barrier(len(orders))

    def one(order):
        together.wait(60)
        return ask(address, order)

    with Studio(model) as its_studio, server.running(its_studio) as address:
        with ThreadPoolExecutor(len(orders)) as pool:
            answers = list(pool.map(one, orders))
        assert {answer.status_code for answer in answers} == {200}
        assert [answer.json()["order"]["seed"] for answer in answers] == list(range(200))
        assert len({answer.content for answer in answers}) == 200
        done = its_studio.state()["done"]
        assert done["orders"] == 200 and done["batches"] < 150
        for i in (0, 77, 150, 199):  # alone, the same bytes
            assert ask(address, orders[i]).content == answers[i].content


# --- the command -----------------------------------------------------------------------------------------------------


def served(folder, log, *more):
    """A process that serves, and the address that it prints."""
    how = {"stdout": subprocess.PIPE, "stderr": log.open("w"), "text": True, "env": environment()}
    process = subprocess.Popen(command("serve", "--checkpoint", folder, "--port", 0, *more), **how)
    return process, process.stdout.readline().strip()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process could hear")
def test_when_it_is_told_to_end_it_finishes_what_it_took(folders, tmp_path):
    process, address = served(folders["labels"], tmp_path / "log")
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        with ThreadPoolExecutor(8) as pool:
            # each of its own kind, so that they are drawn one after the other
            answers = [pool.submit(ask, address, {"n": 8, "steps": 40 - i}) for i in range(8)]
            wait_until(lambda: requests.get(address + "/health", timeout=60).json()["waiting"] >= 4)
            process.send_signal(signal.SIGTERM)
            assert [answer.result().status_code for answer in answers] == [200] * 8
        assert process.wait(60) == 0
        assert process.stdout.read() == ""
        said = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
        assert said == ["labels draws there, in a browser too; Ctrl-C ends it", "finishing what was taken"]
        with pytest.raises(requests.ConnectionError):
            requests.get(address, timeout=60)
    finally:
        end(process)


IN = {"the repository": (None, "-c constraints.txt -e '.[production]'"), "a wheel": (Path(), "'minidiff[production]'")}


@pytest.mark.parametrize(("shipped", "what"), IN.values(), ids=IN)
def test_without_the_extra_it_says_what_to_install(shipped, what, monkeypatch, capsys):
    monkeypatch.setattr(_shipped, "shipped_folder", lambda: shipped)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "minidiff.workshop.serve")
    assert commands.main(["serve", "--checkpoint", "mnist-ddpm-labels"]) == 1
    expected = f"fastapi is missing, which serve needs: {python_here()} -m pip install {what}"
    said = capsys.readouterr()
    assert said.err == f"minidiff: {expected}\n" and said.out == ""


WRONG = {
    "no checkpoint": [],
    "a classifier": ["--checkpoint", "mnist-classifier"],
    "a model of films": ["--checkpoint", "balls"],
    "a port beyond the last": ["--checkpoint", "mnist-ddpm", "--port", "65536"],
    "no port": ["--checkpoint", "mnist-ddpm", "--port", "http"],
    "no pictures": ["--checkpoint", "mnist-ddpm", "--pictures", "0"],
    "nobody's address": ["--checkpoint", "mnist-ddpm", "--host", "192.0.2.1"],
    "no device": ["--checkpoint", "mnist-ddpm", "--device", "tpu"],
}


@pytest.mark.parametrize("more", WRONG.values(), ids=WRONG)
def test_wrong_usage_is_exit_code_2(more, capsys):
    try:
        code = commands.main(["serve", *more])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2 and said.out == "" and said.err.splitlines()[-1].startswith("minidiff")


def test_a_port_that_is_taken_is_one_line(folders, capsys):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert commands.main(["serve", "--checkpoint", str(folders["plain"]), "--port", str(port)]) == 2
    said = capsys.readouterr()
    assert f"must name an address that is free here, but 127.0.0.1, {port} is not" in said.err
    assert said.out == "" and said.err.count("\n") == 1


def test_the_options_set_the_limits(folders, monkeypatch):
    served = []
    monkeypatch.setattr(server, "serve", lambda *given: served.append(given))
    options = ["--host", "::1", "--port", "80", "--pictures", "4", "--places", "2", "--waiting", "5"]
    assert commands.main(["serve", "--checkpoint", str(folders["plain"]), *options]) == 0
    assert commands.main(["serve", "--checkpoint", str(folders["moons"])]) == 0
    (model, host, port), (points, *usual) = served
    assert model.limits == Limits(pictures=4, places=2, waiting=5) and (host, port) == ("::1", 80)
    assert points.limits == Limits(pictures=1000, places=250) and usual == ["127.0.0.1", 8000]


def test_whoever_opens_it_to_others_is_told_so(model, monkeypatch, capsys):
    ended = threading.Event()
    ended.set()
    monkeypatch.setattr(server, "stopping", lambda saying: contextlib.nullcontext(ended))
    for host, lines in (("127.0.0.1", 1), ("0.0.0.0", 2)):
        server.serve(model, host, 0)
        said = capsys.readouterr()
        assert said.out.startswith(f"http://{host}:") and said.err.count("\n") == lines
    assert "there is no password" in said.err


def test_the_help_explains_it(capsys):
    with pytest.raises(SystemExit):
        commands.main(["serve", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "127.0.0.1, which only this machine reaches" in said and "--waiting" in said


# --- the page --------------------------------------------------------------------------------------------------------

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


def test_the_page_asks_nobody_else_and_may_not(address):
    answer = requests.get(address, timeout=60)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'; connect-src 'self'" in answer.headers["Content-Security-Policy"]
    found = re.findall(r"(?:https?:)?//[a-z][^\s'\"<>]*", re.sub(r"^\s*//.*$", "", answer.text, flags=re.MULTILINE))
    assert found == ["http://www.w3.org/2000/svg"]  # the name of a format, which nobody fetches
    assert not re.search(r"<(?:link|script|img)[^>]*(?:src|href)=[\"'](?!data:)", answer.text)
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert '"minidiff.workshop" = ["serve.html"]' in project  # so it comes along where the package is installed


@pytest.fixture
def random_state_put_back():
    """Playwright draws from Python's own."""
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium")
def test_a_person_draws_in_a_browser(address, random_state_put_back):
    """By keyboard, on a desk and on a phone, in the light and in the dark, and with what a screen reader hears."""
    drivers = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install -e '.[browser]'")
    with drivers.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
            complaints, asked = [], []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(address)
            seed = page.get_by_label("Seed", exact=True)
            seed.wait_for()
            assert page.title() == "labels draws" and not page.get_by_label("What to draw").is_visible()
            # by keyboard alone
            page.get_by_label("Label", exact=True).focus()
            page.keyboard.press("3")  # as one chooses in a list
            for text in ("5", "3", "2", "77"):
                page.keyboard.press("Tab")
                page.keyboard.press("Control+a")
                page.keyboard.type(text)
            page.keyboard.press("Enter")
            status = page.get_by_role("status")
            page.get_by_text("Done: 5 pictures").wait_for()
            assert status.inner_text().startswith("Done: 5 pictures in ")
            assert page.get_by_role("heading", level=2).inner_text() == "5 pictures, label 3, seed 77"
            order = {"n": 5, "seed": 77, "label": 3, "guidance": 2, "steps": 3}
            answer = ask(address, order).json()
            images = page.get_by_role("img")
            sources = [f"data:image/png;base64,{picture}" for picture in answer["pictures"]]
            assert [image.get_attribute("src") for image in images.all()] == sources
            assert images.nth(1).get_attribute("alt") == "Picture 2 of 5: label 3"
            assert images.nth(1).evaluate("image => image.naturalWidth") == 8
            # the file
            with page.expect_download() as download:
                page.get_by_role("link", name="Download").click()
            assert download.value.suggested_filename == "labels-seed-77.png"
            assert Path(download.value.path()).read_bytes() == base64.b64decode(answer["sheet"])
            # another seed, which is shown and draws the same again
            page.get_by_role("button", name="Draw with another seed").click()
            page.locator("h2:not(:has-text('seed 77'))").wait_for()
            other = int(seed.input_value())
            assert page.get_by_role("heading", level=2).inner_text().endswith(f"seed {other}")
            again = ask(address, {**order, "seed": other}).json()["pictures"]
            assert images.first.get_attribute("src") == f"data:image/png;base64,{again[0]}"
            assert not complaints and all(url.startswith((address, "data:")) for url in asked)
            # what is wrong is said
            page.get_by_label("How many pictures").fill("17")
            page.keyboard.press("Enter")
            page.get_by_text("N must be a whole number from 1 to 16, but is 17.").wait_for()
            assert page.get_by_role("alert").inner_text().startswith("N must be") and status.inner_text() == ""
            # on a phone, in the dark
            light = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
            page.set_viewport_size({"width": 360, "height": 700})
            page.emulate_media(color_scheme="dark")
            assert page.locator("html").evaluate("html => html.scrollWidth") <= 360
            assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") != light
        finally:
            browser.close()
