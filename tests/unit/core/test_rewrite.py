from __future__ import annotations

import random

import pytest

from crdt_sync.core.blocks import DeleteRange
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import KeyClass, MapKey, parse_map_key
from crdt_sync.core.rewrite import rewrite_author
from crdt_sync.core.update import parse_update
from crdt_sync.errors import ScreeningError
from tests.unit.core.devices import TEXTS, Device, Entry

NEW = Author(2**35 - 5)


class Rotation:
    """A device, and its document as others will have it after its unsent entries went under a new author."""

    def __init__(self, device: Device, *, sent: int) -> None:
        self.device = device
        self.there = Device(5)
        self.from_clock = -1
        self.shift = 0
        self.seen: list[tuple[MapKey, bytes]] = []
        own = 0
        for entry in device.log:
            if entry[0] == device.author:
                own += 1
                if own > sent:
                    self._rewrite(entry)
                    continue
            self.there.receive(entry)

    def _rewrite(self, entry: Entry) -> None:
        if self.from_clock < 0:
            self.from_clock = self.there.index.next_clock(self.device.author)
        update = rewrite_author(
            entry[3],
            old=self.device.author,
            new=NEW,
            from_clock=self.from_clock,
            shift=self.shift,
            index=self.there.index,
            rewrite_value=self._value,
        )
        self.there.receive((NEW, 0, entry[2], update))

    def _value(self, key: MapKey, value: bytes) -> bytes:
        self.seen.append((key, value))
        return value + b"!"


@pytest.fixture
def device() -> Device:
    made = Device(7)
    made.create()
    with made.edit():
        made.insert("notes", 0, "shared ")
        made.write_plain("title", b"sent")
        made.count("votes")
        made.add("tags", "p")
        made.delete_record()
    return made


def values(device: Device) -> dict[str, bytes]:
    return {key: bytes(value) for key, value in device.map.items()}


def test_text_keeps_its_place(device: Device) -> None:
    with device.edit():
        device.insert("notes", 1.0, "😀 unsent")
        device.insert("notes", 0.0, ">")
    with device.edit():
        device.insert("notes", 1.0, " more")
        device.erase("notes", 0.0, 3)
        device.format("notes", 0.5, 3, {"bold": True})
    rotation = Rotation(device, sent=2)
    assert str(rotation.there.texts["notes"]) == str(device.texts["notes"])
    blocks = parse_update(rotation.there.log[-1][3]).blocks
    assert {block.author for block in blocks} == {NEW}


def test_values_move_to_the_new_authors_keys(device: Device) -> None:
    with device.edit():
        device.write_plain("title", b"unsent")
        device.add("tags", "p")
        device.add("tags", "q")
        device.delete_record()
    with device.edit():
        device.write_plain("title", b"later")
    there = values(Rotation(device, sent=2).there)
    parsed = {(key.key_class, key.field, key.rest, key.author): value for key, value in _parsed(there)}
    assert parsed[KeyClass.PLAIN, "title", "", NEW] == b"later!"
    assert (KeyClass.PLAIN, "title", "", device.author) not in parsed
    assert (KeyClass.SET, "tags", "p", device.author) not in parsed
    assert {rest for key_class, _, rest, _ in parsed if key_class is KeyClass.SET} == {"p", "q"}
    assert [author for key_class, _, _, author in parsed if key_class is KeyClass.TOMBSTONE] == [NEW]


def test_what_only_its_author_replaces_stays_beside(device: Device) -> None:
    with device.edit():
        device.count("votes")
    rotation = Rotation(device, sent=2)
    totals = [
        (key.author, value) for key, value in _parsed(values(rotation.there)) if key.key_class is KeyClass.COUNTER
    ]
    assert sorted(totals) == [(device.author, b"1"), (NEW, b"2!")]
    assert rotation.seen == [(MapKey(key_class=KeyClass.COUNTER, author=device.author, field="votes"), b"2")]


def test_the_callback_is_told_the_old_key_also_of_later_updates(device: Device) -> None:
    for value in (b"1", b"2", b"3"):
        with device.edit():
            device.write_plain("title", value)
    rotation = Rotation(device, sent=3)
    assert rotation.seen == [
        (MapKey(key_class=KeyClass.PLAIN, author=device.author, field="title"), value) for value in (b"2", b"3")
    ]


def test_goes_on_where_the_new_author_has_written_before(device: Device) -> None:
    with device.edit():
        device.write_plain("title", b"unsent")
        device.insert("notes", 1.0, "x")
    fresh = Device(NEW)
    for entry in device.log[:2]:
        fresh.receive(entry)
    with fresh.edit():
        fresh.write_plain("title", b"mine")
        fresh.count("votes")
    rewritten = rewrite_author(
        device.log[2][3],
        old=device.author,
        new=NEW,
        from_clock=fresh.index.next_clock(device.author),
        shift=fresh.index.next_clock(NEW),
        index=fresh.index,
    )
    fresh.receive((NEW, 1, device.log[2][2], rewritten))
    assert fresh.index == DocumentIndex.from_update(fresh.doc.get_update())
    assert values(fresh)[fresh.key(KeyClass.PLAIN, field="title")] == b"unsent"


@pytest.mark.parametrize("seed", range(60))
def test_random_histories_stay_acceptable(seed: int) -> None:
    """Also where rivals of the old author come to stand elsewhere beside the new one."""
    rng = random.Random(seed)
    device, other = Device(rng.randint(1, 2**35 - 9)), Device(rng.randint(1, 2**35 - 9))
    device.create()
    other.pull(device)
    for _ in range(5):
        device.random_edit(rng)
        other.random_edit(rng)
        device.pull(other)
        other.pull(device)
    sent = sum(entry[0] == device.author for entry in device.log)
    alone = rng.random() < 0.5
    for _ in range(8):
        device.random_edit(rng)
        if not alone:
            other.random_edit(rng)
            device.pull(other)
    there = Rotation(device, sent=sent).there
    built = DocumentIndex.from_update(there.doc.get_update())
    there.index.pairs = built.pairs
    assert there.index == built
    for name in TEXTS:
        ours, theirs = str(device.texts[name]), str(there.texts[name])
        assert ours == theirs if alone else sorted(ours) == sorted(theirs)


def test_only_the_old_authors_updates_above_the_clock(device: Device) -> None:
    other = Device(9)
    other.pull(device)
    with other.edit():
        other.write_plain("title", b"9")
    for entry, from_clock in ((other.log[-1], 0), (device.log[1], 2)):
        with pytest.raises(ScreeningError, match="own"):
            rewrite_author(
                entry[3], old=device.author, new=NEW, from_clock=from_clock, shift=0, index=device.index.copy()
            )


def test_an_update_that_refers_to_what_is_not_there(device: Device) -> None:
    with device.edit():
        device.insert("notes", 1.0, "x")
    with pytest.raises(ScreeningError):
        rewrite_author(
            device.log[2][3], old=device.author, new=NEW, from_clock=device.index.next_clock(7) - 1, shift=0,
            index=DocumentIndex(),
        )  # fmt: skip


def test_deletions_are_joined_again(device: Device) -> None:
    with device.edit():
        device.insert("notes", 1.0, "abc")
    with device.edit():
        device.erase("notes", 0.5, 9)
    rotation = Rotation(device, sent=2)
    deletes = parse_update(rotation.there.log[-1][3]).deletes
    assert all(isinstance(item, DeleteRange) for item in deletes)
    assert deletes == tuple(sorted(set(deletes)))
    assert {item.author for item in deletes} == {device.author, NEW}


def _parsed(cells: dict[str, bytes]) -> list[tuple[MapKey, bytes]]:
    return [(parse_map_key(key), value) for key, value in cells.items()]
