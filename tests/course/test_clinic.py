"""The clinic: instruments against patients whose network is exact, and what each fault does to a short training."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import minidiff
from minidiff import clinic, exact
from minidiff.clinic import FAULTS, INSTRUMENTS, MIXTURE, PATH, Clinic, Patient, Reading, Ruler, Sampling, Training
from tests.cases import assert_close, number

SYMPTOMS = Path(minidiff.__file__).parents[1] / "notebooks" / "SYMPTOMS.md"
OF_SAMPLING = [name for name, fault in FAULTS.items() if fault.training == Training() and fault.rings]
OF_TRAINING = [name for name, fault in FAULTS.items() if fault.training != Training()]
TRUTH = exact.mixture_denoiser(MIXTURE, PATH)
GRID = torch.linspace(1e-3, 1, 4000, dtype=torch.float64)  # finer than the table of the path
LEVELS = -PATH.log_snr(GRID)


class Exact(nn.Module):
    """A network that is exact: it predicts E[eps | x_t]."""

    def forward(self, x, level, y=None):
        t = GRID[torch.searchsorted(LEVELS, -level.double()).clamp(max=len(GRID) - 1)].to(x)
        return (x - PATH.alpha(t)[:, None] * TRUTH(x, t)) / PATH.sigma(t)[:, None]


@pytest.fixture(scope="module")
def well():
    """A healthy patient with an exact network: nothing has to be trained."""
    x, y = MIXTURE.sample(4000, minidiff.generator(0))
    return Patient(Training(), Sampling(), False, Exact(), Exact(), clinic.loss_floor(PATH), x, y, 0.0)


@pytest.fixture
def quick(monkeypatch):
    """Less data, and fewer samples to compare, drawn in fewer steps."""
    monkeypatch.setattr(clinic, "POINTS", 2000)
    monkeypatch.setattr(clinic, "DRAWN", 1500)
    monkeypatch.setattr(clinic, "WALK", 45)


# --- instruments -----------------------------------------------------------------------------------------------------


def test_nothing_rings_for_an_exact_patient(well, quick):
    readings = clinic.examine(well)
    assert clinic.rings(readings) == () and list(readings) == [name for name in INSTRUMENTS if name != "labels"]
    assert readings["score"].value < 0.01 and readings["order"].value == pytest.approx(2, abs=0.2)
    assert readings["loss"].value == 1 and readings["one step"].value == 0


@pytest.mark.parametrize("name", OF_SAMPLING)
def test_each_fault_of_sampling_rings_as_it_is_written_down(well, quick, name):
    """With the exact network. The dearer instruments are read where the fault is theirs."""
    fault = FAULTS[name]
    dear = {"sampler", "network", "order", "last step", "noise", "repeats", "loss", "average", "ends"}
    wanted = [each for each in INSTRUMENTS if each not in dear | {"labels"} or each in fault.rings]
    readings = clinic.examine(dataclasses.replace(well, sampling=fault.sampling), wanted)
    assert set(clinic.rings(readings)) == set(fault.rings)


def test_an_instrument_that_is_not_there(well):
    with pytest.raises(ValueError, match=r"only must name instruments of sampler, .*, but names 'scores'"):
        clinic.examine(well, ["scores"])


def test_nan_rings():
    assert Reading(float("nan"), 0, 1).rings and not Reading(0.5, 0, 1).rings and Reading(1.1, 0, 1).rings


def test_a_patient_with_labels_has_bounds_of_its_own(well):
    labelled = dataclasses.replace(well, labelled=True)
    plain, told = (clinic.examine(each, ["score"])["score"] for each in (well, labelled))
    assert plain.high == clinic.BOUNDS["score"][1] < told.high == clinic.LABELLED_BOUNDS["score"][1]


def test_every_instrument_has_bounds_and_rings_for_some_fault():
    assert set(INSTRUMENTS) == set(clinic.BOUNDS) == {name for fault in FAULTS.values() for name in fault.rings}


def test_the_floor_of_the_loss_is_the_loss_of_the_exact_network(make_generator):
    """Two estimates of one expectation: by the conditional covariance, and by the errors of 40,000 predictions."""
    n = 40_000
    x0, eps = MIXTURE.sample(n, make_generator(1))[0], torch.randn(n, 2, generator=make_generator(2))
    t = clinic.MOMENTS.repeat(n // 25)
    x_t = PATH.perturb(x0, t, eps)
    predicted = (x_t - PATH.alpha(t)[:, None] * TRUTH(x_t, t)) / PATH.sigma(t)[:, None]
    assert clinic.loss_floor(PATH) == pytest.approx(float((predicted - eps).square().mean()), rel=0.05)


def test_the_error_of_the_score_is_that_of_the_noise():
    """x0_hat off by d in each coordinate: eps_hat is off by alpha d / sigma."""
    shifted = clinic.score_error(lambda x, t: TRUTH(x, t) + 0.3, TRUTH, PATH)
    assert_close(shifted, 0.3 * PATH.alpha(clinic.MOMENTS) / PATH.sigma(clinic.MOMENTS), 1e-4)
    assert float(clinic.score_error(TRUTH, TRUTH, PATH).max()) == 0


def test_the_ruler_is_one_for_real_data_and_measures_a_shift(make_generator):
    """Along a line with unit direction l, a shift by (d, d) is a shift by d (l_1 + l_2), of mean square d^2."""
    ruler = Ruler(MIXTURE, 3000)
    real = MIXTURE.sample(3000, make_generator(3))[0]
    assert 0.4 < ruler.ratio(real) < 2.4
    far = ruler.distance(real + 5.0)
    along = ruler.lines.sum(dim=0).square().mean().sqrt()
    assert far == pytest.approx(5 * float(along), rel=0.05)
    assert ruler.distance(torch.full((3000, 2), float("inf"))) > 100


def test_a_pair_of_steps_has_the_same_noise(well):
    theirs, ours = clinic.pair_of_steps(well, 0.5, 0.4, n=20)
    assert_close(theirs, ours, 1e-6)
    sick = dataclasses.replace(well, sampling=Sampling(step=clinic.variance_as_std))
    theirs, ours = clinic.pair_of_steps(sick, 0.5, 0.4, n=4000)
    std = float(PATH.posterior_variance(number(0.5), number(0.4)).sqrt())
    assert float((theirs - ours).std()) == pytest.approx(std - std**2, rel=0.05)


# --- patients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_TRAINING)
def test_a_short_training_with_each_fault(name, quick):
    fault = FAULTS[name]
    patient = clinic.train(fault.training, fault.labelled, seed=1, steps=50)
    assert 0 < patient.loss < 10 and patient.labelled == fault.labelled
    assert (patient.moved > 0.1) == (name == "data noised in place")
    assert patient.net.training == (name == "dropout left on")
    drawn = patient.draw(5, minidiff.generator(0))
    assert drawn.shape == (5, 2) and bool(drawn.isfinite().all())


def test_a_patient_is_the_same_each_time_and_noises_a_copy(make_generator):
    fault = FAULTS["data noised in place"]
    a, b = (clinic.train(fault.training, False, seed=2, steps=50) for _ in range(2))
    assert_close(a.net.out.weight, b.net.out.weight, 0)
    before = a.x[:7].clone()
    a.noised(a.x[:7], torch.full((7,), 0.5), make_generator(0))
    assert torch.equal(a.x[:7], before)


def test_patients_that_differ_in_sampling_share_a_training():
    here = Clinic(3, steps=50)
    a, b = here.admit("healthy"), here.admit("uniform start")
    assert a.net is b.net and a.sampling != b.sampling
    assert here.admit("time not given").net is not a.net


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Clinic(-1), "seed must be a whole number >= 0"),
        (lambda: Clinic(0, steps=7), "steps must be a whole number >= 50"),
        (lambda: Clinic().admit("flu"), "name must be one of 'healthy', .*, but is 'flu'"),
        (lambda: Clinic().ward(7), "number must be a whole number from 1 to 6"),
        (lambda: clinic.is_right(0, "healthy"), "number must be a whole number"),
        (lambda: clinic.is_right(1, "flu"), "name must be one of"),
        (lambda: clinic.train(Training(), False, seed=0, steps=3), "steps must be"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_each_bed_of_the_ward_has_one_right_answer_and_no_name():
    right = [[name for name in FAULTS if clinic.is_right(bed, name)] for bed in range(1, 7)]
    assert all(len(names) == 1 and FAULTS[names[0]].rings for names in right)
    assert len({names[0] for names in right}) == 6
    patient = Clinic(steps=50).ward(1)
    assert right[0][0] not in repr(patient)


# --- the page of symptoms --------------------------------------------------------------------------------------------


def test_the_page_of_symptoms_holds_the_table_of_the_records():
    """After a change of FAULTS: put `clinic.symptoms()` below the page's text again."""
    page = SYMPTOMS.read_text(encoding="utf-8")
    assert page.startswith("# ") and page.endswith(f"\n{clinic.symptoms()}\n")


def test_every_fault_has_a_row_and_every_thread_a_link():
    table = clinic.symptoms()
    rows = table.splitlines()[2:]
    assert len(rows) == sum(bool(fault.rings) for fault in FAULTS.values()) == 29
    assert {row.count("|") for row in rows} == {6}
    for name, fault in FAULTS.items():
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", thread) and f"[{thread}](" in table for thread in fault.seen)
        assert (f"| {name} |" in table) == bool(fault.rings) and "|" not in fault.wrong + fault.right
