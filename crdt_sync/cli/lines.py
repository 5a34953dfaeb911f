"""JSON Lines and CSV to and from a store, in bounded pieces, with a progress bar where somebody watches."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from blake3 import blake3
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crdt_sync.cli.actions import Actor, Json
from crdt_sync.cli.actions.journal import STATUS, NoParams
from crdt_sync.cli.actions.transfer import (
    CHUNK_LINES_MAX,
    CSV_HEADER,
    EXPORT_PAGE,
    IMPORT_CHUNK,
    IMPORT_MARK,
    ChunkParams,
    HeaderParams,
    Line,
    MarkParams,
    PageParams,
)
from crdt_sync.cli.output import console, standard_output
from crdt_sync.cli.reading import Reader
from crdt_sync.cli.rows import RowReader, row_text
from crdt_sync.errors import CRDTSyncError, InputError, StoreFullError, UnknownModelError

_SQLITE_MAGIC = b"SQLite format 3\0"
LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A line is applied as one transaction at least, and an entry holds no more than this."""
FORMATS = ("jsonl", "csv")
CHUNK_BYTES_MAX: Final = 1024 * 1024
"""A chunk ends before the line that passes this, unless that is its only line: what an entry may hold is bounded."""


def format_of(name: str, wanted: str | None) -> str:
    """The format of a file: the one that was asked for, or else by the end of its name.

    Raises:
        InputError: there is no such format.
    """
    if wanted is None:
        return "csv" if name.lower().endswith(".csv") else "jsonl"
    if wanted not in FORMATS:
        raise InputError(f"there is no format {wanted!r}", hint=f"Formats: {', '.join(FORMATS)}.")
    return wanted


def import_file(
    act: Actor, name: str, *, model: str | None, update: bool, again: bool, chunk_lines: int, file_format: str = "jsonl"
) -> Json:
    """Import a file chunk by chunk.

    Args:
        act: does the actions.
        name: the file; ``-`` is standard input.
        model: of all lines; None where each names its own.
        update: write the fields of records that exist.
        again: begin at the first line.
        chunk_lines: lines that are applied as one transaction.
        file_format: one of `FORMATS`.

    Raises:
        UnknownFieldError: the header of a CSV file names one.
        InputError: a line cannot be read. It and what else an action raises names the line, and says how far it got.
    """
    if not 0 < chunk_lines <= CHUNK_LINES_MAX:
        raise InputError(f"--chunk is 1 to {CHUNK_LINES_MAX}")
    make: type[Reader] = RowReader if file_format == "csv" else Reader
    if file_format == "csv" and model is None:
        raise InputError("a CSV file holds records of one model", hint="Add --model MODEL.")
    done = {"created": 0, "updated": 0, "existing": 0, "settled": 0}
    with _reading(name) as (file, size_bytes), _progress("importing", bytes_total=size_bytes) as advance:
        mark = "" if name == "-" else _mark_of(Path(name), model=model, update=update)
        reader, resumed = make(file), 0
        columns = reader.header()
        if file_format == "csv":
            act(CSV_HEADER, HeaderParams(model=model or "", columns=columns))
        if mark and not again:
            held = act(IMPORT_MARK, MarkParams(mark=mark, model=model))
            if held["lines"] and reader.skip_to(held["lines"]) == held["digest"]:
                resumed = held["lines"]
            else:
                file.seek(0)
                reader = make(file)
                reader.header()
        applied = resumed
        try:
            for lines, digest in _chunks(reader, chunk_lines):
                params = ChunkParams(lines=lines, model=model, columns=columns, update=update, mark=mark, digest=digest)
                for what, number in act(IMPORT_CHUNK, params).items():
                    done[what] += number
                applied = lines[-1].number
                advance(reader.offset_bytes)
        except CRDTSyncError as error:
            error.hint = f"{error.hint} Lines up to {applied} are imported; importing the file again goes on there."
            raise
    return {**done, "lines": reader.number, "resumed_after_line": resumed}


def _mark_of(path: Path, *, model: str | None, update: bool) -> str:
    """What an import of a file is called in the store's local storage, whose names are short.

    The same file read as another model, or to update what it once created, is another import. Its content need not be
    part of the name: what was imported is kept with a digest of it, and a file that begins otherwise is read anew.
    """
    parts = (os.fsencode(path.resolve()), (model or "").encode(), b"update" if update else b"")
    return blake3(b"\0".join(parts)).hexdigest(16)


def export_records(
    act: Actor, models: Sequence[str], *, target: Path | None, force: bool, file_format: str = "jsonl"
) -> int:
    """Write records as JSON Lines or CSV; gives how many. A file appears whole or not at all.

    Args:
        act: does the actions.
        models: names; empty for all.
        target: the file; None is standard output.
        force: replace the file where it exists.
        file_format: one of `FORMATS`; CSV takes one model.

    Raises:
        UnknownModelError, InputError: nothing was written.
    """
    status = act(STATUS, NoParams())
    counts = {item["name"]: item["records"] for item in status["models"]}
    for name in models:
        if name not in counts:
            raise UnknownModelError(f"this store has no model {name!r}", hint=f"Its models: {', '.join(counts)}.")
    chosen = dict.fromkeys(models or counts)
    if file_format == "csv" and len(chosen) != 1:
        raise InputError("a CSV file holds records of one model", hint="Add --model MODEL, or export JSON Lines.")
    written = 0
    with (
        _writing(target, force=force) as file,
        _progress("exporting", records_total=sum(counts[name] for name in chosen)) as advance,
    ):
        as_rows = file_format == "csv"
        if as_rows:
            page = act(EXPORT_PAGE, PageParams(model=next(iter(chosen)), limit=1, cells=True))
            file.write(row_text(page["columns"]))
        for name in chosen:
            after = ""
            while page := act(EXPORT_PAGE, PageParams(model=name, after=after, cells=as_rows))["records"]:
                file.writelines(
                    row_text(record["cells"]) if as_rows else json.dumps(record, ensure_ascii=False) + "\n"
                    for record in page
                )
                written += len(page)
                after = page[-1]["id"]
                advance(written)
    return written


def _chunks(reader: Reader, lines_max: int) -> Iterator[tuple[list[Line], str]]:
    chunk: list[Line] = []
    size, digest = 0, b""
    for line in reader.lines():
        if chunk and (len(chunk) == lines_max or size + len(line.text) > CHUNK_BYTES_MAX):
            yield chunk, digest.hex()
            chunk, size = [], 0
        chunk.append(line)
        size += len(line.text)
        digest = reader.line_digest
    if chunk:
        yield chunk, digest.hex()


@contextmanager
def _reading(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    if name == "-":
        yield sys.stdin.buffer, None
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open("rb"))
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}", hint="Check the path.") from None
        yield file, Path(name).stat().st_size


@contextmanager
def _writing(target: Path | None, *, force: bool) -> Iterator[TextIO]:
    if target is None:
        with standard_output() as file:
            yield file
        return
    if target.exists() and not force:
        raise InputError(f"{target} exists", hint="Choose another file, or add --force.")
    if _is_database(target):
        raise InputError(f"{target} is a database; an export never replaces one", hint="Choose another file.")
    draft = target.with_name(target.name + ".part")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        kind = StoreFullError if error.errno == errno.ENOSPC else InputError
        raise kind(f"{target} cannot be written: {error.strerror}", hint="Choose another place.") from None
    finally:
        draft.unlink(missing_ok=True)


def _is_database(target: Path) -> bool:
    """Whether a file is a store, or any other SQLite file, whatever its name."""
    try:
        with target.open("rb") as file:
            return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except OSError:
        return False  # there is none, or writing it will say why it cannot be


class _Advance:
    """Moves a progress bar to a position."""

    def __init__(self, progress: Progress, *, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def __call__(self, position: int, /) -> None:
        self._progress.update(self._task, completed=position)


@contextmanager
def _progress(what: str, *, bytes_total: int | None = None, records_total: int | None = None) -> Iterator[_Advance]:
    """A progress bar on standard error; nothing is drawn where that is no terminal."""
    out = console(sys.stderr)
    amount = MofNCompleteColumn() if records_total is not None else DownloadColumn()
    columns = (TextColumn(what), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal, transient=True) as progress:
        yield _Advance(progress, total=records_total if bytes_total is None else bytes_total)
