"""The exercises of notebook 07, learning to denoise: 7.1 to 7.4 in its flow, 7.5 to 7.12 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from minidiff import data, denoisers, exact, generator, metrics, networks, samplers, schedules, targets, training
from minidiff.checks.records import RNG, Case, Exercise, Explanation, Question, Wrong, WrongValue
from minidiff.paths import GaussianPath

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Learning to denoise"
UNSEEN = "not seen in public yet"


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# 7.1 denoising_loss


def denoising_loss(net, path, x0, t, eps):
    x_t = path.perturb(x0, t, eps)
    return ((net(x_t, path.log_snr(t)) - eps) ** 2).mean()


def denoising_loss_by_hand(net, path, x0, t, eps):
    x_t = path.alpha(t)[:, None] * x0 + path.sigma(t)[:, None] * eps
    return torch.nn.functional.mse_loss(net(x_t, path.log_snr(t)), eps)


def loss_truth(net, path, x0, t, eps):
    return training.denoising_loss(net, path, x0, t, eps, kind="eps").sum() / len(x0)


def odd_net(x, log_snr):
    """A fixed function in place of a network. No two of its inputs or outputs can be exchanged unnoticed."""
    level = 0.1 * log_snr[:, None]
    return torch.tanh(0.7 * x + 0.4 * x.flip(1) + level) + 0.2 * level


def loss_cases(g):
    small = double(0.3, 0.8)
    points = torch.stack([double(1.5, -0.5), double(-1.0, 2.0)])
    noise = torch.stack([double(0.4, -1.2), double(0.9, 0.3)])
    many = 0.05 + 0.9 * torch.rand(7, generator=g, dtype=torch.float64)
    x0 = 1.5 + torch.randn(7, 3, generator=g, dtype=torch.float64)
    eps = torch.randn(7, 3, generator=g, dtype=torch.float64)
    return (
        Case((odd_net, schedules.cosine(), points, small, noise), "two points at the times 0.3 and 0.8"),
        Case((odd_net, schedules.vp_linear(), x0, many, eps), "seven points with three coordinates, at seven times"),
    )


def loss_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the right parts: formula(out, eps, x0, sigma)."""

    def answer(net, path, x0, t, eps):
        out = net(path.perturb(x0, t, eps), path.log_snr(t))
        return formula(out, eps, x0, path.sigma(t)[:, None])

    return Wrong(name, answer, message, seen)


def loss_seeing(name: str, seeing: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer whose network sees something else: seeing(path, x0, t, eps) are its two inputs."""

    def answer(net, path, x0, t, eps):
        return ((net(*seeing(path, x0, t, eps)) - eps) ** 2).mean()

    return Wrong(name, answer, message, seen)


DENOISING_LOSS = Exercise(
    id="7.1",
    name="denoising_loss",
    stub='''
def denoising_loss(net, path, x0, t, eps):
    """The mean square error of the predicted noise, one number. x0, eps: (B, d); t: (B,), a time for each point."""
    ...  # your code
''',
    solution=denoising_loss,
    alternative=denoising_loss_by_hand,
    why=(
        "The network sees the noisy point and its noise level, and nothing else. Its target is the noise of unit\n"
        "variance. The mean runs over all B times d numbers, so the loss of the constant answer 0 is 1 in "
        "any dimension."
    ),
    truth=loss_truth,
    cases=loss_cases,
    hints=(
        "`path.perturb(x0, t, eps)` makes the noisy points. What else does the network get to see?",
        "The second input of the network is `path.log_snr(t)`, which says how noisy each point is.",
        "Subtract eps from what the network returns, square, and take the mean over everything.",
    ),
    wrong=(
        loss_wrong(
            "a sum",
            lambda out, eps, x0, sigma: ((out - eps) ** 2).sum(),
            "You add up the squares. Take their mean, so that the loss, and with it the size of a training step, does "
            "not depend on the size of the batch.",
            UNSEEN,
        ),
        loss_wrong(
            "a sum over the coordinates",
            lambda out, eps, x0, sigma: ((out - eps) ** 2).sum(dim=1).mean(),
            "You add up the squares of a point's coordinates and take the mean over the points only. Here the mean "
            "runs over all numbers, so that losses in different dimensions can be compared.",
        ),
        loss_wrong(
            "a root",
            lambda out, eps, x0, sigma: ((out - eps) ** 2).mean().sqrt(),
            "You take the root of the mean square. The loss is the mean square itself: its gradient is what makes the "
            "network learn a mean at every noise level.",
        ),
        loss_wrong(
            "absolute values",
            lambda out, eps, x0, sigma: (out - eps).abs().mean(),
            "You take absolute values in place of squares. What minimises those is a median and not a mean (exercise "
            "7.12).",
            UNSEEN,
        ),
        loss_wrong(
            "no square",
            lambda out, eps, x0, sigma: (out - eps).mean(),
            "The square is missing. Errors of opposite sign cancel, and the loss can fall without any limit.",
        ),
        loss_wrong(
            "scaled noise as the target",
            lambda out, eps, x0, sigma: ((out - sigma * eps) ** 2).mean(),
            "Your target is sigma times eps, the noise as it was added. The target is eps, of unit variance at every "
            "time.",
            "tqch/ddpm-torch#2",
        ),
        loss_wrong(
            "the data as the target",
            lambda out, eps, x0, sigma: ((out - x0) ** 2).mean(),
            "Your target is x0. That is another kind of network, which section 9 comes to. This one predicts the "
            "noise.",
        ),
        loss_seeing(
            "the network sees t",
            lambda path, x0, t, eps: (path.perturb(x0, t, eps), t),
            "You give the network the time t. The networks of this course are given the noise level as "
            "`path.log_snr(t)`.",
        ),
        loss_seeing(
            "the network sees clean data",
            lambda path, x0, t, eps: (x0, path.log_snr(t)),
            "You give the network the clean points. It has to find the noise in the noisy ones, "
            "`path.perturb(x0, t, eps)`.",
        ),
        loss_seeing(
            "one time for the whole batch",
            lambda path, x0, t, eps: (path.perturb(x0, t[:1].expand_as(t), eps), path.log_snr(t[:1].expand_as(t))),
            "You use the first time for all points. Each point has a time of its own, or a batch teaches one noise "
            "level only.",
            "the catalogue: one t for the batch",
        ),
        loss_seeing(
            "sigma for its square",
            lambda path, x0, t, eps: (
                path.alpha(t)[:, None] * x0 + path.sigma(t)[:, None] ** 2 * eps,
                path.log_snr(t),
            ),
            "You multiply the noise by sigma², its variance. Noise is multiplied by its standard deviation, sigma.",
        ),
        loss_seeing(
            "coefficients exchanged",
            lambda path, x0, t, eps: (path.perturb(eps, t, x0), path.log_snr(t)),
            "x0 and eps are exchanged in the noisy point: alpha belongs to x0, and sigma to eps.",
            "VinAIResearch/LFM#19",
        ),
        loss_seeing(
            "coefficients along the wrong axis",
            lambda path, x0, t, eps: (path.alpha(t) * x0 + path.sigma(t) * eps, path.log_snr(t)),
            "You multiply a table of B points by B numbers without saying along which axis. PyTorch lines them up with "
            "the coordinates: for two points in the plane that runs and is wrong, else it fails. Write "
            "`alpha[:, None] * x0`, or call `path.perturb`.",
            "jolibrain/joliGEN#527, IrisRainbowNeko/HCP-Diffusion#82",
        ),
    ),
    limit="(The check compares numbers only. For training, the loss must also carry its gradient: no "
    "`.item()` inside.)",
)


# 7.2 train


def train(net, batches, loss, lr):
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    losses = []
    for x0, t, eps in batches:
        value = loss(net, x0, t, eps)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return torch.tensor(losses)


def train_zeroing_first(net, batches, loss, lr):
    adam, values = torch.optim.Adam(net.parameters(), lr), []
    for batch in batches:
        net.zero_grad()
        values.append(loss(net, *batch))
        values[-1].backward()
        adam.step()
    return torch.stack(values).detach()


def train_truth(net, batches, loss, lr):  # Adam by hand: Kingma & Ba 2015, algorithm 1
    weights = list(net.parameters())
    means, squares, out = [0.0] * len(weights), [0.0] * len(weights), []
    for count, (x0, t, eps) in enumerate(batches, start=1):
        now = loss(net, x0, t, eps)
        out.append(now.item())
        for i, slope in enumerate(torch.autograd.grad(now, weights)):
            means[i] = 0.9 * means[i] + 0.1 * slope
            squares[i] = 0.999 * squares[i] + 0.001 * slope**2
            mean, square = means[i] / (1 - 0.9**count), squares[i] / (1 - 0.999**count)
            with torch.no_grad():
                weights[i].sub_(lr * mean / (square.sqrt() + 1e-8))
    return torch.tensor(out)


class Batches(list):
    """Batches for a network that begins anew each time they are gone through, so that a check can call an answer again.

    Otherwise the second call would train on, and no two calls would give the same numbers.
    """

    def __init__(self, net: nn.Module, batches: list) -> None:
        super().__init__(batches)
        self.net, self.start = net, [weight.detach().clone() for weight in net.parameters()]

    def __iter__(self) -> Iterator:
        self.begin()
        return super().__iter__()

    def __getitem__(self, place: int) -> tuple:
        if place == 0:
            self.begin()
        return super().__getitem__(place)

    @torch.no_grad()
    def begin(self) -> None:
        for weight, start in zip(self.net.parameters(), self.start, strict=True):
            weight.copy_(start)
            weight.grad = None


def line_loss(net: nn.Module, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The square error of a line that predicts the noise. Its arguments have the shape (B, 1)."""
    return ((net((1 - t) * x0 + t * eps) - eps) ** 2).mean()


def line_and_batches(g: torch.Generator, steps: int, start: tuple[float, float]) -> tuple[nn.Module, Batches]:
    with torch.random.fork_rng(devices=[]):
        net = nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(start[0])
        net.bias.fill_(start[1])
    batches = []
    for _ in range(steps):
        x0, eps = (torch.randn(8, 1, generator=g) for _ in range(2))
        batches.append((2 + x0, 0.2 + 0.6 * torch.rand(8, 1, generator=g), eps))
    return net, Batches(net, batches)


def train_cases(g):
    plain, few = line_and_batches(g, 3, (0.5, -0.5))
    other, more = line_and_batches(g, 8, (-0.4, 0.6))
    return (
        Case((plain, few, line_loss, 0.1), "a line with two weights, 3 batches and lr = 0.1"),
        Case((other, more, line_loss, 0.05), "a line with two weights, 8 batches and lr = 0.05"),
    )


def a_loop(net, batches, loss, optimizer, order) -> Tensor:
    """The loop with another order of its steps: order(optimizer, value) does them all."""
    losses = []
    for batch in batches:
        value = loss(net, *batch)
        order(optimizer, value)
        losses.append(value.item())
    return torch.tensor(losses)


def without_zeroing(optimizer, value):
    value.backward()
    optimizer.step()


def too_early(optimizer, value):
    optimizer.step()
    optimizer.zero_grad()
    value.backward()


def usual(optimizer, value):
    optimizer.zero_grad()
    value.backward()
    optimizer.step()


def new_optimizer_each_step(net, batches, loss, lr):
    losses = []
    for batch in batches:
        value = loss(net, *batch)
        usual(torch.optim.Adam(net.parameters(), lr=lr), value)
        losses.append(value.item())
    return torch.tensor(losses)


def the_same_batch(net, batches, loss, lr):
    first = batches[0]
    return a_loop(net, [first] * len(batches), loss, torch.optim.Adam(net.parameters(), lr=lr), usual)


def loss_after_the_step(net, batches, loss, lr):
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=lr), []
    for batch in batches:
        usual(optimizer, loss(net, *batch))
        losses.append(loss(net, *batch).item())
    return torch.tensor(losses)


def never_learns(net, batches, loss, lr):
    return torch.tensor([loss(net, *batch).item() for batch in batches])


def train_wrong(name: str, order: Callable, message: str, seen: str = UNSEEN, make=torch.optim.Adam) -> Wrong:
    def answer(net, batches, loss, lr):
        return a_loop(net, batches, loss, make(net.parameters(), lr=lr), order)

    return Wrong(name, answer, message, seen)


TRAIN = Exercise(
    id="7.2",
    name="train",
    stub='''
def train(net, batches, loss, lr):
    """Train net with Adam at the learning rate lr, one step a batch. Returns each step's loss, a tensor (steps,)."""
    ...  # your code
''',
    solution=train,
    alternative=train_zeroing_first,
    why=(
        "PyTorch adds each new gradient to the one that is there, so the old one has to go before `backward`. Then\n"
        "`backward` computes the gradient of this batch, and `step` uses it. The optimizer is made once, because Adam\n"
        "remembers the gradients of earlier steps. `item` keeps the number and lets the graph behind it go."
    ),
    truth=train_truth,
    cases=train_cases,
    hints=(
        "Make the optimizer once, before the loop. The text above the exercise shows the line.",
        "The loop is `for x0, t, eps in batches:`. The first line in it is `value = loss(net, x0, t, eps)`.",
        "Three calls follow, in this order: `optimizer.zero_grad()`, `value.backward()`, `optimizer.step()`.",
        "Collect `value.item()` in a list, and return `torch.tensor(losses)`.",
    ),
    wrong=(
        Wrong(
            "never learns",
            never_learns,
            "All your losses are those of the untrained network, so its weights never change. Either `backward` or "
            "`step` is missing, or `zero_grad` stands between the two and wipes the gradient out before it is used.",
            UNSEEN,
        ),
        train_wrong(
            "no zero_grad",
            without_zeroing,
            "The gradients pile up: PyTorch adds each new one to the sum of all before. `optimizer.zero_grad()` has to "
            "come before `backward`, in every step.",
            UNSEEN,
        ),
        train_wrong(
            "a step before its gradient",
            too_early,
            "You call `step` before `backward`, so every step uses the gradient of the batch before, and the first one "
            "has none. The order is `zero_grad`, `backward`, `step`.",
            UNSEEN,
        ),
        Wrong(
            "a new optimizer each step",
            new_optimizer_each_step,
            "You make a new optimizer in every step. Adam averages over the gradients of earlier steps, and a new one "
            "knows of none. Make it once, before the loop.",
            UNSEEN,
        ),
        Wrong(
            "the same batch each step",
            the_same_batch,
            "You train on the first batch again and again. The network then learns these few noises by heart. Each "
            "step needs its own batch.",
            UNSEEN,
        ),
        Wrong(
            "the loss after the step",
            loss_after_the_step,
            "You compute the loss a second time, after the step, and record that. It flatters the network, which has "
            "just been fitted to this very batch. Record the loss that you took the gradient of.",
            UNSEEN,
        ),
        train_wrong(
            "gradient descent for Adam",
            usual,
            "Your steps are those of plain gradient descent, `torch.optim.SGD`. Asked for is Adam, which divides each "
            "gradient by its usual size.",
            UNSEEN,
            torch.optim.SGD,
        ),
        Wrong(
            "the learning rate is not used",
            lambda net, batches, loss, lr: a_loop(net, batches, loss, torch.optim.Adam(net.parameters()), usual),
            "You do not hand lr to the optimizer, so Adam uses a learning rate of its own, 0.001. Write `lr=lr`.",
            UNSEEN,
        ),
        train_wrong(
            "uphill",
            lambda optimizer, value: usual(optimizer, -value),
            "Your steps make the loss grow: a sign is turned around. The optimizer already walks downhill, against the "
            "gradient.",
        ),
        Wrong(
            "running totals",
            lambda net, batches, loss, lr: train_truth(net, batches, loss, lr).cumsum(dim=0),
            "You return running totals: each entry is the sum of all losses so far. Asked for is each step's own loss.",
            UNSEEN,
        ),
    ),
)


# 7.3 gaussian_kl


def gaussian_kl(mean_q, variance_q, mean_p, variance_p):
    ratio = variance_q / variance_p
    spread = 0.5 * mean_q.shape[1] * (ratio - 1 - ratio.log())
    return spread + ((mean_q - mean_p) ** 2).sum(dim=1) / (2 * variance_p)


def gaussian_kl_per_coordinate(mean_q, variance_q, mean_p, variance_p):
    each = (variance_q + (mean_q - mean_p) ** 2) / variance_p - 1 + torch.log(variance_p) - torch.log(variance_q)
    return each.sum(dim=1) / 2


def kl_truth(mean_q, variance_q, mean_p, variance_p):
    q, p = (torch.distributions.Normal(m, v.sqrt()) for m, v in ((mean_q, variance_q), (mean_p, variance_p)))
    return torch.distributions.kl_divergence(q, p).sum(-1)


def kl_cases(g):
    one, other = double(1.0)[:, None], double(3.0)[:, None]
    q, p = (torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2))
    wide = 1.5 + torch.rand((), generator=g, dtype=torch.float64)
    return (
        Case((one, double(0.5)[0], other, double(2.0)[0]), "q = N(1, 0.5) and p = N(3, 2) in one dimension"),
        Case((q, wide, p, double(0.6)[0]), f"five means in three dimensions, with variances {float(wide):.3g} and 0.6"),
    )


def kl_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the right parts: formula(ratio, squares, v_q, v_p, d), where squares is (n,)."""

    def answer(mean_q, variance_q, mean_p, variance_p):
        squares, d = ((mean_q - mean_p) ** 2).sum(dim=1), mean_q.shape[1]
        return formula(variance_q / variance_p, squares, variance_q, variance_p, d)

    return Wrong(name, answer, message, seen)


GAUSSIAN_KL = Exercise(
    id="7.3",
    name="gaussian_kl",
    stub='''
def gaussian_kl(mean_q, variance_q, mean_p, variance_p):
    """KL(q || p) in nats, (n,), of n pairs of Gaussians. Means: (n, d); variances: tensors of one number each."""
    ...  # your code
''',
    solution=gaussian_kl,
    alternative=gaussian_kl_per_coordinate,
    why=(
        "Every coordinate costs the same for the variances, hence d times a half of the bracket. The means cost their\n"
        "squared distance over twice the variance of p, because the logarithm of p is what is averaged."
    ),
    truth=kl_truth,
    cases=kl_cases,
    hints=(
        "Equation (1) has two parts: one for the variances, which is the same for all n pairs, and one for the means.",
        "The first part is 0.5 * d * (ratio - 1 - ln ratio), with ratio = variance_q / variance_p and d = "
        "mean_q.shape[1].",
        "The second part is the squared distance of the means, summed over dim=1, divided by 2 * variance_p.",
    ),
    wrong=(
        kl_wrong(
            "no half",
            lambda r, squares, v_q, v_p, d: d * (r - 1 - r.log()) + squares / v_p,
            "The factor 1/2 is missing in front of both parts.",
            "google-deepmind/torch-distributions#34",
        ),
        kl_wrong(
            "no half before the means",
            lambda r, squares, v_q, v_p, d: d / 2 * (r - 1 - r.log()) + squares / v_p,
            "The part of the variances is right. The part of the means lacks its factor 1/2.",
        ),
        kl_wrong(
            "q and p exchanged",
            lambda r, squares, v_q, v_p, d: d / 2 * (1 / r - 1 + r.log()) + squares / (2 * v_q),
            "You return KL(p || q), which is another number. In KL(q || p) the mean is over q, and p stands below the "
            "line.",
            "openai/spinningup#192",
        ),
        kl_wrong(
            "the sign of the logarithm",
            lambda r, squares, v_q, v_p, d: d / 2 * (r - 1 + r.log()) + squares / (2 * v_p),
            "The logarithm has the wrong sign. The bracket is 0 and smallest where the variances are equal.",
            "FluxML/model-zoo#147",
        ),
        kl_wrong(
            "plus 1",
            lambda r, squares, v_q, v_p, d: d / 2 * (r + 1 - r.log()) + squares / (2 * v_p),
            "You add 1 in the bracket where it is subtracted. The divergence of a Gaussian from itself has to be 0.",
            "probml/pml2-book#297",
        ),
        kl_wrong(
            "the dimension is missing",
            lambda r, squares, v_q, v_p, d: (r - 1 - r.log()) / 2 + squares / (2 * v_p),
            "The part of the variances counts once for each coordinate. The factor d is missing.",
            "ericjang/draw#2",
        ),
        kl_wrong(
            "a mean over the coordinates",
            lambda r, squares, v_q, v_p, d: ((r - 1 - r.log()) + squares / d / v_p) / 2,
            "You take the mean over the coordinates. The divergences of independent coordinates add up.",
        ),
        kl_wrong(
            "only the means",
            lambda r, squares, v_q, v_p, d: squares / (2 * v_p),
            "You leave out the part of the variances. It is 0 only if they are equal.",
        ),
        kl_wrong(
            "over the variance of q",
            lambda r, squares, v_q, v_p, d: d / 2 * (r - 1 - r.log()) + squares / (2 * v_q),
            "You divide the distance of the means by the variance of q. It is that of p, whose logarithm is averaged.",
        ),
        kl_wrong(
            "variances taken for standard deviations",
            lambda r, squares, v_q, v_p, d: d / 2 * (r**2 - 1 - 2 * r.log()) + squares / (2 * v_p**2),
            "You square the variances, as one does with standard deviations. These are variances already.",
        ),
        kl_wrong(
            "the distance is not squared",
            lambda r, squares, v_q, v_p, d: d / 2 * (r - 1 - r.log()) + squares.sqrt() / (2 * v_p),
            "You take the distance of the means. It has to be squared.",
        ),
    ),
)


# 7.4 x0_from


def x0_from(kind, out, x_t, alpha, sigma):
    if kind == "x0":
        return out
    if kind == "eps":
        return (x_t - sigma * out) / alpha
    if kind == "score":
        return (x_t + sigma**2 * out) / alpha
    return alpha * x_t - sigma * out  # v


def x0_from_a_table(kind, out, x_t, alpha, sigma):
    of_x_t, of_out = {
        "x0": (0, 1),
        "eps": (1 / alpha, -sigma / alpha),
        "score": (1 / alpha, sigma**2 / alpha),
        "v": (alpha, -sigma),
    }[kind]
    return of_x_t * x_t + of_out * out


def x0_truth(kind, out, x_t, alpha, sigma):
    fixed = GaussianPath(lambda t: torch.full_like(t, alpha), lambda t: torch.full_like(t, sigma))
    return targets.solve(kind, fixed, out, x_t, double(0.5)[0]).x0


def x0_cases(g):
    angle = 0.3 + 0.4 * float(torch.rand((), generator=g))  # alpha and sigma differ, and their squares add up to 1
    alpha, sigma = math.cos(angle), math.sin(angle)
    out, x_t = (0.5 + torch.randn(4, 2, generator=g, dtype=torch.float64) for _ in range(2))
    plain = (double(2.0)[:, None], double(1.0)[:, None], 0.8, 0.6)
    return (
        Case(("x0", *plain), 'kind = "x0", out = 2, x_t = 1, alpha = 0.8 and sigma = 0.6'),
        Case(("eps", *plain), 'kind = "eps", out = 2, x_t = 1, alpha = 0.8 and sigma = 0.6'),
        Case(("score", *plain), 'kind = "score", out = 2, x_t = 1, alpha = 0.8 and sigma = 0.6'),
        Case(("v", *plain), 'kind = "v", out = 2, x_t = 1, alpha = 0.8 and sigma = 0.6'),
        *(
            Case((kind, out, x_t, alpha, sigma), f'kind = "{kind}", four points and alpha = {alpha:.3f}')
            for kind in ("eps", "score", "v")
        ),
    )


def x0_wrong(name: str, wrong: dict[str, Callable], message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer that is right but for some kinds: wrong[kind](out, x_t, alpha, sigma)."""

    def answer(kind, out, x_t, alpha, sigma):
        if kind in wrong:
            return wrong[kind](out, x_t, alpha, sigma)
        return x0_from(kind, out, x_t, alpha, sigma)

    return Wrong(name, answer, message, seen)


X0_FROM = Exercise(
    id="7.4",
    name="x0_from",
    stub='''
def x0_from(kind, out, x_t, alpha, sigma):
    """x0 from what a network predicts, `out`: "x0", "eps", "score" or "v". alpha, sigma: numbers. x_t, out: (B, d)."""
    ...  # your code
''',
    solution=x0_from,
    alternative=x0_from_a_table,
    why=(
        "Each line solves x_t = alpha x0 + sigma eps together with what is predicted. For v, alpha x_t - sigma v is\n"
        "(alpha² + sigma²) x0, and that is x0 without any division."
    ),
    truth=x0_truth,
    cases=x0_cases,
    hints=(
        'For "eps", solve x_t = alpha x0 + sigma eps for x0.',
        'The score is -eps / sigma. Turn it into eps first, then do as for "eps".',
        'For "v", multiply out alpha x_t - sigma v, with v = alpha eps - sigma x0, and use alpha² + sigma² = 1.',
    ),
    wrong=(
        x0_wrong(
            "brackets",
            {"eps": lambda out, x, a, s: x - s * out / a},
            'For "eps" you divide only the noise by alpha. The whole difference has to be divided: brackets are '
            "missing.",
            "w86763777/pytorch-ddpm#8",
        ),
        x0_wrong(
            "eps is not divided by alpha",
            {"eps": lambda out, x, a, s: x - s * out},
            'For "eps" you return alpha x0: the division by alpha is missing.',
        ),
        x0_wrong(
            "the sign of eps",
            {"eps": lambda out, x, a, s: (x + s * out) / a},
            'For "eps" you add the noise. It was added when x_t was made, so it has to be subtracted.',
        ),
        x0_wrong(
            "a variance for a standard deviation",
            {"eps": lambda out, x, a, s: (x - s**2 * out) / a},
            'For "eps" you multiply the noise by sigma². A root is missing: in x_t it stands with sigma.',
            "jcwang-gh/classifier-free-diffusion-guidance-Pytorch#12",
        ),
        x0_wrong(
            "alpha squared",
            {"eps": lambda out, x, a, s: (x - s * out) / a**2},
            'For "eps" you divide by alpha². A root is missing: in x_t the data stand with alpha.',
            "jcwang-gh/classifier-free-diffusion-guidance-Pytorch#12",
        ),
        x0_wrong(
            "alpha and sigma exchanged",
            {"eps": lambda out, x, a, s: (x - a * out) / s},
            'For "eps", alpha and sigma are exchanged: alpha belongs to x0.',
        ),
        x0_wrong(
            "the sign of v",
            {"v": lambda out, x, a, s: a * x + s * out},
            'For "v" a sign is turned around: v = alpha eps - sigma x0, so it enters x0 with a minus.',
            "huggingface/diffusers#1421",
        ),
        x0_wrong(
            "eps in place of x0, from v",
            {"v": lambda out, x, a, s: s * x + a * out},
            'For "v" you return sigma x_t + alpha v, which is the noise and not the data.',
        ),
        x0_wrong(
            "v taken for eps",
            {"v": lambda out, x, a, s: (x - s * out) / a},
            'For "v" you do what is right for "eps". But v is a mixture of noise and data.',
        ),
        x0_wrong(
            "v solved without the second equation",
            {"v": lambda out, x, a, s: a * x / s - out},
            'For "v" you return x0 / sigma: multiply the whole by sigma.',
        ),
        x0_wrong(
            "the sign of the score",
            {"score": lambda out, x, a, s: (x - s**2 * out) / a},
            'For "score" a sign is turned around: the score is -eps / sigma, so it is added. It points towards the '
            "data.",
        ),
        x0_wrong(
            "the score with sigma",
            {"score": lambda out, x, a, s: (x + s * out) / a},
            'For "score" you multiply by sigma. The score is -eps / sigma, so sigma eps is -sigma² times the score.',
        ),
        x0_wrong(
            "the score without sigma",
            {"score": lambda out, x, a, s: (x + out) / a},
            'For "score" the factor sigma² is missing.',
        ),
        x0_wrong(
            "the score is not divided by alpha",
            {"score": lambda out, x, a, s: x + s**2 * out},
            'For "score" you return alpha x0: the division by alpha is missing.',
        ),
    ),
)


# 7.5 moving_average


def moving_average(weights, decay):
    average = weights[0]
    for new in weights[1:]:
        average = decay * average + (1 - decay) * new
    return average


def moving_average_by_small_steps(weights, decay):
    average = weights[0].clone()
    for new in weights[1:]:
        average += (1 - decay) * (new - average)
    return average


def average_truth(weights, decay):  # the geometric sum
    age = torch.arange(len(weights) - 1, -1, -1, dtype=weights.dtype)
    shares = (1 - decay) * decay**age
    shares[0] = decay ** age[0]
    return shares @ weights


def average_cases(g):
    history = torch.randn(12, 3, generator=g, dtype=torch.float64).cumsum(dim=0) + 2
    return (
        Case((double(1.0, 2.0, 4.0)[:, None], 0.9), "the weights 1, 2, 4 and decay = 0.9"),
        Case((history, 0.7), "twelve steps of three weights and decay = 0.7"),
    )


def average_wrong(name: str, update: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer by another step: update(average, new, decay, count), where count is 1 for the first one."""

    def answer(weights, decay):
        average = weights[0]
        for count, new in enumerate(weights[1:], start=1):
            average = update(average, new, decay, count)
        return average

    return Wrong(name, answer, message, seen)


def copied_back(weights, decay):
    """The network goes on from the average: each change of the weights is added to it."""
    average, own = weights[0], weights[0]
    for change in weights[1:] - weights[:-1]:
        own = average + change
        average = decay * average + (1 - decay) * own
    return average


def from_zero(weights, decay):
    average = torch.zeros_like(weights[0])
    for new in weights:
        average = decay * average + (1 - decay) * new
    return average


MOVING_AVERAGE = Exercise(
    id="7.5",
    name="moving_average",
    stub='''
def moving_average(weights, decay):
    """The average, (n,), after all steps. It begins as weights[0]. weights: (steps, n). decay: the share it keeps."""
    ...  # your code
''',
    solution=moving_average,
    alternative=moving_average_by_small_steps,
    why=(
        "After many steps the weights of k steps ago count with the share (1 - decay) decay^k: a geometric sum, which\n"
        "reaches back some 1 / (1 - decay) steps. With decay = 0.995 that is 200 steps."
    ),
    truth=average_truth,
    cases=average_cases,
    hints=(
        "Begin with `average = weights[0]`, and go through `weights[1:]`.",
        "Each new average is a weighted mean of the old average and the new weights. The two factors add up to 1.",
        "The factor `decay` belongs to the old average, and `1 - decay` to the new weights.",
    ),
    wrong=(
        average_wrong(
            "the shares exchanged",
            lambda average, new, decay, count: (1 - decay) * average + decay * new,
            "The two factors are exchanged. Your average keeps little of itself, and jumps almost as the weights do.",
        ),
        average_wrong(
            "the decay itself changes",
            lambda average, new, decay, count: decay**count * average + (1 - decay**count) * new,
            "Your decay changes from step to step: it is multiplied by itself. It stays what it is.",
            "huggingface/diffusers#1864",
        ),
        average_wrong(
            "one minus is missing",
            lambda average, new, decay, count: decay * average + new,
            "You add all of the new weights. The two factors have to add up to 1, or the average grows without limit.",
        ),
        Wrong(
            "copied back",
            copied_back,
            "You let the weights go on from the average. The network must not notice its average: only the average "
            "follows the network.",
            "Yuanhy1997/SeqDiffuSeq#8",
        ),
        Wrong(
            "never updated",
            lambda weights, decay: weights[0] * 1,
            "Your average is still the untrained start: it is never updated.",
            "tue-bmd/zea#172",
        ),
        Wrong(
            "only the last weights",
            lambda weights, decay: weights[-1] * 1,
            "You return the last weights. Then there is no average at all.",
            UNSEEN,
        ),
        Wrong(
            "a plain mean",
            lambda weights, decay: weights.mean(dim=0),
            "You take the plain mean of all steps. The untrained start then counts as much as the end.",
            UNSEEN,
        ),
        Wrong(
            "it begins at 0",
            from_zero,
            "Your average begins at 0, and not at the first weights. It is too small until that is forgotten.",
            UNSEEN,
        ),
        Wrong(
            "the last step is missing",
            lambda weights, decay: moving_average(weights[:-1], decay),
            "You stop one step too early: the last weights do not enter your average.",
            UNSEEN,
        ),
    ),
)


# 7.6 uniform_of_unit_variance


def uniform_of_unit_variance(n, d, generator):
    return math.sqrt(12) * (torch.rand(n, d, generator=generator) - 0.5)


def uniform_from_minus_one_to_one(n, d, generator):
    return math.sqrt(3) * (2 * torch.rand(n, d, generator=generator) - 1)


def uniform_truth(n, d, generator):
    return torch.empty(n, d, dtype=torch.float32).uniform_(-(3**0.5), 3**0.5, generator=generator)


def uniform_numbers(out, n, d):
    numbers = {
        "the mean": out,
        "the variance": (out - out.mean(dim=(0, 1, 2))) ** 2,
        "the mean square": out**2,
        "the fourth moment": out**4,
        "the mean product of two coordinates of a point": out[..., :1] * out[..., 1:],
        "the mean product of neighbouring points": out[:, :-1] * out[:, 1:],
    }
    return {name: value.double().flatten(1).mean(dim=1) for name, value in numbers.items()}


def flat(n, d, generator):
    return torch.rand(n, d, generator=generator)


UNIFORM = Exercise(
    id="7.6",
    name="uniform_of_unit_variance",
    stub='''
def uniform_of_unit_variance(n, d, generator):
    """Uniform noise of mean 0 and variance 1 in each of d independent coordinates, (n, d), float32."""
    ...  # your code
''',
    solution=uniform_of_unit_variance,
    alternative=uniform_from_minus_one_to_one,
    why=(
        "Uniform numbers from 0 to 1 have mean 1/2 and variance 1/12. So subtract 1/2, and multiply by the root\n"
        "of 12. The loss ends as low as with normal noise and not below the floor, so it does not show the bug.\n"
        "The error of the predicted noise shows it, and so do the samples: by the energy distance they are several\n"
        "times as far from the data as those of the right network."
    ),
    truth=uniform_truth,
    cases=lambda g: (Case((150, 2, RNG), "n = 150 and d = 2"),),
    view=uniform_numbers,
    hints=(
        "Begin with `torch.rand(n, d, generator=generator)`. What are its mean and its variance?",
        "Subtract 1/2 to have mean 0. The variance is still 1/12.",
        "A factor c multiplies the variance by c². Which c turns 1/12 into 1?",
    ),
    wrong=(
        Wrong(
            "from 0 to 1",
            flat,
            "Your numbers run from 0 to 1: their mean is 1/2 and their variance 1/12. That is the bug of section 3.",
            "acids-ircam/diffusion_models#8, zhuangdizhu/FedGen#10",
        ),
        Wrong(
            "from -1 to 1",
            lambda n, d, generator: 2 * flat(n, d, generator) - 1,
            "Your numbers run from -1 to 1: their mean is 0, but their variance is 1/3.",
            "HRI-EU/flow_matching#7",
        ),
        Wrong(
            "not centred",
            lambda n, d, generator: math.sqrt(12) * flat(n, d, generator),
            "The variance is 1, but the mean is not 0: subtract 1/2 before you multiply.",
            UNSEEN,
        ),
        Wrong(
            "the root of 3 on numbers from 0 to 1",
            lambda n, d, generator: math.sqrt(3) * flat(n, d, generator),
            "You multiply by the root of 3, which is right for numbers from -1 to 1. Yours run from 0 to 1.",
            UNSEEN,
        ),
        Wrong(
            "12 in place of its root",
            lambda n, d, generator: 12 * (flat(n, d, generator) - 0.5),
            "You multiply by 12. A factor multiplies the variance by its square, so take the root.",
            UNSEEN,
        ),
        Wrong(
            "from -1/2 to 1/2",
            lambda n, d, generator: flat(n, d, generator) - 0.5,
            "The mean is 0, but the variance is still 1/12.",
            UNSEEN,
        ),
        Wrong(
            "normal numbers",
            lambda n, d, generator: torch.randn(n, d, generator=generator),
            "Mean and variance are right, but your numbers are normal. Asked for are uniform ones.",
            UNSEEN,
        ),
        Wrong(
            "one number for all coordinates",
            lambda n, d, generator: math.sqrt(12) * (flat(n, 1, generator) - 0.5).expand(n, d),
            "Both coordinates of a point are the same number. Draw one for each.",
            UNSEEN,
        ),
    ),
)


# 7.7 bound_loss


def bound_loss(squares, path, t, T):
    t = t.clamp(min=2 / T)
    snr_t, snr_s = path.log_snr(t).exp(), path.log_snr(t - 1 / T).exp()
    return ((snr_s / snr_t - 1) * squares).mean()


def bound_loss_by_logarithms(squares, path, t, T):
    late = torch.maximum(t, torch.full_like(t, 2 / T))
    weight = torch.expm1(path.log_snr(late - 1 / T) - path.log_snr(late))
    return torch.mean(weight * squares)


def bound_truth(squares, path, t, T):
    t = torch.where(t < 2 / T, 2 / T, t)
    factor, w = path.transition(t, t - 1 / T)
    return (w / (factor * path.sigma(t - 1 / T)) ** 2) @ squares / len(t)


def bound_cases(g):
    path = schedules.vp_linear()
    times = 0.05 + 0.9 * torch.rand(6, generator=g, dtype=torch.float64)
    squares = torch.rand(6, generator=g, dtype=torch.float64)
    early = torch.cat([double(0.003, 0.03), times])
    more = torch.cat([double(1.5, 0.7), squares])
    return (
        Case((double(1.0), path, double(0.5), 20), "one square of 1 at t = 0.5, T = 20 and the path vp_linear()"),
        Case((squares, path, times, 20), "six squares at six times and T = 20"),
        Case((more, schedules.cosine(), early, 20), "eight squares, two of them at times below 2/T, and T = 20"),
    )


def bound_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer from the two signal-to-noise ratios: formula(of s, of t, squares)."""

    def answer(squares, path, t, T):
        t = t.clamp(min=2 / T)
        return formula(path.log_snr(t - 1 / T).exp(), path.log_snr(t).exp(), squares)

    return Wrong(name, answer, message, seen)


def clamped_earlier_time(squares, path, t, T):
    s = (t - 1 / T).clamp(min=1 / T)
    return ((path.log_snr(s) - path.log_snr(t)).expm1() * squares).mean()


BOUND_LOSS = Exercise(
    id="7.7",
    name="bound_loss",
    stub='''
def bound_loss(squares, path, t, T):
    """The mean of the squares, (B,), each times SNR(t - 1/T) / SNR(t) - 1. Times t, (B,), below 2/T count as 2/T."""
    ...  # your code
''',
    solution=bound_loss,
    alternative=bound_loss_by_logarithms,
    why=(
        "This is the sum of the bound's terms, but for a constant factor. Each square gets the weight of its own\n"
        "time, and only then comes the mean. Below 2/T the earlier time would be 0, where the signal-to-noise\n"
        "ratio is infinite. Trained with these weights (T = 1,000), a network has a smaller excess at the smallest\n"
        "times, below 0.01 or so, and pays for it with about two to four times the excess from t = 0.05 on."
    ),
    truth=bound_truth,
    cases=bound_cases,
    hints=(
        "First `t = t.clamp(min=2 / T)`. The signal-to-noise ratio at t is `path.log_snr(t).exp()`.",
        "The weight is the ratio at the earlier time, t - 1/T, over that at t, minus 1. It is positive.",
        "Multiply each square by its weight first, and take the mean afterwards.",
    ),
    wrong=(
        bound_wrong(
            "upside down",
            lambda of_s, of_t, squares: ((of_t / of_s - 1) * squares).mean(),
            "Your weights are negative: the ratio is upside down. The earlier time has the larger signal-to-noise "
            "ratio.",
        ),
        bound_wrong(
            "upside down, with the sign turned",
            lambda of_s, of_t, squares: ((1 - of_t / of_s) * squares).mean(),
            "You divide by the ratio at the earlier time. Divide by that at t, where the network is evaluated.",
        ),
        bound_wrong(
            "no square in the ratio",
            lambda of_s, of_t, squares: (((of_s / of_t).sqrt() - 1) * squares).mean(),
            "You take alpha / sigma. The signal-to-noise ratio is its square.",
        ),
        bound_wrong(
            "mean before weight",
            lambda of_s, of_t, squares: (of_s / of_t - 1).mean() * squares.mean(),
            "You take the mean of the squares before you weigh them. Then the weights change nothing but the size of "
            "the loss.",
        ),
        bound_wrong(
            "the weight of x0",
            lambda of_s, of_t, squares: ((of_s - of_t) * squares).mean(),
            "You use SNR(s) - SNR(t), which is the weight for the square error of x0. For that of eps it is divided by "
            "SNR(t).",
        ),
        bound_wrong(
            "minus 1 is missing",
            lambda of_s, of_t, squares: (of_s / of_t * squares).mean(),
            "The 1 is not subtracted, so all weights are near 1 for small steps.",
        ),
        bound_wrong(
            "a difference of logarithms",
            lambda of_s, of_t, squares: ((of_s / of_t).log() * squares).mean(),
            "You take the difference of the log-SNRs. That is close to the weight for small steps, and not equal to "
            "it.",
        ),
        bound_wrong(
            "a sum",
            lambda of_s, of_t, squares: ((of_s / of_t - 1) * squares).sum(),
            "You add up the weighted squares. Take their mean, as in the plain loss.",
        ),
        Wrong(
            "early times as they are",
            lambda squares, path, t, T: ((path.log_snr(t - 1 / T) - path.log_snr(t)).expm1() * squares).mean(),
            "You leave times below 2/T as they are. Their earlier time is 0 or below, where there is no "
            "signal-to-noise "
            "ratio.",
            "the catalogue: s below 0",
        ),
        Wrong(
            "the earlier time is clamped",
            clamped_earlier_time,
            "You keep the earlier time above 1/T, but not t itself. Then times below 2/T get a step that is too short, "
            "or a negative weight.",
            UNSEEN,
        ),
        Wrong(
            "the later time",
            lambda squares, path, t, T: (
                (path.log_snr(t.clamp(min=2 / T)) - path.log_snr(t.clamp(min=2 / T) + 1 / T)).expm1() * squares
            ).mean(),
            "Your second time is t + 1/T. A step of the reverse process goes to the earlier time, t - 1/T.",
            UNSEEN,
        ),
    ),
)


# 7.8 min_snr


def min_snr(path, t, kind, cap):
    snr = path.log_snr(t).exp()
    weight = snr.clamp(max=cap)
    return weight / {"x0": 1, "eps": snr, "v": snr + 1}[kind]


def min_snr_by_sigma(path, t, kind, cap):
    alpha2, sigma2 = path.alpha(t) ** 2, path.sigma(t) ** 2
    capped = torch.minimum(alpha2, cap * sigma2)
    if kind == "v":
        return capped / (alpha2 + sigma2)
    return capped / (alpha2 if kind == "eps" else sigma2)


def min_snr_truth(path, t, kind, cap):
    return training.min_snr_weight(kind, cap)(path, t)


def min_snr_cases(g):
    times = 0.05 + 0.9 * torch.rand(5, generator=g, dtype=torch.float64)
    path, two = schedules.cosine(), double(0.1, 0.6)
    return (
        *(
            Case((path, two, kind, 5.0), f't = 0.1 and 0.6, kind = "{kind}", cap = 5 and the path cosine()')
            for kind in ("x0", "eps", "v")
        ),
        *(
            Case((schedules.vp_linear(), times, kind, 3.0), f'five times, kind = "{kind}" and cap = 3')
            for kind in ("x0", "eps", "v")
        ),
    )


def min_snr_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer from the signal-to-noise ratio: formula(snr, kind, cap)."""
    return Wrong(name, lambda path, t, kind, cap: formula(path.log_snr(t).exp(), kind, cap), message, seen)


MIN_SNR = Exercise(
    id="7.8",
    name="min_snr",
    stub='''
def min_snr(path, t, kind, cap):
    """What to multiply the square error of "x0", "eps" or "v" by, so that an error of x0 counts min(SNR, cap). (B,)"""
    ...  # your code
''',
    solution=min_snr,
    alternative=min_snr_by_sigma,
    why=(
        "The square error of eps is SNR times that of x0, and that of v is 1 + SNR times. So the weight of x0,\n"
        "min(SNR, cap), has to be divided by 1, by SNR or by 1 + SNR (Hang et al. 2023, arXiv 2303.09556, section 3.4)."
    ),
    truth=min_snr_truth,
    cases=min_snr_cases,
    hints=(
        "The signal-to-noise ratio is `path.log_snr(t).exp()`, and the smaller of it and cap is `snr.clamp(max=cap)`.",
        "The table of section 9 says how many times the square error of x0 that of eps and of v is.",
        "Divide min(SNR, cap) by 1, by SNR or by SNR + 1.",
    ),
    wrong=(
        min_snr_wrong(
            "the maximum",
            lambda snr, kind, cap: snr.clamp(min=cap) / {"x0": 1, "eps": snr, "v": snr + 1}[kind],
            "You take the larger of SNR and cap. The cap is there to keep the weight of clean points from growing.",
            "lucidrains/recurrent-interface-network-pytorch#11",
        ),
        min_snr_wrong(
            "1 + SNR for eps and v",
            lambda snr, kind, cap: snr.clamp(max=cap) / {"x0": 1, "eps": snr + 1, "v": snr + 1}[kind],
            "You divide by SNR + 1 for eps too. That is right for v alone.",
            "huggingface/diffusers#5654, huggingface/diffusers#8466",
        ),
        min_snr_wrong(
            "v as eps",
            lambda snr, kind, cap: snr.clamp(max=cap) / {"x0": 1, "eps": snr, "v": snr}[kind],
            "You divide by SNR for v, as for eps. The square error of v is SNR + 1 times that of x0.",
            "huggingface/diffusers#5654",
        ),
        min_snr_wrong(
            "one weight for all kinds",
            lambda snr, kind, cap: snr.clamp(max=cap),
            "You use the same weight for all three kinds. It is right for x0, and has to be divided for eps and v.",
        ),
        min_snr_wrong(
            "divided for all kinds",
            lambda snr, kind, cap: snr.clamp(max=cap) / snr,
            "You divide by SNR for all three kinds. That is right for eps alone.",
        ),
        min_snr_wrong(
            "multiplied",
            lambda snr, kind, cap: snr.clamp(max=cap) * {"x0": 1, "eps": snr, "v": snr + 1}[kind],
            "You multiply where you have to divide: an error of eps is the larger one, so its weight is the smaller "
            "one.",
        ),
        min_snr_wrong(
            "1 added to the cap as well",
            lambda snr, kind, cap: (snr + 1).clamp(max=cap) / {"x0": 1, "eps": snr, "v": snr + 1}[kind],
            "You add 1 to the SNR above the line as well. The smaller of SNR and cap stays as it is.",
            "huggingface/diffusers#8466",
        ),
        Wrong(
            "no square",
            lambda path, t, kind, cap: min_snr(
                GaussianPath(lambda t: path.alpha(t).sqrt(), lambda t: path.sigma(t).sqrt()), t, kind, cap
            ),
            "You take alpha / sigma for the signal-to-noise ratio. That is its root.",
            UNSEEN,
        ),
        min_snr_wrong(
            "no cap",
            lambda snr, kind, cap: snr / {"x0": 1, "eps": snr, "v": snr + 1}[kind],
            "You leave out the cap. Then clean points, where the SNR is large, outweigh all others.",
        ),
    ),
)


# 7.9 grows


def which_part_grows():
    mixture, path, g = data.three_gaussians(), schedules.ddpm_linear(), generator(7, 90)
    net = networks.initialised(lambda: networks.MLP(width=8), generator(7, 91))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(300):
        x0, t, eps = mixture.sample(128, g)[0], 1 - torch.rand(128, generator=g), torch.randn(128, 2, generator=g)
        loss = training.denoising_loss(net, path, x0, t, eps, kind="eps").mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, again = (mixture.sample(1000, g)[0] for _ in range(2))
    noise, times = path.prior((1000, 2), g), torch.linspace(1, 0, 51)
    denoisers_of = {"exact": exact.mixture_denoiser(mixture, path), "small": denoisers.from_network(net, path, "eps")}
    found = {}
    for name, denoise in denoisers_of.items():
        x = samplers.last(samplers.ancestral(denoise, path, noise, times, generator=generator(7, 92)))
        found[name] = metrics.sliced_wasserstein(x, real, again, generator=generator(7, 93), projections=30)
    # floor and steps are measured without the network, so only the third part can grow
    return "network" if found["small"].value > 1.5 * found["exact"].value else "none of them"


GROWS = Question(
    id="7.9",
    name="grows",
    stub='grows = None  # the part of the error that grows with a network of width 8: "floor", "steps" or "network"',
    right="network",
    solution=which_part_grows,
    why=(
        "The floor and the exact denoiser know nothing of the network, so their columns stay as they are. A "
        "network that\n"
        "is too small is off at every step, and smaller steps follow its wrong denoiser all the more faithfully."
    ),
    wrong=(
        WrongValue(
            "floor",
            "floor",
            "The floor is the distance between two sets of real points. No network has anything to do with it.",
            UNSEEN,
        ),
        WrongValue(
            "steps",
            "steps",
            "The error of the steps is what the exact denoiser shows, and it does not use the network. So more "
            "steps do "
            "not make up for a small one.",
            "the catalogue: sampling",
        ),
    ),
    hints=(
        "Which of the three columns of the table in section 8 was computed with the network?",
        "The floor compares real points with real points. The middle column uses the exact denoiser.",
        "Try it: `networks.initialised(lambda: networks.MLP(width=8), generator(7, 90))` in place of the MLP of `fit`.",
    ),
    choices=("floor", "steps", "network"),
)


# 7.10 width


def width_of_samples():
    path, times, std = schedules.ddpm_linear(), torch.linspace(1, 0, 11, dtype=torch.float64), 0.1
    variance = torch.ones((), dtype=torch.float64)  # of x_t, at first that of the noise
    for t, s in itertools.pairwise(times):
        alpha, sigma = path.alpha(t), path.sigma(t)
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)  # E[x0 | x_t] = gain * x_t
        factor, w = path.transition(t, s)
        slope = factor * path.sigma(s) ** 2 / sigma**2 + path.alpha(s) * w / sigma**2 * gain
        variance = slope**2 * variance + (w if s > 0 else 0)
    return float(variance.sqrt())


WIDTH = Question(
    id="7.10",
    name="width",
    stub="width = None  # the standard deviation of the samples with the variance w: data N(0, 0.01), T = 10",
    right=(0.0445, 0.0495),
    solution=width_of_samples,
    why=(
        "Every step multiplies x by a known number and adds variance w. The last one adds nothing: it "
        "returns E[x0 | x_t],\n"
        "which is much narrower than the data. At T = 10 it decides, and no variance of the steps before can "
        "make up for\n"
        "it: w gives 0.047, the best variance and the posterior's 0.028, where the data have 0.1."
    ),
    wrong=(
        WrongValue(
            "as wide as the data",
            (0.09, 0.11),
            "That is the width of the data. The last step returns a mean, and means are narrower.",
            UNSEEN,
        ),
        WrongValue(
            "the other two variances",
            (0.0265, 0.0295),
            "That is the width with the posterior's variance, and nearly that with the best one. Asked for is "
            "the wider "
            "w, which is added at every step but the last.",
            UNSEEN,
        ),
        WrongValue(
            "a variance",
            (0.0020, 0.0024),
            "That is the variance of the samples. Asked for is its root.",
            UNSEEN,
        ),
        WrongValue(
            "before the last step",
            (0.53, 0.59),
            "That is the width before the last step. The last one multiplies by the small factor of E[x0 | x_t], "
            "and adds "
            "no noise.",
            UNSEEN,
        ),
        WrongValue(
            "noise in the last step too",
            (0.32, 0.345),
            "You add noise in the last step too. That step goes to the data and only returns E[x0 | x_t].",
            UNSEEN,
        ),
    ),
    hints=(
        "For data N(0, s0²), E[x0 | x_t] is a number times x_t: alpha s0² / (alpha² s0² + sigma²).",
        "So a step multiplies x_t by a number and adds independent noise. Follow the variance, beginning at 1.",
        "`factor, w = path.transition(t, s)`. A step multiplies by factor sigma_s² / sigma_t² plus c_0 times the "
        "number of hint 1, where c_0 = alpha_s w / sigma_t². The last step adds no noise.",
    ),
)


# 7.11 worst


def worst_times():
    mixture, path, g = data.three_gaussians(), schedules.ddpm_linear(), generator(7, 95)
    net, truth = (
        networks.initialised(lambda: networks.MLP(width=64), generator(7, 96)),
        exact.mixture_denoiser(mixture, path),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(250):
        x0, t, eps = mixture.sample(128, g)[0], 1 - torch.rand(128, generator=g), torch.randn(128, 2, generator=g)
        loss = training.denoising_loss(net, path, x0, t, eps, kind="x0").mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    errors = {}
    for name, time in {"small t": 0.005, "middle t": 0.4, "large t": 0.99}.items():
        t, x0 = torch.tensor(time), mixture.sample(2000, g)[0]
        x_t = path.perturb(x0, t, torch.randn(2000, 2, generator=g))
        with torch.no_grad():
            off = targets.network_output(net, "x0", path, x_t, t) - truth(x_t, t)
        errors[name] = float((path.alpha(t) / path.sigma(t) * off).square().mean())
    return max(errors, key=errors.get)


WORST = Question(
    id="7.11",
    name="worst",
    stub='worst = None  # where the score of a network that predicts x0 is worst: "small t", "middle t" or "large t"',
    right="small t",
    solution=worst_times,
    why=(
        "The error of the score, in units of the noise, is alpha / sigma times the error of x0. At small t "
        "that factor is\n"
        "18 and more, so a small error of x0 becomes a large one. The floor, large at large t, is nobody's error."
    ),
    wrong=(
        WrongValue(
            "large t",
            "large t",
            "At large t the floor of the loss is high, but the floor is no error of the network. There alpha / "
            "sigma is "
            "small, and it multiplies the error.",
            "the catalogue",
        ),
        WrongValue(
            "middle t",
            "middle t",
            "In the middle the denoiser is most complicated, but the factor alpha / sigma, which turns an error "
            "of x0 into "
            "one of the score, is much larger elsewhere.",
            UNSEEN,
        ),
    ),
    hints=(
        "The score follows from x0: it is (alpha x0 - x_t) / sigma². What does an error of x0 become?",
        "Sigma times the error of the score is alpha / sigma times the error of x0.",
        "Where is alpha / sigma large, at small or at large t?",
    ),
    choices=("small t", "middle t", "large t"),
)


# 7.12 in words

ABSOLUTE = Explanation(
    id="7.12",
    name="absolute errors",
    task="Replace the squares of the loss by absolute values, and say what the network then learns and "
    "what its samples are.",
    model=(
        "For a fixed x_t, the mean of |x0 - c| over all x0 that may have led there is smallest where as much "
        "probability "
        "lies below c as above: at the median of each coordinate. So the network learns the conditional "
        "median. Between "
        "two unequal blobs the median lies in the heavier one, and jumps to the other where the weights "
        "change. Tweedie's "
        "formula and the posterior step need the mean, so the samples follow no longer the density of the data: the "
        "heavier of two blobs gets too many of them. Where x0 given x_t is symmetric, as for one Gaussian, median and "
        "mean are equal and nothing changes."
    ),
    look_for=(
        "The minimiser is the conditional median, coordinate by coordinate, with a reason such as the derivative.",
        "Between two blobs the answer lies in one of them and not between.",
        "The score follows from the mean, so the samples are no longer those of the data.",
        "For one Gaussian nothing changes.",
    ),
    hints=(
        "Take one dimension, fix x_t, and differentiate the mean of |x0 - c| with respect to c.",
        "The derivative is the probability below c minus that above. When is it 0?",
        "Where does the median of two blobs lie if one has the weight 0.6? And which quantity does Tweedie's "
        "formula need?",
    ),
)

EXERCISES = (
    *(DENOISING_LOSS, TRAIN, GAUSSIAN_KL, X0_FROM),
    *(MOVING_AVERAGE, UNIFORM, BOUND_LOSS, MIN_SNR, GROWS, WIDTH, WORST, ABSOLUTE),
)
