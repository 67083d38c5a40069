"""Mazes, and a drunkard's walks in them: trajectories that a model may learn. Taught in notebook 24.

A walk is a row of places, (n, H), integers. As data it is a trajectory, (n, 2, H): the coordinates of its places, with
mean 0 and one scale for both axes, worked out from the distribution of the walks and never from a sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from minidiff._tensors import check_finite, check_generator, check_whole, describe

__all__ = ["LARGE_MAZE", "SMALL_MAZE", "Maze", "maze"]

SMALL_MAZE = ("..#..", ".#...", "...#.", ".#.#.", ".#...")
LARGE_MAZE = ("...#...", ".#.#.#.", ".#...#.", ".###.#.", "...#.#.", "##.#.#.", ".....#.")


@dataclass(frozen=True, eq=False)
class Maze:
    """A maze of S free places, and the walk of a drunkard in it. All tensors are float64.

    cells: the row and column of each place. places: their coordinates, (S, 2). moves: the probability of each move in
    one step, (S, S), rows to columns. start: the distribution of the first place, (S,), which the walk keeps. step: the
    distance between neighbouring places.
    """

    rows: tuple[str, ...]
    cells: tuple[tuple[int, int], ...]
    places: Tensor
    moves: Tensor
    start: Tensor
    step: float

    def place(self, row: int, column: int) -> int:
        """The number of the place in this row and column. Raises ValueError where there is a wall, or nothing."""
        if (row, column) not in self.cells:
            raise ValueError(f"({row}, {column}) must be a free place of the maze, but is none")
        return self.cells.index((row, column))

    def walks(self, n: int, H: int, generator: torch.Generator, *, start: int | None = None) -> Tensor:
        """Draw n walks of H places, (n, H), int64. start: the place where all of them begin."""
        check_whole("n", n)
        check_whole("H", H)
        check_generator(generator)
        first = self.start.expand(n, -1) if start is None else self._only(start).expand(n, -1)
        now, found = torch.multinomial(first, 1, generator=generator)[:, 0], []
        for _ in range(H):
            found.append(now)
            now = torch.multinomial(self.moves[now], 1, generator=generator)[:, 0]
        return torch.stack(found, dim=1)

    def trajectories(self, walks: Tensor) -> Tensor:
        """The coordinates of walks, (n, H) -> (n, 2, H), float64."""
        return self.places[walks].transpose(1, 2)

    def nearest(self, x: Tensor) -> Tensor:
        """The place that each point of a trajectory is nearest to, (n, 2, H) -> (n, H).

        Raises ValueError for another shape, or numbers that are not finite: they are near no place.
        """
        if x.ndim != 3 or x.shape[1] != 2:
            raise ValueError(f"x must have shape (n, 2, H), but is {describe(x)}")
        check_finite(x, "x")
        return torch.cdist(x.double().transpose(1, 2).contiguous(), self.places.expand(len(x), -1, -1)).argmin(dim=2)

    def legal(self, walks: Tensor) -> Tensor:
        """Whether every move of a walk is one that the drunkard can make, (n, H) -> (n,)."""
        return (self.moves[walks[:, :-1], walks[:, 1:]] > 0).all(dim=1)

    def distances(self, goal: int) -> Tensor:
        """The fewest steps from each place to the goal, (S,), int64; -1 where no way leads there."""
        found, reached = torch.full((len(self.places),), -1), self._only(goal)
        for steps in range(len(self.places)):
            found[(found < 0) & (reached > 0)] = steps
            reached = ((self.moves > 0).double() @ reached > 0).double()
        return found

    def _only(self, place: int) -> Tensor:
        check_whole("a place", place, 0, len(self.places) - 1)
        return functional.one_hot(torch.tensor(place), len(self.places)).double()


def maze(rows: Sequence[str] = SMALL_MAZE, *, stay: float = 0.2) -> Maze:
    """A maze from a drawing: "." is free, "#" is a wall. Notebook 24.

    In each step the drunkard stays with probability `stay`, and else goes to one of the free neighbours, each as likely
    as another. Without a chance to stay he would be on white fields of the chessboard at even times only.

    Raises ValueError for other characters, rows of unequal length, `stay` outside [0, 1), or a place without a way out.
    """
    rows = tuple(rows)
    if not rows or set("".join(rows)) - set(".#") or len({len(row) for row in rows}) != 1:
        raise ValueError(f"rows must be of one length and hold '.' and '#' only, but are {rows}")
    if not 0 <= stay < 1:
        raise ValueError(f"stay must lie in [0, 1), but is {stay}")
    cells = tuple((r, c) for r, row in enumerate(rows) for c, sign in enumerate(row) if sign == ".")
    grid = torch.tensor(cells, dtype=torch.float64).reshape(-1, 2)
    beside = (torch.cdist(grid, grid, p=1) == 1).double()
    ways = beside.sum(dim=1)
    if not len(cells) or bool((ways == 0).any()):
        raise ValueError(f"each place of the maze must have a free neighbour, but not all of {rows} have")
    moves = stay * torch.eye(len(cells), dtype=torch.float64) + (1 - stay) * beside / ways[:, None]
    start = ways / ways.sum()  # a walk that picks a neighbour evenly keeps it: start_i / ways_i is one number
    points = torch.stack([grid[:, 1], -grid[:, 0]], dim=1)  # the first row on top
    points = points - start @ points
    scale = float((start @ points**2).mean().sqrt())
    return Maze(rows, cells, points / scale, moves, start, 1 / scale)
