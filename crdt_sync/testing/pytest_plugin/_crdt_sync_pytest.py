"""The pytest plugin of crdt_sync: ``--crdt-seed`` and ``--crdt-examples``.

pytest imports it in every run of every environment that has crdt_sync in it. So it is installed beside the package, not
in it, and imports nothing of crdt_sync, which would take most of a second, and Hypothesis only where a test uses it.
"""

from __future__ import annotations

from secrets import randbits
from typing import Any

import pytest

SEED_BITS = 32
SEED_WHERE_ALL_REPEATS = 0
"""The seed under a profile of Hypothesis that is to try the same each time."""
MARKER = "crdt_sync"
SEED = "_hypothesis_internal_use_seed"
SETTINGS = "_hypothesis_internal_use_settings"
"""Where `hypothesis.seed` and `hypothesis.settings` leave on a test what they are given."""
STRATEGIES = ("crdt_record(", "crdt_edit(", "crdt_history(")
"""How the kit's strategies show, also within others; one that a strategy of the app's draws from shows nothing."""


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
        help="how many histories, records or edits each test tries",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", f"{MARKER}: a test of Hypothesis that takes --crdt-seed and --crdt-examples")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tell the tests that draw from the kit what was asked for, and those of functions what a failure is to show."""
    seed, examples = config.getoption("--crdt-seed"), config.getoption("--crdt-examples")
    drawn = randbits(SEED_BITS)
    for item in items:
        cls: Any = getattr(item, "cls", None)
        if hasattr(cls, "crdt_seed") and (seed, examples) != (None, None):
            cls.crdt_seed, cls.crdt_examples = seed, examples
        test: Any = getattr(item, "obj", None)
        test = getattr(test, "__func__", test)
        if _draws_from_the_kit(item, test) and not (seed is None and _is_seeded(config, test)):
            options = _seed(test, seed=seed, drawn=drawn, examples=examples)
            item.add_report_section("setup", "crdt_sync", f"again with {options}")


def _draws_from_the_kit(item: pytest.Item, test: Any) -> bool:
    if not getattr(test, "is_hypothesis_test", False) or not hasattr(test, "hypothesis"):
        return False
    shown = map(repr, getattr(test.hypothesis, "_given_kwargs", {}).values())
    return item.get_closest_marker(MARKER) is not None or any(name in text for text in shown for name in STRATEGIES)


def _is_seeded(config: pytest.Config, test: Any) -> bool:
    """Whether somebody has given it another seed: `@seed`, or Hypothesis' own option."""
    if getattr(test, "crdt_seeded", False):
        return False
    return (getattr(test, SEED), config.getoption("--hypothesis-seed", None)) != (None, None)


def _seed(test: Any, *, seed: int | None, drawn: int, examples: int | None) -> str:
    """Seed a test, once for all of its parameters; returns the options that have it draw the same again."""
    import hypothesis  # noqa: PLC0415  a test that uses it has imported it; no other is to wait for it

    settings = getattr(test, SETTINGS)
    if examples is not None:
        settings = hypothesis.settings(settings, max_examples=examples)
        setattr(test, SETTINGS, settings)
    if seed is None:
        seed = SEED_WHERE_ALL_REPEATS if settings.derandomize else drawn
    hypothesis.seed(seed)(test)
    test.crdt_seeded = True
    return f"--crdt-seed={seed} --crdt-examples={settings.max_examples}"


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
