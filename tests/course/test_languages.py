"""Languages against sums over all sentences, and the forward-backward algorithm against Bayes' rule by enumeration."""

import itertools
import math

import pytest
import torch

from minidiff import generator
from minidiff.languages import Language, small_english, unicode_names

TINY = Language.from_rules(
    {
        "start": [("a", "start", 1.0), ("b", "after b", 3.0)],
        "after b": [("a", "start", 0.5), ("c", "after b", 0.3), ("b", "start", 0.2)],
    },
    "start",
)
EVERY = torch.tensor(list(itertools.product(range(3), repeat=4)))  # all windows of four words


def by_hand(window) -> float:
    """The probability of a window of TINY, read off its rules."""
    state, p = "start", 1.0
    for word in window.tolist():
        edges = {
            "start": {0: ("start", 0.25), 1: ("after b", 0.75)},
            "after b": {0: ("start", 0.5), 2: ("after b", 0.3), 1: ("start", 0.2)},
        }[state]
        if word not in edges:
            return 0.0
        state, step = edges[word]
        p *= step
    return p


def test_log_prob_is_that_of_the_rules_and_sums_to_one():
    p = torch.tensor([by_hand(window) for window in EVERY], dtype=torch.float64)
    assert float(p.sum()) == pytest.approx(1)
    torch.testing.assert_close(TINY.log_prob(EVERY).exp(), p)


def test_entropy_is_the_sum_over_all_sentences():
    p = TINY.log_prob(EVERY).exp()
    assert TINY.entropy(4) == pytest.approx(float(torch.special.entr(p).sum()), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_marginals_are_those_of_bayes_rule(dtype, make_generator):
    """Every place, every word, against the sum over all 81 sentences; the rows of the likelihood have any scale."""
    likelihood = (
        torch.rand(5, 4, 3, generator=make_generator(1), dtype=torch.float64)
        * torch.tensor([1.0, 7, 0.1, 3])[None, :, None]
    )
    joint = TINY.log_prob(EVERY).exp() * likelihood[:, torch.arange(4), EVERY].prod(-1)  # (5, 81)
    joint = joint / joint.sum(1, keepdim=True)
    expected = torch.einsum("bs,slv->blv", joint, torch.nn.functional.one_hot(EVERY, 3).double())
    found = TINY.marginals(likelihood.to(dtype), slip=0.0)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-12 if dtype == torch.float64 else 2e-6)


def test_a_contradiction_is_read_as_a_slip():
    """ "c c ..." cannot begin a sentence. With a slip the marginals are finite, and hardly move what is possible."""
    impossible = torch.nn.functional.one_hot(torch.tensor([[2, 2, 0, 0]]), 3).double()
    assert bool(TINY.marginals(impossible).isfinite().all())
    possible = torch.nn.functional.one_hot(torch.tensor([[1, 2, 0, 0]]), 3).double()
    torch.testing.assert_close(TINY.marginals(possible), possible, rtol=0, atol=1e-4)


def test_samples_have_the_probabilities_of_the_rules(make_generator):
    """Chi-squared over 81 windows at 40,000 draws; a right sampler fails once in 10^9."""
    x = TINY.sample(40_000, 4, make_generator(2))
    p = TINY.log_prob(EVERY).exp()
    count = torch.bincount((x * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).double()
    assert float(count[p == 0].sum()) == 0
    kept, expected = count[p > 0], 40_000 * p[p > 0]
    chi = float(((kept - expected) ** 2 / expected).sum())
    free = len(kept) - 1
    assert chi < free + 6.5 * math.sqrt(2 * free) + 30


def test_the_small_english_is_what_the_notebook_says(make_generator):
    language = small_english()
    assert (len(language.words), language.states, len(language.p)) == (18, 37, 143)
    assert language.entropy(12) == pytest.approx(13.459, abs=5e-4)
    x = language.sample(2000, 12, make_generator(3))
    assert -float(language.log_prob(x).mean()) == pytest.approx(language.entropy(12), abs=0.2)  # five standard errors


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("two birds that the small dog sees sleep .", True),
        ("two birds that the small dog sees sleeps .", False),  # the verb of the main clause agrees with the birds
        ("the birds that two dogs like see a cat .", True),
        ("the birds that two dogs likes see a cat .", False),
        ("a dogs sleep .", False),
        ("the dog sleeps . two cats sleep .", True),
        ("dog the sleeps .", False),
    ],
)
def test_numbers_agree_in_the_small_english(text, right):
    language = small_english()
    assert bool(language.log_prob(language.tokens(text)).isfinite()) == right
    assert language.text(language.tokens(text)) == [text]


def test_hidden_words_are_blanks():
    language = small_english()
    x = language.tokens("the _ sleeps _")
    assert x.tolist()[0][1] == 18 and language.text(x) == ["the _ sleeps _"]
    assert language.log_prob(x).tolist() == [-math.inf]


def test_names_of_unicode_are_those_of_every_python():
    words, names = unicode_names()
    assert (len(words), tuple(names.shape)) == (465, (5545, 8)) and words[0] == ""
    assert len({tuple(name) for name in names.tolist()}) == len(names)
    texts = {" ".join(words[word] for word in name if word) for name in names.tolist()}
    assert {"LATIN SMALL LETTER A WITH ACUTE", "GREEK SMALL LETTER ALPHA", "SPACE"} <= texts


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: Language.from_rules({"a": [("x", "b", 1.0)]}, "a"), ValueError, "must be a state"),
        (lambda: Language.from_rules({"a": [("x", "a", 1.0), ("x", "b", 1.0)], "b": []}, "a"), ValueError, "one edge"),
        (lambda: TINY.marginals(torch.ones(1, 4, 2)), TypeError, r"\(B, L, 3\)"),
        (lambda: TINY.marginals(torch.ones(1, 4, 3), slip=-1), ValueError, "slip"),
        (lambda: TINY.log_prob(torch.ones(1, 4)), TypeError, "int64"),
        (lambda: TINY.sample(2, 4, None), TypeError, "generator"),
        (lambda: TINY.sample(0, 4, generator(0)), ValueError, "n must"),
        (lambda: TINY.entropy(0), ValueError, "length"),
        (lambda: TINY.tokens("a x"), ValueError, "'x'"),
        (lambda: unicode_names(0), ValueError, "length"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
