"""Law 3: no acknowledged operation is lost or undone by anything but a later operation that saw it."""

from __future__ import annotations

from typing import Any

import pytest

from crdt_sync.core.ids import DEFAULT_PARTITION
from crdt_sync.errors import RecordNotFoundError
from crdt_sync.replica import OperationStatus
from tests.laws.filling import compare
from tests.laws.histories import Law, hold
from tests.laws.models import MODELS, POLICIES, Task
from tests.laws.world import Device, World


class NothingLost(Law):
    """Everything but registers follows the reference, in which only what saw an operation can undo it."""

    def after_change(self, world: World, device: Device, record: str) -> None:
        view = world.view(device, record)
        model, name = world.split(record)
        found = device.replica.find(model, id=name)
        assert bool(found) == view.live(), f"live is {view.live()}"
        if not found:
            try:
                device.replica.get(model, name)
            except RecordNotFoundError:
                return
            raise AssertionError("a dead record can be had")
        live: Any = device.replica.get(model, name)
        assert int(live.votes) == view.count("votes"), "a counter shows another sum"
        assert set(live.tags) == view.elements("tags"), "a set holds other elements"
        compare(live, view)
        text = str(live.notes)
        assert sorted(text) == sorted(view.characters("notes")), "characters were lost or came back"
        assert not view.misplaced("notes", text), "characters changed places"
        assert device.replica.count(model, id=name, votes=view.count("votes"), notes=text) == 1, "the table differs"
        for element in view.elements("tags"):
            assert device.replica.count(model, id=name, tags__contains=element) == 1, "the table differs"

    def after_meeting(self, world: World, left: Device, right: Device) -> None:
        for device in (left, right):
            self.check(world, device)

    def before_opening(self, world: World, device: Device) -> dict[int, int]:
        return device.vector()

    def after_opening(self, world: World, device: Device, before: dict[int, int]) -> None:
        after = device.vector()
        assert all(after.get(author, 0) >= last for author, last in before.items()), "entries did not survive"
        self.check(world, device)

    def at_end(self, world: World) -> None:
        for device in world.devices:
            assert device.known == {name for items in world.entries.values() for name in (item.id for item in items)}
            self.check(world, device)

    def check(self, world: World, device: Device) -> None:
        """Every record, how many there are, and that what is called completed is held by somebody else."""
        live = 0
        for record in world.reference.records():
            self.after_change(world, device, record)
            live += world.view(device, record).live()
        assert sum(device.replica.count(model) for model in MODELS) == live
        others = [other.replica.port for other in world.devices if other is not device]
        for _, row in device.replica._journal.rows(status=OperationStatus.COMPLETED):
            assert any(port.hash_at(DEFAULT_PARTITION, row.author, row.sequence) for port in others), "nobody holds it"


class TestNothingLost:
    @pytest.mark.parametrize("first", POLICIES)
    def test_what_was_acknowledged_stays(self, first: type[Task]) -> None:
        """States: at every moment each replica shows exactly the effect of the operations that it has applied.

        An operation counts from the moment its call returned; a peer's from the moment it is in the vector; and what is
        called completed is durable somewhere else. Processes are killed and sessions cut. It fails where a concurrent
        delete hides an edit, a removal takes an adding along that it did not see, an increment or a character is lost,
        or where something is acknowledged before it is durable.
        """
        hold(NothingLost(), first=first, share=len(POLICIES))
