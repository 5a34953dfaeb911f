"""Values edited in the user's own editor."""

from __future__ import annotations

import io
import stat
import sys
from pathlib import Path

import pytest

from crdt_sync.cli import editing
from crdt_sync.errors import InputError
from tests.unit.cli.test_settling import Terminal


def user_editor(monkeypatch: pytest.MonkeyPatch, *, terminal: bool = True, **variables: str) -> editing.Editor | None:
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, Terminal() if terminal else io.StringIO())
    return editing.editor_of_user()


def edited(monkeypatch: pytest.MonkeyPatch, command: str, text: str = "text") -> str:
    edit = user_editor(monkeypatch, EDITOR=command)
    assert edit is not None
    return edit(text)


def editor(folder: Path, code: str) -> str:
    """An editor that is a Python script; the file is ``file``."""
    script = folder / "an editor.py"
    script.write_text(f"import sys, pathlib\nfile = pathlib.Path(sys.argv[-1])\n{code}\n")
    return f"{sys.executable} '{script}'"


def test_visual_comes_before_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = editor(tmp_path, "file.write_bytes(file.read_bytes().upper() + b'\\n')")
    edit = user_editor(monkeypatch, EDITOR="false", VISUAL=command)
    assert edit is not None
    assert edit("a\nb") == "A\nB"
    assert edit("b\n") == "B\n\n"


def test_only_the_user_can_read_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mode = edited(monkeypatch, editor(tmp_path, "file.write_text(oct(file.parent.stat().st_mode))"))
    assert stat.S_IMODE(int(mode, 8)) == stat.S_IRWXU


@pytest.mark.parametrize("code", ["sys.exit(3)", "file.write_bytes(b'\\xff')", "file.unlink()"])
def test_an_editor_that_gives_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    with pytest.raises(InputError) as refusal:
        edited(monkeypatch, editor(tmp_path, code))
    assert "EDITOR" in refusal.value.hint


@pytest.mark.parametrize("command", ["/no/such/editor", "'unfinished"])
def test_an_editor_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    with pytest.raises(InputError):
        edited(monkeypatch, command)


def test_without_an_editor_or_a_terminal_values_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_editor(monkeypatch) is None
    assert user_editor(monkeypatch, EDITOR="vi", terminal=False) is None
