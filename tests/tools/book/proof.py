"""Look at every page of the built book in a browser, as somebody with a laptop does, and somebody with a phone.

On every page: each formula that was written is rendered, the console is silent, nothing is asked of another site, every
picture and sound can be had, axe finds nothing serious in light colours or in dark ones, and nothing is wider than a
phone. Films stop on demand, and stand still for whoever asks for calm. The search finds what is there.
"""

import functools
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import browser
from tests.tools.book.contents import REPOSITORY, markdown_of
from tests.tools.book.pages import formulas

__all__ = ["prove"]

LAPTOP, PHONE = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
SERIOUS = ("serious", "critical")
PLACE = "/minidiff/"  # GitHub serves a project's pages below its name, not at the top
SOUGHT, FOUND = "Langevin", "02_langevin_and_boltzmann.html"

# What a page holds once all is loaded: its formulas, what is left of formulas that were not recognised, its pictures.
LOOK = r"""async () => {
  await window.MathJax?.startup?.promise;
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  const sounds = await Promise.all([...document.querySelectorAll("audio")].map((sound) => new Promise((resolve) => {
    sound.onloadedmetadata = () => resolve(sound.duration > 0 ? "" : sound.src);
    sound.onerror = () => resolve(sound.src);
    sound.preload = "metadata";
    sound.load();
  })));
  const article = document.querySelector("article") ?? document.body;
  const text = [...article.querySelectorAll("p, li, td, th, h1, h2, h3, h4, summary")].map((e) => {
    const copy = e.cloneNode(true);
    for (const other of copy.querySelectorAll("code, pre, mjx-container, script")) other.remove();
    return copy.textContent;
  });
  return {
    formulas: article.querySelectorAll("mjx-container").length,
    errors: [...article.querySelectorAll("[data-mml-node=merror]")].map((e) => e.textContent.slice(0, 60)),
    left: text.flatMap((words) => words.match(/\$[^$\n]{1,60}\$|\\\(.{1,60}\\\)|\*\*\w[^*]{1,60}\*\*/g) ?? []),
    silent: sounds.filter(Boolean),
    broken: [...document.images].filter((image) => !image.naturalWidth).map((image) => image.src),
    undescribed: [...article.querySelectorAll("img")].filter((i) => !i.alt.includes(" ")).map((i) => i.src),
  };
}"""

# What sticks out of a narrow page and is not within something that scrolls.
WIDER = """() => {
  const room = document.documentElement.clientWidth, wide = document.documentElement.scrollWidth;
  if (wide <= room) return [];
  const scrolls = (e) => getComputedStyle(e).overflowX !== "visible";
  const clipped = (e) => { for (; e; e = e.parentElement) if (scrolls(e)) return true; };
  const out = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > room + 1);
  return [`the page is ${wide} pixels wide`, ...out.filter((e) => !clipped(e.parentElement)).slice(0, 4).map(
    (e) => `${e.tagName.toLowerCase()}.${e.className} reaches ${Math.round(e.getBoundingClientRect().right)}`)];
}"""

# axe measures the contrast of every word, which takes half a minute where there are thousands. A program has a dozen
# colours, so two words of each are enough, and a formula has the colour of the text around it. This comes last, since
# the page is not what it was.
THIN = """() => {
  const seen = new Map();
  for (const word of document.querySelectorAll("div.highlight span[class]")) {
    const name = word.className + (word.closest("div.cell_output") ? " in an output" : "");
    seen.set(name, (seen.get(name) ?? 0) + 1);
    if (seen.get(name) > 2) word.remove();
  }
  for (const formula of document.querySelectorAll("mjx-container")) formula.remove();
}"""

AXE = {"resultTypes": ["violations"], "iframes": False}
COLOURS = ("color-contrast", "link-in-text-block")  # the rules that depend on colours
AXE_SHAPES = AXE | {"rules": {rule: {"enabled": False} for rule in COLOURS}}
AXE_COLOURS = AXE | {"runOnly": list(COLOURS)}


class Handler(http.server.SimpleHTTPRequestHandler):
    """The site below PLACE, and at the top nothing but an icon, which browsers ask for where a page names none."""

    def translate_path(self, path: str) -> str:
        if path == "/favicon.ico":
            return super().translate_path("/_static/icon.svg")
        below = path.removeprefix(PLACE) if path.startswith(PLACE) else "nothing-is-here"
        return super().translate_path(f"/{below}")

    def log_message(self, *_) -> None:
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The address of a server of the site on this machine, for as long as the context lasts."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{PLACE}"
    finally:
        server.shutdown()


def written(page: str, sources: Path) -> int | None:
    """How many formulas the text behind a page has. A notebook's are counted in the notebook itself."""
    notebook, text = REPOSITORY / "notebooks" / f"{page}.ipynb", sources / f"{page}.md"
    if notebook.is_file():
        return sum(map(formulas, markdown_of(json.loads(notebook.read_text(encoding="utf-8")))))
    return formulas(text.read_text(encoding="utf-8")) if text.is_file() else None


class Visit:
    """One page in the browser, and what is wrong with it. Everything that it asks for, and says, is noted."""

    def __init__(self, context, address: str, page: str) -> None:
        self.wrong: list[str] = []
        self.minor: list[str] = []
        self.tab = context.new_page()
        self.tab.on(
            "console", lambda said: said.type in ("error", "warning") and self.wrong.append(f"console: {said.text}")
        )
        self.tab.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.tab.on("request", lambda asked: self.asked(asked.url, address))
        self.tab.on("response", lambda got: got.status >= 400 and self.wrong.append(f"{got.status} for {got.url}"))
        self.tab.set_viewport_size(LAPTOP)
        self.tab.goto(f"{address}{page}.html", wait_until="load")

    def asked(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.wrong.append(f"asks {url[:100]}")

    def look(self, expected: int | None) -> None:
        seen = self.tab.evaluate(LOOK)
        if expected is not None and seen["formulas"] != expected:
            self.wrong.append(f"{expected} formulas are written and {seen['formulas']} rendered")
        for key, words in {
            "errors": "a formula with an error",
            "left": "not rendered",
            "silent": "a sound that cannot be played",
            "broken": "a picture that cannot be seen",
            "undescribed": "a picture without a description",
        }.items():
            self.wrong += [f"{words}: {thing}" for thing in seen[key]]

    def axe(self, axe, options: dict, when: str) -> None:
        for found in axe.run(self.tab, options=options).response["violations"]:
            where = "; ".join(" ".join(map(str, node["target"])) for node in found["nodes"][:3])
            line = f"axe, {when}: {found['id']} ({found['impact']}, {len(found['nodes'])} places): {where}"
            if found["impact"] in SERIOUS:
                self.wrong.append(line)
            else:
                self.minor.append(line)

    def films(self) -> int:
        """Stop each film and start it again; then ask for calm, and see whether it stands."""
        films = self.tab.locator("article div.film").all()
        for film in films:
            button, image = film.locator("button"), film.locator("img")
            seen = []
            for _ in range(2):
                button.click()
                seen.append((button.inner_text(), image.evaluate("image => image.src.endsWith('-still.png')")))
            if seen != [("Play the animation", True), ("Stop the animation", False)]:
                self.wrong.append(f"the button of a film does {seen}")
        if films:
            self.tab.emulate_media(reduced_motion="reduce")
            self.tab.reload(wait_until="load")
            self.tab.evaluate("() => document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
            self.tab.wait_for_load_state("networkidle")
            seen = self.tab.locator("article div.film img").evaluate_all("films => films.map(film => film.currentSrc)")
            if not all(address.endswith("-still.png") for address in seen):
                self.wrong.append("a film moves although calm was asked for")
            self.tab.emulate_media(reduced_motion="no-preference")
        return len(films)

    def picture(self, folder: Path | None, name: str) -> None:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            self.tab.screenshot(path=folder / f"{name}.png")


def drawers(context, address: str, page: str) -> list[str]:
    """On a small screen, open the list of pages and the list of headings by the keyboard alone, and shut them again."""
    tab, wrong = context.new_page(), []
    tab.set_viewport_size(PHONE)
    tab.goto(f"{address}{page}.html", wait_until="load")
    for name, drawer in {"List of pages": ".sidebar-drawer", "On this page": ".toc-drawer"}.items():
        opener, inside = tab.get_by_role("button", name=name).first, tab.locator(drawer)
        if not opener.count() or inside.is_visible():
            wrong.append(f"{name}: no button, or it is open at once")
            continue
        opener.press("Enter")
        if not inside.is_visible() or not inside.evaluate("drawer => drawer.contains(document.activeElement)"):
            wrong.append(f"{name}: the Enter key does not open it")
        tab.keyboard.press("Escape")
        if opener.get_attribute("aria-expanded") != "false":
            wrong.append(f"{name}: the Escape key does not shut it")
    tab.close()
    return [f"{page}: {line}" for line in wrong]


def search(context, address: str, seconds: float = 20) -> list[str]:
    """Type a word into the box at the side of the first page, as a reader does."""
    tab = context.new_page()
    tab.goto(f"{address}index.html")
    tab.fill("input[name=q]", SOUGHT)
    tab.press("input[name=q]", "Enter")
    deadline, found = time.monotonic() + seconds, []
    while not any(link.startswith(FOUND) for link in found):
        if time.monotonic() > deadline:
            return [f"the search for {SOUGHT} finds {found[:5] or 'nothing'} and not {FOUND}"]
        tab.wait_for_timeout(100)
        found = tab.locator("#search-results a").evaluate_all("links => links.map(a => a.getAttribute('href') ?? '')")
    tab.close()
    return []


def prove(site: Path, sources: Path, beginnings: list[str], pictures: Path | None, seconds: float = 20) -> str | None:
    """Look at every page. What is wrong, or None; also None, with a word, where there is no browser.

    beginnings: of the names of the pages to look at, or none for all. pictures: a folder for screenshots, or None.
    seconds: how long the search may take.
    """
    try:
        from axe_playwright_python.sync_playwright import Axe
        from playwright.sync_api import sync_playwright
    except ImportError:
        return print(f"the book is not looked at, since {browser.NO_PLAYWRIGHT}")
    if browser.CHROMIUM is None:
        return print(f"the book is not looked at, since {browser.MISSING}")
    pages = sorted(path.stem for path in site.glob("*.html"))
    chosen = [page for page in pages if page.startswith(tuple(beginnings))] if beginnings else pages
    wrong, minor, rendered, films, start = [], [], 0, 0, time.perf_counter()
    with served(site) as address, sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser.CHROMIUM, args=browser.FLAGS)
        context = chromium.new_context()
        for page in chosen:
            begin, expected = time.perf_counter(), written(page, sources)
            visit = Visit(context, address, page)
            visit.look(expected)
            visit.axe(Axe(), AXE_SHAPES, "in any colours")
            visit.picture(pictures, page)
            visit.tab.emulate_media(color_scheme="dark")
            visit.picture(pictures, f"{page}-dark")
            visit.tab.emulate_media(color_scheme="light")
            visit.tab.set_viewport_size(PHONE)
            visit.tab.wait_for_timeout(300)
            visit.wrong += [f"on a phone, {line}" for line in visit.tab.evaluate(WIDER)]
            visit.picture(pictures, f"{page}-phone")
            visit.tab.set_viewport_size(LAPTOP)
            films += visit.films()
            visit.tab.evaluate(THIN)
            visit.axe(Axe(), AXE_COLOURS, "light")
            visit.tab.emulate_media(color_scheme="dark")
            visit.axe(Axe(), AXE_COLOURS, "dark")
            visit.tab.close()
            rendered += expected or 0
            minor += [f"    {page}: {line}" for line in visit.minor]
            wrong += [f"{page}: {line}" for line in visit.wrong]
            print(
                f"{page}: {expected or 0} formulas, {time.perf_counter() - begin:.1f} s",
                *visit.wrong,
                sep="\n    ",
                flush=True,
            )
        wrong += drawers(context, address, chosen[0])
        wrong += search(context, address, seconds)
        chromium.close()
    print("axe, minor or moderate:", *minor or ["nothing"], sep="\n" if minor else " ")
    took = f"{time.perf_counter() - start:.0f} s"
    print(f"{len(chosen)} pages, {rendered} formulas, {films} films, the search for {SOUGHT}, in {took}")
    return "\n".join([*wrong, f"the book does not pass: {len(wrong)} things are wrong"]) if wrong else None
