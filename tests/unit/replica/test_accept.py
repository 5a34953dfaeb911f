"""What a replica takes in, parks and refuses of what others signed: each check by itself, on runs made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from crdt_sync import Replica
from crdt_sync.core.entry import (
    Entry,
    Run,
    decode_entry,
    decode_run,
    encode_entry,
    encode_run,
    genesis_hash,
    head_hash,
    pack_entries,
    run_statement,
    split_entries,
)
from crdt_sync.core.ids import DEFAULT_PARTITION, document_key, split_document_key
from crdt_sync.core.records import decode_record, encode_record
from crdt_sync.errors import SignatureError
from crdt_sync.protocol.source import StatusKind
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.lease import Identity
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, Task, memory, state_of

YEAR_MS = 365 * 86_400_000


@pytest.fixture
def writer() -> Iterator[Replica]:
    with memory(1) as replica:
        yield replica


@pytest.fixture
def reader() -> Iterator[Replica]:
    with memory(2) as replica:
        yield replica


def identity_of(replica: Replica) -> Identity:
    identity = state_of(replica).identity
    assert identity is not None
    return identity


def records_of(replica: Replica) -> tuple[bytes, ...]:
    return replica.port.space_records(0)[0]


def runs_of(replica: Replica) -> list[bytes]:
    """Each entry of the log as a run."""
    return [run for run, *_ in replica.port.runs_after(0, {}, bytes_max=1_000_000).runs]


def entries_of(replica: Replica) -> list[Entry]:
    own = [decode_run(run) for run in runs_of(replica)]
    mine = [run for run in own if run.author == identity_of(replica).author]
    return [decode_entry(data) for run in mine for data in split_entries(run.body)]


def signed(replica: Replica, entries: Sequence[bytes]) -> bytes:
    """Entries of a replica's author, from the first one on, as a run under its key."""
    identity = identity_of(replica)
    head = head_hash(genesis_hash(DEFAULT_PARTITION, identity.author), entries)
    signature = identity.key.sign(run_statement(replica.port.space, len(entries), head))
    run = Run(
        partition=DEFAULT_PARTITION,
        author=identity.author,
        first_sequence=1,
        body=pack_entries(entries),
        signature=signature,
    )
    return encode_run(run)


def told(batch: Batch) -> list[tuple[StatusKind, int, str, bool]]:
    return [(item.kind, item.sequence, item.code, item.retry) for item in batch.outcome.statuses]


def length(reader: Replica, writer: Replica) -> int:
    """How many entries of the writer the reader has applied."""
    position = reader.port.vector().get(DEFAULT_PARTITION, {}).get(identity_of(writer).author)
    return 0 if position is None else position.sequence


def test_an_author_that_no_record_binds_waits_for_one(writer: Replica, reader: Replica) -> None:
    writer.create(Task, title="a")
    assert told(reader.port.accept_runs(runs_of(writer))) == [(StatusKind.PARKED, 1, "unknown_author", True)]
    reader.port.accept_records(records_of(writer))
    assert told(reader.port.accept_runs(runs_of(writer))) == []
    assert length(reader, writer) == state_of(reader).totals.foreign_entries == 1
    assert state_of(reader).totals.parked == 1


def test_an_entry_whose_cause_is_not_here_waits_for_it(writer: Replica, reader: Replica) -> None:
    with memory(3) as later:
        writer.create(Task, title="cause")
        exchange(writer, later)
        later.create(Task, title="effect, of another record")
        cause, effect = runs_of(later)
        reader.port.accept_records(records_of(later))
        assert told(reader.port.accept_runs([effect])) == [(StatusKind.PARKED, 1, "missing_cause", True)]
        assert length(reader, later) == 0
        assert told(reader.port.accept_runs([cause, effect])) == []
        assert length(reader, later) == 1


def test_an_entry_waits_for_those_before_it_which_a_peer_may_have_folded_while_it_sent(
    writer: Replica, reader: Replica
) -> None:
    for title in ("a", "b"):
        writer.create(Task, title=title)
    (both,) = runs_of(writer)
    run = decode_run(both)
    second = replace(run, first_sequence=2, body=pack_entries(split_entries(run.body)[1:]))
    reader.port.accept_records(records_of(writer))
    assert told(reader.port.accept_runs([encode_run(second)])) == [(StatusKind.PARKED, 2, "missing_cause", True)]
    assert told(reader.port.accept_runs([both])) == []
    assert length(reader, writer) == 2


def test_an_update_that_rests_on_what_is_not_here_waits_though_no_head_names_it(
    writer: Replica, reader: Replica
) -> None:
    with memory(3) as later:
        task = writer.create(Task, notes="a text")
        exchange(writer, later)
        later.get(Task, task.id).notes.append(" and more")
        (entry,) = entries_of(later)
        reader.port.accept_records(records_of(later))
        batch = reader.port.accept_runs([signed(later, [encode_entry(replace(entry, heads=()))])])
        assert [(item.kind, item.retry) for item in batch.outcome.statuses] == [(StatusKind.PARKED, True)]
        assert state_of(reader).totals.parked == 1
        assert length(reader, later) == 0


def test_an_entry_that_names_a_record_that_is_not_here_waits_for_it(writer: Replica, reader: Replica) -> None:
    exchange(writer, reader)
    with memory(3) as third:
        exchange(writer, third)
        writer.create(Task, title="a")
        (entry,) = entries_of(writer)
        assert entry.records, "it names what was new"
        assert told(reader.port.accept_runs(runs_of(writer))) == [(StatusKind.PARKED, 1, "unknown_record", True)]
        reader.port.accept_records(records_of(writer))
        assert told(reader.port.accept_runs(runs_of(writer))) == []


def test_another_entry_at_a_place_that_is_taken_is_a_fork(writer: Replica, reader: Replica) -> None:
    writer.create(Task, title="one branch")
    with memory(1) as clone:
        clone.create(Task, title="another branch")
        reader.port.accept_records(records_of(writer))
        reader.port.accept_runs(runs_of(writer))
        batch = reader.port.accept_runs(runs_of(clone))
        assert told(batch) == [(StatusKind.PARKED, 1, "forked", False)]
        assert [run.signature for run in batch.forked_runs] == [decode_run(run).signature for run in runs_of(clone)]
        assert [task.title for task in reader.find(Task)] == ["one branch"]


def test_an_entry_that_saw_another_branch_than_ours_is_not_taken(writer: Replica, reader: Replica) -> None:
    writer.create(Task, title="one branch")
    with memory(1) as clone, memory(3) as later:
        clone.create(Task, title="another branch")
        exchange(clone, later)
        later.create(Task, title="saw the other")
        reader.port.accept_records([*records_of(writer), *records_of(later)])
        reader.port.accept_runs(runs_of(writer))
        effect = runs_of(later)[-1]
        assert told(reader.port.accept_runs([effect])) == [(StatusKind.PARKED, 1, "forked", True)]
        assert length(reader, later) == 0


def test_what_is_applied_ends_at_the_first_entry_that_is_refused(writer: Replica, reader: Replica) -> None:
    for title in ("first", "second", "third"):
        writer.create(Task, title=title)
    first, _, third = map(encode_entry, entries_of(writer))
    reader.port.accept_records(records_of(writer))
    batch = reader.port.accept_runs([signed(writer, [first, b"no entry", third])])
    assert [(item.kind, item.sequence, item.retry) for item in batch.outcome.statuses] == [
        (StatusKind.REFUSED, 2, False)
    ]
    assert batch.entries == length(reader, writer) == 1
    assert [task.title for task in reader.find(Task)] == ["first"]
    assert state_of(reader).totals.refused == 1


def test_an_operation_of_another_partition_is_refused(writer: Replica, reader: Replica) -> None:
    writer.create(Task, title="a")
    (entry,) = entries_of(writer)
    (operation,) = entry.operations
    _, model, record = split_document_key(operation.document)
    moved = replace(entry, operations=(replace(operation, document=document_key("elsewhere", model, record)),))
    reader.port.accept_records(records_of(writer))
    batch = reader.port.accept_runs([signed(writer, [encode_entry(moved)])])
    assert [item.kind for item in batch.outcome.statuses] == [StatusKind.REFUSED]
    assert length(reader, writer) == 0
    assert reader.find(Task) == []


def test_a_run_under_another_key_is_refused(writer: Replica, reader: Replica) -> None:
    writer.create(Task, title="a")
    (run,) = map(decode_run, runs_of(writer))
    reader.port.accept_records(records_of(writer))
    batch = reader.port.accept_runs([encode_run(replace(run, signature=bytes(64)))])
    assert [item.kind for item in batch.outcome.statuses] == [StatusKind.REFUSED]
    assert length(reader, writer) == 0


def test_records_of_another_space_or_under_another_key_are_refused_with_all_that_came_with_them(
    writer: Replica, reader: Replica
) -> None:
    good = records_of(writer)[0]
    record = decode_record(good)
    moved = replace(record, space=bytes(32))
    elsewhere = replace(moved, signature=identity_of(writer).key.sign(moved.statement()))
    held = len(state_of(reader).records)
    for bad in (elsewhere, replace(record, signature=bytes(64))):
        with pytest.raises(SignatureError):
            reader.port.accept_records([good, encode_record(bad)])
        assert len(state_of(reader).records) == held
    reader.port.accept_records([good])
    assert len(state_of(reader).records) == held + 1


def test_the_next_entry_here_names_what_was_taken_in(writer: Replica, reader: Replica) -> None:
    writer.create(Task, title="a")
    exchange(writer, reader)
    reader.create(Task, title="b")
    (entry,) = entries_of(reader)
    assert [(head.author, head.sequence) for head in entry.heads] == [(identity_of(writer).author, 1)]


def test_an_entry_from_the_future_is_merged_counted_and_not_followed(reader: Replica) -> None:
    with memory(dice=Dice(1, now_ms=START_MS + YEAR_MS)) as ahead:
        ahead.create(Task, title="from next year")
        exchange(ahead, reader)
    assert [task.title for task in reader.find(Task)] == ["from next year"]
    assert state_of(reader).totals.drifted == 1
    reader.create(Task, title="from today")
    assert state_of(reader).clock.last >> 16 < START_MS + YEAR_MS


def test_what_one_batch_did_to_a_record_is_told_as_one_change(writer: Replica, reader: Replica) -> None:
    task = writer.create(Task)
    exchange(writer, reader)
    task.title, task.size = "a", 3
    batch = reader.port.accept_runs(runs_of(writer))
    assert [(change.type, change.fields) for change in batch.changes] == [("update", frozenset({"title", "size"}))]
