"""A device that is not there: MPS, as Apple's machines have it, played by the CPU under the name of `meta`.

Inside `with Elsewhere() as elsewhere:` tensors may be moved to `elsewhere.device` and computed with. What the real one
refuses is refused: float64, also on the way to the CPU, operations on tensors of two devices, and `numpy()`. What would
make the processor wait for the device, a number read from a tensor, is counted in `elsewhere.waits`.
"""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
READS = (aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default, aten.is_nonzero.default)
# Where PyTorch asks itself what shape a result would have, on what it knows as `meta`.
SHAPES = (aten.empty_strided.default, aten.empty.memory_format, aten.to.dtype_layout)


class Remote(Tensor):
    """A tensor that says it lies on the device; `here` holds its numbers."""

    @staticmethod
    def __new__(cls, here: Tensor):
        if here._is_zerotensor():  # forward-mode differentiation's zeros, which hold no numbers
            here = torch.zeros(here.shape, dtype=here.dtype)
        remote = Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
        )
        remote.here = here
        return remote

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        return run(function, arguments, keywords or {})

    def __repr__(self):
        return f"Remote({self.here!r})"


class Elsewhere(TorchDispatchMode):
    """Plays the device for everything within, also where a tensor is made on it or moved to it."""

    def __init__(self):
        super().__init__()
        self.waits = 0

    def __enter__(self):
        super().__enter__()
        self.device = DEVICE
        return self

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        remote = any(isinstance(part, Remote) for part in tree_flatten((arguments, keywords))[0])
        self.waits += remote and function in READS
        return run(function, arguments, keywords)


def run(function, arguments, keywords):
    """One operation: on the CPU's own tensors as ever, on those of the device by its rules."""
    parts = tree_flatten((arguments, keywords))[0]
    remote = any(isinstance(part, Remote) for part in parts)
    target = keywords.get("device")
    target = None if target is None else torch.device(target)
    if not remote and function in SHAPES:
        return function(*arguments, **keywords)
    if function.namespace == "prims":  # its answer to that
        shapes = tree_map(
            lambda part: part.to("meta") if isinstance(part, Tensor) else part, tree_map(local, arguments)
        )
        return function.prim_meta_impl(*shapes, **keywords)
    if not remote and (target is None or target.type != DEVICE.type):
        return function(*arguments, **keywords)
    moving = function in (aten._to_copy.default, aten.copy_.default)
    mixed = any(isinstance(part, Tensor) and not isinstance(part, Remote) and part.ndim for part in parts)
    if remote and mixed and not moving:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {DEVICE} and cpu ({function})")
    if target is not None and target.type == DEVICE.type:
        keywords = {**keywords, "device": torch.device("cpu")}
    leaves = remote and target is not None and target.type == "cpu"
    if keywords.get("dtype") == torch.float64 and ((moving and leaves) or not leaves):
        refuse_double(function)
    found = function(*tree_map(local, arguments), **tree_map(local, keywords))
    if leaves or function in READS:
        return found
    owner = {id(part.here): part for part in parts if isinstance(part, Remote)}

    def back(part):
        if not isinstance(part, Tensor):
            return part
        if id(part) in owner:  # an operation in place returns what it was given
            return owner[id(part)]
        if part.dtype == torch.float64:
            refuse_double(function)
        return Remote(part)

    return found if function == aten.copy_.default and not isinstance(arguments[0], Remote) else tree_map(back, found)


def local(part):
    return part.here if isinstance(part, Remote) else part


def refuse_double(function):
    raise TypeError(
        "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
        f"Please use float32 instead. ({function})"
    )
