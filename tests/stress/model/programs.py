"""Programs of random steps, which a seed decides."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machines import FlaskMachine, Machine, QuartMachine

PROGRAMS, LENGTH = 45, 50
"""Programs for each leg and seed, and steps in each."""


def run_programs(leg: str, seed: int) -> None:
    """Run the programs of a seed; fail with the shortest one that shows a difference."""
    machine = FlaskMachine if leg.startswith("flask") else QuartMachine
    leg_machine: type[Machine] = type(machine.__name__, (machine,), {"leg_name": leg})
    hypothesis.seed(seed)(leg_machine)
    with _quiet():
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep log lines about label errors out of the output of a failure."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
