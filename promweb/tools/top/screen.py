"""The screen of `promweb top`: scrapes in threads, reacts to keys, redraws."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Footer, Static

from ...scrapes.snapshot import Snapshot
from ...scrapes.traffic import Traffic
from .tables import Overview, live

__all__ = ["TopApp"]


class Scraped(Message):
    """The result of scraping a URL, and when: in seconds of the monotonic clock."""

    def __init__(self, url: str, at: float, outcome: Snapshot | str) -> None:
        super().__init__()
        self.url = url
        self.at = at
        self.outcome = outcome


class TopApp(App[None]):
    """Scrapes every URL every `interval` seconds, until the user quits.

    `read` takes a URL and returns a snapshot, or an error message; each URL has its own thread.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #title { color: $text-muted; height: 1; }
    #overview { height: 3; margin: 1 0; }
    /* Numbers that are far from their name are hard to read. */
    #tables { max-width: 120; }
    """
    BINDINGS = [  # noqa: RUF012 (textual declares it so)
        Binding("r", "sort('rate')", "rate"),
        Binding("e", "sort('errors')", "errors"),
        Binding("l", "sort('latency')", "latency"),
        Binding("n", "sort('name')", "name"),
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(
        self,
        urls: Sequence[str],
        read: Callable[[str], Snapshot | str],
        *,
        interval: float,
        window: float,
        order: str,
    ) -> None:
        super().__init__()
        self._read = read
        self._interval = interval
        self._window = window
        self._order = order
        self._traffic = Traffic(urls, window)
        self._stopped = threading.Event()

    @property
    def ever_up(self) -> bool:
        """Whether a scrape of any URL has succeeded."""
        return any(source.latest is not None for source in self._traffic.sources.values())

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield Static(id="overview")
        with VerticalScroll():
            yield Static(id="tables")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        for url in self._traffic.sources:
            # A daemon, so that quitting does not wait for a slow server.
            threading.Thread(target=self._scrape, args=(url,), name=url, daemon=True).start()
        self.set_interval(self._interval, self._tick)
        self._draw()

    def on_unmount(self) -> None:
        self._stopped.set()

    def action_sort(self, order: str) -> None:
        self._order = order
        self._draw()

    def _scrape(self, url: str) -> None:
        while not self._stopped.is_set():
            started = time.monotonic()
            outcome = self._read(url)
            now = time.monotonic()
            self.post_message(Scraped(url, now, outcome))
            self._stopped.wait(max(started + self._interval - now, 0))

    def on_scraped(self, scraped: Scraped) -> None:
        self._traffic.add(scraped.url, scraped.at, scraped.outcome)
        self._draw()

    def _tick(self) -> None:
        self._traffic.tick()
        self._draw()

    def _draw(self) -> None:
        sources = self._traffic.sources
        self.query_one("#title", Static).update(
            f"promweb top   {len(self._traffic.up)} of {len(sources)} up   sorted by "
            f"{self._order}   every {self._interval:g} s, of the last {self._window:g} s"
        )
        self.query_one("#overview", Static).update(Overview(self._traffic))
        self.query_one("#tables", Static).update(live(self._traffic, self._order))
