"""Targets of files that people hand in: models in TOML, and imports of CSV and JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from crdt_sync import Counter, List, Map, Model, Ref, Replica, Set, Text, ask
from crdt_sync.cli.actions import Action, Json
from crdt_sync.cli.actions.base import P
from crdt_sync.cli.actions.transfer import CHUNK_LINES_MAX, sources
from crdt_sync.cli.lines import export_records, import_file
from crdt_sync.cli.model_toml import load_toml
from tests.fuzz.reading import folder
from tests.fuzz.refusing import Refused, attempt


class Row(Model):
    """A field of each kind that a line can hold."""

    text: str = "x"
    number: int | None = None
    real: float = 0.0
    flag: bool = False
    data: bytes = b""
    day: date | None = ask(default=None)
    moment: datetime | None = None
    span: timedelta | None = None
    price: Decimal | None = None
    key: UUID | None = None
    anything: Any = None
    pair: tuple[int, str] | None = None
    owner: Ref["Row"] | None = None  # noqa: UP037  the class is not there yet when pydantic reads it
    notes: Text
    votes: Counter
    tags: Set[str]
    days: List[date]
    prefs: Map[str, Annotated[Any, ask()]]


NAME: Final = "Row"


def models(data: bytes) -> None:
    """A file of models: refused, or models with which a store can be made, written and opened again."""
    path = folder() / "models.toml"
    path.write_bytes(data)
    declared = attempt(lambda: load_toml(path))
    if isinstance(declared, Refused):
        return
    replica = attempt(lambda: Replica.open(":memory:", declared))
    if isinstance(replica, Refused):
        return
    with replica:
        for model in replica.models:
            attempt(partial(replica.create, model))
            list(replica.find(model))
        assert replica.check().ok


def jsonl(data: bytes) -> None:
    """A file of JSON Lines as export writes it: refused and nothing of it imported, or exported again as it is."""
    _imported(data, model=None, file_format="jsonl")


def csv(data: bytes) -> None:
    """A CSV file of a model's fields: refused and nothing of it imported, or exported again as it is."""
    _imported(data, model=NAME, file_format="csv")


def _imported(data: bytes, *, model: str | None, file_format: str) -> None:
    path = folder() / f"rows.{file_format}"
    path.write_bytes(data)
    with _replica() as replica:
        done = attempt(lambda: _import(replica, path, model=model, file_format=file_format))
        if isinstance(done, Refused):
            assert replica.count(Row) == 0, "a part of a chunk was imported"
            return
        written = _export(replica, file_format)
        assert len(list(replica.find(Row))) == done["created"]
        assert replica.check().ok
    with _replica() as again:
        _import(again, written, model=model, file_format=file_format)
        before = written.read_bytes()
        assert _export(again, file_format).read_bytes() == before, "what was exported reads otherwise"


@contextmanager
def _replica() -> Iterator[Replica]:
    with Replica.open(":memory:", [Row], sources=sources()) as replica:
        yield replica


class _Here:
    """Does actions on one replica, with parameters as they come over the control socket."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def __call__(self, action: Action[P], params: P, /) -> Json:
        return action.work(self._replica, action.decode(action.encode(params)))


def _import(replica: Replica, path: Path, *, model: str | None, file_format: str) -> Json:
    return import_file(
        _Here(replica),
        str(path),
        model=model,
        update=False,
        again=True,
        chunk_lines=CHUNK_LINES_MAX,
        file_format=file_format,
    )


def _export(replica: Replica, file_format: str) -> Path:
    target = folder() / f"exported.{file_format}"
    export_records(_Here(replica), [NAME], target=target, force=True, file_format=file_format)
    return target
