"""The recipes of the shipped networks, what they shipped, and notebook 13 on a machine without MNIST."""

import json
from pathlib import Path

import nbformat
import pytest
import torch

from minidiff import generator, recipes, runs
from minidiff.checkpoints import load_weights
from minidiff.data import Images, find_mnist, mnist
from minidiff.networks import NO_LABEL, Classifier, NoisyClassifier, initialised
from minidiff.training import Batch, spread_times
from tests.tools.notebooks import execute

REPOSITORY = Path(__file__).parents[2]
CHECKPOINTS = REPOSITORY / "data" / "checkpoints"


def noisy_images(split, n=600):
    """Something of MNIST's shape."""
    generator = torch.Generator().manual_seed({"train": 0, "test": 1}[split])
    x = torch.rand(n, 1, 28, 28, generator=generator) * 2 - 1
    return Images(x, torch.randint(10, (n,), generator=generator))


def shaken(net):
    """As if it had been trained: no weight is 0 any more."""
    source = generator(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=source))
    return net.eval()


@pytest.fixture
def small_world(monkeypatch):
    """The recipes on tiny data, with a tiny measurement."""
    monkeypatch.setattr(recipes, "mnist", noisy_images)
    monkeypatch.setattr(recipes, "DISTANCE_SAMPLES", 150)
    monkeypatch.setattr(recipes, "DISTANCE_STEPS", 2)


def test_the_classifier_recipe_writes_weights_and_card(small_world, tmp_path, capsys):
    recipes.main(["mnist-classifier", "--out", str(tmp_path / "mnist-classifier"), "--steps", "3"])
    card = load_weights(tmp_path / "mnist-classifier", initialised(Classifier, generator(0)))
    assert card["recipe"]["steps made"] == 3
    assert 0 <= card["result"]["test accuracy"] <= 1
    assert card["command"] == "python -m minidiff.recipes mnist-classifier"
    assert "wrote" in capsys.readouterr().out


def test_the_ddpm_recipe_writes_weights_and_card(small_world, tmp_path):
    recipes.main(["mnist-ddpm", "--out", str(tmp_path / "ddpm"), "--steps", "2"])
    card = load_weights(tmp_path / "ddpm", recipes.digit_network())
    assert card["recipe"]["steps made"] == 2
    assert card["result"]["samples"] == 150
    assert card["result"]["its floor"] > 0


def test_the_labels_recipe_writes_weights_and_card(small_world, tmp_path):
    recipes.main(["mnist-ddpm-labels", "--out", str(tmp_path / "labels"), "--steps", "2"])
    card = load_weights(tmp_path / "labels", recipes.digit_network(classes=10))
    assert card["recipe"]["label_dropout"] == 0.1 and card["recipe"]["classes"] == 10
    assert 0 <= card["result"]["recognised as their class"] <= 1
    net, _ = runs.load_run(tmp_path / "labels")  # the command line draws without labels
    assert net(torch.zeros(2, 1, 28, 28), torch.zeros(2)).shape == (2, 1, 28, 28)


def test_the_noisy_classifier_recipe_writes_weights_and_card(small_world, tmp_path):
    recipes.main(["mnist-classifier-noisy", "--out", str(tmp_path / "noisy"), "--steps", "3"])
    card = load_weights(tmp_path / "noisy", initialised(NoisyClassifier, generator(0)))
    assert card["recipe"]["steps made"] == 3
    assert 0 <= card["result"]["test accuracy at t = 0.5"] <= 1


def test_one_image_is_drawn_for_each_label_and_weights_steer():
    net, y = shaken(recipes.digit_network(classes=10)), torch.tensor([3, 1, 4])
    drawn = {w: recipes.sample_labelled_digits(net, y, w=w, steps=2, seed=0) for w in (0.0, 1.0, 3.0)}
    assert all(x.shape == (3, 1, 28, 28) for x in drawn.values())
    assert not torch.allclose(drawn[1.0], drawn[3.0])
    alone = recipes.sample_labelled_digits(net, y, w=0.0, steps=1, seed=0)  # both samplers take one step from 1 to 0
    torch.testing.assert_close(alone, recipes.sample_digits(net, 3, steps=1, seed=0), rtol=1e-4, atol=1e-4)


def test_a_noisy_classifier_answers_with_a_probability(make_generator):
    net = shaken(initialised(NoisyClassifier, make_generator(0)))
    x, t = torch.randn(4, 1, 28, 28, generator=make_generator(1)), torch.full((4,), 0.4)
    total = sum(recipes.class_log_prob(net, torch.tensor(k))(x, t).exp() for k in range(10))
    torch.testing.assert_close(total, torch.ones(4))
    each = recipes.class_log_prob(net, torch.tensor([0, 5, 9, 9]))(x, t)
    torch.testing.assert_close(each[1], recipes.class_log_prob(net, torch.tensor(5))(x, t)[1])
    assert not torch.allclose(each, recipes.class_log_prob(net, torch.tensor([0, 5, 9, 9]))(x, torch.full((4,), 0.9)))


@pytest.mark.skipif(find_mnist() is None, reason="MNIST not found")
def test_the_shipped_labelled_network_draws_what_it_is_asked_for():
    """300 digits. With the card's rate of 0.9805, fewer than 0.92 come by chance with a probability below 1e-7."""
    net, card = recipes.load_labelled_digit_network()
    assert card["result"]["recognised as their class"] >= 0.97
    y, classifier = torch.arange(300) % 10, recipes.load_classifier()
    with torch.no_grad():
        answers = classifier(recipes.sample_labelled_digits(net, y, steps=20, seed=0)).argmax(dim=1)
    assert float((answers == y).float().mean()) >= 0.92


@pytest.mark.parametrize(
    ("load", "recipe"),
    [
        (recipes.load_digit_network, recipes.DDPM_RECIPE),
        (recipes.load_labelled_digit_network, recipes.LABELS_RECIPE),
    ],
)
def test_a_shipped_card_tells_the_recipe_that_its_command_follows(load, recipe):
    _, card = load()
    told = card["recipe"]
    assert {name: told.get(name, True) for name in recipe} == recipe  # a card from before `falls` tells nothing of it
    assert told["steps made"] == recipe["steps"]


def test_an_interrupted_recipe_keeps_what_it_learned(small_world, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        ema, running = training_of(*arguments, **options)

        def three_steps():
            for _ in range(3):
                yield next(running)
            raise KeyboardInterrupt

        return ema, three_steps()

    training_of = recipes.classifier_training
    monkeypatch.setattr(recipes, "classifier_training", interrupted)
    recipes.main(["mnist-classifier", "--out", str(tmp_path / "net"), "--steps", "50"])
    assert json.loads((tmp_path / "net" / "card.json").read_text())["recipe"]["steps made"] == 3
    assert "stopped early" in capsys.readouterr().out


def test_the_same_seed_trains_the_same_digit_network():
    x = noisy_images("train", 64).x[:, :, :8, :8]

    def trained(seed):
        net = recipes.digit_network(seed)
        ema, running = recipes.digit_training(net, x, steps=2, batch_size=16, learning_rate=1e-3, decay=0.9, seed=seed)
        return [step.loss for step in running], ema.net.state_dict()

    (losses, weights), (losses_again, weights_again), (other, _) = trained(0), trained(0), trained(1)
    assert losses == losses_again
    assert losses != other
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


def test_the_rate_stays_unless_it_is_told_to_fall():
    """The last of twelve steps moves the weights as far as the others, or by the little that a half cosine leaves."""
    x = noisy_images("train", 64).x[:, :, :8, :8]

    def last_step(falls):
        net, numbers = recipes.digit_network(), {"steps": 12, "batch_size": 16, "learning_rate": 1e-2, "decay": 0.9}
        _, running = recipes.digit_training(net, x, falls=falls, **numbers)
        states = (torch.cat([weight.detach().flatten() for weight in net.parameters()]) for _ in running)
        before, after = list(states)[-2:]
        return float((after - before).norm())

    assert last_step(falls=True) < 0.1 * last_step(falls=False)


def test_a_guess_of_x0_is_judged_by_the_v_that_follows_from_it(make_generator):
    """v written out from the guess, at times where the weight is below its limit; and the limit below them."""
    t = torch.linspace(0.2, 1, 40, dtype=torch.float64)
    x0, eps, guess = (torch.randn(40, 6, generator=make_generator(k), dtype=torch.float64) for k in range(3))
    alpha, sigma = recipes.PATH.alpha(t)[:, None], recipes.PATH.sigma(t)[:, None]
    noise = (alpha * x0 + sigma * eps - alpha * guess) / sigma  # what the guess takes for noise
    of_v = ((alpha * noise - sigma * guess) - (alpha * eps - sigma * x0)).square().mean(dim=1)
    of_x0 = (guess - x0).square().mean(dim=1)
    torch.testing.assert_close(recipes.digit_weight(recipes.PATH, t) * of_x0, of_v)
    assert recipes.digit_weight(recipes.PATH, torch.tensor([0.0, 0.01, 0.1])).tolist() == [20, 20, 20]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_digits_objective_weighs_drops_labels_and_takes_its_rows(share, make_generator):
    """At its random start the network says 0, whatever the label: the loss is the weight times the mean of x0^2."""
    net, asked = recipes.digit_network(classes=10), []
    net.labels.register_forward_hook(lambda module, inputs, output: asked.append(inputs[0]))
    x0, rows = torch.randn(12, 1, 28, 28, generator=make_generator(0)), slice(4, 8)
    objective = recipes.digit_objective(label_dropout=share, rows=rows)
    losses = objective(net, Batch(x0, torch.arange(12) % 10), make_generator(1))
    t = spread_times(12, recipes.PATH, make_generator(1))[rows]
    expected = recipes.digit_weight(recipes.PATH, t) * x0[rows].square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses, expected)
    assert asked[0].tolist() == ([NO_LABEL] * 4 if share else [4, 5, 6, 7])


def test_a_distance_needs_twice_as_many_test_images():
    with pytest.raises(ValueError, match="samples must hold at most 75 images, half the test set, but holds 100"):
        recipes.digit_distance(torch.zeros(100, 1, 28, 28), torch.zeros(150, 1, 28, 28), recipes.load_classifier())


def test_the_picture_of_the_readme_is_drawn(tmp_path):
    recipes.main(["picture", "--out", str(tmp_path / "picture.png")])
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("name", sorted(recipes.NETWORKS))
def test_what_is_shipped_has_a_card_that_says_how_it_was_made(name):
    card = json.loads((CHECKPOINTS / name / "card.json").read_text())
    assert {"command", "recipe", "seconds", "hardware", "parameters", "result", "sha256"} <= set(card)
    assert card["command"] == f"python -m minidiff.recipes {name}"
    assert {"seed", "steps"} <= set(card["recipe"])


def test_the_shipped_networks_load_and_are_small():
    assert recipes.load_classifier()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    net, card = recipes.load_digit_network()
    assert sum(value.numel() for value in net.parameters()) == card["parameters"]
    net, card = recipes.load_labelled_digit_network()
    assert sum(value.numel() for value in net.parameters()) == card["parameters"]
    assert recipes.load_noisy_classifier()(torch.zeros(2, 1, 28, 28), torch.zeros(2)).shape == (2, 10)
    assert sum(file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()) < 16e6


@pytest.mark.skipif(find_mnist() is None, reason="MNIST not found")
def test_the_shipped_classifier_knows_its_digits():
    """No false alarms: nothing is drawn."""
    test, classifier = mnist("test"), recipes.load_classifier()
    answers = classifier.head(recipes.classifier_features(classifier, test.x)).argmax(dim=1)
    assert float((answers == test.y).float().mean()) >= 0.99


WITHOUT_MNIST = """
from minidiff import data
def unavailable(*arguments, **options):
    raise data.MnistUnavailable("MNIST is hidden from this test")
data.mnist = unavailable
"""


def test_notebook_13_runs_without_mnist_and_says_so(tmp_path):
    """The whole notebook, with fewer steps, on the 8x8 digits."""
    notebook = nbformat.read(REPOSITORY / "notebooks" / "13_ddpm_mnist.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("STEPS, LIVE = 900", "STEPS, LIVE = 60").replace("1001)", "101)")
    assert any("STEPS, LIVE = 60" in cell.source for cell in notebook.cells)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT_MNIST))
    nbformat.write(notebook, tmp_path / "13_ddpm_mnist.ipynb")
    run = execute(tmp_path / "13_ddpm_mnist.ipynb")
    assert run.failure == ""
    said = [
        str(output.get("data", {}).get("text/html"))
        for cell in run.notebook.cells
        for output in cell.get("outputs", [])
    ]
    assert any("MNIST is not here" in text and "hidden from this test" in text for text in said)
