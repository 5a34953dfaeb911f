"""Entries that wait for others, which come in another session."""

from __future__ import annotations

from unittest.mock import patch

from crdt_sync.core.entry import decode_run
from crdt_sync.protocol.source import RunPage
from crdt_sync.replica.port import Port
from crdt_sync.testing.exchange import Exchange, exchange
from tests.unit.replica.devices import Task, memory
from tests.unit.replica.test_home import author_of
from tests.unit.replica.test_set_aside import relay, titles


def test_what_waits_is_sent_again_when_another_session_brings_what_it_rests_on() -> None:
    with memory(1) as writer, memory(2) as device, memory(3) as hub:
        writer.create(Task, title="first")
        exchange(writer, device)
        device.create(Task, title="rests on it")
        runs_after, withheld = Port.runs_after, author_of(writer)

        def without_it(port: Port, cursor: int, known: object, *, bytes_max: int) -> RunPage:
            page = runs_after(port, cursor, known, bytes_max=bytes_max)  # type: ignore[arg-type]  # passed on
            if port is not device.port:
                return page
            kept = [run for run in page.runs if decode_run(run[0]).author != withheld]
            return RunPage(tuple(kept), page.cursor, more=page.more)

        with patch.object(Port, "runs_after", without_it):
            pair = Exchange(device, hub)
            pair.settle()
            assert titles(hub) == set()
            relay(writer, hub)
            pair.right.conversation.wake()
            pair.settle()
            assert titles(hub) == {"first", "rests on it"}
            pair.close()
