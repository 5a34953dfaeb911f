"""Metrics: what happened, in numbers that go on over opens."""

from __future__ import annotations

from pathlib import Path

from crdt_sync import Replica
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.metrics import ProcessingTime
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, Task, memory, on_disk


def test_a_new_replica_has_nothing_to_tell() -> None:
    with memory(1) as replica:
        metrics = replica.metrics()
        assert (metrics.pending, metrics.completed, metrics.failed) == (0, 0, 0)
        rates = (metrics.success_rate, metrics.conflict_rate, metrics.oldest_pending_s, metrics.processing)
        assert rates == (None, None, None, None)
        assert metrics.traffic.bytes_in == 0


def test_operations_and_how_long_they_took() -> None:
    dice = Dice(1, step_ms=0)
    with memory(1, dice=dice) as replica, memory(2) as hub:
        for title in ("a", "b", "c"):
            replica.create(Task, title=title)
            dice.now_ms += 1_000
        before = replica.metrics()
        assert (before.pending, before.oldest_pending_s, before.success_rate) == (3, 3.0, None)
        assert exchange(replica, hub).proven_equal
        after = replica.metrics()
        assert (after.pending, after.completed, after.success_rate, after.oldest_pending_s) == (0, 3, 1.0, None)
        assert after.processing == ProcessingTime(number=3, mean_ms=2000.0, p50_ms=2000, p95_ms=3000, p99_ms=3000)


def test_conflicts_and_traffic() -> None:
    with memory(1) as one, memory(2, dice=Dice(2, now_ms=START_MS + 50)) as other:
        task = one.create(Task, title="a")
        exchange(one, other)
        other.update(other.get(Task, task.id), due="2025-01-01")
        one.update(task, due="2025-01-02")
        report = exchange(one, other)
        metrics = one.metrics()
        assert (metrics.conflicts_open, metrics.conflicts_opened, metrics.foreign_entries) == (1, 1, 1)
        assert metrics.conflict_rate == 1000.0
        assert metrics.sessions == 2
        assert metrics.traffic.bytes_in > report.left.bytes_in > 0
        assert metrics.traffic.messages_out > report.left.messages_out > 0


def test_how_far_the_clocks_differ_is_known_from_the_first_hello_on() -> None:
    with memory(1, dice=Dice(1, step_ms=0, now_ms=START_MS + 7_200_000)) as ahead, memory(2) as hub:
        assert ahead.metrics().clock_offset_s is None
        ends = Conversation(ahead.port, initiator=True), Conversation(hub.port, initiator=False)
        for _ in range(4):
            for source, target in (ends, ends[::-1]):
                for frame in source.data_to_send():
                    target.receive(frame)
        metrics = ahead.metrics()
        assert metrics.sessions == 0, "it goes on"
        assert metrics.clock_offset_s is not None
        assert -7_200 <= metrics.clock_offset_s < -7_199
        for end in ends:
            end.lost("over")


def test_counts_go_on_when_the_store_is_opened_again(tmp_path: Path) -> None:
    with memory(5) as hub:
        hub.create(Task, title="a")
        with on_disk(tmp_path) as replica:
            exchange(replica, hub)
            before = replica.metrics()
        with on_disk(tmp_path, seed=1) as replica:
            assert replica.metrics() == before
            replica.create(Task, title="b")
            exchange(replica, hub)
            assert replica.metrics().sessions == 2
            assert replica.metrics().traffic.bytes_in > before.traffic.bytes_in
            with Replica.open(tmp_path / "a.db", [Task], read_only=True, state_dir=tmp_path / "state") as reader:
                assert reader.metrics().sessions == 2
