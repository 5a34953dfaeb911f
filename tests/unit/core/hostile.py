"""What the tests of hostile updates share: a record with everything in it, and what the engine makes of an update."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from pycrdt import Doc, Map, Text

from crdt_sync.core.index import DocumentIndex
from tests.unit.core.devices import TEXTS, Device

OWNER = 7
"""The author of the record."""


@dataclass(frozen=True, slots=True)
class Held:
    """A record as a device holds it: the engine's state, and what screening knows of it."""

    state: bytes
    index: DocumentIndex


@cache
def held() -> Held:
    """A record of author 7 with a value of each kind and a text of 20 units; nobody may change it."""
    device = Device(OWNER)
    device.create()
    with device.edit():
        device.insert("notes", 0.0, "twenty units of text")
        device.write_plain("title", b"title")
        device.write_causal("state", b"one")
        device.count("votes")
        device.add("tags", "p")
    with device.edit():
        device.erase("notes", 0.5, 2)
        device.format("notes", 0.2, 3, {"bold": True})
    return Held(device.doc.get_update(), device.index)


def check_engine_agrees(state: bytes, data: bytes, index: DocumentIndex) -> dict[str, bytes]:
    """Applied, an update gives the content that a reload gives, and the index that the whole document gives.

    Returns:
        The values of the record then, by key.
    """
    doc, values, texts = document(state, data)
    whole = doc.get_update()
    built = DocumentIndex.from_update(whole)
    index.pairs = built.pairs
    assert index == built
    _, values_again, texts_again = document(whole)
    assert texts == texts_again
    assert values == values_again
    return values


def document(*updates: bytes) -> tuple[Doc[Any], dict[str, bytes], list[str]]:
    """The engine's document after some updates, its values and its texts."""
    doc: Doc[Any] = Doc()
    map_root = doc.get("m", type=Map)
    texts = [doc.get("t" + name, type=Text) for name in TEXTS]
    for update in updates:
        doc.apply_update(update)
    return doc, {key: bytes(value) for key, value in map_root.items()}, [str(text) for text in texts]
