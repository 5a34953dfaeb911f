"""No test of whole replicas leaves a task behind."""

from __future__ import annotations

from tests.unit.aio.conftest import nothing_left_running

__all__ = ["nothing_left_running"]
