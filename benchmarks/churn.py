"""What 10,000 edits of one record by five devices leave in a store, before and after compaction."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pycrdt

from benchmarks.harness import FLOOR, Column, Measurement, Settings, Stopwatch, Workload
from benchmarks.records import Generator
from crdt_sync import Model, Replica, ask
from crdt_sync.replica.rows import unpack_base, unpack_document_row
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange

DEVICES = 5
BURST = 1
"""Edits of one device between two syncs: each edit supersedes another device's, which the engine keeps longest."""
NEW, BEFORE, AFTER = "a new store", "before compaction", "after compaction"
ASKING_BEFORE, ASKING_AFTER = "a field that asks: before", "a field that asks: after"
ASKING_LAST = "a field that asks: after three"
CHECKSUM_BYTES = 8
_CLIENT_BITS = 34
"""Client ids of the engine as large as our authors."""


class Page(Model):
    """A record with a field of which the latest value is shown, and one that asks and keeps what it needs for that."""

    title: str = ""
    state: str = ask(default="")


def churn(settings: Settings, number: int) -> list[Measurement]:
    """Edit one record on five devices in turns, a field of either kind, and weigh the first device's file."""
    plain = _churned("title", settings, number, rows=(BEFORE, AFTER))
    return [*plain, *_churned("state", settings, number, rows=(ASKING_BEFORE, ASKING_AFTER, None, ASKING_LAST))[1:]]


def _churned(field: str, settings: Settings, number: int, *, rows: Sequence[str | None]) -> list[Measurement]:
    """Edit one field, sync the devices through the first, and compact it, with a sync after each compaction.

    Args:
        field: which one.
        settings: of the run.
        number: of the round.
        rows: names of what is weighed: before, and after each compaction; None leaves one out.
    """
    titles = iter(Generator(settings.seed + number).titles(settings.records))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        replicas = [stack.enter_context(_opened(Path(folder), index)) for index in range(DEVICES)]
        hub = replicas[0]
        found = [_measured(NEW, _weigh(hub, plain=0, settings=settings))]
        record = hub.create(Page, title="begun").id
        _sync(replicas)
        while burst := list(islice(titles, BURST * DEVICES)):
            for index, replica in enumerate(replicas):
                page = replica.get(Page, record)
                for title in burst[index::DEVICES]:
                    setattr(page, field, title)
            _sync(replicas)
        setattr(hub.get(Page, record), field, "the last edit saw them all")
        _sync(replicas)
        plain = len(json.dumps(hub.get(Page, record).model_dump(), default=str).encode())
        found.append(_measured(rows[0] or "", _weigh(hub, plain=plain, settings=settings)))
        for row in rows[1:]:
            with Stopwatch() as watch:
                report = hub.compact()
            if report.waiting_for:
                raise RuntimeError(f"not everything was folded: {report}")
            if row is not None:
                found.append(_measured(row, _weigh(hub, plain=plain, settings=settings), watch))
            _sync(replicas)
        if len({getattr(replica.get(Page, record), field) for replica in replicas}) != 1:
            raise RuntimeError("the devices differ")
    return found


def _measured(row: str, figures: dict[str, float], watch: Stopwatch | None = None) -> Measurement:
    took = {"cpu_s": 0.0, "wall_s": 0.0} if watch is None else {"cpu_s": watch.cpu_s, "wall_s": watch.wall_s}
    return Measurement(row=row, figures={**figures, **took})


def floor(settings: Settings, number: int) -> list[Measurement]:
    """The same edits on five bare engine documents: all updates, as a log would keep them, and the encoded document."""
    titles = iter(Generator(settings.seed + number).titles(settings.records))
    documents: list[pycrdt.Doc[Any]] = [pycrdt.Doc(client_id=(1 << _CLIENT_BITS) + index) for index in range(DEVICES)]
    maps: list[pycrdt.Map[str]] = [_map(document) for document in documents]
    updates: list[bytes] = []
    while burst := list(islice(titles, BURST * DEVICES)):
        for index, document in enumerate(documents):
            state = document.get_state()
            for title in burst[index::DEVICES]:
                maps[index]["title"] = title
                updates.append(document.get_update(state))
                state = document.get_state()
        for _ in range(2):
            for document in documents[1:]:
                document.apply_update(documents[0].get_update(document.get_state()))
                documents[0].apply_update(document.get_update(documents[0].get_state()))
    with Stopwatch() as watch:
        encoded = documents[0].get_update()
    plain = len(json.dumps({"title": str(maps[0]["title"])}).encode())

    def figures(size: int) -> dict[str, float]:
        return {
            "file_kb": size / 1000,
            "rows_b": size,
            "document_b": len(encoded),
            "edit_b": len(encoded) / settings.records,
            "json_b": plain,
            "x_json": size / plain,
        }

    took = {"cpu_s": watch.cpu_s, "wall_s": watch.wall_s}
    return [
        Measurement(row=BEFORE, figures={**figures(sum(map(len, updates))), "cpu_s": 0.0, "wall_s": 0.0}),
        Measurement(row=AFTER, figures={**figures(len(encoded)), **took}),
    ]


def _map(document: pycrdt.Doc[Any]) -> pycrdt.Map[str]:
    found: pycrdt.Map[str] = document.get("m", type=pycrdt.Map)
    return found


def _opened(folder: Path, index: int) -> Replica:
    return Replica.open(folder / f"{index}.db", [Page], durability="normal", state_dir=folder / f"state{index}")


def _sync(replicas: Sequence[Replica]) -> None:
    for _ in range(2):
        for replica in replicas[1:]:
            if not exchange(replica, replicas[0]).proven_equal:
                raise RuntimeError("two devices could not be proven equal")


def _weigh(replica: Replica, *, plain: int, settings: Settings) -> dict[str, float]:
    """What the store's file takes, and of it the record's document (state and index)."""
    store = replica._state.store  # noqa: SLF001  what is measured is inside
    store.give_back()
    path = store.path
    size = 0 if path is None else sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    state = sum(_states(store.scan(Table.DOCUMENT), lambda data: unpack_document_row(data).state))
    state += sum(_states(store.scan(Table.BASE), lambda data: unpack_base(data).state))
    rows = sum(len(key) + len(data) + CHECKSUM_BYTES for table in Table for key, data in store.scan(table))
    return {
        "file_kb": size / 1000,
        "rows_b": rows,
        "document_b": state,
        "edit_b": state / settings.records,
        "json_b": plain,
        "x_json": rows / plain if plain else 0.0,
    }


def _states(rows: Iterator[tuple[bytes, bytes]], state_of: Callable[[bytes], bytes]) -> Iterator[int]:
    return (len(state_of(data)) for _, data in rows)


CHURN = Workload(
    name="churn",
    title="edits of one record by five devices, in one store",
    contestants={FLOOR: floor, "crdt_sync": churn},
    columns=(
        Column(figure="file_kb", title="file kB", digits=0),
        Column(figure="rows_b", title="rows B", digits=0),
        Column(figure="x_json", title="x JSON", digits=0),
        Column(figure="document_b", title="document B", digits=0, has_ratio=True),
        Column(figure="edit_b", title="B an edit", digits=1),
        Column(figure="json_b", title="JSON B", digits=0),
        Column(figure="cpu_s", title="CPU s", digits=2),
        Column(figure="wall_s", title="wall s", digits=2),
    ),
    notes=(
        "file: of the first device; a new one has 27 tables of a page each",
        "rows: keys, values and checksums of all tables; of the floor, all updates before, the document after",
        "document: its encoded state, without the index beside it; what it takes for each edit that was superseded",
        "a field that asks keeps superseded values, 16 at most; two more compactions, a sync between, let them go",
    ),
)
