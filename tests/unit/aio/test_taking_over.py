"""A replica that takes over what a peer folded, amid a session with somebody else who lacks it too."""

from __future__ import annotations

from crdt_sync import Replica, connect, serve
from crdt_sync.testing.exchange import exchange
from tests.unit.aio.network import PATIENCE_S, QUICK, Task, memory, titles, until


async def test_what_was_taken_over_is_passed_on_to_who_is_connected_already(
    hub: Replica, one: Replica, two: Replica
) -> None:
    with memory() as old:
        for number in range(5):
            two.create(Task, title=str(number))
        assert exchange(two, old).proven_equal
        two.compact()
    assert two.port.floors()
    async with serve(hub) as server, connect(one, server.url, policy=QUICK) as first:
        await first.caught_up(timeout_s=PATIENCE_S)
        async with connect(two, server.url, policy=QUICK) as second:
            await second.caught_up(timeout_s=PATIENCE_S)
            await until(lambda: titles(one) == {"0", "1", "2", "3", "4"})
            await first.caught_up(timeout_s=PATIENCE_S)
            assert second.reconnects == 0, "who brought it need not begin anew"
