"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crdt_sync.cli.times import ago, local_time

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "told"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(days=3, hours=23), "3 days ago"),
        (timedelta(days=65), "2 months ago"),
        (timedelta(days=800), "2 years ago"),
        (timedelta(days=-2), "2 days ahead of this clock"),
    ],
)
def test_how_long_ago(passed: timedelta, told: str) -> None:
    assert ago((NOW - passed).isoformat(), now=NOW) == told


def test_a_time_beyond_the_calendar() -> None:
    assert (ago("", now=NOW), local_time("")) == ("", "beyond time")
