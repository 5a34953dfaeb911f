"""What somebody else's entries may claim to have seen."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from crdt_sync import Replica
from crdt_sync.core import screening
from crdt_sync.core.content import write_context
from crdt_sync.core.ids import Author
from crdt_sync.replica import transaction
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, state_of


def delete_claiming(replica: Replica, name: str, *, author: Author, clocks: int, patch: pytest.MonkeyPatch) -> None:
    """Delete a record with a tombstone that says it saw so many clocks more of an author than there are."""

    def lie(vector: Mapping[Author, int]) -> bytes:
        return write_context({**vector, author: vector.get(author, 0) + clocks})

    with patch.context() as patched:
        patched.setattr(transaction, "write_context", lie)
        patched.setattr(screening, "_check_tombstones", lambda *_: None, raising=False)
        replica.delete(replica.get(Task, name))


def author_of(replica: Replica) -> Author:
    identity = state_of(replica).identity
    assert identity is not None
    return identity.author


@pytest.fixture
def replicas() -> tuple[Replica, Replica, Replica, str]:
    """A liar, a victim and a third one, all with one record."""
    liar, victim, third = memory(1), memory(2), memory(3)
    task = victim.create(Task, title="mine")
    for other in (liar, third):
        assert exchange(victim, other).proven_equal
    return liar, victim, third, task.id


def test_a_tombstone_hides_no_edit_that_is_not_made_yet(
    replicas: tuple[Replica, Replica, Replica, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    liar, victim, _, name = replicas
    delete_claiming(liar, name, author=author_of(victim), clocks=100, patch=monkeypatch)
    exchange(liar, victim)
    task = victim.get(Task, name)
    task.title = "still mine"
    exchange(liar, victim)
    assert victim.get(Task, name).title == "still mine"


def test_whoever_holds_more_judges_a_tombstone_as_everybody_does_in_the_end(
    replicas: tuple[Replica, Replica, Replica, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    liar, victim, third, name = replicas
    delete_claiming(liar, name, author=author_of(victim), clocks=2, patch=monkeypatch)
    assert not exchange(liar, third).proven_equal, "what it claims to have seen is not there"
    assert third.count(Task) == 1
    task = victim.get(Task, name)
    task.title = "one"
    task.title = "two"
    exchange(liar, victim)
    assert victim.count(Task) == 0, "here it came after what it claims to have seen"
    assert exchange(victim, third).proven_equal
    assert exchange(liar, third).proven_equal
    assert third.count(Task) == 0


def test_a_tombstone_that_claims_its_authors_own_future_is_refused(
    replicas: tuple[Replica, Replica, Replica, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    liar, victim, third, name = replicas
    delete_claiming(liar, name, author=author_of(liar), clocks=1, patch=monkeypatch)
    for other in (victim, third):
        exchange(liar, other)
        assert other.count(Task) == 1
        assert state_of(other).counts.refused == 1
