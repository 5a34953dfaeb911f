"""Bugs that such systems have had, planted one at a time: the simulator must find each by itself.

Without these its invariants could be true of anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from blake3 import blake3

from crdt_sync.core import duplicates
from crdt_sync.core.kinds import AskRegister, plain
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.records import SALT_BYTES
from crdt_sync.protocol.care import Care
from crdt_sync.replica import accept
from crdt_sync.replica.checking import CheckReport
from crdt_sync.replica.compaction import Folding
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.documents import DocumentCache
from crdt_sync.replica.history_calls import HistoryCalls
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.lease import Lease
from crdt_sync.replica.port import Port
from crdt_sync.replica.set_aside import Doubts
from crdt_sync.testing.simulation import Simulation, SimulationFailedError
from crdt_sync.testing.simulation.story import Note
from tests.planted import Plant, a_second_tombstone_is_lost, resolving_replaces_nothing, who_reads_chooses_the_survivor

SEEDS_MAX = 200
"""Histories that a bug may hide in; most show within a dozen."""


def acknowledged_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    """What is received is acknowledged, and one's own is sent, while a loss of power can still take it."""
    patch.setattr(Port, "_make_durable", lambda self: None)


def equal_state_vectors_are_equal_content(patch: pytest.MonkeyPatch) -> None:
    """Two replicas with the same entries are taken for equal, whatever their documents hold."""
    patch.setattr(Port, "fingerprint", lambda self, partition: blake3(repr(sorted(self.vector())).encode()).digest(16))


def an_author_is_used_again(patch: pytest.MonkeyPatch) -> None:
    """Whenever a device should draw a new author, it draws the one that it had."""
    real = Lease.__init__

    def init(self: Lease, store: Any, *, state_dir: Any, entropy: Any) -> None:
        real(
            self, store, state_dir=state_dir, entropy=lambda size: bytes(size) if size == SALT_BYTES else entropy(size)
        )

    patch.setattr(Lease, "__init__", init)


def the_last_run_of_a_batch_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """What still waits in a batch when the rest is applied is forgotten, and acknowledged with it."""
    real = accept.accept_runs

    def accept_runs(state: Any, runs: Any) -> Any:
        return real(state, runs[:-1] if len(runs) > 1 else runs)

    patch.setattr("crdt_sync.replica.port.accept_runs", accept_runs)


def what_was_sent_is_taken_for_held(patch: pytest.MonkeyPatch) -> None:
    """The vector of what a peer holds moves on when entries are sent, not when they are acknowledged."""
    real = Conversation.data_to_send

    def data_to_send(self: Conversation) -> list[bytes]:
        frames = real(self)
        if self.session is not None and frames and self.session.entries_out:
            self._port.acknowledged(self.session.peer.device_id, self._port.vector(), ())
        return frames

    patch.setattr(Conversation, "data_to_send", data_to_send)


def bases_are_made_of_live_documents(patch: pytest.MonkeyPatch) -> None:
    """Compaction writes the document as it is now in place of the one that the folded entries made."""
    real = Folding._fold

    def fold(self: Folding, *args: Any, **kwargs: Any) -> bool:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(DocumentCache, "base", DocumentCache.get)
            return real(self, *args, **kwargs)

    patch.setattr(Folding, "_fold", fold)


def a_check_passes_over_rotten_rows(patch: pytest.MonkeyPatch) -> None:
    """`check` compares what can be read, and says nothing of the rest."""
    patch.setattr("crdt_sync.replica.checking.calls.check_store", lambda store, progress=None: CheckReport())


def a_machine_that_was_rewound_goes_on(patch: pytest.MonkeyPatch) -> None:
    """What peers say of one's own author is not believed."""
    patch.setattr(Port, "own_ahead", lambda self, partition, author: None)
    patch.setattr(Port, "own_fork", lambda self, partition, author, *, device: False)


def what_a_peer_dies_of_goes_first(patch: pytest.MonkeyPatch) -> None:
    """Where sessions ended is noted, and changes nothing about what is sent next."""
    patch.setattr(Doubts, "care", lambda self, policy, now_ms: Care())


def whoever_signed_holds_everything(patch: pytest.MonkeyPatch) -> None:
    """A device that ever signed for anything counts as holding all that is here."""
    patch.setattr(
        HoldingsBook, "reach", lambda self, vector, partition, author, *, own: own[partition][author].sequence
    )


def undo_takes_back_what_others_wrote(patch: pytest.MonkeyPatch) -> None:
    """An undo also removes a tag of somebody else."""
    real = HistoryCalls.undo

    def undo(self: Any) -> Any:
        report = real(self)
        for item in () if report is None else report.done:
            for note in self.find(Note, id=str(item.record_id)):
                note.tags.discard(min(note.tags, default=""))
        return report

    patch.setattr(HistoryCalls, "undo", undo)


def a_second_write_of_a_plain_field_writes_nothing(patch: pytest.MonkeyPatch) -> None:
    """A title that is changed after the creation stays as it was."""
    real = PlainRegister.put

    def put(self: PlainRegister, content: Any, data: bytes, *, context: Any) -> list[Any]:
        is_hit = self.stored == "title" and (content.plain.get(self.stored) or content.creations)
        return [] if is_hit else real(self, content, data, context=context)

    patch.setattr(PlainRegister, "put", put)


def the_earliest_of_plain_values_shows(patch: pytest.MonkeyPatch) -> None:
    """Of values of a plain field that were written at once the one with the earliest timestamp is shown."""
    patch.setattr(plain, "offered", lambda values: sorted(values, key=plain.latest_first, reverse=True))


def a_field_that_asks_asks_nobody(patch: pytest.MonkeyPatch) -> None:
    """Of values that were written at once the latest is shown, and the others are hidden from everybody."""
    patch.setattr(AskRegister, "clashes", lambda self, content: [])


def a_merged_duplicate_loses_its_tags(patch: pytest.MonkeyPatch) -> None:
    """Of records that were created twice only the survivor's tags are there, the same for everybody."""
    real = duplicates._add

    def add(merged: Any, content: Any, record: Any) -> None:
        before = {name: dict(elements) for name, elements in merged.sets.items()}
        real(merged, content, record)
        if record is not None:
            merged.sets = before

    patch.setattr(duplicates, "_add", add)


@dataclass(frozen=True, slots=True)
class Case:
    """A bug, the kinds of faults under which it shows, and the invariant that it must break (a pattern)."""

    plant: Plant
    faults: tuple[str, ...]
    says: str


CASES = (
    Case(
        acknowledged_before_it_is_durable,
        ("power",),
        "durable before sent|acknowledged means durable|truthful statuses",
    ),
    Case(equal_state_vectors_are_equal_content, ("rot",), "convergence: .* different (versions|fingerprints)"),
    Case(an_author_is_used_again, ("backup",), "convergence|nothing lost|truthful statuses|durable"),
    Case(a_second_tombstone_is_lost, (), "nothing lost: .* it is there, and all of it was deleted"),
    Case(the_last_run_of_a_batch_is_dropped, ("cut",), "convergence: .* holds"),
    Case(what_was_sent_is_taken_for_held, ("cut",), "acknowledged means durable|truthful statuses"),
    Case(whoever_signed_holds_everything, ("cut",), "truthful copies"),
    Case(bases_are_made_of_live_documents, ("wipe",), "convergence"),
    Case(who_reads_chooses_the_survivor, (), "convergence: .* different views"),
    Case(resolving_replaces_nothing, (), "settled stays settled"),
    Case(a_second_write_of_a_plain_field_writes_nothing, (), "nothing lost: .* title(: | was written)"),
    Case(the_earliest_of_plain_values_shows, (), "nothing lost: .* title: "),
    Case(a_field_that_asks_asks_nobody, (), "nothing lost: .* due: .* nobody is asked"),
    Case(a_merged_duplicate_loses_its_tags, (), "nothing lost: .* badge "),
    Case(a_check_passes_over_rotten_rows, ("bits",), "damage is found"),
    Case(a_machine_that_was_rewound_goes_on, ("rewind",), "convergence|nothing lost|forks|truthful statuses"),
    Case(what_a_peer_dies_of_goes_first, ("poison",), "poison stops nothing else|poison is told of"),
    Case(undo_takes_back_what_others_wrote, ("revert",), "undo takes back its own"),
)


def search(faults: tuple[str, ...]) -> None:
    for seed in range(SEEDS_MAX):
        Simulation(seed, faults=faults).run(shorten=False)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.plant.__name__) for case in CASES])
def test_a_planted_bug_is_found(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.plant(monkeypatch)
    with pytest.raises(SimulationFailedError, match=rf"^({case.says})"):
        search(case.faults)
