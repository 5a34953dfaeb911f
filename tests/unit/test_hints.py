"""Every error that the package makes says what the user can do: by its class, or by the hint that it is given."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import crdt_sync
from crdt_sync import Model, Ref, errors
from crdt_sync.errors import CRDTSyncError, ModelError
from tests.unit.replica.devices import memory

PACKAGE = Path(crdt_sync.__file__).parent
ERRORS = {
    name: found for name, found in vars(errors).items() if inspect.isclass(found) and issubclass(found, CRDTSyncError)
}


def without_hint(source: str) -> Iterator[int]:
    """The lines in which an error is made that says nothing of what to do."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        made = ERRORS.get(getattr(node.func, "id", getattr(node.func, "attr", "")))
        given = next((keyword.value for keyword in node.keywords if keyword.arg == "hint"), None)
        if made is None:
            continue
        says_nothing = isinstance(given, ast.Constant) and not given.value
        if says_nothing or (given is None and not made.default_hint):
            yield node.lineno


def test_no_error_of_the_package_lacks_a_hint() -> None:
    found = {str(path.relative_to(PACKAGE)): list(without_hint(path.read_text())) for path in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('raise ModelError("a")', [1]),
        ('\nraise errors.StoreError("a") from None', [2]),
        ('error = ConflictError("a", hint="")', [1]),
        ('raise InvalidValueError("a", hint=None)', [1]),
        ('raise ModelError("a", hint="b")', []),
        ('raise InvalidValueError("a")', []),
        ('raise ValueError("a")', []),
    ],
)
def test_an_error_without_a_hint_is_found(source: str, lines: list[int]) -> None:
    assert list(without_hint(source)) == lines


class Person(Model):
    name: str = ""


class Place(Model):
    name: str = ""


class Visit(Model):
    who: Ref[Person] | None = None


def test_a_reference_to_another_model_says_what_to_give() -> None:
    with memory(1, Person, Place, Visit) as replica:
        visit = replica.create(Visit)
        place = replica.create(Place)
        with pytest.raises(ModelError) as caught:
            visit.who = Ref["Place"](place.id)  # type: ignore[assignment]  # what is tried
        assert caught.value.hint
