"""Replicas for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crdt_sync import Replica
from tests.unit.replica.devices import memory


@pytest.fixture
def replica() -> Iterator[Replica]:
    with memory() as opened:
        yield opened


@pytest.fixture
def pair() -> Iterator[tuple[Replica, Replica]]:
    """Two devices that know nothing of each other yet."""
    with memory(1) as left, memory(2) as right:
        yield left, right
