"""Conflicts settled at a terminal: what is shown, what answers do, and that without a terminal it is refused."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crdt_sync import Replica
from crdt_sync.cli.editing import Editor
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.settling import settle_all
from tests.unit.cli.conftest import Cli, exchange

MODELS = """
from crdt_sync import Model, ask, three_way

class Note(Model):
    title: str = ""
    state: str = ask(default="")
    size: int = ask(default=0)
    body: str = three_way(default="a\\nb\\nc")
"""


@pytest.fixture
def notes(cli: Cli, tmp_path: Path) -> Path:
    """Three notes, whose states clash; the first one's size and body, too."""
    file = tmp_path / "models.py"
    file.write_text(MODELS)
    stores = [tmp_path / "a.db", tmp_path / "b.db"]
    for path, name in zip(stores, ("laptop", "phone"), strict=True):
        assert cli("init", path, "--models", file, "--name", name).code == 0
    with Replica.open(stores[0]) as one, Replica.open(stores[1]) as other:
        for number in range(3):
            one.create(one.model("Note"), title=f"n{number}")
        exchange(one, other)
        for replica, letter, size in ((one, "x", 1), (other, "y", 2)):
            model: Any = replica.model("Note")
            for record in replica.find(model):
                replica.update(record, state=letter)
            first = replica.find(model, title="n0")[0]
            replica.update(first, size=size, body=f"a\n{letter}\nc")
        exchange(one, other)
    return stores[0]


def settled(store: Path, *answers: str, editor: Editor | None = None) -> tuple[dict[str, Any], str, int]:
    """What was done and shown, and how many answers were left."""
    waiting = iter(answers)
    shown = io.StringIO()
    with reach(Place(path=store), writes=True) as act:
        done = settle_all(act, answering(waiting), Console(file=shown, width=120), model="Note", editor=editor)
    return done, shown.getvalue(), len(list(waiting))


def answering(waiting: Iterator[str]) -> Callable[[str], str]:
    def ask(question: str) -> str:
        del question
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    return ask


def states(store: Path) -> dict[str, tuple[Any, ...]]:
    with Replica.open(store) as replica:
        found: list[Any] = list(replica.find(replica.model("Note")))
        return {item.title: (item.state, item.size, item.body) for item in found}


def fields_in_order(store: Path) -> list[str]:
    with Replica.open(store) as replica:
        return [item.field for item in replica.conflicts()]


def test_each_is_shown_and_settled(notes: Path) -> None:
    order = fields_in_order(notes)
    answers = {"state": ["1"], "size": ["e", "seven", "9", "e", "7"], "body": ["p"]}
    done, shown, left = settled(notes, *(answer for field in order for answer in answers[field]))
    assert (done, left) == ({"settled": 5, "skipped": 0, "open_conflicts": 0}, 0)
    assert states(notes)["n0"] == ("y", 7, "a\ny\nc")
    assert {item[0] for item in states(notes).values()} == {"y"}
    for part in ("1 of 5", "n0", "changed by 2", "    -b", "    +x", "at #2-2: was b", "valid integer", "phone ("):
        assert part in shown


def test_one_answer_does_for_a_whole_field(notes: Path) -> None:
    first = fields_in_order(notes)
    given = {"state": "2!", "size": "s", "body": "s"}
    answers = list(dict.fromkeys(first))
    done, _, left = settled(notes, *(given[field] for field in answers))
    assert (done, left) == ({"settled": 3, "skipped": 2, "open_conflicts": 2}, 0)
    assert {item[0] for item in states(notes).values()} == {"x"}


def only(store: Path, field: str, *given: str) -> list[str]:
    """The answers for one field; the others are skipped."""
    return [answer for name in fields_in_order(store) for answer in (given if name == field else ("s",))]


def test_what_is_not_an_answer_is_said_and_help_is_there(notes: Path) -> None:
    _, shown, left = settled(notes, "zz", "e!", "m", "?", "q")
    assert left == 0
    assert "there is no answer 'zz' here" in shown
    assert "e is for one conflict at a time" in shown
    assert "take 1" in shown


def test_a_value_is_edited_and_checked(notes: Path) -> None:
    given = iter(["seven", "8"])
    seen: list[str] = []

    def editor(text: str) -> str:
        seen.append(text)
        return next(given)

    done, shown, left = settled(notes, *only(notes, "size", "e", "e"), editor=editor)
    assert (done["settled"], left, seen) == (1, 0, ["2", "2"])
    assert "valid integer" in shown
    assert states(notes)["n0"][1] == 8


def test_a_text_is_edited_as_it_is(notes: Path) -> None:
    answers = only(notes, "body", "e", "e")
    given = iter(["a\ny\nc", "a\nboth\nc\n"])
    done, shown, _ = settled(notes, *answers, editor=lambda text: next(given))
    assert done["settled"] == 1
    assert "nothing was changed in the editor" in shown
    assert states(notes)["n0"][2] == "a\nboth\nc\n"


def test_exact_json_can_be_typed(notes: Path) -> None:
    settled(notes, *only(notes, "state", "e", ':="[1]"', "s", "s"))
    assert "[1]" in {item[0] for item in states(notes).values()}


def test_parts_are_chosen_by_path(notes: Path) -> None:
    done, shown, left = settled(notes, *only(notes, "body", "m", "", "m", "7", "2"))
    assert (done["settled"], left) == (1, 0)
    assert "body = a⏎x⏎c" in shown
    assert states(notes)["n0"][2] == "a\nx\nc"


def test_leaving_amid_the_choice_of_parts_changes_nothing(notes: Path) -> None:
    before = states(notes)
    until = only(notes, "body", "m")
    settled(notes, *until[: until.index("m") + 1])
    assert states(notes) == before


def test_one_that_was_settled_meanwhile_is_passed_over(notes: Path) -> None:
    waiting = iter(["1"] * 5)
    shown = io.StringIO()
    with reach(Place(path=notes), writes=True) as act:

        def hurried(action: Any, params: Any) -> Any:
            if action.name == "resolve":
                act(action, params)
            return act(action, params)

        done = settle_all(hurried, answering(waiting), Console(file=shown, width=120), model="Note")
    assert done == {"settled": 0, "skipped": 0, "open_conflicts": 0}
    assert shown.getvalue().count("it was settled meanwhile") == 5


@pytest.mark.parametrize("answers", [("q",), (), ("?", "99", "0", "", "q"), ("e",)])
def test_leaving_changes_nothing(notes: Path, answers: tuple[str, ...]) -> None:
    before = states(notes)
    done, _, left = settled(notes, *answers)
    assert (done, left) == ({"settled": 0, "skipped": 0, "open_conflicts": 5}, 0)
    assert states(notes) == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_command_asks_at_a_terminal(cli: Cli, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("s\ns\n"))
    found = cli("conflicts", "settle", notes)
    assert (found.code, "0 settled, 2 skipped; 5 open" in found.out) == (0, True), found.err
    monkeypatch.setattr(sys, "stdin", Terminal("q\n"))
    assert cli("conflicts", "settle", notes, "--json").json == {"settled": 0, "skipped": 0, "open_conflicts": 5}


def test_without_a_terminal_it_is_refused(cli: Cli, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))
    found = cli("conflicts", "settle", notes)
    assert (found.code, "terminal" in found.err, "resolve" in found.err) == (2, True, True)
