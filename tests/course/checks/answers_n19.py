"""Notebook 19: right answers in unusual forms, and wrong ones that are in no list."""

import torch
from torch.nn import functional

from minidiff.captioned import without_some_captions


def attention_forms():
    def pytorch_s_own(q, k, v, mask):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])

    def renormalised(q, k, v, mask):
        weights = torch.softmax(torch.einsum("bnd,bld->bnl", q, k) / q.shape[-1] ** 0.5, -1) * mask[:, None]
        return torch.einsum("bnl,ble->bne", weights / weights.sum(-1, keepdim=True), v)

    def added(q, k, v, mask):
        hidden = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(mask.logical_not(), -1e9)
        return ((q / q.shape[-1] ** 0.5) @ k.mT + hidden[:, None]).softmax(-1) @ v

    return pytorch_s_own, renormalised, added


def drop_forms():
    def the_package(y, p, g):
        return without_some_captions(y, p, g)

    def row_by_row(y, p, g):
        rows = []
        for row in y:
            silent = torch.tensor([int(row[0])] + [0] * (len(row) - 1))
            rows.append(silent if float(torch.rand((), generator=g)) < p else row)
        return torch.stack(rows)

    def multiplied(y, p, g):
        factor = (torch.rand(len(y), 1, generator=g) >= p).long().repeat(1, y.shape[1])
        factor[:, 0] = 1
        return y * factor

    def in_place(y, p, g):
        z = y.clone()
        z[torch.rand(len(y), generator=g) > 1 - p, 1:] = 0
        return z

    return the_package, row_by_row, multiplied, in_place


def obeys_forms():
    def counted(seen, asked, said):
        return 1 - float(((seen != asked) & said).any(dim=2).any(dim=1).float().mean())

    def where(seen, asked, said):
        return torch.equal(seen, asked) * 1.0 or (
            (torch.where(said, seen, asked) == asked).all(-1).all(-1).sum() / len(seen)
        )

    return counted, where


def map_forms():
    def viewed(weights, word, height, width):
        return weights.view(len(weights), height, width, -1)[..., word].mean(0)

    def by_einsum(weights, word, height, width):
        return (torch.einsum("hpl->pl", weights)[:, word] / weights.shape[0]).unflatten(0, (height, width))

    return viewed, by_einsum


FORMS = [
    *(("cross_attention", form) for form in attention_forms()),
    *(("drop_captions", form) for form in drop_forms()),
    *(("share_that_obeys", form) for form in obeys_forms()),
    *(("word_map", form) for form in map_forms()),
    ("both_concepts", lambda first, second, nothing: first - (nothing - second)),
    ("both_concepts", lambda first, second, nothing: torch.add(first, torch.sub(second, nothing))),
]

UNKNOWN = {
    "cross_attention": [
        lambda q, k, v, mask: torch.sigmoid(q @ k.transpose(1, 2)) @ v,
        lambda q, k, v, mask: torch.softmax(-(q @ k.transpose(1, 2)), 2) @ v,
    ],
    "drop_captions": [
        lambda y, p, g: torch.where((torch.rand(len(y), generator=g) < p / 2)[:, None], y * (y == 1), y),
        lambda y, p, g: torch.where((torch.rand(len(y), generator=g) < p)[:, None], y.flip(1), y),
    ],
    "share_that_obeys": [
        lambda seen, asked, said: ((seen == asked) | ~said).flatten(1).all(1).double().mean() ** 2 / 3,
        lambda seen, asked, said: ((seen == asked) | said).flatten(1).all(1).double().mean() / 2,
    ],
    "word_map": [
        lambda weights, word, height, width: weights[:, :, word].mean(0).reshape(height, width).flip(1),
        lambda weights, word, height, width: 1 - weights[:, :, word].mean(0).reshape(height, width),
    ],
    "both_concepts": [
        lambda first, second, nothing: 3 * first + second - nothing,
        lambda first, second, nothing: torch.maximum(first, second) - 7 * nothing,
    ],
}
