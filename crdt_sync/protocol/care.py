"""What a side knows of entries at which sessions with a peer ended, without a word of the peer about them.

An end of the session does not say which of the entries in flight it was about, nor whether it was about any: lines
break. So the sender finds out, over as many sessions as that takes: it sends one run at a time there, and then, in each
session, what is suspected behind everything else, where it harms nothing but itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from crdt_sync.core.ids import Author


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """The first run that was sent and not answered.

    Args:
        partition, author: whose.
        first, last: the sequences of its entries.
        until: the sender's log position behind the batch that the run was in.
        alone: whether nothing else was in flight, and it cannot be sent in smaller parts.
    """

    partition: str
    author: Author
    first: int
    last: int
    until: int
    alone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An entry that is sent behind everything else, and then what its author wrote after it.

    Args:
        partition, author: whose.
        first: its sequence.
        due_ms: not before this time, milliseconds since 1970.
    """

    partition: str
    author: Author
    first: int
    due_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How to send to a peer.

    Args:
        until: one run at a time up to this log position.
        suspects: what goes last.
    """

    until: int = 0
    suspects: tuple[Suspect, ...] = ()
