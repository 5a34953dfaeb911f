"""One engine document as a replica would hold it, for the tests of what the engine does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pycrdt import Doc, Map, Text

LOW, HIGH = 1, 2
NO_BLOCKS_NO_DELETES = b"\0\0"


@dataclass(frozen=True, slots=True)
class Site:
    """One engine document with one map root and one text root, and what it has emitted."""

    doc: Doc[Any]
    map: Map[Any]
    text: Text
    emitted: list[bytes]

    def content(self) -> tuple[str, dict[str, bytes]]:
        return str(self.text), entries(self.map)

    def take(self, updates: Iterable[bytes]) -> None:
        """Apply without remembering what the engine emits for it."""
        before = len(self.emitted)
        for update in updates:
            self.doc.apply_update(update)
        del self.emitted[before:]


def site(client: int) -> Site:
    doc: Doc[Any] = Doc(client_id=client)
    made = Site(doc=doc, map=doc.get("m", type=Map), text=doc.get("t", type=Text), emitted=[])
    doc.observe(lambda event: made.emitted.append(event.update))
    return made


def entries(root: Map[Any]) -> dict[str, bytes]:
    return {str(key): bytes(value) for key, value in root.items()}


def exchange(*sites: Site) -> None:
    updates = [one.doc.get_update() for one in sites]
    for one in sites:
        one.take(updates)
