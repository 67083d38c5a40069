"""Diffusion of words: a path for tokens with the verbs of `GaussianPath`, and what it costs to write several at once.

A word has no value to which noise could be added. So noise replaces it: at time t a word is still itself with
probability alpha(t), and else it is drawn from the noise, a fixed distribution over tokens. Time runs from t = 0 (data)
to 1 (noise), as in the whole package. In one-hot coding p(x0 | x_t), a table of a row for each place, is E[x0 | x_t].

    path         TokenPath, and its two most used kinds: `masked` and `uniform`
    denoisers    TokenDenoiser: what stands at each place, from a language that is known exactly or from a network
    samplers     token_chain (down the path), unmask (some words in each step)
    what it costs  information_profile, factorisation_error, best_sizes, chain_error
    losses       masked_objective, token_objective, vector_objective, next_word_objective

Sources: Austin et al. 2021 (D3PM), arXiv 2107.03006, section 3; Shi et al. 2024 (MD4), arXiv 2406.04329; Sahoo et al.
2024 (MDLM), arXiv 2406.07524; Ou et al. 2024, arXiv 2406.03736 (for masks the time does not matter); Dieleman et
al. 2022 (CDCD), arXiv 2211.15089 (cross-entropy on Gaussian noise).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from minidiff._tensors import (
    check_generator,
    check_time,
    check_times,
    check_whole,
    check_xt,
    describe,
    expand,
    like,
    noise_like,
)
from minidiff.paths import GaussianPath
from minidiff.samplers import State
from minidiff.training import Batch, Draws, Objective, spread_times

__all__ = [
    "Order",
    "Posterior",
    "TokenDenoiser",
    "TokenPath",
    "VectorDenoiser",
    "at_random",
    "best_sizes",
    "chain_error",
    "drawn",
    "even_sizes",
    "factorisation_error",
    "fifteen_percent_objective",
    "hide",
    "information_profile",
    "left_to_right",
    "likeliest_draw",
    "masked",
    "masked_objective",
    "most_certain",
    "network_posterior",
    "next_word_objective",
    "one_hot",
    "token_chain",
    "token_objective",
    "uniform",
    "unmask",
    "vector_likelihood",
    "vector_objective",
    "write_from_left",
]

Posterior = Callable[[Tensor], Tensor]  # likelihoods, (B, L, V) -> p(word at each place | all of them), (B, L, V)
Order = Callable[[Tensor, Tensor, torch.Generator], Tensor]  # (table, drawn words, generator) -> scores, (B, L)


def fading(t: Tensor) -> Tensor:
    """alpha(t) = 1 - t: words are lost at a constant rate."""
    return 1 - t


@dataclass(frozen=True, eq=False)
class TokenPath:
    """A family of marginals: x_t is x0 with probability alpha(t), else drawn from the noise (D3PM, equation 3).

    noise: (size,), the probabilities of the tokens that noise puts in. The first `vocabulary` tokens are the words of
    the data, and a token after these, if there is one, is no word: the mask. alpha: times -> the same shape, from 1 to
    0. All times here are single numbers, tensors (), but for `perturb`, which also takes (B,). Notebook 22.
    """

    noise: Tensor
    vocabulary: int
    alpha: Callable[[Tensor], Tensor] = fading
    t_min: float = 0.0

    @property
    def size(self) -> int:
        """How many tokens there are, the mask among them."""
        return len(self.noise)

    def perturb(self, x0: Tensor, t: Tensor, u: Tensor) -> Tensor:
        """One jump from data to time t. x0: (B, L), int64. u: a uniform number in [0, 1) for each word, (B, L).

        A word stays where u < alpha(t); above that, u says which token the noise puts in its place.
        """
        check_time(t)
        check_tokens(x0, self.vocabulary, "x0")
        if u.shape != x0.shape:
            raise ValueError(f"u must have the shape of x0, {tuple(x0.shape)}, but is {describe(u)}")
        alpha = expand(self.alpha(t), u)
        rest = ((u - alpha) / (1 - alpha).clamp(min=1e-12)).clamp(min=0)
        token = torch.searchsorted(like(self.noise, u).cumsum(0), rest.contiguous(), right=True)
        return torch.where(u < alpha, x0, token.clamp(max=int(self.noise.nonzero().max())))

    def likelihood(self, x_t: Tensor, t: Tensor) -> Tensor:
        """q(x_t | x0 = v) for each word v: (B, L, vocabulary). All that the denoiser needs to know of x_t and t."""
        return self.transition(t, torch.zeros_like(t))[: self.vocabulary, x_t].movedim(0, -1)

    def transition(self, t: Tensor, s: Tensor) -> Tensor:
        """q(x_t | x_s), s < t, as a matrix with a row for each x_s, (size, size) (D3PM, section 3.1)."""
        check_time(t)
        check_time(s, "s")
        kept = self.alpha(t) / self.alpha(s)
        return (kept * torch.eye(self.size) + (1 - kept) * self.noise).float()

    def posterior(self, x_t: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """q(x_s | x_t, x0), s < t, by Bayes' rule (D3PM, equation 3). x_t, x0: (B, L). Returns (B, L, size)."""
        check_tokens(x_t, self.size, "x_t")
        check_tokens(x0, self.vocabulary, "x0")
        joint = self.transition(t, s)[:, x_t].movedim(0, -1) * self.transition(s, torch.zeros_like(s))[x0]
        return joint / joint.sum(-1, keepdim=True)

    def step(self, x_t: Tensor, table: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """p(x_s | x_t), s < t, of each word by itself: the mean of `posterior` over x0 from the table. (B, L, size).

        table: p(x0 | x_t), (B, L, vocabulary). The table knows x_t already, and so does the posterior: hence the
        division by q(x_t | x0). Without it x_t counts twice (for masks the factor is the same for all x0).
        """
        check_tokens(x_t, self.size, "x_t")
        of_x0 = self.likelihood(x_t, t)
        tiny = torch.finfo(table.dtype).tiny
        weight = torch.where(of_x0 > 0, table.clamp(min=tiny) / of_x0.clamp(min=tiny), 0)
        before = weight @ self.transition(s, torch.zeros_like(s))[: self.vocabulary].to(table)  # over x_s
        joint = self.transition(t, s)[:, x_t].movedim(0, -1) * before
        return joint / joint.sum(-1, keepdim=True)

    def prior(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Noise at t = 1: every token drawn from the noise. int64 of the given shape."""
        return drawn(self.noise.expand(*shape, -1), generator)


def masked(vocabulary: int, alpha: Callable[[Tensor], Tensor] = fading) -> TokenPath:
    """Noise hides words: they become the mask, the token `vocabulary` (D3PM's absorbing state). Notebook 22."""
    check_whole("vocabulary", vocabulary, 2)
    return TokenPath(functional.one_hot(torch.tensor(vocabulary), vocabulary + 1).float(), vocabulary, alpha)


def uniform(vocabulary: int, alpha: Callable[[Tensor], Tensor] = fading) -> TokenPath:
    """Noise exchanges words for any others, all alike. Notebook 22."""
    check_whole("vocabulary", vocabulary, 2)
    return TokenPath(torch.full((vocabulary,), 1 / vocabulary), vocabulary, alpha)


def check_tokens(x: Tensor, size: int, name: str) -> None:
    """Refuse what are no tokens, (B, L), int64, from 0 to size - 1."""
    if not isinstance(x, Tensor) or x.dtype != torch.int64 or x.ndim != 2:
        raise TypeError(f"{name} must be int64 tokens of shape (B, L), but is {describe(x)}")
    if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < size:
        raise ValueError(f"{name} must hold tokens from 0 to {size - 1}, but holds {int(x.min())} to {int(x.max())}")


def drawn(table: Tensor, generator: torch.Generator) -> Tensor:
    """A token for each row of probabilities, each independently of the others. (*D, size) -> (*D), int64."""
    check_generator(generator)
    return torch.multinomial(table.flatten(0, -2), 1, generator=generator)[:, 0].reshape(table.shape[:-1])


# Denoisers


@dataclass(frozen=True, eq=False)
class TokenDenoiser:
    """p(x0 | x_t) along a path of tokens, a row for each place. (B, L) and t -> (B, L, vocabulary). Notebook 22.

    posterior: `Language.marginals`, which is exact, or `network_posterior`. It sees the likelihoods and nothing else.
    """

    posterior: Posterior
    path: TokenPath

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        check_tokens(x_t, self.path.size, "x_t")
        return self.posterior(self.path.likelihood(x_t, t))


def network_posterior(net: nn.Module) -> Posterior:
    """softmax(net(likelihoods)): a `TokenTransformer` in the place of the exact posterior."""
    return partial(_network_posterior, net)


@torch.no_grad()
def _network_posterior(net: nn.Module, likelihood: Tensor) -> Tensor:
    return functional.softmax(net(likelihood), -1)


def one_hot(x0: Tensor, vocabulary: int) -> Tensor:
    """Words as vectors, (B, L) -> (B, L, V), float32: sqrt(V) at the word, else 0, so that x0^2 is 1 in the mean."""
    check_tokens(x0, vocabulary, "x0")
    return vocabulary**0.5 * functional.one_hot(x0, vocabulary).float()


def vector_likelihood(path: GaussianPath, x_t: Tensor, t: Tensor) -> Tensor:
    """q(x_t | x0 = v) for noisy word vectors, up to a factor in each row: (B, L, V) -> (B, L, V), its rows sum to 1.

    All words have the same length, so of |x_t - alpha x0|^2 only the product of x_t and x0 is left.
    """
    check_xt(x_t, t, "x_t")
    alpha, sigma = expand(path.alpha(t), x_t), expand(path.sigma(t), x_t)
    return functional.softmax(alpha * x_t.shape[-1] ** 0.5 * x_t / sigma**2, -1)


@dataclass(frozen=True, eq=False)
class VectorDenoiser:
    """E[x0 | x_t] for words as vectors in Gaussian noise: a `Denoiser`, for every sampler of the course. Notebook 22.

    posterior: as for `TokenDenoiser`. E[x0 | x_t] is its table, times the sqrt(V) of `one_hot`.
    """

    posterior: Posterior
    path: GaussianPath

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return x_t.shape[-1] ** 0.5 * self.posterior(vector_likelihood(self.path, x_t, t))


# Samplers


def token_chain(
    denoise: Callable[[Tensor, Tensor], Tensor],
    path: TokenPath,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator,
) -> Iterator[State]:
    """Walk down the path, drawing each word of x_s from `path.step` (D3PM, section 3.3). Notebook 22.

    x: (B, L), int64, as `path.prior` makes it. Yields a State after each step, with the table as x0_hat. The words of a
    step are drawn independently of each other, which is the one error of the chain if the denoiser is exact.
    """
    check_times(times, path.t_min)
    check_tokens(x, path.size, "x")
    check_generator(generator)
    return _token_chain(denoise, path, x, times, generator)


@torch.no_grad()
def _token_chain(denoise, path: TokenPath, x: Tensor, times: Tensor, generator: torch.Generator) -> Iterator[State]:
    for t, s in itertools.pairwise(times):
        table = denoise(x, t)
        x = drawn(path.step(x, table, t, s), generator)
        yield State(s, x, table)


def at_random(table: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """An order for `unmask`: any place may be next."""
    return torch.rand(words.shape, generator=generator)


def left_to_right(table: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """An order for `unmask`: the first hidden places."""
    return -torch.arange(words.shape[1]).expand(words.shape).float()


def most_certain(table: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """An order for `unmask`: places whose likeliest word is most probable. What is drawn there plays no part."""
    return table.amax(-1) + _tie(words, generator)


def likeliest_draw(table: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """An order for `unmask`: places whose drawn word is most probable. It looks at the draw, so it is biased."""
    return table.gather(-1, words[..., None])[..., 0] + _tie(words, generator)


def _tie(words: Tensor, generator: torch.Generator) -> Tensor:
    return 1e-4 * torch.rand(words.shape, generator=generator)


def unmask(
    denoise: Callable[[Tensor, Tensor], Tensor],
    path: TokenPath,
    x: Tensor,
    sizes: Sequence[int],
    order: Order = at_random,
    *,
    draw: Callable[[Tensor, torch.Generator], Tensor] = drawn,
    generator: torch.Generator,
) -> Iterator[State]:
    """Fill in hidden words, sizes[k] of them in step k: all drawn independently, the places by `order`. Notebook 22.

    x: (B, L), int64, with `path.vocabulary` for a hidden word. order: scores of all places; the highest hidden ones are
    next. draw: how a table becomes words. Yields a State after each step; t is the time at which so many are hidden.
    """
    check_tokens(x, path.size, "x")
    check_generator(generator)
    for size in sizes:
        check_whole("sizes", size)
    fewest = int((x == path.vocabulary).sum(1).min())
    if sum(sizes) > fewest:
        raise ValueError(f"sizes must add up to at most {fewest}, the hidden words, but add up to {sum(sizes)}")
    return _unmask(denoise, path, x, sizes, order, draw, generator)


@torch.no_grad()
def _unmask(denoise, path: TokenPath, x: Tensor, sizes, order, draw, generator: torch.Generator) -> Iterator[State]:
    t = (x == path.vocabulary).float().mean()
    for size in sizes:
        table = denoise(x, t)
        words = draw(table, generator)
        scores = order(table, words, generator).masked_fill(x != path.vocabulary, -torch.inf)
        places = scores.topk(size, dim=1).indices
        x = x.scatter(1, places, words.gather(1, places))
        t = (x == path.vocabulary).float().mean()
        yield State(t, x, table)


# What it costs to write several words at once


def even_sizes(length: int, steps: int) -> list[int]:
    """`length` words in `steps` steps of sizes that differ by at most one."""
    check_whole("length", length)
    check_whole("steps", steps, 1, length)
    return [length * (k + 1) // steps - length * k // steps for k in range(steps)]


def hide(x0: Tensor, hidden: Tensor, vocabulary: int) -> Tensor:
    """Put the mask in some places. x0: (B, L); hidden: (B,), how many, or (B, L), which, boolean."""
    return x0.masked_fill(hidden, vocabulary)


@torch.no_grad()
def information_profile(
    denoise: Callable[[Tensor, Tensor], Tensor], path: TokenPath, x0: Tensor, *, generator: torch.Generator
) -> Tensor:
    """f(m): the mean entropy of a hidden word, in nats, when m words at random places are visible. Notebook 22.

    x0: sentences, (B, L), which are averaged over. Returns (L,), m = 0 to L - 1. For the exact denoiser the chain rule
    makes the sum over m the entropy of a sentence.
    """
    B, L = x0.shape
    found = []
    for m in range(L):
        hidden = torch.rand(B, L, generator=generator).argsort(1) >= m
        table = denoise(hide(x0, hidden, path.vocabulary), torch.tensor(1 - m / L))
        found.append(torch.special.entr(table).sum(-1)[hidden].mean())
    return torch.stack(found)


def factorisation_error(profile: Tensor, sizes: Sequence[int]) -> float:
    """KL(data | samples), in nats, of `unmask` at random places with an exact denoiser. Notebook 22.

    A step that begins with m visible words and draws k of them independently spends k f(m) nats, where one at a time
    would spend f(m) + ... + f(m + k - 1): a staircase above the profile. The KL is the area between the two.
    """
    if sum(sizes) != len(profile):
        raise ValueError(f"sizes must add up to {len(profile)}, the length of profile, but add up to {sum(sizes)}")
    begins = itertools.accumulate(sizes, initial=0)
    return float(sum(k * profile[m] for m, k in zip(begins, sizes, strict=False)) - profile.sum())


def best_sizes(profile: Tensor, steps: int) -> list[int]:
    """The sizes of so many steps for which `factorisation_error` is smallest, by dynamic programming. Notebook 22."""
    L = len(profile)
    check_whole("steps", steps, 1, L)
    best = {0: (0.0, [])}  # words written -> the least that they cost, and the sizes so far
    for _ in range(steps):
        best = {
            m: min((best[b][0] + (m - b) * float(profile[b]), [*best[b][1], m - b]) for b in best if b < m)
            for m in range(1, L + 1)
            if min(best) < m
        }
    return best[L][1]


def chain_error(profile: Tensor, path: TokenPath, times: Tensor) -> float:
    """KL(data | samples), in nats, of `token_chain` with masks and an exact denoiser. Notebook 22.

    At time t each word is visible with probability alpha(t), so the number of visible words is binomial.
    """
    check_times(times, path.t_min)
    L = len(profile)
    visible, total = torch.arange(L, dtype=torch.float64), 0.0
    ways = torch.tensor(float(L)).double().lgamma()  # ln (L - 1)!
    for t, s in itertools.pairwise(path.alpha(times.double())):  # here t and s are alpha(t) and alpha(s)
        others = (ways - (visible + 1).lgamma() - (L - visible).lgamma()).exp()  # C(L - 1, m)
        chance = others * t**visible * (1 - t) ** (L - 1 - visible)  # that m of the other words are visible at t
        total += float(L * (s - t) * (chance * profile.double()).sum())
    return total - float(profile.sum())


# Losses


def masked_objective(path: TokenPath) -> Objective:
    """Cross-entropy on hidden words: the variational bound of a masked diffusion, in nats a word. Notebook 22.

    Of a sentence 1 to L words are hidden, all numbers alike often, and the loss is the mean over the hidden ones. Its
    mean over sentences is the bound over L, whatever alpha(t) is (MDLM), so its floor is the entropy of a
    sentence over L.
    """

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        B, L = batch.x0.shape
        ranks = torch.rand(B, L, generator=generator).argsort(1).argsort(1)
        hidden = ranks < torch.arange(B)[:, None] * L // B + 1  # evenly among the rows
        return Draws(batch.x0, eps=hidden)

    return Objective(draw, partial(_hidden_loss, path))


def fifteen_percent_objective(path: TokenPath, hidden: float = 0.15) -> Objective:
    """Cross-entropy with a fixed share of hidden words, as BERT learns (Devlin et al. 2019, arXiv 1810.04805, 3.1).

    The wrong version of `masked_objective`: a network that has seen hardly any nearly empty sentence cannot begin one.
    """

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        u = torch.rand(batch.x0.shape, generator=generator)
        return Draws(batch.x0, eps=u <= u.amin(1, keepdim=True).clamp(min=hidden))  # at least one

    return Objective(draw, partial(_hidden_loss, path))


def _hidden_loss(path: TokenPath, net: nn.Module, draws: Draws) -> Tensor:
    x_t = hide(draws.x0, draws.eps, path.vocabulary)
    logits = net(path.likelihood(x_t, torch.tensor(0.5)))  # any time: for masks it changes nothing
    surprise = functional.cross_entropy(logits.transpose(1, 2), draws.x0, reduction="none")  # (B, L)
    return (surprise * draws.eps).sum(1) / draws.eps.sum(1)


def token_objective(path: TokenPath) -> Objective:
    """Cross-entropy on all words at a random time, for noise that can be mistaken for a word. Notebook 22."""

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        u = torch.rand(batch.x0.shape, generator=generator)
        return Draws(batch.x0, spread_times(len(u), path, generator), u)

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        x_t = path.perturb(draws.x0, draws.t, draws.eps)
        kept = path.alpha(draws.t)[:, None, None]
        likelihood = kept * functional.one_hot(x_t, path.vocabulary) + (1 - kept) * path.noise[x_t][..., None]
        return functional.cross_entropy(net(likelihood).transpose(1, 2), draws.x0, reduction="none").mean(1)

    return Objective(draw, loss)


def vector_objective(path: GaussianPath, vocabulary: int, earliest: float = 0.35) -> Objective:
    """Cross-entropy on all words in Gaussian noise, at times from `earliest` to 1 (CDCD). Notebook 22.

    Before `earliest` each word can be read from its own vector, and there is nothing to learn.
    """

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        t = earliest + (1 - earliest) * spread_times(len(batch.x0), path, generator)
        return Draws(batch.x0, t, noise_like(one_hot(batch.x0, vocabulary), generator))

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        x_t = path.perturb(one_hot(draws.x0, vocabulary), draws.t, draws.eps)
        logits = net(vector_likelihood(path, x_t, draws.t))
        return functional.cross_entropy(logits.transpose(1, 2), draws.x0, reduction="none").mean(1)

    return Objective(draw, loss)


def next_word_objective(vocabulary: int) -> Objective:
    """Cross-entropy of each word given those before it, in nats a word: how a causal network learns. Notebook 22."""

    def loss(net: nn.Module, draws: Draws) -> Tensor:
        logits = net(_shifted(draws.x0, vocabulary))
        return functional.cross_entropy(logits.transpose(1, 2), draws.x0, reduction="none").mean(1)

    return Objective(lambda batch, generator: Draws(batch.x0), loss)


def _shifted(x: Tensor, vocabulary: int) -> Tensor:
    """At each place the word before it, as a likelihood, (B, L, V); at the first, nothing."""
    before = functional.one_hot(x[:, :-1], vocabulary).float()
    return torch.cat([torch.ones_like(before[:, :1]), before], dim=1)


@torch.no_grad()
def write_from_left(net: nn.Module, n: int, *, generator: torch.Generator) -> Tensor:
    """n sentences of a causal network, one word after the other. Returns (n, length), int64. Notebook 22."""
    x = torch.zeros(n, net.length, dtype=torch.int64)
    for place in range(net.length):
        table = functional.softmax(net(_shifted(x, net.vocabulary))[:, place], -1)
        x[:, place] = drawn(table, generator)
    return x
