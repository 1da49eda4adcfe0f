"""What a shell completes an argument to: lists, batches and models.

The shell's own script is click's; `_BATCHGEN_COMPLETE=bash_source batchgen` prints it. It asks this
program at each TAB, so nothing here reads a journal or imports what a run needs.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from batchgen import resources

MAX_FOLDERS = 1000  # that are looked into for one TAB
# What a shell takes as it is; other names are left to its own completion, which quotes them.
_PLAIN = re.compile(r"[\w@%+=:,./-]+")

Items = list[CompletionItem[str]]


def manifest(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete to a file or a folder, as the shell does."""
    return [CompletionItem(incomplete, type="file")]


def batch(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete to the folders that hold a batch, here and in `out/`, else to any file."""
    found = sorted(name for name in _batches(incomplete) if name.startswith(incomplete))
    if found and all(map(_PLAIN.fullmatch, found)):
        return [CompletionItem(name) for name in found]
    return manifest(context, param, incomplete)


def _batches(incomplete: str) -> Iterator[str]:
    folder = incomplete.rpartition("/")[0]
    places = [folder or "/"] if "/" in incomplete else ["", "out"]
    for place in places:
        try:
            with os.scandir(place or ".") as entries:
                names = [entry.name for _, entry in zip(range(MAX_FOLDERS), entries, strict=False)]
        except OSError:
            continue
        for name in names:
            path = Path(place, name)
            if os.path.lexists(path / "batch.db"):
                yield str(path)


def model(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete to the models whose schemas are here."""
    # Here, since only this needs it.
    from batchgen.validation.schema_registry import stored_schemas

    folders = [resources.schemas_folder(), resources.user_schemas_folder(os.environ)]
    found = {id for folder in folders if folder for id in stored_schemas(Path(folder))}
    return [CompletionItem(id) for id in sorted(found) if id.startswith(incomplete)]
