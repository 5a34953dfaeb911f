"""Law 2: merging is commutative, associative and idempotent, and a view never depends on who reads."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core.document import Document
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds import Cut, Drop, Insert, Put, Write
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.version import version_of_update
from tests.laws import tally
from tests.laws.copying import deliver, deliver_content, newcomer, runs_of
from tests.laws.histories import Law, hold
from tests.laws.seeing import see
from tests.laws.world import World


class Merging(Law):
    """The parts that replicas hold, merged by newcomers in any order and nesting, and again."""

    def while_apart(self, world: World) -> None:
        devices = [device.replica for device in world.devices]
        parts = [runs_of(replica) for replica in devices]
        world.random.shuffle(parts)
        first, *others = parts
        with newcomer(*devices) as forward, newcomer(*devices) as backward, newcomer(*devices) as nested:
            for part in parts:
                deliver(forward, part)
            for part in reversed(parts):
                deliver(backward, part)
            assert see(forward) == see(backward), "merging is not commutative"
            for part in others:
                deliver(nested, part)
            inner = runs_of(nested)
            with newcomer(*devices) as outer:
                deliver(outer, first)
                deliver(outer, inner)
                assert see(outer) == see(forward), "merging is not associative"
            before = see(forward), len(runs_of(forward))
            for part in parts:
                deliver(forward, part)
            assert (see(forward), len(runs_of(forward))) == before, "merging is not idempotent"


class MergingContent(Law):
    """The documents that replicas hold, merged as documents in any order, and again."""

    def while_apart(self, world: World) -> None:
        devices = [device.replica for device in world.devices]
        with newcomer(*devices) as forward, newcomer(*devices) as backward:
            for replica in devices:
                deliver_content(forward, replica)
            for replica in reversed(devices):
                deliver_content(backward, replica)
            merged = see(forward)
            assert merged == see(backward), "merging documents is not commutative"
            for replica in devices:
                deliver_content(forward, replica)
            assert see(forward) == merged, "merging documents is not idempotent"
            with newcomer(*devices) as by_entries:
                for replica in devices:
                    deliver(by_entries, runs_of(replica))
                assert see(by_entries) == merged, "documents and entries give different things"


class Edit(NamedTuple):
    """One change of one of three copies of a document, or the arrival of what another copy has."""

    at: int
    what: int
    number: int


EDITS = st.lists(st.builds(Edit, st.integers(0, 2), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25)


class Copy:
    """A document as the engine holds it, without the layers that keep a deletion from standing alone."""

    def __init__(self, index: int) -> None:
        self.author = Author(100 + index)
        self.document = Document(self.author)
        self.updates: list[bytes] = []

    def edit(self, edit: Edit) -> None:
        text, keys = self.shown()
        writes: list[Write] = []
        match edit.what:
            case 0:
                writes = [Put(map_key(KeyClass.SET, self.author, field="tags", rest=f"e{edit.number}"), b"")]
            case 1 if keys:
                writes = [Drop(keys[edit.number % len(keys)])]
            case 2:
                writes = [Insert("notes", edit.number % (len(text) + 1), "añ")]
            case 3 if text:
                writes = [Cut("notes", edit.number % len(text), 1)]
        if writes:
            self.updates.append(self.document.edit(writes))

    def take(self, other: Copy, *, count: int) -> None:
        """Apply the next few of another copy's updates, in its order."""
        for update in [item for item in other.updates if item not in self.updates][:count]:
            self.document.apply(update)
            self.updates.append(update)

    def version(self) -> bytes:
        return version_of_update(self.document.encode())

    def shown(self) -> tuple[str, tuple[str, ...]]:
        return self.document.text("notes"), tuple(sorted(self.document.cells()))


def compare_versions(edits: list[Edit]) -> None:
    """Make the edits on three copies, and hold versions against contents after each."""
    copies = [Copy(index) for index in range(3)]
    shown: dict[bytes, tuple[str, tuple[str, ...]]] = {}
    for edit in edits:
        copy = copies[edit.at]
        if edit.what < 4:
            copy.edit(edit)
        else:
            copy.take(copies[(edit.at + edit.what - 3) % 3], count=edit.number)
        assert shown.setdefault(copy.version(), copy.shown()) == copy.shown(), "equal versions, other content"
        for other in copies:
            if set(other.updates) == set(copy.updates):
                assert other.version() == copy.version(), "other versions, equal content"


class TestMerging:
    def test_merging_entries_is_commutative_associative_and_idempotent(self) -> None:
        """States: what replicas hold, merged as entries in any order and nesting and again, gives one result.

        It fails where merging depends on which part came first, or where a second arrival changes anything.
        """
        hold(Merging())

    def test_merging_documents_is_commutative_and_idempotent_and_equals_merging_entries(self) -> None:
        """States: what replicas hold, merged as documents cut by state vectors, gives what the entries give.

        It fails where a cut leaves out a deletion, or where a document holds something that is not in its entries.
        """
        hold(MergingContent())

    @given(edits=EDITS)
    def test_equal_versions_mean_equal_content_and_the_reverse(self, edits: list[Edit]) -> None:
        """States: two copies of a document have equal versions exactly where they hold the same.

        Here a change may be a deletion alone, which moves no state vector: it fails where equal state vectors are taken
        for equal content, or where a version depends on the order of arrival.
        """
        tally.note("Versions")
        compare_versions(edits)
