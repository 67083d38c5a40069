"""The exercises of notebook 22, text: 22.1 to 22.4 in its flow, 22.5 to 22.9 at its end.

Sources of the wrong answers are papers and the code of public repositories, where they were seen. Those not seen in
public yet are waiting for the log of unknown answers.
"""

import itertools
import math
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from minidiff import discrete
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles
from minidiff.languages import Language

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Text: diffusion of words"


def shares(g: torch.Generator, *shape: int) -> Tensor:
    """Rows of probabilities, uneven, in double precision."""
    p = 0.05 + torch.rand(*shape, generator=g, dtype=torch.float64) ** 2
    return p / p.sum(-1, keepdim=True)


def number(g: torch.Generator, low: float, high: float) -> float:
    """A number with three digits after the point."""
    return round(low + (high - low) * float(torch.rand((), generator=g)), 3)


# 22.1 reverse_probabilities


def reverse_probabilities(table, x_t, a_t, a_s):
    V = table.shape[1]
    same = one_hot(x_t, V).to(table)
    kept = a_t / a_s  # the probability that a word survives from s to t
    x_t_if_x0 = a_t * same + (1 - a_t) / V
    x_t_if_x_s = kept * same + (1 - kept) / V
    weight = table / x_t_if_x0
    return x_t_if_x_s * (a_s * weight + (1 - a_s) / V * weight.sum(dim=1, keepdim=True))


def reverse_probabilities_word_by_word(table, x_t, a_t, a_s):
    V, kept = table.shape[1], a_t / a_s
    identity = torch.eye(V).to(table)
    to_s = a_s * identity + (1 - a_s) / V  # (x0, x_s)
    on = kept * identity + (1 - kept) / V  # (x_s, x_t)
    rows = []
    for p, word in zip(table, x_t, strict=True):
        joint = to_s * on[:, word]  # (x0, x_s)
        rows.append(p @ (joint / joint.sum(dim=1, keepdim=True)))
    return torch.stack(rows)


def reverse_probabilities_truth(table, x_t, a_t, a_s):
    path = discrete.TokenPath(torch.full((table.shape[1],), 1 / table.shape[1]), table.shape[1])
    out = torch.zeros_like(table)
    for v in range(table.shape[1]):
        posterior = path.posterior(
            x_t[None], torch.full_like(x_t, v)[None], torch.tensor(1 - a_t), torch.tensor(1 - a_s)
        )
        out = out + table[:, v : v + 1] * posterior[0]
    return out


def reverse_probabilities_cases(g):
    a_t, a_s = number(g, 0.2, 0.3), number(g, 0.5, 0.7)
    plain = doubles(0.7, 0.2, 0.1)[None], torch.tensor([1]), 0.5, 0.8
    return (
        Case(plain, "one place, p(x0 | x_t) = (0.7, 0.2, 0.1), the word 1 seen, alpha(t) = 0.5 and alpha(s) = 0.8"),
        Case((shares(g, 4, 5), torch.tensor([3, 0, 4, 0]), a_t, a_s), f"4 places, 5 words, alphas {a_t} and {a_s}"),
    )


def stepped(
    *,
    of_x0=lambda same, a_t, a_s, V: a_t * same + (1 - a_t) / V,
    of_x_s=lambda same, a_t, a_s, V: a_t / a_s * same + (1 - a_t / a_s) / V,
    before=lambda weight, a_s, V: a_s * weight + (1 - a_s) / V * weight.sum(1, keepdim=True),
    divide=True,
    normalise=True,
    swap=False,
):
    """A step with other parts."""

    def answer(table, x_t, a_t, a_s):
        a_t, a_s = (a_s, a_t) if swap else (a_t, a_s)
        V = table.shape[1]
        same = one_hot(x_t, V).to(table)
        weight = table / of_x0(same, a_t, a_s, V) if divide else table
        joint = of_x_s(same, a_t, a_s, V) * before(weight, a_s, V)
        return joint / joint.sum(1, keepdim=True) if normalise else joint

    return answer


REVERSE_PROBABILITIES = Exercise(
    id="22.1",
    name="reverse_probabilities",
    stub='''
def reverse_probabilities(table, x_t, a_t, a_s):
    """p(x_s | x_t) of each word by itself, (L, V), for uniform noise over V words, at a time s < t.

    table: p(x0 | x_t) from the denoiser, (L, V). x_t: (L,), the words seen at t. a_t, a_s: alpha(t) and alpha(s).
    """
    ...  # your code
''',
    solution=reverse_probabilities,
    alternative=reverse_probabilities_word_by_word,
    why=(
        "Given x0, Bayes' rule says p(x_s | x_t, x0) = q(x_t | x_s) q(x_s | x0) / q(x_t | x0). Its mean over x0 with\n"
        "the table is the answer. q(x_s | x0) is alpha(s) on the same word and (1 - alpha(s)) / V on all, and between\n"
        "s and t a word survives with the probability alpha(t) / alpha(s)."
    ),
    truth=reverse_probabilities_truth,
    cases=reverse_probabilities_cases,
    hints=(
        "For one known x0, write p(x_s | x_t, x0) by Bayes' rule. Three factors.",
        "A word survives from s to t with probability a_t / a_s; otherwise it is any of the V words, also itself.",
        "Average over x0 with the table. The factor 1 / q(x_t | x0) depends on x0 and stays inside the average.",
        "weight = table / q(x_t | x0). Then the sum over x0 is a_s * weight + (1 - a_s) / V * weight.sum().",
    ),
    wrong=(
        Wrong(
            "x_t counts twice",
            stepped(divide=False),
            "You did not divide by q(x_t | x0). The table has seen x_t already, and q(x_t | x_s) brings it in again. "
            "This formula is right for a table that has not seen the word at its own place.",
            "Austin et al. 2021, section 3.3, with a table learned by cross-entropy",
        ),
        Wrong(
            "x_t counts twice, not normalised",
            stepped(divide=False, normalise=False),
            "You did not divide by q(x_t | x0), and your rows do not sum to 1. With the division they do so by "
            "themselves.",
            UNSEEN,
        ),
        Wrong(
            "the alphas exchanged",
            stepped(swap=True, normalise=False),
            "You exchanged alpha(t) and alpha(s). s is nearer to the data, so alpha(s) is the larger one.",
            UNSEEN,
        ),
        Wrong(
            "noise never hits the same word",
            stepped(
                of_x0=lambda same, a_t, a_s, V: a_t * same + (1 - a_t) / V * (1 - same),
                of_x_s=lambda same, a_t, a_s, V: a_t / a_s * same + (1 - a_t / a_s) / V * (1 - same),
            ),
            "You forgot that uniform noise may put the same word in its place again: (1 - alpha) / V belongs to every "
            "word, also where x_t = v.",
            UNSEEN,
        ),
        Wrong(
            "x_t is not used",
            lambda table, x_t, a_t, a_s: a_s * table + (1 - a_s) / table.shape[1],
            "You draw x0 from the table and add fresh noise up to s. That forgets that x_s must have led to x_t.",
            UNSEEN,
        ),
        Wrong(
            "all the way from the data",
            stepped(of_x_s=lambda same, a_t, a_s, V: a_t * same + (1 - a_t) / V),
            "For the way from s to t you took alpha(t). From s to t a word survives with alpha(t) / alpha(s).",
            UNSEEN,
        ),
        Wrong(
            "a difference for a ratio",
            stepped(of_x_s=lambda same, a_t, a_s, V: (1 - a_s + a_t) * same + (a_s - a_t) / V),
            "From s to t a word survives with alpha(t) / alpha(s), because the probabilities of surviving multiply. "
            "1 - (alpha(s) - alpha(t)) is not that.",
            UNSEEN,
        ),
        Wrong(
            "divided by the wrong factor",
            stepped(of_x0=lambda same, a_t, a_s, V: a_t / a_s * same + (1 - a_t / a_s) / V),
            "You divided by q(x_t | x_s = x0). The normalisation of Bayes' rule is q(x_t | x0), from the data to t.",
            UNSEEN,
        ),
        Wrong(
            "only the likeliest word",
            lambda table, x_t, a_t, a_s: reverse_probabilities(
                one_hot(table.argmax(1), table.shape[1]).to(table), x_t, a_t, a_s
            ),
            "You put only the likeliest x0 of each place into the posterior. Average over all of them.",
            UNSEEN,
        ),
        Wrong(
            "the noise without its weight",
            stepped(before=lambda weight, a_s, V: a_s * weight + (1 - a_s) / V),
            "The noise before s belongs to every x0, so (1 - alpha(s)) / V is multiplied by the sum of the weights.",
            UNSEEN,
        ),
        Wrong(
            "V forgotten",
            stepped(
                of_x0=lambda same, a_t, a_s, V: a_t * same + (1 - a_t),
                of_x_s=lambda same, a_t, a_s, V: a_t / a_s * same + (1 - a_t / a_s),
                before=lambda weight, a_s, V: a_s * weight + (1 - a_s) * weight.sum(1, keepdim=True),
            ),
            "The noise has V words to choose from, so each gets (1 - alpha) / V and not 1 - alpha.",
            UNSEEN,
        ),
        Wrong(
            "the table itself",
            lambda table, x_t, a_t, a_s: table.clone(),
            "You return p(x0 | x_t). At s there is still noise: alpha(s) is below 1.",
            UNSEEN,
        ),
    ),
)


# 22.2 profile

TINY = Language.from_rules(
    {
        "start": [("a", "start", 1.0), ("b", "after b", 3.0)],
        "after b": [("a", "start", 0.5), ("c", "after b", 0.3), ("b", "start", 0.2)],
    },
    "start",
)
EVERY = torch.tensor(list(itertools.product(range(3), repeat=5)))  # all windows of five words
P_EVERY = TINY.log_prob(EVERY).exp()


def profile(marginals, x0, order, V):
    L, found = x0.shape[1], []
    for m in range(L):
        visible = order.argsort(dim=1) < m
        likelihood = torch.where(visible[:, :, None], one_hot(x0, V).double(), 1.0)
        p = marginals(likelihood)
        entropy = torch.special.entr(p).sum(dim=2)  # entr(p) is -p ln p, and 0 at p = 0
        found.append(entropy[~visible].mean())
    return torch.stack(found)


def profile_with_loops(marginals, x0, order, V):
    B, L = x0.shape
    total = torch.zeros(L, dtype=torch.float64)
    likelihood = torch.ones(B, L, V, dtype=torch.float64)
    for m in range(L):
        p = marginals(likelihood)
        for k in range(m, L):  # the places that are still hidden
            row = p[torch.arange(B), order[:, k]]
            total[m] += -(row * row.clamp(min=1e-300).log()).sum(dim=1).mean() / (L - m)
        likelihood[torch.arange(B), order[:, m]] = one_hot(x0[torch.arange(B), order[:, m]], V).double()
    return total


def profile_truth(marginals, x0, order, V):
    """By the sum over all sentences that agree with the visible words."""
    values = []
    for m in range(5):
        cells = []
        for sentence, places in zip(x0.tolist(), order.tolist(), strict=True):
            agrees = torch.tensor([all(w[k] == sentence[k] for k in places[:m]) for w in EVERY.tolist()])
            p = P_EVERY * agrees / (P_EVERY * agrees).sum()
            for k in places[m:]:
                share = torch.zeros(3, dtype=torch.float64).index_add(0, EVERY[:, k], p)
                cells.append(-sum(v * math.log(v) for v in share.tolist() if v > 0))
        values.append(sum(cells) / len(cells))
    return doubles(*values)


def profile_cases(g):
    exact = partial(TINY.marginals, slip=0.0)

    def orders(n):
        return torch.rand(n, 5, generator=g).argsort(1)

    one = torch.tensor([[1, 0, 0, 1, 2]])
    return (
        Case(
            (exact, one, torch.tensor([[2, 4, 0, 1, 3]]), 3),
            "one sentence of 5 words, shown in the order 2, 4, 0, 1, 3",
        ),
        Case((exact, TINY.sample(4, 5, g), orders(4), 3), "4 sentences of 5 words, each with its own order"),
    )


def profiled(
    *,
    visible=lambda order, m: order.argsort(1) < m,
    value=lambda p, x0: torch.special.entr(p).sum(2),
    average=lambda values, hidden: values[hidden].mean(),
    last=lambda f: f,
):
    """A profile with other parts."""

    def answer(marginals, x0, order, V):
        f = []
        for m in range(x0.shape[1]):
            seen = visible(order, m)
            p = marginals(torch.where(seen[:, :, None], one_hot(x0, V).double(), 1.0))
            f.append(average(value(p, x0), ~seen))
        return last(torch.stack(f))

    return answer


PROFILE = Exercise(
    id="22.2",
    name="profile",
    stub='''
def profile(marginals, x0, order, V):
    """f(m) for m = 0 to L - 1, (L,): the mean entropy of a hidden word, in nats, when m words are visible.

    x0: sentences, (B, L), of V words. order: (B, L), in which order the places of each become visible: with m words
    visible, these are the places order[:, :m]. marginals: likelihood, (B, L, V) -> p(word | all), (B, L, V), float64.
    """
    ...  # your code
''',
    solution=profile,
    alternative=profile_with_loops,
    why=(
        "A visible word has a likelihood of 1 for itself and 0 for all others, a hidden one has 1 for every word.\n"
        "`order.argsort(dim=1)` is the rank of each place: it is visible where the rank is below m. The entropy of a\n"
        "visible word is 0, so the mean must run over the hidden ones alone."
    ),
    truth=profile_truth,
    cases=profile_cases,
    hints=(
        "Which likelihood does a visible word have, and which a hidden one?",
        "order holds places, and `order.argsort(dim=1)` holds for each place when it becomes visible.",
        "The entropy of a row p is -(p ln p) summed over the words; `torch.special.entr` gets p = 0 right.",
        "Average over hidden places only: `entropy[~visible].mean()`.",
    ),
    wrong=(
        Wrong(
            "visible words counted",
            profiled(average=lambda values, hidden: values.mean()),
            "You average over all places. A visible word has entropy 0 and lowers the mean: count hidden ones only.",
            UNSEEN,
        ),
        Wrong(
            "prefixes",
            profiled(visible=lambda order, m: (torch.arange(order.shape[1]) < m).expand(order.shape)),
            "You show the first m words. The sum is the same, but it is the curve of a writer from left to right: "
            "take the places order[:, :m].",
            UNSEEN,
        ),
        Wrong(
            "the surprise of the likeliest word",
            profiled(value=lambda p, x0: -p.amax(2).clamp(min=1e-300).log()),
            "You take -ln of the largest probability. The entropy is the mean of -ln p over all words, and larger.",
            "confidence scores of public samplers",
        ),
        Wrong(
            "the surprise of the true word",
            profiled(value=lambda p, x0: -p.gather(2, x0[..., None])[..., 0].clamp(min=1e-300).log()),
            "You take -ln p of the word that really stands there. Its mean over endless sentences is the entropy, but "
            "on a few sentences it is much noisier. Sum over all words with their probabilities.",
            UNSEEN,
        ),
        Wrong(
            "bits",
            profiled(value=lambda p, x0: torch.special.entr(p).sum(2) / math.log(2)),
            "Your numbers are in bits. The course counts in nats: the natural logarithm.",
            UNSEEN,
        ),
        Wrong(
            "summed over the words",
            profiled(average=lambda values, hidden: (values * hidden).sum(1).mean()),
            "You sum over the hidden words of a sentence. f(m) is the entropy of one word: their mean.",
            UNSEEN,
        ),
        Wrong(
            "order read as ranks",
            profiled(visible=lambda order, m: order < m),
            "order[b, k] is the place that becomes visible as number k. You read it as the number of place k: take "
            "`order.argsort(dim=1)`.",
            UNSEEN,
        ),
        Wrong(
            "one word too many",
            profiled(
                visible=lambda order, m: order.argsort(1) < m + 1,
                average=lambda values, hidden: values[hidden].mean() if hidden.any() else values.new_zeros(()),
            ),
            "You show m + 1 words. f(0) is the entropy of a word of which nothing is known.",
            UNSEEN,
        ),
        Wrong(
            "the sign",
            profiled(value=lambda p, x0: -torch.special.entr(p).sum(2)),
            "Your entropies are negative. The entropy is the mean of *minus* ln p.",
            UNSEEN,
        ),
        Wrong(
            "the other way round",
            profiled(last=lambda f: f.flip(0)),
            "Your first number belongs to L - 1 visible words. f(0) is the largest: nothing is visible there.",
            UNSEEN,
        ),
        Wrong(
            "the number of choices",
            profiled(last=lambda f: f.exp()),
            "You return e to the entropy, which is called the perplexity. The chain rule adds entropies.",
            "Shannon 1951 and the usual measure of language models",
        ),
        Wrong(
            "how unsure in percent",
            profiled(value=lambda p, x0: 1 - p.amax(2)),
            "You return the probability that the likeliest word is wrong. That is no entropy, and has no chain rule.",
            UNSEEN,
        ),
    ),
)


# 22.3 factorisation_error


def factorisation_error(f, sizes):
    total, m = 0.0, 0
    for k in sizes:
        total += k * f[m]
        m += k
    return total - f.sum()


def factorisation_error_by_steps(f, sizes):
    begins = [sum(sizes[:i]) for i in range(len(sizes))]
    return sum((f[m] - f[m : m + k]).sum() for m, k in zip(begins, sizes, strict=True))


def factorisation_error_truth(f, sizes):
    stairs = torch.cat([f[sum(sizes[:i])].repeat(k) for i, k in enumerate(sizes)])
    return float((stairs - f).sum())


def factorisation_error_cases(g):
    steep = shares(g, 7).sort(descending=True).values.cumsum(0).flip(0)
    return (
        Case((doubles(2.0, 1.4, 0.9, 0.6, 0.5), [2, 3]), "f = (2, 1.4, 0.9, 0.6, 0.5) and steps of 2 and 3 words"),
        Case((steep, [1, 2, 4]), "7 words, steps of 1, 2 and 4"),
    )


def spent(price, entropy=lambda f: f.sum(), last=lambda kl: kl):
    """price(f, m, k): what a step of k words costs that begins with m visible ones."""

    def answer(f, sizes):
        begins = itertools.accumulate(sizes, initial=0)
        return last(sum(price(f, m, k) for m, k in zip(begins, sizes, strict=False)) - entropy(f))

    return answer


FACTORISATION_ERROR = Exercise(
    id="22.3",
    name="factorisation_error",
    stub='''
def factorisation_error(f, sizes):
    """KL(data | samples) in nats, a number: sizes[i] words are written at once in step i, at random places.

    f: (L,), the information profile; the denoiser is exact. sizes: whole numbers that add up to L.
    """
    ...  # your code
''',
    solution=factorisation_error,
    alternative=factorisation_error_by_steps,
    why=(
        "A step of k words that begins with m visible ones draws each word from its own marginal, and spends f(m) on\n"
        "each: k f(m). One word at a time would spend f(m) + f(m + 1) + ... + f(m + k - 1). All of the second kind\n"
        "together are the entropy of a sentence, the sum of f."
    ),
    truth=factorisation_error_truth,
    cases=factorisation_error_cases,
    hints=(
        "How many words are visible when step i begins?",
        "All k words of a step are drawn with what was known at its beginning, so each costs f(m).",
        "Subtract what the sentence costs when each word may use all words before it: the sum of f.",
    ),
    wrong=(
        Wrong(
            "the end of each step",
            spent(lambda f, m, k: k * f[m + k - 1]),
            "You take f at the end of each step. The words of a step do not know each other: take f where it begins. "
            "Your KL is negative, which no KL can be.",
            UNSEEN,
        ),
        Wrong(
            "a step as one word",
            spent(lambda f, m, k: f[m]),
            "You count each step once. A step of k words spends f(m) on each of them.",
            UNSEEN,
        ),
        Wrong(
            "L f(0) for the entropy",
            spent(lambda f, m, k: k * f[m], lambda f: len(f) * f[0]),
            "You subtract L f(0), the cost of words that know nothing of each other. The entropy of a sentence is the "
            "sum of f.",
            UNSEEN,
        ),
        Wrong(
            "the entropy is not subtracted",
            spent(lambda f, m, k: k * f[m], lambda f: 0.0),
            "You return the cross-entropy, what the sentences cost altogether. The KL is what they cost too much.",
            UNSEEN,
        ),
        Wrong(
            "the sign",
            spent(lambda f, m, k: k * f[m], last=lambda kl: -kl),
            "Your KL is negative. The staircase lies above the curve: subtract the curve from it.",
            UNSEEN,
        ),
        Wrong(
            "the trapezoid rule",
            spent(lambda f, m, k: k * (f[m] + f[m + k - 1]) / 2),
            "You take the mean of both ends of a step. The words of a step are all drawn with what was known at its "
            "beginning.",
            UNSEEN,
        ),
        Wrong(
            "the size as the place",
            lambda f, sizes: sum(k * f[k - 1] for k in sizes) - f.sum(),
            "You look up f at the size of the step. Look it up at the number of words that are visible when it begins.",
            UNSEEN,
        ),
        Wrong(
            "the number of the step as the place",
            lambda f, sizes: sum(k * f[i] for i, k in enumerate(sizes)) - f.sum(),
            "You look up f at the number of the step. Before step i, sizes[0] + ... + sizes[i - 1] words are visible.",
            UNSEEN,
        ),
        Wrong(
            "per word",
            spent(lambda f, m, k: k * f[m] / len(f), lambda f: f.mean()),
            "You return the KL for each word. The KL of whole sentences is L times as large.",
            UNSEEN,
        ),
        Wrong(
            "the share that e^-KL leaves",
            spent(lambda f, m, k: k * f[m], last=lambda kl: math.exp(-kl)),
            "You return e^-KL, the bound on the valid share. Return the KL.",
            UNSEEN,
        ),
    ),
)


# 22.4 masked_loss


def masked_loss(logits, x0, hidden):
    surprise = cross_entropy(logits.transpose(1, 2), x0, reduction="none")  # (B, L)
    return (surprise * hidden).sum(dim=1) / hidden.sum(dim=1)


def masked_loss_row_by_row(logits, x0, hidden):
    log_p = torch.log_softmax(logits, dim=-1).gather(-1, x0[..., None])[..., 0]
    return torch.stack([-row[h].mean() for row, h in zip(log_p, hidden, strict=True)])


def masked_loss_truth(logits, x0, hidden):
    found = []
    for scores, words, which in zip(logits.tolist(), x0.tolist(), hidden.tolist(), strict=True):
        costs = [
            math.log(sum(math.exp(score) for score in row)) - row[word]
            for row, word, h in zip(scores, words, which, strict=True)
            if h
        ]
        found.append(math.fsum(costs) / len(costs))
    return doubles(*found)


def masked_loss_cases(g):
    logits = doubles(1, 0, -1, 0.5, 2, 0).reshape(1, 2, 3)
    few = torch.tensor(
        [[True, False, False, True, False], [True, True, True, True, False], [False, True, False, False, False]]
    )
    many = 2 * torch.randn(3, 5, 4, generator=g, dtype=torch.float64)
    return (
        Case(
            (logits, torch.tensor([[2, 0]]), torch.tensor([[False, True]])),
            "one sentence of 2 words, the second hidden",
        ),
        Case(
            (many, torch.randint(4, (3, 5), generator=g), few), "3 sentences of 5 words, of which 2, 4 and 1 are hidden"
        ),
    )


def lost(combine, cost=lambda logits, x0: cross_entropy(logits.transpose(1, 2), x0, reduction="none")):
    """A loss with other parts. combine(costs (B, L), hidden) -> (B,)."""
    return lambda logits, x0, hidden: combine(cost(logits, x0), hidden)


def mean_of_hidden(costs, hidden):
    return (costs * hidden).sum(1) / hidden.sum(1)


def own(p, x0):
    """The entry of the true word, (B, L)."""
    return p.gather(2, x0[..., None])[..., 0]


MASKED_LOSS = Exercise(
    id="22.4",
    name="masked_loss",
    stub='''
def masked_loss(logits, x0, hidden):
    """The loss of each sentence, (B,): the mean of -ln p of the true word over the hidden words, in nats.

    logits: (B, L, V), from a network that saw the words that are not hidden. x0: (B, L). hidden: (B, L), True or False,
    at least one in a row.
    """
    ...  # your code
''',
    solution=masked_loss,
    alternative=masked_loss_row_by_row,
    why=(
        "If m words are hidden, the mean over them is f(L - m) in the mean. With m uniform from 1 to L, the mean over\n"
        "m is the entropy of a sentence over L. Every sentence must count alike: a mean over all hidden words of a\n"
        "batch would give a sentence with 12 hidden words twelve times the weight of one with a single one."
    ),
    truth=masked_loss_truth,
    cases=masked_loss_cases,
    hints=(
        "`cross_entropy(..., reduction='none')` gives -ln p for each word; it wants the classes in dimension 1.",
        "Multiply by `hidden`, so that visible words count nothing.",
        "Divide by the number of hidden words *of this sentence*.",
    ),
    wrong=(
        Wrong(
            "visible words counted",
            lost(lambda costs, hidden: costs.mean(1)),
            "You average over all words, also those that the network was shown. They cost nothing, so the loss falls "
            "below the entropy, and the network learns to copy.",
            UNSEEN,
        ),
        Wrong(
            "divided by L",
            lost(lambda costs, hidden: (costs * hidden).mean(1)),
            "You divide by the length of the sentence. Divide by the number of hidden words: without the factor L / m "
            "the loss is no bound any more.",
            "public masked language models without the weight 1 / t",
        ),
        Wrong(
            "one mean for the batch",
            lost(lambda costs, hidden: (costs * hidden).sum(1) / hidden.double().sum(1).mean()),
            "You divide by the mean number of hidden words in the batch. Then sentences with many hidden words count "
            "more. Divide each sentence by its own number.",
            UNSEEN,
        ),
        Wrong(
            "a sum",
            lost(lambda costs, hidden: (costs * hidden).sum(1)),
            "You sum over the hidden words. Divide by their number.",
            UNSEEN,
        ),
        Wrong(
            "nats a sentence",
            lost(lambda costs, hidden: mean_of_hidden(costs, hidden) * hidden.shape[1]),
            "Your loss is L times the right one: the bound in nats a sentence. Here it is wanted in nats a word.",
            "Shi et al. 2024 and Sahoo et al. 2024 write the bound of a sentence",
        ),
        Wrong(
            "visible in place of hidden",
            lost(lambda costs, hidden: (costs * ~hidden).sum(1) / (~hidden).sum(1)),
            "You average over the visible words. True in `hidden` marks the words that the network did not see.",
            UNSEEN,
        ),
        Wrong(
            "no softmax",
            lost(mean_of_hidden, lambda logits, x0: -own(logits, x0)),
            "You take the logits for logarithms of probabilities. They are so only after `log_softmax`.",
            UNSEEN,
        ),
        Wrong(
            "softmax twice",
            lost(
                mean_of_hidden,
                lambda logits, x0: cross_entropy(logits.softmax(2).transpose(1, 2), x0, reduction="none"),
            ),
            "`cross_entropy` makes the softmax itself, so you take it twice. Give it the logits.",
            "a common question on PyTorch's forum",
        ),
        Wrong(
            "softmax over the places",
            lost(mean_of_hidden, lambda logits, x0: -own(logits.log_softmax(1), x0)),
            "Your softmax runs over the places of the sentence. It must run over the words, the last dimension.",
            UNSEEN,
        ),
        Wrong(
            "one minus the probability",
            lost(mean_of_hidden, lambda logits, x0: 1 - own(logits.softmax(2), x0)),
            "You take 1 - p of the true word. The loss is -ln p.",
            UNSEEN,
        ),
        Wrong(
            "a square error",
            lost(
                mean_of_hidden,
                lambda logits, x0: (logits.softmax(2) - one_hot(x0, logits.shape[2])).square().sum(2),
            ),
            "You take the square error of the probabilities. It has the right minimum, but it is no bound: take -ln p.",
            "Brier's score",
        ),
        Wrong(
            "the sign",
            lost(lambda costs, hidden: -mean_of_hidden(costs, hidden)),
            "Your loss is negative. Minus the logarithm of a probability is never below 0.",
            UNSEEN,
        ),
        Wrong(
            "bits",
            lost(lambda costs, hidden: mean_of_hidden(costs, hidden) / math.log(2)),
            "Your loss is in bits. The course counts in nats.",
            UNSEEN,
        ),
        Wrong(
            "the likeliest word",
            lost(mean_of_hidden, lambda logits, x0: -logits.log_softmax(2).amax(2)),
            "You take the probability of the likeliest word. The loss needs that of the word that really stands there.",
            UNSEEN,
        ),
    ),
)


# 22.5 least_error


def least_error(f, steps):
    L, best = len(f), {0: 0.0}  # words written so far -> the least that they have cost
    for _ in range(steps):
        best = {m: min(best[b] + (m - b) * float(f[b]) for b in best if b < m) for m in range(min(best) + 1, L + 1)}
    return best[L] - float(f.sum())


def least_error_by_recursion(f, steps):
    def from_here(m, left):
        if left == 1:
            return (len(f) - m) * float(f[m])
        return min(k * float(f[m]) + from_here(m + k, left - 1) for k in range(1, len(f) - m - left + 2))

    return from_here(0, steps) - float(f.sum())


def every_size(length, steps):
    """All ways to cut a length into so many steps."""
    for cuts in itertools.combinations(range(1, length), steps - 1):
        yield [b - a for a, b in itertools.pairwise((0, *cuts, length))]


def least_error_truth(f, steps):
    return min(factorisation_error_truth(f, sizes) for sizes in every_size(len(f), steps))


def least_error_cases(g):
    tilt = number(g, 0.02, 0.06)
    steep = doubles(2.4, 1.9, 1.55, 1.3, 1.1, 0.95, 0.85, 0.8) + tilt * torch.arange(8).flip(0)
    return (
        Case((doubles(3.0, 1.2, 1.0, 0.9, 0.85), 2), "f = (3, 1.2, 1, 0.9, 0.85) and 2 steps"),
        Case((steep, 3), "8 words in 3 steps"),
    )


def with_sizes(choose):
    return lambda f, steps: factorisation_error_truth(f, choose(f, steps))


def one_by_one_then_the_rest(f, steps):
    return [1] * (steps - 1) + [len(f) - steps + 1]


LEAST_ERROR = Exercise(
    id="22.5",
    name="least_error",
    stub='''
def least_error(f, steps):
    """The smallest `factorisation_error` that any sizes of so many steps can reach, a number in nats.

    f: (L,), the information profile. steps: 1 to L. Every step writes at least one word.
    """
    ...  # your code
''',
    solution=least_error,
    alternative=least_error_by_recursion,
    why=(
        "The cost of a step depends only on where it begins and how many words it writes. So the cheapest way to m\n"
        "words after i steps is the cheapest way to b words after i - 1 steps, plus one step from b to m, for the\n"
        "best b: dynamic programming, with L² small sums for each step."
    ),
    truth=least_error_truth,
    cases=least_error_cases,
    hints=(
        "For L = 5 you may try all sizes: `itertools.combinations` of the places where a step ends.",
        "Let best[m] be the least cost of m words after i steps. How does best follow from the one before?",
        "best_new[m] = min over b < m of best[b] + (m - b) f(b). Start with best = {0: 0}.",
        "At the end subtract the sum of f.",
    ),
    wrong=(
        Wrong(
            "even steps",
            with_sizes(lambda f, steps: discrete.even_sizes(len(f), steps)),
            "You take even steps. At the beginning, where f falls steeply, steps should be smaller.",
            "most public samplers",
        ),
        Wrong(
            "single words first",
            with_sizes(one_by_one_then_the_rest),
            "You write single words and then all the rest. That is not always the best: try other sizes.",
            UNSEEN,
        ),
        Wrong(
            "large steps first",
            with_sizes(lambda f, steps: one_by_one_then_the_rest(f, steps)[::-1]),
            "You write many words first. There f is large and falls steeply, so that is the dearest place for it.",
            UNSEEN,
        ),
        Wrong(
            "the end of each step",
            lambda f, steps: min(
                spent(lambda f, m, k: k * f[m + k - 1])(f, sizes) for sizes in every_size(len(f), steps)
            ),
            "You take f at the end of each step. The words of a step do not know each other: take f where it begins.",
            UNSEEN,
        ),
        Wrong(
            "the entropy is not subtracted",
            lambda f, steps: least_error(f, steps) + float(f.sum()),
            "You return what the sentences cost altogether. Subtract the sum of f.",
            UNSEEN,
        ),
        Wrong(
            "one step too many",
            lambda f, steps: least_error(f, steps + 1),
            "You used one step more than you were given.",
            UNSEEN,
        ),
        Wrong(
            "one step too few",
            lambda f, steps: least_error(f, steps - 1),
            "You used one step less than you were given.",
            UNSEEN,
        ),
    ),
)


# 22.6 three_drinks


def three_drinks():
    entropy_of_a_word = math.log(3)
    entropy_of_a_pair = math.log(3)  # three drinks, equally likely: the first word decides the second
    return 2 * entropy_of_a_word - entropy_of_a_pair


THREE_DRINKS = Question(
    id="22.6",
    name="three_drinks",
    stub='three_drinks = None  # the KL, in nats, of both words of "ice cream", "hot tea", "cold beer" drawn at once',
    right=(1.09, 1.11),
    solution=three_drinks,
    why=(
        "Each word alone has the entropy ln 3, and the pair has ln 3 as well. Drawn at once the words cost 2 ln 3,\n"
        "so the KL is ln 3 = 1.10. One drink in three is real, and e^-KL says just that."
    ),
    hints=(
        "What is the entropy of the first word alone? And of the second word when the first is known?",
        "f(0) = ln 3 and f(1) = 0. One step of two words begins with nothing visible.",
        "2 f(0) - (f(0) + f(1)).",
    ),
    wrong=(
        WrongValue("no error", (-0.01, 0.01), "The words are drawn independently, and hot cream is no drink.", UNSEEN),
        WrongValue("two drinks", (0.68, 0.70), "That is ln 2, for two drinks. Here there are three.", UNSEEN),
        WrongValue(
            "both words",
            (2.19, 2.21),
            "That is 2 ln 3, what both words cost. Subtract the entropy of a drink.",
            UNSEEN,
        ),
        WrongValue("bits", (1.58, 1.59), "That is the answer in bits. In nats it is ln 3.", UNSEEN),
        WrongValue(
            "the valid share", (0.32, 0.34), "That is the share of real drinks, e^-KL. The KL is asked.", UNSEEN
        ),
        WrongValue("the invalid share", (0.66, 0.67), "That is the share of false drinks. The KL is asked.", UNSEEN),
    ),
)


# 22.7 fewest_steps

PROFILE_OF_ENGLISH = (2.393, 1.938, 1.572, 1.286, 1.08, 0.936, 0.839, 0.765, 0.708, 0.667, 0.65, 0.636)


def fewest_steps():
    f = torch.tensor(PROFILE_OF_ENGLISH)
    low, high = 1, 4096
    while low < high:
        T = (low + high) // 2
        error = discrete.chain_error(f, discrete.masked(18), torch.linspace(1, 0, T + 1))
        low, high = (low, T) if error < 0.1 else (T + 1, high)
    return low


FEWEST_STEPS = Question(
    id="22.7",
    name="fewest_steps",
    stub="fewest_steps = None  # even steps of the masked chain for a KL below 0.1 nats, within 5 %",
    right=(100, 111),
    solution=fewest_steps,
    why=(
        "The KL falls as 10.5 / T, so T must be about 105: nine times as many steps as there are words. The chain\n"
        "leaves it to chance when a word is unmasked: in most steps none is, and in some two are."
    ),
    hints=(
        "`discrete.chain_error(f, path, times)` is the KL of a chain with these times.",
        "Try T = 12, 48 and 200. What is T times the KL?",
        "Bisect between 12 and 200, or divide the limit of T times the KL by 0.1.",
    ),
    wrong=(
        WrongValue(
            "one step for a word",
            (11, 13),
            "With as many steps as words the KL is still 0.9: some steps unmask several words, and others none.",
            UNSEEN,
        ),
        WrongValue("a KL below 1", (9, 10.9), "For a KL below 1 this is enough. Here it must be below 0.1.", UNSEEN),
        WrongValue("a KL below 0.01", (1000, 1110), "That is for 0.01. Here 0.1 is enough.", UNSEEN),
        WrongValue("even sizes for times", (22, 24), "Twice as many steps as words have a KL of 0.45.", UNSEEN),
        WrongValue("the square of the length", (143, 145), "L² is enough, but fewer do. Try out.", UNSEEN),
    ),
)

# 22.8 on paper, 22.9 open

VALID_SHARE = Explanation(
    id="22.8",
    name="the valid share",
    task="Show that of the sentences of any writer q at least the share e^-KL(p | q) belongs to the language p.",
    model=(
        "Let v be the share that q gives to sentences of the language. Sentences of p all belong to it. By Jensen's "
        "inequality, -KL(p | q) = E_p[ln (q / p)] is at most ln E_p[q / p]. The last mean is the sum of q over all "
        "sentences with p > 0, which is v. So -KL is at most ln v, and v is at least e^-KL. Equality holds where q / p "
        "is the same for all sentences of the language: then q is the language, mixed with nonsense, as in the example "
        "of the drinks. The opposite does not hold: a writer who knows one sentence has v = 1 and an infinite KL."
    ),
    look_for=(
        "Jensen's inequality for the logarithm, or the data-processing inequality for valid and invalid.",
        "The mean of q / p under p is the sum of q over the language, which is the valid share.",
        "Validity 1 does not mean that KL is 0.",
    ),
    hints=(
        "Write -KL as a mean under p of a logarithm.",
        "The logarithm is concave: the mean of a logarithm is at most the logarithm of the mean.",
        "What is the sum of p times q / p over all sentences with p > 0?",
    ),
)

ALL_AT_ONCE = Explanation(
    id="22.9",
    name="all at once",
    task="A newspaper writes that diffusion models are fast because they write all words at once: what is true of it?",
    model=(
        "A network gives a distribution for all hidden words at once, in one evaluation. But words that are drawn "
        "together do not know of each other, and even an exact network then pays the area between the staircase and "
        "the information profile. In the small English, six steps for twelve words already lose almost half of the "
        "sentences. What may be gained depends on the text: where the rest follows from what is there, f is near 0, "
        "and many words may be written at once without loss. A fair comparison fixes an equal KL or an equal quality, "
        "and counts evaluations and their cost; a left-to-right model keeps what it computed for earlier words, and "
        "a masked model computes all places anew."
    ),
    look_for=(
        "The distribution of all words comes at once, and the words are drawn independently: that has a price.",
        "The price depends on the information profile of the text.",
        "Compare at equal quality, and count the cost of an evaluation.",
    ),
    hints=(
        "What does one evaluation of the network give, and what does it not give?",
        "For which texts is f(m) nearly flat or nearly 0 from some m on?",
        "Which quantity would you keep equal when you compare the times?",
    ),
)

EXERCISES = (
    *(REVERSE_PROBABILITIES, PROFILE, FACTORISATION_ERROR, MASKED_LOSS),
    *(LEAST_ERROR, THREE_DRINKS, FEWEST_STEPS, VALID_SHARE, ALL_AT_ONCE),
)
