"""Walkers in a landscape: Brownian motion, Langevin dynamics, the Fokker-Planck equation, and what one measures.

Units, once: k_B = 1, so that `temperature` is an energy; `friction` is 1 / time; `mobility` is time / mass, the
inverse of mass times friction; the mass is 1 unless given; `stiffness` is energy / length^2; `diffusion` is
length^2 / time. Taught in notebooks 01 to 04.

    potentials          landscapes, and their forces
    walkers             random walks, Brownian motion, Langevin dynamics, and the work done on a walker
    ornstein_uhlenbeck  a walker in a bowl, exact at every time
    fokker_planck       densities on a grid, and how they change
    observables         what one measures: mean squares, entropy, free energy, distances to a density
"""

from minidiff.physics.fokker_planck import Grid, boltzmann, evolve, fokker_planck_operator
from minidiff.physics.observables import (
    entropy,
    free_energy,
    histogram,
    kinetic_temperature,
    kl_divergence,
    kl_to_density,
    mean_squared_displacement,
)
from minidiff.physics.ornstein_uhlenbeck import OrnsteinUhlenbeck
from minidiff.physics.potentials import Potential, double_well, force, harmonic, mueller_brown, ring
from minidiff.physics.walkers import (
    Driven,
    PhasePoint,
    brownian,
    driven,
    jarzynski,
    overdamped_langevin,
    overdamped_step,
    random_walk,
    underdamped_langevin,
)

__all__ = [
    "Driven",
    "Grid",
    "OrnsteinUhlenbeck",
    "PhasePoint",
    "Potential",
    "boltzmann",
    "brownian",
    "double_well",
    "driven",
    "entropy",
    "evolve",
    "fokker_planck_operator",
    "force",
    "free_energy",
    "harmonic",
    "histogram",
    "jarzynski",
    "kinetic_temperature",
    "kl_divergence",
    "kl_to_density",
    "mean_squared_displacement",
    "mueller_brown",
    "overdamped_langevin",
    "overdamped_step",
    "random_walk",
    "ring",
    "underdamped_langevin",
]
