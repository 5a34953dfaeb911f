"""Causal contexts of register values, and how values of plain registers and of those with a context stand together.

A field may be a plain register in one version of an app and one with a context in another, so a document may hold both.
Each kind reads both, and a write drops the values of the other kind that it has seen: so what is there of a plain
register was seen by no write with a context. Numbers never come again, since a plain write carries on those it has
seen. But a plain write is gone once it was replaced, without a name in anybody's context; a write with a context that
took the place of plain values says so by `PLAIN_PAST`, so that nobody takes an older value for the common ancestor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from crdt_sync.core.content import PLAIN_PAST, Dot, RegisterValue
from crdt_sync.core.ids import Author

_PLAIN_NUMBERS: Final = 1 << 63
"""Numbers of plain values among those with a context start here: none of the latter comes so far."""


def join(values: Iterable[RegisterValue]) -> dict[Author, int]:
    """The pointwise maximum of causal contexts."""
    joined: dict[Author, int] = {}
    for item in values:
        for author, counter in item.context.items():
            if counter > joined.get(author, -1):
                joined[author] = counter
    return joined


def uncovered(values: Iterable[RegisterValue], covered: Mapping[Author, int]) -> list[RegisterValue]:
    """The values that a context does not cover."""
    return [item for item in values if covered.get(item.dot.author, -1) < item.dot.counter]


def maximal(values: list[RegisterValue]) -> list[RegisterValue]:
    """The values that none of the others saw."""
    return uncovered(values, join(values))


def saw(values: list[RegisterValue]) -> dict[Author, int]:
    """The context of a write that sees these values."""
    seen = saw_plain(values)
    for item in values:
        if not is_plain(item):
            seen[item.dot.author] = max(seen.get(item.dot.author, -1), item.dot.counter)
    return seen


def saw_plain(values: list[RegisterValue]) -> dict[Author, int]:
    """The context of a write that sees these values of a plain register, and no others."""
    seen = join(values)
    seen.pop(PLAIN_PAST, None)
    return seen


def beside_causal(value: RegisterValue) -> RegisterValue:
    """A value of a plain register under a number that no context covers: whoever sees it drops it."""
    return value._replace(dot=Dot(value.dot.author, _PLAIN_NUMBERS + value.hlc % _PLAIN_NUMBERS))


def is_plain(value: RegisterValue) -> bool:
    """Whether `beside_causal` gave the value."""
    return value.dot.counter >= _PLAIN_NUMBERS


def shared_past(among: list[RegisterValue]) -> dict[Author, int]:
    """What all of some values saw."""
    pasts = [item.context for item in among]  # not with the item's own dot: an author's sibling would be in it
    return {author: min(past[author] for past in pasts) for author in set[Author](pasts[0]).intersection(*pasts[1:])}


def may_share_plain(kept: list[RegisterValue], among: list[RegisterValue]) -> bool:
    """Whether some values may all have grown from a plain write of which nothing is kept.

    A value with a context has plain writes in its past only through a write that says so, itself or one that it saw.
    What all of the values saw is no matter: it comes after those plain writes.
    """
    if not any(is_plain(item) or PLAIN_PAST in item.context for item in kept):
        return False
    shared = shared_past(among)
    return all(is_plain(item) or _grew_from_plain(kept, item, shared) for item in among)


def _grew_from_plain(kept: list[RegisterValue], value: RegisterValue, shared: dict[Author, int]) -> bool:
    """Whether a write beyond the shared past says so, or is no longer kept, so that it might have."""
    beyond = {author: counter for author, counter in value.context.items() if counter > shared.get(author, 0)}
    held = [
        item
        for item in kept
        if max(shared.get(item.dot.author, 0), 0) < item.dot.counter <= beyond.get(item.dot.author, 0)
    ]
    numbers = sum(counter - shared.get(author, 0) for author, counter in beyond.items())
    return len(held) < numbers or any(PLAIN_PAST in item.context for item in (value, *held))
