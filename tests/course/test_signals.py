"""Sounds: the pitch of theory, SciPy's transforms, formants at their places; and the network's filter."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import ShortTimeFFT, find_peaks

from minidiff import signals
from minidiff.networks import WienerNet, build, initialised
from minidiff.signals import NOTES, RATE, cents, decibels, frequency, griffin_lim, istft, pitch, stft, string_matrix
from tests.cases import assert_close, normal, number


def wave(f, n=2048, fade=0.0):
    """A sine of f Hz with its octave and fifth above, (1, n), which fades."""
    time = torch.arange(n, dtype=torch.float64) / RATE
    heights = sum(torch.sin(2 * math.pi * k * f * time + k) / k for k in (1, 2, 3))
    return (heights * torch.exp(-fade * time))[None]


# --- pitch -----------------------------------------------------------------------------------------------------------


def test_frequencies_and_cents():
    assert_close(frequency([69, 57, 81, 60]), torch.tensor([440, 220, 880, 261.6255653005986], dtype=torch.float64))
    assert float(cents(number(880.0), number(440.0))) == pytest.approx(1200)
    assert float(cents(frequency(61), frequency(60))) == pytest.approx(100)
    assert float(decibels(2.0)) == pytest.approx(3.0103, abs=1e-4)


@pytest.mark.parametrize("f", [211.3, 300.0, 440.0, 523.25, 587.1])
@pytest.mark.parametrize("fade", [0.0, 8.0])
def test_the_pitch_of_a_wave_is_its_frequency(f, fade):
    assert abs(float(cents(pitch(wave(f, fade=fade)), number(f)))) < 2


def test_pitch_takes_the_lowest_common_period_and_no_multiple():
    high = pitch(torch.cat([wave(250.0), wave(500.0)]))
    assert_close(high, torch.tensor([250.0, 500.0], dtype=torch.float64), 2e-3)
    assert_close(pitch(3 * wave(250.0) + 5), pitch(wave(250.0)), 1e-6)  # neither loudness nor a constant matters
    assert bool(pitch(torch.zeros(1, 2048)).isfinite())


# --- strings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_the_matrix_is_the_loop_written_out(whole, make_generator):
    f, n, decay = 523.25, 120, 0.98
    matrix = string_matrix(f, n, whole=whole, decay=decay)
    z = normal((matrix.shape[1],), make_generator(0))
    delay = round(RATE / f) if whole else RATE / f - 0.5
    x = torch.cat([z - z.mean(), torch.zeros(n - len(z)).double()]).tolist()
    for i in range(n):
        for steps, part in ((int(delay), 1 - delay % 1), (int(delay) + 1, delay % 1)):
            for late in (0, 1):
                if i - steps - late >= 0:
                    x[i] += decay * part * x[i - steps - late] / 2
    assert_close(matrix @ z, torch.tensor(x, dtype=torch.float64), 1e-10)


def test_strings_are_in_tune_and_rounded_ones_are_as_theory_says(make_generator):
    for k, note in enumerate(NOTES):
        f = float(frequency(note))
        z = normal((round(RATE / f), 8), make_generator(k))
        exact = cents(pitch((string_matrix(f, 2048) @ z).T), number(f)).median()
        assert abs(float(exact)) < 2
        rounded = cents(pitch((string_matrix(f, 2048, whole=True) @ z).T), number(f)).median()
        assert float(rounded) == pytest.approx(1200 * math.log2(RATE / (round(RATE / f) + 0.5) / f), abs=2)


def test_a_string_is_damped_and_has_no_constant_part():
    matrix = string_matrix(440.0, 2048)
    assert float(matrix.mean(0).abs().max()) < 1e-3 * float(matrix.abs().max())
    energy = matrix.square().sum(1)
    assert float(energy[-200:].mean() / energy[:200].mean()) < 0.2


def test_strings_are_equally_loud_and_of_the_right_rank(make_generator):
    mixture = signals.strings(512, floor_db=-50.0)
    assert_close(mixture.variances.sum(1), torch.full((8,), 512.0, dtype=torch.float64), 1e-9)
    assert mixture.floor == pytest.approx(1e-5)
    ranks = (mixture.variances > 1e-6).sum(1).tolist()
    assert all(r <= round(RATE / f) for f, r in zip(frequency(list(NOTES)).tolist(), ranks, strict=True))
    x, k = mixture.sample(300, make_generator(0))
    assert float((cents(pitch(x), frequency(list(NOTES))[k]).abs() < 50).double().mean()) > 0.99


# --- whispers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", signals.VOWELS)
def test_the_power_of_a_whisper_peaks_at_its_formants(name):
    """Two formants that stand close together pull at each other, so a peak may be off by half a bandwidth or so."""
    spectrum = signals.whisper_spectrum(signals.VOWELS[name], 4096)
    peaks = find_peaks(spectrum.log().numpy())[0] * RATE / 4096
    assert np.abs(peaks - np.array(signals.VOWELS[name])).max() < 60
    assert float(torch.fft.irfft(spectrum, 4096)[0]) == pytest.approx(1)


def test_a_formant_is_as_wide_as_it_should_be():
    """A resonance far from the others: its power falls to half at half a bandwidth, to both sides."""
    spectrum = signals.whisper_spectrum((500.0, 2000.0, 3500.0), 8192)
    around = spectrum[int(2000 * 8192 / RATE) - 200 : int(2000 * 8192 / RATE) + 200]
    above = int((around > around.max() / 2).sum()) * RATE / 8192
    assert above == pytest.approx(90, abs=6)


def test_whispers_have_their_spectra(make_generator):
    mixture = signals.whispers(256)
    x, k = mixture.sample(4000, make_generator(0))
    power = torch.fft.rfft(x[k == 2], norm="ortho").abs().square().mean(0)
    assert float((power / mixture.spectra[2]).log().abs().max()) < 7 * math.sqrt(2 / 700)
    assert float(x.square().mean()) == pytest.approx(1, abs=0.05)


# --- spectrograms ----------------------------------------------------------------------------------------------------


def test_the_short_time_transform_is_scipys_and_goes_back(make_generator):
    x, n = normal((2, 1024), make_generator(0)), 1024
    found = stft(x, 128)
    window = torch.hann_window(128, dtype=torch.float64).numpy()
    theirs = ShortTimeFFT(window, 32, 1.0, fft_mode="onesided", phase_shift=None)
    wanted = np.stack([theirs.stft(row, p0=0, p1=33) for row in x.numpy()])
    assert_close(found.abs(), torch.from_numpy(np.abs(wanted)), 1e-9)
    assert_close(istft(found, n), x, 1e-9)


def test_griffin_lim_comes_nearer_with_every_few_steps_and_keeps_a_sound_that_fits(make_generator):
    x = wave(300.0, 1024, fade=5.0)
    wanted = stft(x).abs()

    def off(steps, momentum):
        found = griffin_lim(wanted, 1024, steps, make_generator(1), momentum=momentum)
        return float((stft(found).abs() - wanted).square().sum() / wanted.square().sum())

    plain = [off(steps, 0.0) for steps in (0, 1, 4, 16, 64)]
    assert plain == sorted(plain, reverse=True)  # Griffin and Lim's theorem: never farther
    assert off(64, 0.99) < plain[-1] < 0.5 * plain[0]


def test_what_cannot_be_meant_is_refused(make_generator):
    with pytest.raises(TypeError, match="x must hold sounds"):
        pitch(torch.zeros(2048))
    with pytest.raises(ValueError, match="x must be at least"):
        pitch(torch.zeros(1, 60))
    with pytest.raises(ValueError, match="f must have a period"):
        string_matrix(2.0, 2048)
    with pytest.raises(ValueError, match="decay must be finite and > 0"):
        string_matrix(440.0, 2048, decay=-1.0)
    with pytest.raises(ValueError, match="n must be even"):
        signals.whisper_spectrum((270.0, 2290.0, 3010.0), 9)
    for wrong in (torch.zeros(1, 3), -torch.ones(1, 129, 17), torch.zeros(1, 129, 17).to(torch.complex64)):
        with pytest.raises(ValueError, match="magnitudes must be real"):
            griffin_lim(wrong, 1024, 1, make_generator(0))


# --- the network -----------------------------------------------------------------------------------------------------


def some_network(make_generator, **sizes):
    """A network in float64 whose zero layers hold something, so that everything in it counts."""
    make = {"n": 256, "classes": 3, "width": 6, "layers": 2, "window": 64} | sizes
    net = initialised(lambda: WienerNet(**make), make_generator(0))
    for parameter in net.parameters():
        if not parameter.any():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=make_generator(1))
    return net.double()


def test_with_the_true_spectrum_the_network_is_wieners_filter(make_generator):
    """A stationary spectrum, the same in all frames: the exact denoiser, but for the blur of the frames."""
    net = some_network(make_generator, n=2048, window=512)
    mixture = signals.whispers(2048).only(2)
    smooth = mixture.spectra[0, ::4][None, :, None]
    net.spectrum = lambda frames, log_snr, y=None: smooth.expand(frames.shape)
    log_snr = torch.tensor([0.0, 0.0], dtype=torch.float64)
    x0, _ = mixture.sample(2, make_generator(2))
    x_t = math.sqrt(0.5) * (x0 + normal(x0.shape, make_generator(3)))
    gain = math.sqrt(0.5) * mixture.spectra / (0.5 * mixture.spectra + 0.5)
    ideal = torch.fft.irfft(torch.fft.rfft(x_t) * gain)
    assert float((net(x_t, log_snr) - ideal)[:, 300:-300].square().mean() / ideal.square().mean()) < 0.02


def test_a_spectrum_far_above_the_noise_lets_the_sound_through(make_generator):
    net, x = some_network(make_generator), normal((2, 256), make_generator(2))
    log_snr = torch.tensor([1.0, 3.0], dtype=torch.float64)
    net.spectrum = lambda frames, log_snr, y=None: torch.full(frames.shape, 1e12, dtype=torch.float64)
    assert_close(net(x, log_snr), x / torch.sigmoid(log_snr).sqrt()[:, None], 1e-6)


def test_every_sample_has_its_own_level_and_label(make_generator):
    net, x = some_network(make_generator), normal((3, 256), make_generator(2))
    log_snr, y = torch.tensor([-3.0, 0.0, 4.0]).double(), torch.tensor([0, 2, -1])
    together = net(x, log_snr, y)
    for i in range(3):
        assert_close(net(x[i : i + 1], log_snr[i : i + 1], y[i : i + 1]), together[i : i + 1], 1e-9)
    assert_close(net(x, log_snr, None)[2], together[2], 1e-9)
    for other in (net(x, log_snr + 1, y), net(x, log_snr, y.roll(1))):
        assert float((other - together).detach().abs().max()) > 1e-3
    assert torch.equal(net(-x, log_snr, y), -together)  # only powers are looked at


def test_its_size_its_hidden_weights_and_its_card(make_generator):
    net = initialised(WienerNet, make_generator(0))
    assert sum(p.numel() for p in net.parameters()) == 341_249
    assert [tuple(weight.shape) for weight in net.hidden()] == [(128, 257, 3), *2 * [(128, 128, 3), (128, 128, 1)]]
    assert float(net.labels.table.weight.detach().std()) == pytest.approx(0.5, abs=0.06)
    card = {"network": "WienerNet", "n": 256, "classes": 0, "width": 4, "layers": 1, "window": 64}
    small = initialised(lambda: build(card), make_generator(0))
    assert small(torch.zeros(2, 256), torch.zeros(2)).shape == (2, 256)
    with pytest.raises(ValueError, match="without classes"):
        small(torch.zeros(2, 256), torch.zeros(2), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="x must have shape"):
        small(torch.zeros(2, 1, 256), torch.zeros(2))
    for wrong in ({"n": 0}, {"width": 0}, {"layers": 0}, {"window": 4}):
        with pytest.raises(ValueError, match="must be a whole number"):
            WienerNet(**wrong)
    with pytest.raises(ValueError, match="multiple of 4"):
        WienerNet(window=66)
