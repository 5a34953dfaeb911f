"""Workload `document`: reading a record and applying a remote update, without a store, beside the bare engine.

It also weighs what a plain register adds to an entry of the engine, in an update and in the encoded document, and what
creating all fields as one value saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pycrdt

from benchmarks.harness import FLOOR, Column, Measurement, Settings, Stopwatch, Workload
from benchmarks.records import Generator, Task, Values, contents, digest
from crdt_sync.core import codec
from crdt_sync.core.content import write_creation
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DEFAULT_PARTITION, Author, RecordId, document_key
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.kinds import PlainRegister, WriteContext
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.screening import screen
from crdt_sync.core.update import map_insert_update
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.schema import Schema

CREATOR, EDITOR = Author(2**34 + 1), Author(2**34 + 2)
"""Who creates the records, and who changes them elsewhere; they take as many bytes as any author."""
CREATORS: Final = {1: "1 creator", 2: "2 creators at once", 5: "5 creators at once"}
"""How many devices create a record with a natural key before they meet: a register names each creation that it saw."""
WEIGHED_RECORDS: Final = 200
HLC: Final = (1_900_000_000_000 << 16) + 1
KEY: Final = document_key(DEFAULT_PARTITION, "Task", RecordId("00000000-0000-7000-8000-000000000000"))
DECLARED: Final = Schema([Task]).of(Task)
EngineDoc = pycrdt.Doc[Any]


class Ours:
    """A document as a replica holds it: screened, indexed, merged by field kind, read as the declared types."""

    def __init__(self, records: Sequence[Values], titles: Sequence[str]) -> None:
        self.updates: list[bytes] = []
        self._rows: list[tuple[bytes, bytes]] = []
        for values, title in zip(records, titles, strict=True):
            loaded = Loaded(KEY, author=EDITOR)
            update = one_value(values)
            loaded.add(update, screen(update, author=CREATOR, index=loaded.index, operation=OperationType.CREATE))
            row = loaded.row(position=1)
            self._rows.append((row.state, loaded.index.to_bytes()))
            writes = DECLARED.spec.fields["title"].assign(
                loaded.content(()), title, context=WriteContext(author=EDITOR, hlc=HLC + 1)
            )
            self.updates.append(loaded.edit(writes, operation=OperationType.UPDATE))
        self._loaded: list[Loaded] = []

    def load(self) -> list[dict[str, Any]]:
        """Load every record, and read it."""
        self._loaded = [
            Loaded(KEY, author=EDITOR, snapshot=state, index=DocumentIndex.from_bytes(index), position=1)
            for state, index in self._rows
        ]
        return self.read()

    def read(self) -> list[dict[str, Any]]:
        """Read every record."""
        return [DECLARED.values(loaded.content(())) for loaded in self._loaded]

    def apply(self) -> list[dict[str, Any]]:
        """Apply an update of another device to every record, and read it."""
        for loaded, update in zip(self._loaded, self.updates, strict=True):
            loaded.add(update, screen(update, author=EDITOR, index=loaded.index, operation=OperationType.UPDATE))
        return self.read()

    def encode(self) -> list[bytes]:
        """The state of every record."""
        return [loaded.encode() for loaded in self._loaded]


class Bare:
    """A document of the engine with an entry a field, in our value bytes: the engine's own lose types."""

    def __init__(self, records: Sequence[Values], titles: Sequence[str]) -> None:
        self._states = [entry_a_field(values) for values in records]
        self.updates: list[bytes] = []
        for state, title in zip(self._states, titles, strict=True):
            document = self._document(state)
            seen = document.get_state()
            document.get("m", type=pycrdt.Map)["title"] = codec.encode(title)
            self.updates.append(document.get_update(seen))
        self._loaded: list[EngineDoc] = []

    def load(self) -> list[dict[str, Any]]:
        """Load every record, and read it."""
        self._loaded = [self._document(state) for state in self._states]
        return self.read()

    def read(self) -> list[dict[str, Any]]:
        """Read every record."""
        return [
            {name: codec.decode(bytes(data)) for name, data in document.get("m", type=pycrdt.Map).to_py().items()}
            for document in self._loaded
        ]

    def apply(self) -> list[dict[str, Any]]:
        """Apply an update of another device to every record, and read it."""
        for document, update in zip(self._loaded, self.updates, strict=True):
            document.apply_update(update)
        return self.read()

    def encode(self) -> list[bytes]:
        """The state of every record."""
        return [document.get_update() for document in self._loaded]

    @staticmethod
    def _document(state: bytes) -> EngineDoc:
        document: EngineDoc = pycrdt.Doc(client_id=EDITOR)
        document.apply_update(state)
        return document


def one_value(values: Values, author: Author = CREATOR) -> bytes:
    """A creation as ours: all fields as one value."""
    key = map_key(KeyClass.CREATION, author)
    return map_insert_update(author, items=[(key, write_creation(HLC, values.given()))], texts=())


def entry_a_field(values: Values) -> bytes:
    """A creation as the bare engine's: an entry a field."""
    document: EngineDoc = pycrdt.Doc(client_id=CREATOR)
    fields: pycrdt.Map[Any] = document.get("m", type=pycrdt.Map)
    with document.transaction():
        for name, value in values.given().items():
            fields[name] = codec.encode(value)
    return document.get_update()


def register_in_ours(values: Values, *, creators: int) -> float:
    """Bytes that a plain register takes in the encoded document of a record, beyond the field's name and value bytes.

    Args:
        values: written to all fields, by somebody who created nothing.
        creators: how many devices created the record at once.
    """
    loaded = Loaded(KEY, author=EDITOR)
    for number in range(creators):
        author = Author(EDITOR + 1 + number)
        update = one_value(values, author)
        loaded.add(update, screen(update, author=author, index=loaded.index, operation=OperationType.CREATE))
    before, content = len(loaded.encode()), loaded.content(())
    context = WriteContext(author=EDITOR, hlc=HLC + 1)
    kinds = [kind for kind in DECLARED.spec.fields.values() if isinstance(kind, PlainRegister)]
    given = values.given()
    writes = [item for kind in kinds for item in kind.put(content, codec.encode(given[kind.name]), context=context)]
    loaded.edit(writes, operation=OperationType.UPDATE)
    return (len(loaded.encode()) - before - _own_bytes(values)) / len(given)


def entry_in_engine(values: Values) -> float:
    """The same of an entry of the engine's own map."""
    document: EngineDoc = pycrdt.Doc(client_id=EDITOR)
    fields: pycrdt.Map[Any] = document.get("m", type=pycrdt.Map)
    document.apply_update(map_insert_update(CREATOR, items=[("created", b"")], texts=()))
    before, given = len(document.get_update()), values.given()
    for name, value in given.items():
        fields[name] = codec.encode(value)
    return (len(document.get_update()) - before - _own_bytes(values)) / len(given)


def _own_bytes(values: Values) -> int:
    return sum(len(name) + len(codec.encode(value)) for name, value in values.given().items())


def _weigh(contestant: str, settings: Settings) -> Iterator[Measurement]:
    records = Generator(settings.seed).records(min(settings.records, WEIGHED_RECORDS))
    entry = sum(map(entry_in_engine, records)) / len(records)
    for creators, name in CREATORS.items():
        figures = {"bytes": entry}
        if contestant != FLOOR:
            register = sum(register_in_ours(values, creators=creators) for values in records) / len(records)
            figures = {"bytes": register, "metadata": register - entry}
        yield Measurement(row=f"a register, {name}", figures=figures)


def _measure(make: Callable[..., Ours | Bare], create: Callable[[Values], bytes], settings: Settings) -> Iterator[Any]:
    generator = Generator(settings.seed)
    records, titles = generator.records(settings.records), generator.titles(settings.records)
    with Stopwatch() as watch:
        weight = sum(len(create(values)) for values in records)
    yield _row("create its bytes", watch, settings, weight=weight)
    contestant = make(records, titles)
    changed = [values._replace(title=title) for values, title in zip(records, titles, strict=True)]
    steps: tuple[tuple[str, Callable[[], list[dict[str, Any]]], list[Values]], ...] = (
        ("load and read it", contestant.load, records),
        ("read it, loaded", contestant.read, records),
        ("apply an update, and read it", contestant.apply, changed),
    )
    for name, work, expected in steps:
        with Stopwatch() as watch:
            found = work()
        if digest(contents(found)) != digest(expected):
            raise RuntimeError(f"{name}: other records than were written")
        weight = sum(map(len, contestant.updates)) if work == contestant.apply else 0
        yield _row(name, watch, settings, weight=weight)
    with Stopwatch() as watch:
        weight = sum(map(len, contestant.encode()))
    yield _row("encode it afterwards", watch, settings, weight=weight)


def _row(name: str, watch: Stopwatch, settings: Settings, *, weight: int) -> Measurement:
    figures = {"cpu_us": watch.cpu_s / settings.records * 1e6, "bytes": weight / settings.records}
    return Measurement(row=name, figures=figures)


NOTE_REGISTER: Final = (
    "a register: what it takes in the encoded document beyond the field's name and value bytes, beside an entry of the "
    "engine's own map; metadata is the difference: a timestamp, who wrote it, and the creations that it saw. Records "
    "have one creator, but for natural keys that several devices use at once."
)
NOTE_OURS: Final = (
    "Ours screens what it applies, keeps what screening must know, finds which concurrent value shows, and gives "
    "values as their declared types."
)
NOTE_BYTES: Final = (
    "The updates differ by the causal metadata of a plain register: its timestamp, what it saw, and who wrote it. The "
    "documents afterwards differ by that and by the old title, which stays in the creation's one value."
)

DOCUMENT = Workload(
    name="document",
    title="One record, without a store: microseconds and bytes",
    contestants={
        FLOOR: lambda settings, _: [*_measure(Bare, entry_a_field, settings), *_weigh(FLOOR, settings)],
        "crdt_sync": lambda settings, _: [*_measure(Ours, one_value, settings), *_weigh("crdt_sync", settings)],
    },
    columns=(
        Column(figure="cpu_us", title="CPU µs", has_ratio=True),
        Column(figure="bytes", title="bytes", has_ratio=True),
        Column(figure="metadata", title="metadata B"),
    ),
    notes=(
        "floor: a pycrdt document with an entry a field, our value bytes in it; no screening, no index, no candidates.",
        NOTE_OURS,
        NOTE_BYTES,
        NOTE_REGISTER,
    ),
)
