"""What the command line can do with a store: a table of actions."""

from __future__ import annotations

from typing import Any

from crdt_sync.cli.actions.base import Action, Actor, Json
from crdt_sync.cli.actions.compaction import COMPACT, FORGET
from crdt_sync.cli.actions.conflicts import CONFLICT, CONFLICTS, RESOLVE
from crdt_sync.cli.actions.copies import SAFE_TO_WIPE
from crdt_sync.cli.actions.forking import FORKS
from crdt_sync.cli.actions.journal import HISTORY, LOG, RESULTS, STATUS
from crdt_sync.cli.actions.many_conflicts import RESOLVE_ALL
from crdt_sync.cli.actions.naming import NAMES, RENAME
from crdt_sync.cli.actions.outcomes import METRICS, RETRY, REVERT
from crdt_sync.cli.actions.past import EXPLAIN, REDO, SHOW_AT, UNDO
from crdt_sync.cli.actions.quarantined import PUT_BACK_QUARANTINED
from crdt_sync.cli.actions.records import CREATE, DELETE, LIST, RESTORE, SET, SHOW
from crdt_sync.cli.actions.transfer import CSV_HEADER, EXPORT_PAGE, IMPORT_CHUNK, IMPORT_MARK
from crdt_sync.errors import InputError
from crdt_sync.replica import Replica

ACTIONS: dict[str, Action[Any]] = {
    action.name: action
    for action in (
        CREATE,
        SHOW,
        LIST,
        SET,
        DELETE,
        RESTORE,
        CONFLICTS,
        CONFLICT,
        RESOLVE,
        RESOLVE_ALL,
        LOG,
        HISTORY,
        RESULTS,
        STATUS,
        METRICS,
        RETRY,
        REVERT,
        SHOW_AT,
        EXPLAIN,
        UNDO,
        REDO,
        IMPORT_CHUNK,
        IMPORT_MARK,
        CSV_HEADER,
        EXPORT_PAGE,
        COMPACT,
        FORGET,
        PUT_BACK_QUARANTINED,
        SAFE_TO_WIPE,
        FORKS,
        NAMES,
        RENAME,
    )
}

__all__ = ["ACTIONS", "Action", "Actor", "Json", "perform"]


def perform(replica: Replica, name: str, params: Any) -> Json:
    """Do an action by name with parameters as JSON, as another process asked for it.

    Raises:
        InputError: there is no such action, or the parameters are not its own.
        CRDTSyncError: what the action raises.
    """
    action = ACTIONS.get(name)
    if action is None:
        raise InputError(f"there is no action {name!r}", hint="The two processes run different versions of crdt_sync.")
    return action.work(replica, action.decode(params))
