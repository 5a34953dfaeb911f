"""One record's document on the engine. This is the only module that imports pycrdt.

The engine stores and merges; which value a user sees is never left to it (engine-facts: the higher client id
would win).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pycrdt

from crdt_sync.core.ids import Author
from crdt_sync.core.kinds.base import Attribute, Cut, Drop, Insert, Mark, Put, TextRun, Write
from crdt_sync.core.layout import MAP_ROOT, text_root
from crdt_sync.errors import EngineError

_MERGE_FAN_IN = 32
"""`merge_updates` is quadratic in the number of updates, so many are merged as a tree."""


class Document:
    """A loaded document, written to by one author.

    Invariants:
        1. Every change goes through `edit` or `apply`; each is one engine transaction.
        2. After an `EngineError` the document is of no use and must be dropped.

    Args:
        author: the engine client id that local writes carry.
        updates: the document's state, or what led to it, in causal order.
    """

    __slots__ = ("_doc", "_emitted", "_map", "_texts")

    def __init__(self, author: Author, *, updates: Iterable[bytes] = ()) -> None:
        self._doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=author)
        self._map: pycrdt.Map[Any] = self._doc.get(MAP_ROOT, type=pycrdt.Map)
        self._emitted: list[bytes] = []
        self._texts: dict[str, str] = {}
        for update in updates:
            self.apply(update)

    def apply(self, update: bytes) -> None:
        """Apply a screened update of somebody else, or one's own when loading.

        Raises:
            EngineError: the engine refused it.
        """
        with _engine_seam():
            self._doc.apply_update(update)
        self._texts.clear()

    def edit(self, writes: Sequence[Write]) -> bytes:
        """Make local changes as one engine transaction.

        Returns:
            The update that carries exactly this transaction.

        Raises:
            EngineError: the engine refused a write.
        """
        self._emitted.clear()
        subscription = self._doc.observe(self._emit)  # not for longer: it would keep the document in memory for good
        try:
            with _engine_seam(), self._doc.transaction():
                for write in writes:
                    self._write(write)
        finally:
            self._doc.unobserve(subscription)
        if len(self._emitted) != 1:
            raise EngineError("a transaction of the engine gave no update")
        return self._emitted.pop()

    def cells(self) -> dict[str, bytes]:
        """The live items of the map root."""
        with _engine_seam():
            cells = self._map.to_py()
        return {} if cells is None else {key: bytes(value) for key, value in cells.items() if _is_bytes(value)}

    def text(self, field: str) -> str:
        """The text of a field."""
        held = self._texts.get(field)
        if held is None:
            with _engine_seam():
                held = str(self._text(field))
            self._texts[field] = held
        return held

    def runs(self, field: str) -> list[TextRun]:
        """The text of a field in pieces of equal attributes, as few as there can be."""
        with _engine_seam():
            pieces = self._text(field).diff()
        runs: list[TextRun] = []
        for text, held in pieces:
            attributes = {name: _attribute(held[name]) for name in sorted(held)} if held else {}
            if runs and _typed(runs[-1][1]) == _typed(attributes):
                runs[-1] = (runs[-1][0] + text, attributes)
            else:
                runs.append((text, attributes))
        return runs

    def encode(self) -> bytes:
        """The whole state as one update."""
        with _engine_seam():
            return bytes(self._doc.get_update())

    def delta(self, state_vector: bytes) -> bytes:
        """The update that brings a replica with ``state_vector`` (engine encoding) up to this state."""
        with _engine_seam():
            return bytes(self._doc.get_update(state_vector))

    def _emit(self, event: pycrdt.TransactionEvent) -> None:
        self._emitted.append(bytes(event.update))

    def _text(self, field: str) -> pycrdt.Text:
        text: pycrdt.Text = self._doc.get(text_root(field), type=pycrdt.Text)
        return text

    def _write(self, write: Write) -> None:
        match write:
            case Put(key, data):
                self._map[key] = data
            case Drop(key):
                del self._map[key]
            case Insert(field, index, text, attributes):
                held = self.text(field)
                given = None if attributes is None else dict(attributes)
                self._text(field).insert(_byte_offset(held, index), text, given)
                self._texts[field] = held[:index] + text + held[index:]
            case Cut(field, index, count):
                held = self.text(field)
                start = _byte_offset(held, index)
                end = start + len(held[index : index + count].encode())
                del self._text(field)[start:end]
                self._texts[field] = held[:index] + held[index + count :]
            case Mark(field, index, count, attributes):
                held = self.text(field)
                start = _byte_offset(held, index)
                end = start + len(held[index : index + count].encode())
                self._text(field).format(start, end, dict(attributes))


def merge_updates(updates: Sequence[bytes]) -> bytes:
    """Several updates of one document as one.

    Raises:
        EngineError: the engine refused one of them.
    """
    level = list(updates)
    while len(level) > 1:
        with _engine_seam():
            level = [
                level[start]
                if start + 1 == len(level)
                else bytes(pycrdt.merge_updates(*level[start : start + _MERGE_FAN_IN]))
                for start in range(0, len(level), _MERGE_FAN_IN)
            ]
    return level[0]


def _byte_offset(text: str, index: int) -> int:
    """Code points to UTF-8 bytes, which is what the engine's text counts in."""
    return index if text.isascii() else len(text[:index].encode())


def _typed(attributes: dict[str, Attribute]) -> list[tuple[str, type, Attribute]]:
    """Attributes as what can be compared: to Python, True equals 1."""
    return [(name, type(value), value) for name, value in attributes.items()]


def _attribute(value: Any) -> Attribute:
    """An attribute's value as it was given: of numbers the engine knows one type."""
    return int(value) if type(value) is float and value.is_integer() else value


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes | bytearray)


@contextmanager
def _engine_seam() -> Iterator[None]:
    """Turn whatever the engine raises into a typed error; its panics are BaseExceptions."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, EngineError):
        raise
    except BaseException as error:  # noqa: BLE001  a Rust panic derives from it
        raise EngineError(f"the CRDT engine failed with {type(error).__name__}") from None
