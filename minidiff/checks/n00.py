"""The exercises of notebook 00, start here: 0.1 and 0.2 in its flow, 0.3 to 0.7 at its end.

Sources of the wrong answers are issues of public repositories, `owner/name#number`. Those not seen in public yet are
waiting for the log of unknown answers.
"""

import torch

from minidiff import data, exact, generator, metrics, samplers, schedules
from minidiff.checks.records import Case, Exercise, Explanation, Question, Wrong, WrongValue

__all__ = ["EXERCISES", "TITLE"]

TITLE = "Start here"


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


# 0.1 blend


def blend(x0, eps, alpha, sigma):
    return alpha[:, None] * x0 + sigma[:, None] * eps


def blend_transposed(x0, eps, alpha, sigma):
    columns = alpha * x0.T + sigma * eps.T  # (2, B)
    return columns.T


def blend_truth(x0, eps, alpha, sigma):  # point by point, with plain numbers
    rows = []
    for point, noise, a, s in zip(x0.tolist(), eps.tolist(), alpha.tolist(), sigma.tolist(), strict=True):
        rows.append([a * p + s * e for p, e in zip(point, noise, strict=True)])
    return torch.tensor(rows, dtype=x0.dtype)


def blend_cases(g):
    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def between(low, high):
        return low + (high - low) * torch.rand(50, generator=g, dtype=torch.float64)

    one = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, -1.0]]), torch.tensor([0.8]), torch.tensor([0.6])
    two = (
        *(torch.tensor([[1.0, 2.0], [-3.0, 1.0]]), torch.tensor([[0.5, -1.0], [2.0, 1.0]])),
        *(torch.tensor([0.9, 0.3]), torch.tensor([0.2, 0.7])),
    )
    many = 3 + 2 * draw(50, 2), draw(50, 2), between(0.2, 0.9), between(0.1, 0.8)
    return (
        Case(one, "x0 = (1, 2), eps = (0.5, -1), alpha = 0.8 and sigma = 0.6"),
        Case(two, "two points with alpha = 0.9 and 0.3 and sigma = 0.2 and 0.7"),
        Case(many, "50 points in float64 that all have an alpha and a sigma of their own"),
    )


def blended(a, b):
    """A wrong answer a x0 + b eps, from functions of alpha and sigma in columns."""

    def answer(x0, eps, alpha, sigma):
        columns = alpha[:, None], sigma[:, None]
        return a(*columns) * x0 + b(*columns) * eps

    return answer


def first(alpha, sigma):
    return alpha


def second(alpha, sigma):
    return sigma


BLEND = Exercise(
    id="0.1",
    name="blend",
    stub='''
def blend(x0, eps, alpha, sigma):
    """alpha x0 + sigma eps, for points x0 and noise eps, (B, 2). alpha, sigma: (B,), one number for each point."""
    ...  # your code
''',
    solution=blend,
    alternative=blend_transposed,
    why=(
        "The two terms are those of the formula. The rest is shapes. PyTorch lines up shapes from the right, so\n"
        "alpha of shape (B,) would run along the two coordinates. With the shape (B, 1) there is one number for\n"
        "each point, and both coordinates of the point are multiplied by it."
    ),
    truth=blend_truth,
    cases=blend_cases,
    hints=(
        "Which of the two numbers multiplies the data, and which one the noise?",
        "x0 has the shape (B, 2) and alpha the shape (B,). How do you give alpha a second axis of length 1?",
        "`alpha[:, None]` has the shape (B, 1). Multiply x0 by it, and do the same with sigma and eps.",
    ),
    wrong=(
        Wrong(
            "data and noise exchanged",
            blended(second, first),
            "Data and noise are exchanged: you multiply the noise by alpha and the data by sigma.",
            "VinAIResearch/LFM#19, sii-research/tau-0-vla#7",
        ),
        Wrong(
            "along the axes",
            lambda x0, eps, alpha, sigma: alpha * x0 + sigma * eps,
            "You multiply x0 of shape (B, 2) by alpha of shape (B,). PyTorch lines up shapes from the right, so alpha "
            "runs along the two axes and not along the points. With two points that is silently wrong, and with more "
            "it fails. `alpha[:, None]` has the shape (B, 1).",
            "jolibrain/joliGEN#527",
        ),
        Wrong(
            "sigma squared",
            blended(first, lambda alpha, sigma: sigma**2),
            "You multiply the noise by sigma squared. That is the variance of the noise, and a factor before noise is "
            "a standard deviation: sigma itself.",
            "not seen in public yet",
        ),
        Wrong(
            "both squared",
            blended(lambda alpha, sigma: alpha**2, lambda alpha, sigma: sigma**2),
            "You square both numbers. The squares of alpha and sigma multiply variances, and here points are "
            "multiplied.",
            "labmlai/annotated_deep_learning_paper_implementations#152",
        ),
        Wrong(
            "roots taken",
            blended(lambda alpha, sigma: alpha.sqrt(), lambda alpha, sigma: sigma.sqrt()),
            "You take the roots of alpha and sigma. The roots of the DDPM paper are already in them: its alpha_bar is "
            "our alpha squared.",
            "not seen in public yet: DDPM's equation 4",
        ),
        Wrong(
            "1 - alpha for sigma",
            blended(first, lambda alpha, sigma: 1 - alpha),
            "You multiply the noise by 1 - alpha and never use sigma. The two factors need not add up to 1.",
            "not seen in public yet: the path of rectified flow",
        ),
        Wrong(
            "sigma from alpha",
            blended(first, lambda alpha, sigma: (1 - alpha**2).sqrt()),
            "You compute the factor of the noise from alpha, as the root of 1 - alpha². That is sigma on the path of "
            "this notebook, but other paths have another one. Use the argument sigma.",
            "not seen in public yet",
        ),
        Wrong(
            "nothing shrinks",
            blended(lambda alpha, sigma: 1, second),
            "You keep all of x0: alpha is missing. Then the data never disappear.",
            "notebook 05, section 1",
        ),
        Wrong(
            "the whole noise",
            blended(first, lambda alpha, sigma: 1),
            "You add the whole noise: sigma is missing. Then even at t = 0 the points are not the data.",
            "not seen in public yet",
        ),
        Wrong(
            "the noise shrinks too",
            blended(first, lambda alpha, sigma: alpha * sigma),
            "You multiply the noise by alpha as well, as in alpha * (x0 + sigma * eps). Shrink x0 alone, then add.",
            "not seen in public yet: a bracket too many",
        ),
        Wrong(
            "the noise subtracted",
            blended(first, lambda alpha, sigma: -sigma),
            "You subtract the noise. The cloud would look the same, because noise is symmetric, but each point would "
            "get the opposite of its eps. A network that has to find eps would learn the wrong sign.",
            "not seen in public yet",
        ),
        Wrong(
            "the numbers of the first point",
            lambda x0, eps, alpha, sigma: alpha[0] * x0 + sigma[0] * eps,
            "You use alpha and sigma of the first point for all points. Each point has its own.",
            "not seen in public yet",
        ),
    ),
)


# 0.2 step_back


def step_back(x_t, x0_hat, path, t, s):
    eps_hat = (x_t - path.alpha(t) * x0_hat) / path.sigma(t)
    return path.alpha(s) * x0_hat + path.sigma(s) * eps_hat


def step_back_by_ratio(x_t, x0_hat, path, t, s):
    ratio = path.sigma(s) / path.sigma(t)
    return ratio * x_t + (path.alpha(s) - ratio * path.alpha(t)) * x0_hat


def step_back_truth(x_t, x0_hat, path, t, s):
    return samplers.ddim_step(lambda x, time: x0_hat, path, x_t, t, s).x


def step_back_cases(g):
    def draw(middle):
        return middle + torch.randn(20, 2, generator=g, dtype=torch.float64)

    plain = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 1.0]]), schedules.rectified_flow()
    usual = draw(1.0), draw(-2.0), schedules.vp_linear()
    return (
        Case(
            (*plain, torch.tensor(0.8), torch.tensor(0.4)),
            "x_t = (1, 0), x0_hat = (2, 1), t = 0.8, s = 0.4, and alpha(t) = 1 - t, sigma(t) = t",
        ),
        Case((*usual, doubles(0.4), doubles(0.3)), "20 points in float64, t = 0.4, s = 0.3 and schedules.vp_linear()"),
    )


def stepped(formula):
    """A wrong answer: formula(x_t, x0_hat, alpha(t), sigma(t), alpha(s), sigma(s))."""

    def answer(x_t, x0_hat, path, t, s):
        return formula(x_t, x0_hat, path.alpha(t), path.sigma(t), path.alpha(s), path.sigma(s))

    return answer


def without_sigma(x, guess, a, _, b, __):
    return b * guess + (1 - b**2).sqrt() * (x - a * guess) / (1 - a**2).sqrt()


STEP_BACK = Exercise(
    id="0.2",
    name="step_back",
    stub='''
def step_back(x_t, x0_hat, path, t, s):
    """x_t and the guess x0_hat, (B, 2), give the points at time s, (B, 2). path.alpha(t), path.sigma(t) are numbers."""
    ...  # your code
''',
    solution=step_back,
    alternative=step_back_by_ratio,
    why=(
        "x_t = alpha(t) x0 + sigma(t) eps is one equation, and the guess of x0 leaves one unknown, the noise.\n"
        "Solve for it, with the factors of time t. Then mix guess and noise again, with the factors of time s.\n"
        "This is the step of the sampler DDIM (notebook 10)."
    ),
    truth=step_back_truth,
    cases=step_back_cases,
    hints=(
        "In x_t = alpha(t) x0 + sigma(t) eps, put x0_hat in place of x0. What is eps then?",
        "The noise is found with the factors of time t, because x_t was mixed at time t. Call it eps_hat.",
        "Mix again at time s: the guess times alpha(s), and eps_hat times sigma(s).",
    ),
    wrong=(
        Wrong(
            "jumps to the guess",
            lambda x_t, x0_hat, path, t, s: x0_hat.clone(),
            "You return the guess itself, and so jump to time 0. But the guess is only a mean over everything that x_t "
            "could have been, so go only as far as time s.",
            "not seen in public yet",
        ),
        Wrong(
            "nothing moves",
            stepped(lambda x, guess, a, p, b, q: a * guess + p * (x - a * guess) / p),
            "You return x_t: you take the noise out and put it in again with the same two numbers. Find the noise "
            "with alpha(t) and sigma(t), and mix again with alpha(s) and sigma(s).",
            "not seen in public yet",
        ),
        Wrong(
            "times exchanged",
            stepped(lambda x, guess, a, p, b, q: a * guess + p * (x - b * guess) / q),
            "The two times are exchanged: you find the noise with the factors of s and mix with the factors of t. But "
            "x_t was mixed at time t.",
            "lucidrains/denoising-diffusion-pytorch#81",
        ),
        Wrong(
            "no noise is put back",
            stepped(lambda x, guess, a, p, b, q: b * guess),
            "You put no noise back. At time s a point still has noise, with the standard deviation sigma(s).",
            "not seen in public yet",
        ),
        Wrong(
            "noise of the old size",
            stepped(lambda x, guess, a, p, b, q: b * guess + x - a * guess),
            "The noise keeps the size that it had at time t. Divide it by sigma(t), then multiply it by sigma(s).",
            "not seen in public yet",
        ),
        Wrong(
            "not divided by sigma(t)",
            stepped(lambda x, guess, a, p, b, q: b * guess + q * (x - a * guess)),
            "x_t - alpha(t) x0_hat is sigma(t) times the noise. You forgot to divide by sigma(t).",
            "not seen in public yet",
        ),
        Wrong(
            "the guess is not shrunk",
            stepped(lambda x, guess, a, p, b, q: b * guess + q * (x - guess) / p),
            "You subtract the whole guess from x_t. In x_t the data are already shrunk, so subtract alpha(t) x0_hat.",
            "not seen in public yet",
        ),
        Wrong(
            "alpha(s) is missing",
            stepped(lambda x, guess, a, p, b, q: guess + q * (x - a * guess) / p),
            "At time s the data are shrunk by alpha(s). You add the guess in full.",
            "not seen in public yet",
        ),
        Wrong(
            "alpha of the wrong time",
            stepped(lambda x, guess, a, p, b, q: b * guess + q * (x - b * guess) / p),
            "You subtract alpha(s) x0_hat when you look for the noise. x_t was mixed at time t, so it is alpha(t).",
            "lucidrains/denoising-diffusion-pytorch#81",
        ),
        Wrong(
            "the sign of the noise",
            stepped(lambda x, guess, a, p, b, q: b * guess - q * (x - a * guess) / p),
            "The sign of the noise is turned around. It is x_t minus the shrunken guess, not the guess minus x_t.",
            "acids-ircam/diffusion_models#7",
        ),
        Wrong(
            "x_t for the guess",
            stepped(lambda x, guess, a, p, b, q: b * x + q * (x - a * guess) / p),
            "You multiply x_t by alpha(s). x_t still has its noise in it; what is mixed again is the guess x0_hat.",
            "not seen in public yet",
        ),
        Wrong(
            "sigma squared",
            stepped(lambda x, guess, a, p, b, q: b * guess + (q / p) ** 2 * (x - a * guess)),
            "You square sigma(t) and sigma(s). Those are variances, and points are multiplied by standard deviations.",
            "ermongroup/CSDI#9",
        ),
        Wrong(
            "factors exchanged in the mixture",
            stepped(lambda x, guess, a, p, b, q: q * guess + b * (x - a * guess) / p),
            "In the second line alpha and sigma are exchanged. The guess is multiplied by alpha(s), and the noise by "
            "sigma(s).",
            "VinAIResearch/LFM#19",
        ),
        Wrong(
            "factors exchanged in the noise",
            stepped(lambda x, guess, a, p, b, q: b * guess + q * (x - p * guess) / a),
            "In the first line alpha and sigma are exchanged. In x_t the data are multiplied by alpha(t), so subtract "
            "alpha(t) x0_hat and divide by sigma(t).",
            "not seen in public yet",
        ),
        Wrong(
            "the fraction t - s of the way",
            lambda x_t, x0_hat, path, t, s: x_t + (x0_hat - x_t) * (t - s),
            "You walk the fraction t - s of the way from x_t to the guess. How far a step goes depends on alpha and "
            "sigma at both times: find the noise, then mix again.",
            "not seen in public yet",
        ),
        Wrong(
            "a straight line",
            lambda x_t, x0_hat, path, t, s: x_t + (x0_hat - x_t) * (t - s) / t,
            "You walk a part of the straight line from x_t to the guess, in proportion to the time. That is right on "
            "the path alpha(t) = 1 - t, sigma(t) = t only.",
            "not seen in public yet: the step of rectified flow",
        ),
        Wrong(
            "sigma from alpha",
            stepped(without_sigma),
            "You compute sigma as the root of 1 - alpha². That holds on the path of this notebook, but other paths "
            "have another sigma. Use path.sigma.",
            "not seen in public yet",
        ),
    ),
)


# 0.3 fewest


def fewest_steps():
    mixture, path = data.three_gaussians(), schedules.vp_linear()
    denoise = exact.mixture_denoiser(mixture, path)
    for steps in (1, 3, 10, 30, 100):
        x = path.prior((2000, 2), generator(0, 20))
        samples = samplers.last(samplers.ddim(denoise, path, x, torch.linspace(1, 0, steps + 1)))
        real, real_again = (mixture.sample(2000, generator(0, 21, i))[0] for i in range(2))
        groups = zip(samples.chunk(8), real.chunk(8), real_again.chunk(8), strict=True)
        measured = [metrics.energy_distance(*group, generator=generator(0, 22)) for group in groups]
        if sum(m.value for m in measured) < 3 * sum(m.floor for m in measured):
            return steps
    return None


FEWEST = Question(
    id="0.3",
    name="fewest",
    stub="fewest = None  # the fewest of 1, 3, 10, 30, 100 steps with samples less than 3 floors from real data",
    right=(10, 10),
    solution=fewest_steps,
    why=(
        "One step jumps to the mean of all data, 60 to 80 floors away. Three steps fill a triangle, 15 to 20\n"
        "floors away. Ten steps are below 3 floors. But look at the picture: at ten steps some points still\n"
        "lie between the blobs. A few stray points hardly change the energy distance, so always look at the\n"
        "samples too. Notebooks 11 and 30 ask what each metric misses."
    ),
    hints=(
        "`reverse(denoise, path, film[0], torch.linspace(1, 0, steps + 1))[-1]` gives the samples.",
        "`floors(samples, real, real_again)` gives the distance in floors. Print it for all five numbers of steps.",
        "Begin with 100 steps and go down. The answer is the last number of steps that still gives less than 3 floors.",
    ),
    wrong=(
        WrongValue(
            "one step",
            (1, 1),
            "With one step every point jumps to the mean of all data, and all of them end on one spot.",
            "not seen in public yet",
        ),
        WrongValue(
            "two steps",
            (2, 2),
            "Two steps are not among the five numbers, and the samples are far from the data.",
            "not seen in public yet",
        ),
        WrongValue(
            "no floor",
            (3, 3),
            "With 3 steps the distance itself looks small, but it is more than ten times its floor. The picture shows "
            "a triangle instead of three blobs.",
            "not seen in public yet",
        ),
        WrongValue(
            "none of the five",
            (4, 9),
            "This is none of the five numbers. The distance falls below 3 floors somewhere between 4 and 9 steps, and "
            "chance decides where. That is why the question asks for one of 1, 3, 10, 30 and 100.",
            "not seen in public yet",
        ),
        WrongValue(
            "one draw, or the eye",
            (30, 30),
            "30 steps give less than 3 floors, but a smaller one of the five numbers does too. Did you use `floors`, "
            "which takes the mean of eight groups? A single distance depends on chance. Or did you see stray points "
            "between the blobs? Then you saw more than the energy distance does.",
            "not seen in public yet",
        ),
        WrongValue(
            "more than enough, and none of the five",
            (11, 29),
            "So many steps are enough, but the question asks for the smallest of 1, 3, 10, 30 and 100 that is enough.",
            "not seen in public yet",
        ),
        WrongValue(
            "the largest",
            (100, 100),
            "That is the largest of the five. It is below 3 floors, but so are smaller numbers of steps.",
            "not seen in public yet",
        ),
        WrongValue(
            "that of the lesson",
            (200, 200),
            "200 is the number of steps in the lesson. The question is which smaller number is still enough.",
            "not seen in public yet",
        ),
    ),
)


# 0.4 ends


def where_they_end():
    mixture, path = data.three_gaussians(), schedules.vp_linear()
    denoise, times = exact.mixture_denoiser(mixture, path), torch.linspace(1, 0, 201)
    walk = samplers.ancestral(denoise, path, torch.zeros(2000, 2), times, generator=generator(0, 23))
    fractions = exact.responsibilities(mixture, path, samplers.last(walk), torch.tensor(0.001)).mean(dim=0)
    by_weight = bool((fractions - mixture.weights).abs().max() < 0.07)
    return "three blobs by weight" if by_weight else "elsewhere"


ENDS = Question(
    id="0.4",
    name="ends",
    stub='ends = None  # where: "origin", "one spot", "one blob", "three blobs equally", "three blobs by weight"',
    right="three blobs by weight",
    solution=where_they_end,
    why=(
        "Near t = 1 a step with fresh noise shrinks the point a little and adds a little noise, as a forward\n"
        "step does. So the point soon forgets where it began, long before the guess depends on the blobs.\n"
        "What matters is the fresh noise. Without fresh noise, points that begin together end together."
    ),
    choices=(
        "origin",
        "one spot",
        "one blob",
        "three blobs equally",
        "three blobs by weight",
    ),
    hints=(
        "`steps = samplers.ancestral(denoise, path, torch.zeros(2000, 2), times, generator=generator(0, 23))` makes "
        "the steps, and `x = samplers.last(steps)` gives the samples.",
        "Plot them with `plots.points(plots.panels()[1][0], x)`. As in section 3, "
        "`exact.responsibilities(mixture, path, x, times[-1]).mean(dim=0)` gives the fraction in each blob.",
        "After a few dozen steps near t = 1, how much of the start is left, and how much is fresh noise?",
    ),
    wrong=(
        WrongValue(
            "stays at 0",
            "origin",
            "The points do not stay at the origin: each step adds fresh noise, and then the guess is no longer the "
            "same for all.",
            "not seen in public yet",
        ),
        WrongValue(
            "one spot",
            "one spot",
            "That is what happens without fresh noise: equal points stay equal. Here each point gets noise of its own.",
            "not seen in public yet",
        ),
        WrongValue(
            "one blob",
            "one blob",
            "The origin is nearest to the largest blob, but the points have forgotten their start before the blobs "
            "matter.",
            "not seen in public yet",
        ),
        WrongValue(
            "equally",
            "three blobs equally",
            "All three blobs are found, but not equally. The exact guess knows the weights 0.5, 0.3 and 0.2.",
            "not seen in public yet",
        ),
    ),
)


# 0.5 guess_the_nearest_mean


def guess_the_nearest_mean(x_t, alpha, means):
    distances = torch.cdist(x_t, alpha * means)  # (B, K)
    return means[distances.argmin(dim=1)]


def guess_by_squares(x_t, alpha, means):
    squares = (x_t[:, None, :] - alpha * means).square().sum(dim=2)
    return means[squares.min(dim=1).indices]


def nearest_truth(x_t, alpha, means):  # point by point: |x - a m|² without |x|², which is the same for all means
    a, rows = float(alpha), []
    for x, y in x_t.tolist():
        rows.append(
            min(means.tolist(), key=lambda m, x=x, y=y: a * (m[0] ** 2 + m[1] ** 2) - 2 * (m[0] * x + m[1] * y))
        )
    return torch.tensor(rows, dtype=means.dtype)


def nearest_cases(g):
    x_t = 1.5 * torch.randn(60, 2, generator=g, dtype=torch.float64)
    means = doubles([[-2.0, -0.5], [1.5, 1.8], [0.4, -0.8]])
    return (
        Case(
            (torch.tensor([[1.5, 0.0]]), torch.tensor(0.5), torch.tensor([[1.0, 0.0], [4.0, 0.0]])),
            "one point, x_t = (1.5, 0), alpha = 0.5 and the means (1, 0) and (4, 0)",
        ),
        Case((x_t, doubles(0.6), means), "60 points in float64, alpha = 0.6 and three means"),
    )


def distances_to(x_t, means):
    return torch.cdist(x_t, means)


NEAREST = Exercise(
    id="0.5",
    name="guess_the_nearest_mean",
    stub='''
def guess_the_nearest_mean(x_t, alpha, means):
    """For each point of x_t, (B, 2), the mean m for which alpha m lies nearest. means: (K, 2). Returns (B, 2)."""
    ...  # your code
''',
    solution=guess_the_nearest_mean,
    alternative=guess_by_squares,
    why=(
        "At time t the blob of the mean m lies around alpha m, so that is what x_t is compared with. But the\n"
        "guess is a guess of x0, so the answer is m itself, not alpha m."
    ),
    truth=nearest_truth,
    cases=nearest_cases,
    hints=(
        "Where does the middle of a blob lie at time t, when all points have been multiplied by alpha?",
        "`torch.cdist(x_t, alpha * means)` holds the distance of each point to each of these places: (B, K).",
        "`argmin(dim=1)` gives the number of the nearest mean for each point. What is asked for is the mean itself.",
    ),
    wrong=(
        Wrong(
            "alpha forgotten",
            lambda x_t, alpha, means: means[distances_to(x_t, means).argmin(dim=1)],
            "You compare x_t with the means as they are in the data. At time t everything is shrunk by alpha, so "
            "compare with alpha * means.",
            "not seen in public yet",
        ),
        Wrong(
            "the farthest",
            lambda x_t, alpha, means: means[distances_to(x_t, alpha * means).argmax(dim=1)],
            "You return the farthest mean: argmax for argmin.",
            "not seen in public yet",
        ),
        Wrong(
            "the sum over the wrong axis",
            lambda x_t, alpha, means: means[(x_t[:, None] - alpha * means).square().sum(dim=1).argmin(dim=1)],
            "You add up the squares over the means instead of the two coordinates. The differences have the shape "
            "(B, K, 2), so the sum is over the last axis.",
            "not seen in public yet",
        ),
        Wrong(
            "the number of the mean",
            lambda x_t, alpha, means: distances_to(x_t, alpha * means).argmin(dim=1),
            "You return the number of the nearest mean, an index. Return the mean itself: means[index].",
            "not seen in public yet",
        ),
        Wrong(
            "the shrunken mean",
            lambda x_t, alpha, means: alpha * means[distances_to(x_t, alpha * means).argmin(dim=1)],
            "You return alpha times the mean. That is where the blob lies at time t, but the guess is a guess of x0.",
            "not seen in public yet",
        ),
        Wrong(
            "alpha before x_t",
            lambda x_t, alpha, means: means[distances_to(alpha * x_t, means).argmin(dim=1)],
            "You shrink x_t, which is shrunk already. Shrink the means instead.",
            "not seen in public yet",
        ),
        Wrong(
            "one coordinate",
            lambda x_t, alpha, means: means[distances_to(x_t[:, :1], alpha * means[:, :1]).argmin(dim=1)],
            "You compare the first coordinate only. The distance in the plane takes both.",
            "not seen in public yet",
        ),
        Wrong(
            "the largest product",
            lambda x_t, alpha, means: means[(x_t @ (alpha * means).T).argmax(dim=1)],
            "You take the mean with the largest inner product. That prefers means that are far from the origin: the "
            "distance also needs their lengths.",
            "not seen in public yet",
        ),
        Wrong(
            "the distance of each coordinate",
            lambda x_t, alpha, means: torch.stack(
                [means[(x_t[:, i, None] - alpha * means[:, i]).abs().argmin(dim=1), i] for i in range(2)], dim=1
            ),
            "You look for the nearest mean on each axis on its own. Then the two coordinates of a guess may belong to "
            "two different means.",
            "not seen in public yet",
        ),
    ),
)


# 0.6 and 0.7, in words

COLLAPSE = Explanation(
    id="0.6",
    name="why the constant guess collapses",
    task="Show on paper that with the same guess m for every point and every time, all points end at m.",
    model=(
        "Let the guess be m at every time, and call the deviation d_t = x_t - alpha(t) m. The step finds\n"
        "eps_hat = d_t / sigma(t), and goes to x_s = alpha(s) m + sigma(s) eps_hat. So the next deviation is\n"
        "d_s = x_s - alpha(s) m = (sigma(s) / sigma(t)) d_t. From step to step d shrinks in proportion to\n"
        "sigma, and eps_hat stays the same. At t = 0 we have sigma = 0 and alpha = 1, so d = 0 and x_0 = m,\n"
        "wherever the point began."
    ),
    look_for=(
        "The noise that the step finds is the same at every step.",
        "The deviation from alpha(t) m shrinks in proportion to sigma(t).",
        "At t = 0 sigma is 0 and alpha is 1, so every point is at m.",
    ),
    hints=(
        "Put x0_hat = m into both lines of the step.",
        "Look at the deviation x_t - alpha(t) m. What does one step do to it?",
        "What are alpha and sigma at t = 0?",
    ),
)

LOST = Explanation(
    id="0.7",
    name="what the nearest mean loses",
    task="Draw samples with the guess of 0.5, plot them, and say what they have lost.",
    model=(
        "All points end on the three means. The shape of each blob is lost, because the guess is always one\n"
        "of three points, and the last step goes to the guess. The weights are lost too: about a third of the\n"
        "points end on each mean, and not 0.5, 0.3 and 0.2, because the nearest mean does not depend on how\n"
        "many data points belong to it. The exact conditional mean weighs all three blobs, by distance, shape\n"
        "and weight."
    ),
    look_for=(
        "The width and the tilt of the blobs are gone.",
        "The fractions are about a third each, and not the weights.",
        "The cause is named: the guess depends on neither the shape nor the weight of a blob.",
    ),
    hints=(
        "A denoiser is a function of x_t and t: `nearest = lambda x_t, t: guess_the_nearest_mean(x_t, path.alpha(t), "
        "mixture.means)`. Then `reverse(nearest, path, film[0], times)[-1]` gives the samples.",
        "Plot the samples with a larger `size`, because many lie on the same spot.",
        "Count how many points end on each mean, and compare with `mixture.weights`.",
    ),
)

EXERCISES = (BLEND, STEP_BACK, FEWEST, ENDS, NEAREST, COLLAPSE, LOST)
