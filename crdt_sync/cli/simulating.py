"""What `crdt-sync simulate` does: run simulated histories, show how far it is, and print what came of them."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from crdt_sync.cli.output import console, emit
from crdt_sync.cli.soaking import run_soak
from crdt_sync.errors import InputError
from crdt_sync.testing.simulation import STEPS, VERSION, Campaign, Report, SimulationFailedError, replay
from crdt_sync.testing.simulation.schedule import seed_of
from crdt_sync.testing.simulation.simulation import faults_of
from crdt_sync.testing.simulation.soak import SOAK_FAULTS, SOAK_S, SOAK_STEPS, Soak

HISTORIES = 100
"""Where neither a number nor a time is given."""
SCHEDULE_BYTES_MAX = 1024 * 1024
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The options of the command, as typed, or what stands for one that was left out."""

    histories: int | None = None
    hours: float | None = None
    seed: str = "0"
    faults: str = "all"
    replicas: int | None = None
    hubs: int | None = None
    steps: int | None = None
    jobs: int | None = None
    schedule: Path | None = None
    soak: bool = False


def run_simulations(wanted: Wanted, *, as_json: bool) -> int:
    """Run what is wanted and print the result.

    Returns:
        The exit code: 0 where no invariant was broken and, in a soak, nothing grew; else 1.

    Raises:
        InputError: a seed or schedule of another version, or options that cannot be.
    """
    if wanted.hours is not None and not 0 < wanted.hours < math.inf:
        raise InputError(
            f"{wanted.hours} hours are none, or have no end", hint="Give --hours as a number above 0, such as 0.5."
        )
    if wanted.histories == 0:
        raise InputError("0 histories try nothing", hint="Give --histories as a number above 0.")
    if wanted.soak:
        return run_soak(_soak(wanted), as_json=as_json)
    report = _watched(_campaign(wanted)) if wanted.schedule is None else _replayed(wanted, wanted.schedule)
    emit(_result(report), as_json=as_json, render=_show)
    return 1 if report.failures else 0


def _soak(wanted: Wanted) -> Soak:
    if wanted.schedule is not None or wanted.histories is not None or wanted.jobs is not None:
        raise InputError("a soak is one history of a seed", hint="Leave out --schedule, --histories and --jobs.")
    steps, seconds = wanted.steps, None if wanted.hours is None else wanted.hours * HOUR_S
    if steps is None:
        steps, seconds = (SOAK_STEPS, SOAK_S) if seconds is None else (sys.maxsize, seconds)
    return Soak(
        seed_of(wanted.seed),
        steps=steps,
        seconds=seconds,
        faults=SOAK_FAULTS if wanted.faults == "all" else faults_of(_names(wanted.faults)),
        replicas=3 if wanted.replicas is None else wanted.replicas,
        hubs=1 if wanted.hubs is None else wanted.hubs,
    )


def _names(faults: str) -> list[str]:
    return [name for name in faults.split(",") if name not in {"", "none"}]


def _campaign(wanted: Wanted) -> Campaign:
    names = None if wanted.faults == "all" else _names(wanted.faults)
    neither = wanted.histories is None and wanted.hours is None
    return Campaign(
        seed=seed_of(wanted.seed),
        histories=HISTORIES if neither else wanted.histories,
        seconds=None if wanted.hours is None else wanted.hours * HOUR_S,
        faults=faults_of(names),
        replicas=wanted.replicas,
        hubs=wanted.hubs,
        steps=STEPS if wanted.steps is None else wanted.steps,
        jobs=wanted.jobs or os.cpu_count() or 1,
    )


def _watched(campaign: Campaign) -> Report:
    """Run a campaign, and show on standard error how far it is."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as shown:
        task = shown.add_task("simulating", total=None)

        def tell(report: Report) -> None:
            shown.update(
                task,
                description=f"{report.histories:,} histories, {sum(report.faults.values()):,} faults, "
                f"{report.virtual_days:,.1f} simulated days, {len(report.failures)} failures",
            )

        return campaign.run(progress=tell)


def _replayed(wanted: Wanted, path: Path) -> Report:
    """Run one schedule."""
    if wanted != Wanted(schedule=path):
        raise InputError("a schedule says all of its history", hint="Leave out every option but --schedule and --json.")
    try:
        with path.open("rb") as file:
            text = file.read(SCHEDULE_BYTES_MAX).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="Give a file that holds a schedule, as a failure printed it."
        ) from None
    report = Report(histories=1)
    try:
        report.add_history(replay(text))
    except SimulationFailedError as failure:
        report.failures.append(str(failure))
    return report


def _result(report: Report) -> dict[str, Any]:
    return {
        "version": VERSION,
        "histories": report.histories,
        "steps": report.steps,
        "edits": report.edits,
        "frames": report.frames,
        "simulated_days": round(report.virtual_days, 3),
        "cpu_seconds": round(report.cpu_s, 3),
        "lost_with_stores": report.lost,
        "faults": dict(sorted(report.faults.items())),
        "failures": report.failures,
    }


def _show(out: Console, result: dict[str, Any]) -> None:
    out.print(
        f"{result['histories']:,} histories, {result['steps']:,} steps, {result['edits']:,} edits, "
        f"{result['frames']:,} frames, {result['simulated_days']:,.1f} simulated days"
    )
    for name, number in result["faults"].items():
        out.print(f"  {name:<10} {number:>8,}")
    for text in result["failures"]:
        out.print(f"\n{text}")
    failed = len(result["failures"])
    out.print("no invariant was broken" if not failed else f"{failed} histories broke an invariant")
