"""Follow every link of the built book: to a file and a place that exist, and out of it only where a reader clicks."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["broken"]

# What a browser loads by itself. Only links (`a`) may lead out of the book.
LOADED = {
    **{name: ("src", "srcset") for name in ("img", "script", "source", "audio", "video", "iframe")},
    "link": ("href",),
    "object": ("data",),
}
SAID = ("canonical",)  # `link`s that are said and not loaded


class Page(HTMLParser):
    """What one page links to, what it loads, and the places in it to which a link may lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[tuple[str, str]] = set()  # the name of the tag, and the address
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attributes}
        self.places |= {given[key] for key in ("id", "name") if key in given}
        if tag == "option" and "value" in given:  # the explorable begins with the experiment that an address names
            self.places.add(given["value"])
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        if given.get("rel") not in SAID:
            self.loaded |= {(tag, given[key]) for key in LOADED.get(tag, ()) if key in given}


def broken(site: Path) -> list[str]:
    """What is wrong with the links of all pages, a sentence each."""
    site = site.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        wrong = [line for address in sorted(page.links) for line in wrong_with(address, path, site, pages)]
        for tag, address in sorted(page.loaded):
            parts = urlsplit(address)
            if parts.netloc or parts.scheme not in ("", "data"):
                wrong.append(f"a {tag} is loaded from {address[:80]}, and nothing may leave the site")
            elif not parts.scheme:
                wrong += wrong_with(address, path, site, pages)
        found += [f"{path.relative_to(site)}: {line}" for line in wrong]
    return found


def wrong_with(address: str, page: Path, site: Path, pages: dict[Path, Page]) -> list[str]:
    """What is wrong with one address on a page. An address out of the book has to be whole, and is not asked for."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        whole = parts.scheme == "mailto" or (parts.scheme in ("http", "https") and "." in parts.netloc)
        return [] if whole else [f"the address {address} is not whole"]
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if site not in target.parents or not target.is_file():
        return [f"the link {address} leads nowhere"]
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
        return [f"the link {address} leads to a place that {target.name} does not have"]
    return []
