"""Which runs a session is given to send: each once, and none that its peer sent."""

from __future__ import annotations

from crdt_sync import Model, Replica


class Note(Model):
    title: str = ""


def test_a_peer_that_knows_everything_is_sent_nothing_from_then_on() -> None:
    with Replica.open(":memory:", [Note]) as replica:
        for number in range(3):
            replica.create(Note, title=str(number))
        page = replica.port.runs_after(0, replica.port.vector(), bytes_max=1_000)
        assert page.runs == ()
        later = replica.port.runs_after(page.cursor, {}, bytes_max=1_000)
        assert later.runs == (), "the cursor passed what the peer was known to hold"
