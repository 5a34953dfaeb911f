"""Hidden values of registers with a causal context: which of them nobody needs any more, and whether any is missing.

A value V that every device held before it wrote anything new, and that stands in one line with all other values of its
register, is an ancestor of all that will ever clash there. So the base of a later clash is V or comes after it, and
what V saw is no longer needed (docs/adr/0013-compaction.md). Should somebody write all the same who had not held V,
then what is gone is missed, and the base is unknown; it is never a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from crdt_sync.core.content import CREATION_COUNTER, PLAIN_PAST, Content, Dot, RegisterValue
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds.contexts import join
from crdt_sync.core.layout import MapKey
from crdt_sync.core.limits import ENTRY_LIMITS


def needed_no_more(content: Content, *, is_old: Callable[[RegisterValue], bool]) -> list[str]:
    """The keys of hidden values that no clash to come needs.

    Args:
        content: of one document.
        is_old: whether every device held a value before it wrote anything that is not held here.
    """
    found: list[str] = []
    for register, values in content.causal.items():
        mixed = register in content.plain or any(PLAIN_PAST in item.context for item in values)
        if len(values) < 2 or mixed:
            continue  # what was a plain register in between has gaps that no context tells
        created = [
            RegisterValue(Dot(item.author, CREATION_COUNTER), item.hlc, b"", {}, "")
            for item in content.creations
            if register in item.values
        ]
        seen = _seen_by_all_to_come(values, [*values, *created], is_old)
        found += [item.key for item in values if seen.get(item.dot.author, -1) >= item.dot.counter]
    return found


def are_hidden(content: Content, keys: Collection[MapKey]) -> bool:
    """Whether the keys of some values are those of ones that others saw, which stay: none of them shows then."""
    going = {(key.register, key.author, key.rest) for key in keys}
    for register, author, counter in going:
        staying = [
            item
            for item in content.causal.get(register, ())
            if (register, item.dot.author, str(item.dot.counter)) not in going
        ]
        if join(staying).get(author, -1) < int(counter):
            return False
    return True


def missing(kept: Iterable[RegisterValue]) -> list[Dot]:
    """Writes that kept values saw, and that are not kept; where any was removed, one that saw it or itself is here.

    Numbers are looked for as contexts name them: that one was given, those below it need not have been.
    """
    kept = list(kept)
    named = {Dot(author, counter) for item in kept for author, counter in item.context.items()}
    return sorted(dot for dot in named - {item.dot for item in kept} if _is_write(*dot))


def is_whole(kept: list[RegisterValue], past: Mapping[Author, int]) -> bool:
    """Whether nothing was ever removed but what a past covers.

    Args:
        kept: all values in the document.
        past: author → highest counter.
    """
    few = len(kept) < ENTRY_LIMITS.hidden_values_max  # where there are more, some may have gone that nobody names
    return few and all(past.get(dot.author, 0) >= dot.counter for dot in missing(kept))


def _seen_by_all_to_come(
    values: list[RegisterValue], kept: list[RegisterValue], is_old: Callable[[RegisterValue], bool]
) -> Mapping[Author, int]:
    """The context of the greatest value that is in the past of all to come, as far as that is sure; or an empty one."""
    found = [
        item
        for item in values
        if is_old(item) and all(_in_line(item, other) for other in kept) and _nothing_lacks_beyond(item, kept)
    ]
    greatest = max(found, key=lambda item: sum(_saw(item, other) for other in found), default=None)
    return {} if greatest is None else greatest.context


def _in_line(one: RegisterValue, other: RegisterValue) -> bool:
    return one is other or _saw(one, other) or _saw(other, one)


def _saw(value: RegisterValue, other: RegisterValue) -> bool:
    return value.context.get(other.dot.author, -1) >= other.dot.counter


def _nothing_lacks_beyond(value: RegisterValue, kept: list[RegisterValue]) -> bool:
    if is_whole(kept, value.context):
        return True
    tops = join(kept)
    for item in kept:
        tops[item.dot.author] = max(tops.get(item.dot.author, 0), item.dot.counter)
    held = [item.dot for item in kept]
    for author, top in tops.items():
        floor = max(value.context.get(author, 0), 0)
        beyond = sum(dot.author == author and dot.counter > floor for dot in held)
        if _is_write(author, top) and beyond < top - floor:
            return False
    return True


def _is_write(author: Author, counter: int) -> bool:
    return author != PLAIN_PAST and counter > CREATION_COUNTER
