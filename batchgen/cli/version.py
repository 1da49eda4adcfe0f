"""`batchgen --version`, for a person and, with --json, for a program or a report of a fault."""

import platform
import re
from contextlib import suppress

import click

import batchgen
from batchgen.core.text import terminal_safe_json


def show_version(context: click.Context, param: click.Parameter, wanted: bool) -> None:
    """Print the version and leave, where it is wanted."""
    if not wanted or context.resilient_parsing:
        return
    if context.params.get("as_json"):
        click.echo(terminal_safe_json(facts()))
    else:
        click.echo(f"batchgen, version {batchgen.__version__}")
    context.exit()


def facts() -> dict[str, object]:
    """Return the versions of the program, of its journal, and of what it runs on."""
    # Here, since each command imports this module, and none other needs these.
    from importlib import metadata

    from batchgen.journal.schema import VERSION

    try:
        needed = metadata.requires("batchgen") or []
    except metadata.PackageNotFoundError:  # run from a folder
        needed = []
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in needed if "extra ==" not in line}
    packages = {}
    for name in sorted({*names, "uvicorn"} if names else (), key=str.casefold):
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "version": batchgen.__version__,
        "journal": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
    }
