"""Arguments of the API, checked before anything is touched."""

from __future__ import annotations

import math
from typing import TypeGuard, TypeVar

from crdt_sync.errors import InputError

T = TypeVar("T")


def checked_instance(value: object, kind: type[T], *, what: str, hint: str) -> T:
    """A value of a type.

    Args:
        value: what was given.
        kind: the type.
        what: names the argument in the error's text.
        hint: what to give instead.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, kind):
        raise InputError(f"{what} is a {kind.__name__}, not a {type(value).__name__}", hint=hint)
    return value


def checked_seconds(value: object, *, what: str, most_s: float = math.inf) -> float:
    """A number of seconds from 0 on.

    Raises:
        InputError: no number, not a number, negative, or more than ``most_s``.
    """
    if not is_number(value) or not 0 <= value <= most_s:
        bound = "from 0 on" if most_s == math.inf else f"from 0 to {most_s:g}"
        raise InputError(f"{what} is a number of seconds {bound}", hint="Give the seconds as a number.")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is an int or a float, and no bool."""
    return type(value) in (int, float)
