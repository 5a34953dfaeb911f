"""The order of a document's texts, unit by unit, without the text: what tells whether a block's origins are possible.

A block of text names the unit that stood left of it and the one that stood right of it. Where the right one does not
come after the left one, the engine shows one content live and another after a reload, so such a block must be
refused; and order is not visible from clocks. So the places of all units are kept, deleted ones included, as runs of
consecutive units of one author in a doubly linked list for each root.

Invariants:
1. Every text unit is in exactly one run; ``_starts`` and ``_runs`` of an author are parallel and sorted.
2. Inside a run each unit's left origin is the unit before it, and all share the run's right origin.
3. The order equals the engine's, whatever the order of arrival (the tests compare).

Source: the YATA algorithm (Nicolaescu, Jahns, Derntl, Klamma: "Near Real-Time Peer-to-Peer Shared Editing on
Extensible Data Types", 2016) with the tie-breaking by author that Yjs implements.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from crdt_sync.core.blocks import UnitId
from crdt_sync.errors import LimitError, ScreeningError

STEPS_MAX: Final = 10_000_000
"""Runs to pass while one update finds its places; an honest one passes what rivals put there at the same time."""

DOCUMENT_STEPS_MAX: Final = 100 * STEPS_MAX
"""The same for a whole document, which many updates have built up."""


class Run:
    """Consecutive units of one author that stand next to each other, ``start`` up to, not including, ``end``."""

    __slots__ = ("author", "end", "next", "origin", "previous", "right_origin", "root", "start")

    def __init__(
        self, author: int, *, start: int, end: int, origin: UnitId | None, right_origin: UnitId | None, root: str
    ) -> None:
        self.author = author
        self.start = start
        self.end = end
        self.origin = origin
        self.right_origin = right_origin
        self.root = root
        self.previous: Run | None = None
        self.next: Run | None = None


Step = tuple[str, Run, int]
"""What to undo: ("split", left part, 0), ("link", new run, 0) or ("grow", run, its end before)."""


class TextOrder:
    """The places of all text units of one document. `place` changes it; `undo` takes changes back.

    ``steps_left`` bounds the work of the next calls of `place`; whoever begins an update sets it.
    """

    __slots__ = ("_heads", "_runs", "_starts", "steps_left")

    def __init__(self) -> None:
        self.steps_left = STEPS_MAX
        self._heads: dict[str, Run] = {}
        self._starts: dict[int, list[int]] = {}
        self._runs: dict[int, list[Run]] = {}

    def __bool__(self) -> bool:
        return bool(self._heads)

    def roots(self) -> Iterator[str]:
        """The text roots that hold or held anything."""
        return iter(self._heads)

    def find(self, author: int, clock: int) -> Run | None:
        """The run that holds a unit, if it is a unit of a text."""
        starts = self._starts.get(author)
        if not starts:
            return None
        index = bisect_right(starts, clock) - 1
        if index < 0:
            return None
        run = self._runs[author][index]
        return run if clock < run.end else None

    def after(self, unit: UnitId | None, *, root: str) -> UnitId | None:
        """The unit that stands right of another one (None: the first of ``root``), deleted or not; None at the end."""
        if unit is None:
            head = self._heads.get(root)
            return None if head is None else (head.author, head.start)
        run = self._known(unit, root)
        if unit[1] + 1 < run.end:
            return unit[0], unit[1] + 1
        return None if run.next is None else (run.next.author, run.next.start)

    def in_order(self, root: str) -> Iterator[Run]:
        """The runs of a root from its beginning, joined as far as possible."""
        run = self._heads.get(root)
        while run is not None:
            joined = _copy(run)
            while (after := run.next) is not None and _continues(joined, after):
                joined.end = after.end
                run = after
            yield joined
            run = run.next

    def append(self, run: Run, *, after: Run | None) -> None:
        """Put a run behind another one or first, as a list that was stored in order is read back."""
        self._link(run, after)

    def index_runs(self) -> None:
        """Build the look-up by author after `append`, which leaves it to this call."""
        self._starts, self._runs = {}, {}
        everything: list[Run] = []
        for head in self._heads.values():
            run: Run | None = head
            while run is not None:
                everything.append(run)
                run = run.next
        everything.sort(key=lambda item: (item.author, item.start))
        for run in everything:
            self._starts.setdefault(run.author, []).append(run.start)
            self._runs.setdefault(run.author, []).append(run)

    def place(
        self,
        author: int,
        *,
        clock: int,
        length: int,
        origin: UnitId | None,
        right_origin: UnitId | None,
        root: str,
        journal: list[Step] | None,
    ) -> None:
        """Give new units their place; ``clock`` is above all of this author's units here.

        Raises:
            ScreeningError: an origin is no unit of this root, or they are not in order. ``journal`` then holds the
                steps to `undo`.
        """
        # The right one first: where it is not behind the left one in the same run, the walk below must not meet it.
        right = None if right_origin is None else self._starting_at(right_origin, root, journal)
        left = None if origin is None else self._ending_at(origin, root, journal)
        first = self._heads.get(root) if left is None else left.next
        if first is not right:
            self._check_gap(author, left=left, first=first, right=right)
            left = self._settle(author, origin, right_origin, left=left, first=first, right=right)
        if (
            left is not None
            and left.author == author
            and left.end == clock
            and origin == (author, clock - 1)
            and left.right_origin == right_origin
        ):
            if journal is not None:
                journal.append(("grow", left, left.end))
            left.end = clock + length
            return
        new = Run(author, start=clock, end=clock + length, origin=origin, right_origin=right_origin, root=root)
        self._link(new, left)
        self._starts.setdefault(author, []).append(clock)
        self._runs.setdefault(author, []).append(new)
        if journal is not None:
            journal.append(("link", new, 0))

    def undo(self, journal: list[Step]) -> None:
        """Take back the steps of a journal, latest first."""
        for action, run, end in reversed(journal):
            if action == "grow":
                run.end = end
            elif action == "link":
                self._unlink(run)
                self._starts[run.author].pop()
                self._runs[run.author].pop()
            else:
                rest = run.next
                if rest is None:
                    raise RuntimeError("a split without its right part")
                self._unlink(rest)
                run.end = rest.end
                index = bisect_right(self._starts[run.author], run.start)
                del self._starts[run.author][index], self._runs[run.author][index]
        journal.clear()

    def _check_gap(self, author: int, *, left: Run | None, first: Run | None, right: Run | None) -> None:
        """Refuse neighbours that cannot have stood side by side where the block was written.

        Only what the author had not seen may stand between them here. It had seen its own units and what its
        neighbours refer to, so none of these may; nor may the text end before the right one comes.
        """
        seen = (None if left is None else left.right_origin, None if right is None else right.origin)
        run = first
        while run is not right:
            if run is None:
                raise ScreeningError("a block whose right origin does not come after its left one")
            self._count_step()
            if run.author == author:
                raise ScreeningError("a block whose origins were not side by side")
            for unit in seen:
                if unit is not None and unit[0] == run.author and run.start <= unit[1] < run.end:
                    raise ScreeningError("a block whose origins were not side by side")
            run = run.next

    def _settle(
        self,
        author: int,
        origin: UnitId | None,
        right_origin: UnitId | None,
        *,
        left: Run | None,
        first: Run | None,
        right: Run | None,
    ) -> Run | None:
        """Find the run to stand behind, where others were put between the same neighbours at the same time."""
        before: set[int] = set()
        conflicting: set[int] = set()
        other = first
        while other is not None and other is not right:
            self._count_step()
            before.add(id(other))
            conflicting.add(id(other))
            if other.origin == origin:
                if other.author < author:
                    left = other
                    conflicting.clear()
                elif other.right_origin == right_origin:
                    break
            else:
                held = None if other.origin is None else self.find(*other.origin)
                if held is None or id(held) not in before:
                    break
                if id(held) not in conflicting:
                    left = other
                    conflicting.clear()
            other = other.next
        return left

    def _count_step(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise LimitError("an update that needs more comparisons than the space allows")

    def _ending_at(self, unit: UnitId, root: str, journal: list[Step] | None) -> Run:
        run = self._known(unit, root)
        if unit[1] + 1 < run.end:
            self._split(run, unit[1] + 1, journal)
        return run

    def _starting_at(self, unit: UnitId, root: str, journal: list[Step] | None) -> Run:
        run = self._known(unit, root)
        return run if unit[1] == run.start else self._split(run, unit[1], journal)

    def _known(self, unit: UnitId, root: str) -> Run:
        run = self.find(*unit)
        if run is None or run.root != root:
            raise ScreeningError("a block whose origin is no unit of its root")
        return run

    def _split(self, run: Run, at: int, journal: list[Step] | None) -> Run:
        rest = Run(
            run.author,
            start=at,
            end=run.end,
            origin=(run.author, at - 1),
            right_origin=run.right_origin,
            root=run.root,
        )
        run.end = at
        self._link(rest, run)
        index = bisect_right(self._starts[run.author], run.start)
        self._starts[run.author].insert(index, at)
        self._runs[run.author].insert(index, rest)
        if journal is not None:
            journal.append(("split", run, 0))
        return rest

    def _link(self, run: Run, left: Run | None) -> None:
        after = self._heads.get(run.root) if left is None else left.next
        run.previous, run.next = left, after
        if after is not None:
            after.previous = run
        if left is None:
            self._heads[run.root] = run
        else:
            left.next = run

    def _unlink(self, run: Run) -> None:
        if run.next is not None:
            run.next.previous = run.previous
        if run.previous is not None:
            run.previous.next = run.next
        elif run.next is not None:
            self._heads[run.root] = run.next
        else:
            del self._heads[run.root]


def _copy(run: Run) -> Run:
    return Run(
        run.author,
        start=run.start,
        end=run.end,
        origin=run.origin,
        right_origin=run.right_origin,
        root=run.root,
    )


def _continues(run: Run, after: Run) -> bool:
    return (
        after.author == run.author
        and after.start == run.end
        and after.origin == (run.author, run.end - 1)
        and after.right_origin == run.right_origin
    )
