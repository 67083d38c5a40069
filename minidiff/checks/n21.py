"""The exercises of notebook 21, cascades and video: 21.1 to 21.4 in its flow, 21.5 to 21.9 at its end.

Those wrong answers that were not seen in public are waiting for the log of unknown answers.
"""

import math

import torch
from torch import Tensor

from minidiff import cascades, schedules
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, means, normals, uniform

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Cascades and video"
COSINE = schedules.cosine()


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


# 21.1 radial_spectrum


def radial_spectrum(x):
    n = x.shape[-1]
    power = (torch.fft.fft2(x).abs() ** 2).mean(dim=0) / n**2
    k = torch.fft.fftfreq(n) * n
    ring = (k[:, None] ** 2 + k[None, :] ** 2).sqrt().round().long()
    return torch.stack([power[ring == r].mean() for r in range(n // 2 + 1)])


def radial_spectrum_shifted(x):
    n = x.shape[-1]
    power = torch.fft.fftshift(torch.fft.fft2(x, norm="ortho").abs().square().mean(dim=0))
    k = torch.arange(n) - n // 2
    ring = torch.hypot(k[:, None].double(), k[None, :].double()).round().long().flatten()
    sums = torch.zeros(int(ring.max()) + 1, dtype=x.dtype).index_add(0, ring, power.flatten())
    return (sums / torch.bincount(ring))[: n // 2 + 1]


def radial_spectrum_truth(x):
    """By the definition of the transform, wave by wave."""
    n = len(x[0])
    place, found = torch.arange(n).to(x), [[] for _ in range(2 * n)]
    for a in range(-(n // 2), n - n // 2):
        for b in range(-(n // 2), n - n // 2):
            angle = 2 * math.pi * (a * place[:, None] + b * place) / n
            both = (x * torch.cos(angle)).sum((1, 2)), (x * torch.sin(angle)).sum((1, 2))
            found[round(math.hypot(a, b))].append((both[0] ** 2 + both[1] ** 2).mean() / n**2)
    return torch.stack([torch.stack(found[r]).mean() for r in range(n // 2 + 1)])


def radial_spectrum_cases(g):
    place = torch.arange(8).double()
    wave = torch.cos(2 * math.pi * 2 * place / 8).expand(8, 8)[None]
    return (
        Case((0.5 + wave,), "a wave of 2 periods across 8 x 8 pixels, plus 0.5"),
        Case((0.4 + normals(g, 3, 8, 8),), "3 pictures of white noise, 8 x 8, plus 0.4"),
        Case((normals(g, 4, 12, 12),), "4 pictures of white noise, 12 x 12"),
    )


def spectrum_with(
    square=lambda f, n: (f.abs() ** 2).mean(0) / n**2,
    rings=lambda k: (k[:, None] ** 2 + k**2).sqrt().round(),
    waves=lambda n: torch.fft.fftfreq(n).double() * n,
    total=lambda values: values.mean(),
    transform=torch.fft.fft2,
):
    """A spectrum with one part exchanged."""

    def answer(x):
        n = x.shape[-1]
        power, ring = square(transform(x), n), rings(waves(n)).long()
        return torch.stack([total(power[ring == r]) for r in range(n // 2 + 1)])

    return answer


RADIAL_SPECTRUM = Exercise(
    id="21.1",
    name="radial_spectrum",
    stub='''
def radial_spectrum(x):
    """The mean of |X_k|^2 / n^2 over pictures and over each ring of frequencies, (n // 2 + 1,).

    x: (B, n, n). X: the discrete Fourier transform of a picture (torch.fft.fft2). A frequency (k1, k2), in waves across
    the picture, k from -n/2 on, belongs to ring r if sqrt(k1^2 + k2^2), rounded, is r. Larger rings are left out.
    """
    ...  # your code
''',
    solution=radial_spectrum,
    alternative=radial_spectrum_shifted,
    why=(
        "White noise of variance 1 then has the value 1 in every ring, whatever n: |X_k|² adds up n² squares.\n"
        "`torch.fft.fftfreq(n) * n` lists the waves in the order of fft2: 0, 1, ..., -2, -1."
    ),
    truth=radial_spectrum_truth,
    cases=radial_spectrum_cases,
    hints=(
        "Three steps: the power of every frequency, the ring of every frequency, a mean for each ring.",
        "`torch.fft.fft2(x).abs() ** 2` is |X_k|². Which waves do its rows and columns stand for? `torch.fft.fftfreq`.",
        "`power[ring == r].mean()` for r = 0, ..., n // 2. Divide by n² once.",
    ),
    wrong=(
        Wrong(
            "not divided by n²",
            spectrum_with(lambda f, n: (f.abs() ** 2).mean(0)),
            "You do not divide by n². White noise of variance 1 should give 1, whatever the size of the picture.",
            UNSEEN,
        ),
        Wrong(
            "divided by n",
            spectrum_with(lambda f, n: (f.abs() ** 2).mean(0) / n),
            "You divide by n. A picture has n² pixels, so |X_k|² is a sum of n² squares: divide by n².",
            UNSEEN,
        ),
        Wrong(
            "the amplitude",
            spectrum_with(lambda f, n: f.abs().mean(0) / n),
            "You average |X_k|. Variances need the power |X_k|²: only squares of independent parts add up.",
            UNSEEN,
        ),
        Wrong(
            "the power of the mean picture",
            spectrum_with(lambda f, n: f.mean(0).abs() ** 2 / n**2),
            "You average the pictures, or their transforms, before you square. What differs between pictures is lost.",
            UNSEEN,
        ),
        Wrong(
            "only the real part",
            spectrum_with(lambda f, n: (f.real**2).mean(0) / n**2),
            "You square the real part only. |X_k|² is the square of the real part plus that of the imaginary part.",
            UNSEEN,
        ),
        Wrong(
            "only one of the two is shifted",
            spectrum_with(lambda f, n: torch.fft.fftshift((f.abs() ** 2).mean(0)) / n**2),
            "Power and rings do not agree where frequency 0 is: fft2 puts it into the corner, fftshift into the "
            "middle. Shift both or neither.",
            UNSEEN,
        ),
        Wrong(
            "rings around the corner only",
            spectrum_with(waves=lambda n: torch.arange(n).double()),
            "You count the waves 0, 1, ..., n - 1. The second half of an FFT holds the negative ones: n - 1 stands for "
            "-1, which is as coarse as 1.",
            UNSEEN,
        ),
        Wrong(
            "sums for means",
            spectrum_with(total=lambda values: values.sum()),
            "You add up the ring. Large rings hold more frequencies, so white noise would grow with k. Take the mean.",
            UNSEEN,
        ),
        Wrong(
            "rounded down",
            spectrum_with(rings=lambda k: (k[:, None] ** 2 + k**2).sqrt().floor()),
            "You cut off the radius where it should be rounded to the nearest whole number (`.long()` cuts off).",
            UNSEEN,
        ),
        Wrong(
            "square rings",
            spectrum_with(rings=lambda k: torch.maximum(k[:, None].abs(), k.abs())),
            "Your rings are squares: you take the larger of |k1| and |k2|. The radius is sqrt(k1² + k2²).",
            UNSEEN,
        ),
        Wrong(
            "diamonds",
            spectrum_with(rings=lambda k: k[:, None].abs() + k.abs()),
            "You add |k1| and |k2|. The radius is sqrt(k1² + k2²).",
            UNSEEN,
        ),
        Wrong(
            "the radius squared",
            spectrum_with(rings=lambda k: (k[:, None] ** 2 + k**2).round()),
            "Your ring is k1² + k2²: the square root is missing.",
            UNSEEN,
        ),
        Wrong(
            "transformed over the pictures too",
            spectrum_with(transform=torch.fft.fftn),
            "`fftn` without `dim` also transforms over the pictures. Use `fft2`, which takes the last two axes.",
            UNSEEN,
        ),
    ),
)


# 21.2 variance_after_step


def variance_after_step(V, S, alpha_t, sigma_t, alpha_s, sigma_s):
    ratio = alpha_t / alpha_s
    step_variance = sigma_t**2 - ratio**2 * sigma_s**2  # of the forward step from s to t
    gain = alpha_t * S / (alpha_t**2 * S + sigma_t**2)  # x0_hat = gain * x_t
    a = ratio * sigma_s**2 / sigma_t**2 + alpha_s * step_variance / sigma_t**2 * gain
    return a**2 * V + step_variance * sigma_s**2 / sigma_t**2


def variance_after_step_by_noise(V, S, alpha_t, sigma_t, alpha_s, sigma_s):
    fresh = (sigma_s / sigma_t) ** 2 * (sigma_t**2 - (alpha_t * sigma_s / alpha_s) ** 2)
    guess = alpha_t * S / (alpha_t**2 * S + sigma_t**2)  # x0_hat / x_t
    noise = (1 - alpha_t * guess) / sigma_t  # eps_hat / x_t
    return (alpha_s * guess + (sigma_s**2 - fresh).sqrt() * noise) ** 2 * V + fresh


def variance_after_step_truth(V, S, alpha_t, sigma_t, alpha_s, sigma_s):
    """q(x_s | x_t, x0) as a product of two normal densities: precisions add up."""
    forward = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    precision = 1 / sigma_s**2 + (alpha_t / alpha_s) ** 2 / forward
    x0_hat = alpha_t / sigma_t**2 / (1 / S + alpha_t**2 / sigma_t**2)
    mean = (alpha_s * x0_hat / sigma_s**2 + (alpha_t / alpha_s) / forward) / precision
    return V * mean**2 + 1 / precision


def variance_after_step_cases(g):
    def at(t):
        now = number(t)
        return float(COSINE.alpha(now)), float(COSINE.sigma(now))

    t, s = uniform(g, 0.6, 0.8), uniform(g, 0.3, 0.5)
    levels = [torch.tensor(value, dtype=torch.float64) for value in (*at(t), *at(s))]
    plain = [number(value) for value in (0.6, 0.8, 0.8, 0.6)]
    return (
        Case((doubles(1.5), doubles(2.0), *plain), "V = 1.5, S = 2, alpha from 0.6 to 0.8, sigma from 0.8 to 0.6"),
        Case(
            (0.3 + 2 * torch.rand(6, generator=g, dtype=torch.float64), doubles(4, 2, 0.7, 0.3, 0.1, 0.02), *levels),
            f"six frequencies, from t = {t} to s = {s} on the cosine path",
        ),
    )


def step_with(
    fresh=lambda step, sigma_t, sigma_s: step * sigma_s**2 / sigma_t**2,
    gain=lambda S, alpha, sigma: alpha * S / (alpha**2 * S + sigma**2),
    last=lambda a, V, fresh, S, alpha_s, sigma_s: a**2 * V + fresh,
    mean=lambda ratio, step, alpha_s, sigma_t, sigma_s, gain: (
        ratio * sigma_s**2 / sigma_t**2 + alpha_s * step / sigma_t**2 * gain
    ),
):
    """One step with one part exchanged."""

    def answer(V, S, alpha_t, sigma_t, alpha_s, sigma_s):
        ratio = alpha_t / alpha_s
        step = sigma_t**2 - ratio**2 * sigma_s**2
        a = mean(ratio, step, alpha_s, sigma_t, sigma_s, gain(S, alpha_t, sigma_t))
        return last(a, V, fresh(step, sigma_t, sigma_s), S, alpha_s, sigma_s)

    return answer


VARIANCE_AFTER_STEP = Exercise(
    id="21.2",
    name="variance_after_step",
    stub='''
def variance_after_step(V, S, alpha_t, sigma_t, alpha_s, sigma_s):
    """The variance of x_s, after one step of DDPM's sampler from t to s, for each frequency of a Gaussian field.

    V: the variance of x_t, as the sampler made it. S: the variance of x0. Both (K,). The others are numbers (tensors).
    The sampler draws x_s from q(x_s | x_t, x0 = E[x0 | x_t]) of notebook 06, with the exact E[x0 | x_t].
    """
    ...  # your code
''',
    solution=variance_after_step,
    alternative=variance_after_step_by_noise,
    why=(
        "The mean of q(x_s | x_t, x0) is linear in x_t and x0, and E[x0 | x_t] is a number times x_t. So x_s = a x_t\n"
        "+ fresh noise, and variances of independent parts add up: a² V plus the variance of q."
    ),
    truth=variance_after_step_truth,
    cases=variance_after_step_cases,
    hints=(
        "Everything is linear: x_s = a x_t + fresh noise. What is a, and what is the variance of the noise?",
        "E[x0 | x_t] = gain * x_t, with the gain of a Wiener filter, alpha S / (alpha² S + sigma²).",
        "The mean of q is r sigma_s²/sigma_t² x_t + alpha_s v/sigma_t² x0, with r = alpha_t/alpha_s and "
        "v = sigma_t² - r² sigma_s². Its variance is v sigma_s²/sigma_t².",
    ),
    wrong=(
        Wrong(
            "what it should be",
            lambda V, S, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s**2 * S + sigma_s**2,
            "That is the variance that x_s should have. The question is which one a step of the sampler makes from V.",
            UNSEEN,
        ),
        Wrong(
            "no fresh noise",
            step_with(fresh=lambda step, sigma_t, sigma_s: 0.0),
            "The fresh noise is missing: q(x_s | x_t, x0) has a variance of its own.",
            UNSEEN,
        ),
        Wrong(
            "the factor not squared",
            step_with(last=lambda a, V, fresh, S, alpha_s, sigma_s: a * V + fresh),
            "A factor a multiplies the variance by a².",
            UNSEEN,
        ),
        Wrong(
            "the forward variance",
            step_with(fresh=lambda step, sigma_t, sigma_s: step),
            "Your fresh noise has the variance of the forward step (DDPM's beta). That of q(x_s | x_t, x0) is smaller, "
            "by sigma_s²/sigma_t².",
            "DDPM, section 3.2: both are in use",
        ),
        Wrong(
            "the standard deviation of the noise",
            step_with(fresh=lambda step, sigma_t, sigma_s: (step * sigma_s**2 / sigma_t**2).sqrt()),
            "You add the standard deviation of the fresh noise. Add its variance.",
            UNSEEN,
        ),
        Wrong(
            "along the ODE",
            lambda V, S, alpha_t, sigma_t, alpha_s, sigma_s: (
                V * ((alpha_s * alpha_t * S + sigma_s * sigma_t) / (alpha_t**2 * S + sigma_t**2)) ** 2
            ),
            "That is a step of DDIM, without fresh noise. DDPM's sampler draws from q(x_s | x_t, x0).",
            UNSEEN,
        ),
        Wrong(
            "the gain without its alpha",
            step_with(gain=lambda S, alpha, sigma: S / (alpha**2 * S + sigma**2)),
            "Your guess of x0 misses a factor alpha: E[x0 | x_t] = alpha S / (alpha² S + sigma²) x_t.",
            UNSEEN,
        ),
        Wrong(
            "no filter",
            step_with(gain=lambda S, alpha, sigma: 1 / alpha),
            "You guess x0 as x_t / alpha, which takes the noise for signal. Use the Wiener filter.",
            UNSEEN,
        ),
        Wrong(
            "a filter for variance 1",
            step_with(gain=lambda S, alpha, sigma: alpha / (alpha**2 + sigma**2)),
            "Your filter takes every frequency to have variance 1. It has S.",
            UNSEEN,
        ),
        Wrong(
            "straight to the guess",
            step_with(mean=lambda ratio, step, alpha_s, sigma_t, sigma_s, gain: alpha_s * gain),
            "You go to alpha_s times the guess of x0 and forget x_t, whose noise is partly kept.",
            UNSEEN,
        ),
        Wrong(
            "the ratio turned over",
            step_with(
                mean=lambda ratio, step, alpha_s, sigma_t, sigma_s, gain: (
                    sigma_s**2 / sigma_t**2 / ratio + alpha_s * step / sigma_t**2 * gain
                )
            ),
            "The factor of x_t has alpha_t / alpha_s, not its inverse.",
            UNSEEN,
        ),
    ),
)


# 21.3 shown_coarse


def shown_coarse(x, s, generator):
    coarse = (x[:, 0::2, 0::2] + x[:, 1::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 1::2]) / 4
    noise = torch.randn(coarse.shape, generator=generator, dtype=x.dtype)
    noisy = coarse + s[:, None, None] * noise
    return noisy.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


def shown_coarse_by_layers(x, s, generator):
    coarse = torch.nn.functional.avg_pool2d(x[:, None], 2)
    noisy = coarse + s.reshape(-1, 1, 1, 1) * torch.randn(coarse.shape, generator=generator, dtype=x.dtype)
    return torch.nn.functional.interpolate(noisy, scale_factor=2, mode="nearest")[:, 0]


def shown_coarse_truth(x, s, generator):
    return cascades.enlarged(cascades.augmented(cascades.halved(x[:, None]), s, generator))[:, 0]


def shown_coarse_cases(g):
    return (
        Case(
            (doubles(1, 3, 0, 4).reshape(1, 2, 2), doubles(0.5), RNG), "one picture of 2 x 2 pixels, 1 3 0 4, s = 0.5"
        ),
        Case((normals(g, 3, 4, 4), doubles(0.2, 1.2, 4.2), RNG), "3 pictures of 4 x 4 pixels, s = 0.2, 1.2, 4.2"),
    )


def shown_coarse_view(out, x, s):
    """The result, and its noise in each square of 2 x 2 pixels. out: (R, B, n, n)."""
    coarse = cascades.halved(x[:, None])[:, 0]
    noise = (out - cascades.enlarged(coarse[:, None])[:, 0]) / s[:, None, None]
    squares = noise.unfold(2, 2, 2).unfold(3, 2, 2)  # (R, B, h, w, 2, 2)
    numbers = {
        "the mean of the result": out,
        "the mean of the result times x": out * x,
        "the variance of the noise over s²": noise**2,
        "the fourth moment of the noise over s": noise**4,
        "the variance within a square of 2 x 2 pixels": squares.flatten(4).var(4),
        "the variance of the noise over s² in the first picture": noise[:, :1] ** 2,
    }
    if len(x) > 1:
        numbers["the mean product of the noise of one picture and the next"] = noise[:, :-1] * noise[:, 1:]
        numbers["the mean product of the noise of one square and the next"] = squares[:, :, :-1] * squares[:, :, 1:]
    return means(numbers)


def told_by(noise_of, halve=cascades.halved, enlarge=cascades.enlarged):
    """noise_of(coarse (B, 1, h, w), s (B, 1, 1, 1), noise like it) -> what is enlarged."""

    def answer(x, s, generator):
        coarse = halve(x[:, None])
        noise = torch.randn(coarse.shape, generator=generator, dtype=x.dtype)
        return enlarge(noise_of(coarse, s[:, None, None, None], noise))[:, 0]

    return answer


def noise_on_large(x, s, generator):
    coarse = cascades.enlarged(cascades.halved(x[:, None]))[:, 0]
    return coarse + s[:, None, None] * torch.randn(coarse.shape, generator=generator, dtype=x.dtype)


def noise_on_fine(x, s, generator):
    noisy = x + s[:, None, None] * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return cascades.enlarged(cascades.halved(noisy[:, None]))[:, 0]


def one_noise(x, s, generator):
    coarse = cascades.halved(x[:, None])
    noise = torch.randn(coarse[:1].shape, generator=generator, dtype=x.dtype)
    return cascades.enlarged(coarse + s[:, None, None, None] * noise)[:, 0]


def one_number(x, s, generator):
    coarse = cascades.halved(x[:, None])
    noise = torch.randn(len(x), 1, 1, 1, generator=generator, dtype=x.dtype)
    return cascades.enlarged(coarse + s[:, None, None, None] * noise)[:, 0]


SHOWN_COARSE = Exercise(
    id="21.3",
    name="shown_coarse",
    stub='''
def shown_coarse(x, s, generator):
    """What an upsampler sees beside x_t in training: the coarse picture of x with noise s, at full size. (B, n, n)

    x: fine pictures, (B, n, n), n even. s: (B,), a standard deviation for each picture. A coarse pixel is the mean of
    2 x 2 fine ones; noise is put on coarse pixels; then each becomes a square of 2 x 2 pixels again.
    """
    ...  # your code
''',
    solution=shown_coarse,
    alternative=shown_coarse_by_layers,
    why=(
        "The noise stands for the errors of the coarse model, so it belongs on the coarse pixels. After enlarging,\n"
        "four pixels share one noise. Noise on each of them apart would average out to s/2."
    ),
    truth=shown_coarse_truth,
    cases=shown_coarse_cases,
    view=shown_coarse_view,
    calls=200,
    hints=(
        "Three steps, in this order: coarsen, put noise on, enlarge.",
        "`torch.nn.functional.avg_pool2d(x[:, None], 2)` takes the means. `s[:, None, None]` gives s for each picture.",
        "`repeat_interleave(2, dim=...)` along both axes enlarges. Draw with `generator=generator, dtype=x.dtype`.",
    ),
    wrong=(
        Wrong(
            "no noise",
            lambda x, s, generator: (
                cascades.enlarged(cascades.halved(x[:, None]))[:, 0]
                + 0 * torch.randn((), generator=generator, dtype=x.dtype)
            ),
            "There is no noise on your coarse picture. An upsampler that has only seen true ones takes every "
            "error of the coarse model for truth.",
            "the trap of section 3",
        ),
        Wrong(
            "noise on the enlarged picture",
            noise_on_large,
            "You put noise on the enlarged picture, so each of four equal pixels gets its own. Their mean then has "
            "only the noise s/2, and the upsampler sees more than you meant it to.",
            UNSEEN,
        ),
        Wrong(
            "noise on the fine picture",
            noise_on_fine,
            "You put the noise on the fine picture, before the means are taken. The mean of four has the noise s/2.",
            UNSEEN,
        ),
        Wrong(
            "noise not scaled",
            told_by(lambda coarse, s, noise: coarse + noise),
            "Your noise has standard deviation 1. It should have s.",
            UNSEEN,
        ),
        Wrong(
            "s squared",
            told_by(lambda coarse, s, noise: coarse + s**2 * noise),
            "You multiply the noise by s². Its standard deviation is s.",
            UNSEEN,
        ),
        Wrong(
            "the root of s",
            told_by(lambda coarse, s, noise: coarse + s.sqrt() * noise),
            "You multiply the noise by the root of s, as if s were a variance.",
            UNSEEN,
        ),
        Wrong(
            "the same s for all",
            told_by(lambda coarse, s, noise: coarse + s.mean() * noise),
            "Every picture has its own s. Yours all have the mean of them.",
            UNSEEN,
        ),
        Wrong(
            "only one noise for all pictures",
            one_noise,
            "All pictures get the same noise. Draw it in the shape of the whole coarse batch.",
            UNSEEN,
        ),
        Wrong(
            "one number for each picture",
            one_number,
            "You draw one number for each picture, so the whole picture gets brighter or darker. Draw one for each "
            "coarse pixel.",
            UNSEEN,
        ),
        Wrong(
            "uniform noise",
            lambda x, s, generator: cascades.enlarged(
                cascades.halved(x[:, None])
                + s[:, None, None, None]
                * torch.rand(len(x), 1, x.shape[1] // 2, x.shape[2] // 2, generator=generator, dtype=x.dtype)
            )[:, 0],
            "`torch.rand` draws numbers between 0 and 1, with mean 0.5. Use `torch.randn`.",
            UNSEEN,
        ),
        Wrong(
            "every other pixel",
            told_by(lambda coarse, s, noise: coarse + s * noise, halve=lambda x: x[..., ::2, ::2]),
            "Your coarse picture takes every other pixel and drops the rest. It should be the mean of 2 x 2 pixels.",
            UNSEEN,
        ),
        Wrong(
            "tiled",
            told_by(lambda coarse, s, noise: coarse + s * noise, enlarge=lambda x: x.repeat(1, 1, 2, 2)),
            "`repeat` lays four copies of the coarse picture side by side. `repeat_interleave` repeats each pixel.",
            UNSEEN,
        ),
        Wrong(
            "the sum of four",
            told_by(lambda coarse, s, noise: 4 * coarse + s * noise),
            "You add four pixels up. A coarse pixel is their mean.",
            UNSEEN,
        ),
        Wrong(
            "the signal shrunk",
            told_by(lambda coarse, s, noise: coarse / (1 + s**2).sqrt() + s * noise / (1 + s**2).sqrt()),
            "You divide by the root of 1 + s². Here the noise is only added, the coarse picture stays as it is.",
            "paths that preserve variance",
        ),
    ),
)


# 21.4 going_on


def going_on(films, x_t, first, alpha, sigma, std):
    k = first.shape[1]
    noise = ((x_t[:, None] - alpha * films) ** 2).sum(dim=(2, 3)) / (2 * sigma**2)
    given = ((first[:, None] - films[None, :, :k]) ** 2).sum(dim=(2, 3)) / (2 * std**2)
    weights = torch.softmax(-noise - given, dim=1)
    return torch.einsum("bn,nfp->bfp", weights, films)


def going_on_film_by_film(films, x_t, first, alpha, sigma, std):
    found = []
    for x, known in zip(x_t, first, strict=True):
        close = (known - films[:, : len(known)]).flatten(1).square().sum(1) / std**2
        log_weights = -0.5 * close - 0.5 * ((x - alpha * films) / sigma).flatten(1).square().sum(1)
        weights = (log_weights - log_weights.logsumexp(0)).exp()
        found.append((weights[:, None, None] * films).sum(0))
    return torch.stack(found)


def going_on_truth(films, x_t, first, alpha, sigma, std):
    """Two looks at a film, the noisy film and the given frames with noise std, are one look with less noise."""
    known = slice(0, first.shape[1])
    precision = torch.full_like(x_t, float(alpha**2 / sigma**2))
    precision[:, known] += 1 / std**2
    seen = alpha * x_t / sigma**2
    seen[:, known] += first / std**2
    scale = precision.sqrt()  # the look, at noise 1: seen / scale = scale * film + noise
    gap = torch.cdist((seen / scale).flatten(1), (scale[:1] * films).flatten(1))
    return (torch.softmax(-(gap**2) / 2, 1) @ films.flatten(1)).reshape(x_t.shape)


def going_on_cases(g):
    few = doubles(0, 1, 0, -1, 1, 1).reshape(3, 2, 1)
    films = 0.6 * normals(g, 12, 4, 3)
    alpha, sigma = 0.6, 0.8
    at = films[:3] * alpha + sigma * normals(g, 3, 4, 3)
    first = films[:3, :2] + 0.3 * normals(g, 3, 2, 3)
    return (
        Case(
            (few, doubles(0.2, 0.3).reshape(1, 2, 1), doubles(0.1).reshape(1, 1, 1), number(0.8), number(0.6), 0.5),
            "three films of two frames of one pixel: 0 1, 0 -1 and 1 1; x_t = 0.2 0.3, first frame 0.1, alpha = 0.8, "
            "std = 0.5",
        ),
        Case(
            (films, at, first, number(alpha), number(sigma), uniform(g, 0.35, 0.45)),
            "12 films of 4 frames of 3 pixels, 2 frames given",
        ),
    )


def films_weighed(weigh, films_of=lambda films, first: films):
    """A mean of films with weights from other exponents: weigh(noise gap², given gap², alpha, sigma, std)."""

    def answer(films, x_t, first, alpha, sigma, std):
        k = first.shape[1]
        noise = ((x_t[:, None] - alpha * films) ** 2).sum((2, 3))
        given = ((first[:, None] - films[None, :, :k]) ** 2).sum((2, 3))
        return torch.einsum("bn,nfp->bfp", weigh(noise, given, alpha, sigma, std), films_of(films, first))

    return answer


def softmax_of(exponent, dim=1):
    return films_weighed(lambda *given: torch.softmax(-exponent(*given), dim))


def two_means(films, x_t, first, alpha, sigma, std):
    plain = softmax_of(lambda noise, given, alpha, sigma, std: noise / (2 * sigma**2))
    other = softmax_of(lambda noise, given, alpha, sigma, std: given / (2 * std**2))
    return (plain(films, x_t, first, alpha, sigma, std) + other(films, x_t, first, alpha, sigma, std)) / 2


def replaced(films, x_t, first, alpha, sigma, std):
    k = first.shape[1]
    x = torch.cat([alpha * first, x_t[:, k:]], dim=1)
    noise = ((x[:, None] - alpha * films) ** 2).sum((2, 3)) / (2 * sigma**2)
    return torch.einsum("bn,nfp->bfp", torch.softmax(-noise, 1), films)


def pasted(films, x_t, first, alpha, sigma, std):
    plain = softmax_of(lambda noise, given, alpha, sigma, std: noise / (2 * sigma**2))
    found = plain(films, x_t, first, alpha, sigma, std)
    return torch.cat([first, found[:, first.shape[1] :]], dim=1)


def last_frames(films, x_t, first, alpha, sigma, std):
    k = first.shape[1]
    noise = ((x_t[:, None] - alpha * films) ** 2).sum((2, 3)) / (2 * sigma**2)
    given = ((first[:, None] - films[None, :, -k:]) ** 2).sum((2, 3)) / (2 * std**2)
    return torch.einsum("bn,nfp->bfp", torch.softmax(-noise - given, 1), films)


def given_shrunk(films, x_t, first, alpha, sigma, std):
    k = first.shape[1]
    noise = ((x_t[:, None] - alpha * films) ** 2).sum((2, 3)) / (2 * sigma**2)
    given = ((first[:, None] - alpha * films[None, :, :k]) ** 2).sum((2, 3)) / (2 * std**2)
    return torch.einsum("bn,nfp->bfp", torch.softmax(-noise - given, 1), films)


def films_not_shrunk(films, x_t, first, alpha, sigma, std):
    return softmax_of(
        lambda noise, given, one, sigma, std: (
            ((x_t[:, None] - films) ** 2).sum((2, 3)) / (2 * sigma**2) + given / (2 * std**2)
        )
    )(films, x_t, first, alpha, sigma, std)


GOING_ON = Exercise(
    id="21.4",
    name="going_on",
    stub='''
def going_on(films, x_t, first, alpha, sigma, std):
    """E[x0 | x_t, first]: the exact denoiser of a film whose first k frames are given. (B, F, P)

    films: (N, F, P), all films that there are, equally likely. x_t: (B, F, P), which is alpha x0 + sigma noise.
    first: (B, k, P), the first k frames of x0 with further independent noise of standard deviation std.
    """
    ...  # your code
''',
    solution=going_on,
    alternative=going_on_film_by_film,
    why=(
        "Given x0, the noisy film and the given frames are independent, so their likelihoods multiply: the exponents\n"
        "add up inside one softmax. This is the denoiser that training with given frames learns."
    ),
    truth=going_on_truth,
    cases=going_on_cases,
    hints=(
        "The weight of a film is p(x_t | film) p(first | film), normalised over the films.",
        "Both are normal densities. Products of densities are sums of exponents.",
        "`torch.softmax(-a - b, dim=1)` with a = |x_t - alpha film|² / (2 sigma²), b = |first - film's first k|² / (2 "
        "std²).",
    ),
    wrong=(
        Wrong(
            "the given frames are not used",
            softmax_of(lambda noise, given, alpha, sigma, std: noise / (2 * sigma**2)),
            "You use x_t only. Films whose first frames disagree with the given ones must lose weight.",
            UNSEEN,
        ),
        Wrong(
            "the noisy film is not used",
            softmax_of(lambda noise, given, alpha, sigma, std: given / (2 * std**2)),
            "You use the given frames only. x_t also says which film it is.",
            UNSEEN,
        ),
        Wrong(
            "the mean of two answers",
            two_means,
            "You average two posterior means. The likelihoods multiply: add the exponents inside one softmax.",
            UNSEEN,
        ),
        Wrong(
            "replacement",
            replaced,
            "You write the given frames into x_t and ask the plain denoiser. It believes them no more than its noise "
            "level allows, and x_t's other frames outvote them. That is the wrong version of this section.",
            "inpainting by replacement",
        ),
        Wrong(
            "pasted in afterwards",
            pasted,
            "You paste the given frames into the plain denoiser's answer. The other frames do not know of them.",
            UNSEEN,
        ),
        Wrong(
            "the last frames",
            last_frames,
            "You compare the given frames with the last frames of each film.",
            UNSEEN,
        ),
        Wrong(
            "given frames shrunk",
            given_shrunk,
            "The given frames are clean up to std: compare them with the film, not with alpha times the film.",
            UNSEEN,
        ),
        Wrong(
            "films not shrunk",
            films_not_shrunk,
            "x_t lies around alpha times the film, not around the film.",
            UNSEEN,
        ),
        Wrong(
            "std not squared",
            softmax_of(lambda noise, given, alpha, sigma, std: noise / (2 * sigma**2) + given / (2 * std)),
            "You divide by 2 std. A normal density has the variance, std², in its exponent.",
            UNSEEN,
        ),
        Wrong(
            "sigma not squared",
            softmax_of(lambda noise, given, alpha, sigma, std: noise / (2 * sigma) + given / (2 * std**2)),
            "You divide by 2 sigma. A normal density has the variance, sigma², in its exponent.",
            UNSEEN,
        ),
        Wrong(
            "the 2 is missing",
            softmax_of(lambda noise, given, alpha, sigma, std: noise / sigma**2 + given / std**2),
            "A normal density has the square over twice the variance in its exponent.",
            UNSEEN,
        ),
        Wrong(
            "one noise for both",
            softmax_of(lambda noise, given, alpha, sigma, std: (noise + given) / (2 * sigma**2)),
            "You give the given frames the noise sigma of x_t. Their own is std.",
            UNSEEN,
        ),
        Wrong(
            "the nearest film",
            films_weighed(
                lambda noise, given, alpha, sigma, std: torch.nn.functional.one_hot(
                    (noise / sigma**2 + given / std**2).argmin(1), noise.shape[1]
                ).to(noise)
            ),
            "You take the most likely film only. The denoiser is the mean over all of them.",
            UNSEEN,
        ),
        Wrong(
            "weights that do not add up to 1",
            films_weighed(
                lambda noise, given, alpha, sigma, std: torch.exp(-noise / (2 * sigma**2) - given / (2 * std**2))
            ),
            "Your weights are not normalised over the films.",
            UNSEEN,
        ),
    ),
)


# 21.5 place_at


def place_at(place, velocity, k, low, high):
    span = high - low
    beyond = (place + velocity * k - low) % (2 * span)
    return low + torch.minimum(beyond, 2 * span - beyond)


def place_at_by_triangle(place, velocity, k, low, high):
    half = (high - low) / 2
    phase = (place + k * velocity - low - half) / half  # 0 in the middle of the box, 1 at the upper wall
    return low + half + half * torch.asin(torch.sin(phase * math.pi / 2)) * 2 / math.pi


def place_at_truth(place, velocity, k, low, high):
    """Wall by wall: whoever is beyond one is mirrored in it, until all are inside."""
    x = place + velocity * k
    for _ in range(100):
        x = torch.where(x > high, 2 * high - x, x)
        x = torch.where(x < low, 2 * low - x, x)
    return x


def place_at_cases(g):
    n = 12
    place = 2 + 3 * torch.rand(n, generator=g, dtype=torch.float64)
    velocity = torch.linspace(-7, 7, n, dtype=torch.float64) + 0.3 * torch.rand(n, generator=g, dtype=torch.float64)
    return (
        Case((doubles(4.0, 3.0, 2.5), doubles(0.3, 2.5, -1.0), 1, 2.0, 5.0), "walls at 2 and 5, one frame later"),
        Case((place, velocity, 3, 2.0, 5.0), "12 fast balls between 2 and 5, three frames later"),
    )


PLACE_AT = Exercise(
    id="21.5",
    name="place_at",
    stub='''
def place_at(place, velocity, k, low, high):
    """Where balls on a line are k frames later. They fly at constant speed and bounce off walls at low and high. (B,)

    place: (B,), where they are now, between the walls. velocity: (B,), in pixels a frame. They may bounce many times.
    """
    ...  # your code
''',
    solution=place_at,
    alternative=place_at_by_triangle,
    why=(
        "Without walls the ball would be at place + k velocity. A wall is a mirror: fold the line at both walls, and\n"
        "the motion repeats after twice the distance between them."
    ),
    truth=place_at_truth,
    cases=place_at_cases,
    hints=(
        "Where would the ball be without walls? Then think of the walls as mirrors.",
        "With two mirrors everything repeats after 2 (high - low).",
        "Take (place + k velocity - low) modulo twice the span; what is beyond one span comes back.",
    ),
    wrong=(
        Wrong(
            "no bounce",
            lambda place, velocity, k, low, high: place + k * velocity,
            "Your ball flies through the wall.",
            UNSEEN,
        ),
        Wrong(
            "stuck at the wall",
            lambda place, velocity, k, low, high: (place + k * velocity).clamp(low, high),
            "Your ball stops at the wall (`clamp`). It must come back.",
            UNSEEN,
        ),
        Wrong(
            "in at the other side",
            lambda place, velocity, k, low, high: low + (place + k * velocity - low) % (high - low),
            "Your ball leaves at one wall and comes in at the other. That is a periodic box. Fold after one span, "
            "repeat after two.",
            UNSEEN,
        ),
        Wrong(
            "only the upper wall",
            lambda place, velocity, k, low, high: high - (place + k * velocity - high).abs(),
            "Your ball bounces off the upper wall only.",
            UNSEEN,
        ),
        Wrong(
            "only the lower wall",
            lambda place, velocity, k, low, high: low + (place + k * velocity - low).abs(),
            "Your ball bounces off the lower wall only.",
            UNSEEN,
        ),
        Wrong(
            "one bounce only",
            lambda place, velocity, k, low, high: torch.where(
                place + k * velocity > high,
                2 * high - place - k * velocity,
                torch.where(place + k * velocity < low, 2 * low - place - k * velocity, place + k * velocity),
            ),
            "Your ball bounces once, and flies through the next wall. A fast one bounces several times in k frames.",
            UNSEEN,
        ),
        Wrong(
            "a frame too early",
            lambda place, velocity, k, low, high: place_at(place, velocity, k - 1, low, high),
            "You are one frame early: k frames later the ball has flown k velocity.",
            "off by one",
        ),
        Wrong(
            "a frame too late",
            lambda place, velocity, k, low, high: place_at(place, velocity, k + 1, low, high),
            "You are one frame late: k frames later the ball has flown k velocity.",
            "off by one",
        ),
        Wrong(
            "backwards",
            lambda place, velocity, k, low, high: place_at(place, -velocity, k, low, high),
            "The sign of the velocity is wrong: your ball flies backwards.",
            UNSEEN,
        ),
        Wrong(
            "low is 0",
            lambda place, velocity, k, low, high: place_at(place, velocity, k, 0.0, high - low),
            "You fold as if the lower wall were at 0. Subtract low before, and add it after.",
            UNSEEN,
        ),
        Wrong(
            "the phase only",
            lambda place, velocity, k, low, high: low + (place + k * velocity - low) % (2 * (high - low)),
            "You take the rest modulo twice the span and stop there: what lies beyond one span must be folded back.",
            UNSEEN,
        ),
    ),
)


# 21.6 jump


def jump():
    from minidiff import generator

    places = 1 + (25 - 1) * torch.rand(2, 1_000_000, generator=generator(0))
    return float((places[0] - places[1]).abs().mean())


JUMP = Question(
    id="21.6",
    name="jump",
    stub="jump = None  # pixels between one frame and the next, on average, if the frames are independent",
    right=(7.9, 8.1),
    solution=jump,
    why=(
        "Two independent uniform numbers between walls that are 24 pixels apart differ by a third of 24 on average.\n"
        "A metric of single frames cannot tell such films from real ones; this number can."
    ),
    hints=(
        "In independent frames the two places are independent and uniform between 1 and 25.",
        "What is the mean of |a - b| for two uniform numbers between 0 and 1? Integrate, or draw a million.",
        "It is 1/3, so the jump is a third of the distance between the walls.",
    ),
    wrong=(
        WrongValue(
            "the real one",
            (1.1, 1.3),
            "That is the mean of |v| of the real films, half of 2.5 (a little less, because of the walls). Independent "
            "frames have no velocity.",
            UNSEEN,
        ),
        WrongValue(
            "the box of section 6",
            (3.6, 3.75),
            "That is the jump in the box of section 6, whose walls are 11 pixels apart. Here they are 24 apart.",
            UNSEEN,
        ),
        WrongValue("none", (-0.01, 0.01), "That is the mean of a - b, with its sign. The jump is |a - b|.", UNSEEN),
        WrongValue(
            "half of the span",
            (11.9, 12.1),
            "Half of the span is the mean distance from one wall. Both ends of a jump are random.",
            UNSEEN,
        ),
        WrongValue(
            "a quarter of the span",
            (5.95, 6.05),
            "A quarter of the span is the mean distance from the middle of the box. Both ends of a jump are random.",
            UNSEEN,
        ),
        WrongValue(
            "the root mean square",
            (9.75, 9.85),
            "That is the root mean square, the span over the root of 6. The mean of |a - b| is smaller.",
            UNSEEN,
        ),
    ),
)

# 21.7 to 21.9

FOUR = Explanation(
    id="21.7",
    name="why four",
    task="Why is the floor of single frames about four times that of whole films at small noise?",
    model=(
        "At small noise the posterior is normal, and a film is known up to the numbers that it is made of. With noise "
        "sigma/alpha on every pixel, the mean square error is (sigma/alpha)² times the number of free directions, over "
        "the number of pixels. A whole film on a line is made of two numbers, place and velocity. Eight single frames "
        "are made of eight, a place each. So the ratio is 8 / 2 = 4. In the plane it is 16 / 4, again 4. At larger "
        "noise the posterior is no longer narrow, and the ratio is larger, then falls to 1 where x_t tells nothing."
    ),
    look_for=(
        "The error at small noise is counted in free numbers, not in pixels.",
        "A film has two numbers (place and velocity), eight separate frames have eight.",
        "The argument holds only while the posterior is narrow compared with the curvature of the set of films.",
    ),
    hints=(
        "How many numbers determine a film? How many determine eight frames that know nothing of each other?",
        "Noise on many pixels that depend on d numbers: how much of the noise can one not remove?",
        "Project the noise onto the d directions in which the film can change.",
    ),
)

LARGE = Explanation(
    id="21.8",
    name="a large picture",
    task="A colleague plans a cascade for pictures of 1024 x 1024. Which three things do you measure first?",
    model=(
        "First, whether a cascade is needed: one model with the same training time, measured with the same distance "
        "and its floor, because on small digits one model may do as well. Second, each stage by itself: the upsampler "
        "on real coarse pictures (its own error), then on those of the coarse model (what the error of the first stage "
        "does to it). Third, a scan of the noise s at sampling: the distance of the pictures, and beside it how far "
        "they disagree with the coarse picture that they were given."
    ),
    look_for=(
        "One model at equal time is the comparison.",
        "The stages are measured apart and together.",
        "The noise s is scanned, with its price (disagreement) beside its gain.",
    ),
    hints=(
        "What would you compare the cascade with?",
        "Which stage is to blame if the result is bad?",
        "Which number of a cascade can be chosen after training?",
    ),
)

BOTH = Explanation(
    id="21.9",
    name="both stages",
    task="Train mnist-coarse, enlarge what it draws with s = 0, 0.1 and 0.3, and compare with one network.",
    model=(
        "`minidiff train mnist-coarse --out runs/coarse` trains the first stage. Load it with `load_network`, draw 200 "
        "thumbnails with `samplers.ancestral` and `from_network(net, digits.PATH, digits.KIND)`, and hand them to "
        "`cascades.upsampled`. Measure each set with `digits.digit_distance`, and the disagreement as the mean "
        "square of `cascades.halved(x)` minus the thumbnail. A comparison with one network is fair at equal time."
    ),
    look_for=(
        "The distance is given in floors, with n.",
        "The disagreement is measured beside it.",
        "The training times of both ways are named.",
    ),
    hints=(
        "`minidiff train mnist-coarse --help` says where the result lies.",
        "Section 5 loads the upsampler and samples; the coarse network needs no y.",
        "`cascades.upsampled(net, thumbnails, s, steps=25, generator=...)` puts the noise on and announces it.",
    ),
)

EXERCISES = (RADIAL_SPECTRUM, VARIANCE_AFTER_STEP, SHOWN_COARSE, GOING_ON, PLACE_AT, JUMP, FOUR, LARGE, BOTH)
