"""How this package logs: a sentence, then what it is about as ``key=value``, which handlers get as data, too.

Fields name devices, authors, documents, numbers and reasons; never keys of devices, and never what is in a record.
"""

from __future__ import annotations

import json
import logging
import re
from urllib.parse import urlsplit, urlunsplit

FIELDS = "crdt_sync"
"""The attribute of a log record that holds the fields as a dict."""
_PLAIN = re.compile(r"[\w./:@+-]+", re.ASCII)

Field = str | int | float


def told(log: logging.Logger, level: int, text: str, /, **fields: Field) -> None:
    """Log a sentence with its fields.

    Args:
        log: the module's logger.
        level: of `logging`.
        text: what happened, always in the same words.
        fields: what it is about; texts with spaces are quoted as in JSON.
    """
    if log.isEnabledFor(level):
        pairs = "".join(f" {name}={_shown(value)}" for name, value in fields.items())
        log.log(level, "%s%s", text, pairs, extra={FIELDS: fields}, stacklevel=2)


def shown_url(url: str) -> str:
    """An address without what may be secret in it: user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _shown(value: Field) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    shown = str(value)
    return shown if _PLAIN.fullmatch(shown) else json.dumps(shown, ensure_ascii=False)
