"""Files that are damaged below the rows: pages, the end, what stands beside them; as `check` and `repair` see it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from crdt_sync import Replica
from crdt_sync.storage.migrations import MIGRATIONS
from tests.unit.cli.conftest import Cli, Outcome, created, exchange

PAGE_BYTES = 4096


@pytest.fixture
def lived(cli: Cli, store: Path, other: Path) -> Path:
    """A store with some past of two devices."""
    created(cli, store, "code=7", model="City")
    with Replica.open(store) as a, Replica.open(other) as b:
        for number in range(30):
            a.create(a.model("Task"), title=f"t{number}", notes="n", votes=1)
        exchange(a, b)
    return store


def trees(path: Path) -> dict[str, int]:
    """The first page of each table and index, by name."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as raw:
        return dict(raw.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage"))


def spoil(path: Path, page: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(content)


def typed(outcome: Outcome) -> None:
    """It ended well, or by an error of ours that says what can be done; never by an exception."""
    assert outcome.code in (0, 6, 7, 10), (outcome.code, outcome.err)
    if outcome.code:
        assert outcome.error["type"].endswith("Error")
        assert outcome.error["hint"]


@pytest.mark.parametrize("content", [bytes(PAGE_BYTES), b"\xaa" * PAGE_BYTES], ids=["zeros", "aa"])
def test_a_page_of_any_tree_is_damaged(cli: Cli, lived: Path, state_dir: Path, content: bytes) -> None:
    sound = lived.read_bytes()
    for number, (name, page) in enumerate(trees(lived).items()):
        lived.write_bytes(sound)
        spoil(lived, page, content)
        if number % 5 == 0:
            found = cli("check", lived, "--json")
            typed(found)
            assert found.code == 10, f"{name} is damaged, and it is not told"
            assert cli("repair", lived, "--json").code == 0, name
        else:
            assert Replica.repair(lived, state_dir=state_dir).after.ok, name
        assert Replica.repair(lived, state_dir=state_dir).before.ok, name


def test_a_peer_brings_what_a_lost_log_held(cli: Cli, lived: Path, other: Path) -> None:
    for name in ("_crdt_log", "_crdt_document", "_crdt_version"):
        spoil(lived, trees(lived)[name], bytes(PAGE_BYTES))
    found = cli("repair", lived, "--json")
    assert found.json["changed"]
    with Replica.open(lived) as a, Replica.open(other) as b:
        exchange(a, b)
        assert a.check().listed == []
        assert len(list(a.find(a.model("Task")))) == 30


@pytest.mark.parametrize("part", [0, 1, 100, 4095, 4096, 0.3, 0.7, 0.99])
def test_a_file_that_was_cut_off(cli: Cli, lived: Path, part: float) -> None:
    content = lived.read_bytes()
    size = int(part * len(content)) if 0 < part < 1 else int(part)
    lived.write_bytes(content[:size])
    for command in ("check", "repair"):
        typed(cli(command, lived, "--json"))
    if lived.stat().st_size == size:
        assert lived.read_bytes() == content[:size], "what cannot be mended was left as it is"


Change = Callable[[Path, bytes], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda file, _: file.unlink(),
        lambda file, _: file.write_bytes(b""),
        lambda file, other: file.write_bytes(other),
        lambda file, _: file.write_bytes(b"\xaa" * 40_000),
        lambda file, _: file.write_bytes(file.read_bytes()[: len(file.read_bytes()) // 2]),
        lambda file, _: spoil(file, 2, bytes(PAGE_BYTES)),
    ],
    ids=["gone", "empty", "another's", "garbage", "cut off", "a page"],
)
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_file_beside_the_store_was_lost_or_replaced(
    cli: Cli, lived: Path, tmp_path: Path, suffix: str, change: Change
) -> None:
    """As after a process was killed: commits are in the log beside the file."""
    place = tmp_path / "killed"
    place.mkdir()
    with Replica.open(lived) as replica:
        for number in range(20):
            replica.create(replica.model("Task"), title=f"since {number}")
        for file in lived.parent.glob(lived.name + "*"):
            shutil.copy(file, place / file.name)
        here = place / lived.name
        with Replica.open(tmp_path / "other-store.db", [replica.model("Task")]) as foreign:
            foreign.create(replica.model("Task"), title="foreign")
            others = Path(f"{tmp_path / 'other-store.db'}{suffix}").read_bytes()
    beside, before = here.with_name(here.name + suffix), here.read_bytes()
    change(beside, others)
    found = cli("check", here, "--json")
    typed(found)
    if suffix == "-wal" and beside.exists() and beside.read_bytes() == others:
        assert found.error["message"].startswith(f"{beside.name} belongs to another store")
        assert cli("repair", here, "--json").error == found.error
        assert (here.read_bytes(), beside.read_bytes()) == (before, others), "it was not written over the store"
        beside.unlink()
    mended = cli("repair", here, "--json")
    typed(mended)
    assert mended.code in (0, 10)
    assert cli("check", here).code == 0
    with Replica.open(here) as replica:
        titles = {task.model_dump()["title"] for task in replica.find(replica.model("Task"))}
        assert {f"t{number}" for number in range(30)} <= titles
        assert "foreign" not in titles
        assert suffix == "-wal" or "since 19" in titles


@pytest.mark.parametrize("version", [len(MIGRATIONS) + 1, 10_000, 0, -1])
def test_a_store_of_another_version_is_left_as_it_is(cli: Cli, lived: Path, version: int) -> None:
    with closing(apsw.Connection(str(lived))) as raw:
        raw.pragma("user_version", version)
    before = lived.read_bytes()
    for command in ("check", "repair"):
        outcome = cli(command, lived, "--json")
        typed(outcome)
        assert outcome.code == 6
        assert outcome.error["type"] == "StoreVersionError"
    assert lived.read_bytes() == before


@pytest.mark.parametrize("content", [b"text\n" * 999, b"SQLite format 3\0" + bytes(500)], ids=["text", "header"])
def test_a_file_that_is_no_store_is_left_as_it_is(cli: Cli, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.db"
    path.write_bytes(content)
    for command in ("check", "repair"):
        outcome = cli(command, path, "--json")
        typed(outcome)
        assert outcome.code in (6, 10)
    assert path.read_bytes() == content
    path.unlink()
    with closing(apsw.Connection(str(path))) as raw:
        raw.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    for command in ("check", "repair"):
        assert cli(command, path, "--json").error["type"] == "NotAStoreError"
    assert path.read_bytes() == before
