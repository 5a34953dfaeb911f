"""A document on the engine: that it goes when nobody has it any more."""

from __future__ import annotations

import gc
import weakref

import pytest

from crdt_sync.core.document import Document
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds.base import Cut, Drop, Insert
from crdt_sync.errors import EngineError


def test_a_document_that_was_edited_is_let_go() -> None:
    """The engine's subscriptions are not seen by the collector: one that stays keeps its document forever."""
    document = Document(Author(1))
    document.edit([Insert("notes", 0, "abc", None)])
    document.edit([Cut("notes", 0, 1)])
    with pytest.raises(EngineError):
        document.edit([Drop("nothing")])
    engine = weakref.ref(document._map)
    del document
    gc.collect()
    assert engine() is None
