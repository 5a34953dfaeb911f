"""What a record was before and after one of our transactions, and what others did to it since: all that undo goes by.

Records that were merged are retraced together, as they show as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from crdt_sync.core.blocks import DOCUMENT_BOUNDS, Format
from crdt_sync.core.content import Content
from crdt_sync.core.duplicates import MergedContent, merge_contents
from crdt_sync.core.ids import Author, DocumentKey, RecordId, split_document_key
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.inverting import Place, Since, place_of
from crdt_sync.core.kinds import TextRun
from crdt_sync.core.layout import KeyClass, parsed_key
from crdt_sync.core.links import links_of
from crdt_sync.core.respelling import Spelled, spelled
from crdt_sync.core.screening import Screened
from crdt_sync.core.spelling import Piece, pieces_of
from crdt_sync.core.update import parse_update
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.past import Replay, Step, steps_of
from crdt_sync.replica.rows import unpack_document_row
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.unique_index import Group
from crdt_sync.storage.base import Table

Cuts = dict[int, list[tuple[int, int]]]
"""Units of a text, as author → (start, end) ranges."""


class ShownText(NamedTuple):
    """A text as it stands: its code points, its pieces, and whether nobody ever gave it attributes."""

    chars: Spelled
    pieces: list[Piece]
    plain: bool


class Life(NamedTuple):
    """Documents that were linked before a transaction; most are alone. Live is whichever has one that is."""

    keys: frozenset[DocumentKey]
    was_live: bool
    left_live: bool


@dataclass(slots=True)
class Around:
    """Some documents that show as one, before and after a transaction.

    Args:
        was_live, left_live: whether the record was live before and after it.
        before, after: what it held.
        wrote: the documents that it wrote to.
        lives: those that were there after it, by what was linked before it, as they were live before and after.
        deleted: the documents that were live before and not after.
        spelled: the texts that it wrote to, before and after it, by document and stored name.
        since: what others did to them since.
        cut: the units of texts that others deleted since.
        position: of the transaction's row in the log.
        unknown: the fields that it wrote to and the model does not have.
    """

    was_live: bool
    left_live: bool
    before: Content
    after: Content
    wrote: frozenset[DocumentKey]
    lives: Sequence[Life]
    deleted: frozenset[DocumentKey]
    spelled: Mapping[tuple[DocumentKey, str], tuple[Spelled, Spelled]]
    since: Since = field(default_factory=lambda: _Others().since())
    cut: Mapping[DocumentKey, Cuts] = field(default_factory=dict)
    position: int = 0
    unknown: frozenset[str] = frozenset()

    def changes_lives(self) -> bool:
        """Whether any of those that were linked until then, whatever they show as now, was brought to life or ended."""
        return any(life.was_live != life.left_live for life in self.lives)

    def of(self, keys: Group) -> Around:
        """The same of some of the documents."""
        lives = [life for life in self.lives if not life.keys.isdisjoint(keys)]
        return replace(
            self,
            was_live=any(life.was_live for life in lives),
            left_live=any(life.left_live for life in lives),
            before=_part(self.before, keys),
            after=_part(self.after, keys),
            wrote=self.wrote.intersection(keys),
            lives=lives,
            deleted=self.deleted.intersection(keys),
        )


def around(state: State, declared: Declared, group: Group, position: int, *, own: frozenset[Author]) -> Around | None:
    """Replay documents from before a transaction of ours up to now.

    Args:
        state: the replica.
        declared: the model.
        group: the documents.
        position: of the transaction's row in the log.
        own: every author of ours.

    Returns:
        What was found; None where the transaction, or a part of it, was folded.
    """
    entry = state.ledger.entry(position, 0)
    wrote = {item.document for item in entry.operations}.intersection(group)
    replay = Replay(declared, {key: _starting_before(state, key, position) for key in group})
    after = {key: member.position for key, member in replay.members.items()}
    ours: list[Step] = []
    found: Around | None = None
    others = _Others()
    for step in steps_of(state, group, after=after):
        if step.touch.position > position and found is None and ours:
            found = _around(declared, ours, replay)
        if step.touch.position == position:
            ours.append(step)
            continue
        verdict = step.apply(replay.members[step.key])
        if step.touch.position > position and step.row.author not in own:
            others.take(step.key, verdict, replay.members[step.key].index)
    if {step.key for step in ours} != wrote:
        return None
    if found is None and ours:
        found = _around(declared, ours, replay)
    if found is not None:
        found.since, found.cut, found.position = others.since(), others.cut, position
    return found


def content_before(state: State, declared: Declared, group: Group, position: int) -> Content:
    """What some documents showed before a transaction that is still in the log; empty where none was there."""
    replay = Replay(declared, {key: _starting_before(state, key, position) for key in group})
    after = {key: member.position for key, member in replay.members.items()}
    for step in steps_of(state, group, after=after):
        if step.touch.position >= position:
            break
        step.apply(replay.members[step.key])
    return replay.content()


def _around(declared: Declared, ours: Sequence[Step], replay: Replay) -> Around:
    """The documents before and after the steps of one transaction, which are applied."""
    live, linked = _live(declared, replay), _linked(replay)
    before = replay.content()
    texts: dict[tuple[DocumentKey, str], tuple[Spelled, Spelled]] = {}
    fields = set[str]()
    for step in ours:
        member = replay.members[step.key]
        old = {name: text_of(member, name).chars for name in declared.text_fields}
        verdict = step.apply(member)
        touched = frozenset[str]() if verdict is None else verdict.text_fields
        fields |= touched
        if verdict is not None:
            fields |= {cell.field for cell in (*(cell for cell, _ in verdict.written), *verdict.removed_keys)}
        for name in touched.intersection(declared.text_fields):
            texts[step.key, name] = old[name], text_of(member, name).chars
    left = _live(declared, replay)
    return Around(
        bool(live),
        bool(left),
        before,
        replay.content(),
        wrote=frozenset(step.key for step in ours),
        lives=[Life(keys, not live.isdisjoint(keys), not left.isdisjoint(keys)) for keys in linked],
        deleted=frozenset(live - left),
        spelled=texts,
        unknown=frozenset(fields - declared.names.keys() - {""}),
    )


def _linked(replay: Replay) -> list[frozenset[DocumentKey]]:
    """The documents, by what their links say of each other."""
    found: list[tuple[set[DocumentKey], set[RecordId]]] = []
    for key, loaded in replay.members.items():
        names = {split_document_key(key)[2]}
        if loaded.known:
            names |= links_of(loaded.content(())).merged
        keys = {key}
        for item in [item for item in found if not names.isdisjoint(item[1])]:
            keys |= item[0]
            names |= item[1]
            found.remove(item)
        found.append((keys, names))
    return [frozenset(keys) for keys, _ in found]


def _part(content: Content, keys: Group) -> Content:
    """What some of the documents of a content hold; empty where none of them was there."""
    if not isinstance(content, MergedContent):
        return content
    ids = [split_document_key(key)[2] for key in keys]
    parts = [(record, part) for record, part in content.parts if record in ids]
    if len(keys) > 1 and parts:
        return merge_contents(parts, survivor=ids[0])
    return parts[0][1] if parts else Content()


def _live(declared: Declared, replay: Replay) -> set[DocumentKey]:
    names = declared.text_fields
    return {key for key, item in replay.members.items() if item.known and declared.is_live(item.content(names))}


class _Others:
    """Gathers what others did to a document."""

    def __init__(self) -> None:
        self._places: set[Place] = set()
        self.cut: dict[DocumentKey, Cuts] = {}
        self._everything = self._wrote = False

    def take(self, key: DocumentKey, verdict: Screened | None, index: DocumentIndex) -> None:
        """One of their operations on a document; None is content of which nobody can tell who wrote what.

        Args:
            key: the document.
            verdict: the operation.
            index: the document with it.
        """
        self._wrote = True
        if verdict is None:
            self._everything = True
            return
        for cell in (*(cell for cell, _ in verdict.written), *verdict.removed_keys):
            self._everything = self._everything or cell.key_class is KeyClass.CREATION
            self._places.add(place_of(cell))
        for author, start, end in verdict.update.deletes:
            self.cut.setdefault(key, {}).setdefault(author, []).append((start, end))
            self._places.update(_places(index, author, start, end))  # also what was removed here by then

    def since(self) -> Since:
        """All that they did."""
        return Since(places=self._places, everything=self._everything, wrote=self._wrote)


def _places(index: DocumentIndex, author: int, start: int, end: int) -> Iterator[Place]:
    """What some units were written about, but for texts."""
    while start < end:
        unit = index.find(author, start)
        if unit is None:
            return
        if not unit.is_text:
            yield place_of(parsed_key(unit.name))
        start = unit.end


def _starting_before(state: State, key: DocumentKey, position: int) -> Loaded:
    """A copy of a document as it was some time before a log position: its snapshot, or as it was folded."""
    data = state.store.get(Table.DOCUMENT, key)
    if data is not None:
        row = unpack_document_row(data)
        if row.state and row.position < position:
            index = DocumentIndex.from_bytes(row.units)
            return Loaded(key, author=state.documents.author, snapshot=row.state, index=index, position=row.position)
    return state.documents.base(key)


def text_of(loaded: Loaded, stored: str) -> ShownText:
    """A text of a document, by its stored name."""
    if not loaded.known:
        return ShownText({}, [], plain=True)
    state = parse_update(loaded.encode(), bounds=DOCUMENT_BOUNDS)
    pieces = list(pieces_of(state, loaded.index, stored))
    plain = not any(type(block.content) is Format for block in state.blocks)
    runs: list[TextRun] = [] if plain else loaded.engine().runs(stored)
    return ShownText(spelled(pieces, runs), pieces, plain)
