"""Devices that edit one record's document through the engine, within our layout, and screen what they exchange."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pycrdt import Doc, Map, Text, TransactionEvent, merge_updates

from crdt_sync.core.blocks import String, UnitId
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import KeyClass, map_key, parse_map_key
from crdt_sync.core.screening import Screened, screen
from crdt_sync.core.update import parse_update

FIELDS = ("title", "state")
TEXTS = ("notes", "body")
PIECES = ("a", "bc", "def", "é", "漢字", "😀", "x😀y", "👩‍👩‍👧", "\n", "\x00")
NAMES = ("bold", "size")
ATTRIBUTES = (None, True, 1, 2, 'é"\n')

Entry = tuple[Author, int, OperationType, bytes]
"""(author, sequence, what the operation is, engine update)"""


class Device:
    """One device. Every update, its own included, is screened before its index takes it over."""

    def __init__(self, author: int) -> None:
        self.author = Author(author)
        self.doc: Doc[Any] = Doc(client_id=author)
        self.map = self.doc.get("m", type=Map)
        self.texts = {name: self.doc.get("t" + name, type=Text) for name in TEXTS}
        self.index = DocumentIndex()
        self.log: list[Entry] = []
        self.units: dict[UnitId, str] = {}
        self.screened: list[Screened] = []
        self._updates: list[bytes] = []
        self._subscription = self.doc.observe(self._observed)

    def _observed(self, event: TransactionEvent) -> None:
        self._updates.append(event.update)

    @contextmanager
    def edit(self, operation: OperationType = OperationType.UPDATE) -> Iterator[Device]:
        """One transaction, logged as one entry; it touches where nothing else moves the state vector."""
        with self.doc.transaction():
            yield self
        if not self._updates:
            return
        update = self._updates.pop()
        if not parse_update(update).blocks:
            with self.doc.transaction():
                self.map[self.key(KeyClass.TOUCH)] = b"t"
            update = merge(update, self._updates.pop())
        assert not self._updates
        own = sum(author == self.author for author, *_ in self.log)
        self._take((self.author, own, operation, update))

    def key(self, key_class: KeyClass, *, field: str = "", rest: str = "") -> str:
        return map_key(key_class, self.author, field=field, rest=rest)

    def receive(self, entry: Entry) -> None:
        self._take(entry)
        self.doc.apply_update(entry[3])
        self._updates.clear()

    def pull(self, other: Device) -> None:
        """Receive what the other one has, in the order in which it got it (which extends causality)."""
        held = {(author, sequence) for author, sequence, *_ in self.log}
        for entry in list(other.log):
            if (entry[0], entry[1]) not in held:
                self.receive(entry)

    def _take(self, entry: Entry) -> None:
        author, _, operation, update = entry
        before = self.index.to_bytes()
        screened = screen(update, author=author, index=self.index, operation=operation)
        assert self.index.to_bytes() == before, "screening must change nothing"
        self.index.apply(screened)
        self.screened.append(screened)
        self.log.append(entry)
        for block in parse_update(update).blocks:
            if type(block.content) is String:
                clock = block.clock
                for character in block.content.text:
                    self.units[block.author, clock] = character
                    clock += 1 if character <= "\uffff" else 2

    def text_by_index(self, name: str) -> str:
        """The text as the index has it: its order, without what it holds for deleted."""
        return "".join(
            self.units.get((run.author, clock), "")
            for run in self.index.order.in_order("t" + name)
            for clock in range(run.start, run.end)
            if not self.index.is_deleted(run.author, clock)
        )

    # What an app may do ------------------------------------------------------------------------------------------

    def create(self) -> None:
        with self.edit(OperationType.CREATE):
            self.map[self.key(KeyClass.CREATION)] = b"created"

    def write_plain(self, field: str, value: bytes) -> None:
        for key in self._keys(KeyClass.PLAIN, field):
            if key != self.key(KeyClass.PLAIN, field=field):
                del self.map[key]
        self.map[self.key(KeyClass.PLAIN, field=field)] = value

    def write_causal(self, field: str, value: bytes, *, keep: int = 1) -> None:
        keys = self._keys(KeyClass.CAUSAL, field)
        own = [int(parse_map_key(key).rest) for key in keys if parse_map_key(key).author == self.author]
        rest = str(max(own, default=0) + 1)
        for key in keys[: max(0, len(keys) - keep)]:
            del self.map[key]
        key = self.key(KeyClass.CAUSAL, field=field, rest=rest)
        self.map[key] = value

    def count(self, field: str) -> None:
        key = self.key(KeyClass.COUNTER, field=field)
        self.map[key] = str(int(bytes(self.map.get(key, b"0"))) + 1).encode()

    def add(self, field: str, element: str) -> None:
        self.map[self.key(KeyClass.SET, field=field, rest=element)] = b"e"

    def remove(self, field: str, element: str) -> None:
        for key in self._keys(KeyClass.SET, field):
            if parse_map_key(key).rest == element:
                del self.map[key]

    def delete_record(self) -> None:
        self.restore()
        self.map[self.key(KeyClass.TOMBSTONE)] = b"vector"

    def restore(self) -> None:
        for key in self._keys(KeyClass.TOMBSTONE, ""):
            del self.map[key]

    def insert(self, name: str, at: float, piece: str) -> None:
        """Insert at a fraction of the text; the engine wants UTF-8 offsets."""
        before = str(self.texts[name])
        self.texts[name].insert(len(before[: round(at * len(before))].encode()), piece)

    def erase(self, name: str, at: float, count: int) -> None:
        before = str(self.texts[name])
        start = round(at * len(before))
        begin, end = len(before[:start].encode()), len(before[: start + count].encode())
        if begin < end:
            del self.texts[name][begin:end]

    def insert_formatted(self, name: str, at: float, piece: str, attributes: dict[str, Any]) -> None:
        before = str(self.texts[name])
        self.texts[name].insert(len(before[: round(at * len(before))].encode()), piece, attributes)

    def format(self, name: str, at: float, count: int, attributes: dict[str, Any]) -> None:
        before = str(self.texts[name])
        start = round(at * len(before))
        begin, end = len(before[:start].encode()), len(before[: start + count].encode())
        if begin < end:
            self.texts[name].format(begin, end, attributes)

    def random_edit(self, rng: random.Random) -> None:
        """One transaction of one to four random changes."""
        with self.edit():
            for _ in range(rng.randint(1, 4)):
                self._random_change(rng)

    def _random_change(self, rng: random.Random) -> None:
        name, field = rng.choice(TEXTS), rng.choice(FIELDS)
        match rng.randrange(13):
            case 0:
                self.write_plain(field, rng.randbytes(3))
            case 1:
                self.write_causal(field, rng.randbytes(3), keep=rng.randint(0, 2))
            case 2:
                self.count(field)
            case 3:
                self.add("tags", rng.choice("pqr😀"))
            case 4:
                self.remove("tags", rng.choice("pqr😀"))
            case 5:
                self.delete_record()
            case 6:
                self.restore()
            case 7:
                self.format(name, rng.random(), rng.randint(1, 4), {rng.choice(NAMES): rng.choice(ATTRIBUTES)})
            case 12:
                self.insert_formatted(name, rng.random(), rng.choice(PIECES), {"bold": True, "size": rng.randint(0, 2)})
            case 8 | 9:
                self.insert(name, rng.random(), rng.choice(PIECES))
            case 10:
                self.insert(name, 1.0, rng.choice(PIECES))
            case _:
                self.erase(name, rng.random(), rng.randint(1, 4))

    def _keys(self, key_class: KeyClass, field: str) -> list[str]:
        parsed = [(key, parse_map_key(key)) for key in self.map]
        return sorted(key for key, item in parsed if item.key_class is key_class and item.field == field)


def merge(*updates: bytes) -> bytes:
    """Merge updates as an entry of several transactions does."""
    return merge_updates(*updates)


def history(seed: int, *, devices: int, edits: int) -> list[Device]:
    """Devices after random edits and pulls, every one in the end with everything."""
    rng = random.Random(seed)
    everyone = [Device(rng.randint(1, 2**35 - 1)) for _ in range(devices)]
    everyone[0].create()
    for device in everyone[1:]:
        device.pull(everyone[0])
    for _ in range(edits):
        device = rng.choice(everyone)
        device.random_edit(rng)
        if rng.random() < 0.4:
            device.pull(rng.choice(everyone))
    for device in everyone:
        for other in everyone:
            device.pull(other)
    return everyone
