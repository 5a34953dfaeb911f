"""Models: what a user declares, and the live records that behave like it.

A model is a pydantic model whose fields also say how they merge. An instance made by a replica is *live*: reading an
attribute reads the record as it is now, assigning one is a local write. An instance made by calling the class is a
plain pydantic object, attached to nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from crdt_sync.core.content import EditAfterDelete
from crdt_sync.core.declaration import ModelSpec, OnDuplicate, build, read_declaration
from crdt_sync.core.ids import DocumentKey, RecordId, split_document_key
from crdt_sync.core.kinds import FieldKind
from crdt_sync.errors import ModelError, SchemaError

__all__ = [
    "EditAfterDelete",
    "Model",
    "ModelSpec",
    "OnDuplicate",
    "RecordHost",
    "bind",
    "document_key_of",
    "host_of",
    "spec_of",
]

_BINDING = "__crdt_sync_binding__"


class RecordHost(Protocol):
    """What a live record needs of its replica."""

    def read_field(self, key: DocumentKey, kind: FieldKind) -> Any:
        """What attribute access gives."""

    def read_record(self, key: DocumentKey, spec: ModelSpec) -> dict[str, Any]:
        """All fields as plain values."""

    def write_fields(self, key: DocumentKey, spec: ModelSpec, values: Mapping[str, Any]) -> None:
        """Validate and write fields as one transaction."""


M = TypeVar("M", bound="Model")


class _FieldAccess:
    """Data descriptor of one field: live records read and write through their replica."""

    __slots__ = ("_kind", "_name", "_spec")

    def __init__(self, spec: ModelSpec, kind: FieldKind) -> None:
        self._spec, self._kind, self._name = spec, kind, kind.name

    def __get__(self, record: Model | None, owner: type[Model]) -> Any:
        if record is None:
            raise AttributeError(self._name)  # as pydantic does: a field is no class attribute
        binding = record.__dict__.get(_BINDING)
        if binding is None:
            try:
                return record.__dict__[self._name]
            except KeyError:
                raise AttributeError(self._name) from None
        host, key = binding
        return host.read_field(key, self._kind)

    def __set__(self, record: Model, value: Any) -> None:
        binding = record.__dict__.get(_BINDING)
        if binding is None:
            record.__dict__[self._name] = value
            return
        host, key = binding
        host.write_fields(key, self._spec, {self._name: value})


class Model(BaseModel):
    """Base of all models.

    Class keywords: ``key=("field", …)`` a natural key (two devices creating the same thing create one record),
    ``unique=("field", …)`` what no two records should have equal, ``on_duplicate="merge"`` what becomes of two that
    were created so at once, ``on_edit_after_delete="edit_wins"`` (or ``"delete_wins"``, ``"ask"``), ``version=1``.

    Example:
        >>> class Task(Model):
        ...     title: str = ""
        ...     due: date | None = ask(default=None)
        ...     notes: Text
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=False, defer_build=True)
    __crdt_spec__: ClassVar[ModelSpec]

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        key: tuple[str, ...] = (),
        on_edit_after_delete: EditAfterDelete = "edit_wins",
        version: int = 1,
        unique: tuple[str, ...] = (),
        on_duplicate: OnDuplicate = "merge",
        **unknown: Any,
    ) -> None:
        """Check the declaration and install access to live records."""
        super().__pydantic_init_subclass__()
        if unknown:
            raise SchemaError(f"model {cls.__name__!r}: unknown class keyword {', '.join(sorted(unknown))}")
        build(cls)
        spec = read_declaration(
            cls,
            key=key,
            on_edit_after_delete=on_edit_after_delete,
            version=version,
            unique=unique,
            on_duplicate=on_duplicate,
        )
        cls.__crdt_spec__ = spec
        for kind in spec.fields.values():
            setattr(cls, kind.name, _FieldAccess(spec, kind))

    @classmethod
    def __upgrade__(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Override it to read what older versions of the app wrote; see docs/reference/models.md.

        Args:
            values: what the record's registers hold: name in documents → value as stored, undeclared fields too.

        Returns:
            The same of this version. It must be pure, and leave as it is what it has given.
        """
        return values

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Class keywords are taken by `__pydantic_init_subclass__`."""
        super().__init_subclass__()

    @classmethod
    def _bind(cls, host: RecordHost, key: DocumentKey) -> Self:
        """A live record of ``host``."""
        return cls._unattached({_BINDING: (host, key)})

    @classmethod
    def _unattached(cls, values: dict[str, Any]) -> Self:
        """An object with these attributes, as they are."""
        record = cls.__new__(cls)
        object.__setattr__(record, "__dict__", values)
        object.__setattr__(record, "__pydantic_fields_set__", set())
        object.__setattr__(record, "__pydantic_extra__", None)
        object.__setattr__(record, "__pydantic_private__", None)
        return record

    @property
    def id(self) -> RecordId:
        """The record's id (a UUID as text)."""
        return split_document_key(document_key_of(self))[2]

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign a field: a local write of a live record."""
        if _BINDING in self.__dict__:
            self.__crdt_spec__.field(name)
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __repr_args__(self) -> Any:
        """Live records show their current values."""
        binding = self.__dict__.get(_BINDING)
        if binding is None:
            return super().__repr_args__()
        host, key = binding
        return [("id", self.id), *host.read_record(key, self.__crdt_spec__).items()]

    def __eq__(self, other: object) -> bool:
        """Live records are equal where they are the same record of the same replica."""
        if isinstance(other, Model) and (_BINDING in self.__dict__ or _BINDING in other.__dict__):
            return self.__dict__.get(_BINDING) == other.__dict__.get(_BINDING)
        return super().__eq__(other)

    def __hash__(self) -> int:
        """By record; detached objects by identity."""
        binding = self.__dict__.get(_BINDING)
        return id(self) if binding is None else hash(binding[1])

    def __iter__(self) -> Generator[tuple[str, Any], None, None]:
        """Field names with values, as ``dict(record)`` takes them."""
        if _BINDING in self.__dict__:
            yield from self._detached()
        else:
            yield from super().__iter__()

    def __copy__(self) -> Self:
        """A copy is attached to nothing; that of a live record has the values of now."""
        return self._detached() if _BINDING in self.__dict__ else super().__copy__()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy is attached to nothing; that of a live record has the values of now."""
        return self._detached() if _BINDING in self.__dict__ else super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """What is pickled: objects that are attached to nothing only."""
        if _BINDING in self.__dict__:
            raise ModelError(
                f"a live {type(self).__name__} cannot be pickled",
                hint="Pickle copy.copy(record) or its id; replica.get(Model, id) gives the record again.",
            )
        return super().__getstate__()

    @model_serializer(mode="wrap")
    def _serialize(self, serialize: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # see its docstring
        """Live records are serialised as they are now, also inside of other models and by a `TypeAdapter`.

        It names no return type: pydantic would take that, not the fields, for the JSON schema.
        """
        return serialize(self._detached() if _BINDING in self.__dict__ else self)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """The values as a dict, as pydantic does; of a live record as they are now."""
        if _BINDING not in self.__dict__:
            return super().model_dump(**options)
        options.setdefault("warnings", False)  # what another version of the model wrote is given as it is
        return self._detached().model_dump(**options)  # read out here: pydantic would wrap a closed replica's error

    def model_dump_json(self, **options: Any) -> str:
        """The values as JSON, as pydantic does; of a live record as they are now."""
        if _BINDING not in self.__dict__:
            return super().model_dump_json(**options)
        options.setdefault("warnings", False)  # what another version of the model wrote is given as it is
        return self._detached().model_dump_json(
            **options
        )  # read out here: pydantic would wrap a closed replica's error

    def _detached(self) -> Self:
        """A live record's values as a plain pydantic object; not validated, another version may have written them."""
        host, key = self.__dict__[_BINDING]
        return cast("Self", type(self).model_construct(**host.read_record(key, self.__crdt_spec__)))


def spec_of(model: type[Model]) -> ModelSpec:
    """The spec of a model class.

    Raises:
        ModelError: not a subclass of `Model`.
    """
    spec = getattr(model, "__crdt_spec__", None)
    if not isinstance(spec, ModelSpec):
        raise ModelError("a model must be a subclass of crdt_sync.Model", hint="Write `class Task(Model): …`.")
    return spec


def document_key_of(record: Model) -> DocumentKey:
    """The address of a live record.

    Raises:
        ModelError: the object is attached to no replica.
    """
    binding = record.__dict__.get(_BINDING)
    if binding is None:
        raise ModelError(
            f"this {type(record).__name__} belongs to no replica", hint="Make records with replica.create(Model, …)."
        )
    key: DocumentKey = binding[1]
    return key


def host_of(record: Model) -> RecordHost | None:
    """The replica that a live record belongs to."""
    binding = record.__dict__.get(_BINDING)
    return None if binding is None else binding[0]


def bind(model: type[M], host: RecordHost, key: DocumentKey) -> M:
    """Make a live record."""
    return model._bind(host, key)  # noqa: SLF001  the one place outside of the class that makes live records
