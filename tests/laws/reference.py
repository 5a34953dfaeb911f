"""A causal reference model: what users must see, computed from what was done and what each doer had seen.

It knows nothing of documents, keys, contexts or engines. A history is a set of operations, each with the set of those
that its author had applied before; everything else follows from set arithmetic, slowly. The package is held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

OpId = tuple[int, int, int]
"""Author, sequence of the entry, place in the entry. Sorted, an author's operations stand in the order of doing."""


@dataclass(frozen=True, slots=True)
class Create:
    """A new record: what its registers begin with, and which of that nobody gave."""

    values: tuple[tuple[str, Any], ...]
    defaults: frozenset[str]


@dataclass(frozen=True, slots=True)
class Delete:
    """The record goes, with all that was seen of it."""


@dataclass(frozen=True, slots=True)
class Restore:
    """The deletions that were seen are taken back."""


@dataclass(frozen=True, slots=True)
class About:
    """Something about one field."""

    field: str


@dataclass(frozen=True, slots=True)
class Write(About):
    """A value for a register, in place of everything seen."""

    value: Any


@dataclass(frozen=True, slots=True)
class Settle(About):
    """A value for a register, in place of the chosen writes and of what these replaced, and of nothing else."""

    value: Any
    targets: frozenset[OpId]


@dataclass(frozen=True, slots=True)
class Unset(About):
    """An entry out of a map: every write of its register that was seen."""


@dataclass(frozen=True, slots=True)
class Give(About):
    """A value for a semilattice."""

    value: Any


@dataclass(frozen=True, slots=True)
class Count(About):
    """An increment."""

    step: int


@dataclass(frozen=True, slots=True)
class Add(About):
    """An element into a set."""

    element: Any


@dataclass(frozen=True, slots=True)
class Remove(About):
    """An element out of a set: every adding of it that was seen."""

    element: Any


@dataclass(frozen=True, slots=True)
class Touch(About):
    """An element of a list inserted (``sets`` and ``moves``), set, or moved."""

    element: str
    value: Any
    sets: bool
    moves: bool


@dataclass(frozen=True, slots=True)
class Drop(About):
    """An element out of a list, as it was seen."""

    element: str


@dataclass(frozen=True, slots=True)
class Type(About):
    """A text edit; no character is ever used twice. ``result`` is the text that its author saw afterwards."""

    inserted: frozenset[str]
    removed: frozenset[str]
    result: str


@dataclass(frozen=True, slots=True)
class Dress(About):
    """Attributes of a text; the text stays."""


Action = Create | Write | Settle | Count | Add | Remove | Type | Delete | Restore | Give | Unset | Touch | Drop | Dress


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing done to one record, and what its author had applied of this record before."""

    id: OpId
    hlc: int
    record: str
    seen: frozenset[OpId]
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A value that stands in a register."""

    value: Any
    hlc: int
    author: int
    id: OpId


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A conflict: latest candidate first; where they overlap, and what is shown meanwhile."""

    base: Any
    candidates: tuple[Choice, ...]
    paths: tuple[str, ...]
    value: Any


class Rule(Protocol):
    """What concurrent values of a register come to."""

    @property
    def by_base(self) -> bool:
        """Whether that depends on what they grew from."""
        ...

    def __call__(self, base: Any, found: tuple[Choice, ...]) -> tuple[Any, tuple[str, ...]]:
        """The value that is shown, and where a person is asked."""
        ...


KEPT = 16
"""So many replaced values are kept; with more, a base may be unknown."""


@dataclass(slots=True, kw_only=True)
class Reference:
    """All operations of a history.

    Args:
        defaults: what registers show that nobody wrote, by field.
        rules: what concurrent values that differ come to, by register; the latest is shown of those without a rule.
        policies: model → what becomes of an edit made at once with a deletion.
    """

    defaults: dict[str, Any]
    rules: dict[str, Rule]
    policies: dict[str, str]
    operations: dict[str, dict[OpId, Operation]] = field(default_factory=dict)

    def add(self, operation: Operation) -> None:
        """Note what was done."""
        self.operations.setdefault(operation.record, {})[operation.id] = operation

    def date(self, operations: Iterable[Operation], hlc: int) -> list[Operation]:
        """Give operations the timestamp of the entry that they became."""
        dated = [replace(item, hlc=hlc) for item in operations]
        for item in dated:
            self.add(item)
        return dated

    def forget(self, operations: Iterable[Operation]) -> None:
        """Take back what was rolled back."""
        for operation in operations:
            del self.operations[operation.record][operation.id]

    def rename(self, renamed: Callable[[OpId], OpId]) -> None:
        """Give operations other names, wherever they are named."""

        def again(item: Operation) -> Operation:
            action = item.action
            if isinstance(action, Settle):
                action = replace(action, targets=frozenset(map(renamed, action.targets)))
            return replace(item, id=renamed(item.id), seen=frozenset(map(renamed, item.seen)), action=action)

        for record, operations in self.operations.items():
            self.operations[record] = {item.id: item for item in map(again, operations.values())}

    def records(self) -> list[str]:
        """Every record that anything was ever done to."""
        return [record for record, operations in self.operations.items() if operations]

    def view(self, record: str, known: AbstractSet[OpId]) -> RecordView:
        """What somebody sees of a record who knows these operations."""
        operations = {name: item for name, item in self.operations.get(record, {}).items() if name in known}
        return RecordView(self, operations, self.policies[record.split(maxsplit=1)[0]])


class RecordView:
    """One record, as seen by who knows ``operations``: a downward closed part of its history."""

    def __init__(self, reference: Reference, operations: dict[OpId, Operation], policy: str) -> None:
        self._reference = reference
        self._policy = policy
        self._operations = operations
        self._written: dict[str, list[Operation]] | None = None
        self._chosen: dict[str, tuple[Choice, ...]] = {}
        self._replaced: dict[tuple[OpId, str], frozenset[OpId]] = {}
        self._values: dict[tuple[OpId, str], tuple[tuple[int, int], Any]] = {}

    @property
    def known(self) -> bool:
        """Whether the record was ever heard of."""
        return bool(self._operations)

    @property
    def ids(self) -> frozenset[OpId]:
        """The operations known."""
        return frozenset(self._operations)

    def tombstones(self) -> list[Operation]:
        """The deletions that no later deletion or restoring saw."""
        deletes = [item for item in self._operations.values() if isinstance(item.action, Delete)]
        removed = {
            seen
            for item in self._operations.values()
            if isinstance(item.action, Delete | Restore)
            for seen in item.seen
        }
        return [item for item in deletes if item.id not in removed]

    def live(self) -> bool:
        """Whether it is shown: where edits win or somebody is asked, if anything was done that no deletion saw."""
        if not self.tombstones():
            return self.known
        return self._policy != "delete_wins" and bool(self.unseen())

    def asks(self) -> bool:
        """Whether somebody has to say if it stays deleted."""
        return self._policy == "ask" and bool(self.tombstones()) and self.live()

    def unseen(self) -> set[OpId]:
        """The operations that no deletion saw or is."""
        tombstones = self.tombstones()
        return set(self._operations).difference({item.id for item in tombstones}, *(item.seen for item in tombstones))

    def choices(self, name: str) -> tuple[Choice, ...]:
        """The writes of a register that none replaced, latest first; a default only where nobody gave anything."""
        found = self._chosen.get(name)
        if found is None:
            found = self._chosen[name] = self._find_choices(name)
        return found

    def _find_choices(self, name: str) -> tuple[Choice, ...]:
        writes = self._writes(name)
        replaced: set[OpId] = set().union(*(self._replaces(item, name) for item in writes))
        replaced = replaced.union(*(item.seen for item in self._operations.values() if item.action == Unset(name)))
        standing = [item for item in writes if item.id not in replaced]
        given = [item for item in standing if not (isinstance(item.action, Create) and name in item.action.defaults)]
        return _latest_first(name, given) if given else _latest_first(name, standing)[:1]

    def value(self, name: str) -> Any:
        """What a register shows."""
        found = self.choices(name)
        clash = self._merged(name, found)
        if clash is not None:
            return clash.value
        return found[0].value if found else self._reference.defaults[name]

    def certain(self, name: str) -> bool:
        """Whether the base of a register is kept for sure, or does not matter to what is shown.

        What an entry grew from may have been taken out of its map.
        """
        rule = self._reference.rules.get(name)
        return rule is None or not rule.by_base or not (self.unset(name) or len(self._writes(name)) > KEPT)

    def clash(self, name: str) -> Clash | None:
        """The conflict of a register, if it has one."""
        clash = self._merged(name, self.choices(name))
        return clash if clash is not None and clash.paths else None

    def _merged(self, name: str, found: tuple[Choice, ...]) -> Clash | None:
        """What concurrent values come to; None where all are equal, or the register has no rule."""
        rule = self._reference.rules.get(name)
        if rule is None or _agree(found):
            return None
        base = self._base(name, found)
        value, paths = rule(base, found)
        return Clash(base=base, candidates=found, paths=paths, value=value)

    def conflicts(self) -> dict[str, Clash]:
        """All conflicts, by field; a dead record has none."""
        if not self.live():
            return {}
        found = {name: self.clash(name) for name in sorted(self._reference.rules)}
        return {name: clash for name, clash in found.items() if clash is not None}

    def unset(self, name: str) -> bool:
        """Whether somebody took this entry out of its map; what it replaced is not kept then."""
        return any(item.action == Unset(name) for item in self._operations.values())

    def entries(self, name: str) -> dict[str, Any]:
        """A map: the entries that have a write which none replaced or took out."""
        registers = {
            item.action.field
            for item in self._operations.values()
            if isinstance(item.action, Write | Settle) and item.action.field.startswith(f"{name}/")
        }
        return {
            register.removeprefix(f"{name}/"): self.value(register)
            for register in sorted(registers)
            if self.choices(register)
        }

    def given(self, name: str, *, rule: str) -> Any:
        """A semilattice: ``first``, ``max`` or ``min`` of what was given; None is nothing."""
        found: list[tuple[int, OpId, Any]] = []
        for item in self._operations.values():
            if isinstance(item.action, Create):
                found.append((*_age(item), dict(item.action.values).get(name)))
            elif isinstance(item.action, Give) and item.action.field == name:
                found.append((*_age(item), item.action.value))
        found = [item for item in found if item[2] is not None]
        if not found:
            return None
        if rule == "first":
            return min(found, key=lambda item: item[:2])[2]
        return (max if rule == "max" else min)(item[2] for item in found)

    def steps(self, name: str) -> dict[str, Any]:
        """A list, without its order: element → value, for those with a touch that no removal saw."""
        actions = (item.action for item in self._operations.values())
        elements = {action.element for action in actions if isinstance(action, Touch) and action.field == name}
        shown = {element: self._value_of_element(name, element, self.ids) for element in elements}
        return {element: value[1] for element, value in shown.items() if value is not None}

    def _value_of_element(
        self, name: str, element: str, known: AbstractSet[OpId]
    ) -> tuple[tuple[int, int], Any] | None:
        """Stamp and value of an element, as who knows these operations sees it; None where it is not there.

        Each touch carries a value, its own or the one that it saw; a touch is gone where another touch or a removal
        of the element saw it.
        """
        items = [item for name_, item in self._operations.items() if name_ in known and _is_about(item, name, element)]
        gone: set[OpId] = set().union(*(item.seen for item in items))
        carried = [
            self._carried(item, name, element)
            for item in items
            if isinstance(item.action, Touch) and item.id not in gone
        ]
        return max(carried, key=lambda held: held[0], default=None)

    def _carried(self, item: Operation, name: str, element: str) -> tuple[tuple[int, int], Any]:
        held = self._values.get((item.id, element))
        if held is None:
            assert isinstance(item.action, Touch)
            before = self._value_of_element(name, element, item.seen)
            if item.action.sets:
                number = item.hlc if before is None else max(item.hlc, before[0][0] + 1)
                held = (number, item.id[0]), item.action.value
            else:
                assert before is not None, "an element was moved that was not there"
                held = before
            self._values[item.id, element] = held
        return held

    def count(self, name: str) -> int:
        """The sum of all increments."""
        actions = (item.action for item in self._operations.values())
        return sum(action.step for action in actions if isinstance(action, Count) and action.field == name)

    def elements(self, name: str) -> set[Any]:
        """Add wins: what has an adding that no removal saw."""
        removals = [
            item for item in self._operations.values() if isinstance(item.action, Remove) and item.action.field == name
        ]
        return {
            item.action.element
            for item in self._operations.values()
            if isinstance(item.action, Add)
            and item.action.field == name
            and not any(
                isinstance(removal.action, Remove)
                and removal.action.element == item.action.element
                and item.id in removal.seen
                for removal in removals
            )
        }

    def characters(self, name: str) -> set[str]:
        """The characters of a text: all that were typed and that nobody deleted."""
        edits = self._edits(name)
        typed: set[str] = set().union(*(edit.inserted for edit in edits))
        return typed.difference(*(edit.removed for edit in edits))

    def misplaced(self, name: str, text: str) -> list[str]:
        """The texts that somebody saw in which characters of ``text`` stood in another order."""
        place = {character: at for at, character in enumerate(text)}
        found: list[str] = []
        for edit in self._edits(name):
            places = [place[character] for character in edit.result if character in place]
            if places != sorted(places):
                found.append(edit.result)
        return found

    def writes_of(self, name: str) -> list[Operation]:
        """The writes of a register, each author's in order."""
        return sorted(self._writes(name), key=lambda item: item.id)

    def _edits(self, name: str) -> list[Type]:
        actions = (item.action for item in self._operations.values())
        return [action for action in actions if isinstance(action, Type) and action.field == name]

    def _writes(self, name: str) -> list[Operation]:
        if self._written is None:
            self._written = {}
            for item in self._operations.values():
                for register in _registers_of(item):
                    self._written.setdefault(register, []).append(item)
        return self._written.get(name, [])

    def _replaces(self, item: Operation, name: str) -> frozenset[OpId]:
        """The writes of a register that a write takes the place of."""
        held = self._replaced.get((item.id, name))
        if held is None:
            held = self._replaced[item.id, name] = self._find_replaced(item, name)
        return held

    def _find_replaced(self, item: Operation, name: str) -> frozenset[OpId]:
        if not isinstance(item.action, Settle):
            return frozenset(write.id for write in self._writes(name) if write.id in item.seen)
        targets = [self._operations[target] for target in item.action.targets]
        return item.action.targets.union(*(self._replaces(target, name) for target in targets))

    def _base(self, name: str, among: tuple[Choice, ...]) -> Any:
        """The greatest write in the past of all; of several their own merge. The default where nobody had written."""
        pasts = [self._replaces(self._operations[choice.id], name) for choice in among]
        common = pasts[0].intersection(*pasts[1:])
        shared = [self._operations[name_] for name_ in common]
        below: set[OpId] = set().union(*(self._replaces(item, name) for item in shared))
        greatest = _latest_first(name, (item for item in shared if item.id not in below))
        if not greatest:
            return self._reference.defaults[name]
        clash = self._merged(name, greatest)
        return greatest[0].value if clash is None else clash.value


def value_of(operation: Operation, name: str) -> Any:
    """What an operation writes into a register."""
    match operation.action:
        case Create(values, _):
            return dict(values)[name]
        case Write(_, value) | Settle(_, value):
            return value
        case _:
            raise TypeError(f"{operation.action} writes no register")


def _registers_of(operation: Operation) -> tuple[str, ...]:
    """The registers that an operation writes."""
    match operation.action:
        case Create(values, _):
            return tuple(name for name, _ in values)
        case Write(written, _) | Settle(written, _):
            return (written,)
        case _:
            return ()


def _is_about(operation: Operation, name: str, element: str) -> bool:
    action = operation.action
    return isinstance(action, Touch | Drop) and (action.field, action.element) == (name, element)


def _latest_first(name: str, writes: Iterable[Operation]) -> tuple[Choice, ...]:
    found = sorted(writes, key=_age, reverse=True)
    return tuple(Choice(value=value_of(item, name), hlc=item.hlc, author=item.id[0], id=item.id) for item in found)


def _agree(values: tuple[Choice, ...]) -> bool:
    return all((type(item.value), item.value) == (type(values[0].value), values[0].value) for item in values)


def _age(operation: Operation) -> tuple[int, OpId]:
    return operation.hlc, operation.id
