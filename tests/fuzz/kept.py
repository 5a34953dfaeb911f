"""The part of the corpus that is in files, under `corpus/TARGET`.

A file is one input. A file of the name `*.hex` holds one in each line: hex digits, then what is known about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
Samples = dict[str, bytes]
"""Inputs by name."""


def kept(target: str, *, files: str = "*") -> Samples:
    """A target's inputs that are in files.

    Args:
        target: its name.
        files: a pattern of names of files.
    """
    found: Samples = {}
    for path in sorted((CORPUS / target).glob(files)):
        if path.suffix == ".hex":
            found.update({name or digits: bytes.fromhex(digits) for digits, name in _lines(path)})
        else:
            found[path.name] = path.read_bytes()
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            digits, _, name = line.partition(" ")
            yield digits, name.strip()
