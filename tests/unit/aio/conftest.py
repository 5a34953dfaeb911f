"""No test of the asyncio shell leaves a task behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from crdt_sync import Replica
from tests.unit.aio.network import memory


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_running() -> AsyncIterator[None]:
    yield
    for _ in range(5):
        await asyncio.sleep(0)  # transports that were closed say so in the next rounds of the loop
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left


@pytest.fixture
def hub() -> Iterator[Replica]:
    with memory() as replica:
        yield replica


@pytest.fixture
def one() -> Iterator[Replica]:
    with memory() as replica:
        yield replica


@pytest.fixture
def two() -> Iterator[Replica]:
    with memory() as replica:
        yield replica
