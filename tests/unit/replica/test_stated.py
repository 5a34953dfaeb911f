"""What a device shows of itself at the beginning of a session counts at once against what it signed for before."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from crdt_sync import Replica
from crdt_sync.core.entry import ChainHash
from crdt_sync.core.ids import DeviceId
from crdt_sync.protocol.durable import DurableVector
from crdt_sync.protocol.source import Position, RunPage
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.port import Port
from crdt_sync.replica.stated import stated_by
from crdt_sync.testing.exchange import exchange
from crdt_sync.transport.memory import Fate
from tests.unit.replica.devices import Task, memory, on_disk, state_of, store_of


def device_of(replica: Replica) -> DeviceId:
    assert replica.device_id is not None
    return replica.device_id


def put_back(folder: Path) -> None:
    for leftover in folder.glob("hub.db*"):
        leftover.unlink()
    shutil.copy(folder / "backup.db", folder / "hub.db")


def until_told(left: Replica, right: Replica) -> None:
    """Two replicas tell each other what they hold, and no data goes; the line breaks ahead of any fingerprint."""
    nothing = RunPage(runs=(), cursor=0, more=False)
    with patch.object(Port, "runs_after", return_value=nothing), patch.object(Port, "holdings", return_value=()):
        exchange(left, right)


def word_of(replica: Replica) -> DurableVector:
    """What a device signs now."""
    state = state_of(replica)
    assert state.identity is not None
    key = state.identity.key.public_key
    (word,) = (item for item in HoldingsBook(state).unknown_to({}, state.ledger.vector()) if item.public_key == key)
    return word


def test_a_hub_that_was_put_back_no_longer_counts_before_anything_is_sent(tmp_path: Path) -> None:
    with memory(2) as desk:
        with on_disk(tmp_path, name="hub.db") as hub:
            desk.create(Task, title="first")
            exchange(desk, hub)
            hub.backup(tmp_path / "backup.db")
            desk.create(Task, title="late")
            exchange(desk, hub)
            later = desk.last_operation()
        assert desk.safe_to_wipe()
        put_back(tmp_path)
        with on_disk(tmp_path, name="hub.db", seed=1) as hub:
            until_told(desk, hub)
            assert [item.status for item in desk.operations()] == ["completed", "pending"]
            first = desk.operation("1")
            assert (desk.durability(first), desk.durability(later)) == ((hub.device_id,), ())
            safety = desk.safe_to_wipe()
            assert (bool(safety), [item.missing for item in safety.devices]) == (False, [1])
            assert check_store(store_of(desk)).listed == []
            assert exchange(desk, hub).proven_equal
            assert desk.durability(later) == (hub.device_id,)
            assert desk.safe_to_wipe()
            assert stated_by(store_of(desk), device_of(hub)) is None, "it signed anew"


def test_what_others_pass_on_of_a_device_does_not_outweigh_what_it_said_itself(tmp_path: Path) -> None:
    with memory(2) as desk, memory(3) as phone:
        with on_disk(tmp_path, name="hub.db") as hub:
            exchange(desk, hub)
            hub.backup(tmp_path / "backup.db")
            desk.create(Task, title="a")
            exchange(desk, hub)
            desk.create(Task, title="b")
            exchange(desk, hub)
            hub.create(Task, title="c")
            exchange(hub, phone)
            passed_on = word_of(hub)
        put_back(tmp_path)
        with on_disk(tmp_path, name="hub.db", seed=1) as hub:
            until_told(desk, hub)
        assert HoldingsBook(state_of(desk)).accept([passed_on]) == 1
        assert desk.durability(desk.last_operation()) == ()


def test_what_a_device_acknowledges_since_counts_again(tmp_path: Path) -> None:
    with memory(2) as desk:
        with on_disk(tmp_path, name="hub.db") as hub:
            exchange(desk, hub)
            hub.backup(tmp_path / "backup.db")
            desk.create(Task, title="a")
            exchange(desk, hub)
        put_back(tmp_path)
        with on_disk(tmp_path, name="hub.db", seed=1) as hub:
            until_told(desk, hub)
            assert desk.durability(desk.last_operation()) == ()
            with patch.object(Port, "holdings", return_value=()):
                exchange(desk, hub)  # acknowledged, and nothing is signed
            assert desk.durability(desk.last_operation()) == (hub.device_id,)
            assert stated_by(store_of(desk), device_of(hub)) is None


def test_a_hub_that_was_set_up_anew_under_another_key_holds_nothing_yet() -> None:
    with memory(1) as desk, memory(2) as old, memory(3) as new:
        desk.port.met("ws://hub:1", device_of(old))
        desk.create(Task, title="a")
        exchange(desk, old)
        assert desk.safe_to_wipe()
        desk.port.met("ws://hub:1", device_of(new))
        assert not desk.safe_to_wipe()
        assert desk.durability(desk.last_operation()) == ()
        until_told(desk, old)
        assert desk.safe_to_wipe(), "it is met again, and still has it"


def test_a_session_with_a_device_that_lost_nothing_notes_nothing() -> None:
    with memory(1) as desk, memory(2) as hub:
        desk.create(Task, title="a")
        exchange(desk, hub)
        desk.create(Task, title="b")
        exchange(desk, hub, fates=lambda frame: Fate.CUT if frame.index == 3 else Fate.DELIVER)
        assert stated_by(store_of(desk), device_of(hub)) is None


# ── longer chains ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_that_signed_for_a_longer_chain_holds_none_of_it_until_ours_reaches_there() -> None:
    """Nothing shows that a chain which goes on behind ours begins as ours does: it may be another branch."""
    with memory(1) as desk, memory(2) as hub, memory(3) as phone:
        desk.create(Task, title="a")
        exchange(desk, phone)
        author, own = next(iter(state_of(phone).ledger.vector()[""])), state_of(phone).ledger.vector()
        desk.create(Task, title="b")
        exchange(desk, hub)
        word, book = word_of(hub), HoldingsBook(state_of(phone))
        exchange(hub, memory(4))
        phone.port.accept_records(hub.port.space_records(0)[0])
        assert book.accept([word]) == 1
        assert book.reach(word, "", author, own=own) == 0
        assert [item.missing for item in phone.safe_to_wipe().devices if item.device_id == hub.device_id] == [1]
        exchange(desk, phone)
        assert [item.missing for item in phone.safe_to_wipe().devices if item.device_id == hub.device_id] == [0]


def test_who_wrote_another_branch_that_is_longer_is_not_taken_for_a_holder_of_ours() -> None:
    with memory(1) as desk, memory(2) as hub:
        desk.create(Task, title="on both branches")
        exchange(desk, hub)
        assert desk.safe_to_wipe()
        (author,) = state_of(desk).ledger.vector()[""]
        word = word_of(hub)
        longer = replace(word, stamp=word.stamp + 1, vector={"": {author: Position(5, ChainHash(bytes(16)))}})
        with patch("crdt_sync.replica.holdings.verify", return_value=True):
            assert HoldingsBook(state_of(desk)).accept([longer]) == 1
        assert not desk.safe_to_wipe()
        assert desk.durability(desk.last_operation()) == ()
