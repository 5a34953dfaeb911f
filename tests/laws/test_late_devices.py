"""Devices that were not waited for lose nothing, and bring nothing back but what they edited.

Two worlds are given the same history: some devices are forgotten and edit on, among themselves and with a device that
stays; the others delete records. One world lets those records go from every replica before the late devices come back,
the other never does. In the end both show the same: edits, conflicts, and what each model says about deletions.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import example, given
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis import strategies as st

from crdt_sync import Replica
from crdt_sync.errors import RecordNotFoundError
from crdt_sync.replica.checking import check_store
from crdt_sync.testing.exchange import Exchange
from tests.laws.models import POLICIES, Task
from tests.laws.test_compaction_changes_nothing import Twin, shown, sync

STAYING, LATE = 2, 2
"""Devices; the first one compacts, the second one may meet late ones before it."""
RECORDS = 4
Steps = list[tuple[int, int, int]]
Edit = Callable[[Replica, Task], None]


def edit(step: int, choice: int) -> Edit:
    """One edit of a record, of many kinds."""

    def put(name: str, value: object) -> Edit:
        return lambda replica, record: replica.update(record, **{name: value})

    edits: list[Edit] = [
        put("title", f"title {step}"),
        put("due", step),
        put("owner", f"owner {step}"),
        put("place", {"a": step}),
        put("best", step),
        lambda _, record: record.notes.insert(0, f"note {step} "),
        lambda _, record: record.votes.increment(step),
        lambda _, record: record.tags.add(f"{step}"),
        lambda _, record: record.tags.discard("red"),
        lambda _, record: record.steps.append(f"{step}"),
        lambda _, record: record.days.__setitem__("a", step),
        lambda replica, record: replica.delete(record),
    ]
    return edits[choice % len(edits)]


class Worlds:
    """The one whose records go, and the one that keeps everything."""

    def __init__(self, model: type[Task]) -> None:
        self.model = model
        self.both = (Twin(), Twin())
        self.step = 0
        for _ in range(STAYING + LATE):
            for world in self.both:
                world.add()
        made = [{world.replicas[0].create(model, tags=["red"]).id for world in self.both} for _ in range(RECORDS)]
        self.records = [record for (record,) in made]
        self.settle(STAYING + LATE)

    def edit(self, at: int, record: int, choice: int) -> None:
        self.step += 1
        for world in self.both:
            world.now_ms += 1000
            replica = world.replicas[at]
            try:
                edit(self.step, choice)(replica, replica.get(self.model, self.records[record % RECORDS]))
            except RecordNotFoundError:
                continue  # deleted there, in both worlds

    def meet(self, one: int, other: int) -> None:
        for world in self.both:
            sync(world.replicas[one], world.replicas[other])

    def settle(self, count: int) -> None:
        for _ in range(2):
            for number in range(1, count):
                self.meet(number, 0)

    def forget(self) -> None:
        for world in self.both:
            for device in [replica.device_id for replica in world.replicas[STAYING:]]:
                world.replicas[0].forget_device(str(device))

    def remove(self, meetings: Steps) -> None:
        """All that it takes to have deleted records gone, with meetings of late devices and the reader between."""
        hub = self.both[0].replicas[0]
        for number in range(4):
            hub.compact()
            for _, late, how in meetings[number : number + 1]:
                if how % 2:
                    self.meet(STAYING + late % LATE, 1)
            self.settle(STAYING)

    def cut(self, late: int, flights: int) -> None:
        """A late device comes back, and is interrupted."""
        for world in self.both:
            pair = Exchange(world.replicas[STAYING + late % LATE], world.replicas[0])
            for _ in range(flights):
                pair.left.turn(pair.line)
                pair.right.turn(pair.line)
            pair.left.close()
            pair.right.close()

    def check(self) -> None:
        self.settle(STAYING + LATE)
        removing, keeping = self.both
        expected = shown(keeping.replicas[0])
        for replica in removing.replicas:
            assert shown(replica) == expected
            assert check_store(replica._state.store).listed == []
            assert replica.pending_count() == 0
        assert len({replica.port.fingerprint("") for replica in removing.replicas}) == 1


STEPS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 30)), max_size=8)


@Settings(max_examples=-(-Settings().max_examples // 2))
@example(model=Task, before=[], late=[(0, 0, 0), (0, 1, 0)], deleted=[(0, 1)], back=([], [4]))
@given(
    model=st.sampled_from(POLICIES),
    before=STEPS,
    late=STEPS,
    deleted=st.lists(st.tuples(st.integers(0, 2), st.integers(0, RECORDS - 1)), min_size=1, max_size=5),
    back=st.tuples(STEPS, st.lists(st.integers(1, 12), max_size=2)),
)
def test_late_devices_lose_nothing_and_bring_nothing_back(
    model: type[Task], before: Steps, late: Steps, deleted: list[tuple[int, int]], back: tuple[Steps, list[int]]
) -> None:
    meetings, cuts = back
    worlds = Worlds(model)
    try:
        for at, record, choice in before:
            worlds.edit(at % (STAYING + LATE), record, choice % 11)
        worlds.settle(STAYING + LATE)
        worlds.forget()
        for at, record, choice in late:
            if choice > 24:
                worlds.meet(STAYING, STAYING + 1)
            else:
                worlds.edit(STAYING + at % LATE, record, choice)
        for at, record in deleted:
            worlds.edit(at, record, 11)
        worlds.settle(STAYING)
        worlds.remove(meetings)
        for number, flights in enumerate(cuts):
            worlds.cut(number, flights)
            worlds.settle(STAYING)
        worlds.check()
    finally:
        for world in worlds.both:
            world.close()
