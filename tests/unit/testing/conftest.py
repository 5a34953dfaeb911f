"""Replicas for the tests of the kit."""

from __future__ import annotations

from tests.unit.replica.conftest import pair, replica

__all__ = ["pair", "replica"]
