"""What a check found, and how much it looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.errors import CRDTSyncError

FINDINGS_MAX: Final = 1_000
"""Damage that is listed; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Args:
        what: what kind of thing: ``row``, ``structure``, ``signature``, ``chain``, ``log``, ``index``, ``journal``,
            ``document``, ``table``, ``conflict``, ``duplicates``, ``meta`` or ``unreadable``.
        where: in words.
        reason: why it is wrong.
        model: of the record that is affected; empty where it is none, or not known.
        record_id: the record that is affected.
        author: whose entry is affected; 0 where it is nobody's.
        sequence: of that entry.
    """

    what: str
    where: str
    reason: str
    model: str = ""
    record_id: str = ""
    author: int = 0
    sequence: int = 0


@dataclass(slots=True, kw_only=True)
class CheckReport:
    """What a check found, and how much it looked at."""

    listed: list[Finding] = field(default_factory=list)
    """At most `FINDINGS_MAX`."""
    total: int = 0
    checked: dict[str, int] = field(default_factory=dict)
    """What was looked at, and how many of it."""
    not_current: dict[str, int] = field(default_factory=dict)
    """What is not brought up to date yet, which is no damage, and how many of it there are."""

    @property
    def ok(self) -> bool:
        """Whether the store is sound."""
        return not self.total

    def add(self, what: str, *, where: str, reason: str, author: int = 0, sequence: int = 0) -> None:
        """Note damage."""
        self.note(Finding(what=what, where=where, reason=reason, author=author, sequence=sequence))

    def add_document(self, what: str, key: DocumentKey, reason: str, *, author: Author | None = None) -> None:
        """Note damage to a record."""
        _, model, record = split_document_key(key)
        where = f"{model} {record}"
        self.note(
            Finding(what=what, where=where, reason=reason, model=model, record_id=record, author=author or Author(0))
        )

    def note(self, finding: Finding) -> None:
        """Note damage that is put into words already."""
        self.total += 1
        if len(self.listed) < FINDINGS_MAX:
            self.listed.append(finding)

    def count(self, what: str, number: int = 1) -> None:
        """Note that something was looked at."""
        self.checked[what] = self.checked.get(what, 0) + number

    def count_behind(self, what: str, number: int = 1) -> None:
        """Note that something is not brought up to date yet."""
        self.not_current[what] = self.not_current.get(what, 0) + number

    def part(self, name: str, work: Callable[[], None]) -> None:
        """Do a part of the check; one that cannot be read ends only that part."""
        try:
            work()
        except CRDTSyncError as error:
            self.add("unreadable", where=name, reason=error.message)

    def without(self, other: CheckReport) -> CheckReport:
        """This report without the damage that another look did not find."""
        again = set(other.listed)
        kept = [finding for finding in self.listed if finding in again]
        total = len(kept) if self.total == len(self.listed) else min(self.total, other.total)
        return CheckReport(listed=kept, total=total, checked=self.checked, not_current=self.not_current)


def named(document: DocumentKey) -> str:
    """A record in words."""
    _, model, record = split_document_key(document)
    return f"{model} {record}"
