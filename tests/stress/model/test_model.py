"""Random programs of requests, failures, disconnects and scrapes, compared with a model of it.

Each step is an operation performed against an application, after which every family is compared
as a whole. The seeds are fixed here; `make explore` takes new ones.
"""

from __future__ import annotations

import pytest

from tests.support.legs import LEGS

from .machines import steps
from .programs import run_programs

SEEDS = {"first": 1, "second": 2}

STEPS = 1250
"""How many steps the programs of a seed take on a leg at least: 10,000 together."""


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_family_is_as_the_model_says(leg: str, seed: str) -> None:
    before = steps[leg]
    run_programs(leg, SEEDS[seed])
    assert steps[leg] - before >= STEPS
