"""Results as a table for people and as JSON for tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.harness import Row, Settings, Workload, ratio
from benchmarks.machine import commit, machine, versions


def table(workload: Workload, rows: Sequence[Row]) -> str:
    """A workload's results: median (min to max) of each figure, and its ratio to the floor's."""
    heads = ["", "contestant"]
    for column in workload.columns:
        heads += [column.title, *(f"x {floor}" for floor in workload.floors if column.has_ratio)]
    ordered = sorted(rows, key=lambda row: [other.name for other in rows].index(row.name))
    body = [[row.name, row.contestant, *_cells(workload, rows, row)] for row in ordered]
    lines = [f"## {workload.name}: {workload.title}", "", *grid(heads, body)]
    return "\n".join([*lines, "", *(f"- {note}" for note in workload.notes), ""])


def grid(heads: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table that reads well and is also Markdown."""
    widths = [max(len(line[at]) for line in (heads, *body)) for at in range(len(heads))]
    rule = [("-" * width if at < 2 else "-" * (width - 1) + ":") for at, width in enumerate(widths)]
    lines = [[cell.ljust(width) for cell, width in zip(heads, widths, strict=True)], rule]
    lines += [
        [
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in body
    ]
    return [f"| {' | '.join(line)} |" for line in lines]


def to_json(settings: Settings, results: Sequence[tuple[Workload, Sequence[Row]]]) -> str:
    """All results with what is needed to judge and repeat them."""
    document = {
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        **asdict(settings),
        "workloads": [
            {
                "name": workload.name,
                "title": workload.title,
                "notes": workload.notes,
                "rows": [_row(workload, rows, row) for row in rows],
            }
            for workload, rows in results
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def heading(settings: Settings) -> str:
    """One paragraph on what was measured, and on what."""
    told = machine()
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        f"commit {commit()}, seed {settings.seed}, {settings.records:,} records, {settings.rounds} rounds after a "
        f"warm-up; {told['processor']}, {told['cores']} cores, load {told['load_1_min']}; {packages}\n"
    )


def _row(workload: Workload, rows: Sequence[Row], row: Row) -> dict[str, object]:
    compared = [column.figure for column in workload.columns if column.has_ratio]
    ratios = {
        floor: {figure: ratio(rows, row, figure, floor=floor) for figure in compared} for floor in workload.floors
    }
    return {
        "name": row.name,
        "contestant": row.contestant,
        "figures": {
            name: {"min": figure.least, "median": figure.middle, "max": figure.most}
            for name, figure in row.figures.items()
        },
        "ratios": {
            floor: known
            for floor, found in ratios.items()
            if (known := {name: value for name, value in found.items() if value is not None})
        },
    }


def _cells(workload: Workload, rows: Sequence[Row], row: Row) -> list[str]:
    cells: list[str] = []
    for column in workload.columns:
        floors = workload.floors if column.has_ratio else ()
        figure = row.figures.get(column.figure)
        if figure is None:
            cells += [""] * (1 + len(floors))
            continue
        least, middle, most = (f"{value:,.{column.digits}f}" for value in (figure.least, figure.middle, figure.most))
        cells.append(middle if least == most else f"{middle} ({least} to {most})")
        ratios = [
            None if row.contestant in workload.floors else ratio(rows, row, column.figure, floor=floor)
            for floor in floors
        ]
        cells += ["" if times is None else f"{times:.2f}" for times in ratios]
    return cells
