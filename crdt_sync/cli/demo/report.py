"""What the demo found out, and how a person or a program reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

KIB = 1024
HASH_DIGITS_SHOWN = 12


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that the demo measured and checked.

    Args:
        records: cities imported.
        json_bytes: their size as JSON Lines.
        steps: name → seconds and bytes, in order.
        merged: what merged by itself, as sentences with whether it came out as it must.
        conflict: the one that needed a person.
        settled: what it was settled with, and whether it is gone everywhere.
        proofs: device → records, fingerprint, content hash, pending operations.
        problems: what was not as it must be; empty where all is well.
    """

    records: int = 0
    json_bytes: int = 0
    steps: list[dict[str, Any]] = field(default_factory=list)
    merged: list[dict[str, Any]] = field(default_factory=list)
    conflict: dict[str, Any] = field(default_factory=dict)
    settled: dict[str, Any] = field(default_factory=dict)
    proofs: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    kept_in: str | None = None

    def step(self, name: str, *, seconds: float, moved: int | None = None) -> None:
        """Note a step that took time, and the bytes that it moved over the network, both ways."""
        self.steps.append({"name": name, "seconds": round(seconds, 3), "bytes": moved})

    def check(self, what: str, *, holds: bool) -> None:
        """Note something that must have merged by itself."""
        self.merged.append({"what": what, "holds": holds})
        self.require(what, holds=holds)

    def require(self, what: str, *, holds: bool) -> None:
        """Note a problem where something does not hold."""
        if not holds:
            self.problems.append(what)

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**asdict(self), "converged": not self.problems}


def show(report: Report, *, console: Console, names: dict[str, str]) -> None:
    """Print the report for a person; ``names`` gives each device id its name."""
    console.print()
    console.print(f"[bold]{report.records:,} cities[/bold], {_size(report.json_bytes)} as JSON, on three devices")
    _show_steps(report, console)
    console.print("\n[bold]Merged by itself[/bold]")
    for item in report.merged:
        console.print(f"  {_mark(item['holds'])} {item['what']}", highlight=False)
    _show_conflict(report, console, names)
    _show_proofs(report, console)
    for problem in report.problems:
        console.print(f"[red]not as it must be:[/red] {problem}", highlight=False)
    verdict = "[red]did not converge[/red]" if report.problems else "[green]converged[/green]"
    console.print(f"\nAll three devices {verdict} ({report.seconds:.1f} s in all).")
    if report.kept_in:
        console.print(f"The stores are in {report.kept_in}: look into them with any SQLite tool, or crdt-sync.")


def _show_steps(report: Report, console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("step")
    for column in ("seconds", "bytes moved", "of the data"):
        table.add_column(column, justify="right")
    for step in report.steps:
        moved = step["bytes"]
        share = "" if moved is None else f"{100 * moved / max(1, report.json_bytes):.2f} %"
        table.add_row(step["name"], f"{step['seconds']:.2f}", "" if moved is None else f"{moved:,}", share)
    console.print(table)


def _show_conflict(report: Report, console: Console, names: dict[str, str]) -> None:
    conflict = report.conflict
    console.print("\n[bold]The one conflict that needs a person[/bold]")
    if not conflict:
        return
    console.print(f"  {conflict['city']}, field {conflict['field']}; before: {conflict['base']}", highlight=False)
    for number, candidate in enumerate(conflict["candidates"], start=1):
        when = datetime.fromtimestamp(candidate["time_ms"] / 1000, tz=UTC).astimezone()
        who = names.get(candidate["device"], candidate["device"])
        shown = " (shown meanwhile)" if candidate["value"] == conflict["shown"] else ""
        console.print(f"  {number}. {candidate['value']!r} by the {who} at {when:%H:%M:%S}{shown}", highlight=False)
    if report.settled:
        by, took = report.settled["by"], report.settled["took"]
        everywhere = "gone on all three" if report.settled["gone"] else "still there"
        console.print(f"  → settled on the {by} by taking {took!r}; {everywhere}", highlight=False)


def _show_proofs(report: Report, console: Console) -> None:
    console.print("\n[bold]Proof[/bold]")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("device", "records", "fingerprint", "contents", "waiting"):
        table.add_column(column)
    for name, proof in report.proofs.items():
        content = proof["content"][:HASH_DIGITS_SHOWN]
        table.add_row(name, f"{proof['records']:,}", proof["fingerprint"], content, str(proof["pending"]))
    console.print(table)


def _mark(holds: bool) -> str:
    return "[green]✓[/green]" if holds else "[red]✗[/red]"


def _size(count: int) -> str:
    return f"{count / KIB / KIB:.1f} MiB"
