"""Says at the end of a run how many examples each law was held against, also where several processes ran them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.laws import tally

PROPERTY = "laws tried"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Tell with a test's report what it tried; a planted bug is no law held."""
    tally.take()
    try:
        return (yield)
    finally:
        counts = tally.take()
        if "planted" not in item.nodeid:
            item.user_properties.append((PROPERTY, counts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each law."""
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                for name, counts in report.user_properties:
                    if name == PROPERTY and isinstance(counts, dict):
                        total.update(counts)
    if total:
        terminalreporter.section("laws and how many examples each was held against")
        for law, number in sorted(total.items()):
            terminalreporter.write_line(f"{number:>7,} {law}")
