"""Results as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crdt_sync.cli.actions import Json
from crdt_sync.cli.conflict_text import about, device, settled_text, show_conflict, who
from crdt_sync.cli.output import short, visible
from crdt_sync.cli.times import local_time
from crdt_sync.core.naming import label_of
from crdt_sync.core.validating import WHOLE_RECORD

FORKED_RECORDS_SHOWN: Final = 20
"""Records of a fork that are shown; JSON has all."""

CLOCK_OFF_S = 10
"""From so many seconds on `status` says that two clocks differ; a hello may take some on its way."""


def show_record(out: Console, result: Json) -> None:
    """A record, a line for each field; concurrent values and conflicts below."""
    out.print(Text(f"{result['model']} {result['id']}", style="bold"))
    for alias in result.get("also_known_as", ()):
        out.print(Text(f"  also known as {alias}"))
    width = max(map(len, result["fields"]), default=0)
    for name, value in result["fields"].items():
        text = visible(value) if isinstance(value, str) else short(value)
        out.print(Text(f"  {name:<{width}}  ").append(text.replace("\n", "\n" + " " * (width + 4))))
        if name in result.get("invalid", ()):
            out.print(Text(f"  {'':<{width}}  ! does not fit: {visible(result['invalid'][name])}"))
    if WHOLE_RECORD in result.get("invalid", ()):
        out.print(Text(f"  ! does not fit together: {visible(result['invalid'][WHOLE_RECORD])}"))
    for name, candidates in result.get("concurrent", {}).items():
        out.print(Text(f"  written at once: {name}"))
        for candidate in candidates:
            out.print(Text(f"    {short(candidate['value'])}  ({who(candidate)})"))
    for conflict in result.get("conflicts", ()):
        out.print()
        show_conflict(out, conflict)


def show_records(out: Console, result: Json) -> None:
    """A table of records."""
    rows = [
        [_mark(item, WHOLE_RECORD) + item["id"], *(_cell(item, name) for name in result["fields"])]
        for item in result["records"]
    ]
    _table(out, ("id", *result["fields"]), rows)
    first, shown = result["offset"] + 1, len(rows)
    if shown != result["total"]:
        out.print(f"{first}-{first + shown - 1} of {result['total']}" if shown else f"none of {result['total']}")


def _cell(item: Json, name: str) -> str:
    """A value in a table; what does not fit its field is marked."""
    return _mark(item, name) + short(item["fields"][name])


def _mark(item: Json, name: str) -> str:
    return "! " if name in item.get("invalid", ()) else ""


def show_deleted(out: Console, result: Json) -> None:
    """What was deleted."""
    out.print(Text(f"deleted {result['model']} {result['id']}"))


def show_resolved(out: Console, result: Json) -> None:
    """A settled conflict."""
    out.print(Text(f"{result['model']} {result['record_id']} {settled_text(result)}"))
    out.print(f"settled; {result['open_conflicts']} open")


def show_settled_by_rule(out: Console, result: Json) -> None:
    """What came of a rule for many conflicts."""
    for item in result["conflicts"]:
        out.print(Text(f"  {item['id'][:8]}  {short(item['title']) or item['record_id']} · {about(item)}"))
    if result["dry_run"]:
        out.print(f"{result['settled']} of {result['matching']} would be settled; nothing was changed")
        return
    out.print(f"{result['settled']} of {result['matching']} settled; {result['open_conflicts']} open")


def show_settled(out: Console, result: Json) -> None:
    """What came of going through the conflicts."""
    out.print(f"{result['settled']} settled, {result['skipped']} skipped; {result['open_conflicts']} open")


def show_log(out: Console, result: Json) -> None:
    """Operations, oldest first."""
    rows = []
    for item in result["operations"]:
        tried = f", tried {item['attempts']} times" if item["error"] and item["attempts"] > 1 else ""
        status = f"{item['status']}{tried}: {item['error']}" if item["error"] else item["status"]
        data = ", ".join(f"{name}={short(value)}" for name, value in item["data"].items())
        what = [item["type"], item["model"], item["record_id"]]
        rows.append([item["id"], local_time(item["time"]), visible(status), *what, data])
    _table(out, ("id", "time", "status", "type", "model", "record", "data"), rows)
    if result["total"] > len(rows):
        out.print(f"the latest {len(rows)} of {result['total']}")


def show_results(out: Console, result: Json) -> None:
    """What peers said of operations, oldest first."""
    rows = []
    for item in result["results"]:
        peer = visible(label_of(item["peer"], item["peer_name"]))
        rows.append([item["operation"], local_time(item["time"]), item["result"], peer, visible(item["error"])])
    _table(out, ("operation", "time", "result", "peer", "error"), rows)


def show_history(out: Console, result: Json) -> None:
    """What was done to a record, oldest first."""
    out.print(Text(f"{result['model']} {result['id']}", style="bold"))
    for item in result["history"]:
        out.print(Text(f"  {local_time(item['time'])}  {device(item)}  {item['type']}"))
        for line in _changes(item):
            out.print(Text(f"      {line}"))
    if result["earlier"]:
        out.print(f"the latest {len(result['history'])}; there are earlier ones")


def _changes(item: Json) -> Iterator[str]:
    """What one operation did, a line for each field."""
    for change in item["changes"]:
        new = short(change["new"])
        shown = new if change["conflict"] and change["old"] == change["new"] else f"{short(change['old'])} → {new}"
        yield f"{change['field'] or '(the record) live'}: {shown}" + (
            f" (conflict {change['conflict']})" if change["conflict"] else ""
        )
    if item["type"] == "update":
        changed = {change["field"] for change in item["changes"]}
        yield from (f"{name}: written, and the value shown stays" for name in item["fields"] if name not in changed)


def show_explanation(out: Console, result: Json) -> None:
    """Why something is as it is."""
    for line in result["text"].split("\n"):
        out.print(Text(visible(line)))


def show_taken_back(out: Console, result: Json) -> None:
    """What an undo or redo took back, and what it left."""
    out.print(f"the transaction of {local_time(result['time'])}")
    for item in result["items"]:
        what = f"{item['model']} {item['id']} {item['field'] or '(the record)'}"
        out.print(Text(f"  {what}: {visible('left: ' + item['reason'] if item['reason'] else 'taken back')}"))


def show_status(out: Console, result: Json) -> None:
    """How a store stands."""
    served = result.get("served_by")
    lines = {
        "store": result["path"],
        "served by": f"process {served}" if served else "nobody",
        "device": _named(result["device_id"], result["device_name"]) if result["device_id"] else "none yet",
        "replica": f"{result['replica_id']} (epoch {result['epoch']})",
        "devices": ", ".join(_named(item, result["device_names"].get(item)) for item in result["devices"]) or "none",
        "entries": f"{result['entries']} by {result['authors']} authors",
        "operations": f"{result['pending']} pending, {result['failed']} failed",
        "conflicts": str(result["conflicts"]),
    }
    for name, value in lines.items():
        out.print(Text(f"{name:<10}  {visible(value)}"))
    for item in result["home"]:
        who = _named(item["device_id"], item["device_name"]) if item["device_id"] else "not met yet"
        what = f"{who} at {item['address']}"
        out.print(Text(f"{'home':<10}  {visible(what)}"))
    if not result["home"]:
        out.print(f"{'home':<10}  every peer")
    if abs(result["clock_offset_s"] or 0) >= CLOCK_OFF_S:
        out.print(Text(f"{'clock':<10}  {_off(result['clock_offset_s'])}"))
    if result["kept_content"]:
        what = f"{result['kept_content']:,} records have content that is in no entry, as after a repair"
        out.print(f"{'content':<10}  {what}; no other device is known to have it: sync")
    for item in result["set_aside"]:
        again = "`retry` sends it again" if item["due"] is None else f"again at {local_time(item['due'])}"
        what = f"entry {item['sequence']} of author {item['author']}, {item['tries']} times; {again}: {item['reason']}"
        out.print(Text(f"{'set aside':<10}  {visible(f'for {device(item)}: {what}')}"))
    for item in result["forks"]:
        writer = "this device" if item["is_own"] else f"device {device(item)}"
        what = f"{writer} wrote on from two pasts, which stay apart: `crdt-sync forks` tells more"
        out.print(Text(f"{'fork':<10}  {visible(what)}"))
    for model in result["models"]:
        fields = ", ".join(f"{name} ({kind})" for name, kind in model["fields"].items())
        out.print(Text(f"{'model':<10}  {model['name']}: {model['records']} records; {fields}"))
    if not result["models"]:
        out.print(f"{'models':<10}  none declared: crdt-sync init PATH --models …")


def _off(offset_s: float) -> str:
    """How far this device's clock is from the one of the peer that said hello last."""
    side = "behind" if offset_s > 0 else "ahead of"
    return f"{abs(offset_s):.0f} s {side} that of the peer that was met last: one of the two is off"


def show_forks(out: Console, result: Json) -> None:
    """Devices that wrote on from two pasts, and what to do about it."""
    for item in result["forks"]:
        writer = "this device" if item["is_own"] else f"device {_named(item['device_id'], item['device_name'])}"
        times = f"met first {local_time(item['first_seen'])}, last {local_time(item['last_seen'])}"
        out.print(Text(f"{visible(writer)} wrote on from two pasts: {times}", style="bold"))
        after = f"entry {item['shared']} of author {item['author']}" if item["shared"] else "an entry that is not known"
        out.print(f"  they part after {after}; entry {item['differs_at']} is another one elsewhere")
        for there in item["devices"]:
            held = _named(there["device_id"], there["device_name"])
            out.print(Text(f"  device {visible(held)} holds another branch than this store"))
        if item["kept"]:
            out.print(f"  {item['kept']:,} entries of the other branch are kept here; they do not count")
        for record in item["records"][:FORKED_RECORDS_SHOWN]:
            where = [name for name, is_so in (("here", record["here"]), ("elsewhere", record["kept"])) if is_so]
            out.print(Text(f"    {visible(record['model'])} {record['id']}: written {' and '.join(where)}"))
        if len(item["records"]) > FORKED_RECORDS_SHOWN:
            out.print(f"    and {len(item['records']) - FORKED_RECORDS_SHOWN:,} more: --json lists all")
    if result["forks"]:
        out.print("To get out of it, carry one branch's values over: docs/howto/recover.md, “Two pasts of one device”.")
    else:
        out.print("no forks")


def show_initialised(out: Console, result: Json) -> None:
    """A store that was made, or given other models."""
    models = ", ".join(result["models"]) or "no models"
    made = "made" if result["created"] else "declared anew in"
    who = visible(_named(result["device_id"], result["device_name"]))
    out.print(Text(f"{made} {visible(result['path'])}: device {who}, {models}"))


def show_names(out: Console, result: Json) -> None:
    """What this device is called, and what the others are."""
    own = result["device_id"]
    out.print(Text(f"this device: {visible(_named(own, result['device_name']))}"))
    for item, name in result["device_names"].items():
        if item != own:
            out.print(Text(f"  {visible(_named(item, name))}"))


def _named(device_id: str, name: str | None) -> str:
    """A device with its whole id, for commands that take one."""
    return f"{name} ({device_id})" if name else device_id


def show_report(out: Console, result: Json) -> None:
    """One round of sync."""
    out.print(Text(f"{visible(result['url'])}: both sides hold the same, proven in {result['seconds']:.2f} s"))
    sent = f"{result['sent_entries']} entries, {result['completed_operations']} operations completed"
    out.print(f"  sent      {result['bytes_out']:,} bytes; {sent}")
    out.print(f"  received  {result['bytes_in']:,} bytes; {result['received_entries']} entries")
    for partition, fingerprint in result["fingerprints"].items():
        out.print(Text(f"  proof     {fingerprint}{f' ({visible(partition)})' if partition else ''}"))


def show_imported(out: Console, result: Json) -> None:
    """What an import did."""
    if result["resumed_after_line"]:
        out.print(f"lines 1 to {result['resumed_after_line']} were imported before")
    out.print(f"{result['created']} created, {result['updated']} updated, {result['existing']} existed already")
    if result["settled"]:
        out.print(f"{result['settled']} conflict{'s' if result['settled'] > 1 else ''} settled")


def show_exported(out: Console, result: Json) -> None:
    """What an export did."""
    out.print(Text(f"{result['records']} records to {visible(result['output'])}"))


def show_check(out: Console, result: Json) -> None:
    """What a check found."""
    for damage in result["damage"]:
        out.print(Text(f"{damage['what']}: {visible(damage['where'])}: {visible(damage['reason'])}", style="red"))
    checked = dict(result["checked"])
    forks = checked.pop("forks", 0)
    counts = ", ".join(f"{count} {name}" for name, count in checked.items())
    out.print(f"{'sound' if result['ok'] else 'damaged'}: {counts}")
    if forks:
        out.print(f"{forks} devices wrote on from two pasts, which is no damage: `crdt-sync forks` tells more")
    if result["not_current"]:
        waiting = ", ".join(f"{count} {visible(name)}" for name, count in result["not_current"].items())
        out.print(f"not brought up to date yet, which is no damage: {waiting}")


def show_compacted(out: Console, result: Json) -> None:
    """What a compaction did, or would do, and whom it waits for."""
    if result["dry_run"]:
        _show_outlook(out, result)
        return
    for what, name in (("rows of the log", "rows"), ("documents", "documents"), ("bytes", "bytes")):
        out.print(f"{what}: {result[f'{name}_before']:,} before, {result[f'{name}_after']:,} after")
    if result["values_removed"]:
        out.print(f"superseded values that nobody needs any more: {result['values_removed']:,} removed")
    if result["horizon_made"]:
        out.print("Deleted records, or superseded values, are on their way out: sync every device, then compact again.")
    for item in result["waiting_for"]:
        waited = visible(_named(item, result["device_names"].get(item)))
        out.print(f"More can be folded when device {waited} has synced; `crdt-sync forget` waits for it no more.")


def _show_outlook(out: Console, result: Json) -> None:
    out.print(f"rows of the log: {result['rows']:,}, of which {result['rows_to_fold']:,} would go now")
    out.print(f"documents: {result['documents']:,}, of which {result['records_to_remove']:,} are deleted records")
    out.print(f"superseded values that nobody needs once all have synced: {result['values_to_remove']:,}")
    for item in result["waiting_for"]:
        heard = item["heard_ms"]
        since = "was never heard of"
        if heard is not None:
            since = f"said last {local_time(datetime.fromtimestamp(heard / 1000, tz=UTC).isoformat())} what it holds"
        waited = visible(_named(item["device_id"], result["device_names"].get(item["device_id"])))
        out.print(f"Device {waited} lacks {item['entries']:,} entries, and {since}.")
    if result["waiting_for"]:
        out.print("One that will not come back: `crdt-sync forget PATH DEVICE`, and nothing waits for it any more.")


def show_forgotten(out: Console, result: Json) -> None:
    """That a device is not waited for."""
    out.print(f"Device {result['forgotten']} is not waited for any more.")


def show_backup(out: Console, result: Json) -> None:
    """Where a backup is, and how large."""
    out.print(Text(f"{visible(result['path'])}: {result['file_bytes']:,} bytes, complete and checked"))


def show_put_back(out: Console, result: Json) -> None:
    """Where a backup was put, and where what was there is."""
    out.print(Text(f"{visible(result['path'])} is as the backup has it"))
    if result["replaced"]:
        out.print(Text(f"what was there is kept as {visible(result['replaced'])}"))


def show_safety(out: Console, result: Json) -> None:
    """Whether a store may be wiped, and what each device is known to lack."""
    verdict = "yes" if result["safe"] else "no"
    out.print(Text(f"safe to wipe: {verdict}", style="bold"))
    for item in result["devices"]:
        told = f"as it said at {local_time(item['told'])}"
        missing = item["missing"]
        held = "holds everything" if not missing else f"lacks {missing:,} of {result['entries']:,} entries"
        if item["lacks_content"]:
            content = "is not known to have what is in no entry"
            held = f"{held} and {content}" if missing else f"holds all entries, but {content}"
        out.print(Text(f"  device {visible(_named(item['device_id'], item['device_name']))} {held}, {told}"))
    if not result["devices"]:
        out.print("  no other device has told what it holds; sync with one")
    if result["failed"]:
        out.print(f"  {result['failed']:,} changes were refused by peers: only this device has them")
    if result["kept_content"]:
        what = f"{result['kept_content']:,} records have content that is in no entry, as after a repair"
        out.print(f"  {what}; a sync that proves equality tells who has it")
    if result["local_keys"]:
        out.print(f"  {result['local_keys']:,} keys of local storage are private to this device and go with it")


def _table(out: Console, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    out.print(table)
