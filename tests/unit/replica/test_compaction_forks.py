"""Forks of stores that have folded, or whose peer has: the branch that only one side knows is written again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.core.entry import decode_run
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.state import EVIDENCE_MAX
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, state_of, store_of
from tests.unit.replica.test_accept import runs_of
from tests.unit.replica.test_forks import Machine, appending, settled, unfinished


def twice(replica: Replica, peer: Replica) -> None:
    for _ in range(2):
        exchange(replica, peer)


def test_fork_above_the_floor_is_settled(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    with memory(99) as peer:
        name = machine.start(peer, title="a")
        with machine.on() as replica:
            twice(replica, peer)
            assert replica.compact().rows_after == 0
        machine.lose(peer, appending(name, "lost "))
        with machine.on() as replica:
            replica.get(Task, name).notes.append("kept ")
            settled(replica, peer)
            assert sorted(str(replica.get(Task, name).notes).split()) == ["kept", "lost"]
            assert unfinished(replica) == []
            assert check_store(store_of(replica)).listed == []


def fork_below_the_floor(machine: Machine, peer: Replica, *, lost: int) -> str:
    """The machine is taken back, its fences too, and its peer has folded what it wrote since."""
    name = machine.start(peer, title="a")
    machine.remember()
    with machine.on() as replica:
        for number in range(lost):
            replica.get(Task, name).notes.append(f"lost{number} ")
        twice(replica, peer)
    machine.rewind()
    assert peer.compact().rows_after == 0
    return name


@pytest.mark.parametrize(("lost", "kept"), [(1, 1), (1, 3), (2, 2), (2, 3)])
def test_fork_below_the_floor_of_a_peer_is_settled(tmp_path: Path, lost: int, kept: int) -> None:
    machine = Machine(tmp_path)
    with memory(99) as peer:
        name = fork_below_the_floor(machine, peer, lost=lost)
        with machine.on() as replica:
            for number in range(kept):
                replica.get(Task, name).notes.append(f"kept{number} ")
            for _ in range(2):
                exchange(replica, peer)
            settled(replica, peer)
            words = [f"kept{number}" for number in range(kept)] + [f"lost{number}" for number in range(lost)]
            assert sorted(str(replica.get(Task, name).notes).split()) == words
            assert unfinished(replica) == []
            assert check_store(store_of(replica)).listed == []


def test_entries_below_a_floor_beyond_ours_are_kept_as_evidence(tmp_path: Path) -> None:
    """Nothing tells them from entries of ours that the peer has folded, as an old backup has them."""
    machine = Machine(tmp_path)
    with memory(99) as peer:
        name = fork_below_the_floor(machine, peer, lost=2)
        with machine.on() as replica:
            replica.get(Task, name).notes.append("kept ")
            for _ in range(2):
                exchange(replica, peer)
            settled(replica, peer)
            assert str(replica.get(Task, name).notes).split() == ["lost0", "lost1"]
            ((_, kept),) = store_of(replica).scan(Table.EVIDENCE)
            assert b"kept " in kept
            assert check_store(store_of(replica)).listed == []


@pytest.mark.parametrize(("full", "own"), [(EVIDENCE_MAX, 1), (0, EVIDENCE_MAX + 3)])
def test_of_what_we_wrote_nothing_is_dropped_where_evidence_is_full(tmp_path: Path, full: int, own: int) -> None:
    machine = Machine(tmp_path)
    with memory(99) as peer:
        name = fork_below_the_floor(machine, peer, lost=own + 1)
        with machine.on() as replica:
            state = state_of(replica)
            run = decode_run(runs_of(replica)[0])
            for number in range(full):
                state.keep_evidence(replace(run, body=run.body + bytes(number)))
            for number in range(own):
                replica.get(Task, name).notes.append(f"kept{number} ")
            for _ in range(2):
                exchange(replica, peer)
            settled(replica, peer)
            kept = b"".join(data for _, data in state.store.scan(Table.EVIDENCE))
            for number in range(own):
                assert b"kept%d " % number in kept
            state.keep_evidence(replace(run, body=b"of somebody else"))
            assert state.store.count(Table.EVIDENCE) == full + own
            assert len(replica.safe_to_wipe().devices) == 1
            assert check_store(store_of(replica)).listed == []
