"""The exercises of notebook 23, audio: 23.1 to 23.3 in its flow, 23.4 to 23.8 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import cmath
import math

import numpy as np
import torch
from scipy.stats import multivariate_normal

from minidiff import exact
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.checks.views import UNSEEN, doubles, normals, uniform

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Audio"


# 23.1 string_delay


def string_delay(f, rate):
    return rate / f - 0.5


def string_delay_in_seconds_first(f, rate):
    period, half = 1 / f, 0.5 / rate
    return (period - half) * rate


def string_delay_truth(f, rate):
    """The wave must come back in step: delay line and mean of two neighbours turn its phase by exactly one turn."""
    turn = 2 * math.pi * f / rate
    by_the_mean = -cmath.phase((1 + cmath.exp(-1j * turn)) / 2)
    return (2 * math.pi - by_the_mean) / turn


def string_delay_cases(g):
    period = 30 + uniform(g, 0.55, 0.7)
    f = uniform(g, 150, 400)
    return (
        Case((440.0, 8000), "440 Hz at 8,000 samples a second"),
        Case((8000 / period, 8000), f"{8000 / period:.2f} Hz at 8,000 samples a second"),
        Case((f, 44100), f"{f} Hz at 44,100 samples a second"),
    )


STRING_DELAY = Exercise(
    id="23.1",
    name="string_delay",
    stub='''
def string_delay(f, rate):
    """The length of the delay line, in samples, of a string of f Hz at `rate` samples a second. It may be a fraction.

    One round trip is the delay line, and then the mean of two neighbouring samples.
    """
    ...  # your code
''',
    solution=string_delay,
    alternative=string_delay_in_seconds_first,
    why=(
        "A wave of f Hz repeats after rate / f samples, so a whole round trip must take that long. The mean of the\n"
        "samples i and i - 1 belongs to the time i - 1/2: it delays by half a sample. The delay line does the rest."
    ),
    truth=string_delay_truth,
    cases=string_delay_cases,
    hints=(
        "How many samples does one period of f Hz take?",
        "The mean of the samples at i and at i - 1 stands for the time in the middle. By how much does it delay?",
        "Period = delay line + delay of the mean. Solve for the delay line, and do not round.",
    ),
    wrong=(
        Wrong(
            "the period",
            lambda f, rate: rate / f,
            "That is the whole period. The mean of two neighbours delays by half a sample too, so this string is flat.",
            "thestk/stk#100",
        ),
        Wrong(
            "the period, rounded",
            lambda f, rate: float(round(rate / f)),
            "You round the period to a whole number. For the notes of this notebook that is up to half a semitone off.",
            "kunquat/kunquat#786",
        ),
        Wrong(
            "half a sample more",
            lambda f, rate: rate / f + 0.5,
            "You add the half sample. The mean delays already, so the delay line must be shorter, not longer.",
            UNSEEN,
        ),
        Wrong(
            "a whole number at last",
            lambda f, rate: float(int(rate / f)),
            "Your delay is a whole number. Whole numbers of samples cannot give every pitch, so keep the fraction.",
            UNSEEN,
        ),
        Wrong(
            "cut off to a whole number",
            lambda f, rate: float(int(rate / f - 0.5)),
            "The half sample is right, but then you cut off the fraction, and the string is sharp.",
            UNSEEN,
        ),
        Wrong(
            "a whole sample less",
            lambda f, rate: rate / f - 1,
            "You take off a whole sample. The mean of i and i - 1 lies half a sample back.",
            "thestk/stk#100",
        ),
        Wrong(
            "half the period",
            lambda f, rate: rate / (2 * f) - 0.5,
            "That is half a period. On a real string a wave runs there and back, but this line is the whole way.",
            UNSEEN,
        ),
        Wrong(
            "in seconds",
            lambda f, rate: 1 / f - 0.5 / rate,
            "That is the right time, in seconds. The delay line counts samples.",
            UNSEEN,
        ),
        Wrong(
            "upside down",
            lambda f, rate: f / rate,
            "You divide the frequency by the rate. That is the number of periods in a sample, not samples in a period.",
            UNSEEN,
        ),
        Wrong(
            "an angular frequency",
            lambda f, rate: rate / (2 * math.pi * f) - 0.5,
            "You divide by 2 pi f, which is the angular frequency. A period is 1 / f.",
            UNSEEN,
        ),
    ),
)


# 23.2 wiener_gain


def wiener_gain(S, alpha, sigma):
    return alpha * S / (alpha**2 * S + sigma**2)


def wiener_gain_with_precisions(S, alpha, sigma):
    precision = 1 / S + alpha**2 / sigma**2  # of x0 given x_t: from the data, and from the noisy value
    return alpha / sigma**2 / precision


def wiener_gain_truth(S, alpha, sigma):
    """Bayes' rule, one frequency after the other, for a noisy value of 1."""
    found, one = [], torch.ones(1, dtype=S.dtype)
    for power in S:
        prior = exact.GaussianMixture(one, torch.zeros(1, 1, dtype=S.dtype), power.reshape(1, 1, 1))
        found.append(exact.posterior(prior, alpha * one[None], one, sigma).mean()[0])
    return torch.stack(found)


def wiener_gain_cases(g):
    angle, alpha, sigma = uniform(g, 0.5, 0.9), uniform(g, 1.2, 1.6), uniform(g, 0.4, 0.6)
    few = torch.exp(1.5 * normals(g, 4))
    return (
        Case((doubles(4.0, 0.25), 0.8, 0.6), "S = [4, 0.25], alpha = 0.8, sigma = 0.6"),
        Case((few, math.cos(angle), math.sin(angle)), f"four frequencies, sigma = {math.sin(angle):.3f}"),
        Case((few, alpha, sigma), f"four frequencies, alpha = {alpha}, sigma = {sigma}"),
    )


WIENER_GAIN = Exercise(
    id="23.2",
    name="wiener_gain",
    stub='''
def wiener_gain(S, alpha, sigma):
    """What each Fourier coefficient of x_t = alpha x0 + sigma eps is multiplied by, to give E[x0 | x_t]. (F,)

    S: the variance of each coefficient of x0, (F,). The noise eps has the variance 1 in each. alpha, sigma: numbers.
    """
    ...  # your code
''',
    solution=wiener_gain,
    alternative=wiener_gain_with_precisions,
    why=(
        "Each coefficient is a normal number by itself. So E[x0 | x_t] = Cov(x0, x_t) / Var(x_t) times x_t, with\n"
        "Cov(x0, x_t) = alpha S and Var(x_t) = alpha² S + sigma²."
    ),
    truth=wiener_gain_truth,
    cases=wiener_gain_cases,
    hints=(
        "One coefficient is one normal number in noise, as in notebook 06.",
        "For two jointly normal numbers of mean 0, E[a | b] = Cov(a, b) / Var(b) times b.",
        "Cov(x0, x_t) is alpha S. Var(x_t) is the sum of the variances of alpha x0 and of sigma eps.",
    ),
    wrong=(
        Wrong(
            "no alpha at all",
            lambda S, alpha, sigma: S / (S + sigma**2),
            "That is the gain for x0 + sigma eps. Here the signal is shrunk by alpha as well.",
            UNSEEN,
        ),
        Wrong(
            "no alpha in front",
            lambda S, alpha, sigma: S / (alpha**2 * S + sigma**2),
            "The covariance of x0 and x_t is alpha S. You have S alone, so the answer is too large by 1 / alpha.",
            UNSEEN,
        ),
        Wrong(
            "the shrunk signal",
            lambda S, alpha, sigma: alpha**2 * S / (alpha**2 * S + sigma**2),
            "That is the gain for alpha x0, the signal as it is within x_t. Divide by alpha.",
            UNSEEN,
        ),
        Wrong(
            "the root",
            lambda S, alpha, sigma: torch.sqrt(alpha * S / (alpha**2 * S + sigma**2)),
            "You take a square root at the end. The gain multiplies the coefficient itself, and S is a variance.",
            UNSEEN,
        ),
        Wrong(
            "the right loudness",
            lambda S, alpha, sigma: torch.sqrt(S / (alpha**2 * S + sigma**2)),
            "Your output has the power S of real data. The conditional mean has less, because the noise hides a part.",
            UNSEEN,
        ),
        Wrong(
            "the gain for the noise",
            lambda S, alpha, sigma: sigma / (alpha**2 * S + sigma**2),
            "That gives E[eps | x_t], the noise. Asked for is x0.",
            UNSEEN,
        ),
        Wrong(
            "the share of the noise",
            lambda S, alpha, sigma: sigma**2 / (alpha**2 * S + sigma**2),
            "That is the share of the noise in the power of x_t: large where the signal is weak.",
            UNSEEN,
        ),
        Wrong(
            "sigma not squared",
            lambda S, alpha, sigma: alpha * S / (alpha**2 * S + sigma),
            "The variance of sigma eps is sigma², not sigma.",
            UNSEEN,
        ),
        Wrong(
            "alpha not squared",
            lambda S, alpha, sigma: alpha * S / (alpha * S + sigma**2),
            "The variance of alpha x0 is alpha² S.",
            UNSEEN,
        ),
        Wrong(
            "undo the shrinking",
            lambda S, alpha, sigma: torch.full_like(S, 1 / alpha),
            "You only undo alpha. That leaves all the noise in, and makes it louder.",
            UNSEEN,
        ),
        Wrong(
            "S taken for an amplitude",
            lambda S, alpha, sigma: alpha * S**2 / (alpha**2 * S**2 + sigma**2),
            "You square S. It is a variance already, the mean of the squared coefficient.",
            UNSEEN,
        ),
        Wrong(
            "one gain for all",
            lambda S, alpha, sigma: torch.ones_like(S) * alpha * S.mean() / (alpha**2 * S.mean() + sigma**2),
            "You use the mean power for every frequency. Each coefficient has its own variance, so its own gain.",
            UNSEEN,
        ),
        Wrong(
            "all or nothing",
            lambda S, alpha, sigma: torch.where(alpha**2 * S > sigma**2, 1 / alpha, 0.0).to(S),
            "You keep a coefficient where the signal is stronger than the noise, and drop it elsewhere. The mean does "
            "neither: it shrinks each one.",
            UNSEEN,
        ),
    ),
)


# 23.3 note_posterior


def note_posterior(x_t, covariances, alpha, sigma):
    n = x_t.shape[1]
    noisy = alpha**2 * covariances + sigma**2 * torch.eye(n, dtype=x_t.dtype)  # (K, n, n)
    quadratic = torch.einsum("bi,kij,bj->bk", x_t, torch.linalg.inv(noisy), x_t)
    return torch.softmax(-0.5 * (quadratic + torch.logdet(noisy)), dim=1)


def note_posterior_by_cholesky(x_t, covariances, alpha, sigma):
    roots = torch.linalg.cholesky(alpha**2 * covariances + sigma**2 * torch.eye(x_t.shape[1]).to(x_t))
    white = torch.linalg.solve_triangular(roots, x_t.T.expand(len(roots), *x_t.T.shape), upper=False)
    log_p = -0.5 * white.square().sum(dim=1) - roots.diagonal(dim1=1, dim2=2).log().sum(dim=1)[:, None]
    return log_p.T.softmax(dim=1)


def note_posterior_truth(x_t, covariances, alpha, sigma):
    """The densities by SciPy, and Bayes' rule."""
    densities = []
    for covariance in covariances.numpy():
        law = multivariate_normal(cov=alpha * covariance * alpha + np.diag([sigma**2] * len(covariance)))
        densities.append(np.reshape(law.pdf(x_t.numpy()), -1))
    joint = torch.from_numpy(np.stack(densities, axis=1))
    return joint / joint.sum(dim=1, keepdim=True)


def note_posterior_cases(g):
    pair = torch.stack([torch.diag(doubles(4.0, 0.25)), torch.eye(2, dtype=torch.float64)])
    roots = normals(g, 3, 3, 3) * doubles(0.6, 0.8, 1.0)[:, None, None]
    several = roots @ roots.mT + 0.1 * torch.eye(3, dtype=torch.float64)
    alpha, sigma = uniform(g, 0.7, 0.8), uniform(g, 0.5, 0.6)
    return (
        Case((doubles(1.0, 0.5)[None], pair, 0.8, 0.6), "one sound [1, 0.5], covariances diag(4, 0.25) and I"),
        Case((normals(g, 4, 3), several, alpha, sigma), f"four sounds, three notes, alpha = {alpha}, sigma = {sigma}"),
    )


def from_log_p(log_p=lambda quadratic, log_det, n: -0.5 * (quadratic + log_det), noisy=None, last=None):
    """Responsibilities from parts: noisy covariances, log p from the quadratic form and log-determinant, the end."""

    def answer(x_t, covariances, alpha, sigma):
        one = torch.eye(x_t.shape[1], dtype=x_t.dtype)
        found = alpha**2 * covariances + sigma**2 * one
        if noisy is not None:
            found = noisy(covariances, one, alpha, sigma)
        quadratic = torch.einsum("bi,kij,bj->bk", x_t, torch.linalg.inv(found), x_t)
        values = log_p(quadratic, torch.logdet(found), x_t.shape[1])
        return torch.softmax(values, dim=1) if last is None else last(values)

    return answer


def as_one_hot(values):
    return torch.nn.functional.one_hot(values.argmax(dim=1), values.shape[1]).to(values)


NOTE_POSTERIOR = Exercise(
    id="23.3",
    name="note_posterior",
    stub='''
def note_posterior(x_t, covariances, alpha, sigma):
    """p(note | x_t), (B, K). All K notes are equally frequent.

    x_t = alpha x0 + sigma eps, (B, n). A sound x0 of note k is normal with mean 0 and covariances[k], (K, n, n).
    """
    ...  # your code
''',
    solution=note_posterior,
    alternative=note_posterior_by_cholesky,
    why=(
        "A noisy sound of note k is normal with mean 0 and covariance alpha² C_k + sigma² I. Its log-density is\n"
        "minus half of the quadratic form and minus half of the log-determinant, plus what is the same for all notes.\n"
        "Bayes' rule with equal priors is then a softmax over the notes."
    ),
    truth=note_posterior_truth,
    cases=note_posterior_cases,
    hints=(
        "What is the covariance of x_t, if the note is k?",
        "log p(x_t | k) is -1/2 x^T M^-1 x - 1/2 log det M, plus a constant. `torch.logdet` takes a stack of matrices.",
        "Equal priors cancel: the answer is a softmax over k.",
    ),
    wrong=(
        Wrong(
            "no log-determinant",
            from_log_p(lambda quadratic, log_det, n: -0.5 * quadratic),
            "You forget the log-determinant. It differs from note to note, so loud notes win for being broad.",
            UNSEEN,
        ),
        Wrong(
            "not normalised",
            from_log_p(lambda q, log_det, n: -0.5 * (q + log_det + n * math.log(2 * math.pi)), last=torch.exp),
            "These are the densities. Bayes' rule divides by their sum over the notes.",
            UNSEEN,
        ),
        Wrong(
            "logarithms",
            from_log_p(lambda q, log_det, n: -0.5 * (q + log_det), last=lambda values: values),
            "You return logarithms. Probabilities are their softmax.",
            UNSEEN,
        ),
        Wrong(
            "the logarithm of the answer",
            from_log_p(last=lambda values: torch.log_softmax(values, dim=1)),
            "You return log p(note | x_t). Take the exponential.",
            UNSEEN,
        ),
        Wrong(
            "alpha forgotten",
            from_log_p(noisy=lambda C, one, alpha, sigma: C + sigma**2 * one),
            "The sound within x_t is shrunk by alpha, so its covariance is alpha² C.",
            UNSEEN,
        ),
        Wrong(
            "alpha not squared",
            from_log_p(noisy=lambda C, one, alpha, sigma: alpha * C + sigma**2 * one),
            "The covariance of alpha x0 is alpha² C, not alpha C.",
            UNSEEN,
        ),
        Wrong(
            "sigma not squared",
            from_log_p(noisy=lambda C, one, alpha, sigma: alpha**2 * C + sigma * one),
            "The covariance of sigma eps is sigma² I.",
            UNSEEN,
        ),
        Wrong(
            "the clean covariance",
            from_log_p(noisy=lambda C, one, alpha, sigma: C),
            "You compare the noisy sound with the covariances of clean ones. Noise adds sigma² I, and alpha shrinks.",
            UNSEEN,
        ),
        Wrong(
            "no halves",
            from_log_p(lambda quadratic, log_det, n: -(quadratic + log_det)),
            "The factor 1/2 of the normal density is missing, so your answer is too sure.",
            UNSEEN,
        ),
        Wrong(
            "the determinant's half forgotten",
            from_log_p(lambda quadratic, log_det, n: -0.5 * quadratic - log_det),
            "The density is divided by the square root of the determinant, so its logarithm gets half of it.",
            UNSEEN,
        ),
        Wrong(
            "the determinant's sign",
            from_log_p(lambda quadratic, log_det, n: -0.5 * (quadratic - log_det)),
            "The determinant stands below the fraction line, so its logarithm is subtracted.",
            UNSEEN,
        ),
        Wrong(
            "the likeliest note",
            from_log_p(last=as_one_hot),
            "You return 1 for the likeliest note and 0 for the others. Asked for are the probabilities.",
            UNSEEN,
        ),
        Wrong(
            "over the sounds",
            from_log_p(last=lambda values: torch.softmax(values, dim=0)),
            "Your softmax runs over the sounds, so each column sums to 1. Each sound, a row, has its own posterior.",
            UNSEEN,
        ),
    ),
)


# 23.4 cents


def cents(f, reference):
    return 1200 * torch.log2(f / reference)


def cents_by_notes(f, reference):
    return 100 * 12 * (torch.log2(f / 440) - torch.log2(reference / 440))


def cents_truth(f, reference):
    """How many steps of a hundredth of a semitone, each a factor, lead from the reference to f."""
    step = 2 ** (1 / 12 / 100)
    return torch.from_numpy(np.emath.logn(step, f.numpy()) - np.emath.logn(step, reference.numpy()))


def cents_cases(g):
    low = 200 + 100 * torch.rand(3, generator=g, dtype=torch.float64)
    return (
        Case((doubles(450.0), doubles(440.0)), "450 Hz against 440 Hz"),
        Case((doubles(300.0), doubles(440.0)), "300 Hz against 440 Hz"),
        Case((low * doubles(0.99, 1.7, 2.6), low), f"three frequencies, the first reference {float(low[0]):.1f} Hz"),
    )


CENTS = Exercise(
    id="23.4",
    name="cents",
    stub='''
def cents(f, reference):
    """How far f is above a reference, in hundredths of a semitone. Both in Hz, (B,). An octave is 12 semitones."""
    ...  # your code
''',
    solution=cents,
    alternative=cents_by_notes,
    why=(
        "Equal musical steps are equal ratios. An octave is a factor of 2, and has 12 semitones of 100 cents. So\n"
        "log2 of the ratio counts octaves, and 1200 times it counts cents."
    ),
    truth=cents_truth,
    cases=cents_cases,
    hints=(
        "Which ratio of frequencies is an octave?",
        "`torch.log2` of a ratio counts octaves. How many cents are in one?",
        "A frequency above the reference must give a positive number.",
    ),
    wrong=(
        Wrong(
            "a natural logarithm",
            lambda f, reference: 1200 * torch.log(f / reference),
            "You use the natural logarithm. An octave is a factor of 2, so take the logarithm to base 2.",
            UNSEEN,
        ),
        Wrong(
            "base 10",
            lambda f, reference: 1200 * torch.log10(f / reference),
            "You use the logarithm to base 10. An octave is a factor of 2, not of 10.",
            UNSEEN,
        ),
        Wrong(
            "the other way round",
            lambda f, reference: 1200 * torch.log2(reference / f),
            "Your sign is reversed: a frequency above the reference must give a positive number.",
            UNSEEN,
        ),
        Wrong(
            "100 times Hz",
            lambda f, reference: 100 * (f - reference),
            "A difference in Hz is not a musical step: 10 Hz is much for a low note and little for a high one.",
            UNSEEN,
        ),
        Wrong(
            "Hz",
            lambda f, reference: f - reference,
            "That is the difference in Hz. Pitch is a matter of ratios.",
            UNSEEN,
        ),
        Wrong(
            "percent",
            lambda f, reference: 100 * (f / reference - 1),
            "That is the difference in percent. Equal steps in pitch are equal ratios, so a logarithm is needed.",
            UNSEEN,
        ),
        Wrong(
            "a straight line",
            lambda f, reference: 1200 * (f / reference - 1),
            "That is right for an octave up and for no step, and wrong in between. The scale is logarithmic.",
            UNSEEN,
        ),
        Wrong(
            "semitones",
            lambda f, reference: 12 * torch.log2(f / reference),
            "Those are semitones. Each has 100 cents.",
            UNSEEN,
        ),
        Wrong(
            "octaves",
            lambda f, reference: torch.log2(f / reference),
            "Those are octaves. Each has 1200 cents.",
            UNSEEN,
        ),
        Wrong(
            "only the size",
            lambda f, reference: (1200 * torch.log2(f / reference)).abs(),
            "You drop the sign, so nobody can tell a flat note from a sharp one.",
            UNSEEN,
        ),
        Wrong(
            "seven notes in an octave",
            lambda f, reference: 700 * torch.log2(f / reference),
            "A scale has seven notes, but an octave has twelve semitones, and cents are hundredths of these.",
            UNSEEN,
        ),
        Wrong(
            "folded into an octave",
            lambda f, reference: (1200 * torch.log2(f / reference) + 600) % 1200 - 600,
            "You fold the answer into one octave, so a note that is an octave too high counts as right.",
            UNSEEN,
        ),
    ),
)


# 23.5 and 23.6: questions


def shift_by_peaks():
    peak_over_rms = 11
    power = 1 / peak_over_rms**2  # the mean square after the division; it was 1
    return -math.log(power)


PEAKS = Question(
    id="23.5",
    name="shift",
    stub="shift = None  # by how much the log-SNR falls, a positive number",
    right=(4.75, 4.85),
    solution=shift_by_peaks,
    why=(
        "Dividing by 11 divides the mean square by 121. The noise stays, so alpha² times the mean square of the data\n"
        "over sigma² falls by the factor 121, and its natural logarithm by ln 121 = 2 ln 11 = 4.8. In dB that is 21."
    ),
    hints=(
        "The SNR is a ratio of powers. What happens to the power of a sound that is divided by 11?",
        "The path, alpha and sigma stay what they are.",
        "The log-SNR of this course is the natural logarithm of the ratio of powers.",
    ),
    wrong=(
        WrongValue("of the amplitude", (2.38, 2.41), "That is ln 11, for the amplitude. Power is its square.", UNSEEN),
        WrongValue(
            "in dB",
            (20.5, 21.2),
            "That is the right step in dB. The log-SNR is a natural logarithm: divide by 4.34.",
            UNSEEN,
        ),
        WrongValue(
            "half of it in dB",
            (10.3, 10.5),
            "10 log10 is for ratios of powers, and 11 is a ratio of amplitudes. The question also asks for a natural "
            "logarithm.",
            UNSEEN,
        ),
        WrongValue("the ratio", (10.9, 11.1), "11 is the ratio of the amplitudes. Take the log of the powers.", UNSEEN),
        WrongValue("the ratio of powers", (120, 122), "121 is the ratio of the powers. Take its logarithm.", UNSEEN),
        WrongValue(
            "the sign", (-4.85, -4.75), "The question is how much lower it is, so give a positive number.", UNSEEN
        ),
        WrongValue(
            "nothing happens",
            (-0.05, 0.05),
            "The signal becomes weaker and the noise does not, so the ratio must change.",
            "teticio/audio-diffusion#15",
        ),
        WrongValue("another base", (2.07, 2.1), "That is log10 of 121. Take the natural logarithm.", UNSEEN),
        WrongValue(
            "half the natural logarithm again",
            (1.19, 1.21),
            "That is half of ln 11. Power is the square, not the root.",
            UNSEEN,
        ),
    ),
)


def error_of_a_draw():
    of_the_mean = 93  # percent of the power of the gap: the conditional variance
    of_the_draw_around_the_mean = 93  # a draw has that variance too, and is independent of the truth
    return of_the_mean + of_the_draw_around_the_mean


DRAW = Question(
    id="23.6",
    name="draw_error",
    stub="draw_error = None  # in percent of the power in the gap",
    right=(185.5, 186.5),
    solution=error_of_a_draw,
    why=(
        "Given what is known, truth and draw are independent and have the same mean and the same variance, 93. The\n"
        "variance of their difference is the sum, 186 %. Silence has 100 %, so the error prefers silence."
    ),
    hints=(
        "Given the known part, how are the truth and an exact draw distributed?",
        "Both have the conditional mean as their mean and the conditional variance as their variance.",
        "They are independent of each other. What is the variance of a difference?",
    ),
    wrong=(
        WrongValue(
            "that of the mean", (92.5, 93.5), "That is the error of the mean. A draw adds a spread of its own.", UNSEEN
        ),
        WrongValue(
            "that of silence",
            (99.5, 100.5),
            "100 % is the error of silence, and of a draw it would be too small.",
            UNSEEN,
        ),
        WrongValue(
            "what is explained",
            (6.5, 7.5),
            "7 % is the power of the conditional mean, the part that the neighbours explain.",
            UNSEEN,
        ),
        WrongValue(
            "a draw has all the power",
            (192.5, 193.5),
            "You add the whole power of a draw, 100, to 93. The mean is shared by draw and truth, so it cancels.",
            UNSEEN,
        ),
        WrongValue(
            "two strangers",
            (199.5, 200.5),
            "That would be a draw that ignores the known part. This one shares the conditional mean with the truth.",
            UNSEEN,
        ),
        WrongValue(
            "a perfect repair",
            (-0.5, 0.5),
            "An exact draw has the right distribution, but it is not the sound that was lost.",
            UNSEEN,
        ),
        WrongValue(
            "standard deviations",
            (131, 132),
            "That is 93 times the root of 2. The error is a variance, and variances add.",
            UNSEEN,
        ),
        WrongValue("half", (46, 47), "The two variances add. They are not averaged.", UNSEEN),
    ),
)


# 23.7 on paper, 23.8 open

HALF_A_SAMPLE = Explanation(
    id="23.7",
    name="half a sample",
    task="Show that the mean of two neighbouring samples delays a wave of any frequency by exactly half a sample.",
    model=(
        "Send the wave e^(i w j) through it, with w the angle per sample. The mean of the samples j and j - 1 is e^(i "
        "w j) (1 + e^(-i w)) / 2. Take e^(-i w / 2) out of the bracket: it is e^(-i w / 2) (e^(i w / 2) + e^(-i w / "
        "2)) / 2 = e^(-i w / 2) cos(w / 2). So the wave becomes cos(w / 2) e^(i w (j - 1/2)). Its phase is that of "
        "half a sample earlier, whatever w is, and it is weakened by cos(w / 2): hardly for low waves, much for high "
        "ones. That is why a string loses its bright part first. The interpolation between two places of the delay "
        "line is such a mean with unequal weights. Its delay is right for low frequencies only, so the high overtones "
        "of the string are a little off."
    ),
    look_for=(
        "A wave e^(i w j) goes in, and the factor (1 + e^(-i w)) / 2 comes out.",
        "Its phase is -w / 2, which is half a sample at every frequency.",
        "Its size cos(w / 2) explains why the overtones fade first.",
    ),
    hints=(
        "What does the mean do to a single wave e^(i w j)?",
        "Take the factor e^(-i w / 2) out of 1 + e^(-i w).",
        "A delay by d samples multiplies the wave by e^(-i w d).",
    ),
)

QUIET_MODEL = Explanation(
    id="23.8",
    name="a model that whispers",
    task="A colleague's model of speech makes clean sounds that are far too quiet: what do you ask, in which order?",
    model=(
        "First, how do they listen? A player that normalises hides the fault, and one that does not shows it, so "
        "compare mean squares and not impressions. Second, the scale: what is the mean square of the training data, "
        "and which log-SNR is left at t = 1? With data of mean square 0.1 a path that is meant for 1 is 10 dB further "
        "in the noise; with loud data or a short table of betas a part of the signal is still there at t = 1, and a "
        "sampler that starts from pure noise starts without it. Third, clamping inside the loop, and an output that "
        "was divided by its peak. Fourth, the number of steps: with very few, a good denoiser gives in-tune and quiet "
        "sounds. Draw the loudness over the number of steps; if it rises, take more steps. Last, the model: a network "
        "that was trained with the square error and used once, at high noise, gives the mean, which is silence."
    ),
    look_for=(
        "Loudness is measured as a mean square, and players that normalise are switched off.",
        "The scale of the data and the log-SNR at t = 1 are compared.",
        "The number of steps is varied before the network is blamed.",
    ),
    hints=(
        "Which of the sections 4, 5 and 6 made quiet sounds, and by what?",
        "How could one tell them apart by one measurement each?",
        "Change one thing at a time: player, scale, steps, network.",
    ),
)

EXERCISES = (STRING_DELAY, WIENER_GAIN, NOTE_POSTERIOR, CENTS, PEAKS, DRAW, HALF_A_SAMPLE, QUIET_MODEL)
