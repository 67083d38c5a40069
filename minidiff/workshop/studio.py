"""A model that draws to order, for many at once: what an order may say, and the queue that joins orders into batches.

Nothing here knows of HTTP; `serve` does. The network always sees the same number of places at once, and those that
nobody asked for are filled up: for other numbers PyTorch takes other kernels, whose sums differ in the last bits. So an
order has the same pictures, to the bit, whether it comes alone or in a crowd.
"""

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minidiff.checkpoints import folder_of, read_card
from minidiff.data.captions import START, WORDS, NoCaption, captions_of, null_caption, parse, tokenise
from minidiff.networks.embeddings import NO_LABEL
from minidiff.samplers import State, ddim
from minidiff.workshop.display import image_png, picture_of
from minidiff.workshop.evaluation import even_told, noise_source, walk_down
from minidiff.workshop.few_steps import FEW, own_sampler, own_steps
from minidiff.workshop.runs import load_drawing
from minidiff.workshop.subjects import Recipe

__all__ = ["BadOrder", "Busy", "Drawing", "Limits", "Model", "NoJson", "Order", "Studio", "drawn", "load_model"]
__all__ += ["order_of"]

STEPS = 20  # where an order does not say
POINTS, POINTS_AT_ONCE = 1000, 250  # the limits where points are drawn, which cost next to nothing
LARGEST_SEED = 2**53 - 1  # the largest whole number that every program that reads JSON keeps exactly
LONGEST_PROMPT = 120  # characters; the longest caption has 53
REPEATED = 40  # characters of a wrong value that an error repeats


class BadOrder(ValueError):
    """An order that cannot be drawn. Its message is one sentence for whoever sent it."""


class NoJson(BadOrder):
    """What came is not JSON at all."""


class Busy(RuntimeError):
    """No order is taken now. Its message says why; `seconds` later there may be room."""

    def __init__(self, why: str, seconds: int):
        super().__init__(why)
        self.seconds = seconds


@dataclass(frozen=True)
class Limits:
    """The most of everything. pictures: in an order. places: seen by the network at once. body: bytes of a request."""

    pictures: int = 16
    places: int = 8
    steps: int = 100
    guidance: float = 20.0
    waiting: int = 256
    body: int = 4096


@dataclass(frozen=True)
class Order:
    """What is to be drawn, and from which seed. Without a label or a prompt, what the data hold is drawn in turn."""

    n: int = 1
    seed: int = 0
    steps: int = STEPS
    label: int | None = None
    prompt: str | None = None
    guidance: float = 1.0

    @property
    def kind(self) -> tuple[int, float]:
        """Orders of the same kind can be drawn in one batch."""
        return self.steps, self.guidance


FIELDS = tuple(field.name for field in fields(Order))


# The model, and what it may be asked


@dataclass(frozen=True, eq=False)
class Model:
    """A network that draws, with its card and the limits that it is offered within."""

    name: str
    net: nn.Module
    recipe: Recipe
    card: Mapping[str, Any]
    limits: Limits

    @property
    def own_steps(self) -> int | None:
        """The only number of steps in which it draws, None where any number will do."""
        return own_steps(self.recipe) if self.recipe.objective in FEW else None

    @property
    def guidable(self) -> bool:
        """Whether it has also learned to draw while nothing is said, which guidance pushes away from."""
        told = self.recipe.reads or (self.recipe.classes and self.recipe.label_dropout > 0)
        return bool(told) and self.own_steps is None

    @property
    def draws_points(self) -> bool:
        return len(self.recipe.shape) == 1

    def facts(self) -> dict[str, Any]:
        """What a stranger may know of it."""
        return {
            "name": self.name,
            "shape": list(self.recipe.shape),
            "labels": self.recipe.classes,
            "reads": self.recipe.reads,
            "steps": self.own_steps,
            "guidance": self.guidable,
            "card": self.card,
        }

    def order(self, said: Any) -> Order:
        """The order that a JSON value asks for, with nothing left open. Raises BadOrder, which says what is wrong."""
        if not isinstance(said, dict):
            raise BadOrder(f'an order must be an object such as {{"n": 4, "seed": 7}}, but is {shown(said)}')
        for name in said:
            if name not in FIELDS:
                raise BadOrder(f"an order has the fields {', '.join(FIELDS)}, but this one has {shown(name)}")
        given = {name: value for name, value in said.items() if value is not None}  # null says nothing
        limits, own = self.limits, self.own_steps
        self.check_told(given)
        return Order(
            n=whole("n", given.get("n", 1), 1, limits.pictures),
            seed=whole("seed", given.get("seed", 0), 0, LARGEST_SEED),
            steps=whole("steps", given.get("steps", own or min(STEPS, limits.steps)), own or 1, own or limits.steps),
            label=given.get("label"),
            prompt=given.get("prompt"),
            guidance=self.checked_guidance(given.get("guidance", 1)),
        )

    def check_told(self, given: Mapping[str, Any]) -> None:
        """Refuse a label or a prompt that the network does not know."""
        if "label" in given:
            if not self.recipe.classes:
                instead = "a prompt" if self.recipe.reads else "no label"
                raise BadOrder(f"label must be left out, since {self.name} takes {instead}")
            whole("label", given["label"], 0, self.recipe.classes - 1)
        if "prompt" in given:
            prompt = given["prompt"]
            if not self.recipe.reads:
                instead = "a label" if self.recipe.classes else "no prompt"
                raise BadOrder(f"prompt must be left out, since {self.name} takes {instead}")
            if not isinstance(prompt, str) or len(prompt) > LONGEST_PROMPT:
                raise BadOrder(f"prompt must be a text of at most {LONGEST_PROMPT} letters, but is {shown(prompt)}")
            try:
                tokenise(captions_of(parse(prompt)))
            except NoCaption as error:
                raise BadOrder(f"prompt {error}") from error

    def checked_guidance(self, value: Any) -> float:
        most = self.limits.guidance
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise BadOrder(f"guidance must be a number from 0 to {most:g}, but is {shown(value)}")
        if value != 1 and not self.guidable:
            raise BadOrder(
                f"guidance must be 1 or left out, since {self.name} has not learned to draw without being told"
            )
        return float(value)

    def told(self, order: Order) -> tuple[Tensor | None, list[str]]:
        """What each picture of an order is told, (n, ...), None where it is nothing; and the same in words."""
        if order.prompt is not None:
            said = captions_of(parse(order.prompt)) * order.n
            return tokenise(said), said
        if order.label is not None:
            return torch.full((order.n,), order.label), [str(order.label)] * order.n
        y = even_told(order.n, self.recipe)
        if self.recipe.reads:
            return y, [" ".join(WORDS[token] for token in row if token > START) for row in y.tolist()]
        return y, [] if y is None else list(map(str, y.tolist()))

    def walk(self, order: Order, sources: Sequence[torch.Generator], y: Tensor | None) -> Iterator[State]:
        """The steps of a batch of the order's kind, a sample for each source of noise; y: what each is told."""
        recipe, sampler = self.recipe, ddim if self.own_steps is None else own_sampler(self.recipe)
        against = {}
        if order.guidance != 1:
            against = {"w": order.guidance, "nothing": null_caption(1) if recipe.reads else torch.tensor([NO_LABEL])}
        how = (recipe.gaussian_path(), recipe.kind, recipe.shape, sources, y, torch.linspace(1, 0, order.steps + 1))
        return walk_down(self.net, *how, sampler, **against)


def load_model(place: str | Path, limits: Limits | None = None, *, device: str | torch.device = "cpu") -> Model:
    """The model in a folder, or one that comes with the course, by its name. Raises Refused for one that cannot draw.

    limits: by default those of `Limits`, with more places where points are drawn.
    """
    net, recipe = load_drawing(place)
    card = dict(read_card(folder_of(place)))
    if isinstance(card.get("recipe"), Mapping):  # where somebody's pictures lie is nobody else's business
        card["recipe"] = {name: value for name, value in card["recipe"].items() if name != "source"}
    card.pop("command", None)
    usual = Limits(pictures=POINTS, places=POINTS_AT_ONCE) if len(recipe.shape) == 1 else Limits()
    return Model(folder_of(place).resolve().name, net.to(device), recipe, card, limits or usual)


def order_of(model: Model, content: bytes) -> Order:
    """The order in the bytes of a request. Raises NoJson where they are no JSON, BadOrder where they are no order."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        why = "is empty" if not content.strip() else f"is not: {shown(content.decode(errors='replace'))}"
        raise NoJson(f'what is sent must be JSON such as {{"n": 4, "seed": 7}}, but {why}') from error
    return model.order(said)


def whole(name: str, value: Any, least: int, most: int) -> int:
    """A whole number within limits. Raises BadOrder for anything else, true and 2.0 included."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        asked = (
            f"be {least}, the only one of this model,"
            if least == most
            else f"be a whole number from {least} to {most},"
        )
        raise BadOrder(f"{name} must {asked} but is {shown(value)}")
    return value


def shown(value: Any) -> str:
    """A value as JSON writes it, in ASCII, shortened."""
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):  # a whole number with thousands of digits, or a deep nest
        text = "too large to be shown"
    return text if len(text) <= REPEATED else f"{text[:REPEATED]}..."


# Drawing


class Drawing(NamedTuple):
    """What came of an order. told: each picture, in words. x: samples, (n, *shape). pictures: a PNG file of each, of
    points one plot. sheet: a PNG file of all."""

    order: Order
    told: list[str]
    x: Tensor
    pictures: list[bytes]
    sheet: bytes


@torch.no_grad()
def drawn(
    model: Model, orders: Sequence[Order], watch: Callable[[int, int], None] = lambda step, of: None
) -> list[Tensor]:
    """Draw several orders of one kind in one batch: the samples of each, (n, *shape).

    The network sees `places` samples at once, no more and no less. watch: told after every step how many are done of
    how many.

    Sample i of an order has noise of its own, a function of the order's seed and of i, as `evaluation.sample` has it.
    """
    if any(order.kind != orders[0].kind for order in orders):
        raise ValueError(f"orders must be of one kind to be drawn together, but they are {orders}")
    net, places, counts = model.net, model.limits.places, [order.n for order in orders]
    empty = -sum(counts) % places
    sources = [noise_source(net, order.seed, i) for order in orders for i in range(order.n)]
    sources += [noise_source(net, 0, 0)] * empty
    y, parts, done, rounds = None, [], 0, len(sources) // places
    if model.recipe.reads or model.recipe.classes:
        told = torch.cat([model.told(order)[0] for order in orders])
        y = torch.cat([told, told[-1:].repeat(empty, *[1] * (told.ndim - 1))])
    steps = rounds * orders[0].steps
    for first in range(0, len(sources), places):
        rows = slice(first, first + places)
        for state in model.walk(orders[0], sources[rows], None if y is None else y[rows]):
            x, done = state.x, done + 1
            watch(done, steps)
        parts.append(x.cpu())
    return list(torch.cat(parts)[: sum(counts)].split(counts))


def developed(model: Model, order: Order, x: Tensor) -> Drawing:
    """The pictures of an order's samples. Raises FloatingPointError where the network drew none."""
    if not bool(x.isfinite().all()):
        raise FloatingPointError(f"the network of {model.name} draws NaN or infinite values: train it again")
    sheet = picture_of(x)
    pictures = [sheet] if model.draws_points else [image_png(image) for image in x]
    return Drawing(order, model.told(order)[1], x, pictures, sheet)


def developed_or_error(model: Model, order: Order, x: Tensor) -> Drawing | Exception:
    """The same, with the error in place of the drawing: one order that fails must not spoil its company."""
    try:
        return developed(model, order, x)
    except Exception as error:
        return error


class Taken(NamedTuple):
    """An order that waits, and whoever waits for it."""

    order: Order
    answer: "Future[Drawing]"


class Studio:
    """A queue and one thread that draws. The oldest order is next, and whatever waits of its kind comes along.

    So nobody is overtaken for ever, and nobody is kept waiting for company: what arrives while a batch is drawn is the
    next one. Close it, or use it as a context manager: what was taken is drawn before it ends.
    """

    def __init__(self, model: Model):
        self.model = model
        self._waiting: deque[Taken] = deque()
        self._changed = threading.Condition()
        self._closing = self._dropping = False
        self._drawing: dict[str, int] | None = None
        self._done = {"orders": 0, "batches": 0}
        self._seconds = 1.0  # of the last batch
        # PyTorch counts threads for each thread of Python: without being told, this one would take every core
        self._thread = threading.Thread(target=self._work, args=(torch.get_num_threads(),), daemon=True)
        self._thread.start()

    def __enter__(self) -> "Studio":
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self.close(finish=kind is None)

    def take(self, order: Order) -> "Future[Drawing]":
        """Take an order. Whoever gives up cancels its future. Raises Busy where too many wait, or at the end.

        An order that the model did not check itself (`Model.order`) may fail when it is drawn.
        """
        with self._changed:
            if self._closing:
                raise Busy("no orders are taken any more, since the server is shutting down", 10)
            self._forget_those_who_left()
            if (count := len(self._waiting)) >= self.model.limits.waiting:
                raise Busy(f"{count} orders are waiting, which is all that fit; try again later", self._patience())
            taken = Taken(order, Future())
            self._waiting.append(taken)
            self._changed.notify()
            return taken.answer

    def state(self) -> dict[str, Any]:
        """How many orders wait, what is being drawn, and what is done."""
        with self._changed:
            self._forget_those_who_left()
            drawing = None if self._drawing is None else dict(self._drawing)
            return {"waiting": len(self._waiting), "drawing": drawing, "done": dict(self._done)}

    @property
    def closing(self) -> bool:
        return self._closing

    def close(self, *, finish: bool = True) -> None:
        """Take no more orders, draw those that were taken, and end. Without `finish`, drop them after the next step."""
        with self._changed:
            self._closing, self._dropping = True, not finish
            while self._dropping and self._waiting:
                self._waiting.popleft().answer.cancel()
            self._changed.notify()
        self._thread.join()

    def _forget_those_who_left(self) -> None:
        if any(taken.answer.cancelled() for taken in self._waiting):
            self._waiting = deque(taken for taken in self._waiting if not taken.answer.cancelled())

    def _patience(self) -> int:
        """Seconds until about half of those who wait have been drawn."""
        batches = sum(taken.order.n for taken in self._waiting) / self.model.limits.places
        return max(1, math.ceil(self._seconds * batches / 2))

    def _next_batch(self) -> list[Taken]:
        """The oldest order that waits, and those of its kind that fit beside it; none when all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            places, batch, left, count = self.model.limits.places, [], deque(), 0
            for taken in self._waiting:
                alike = not batch or taken.order.kind == batch[0].order.kind
                fits = not batch or taken.order.n <= -count % places  # the places that are empty
                if not alike or not fits:
                    left.append(taken)
                elif taken.answer.set_running_or_notify_cancel():  # from here on nobody can cancel it
                    batch.append(taken)
                    count += taken.order.n
            self._waiting = left
            if batch:
                self._drawing = {"orders": len(batch), "pictures": count, "step": 0, "steps": batch[0].order.steps}
            return batch

    def _work(self, threads: int) -> None:
        torch.set_num_threads(threads)
        while True:
            batch = self._next_batch()
            if batch:
                self._draw(batch)
            elif self._closing and not self._waiting:
                return

    def _draw(self, batch: list[Taken]) -> None:
        def watch(step: int, steps: int) -> None:
            if self._dropping:
                raise Busy("the server was ended before the order was drawn", 10)
            self._drawing |= {"step": step, "steps": steps}

        began, came = time.perf_counter(), []
        try:
            for taken, x in zip(batch, drawn(self.model, [taken.order for taken in batch], watch), strict=True):
                came.append(developed_or_error(self.model, taken.order, x))
        except Exception as error:  # whoever asked must hear of it, and the others' orders go on
            came = [error] * len(batch)
        with self._changed:
            self._seconds, self._drawing = time.perf_counter() - began, None
            self._done["orders"] += len(batch)
            self._done["batches"] += 1
        for taken, result in zip(batch, came, strict=True):
            if isinstance(result, Exception):
                taken.answer.set_exception(result)
            else:
                taken.answer.set_result(result)
