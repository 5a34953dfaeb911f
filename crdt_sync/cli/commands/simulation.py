"""The command `simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crdt_sync.cli.options import AsJson
from crdt_sync.cli.output import reporting

Histories = Annotated[
    int | None, typer.Option("--histories", metavar="N", min=0, help="Run so many histories.", show_default=False)
]
Hours = Annotated[
    float | None, typer.Option("--hours", metavar="H", min=0, help="Go on for so many hours.", show_default=False)
]
Seed = Annotated[str, typer.Option("--seed", metavar="S", help="Seed of the first history, as a failure names it.")]
Faults = Annotated[
    str, typer.Option("--faults", metavar="KIND,...", help="Inject these kinds of faults alone, or none.")
]
Replicas = Annotated[
    int | None,
    typer.Option("--replicas", metavar="N", help="Simulate so many devices that dial.", show_default=False),
]
Hubs = Annotated[int | None, typer.Option("--hubs", metavar="N", help="Simulate so many hubs.", show_default=False)]
Steps = Annotated[
    int | None,
    typer.Option("--steps", metavar="N", help="Steps of each history, 20 by default.", show_default=False),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", metavar="N", min=1, help="Processes; one for each core.", show_default=False)
]
ScheduleFile = Annotated[
    Path | None,
    typer.Option("--schedule", metavar="FILE", help="Run one schedule, as a failure prints it.", show_default=False),
]
SoakFlag = Annotated[
    bool, typer.Option("--soak", help="Run one long history over data of one size; memory and stores must not grow.")
]


def simulate(
    *,
    histories: Histories = None,
    hours: Hours = None,
    seed: Seed = "0",
    faults: Faults = "all",
    replicas: Replicas = None,
    hubs: Hubs = None,
    steps: Steps = None,
    jobs: Jobs = None,
    schedule: ScheduleFile = None,
    soak: SoakFlag = False,
    as_json: AsJson = False,
) -> None:
    """Run this program against simulated faults: networks, disks and clocks that fail as a seed draws it.

    Each history is checked: nothing acknowledged is lost, all replicas show the same, and no status says what is not
    so. A failure prints a schedule that was made short, and a diagram of the messages; the exit code is 1. With --soak
    it is 1 too where something grows, or where it was too short to tell.
    """
    from crdt_sync.cli.simulating import Wanted, run_simulations  # noqa: PLC0415  rarely needed, and takes time to load

    wanted = Wanted(
        histories=histories,
        hours=hours,
        seed=seed,
        faults=faults,
        replicas=replicas,
        hubs=hubs,
        steps=steps,
        jobs=jobs,
        schedule=schedule,
        soak=soak,
    )
    with reporting(as_json=as_json):
        code = run_simulations(wanted, as_json=as_json)
        if code:
            raise typer.Exit(code)
