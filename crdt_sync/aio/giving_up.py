"""When a peer is not dialled again: what it shows plainly, or in the same way several times in a row.

Pure. A line that flips bits can make any peer look foreign or faulty once, but hardly the same way three times running.
"""

from __future__ import annotations

from typing import Final

from crdt_sync.replica.ending import End

SAME_ENDS: Final = 3
"""So many equal ends in a row are no accident."""


class GivingUp:
    """The ends of one peer's sessions, as far as they say that dialling makes no sense."""

    def __init__(self) -> None:
        self._seen: tuple[str, str, bytes] | None = None
        self._count = 0

    def ended(self, end: End) -> bool:
        """Note how a session ended; whether to give the peer up."""
        if not end.permanent:
            self._seen, self._count = None, 0
            return False
        seen = (end.code, end.text, end.shown)
        self._count = self._count + 1 if seen == self._seen else 1
        self._seen = seen
        return end.sure or self._count >= SAME_ENDS

    def __repr__(self) -> str:
        return f"<giving up: {self._count} of {SAME_ENDS}>"
