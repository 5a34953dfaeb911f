"""Why a field shows what it shows: the writes that count, who saw whom, and the rule, as pure functions of a document.

An explanation is the same on every replica with the same document: it names no local time, place or order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from crdt_sync.core.clock import COUNTER_BITS, physical_ms
from crdt_sync.core.conflict import UNKNOWN, Unknown
from crdt_sync.core.content import CREATION_COUNTER, Content, EditAfterDelete, RegisterValue
from crdt_sync.core.duplicates import MergedContent, Written, element_record, record_of, split_key, untagged, write_of
from crdt_sync.core.ids import Author, DeviceId, RecordId
from crdt_sync.core.kinds import CausalRegister, CounterKind, FieldKind, ListKind, MapKind, SetKind, TextKind
from crdt_sync.core.kinds.lattice import Lattice
from crdt_sync.core.kinds.list_cells import Stamp, readable_cells
from crdt_sync.core.kinds.plain import PlainRegister, latest_first
from crdt_sync.core.layout import parsed_key
from crdt_sync.core.naming import label_of
from crdt_sync.errors import InputError

RULES: Final[Mapping[str, str]] = {
    "PlainRegister": "of values that were written at once the latest shows; any later write replaces all it saw",
    "AskRegister": "of values that were written at once the latest shows, and where they differ a person is asked",
    "ThreeWayRegister": "values that were written at once are merged against their base; where changes overlap the "
    "latest shows, and a person is asked",
    "MergeWithRegister": "values that were written at once, and their base, are merged by the app's own function",
    "First": "the value that was given first stays; of several given at once, the earliest",
    "Greatest": "the greatest value that was ever given",
    "Least": "the least value that was ever given",
    "CounterKind": "the sum of what each author counted",
    "SetKind": "an element is there while anybody's adding of it is that no removal saw",
    "ListKind": "an element shows the value and the place that were given last; it is there while anybody's writing of "
    "it is that no removal saw",
    "MapKind": "each key is a register of its own, and is there while it has a value that no removal saw",
    "TextKind": "all that was inserted and that nobody deleted, each character in its place",
}
"""Kind of field → what decides."""

LIFE_RULES: Final[Mapping[EditAfterDelete, str]] = {
    "edit_wins": "a record is live until it is deleted; an edit that no delete saw brings it back",
    "delete_wins": "a record is live until it is deleted; only restoring it brings it back",
    "ask": "a record is live until it is deleted; an edit that no delete saw keeps it until somebody chooses",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN_CHARS_MAX: Final = 200
_NOTE_OF_CREATION: Final = ("a default, as it was created", "as it was created")

NameOf = Callable[[Author], str]
"""Names the device that writes under an author."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One write that counts in an explanation.

    Args:
        number: names it in the explanation, from 1 on.
        what: ``shown``, ``beside`` (written at once with it), ``hidden`` (a later write saw it), ``part`` (of a sum,
            set, list or text); ``created``, ``deleted`` or ``edited`` (of a record's life).
        value: what was written; None of a record's life.
        device_id: who wrote it.
        timestamp: packed HLC timestamp, where the document keeps it.
        register: the field, or ``field/key`` for an entry of a map.
        saw: the numbers of the writes in the list that its writer had seen.
        note: what else is to be said, or empty.
        record_ids: of a record that others were merged with: those that hold the write.
        device_name: what that device calls itself, or empty.
    """

    number: int
    what: str
    value: Any
    device_id: str
    timestamp: int | None = None
    register: str = ""
    saw: tuple[int, ...] = ()
    note: str = ""
    record_ids: tuple[RecordId, ...] = ()
    device_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a field, or the life of a record, is as it is; ``str()`` says it in words.

    Args:
        model: the model's name.
        record_id: the record.
        field: the field; empty for the record's life.
        kind: what decides: the kind of the field, or ``life``.
        value: what is shown; of a life, whether the record is live.
        rule: the rule that was applied, in words.
        causes: the writes that count, those that show first.
        notes: what follows of them, such as an open conflict and its base.
    """

    model: str
    record_id: RecordId
    field: str
    kind: str
    value: Any
    rule: str
    causes: tuple[Cause, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The whole explanation, in lines."""
        if self.field:
            title = f"{self.model} {self.record_id}, {self.field} = {_text_of(self.value)}"
        else:
            title = f"{self.model} {self.record_id} is {'live' if self.value else 'deleted'}"
        lines = [title, f"  rule: {self.rule}"]
        lines += [f"  {line}" for cause in self.causes for line in _lines(cause, self.field)]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


@dataclass(slots=True)
class _Findings:
    """What an explanation is gathered in.

    Args:
        survivor: of a record that others were merged with, the one that shows; None of any other.
        default_shows: whether the default is what shows where nobody wrote.
    """

    name_of: NameOf
    names: Mapping[DeviceId, str]
    survivor: RecordId | None = None
    default_shows: bool = True
    causes: list[Cause] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, value: Any, author: Author, *, record: RecordId | None = None, **more: Any) -> None:
        """One more write, under the next number; ``record`` where neither it nor the author tells which holds it."""
        more.setdefault("record_ids", self.records((author,)) if record is None else (record,))
        number, device = len(self.causes) + 1, self.name_of(untagged(author))
        name = self.names.get(DeviceId(device), "")
        self.causes.append(Cause(number=number, what=what, value=value, device_id=device, device_name=name, **more))

    def note_unwritten(self) -> None:
        """A field that nobody gave a value."""
        self.notes.append("nobody wrote it: the default shows" if self.default_shows else "nobody wrote it")

    def records(self, authors: Iterable[Author]) -> tuple[RecordId, ...]:
        """Which records some authors of a merged content wrote to."""
        if self.survivor is None:
            return ()
        return tuple(sorted({record_of(author, survivor=self.survivor) for author in authors}))

    def place(self, key: str) -> tuple[Author, RecordId | None]:
        """Who wrote a cell, and in which of several records."""
        if self.survivor is None:
            return parsed_key(key).author, None
        record, own = split_key(key, survivor=self.survivor)
        return parsed_key(own).author, record


def explain_field(
    kind: FieldKind,
    content: Content,
    *,
    name_of: NameOf,
    names: Mapping[DeviceId, str],
    pieces: Iterable[tuple[Author, str]] = (),
    upgraded: Any = UNKNOWN,
) -> tuple[tuple[Cause, ...], tuple[str, ...]]:
    """The writes that make a field what it is, and what follows of them.

    Args:
        kind: the field.
        content: the record's document.
        name_of: names a device by its author.
        names: what devices call themselves.
        pieces: a text in order, each piece with who inserted it.
        upgraded: what the model's upgrade function has it show, where that is another value than what is stored.
    """
    found = _findings(content, name_of, names)
    found.default_shows = upgraded is UNKNOWN
    match kind:
        case Lattice():
            _lattice(kind, content, found)
        case PlainRegister():
            _register(kind, content, found)
        case CounterKind():
            for author, total in sorted(content.counters.get(kind.stored, {}).items()):
                found.add("part", total, author)
        case SetKind():
            _set(kind, content, found)
        case ListKind():
            _list(kind, content, found)
        case MapKind():
            for name in kind.present(content):
                _register(kind.register(name), content, found)
        case TextKind():
            for author, text in pieces:
                found.add("part", text, author)
            _other_texts(kind, content, found)
        case _:
            raise InputError(f"a field of kind {type(kind).__name__} cannot be explained")
    if upgraded is not UNKNOWN:
        found.notes.append(f"the model's upgrade function gives {_text_of(upgraded)} for what is stored")
    return tuple(found.causes), tuple(found.notes)


def explain_life(
    content: Content, policy: EditAfterDelete, *, name_of: NameOf, names: Mapping[DeviceId, str]
) -> tuple[tuple[Cause, ...], tuple[str, ...]]:
    """Why a record is live or deleted: its creations, its tombstones, and the edits that no tombstone saw."""
    found = _findings(content, name_of, names)
    if not isinstance(content, MergedContent):
        found.notes.append(_life(content, policy, found, record=None))
        return tuple(found.causes), tuple(found.notes)
    for record, part in content.parts:
        found.notes.append(f"{record}: {_life(part, policy, found, record=record)}")
    found.notes.append("it is live while one of the records that it was merged from is")
    return tuple(found.causes), tuple(found.notes)


def _findings(content: Content, name_of: NameOf, names: Mapping[DeviceId, str]) -> _Findings:
    if not isinstance(content, MergedContent):
        return _Findings(name_of, names)
    survivor, *others = (record for record, _ in content.parts)
    found = _Findings(name_of, names, survivor)
    found.notes.append(f"created more than once: {survivor} shows, and {', '.join(others)} with it")
    return found


def _life(content: Content, policy: EditAfterDelete, found: _Findings, *, record: RecordId | None) -> str:
    """The causes of one record's life; returns what follows of them."""
    for made in sorted(content.creations, key=lambda item: (item.hlc, item.author)):
        found.add("created", None, made.author, record=record, timestamp=made.hlc)
    for key, tombstone in sorted(content.tombstones.items()):
        note = "saw all that was here for it then"
        found.add("deleted", None, parsed_key(key).author, record=record, timestamp=tombstone.hlc, note=note)
    edited = sorted(content.edited_since()) if content.tombstones else []
    for author in edited:
        found.add("edited", None, author, record=record, note="an edit that no delete saw")
    if not content.tombstones:
        return "nobody deleted it, or it was restored since"
    if content.is_live(policy):
        return "so the edit keeps it"
    return "its model lets deleting win" if edited else "every edit was seen by a delete"


def _register(kind: PlainRegister, content: Content, found: _Findings) -> None:
    """Candidates, latest first; then what they hide."""
    shown = kind.candidates(content)
    if not shown:
        found.note_unwritten()
        return
    kept = kind.kept(content) if isinstance(kind, CausalRegister) else [*shown, *_hidden_creations(kind, content)]
    dots = {item.dot for item in shown}
    ordered = [*shown, *sorted((item for item in kept if item.dot not in dots), key=latest_first)]
    writes = _by_write(ordered, is_merged=isinstance(content, MergedContent))
    first = len(found.causes) + 1
    for at, items in enumerate(writes):
        item = items[0]
        saw = tuple(first + number for number, others in enumerate(writes) if number != at and _saw(items, others))
        what = "hidden" if item.dot not in dots else "beside" if at else "shown"
        found.add(
            what,
            kind.decode(item.data),
            item.dot.author,
            timestamp=item.hlc,
            register=kind.name,
            saw=saw,
            note=_NOTE_OF_CREATION[item.given] if item.dot.counter == CREATION_COUNTER else "",
            record_ids=found.records(item.dot.author for item in items),
        )
    if isinstance(kind, CausalRegister) and len({write_of(item) for item in shown}) > 1:
        _note_merge(kind, content, shown, found)


def _by_write(values: Iterable[RegisterValue], *, is_merged: bool) -> list[list[RegisterValue]]:
    """Values in their order; a write to several merged records stands in each of them, and is one."""
    if not is_merged:
        return [[item] for item in values]
    writes: dict[Written, list[RegisterValue]] = {}
    for item in values:
        writes.setdefault(write_of(item), []).append(item)
    return list(writes.values())


def _saw(items: Iterable[RegisterValue], others: list[RegisterValue]) -> bool:
    return any(item.context.get(other.dot.author, -1) >= other.dot.counter for item in items for other in others)


def _hidden_creations(kind: PlainRegister, content: Content) -> list[RegisterValue]:
    shown = {item.dot for item in kind.candidates(content)}
    return [item for item in kind.created(content) if item.dot not in shown]


def _note_merge(kind: CausalRegister, content: Content, shown: list[RegisterValue], found: _Findings) -> None:
    base = kind.base_data(content, shown)
    known = "is no longer kept" if isinstance(base, Unknown) else f"is {_text_of(kind.decode(base))}"
    found.notes.append(f"{kind.name}: their base, the last value before they parted, {known}")
    clashes = kind.clashes(content)
    if not clashes:
        found.notes.append(f"{kind.name}: they agree, or merge: no conflict")
    for clash in clashes:
        paths = ", ".join(path or "the whole value" for path in clash.paths)
        found.notes.append(f"{kind.name}: an open conflict over {paths}; {_text_of(clash.value)} shows meanwhile")


def _lattice(kind: Lattice, content: Content, found: _Findings) -> None:
    shown = kind.shown(content)
    parts = sorted(kind.parts(content), key=lambda item: (item != shown, latest_first(item)))
    for item in parts:
        what = "shown" if item == shown else "beside"
        found.add(what, kind.decode(item.data), item.dot.author, timestamp=item.hlc, register=kind.name)
    if shown is None:
        found.note_unwritten()


def _set(kind: SetKind, content: Content, found: _Findings) -> None:
    for element, name in kind.named(content):
        for key, _ in sorted(content.sets[kind.stored][name]):
            author, record = found.place(key)
            found.add("part", element, author, record=record, note="added it")


def _list(kind: ListKind, content: Content, found: _Findings) -> None:
    for element in kind.elements(content):
        value, place = element.cell.value_stamp, element.cell.place_stamp
        note = "inserted it, or set and moved it at once" if value == place else f"placed {_by(place, found)}"
        others = sum(cell != element.cell for cell in readable_cells(content.lists[kind.stored][element.id]))
        if others:
            note += f"; {others} written at once with it"
        record = None if found.survivor is None else element_record(element.id, survivor=found.survivor)
        shown = kind.element.decode(element.cell.data)
        found.add("part", shown, value.author, record=record, timestamp=value.number, note=note)


def _other_texts(kind: TextKind, content: Content, found: _Findings) -> None:
    """The texts of the records that were merged into the one that shows."""
    for record, part in content.parts[1:] if isinstance(content, MergedContent) else ():
        text, made = kind.read(part), part.created()
        if text and made is not None:
            note = "the text of a record that was merged with it: kept there, and not shown"
            found.add("beside", text, made[1], record=record, timestamp=made[0], note=note)


def _by(stamp: Stamp, found: _Findings) -> str:
    device = found.name_of(stamp.author)
    return f"by {label_of(device, found.names.get(DeviceId(device)))} at {time_text(stamp.number)}"


def time_text(hlc: int) -> str:
    """A packed timestamp in UTC, to the millisecond, with its counter where that is not 0."""
    counter = hlc & ((1 << COUNTER_BITS) - 1)
    try:
        moment = _EPOCH + timedelta(milliseconds=physical_ms(hlc))
    except OverflowError:
        return f"timestamp {hlc}"
    text = moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{physical_ms(hlc) % 1000:03d} UTC"
    return f"{text} (+{counter})" if counter else text


def _lines(cause: Cause, field: str) -> Iterable[str]:
    where = cause.register.removeprefix(field) if cause.register != field else ""
    words = [f"{cause.number}.", cause.what]
    if cause.what not in ("created", "deleted", "edited"):
        words.append(f"{where} {_text_of(cause.value)}".strip())
    words.append(f"by {label_of(cause.device_id, cause.device_name)}")
    if cause.timestamp is not None:
        words.append(f"at {time_text(cause.timestamp)}")
    yield " ".join(words)
    if cause.record_ids:
        yield f"   in {', '.join(cause.record_ids)}"
    if cause.note:
        yield f"   {cause.note}"
    if cause.saw:
        yield f"   saw {', '.join(map(str, cause.saw))}"


def _text_of(value: Any) -> str:
    """A value in one order everywhere, cut where it is long."""
    text = "{" + ", ".join(sorted(map(repr, value))) + "}" if isinstance(value, set | frozenset) else repr(value)
    return text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "…"
