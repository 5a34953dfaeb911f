"""Finds out where the blocks of an update belong: to which key or text, in which place.

This is the structural half of screening, the same for an entry and for a whole document: clocks follow each other,
origins exist, belong to the same key or text and are in order, keys are those of their author, and a root holds only
what its type holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from crdt_sync.core.blocks import CLOCK_MAX, Block, Bytes, Deleted, DeleteRange, String, UnitId, Update
from crdt_sync.core.layout import MAP_ROOT, KeyClass, parse_text_root, parsed_key
from crdt_sync.core.order import STEPS_MAX, Step
from crdt_sync.errors import MissingCauseError, ScreeningError

if TYPE_CHECKING:  # the index builds itself with a placer
    from crdt_sync.core.index import DocumentIndex

NOWHERE: Final = "an update that refers to content which is not there"


class Item(NamedTuple):
    """Units of one key of the map root: several only where all are deleted."""

    author: int
    start: int
    end: int
    key: str


class Place(NamedTuple):
    """Where a unit belongs: the name of its key or text root, and where the units that share it end."""

    name: str
    end: int
    is_text: bool


class Placed(NamedTuple):
    """Where the blocks of one update belong. `DocumentIndex.apply` takes it over."""

    clocks: Mapping[int, int]
    """author → next clock after the update"""
    items: Sequence[Item]
    texts: Sequence[tuple[Block, str]]
    """blocks of texts, each with its root"""
    deletes: Sequence[DeleteRange]
    """what the update deletes, blocks of deleted content included"""


class Placer:
    """Places the blocks of one update beside an index, which it leaves as it was once `withdraw` is called."""

    __slots__ = (
        "_fresh",
        "_steps_max",
        "clocks",
        "erased",
        "index",
        "items",
        "journal",
        "last",
        "pairs",
        "texts",
        "tips",
        "values",
    )

    def __init__(self, index: DocumentIndex, *, steps_max: int = STEPS_MAX) -> None:
        self.index = index
        self.clocks: dict[int, int] = {}
        self.items: list[Item] = []
        self.last: dict[str, UnitId] = {}
        self.tips: dict[UnitId, str] = {}
        self.erased: list[DeleteRange] = []
        self.values: dict[str, bytes] = {}
        """key → the value that the update leaves there, unless it deletes that itself"""
        self.texts: list[tuple[Block, str]] = []
        self.pairs: set[UnitId] = set()
        self.journal: list[Step] = []
        self._fresh: list[Item] = []
        self._steps_max = steps_max

    def next_clock(self, author: int) -> int:
        """The next clock of an author, this update's blocks included."""
        clock = self.clocks.get(author)
        return self.index.clocks.get(author, 0) if clock is None else clock

    def place(self, block: Block) -> bool:
        """Place a block; False where it refers to units that are not there (yet).

        Raises:
            ScreeningError: it cannot be where it says it is.
            MalformedEntryError: its root or key is none that a document has.
        """
        author, clock, length, origin, right, root, key, _ = block
        if clock != self.next_clock(author):
            kind = MissingCauseError if clock > self.next_clock(author) else ScreeningError
            raise kind("an update that does not go on where its author's last one ended")
        if origin is None and right is None:
            if root == MAP_ROOT:
                self._place_item(block, key)
            else:
                self._place_text(block, root)
        else:
            for unit in (origin, right):
                if unit is not None and unit[1] >= self.next_clock(unit[0]):
                    return False
            found = self._tip_key(origin)
            if found is None:
                unit = origin if origin is not None else right
                run = None if unit is None else self.index.order.find(unit[0], unit[1])
                if run is None:
                    raise ScreeningError("a block that does not follow the last value of its key")
                self._place_text(block, run.root)
            elif right is not None:
                raise ScreeningError("a value with a right neighbour")
            else:
                self._place_item(block, found)
        self.clocks[author] = clock + length
        return True

    def find(self, author: int, clock: int) -> Place:
        """Where a unit belongs, this update's blocks included.

        Raises:
            ScreeningError: there is no such unit.
        """
        place = self.index.find(author, clock)
        if place is not None:
            return place
        if len(self._fresh) != len(self.items):
            self._fresh = sorted(self.items)
        at = bisect_right(self._fresh, (author, clock, CLOCK_MAX)) - 1
        if at < 0 or self._fresh[at].author != author or clock >= self._fresh[at].end:
            raise MissingCauseError(NOWHERE)
        return Place(self._fresh[at].key, self._fresh[at].end, is_text=False)

    def last_of(self, key: str) -> UnitId | None:
        """The last unit of a key, this update's blocks included."""
        return self.last.get(key) or self.index.last.get(key)

    def splits_pair(self, author: int, clock: int) -> bool:
        """Whether a cut before a unit would halve a character (two UTF-16 units), which the engine does not survive."""
        unit = (author, clock - 1)
        return unit in self.index.pairs or unit in self.pairs

    def placed(self, deletes: Iterable[DeleteRange]) -> Placed:
        """What `DocumentIndex.apply` needs."""
        return Placed(self.clocks, self.items, self.texts, (*deletes, *self.erased))

    def withdraw(self) -> None:
        """Take the texts out of the index again."""
        if self.journal:
            self.index.order.undo(self.journal)

    def _tip_key(self, unit: UnitId | None) -> str | None:
        if unit is None:
            return None
        key = self.tips.get(unit)
        if key is None:
            key = self.index.tips.get(unit)
            if key is not None and key in self.last:
                return None  # this update has put another value behind it
        return key

    def _place_item(self, block: Block, key: str | None) -> None:
        author, clock, length, origin, _, _, _, content = block
        if key is None:
            raise ScreeningError("a value without a key")
        parsed = parsed_key(key)
        if parsed.author != author:
            raise ScreeningError("a value under another author's key")
        before = self.last.get(key) or self.index.last.get(key)
        if before != origin:
            raise ScreeningError("a block that does not follow the last value of its key")
        if type(content) is Bytes:
            self.values[key] = content.value
        elif type(content) is Deleted:
            self.values.pop(key, None)
            self.erased.append(DeleteRange(author, clock, clock + length))
        else:
            raise ScreeningError("a map root with content that is no value")
        if before is not None:
            if parsed.key_class is KeyClass.CREATION:
                raise ScreeningError("a second creation by one author")
            self.tips.pop(before, None)
        end = clock + length
        tip = (author, end - 1)
        self.last[key] = tip
        self.tips[tip] = key
        self.items.append(Item(author, clock, end, key))

    def _place_text(self, block: Block, root: str | None) -> None:
        author, clock, length, origin, right, _, key, content = block
        if root is None or key is not None:
            raise ScreeningError("a text with a key")
        parse_text_root(root)
        if type(content) is Bytes:
            raise ScreeningError("a text root with content that is no text")
        if (origin is not None and self.splits_pair(origin[0], origin[1] + 1)) or (
            right is not None and self.splits_pair(*right)
        ):
            raise ScreeningError("a block that halves a character")
        if not self.texts:
            self.index.order.steps_left = self._steps_max
        self.index.order.place(
            author, clock=clock, length=length, origin=origin, right_origin=right, root=root, journal=self.journal
        )
        if type(content) is String:
            if not content.text.isascii():
                self.pairs.update(pairs_of(author, clock, content.text))
        elif type(content) is Deleted:
            self.erased.append(DeleteRange(author, clock, clock + length))
        self.texts.append((block, root))


def place_all(update: Update, *, placer: Placer) -> None:
    """Place the blocks of a whole document, of any number of authors, causes first.

    Raises:
        ScreeningError: a block is impossible where it says it is, or refers to content that is not there.
        MalformedEntryError: a root or key is none that a document has.
    """
    queues: dict[int, list[Block]] = {}
    for block in reversed(update.blocks):
        queues.setdefault(block.author, []).append(block)
    waiting = list(queues.values())
    while waiting:
        moved = False
        for queue in waiting:
            while queue and placer.place(queue[-1]):
                queue.pop()
                moved = True
        if not moved:
            raise MissingCauseError(NOWHERE)
        waiting = [queue for queue in waiting if queue]


def pairs_of(author: int, clock: int, text: str) -> Iterable[UnitId]:
    """The first units of all characters of a text that take two."""
    for character in text:
        if character > "\uffff":
            yield author, clock
            clock += 1
        clock += 1
