"""Law 5: of two concurrent edits of different fields both survive; of one plain field the later HLC shows."""

from __future__ import annotations

from typing import Any

from crdt_sync.core.conflict import Candidate
from tests.laws.histories import Law, hold
from tests.laws.models import REGISTERS
from tests.laws.reference import Choice
from tests.laws.world import Device, World


class ConcurrentEdits(Law):
    """Every register shows the latest of the writes that none replaced, and has the others as candidates."""

    def after_change(self, world: World, device: Device, record: str) -> None:
        view = world.view(device, record)
        if not view.live():
            return
        live: Any = world.handle(device, record)
        for name in REGISTERS:
            found = device.replica.candidates(live, name)
            expected = [_expected(world, item) for item in view.choices(name)]
            assert [_told(item) for item in found] == expected, f"other candidates of {name}"
            if not view.certain(name):
                continue
            shown = getattr(live, name)
            assert (type(shown), shown) == (type(view.value(name)), view.value(name)), f"{name} shows another value"
        model, key = world.split(record)
        values = {name: view.value(name) for name in REGISTERS if view.certain(name)}
        assert device.replica.count(model, id=key, **values) == 1, "the table differs"

    def after_meeting(self, world: World, left: Device, right: Device) -> None:
        for device in (left, right):
            for record in world.reference.records():
                self.after_change(world, device, record)

    def after_opening(self, world: World, device: Device, before: Any) -> None:
        self.after_meeting(world, device, device)

    def at_end(self, world: World) -> None:
        for device in world.devices:
            self.after_meeting(world, device, device)


class ClocksFollowCauses(Law):
    """An operation is dated later than everything that its author had applied."""

    def after_change(self, world: World, device: Device, record: str) -> None:
        view = world.view(device, record)
        for name in view.ids:
            item = world.reference.operations[record][name]
            for seen in item.seen:
                before = world.reference.operations[record][seen]
                assert before.hlc < item.hlc or before.id[:2] == item.id[:2], "an effect is dated before its cause"


def _told(candidate: Candidate) -> tuple[Any, ...]:
    return type(candidate.value), candidate.value, candidate.timestamp, candidate.dot.author, candidate.device_id


def _expected(world: World, choice: Choice) -> tuple[Any, ...]:
    device = next(device for device in world.devices if choice.author in device.authors)
    return type(choice.value), choice.value, choice.hlc, choice.author, device.device_id


class TestConcurrentEdits:
    def test_registers_keep_every_concurrent_write_and_show_the_latest(self) -> None:
        """States: a register's candidates are exactly the writes that none replaced; the latest by HLC is shown.

        It fails where the engine's winner is shown instead, where a concurrent write is lost or one that was replaced
        stays, where a write touches another field, or where the table says otherwise than the record.
        """
        hold(ConcurrentEdits())

    def test_timestamps_follow_causality(self) -> None:
        """States: whatever the clocks say (here within the drift allowed), an effect is dated after its causes.

        It fails where a clock does not take in what it hears, or goes back when the store is opened again; then a later
        write would be shown as the older one.
        """
        hold(ClocksFollowCauses())
