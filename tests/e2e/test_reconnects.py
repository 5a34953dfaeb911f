"""Some hundreds of connections that end in every way leave nothing behind in the process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crdt_sync import Replica
from tests.e2e.reconnects import Storm, require_votes
from tests.e2e.told import Item

BLOCKS_MAX = 10.0
"""Of memory for each reconnect; what a session holds is thousands of them."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="tells what a process holds from /proc")
async def test_nothing_is_left_of_connections_that_ended(tmp_path: Path) -> None:
    storm = Storm(tmp_path, seed=3)
    await storm.run(300, samples=3)
    _, first, *_, last = storm.samples
    assert last.reconnects >= 300
    assert last.tasks == first.tasks
    assert last.descriptors == first.descriptors
    assert last.blocks - first.blocks < BLOCKS_MAX * (last.reconnects - first.reconnects)


def test_a_vote_that_all_stores_lack_is_seen() -> None:
    with Replica.open(":memory:", [Item]) as replica:
        item = replica.create(Item, title="item")
        item.votes.increment()
        require_votes([replica, replica], item.id, votes=1)
        with pytest.raises(AssertionError):
            require_votes([replica, replica], item.id, votes=2)
