"""Metrics as Prometheus reads them."""

from __future__ import annotations

import builtins
import threading
from dataclasses import asdict, fields
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest, make_asgi_app
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from crdt_sync import PrometheusCollector, Replica
from crdt_sync.errors import InputError, WrongThreadError
from crdt_sync.replica.metrics import Metrics
from crdt_sync.replica.prometheus import exposition
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Dice, Task, memory

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def sample(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"crdt_sync_{name}", frozenset(labels.items())]


@pytest.fixture
def replica() -> Any:
    with memory(1, dice=Dice(1, step_ms=0)) as made:
        yield made


def test_everything_that_metrics_tells_is_there(replica: Replica) -> None:
    for title in ("a", "b"):
        replica.create(Task, title=title)
    with memory(2) as hub:
        hub.create(Task, title="c")
        exchange(replica, hub)
    replica.create(Task, title="d")
    told = replica.metrics()
    samples = samples_of(exposition(asdict(told)))
    assert sample(samples, "operations", status="pending") == 1
    assert sample(samples, "operations", status="completed") == 2
    assert sample(samples, "success_ratio") == 1
    assert told.processing is not None
    assert sample(samples, "processing_seconds", quantile="0.95") == told.processing.p95_ms / 1000
    assert sample(samples, "foreign_entries_total", outcome="applied") == 1
    assert sample(samples, "sessions_total") == 1
    assert sample(samples, "bytes_total", direction="in") == told.traffic.bytes_in
    assert sample(samples, "messages_total", direction="out") == told.traffic.messages_out
    assert sample(samples, "clock_offset_seconds") == told.clock_offset_s
    assert sample(samples, "reconnects_total") == 0
    assert len(fields(Metrics)) == 17, "a new one belongs into the table of prometheus.py, too"


def test_what_is_not_known_is_left_out(replica: Replica) -> None:
    samples = samples_of(exposition(asdict(replica.metrics())))
    assert sample(samples, "oldest_pending_seconds") == 0
    names = {name for name, _ in samples}
    assert names.isdisjoint(
        {f"crdt_sync_{name}" for name in ("success_ratio", "processing_seconds", "clock_offset_seconds")}
    )


async def test_a_registry_asks_for_the_numbers_as_they_are(replica: Replica) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PrometheusCollector(replica, labels={"store": "notes"}))
    replica.create(Task)
    assert sample(samples_of(generate_latest(registry).decode()), "operations", status="pending", store="notes") == 1
    replica.create(Task)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    app = make_asgi_app(registry)
    await app({"type": "http", "query_string": b"", "headers": []}, receive, send)
    assert sent[0]["status"] == 200
    assert sample(samples_of(sent[1]["body"].decode()), "operations", status="pending", store="notes") == 2


def test_another_thread_gets_no_numbers(replica: Replica) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PrometheusCollector(replica))
    raised: list[BaseException] = []

    def ask() -> None:
        with pytest.raises(WrongThreadError) as found:
            generate_latest(registry)
        raised.append(found.value)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert raised


def test_without_the_extra_it_says_what_to_install(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for work in (lambda: PrometheusCollector(replica), lambda: exposition(asdict(replica.metrics()))):
        with pytest.raises(InputError, match="prometheus-client is not installed") as raised:
            work()
        assert "crdt-sync[metrics]" in raised.value.hint


def test_two_replicas_in_one_registry_are_told_apart_by_labels() -> None:
    registry = CollectorRegistry()
    with memory(1) as one, memory(2) as two:
        one.create(Task, title="a")
        collector = PrometheusCollector(one, labels={"store": "notes"})
        for wrong in ({}, {"store": "notes"}, {"app": "tasks"}):
            with pytest.raises(InputError, match="differ in the values of the same labels"):
                collector.add(two, labels=wrong)
        collector.add(two, labels={"store": "tasks"})
        registry.register(collector)
        text = openmetrics.generate_latest(registry).decode()  # type: ignore[no-untyped-call]  # not ours
        found = openmetrics_families(text)  # type: ignore[no-untyped-call]  # not ours
        samples = [item for family in found for item in family.samples]
        pending = {item.labels["store"]: item.value for item in samples if item.labels.get("status") == "pending"}
        assert pending == {"notes": 1, "tasks": 0}
        with pytest.raises(ValueError, match="Duplicated"):
            registry.register(PrometheusCollector(two, labels={"store": "again"}))
