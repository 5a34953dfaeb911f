"""Derived state: documents, versions, views and conflicts, brought up to date from the log.

Small documents are derived in the transaction that changed them. Large ones are marked, and derived before they are
next read: their table row and version then, their snapshot only once the tail has grown (a keystroke rewrites no
document).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from crdt_sync.core.conflict import DELETED, UNKNOWN, Candidate, Conflict, ConflictKind, conflict_id, whole_path
from crdt_sync.core.content import Content, RegisterValue
from crdt_sync.core.deleting import Side
from crdt_sync.core.duplicates import each_write, untagged
from crdt_sync.core.ids import DocumentKey, split_document_key
from crdt_sync.core.kinds import Clash, FieldKind
from crdt_sync.core.kinds.hidden import are_hidden
from crdt_sync.core.layout import KeyClass
from crdt_sync.core.screening import Screened
from crdt_sync.errors import SchemaError
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.duplicates import content_of, sides_in
from crdt_sync.replica.grouping import ALIAS, HIDDEN, SHOWN, Grouping
from crdt_sync.replica.questions import duplicate_conflicts
from crdt_sync.replica.schema import OPEN, Declared, Row, read_description
from crdt_sync.replica.settling import journal_lost, journal_settled
from crdt_sync.replica.state import Change, State, Touched
from crdt_sync.replica.unique_index import Group
from crdt_sync.storage.base import Store, Table

ALL, TEXT_ONLY, ANEW = b"a", b"t", b"n"
"""What a mark says: whether anything but texts changed since the last derivation, or by which declaration it was."""

MODELS = b"models"
"""Key of the declarations in the meta table."""

DERIVE_BATCH = 256


class Derivation:
    """Derives documents within one store transaction and collects what observers are to be told."""

    def __init__(
        self, state: State, *, origin: str, regrouped: Mapping[DocumentKey, Declared] = MappingProxyType({})
    ) -> None:
        self._state = state
        self._origin = origin
        self._rows: dict[str, list[Row]] = {}
        self._gone: dict[str, list[str]] = {}
        self._documents: list[tuple[bytes, bytes]] = []
        self._versions: list[tuple[bytes, bytes]] = []
        self._marks: list[tuple[bytes, bytes]] = []
        self._unmarked: list[bytes] = []
        self._since: dict[DocumentKey, int] = {}
        self._grouping = Grouping(state, regrouped)
        self.changes: list[Change] = []

    def touch(self, touched: Touched) -> None:
        """Derive a document that this transaction changed, or mark it where that is too much for one change."""
        loaded = self._state.documents.get(touched.key)
        if touched.settles_at is not None:
            self.look_back(touched.key, since=touched.settles_at)
        if loaded.is_large and loaded.position:
            text_only = touched.text_only and loaded.live
            held = self._state.store.get(Table.DIRTY, touched.key)
            self._marks.append((touched.key, TEXT_ONLY if text_only and held in (None, TEXT_ONLY) else ALL))
            if text_only:
                self._tell(touched.key, "update", touched.fields)
                return
        self._derive(loaded, fields=touched.fields, fold=False)

    def derive(self, key: DocumentKey, *, fields: frozenset[str] = frozenset(), fold: bool = False) -> None:
        """Bring one document up to date.

        Args:
            key: the document.
            fields: what was written, for observers; nothing is told where it is empty.
            fold: write the snapshot, however short the tail is.
        """
        self._derive(self._state.documents.get(key), fields=fields, fold=fold)

    def look_back(self, key: DocumentKey, *, since: int = 0) -> None:
        """Have noted what was settled from a log position on, of which the document itself need not tell any more."""
        self._since[key] = min(since, self._since.get(key, since))

    def _derive(self, loaded: Loaded, *, fields: frozenset[str], fold: bool) -> None:
        key = loaded.key
        declared = self._state.schema.by_key(key)
        content = loaded.content(() if declared is None else declared.text_fields)
        was_live, had = loaded.live, loaded.conflicts
        loaded.live = content.is_live("edit_wins") if declared is None else declared.is_live(content)
        if declared is not None and declared.spec.unique:
            self._versions.append((key, loaded.version()))
            self._grouping.note(declared, loaded, content, fields=fields, fold=fold or was_live != loaded.live)
            return  # shown with others, perhaps: at the end, when all that changed is known
        clashes = [] if declared is None or not loaded.live else conflicts_of(self._state, declared, (key,), content)
        loaded.conflicts = tuple(bytes.fromhex(conflict.id) for conflict in clashes)
        if declared is not None:
            journal_settled(self._state, declared, (key,), content)
            if loaded.live:
                self._rows.setdefault(declared.spec.name, []).append(declared.row(key, content))
            elif was_live:
                self._gone.setdefault(declared.spec.name, []).append(split_document_key(key)[2])
        self._versions.append((key, loaded.version()))
        self._put_document(loaded, fold=fold or had != loaded.conflicts or was_live != loaded.live)
        if was_live != loaded.live or (fields and loaded.live):
            kind = "update" if was_live == loaded.live else ("create" if loaded.live else "delete")
            self._tell(key, kind, fields)
        self._put_conflicts(key, had, clashes)  # told behind the record that they belong to

    def finish(self) -> None:
        """Write everything that was collected; the last act of the transaction."""
        groups = list(self._grouping.groups())
        journal_lost(self._state, self._since)
        for declared, group in groups:
            self._show_group(declared, group)
        store = self._state.store
        store.put_many(Table.DOCUMENT, self._documents)
        store.put_many(Table.VERSION, self._versions)
        if self._marks:
            store.put_many(Table.DIRTY, self._marks)
        if self._unmarked:
            store.delete_many(Table.DIRTY, self._unmarked)
        for name, rows in self._rows.items():
            store.put_rows(name, rows)
        for name, ids in self._gone.items():
            store.delete_rows(name, ids)

    def _show_group(self, declared: Declared, group: Group) -> None:
        """Show records that belong together as one, under the survivor's id."""
        content = content_of(self._state, declared, group)
        survivor, live = group[0], declared.is_live(content)
        clashes = conflicts_of(self._state, declared, group, content) if live else []
        journal_settled(self._state, declared, group, content)
        if live:
            asked = partial(duplicate_conflicts, self._state, declared, survivor)
            clashes += declared.shield.call(asked, otherwise=[], what="the question of duplicates")
            self._rows.setdefault(declared.spec.name, []).append(declared.row(survivor, content))
        fields = self._grouping.fields_of(group)
        for key in group:
            mine = clashes if key == survivor else []
            loaded = self._state.documents.get(key)
            had, loaded.conflicts = loaded.conflicts, tuple(bytes.fromhex(conflict.id) for conflict in mine)
            noted = self._grouping.noted.get(key)
            if noted is not None or had != loaded.conflicts:
                self._put_document(loaded, fold=had != loaded.conflicts or (noted is not None and noted.fold))
            shown = HIDDEN if not live else SHOWN if key == survivor else ALIAS
            before = self._grouping.show(key, shown)
            if before == SHOWN != shown:
                self._gone.setdefault(declared.spec.name, []).append(split_document_key(key)[2])
            if shown == ALIAS != before:
                self._tell(key, "merged", frozenset(), into=split_document_key(survivor)[2])
            elif SHOWN in (before, shown) and shown != ALIAS and (before != shown or fields):
                kind = "update" if before == shown else ("create" if shown == SHOWN else "delete")
                self._tell(key, kind, fields)
            self._put_conflicts(key, had, mine)

    def unmark(self, key: bytes) -> None:
        """Take the mark off a document that was derived."""
        self._unmarked.append(key)

    def _put_document(self, loaded: Loaded, *, fold: bool) -> None:
        if not fold and loaded.is_large and loaded.position and not loaded.wants_folding():
            return
        self._documents.append((loaded.key, loaded.row(position=self._state.ledger.end).pack()))

    def _put_conflicts(self, key: DocumentKey, had: tuple[bytes, ...], clashes: list[Conflict]) -> None:
        if not had and not clashes:
            return
        now = {bytes.fromhex(conflict.id): conflict for conflict in clashes}
        opened = [name for name in now if name not in had]
        settled = [name for name in had if name not in now]
        store = self._state.store
        if settled:
            store.delete_many(Table.CONFLICT, (key + name for name in settled))
            self._tell(key, "settled", frozenset(), conflicts=settled)
        if opened:
            fields = self._state.schema.of(split_document_key(key)[1]).spec.fields
            places = {name: fields[field].stored if (field := now[name].field) else "" for name in opened}
            items = ((key + name, place.encode()) for name, place in places.items())
            store.put_many(Table.CONFLICT, items)
            self._state.totals.conflicts_opened += len(opened)
            self._tell(key, "conflict", frozenset(now[name].field for name in opened) - {""}, conflicts=opened)

    def _tell(
        self,
        key: DocumentKey,
        kind: str,
        fields: frozenset[str],
        *,
        conflicts: Iterable[bytes] = (),
        into: str = "",
    ) -> None:
        _, model, record = split_document_key(key)
        ids = tuple([name.hex() for name in conflicts])
        self.changes.append(
            Change(
                model=model, record_id=record, type=kind, fields=fields, origin=self._origin, conflicts=ids, into=into
            )
        )


def derive_marked(state: State, *, texts_too: bool, fold: bool = False) -> int:
    """Derive the documents that are marked; returns how many.

    Args:
        state: the replica.
        texts_too: also those in which only texts changed.
        fold: write their snapshots, as at a clean close.
    """
    done = 0
    while True:
        batch: list[tuple[bytes, bytes]] = []
        for key, mark in state.store.scan(Table.DIRTY):
            if texts_too or mark != TEXT_ONLY:
                batch.append((key, mark))
            if len(batch) == DERIVE_BATCH:
                break
        if not batch:
            return done
        try:
            with state.store.transaction():
                derivation = Derivation(state, origin="local")
                for key, mark in batch:
                    derivation.derive(DocumentKey(key), fold=fold)
                    if mark == ANEW:
                        derivation.look_back(DocumentKey(key))
                    derivation.unmark(key)
                derivation.finish()
        except BaseException:
            state.documents.clear()  # they believe that what they derived was kept
            raise
        state.documents.shrink()
        done += len(batch)


def rebuild_views(state: State) -> None:
    """Give every declared model its table, and derive anew the records that were derived by another declaration.

    That is so where the table changed shape, where a field changed its kind, type or default, and where the model was
    not open last time, so that changes of its records were kept but not shown.
    """
    held = described_models(state.store)
    described = state.schema.describe()
    with state.store.transaction():
        names = {declared.spec.name.lower(): declared.spec.name for declared in state.schema}
        for view in state.store.views():
            if names.get(view.name.lower(), view.name) != view.name:
                raise SchemaError(
                    f"model {names[view.name.lower()]!r} differs from the store's {view.name!r} only in case"
                )
        models: set[str] = set()
        for declared in state.schema:
            name = declared.spec.name
            if name in held and held[name] != described[name]:
                state.store.drop_view(name)  # it may hold rows of records that are gone meanwhile
            if state.store.define_view(declared.view):
                models.add(name)
        closed = {name: {**data, OPEN: False} for name, data in held.items() if name not in described}
        merged = {**described, **closed}
        if merged != held:
            state.store.put(Table.META, MODELS, json.dumps(merged).encode())
        marks = ((key, ANEW) for key, _ in state.store.scan(Table.VERSION) if split_document_key(key)[1] in models)
        if models:
            state.store.put_many(Table.DIRTY, list(marks))
    derive_marked(state, texts_too=True)


def described_models(store: Store) -> dict[str, Any]:
    """The declarations of all models that the store was ever opened with, as `Schema.describe` gave them."""
    data = store.get(Table.META, MODELS)
    return {} if data is None else read_description(data)


def conflicts_of(state: State, declared: Declared, group: Group, content: Content) -> list[Conflict]:
    """The conflicts of one live record: whether it stays deleted, then those of its fields in their order."""
    key = group[0]
    sides = sides_in(state, declared, group, content)
    found = [_deletion_conflict(state, declared, key, content, sides)] if sides else []
    if not content.causal and not content.plain and len(content.creations) < 2:
        return found
    for kind in declared.clashing.values():
        made = partial(_field_conflicts, state, declared, key, kind, content)
        found += declared.shield.call(made, otherwise=[], what=f"the conflicts of {kind.name!r}")
    return found


def _field_conflicts(
    state: State, declared: Declared, key: DocumentKey, kind: FieldKind, content: Content
) -> list[Conflict]:
    clashes = declared.clashes(kind, content)
    return [_conflict(state, key, kind.name, kind.register_kind(clash.register), clash) for clash in clashes]


def _deletion_conflict(
    state: State, declared: Declared, key: DocumentKey, content: Content, sides: list[Side]
) -> Conflict:
    _, model, record = split_document_key(key)
    values = declared.values(content)
    return Conflict(
        id=conflict_id(ConflictKind.EDIT_OF_DELETED, key, "", (side.dot for side in sides)),
        kind=ConflictKind.EDIT_OF_DELETED,
        model=model,
        record_id=record,
        field="",
        register="",
        paths=(),
        base=UNKNOWN,
        candidates=tuple(
            Candidate(
                value=DELETED if side.key else values,
                device_id=state.name_of(untagged(side.dot.author)),
                timestamp=side.hlc,
                dot=side.dot,
            )
            for side in sides
        ),
        value=values,
    )


def _conflict(state: State, key: DocumentKey, field: str, kind: FieldKind, clash: Clash) -> Conflict:
    _, model, record = split_document_key(key)
    start = whole_path(clash.register)
    paths = tuple(path for path in (start + inside for inside in clash.paths) if path)
    return Conflict(
        id=conflict_id(ConflictKind.CONCURRENT_EDIT, key, clash.register, (item.dot for item in clash.candidates)),
        kind=ConflictKind.CONCURRENT_EDIT,
        model=model,
        record_id=record,
        field=field,
        register=kind.name,
        paths=paths,
        base=clash.base,
        candidates=named(state, kind, clash.candidates),
        value=clash.value,
    )


def candidates_of(state: State, kind: FieldKind, content: Content) -> tuple[Candidate, ...]:
    """The concurrent values of one field, latest first."""
    return named(state, kind, kind.candidates(content))


def named(state: State, kind: FieldKind, values: Iterable[RegisterValue]) -> tuple[Candidate, ...]:
    """Values of one register as a user sees them, with the devices that wrote them; a write to several records once."""
    listed = list(values)
    if any(item.dot.author != untagged(item.dot.author) for item in listed):
        listed = each_write(listed)
    return tuple(
        Candidate(
            value=kind.decode(item.data),
            device_id=state.name_of(untagged(item.dot.author)),
            timestamp=item.hlc,
            dot=item.dot,
        )
        for item in listed
    )


def only_removes_values(screened: Screened) -> bool:
    """Whether an update does nothing but remove values of registers, without an edit, as compaction does."""
    keys, removed = screened.written, screened.removed_keys
    no_edit = all(key.key_class is KeyClass.ALIAS for key, _ in keys) and not screened.text_fields
    return no_edit and bool(removed) and all(key.key_class is KeyClass.CAUSAL for key in removed)


def removes_hidden(screened: Screened, loaded: Loaded) -> bool:
    """Whether an update, which a document has not taken in yet, does nothing but remove superseded values."""
    return only_removes_values(screened) and are_hidden(loaded.content(()), screened.removed_keys)


def fields_of(screened: Screened, declared: Declared | None) -> tuple[frozenset[str], bool]:
    """Which fields an update writes, and whether it changes nothing but texts."""
    if len(screened.written) == 1 and not screened.removed_keys and not screened.text_fields:
        key = screened.written[0][0]
        if key.key_class is KeyClass.CREATION:  # the bulk of a first sync
            return frozenset() if declared is None else declared.all_fields, False
    fields: set[str] = set(screened.text_fields)
    others = False
    for key in (*(key for key, _ in screened.written), *screened.removed_keys):
        if key.key_class is KeyClass.CREATION:
            fields.update(() if declared is None else declared.names)
            others = True
        elif key.key_class is not KeyClass.TOUCH:
            fields.add(key.field)
            others = True
    fields.discard("")
    if declared is not None:
        fields = {declared.names.get(name, name) for name in fields}
    return frozenset(fields), bool(screened.text_fields) and not others
