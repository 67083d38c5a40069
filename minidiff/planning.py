"""Planning by sampling: whole trajectories as data, and goals and rewards as conditions on them. Taught in notebook 24.

The data are walks in a maze: a Markov chain, whose places lie in the plane. So all that a planner does has an exact
answer beside it. Each place of the chain is hidden behind noise, the chain is a hidden Markov model, and the exact
denoiser of a whole trajectory, E[x0 | x_t], is the forward-backward algorithm (`smooth`). A goal is a weight of 0 or 1
on the places of one step, a reward r is the weight e^r, and both leave the chain a chain:

    pinned   the law of the walks, given where they are at some steps
    tilted   the law p(walk) e^(its reward), normalised

Coordinates of a trajectory are (B, 2, H), walks are (B, H), rewards and log-weights (H, S): a row for each step.

Sources: Rabiner 1989, Proceedings of the IEEE 77, section III (forward-backward); Janner et al. 2022 (Diffuser), arXiv
2205.09991, section 3; Levine 2018, arXiv 1805.00909 (rewards as probabilities); Zhang et al. 2023 (DiffCollage), arXiv
2303.17076 (long samples from short ones); Anderson & Moore 1990, Optimal Control: Linear Quadratic Methods (Riccati).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

import minidiff
from minidiff._tensors import check_generator, check_whole, describe, expand, in_double, noise_like, per_sample
from minidiff.data.mazes import Maze
from minidiff.networks.unet1d import UNet1d
from minidiff.optimizers import Muon, muon_for
from minidiff.paths import GaussianPath
from minidiff.training import Batch, Draws, Objective, spread_times

__all__ = [
    "Chain",
    "LinearSystem",
    "Planner",
    "Smoothed",
    "bridge",
    "chain_denoiser",
    "draw_walks",
    "expected_reward",
    "learned_denoiser",
    "log_evidence",
    "log_likelihood",
    "pinned",
    "place_objective",
    "planner_optimizer",
    "riccati_gains",
    "smooth",
    "stitched",
    "tilted",
    "walk_batches",
    "walk_chain",
]

# A place whose likelihood is less than e^-FARTHEST of the best one's counts as if it had this. Products of several such
# numbers are still above the smallest one of float64, and what they weigh is seen in no digit.
FARTHEST = 100.0
# A place that some walk can pass never has a smaller message: else products vanish where x_t is near no walk at all.
SMALLEST = 1e-150


@dataclass(frozen=True, eq=False)
class Chain:
    """A Markov chain over S places that lie in space, H steps of it, and a log-weight for each place at each step.

    p(walk) is proportional to start[s_1] moves[s_1, s_2] ... moves[s_(H-1), s_H] exp(sum of log_weights[k, s_k]).
    places: (S, d); moves: (S, S); start: (S,); log_weights: (H, S), -inf where a place is forbidden. All float64.
    """

    places: Tensor
    moves: Tensor
    start: Tensor
    log_weights: Tensor

    @property
    def H(self) -> int:
        """How many places a walk has."""
        return len(self.log_weights)

    def part(self, first: int, length: int) -> "Chain":
        """The steps from `first` on, as a chain of their own. For a chain that begins with its stationary law."""
        return replace(self, log_weights=self.log_weights[first : first + length])


class Smoothed(NamedTuple):
    """posterior: (B, H, S), p(place) at each step. log_evidence: (B,), the log of the sum over all walks."""

    posterior: Tensor
    log_evidence: Tensor


def walk_chain(maze: Maze, H: int) -> Chain:
    """The drunkard's walks of H places in a maze. Notebook 24."""
    check_whole("H", H)
    return Chain(maze.places, maze.moves, maze.start, maze.start.new_zeros(H, len(maze.start)))


def pinned(chain: Chain, at: Mapping[int, int]) -> Chain:
    """Keep only the walks that are at these places at these steps: {step: place}, steps from 0, or from -1 backwards.

    Raises ValueError where no walk is left.
    """
    weights = chain.log_weights.clone()
    for step, place in at.items():
        check_whole("a step", step, -chain.H, chain.H - 1)
        check_whole("a place", place, 0, len(chain.places) - 1)
        others = torch.arange(len(chain.places)) != place
        weights[step, others] = -math.inf
    found = replace(chain, log_weights=weights)
    if not bool(_evidence(found).isfinite()):
        raise ValueError(f"at must leave some walk of {chain.H} places, but none is at {dict(at)}")
    return found


def tilted(chain: Chain, reward: Tensor) -> Chain:
    """The law p(walk) e^(reward of the walk), normalised (Levine 2018). Notebook 24.

    reward: (H, S), for being at a place at a step; the reward of a walk is the sum along it.
    """
    if reward.shape != chain.log_weights.shape:
        raise ValueError(f"reward must have shape {tuple(chain.log_weights.shape)}, but is {describe(reward)}")
    return replace(chain, log_weights=chain.log_weights + reward.to(chain.log_weights))


# Forward-backward


def smooth(chain: Chain, log_likelihood: Tensor) -> Smoothed:
    """Where a hidden walk is at each step, given one noisy observation of each (Rabiner, section III). Notebook 24.

    log_likelihood: (B, H, S), the log-density of what was observed at a step, for each place that the walk may be at.
    The forward pass gathers what the steps up to k say about the place at step k, the backward pass what those after it
    say. Both are normalised at every step, since products of many likelihoods fall below the smallest number.
    """
    weights = chain.log_weights + log_likelihood
    top = weights.amax(dim=2, keepdim=True)
    allowed = _reachable(chain)
    likelihood = torch.exp((weights - top).clamp(min=-FARTHEST)) * allowed  # (B, H, S), the largest is 1
    forward, log_evidence = [], top.sum(dim=(1, 2))
    for k in range(chain.H):
        now = (forward[-1] @ chain.moves if forward else chain.start) * likelihood[:, k]
        total = now.sum(dim=1, keepdim=True)
        log_evidence = log_evidence + total[:, 0].log()
        forward.append((now / total).clamp(min=SMALLEST) * allowed[k])
    backward = [torch.ones_like(forward[-1])]
    for k in range(chain.H - 1, 0, -1):
        before = (likelihood[:, k] * backward[-1]) @ chain.moves.T
        backward.append((before / before.sum(dim=1, keepdim=True)).clamp(min=SMALLEST) * allowed[k - 1])
    both = torch.stack(forward, dim=1) * torch.stack(backward[::-1], dim=1)
    return Smoothed(both / both.sum(dim=2, keepdim=True), log_evidence)


def _reachable(chain: Chain) -> Tensor:
    """Which places some walk with weight passes at each step, (H, S), as numbers 0 and 1."""
    free, ways = (chain.log_weights > -math.inf).double(), (chain.moves > 0).double()
    ahead, back = [free[0] * (chain.start > 0)], [free[-1]]
    for row in free[1:]:
        ahead.append(((ahead[-1] @ ways) > 0) * row)
    for row in free[:-1].flip(0):
        back.append(((ways @ back[-1]) > 0) * row)
    return torch.stack(ahead) * torch.stack(back[::-1])


def bridge(chain: Chain) -> Tensor:
    """The exact probability of each place at each step, (H, S), without any observation. Notebook 24."""
    return smooth(chain, torch.zeros_like(chain.log_weights)[None]).posterior[0]


def _evidence(chain: Chain) -> Tensor:
    """The log of the sum of all weights of walks, ()."""
    return smooth(chain, torch.zeros_like(chain.log_weights)[None]).log_evidence[0]


def draw_walks(chain: Chain, n: int, generator: torch.Generator) -> Tensor:
    """Exact draws from a chain with its weights, (n, H): forward filtering, backward sampling. Notebook 24."""
    check_whole("n", n)
    check_generator(generator)
    weights = torch.exp(chain.log_weights - chain.log_weights.amax(dim=1, keepdim=True))
    forward = []
    for weight in weights:
        now = (forward[-1] @ chain.moves if forward else chain.start) * weight
        forward.append(now / now.sum())
    now = torch.multinomial(forward[-1].expand(n, -1), 1, generator=generator)[:, 0]
    found = [now]
    for before in forward[-2::-1]:
        now = torch.multinomial(before * chain.moves[:, now].T, 1, generator=generator)[:, 0]
        found.append(now)
    return torch.stack(found[::-1], dim=1)


# What the noise leaves to be known


def log_likelihood(chain: Chain, path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    """log p(x_t at a step | place), without the constant of the normal density: (B, d, H) -> (B, H, S), float64."""
    t = per_sample(in_double(t), x_t)
    y = in_double(x_t).transpose(1, 2)  # (B, H, d)
    alpha, sigma = expand(path.alpha(t), y), expand(path.sigma(t), y)
    squares = (y**2).sum(dim=2, keepdim=True) - 2 * alpha * (y @ chain.places.T) + alpha**2 * (chain.places**2).sum(1)
    return -squares / (2 * sigma**2)


@dataclass(frozen=True, eq=False)
class chain_denoiser:
    """E[x0 | x_t] of whole walks: the mean of the places under `smooth`. x_t: (B, d, H). Taught in notebook 24."""

    chain: Chain
    path: GaussianPath

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        posterior = smooth(self.chain, log_likelihood(self.chain, self.path, x_t, t)).posterior
        return (posterior @ self.chain.places).transpose(1, 2).to(x_t.dtype)


def log_evidence(chain: Chain, path: GaussianPath) -> Callable[[Tensor, Tensor], Tensor]:
    """log of the sum over walks of p(walk) e^(log-weights) p(x_t | walk), (B,), up to a function of t. Notebook 24.

    Of a tilted chain less that of the plain one it is log E[e^reward | x_t], whose gradient is the exact guidance.
    """
    return lambda x_t, t: smooth(chain, log_likelihood(chain, path, x_t, t)).log_evidence


def expected_reward(chain: Chain, path: GaussianPath, reward: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """E[reward | x_t], (B,): what a value function learns by regression (Diffuser, section 3). Notebook 24."""
    return lambda x_t, t: (smooth(chain, log_likelihood(chain, path, x_t, t)).posterior * reward).sum(dim=(1, 2))


@dataclass(frozen=True, eq=False)
class stitched:
    """A denoiser of long walks from exact ones of short windows (DiffCollage). Taught in notebook 24.

    Windows of `length` begin every length - overlap steps. Scores of the windows are added, and those of the overlaps
    subtracted, as if p(walk) were the product of the windows over the product of the overlaps. Since x0_hat is a linear
    function of the score, the estimates add up in the same way, where what no overlap covers counts once. With
    mean=True the windows' estimates are averaged where they overlap.

    Raises ValueError where windows of this kind do not end where the walk ends.
    """

    chain: Chain
    path: GaussianPath
    length: int
    overlap: int
    mean: bool = False

    def __post_init__(self):
        check_whole("length", self.length, 2, self.chain.H)
        check_whole("overlap", self.overlap, 1, self.length - 1)
        if (self.chain.H - self.length) % (self.length - self.overlap):
            sizes = f"{self.length} and {self.overlap}"
            raise ValueError(
                f"windows must end where the walk of {self.chain.H} ends, but length and overlap are {sizes}"
            )

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        total, count = torch.zeros_like(x_t), torch.zeros(self.chain.H, dtype=x_t.dtype)
        for first in range(0, self.chain.H - self.length + 1, self.length - self.overlap):
            self._add(total, x_t, t, first, self.length, 1)
            count[first : first + self.length] += 1
            if first and not self.mean:
                self._add(total, x_t, t, first, self.overlap, -1)
        return total / count if self.mean else total

    def _add(self, total: Tensor, x_t: Tensor, t: Tensor, first: int, length: int, sign: int) -> None:
        steps = slice(first, first + length)
        denoise = chain_denoiser(self.chain.part(first, length), self.path)
        total[:, :, steps] += sign * denoise(x_t[:, :, steps], t)


# A network that learns walks


class Planner(nn.Module):
    """Noisy trajectories at unit scale, (B, 2, H), log-SNR, (B,), and ends, (B, 2) -> a logit a place, (B, S, H).

    The ends are the numbers of the first and the last place, which enter without noise, with a flag each. Beside its
    coordinates each point shows the network their sines of two periods: two places and four. `core` is a UNet1d.
    """

    def __init__(self, maze: Maze, width: int = 64, blocks: int = 2):
        super().__init__()
        self.register_buffer("places", maze.places.float())
        self.step = maze.step
        self.core = UNet1d(channels=12, channels_out=len(maze.places), widths=(width,), blocks=blocks)

    def forward(self, x: Tensor, log_snr: Tensor, ends: Tensor) -> Tensor:
        first, last = self.places[ends].unbind(dim=1)
        x = torch.cat([first[:, :, None], x[:, :, 1:-1], last[:, :, None]], dim=2)
        waves = [wave(period * math.pi * x / self.step) for period in (1, 0.5) for wave in (torch.sin, torch.cos)]
        flags = torch.zeros_like(x)
        flags[:, 0, 0] = flags[:, 1, -1] = 1
        return self.core(torch.cat([x, *waves, flags], dim=1), log_snr.clamp(-20, 20))


def place_objective(path: GaussianPath) -> Objective:
    """A loss for `train`: the cross-entropy of the places, a mean over the steps of each walk. Notebook 24.

    y of a batch holds the walks, (B, H), as `walk_batches` makes them; x0 their coordinates.
    """

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        t = spread_times(len(batch.x0), path, generator).to(batch.x0)
        return Draws(batch.x0, t, noise_like(batch.x0, generator), batch.y)

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        logits = _logits(net, path, path.perturb(draws.x0, draws.t, draws.eps), draws.t, draws.y[:, [0, -1]])
        return functional.cross_entropy(logits, draws.y, reduction="none").mean(dim=1)

    return Objective(draw, loss)


def walk_batches(maze: Maze, walks: Tensor, *, batch_size: int, steps: int, seed: int) -> Iterator[Batch]:
    """Batches of trajectories for `train`, with the walks themselves as y. Batch i is a function of (seed, i) alone."""
    trajectories = maze.trajectories(walks).float()
    for i in range(steps):
        rows = torch.randint(len(walks), (batch_size,), generator=minidiff.generator(seed, i))
        yield Batch(trajectories[rows], walks[rows])


def planner_optimizer(net: Planner, *, learning_rate: float = 0.02, others: float = 0.1) -> Muon:
    """Muon for the convolutions of the blocks, AdamW at `others` times this rate for all else (as for the digits)."""
    hidden = [
        weight for name, weight in net.named_parameters() if "conv" in name and "middle" in name and weight.ndim > 1
    ]
    return muon_for(net, hidden, learning_rate, others, weight_decay=0.01)


@dataclass(frozen=True, eq=False)
class learned_denoiser:
    """E[x0 | x_t, ends] from a Planner: the mean of the places under its softmax. ends: (B, 2). Notebook 24."""

    net: Planner
    path: GaussianPath
    ends: Tensor

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        logits = _logits(self.net, self.path, x_t, t, self.ends)
        found = torch.einsum("bsh,sd->bdh", torch.softmax(logits, dim=1), self.net.places)
        first, last = self.net.places[self.ends].unbind(dim=1)
        return torch.cat([first[:, :, None], found[:, :, 1:-1], last[:, :, None]], dim=2)


def _logits(net: nn.Module, path: GaussianPath, x_t: Tensor, t: Tensor, ends: Tensor) -> Tensor:
    t = per_sample(t.to(x_t.dtype), x_t)
    return net(x_t / expand(torch.hypot(path.alpha(t), path.sigma(t)), x_t), path.log_snr(t), ends)


# What control theory says


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """s_(k+1) = A s_k + B u_k, at the cost of half the sum of s_k' Q s_k (k = 1 .. H - 1), s_H' Qf s_H and u_k' u_k.

    A, Q, Qf: (n, n); B: (n, m); H: the number of controls. All float64.
    """

    A: Tensor
    B: Tensor
    Q: Tensor
    Qf: Tensor
    H: int

    def states(self, s0: Tensor, u: Tensor, push: Tensor | None = None) -> Tensor:
        """s_1 to s_H from s0, (n,) or (N, n), under controls u, (N, H, m): (N, H, n). push is added to u, unpaid."""
        found, now = [], s0.expand(len(u), -1)
        for k in range(self.H):
            moved = u[:, k] if push is None else u[:, k] + push[:, k]
            now = now @ self.A.T + moved @ self.B.T
            found.append(now)
        return torch.stack(found, dim=1)

    def cost(self, states: Tensor, u: Tensor) -> Tensor:
        """The cost of states, (N, H, n), and controls, (N, H, m): (N,)."""
        weights = [*[self.Q] * (self.H - 1), self.Qf]
        of_states = sum(torch.einsum("bi,ij,bj->b", s, Q, s) for s, Q in zip(states.unbind(1), weights, strict=True))
        return 0.5 * (of_states + (u**2).sum(dim=(1, 2)))


def riccati_gains(system: LinearSystem) -> Tensor:
    """Gains K of the optimal control u_k = -K_k s_k, (H, m, n): LQR, by Riccati's recursion. Notebook 24.

    It is optimal with and without noise in the motion, if the noise has mean 0 and does not depend on the control.
    """
    gains, P = [], system.Qf
    for _ in range(system.H):
        S = torch.eye(system.B.shape[1], dtype=P.dtype) + system.B.T @ P @ system.B
        gains.append(torch.linalg.solve(S, system.B.T @ P @ system.A))
        P = system.Q + system.A.T @ P @ (system.A - system.B @ gains[-1])
    return torch.stack(gains[::-1])
