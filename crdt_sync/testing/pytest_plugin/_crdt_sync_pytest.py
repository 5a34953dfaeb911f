"""The pytest plugin of crdt_sync: ``--crdt-seed`` and ``--crdt-examples``.

pytest imports it in every run of every environment that has crdt_sync in it. So it is installed beside the package, not
in it, and imports nothing of crdt_sync, which would take most of a second, and nothing of Hypothesis.
"""

from __future__ import annotations

from secrets import randbits
from typing import Any

import pytest

SEED_BITS = 32


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("crdt_sync", "histories of crdt_sync's test kit")
    group.addoption(
        "--crdt-seed",
        type=_number(0),
        metavar="SEED",
        help="which histories are drawn; a failure prints its seed, and gives it again",
    )
    group.addoption(
        "--crdt-examples",
        type=_number(1),
        metavar="N",
        help="how many histories each test of a ConvergenceMachine tries",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tell the tests of state machines what was asked for."""
    seed, examples = config.getoption("--crdt-seed"), config.getoption("--crdt-examples")
    if seed is None and examples is None:
        return
    for item in items:
        cls: Any = getattr(item, "cls", None)
        if hasattr(cls, "crdt_seed"):
            cls.crdt_seed, cls.crdt_examples = seed, examples


@pytest.fixture
def crdt_seed(request: pytest.FixtureRequest) -> int:
    """A seed, as of ``--crdt-seed`` or another one each time; a test that fails shows it. Give it to `Simulation`."""
    seed: int | None = request.config.getoption("--crdt-seed")
    if seed is None:
        seed = randbits(SEED_BITS)
    request.node.add_report_section("setup", "crdt_sync", f"again with --crdt-seed={seed}")
    return seed


class _number:  # noqa: N801  argparse says its name where a value is none
    """Takes whole numbers from some number on."""

    def __init__(self, least: int) -> None:
        self._least = least
        self.__name__ = f"number from {least} on"

    def __call__(self, text: str) -> int:
        number = int(text)
        if number < self._least:
            raise ValueError
        return number
