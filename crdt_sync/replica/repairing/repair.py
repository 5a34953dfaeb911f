"""Repairing a damaged store: a new file is made of what is sound, checked, and put in the place of the damaged one.

Invariants:
    1. Until the new file takes the old one's name, in one step, nothing of the store is changed; whoever is killed
       before that has changed nothing, and may begin again.
    2. The damaged file stays beside it, and each row that could not stay in the store is in the quarantine file.
    3. The new file takes the place only if less is wrong with it. So repairing twice is repairing once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import apsw

from crdt_sync.core.ids import DEFAULT_PARTITION, Author, RecordId, document_key, split_document_key
from crdt_sync.errors import CorruptStoreError, StoreError, StoreFullError, StoreInUseError
from crdt_sync.replica.checking import CheckReport, check_store
from crdt_sync.replica.handed_out import hand_out_everything
from crdt_sync.replica.kept_content import KeptContent
from crdt_sync.replica.lease import StoreLock
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.repairing.documents import Restoration
from crdt_sync.replica.repairing.doubts import count_on_nobody
from crdt_sync.replica.repairing.identity import mend_identity
from crdt_sync.replica.repairing.journal import mend_journal
from crdt_sync.replica.repairing.quarantine import Quarantine
from crdt_sync.replica.repairing.salvage import Salvage, rows_to_read
from crdt_sync.replica.rows import unpack_base, unpack_log_row
from crdt_sync.replica.undo_stack import STACK, forget_past
from crdt_sync.storage.base import Progress, Store, Table
from crdt_sync.storage.damaged_rows import broken_tables, damaged_rows
from crdt_sync.storage.file_modes import make_empty
from crdt_sync.storage.migrations import SCHEMA_VERSION
from crdt_sync.storage.sqlite import SqliteStore, open_sqlite
from crdt_sync.storage.sqlite_file import refused
from crdt_sync.storage.sqlite_header import mend_header
from crdt_sync.storage.sqlite_schema import ALTERED, is_schema_damaged, mend_schema
from crdt_sync.storage.swapping import (
    copy_files,
    is_free,
    is_swapped,
    keep,
    refuse_swapped,
    remove_files,
    take_place,
    unused,
)

DRAFT_SUFFIX: Final = ".repairing"
"""Of the new file while it is made."""
COPY_SUFFIX: Final = ".repaired-from"
"""Of a copy that can be read, where the store itself cannot: it is older, was cut off, or its schema is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Entries of an author that the damaged store named and the repaired one does not hold; a peer may have them.

    Args:
        author: whose.
        held: the last one that is held.
        known: the last one that is known of.
    """

    author: Author
    held: int
    known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What a repair did, or would do.

    Args:
        path: the store.
        changed: whether the store was replaced; False for a sound one, for one that cannot be mended further, and
            where it was only asked what would be done.
        before: what was wrong.
        after: what is wrong with the repaired store.
        missing: entries that are left to be fetched from a peer: sync with one.
        kept_content: records, as model and id, whose content goes beyond what is left of the log; it stays.
        lost: records, as model and id, of which nothing could be read here.
        journal_added: own operations that the journal had lost, and that are offered to peers again.
        quarantined: rows that could not stay in the store.
        quarantine: the file with these rows, or None where there are none.
        damaged: where the damaged store is now, or None where nothing was changed.
    """

    path: Path
    changed: bool
    before: CheckReport
    after: CheckReport
    missing: tuple[Missing, ...] = ()
    kept_content: tuple[tuple[str, str], ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    journal_added: int = 0
    quarantined: int = 0
    quarantine: Path | None = None
    damaged: Path | None = None

    def still_lost(self) -> tuple[tuple[str, str], ...]:
        """Those of `lost` that are not in the store now either, as no peer has brought them yet."""
        if not self.lost or not self.changed:
            return self.lost
        with open_sqlite(self.path, read_only=True) as store:
            return tuple(item for item in self.lost if not _is_here(store, *item))


def _is_here(store: Store, model: str, record: str) -> bool:
    return store.get(Table.VERSION, document_key(DEFAULT_PARTITION, model, RecordId(record))) is not None


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A store made of what is sound, not yet in its place."""

    path: Path
    quarantine: Path
    rows: int = 0
    after: CheckReport = field(default_factory=CheckReport)
    missing: tuple[Missing, ...] = ()
    kept_content: tuple[tuple[str, str], ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    journal_added: int = 0


def repair_store(
    path: Path, *, state_dir: Path, dry_run: bool = False, progress: Progress | None = None
) -> RepairReport:
    """Mend a store as far as what is in it allows; nobody may have it open.

    Args:
        path: of the store.
        state_dir: where fences are kept; nothing is changed there.
        dry_run: make the new file, tell what would be, and remove it again.
        progress: called with (rows taken over, rows in total).

    Raises:
        StoreInUseError: somebody has it open.
        CorruptStoreError: SQLite cannot read the file at all; nothing was changed.
        StoreFullError: there is no space for a second one beside it; nothing was changed.
        StoreError: it is no store; nothing was changed.
    """
    try:
        return _repaired(path, state_dir=state_dir, dry_run=dry_run, progress=progress)
    except (OSError, StoreFullError) as error:
        raise _no_space(path, error) from error


def _repaired(path: Path, *, state_dir: Path, dry_run: bool, progress: Progress | None) -> RepairReport:
    place = path.resolve()
    with _alone(place, dry_run=dry_run), _readable(place) as (file, mended):
        with open_sqlite(file, read_only=True) as source:
            before = check_store(source)
        for where, reason in mended:
            before.add("structure", where=where, reason=reason)
        if before.ok:
            return RepairReport(path=path, changed=False, before=before, after=before)
        damaged, quarantine = _free_names(place)
        draft = _Draft(path=place.with_name(place.name + DRAFT_SUFFIX), quarantine=quarantine)
        with ExitStack() as leftovers:
            leftovers.callback(remove_files, draft.path)
            leftovers.callback(lambda: quarantine.with_name(quarantine.name + DRAFT_SUFFIX).unlink(missing_ok=True))
            _make(file, place, draft, state_dir=state_dir, progress=progress)
            is_better = draft.after.total < before.total
            if is_better and not dry_run:
                _take_place(place, draft, damaged=damaged)
    changed = is_better and not dry_run
    return RepairReport(
        path=path,
        changed=changed,
        before=before,
        after=draft.after if is_better else before,
        missing=draft.missing,
        kept_content=draft.kept_content,
        lost=draft.lost,
        journal_added=draft.journal_added,
        quarantined=draft.rows,
        quarantine=quarantine if changed and draft.rows else None,
        damaged=damaged if changed else None,
    )


@contextmanager
def _alone(place: Path, *, dry_run: bool) -> Iterator[None]:
    """Hold the store's lock, and have its write-ahead log in the file: one file is one store then."""
    if not place.exists() and not is_swapped(place):
        open_sqlite(place, read_only=True)  # raises: there is none
    lock = StoreLock(place)
    lock.acquire()
    try:
        try:
            if dry_run:
                refuse_swapped(place, path=place)
            open_sqlite(place, upgrade=False).close()
        except BaseException as error:
            if not isinstance(error, CorruptStoreError) or is_swapped(place) or not is_schema_damaged(place):
                lock.abandon()
                raise
        with unused(place):
            pass
        yield
    finally:
        lock.release()


@contextmanager
def _readable(place: Path) -> Iterator[tuple[Path, list[tuple[str, str]]]]:
    """Give a file that says what the store does and can be read, and what had to be mended for that: where, and why.

    It is the store, or a copy of it: upgraded, with the pages that are there, and with the schema written anew.
    """
    if not is_schema_damaged(place):
        with open_sqlite(place, read_only=True, upgrade=False) as store:
            is_present = store.schema_version == SCHEMA_VERSION
        if is_present:
            yield place, []
            return
    copy = place.with_name(place.name + COPY_SUFFIX)
    try:
        copy_files(place, copy, like=place)
        cut = mend_header(copy)
        mended = [("file", cut)] if cut else []
        mended += [(where, ALTERED) for where in _mended(copy, place=place)]
        open_sqlite(copy).close()
        yield copy, mended
    finally:
        remove_files(copy)


def _mended(copy: Path, *, place: Path) -> list[str]:
    try:
        return mend_schema(copy)
    except apsw.Error as error:
        hint = "Which tables it has cannot be read. Put a backup back, or begin a new store and sync it with a peer."
        raise CorruptStoreError(f"{place} is damaged: {error}", hint=hint) from error


def _no_space(path: Path, error: OSError | StoreFullError) -> StoreError:
    copies = "two copies beside the store, or three where it is older, cut off, or its schema is damaged"
    hint = f"Nothing was changed. A repair needs space for {copies}."
    if isinstance(error, StoreFullError):
        return StoreFullError(f"{path} cannot be repaired here: there is no room for that", hint=hint)
    found = refused(error, f"{path} cannot be repaired here", hint=hint)
    found.hint = hint
    return found


def _make(file: Path, place: Path, draft: _Draft, *, state_dir: Path, progress: Progress | None) -> None:
    remove_files(draft.path)  # left by a repair that was killed
    make_empty(draft.path, like=place)
    notes = draft.quarantine.with_name(draft.quarantine.name + DRAFT_SUFFIX)
    with (
        open_sqlite(file, read_only=True) as source,
        open_sqlite(draft.path, create=True, durability="normal") as target,
        Quarantine(notes, store=place) as quarantine,
    ):
        for raw in damaged_rows(file):
            reason = "the checksum does not hold"
            quarantine.add(raw.table, raw.key, raw.value, reason=reason, checksum=raw.sum)
        seals = broken_tables(file)
        salvage = Salvage(source, target, quarantine, step=_counter(source, progress), broken_seals=seals)
        salvage.run()
        if progress is not None:
            total = sum(rows_to_read(source))
            progress(total, total)
        ends = salvage.ends()
        draft.missing = tuple(
            Missing(author=author, held=ends.get((partition, author), 0), known=known)
            for (partition, author), known in sorted(salvage.seen.items())
            if known > ends.get((partition, author), 0)
        )
        restored = Restoration(source, target)
        restored.run()
        kept = dict.fromkeys([*salvage.unclaimed, *restored.kept_content])
        _note_content(target, len(kept), is_doubtful=Table.META in seals | quarantine.tables)
        draft.kept_content = tuple(split_document_key(key)[1:] for key in kept)
        draft.lost = tuple(split_document_key(key)[1:] for key in restored.lost)
        draft.journal_added = mend_journal(source, target, quarantine, is_doubtful=Table.OPERATION in seals)
        if Table.META in seals or Table.META in quarantine.tables:
            _forget_what_was_undone(target)
            hand_out_everything(target)
        mend_identity(target, path=place, state_dir=state_dir)
        if Table.HOLDING in seals or Table.HOLDING in quarantine.tables:
            count_on_nobody(target)
        salvage.forget_fence()
        draft.after = check_store(target)
        restored.leave_tables_to_the_app()
        quarantine.keep()
        draft.rows = quarantine.rows


def _note_content(target: SqliteStore, documents: int, *, is_doubtful: bool) -> None:
    """Note how much content is in nobody's chain, as peers may not have it."""
    if is_doubtful and not documents:  # an earlier repair may have kept some, and its note is gone
        rows = (unpack_log_row(data) for _, data in target.scan(Table.LOG))
        bases = (unpack_base(data) for _, data in target.scan(Table.BASE))
        documents = sum(row.author == CONTENT_AUTHOR for row in rows)
        documents += sum(CONTENT_AUTHOR in base.touched for base in bases)
    if documents:
        with target.transaction():
            KeptContent(target).note(documents)


def _forget_what_was_undone(target: SqliteStore) -> None:
    """Where the row that tells of it is gone, all of the journal could be undone, what was undone among it."""
    if target.get(Table.META, STACK) is None:
        with target.transaction():
            forget_past(target)


def _take_place(place: Path, draft: _Draft, *, damaged: Path) -> None:
    """Keep the damaged file under another name, then let the new one have its name."""
    shutil.copymode(place, draft.path)
    keep(place, damaged)
    if draft.rows:
        draft.quarantine.with_name(draft.quarantine.name + DRAFT_SUFFIX).rename(draft.quarantine)
    try:
        take_place(draft.path, place, kept=damaged)
    except StoreInUseError:
        remove_files(damaged)
        draft.quarantine.unlink(missing_ok=True)
        raise


def _free_names(place: Path) -> tuple[Path, Path]:
    """Names for the damaged store and the quarantine that nothing has yet."""
    number = 1
    while True:
        damaged = place.with_name(f"{place.name}.damaged-{number}")
        quarantine = place.with_name(f"{place.name}.quarantine-{number}.jsonl")
        if is_free(damaged) and not quarantine.exists():
            return damaged, quarantine
        number += 1


def _counter(source: SqliteStore, progress: Progress | None) -> Callable[[], None]:
    if progress is None:
        return lambda: None
    total, done = sum(rows_to_read(source)), 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(min(done, total), total)

    progress(0, total)
    return step
