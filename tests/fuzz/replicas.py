"""Targets with a whole replica that a peer sends to: signed entries, and documents that the peer folded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from crdt_sync import Replica
from crdt_sync.core.entry import (
    Entry,
    EntryOperation,
    OperationType,
    Run,
    encode_entry,
    encode_run,
    head_hash,
    pack_entries,
    run_statement,
)
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, RecordId, document_key
from crdt_sync.replica.checking import check_store
from crdt_sync.testing.exchange import exchange
from tests.fuzz.reading import seen
from tests.unit.replica.devices import START_MS, Person, Picture, Task, memory, picture, state_of, store_of
from tests.unit.replica.test_hostile_compaction import Scene, later_than, refusals

_TYPES: Final = (OperationType.CREATE, OperationType.UPDATE, OperationType.DELETE)
_ELSEWHERE: Final = RecordId("0190a6b0-0000-7000-8000-000000000000")


@dataclass(slots=True)
class Pair:
    """A replica with two records, and the device that wrote one of them, which signs whatever it is told to.

    Args:
        writer: the device.
        reader: the replica.
        task: the writer's record.
        before: everything that the reader's store holds.
    """

    writer: Replica
    reader: Replica
    task: DocumentKey
    before: Picture

    def signed(self, entry: bytes) -> bytes:
        """A run of one more entry, of any bytes, by the writer."""
        identity = state_of(self.writer).identity
        assert identity is not None
        held = state_of(self.writer).ledger.end_of(DEFAULT_PARTITION, identity.author)
        head = head_hash(held.hash, [entry])
        statement = run_statement(self.writer.port.space, held.sequence + 1, head)
        run = Run(
            partition=DEFAULT_PARTITION,
            author=identity.author,
            first_sequence=held.sequence + 1,
            body=pack_entries([entry]),
            signature=identity.key.sign(statement),
        )
        return encode_run(run)


@cache
def pair() -> Pair:
    """One pair for all inputs that leave it as it is."""
    writer, reader = memory(1), memory(2)
    reader.create(Person, email="a@b.c", name="mine", bio="kept")
    task = writer.create(Task, title="theirs", notes="né", tags=["a"])
    for _ in range(2):
        assert exchange(writer, reader).proven_equal
    return Pair(writer, reader, document_key(DEFAULT_PARTITION, "Task", RecordId(task.id)), picture(reader))


def runs(data: bytes) -> None:
    """An entry that a peer signed: refused, and nothing has changed, or applied, and the store is sound.

    The first byte says what the rest is: an update that creates (0), changes (1) or deletes (2) a record; the update of
    another record (3); an entry as a whole (4).
    """
    here = pair()
    batch = here.reader.port.accept_runs([here.signed(_entry(here, data))])
    if not batch.entries:
        assert batch.outcome.statuses
        assert picture(here.reader) == here.before, "an entry that was not applied changed the store"
        return
    pair.cache_clear()
    report = check_store(store_of(here.reader))
    assert report.ok, report.listed
    seen(here.reader)
    (mine,) = here.reader.find(Person)
    assert (mine.name, str(mine.bio)) == ("mine", "kept"), "somebody else's record was changed"
    here.writer.close()
    here.reader.close()


def _entry(here: Pair, data: bytes) -> bytes:
    kind, update = (data[0] % 5, data[1:]) if len(data) > 1 else (4, data)
    if kind == 4:
        return update or b"\0"
    document = here.task if kind < 3 else document_key(DEFAULT_PARTITION, "Task", _ELSEWHERE)
    operation = EntryOperation(type=_TYPES[kind % 3], document=document, update=update)
    return encode_entry(Entry(hlc=START_MS << 16, operations=(operation,)))


@cache
def scene() -> Scene:
    """One for all inputs that leave it as it is."""
    return Scene()


def bases(data: bytes) -> None:
    """What a peer says a folded document is: refused whole, or a store that is sound."""
    here = scene()
    before = picture(here.here)
    documents = {**here.bases, min(here.bases): data}
    if refusals(here.here, here.received(documents, here.floor, here.key), here.key.public_key):
        assert later_than(before, here.here) == []
        return
    scene.cache_clear()
    report = check_store(store_of(here.here))
    assert report.ok, report.listed
    seen(here.here)
    here.close()


def forget() -> None:
    """Begin anew: an input that broke something may have left anything."""
    pair.cache_clear()
    scene.cache_clear()
