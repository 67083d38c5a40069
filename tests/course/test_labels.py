"""Labels on their way from a data set through the loss into a network, and what a network makes of them."""

import pytest
import torch

from minidiff import _tensors
from minidiff.denoisers import from_network
from minidiff.exact import GaussianMixture, mixture_denoiser
from minidiff.networks import MLP, NO_LABEL, LabelEmbedding, UNet, embeddings, initialised
from minidiff.schedules import cosine
from minidiff.training import Batch, denoising_objective, train
from tests.cases import assert_close

NETWORKS = {
    "mlp": (lambda classes: MLP(2, width=16, layers=2, classes=classes), (4, 2)),
    "unet": (lambda classes: UNet(widths=(16, 32), blocks=1, classes=classes), (4, 1, 8, 8)),
}
every_network = pytest.mark.parametrize(("make", "shape"), NETWORKS.values(), ids=NETWORKS)


def shaken(make, classes, make_generator):
    """A network with no zero left in it: as if it had been trained."""
    net, g = initialised(lambda: make(classes), make_generator(0)), make_generator(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=g))
    return net


@every_network
def test_each_label_gives_another_answer_to_its_own_sample(make, shape, make_generator):
    net = shaken(make, 3, make_generator)
    x, log_snr = torch.randn(shape, generator=make_generator(2)), torch.zeros(4)
    answers = [net(x, log_snr, torch.full((4,), label)) for label in (NO_LABEL, 0, 1, 2)]
    for i in range(4):
        for j in range(i):
            assert float((answers[i] - answers[j]).detach().abs().flatten(1).amax(1).min()) > 1e-4
    mixed = net(x, log_snr, torch.tensor([2, NO_LABEL, 0, 1]))
    for row, place in enumerate((3, 0, 1, 2)):
        assert_close(mixed[row], answers[place][row], 1e-5)


@every_network
def test_no_label_is_said_in_three_ways(make, shape, make_generator):
    net = shaken(make, 3, make_generator)
    x, log_snr = torch.randn(shape, generator=make_generator(2)), torch.zeros(4)
    for y in (torch.full((4,), NO_LABEL), torch.tensor(NO_LABEL)):
        assert_close(net(x, log_snr, y), net(x, log_snr), 0)
    assert_close(net(x, log_snr, torch.tensor(1)), net(x, log_snr, torch.full((4,), 1)), 0)


@every_network
def test_a_network_starts_as_if_it_knew_no_labels(make, shape, make_generator):
    net = initialised(lambda: make(3), make_generator(0))
    with torch.no_grad():  # the last layer starts at 0 and would hide everything
        for parameter in (net.out if isinstance(net, MLP) else net.conv_out).parameters():
            parameter.add_(torch.randn(parameter.shape, generator=make_generator(1)))
    x, log_snr = torch.randn(shape, generator=make_generator(2)), torch.zeros(4)
    assert_close(net(x, log_snr, torch.tensor([0, 1, 2, 1])), net(x, log_snr), 0)


@every_network
def test_a_network_without_classes_refuses_labels(make, shape, make_generator):
    net = initialised(lambda: make(0), make_generator(0))
    assert not any("labels" in name for name in net.state_dict())
    with pytest.raises(ValueError, match="y must be None, since the network was made without classes"):
        net(torch.zeros(shape), torch.zeros(4), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize(
    ("y", "given"),
    [
        (torch.zeros(4), "a float32 tensor"),
        (torch.zeros(3, dtype=torch.int64), r"\(3,\)"),
        (torch.zeros(4, 1, dtype=torch.int64), r"\(4, 1\)"),
        (7, "7"),
    ],
)
def test_labels_of_another_shape_are_refused(y, given, make_generator):
    net = initialised(lambda: MLP(classes=3), make_generator(0))
    with pytest.raises(ValueError, match=rf"y must be an int64 tensor of shape \(\) or \(4,\), but is .*{given}"):
        net(torch.zeros(4, 2), torch.zeros(4), y)


def test_classes_must_be_a_number():
    with pytest.raises(ValueError, match="classes must be a whole number >= 0, but is -1"):
        LabelEmbedding(-1, 8)


# --- dropping labels -------------------------------------------------------------------------------------------------


class Listener(torch.nn.Module):
    """Notes the labels that it is told."""

    def forward(self, x, log_snr, y=None):
        self.heard = y
        return x


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_labels_are_dropped_at_the_stated_rate(share, make_generator):
    """20,000 labels: a share off by 0.025 is seven standard deviations."""
    net, y = Listener(), torch.arange(20_000) % 10
    objective = denoising_objective(cosine(), "v", label_dropout=share)
    objective(net, Batch(torch.zeros(20_000, 2), y), make_generator(0))
    lost = net.heard == NO_LABEL
    assert float(lost.double().mean()) == pytest.approx(share, abs=0.025)
    assert torch.equal(net.heard[~lost], y[~lost])
    assert torch.equal(y, torch.arange(20_000) % 10)


def test_dropping_none_draws_nothing_and_labels_are_dropped_among_the_draws(make_generator):
    net, batch = Listener(), Batch(torch.zeros(60, 2), torch.arange(60))
    first = denoising_objective(cosine(), "v")(net, batch, make_generator(0))
    again = denoising_objective(cosine(), "v", label_dropout=0.0)(net, batch, make_generator(0))
    assert_close(first, again, 0)
    half = denoising_objective(cosine(), "v", label_dropout=0.5)
    half(net, batch, make_generator(0))
    assert torch.equal(net.heard, half.draw(batch, make_generator(0)).y)
    assert 0 < int((net.heard == NO_LABEL).sum()) < 60  # but once in 2^59


@pytest.mark.parametrize("y", [None, torch.zeros(5, dtype=torch.int64), ["a"] * 6])
def test_labels_that_are_not_there_cannot_be_dropped(y, make_generator):
    objective = denoising_objective(cosine(), "v", label_dropout=0.1)
    with pytest.raises(ValueError, match="y must be a tensor of 6 labels to drop some"):
        objective(Listener(), Batch(torch.zeros(6, 2), y), make_generator(0))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_must_lie_between_0_and_1(share):
    with pytest.raises(ValueError, match=r"label_dropout must lie in \[0, 1\]"):
        denoising_objective(cosine(), "v", label_dropout=share)


def test_one_network_learns_both_the_conditional_and_the_unconditional_mean(make_generator):
    """Two Gaussians as two classes. Each answer must be far closer to its own truth than to the others'."""
    weights, means = torch.tensor([0.5, 0.5]), torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    mixture = GaussianMixture(weights, means, 0.2**2 * torch.eye(2).repeat(2, 1, 1))
    path = cosine()
    parts = [GaussianMixture(torch.ones(1), means[k : k + 1], mixture.covariances[:1]) for k in (0, 1)]

    def data(steps):
        for i in range(steps):
            yield Batch(*mixture.sample(256, make_generator(1, i)))

    net = initialised(lambda: MLP(width=32, layers=2, classes=2), make_generator(0))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    objective = denoising_objective(path, "v", label_dropout=0.3)
    for _ in train(net, data(300), objective, optimizer, generator=make_generator(2)):
        pass
    net.eval()
    t, x0 = torch.tensor(0.7), mixture.sample(2000, make_generator(3))[0]
    x_t = path.perturb(x0, t, torch.randn(x0.shape, generator=make_generator(4)))
    truths = [mixture_denoiser(law, path)(x_t, t) for law in (mixture, *parts)]
    for y, place in ((None, 0), (torch.tensor(0), 1), (torch.tensor(1), 2)):
        with torch.no_grad():
            learned = from_network(net, path, "v", y)(x_t, t)
        errors = [float((learned - truth).square().mean()) for truth in truths]
        assert errors[place] == min(errors) and errors[place] < 0.15 * sorted(errors)[1]


# --- labels that the network has no class for ------------------------------------------------------------------------


@every_network
@pytest.mark.parametrize(
    ("y", "held"),
    [
        (torch.tensor([0, 3, 1, 2]), r"\[3\]"),
        (torch.tensor([0, 12, -5, 12]), r"\[-5, 12\]"),
        (torch.tensor(7), r"\[7\]"),
    ],
)
def test_labels_outside_the_classes_are_named(make, shape, y, held, make_generator):
    net, x = shaken(make, 3, make_generator), torch.zeros(shape)
    with pytest.raises(ValueError, match=rf"y must hold labels from 0 to 2, or NO_LABEL = -1, but holds {held}"):
        net(x, torch.zeros(4), y)
    objective = denoising_objective(cosine(), "v")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="y must hold labels from 0 to 2"):
        next(train(net, [(x, y.expand(4))], objective, optimizer, generator=make_generator(2)))


@every_network
def test_on_a_gpu_labels_outside_the_classes_give_nan_and_end_a_training(make, shape, make_generator, monkeypatch):
    net, x = shaken(make, 3, make_generator), torch.randn(shape, generator=make_generator(2))
    right = net(x, torch.zeros(4), torch.tensor([0, -1, 2, 1]))
    for module in (_tensors, embeddings):
        monkeypatch.setattr(module, "readable", lambda values: False)
    found = net(x, torch.zeros(4), torch.tensor([0, 12, 2, -5]))
    assert found.flatten(1).isnan().any(dim=1).tolist() == [False, True, False, True]
    assert_close(found[::2], right[::2], 1e-5)
    assert_close(net(x, torch.zeros(4), torch.tensor([0, -1, 2, 1])), right, 0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    data, objective = [(x, torch.tensor([0, 12, 2, 1]))], denoising_objective(cosine(), "v")
    with pytest.raises(FloatingPointError, match="for labels that the network has no class for"):
        next(train(net, data, objective, optimizer, generator=make_generator(2)))


def test_a_compiled_network_has_its_labels_checked_too(make_generator):
    """Where PyTorch compiles, no value can be looked at: what has no class is NaN, and nothing breaks the graph."""
    net = shaken(lambda classes: MLP(2, width=8, layers=1, classes=classes), 3, make_generator)
    x, y = torch.randn(4, 2, generator=make_generator(2)), torch.tensor([0, -1, 2, 1])
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    assert_close(compiled(x, torch.zeros(4), y), net(x, torch.zeros(4), y), 0)
    found = compiled(x, torch.zeros(4), torch.tensor([0, 12, 2, 1]))
    assert found.isnan().any(dim=1).tolist() == [False, True, False, False]
