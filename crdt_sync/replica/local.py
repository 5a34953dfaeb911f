"""LocalStorage: durable key-value storage that is private to the device and never replicated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdt_sync.core import codec
from crdt_sync.errors import InputError
from crdt_sync.storage.base import Store, Table

KEY_CHARS_MAX = 256
_HINT = "Give the key a name of ordinary characters."


class LocalStorage:
    """Keeps settings and the like of this device, by name.

    Args:
        store: where they are kept.
        check: called before each use; raises where the replica is closed or used in another thread.
    """

    def __init__(self, store: Store, *, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check

    def save(self, key: str, value: Any) -> None:
        """Keep a value under ``key``; durable when it returns.

        Raises:
            UnrepresentableValueError: it would not come back equal and of the same type; nothing was changed.
        """
        self._check()
        name, data = _name(key), codec.encode(value)
        with self._store.transaction():
            self._store.put(Table.LOCAL, name, data)

    def load(self, key: str, default: Any = None) -> Any:
        """The value under ``key``, or ``default``."""
        self._check()
        data = self._store.get(Table.LOCAL, _name(key))
        return default if data is None else codec.decode(data)

    def delete(self, key: str) -> bool:
        """Remove the value under ``key``; True where there was one."""
        self._check()
        name = _name(key)
        if self._store.get(Table.LOCAL, name) is None:
            return False
        with self._store.transaction():
            self._store.delete(Table.LOCAL, name)
        return True

    def keys(self) -> list[str]:
        """All names that hold a value, sorted."""
        self._check()
        return [key.decode() for key, _ in self._store.scan(Table.LOCAL)]


def _name(key: object) -> bytes:
    if not isinstance(key, str) or not 0 < len(key) <= KEY_CHARS_MAX:
        raise InputError(f"a key of local storage is a str of 1 to {KEY_CHARS_MAX} characters", hint=_HINT)
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise InputError("a key of local storage holds a lone surrogate, which is no character", hint=_HINT) from None
