"""Content that a repair kept beyond the log is in nobody's chain: it counts as elsewhere once equality was proven."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.core.ids import DEFAULT_PARTITION
from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica import takeover
from crdt_sync.replica.home import note_gone
from crdt_sync.replica.kept_content import HOLDERS_MAX, KEPT, KeptContent, read_kept
from crdt_sync.replica.packing import pack_values
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, on_disk, state_of
from tests.unit.replica.test_repair import repaired, zero


def opened(place: Path, seed: int) -> Replica:
    return on_disk(place, seed=seed)


def peer(place: Path, seed: int) -> Replica:
    return on_disk(place, seed=seed, name="b.db", state="other")


def with_content_that_is_nowhere_else(place: Path) -> None:
    with opened(place, 1) as desk, peer(place, 2) as hub:
        desk.create(Task, title="sent")
        assert exchange(desk, hub).proven_equal
        desk.create(Task, title="never sent")
    zero(place, Table.LOG, -1)
    assert len(repaired(place).kept_content) == 1


def test_content_that_is_only_here_is_not_safe_to_wipe_until_equality_is_proven(tmp_path: Path) -> None:
    with_content_that_is_nowhere_else(tmp_path)
    with opened(tmp_path, 3) as desk, peer(tmp_path, 4) as hub:
        safety = desk.safe_to_wipe()
        assert not safety
        assert safety.kept_content == 1
        assert [(item.missing, item.lacks_content) for item in safety.devices] == [(0, True)]
        assert exchange(desk, hub).proven_equal
        safety = desk.safe_to_wipe()
        assert safety
        assert [(item.missing, item.lacks_content) for item in safety.devices] == [(0, False)]
        assert {task.title for task in hub.find(Task)} == {"sent", "never sent"}
    with opened(tmp_path, 5) as desk:
        assert desk.safe_to_wipe(), "the store was closed in between"


def test_a_device_that_is_given_up_holds_no_content_any_more(tmp_path: Path) -> None:
    with_content_that_is_nowhere_else(tmp_path)
    with opened(tmp_path, 3) as desk, peer(tmp_path, 4) as hub:
        assert exchange(desk, hub).proven_equal
        state = state_of(desk)
        assert hub.device_id is not None
        with state.store.transaction():
            note_gone(state, desk._journal, hub.device_id)
        assert [item.lacks_content for item in desk.safe_to_wipe().devices] == [True]
        assert exchange(desk, hub).proven_equal
        assert desk.safe_to_wipe()


def test_who_held_it_proves_it_again_in_each_session(tmp_path: Path) -> None:
    with_content_that_is_nowhere_else(tmp_path)
    with opened(tmp_path, 3) as desk, peer(tmp_path, 4) as hub:
        assert exchange(desk, hub).proven_equal
        assert hub.device_id is not None
        desk.port.acknowledged(hub.device_id, state_of(hub).ledger.vector(), (), but_for=frozenset())
        assert not desk.safe_to_wipe(), "a backup of it may have been put back: its vector does not tell"
        assert exchange(desk, hub).proven_equal
        assert desk.safe_to_wipe()


def test_a_repair_that_lost_the_row_takes_all_content_for_kept(tmp_path: Path) -> None:
    with_content_that_is_nowhere_else(tmp_path)
    with open_sqlite(tmp_path / "a.db") as store, store.transaction():
        store.delete(Table.META, KEPT)
    zero(tmp_path, Table.META)
    assert repaired(tmp_path).changed
    with opened(tmp_path, 3) as desk:
        assert desk.safe_to_wipe().kept_content == 1


def test_holders_are_bounded_and_a_strange_row_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, 1) as desk:
        store = state_of(desk).store
        kept = KeptContent(store)
        with store.transaction():
            kept.add_holder("nobody")
            assert store.get(Table.META, KEPT) is None
            kept.note(2)
            for number in range(HOLDERS_MAX + 1):
                kept.add_holder(f"device {number}")
        assert len(kept.holders) == HOLDERS_MAX
        assert "device 0" not in kept.holders
        with store.transaction():
            kept.note(1)
        assert kept.documents == 3
        assert not kept.holders
    with pytest.raises(CorruptStoreError):
        read_kept(pack_values(1, [2]))


def test_who_took_kept_content_from_a_peer_cannot_tell_who_else_has_it(tmp_path: Path) -> None:
    """The device that repaired its store may be wiped by now, and then nobody else does."""
    with_content_that_is_nowhere_else(tmp_path)
    with memory(9) as third, peer(tmp_path, 4) as hub:
        assert exchange(third, hub).proven_equal
        with opened(tmp_path, 3) as desk:
            assert exchange(desk, hub).proven_equal
            desk_id = desk.device_id
        assert {item.device_id: item.lacks_content for item in hub.safe_to_wipe().devices} == {
            third.device_id: True,
            desk_id: False,
        }
        assert exchange(third, hub).proven_equal
        assert not any(item.lacks_content for item in hub.safe_to_wipe().devices)
        assert third.safe_to_wipe()


def test_content_in_the_bases_of_a_peer_counts_too(tmp_path: Path) -> None:
    with_content_that_is_nowhere_else(tmp_path)
    with opened(tmp_path, 3) as desk, peer(tmp_path, 4) as hub:
        for _ in range(2):
            assert exchange(desk, hub).proven_equal
        desk.compact(retention_s=0)
        with memory(9) as third:
            assert exchange(third, desk).proven_equal
            safety = third.safe_to_wipe()
            assert safety.kept_content
            assert {item.device_id: item.lacks_content for item in safety.devices} == {
                hub.device_id: True,
                desk.device_id: False,
            }


def test_content_that_comes_again_in_another_snapshot_is_counted_once(tmp_path: Path) -> None:
    with_content_that_is_nowhere_else(tmp_path)
    with opened(tmp_path, 3) as desk, peer(tmp_path, 4) as hub:
        for _ in range(2):
            assert exchange(desk, hub).proven_equal
        desk.compact(retention_s=0)
        with memory(9) as third:
            assert exchange(third, desk).proven_equal
            store, kept = state_of(third).store, KeptContent(state_of(third).store)
            assert kept.documents == 1
            assert desk.device_id in kept.holders
            with store.transaction():
                store.put_many(Table.STAGED, list(store.scan(Table.BASE)))
                takeover._note_content(state_of(third), DEFAULT_PARTITION)
            assert kept.documents == 1
            assert not kept.holders, "it may be other content of that record"
