"""Times as people read them: by the clock on the wall, and how long ago."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from crdt_sync.core.clock import HLC_MAX
from crdt_sync.errors import InputError

_UNITS: Final = (("year", 365 * 86_400), ("month", 30 * 86_400), ("day", 86_400), ("hour", 3_600), ("minute", 60))
_NOW_S: Final = 60


def local_time(time: str) -> str:
    """A time in ISO format as the clock on the wall shows it."""
    if not time:
        return "beyond time"
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


_SPANS: Final = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


_DIGITS_MAX: Final = len(str(HLC_MAX))
_HINT: Final = "Write how long ago, such as 2d, 12h or 30m, or a date such as 2025-01-31"


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
        raise InputError(f"{text!r} is no time", hint=f"{_HINT}.") from None


def time_until(text: str, *, now: datetime) -> str:
    """The last moment that a time stands for, as `show --at` takes it: what `time_since` takes, or a timestamp.

    Args:
        text: what was typed. Without a fraction it is a whole second, as `log` prints them; a date is its beginning.
        now: with its zone.

    Returns:
        The time in ISO format with its zone, or the timestamp in digits.

    Raises:
        InputError: it is none.
    """
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and int(text) <= HLC_MAX:
        return text
    try:
        time = time_since("" if text.isdigit() else text, now=now)
    except InputError:
        raise InputError(f"{text!r} is no time", hint=f"{_HINT}, or a timestamp as log --json tells.") from None
    is_whole_second = ":" in text and not time.microsecond
    return (time.replace(microsecond=999_999) if is_whole_second else time).isoformat()


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
