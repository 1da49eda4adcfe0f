"""`batchgen --version`, for a person and, with --json, for a program or a report of a fault."""

import platform
import re
from importlib import metadata

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
    from batchgen.journal.schema import VERSION  # here, since --help needs none of it

    return {
        "version": batchgen.__version__,
        "journal": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in _packages() if (version := _version(name))},
    }


def _packages() -> list[str]:
    """Return what batchgen needs, by its metadata; none where it is not installed."""
    try:
        needed = metadata.requires("batchgen") or []
    except metadata.PackageNotFoundError:
        return []
    names = (re.split(r"[^A-Za-z0-9._-]", line)[0] for line in needed if "extra ==" not in line)
    return sorted({*names, "uvicorn"}, key=str.casefold)


def _version(name: str) -> str | None:
    """Return the version that is installed; None where it is not."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
