"""Nothing that is logged holds a secret or what is in a record, whatever happens."""

from __future__ import annotations

import base64
import logging
from datetime import date
from pathlib import Path

import pytest

from crdt_sync import Model, Replica, Text, ask
from crdt_sync.core.logs import FIELDS
from crdt_sync.errors import CRDTSyncError
from crdt_sync.protocol.source import EntryStatus, StatusKind
from crdt_sync.replica import Sources
from crdt_sync.testing.exchange import exchange
from crdt_sync.transport.memory import Fate, Frame
from tests.unit.replica.devices import START_MS, Dice

CANARY = "canary7281"


class Note(Model, key=("name",)):
    name: str
    body: Text
    size: int = 0
    due: date | None = ask(default=None)
    extra: str = ""


def open_note(place: Path, name: str, *, seed: int, now_ms: int = START_MS) -> Replica:
    sources: Sources = Dice(seed, now_ms=now_ms).sources
    return Replica.open(place / f"{name}.db", [Note], state_dir=place / name, sources=sources)


def cut_amid(frame: Frame) -> Fate:
    return Fate.CUT if frame.index > 4 else Fate.DELIVER


def damaged(run: bytes, at: int) -> bytes:
    return run[:at] + bytes((run[at] ^ 0x55,)) + run[at + 1 :]


def live_through_everything(place: Path) -> None:
    """Writes, mistakes, conflicts, cuts, refusals, damage, a restored store, a wrong clock."""
    with open_note(place, "a", seed=1) as one, open_note(place, "b", seed=2, now_ms=START_MS + 10**9) as other:
        note = one.create(Note, name=CANARY, body=CANARY * 3000, extra=CANARY)
        for wrong in ({"size": CANARY}, {CANARY: 1}):
            with pytest.raises(CRDTSyncError):
                one.update(note, **wrong)
        one.observe(lambda change: 1 / 0)
        exchange(one, other, fates=cut_amid)
        exchange(one, other)
        twin = other.find(Note)[0]
        other.update(twin, due=date(2025, 1, 1), extra=f"{CANARY} other")
        one.update(note, due=date(2025, 1, 2), extra=f"{CANARY} one")
        exchange(one, other)
        one.backup(place / "backup.db")
        one.update(note, extra=f"{CANARY} later")
        for run, *_ in one.port.runs_after(0, {}, bytes_max=10**6).runs:
            for at in range(0, min(len(run), 3000), 37):
                other.port.accept_runs([damaged(run, at)])
        exchange(one, other)
        (author, *_) = one.port.own_authors()
        status = EntryStatus(
            partition="", author=author, sequence=1, kind=StatusKind.REFUSED, code="screening", reason="no"
        )
        assert other.device_id is not None
        one.port.acknowledged(other.device_id, {}, [status])
        one.port.acknowledged(other.device_id, {}, [], but_for=frozenset())
        other.forget_device(one.device_id)  # type: ignore[arg-type]  # it has one
        one.delete(note)
    (place / "a.db").unlink()
    (place / "backup.db").rename(place / "a.db")
    with open_note(place, "a", seed=3) as one, open_note(place, "b", seed=4) as other:
        one.find(Note)[0].extra = f"{CANARY} after the restore"
        exchange(one, other)
        one.compact()


def test_no_record_and_no_key_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="crdt_sync"):
        live_through_everything(tmp_path)
    assert {record.name for record in caplog.records} >= {"crdt_sync.replica"}
    assert len(caplog.records) > 10
    secrets = [CANARY]
    for path in tmp_path.glob("*/**/*"):
        if path.is_file() and "key" in path.name:
            key = path.read_bytes().strip()
            secrets += [repr(key)[2:-1], key.hex(), base64.b64encode(key).decode()]
    assert len(secrets) > 1
    formatter = logging.Formatter("%(message)s")
    for record in caplog.records:
        text = formatter.format(record) + repr(record.args) + repr(getattr(record, FIELDS, ""))
        assert not [secret for secret in secrets if secret in text], text
