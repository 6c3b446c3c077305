"""`make docs`: looks at the built site in Chromium, wide and on a phone, light and dark.

    python -m tests.project.pages build/site

Fails for what axe finds on ten pages, for a page or a table that is wider than the screen, for what
a page writes to the browser's console, and if the version or the search is missing. Leaves pictures
of the ten pages in `build/screenshots`. Without Chromium it does nothing, except where CI is set.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from promweb import __version__
from tests.support.paths import ROOT
from tests.support.waiting import DEADLINE

PAGES = (
    "",
    "tutorial-flask/",
    "configuration/",
    "metrics/",
    "labels/",
    "command-line/",
    "comparison/",
    "performance/",
    "securing/",
    "slow-quart-service/",
)
WIDE: Any = {"width": 1280, "height": 900}
PHONE: Any = {"width": 390, "height": 844}
SCREENSHOTS = ROOT / "build/screenshots"
TOO_WIDE = """() => [...document.querySelectorAll("html, .md-typeset__scrollwrap")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1)
    .map((one) => (one.innerText || "").slice(0, 60))"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve the site; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def look(browser: Browser, url: str, names: list[str]) -> Iterator[str]:
    """Yield what is wrong with the pages; ten of them are looked at in the dark, too."""
    for scheme, theme in (("light", "default"), ("dark", "slate")):
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]  # one of two texts
        complaints: list[str] = []
        page.on("pageerror", lambda error, told=complaints: told.append(str(error)))
        page.on("console", lambda message, told=complaints: told.append(message.text))
        for name in names if scheme == "light" else PAGES:
            page.set_viewport_size(WIDE)
            page.goto(url + name)
            page.wait_for_selector(f"body[data-md-color-scheme={theme}]")
            yield from _too_wide(page, f"/{name} (wide)")
            if name in PAGES:
                yield from _examined(page, name, scheme)
            page.set_viewport_size(PHONE)
            yield from _too_wide(page, f"/{name} (phone)")
            if name in PAGES:
                page.screenshot(path=_picture(name, f"{scheme}-phone"))
            yield from (f"/{name}: {one}" for one in complaints)
            complaints.clear()
        page.close()


def _too_wide(page: Page, where: str) -> Iterator[str]:
    yield from (f"{where} is too wide: {text!r}" for text in page.evaluate(TOO_WIDE))


def _examined(page: Page, name: str, scheme: str) -> Iterator[str]:
    page.screenshot(path=_picture(name, f"{scheme}-wide"))
    found = Axe().run(page)
    if found.violations_count:
        yield f"/{name} ({scheme}): {found.generate_report()}"


def _picture(name: str, kind: str) -> Path:
    return SCREENSHOTS / f"site-{name.strip('/') or 'home'}-{kind}.png"


def search(browser: Browser, url: str) -> Iterator[str]:
    """Yield what is wrong with the search and with the version."""
    page = browser.new_page()
    page.set_default_timeout(1000 * DEADLINE)
    page.goto(url, wait_until="networkidle")
    if f"promweb {__version__}" not in page.locator(".md-header").inner_text():
        yield f"the version {__version__} is not shown"
    page.locator(".md-search__input").press_sequentially("max_series")
    first = page.locator(".md-search-result__item").first
    first.wait_for()
    if "max_series" not in first.inner_text():
        yield "the search finds no max_series"
    page.close()


def main(folder: str) -> None:
    site = Path(folder)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CI"):
            sys.exit("Chromium is not installed")
        print("Chromium is not installed, so nobody looked at the pages.")
        return
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    names = sorted(
        "" if page.parent == site else f"{page.parent.relative_to(site).as_posix()}/"
        for page in site.rglob("index.html")
    )
    with served(site) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        wrong = [*look(browser, url, names), *search(browser, url)]
        browser.close()
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"Chromium showed {len(names)} pages. axe examined {len(PAGES)} of them.")


if __name__ == "__main__":
    main(*sys.argv[1:])
