"""Data: the moments worked out by hand, the shapes that points must lie on, and every way to find MNIST or not."""

import gzip
import hashlib
import inspect
import math
import os
import re
import struct
import sys

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from sklearn.datasets import load_digits

from minidiff import data
from minidiff.data import digits, eight_gaussians, find_mnist, mnist, mnist_folders, points, read_idx, three_gaussians
from minidiff.data.places import course_file, data_folder
from tests.cases import dkw_bound, farthest_from_cdf

mnist_module = sys.modules["minidiff.data.mnist"]  # its name in the package is that of the function
DRAWN = [data.moons, data.swiss_roll, data.checkerboard, data.rings, data.pinwheel]
every_shape_of_points = pytest.mark.parametrize("draw", DRAWN)


def raw_points(draw, n, generator, monkeypatch, **options):
    """Points before they are standardised, and the moments that they are standardised with."""
    with monkeypatch.context() as patched:
        patched.setattr(points, "standardise", lambda points, mean, variance: (points, mean, variance))
        return draw(n, generator, **options)


# --- points in the plane ---------------------------------------------------------------------------------------------


def average(f, low, high):
    return quad(f, low, high, epsabs=1e-12, limit=200)[0] / (high - low)


def moments(x_and_y, low, high, noise=0.0):
    """Mean and variance of both coordinates of curves that are run through evenly, each as likely as the others."""
    means = [np.mean([average(lambda u, f=f: f(u), low, high) for f in fs]) for fs in x_and_y]
    squares = [np.mean([average(lambda u, f=f: f(u) ** 2, low, high) for f in fs]) for fs in x_and_y]
    return means, [square - mean**2 + noise**2 for square, mean in zip(squares, means, strict=True)]


def truth_of_moons(noise):
    x = [np.cos, lambda u: 1 - np.cos(u)]
    y = [np.sin, lambda u: 0.5 - np.sin(u)]
    return moments((x, y), 0, np.pi, noise)


def truth_of_swiss_roll(noise):
    return moments(([lambda u: u * np.cos(u)], [lambda u: u * np.sin(u)]), 1.5 * np.pi, 4.5 * np.pi, noise)


def truth_of_rings(noise):
    variance = sum(r / 6 * average(lambda u, r=r: (r * np.cos(u)) ** 2, 0, 2 * np.pi) for r in (1, 2, 3))
    return [0, 0], [variance + noise**2] * 2


def truth_of_pinwheel(arms):
    """By Gauss and Hermite's quadrature over the two Gaussians, and a sum over the arms."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    along, across = np.meshgrid(1 + 0.3 * nodes, 0.05 * nodes, indexing="ij")
    weights = np.outer(weights, weights) / weights.sum() ** 2
    angles = [2 * np.pi * arm / arms + 0.25 * np.exp(along) for arm in range(arms)]
    x = [along * np.cos(a) - across * np.sin(a) for a in angles]
    y = [along * np.sin(a) + across * np.cos(a) for a in angles]
    means = [np.mean([(weights * f).sum() for f in fs]) for fs in (x, y)]
    return means, [np.mean([(weights * f**2).sum() for f in fs]) - m**2 for fs, m in zip((x, y), means, strict=True)]


@pytest.mark.parametrize(
    ("draw", "options", "truth"),
    [
        (data.moons, {"noise": 0.1}, truth_of_moons(0.1)),
        (data.moons, {"noise": 0.0}, truth_of_moons(0.0)),
        (data.swiss_roll, {"noise": 0.3}, truth_of_swiss_roll(0.3)),
        (data.swiss_roll, {"noise": 1.0}, truth_of_swiss_roll(1.0)),
        (data.checkerboard, {}, ([0, 0], [16 / 12] * 2)),  # each coordinate alone is uniform on [-2, 2]
        (data.rings, {"noise": 0.05}, truth_of_rings(0.05)),
        (data.rings, {"noise": 0.5}, truth_of_rings(0.5)),
        (data.pinwheel, {"arms": 5}, truth_of_pinwheel(5)),
        (data.pinwheel, {"arms": 3}, truth_of_pinwheel(3)),
    ],
)
def test_the_moments_worked_out_by_hand_are_those_of_the_population(draw, options, truth, monkeypatch, make_generator):
    _, mean, variance = raw_points(draw, 1, make_generator(0), monkeypatch, **options)
    assert mean == pytest.approx(truth[0], abs=1e-9)
    assert variance == pytest.approx(truth[1], abs=1e-9)


@every_shape_of_points
def test_points_have_mean_0_and_variance_1(draw, make_generator):
    """n = 100,000: each moment within 7 of its standard errors, false alarms below 1e-10."""
    n = 100_000
    x = draw(n, make_generator(0)).double()
    assert (x.mean(0).abs() < 7 * x.std(0) / math.sqrt(n)).all()
    assert (((x**2).mean(0) - 1).abs() < 7 * (x**2).std(0) / math.sqrt(n)).all()


@every_shape_of_points
def test_points_are_plain_and_follow_their_generator(draw, make_generator):
    x = draw(50, make_generator(0))
    assert x.shape == (50, 2) and x.dtype == torch.float32
    assert torch.equal(x, draw(50, make_generator(0)))
    assert not torch.equal(x, draw(50, make_generator(1)))
    g = make_generator(0)
    assert torch.equal(x, draw(50, g)) and not torch.equal(x, draw(50, g))
    assert inspect.signature(draw).parameters["generator"].default is inspect.Parameter.empty


def test_moons_are_two_half_circles_of_independent_angles(monkeypatch, make_generator):
    """The angles are uniform by the DKW bound, and not more even than draws can be: P(sqrt(n) sup |F_n - F| < 0.2)
    is 5e-13, while evenly spaced angles come to 0.01. False alarms below 1e-9."""
    n = 4_000
    points, _, _ = raw_points(data.moons, n, make_generator(0), monkeypatch, noise=0.0)
    x, y = points.T
    upper = ((x**2 + y**2 - 1).abs() < 1e-5) & (y >= 0)
    lower = (((1 - x) ** 2 + (0.5 - y) ** 2 - 1).abs() < 1e-5) & (y <= 0.5)
    assert (upper | lower).all()
    assert abs(int(lower.sum()) - n / 2) < 7 * math.sqrt(n) / 2
    for angles in (torch.atan2(y, x)[upper & ~lower], torch.atan2(0.5 - y, 1 - x)[lower & ~upper]):
        off = farthest_from_cdf(angles, lambda a: a / math.pi)
        assert 0.2 / math.sqrt(len(angles)) < off < dkw_bound(len(angles))


def test_swiss_roll_is_a_spiral_run_through_evenly(monkeypatch, make_generator):
    """By the DKW bound: false alarms below 1e-9."""
    points, _, _ = raw_points(data.swiss_roll, 4_000, make_generator(0), monkeypatch, noise=0.0)
    radius = points.norm(dim=1)
    torch.testing.assert_close(
        points, torch.stack([radius * radius.cos(), radius * radius.sin()], 1), atol=1e-4, rtol=0
    )
    assert farthest_from_cdf(radius, lambda r: (r / math.pi - 1.5) / 3) < dkw_bound(4_000)


def test_checkerboard_fills_its_eight_dark_squares_evenly(monkeypatch, make_generator):
    """Counts within 7 standard deviations, and places within squares by the DKW bound: false alarms below 1e-9."""
    n = 16_000
    points, _, _ = raw_points(data.checkerboard, n, make_generator(0), monkeypatch)
    column, row = points.floor().long().T
    assert points.min() >= -2 and points.max() <= 2
    assert ((column + row) % 2 == 0).all()
    counts = torch.bincount(4 * (column + 2) + row + 2, minlength=16)
    counts = counts[counts > 0]
    assert len(counts) == 8 and (counts - n / 8).abs().max() < 7 * math.sqrt(n * 7 / 64)
    for place in (points - points.floor()).T:
        assert farthest_from_cdf(place, lambda u: u) < dkw_bound(n)


def test_rings_hold_points_by_their_length(monkeypatch, make_generator):
    """Counts within 7 standard deviations, angles by the DKW bound: false alarms below 1e-9."""
    n = 12_000
    points, _, _ = raw_points(data.rings, n, make_generator(0), monkeypatch, noise=0.0)
    radius = points.norm(dim=1)
    torch.testing.assert_close(radius, radius.round(), atol=1e-5, rtol=0)
    for r in (1, 2, 3):
        on_it = radius.round() == r
        assert abs(int(on_it.sum()) - n * r / 6) < 7 * math.sqrt(n * r / 6 * (1 - r / 6))
        angle = torch.atan2(*points[on_it].flip(1).T)
        assert farthest_from_cdf(angle, lambda a: a / (2 * math.pi) + 0.5) < dkw_bound(int(on_it.sum()))


def test_pinwheel_has_arms_that_are_turned_copies(monkeypatch, make_generator):
    """Unbent, the angles crowd around five evenly turned lines, as many around each: counts within 7 standard
    deviations, false alarms below 1e-10. (99.9 % are expected within 0.3 of a sector; near the centre none is.)"""
    n = 20_000
    points, _, _ = raw_points(data.pinwheel, n, make_generator(0), monkeypatch, arms=5)
    radius, angle = points.norm(dim=1), torch.atan2(*points.flip(1).T)
    kept = radius > 0.5
    turned = (angle - 0.25 * radius.exp())[kept] / (2 * math.pi / 5)
    counts = torch.bincount(turned.round().long() % 5, minlength=5)
    assert (counts - len(turned) / 5).abs().max() < 7 * math.sqrt(len(turned) * 4 / 25)
    assert ((turned - turned.round()).abs() < 0.3).float().mean() > 0.99


@every_shape_of_points
@pytest.mark.parametrize("n", [0, -3, 2.5, "10"])
def test_a_number_of_points_that_is_none_is_refused(draw, n, make_generator):
    with pytest.raises(ValueError, match=f"n must be a whole number >= 1, but is {n!r}"):
        draw(n, make_generator(0))


@pytest.mark.parametrize("arms", [2, 0, 3.5])
def test_a_pinwheel_of_too_few_arms_is_refused(arms, make_generator):
    with pytest.raises(ValueError, match=f"arms must be a whole number >= 3, but is {arms!r}"):
        data.pinwheel(10, make_generator(0), arms=arms)


@pytest.mark.parametrize("mixture", [three_gaussians(), eight_gaussians(), eight_gaussians(0.4)])
def test_mixtures_are_standardised_exactly(mixture):
    torch.testing.assert_close(mixture.mean(), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(mixture.covariance().diagonal(), torch.ones(2), atol=1e-6, rtol=0)
    assert mixture.means.dtype == torch.float32


def test_three_gaussians_differ_in_everything():
    mixture = three_gaussians()
    torch.testing.assert_close(mixture.weights, torch.tensor([0.5, 0.3, 0.2]))
    correlations = mixture.covariances[:, 0, 1] / mixture.covariances.diagonal(dim1=1, dim2=2).prod(1).sqrt()
    torch.testing.assert_close(correlations, torch.tensor([0.6, -0.1 / 0.048**0.5, 0.0]))


@pytest.mark.parametrize("std", [0.1, 0.5])
def test_eight_gaussians_stand_on_a_circle(std):
    mixture = eight_gaussians(std)
    radii = mixture.means.norm(dim=1)
    torch.testing.assert_close(radii, radii[:1].repeat(8))
    torch.testing.assert_close(mixture.covariances, std**2 * torch.eye(2).repeat(8, 1, 1))
    neighbours = (mixture.means - mixture.means.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(neighbours, neighbours[:1].repeat(8))


@pytest.mark.parametrize("std", [0.0, 1.0, -0.1])
def test_eight_gaussians_of_impossible_width_are_refused(std):
    with pytest.raises(ValueError, match=rf"std must lie in \(0, 1\), .* but is {std}"):
        eight_gaussians(std)


# --- digits ----------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn():
    x, y = digits()
    assert x.shape == (1797, 1, 8, 8) and x.dtype == torch.float32 and y.dtype == torch.int64
    original = load_digits()
    np.testing.assert_array_equal(x[:, 0].numpy(), original.images / 8 - 1)
    np.testing.assert_array_equal(y.numpy(), original.target)
    assert x.min() == -1 and x.max() == 1


# --- MNIST: the real files -------------------------------------------------------------------------------------------

NAMES = list(mnist_module.MNIST_FILES)


@pytest.fixture(scope="session")
def real_mnist():
    folder = find_mnist()
    if folder is None:
        pytest.skip("MNIST is not on this machine: set MINIDIFF_DATA to the folder above mnist/")
    return folder


def content_of(folder, name):
    path = folder / name
    return path.read_bytes() if path.is_file() else gzip.decompress((folder / f"{name}.gz").read_bytes())


def test_real_mnist_is_what_its_bytes_say(real_mnist):
    x, y = mnist("test")
    pixels = np.frombuffer(content_of(real_mnist, "t10k-images-idx3-ubyte")[16:], np.uint8).reshape(-1, 1, 28, 28)
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    np.testing.assert_allclose(x.numpy(), pixels / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(y.numpy(), list(content_of(real_mnist, "t10k-labels-idx1-ubyte")[8:]))


def test_real_mnist_has_60000_digits_to_train_on(real_mnist):
    x, y = mnist("train", real_mnist)
    assert x.shape == (60_000, 1, 28, 28) and x.min() == -1 and x.max() == 1
    assert y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert torch.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


# --- MNIST: small files of the same kind -----------------------------------------------------------------------------


def idx_file(kind, shape, numbers):
    """An IDX file, by LeCun's description."""
    return bytes([0, 0, kind, len(shape)]) + b"".join(struct.pack(">I", length) for length in shape) + numbers


def expect_small_files(tmp_path, monkeypatch):
    """name -> content of four small IDX files, whose hashes the package now expects; nothing is elsewhere."""
    pixels = (np.arange(3 * 784) % 256).astype(np.uint8)
    files = {
        NAMES[0]: idx_file(0x08, (3, 28, 28), pixels.tobytes()),
        NAMES[1]: idx_file(0x08, (3,), bytes([7, 0, 9])),
        NAMES[2]: idx_file(0x08, (1, 28, 28), pixels[::-1][:784].tobytes()),
        NAMES[3]: idx_file(0x08, (1,), bytes([4])),
    }
    hashes = {
        name: (hashlib.sha256(content).hexdigest(), hashlib.sha256(gzip.compress(content, mtime=0)).hexdigest())
        for name, content in files.items()
    }
    monkeypatch.setattr(mnist_module, "MNIST_FILES", hashes)
    monkeypatch.setattr(mnist_module.pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv("MINIDIFF_DATA", raising=False)
    (tmp_path / "nowhere").mkdir()
    monkeypatch.chdir(tmp_path / "nowhere")
    return files


@pytest.fixture
def small(tmp_path, monkeypatch):
    return expect_small_files(tmp_path, monkeypatch)


def store(files, folder, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(
            gzip.compress(content, mtime=0) if packed else content
        )
    return folder


@pytest.mark.parametrize("packed", [True, False, "some"])
def test_packed_and_raw_files_are_read_alike(small, tmp_path, packed):
    for place, (name, content) in enumerate(small.items()):
        store({name: content}, tmp_path / "mnist", packed=place % 2 == 0 if packed == "some" else packed)
    train, test = mnist("train", tmp_path / "mnist"), mnist("test", str(tmp_path / "mnist"))
    assert train.x.shape == (3, 1, 28, 28) and train.y.tolist() == [7, 0, 9]
    assert test.x.shape == (1, 1, 28, 28) and test.y.tolist() == [4]
    expected = np.frombuffer(small[NAMES[0]][16:], np.uint8).reshape(3, 1, 28, 28) / 127.5 - 1
    np.testing.assert_allclose(train.x.numpy(), expected, atol=1e-6)


def test_folders_are_searched_in_order(small, tmp_path, monkeypatch):
    """The argument alone; else $MINIDIFF_DATA/mnist, data/mnist of the repository above, the cache folder."""
    repository = tmp_path / "course"
    (repository / "minidiff").mkdir(parents=True)
    (repository / "minidiff" / "__init__.py").touch()
    (repository / "notebooks" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(repository / "notebooks" / "deeper")
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "environment"))
    assert find_mnist() is None
    folders = [
        tmp_path / "environment" / "mnist",
        repository / "data" / "mnist",
        tmp_path / "cache" / "minidiff" / "mnist",
    ]
    assert mnist_folders() == folders
    for folder in reversed(folders):
        store(small, folder)
        assert find_mnist() == folder
    assert find_mnist(tmp_path / "named") is None
    store(small, tmp_path / "named", packed=False)
    assert find_mnist(tmp_path / "named") == tmp_path / "named"
    (folders[0] / f"{NAMES[3]}.gz").unlink()  # an incomplete folder is passed over
    assert find_mnist() == folders[1]


KEPT = r"\. What to do: move that file elsewhere or name another folder, and run again$"
UNREADABLE = r" cannot be read \(.+\): it may be damaged" + KEPT
OTHER = (
    r" does not hold MNIST \(its SHA-256 differs\): it is damaged, or it belongs to another data set that gives its "
    r"files the same names, such as Fashion-MNIST or KMNIST" + KEPT
)


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("{}.gz", lambda content: gzip.compress(content)[:-9], UNREADABLE),  # ends too soon
        ("{}.gz", lambda content: gzip.compress(content)[:10] + b"\xff" * 50, UNREADABLE),  # no such compression
        ("{}.gz", lambda content: gzip.compress(content)[:-5] + b"12345", UNREADABLE),  # a wrong checksum
        ("{}", lambda content: gzip.compress(content)[:-9], UNREADABLE),
        ("{}.gz", lambda content: gzip.compress(content[:-1]), OTHER),
        ("{}.gz", lambda content: b"", OTHER),
        ("{}", lambda content: content[:-1] + b"\0", OTHER),
        ("{}", lambda content: idx_file(0x08, (3, 28, 28), bytes(3 * 784)), OTHER),  # a data set of another name
        ("{}", lambda content: gzip.compress(content + b"\0"), OTHER),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_file_that_is_not_mnist_s_is_named_and_nobody_is_told_to_delete_it(
    small, tmp_path, name, spoil, words, place
):
    folder = store(small, tmp_path / "mnist", packed=name.endswith("gz"))
    (folder / name.format(NAMES[place])).write_bytes(spoil(small[NAMES[place]]))
    with pytest.raises(ValueError, match=re.escape(str(folder / name.format(NAMES[place]))) + words) as error:
        mnist("train", folder)
    assert "delete" not in str(error.value)
    assert len(mnist("test", folder).x) == 1


def test_moving_a_foreign_file_away_lets_mnist_be_found_again(small, tmp_path):
    """What the message tells one to do."""
    folder = store(small, tmp_path / "mnist")
    (folder / NAMES[0]).write_bytes(b"of another set")
    assert mnist("train", folder).y.tolist() == [7, 0, 9]  # the archive comes first
    (folder / f"{NAMES[0]}.gz").rename(tmp_path / "kept.gz")
    with pytest.raises(ValueError, match=f"{NAMES[0]} does not hold MNIST"):
        mnist("train", folder)
    (folder / NAMES[0]).rename(tmp_path / "foreign")
    (tmp_path / "kept.gz").rename(folder / f"{NAMES[0]}.gz")
    assert mnist("train", folder).y.tolist() == [7, 0, 9]


@pytest.mark.parametrize("packed", [True, False])
def test_packed_files_are_known_by_their_content(small, tmp_path, packed):
    """Browsers unpack what they load and leave the ending, or take the ending off and leave it packed."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, content in small.items():
        (folder / (name if packed else f"{name}.gz")).write_bytes(gzip.compress(content) if packed else content)
    assert mnist("train", folder).y.tolist() == [7, 0, 9]


# --- MNIST: where others put it --------------------------------------------------------------------------------------


def dotted(name):
    return name.replace("-idx", ".idx")


LAYOUTS = {
    "torchvision's": lambda name: f"MNIST/raw/{name}",
    "torchvision's, packed": lambda name: f"MNIST/raw/{name}.gz",
    "Kaggle's": dotted,
    "Kaggle's, packed": lambda name: f"{dotted(name)}.gz",
    "Kaggle's archive": lambda name: f"{name}/{name}",
    "Kaggle's archive, with dots": lambda name: f"{dotted(name)}/{dotted(name)}",
    "Kaggle's archive, with dots outside": lambda name: f"{dotted(name)}/{name}",
    "Kaggle's archive, with dots inside": lambda name: f"{name}/{dotted(name)}",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_of_others_are_found(small, tmp_path, layout):
    for name, content in small.items():
        path = tmp_path / "mine" / LAYOUTS[layout](name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    train, test = (mnist(split, tmp_path / "mine", mirrors=()) for split in ("train", "test"))
    assert train.y.tolist() == [7, 0, 9] and test.y.tolist() == [4]


def test_our_names_come_before_kaggle_s_and_packed_files_before_others(small, tmp_path):
    """The order that is written down: each of these stands before all that are made after it."""
    name = NAMES[1]
    inner = [
        f"{outer}/{file}{ending}"
        for outer in (name, dotted(name))
        for file in (name, dotted(name))
        for ending in (".gz", "")
    ]
    order = [f"{name}.gz", name, f"{dotted(name)}.gz", dotted(name), *inner]
    for kept in range(len(order)):
        folder = tmp_path / str(kept)
        for path in order[kept:]:
            # a folder cannot bear the name of a file that stands there
            if "/" in path and path.split("/")[0] in order[kept:4]:
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
        assert mnist_module.stored_file(folder, name) == folder / order[kept]


def test_torchvision_s_folders_follow_those_that_they_lie_below(small, tmp_path, monkeypatch):
    repository = tmp_path / "course"
    (repository / "minidiff").mkdir(parents=True)
    (repository / "minidiff" / "__init__.py").touch()
    monkeypatch.chdir(repository)
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "own"))
    own, theirs, cache = tmp_path / "own", repository / "data", tmp_path / "cache" / "minidiff" / "mnist"
    assert mnist_folders() == [own / "mnist", theirs / "mnist", cache]
    expected = []
    for root in (own, theirs):
        expected += [root / "mnist", root / "mnist" / "MNIST" / "raw", root / "MNIST" / "raw"]
        for folder in expected[-2:]:
            folder.mkdir(parents=True)
    if os.path.samefile(own / "mnist", own / "MNIST"):
        pytest.skip("names in small and in capital letters are one here")
    assert mnist_folders() == [*expected, cache]
    assert mnist_folders(tmp_path / "own") == [own, own / "MNIST" / "raw"]
    for folder in reversed(expected):
        store(small, folder, packed=False)
        assert find_mnist() == folder


# --- the reader's home -----------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_home_may_be_written_in_short(small, tmp_path, monkeypatch, home):
    store(small, home / "here")
    assert find_mnist("~/here") == home / "here" and mnist("test", "~/here", mirrors=()).y.tolist() == [4]
    store(small, home / "data" / "mnist")
    monkeypatch.setenv("MINIDIFF_DATA", "~/data")
    assert data_folder() == home / "data" and find_mnist() == home / "data" / "mnist"
    (home / "data" / "note.txt").touch()
    assert course_file("note.txt") == home / "data" / "note.txt"
    assert read_idx(f"~/here/{NAMES[1]}.gz").tolist() == [7, 0, 9]
    assert not (tmp_path / "nowhere" / "~").exists()


def test_a_home_that_nobody_has_is_refused(small, monkeypatch):
    with pytest.raises(ValueError, match=r"folder must be the path of a folder, but is '~nobody-here/x', and no user"):
        find_mnist("~nobody-here/x")
    monkeypatch.setenv("MINIDIFF_DATA", "~nobody-here/x")
    for read in (find_mnist, mnist, lambda: course_file("x")):
        with pytest.raises(
            ValueError, match="variable MINIDIFF_DATA must be the path of a folder, but is '~nobody-here/x'"
        ):
            read()


@pytest.mark.parametrize(("folder", "error"), [("", ValueError), (5, TypeError), (b"mnist", TypeError)])
def test_a_folder_that_is_no_path_is_refused(small, folder, error):
    with pytest.raises(error, match="folder must be the path of a folder, but is"):
        mnist("train", folder)


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("MINIDIFF_DATA", "")
    assert data_folder() is None


# --- IDX files -------------------------------------------------------------------------------------------------------

KINDS = {0x08: "B", 0x09: "b", 0x0B: "h", 0x0C: "i", 0x0D: "f", 0x0E: "d"}
NUMPYS = {0x08: np.uint8, 0x09: np.int8, 0x0B: np.int16, 0x0C: np.int32, 0x0D: np.float32, 0x0E: np.float64}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_idx_files_of_every_kind_are_read(tmp_path, kind, packed):
    """By Python's `struct`, number by number."""
    signed = [-100, 127, 0, 1, 2, -3] if kind != 0x08 else [100, 255, 0, 1, 2, 3]
    numbers = [number * {0x0B: 200, 0x0C: 10_000_000, 0x0D: 0.5, 0x0E: 0.1}.get(kind, 1) for number in signed]
    content = idx_file(kind, (2, 1, 3), struct.pack(f">6{KINDS[kind]}", *numbers))
    (tmp_path / "file").write_bytes(gzip.compress(content) if packed else content)
    read = read_idx(tmp_path / "file")
    assert read.shape == (2, 1, 3) and read.dtype == NUMPYS[kind] and read.dtype.isnative
    assert read.flatten().tolist() == numbers and read.flags.writeable


def test_idx_files_of_no_dimension_and_of_none_are_read(tmp_path):
    (tmp_path / "one").write_bytes(idx_file(0x08, (), b"\7"))
    (tmp_path / "none").write_bytes(idx_file(0x0D, (0, 28), b""))
    assert read_idx(tmp_path / "one") == 7 and read_idx(str(tmp_path / "none")).shape == (0, 28)


NOT_IDX = (
    "is no IDX file: it must begin with the bytes 00 00, one of 08, 09, 0b, 0c, 0d, 0e, and the number of dimensions"
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", f"{NOT_IDX}, but is empty"),
        (b"\0\0\x08", f"{NOT_IDX}, but begins with 00 00 08"),
        (b"\x89PNG\r\n", f"{NOT_IDX}, but begins with 89 50 4e 47"),
        (bytes(100), f"{NOT_IDX}, but begins with 00 00 00 00"),
        (b"\0\0\x08\x03\0\0\0\1", "ends within its header, which must have 16 bytes, but has 8"),
        (
            idx_file(0x08, (2, 3), bytes(5)),
            r"must hold 6 bytes after its header, .* uint8 of shape \(2, 3\), but holds 5",
        ),
        (idx_file(0x0B, (2,), bytes(5)), r"must hold 4 bytes after its header, .* int16 of shape \(2,\), but holds 5"),
        (idx_file(0x0E, (2**32 - 1,) * 9, b"1"), r"must hold \d{80,} bytes .* but holds 1: it is damaged"),
        (gzip.compress(bytes(50), mtime=0)[:-4], r"is packed by gzip, but cannot be unpacked \(.+\): it is damaged"),
        (b"\x1f\x8b\x08" + bytes(50), r"is packed by gzip, but cannot be unpacked \(.+\): it is damaged"),
    ],
)
def test_what_is_no_idx_file_is_named(tmp_path, content, words):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path / 'file'))} {words}"):
        read_idx(tmp_path / "file")


def test_an_idx_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.idx"):
        read_idx(tmp_path / "nowhere.idx")


def test_the_real_files_are_read_by_their_headers(real_mnist):
    assert read_idx(mnist_module.stored_file(real_mnist, NAMES[2])).shape == (10_000, 28, 28)
    assert read_idx(mnist_module.stored_file(real_mnist, NAMES[3])).shape == (10_000,)


# --- what is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["Train", "validation", None])
def test_an_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match=f"split must be 'train' or 'test', but is {split!r}"):
        mnist(split)


def test_the_mirrors_are_two_and_their_archives_are_pinned():
    assert len(data.MIRRORS) == 2 and all(
        mirror.startswith("https://") and mirror.endswith("/") for mirror in data.MIRRORS
    )
    for name, hashes in {
        "train-images-idx3-ubyte": ("ba891046", "440fcabf"),
        "train-labels-idx1-ubyte": ("65a50cbb", "3552534a"),
        "t10k-images-idx3-ubyte": ("0fa7898d", "8d422c7b"),
        "t10k-labels-idx1-ubyte": ("ff7bcfd4", "f7ae60f9"),
    }.items():
        assert tuple(digest[:8] for digest in mnist_module.MNIST_FILES[name]) == hashes
        assert all(len(digest) == 64 for digest in mnist_module.MNIST_FILES[name])
