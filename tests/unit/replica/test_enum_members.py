"""A member of an Enum stands for its value in a field of that Enum alone; elsewhere it is a value of the wrong type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any

import pytest
from pydantic import BeforeValidator, field_validator, model_validator

from crdt_sync import ASK, DELETED, KEEP_BOTH, UNKNOWN, List, Map, Model, Replica, Set, ask, field
from crdt_sync.errors import InvalidValueError, UnrepresentableValueError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory


class Colour(Enum):
    RED = "red"
    FIVE = 5


class Other(Enum):
    RED = "red"


class Size(IntEnum):
    BIG = 7


class Shape(StrEnum):
    ROUND = "round"


class Task(Model):
    due: int | None = ask(default=None)
    n: int = 0
    s: str = ""
    f: float = 0.0
    anything: Any = None
    plain: list[int] = field(default_factory=list)
    pair: tuple[int, str] = (1, "a")
    named: dict[str, str] = field(default_factory=dict)
    votes: List[int]
    tags: Set[str]
    sizes: Map[str, int]


class Painted(Model):
    colour: Colour = Colour.RED
    maybe: Colour | int | None = None
    pair: tuple[Colour | int, ...] = ()
    several: list[Colour] = field(default_factory=list)
    votes: List[Colour]
    tags: Set[Colour]
    sizes: Map[str, Colour]
    taken: Annotated[str, BeforeValidator(lambda value: value.value if isinstance(value, Enum) else value)] = ""
    judged: str = ""
    size: int = 0
    shape: str = ""

    @field_validator("judged", mode="before")
    @classmethod
    def as_text(cls, value: Any) -> Any:
        return value.value if isinstance(value, Enum) else value


class Whole(Model):
    colour: str = ""

    @model_validator(mode="before")
    @classmethod
    def as_text(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


WRONG = [Colour.RED, Colour.FIVE, UNKNOWN, ASK, KEEP_BOTH, DELETED]
WRITES: dict[str, Callable[[Replica, Task, Any], object]] = {
    "int": lambda _, task, value: setattr(task, "n", value),
    "optional": lambda _, task, value: setattr(task, "due", value),
    "str": lambda _, task, value: setattr(task, "s", value),
    "float": lambda _, task, value: setattr(task, "f", value),
    "any": lambda _, task, value: setattr(task, "anything", value),
    "in a list": lambda _, task, value: setattr(task, "plain", [1, value]),
    "list for a tuple": lambda _, task, value: setattr(task, "pair", [1, value]),
    "in a dict": lambda _, task, value: setattr(task, "named", {"a": value}),
    "key of a dict": lambda _, task, value: setattr(task, "named", {value: "a"}),
    "several": lambda replica, task, value: replica.update(task, n=1, s=value),
    "creation": lambda replica, _, value: replica.create(Task, n=value),
    "creation with a list": lambda replica, _, value: replica.create(Task, votes=[value]),
    "creation with a set": lambda replica, _, value: replica.create(Task, tags=[value]),
    "creation with a map": lambda replica, _, value: replica.create(Task, sizes={"a": value}),
    "append": lambda _, task, value: task.votes.append(value),
    "assigned list": lambda _, task, value: setattr(task, "votes", [value]),
    "element": lambda _, task, value: task.votes.__setitem__(0, value),
    "add": lambda _, task, value: task.tags.add(value),
    "assigned set": lambda _, task, value: setattr(task, "tags", {value}),
    "entry": lambda _, task, value: task.sizes.__setitem__("a", value),
    "assigned map": lambda _, task, value: setattr(task, "sizes", {"a": value}),
    "key of a map": lambda _, task, value: task.sizes.__setitem__(value, 1),
    "sought": lambda replica, _, value: replica.find(Task, n=value),
    "sought text": lambda replica, _, value: replica.find(Task, s=value),
}


@pytest.fixture
def replica() -> Iterator[Replica]:
    with memory(1, Task, Painted, Whole) as opened:
        yield opened


@pytest.mark.parametrize("value", WRONG, ids=str)
@pytest.mark.parametrize("write", WRITES)
def test_a_member_is_no_value_of_another_type(replica: Replica, write: str, value: Any) -> None:
    task = replica.create(Task, votes=[1])
    before = dict(task)
    with pytest.raises((InvalidValueError, UnrepresentableValueError)):
        WRITES[write](replica, task, value)
    assert dict(replica.get(Task, task.id)) == before
    assert replica.count(Task) == 1
    assert not list(replica.invalid())


@pytest.mark.parametrize("value", [Colour.RED, Colour.FIVE, ASK, UNKNOWN], ids=str)
def test_no_conflict_is_settled_by_one(replica: Replica, value: Any) -> None:
    with memory(2, Task, Painted, Whole) as other:
        task = replica.create(Task)
        exchange(replica, other)
        task.due, other.get(Task, task.id).due = 1, 2
        exchange(replica, other)
        (conflict,) = replica.conflicts()
        with pytest.raises(InvalidValueError):
            replica.resolve(conflict, value=value)
        assert replica.conflicts() == [conflict]


def test_fields_of_an_enum_take_its_members(replica: Replica) -> None:
    painted = replica.create(Painted, colour=Colour.FIVE, votes=[Colour.RED], tags={Colour.RED})
    painted.maybe = Colour.RED
    painted.pair = [1, Colour.RED]  # type: ignore[assignment]  # pydantic makes it a tuple
    painted.several = [Colour.RED, Colour.FIVE]
    painted.votes.append(Colour.FIVE)
    painted.tags.add(Colour.FIVE)
    painted.sizes["a"] = Colour.RED
    painted.size, painted.shape = Size.BIG, Shape.ROUND
    replica.update(painted, colour=Colour.RED, maybe=5)
    assert dict(painted) == {
        "colour": Colour.RED,
        "maybe": 5,
        "pair": (1, Colour.RED),
        "several": [Colour.RED, Colour.FIVE],
        "votes": [Colour.RED, Colour.FIVE],
        "tags": {Colour.RED, Colour.FIVE},
        "sizes": {"a": Colour.RED},
        "taken": "",
        "judged": "",
        "size": 7,
        "shape": "round",
    }
    assert replica.find(Painted, colour=Colour.RED)
    assert not list(replica.invalid())


def test_a_member_of_another_enum_with_the_same_value_is_another_thing(replica: Replica) -> None:
    painted = replica.create(Painted)
    with pytest.raises(InvalidValueError):
        painted.colour = Other.RED  # type: ignore[assignment]  # what is tried


def test_validators_may_make_values_of_members(replica: Replica) -> None:
    painted = replica.create(Painted, taken=Colour.RED, judged=Colour.RED)
    assert (painted.taken, painted.judged) == ("red", "red")
    replica.update(painted, taken=Other.RED, judged=Other.RED)
    whole = replica.create(Whole, colour=Colour.RED)
    whole.colour = Other.RED  # type: ignore[assignment]  # what is tried
    assert whole.colour == "red"
