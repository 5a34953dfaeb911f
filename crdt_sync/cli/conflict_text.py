"""A conflict as a person wants it: what was there, what each device made of it and when, and what changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from crdt_sync.cli.actions import Json
from crdt_sync.cli.differences import Line, differences
from crdt_sync.cli.output import short, visible
from crdt_sync.cli.tagged import tagged
from crdt_sync.cli.times import ago, local_time
from crdt_sync.core.naming import label_of

DIFF_LINES_MAX: Final = 200
LONG_CHARS: Final = 60
"""Texts that are longer are shown by what changed in them ..."""
CUT_CHARS: Final = 72
"""... and their beginning."""
SHORT_CHARS: Final = 40
"""Values up to here stand in one line with who wrote them."""
TITLE_CHARS: Final = 60
VALUE_CHARS: Final = 400
"""Other values are cut here; with --json all of them is told."""
_SIGNS: Final = {"-": "red", "+": "green", "@": "dim", " ": ""}
_TAKEN: Final = {"delete": "is deleted", "keep": "is kept"}
_SETTLED: Final = {**_TAKEN, "both": "both are kept", "merge": "they are one record"}
_ABOUT: Final = {"edit_of_deleted": "deleted and edited at once", "duplicate_create": "created twice"}


def show_conflicts(out: Console, result: Json) -> None:
    """Open conflicts, one after the other."""
    if not result["total"]:
        out.print("no open conflicts")
    for number, conflict in enumerate(result["conflicts"]):
        if number:
            out.print()
        show_conflict(out, conflict)
    if result["total"] > len(result["conflicts"]):
        out.print(f"… and {result['total'] - len(result['conflicts'])} more")


def show_conflict(out: Console, conflict: Json) -> None:
    """One conflict: what it is about, where the values come from, what is shown meanwhile, and what changed."""
    title = cut(short(conflict["title"]), TITLE_CHARS) or conflict["record_id"]
    out.print(Text(f"{conflict['model']} “{title}” · {about(conflict)}", style="bold"))
    out.print(Text(f"  conflict  {conflict['id']}"))
    out.print(Text(f"  record    {conflict['record_id']}"))
    values = [conflict["base"], conflict["value"], *(item["value"] for item in conflict["candidates"])]
    brief = partial(_brief, quoted=_look_alike(values))
    if conflict["field"]:
        out.print(Text(f"  base      {brief(conflict['base']) if conflict['base_known'] else 'no longer kept'}"))
    first = next((item["number"] for item in conflict["candidates"] if item.get("take") != "delete"), 0)
    if conflict["kind"] == "duplicate_create":
        first = 0  # all of them are
    is_merged = bool(conflict["overlaps"])
    sides = [" ".join(_sides(candidate, brief)) for candidate in conflict["candidates"]]
    width = max(map(len, sides))
    for candidate, value in zip(conflict["candidates"], sides, strict=True):
        is_shown = candidate["number"] == first and not is_merged
        told = f"{who(candidate)}{'  ← shown until one is chosen' if is_shown else ''}"
        behind = f"{'':{width - len(value)}}   " if width <= SHORT_CHARS else f"\n{'':12}"
        out.print(Text(f"  {candidate['number']:>4}      {value}").append(behind + told, style="dim"))
    for overlap in conflict["overlaps"]:
        _show_overlap(out, overlap, of_text=isinstance(conflict["value"], str))
    if is_merged:
        out.print(Text(f"  proposal  {brief(conflict['value'])}  ← shown until one is chosen"))
    if conflict["needs_app"]:
        out.print(Text("  This field is merged by the app's function, which is not known here: it needs the app's"))
        out.print(Text("  function; give --models FILE. You can choose a value all the same."))
    _show_changes(out, conflict)


def about(conflict: Json) -> str:
    """What a conflict is about: a field, an entry of a map, or what became of the record."""
    return visible(conflict["register"] or _ABOUT.get(conflict["kind"]) or conflict["kind"])


def settled_text(result: Json) -> str:
    """What settled a conflict."""
    if result["field"]:
        return f"{visible(result['register'])} = {_brief(result['value'])}"
    return _SETTLED.get(result["take"]) or str(result["take"])


def device(item: Json) -> str:
    """A device as people know it, from JSON that names one."""
    return visible(label_of(item["device_id"], item.get("device_name")))


def who(item: Json) -> str:
    """Who wrote something, and when."""
    passed = ago(item["time"], now=datetime.now(UTC))
    return ", ".join(part for part in (device(item), local_time(item["time"]), passed) if part)


def text_of(value: Any) -> str:
    """A value as somebody would type it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cut(text: str, chars: int) -> str:
    """The beginning of a text."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def _show_overlap(out: Console, overlap: Json, *, of_text: bool) -> None:
    """What stands at one path where the candidates overlap; of a text, its lines."""
    parts = [item["value"] for item in (overlap, *overlap["sides"]) if "value" in item]
    part = partial(_part, of_text=of_text, quoted=_look_alike(parts))
    was = part(overlap) if overlap["base_known"] else "no longer kept"
    out.print(Text(f"  at {visible(overlap['path'])}: was {was}"))
    for side in overlap["sides"]:
        out.print(Text(f"  {side['number']:>4}      {part(side)}"))


def _part(item: Json, *, of_text: bool, quoted: bool) -> str:
    if "value" not in item or item["value"] == []:
        return "nothing"
    is_lines = of_text and isinstance(item["value"], list)
    return cut(_shown("\n".join(item["value"]) if is_lines else item["value"], quoted=quoted), VALUE_CHARS)


def _sides(candidate: Json, brief: Callable[[Any], str]) -> Iterator[str]:
    """A candidate's value; where it is a whole record, what taking it does to that."""
    if candidate.get("take") in _TAKEN:
        yield candidate["take"]
    if candidate.get("take") != "delete":
        yield brief(candidate["value"])


def _brief(value: Any, *, quoted: bool = False) -> str:
    """A value in one line; the beginning of a long text, whose changes are shown, or of any that is very long."""
    return cut(_shown(value, quoted=quoted), CUT_CHARS if _is_long(value) else VALUE_CHARS)


def _shown(value: Any, *, quoted: bool = False) -> str:
    """A value in one line; a text in quotes where without them it would look like another value."""
    return visible(json.dumps(value, ensure_ascii=False)) if quoted and isinstance(value, str) else short(tagged(value))


def _look_alike(values: Sequence[Any]) -> bool:
    """Whether some of the values are no text and look like one of the texts."""
    texts = {short(value) for value in values if isinstance(value, str)}
    return any(short(value) in texts for value in values if not isinstance(value, str))


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and (len(value) > LONG_CHARS or "\n" in value)


def _show_changes(out: Console, conflict: Json) -> None:
    """What each candidate changed of a long text; where the base is not kept, how they differ from the last one."""
    candidates = [item for item in conflict["candidates"] if "take" not in item]
    if not any(_is_long(item["value"]) for item in candidates):
        return
    base = conflict["base"] if conflict["base_known"] else None
    for candidate in candidates if isinstance(base, str) else candidates[:-1]:
        old = base if isinstance(base, str) else candidates[-1]["value"]
        if not isinstance(old, str) or not isinstance(candidate["value"], str):
            continue
        since = "" if isinstance(base, str) else f", compared with {candidates[-1]['number']}"
        out.print(Text(f"  changed by {candidate['number']}{since}"))
        lines = differences(old, candidate["value"])
        if lines is None:
            out.print(Text("    too long to be compared here"))
            continue
        for line in islice(lines, DIFF_LINES_MAX):
            out.print(_line(line))


def _line(line: Line) -> Text:
    shown = Text(f"    {line.sign}", style=_SIGNS[line.sign])
    for piece in line.pieces:
        shown.append(visible(piece.text), style="bold underline" if piece.is_changed else "")
    return shown
