"""Bugs that such systems have had, planted one at a time: the law that forbids each must find it.

Without these the laws could be true of anything. A law that no longer finds its bug is itself broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as Settings  # noqa: N812  it is a class
from hypothesis.stateful import run_state_machine_as_test

from crdt_sync.core import clock, codec, content, deleting, entry, version
from crdt_sync.core.blocks import DOCUMENT_BOUNDS
from crdt_sync.core.content import RegisterValue
from crdt_sync.core.deleting import Side
from crdt_sync.core.document import Document
from crdt_sync.core.kinds import AskRegister, MergeWithRegister, ThreeWayRegister, causal, counter, lattice, plain, text
from crdt_sync.core.kinds import list as lists
from crdt_sync.core.kinds import map as maps
from crdt_sync.core.kinds import set as sets
from crdt_sync.core.kinds.answers import Answers
from crdt_sync.core.kinds.base import Drop, Put, Write
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.update import encode_update, parse_update
from crdt_sync.protocol.source import RunPage
from crdt_sync.replica import accept, conflict_calls, derive, duplicates, ledger
from crdt_sync.replica.documents import DocumentCache, Loaded
from crdt_sync.replica.port import Port
from crdt_sync.replica.rows import LogRow, unpack_log_row
from crdt_sync.storage.base import Table
from tests.laws import filling
from tests.laws.histories import STEPS, Law, LawBrokenError, hold
from tests.laws.models import MUDDLED, UNANSWERED, Draft, Idea, Task
from tests.laws.test_all_at_once import EverythingAtOnce
from tests.laws.test_law_1_convergence import AnyOrder, Convergence
from tests.laws.test_law_2_merging import EDITS, Edit, Merging, MergingContent, compare_versions
from tests.laws.test_law_3_nothing_lost import NothingLost
from tests.laws.test_law_4_sequential import TURNS, play
from tests.laws.test_law_5_concurrent_edits import ClocksFollowCauses, ConcurrentEdits
from tests.laws.test_law_6_resolution import Resolution
from tests.laws.test_law_7_views import Views
from tests.laws.world import Device, World
from tests.planted import Plant, a_second_tombstone_is_lost, resolving_replaces_nothing, who_reads_chooses_the_survivor

EXAMPLES = Settings(
    max_examples=400,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def the_engine_picks_the_winner(patch: pytest.MonkeyPatch) -> None:
    """The higher client id shows, whenever it wrote."""
    patch.setattr(plain, "latest_first", lambda value: -value.dot.author)


def the_last_arrival_wins(patch: pytest.MonkeyPatch) -> None:
    """Candidates stand in the order in which the document happens to hold them."""
    real = Document.cells
    patch.setattr(plain, "latest_first", lambda value: 0)
    # The engine's maps have another order each time one is made; a history must fail again when it is run again.
    patch.setattr(Document, "cells", lambda self: dict(sorted(real(self).items())))


def a_write_forgets_its_rivals(patch: pytest.MonkeyPatch) -> None:
    """Only the latest value is kept as a candidate."""
    real = plain.PlainRegister.candidates
    patch.setattr(plain.PlainRegister, "candidates", lambda self, held: real(self, held)[:1])


def a_sequential_write_leaves_the_old_value(patch: pytest.MonkeyPatch) -> None:
    """A write does not remove the values that it saw, and time picks among them."""
    real = plain.PlainRegister.assign

    def assign(self: plain.PlainRegister, *args: Any, **kwargs: Any) -> list[Write]:
        return [write for write in real(self, *args, **kwargs) if isinstance(write, Put)]

    patch.setattr(plain.PlainRegister, "assign", assign)


def equal_state_vectors_are_equal_content(patch: pytest.MonkeyPatch) -> None:
    """A version leaves deletions out."""
    real = version.version
    patch.setattr(version, "version", lambda vector, deletes: real(vector, {}))


def deleting_wins(patch: pytest.MonkeyPatch) -> None:
    """An edit made at once with a deletion is lost."""
    patch.setattr(content.Content, "is_live", lambda self, policy: not self.tombstones)


def editing_wins(patch: pytest.MonkeyPatch) -> None:
    """What a model says of deletions is not asked for."""
    real = content.Content.is_live
    patch.setattr(content.Content, "is_live", lambda self, policy: real(self, "edit_wins"))


def only_the_latest_deletion_is_named(patch: pytest.MonkeyPatch) -> None:
    """Of several deletions only one is in the conflict."""
    real = deleting.sides_of

    def sides(*args: Any) -> list[Side]:
        found = real(*args)
        latest = next((side for side in found if side.key), None)
        return [side for side in found if not side.key or side == latest]

    patch.setattr(duplicates, "sides_of", sides)


def nobody_is_asked_about_deletions(patch: pytest.MonkeyPatch) -> None:
    """A model that asks is taken for one whose edits win."""
    patch.setattr(duplicates, "sides_of", lambda *args: [])


def the_latest_of_twins_survives(patch: pytest.MonkeyPatch) -> None:
    """Of records created twice the last one gives its name."""
    real = duplicates.age
    patch.setattr(duplicates, "age", lambda *args: (-real(*args)[0], real(*args)[1]))


def the_survivors_text_alone_is_kept(patch: pytest.MonkeyPatch) -> None:
    """What was typed into the others cannot be read any more."""
    real = duplicates.texts_of
    patch.setattr(conflict_calls, "texts_of", lambda *args: real(*args)[:1])


def a_tombstone_covers_what_it_did_not_see(patch: pytest.MonkeyPatch) -> None:
    """A deletion is taken to have seen everything of the authors that it names."""
    real = content.read_tombstone

    def read(data: bytes) -> content.Tombstone:
        tombstone = real(data)
        return tombstone._replace(vector=dict.fromkeys(tombstone.vector, 1 << 40))

    patch.setattr(content, "read_tombstone", read)


def adding_again_is_nothing(patch: pytest.MonkeyPatch) -> None:
    """An element that is there is not added again, only noted elsewhere: a removal made at once takes it away."""

    def add(self: sets.Set[Any], element: Any) -> None:
        if element in self:
            self._host.edit(lambda _, at: [Put(map_key(KeyClass.SET, at.author, field="elsewhere", rest="=x"), b"")])
        else:
            self._host.edit(lambda _, context: self._kind.add([element], context=context))

    patch.setattr(sets.Set, "add", add)


def a_set_is_a_map_of_elements(patch: pytest.MonkeyPatch) -> None:
    """Elements have one key for all authors' adding: the newest author's, so that removing misses the others."""
    patch.setattr(
        sets.SetKind,
        "remove",
        lambda self, held, elements: [
            write
            for element in elements
            for name, _ in [sets._element(element)]
            for key, _ in held.sets.get(self.name, {}).get(name, [])[-1:]
            for write in [Drop(key)]
        ],
    )


def moving_is_removing_and_inserting(patch: pytest.MonkeyPatch) -> None:
    """A moved element is another one, so that two moves at once make two of it."""

    def move(self: lists.ListKind, held: Any, from_index: int, to_index: int, *, context: Any) -> list[Write]:
        value = self.read(held)[from_index]
        writes = self.remove(held, from_index)
        at = to_index + (to_index > from_index)
        return [*writes, *self.insert(held, at, [value], context=context)]

    patch.setattr(lists.ListKind, "move", move)


def removing_an_entry_leaves_hidden_values(patch: pytest.MonkeyPatch) -> None:
    """What an entry showed goes, and what that had replaced is back."""

    def drops(self: maps.MapKind, held: Any, names: Iterable[str]) -> list[Write]:
        return [Drop(item.key) for name in names for item in self.register(name).candidates(held)]

    patch.setattr(maps.MapKind, "drops", drops)


def the_last_writer_sets_the_greatest(patch: pytest.MonkeyPatch) -> None:
    """Of the parts of a semilattice the latest shows."""
    patch.setattr(
        lattice.Greatest,
        "shown",
        lambda self, held: max(self.parts(held), key=lambda item: (item.hlc, item.dot), default=None),
    )


def counters_are_registers(patch: pytest.MonkeyPatch) -> None:
    """The greatest total shows instead of the sum."""
    patch.setattr(
        counter.CounterKind,
        "read",
        lambda self, held: max(held.counters.get(self.name, {}).values(), default=0),
    )


def positions_count_from_one(patch: pytest.MonkeyPatch) -> None:
    """What is inserted into a text stands one character too early."""
    real = text.TextKind.insertion
    patch.setattr(
        text.TextKind, "insertion", lambda self, held, at, new, **more: real(self, held, max(0, at - 1), new, **more)
    )


def resolving_replaces_everything(patch: pytest.MonkeyPatch) -> None:
    """A resolution also takes away what its user never saw."""
    patch.setattr(
        AskRegister,
        "supersede",
        lambda self, held, data, *, dots, context: self.assign(held, codec.decode(data), context=context),
    )


def the_base_is_the_last_value_carried_along(patch: pytest.MonkeyPatch) -> None:
    """The latest replaced value is taken for the common ancestor."""

    def carried_along(kept: list[Any], among: list[Any]) -> list[Any]:
        past = [item for item in kept if item not in among]
        return sorted(past, key=plain.latest_first)[:1]

    patch.setattr(causal, "ancestors", carried_along)


def only_two_sides_are_merged(patch: pytest.MonkeyPatch) -> None:
    """What a third device changed at the same time is left out of a three-way merge."""
    real = ThreeWayRegister.merge
    patch.setattr(ThreeWayRegister, "merge", lambda self, base, among: real(self, base, among[:2]))


def a_merge_function_is_asked_in_one_order(patch: pytest.MonkeyPatch) -> None:
    """An answer that depends on the order of the values is taken for one."""
    real = MergeWithRegister.merge

    def merge(self: MergeWithRegister, base: Any, among: list[RegisterValue]) -> Any:
        self._answers = Answers()  # without those that were given right, before; and, afterwards, this one
        try:
            return real(self, base, among)
        finally:
            self._answers = Answers()

    patch.setattr(MergeWithRegister, "merge", merge)
    patch.setattr(MergeWithRegister, "_ask_function", lambda self, base, ordered: self._call(base, ordered))


def answers_are_kept_whatever_the_base(patch: pytest.MonkeyPatch) -> None:
    """The same values get the answer that they got first, though they grew from another one."""
    real = MergeWithRegister.merge
    bases: dict[tuple[bytes, ...], Any] = {}

    def merge(self: MergeWithRegister, base: Any, among: list[RegisterValue]) -> Any:
        return real(self, bases.setdefault(tuple(sorted(item.data for item in among)), base), among)

    patch.setattr(MergeWithRegister, "merge", merge)


def conflicts_are_named_by_whoever_finds_them(patch: pytest.MonkeyPatch) -> None:
    """Replicas give one conflict different ids."""
    numbers = count(1)
    patch.setattr(derive, "conflict_id", lambda *args: f"{next(numbers):032x}")


def clocks_hear_nothing(patch: pytest.MonkeyPatch) -> None:
    """A replica's clock does not take in the timestamps that it receives."""
    patch.setattr(clock.HybridClock, "observe", lambda self, remote, now_ms: True)


def clocks_forget(patch: pytest.MonkeyPatch) -> None:
    """The clock starts anew when a store is opened."""
    patch.setattr(ledger.Ledger, "clock", lambda self: 0)


def content_is_read_once(patch: pytest.MonkeyPatch) -> None:
    """A loaded document goes on showing what it showed first."""

    def grow(self: Loaded, update: bytes) -> None:
        self.tail.append(update)
        self.size += len(update)

    patch.setattr(Loaded, "_grow", grow)


def the_last_run_stays_behind(patch: pytest.MonkeyPatch) -> None:
    """A page of runs leaves out its last one, and the cursor passes over it."""
    real = ledger.Ledger.runs_after

    def runs_after(self: ledger.Ledger, *args: Any, **kwargs: Any) -> RunPage:
        page = real(self, *args, **kwargs)
        return page._replace(runs=page.runs[:-1]) if len(page.runs) > 1 else page

    patch.setattr(ledger.Ledger, "runs_after", runs_after)


def deriving_misses_the_newest(patch: pytest.MonkeyPatch) -> None:
    """What is derived anew from the log lacks the last update."""
    real = DocumentCache.tail_of

    def tail_of(self: DocumentCache, key: Any, *, after: int) -> Iterable[Any]:
        held = list(real(self, key, after=after))
        return held[:-1] if len(held) > 1 else held

    patch.setattr(DocumentCache, "tail_of", tail_of)


def acknowledged_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    """What a peer sends is acknowledged first and committed later; a process killed in between never had it."""
    real_accept, real_kill = Port.accept_runs, Device.kill

    def accept(self: Port, runs: Any) -> Any:
        path = self._state.store.path
        if path is not None:
            durable = path.with_suffix(".durable")
            durable.unlink(missing_ok=True)
            self._state.store.backup(durable)
        return real_accept(self, runs)

    def kill(self: Device) -> None:
        real_kill(self)
        assert self.path is not None
        durable = self.path.with_suffix(".durable")
        if durable.exists():
            for name in ("-wal", "-shm"):
                self.path.with_name(self.path.name + name).unlink(missing_ok=True)
            durable.replace(self.path)

    patch.setattr(Port, "accept_runs", accept)
    patch.setattr(Device, "kill", kill)


def a_repeated_entry_counts_again(patch: pytest.MonkeyPatch) -> None:
    """What of a run is held already is not left out: it goes into the log once more."""
    patch.setattr(accept, "check_continues", lambda *, expected, run, entries: 0)


def a_run_that_is_held_in_part_is_taken_for_held(patch: pytest.MonkeyPatch) -> None:
    """Of a run that was grouped otherwise, the entries behind those that are held are forgotten."""
    real = entry.check_continues

    def check(*, expected: int, run: Any, entries: int) -> int:
        return entries if real(expected=expected, run=run, entries=entries) else 0

    patch.setattr(accept, "check_continues", check)


def what_was_parked_is_never_taken(patch: pytest.MonkeyPatch) -> None:
    """A run that came before its cause is parked again whenever it comes again."""
    real = accept._accept_run
    parked: dict[Any, Any] = {}

    def accept_run(state: Any, run: Any, **kwargs: Any) -> Any:
        name = (id(state), run.author, run.first_sequence, run.body)
        status = parked[name] if name in parked else real(state, run, **kwargs)
        if status is not None:
            parked[name] = status
        return status

    patch.setattr(accept, "_accept_run", accept_run)


def what_comes_again_is_logged_again(patch: pytest.MonkeyPatch) -> None:
    """A run that is held already goes into the log once more, and from there to everybody."""
    real = accept._check_run

    def check(state: Any, run: Any) -> Any:
        checked = real(state, run)
        if checked.known == len(checked.entries):
            row = LogRow(
                partition=run.partition,
                author=run.author,
                first=run.first_sequence,
                last=run.first_sequence + checked.known - 1,
                head=checked.hashes[-1],
                clock=state.clock.last,
                own=False,
                body=run.body,
                signature=run.signature,
            )
            state.ledger.append(row)
        return checked

    patch.setattr(accept, "_check_run", check)


def what_others_wrote_is_not_passed_on(patch: pytest.MonkeyPatch) -> None:
    """A page of runs holds one's own alone."""
    real = ledger.Ledger.runs_after

    def runs_after(self: ledger.Ledger, *args: Any, **kwargs: Any) -> RunPage:
        page = real(self, *args, **kwargs)
        own = {row.author for _, data in self._store.scan(Table.LOG) if (row := unpack_log_row(data)).own}
        return page._replace(runs=tuple(run for run in page.runs if run[2] in own))

    patch.setattr(ledger.Ledger, "runs_after", runs_after)


def a_cut_leaves_out_deletions(patch: pytest.MonkeyPatch) -> None:
    """What a peer lacks of a document is cut by state vectors alone, and a deletion moves none."""
    real = Loaded.delta

    def delta(self: Loaded, state_vector: bytes) -> bytes:
        parsed = parse_update(real(self, state_vector), bounds=DOCUMENT_BOUNDS)
        return encode_update(parsed._replace(deletes=()))

    patch.setattr(Loaded, "delta", delta)


@dataclass(frozen=True, slots=True)
class Case:
    """A bug, a law that forbids it and must find it by itself, and what the law must say then (a pattern)."""

    plant: Plant
    law: type[Law]
    says: str
    first: type[Task] = Task
    seed: int | None = None
    """With which random histories meet it soon; any other finds it too, after up to a minute."""


REGISTERS_DIFFER = "a conflict has other candidates|other registers are in conflict"

CASES = (
    Case(the_engine_picks_the_winner, ConcurrentEdits, "other candidates of", seed=1),
    Case(the_last_arrival_wins, ConcurrentEdits, "other candidates of|shows another value|the table differs", seed=1),
    Case(a_write_forgets_its_rivals, ConcurrentEdits, "other candidates of", seed=1),
    Case(a_second_tombstone_is_lost, NothingLost, "live is False", seed=1),
    Case(deleting_wins, NothingLost, "live is True", seed=2),
    Case(editing_wins, NothingLost, "live is False", Draft, seed=2),
    Case(only_the_latest_deletion_is_named, Resolution, "other deletions", Idea, seed=2),
    Case(nobody_is_asked_about_deletions, Resolution, "nobody is asked about a deletion", Idea, seed=2),
    Case(a_tombstone_covers_what_it_did_not_see, NothingLost, "live is True", seed=3),
    Case(adding_again_is_nothing, NothingLost, "a set holds other elements", seed=3),
    Case(a_set_is_a_map_of_elements, NothingLost, "a set holds other elements", seed=1),
    Case(moving_is_removing_and_inserting, NothingLost, "an element shows twice", seed=8),
    Case(removing_an_entry_leaves_hidden_values, NothingLost, "a map has other keys", seed=2),
    Case(counters_are_registers, NothingLost, "a counter shows another sum", seed=1),
    Case(positions_count_from_one, NothingLost, "characters changed places", seed=7),
    Case(acknowledged_before_it_is_durable, NothingLost, "entries did not survive|nobody holds it", seed=2),
    Case(resolving_replaces_nothing, Resolution, REGISTERS_DIFFER, seed=1),
    Case(resolving_replaces_everything, Resolution, REGISTERS_DIFFER, seed=1),
    Case(the_base_is_the_last_value_carried_along, Resolution, "another base", seed=1),
    Case(the_base_is_the_last_value_carried_along, ConcurrentEdits, "shows another value", seed=5),
    Case(only_two_sides_are_merged, ConcurrentEdits, "shows another value", seed=6),
    Case(conflicts_are_named_by_whoever_finds_them, Convergence, "show different things", seed=1),
    Case(conflicts_are_named_by_whoever_finds_them, Merging, "merging is not", seed=1),
    Case(conflicts_are_named_by_whoever_finds_them, MergingContent, "merging documents is not", seed=1),
    Case(conflicts_are_named_by_whoever_finds_them, AnyOrder, "another order gives other things", seed=1),
    Case(
        conflicts_are_named_by_whoever_finds_them,
        Views,
        "deriving anew changes|not a function of the documents",
        seed=1,
    ),
    Case(clocks_hear_nothing, ClocksFollowCauses, "dated before its cause", seed=1),
    Case(clocks_forget, ClocksFollowCauses, "dated before its cause", seed=1),
    Case(
        content_is_read_once,
        NothingLost,
        "another sum|other elements|characters were lost|other keys|another value",
        seed=1,
    ),
    Case(the_last_run_stays_behind, Convergence, "left something behind", seed=1),
    Case(a_repeated_entry_counts_again, AnyOrder, "does not get any further", seed=1),
    Case(a_run_that_is_held_in_part_is_taken_for_held, AnyOrder, "does not get any further", seed=1),
    Case(what_was_parked_is_never_taken, AnyOrder, "does not get any further", seed=1),
    Case(what_comes_again_is_logged_again, Merging, "merging is not", seed=1),
    Case(what_others_wrote_is_not_passed_on, Merging, "merging is not", seed=1),
    Case(a_cut_leaves_out_deletions, MergingContent, "merging documents is not|documents and entries give", seed=2),
    Case(deriving_misses_the_newest, Views, "deriving anew changes", seed=1),
)


NAMED = [pytest.param(case, id=f"{case.plant.__name__}-{case.law.__name__}") for case in CASES]


@pytest.mark.parametrize("case", NAMED)
def test_a_law_finds_the_bug_that_it_forbids(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.plant(monkeypatch)
    with pytest.raises(LawBrokenError, match=rf"^{case.law.__name__}: [^\n]*({case.says})"):
        hold(case.law(), first=case.first, settings=EXAMPLES, only_law=True, seed=case.seed)


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (the_latest_of_twins_survives, "another record survives"),
        (who_reads_chooses_the_survivor, "one app shows two things|other records of Item"),
        (the_survivors_text_alone_is_kept, "what was typed is gone"),
    ],
)
def test_a_wrong_survivor_is_found(plant: Plant, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=says):
        run_state_machine_as_test(EverythingAtOnce, settings=EXAMPLES)


def test_a_greatest_value_that_is_the_latest_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By one history: two that give values at once, the greater one first, are too rare to wait for."""
    the_last_writer_sets_the_greatest(monkeypatch)
    world = World(tmp_path, (False, False))
    one, two = world.devices
    record = world.create(one, Task)
    assert record is not None
    world.converge()
    filling.give(world, one, record, name="best", value=3)
    two.now_ms += 1_000
    filling.give(world, two, record, name="best", value=1)
    world.converge()
    with pytest.raises(AssertionError, match="a semilattice shows another value: best"):
        NothingLost().after_change(world, one, record)
    world.abandon()


def test_a_merge_function_that_is_asked_in_one_order_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By one history: a value by which the answer depends on the order, in a clash of its own, is too rare."""
    world = World(tmp_path, (False, False))
    one, two = world.devices
    record = world.create(one, Task)
    assert record is not None
    world.converge()
    world.write(one, record, stage=1)
    world.write(two, record, stage=MUDDLED)
    world.converge()
    Resolution().after_change(world, one, record)
    a_merge_function_is_asked_in_one_order(monkeypatch)
    world.write(one, record, stage=2)
    world.write(two, record, stage=MUDDLED)
    world.converge()
    with pytest.raises(AssertionError, match="other registers are in conflict"):
        Resolution().after_change(world, one, record)
    world.abandon()


def test_an_answer_that_is_kept_whatever_the_base_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By one history: two values that clash again after another base are too rare to wait for."""
    answers_are_kept_whatever_the_base(monkeypatch)
    world = World(tmp_path, (False, False))
    one, two = world.devices
    record = world.create(one, Task)
    assert record is not None
    for base in (MUDDLED, UNANSWERED):
        world.write(one, record, stage=base)
        world.converge()
        world.write(one, record, stage=1)
        world.write(two, record, stage=2)
        world.converge()
        if base == MUDDLED:
            ConcurrentEdits().after_change(world, one, record)
    with pytest.raises(AssertionError, match="stage shows another value"):
        ConcurrentEdits().after_change(world, one, record)
    world.abandon()


def test_equal_state_vectors_taken_for_equal_content_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    equal_state_vectors_are_equal_content(monkeypatch)

    @EXAMPLES
    @given(edits=EDITS)
    def law(edits: list[Edit]) -> None:
        compare_versions(edits)

    with pytest.raises(AssertionError, match="equal versions, other content"):
        law()


def test_a_sequential_write_that_leaves_the_old_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    a_sequential_write_leaves_the_old_value(monkeypatch)

    @EXAMPLES
    @given(turns=TURNS)
    def law(turns: list[tuple[int, int, tuple[str, Any]]]) -> None:
        play(turns, count=2, natural=False)

    with pytest.raises(
        AssertionError, match=r"a conflict without concurrency|a second candidate|not the last written value"
    ):
        law()
