"""The laws that need no reference model: what must hold of any app's models, whatever happens to its replicas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from crdt_sync.core.ids import DEFAULT_PARTITION
from crdt_sync.core.kinds import PlainRegister
from crdt_sync.core.kinds.plain import members_of
from crdt_sync.core.model import Model, spec_of
from crdt_sync.core.reference import Ref
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica import Replica
from crdt_sync.testing.delivery import deliver, deliver_shuffled, newcomer, runs_of
from crdt_sync.testing.exchange import exchange
from crdt_sync.testing.showing import ABSENT, Place, Shown, differences, picture, show

Vector = Mapping[int, int]
"""Author → last entry."""


class LawBrokenError(AssertionError):
    """A law does not hold. The text names it, the model and field, and what each replica shows there.

    Args:
        law: its name.
        problem: what is wrong.
        place: where.
        shown: who shows what there.
    """

    def __init__(self, law: str, problem: str, *, place: Place | None = None, shown: Mapping[str, str] | None = None):
        self.law, self.problem, self.place, self.shown = law, problem, place or Place(), dict(shown or {})
        lines = [f"{law}: {problem}", *([f"  {self.place}"] if str(self.place) else [])]
        super().__init__("\n".join([*lines, *(f"  {who} shows {what}" for who, what in self.shown.items())]))


def vector(replica: Replica) -> Vector:
    """How far a replica holds the entries of each author."""
    ends = replica.port.vector().get(DEFAULT_PARTITION, {})
    return {int(author): position.sequence for author, position in ends.items()}


def covers(held: Vector, wanted: Vector) -> bool:
    """Whether everything wanted is held."""
    return all(held.get(author, 0) >= last for author, last in wanted.items())


def same(law: str, problem: str, seen: Sequence[tuple[str, Shown]]) -> None:
    """Hold what several show against the first.

    Args:
        law: that is broken where they differ.
        problem: what is said of it then.
        seen: who, and what it shows.

    Raises:
        LawBrokenError: they differ.
    """
    (first, shown), *others = seen
    for name, other in others:
        for place, here, there in differences(shown, other):
            texts = {who: _shown_at(place, item) for who, item in seen} if place.model else {first: here, name: there}
            raise LawBrokenError(law, problem, place=place, shown=texts)


def order(models: Sequence[type[Model]], replicas: Sequence[Replica], random: Random) -> None:
    """Newcomers that get what replicas hold in any order, nested, and again, show the same.

    Args:
        models: of the newcomers.
        replicas: which hold different parts, as a rule.
        random: shuffles.

    Raises:
        LawBrokenError: they do not.
    """
    parts = [runs_of(replica) for replica in replicas]
    first, *others = parts
    with (
        newcomer(models, *replicas) as forward,
        newcomer(models, *replicas) as backward,
        newcomer(models, *replicas) as inner,
        newcomer(models, *replicas) as nested,
    ):
        for part in parts:
            deliver(forward, part)
        for part in reversed(parts):
            deliver(backward, part)
        for part in others:
            deliver(inner, part)
        deliver_shuffled(nested, [*runs_of(inner), *first], random)
        merged = show(forward, models)
        same("order", "merging is not commutative", [("one order", merged), ("the other", show(backward, models))])
        same("order", "merging is not associative", [("in a row", merged), ("nested", show(nested, models))])
        for part in parts:
            deliver(forward, part)
        same("order", "merging is not idempotent", [("once", merged), ("again", show(forward, models))])


def late(models: Sequence[type[Model]], replica: Replica, *, name: str) -> None:
    """Who comes late, and learns all in one session, shows the same.

    Raises:
        LawBrokenError: it does not.
    """
    with newcomer(models) as other:
        if not exchange(replica, other).proven_equal:
            raise LawBrokenError("convergence", f"a newcomer met {name}, and they were not proven equal")
        seen = [(name, show(replica, models)), ("a newcomer", show(other, models))]
        same("convergence", "replicas that hold the same operations show different things", seen)


def tables(models: Sequence[type[Model]], replica: Replica, *, name: str) -> None:
    """What queries find is what records show, and deriving everything anew changes nothing.

    Raises:
        LawBrokenError: it is not so.
    """
    before = show(replica, models)
    for model in models:
        _queries(model, replica, name=name)
    replica.port.rederive([key for key, _ in before.versions])
    same(
        "tables",
        "deriving from the log anew changes what is shown",
        [(name, before), (f"{name}, anew", show(replica, models))],
    )


def _queries(model: type[Model], replica: Replica, *, name: str) -> None:
    spec = spec_of(model)
    found = {record.id: dict(record) for record in replica.find(model)}
    if replica.count(model) != len(found):
        raise LawBrokenError("tables", f"count() is not what find() gives: {len(found)}", place=Place(model=spec.name))
    for field, kind in spec.fields.items():
        if not isinstance(kind, PlainRegister):
            continue
        refers = any(isinstance(item, type) and issubclass(item, Ref) for item in members_of(kind.info.annotation))
        for record, values in found.items():
            value = values[field]
            if picture(value) != picture(value) or value != value:  # noqa: PLR0124  only NaN differs from itself
                continue
            try:
                matches = {item.id for item in replica.find(model, **{field: value})}
            except CRDTSyncError:
                continue  # another version of the model wrote it: no query can name it
            wanted = {other for other, held in found.items() if picture(held[field]) == picture(value)}
            right = refers or _like(kind, value, [found[item][field] for item in matches])
            if not (wanted <= matches and right):
                place = Place(model=spec.name, record=record, field=field)
                shown = {name: repr(value), f"find({field}=…)": repr(sorted(matches))}
                raise LawBrokenError("tables", "a query does not find what records show", place=place, shown=shown)


def _like(kind: PlainRegister, value: object, found: Sequence[object]) -> bool:
    """Whether what was found is what was asked for, as a column compares."""
    asked = kind.to_column(value)
    return all(kind.to_column(item) == asked for item in found)


def _shown_at(place: Place, shown: Shown) -> str:
    return "; ".join(_texts(place, shown)) or ABSENT


def _texts(place: Place, shown: Shown) -> Iterator[str]:
    return (item.text for there, item in shown.items() if there == place)
