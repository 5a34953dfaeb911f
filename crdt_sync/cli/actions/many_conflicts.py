"""The action that settles many conflicts by one rule."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from crdt_sync.cli.actions.base import Action, Json, model_of
from crdt_sync.cli.actions.conflicts import (
    CONFLICTS_MAX,
    TAKE_CHARS_MAX,
    check_proposal,
    choices_of,
    taken,
    title_of,
)
from crdt_sync.core.conflict import Candidate, Choice, Conflict, ConflictKind
from crdt_sync.core.model import spec_of
from crdt_sync.errors import InputError
from crdt_sync.replica import Replica
from crdt_sync.replica.conflicts import Rule

watcher: ContextVar[Callable[[int, int], None] | None] = ContextVar("watcher", default=None)
"""Told of (conflicts done, conflicts in total), where the work is done in this process."""

PROPOSAL: Final = "proposal"
WORDS = ("delete", "keep", "both")
"""What `choices_of` offers by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveAllParams:
    """Args: model: whose conflicts; field: of this field only; take: the rule; dry_run: only say what it would do."""

    model: str
    take: str
    field: str | None = None
    dry_run: bool = False


def resolve_all(replica: Replica, params: ResolveAllParams) -> Json:
    """Settle the open conflicts of a model, or of a field, that a rule has an answer for."""
    model = model_of(replica, params.model)
    if params.field is not None:
        spec_of(model).field(params.field)
    rule, found = rule_of(params.take), replica.conflicts(model=model)
    matching = [item for item in found if params.field in (None, item.field)]
    if params.take == PROPOSAL:
        for conflict in matching:
            check_proposal(replica, conflict)
    answered = [item for item in matching if not callable(rule) or rule(item) is not None]
    settled = len(answered)
    if not params.dry_run:
        settled = replica.resolve_all(model=model, field=params.field, take=rule, progress=watcher.get())
    told = [
        {
            "id": item.id,
            "record_id": item.record_id,
            "title": title_of(replica, model, item.record_id),
            "kind": item.kind.value,
            "field": item.field,
            "register": item.register,
        }
        for item in (answered[:CONFLICTS_MAX] if params.dry_run else ())
    ]
    return {
        "model": params.model,
        "field": params.field,
        "take": params.take,
        "dry_run": params.dry_run,
        "matching": len(matching),
        "settled": settled,
        "left": len(matching) - settled,
        "open_conflicts": len(replica.conflicts()),
        "conflicts": told,
    }


def rule_of(take: str) -> Rule:
    """The rule that a word or a number stands for; a number, or a word that a conflict does not offer, leaves it open.

    Raises:
        InputError: it stands for none.
    """
    if take in _RULES:
        return _RULES[take]
    is_number = take.isascii() and take.isdigit() and len(take) < TAKE_CHARS_MAX and int(take) > 0
    if not is_number and take not in WORDS:
        rules = (*_RULES, "the number of a candidate", *WORDS)
        raise InputError(f"there is no rule {take!r}", hint=f"Rules: {', '.join(rules)}.")

    def offered(conflict: Conflict) -> Candidate | Choice | None:
        is_offered = any(choice["take"] == take for choice in choices_of(conflict))
        return taken(conflict, take) if is_offered else None

    return offered


def _proposal(conflict: Conflict) -> Candidate | Choice | None:
    """What is shown meanwhile: of a field its value, of a record that was deleted and edited at once the edit."""
    match conflict.kind:
        case ConflictKind.CONCURRENT_EDIT:
            return Choice(value=conflict.value)
        case ConflictKind.EDIT_OF_DELETED:
            return taken(conflict, "keep")
        case ConflictKind.DUPLICATE_CREATE:
            return None  # all of them are shown


_RULES: Final[dict[str, Rule]] = {"latest": "latest", "earliest": "earliest", PROPOSAL: _proposal}

RESOLVE_ALL = Action(name="resolve_all", params=ResolveAllParams, work=resolve_all, writes=True)
