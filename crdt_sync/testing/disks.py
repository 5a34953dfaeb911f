"""A disk that fails as disks do, under the real SQLite store: lost power, torn pages, no space, flipped bits.

It stands between SQLite and the file system and remembers what was written since the last sync. Production code runs on
it unchanged; no sync reaches the real disk, so it is also faster than one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum, unique
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

import apsw

SECTOR_BYTES: Final = 512
"""What a disk writes whole or not at all."""

_TRACKED_FLAGS: Final = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL
_numbers = count()


@unique
class Fault(Enum):
    """What a disk does from some operation on, until it is told otherwise."""

    POWER = "power"
    """Nothing is written, synced or removed any more: the process, or the machine, is dead."""
    FULL = "full"
    """No file grows."""
    READ_ONLY = "read_only"
    """Every write is refused as on a file system that was mounted read-only."""
    BROKEN = "broken"
    """Every write and sync fails."""


@unique
class Loss(Enum):
    """What is gone when the power comes back."""

    NOTHING = "nothing"
    """The process alone was killed: what it wrote, the system kept."""
    UNSYNCED = "unsynced"
    """Everything since the last sync of each file."""
    SOME = "some"
    """Any part of what was written since the last sync of each file, in sectors: writes are lost or torn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Truncation:
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Removal:
    pass


_Change: TypeAlias = _Write | _Truncation | _Removal


@dataclass(slots=True, kw_only=True)
class _Image:
    """One file: what would survive, and what happened to it since."""

    durable: bytearray | None
    inode: int | None
    is_new: bool
    """Made since its directory was synced."""
    changes: list[_Change] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.changes:
            self.durable = _changed(self.durable, change)
        self.changes.clear()

    def sync_name(self) -> None:
        """Make a removal durable, as a sync of the directory does."""
        removals = [number for number, change in enumerate(self.changes) if isinstance(change, _Removal)]
        if removals:
            self.durable = None
            del self.changes[: removals[-1] + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What a loss of power did.

    Args:
        lost: writes, truncations and removals that did not happen after all.
        torn: writes of which some sectors happened.
    """

    lost: int
    torn: int


class Disk:
    """Everything that SQLite does while this is entered, on a disk whose faults a test decides.

    Use it as a context manager; stores opened within it are on it. One at a time in a process.

    Invariants:
        1. While nothing fails, files are as they would be without it.
        2. The same seed and the same operations give the same outcome of a loss of power.

    Args:
        seed: of what is lost and torn.
        within: the folder that it is mounted at; None for everywhere. Other files are on a disk that does not fail.
    """

    def __init__(self, *, seed: int | str = 0, within: Path | None = None) -> None:
        self._within = None if within is None else within.resolve()
        self._random = random.Random(seed)
        self._images: dict[str, _Image] = {}
        self._fault: Fault | None = None
        self._due: tuple[int, Fault] | None = None
        self._vfs: _Vfs | None = None
        self.operations = 0
        """Writes, syncs, truncations and removals so far, also those that were refused."""

    def __enter__(self) -> Self:
        self._vfs = _Vfs(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._vfs is not None:
            self._vfs.unregister()

    def fail(self, fault: Fault, *, after: int = 0) -> None:
        """Have a fault from now on, or after so many more operations."""
        if after:
            self._due = (self.operations + after, fault)
        else:
            self._fault, self._due = fault, None

    def mend(self) -> None:
        """End a fault that loses nothing: space was made, or the disk is writable again."""
        self._fault = self._due = None

    @property
    def fault(self) -> Fault | None:
        """What is wrong at the moment."""
        return self._fault

    def unsynced(self) -> int:
        """How many changes would be at risk if the power went now."""
        return sum(len(image.changes) for image in self._images.values())

    def power_on(self, *, loss: Loss) -> Outage:
        """Let the files be what a loss of power leaves, and everything work again.

        Whatever was open before must be closed first or left alone: it belongs to a process that is dead.

        Args:
            loss: how much of what was not synced is gone.
        """
        lost = torn = 0
        for name, image in sorted(self._images.items()):
            path = Path(name)
            if loss is Loss.NOTHING:
                image.durable = bytearray(path.read_bytes()) if path.exists() else None
            else:
                outage = self._lose(image, loss=loss)
                lost, torn = lost + outage.lost, torn + outage.torn
            _put_back(path, image)
        self._images.clear()
        self.mend()
        return Outage(lost=lost, torn=torn)

    def rot(self, path: str | Path, *, bit: int | None = None) -> int:
        """Flip one bit of a file behind everybody's back; None chooses one. Returns which."""
        place = Path(path).resolve()
        chosen = self._random.randrange(place.stat().st_size * 8) if bit is None else bit
        at, mask = chosen // 8, 1 << chosen % 8
        with place.open("r+b") as file:  # in place: whoever has it open sees it
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ mask]))
        image = self._images.get(str(place))
        if image is not None and image.durable is not None and at < len(image.durable):
            image.durable[at] ^= mask
        return chosen

    # ── called by the file system below ──────────────────────────────────────────────────────────────────────────────

    def holds(self, name: str) -> bool:
        """Whether a file is on it."""
        return self._within is None or Path(name).is_relative_to(self._within)

    def opened(self, name: str, *, created: bool) -> None:
        """Know a file from now on. What was in it before is taken as synced."""
        path, held = Path(name), self._images.get(name)
        inode = path.stat().st_ino
        if held is not None and (held.inode == inode or (held.inode is None and created)):
            held.inode, held.is_new = inode, held.is_new or created
            return
        durable = None if created else bytearray(path.read_bytes())
        self._images[name] = _Image(durable=durable, inode=inode, is_new=created)

    def wrote(self, name: str, change: _Change) -> None:
        """Remember a change that was made."""
        self._images[name].changes.append(change)

    def removed(self, name: str, *, synced: bool) -> None:
        """Remember that a file was removed, and whether its directory was synced."""
        image = self._images.get(name)
        if image is not None:
            image.changes.append(_Removal())
            image.inode = None
            if synced:
                image.sync()

    def synced(self, name: str) -> None:
        """Take everything that was written to a file as durable; SQLite syncs the directory of a new one with it."""
        image = self._images[name]
        image.sync()
        if image.is_new:
            image.is_new = False
            folder = Path(name).parent
            for other, held in self._images.items():
                if Path(other).parent == folder:
                    held.sync_name()

    def admit(self, *, grows: bool = False, removes: bool = False) -> None:
        """Count an operation, and refuse it where the disk cannot do it.

        Args:
            grows: it makes a file longer.
            removes: it frees space, and so works on a full disk.

        Raises:
            apsw.Error: as SQLite's own file systems report it.
        """
        if self._due is not None and self.operations >= self._due[0]:
            self._fault, self._due = self._due[1], None
        self.operations += 1
        match self._fault:
            case Fault.POWER | Fault.BROKEN:
                raise apsw.IOError(f"the disk fails ({self._fault.value})")
            case Fault.READ_ONLY:
                raise apsw.ReadOnlyError("the disk is read-only")
            case Fault.FULL if grows and not removes:
                raise apsw.FullError("the disk is full")

    def _lose(self, image: _Image, *, loss: Loss) -> Outage:
        lost = torn = 0
        for number, change in enumerate(image.changes):
            fate = "lost" if loss is Loss.UNSYNCED else self._random.choice(("kept", "lost", "torn"))
            if fate == "lost" or (fate == "torn" and not isinstance(change, _Write)):
                lost += 1
                if isinstance(change, _Removal):  # what came after went to a file that has no name
                    lost += len(image.changes) - number - 1
                    break
            elif fate == "torn" and isinstance(change, _Write):
                torn += 1
                for part in _sectors(change):
                    if self._random.random() < 0.5:
                        image.durable = _changed(image.durable, part)
            else:
                image.durable = _changed(image.durable, change)
        image.changes.clear()
        return Outage(lost=lost, torn=torn)


class _Vfs(apsw.VFS):
    """SQLite's file system of this platform, with a disk in between; the default one while it is registered."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._base = next(name for name in apsw.vfs_names() if not name.startswith("crdt_sync"))
        super().__init__(f"crdt_sync_disk_{next(_numbers)}", self._base, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's
        shown = name.filename() if isinstance(name, apsw.URIFilename) else name
        if shown is None or not flags[0] & _TRACKED_FLAGS or not self._disk.holds(shown):
            return apsw.VFSFile(self._base, name, flags)
        created = not Path(shown).exists()
        if created:
            self._disk.admit(grows=True)
        file = _File(self._disk, shown, base=self._base, opened_as=name, flags=flags)
        self._disk.opened(shown, created=created)
        return file

    def xDelete(self, filename: str, syncdir: int) -> None:  # noqa: N802  # SQLite's
        if not self._disk.holds(filename):
            super().xDelete(filename, bool(syncdir))
            return
        self._disk.admit(removes=True)
        super().xDelete(filename, bool(syncdir))
        self._disk.removed(filename, synced=bool(syncdir))


class _File(apsw.VFSFile):
    """One file on a disk; it holds the disk, and with it the file system, for as long as SQLite holds it."""

    def __init__(
        self, disk: Disk, path: str, *, base: str, opened_as: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self._disk = disk
        self._path = path
        self._read_only = bool(flags[0] & apsw.SQLITE_OPEN_READONLY)
        super().__init__(base, opened_as, flags)

    def xLock(self, level: int) -> None:  # noqa: N802  # SQLite's
        # A reader that closes tries to be alone, which the system refuses. SQLite passes over it, APSW would raise it.
        if self._read_only and level > apsw.SQLITE_LOCK_SHARED:
            raise apsw.BusyError("opened for reading")
        super().xLock(level)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # SQLite's
        self._disk.admit(grows=offset + len(data) > self.xFileSize())
        super().xWrite(data, offset)
        self._disk.wrote(self._path, _Write(offset=offset, data=bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  # SQLite's
        self._disk.admit(removes=True)
        super().xTruncate(newsize)
        self._disk.wrote(self._path, _Truncation(size_bytes=newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's
        self._disk.admit()
        self._disk.synced(self._path)


def _changed(content: bytearray | None, change: _Change) -> bytearray | None:
    if isinstance(change, _Removal):
        return None
    content = bytearray() if content is None else content
    if isinstance(change, _Truncation):
        content = content[: change.size_bytes]
        return content + bytes(change.size_bytes - len(content))
    end = change.offset + len(change.data)
    if len(content) < end:
        content += bytes(end - len(content))
    content[change.offset : end] = change.data
    return content


def _sectors(change: _Write) -> list[_Write]:
    """A write as its disk does it, sector by sector."""
    parts, at, end = [], change.offset, change.offset + len(change.data)
    while at < end:
        until = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        parts.append(_Write(offset=at, data=change.data[at - change.offset : until - change.offset]))
        at = until
    return parts


def _put_back(path: Path, image: _Image) -> None:
    """Make a file what survived, under a new inode, so that whoever had it open shares nothing with who opens it next.

    The index of the write-ahead log is shared memory, and gone.
    """
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    if image.durable is None:
        path.unlink(missing_ok=True)
        return
    draft = path.with_name(path.name + ".survived")
    draft.write_bytes(image.durable)
    if path.exists():
        draft.chmod(path.stat().st_mode)
    draft.replace(path)
