"""The exercises of notebook 05, forward diffusion: 5.1 to 5.4 in its flow, 5.5 to 5.9 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from minidiff import data, metrics, schedules
from minidiff.checks.records import RNG, Case, Exercise, Wrong
from minidiff.checks.views import means, moments_of, normal
from minidiff.paths import GaussianPath

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Forward diffusion"
POINTS = 250  # in the plainest case; with 400 calls, 100,000 draws


def flat(x, g):
    return torch.rand(x.shape, generator=g, dtype=x.dtype)


def cloud(g: torch.Generator, n: int = 100) -> Tensor:
    """Points in the plane around (10, -20), in double precision: far out, so that wrong factors show."""
    centre = torch.tensor([10.0, -20.0], dtype=torch.float64)
    return centre + 4 * torch.randn(n, 2, generator=g, dtype=torch.float64)


def noise_numbers(out: Tensor, x: Tensor, factor: float) -> dict[str, Tensor]:
    """The numbers that say what a step kept of x and what noise it added, a mean for each call."""
    numbers, noise = moments_of(out, factor * x, x), out - factor * x
    if x.shape[1] > 1:
        same = (noise[..., :1] - noise[..., 1:]).abs() < 1e-3
        numbers |= means({"the share of points with the same noise on both axes": same})
    return numbers


# 5.1 forward_step


def forward_step(x, beta, g):
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * z


def forward_step_in_place(x, beta, g):
    noise = torch.empty_like(x).normal_(generator=g)
    return noise.mul_(beta**0.5).add_(x, alpha=(1 - beta) ** 0.5)


def step_truth(x, beta, g):  # from the law: a normal with this mean and this standard deviation
    return torch.normal((1 - beta) ** 0.5 * x, torch.full_like(x, beta**0.5), generator=g)


def step_cases(g):
    beta = round(0.2 + 0.2 * float(torch.rand((), generator=g)), 3)  # never 0.5, where beta and 1 - beta are one number
    return (
        Case((torch.ones(POINTS, 1, dtype=torch.float32), 0.2, RNG), f"x = 1 ({POINTS} times) and beta = 0.2"),
        Case((cloud(g), beta, RNG), f"100 points around (10, -20) in float64 and beta = {beta}"),
    )


def step_numbers(out, x, beta):
    return noise_numbers(out, x, math.sqrt(1 - beta))


FORWARD_STEP = Exercise(
    id="5.1",
    name="forward_step",
    stub='''
def forward_step(x, beta, g):
    """One step of the forward process: x_k from x_{k-1}, of the same shape and dtype. beta is a number."""
    ...  # your code
''',
    solution=forward_step,
    alternative=forward_step_in_place,
    why=(
        "Variances of independent numbers add. The kept part has variance (1 - beta) times that of x, the noise has\n"
        "variance beta. So a cloud of variance 1 keeps it. A factor before random numbers is a standard deviation, "
        "and\n"
        "that is why both roots are there."
    ),
    truth=step_truth,
    cases=step_cases,
    view=step_numbers,
    hints=(
        "You add two independent things. What happens to their variances?",
        "If x has variance 1 and the result is to have variance 1 too, then c² + beta = 1. What is c?",
        "beta is a variance, and `torch.randn` has standard deviation 1. What do you multiply it by?",
    ),
    wrong=(
        Wrong(
            "beta for sqrt(beta)",
            lambda x, beta, g: math.sqrt(1 - beta) * x + beta * normal(x, g),
            "You multiply the noise by beta. But beta is a variance, and noise is multiplied by a standard deviation. "
            "With this step the cloud collapses.",
            "Y-debug-sys/Diffusion-TS#135, mathpluscode/ImgX-DiffSeg#4, NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "1 - beta for sqrt(1 - beta)",
            lambda x, beta, g: (1 - beta) * x + math.sqrt(beta) * normal(x, g),
            "You multiply x by 1 - beta. That multiplies its variance by (1 - beta)², which is too much. "
            "The factor of x needs a root as well.",
            "ermongroup/CSDI#9",
        ),
        Wrong(
            "no root at all",
            lambda x, beta, g: (1 - beta) * x + beta * normal(x, g),
            "Both roots are missing: you blend x and noise with the weights 1 - beta and beta. Weights that add up "
            "to 1 "
            "keep a mean. To keep a variance, the squares of the two factors must add up to 1.",
            "not seen in public yet",
        ),
        Wrong(
            "coefficients exchanged",
            lambda x, beta, g: math.sqrt(beta) * x + math.sqrt(1 - beta) * normal(x, g),
            "The two factors are exchanged: you keep little of x and add much noise.",
            "sii-research/tau-0-vla#7, VinAIResearch/LFM#19",
        ),
        Wrong(
            "nothing shrinks",
            lambda x, beta, g: x + math.sqrt(beta) * normal(x, g),
            "You add noise but keep all of x. That is idea A of section 1: the variance grows at every step and never "
            "stops.",
            "notebook 05, section 1",
        ),
        Wrong(
            "the noise shrinks too",
            lambda x, beta, g: math.sqrt(1 - beta) * (x + math.sqrt(beta) * normal(x, g)),
            "You add the noise before you shrink, so the noise shrinks too and its variance is (1 - beta) beta. "
            "Shrink x alone, then add.",
            "not seen in public yet: a bracket too many",
        ),
        Wrong(
            "a step of the differential equation",
            lambda x, beta, g: (1 - beta / 2) * x + math.sqrt(beta) * normal(x, g),
            "You multiply x by 1 - beta / 2. That is the Euler step of the differential equation, and equals "
            "sqrt(1 - beta) only to first order. The variance grows a little at every step.",
            "not seen in public yet: the continuous-time form",
        ),
        Wrong(
            "the sign of x",
            lambda x, beta, g: -math.sqrt(1 - beta) * x + math.sqrt(beta) * normal(x, g),
            "The sign of x is turned around: every step mirrors the cloud at the origin.",
            "not seen in public yet",
        ),
        Wrong(
            "beta taken for a standard deviation",
            lambda x, beta, g: math.sqrt(1 - beta**2) * x + beta * normal(x, g),
            "You take beta for a standard deviation in both places. This step keeps the variance, but it adds beta² "
            "where beta was asked for, so the chain is slower.",
            "NeuromatchAcademy/course-content#435",
        ),
        Wrong(
            "uniform noise from 0 to 1",
            lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * flat(x, g),
            "Your noise is uniform from 0 to 1, as `torch.rand` draws it. Its mean is not 0 and its variance is not 1. "
            "The normal distribution is `torch.randn`.",
            "acids-ircam/diffusion_models#8, zhuangdizhu/FedGen#10, HRI-EU/flow_matching#7",
        ),
        Wrong(
            "uniform noise from -1 to 1",
            lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * (2 * flat(x, g) - 1),
            "Your noise is uniform from -1 to 1. Its mean is 0, but its variance is 1/3, and the shape is wrong too.",
            "not seen in public yet",
        ),
        Wrong(
            "uniform noise of variance 1",
            lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * math.sqrt(3) * (2 * flat(x, g) - 1),
            "Your noise has the right mean and variance, but it is uniform: its fourth moment is 1.8 and not 3. Then "
            "many "
            "steps and one jump give different distributions.",
            "notebook 05, section 1",
        ),
        Wrong(
            "noise times noise",
            lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * normal(x, g) * normal(x, g),
            "Your noise is a product of two normal numbers. Its variance is right, but its fourth moment is 9 and "
            "not 3.",
            "eje24/iap-diffusion-labs#17 and #28",
        ),
        Wrong(
            "one noise for all points",
            lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * normal(x[:1], g),
            "All points get the same noise, because you draw it for one point only and it is broadcast. Draw noise of "
            "the shape of x.",
            "jolibrain/joliGEN#527, HCP-Diffusion#82",
        ),
        Wrong(
            "one noise for both axes",
            lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * normal(x[:, :1], g),
            "Each point gets one number as noise, and it is used on all axes. So points move along the diagonal only. "
            "Draw noise of the shape of x.",
            "broadcasting of (B, 1)",
        ),
        Wrong(
            "one number for everything",
            lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * normal(x[:1, :1], g),
            "You draw one single number and add it to every point and every axis. The whole cloud moves, and no point "
            "moves against another. Draw noise of the shape of x.",
            "not seen in public yet: torch.randn(1)",
        ),
    ),
)


# 5.2 jump


def jump(x0, k, betas, g):
    alpha_bar = float((1 - betas[:k]).prod())
    eps = torch.randn(x0.shape, generator=g, dtype=x0.dtype)
    return math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * eps


def jump_with_a_table(x0, k, betas, g):
    alpha_bar = torch.cumprod(1 - betas, dim=0)  # alpha_bar[0] belongs to step 1
    left = alpha_bar[k - 1].item()
    return left**0.5 * x0 + (1 - left) ** 0.5 * torch.empty_like(x0).normal_(generator=g)


def followed(k, betas):
    """The factor and the variance of a chain of k steps, one step after another."""
    factor, variance = 1.0, 0.0
    for beta in betas.tolist()[:k]:
        factor, variance = math.sqrt(1 - beta) * factor, (1 - beta) * variance + beta
    return factor, variance


def jump_truth(x0, k, betas, g):
    factor, variance = followed(k, betas)
    return torch.normal(factor * x0, torch.full_like(x0, math.sqrt(variance)), generator=g)


def jump_cases(g):
    plain = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    table = 0.02 + 0.3 * torch.rand(12, generator=g, dtype=torch.float64)
    table[6] = 0.35  # so that step 7 is unlike those around it
    return (
        Case(
            (torch.ones(POINTS, 1, dtype=torch.float32), 2, plain, RNG),
            f"x0 = 1 ({POINTS} times), k = 2 and betas = 0.1, 0.2, 0.3, 0.4, 0.5",
        ),
        Case((cloud(g), 7, table, RNG), "100 points around (10, -20) in float64, k = 7 and twelve unequal betas"),
    )


def jump_numbers(out, x0, k, betas):
    return noise_numbers(out, x0, followed(k, betas)[0])


def jumped(left):
    """The jump to where this much of the variance is left: left(k, betas) is the wrong answer's alpha_bar."""

    def answer(x0, k, betas, g):
        share = float(left(k, betas))
        return math.sqrt(share) * x0 + math.sqrt(1 - share) * normal(x0, g)

    return answer


def left_after(k, betas):
    return float((1 - betas[:k]).prod())


JUMP = Exercise(
    id="5.2",
    name="jump",
    stub='''
def jump(x0, k, betas, g):
    """x_k from x0 at once, of the same shape and dtype. betas[0] belongs to step 1; k is a whole number >= 1."""
    ...  # your code
''',
    solution=jump,
    alternative=jump_with_a_table,
    why=(
        "Each step multiplies what came before by sqrt(1 - beta), so k steps multiply x0 by the root of the product "
        "of all\n"
        "1 - beta up to step k: sqrt(alpha_bar). A cloud of variance 1 keeps it at every step, so the noise must "
        "fill up\n"
        "the rest, 1 - alpha_bar. And a sum of normal numbers is normal, so one draw is enough."
    ),
    truth=jump_truth,
    cases=jump_cases,
    view=jump_numbers,
    hints=(
        "Write down x_2 with x_1 put in. What multiplies x0?",
        "Step k multiplies by sqrt(1 - beta_k). So k steps multiply by the root of a product. Which betas are in it?",
        "A cloud of variance 1 must still have variance 1. If x0 keeps the share alpha_bar of it, how much is noise?",
    ),
    wrong=(
        Wrong(
            "the product of the betas",
            jumped(lambda k, betas: betas[:k].prod()),
            "You multiply the betas. What a step keeps is 1 - beta, so alpha_bar is the product of all 1 - beta.",
            "LuChengTHU/dpm-solver#13",
        ),
        Wrong(
            "1 minus the product of the betas",
            jumped(lambda k, betas: 1 - betas[:k].prod()),
            "You take 1 minus the product of the betas. First subtract each beta from 1, then multiply.",
            "not seen in public yet: a bracket in the wrong place",
        ),
        Wrong(
            "no root before x0",
            lambda x0, k, betas, g: left_after(k, betas) * x0 + math.sqrt(1 - left_after(k, betas)) * normal(x0, g),
            "You multiply x0 by alpha_bar. That is the share of the variance that is left. The factor of x0 is its "
            "root.",
            "labmlai/annotated_deep_learning_paper_implementations#152, ermongroup/CSDI#9",
        ),
        Wrong(
            "no root before the noise",
            lambda x0, k, betas, g: math.sqrt(left_after(k, betas)) * x0 + (1 - left_after(k, betas)) * normal(x0, g),
            "You multiply the noise by 1 - alpha_bar. That is its variance. A factor before noise is a standard "
            "deviation.",
            "labmlai/annotated_deep_learning_paper_implementations#152",
        ),
        Wrong(
            "no root at all",
            lambda x0, k, betas, g: left_after(k, betas) * x0 + (1 - left_after(k, betas)) * normal(x0, g),
            "Both roots are missing: alpha_bar and 1 - alpha_bar are variances, and you use them as factors.",
            "not seen in public yet",
        ),
        Wrong(
            "1 minus the factor",
            lambda x0, k, betas, g: (
                math.sqrt(left_after(k, betas)) * x0 + (1 - math.sqrt(left_after(k, betas))) * normal(x0, g)
            ),
            "Your two factors add up to 1. To keep the variance, their squares must.",
            "not seen in public yet",
        ),
        Wrong(
            "the last step alone",
            jumped(lambda k, betas: 1 - betas[k - 1]),
            "You use beta_k of the last step alone, and none of the steps before it. alpha_bar_k is a product over all "
            "steps up to k. (DDPM calls 1 - beta_k alpha_k: without the bar.)",
            "ermongroup/ddim#44",
        ),
        Wrong(
            "the last beta to the power k",
            jumped(lambda k, betas: (1 - betas[k - 1]) ** k),
            "You take k steps with the last beta. But every step has a beta of its own.",
            "not seen in public yet",
        ),
        Wrong(
            "the sum of the betas",
            jumped(lambda k, betas: max(0.0, 1 - float(betas[:k].sum()))),
            "You subtract the sum of the betas from 1. That holds to first order in small betas only: the factors of "
            "the "
            "steps multiply.",
            "notebook 05, section 7",
        ),
        Wrong(
            "the exponential of the sum",
            jumped(lambda k, betas: torch.exp(-betas[:k].sum())),
            "You take exp(-sum of the betas) for alpha_bar. That is the limit of infinitely many tiny steps. Here "
            "the steps "
            "have a size: multiply 1 - beta.",
            "not seen in public yet: the continuous-time form",
        ),
        Wrong(
            "noise of all steps in full",
            lambda x0, k, betas, g: (
                math.sqrt(left_after(k, betas)) * x0 + math.sqrt(float(betas[:k].sum())) * normal(x0, g)
            ),
            "You add the noise of all steps in full. But later steps shrink the noise of the earlier ones as well.",
            "not seen in public yet",
        ),
        Wrong(
            "exchanged",
            jumped(lambda k, betas: 1 - left_after(k, betas)),
            "alpha_bar and 1 - alpha_bar are exchanged: x0 gets the factor of the noise.",
            "sii-research/tau-0-vla#7, VinAIResearch/LFM#19",
        ),
        Wrong(
            "one step too many",
            jumped(lambda k, betas: left_after(k + 1, betas)),
            "You are one step too far. betas[0] belongs to step 1, so step k is the last of the first k entries: "
            "betas[:k], or index k - 1 of a cumulative product.",
            "off by one",
        ),
        Wrong(
            "one step too few",
            jumped(lambda k, betas: left_after(k - 1, betas)),
            "You are one step short: step k is missing. betas[:k] holds steps 1 to k.",
            "off by one",
        ),
        Wrong(
            "the product of all steps",
            jumped(lambda k, betas: left_after(len(betas), betas)),
            "You multiply over all steps of the table, up to the last one, whatever k is.",
            "not seen in public yet: prod() of the whole table",
        ),
        Wrong(
            "uniform noise from 0 to 1",
            lambda x0, k, betas, g: (
                math.sqrt(left_after(k, betas)) * x0 + math.sqrt(1 - left_after(k, betas)) * flat(x0, g)
            ),
            "Your noise is uniform from 0 to 1, as `torch.rand` draws it. The normal distribution is `torch.randn`.",
            "acids-ircam/diffusion_models#8",
        ),
        Wrong(
            "one noise for all points",
            lambda x0, k, betas, g: (
                math.sqrt(left_after(k, betas)) * x0 + math.sqrt(1 - left_after(k, betas)) * normal(x0[:1], g)
            ),
            "All points get the same noise, because you draw it for one point only. Draw noise of the shape of x0.",
            "jolibrain/joliGEN#527",
        ),
    ),
)


# 5.3 betas_for


def betas_for(T):
    scale = 1000 / T
    return torch.linspace(scale * 1e-4, scale * 0.02, T, dtype=torch.float64)


def betas_for_any_sum(T):
    usual = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    return betas * (usual.sum() / betas.sum())


def betas_truth(T):  # from the two demands: evenly spaced from 1 part to 200, and a sum of 1000 x 0.01005
    parts = [1 + 199 * k / (T - 1) for k in range(T)]
    return torch.tensor([10.05 * part / math.fsum(parts) for part in parts], dtype=torch.float64)


def line(first, last, T):
    return torch.linspace(first, last, T, dtype=torch.float64)


def respaced(T):
    left = torch.cat([torch.ones(1, dtype=torch.float64), (1 - line(1e-4, 0.02, 1000)).cumprod(0)])
    kept = left[(torch.arange(T + 1) * 1000) // T]
    return 1 - kept[1:] / kept[:-1]


BETAS_FOR = Exercise(
    id="5.3",
    name="betas_for",
    stub='''
def betas_for(T):
    """The usual betas for T steps, not 1000: evenly spaced, and scaled to the same sum. Returns (T,), float64."""
    ...  # your code
''',
    solution=betas_for,
    alternative=betas_for_any_sum,
    why=(
        "ln alpha_bar is about minus the sum of the betas. To forget as much in fewer steps, each step must forget "
        "more:\n"
        "with T steps instead of 1000, 1000 / T times as much. Below T = 20 the last beta would exceed 1, and a "
        "schedule\n"
        "in t instead of k is the better way out."
    ),
    truth=betas_truth,
    cases=lambda g: (Case((50,), "T = 50"), Case((400,), "T = 400")),
    hints=(
        "How much is left after k steps depends on the sum of the betas. Fewer betas with the same sum: larger or "
        "smaller?",
        "What is the sum of the usual 1000? And that of 50 betas with the same two ends?",
        "Both ends are multiplied by one number, which depends on T and is 1 at T = 1000.",
    ),
    wrong=(
        Wrong(
            "not rescaled",
            lambda T: line(1e-4, 0.02, T),
            "You keep the two ends from the paper. They belong to 1000 steps: with fewer, much of the data is still "
            "standing at the end. That is the trap of section 7.",
            "zoubohao/DenoisingDiffusionProbabilityModel-ddpm-#14",
        ),
        Wrong(
            "T / 1000",
            lambda T: line(1e-4 * T / 1000, 0.02 * T / 1000, T),
            "Your scale is upside down: with fewer steps your betas get smaller. Each of fewer steps has to forget "
            "more.",
            "zoubohao/DenoisingDiffusionProbabilityModel-ddpm-#14",
        ),
        Wrong(
            "the last beta alone",
            lambda T: line(1e-4, 0.02 * 1000 / T, T),
            "You enlarge the last beta only. All of them belong to 1000 steps, so both ends are scaled.",
            "not seen in public yet",
        ),
        Wrong(
            "the first beta alone",
            lambda T: line(1e-4 * 1000 / T, 0.02, T),
            "You enlarge the first beta only. All of them belong to 1000 steps, so both ends are scaled.",
            "not seen in public yet",
        ),
        Wrong(
            "the root of the ratio",
            lambda T: line(1e-4, 0.02, T) * math.sqrt(1000 / T),
            "You scale by the root of 1000 / T. Betas are variances, and variances add up without roots.",
            "not seen in public yet",
        ),
        Wrong(
            "the square of the ratio",
            lambda T: line(1e-4, 0.02, T) * (1000 / T) ** 2,
            "You scale twice: by the square of 1000 / T. The sum of the betas becomes too large.",
            "not seen in public yet",
        ),
        Wrong(
            "always 20 times",
            lambda T: 20 * line(1e-4, 0.02, T),
            "You multiply by 20 whatever T is. That is right for T = 50 only.",
            "notebook 05, section 7",
        ),
        Wrong(
            "every so many steps",
            lambda T: line(1e-4, 0.02, 1000)[:: 1000 // T][:T].clone(),
            "You pick every so many of the usual betas. Each of them still forgets as much as one step of 1000.",
            "not seen in public yet",
        ),
        Wrong(
            "the first T",
            lambda T: line(1e-4, 0.02, 1000)[:T].clone(),
            "You take the first T of the usual betas. They are the smallest, and forget almost nothing.",
            "not seen in public yet",
        ),
        Wrong(
            "one beta for all steps",
            lambda T: torch.full((T,), 10.05 / T, dtype=torch.float64),
            "All your betas are equal. Their sum is right, but they do not grow as the usual ones do.",
            "not seen in public yet",
        ),
        Wrong(
            "not divided by the number of steps",
            lambda T: line(1e-4, 0.02, T) * 1000,
            "You multiply by 1000 and do not divide by T. Then betas exceed 1, and no variance can.",
            "not seen in public yet",
        ),
        Wrong(
            "T + 1 betas",
            lambda T: line(1e-4 * 1000 / T, 0.02 * 1000 / T, T + 1),
            "You return T + 1 betas. There is one beta for each step, so T of them. (alpha_bar has T + 1 values.)",
            "off by one",
        ),
        Wrong(
            "backwards",
            lambda T: line(1e-4 * 1000 / T, 0.02 * 1000 / T, T).flip(0),
            "Your betas fall. The usual ones grow: the data are first changed gently.",
            "not seen in public yet",
        ),
        Wrong(
            "the same alpha_bar",
            respaced,
            "You read alpha_bar off the usual chain at every so many steps. That keeps alpha_bar exactly and is a "
            "good idea, "
            "which samplers use. But then the betas are not evenly spaced, which was asked for here.",
            "DDIM's respacing",
        ),
    ),
)


# 5.4 cosine_alpha_bar


def cosine_alpha_bar(T):
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return f / f[0]


def cosine_alpha_bar_in_numbers(T):
    f = [math.cos((k / T + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(T + 1)]
    return torch.tensor([value / f[0] for value in f], dtype=torch.float64)


def cosine_truth(T):  # by the package's path, which computes a sine of what is left to pi / 2
    return schedules.cosine().alpha(torch.arange(T + 1, dtype=torch.float64) / T) ** 2


def cosine_like(t, s=0.008, divided=None, power=2.0, quarter=math.pi / 2):
    """The formula with its parts exchangeable."""
    f = torch.cos((t + s) / (1 + s if divided is None else divided) * quarter) ** power
    return f / f[0]


def ticks(T, end=1.0, count=None):
    return torch.linspace(0, end, T + 1 if count is None else count, dtype=torch.float64)


def without_the_start(T):
    return torch.cos((ticks(T) + 0.008) / 1.008 * math.pi / 2) ** 2


def clipped_betas(T):
    left = cosine_truth(T)
    betas = (1 - left[1:] / left[:-1]).clamp(max=0.999)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])


COSINE = Exercise(
    id="5.4",
    name="cosine_alpha_bar",
    stub='''
def cosine_alpha_bar(T):
    """alpha_bar_k of the cosine schedule at k = 0, 1, ..., T, with the offset 0.008. Returns (T + 1,), float64."""
    ...  # your code
''',
    solution=cosine_alpha_bar,
    alternative=cosine_alpha_bar_in_numbers,
    why=(
        "Nichol and Dhariwal's equation 17 says alpha_bar = f(t) / f(0), where f is the square of a cosine. The "
        "division\n"
        "makes alpha_bar start at exactly 1. T steps have T + 1 ends, from k = 0 to k = T, so t = k / T runs from 0 "
        "to 1."
    ),
    truth=cosine_truth,
    cases=lambda g: (Case((4,), "T = 4"), Case((1000,), "T = 1000")),
    hints=(
        "Step k lies at the time t = k / T. How many times are there, and what are the first and the last?",
        "alpha_bar = f(t) / f(0). At t = 1 the angle in the cosine is exactly a quarter turn. What is alpha_bar there?",
        "f(t) = cos(...)², with (t + s) / (1 + s) of a quarter turn inside. Mind the square.",
    ),
    wrong=(
        Wrong(
            "time runs past 1",
            lambda T: cosine_like(ticks(T, (T + 1) / T)),
            "Your last time is (T + 1) / T and not 1. The cosine has already turned, and alpha_bar goes up again. T "
            "+ 1 "
            "points from 0 to T have the last one at T.",
            "lucidrains/denoising-diffusion-pytorch#19, jannerm/diffuser#68",
        ),
        Wrong(
            "time stops before 1",
            lambda T: cosine_like(ticks(T, T / (T + 1))),
            "You divide k by T + 1. Then the last time is not 1, and some signal is left at the end. Divide by T.",
            "off by one",
        ),
        Wrong(
            "k for t",
            lambda T: cosine_like(T * ticks(T)),
            "You put the step k where the time t = k / T belongs. So the angle makes many turns.",
            "not seen in public yet",
        ),
        Wrong(
            "T points",
            lambda T: cosine_like(ticks(T, count=T)),
            "You return T values, from linspace with T points. T steps have T + 1 ends: k = 0 counts as well.",
            "off by one",
        ),
        Wrong(
            "k = 0 is missing",
            lambda T: cosine_like(ticks(T))[1:],
            "You return T values: k = 0, where alpha_bar is 1, is missing.",
            "not seen in public yet",
        ),
        Wrong(
            "the last step is missing",
            lambda T: cosine_like(ticks(T))[:-1],
            "You return T values: k = T is missing, as with `range(T)`. It is the one where alpha_bar is 0.",
            "off by one",
        ),
        Wrong(
            "betas",
            lambda T: 1 - cosine_truth(T)[1:] / cosine_truth(T)[:-1],
            "You return betas, one for each step. Asked for is alpha_bar, the product of all 1 - beta so far.",
            "not seen in public yet",
        ),
        Wrong(
            "not squared",
            lambda T: cosine_like(ticks(T), power=1.0),
            "You return the cosine itself, which is sqrt(alpha_bar). alpha_bar is its square.",
            "not seen in public yet",
        ),
        Wrong(
            "root instead of square",
            lambda T: cosine_like(ticks(T), power=0.5),
            "You take a root where a square belongs: alpha_bar is the square of the cosine.",
            "not seen in public yet",
        ),
        Wrong(
            "not divided by f(0)",
            without_the_start,
            "You return f(t) and not f(t) / f(0). So alpha_bar does not start at 1, and step 0 would not be the data.",
            "not seen in public yet",
        ),
        Wrong(
            "no offset",
            lambda T: cosine_like(ticks(T), s=0.0),
            "The offset s is missing, so the first betas are too small. With s = 0.008 the angle does not start at 0.",
            "not seen in public yet",
        ),
        Wrong(
            "offset above the line only",
            lambda T: cosine_like(ticks(T), divided=1.0),
            "You add s to the time but do not divide by 1 + s. Then the angle goes beyond a quarter turn at the end.",
            "not seen in public yet",
        ),
        Wrong(
            "offset below the line only",
            lambda T: cosine_like(ticks(T), s=0.0, divided=1.008),
            "You divide by 1 + s but do not add s to the time. Then the angle never reaches a quarter turn.",
            "not seen in public yet",
        ),
        Wrong(
            "a half turn",
            lambda T: cosine_like(ticks(T), quarter=math.pi),
            "Your angle goes up to a half turn, pi, and not to a quarter turn, pi / 2. So alpha_bar falls to 0 at "
            "half time "
            "and rises again.",
            "not seen in public yet",
        ),
        Wrong(
            "a sine",
            lambda T: torch.sin((ticks(T) + 0.008) / 1.008 * math.pi / 2) ** 2,
            "Your values rise. That is a squared sine: the share of noise, and not of signal.",
            "not seen in public yet",
        ),
        Wrong(
            "1 - alpha_bar",
            lambda T: 1 - cosine_truth(T),
            "You return 1 - alpha_bar, the variance of the noise. Asked for is alpha_bar.",
            "not seen in public yet",
        ),
        Wrong(
            "backwards",
            lambda T: cosine_truth(T).flip(0),
            "Your table is upside down: it rises from 0 to 1. In this course step 0 is the data.",
            "not seen in public yet",
        ),
        Wrong(
            "betas clipped",
            clipped_betas,
            "You clip the betas at 0.999, as the paper does for sampling. Then alpha_bar does not quite reach 0. "
            "Asked for is "
            "the formula itself.",
            "Nichol and Dhariwal 2021, section 3.2",
        ),
        Wrong(
            "divided by itself before",
            lambda T: cosine_like(ticks(T)) / torch.cat([torch.zeros(1), cosine_like(ticks(T))[:-1]]),
            "You divide each value by the one before it, and the first one by 0. Those ratios are 1 - beta of one "
            "step. "
            "Divide all values by the first one.",
            "Project-MONAI/GenerativeModels#489, Project-MONAI/MONAI#8427",
        ),
    ),
)


# 5.5 constant_beta


def constant_beta(T, left=0.01):
    return 1 - left ** (2 / T)


def constant_beta_by_logarithms(T, left=0.01):
    return -math.expm1(2 * math.log(left) / T)


def constant_truth(T, left=0.01):  # by bisection, from the chain of T steps
    low, high = 0.0, 1.0
    for _ in range(60):
        beta = (low + high) / 2
        low, high = (beta, high) if math.prod([math.sqrt(1 - beta)] * T) > left else (low, beta)
    return high


CONSTANT_BETA = Exercise(
    id="5.5",
    name="constant_beta",
    stub='''
def constant_beta(T, left=0.01):
    """The beta for which T equal steps leave the factor `left` of the data."""
    ...  # your code
''',
    solution=constant_beta,
    alternative=constant_beta_by_logarithms,
    why=(
        "One step keeps the factor sqrt(1 - beta), so T steps keep (1 - beta)^(T / 2). Set that equal to `left` and "
        "solve\n"
        "for beta. The same solved for T: beta = 0.02 needs 2 ln(0.01) / ln(0.98) = 456 steps."
    ),
    truth=constant_truth,
    cases=lambda g: (Case((4, 0.6), "T = 4 and left = 0.6"), Case((1000, 0.01), "T = 1000 and left = 0.01")),
    hints=(
        "What factor does one step leave? And T equal steps?",
        "(1 - beta)^(T / 2) = left. Which power do you have to take on both sides?",
        "`left` is a factor of the data, the root of alpha_bar. So alpha_bar is left².",
    ),
    wrong=(
        Wrong(
            "left taken for alpha_bar",
            lambda T, left=0.01: 1 - left ** (1 / T),
            "You take `left` for alpha_bar. But it is the factor of the data, the root of alpha_bar.",
            "not seen in public yet",
        ),
        Wrong(
            "the root on the wrong side",
            lambda T, left=0.01: 1 - left ** (1 / (2 * T)),
            "You take a root of `left` where its square belongs: alpha_bar = left².",
            "not seen in public yet",
        ),
        Wrong(
            "one step",
            lambda T, left=0.01: 1 - left**2,
            "You return the beta of one single step that leaves this factor: T is nowhere in it.",
            "not seen in public yet",
        ),
        Wrong(
            "1 - beta for beta",
            lambda T, left=0.01: left ** (2 / T),
            "You return 1 - beta, what a step keeps of the variance. (DDPM calls it alpha.) beta is the rest.",
            "not seen in public yet",
        ),
        Wrong(
            "the factor of one step",
            lambda T, left=0.01: left ** (1 / T),
            "You return sqrt(1 - beta), the factor of one step. Asked for is beta.",
            "not seen in public yet",
        ),
        Wrong(
            "first order",
            lambda T, left=0.01: -2 * math.log(left) / T,
            "You take ln(1 - beta) for -beta. That is nearly right for many steps, and wrong for a few. No logarithm "
            "is needed.",
            "not seen in public yet",
        ),
        Wrong(
            "first order, left taken for alpha_bar",
            lambda T, left=0.01: -math.log(left) / T,
            "There are two slips. You take ln(1 - beta) for -beta, and `left` for alpha_bar, though it is its root.",
            "not seen in public yet",
        ),
        Wrong(
            "shared out evenly",
            lambda T, left=0.01: (1 - left**2) / T,
            "You share out the loss of variance evenly among the steps. But each step takes its part of what is "
            "left, so "
            "the factors multiply.",
            "not seen in public yet",
        ),
        Wrong(
            "the factor shared out evenly",
            lambda T, left=0.01: (1 - left) / T,
            "You share out the loss evenly among the steps. But each step takes its part of what is left, so the "
            "factors "
            "multiply.",
            "not seen in public yet",
        ),
        Wrong(
            "left missing a power",
            lambda T, left=0.01: 1 - left ** (T / 2),
            "The exponent is upside down: you raise to T / 2 where you have to undo it, with 2 / T.",
            "not seen in public yet",
        ),
        Wrong(
            "left ignored",
            lambda T, left=0.01: 1 - 0.01 ** (2 / T),
            "You always use 0.01 and ignore the argument `left`.",
            "not seen in public yet",
        ),
    ),
)


# 5.6 coin_step


def coin_step(x, beta, g):
    coin = torch.randint(0, 2, x.shape, generator=g)
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * (2 * coin - 1)


def coin_step_by_signs(x, beta, g):
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.sign(torch.rand(x.shape, generator=g) - 0.5)


def coin_truth(x, beta, g):
    heads = torch.bernoulli(torch.full_like(x, 0.5), generator=g).bool()
    keep, add = (1 - beta) ** 0.5, beta**0.5
    return torch.where(heads, keep * x + add, keep * x - add)


def coin(x, g):
    return 2.0 * torch.randint(0, 2, x.shape, generator=g) - 1


def coin_wrong(name, noise, message, seen="not seen in public yet"):
    """A wrong answer whose noise is wrong, and nothing else."""
    return Wrong(
        name, lambda x, beta, g: math.sqrt(1 - beta) * x + math.sqrt(beta) * noise(x, g).to(x.dtype), message, seen
    )


COIN_STEP = Exercise(
    id="5.6",
    name="coin_step",
    stub='''
def coin_step(x, beta, g):
    """A forward step whose noise is +1 or -1 on each axis."""
    ...  # your code
''',
    solution=coin_step,
    alternative=coin_step_by_signs,
    why=(
        "A coin of values +1 and -1 has mean 0 and variance 1, as normal noise has, so the two factors stay what "
        "they are.\n"
        "Its fourth moment is 1 and not 3. Many steps add many coins, and their sum is nearly normal: the end does "
        "not know\n"
        "of the coin. One jump would add one coin, and its result would have two humps."
    ),
    truth=coin_truth,
    cases=step_cases,
    view=step_numbers,
    hints=(
        "Nothing changes in the step but the noise. What has to have mean 0 and variance 1?",
        "`torch.randint(0, 2, x.shape, generator=g)` gives 0 or 1. How do you turn that into -1 or 1?",
        "One coin for each point and each axis: how many coins does a cloud of shape (100, 2) need?",
    ),
    wrong=(
        coin_wrong(
            "a coin of 0 and 1",
            lambda x, g: torch.randint(0, 2, x.shape, generator=g),
            "Your coin shows 0 or 1. Its mean is 1/2 and its variance 1/4, so the cloud drifts. It has to be -1 or 1.",
        ),
        coin_wrong(
            "a coin of -1/2 and 1/2",
            lambda x, g: coin(x, g) / 2,
            "Your coin shows -1/2 or 1/2. Its variance is 1/4, not 1, so the cloud shrinks.",
        ),
        coin_wrong(
            "a coin of -1 and 0",
            lambda x, g: torch.randint(-1, 1, x.shape, generator=g),
            "Your coin shows -1 or 0. `randint` leaves out its upper end.",
        ),
        coin_wrong(
            "-1, 0 or 1",
            lambda x, g: torch.randint(-1, 2, x.shape, generator=g),
            "Your noise is -1, 0 or 1. `randint(-1, 2)` knows three numbers, and a coin has two sides.",
        ),
        coin_wrong(
            "one coin for both axes",
            lambda x, g: coin(x[:, :1], g),
            "You toss one coin for each point and use it on all axes. So points move along the diagonal only. Toss "
            "one for "
            "each axis.",
        ),
        coin_wrong(
            "one coin for all points",
            lambda x, g: coin(x[:1], g),
            "You toss once and move all points alike. Toss a coin for each point.",
        ),
        coin_wrong(
            "one coin for everything",
            lambda x, g: coin(x[:1, :1], g),
            "You toss one single coin for all points and axes. Toss one for each.",
        ),
        coin_wrong(
            "the sign of torch.rand",
            lambda x, g: torch.sign(torch.rand(x.shape, generator=g)),
            "You take the sign of `torch.rand`, which is never negative. So your coin always shows +1.",
            "notebook 05, exercise 5.6",
        ),
        coin_wrong("normal noise", normal, "Your noise is still normal: its fourth moment is 3. Toss coins instead."),
        coin_wrong(
            "uniform noise",
            lambda x, g: math.sqrt(3) * (2 * flat(x, g) - 1),
            "Your noise is uniform: it takes all values between two ends. A coin takes the two ends only.",
        ),
        coin_wrong(
            "uniform noise from -1 to 1",
            lambda x, g: 2 * flat(x, g) - 1,
            "Your noise is uniform between -1 and 1. A coin is -1 or 1 and nothing in between. Its variance is 1, "
            "yours 1/3.",
        ),
        coin_wrong(
            "an unfair coin",
            lambda x, g: torch.where(torch.randn(x.shape, generator=g) > 0.5, 1.0, -1.0),
            "Your coin is not fair: it compares a normal number with 0.5. A normal number is above 0 half of the time.",
        ),
        Wrong(
            "beta for sqrt(beta)",
            lambda x, beta, g: math.sqrt(1 - beta) * x + beta * coin(x, g).to(x.dtype),
            "You multiply the coin by beta. But beta is a variance, and the factor before noise is a standard "
            "deviation.",
            "Y-debug-sys/Diffusion-TS#135",
        ),
        Wrong(
            "1 - beta for sqrt(1 - beta)",
            lambda x, beta, g: (1 - beta) * x + math.sqrt(beta) * coin(x, g).to(x.dtype),
            "You multiply x by 1 - beta. The factor of x needs a root, as in `forward_step`.",
            "ermongroup/CSDI#9",
        ),
        Wrong(
            "nothing shrinks",
            lambda x, beta, g: x + math.sqrt(beta) * coin(x, g).to(x.dtype),
            "You add the coin but keep all of x, so the variance grows at every step.",
            "notebook 05, section 1",
        ),
        Wrong(
            "no beta",
            lambda x, beta, g: math.sqrt(1 - beta) * x + coin(x, g).to(x.dtype),
            "You add the whole coin, without a factor. Its variance has to be beta.",
            "not seen in public yet",
        ),
    ),
)


# 5.7 p_value_of_eight


def p_value_of_eight(n, g):
    betas = torch.linspace(1e-4, 0.02, 50, dtype=torch.float64)
    alpha_bar = float((1 - betas).prod())
    x0, _ = data.eight_gaussians().sample(n, g)
    x = math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * torch.randn(n, 2, generator=g)
    return metrics.energy_test(x, torch.randn(n, 2, generator=g), generator=g)


def p_value_of_eight_by_steps(n, g):
    x, _ = data.eight_gaussians().sample(n, g)
    for beta in torch.linspace(1e-4, 0.02, 50).tolist():
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn(n, 2, generator=g)
    return metrics.energy_test(x, torch.randn(n, 2, generator=g), generator=g)


def p_truth(n, g):  # eight angles and a ring: the mixture is not asked, and the noise of both its widths is one
    left = math.exp(sum(math.log1p(-(1e-4 + 0.0199 * k / 49)) for k in range(50)))
    mixture = data.eight_gaussians()
    means, width = mixture.means.double(), float(mixture.covariances[0, 0, 0])
    which = torch.randint(0, 8, (n,), generator=g)
    std = math.sqrt(left * width + 1 - left)
    x = math.sqrt(left) * means[which] + std * torch.randn(n, 2, generator=g, dtype=torch.float64)
    return metrics.energy_test(x.float(), torch.randn(n, 2, generator=g), generator=g)


def p_numbers(out, n):
    possible = ((out >= 0) & (out <= 1)).all()
    return {
        "how often (0 or 1: never or sometimes) an answer is not between 0 and 1": (~possible)
        .double()
        .expand(len(out)),
        "the mean p-value": out,
        "the mean of (p - 1/2)²": (out - 0.5) ** 2,
        "the share of p-values that are 1/2 or 1": ((2 * out).frac() == 0).double(),
    }


def noisy_eight(n, g, keep=0.77661, std=0.62998):
    return keep * data.eight_gaussians().sample(n, g)[0] + std * torch.randn(n, 2, generator=g)


P_VALUE = Exercise(
    id="5.7",
    name="p_value_of_eight",
    stub='''
def p_value_of_eight(n, g):
    """The p-value of `metrics.energy_test` between n noisy points after 50 usual steps and n points of noise."""
    ...  # your code
''',
    solution=p_value_of_eight,
    alternative=p_value_of_eight_by_steps,
    why=(
        "The eight points are still there after fifty steps, but their mean, their variances and their third moments\n"
        "are those of noise. The first difference is in fourth moments, and the energy distance sees little of that.\n"
        "So with a hundred points almost every p-value is as likely as any other."
    ),
    truth=p_truth,
    cases=lambda g: (Case((120, RNG), "n = 120"),),
    view=p_numbers,
    limit="So few points cannot tell whether your betas are the usual ones: this exercise is about that.",
    calls=45,  # a p-value takes 5 ms: 200 permutations of 240 points
    hints=(
        "You need two clouds of n points: one from the chain, one of pure noise. Which function draws `eight`?",
        "Fifty usual steps are one jump, with the product of fifty numbers 1 - beta.",
        "`metrics.energy_test(x, y, generator=g)` returns the p-value. Its default is 200 permutations.",
    ),
    wrong=(
        Wrong(
            "too easy to see",
            lambda n, g: metrics.energy_test(
                data.eight_gaussians().sample(n, g)[0], torch.randn(n, 2, generator=g), generator=g
            ),
            "Your p-values are small: the test sees a difference that it cannot see after fifty usual steps. "
            "That happens where no step is taken, where the noise has beta in place of its root, where the chain does "
            "not shrink, and with other data than the eight Gaussians.",
            "not seen in public yet",
        ),
        Wrong(
            "one permutation",
            lambda n, g: metrics.energy_test(
                noisy_eight(n, g), torch.randn(n, 2, generator=g), generator=g, permutations=1
            ),
            "Your p-value is always 1/2 or 1: the test has tried one permutation only. Leave it at 200.",
            "notebook 05, exercise 5.7",
        ),
        Wrong(
            "compared with itself",
            lambda n, g: metrics.energy_test(x := noisy_eight(n, g), x, generator=g),
            "You compare a cloud with itself: p is always 1. The second cloud has to be pure noise.",
            "not seen in public yet",
        ),
        Wrong(
            "uniform noise",
            lambda n, g: metrics.energy_test(noisy_eight(n, g), torch.rand(n, 2, generator=g), generator=g),
            "Your second cloud is uniform from 0 to 1. The chain ends in the normal distribution: `torch.randn`.",
            "acids-ircam/diffusion_models#8",
        ),
    ),
)


# 5.8 composed


def composed(path, t, s, r):
    first, first_variance = path.transition(s, r)
    second, second_variance = path.transition(t, s)
    return second * first, second**2 * first_variance + second_variance


def composed_at_once(path, t, s, r):
    factor = path.alpha(t) / path.alpha(r)
    return factor, path.sigma(t) ** 2 - factor**2 * path.sigma(r) ** 2


def composed_truth(path, t, s, r):
    return path.transition(t, r)


def three_times(r, s, t):
    return [torch.tensor(value, dtype=torch.float64) for value in (t, s, r)]


def composed_cases(g):
    early = 0.05 + 0.2 * torch.rand(5, generator=g, dtype=torch.float64)
    return (
        Case(
            (schedules.rectified_flow(), *three_times(0.2, 0.4, 0.8)),
            "schedules.rectified_flow(), r = 0.2, s = 0.4 and t = 0.8",
        ),
        Case((schedules.cosine(), *three_times(0.1, 0.5, 0.7)), "schedules.cosine(), r = 0.1, s = 0.5 and t = 0.7"),
        Case((schedules.vp_linear(), 3 * early, 2 * early, early), "schedules.vp_linear() and five triples of times"),
    )


def both(path: GaussianPath, t: Tensor, s: Tensor, r: Tensor):
    """The two transitions: factor and variance of r -> s, and of s -> t."""
    return *path.transition(s, r), *path.transition(t, s)


def chained(first, second):
    """Two transitions one after the other, given as factor and variance."""
    return second[0] * first[0], second[0] ** 2 * first[1] + second[1]


def composed_wrong(name, formula, message, seen="not seen in public yet"):
    """A wrong answer made of the two right transitions: formula(a, v, b, w) of r -> s and s -> t."""
    return Wrong(name, lambda path, t, s, r: formula(*both(path, t, s, r)), message, seen)


COMPOSED = Exercise(
    id="5.8",
    name="composed",
    stub='''
def composed(path, t, s, r):
    """Factor and variance of the two transitions r -> s and s -> t, one after the other."""
    ...  # your code
''',
    solution=composed,
    alternative=composed_at_once,
    why=(
        "Put x_s = a x_r + noise of variance v into x_t = b x_s + noise of variance w. The factor of x_r is b a. The "
        "first\n"
        "noise is multiplied by b, so its variance by b²; then the second is added: b² v + w. That is the transition "
        "r -> t."
    ),
    truth=composed_truth,
    cases=composed_cases,
    parts=("the factor", "the variance"),
    hints=(
        "`path.transition(t, s)` returns the factor and the variance of s -> t: the later time comes first.",
        "Write x_s = a x_r + noise, and put it into x_t = b x_s + noise. What multiplies x_r?",
        "What does the second step do to the noise of the first, and so to its variance?",
    ),
    wrong=(
        composed_wrong(
            "variances just added",
            lambda a, v, b, w: (a * b, v + w),
            "You add the two variances as they are. But the second step also shrinks the noise of the first.",
        ),
        composed_wrong(
            "factor not squared",
            lambda a, v, b, w: (a * b, b * v + w),
            "You multiply the first variance by the factor of the second step. A factor multiplies a variance by its "
            "square.",
        ),
        composed_wrong(
            "factor of the first step",
            lambda a, v, b, w: (a * b, a**2 * v + w),
            "You shrink the first noise by the factor of its own step. It is the second step that shrinks it.",
        ),
        composed_wrong(
            "the second noise shrinks",
            lambda a, v, b, w: (a * b, v + a**2 * w),
            "You shrink the second noise and leave the first. The order is the other way round: the noise that comes "
            "first is "
            "shrunk by the step that comes after it.",
        ),
        composed_wrong(
            "the second noise shrinks by its own factor",
            lambda a, v, b, w: (a * b, v + b**2 * w),
            "You shrink the second noise and leave the first. The noise that comes first is shrunk by the later step.",
        ),
        composed_wrong(
            "both noises shrink",
            lambda a, v, b, w: (a * b, b**2 * (v + w)),
            "You shrink both noises. The second one is added after the shrinking, so it stays as it is.",
        ),
        composed_wrong(
            "variances multiplied",
            lambda a, v, b, w: (a * b, v * w),
            "You multiply the variances. Factors multiply; variances of independent noises add up.",
        ),
        composed_wrong(
            "factors added",
            lambda a, v, b, w: (a + b, b**2 * v + w),
            "You add the factors. One step after the other multiplies them.",
        ),
        composed_wrong(
            "a standard deviation",
            lambda a, v, b, w: (a * b, (b**2 * v + w).sqrt()),
            "Your second number is the standard deviation. Asked for is the variance, its square.",
        ),
        composed_wrong(
            "standard deviations added",
            lambda a, v, b, w: (a * b, (b * v.sqrt() + w.sqrt()) ** 2),
            "You add standard deviations. For independent noises the variances add up.",
        ),
        composed_wrong(
            "the squared factor",
            lambda a, v, b, w: ((a * b) ** 2, b**2 * v + w),
            "Your first number is the square of the factor, which multiplies variances. Asked for is the factor "
            "itself.",
        ),
        composed_wrong(
            "only the second step",
            lambda a, v, b, w: (b, w),
            "You return the transition s -> t alone. The step r -> s is missing.",
        ),
        composed_wrong(
            "only the first step",
            lambda a, v, b, w: (a, v),
            "You return the transition r -> s alone. The step s -> t is missing.",
        ),
        composed_wrong(
            "the two numbers exchanged",
            lambda a, v, b, w: (b**2 * v + w, a * b),
            "Factor and variance are exchanged: the factor comes first.",
        ),
        Wrong(
            "1 minus the squared factor",
            lambda path, t, s, r: (path.alpha(t) / path.alpha(r), 1 - (path.alpha(t) / path.alpha(r)) ** 2),
            "You return 1 minus the squared factor as the variance. That holds only on paths with alpha² + sigma² = "
            "1, and not "
            "every path is one.",
            "not seen in public yet",
        ),
        Wrong(
            "the ratio upside down",
            lambda path, t, s, r: (path.alpha(r) / path.alpha(t), path.transition(t, r)[1]),
            "Your factor is above 1: the ratio of the alphas is upside down. Later over earlier is what shrinks.",
            "lucidrains/denoising-diffusion-pytorch#173",
        ),
        Wrong(
            "times exchanged",
            lambda path, t, s, r: chained(path.transition(r, s), path.transition(s, t)),
            "You call the transitions with the times exchanged. The later time comes first: `path.transition(t, s)` is "
            "s -> t.",
            "not seen in public yet",
        ),
        Wrong(
            "variances of the path",
            lambda path, t, s, r: (path.alpha(t) / path.alpha(r), path.sigma(t) ** 2 - path.sigma(r) ** 2),
            "You subtract the variance at r as it is. It was shrunk on the way, so it counts with the squared factor.",
            "not seen in public yet",
        ),
    ),
)


# 5.9 cauchy


def cauchy(n, g):
    return torch.randn(n, 1, generator=g) / torch.randn(n, 1, generator=g)


def cauchy_by_an_angle(n, g):
    return torch.tan(math.pi * (torch.rand(n, 1, generator=g) - 0.5))


def cauchy_truth(n, g):
    return torch.empty(n, 1, dtype=torch.float32).cauchy_(generator=g)


def cauchy_numbers(out, n):
    size, beyond = out.abs(), (out.abs() > 1).double()
    numbers = {
        "the share of positive numbers": out > 0,
        "the share between -1 and 1": size < 1,
        "the share between -0.2 and 0.2": size < 0.2,
        "the share beyond 6": size > 6,
        "the share beyond 50": size > 50,
        "the share of neighbours of which one is beyond 1 and the other is not": (beyond[:, :-1] - beyond[:, 1:]) ** 2,
    }
    return {name: value.double().flatten(1).mean(dim=1) for name, value in numbers.items()}


def uniform(n, g):
    return torch.rand(n, 1, generator=g)


def gauss(n, g):
    return torch.randn(n, 1, generator=g)


CAUCHY = Exercise(
    id="5.9",
    name="cauchy",
    stub='''
def cauchy(n, g):
    """n draws of Cauchy's distribution, (n, 1), float32."""
    ...  # your code
''',
    solution=cauchy,
    alternative=cauchy_by_an_angle,
    why=(
        "Two normal numbers are a point that lies in every direction equally often. Their ratio is the cotangent of "
        "its\n"
        "angle, and that has Cauchy's density, 1 / (pi (1 + x²)). Half of all draws lie beyond 1, and one in ten "
        "beyond 6: so\n"
        "heavy a tail has no mean and no variance."
    ),
    truth=cauchy_truth,
    cases=lambda g: (Case((POINTS, RNG), f"n = {POINTS}"),),
    view=cauchy_numbers,
    hints=(
        "Draw two normal numbers for each draw. What do you do with them?",
        "The ratio can be as large as you like, because the number below the line can be near 0.",
        "Each draw needs a number of its own above and below the line: two tensors of shape (n, 1).",
    ),
    wrong=(
        Wrong(
            "a product",
            lambda n, g: gauss(n, g) * gauss(n, g),
            "You multiply the two normal numbers. The tail of a product is far too light: divide.",
            "not seen in public yet",
        ),
        Wrong(
            "normal numbers",
            gauss,
            "You return normal numbers. Almost none of them lies beyond 4; of Cauchy's, one in six does.",
            "not seen in public yet",
        ),
        Wrong(
            "an angle without pi",
            lambda n, g: torch.tan(uniform(n, g) - 0.5),
            "Your angles run from -1/2 to 1/2, in radians. They have to run over a half turn: pi is missing.",
            "not seen in public yet",
        ),
        Wrong(
            "angles from 0 to 1",
            lambda n, g: torch.tan(uniform(n, g)),
            "You take the tangent of numbers from 0 to 1. They have to be angles that run over a half turn.",
            "not seen in public yet",
        ),
        Wrong(
            "a ratio of uniform numbers",
            lambda n, g: uniform(n, g) / (1 - uniform(n, g)),
            "You divide uniform numbers, as `torch.rand` draws them: no result is negative. Divide normal numbers.",
            "acids-ircam/diffusion_models#8",
        ),
        Wrong(
            "a ratio of centred uniform numbers",
            lambda n, g: (uniform(n, g) - 0.5) / (uniform(n, g) - 0.4999999),
            "You divide uniform numbers. Too few of the results are large and too many lie near 1: divide normal "
            "numbers.",
            "not seen in public yet",
        ),
        Wrong(
            "no negative numbers",
            lambda n, g: (gauss(n, g) / gauss(n, g)).abs(),
            "None of your numbers is negative, and half of them should be. An absolute value does that, and so do "
            "angles "
            "of a quarter turn only.",
            "not seen in public yet",
        ),
        Wrong(
            "the root of a mean of two squares below",
            lambda n, g: gauss(n, g) / (gauss(n, g) ** 2 + gauss(n, g) ** 2).mul(0.5).sqrt(),
            "You divide by the root of a mean of two squares. That is Student's distribution with two degrees of "
            "freedom, and "
            "its tail is lighter. Cauchy's has one.",
            "notebook 01, exercise 1.6",
        ),
        Wrong(
            "no root below the line",
            lambda n, g: gauss(n, g) / gauss(n, g) ** 2,
            "You divide by the square of a normal number. Divide by the number itself.",
            "notebook 01, exercise 1.6",
        ),
        Wrong(
            "one number below for all",
            lambda n, g: gauss(n, g) / gauss(1, g),
            "You divide all draws by one and the same number. Then they are all large or all small together.",
            "notebook 01, exercise 1.6",
        ),
        Wrong(
            "clamped",
            lambda n, g: (gauss(n, g) / gauss(n, g)).clamp(-6, 6),
            "You cut off what lies beyond 6. The tail is what this exercise is about: leave it.",
            "notebook 05, exercise 5.9",
        ),
        Wrong(
            "kept away from 0",
            lambda n, g: gauss(n, g) / gauss(n, g).abs().clamp(min=0.1),
            "You keep the number below the line away from 0. That cuts off the tail.",
            "not seen in public yet",
        ),
        Wrong(
            "the logistic distribution",
            lambda n, g: torch.logit(uniform(n, g), eps=1e-7),
            "You draw from the logistic distribution. Its tail falls exponentially, Cauchy's as 1 / x².",
            "not seen in public yet",
        ),
    ),
)

EXERCISES = (FORWARD_STEP, JUMP, BETAS_FOR, COSINE, CONSTANT_BETA, COIN_STEP, P_VALUE, COMPOSED, CAUCHY)
assert all(a.id < b.id for a, b in pairwise(EXERCISES))
