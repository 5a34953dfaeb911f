"""The file that keeps a device's key: one line of text, for its owner's eyes only (mode 0600).

    crdt_sync-device-key-0 <seed, 64 hex digits> <device id>

The device id at the end tells a damaged file from a sound one, and a person which device it is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from crdt_sync.errors import KeyFileError, StoreFullError
from crdt_sync.security.identity import SEED_BYTES, DeviceKey

_TAG = "crdt_sync-device-key-0"
_BYTES_MAX = 256
_MODE = 0o600
_OTHERS = 0o077
_CHECKS_MODE = os.name == "posix"  # elsewhere the mode bits say nothing; the folder's access list protects the file
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def load_or_create(path: str | os.PathLike[str], *, entropy: Callable[[int], bytes] = os.urandom) -> DeviceKey:
    """Read this device's key, or make one where there is none.

    The file appears whole or not at all, and of several processes that create it at once one wins and all get its key.

    Args:
        path: where the key lives; its folder exists.
        entropy: gives that many unpredictable bytes.

    Raises:
        KeyFileError: the file cannot be read or written, is readable by others, or holds no key. It was not changed.
        StoreFullError: there is no room for a new file.
    """
    target = Path(path)
    if not os.path.lexists(target):
        _create(target, key=DeviceKey.generate(entropy(SEED_BYTES)), suffix=entropy(8).hex())
    return load(target)


def load(path: str | os.PathLike[str]) -> DeviceKey:
    """Read this device's key.

    Raises:
        KeyFileError: the file is missing, cannot be read, is readable by others, or holds no key.
    """
    target = Path(path)
    try:
        descriptor = os.open(target, _READ_FLAGS)  # O_NONBLOCK: a named pipe in its place must not hang us
        try:
            # The mode is that of the open file, so nobody can swap the file between the check and the reading.
            _check_mode(target, os.fstat(descriptor).st_mode)
            content = os.read(descriptor, _BYTES_MAX + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _key_file_error(target, f"cannot be read: {error.strerror or error}") from None
    return _parse(target, content)


def _create(target: Path, *, key: DeviceKey, suffix: str) -> None:
    draft = target.with_name(f".{target.name}.{suffix}")
    content = f"{_TAG} {key.seed.hex()} {key.device_id}\n".encode("ascii")
    try:
        try:
            descriptor = os.open(draft, _NEW_FLAGS, _MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            # A link, unlike a rename, fails where another process was faster; its key then counts.
            with contextlib.suppress(FileExistsError):
                os.link(draft, target)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError(f"there is no room for the file with the device's key, {target}") from None
        raise _key_file_error(
            target,
            f"cannot be created: {error.strerror or error}",
            hint="Choose a path in a folder that exists, can be written and is on a file system with hard links.",
        ) from None


def _sync_folder(folder: Path) -> None:
    if not _CHECKS_MODE:
        return  # folders cannot be opened there, and a file's entry is durable with the file
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_mode(target: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise _key_file_error(target, "is not a file", hint="Choose the path of a file.")
    if _CHECKS_MODE and mode & _OTHERS:
        raise _key_file_error(
            target,
            f"is open to others (mode {stat.S_IMODE(mode):04o})",
            hint=f"Run `chmod 600 {target}`; if others could have read it, remove it to go on as a new device.",
        )


def _parse(target: Path, content: bytes) -> DeviceKey:
    try:
        tag, seed, name = content.decode("ascii").split()
        key = DeviceKey.generate(bytes.fromhex(seed))
    except ValueError:
        raise _key_file_error(target, "holds no device key") from None
    if tag != _TAG or key.device_id != name or len(content) > _BYTES_MAX:
        raise _key_file_error(target, "is damaged or was written by a newer version")
    return key


def _key_file_error(target: Path, problem: str, *, hint: str | None = None) -> KeyFileError:
    return KeyFileError(f"the key file {target} {problem}", path=str(target), hint=hint)
