"""The exercises of notebook 18, transformers: 18.1 to 18.3 in its flow, 18.4 to 18.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math

import torch
from torch.nn import functional

from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, normals, uniform

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Transformers"


# 18.1 attention


def attention(q, k, v):
    scores = q @ k.T / q.shape[1] ** 0.5
    return torch.softmax(scores, dim=1) @ v


def attention_query_by_query(q, k, v):
    rows = []
    for query in q:
        likeness = torch.exp((k * query).sum(dim=1) / math.sqrt(len(query)))
        rows.append((likeness[:, None] * v).sum(dim=0) / likeness.sum())
    return torch.stack(rows)


def attention_truth(q, k, v):
    return functional.scaled_dot_product_attention(q[None], k[None], v[None])[0]


def attention_cases(g):
    one = doubles(1, 0, 1, 0)[None], doubles(1, 1, 0, 0, 0, 2, 0, 1, 1, 0, 2, 0).reshape(3, 4)
    return (
        Case((*one, doubles(1, 2, 3, 4, 0, 1, 0, 1, -1, 3, 5, 0).reshape(3, 4)), "one query and three keys, d = 4"),
        Case((normals(g, 6, 4), normals(g, 5, 4), normals(g, 5, 4)), "six queries and five keys, d = 4"),
    )


def scored(score, weigh=lambda s: torch.softmax(s, 1)):
    """Attention with other scores, or other weights from them."""
    return lambda q, k, v: weigh(score(q, k)) @ v


def usual(q, k):
    return q @ k.T / q.shape[1] ** 0.5


ATTENTION = Exercise(
    id="18.1",
    name="attention",
    stub='''
def attention(q, k, v):
    """Each query's mean of the values, weighted by softmax(q . k / sqrt(d)) over the keys: (N, d).

    q: (N, d), the queries. k: (M, d), the keys. v: (M, d), the value of each key.
    """
    ...  # your code
''',
    solution=attention,
    alternative=attention_query_by_query,
    why=(
        "Row i of q @ k.T holds the products of query i with all keys. The softmax over a row makes weights that sum\n"
        "to 1, and their product with v is the weighted mean. The root of d keeps products of random queries and keys\n"
        "at unit size, whatever d is, so that the softmax does not begin at a single key."
    ),
    truth=attention_truth,
    cases=attention_cases,
    hints=(
        "Which matrix product gives all the products of a query with a key at once? Its shape is (N, M).",
        "The weights of one query must sum to 1 over the keys: over which dimension is the softmax?",
        "`torch.softmax(scores, dim=1) @ v`, with scores that are divided by the root of d.",
    ),
    wrong=(
        Wrong(
            "no root of d",
            scored(lambda q, k: q @ k.T),
            "You do not divide by sqrt(d). A product of two random queries and keys has the standard deviation "
            "sqrt(d), so without the division the softmax begins with nearly all its weight on one key.",
            UNSEEN,
        ),
        Wrong(
            "divided by d",
            scored(lambda q, k: q @ k.T / q.shape[1]),
            "You divide by d. Divide by its root.",
            "muP, arXiv 2203.03466, which divides by d on purpose",
        ),
        Wrong(
            "multiplied by the root of d",
            scored(lambda q, k: q @ k.T * q.shape[1] ** 0.5),
            "You multiply by sqrt(d) where you should divide.",
            UNSEEN,
        ),
        Wrong(
            "the root of the number of keys",
            scored(lambda q, k: q @ k.T / len(k) ** 0.5),
            "You divide by the root of the number of keys. The d under the root is the length of a query.",
            "lucidrains/vit-pytorch#65, with another number that is not d",
        ),
        Wrong(
            "the root of the number of queries",
            scored(lambda q, k: q @ k.T / len(q) ** 0.5),
            "You divide by the root of the number of queries, `len(q)`. The d under the root is the length of a query.",
            UNSEEN,
        ),
        Wrong(
            "softmax over the queries",
            scored(usual, lambda s: torch.softmax(s, 0)),
            "Your weights sum to 1 over the queries. For each query they must sum to 1 over the keys. (A public DDPM "
            "had this mistake, and its samples looked fine.)",
            "labmlai/annotated_deep_learning_paper_implementations#146",
        ),
        Wrong(
            "softmax over everything",
            scored(usual, lambda s: torch.softmax(s.flatten(), 0).reshape(s.shape)),
            "Your weights sum to 1 over all queries and keys together. Each query has a softmax of its own.",
            UNSEEN,
        ),
        Wrong(
            "no softmax",
            scored(usual, lambda s: s),
            "You use the scores as weights. The softmax makes them positive, with sum 1.",
            "linear attention, which leaves it out on purpose",
        ),
        Wrong(
            "not normalised",
            scored(usual, torch.exp),
            "You take the exponentials of the scores, but they are not divided by their sum over the keys.",
            UNSEEN,
        ),
        Wrong(
            "sigmoid",
            scored(usual, torch.sigmoid),
            "A sigmoid looks at each key by itself. The weights of a query must compete: they sum to 1.",
            UNSEEN,
        ),
        Wrong(
            "one key only",
            scored(usual, lambda s: functional.one_hot(s.argmax(1), s.shape[1]).to(s)),
            "You take the value of the best key only. Attention is a mean over all of them.",
            UNSEEN,
        ),
        Wrong(
            "the keys for the values",
            lambda q, k, v: torch.softmax(usual(q, k), 1) @ k,
            "You average the keys. The keys decide the weights, and what is averaged are the values.",
            UNSEEN,
        ),
        Wrong(
            "the sign",
            scored(lambda q, k: -usual(q, k)),
            "Your scores have the wrong sign: keys that resemble the query least get the largest weights.",
            UNSEEN,
        ),
        Wrong(
            "cosines",
            scored(lambda q, k: functional.normalize(q, dim=1) @ functional.normalize(k, dim=1).T),
            "You compare directions only. Here the lengths of queries and keys count as well.",
            "QK normalisation, arXiv 2010.04245, which does so on purpose",
        ),
    ),
)


# 18.2 denoise_by_attention


def denoise_by_attention(data, x_t, alpha, sigma):
    products = alpha * x_t @ data.T / sigma**2
    norms = alpha**2 * (data**2).sum(dim=1) / (2 * sigma**2)
    return torch.softmax(products - norms, dim=1) @ data


def denoise_by_a_longer_key(data, x_t, alpha, sigma):
    q = torch.cat([alpha / sigma**2 * x_t, torch.ones_like(x_t[:, :1])], dim=1)
    k = torch.cat([data, -0.5 * (alpha / sigma) ** 2 * data.square().sum(dim=1, keepdim=True)], dim=1)
    weights = torch.exp(q @ k.T - torch.logsumexp(q @ k.T, dim=1, keepdim=True))
    return weights @ data


def denoise_by_attention_truth(data, x_t, alpha, sigma):
    """Bayes' rule, with the squared distances themselves."""
    apart = ((x_t[:, None] - alpha * data) / sigma).square().sum(dim=2)
    return torch.einsum("bn,nd->bd", (-apart / 2).softmax(dim=1), data)


def denoise_cases(g):
    alpha = uniform(g, 0.55, 0.65)
    return (
        Case((doubles(-1, 2)[:, None], doubles(0.5)[:, None], 0.8, 0.6), "data -1 and 2, x_t = 0.5, 0.8 and 0.6"),
        Case(
            (0.3 + normals(g, 7, 3), normals(g, 5, 3), alpha, round(math.sqrt(1 - alpha**2), 6)),
            f"seven data points and five x_t in space, alpha = {alpha}",
        ),
    )


def lookup(scores, last=lambda w, data, x_t, a, s: w @ data, over=1):
    """A denoiser with other scores, scores(products (B, N), norms (N,), alpha, sigma) -> (B, N), or another end."""

    def answer(data, x_t, alpha, sigma):
        s = scores(x_t @ data.T, (data**2).sum(1), alpha, sigma)
        return last(torch.softmax(s, over), data, x_t, alpha, sigma)

    return answer


def right_scores(p, n, a, s):
    return (a * p - a**2 * n / 2) / s**2


DENOISE_BY_ATTENTION = Exercise(
    id="18.2",
    name="denoise_by_attention",
    stub='''
def denoise_by_attention(data, x_t, alpha, sigma):
    """E[x0 | x_t] for a finite data set, as attention: softmax over the data of (products - norms), (B, d).

    data: (N, d), keys and values at once. x_t: (B, d), the noisy points. alpha, sigma: numbers.
    """
    ...  # your code
''',
    solution=denoise_by_attention,
    alternative=denoise_by_a_longer_key,
    why=(
        "The exponent is -|x_t - alpha x_i|² / 2 sigma². Multiply it out: |x_t|² is the same for all i, so the "
        "softmax\n"
        "does not see it. What is left is a product, alpha x_t . x_i / sigma², and the norm of the key."
    ),
    truth=denoise_by_attention_truth,
    cases=denoise_cases,
    hints=(
        "Multiply out -|x_t - alpha x_i|² / (2 sigma²): three terms. Which of them is the same for all data points?",
        "Two terms are left: alpha x_t . x_i / sigma² and -alpha² |x_i|² / (2 sigma²).",
        "`(data**2).sum(dim=1)` has shape (N,), and is subtracted from every row of `x_t @ data.T`, after the factors.",
    ),
    wrong=(
        Wrong(
            "the norms are forgotten",
            lookup(lambda p, n, a, s: a * p / s**2),
            "You have the products only. Without -alpha² |x_i|² / 2 sigma², long data points get too much weight. "
            "Plain attention makes this mistake unless all keys have the same length.",
            f"{UNSEEN}: section 1, the wrong version",
        ),
        Wrong(
            "the scale of attention",
            lambda data, x_t, alpha, sigma: (
                torch.softmax(right_scores(x_t @ data.T, (data**2).sum(1), alpha, sigma) / (2 + x_t.shape[1]) ** 0.5, 1)
                @ data
            ),
            "You still divide by a root, as in 18.1. Here the scale is given: it is 1 / sigma².",
            UNSEEN,
        ),
        Wrong(
            "sigma for sigma²",
            lookup(lambda p, n, a, s: (a * p - a**2 * n / 2) / s),
            "You divide by sigma. A normal density has the variance sigma² in its exponent.",
            UNSEEN,
        ),
        Wrong(
            "alpha is missing in the products",
            lookup(lambda p, n, a, s: (p - a**2 * n / 2) / s**2),
            "The product of x_t and alpha x_i has the factor alpha.",
            UNSEEN,
        ),
        Wrong(
            "alpha is missing in the norms",
            lookup(lambda p, n, a, s: (a * p - n / 2) / s**2),
            "The norm of alpha x_i is alpha² |x_i|².",
            UNSEEN,
        ),
        Wrong(
            "alpha once in the norms",
            lookup(lambda p, n, a, s: (a * p - a * n / 2) / s**2),
            "You have alpha |x_i|² in the norms. The square of alpha x_i has alpha².",
            UNSEEN,
        ),
        Wrong(
            "no alpha",
            lookup(lambda p, n, a, s: (p - n / 2) / s**2),
            "You compare x_t with x_i. Given x_i, x_t lies around alpha x_i.",
            UNSEEN,
        ),
        Wrong(
            "the norms are not halved",
            lookup(lambda p, n, a, s: (a * p - a**2 * n) / s**2),
            "The product appears twice in the square, and the norm once. So after the division by 2 the norm keeps "
            "a half.",
            UNSEEN,
        ),
        Wrong(
            "everything is halved",
            lookup(lambda p, n, a, s: right_scores(p, n, a, s) / 2),
            "You divide the products by 2 sigma² as well. The square contains the product twice, so the 2 cancels.",
            UNSEEN,
        ),
        Wrong(
            "the norms are added",
            lookup(lambda p, n, a, s: (a * p + a**2 * n / 2) / s**2),
            "The norm has the wrong sign: long data points are now preferred twice.",
            UNSEEN,
        ),
        Wrong(
            "softmax over the noisy points",
            lookup(right_scores, over=0),
            "Your weights sum to 1 over the noisy points. For each x_t they must sum to 1 over the data.",
            UNSEEN,
        ),
        Wrong(
            "the nearest only",
            lookup(
                right_scores, lambda w, data, x_t, a, s: functional.one_hot(w.argmax(1), w.shape[1]).to(data) @ data
            ),
            "You return the most likely data point. E[x0 | x_t] is the mean of all, each with its probability.",
            UNSEEN,
        ),
        Wrong(
            "the signal, not the data",
            lookup(right_scores, lambda w, data, x_t, a, s: a * (w @ data)),
            "You return alpha E[x0 | x_t]. The values are the data themselves.",
            UNSEEN,
        ),
        Wrong(
            "the noise",
            lookup(right_scores, lambda w, data, x_t, a, s: (x_t - a * (w @ data)) / s),
            "You return the estimate of the noise. Asked is that of x0.",
            UNSEEN,
        ),
    ),
)


# 18.3 patchify


def patchify(x, patch):
    B, C, H, W = x.shape
    squares = x.reshape(B, C, H // patch, patch, W // patch, patch)
    return squares.permute(0, 2, 4, 1, 3, 5).reshape(B, (H // patch) * (W // patch), C * patch**2)


def patchify_square_by_square(x, patch):
    tokens = []
    for top in range(0, x.shape[2], patch):
        for left in range(0, x.shape[3], patch):
            square = x[:, :, top : top + patch, left : left + patch]
            tokens.append(square.flatten(1))
    return torch.stack(tokens, dim=1)


def patchify_truth(x, patch):
    return functional.unfold(x, patch, stride=patch).mT


def patchify_cases(g):
    plain = torch.arange(1.0, 17.0, dtype=torch.float64).reshape(1, 1, 4, 4)
    return (
        Case((plain, 2), "the numbers 1 to 16 in four rows of four, patch = 2"),
        Case((normals(g, 2, 3, 4, 6), 2), "two pictures with 3 channels, 4 rows and 6 columns, patch = 2"),
        Case((normals(g, 2, 2, 6, 9), 3), "two pictures with 2 channels, 6 rows and 9 columns, patch = 3"),
    )


def cut(order, split=lambda B, C, h, w, p: (B, C, h, p, w, p)):
    """The squares with their axes in another order."""

    def answer(x, patch):
        (B, C, H, W), p = x.shape, patch
        parts = x.reshape(split(B, C, H // p, W // p, p)).permute(order)
        return parts.reshape(B, H * W // p**2, C * p**2)

    return answer


PATCHIFY = Exercise(
    id="18.3",
    name="patchify",
    stub='''
def patchify(x, patch):
    """Cut pictures into squares of patch x patch pixels, one token each: (B, N, C * patch**2).

    x: (B, C, H, W); H and W are multiples of patch. Tokens are in reading order, row of squares by row of squares.
    Within a token: channel by channel, each in reading order.
    """
    ...  # your code
''',
    solution=patchify,
    alternative=patchify_square_by_square,
    why=(
        "Each side is split in two: which square, and which pixel within it. The number of the square is the slow\n"
        "index and comes first. Then the axes are brought into the order of the answer and merged."
    ),
    truth=patchify_truth,
    cases=patchify_cases,
    hints=(
        "A `reshape` alone cannot do it: it keeps the order of the numbers in memory, which is row by row.",
        "Split H into (H // patch, patch), and W likewise. Which of the two is the number of the square?",
        "`x.reshape(B, C, H // patch, patch, W // patch, patch)`, then `permute` to (B, rows, columns, C, patch, "
        "patch).",
    ),
    wrong=(
        Wrong(
            "reshape only",
            lambda x, patch: x.reshape(len(x), -1, x.shape[1] * patch**2),
            "A reshape keeps the numbers in the order of the memory, so your tokens are pieces of rows, not squares.",
            "duoan/TorchCode#21",
        ),
        Wrong(
            "squares column by column",
            cut((0, 4, 2, 1, 3, 5)),
            "Your squares are right, but you number them down the columns. Reading order goes along the rows.",
            "NVIDIA-NeMo/RL#4106, where no test would have seen it",
        ),
        Wrong(
            "pixels column by column",
            cut((0, 2, 4, 1, 5, 3)),
            "The squares are right, but within each one rows and columns are exchanged.",
            "cloneofsimo/minRF#6, another order within a token",
        ),
        Wrong(
            "rows and columns exchanged",
            cut((0, 4, 2, 1, 5, 3)),
            "Rows and columns are exchanged everywhere: you cut the mirrored picture.",
            UNSEEN,
        ),
        Wrong(
            "channels last",
            cut((0, 2, 4, 3, 5, 1)),
            "Within a token you have all channels of the first pixel, then of the second. Asked is channel by channel.",
            "facebookresearch/mae, whose patchify has channels last",
        ),
        Wrong(
            "small pictures",
            lambda x, patch: functional.pixel_unshuffle(x, patch).reshape(len(x), -1, x.shape[1] * patch**2),
            "Your tokens mix pixels from squares far apart: the axis of the squares must come before that of the "
            "pixels when you merge them.",
            UNSEEN,
        ),
        Wrong(
            "every other pixel",
            cut((0, 3, 5, 1, 2, 4), lambda B, C, h, w, p: (B, C, p, h, p, w)),
            "You split H into (patch, H // patch). Then a token takes pixels that are far apart: the number of the "
            "square is the slow index and must come first.",
            UNSEEN,
        ),
        Wrong(
            "from the bottom",
            lambda x, patch: patchify(x, patch).flip(1),
            "Your tokens run from the last square to the first.",
            UNSEEN,
        ),
        Wrong(
            "shifted by a pixel",
            lambda x, patch: patchify(x.roll(1, 3), patch),
            "Your squares begin one pixel too far to the left.",
            UNSEEN,
        ),
    ),
)


# 18.4 order_gap


def order_gap(f, x, order):
    return (f(x[:, order]) - f(x)[:, order]).abs().max()


def order_gap_undone(f, x, order):
    back = torch.argsort(order)
    return torch.linalg.vector_norm(f(x[:, order])[:, back] - f(x), ord=math.inf)


def order_gap_truth(f, x, order):
    found, expected = f(torch.stack([x[:, i] for i in order.tolist()], dim=1)), f(x)
    gaps = [float((found[:, place] - expected[:, i]).abs().max()) for place, i in enumerate(order.tolist())]
    return torch.tensor(max(gaps), dtype=x.dtype)


def placed(x):
    """A function of tokens that knows where each one lies. (B, N, C) -> the same."""
    place = torch.arange(x.shape[1], dtype=x.dtype)[:, None]
    seen = x.mean(dim=1, keepdim=True) + 0.5 * x.roll(1, 2)
    return torch.tanh(x + 0.3 * place) - 0.4 * seen * (1 + 0.2 * place) + 0.1 * x.mean(dim=0)


def order_gap_cases(g):
    plain = torch.arange(27.0, dtype=torch.float64).reshape(3, 3, 3).sin()
    return (
        Case((placed, plain, torch.tensor([1, 2, 0])), "three pictures of three tokens, in the order 1, 2, 0"),
        Case((placed, normals(g, 5, 5, 5), torch.tensor([3, 0, 4, 2, 1])), "five tokens in the order 3, 0, 4, 2, 1"),
    )


ORDER_GAP = Exercise(
    id="18.4",
    name="order_gap",
    stub='''
def order_gap(f, x, order):
    """By how much f depends on the order of tokens: the largest |f(reordered x) - reordered f(x)|, a tensor ().

    f: tokens (B, N, C) -> (B, N, C). x: (B, N, C). order: (N,), int64, token i of the reordered x is x[:, order[i]].
    """
    ...  # your code
''',
    solution=order_gap,
    alternative=order_gap_undone,
    why=(
        "f is equivariant if it does not matter whether tokens are reordered before or after it. So reorder on both\n"
        "sides and compare. The largest difference is 0 (up to rounding) for a transformer without positions."
    ),
    truth=order_gap_truth,
    cases=order_gap_cases,
    hints=(
        "Reorder before f, and after f. Which of the three axes holds the tokens?",
        "`x[:, order]` reorders the tokens of every picture.",
        "Compare `f(x[:, order])` with `f(x)[:, order]`, and take the largest absolute difference.",
    ),
    wrong=(
        Wrong(
            "the output stays",
            lambda f, x, order: (f(x[:, order]) - f(x)).abs().max(),
            "You compare with f(x) in its old order. That asks for invariance: the same output whatever the order. An "
            "equivariant f moves its output along.",
            UNSEEN,
        ),
        Wrong(
            "the input stays",
            lambda f, x, order: (f(x) - f(x)[:, order]).abs().max(),
            "You evaluate f on x in its old order both times. One of the two must see the reordered tokens.",
            UNSEEN,
        ),
        Wrong(
            "the features are reordered",
            lambda f, x, order: (f(x[:, :, order]) - f(x)[:, :, order]).abs().max(),
            "You reorder the last axis, the numbers within a token. The tokens are on the middle axis.",
            UNSEEN,
        ),
        Wrong(
            "the pictures are reordered",
            lambda f, x, order: (f(x[order]) - f(x)[order]).abs().max(),
            "You reorder the first axis, the pictures of the batch. The tokens are on the middle axis.",
            UNSEEN,
        ),
        Wrong(
            "reordered twice",
            lambda f, x, order: (f(x[:, order])[:, order] - f(x)).abs().max(),
            "To undo the order you need its inverse, `torch.argsort(order)`. You apply the same order again.",
            UNSEEN,
        ),
        Wrong(
            "the mean",
            lambda f, x, order: (f(x[:, order]) - f(x)[:, order]).abs().mean(),
            "You take the mean. A single token that gives itself away is enough: take the largest.",
            UNSEEN,
        ),
        Wrong(
            "signed",
            lambda f, x, order: (f(x)[:, order] - f(x[:, order])).sum(),
            "You add up signed differences, which cancel one another. Take absolute values first.",
            "a test that cannot fail",
        ),
        Wrong(
            "squared",
            lambda f, x, order: ((f(x[:, order]) - f(x)[:, order]) ** 2).max(),
            "You return the square of the largest difference.",
            UNSEEN,
        ),
        Wrong(
            "relative",
            lambda f, x, order: order_gap(f, x, order) / f(x).abs().max(),
            "You divide by the largest output. Asked is the difference itself.",
            UNSEEN,
        ),
    ),
)


# 18.5 adaptive_norm


def adaptive_norm(x, scale, shift):
    centred = x - x.mean(dim=2, keepdim=True)
    spread = (centred**2).mean(dim=2, keepdim=True).sqrt()
    return (1 + scale[:, None]) * centred / spread + shift[:, None]


def adaptive_norm_by_einsum(x, scale, shift):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return torch.einsum("bnc,bc->bnc", (x - mean) * variance.rsqrt(), 1 + scale) + shift.unsqueeze(1)


def adaptive_norm_truth(x, scale, shift):
    tokens = functional.layer_norm(x, x.shape[2:], eps=0.0)
    return torch.stack([torch.addcmul(b + t, t, a) for t, a, b in zip(tokens, scale, shift, strict=True)])


def adaptive_norm_cases(g):
    plain = doubles(1, 3, 5, 7, -2, 0, 4, 2).reshape(1, 2, 4)
    return (
        Case(
            (plain, doubles(0.5, 0, -1, 1)[None], doubles(0, 1, 0, 2)[None]),
            "one picture of two tokens with four numbers",
        ),
        Case(
            # wide tokens: the small number that layer_norm adds to the variance, 1e-5, must not count
            (10 + 20 * normals(g, 4, 4, 4), normals(g, 4, 4), normals(g, 4, 4)),
            "four pictures of four tokens with four numbers",
        ),
    )


def normed(dims=(2,), correction=0, last=lambda h, a, b: h * (1 + a) + b, power=0.5, centre=True):
    """Adaptive normalisation with parts exchanged."""

    def answer(x, scale, shift):
        variance, mean = torch.var_mean(x, dim=dims, correction=correction, keepdim=True)
        return last((x - mean * centre) / variance**power, scale[:, None], shift[:, None])

    return answer


ADAPTIVE_NORM = Exercise(
    id="18.5",
    name="adaptive_norm",
    stub='''
def adaptive_norm(x, scale, shift):
    """adaLN: bring each token to mean 0 and variance 1, multiply by (1 + scale), and add shift. (B, N, C)

    x: (B, N, C). scale, shift: (B, C), the same for all tokens of a picture. Variance: the mean of squares (over C).
    """
    ...  # your code
''',
    solution=adaptive_norm,
    alternative=adaptive_norm_by_einsum,
    why=(
        "Mean and variance are those of one token, over its C numbers, so a token learns nothing about others here.\n"
        "Scale and shift come from the noise level. With 1 + scale, a layer that starts at 0 starts as plain\n"
        "normalisation, and not as zero."
    ),
    truth=adaptive_norm_truth,
    cases=adaptive_norm_cases,
    hints=(
        "Over which axis are mean and variance taken, if each token is normalised by itself?",
        "`keepdim=True` keeps the shape (B, N, 1). scale and shift need an axis for the tokens: `scale[:, None]`.",
        "`x.var(dim=2, correction=0)` is the mean of squares; without `correction=0` it divides by C - 1.",
    ),
    wrong=(
        Wrong(
            "scale for 1 + scale",
            normed(last=lambda h, a, b: h * a + b),
            "You multiply by scale. The factor is 1 + scale, so that a layer that starts at 0 leaves the "
            "normalised tokens as they are.",
            UNSEEN,
        ),
        Wrong(
            "shift before scale",
            normed(last=lambda h, a, b: (h + b) * (1 + a)),
            "You shift first and scale then. The shift comes last.",
            UNSEEN,
        ),
        Wrong(
            "scale and shift exchanged",
            normed(last=lambda h, a, b: h * (1 + b) + a),
            "You have exchanged scale and shift.",
            "facebookresearch/DiT, where shift comes before scale",
        ),
        Wrong(
            "a row for each token",
            normed(last=lambda h, a, b: h * (1 + a[:, 0]) + b[:, 0]),
            "You multiply (B, N, C) by (B, C). PyTorch then gives each token a row of scale, not each picture: write "
            "`scale[:, None]`, and likewise for shift.",
            UNSEEN,
        ),
        Wrong(
            "over the tokens",
            normed((1,)),
            "You normalise over the tokens. Each token is normalised by itself, over its own numbers.",
            UNSEEN,
        ),
        Wrong(
            "over the whole picture",
            normed((1, 2)),
            "You normalise over tokens and numbers together. Then every token learns something about all the others.",
            "group normalisation, which does so on purpose",
        ),
        Wrong(
            "over the pictures",
            lambda x, scale, shift: (x - x.mean(2, keepdim=True)) / x.std() * (1 + scale[:, None]) + shift[:, None],
            "You divide by one standard deviation of the whole batch. Each token has its own.",
            UNSEEN,
        ),
        Wrong(
            "C - 1",
            normed(correction=1),
            "You divide by C - 1 in the variance, as `x.var` does by default. Here it is the mean of the squares.",
            "torch.var, whose default is correction=1",
        ),
        Wrong(
            "divided by the variance",
            normed(power=1.0),
            "You divide by the variance. Divide by its root.",
            UNSEEN,
        ),
        Wrong(
            "not centred",
            normed(centre=False),
            "The mean of a token is not subtracted.",
            "RMSNorm, which leaves it out on purpose",
        ),
        Wrong(
            "only centred",
            normed(power=0.0),
            "You subtract the mean, but the variance of a token is not brought to 1.",
            UNSEEN,
        ),
        Wrong(
            "no normalisation",
            lambda x, scale, shift: x * (1 + scale[:, None]) + shift[:, None],
            "You scale and shift the tokens as they are. Normalise them first.",
            "FiLM, arXiv 1709.07871",
        ),
        Wrong(
            "no shift",
            normed(last=lambda h, a, b: h * (1 + a)),
            "The shift is missing.",
            UNSEEN,
        ),
    ),
)


# 18.6 patch_distances


def patch_distances(y, std):
    squares = ((y[:, None] - y[None]) ** 2).sum(dim=2)
    noise = 2 * std**2 * y.shape[1] * (1 - torch.eye(len(y), dtype=y.dtype))
    return (squares - noise).clamp(min=0)


def patch_distances_in_a_loop(y, std):
    found = torch.zeros(len(y), len(y), dtype=y.dtype)
    for i in range(len(y)):
        for j in range(len(y)):
            if i != j:
                found[i, j] = max(0.0, float((y[i] - y[j]).square().sum()) - y[i].numel() * 2 * std * std)
    return found


def patch_distances_truth(y, std):
    apart = torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist").pow(2)
    corrected = torch.relu(apart - 2 * y.shape[-1] * std * std)
    return corrected.fill_diagonal_(0.0)


def patch_distance_cases(g):
    std = uniform(g, 0.55, 0.7)
    return (
        Case((doubles(0, 0, 3, 4, 0.5, 0.5).reshape(3, 2), 0.5), "three patches of two numbers, std = 0.5"),
        Case((normals(g, 6, 5), std), f"six patches of five numbers, std = {std}"),
    )


def corrected(noise, *, last=lambda s: s.clamp(min=0), power=2):
    """Distances with another part subtracted: noise(std, d, off the diagonal)."""

    def answer(y, std):
        apart = ((y[:, None] - y[None]) ** 2).sum(2) ** (power / 2)
        return last(apart - noise(std, y.shape[1], 1 - torch.eye(len(y), dtype=y.dtype)))

    return answer


PATCH_DISTANCES = Exercise(
    id="18.6",
    name="patch_distances",
    stub='''
def patch_distances(y, std):
    """Squared distances between the clean patches, estimated from noisy ones: (N, N), 0 on the diagonal, none below 0.

    y: (N, d), each a clean patch plus noise of standard deviation std, independent in every number.
    """
    ...  # your code
''',
    solution=patch_distances,
    alternative=patch_distances_in_a_loop,
    why=(
        "The noise of a difference has twice the variance, in each of d numbers. So noise alone makes a squared\n"
        "distance of 2 std² d on average, which is subtracted. A patch is at distance 0 from itself: there is no "
        "noise\n"
        "in y_i - y_i. An estimate below 0 means that the two may be equal."
    ),
    truth=patch_distances_truth,
    cases=patch_distance_cases,
    hints=(
        "Which variance has the noise of y_i - y_j, in one number?",
        "Its expected square over d numbers is 2 std² d. On the diagonal there is no noise to subtract.",
        "Subtract it off the diagonal, then `.clamp(min=0)`.",
    ),
    wrong=(
        Wrong(
            "the noise is not subtracted",
            corrected(lambda s, d, off: 0 * off),
            "These are the distances of the noisy patches. Noise alone keeps two copies far apart, so every patch "
            "resembles only itself.",
            f"{UNSEEN}: section 2, the wrong version",
        ),
        Wrong(
            "the noise of one patch",
            corrected(lambda s, d, off: s**2 * d * off),
            "You subtract std² d. Both patches are noisy, so the variance of the difference is 2 std².",
            UNSEEN,
        ),
        Wrong(
            "the noise of one number",
            corrected(lambda s, d, off: 2 * s**2 * off),
            "You subtract 2 std². The squares of all d numbers are added up, and so is their noise.",
            UNSEEN,
        ),
        Wrong(
            "std is not squared",
            corrected(lambda s, d, off: 2 * s * d * off),
            "You subtract 2 std d. The variance is std².",
            UNSEEN,
        ),
        Wrong(
            "added",
            corrected(lambda s, d, off: -2 * s**2 * d * off),
            "You add what the noise contributes. It is contained in the distance, and must be subtracted.",
            UNSEEN,
        ),
        Wrong(
            "below 0",
            corrected(lambda s, d, off: 2 * s**2 * d * off, last=lambda s: s),
            "Some of your squared distances are negative. Then a copy counts more than the patch itself: stop at 0.",
            UNSEEN,
        ),
        Wrong(
            "the diagonal too",
            corrected(lambda s, d, off: 2 * s**2 * d, last=lambda s: s),
            "You subtract on the diagonal as well, and nothing stops at 0. A patch has the distance 0 from itself.",
            UNSEEN,
        ),
        Wrong(
            "absolute values",
            corrected(lambda s, d, off: 2 * s**2 * d * off, last=torch.abs),
            "You take the absolute value of a negative estimate. It means that the two may be equal: 0.",
            UNSEEN,
        ),
        Wrong(
            "not squared",
            corrected(lambda s, d, off: math.sqrt(2 * s**2 * d) * off, power=1),
            "You return distances. Asked are their squares, and it is the squares that the noise adds to.",
            UNSEEN,
        ),
        Wrong(
            "a mean over the numbers",
            lambda y, std: patch_distances(y, std) / y.shape[1],
            "You take the mean over the d numbers. Asked is the squared distance, which is their sum.",
            UNSEEN,
        ),
    ),
)


# 18.7 break_even


def break_even():
    width = 64

    def of_weights(
        width,
    ):  # multiplications for each token: query, key and value; the way out; the two layers of an MLP
        return 3 * width**2 + width**2 + 2 * 4 * width**2

    def of_pairs(tokens, width):  # the scores, and the mean of the values
        return 2 * tokens * width

    return next(n for n in range(1, 10_000) if of_pairs(n, width) >= of_weights(width))


BREAK_EVEN = Question(
    id="18.7",
    name="break_even",
    stub="break_even = None  # at how many tokens do pairs cost as much as weights, for width 64",
    right=(380, 390),
    solution=break_even,
    why=(
        "A block spends 12 width² multiplications a token on its weights, and 2 N width on pairs of tokens. They are\n"
        "equal at N = 6 width = 384, a picture of 39 x 39 pixels in patches of 2."
    ),
    hints=(
        "Count multiplications for one token. How many weights does a block have, without the modulation?",
        "Four matrices of width² in the attention, two of 4 width² in the small network. And for the pairs: N products "
        "of length width for the scores, and as many for the mean of the values.",
        "12 width² = 2 N width.",
    ),
    wrong=(
        WrongValue(
            "the width", (60, 68), "At N = width the pairs cost a sixth of the weights. Count all weights.", UNSEEN
        ),
        WrongValue(
            "only the way in and out",
            (120, 136),
            "You counted the four matrices of the attention only. The small network has twice as many weights.",
            UNSEEN,
        ),
        WrongValue(
            "half of it",
            (186, 198),
            "You counted twice as much for the pairs. There are two products of N times width for each token.",
            UNSEEN,
        ),
        WrongValue(
            "only the small network",
            (250, 262),
            "You counted the small network only. Queries, keys, values and the way out have weights as well.",
            UNSEEN,
        ),
        WrongValue(
            "the way out is forgotten",
            (350, 354),
            "You forgot the matrix behind the attention: there are 12 width² weights, not 11.",
            UNSEEN,
        ),
        WrongValue(
            "the values are forgotten",
            (760, 776),
            "You counted the scores only. The mean of the values costs as many multiplications again.",
            UNSEEN,
        ),
        WrongValue(
            "the square is forgotten",
            (5, 7),
            "You have the factor only. The number of tokens is 6 times the width.",
            UNSEEN,
        ),
        WrongValue(
            "the side of a picture",
            (19, 20),
            "That is the number of tokens along a side. Asked is how many there are in all.",
            UNSEEN,
        ),
        WrongValue(
            "pixels",
            (1500, 1600),
            "That is the number of pixels, for patches of 2. Asked is the number of tokens.",
            UNSEEN,
        ),
        WrongValue(
            "heads counted again",
            (92, 100),
            "You multiplied the pairs by the number of heads. Each head has its share of the width, so all heads "
            "together cost what one of full width would.",
            UNSEEN,
        ),
    ),
)


# 18.8 on paper

BAG = Explanation(
    id="18.8",
    name="a bag of patches",
    task=(
        "A transformer without positions is trained to perfection on two-token pictures, (a, b) with a fixed a and b: "
        "what does it draw?"
    ),
    model=(
        "The network commutes with the exchange of tokens, so its samples have a distribution that does not change "
        "when "
        "tokens are exchanged. The loss compares it with (a, b) always. Averaged over the exchange of the noise, which "
        "is as likely one way as the other, the best such network is the ideal denoiser of the data set (a, b) and "
        "(b, a), each with probability one half: whoever cannot see the places must take both for possible. So it "
        "draws "
        "(a, b) and (b, a) equally often. Each picture holds both patches, because attention lets the tokens agree on "
        "who is which. In a picture of 16 patches all 16! orders are drawn alike, and a digit falls to pieces."
    ),
    look_for=(
        "Samples and their exchanged versions are equally likely.",
        "It is the ideal denoiser of the data with all orders added.",
        "The tokens agree with one another: (a, a) and (b, b) are not drawn.",
    ),
    hints=(
        "Exchange the two tokens of the noise at t = 1. What happens to the sample?",
        "Which data set looks the same to a network that cannot see places?",
        "Can the two tokens still talk to each other?",
    ),
)

EXERCISES = (
    *(ATTENTION, DENOISE_BY_ATTENTION, PATCHIFY),
    *(ORDER_GAP, ADAPTIVE_NORM, PATCH_DISTANCES, BREAK_EVEN, BAG),
)
