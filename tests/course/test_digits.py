"""The digit models of notebooks 13 to 15: what they learn by, what is shipped, and notebook 13 without MNIST."""

from pathlib import Path

import nbformat
import pytest
import torch
from torch.nn import functional

from minidiff import digits, generator
from minidiff.data import find_mnist, mnist
from minidiff.networks import NO_LABEL, Classifier, NoisyClassifier, initialised
from minidiff.training import Batch, spread_times
from tests.tools.notebooks import execute, failing, findings

REPOSITORY = Path(__file__).parents[2]
CHECKPOINTS = REPOSITORY / "data" / "checkpoints"


def noise(n, side=28):
    """Images of noise, (n, 1, side, side), in [-1, 1]."""
    return torch.rand(n, 1, side, side, generator=generator(0)) * 2 - 1


def shaken(net):
    """As if it had been trained: no weight is 0 any more."""
    source = generator(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=source))
    return net.eval()


def test_the_classifier_learns_by_cross_entropy(make_generator):
    """Written out. Nothing is drawn."""
    net, y = shaken(initialised(Classifier, make_generator(0))), torch.arange(6) % 10
    source = make_generator(1)
    losses = digits.classification_objective()(net, Batch(noise(6), y), source)
    expected = -torch.log_softmax(net(noise(6)), dim=1)[torch.arange(6), y]
    torch.testing.assert_close(losses, expected)
    assert torch.equal(source.get_state(), make_generator(1).get_state())


def test_the_classifier_of_noisy_digits_learns_by_cross_entropy(make_generator):
    """Written out, with the noise and the times that the same generator draws."""
    net, y = shaken(initialised(NoisyClassifier, make_generator(0))), torch.arange(6) % 10
    losses = digits.noisy_classification_objective(digits.PATH)(net, Batch(noise(6), y), make_generator(1))
    source = make_generator(1)
    t = spread_times(6, digits.PATH, source)
    x_t = digits.PATH.perturb(noise(6), t, torch.randn(6, 1, 28, 28, generator=source))
    answers = net(x_t, digits.PATH.log_snr(t).clamp(-20, 20))
    torch.testing.assert_close(losses, functional.cross_entropy(answers, y, reduction="none"), rtol=1e-4, atol=1e-4)


def test_one_image_is_drawn_for_each_label_and_weights_steer():
    net, y = shaken(digits.digit_network(classes=10)), torch.tensor([3, 1, 4])
    drawn = {w: digits.sample_labelled_digits(net, y, w=w, steps=2, seed=0) for w in (0.0, 1.0, 3.0)}
    assert all(x.shape == (3, 1, 28, 28) for x in drawn.values())
    assert not torch.allclose(drawn[1.0], drawn[3.0])
    alone = digits.sample_labelled_digits(net, y, w=0.0, steps=1, seed=0)  # both samplers take one step from 1 to 0
    torch.testing.assert_close(alone, digits.sample_digits(net, 3, steps=1, seed=0), rtol=1e-4, atol=1e-4)


def test_a_noisy_classifier_answers_with_a_probability(make_generator):
    net = shaken(initialised(NoisyClassifier, make_generator(0)))
    x, t = torch.randn(4, 1, 28, 28, generator=make_generator(1)), torch.full((4,), 0.4)
    total = sum(digits.class_log_prob(net, torch.tensor(k))(x, t).exp() for k in range(10))
    torch.testing.assert_close(total, torch.ones(4))
    each = digits.class_log_prob(net, torch.tensor([0, 5, 9, 9]))(x, t)
    torch.testing.assert_close(each[1], digits.class_log_prob(net, torch.tensor(5))(x, t)[1])
    assert not torch.allclose(each, digits.class_log_prob(net, torch.tensor([0, 5, 9, 9]))(x, torch.full((4,), 0.9)))


@pytest.mark.skipif(find_mnist() is None, reason="MNIST not found")
def test_the_shipped_labelled_network_draws_what_it_is_asked_for():
    """300 digits. With the card's rate of 0.9805, fewer than 0.92 come by chance with a probability below 1e-7."""
    net, card = digits.load_labelled_digit_network()
    assert card["result"]["recognised as their class"] >= 0.97
    y, classifier = torch.arange(300) % 10, digits.load_classifier()
    with torch.no_grad():
        answers = classifier(digits.sample_labelled_digits(net, y, steps=20, seed=0)).argmax(dim=1)
    assert float((answers == y).float().mean()) >= 0.92


def test_the_same_seed_trains_the_same_digit_network():
    x = noise(64, 8)

    def trained(seed):
        net = digits.digit_network(seed)
        ema, running = digits.digit_training(net, x, steps=2, batch_size=16, learning_rate=1e-3, decay=0.9, seed=seed)
        return [step.loss for step in running], ema.net.state_dict()

    (losses, weights), (losses_again, weights_again), (other, _) = trained(0), trained(0), trained(1)
    assert losses == losses_again
    assert losses != other
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


def test_the_rate_stays_unless_it_is_told_to_fall():
    """The last of twelve steps moves the weights as far as the others, or by the little that a half cosine leaves."""
    x = noise(64, 8)

    def last_step(falls):
        net, numbers = digits.digit_network(), {"steps": 12, "batch_size": 16, "learning_rate": 1e-2, "decay": 0.9}
        _, running = digits.digit_training(net, x, falls=falls, **numbers)
        states = (torch.cat([weight.detach().flatten() for weight in net.parameters()]) for _ in running)
        before, after = list(states)[-2:]
        return float((after - before).norm())

    assert last_step(falls=True) < 0.1 * last_step(falls=False)


def test_a_guess_of_x0_is_judged_by_the_v_that_follows_from_it(make_generator):
    """v written out from the guess, at times where the weight is below its limit; and the limit below them."""
    t = torch.linspace(0.2, 1, 40, dtype=torch.float64)
    x0, eps, guess = (torch.randn(40, 6, generator=make_generator(k), dtype=torch.float64) for k in range(3))
    alpha, sigma = digits.PATH.alpha(t)[:, None], digits.PATH.sigma(t)[:, None]
    noise = (alpha * x0 + sigma * eps - alpha * guess) / sigma  # what the guess takes for noise
    of_v = ((alpha * noise - sigma * guess) - (alpha * eps - sigma * x0)).square().mean(dim=1)
    of_x0 = (guess - x0).square().mean(dim=1)
    torch.testing.assert_close(digits.digit_weight(digits.PATH, t) * of_x0, of_v)
    assert digits.digit_weight(digits.PATH, torch.tensor([0.0, 0.01, 0.1])).tolist() == [20, 20, 20]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_digits_objective_weighs_and_drops_labels(share, make_generator):
    """At its random start the network says 0, whatever the label: the loss is the weight times the mean of x0^2."""
    net, asked = digits.digit_network(classes=10), []
    net.labels.register_forward_hook(lambda module, inputs, output: asked.append(inputs[0]))
    x0 = torch.randn(12, 1, 28, 28, generator=make_generator(0))
    objective = digits.digit_objective(label_dropout=share)
    losses = objective(net, Batch(x0, torch.arange(12) % 10), make_generator(1))
    t = spread_times(12, digits.PATH, make_generator(1))
    expected = digits.digit_weight(digits.PATH, t) * x0.square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses, expected)
    assert asked[0].tolist() == ([NO_LABEL] * 12 if share else [i % 10 for i in range(12)])


def test_a_distance_needs_twice_as_many_test_images():
    with pytest.raises(ValueError, match="samples must hold at most 75 images, half the test set, but holds 100"):
        digits.digit_distance(torch.zeros(100, 1, 28, 28), torch.zeros(150, 1, 28, 28), digits.load_classifier())


def test_the_shipped_networks_load_and_are_small():
    assert digits.load_classifier()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    net, card = digits.load_digit_network()
    assert sum(value.numel() for value in net.parameters()) == card["parameters"]
    net, card = digits.load_labelled_digit_network()
    assert sum(value.numel() for value in net.parameters()) == card["parameters"]
    assert digits.load_noisy_classifier()(torch.zeros(2, 1, 28, 28), torch.zeros(2)).shape == (2, 10)
    sizes = [file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()]
    assert max(sizes) < 4.2e6 and sum(sizes) < 36e6


@pytest.mark.skipif(find_mnist() is None, reason="MNIST not found")
def test_the_shipped_classifier_knows_its_digits():
    """No false alarms: nothing is drawn."""
    test, classifier = mnist("test"), digits.load_classifier()
    answers = classifier.head(digits.classifier_features(classifier, test.x)).argmax(dim=1)
    assert float((answers == test.y).float().mean()) >= 0.99


WITHOUT_MNIST = """
from minidiff import data
def unavailable(*arguments, **options):
    raise data.MnistUnavailable("MNIST is hidden from this test")
data.mnist = unavailable
"""


def test_notebook_13_runs_without_mnist_and_says_so(tmp_path):
    """The whole notebook, with fewer steps, on the 8x8 digits. What it finds about MNIST is left out."""
    notebook = nbformat.read(REPOSITORY / "notebooks" / "13_ddpm_mnist.ipynb", as_version=4)
    looks, fewer = "(0, 50, 100, 200, 450, 900)", "(0, 8, 16, 24, 32, 40)"
    assert any(looks in cell.source for cell in notebook.cells)
    for cell in notebook.cells:
        cell.source = cell.source.replace(looks, fewer)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT_MNIST))
    nbformat.write(notebook, tmp_path / "13_ddpm_mnist.ipynb")
    run = execute(tmp_path / "13_ddpm_mnist.ipynb")
    assert run.failure == ""
    assert failing(run.notebook) == []
    assert len(findings(run.notebook)) > 10
    said = [
        str(output.get("data", {}).get("text/html"))
        for cell in run.notebook.cells
        for output in cell.get("outputs", [])
    ]
    assert any("MNIST is not here" in text and "hidden from this test" in text for text in said)
