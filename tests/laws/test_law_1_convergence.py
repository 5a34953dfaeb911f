"""Law 1: the same operations, in any order, grouping and duplication, give the same."""

from __future__ import annotations

import pytest

from crdt_sync.testing.exchange import ExchangeReport
from tests.laws.copying import deliver_shuffled, newcomer, runs_of
from tests.laws.histories import Law, hold
from tests.laws.models import POLICIES, Task
from tests.laws.seeing import see
from tests.laws.world import Device, World


class Convergence(Law):
    """Two replicas that have applied the same operations have equal versions, views and conflicts, ids too."""

    def after_session(self, left: Device, right: Device, report: ExchangeReport) -> None:
        assert left.known == right.known, "a session without faults left something behind"
        assert report.proven_equal, "equal replicas were not proven equal"
        assert report.left.statuses == report.right.statuses == 0, "entries were received and not applied"

    def after_meeting(self, world: World, left: Device, right: Device) -> None:
        if left.known == right.known:
            assert see(left.replica) == see(right.replica), "equal replicas show different things"

    def at_end(self, world: World) -> None:
        first = see(world.devices[0].replica)
        for device in world.devices:
            assert device.known == world.devices[0].known, "somebody was left out"
            assert see(device.replica) == first, "equal replicas show different things"
        for device in world.devices[1:]:
            assert world.meet(world.devices[0], device).proven_equal
        assert len({conflict.id for conflict in first.conflicts}) == len(first.conflicts), "two conflicts of one id"


class AnyOrder(Law):
    """A newcomer that gets all entries shuffled, repeated and regrouped holds what the others hold."""

    def at_end(self, world: World) -> None:
        source = world.devices[0].replica
        with newcomer(source) as replica:
            deliver_shuffled(replica, runs_of(source), world.random)
            assert see(replica) == see(source), "another order gives other things"


class TestConvergence:
    @pytest.mark.parametrize("first", POLICIES)
    def test_replicas_with_the_same_operations_show_the_same(self, first: type[Task]) -> None:
        """States: whoever has applied the same operations has equal versions, fingerprint, views and conflicts.

        It fails where a result depends on the order of arrival, on who reads, or on what the engine prefers; also where
        a session leaves something behind, so that replicas that met without faults do not hold the same.
        """
        hold(Convergence(), first=first, share=len(POLICIES))

    def test_any_order_grouping_and_duplication_gives_the_same(self) -> None:
        """States: entries handed in shuffled, some twice, in other runs and batches, give the same in the end.

        It fails where an effect may be applied before its cause, where a repeated entry counts twice, or where what was
        parked is not taken when it comes again.
        """
        hold(AnyOrder())
