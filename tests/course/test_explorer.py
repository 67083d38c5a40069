"""The page to play with: its numbers are those of the package, and hands, keys and readers of screens can use it.

The numbers are asked of Node.js, of a browser, or of both, whichever is there. Browser and page are real; the browser
can find no other machine.
"""

import html
import json
import math
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from minidiff import data, denoisers, exact, explorer, samplers, schedules

try:
    from playwright.sync_api import Page, sync_playwright
except ImportError:
    sync_playwright = None
NODE = shutil.which("node")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"),
]
MISSING = {
    "node": None if NODE else "Node.js is missing: apt-get install nodejs",
    "browser": "playwright is missing: pip install -e '.[browser]'"
    if sync_playwright is None
    else None
    if CHROMIUM
    else "Chromium is missing: apt-get install chromium",
}
needs_browser = pytest.mark.skipif(MISSING["browser"] is not None, reason=str(MISSING["browser"]))
SOURCE = explorer.PAGE.read_text(encoding="utf-8")
CLOSE = 1e-9
PATH = schedules.vp_linear()

Ask = Callable[[str], object]  # an expression in JavaScript -> what it is, through JSON


@pytest.fixture(autouse=True)
def python_random_state_is_kept() -> Iterator[None]:
    """playwright draws from it."""
    state = random.getstate()
    yield
    random.setstate(state)


# --- the numbers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator:
    if MISSING["browser"]:
        pytest.skip(MISSING["browser"])
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


# Node.js runs the page's model alone, without the page, and answers each line that it reads with one.
ANSWER = """
const run = require("vm").runInThisContext;  // leaves what it defines to the next line
run(process.argv[1]);
require("readline").createInterface({ input: process.stdin }).on("line", line => {
  try { console.log(JSON.stringify(run(`(${line})`))); } catch (error) { console.log(JSON.stringify(`${error}`)); }
});
"""


@pytest.fixture(scope="module")
def node() -> Iterator[subprocess.Popen]:
    model = re.search(r'<script id="model">\n(.*?)</script>', SOURCE, re.DOTALL).group(1)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen([NODE, "-e", ANSWER, model], **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture(scope="module")
def quiet_page(browser) -> Iterator["Page"]:
    page = browser.new_page()
    page.goto(explorer.PAGE.as_uri())
    yield page
    page.close()


@pytest.fixture(params=["node", "browser"])
def ask(request) -> Ask:
    """Asks the page's functions, in a browser and without one."""
    if MISSING[request.param]:
        pytest.skip(MISSING[request.param])
    if request.param == "browser":
        page = request.getfixturevalue("quiet_page")
        return lambda expression: json.loads(page.evaluate(f"JSON.stringify({expression})"))
    process = request.getfixturevalue("node")

    def answer(expression: str) -> object:
        process.stdin.write(expression.replace("\n", " ") + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    return answer


def mixture_of(modes: list[dict]) -> exact.GaussianMixture:
    """The package's mixture of the page's modes."""
    turn = torch.tensor([mode["angle"] for mode in modes], dtype=torch.float64)
    axes = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], dim=1).reshape(-1, 2, 2)
    widths = torch.tensor([[mode["along"], mode["across"]] for mode in modes], dtype=torch.float64)
    return exact.GaussianMixture(
        torch.tensor([mode["weight"] for mode in modes], dtype=torch.float64),
        torch.tensor([mode["mean"] for mode in modes], dtype=torch.float64),
        axes @ torch.diag_embed(widths**2) @ axes.mT,
    )


def mode(weight: float, mean: list[float], along: float, across: float, angle: float) -> dict:
    return {"weight": weight, "mean": mean, "along": along, "across": across, "angle": angle}


DRAGGED = [  # as a hand may leave them: narrow, far out, one on another, light
    mode(0.55, [-2.9, 2.7], 1.2, 0.02, 0.7),
    mode(0.25, [0.4, 0.3], 0.3, 0.6, -1.5),
    mode(0.18, [0.4, 0.3], 0.02, 0.02, 0.0),
    mode(0.02, [2.2, -2.8], 0.5, 0.1, 2.9),
]
TIMES = [0.0, 0.005, 0.1, 0.37, 0.8, 1.0]


def gap(found: object, wanted: Tensor) -> float:
    """The largest difference, of numbers above 1 as a fraction of them."""
    found = torch.tensor(found, dtype=torch.float64).reshape(wanted.shape)
    return float(((found - wanted).abs() / wanted.abs().clamp(min=1)).max())


@pytest.fixture(params=["three", "eight", "arch", "training", "dragged"])
def modes(request, ask) -> list[dict]:
    return DRAGGED if request.param == "dragged" else ask(f"presets.{request.param}")


def points(n: int, make_generator, stream: int = 0) -> Tensor:
    return 1.5 * torch.randn(n, 2, generator=make_generator(stream), dtype=torch.float64)


def test_the_page_has_the_mixtures_of_the_course(ask):
    for name, wanted in (("three", data.three_gaussians()), ("eight", data.eight_gaussians())):
        found = mixture_of(ask(f"presets.{name}"))
        for part in ("weights", "means", "covariances"):
            assert torch.allclose(getattr(found, part), getattr(wanted, part).double(), atol=1e-6, rtol=0), name
    covariances = [exact.GaussianMixture.covariance(mixture_of(ask(f"presets.{name}"))) for name in ("three", "arch")]
    for covariance in covariances:  # in full digits, where the course has those of float32
        assert gap(covariance.diagonal().tolist(), torch.ones(2, dtype=torch.float64)) < CLOSE


def test_the_path_is_that_of_the_course(ask):
    times = torch.tensor(TIMES, dtype=torch.float64)
    assert gap(ask(f"{TIMES}.map(alpha)"), PATH.alpha(times)) < CLOSE
    assert gap(ask(f"{TIMES}.map(sigma)"), PATH.sigma(times)) < CLOSE


def test_density_score_mean_and_responsibilities_are_those_of_exact(ask, modes, make_generator):
    x = torch.cat([points(40, make_generator), torch.tensor([[3.0, -3.0], [-3.0, -3.0]], dtype=torch.float64)])
    found = ask(
        f"{TIMES}.map(t => {x.tolist()}.map(([x, y]) => {{ const out = {{}}, r = [...look(prepare("
        f"{json.dumps(modes)}, t), x, y, out)]; return {{ ...out, r }}; }}))"
    )
    mixture = mixture_of(modes)
    for row, t in zip(found, torch.tensor(TIMES, dtype=torch.float64), strict=True):
        assert gap([p["logp"] for p in row], exact.log_prob(mixture, PATH, x, t)) < CLOSE
        assert gap([[p["sx"], p["sy"]] for p in row], exact.score(mixture, PATH, x, t)) < CLOSE
        assert gap([[p["mx"], p["my"]] for p in row], exact.posterior_mean(mixture, PATH, x, t)) < CLOSE
        assert gap([p["r"] for p in row], exact.responsibilities(mixture, PATH, x, t)) < CLOSE


PLAIN = {"toward": None, "w": 1, "blur": 0, "pull": 0}
SETTINGS = {
    "exact": PLAIN,
    "guided by a mode": {**PLAIN, "toward": [2], "w": 4.5},
    "guided by a class": {**PLAIN, "toward": [0, 1], "w": 2},
    "blurred": {**PLAIN, "blur": 0.35},
    "drawn to the middle": {**PLAIN, "pull": 0.4},
    "all at once": {"toward": [1], "w": 3, "blur": 0.2, "pull": 0.1},
}


def denoiser_of(modes: list[dict], *, toward: list[int] | None, w: float, blur: float, pull: float):
    """The package's denoiser for the page's settings."""
    whole = mixture_of(modes)
    wide = whole.covariances + blur**2 * torch.eye(2, dtype=torch.float64)
    mixture = exact.GaussianMixture(whole.weights, whole.means, wide)
    guess = exact.mixture_denoiser(mixture, PATH)
    if toward is not None:
        weights = mixture.weights[toward]
        asked = exact.GaussianMixture(weights / weights.sum(), mixture.means[toward], mixture.covariances[toward])
        guess = denoisers.guided(exact.mixture_denoiser(asked, PATH), guess, w)
    return lambda x_t, t: (1 - pull) * guess(x_t, t) + pull * whole.mean()


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_every_state_of_a_sampler_is_that_of_samplers(ask, modes, sampler, make_generator, monkeypatch):
    """The package is handed the page's noise in place of its own."""
    start, n = points(20, make_generator) / 1.5, 7
    noises = [points(20, make_generator, 1 + k) / 1.5 for k in range(n)]
    given = [noise.flatten().tolist() for noise in noises]
    for name, how in SETTINGS.items():
        settings = json.dumps({"modes": modes, **how})
        found = ask(
            f"(given => walk({settings}, '{sampler}', {n}, {start.flatten().tolist()}, k => given[k])"
            f".map(c => [...c]))({given})"
        )
        assert gap(found[0], start.flatten()) == 0
        rest, x, denoise = iter(noises), start, denoiser_of(modes, **how)
        monkeypatch.setattr(samplers, "noise_like", lambda x, generator, rest=rest: next(rest))
        for state, (t, s) in zip(found[1:], pairwise(torch.linspace(1, 0, n + 1, dtype=torch.float64)), strict=True):
            if sampler == "ddim":
                x = samplers.ddim_step(denoise, PATH, x, t, s).x
            else:
                x = samplers.ancestral_step(denoise, PATH, x, t, s, generator=make_generator(0)).x
            assert gap(state, x.flatten()) < CLOSE, name


def test_two_hundred_steps_stay_together(ask, make_generator):
    start = points(20, make_generator) / 1.5
    three = ask("presets.three")
    settings = json.dumps({"modes": three, **PLAIN})
    found = ask(f"[...walk({settings}, 'ddim', 200, {start.flatten().tolist()}, () => null).at(-1)]")
    times = torch.linspace(1, 0, 201, dtype=torch.float64)
    end = samplers.last(samplers.ddim(exact.mixture_denoiser(mixture_of(three), PATH), PATH, start, times))
    assert gap(found, end.flatten()) < CLOSE


def test_the_forward_process_is_perturb(ask, make_generator):
    x0, eps = points(20, make_generator), points(20, make_generator, 1)
    found = ask(f"perturb({x0.flatten().tolist()}, 0.3, {eps.flatten().tolist()})")
    assert gap(found, PATH.perturb(x0, torch.tensor(0.3, dtype=torch.float64), eps)) < CLOSE


def test_data_and_noise_have_the_moments_that_they_should(ask, modes):
    """The page's generator has a fixed seed, so this cannot fail by chance. Bounds: five standard errors and more."""
    n, mixture = 20000, mixture_of(modes)
    drawn = ask(
        f"(() => {{ const g = generator(3), chances = Float64Array.from({{length: {n}}}, g.uniform);"
        f"const eps = g.normal({n}); return [[...scatter({json.dumps(modes)}, chances, eps)], [...eps]]; }})()"
    )
    x, eps = (torch.tensor(part, dtype=torch.float64).reshape(n, 2) for part in drawn)
    assert float((torch.cov(eps.T) - torch.eye(2)).abs().max()) < 0.05 and float(eps.mean(0).abs().max()) < 0.04
    spread = mixture.covariance().diagonal().max().sqrt()
    assert float((x.mean(0) - mixture.mean()).abs().max()) < 5 * spread / math.sqrt(n)
    assert float((torch.cov(x.T) - mixture.covariance()).abs().max()) < 0.06 * spread**2


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_is_small_and_whole():
    assert len(SOURCE.encode()) < 40_000
    assert not re.search(r'\b(?:src|href)="|@import|url\(|https?:', SOURCE)  # all that it needs is in it
    suggested = set(re.findall(r'data-try="(\w+)"', SOURCE))
    assert suggested == set(explorer.EXPERIMENTS) and len(explorer.EXPERIMENTS) >= 8
    for name in explorer.EXPERIMENTS:  # what to do, and what to see
        assert len(re.findall(rf'<p data-try="{name}">', SOURCE)) == 2
        assert re.search(rf"^  {name}: {{", SOURCE, re.MULTILINE)


def test_show_is_a_frame_and_a_still_picture():
    shown = explorer.show("guidance")
    assert repr(shown) == "Shown(experiment='guidance')"  # the same on every machine
    text = shown._repr_html_()
    frame, rest = text.split("</iframe>")
    inside = html.unescape(re.search(r'srcdoc="([^"]*)"', frame).group(1))
    assert inside == SOURCE.replace('<html lang="en">', '<html lang="en" data-begin="guidance">')
    assert re.search(r'title="[^"]{10,}"', frame) and re.search(
        r'<img src="data:image/png;base64,[^"]+" alt="[^"]{100,}"', rest
    )
    assert f'href="{explorer.LINK}#guidance"' in rest
    assert (explorer.PAGE.parents[1] / "notebooks" / explorer.LINK).resolve() == explorer.PAGE
    assert len(text) < 100_000


def test_show_refuses_an_experiment_that_does_not_exist():
    with pytest.raises(ValueError, match=r"experiment must be one of melt, guess, .*, but is 'nothing'"):
        explorer.show("nothing")


def opened(browser, **how) -> "Page":
    """The page, in a window that gathers what goes wrong in it."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **how})
    page.wrong = []
    page.on("console", lambda message: page.wrong.append(message.text))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: page.wrong.append(request.url) if "explorer.html" not in request.url else None)
    page.goto(explorer.PAGE.as_uri())
    return page


def drawn(page) -> None:
    """Wait until the picture shows what was done."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pixels(page) -> str:
    drawn(page)
    return page.evaluate("canvas.toDataURL()")


@needs_browser
def test_a_mode_is_dragged_by_mouse_and_by_keys_and_its_samples_follow(browser):
    page = opened(browser)
    page.evaluate("setUp('chance')")
    drawn(page)
    before, picture = page.evaluate("[...film.at(-1)]"), pixels(page)
    box = page.get_by_role("button", name="Mode 1").bounding_box()
    side = page.locator("#stage").bounding_box()["width"]
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mean = page.evaluate("modes[0].mean")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + side / 6, y + side / 12, steps=3)
    page.mouse.up()
    moved = page.evaluate("modes[0].mean")
    assert moved == pytest.approx([mean[0] + 1, mean[1] - 0.5], abs=0.02)  # the plane is six wide
    page.keyboard.press("ArrowUp")  # the handle has the focus now
    page.keyboard.press("Shift+ArrowLeft")
    assert page.evaluate("modes[0].mean") == pytest.approx([moved[0] - 0.01, moved[1] + 0.1])
    drawn(page)
    after = page.evaluate("[...film.at(-1)]")
    assert pixels(page) != picture and len(after) == len(before) == 600
    assert abs(sum(after[::2]) - sum(before[::2])) / 300 == pytest.approx(0.5, abs=0.2)  # half of them moved by 1
    page.wait_for_function("document.getElementById('say').textContent.startsWith('Mode 1 at (')")  # and it is said
    assert page.wrong == []
    page.close()


@needs_browser
def test_weights_and_widths_and_the_number_of_modes_can_be_changed(browser):
    page = opened(browser)
    page.get_by_text("Data", exact=True).click()
    page.locator("#weight").fill("0.8")
    assert page.evaluate("modes.map(m => m.weight)") == pytest.approx([0.8, 0.12, 0.08])
    page.locator("#along").fill("0.5")
    page.locator("#angle").fill("90")
    assert page.evaluate("[modes[0].along, modes[0].angle]") == pytest.approx([0.5, math.pi / 2])
    grip = page.locator(".grip").first.bounding_box()
    page.mouse.move(grip["x"] + 12, grip["y"] + 12)
    page.mouse.down()
    page.mouse.move(grip["x"] + 12, grip["y"] - 24, steps=2)
    page.mouse.up()
    assert page.evaluate("modes[0].along") != pytest.approx(0.5)
    page.get_by_role("button", name="Add a mode").click()
    assert page.evaluate("[modes.length, modes.reduce((sum, m) => sum + m.weight, 0)]") == pytest.approx([4, 1])
    for _ in range(3):
        page.get_by_role("button", name="Remove this one").click()
    assert page.evaluate("modes.map(m => m.weight)") == pytest.approx([1])
    assert page.get_by_role("button", name="Remove this one").is_disabled()
    drawn(page)
    assert page.wrong == []
    page.close()


@needs_browser
def test_every_experiment_can_be_set_up_on_a_phone(browser):
    page = opened(browser, viewport={"width": 400, "height": 800}, color_scheme="dark", has_touch=True)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"
    for name in explorer.EXPERIMENTS:
        page.get_by_label("Experiment", exact=True).select_option(name)
        page.get_by_text("What to see").click()
        drawn(page)
        assert page.locator("[data-try]:visible").count() == 2, name
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, name
        sliders = [slider.bounding_box() for slider in page.locator("details[open] input[type=range]").all()]
        assert all(slider["y"] + slider["height"] - plane(page)["y"] < 664 for slider in sliders), name  # both in sight
        assert bool(sliders) == (name not in ("melt", "guess", "merge"))
    page.wait_for_function("document.getElementById('say').textContent === 'Set up.'")
    assert page.wrong == []
    page.close()


def plane(page) -> dict[str, float]:
    return page.locator("#stage").bounding_box()


@needs_browser
def test_a_finger_moves_the_noisy_point_and_scrolls_the_page(browser):
    page = opened(browser, viewport={"width": 400, "height": 500}, has_touch=True)
    finger = page.context.new_cdp_session(page)

    def stroke(*places) -> None:
        """From place to place, in fractions of the plane's width."""
        for place in places:
            points = [{"x": plane(page)["x"] + place[0] * side, "y": top + place[1] * side}]
            kind = "touchStart" if place is places[0] else "touchMove"
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            drawn(page)
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    top, side = plane(page)["y"], plane(page)["width"]
    page.touchscreen.tap(plane(page)["x"] + side / 2, top + side / 20)
    assert page.evaluate("probe") == pytest.approx([0, 2.7], abs=0.1)
    stroke((0.5, 0.05), (0.6, 0.05), (0.7, 0.05), (0.95, 0.05))
    assert page.evaluate("[probe, scrollY]") == [pytest.approx([2.7, 2.7], abs=0.1), 0]
    stroke((0.95, 0.9), (0.95, 0.7), (0.95, 0.5), (0.95, 0.1))
    page.wait_for_function("scrollY > 50")
    assert page.evaluate("probe") == pytest.approx([2.7, 2.7], abs=0.1)
    assert page.wrong == []
    page.close()


@needs_browser
def test_time_is_played_forward_and_back_unless_motion_is_unwanted(browser):
    page = opened(browser)
    page.get_by_role("button", name="Draw samples").click()
    page.wait_for_function("value('t') > 0 && value('t') < 1")
    page.get_by_role("button", name="Stop").click()
    stopped = page.evaluate("value('t')")
    drawn(page)
    assert page.evaluate("value('t')") == stopped
    page.close()
    page = opened(browser, reduced_motion="reduce")
    page.get_by_role("button", name="Dissolve data").click()
    assert page.evaluate("[value('t'), playing]") == [1, 0]
    page.close()


@needs_browser
def test_in_a_notebook_the_page_fits_its_frame_wears_its_colours_and_hides_the_still_picture(browser):
    page = browser.new_page(viewport={"width": 900, "height": 900})
    page.set_content(f'<body data-jp-theme-light="false">{explorer.show("guidance")._repr_html_()}</body>')
    frame = page.frames[1]
    frame.wait_for_function("document.documentElement.classList.contains('dark')")
    assert frame.evaluate("document.getElementById('try').value") == "guidance"
    assert page.locator("details").is_hidden()
    page.wait_for_function(
        "Math.abs(document.querySelector('iframe').offsetHeight"
        " - document.querySelector('iframe').contentDocument.body.offsetHeight) < 2"
    )
    page.evaluate("document.body.dataset.jpThemeLight = 'true'")
    frame.wait_for_function("!document.documentElement.classList.contains('dark')")
    page.close()


@needs_browser
def test_where_scripts_may_not_run_the_still_picture_is_there(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(explorer.show()._repr_html_())
    assert page.locator("details").is_visible() and page.get_by_role("img").bounding_box()["width"] > 300
    context.close()
