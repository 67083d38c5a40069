"""Follow every link of the built book: within it to a file and a place that exist, out of it only where a reader clicks."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

__all__ = ["broken"]

# What a browser loads by itself. Only links (`a`) may lead out of the book.
LOADED = (("img", "src"), ("script", "src"), ("link", "href"), ("source", "src"), ("source", "srcset"), ("audio", "src"))
LOADED += (("video", "src"), ("iframe", "src"), ("object", "data"))
ADDRESSES = ("canonical",)  # `link`s that are said and not loaded


def broken(site: Path) -> list[str]:
    """What is wrong with the links of all pages, a sentence each."""
    pages = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in sorted(site.rglob("*.html"))}
    places = {path: {tag.get(key) for tag in soup.find_all(True) for key in ("id", "name")} for path, soup in pages.items()}
    return [line for path, soup in pages.items() for line in broken_on(path, soup, site, places)]


def broken_on(path: Path, soup: BeautifulSoup, site: Path, places: dict[Path, set]) -> list[str]:
    found, page = [], path.relative_to(site)
    for tag in soup.find_all("a", href=True):
        found += [f"{page}: {line}" for line in wrong(tag["href"], path, site, places)]
    for name, key in LOADED:
        for tag in soup.find_all(name, attrs={key: True}):
            if set(tag.get("rel", [])) & set(ADDRESSES):
                continue
            parts = urlsplit(tag[key])
            if parts.netloc or parts.scheme not in ("", "data"):
                found.append(f"{page}: a {name} is loaded from {tag[key][:80]}, and nothing may leave the site")
            elif not parts.scheme:
                found += [f"{page}: {line}" for line in wrong(tag[key], path, site, places)]
    return found


def wrong(address: str, page: Path, site: Path, places: dict[Path, set]) -> list[str]:
    """What is wrong with one address on a page. An address out of the book has to be whole, and is not asked for."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        whole = parts.scheme == "mailto" or (parts.scheme in ("http", "https") and "." in parts.netloc)
        return [] if whole else [f"the address {address} is not whole"]
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
    if target.is_dir():
        target /= "index.html"
    if site.resolve() not in target.parents or not target.is_file():
        return [f"the link {address} leads nowhere"]
    at = site / target.relative_to(site.resolve())
    if parts.fragment and at in places and unquote(parts.fragment) not in places[at]:
        return [f"the link {address} leads to a place that {at.name} does not have"]
    return []
