"""Records as they were where a device's clock was ahead: what a write had seen counts with it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crdt_sync import Counter, Model, Replica, Set, errors
from crdt_sync.core.clock import physical_ms
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory, on_disk

DAY_MS = 86_400_000


class Task(Model):
    title: str = ""
    body: str = ""
    votes: Counter
    marks: Set[int]


class Trio:
    """Two devices with right clocks and one that is a day ahead, and a record that all of them hold."""

    def __init__(self, here: Replica, there: Replica, ahead: Replica) -> None:
        self.here, self.there, self.ahead = here, there, ahead
        self.task = here.create(Task, title="first")
        self.meet(here, there)
        self.meet(here, ahead)

    @staticmethod
    def meet(one: Replica, other: Replica) -> None:
        assert exchange(one, other).proven_equal

    def meet_all(self) -> None:
        for one, other in ((self.here, self.there), (self.here, self.ahead), (self.here, self.there)):
            self.meet(one, other)

    def at(self, time: int) -> Task:
        """The record as it was, which is the same on all three."""
        found = [replica.at(Task, self.task.id, time) for replica in (self.here, self.there, self.ahead)]
        assert len({repr(task.model_dump()) for task in found}) == 1
        return found[0]


@pytest.fixture
def trio() -> Iterator[Trio]:
    fast = Dice(3, now_ms=START_MS + DAY_MS)
    with memory(1, Task) as here, memory(2, Task) as there, memory(3, Task, dice=fast) as ahead:
        yield Trio(here, there, ahead)


def test_ones_own_edits_are_not_hidden_by_one_of_a_clock_ahead(trio: Trio) -> None:
    trio.ahead.get(Task, trio.task.id).title = "tomorrow"
    trio.meet(trio.here, trio.ahead)
    for number in range(3):
        trio.task.title = f"after it {number}"
        trio.task.votes.increment()
    time = trio.here.last_operation().timestamp
    assert physical_ms(time) < START_MS + DAY_MS
    trio.meet_all()
    then = trio.at(time)
    assert (then.title, int(then.votes)) == ("after it 2", 3)


def test_what_a_write_had_seen_counts_with_it_whatever_the_write_is_about(trio: Trio) -> None:
    trio.ahead.get(Task, trio.task.id).title = "tomorrow"
    trio.meet(trio.there, trio.ahead)
    trio.meet(trio.here, trio.there)
    before = trio.here.last_operation().timestamp
    trio.task.votes.increment()
    time = trio.here.last_operation().timestamp
    trio.meet_all()
    assert (trio.at(before).title, int(trio.at(before).votes)) == ("first", 0)
    assert (trio.at(time).title, int(trio.at(time).votes)) == ("tomorrow", 1)


def test_what_was_seen_by_way_of_others_counts_too(trio: Trio) -> None:
    trio.ahead.get(Task, trio.task.id).title = "tomorrow"
    trio.meet(trio.there, trio.ahead)
    trio.there.create(Task, title="another one")  # the head that is named next is this one's, and it saw the edit
    trio.meet(trio.here, trio.there)
    trio.task.votes.increment()
    time = trio.here.last_operation().timestamp
    trio.meet_all()
    assert (trio.at(time).title, int(trio.at(time).votes)) == ("tomorrow", 1)


def test_what_nobody_had_seen_counts_at_its_own_time(trio: Trio) -> None:
    trio.ahead.get(Task, trio.task.id).title = "tomorrow"
    trio.task.body = "at once with it"
    trio.there.get(Task, trio.task.id).votes.increment()
    time = max(trio.here.last_operation().timestamp, trio.there.last_operation().timestamp)
    trio.meet_all()
    then = trio.at(time)
    assert (then.title, then.body, int(then.votes)) == ("first", "at once with it", 1)
    assert trio.at(trio.ahead.last_operation().timestamp).title == "tomorrow"


def test_only_what_was_seen_then_counts(trio: Trio) -> None:
    """A later edit of the device that is ahead had not been seen, though an earlier one had."""
    there = trio.ahead.get(Task, trio.task.id)
    there.title = "tomorrow"
    trio.meet(trio.here, trio.ahead)
    there.title = "later tomorrow"
    trio.task.votes.increment()
    time = trio.here.last_operation().timestamp
    trio.meet_all()
    assert (trio.at(time).title, int(trio.at(time).votes)) == ("tomorrow", 1)


def test_edits_from_before_ones_own_clock_was_put_right(tmp_path: Path) -> None:
    with on_disk(tmp_path, Task, seed=1) as replica:
        task = replica.create(Task, title="made")
        task.body = "early"
        name = task.id
    with on_disk(tmp_path, Task, seed=0) as replica:  # a day before
        again = replica.get(Task, name)
        now = datetime.fromtimestamp(START_MS / 1000 + 60, UTC)
        with pytest.raises(errors.RecordNotFoundError):
            replica.at(again, now)
        again.votes.increment()
        then = replica.at(again, now)
        assert (then.title, then.body, int(then.votes)) == ("made", "early", 1)


def test_a_record_that_a_clock_ahead_made_is_there_for_whoever_wrote_to_it(trio: Trio) -> None:
    made = trio.ahead.create(Task, title="tomorrow")
    trio.meet(trio.here, trio.ahead)
    before = trio.here.last_operation().timestamp
    again = trio.here.get(Task, made.id)
    again.body = "seen"
    time = trio.here.last_operation().timestamp
    with pytest.raises(errors.RecordNotFoundError):
        trio.here.at(again, before)
    assert (trio.here.at(again, time).title, trio.here.at(again, time).body) == ("tomorrow", "seen")


def test_what_was_folded_of_a_clock_ahead_is_said_to_be(trio: Trio) -> None:
    made = trio.ahead.create(Task, title="tomorrow")
    for _ in range(3):
        trio.meet_all()
    assert trio.here.compact().rows_after == 0
    again = trio.here.get(Task, made.id)
    before = trio.here.last_operation().timestamp
    with pytest.raises(errors.RecordNotFoundError):
        trio.here.at(again, before)
    again.body = "seen"
    with pytest.raises(errors.HistoryFoldedError):
        trio.here.at(again, trio.here.last_operation().timestamp)


def test_what_others_wrote_to_a_record_that_a_clock_ahead_made_is_never_left_out_of_it(trio: Trio) -> None:
    """Folded, what right clocks wrote is dated before the creation, with which it can not be told apart any more."""
    made = trio.ahead.create(Task, title="tomorrow")
    trio.meet_all()
    again = trio.here.get(Task, made.id)
    before = trio.here.last_operation().timestamp
    again.title = "today"
    first = trio.here.last_operation().timestamp
    again.votes.increment(10)
    for _ in range(3):
        trio.meet_all()
    assert trio.here.compact().rows_after == 0
    trio.there.get(Task, made.id).votes.increment(-1)
    second = trio.there.last_operation().timestamp
    trio.meet_all()
    for time, votes in ((first, 0), (second, 9)):
        then = trio.there.at(Task, made.id, time)
        assert (then.title, int(then.votes)) == ("today", votes)
        with pytest.raises(errors.HistoryFoldedError):
            trio.here.at(Task, made.id, time)
    with pytest.raises(errors.RecordNotFoundError):
        trio.here.at(Task, made.id, before)


@pytest.mark.parametrize("seed", range(8))
def test_what_counts_is_what_was_made_until_then_and_what_that_had_seen(seed: int) -> None:
    """Against a reference that knows who had seen what, with clocks days apart and devices that meet at random."""
    draw = random.Random(seed)
    with ExitStack() as stack:
        clocks = [Dice(number, now_ms=START_MS + DAY_MS * draw.randrange(4), step_ms=20_000_000) for number in range(4)]
        devices = [stack.enter_context(memory(number, Task, dice=dice)) for number, dice in enumerate(clocks)]
        name = devices[0].create(Task).id
        made = devices[0].last_operation().timestamp
        known: list[set[int]] = [set() for _ in devices]
        times: dict[int, int] = {}
        seen: dict[int, set[int]] = {}
        for device in devices[1:]:
            exchange(devices[0], device)
        for mark in range(40):
            one, other = draw.sample(range(4), 2)
            if draw.random() < 0.4:
                assert exchange(devices[one], devices[other]).proven_equal
                known[one] = known[other] = known[one] | known[other]
            if draw.random() < 0.3:
                devices[other].create(Task, title="another record, so that heads pass through it")
            devices[one].get(Task, name).marks.add(mark)
            known[one] = known[one] | {mark}
            times[mark], seen[mark] = devices[one].last_operation().timestamp, known[one]
        for _ in range(2):
            for device in devices[1:]:
                assert exchange(devices[0], device).proven_equal
        for time in [made, *times.values()]:
            counted = {mark for made_then, at in times.items() if at <= time for mark in seen[made_then]}
            if counted or time == made:
                for device in devices:
                    assert device.at(Task, name, time).marks == counted
