"""Whatever is logged comes as key and value, and every logger is in the guide."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def calls() -> Iterator[tuple[Path, ast.Call]]:
    for path in sorted((ROOT / "crdt_sync").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield path, node


def test_every_line_has_its_fields() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call in calls()
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "log"
        and call.func.attr in _LEVELS
        and "extra" not in [keyword.arg for keyword in call.keywords]
    ]
    assert bare == [], "told() logs them"


def test_every_logger_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "howto" / "watch-sync.md").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "crdt_sync").rglob("*.py")]
    names = {name for text in sources for name in re.findall(r'getLogger\("(crdt_sync\.[\w.]+)"\)', text)}
    assert len(names) > 5
    assert sorted(name for name in names if f"`{name}`" not in guide) == []
