"""Bugs that both the laws and the simulator must find when they are planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crdt_sync.core import content
from crdt_sync.core.kinds import AskRegister
from crdt_sync.replica import duplicates

Plant = Callable[[pytest.MonkeyPatch], None]


def a_second_tombstone_is_lost(patch: pytest.MonkeyPatch) -> None:
    """Of two deletions made at once only one counts."""
    real = content.Content.is_live

    def is_live(self: content.Content, policy: content.EditAfterDelete) -> bool:
        held = self.tombstones
        self.tombstones = dict(sorted(held.items())[:1])
        live = real(self, policy)
        self.tombstones = held
        return live

    patch.setattr(content.Content, "is_live", is_live)


def who_reads_chooses_the_survivor(patch: pytest.MonkeyPatch) -> None:
    """Of records created twice each device takes the one that comes first in an order of its own."""

    def age(state: Any, declared: Any, key: Any) -> tuple[int, bytes]:
        return 0, bytes(octet ^ (state.identity.author & 0xFF) for octet in key)

    patch.setattr(duplicates, "age", age)


def resolving_replaces_nothing(patch: pytest.MonkeyPatch) -> None:
    """A resolution is one more candidate."""
    real = AskRegister.supersede
    patch.setattr(
        AskRegister,
        "supersede",
        lambda self, held, data, *, dots, context: real(self, held, data, dots=set(), context=context),
    )
