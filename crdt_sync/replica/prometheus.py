"""Metrics in the form that Prometheus reads. Needs the extra `metrics`, which brings prometheus-client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from crdt_sync.core.checks import checked_instance
from crdt_sync.errors import InputError
from crdt_sync.replica.facade import Replica

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

PREFIX: Final = "crdt_sync_"


class PrometheusCollector:
    """Gives the metrics of a replica to a registry of `prometheus_client`, whenever it is asked for them.

    Register it, ``REGISTRY.register(PrometheusCollector(replica))``, and serve the registry in the replica's thread: in
    an asyncio app by ``make_asgi_app()``. Another thread that asks gets `WrongThreadError`.

    Args:
        replica: which one; open for as long as it is registered.
        labels: put on everything, to tell several replicas of one process apart: `add` takes the others.

    Raises:
        InputError: prometheus-client is not installed, or an argument is of another type.
    """

    def __init__(self, replica: Replica, *, labels: Mapping[str, str] | None = None) -> None:
        _require_client()
        checked_instance(replica, Replica, what="replica", hint="Open one by Replica.open(...).")
        if labels is not None and not isinstance(labels, Mapping):
            raise InputError("labels map names to values", hint="Write labels={'app': 'notes'}, say.")
        self._members = [(replica, dict(labels or {}))]

    def add(self, replica: Replica, *, labels: Mapping[str, str]) -> None:
        """Give one more replica's metrics, under the same names: a registry takes one collector alone.

        Args:
            replica: which one; open for as long as this is registered.
            labels: other values of the same labels as the first replica's.

        Raises:
            InputError: other labels, or values that another replica has.
        """
        checked_instance(replica, Replica, what="replica", hint="Open one by Replica.open(...).")
        known = [held for _, held in self._members]
        if labels.keys() != known[0].keys() or dict(labels) in known:
            raise InputError(
                "the replicas of a collector differ in the values of the same labels",
                hint="Give the first one labels, too: PrometheusCollector(replica, labels={'store': 'notes'}).",
            )
        self._members.append((replica, dict(labels)))

    def describe(self) -> Iterable[Metric]:
        """The names, so that a registry refuses a second collector: see `add`."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        found: dict[str, Metric] = {}
        for replica, labels in self._members:
            for family in families(asdict(replica.metrics()), labels=labels):
                held = found.setdefault(family.name, family)
                if held is not family:
                    held.samples.extend(family.samples)
        return found.values()


def exposition(metrics: Mapping[str, Any]) -> str:
    """The text that Prometheus reads.

    Args:
        metrics: the fields of `Metrics`, as `dataclasses.asdict` gives them.

    Raises:
        InputError: prometheus-client is not installed.
    """
    _require_client()
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415  an optional extra

    registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(tuple(families(metrics, labels={}))))
    return generate_latest(registry).decode()


class _Fixed:
    """A collector of what is known already."""

    def __init__(self, found: tuple[Metric, ...]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def families(metrics: Mapping[str, Any], *, labels: Mapping[str, str]) -> Iterator[Metric]:
    """Each metric with its help and its samples; what is not known yet is left out."""
    from prometheus_client.metrics_core import (  # noqa: PLC0415  an optional extra
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    names, values = list(labels), list(labels.values())
    for (name, text, is_counter, label), samples in _table(metrics):
        known = {key: value for key, value in samples.items() if value is not None}
        made = CounterMetricFamily if is_counter else GaugeMetricFamily
        family = made(PREFIX + name, text, labels=[*names, *([label] if label else [])])
        for key, value in known.items():
            family.add_metric([*values, *([key] if label else [])], value)
        if known:
            yield family


_Head = tuple[str, str, bool, str]
"""Name without prefix, help, whether it only grows, and the label that tells its samples apart or nothing."""


def _table(metrics: Mapping[str, Any]) -> Iterator[tuple[_Head, dict[str, float | None]]]:
    """Every metric with its samples by the value of its label."""
    traffic, times = metrics["traffic"], metrics["processing"] or {}
    yield (
        ("operations", "Changes made here, by how far they came.", False, "status"),
        {name: metrics[name] for name in ("pending", "completed", "failed")},
    )
    yield _one(
        "oldest_pending_seconds", "How long the oldest pending change has waited.", metrics["oldest_pending_s"] or 0
    )
    yield _one("success_ratio", "Completed changes / those completed or failed.", metrics["success_rate"])
    yield (
        ("processing_seconds", "From commit to acknowledgement, of the latest completed changes.", False, "quantile"),
        {share: _seconds(times.get(key)) for share, key in (("0.5", "p50_ms"), ("0.95", "p95_ms"), ("0.99", "p99_ms"))},
    )
    yield _one("processing_seconds_mean", "The mean of these times.", _seconds(times.get("mean_ms")))
    yield _one("conflicts_open", "Conflicts that wait for a choice.", metrics["conflicts_open"])
    yield _count("conflicts_opened", "Conflicts that were ever seen to open here.", metrics["conflicts_opened"])
    yield (
        ("foreign_entries", "Entries of other devices, by what became of them.", True, "outcome"),
        {
            "applied": metrics["foreign_entries"],
            "drifted": metrics["entries_drifted"],
            "refused": metrics["entries_refused"],
            "parked": metrics["entries_parked"],
        },
    )
    yield _count("sessions", "Sessions with peers that ended.", metrics["sessions"])
    yield _count("reconnects", "Tries to reach a peer again.", metrics["reconnects"])
    for what in ("bytes", "messages"):
        samples = {way: traffic[f"{what}_{way}"] for way in ("in", "out")}
        yield (what, f"{what.capitalize()} that went over channels.", True, "direction"), samples
    yield _one("clock_offset_seconds", "The clock of the latest peer minus this one.", metrics["clock_offset_s"])


def _one(name: str, text: str, value: float | None) -> tuple[_Head, dict[str, float | None]]:
    return (name, text, False, ""), {"": value}


def _count(name: str, text: str, value: int) -> tuple[_Head, dict[str, float | None]]:
    return (name, text, True, ""), {"": value}


def _seconds(time_ms: float | None) -> float | None:
    return None if time_ms is None else time_ms / 1000


def _require_client() -> None:
    try:
        import prometheus_client  # noqa: F401, PLC0415  an optional extra
    except ImportError:
        raise InputError(
            "prometheus-client is not installed", hint="Install the extra: pip install 'crdt-sync[metrics]'."
        ) from None
