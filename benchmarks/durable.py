"""What a change costs under each durability: kept to oneself, and sent to a peer at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.harness import Column, Measurement, Settings, Stopwatch, Workload
from benchmarks.records import Generator
from crdt_sync import Model, Replica
from crdt_sync.storage.base import Durability
from crdt_sync.testing.exchange import Exchange

FULL: Final = "full"
SINGLES_FRACTION: Final = 10
BATCH: Final = 100
KEPT, BATCHED, SENT = "one change, not sent", "100 changes, not sent", "one change, sent and acknowledged"


class Note(Model):
    """A record with one field."""

    title: str = ""


def _measure(durability: Durability, settings: Settings) -> Iterator[Measurement]:
    number = max(1, settings.records // SINGLES_FRACTION)
    titles = Generator(settings.seed).titles(number)
    with _opened(durability) as replica:
        with Stopwatch() as watch:
            for title in titles:
                replica.create(Note, title=title)
        yield _per_change(KEPT, watch, number)
    with _opened(durability) as replica:
        with Stopwatch() as watch:
            for start in range(0, number, BATCH):
                with replica.transaction():
                    for title in titles[start : start + BATCH]:
                        replica.create(Note, title=title)
        yield _per_change(BATCHED, watch, number)
    with _opened(durability) as replica, Replica.open(":memory:", [Note]) as hub:
        pair = Exchange(replica, hub)
        pair.settle()
        with Stopwatch() as watch:
            for title in titles:
                replica.create(Note, title=title)
                pair.settle()
        pair.close()
        if replica.pending_count():
            raise RuntimeError("not everything was acknowledged")
        yield _per_change(SENT, watch, number)


@contextmanager
def _opened(durability: Durability) -> Iterator[Replica]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Replica.open(folder / "store.db", [Note], durability=durability, state_dir=folder / "state") as replica:
            yield replica


def _per_change(row: str, watch: Stopwatch, number: int) -> Measurement:
    return Measurement(row=row, figures={"wall_us": watch.wall_s / number * 1e6, "cpu_us": watch.cpu_s / number * 1e6})


def _contestant(durability: Durability) -> Callable[[Settings, int], list[Measurement]]:
    return lambda settings, _: list(_measure(durability, settings))


DURABLE = Workload(
    name="durability",
    title="a change under each durability, on the disk of the folder for temporary files",
    contestants={FULL: _contestant("full"), "normal": _contestant("normal")},
    columns=(
        Column(figure="wall_us", title="wall µs a change", has_ratio=True),
        Column(figure="cpu_us", title="CPU µs a change", has_ratio=True),
    ),
    notes=("Wall time is what a sync of this disk costs: on one that only seems to sync, the two are alike.",),
    floors=(FULL,),
)
