"""Members of an app's Enums among values: each is one of its own type's alone, whatever its value is.

Pydantic takes the value of a member for a number or a text, and does not look at what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import chain
from typing import Any

from pydantic import ValidationError

_CONTAINERS = (list, tuple, set, frozenset, dict)


def is_member(value: object) -> bool:
    """Whether a value is a member of an Enum, and no number or text beside it, as that of an ``IntEnum`` is."""
    return isinstance(value, Enum) and not isinstance(value, int | float | str | bytes)


def holds_member(value: Any) -> bool:
    """Whether a value is a member of an Enum, or a list, tuple, set or dict that one is in."""
    return is_member(value) or (isinstance(value, _CONTAINERS) and any(map(holds_member, _items(value))))


def misplaced_member(value: Any, *, strictly: Callable[[], Any], laxly: Callable[[], Any]) -> str:
    """What is wrong with a value that holds members of Enums; empty where each stands for itself.

    A strict validation tells. One that stops at a list which is to be a set, or the like, has not come to the members:
    then all of them have to be in what is made of the value.

    Args:
        value: as it was given.
        strictly: validates the value, making nothing else of it.
        laxly: gives what a type makes of the value.
    """
    try:
        strictly()
    except ValidationError as error:
        refused = [item["input"] for item in error.errors(include_url=False)]
        wrong = {type(item).__name__ for item in refused if is_member(item)}
        if not wrong and any(map(holds_member, refused)):
            wrong = {type(item).__name__ for item in _lost(value, laxly)}
        return f"a member of {min(wrong)} is no value of this type" if wrong else ""
    except Exception:  # noqa: BLE001  whatever an app's code raises: it says so too where the value is validated
        return ""
    return ""


def _lost(value: Any, laxly: Callable[[], Any]) -> set[Enum]:
    """The members that are not in what is made of a value."""
    try:
        return set(_members(value)) - set(_members(laxly()))
    except Exception:  # noqa: BLE001  as above
        return set()


def _members(value: Any) -> Iterator[Enum]:
    if is_member(value):
        yield value
    elif isinstance(value, _CONTAINERS):
        for item in _items(value):
            yield from _members(item)


def _items(value: Any) -> Iterable[Any]:
    return chain(value, value.values()) if isinstance(value, dict) else value
