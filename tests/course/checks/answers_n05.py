"""Notebook 05: right answers in unusual forms, and wrong ones that are in no list."""

import math

import torch

from minidiff import data, metrics
from minidiff.checks.n05 import EXERCISES

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def step_forms():
    def torch_normal(x, beta, g):
        return torch.normal(x * (1 - beta) ** 0.5, math.sqrt(beta), generator=g)

    def in_float64(x, beta, g):
        z = torch.randn(x.shape, generator=g, dtype=torch.float64)
        return ((1 - beta) ** 0.5 * x.double() + beta**0.5 * z).to(x.dtype)

    def minus_the_noise(x, beta, g):
        return math.sqrt(1 - beta) * x - math.sqrt(beta) * torch.empty_like(x).normal_(generator=g)

    def box_muller(x, beta, g):
        u, v = (torch.rand(x.shape, generator=g, dtype=torch.float64) for _ in range(2))
        z = torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(2 * math.pi * v)
        return (math.sqrt(1 - beta) * x + math.sqrt(beta) * z).to(x.dtype)

    def row_by_row(x, beta, g):
        rows = [math.sqrt(1 - beta) * row + math.sqrt(beta) * torch.randn(row.shape, generator=g) for row in x]
        return torch.stack(rows).to(x.dtype)

    def two_half_noises(x, beta, g):
        z = sum(torch.randn(x.shape, generator=g, dtype=x.dtype) for _ in range(2))
        return x.clone().mul_(math.sqrt(1 - beta)).add_(z, alpha=math.sqrt(beta / 2))

    def einsum(x, beta, g):
        both = torch.stack([x, torch.randn(x.shape, generator=g, dtype=x.dtype)])
        return torch.einsum("k,k...->...", torch.tensor([1 - beta, beta], dtype=x.dtype).sqrt(), both)

    return torch_normal, in_float64, minus_the_noise, box_muller, row_by_row, two_half_noises, einsum


def jump_forms():
    def step_by_step(x0, k, betas, g):
        for beta in betas[:k].tolist():
            x0 = math.sqrt(1 - beta) * x0 + math.sqrt(beta) * torch.randn(x0.shape, generator=g)
        return x0

    def by_logarithms(x0, k, betas, g):
        log_left = torch.log1p(-betas).cumsum(0)[k - 1]
        eps = torch.randn(x0.shape, generator=g, dtype=x0.dtype)
        return torch.exp(log_left / 2) * x0 + torch.sqrt(-torch.expm1(log_left)) * eps

    def a_table_with_step_0(x0, k, betas, g):
        alpha_bar = torch.cat([torch.ones(1, dtype=betas.dtype), (1 - betas).cumprod(0)])
        return torch.normal(alpha_bar[k].sqrt().to(x0) * x0, (1 - alpha_bar[k]).sqrt().item(), generator=g)

    def minus_the_noise(x0, k, betas, g):
        left = math.prod(1 - beta for beta in betas.tolist()[:k])
        return left**0.5 * x0 - (1 - left) ** 0.5 * torch.randn(x0.shape, generator=g, dtype=x0.dtype)

    def two_jumps(x0, k, betas, g):
        half = k // 2
        for part in (betas[:half], betas[half:k]):
            left = float((1 - part).prod())
            x0 = math.sqrt(left) * x0 + math.sqrt(1 - left) * torch.randn(x0.shape, generator=g)
        return x0

    def in_float32(x0, k, betas, g):
        left = (1 - betas.float())[:k].prod()
        return (left.sqrt() * x0.float() + (1 - left).sqrt() * torch.randn(x0.shape, generator=g)).to(x0.dtype)

    def einsum(x0, k, betas, g):
        left = (1 - betas[:k]).prod()
        both = torch.stack([x0.double(), torch.randn(x0.shape, generator=g, dtype=torch.float64)])
        return torch.einsum("k,k...->...", torch.stack([left, 1 - left]).sqrt(), both).to(x0.dtype)

    return step_by_step, by_logarithms, a_table_with_step_0, minus_the_noise, two_jumps, in_float32, einsum


def coin_forms():
    def keep(x, beta):
        return math.sqrt(1 - beta) * x

    def bernoulli(x, beta, g):
        return keep(x, beta) + beta**0.5 * (1 - 2 * torch.full_like(x, 0.5).bernoulli_(generator=g))

    def sign_of_a_normal(x, beta, g):
        return keep(x, beta) + beta**0.5 * torch.randn(x.shape, generator=g, dtype=x.dtype).sign()

    def where(x, beta, g):
        return torch.where(torch.rand(x.shape, generator=g) < 0.5, keep(x, beta) - beta**0.5, keep(x, beta) + beta**0.5)

    def rounded(x, beta, g):
        return keep(x, beta) + beta**0.5 * (torch.rand(x.shape, generator=g).round() * 2 - 1)

    def from_a_table(x, beta, g):
        sides = torch.tensor([-1.0, 1.0], dtype=x.dtype) * beta**0.5
        return keep(x, beta) + sides[torch.randint(2, x.shape, generator=g)]

    def a_power(x, beta, g):
        return keep(x, beta) + beta**0.5 * (-1.0) ** torch.randint(10, x.shape, generator=g)

    def in_place(x, beta, g):
        return torch.empty_like(x).uniform_(-1, 1, generator=g).sign_().mul_(beta**0.5).add_(keep(x, beta))

    return bernoulli, sign_of_a_normal, where, rounded, from_a_table, a_power, in_place


def cauchy_forms():
    def its_own_method(n, g):
        return torch.empty(n, 1).cauchy_(generator=g)

    def a_tangent_of_pi_u(n, g):
        return torch.tan(math.pi * torch.rand(n, 1, generator=g))

    def a_whole_turn(n, g):
        return torch.tan(2 * math.pi * torch.rand(n, 1, generator=g))

    def one_tensor_of_two_columns(n, g):
        z = torch.randn(n, 2, generator=g)
        return z[:, :1] / z[:, 1:]

    def one_over_it(n, g):
        return 1 / (torch.randn(n, 1, generator=g) / torch.randn(n, 1, generator=g))

    def by_a_positive_number(n, g):
        return torch.randn(n, 1, generator=g) / torch.randn(n, 1, generator=g).abs()

    def in_float64(n, g):
        z = torch.randn(2, n, 1, generator=g, dtype=torch.float64)
        return (-z[0] / z[1]).float()

    return (
        *(its_own_method, a_tangent_of_pi_u, a_whole_turn, one_tensor_of_two_columns),
        *(one_over_it, by_a_positive_number, in_float64),
    )


def p_value_forms():
    def noise_first(n, g):
        noise, left = torch.randn(n, 2, generator=g), float((1 - torch.linspace(1e-4, 0.02, 50)).prod())
        x = left**0.5 * data.eight_gaussians().sample(n, g)[0] + (1 - left) ** 0.5 * torch.randn(n, 2, generator=g)
        return metrics.energy_test(noise, x, generator=g)

    def a_tensor(n, g):
        return torch.tensor(BY_NAME["p_value_of_eight"].solution(n, g))

    return noise_first, a_tensor


def exact_forms():
    def cosine_in_float32(T):
        t = torch.arange(T + 1) / T
        return (torch.cos((t + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)).square().double()

    def cosine_of_twice_the_angle(T):
        f = 1 + torch.cos((torch.linspace(0, T, T + 1, dtype=torch.float64) / T + 0.008) / 1.008 * math.pi)
        return f / f[0]

    def betas_by_a_list(T):
        return torch.tensor([1000 / T * (1e-4 + 0.0199 * k / (T - 1)) for k in range(T)], dtype=torch.float64)

    def beta_as_a_tensor(T, left=0.01):
        return 1 - torch.tensor(left, dtype=torch.float64) ** (2 / T)

    def beta_in_float32(T, left=0.01):
        return 1 - torch.exp(2 * torch.log(torch.tensor(left)) / T)

    def a_list_of_two(path, t, s, r):
        return list(path.transition(t, r))

    def by_log_snr(path, t, s, r):
        factor = path.alpha(t) / path.alpha(r)
        return factor, path.sigma(t) ** 2 * (1 - torch.exp(path.log_snr(t) - path.log_snr(r)))

    return [
        *[("cosine_alpha_bar", f) for f in (cosine_in_float32, cosine_of_twice_the_angle)],
        ("betas_for", betas_by_a_list),
        *[("constant_beta", f) for f in (beta_as_a_tensor, beta_in_float32)],
        *[("composed", f) for f in (a_list_of_two, by_log_snr)],
    ]


FORMS = [
    *[("forward_step", form) for form in step_forms()],
    *[("jump", form) for form in jump_forms()],
    *[("coin_step", form) for form in coin_forms()],
    *[("cauchy", form) for form in cauchy_forms()],
    *[("p_value_of_eight", form) for form in p_value_forms()],
    *exact_forms(),
]

UNKNOWN = {
    "forward_step": [
        lambda x, beta, g: (1 - beta) * x + math.sqrt(1 - beta) * torch.randn(x.shape, generator=g),  # two at once
        lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * x * torch.randn(x.shape, generator=g),
        lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(2 * beta) * torch.randn(x.shape, generator=g),
    ],
    "jump": [
        lambda x0, k, betas, g: BY_NAME["forward_step"].solution(x0, float(betas[:k].mean()), g),
        lambda x0, k, betas, g: float((1 - betas[:k]).prod()) * x0 + torch.randn(x0.shape, generator=g),
        lambda x0, k, betas, g: BY_NAME["jump"].wrong[2].answer(x0, k + 1, betas, g),  # two at once
    ],
    "cosine_alpha_bar": [
        lambda T: torch.linspace(1, 0, T + 1, dtype=torch.float64),
        lambda T: BY_NAME["cosine_alpha_bar"].solution(T) ** 2,
        lambda T: torch.cos(torch.linspace(0, math.pi / 2, T + 1, dtype=torch.float64)),  # two at once
    ],
    "betas_for": [
        lambda T: torch.linspace(1e-4, 0.02, T, dtype=torch.float64).sqrt(),
        lambda T: 1 - torch.linspace(0.1 / T, 20 / T, T, dtype=torch.float64),
        lambda T: torch.linspace(20 / T, 0.1, T, dtype=torch.float64),  # two at once
    ],
    "constant_beta": [
        lambda T, left=0.01: math.sqrt(1 - left ** (2 / T)),
        lambda T, left=0.01: left / T,
        lambda T, left=0.01: 1 - left ** (2 * T),
    ],
    "coin_step": [
        lambda x, beta, g: (1 - beta) * x + beta * (2 * torch.randint(0, 2, x.shape, generator=g) - 1),  # two at once
        lambda x, beta, g: x * (2 * torch.randint(0, 2, x.shape, generator=g) - 1),
    ],
    "p_value_of_eight": [
        lambda n, g: 10 * BY_NAME["p_value_of_eight"].solution(n, g),
        lambda n, g: -math.log(BY_NAME["p_value_of_eight"].solution(n, g)),
    ],
    "composed": [
        lambda path, t, s, r: (path.alpha(t), path.sigma(t) ** 2),
        lambda path, t, s, r: (path.transition(s, r)[0], path.transition(t, s)[1]),
        lambda path, t, s, r: tuple(2 * part for part in path.transition(t, r)),
    ],
    "cauchy": [
        lambda n, g: torch.randn(n, 1, generator=g) + torch.randn(n, 1, generator=g),
        lambda n, g: torch.randn(n, 1, generator=g) / torch.rand(n, 1, generator=g),
        lambda n, g: torch.exp(torch.randn(n, 1, generator=g)),
    ],
}
