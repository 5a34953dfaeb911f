"""The commands of every page run, as they stand there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from crdt_sync import Model, Replica, Set, Text, ask
from crdt_sync.testing.exchange import exchange
from tests.docs.shell import ROOT, commands_of, run_commands

MODELS = """
from datetime import date

from crdt_sync import Model, Set


class Task(Model):
    title: str
    done: bool = False
    due: date | None = None
    tags: Set[str]
"""
ELSEWHERE = {"README.md", "docs/tutorial.md"}
"""Pages whose commands other tests run: `test_readme` and `test_guides`."""
LOST = "abcd-efgh-ijkl-mnop"
"""Stands on a page for a device that one has."""


class Task(Model):
    title: str
    due: date | None = ask(default=None)
    notes: Text
    tags: Set[str]


def reference(text: str, folder: Path) -> None:
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    printed = run_commands(commands_of(text), folder)
    assert "Milk" in printed
    assert "2026-01-31" in printed


def toml(text: str, folder: Path) -> None:
    models = text.partition("```toml\n")[2].partition("```")[0]
    (folder / "models.toml").write_text(models, encoding="utf-8")
    assert "Water plants" in run_commands(commands_of(text), folder)


def keeping_small(text: str, folder: Path) -> None:
    state = folder / "state"
    with (
        Replica.open(folder / "tasks.db", [Task], state_dir=state) as replica,
        Replica.open(folder / "lost.db", [Task], state_dir=state) as lost,
    ):
        task = replica.create(Task, title="Milk")
        assert exchange(replica, lost).proven_equal
        lost.create(Task, title="Oats")
        assert exchange(replica, lost).proven_equal
        task.title = "Oat milk"
        waiting = replica.compaction_outlook().waiting_for
        assert [device.device_id for device in waiting] == [lost.device_id]
        name = str(lost.device_id)
    commands = commands_of(text)
    assert LOST in commands
    printed = run_commands(commands.replace(LOST, name), folder)
    assert name in printed
    with Replica.open(folder / "tasks.db", [Task], state_dir=state) as replica:
        assert replica.compaction_outlook().waiting_for == ()


def simulating(text: str, folder: Path) -> None:
    commands = commands_of(text)
    assert "--histories 6000 --jobs 2" in commands
    # A soak says nothing before it has gone on for minutes; tests of its own run short ones.
    few = "\n".join(line for line in commands.splitlines() if "--soak" not in line)
    printed = run_commands(few.replace("--histories 6000 --jobs 2", "--histories 2"), folder)
    assert "no invariant was broken" in printed


PAGES: dict[str, Callable[[str, Path], None]] = {
    "docs/reference/cli.md": reference,
    "docs/howto/models-in-toml.md": toml,
    "docs/howto/keep-a-store-small.md": keeping_small,
    "docs/explanation/reliability.md": simulating,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_run(page: str, tmp_path: Path) -> None:
    PAGES[page]((ROOT / page).read_text(encoding="utf-8"), tmp_path)


def test_every_page_with_commands_is_run() -> None:
    texts = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in ROOT.glob("docs/**/*.md")}
    texts["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {name for name, text in texts.items() if commands_of(text)} == {*PAGES, *ELSEWHERE}
