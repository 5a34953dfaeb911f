"""Records that were created twice, of which a horizon removes one or all."""

from __future__ import annotations

import pytest

from crdt_sync import KEEP_BOTH, Model, Replica, Set
from crdt_sync.errors import RecordNotFoundError
from crdt_sync.storage.base import Table
from tests.unit.replica.devices import memory, store_of
from tests.unit.replica.test_compaction import remove_for_good, sync_all


class Part(Model, unique=("code",), on_duplicate="merge"):
    code: str | None = None
    tags: Set[str]


class Asked(Model, unique=("code",), on_duplicate="ask"):
    code: str | None = None


def replicas() -> tuple[Replica, Replica, Replica]:
    """Three devices, the first one's records the older ones."""
    hub, desk, phone = (memory(number, Part, Asked) for number in (1, 2, 3))
    sync_all(hub, desk, phone)
    for _ in range(5):
        desk.delete(desk.create(Part))
    return hub, desk, phone


def unique_rows(replica: Replica) -> list[bytes]:
    return [key for key, _ in store_of(replica).scan(Table.UNIQUE)]


def test_nothing_of_a_removed_record_is_left() -> None:
    hub, desk, phone = all_of_them = replicas()
    part = hub.create(Part, code="x")
    desk.create(Part, code="x")
    hub.create(Asked, code="y")
    desk.create(Asked, code="y")
    sync_all(hub, desk, phone)
    hub.resolve(hub.conflicts()[0], take=hub.conflicts()[0].candidates[0])
    hub.create(Asked, code="z")
    phone.create(Asked, code="z")
    sync_all(hub, desk, phone)
    phone.resolve(phone.conflicts()[0], value=KEEP_BOTH)
    phone.delete(phone.get(Part, part.id))
    for item in phone.find(Asked):
        phone.delete(item)
    sync_all(hub, desk, phone)
    remove_for_good(hub, desk, phone)
    for replica in all_of_them:
        assert store_of(replica).count(Table.DOCUMENT) == 0
        assert unique_rows(replica) == []
        replica.close()


def test_the_rest_of_a_merged_record_shows_under_its_own_id() -> None:
    hub, desk, phone = all_of_them = replicas()
    older = hub.create(Part, code="x")
    sync_all(hub, phone)
    younger = desk.create(Part, code="x", tags=["a", "b"])
    sync_all(hub, desk)
    assert desk.also_known_as(younger) == (younger.id,)
    desk.get(Part, younger.id).tags.discard("b")  # in the younger one's document alone; it links the two
    phone.delete(phone.get(Part, older.id))
    sync_all(hub, desk, phone)
    for replica in all_of_them:
        assert [part.id for part in replica.find(Part)] == [older.id]
    remove_for_good(hub, desk, phone)
    for replica in all_of_them:
        assert [part.id for part in replica.find(Part)] == [younger.id]
        assert set(replica.get(Part, younger.id).tags) == {"a"}
        assert replica.also_known_as(replica.get(Part, younger.id)) == ()
        with pytest.raises(RecordNotFoundError):
            replica.get(Part, older.id)
        replica.close()
