"""Several processes, or machines, that train one network: `torchrun` starts them, this module lets them agree.

Each worker computes the gradient of its own rows of every batch; PyTorch's DistributedDataParallel averages the
gradients while they are computed (Li et al. 2020, arXiv 2006.15704). All hold the same weights at every step. One of
them, the lead, decides and writes.
"""

import contextlib
import gc
import os
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from minidiff.training import Draws, Objective

__all__ = ["LeadGaveUp", "Refused", "WorkerLost", "Workers", "joined", "local_device", "lost_is_said"]

MEETING_SECONDS = 600  # until all have started: one may still be downloading
KEPT = 100  # messages; an older one has long arrived
SILENCE_SECONDS = 25  # after which a worker that says nothing counts as lost; a vanished machine never says goodbye


class Refused(ValueError):
    """What is asked for cannot be done here; the message names the argument."""


class WorkerLost(RuntimeError):
    """Another worker has ended, or has not answered for a long time."""


class LeadGaveUp(WorkerLost):
    """The lead could not begin; it says why itself."""


class Meeting:
    """What is there while the workers meet: their process group, and the last messages.

    Why messages are kept: gloo's threads let go of a tensor a moment after it has arrived. If Python has dropped it
    before, such a thread must free it, for which it needs Python's lock, and a process that is just ending hangs or
    aborts ("terminate called without an active exception").
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group: dist.ProcessGroup | None = group
        self.messages: deque[Tensor] = deque(maxlen=KEPT)

    def end(self) -> None:
        """End the group, and with it its threads; only then let go of the messages."""
        dist.destroy_process_group()
        self.group = None
        gc.collect()  # DistributedDataParallel refers to the group in circles
        self.messages.clear()


class Workers(NamedTuple):
    """This worker's place among all: rank of count. Alone it is 0 of 1. The lead is worker 0."""

    rank: int = 0
    count: int = 1
    meeting: Meeting | None = None
    device: torch.device = torch.device("cpu")  # where messages travel: nccl carries those on a GPU only

    @property
    def lead(self) -> bool:
        return self.rank == 0

    @property
    def rows(self) -> slice:
        """This worker's rows of a batch: every count-th one. Together the workers have each row once."""
        return slice(None) if self.count == 1 else slice(self.rank, None, self.count)

    def rows_of(self, objective: Objective) -> Objective:
        """The loss of this worker's rows. All workers make the same draws, so that together they do what one does."""
        if self.count == 1:
            return objective

        def loss(net: nn.Module, draws: Draws) -> Tensor:
            return objective.loss(net, Draws(*(part if part is None else part[self.rows] for part in draws)))

        return Objective(objective.draw, loss)

    def replicated(self, net: nn.Module) -> nn.Module:
        """The network, with gradients that are averaged over all workers. Its weights stay in `net`."""
        if self.count == 1:
            return net
        return nn.parallel.DistributedDataParallel(net, process_group=self.meeting.group)

    def mean(self, value: float) -> float:
        """The mean of a number over all workers."""
        return float(self._reduced(value)) / self.count

    def of_lead(self, value: float) -> float:
        """What the number is for the lead, at every worker: so what follows from it is the same for all."""
        return float(self._reduced(value if self.lead else 0.0))

    def any(self, flag: bool) -> bool:
        """Whether it is true of any worker."""
        return float(self._reduced(float(flag))) > 0

    def from_lead(self, make: Callable[[], bytes]) -> bytes:
        """What the lead makes, at every worker. Where the lead fails it raises its error, and the others WorkerLost."""
        if self.count == 1:
            return make()
        try:
            content = make() if self.lead else b""
        except BaseException:
            self._broadcast(torch.tensor([-1]))
            raise
        size = self._broadcast(torch.tensor([len(content)]))
        if int(size) < 0:
            raise LeadGaveUp("the lead gave up; it says why")
        message = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.zeros(int(size)).byte()
        return self._broadcast(message).cpu().numpy().tobytes() if int(size) else b""

    def _reduced(self, value: float) -> Tensor:
        total = torch.tensor(value, dtype=torch.float32, device=self.device)
        if self.count > 1:
            self.meeting.messages.append(total)
            with lost_is_said():
                dist.all_reduce(total, group=self.meeting.group)
        return total

    def _broadcast(self, message: Tensor) -> Tensor:
        message = message.to(self.device)
        self.meeting.messages.append(message)
        with lost_is_said():
            dist.broadcast(message, 0)  # with the patience of the meeting, since the lead may be measuring
        return message


# What PyTorch's messages say where a worker has gone (gloo's, then NCCL's)
LOST = ("onnection closed", "onnection reset", "onnection refused", "imed out", "imeout", "Broken pipe")
LOST += ("remote process exited", "was aborted")


@contextlib.contextmanager
def lost_is_said() -> Iterator[None]:
    """Turn what PyTorch raises where a worker has gone into one clear error. (It has no type of its own for that.)"""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, WorkerLost) or not any(word in str(error) for word in LOST):
            raise
        raise WorkerLost("another worker has ended or no longer answers") from error


def local_device(name: str) -> torch.device:
    """The device of this worker: `cuda` is the GPU that torchrun meant for it.

    Raises Refused where there is none.
    """
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    try:
        device = torch.device(name)
        if name == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        found = (device.index or 0) < count.get(device.type, 0)
    except (RuntimeError, ValueError):
        found = False
    if not found:
        here = ", ".join(f"{number} x {kind}" if kind == "cuda" else kind for kind, number in count.items() if number)
        raise Refused(f"--device must be one that PyTorch finds here ({here}), but is {name!r}")
    return device


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Workers]:
    """Meet the other workers that torchrun started, or work alone where it started none."""
    count = int(os.environ.get("WORLD_SIZE") or 1)
    if count == 1 or not {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):  # torchrun sets all of them
        yield Workers(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    with lost_is_said():
        dist.init_process_group(backend, timeout=timedelta(seconds=MEETING_SECONDS))
        meeting = Meeting(dist.new_group(timeout=timedelta(seconds=SILENCE_SECONDS)))
    try:
        yield Workers(dist.get_rank(), count, meeting, device if backend == "nccl" else torch.device("cpu"))
    except BaseException:
        dist.destroy_process_group()  # waits for nobody: a thread may still listen to a worker that is gone
        raise
    meeting.end()
