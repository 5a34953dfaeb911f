"""Judges engine updates before the engine sees them: what an entry may do to a document, and nothing else.

The rules are alike on every replica, and depend on the entry and its past only, never on what arrived beside it:

1. All blocks are the entry's author's, and go on where that author's last ones in the document ended.
2. There is at least one, so that every edit moves the state vector (a deletion alone would not).
3. Blocks belong where `placing` says they may.
4. What is deleted is there, and is one of: a tombstone; an element of a set or list, or an entry of a map; units of a
   text; an own value that this update replaces; a register value of a field for which this update writes a value; a
   value with a causal context, by an update that writes its author's link cell, which is how values that nobody needs
   any more go without an edit. A creation is never deleted.
5. A document begins with its author's creation.
6. A tombstone says that it saw only what is there, so that it hides no edit that is yet to come.
7. So does a register value's context: each write in it, and each creation, has its key in the document, live or not.
   Of an entry of a map the numbers have gaps; there an author's next one is above its clock, so one up to that clock
   hides nothing that is yet to come. A number in a key is not beyond its author's clocks either, so that whoever saw it
   can say so.

What an update refers to and is not here is missing (`MissingCauseError`), not refused: others may hold it already, and
will have accepted the entry. Of the author's own there can be nothing more, since its chain is in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from crdt_sync.core.blocks import DOCUMENT_BOUNDS, Block, Bytes, Deleted, Format, String, Update
from crdt_sync.core.content import CREATION_COUNTER, PLAIN_PAST, read_register, read_tombstone
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import KeyClass, MapKey, map_key, parse_text_root, parsed_key
from crdt_sync.core.order import DOCUMENT_STEPS_MAX
from crdt_sync.core.placing import NOWHERE, Place, Placed, Placer, place_all
from crdt_sync.core.update import parse_update
from crdt_sync.errors import MalformedEntryError, MissingCauseError, ScreeningError

_ANYBODY_REMOVES = frozenset((KeyClass.TOMBSTONE, KeyClass.SET, KeyClass.LIST))
_NOBODY_REMOVES = frozenset((KeyClass.CREATION, KeyClass.TOUCH, KeyClass.ALIAS, KeyClass.COUNTER, KeyClass.LATTICE))
_REGISTERS = frozenset((KeyClass.PLAIN, KeyClass.CAUSAL))


class Screened(NamedTuple):
    """An update that may be applied, and what it does.

    Args:
        update: its blocks and deletions.
        written: keys with the values that it leaves there.
        removed_keys: keys whose value it removes without leaving another one there.
        text_fields: fields whose text it changes.
        placed: for `DocumentIndex.apply`.
    """

    update: Update
    written: tuple[tuple[MapKey, bytes], ...]
    removed_keys: tuple[MapKey, ...]
    text_fields: frozenset[str]
    placed: Placed


def screen(update_bytes: bytes, *, author: Author, index: DocumentIndex, operation: OperationType) -> Screened:
    """Judge the update of one operation of an entry.

    Args:
        update_bytes: the engine update.
        author: the entry's author.
        index: the document as the update will find it; it is left as it is.
        operation: what the operation says it does.

    Raises:
        MalformedEntryError: not an update, or one with content that no document of ours holds.
        LimitError: larger than an entry may be.
        ScreeningError: it does more than an entry may do.
    """
    update = parse_update(update_bytes)
    blocks = update.blocks
    if not blocks:
        raise ScreeningError("an update that does not move the state vector")
    if blocks[0].author != author or blocks[-1].author != author:
        raise ScreeningError("an update with blocks of another author than its entry's")
    placer = Placer(index)
    try:
        for block in blocks:
            if not placer.place(block):
                raise MissingCauseError(NOWHERE)
        removed, deleted_texts = _deletions(update, placer)
        check_removals(removed, written=placer.values, author=author)
    finally:
        placer.withdraw()
    written = tuple([(parsed_key(key), value) for key, value in placer.values.items()])
    _check_what_was_seen(written, placer)
    if operation is OperationType.CREATE and not index.clocks and not _creates(written):
        raise ScreeningError("a document that does not begin with a creation")
    return Screened(update, written, *_summary(removed, placer, deleted_texts), placer.placed(update.deletes))


def screen_again(
    update_bytes: bytes, *, author: Author, index: DocumentIndex, operation: OperationType
) -> Screened | None:
    """Judge the update of an entry that was accepted before; None where the document has it already, with content.

    Raises:
        EntryError: as `screen`.
    """
    try:
        return screen(update_bytes, author=author, index=index, operation=operation)
    except ScreeningError:
        if is_there(update_bytes, author=author, index=index):
            return None
        raise


def is_there(update_bytes: bytes, *, author: Author, index: DocumentIndex) -> bool:
    """Whether a document has every block of an author's update."""
    end = index.next_clock(author)
    return all(
        block.author == author and block.clock + block.length <= end for block in parse_update(update_bytes).blocks
    )


def screen_content(update_bytes: bytes, *, index: DocumentIndex) -> Screened:
    """Judge content by many authors: a whole document, or what one state vector lacks of it (repair, bootstrap).

    Blocks that ``index`` has already are passed over, after a check that they are the same kind of content. Who its
    authors are is not asked: nobody signed it, and of one whose binding is lost everywhere there may be content all
    the same.

    Args:
        update_bytes: the engine update.
        index: the document as it is here; it is left as it is.

    Raises:
        MalformedEntryError: not an update, or one with content that no document of ours holds.
        LimitError: larger than a document may be.
        ScreeningError: a document cannot come to hold this.
    """
    update = parse_update(update_bytes, bounds=DOCUMENT_BOUNDS)
    fresh = Update(tuple([new for block in update.blocks if (new := _new_part(block, index))]), update.deletes)
    placer = Placer(index, steps_max=DOCUMENT_STEPS_MAX)
    try:
        place_all(fresh, placer=placer)
        removed, deleted_texts = _deletions(fresh, placer)
        for key, is_last in removed.items():
            if is_last and parsed_key(key).key_class in _NOBODY_REMOVES:
                raise ScreeningError("content without a value that nobody may remove")
    finally:
        placer.withdraw()
    written = tuple([(parsed_key(key), value) for key, value in placer.values.items()])
    _check_what_was_seen(written, placer)
    return Screened(fresh, written, *_summary(removed, placer, deleted_texts), placer.placed(update.deletes))


def _deletions(update: Update, placer: Placer) -> tuple[dict[str, bool], set[str]]:
    """Resolve what is deleted to keys (with whether their last value goes) and text roots."""
    removed: dict[str, bool] = {}
    roots: set[str] = set()
    if not update.deletes and not placer.erased:
        return removed, roots
    for author, start, end in (*update.deletes, *placer.erased):
        if end > placer.next_clock(author):
            raise MissingCauseError("an update that deletes what is not there")
        if placer.splits_pair(author, start) or placer.splits_pair(author, end):
            raise ScreeningError("a deletion that halves a character")
        clock = start
        while clock < end:
            name, behind, is_text = placer.find(author, clock)
            clock = min(behind, end)
            if is_text:
                roots.add(name)
            elif placer.last_of(name) == (author, clock - 1):
                removed[name] = True
                placer.values.pop(name, None)
            else:
                removed.setdefault(name, False)
    return removed, roots


def check_removals(removed: Mapping[str, bool], *, written: Iterable[str], author: Author) -> None:
    """Judge what one update removes (rule 4).

    Args:
        removed: keys that lose a value, with whether it is their last one.
        written: keys that the update leaves a value of its own under.
        author: who removes.

    Raises:
        ScreeningError: a value that this update may not remove.
    """
    if not removed:
        return
    keys = [parsed_key(name) for name in written]
    fields = {key.field for key in keys if key.key_class in _REGISTERS}
    is_no_edit = any(key.key_class is KeyClass.ALIAS for key in keys)
    for name, is_last in removed.items():
        key = parsed_key(name)
        if key.key_class in _ANYBODY_REMOVES or key.entry is not None:
            continue
        if key.key_class in _REGISTERS and key.field in fields:
            continue
        if key.key_class is KeyClass.CAUSAL and is_no_edit:
            continue
        if is_last or key.author != author or key.key_class is KeyClass.CREATION:
            raise ScreeningError(f"an update that removes a value it may not remove ({key.key_class.name.lower()})")


def _check_what_was_seen(written: Iterable[tuple[MapKey, bytes]], placer: Placer) -> None:
    for key, value in written:
        try:
            match key.key_class:
                case KeyClass.TOMBSTONE:
                    unseen = _beyond(read_tombstone(value).vector, placer)
                case KeyClass.PLAIN | KeyClass.CAUSAL:
                    unseen = _unseen_writes(key, read_register(value)[1], placer)
                case _:
                    continue
        except MalformedEntryError:
            continue  # nobody reads it, so it hides nothing
        if unseen:
            kind = ScreeningError if key.author in unseen else MissingCauseError
            raise kind(f"a {key.key_class.name.lower()} that says it saw what is not there")


def _unseen_writes(key: MapKey, context: Mapping[Author, int], placer: Placer) -> list[Author]:
    if key.rest and int(key.rest) > placer.next_clock(key.author):
        raise ScreeningError("a register value with a number that its author has not reached")
    if key.entry is not None:
        return _beyond(context, placer)
    return [
        author
        for author, counter in context.items()
        if author != PLAIN_PAST
        and not (
            _is_created(author, placer)
            if counter == CREATION_COUNTER
            else placer.last_of(map_key(KeyClass.CAUSAL, author, field=key.register, rest=str(counter)))
        )
    ]


def _beyond(clocks: Mapping[Author, int], placer: Placer) -> list[Author]:
    return [author for author, clock in clocks.items() if clock > placer.next_clock(author)]


def _is_created(author: Author, placer: Placer) -> bool:
    return placer.last_of(map_key(KeyClass.CREATION, author)) is not None


def _creates(written: tuple[tuple[MapKey, bytes], ...]) -> bool:
    return any(key.key_class is KeyClass.CREATION for key, _ in written)


def _summary(
    removed: dict[str, bool], placer: Placer, deleted_texts: set[str]
) -> tuple[tuple[MapKey, ...], frozenset[str]]:
    if not removed and not placer.texts and not deleted_texts:
        return (), frozenset()
    roots = deleted_texts.union(root for _, root in placer.texts)
    gone = tuple([parsed_key(name) for name, is_last in removed.items() if is_last])
    return gone, frozenset(parse_text_root(root) for root in roots)


def _new_part(block: Block, index: DocumentIndex) -> Block | None:
    """What of a block the index lacks. The part that it has must belong to the same key or text there."""
    author, clock, length, origin, right, root, key, content = block
    known = index.next_clock(author)
    if clock >= known:
        return block
    here = index.find(author, clock)
    same = here is not None and (
        root is None or (root if key is None else key, key is None) == (here.name, here.is_text)
    )
    while same and here is not None and here.end < min(clock + length, known):
        here, before = index.find(author, here.end), here
        same = _alike(here, before)
    for unit in (origin, right):
        same = same and (unit is None or _alike(index.find(*unit), here))
    if here is None or not same or type(content) in ((Bytes,) if here.is_text else (String, Format)):
        raise ScreeningError("content that differs from what is here under the same name")
    cut = known - clock
    if cut >= length:
        return None
    rest: String | Deleted = Deleted(length - cut)
    if type(content) is String:
        try:
            rest = String(content.text.encode("utf-16-le")[2 * cut :].decode("utf-16-le"))
        except UnicodeDecodeError:
            raise ScreeningError("content that halves a character") from None
    return Block(author, known, length - cut, (author, known - 1), right, None, None, rest)


def _alike(place: Place | None, other: Place | None) -> bool:
    return place is not None and other is not None and place.name == other.name and place.is_text == other.is_text
