"""One replica of a history: it is closed, killed and opened again; its clock, ids and entropy are its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from crdt_sync.core.model import Model, spec_of
from crdt_sync.replica import Replica
from crdt_sync.testing.delivery import NEWCOMER_MS
from crdt_sync.testing.drawn import Drawn
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
    _drawn: Drawn = field(init=False)
    _replica: Replica | None = None

    def __post_init__(self) -> None:
        """Draw what its index says."""
        self._drawn = Drawn(self.index, seed=str(self.index))

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
                sources=self._drawn.sources(lambda: self.now_ms),
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
