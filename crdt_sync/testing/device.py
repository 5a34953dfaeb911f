"""One replica of a history: it is closed, killed and opened again; its clock, ids and entropy are its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from crdt_sync.core.model import Model, spec_of
from crdt_sync.replica import Replica, Sources
from crdt_sync.testing.delivery import NEWCOMER_MS
from crdt_sync.testing.laws import vector
from crdt_sync.testing.showing import Shown, show


@dataclass(slots=True)
class Device:
    """One replica that lives through closings, killings and openings.

    Args:
        index: which one.
        folder: for its store, its keys and fences; None keeps it in memory, and it is never closed.
        models: classes of its own.
    """

    index: int
    folder: Path | None
    models: tuple[type[Model], ...]
    now_ms: int = NEWCOMER_MS
    written: dict[int, int] = field(default_factory=dict)
    """Author → last entry of which a call has returned here."""
    drawn: int = 0
    ids: int = 0
    _replica: Replica | None = None

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"replica {self.index}"

    @property
    def replica(self) -> Replica:
        """Open, always."""
        if self._replica is None:
            self._replica = Replica.open(
                ":memory:" if self.folder is None else self.folder / "store.db",
                list(self.models),
                durability="normal",
                state_dir=None if self.folder is None else self.folder / "state",
                sources=Sources(now_ms=lambda: self.now_ms, entropy=self._entropy, new_record_id=self._new_id),
            )
        return self._replica

    def model(self, name: str) -> type[Model]:
        """Its class of a model."""
        return next(model for model in self.models if spec_of(model).name == name)

    def live(self, model: str) -> list[Model]:
        """The records of a model that it shows, in the order of their ids."""
        return sorted(self.replica.find(self.model(model)), key=lambda record: record.id)

    def show(self) -> Shown:
        """All that it shows."""
        return show(self.replica, self.models)

    def vector(self) -> dict[int, int]:
        """How far it holds the entries of each author."""
        return dict(vector(self.replica))

    def wait(self, ms: int, *, ahead_max_ms: int) -> None:
        """Let its clock go on, or back, within bounds."""
        self.now_ms = min(max(self.now_ms + ms, NEWCOMER_MS), NEWCOMER_MS + ahead_max_ms)

    def close(self) -> None:
        """End in good order."""
        if self._replica is not None:
            self._replica.close()
            self._replica = None

    def kill(self) -> None:
        """End the process, as far as the store can tell."""
        if self._replica is not None:
            opened = self._replica._opened  # noqa: SLF001  nothing public leaves a store as a killed process does
            opened.state.store.close()
            if opened.lock is not None:
                opened.lock.release()
            self._replica = None

    def _entropy(self, count: int) -> bytes:
        self.drawn += 1
        return blake3(f"{self.index}/{self.drawn}".encode()).digest(count)

    def _new_id(self) -> str:
        self.ids += 1
        return f"01970000-0000-7000-8000-{self.index:04x}{self.ids:08x}"
