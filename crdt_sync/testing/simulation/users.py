"""What users do to their replicas in a simulation, and the note of it in the story."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crdt_sync.errors import ConflictError, InputError, RecordError, StoreError
from crdt_sync.replica import Replica
from crdt_sync.replica.rows import unpack_operation_row
from crdt_sync.storage.base import Table
from crdt_sync.testing.simulation.host import Host
from crdt_sync.testing.simulation.invariant import must
from crdt_sync.testing.simulation.regrets import note_badges, note_changes, note_unknown, shown, take_back_failed
from crdt_sync.testing.simulation.story import Account, Badge, Deed, Holds, Note, Story, Trait, Write

NOTES_MAX = 4
CODES = ("red", "blue")


class Users:
    """Does edits.

    Args:
        story: where they are noted.
        told: called with a line on each edit.
    """

    def __init__(self, story: Story, *, told: Callable[[Host, str], None]) -> None:
        self._story = story
        self._told = told
        self._open: list[Deed] | None = None

    def edit(self, host: Host, action: str, args: tuple[int, int]) -> None:
        """Do one edit, where the host is up and there is something to do it to.

        A disk that is full, or a process that dies under the edit, leaves it open whether it happened; whoever reads
        the story is told nothing else.
        """
        replica = host.replica
        if replica is None or not host.up:
            return
        try:
            with self._entry(host):
                self._do(host, replica, action, args)
        except (RecordError, ConflictError, StoreError) as error:
            if isinstance(error, StoreError) and not host.excused:
                raise
            self._told(host, f"{action} refused: {type(error).__name__}")

    def together(self, host: Host, actions: list[tuple[str, tuple[int, int]]]) -> None:
        """Do several edits as one transaction."""
        replica = host.replica
        if replica is None or not host.up:
            return
        try:
            with self._entry(host), replica.transaction():
                for action, args in actions:
                    self._do(host, replica, action, args)
        except (RecordError, ConflictError, StoreError) as error:
            if isinstance(error, StoreError) and not host.excused:
                raise
            self._told(host, f"a transaction refused: {type(error).__name__}")

    def take_back(self, host: Host, action: str, number: int) -> bool:
        """Undo, redo, or revert what failed; whether there was anything to take back."""
        replica = host.replica
        if replica is None or not host.up:
            return False
        try:
            if action == "revert":
                return take_back_failed(host, replica, self._story, number)
            with self._entry(host):
                return self._undo(host, replica, redo=action == "redo")
        except (RecordError, InputError, StoreError) as error:
            if isinstance(error, StoreError) and not host.excused:
                raise
            self._told(host, f"{action} refused: {type(error).__name__}")
            return False

    def _undo(self, host: Host, replica: Replica, *, redo: bool) -> bool:
        before, holds = shown(replica, self._story), self._holds(host)
        deed = self._deed()
        own = frozenset(host.authors())
        content = [name for name in before if host.has_content(name)]
        try:
            report = replica.redo() if redo else replica.undo()
        except StoreError:
            note_unknown(self._story, deed=deed, own=own)
            raise
        if report is None:
            return False
        touched = frozenset(str(item.record_id) for item in report.done)
        for name in touched.intersection(content):
            self._story.accounts[name].vague = True
        after = shown(replica, self._story)
        own = frozenset(host.authors())
        note_changes(self._story.accounts, before, after, deed=deed, holds=holds, touched=touched, own=own)
        if any(item.model == Badge.__name__ for item in report.done):
            note_badges(self._story, own=own)
        self._told(host, f"{'redo' if redo else 'undo'} {len(report.done)} {len(report.skipped)}")
        return True

    @contextmanager
    def _entry(self, host: Host) -> Iterator[None]:
        """What is done in the block is one entry; only when it has returned may anybody rely on it."""
        before = host.last_entry()
        self._open = []
        try:
            yield
        finally:
            deeds, self._open = self._open, None
        after = host.last_entry()
        if after.sequence > before.sequence:
            self._story.done(deeds, at=after, hlc=_latest_operation(host))

    def _holds(self, host: Host) -> Holds:
        return host.holds(exact=self._story.forked)

    def _deed(self) -> Deed:
        made = self._story.deed()
        if self._open is not None:
            self._open.append(made)
        return made

    def _do(self, host: Host, replica: Replica, action: str, args: tuple[int, int]) -> None:
        match action:
            case "create":
                self._create(host, replica)
            case "badge":
                self._badge(host, replica, args)
            case "resolve":
                self._resolve(host, replica, args)
            case _:
                self._change(host, replica, action, args)

    def _create(self, host: Host, replica: Replica) -> None:
        if len(self._story.accounts) >= NOTES_MAX:
            return
        tag, deed = self._story.new_tag(), self._deed()
        record = replica.create(Note, title=tag, tags={tag})
        account = self._story.accounts[str(record.id)] = Account()
        account.deeds.append(deed)
        account.tags[tag] = Trait([deed])
        account.title.writes.append(Write(value=tag, deed=deed))
        self._told(host, f"create {record.id} {tag}")

    def _badge(self, host: Host, replica: Replica, args: tuple[int, int]) -> None:
        tag, code = self._story.new_tag(), CODES[args[0] % len(CODES)]
        self._story.badges.setdefault(code, {})[tag] = Trait([self._deed()])
        found = list(replica.find(Badge, code=code))
        if found:
            found[0].tags.add(tag)
        else:
            replica.create(Badge, code=code, tags={tag})
        self._told(host, f"badge {code} {tag}")

    def _resolve(self, host: Host, replica: Replica, args: tuple[int, int]) -> None:
        conflicts = sorted(replica.conflicts(), key=lambda item: item.id)
        if not conflicts:
            return
        conflict = conflicts[args[0] % len(conflicts)]
        candidate = conflict.candidates[args[1] % len(conflict.candidates)]
        deed = self._deed()
        account = self._story.accounts.get(str(conflict.record_id))
        if account is not None:
            account.deeds.append(deed)
            if conflict.field == "due":
                sure = not host.has_content(str(conflict.record_id))
                account.due.write(candidate.value, deed=deed, holds=self._holds(host), sure=sure)
        replica.resolve(conflict, take=candidate)
        self._told(host, f"resolve {conflict.id}")

    def _change(self, host: Host, replica: Replica, action: str, args: tuple[int, int]) -> None:
        """Change one of the notes that this replica shows."""
        live = [str(note.id) for note in replica.find(Note) if str(note.id) in self._story.accounts]
        if not live:
            return
        name = live[args[0] % len(live)]
        note, account = replica.get(Note, name), self._story.accounts[name]
        deed = self._deed()
        if action in {"title", "due"}:
            self._put(host, note, account, action, deed=deed)
            account.deeds.append(deed)
        elif action == "delete":
            account.vague |= host.has_content(name)
            account.delete(deed, self._holds(host))
            replica.delete(note)
        elif self._write(note, account, action, args[1], deed=deed, holds=self._holds(host)):
            account.deeds.append(deed)
        else:
            return
        self._told(host, f"{action} {name}")

    def _put(self, host: Host, note: Note, account: Account, action: str, *, deed: Deed) -> None:
        """Give a field a new value."""
        tag, sure, holds = self._story.new_tag(), not host.has_content(str(note.id)), self._holds(host)
        if action == "title":
            account.title.write(tag, deed=deed, holds=holds, sure=sure)
            note.title = tag
        else:
            account.due.write(int(tag[1:]), deed=deed, holds=holds, sure=sure)
            note.due = int(tag[1:])
        is_shown = tag in {note.title, f"t{note.due}"}
        must("nothing lost", f"{host.name}, note {note.id}: {action} was written, and is not shown", holds=is_shown)

    def _write(self, note: Note, account: Account, action: str, number: int, *, deed: Deed, holds: Holds) -> bool:
        """Make one change to a note; whether there was anything to change."""
        match action:
            case "vote":
                step = number % 5 + 1
                account.votes.append((deed, step))
                note.votes.increment(step)
            case "tag":
                tag = self._story.new_tag()
                account.tags[tag] = Trait([deed])
                note.tags.add(tag)
            case "untag":
                shown = sorted(note.tags)
                if not shown:
                    return False
                tag = shown[number % len(shown)]
                account.tags[tag].remove(deed, holds)
                note.tags.discard(tag)
            case "type":
                new = self._story.new_characters(number % 3 + 1)
                account.characters.update({character: Trait([deed]) for character in new})
                note.body.insert(number % (len(note.body) + 1), new)
            case "erase":
                text = str(note.body)
                if not text:
                    return False
                at = number % len(text)
                for character in text[at : at + 2]:
                    account.characters[character].open |= text.count(character) > 1  # undone twice: which one is it?
                    account.characters[character].remove(deed, holds)
                note.body.delete(at, min(2, len(text) - at))
            case unknown:
                raise ValueError(unknown)
        return True


def _latest_operation(host: Host) -> int:
    """The timestamp of what was written last at a host."""
    table = host.disk.tables[Table.OPERATION]
    return unpack_operation_row(table.rows[table.keys[-1]]).hlc
