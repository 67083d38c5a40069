"""Sounds that are made by a few lines, and what one measures on them: plucked strings, whispered vowels, pitch.

A sound is a row of n samples at `RATE` a second, so the whole package works on it. Both kinds of sound have an exact
distribution (`structured`): a plucked string is a matrix times a burst of noise, and a whisper is noise through a
filter. Nothing here needs a library for audio. Taught in notebook 23.

Sources: Karplus & Strong 1983, Computer Music Journal 7(2), and Jaffe & Smith 1983, same issue (strings, their tuning);
Peterson & Barney 1952 (formants of vowels); McLeod & Wyvill 2005, A smarter way to find pitch;
Griffin & Lim 1984, IEEE Trans. ASSP 32(2); Perraudin, Balazs & Sondergaard 2013 (its fast form).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor

from minidiff._tensors import check_number, check_whole, describe
from minidiff.structured import LowRankMixture, StationaryMixture

__all__ = [
    "NAMES",
    "NOTES",
    "RATE",
    "VOWELS",
    "cents",
    "decibels",
    "frequency",
    "griffin_lim",
    "istft",
    "pitch",
    "stft",
    "string_matrix",
    "strings",
    "whisper_spectrum",
    "whispers",
]

RATE = 8000  # samples a second, as a telephone has
NOTES = (60, 62, 64, 65, 67, 69, 71, 72)  # C major from middle C on, numbered as in MIDI
NAMES = ("C4", "D4", "E4", "F4", "G4", "A4", "B4", "C5")
# The first three formants of English vowels, spoken by men, in Hz (Peterson & Barney 1952)
VOWELS = {
    "ee": (270.0, 2290.0, 3010.0),
    "e": (530.0, 1840.0, 2480.0),
    "ah": (730.0, 1090.0, 2440.0),
    "aw": (570.0, 840.0, 2410.0),
    "oo": (300.0, 870.0, 2240.0),
}
BANDWIDTHS = (60.0, 90.0, 150.0)  # of the three formants, in Hz
CLEAR = 0.93  # of the highest peak of the autocorrelation: the first peak that reaches it is the period


def frequency(note: int | Sequence[int] | Tensor) -> Tensor:
    """The frequency of notes in Hz, float64: 440 Hz is A4, note 69, and twelve semitones double it."""
    return 440.0 * 2.0 ** ((torch.as_tensor(note, dtype=torch.float64) - 69) / 12)


def cents(f: Tensor, reference: Tensor) -> Tensor:
    """How far f is above a reference frequency, in hundredths of a semitone: 1200 log2(f / reference). Notebook 23."""
    return 1200 * torch.log2(torch.as_tensor(f) / torch.as_tensor(reference))


def decibels(power: Tensor | float) -> Tensor:
    """10 log10 of a ratio of powers, such as mean squares. A factor of 2 is 3 dB; a log-SNR of 1 is 4.34 dB."""
    return 10 * torch.log10(torch.as_tensor(power, dtype=torch.float64))


# Strings


def string_matrix(f: float, n: int, *, whole: bool = False, decay: float = 0.996, rate: int = RATE) -> Tensor:
    """A plucked string as a matrix, (n, M): a burst of M random numbers -> n samples. Notebook 23.

    x[i] is burst[i], plus `decay` times the mean of two neighbouring samples of x about a period ago. The mean delays
    by half a sample, so the rest of the period, rate / f - 1/2, is the length of the delay line; between two whole
    numbers it is interpolated (Jaffe & Smith). whole=True rounds the period instead and forgets the half: out of
    tune. The burst has its mean taken out, else the sound would be pushed to one side.
    """
    check_number("f", f)
    check_whole("n", n, least=8)
    check_number("decay", decay)
    if not 8 < rate / f < n:
        raise ValueError(f"f must have a period between 8 and n = {n} samples, but {f} Hz has {rate / f:.1f}")
    delay = round(rate / f) if whole else rate / f - 0.5
    steps, part = int(delay), delay - int(delay)
    loop = np.zeros(steps + 3)
    loop[0] = 1
    loop[steps:] -= decay * np.convolve([0.5, 0.5], [1 - part, part])
    bursts = np.eye(round(rate / f), n)
    bursts[:, : len(bursts)] -= 1 / len(bursts)
    return torch.from_numpy(lfilter([1.0], loop, bursts, axis=1).T.copy())


def strings(n: int = 2048, notes: Sequence[int] = NOTES, *, floor_db: float = -60.0) -> LowRankMixture:
    """Plucks of several strings, each note equally often and equally loud (mean square 1), plus faint white noise.

    floor_db: the power of that noise, in dB. It is there because a covariance must not have a zero eigenvalue.
    """
    matrices = [string_matrix(float(f), n) for f in frequency(list(notes))]
    matrices = [matrix * math.sqrt(n / float(matrix.square().sum())) for matrix in matrices]
    return LowRankMixture.from_matrices(matrices, 10 ** (floor_db / 10))


# Whispers


def whisper_spectrum(formants: Sequence[float], n: int, *, rate: int = RATE) -> Tensor:
    """The power of a whispered vowel at each frequency, (n/2 + 1,), with mean square 1. Notebook 23.

    A whisper is white noise that went through a throat and a mouth. Each resonance of these, a formant, is a pair of
    poles: the filter of a linear predictor of speech. n: even.
    """
    check_whole("n", n, least=4)
    if n % 2:
        raise ValueError(f"n must be even, but is {n}")
    w = 2 * math.pi * torch.arange(n // 2 + 1, dtype=torch.float64) / n
    spectrum = torch.ones_like(w)
    for place, width in zip(formants, BANDWIDTHS, strict=True):
        radius, angle = math.exp(-math.pi * width / rate), 2 * math.pi * place / rate
        pole = 1 - 2 * radius * math.cos(angle) * torch.exp(-1j * w) + radius**2 * torch.exp(-2j * w)
        spectrum = spectrum / pole.abs() ** 2
    return spectrum / torch.fft.irfft(spectrum, n)[0]


def whispers(n: int = 2048) -> StationaryMixture:
    """Whispered vowels, each equally often and equally loud (mean square 1), on a circle of n samples."""
    spectra = torch.stack([whisper_spectrum(formants, n) for formants in VOWELS.values()])
    return StationaryMixture(torch.full((len(spectra),), 1 / len(spectra), dtype=torch.float64), spectra)


# Measurements


def pitch(x: Tensor, *, lowest: float = 200.0, highest: float = 600.0, rate: int = RATE) -> Tensor:
    """The frequency at which each sound, (B, n), repeats itself, in Hz, (B,), float64. Notebook 23.

    The first clear peak of the autocorrelation, normalised so that a sound that fades has its peaks at 1 (McLeod &
    Wyvill), then a parabola through three values. Between lowest and highest. A sound without pitch gets one as well.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim != 2:
        raise TypeError(f"x must hold sounds, a floating-point tensor of shape (B, n), but is {describe(x)}")
    first, end = int(rate / highest), int(rate / lowest) + 2
    if not 1 < first < end < x.shape[1] // 2:
        raise ValueError(f"x must be at least {2 * end + 2} samples long for {lowest} Hz, but is {describe(x)}")
    x = x.double() - x.double().mean(dim=1, keepdim=True)
    n = x.shape[1]
    products = torch.fft.irfft(torch.fft.rfft(x, 2 * n).abs() ** 2)[:, : end + 1]
    energy = torch.nn.functional.pad(x.square().cumsum(dim=1), (1, 0))  # of the first i samples
    lags = torch.arange(end + 1)
    both = energy[:, n - lags] + energy[:, n:] - energy[:, lags]
    likeness = 2 * products / both.clamp(min=torch.finfo(torch.float64).tiny)  # in [-1, 1], (B, end + 1)
    inner = likeness[:, first:end]
    peak = (inner >= likeness[:, first - 1 : end - 1]) & (inner > likeness[:, first + 1 : end + 1])
    clear = peak & (inner > CLEAR * inner.amax(dim=1, keepdim=True))
    lag = first + torch.where(clear.any(dim=1), clear.long().argmax(dim=1), inner.argmax(dim=1))
    before, at, after = (likeness.gather(1, (lag + step)[:, None])[:, 0] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    top = torch.where(bend < 0, 0.5 * (before - after) / bend, 0.0)  # of the parabola through the three
    return rate / (lag + top.clamp(-1, 1))


def stft(x: Tensor, window: int = 256) -> Tensor:
    """The short-time Fourier transform of sounds, (B, n): complex, (B, window/2 + 1, frames).

    Frames of `window` samples under a Hann window, a quarter of a window apart, the first one centred on sample 0.
    """
    hann = torch.hann_window(window, dtype=x.dtype, device=x.device)
    return torch.stft(x, window, window // 4, window=hann, center=True, pad_mode="constant", return_complex=True)


def istft(spectrogram: Tensor, n: int) -> Tensor:
    """The sounds, (B, n), whose `stft` comes nearest to a complex spectrogram, (B, window/2 + 1, frames)."""
    window = 2 * (spectrogram.shape[1] - 1)
    hann = torch.hann_window(window, dtype=spectrogram.real.dtype, device=spectrogram.device)
    return torch.istft(spectrogram, window, window // 4, window=hann, center=True, length=n)


def griffin_lim(
    magnitudes: Tensor, n: int, steps: int, generator: torch.Generator, *, momentum: float = 0.99
) -> Tensor:
    """Sounds, (B, n), whose spectrogram has these magnitudes, as far as one is found. Notebook 23.

    magnitudes: (B, window/2 + 1, frames). Phases start at random. Each step goes to the nearest real sound and keeps
    its phases (Griffin & Lim); `momentum` goes on a little in the same direction (Perraudin et al.), 0 does not.
    """
    check_whole("steps", steps, least=0)
    if magnitudes.is_complex() or magnitudes.ndim != 3 or not bool((magnitudes >= 0).all()):
        raise ValueError(
            f"magnitudes must be real, not negative, and of shape (B, F, T), but are {describe(magnitudes)}"
        )
    turns = torch.rand(magnitudes.shape, generator=generator, dtype=magnitudes.dtype, device=generator.device)
    phases, before = torch.exp(2j * math.pi * turns.to(magnitudes)), 0
    for _ in range(steps):
        reached = stft(istft(magnitudes * phases, n), 2 * (magnitudes.shape[1] - 1))
        ahead = reached - momentum / (1 + momentum) * before
        phases, before = ahead / ahead.abs().clamp(min=1e-12), reached
    return istft(magnitudes * phases, n)
