"""The path of tokens against matrix products and sums over all sentences; samplers against what they must cost."""

import itertools
import math

import pytest
import torch
from torch import nn

from minidiff import discrete, samplers, schedules
from minidiff.discrete import TokenDenoiser, TokenPath, VectorDenoiser, masked, uniform
from minidiff.exact import finite_denoiser
from minidiff.languages import Language, small_english
from minidiff.networks import TokenTransformer, initialised, multi_head_attention
from minidiff.optimizers import muon_for
from minidiff.training import Batch

UNEVEN = TokenPath(torch.tensor([0.5, 0.3, 0.2]), 3, lambda t: torch.cos(torch.pi / 2 * t) ** 2)
PATHS = {"masked": masked(3), "uniform": uniform(3), "uneven": UNEVEN}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
T, S = torch.tensor(0.7), torch.tensor(0.4)
TINY = Language.from_rules(
    {
        "start": [("a", "start", 1.0), ("b", "after b", 3.0)],
        "after b": [("a", "start", 0.5), ("c", "after b", 0.3), ("b", "start", 0.2)],
    },
    "start",
)
EVERY = torch.tensor(list(itertools.product(range(3), repeat=4)))
P_EVERY = TINY.log_prob(EVERY).exp()


def tokens(path, generator, shape=(6, 4)):
    """x0, and an x_t that it may become."""
    x0 = torch.randint(path.vocabulary, shape, generator=generator)
    return x0, path.perturb(x0, T, torch.rand(shape, generator=generator))


# --- the path --------------------------------------------------------------------------------------------------------


@every_path
def test_transitions_make_a_chain(path):
    """Chapman-Kolmogorov: from 0 to s to t is from 0 to t, each row sums to 1, and at t = 1 nothing is left of x0."""
    zero = torch.tensor(0.0)
    to_s, on, to_t = path.transition(S, zero), path.transition(T, S), path.transition(T, zero)
    torch.testing.assert_close(to_s @ on, to_t)
    torch.testing.assert_close(to_t.sum(1), torch.ones(path.size))
    torch.testing.assert_close(path.transition(torch.tensor(1.0), zero), path.noise.expand(path.size, -1))


@every_path
def test_perturbed_tokens_have_the_probabilities_of_the_path(path, make_generator):
    """Frequencies at 40,000 tokens, 6.5 standard errors; a right one fails once in 10^9."""
    n = 40_000
    for word, t in itertools.product(range(path.vocabulary), (torch.tensor(0.2), T)):
        x0 = torch.full((n, 1), word)
        x_t = path.perturb(x0, t, torch.rand(n, 1, generator=make_generator(1)))
        share = torch.bincount(x_t[:, 0], minlength=path.size) / n
        expected = path.transition(t, torch.tensor(0.0))[word]
        assert bool(((share - expected).abs() <= 6.5 * (expected * (1 - expected) / n).sqrt()).all())


def test_perturb_takes_a_time_for_each_sentence(make_generator):
    x0, u = torch.ones(3, 5, dtype=torch.int64), torch.rand(3, 5, generator=make_generator(1))
    t = torch.tensor([0.0, 0.5, 1.0])
    rows = [PATHS["masked"].perturb(x0[i : i + 1], t[i], u[i : i + 1]) for i in range(3)]
    assert torch.equal(PATHS["masked"].perturb(x0, t, u), torch.cat(rows))
    assert torch.equal(rows[0], x0[:1]) and torch.equal(rows[2], torch.full((1, 5), 3))


@every_path
def test_the_posterior_is_bayes_rule_by_counting(path, make_generator):
    """q(x_s | x_t, x0) against the joint of a chain x0 -> x_s -> x_t, entry by entry."""
    zero = torch.tensor(0.0)
    x0, x_t = tokens(path, make_generator(2))
    joint = path.transition(S, zero)[:, :, None] * path.transition(T, S)[None]  # (x0, x_s, x_t)
    expected = joint / joint.sum(1, keepdim=True)
    found = path.posterior(x_t, x0, T, S)
    torch.testing.assert_close(found, expected[x0, :, x_t])
    assert found.shape == (*x0.shape, path.size)


@every_path
def test_a_step_is_the_mean_of_the_posterior_over_x0(path, make_generator):
    g = make_generator(3)
    _, x_t = tokens(path, g)
    of_x0 = path.likelihood(x_t, T)
    table = torch.rand(*x_t.shape, path.vocabulary, generator=g) * (of_x0 > 0)
    table = table / table.sum(-1, keepdim=True)
    expected = torch.zeros(*x_t.shape, path.size)
    for word in range(path.vocabulary):
        posterior = path.posterior(x_t, torch.full_like(x_t, word), T, S).nan_to_num()
        expected += table[..., word, None] * posterior
    torch.testing.assert_close(path.step(x_t, table, T, S), expected)


@every_path
def test_one_step_of_the_exact_chain_is_the_exact_reverse_law(path):
    """p(x_s of one word | x_t), against the sum over all 81 sentences and all x_s: also for noise that is a word."""
    x_t = torch.tensor([[1, path.size - 1, 0, path.size - 1]])
    zero = torch.tensor(0.0)
    to_s, on = path.transition(S, zero).double(), path.transition(T, S).double()
    expected = []
    for place in range(4):
        ways = (to_s @ on)[EVERY, x_t]  # (81, 4), q(x_t | x0) of each place
        others = ways[:, [k for k in range(4) if k != place]].prod(1)
        joint = torch.einsum("n,nu,u->u", P_EVERY * others, to_s[EVERY[:, place]], on[:, x_t[0, place]])
        expected.append(joint / joint.sum())
    table = TokenDenoiser(lambda likelihood: TINY.marginals(likelihood.double(), slip=0.0), path)(x_t, T)
    torch.testing.assert_close(path.step(x_t, table, T, S)[0], torch.stack(expected), rtol=1e-5, atol=1e-7)


def test_without_the_division_a_step_counts_x_t_twice():
    """The wrong version of the notebook, as D3PM writes it for another table: right for masks, wrong for words."""
    for path, right in ((masked(3), True), (uniform(3), False)):
        x_t = torch.tensor([[1, path.size - 1, 0, path.size - 1]])
        table = TokenDenoiser(lambda likelihood: TINY.marginals(likelihood, slip=0.0), path)(x_t, T)
        before = table @ path.transition(S, torch.tensor(0.0))[: path.vocabulary]
        joint = path.transition(T, S)[:, x_t].movedim(0, -1) * before
        wrong = joint / joint.sum(-1, keepdim=True)
        assert (float((wrong - path.step(x_t, table, T, S)).abs().max()) < 1e-6) == right


def test_the_prior_is_the_noise(make_generator):
    assert torch.equal(masked(3).prior((2, 5), make_generator(1)), torch.full((2, 5), 3))
    share = torch.bincount(UNEVEN.prior((200, 200), make_generator(1)).flatten()) / 40_000
    assert float((share - UNEVEN.noise).abs().max()) < 6.5 * 0.5 / 200


# --- denoisers -------------------------------------------------------------------------------------------------------


@every_path
def test_the_exact_denoiser_is_bayes_rule_over_all_sentences(path, make_generator):
    x0 = EVERY[P_EVERY > 0][:: max(1, int((P_EVERY > 0).sum()) // 7)]
    x_t = path.perturb(x0, T, torch.rand(x0.shape, generator=make_generator(4)))
    ways = path.transition(T, torch.tensor(0.0)).double()[EVERY[:, None], x_t[None]].prod(-1)  # (81, B)
    joint = P_EVERY[:, None] * ways
    expected = torch.einsum("nb,nlv->blv", joint / joint.sum(0), nn.functional.one_hot(EVERY, 3).double())
    found = TokenDenoiser(TINY.marginals, path)(x_t, T)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5)


def test_for_masks_the_time_does_not_matter():
    denoise, x_t = TokenDenoiser(TINY.marginals, masked(3)), torch.tensor([[3, 1, 3, 0]])
    torch.testing.assert_close(denoise(x_t, torch.tensor(0.2)), denoise(x_t, torch.tensor(0.9)))


def test_words_as_vectors_have_the_denoiser_of_a_finite_data_set(make_generator):
    """`exact.finite_denoiser` knows no language: 81 points with repetitions in the place of probabilities."""
    path = schedules.cosine()
    two = Language.from_rules(
        {"s": [("a", "a", 1.0), ("b", "b", 3.0)], "a": [("a", "s", 1.0)], "b": [("b", "s", 1.0)]}, "s"
    )
    sentences = torch.tensor([[0, 0], [1, 1], [1, 1], [1, 1]])  # a quarter and three quarters
    data = discrete.one_hot(sentences, 2).double()
    x_t = data + torch.randn(4, 2, 2, generator=make_generator(5), dtype=torch.float64)
    exact = finite_denoiser(data, path)(x_t, T.double())
    found = VectorDenoiser(lambda likelihood: two.marginals(likelihood, slip=0.0), path)(x_t, T.double())
    torch.testing.assert_close(found, exact)
    assert float(data.square().mean()) == pytest.approx(1)


# --- samplers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [discrete.at_random, discrete.left_to_right, discrete.most_certain])
def test_one_word_at_a_time_writes_the_language(order, make_generator):
    """Frequencies of all sentences of TINY, chi-squared at 20,000; a right one fails once in 10^9."""
    denoise, path, n = TokenDenoiser(TINY.marginals, masked(3)), masked(3), 20_000
    start = torch.full((n, 4), 3)
    x = samplers.last(discrete.unmask(denoise, path, start, [1] * 4, order, generator=make_generator(6)))
    count = torch.bincount((x * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).double()
    kept, expected = count[P_EVERY > 0], n * P_EVERY[P_EVERY > 0]
    assert float(count[P_EVERY == 0].sum()) <= 5  # slips
    assert float(((kept - expected) ** 2 / expected).sum()) < len(kept) + 6.5 * math.sqrt(2 * len(kept)) + 30


def test_choosing_the_likeliest_draw_is_biased(make_generator):
    denoise, path, n = TokenDenoiser(TINY.marginals, masked(3)), masked(3), 20_000
    how = {"generator": make_generator(7)}
    x = samplers.last(discrete.unmask(denoise, path, torch.full((n, 4), 3), [1] * 4, discrete.likeliest_draw, **how))
    surprise = -TINY.log_prob(x)
    assert float(surprise[surprise.isfinite()].mean()) < TINY.entropy(4) - 0.2


def exact_profile() -> torch.Tensor:
    """f(m) of TINY by sums over all sentences and all sets of visible places."""
    found = []
    for m in range(4):
        total, sets = 0.0, list(itertools.combinations(range(4), m))
        for seen, place in ((seen, place) for seen in sets for place in range(4) if place not in seen):
            cells = {}
            for window, p in zip(EVERY.tolist(), P_EVERY.tolist(), strict=True):
                key = tuple(window[k] for k in seen)
                cells.setdefault(key, [0.0] * 3)[window[place]] += p
            total += sum(sum(-p * math.log(p / sum(cell)) for p in cell if p > 0) for cell in cells.values())
        found.append(total / len(sets) / (4 - m))
    return torch.tensor(found)


def test_the_profile_is_that_of_all_sentences_and_sums_to_the_entropy(make_generator):
    exact = exact_profile()
    assert float(exact.sum()) == pytest.approx(TINY.entropy(4), rel=1e-6)
    denoise, g = TokenDenoiser(TINY.marginals, masked(3)), make_generator(8)
    found = discrete.information_profile(denoise, masked(3), TINY.sample(6000, 4, g), generator=g)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.05)  # ten standard errors


def law_of_samples(sizes) -> torch.Tensor:
    """The exact probability with which `unmask` at random places writes each of the 81 windows: a mean over orders."""
    denoise = TokenDenoiser(lambda likelihood: TINY.marginals(likelihood.double(), slip=0.0), masked(3))
    total, orders = torch.zeros(81, dtype=torch.float64), list(itertools.permutations(range(4)))
    for order in orders:
        p, done = torch.ones(81, dtype=torch.float64), 0
        for size in sizes:
            seen, now = list(order[:done]), list(order[done : done + size])
            x = torch.full_like(EVERY, 3)
            x[:, seen] = EVERY[:, seen]
            table = denoise(x, torch.tensor(0.5)).nan_to_num()
            for place in now:
                p = p * table[torch.arange(81), place, EVERY[:, place]]
            done += size
        total += p / len(orders)
    return total


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [2, 2], [1, 3], [4]])
def test_the_error_bounds_the_exact_kl_and_the_valid_share(sizes):
    """The area above the profile is the mean KL over orders, which the KL of the mixture of orders cannot exceed."""
    q = law_of_samples(sizes)
    seen = P_EVERY > 0
    kl = float((P_EVERY[seen] * (P_EVERY[seen] / q[seen]).log()).sum())
    area = discrete.factorisation_error(exact_profile(), sizes)
    assert -1e-6 < kl <= area + 1e-6
    assert float(q[seen].sum()) >= math.exp(-area) - 1e-6
    if sizes in ([1, 1, 1, 1], [4]):
        assert kl == pytest.approx(area, abs=1e-6)  # one order is as good as another there


def test_best_sizes_are_best_of_all(make_generator):
    profile = torch.rand(9, generator=make_generator(9)).sort(descending=True).values
    for steps in range(1, 10):
        all_sizes = (
            [b - a for a, b in itertools.pairwise((0, *cuts, 9))]
            for cuts in itertools.combinations(range(1, 9), steps - 1)
        )
        least = min(discrete.factorisation_error(profile, sizes) for sizes in all_sizes)
        found = discrete.best_sizes(profile, steps)
        assert len(found) == steps and discrete.factorisation_error(profile, found) == pytest.approx(least, abs=1e-6)


def test_the_error_of_a_chain_is_the_mean_over_its_random_sizes(make_generator):
    """Against 4,000 simulated chains: how many words each step writes is binomial. Five standard errors."""
    profile, times, g = exact_profile(), torch.tensor([1.0, 0.8, 0.5, 0.0]), make_generator(10)
    errors = []
    for u in torch.rand(4000, 4, generator=g):
        sizes = [int(((u < 1 - s) & (u >= 1 - t)).sum()) for t, s in itertools.pairwise(times)]
        errors.append(discrete.factorisation_error(profile, [size for size in sizes if size]))
    errors = torch.tensor(errors)
    found = discrete.chain_error(profile, masked(3), times)
    assert abs(found - float(errors.mean())) < 5 * float(errors.std()) / math.sqrt(4000)


@every_path
def test_a_chain_of_many_steps_writes_the_language(path, make_generator):
    """80 steps, 3,000 sentences: the share that is no sentence, and the frequencies, as total variation."""
    denoise, n, g = TokenDenoiser(TINY.marginals, path), 3000, make_generator(11)
    x = samplers.last(discrete.token_chain(denoise, path, path.prior((n, 4), g), torch.linspace(1, 0, 81), generator=g))
    share = torch.bincount((x * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81) / n
    assert float((share - P_EVERY).abs().sum()) / 2 < 0.1


def test_a_sampler_reports_every_step_and_draws_nothing_else(make_generator):
    denoise, path = TokenDenoiser(TINY.marginals, masked(3)), masked(3)
    how = {"order": discrete.left_to_right}
    states = list(discrete.unmask(denoise, path, torch.full((2, 4), 3), [1, 3], **how, generator=make_generator(12)))
    assert [int((state.x == 3).sum()) for state in states] == [6, 0] and bool((states[0].x[:, 0] < 3).all())
    assert [float(state.t) for state in states] == [0.75, 0.0]
    again = list(discrete.unmask(denoise, path, torch.full((2, 4), 3), [1, 3], **how, generator=make_generator(12)))
    assert torch.equal(states[-1].x, again[-1].x)


# --- losses and network ----------------------------------------------------------------------------------------------


class ExactLogits(nn.Module):
    """The exact posterior in the place of a network."""

    def forward(self, likelihood):
        return TINY.marginals(likelihood, slip=1e-9).log()


def test_the_masked_loss_of_the_exact_posterior_is_the_entropy_per_word(make_generator):
    """Mean over 8,000 sentences, five standard errors; and BERT's share of hidden words has another one."""
    g = make_generator(13)
    batch = Batch(TINY.sample(8000, 4, g))
    losses = discrete.masked_objective(masked(3))(ExactLogits(), batch, g)
    assert abs(float(losses.mean()) - TINY.entropy(4) / 4) < 5 * float(losses.std()) / math.sqrt(8000)
    fifteen = discrete.fifteen_percent_objective(masked(3))(ExactLogits(), batch, g)
    assert float(fifteen.mean()) < TINY.entropy(4) / 4 - 0.05


@pytest.mark.parametrize("path", [uniform(3), UNEVEN], ids=["uniform", "uneven"])
def test_the_loss_of_tokens_is_the_entropy_of_the_table(path, make_generator):
    g = make_generator(14)
    losses = discrete.token_objective(path)(ExactLogits(), Batch(TINY.sample(4000, 4, g)), g)
    x0, t = TINY.sample(4000, 4, g), 1 - torch.arange(4000) / 4000
    x_t = path.perturb(x0, t, torch.rand(x0.shape, generator=g))
    likelihood = torch.stack([path.likelihood(row[None], time)[0] for row, time in zip(x_t, t, strict=True)])
    entropies = torch.special.entr(TINY.marginals(likelihood)).sum(-1).mean(1)
    spread = math.hypot(float(losses.std()), float(entropies.std())) / math.sqrt(4000)
    assert abs(float(losses.mean() - entropies.mean())) < 6 * spread


def test_the_loss_of_vectors_is_the_entropy_of_the_table(make_generator):
    g, path = make_generator(15), schedules.cosine()
    objective = discrete.vector_objective(path, 3)
    draws = objective.draw(Batch(TINY.sample(4000, 4, g)), g)
    assert 0.35 <= float(draws.t.min()) and float(draws.t.max()) <= 1
    losses = objective.loss(ExactLogits(), draws)
    x_t = path.perturb(discrete.one_hot(draws.x0, 3), draws.t, draws.eps)
    entropies = torch.special.entr(TINY.marginals(discrete.vector_likelihood(path, x_t, draws.t))).sum(-1).mean(1)
    assert abs(float((losses - entropies).mean())) < 6 * float((losses - entropies).std()) / math.sqrt(4000)


@pytest.mark.parametrize("causal", [False, True])
def test_the_network_sees_what_it_may_see(causal, make_generator):
    net = initialised(lambda: TokenTransformer(5, 6, width=16, layers=2, heads=2, causal=causal), make_generator(16))
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=make_generator(17)))
    x = torch.rand(2, 6, 5, generator=make_generator(18)).requires_grad_()
    (seen,) = torch.autograd.grad(net(x)[0, 2].square().sum(), x)
    looked_at = seen[0].abs().sum(-1) > 0
    assert looked_at.tolist() == [True] * 3 + [not causal] * 3 and float(seen[1].abs().sum()) == 0
    torch.testing.assert_close(net(x), net(7 * x))  # rows may be scaled at will
    assert {id(weight) for weight in net.hidden_weights()} <= {id(weight) for weight in net.parameters()}
    assert len(net.hidden_weights()) == 8


def test_attention_adds_a_number_for_each_distance(make_generator):
    """Against the formula, for one head after the other; a bias of -inf is a mask."""
    q, k, v = (torch.randn(2, 3, 4, generator=make_generator(21, part)) for part in range(3))
    bias = torch.randn(2, 3, 3, generator=make_generator(22))
    found = multi_head_attention(q, k, v, heads=2, bias=bias)
    for head, part in enumerate((slice(0, 2), slice(2, 4))):
        weights = (q[..., part] @ k[..., part].mT / 2**0.5 + bias[head]).softmax(-1)
        torch.testing.assert_close(found[..., part], weights @ v[..., part])
    mask = torch.ones(3, 3, dtype=torch.bool).tril()
    banned = torch.zeros(3, 3).masked_fill(~mask, -math.inf)
    by_mask = multi_head_attention(q, k, v, heads=2, mask=mask.expand(2, 3, 3))
    torch.testing.assert_close(multi_head_attention(q, k, v, heads=2, bias=banned), by_mask)


def test_muon_takes_the_hidden_weights_and_adamw_the_rest(make_generator):
    net = initialised(lambda: TokenTransformer(5, 6, width=16, layers=2, heads=2), make_generator(23))
    hidden, others = muon_for(net, net.hidden_weights(), 0.1, 0.2).param_groups
    assert [id(p) for p in hidden["params"]] == [id(p) for p in net.hidden_weights()]
    assert len(hidden["params"]) + len(others["params"]) == len(list(net.parameters()))
    assert (hidden["lr"], others["lr"]) == (0.1, 0.2 * 0.1)


def test_a_causal_network_is_told_the_word_before():
    logits = {}

    class Probe(nn.Module):
        length, vocabulary = 4, 3

        def forward(self, likelihood):
            logits["seen"] = likelihood
            return torch.zeros_like(likelihood)

    x0 = torch.tensor([[2, 0, 1, 1]])
    losses = discrete.next_word_objective(3)(Probe(), Batch(x0), None)
    assert torch.equal(logits["seen"][0, 0], torch.ones(3)) and logits["seen"][0, 1:].argmax(-1).tolist() == [2, 0, 1]
    assert float(losses) == pytest.approx(math.log(3))


def test_a_causal_network_writes_one_word_after_the_other(make_generator):
    class Next(nn.Module):
        length, vocabulary = 4, 3

        def forward(self, likelihood):  # the word after v is v + 1 modulo 3, after nothing it is 0
            first = likelihood.sum(-1, keepdim=True) > 1
            return 100 * torch.where(first, torch.tensor([1.0, 0, 0]), likelihood.roll(1, -1))

    assert discrete.write_from_left(Next(), 2, generator=make_generator(19)).tolist() == [[0, 1, 2, 0]] * 2


# --- what makes no sense ---------------------------------------------------------------------------------------------

ALL_HIDDEN = torch.full((1, 4), 3)
DENOISE = TokenDenoiser(TINY.marginals, masked(3))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda g: masked(1), ValueError, "vocabulary"),
        (lambda g: masked(3).perturb(ALL_HIDDEN, T, torch.zeros(1, 4)), ValueError, "x0 must hold tokens from 0 to 2"),
        (lambda g: masked(3).perturb(ALL_HIDDEN.float(), T, torch.zeros(1, 4)), TypeError, "int64"),
        (lambda g: masked(3).perturb(ALL_HIDDEN * 0, T, torch.zeros(4)), ValueError, "u must have the shape"),
        (lambda g: masked(3).transition(torch.tensor(3), S), TypeError, "divide a step index"),
        (lambda g: DENOISE(ALL_HIDDEN + 1, T), ValueError, "from 0 to 3"),
        (lambda g: discrete.unmask(DENOISE, masked(3), ALL_HIDDEN, [3, 2], generator=g), ValueError, "add up"),
        (lambda g: discrete.unmask(DENOISE, masked(3), ALL_HIDDEN, [0], generator=g), ValueError, "sizes"),
        (lambda g: discrete.unmask(DENOISE, masked(3), ALL_HIDDEN, [1], generator=None), TypeError, "generator"),
        (lambda g: discrete.token_chain(DENOISE, masked(3), ALL_HIDDEN, T, generator=g), TypeError, "times"),
        (lambda g: discrete.factorisation_error(torch.ones(4), [1, 1]), ValueError, "add up"),
        (lambda g: discrete.best_sizes(torch.ones(4), 5), ValueError, "steps"),
        (lambda g: discrete.even_sizes(4, 0), ValueError, "steps"),
        (lambda g: TokenTransformer(5, 6, width=10), ValueError, "multiple of heads"),
        (
            lambda g: initialised(lambda: TokenTransformer(5, 6), g)(torch.zeros(2, 6, 4)),
            ValueError,
            "x must have shape",
        ),
    ],
)
def test_it_is_refused(call, error, says, make_generator):
    with pytest.raises(error, match=says):
        call(make_generator(20))


def test_the_small_english_in_numbers():
    """Even and best steps of the notebook, at a profile that was measured once."""
    profile = torch.tensor([2.393, 1.938, 1.572, 1.286, 1.08, 0.936, 0.839, 0.765, 0.708, 0.667, 0.65, 0.636])
    assert discrete.even_sizes(12, 6) == [2] * 6 and discrete.even_sizes(7, 3) == [2, 2, 3]
    assert discrete.factorisation_error(profile, [2] * 6) == pytest.approx(1.014, abs=1e-3)
    assert discrete.best_sizes(profile, 6) == [1, 1, 1, 2, 3, 4]
    assert discrete.chain_error(profile, masked(18), torch.linspace(1, 0, 13)) == pytest.approx(0.913, abs=2e-3)
    assert small_english().entropy(12) == pytest.approx(float(profile.sum()), abs=0.03)
