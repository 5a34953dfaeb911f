"""Conflicts settled one after the other by somebody at a terminal, who is shown each and asked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

from crdt_sync.cli import render
from crdt_sync.cli.actions import Actor, Json
from crdt_sync.cli.actions.conflicts import CONFLICTS, RESOLVE, ConflictsParams, ResolveParams
from crdt_sync.cli.output import visible
from crdt_sync.errors import ConflictNotFoundError, InvalidValueError

_ANSWERS = "number, p proposal, e edit, s skip, q quit; ! behind it: the same for all of this field"
_DIFF_LINES_MAX = 200


def settle_all(act: Actor, ask: Callable[[str], str], out: Console, *, model: str | None) -> Json:
    """Show each open conflict and do what is answered; gives what was done.

    Args:
        act: does the actions.
        ask: shows a question and gives the answer; raises EOFError where there is none to come, which quits.
        out: where conflicts are shown.
        model: only of this model.
    """
    dialogue = _Dialogue(act, ask, out)
    params = ConflictsParams(model=model)
    while dialogue.goes_on():
        found = act(CONFLICTS, params)["conflicts"]
        waiting = [item for item in found if item["id"] not in dialogue.passed]
        if not waiting:
            break
        for number, conflict in enumerate(waiting, start=1):
            dialogue.show(conflict, f"{number} of {len(waiting)}")
            if not dialogue.goes_on():
                break
    left = act(CONFLICTS, params)["total"]
    return {"settled": dialogue.settled, "skipped": dialogue.skipped, "open_conflicts": left}


class _Dialogue:
    """What was answered so far."""

    def __init__(self, act: Actor, ask: Callable[[str], str], out: Console) -> None:
        self._act, self._ask, self._out = act, ask, out
        self._rules: dict[tuple[str, str], str] = {}
        self.passed: set[str] = set()
        self.settled = self.skipped = 0
        self._ended = False

    def goes_on(self) -> bool:
        """Whether nobody has quit."""
        return not self._ended

    def show(self, conflict: Json, place: str) -> None:
        """Settle one conflict, or pass over it."""
        self.passed.add(conflict["id"])
        kind = (conflict["model"], conflict["field"])
        rule = self._rules.get(kind)
        if rule is not None and self._do(conflict, rule):
            return
        self._out.print()
        self._out.print(Text(place))
        render.show_conflict(self._out, conflict)
        if conflict["paths"]:
            self._out.print(Text(f"  overlaps  {visible(', '.join(conflict['paths']))}"))
            self._out.print(Text(f"  proposal  {visible(_text(conflict['value']))}"))
        self._show_changes(conflict)
        while self.goes_on():
            try:
                answer = self._ask(f"{_ANSWERS}: ").strip()
            except EOFError:
                answer = "q"
            if answer == "q":
                self._ended = True
            elif self._do(conflict, answer.removesuffix("!")):
                if answer.endswith("!") and answer != "e!":
                    self._rules[kind] = answer.removesuffix("!")
                return

    def _do(self, conflict: Json, answer: str) -> bool:
        """Do what was answered; False where it makes no sense here."""
        params: ResolveParams | None = None
        if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(conflict["candidates"]):
            params = ResolveParams(conflict_id=conflict["id"], take=answer)
        elif answer == "p":
            params = ResolveParams(conflict_id=conflict["id"], json_value=json.dumps(conflict["value"]))
        elif answer == "e":
            value = self._edited()
            if value is None:
                return False
            params = ResolveParams(conflict_id=conflict["id"], value=value)
        elif answer != "s":
            return False
        if params is None:
            self.skipped += 1
            return True
        try:
            self._act(RESOLVE, params)
        except InvalidValueError as error:
            self._out.print(Text(visible(error.message), style="red"))
            return False
        except ConflictNotFoundError:
            self._out.print("it was settled meanwhile")
            return True
        self.settled += 1
        return True

    def _edited(self) -> str | None:
        try:
            return self._ask("value: ")
        except EOFError:
            self._ended = True
            return None

    def _show_changes(self, conflict: Json) -> None:
        """What each candidate changed of a text of several lines."""
        base = conflict["base"] if conflict["base_known"] else None
        for candidate in conflict["candidates"]:
            value = candidate["value"]
            if isinstance(base, str) and isinstance(value, str) and "\n" in base + value:
                lines = list(difflib.unified_diff(base.split("\n"), value.split("\n"), "base", "", lineterm="", n=1))
                self._out.print(Text(f"  changed by {candidate['number']}"))
                for line in lines[2 : _DIFF_LINES_MAX + 2]:
                    self._out.print(Text(f"    {visible(line)}"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
