"""Statuses are true at every instant: what no peer holds is not said to be held, whatever happened to the peer."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest

from crdt_sync import Replica
from crdt_sync.core.ids import Author, DeviceId
from crdt_sync.errors import InputError, ScreeningError, StoreReadOnlyError, TransactionError
from crdt_sync.protocol.source import EntryStatus, Position, RunPage, StatusKind
from crdt_sync.replica import accept, journal
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.home import ever_acknowledged
from crdt_sync.replica.port import Port
from crdt_sync.replica.synclog import LOST
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from crdt_sync.transport.memory import Fate
from tests.unit.replica.devices import Dice, Task, memory, on_disk, state_of, store_of


def statuses(replica: Replica) -> list[str]:
    return [operation.status.value for operation in replica.operations()]


def device_of(replica: Replica) -> DeviceId:
    assert replica.device_id is not None
    return replica.device_id


def author_of(replica: Replica) -> Author:
    identity = state_of(replica).identity
    assert identity is not None
    return identity.author


def key_of(replica: Replica) -> bytes:
    identity = state_of(replica).identity
    assert identity is not None
    return bytes(identity.key.public_key)


def refuse(replica: Replica, *, by: Replica, sequence: int) -> None:
    """A peer refuses an entry of ours."""
    status = EntryStatus(
        partition="",
        author=author_of(replica),
        sequence=sequence,
        kind=StatusKind.REFUSED,
        code="screening",
        reason="no",
    )
    replica.port.acknowledged(device_of(by), {}, [status])


def until_told(left: Replica, right: Replica) -> None:
    """Two replicas tell each other what they hold, and no data goes."""
    nothing = RunPage(runs=(), cursor=0, more=False)
    with patch.object(Port, "runs_after", return_value=nothing):
        exchange(left, right)


# ── a peer that lost what it had ─────────────────────────────────────────────────────────────────────────────────────


def test_what_a_hub_lost_waits_again_until_it_holds_it_again(tmp_path: Path) -> None:
    with memory(1) as replica:
        with on_disk(tmp_path, name="hub.db") as hub:
            replica.create(Task, title="early")
            exchange(replica, hub)
            hub.backup(tmp_path / "backup.db")
            replica.create(Task, title="late")
            exchange(replica, hub)
            assert statuses(replica) == ["completed", "completed"]
            device = device_of(hub)
        for leftover in tmp_path.glob("hub.db*"):
            leftover.unlink()
        shutil.copy(tmp_path / "backup.db", tmp_path / "hub.db")
        with on_disk(tmp_path, name="hub.db", seed=1) as hub:
            assert device_of(hub) == device
            until_told(replica, hub)
            assert statuses(replica) == ["completed", "pending"], "it says what it has, and that is less"
            assert [(item.result, item.error, item.peer) for item in replica.sync_log(limit=1)] == [
                ("failure", LOST, device)
            ]
            assert replica.metrics().pending == 1
            assert exchange(replica, hub).proven_equal
            assert statuses(replica) == ["completed", "completed"]
            assert [item.result for item in replica.sync_log()] == ["success", "success", "failure", "success"]


def test_what_two_hold_and_one_loses_stays_completed() -> None:
    with memory(1) as replica, memory(2) as one, memory(3) as other:
        replica.create(Task, title="a")
        exchange(replica, one)
        exchange(replica, other)
        replica.port.acknowledged(device_of(one), {}, [], but_for=frozenset())
        assert statuses(replica) == ["completed"]
        replica.port.acknowledged(device_of(other), {}, [], but_for=frozenset())
        assert statuses(replica) == ["pending"]
        assert ever_acknowledged(store_of(replica), author_of(replica)) == 1, "it was sent: it is never written anew"
        exchange(replica, other)
        assert statuses(replica) == ["completed"]


def test_what_a_peer_says_of_another_branch_changes_nothing_until_that_is_settled() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="a")
        exchange(replica, hub)
        elsewhere = Position(1, bytes(32))  # type: ignore[arg-type]  # no chain has this hash
        replica.port.acknowledged(device_of(hub), {"": {author_of(replica): elsewhere}}, [], but_for=frozenset())
        assert statuses(replica) == ["completed"]


def test_a_hub_that_was_set_up_anew_under_another_key_holds_nothing_yet() -> None:
    with memory(1) as replica, memory(2) as old, memory(3) as new:
        replica.port.met("ws://hub:1", device_of(old))
        replica.create(Task, title="a")
        exchange(replica, old)
        replica.port.met("ws://hub:1", device_of(old))
        assert statuses(replica) == ["completed"]
        replica.port.met("ws://hub:2", device_of(new))
        assert statuses(replica) == ["completed"], "another place"
        replica.port.met("ws://hub:1", device_of(new))
        assert statuses(replica) == ["pending"]
        exchange(replica, new)
        assert statuses(replica) == ["completed"]


def test_a_device_that_was_given_up_holds_nothing_until_it_is_met_again() -> None:
    with memory(1) as replica, memory(2) as phone:
        replica.create(Task, title="a")
        phone.create(Task, title="b")
        exchange(replica, phone)
        replica.forget_device(device_of(phone))
        assert statuses(replica) == ["pending"]
        exchange(replica, phone)
        assert statuses(replica) == ["completed"]


def test_what_was_folded_since_waits_again_and_is_completed_by_the_content_that_stands_for_it() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as new:
        for title in ("a", "b"):
            replica.create(Task, title=title)
        exchange(replica, hub)
        replica.compact()
        assert store_of(replica).count(Table.LOG) == 0
        replica.port.acknowledged(device_of(hub), {}, [], but_for=frozenset())
        replica.create(Task, title="c")
        replica.compact()
        assert statuses(replica) == ["pending"] * 3
        assert check_store(store_of(replica)).listed == []
        assert exchange(replica, new).proven_equal
        assert statuses(replica) == ["completed"] * 3


# ── acknowledgements that were lost, or are lies ─────────────────────────────────────────────────────────────────────


def test_a_lost_acknowledgement_leaves_it_pending_and_the_next_session_completes_it() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="a")
        left, right = Conversation(replica.port, initiator=True), Conversation(hub.port, initiator=False)
        while hub.count(Task) == 0:
            for source, target in ((left, right), (right, left)):
                for frame in source.data_to_send():
                    target.receive(frame)
                if hub.count(Task):
                    break
        for end in (left, right):
            end.lost("cut before the acknowledgement")
            end.publish()
        assert statuses(replica) == ["pending"]
        until_told(replica, hub)
        assert statuses(replica) == ["completed"]


def test_a_lying_peer_speaks_for_itself_alone() -> None:
    """It has a key, so it can acknowledge what it has thrown away; it cannot say so for others."""
    with memory(1) as replica, memory(2) as hub, memory(3) as liar:
        replica.create(Task, title="a")
        exchange(replica, hub)
        operation = replica.last_operation()
        known = replica.durability(operation)
        replica.port.acknowledged(device_of(liar), {}, [], but_for=frozenset())
        assert (replica.durability(operation), statuses(replica)) == (known, ["completed"])


@pytest.mark.parametrize("lost", [False, True])
def test_a_crash_between_the_peer_s_commit_and_its_acknowledgement(tmp_path: Path, lost: bool) -> None:
    with memory(1) as replica:
        with on_disk(tmp_path, name="hub.db") as hub:
            exchange(replica, hub)
            replica.create(Task, title="a")
            (page, _, _) = replica.port.runs_after(0, {}, bytes_max=10_000)
            if not lost:
                hub.port.accept_runs([run for run, *_ in page])
        assert statuses(replica) == ["pending"]
        with on_disk(tmp_path, name="hub.db", seed=1) as hub:
            until_told(replica, hub)
            assert statuses(replica) == ["pending" if lost else "completed"]


# ── refused, and held by somebody else ───────────────────────────────────────────────────────────────────────────────


def test_what_one_peer_refused_and_another_holds_is_completed() -> None:
    with memory(1) as replica, memory(2) as one, memory(3) as other:
        for title in ("a", "b"):
            replica.create(Task, title=title)
        refuse(replica, by=one, sequence=1)
        assert statuses(replica) == ["failed", "failed"]
        assert (replica.metrics().failed, replica.metrics().pending) == (2, 0)
        exchange(replica, other)
        assert statuses(replica) == ["completed", "completed"]
        assert [operation.error for operation in replica.operations()] == ["", ""]
        assert replica.metrics().success_rate == 1.0
        assert store_of(replica).count(Table.PENDING) == 0


def test_what_is_held_by_one_peer_is_not_failed_because_another_refuses_it() -> None:
    with memory(1) as replica, memory(2) as one, memory(3) as other:
        replica.create(Task, title="a")
        exchange(replica, one)
        refuse(replica, by=other, sequence=1)
        assert statuses(replica) == ["completed"]


# ── trying again ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_operation_is_tried_again_with_those_before_it() -> None:
    with memory(1) as replica, memory(2) as hub:
        for title in ("a", "b", "c"):
            replica.create(Task, title=title)
        wrote = [dict(operation.data) for operation in replica.operations()]
        refuse(replica, by=hub, sequence=1)
        failed = list(replica.operations(status="failed"))
        assert [dict(operation.data) for operation in failed] == wrote, "it can be carried elsewhere"
        assert replica.operation_count(status="failed") == 3
        assert replica.retry(failed[1]) == 2
        assert statuses(replica) == ["pending", "pending", "failed"]
        assert [(item.error, item.attempts) for item in replica.operations(status="pending")] == [("", 1)] * 2
        assert replica.retry() == 1
        assert replica.retry() == 0
        exchange(replica, hub)
        assert statuses(replica) == ["completed"] * 3
        assert [item.result for item in replica.sync_log()] == ["failure"] * 3 + ["success"] * 3
        assert check_store(store_of(replica)).listed == []


def test_what_has_not_failed_is_not_tried_again() -> None:
    with memory(1) as replica:
        replica.create(Task, title="a")
        with pytest.raises(InputError, match="operation 1 is pending"):
            replica.retry(replica.last_operation())
        with pytest.raises(InputError, match="an operation is expected, not a str"):
            replica.retry("1")  # type: ignore[arg-type]  # wrong on purpose
        with replica.transaction(), pytest.raises(TransactionError):
            replica.retry()


def test_a_reader_tries_nothing_again(tmp_path: Path) -> None:
    on_disk(tmp_path).close()
    with Replica.open(tmp_path / "a.db", [Task], read_only=True, state_dir=tmp_path / "state") as reader:
        assert reader.operation_count(status="failed") == 0
        with pytest.raises(StoreReadOnlyError):
            reader.retry()


# ── setting aside ────────────────────────────────────────────────────────────────────────────────────────────────────


def refusing() -> AbstractContextManager[object]:
    """Whoever takes in an entry meanwhile refuses it."""
    return patch.object(accept, "_screen_entry", side_effect=ScreeningError("no"))


def test_what_a_peer_refused_is_not_sent_to_it_again_until_it_is_tried_again() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="fine")
        exchange(replica, hub)
        for title in ("refused", "behind it"):
            replica.create(Task, title=title)
        with refusing():
            exchange(replica, hub)
        assert statuses(replica) == ["completed", "failed", "failed"]
        replica.create(Task, title="later")
        report = exchange(replica, hub)
        assert (report.left.entries_out, report.proven_equal) == (0, False)
        assert statuses(replica) == ["completed", "failed", "failed", "pending"]
        assert [(operation.attempts, operation.error) for operation in replica.operations(status="failed")] == [
            (1, "screening: no")
        ] * 2
        exchange(replica, other)
        assert statuses(replica) == ["completed"] * 4, "another peer takes it"
        assert hub.count(Task) == 1
        assert replica.retry() == 0, "nothing has failed any more, but the hub lacks it"
        assert exchange(replica, hub).proven_equal
        assert hub.count(Task) == 4


def test_what_was_refused_does_not_hold_up_others() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="refused")
        with refusing():
            exchange(replica, hub)
        other.create(Task, title="of another device")
        exchange(other, replica)
        hub.create(Task, title="of the hub")
        exchange(replica, hub)
        assert {task.title for task in hub.find(Task)} == {"of another device", "of the hub"}
        assert {task.title for task in replica.find(Task)} == {"refused", "of another device", "of the hub"}
        assert replica.operation("1").status == "completed", "the other device has it"


def test_what_a_peer_refused_and_holds_all_the_same_holds_nothing_back() -> None:
    """Its store was damaged, say, and is mended; or another device brought the entry."""
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="refused")
        exchange(replica, other)
        with refusing():
            exchange(replica, hub)
        exchange(other, hub)
        assert hub.count(Task) == 1
        replica.create(Task, title="behind it")
        assert exchange(replica, hub).proven_equal
        assert hub.count(Task) == 2
        assert statuses(replica) == ["completed"] * 2
        assert replica.port.held_back(key_of(hub)) == {}


def test_a_peer_that_lost_what_comes_before_is_sent_it_again() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="before")
        exchange(replica, hub)
        replica.create(Task, title="refused")
        with refusing():
            exchange(replica, hub)
        with memory(4) as empty, patch.object(Port, "held_back", return_value={author_of(replica): 2}):
            exchange(replica, empty)
            assert empty.count(Task) == 2


def test_a_timeout_names_what_was_refused_before() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="refused")
        with refusing():
            exchange(replica, hub)
        text = replica.port.waits_for(key_of(hub))
        assert text == "operation 1 was refused before (`retry` sends it again)"


def test_lost_connections_cost_an_operation_no_try() -> None:
    """However often: only an answer of the peer counts."""
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="a")
        for _ in range(20):
            exchange(replica, hub, fates=lambda frame: Fate.CUT if frame.index == 2 else Fate.DELIVER)
            assert hub.count(Task) == 0
            assert [(item.status.value, item.attempts) for item in replica.operations()] == [("pending", 0)]
        exchange(replica, hub)
        assert [(item.status.value, item.attempts) for item in replica.operations()] == [("completed", 1)]


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_operations_and_results_by_status_and_time() -> None:
    dice = Dice(1, step_ms=0)
    with memory(1, dice=dice) as replica, memory(2) as hub:
        for title in ("a", "b", "c"):
            dice.now_ms += 60_000
            replica.create(Task, title=title)
        dice.now_ms += 60_000
        refuse(replica, by=hub, sequence=3)
        late = datetime.fromtimestamp(dice.now_ms / 1000, UTC)
        assert [operation.id for operation in replica.operations(since=late)] == ["3"], "it failed since"
        assert replica.operation_count(status="failed", since=late) == 1
        exchange(replica, memory(3))
        assert [operation.id for operation in replica.operations(since=late)] == ["1", "2", "3"]
        dice.now_ms += 60_000
        replica.create(Task, title="d")
        assert [operation.id for operation in replica.operations(since=late, status="pending")] == ["4"]
        since = datetime.fromtimestamp((dice.now_ms - 120_000) / 1000, UTC)
        assert [operation.id for operation in replica.operations(latest_first=True)] == ["4", "3", "2", "1"]
        assert [item.operation for item in replica.sync_log(result="failure")] == ["3"]
        assert [item.operation for item in replica.sync_log(since=since, result="success")] == ["1", "2", "3"]
        third = replica.operation("3")
        assert [item.result for item in replica.sync_log(operation=third)] == ["failure", "success"]
        for wrong in (datetime(2025, 1, 1), "2025-01-01", 7):  # noqa: DTZ001  wrong on purpose
            with pytest.raises(InputError):
                list(replica.operations(since=wrong))  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(InputError):
            replica.sync_log(result="maybe")


def test_pending_and_failed_operations_latest_first_over_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PAGE_ROWS", 3)
    with memory(1) as replica, memory(2) as hub:
        for number in range(10):
            replica.create(Task, title=str(number))
        refuse(replica, by=hub, sequence=6)
        for status, expected in (("pending", range(1, 6)), ("failed", range(6, 11))):
            names = [str(number) for number in expected]
            assert [operation.id for operation in replica.operations(status=status)] == names
            assert [item.id for item in replica.operations(status=status, latest_first=True)] == names[::-1]
