"""An application answers as it does without promweb, and a scrape has all its requests."""

from __future__ import annotations

from typing import Any

import pytest

from .comparing import bare, measured
from .programs import ORDERS, Extension, Order
from .tables import TABLES

EXTENSIONS = [extension for table in TABLES.values() for extension in table]
every_extension: Any = pytest.mark.parametrize("extension", EXTENSIONS, ids=lambda e: e.name)
in_both_orders: Any = pytest.mark.parametrize("order", ORDERS)


@every_extension
def test_the_program_does_what_it_says(extension: Extension) -> None:
    run = bare(extension)
    visits = [(visit.method, visit.path, visit.status) for visit in run.visits]
    answers = zip(run.visits, run.answers, strict=True)
    assert [(visit.method, visit.path, answer.status) for visit, answer in answers] == visits


@in_both_orders
@every_extension
def test_the_answers_are_those_without_promweb(extension: Extension, order: Order) -> None:
    assert measured(extension, order).answers == bare(extension).answers


@in_both_orders
@every_extension
def test_a_scrape_has_what_was_asked(extension: Extension, order: Order) -> None:
    run = measured(extension, order)
    assert run.scraped == run.expected
