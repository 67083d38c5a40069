"""Languages whose every probability can be computed: a small English, and the names of Unicode's characters.

A `Language` is a finite automaton: states, and edges that each speak a word and lead to another state. The next word
depends on the state alone, so that what costs an exponential sum in a real language is a sum over edges here. The
posterior of each hidden word, `marginals`, is the forward-backward algorithm. Taught in notebook 22.

Source: Rabiner 1989, "A tutorial on hidden Markov models", Proceedings of the IEEE 77, section III.A and B (forward and
backward variables). The languages are the course's own.
"""

import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from minidiff._tensors import check_generator, check_number, check_whole, describe

__all__ = ["BLANK", "Language", "Rules", "small_english", "unicode_names"]

BLANK = "_"  # how a hidden word is written
SLIP = 1e-6  # how often, by assumption, a word was misread: then no observation is impossible

Rules = Mapping[str, Sequence[tuple[str, str, float]]]  # state -> its edges (word, next state, weight)


@dataclass(frozen=True, eq=False)
class Language:
    """Words from a finite automaton in which each word leads from a state to at most one other.

    words: the vocabulary; a sentence is a row of their places in it, int64. source, target, word: (E,), the edges.
    p: (E,), the probability of an edge in its source, which sums to 1 over the edges that leave a state.
    Every sentence begins in state 0, and may end in any.
    """

    words: tuple[str, ...]
    source: Tensor
    target: Tensor
    word: Tensor
    p: Tensor

    @classmethod
    def from_rules(cls, rules: Rules, start: str) -> "Language":
        """A language from its states, of which `start` is the first. Weights are normalised in each state.

        Raises ValueError where a state is missing, or where one word would lead to two states.
        """
        index = {state: i for i, state in enumerate([start, *(state for state in rules if state != start)])}
        words = tuple(sorted({word for edges in rules.values() for word, _, _ in edges}))
        rows = []
        for state, edges in rules.items():
            total = sum(weight for _, _, weight in edges)
            if len({word for word, _, _ in edges}) < len(edges):
                raise ValueError(f"state {state!r} must have one edge for a word, but has several")
            for word, goal, weight in edges:
                if goal not in index:
                    raise ValueError(f"state {state!r} leads to {goal!r}, which must be a state, but is none")
                rows.append((index[state], index[goal], words.index(word), weight / total))
        source, target, word = torch.tensor([row[:3] for row in rows]).T.contiguous()
        return cls(words, source, target, word, torch.tensor([row[3] for row in rows], dtype=torch.float64))

    @property
    def states(self) -> int:
        return int(torch.maximum(self.source.max(), self.target.max())) + 1

    @cached_property
    def table(self) -> tuple[Tensor, Tensor]:
        """For each state and word, (states, V): the next state (-1 where there is none), and the probability."""
        goal = torch.full((self.states, len(self.words)), -1)
        p = torch.zeros(self.states, len(self.words), dtype=torch.float64)
        goal[self.source, self.word], p[self.source, self.word] = self.target, self.p
        return goal, p

    def sample(self, n: int, length: int, generator: torch.Generator) -> Tensor:
        """n windows of `length` words, each from the beginning of a sentence. (n, length), int64."""
        check_whole("n", n)
        check_whole("length", length)
        check_generator(generator)
        goal, p = self.table
        state, spoken = torch.zeros(n, dtype=torch.int64), []
        for _ in range(length):
            spoken.append(torch.multinomial(p[state], 1, generator=generator)[:, 0])
            state = goal[state, spoken[-1]]
        return torch.stack(spoken, dim=1)

    def log_prob(self, x: Tensor) -> Tensor:
        """The logarithm of the probability of each window, (B, length) -> (B,), float64; -inf where it is none."""
        self._check(x)
        goal, p = self.table
        state, total = torch.zeros(len(x), dtype=torch.int64), torch.zeros(len(x), dtype=torch.float64)
        for word in x.T:
            known = word < len(self.words)  # a hidden word is no word
            step = p[state.clamp(min=0), word.clamp(max=len(self.words) - 1)].where((state >= 0) & known, 0)
            total = total + step.log()
            state = goal[state.clamp(min=0), word.clamp(max=len(self.words) - 1)].where((state >= 0) & known, -1)
        return total

    def entropy(self, length: int) -> float:
        """The entropy of a window in nats: of each word, the mean over states of the entropy of their edges."""
        check_whole("length", length)
        of_edge = torch.where(self.p > 0, -self.p * self.p.log(), 0)
        of_state = torch.zeros(self.states, dtype=torch.float64).index_add(0, self.source, of_edge)
        now, total = torch.zeros_like(of_state), 0.0
        now[0] = 1
        for _ in range(length):
            total += float(now @ of_state)
            now = torch.zeros_like(now).index_add(0, self.target, now[self.source] * self.p)
        return total

    def marginals(self, likelihood: Tensor, *, slip: float = SLIP) -> Tensor:
        """p(word at each place | all that was observed), by the forward-backward algorithm (Rabiner, III.A and B).

        likelihood: (B, L, V), >= 0: how probable what was observed at a place is, for each word that may stand there.
        A row of ones observes nothing, a row that is 1 in one place shows the word. Rows may be scaled at will.
        slip: a share of the largest entry that is added to each row, as if words were misread so often. Then no
        observation contradicts the language. Returns (B, L, V), each row sums to 1, in the dtype of the likelihood.
        """
        if likelihood.ndim != 3 or likelihood.shape[2] != len(self.words) or not likelihood.is_floating_point():
            raise TypeError(f"likelihood must be floating, (B, L, {len(self.words)}), but is {describe(likelihood)}")
        check_number("slip", slip, zero=True)
        likelihood = likelihood + slip * likelihood.amax(2, keepdim=True)
        edge = likelihood[:, :, self.word] * self.p.to(likelihood)  # (B, L, E)
        to_target, to_source, to_word = (
            torch.nn.functional.one_hot(ends, size).to(likelihood)  # (E, size): sums over edges as a product
            for ends, size in ((self.target, self.states), (self.source, self.states), (self.word, len(self.words)))
        )
        state = likelihood.new_zeros(len(likelihood), self.states)
        state[:, 0] = 1
        forward = []
        for now in edge.unbind(1):
            forward.append(state[:, self.source] * now)
            state = _normalised(forward[-1] @ to_target)
        back, found = torch.ones_like(state), []
        for before, now in zip(reversed(forward), reversed(edge.unbind(1)), strict=True):
            found.append(_normalised((before * back[:, self.target]) @ to_word))
            back = _normalised((now * back[:, self.target]) @ to_source)
        return torch.stack(found[::-1], dim=1)

    def text(self, x: Tensor) -> list[str]:
        """Windows, (B, L), as text; what is no word is a blank."""
        self._check(x)
        return [" ".join((*self.words, *[BLANK] * (int(row.max()) + 1))[word] for word in row) for row in x]

    def tokens(self, text: str) -> Tensor:
        """A text as a window, (1, L), with BLANK for a hidden word, which becomes len(words)."""
        places = {word: i for i, word in enumerate((*self.words, BLANK))}
        unknown = [word for word in text.split() if word not in places]
        if unknown:
            raise ValueError(f"text must be of words of the language, or {BLANK!r}, but has {unknown}")
        return torch.tensor([[places[word] for word in text.split()]])

    def _check(self, x: Tensor) -> None:
        if not isinstance(x, Tensor) or x.dtype != torch.int64 or x.ndim != 2:
            raise TypeError(f"x must be int64 tokens of shape (B, L), but is {describe(x)}")


def _normalised(p: Tensor) -> Tensor:
    return p / p.sum(1, keepdim=True)


# The languages


def small_english() -> Language:
    """18 words in sentences whose subject and verb agree, also across a relative clause. Notebook 22.

    "two birds that the small dog sees sleep ." The automaton remembers what a grammar needs: in which part of the
    sentence it is, and whether the subjects of the main and the relative clause are one or many.
    """
    numbers = "one", "many"
    article = {"one": "a", "many": "two"}
    nouns = {"one": ("cat", "dog", "bird"), "many": ("cats", "dogs", "birds")}
    with_object = {"one": ("sees", "likes"), "many": ("see", "like")}
    without = {"one": "sleeps", "many": "sleep"}
    rules: dict[str, list[tuple[str, str, float]]] = {}

    def edge(state: str, word: str, goal: str, weight: float = 1.0) -> None:
        rules.setdefault(state, []).append((word, goal, weight))

    def noun_phrase(entry: str, goals: Mapping[str, str]) -> None:
        """An article, perhaps "small", a noun; then the state that knows its number."""
        edge(entry, "the", f"{entry} the")
        edge(f"{entry} the", "small", f"{entry} the small", 0.4)
        for number in numbers:
            edge(entry, article[number], f"{entry} {number}")
            edge(f"{entry} {number}", "small", f"{entry} {number} small", 0.4)
            for noun in nouns[number]:
                edge(f"{entry} the", noun, goals[number], 0.2)
                edge(f"{entry} the small", noun, goals[number])
                edge(f"{entry} {number}", noun, goals[number], 0.2)
                edge(f"{entry} {number} small", noun, goals[number])

    noun_phrase("sentence", {number: f"subject {number}" for number in numbers})
    for number in numbers:
        edge(f"subject {number}", "that", f"clause {number}", 0.3)
        noun_phrase(f"clause {number}", {inner: f"verb of clause {number} {inner}" for inner in numbers})
        for inner in numbers:
            for verb in with_object[inner]:
                edge(f"verb of clause {number} {inner}", verb, f"main verb {number}")
        for state, share in ((f"subject {number}", 0.35), (f"main verb {number}", 0.5)):
            edge(state, without[number], "end", share)
            for verb in with_object[number]:
                edge(state, verb, "object", share / 2)
    noun_phrase("object", {number: "end" for number in numbers})
    edge("end", ".", "sentence")
    return Language.from_rules(rules, "sentence")


def unicode_names(length: int = 8, *, least: int = 10) -> tuple[tuple[str, ...], Tensor]:
    """The names of Unicode's characters as sentences, such as "LATIN SMALL LETTER A WITH ACUTE". Notebook 22.

    Names of at most `length` words, all of which occur in `least` names or more; without ideographs and syllables,
    which are numbered. Returns the words, of which the first is "" and fills up short names, and the names, int64,
    (N, length). They are those of Unicode 3.2, which every Python holds, so that they do not change with its version.
    """
    check_whole("length", length)
    check_whole("least", least)
    named = (unicodedata.ucd_3_2_0.name(chr(code), "") for code in range(sys.maxunicode + 1))
    split = [name.split() for name in named if name and "-" not in name and not name.startswith(("CJK", "HANGUL S"))]
    count = Counter(word for name in split for word in name)
    words = ("", *sorted(word for word, times in count.items() if times >= least))
    places = {word: i for i, word in enumerate(words)}
    kept = [name for name in split if len(name) <= length and all(word in places for word in name)]
    return words, torch.tensor([[*(places[word] for word in name), *[0] * (length - len(name))] for name in kept])
