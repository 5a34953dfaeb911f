"""Times as people read them: by the clock on the wall, and how long ago."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from crdt_sync.errors import InputError

_UNITS: Final = (("year", 365 * 86_400), ("month", 30 * 86_400), ("day", 86_400), ("hour", 3_600), ("minute", 60))
_NOW_S: Final = 60


def local_time(time: str) -> str:
    """A time in ISO format as the clock on the wall shows it."""
    if not time:
        return "beyond time"
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


_SPANS: Final = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def time_since(text: str, *, now: datetime) -> datetime:
    """A time as people give it: how long ago (``2d``, ``12h``, ``30m``), or in ISO format, by the clock on the wall.

    Args:
        text: what was typed.
        now: with its zone.

    Raises:
        InputError: it is neither.
    """
    count, unit = text[:-1], text[-1:]
    try:
        if unit in _SPANS and count.isascii() and count.isdigit():
            return now - timedelta(seconds=int(count) * _SPANS[unit])
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise InputError(
            f"{text!r} is no time", hint="Write how long ago, such as 2d, 12h or 30m, or a date such as 2025-01-31."
        ) from None


def ago(time: str, *, now: datetime) -> str:
    """How long ago a time is: ``3 days ago``; empty for one that has no place in the calendar.

    Args:
        time: in ISO format with its zone, or empty.
        now: with its zone.
    """
    if not time:
        return ""
    passed = now - datetime.fromisoformat(time)
    seconds = abs(passed) // timedelta(seconds=1)
    if seconds < _NOW_S:
        return "just now"
    name, size = next((name, size) for name, size in _UNITS if seconds >= size)
    count = seconds // size
    span = f"{count} {name}" + ("s" if count > 1 else "")
    return f"{span} ago" if passed > timedelta(0) else f"{span} ahead of this clock"
