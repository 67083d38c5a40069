"""Other generative models of points, small enough to be compared with diffusion. Taught in notebook 26.

    normalising_flow  affine couplings: an invertible map with a triangular Jacobian, and an exact likelihood
    autoregressive    one coordinate after the other, each from a mixture of Gaussians: an exact likelihood
    vae               a lower bound of the likelihood, a tighter one, and the likelihood itself by quadrature
    gan               two players, and no likelihood at all
    energy            a density up to a factor, learned by telling data from noise

Every one is trained by `training.train` with a loss of its own: it knows no diffusion. All are for few numbers, as
points in the plane; the autoencoder of images is in `latents` and the GAN that takes diffusion's steps in
`distillation`.
"""

from minidiff.rivals.autoregressive import MixtureAutoregression, mixture_log_prob
from minidiff.rivals.energy import EnergyModel, noise_contrastive_objective
from minidiff.rivals.gan import Players, adversarial_objective
from minidiff.rivals.layers import likelihood_loss
from minidiff.rivals.normalising_flow import Coupling, Flow
from minidiff.rivals.quadrature import draw_from_grid, log_integral, square
from minidiff.rivals.vae import VAE, by_quadrature, elbo, elbo_objective, importance_bound

__all__ = [
    "VAE",
    "Coupling",
    "EnergyModel",
    "Flow",
    "MixtureAutoregression",
    "Players",
    "adversarial_objective",
    "by_quadrature",
    "draw_from_grid",
    "elbo",
    "elbo_objective",
    "importance_bound",
    "likelihood_loss",
    "log_integral",
    "mixture_log_prob",
    "noise_contrastive_objective",
    "square",
]
