"""Every command and option explains itself, and docs/reference/cli.md says the same."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.testing import CliRunner

from crdt_sync.cli.actions import ACTIONS
from crdt_sync.cli.main import app
from tests.unit.cli.reference import PAGE, commands, exit_codes_text, parameters, updated

COMMANDS = dict(commands())


def test_the_commands_are_those_that_were_promised() -> None:
    on_stores = {
        "init",
        "serve",
        "sync",
        "log",
        "retry",
        "revert",
        "metrics",
        "status",
        "check",
        "compact",
        "forget",
        "import",
        "export",
        "demo",
        "simulate",
        "name",
    }
    on_copies = {"backup", "put-back", "safe-to-wipe", "repair", "quarantine", "forks"}
    on_conflicts = {
        "conflicts list",
        "conflicts show",
        "conflicts resolve",
        "conflicts resolve-all",
        "conflicts settle",
    }
    on_records = {"create", "show", "list", "set", "delete", "restore", "explain", "undo", "redo"}
    promised = on_stores | on_copies | on_records | on_conflicts
    assert {name.removeprefix("crdt-sync ") for name in COMMANDS} == promised


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    found: Any = COMMANDS[name]
    assert found.help.strip()[0].isupper()
    for label, text in parameters(found):
        assert text.strip(), label
    assert all(item.metavar or getattr(item, "is_flag", False) for item in found.params), "values are named"
    shown = CliRunner().invoke(app, [*name.split()[1:], "--help"])
    assert shown.exit_code == 0
    assert found.help.split()[0] in shown.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_answer_in_json(name: str) -> None:
    assert any(label == "--json" for label, _ in parameters(COMMANDS[name]))


def test_the_reference_is_what_the_application_says() -> None:
    """To mend it: python -m tests.unit.cli.reference."""
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page) == page


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference(name: str) -> None:
    assert f"### `{name}`" in PAGE.read_text(encoding="utf-8")


def test_every_exit_code_is_explained_in_the_help_too() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    told = set(re.findall(r"\b(\d+) [a-z]", shown.partition("Exit codes:")[2]))
    assert told == set(re.findall(r"^\| (\d+) ", exit_codes_text(), re.MULTILINE))


def test_every_action_has_a_name_of_its_own() -> None:
    assert all(action.name == name for name, action in ACTIONS.items())
