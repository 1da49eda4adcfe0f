"""Options that several commands share, and how their words become values."""

from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchgen.core import units
from batchgen.errors import UsageError
from batchgen.manifest.formats import FORMATS

if TYPE_CHECKING:
    from batchgen.batch_folder import Folder
    from batchgen.config import RunOptions

FILE = click.Path(path_type=Path)


class Notation(click.ParamType[Any]):
    """An option in one of the notations that manifests have too."""

    def __init__(self, name: str, parse: Callable[[str], float | time]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | time:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


AMOUNT = Notation("amount", units.parse_usd)
RATE = Notation("rate", units.parse_rate)
DURATION = Notation("duration", units.parse_duration)
CLOCK = Notation("HH:MM", units.parse_clock_time)


def read_columns(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Turn `prompt=Prompt`, given any number of times, into a dictionary."""
    columns: dict[str, str] = {}
    for text in values:
        name, equals, source = text.partition("=")
        if not (name and equals and source):
            raise click.BadParameter(f"{text!r} is not INPUT=COLUMN, as prompt=Prompt")
        columns[name] = source
    return columns


def options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


reading = options(
    click.option("-o", "--out", type=FILE, help="Output folder.  [default: out/<manifest>/]"),
    click.option("--model", help="Model of rows that name none.  [default: Ideogram 2.0]"),
    click.option("--schema", type=FILE, help="That model's schema, if not RunComfy's."),
    click.option(
        "--allow-path",
        type=click.Path(exists=True, path_type=Path),
        multiple=True,
        metavar="PATH",
        help="Let the manifest read from this file or folder too; repeatable.",
    ),
    click.option(
        "--format", type=click.Choice([*FORMATS]), help="The manifest's, whatever its name."
    ),
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="INPUT=COLUMN",
        callback=read_columns,
        help="Take an input from a column of another name; repeatable.",
    ),
    click.option(
        "--meta",
        multiple=True,
        metavar="COLUMN",
        help="Carry a column along, unsent; '*' is every unknown one; repeatable.",
    ),
)
reaching = options(
    click.option("--base-url", metavar="URL", help="Another API; ends in /v1."),
    click.option(
        "--media-host",
        "media_hosts",
        multiple=True,
        metavar="HOST[:PORT]",
        help="Accept media from this host too; repeatable.",
    ),
)


class Commands(click.Group):
    """Commands in the order of a batch's life, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def find_batch(text: str) -> "Folder":
    """The folder that BATCH means: itself, or a manifest's default folder. Raises UsageError."""
    from batchgen.batch_folder import Folder

    if (Path(text) / "batch.db").exists():
        return Folder(Path(text))
    from batchgen.config import default_out  # not needed for a folder, and slow to import

    if (default_out(text) / "batch.db").exists():
        return Folder(default_out(text))
    raise UsageError(
        f"There is no batch in {text}, nor in {default_out(text)}.",
        "Name an output folder, or a manifest that was run from this folder.",
    )


def flags_of(given: dict[str, Any]) -> "RunOptions":
    from batchgen.config import RunOptions

    return RunOptions(**given)
