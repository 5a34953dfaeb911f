"""References: a field that names a record of another model. It is stored as that record's id."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from crdt_sync.core.ids import RecordId, record_id
from crdt_sync.errors import InputError, ModelError

M = TypeVar("M")

_MODELS_CACHED: Final = 4096


class _Replica(Protocol):
    """What a reference needs to find its record."""

    def model(self, name: str) -> Any:
        """A model by name."""

    def get(self, model: Any, id: str, /) -> Any:
        """A live record by id."""


class Ref(Generic[M]):
    """Names a record by model and id, whether or not there is one. Equal where both are equal.

    Declare ``owner: Ref[Person]``, or ``Ref["Person"]`` where the class is not known yet. A field takes a reference, a
    live record or an id.

    Args:
        id: the record's id.

    Raises:
        InputError: it is no UUID.
    """

    __slots__ = ("id",)
    model: ClassVar[str] = ""
    """The model's name."""

    def __init__(self, id: str | UUID) -> None:
        if not self.model:
            raise ModelError("a reference names a model", hint='Write Ref["Person"](id).')
        self.id: RecordId = record_id(id)

    def __class_getitem__(cls, target: Any) -> Any:
        """The type of references to a model, given as class or name; to one that a type variable stands for, any."""
        if isinstance(target, TypeVar):
            return cls
        name = target if isinstance(target, str) else getattr(target, "__name__", None)
        if cls.model or not isinstance(name, str) or not name.isidentifier():
            raise TypeError("a reference is to one model: write Ref[Person] or Ref['Person']")
        return _to(name)

    def get(self, replica: _Replica) -> M:
        """The record itself, live.

        Raises:
            RecordNotFoundError: there is none, or it was deleted.
            UnknownModelError: the replica was not opened with its model.
            InputError: no replica.
        """
        if not callable(getattr(replica, "model", None)):
            raise InputError(
                f"a reference is followed in a replica, not in a {type(replica).__name__}",
                hint="Write task.owner.get(replica).",
            )
        return cast("M", replica.get(replica.model(self.model), self.id))

    @classmethod
    def of(cls, value: Any) -> Self:
        """The reference that a value stands for: one to the same model, a live record of it, or an id.

        Raises:
            ModelError: a record of another model, or one that belongs to no replica.
            InputError: no UUID.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, Ref):
            raise ModelError(
                f"a reference to a {cls.model} is expected, not to a {value.model}",
                hint=f"Give a {cls.model}, or its id.",
            )
        if isinstance(value, BaseModel):
            name = type(value).__name__
            if name != cls.model or not hasattr(value, "__crdt_spec__"):
                raise ModelError(
                    f"a {cls.model} is expected, not a {name}", hint="Give a record of the model, or its id."
                )
            return cls(cast("Any", value).id)
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A reference is validated from whatever `of` takes; in JSON it is the id."""
        ids = core_schema.str_schema(metadata={"pydantic_js_updates": {"format": "uuid"}})
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(cls._taken, ids),
            python_schema=core_schema.no_info_plain_validator_function(cls._taken),
            serialization=core_schema.plain_serializer_function_ser_schema(_id_of, when_used="json"),
        )

    @classmethod
    def _taken(cls, value: Any) -> Self:
        try:
            return cls.of(value)
        except InputError:
            raise PydanticCustomError("ref", "a record, a reference or an id (a UUID) is expected") from None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ref):
            return (self.model, self.id) == (other.model, other.id)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.model, self.id))

    def __repr__(self) -> str:
        return f"Ref[{self.model!r}]({self.id!r})"

    def __str__(self) -> str:
        return self.id

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return _made, (self.model, self.id)


@lru_cache(maxsize=_MODELS_CACHED)
def _to(name: str) -> type[Ref[Any]]:
    return type(f"Ref[{name}]", (Ref,), {"model": name, "__slots__": (), "__module__": Ref.__module__})


def _made(name: str, id: str) -> Ref[Any]:
    return _to(name)(id)


def _id_of(reference: Ref[Any]) -> str:
    return str(reference.id)
