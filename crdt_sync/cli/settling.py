"""Conflicts settled one after the other by somebody at a terminal, who is shown each and asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from rich.console import Console
from rich.text import Text

from crdt_sync.cli.actions import Actor, Json
from crdt_sync.cli.actions.conflicts import CONFLICTS, RESOLVE, ConflictsParams, ResolveParams
from crdt_sync.cli.conflict_text import settled_text, show_conflict, text_of
from crdt_sync.cli.editing import Editor
from crdt_sync.cli.output import short, visible
from crdt_sync.cli.tagged import tagged, untagged
from crdt_sync.errors import ConflictNotFoundError, CRDTSyncError, InputError, ModelError, NotACandidateError

_HELP: Final = {
    "p": "write the proposal as it is shown",
    "m": "choose for each path where the values overlap, or the records differ; the rest is merged",
    "e": "write another value: in $VISUAL or $EDITOR where one is set, or typed as for `set`; := before JSON",
    "s": "leave it open and go on",
    "q": "leave the rest open",
    "!": "behind an answer: do the same for all further conflicts of this field, as far as they offer it",
}
_NOT_FOR_ALL: Final = frozenset("em")


def settle_all(
    act: Actor, ask: Callable[[str], str], out: Console, *, model: str | None, editor: Editor | None = None
) -> Json:
    """Show each open conflict and do what is answered; gives what was done.

    Args:
        act: does the actions.
        ask: shows a question and gives the answer; raises EOFError where there is none to come, which quits.
        out: where conflicts are shown.
        model: only of this model.
        editor: edits values; where there is none, they are typed.
    """
    dialogue = _Dialogue(act, ask, out, editor=editor)
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

    def __init__(self, act: Actor, ask: Callable[[str], str], out: Console, *, editor: Editor | None) -> None:
        self._act, self._ask, self._out, self._editor = act, ask, out, editor
        self._rules: dict[tuple[str, str, str], str] = {}
        self.passed: set[str] = set()
        self.settled = self.skipped = 0
        self._ended = False

    def goes_on(self) -> bool:
        """Whether nobody has quit."""
        return not self._ended

    def show(self, conflict: Json, place: str) -> None:
        """Settle one conflict, or pass over it."""
        self.passed.add(conflict["id"])
        alike = (conflict["model"], conflict["field"], conflict["kind"])
        rule = self._rules.get(alike)
        if rule is not None and rule in _answers(conflict):
            self._say(f"{place}: {conflict['model']} “{short(conflict['title'])}” {conflict['field']}: {rule}")
            if self._do(conflict, rule):
                return
        self._out.print()
        self._out.print(Text(place, style="dim"))
        show_conflict(self._out, conflict)
        while self.goes_on():
            answer = self._answer(_question(conflict))
            if answer is None or answer == "q":
                self._ended = True
                return
            if self._try(conflict, answer.removesuffix("!"), for_all=answer.endswith("!")):
                if answer.endswith("!"):
                    self._rules[alike] = answer.removesuffix("!")
                return

    def _try(self, conflict: Json, answer: str, *, for_all: bool) -> bool:
        """Do what was answered, or say why not."""
        answers = _answers(conflict)
        if answer == "?":
            for key, what in answers.items():
                self._say(f"  {key:>2}  {what}")
            return False
        if answer not in answers or answer == "!":
            self._say(f"there is no answer {answer!r} here; ? lists them")
            return False
        if for_all and answer in _NOT_FOR_ALL:
            self._say(f"{answer} is for one conflict at a time")
            return False
        return self._do(conflict, answer)

    def _do(self, conflict: Json, answer: str) -> bool:
        """Do one of the answers that a conflict takes; False where it is asked again."""
        if answer == "s":
            self.skipped += 1
            return True
        try:
            params = self._params(conflict, answer)
            if params is None:
                return self._ended
            result = self._act(RESOLVE, params)
        except ConflictNotFoundError:
            self._say("it was settled meanwhile")
            return True
        except (InputError, ModelError, NotACandidateError) as error:
            self._refused(error)
            return False
        self.settled += 1
        self._say(settled_text(result))
        return True

    def _params(self, conflict: Json, answer: str) -> ResolveParams | None:
        """What settles it; None where nobody said."""
        params = ResolveParams(conflict_id=conflict["id"])
        if answer == "p":
            return replace(params, proposal=True)
        if answer == "e":
            return self._edited(conflict, params)
        if answer == "m":
            return self._by_path(conflict, params)
        take = next(choice["take"] for choice in conflict["choices"] if choice["key"] == answer)
        return replace(params, take=take)

    def _edited(self, conflict: Json, params: ResolveParams) -> ResolveParams | None:
        """Another value: edited, or typed."""
        if self._editor is None:
            typed = self._answer("value: ", strip=False)
            if typed is None:
                self._ended = True
                return None
            return _exact(params, typed[2:]) if typed.startswith(":=") else replace(params, value=typed)
        held = conflict["value"]
        before = text_of(held) if isinstance(held, str) else json.dumps(tagged(held), ensure_ascii=False, indent=2)
        after = self._editor(before)
        if after == before:
            self._say("nothing was changed in the editor; p writes the proposal as it is")
            return None
        return replace(params, value=after) if isinstance(held, str) or not _is_json(after) else _exact(params, after)

    def _by_path(self, conflict: Json, params: ResolveParams) -> ResolveParams | None:
        """A candidate for each path where they overlap."""
        chosen: list[str] = []
        numbers = [str(item["number"]) for item in conflict["candidates"]]
        for path in _paths(conflict):
            question = f"{path}: {_range(numbers)}, empty to go back: "
            answer = self._answer(visible(question))
            while answer is not None and answer and answer not in numbers:
                answer = self._answer(visible(question))
            if answer is None:
                self._ended = True
            if not answer:
                return None
            chosen.append(f"{path}={answer}")
        return replace(params, paths=tuple(chosen))

    def _answer(self, question: str, *, strip: bool = True) -> str | None:
        try:
            answer = self._ask(question)
        except EOFError:
            return None
        return answer.strip() if strip else answer

    def _say(self, text: str) -> None:
        self._out.print(Text(visible(text)))

    def _refused(self, error: CRDTSyncError) -> None:
        self._out.print(Text(visible(error.message), style="red"))
        if error.hint:
            self._out.print(Text(visible(error.hint), style="dim"))


def _answers(conflict: Json) -> dict[str, str]:
    """The answers that a conflict takes, and what each does."""
    offered = {choice["key"]: choice["what"] for choice in conflict["choices"]}
    keys = ["s", "q", "!"]
    if conflict["takes_value"]:
        keys.insert(0, "e")
    if _paths(conflict):
        keys.insert(0, "m")
    if conflict["takes_value"] and not conflict["needs_app"]:
        keys.insert(0, "p")
    return {**offered, **{key: _HELP[key] for key in keys}}


def _paths(conflict: Json) -> list[str]:
    """Where a candidate can be chosen path by path: in a part of a value, or for a field of several records."""
    if conflict["kind"] == "duplicate_create":
        return list(conflict["paths"])
    return [overlap["path"] for overlap in conflict["overlaps"]]


def _question(conflict: Json) -> str:
    answers = _answers(conflict)
    words = {"p": "(p)roposal", "m": "by path (m)", "e": "(e)dit", "s": "(s)kip", "q": "(q)uit"}
    numbers = [key for key in answers if key.isdigit()]
    named = [f"{choice['what']} ({choice['key']})" for choice in conflict["choices"] if not choice["key"].isdigit()]
    rest = [words[key] for key in answers if key in words]
    return f"take {_range(numbers)}, {', '.join((*named, *rest))}, ? help: "


def _range(numbers: list[str]) -> str:
    return numbers[0] if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


def _exact(params: ResolveParams, text: str) -> ResolveParams:
    """JSON as somebody wrote it, or that of the value bytes where something in it is tagged."""
    if _is_json(text):
        given = json.loads(text)
        meant = untagged(given)
        text = text if meant is given else json.dumps(meant)
    return replace(params, json_value=text)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
