"""The glossary gives each word one meaning."""

from __future__ import annotations

import re
from pathlib import Path

GLOSSARY = Path(__file__).resolve().parents[2] / "docs" / "reference" / "glossary.md"
# fmt: off
NORM = [
    "replica", "device", "space", "hub", "peer", "channel", "session", "model", "record", "field", "document",
    "register", "counter", "set", "list", "map", "text", "update", "delta", "author", "entry", "operation",
    "epoch", "partition", "seal", "horizon", "run", "guest", "version", "fingerprint", "dot", "tombstone",
    "conflict", "candidate", "resolution", "anti-entropy", "reconcile", "converged", "persist", "acknowledge",
    "publish",
]
# fmt: on


def words() -> list[str]:
    rows = re.findall(r"^\| ([^|]+) \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    return [word for row in rows for word in row.split(", ") if word not in {"word", "---"}]


def test_no_word_is_explained_twice() -> None:
    assert sorted(words()) == sorted(set(words()))


def test_the_words_that_the_code_uses_are_explained() -> None:
    explained = {*words()}
    assert [word for word in NORM if word not in explained] == []
    assert {"device id", "state vector", "causal context", "HLC timestamp", "caught up", "natural key"} <= explained
