"""The benchmarks run, count what they claim to count, and compare like with like."""

import json
import time
from functools import partial

import pytest
import torch

from minidiff import generator
from minidiff.checkpoints import load_weights
from minidiff.data import Images
from minidiff.digits import digit_network
from minidiff.networks import initialised
from tests.benchmarks import contenders, quality, recipe, shipped, throughput


def test_the_two_networks_are_of_one_size():
    ours, theirs = (
        sum(value.numel() for value in net.parameters())
        for net in (digit_network(0), initialised(throughput.Theirs, generator(0)))
    )
    assert 0.85 < theirs / ours < 1.15


def test_operations_are_counted_as_by_hand():
    """A linear layer of n inputs and m outputs on a batch of B: 2 B n m forward, the same again for the weights."""

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(784, 784)

        def forward(self, x, log_snr):
            return self.layer(x.flatten(1)).reshape(x.shape)

    x = torch.zeros(8, 1, 28, 28)
    assert throughput.operations_per_step(initialised(Flat, generator(0)), x, 4) == 2 * (2 * 4 * 784 * 784)


def test_the_throughput_benchmark_prints_both_their_ratio_and_a_profile(capsys):
    throughput.main(["--batch", "2", "--steps", "5", "--peak", "1"])
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    ours, theirs = (float(lines[name].split()[3]) for name in ("minidiff", "diffusers"))
    assert abs(float(lines["ratio"].split()[1]) - ours / theirs) < 0.1 * ours / theirs
    assert "% of the peak" in lines["minidiff"] and "Self CPU" in printed


# --- time to quality -------------------------------------------------------------------------------------------------


def test_a_ratio_that_falls_short_is_not_rounded_up():
    own = {"floors": {"100": 4.0, "240.7": 2.0}, "seconds to floors": {"2": 240.7}}
    assert quality.sooner(own, {"floors": {"1200.2": 5.0}, "seconds to floors": {"2": None}}) == {"2": 4.9}


def test_further_budgets_go_to_contenders_that_exist():
    with pytest.raises(SystemExit, match=r"--also must name one of minidiff.*, but names minidif$"):
        quality.main(["--also", "minidif", "5"])


def test_a_level_is_reached_between_two_budgets():
    """On logarithmic axes a power law is a straight line: 100 / seconds comes down to 5 at 20 seconds."""
    seconds = [2.0, 8.0, 32.0]
    floors = [100 / s for s in seconds]
    assert quality.reached(seconds, floors, 5) == pytest.approx(20)
    assert quality.reached(seconds, floors, 60) == 2  # the first budget is enough already
    assert quality.reached(seconds, floors, 1) is None


def one_drawn(floors: float, drawn: float, n: int = 2000) -> dict:
    return {"n": n, "images per second": drawn, "classifier": {"floors": floors}, "pixels": {"floors": floors / 2}}


def result(name: str, seconds: list[float], floors: list[float], rate: int, drawn: float) -> dict:
    rows = [
        {"seconds": s, "images": rate * s, "drawn": one_drawn(f, drawn)} for s, f in zip(seconds, floors, strict=True)
    ]
    return {"contender": name, "precision": "float32", "rows": rows, "samplers tried": []}


def test_the_report_sets_each_peer_beside_minidiff():
    ours = result("minidiff", [10, 40], [8, 2], 300, 50)
    ours["samplers tried"] = [one_drawn(1.9, 80), one_drawn(2.1, 90), one_drawn(0.5, 99, n=500)]
    theirs = result("slow", [40], [4], 20, 5)
    theirs["samplers tried"] = [one_drawn(70, 8, n=500)]
    own, peer = quality.report_of([ours, theirs], {})["summary"]
    assert own["seconds to floors"] == {"10": 10, "5": 16, "3": 26.7, "2": 40}  # 80 / seconds
    assert peer["seconds to floors"] == {"10": 40, "5": 40, "3": None, "2": None}
    assert own["floors of pixels"] == {"10": 4, "40": 1}
    assert peer["minidiff trains so many times the images per second"] == 15
    assert own["drawn per second"] == 50 and own["drawn per second at two floors"] == 80
    assert peer["drawn per second"] == 5 and peer["drawn per second by its quickest sampler"] == 8
    assert peer["minidiff at two floors draws so many times the images per second of its quickest sampler"] == 10
    sooner = peer["minidiff comes to so many floors at least so many times sooner"]
    assert sooner == {"3": 1.4, "2": 1}  # 40 / 26.7, rounded down; nobody knows when it passed 10 and 5
    assert peer["minidiff comes to this peer's best at least so many times sooner"] == 2  # 4 floors: at 20 s, 40 s
    assert not any(key.startswith("minidiff") for key in own)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A benchmark of two budgets, of a fraction of a second each, on images that are drawn."""
    x = torch.rand(600, 1, 28, 28, generator=generator(0)) * 2 - 1
    monkeypatch.setattr(quality, "mnist", lambda split: Images(x, torch.zeros(len(x), dtype=torch.long)))
    monkeypatch.setattr(
        quality,
        "distances",
        lambda samples, train: {view: {"floors": float(samples.std())} for view in ("classifier", "pixels")},
    )
    monkeypatch.setattr(quality.Bench, "seconds_per_step", lambda *_: 0.02)
    return quality.Bench(tmp_path / "pieces", [0.2, 0.1], 6, 2)


def counting(falls: bool, begun: list) -> contenders.Contender:
    """A contender whose steps take 20 ms and whose one weight counts them; it notes each training that begins."""

    def start(images, dtype, steps, seed):
        begun.append(steps)
        net = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1, bias=False)
        torch.nn.init.zeros_(net.weight)

        def training():
            for _ in range(steps or 1000):
                time.sleep(0.02)
                with torch.no_grad():
                    net.weight.add_(1)
                yield

        return contenders.Running(training(), lambda: net)

    def draw(scale):
        return lambda net, y, seed: scale * torch.randn(len(y), 1, 28, 28)

    samplers = {"wide": draw(0.5), "narrow": draw(0.25)}
    blank = partial(torch.nn.utils.skip_init, torch.nn.Linear, 1, 1, bias=False)
    return contenders.Contender("counts", 10, falls, blank, start, samplers)


@pytest.mark.parametrize("falls", [False, True])
def test_each_budget_is_trained_once_and_measured_once(bench, falls):
    begun = []
    contender = counting(falls, begun)
    found = bench.run("counter", contender, "float32")
    assert len(begun) == (2 if falls else 1)  # a learning rate that falls makes a training of each budget
    assert all((steps is not None) == falls for steps in begun)
    for row, budget in zip(found["rows"], [0.1, 0.2], strict=True):
        assert row["budget"] == budget and row["images"] == 10 * row["steps"] and 2 <= row["steps"] <= 10
        assert falls or row["seconds"] >= budget
        assert row["drawn"]["n"] == 6 and row["drawn"]["sampler"] == "narrow"  # the one that came nearest
        weights = contender.blank()
        load_weights(bench.trained("counter", "float32", budget), weights)
        assert float(weights.weight.detach()) == row["steps"]
    assert [tried["sampler"] for tried in found["samplers tried"]] == ["wide", "narrow"]
    assert {tried["n"] for tried in found["samplers tried"]} == {6}  # all samples, since they take no time
    assert bench.run("counter", contender, "float32") == found and len(begun) == (2 if falls else 1)  # nothing anew
    assert bench.run("counter", contender._replace(settings="others"), "float32")["settings"] == "others"
    assert len(begun) == (4 if falls else 2)  # what was trained with other settings does not count


def test_of_the_samplers_the_nearest_is_taken():
    def tried(sampler, floors, speed):
        return {"sampler": sampler, "classifier": {"floors": floors}, "images per second": speed}

    assert quality.best_of_tried([tried("quick", 3.1, 100), tried("near", 3.0, 5), tried("slow", 3.2, 1)]) == "near"


def test_each_trains_in_its_faster_precision_first_and_speed_is_measured_once(bench, monkeypatch):
    asked = []

    def seconds_per_step(self, contender, dtype):
        asked.append(dtype)
        return {torch.float32: 0.1, torch.bfloat16: 0.4}[dtype]

    monkeypatch.setattr(quality.Bench, "seconds_per_step", seconds_per_step)
    contender = counting(False, [])
    for _ in range(2):
        assert bench.faster_first("counter", contender, ["bfloat16", "float32"]) == ["float32", "bfloat16"]
    assert len(asked) == 2 and bench.speeds("counter") == {"bfloat16": 25, "float32": 100}  # 10 images a step


def test_whether_bfloat16_is_worth_it_is_asked_once(tmp_path, monkeypatch):
    """A run that goes on beside other programs keeps to what it began with."""
    answers = [torch.bfloat16, torch.float32]
    monkeypatch.setattr(quality, "faster_dtype", lambda *_: answers.pop(0))
    x, both = torch.zeros(1, 1, 28, 28), ["bfloat16", "float32"]
    for _ in range(2):
        assert quality.precisions_worth(both, x, tmp_path / "first") == both
    for _ in range(2):
        assert quality.precisions_worth(both, x, tmp_path / "second") == ["float32"]
    assert quality.precisions_worth(["float32"], x, tmp_path / "third") == ["float32"] and answers == []


def test_a_training_that_is_cut_off_is_made_again_and_finished_ones_stay(bench):
    begun = []
    contender = counting(True, begun)

    def cut_off(*arguments):
        if len(begun) == 1:
            raise KeyboardInterrupt
        return contender.start(*arguments)

    with pytest.raises(KeyboardInterrupt):
        bench.train("counter", contender._replace(start=cut_off), "float32")
    assert len(begun) == 1 and (bench.trained("counter", "float32", 0.1) / "card.json").exists()
    bench.train("counter", contender, "float32")
    assert len(begun) == 2


def test_the_second_precision_gets_fewer_budgets_and_the_best_of_both_draws_many(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "contenders", lambda: {"counter": lambda: counting(False, [])})
    monkeypatch.setattr(quality, "precisions_worth", lambda asked, images, folder: asked)
    monkeypatch.setattr(quality, "figure_of", lambda results: None)
    monkeypatch.setattr(quality.plots, "png", lambda figure: b"")
    shown = []
    monkeypatch.setattr(quality.plots, "image_rows", lambda rows, columns: shown.append(rows))
    places = ["--folder", str(tmp_path / "pieces"), "--out", str(tmp_path / "report")]
    numbers = ["--budgets", "1", "2", "--second-budgets", "1", "--n", "6", "--tryout", "2", "--last", "9"]
    numbers += ["--second", "counter"]
    quality.main(["--contenders", "counter", *numbers, *places])
    written = tmp_path / "report" / "time-to-quality.json"
    report = json.loads(written.read_text())
    first, second = report["results"]
    assert first["training images per second"] == {"bfloat16": 500, "float32": 500}
    assert [first["precision"], second["precision"]] == ["bfloat16", "float32"]
    assert [row["budget"] for row in first["rows"]] == [1, 2] and [row["budget"] for row in second["rows"]] == [1]
    assert second["samplers tried"] == [] and second["rows"][0]["drawn"]["sampler"] == "narrow"
    ends = [result["at the end"] for result in (first, second) if "at the end" in result]
    assert len(ends) == 1 and ends[0]["n"] == 9 and ends[0]["sampler"] == "narrow"
    assert {label: tuple(x.shape) for label, x in shown[0].items()} == {"counter 1\N{NO-BREAK SPACE}s": (20, 1, 28, 28)}
    monkeypatch.setattr(quality, "NEAR", 0)
    quality.main(["--contenders", "counter", *numbers[:-2], *places])
    (only,) = json.loads(written.read_text())["results"]  # the slower precision is minidiff's alone, if not asked for
    assert only["precision"] == "bfloat16" and "at the end" not in only  # it did not come so near


@pytest.mark.parametrize(
    ("arguments", "budgets"),
    [
        ([], {"minidiff": [40, 150, 600], "diffusers": [600, 1200], "smalldiffusion": [600]}),
        (["--budgets", "9", "5"], {"minidiff": [5, 9], "diffusers": [5, 9], "smalldiffusion": [5, 9]}),
        (
            ["--budgets", "9", "--also", "diffusers", "5", "7"],
            {"minidiff": [9], "diffusers": [5, 7, 9], "smalldiffusion": [9]},
        ),
    ],
)
def test_some_contenders_get_further_budgets(arguments, budgets, monkeypatch):
    asked = {}

    class Noted:  # in place of quality.Bench
        images = Images(torch.zeros(64, 1, 28, 28), torch.zeros(64))

        def __init__(self, *_):
            pass

        def with_budgets(self, own):
            asked[len(asked)] = own
            return self

        def faster_first(self, *_):
            raise KeyboardInterrupt

    monkeypatch.setattr(quality, "Bench", Noted)
    quality.main(["--contenders", *budgets, "--precisions", "float32", *arguments])
    assert list(asked.values()) == list(budgets.values())


def test_many_samples_are_held_against_what_training_images_score(monkeypatch):
    """Training images lie twice as far from the samples' place as test images: their distance is the floor."""
    place = {"train": 2.0, "test": 0.0}

    def images(split):
        noise = torch.randn(600, 1, 2, 2, generator=generator(0, len(split)))
        return Images(noise + place[split], torch.zeros(600, dtype=torch.long))

    monkeypatch.setattr(quality, "mnist", images)
    monkeypatch.setattr(quality, "classifier_view", lambda: lambda x: x.flatten(1))
    monkeypatch.setattr(quality, "principal_view", lambda train: lambda x: x.flatten(1))
    samples = torch.randn(300, 1, 2, 2, generator=generator(1)) + 1
    found = quality.distances(torch.cat([samples, samples])[:301], images("train").x[:602].repeat(2, 1, 1, 1))
    for view in ("classifier", "pixels"):
        assert found[view]["floor"] == pytest.approx(4 * 2.0**2, rel=0.1)
        assert found[view]["distance"] == pytest.approx(4 * 1.0**2, rel=0.15)
        assert found[view]["floors"] == pytest.approx(0.25, rel=0.2)


def test_the_benchmark_leaves_global_randomness_alone(bench):
    before = torch.random.get_rng_state()
    bench.run("counter", counting(False, []), "float32")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["minidiff", *contenders.PEERS])
def test_each_contender_learns_and_draws(name):
    """A few steps and a few samples of each whose library is here; diffusers' always is."""
    package = {"denoising-diffusion-pytorch": "denoising_diffusion_pytorch"}.get(name, name)
    pytest.importorskip(package, reason="only `make bench` installs it")
    contender = contenders.contenders()[name]()
    x = torch.rand(200, 1, 28, 28, generator=generator(0)) * 2 - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        running = contender.start(Images(x, torch.zeros(200, dtype=torch.long)), torch.float32, 20, 0)
        begun = [value.clone() for value in running.drawer().parameters()]
        for _ in range(2):
            next(running.steps)
        assert any(not torch.equal(a, b) for a, b in zip(begun, running.drawer().parameters(), strict=True))
        net = contender.blank()
        net.load_state_dict(running.drawer().state_dict())
        with torch.inference_mode():
            samples = next(iter(contender.samplers.values()))(net.eval(), torch.tensor([3, 7, 1]), 0)
    assert samples.shape == (3, 1, 28, 28) and bool(samples.isfinite().all())


# --- what the recipe's choices are worth -----------------------------------------------------------------------------


@pytest.mark.parametrize("row", recipe.ROWS)
def test_each_row_changes_one_thing_trains_and_draws(row):
    choices = recipe.Choices(**recipe.ROWS[row])
    base = recipe.Choices()
    changed = {key for key in choices._fields if getattr(choices, key) != getattr(base, key)}
    assert changed == set(recipe.ROWS[row]) and bool(changed) == (row != "base")
    contender = recipe.with_choices(choices)
    x = torch.rand(128, 1, 28, 28, generator=generator(0)) * 2 - 1
    running = contender.start(Images(x, torch.zeros(128, dtype=torch.long)), torch.float32, 3, 0)
    next(running.steps)
    net = contender.blank()
    net.load_state_dict(running.drawer().state_dict())
    with torch.inference_mode():
        samples = contender.samplers["2M, 15 steps, t even"](net.eval(), torch.tensor([3]), 0)
    assert samples.shape == (1, 1, 28, 28) and bool(samples.isfinite().all())


def test_the_base_with_a_constant_rate_is_the_recipe_of_the_benchmark():
    """Where the table and `make bench` train the same network, they come to the same weights."""
    images = Images(torch.rand(128, 1, 28, 28, generator=generator(0)) * 2 - 1, torch.arange(128) % 10)
    trained = []
    for contender in (recipe.with_choices(recipe.Choices(falls=False)), contenders.minidiff_digits()):
        running = contender.start(images, torch.float32, 3, 0)
        next(running.steps)
        trained.append(running.drawer().state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in trained), strict=True))


def test_what_decides_is_trained_with_every_seed_and_the_rest_once():
    planned, rows = recipe.planned(list(recipe.ROWS), [0, 1, 2], 120, 0), len(recipe.ROWS)
    assert planned[:rows] == [(120, 0, row) for row in recipe.ROWS]
    assert planned[rows:] == [(120, seed, row) for seed in (1, 2) for row in recipe.ROWS if row in recipe.DECIDING]


def test_what_lies_near_the_base_is_trained_for_longer_too():
    planned = recipe.planned(list(recipe.ROWS), [0, 1, 2], 120, 240)
    longer = [row for row in recipe.ROWS if row in recipe.LONGER]
    assert [one for one in planned if one[0] == 240] == [(240, seed, row) for seed in (0, 1) for row in longer]


def test_the_table_sets_each_row_beside_the_base():
    def at(floors):
        return {"drawn": {"classifier": {"floors": floors}}}

    found = {"base": {0: at(4.0), 1: at(6.0)}, "no labels": {0: at(12.0), 1: at(18.0)}, "float32": {1: at(9.0)}}
    lines = [line.split() for line in recipe.table(found).splitlines()[1:]]
    assert [line[-4:-2] if len(line) > 4 else line[1:3] for line in lines][:2] == [["5.00", "1.00"], ["15.00", "3.00"]]
    assert lines[2][1:3] == ["9.00", "1.50"]  # over the seeds that both have


# --- the shipped model -----------------------------------------------------------------------------------------------


def test_grey_levels_are_those_of_a_file():
    stored = torch.arange(256) / 127.5 - 1
    shaken = (stored + 0.9 / 255 * (2 * torch.rand(256, generator=generator(0)) - 1)).clamp(-1, 1)
    assert torch.allclose(shipped.in_grey_levels(shaken), stored, atol=1e-6)
    assert not torch.allclose(shaken, stored, atol=1e-4)


def test_the_shipped_model_is_judged_clipped_and_in_grey_levels(tmp_path, monkeypatch):
    x = torch.rand(64, 1, 28, 28, generator=generator(0)) * 2 - 1
    monkeypatch.setattr(shipped, "mnist", lambda split: Images(x, torch.arange(64) % 10))
    judged, answer = [], {"pixels": {"floors": 1}}
    monkeypatch.setattr(shipped, "distances", lambda samples, train: judged.append(samples) or answer)
    shipped.main(["--n", "4", "--steps", "4", "--seeds", "0", "5", "--out", str(tmp_path)])
    clipped, grey, by_2m, _, other, *_ = judged
    assert clipped.shape == (4, 1, 28, 28) and clipped.abs().max() <= 1
    assert torch.equal(grey, shipped.in_grey_levels(clipped)) and not torch.equal(grey, clipped)
    assert not torch.equal(clipped, other)  # another seed
    assert not torch.equal(clipped, by_2m)  # another sampler
    report = json.loads((tmp_path / "shipped.json").read_text())
    for drawn in (report["drawn"][name] for name in shipped.SAMPLERS):
        assert [one["seed"] for one in drawn] == [0, 5] and drawn[1]["clipped"] == answer
    assert report["machine"]["arguments"]["n"] == 4 and report["precision"] in ("float32", "bfloat16")


def test_ideas_for_the_shipped_model_differ_and_are_printed(monkeypatch, capsys):
    x = torch.rand(64, 1, 28, 28, generator=generator(0)) * 2 - 1
    monkeypatch.setattr(shipped, "mnist", lambda split: Images(x, torch.arange(64) % 10))
    judged, answer = [], {"pixels": {"floors": 1}}
    monkeypatch.setattr(shipped, "distances", lambda samples, train: judged.append(samples) or answer)
    shipped.main(["--ideas", "--n", "4", "--steps", "4"])
    assert len(judged) == len(shipped.IDEAS)
    assert not any(torch.equal(p, q) for k, p in enumerate(judged) for q in judged[k + 1 :])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", seed")[0] for line in lines] == list(shipped.IDEAS)
