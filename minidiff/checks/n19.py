"""The exercises of notebook 19, text to image: 19.1 to 19.3 in its flow, 19.4 to 19.8 at its end.

Those wrong answers that were not seen in public yet are waiting for the log of unknown answers.
"""

import torch

from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, normals
from minidiff.networks.attention import attention

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Text to image"
PAD, START = 0, 1


# 19.1 cross_attention


def cross_attention(q, k, v, mask):
    scores = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
    scores = scores.masked_fill(~mask[:, None, :], float("-inf"))
    return torch.softmax(scores, dim=2) @ v


def cross_attention_caption_by_caption(q, k, v, mask):
    read = []
    for queries, keys, values, real in zip(q, k, v, mask, strict=True):
        keys, values = keys[real], values[real]  # padding is left out altogether
        shares = torch.exp(queries @ keys.T / keys.shape[1] ** 0.5)
        read.append(shares / shares.sum(dim=1, keepdim=True) @ values)
    return torch.stack(read)


def cross_attention_truth(q, k, v, mask):
    return attention(q, k, v, mask[:, None])


def cross_attention_cases(g):
    plain = torch.tensor([[True, True, False]])
    key = torch.tensor([[[1.0], [-1.0], [2.0]]]).double()
    value = torch.tensor([[[1.0], [0.0], [10.0]]]).double()
    mask = torch.tensor([[True] * 4, [True, True, True, False], [True, True, False, False]])
    drawn = (normals(g, 3, 6, 5), normals(g, 3, 4, 5), normals(g, 3, 4, 2), mask)
    return (
        Case((torch.ones(1, 1, 1).double(), key, value, plain), "one position, two words (values 1 and 0) and a pad"),
        Case(drawn, "three captions of 4, 3 and 2 words, six positions, d = 5"),
    )


def with_scores(change=lambda s: s, scale=lambda q, k: q.shape[2] ** 0.5, dim=2, hidden=lambda mask: ~mask, off=None):
    """A cross-attention with something else about it."""

    def answer(q, k, v, mask):
        scores = change(q @ k.transpose(1, 2) / scale(q, k))
        scores = scores.masked_fill(hidden(mask)[:, None, :], -torch.inf if off is None else off)
        return torch.softmax(scores, dim=dim).nan_to_num() @ v

    return answer


def masked_afterwards(q, k, v, mask):
    weights = torch.softmax(q @ k.transpose(1, 2) / q.shape[2] ** 0.5, 2)
    return (weights * mask[:, None, :]) @ v


def mean_of_words(q, k, v, mask):
    real = mask[:, :, None].to(v.dtype)
    return ((real * v).sum(1, keepdim=True) / real.sum(1, keepdim=True)).expand(-1, q.shape[1], -1)


def nearest_word(q, k, v, mask):
    scores = (q @ k.transpose(1, 2)).masked_fill(~mask[:, None, :], -torch.inf)
    return torch.nn.functional.one_hot(scores.argmax(2), k.shape[1]).to(v.dtype) @ v


CROSS_ATTENTION = Exercise(
    id="19.1",
    name="cross_attention",
    stub='''
def cross_attention(q, k, v, mask):
    """What each position collects from the words of its caption: (B, N, e). One head, no projections.

    q: (B, N, d), the queries of N positions. k: (B, L, d) and v: (B, L, e), the keys and values of L words. mask:
    (B, L), True where there is a word and False where there is padding. Scores are divided by the square root of d.
    """
    ...  # your code
''',
    solution=cross_attention,
    alternative=cross_attention_caption_by_caption,
    why=(
        "Each position shares itself out among the words, so the softmax runs over the words, the last dimension.\n"
        "A score of minus infinity has the weight 0, and the other weights still sum to 1: padding is not there at all."
    ),
    truth=cross_attention_truth,
    cases=cross_attention_cases,
    hints=(
        "The scores are (B, N, L): `q @ k.transpose(1, 2)`, divided by the square root of d = q.shape[2].",
        "`scores.masked_fill(where, value)` wants True where something is to be replaced. Your mask is True at words.",
        "The mask is (B, L), the scores are (B, N, L): `mask[:, None, :]` has a 1 for the positions.",
    ),
    wrong=(
        Wrong(
            "mask inverted",
            with_scores(hidden=lambda mask: mask),
            "Your positions look at the padding and at no word: the mask is True where there is a word. PyTorch itself "
            "has both conventions: True means hidden for MultiheadAttention, and seen for "
            "scaled_dot_product_attention.",
            "rasbt/LLMs-from-scratch#1061",
        ),
        Wrong(
            "no mask",
            with_scores(hidden=torch.zeros_like),
            "Your positions look at the padding too, so the answer changes with the length to which captions are "
            "padded.",
            "huggingface/diffusers#8673",
        ),
        Wrong(
            "softmax over positions",
            with_scores(dim=1),
            "Your softmax runs over the positions: each word shares itself out among them, and what a position takes "
            "does not sum to one mean of values.",
            UNSEEN,
        ),
        Wrong(
            "no square root of d",
            with_scores(scale=lambda q, k: 1.0),
            "You do not divide the scores by the square root of d. With many features the softmax then picks one word, "
            "and hardly learns.",
            UNSEEN,
        ),
        Wrong(
            "divided by d",
            with_scores(scale=lambda q, k: q.shape[2]),
            "You divide the scores by d. Their standard deviation grows as its square root, so divide by that.",
            UNSEEN,
        ),
        Wrong(
            "times the square root of d",
            with_scores(scale=lambda q, k: q.shape[2] ** -0.5),
            "You multiply the scores by the square root of d, and should divide.",
            UNSEEN,
        ),
        Wrong(
            "the root of the number of words",
            with_scores(scale=lambda q, k: k.shape[1] ** 0.5),
            "You divide by the square root of the number of words. What counts is d, the number of features that are "
            "summed in a score.",
            UNSEEN,
        ),
        Wrong(
            "masked after the softmax",
            masked_afterwards,
            "You set the weights of the padding to 0 after the softmax. The other weights then sum to less than 1, the "
            "less the shorter the caption.",
            UNSEEN,
        ),
        Wrong(
            "masked with zero",
            with_scores(off=0.0),
            "You set the scores of the padding to 0. But exp(0) is 1: such a word still has a weight. Take minus "
            "infinity.",
            UNSEEN,
        ),
        Wrong(
            "the mean of the words",
            mean_of_words,
            "All your positions collect the same mean of all words: no query enters it.",
            UNSEEN,
        ),
        Wrong(
            "the nearest word only",
            nearest_word,
            "You take the value of the best word alone. A softmax mixes all words, so that the network can learn.",
            UNSEEN,
        ),
    ),
)


# 19.2 drop_captions


def drop_captions(y, p, g):
    lost = torch.rand(len(y), generator=g) < p
    nothing = torch.zeros_like(y)
    nothing[:, 0] = y[:, 0]
    return torch.where(lost[:, None], nothing, y)


def drop_captions_by_masking(y, p, g):
    lost = torch.bernoulli(torch.full((len(y), 1), p), generator=g).bool()
    words = torch.arange(y.shape[1]) >= 1  # all places but that of <start>
    return y.masked_fill(lost & words, 0)


def drop_captions_truth(y, p, g):
    kept = torch.rand(y.shape[0], 1, generator=g) >= p
    return torch.cat([y[:, :1], y[:, 1:] * kept], dim=1)


def drop_captions_cases(g):
    p = round(0.25 + 0.2 * float(torch.rand((), generator=g)), 3)
    y = torch.randint(2, 29, (60, 6), generator=g)
    y[:, 0] = START
    y[::3, 4:] = PAD
    two = torch.tensor([[1, 7, 8, 0], [1, 9, 4, 2]])
    return (
        Case((two.repeat(50, 1), 0.2, RNG), "the captions 1 7 8 0 and 1 9 4 2 (50 times each) and p = 0.2"),
        Case((y, p, RNG), f"60 captions of three or five words and p = {p}"),
    )


def drop_captions_view(out, y, p):
    null = torch.zeros_like(out)
    null[:, :, 0] = START
    lost, kept = (out == null).all(dim=2).double(), (out == y).all(dim=2).double()
    return {
        "the fraction of captions that say nothing, <start> alone": lost.mean(dim=1),
        "the fraction that is as it was": kept.mean(dim=1),
        "the square of the first fraction's distance to p": (lost.mean(dim=1) - p) ** 2,
        "the fraction of first tokens that are <start>": (out[:, :, 0] == START).double().mean(dim=1),
        "the fraction of neighbours that both say nothing": (lost[:, 1:] * lost[:, :-1]).mean(dim=1),
        "the mean token": out.flatten(1).mean(dim=1),
        "the mean token of the last words": out[:, :, -1].mean(dim=1),
    }


def chance(n, g):
    return torch.rand(n, generator=g)


def silent(y):
    nothing = torch.zeros_like(y)
    nothing[:, 0] = y[:, 0]
    return nothing


def drop_words(y, p, g):
    lost = chance(y.shape, g) < p
    lost[:, 0] = False
    return y.masked_fill(lost, PAD)


def another_caption(y, p, g):
    lost = chance(len(y), g) < p
    order = torch.randperm(len(y), generator=g)
    swapped = torch.where(lost[:, None], y[order], y)
    return swapped if not torch.equal(swapped, y) else y.roll(1, 0)


DROP_CAPTIONS = Exercise(
    id="19.2",
    name="drop_captions",
    stub='''
def drop_captions(y, p, g):
    """Captions, each of which says nothing with probability p, independently of the others: (B, L).

    y: (B, L), tokens. The first one of a caption is <start>, and 0 is padding. A caption that says nothing is <start>
    and padding. g: a generator.
    """
    ...  # your code
''',
    solution=drop_captions,
    alternative=drop_captions_by_masking,
    why=(
        "One uniform number for each caption decides; below p, all of its words become padding at once.\n"
        "The <start> stays: it is the only word that such a caption has, and a softmax over no word at all is NaN."
    ),
    truth=drop_captions_truth,
    cases=drop_captions_cases,
    view=drop_captions_view,
    hints=(
        "`torch.rand(len(y), generator=g) < p` says for each caption whether it is dropped.",
        "Make the caption that says nothing first: zeros in the form of y, with y's first column in the first column.",
        "`torch.where(lost[:, None], nothing, y)` chooses whole rows. Do not write into y itself.",
    ),
    wrong=(
        Wrong(
            "words are dropped",
            drop_words,
            "You drop single words, and not whole captions. The network then learns captions with holes, and hardly "
            "ever sees the one that guidance needs, which says nothing.",
            UNSEEN,
        ),
        Wrong(
            "1 - p",
            lambda y, p, g: torch.where((chance(len(y), g) > p)[:, None], silent(y), y),
            "You drop captions with probability 1 - p: the inequality is turned around.",
            "eje24/iap-diffusion-labs#3",
        ),
        Wrong(
            "one coin for all",
            lambda y, p, g: torch.where(chance(1, g)[:, None] < p, silent(y), y),
            "You toss one coin for the whole batch: all its captions are dropped, or none.",
            UNSEEN,
        ),
        Wrong(
            "<start> is dropped too",
            lambda y, p, g: torch.where((chance(len(y), g) < p)[:, None], torch.zeros_like(y), y),
            "Your dropped captions lose their <start> too, so they consist of padding alone. With the padding masked, "
            "no word is left to look at, and the softmax returns NaN.",
            UNSEEN,
        ),
        Wrong(
            "the first word stays",
            lambda y, p, g: torch.where(
                (chance(len(y), g) < p)[:, None], torch.cat([y[:, :2], torch.zeros_like(y[:, 2:])], 1), y
            ),
            "Your dropped captions keep their first word. Only <start>, the token before it, may stay.",
            UNSEEN,
        ),
        Wrong(
            "nothing is dropped",
            lambda y, p, g: y.clone(),
            "You drop no caption at all. Guidance needs a network that has learned to draw without one.",
            UNSEEN,
        ),
        Wrong(
            "another caption",
            another_caption,
            "You give some pictures the caption of another picture. The network then learns wrong captions, and not "
            "what to draw without one.",
            UNSEEN,
        ),
        Wrong(
            "every other word stays",
            lambda y, p, g: torch.where(
                (chance(len(y), g) < p)[:, None] & (torch.arange(y.shape[1]) % 2 == 1), torch.zeros_like(y), y
            ),
            "Your dropped captions keep some of their words. All tokens after <start> must become padding.",
            UNSEEN,
        ),
        Wrong(
            "filled with <start>",
            lambda y, p, g: torch.where((chance(len(y), g) < p)[:, None], torch.full_like(y, START), y),
            "You fill dropped captions with <start>. Fill them with padding, 0, and let only the first token be "
            "<start>.",
            UNSEEN,
        ),
    ),
)


# 19.3 share_that_obeys


def share_that_obeys(seen, asked, said):
    right = (seen == asked) | ~said
    return right.flatten(1).all(dim=1).double().mean()


def share_that_obeys_counting(seen, asked, said):
    obedient = 0
    for picture, wish, spoken in zip(seen, asked, said, strict=True):
        obedient += bool((picture[spoken] == wish[spoken]).all())
    return obedient / len(seen)


def share_that_obeys_truth(seen, asked, said):
    mistakes = ((seen != asked) & said).sum(dim=(1, 2))
    return (mistakes == 0).to(torch.float64).mean()


def share_that_obeys_cases(g):
    ask = torch.tensor([[[3, 0, 1], [7, 1, 0]]])
    see = torch.tensor([[[3, 1, 1], [7, 1, 0]]])
    words = torch.tensor([[[True, False, True], [True, True, False]]])
    n = 120
    asked = torch.cat([torch.randint(4, (n, 2, 1), generator=g), torch.randint(2, (n, 2, 2), generator=g)], dim=2)
    said = torch.rand(n, 2, 3, generator=g) < 0.5
    said[:, :, 0] = True
    wrong = torch.rand(n, 2, 3, generator=g) < torch.tensor([0.15, 0.25, 0.35])
    seen = torch.where(wrong, torch.cat([(asked[:, :, :1] + 1) % 4, 1 - asked[:, :, 1:]], dim=2), asked)
    seen[::5] = seen[::5].flip(1)  # some pictures with left and right exchanged
    return (
        Case((see, ask, words), "one picture that is right in all that is said, and wrong in one thing that is not"),
        Case((seen, asked, said), f"{n} pictures, a fifth of which with left and right exchanged"),
    )


def order_is_free(seen, asked, said):
    one, other = (((a == asked) | ~said).flatten(1).all(1) for a in (seen, seen.flip(1)))
    return (one | other).double().mean()


SHARE_THAT_OBEYS = Exercise(
    id="19.3",
    name="share_that_obeys",
    stub='''
def share_that_obeys(seen, asked, said):
    """The fraction of pictures that obey their caption, a number. A picture obeys if it shows all that is said.

    seen: (n, 2, 3), what a judge sees on the left and on the right: digit, thick (0 or 1), slanted (0 or 1). asked:
    (n, 2, 3), the same of the caption. said: (n, 2, 3), True where the caption says it; what is not said is free.
    """
    ...  # your code
''',
    solution=share_that_obeys,
    alternative=share_that_obeys_counting,
    why=(
        "What is not said counts as right, and a picture obeys only if all six entries are right.\n"
        "The mean comes last: a mean over entries would call a picture with one wrong digit 83 % obedient."
    ),
    truth=share_that_obeys_truth,
    cases=share_that_obeys_cases,
    hints=(
        "An entry is fine if it is as asked, or if the caption does not say it: `|` and `~`.",
        "`.flatten(1).all(dim=1)` is True for a picture all of whose entries are fine.",
        "The mean of True and False needs numbers: `.double().mean()`.",
    ),
    wrong=(
        Wrong(
            "what is not said counts",
            lambda seen, asked, said: (seen == asked).flatten(1).all(1).double().mean(),
            "You also count what the caption does not say. A caption that says 'seven' is obeyed by a thick seven and "
            "by a thin one.",
            UNSEEN,
        ),
        Wrong(
            "the mean over entries",
            lambda seen, asked, said: ((seen == asked) | ~said).double().mean(),
            "You take the mean over entries, so a picture with one wrong digit counts as mostly right. A picture obeys "
            "as a whole or not at all.",
            UNSEEN,
        ),
        Wrong(
            "all must be said",
            lambda seen, asked, said: ((seen == asked) & said).flatten(1).all(1).double().mean(),
            "You demand that the caption says everything. What it does not say is free, so an entry is fine where seen "
            "and asked are equal, or where nothing is said.",
            UNSEEN,
        ),
        Wrong(
            "the mean over what is said",
            lambda seen, asked, said: (seen == asked)[said].double().mean(),
            "You take the mean over all that is said in all captions. Count pictures: each obeys as a whole or not at "
            "all.",
            UNSEEN,
        ),
        Wrong(
            "the left place only",
            lambda seen, asked, said: ((seen == asked) | ~said)[:, 0].all(1).double().mean(),
            "You look at the left place only.",
            UNSEEN,
        ),
        Wrong(
            "the right place only",
            lambda seen, asked, said: ((seen == asked) | ~said)[:, 1].all(1).double().mean(),
            "You look at the right place only.",
            UNSEEN,
        ),
        Wrong(
            "the order is free",
            order_is_free,
            "You also accept pictures with left and right exchanged. Then a reader of bags of words would pass, though "
            "it does not know which digit is left.",
            "Yuksekgonul et al. 2023, abstract",
        ),
        Wrong(
            "digits only",
            lambda seen, asked, said: (seen == asked)[:, :, 0].all(1).double().mean(),
            "You look at the digits only. What a caption says about thickness and slant counts too.",
            UNSEEN,
        ),
        Wrong(
            "any in place of all",
            lambda seen, asked, said: (((seen == asked) | ~said).all(2)).any(1).double().mean(),
            "You accept a picture if one of its two places is right. Both must be.",
            UNSEEN,
        ),
        Wrong(
            "adjectives only",
            lambda seen, asked, said: ((seen == asked) | ~said)[:, :, 1:].flatten(1).all(1).double().mean(),
            "You look at the adjectives only, so a wrong digit goes unnoticed.",
            UNSEEN,
        ),
        Wrong(
            "the fraction that disobeys",
            lambda seen, asked, said: 1 - ((seen == asked) | ~said).flatten(1).all(1).double().mean(),
            "This is the fraction of pictures that do not obey.",
            UNSEEN,
        ),
    ),
)


# 19.4 the best of a bag


def best_of_a_bag():
    bag = sorted("thin three left of thick seven".split())
    nouns = [f"{adjective} {digit}" for adjective in ("thin", "thick") for digit in ("three", "seven")]
    captions = [f"{a} left of {b}" for a in nouns for b in nouns]
    return 1 / sum(sorted(caption.split()) == bag for caption in captions)


BEST_OF_A_BAG = Question(
    id="19.4",
    name="best_share",
    stub="best_share = None  # how often the best reader of bags of words obeys 'thin three left of thick seven'",
    right=(0.249, 0.251),
    solution=best_of_a_bag,
    why=(
        "Four captions have these words: either digit may be on the left, and either may be the thin one.\n"
        "All four are equally common in training, so the reader draws each of the four scenes a quarter of the time."
    ),
    hints=(
        "Which captions of the grammar consist of exactly these six words?",
        "The digits can be in two orders. For each of them, who may be thin?",
        "The pictures of all these captions come back at random, since the reader sees the same bag each time.",
    ),
    wrong=(
        WrongValue(
            "digits only",
            (0.499, 0.501),
            "A half is right for 'three left of seven'. Here the reader must also guess which digit is thin.",
            UNSEEN,
        ),
        WrongValue(
            "three guesses",
            (0.1249, 0.1251),
            "An eighth would be three guesses with two outcomes each. Once one digit is thin, the other is thick, so "
            "there are two guesses: who is thin, and who is on the left.",
            UNSEEN,
        ),
        WrongValue(
            "all orders of the words",
            (1 / 721, 1 / 719),
            "There are 720 orders of six words, but most of them are no captions.",
            UNSEEN,
        ),
        WrongValue(
            "a bag is enough",
            (0.999, 1.001),
            "A bag does not tell which digit is left, nor which is thin.",
            UNSEEN,
        ),
        WrongValue("impossible", (-0.001, 0.001), "By guessing, the reader is sometimes right: how often?", UNSEEN),
    ),
)


# 19.5 word_map


def word_map(weights, word, height, width):
    return weights[:, :, word].mean(dim=0).reshape(height, width)


def word_map_step_by_step(weights, word, height, width):
    picture = torch.zeros(height, width, dtype=weights.dtype)
    for position in range(height * width):
        row, column = divmod(position, width)
        picture[row, column] = weights[:, position, word].sum() / len(weights)
    return picture


def word_map_truth(weights, word, height, width):
    heads, _, words = weights.shape
    return torch.einsum("hyxl->lyx", weights.view(heads, height, width, words))[word] / heads


def word_map_cases(g):
    plain = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).double()
    drawn = torch.softmax(2 * normals(g, 3, 8, 5), dim=2)
    return (
        Case((plain, 1, 1, 2), "one head, two positions side by side, and word 1"),
        Case((drawn, 2, 2, 4), "three heads, 2 x 4 positions, five words, and word 2"),
    )


WORD_MAP = Exercise(
    id="19.5",
    name="word_map",
    stub='''
def word_map(weights, word, height, width):
    """How much each place of the picture looks at a word, the mean over the heads: (height, width).

    weights: (heads, height * width, L), as the softmax gives them; positions run along the rows of the picture. word:
    the place of the word in the caption.
    """
    ...  # your code
''',
    solution=word_map,
    alternative=word_map_step_by_step,
    why="Choose the word first, then the mean over the heads is one number for each position, row after row.",
    truth=word_map_truth,
    cases=word_map_cases,
    hints=(
        "weights[:, :, word] is (heads, positions).",
        "The mean over the heads is over dimension 0.",
        "`.reshape(height, width)` fills row after row, which is how the positions run.",
    ),
    wrong=(
        Wrong(
            "columns first",
            lambda weights, word, height, width: weights[:, :, word].mean(0).reshape(width, height).T,
            "Your map fills the picture column after column. The positions run along its rows.",
            UNSEEN,
        ),
        Wrong(
            "sum of the heads",
            lambda weights, word, height, width: weights[:, :, word].sum(0).reshape(height, width),
            "You add up the heads. With the mean, the maps of all words together are 1 at each place.",
            UNSEEN,
        ),
        Wrong(
            "one head",
            lambda weights, word, height, width: weights[0, :, word].reshape(height, width),
            "You show the first head only.",
            UNSEEN,
        ),
        Wrong(
            "the loudest head",
            lambda weights, word, height, width: weights[:, :, word].amax(0).reshape(height, width),
            "You take the largest of the heads at each place. Take their mean.",
            UNSEEN,
        ),
        Wrong(
            "the word before",
            lambda weights, word, height, width: weights[:, :, word - 1].mean(0).reshape(height, width),
            "You show the word before. `word` already counts <start>, which is word 0.",
            UNSEEN,
        ),
        Wrong(
            "shares of the positions",
            lambda weights, word, height, width: (lambda m: (m / m.sum()).reshape(height, width))(
                weights[:, :, word].mean(0)
            ),
            "You divide by the sum over the positions. Then a word that nobody looks at seems as important as any "
            "other.",
            UNSEEN,
        ),
        Wrong(
            "another softmax",
            lambda weights, word, height, width: weights.softmax(2)[:, :, word].mean(0).reshape(height, width),
            "You take the softmax of what is a softmax already. That makes all words nearly alike.",
            UNSEEN,
        ),
        Wrong(
            "stretched to 1",
            lambda weights, word, height, width: (lambda m: (m / m.max()).reshape(height, width))(
                weights[:, :, word].mean(0)
            ),
            "You stretch the map so that its largest value is 1. Then maps of different words cannot be compared.",
            UNSEEN,
        ),
    ),
)


# 19.6 both_concepts


def both_concepts(first, second, nothing):
    return first + second - nothing


def both_concepts_as_steps(first, second, nothing):
    one_step, other_step = first - nothing, second - nothing
    return nothing + one_step + other_step


def both_concepts_truth(first, second, nothing):
    return torch.stack([first, second, -nothing]).sum(dim=0)


def both_concepts_cases(g):
    plain = (torch.tensor([[1.0]]).double(), torch.tensor([[3.0]]).double(), torch.tensor([[0.5]]).double())
    drawn = tuple(normals(g, 4, 2) for _ in range(3))
    return (Case(plain, "estimates 1, 3, and 0.5 for no caption"), Case(drawn, "four points in the plane"))


BOTH_CONCEPTS = Exercise(
    id="19.6",
    name="both_concepts",
    stub='''
def both_concepts(first, second, nothing):
    """E[x0 | x_t] for two captions at once, if they are independent given x_t: (B, d).

    first, second, nothing: (B, d), E[x0 | x_t] for the first caption, for the second one, and for no caption.
    """
    ...  # your code
''',
    solution=both_concepts,
    alternative=both_concepts_as_steps,
    why=(
        "If p(a, b | x_t) = p(a | x_t) p(b | x_t), each caption adds the gradient of its own log p to the score.\n"
        "In E[x0 | x_t] that is its difference to no caption, since x0_hat is linear in the score.\n"
        "For two correlated numbers it is not quite right: the samples lie a few hundredths of a standard deviation "
        "too far out and spread a few percent too little, because the sum pushes away from the other clouds."
    ),
    truth=both_concepts_truth,
    cases=both_concepts_cases,
    hints=(
        "Write log p(x | a, b) by Bayes' rule. Which terms depend on x?",
        "Each caption contributes its own difference to `nothing`.",
        "If both captions say nothing, the result must be `nothing`.",
    ),
    wrong=(
        Wrong(
            "nothing is counted twice",
            lambda first, second, nothing: first + second,
            "You add the two estimates. Each of them holds the density without a caption, so it is now counted twice.",
            UNSEEN,
        ),
        Wrong(
            "the mean",
            lambda first, second, nothing: (first + second) / 2,
            "You take the mean of the two. That obeys each caption by half.",
            UNSEEN,
        ),
        Wrong(
            "nothing subtracted twice",
            lambda first, second, nothing: first + second - 2 * nothing,
            "You add the two differences, and forget what they are added to: `nothing`.",
            UNSEEN,
        ),
        Wrong(
            "the wrong sign",
            lambda first, second, nothing: first + second + nothing,
            "You add `nothing`, and should subtract it.",
            UNSEEN,
        ),
        Wrong(
            "the second one is avoided",
            lambda first, second, nothing: first - second + nothing,
            "You subtract the second caption. That draws what the first one says and the second one does not: a "
            "negation.",
            "Liu et al. 2022, the negation of a concept",
        ),
        Wrong(
            "guidance from one to the other",
            lambda first, second, nothing: nothing + 2 * (first - second),
            "You push away from the second caption. Both must push away from `nothing`.",
            UNSEEN,
        ),
        Wrong(
            "the product",
            lambda first, second, nothing: first * second / nothing,
            "You multiply and divide estimates of x0. Densities are multiplied, so their logarithms, and with them the "
            "scores, are added.",
            UNSEEN,
        ),
    ),
)


# 19.7 and 19.8, in words


NO_BINDING = Explanation(
    id="19.7",
    name="why a bag cannot bind",
    task="Show that an encoder without positions cannot tell 'three left of seven' from 'seven left of three'.",
    model=(
        "Let P exchange two rows of the word vectors H. Queries, keys and values are computed row by row, so their "
        "rows are exchanged too. The scores become P S P^T, the softmax runs along rows and gives P A P^T, and the "
        "result is P A P^T P V = P A V: the rows of the layer's output are exchanged, and no number changes. The same "
        "is true of every further layer and of the norms. Cross-attention sums over the words, so exchanging the rows "
        "of keys and "
        "values changes nothing at all. Both captions hold the same words and the same padding, so every position "
        "receives the same numbers, whatever the weights are. No training can help; positions added to the words do."
    ),
    look_for=(
        "Self-attention between words commutes with an exchange of words.",
        "Cross-attention sums over the words, so their order drops out.",
        "The argument holds for all weights, and positions break it.",
    ),
    hints=(
        "Write the exchange of two words as a matrix P, with P^T P = I.",
        "What does softmax along rows do to P S P^T?",
        "At the end each position takes a sum over all words.",
    ),
)

AN_OBEDIENCE = Explanation(
    id="19.8",
    name="obedience of 97 %",
    task="A report says that 97 % of its pictures obey their captions, more than its rival's 94 %: what do you ask?",
    model=(
        "How often does the same judge call real pictures obedient? If that is 91 %, then both numbers lie above the "
        "ceiling: such pictures are more typical than real ones, as pictures drawn with much guidance are, and the "
        "difference says little. I would ask for the distance to real pictures and for their variety beside it, at the "
        "same guidance; for the judge's errors on each kind of caption; for captions whose words occur in another "
        "order; for combinations that no training showed; and how the captions were chosen, with how many pictures."
    ),
    look_for=(
        "It asks for the judge's rate on real pictures.",
        "It asks for a distance to real pictures at the same guidance.",
        "It asks for swapped words or combinations that were held out.",
    ),
    hints=(
        "What would real pictures score?",
        "What happened to obedience and to the distance when the weight of guidance grew?",
        "Which captions can a reader of bags obey?",
    ),
)

EXERCISES = (
    CROSS_ATTENTION,
    DROP_CAPTIONS,
    SHARE_THAT_OBEYS,
    BEST_OF_A_BAG,
    WORD_MAP,
    BOTH_CONCEPTS,
    NO_BINDING,
    AN_OBEDIENCE,
)
