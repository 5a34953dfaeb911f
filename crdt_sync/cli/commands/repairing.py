"""Commands for a store that is damaged: repair, quarantine."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from crdt_sync.cli import render
from crdt_sync.cli.actions.base import Json
from crdt_sync.cli.actions.network import SYNC, SyncParams
from crdt_sync.cli.actions.quarantined import PUT_BACK_QUARANTINED, QuarantinedParams
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.options import AsJson, Models, StorePath
from crdt_sync.cli.output import console, emit, reporting, visible
from crdt_sync.errors import CorruptStoreError, InputError
from crdt_sync.replica import Replica
from crdt_sync.replica.checking import CheckReport, check_store
from crdt_sync.replica.repairing import RepairReport, read_quarantine
from crdt_sync.storage.sqlite import open_sqlite

TIMEOUT_S = 60.0
RECORDS_SHOWN = 3
"""Records that are named of one row."""


def repair(
    *,
    path: StorePath,
    peers: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="Sync with this peer afterwards, for what is missing; may be given several times.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout-s", metavar="SECONDS", min=0.1, help="Seconds that each peer may take.", show_default="60"
        ),
    ] = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Mend a damaged store: derive anew what can be derived, and fetch from peers what is missing.

    Nobody may have the store open. The damaged file stays beside it, and so does a quarantine file with each row that
    could not stay. A sound store is left as it is, and so is one whose repair is interrupted. Exit code 10 means that
    something is still wrong, or a record lost here, also after the peers.
    """
    with reporting(as_json=as_json):
        _refuse_idle(dry_run=dry_run, peers=peers, of_peers=models is not None or timeout_s is not None)
        report = _repaired(path, dry_run=dry_run)
        result, left = _result(report, dry_run=dry_run), report.after
        if not as_json:
            _show(console(), result)
        try:
            for url in peers or ():
                with reach(Place(path=path, models=models), writes=True) as act:
                    told = act(SYNC, SyncParams(url=url, timeout_s=timeout_s or TIMEOUT_S))
                result["peers"].append(told)
                if not as_json:
                    render.show_report(console(), told)
        finally:  # a peer that cannot be reached takes nothing back of what was done
            if result["peers"] and not left.ok:  # one of them may have brought just that
                with open_sqlite(path, read_only=True) as store:
                    left = check_store(store)
                result.update(_left(left))
                if left.ok and not as_json:
                    console().print("the peers brought what was missing: nothing is left to mend")
            result["still_lost"] = lost = [list(item) for item in report.still_lost()]
            if as_json:
                emit(result, as_json=True, render=_show)
        _refuse_what_is_left(path, left=left, lost=len(lost))


def quarantine(
    *,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A quarantine file that a repair made.", show_default=False)
    ],
    into: Annotated[
        Path | None,
        typer.Option(
            "--put-back-into",
            metavar="PATH",
            help="Take back into this store what is sound now, and say why the rest is not.",
            show_default=False,
        ),
    ] = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Show what a repair put aside: which rows, about which records, and why; or take back what is sound now.

    The bytes are in the file itself, one JSON object a line; `--json` gives them too. What is taken back is judged as
    if a stranger had sent it, so entries go back once those before them have come from a peer. The file stays as it is.
    """
    with reporting(as_json=as_json):
        if into is not None:
            with reach(Place(path=into, models=models), writes=True) as act:
                told = act(PUT_BACK_QUARANTINED, QuarantinedParams(file=str(file.absolute())))
            emit(told, as_json=as_json, render=_show_put_back)
            return
        if models is not None:
            raise InputError("--models is for the store that is put back into", hint="Say with --put-back-into which.")
        rows = list(read_quarantine(file))
        emit({"path": str(file), "rows": rows}, as_json=as_json, render=_show_quarantine)


def _refuse_idle(*, dry_run: bool, peers: list[str] | None, of_peers: bool) -> None:
    if dry_run and peers:
        raise InputError("a dry run syncs with nobody", hint="Leave out --from or --dry-run.")
    if of_peers and not peers:
        raise InputError("--models and --timeout-s are for peers", hint="Say with --from which.")


def _refuse_what_is_left(path: Path, *, left: CheckReport, lost: int) -> None:
    if left.ok and not lost:
        return
    wrong = f"nothing could be read of {lost} records" if left.ok else f"{left.total} findings are left"
    raise CorruptStoreError(
        f"{path}: {wrong}",
        hint="A peer may have what is missing: `--from URL`. Else put a backup back, or begin anew.",
    )


def _repaired(path: Path, *, dry_run: bool) -> RepairReport:
    columns = (TextColumn("taking over"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as shown:
        task = shown.add_task("", total=None)
        return Replica.repair(
            path, dry_run=dry_run, progress=lambda done, total: shown.update(task, completed=done, total=total)
        )


def _result(report: RepairReport, *, dry_run: bool) -> Json:
    return {
        "path": str(report.path),
        "dry_run": dry_run,
        "changed": report.changed,
        "found": report.before.total,
        **_left(report.after),
        "missing": [asdict(item) for item in report.missing],
        "kept_content": [list(item) for item in report.kept_content],
        "lost": [list(item) for item in report.lost],
        "still_lost": [list(item) for item in report.lost],
        "journal_added": report.journal_added,
        "quarantined": report.quarantined,
        "quarantine": None if report.quarantine is None else str(report.quarantine),
        "damaged": None if report.damaged is None else str(report.damaged),
        "peers": [],
    }


def _left(found: CheckReport) -> Json:
    return {"left": found.total, "damage": [asdict(item) for item in found.listed]}


def _show(out: Console, result: Json) -> None:
    if not result["found"]:
        out.print("sound: nothing to repair")
        return
    verb = "would be" if result["dry_run"] else "were"
    if not result["changed"] and not result["dry_run"]:
        out.print(f"{result['found']} findings, of which none can be mended here; nothing was changed")
    else:
        mended = result["found"] - result["left"]
        out.print(f"{mended} of {result['found']} findings {verb} mended")
    for item in result["missing"]:
        out.print(
            f"author {item['author']}: entries {item['held'] + 1} to {item['known']} are missing; a peer has them"
        )
    if result["kept_content"]:
        out.print(f"{len(result['kept_content'])} records hold more than the log, which stays")
    for model, record in result["lost"]:
        out.print(Text(f"nothing could be read of {visible(model)} {visible(record)}; a peer has it", style="red"))
    if result["journal_added"]:
        out.print(f"{result['journal_added']} own changes are offered to peers again")
    if result["quarantine"]:
        out.print(Text(f"{result['quarantined']} rows are put aside in {visible(result['quarantine'])}"))
    elif result["quarantined"]:
        out.print(f"{result['quarantined']} rows {verb} put aside")
    if result["damaged"]:
        out.print(Text(f"the damaged store is kept as {visible(result['damaged'])}"))


def _show_put_back(out: Console, result: Json) -> None:
    for row in result["left"]:
        out.print(Text(visible(f"{row['table']} {row['key']} stays: {row['reason']}")))
    if result["stay"] > len(result["left"]):
        out.print(f"and {result['stay'] - len(result['left'])} more")
    done = f"{result['put_back']} rows were put back, with {result['entries']} entries"
    out.print(f"{done}; {result['here']} were here already, {result['stay']} stay")


def _show_quarantine(out: Console, result: Json) -> None:
    for row in result["rows"]:
        about = ""
        if "author" in row:
            records = [" ".join(map(str, item)) for item in row["records"][:RECORDS_SHOWN]]
            more = len(row["records"]) - len(records)
            about = f": author {row['author']}, entries {row['first']} to {row['last']}: {', '.join(records)}"
            about += f" and {more} more" if more else ""
        out.print(Text(visible(f"{row['table']} {row['key']}{about}: {row['reason']}")))
    out.print(f"{len(result['rows'])} rows")
