"""An entry at which a peer's sessions end, time and again, holds up nothing but what rests on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from crdt_sync import Replica, RetryPolicy
from crdt_sync.core.entry import decode_run, split_entries
from crdt_sync.errors import EntryError, InputError, StoreFullError
from crdt_sync.protocol.care import Flight
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.fork import lease_new_author
from crdt_sync.replica.port import Port
from crdt_sync.replica.set_aside import Fault
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import Exchange, ExchangeReport, exchange
from crdt_sync.transport.memory import Fate, Fates, Frame, always_deliver
from tests.unit.replica.devices import Dice, Task, memory, on_disk, state_of, store_of, sync
from tests.unit.replica.test_home import author_of, device_of, key_of, statuses


class Dies(BaseException):
    """What ends a process."""


@dataclass
class Poison:
    """What happens at one entry of one author wherever it is taken in."""

    author: int
    sequence: int
    how: Callable[[], BaseException]
    met: int = 0

    def check(self, runs: list[bytes]) -> None:
        for run in map(decode_run, runs):
            if run.author == self.author and run.first_sequence <= self.sequence:
                last = run.first_sequence + len(split_entries(run.body)) - 1
                if last >= self.sequence:
                    self.met += 1
                    raise self.how()


@contextmanager
def poisoned(poison: Poison, *, at: Replica) -> Iterator[None]:
    """A device dies, or fails, at an entry."""
    accept = Port.accept_runs

    def taking(port: Port, runs: list[bytes]) -> Batch:
        if port is at.port:
            try:
                poison.check(runs)
            except Dies:
                identity = state_of(at).identity
                assert identity is not None
                lease_new_author(state_of(at), identity)  # as after any unclean end
                raise
        return accept(port, runs)

    with patch.object(Port, "accept_runs", taking):
        yield


def meet(left: Replica, right: Replica, *, fates: Fates = always_deliver) -> ExchangeReport:
    """A session; where a process dies, the line is cut under the other one, and where one fails it says so."""
    pair = Exchange(left, right, fates=fates)
    proven = False
    try:
        pair.settle()
        proven = pair.prove()
    except Dies:
        pair.left.conversation.lost("the process is gone")
        pair.right.conversation.lost("the process is gone")
    except (RuntimeError, StoreFullError):
        pair.settle()
    pair.close()
    return pair.report(proven_equal=proven)


def relay(source: Replica, target: Replica) -> None:
    """Bring over what one device wrote, and nothing back."""
    target.port.accept_records(source.port.space_records(0)[0])
    page = source.port.runs_after(0, target.port.vector(), bytes_max=10_000)
    target.port.publish(target.port.accept_runs([run for run, *_ in page.runs]).changes)


def cut_at(index: int) -> Fates:
    return lambda frame: Fate.CUT if frame.index == index else Fate.DELIVER


def titles(replica: Replica) -> set[str]:
    return {task.title for task in replica.find(Task)}


def failing() -> BaseException:
    return RuntimeError("a bug")


def refusing() -> BaseException:
    return EntryError("it cannot be")


def full() -> BaseException:
    return StoreFullError("no space")


# ── a peer that closes with an error ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("how", "end"), [(refusing, "malformed"), (failing, "internal")])
@pytest.mark.parametrize("dials", [True, False])
def test_what_a_peer_fails_at_is_set_aside_and_holds_up_nothing_else(
    how: Callable[[], BaseException], end: str, dials: bool
) -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        other.create(Task, title="of another device")
        exchange(other, replica)
        for number in range(4):
            replica.create(Task, title=f"before {number}")
        replica.create(Task, title="poison")
        replica.create(Task, title="behind it")
        hub.create(Task, title="of the hub")
        poison = Poison(author_of(replica), 5, how)
        sessions = 0
        with poisoned(poison, at=hub):
            while statuses(replica)[4] != "failed":
                report = meet(replica, hub) if dials else meet(hub, replica)
                sessions += 1
                last = report.left_end if dials else report.right_end
                assert last is not None
                assert last.code == end
                assert not last.permanent, "the next session goes another way"
                assert sessions < 10
            assert sessions == 2 + RetryPolicy().failures_max, "two to find it among what was sent with it"
            assert statuses(replica) == ["completed"] * 4 + ["failed", "pending"]
            assert titles(hub) == {"of another device", "of the hub", *(f"before {number}" for number in range(4))}
            assert "of the hub" in titles(replica)
            replica.create(Task, title="later")
            other.create(Task, title="later, elsewhere")
            relay(other, replica)
            assert meet(replica, hub).left_end.code == "bye"  # type: ignore[union-attr]  # it has ended
            assert {"later", "later, elsewhere", "behind it"} < titles(hub)
            assert poison.met == sessions, "it was not sent again"
        operation = replica.operation("5")
        assert operation.attempts == RetryPolicy().failures_max
        assert operation.error.startswith(
            "set_aside: 5 sessions with a device ended at it; the last one: the peer ended"
        )
        assert [(item.sequence, item.tries, item.due_ms) for item in replica.set_aside()] == [(5, 5, None)]
        assert check_store(store_of(replica)).listed == []
        assert replica.retry(operation) == 1
        assert replica.retry() == 0
        assert replica.set_aside() == ()
        assert meet(replica, hub).proven_equal
        assert {"poison", "behind it", "later"} < titles(hub)
        assert replica.operation("5").status == "completed"


def test_what_one_device_fails_at_another_takes() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        replica.create(Task, title="poison")
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(8):
                meet(replica, hub)
        assert statuses(replica) == ["failed"]
        exchange(replica, other)
        assert statuses(replica) == ["completed"]


def test_an_entry_of_somebody_else_is_set_aside_for_a_device_alone() -> None:
    with memory(1) as hub, memory(2) as device, memory(3) as writer, memory(4) as healthy, memory(5) as third:
        writer.create(Task, title="poison")
        exchange(writer, hub)
        third.create(Task, title="of a third")
        exchange(third, hub)
        hub.create(Task, title="of the hub, which has seen the poison")
        with poisoned(Poison(author_of(writer), 1, failing), at=device):
            for _ in range(9):
                meet(device, hub)
            assert titles(device) == {"of a third", "of the hub, which has seen the poison"}
            assert [item.device_id for item in hub.set_aside()] == [device_of(device)]
        exchange(healthy, hub)
        assert healthy.count(Task) == 3
        assert hub.retry() == 0, "no operation of its own"
        assert exchange(device, hub).proven_equal


def test_what_is_in_one_run_with_what_a_device_holds_is_set_aside_too() -> None:
    with memory(1) as writer, memory(2) as hub, memory(3) as device:
        writer.create(Task, title="before")
        exchange(writer, device)
        writer.create(Task, title="poison")
        exchange(writer, hub)
        with poisoned(Poison(author_of(writer), 2, refusing), at=device):
            for _ in range(2 + RetryPolicy().failures_max):
                meet(device, hub)
        assert [(item.device_id, item.sequence) for item in hub.set_aside()] == [(device_of(device), 2)]


@pytest.mark.parametrize("error", [full])
def test_a_peer_that_is_in_trouble_of_its_own_costs_no_try(error: Callable[[], BaseException]) -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="a")
        with poisoned(Poison(author_of(replica), 1, error), at=hub):
            for _ in range(20):
                end = meet(replica, hub).left_end
                assert end is not None
                assert (end.code, end.retry_after_s) == ("internal", 10.0)
        assert [(item.status, item.attempts) for item in replica.operations()] == [("pending", 0)]
        assert replica.set_aside() == ()
        assert exchange(replica, hub).proven_equal


# ── a peer that dies, and a line that breaks ─────────────────────────────────────────────────────────────────────────


DEATHS = 2 + RetryPolicy().losses_max
"""Two to find the entry."""


@pytest.mark.parametrize("times", [5, 40])
def test_lines_that_break_say_nothing_about_an_entry(times: int) -> None:
    """However often that was, the first session on a line that lasts brings it, and what was written since."""
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="large")
        accept = Port.accept_runs

        def cut(port: Port, runs: list[bytes]) -> Batch:
            if port is hub.port:
                raise Dies  # the line, not the process
            return accept(port, runs)

        with patch.object(Port, "accept_runs", cut):
            for _ in range(times):
                meet(replica, hub)
        replica.create(Task, title="later")
        assert replica.set_aside() == ()
        assert meet(replica, hub).proven_equal
        assert set(statuses(replica)) == {"completed"}


def test_what_waits_is_named_with_how_long() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="poison")
        with poisoned(Poison(author_of(replica), 1, Dies), at=hub):
            for _ in range(DEATHS):
                meet(replica, hub)
        text = replica.port.waits_for(hub.port.key.public_key)
        assert text.startswith("operation 1 is set aside for 60 s more (the connection was lost")


def test_what_a_peer_dies_of_waits_without_holding_up_the_rest_and_never_fails() -> None:
    dice = Dice(1)
    with memory(1, dice=dice) as replica, memory(2) as hub:
        replica.create(Task, title="poison")
        hub.create(Task, title="of the hub")
        poison = Poison(author_of(replica), 1, Dies)
        pauses_s: list[int] = []
        with poisoned(poison, at=hub):
            for _ in range(DEATHS):
                assert replica.set_aside() == ()
                meet(replica, hub)
            assert titles(replica) == {"poison", "of the hub"}
            for _ in range(9):
                (item,) = replica.set_aside()
                assert item.due_ms is not None
                pauses_s.append(round((item.due_ms - dice.now_ms) / 1000))
                before = poison.met
                hub.create(Task, title=f"meanwhile {before}")
                meet(replica, hub)
                assert poison.met == before, "not yet"
                assert f"meanwhile {before}" in titles(replica)
                dice.now_ms = item.due_ms
                meet(replica, hub)
                assert poison.met == before + 1
        assert pauses_s == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
        operation = replica.operation("1")
        assert (operation.status, operation.attempts) == ("pending", 9 + DEATHS)
        assert operation.error == "the connection was lost: the process is gone"
        assert not meet(replica, hub).proven_equal
        assert replica.retry(operation) == 1, "at once"
        assert meet(replica, hub).proven_equal
        assert [(item.status, item.error) for item in replica.operations()] == [("completed", "")]
        assert store_of(replica).count(Table.HOLDING, start=b"\0d", end=b"\0e") == 0
        assert replica.set_aside() == ()


def test_a_clock_that_was_put_back_makes_no_pause_longer() -> None:
    dice = Dice(1)
    with memory(1, dice=dice) as replica, memory(2) as hub:
        replica.create(Task, title="poison")
        with poisoned(Poison(author_of(replica), 1, Dies), at=hub):
            for _ in range(DEATHS):
                meet(replica, hub)
        dice.now_ms -= 10 * 365 * 86_400_000
        key = hub.port.key.public_key
        (suspect,) = replica.port.care(key).suspects
        assert suspect.due_ms - dice.now_ms <= 3_600_001


def test_an_open_session_tries_again_when_the_pause_is_over() -> None:
    dice = Dice(1)
    with memory(1, dice=dice) as replica, memory(2) as hub:
        replica.create(Task, title="poison")
        with poisoned(Poison(author_of(replica), 1, Dies), at=hub):
            for _ in range(DEATHS):
                meet(replica, hub)
        pair = Exchange(replica, hub)
        pair.settle()
        assert hub.count(Task) == 0
        dice.now_ms += 60_000
        pair.left.conversation.tick()
        pair.settle()
        assert hub.count(Task) == 1
        replica.create(Task, title="after it")
        pair.settle()
        assert hub.count(Task) == 2, "what it waited for is nothing special any more"
        assert pair.prove()
        pair.close()


def test_what_was_written_since_does_not_go_beside_what_is_sent_alone() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        other.create(Task, title="before")
        exchange(other, replica)
        replica.create(Task, title="poison")
        with poisoned(Poison(author_of(replica), 1, Dies), at=hub):
            for _ in range(3):
                meet(replica, hub)
            assert titles(hub) == {"before"}
            other.create(Task, title="since")
            relay(other, replica)
            for _ in range(6):
                meet(replica, hub)
            assert titles(hub) == {"before", "since"}
            (item,) = replica.set_aside()
            assert (item.author, item.sequence) == (author_of(replica), 1)


def test_what_rests_on_such_an_entry_follows_in_the_same_session() -> None:
    dice = Dice(1)
    with memory(1, dice=dice) as replica, memory(2) as hub, memory(3) as other:
        other.create(Task, title="poison")
        exchange(other, replica)
        replica.create(Task, title="has seen it")
        with poisoned(Poison(author_of(other), 1, Dies), at=hub):
            while not replica.set_aside():
                meet(replica, hub)
        pair = Exchange(replica, hub)
        pair.settle()
        assert titles(hub) == set()
        dice.now_ms += 60_000
        pair.left.conversation.tick()
        pair.settle()
        assert titles(hub) == {"poison", "has seen it"}
        assert pair.prove()
        pair.close()


def test_two_that_a_peer_dies_of_are_found_one_after_the_other() -> None:
    with memory(1) as replica, memory(2) as hub, memory(3) as other:
        for name, writer in (("mine", replica), ("theirs", other)):
            for number in range(5):
                writer.create(Task, title=f"{name} {number}")
        exchange(other, replica)
        mine, theirs = (Poison(author_of(writer), 3, failing) for writer in (replica, other))
        with poisoned(mine, at=hub), poisoned(theirs, at=hub):
            for _ in range(20):
                meet(replica, hub)
            assert titles(hub) == {"mine 0", "mine 1"}, "the other one's run came as one, and goes on as one"
        assert len(replica.set_aside()) == 2
        replica.retry()
        assert meet(replica, hub).proven_equal


def test_lines_that_break_anywhere_delay_nothing_for_good() -> None:
    """Whatever is in flight at each break, the first session that lasts brings everything."""
    with memory(1) as replica, memory(2) as hub:
        for number in range(30):
            replica.create(Task, title=str(number))
            meet(replica, hub, fates=cut_at(number % 9))
        assert "failed" not in statuses(replica)
        replica.retry()
        assert exchange(replica, hub).proven_equal
        assert set(statuses(replica)) == {"completed"}


def test_where_care_is_taken_batches_grow_again() -> None:
    """On a line that breaks, one entry a round trip is less than what comes."""
    frames = 0

    def counted(frame: Frame) -> Fate:
        nonlocal frames
        frames += frame.index >= 0
        return Fate.DELIVER

    with memory(1) as replica, memory(2) as hub:
        for number in range(200):
            replica.create(Task, title=f"{number:0100}")
        with poisoned(Poison(author_of(replica), 1, Dies), at=hub):
            for _ in range(2):
                meet(replica, hub)
        assert meet(replica, hub, fates=counted).proven_equal
        assert frames < 80, "it was 410"


def test_leaving_amid_a_transfer_says_nothing_about_what_was_in_flight() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="a")
        for _ in range(9):
            pair = Exchange(replica, hub, fates=lambda frame: Fate.DROP if frame.index > 1 else Fate.DELIVER)
            pair.settle()
            pair.left.conversation.lost("the session was left", by_peer=False)
            pair.right.close()
            pair.left.close()
        assert store_of(replica).get(Table.HOLDING, b"\0d" + device_of(hub).encode()) is None


# ── settings, and what is asked for ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "wrong",
    [
        {"failures_max": 0},
        {"losses_max": True},
        {"failures_max": 2.0},
        {"pause_s": 0},
        {"pause_s": 7200.0},
        {"pause_s_max": float("inf")},
        {"pause_s": float("nan")},
    ],
)
def test_a_policy_that_cannot_be_is_bad_input(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        RetryPolicy(**wrong)
    assert "RetryPolicy()" in caught.value.hint


def test_a_policy_is_given_when_the_replica_is_opened() -> None:
    policy = RetryPolicy(failures_max=3)
    with Replica.open(":memory:", [Task], retry_policy=policy) as replica, memory(2) as hub:
        replica.create(Task, title="poison")
        with poisoned(Poison(author_of(replica), 1, failing), at=hub):
            for _ in range(3):
                meet(replica, hub)
        assert statuses(replica) == ["failed"]
    with pytest.raises(InputError, match="retry_policy is a RetryPolicy, not a dict"):
        Replica.open(":memory:", [Task], retry_policy={})  # type: ignore[arg-type]  # wrong on purpose


def test_doubts_outlive_the_process(tmp_path: Path) -> None:
    with memory(2) as hub:
        with on_disk(tmp_path) as replica:
            replica.create(Task, title="poison")
            poison = Poison(author_of(replica), 1, failing)
        for day in range(1, 6):
            with on_disk(tmp_path, seed=day) as replica, poisoned(poison, at=hub):
                meet(replica, hub)
        with on_disk(tmp_path, seed=7) as replica:
            assert statuses(replica) == ["failed"]
            assert replica.operation("1").attempts == 5
            assert check_store(store_of(replica)).listed == []


def test_what_rests_on_a_suspect_follows_it_in_the_same_session() -> None:
    """It goes before the suspect, and is parked; nobody is to wait for another session then."""
    with memory(1) as hub, memory(2) as dev, memory(3) as other:
        hub.create(Task, title="begins")
        sync(hub, dev, other)
        task = dev.create(Task, title="suspect")
        exchange(dev, other)
        other.get(Task, task.id).title = "rests on it"
        exchange(dev, other)
        flight = Flight(partition="", author=author_of(dev), first=1, last=1, until=100, alone=True)
        for _ in range(2):
            dev.port.ended_at(device_of(hub), flight, Fault.LOSS, reason="lost", epoch=bytes(8))
        assert exchange(dev, hub).proven_equal
        assert hub.get(Task, task.id).title == "rests on it"


def test_what_a_suspects_author_wrote_on_top_of_what_rests_on_it_follows_too() -> None:
    """The peer asks for both authors again while one of them is a suspect still."""
    with memory(1) as hub, memory(2) as dev, memory(3) as other:
        hub.create(Task, title="begins")
        sync(hub, dev, other)
        task = dev.create(Task, title="suspect")
        for turn in range(5):
            exchange(dev, other)
            (other, dev)[turn % 2].get(Task, task.id).title = f"turn {turn}"
        exchange(dev, other)
        flight = Flight(partition="", author=author_of(dev), first=1, last=1, until=100, alone=True)
        for _ in range(2):
            dev.port.ended_at(device_of(hub), flight, Fault.LOSS, reason="lost", epoch=bytes(8))
        assert exchange(dev, hub).proven_equal
        assert hub.get(Task, task.id).title == "turn 4"


@pytest.mark.parametrize("says", ["its vector", "that both are equal"])
def test_what_another_brought_to_who_it_was_set_aside_for_is_waited_for_no_more(says: str) -> None:
    """An entry of a third device: no word on entries of ours tells that it is there by now."""
    with memory(1) as hub, memory(2) as device, memory(3) as writer:
        writer.create(Task, title="poison")
        exchange(writer, hub)
        with poisoned(Poison(author_of(writer), 1, failing), at=device):
            while not hub.set_aside():
                meet(hub, device)
        assert hub.port.held_back(key_of(device)) == {author_of(writer): 1}
        hub.port.acknowledged(device_of(device), device.port.vector(), [], but_for=frozenset())
        assert hub.port.held_back(key_of(device)), "it lacks it still"
        exchange(writer, device)
        if says == "its vector":
            hub.port.acknowledged(device_of(device), device.port.vector(), [], but_for=frozenset())
        else:
            hub.port.equal(device_of(device))
        assert hub.port.waits_for(key_of(device)) == ""
        assert hub.port.held_back(key_of(device)) == {}
        assert store_of(hub).get(Table.HOLDING, b"\0r" + device_of(device).encode()) is None
        assert meet(hub, device).proven_equal
