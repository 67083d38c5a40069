"""Lab 12-13, pictures: after notebooks 12 and 13."""

import math

import torch
from torch import Tensor

from minidiff.checks.records import Case, Exercise, Wrong
from minidiff.checks.views import UNSEEN
from minidiff.workshop.labs.hidden import double, normals
from minidiff.workshop.labs.records import Lab, Plot, Problem, Variant

__all__ = ["LAB"]

DOUBLE = torch.float64


def within(g, low: float, high: float, *shape: int) -> Tensor:
    """Uniform numbers between two others for the hidden cases."""
    return low + (high - low) * torch.rand(shape, generator=g, dtype=DOUBLE)


def where_it_falls_to(function, wanted: Tensor) -> Tensor:
    """By halving: where a falling function on (0, 1) has the wanted values."""
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    for _ in range(60):
        middle = (low + high) / 2
        above = function(middle) > wanted
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (low + high) / 2


# shift: the scale of the pixels, or their number, is a part of the path


def time_of_blocks(t, k):
    return 2 / math.pi * torch.atan(torch.tan(math.pi * t / 2) / k)


def time_of_blocks_by_sides(t, k):
    alpha, sigma = torch.cos(math.pi * t / 2), torch.sin(math.pi * t / 2)
    return torch.atan2(sigma, k * alpha) * 2 / math.pi


def time_of_blocks_truth(t, k):  # the mean of a block is a scalar product with k² equal numbers
    averaging = torch.full((k * k,), 1 / (k * k), dtype=t.dtype)
    noise = torch.sin(math.pi * t / 2) ** 2 * (averaging @ averaging)
    signal = torch.cos(math.pi * t / 2) ** 2 * averaging.sum() ** 2

    def ratio(time):
        return torch.cos(math.pi * time / 2) ** 2 / torch.sin(math.pi * time / 2) ** 2

    return where_it_falls_to(ratio, signal / noise)


def time_of_blocks_cases(g):
    return (
        Case((double(0.2, 0.45, 0.9), 2), "t = (0.2, 0.45, 0.9) and k = 2"),
        Case((within(g, 0.05, 0.95, 6), 3), "hidden times and smaller blocks"),
        Case((within(g, 0.3, 0.97, 5), 7), "hidden times and larger blocks"),
    )


TIME_OF_BLOCKS = Exercise(
    id="lab12-13.shift.blocks",
    name="time_of_blocks",
    stub='''
def time_of_blocks(t, k):
    """The times, (n,), at which one pixel is as noisy as the mean of k times k pixels is at the times t, (n,)."""
    ...  # your code
''',
    solution=time_of_blocks,
    alternative=time_of_blocks_by_sides,
    why=(
        "The mean of k² pixels keeps alpha, and its noise has the variance sigma² / k², so sigma / alpha = tan(pi t / "
        "2) is divided by k."
    ),
    truth=time_of_blocks_truth,
    cases=time_of_blocks_cases,
    hints=(),
    wrong=(
        Wrong(
            "the noise falls by the root of k",
            lambda t, k: 2 / math.pi * torch.atan(torch.tan(math.pi * t / 2) / math.sqrt(k)),
            "You divide sigma by the root of k. But a block holds k² pixels and not k, so its variance falls by k².",
            UNSEEN,
        ),
        Wrong(
            "the noise falls by k squared",
            lambda t, k: 2 / math.pi * torch.atan(torch.tan(math.pi * t / 2) / k**2),
            "You divide sigma by k². It is the variance of the noise that is divided by the number of pixels.",
            UNSEEN,
        ),
        Wrong(
            "more noise",
            lambda t, k: 2 / math.pi * torch.atan(torch.tan(math.pi * t / 2) * k),
            "Your times are later than t, where there is more noise. A mean has less noise than each of its pixels.",
            UNSEEN,
        ),
        Wrong(
            "the time divided",
            lambda t, k: t / k,
            "You divide the time by k. That would be right if sigma / alpha were proportional to t, but on this path "
            "it is a tangent.",
            UNSEEN,
        ),
        Wrong(
            "an angle for a time",
            lambda t, k: torch.atan(torch.tan(math.pi * t / 2) / k),
            "You return the angle whose tangent is sigma / alpha. A time goes from 0 to 1, and its angle from 0 to "
            "half of pi.",
            UNSEEN,
        ),
    ),
)


def alpha_bar_for(alpha_bar, c):
    return alpha_bar / (alpha_bar + c**2 * (1 - alpha_bar))


def alpha_bar_for_by_log_snr(alpha_bar, c):
    return torch.sigmoid(torch.logit(alpha_bar) - 2 * math.log(c))


def alpha_bar_for_truth(alpha_bar, c):
    pixel = 0.37  # of the usual range; any would do
    wanted = pixel**2 * alpha_bar / (1 - alpha_bar)

    def ratio(noise):
        return (c * pixel) ** 2 * (1 - noise) / noise

    return 1 - where_it_falls_to(ratio, wanted)


def alpha_bar_for_cases(g):
    return (
        Case((double(0.9, 0.55, 0.1), 2.0), "alpha_bar = (0.9, 0.55, 0.1) and c = 2"),
        Case((within(g, 0.05, 0.95, 6), 8.0), "hidden paths and a wide range"),
        Case((within(g, 0.05, 0.95, 5), 0.3), "hidden paths and a narrow range"),
    )


ALPHA_BAR_FOR = Exercise(
    id="lab12-13.shift.range",
    name="alpha_bar_for",
    stub='''
def alpha_bar_for(alpha_bar, c):
    """The alpha_bar, (n,), at which pixels in [-c, c] are as noisy as pixels in [-1, 1] at those given, (n,)."""
    ...  # your code
''',
    solution=alpha_bar_for,
    alternative=alpha_bar_for_by_log_snr,
    why=(
        "Pixels that are c times as large have c² times the signal-to-noise ratio, so the path must divide its own "
        "ratio alpha_bar / (1 - alpha_bar) by c²."
    ),
    truth=alpha_bar_for_truth,
    cases=alpha_bar_for_cases,
    hints=(),
    wrong=(
        Wrong(
            "c for its square",
            lambda alpha_bar, c: alpha_bar / (alpha_bar + c * (1 - alpha_bar)),
            "You divide the signal-to-noise ratio by c. It compares squares, so pixels c times as large raise it by "
            "c².",
            UNSEEN,
        ),
        Wrong(
            "the other direction",
            lambda alpha_bar, c: c**2 * alpha_bar / (c**2 * alpha_bar + 1 - alpha_bar),
            "Your path goes the wrong way: the larger the pixels, the less noise it has. Large pixels drown the noise "
            "already, so they need more.",
            UNSEEN,
        ),
        Wrong(
            "the signal alone",
            lambda alpha_bar, c: alpha_bar / c**2,
            "You divide alpha_bar by c². Then 1 - alpha_bar, the variance of the noise, changes as well, so the ratio "
            "of the two is not divided by c².",
            UNSEEN,
        ),
        Wrong(
            "alpha for alpha_bar",
            lambda alpha_bar, c: torch.sqrt(alpha_bar / (alpha_bar + c**2 * (1 - alpha_bar))),
            "You return alpha, the factor before the pixels. Asked for is its square, alpha_bar.",
            UNSEEN,
        ),
        Wrong(
            "the ratio itself",
            lambda alpha_bar, c: alpha_bar / (1 - alpha_bar) / c**2,
            "You return the signal-to-noise ratio of the new path. One more step leads from it to alpha_bar.",
            UNSEEN,
        ),
        Wrong(
            "the width of the range",
            lambda alpha_bar, c: alpha_bar / (alpha_bar + (2 * c) ** 2 * (1 - alpha_bar)),
            "You take 2 c, the width of the new range, for the factor. The old range is 2 wide as well, so the pixels "
            "are c times as large.",
            "notebook 12, exercise 12.11",
        ),
    ),
)

SHIFT = Problem(
    name="shift",
    points=3,
    variants=(
        Variant(
            TIME_OF_BLOCKS,
            "The cosine path is $x_t = \\alpha x_0 + \\sigma \\varepsilon$ with $\\alpha = \\cos(\\pi t/2)$ and "
            "$\\sigma = \\sin(\\pi t/2)$, and every pixel has standard normal noise $\\varepsilon$ of its own. A "
            "picture is enlarged: each of its pixels becomes a block of $k \\times k$ pixels with the same value, and "
            "then noise is added up to time $t$. The mean of a block in this noisy picture is again $\\alpha$ times "
            "the pixel, plus noise. Write a function that returns the time $t'$ at which one pixel of the small "
            "picture, on the same path, has the same signal-to-noise ratio as that mean has at time $t$. The "
            "signal-to-noise ratio is the square of the factor before the clean pixel, divided by the variance of the "
            "noise. `t` is a tensor of shape (n,), float64, with times strictly between 0 and 1, and `k` is a whole "
            "number of at least 1.",
            "notebook 12, section 2",
        ),
        Variant(
            ALPHA_BAR_FOR,
            "A path $x_t = \\sqrt{\\bar\\alpha}\\, x_0 + \\sqrt{1 - \\bar\\alpha}\\, \\varepsilon$ was made for pixels "
            "in $[-1, 1]$. The noise $\\varepsilon$ is standard normal. Somebody has multiplied all pixels by $c$, so "
            "that they lie in $[-c, c]$. Write a function that returns the $\\bar\\alpha'$ of another path of the same "
            "form, such that the multiplied pixels have the same signal-to-noise ratio on the new path as the original "
            "ones have on the given path. The signal-to-noise ratio of a pixel is the square of its part in $x_t$ "
            "without the noise, divided by the variance of its noise. `alpha_bar` is a tensor of shape (n,), float64, "
            "with numbers strictly between 0 and 1, one for each time, and `c` is a positive number.",
            "notebook 12, section 2",
        ),
    ),
)


# normalise: what a block does before its second convolution, over groups of channels or over the channels of a token


def group_modulate(h, scale, shift, groups):
    parts = h.reshape(len(h), groups, -1)
    parts = (parts - parts.mean(dim=2, keepdim=True)) / parts.std(dim=2, keepdim=True, unbiased=False)
    return (1 + scale[:, :, None, None]) * parts.reshape(h.shape) + shift[:, :, None, None]


def group_modulate_by_the_library(h, scale, shift, groups):
    flat = torch.nn.functional.group_norm(h, groups, eps=0.0)
    return flat + torch.einsum("bchw,bc->bchw", flat, scale) + shift.unsqueeze(-1).unsqueeze(-1)


def group_modulate_truth(h, scale, shift, groups):
    out, size = torch.empty_like(h), h.shape[1] // groups
    for b in range(h.shape[0]):
        for c in range(h.shape[1]):
            first = c // size * size
            group = h[b, first : first + size]
            centred = h[b, c] - group.sum() / group.numel()
            variance = (group**2).sum() / group.numel() - (group.sum() / group.numel()) ** 2
            out[b, c] = centred / variance**0.5 * (1 + float(scale[b, c])) + float(shift[b, c])
    return out


def group_modulate_cases(g):
    h = (torch.arange(32, dtype=DOUBLE) * 5 % 13 + torch.arange(32, dtype=DOUBLE) / 4).reshape(2, 4, 2, 2)
    scale = double(0.5, -0.3, 1.2, 0.1, 0.4, 0.7, -0.6, 0.2).reshape(2, 4)
    shift = double(3.0, -1.0, 0.7, 2.0, -2.0, 0.6, 1.4, -0.4).reshape(2, 4)
    hidden = 2 + 3 * normals(g, 3, 6, 2, 3) + 4 * normals(g, 3, 6, 1, 1)
    return (
        Case((h, scale, shift, 2), "two pictures of 2 × 2 positions with four channels in two groups"),
        Case((hidden, normals(g, 3, 6), normals(g, 3, 6), 2), "hidden pictures with other numbers of channels"),
        Case(
            (2 + 0.01 * normals(g, 2, 6, 2, 2), normals(g, 2, 6), normals(g, 2, 6), 3),
            "hidden pictures that are almost grey",
        ),
    )


def groups_by_channel(h, scale, shift, groups):
    h = (h - h.mean(dim=(2, 3), keepdim=True)) / h.std(dim=(2, 3), keepdim=True, unbiased=False)
    return (1 + scale[:, :, None, None]) * h + shift[:, :, None, None]


def groups_over_the_batch(h, scale, shift, groups):
    parts = h.reshape(len(h), groups, -1)
    parts = (parts - parts.mean(dim=(0, 2), keepdim=True)) / parts.std(dim=(0, 2), keepdim=True, unbiased=False)
    return (1 + scale[:, :, None, None]) * parts.reshape(h.shape) + shift[:, :, None, None]


def groups_in_one_group(h, scale, shift, groups):
    h = (h - h.mean(dim=(1, 2, 3), keepdim=True)) / h.std(dim=(1, 2, 3), keepdim=True, unbiased=False)
    return (1 + scale[:, :, None, None]) * h + shift[:, :, None, None]


def groups_by_the_variance(h, scale, shift, groups):
    parts = h.reshape(len(h), groups, -1)
    parts = (parts - parts.mean(dim=2, keepdim=True)) / parts.var(dim=2, keepdim=True, unbiased=False)
    return (1 + scale[:, :, None, None]) * parts.reshape(h.shape) + shift[:, :, None, None]


def groups_by_one_less(h, scale, shift, groups):
    parts = h.reshape(len(h), groups, -1)
    parts = (parts - parts.mean(dim=2, keepdim=True)) / parts.std(dim=2, keepdim=True)
    return (1 + scale[:, :, None, None]) * parts.reshape(h.shape) + shift[:, :, None, None]


def groups_by_scale_alone(h, scale, shift, groups):
    parts = h.reshape(len(h), groups, -1)
    parts = (parts - parts.mean(dim=2, keepdim=True)) / parts.std(dim=2, keepdim=True, unbiased=False)
    return scale[:, :, None, None] * parts.reshape(h.shape) + shift[:, :, None, None]


def groups_with_eps(h, scale, shift, groups):
    flat = torch.nn.functional.group_norm(h, groups)
    return (1 + scale[:, :, None, None]) * flat + shift[:, :, None, None]


GROUP_MODULATE = Exercise(
    id="lab12-13.normalise.groups",
    name="group_modulate",
    stub='''
def group_modulate(h, scale, shift, groups):
    """Bring each group of channels to mean 0 and variance 1, then scale and shift. h: (B, C, H, W). As h."""
    ...  # your code
''',
    solution=group_modulate,
    alternative=group_modulate_by_the_library,
    why="All channels of a group and all positions share one mean and one variance; each picture has its own.",
    truth=group_modulate_truth,
    cases=group_modulate_cases,
    hints=(),
    wrong=(
        Wrong(
            "each channel alone",
            groups_by_channel,
            "You bring every channel to mean 0 by itself. The channels of a group share one mean and one variance, so "
            "that it still shows which of them is the larger.",
            UNSEEN,
        ),
        Wrong(
            "the whole batch",
            groups_over_the_batch,
            "Your mean goes over the pictures of the batch, too. Then the answer for a picture depends on which others "
            "came with it.",
            UNSEEN,
        ),
        Wrong(
            "all channels at once",
            groups_in_one_group,
            "You take all channels of a picture for one group. The number of groups is the last argument.",
            UNSEEN,
        ),
        Wrong(
            "the variance as a divisor",
            groups_by_the_variance,
            "You divide by the variance. A variance of 1 is left if you divide by the standard deviation.",
            UNSEEN,
        ),
        Wrong(
            "n - 1 for n",
            groups_by_one_less,
            "You use PyTorch's standard deviation as it comes, which divides by n - 1. The problem divides the sum of "
            "squares by n, the number of values in the group.",
            UNSEEN,
        ),
        Wrong(
            "no 1",
            groups_by_scale_alone,
            "You multiply by scale. With scale = 0 a channel would be silent, but it should stay as it is.",
            UNSEEN,
        ),
        Wrong(
            "eps in the root",
            groups_with_eps,
            "You add a small number to the variance, as PyTorch's layers do unless they are told not to. In a group "
            "whose values hardly differ it is no longer small, and here nothing should be added.",
            UNSEEN,
        ),
    ),
)


def token_modulate(h, scale, shift):
    h = (h - h.mean(dim=2, keepdim=True)) / h.std(dim=2, keepdim=True, unbiased=False)
    return (1 + scale[:, None]) * h + shift[:, None]


def token_modulate_by_the_library(h, scale, shift):
    flat = torch.nn.functional.layer_norm(h, h.shape[2:], eps=0.0)
    return flat + torch.einsum("btc,bc->btc", flat, scale) + shift.unsqueeze(1)


def token_modulate_truth(h, scale, shift):
    out = torch.empty_like(h)
    for b, picture in enumerate(h):
        for i, token in enumerate(picture):
            mean = token.sum() / len(token)
            variance = (token @ token) / len(token) - mean**2
            for c, value in enumerate(token):
                out[b, i, c] = (value - mean) / variance**0.5 * (1 + float(scale[b, c])) + float(shift[b, c])
    return out


def token_modulate_cases(g):  # as many tokens as pictures, so that a wrong axis runs without complaint
    h = (torch.arange(16, dtype=DOUBLE) * 5 % 13 + torch.arange(16, dtype=DOUBLE) / 4).reshape(2, 2, 4)
    scale = double(0.5, -0.3, 1.2, 0.1, 0.4, 0.7, -0.6, 0.2).reshape(2, 4)
    shift = double(3.0, -1.0, 0.7, 2.0, -2.0, 0.6, 1.4, -0.4).reshape(2, 4)
    return (
        Case((h, scale, shift), "two pictures of two tokens with four channels"),
        Case(
            (2 + 3 * normals(g, 3, 3, 5), normals(g, 3, 5), normals(g, 3, 5)),
            "hidden pictures with other numbers of tokens",
        ),
        Case(
            (2 + 0.01 * normals(g, 2, 2, 6), normals(g, 2, 6), normals(g, 2, 6)),
            "hidden tokens whose channels hardly differ",
        ),
    )


def tokens_along_the_picture(h, scale, shift):
    h = (h - h.mean(dim=1, keepdim=True)) / h.std(dim=1, keepdim=True, unbiased=False)
    return (1 + scale[:, None]) * h + shift[:, None]


def tokens_all_at_once(h, scale, shift):
    h = (h - h.mean(dim=(1, 2), keepdim=True)) / h.std(dim=(1, 2), keepdim=True, unbiased=False)
    return (1 + scale[:, None]) * h + shift[:, None]


def tokens_lined_up(h, scale, shift):
    h = (h - h.mean(dim=2, keepdim=True)) / h.std(dim=2, keepdim=True, unbiased=False)
    return (1 + scale) * h + shift


def tokens_by_the_variance(h, scale, shift):
    h = (h - h.mean(dim=2, keepdim=True)) / h.var(dim=2, keepdim=True, unbiased=False)
    return (1 + scale[:, None]) * h + shift[:, None]


def tokens_by_one_less(h, scale, shift):
    h = (h - h.mean(dim=2, keepdim=True)) / h.std(dim=2, keepdim=True)
    return (1 + scale[:, None]) * h + shift[:, None]


def tokens_by_scale_alone(h, scale, shift):
    h = (h - h.mean(dim=2, keepdim=True)) / h.std(dim=2, keepdim=True, unbiased=False)
    return scale[:, None] * h + shift[:, None]


def tokens_with_eps(h, scale, shift):
    flat = torch.nn.functional.layer_norm(h, h.shape[2:])
    return (1 + scale[:, None]) * flat + shift[:, None]


TOKEN_MODULATE = Exercise(
    id="lab12-13.normalise.tokens",
    name="token_modulate",
    stub='''
def token_modulate(h, scale, shift):
    """Bring each token to mean 0 and variance 1 over its channels, then scale and shift. h: (B, T, C). As h."""
    ...  # your code
''',
    solution=token_modulate,
    alternative=token_modulate_by_the_library,
    why="Each token has its own mean and variance; scale and shift belong to a picture and serve all its tokens.",
    truth=token_modulate_truth,
    cases=token_modulate_cases,
    hints=(),
    wrong=(
        Wrong(
            "over the tokens",
            tokens_along_the_picture,
            "Your mean goes over the tokens, for each channel. Here every token is normalised by itself, over its "
            "channels.",
            UNSEEN,
        ),
        Wrong(
            "the whole picture",
            tokens_all_at_once,
            "You take one mean and one variance for all tokens of a picture. Each token has its own.",
            UNSEEN,
        ),
        Wrong(
            "lined up with the tokens",
            tokens_lined_up,
            "You line up the pictures of scale and shift with the tokens of h, because axes are lined up from the "
            "right. It runs only because there are as many tokens as pictures.",
            "jolibrain/joliGEN#527",
        ),
        Wrong(
            "the variance as a divisor",
            tokens_by_the_variance,
            "You divide by the variance. A variance of 1 is left if you divide by the standard deviation.",
            UNSEEN,
        ),
        Wrong(
            "n - 1 for n",
            tokens_by_one_less,
            "You use PyTorch's standard deviation as it comes, which divides by n - 1. The problem divides the sum of "
            "squares by n, the number of channels.",
            UNSEEN,
        ),
        Wrong(
            "no 1",
            tokens_by_scale_alone,
            "You multiply by scale. With scale = 0 a channel would be silent, but it should stay as it is.",
            UNSEEN,
        ),
        Wrong(
            "eps in the root",
            tokens_with_eps,
            "You add a small number to the variance, as PyTorch's layers do unless they are told not to. In a token "
            "whose channels hardly differ it is no longer small, and here nothing should be added.",
            UNSEEN,
        ),
    ),
)

NORMALISE = Problem(
    name="normalise",
    points=3,
    variants=(
        Variant(
            GROUP_MODULATE,
            "In a block of the U-Net, `GroupNorm` comes before the noise level enters. Write both in one function. The "
            "channels of `h`, (B, C, H, W), are divided into `groups` groups of equal size: the first $C$ / `groups` "
            "channels are the first group, and so on. In each picture and each group, subtract the mean $\\mu$ over "
            "all its channels and positions, and divide by $\\sqrt{v}$. Here $v$ is the variance $\\frac1n \\sum_i "
            "(h_i - \\mu)^2$ over the same $n$ values, with nothing added to it. The noise level then enters through "
            "`scale` and `shift`, both (B, C): channel $c$ of picture $b$ is multiplied by 1 + `scale[b, c]`, and "
            "`shift[b, c]` is added. All tensors are float64, and so is the result, (B, C, H, W).",
            "notebook 12, section 6",
        ),
        Variant(
            TOKEN_MODULATE,
            "A transformer cuts a picture into patches and makes of each a list of $C$ numbers, a *token*. So `h` has "
            "the shape (B, T, C): pictures, tokens, channels. Write how the noise level enters. First each token is "
            "normalised by itself: subtract the mean $\\mu$ over its $C$ channels, and divide by $\\sqrt{v}$. Here $v$ "
            "is the variance $\\frac1C \\sum_c (h_c - \\mu)^2$, with nothing added to it. Then the noise level enters "
            "as in the U-Net, through `scale` and `shift`, both (B, C): in each token of picture $b$, channel $c$ is "
            "multiplied by 1 + `scale[b, c]`, and `shift[b, c]` is added. All tensors are float64, and so is the "
            "result, (B, T, C).",
            "notebook 12, section 6",
        ),
    ),
)


# clip: move the estimate of x0 into [-1, 1], and return what the network should have predicted


def clip_eps(eps_hat, x_t, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    x0_hat = ((x_t - sigma * eps_hat) / alpha).clamp(-1, 1)
    return (x_t - alpha * x0_hat) / sigma


def clip_eps_by_its_own_limits(eps_hat, x_t, alpha, sigma):  # the noises of a white and of a black picture
    a, s = alpha.reshape(-1, 1, 1, 1), sigma.reshape(-1, 1, 1, 1)
    return torch.maximum(torch.minimum(eps_hat, (x_t + a) / s), (x_t - a) / s)


def clip_eps_truth(eps_hat, x_t, alpha, sigma):
    out = eps_hat.clone()
    for b in range(len(out)):
        x0_hat = x_t[b] / alpha[b] - eps_hat[b] * (sigma[b] / alpha[b])
        out[b] += alpha[b] / sigma[b] * (torch.relu(x0_hat - 1) - torch.relu(-1 - x0_hat))
    return out


def levels(times: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of the cosine path."""
    return torch.cos(math.pi * times / 2), torch.sin(math.pi * times / 2)


def noisy_pictures(g, times: Tensor, height: int) -> tuple[Tensor, ...]:
    """x_t and the eps and x0 of a poor network, (B, 1, height, B): as many columns as pictures."""
    shape = (len(times), 1, height, len(times))
    alpha, sigma = (level[:, None, None, None] for level in levels(times))
    x0, eps = within(g, -1, 1, *shape), normals(g, *shape)
    x_t = alpha * x0 + sigma * eps
    eps_hat = eps + (1.2 * alpha / sigma) * normals(g, *shape)
    return x_t, eps_hat, (x_t - sigma * eps_hat) / alpha


PUBLIC_X_T = double(1.5, -0.7, 0.4, -1.8).reshape(2, 1, 1, 2)
PUBLIC_TIMES = double(0.4, 0.8)


def clip_eps_cases(g):
    times = within(g, 0.2, 0.9, 3)
    x_t, eps_hat, _ = noisy_pictures(g, times, 4)
    public = double(0.3, -0.2, 0.9, -1.2).reshape(2, 1, 1, 2)
    return (
        Case(
            (public, PUBLIC_X_T, *levels(PUBLIC_TIMES)),
            "two pictures of 1 × 2 pixels at t = 0.4 and 0.8, eps_hat = ((0.3, -0.2), (0.9, -1.2)) and "
            "x_t = ((1.5, -0.7), (0.4, -1.8))",
        ),
        Case((eps_hat, x_t, *levels(times)), "hidden pictures with a poor estimate"),
    )


def clip_eps_and_x_t(eps_hat, x_t, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    x_t = x_t.clamp(-1, 1)
    x0_hat = ((x_t - sigma * eps_hat) / alpha).clamp(-1, 1)
    return (x_t - alpha * x0_hat) / sigma


def clip_eps_to_x0(eps_hat, x_t, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    return ((x_t - sigma * eps_hat) / alpha).clamp(-1, 1)


def clip_eps_times_alpha(eps_hat, x_t, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    x0_hat = (x_t - sigma * eps_hat).clamp(-1, 1)
    return (x_t - x0_hat) / sigma


def clip_eps_along_the_columns(eps_hat, x_t, alpha, sigma):
    x0_hat = ((x_t - sigma * eps_hat) / alpha).clamp(-1, 1)
    return (x_t - alpha * x0_hat) / sigma


CLIP_EPS = Exercise(
    id="lab12-13.clip.eps",
    name="clip_eps",
    stub='''
def clip_eps(eps_hat, x_t, alpha, sigma):
    """The noise that belongs to the clipped estimate. eps_hat, x_t: (B, 1, H, W); alpha, sigma: (B,). As x_t."""
    ...  # your code
''',
    solution=clip_eps,
    alternative=clip_eps_by_its_own_limits,
    why="The estimate of x0 is clipped, and x_t stays: what is left of x_t after the clipped estimate is its noise.",
    truth=clip_eps_truth,
    cases=clip_eps_cases,
    hints=(),
    wrong=(
        Wrong(
            "clips the noise",
            lambda eps_hat, x_t, alpha, sigma: eps_hat.clamp(-1, 1),
            "You clip the noise itself. It is the image that lies in [-1, 1], and a third of all noise does not.",
            UNSEEN,
        ),
        Wrong(
            "clips x_t",
            clip_eps_and_x_t,
            "You clip x_t as well. A noisy picture is supposed to leave [-1, 1]; only its estimate of x0 is not.",
            "the catalogue: clips x_t",
        ),
        Wrong(
            "the estimate itself",
            clip_eps_to_x0,
            "You return the clipped estimate of x0. Asked for is the noise that belongs to it.",
            UNSEEN,
        ),
        Wrong(
            "not clipped",
            lambda eps_hat, x_t, alpha, sigma: eps_hat,
            "Your result is eps_hat again, so nothing was clipped.",
            UNSEEN,
        ),
        Wrong(
            "not divided by alpha",
            clip_eps_times_alpha,
            "You clip alpha times the estimate. It lies in [-alpha, alpha], so divide by alpha before you clip.",
            UNSEEN,
        ),
        Wrong(
            "alpha along the columns",
            clip_eps_along_the_columns,
            "You use alpha and sigma as they come. Then they are lined up with the columns of the pictures and not "
            "with the pictures.",
            "jolibrain/joliGEN#527, IrisRainbowNeko/HCP-Diffusion#82",
        ),
    ),
)


def clip_v(v_hat, x_t, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    x0_hat = (alpha * x_t - sigma * v_hat).clamp(-1, 1)
    return (alpha * x_t - x0_hat) / sigma


def clip_v_by_eps(v_hat, x_t, alpha, sigma):
    a, s = alpha.reshape(-1, 1, 1, 1), sigma.reshape(-1, 1, 1, 1)
    x0_hat = torch.clip(a * x_t - s * v_hat, min=-1, max=1)
    eps_hat = (x_t - a * x0_hat) / s
    return a * eps_hat - s * x0_hat


def clip_v_truth(v_hat, x_t, alpha, sigma):
    out = v_hat.clone()
    for b in range(len(out)):
        x0_hat = x_t[b] * alpha[b] - v_hat[b] * sigma[b]
        out[b] += (torch.relu(x0_hat - 1) - torch.relu(-1 - x0_hat)) / sigma[b]
    return out


def clip_v_cases(g):
    times = within(g, 0.2, 0.9, 3)
    x_t, eps_hat, x0_hat = noisy_pictures(g, times, 4)
    alpha, sigma = (level[:, None, None, None] for level in levels(times))
    public = double(-0.9, -1.6, 0.7, -0.8).reshape(2, 1, 1, 2)
    return (
        Case(
            (public, PUBLIC_X_T, *levels(PUBLIC_TIMES)),
            "two pictures of 1 × 2 pixels at t = 0.4 and 0.8, v_hat = ((-0.9, -1.6), (0.7, -0.8)) and "
            "x_t = ((1.5, -0.7), (0.4, -1.8))",
        ),
        Case((alpha * eps_hat - sigma * x0_hat, x_t, *levels(times)), "hidden pictures with a poor estimate"),
    )


def clip_v_and_x_t(v_hat, x_t, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    x_t = x_t.clamp(-1, 1)
    x0_hat = (alpha * x_t - sigma * v_hat).clamp(-1, 1)
    return (alpha * x_t - x0_hat) / sigma


def clip_v_to_x0(v_hat, x_t, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    return (alpha * x_t - sigma * v_hat).clamp(-1, 1)


def clip_v_with_the_old_noise(v_hat, x_t, alpha, sigma):
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    x0_hat, eps_hat = alpha * x_t - sigma * v_hat, sigma * x_t + alpha * v_hat
    return alpha * eps_hat - sigma * x0_hat.clamp(-1, 1)


def clip_v_along_the_columns(v_hat, x_t, alpha, sigma):
    x0_hat = (alpha * x_t - sigma * v_hat).clamp(-1, 1)
    return (alpha * x_t - x0_hat) / sigma


CLIP_V = Exercise(
    id="lab12-13.clip.v",
    name="clip_v",
    stub='''
def clip_v(v_hat, x_t, alpha, sigma):
    """The v that belongs to the clipped estimate. v_hat, x_t: (B, 1, H, W); alpha, sigma: (B,). As x_t."""
    ...  # your code
''',
    solution=clip_v,
    alternative=clip_v_by_eps,
    why="The estimate alpha x_t - sigma v is clipped, and x_t stays, so v is (alpha x_t - estimate) / sigma.",
    truth=clip_v_truth,
    cases=clip_v_cases,
    hints=(),
    wrong=(
        Wrong(
            "clips v",
            lambda v_hat, x_t, alpha, sigma: v_hat.clamp(-1, 1),
            "You clip v itself. It holds noise, which may be of any size; it is the image that lies in [-1, 1].",
            UNSEEN,
        ),
        Wrong(
            "clips x_t",
            clip_v_and_x_t,
            "You clip x_t as well. A noisy picture is supposed to leave [-1, 1]; only its estimate of x0 is not.",
            "the catalogue: clips x_t",
        ),
        Wrong(
            "the estimate itself",
            clip_v_to_x0,
            "You return the clipped estimate of x0. Asked for is the v that belongs to it.",
            UNSEEN,
        ),
        Wrong(
            "not clipped",
            lambda v_hat, x_t, alpha, sigma: v_hat,
            "Your result is v_hat again, so nothing was clipped.",
            UNSEEN,
        ),
        Wrong(
            "the old noise",
            clip_v_with_the_old_noise,
            "You join the clipped estimate with the noise of the estimate before it was clipped. These two do not add "
            "up to x_t.",
            UNSEEN,
        ),
        Wrong(
            "alpha along the columns",
            clip_v_along_the_columns,
            "You use alpha and sigma as they come. Then they are lined up with the columns of the pictures and not "
            "with the pictures.",
            "jolibrain/joliGEN#527, IrisRainbowNeko/HCP-Diffusion#82",
        ),
    ),
)

CLIP = Problem(
    name="clip",
    points=3,
    variants=(
        Variant(
            CLIP_EPS,
            "On the cosine path $x_t = \\alpha x_0 + \\sigma \\varepsilon$, a network has predicted the noise "
            "$\\hat\\varepsilon$ in the noisy pictures $x_t$. The clean pixels lie in $[-1, 1]$, so the estimate "
            "$\\hat x_0$ that follows from $x_t$ and $\\hat\\varepsilon$ is clipped to $[-1, 1]$. Our sampler, "
            "however, wants a noise. Write a function that returns the noise which, together with the *clipped* "
            "estimate, makes up the same $x_t$. `eps_hat` and `x_t` have the shape (B, 1, H, W); `alpha` and `sigma`, "
            "(B,), belong to the times of the B pictures, and both are positive. All tensors are float64.",
            "notebook 12, section 11",
        ),
        Variant(
            CLIP_V,
            "On the cosine path $x_t = \\alpha x_0 + \\sigma \\varepsilon$, where $\\alpha^2 + \\sigma^2 = 1$, a "
            "network has predicted $\\hat v$, its guess of $v = \\alpha \\varepsilon - \\sigma x_0$ for the noisy "
            "pictures $x_t$. The clean pixels lie in $[-1, 1]$, so the estimate $\\hat x_0$ that follows from $x_t$ "
            "and $\\hat v$ is clipped to $[-1, 1]$. Our sampler, however, wants a $v$. Write a function that returns "
            "the $v$ from which, at the same $x_t$, the *clipped* estimate follows. `v_hat` and `x_t` have the shape "
            "(B, 1, H, W); `alpha` and `sigma`, (B,), belong to the times of the B pictures, and both are positive. "
            "All tensors are float64.",
            "notebook 12, section 11",
        ),
    ),
)


# weight: the loss of v for a network that predicts something else


def loss_from_x0(x0_hat, x0, sigma, most):
    weight = (1 / sigma**2).clamp(max=most)
    return (weight * ((x0_hat - x0) ** 2).flatten(1).mean(dim=1)).mean()


def loss_from_x0_by_errors(x0_hat, x0, sigma, most):
    divisor = torch.maximum(sigma, torch.tensor(most, dtype=sigma.dtype) ** -0.5)
    error = (x0_hat - x0) / divisor.reshape(-1, 1, 1, 1)
    return error.square().mean()


def loss_from_x0_truth(x0_hat, x0, sigma, most):  # v itself, for an x_t that does not matter
    total = 0.0
    for guess, right, noise in zip(x0_hat, x0, sigma.tolist(), strict=True):
        alpha, x_t = math.sqrt(1 - noise**2), 0.7 * right + 0.1
        v_hat, v = (alpha * x_t - guess) / noise, (alpha * x_t - right) / noise
        total += float(((v_hat - v) ** 2).mean()) * min(1.0, most * noise**2)
    return total / len(x0)


def pictures_and_guesses(g, count: int) -> tuple[Tensor, Tensor]:
    return within(g, -1, 1, count, 1, 2, 3), within(g, -1, 1, count, 1, 2, 3)


def loss_from_x0_cases(g):
    x0_hat, x0 = double(0.5, -0.3, 0.9, 0.2).reshape(2, 1, 1, 2), double(1.0, -1.0, 0.6, -0.4).reshape(2, 1, 1, 2)
    return (
        Case(
            (x0_hat, x0, double(0.8, 0.1), 20.0),
            "two pictures of 1 × 2 pixels with sigma = 0.8 and 0.1, and no weight above 20",
        ),
        Case(
            (*pictures_and_guesses(g, 5), double(0.9, 0.05, 0.4, 0.7, 0.15), 12.0), "hidden pictures at several times"
        ),
        Case((*pictures_and_guesses(g, 4), within(g, 0.3, 0.95, 4), 50.0), "hidden pictures at later times"),
    )


LOSS_FROM_X0 = Exercise(
    id="lab12-13.weight.x0",
    name="loss_from_x0",
    stub='''
def loss_from_x0(x0_hat, x0, sigma, most):
    """The mean square error of v, one number, no picture weighing more than most. x0_hat, x0: (B, 1, H, W)."""
    ...  # your code
''',
    solution=loss_from_x0,
    alternative=loss_from_x0_by_errors,
    why="An error d in x0 is an error -d / sigma in v, so the square error of each picture has the weight 1 / sigma².",
    truth=loss_from_x0_truth,
    cases=loss_from_x0_cases,
    hints=(),
    wrong=(
        Wrong(
            "no weight",
            lambda x0_hat, x0, sigma, most: ((x0_hat - x0) ** 2).mean(),
            "You return the square error of x0. An error in x0 is a larger error in v, by a factor that depends on "
            "sigma.",
            UNSEEN,
        ),
        Wrong(
            "no square",
            lambda x0_hat, x0, sigma, most: (
                (1 / sigma).clamp(max=most)[:, None, None, None] * (x0_hat - x0) ** 2
            ).mean(),
            "Your weight is the factor by which the error grows. The loss holds squares of errors, so square it.",
            UNSEEN,
        ),
        Wrong(
            "upside down",
            lambda x0_hat, x0, sigma, most: (
                (sigma**2).clamp(max=most)[:, None, None, None] * (x0_hat - x0) ** 2
            ).mean(),
            "Your weight is upside down: it vanishes where there is little noise, and there v is most sensitive to x0.",
            "the catalogue: ratio upside down",
        ),
        Wrong(
            "at least for at most",
            lambda x0_hat, x0, sigma, most: (
                (1 / sigma**2).clamp(min=most)[:, None, None, None] * (x0_hat - x0) ** 2
            ).mean(),
            "You raise the small weights to `most`. No weight should be above it, so it is the large ones that change.",
            "lucidrains/recurrent-interface-network-pytorch#11",
        ),
        Wrong(
            "no limit",
            lambda x0_hat, x0, sigma, most: ((1 / sigma**2)[:, None, None, None] * (x0_hat - x0) ** 2).mean(),
            "You do not stop at `most`, so one picture with little noise outweighs all others.",
            UNSEEN,
        ),
        Wrong(
            "one weight for the batch",
            lambda x0_hat, x0, sigma, most: (1 / sigma**2).clamp(max=most).mean() * ((x0_hat - x0) ** 2).mean(),
            "You take the mean of the weights and the mean of the errors, and multiply these. Each picture's error has "
            "a weight of its own, so multiply first.",
            "the catalogue: mean before weight",
        ),
    ),
)


def loss_from_eps(eps_hat, eps, alpha, most):
    weight = (1 / alpha**2).clamp(max=most)
    return (weight * ((eps_hat - eps) ** 2).flatten(1).mean(dim=1)).mean()


def loss_from_eps_by_errors(eps_hat, eps, alpha, most):
    divisor = torch.maximum(alpha, torch.tensor(most, dtype=alpha.dtype) ** -0.5)
    error = (eps_hat - eps) / divisor.reshape(-1, 1, 1, 1)
    return error.square().mean()


def loss_from_eps_truth(eps_hat, eps, alpha, most):  # v itself, for an x_t that does not matter
    total = 0.0
    for guess, right, signal in zip(eps_hat, eps, alpha.tolist(), strict=True):
        sigma, x_t = math.sqrt(1 - signal**2), 0.7 * right + 0.1
        v_hat, v = (signal * noise - sigma * (x_t - sigma * noise) / signal for noise in (guess, right))
        total += float(((v_hat - v) ** 2).mean()) * min(1.0, most * signal**2)
    return total / len(eps)


def loss_from_eps_cases(g):
    eps_hat, eps = double(0.5, -0.3, 0.9, 0.2).reshape(2, 1, 1, 2), double(1.0, -1.0, 0.6, -0.4).reshape(2, 1, 1, 2)
    return (
        Case(
            (eps_hat, eps, double(0.8, 0.1), 20.0),
            "two pictures of 1 × 2 pixels with alpha = 0.8 and 0.1, and no weight above 20",
        ),
        Case(
            (normals(g, 5, 1, 2, 3), normals(g, 5, 1, 2, 3), double(0.9, 0.05, 0.4, 0.7, 0.15), 12.0),
            "hidden pictures at several times",
        ),
        Case(
            (normals(g, 4, 1, 2, 3), normals(g, 4, 1, 2, 3), within(g, 0.3, 0.95, 4), 50.0),
            "hidden pictures at earlier times",
        ),
    )


LOSS_FROM_EPS = Exercise(
    id="lab12-13.weight.eps",
    name="loss_from_eps",
    stub='''
def loss_from_eps(eps_hat, eps, alpha, most):
    """The mean square error of v, one number, no picture weighing more than most. eps_hat, eps: (B, 1, H, W)."""
    ...  # your code
''',
    solution=loss_from_eps,
    alternative=loss_from_eps_by_errors,
    why=(
        "An error d in eps is an error -sigma d / alpha in x0, so v is off by alpha d + sigma² d / alpha = d / alpha, "
        "and the weight is 1 / alpha²."
    ),
    truth=loss_from_eps_truth,
    cases=loss_from_eps_cases,
    hints=(),
    wrong=(
        Wrong(
            "no weight",
            lambda eps_hat, eps, alpha, most: ((eps_hat - eps) ** 2).mean(),
            "You return the square error of eps. An error in eps is a larger error in v, by a factor that depends on "
            "alpha.",
            UNSEEN,
        ),
        Wrong(
            "x0 held fixed",
            lambda eps_hat, eps, alpha, most: (
                (alpha**2).clamp(max=most)[:, None, None, None] * (eps_hat - eps) ** 2
            ).mean(),
            "Your weight is alpha², as if only the first term of v were wrong. But at a given x_t a wrong eps brings a "
            "wrong x0 with it.",
            UNSEEN,
        ),
        Wrong(
            "the error in x0",
            lambda eps_hat, eps, alpha, most: (
                ((1 - alpha**2) / alpha**2).clamp(max=most)[:, None, None, None] * (eps_hat - eps) ** 2
            ).mean(),
            "Your loss is that of the x0 that follows, with the weight sigma² / alpha². In v the error of eps itself "
            "is added to that.",
            UNSEEN,
        ),
        Wrong(
            "no square",
            lambda eps_hat, eps, alpha, most: (
                (1 / alpha).clamp(max=most)[:, None, None, None] * (eps_hat - eps) ** 2
            ).mean(),
            "Your weight is the factor by which the error grows. The loss holds squares of errors, so square it.",
            UNSEEN,
        ),
        Wrong(
            "at least for at most",
            lambda eps_hat, eps, alpha, most: (
                (1 / alpha**2).clamp(min=most)[:, None, None, None] * (eps_hat - eps) ** 2
            ).mean(),
            "You raise the small weights to `most`. No weight should be above it, so it is the large ones that change.",
            "lucidrains/recurrent-interface-network-pytorch#11",
        ),
        Wrong(
            "no limit",
            lambda eps_hat, eps, alpha, most: ((1 / alpha**2)[:, None, None, None] * (eps_hat - eps) ** 2).mean(),
            "You do not stop at `most`, so one picture of nearly pure noise outweighs all others.",
            UNSEEN,
        ),
    ),
)

WEIGHT = Problem(
    name="weight",
    points=4,
    variants=(
        Variant(
            LOSS_FROM_X0,
            "On the cosine path $x_t = \\alpha x_0 + \\sigma\\varepsilon$ with $\\alpha^2 + \\sigma^2 = 1$, a network "
            "looks at $x_t$ and predicts $\\hat x_0$. It is trained with the loss of $v = \\alpha\\varepsilon - "
            "\\sigma x_0$. So $\\hat v$ is the $v$ that follows from $\\hat x_0$ and the same $x_t$, and the loss of a "
            "picture is the mean of $(\\hat v - v)^2$ over its pixels. That is the mean of $(\\hat x_0 - x_0)^2$ over "
            "its pixels, times a weight which depends on the time alone. The weight grows without limit as $t \\to 0$, "
            "so where it would be above `most`, it is `most`. Return the mean of this loss over the B pictures. "
            "`x0_hat` and `x0`, (B, 1, H, W), are the predictions and the clean pictures, `sigma`, (B,), is $\\sigma$ "
            "at the times of the pictures and positive, and `most` is a positive number. All tensors are float64.",
            "notebook 13, section 4",
        ),
        Variant(
            LOSS_FROM_EPS,
            "On the cosine path $x_t = \\alpha x_0 + \\sigma\\varepsilon$ with $\\alpha^2 + \\sigma^2 = 1$, a network "
            "looks at $x_t$ and predicts the noise, $\\hat\\varepsilon$. It is trained with the loss of $v = "
            "\\alpha\\varepsilon - \\sigma x_0$. So $\\hat v$ is the $v$ that follows from $\\hat\\varepsilon$ and the "
            "same $x_t$, and the loss of a picture is the mean of $(\\hat v - v)^2$ over its pixels. That is the mean "
            "of $(\\hat\\varepsilon - \\varepsilon)^2$ over its pixels, times a weight which depends on the time "
            "alone. The weight grows without limit as $t \\to 1$, so where it would be above `most`, it is `most`. "
            "Return the mean of this loss over the B pictures. `eps_hat` and `eps`, (B, 1, H, W), are the predictions "
            "and the true noise, `alpha`, (B,), is $\\alpha$ at the times of the pictures and positive, and `most` is "
            "a positive number. All tensors are float64.",
            "notebook 13, section 4",
        ),
    ),
)


# sample: the sampler that draws no noise, on a path on which alpha² + sigma² is not 1, and with another target


def some_network(x, alpha, sigma):
    """What some network predicts for x, (B, 1, H, W), at the noise level of the numbers alpha and sigma. As x."""
    return torch.tanh(0.8 * x - 0.5 * alpha) + 0.4 * sigma * x + 0.2 * torch.cos(2 * x)


def sample_v(predict_v, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        v, scale = predict_v(x, alphas[i], sigmas[i]), alphas[i] ** 2 + sigmas[i] ** 2
        x0_hat = (alphas[i] * x - sigmas[i] * v) / scale
        eps_hat = (sigmas[i] * x + alphas[i] * v) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_v_as_a_turn(predict_v, x, alphas, sigmas):  # x and v are turned into each other, and stretched
    for a, s, a_next, s_next in zip(alphas[:-1], sigmas[:-1], alphas[1:], sigmas[1:], strict=True):
        v = predict_v(x, a, s)
        kept, turned = a * a_next + s * s_next, a * s_next - s * a_next
        x = (kept * x + turned * v) / (a * a + s * s)
    return x


def sample_v_truth(predict_v, x, alphas, sigmas):  # two equations with two unknowns in each step
    for alpha, sigma, *after in zip(alphas[:-1], sigmas[:-1], alphas[1:], sigmas[1:], strict=True):
        alpha, sigma = float(alpha), float(sigma)
        known = torch.stack([x.flatten(), predict_v(x, alpha, sigma).flatten()])
        parts = torch.linalg.solve(double(alpha, sigma, -sigma, alpha).reshape(2, 2), known)
        x = (double(*map(float, after)) @ parts).reshape(x.shape)
    return x


def sample_v_not_scaled(predict_v, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        v = predict_v(x, alphas[i], sigmas[i])
        x0_hat, eps_hat = alphas[i] * x - sigmas[i] * v, sigmas[i] * x + alphas[i] * v
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_v_by_the_root(predict_v, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        v, scale = predict_v(x, alphas[i], sigmas[i]), torch.sqrt(alphas[i] ** 2 + sigmas[i] ** 2)
        x0_hat, eps_hat = (alphas[i] * x - sigmas[i] * v) / scale, (sigmas[i] * x + alphas[i] * v) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_v_as_eps(predict_v, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        eps_hat = predict_v(x, alphas[i], sigmas[i])
        x0_hat = (x - sigmas[i] * eps_hat) / alphas[i]
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_v_of_the_first_noise(predict_v, x, alphas, sigmas):
    noise = x
    for i in range(len(alphas) - 1):
        v, scale = predict_v(x, alphas[i], sigmas[i]), alphas[i] ** 2 + sigmas[i] ** 2
        x0_hat = (alphas[i] * x - sigmas[i] * v) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * noise
    return x


def sample_v_one_step_short(predict_v, x, alphas, sigmas):
    for i in range(len(alphas) - 2):
        v, scale = predict_v(x, alphas[i], sigmas[i]), alphas[i] ** 2 + sigmas[i] ** 2
        x0_hat, eps_hat = (alphas[i] * x - sigmas[i] * v) / scale, (sigmas[i] * x + alphas[i] * v) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_v_of_the_next_level(predict_v, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        v, scale = predict_v(x, alphas[i + 1], sigmas[i + 1]), alphas[i] ** 2 + sigmas[i] ** 2
        x0_hat, eps_hat = (alphas[i] * x - sigmas[i] * v) / scale, (sigmas[i] * x + alphas[i] * v) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


PUBLIC_ALPHAS, PUBLIC_SIGMAS = double(0.4, 0.6, 0.9, 1.1), double(1.5, 1.2, 0.7, 0.2)
PUBLIC_NOISE = double(0.4, -1.3, 2.0, 0.9).reshape(1, 1, 2, 2)


def sample_cases(g):
    alphas = within(g, 0.3, 1.2, 6).sort().values
    sigmas = torch.cat([within(g, 0.1, 1.8, 5).sort(descending=True).values, double(0.0)])
    return (
        Case(
            (some_network, PUBLIC_NOISE, PUBLIC_ALPHAS, PUBLIC_SIGMAS),
            "some_network, a picture of 2 × 2 pixels, alphas = (0.4, 0.6, 0.9, 1.1) and sigmas = (1.5, 1.2, 0.7, 0.2)",
        ),
        Case((some_network, normals(g, 3, 1, 2, 3), alphas, sigmas), "hidden pictures on a longer path"),
    )


def sample_v_all_at_the_next_level(predict_v, x, alphas, sigmas):
    for alpha, sigma in zip(alphas[1:], sigmas[1:], strict=True):
        v, scale = predict_v(x, alpha, sigma), alpha**2 + sigma**2
        x0_hat, eps_hat = (alpha * x - sigma * v) / scale, (sigma * x + alpha * v) / scale
        x = alpha * x0_hat + sigma * eps_hat
    return x


SAMPLE_V = Exercise(
    id="lab12-13.sample.v",
    name="sample_v",
    stub='''
def sample_v(predict_v, x, alphas, sigmas):
    """Walk by DDIM from x, (B, 1, H, W), at the first level to the last level. alphas, sigmas: (N + 1,)."""
    ...  # your code
''',
    solution=sample_v,
    alternative=sample_v_as_a_turn,
    why=(
        "alpha x - sigma v is (alpha² + sigma²) x0, and sigma x + alpha v is (alpha² + sigma²) eps. On the cosine path "
        "that factor is 1, and here it is not."
    ),
    truth=sample_v_truth,
    cases=sample_cases,
    hints=(),
    wrong=(
        Wrong(
            "the formula of the cosine path",
            sample_v_not_scaled,
            "You take alpha x - sigma v for x0. That is right where alpha² + sigma² = 1, and on this path it is not.",
            UNSEEN,
        ),
        Wrong(
            "divided by the root",
            sample_v_by_the_root,
            "You divide by the root of alpha² + sigma². Put x_t and v into alpha x_t - sigma v: what is left is x0 "
            "times the sum itself.",
            UNSEEN,
        ),
        Wrong(
            "v taken for eps",
            sample_v_as_eps,
            "You take the prediction for the noise. It is v, which holds noise and image.",
            UNSEEN,
        ),
        Wrong(
            "always the first noise",
            sample_v_of_the_first_noise,
            "You put back the noise with which you began. DDIM puts back the noise that follows from the present x and "
            "v.",
            UNSEEN,
        ),
        Wrong(
            "one step short",
            sample_v_one_step_short,
            "You stop one level too early: N + 1 levels are N steps.",
            UNSEEN,
        ),
        Wrong(
            "told the next level",
            sample_v_of_the_next_level,
            "Only the network is wrong about the level: you tell it the one to which x is going. It has to know the "
            "noise that is in x now.",
            UNSEEN,
        ),
        Wrong(
            "nothing moves",
            sample_v_all_at_the_next_level,
            "Your result is x as it came, because you take it apart and put it together again with the same alpha and "
            "sigma. These two belong to different levels.",
            UNSEEN,
        ),
    ),
)


def sample_u(predict_u, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        u, scale = predict_u(x, alphas[i], sigmas[i]), alphas[i] + sigmas[i]
        x0_hat = (x - sigmas[i] * u) / scale
        eps_hat = (x + alphas[i] * u) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_u_at_once(predict_u, x, alphas, sigmas):  # x is stretched, and moves along u
    for a, s, a_next, s_next in zip(alphas[:-1], sigmas[:-1], alphas[1:], sigmas[1:], strict=True):
        u = predict_u(x, a, s)
        x = ((a_next + s_next) * x + (a * s_next - s * a_next) * u) / (a + s)
    return x


def sample_u_truth(predict_u, x, alphas, sigmas):  # two equations with two unknowns in each step
    for alpha, sigma, *after in zip(alphas[:-1], sigmas[:-1], alphas[1:], sigmas[1:], strict=True):
        alpha, sigma = float(alpha), float(sigma)
        known = torch.stack([x.flatten(), predict_u(x, alpha, sigma).flatten()])
        parts = torch.linalg.solve(double(alpha, sigma, -1.0, 1.0).reshape(2, 2), known)
        x = (double(*map(float, after)) @ parts).reshape(x.shape)
    return x


def sample_u_not_scaled(predict_u, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        u = predict_u(x, alphas[i], sigmas[i])
        x0_hat, eps_hat = x - sigmas[i] * u, x + alphas[i] * u
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_u_as_v(predict_u, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        u, scale = predict_u(x, alphas[i], sigmas[i]), alphas[i] ** 2 + sigmas[i] ** 2
        x0_hat, eps_hat = (alphas[i] * x - sigmas[i] * u) / scale, (sigmas[i] * x + alphas[i] * u) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_u_with_the_other_sign(predict_u, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        u, scale = predict_u(x, alphas[i], sigmas[i]), alphas[i] + sigmas[i]
        x0_hat, eps_hat = (x + sigmas[i] * u) / scale, (x - alphas[i] * u) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_u_of_the_first_noise(predict_u, x, alphas, sigmas):
    noise = x
    for i in range(len(alphas) - 1):
        u, scale = predict_u(x, alphas[i], sigmas[i]), alphas[i] + sigmas[i]
        x0_hat = (x - sigmas[i] * u) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * noise
    return x


def sample_u_one_step_short(predict_u, x, alphas, sigmas):
    for i in range(len(alphas) - 2):
        u, scale = predict_u(x, alphas[i], sigmas[i]), alphas[i] + sigmas[i]
        x0_hat, eps_hat = (x - sigmas[i] * u) / scale, (x + alphas[i] * u) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_u_of_the_next_level(predict_u, x, alphas, sigmas):
    for i in range(len(alphas) - 1):
        u, scale = predict_u(x, alphas[i + 1], sigmas[i + 1]), alphas[i] + sigmas[i]
        x0_hat, eps_hat = (x - sigmas[i] * u) / scale, (x + alphas[i] * u) / scale
        x = alphas[i + 1] * x0_hat + sigmas[i + 1] * eps_hat
    return x


def sample_u_all_at_the_next_level(predict_u, x, alphas, sigmas):
    for alpha, sigma in zip(alphas[1:], sigmas[1:], strict=True):
        u, scale = predict_u(x, alpha, sigma), alpha + sigma
        x0_hat, eps_hat = (x - sigma * u) / scale, (x + alpha * u) / scale
        x = alpha * x0_hat + sigma * eps_hat
    return x


SAMPLE_U = Exercise(
    id="lab12-13.sample.u",
    name="sample_u",
    stub='''
def sample_u(predict_u, x, alphas, sigmas):
    """Walk by DDIM from x, (B, 1, H, W), at the first level to the last level. alphas, sigmas: (N + 1,)."""
    ...  # your code
''',
    solution=sample_u,
    alternative=sample_u_at_once,
    why="In x - sigma u the noise cancels, and (alpha + sigma) x0 is left; in x + alpha u it is (alpha + sigma) eps.",
    truth=sample_u_truth,
    cases=sample_cases,
    hints=(),
    wrong=(
        Wrong(
            "not divided",
            sample_u_not_scaled,
            "You take x - sigma u for x0. That is right where alpha + sigma = 1, and on this path it is not.",
            UNSEEN,
        ),
        Wrong(
            "u taken for v",
            sample_u_as_v,
            "You take the prediction for v, as in the notebook. This network predicts eps - x0, whose two terms have "
            "no factors.",
            UNSEEN,
        ),
        Wrong(
            "x0 minus eps",
            sample_u_with_the_other_sign,
            "You turn the sign of u around. Here it is the noise minus the image.",
            "the catalogue: x0 and eps exchanged",
        ),
        Wrong(
            "always the first noise",
            sample_u_of_the_first_noise,
            "You put back the noise with which you began. DDIM puts back the noise that follows from the present x and "
            "u.",
            UNSEEN,
        ),
        Wrong(
            "one step short",
            sample_u_one_step_short,
            "You stop one level too early: N + 1 levels are N steps.",
            UNSEEN,
        ),
        Wrong(
            "told the next level",
            sample_u_of_the_next_level,
            "Only the network is wrong about the level: you tell it the one to which x is going. It has to know the "
            "noise that is in x now.",
            UNSEEN,
        ),
        Wrong(
            "nothing moves",
            sample_u_all_at_the_next_level,
            "Your result is x as it came, because you take it apart and put it together again with the same alpha and "
            "sigma. These two belong to different levels.",
            UNSEEN,
        ),
    ),
)

SAMPLE = Problem(
    name="sample",
    points=4,
    variants=(
        Variant(
            SAMPLE_V,
            "A path $x = \\alpha x_0 + \\sigma\\varepsilon$ is given by a list of levels, `alphas` and `sigmas`, both "
            "(N + 1,) and float64. On this path $\\alpha^2 + \\sigma^2$ is *not* 1, but it is positive. The network "
            "`predict_v(x, alpha, sigma)` predicts $v = \\alpha\\varepsilon - \\sigma x_0$, with the $\\alpha$ and "
            "$\\sigma$ of the level of $x$. Start from `x`, (B, 1, H, W), float64, at the level `alphas[0]`, "
            "`sigmas[0]`, and go through all levels to the last one by DDIM: at each level find the $\\hat x_0$ and "
            "the $\\hat\\varepsilon$ that make up the present $x$ and the predicted $v$, and mix them again with "
            "$\\alpha$ and $\\sigma$ of the next level. Return what you have at the last level. For your own tests you "
            "can pass `some_network`, from the first cell with code, as `predict_v`.",
            "notebook 13, section 2",
            (some_network,),
        ),
        Variant(
            SAMPLE_U,
            "A path $x = \\alpha x_0 + \\sigma\\varepsilon$ is given by a list of levels, `alphas` and `sigmas`, both "
            "(N + 1,) and float64. On this path $\\alpha + \\sigma$ is *not* 1, but it is positive. The network "
            "`predict_u(x, alpha, sigma)` predicts the difference $u = \\varepsilon - x_0$ of the noise and the image "
            "in an $x$ at that level. Start from `x`, (B, 1, H, W), float64, at the level `alphas[0]`, `sigmas[0]`, "
            "and go through all levels to the last one by DDIM: at each level find the $\\hat x_0$ and the "
            "$\\hat\\varepsilon$ that make up the present $x$ and the predicted $u$, and mix them again with $\\alpha$ "
            "and $\\sigma$ of the next level. Return what you have at the last level. For your own tests you can pass "
            "`some_network`, from the first cell with code, as `predict_u`.",
            "notebook 13, section 2",
            (some_network,),
        ),
    ),
)


# plot: what clipping mends, and what it cannot

PLOT = Plot(
    prompt=(
        "A picture has a single pixel, which is $-1$ or $1$, each with probability one half. On the cosine path its "
        "exact denoiser is $\\mathbb E[x_0 \\mid x_t] = \\tanh(\\alpha x_t/\\sigma^2)$. A network predicts the noise "
        "that belongs to this estimate, $(x_t - \\alpha\\, \\mathbb E[x_0 \\mid x_t])/\\sigma$, with an error of its "
        "own: add a normal number of mean 0 and standard deviation 0.1 to it. Draw 100,000 pixels with their noise at "
        "each of many times from $t = 0.2$ to $0.999$. Plot three mean square errors of $x_0$ over $t$, with a "
        "logarithmic vertical axis: of the exact denoiser, of the estimate that follows from the network's noise, and "
        "of the same estimate clipped to $[-1, 1]$. Explain in about six sentences. At which $t$ does the second "
        "curve cross 1, and of which two parts is its error made there? To which value does the third one go as $t "
        "\\to 1$, and why is that worse than answering 0? And what would the second curve look like if the network "
        "predicted $v$, with an error of the same size?"
    ),
    rubric=(
        (
            1,
            "The plot shows three curves with labels: the exact error rises from 0.003 to 1, the second lies within 5 "
            "% of it from t = 0.3 to 0.7 and climbs to some 4,000 at t = 0.999, and the third levels off at 2.",
        ),
        (
            1,
            "The second curve crosses 1 at t = 0.80. An error of the noise is multiplied by sigma / alpha, so the "
            "network adds 0.01 sigma² / alpha² to the exact error, and there that is 0.09 on top of 0.90.",
        ),
        (
            1,
            "The clipped error goes to 2. The estimate is then huge and of either sign whatever x0 is, so it is "
            "clipped to -1 or 1, which is wrong half the time by 2, and (0 + 4) / 2 = 2. The answer 0, the mean of the "
            "data, has the error 1.",
        ),
        (
            1,
            "From v, x0 follows as alpha x_t - sigma v, so the network adds only 0.01 sigma², at most 0.01, and the "
            "curve ends at 1.01, close to the exact one.",
        ),
    ),
)


LAB = Lab(
    number="12-13",
    title="Pictures",
    after=("12", "13"),
    problems=(SHIFT, NORMALISE, CLIP, WEIGHT, SAMPLE),
    plot=PLOT,
)
