"""The exercises of notebook 13, a DDPM that draws digits: 13.1 to 13.4 in its flow, 13.5 to 13.9 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from minidiff import schedules, targets
from minidiff.checks.records import Case, Exercise, Explanation, Wrong
from minidiff.checks.views import UNSEEN

__all__ = ["EXERCISES", "TITLE"]

TITLE = "A DDPM that draws digits"


def normals(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def odd_net(x: Tensor, t: Tensor) -> Tensor:
    """A fixed function in place of a network. No two of its inputs or outputs can be exchanged unnoticed."""
    level = 0.8 * t.reshape(-1, 1, 1, 1)
    return torch.tanh(0.7 * x + 0.4 * x.flip(-1) - 0.2 * x.flip(-2) + level) + 0.3 * level


# 13.1 v_loss


def v_loss(predict_v, path, x0, t, eps):
    alpha, sigma = path.alpha(t)[:, None, None, None], path.sigma(t)[:, None, None, None]
    x_t = alpha * x0 + sigma * eps
    v = alpha * eps - sigma * x0
    return ((predict_v(x_t, t) - v) ** 2).mean()


def v_loss_with_perturb(predict_v, path, x0, t, eps):
    predicted = predict_v(path.perturb(x0, t, eps), t)
    truth = path.alpha(t).view(-1, 1, 1, 1) * eps - path.sigma(t).view(-1, 1, 1, 1) * x0
    return torch.nn.functional.mse_loss(predicted, truth)


def v_loss_truth(predict_v, path, x0, t, eps):
    off = predict_v(path.perturb(x0, t, eps), t) - targets.target("v", path, x0, eps, t)
    return off.square().flatten(1).mean(dim=1).sum() / len(x0)


def v_loss_cases(g):
    two, three = normals(g, 2, 1, 2, 2), normals(g, 3, 1, 3, 3) + 0.7
    times = 0.1 + 0.25 * torch.arange(3, dtype=torch.float64) + 0.2 * torch.rand(3, generator=g, dtype=torch.float64)
    early = torch.tensor([0.3, 0.8], dtype=torch.float64)
    return (
        Case((odd_net, schedules.cosine(), two, early, normals(g, 2, 1, 2, 2)), "two images at the times 0.3 and 0.8"),
        Case((odd_net, schedules.vp_linear(), three, times, normals(g, 3, 1, 3, 3)), "three images at three times"),
    )


def tall(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]


def loss_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer made of the right parts: formula(out, x0, eps, alpha, sigma), all of them (B, 1, H, W)."""

    def answer(predict_v, path, x0, t, eps):
        out = predict_v(path.perturb(x0, t, eps), t)
        return formula(out, x0, eps, tall(path.alpha(t)), tall(path.sigma(t)))

    return Wrong(name, answer, message, seen)


def loss_seeing(name: str, seeing: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer whose network sees something else: seeing(path, x0, t, eps) are its two inputs."""

    def answer(predict_v, path, x0, t, eps):
        v = tall(path.alpha(t)) * eps - tall(path.sigma(t)) * x0
        return ((predict_v(*seeing(path, x0, t, eps)) - v) ** 2).mean()

    return Wrong(name, answer, message, seen)


def loss_lined_up(name: str, line_up: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer whose alpha and sigma are lined up with another axis than that of the images."""

    def answer(predict_v, path, x0, t, eps):
        alpha, sigma = line_up(path.alpha(t)), line_up(path.sigma(t))
        return ((predict_v(alpha * x0 + sigma * eps, t) - (alpha * eps - sigma * x0)) ** 2).mean()

    return Wrong(name, answer, message, seen)


V_LOSS = Exercise(
    id="13.1",
    name="v_loss",
    stub='''
def v_loss(predict_v, path, x0, t, eps):
    """The mean square error of the predicted v, one number. x0, eps: (B, 1, H, W); t: (B,), a time for each image."""
    ...  # your code
''',
    solution=v_loss,
    alternative=v_loss_with_perturb,
    why=(
        "The network sees the noisy image and its time. Its target is v = alpha eps - sigma x0. Each image has a time\n"
        "of its own, so alpha and sigma are B numbers, and three new axes line them up with the images. The mean runs\n"
        "over all images and pixels."
    ),
    truth=v_loss_truth,
    cases=v_loss_cases,
    hints=(
        "Two things are made of x0 and eps: the noisy image x_t, which the network sees, and the target v.",
        "`path.alpha(t)` has the shape (B,), and the images have (B, 1, H, W). `path.alpha(t)[:, None, None, None]` "
        "has the shape (B, 1, 1, 1) and multiplies each image by its own number.",
        "The target is `alpha * eps - sigma * x0`. Subtract it from `predict_v(x_t, t)`, square, take the mean.",
    ),
    wrong=(
        loss_wrong(
            "a sum",
            lambda out, x0, eps, alpha, sigma: ((out - (alpha * eps - sigma * x0)) ** 2).sum(),
            "You add up the squares. Take their mean, so that the loss does not depend on the size of batch and image.",
        ),
        loss_wrong(
            "a sum over the pixels",
            lambda out, x0, eps, alpha, sigma: ((out - (alpha * eps - sigma * x0)) ** 2).flatten(1).sum(1).mean(),
            "You add up the squares of an image's pixels and take the mean over the images only. Here the mean runs "
            "over the pixels too.",
        ),
        loss_wrong(
            "a root",
            lambda out, x0, eps, alpha, sigma: ((out - (alpha * eps - sigma * x0)) ** 2).mean().sqrt(),
            "You take the root of the mean square. The loss is the mean square itself.",
        ),
        loss_wrong(
            "absolute values",
            lambda out, x0, eps, alpha, sigma: (out - (alpha * eps - sigma * x0)).abs().mean(),
            "You take absolute values in place of squares. Their mean is smallest at a median, and a denoiser needs "
            "the "
            "mean.",
        ),
        loss_wrong(
            "the noise as the target",
            lambda out, x0, eps, alpha, sigma: ((out - eps) ** 2).mean(),
            "Your target is eps. That is the network of notebook 07. This one predicts v = alpha eps - sigma x0.",
        ),
        loss_wrong(
            "the clean image as the target",
            lambda out, x0, eps, alpha, sigma: ((out - x0) ** 2).mean(),
            "Your target is x0. Section 4 comes to such a network. This one predicts v = alpha eps - sigma x0.",
        ),
        loss_wrong(
            "the sign of v",
            lambda out, x0, eps, alpha, sigma: ((out - (sigma * x0 - alpha * eps)) ** 2).mean(),
            "Your target has the wrong sign. v is alpha eps - sigma x0: it points from the data to the noise.",
            "not seen in public yet: some papers define v with the other sign",
        ),
        loss_wrong(
            "alpha and sigma exchanged in v",
            lambda out, x0, eps, alpha, sigma: ((out - (sigma * eps - alpha * x0)) ** 2).mean(),
            "In your target alpha and sigma are exchanged: alpha belongs to eps, and sigma to x0.",
        ),
        loss_wrong(
            "a plus in v",
            lambda out, x0, eps, alpha, sigma: ((out - (alpha * eps + sigma * x0)) ** 2).mean(),
            "Your target is alpha eps + sigma x0. The sign before sigma is a minus.",
        ),
        loss_wrong(
            "the difference as the target",
            lambda out, x0, eps, alpha, sigma: ((out - (eps - x0)) ** 2).mean(),
            "Your target is eps - x0. That is the velocity of a straight path, of flow matching. Here v is "
            "alpha eps - sigma x0.",
        ),
        loss_wrong(
            "the error in x0",
            lambda out, x0, eps, alpha, sigma: (alpha * (alpha * x0 + sigma * eps) - sigma * out - x0).square().mean(),
            "You turn the predicted v into x0 and take the square error of that. It is sigma² times the square error "
            "of v, so it hardly looks at images with little noise.",
        ),
        loss_seeing(
            "the network sees clean images",
            lambda path, x0, t, eps: (x0, t),
            "You give the network the clean images. It has to see the noisy ones, alpha x0 + sigma eps.",
        ),
        loss_seeing(
            "the network sees the log-SNR",
            lambda path, x0, t, eps: (path.perturb(x0, t, eps), path.log_snr(t)),
            "You hand `path.log_snr(t)` to predict_v. It takes the time itself: `predict_v(x_t, t)`.",
        ),
        loss_seeing(
            "one time for the whole batch",
            lambda path, x0, t, eps: (path.perturb(x0, t[:1].expand_as(t), eps), t[:1].expand_as(t)),
            "Your network sees all images at the first time. Each image has a time of its own.",
        ),
        loss_seeing(
            "coefficients exchanged in x_t",
            lambda path, x0, t, eps: (path.perturb(eps, t, x0), t),
            "x0 and eps are exchanged in the noisy image: alpha belongs to x0, and sigma to eps.",
            "VinAIResearch/LFM#19",
        ),
        loss_lined_up(
            "alpha along the columns",
            lambda numbers: numbers,
            "You multiply images, (B, 1, H, W), by B numbers without saying along which axis, and PyTorch lines them "
            "up with the columns of pixels. With 64 images of 28 columns that would fail. Write "
            "`alpha[:, None, None, None]`.",
            "jolibrain/joliGEN#527, IrisRainbowNeko/HCP-Diffusion#82",
        ),
        loss_lined_up(
            "alpha along the rows",
            lambda numbers: numbers[:, None],
            "With `alpha[:, None]` the B numbers are lined up with the rows of pixels. Images have four axes, so three "
            "new ones are needed: `alpha[:, None, None, None]`.",
            "jolibrain/joliGEN#527",
        ),
    ),
    limit="(The check compares numbers only. For training, the loss must also carry its gradient: no "
    "`.item()` inside.)",
)


# 13.2 train


def train(net, average, optimizer, batches, loss, decay):
    for x0 in batches:
        optimizer.zero_grad()
        loss(net, x0).backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(average.parameters(), net.parameters(), strict=True):
                old.copy_(decay * old + (1 - decay) * new)
    return parameters_to_vector(average.parameters())


def train_with_lerp(net, average, optimizer, batches, loss, decay):
    for batch in batches:
        value = loss(net, batch)
        net.zero_grad()
        value.backward()
        optimizer.step()
        for a, w in zip(average.parameters(), net.parameters(), strict=True):
            a.data.lerp_(w.data, 1 - decay)
    return parameters_to_vector(average.parameters())


def train_truth(net, average, optimizer, batches, loss, decay):  # AdamW by hand: Loshchilov & Hutter 2019, algorithm 2
    weights, told = list(net.parameters()), optimizer.param_groups[0]
    slow = None
    means, squares = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
    for count, rows in enumerate(batches, start=1):
        slow = slow if slow is not None else torch.cat([a.flatten() for a in average.parameters()])
        slopes = torch.autograd.grad(loss(net, rows), weights)
        with torch.set_grad_enabled(False):
            for w, slope, mean, square in zip(weights, slopes, means, squares, strict=True):
                mean.mul_(0.9).add_(0.1 * slope)
                square.mul_(0.999).add_(0.001 * slope**2)
                w.mul_(1 - told["lr"] * told["weight_decay"])
                w.sub_(told["lr"] * (mean / (1 - 0.9**count)) / ((square / (1 - 0.999**count)).sqrt() + 1e-8))
            slow = slow + (1 - decay) * (torch.cat([w.flatten() for w in weights]) - slow)
    return slow


class Batches(list):
    """Batches for a training that begins anew each time they are gone through, so that an answer can be called again.

    Otherwise the second call would train on, and no two calls would give the same numbers.
    """

    def __init__(self, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, batches: list) -> None:
        super().__init__(batches)
        self.optimizer, self.nets = optimizer, (net, average)
        self.starts = [[weight.detach().clone() for weight in part.parameters()] for part in self.nets]

    def __iter__(self) -> Iterator:
        self.begin()
        return super().__iter__()

    def __getitem__(self, place: int) -> Tensor:
        if place == 0:
            self.begin()
        return super().__getitem__(place)

    @torch.no_grad()
    def begin(self) -> None:
        self.optimizer.state.clear()
        for part, starts in zip(self.nets, self.starts, strict=True):
            for weight, start in zip(part.parameters(), starts, strict=True):
                weight.data = start.clone()
                weight.grad = None


def line_loss(net: nn.Module, x0: Tensor) -> Tensor:
    """The square error of a line that is to take the sine of its input."""
    return ((net(x0) - torch.sin(2 * x0) - 1) ** 2).mean()


def line_from(weight: float, bias: float) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        net = nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(weight)
        net.bias.fill_(bias)
    return net


def train_case(g: torch.Generator, steps: int, lr: float, decay: float, start: tuple[float, ...]) -> Case:
    net, average = line_from(*start[:2]), line_from(*start[2:])  # the average starts elsewhere, so that both show
    average.requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
    batches = Batches(net, average, optimizer, [torch.randn(8, 1, generator=g) for _ in range(steps)])
    says = f"a line with two weights, {steps} batches and decay = {decay}"
    return Case((net, average, optimizer, batches, line_loss, decay), says)


def train_cases(g):
    return (
        train_case(g, 3, 0.1, 0.8, (0.5, -0.5, 0.2, -0.9)),
        train_case(g, 8, 0.05, 0.9, (-0.4, 0.6, 0.3, 1.1)),
    )


@torch.no_grad()
def moved(average: nn.Module, net: nn.Module, keep: float, take: float) -> None:
    for old, new in zip(average.parameters(), net.parameters(), strict=True):
        old.copy_(keep * old + take * new)


def usual(optimizer: torch.optim.Optimizer, value: Tensor) -> None:
    optimizer.zero_grad()
    value.backward()
    optimizer.step()


def without_zeroing(optimizer: torch.optim.Optimizer, value: Tensor) -> None:
    value.backward()
    optimizer.step()


def too_early(optimizer: torch.optim.Optimizer, value: Tensor) -> None:
    optimizer.step()
    optimizer.zero_grad()
    value.backward()


def train_wrong(name: str, step: Callable, move: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer: step(optimizer, value) changes the network, and then move(average, net, decay) the average."""

    def answer(net, average, optimizer, batches, loss, decay):
        for x0 in batches:
            step(optimizer, loss(net, x0))
            move(average, net, decay)
        return parameters_to_vector(average.parameters())

    return Wrong(name, answer, message, seen)


def rightly(average: nn.Module, net: nn.Module, decay: float) -> None:
    moved(average, net, decay, 1 - decay)


def average_first(net, average, optimizer, batches, loss, decay):
    for x0 in batches:
        rightly(average, net, decay)
        usual(optimizer, loss(net, x0))
    return parameters_to_vector(average.parameters())


def average_at_the_end(net, average, optimizer, batches, loss, decay):
    for x0 in batches:
        usual(optimizer, loss(net, x0))
    rightly(average, net, decay)
    return parameters_to_vector(average.parameters())


def overwritten(net, average, optimizer, batches, loss, decay):
    for x0 in batches:
        usual(optimizer, loss(net, x0))
        rightly(average, net, decay)
        moved(net, average, 0.0, 1.0)
    return parameters_to_vector(average.parameters())


def plain_mean(net, average, optimizer, batches, loss, decay):
    for count, x0 in enumerate(batches):
        usual(optimizer, loss(net, x0))
        moved(average, net, count / (count + 1), 1 / (count + 1))
    return parameters_to_vector(average.parameters())


TRAIN = Exercise(
    id="13.2",
    name="train",
    stub='''
def train(net, average, optimizer, batches, loss, decay):
    """One step of the optimizer for each batch x0. After each, average keeps the share decay of itself. Returns it."""
    ...  # your code
    return parameters_to_vector(average.parameters())
''',
    solution=train,
    alternative=train_with_lerp,
    why=(
        "Each step forgets the old gradient, computes the new one and changes the weights. Then each weight of the\n"
        "average moves by the share 1 - decay towards the new weight. The average only watches: the optimizer never\n"
        "sees it, so no gradient may be recorded while it moves."
    ),
    truth=train_truth,
    cases=train_cases,
    hints=(
        "The loop is `for x0 in batches:`, and the loss of a batch is `loss(net, x0)`.",
        "First the three calls of notebook 07: `optimizer.zero_grad()`, `.backward()` of the loss, `optimizer.step()`.",
        "Then the average, under `with torch.no_grad():`. Go through both networks' weights at once with "
        "`for old, new in zip(average.parameters(), net.parameters()):`.",
        "The new value of a weight of the average is `decay * old + (1 - decay) * new`. "
        "`old.copy_(...)` writes it into the average.",
    ),
    wrong=(
        train_wrong(
            "no zero_grad",
            without_zeroing,
            rightly,
            "The gradients pile up: PyTorch adds each new one to the sum of all before. `optimizer.zero_grad()` has to "
            "come before `backward`, in every step.",
        ),
        train_wrong(
            "a step before its gradient",
            too_early,
            rightly,
            "You call `step` before `backward`, so every step uses the gradient of the batch before, and the first one "
            "has none. The order is `zero_grad`, `backward`, `step`.",
        ),
        train_wrong(
            "never learns",
            lambda optimizer, value: None,
            rightly,
            "The network's weights never change. Either `backward` or `step` is missing, or `zero_grad` stands between "
            "the two and wipes the gradient out before it is used.",
        ),
        train_wrong(
            "the average never moves",
            usual,
            lambda average, net, decay: None,
            "The average is what it was at the start. `old = decay * old + ...` gives a new tensor the name old, and "
            "the network keeps its weight. `old.copy_(...)` writes into it.",
        ),
        train_wrong(
            "decay exchanged",
            usual,
            lambda average, net, decay: moved(average, net, 1 - decay, decay),
            "decay and 1 - decay are exchanged: your average keeps little of itself and follows the last weights.",
        ),
        train_wrong(
            "no average at all",
            usual,
            lambda average, net, decay: moved(average, net, 0.0, 1.0),
            "Your average is a copy of the last weights. It has to keep the share decay of itself in every step.",
        ),
        train_wrong(
            "the weights in full",
            usual,
            lambda average, net, decay: moved(average, net, decay, 1.0),
            "You add the new weights in full. The two factors must add up to 1, so the new weight gets 1 - decay.",
        ),
        Wrong(
            "the average before the step",
            average_first,
            "Your average moves before the step, so the last step is missing in it. First the optimizer's step, then "
            "the average.",
            UNSEEN,
        ),
        Wrong(
            "the average at the end only",
            average_at_the_end,
            "Your average moves once, after the last batch. It has to move after every step: is it inside the loop?",
            UNSEEN,
        ),
        Wrong(
            "the network is overwritten",
            overwritten,
            "You put the average back into the network that is being trained. The average only watches. Training goes "
            "on with the network's own weights.",
            UNSEEN,
        ),
        Wrong(
            "a plain mean",
            plain_mean,
            "Your average is the plain mean of all weights so far, and decay is not used. Early weights are bad "
            "and have to be forgotten.",
            UNSEEN,
        ),
    ),
)


# 13.3 sample


def sample(predict_v, path, x, times):
    for t, s in pairwise(times):
        v = predict_v(x, t)
        x0_hat = path.alpha(t) * x - path.sigma(t) * v
        eps_hat = path.sigma(t) * x + path.alpha(t) * v
        x = path.alpha(s) * x0_hat + path.sigma(s) * eps_hat
    return x


def sample_by_turning(predict_v, path, x, times):
    angles = torch.atan2(path.sigma(times), path.alpha(times))  # alpha is a cosine and sigma the sine
    for k in range(len(times) - 1):
        turn = angles[k] - angles[k + 1]
        x = turn.cos() * x - turn.sin() * predict_v(x, times[k])
    return x


def sample_truth(predict_v, path, x, times):
    for k in range(1, len(times)):
        now, then = times[k - 1], times[k]
        guess = targets.solve("v", path, predict_v(x, now), x, now)
        x = path.perturb(guess.x0, then, guess.eps)
    return x


def sample_cases(g):
    few = torch.tensor([0.8, 0.4, 0.1], dtype=torch.float64)
    shift = 0.05 * torch.rand((), generator=g, dtype=torch.float64)
    more = torch.tensor([0.9, 0.7, 0.45, 0.2, 0.05], dtype=torch.float64) + shift
    return (
        Case((odd_net, schedules.cosine(), normals(g, 1, 1, 2, 2), few), "one image and the times 0.8, 0.4, 0.1"),
        Case((odd_net, schedules.vp_linear(), normals(g, 3, 1, 3, 3), more), "three images and four steps"),
    )


def sample_wrong(name: str, step: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer that goes one step after another: step(x, v, path, t, s)."""

    def answer(predict_v, path, x, times):
        for t, s in pairwise(times):
            x = step(x, predict_v(x, t), path, t, s)
        return x

    return Wrong(name, answer, message, seen)


def mixed(path, x0_hat, eps_hat, s):
    return path.alpha(s) * x0_hat + path.sigma(s) * eps_hat


def x0_of(x, v, path, t):
    return path.alpha(t) * x - path.sigma(t) * v


def eps_of(x, v, path, t):
    return path.sigma(t) * x + path.alpha(t) * v


def only_the_first(predict_v, path, x, times):
    v = predict_v(x, times[0])
    return mixed(path, x0_of(x, v, path, times[0]), eps_of(x, v, path, times[0]), times[-1])


def from_the_start(predict_v, path, x, times):
    out = x
    for t, s in pairwise(times):
        v = predict_v(x, t)
        out = mixed(path, x0_of(x, v, path, t), eps_of(x, v, path, t), s)
    return out


def first_noise(predict_v, path, x, times):
    eps = x
    for t, s in pairwise(times):
        x = mixed(path, x0_of(x, predict_v(x, t), path, t), eps, s)
    return x


def last_guess(predict_v, path, x, times):
    for t, s in pairwise(times):
        v = predict_v(x, t)
        x0_hat = x0_of(x, v, path, t)
        x = mixed(path, x0_hat, eps_of(x, v, path, t), s)
    return x0_hat


def one_step_short(predict_v, path, x, times):
    return sample(predict_v, path, x, times[:-1])


def told_the_next_time(predict_v, path, x, times):
    for t, s in pairwise(times):
        v = predict_v(x, s)
        x = mixed(path, x0_of(x, v, path, t), eps_of(x, v, path, t), s)
    return x


SAMPLE = Exercise(
    id="13.3",
    name="sample",
    stub='''
def sample(predict_v, path, x, times):
    """Walk from noise x, at times[0], down all the times to times[-1]. x: (B, 1, H, W); times: (N + 1,), falling."""
    ...  # your code
''',
    solution=sample,
    alternative=sample_by_turning,
    why=(
        "x_t and v are two mixtures of x0 and eps, so they give both back. Then x0 and eps are mixed again, with the\n"
        "factors of the next time. Since alpha² + sigma² = 1, the two mixtures are a rotation, and its inverse has\n"
        "the same numbers with one sign turned around. This is DDIM."
    ),
    truth=sample_truth,
    cases=sample_cases,
    hints=(
        "Go through pairs of neighbouring times: `for t, s in pairwise(times):`. The network is evaluated at t.",
        "From x and v follow `x0_hat = alpha x - sigma v` and `eps_hat = sigma x + alpha v`, with the factors at t.",
        "The new x mixes the two again, with alpha and sigma at s. It is the x of the next step.",
    ),
    wrong=(
        sample_wrong(
            "the sign in x0",
            lambda x, v, path, t, s: mixed(path, path.alpha(t) * x + path.sigma(t) * v, eps_of(x, v, path, t), s),
            "Your x0_hat is alpha x + sigma v. The sign before sigma is a minus: put in x and v, and all eps must "
            "cancel.",
        ),
        sample_wrong(
            "the sign in eps",
            lambda x, v, path, t, s: mixed(path, x0_of(x, v, path, t), path.sigma(t) * x - path.alpha(t) * v, s),
            "Your eps_hat is sigma x - alpha v. The sign before alpha is a plus: put in x and v, and all x0 must "
            "cancel.",
        ),
        sample_wrong(
            "both signs",
            lambda x, v, path, t, s: mixed(path, x0_of(x, -v, path, t), eps_of(x, -v, path, t), s),
            "Both signs before v are turned around, as if v were sigma x0 - alpha eps. So each step adds noise.",
        ),
        sample_wrong(
            "alpha and sigma exchanged",
            lambda x, v, path, t, s: mixed(path, eps_of(x, v, path, t), x0_of(x, v, path, t), s),
            "x0_hat and eps_hat are exchanged. The factor alpha belongs to x0_hat, and sigma to eps_hat.",
        ),
        sample_wrong(
            "v taken for eps",
            lambda x, v, path, t, s: mixed(path, (x - path.sigma(t) * v) / path.alpha(t), v, s),
            "You take what the network predicts for eps. It predicts v, and eps_hat is sigma x + alpha v.",
        ),
        sample_wrong(
            "v taken for x0",
            lambda x, v, path, t, s: mixed(path, v, (x - path.alpha(t) * v) / path.sigma(t), s),
            "You take what the network predicts for x0. It predicts v, and x0_hat is alpha x - sigma v.",
        ),
        sample_wrong(
            "v taken for the velocity in time",
            lambda x, v, path, t, s: x + (s - t) * v,
            "You go x + (s - t) v, a straight line, as if v were the velocity of x in time. Get x0_hat and eps_hat "
            "from v, and "
            "mix them again.",
            "not seen in public yet: the Euler step of flow matching",
        ),
        sample_wrong(
            "no noise is put back",
            lambda x, v, path, t, s: x0_of(x, v, path, t),
            "Each of your steps ends on x0_hat. But x_s still holds noise: alpha(s) x0_hat + sigma(s) eps_hat.",
        ),
        sample_wrong(
            "estimates clipped",
            lambda x, v, path, t, s: mixed(path, x0_of(x, v, path, t).clamp(-1, 1), eps_of(x, v, path, t), s),
            "You clip x0_hat to [-1, 1]. Some samplers do so, but here it was not asked for, and the check compares "
            "with the plain step.",
            "notebook 12",
        ),
        Wrong(
            "one single step",
            only_the_first,
            "You jump from the first time to the last in one step. The network has to be evaluated at every time but "
            "the last.",
            UNSEEN,
        ),
        Wrong(
            "every step from the start",
            from_the_start,
            "Every step of yours begins with the first x. The x of one step has to be the start of the next.",
            UNSEEN,
        ),
        Wrong(
            "always the first noise",
            first_noise,
            "You mix x0_hat with the noise you started from. eps_hat must follow from the x and the v of each step.",
            UNSEEN,
        ),
        Wrong(
            "the last guess",
            last_guess,
            "You return the last x0_hat. Asked for is x at the last time. The two are equal only where sigma is 0 "
            "there.",
            UNSEEN,
        ),
        Wrong(
            "one step short",
            one_step_short,
            "Your last step is missing: N + 1 times are N steps.",
            "off by one",
        ),
        Wrong(
            "told the next time",
            told_the_next_time,
            "You evaluate the network at s. The image that it sees has the noise of t.",
            UNSEEN,
        ),
    ),
)


# 13.4 nearest


def nearest(x, others):
    table = torch.cdist(x.flatten(1), others.flatten(1))
    distances, places = table.min(dim=1)
    return distances, places


def nearest_by_sorting(x, others):
    squares = ((x[:, None] - others[None]) ** 2).flatten(2).sum(dim=2)
    order = squares.argsort(dim=1)[:, 0]
    return squares.gather(1, order[:, None])[:, 0].sqrt(), order


def nearest_truth(x, others):
    found = [torch.stack([(image - other).norm() for other in others]) for image in x]
    return torch.stack([row.amin() for row in found]), torch.stack([row.argmin() for row in found])


def nearest_cases(g):
    return (
        Case((normals(g, 3, 1, 2, 2), normals(g, 6, 1, 2, 2)), "three images of 2 x 2 pixels and six others"),
        Case((normals(g, 9, 1, 3, 4), normals(g, 25, 1, 3, 4) + 0.3), "nine images of 3 x 4 pixels and 25 others"),
    )


def nearest_wrong(name: str, found: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer from the table of distances: found(table, x, others)."""

    def answer(x, others):
        return found(torch.cdist(x.flatten(1), others.flatten(1)), x, others)

    return Wrong(name, answer, message, seen)


def smallest(table: Tensor) -> tuple[Tensor, Tensor]:
    return tuple(table.min(dim=1))


NEAREST = Exercise(
    id="13.4",
    name="nearest",
    stub='''
def nearest(x, others):
    """For each image of x, (n, 1, H, W), the Euclidean distance to the nearest of others, (n,), and its place, (n,)."""
    ...  # your code
''',
    solution=nearest,
    alternative=nearest_by_sorting,
    why=(
        "An image is a point with H times W coordinates. `torch.cdist` gives the table of all distances, with a row\n"
        "for each image of x. The minimum of each row is the distance asked for, and where it stands is the place."
    ),
    truth=nearest_truth,
    cases=nearest_cases,
    parts=("the distances", "the places"),
    hints=(
        "`x.flatten(1)` makes each image one row of numbers.",
        "`torch.cdist(a, b)` is the table of distances, with a row for each row of a and a column for each row of b.",
        "`table.min(dim=1)` gives the smallest number of each row, and where it stands.",
    ),
    wrong=(
        nearest_wrong(
            "the wrong axis",
            lambda table, x, others: tuple(v[: len(x)] for v in table.min(dim=0)),
            "You look for the nearest image of x to each of the others. The minimum runs over the others, dim=1.",
            "the catalogue: wrong axis",
        ),
        nearest_wrong(
            "squared distances",
            lambda table, x, others: (smallest(table)[0] ** 2, smallest(table)[1]),
            "Your distances are squared. The place is right, but a distance is the root of the sum of squares.",
        ),
        nearest_wrong(
            "root mean square",
            lambda table, x, others: (smallest(table)[0] / x[0].numel() ** 0.5, smallest(table)[1]),
            "You take the mean of the squares over the pixels. The Euclidean distance takes their sum.",
        ),
        nearest_wrong(
            "the farthest",
            lambda table, x, others: tuple(table.max(dim=1)),
            "You return the farthest image, not the nearest.",
        ),
        nearest_wrong(
            "without the nearest itself",
            lambda table, x, others: tuple(part[:, 1] for part in table.topk(2, largest=False)),
            "You skip the nearest image and return the second. That is right where x is among the others and would "
            "find itself. Here it is not.",
            "the catalogue: itself",
        ),
        nearest_wrong(
            "sums of absolute differences",
            lambda table, x, others: smallest(torch.cdist(x.flatten(1), others.flatten(1), p=1)),
            "You add up absolute differences. The Euclidean distance is the root of the sum of squares.",
        ),
        nearest_wrong(
            "exchanged parts",
            lambda table, x, others: (smallest(table)[1], smallest(table)[0]),
            "You return the places first. Asked for are the distances, then the places.",
        ),
        nearest_wrong(
            "the mean distance",
            lambda table, x, others: (table.mean(dim=1), smallest(table)[1]),
            "Your distances are the means over all others. Take the smallest of each row.",
        ),
        nearest_wrong(
            "a place in the whole table",
            lambda table, x, others: (
                smallest(table)[0],
                smallest(table)[1] + len(others) * torch.arange(len(x)),
            ),
            "Your places count through the whole table. A place is the number of the image among the others, so "
            "it starts again at 0 in each row.",
        ),
    ),
)


# 13.5 in_floors


def in_floors(distance, samples, real):
    n = len(samples)
    value = distance(samples, real[:n])
    floor = distance(real[n : 2 * n], real[:n])
    return value / floor


def in_floors_by_chunks(distance, samples, real):
    one_half, other_half = real.chunk(2)
    return distance(samples, one_half) / distance(other_half, one_half)


def in_floors_truth(distance, samples, real):
    sets = {"generated": samples, "real": real[len(real) // 2 :].clone()}
    reference = real.narrow(0, 0, len(real) // 2)
    numbers = {name: float(distance(points, reference)) for name, points in sets.items()}
    return numbers["generated"] / numbers["real"]


def skewed(a: Tensor, b: Tensor) -> Tensor:
    """A distance whose two arguments cannot be exchanged unnoticed, and which depends on how many points there are."""
    return (a.mean(0) - b.mean(0)).square().sum() + 0.3 * (a.std(0) - 0.9 * b.std(0)).abs().sum() + 1 / len(a)


def in_floors_cases(g):
    return (
        Case((skewed, normals(g, 4, 2) + 1, normals(g, 8, 2)), "a distance, four samples and eight real points"),
        Case((skewed, 1.5 * normals(g, 9, 3), normals(g, 18, 3)), "a distance, nine samples and 18 real points"),
    )


def floors_wrong(name: str, formula: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer: formula(distance, samples, first half, second half, real)."""

    def answer(distance, samples, real):
        n = len(samples)
        return formula(distance, samples, real[:n], real[n:], real)

    return Wrong(name, answer, message, seen)


IN_FLOORS = Exercise(
    id="13.5",
    name="in_floors",
    stub='''
def in_floors(distance, samples, real):
    """How far n samples are from the first n of 2n real points, over how far the other n real points are from them."""
    ...  # your code
''',
    solution=in_floors,
    alternative=in_floors_by_chunks,
    why=(
        "Both numbers compare n points with the same n real ones, so chance and bias are the same in both. The only\n"
        "difference is where the n points come from: from the model, or from reality. A perfect model scores about 1."
    ),
    truth=in_floors_truth,
    cases=in_floors_cases,
    hints=(
        "Two distances, and each of them takes two sets of n points. Which set do both share?",
        "The first n real points are `real[:n]` with `n = len(samples)`, and the others are `real[n:]`.",
        "The answer is `distance(samples, real[:n]) / distance(real[n:], real[:n])`.",
    ),
    wrong=(
        floors_wrong(
            "upside down",
            lambda distance, samples, one, other, real: distance(other, one) / distance(samples, one),
            "Your fraction is upside down. The floor is below the line, so a bad model has many floors.",
        ),
        floors_wrong(
            "the same half twice",
            lambda distance, samples, one, other, real: distance(samples, one) / distance(one, one),
            "Your floor compares a half with itself. A set is at no distance from itself, whatever its size. Take "
            "the other half.",
            "the catalogue: same half twice",
        ),
        floors_wrong(
            "unequal numbers",
            lambda distance, samples, one, other, real: distance(samples, real) / distance(other, one),
            "You compare the samples with all 2n real points, and the floor with n. Bias depends on the number of "
            "points, so both must have the same.",
            "the catalogue: unequal n",
        ),
        floors_wrong(
            "the value without its floor",
            lambda distance, samples, one, other, real: distance(samples, one),
            "That is the distance. Divide it by the floor.",
        ),
        floors_wrong(
            "a difference",
            lambda distance, samples, one, other, real: distance(samples, one) - distance(other, one),
            "You subtract the floor. Asked for is how many floors the distance is: divide.",
        ),
        floors_wrong(
            "the floor of the samples",
            lambda distance, samples, one, other, real: (
                distance(samples, one) / distance(samples[: len(samples) // 2], samples[len(samples) // 2 :])
            ),
            "Your floor compares samples with samples. It has to be what real points score.",
        ),
        floors_wrong(
            "another half for the value",
            lambda distance, samples, one, other, real: distance(samples, other) / distance(one, other),
            "You hold both against the second half. That is as good a choice, but the task asks for the first.",
        ),
        floors_wrong(
            "another half for the floor",
            lambda distance, samples, one, other, real: distance(samples, other) / distance(other, one),
            "You hold the samples against the second half and the floor against the first. Both need the same "
            "reference, the first half.",
        ),
        floors_wrong(
            "the floor the wrong way round",
            lambda distance, samples, one, other, real: distance(samples, one) / distance(one, other),
            "Your floor compares the first half with the second. Take the same order as for the samples, since a "
            "distance need not be symmetric.",
        ),
    ),
)


# 13.6 least_sure


def least_sure(logits, n):
    surest = logits.softmax(dim=1).max(dim=1).values
    return surest.argsort()[:n]


def least_sure_by_topk(logits, n):
    return logits.log_softmax(dim=1).amax(dim=1).topk(n, largest=False).indices


def least_sure_truth(logits, n):
    weights = (logits - logits.max(dim=1, keepdim=True).values).exp()
    doubt = {place: float(row.sum()) for place, row in enumerate(weights)}  # 1 / the largest probability
    return torch.tensor(sorted(doubt, key=doubt.get, reverse=True)[:n])


def least_sure_cases(g):
    scale = 0.3 + 2 * torch.rand(40, 1, generator=g, dtype=torch.float64)
    shift = 3 * normals(g, 40, 1)
    few = torch.tensor([[4.0, 0.0, 0.0], [1.0, 0.9, -3.0], [7.0, 6.0, 6.0], [0.3, 0.0, -0.1]], dtype=torch.float64)
    return (
        Case((few, 2), "four images, three classes and n = 2"),
        Case((scale * normals(g, 40, 5) + shift, 12), "40 images, five classes and n = 12"),
    )


def by_score(name: str, score: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    """A wrong answer: the n places with the smallest score(logits, probabilities)."""

    def answer(logits, n):
        return score(logits, logits.softmax(dim=1)).argsort()[:n]

    return Wrong(name, answer, message, seen)


LEAST_SURE = Exercise(
    id="13.6",
    name="least_sure",
    stub='''
def least_sure(logits, n):
    """The places of the n images whose largest class probability is smallest, the least sure first. logits: (B, C)."""
    ...  # your code
''',
    solution=least_sure,
    alternative=least_sure_by_topk,
    why=(
        "Softmax turns logits into probabilities. The largest one says how sure the classifier is. Sorted from small\n"
        "to large, the first n are the least sure. The logits themselves will not do, because a number added to all\n"
        "logits of an image changes no probability."
    ),
    truth=least_sure_truth,
    cases=least_sure_cases,
    hints=(
        "Logits become probabilities by `logits.softmax(dim=1)`.",
        "How sure is the classifier of an image? Take the largest probability of its row.",
        "`argsort` sorts from small to large. You need its first n entries.",
    ),
    wrong=(
        by_score(
            "the surest",
            lambda logits, p: -p.max(dim=1).values,
            "You return the images of which the classifier is most sure. `topk` takes the largest unless you say "
            "`largest=False`.",
            "the catalogue: most sure",
        ),
        Wrong(
            "the surest of them first",
            lambda logits, n: least_sure(logits, n).flip(0),
            "These are the right images, but the least sure one has to come first.",
            UNSEEN,
        ),
        by_score(
            "softmax twice",
            lambda logits, p: p.softmax(dim=1).max(dim=1).values,
            "You apply softmax twice. The second one takes probabilities for logits and changes the order.",
            "the catalogue: softmax twice",
        ),
        by_score(
            "the largest logit",
            lambda logits, p: logits.max(dim=1).values,
            "You sort by the largest logit. Logits have no zero of their own: add 5 to all logits of an image, and "
            "no probability changes.",
        ),
        by_score(
            "the smallest probability",
            lambda logits, p: p.min(dim=1).values,
            "You sort by the smallest probability. How sure a classifier is says its largest one.",
        ),
        by_score(
            "the margin",
            lambda logits, p: p.topk(2).values.diff(dim=1).neg()[:, 0],
            "You sort by the gap between the two largest probabilities. That is a good measure too, but the task asks "
            "for the largest probability.",
        ),
        by_score(
            "the entropy",
            lambda logits, p: (p * p.log()).sum(dim=1),
            "You sort by entropy. That is a good measure too, but the task asks for the largest probability.",
        ),
        Wrong(
            "softmax over the images",
            lambda logits, n: logits.softmax(dim=0).max(dim=1).values.argsort()[:n],
            "Your softmax runs over the images, so that the probabilities of one class add up to 1. Classes lie along "
            "dim=1.",
            UNSEEN,
        ),
        Wrong(
            "the classes",
            lambda logits, n: logits[least_sure(logits, n)].argmax(dim=1),
            "You return the classes of these images. Asked for are their places, so that one can look at them.",
            UNSEEN,
        ),
    ),
)


# 13.7 between


def between(a, b, theta):
    return math.cos(theta) * a + math.sin(theta) * b


def between_as_a_turn(a, b, theta):
    turn = torch.tensor([math.cos(theta), math.sin(theta)], dtype=a.dtype)
    return torch.einsum("k,k...->...", turn, torch.stack([a, b]))


def between_truth(a, b, theta):
    return (torch.complex(a, b) * torch.polar(torch.ones_like(a), torch.full_like(a, -theta))).real


def between_cases(g):
    one = (torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64))
    theta = round(0.9 + 0.4 * float(torch.rand((), generator=g)), 3)
    return (
        Case((*one, 0.4), "a = (1, 0), b = (0.5, 2) and theta = 0.4"),
        Case((normals(g, 2, 1, 3, 3), normals(g, 2, 1, 3, 3), theta), f"two noises of two images, theta = {theta}"),
    )


def share_of(theta: float) -> float:
    return theta / (math.pi / 2)


def along_the_circle(a, b, theta):
    """The walk along the great circle through these very two noises (Shoemake 1985)."""
    angle = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    share = share_of(theta)
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()


def straight(a, b, theta):
    return (1 - share_of(theta)) * a + share_of(theta) * b


def between_wrong(name: str, answer: Callable, message: str, seen: str = UNSEEN) -> Wrong:
    return Wrong(name, answer, message, seen)


BETWEEN = Exercise(
    id="13.7",
    name="between",
    stub='''
def between(a, b, theta):
    """A mixture of two noises whose variance is 1 again: a at theta = 0, and b at theta = pi / 2. theta is a number."""
    ...  # your code
''',
    solution=between,
    alternative=between_as_a_turn,
    why=(
        "Independent noises add up their variances: cos² + sin² = 1. So every mixture is as good a noise as a and b,\n"
        "and the network has seen its like. The straight mixture with shares 1/2 has variance 1/2 in the middle, and\n"
        "that is an image with too little noise for its time."
    ),
    truth=between_truth,
    cases=between_cases,
    hints=(
        "If a and b are independent and have variance 1, what is the variance of p a + q b?",
        "p² + q² = 1 is a circle. Which two functions of theta walk along it from (1, 0) to (0, 1)?",
        "p is cos(theta), and q is sin(theta). theta is a plain number, so take them from `math`.",
    ),
    wrong=(
        between_wrong(
            "a straight line",
            straight,
            "You mix along a straight line. In the middle the variance is 1/2, and the network takes the image for "
            "one with less noise. The squares of the two factors must add up to 1.",
            "the catalogue: lerp",
        ),
        between_wrong(
            "exchanged ends",
            lambda a, b, theta: math.sin(theta) * a + math.cos(theta) * b,
            "The ends are exchanged: at theta = 0 you give b.",
            "AUTOMATIC1111/stable-diffusion-webui#3068",
        ),
        between_wrong(
            "squares",
            lambda a, b, theta: math.cos(theta) ** 2 * a + math.sin(theta) ** 2 * b,
            "You square the factors, so that they add up to 1. Their squares have to.",
        ),
        between_wrong(
            "roots of the shares",
            lambda a, b, theta: math.sqrt(1 - share_of(theta)) * a + math.sqrt(share_of(theta)) * b,
            "Your factors are roots of shares. The variance is 1, and that is what matters, but the angle is not "
            "theta: the walk is fast at both ends.",
        ),
        between_wrong(
            "degrees",
            lambda a, b, theta: math.cos(math.radians(theta)) * a + math.sin(math.radians(theta)) * b,
            "You take theta for degrees. It runs from 0 to pi / 2.",
        ),
        between_wrong(
            "a minus",
            lambda a, b, theta: math.cos(theta) * a - math.sin(theta) * b,
            "There is a minus before b. At theta = pi / 2 you end on -b.",
        ),
        between_wrong(
            "the measured angle",
            along_the_circle,
            "You measure the angle between these two noises and walk along their great circle. For 784 pixels that "
            "is nearly the same, because independent noises are nearly orthogonal. The task asks for the plain "
            "cosine and sine.",
            "AUTOMATIC1111/stable-diffusion-webui#1229",
        ),
        between_wrong(
            "scaled afterwards",
            lambda a, b, theta: straight(a, b, theta) / math.sqrt((1 - share_of(theta)) ** 2 + share_of(theta) ** 2),
            "You mix along a straight line and divide by the root of the variance. That is a good noise too, but its "
            "angle is not theta.",
        ),
        between_wrong(
            "past the end",
            lambda a, b, theta: a + theta * (b - a),
            "You walk a straight line and take theta for a share. At theta = pi / 2 you are far beyond b.",
        ),
    ),
)


# 13.8 and 13.9: on paper, and open

ERROR_IN_V = Explanation(
    id="13.8",
    name="the error in v",
    task="Show on paper that an error d in the predicted x0 is an error of size |d| / sigma in the v that follows.",
    model=(
        "x_t is known, so a wrong x0_hat = x0 + d leaves another noise: eps_hat = (x_t - alpha x0_hat) / sigma, and\n"
        "this is eps - alpha d / sigma. Put both into v: v_hat - v = alpha (eps_hat - eps) - sigma d\n"
        "= -(alpha² + sigma²) d / sigma = -d / sigma, since alpha² + sigma² = 1. So the square error of v is that of\n"
        "x0 times 1 / sigma². Near t = 0 this weight is large: there every x0 is nearly right, and the loss in v\n"
        "still asks for the finest strokes. The course's weight is 1 / sigma², but at most 20."
    ),
    look_for=(
        "The noise is not free: x_t is known, and x0_hat fixes eps_hat.",
        "alpha² + sigma² = 1 is used, and said.",
        "The square error gets the factor 1 / sigma², which is large where there is little noise.",
    ),
    hints=(
        "A network that predicts x0_hat = x0 + d has also predicted a noise. Which one, if x_t is known?",
        "Solve x_t = alpha x0_hat + sigma eps_hat for eps_hat, and put in x_t = alpha x0 + sigma eps.",
        "Now subtract v = alpha eps - sigma x0 from its prediction, and collect what stands before d.",
    ),
)

MIXED_NUMBERS = Explanation(
    id="13.9",
    name="what your model gets wrong",
    task="Look at the twenty samples that the classifier is least sure of, and say what they have in common.",
    model=(
        "Most are between two digits: a 4 that is nearly closed to a 9, a 7 with the bow of a 9, a 3 whose left side\n"
        "closes to an 8. Others have a gap or a loose stroke that no hand would draw. At much noise it is decided\n"
        "which digit it will be. A network with little training may decide for one digit in the left half of the\n"
        "image and for another in the right. Later steps sharpen the strokes and do not undo this. Some real test\n"
        "images are doubtful as well, so compare with the twenty least sure real ones before you blame the model."
    ),
    look_for=(
        "It names pairs of digits that are mixed, or strokes that are broken, and shows the pictures.",
        "It says at which noise the fault was made, or how one could find out (section 5.4).",
        "It compares with the least sure of the real images, since they are doubtful too.",
    ),
    hints=(
        "Use your `least_sure` on the classifier's logits of 1,000 samples, and show twenty with `plots.image_rows`.",
        "Which two digits does each picture lie between? Print the two largest probabilities.",
        "Do the same with 1,000 real test images. What is different?",
    ),
)

EXERCISES = (
    V_LOSS,
    TRAIN,
    SAMPLE,
    NEAREST,
    IN_FLOORS,
    LEAST_SURE,
    BETWEEN,
    ERROR_IN_V,
    MIXED_NUMBERS,
)
