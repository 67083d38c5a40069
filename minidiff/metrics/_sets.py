"""What the metrics share: the checks at the door, random splits, and all pairs of samples, tile by tile."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from minidiff._tensors import check_finite, check_generator, describe, in_double

__all__ = [
    "FLOOR_SPLITS",
    "comparable",
    "pairwise",
    "progress",
    "same_size",
    "shuffles",
    "tile_pairs",
]

# The floor is an average over this many random splits of all the real samples, since a single one is noisy.
FLOOR_SPLITS = 8
# Pairs are worked through 1,024 x 1,024 at a time: 8 MB, which fits into a processor's cache.
TILE = 1024
# Beyond this many coordinates, distances come from a matrix product: faster, but only good to 1e-8 of the spread.
EXACT_DIMENSIONS = 8
# A progress bar appears after this many seconds.
PATIENCE = 3


def comparable(x: Tensor, y: Tensor, *, names: tuple[str, str] = ("samples", "real")) -> tuple[Tensor, Tensor]:
    """Flat float64 copies on the CPU, (N, d) and (M, d), after a check that the two sets can be compared."""
    for name, z in zip(names, (x, y), strict=True):
        check_finite(z, name)
    shape = tuple(y.shape[1:])
    for name, z in ((names[1], y), (names[0], x)):
        if z.ndim < 2 or tuple(z.shape[1:]) != shape or len(z) < 2:
            expected = f"(N, *{shape})" if y.ndim > 1 else "(N, *D)"
            raise ValueError(f"{name} must have shape {expected} with N >= 2, but is {describe(z)}")
    return tuple(in_double(z.detach()).flatten(1) for z in (x, y))


def same_size(samples: Tensor, real_again: Tensor) -> None:
    """Refuse a second set of real samples that would put the floor at another size."""
    if len(real_again) != len(samples):
        raise ValueError(
            f"real_again must hold as many samples as samples, {len(samples)}, so that the floor is at the same size, "
            f"but holds {len(real_again)}"
        )


def shuffles(n: int, count: int, generator: torch.Generator) -> list[Tensor]:
    """`count` random orders of n things, each (n,)."""
    check_generator(generator)
    return [torch.randperm(n, generator=generator, device=generator.device).cpu() for _ in range(count)]


def pairwise(x: Tensor, y: Tensor) -> Tensor:
    """Distances of all pairs, (N, M), of points that are already centred: a matrix product far from 0 loses digits."""
    by_product = x.shape[1] > EXACT_DIMENSIONS
    mode = "use_mm_for_euclid_dist" if by_product else "donot_use_mm_for_euclid_dist"
    return torch.cdist(x, y, compute_mode=mode)


def tile_pairs(n: int, m: int | None = None) -> Iterator[tuple[slice, slice]]:
    """Pieces of the n x m table of pairs, of at most TILE x TILE.

    Without m, of the n x n table, which is symmetric: its diagonal, and one half of the rest.
    """
    rows = [slice(i, min(i + TILE, n)) for i in range(0, n, TILE)]
    columns = rows if m is None else [slice(j, min(j + TILE, m)) for j in range(0, m, TILE)]
    pairs = [(row, column) for row in rows for column in columns if m is not None or row.start <= column.start]
    yield from progress(pairs, "pairs of samples")


def progress(items: Sequence, description: str) -> Iterator:
    """The items, with a progress bar where they take long."""
    return iter(tqdm(items, desc=description, leave=False, delay=PATIENCE))
