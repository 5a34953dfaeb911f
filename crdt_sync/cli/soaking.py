"""What `crdt-sync simulate --soak` does: run one long history, and show whether anything grows."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from crdt_sync.cli.output import console, emit
from crdt_sync.testing.growth import GROWTH_MAX
from crdt_sync.testing.simulation.soak import Soak, SoakReport


def run_soak(soak: Soak, *, as_json: bool) -> int:
    """Run it and print what was sampled.

    Returns:
        The exit code: 0 where no invariant was broken and nothing grows, else 1.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as shown:
        task = shown.add_task("soaking", total=1.0)

        def tell(now: SoakReport) -> None:
            figures = ", ".join(f"{each.name} {each.values[-1]:,.1f} {each.unit}" for each in now.series[1:4])
            shown.update(task, description=f"{now.steps:,} steps, {figures}", completed=now.done)

        report = soak.run(progress=tell)
    emit(_result(report), as_json=as_json, render=_show)
    return 1 if report.problems else 0


def _result(report: SoakReport) -> dict[str, Any]:
    return {
        "seed": report.seed,
        "steps": report.steps,
        "edits": report.edits,
        "frames": report.frames,
        "simulated_seconds": round(report.virtual_s, 3),
        "series": [
            {
                "name": each.name,
                "unit": each.unit,
                "judged": each.is_judged,
                "growth": round(each.growth, 4),
                "flat": each.is_flat,
                "bars": each.bars(),
                "times_s": each.times_s,
                "values": each.values,
            }
            for each in report.series
        ],
        "problems": report.problems,
    }


def _show(out: Console, result: dict[str, Any]) -> None:
    out.print(
        f"{result['steps']:,} steps, {result['edits']:,} edits, {result['frames']:,} frames, "
        f"{result['simulated_seconds']:,.0f} simulated seconds"
    )
    for each in result["series"]:
        verdict = ("flat" if each["flat"] else "GROWS") if each["judged"] else "not judged"
        first, last = each["values"][0], each["values"][-1]
        out.print(f"{each['name']}, {each['unit']}: {first:,.1f} to {last:,.1f}, {each['growth']:+.1%} {verdict}")
        out.print(f"  {each['bars']}")
    for text in result["problems"]:
        out.print(f"\n{text}")
    if not result["problems"]:
        out.print(f"no invariant was broken, and nothing grew by more than {GROWTH_MAX:.0%} in the second half")
