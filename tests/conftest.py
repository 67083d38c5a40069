"""What every test shares: seeds from the command line, and a watch over everything global."""

import os
import random

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as make sets it; before PyTorch loads OpenMP

import hypothesis
import matplotlib
import numpy as np
import pytest
import sklearn.datasets  # noqa: F401 - importing it draws from Python's random state, which no test may move
import torch

import minidiff
from tests.cases import PlugPulled

matplotlib.use("Agg")
SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ  # set where pytest-xdist runs tests in several processes
torch.set_num_threads(1 if SIDE_BY_SIDE else min(2, torch.get_num_threads()))  # OMP_NUM_THREADS=1 stays 1
hypothesis.settings.register_profile("minidiff", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("minidiff")


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="the seed that every statistical test draws from (default: 0)")


@pytest.fixture(scope="session")
def seed(request) -> int:
    """The seed of the statistical tests: `pytest --seed=3`."""
    return request.config.getoption("--seed")


@pytest.fixture(scope="session")
def make_generator(seed):
    """A function: `make_generator(1)` is stream 1 under the seed of the command line, always from its beginning."""

    def make(*stream: int) -> torch.Generator:
        return minidiff.generator(seed, *stream)

    return make


def global_state() -> dict[str, object]:
    """Everything global that code under test might move, and must not."""
    numpys = np.random.get_state(legacy=False)  # noqa: NPY002
    return {
        "PyTorch's random state": torch.get_rng_state().numpy().tobytes(),
        "NumPy's random state": (numpys["state"]["key"].tobytes(), numpys["state"]["pos"]),
        "Python's random state": random.getstate(),
        "gradients switched on": torch.is_grad_enabled(),
        "the default dtype": torch.get_default_dtype(),
        "the number of threads": torch.get_num_threads(),
    }


@pytest.fixture(autouse=True)
def nothing_global_moves():
    before = global_state()
    yield
    after = global_state()
    moved = [name for name in before if before[name] != after[name]]
    torch.set_num_threads(before["the number of threads"])
    torch.set_grad_enabled(before["gradients switched on"])
    torch.set_default_dtype(before["the default dtype"])
    assert not moved, f"the test changed {', '.join(moved)}"


@pytest.fixture
def pulled_at(monkeypatch):
    """A function: from now on, the n-th time that anything touches the disk is the last one."""

    def arm(n, error=PlugPulled):
        left = [n]
        for name in ("fsync", "replace"):
            real = getattr(os, name)

            def touch(*arguments, real=real):
                left[0] -= 1
                if left[0] < 0:
                    raise error
                return real(*arguments)

            monkeypatch.setattr(os, name, touch)

    yield arm
    monkeypatch.undo()


@pytest.fixture
def one_thread():
    """PyTorch on one thread, where the same seed gives the same bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
