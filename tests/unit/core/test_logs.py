"""Log messages: a sentence and fields, in the text and as data."""

from __future__ import annotations

import logging

import pytest

from crdt_sync.core.logs import FIELDS, told

log = logging.getLogger("crdt_sync.test")


def test_fields_are_in_the_text_and_in_the_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=log.name):
        told(log, logging.INFO, "it happened", count=3, delay_s=0.25, url="ws://h:1/x", why='no "room"\nleft', empty="")
    (record,) = caplog.records
    shown = 'it happened count=3 delay_s=0.250 url=ws://h:1/x why="no \\"room\\"\\nleft" empty=""'
    assert record.getMessage() == shown
    assert getattr(record, FIELDS)["why"] == 'no "room"\nleft'
    assert record.filename == "test_logs.py"


def test_what_is_not_wanted_is_not_made(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger=log.name):
        told(log, logging.INFO, "it happened")
    assert caplog.records == []
