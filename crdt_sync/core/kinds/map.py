"""Maps: a register for each key. A key is there while anything of its register is, so setting wins over removing."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Generic, TypeVar, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from crdt_sync.core.content import Content
from crdt_sync.core.kinds.base import Clash, ColumnKind, Drop, FieldHost, FieldKind, Write, WriteContext
from crdt_sync.core.kinds.plain import PlainRegister, json_value
from crdt_sync.core.layout import ENTRY_SEPARATOR
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import ElementNotFoundError, InvalidValueError, UnrepresentableValueError

K = TypeVar("K")
V = TypeVar("V")

_MISSING = object()


class Map(MutableMapping[K, V], Generic[K, V]):
    """A live mapping from texts to values. A key set on one device and removed at once on another stays.

    In the order of its keys. A value that was read is a copy: changing it changes nothing here, setting it does.
    """

    __slots__ = ("_host", "_kind")

    def __init__(self, kind: MapKind, host: FieldHost) -> None:
        self._kind = kind
        self._host = host

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A map is validated as a dict of its value type; without a value it is empty."""
        arguments = getattr(source, "__args__", ())
        values = handler.generate_schema(arguments[1]) if arguments else core_schema.any_schema()
        pairs = core_schema.dict_schema(core_schema.str_schema(strict=True), values)
        return core_schema.with_default_schema(pairs, default_factory=dict)

    def __getitem__(self, key: K) -> V:
        value = self._kind.value_of(self._host.content(), key)
        if value is _MISSING:
            raise self._kind.missing()
        return cast("V", value)

    def __setitem__(self, key: K, value: V) -> None:
        self._write([(key, value)])

    def __delitem__(self, key: K) -> None:
        self._host.edit(lambda content, _: self._kind.removal(content, key))

    def __iter__(self) -> Iterator[K]:
        return iter(cast("list[K]", self._kind.present(self._host.content())))

    def __len__(self) -> int:
        return len(self._kind.present(self._host.content()))

    def update(self, other: Any = (), /, **values: V) -> None:
        """Set several keys at once, as a dict does: from a mapping or pairs, and from keywords."""
        pairs: Iterable[Any] = other.items() if isinstance(other, Mapping) else other
        self._write([*pairs, *values.items()])

    def clear(self) -> None:
        """Remove all keys that are here now."""
        self._host.edit(lambda content, _: self._kind.drops(content, self._kind.present(content)))

    def __repr__(self) -> str:
        return f"Map({dict(self)!r})"

    def _write(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        checked = {self._kind.check_name(key): self._kind.entry.check(value) for key, value in pairs}
        self._host.edit(lambda content, context: self._kind.put(content, checked, context=context))


class MapKind(FieldKind):
    """Keeps the entry ``name`` as the register ``field/name``.

    Args:
        name: the field.
        entry: what one entry is.
    """

    def __init__(self, name: str, entry: PlainRegister) -> None:
        super().__init__(name)
        self.entry = entry

    def register(self, entry: str) -> PlainRegister:
        """The register of one entry."""
        register = copy.copy(self.entry)
        register.name = self.name + ENTRY_SEPARATOR + entry
        register.stored = self.stored + ENTRY_SEPARATOR + entry
        return register

    def register_kind(self, register: str) -> FieldKind:
        return self.register(register.partition(ENTRY_SEPARATOR)[2])

    def present(self, content: Content) -> list[str]:
        """The keys, in order: those whose register has a value."""
        names = sorted(content.entries.get(self.stored, ()))
        return [name for name in names if self.register(name).candidates(content)]

    def read(self, content: Content) -> dict[str, Any]:
        return {name: self.register(name).read(content) for name in self.present(content)}

    def live(self, host: FieldHost) -> Map[str, Any]:
        return Map(self, host)

    def value_of(self, content: Content, key: object) -> Any:
        """The value of a key, or a marker where it is not there."""
        if key not in content.entries.get(self.stored, ()):
            return _MISSING
        register = self.register(cast("str", key))
        return register.read(content) if register.candidates(content) else _MISSING

    def missing(self) -> ElementNotFoundError:
        """The error for a key that is not there."""
        return ElementNotFoundError(f"field {self.name!r} has no such key", field=self.name)

    def validate(self, value: Any) -> Any:
        return {self.check_name(name): self.entry.validate(item) for name, item in value.items()}

    def complaint(self, value: Any) -> str:
        return next(filter(None, map(self.entry.complaint, value.values())), "")

    def check_name(self, name: object) -> str:
        """Check that a text can be a key.

        Raises:
            InvalidValueError: no text, or too long.
            UnrepresentableValueError: no valid Unicode.
        """
        if type(name) is not str:
            raise InvalidValueError(f"field {self.name!r}: a key is a str", field=self.name)
        if len(name) > ENTRY_LIMITS.element_chars_max:
            raise InvalidValueError(
                f"field {self.name!r}: a key has at most {ENTRY_LIMITS.element_chars_max} characters", field=self.name
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UnrepresentableValueError(
                f"field {self.name!r}: a key is not valid Unicode", field=self.name
            ) from None
        return name

    def comparable(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise InvalidValueError(f"field {self.name!r} is compared with a dict", field=self.name)
        return {self.check_name(name): self.entry.comparable(item) for name, item in value.items()}

    def empty(self) -> dict[str, Any]:
        return {}

    def plain(self, value: Any) -> Any:
        return dict(value) if isinstance(value, Map) else value

    def create(self, value: Any, *, context: WriteContext) -> list[Write]:
        return self.put(Content(), value, context=context)

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        """Assigning a dict removes the keys that are not in it, and sets those whose values differ."""
        gone = [name for name in self.present(content) if name not in value]
        return [*self.drops(content, gone), *self.put(content, value, context=context)]

    def put(self, content: Content, values: Mapping[str, Any], *, context: WriteContext) -> list[Write]:
        """The writes that set keys; none for those that have this value and no other."""
        return [
            write
            for name, value in values.items()
            for write in self.register(name).assign(content, value, context=context)
        ]

    def removal(self, content: Content, key: object) -> list[Write]:
        """The writes that remove a key.

        Raises:
            ElementNotFoundError: it is not there.
        """
        if self.value_of(content, key) is _MISSING:
            raise self.missing()
        return self.drops(content, [cast("str", key)])

    def drops(self, content: Content, names: Iterable[str]) -> list[Write]:
        """The writes that remove keys: all values of their registers that are seen, hidden ones too."""
        registers = [self.register(name).stored for name in names]
        return [
            Drop(item.key)
            for register in registers
            for item in (*content.plain.get(register, ()), *content.causal.get(register, ()))
        ]

    def clashes(self, content: Content) -> list[Clash]:
        if type(self.entry) is PlainRegister:
            return []
        return [clash for name in self.present(content) for clash in self.register(name).clashes(content)]

    def column_kind(self) -> ColumnKind:
        return ColumnKind.JSON

    def to_column(self, value: Any) -> dict[str, Any]:
        return {name: json_value(item) for name, item in value.items()}
