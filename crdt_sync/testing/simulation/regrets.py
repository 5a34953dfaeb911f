"""Users who take back what they did, and the note of it in the story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from crdt_sync.replica import Replica
from crdt_sync.testing.simulation.host import Host
from crdt_sync.testing.simulation.invariant import must
from crdt_sync.testing.simulation.story import Account, Deed, Holds, Note, Story, Trait


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a user sees of a note, as far as the story can tell of it.

    Args:
        tags, characters: what is there.
        votes: their sum.
        title, due: the values.
    """

    tags: frozenset[str]
    characters: Counter[str]
    votes: int
    title: str
    due: int | None


def shown(replica: Replica, story: Story) -> dict[str, Shown]:
    """Record id → what is seen of it, of all notes that are not deleted."""
    return {
        str(note.id): Shown(
            tags=frozenset(note.tags),
            characters=Counter(str(note.body)),
            votes=int(note.votes),
            title=note.title,
            due=note.due,
        )
        for note in replica.find(Note)
        if str(note.id) in story.accounts
    }


def note_changes(
    accounts: Mapping[str, Account],
    before: Mapping[str, Shown],
    after: Mapping[str, Shown],
    *,
    deed: Deed,
    holds: Holds,
    touched: frozenset[str],
    own: frozenset[int],
) -> None:
    """Note what an undo or redo changed, which says of itself only which records it touched.

    Args:
        accounts: of all notes.
        before: what was seen.
        after: what is seen.
        deed: the edit.
        holds: what its store had before.
        touched: records to which it wrote.
        own: the authors of its device.

    Raises:
        BrokenInvariantError: it took away what others wrote.
    """
    for name in sorted(touched & accounts.keys()):
        account, old, new = accounts[name], before.get(name), after.get(name)
        if new is None:
            if old is not None:
                account.delete(deed, holds)
            continue
        account.deeds.append(deed)
        for register, was, now in (
            (account.title, None if old is None else old.title, new.title),
            (account.due, None if old is None else old.due, new.due),
        ):
            if old is None or was != now:
                register.write(now, deed=deed, holds=holds, sure=old is not None and not account.vague)
        if old is None:
            continue  # it is there again, with what nobody took away
        if new.votes != old.votes:
            account.votes.append((deed, new.votes - old.votes))
        _note_traits(account.tags, Counter(old.tags), Counter(new.tags), deed=deed, holds=holds, own=own)
        _note_traits(account.characters, old.characters, new.characters, deed=deed, holds=holds, own=own)


def note_badges(story: Story, *, own: frozenset[int]) -> None:
    """Note that a device took back something of a badge: any tag that it gave one may be gone, or there again."""
    for trait in (trait for traits in story.badges.values() for trait in traits.values()):
        trait.open |= any(not add.places or any(place.author in own for place in add.places) for add in trait.adds)


def note_unknown(story: Story, *, deed: Deed, own: frozenset[int]) -> None:
    """Note an undo or redo whose process died under it: any record that its device ever wrote to may be changed by it.

    Args:
        story: of the history.
        deed: the edit, which is lost as far as anybody knows.
        own: the authors of its device.
    """
    note_badges(story, own=own)
    for account in story.accounts.values():
        if any(place.author in own for item in account.deeds for place in item.places):
            account.deeds.append(deed)
            account.votes.append((deed, 0))
            account.title.open = account.due.open = True
            for trait in (*account.tags.values(), *account.characters.values()):
                trait.open = True


def take_back_failed(host: Host, replica: Replica, story: Story, number: int) -> bool:
    """Revert one of the operations that failed; whether there was any.

    Raises:
        InputError: somebody has it after all, or it was taken back before.
    """
    failed = list(replica.operations(status="failed"))
    if not failed:
        return False
    before = story.held(host.holds(exact=story.forked))
    try:
        replica.revert(failed[number % len(failed)])
    finally:
        for deed in before - story.held(host.holds(exact=story.forked)):
            deed.reverted, deed.lost = True, host.died
    return True


def _note_traits(
    traits: Mapping[str, Trait],
    old: Counter[str],
    new: Counter[str],
    *,
    deed: Deed,
    holds: Holds,
    own: frozenset[int],
) -> None:
    for name in sorted(old.keys() | new.keys()):
        trait = traits[name]
        trait.open |= max(old[name], new[name]) > 1  # two devices put it back: which one is it?
        if new[name] > old[name]:
            trait.adds.append(deed)
        elif new[name] < old[name]:
            wrote = any(place.author in own for add in trait.adds for place in add.places)
            unknown = any(not add.places for add in trait.adds)
            must("undo takes back its own", f"it took {name!r} away, which others wrote", holds=wrote or unknown)
            trait.remove(deed, holds)
