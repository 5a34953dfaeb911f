"""What the devices of the soak were told, each for itself, and whether a store agrees with all of it together.

Equal stores alone would not do: all of them may lack the same write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from crdt_sync import Replica
from tests.e2e.steady import Note, Reading, Tally


@dataclass(slots=True, kw_only=True)
class Account:
    """What one device wrote; it can be said as JSON.

    Args:
        votes: tally → how many it cast.
        values: reading → what it wrote there last.
        notes: those that it made and has not deleted.
    """

    votes: dict[str, int] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def vote(self, tally: str) -> None:
        self.votes[tally] = self.votes.get(tally, 0) + 1


def disagreements(replica: Replica, accounts: Sequence[Account]) -> list[str]:
    """How a store differs from what devices were told, once everybody has caught up."""
    cast: Counter[str] = Counter()
    for account in accounts:
        cast.update(account.votes)
    counted: dict[str, int] = {tally.id: int(tally.votes) for tally in replica.find(Tally)}
    problems = [
        f"the hub counts {counted.get(tally)} votes of {tally}, where {cast[tally]} were cast"
        for tally in sorted(counted.keys() | cast.keys())
        if counted.get(tally) != cast[tally]
    ]
    shown: dict[str, str] = {reading.id: reading.value for reading in replica.find(Reading)}
    for reading in sorted(shown.keys() | {reading for account in accounts for reading in account.values}):
        last = {account.values[reading] for account in accounts if reading in account.values} or {""}
        if shown.get(reading) not in last:
            problems.append(f"the hub shows {shown.get(reading)!r} in {reading}, which no device wrote there last")
    here, made = {note.id for note in replica.find(Note)}, {note for account in accounts for note in account.notes}
    problems += [f"the hub lacks note {note}" for note in sorted(made - here)]
    problems += [f"the hub has note {note}, which was deleted or never made" for note in sorted(here - made)]
    return problems
