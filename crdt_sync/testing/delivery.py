"""Newcomers: replicas in memory that get what others hold, in any order and grouping, past all sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

from crdt_sync.core.entry import Run, decode_run, encode_run, split_entries
from crdt_sync.core.ids import DEFAULT_PARTITION
from crdt_sync.core.model import Model
from crdt_sync.protocol.source import EntryStatus
from crdt_sync.replica import Replica, Sources

NEWCOMER_MS = 1_900_000_000_000
"""What a newcomer's clock says."""


def newcomer(models: Sequence[type[Model]], *sources: Replica) -> Replica:
    """An empty replica in memory that knows the devices which the others know; its clock stands still.

    Args:
        models: of its app.
        sources: whose devices it is to know.
    """
    drawn = iter(range(1, 1 << 30))
    replica = Replica.open(
        ":memory:",
        list(models),
        sources=Sources(now_ms=lambda: NEWCOMER_MS, entropy=lambda count: next(drawn).to_bytes(count, "big")),
    )
    for source in sources:
        introduce(replica, source)
    return replica


def introduce(replica: Replica, source: Replica) -> None:
    """Let a replica know the devices which another one knows."""
    after = 0
    while True:
        records, after = source.port.space_records(after)
        if not records:
            return
        replica.port.accept_records(records)


def runs_of(replica: Replica) -> list[bytes]:
    """The log of a replica, one's own entries each by itself, in applied order."""
    runs: list[bytes] = []
    cursor = 0
    while True:
        page = replica.port.runs_after(cursor, {}, bytes_max=1)
        runs.extend(run for run, *_ in page.runs)
        if page.cursor == cursor:
            return runs
        cursor = page.cursor


def deliver(replica: Replica, runs: Iterable[bytes]) -> None:
    """Hand runs in, each by itself, in the given order."""
    for run in runs:
        replica.port.accept_runs([run])


def deliver_shuffled(replica: Replica, runs: Sequence[bytes], random: Random) -> None:
    """Hand runs in until all are applied: in any order, some twice, regrouped, in batches of any size.

    What comes before its cause is parked and handed in again.

    Raises:
        AssertionError: a round brought nothing.
    """
    waiting = [*regrouped(runs, random), *(run for run in runs if random.random() < 0.3)]
    while waiting:
        random.shuffle(waiting)
        before = replica.port.vector()
        statuses: list[EntryStatus] = []
        for batch in _cut(waiting, random):
            statuses.extend(replica.port.accept_runs(batch).outcome.statuses)
        if not statuses:
            return
        assert replica.port.vector() != before, f"what does not get any further: {statuses}"


def regrouped(runs: Sequence[bytes], random: Random) -> list[bytes]:
    """The same entries in other runs: neighbours of one author become one, under the last one's signature."""
    grouped: list[Run] = []
    for run in map(decode_run, runs):
        last = next((item for item in reversed(grouped) if item.author == run.author), None)
        follows = last is not None and last.first_sequence + len(split_entries(last.body)) == run.first_sequence
        if last is not None and follows and random.random() < 0.4:
            grouped.remove(last)
            joined = replace(run, first_sequence=last.first_sequence, body=last.body + run.body)
            grouped.append(joined)
        else:
            grouped.append(run)
    return [encode_run(run) for run in grouped]


def deliver_content(replica: Replica, source: Replica) -> None:
    """Hand over documents instead of entries, each cut by what is held already."""
    documents = []
    for key, _ in source.port.listing(DEFAULT_PARTITION, after=None, limit=10_000):
        update = source.port.content(key, replica.port.state_vector(key))
        if update is not None:
            documents.append((key, update))
    outcome = replica.port.accept_documents(DEFAULT_PARTITION, documents).outcome
    assert not outcome.statuses, outcome


def _cut(items: Sequence[bytes], random: Random) -> Iterable[Sequence[bytes]]:
    start = 0
    while start < len(items):
        end = start + random.randint(1, 6)
        yield items[start:end]
        start = end
