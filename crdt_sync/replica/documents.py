"""Loaded documents: a bounded cache over the store, each loaded from its snapshot and the log's tail.

A document that is only received or created is never put on the engine: its content can be read from the one update that
made it. It is put there when it is edited, or when several updates have to be merged.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from crdt_sync.core.blocks import DOCUMENT_BOUNDS, Update
from crdt_sync.core.content import Content, edited_content, parse_content, plain_content
from crdt_sync.core.document import Document
from crdt_sync.core.editing import edit_map, map_writes, merge_map
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.kinds.base import Drop, Insert, Put, Write
from crdt_sync.core.layout import text_root
from crdt_sync.core.logs import told
from crdt_sync.core.screening import Screened, screen, screen_again
from crdt_sync.core.update import encode_update, map_insert_update, parse_update
from crdt_sync.core.version import parse_state_vector, version
from crdt_sync.replica.bases import base_state, is_unwritten
from crdt_sync.replica.collector import BULK_DOCUMENTS
from crdt_sync.replica.ledger import CONTENT_AUTHOR, Ledger
from crdt_sync.replica.rows import DocumentRow, after_prefix, split_touch_key, unpack_document_row
from crdt_sync.storage.base import Store, Table

log = logging.getLogger("crdt_sync.replica")
CACHED_DOCUMENTS_MAX: Final = 1024
CACHED_BYTES_MAX: Final = 64 * 1024 * 1024
EXPECTED_MIN: Final = 4
"""Fewer documents are looked up one by one."""
MERGED_BLOCKS_MAX: Final = 64
"""Documents of more blocks are merged by the engine, which takes longer to begin with and less for each block."""
LARGE_BYTES: Final = 16 * 1024
"""Documents above this are kept as snapshot and tail, and are not rewritten at every change."""
EMPTY: Final = Update((), ())
TAIL_UPDATES_MAX: Final = 2_000
"""Longest tail of a large document before its snapshot is written anew ..."""
TAIL_FRACTION: Final = 4
"""... unless it is shorter than this fraction of the document's size."""


class Loaded:
    """One document in memory.

    Args:
        key: its address.
        author: who makes local changes to it.
        snapshot: the state as one update, or empty.
        index: what screening must know; it is kept current here.
        position: log position up to which ``snapshot`` holds everything.
        live: whether the record was live at its last derivation.
        conflicts: ids of its open conflicts at its last derivation.
    """

    __slots__ = (
        "_author",
        "_content",
        "_encoded",
        "_engine",
        "_parsed",
        "conflicts",
        "counted",
        "index",
        "key",
        "live",
        "position",
        "size",
        "snapshot",
        "tail",
    )

    def __init__(
        self,
        key: DocumentKey,
        *,
        author: Author,
        snapshot: bytes = b"",
        index: DocumentIndex | None = None,
        position: int = 0,
        live: bool = False,
        conflicts: tuple[bytes, ...] = (),
    ) -> None:
        self.key, self._author = key, author
        self.snapshot, self.tail = snapshot, list[bytes]()
        self.index = DocumentIndex() if index is None else index
        self.position = position
        self.live = live
        self.conflicts = conflicts
        self.size = len(snapshot)
        self.counted = 0
        """The part of ``size`` that the cache has counted."""
        self._engine: Document | None = None
        self._content: Content | None = None
        self._encoded: bytes | None = None
        self._parsed: Update | None = None

    @property
    def known(self) -> bool:
        """Whether anything was ever written to the document."""
        return bool(self.snapshot or self.tail)

    @property
    def is_large(self) -> bool:
        """Whether it is kept as snapshot and tail; a smaller one's snapshot is written at every change."""
        return len(self.snapshot) > LARGE_BYTES

    def add(self, update: bytes, screened: Screened) -> None:
        """Take in an update that was screened against this index."""
        state = None if screened.text_fields else self._state()
        known = self.known
        self.index.apply(screened)
        if self._engine is not None:
            self._engine.apply(update)
        self._grow(update)
        if state is not None:
            self._parsed = merge_map(state, screened.update.blocks, index=self.index)
        elif not known:
            self._parsed = screened.update

    def add_content(self, update: bytes) -> None:
        """Take in part of a peer's document; the index is made anew from the merged state."""
        engine = self.engine()
        engine.apply(update)
        self._grow(update)
        self.index = DocumentIndex.from_update(engine.encode())

    def edit(self, writes: Sequence[Write], *, operation: OperationType) -> bytes:
        """Make a local change; returns its update, which is judged as everybody else will judge it."""
        cells, content = map_writes(writes), self._content
        if self._engine is None and cells is not None:
            state = self._state() if self.known else EMPTY
            if state is not None:
                return self._edit_map(cells, state, operation=operation)
        if not self.known:
            return self._create(writes)
        update = self.engine().edit(writes)
        self.index.apply(screen(update, author=self._author, index=self.index, operation=operation))
        self._grow(update)
        self._content = self._edited(content, cells)
        return update

    def _edit_map(self, cells: Sequence[Put | Drop], state: Update, *, operation: OperationType) -> bytes:
        content = self._content if self.known else Content()
        edit = edit_map(cells, author=self._author, index=self.index, operation=operation)
        self.index.take_over(edit.placed)
        self._grow(edit.update)
        self._parsed = merge_map(state, edit.blocks, index=self.index)
        self._content = self._edited(content, cells)
        return edit.update

    def _edited(self, content: Content | None, cells: Sequence[Put | Drop] | None) -> Content | None:
        if content is None or cells is None:
            return None
        changed = {write.key: write.data if type(write) is Put else None for write in cells}
        return edited_content(content, changed, self.index.edited)

    def _create(self, writes: Sequence[Write]) -> bytes:
        """Make a new document with texts, from insertions alone."""
        items = [(write.key, write.data) for write in writes if isinstance(write, Put)]
        texts = [(text_root(write.field), write.text) for write in writes if isinstance(write, Insert)]
        update = map_insert_update(self._author, items=items, texts=texts)
        self.add(update, screen(update, author=self._author, index=self.index, operation=OperationType.CREATE))
        return update

    def engine(self) -> Document:
        """The document on the engine."""
        if self._engine is None:
            self._engine = Document(self._author, updates=[self.snapshot, *self.tail] if self.snapshot else self.tail)
        return self._engine

    def content(self, text_fields: Iterable[str]) -> Content:
        """What the document holds; ``text_fields`` are the model's Text fields."""
        content = self._content
        if content is None or (text_fields and not content.texts.keys() >= set(text_fields)):
            content = self._content = self._read(tuple(text_fields))
        return content

    def encode(self) -> bytes:
        """The whole state as one update."""
        if self.snapshot and not self.tail:
            return self.snapshot
        if not self.snapshot and len(self.tail) == 1:
            return self.tail[0]
        if self._encoded is None:
            self._encoded = self.engine().encode() if self._parsed is None else encode_update(self._parsed)
        return self._encoded

    def delta(self, state_vector: bytes) -> bytes:
        """The update that a replica at ``state_vector`` (engine encoding) lacks."""
        parse_state_vector(state_vector)
        return self.engine().delta(state_vector)

    def version(self) -> bytes:
        """Names the content: equal versions mean equal content."""
        return version(self.index.state_vector, self.index.delete_set)

    def wants_folding(self) -> bool:
        """Whether the tail of a large document has grown enough to write its snapshot anew."""
        size = sum(map(len, self.tail))
        return len(self.tail) > TAIL_UPDATES_MAX and size * TAIL_FRACTION > self.size

    def row(self, *, position: int) -> DocumentRow:
        """The row that holds everything up to log position ``position``; the tail is folded into the snapshot."""
        self.snapshot = self.encode()
        self.tail.clear()
        self.position = position
        self.size = len(self.snapshot)
        return DocumentRow(
            position=position,
            live=self.live,
            conflicts=self.conflicts,
            state=self.snapshot,
            units=self.index.to_bytes(),
        )

    def is_live(self) -> bool:
        """Whether anything was done that no deletion saw; a model's own rule may say otherwise."""
        return self._read(()).is_live("edit_wins")

    def _grow(self, update: bytes) -> None:
        self.tail.append(update)
        self.size += len(update)
        self._content = self._encoded = self._parsed = None

    def _state(self) -> Update | None:
        """The whole document, where it is small enough to be merged here, and the engine does not hold it anyway."""
        if self._engine is not None or not self.known or self.size > LARGE_BYTES:
            return None
        if self._parsed is None:
            if self.tail and (self.snapshot or len(self.tail) > 1):
                return None
            self._parsed = parse_update(self.encode(), bounds=DOCUMENT_BOUNDS)
        return self._parsed if len(self._parsed.blocks) <= MERGED_BLOCKS_MAX else None

    def _read(self, text_fields: tuple[str, ...]) -> Content:
        plain = self._plain(text_fields)
        if plain is not None:
            return parse_content(*plain, self.index.edited)
        engine = self.engine()
        texts = {field: engine.text(field) for field in text_fields}
        return parse_content(engine.cells(), texts, self.index.edited)

    def _plain(self, text_fields: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, str]] | None:
        """Cells and texts, read from the state without the engine; None where that cannot tell the order of a text."""
        if not self.known or self.size > LARGE_BYTES:
            return None
        if self._parsed is None:
            self._parsed = parse_update(self.encode(), bounds=DOCUMENT_BOUNDS)
        return plain_content(self._parsed, self.index, text_fields)


class DocumentCache:
    """Documents by address, loaded when asked for; the least recently used are let go.

    Args:
        store: where snapshots are kept.
        ledger: where the tails are.
        author: who makes local changes; to be followed by `clear` where it changes.
    """

    def __init__(self, store: Store, ledger: Ledger, *, author: Author) -> None:
        self._store = store
        self._ledger = ledger
        self.author = author
        self._held: OrderedDict[DocumentKey, Loaded] = OrderedDict()
        self._bytes = 0
        self._handed_out: set[DocumentKey] = set()
        """Documents that may have grown since they were last counted."""

    def get(self, key: DocumentKey) -> Loaded:
        """Load a document; an unknown one is empty. The returned object stays valid until `clear` or `drop`."""
        self._handed_out.add(key)
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
            return held
        loaded = self._held[key] = self._load(key)
        return loaded

    def new(self, key: DocumentKey) -> Loaded:
        """A document that cannot exist yet: its record id was drawn just now."""
        self._handed_out.add(key)
        loaded = self._held[key] = Loaded(key, author=self.author)
        return loaded

    def expect(self, keys: Iterable[DocumentKey]) -> None:
        """Find out, in few look-ups, which of some documents that are about to be asked for do not exist yet."""
        self._note_new(sorted(key for key in keys if key not in self._held))

    def _note_new(self, keys: list[DocumentKey]) -> None:
        """Ids grow with time, so what one device wrote at one time mostly lies in a range that is empty here."""
        if len(keys) < EXPECTED_MIN:
            return
        if is_unwritten(self._store, keys[0], keys[-1]):
            for key in keys:
                self.new(key)
            return
        middle = len(keys) // 2
        self._note_new(keys[:middle])
        self._note_new(keys[middle:])

    def rebuild(self, key: DocumentKey) -> Loaded:
        """Load a document from its base and the log alone, after its derived row was thrown away."""
        self.drop(key)
        self._handed_out.add(key)
        loaded = self._held[key] = self.base(key)
        self._add_tail(loaded)
        return loaded

    def base(self, key: DocumentKey) -> Loaded:
        """A document as its folded operations left it; empty where none were folded. It is not kept in the cache."""
        state = base_state(self._store, key)
        index = DocumentIndex.from_update(state) if state else None
        return Loaded(key, author=self.author, snapshot=state, index=index)

    def drop(self, key: DocumentKey) -> None:
        """Forget one document, so that it is loaded anew."""
        dropped = self._held.pop(key, None)
        if dropped is not None:
            self._bytes -= dropped.counted

    def clear(self) -> None:
        """Forget all documents, after a rollback."""
        self._held.clear()
        self._handed_out.clear()
        self._bytes = 0

    def shrink(self) -> None:
        """Let go of what is over the bounds, and of what bulk work touched: what is next read is rather something else.

        Not to be called while a transaction holds documents.
        """
        if len(self._handed_out) >= BULK_DOCUMENTS:
            for key in self._handed_out:
                self.drop(key)
        for key in self._handed_out:
            loaded = self._held.get(key)
            if loaded is not None:
                self._bytes += loaded.size - loaded.counted
                loaded.counted = loaded.size
        self._handed_out.clear()
        while len(self._held) > 1 and (len(self._held) > CACHED_DOCUMENTS_MAX or self._bytes > CACHED_BYTES_MAX):
            _, loaded = self._held.popitem(last=False)
            self._bytes -= loaded.counted

    def _load(self, key: DocumentKey) -> Loaded:
        data = self._store.get(Table.DOCUMENT, key)
        if data is None:
            return self._recovered(key)
        row = unpack_document_row(data)
        loaded = Loaded(
            key,
            author=self.author,
            snapshot=row.state or base_state(self._store, key),
            index=DocumentIndex.from_bytes(row.units),
            position=row.position,
            live=row.live,
            conflicts=row.conflicts,
        )
        if loaded.is_large or not row.state:  # a base may be small where what it stands for was kept with a tail
            self._add_tail(loaded)
        return loaded

    def _recovered(self, key: DocumentKey) -> Loaded:
        """A document without a row: a new one, unless the log knows it, so that somebody else removed the row."""
        loaded = self.base(key)
        self._add_tail(loaded)
        if loaded.known:
            told(log, logging.WARNING, "a document is missing and is read from the log", document=key.hex())
            conflicts = self._store.scan(Table.CONFLICT, start=key, end=after_prefix(key))
            loaded.live, loaded.conflicts = loaded.is_live(), tuple(name[len(key) :] for name, _ in conflicts)
        return loaded

    def _add_tail(self, loaded: Loaded) -> None:
        for author, kind, update in self.tail_of(loaded.key, after=loaded.position):
            if author == CONTENT_AUTHOR:
                loaded.add_content(update)
            else:
                verdict = screen_again(update, author=author, index=loaded.index, operation=kind)
                if verdict is not None:
                    loaded.add(update, verdict)

    def tail_of(self, key: DocumentKey, *, after: int) -> Iterator[tuple[Author, OperationType, bytes]]:
        """The updates of a document behind log position ``after``, in applied order, with author and type."""
        start = key + (after + 1).to_bytes(8, "big")
        for touch_key, _ in self._store.scan(Table.TOUCH, start=start, end=after_prefix(key)):
            touch = split_touch_key(touch_key)
            row, _ = self._ledger.row(touch.position)
            if row.author == CONTENT_AUTHOR:
                yield row.author, OperationType.UPDATE, row.body
            else:
                operation = self._ledger.entry(touch.position, touch.entry).operations[touch.operation]
                yield row.author, operation.type, operation.update
