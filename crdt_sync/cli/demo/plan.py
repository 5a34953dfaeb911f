"""What the two devices do while they are apart, and what must have come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PICKED = 60
"""Of the largest cities, that the plan plays with."""
_OWN_EDITS = 20
MERGED_NOTES = "Go in spring. A large city. Best seen from the river."
"""What one text must be, after each device wrote at another end of it."""

Edits = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Edits of each device, and the records in which they meet.

    Args:
        before: edits that both have seen before they part.
        laptop, phone: edits in the order in which they are made; the phone's come later.
        same_text, same_counter, same_register, deleted, kept, clash: ids of the records that show something.
    """

    before: Edits
    laptop: Edits
    phone: Edits
    same_text: str
    same_counter: str
    same_register: str
    deleted: str
    kept: str
    clash: str


def make_plan(cities: list[dict[str, str]]) -> Plan:
    """Plan edits over the ids of `PICKED` cities."""
    ids = [city["id"] for city in cities]
    text, counter, register, deleted, kept, clash = ids[:6]
    mine, yours = ids[6 : 6 + _OWN_EDITS], ids[6 + _OWN_EDITS : 6 + 2 * _OWN_EDITS]
    laptop: Edits = [
        *({"op": "set", "id": city, "values": {"population": 1_000_000 + at}} for at, city in enumerate(mine)),
        {"op": "append", "id": text, "text": "Best seen from the river."},
        {"op": "visit", "id": counter, "n": 3},
        {"op": "tag", "id": counter, "tag": "seen"},
        {"op": "set", "id": register, "values": {"population": 11_111_111}},
        {"op": "delete", "id": deleted},
        {"op": "delete", "id": kept},
        {"op": "set", "id": clash, "values": {"twin_city": "Zürich"}},
        *({"op": "create", "values": _village("Laptop", at)} for at in range(3)),
    ]
    phone: Edits = [
        *({"op": "set", "id": city, "values": {"population": 2_000_000 + at}} for at, city in enumerate(yours)),
        {"op": "prepend", "id": text, "text": "Go in spring. "},
        {"op": "visit", "id": counter, "n": 4},
        {"op": "tag", "id": counter, "tag": "again"},
        {"op": "set", "id": register, "values": {"population": 22_222_222}},
        {"op": "append", "id": kept, "text": "Do not forget this one."},
        {"op": "set", "id": clash, "values": {"twin_city": "Lisbon"}},
        *({"op": "create", "values": _village("Phone", at)} for at in range(2)),
    ]
    return Plan(
        before=[{"op": "append", "id": text, "text": "A large city. "}],
        laptop=laptop,
        phone=phone,
        same_text=text,
        same_counter=counter,
        same_register=register,
        deleted=deleted,
        kept=kept,
        clash=clash,
    )


def _village(name: str, number: int) -> dict[str, Any]:
    return {
        "name": f"{name} village {number + 1}",
        "country": "CH",
        "population": 100 + number,
        "latitude": 46.9,
        "longitude": 7.4,
        "timezone": "Europe/Zurich",
    }
