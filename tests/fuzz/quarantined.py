"""The target of quarantine files: anybody may have written one that is put back into a store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

from crdt_sync import Replica
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.fuzz.reading import folder, seen
from tests.fuzz.refusing import Refused, attempt
from tests.unit.replica.devices import Dice, Person, Task
from tests.unit.replica.test_repair import zero

MODELS: Final = (Task, Person)
TURNS_MAX: Final = 5
"""How often a file is read back until nothing comes of it: a row may rest on one that stands behind it."""
_HEAD: Final = {"format": "crdt_sync quarantine", "version": 1, "store": "a.db"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What an input is put back into, and what inputs are like.

    Args:
        place: of a.db, which was repaired, and of its state.
        quarantine: the file that the repair made.
        others: all rows of another replica, as a repair would write them.
    """

    place: Path
    quarantine: bytes
    others: bytes


@cache
def files() -> Files:
    """Made once."""
    place = folder() / "quarantined"
    place.mkdir()
    with _opened(place, "a.db", seed=1) as one, _opened(place, "b.db", seed=2) as two:
        for number in range(3):
            one.create(Task, title=f"one {number}", tags=["a"])
        exchange(one, two)
        for number in range(2):
            one.create(Task, title=f"alone {number}", notes="text")
        two.create(Person, email="a@b", name="Ada")
        next(iter(two.find(Task))).votes.increment(2)
    zero(place, Table.LOG, 3)
    report = Replica.repair(place / "a.db", state_dir=place / "a.db.state")
    assert report.quarantine is not None
    lines = [json.dumps(item) + "\n" for item in (_HEAD, *_rows(place / "b.db"))]
    return Files(place=place, quarantine=report.quarantine.read_bytes(), others="".join(lines).encode())


def _opened(place: Path, name: str, *, seed: int) -> Replica:
    return Replica.open(place / name, MODELS, state_dir=place / f"{name}.state", sources=Dice(seed).sources)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open_sqlite(path, read_only=True) as store:
        for table in (Table.RECORD, Table.LOG, Table.OPERATION, Table.LOCAL, Table.HOLDING):
            for key, value in store.scan(table):
                yield {"table": str(table), "key": key.hex(), "value": value.hex(), "reason": "r"}


def quarantined(data: bytes) -> None:
    """A quarantine file: refused, and all is as it was; or put back, and the store is sound and has nothing twice."""
    place = folder() / "returning"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(files().place, place)
    path = place / "given.jsonl"
    path.write_bytes(data)
    with _opened(place, "a.db", seed=3) as replica:
        before = _state(replica)
        report = attempt(partial(replica.put_back_quarantined, path))
        if isinstance(report, Refused):
            assert _state(replica) == before, "a part of what was refused was put back"
            return
        for _ in range(TURNS_MAX):
            before = _state(replica)
            report = replica.put_back_quarantined(path)
            if not report.rows:
                break
        assert not report.rows, "there is no end of what comes back"
        assert _state(replica) == before, "nothing was put back, and something is different"
        assert replica.check().ok, replica.check().listed
    assert path.read_bytes() == data, "the file was changed"


def _state(replica: Replica) -> object:
    return seen(replica), [(item.id, item.status, item.timestamp) for item in replica.operations()]


def honest_quarantines() -> dict[str, bytes]:
    """Whole files, and single rows of them."""
    found = {"of a repair": files().quarantine, "of another replica": files().others, "nothing": b""}
    for name in list(found)[:2]:
        head, *rows = found[name].splitlines(keepends=True)
        found[f"{name}, from behind"] = head + b"".join(rows[::-1])
        found[f"{name}, twice"] = head + b"".join(rows * 2)
        tables = dict.fromkeys(json.loads(row)["table"] for row in rows)
        for table in tables:
            own = [row for row in rows if json.loads(row)["table"] == table]
            found[f"{name}, {table} alone"] = head + b"".join(own)
    return found
