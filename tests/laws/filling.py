"""What users do to lists, maps, semilattices and the attributes of texts, noted in the reference in the same breath."""

from __future__ import annotations

from typing import Any

from crdt_sync.errors import InvalidValueError
from tests.laws.models import KEYS, MAPS, entry_value
from tests.laws.reference import Dress, Drop, Give, RecordView, Touch, Unset
from tests.laws.world import Device, World

RULES = {"leader": "first", "best": "max", "least": "min"}


def change(world: World, device: Device, record: str, what: tuple[str, Any]) -> None:
    """One of the changes below, as a history names it."""
    match what:
        case ("insert", place):
            insert(world, device, record, at=place)
        case ("element", ("set", place)):
            set_element(world, device, record, at=place)
        case ("element", (_, place)):
            remove(world, device, record, at=place)
        case ("move", (place, to)):
            move(world, device, record, at=place, to=to)
        case ("put", (name, value)):
            put(world, device, record, name=name, value=value)
        case ("give", (name, value)):
            give(world, device, record, name=name, value=value)
        case ("dress", (place, value)):
            dress(world, device, record, at=place, value=value)
        case unknown:
            raise ValueError(unknown)


def element_of(value: str) -> str:
    """Which element of a list a value belongs to: each value says so in front of its colon."""
    return value.partition(":")[0]


def insert(world: World, device: Device, record: str, *, at: int) -> None:
    """Insert an element that was never there."""
    steps = world.handle(device, record).steps
    value = f"{world.new_text(1)}:0"
    if not world._allowed(device, world.view(device, record), lambda: steps.insert(at, value)):
        return
    with world.transaction(device):
        steps.insert(at % (len(steps) + 1), value)
        world._note(device, record, Touch("steps", element_of(value), value, sets=True, moves=True))


def set_element(world: World, device: Device, record: str, *, at: int) -> None:
    """Give an element a value that it never had."""
    steps = world.handle(device, record).steps
    if not world._allowed(device, world.view(device, record), lambda: steps.append("x")) or not len(steps):
        return
    at %= len(steps)
    value = f"{element_of(steps[at])}:{world.new_text(1)}"
    with world.transaction(device):
        steps[at] = value
        world._note(device, record, Touch("steps", element_of(value), value, sets=True, moves=False))


def move(world: World, device: Device, record: str, *, at: int, to: int) -> None:
    """Move an element."""
    steps = world.handle(device, record).steps
    if not world._allowed(device, world.view(device, record), lambda: steps.append("x")) or not len(steps):
        return
    at, to = at % len(steps), to % len(steps)
    value = steps[at]
    with world.transaction(device):
        steps.move(at, to)
        assert steps[to] == value
        if at != to:
            world._note(device, record, Touch("steps", element_of(value), None, sets=False, moves=True))


def remove(world: World, device: Device, record: str, *, at: int) -> None:
    """Remove an element."""
    steps = world.handle(device, record).steps
    if not world._allowed(device, world.view(device, record), lambda: steps.append("x")) or not len(steps):
        return
    with world.transaction(device):
        value = steps.pop(at % len(steps))
        world._note(device, record, Drop("steps", element_of(value)))


def put(world: World, device: Device, record: str, *, name: str, value: int | None) -> None:
    """Set an entry of a map; None takes it out."""
    field, _, key = name.partition("/")
    held = getattr(world.handle(device, record), field)
    view = world.view(device, record)
    if not world._allowed(device, view, lambda: held.update({key: entry_value(field, value or 1)})):
        return
    if value is None and key not in view.entries(field):
        world._refused(device, InvalidValueError, lambda: held.pop(key))
        return
    with world.transaction(device):
        if value is None:
            del held[key]
            world._note(device, record, Unset(name))
        else:
            held[key] = entry_value(field, value)
            world._note_write(device, record, view, name, entry_value(field, value))


def give(world: World, device: Device, record: str, *, name: str, value: Any) -> None:
    """Give a semilattice a value; what is first stays, and what is not beyond the end of an order writes nothing."""
    view = world.view(device, record)
    live = world.handle(device, record)
    if not world._allowed(device, view, lambda: setattr(live, name, value)):
        return
    now = view.given(name, rule=RULES[name])
    if name == "leader" and now not in (None, value):
        world._refused(device, InvalidValueError, lambda: setattr(live, name, value))
        return
    with world.transaction(device):
        setattr(live, name, value)
        if now is None or (name == "best" and value > now) or (name == "least" and value < now):
            world._note(device, record, Give(name, value))


def dress(world: World, device: Device, record: str, *, at: int, value: int | None) -> None:
    """Give two characters of the text an attribute, or take it away."""
    notes = world.handle(device, record).notes
    if not world._allowed(device, world.view(device, record), lambda: notes.insert(0, "x")):
        return
    length = len(notes)
    at %= length + 1
    count = min(2, length - at)
    before = notes.runs()
    with world.transaction(device):
        notes.format(at, count, size=value)
        if notes.runs() != before:
            world._note(device, record, Dress("notes"))


def compare(live: Any, view: RecordView) -> None:
    """A live record shows what the reference says of these fields."""
    steps = list(live.steps)
    assert len({element_of(value) for value in steps}) == len(steps), "an element shows twice"
    assert {element_of(value): value for value in steps} == view.steps("steps"), "a list holds other elements"
    for field in MAPS:
        shown, expected = dict(getattr(live, field)), view.entries(field)
        assert shown.keys() == expected.keys(), "a map has other keys"
        for key, value in expected.items():
            assert shown[key] == value or not view.certain(f"{field}/{key}"), f"a map differs at {field}/{key}"
        assert all((key in getattr(live, field)) is (key in view.entries(field)) for key in KEYS)
    for name, rule in RULES.items():
        assert getattr(live, name) == view.given(name, rule=rule), f"a semilattice shows another value: {name}"
