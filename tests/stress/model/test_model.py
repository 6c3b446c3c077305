"""Random programs of requests, failures, disconnects and scrapes, compared with a model of it.

Each step is an operation performed against an application, after which every family is compared
as a whole. `PROMWEB_MODEL_SEED` repeats a run of the random seed.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.legs import LEGS

from .machines import FlaskMachine, Machine, QuartMachine, steps

STEPS = 20_000
"""How many steps all tests of this file take at least, whatever the seeds."""

PROGRAMS, LENGTH = 65, 50
"""Programs for each leg and seed, and steps in each."""

FIXED_SEED = 1
RANDOM_SEED = int(os.environ.get("PROMWEB_MODEL_SEED") or random.SystemRandom().randrange(2**32))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep what is logged about label errors out of what a failure prints."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", LEGS)
@pytest.mark.parametrize("seed", [FIXED_SEED, RANDOM_SEED], ids=["fixed", "random"])
def test_every_family_is_as_the_model_says(name: str, seed: int) -> None:
    print(f"PROMWEB_MODEL_SEED={seed}")  # pytest shows it with a failure
    machine = FlaskMachine if name.startswith("flask") else QuartMachine
    leg_machine: type[Machine] = type(machine.__name__, (machine,), {"leg_name": name})
    hypothesis.seed(seed)(leg_machine)
    run_state_machine_as_test(
        leg_machine,
        settings=settings(
            max_examples=PROGRAMS,
            stateful_step_count=LENGTH,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_enough_steps_were_taken(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of this file, or of the whole suite, takes all the steps that it says."""
    chosen = [item for item in request.session.items if item.path == request.path]
    if len(chosen) < 2 * len(LEGS) + 1:
        pytest.skip("only some of the programs were asked for")
    with capsys.disabled():
        print(f"\nmodel: {sum(steps.values())} steps {dict(steps)}, random seed {RANDOM_SEED}")
    assert sum(steps.values()) >= STEPS
    assert set(steps) == set(LEGS)
