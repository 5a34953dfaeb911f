"""Plays histories on real replicas, and holds the laws against them while it does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import assert_never

from crdt_sync.core.checks import checked_instance
from crdt_sync.core.kinds.merge_with import MergeFunction
from crdt_sync.core.model import Model, spec_of
from crdt_sync.errors import ConflictError, InputError, ModelError, RecordError
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.replica import Replica
from crdt_sync.testing.delivery import deliver, introduce, runs_of
from crdt_sync.testing.device import Device
from crdt_sync.testing.editing import Edit
from crdt_sync.testing.exchange import exchange
from crdt_sync.testing.field_values import by_model
from crdt_sync.testing.laws import LawBrokenError, covers, late, order, same, tables
from crdt_sync.testing.showing import ABSENT, Place
from crdt_sync.testing.steps import (
    Carry,
    Change,
    Compact,
    Create,
    Delete,
    Meet,
    Race,
    Reopen,
    Resolve,
    Restore,
    Scenario,
    Step,
    TakeBack,
    Wait,
)
from crdt_sync.testing.watching import checked_names, refuse_idle, replaced, watch
from crdt_sync.transport.memory import Fate, Fates, Frame, always_deliver

SKEW_MAX_MS = 200_000
"""Clocks go no further apart than replicas follow."""
REFUSALS = (RecordError, ModelError, ConflictError, InputError)
"""What a user may be told; it changes nothing."""
MEMORY_FOLDER = "/dev/shm"  # noqa: S108  what is made in it has a name of its own
"""Where Linux keeps files in memory; a sync costs nothing there."""
AFTER = "afterwards it"
LIMITS = WireLimits(batch_bytes_max=600)
"""A batch holds a few entries, so that a cut falls between them."""


class Players:
    """The classes that the replicas of histories use: made once for many histories.

    Args:
        models: the app's.
        replicas: how many.
        merge_functions: ``"Model.field"`` → function, in place of what the field is declared with.
        may_drop: ``"Model.field"`` of merge functions that may lose elements.

    Raises:
        SchemaError, InputError: a field that is not there.
    """

    def __init__(
        self,
        models: Sequence[type[Model]],
        replicas: int,
        *,
        merge_functions: Mapping[str, MergeFunction] | None = None,
        may_drop: Collection[str] = (),
    ) -> None:
        functions = by_model(models, merge_functions or {})
        self.may_drop = by_model(models, dict.fromkeys(checked_names(may_drop)))
        self.models = tuple(
            tuple(replaced(model, functions.get(spec_of(model).name, {})) for model in models) for _ in range(replicas)
        )
        refuse_idle(self.models[0], may_drop=may_drop)


class World:
    """Replicas, and what is done on them: the first has its store in a file, the others in memory.

    Args:
        players: whose classes they use.
        folder: for the store, empty.
    """

    def __init__(self, players: Players, folder: Path) -> None:
        self.devices: list[Device] = []
        self._faults: list[tuple[str, str, str]] = []
        self._made: dict[str, list[str]] = {}
        """Model → ids of all records that were ever created."""
        self._settled: list[tuple[str, Mapping[int, int]]] = []
        """A conflict, and the entry that settled it."""
        self._folded = False
        """Whether somebody's log may begin late, so that replicas learn all of it in sessions only."""
        for index, models in enumerate(players.models):
            self.devices.append(Device(index, folder if index == 0 else None, models))
            for model in models:
                watch(model, self._fault, may_drop=players.may_drop.get(spec_of(model).name, {}))

    def abandon(self) -> None:
        """Let go of everything, whatever state it is in."""
        for device in self.devices:
            device.kill()

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    def do(self, step: Step) -> None:
        """Do one thing; what is not possible, or refused as a user's mistake, changes nothing.

        Raises:
            LawBrokenError: a law does not hold.
        """
        match step:
            case Meet():
                self.meet(self.devices[step.left], self.devices[step.right], cut=step.cut)
            case Carry():
                self._carry(self.devices[step.source], self.devices[step.target])
            case Reopen():
                self.reopen(self.devices[0], kill=step.kill)
            case Compact():
                self._compact(self.devices[step.on])
            case Wait():
                self.devices[step.on].wait(step.ms, ahead_max_ms=SKEW_MAX_MS)
            case _:
                self._use(step)
        self._judge()

    def meet(self, left: Device, right: Device, *, cut: int | None = None, look: bool = True) -> None:
        """A session; where nothing cuts it, both show the same afterwards, which may be looked at."""
        report = exchange(left.replica, right.replica, fates=_cutting(cut), limits=LIMITS)
        if cut is not None:
            return
        if not report.proven_equal:
            raise LawBrokenError("convergence", f"{left.name} and {right.name} met, and were not proven equal")
        if not look:
            return
        seen = [(device.name, device.show()) for device in (left, right)]
        self._judge()
        same("convergence", "replicas that hold the same operations show different things", seen)

    def reopen(self, device: Device, *, kill: bool) -> None:
        """Close or kill it, and open it again: it shows what it showed, and knows its operations."""
        before, statuses, held = device.show(), _statuses(device.replica), device.vector()
        if kill:
            device.kill()
        else:
            device.close()
        seen = [(f"{device.name} before", before), (AFTER, device.show())]
        same("reopening", "opening a store again changes what it shows", seen)
        if _statuses(device.replica) != statuses or device.vector() != held:
            raise LawBrokenError("durable", f"{device.name} lost operations, or their statuses, by being opened again")

    def converge(self) -> None:
        """Everybody gets everything."""
        first, *others = self.devices
        for _ in range(2):
            for device in others:
                self.meet(first, device, look=False)

    def finish(self) -> None:
        """The history is over: hold the laws that are about all of it.

        Raises:
            LawBrokenError: one does not hold.
        """
        first = self.devices[0]
        if not self._folded:
            order(first.models, [device.replica for device in self.devices], Random(0))
        self._judge()
        self.converge()
        seen = [(device.name, device.show()) for device in self.devices]
        same("convergence", "replicas that hold the same operations show different things", seen)
        for device in self.devices:
            self._nothing_lost(device)
        if self._folded:
            late(first.models, first.replica, name=first.name)
        tables(first.models, first.replica, name=first.name)
        self.reopen(first, kill=False)
        self._judge()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _use(self, step: Create | Change | Race | Delete | Restore | Resolve | TakeBack) -> None:
        """What a user does."""
        device = self.devices[step.on]
        match step:
            case Create():
                self._create(device, step)
            case Change():
                self._change(device, step.model, step.record, step.edits)
            case Race():
                self._race(step)
            case Delete():
                self._delete(device, step)
            case Restore():
                self._restore(device, step)
            case Resolve():
                self._resolve(device, step)
            case TakeBack():
                self._take_back(device, redo=step.redo)
            case _:
                assert_never(step)

    @contextmanager
    def _acting(self, device: Device) -> Iterator[None]:
        """A user does something, perhaps in vain."""
        before = device.vector()
        try:
            yield
        except REFUSALS as error:
            if device.vector() != before:
                problem = f"{type(error).__name__} was raised on {device.name}, and something was written"
                raise LawBrokenError("refusals", problem) from error
        else:
            now = device.vector()
            device.written.update({author: last for author, last in now.items() if last > before.get(author, 0)})

    def _record(self, device: Device, model: str, number: int) -> Model | None:
        live = device.live(model)
        return live[number % len(live)] if live else None

    def _create(self, device: Device, step: Create) -> None:
        with self._acting(device):
            made = device.replica.create(device.model(step.model), **step.values)
            known = self._made.setdefault(step.model, [])
            if made.id not in known:
                known.append(made.id)

    def _change(self, device: Device, model: str, number: int, edits: Sequence[Edit]) -> None:
        record = self._record(device, model, number)
        if record is not None:
            with self._acting(device), device.replica.transaction():
                for edit in edits:
                    edit.apply(record)

    def _race(self, step: Race) -> None:
        record = self._record(self.devices[step.on], step.model, step.record)
        if record is None:
            return
        for offset, edit in enumerate(step.edits):
            device = self.devices[(step.on + offset) % len(self.devices)]
            with self._acting(device):
                edit.apply(device.replica.get(device.model(step.model), record.id))

    def _delete(self, device: Device, step: Delete) -> None:
        record = self._record(device, step.model, step.record)
        if record is not None:
            with self._acting(device):
                device.replica.delete(record)

    def _restore(self, device: Device, step: Restore) -> None:
        made = self._made.get(step.model)
        if made:
            with self._acting(device):
                device.replica.restore(device.model(step.model), made[step.record % len(made)])

    def _resolve(self, device: Device, step: Resolve) -> None:
        conflicts = device.replica.conflicts()
        if not conflicts:
            return
        conflict = conflicts[step.conflict % len(conflicts)]
        before = device.vector()
        with self._acting(device):
            device.replica.resolve(conflict, take=conflict.candidates[step.candidate % len(conflict.candidates)])
            now = device.vector()
            entry = {author: last for author, last in now.items() if last > before.get(author, 0)}
            self._settled.append((conflict.id, entry))

    def _carry(self, source: Device, target: Device) -> None:
        if self._folded:
            self.meet(source, target)
            return
        introduce(target.replica, source.replica)
        deliver(target.replica, runs_of(source.replica))

    def _take_back(self, device: Device, *, redo: bool) -> None:
        """Undo or redo. What was settled may be open again by it."""
        before = device.vector()
        with self._acting(device):
            device.replica.redo() if redo else device.replica.undo()
        if device.vector() != before:
            self._settled.clear()

    def _compact(self, device: Device) -> None:
        before = device.show()
        report = device.replica.compact()
        gone = (report.rows_before - report.rows_after, report.values_removed, report.documents_folded)
        self._folded |= report.horizon_made or any(gone)
        seen = [(f"{device.name} before", before.without_versions()), (AFTER, device.show().without_versions())]
        same("compaction", "compacting a store changes what it shows", seen)

    def _judge(self) -> None:
        """What must hold at any time."""
        for device in self.devices:
            held = device.vector()
            if not covers(held, device.written):
                raise LawBrokenError("durable", f"{device.name} does not hold what it wrote")
            settled = {conflict for conflict, entry in self._settled if covers(held, entry)}
            for conflict in device.replica.conflicts():
                if conflict.id in settled:
                    place = Place(model=conflict.model, record=conflict.record_id, field=conflict.field)
                    raise LawBrokenError("conflicts", f"a settled conflict is open again on {device.name}", place=place)
            others = [other.vector() for other in self.devices if other is not device]
            if not device.replica.pending_count() and not any(covers(other, device.written) for other in others):
                raise LawBrokenError("statuses", f"nothing is pending on {device.name}, and nobody else holds it all")
        if self._faults:
            model, field, text = self._faults[0]
            place = Place(model=model, field=field)
            raise LawBrokenError("merge functions", text, place=place, shown=self._says(place))

    def _nothing_lost(self, device: Device) -> None:
        """Everybody met everybody: each operation is everywhere, and its writer knows."""
        for other in self.devices:
            if not covers(other.vector(), device.written):
                raise LawBrokenError("durable", f"{other.name} never got what was acknowledged on {device.name}")
        waiting = {status for status in _statuses(device.replica).values() if status != "completed"}
        if waiting:
            problem = f"operations of {device.name} are {', '.join(sorted(waiting))} when everybody met everybody"
            raise LawBrokenError("statuses", problem)

    def _says(self, field: Place) -> dict[str, str]:
        """What each replica shows in a field of all records."""
        return {
            device.name: ", ".join(
                item.text
                for place, item in device.show().fields.items()
                if (place.model, place.field) == (field.model, field.field)
            )
            or ABSENT
            for device in self.devices
        }

    def _fault(self, model: str, field: str, text: str) -> None:
        self._faults.append((model, field, text))


def scratch_folder() -> Path:
    """A new folder for a store that nobody needs for long: in memory where the system has a place for that."""
    in_memory = MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="crdt-sync-", dir=in_memory))


def _statuses(replica: Replica) -> dict[str, str]:
    return {operation.id: operation.status.value for operation in replica.operations()}


def _cutting(cut: int | None) -> Fates:
    """The fates of frames of a connection that ends after so many."""
    if cut is None:
        return always_deliver
    left = cut

    def fates(frame: Frame) -> Fate:
        nonlocal left
        del frame
        left -= 1
        return Fate.DELIVER if left >= 0 else Fate.CUT

    return fates


@contextmanager
def play(
    history: Scenario,
    models: Sequence[type[Model]],
    *,
    merge_functions: Mapping[str, MergeFunction] | None = None,
    may_drop: Collection[str] = (),
) -> Iterator[list[Replica]]:
    """Play a history, hold all laws against it, and give the replicas, which have everything, for laws of your own.

    Args:
        history: as `histories` draws it.
        models: of the app.
        merge_functions: ``"Model.field"`` → function, in place of what the field is declared with.
        may_drop: ``"Model.field"`` of merge functions that may lose elements.

    Raises:
        LawBrokenError: a law does not hold.
        InputError: what cannot be played, or a field that is not there.
    """
    checked_instance(history, Scenario, what="history", hint="Give what `histories` draws.")
    players = Players(models, history.replicas, merge_functions=merge_functions, may_drop=may_drop)
    world = World(players, folder := scratch_folder())
    try:
        for step in history.steps:
            world.do(step)
        world.finish()
        yield [device.replica for device in world.devices]
    finally:
        world.abandon()
        shutil.rmtree(folder)
