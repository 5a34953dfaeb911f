"""Workload `first-sync`: all records from a cold, persisted server to an empty device in another process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks.counting_proxy import CountingProxy
from benchmarks.harness import FLOOR, WARM_UP, Column, Measurement, Settings, Workload
from benchmarks.processes import Process
from benchmarks.records import Generator, digest

BATCHES: Final = (1_000, 1)
"""Records that the server's device wrote in one transaction."""
MEGA: Final = 1_000_000
PARTS: Final = {FLOOR: "benchmarks.first_sync_floor", "crdt_sync": "benchmarks.first_sync_parts"}


class Prepared:
    """The server's folder as it was when the records had been written and it was closed: a fresh one each round.

    It is put back to the same place every time: a store that wakes up elsewhere takes itself for a copy.
    """

    def __init__(self, module: str, settings: Settings, *, batch: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.serving, self._master = Path(self._folder.name, "serving"), Path(self._folder.name, "master")
        self.serving.mkdir()
        told = {"part": "prepare", "folder": str(self.serving), "records": settings.records, "seed": settings.seed}
        with Process(module, {**told, "batch": batch}) as process:
            process.answer()
        shutil.copytree(self.serving, self._master)

    def put_back(self) -> Path:
        """The server's folder, as new."""
        shutil.rmtree(self.serving)
        shutil.copytree(self._master, self.serving)
        return self.serving


prepared = cache(Prepared)


def sync_once(
    module: str, settings: Settings, *, batch: int, counted: bool = False, profiled: bool = False
) -> dict[str, Any]:
    """One first sync.

    Args:
        module: whose parts take part.
        settings: how many records.
        batch: records in one of the server's transactions.
        counted: through a proxy that counts the bytes of the connection, which costs time.
        profiled: have both parts say where their time went.
    """
    folder = prepared(module, settings, batch=batch).put_back()
    with tempfile.TemporaryDirectory() as place:
        told = {"folder": str(folder), "profiled": profiled}
        with Process(module, {**told, "part": "server"}) as server:
            url = server.answer()["url"]
            with Process(module, {**told, "part": "device", "folder": place}) as device:
                device.answer()
                if counted:
                    with CountingProxy(url) as proxy:
                        received = device.ask(url=proxy.url, records=settings.records)
                    received |= proxy.counts()
                else:
                    received = device.ask(url=url, records=settings.records)
                served = server.ask()
    wanted = digest(Generator(settings.seed).records(settings.records))
    assert received["content"] == served["content"] == wanted, "the two sides do not hold the records"
    assert received["fingerprint"] == served["fingerprint"], "the two sides are not equal"
    return {**received, **{f"server_{name}": value for name, value in served.items()}}


_wire: dict[tuple[str, int], dict[str, float]] = {}
"""What the proxy counted in the warm-up, for the rounds that follow."""


def _contestant(name: str) -> Callable[[Settings, int], Sequence[Measurement]]:
    def measure(settings: Settings, number: int) -> Iterator[Measurement]:
        for batch in BATCHES:
            row = f"written {batch:,} a transaction"
            done = sync_once(PARTS[name], settings, batch=batch, counted=number == WARM_UP)
            if number == WARM_UP:
                _wire[name, batch] = {item: done[item] for item in ("wire_mb", "upgrade_kb")}
            figures = {
                "wall_s": done["wall_s"],
                "cpu_s": done["cpu_s"],
                "server_cpu_s": done["server_cpu_s"],
                "frames_mb": done["frame_bytes"] / MEGA,
                "handshake_b": done["handshake_bytes"],
                "peak_mb": done["peak_bytes"] / MEGA,
                "server_peak_mb": done["server_peak_bytes"] / MEGA,
            }
            yield Measurement(row=row, figures=figures | _wire[name, batch])

    return lambda settings, number: list(measure(settings, number))


NOTE_FLOOR: Final = (
    "floor: a bare websocket server reads the same records as pycrdt updates in lz4 batches of 256 KiB from SQLite and "
    "sends them; the device inserts update and table row of each record in bulk, one synced commit a batch, and "
    "counts. It checks nothing, names nothing, merges nothing, and has no identity. It knows no transactions, so its "
    "two rows are the same work."
)
NOTE_FIGURES: Final = (
    "wall: from dialling to the proof of equality and the first query answered; the server's process had just opened "
    "its store (its pages may be in the system's cache). MB in frames: both ways, without the handshake. MB on the "
    "wire: counted by a proxy in the warm-up, both ways, frame headers and handshake included, HTTP apart. MB: peak "
    "resident, interpreter included."
)

FIRST_SYNC = Workload(
    name="first-sync",
    title="First sync of an empty device from a cold server, until the device has all of it durably and can read it",
    contestants={name: _contestant(name) for name in PARTS},
    columns=(
        Column(figure="wall_s", title="wall s", digits=2, has_ratio=True),
        Column(figure="cpu_s", title="device CPU s", digits=2, has_ratio=True),
        Column(figure="server_cpu_s", title="server CPU s", digits=3),
        Column(figure="frames_mb", title="MB in frames", digits=3, has_ratio=True),
        Column(figure="handshake_b", title="handshake B", digits=0),
        Column(figure="wire_mb", title="MB on the wire", digits=3),
        Column(figure="upgrade_kb", title="HTTP kB", digits=2),
        Column(figure="peak_mb", title="device MB", digits=0),
        Column(figure="server_peak_mb", title="server MB", digits=0),
    ),
    notes=(NOTE_FLOOR, NOTE_FIGURES),
)
