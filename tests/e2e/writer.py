"""A device that is to be killed: it writes, syncs, and notes what it is told."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from crdt_sync import BackoffPolicy, Replica, RetryPolicy, SyncManager
from crdt_sync.core.ids import split_document_key
from crdt_sync.transport.base import ChannelLimits
from tests.e2e.programs import say
from tests.e2e.told import Diary, Item, Write, read_diary

QUICK = BackoffPolicy(floor_s=0.02, base_s=0.05, cap_s=0.3, retry_after_s_max=0.5)
IMPATIENT = ChannelLimits(open_timeout_s=5, idle_timeout_s=5, close_timeout_s=1)
SHORT = RetryPolicy(pause_s=0.2, pause_s_max=1.0)
"""Pauses that end within the lives of those that make them."""
KINDS = ("create", "tag", "note", "vote", "pair", "state", "state", "state", "passing", "delete")
"""The field that asks is written most, so that its writes clash."""
LOOK_S = 0.02
"""Between two looks at what became of the writes."""
NEAR = 10
"""Devices write to one of so many latest records, so that they meet in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What one life is for.

    Args:
        store: path of the store.
        state: directory of its keys and fences.
        diary: path of its diary.
        url: whom to sync with.
        life: names it; tokens begin with it.
        seed: of what is written.
        writes: how many calls; then it only syncs.
        pause_s: the longest pause between two calls.
    """

    store: str
    state: str
    diary: str
    url: str
    life: str
    seed: str
    writes: int
    pause_s: float


class Writer:
    """Writes at random, and asks what became of it."""

    def __init__(self, replica: Replica, orders: Orders) -> None:
        self._replica = replica
        self._life = orders.life
        self._dice = random.Random(orders.seed)
        self._looks = random.Random(orders.seed)
        told = {token: write for token, write in read_diary(Path(orders.diary)).items() if write.saved}
        self._open = {token: write for token, write in told.items() if not write.completed}
        self._completed = {token: write for token, write in told.items() if write.completed}
        self._diary = Diary(Path(orders.diary))
        self._number = 0

    def write(self) -> None:
        """One call, noted before and after."""
        self._number += 1
        token, what = f"{self._life}.{self._number}", self._dice.choice(KINDS)
        near = self._replica.find(Item, passing=False, order_by="-id", limit=NEAR)
        mine = [item for item in self._replica.find(Item, passing=True) if item.title.split(".")[0] == self._life]
        if what == "delete" and mine:
            item = mine[0]
        elif near and what not in {"create", "passing", "delete"}:
            item = self._dice.choice(near)
        else:
            what, item = ("passing" if what == "passing" else "create"), None
        kind = "create" if what == "passing" else what
        over = self._standing(item) if item is not None and what == "state" else []
        self._diary.note(said="try", token=token, what=kind, record="" if item is None else item.id, over=over)
        made, operations = self._do(what, token, item)
        record = made if item is None else item.id
        ids = [operation.id for operation in islice(self._replica.operations(latest_first=True), operations)]
        self._diary.note(said="saved", token=token, record=record, made=made, operations=ids)
        self._open[token] = Write(token=token, what=kind, record=record, operations=tuple(ids), saved=True)

    def _standing(self, item: Item) -> list[str]:
        """What stands in the field that asks, of which writing there replaces all."""
        return [each.value for each in self._replica.candidates(item, "state") if each.value]

    def _do(self, what: str, token: str, item: Item | None) -> tuple[str, int]:
        """The id of a record that was made, and how many operations it was."""
        replica = self._replica
        if item is None:
            return replica.create(Item, title=token, passing=what == "passing").id, 1
        match what:
            case "tag":
                item.tags.add(token)
            case "note":
                item.notes.append(f"{token} ")
            case "vote":
                item.votes.increment()
            case "state":
                item.state = token
            case "delete":
                replica.delete(item)
            case _:
                with replica.transaction():
                    item.tags.add(token)
                    return replica.create(Item, title=f"{token}+").id, 2
        return "", 1

    def look(self) -> None:
        """Note what was completed meanwhile, and who is said to hold it; also of what was completed long ago."""
        for token, write in list(self._open.items()):
            if all(self._replica.operation(each).status == "completed" for each in write.operations):
                self._diary.note(said="completed", token=token)
                self._completed[token] = self._open.pop(token)
                self._ask(write)
        if self._completed:
            self._ask(self._looks.choice(list(self._completed.values())))

    def _ask(self, write: Write) -> None:
        """Note who is newly said to hold a write, and where its entries stand at this moment."""
        operations = [self._replica.operation(each) for each in write.operations]
        holders = set.intersection(*(set(self._replica.durability(each)) for each in operations)) - write.held_by.keys()
        if holders:
            rows = [self._replica._journal.row(each)[1] for each in write.operations]  # users need no places
            places = sorted({(split_document_key(row.document)[0], row.author, row.sequence) for row in rows})
            self._diary.note(said="held", token=write.token, by=sorted(holders), places=places)
            write.held_by |= dict.fromkeys(holders, frozenset(places))


async def live(orders: Orders) -> None:
    """Write, sync and note until killed."""
    say(pid=os.getpid())
    with Replica.open(orders.store, [Item], state_dir=orders.state, retry_policy=SHORT) as replica:
        writer, dice = Writer(replica, orders), random.Random(orders.seed)
        say(device=replica.device_id)
        left = orders.writes
        while True:
            async with SyncManager(replica, [orders.url], policy=QUICK, limits=IMPATIENT) as manager:
                while manager.peers[0].failure is None:
                    if left > 0:
                        writer.write()
                        left -= 1
                    writer.look()
                    await asyncio.sleep(orders.pause_s * dice.random() if left > 0 else LOOK_S)
            say(failure=str(manager.peers[0].failure))
