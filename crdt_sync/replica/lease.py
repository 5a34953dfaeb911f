"""Who this store is, and under which author it may write: lock, fence, lease (semantics: identity).

A store's past can be rewound or doubled behind its back: a backup is restored, a file is copied, a machine is cloned.
An author that goes on from two pasts would make documents that differ for ever, so an author is used only as long as
the store can prove that nothing of the kind happened. The proof is a *fence*: a random token inside of the store and
beside the user's other state, replaced at every open and every clean close.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock
import msgpack

from crdt_sync.core.ids import Author, author_of
from crdt_sync.core.records import SALT_BYTES
from crdt_sync.errors import KeyFileError, StoreFullError, StoreInUseError, StoreReadOnlyError
from crdt_sync.replica.packing import unpack_author, unpack_authors, unpack_sized
from crdt_sync.security.identity import SEED_BYTES, DeviceKey
from crdt_sync.security.keyfile import load, load_or_create
from crdt_sync.storage.base import Store, Table
from crdt_sync.storage.sqlite_file import refused

Entropy = Callable[[int], bytes]

_REPLICA, _EPOCH, _AUTHOR, _AUTHORS = b"replica_id", b"epoch", b"author", b"authors"
_INHERITED = b"inherited"
"""Authors of the store that this one was copied from: not ours, but their operations stand in our journal too."""
_FENCE, _CLEAN, _PID = b"fence", b"clean", b"pid"
REPLICA_ID_BYTES = 16
EPOCH_BYTES = 8
_TOKEN_BYTES = 16
FENCES = ((Table.META, _FENCE),)
"""What a copy of a store is made without, so that it is taken for one wherever it is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who an open store is.

    Args:
        replica_id: 16 bytes, of this store.
        epoch: 8 bytes, of this generation of its past.
        key: the device's key.
        author: under which it writes now.
        salt: 8 bytes from which, and from the key, a new author follows; empty for an author held before.
        is_new_author: whether the author was drawn at this open.
        reason: why, for the log: ``first open``, ``unclean end``, ``copied``, ``restored or rebuilt``,
            ``clock far ahead``, ``bound elsewhere``; empty otherwise.
    """

    replica_id: bytes
    epoch: bytes
    key: DeviceKey
    author: Author
    salt: bytes
    is_new_author: bool
    reason: str


class StoreLock:
    """One writing process for each store."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = Path(f"{path}.lock")
        self._was_there = self._file.exists()
        self._lock = filelock.FileLock(self._file, timeout=0)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StoreInUseError: another process, or this one, has the store open for writing.
        """
        try:
            self._lock.acquire()
        except filelock.Timeout:
            pid = self.holder()
            who = f"process {pid}" if pid else "another process"
            raise StoreInUseError(f"{self._path.name} is open for writing in {who}", pid=pid) from None
        except OSError as error:
            found = refused(error, f"no lock can be taken beside {self._path}", hint="")
            if isinstance(found, StoreFullError):
                raise found from None
            raise StoreReadOnlyError(
                f"no lock can be taken beside {self._path.name}: {error.strerror}", hint="Open with read_only=True."
            ) from None
        with suppress(OSError):  # it is for messages alone, so a full disk stops nothing here
            self._pid_file().write_text(str(os.getpid()))

    def holder(self) -> int | None:
        """The process that holds the lock, as far as it said."""
        try:
            return int(self._pid_file().read_text())
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Give the lock back. Its file stays: removing it would race with whoever waits for it."""
        if self._lock.is_locked:
            with suppress(OSError):  # as when it was written
                self._pid_file().unlink(missing_ok=True)
            self._lock.release()

    def abandon(self) -> None:
        """Give the lock back for a file that turned out to be no store, and leave nothing of ours beside it."""
        if self._lock.is_locked and not self._was_there:
            self._file.unlink(missing_ok=True)
        self.release()

    def _pid_file(self) -> Path:
        return Path(f"{self._path}.pid")


def check_state_dir(state_dir: Path) -> None:
    """Refuse a state directory that is none and cannot be made, before a store is made that would need it.

    Nothing is made here: an open that fails leaves nothing behind.

    Raises:
        KeyFileError: it cannot hold keys and fences.
    """
    hint = "Set CRDT_SYNC_STATE_DIR, or state_dir=, to a folder that can be written."
    there = next((folder for folder in (state_dir, *state_dir.absolute().parents) if folder.exists()), state_dir)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        message = f"the state directory {state_dir} cannot be used: {there} is no folder that can be written"
        raise KeyFileError(message, path=str(state_dir), hint=hint)


class Lease:
    """The identity of a store, from open to close.

    Args:
        store: the open store.
        state_dir: folder of the user's state; None for a store in memory, which can be neither copied nor restored.
        entropy: gives that many unpredictable bytes.
    """

    def __init__(self, store: Store, *, state_dir: Path | None, entropy: Entropy) -> None:
        self._store = store
        self._state_dir = state_dir
        self._entropy = entropy

    def acquire(self, *, doubt: str = "") -> Identity:
        """Find out who the store is, draw a new author where its past is in doubt, and raise a new fence.

        Args:
            doubt: why the author held may not be used any more, where that is known already.

        Runs in its own store transactions; the inside is written before the outside, so that a crash in between is seen
        as a broken fence, never as an intact one.
        """
        replica_id, epoch = self._named()
        reason = self._doubt(replica_id)
        reason = reason or doubt
        if replica_id is None or reason == "copied":
            replica_id, epoch = self._entropy(REPLICA_ID_BYTES), None
        if epoch is None or reason in ("restored or rebuilt", "unclean end"):
            epoch = self._entropy(EPOCH_BYTES)
        key = self._device_key(replica_id)
        held = self._store.get(Table.META, _AUTHOR)
        authors, inherited = self._own_authors(), self._stored_authors(_INHERITED)
        before = None if held is None else unpack_author(held, key=_AUTHOR)
        if before is not None and before not in authors:  # a repair of an earlier version left it out
            authors.append(before)
        if reason == "copied":
            authors, inherited = [], [*inherited, *authors]
        salt = b""
        if before is None or reason:
            salt = self._entropy(SALT_BYTES)
            author = author_of(key.public_key, salt)
            authors.append(author)
        else:
            author = before
        token = self._entropy(_TOKEN_BYTES)
        with self._store.transaction():
            self._store.put(Table.META, _REPLICA, replica_id)
            self._store.put(Table.META, _EPOCH, epoch)
            self._put_author(author, authors)
            self._store.put(Table.META, _INHERITED, msgpack.packb(inherited))
            self._store.put(Table.META, _FENCE, token)
            self._store.put(Table.META, _CLEAN, b"\0")
        self._write_fence(replica_id, token)
        return Identity(
            replica_id=replica_id,
            epoch=epoch,
            key=key,
            author=author,
            salt=salt,
            is_new_author=bool(reason),
            reason=reason,
        )

    def rotate(self, identity: Identity) -> Identity:
        """Draw a new author and epoch because a peer showed that the past was rewound; in the caller's transaction."""
        salt = self._entropy(SALT_BYTES)
        author = author_of(identity.key.public_key, salt)
        epoch = self._entropy(EPOCH_BYTES)
        self._store.put(Table.META, _EPOCH, epoch)
        self._put_author(author, [*self._own_authors(), author])
        return Identity(
            replica_id=identity.replica_id,
            epoch=epoch,
            key=identity.key,
            author=author,
            salt=salt,
            is_new_author=True,
            reason="rewound",
        )

    def own_authors(self) -> frozenset[Author]:
        """Every author that this replica has leased."""
        return frozenset(self._own_authors())

    def journaled_authors(self) -> frozenset[Author]:
        """Every author whose operations stand in the journal: our own, and those of a store that this is a copy of."""
        return frozenset((*self._own_authors(), *self._stored_authors(_INHERITED)))

    def release(self, identity: Identity) -> None:
        """Note a clean end and raise a new fence."""
        token = self._entropy(_TOKEN_BYTES)
        with self._store.transaction():
            self._store.put(Table.META, _FENCE, token)
            self._store.put(Table.META, _CLEAN, b"\1")
        self._store.flush()
        self._write_fence(identity.replica_id, token)

    def held(self) -> tuple[Author, bytes | None] | None:
        """The author held since the last open, and this device's public key where it is here."""
        author, replica_id = self._store.get(Table.META, _AUTHOR), self._named()[0]
        if author is None or replica_id is None:
            return None
        folder = self._folder(replica_id)
        path = None if folder is None else folder / "device.key"
        key = load(path).public_key if path is not None and path.exists() else None
        return unpack_author(author, key=_AUTHOR), key

    def peek(self) -> tuple[bytes, bytes]:
        """Replica id and epoch without taking a lease, for read-only use."""
        replica_id, epoch = self._named()
        return replica_id or bytes(REPLICA_ID_BYTES), epoch or bytes(EPOCH_BYTES)

    def _named(self) -> tuple[bytes | None, bytes | None]:
        """Replica id and epoch, as far as there are any."""
        replica_id, epoch = self._store.get(Table.META, _REPLICA), self._store.get(Table.META, _EPOCH)
        return (
            None if replica_id is None else unpack_sized(replica_id, REPLICA_ID_BYTES, key=_REPLICA),
            None if epoch is None else unpack_sized(epoch, EPOCH_BYTES, key=_EPOCH),
        )

    def _put_author(self, author: Author, authors: list[Author]) -> None:
        self._store.put(Table.META, _AUTHOR, author.to_bytes(5, "big"))
        self._store.put(Table.META, _AUTHORS, msgpack.packb(authors))

    def _own_authors(self) -> list[Author]:
        return self._stored_authors(_AUTHORS)

    def _stored_authors(self, name: bytes) -> list[Author]:
        return unpack_authors(self._store.get(Table.META, name), key=name)

    def _doubt(self, replica_id: bytes | None) -> str:
        """Why a new author is needed, or an empty string."""
        if replica_id is None:
            return "first open"
        if self._state_dir is not None:
            fence = self._read_fence(replica_id)
            if fence is None:
                return "copied"  # to a device, or for a user, that never opened it
            token, path = fence
            here = self._here()
            if path != here and Path(path).exists():
                return "copied"
            if token != self._store.get(Table.META, _FENCE):
                return "restored or rebuilt"
        return "" if self._was_clean() else "unclean end"

    def _was_clean(self) -> bool:
        return self._store.get(Table.META, _CLEAN) == b"\1"

    def _device_key(self, replica_id: bytes) -> DeviceKey:
        folder = self._folder(replica_id)
        if folder is None:
            return DeviceKey.generate(self._entropy(SEED_BYTES))
        with self._state_written():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return load_or_create(folder / "device.key", entropy=self._entropy)

    def _folder(self, replica_id: bytes) -> Path | None:
        return None if self._state_dir is None else self._state_dir / "replicas" / replica_id.hex()

    def _read_fence(self, replica_id: bytes) -> tuple[bytes, str] | None:
        folder = self._folder(replica_id)
        if folder is None:
            return None
        try:
            data = json.loads((folder / "fence.json").read_text())
            return bytes.fromhex(data["token"]), str(data["path"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_fence(self, replica_id: bytes, token: bytes) -> None:
        folder = self._folder(replica_id)
        if folder is None:
            return
        draft = folder / "fence.json.new"
        with self._state_written():
            with draft.open("w") as file:
                json.dump({"token": token.hex(), "path": self._here()}, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(folder / "fence.json")

    @contextmanager
    def _state_written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = "Set CRDT_SYNC_STATE_DIR, or state_dir=, to a folder that can be written."
            raise refused(error, f"the state directory {self._state_dir} cannot be written", hint=hint) from error

    def _here(self) -> str:
        """The store's own place, with links followed, so that two names of one file are one place."""
        return "" if self._store.path is None else str(self._store.path.resolve())
