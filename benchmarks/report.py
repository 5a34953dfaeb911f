"""Results as a table for people and as JSON for tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.harness import FLOOR, Column, Row, Settings, Workload, ratio
from benchmarks.machine import commit, machine, versions


def table(workload: Workload, rows: Sequence[Row]) -> str:
    """A workload's results: median (min to max) of each figure, and its ratio to the floor's."""
    heads = ["", "contestant"]
    for column in workload.columns:
        heads += [column.title, "x floor"] if column.has_ratio else [column.title]
    ordered = sorted(rows, key=lambda row: [other.name for other in rows].index(row.name))
    body = [[row.name, row.contestant, *_cells(workload.columns, rows, row)] for row in ordered]
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
    ratios = {column.figure: ratio(rows, row, column.figure) for column in workload.columns if column.has_ratio}
    return {
        "name": row.name,
        "contestant": row.contestant,
        "figures": {
            name: {"min": figure.least, "median": figure.middle, "max": figure.most}
            for name, figure in row.figures.items()
        },
        "ratio_to_floor": {name: value for name, value in ratios.items() if value is not None},
    }


def _cells(columns: Sequence[Column], rows: Sequence[Row], row: Row) -> list[str]:
    cells: list[str] = []
    for column in columns:
        figure = row.figures.get(column.figure)
        if figure is None:
            cells += ["", ""] if column.has_ratio else [""]
            continue
        least, middle, most = (f"{value:,.{column.digits}f}" for value in (figure.least, figure.middle, figure.most))
        cells.append(middle if least == most else f"{middle} ({least} to {most})")
        if column.has_ratio:
            times = None if row.contestant == FLOOR else ratio(rows, row, column.figure)
            cells.append("" if times is None else f"{times:.2f}")
    return cells
