"""Nothing of one's own is sent, and nothing acknowledged, before it is durable: tried by cutting the power."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from crdt_sync import Change, Replica
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, RecordId, document_key
from crdt_sync.errors import StoreError
from crdt_sync.replica.port import Port
from crdt_sync.storage.base import Durability
from crdt_sync.testing.disks import Disk, Fault, Loss
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, Person, Task, memory

DAY_MS = 86_400_000


def opened(place: Path, *, durability: Durability, day: int = 0) -> Replica:
    dice = Dice(day, now_ms=START_MS + DAY_MS * day)
    return Replica.open(
        place / "a.db", [Task, Person], durability=durability, state_dir=place / "state", sources=dice.sources
    )


def titles(replica: Replica) -> set[str]:
    return {task.title for task in replica.find(Task)}


def lose_power(disk: Disk, replica: Replica, *, loss: Loss = Loss.UNSYNCED) -> int:
    """Everything ends here; how much was at risk."""
    at_risk = disk.unsynced()
    disk.fail(Fault.POWER)
    with suppress(StoreError):
        replica.close()
    disk.power_on(loss=loss)
    return at_risk


def records_of(replica: Replica) -> set[bytes]:
    found, cursor = set[bytes](), 0
    while True:
        page, cursor = replica.port.space_records(cursor)
        if not page:
            return found
        found |= set(page)


@pytest.mark.parametrize(("durability", "kept"), [("full", {"sent", "not sent"}), ("normal", {"sent"})])
def test_with_normal_durability_only_what_was_not_sent_may_go(
    tmp_path: Path, durability: Durability, kept: set[str]
) -> None:
    with Disk() as disk, memory(7) as hub:
        replica = opened(tmp_path, durability=durability)
        replica.create(Task, title="sent")
        exchange(replica, hub)
        replica.create(Task, title="not sent")
        assert bool(lose_power(disk, replica)) == (durability == "normal")
        with opened(tmp_path, durability=durability, day=1) as again:
            assert titles(again) == kept
            again.create(Task, title="goes on")
            assert exchange(again, hub).proven_equal
            assert titles(hub) == kept | {"goes on"}


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_killed_process_loses_nothing_that_returned(tmp_path: Path, durability: Durability) -> None:
    with Disk() as disk:
        replica = opened(tmp_path, durability=durability)
        replica.create(Task, title="a")
        lose_power(disk, replica, loss=Loss.NOTHING)
        with opened(tmp_path, durability=durability, day=1) as again:
            assert titles(again) == {"a"}


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_what_was_received_is_durable_before_it_is_acknowledged(tmp_path: Path, durability: Durability) -> None:
    with Disk() as disk, memory(7) as hub:
        replica = opened(tmp_path, durability=durability)
        for number in range(3):
            hub.create(Task, title=str(number))
            exchange(replica, hub)
        assert hub.pending_count() == 0
        lose_power(disk, replica)
        with opened(tmp_path, durability=durability, day=1) as again:
            assert titles(again) == {"0", "1", "2"}


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_what_was_received_is_durable_before_it_is_shown(tmp_path: Path, durability: Durability) -> None:
    with Disk() as disk, memory(7) as hub:
        replica = opened(tmp_path, durability=durability)
        exchange(replica, hub)
        shown: list[str] = []

        def show(change: Change) -> None:
            shown.append(change.type)
            disk.fail(Fault.POWER)

        replica.observe(show, model=Task)
        hub.create(Task, title="shown")
        with suppress(StoreError):
            exchange(replica, hub)
        assert shown
        lose_power(disk, replica)
        with opened(tmp_path, durability=durability, day=1) as again:
            assert titles(again) == {"shown"}


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_records_are_durable_before_they_are_sent(tmp_path: Path, durability: Durability) -> None:
    """Names, horizons and bindings are no entries of the log, and are sent all the same."""
    with Disk() as disk, memory(7) as hub:
        replica = opened(tmp_path, durability=durability)
        replica.create(Task, title="a")
        exchange(replica, hub)
        replica.name_device("desk")
        exchange(replica, hub)
        assert "desk" in hub.device_names.values()
        lose_power(disk, replica)
        with opened(tmp_path, durability=durability, day=1) as again:
            assert records_of(hub) <= records_of(again)


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_signed_vector_names_only_horizons_that_are_durable(tmp_path: Path, durability: Durability) -> None:
    with Disk() as disk, memory(7) as hub:
        replica = opened(tmp_path, durability=durability)
        hub.delete(hub.create(Task, title="a"))
        exchange(replica, hub)
        hub.compact()
        exchange(replica, hub)
        exchange(replica, hub)
        key = replica.port.key.public_key
        told = next(vector for vector in hub.port.holdings({}) if vector.public_key == key)
        lose_power(disk, replica)
        with opened(tmp_path, durability=durability, day=1) as again:
            now = next(vector for vector in again.port.holdings({}) if vector.public_key == key)
            assert told.horizons
            assert set(told.horizons) <= set(now.horizons)


READS: dict[str, Callable[[Port, DocumentKey], object]] = {
    "fingerprint": lambda port, _: port.fingerprint(DEFAULT_PARTITION),
    "listing": lambda port, _: port.listing(DEFAULT_PARTITION, after=None, limit=9),
    "state vector": lambda port, key: port.state_vector(key),
    "content": lambda port, key: port.content(key, b"\0"),
    "snapshot": lambda port, _: port.snapshot(DEFAULT_PARTITION, after=None, root=b"", keys_max=9, bytes_max=9999),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_what_sessions_read_is_durable(
    tmp_path: Path, durability: Durability, read: Callable[[Port, DocumentKey], object]
) -> None:
    with Disk() as disk:
        replica = opened(tmp_path, durability=durability)
        replica.port.vector()
        made = replica.create(Task, title="read")
        assert bool(disk.unsynced()) == (durability == "normal")
        read(replica.port, document_key(DEFAULT_PARTITION, "Task", RecordId(made.id)))
        lose_power(disk, replica)
        with opened(tmp_path, durability=durability, day=1) as again:
            assert titles(again) == {"read"}
