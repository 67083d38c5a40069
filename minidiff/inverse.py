"""An unconditional model put to use: what was x0, if y = A x0 + noise was measured? Taught in notebook 15.

A linear measurement y = A x0 + std z, z ~ N(0, I), hides a part of x0: a mask, a blur, fewer pixels, or noise alone.
If p(x0) is known, so is p(x0 | y), by Bayes' rule; `exact.posterior` has it for mixtures. All
methods here approximate it with nothing but an unconditional denoiser, each in its own way, none exactly:

    replacement, repaint   the part of x_s that was measured is put in place of what the sampler made of it
    gaussian_likelihood    p(y | x_t) as if x0 were Gaussian around x0_hat: a gradient for `denoisers.classifier_guided`
    dps                    the same without any spread around x0_hat, in steps of a fixed length

Sources: Song et al. 2021 (SDE), arXiv 2011.13456, appendix I (imputation); Lugmayr et al. 2022 (RePaint), arXiv
2201.09865, algorithm 1; Kawar et al. 2022 (DDRM), arXiv 2201.11793, section 3 (the spectral form, for noisy y); Chung
et al. 2023 (DPS), arXiv 2209.14687, theorem 1 and algorithm 1; Song et al. 2023 (PiGDM), ICLR 2023, section 3.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from minidiff._tensors import check_finite, check_whole, check_xt, describe, expand, in_double, like, noise_like
from minidiff.denoisers import Denoiser
from minidiff.paths import GaussianPath
from minidiff.samplers import State, ancestral_step, check_start, walk

__all__ = [
    "LinearMeasurement",
    "Spread",
    "blurred",
    "downsampled",
    "dps",
    "from_matrix",
    "gaussian_likelihood",
    "masked",
    "no_spread",
    "noisy",
    "repaint",
    "replace",
    "replaceable",
    "replacement",
    "unit_spread",
]

Spread = Callable[[GaussianPath, Tensor], Tensor]  # times -> the variance of x0 around x0_hat, per number; shape of t

# Directions in which A A^T is smaller than this share of its largest eigenvalue count as not measured.
SMALLEST_SHARE = 1e-10


@dataclass(frozen=True, eq=False)
class LinearMeasurement:
    """y = A x0 + std z, z ~ N(0, I). shape: (*D), of one x0.

    forward: A itself, (B, *D) -> (B, *M). adjoint: its transpose, (B, *M) -> (B, *D).
    """

    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    std: float = 0.0

    def __post_init__(self):
        if not 0 <= self.std < math.inf:
            raise ValueError(f"std must be >= 0 and finite, but is {self.std}")

    def measure(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a measurement y of each x0, (B, *D) -> (B, *M)."""
        self.check(x0, "x0")
        y = self.forward(x0)
        return y + self.std * noise_like(y, generator)

    def matrix(self) -> Tensor:
        """A as a matrix, (m, d), in float64: its columns are what it makes of unit vectors."""
        units = torch.eye(math.prod(self.shape), dtype=torch.float64).reshape(-1, *self.shape)
        return self.forward(units).flatten(1).T.contiguous()

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, (m,), and eigenvectors in columns, (m, m), of A A^T, in float64."""
        A = self.matrix()
        values, vectors = torch.linalg.eigh(A @ A.T)
        return values.clamp(min=0), vectors

    def check(self, x0: Tensor, name: str) -> None:
        """Refuse what is not a batch of x0."""
        check_xt(x0, torch.tensor(0.5), name)
        if x0.shape[1:] != self.shape:
            raise ValueError(f"{name} must have shape (B, *{self.shape}), but is {describe(x0)}")

    def check_y(self, y: Tensor, x: Tensor) -> None:
        """Refuse what is not a measurement of each sample of x, or of all of them, (1, *M)."""
        check_xt(y, torch.tensor(0.5), "y")
        check_finite(y, "y")
        wanted = self.forward(torch.zeros(1, *self.shape)).shape[1:]
        if y.shape[1:] != wanted or len(y) not in (1, len(x)):
            raise ValueError(f"y must have shape (1, *{tuple(wanted)}) or ({len(x)}, ...), but is {describe(y)}")


# Measurements


def noisy(shape: tuple[int, ...], std: float) -> LinearMeasurement:
    """All of x0, with noise on it: y = x0 + std z."""
    return LinearMeasurement(lambda x: x, lambda y: y, tuple(shape), std)


def masked(known: Tensor, std: float = 0.0) -> LinearMeasurement:
    """Some numbers of x0. known: (*D), True where x0 is measured. y: (B, M), in the order of the mask.

    `adjoint` puts them back in their places, among zeros.
    """
    if not isinstance(known, Tensor) or known.dtype != torch.bool or not bool(known.any()):
        raise ValueError(f"known must be a bool tensor with at least one True, but is {describe(known)}")
    places = known.flatten().nonzero()[:, 0]

    def adjoint(y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), known.numel()).index_copy(1, places.to(y.device), y)
        return x.reshape(-1, *known.shape)

    return LinearMeasurement(lambda x: x.flatten(1)[:, places.to(x.device)], adjoint, tuple(known.shape), std)


def downsampled(shape: tuple[int, ...], factor: int, std: float = 0.0) -> LinearMeasurement:
    """Images of fewer pixels, each the mean of factor x factor. shape: (C, H, W), H and W multiples of factor."""
    if len(shape) != 3 or factor < 1 or shape[1] % factor or shape[2] % factor:
        raise ValueError(f"shape must be (C, H, W) with H and W multiples of factor, but are {shape} and {factor}")

    def adjoint(y: Tensor) -> Tensor:
        return y.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2) / factor**2

    return LinearMeasurement(lambda x: functional.avg_pool2d(x, factor), adjoint, tuple(shape), std)


def blurred(shape: tuple[int, ...], width: float, std: float = 0.0) -> LinearMeasurement:
    """Images out of focus: a Gaussian of standard deviation `width` pixels, with 0 beyond the border.

    shape: (C, H, W). Two narrow matrices, one for rows and one for columns; both symmetric, so A is its own transpose.
    """
    if len(shape) != 3 or not 0 < width < math.inf:
        raise ValueError(f"shape must be (C, H, W) and width positive, but are {shape} and {width}")

    def band(size: int) -> Tensor:
        places = torch.arange(size, dtype=torch.float64)
        kernel = torch.exp(-((places[:, None] - places) ** 2) / (2 * width**2))
        return kernel / math.fsum(math.exp(-(k**2) / (2 * width**2)) for k in range(-size, size + 1))

    rows, columns = band(shape[1]), band(shape[2])

    def blur(x: Tensor) -> Tensor:
        return like(rows, x) @ x @ like(columns, x)

    return LinearMeasurement(blur, blur, tuple(shape), std)


def from_matrix(matrix: Tensor, shape: tuple[int, ...], std: float = 0.0) -> LinearMeasurement:
    """Any linear measurement. matrix: (m, d), d = prod(shape). y: (B, m)."""
    d = math.prod(shape)
    if not isinstance(matrix, Tensor) or matrix.ndim != 2 or matrix.shape[1] != d:
        raise ValueError(f"matrix must have shape (m, {d}), but is {describe(matrix)}")
    return LinearMeasurement(
        lambda x: x.flatten(1) @ like(matrix, x).T,
        lambda y: (y @ like(matrix, y)).reshape(-1, *shape),
        tuple(shape),
        std,
    )


# By putting the measured part in its place


def replace(
    measurement: LinearMeasurement, path: GaussianPath, x: Tensor, y: Tensor, t: Tensor, generator: torch.Generator
) -> Tensor:
    """Put what y tells about x_t in place of what x, (B, *D), tells (SDE, appendix I; DDRM, section 3). Notebook 15.

    A x_t is drawn from N(alpha y, sigma^2 A A^T - alpha^2 std^2 I) where that is a variance at all: the noise of y and
    what is added make the noise of A x_t. In the eigenbasis of A A^T it is a number for each direction: those in which
    y is noisier than x_t are left as they are. Without measurement noise, and with a mask, this is the textbook's
    replacement: alpha y + sigma eps.
    """
    values, vectors = (like(part, x) for part in measurement.spectrum)
    alpha, sigma = like(path.alpha(t), x), like(path.sigma(t), x)
    variance = sigma**2 * values - alpha**2 * measurement.std**2
    seen = replaceable(measurement, path, t).to(x.device)
    now = measurement.forward(x)
    noise = noise_like(now.flatten(1), generator) * variance.clamp(min=0).sqrt()
    wanted = alpha * (like(y, x).expand_as(now).flatten(1) @ vectors) + noise
    change = torch.where(seen, (wanted - now.flatten(1) @ vectors) / values, torch.zeros_like(wanted))
    return x + measurement.adjoint((change @ vectors.T).reshape(now.shape))


def replaceable(measurement: LinearMeasurement, path: GaussianPath, t: Tensor) -> Tensor:
    """Which eigenvectors of A A^T y says more about than x_t does: those that `replace` replaces. (m,), bool."""
    values, _ = measurement.spectrum
    t = in_double(t)
    clearer = path.sigma(t) ** 2 * values >= path.alpha(t) ** 2 * measurement.std**2
    return clearer & (values > SMALLEST_SHARE * values.max())


def replacement(
    denoise: Denoiser,
    path: GaussianPath,
    measurement: LinearMeasurement,
    y: Tensor,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator,
) -> Iterator[State]:
    """Inpainting by replacement (SDE, appendix I): `repaint` without going back up. Notebook 15.

    It is biased: the unknown part learns of the known one only through x_s, and more steps do not mend that.
    """
    return repaint(denoise, path, measurement, y, x, times, repeats=1, generator=generator)


def repaint(
    denoise: Denoiser,
    path: GaussianPath,
    measurement: LinearMeasurement,
    y: Tensor,
    x: Tensor,
    times: Tensor,
    *,
    repeats: int = 10,
    generator: torch.Generator,
) -> Iterator[State]:
    """RePaint (Lugmayr et al., algorithm 1): each step down is made `repeats` times, with a step up in between.

    x, (B, *D), and times are those of `samplers.walk`; y: (B, *M), or (1, *M) for all. In going up and down the
    parts that are measured and those that are not come to agree. Evaluates `repeats` times a step, and once where
    nothing is replaced any more: going up there would only forget. Notebook 15.
    """
    _check(measurement, path, y, x, times)
    check_whole("repeats", repeats)

    def step(x: Tensor, t: Tensor, s: Tensor) -> State:
        rounds = repeats if bool(replaceable(measurement, path, s).any()) else 1
        for again in range(rounds):
            state = ancestral_step(denoise, path, x, t, s, generator=generator)
            x = replace(measurement, path, state.x, y, s, generator)
            if again < rounds - 1:
                factor, variance = path.transition(t, s)
                x = expand(factor, x) * x + expand(variance.sqrt(), x) * noise_like(x, generator)
        return State(s, x, state.x0_hat)

    return walk(step, path, x, times)


# By the gradient of a likelihood


def no_spread(path: GaussianPath, t: Tensor) -> Tensor:
    """x0 is x0_hat itself (DPS, theorem 1): right where there is no noise left."""
    return torch.zeros_like(t)


def unit_spread(path: GaussianPath, t: Tensor) -> Tensor:
    """Var[x0 | x_t] if x0 were N(0, I): sigma^2 / (alpha^2 + sigma^2) (PiGDM, section 3)."""
    return path.sigma(t) ** 2 / (path.alpha(t) ** 2 + path.sigma(t) ** 2)


def gaussian_likelihood(
    denoise: Denoiser, path: GaussianPath, measurement: LinearMeasurement, y: Tensor, spread: Spread = unit_spread
) -> Callable[[Tensor, Tensor], Tensor]:
    """log p(y | x_t), up to a constant, as if x0 given x_t were N(x0_hat, spread I). Notebook 15.

    Then y given x_t is N(A x0_hat, spread A A^T + std^2 I). Hand it to `denoisers.classifier_guided`: with
    `unit_spread` that is PiGDM (section 3; its algorithm also weighs the gradient), with `no_spread` DPS's theorem 1,
    which needs std > 0 and many steps where std is small. Returns (x_t, t) -> (B,).
    """
    values, vectors = measurement.spectrum

    def log_prob(x_t: Tensor, t: Tensor) -> Tensor:
        guess = measurement.forward(denoise(x_t, t)).flatten(1)
        miss = (like(y, x_t).flatten(1) - guess) @ like(vectors, x_t)
        spreads = expand(spread(path, t), guess)
        variance = spreads * like(values, x_t) + measurement.std**2
        # what neither noise nor spread explains is not measured at all, as in `replace`
        seen = (
            like(values, x_t) > SMALLEST_SHARE * float(values.max())
            if measurement.std == 0
            else torch.ones_like(miss[0]) > 0
        )
        return -0.5 * torch.where(seen, miss**2 / torch.where(seen, variance, 1.0), 0.0).sum(dim=1)

    return log_prob


def dps(
    denoise: Denoiser,
    path: GaussianPath,
    measurement: LinearMeasurement,
    y: Tensor,
    x: Tensor,
    times: Tensor,
    *,
    scale: float = 1.0,
    generator: torch.Generator,
) -> Iterator[State]:
    """Diffusion posterior sampling (DPS, algorithm 1). Notebook 15.

    A step of DDPM, then one against the gradient of |y - A x0_hat|, of length 2 scale |A^T ...|: the paper's step size
    zeta = scale / |y - A x0_hat| makes it independent of how far off the measurement is, and of its noise. So the
    answer depends on `scale`, and does not return to the prior as the noise grows. x, y and times are those of
    `repaint`.
    """
    _check(measurement, path, y, x, times)
    if not 0 <= scale < math.inf:
        raise ValueError(f"scale must be >= 0 and finite, but is {scale}")

    def miss(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x0_hat = denoise(x_t, t)
        return (like(y, x_t) - measurement.forward(x0_hat)).flatten(1).norm(dim=1).sum(), x0_hat

    def step(x: Tensor, t: Tensor, s: Tensor) -> State:
        # |r| instead of |r|^2 / |r|: its gradient is half that of zeta |r|^2
        gradient, (_, x0_hat) = torch.func.grad_and_value(lambda z: miss(z, t), has_aux=True)(x)
        state = ancestral_step(lambda *_: x0_hat, path, x, t, s, generator=generator)
        return State(s, state.x - 2 * scale * gradient, x0_hat)

    return walk(step, path, x, times)


def _check(measurement: LinearMeasurement, path: GaussianPath, y: Tensor, x: Tensor, times: Tensor) -> None:
    measurement.check(x, "x")
    check_start(path, x, times)
    measurement.check_y(y, x)
