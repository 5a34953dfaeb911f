"""Newcomers with the models of the random histories; how they are given what others hold is in the test kit."""

from __future__ import annotations

from crdt_sync.replica import Replica
from crdt_sync.testing import delivery
from crdt_sync.testing.delivery import deliver, deliver_content, deliver_shuffled, regrouped, runs_of
from tests.laws.models import MODELS

__all__ = ["deliver", "deliver_content", "deliver_shuffled", "newcomer", "regrouped", "runs_of"]


def newcomer(*sources: Replica) -> Replica:
    """An empty replica that knows the devices which the others know."""
    return delivery.newcomer(MODELS, *sources)
