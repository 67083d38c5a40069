"""Notebook 13: right answers in unusual forms, and wrong ones that are in no list."""

import math
from itertools import pairwise

import numpy as np
import torch
from torch.nn.utils import parameters_to_vector

from minidiff import samplers, targets, training


def loss_forms():
    def with_the_package(predict_v, path, x0, t, eps):
        def net(x, log_snr):  # the package hands over the log-SNR; this network wants the time
            return predict_v(x, t)

        return training.denoising_loss(net, path, x0, t, eps, kind="v").mean()

    def image_by_image(predict_v, path, x0, t, eps):
        squares = []
        for image, time, noise in zip(x0, t, eps, strict=True):
            x_t = path.alpha(time) * image + path.sigma(time) * noise
            v = path.alpha(time) * noise - path.sigma(time) * image
            squares.append((predict_v(x_t[None], time[None])[0] - v).square().mean())
        return torch.stack(squares).mean()

    def by_einsum(predict_v, path, x0, t, eps):
        v = torch.einsum("b,bchw->bchw", path.alpha(t), eps) - torch.einsum("b,bchw->bchw", path.sigma(t), x0)
        off = (predict_v(path.perturb(x0, t, eps), t) - v).flatten()
        return float(off @ off) / off.numel()

    def through_x_t(predict_v, path, x0, t, eps):
        alpha, sigma = (numbers.reshape(-1, 1, 1, 1) for numbers in (path.alpha(t), path.sigma(t)))
        x_t = path.perturb(x0, t, eps)
        v = (alpha * x_t - x0) / sigma  # alpha² + sigma² = 1
        return torch.nn.functional.mse_loss(predict_v(x_t, t), v)

    return with_the_package, image_by_image, by_einsum, through_x_t


def train_forms():
    def zeroing_at_the_end(net, average, optimizer, batches, loss, decay):
        for x0 in batches:
            loss(net, x0).backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                for a, w in zip(average.parameters(), net.parameters(), strict=True):
                    a.mul_(decay).add_(w, alpha=1 - decay)
        return parameters_to_vector(average.parameters())

    def by_names(net, average, optimizer, batches, loss, decay):
        for x0 in iter(batches):
            optimizer.zero_grad(set_to_none=False)
            loss(net, x0).backward()
            optimizer.step()
            now, slow = net.state_dict(), average.state_dict()
            average.load_state_dict({name: decay * slow[name] + (1 - decay) * now[name] for name in slow})
        return parameters_to_vector(average.parameters())

    def by_vectors(net, average, optimizer, batches, loss, decay):
        slow = None
        for x0 in batches:
            slow = parameters_to_vector(average.parameters()).clone() if slow is None else slow
            value = loss(net, x0)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            slow = decay * slow + (1 - decay) * parameters_to_vector(net.parameters()).detach()
        return slow

    return zeroing_at_the_end, by_names, by_vectors


def sample_forms():
    def with_the_package(predict_v, path, x, times):
        def denoise(x_t, t):
            return targets.solve("v", path, predict_v(x_t, t), x_t, t).x0

        return samplers.last(samplers.ddim(denoise, path, x, times))

    def without_x0(predict_v, path, x, times):
        for k in range(len(times) - 1):
            a, b = path.alpha(times[k]), path.sigma(times[k])
            c, d = path.alpha(times[k + 1]), path.sigma(times[k + 1])
            x = (a * c + b * d) * x + (a * d - b * c) * predict_v(x, times[k])
        return x

    def a_time_for_each_image(predict_v, path, x, times):
        for t, s in pairwise(times):
            v = predict_v(x, t.expand(len(x)))
            x0 = path.alpha(t) * x - path.sigma(t) * v
            eps = (x - path.alpha(t) * x0) / path.sigma(t)
            x = path.perturb(x0, s, eps)
        return x

    return with_the_package, without_x0, a_time_for_each_image


def nearest_forms():
    def with_topk(x, others):
        found = torch.cdist(x.reshape(len(x), -1), others.reshape(len(others), -1)).topk(1, dim=1, largest=False)
        return found.values[:, 0], found.indices[:, 0]

    def by_numpy(x, others):
        table = np.sqrt(((x.numpy()[:, None] - others.numpy()[None]) ** 2).sum(axis=(2, 3, 4)))
        return torch.from_numpy(table.min(axis=1)), torch.from_numpy(table.argmin(axis=1))

    def in_parts(x, others):
        parts = [torch.cdist(part.flatten(1), others.flatten(1)).min(dim=1) for part in x.split(2)]
        return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])

    def by_a_product(x, others):
        a, b = x.flatten(1), others.flatten(1)
        squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
        place = squares.argmin(dim=1)
        return squares[torch.arange(len(a)), place].sqrt(), place

    return with_topk, by_numpy, in_parts, by_a_product


def floors_forms():
    def split(distance, samples, real):
        one, other = real.split(len(samples))
        return distance(samples, one) / distance(other, one)

    def a_plain_number(distance, samples, real):
        half = len(real) // 2
        return float(distance(samples, real[:half])) / float(distance(real[half:], real[:half]))

    return split, a_plain_number


def least_sure_forms():
    def by_sorting(logits, n):
        sure = torch.exp(logits - logits.logsumexp(dim=1, keepdim=True)).amax(dim=1)
        return torch.tensor(sorted(range(len(sure)), key=sure.tolist().__getitem__)[:n])

    def the_other_way(logits, n):
        return (1 - logits.softmax(1).max(1)[0]).argsort(descending=True)[:n]

    def one_after_another(logits, n):
        sure, found = logits.softmax(dim=1).amax(dim=1), []
        for _ in range(n):
            found.append(int(sure.argmin()))
            sure[found[-1]] = 2
        return torch.tensor(found)

    return by_sorting, the_other_way, one_after_another


def between_forms():
    def tensors(a, b, theta):
        angle = torch.tensor(theta, dtype=a.dtype)
        return angle.cos() * a + angle.sin() * b

    def from_the_other_end(a, b, theta):
        rest = math.pi / 2 - theta
        return math.sin(rest) * a + math.cos(rest) * b

    def by_a_root(a, b, theta):
        share = math.sin(theta)
        return math.sqrt(1 - share**2) * a + share * b

    return tensors, from_the_other_end, by_a_root


FORMS = [
    *(("v_loss", form) for form in loss_forms()),
    *(("train", form) for form in train_forms()),
    *(("sample", form) for form in sample_forms()),
    *(("nearest", form) for form in nearest_forms()),
    *(("in_floors", form) for form in floors_forms()),
    *(("least_sure", form) for form in least_sure_forms()),
    *(("between", form) for form in between_forms()),
]


def tall(numbers):
    return numbers[:, None, None, None]


def slow_steps(net, average, optimizer, batches, loss, decay):
    for x0 in batches:
        optimizer.zero_grad()
        (0.5 * loss(net, x0) ** 2).backward()
        optimizer.step()
        with torch.no_grad():
            for a, w in zip(average.parameters(), net.parameters(), strict=True):
                a.copy_(decay**2 * a + (1 - decay**2) * w)
    return parameters_to_vector(average.parameters())


def only_the_weight(net, average, optimizer, batches, loss, decay):
    for x0 in batches:
        optimizer.zero_grad()
        loss(net, x0).backward()
        optimizer.step()
        with torch.no_grad():
            average.weight.copy_(decay * average.weight + (1 - decay) * net.weight)
    return parameters_to_vector(average.parameters())


def too_noisy(predict_v, path, x, times):
    for t, s in pairwise(times):
        v = predict_v(x, t)
        x = path.alpha(s) * (path.alpha(t) * x - path.sigma(t) * v) + path.sigma(t) * v
    return x


def without_memory(predict_v, path, x, times):
    for t, s in pairwise(times):
        x = path.alpha(s) * x - path.sigma(s) * predict_v(x, t)
    return x


UNKNOWN = {
    "v_loss": [
        lambda predict_v, path, x0, t, eps: (
            (predict_v(path.perturb(x0, t, eps), t) - tall(path.alpha(t)) * eps).square().mean()
        ),
        lambda predict_v, path, x0, t, eps: predict_v(path.perturb(x0, t, eps), t).square().mean(),
    ],
    "train": [slow_steps, only_the_weight],
    "sample": [too_noisy, without_memory],
    "nearest": [
        lambda x, others: (
            torch.cdist(x.flatten(1), others.flatten(1)).median(dim=1).values,
            torch.cdist(x.flatten(1), others.flatten(1)).median(dim=1).indices,
        ),
        lambda x, others: tuple(torch.cdist(x.flatten(1), others.flatten(1), p=torch.inf).min(dim=1)),
    ],
    "in_floors": [
        lambda distance, samples, real: (
            (distance(samples, real[: len(samples)]) / distance(real[len(samples) :], real[: len(samples)])) ** 0.5
        ),
        lambda distance, samples, real: distance(real[: len(samples)], samples) / distance(real, samples),
    ],
    "least_sure": [
        lambda logits, n: logits.std(dim=1).argsort()[:n],
        lambda logits, n: logits.softmax(dim=1).max(dim=1).values.argsort()[1 : n + 1],
    ],
    "between": [
        lambda a, b, theta: math.cos(theta / 2) * a + math.sin(theta / 2) * b,
        lambda a, b, theta: math.cos(theta) * (a + b),
    ],
}
