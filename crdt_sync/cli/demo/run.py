"""The demo's course: import, first sync, apart, together again, settle, prove."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from crdt_sync.cli.demo.data import json_bytes, load_cities
from crdt_sync.cli.demo.device import Device, Watch
from crdt_sync.cli.demo.plan import MERGED_NOTES, PICKED, Plan, make_plan
from crdt_sync.cli.demo.report import Report, show
from crdt_sync.errors import InputError

RECORDS_MIN = 100
CONFLICT_CHOICE = 1
"""Which candidate the demo's person takes: the earlier one, which is not what is shown meanwhile."""


def run_demo(*, keep: Path | None = None, records: int | None = None, as_json: bool = False) -> int:
    """Run the demo; progress goes to standard error, the result to standard output.

    Args:
        keep: a new or empty folder in which the stores stay for a look; else they are removed.
        records: at most so many cities; None for all of them.
        as_json: print the result as one JSON document.

    Returns:
        The exit code: 0 where all three devices hold the same and everything merged as it must, else 1.

    Raises:
        InputError: the data is not installed, or the folder is not empty.
        CRDTSyncError: a process of the demo failed.
    """
    if records is not None and records < RECORDS_MIN:
        raise InputError(f"the demo needs at least {RECORDS_MIN} records")
    began = time.monotonic()
    cities = load_cities(records)
    report = Report(records=len(cities), json_bytes=json_bytes(cities), kept_in=None if keep is None else str(keep))
    with _folder(keep) as folder, ExitStack() as stack:
        progress = stack.enter_context(_progress())
        devices = {name: stack.enter_context(Device(name, folder)) for name in ("hub", "laptop", "phone")}
        course = _Course(devices, report=report, progress=progress, records=len(cities))
        course.run()
        names = {device.device_id: name for name, device in devices.items()}
    report.seconds = time.monotonic() - began
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(), ensure_ascii=False, indent=2) + "\n")
    else:
        show(report, console=Console(), names=names)
    return 1 if report.problems else 0


class _Course:
    """The steps, in order."""

    def __init__(self, devices: dict[str, Device], *, report: Report, progress: Progress, records: int) -> None:
        self._devices = devices
        self._hub, self._laptop, self._phone = devices["hub"], devices["laptop"], devices["phone"]
        self._report = report
        self._progress = progress
        self._records = records
        self._url = ""

    def run(self) -> None:
        """Run all steps."""
        self._url = self._hub.ask("serve")["url"]
        self._first_sync()
        plan = self._apart()
        self._together()
        self._check_merged(plan)
        self._settle(plan)
        self._prove()

    def _first_sync(self) -> None:
        with self._step("laptop: import the cities") as watch:
            done = self._laptop.ask("import", records=self._records, watch=watch)
        self._report.step("laptop imports, durably", seconds=done["seconds"])
        with self._step("laptop → hub: first sync") as watch:
            up = self._laptop.ask("connect", url=self._url, watch=watch)
        self._report.step("laptop → hub: first sync, proven equal", seconds=up["seconds"], moved=_moved(up))
        with self._step("hub → phone: first sync") as watch:
            down = self._phone.ask("connect", url=self._url, watch=watch)
        self._report.step("hub → phone: first sync, proven equal", seconds=down["seconds"], moved=_moved(down))

    def _apart(self) -> Plan:
        with self._step("both devices go offline and edit"):
            plan = make_plan(self._laptop.ask("pick", count=PICKED))
            self._laptop.ask("edit", edits=plan.before)
            for device in (self._laptop, self._phone):
                device.ask("catch_up")
            for device in (self._laptop, self._phone):
                device.ask("disconnect")
            began = time.monotonic()
            self._laptop.ask("edit", edits=plan.laptop)
            self._phone.ask("edit", edits=plan.phone)
        count = len(plan.laptop) + len(plan.phone)
        self._report.step(f"offline: {count} edits on two devices", seconds=time.monotonic() - began)
        return plan

    def _together(self) -> None:
        with self._step("both come back") as watch:
            began = time.monotonic()
            moved = _moved(self._laptop.ask("connect", url=self._url, watch=watch))
            moved += _moved(self._phone.ask("connect", url=self._url, watch=watch))
            self._laptop.ask("catch_up", watch=watch)
        self._report.step("both reconnect and converge", seconds=time.monotonic() - began, moved=moved)

    def _check_merged(self, plan: Plan) -> None:
        text, counter, register, kept = (
            self._shown(name) for name in (plan.same_text, plan.same_counter, plan.same_register, plan.kept)
        )
        check = self._report.check
        check(
            f"{_first(text)['name']}: both sentences are in the notes: “{_first(text)['notes']}”",
            holds=_all(text, "notes", MERGED_NOTES),
        )
        check(
            f"{_first(counter)['name']}: 3 + 4 visits are {_first(counter)['visits']}, tags from both: "
            f"{', '.join(_first(counter)['tags'])}",
            holds=_all(counter, "visits", 7) and _all(counter, "tags", ["again", "seen"]),
        )
        check(
            f"{_first(register)['name']}: two populations at once; the later one is shown "
            f"({_first(register)['population']:,}), the other stays readable",
            holds=_all(register, "population", 22_222_222) and _all(register, "population_candidates", 2),
        )
        check(
            f"{_first(kept)['name']}: deleted on the laptop, edited on the phone; nobody's work disappears",
            holds=_all(kept, "notes", "Do not forget this one."),
        )

    def _settle(self, plan: Plan) -> None:
        found = {name: device.ask("conflicts") for name, device in self._devices.items()}
        ids = {tuple(conflict["id"] for conflict in conflicts) for conflicts in found.values()}
        self._report.require("all three see the same one conflict", holds=len(ids) == 1 and len(found["hub"]) == 1)
        if not found["phone"]:
            return
        conflict = found["phone"][0]
        self._report.conflict = {**conflict, "city": self._phone.ask("show", id=plan.clash)["name"]}
        with self._step("the conflict is settled on the phone"):
            self._phone.ask("resolve", id=conflict["id"], take=CONFLICT_CHOICE)
            for device in (self._phone, self._laptop):
                device.ask("catch_up")
        took = conflict["candidates"][CONFLICT_CHOICE]["value"]
        gone = not any(device.ask("conflicts") for device in self._devices.values())
        shown = _all(self._shown(plan.clash), "twin_city", took)
        self._report.settled = {"by": "phone", "took": took, "gone": gone and shown}
        self._report.require("the conflict is settled everywhere", holds=gone and shown)

    def _prove(self) -> None:
        with self._step("each device proves what it holds"):
            for device in self._devices.values():
                device.tell("proof")
            proofs = self._report.proofs
            proofs.update({name: device.answer() for name, device in self._devices.items()})
        require = self._report.require
        require("equal fingerprints", holds=len({proof["fingerprint"] for proof in proofs.values()}) == 1)
        require("equal contents", holds=len({proof["content"] for proof in proofs.values()}) == 1)
        created, deleted = 5, 1
        expected = self._records + created - deleted
        require("nothing lost", holds=all(proof["records"] == expected for proof in proofs.values()))
        require("nothing waits to be sent", holds=all(proof["pending"] == 0 for proof in proofs.values()))

    def _shown(self, record_id: str) -> dict[str, Any]:
        return {name: device.ask("show", id=record_id) for name, device in self._devices.items()}

    @contextmanager
    def _step(self, title: str) -> Iterator[Watch]:
        task = self._progress.add_task(title, total=None, detail="")

        def watch(message: dict[str, Any]) -> None:
            if "progress" in message:
                done, total = message["progress"]
                self._progress.update(task, completed=done, total=total, detail=f"{done:,} of {total:,}")
            elif "moved" in message:
                self._progress.update(task, detail=f"{message['moved']:,} bytes")

        yield watch
        self._finish(task)

    def _finish(self, task: TaskID) -> None:
        self._progress.update(task, completed=1, total=1)
        self._progress.stop_task(task)


def _moved(result: dict[str, Any]) -> int:
    return int(result["bytes_in"]) + int(result["bytes_out"])


def _first(shown: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = next(iter(shown.values()))
    return first


def _all(shown: dict[str, Any], field: str, expected: object) -> bool:
    """Whether all devices show this value."""
    return all(values[field] == expected for values in shown.values())


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="crdt-sync-demo-") as made:
            yield Path(made)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise InputError(f"{keep} is not an empty folder", hint="Give --keep a new or empty folder.")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep
