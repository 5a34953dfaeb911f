"""What a document holds, grouped for the field kinds: creations, register values, counters, sets, tombstones.

Everything a user sees of a record is a pure function of this, so any replica with the same document shows the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeVar

from crdt_sync.core import codec
from crdt_sync.core.blocks import Bytes, Deleted, String, Update
from crdt_sync.core.clock import HLC_BYTES
from crdt_sync.core.ids import AUTHOR_MAX, Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import KeyClass, MapKey, parsed_key, text_root
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.varint import read_varint, varint
from crdt_sync.errors import MalformedEntryError

K = TypeVar("K")
V = TypeVar("V")

EditAfterDelete = Literal["edit_wins", "delete_wins", "ask"]
"""What becomes of an edit made at once with a delete."""

CREATION_COUNTER = 0
"""A creation is its author's write number 0 of every register."""
_DEFAULTS: Final = ""
"""In a creation's value, in the place of a field's name: a bit for each name, in sorted order, that nobody gave."""
PLAIN_PAST: Final = Author(AUTHOR_MAX)
"""In a context, with number 0: the write took the place of values of a plain register. No device has this author."""


class Dot(NamedTuple):
    """One write of one register: who, and which of its writes."""

    author: Author
    counter: int


class RegisterValue(NamedTuple):
    """One value in a register.

    Args:
        dot: the write. A plain register names the latest write of an author only, as counter 1.
        hlc: packed timestamp of the write.
        data: value bytes.
        context: the writes it saw, author → highest counter (0 is the creation). Plain registers keep creations only.
        key: its key in the map root, empty for a creation.
        given: False for a default that a creation filled in.
    """

    dot: Dot
    hlc: int
    data: bytes
    context: Mapping[Author, int]
    key: str
    given: bool = True


class Creation(NamedTuple):
    """The value that a creation gave to each register, and the names of those that nobody gave: defaults."""

    author: Author
    hlc: int
    values: Mapping[str, Any]
    defaults: frozenset[str] = frozenset()


class Tombstone(NamedTuple):
    """One deletion.

    Args:
        hlc: packed timestamp of the delete.
        vector: the state vector that it saw, its own block included.
    """

    hlc: int
    vector: Mapping[Author, int]


@dataclass(slots=True)
class Content:
    """A document's content, parsed. Unknown or malformed cells are left out of sight, and stay in the document."""

    creations: list[Creation] = field(default_factory=list)
    plain: dict[str, list[RegisterValue]] = field(default_factory=dict)
    """register → its values; a register is a field, or ``field/name`` for an entry of a map"""
    causal: dict[str, list[RegisterValue]] = field(default_factory=dict)
    lattices: dict[str, list[RegisterValue]] = field(default_factory=dict)
    entries: dict[str, set[str]] = field(default_factory=dict)
    """field → names of the entries that a map has registers for"""
    aliases: dict[Author, bytes] = field(default_factory=dict)
    """author → that author's links to other records (`duplicates`)"""
    counters: dict[str, dict[Author, int]] = field(default_factory=dict)
    sets: dict[str, dict[str, list[tuple[str, bytes]]]] = field(default_factory=dict)
    """field → element text → [(key, value bytes), …], one for each author that added it."""
    lists: dict[str, dict[str, list[tuple[str, bytes]]]] = field(default_factory=dict)
    """field → element id → [(key, bytes), …], one for each author that placed or set it"""
    tombstones: dict[str, Tombstone] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    state_vector: Mapping[int, int] = field(default_factory=dict)
    """author → next clock of what counts as an edit (`DocumentIndex.edited`)"""

    def is_live(self, policy: EditAfterDelete) -> bool:
        """Whether the record is shown (semantics: deleting).

        Args:
            policy: of its model; ``"ask"`` shows what ``"edit_wins"`` shows, until somebody has chosen.
        """
        if not self.tombstones:
            return True
        return policy != "delete_wins" and bool(self.edited_since())

    def deleted_vector(self) -> dict[Author, int]:
        """What the deletions saw together: the join of the vectors of all tombstones."""
        joined: dict[Author, int] = {}
        for tombstone in self.tombstones.values():
            for author, clock in tombstone.vector.items():
                joined[author] = max(clock, joined.get(author, 0))
        return joined

    def edited_since(self) -> dict[Author, int]:
        """Who did something that none of the deletions saw: author → next clock."""
        seen = self.deleted_vector()
        return {
            Author(author): clock for author, clock in self.state_vector.items() if clock > seen.get(Author(author), 0)
        }

    def created(self) -> tuple[int, Author] | None:
        """Timestamp and author of the earliest creation."""
        return min(((item.hlc, item.author) for item in self.creations), default=None)


def parse_content(cells: Mapping[str, bytes], texts: Mapping[str, str], state_vector: Mapping[int, int]) -> Content:
    """Group the cells of a document.

    Args:
        cells: the live items of the map root.
        texts: field → text, for the text roots of interest.
        state_vector: author → next clock of the document.
    """
    content = Content(texts=texts, state_vector=state_vector)
    for key, data in cells.items():
        try:
            _take_cell(content, key, data)
        except MalformedEntryError:
            continue  # not of this version's grammar: kept in the document, shown by whoever understands it
    return content


def plain_content(
    state: Update, index: DocumentIndex, text_fields: Sequence[str]
) -> tuple[dict[str, bytes], dict[str, str]] | None:
    """Read cells and texts without the engine; None where a text is more than the one piece that was inserted.

    Args:
        state: the whole document as one update.
        index: of the same document; it knows the keys of values that replaced others, which an update leaves out.
        text_fields: the fields whose texts are wanted.
    """
    cells: dict[str, bytes] = {}
    texts: dict[str, str] = {}
    for author, clock, length, origin, right, root, _, content in state.blocks:
        if type(content) is Bytes:
            key = index.tips.get((author, clock))
            if key is not None and not (state.deletes and index.is_deleted(author, clock)):
                cells[key] = content.value
        elif type(content) is Deleted or not text_fields:
            continue
        elif type(content) is String and root is not None and root not in texts and origin is None and right is None:
            if state.deletes and any(index.is_deleted(author, clock + unit) for unit in range(length)):
                return None
            texts[root] = content.text
        else:
            return None
    return cells, {field: texts.get(text_root(field), "") for field in text_fields}


def edited_content(content: Content, cells: Mapping[str, bytes | None], state_vector: Mapping[int, int]) -> Content:
    """The content after a change of some cells, as `parse_content` would give it; the one before stays as it was.

    Args:
        content: what was there.
        cells: key → its new value, or None where it is removed.
        state_vector: author → next clock of the document, after the change.
    """
    edited = Content(
        creations=content.creations,
        plain=content.plain,
        causal=content.causal,
        lattices=content.lattices,
        entries=content.entries,
        aliases=content.aliases,
        counters=content.counters,
        sets=content.sets,
        lists=content.lists,
        tombstones=content.tombstones,
        texts=content.texts,
        state_vector=state_vector,
    )
    for key, data in cells.items():
        try:
            _drop_cell(edited, key)
            if data is not None:
                _take_cell(edited, key, data)
        except MalformedEntryError:
            continue  # as in `parse_content`
    return edited


def _drop_cell(content: Content, key: str) -> None:
    """Take a cell out, if it is there; the groups that it is in become copies, so that it can be put in again."""
    parsed = parsed_key(key)
    field, register = parsed.field, parsed.register
    match parsed.key_class:
        case KeyClass.CREATION:
            content.creations = [item for item in content.creations if item.author != parsed.author]
        case KeyClass.PLAIN:
            content.plain = _without_value(content.plain, register, key)
            _drop_entry(content, parsed)
        case KeyClass.CAUSAL:
            content.causal = _without_value(content.causal, register, key)
            _drop_entry(content, parsed)
        case KeyClass.LATTICE:
            content.lattices = _without_value(content.lattices, field, key)
        case KeyClass.ALIAS:
            content.aliases = _without(content.aliases, parsed.author)
        case KeyClass.COUNTER:
            totals = content.counters.get(field, {})
            content.counters = _with(content.counters, field, _without(totals, parsed.author))
        case KeyClass.SET:
            content.sets = _without_element(content.sets, parsed, key)
        case KeyClass.LIST:
            content.lists = _without_element(content.lists, parsed, key)
        case KeyClass.TOMBSTONE:
            content.tombstones = _without(content.tombstones, key)
        case KeyClass.TOUCH:
            pass


def _without_value(registers: Mapping[str, list[RegisterValue]], name: str, key: str) -> dict[str, list[RegisterValue]]:
    return _with(registers, name, [item for item in registers.get(name, ()) if item.key != key])


def _drop_entry(content: Content, parsed: MapKey) -> None:
    """Forget an entry of a map that has no value any more."""
    if parsed.entry is not None:
        names = set(content.entries.get(parsed.field, ()))
        if parsed.register not in content.plain and parsed.register not in content.causal:
            names.discard(parsed.entry)
        content.entries = _with(content.entries, parsed.field, names)


def _without_element(
    fields: Mapping[str, dict[str, list[tuple[str, bytes]]]], parsed: MapKey, key: str
) -> dict[str, dict[str, list[tuple[str, bytes]]]]:
    elements = fields.get(parsed.field, {})
    kept = [item for item in elements.get(parsed.rest, ()) if item[0] != key]
    return _with(fields, parsed.field, _with(elements, parsed.rest, kept))


def _with(groups: Mapping[K, V], name: K, group: V) -> dict[K, V]:
    """A copy in which one group is another one; it is left out where that is empty."""
    copy = {**groups, name: group}
    if not group:
        del copy[name]
    return copy


def _without(items: Mapping[K, V], name: K) -> dict[K, V]:
    return {key: value for key, value in items.items() if key != name}


def _take_cell(content: Content, key: str, data: bytes) -> None:
    parsed = parsed_key(key)
    match parsed.key_class:
        case KeyClass.CREATION:
            content.creations.append(read_creation(parsed.author, data))
        case KeyClass.PLAIN | KeyClass.CAUSAL | KeyClass.LATTICE:
            _take_register(content, parsed, key, data)
        case KeyClass.COUNTER:
            total = codec.decode(data)
            if type(total) is int:
                content.counters.setdefault(parsed.field, {})[parsed.author] = total
        case KeyClass.SET:
            content.sets.setdefault(parsed.field, {}).setdefault(parsed.rest, []).append((key, data))
        case KeyClass.LIST:
            content.lists.setdefault(parsed.field, {}).setdefault(parsed.rest, []).append((key, data))
        case KeyClass.ALIAS:
            content.aliases[parsed.author] = data
        case KeyClass.TOMBSTONE:
            content.tombstones[key] = read_tombstone(data)
        case KeyClass.TOUCH:
            pass


def _take_register(content: Content, parsed: MapKey, key: str, data: bytes) -> None:
    hlc, context, value = _read_decodable(data)
    counter = int(parsed.rest) if parsed.key_class is KeyClass.CAUSAL else 1
    if parsed.key_class is KeyClass.PLAIN:
        held = content.plain
    else:
        held = content.causal if parsed.key_class is KeyClass.CAUSAL else content.lattices
    held.setdefault(parsed.register, []).append(RegisterValue(Dot(parsed.author, counter), hlc, value, context, key))
    if parsed.entry is not None:
        content.entries.setdefault(parsed.field, set()).add(parsed.entry)


def _read_decodable(data: bytes) -> tuple[int, dict[Author, int], bytes]:
    """A register value whose value bytes are known to decode: no replica shows what none can read."""
    register = read_register(data)
    codec.decode(register[2])
    return register


def write_creation(hlc: int, values: Mapping[str, Any], *, defaults: Collection[str] = ()) -> bytes:
    """The bytes of a creation: timestamp, then all registers as one value, and a bit for each that is a default."""
    bits = sum(1 << at for at, name in enumerate(sorted(values)) if name in defaults) if defaults else 0
    fields = {**values, _DEFAULTS: bits} if bits else dict(values)
    return hlc.to_bytes(HLC_BYTES, "big") + codec.encode_map(fields)


def read_creation(author: Author, data: bytes) -> Creation:
    """Read the bytes of a creation.

    Raises:
        MalformedEntryError: bytes that `write_creation` would not make.
    """
    if len(data) < HLC_BYTES:
        raise MalformedEntryError("a creation without a timestamp")
    values = codec.decode_map(data[HLC_BYTES:])
    if type(bits := values.pop(_DEFAULTS, 0)) is not int:
        raise MalformedEntryError("a creation with other defaults than a number of bits")
    defaults = [name for at, name in enumerate(sorted(values)) if bits >> at & 1] if bits else ()
    return Creation(author, int.from_bytes(data[:HLC_BYTES], "big"), values, frozenset(defaults))


def write_register(hlc: int, context: Mapping[Author, int], value: bytes) -> bytes:
    """The bytes of a register value: timestamp, causal context, value bytes."""
    return hlc.to_bytes(HLC_BYTES, "big") + write_context(context) + value


def read_register(data: bytes) -> tuple[int, dict[Author, int], bytes]:
    """Split the bytes of a register value into timestamp, causal context and value bytes.

    Raises:
        MalformedEntryError: bytes that `write_register` would not make.
    """
    if len(data) <= HLC_BYTES:
        raise MalformedEntryError("a register value without a timestamp")
    context, position = read_context(data, HLC_BYTES)
    return int.from_bytes(data[:HLC_BYTES], "big"), context, data[position:]


def write_tombstone(tombstone: Tombstone) -> bytes:
    """The bytes of a tombstone: timestamp, then the vector."""
    return tombstone.hlc.to_bytes(HLC_BYTES, "big") + write_context(tombstone.vector)


def read_tombstone(data: bytes) -> Tombstone:
    """Read the bytes of a tombstone.

    Raises:
        MalformedEntryError: bytes that `write_tombstone` would not make.
    """
    if len(data) <= HLC_BYTES:
        raise MalformedEntryError("a tombstone without a timestamp")
    vector, _ = read_context(data, HLC_BYTES)
    return Tombstone(int.from_bytes(data[:HLC_BYTES], "big"), vector)


def write_context(context: Mapping[Author, int]) -> bytes:
    """Encode author → counter, sorted: a count, then varints."""
    out = bytearray(varint(len(context)))
    for author in sorted(context):
        out += varint(author)
        out += varint(context[author])
    return bytes(out)


def read_context(data: bytes, position: int) -> tuple[dict[Author, int], int]:
    """Decode author → counter at ``position``; also returns where it ends.

    Raises:
        MalformedEntryError: truncated, out of range, or more authors than the space allows.
    """
    count, position = read_varint(data, position)
    if count > ENTRY_LIMITS.authors_max:
        raise MalformedEntryError("a causal context with more authors than the space allows")
    context: dict[Author, int] = {}
    for _ in range(count):
        author, position = read_varint(data, position)
        counter, position = read_varint(data, position)
        if not 1 <= author <= AUTHOR_MAX or Author(author) in context:
            raise MalformedEntryError("a causal context with an author out of range")
        context[Author(author)] = counter
    return context, position
