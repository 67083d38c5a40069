"""A variational autoencoder of points, whose decoder learns its noise, and three answers to log p(x). Notebook 26.

    elbo              <=  importance_bound  <=  log p(x)  =  by_quadrature, where the latent has two numbers

The linear VAE, of which everything is known, and the autoencoder of images are in `latents`.

Sources: Kingma & Welling 2014, arXiv 1312.6114, section 2.3; Burda, Grosse & Salakhutdinov 2016, arXiv 1509.00519,
equation 8.
"""

import math

import torch
from torch import Tensor, nn

from minidiff._tensors import check_network_input, check_number, check_whole, noise_like
from minidiff.rivals.layers import LOG_ROOT, dense, standard_log_prob
from minidiff.rivals.quadrature import square
from minidiff.training import Batch, Draws, Objective

__all__ = ["VAE", "by_quadrature", "elbo", "elbo_objective", "importance_bound"]

SPAN = (-6.0, 3.0)  # of ln(standard deviation) of q(z | x)
AT_ONCE = 10  # points whose quadrature is one tensor


class VAE(nn.Module):
    """Points, (B, dimension), and latents, (B, latent). std: of the decoder's noise at the start; it is learned."""

    def __init__(self, dimension: int = 2, latent: int = 2, width: int = 64, *, std: float = 0.2):
        super().__init__()
        check_whole("latent", latent)
        check_number("std", std)
        self.dimension, self.latent = dimension, latent
        self.encoder, self.decoder = dense(dimension, 2 * latent, width), dense(latent, dimension, width)
        self.log_std = nn.Parameter(torch.tensor(math.log(std)))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and ln(standard deviation) of q(z | x), (B, latent) each."""
        check_network_input(x, ("B", self.dimension), self.log_std)
        mean, log_std = self.encoder(x).chunk(2, dim=1)
        return mean, log_std.clamp(*SPAN)

    def log_decoder(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), (...). x: (..., d) and z: (..., latent), which are broadcast."""
        scaled = (x - self.decoder(z)) * (-self.log_std).exp()
        return -0.5 * scaled.square().sum(-1) - self.dimension * (self.log_std + LOG_ROOT)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator, *, noise: bool = True) -> Tensor:
        """n points, (n, d). noise=False returns the decoder's means: then the model that is drawn is another one."""
        check_whole("n", n)
        x = self.decoder(noise_like(self.log_std.new_empty(n, self.latent), generator))
        return x + self.log_std.exp() * noise_like(x, generator) if noise else x


def elbo(vae: VAE, x: Tensor, eps: Tensor) -> Tensor:
    """log p(x | z) at one z = m + s eps, minus the KL divergence of q(z | x) from N(0, I), in nats. Notebook 26.

    x: (B, d). eps: standard normal, (B, latent). Returns (B,); its mean over eps is at most log p(x) (Kingma & Welling,
    equation 10).
    """
    mean, log_std = vae.encode(x)
    divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(dim=1)
    return vae.log_decoder(x, mean + log_std.exp() * eps) - divergence


def elbo_objective(latent: int = 2) -> Objective:
    """Minus the ELBO, (B,), with one latent drawn for each point: a loss for `train`. Notebook 26."""
    check_whole("latent", latent)

    def draw(batch: Batch, generator: torch.Generator) -> Draws:
        return Draws(batch.x0, eps=noise_like(batch.x0.new_empty(len(batch.x0), latent), generator))

    return Objective(draw, lambda net, draws: -elbo(net, draws.x0, draws.eps))


@torch.no_grad()
def importance_bound(vae: VAE, x: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """log of the mean of p(x, z) / q(z | x) over `draws` latents from q, (B,) (Burda et al., equation 8). Notebook 26.

    Its mean is still a lower bound of log p(x), since the logarithm is concave. It rises with `draws`.
    """
    check_whole("draws", draws)
    mean, log_std = vae.encode(x)
    eps = noise_like(mean.new_empty(draws, *mean.shape), generator)
    z = mean + log_std.exp() * eps
    log_q = standard_log_prob(eps) - log_std.sum(dim=1)
    return torch.logsumexp(vae.log_decoder(x, z) + standard_log_prob(z) - log_q, dim=0) - math.log(draws)


@torch.no_grad()
def by_quadrature(vae: VAE, x: Tensor, edge: float = 5.0, cells: int = 300) -> Tensor:
    """log p(x), (B,), as a sum over cells of the latent plane [-edge, edge]^2. For latents of two numbers. Notebook 26.

    The error is below 1e-3 nat as long as p(x | z) changes little over a cell.
    """
    if vae.latent != 2:
        raise ValueError(f"vae must have latents of two numbers for this quadrature, but has {vae.latent}")
    z, log_area = square(edge, cells)
    z = z.to(x)
    means, log_prior = vae.decoder(z), standard_log_prob(z) + log_area
    std = float(vae.log_std.exp())
    parts = []
    for part in x.split(AT_ONCE):
        squares = (part[:, None] - means).square().sum(-1)
        parts.append(torch.logsumexp(log_prior - squares / (2 * std**2), dim=1))
    return torch.cat(parts) - vae.dimension * (math.log(std) + LOG_ROOT)
