"""`crdt-sync`: the application, its commands, and what becomes of a command line that makes no sense."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from crdt_sync.cli.commands import (
    compaction,
    conflicts,
    copies,
    demo,
    forking,
    naming,
    network,
    outcomes,
    past,
    records,
    repairing,
    simulation,
    store,
    transfer,
)
from crdt_sync.cli.output import INTERRUPTED_EXIT_CODE, emit_error, reporting, standard_output
from crdt_sync.errors import InputError

# Newer typers carry their own copy of click, so its errors are reached through what typer publishes.
_ClickError: type[Exception] = typer.BadParameter.__bases__[0].__bases__[0]

EXIT_CODES = """Exit codes: 0 done, 1 failed, 2 wrong command line or file, 3 record, 4 model or value, 5 conflict,
6 store, 7 store in use, 8 network, 9 refused by a peer, 10 damage, 130 interrupted."""

app = typer.Typer(
    name="crdt-sync",
    help="Keep records on every device, edit them offline, and converge.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_conflicts = typer.Typer(help="List, show and settle conflicts.", no_args_is_help=True, rich_markup_mode=None)

app.command()(store.init)
app.command()(naming.name)
app.command()(network.serve)
app.command()(network.sync)
app.command()(records.create)
app.command()(records.show)
app.command("list")(records.list_records)
app.command("set")(records.set_fields)
app.command()(records.delete)
app.command()(records.restore)
_conflicts.command("list")(conflicts.list_conflicts)
_conflicts.command()(conflicts.show)
_conflicts.command()(conflicts.resolve)
_conflicts.command("resolve-all")(conflicts.resolve_all)
_conflicts.command()(conflicts.settle)
app.add_typer(_conflicts, name="conflicts")
app.command()(store.log)
app.command()(outcomes.retry)
app.command()(outcomes.revert)
app.command()(outcomes.metrics)
app.command()(past.explain)
app.command()(past.undo)
app.command()(past.redo)
app.command()(store.status)
app.command()(store.check)
app.command()(repairing.repair)
app.command()(repairing.quarantine)
app.command()(forking.forks)
app.command()(compaction.compact)
app.command()(compaction.forget)
app.command()(copies.backup)
app.command("put-back")(copies.restore_backup)
app.command()(copies.safe_to_wipe)
app.command("import")(transfer.import_records)
app.command()(transfer.export)
app.command()(demo.demo)
app.command()(simulation.simulate)


def _print_version(wanted: bool) -> None:
    if wanted:
        with reporting(as_json=False), standard_output():
            print(f"crdt-sync {_version()}")
        raise typer.Exit


def _version() -> str:
    try:
        return version("crdt-sync")
    except PackageNotFoundError:
        return "unknown (run from a checkout that is not installed)"


@app.callback()
def _root(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del show_version  # its callback has printed and left


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; gives the exit code.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _show_help(given) if "--help" in given else _run(given)
    except typer.Exit as error:
        return error.exit_code
    except _ClickError as error:
        return _refuse(error, as_json="--json" in given)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED_EXIT_CODE
    return code if isinstance(code, int) else 0


def _run(arguments: Sequence[str]) -> object:
    return app(args=arguments, prog_name="crdt-sync", standalone_mode=False)


def _show_help(arguments: Sequence[str]) -> object:
    """Print help; it is collected first, for what becomes of output that cannot be written is said in one place."""
    told = io.StringIO()
    with redirect_stdout(told):
        code = _run(arguments)
    with reporting(as_json=False), standard_output() as out:
        out.write(told.getvalue())
    return code


def _refuse(error: Exception, *, as_json: bool) -> int:
    """Say what is wrong with a command line; where a command is missing, show those that there are."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        print(context.get_help(), file=sys.stderr)
        return InputError.exit_code
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    usage = "crdt-sync" if context is None else context.command_path
    emit_error(InputError(message, hint=f"See `{usage} --help`."), as_json=as_json)
    return InputError.exit_code


if __name__ == "__main__":
    sys.exit(main())
