"""The browser for tests of what people see: a Chromium that is installed, which finds no machine but this one."""

import shutil

__all__ = ["CHROMIUM", "FLAGS", "MISSING", "NO_PLAYWRIGHT"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = "Chromium is missing: apt-get install chromium"
NO_PLAYWRIGHT = "playwright is missing, or axe for it: pip install -e '.[browser]'"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
]
