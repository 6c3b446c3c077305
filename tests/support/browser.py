"""A real Chromium, and the live page in it, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from .needs import program
from .waiting import DEADLINE

START = datetime(2030, 1, 1, 12, 0, tzinfo=timezone.utc)
PAUSE = 2
"""Seconds between two scrapes of the page."""

_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(event.violatedDirective);
});
window.drawn = new Map();  // what each canvas has of text since it was cleared
const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.clearRect = function (...area) {
  window.drawn.set(this.canvas, []);
  return clearRect.apply(this, area);
};
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  window.drawn.get(this.canvas)?.push(text);
  return fillText.call(this, text, ...place);
};
"""


@contextmanager
def start_browser() -> Iterator[Browser]:
    """Start Chromium; while it runs, no other event loop can run in this thread."""
    path = program("chromium", "chromium-browser", "google-chrome")
    expect.set_options(timeout=DEADLINE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@dataclass
class LivePage:
    """The live page, scraping whenever the test says so."""

    page: Page
    now: datetime = START
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings on the console, and uncaught exceptions."""
    scrapes: int = 0

    def step(self, times: int = 1) -> None:
        """Let the time of one scrape pass, and wait until it is shown."""
        for _ in range(times):
            self.wait(PAUSE)
            self.shown()

    def wait(self, seconds: float) -> None:
        self.page.clock.run_for(int(seconds * 1000))
        self.now += timedelta(seconds=seconds)

    def shown(self) -> None:
        """Wait until the page shows a scrape of this moment."""
        expect(self.page.locator("#time")).to_have_text(f"{self.now:%H:%M:%S}")

    def numbers(self, figure: str) -> list[str]:
        """Return the numbers of a figure as they are read."""
        return self.page.locator(f"#{figure} .now .value").all_inner_texts()

    def table(self, section: str) -> list[list[str]]:
        """Return the rows of a table as they are read."""
        rows = self.page.locator(f"#{section} tbody tr").all()
        return [row.locator("th, td").all_inner_texts() for row in rows]

    def axis(self, figure: str) -> list[str]:
        """Return what the axes of a figure say."""
        drawn: list[str] = self.page.evaluate(
            "(id) => window.drawn.get(document.querySelector(`#${id} canvas`)) ?? []", figure
        )
        return drawn

    def call(self, function: str, argument: Any, module: str = "scrape.js") -> Any:
        """Call a JavaScript function with a module of the page, and with an argument."""
        return self.page.evaluate(
            f"""async (argument) => {{
                const module = await import(new URL("?file={module}", location).href);
                return ({function})(module, argument);
            }}""",
            argument,
        )


@contextmanager
def open_live(browser: Browser, url: str, **context: Any) -> Iterator[LivePage]:
    """Open the page at `START`, and wait until it shows its first scrape."""
    with browser.new_context(timezone_id="UTC", **context) as opened:
        opened.set_default_timeout(DEADLINE * 1000)
        page = opened.new_page()
        live = LivePage(page)
        page.on("pageerror", lambda error: live.complaints.append(str(error)))
        page.on("console", lambda message: _note(live, message))
        page.on("request", lambda request: _count(live, request.url))
        page.add_init_script(_WATCH)
        page.clock.install(time=START - timedelta(hours=1))
        page.clock.pause_at(START)
        page.goto(url)
        yield live


def _note(live: LivePage, message: Any) -> None:
    if message.type in ("error", "warning"):
        live.complaints.append(message.text)


def _count(live: LivePage, url: str) -> None:
    live.scrapes += url.endswith("?file=scrape")
