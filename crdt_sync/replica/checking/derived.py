"""Comparing what a store shows of its documents, tables and open conflicts, with what the documents' content gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from crdt_sync.core.conflict import ConflictKind, conflict_id
from crdt_sync.core.content import Content
from crdt_sync.core.deleting import sides_of
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, RecordId, document_key, split_document_key
from crdt_sync.core.kinds import FieldKind
from crdt_sync.core.kinds.merge_with import MergeWithRegister
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.replica.conflicts import CONFLICT_ID_BYTES
from crdt_sync.replica.derive import described_models
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.grouping import ALIAS
from crdt_sync.replica.rows import after_prefix, unpack_document_row
from crdt_sync.replica.schema import EQUALITY, OPEN, UPGRADES, Declared, Schema, models_of
from crdt_sync.replica.unique_index import held_row, neighbours
from crdt_sync.storage.base import Column, Filter, FilterOp, Order, Query, Store, Table, View, ViewValue

PAGE_ROWS: Final = 1_000
FILTERS_MAX: Final = 16
"""Columns that one query compares."""


class DerivedCheck:
    """Compares tables and conflicts with what the documents give.

    Those of models that were not open last time are as of when they were: what differs there is no damage.

    Args:
        store: whose tables.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        described = described_models(store)
        self._schema = Schema(models_of(described))
        self._open = {name for name, data in described.items() if data.get(OPEN)}
        self._made = {name: _made_by_functions(data) for name, data in described.items()}
        self._named_alike = {name for name, data in described.items() if data.get("equality") == EQUALITY}
        self._upgraded = {name for name, data in described.items() if data.get(UPGRADES)}
        self._views = {view.name: view for view in store.views()}
        self.behind: dict[str, int] = {}
        """Model → rows that are not current because it was not open last time."""

    def differs(self, key: DocumentKey, replayed: Loaded) -> tuple[str, str]:
        """What kind of thing is wrong with what is shown of a document, and why; empty where nothing is.

        Args:
            key: the document.
            replayed: its content, made anew from the log.
        """
        declared = self._schema.by_key(key)
        if declared is None or self._is_merged(declared, key):
            return "", ""  # what merged records show is not one document's
        name, content = declared.spec.name, replayed.content(declared.text_fields)
        what, reason = "table", self.row_differs(declared, key, content)
        if not reason:
            rows = self._store.scan(Table.CONFLICT, start=key, end=after_prefix(key))
            held = {name: field for name, field in rows if not _is_app_field(declared, field.decode(errors="replace"))}
            if held == _conflicts(declared, replayed, content):
                return "", ""
            what, reason = "conflict", "its open conflicts are not those that its content has"
        if name in self._open:
            return what, reason
        self._note_behind(name)
        return "", ""

    def texts_of(self, key: DocumentKey) -> tuple[str, ...]:
        """The Text fields of a record, as they are stored."""
        declared = self._schema.by_key(key)
        return () if declared is None else declared.text_fields

    def missing_tables(self) -> Iterator[str]:
        """Models that have no table."""
        return (name for name in self._schema.names() if name in self._open and name not in self._views)

    def strange_rows(self) -> Iterator[tuple[str, str]]:
        """Rows of tables that belong to no live record, as model and id."""
        for name in self._views:
            if self._schema.get(name) is None:
                continue
            after = ""
            while ids := self._store.query(_page(name, after)):
                yield from ((name, record) for record in ids if self._is_strange(name, record))
                after = ids[-1]

    def strange_conflicts(self) -> Iterator[str]:
        """Conflicts in the index that belong to no document, as hex digits of their keys."""
        for key, _ in self._store.scan(Table.CONFLICT):
            if self._store.get(Table.VERSION, key[:-CONFLICT_ID_BYTES]) is None:
                yield key.hex()

    def _is_strange(self, model: str, record: str) -> bool:
        try:
            key = document_key(DEFAULT_PARTITION, model, RecordId(record))
        except ValueError:
            return True  # no id of ours
        if self._store.get(Table.VERSION, key) is None:
            return True
        declared = self._schema.get(model)
        if declared is not None and self._is_merged(declared, key):
            return held_row(self._store, key).shown == ALIAS
        data = self._store.get(Table.DOCUMENT, key)
        if data is None or unpack_document_row(data).live or self._store.get(Table.DIRTY, key) is not None:
            return False  # of a document without content it was said already
        if model in self._open:
            return True
        self._note_behind(model)
        return False

    def _is_merged(self, declared: Declared, key: DocumentKey) -> bool:
        """Whether a record is shown together with others, or asked about with them."""
        return declared.spec.groups and next(neighbours(self._store, key), None) is not None

    def _note_behind(self, model: str) -> None:
        self.behind[model] = self.behind.get(model, 0) + 1

    def compared(self) -> Iterator[Declared]:
        """The models whose tables are current: those that were open last time."""
        return (declared for declared in self._schema if declared.spec.name in self._open)

    def is_app_field(self, declared: Declared, field: str) -> bool:
        """Whether what a field shows is for a function of the app to say."""
        return field in declared.spec.fields and _is_merged_by_app(declared.spec.fields[field])

    def tells_unique(self, declared: Declared, content: Content | None = None) -> bool:
        """Whether the store's description tells what the unique fields show, without the app's code.

        Args:
            declared: the model.
            content: of the record; None asks about any record.
        """
        name, fields = declared.spec.name, declared.spec.fields
        if name not in self._named_alike:
            return False  # another version of this package wrote them
        return not any(self._is_for_the_app(name, fields[unique], content) for unique in declared.spec.unique)

    def _is_for_the_app(self, model: str, kind: FieldKind, content: Content | None) -> bool:
        """Whether a function of the app says what a field shows: one that merges, upgrades or makes a default."""
        unwritten = kind.name in self._made[model] and (content is None or not _written(kind, content))
        return unwritten or _is_merged_by_app(kind) or (model in self._upgraded and kind.in_creation)

    def row_differs(self, declared: Declared, key: DocumentKey, content: Content) -> str:
        """Why the row of a record is not what some content gives, or an empty string."""
        view = self._views.get(declared.spec.name)
        if view is None:
            return ""  # said once, of the table
        record = Filter(column="id", op=FilterOp.EQ, value=split_document_key(key)[2])
        held = bool(self._store.query_count(Query(view=view.name, filters=(record,))))
        if held != declared.is_live(content):
            return "its row is missing" if declared.is_live(content) else "it is deleted and has a row"
        if not held:
            return ""
        filters = list(self._filters(declared, view, key, content))
        for start in range(0, len(filters), FILTERS_MAX):
            query = Query(view=view.name, filters=(record, *filters[start : start + FILTERS_MAX]))
            if not self._store.query_count(query):
                return "its row is not what its content gives"
        return ""

    def _filters(self, declared: Declared, view: View, key: DocumentKey, content: Content) -> Iterator[Filter]:
        """What holds for a record's row if it is what the content gives, as far as the store's description tells."""
        values = declared.row(key, content)[1:]
        kept, name = set(view.columns), declared.spec.name
        for column, value in zip(declared.view.columns, values, strict=True):
            if column not in kept or self._is_for_the_app(name, declared.spec.fields[column.name], content):
                continue  # its type, or a value that a function makes, is known to the app alone
            yield _filter(column, value)


def _made_by_functions(data: dict[str, Any]) -> frozenset[str]:
    """Fields whose defaults the app's functions make, from the description of a model."""
    plain = ((name, item) for name, item in data["fields"].items() if "required" in item)
    return frozenset(name for name, item in plain if not item["required"] and "default" not in item)


def _is_app_field(declared: Declared, field: str) -> bool:
    return field in declared.names and _is_merged_by_app(declared.spec.fields[declared.names[field]])


def _is_merged_by_app(kind: FieldKind) -> bool:
    """Whether a function of the app says what a field shows, or what an entry of a map does."""
    return isinstance(kind.register_kind(kind.name), MergeWithRegister)


def _written(kind: FieldKind, content: Content) -> bool:
    return not isinstance(kind, PlainRegister) or bool(kind.candidates(content))


def _filter(column: Column, value: ViewValue) -> Filter:
    if value is None or value != value:  # noqa: PLR0124  # NaN, which equals nothing
        return Filter(column=column.name, op=FilterOp.IS_NULL, value=value is None)
    return Filter(column=column.name, op=FilterOp.EQ, value=value)


def _conflicts(declared: Declared, replayed: Loaded, content: Content) -> dict[bytes, bytes]:
    """The rows of the conflict index that a document has."""
    if not declared.is_live(content):
        return {}
    key, found = replayed.key, {}
    if sides := sides_of(content, declared.spec.on_edit_after_delete, replayed.index.last):
        named = conflict_id(ConflictKind.EDIT_OF_DELETED, key, "", (side.dot for side in sides))
        found[key + bytes.fromhex(named)] = b""
    for kind in declared.spec.fields.values():
        if _is_merged_by_app(kind):
            continue
        for clash in declared.clashes(kind, content):
            dots = [item.dot for item in clash.candidates]
            named = conflict_id(ConflictKind.CONCURRENT_EDIT, key, clash.register, dots)
            found[key + bytes.fromhex(named)] = kind.stored.encode()
    return found


def _page(view: str, after: str) -> Query:
    return Query(
        view=view,
        filters=(Filter(column="id", op=FilterOp.GT, value=after),),
        order_by=(Order(column="id"),),
        limit=PAGE_ROWS,
    )
