"""The exercises of notebook 24, planning: 24.1 to 24.3 in its flow, 24.4 to 24.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`, or papers. Those not seen in public
yet are waiting for the log of unknown answers.
"""

import itertools
import math

import torch
from torch import Tensor

from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Planning"


def shares(g: torch.Generator, *shape: int) -> Tensor:
    """Positive numbers, far from equal, that add up to 1 along the last axis."""
    values = 0.1 + torch.rand(*shape, generator=g, dtype=torch.float64)
    return values / values.sum(dim=-1, keepdim=True)


def rescaled(x: Tensor, dim: int = -1) -> Tensor:
    """Divided by its sum."""
    return x / x.sum(dim=dim, keepdim=True)


THREE = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.0, 0.6, 0.4]], dtype=torch.float64)


# 24.1 smooth


def smooth(start, moves, likelihood):
    H = len(likelihood)
    forward, backward = [start * likelihood[0]], [torch.ones_like(start)]
    for k in range(1, H):
        forward.append((forward[-1] @ moves) * likelihood[k])
        backward.append(moves @ (likelihood[H - k] * backward[-1]))
    both = torch.stack(forward) * torch.stack(backward[::-1])
    return both / both.sum(dim=1, keepdim=True)


def smooth_by_pairs(start, moves, likelihood):
    before = [start]  # what the steps before k say about the place at k, without the step itself
    for row in likelihood[:-1]:
        before.append((before[-1] * row) @ moves)
    after = torch.ones_like(start)
    found = []
    for row, said in zip(likelihood.flip(0), reversed(before), strict=True):
        found.append(said * row * after)
        after = moves @ (row * after)
    return torch.stack([row / row.sum() for row in reversed(found)])


def smooth_truth(start, moves, likelihood):
    """The sum over all walks."""
    H, S = likelihood.shape
    walks = torch.tensor(list(itertools.product(range(S), repeat=H)))
    weight = (
        start[walks[:, 0]] * moves[walks[:, :-1], walks[:, 1:]].prod(1) * likelihood[torch.arange(H), walks].prod(1)
    )
    one_hot = torch.nn.functional.one_hot(walks, S).to(weight)
    return torch.einsum("w,whs->hs", weight / weight.sum(), one_hot)


def smooth_cases(g):
    seen = torch.tensor([[0.8, 0.3, 0.2], [0.3, 0.4, 0.6], [0.1, 0.2, 0.9]], dtype=torch.float64)
    return (
        Case((doubles(0.5, 0.3, 0.2), THREE, seen), "three places and three steps"),
        Case((shares(g, 4), shares(g, 4, 4), 0.05 + shares(g, 5, 4)), "four places and five steps"),
    )


def messages(
    *,
    first=lambda start, moves: start,
    ahead=lambda f, moves: f @ moves,
    back=lambda b, moves: moves @ b,
    join=lambda f, b, likelihood: f * b,
    normalise=lambda both: rescaled(both),
):
    """Forward-backward with parts exchanged."""

    def answer(start, moves, likelihood):
        forward, backward = [first(start, moves) * likelihood[0]], [torch.ones_like(start)]
        for row in likelihood[1:]:
            forward.append(ahead(forward[-1], moves) * row)
        for row in likelihood[1:].flip(0):
            backward.append(back(row * backward[-1], moves))
        return normalise(join(torch.stack(forward), torch.stack(backward[::-1]), likelihood))

    return answer


def each_with_its_prior(start, moves, likelihood):
    prior = torch.stack([start @ torch.linalg.matrix_power(moves, k) for k in range(len(likelihood))])
    return rescaled(prior * likelihood)


def most_likely_walk(start, moves, likelihood):
    H, S = likelihood.shape
    walks = torch.tensor(list(itertools.product(range(S), repeat=H)))
    weight = (
        start[walks[:, 0]] * moves[walks[:, :-1], walks[:, 1:]].prod(1) * likelihood[torch.arange(H), walks].prod(1)
    )
    return torch.nn.functional.one_hot(walks[weight.argmax()], S).to(weight)


SMOOTH = Exercise(
    id="24.1",
    name="smooth",
    stub='''
def smooth(start, moves, likelihood):
    """Where a hidden walk is at each step, given one observation of each: p(place at k | all observations), (H, S).

    start: (S,), p(first place). moves: (S, S), p(next place | place), a row for each place. likelihood: (H, S), the
    density of what was observed at a step, for each place where the walk may be.
    """
    ...  # your code
''',
    solution=smooth,
    alternative=smooth_by_pairs,
    why=(
        "Forward: p(observations up to k, place at k). Backward: p(observations after k | place at k). Their "
        "product is\n"
        "p(all observations, place at k), since past and future are independent given the place at k."
    ),
    truth=smooth_truth,
    cases=smooth_cases,
    hints=(
        "Keep a row of S numbers while you go forward: p(all observations up to here, the walk is here).",
        "One step forward is `row = (row @ moves) * likelihood[k]`. It begins with `start * likelihood[0]`.",
        "The way back begins with ones, and one step is `row = moves @ (likelihood[k] * row)`.",
        "At each step multiply both rows, and divide by the sum over the places.",
    ),
    wrong=(
        Wrong(
            "forward only",
            messages(join=lambda f, b, likelihood: f),
            "You use the observations up to each step only (this is called filtering). What is observed later also "
            "says "
            "where the walk was: a goal at the end must be known at the beginning.",
            UNSEEN,
        ),
        Wrong(
            "backward only",
            messages(join=lambda f, b, likelihood: b * likelihood),
            "You use the observations from each step on only. Those before it say where the walk came from.",
            UNSEEN,
        ),
        Wrong(
            "the observation counts twice",
            messages(join=lambda f, b, likelihood: f * b * likelihood),
            "The observation of step k stands in your forward row and in your backward row, so it counts twice. The "
            "backward row of step k holds the steps after k only.",
            UNSEEN,
        ),
        Wrong(
            "the observation is left out",
            messages(join=lambda f, b, likelihood: f * b / likelihood),
            "The observation of step k itself is missing: it must be in one of the two rows.",
            UNSEEN,
        ),
        Wrong(
            "moves transposed on the way there",
            messages(ahead=lambda f, moves: moves @ f),
            "Going forward you multiply by the transposed matrix. A row of `moves` belongs to the place before the "
            "move, so the forward step is `row @ moves`.",
            UNSEEN,
        ),
        Wrong(
            "moves transposed on the way back",
            messages(back=lambda b, moves: b @ moves),
            "Going back you multiply by the transposed matrix. The backward row is a mean over the *next* places, so "
            "the backward step is `moves @ row`.",
            UNSEEN,
        ),
        Wrong(
            "moves transposed both times",
            messages(ahead=lambda f, moves: moves @ f, back=lambda b, moves: b @ moves),
            "Your moves run from columns to rows. Here `moves[i, j]` is the probability of going from i to j.",
            UNSEEN,
        ),
        Wrong(
            "a move before the first observation",
            messages(first=lambda start, moves: start @ moves),
            "You make a move before the first observation. `start` is the distribution of the very first place.",
            UNSEEN,
        ),
        Wrong(
            "every start alike",
            messages(first=lambda start, moves: torch.ones_like(start)),
            "You forget `start`, so all places are equally likely at the beginning.",
            UNSEEN,
        ),
        Wrong(
            "not normalised",
            messages(normalise=lambda both: both),
            "Your rows do not add up to 1. Divide each by its sum over the places, the density of all observations.",
            UNSEEN,
        ),
        Wrong(
            "normalised over the steps",
            messages(normalise=lambda both: rescaled(both, 0)),
            "Your columns add up to 1 over the steps. At each step the probabilities of the *places* add up to 1.",
            UNSEEN,
        ),
        Wrong(
            "each step alone",
            lambda start, moves, likelihood: rescaled(likelihood),
            "You look at each step alone, without the walk. Then neighbouring steps may be in places with no way "
            "between.",
            UNSEEN,
        ),
        Wrong(
            "each step with its prior",
            each_with_its_prior,
            "You combine each observation with where a walk is likely to be at that step, but not with the other "
            "observations. The walk is one, so all of them count at every step.",
            UNSEEN,
        ),
        Wrong(
            "the most likely walk",
            most_likely_walk,
            "You return the single most likely walk (Viterbi's algorithm). E[x0 | x_t] needs the probability of each "
            "place, over all walks.",
            "hmmlearn's `predict` does this",
        ),
    ),
)


# 24.2 bridge_policy


def bridge_policy(moves, goal, H, k):
    arrive = torch.linalg.matrix_power(moves, H - 2 - k)[:, goal]
    policy = moves * arrive
    return policy / policy.sum(dim=1, keepdim=True)


def bridge_policy_by_steps(moves, goal, H, k):
    arrive = torch.zeros(len(moves), dtype=moves.dtype)
    arrive[goal] = 1
    for _ in range(H - 1 - k):
        now = moves @ arrive
        arrive, later = now, arrive
    return moves * later[None, :] / now[:, None]


def bridge_policy_truth(moves, goal, H, k):
    """Over all ways on from each place."""
    S, left = len(moves), H - 1 - k
    found = torch.zeros(S, S, dtype=moves.dtype)
    for ways in itertools.product(range(S), repeat=left):
        if ways[-1] == goal:
            for place in range(S):
                p = moves[place, ways[0]]
                for a, b in itertools.pairwise(ways):
                    p = p * moves[a, b]
                found[place, ways[0]] += p
    return found / found.sum(1)[:, None]


def bridge_policy_cases(g):
    return (
        Case((THREE, 2, 6, 3), "three places in a row, goal 2, H = 6 and k = 3"),
        Case((shares(g, 3, 3), 1, 7, 2), "three places, goal 1, H = 7 and k = 2"),
    )


def arriving(arrive, *, weigh=lambda moves, h: moves * h, normalise=rescaled):
    """A policy from another probability of arriving: arrive(moves, H, k) -> a matrix, of which the goal's column "
    "counts."""

    def answer(moves, goal, H, k):
        return normalise(weigh(moves, arrive(moves, H, k)[:, goal]))

    return answer


def to_the_power(count):
    return lambda moves, H, k: torch.linalg.matrix_power(moves, count(H, k))


RIGHT_POWER = to_the_power(lambda H, k: H - 2 - k)

BRIDGE_POLICY = Exercise(
    id="24.2",
    name="bridge_policy",
    stub='''
def bridge_policy(moves, goal, H, k):
    """p(next place | place at step k, goal at the last step), (S, S): a row for each place.

    moves: (S, S), p(next place | place). The walk has H places, steps 0 to H - 1, and is at the goal at step H - 1.
    k: the step of the present place, 0 <= k < H - 1.
    """
    ...  # your code
''',
    solution=bridge_policy,
    alternative=bridge_policy_by_steps,
    why=(
        "Bayes: p(next | now, goal) is p(next | now) times p(goal | next), normalised. From the next place, which is\n"
        "step k + 1, there are H - 2 - k moves left. This is Doob's h-transform, with h = p(goal | next)."
    ),
    truth=bridge_policy_truth,
    cases=bridge_policy_cases,
    hints=(
        "Use Bayes' rule: how likely is the next place, and how likely is the goal from there?",
        "`torch.linalg.matrix_power(moves, n)[:, goal]` is the probability to be at the goal n moves later.",
        "Count the moves that are left at the *next* place. Then each row must add up to 1.",
    ),
    wrong=(
        Wrong(
            "frozen horizon",
            arriving(to_the_power(lambda H, k: H - 2)),
            "Your policy does not use k: it plans at every step as if all H places were still ahead. The goal then is "
            "always as far in the future as it was at the beginning.",
            "the usual way to replan at every step; see section 5",
        ),
        Wrong(
            "a move too many",
            arriving(to_the_power(lambda H, k: H - 1 - k)),
            "Your probability of arriving counts a move too many. The next place is step k + 1, so H - 2 - k moves are "
            "left.",
            UNSEEN,
        ),
        Wrong(
            "a move too few",
            arriving(to_the_power(lambda H, k: H - 3 - k)),
            "Your probability of arriving counts a move too few. The last step is H - 1, and the next place is step "
            "k + 1.",
            UNSEEN,
        ),
        Wrong(
            "not normalised",
            arriving(RIGHT_POWER, normalise=lambda policy: policy),
            "Your rows do not add up to 1: they are p(next, goal | place). Divide each by its sum, p(goal | place).",
            UNSEEN,
        ),
        Wrong(
            "normalised over the present place",
            arriving(RIGHT_POWER, normalise=lambda policy: rescaled(policy, 0)),
            "Your columns add up to 1. From each present place the probabilities of the *next* ones add up to 1.",
            UNSEEN,
        ),
        Wrong(
            "the present place instead of the next",
            arriving(RIGHT_POWER, weigh=lambda moves, h: moves * h[:, None]),
            "You multiply each row by one number, how likely the goal is from the present place. After normalising it "
            "drops out, and the walk is a drunkard's again. Weigh each *next* place.",
            UNSEEN,
        ),
        Wrong(
            "moves left out",
            arriving(RIGHT_POWER, weigh=lambda moves, h: h.expand_as(moves)),
            "You weigh the next places by how likely the goal is from there, but not by how likely the move is. So the "
            "plan may jump through walls.",
            UNSEEN,
        ),
        Wrong(
            "away from the goal",
            lambda moves, goal, H, k: rescaled(moves * torch.linalg.matrix_power(moves, H - 2 - k)[goal]),
            "You take the row of the goal: the probability to come from the goal to each place. You need the column.",
            UNSEEN,
        ),
        Wrong(
            "each entry to a power",
            arriving(lambda moves, H, k: moves ** (H - 2 - k)),
            "`moves ** n` takes each entry to a power. Several moves one after the other are a product of matrices: "
            "`torch.linalg.matrix_power`.",
            UNSEEN,
        ),
        Wrong(
            "always the best move",
            arriving(
                RIGHT_POWER,
                normalise=lambda policy: torch.nn.functional.one_hot(policy.argmax(1), len(policy)).to(policy),
            ),
            "You always take the most likely move. The conditional distribution of the walk is asked for, in which the "
            "other moves keep their probability.",
            UNSEEN,
        ),
    ),
)


# 24.3 needed_push


def needed_push(p, lam):
    return torch.log(1 - p + p * math.exp(lam))


def needed_push_by_logs(p, lam):
    both = torch.stack([torch.log1p(-p), torch.log(p) + lam])
    return torch.logsumexp(both, dim=0)


def needed_push_truth(p, lam):
    rewards = doubles(0.0, 1.0)
    weights = torch.stack([1 - p, p], dim=-1).double()
    return ((weights * (lam * rewards).exp()).sum(-1)).log().to(p)


def needed_push_cases(g):
    lam = round(2 + 2 * float(torch.rand((), generator=g)), 2)
    return (
        Case((doubles(0.2), 1.0), "p = 0.2 and lam = 1"),
        Case((doubles(0.001, 0.05, 0.4, 0.9), lam), f"four values of p from 0.001 to 0.9, and lam = {lam}"),
    )


NEEDED_PUSH = Exercise(
    id="24.3",
    name="needed_push",
    stub='''
def needed_push(p, lam):
    """log E[e^(lam R) | x_t], whose gradient guides exactly. R is 1 if the walk arrives, and else 0.

    p: (B,), the probability to arrive, given x_t, 0 < p < 1. lam: a number. Returns (B,).
    """
    ...  # your code
''',
    solution=needed_push,
    alternative=needed_push_by_logs,
    why=(
        "R has two values, so the mean of e^(lam R) has two terms: (1 - p) e^0 + p e^lam. For small lam its "
        "logarithm is\n"
        "lam p, what a value function gives. For large lam it is lam + log p, and its gradient is that of log p."
    ),
    truth=needed_push_truth,
    cases=needed_push_cases,
    hints=(
        "An expectation over two values of R: multiply each value of e^(lam R) by its probability, and add.",
        "With probability 1 - p the walk does not arrive. What is e^(lam R) then?",
        "The logarithm comes last, after the sum.",
    ),
    wrong=(
        Wrong(
            "lam times p",
            lambda p, lam: lam * p,
            "You return lam E[R | x_t], which is what a value function learns. The logarithm of a mean of exponentials "
            "is not the mean: for small p the two have gradients that differ by a factor of (e^lam - 1) / lam.",
            "Diffuser, arXiv 2205.09991, algorithm 1",
        ),
        Wrong(
            "lam times log p",
            lambda p, lam: lam * torch.log(p),
            "You return lam log p: classifier guidance with the weight lam. It tilts by p^lam and not by the reward.",
            UNSEEN,
        ),
        Wrong(
            "those that do not arrive are lost",
            lambda p, lam: lam + torch.log(p),
            "You count only walks that arrive. Those that do not have e^0 = 1, which is not 0.",
            UNSEEN,
        ),
        Wrong(
            "log p",
            lambda p, lam: torch.log(p),
            "You return log p, which conditions on arriving whatever lam is. That is the limit of a large lam.",
            UNSEEN,
        ),
        Wrong(
            "no logarithm",
            lambda p, lam: 1 - p + p * math.exp(lam),
            "You return E[e^(lam R) | x_t] itself. A score is the gradient of a *log*-density, so take the logarithm.",
            UNSEEN,
        ),
        Wrong(
            "the -1 is missing",
            lambda p, lam: torch.log(1 + p * math.exp(lam)),
            "Your two probabilities are 1 and p, which add up to more than 1. A walk does not arrive with 1 - p.",
            UNSEEN,
        ),
        Wrong(
            "the 1 is missing",
            lambda p, lam: torch.log((math.exp(lam) - 1) * p),
            "The mean is 1 + (e^lam - 1) p, and your 1 is missing.",
            UNSEEN,
        ),
        Wrong(
            "logarithm inside the mean",
            lambda p, lam: (1 - p) * 0 + p * lam + (1 - p) * torch.log1p(-p) + p * torch.log(p),
            "You take the mean of the logarithms of the terms. Add the terms first, and take the logarithm of the sum.",
            UNSEEN,
        ),
        Wrong(
            "the tilted probability",
            lambda p, lam: p * math.exp(lam) / (1 - p + p * math.exp(lam)),
            "You return the probability to arrive under the tilted law. The denominator is what was asked for; take "
            "its logarithm.",
            UNSEEN,
        ),
        Wrong(
            "arriving and not arriving exchanged",
            lambda p, lam: torch.log(p + (1 - p) * math.exp(lam)),
            "You reward the walks that do not arrive.",
            UNSEEN,
        ),
        Wrong(
            "logarithm to base 2",
            lambda p, lam: torch.log2(1 - p + p * math.exp(lam)),
            "Take the natural logarithm: a score is a gradient of the natural logarithm.",
            UNSEEN,
        ),
    ),
)


# 24.4 arrival_probability


def arrival_probability(moves, start, goal, H):
    return torch.linalg.matrix_power(moves, H - 1)[start, goal]


def arrival_probability_by_steps(moves, start, goal, H):
    now = torch.zeros(len(moves), dtype=moves.dtype)
    now[start] = 1
    for _ in range(H - 1):
        now = now @ moves
    return now[goal]


def arrival_probability_truth(moves, start, goal, H):
    total = torch.zeros((), dtype=moves.dtype)
    for between in itertools.product(range(len(moves)), repeat=H - 2):
        p = torch.ones((), dtype=moves.dtype)
        for a, b in itertools.pairwise((start, *between, goal)):
            p = p * moves[a, b]
        total = total + p
    return total


def arrival_probability_cases(g):
    return (
        Case((THREE, 0, 2, 4), "three places in a row, from 0 to 2, H = 4"),
        Case((shares(g, 3, 3), 1, 0, 5), "three places, from 1 to 0, H = 5"),
    )


def ever_there(moves, start, goal, H):
    held = moves.clone()
    held[goal] = 0
    held[goal, goal] = 1
    return torch.linalg.matrix_power(held, H - 1)[start, goal]


ARRIVAL_PROBABILITY = Exercise(
    id="24.4",
    name="arrival_probability",
    stub='''
def arrival_probability(moves, start, goal, H):
    """The probability that a walk of H places which begins at `start` has the goal as its *last* place. A tensor ().

    moves: (S, S), p(next place | place), a row for each place.
    """
    ...  # your code
''',
    solution=arrival_probability,
    alternative=arrival_probability_by_steps,
    why="Between H places there are H - 1 moves, and the matrix of several moves is a product of matrices.",
    truth=arrival_probability_truth,
    cases=arrival_probability_cases,
    hints=(
        "With one row of probabilities: after a move it is `row @ moves`.",
        "How many moves are there between H places?",
        "`torch.linalg.matrix_power(moves, n)[i, j]` is the probability to be at j, n moves after i.",
    ),
    wrong=(
        Wrong(
            "H moves",
            lambda moves, start, goal, H: torch.linalg.matrix_power(moves, H)[start, goal],
            "You make H moves. A walk of H places has H - 1 moves.",
            UNSEEN,
        ),
        Wrong(
            "a move too few",
            lambda moves, start, goal, H: torch.linalg.matrix_power(moves, H - 2)[start, goal],
            "You make H - 2 moves. A walk of H places has H - 1 moves.",
            UNSEEN,
        ),
        Wrong(
            "from the goal to the start",
            lambda moves, start, goal, H: torch.linalg.matrix_power(moves, H - 1)[goal, start],
            "You exchanged start and goal. A row of the matrix belongs to the place before the moves.",
            UNSEEN,
        ),
        Wrong(
            "summed over the steps",
            lambda moves, start, goal, H: sum(torch.linalg.matrix_power(moves, k)[start, goal] for k in range(1, H)),
            "You add up the probabilities of all steps. This sum is the mean number of visits to the goal, and can be "
            "more than 1.",
            UNSEEN,
        ),
        Wrong(
            "ever there",
            ever_there,
            "You return the probability that the walk has been at the goal at any step. Here it must be there at the "
            "last one.",
            UNSEEN,
        ),
        Wrong(
            "first there at the last step",
            lambda moves, start, goal, H: ever_there(moves, start, goal, H) - ever_there(moves, start, goal, H - 1),
            "You return the probability of being at the goal for the *first* time at the last step. The walk may have "
            "been there before.",
            UNSEEN,
        ),
        Wrong(
            "each entry to a power",
            lambda moves, start, goal, H: (moves ** (H - 1))[start, goal],
            "`moves ** n` takes each entry to a power. Use `torch.linalg.matrix_power`.",
            UNSEEN,
        ),
        Wrong(
            "from any start",
            lambda moves, start, goal, H: torch.linalg.matrix_power(moves, H - 1)[:, goal].mean(),
            "You average over all starts. The walk begins at `start`.",
            UNSEEN,
        ),
    ),
)


# 24.5 stitch


def stitch(first, second, middle):
    overlap = middle.shape[2]
    both = first[:, :, -overlap:] + second[:, :, :overlap] - middle
    return torch.cat([first[:, :, :-overlap], both, second[:, :, overlap:]], dim=2)


def stitch_into_zeros(first, second, middle):
    (B, d, n), o = first.shape, middle.shape[2]
    total = torch.zeros(B, d, n + second.shape[2] - o, dtype=first.dtype)
    total[:, :, :n] += first
    total[:, :, n - o :] += second
    total[:, :, n - o : n] -= middle
    return total


def stitch_truth(first, second, middle):
    n, m, o = first.shape[2], second.shape[2], middle.shape[2]
    columns = []
    for k in range(n + m - o):
        column = torch.zeros_like(first[:, :, 0])
        if k < n:
            column = column + first[:, :, k]
        if k >= n - o:
            column = column + second[:, :, k - (n - o)]
        if n - o <= k < n:
            column = column - middle[:, :, k - (n - o)]
        columns.append(column)
    return torch.stack(columns, dim=2)


def stitch_cases(g):
    def normals(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    line = [doubles(*values)[None, None] for values in ((1, 2, 3), (4, 6, 7), (3.5,))]
    return (
        Case(tuple(line), "one number a step, windows of 3 that share 1"),
        Case(
            (normals(2, 2, 5), normals(2, 2, 5), normals(2, 2, 3)),
            "two trajectories in the plane, windows of 5 that share 3",
        ),
    )


def joined(over):
    """Windows put together with over(the end of the first, the beginning of the second, middle) where both are."""

    def answer(first, second, middle):
        o = middle.shape[2]
        shared = over(first[:, :, -o:], second[:, :, :o], middle)
        return torch.cat([first[:, :, :-o], shared, second[:, :, o:]], dim=2)

    return answer


def ramp(a, b, middle):
    weight = torch.linspace(0, 1, a.shape[2] + 2, dtype=a.dtype)[1:-1]
    return (1 - weight) * a + weight * b


STITCH = Exercise(
    id="24.5",
    name="stitch",
    stub='''
def stitch(first, second, middle):
    """E[x0 | x_t] of a long trajectory from two windows that overlap, as if its density were first * second / middle.

    first, second: (B, d, L), the estimates of the two windows. middle: (B, d, o), the estimate from the o noisy steps
    that both share alone. Returns (B, d, 2 L - o).
    """
    ...  # your code
''',
    solution=stitch,
    alternative=stitch_into_zeros,
    why=(
        "The log-density is a sum, so the scores add: first + second - middle. At a step the score is\n"
        "(alpha x0_hat - x_t) / sigma^2, and in the overlap there is one x_t of two windows less one: the estimates "
        "add likewise."
    ),
    truth=stitch_truth,
    cases=stitch_cases,
    hints=(
        "What is the logarithm of first * second / middle?",
        "Scores add. Since x0_hat = (x_t + sigma² score) / alpha, what does this mean for x0_hat in the overlap?",
        "Outside the overlap only one window counts. `torch.cat` puts the three parts together.",
    ),
    wrong=(
        Wrong(
            "averaged",
            joined(lambda a, b, middle: (a + b) / 2),
            "You average the two windows in the overlap. The score of a product of densities is a sum, not a mean.",
            "the usual recipe for long images: MultiDiffusion, arXiv 2302.08113",
        ),
        Wrong(
            "overlap not subtracted",
            joined(lambda a, b, middle: a + b),
            "You add both windows, so what the overlap knows by itself counts twice. Subtract `middle` once.",
            UNSEEN,
        ),
        Wrong(
            "overlap added",
            joined(lambda a, b, middle: a + b + middle),
            "You add `middle`. Its density stands in the denominator, so it is subtracted.",
            UNSEEN,
        ),
        Wrong(
            "averaged, then subtracted",
            joined(lambda a, b, middle: (a + b) / 2 - middle),
            "You average the windows and then subtract `middle`. Both windows count in full.",
            UNSEEN,
        ),
        Wrong(
            "the mean less the middle, doubled",
            joined(lambda a, b, middle: a + b - 2 * middle),
            "You subtract `middle` twice. There are two windows and one overlap.",
            UNSEEN,
        ),
        Wrong(
            "the first window wins",
            joined(lambda a, b, middle: a),
            "You take the first window alone in the overlap, so the second one's steps do not reach it.",
            UNSEEN,
        ),
        Wrong(
            "the second window wins",
            joined(lambda a, b, middle: b),
            "You take the second window alone in the overlap, so the first one's steps do not reach it.",
            UNSEEN,
        ),
        Wrong(
            "the overlap alone",
            joined(lambda a, b, middle: middle),
            "You put `middle` into the overlap, so neither window is heard there.",
            UNSEEN,
        ),
        Wrong(
            "faded from one to the other",
            joined(ramp),
            "You fade from one window to the other. That looks smooth, but it is the score of no density.",
            "cross-fading, as for sound",
        ),
    ),
)


# 24.6 to 24.8


def what_luck_earns():
    safe, risky, p = 0.8, 1.0, 0.1
    likely = {"safe": 0.5 * (safe >= risky), "risky": 0.5 * p}  # p(choice, return 1); the data choose evenly
    picks_risky = likely["risky"] / sum(likely.values())
    return picks_risky * p * risky + (1 - picks_risky) * safe


EARNED = Question(
    id="24.6",
    name="earned",
    stub="earned = None  # what the planner earns on average, if it asks for a return of 1",
    right=(0.095, 0.105),
    solution=what_luck_earns,
    why=(
        "Only the risky choice ever returns 1, so given a return of 1 the choice was risky. "
        "It pays 1 in one case of ten."
    ),
    wrong=(
        WrongValue(
            "what it asks for",
            (0.95, 1.0),
            "That is what the planner asks for. It chooses what the lucky ones in the data chose, but not their luck.",
            "Paster et al. 2022, arXiv 2205.15967",
        ),
        WrongValue(
            "the safe choice",
            (0.78, 0.82),
            "That is what the safe choice earns. But no safe choice in the data returned 1, so the planner never "
            "takes it.",
            UNSEEN,
        ),
        WrongValue(
            "what the data earn",
            (0.44, 0.46),
            "That is the mean of the data, in which both choices are equally likely. Use Bayes' rule for the choice, "
            "given the return.",
            UNSEEN,
        ),
        WrongValue(
            "chance that the data return 1",
            (0.045, 0.055),
            "That is how often the data return 1. Given a return of 1, which choice was made, and what does it pay "
            "next "
            "time?",
            UNSEEN,
        ),
    ),
    hints=(
        "Which choices in the data ever returned 1?",
        "Use Bayes' rule for p(risky | return = 1).",
        "The planner makes this choice again, and then the coin is thrown anew.",
    ),
)

PAPER = Explanation(
    id="24.7",
    name="who chooses the noise",
    task="Say why the tilted law is too cheerful where the motion has noise, and why it is exact without noise.",
    model=(
        "The tilted law weighs whole trajectories by e^(-cost). Without noise a trajectory is fixed by its "
        "controls, so "
        "only controls are chosen, and the mode of a Gaussian is the cheapest plan. With noise the law also prefers "
        "those "
        "noises that make the trajectory cheap: given a low cost, luck was likely. The plan counts on this luck. "
        "LQR takes the mean of the cost over the noise instead, which nobody chooses. The cure is to take this mean "
        "first: tilt by e^(-E[cost | controls]). To maximise log E[e^(-cost) | controls] is no cure: that is the same "
        "plan as before, since a mean of e^(-cost) is mostly a mean over lucky cases."
    ),
    look_for=(
        "It says that the noise is treated like a choice.",
        "It names the difference between the mean over the noise and the posterior of the noise.",
        "It says that without noise the trajectory is a function of the controls.",
    ),
    hints=(
        "What does a trajectory consist of, with noise and without?",
        "Which noises are likely, given that the cost was low?",
        "Compare with the risky choice of section 8.",
    ),
)

OPEN = Explanation(
    id="24.8",
    name="ninety-five per cent",
    task="A paper reports that its diffusion planner reaches the goal in 95 % of all mazes: say what you would ask.",
    model=(
        "How often does a walk of the data reach these goals, since a goal that is frequent in the data is easy? "
        "What does "
        "the best of n drawn walks reach, and what does the shortest path? Is the goal given as an input of "
        "training, or "
        "put in when sampling? Is the plan carried out as a whole, or made anew, and with which horizon? Are only "
        "legal "
        "plans counted, who threw the others away, and how many were drawn? How noisy is the motion?"
    ),
    look_for=(
        "It asks for a floor: how often walks of the data arrive, or the best of n.",
        "It asks for a ceiling, such as a search for the shortest path.",
        "It asks how the goal enters, and whether plans are made anew with a horizon that shrinks.",
    ),
    hints=(
        "What would a planner score that only draws from the data?",
        "Which algorithm solves a maze exactly, and in how much time?",
        "Sections 3 and 5 show two ways to the same sentence with very different numbers.",
    ),
)

EXERCISES = (SMOOTH, BRIDGE_POLICY, NEEDED_PUSH, ARRIVAL_PROBABILITY, STITCH, EARNED, PAPER, OPEN)
