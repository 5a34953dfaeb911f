"""Law 6: resolving removes a conflict everywhere, and never brings back a settled one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crdt_sync.core.conflict import DELETED, UNKNOWN, Conflict, ConflictKind
from tests.laws import filling
from tests.laws.histories import Law, hold
from tests.laws.models import POLICIES, Task
from tests.laws.reference import KEPT, RecordView
from tests.laws.world import Device, World


class Resolution(Law):
    """A record has exactly the conflicts of the reference, with their bases, and none that somebody settled."""

    def after_change(self, world: World, device: Device, record: str) -> None:
        view = world.view(device, record)
        found = device.replica.conflicts(record=world.handle(device, record))
        settled = {name for operation, name in world.settled if operation in device.known}
        assert settled.isdisjoint(conflict.id for conflict in found), "a settled conflict is back"
        if view.asks():
            assert [item.kind for item in found[:1]] == [ConflictKind.EDIT_OF_DELETED], (
                "nobody is asked about a deletion"
            )
            self.check_deletion(view, found.pop(0))
        expected = view.conflicts()
        found = [conflict for conflict in found if view.certain(conflict.register)]
        registers = sorted(filter(view.certain, expected))
        assert sorted(conflict.register for conflict in found) == registers, "other registers are in conflict"
        for conflict in found:
            clash = expected[conflict.register]
            assert conflict.kind is ConflictKind.CONCURRENT_EDIT
            assert f"{conflict.model} {conflict.record_id}" == record
            assert [(item.value, item.timestamp, item.dot.author) for item in conflict.candidates] == [
                (item.value, item.hlc, item.author) for item in clash.candidates
            ], "a conflict has other candidates"
            assert conflict.value == clash.value, "a conflict proposes another value"
            if conflict.register == conflict.field:
                assert conflict.paths == (() if clash.paths == ("",) else clash.paths), "a conflict is in other places"
            if view.unset(conflict.register):
                continue  # what it grew from was taken out of the map
            if conflict.base is UNKNOWN:
                assert len(view.writes_of(conflict.field)) > KEPT, "a base is unknown though all writes are kept"
            else:
                assert (type(conflict.base), conflict.base) == (type(clash.base), clash.base), "another base"

    def check_deletion(self, view: RecordView, conflict: Conflict) -> None:
        """The deletions that stand, and everybody who did what none of them saw."""
        assert (conflict.field, conflict.base) == ("", UNKNOWN)
        deletions = [item for item in conflict.candidates if item.value is DELETED]
        tombstones = sorted((item.hlc, item.id[0]) for item in view.tombstones())
        assert sorted((item.timestamp, item.dot.author) for item in deletions) == tombstones, "other deletions"
        edits = [item for item in conflict.candidates if item not in deletions]
        assert sorted(item.dot.author for item in edits) == sorted({name[0] for name in view.unseen()})
        assert all(item.value == conflict.value for item in edits)
        assert conflict.value["votes"] == view.count("votes")

    def after_meeting(self, world: World, left: Device, right: Device) -> None:
        for device in (left, right):
            for record in world.reference.records():
                self.after_change(world, device, record)
            views = {record: world.view(device, record) for record in world.reference.records()}
            found = [
                conflict
                for conflict in device.replica.conflicts()
                if views[f"{conflict.model} {conflict.record_id}"].certain(conflict.register)
            ]
            count = sum(len([*filter(view.certain, view.conflicts())]) + view.asks() for view in views.values())
            assert len(found) == count, "the index of conflicts differs"

    def after_opening(self, world: World, device: Device, before: Any) -> None:
        self.after_meeting(world, device, device)

    def at_end(self, world: World) -> None:
        for device in world.devices:
            self.after_meeting(world, device, device)


class TestResolution:
    @pytest.mark.parametrize("first", POLICIES)
    def test_conflicts_are_those_of_the_reference_and_settled_ones_stay_settled(self, first: type[Task]) -> None:
        """States: conflicts, candidates, provisional values and bases follow from causality alone; a resolution
        supersedes exactly the candidates that its user saw, on every replica that hears of it.

        It fails where a resolution leaves its conflict open, closes one that it did not see, or where two resolutions
        made at once bring an old one back; also where the base is the last value carried along, not the ancestor.
        """
        hold(Resolution(), first=first, share=len(POLICIES))

    def test_a_function_that_cannot_do_without_an_ancestor_asks(self, tmp_path: Path) -> None:
        """Two devices put one key into a map at once: nothing was there before, and the function raises."""
        world = World(tmp_path, (False,) * 2)
        law = Resolution()
        first, second = world.devices
        record = world.create(first, Task)
        assert record is not None
        world.converge()
        for number, device in enumerate(world.devices, 1):
            filling.change(world, device, record, ("put", ("ranks/a", number)))
        world.converge()
        law.at_end(world)
        assert [item.register for item in first.replica.conflicts()] == ["ranks/a"]
        assert first.replica.conflicts() == second.replica.conflicts()
        world.abandon()

    def test_two_settlements_by_one_device_are_no_ancestors_of_each_other(self, tmp_path: Path) -> None:
        """One device settles what it saw early, then what it saw late: both stand, and neither is the base."""
        world = World(tmp_path, (False,) * 4)
        law = Resolution()
        first, *others = world.devices
        record = world.create(first, Task, owner="ann")
        assert record is not None
        world.converge()
        for device, name in zip(others, ("bob", "cem", "eve"), strict=True):
            world.write(device, record, owner=name)
        for device in others[:2]:
            world.meet(first, device)
        early = first.replica.conflicts()[0]
        world.meet(first, others[2])
        late = first.replica.conflicts()[0]
        world.resolve(first, early, None)
        world.resolve(first, late, 0)
        assert len(first.replica.conflicts()[0].candidates) == 2
        law.after_change(world, first, record)
        world.converge()
        law.at_end(world)
        world.abandon()
