"""Models made at run time: out of a file, or of what a store remembers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

from pydantic import create_model

from crdt_sync.core.model import Model


def make_model(name: str, *, keywords: Mapping[str, Any], fields: Mapping[str, Any]) -> type[Model]:
    """A subclass of `Model`.

    Args:
        name: the model's name.
        keywords: those of its class statement, such as ``key``.
        fields: name → annotation and default, as pydantic takes them.

    Raises:
        SchemaError: a declaration in it cannot work.
        ValueError, TypeError, NameError, PydanticUserError: pydantic cannot build it.
    """
    with warnings.catch_warnings():
        # A field named `copy` or `json` hides a method that pydantic keeps for old code, and harms nothing.
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute", category=UserWarning)
        made = create_model(name, __base__=Model, __cls_kwargs__=dict(keywords), **cast("Any", dict(fields)))
    return cast("type[Model]", made)
