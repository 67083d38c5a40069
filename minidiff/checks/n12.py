"""The exercises of notebook 12, from points to pixels: 12.1 to 12.4 in its flow, 12.5 to 12.11 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minidiff import data, denoisers, exact, generator, metrics, networks, samplers, schedules, training
from minidiff.checks.records import Case, Exercise, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, normal

__all__ = ["EXERCISES", "TITLE"]

TITLE = "From points to pixels"


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


# 12.1 to_model


def to_model(pixels, largest):
    x = pixels.float() * (2 / largest) - 1
    return x.unsqueeze(1)


def to_model_from_the_middle(pixels, largest):
    middle = largest / 2
    return ((pixels.to(torch.float32) - middle) / middle)[:, None]


def to_model_truth(pixels, largest):
    return data.to_images(pixels.numpy(), None, largest).x


def to_model_cases(g):
    few = torch.tensor([[[0, 4], [8, 16]]], dtype=torch.uint8)
    several = torch.randint(1, 15, (3, 4, 5), generator=g).to(torch.uint8)
    bytes_ = torch.randint(5, 256, (4, 3, 3), generator=g).to(torch.uint8)
    bytes_[0, 0, 0] = 250
    return (
        Case((few, 16), "one picture with the pixels 0, 4, 8 and 16, where the largest possible is 16"),
        Case((several, 16), "three pictures of 4 × 5 pixels between 1 and 14, where the largest possible is 16"),
        Case((bytes_, 255), "four pictures of 3 × 3 pixels, where the largest possible is 255"),
    )


def to_model_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer of the right shape and dtype: formula(pixels in float32, largest)."""
    return Wrong(name, lambda pixels, largest: formula(pixels.float(), largest)[:, None], message, seen)


TO_MODEL = Exercise(
    id="12.1",
    name="to_model",
    stub='''
def to_model(pixels, largest):
    """Bring whole numbers from 0 to largest, (N, H, W), into [-1, 1]. Returns (N, 1, H, W), float32."""
    ...  # your code
''',
    solution=to_model,
    alternative=to_model_from_the_middle,
    why=(
        "0 goes to -1, largest goes to 1, and the middle goes to 0. The two numbers are those of the file format, not\n"
        "of this batch, so that every picture is scaled alike. The axis of length 1 is the channel: grey has one."
    ),
    truth=to_model_truth,
    cases=to_model_cases,
    hints=(
        "A straight line goes through two points: 0 must become -1, and largest must become 1.",
        "Pixels are stored as small whole numbers, which cannot hold -1. Make them `.float()` before you compute.",
        "Divide by largest, multiply by 2, subtract 1. Then `[:, None]` adds the axis of the channel.",
    ),
    wrong=(
        to_model_wrong(
            "[0, 1]",
            lambda p, largest: p / largest,
            "Your pixels end in [0, 1]. The noise is centred at 0, and so should the pixels be: in [-1, 1].",
            "DeweiHu/OCT_DDPM#3, cloneofsimo/minDiffusion#11",
        ),
        to_model_wrong(
            "halves and wholes mixed",
            lambda p, largest: (p - largest / 2) / largest,
            "You subtract half of largest and divide by all of it, so your pixels end in [-1/2, 1/2]. Divide by the "
            "half, too.",
            "IBM/BAGAN#9",
        ),
        to_model_wrong(
            "127.5 for every format",
            lambda p, largest: p / 127.5 - 1,
            "You divide by 127.5 whatever largest is. That is right for bytes, from 0 to 255, and wrong for these "
            "digits.",
        ),
        to_model_wrong(
            "the extremes of the batch",
            lambda p, largest: 2 * (p - p.min()) / (p.max() - p.min()) - 1,
            "You take the smallest and the largest pixel of this batch. Then the same picture looks different in "
            "another batch. The two ends are those of the file format: 0 and largest.",
        ),
        to_model_wrong(
            "standardised",
            lambda p, largest: (p - p.mean()) / p.std(),
            "You standardise: mean 0 and variance 1. That is what this course does with points. Pixels have known "
            "ends, so they go to [-1, 1], and section 11 will need these ends.",
        ),
        to_model_wrong(
            "black and white exchanged",
            lambda p, largest: 1 - 2 * p / largest,
            "Black and white are exchanged: 0 should become -1.",
        ),
        to_model_wrong(
            "largest + 1",
            lambda p, largest: 2 * p / (largest + 1) - 1,
            "You divide by the number of grey levels, largest + 1, so the brightest pixel does not reach 1.",
        ),
        to_model_wrong(
            "no shift",
            lambda p, largest: 2 * p / largest,
            "The last step is missing: your pixels lie in [0, 2]. Subtract 1.",
        ),
        Wrong(
            "bytes overflow",
            lambda pixels, largest: ((2 * pixels) / largest - 1)[:, None].float(),
            "You double the pixels while they are bytes. A byte ends at 255 and begins again at 0, so bright pixels "
            "turn dark. Write `pixels.float()` first.",
            UNSEEN,
        ),
        Wrong(
            "no axis for the channel",
            lambda pixels, largest: 2 * pixels.float() / largest - 1,
            "The numbers are right, but the axis of the channel is missing: `[:, None]` adds it.",
            UNSEEN,
        ),
    ),
)


# 12.2 embed


def embed(log_snr, width):
    share = torch.linspace(0, 1, width // 2, dtype=log_snr.dtype)
    period = 80 * (1 / 80) ** share
    angle = 2 * torch.pi * log_snr[:, None] / period
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def embed_by_logarithms(log_snr, width):
    periods = torch.logspace(math.log10(80), 0, width // 2, dtype=log_snr.dtype)
    turns = torch.outer(log_snr, 2 * torch.pi / periods)
    return torch.hstack([torch.sin(turns), torch.cos(turns)])


def embed_truth(log_snr, width):
    half, columns = width // 2, []
    for wave in (math.sin, math.cos):
        for i in range(half):
            turns = 80 ** (i / max(half - 1, 1) - 1)  # 1 / period
            columns.append([wave(2 * math.pi * turns * value) for value in log_snr.tolist()])
    return torch.tensor(columns, dtype=log_snr.dtype).T


def embed_cases(g):
    # no sine or cosine is near 0, so that periods in single precision are near enough
    several = double(0.3, -0.65, 1.15, -0.1, 0.62, -1.2) + 0.02 * torch.rand(6, generator=g, dtype=torch.float64)
    return (
        Case((double(0.3, -0.65), 4), "the log-SNRs 0.3 and -0.65 and width = 4"),
        Case((several, 16), "six log-SNRs and width = 16"),
        Case((double(2.2, 5.4), 2), "the log-SNRs 2.2 and 5.4 and width = 2"),
    )


def embed_wrong(
    name: str, message: str, seen: str = UNSEEN, *, periods: Callable | None = None, join: Callable | None = None
) -> Wrong:
    """A wrong answer with other periods, from the shares (width / 2,) in [0, 1], or another way to join the angles."""

    def answer(log_snr, width):
        share = torch.linspace(0, 1, width // 2, dtype=log_snr.dtype)
        angle = 2 * math.pi * log_snr[:, None] / (periods(share) if periods else 80 ** (1 - share))
        return join(angle) if join else torch.cat([angle.sin(), angle.cos()], dim=1)

    return Wrong(name, answer, message, seen)


def ddpm_frequencies(log_snr, width):
    frequency = 10_000.0 ** -torch.linspace(0, 1, width // 2, dtype=log_snr.dtype)
    angle = log_snr[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def one_step_short(log_snr, width):
    share = torch.arange(width // 2, dtype=log_snr.dtype) / (width // 2)
    angle = 2 * math.pi * log_snr[:, None] / 80 ** (1 - share)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def nothing_by_nothing(log_snr, width):
    share = torch.arange(width // 2, dtype=log_snr.dtype) / torch.tensor(width // 2 - 1, dtype=log_snr.dtype)
    angle = 2 * math.pi * log_snr[:, None] / 80 ** (1 - share)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


EMBED = Exercise(
    id="12.2",
    name="embed",
    stub='''
def embed(log_snr, width):
    """(B,) -> (B, width): the sines for width / 2 periods from 80 to 1, then the cosines. A single period is 80."""
    ...  # your code
''',
    solution=embed,
    alternative=embed_by_logarithms,
    why=(
        "The angle is 2π log_snr / period, and each period is the same factor shorter than the one before. The long\n"
        "waves tell the ends of the path apart, the short ones two neighbouring times. `linspace` also knows what to\n"
        "do with a single wave, where a division by width / 2 - 1 would be 0 / 0."
    ),
    truth=embed_truth,
    cases=embed_cases,
    hints=(
        "Make the periods first: 80 times a constant to the power of a number that goes from 0 to 1.",
        "`share = torch.linspace(0, 1, width // 2)`, then `period = 80 * (1 / 80) ** share`.",
        "The angles, (B, width / 2), are `2 * torch.pi * log_snr[:, None] / period`. Join their sines and cosines with "
        "`torch.cat([...], dim=1)`.",
    ),
    wrong=(
        Wrong(
            "the frequencies of DDPM",
            ddpm_frequencies,
            "These are DDPM's waves, with angles that fall by 10,000 from the first to the last. They were made for a "
            "step counter from 1 to 1,000. A log-SNR runs from about -20 to 20, so most of these waves would hardly "
            "move.",
            "sihyun-yu/REPA#40, willisma/SiT#24",
        ),
        Wrong(
            "one period short of the end",
            one_step_short,
            "Your last period is not 1. With n waves there are n - 1 factors between the first and the last, so the "
            "share is i / (n - 1).",
            "hojonathanho/diffusion#15",
        ),
        Wrong(
            "0 / 0 for a single wave",
            nothing_by_nothing,
            "You divide by width / 2 - 1, which is 0 where there is only one wave. `torch.linspace(0, 1, width // 2)` "
            "makes the same shares, and 0 for a single one.",
            "sunlabuiuc/PyHealth#1216",
        ),
        embed_wrong(
            "no 2π",
            "The 2π is missing. A sine has gone once around when its angle is 2π, and that is what a period means.",
            periods=lambda share: 2 * math.pi * 80 ** (1 - share),
        ),
        embed_wrong(
            "periods evenly spaced",
            "Your periods are evenly spaced between 80 and 1. Then nearly all of them are long. Let each be the same "
            "factor shorter than the one before.",
            periods=lambda share: 80 + (1 - 80) * share,
        ),
        embed_wrong(
            "multiplied by the period",
            "You multiply by the period. A long period means a slow wave, so divide by it.",
            periods=lambda share: 1 / 80 ** (1 - share),
        ),
        embed_wrong(
            "shortest first",
            "Your periods rise from 1 to 80. They should fall: the longest is the first.",
            periods=lambda share: 80**share,
        ),
        embed_wrong(
            "cosines first",
            "The two halves are exchanged: first all sines, then all cosines.",
            join=lambda angle: torch.cat([angle.cos(), angle.sin()], dim=1),
        ),
        embed_wrong(
            "sines and cosines in turn",
            "You put each sine beside its cosine. That carries the same information, but here all sines come first, so "
            "that weights can be exchanged with the package.",
            join=lambda angle: torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1),
        ),
        embed_wrong(
            "sines twice",
            "Both halves are sines. A sine alone is the same at two places of each period, and the cosine tells them "
            "apart.",
            join=lambda angle: torch.cat([angle.sin(), angle.sin()], dim=1),
        ),
    ),
)


# 12.3 modulate


def modulate(h, scale, shift):
    return h * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


def modulate_by_einsum(h, scale, shift):
    louder = torch.einsum("bchw,bc->bchw", h, 1 + scale)
    return louder + shift.reshape(*shift.shape, 1, 1)


def modulate_truth(h, scale, shift):
    out = torch.empty_like(h)
    for b, picture in enumerate(h):
        for c, channel in enumerate(picture):
            out[b, c] = channel + float(scale[b, c]) * channel + float(shift[b, c])
    return out


def modulate_cases(g):
    h = torch.arange(1.0, 17.0, dtype=torch.float64).reshape(2, 2, 2, 2)
    scale, shift = double(0.5, -0.3, 1.2, 0.1).reshape(2, 2), double(3.0, -1.0, 0.7, 2.0).reshape(2, 2)
    return (
        Case((h, scale, shift), "two pictures of 2 × 2 positions with two channels"),
        Case(
            (normal(zeros(3, 4, 5, 6), g), normal(zeros(3, 4), g), normal(zeros(3, 4), g)),
            "three pictures of 5 × 6 with four channels",
        ),
    )


def modulate_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer along the right axes: formula(h, scale, shift), which can be multiplied with each other."""
    return Wrong(
        name,
        lambda h, scale, shift: formula(h, scale[:, :, None, None], shift[:, :, None, None]),
        message,
        seen,
    )


MODULATE = Exercise(
    id="12.3",
    name="modulate",
    stub='''
def modulate(h, scale, shift):
    """Multiply each channel of each picture by 1 + scale, then add shift. h: (B, C, H, W); scale, shift: (B, C)."""
    ...  # your code
''',
    solution=modulate,
    alternative=modulate_by_einsum,
    why=(
        "Every picture has its own noise level, and so its own scale and shift for each channel, the same at all\n"
        "positions. With scale = 0 and shift = 0 nothing happens, which is a good start for training."
    ),
    truth=modulate_truth,
    cases=modulate_cases,
    hints=(
        "PyTorch lines up axes from the right. So (B, C) beside (B, C, H, W) is lined up with height and width.",
        "`scale[:, :, None, None]` has the shape (B, C, 1, 1), which is stretched over all positions.",
        "The first part is `h * (1 + scale[:, :, None, None])`.",
    ),
    wrong=(
        modulate_wrong(
            "no 1",
            lambda h, scale, shift: h * scale + shift,
            "You multiply by scale. A fresh layer returns numbers near 0, which would silence every channel at the "
            "start. Multiply by 1 + scale.",
        ),
        Wrong(
            "lined up with height and width",
            lambda h, scale, shift: h * (1 + scale) + shift,
            "You line up scale and shift with height and width. Where B = H and C = W that runs without complaint, and "
            "is wrong. Write `scale[:, :, None, None]`.",
            UNSEEN,
        ),
        modulate_wrong(
            "shifted before it is scaled",
            lambda h, scale, shift: (h + shift) * (1 + scale),
            "You shift first, so the shift is scaled too. Scale, then shift.",
        ),
        modulate_wrong(
            "scale and shift exchanged",
            lambda h, scale, shift: h * (1 + shift) + scale,
            "Scale and shift are exchanged.",
        ),
        modulate_wrong(
            "no shift",
            lambda h, scale, shift: h * (1 + scale),
            "The shift is missing.",
        ),
        modulate_wrong(
            "only a shift",
            lambda h, scale, shift: h + shift,
            "The scale is missing. With a shift alone, which is what DDPM used, the noise level cannot turn a channel "
            "up or down.",
        ),
        modulate_wrong(
            "one noise level for the whole batch",
            lambda h, scale, shift: h * (1 + scale[:1]) + shift[:1],
            "You use the first picture's scale and shift for all. Each picture has a noise level of its own.",
        ),
        modulate_wrong(
            "added up before",
            lambda h, scale, shift: h * (1 + scale + shift),
            "Your shift is multiplied by h as well. It should be added after the product.",
        ),
        Wrong(
            "batch and channels exchanged",
            lambda h, scale, shift: h * (1 + scale.T[:, :, None, None]) + shift.T[:, :, None, None],
            "Batch and channels are exchanged in scale and shift. Their first axis counts pictures.",
            UNSEEN,
        ),
    ),
)


# 12.4 clip_estimate


def clip_estimate(denoise, path, x_t, t, s):
    x0_hat = denoise(x_t, t).clamp(-1, 1)
    mean, _ = path.posterior(x_t, x0_hat, t, s)
    return mean


def clip_estimate_with_the_package(denoise, path, x_t, t, s):
    clipped = denoisers.clipped(denoise)
    return path.posterior(x_t, clipped(x_t, t), t, s)[0]


def clip_estimate_truth(denoise, path, x_t, t, s):
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ((path.alpha(time), path.sigma(time)) for time in (t, s))
    x0 = torch.maximum(torch.minimum(denoise(x_t, t), torch.ones_like(x_t)), -torch.ones_like(x_t))
    kept = alpha_t / alpha_s
    added = sigma_t**2 - kept**2 * sigma_s**2
    return (alpha_s * added * x0 + kept * sigma_s**2 * x_t) / sigma_t**2


def stray(x_t, t):
    """A denoiser that strays far beyond [-1, 1], in both directions."""
    return 1.7 * x_t + 0.4 * x_t.flip(0) + 0.3 * t


def clip_cases(g):
    few = double(0.2, -1.6, 2.1, -0.4).reshape(1, 1, 2, 2)
    many = 1.4 * normal(zeros(3, 1, 4, 4), g)
    return (
        Case((stray, schedules.cosine(), few, double(0.6)[0], double(0.4)[0]), "four pixels, t = 0.6 and s = 0.4"),
        Case(
            (stray, schedules.vp_linear(), many, double(0.3)[0], double(0.1)[0]),
            "three pictures, t = 0.3, s = 0.1 and another path",
        ),
    )


def clip_wrong(name: str, answer: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer: answer(denoise, back, x_t, t), where back(x_t, x0_hat) is the mean of the posterior."""

    def whole(denoise, path, x_t, t, s):
        return answer(denoise, lambda x, x0_hat: path.posterior(x, x0_hat, t, s)[0], x_t, t)

    return Wrong(name, whole, message, seen)


CLIP_ESTIMATE = Exercise(
    id="12.4",
    name="clip_estimate",
    stub='''
def clip_estimate(denoise, path, x_t, t, s):
    """The mean of q(x_s | x_t, x0_hat), where x0_hat is the estimate of the denoiser, clipped to [-1, 1]. s < t."""
    ...  # your code
''',
    solution=clip_estimate,
    alternative=clip_estimate_with_the_package,
    why=(
        "Only the estimate is a picture, so only the estimate has to lie in [-1, 1]. x_t and the mean of x_s hold\n"
        "noise, and noise leaves that range rightly."
    ),
    truth=clip_estimate_truth,
    cases=clip_cases,
    hints=(
        "Three things might be clipped: x_t, the estimate of x0, and the result. Which of them is a clean picture?",
        "`denoise(x_t, t).clamp(-1, 1)` is the clipped estimate. The denoiser sees x_t as it is.",
        "`path.posterior(x_t, x0_hat, t, s)` returns the mean and the variance.",
    ),
    wrong=(
        clip_wrong(
            "clips x_t",
            lambda denoise, back, x_t, t: back(x_t.clamp(-1, 1), denoise(x_t.clamp(-1, 1), t)),
            "You clip x_t. A noisy picture is supposed to leave the range, and the denoiser expects its noise. Clip "
            "the estimate alone.",
            "the catalogue",
        ),
        clip_wrong(
            "clips x_t and the estimate",
            lambda denoise, back, x_t, t: back(x_t.clamp(-1, 1), denoise(x_t.clamp(-1, 1), t).clamp(-1, 1)),
            "You clip the estimate, which is right, and x_t as well, which is not.",
        ),
        clip_wrong(
            "clips the input of the denoiser",
            lambda denoise, back, x_t, t: back(x_t, denoise(x_t.clamp(-1, 1), t).clamp(-1, 1)),
            "You show the denoiser a clipped x_t. It was trained on noisy pictures that leave the range.",
        ),
        clip_wrong(
            "clips x_t in the mean alone",
            lambda denoise, back, x_t, t: back(x_t.clamp(-1, 1), denoise(x_t, t).clamp(-1, 1)),
            "You clip x_t before you go back from it. The step needs x_t with all its noise.",
        ),
        clip_wrong(
            "clips the result",
            lambda denoise, back, x_t, t: back(x_t, denoise(x_t, t)).clamp(-1, 1),
            "You clip the result, which still holds noise unless s = 0. Clip the estimate of x0 before you compute the "
            "mean.",
        ),
        clip_wrong(
            "clips the estimate and the result",
            lambda denoise, back, x_t, t: back(x_t, denoise(x_t, t).clamp(-1, 1)).clamp(-1, 1),
            "You clip the estimate, which is right, and the result as well. The result still holds noise.",
        ),
        clip_wrong(
            "clips to [0, 1]",
            lambda denoise, back, x_t, t: back(x_t, denoise(x_t, t).clamp(0, 1)),
            "You clip to [0, 1]. In this course pixels lie in [-1, 1].",
        ),
        clip_wrong(
            "tanh",
            lambda denoise, back, x_t, t: back(x_t, denoise(x_t, t).tanh()),
            "You squeeze the estimate with tanh. That also moves the estimates that lie inside [-1, 1].",
        ),
        clip_wrong(
            "divided by the largest",
            lambda denoise, back, x_t, t: back(x_t, denoise(x_t, t) / denoise(x_t, t).abs().max().clamp(min=1)),
            "You divide the whole estimate by its largest value. One stray pixel then darkens the whole picture.",
        ),
        clip_wrong(
            "not clipped",
            lambda denoise, back, x_t, t: back(x_t, denoise(x_t, t)),
            "This is the mean without any clipping.",
        ),
        clip_wrong(
            "only the estimate",
            lambda denoise, back, x_t, t: denoise(x_t, t).clamp(-1, 1),
            "This is the clipped estimate of x0. What is wanted is the mean at time s: put the estimate into "
            "`path.posterior`.",
        ),
    ),
)


# 12.5 to_pixels


def to_pixels(x, largest):
    levels = (x + 1) / 2 * largest
    return levels.round().clamp(0, largest).to(torch.uint8)


def to_pixels_by_whole_numbers(x, largest):
    nearest = torch.floor((x.clip(-1, 1) + 1) * largest / 2 + 0.5)
    return nearest.long().type(torch.uint8)


def to_pixels_truth(x, largest):
    allowed = torch.arange(largest + 1, dtype=torch.float64)
    distance = (x.double()[..., None] - (2 * allowed / largest - 1)).abs()
    return distance.argmin(dim=-1).to(torch.uint8)


def to_pixels_cases(g):
    few = torch.tensor([-1.0, -0.22, 0.3, 1.0])
    beyond = torch.tensor([-1.3, -0.9, 0.7, 1.15])
    many = 0.7 * torch.randn(3, 1, 4, 4, generator=g)
    return (
        Case((few.reshape(1, 1, 2, 2), 16), "the pixels -1, -0.22, 0.3 and 1, and largest = 16"),
        Case((beyond.reshape(1, 1, 2, 2), 16), "the pixels -1.3, -0.9, 0.7 and 1.15, and largest = 16"),
        Case((many, 255), "three pictures of 4 × 4 pixels, and largest = 255"),
    )


def to_pixels_wrong(name: str, levels: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer: levels(x, largest) in floating point, which are then stored as bytes."""

    def answer(x, largest):
        return levels(x.double(), largest).to(torch.int64).remainder(256).to(torch.uint8)

    return Wrong(name, answer, message, seen)


TO_PIXELS = Exercise(
    id="12.5",
    name="to_pixels",
    stub='''
def to_pixels(x, largest):
    """Numbers that should lie in [-1, 1] -> the nearest whole numbers from 0 to largest. Same shape, torch.uint8."""
    ...  # your code
''',
    solution=to_pixels,
    alternative=to_pixels_by_whole_numbers,
    why=(
        "Three steps: scale, round, clip. Without rounding every pixel becomes half a level darker on average, since\n"
        "the change to whole numbers cuts off what is behind the point. Without clipping a pixel that is slightly too\n"
        "bright may turn black, since a byte begins again at 0."
    ),
    truth=to_pixels_truth,
    cases=to_pixels_cases,
    hints=(
        "Undo the scaling of `to_model` first: add 1, halve, multiply by largest.",
        "`.to(torch.uint8)` cuts off what is behind the point. What do you call before it?",
        "Samples leave the range a little. `.clamp(0, largest)` keeps them in it.",
    ),
    wrong=(
        to_pixels_wrong(
            "not rounded",
            lambda x, largest: ((x + 1) / 2 * largest).clamp(0, largest),
            "You do not round. The change to whole numbers cuts off, so your pictures are half a level too dark on "
            "average.",
        ),
        to_pixels_wrong(
            "not clipped",
            lambda x, largest: ((x + 1) / 2 * largest).round(),
            "You do not clip. Values beyond the range become levels that do not exist, and a byte that falls below 0 "
            "begins again at 255.",
        ),
        to_pixels_wrong(
            "from [0, 1]",
            lambda x, largest: (x * largest).round().clamp(0, largest),
            "You take x for numbers in [0, 1]. They lie in [-1, 1], so the dark half of the picture becomes black.",
            "cloneofsimo/minDiffusion#11",
        ),
        to_pixels_wrong(
            "halves and wholes mixed",
            lambda x, largest: ((x + 0.5) * largest).round().clamp(0, largest),
            "You stretch by all of largest, as if x lay in [-1/2, 1/2]. The contrast is twice too high.",
            "IBM/BAGAN#9",
        ),
        to_pixels_wrong(
            "255 for every format",
            lambda x, largest: ((x + 1) / 2 * 255).round().clamp(0, 255),
            "You multiply by 255 whatever largest is.",
        ),
        to_pixels_wrong(
            "largest + 1",
            lambda x, largest: ((x + 1) / 2 * (largest + 1)).round().clamp(0, largest),
            "You multiply by the number of grey levels, largest + 1. Then this function does not undo `to_model`.",
        ),
        to_pixels_wrong(
            "the extremes of the batch",
            lambda x, largest: ((x - x.min()) / (x.max() - x.min()) * largest).round(),
            "You stretch the smallest and the largest value of this batch to the ends. Then grey pictures look as "
            "strong as good ones, and nobody sees the fault.",
        ),
        to_pixels_wrong(
            "folded back",
            lambda x, largest: ((x.abs().clamp(max=1) + 1) / 2 * largest).round(),
            "You take absolute values, so dark pixels become bright.",
        ),
        Wrong(
            "no axis for the channel",
            lambda x, largest: to_pixels(x, largest)[:, 0],
            "The numbers are right, but you took away the axis of the channel. Here the shape stays as it is.",
            UNSEEN,
        ),
    ),
)


# 12.6 suffers


def which_suffers():  # the simplest network of each kind: a single layer, with the best weights by least squares
    x, error = data.digits().x, {}
    shuffled = x.flatten(1)[:, torch.randperm(64, generator=generator(12, 61))].reshape(x.shape)
    for x0 in (x, shuffled):
        x_t = schedules.cosine().perturb(x0, torch.tensor(0.4), torch.randn(x0.shape, generator=generator(12, 62)))
        windows = nn.functional.unfold(x_t, kernel_size=3, padding=1)  # (N, 9, 64): the 9 neighbours of each pixel
        layers = {  # what goes in and what should come out: a convolution sees a window, an MLP sees the whole picture
            "U-Net": (windows.transpose(1, 2).flatten(0, 1), x0.reshape(-1, 1)),
            "MLP": (x_t.flatten(1), x0.flatten(1)),
        }
        for name, (inputs, target) in layers.items():
            inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)  # the bias
            weights = torch.linalg.lstsq(inputs, target).solution
            error.setdefault(name, []).append(float((inputs @ weights - target).square().mean()))
    suffers = [name for name, (plain, mixed) in error.items() if mixed > 1.1 * plain]
    return suffers[0] if len(suffers) == 1 else "both" if suffers else "neither"


SUFFERS = Question(
    id="12.6",
    name="suffers",
    stub='suffers = None  # which network learns less from shuffled pixels: "U-Net", "MLP", "both" or "neither"',
    right="U-Net",
    solution=which_suffers,
    why=(
        "Every input of the MLP has its own weights, so shuffled inputs are the same problem with the weights in a\n"
        "new order. The U-Net assumes that neighbours belong together, and after the shuffle they do not."
    ),
    wrong=(
        WrongValue(
            "MLP",
            "MLP",
            "The MLP does not know where a pixel lies. Shuffle the rows of its first matrix and the last one's in "
            "the same way, and it computes the same as before.",
            UNSEEN,
        ),
        WrongValue(
            "both",
            "both",
            "Both would suffer if each picture had a permutation of its own. Here it is one and the same for all "
            "pictures, so one of the two networks does not notice.",
            "the catalogue: one permutation per image",
        ),
        WrongValue(
            "neither",
            "neither",
            "No information is lost, that is true. But one of the two networks was built on a fact about pictures that "
            "the shuffle destroys.",
            UNSEEN,
        ),
    ),
    hints=(
        "What does each network assume about two pixels that lie side by side?",
        "Could you undo the shuffle by exchanging weights of the MLP? Could you do that with a 3 × 3 convolution?",
        "Try it: `shuffled = train_x.flatten(1)[:, permutation].reshape(train_x.shape)`, and the same for `test_x`. "
        "Then train both with `fit` for 200 steps and compare `errors`.",
    ),
    choices=("U-Net", "MLP", "both", "neither"),
)


# 12.7 floors


def one_gaussian_in_floors():
    x = data.digits().x.flatten(1)[torch.randperm(1797, generator=generator(12, 70))]
    train, test = x[:-500], x[-500:]
    values, vectors = torch.linalg.eigh(train.T.cov())
    noise = torch.randn(500, 64, generator=generator(12, 71))
    samples = train.mean(dim=0) + noise * values.clamp(min=0).sqrt() @ vectors.T  # one Gaussian: mean and covariance
    principal = vectors[:, -16:] / values[-16:].sqrt()
    found = metrics.frechet_distance(
        samples @ principal, train[:797] @ principal, test @ principal, generator=generator(12, 72)
    )
    return found.ratio


FLOORS = Question(
    id="12.7",
    name="floors",
    stub="floors = None  # the Fréchet distance, in floors, of 500 samples of one single Gaussian",
    right=(0.6, 1.5),
    solution=one_gaussian_in_floors,
    why=(
        "The Fréchet distance compares nothing but the mean and the covariance of the features, and this Gaussian has\n"
        "those of the training pictures. So it scores like real digits. Look at the samples: hardly any is a digit."
    ),
    wrong=(
        WrongValue(
            "exactly 0",
            (-0.01, 0.3),
            "Even real digits are not at 0: 500 samples have a mean and a covariance of their own. That is the floor.",
            UNSEEN,
        ),
        WrongValue(
            "like a network",
            (1.6, 8.0),
            "You expect a distance like that of a network, because these samples are no digits. But this metric does "
            "not look for digits. What does it look at?",
            UNSEEN,
        ),
        WrongValue(
            "like noise",
            (8.5, 1000.0),
            "You expect a distance like that of noise, because the samples look like it. But this metric knows only "
            "a mean and a covariance, and both are right here.",
            UNSEEN,
        ),
    ),
    hints=(
        "Which numbers of a set of pictures does the Fréchet distance use?",
        "It uses the mean and the covariance of the features. The Gaussian has those of the training pictures.",
        "With x = `train_x.flatten(1)` and `values, vectors = torch.linalg.eigh(x.T.cov())`, add to the mean of x "
        "`torch.randn(500, 64) * values.clamp(min=0).sqrt() @ vectors.T`, and reshape to (500, 1, 8, 8).",
    ),
)


# 12.8 blind


def blind(mixture, path, levels, x_t):
    log_p = torch.stack([exact.log_prob(mixture, path, x_t, t) for t in levels], dim=1)
    estimates = torch.stack([exact.posterior_mean(mixture, path, x_t, t) for t in levels], dim=1)
    return torch.einsum("bt,bt...->b...", log_p.softmax(dim=1), estimates)


def blind_in_a_loop(mixture, path, levels, x_t):
    numerator, denominator = 0.0, 0.0
    for t in levels:
        density = exact.log_prob(mixture, path, x_t, t).exp().reshape(-1, *[1] * (x_t.ndim - 1))
        numerator = numerator + density * exact.posterior_mean(mixture, path, x_t, t)
        denominator = denominator + density
    return numerator / denominator


def blind_truth(mixture, path, levels, x_t):  # Gaussian conditioning, one component and one time after the other
    flat, d = x_t.flatten(1), x_t[0].numel()
    total, weights = torch.zeros_like(flat), torch.zeros_like(flat[:, :1])
    for alpha, sigma in zip(path.alpha(levels), path.sigma(levels), strict=True):
        for share, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
            mean, covariance = mean.flatten().to(flat), covariance.to(flat)
            noisy = alpha**2 * covariance + sigma**2 * torch.eye(d, dtype=flat.dtype)
            law = torch.distributions.MultivariateNormal(alpha * mean, noisy)
            weight = share * law.log_prob(flat).exp()[:, None]
            gain = torch.linalg.solve(noisy, alpha * covariance)
            total, weights = total + weight * (mean + (flat - alpha * mean) @ gain), weights + weight
    return (total / weights).reshape(x_t.shape)


def blind_cases(g):
    levels = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    points = double(0.8, -0.3, -1.4, 1.1, 0.2, 2.0).reshape(3, 2)
    covariances = torch.stack([torch.eye(4, dtype=torch.float64) * 0.3, torch.eye(4, dtype=torch.float64) * 0.1])
    covariances[0, 0, 1] = covariances[0, 1, 0] = 0.2
    tiny = exact.GaussianMixture(double(0.4, 0.6), normal(zeros(2, 1, 2, 2), g), covariances)
    return (
        Case((data.three_gaussians(), schedules.cosine(), levels, points), "three points and five levels"),
        Case(
            (tiny, schedules.vp_linear(), levels[1:], normal(zeros(4, 1, 2, 2), g)),
            "four tiny pictures and four levels",
        ),
    )


def blind_wrong(name: str, weights: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer with other weights of the levels: weights(log_p), from (B, levels) to (B, levels)."""

    def answer(mixture, path, levels, x_t):
        log_p = torch.stack([exact.log_prob(mixture, path, x_t, t) for t in levels], dim=1)
        estimates = torch.stack([exact.posterior_mean(mixture, path, x_t, t) for t in levels], dim=1)
        return torch.einsum("bt,bt...->b...", weights(log_p), estimates)

    return Wrong(name, answer, message, seen)


def at_the_mean_level(mixture, path, levels, x_t):
    log_p = torch.stack([exact.log_prob(mixture, path, x_t, t) for t in levels], dim=1)
    return exact.posterior_mean(mixture, path, x_t, log_p.softmax(dim=1) @ levels)


BLIND = Exercise(
    id="12.8",
    name="blind",
    stub='''
def blind(mixture, path, levels, x_t):
    """The best estimate of x0 that is not told t: each of the levels, (n,), is equally likely. x_t: (B, *D). As x_t."""
    ...  # your code
''',
    solution=blind,
    alternative=blind_in_a_loop,
    why=(
        "A conditional mean is the mean of finer conditional means: E[x0 | x_t] is the sum over t of p(t | x_t) times\n"
        "E[x0 | x_t, t]. Each row has weights of its own, since each noisy sample tells its own level. On the 33\n"
        "levels of section 3, not to know t raises the mean square error by about 16 % in the plane, and by less than\n"
        "2 % for the mixture of digits."
    ),
    truth=blind_truth,
    cases=blind_cases,
    hints=(
        "By Bayes' rule p(t | x_t) is proportional to p_t(x_t), and `exact.log_prob` gives its logarithm.",
        "`torch.softmax(log_p, dim=1)` turns the logarithms, (B, n), into probabilities, one row for each sample.",
        "`exact.posterior_mean(mixture, path, x_t, t)` is E[x0 | x_t, t]. Stack those of all levels along axis 1, and "
        'sum with `torch.einsum("bt,bt...->b...", weights, estimates)`.',
    ),
    wrong=(
        blind_wrong(
            "a plain mean over the levels",
            lambda log_p: torch.full_like(log_p, 1 / log_p.shape[1]),
            "You take the plain mean over the levels. But x_t makes some levels more likely than others: weigh with "
            "p(t | x_t).",
            "the catalogue",
        ),
        blind_wrong(
            "the wrong axis",
            lambda log_p: log_p.softmax(dim=0),
            "Your softmax runs over the samples. It should run over the levels, so that the weights of each sample add "
            "up to 1.",
            "the catalogue",
        ),
        blind_wrong(
            "the likeliest level",
            lambda log_p: nn.functional.one_hot(log_p.argmax(dim=1), log_p.shape[1]).to(log_p),
            "You guess the likeliest level and go on as if it were known. The mean over all levels has a smaller "
            "square error.",
        ),
        blind_wrong(
            "logarithms as weights",
            lambda log_p: log_p / log_p.sum(dim=1, keepdim=True),
            "You use the logarithms of the densities as weights. Exponentiate them first: that is what softmax does.",
        ),
        blind_wrong(
            "not normalised",
            lambda log_p: log_p.exp(),
            "Your weights are densities and do not add up to 1. Divide by their sum, or take a softmax.",
        ),
        blind_wrong(
            "one level for the whole batch",
            lambda log_p: log_p.sum(dim=0, keepdim=True).softmax(dim=1).expand_as(log_p),
            "You give all samples the same weights, as if all had the same level. Each sample has a row of its own.",
        ),
        blind_wrong(
            "the softmax of a density",
            lambda log_p: log_p.exp().softmax(dim=1),
            "You exponentiate twice: softmax wants the logarithms.",
        ),
        Wrong(
            "at the mean level",
            at_the_mean_level,
            "You compute the mean of t and ask for the estimate there. The estimate of a mean is not the mean of the "
            "estimates.",
            UNSEEN,
        ),
    ),
)


# 12.9 parted


def steps_until_they_part():  # with an MLP, which is quicker to train: its errors are compared after 10 and 300 steps
    x, path = data.digits().x.flatten(1)[torch.randperm(1797, generator=generator(12, 90))], schedules.cosine()
    few, unseen, t = x[:20], x[-100:], torch.tensor(0.1)
    net = networks.initialised(lambda: networks.MLP(64, width=256, layers=2), generator(12, 91))
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, fused=True)
    loss, batches = training.denoising_objective(path, "v"), training.batches(few, batch_size=20, steps=300, seed=1292)
    for step in training.train(net, batches, loss, optimizer, generator=generator(12, 93)):
        if step.step in (10, 300):
            error = []
            for x0 in (few.repeat(5, 1), unseen):
                x_t = path.perturb(x0, t, torch.randn(x0.shape, generator=generator(12, 94)))
                with torch.no_grad():
                    error.append(float((denoisers.from_network(net, path, "v")(x_t, t) - x0).square().mean()))
            if error[1] > 1.5 * error[0]:
                return "about 10" if step.step == 10 else "about 200"
    return "over 1000"


PARTED = Question(
    id="12.9",
    name="parted",
    stub='parted = None  # steps until the error on held-out digits is 1.5 times: "about 10", "about 200", "over 1000"',
    right="about 200",
    solution=steps_until_they_part,
    why=(
        "At first the network learns what holds for all digits, and both errors fall together. After one or two\n"
        "hundred passes through the 20 pictures it begins to know them, first at little noise. Trained for much\n"
        "longer, its error on the held-out digits becomes many times that on the 20. In section 8 the network sees\n"
        "each picture only some twenty times."
    ),
    wrong=(
        WrongValue(
            "about 10",
            "about 10",
            "After 10 steps the network has hardly learned anything, neither about these 20 pictures nor about digits.",
            UNSEEN,
        ),
        WrongValue(
            "over 1000",
            "over 1000",
            "After 1,000 steps each picture has been seen 1,000 times, with as many noises. Long before, the network "
            "knows the 20 by heart.",
            UNSEEN,
        ),
    ),
    hints=(
        "With 20 pictures in a batch, each step shows all of them. Section 8 showed each picture some twenty times.",
        "Write a loop like `fit` that computes `errors(denoise, x0, times)` for both sets every 50 steps.",
        "`training.batches(train_x[:20], batch_size=20, steps=1000, seed=1)` gives the batches. Repeat the 20 pictures "
        "ten times for a steadier error.",
    ),
    choices=("about 10", "about 200", "over 1000"),
)


# 12.10 larger


def what_is_drawn():
    x, path = data.digits().x, schedules.cosine()
    net = networks.initialised(lambda: networks.UNet(1, (16, 16), blocks=1, patch=1), generator(12, 100))
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    batches = training.batches(x, batch_size=16, steps=40, seed=1201)
    list(training.train(net, batches, training.denoising_objective(path, "v"), optimizer, generator=generator(12, 102)))
    noise, times = path.prior((8, 1, 16, 16), generator(12, 103)), torch.linspace(1, 0, 17)
    denoise = denoisers.from_network(net, path, "v")
    drawn = samplers.last(samplers.ancestral(denoise, path, noise, times, generator=generator(12, 104)))

    def alike(x):  # the correlation of a pixel and its neighbour on the right: how wide are the strokes?
        return float(torch.corrcoef(torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()]))[0, 1])

    doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    candidates = {"large digit": alike(doubled), "old strokes": alike(x), "noise": 0.0}
    return min(candidates, key=lambda name: abs(candidates[name] - alike(drawn)))


LARGER = Question(
    id="12.10",
    name="larger",
    stub='larger = None  # what the network draws on 16 × 16 pixels: "large digit", "old strokes", "noise", "error"',
    right="old strokes",
    solution=what_is_drawn,
    why=(
        "A convolution treats all places alike, so the network runs on any size and draws what it knows everywhere:\n"
        "strokes as wide as those of the 8 × 8 digits, next to each other. It has never seen a wider stroke, nor how\n"
        "the parts of a larger digit fit together."
    ),
    wrong=(
        WrongValue(
            "large digit",
            "large digit",
            "A large digit has strokes twice as wide. Nobody showed the network any.",
            UNSEEN,
        ),
        WrongValue(
            "noise",
            "noise",
            "To the network, every 8 × 8 window looks like the noisy pictures that it has learned to denoise. It "
            "draws strokes there.",
            UNSEEN,
        ),
        WrongValue(
            "error",
            "error",
            "No layer knows the size of the picture: convolutions slide, and attention takes any number of positions. "
            "The MLP would raise an error.",
            UNSEEN,
        ),
    ),
    hints=(
        "Which of its layers knows how large the picture is?",
        "A convolution uses the same weights at all places. What does that mean for a larger picture?",
        "Try it: `samplers.ancestral(learned_denoiser, path, path.prior((16, 1, 16, 16), generator(12, 103)), "
        "torch.linspace(1, 0, 51), generator=generator(12, 104))`.",
    ),
    choices=("large digit", "old strokes", "noise", "error"),
)


# 12.11 rise


def rise_of_the_log_snr():
    scale = 255 / 2  # from [-1, 1], which is 2 wide, to [0, 255]
    return math.log(scale**2)  # the signal-to-noise ratio is multiplied by the square


RISE = Question(
    id="12.11",
    name="rise",
    stub="rise = None  # by how much the log-SNR rises at every time if pixels stay in [0, 255]",
    right=(9.6, 9.75),
    solution=rise_of_the_log_snr,
    why=(
        "A factor c multiplies the signal by c and the signal-to-noise ratio by c². That acts like a log-SNR higher "
        "by 2 ln c,\n"
        "with c = 127.5. A shift changes no contrast. So over almost all of the path the picture is as good as clean."
    ),
    wrong=(
        WrongValue(
            "no square",
            (4.8, 4.9),
            "You took ln 127.5. The signal-to-noise ratio is a ratio of squares, so there is a factor 2.",
            UNSEEN,
        ),
        WrongValue(
            "the width of the new range",
            (11.0, 11.15),
            "You took 2 ln 255. The old range is 2 wide, so the scale is 255 / 2.",
            UNSEEN,
        ),
        WrongValue(
            "the width and no square",
            (5.5, 5.6),
            "You took ln 255. The old range is 2 wide, and the ratio is one of squares.",
            UNSEEN,
        ),
        WrongValue(
            "the factor itself",
            (127.0, 128.0),
            "That is the factor of the pixels. The question asks for the change of a logarithm.",
            UNSEEN,
        ),
        WrongValue(
            "the factor of the ratio",
            (16_000.0, 16_500.0),
            "That is the factor of the signal-to-noise ratio. The question asks for the change of its logarithm.",
            UNSEEN,
        ),
        WrongValue(
            "the sign",
            (-9.75, -9.6),
            "Larger pixels mean more signal beside the same noise, so the log-SNR rises.",
            UNSEEN,
        ),
    ),
    hints=(
        "By which factor is the range [0, 255] wider than [-1, 1]?",
        "A factor c in the data multiplies the signal by c. By what is the signal-to-noise ratio multiplied, which "
        "is a ratio of squares?",
        "The factor is 127.5, so it acts like a log-SNR that is higher by 2 ln 127.5.",
    ),
)

EXERCISES = (
    *(TO_MODEL, EMBED, MODULATE, CLIP_ESTIMATE),
    *(TO_PIXELS, SUFFERS, FLOORS, BLIND, PARTED, LARGER, RISE),
)
