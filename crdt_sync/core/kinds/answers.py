"""What concurrent values came to, kept for the next reading: a conflict stays open for long, and is read often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from blake3 import blake3

from crdt_sync.core.merging import Merged

ANSWERS_BYTES_MAX: Final = 8 * 1024 * 1024
"""All that one field keeps."""
_ROW_BYTES: Final = 256
"""What an answer takes beside its bytes, about."""


class Answers:
    """Merges by what was merged. When they are full, all are let go: what is asked again is made again."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Merged] = {}
        self._bytes = 0

    def get(self, question: Sequence[bytes], make: Callable[[], Merged]) -> Merged:
        """The answer to a question, which is a pure function of it.

        Args:
            question: value bytes, in an order that matters.
            make: gives the answer where none is kept.
        """
        name = _name(question)
        held = self._kept.get(name)
        if held is not None:
            return held
        answer = make()
        size = _ROW_BYTES + len(answer.data) + sum(map(len, answer.paths))
        if self._bytes + size > ANSWERS_BYTES_MAX:
            self._kept, self._bytes = {}, 0
        if size <= ANSWERS_BYTES_MAX:
            self._kept[name] = answer
            self._bytes += size
        return answer


def _name(question: Sequence[bytes]) -> bytes:
    hasher = blake3()
    for part in question:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.digest()
