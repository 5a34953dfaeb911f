"""A change is completed once a peer that is home holds it: those that the app named, or anybody where it named none."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from crdt_sync import Replica
from crdt_sync.core.ids import DeviceId
from crdt_sync.errors import ScreeningError, StoreFullError
from crdt_sync.replica import accept, compactor, port
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.home_peers import MET_MAX, HomePeer, met_at, note_met_at
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import Exchange, exchange
from tests.unit.replica.devices import Task, memory, on_disk, store_of
from tests.unit.replica.test_home import device_of, refuse, statuses

HUB = "ws://hub:1"


def meet(replica: Replica, hub: Replica, *, address: str = HUB) -> None:
    """A session with whoever answers at an address."""
    replica.port.met(address, device_of(hub))
    exchange(replica, hub)


def test_where_the_app_names_nobody_every_peer_is_home() -> None:
    with memory(1) as replica, memory(2) as visitor:
        replica.create(Task, title="a")
        exchange(replica, visitor)
        assert replica.home_peers() == ()
        assert statuses(replica) == ["completed"]


def test_a_visitor_completes_nothing_where_a_hub_is_home() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as visitor:
        replica.port.set_home([HUB])
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=None),)
        replica.create(Task, title="a")
        exchange(replica, visitor)
        assert statuses(replica) == ["pending"], "the hub was never met"
        meet(replica, hub)
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=device_of(hub)),)
        assert statuses(replica) == ["completed"]
        assert [(item.result, item.peer) for item in replica.sync_log()] == [("success", device_of(hub))]
        replica.create(Task, title="b")
        exchange(replica, visitor)
        assert statuses(replica) == ["completed", "pending"]
        assert visitor.device_id in replica.durability(replica.last_operation()), "who holds it is known all the same"
        assert replica.safe_to_wipe()
        assert check_store(store_of(replica)).listed == []


def test_who_is_home_is_kept_in_the_store(tmp_path: Path) -> None:
    with memory(3) as visitor:
        with on_disk(tmp_path) as replica:
            replica.port.set_home([HUB])
        with on_disk(tmp_path, seed=1) as replica:
            replica.create(Task, title="a")
            exchange(replica, visitor)
            assert statuses(replica) == ["pending"]


def test_statuses_follow_at_once_where_other_peers_are_named() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as visitor:
        replica.create(Task, title="a")
        exchange(replica, visitor)
        assert statuses(replica) == ["completed"]
        replica.port.set_home([HUB])
        assert statuses(replica) == ["pending"], "no hub has it"
        (last,) = replica.sync_log(limit=1)
        assert (last.result, last.error, last.peer) == ("failure", "home changed: no home peer is known to hold it", "")
        replica.port.set_home([])
        assert statuses(replica) == ["completed"]
        exchange(replica, hub)
        replica.port.met(HUB, device_of(hub))
        replica.port.set_home([HUB])
        assert statuses(replica) == ["completed"], "it is known who answers there, and what it holds"
        assert replica.port.completed == 2


def test_one_of_several_hubs_is_enough() -> None:
    with memory(1) as replica, memory(2) as one, memory(3) as other:
        replica.port.set_home([HUB, "ws://other:1", HUB])
        replica.create(Task, title="a")
        meet(replica, one)
        assert statuses(replica) == ["completed"]
        meet(replica, other, address="ws://other:1")
        replica.port.acknowledged(device_of(one), {}, [], but_for=frozenset())
        assert statuses(replica) == ["completed"], "one has lost it, and the other has not"
        replica.port.acknowledged(device_of(other), {}, [], but_for=frozenset())
        assert statuses(replica) == ["pending"]


def test_another_hub_at_the_address_is_home_from_then_on() -> None:
    with memory(1) as replica, memory(2) as old, memory(3) as new:
        replica.port.set_home([HUB])
        replica.create(Task, title="a")
        meet(replica, old)
        exchange(replica, new)
        assert statuses(replica) == ["completed"]
        replica.port.met(HUB, device_of(new))
        assert statuses(replica) == ["completed"], "it was a visitor before, and holds it"
        replica.create(Task, title="b")
        exchange(replica, old)
        assert statuses(replica) == ["completed", "pending"], "not at home any more"


def test_what_a_visitor_refuses_waits_for_the_hub_and_what_the_hub_refuses_has_failed() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as visitor:
        replica.port.set_home([HUB])
        replica.create(Task, title="a")
        refuse(replica, by=visitor, sequence=1)
        assert statuses(replica) == ["pending"]
        replica.port.met(HUB, device_of(hub))
        with patch.object(accept, "_screen_entry", side_effect=ScreeningError("no")):
            exchange(replica, hub)
        assert statuses(replica) == ["failed"]
        replica.retry()
        with patch.object(accept, "_screen_entry", side_effect=ScreeningError("no")):
            exchange(replica, hub)
        exchange(replica, visitor)
        assert visitor.count(Task) == 1
        assert statuses(replica) == ["failed"], "the hub has not got it"


def test_a_hub_that_is_given_up_is_home_no_more() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as visitor:
        replica.port.set_home([HUB])
        hub.create(Task, title="of the hub")
        replica.create(Task, title="a")
        meet(replica, hub)
        exchange(replica, visitor)
        assert statuses(replica) == ["completed"]
        replica.forget_device(device_of(hub))
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=None),)
        assert statuses(replica) == ["pending"], "a visitor is not home, whoever is given up"
        replica.create(Task, title="b")
        exchange(replica, visitor)
        assert statuses(replica) == ["pending"] * 2
        replica.port.set_home(["ws://hub:2"])
        exchange(replica, visitor)
        assert statuses(replica) == ["pending"] * 2
        with memory(4) as new:
            meet(replica, new, address="ws://hub:2")
        assert statuses(replica) == ["completed"] * 2


def test_a_new_hub_at_the_address_of_one_that_was_given_up_is_home() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as new:
        replica.port.set_home([HUB])
        hub.create(Task, title="of the hub")
        replica.create(Task, title="a")
        meet(replica, hub)
        replica.forget_device(device_of(hub))
        replica.port.set_home([HUB])
        assert statuses(replica) == ["pending"]
        meet(replica, new)
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=device_of(new)),)
        assert statuses(replica) == ["completed"]


def test_a_hub_that_is_waited_for_again_is_home_in_the_session_that_says_so() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.port.set_home([HUB])
        hub.create(Task, title="of the hub")
        exchange(other, hub)
        meet(replica, hub)
        other.forget_device(device_of(hub))
        pair = Exchange(replica, hub)
        pair.settle()
        learn(replica, source=other)
        replica.create(Task, title="while it is given up")
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=None),)
        learn(hub, source=other)
        pair.settle()
        replica.create(Task, title="b")
        pair.settle()
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=device_of(hub)),)
        assert statuses(replica) == ["completed"] * 2
        pair.close()


def test_who_was_met_is_kept_of_so_many_addresses() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.port.set_home([HUB])
        replica.port.met(HUB, device_of(hub))
        replica.port.met("ws://other", device_of(other))
        for number in range(2 * MET_MAX):
            replica.port.met(f"ws://elsewhere/{number}", device_of(hub))
            replica.port.met(f"ws://elsewhere/{number}", device_of(hub))
        kept = [key for key, _ in store_of(replica).scan(Table.HOLDING) if key.startswith(b"\0u")]
        assert len(kept) == MET_MAX + 1
        assert replica.home_peers()[0].device_id == device_of(hub)
        assert met_at(store_of(replica), "ws://other") == device_of(other), "where the same device was met goes first"
        for number in range(2 * MET_MAX):
            with store_of(replica).transaction():
                note_met_at(store_of(replica), f"ws://{number}", DeviceId(f"device {number}"))
        assert len([key for key, _ in store_of(replica).scan(Table.HOLDING) if key.startswith(b"\0u")]) == MET_MAX + 1
        assert check_store(store_of(replica)).listed == []


def test_a_device_is_given_up_as_a_whole_or_not_at_all() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.port.set_home([HUB])
        hub.create(Task, title="of the hub")
        replica.create(Task, title="a")
        meet(replica, hub)
        with patch.object(compactor, "note_gone", side_effect=StoreFullError("full")), pytest.raises(StoreFullError):
            replica.forget_device(device_of(hub))
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=device_of(hub)),)
        replica.forget_device(device_of(hub))
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=None),)
        assert statuses(replica) == ["pending"]


def learn(replica: Replica, *, source: Replica) -> None:
    """Take the records that another replica knows."""
    replica.port.accept_records(source.port.space_records(0)[0])


def test_a_hub_that_another_device_gave_up_is_home_no_more() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.port.set_home([HUB])
        hub.create(Task, title="of the hub")
        exchange(other, hub)
        replica.create(Task, title="a")
        for _ in range(2):
            meet(replica, hub)
        assert replica.safe_to_wipe()
        other.forget_device(device_of(hub))
        with patch.object(port, "note_gone", side_effect=StoreFullError("full")), pytest.raises(StoreFullError):
            learn(replica, source=other)
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=device_of(hub)),)
        assert statuses(replica) == ["completed"]
        learn(replica, source=other)
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=None),)
        assert statuses(replica) == ["pending"]
        assert not replica.safe_to_wipe()
        meet(replica, hub)
        assert statuses(replica) == ["completed"], "it is there all the same, and counts again"
        learn(replica, source=other)
        assert statuses(replica) == ["completed"], "the record is known"


def test_a_hub_that_was_given_up_and_is_waited_for_again_stays_home() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.port.set_home([HUB])
        hub.create(Task, title="of the hub")
        exchange(other, hub)
        replica.create(Task, title="a")
        meet(replica, hub)
        other.forget_device(device_of(hub))
        learn(hub, source=other)
        assert hub.device_id is not None, "it has bound a new author"
        learn(replica, source=hub)
        assert replica.home_peers() == (HomePeer(address=HUB, device_id=device_of(hub)),)
        assert statuses(replica) == ["completed"]


def test_an_address_is_kept_without_what_may_be_secret_in_it() -> None:
    with memory(1) as replica, memory(2) as hub:
        url = "wss://user:secret@hub.example:1/space?token=secret#secret"
        replica.port.set_home([url])
        replica.port.met(url, device_of(hub))
        assert replica.home_peers() == (HomePeer(address="wss://hub.example:1/space", device_id=device_of(hub)),)
        replica.port.met("wss://hub.example:1/space?token=another", device_of(hub))
        assert replica.home_peers()[0].device_id == hub.device_id
