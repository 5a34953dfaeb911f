"""Many conflicts settled by one rule, without a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Cli
from tests.unit.cli.test_settling import notes, states

__all__ = ["notes"]


def settled(cli: Cli, store: Path, *options: str) -> dict[str, Any]:
    done = cli("conflicts", "resolve-all", store, "--model", "Note", *options, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = done.json
    return found


@pytest.mark.parametrize(
    ("take", "letter"), [("latest", "y"), ("earliest", "x"), ("1", "y"), ("2", "x"), ("proposal", "y")]
)
def test_all_of_a_field(cli: Cli, notes: Path, take: str, letter: str) -> None:
    before = states(notes)
    dry = settled(cli, notes, "--field", "state", "--take", take, "--dry-run")
    assert (dry["matching"], dry["settled"], dry["left"], dry["open_conflicts"]) == (3, 3, 0, 5)
    assert sorted(item["title"] for item in dry["conflicts"]) == ["n0", "n1", "n2"]
    assert states(notes) == before
    done = settled(cli, notes, "--field", "state", "--take", take)
    assert (done["settled"], done["left"], done["open_conflicts"], done["conflicts"]) == (3, 0, 2, [])
    assert {item[0] for item in states(notes).values()} == {letter}


def test_what_the_rule_has_no_answer_for_stays_open(cli: Cli, notes: Path) -> None:
    done = settled(cli, notes, "--take", "3")
    assert (done["matching"], done["settled"], done["left"], done["open_conflicts"]) == (5, 0, 5, 5)
    assert settled(cli, notes, "--take", "keep")["left"] == 5
    text = cli("conflicts", "resolve-all", notes, "--model", "Note", "--take", "latest", "--dry-run").out
    assert "5 of 5 would be settled; nothing was changed" in text
    assert text.count("n0") == 3
    assert "5 of 5 settled; 0 open" in cli("conflicts", "resolve-all", notes, "--model", "Note", "--take", "latest").out


@pytest.mark.parametrize(
    ("options", "code", "kind"),
    [
        (("--model", "Note", "--take", "newest"), 2, "InputError"),
        (("--model", "Note", "--take", "0"), 2, "InputError"),
        (("--model", "Nope", "--take", "latest"), 4, "UnknownModelError"),
        (("--model", "Note", "--field", "nope", "--take", "latest"), 4, "UnknownFieldError"),
        (("--take", "latest"), 2, "InputError"),
    ],
)
def test_what_makes_no_sense_settles_nothing(
    cli: Cli, notes: Path, options: tuple[str, ...], code: int, kind: str
) -> None:
    refused = cli("conflicts", "resolve-all", notes, *options, "--json")
    assert (refused.code, refused.error["type"]) == (code, kind)
    assert refused.error["hint"]
    assert settled(cli, notes, "--take", "latest", "--dry-run")["open_conflicts"] == 5
