"""Options that several commands share, and how their words become values."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click import Context, Parameter
from click.core import ParameterSource

from batchgen.cli import completion, manners
from batchgen.clock import Clock
from batchgen.core import limits, units
from batchgen.core.addresses import (
    JOURNAL_VARIABLE,
    parse_batch_name,
    parse_journal_place,
    parse_media_place,
    parse_notify_urls,
    parse_ping_url,
)
from batchgen.core.targets import deployment_target, parse_node_input
from batchgen.core.terms import parse_terms
from batchgen.core.timetable import parse_days, parse_window
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.manifest.formats import FORMATS

if TYPE_CHECKING:
    from batchgen.batch_folder import Folder
    from batchgen.config import RunOptions
    from batchgen.operations.check_urls import OpenProbe


class File(click.Path):
    """The path of a file or folder, of which an empty text is none: it would be the folder here."""

    def __init__(self, *, or_none: bool) -> None:
        """or_none: an empty text stays one, for `given_options`; otherwise it is refused."""
        super().__init__(path_type=Path)
        self._or_none = or_none

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Any:
        if value != "":
            return super().convert(value, param, ctx)
        if not self._or_none:
            self.fail("it is empty, as of a variable that is not set.", param, ctx)
        return value


FILE = File(or_none=True)
NAMED_FILE = File(or_none=False)
MANIFEST = click.argument("manifest", shell_complete=completion.manifest)
MODEL = click.argument("model", shell_complete=completion.model)


class Notation(click.ParamType[Any]):
    """An option in one of the notations that manifests have too."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


TERMS = Notation("digest", parse_terms)
AMOUNT = Notation("amount", units.parse_usd)
PING = Notation("URL", parse_ping_url)
PLACE = Notation("URL", parse_media_place)
DATABASE = Notation("URL", parse_journal_place)
NAME = Notation("name", parse_batch_name)
NOTIFY = Notation("URL", parse_notify_urls)
RATE = Notation("rate", units.parse_rate)
DURATION = Notation("duration", units.parse_duration)
CLOCK = Notation("HH:MM", units.parse_clock_time)
DAYS = Notation("days", parse_days)
WINDOW = Notation("window", parse_window)


def read_columns(context: Context, param: Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Turn `prompt=Prompt`, given any number of times, into a dictionary."""
    columns: dict[str, str] = {}
    for text in values:
        name, equals, source = text.partition("=")
        if not (name and equals and source):
            raise click.BadParameter(f"{text!r} is not INPUT=COLUMN, as prompt=Prompt")
        if name in columns:
            raise click.BadParameter(f"{name!r} is given twice: {columns[name]!r} and {source!r}")
        columns[name] = source
    return columns


def read_deployment(context: Context, param: Parameter, value: str | None) -> str | None:
    """Turn the id of a deployment into what stands for it in place of a model."""
    try:
        return value and deployment_target(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def read_nodes(context: Context, param: Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Turn `prompt=6.text`, given any number of times, into a dictionary."""
    nodes: dict[str, str] = {}
    for text in values:
        name, _, place = text.partition("=")
        if name in nodes:
            raise click.BadParameter(f"{name!r} is given twice.")
        try:
            nodes[name] = parse_node_input(place)
        except ValueError:
            what = f"{text!r} is not NAME=NODE.INPUT, as prompt=6.text"
            raise click.BadParameter(what) from None
    return nodes


def read_price(
    context: Context, param: Parameter, values: tuple[str, ...]
) -> float | dict[str, float] | None:
    """Turn `0.06` or `MODEL=0.06`, given any number of times, into a price for all or by model.

    An amount beside those with a model is for all other models, which have the name `*` then.
    """
    prices: dict[str, float] = {}
    for text in values:
        model, equals, amount = text.rpartition("=")
        name = model.strip() if equals else "*"
        if not name or name in prices:
            raise click.BadParameter(f"{text!r} is not USD or MODEL=USD, once for each model.")
        try:
            prices[name] = units.parse_usd(amount)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return prices.get("*") if prices.keys() <= {"*"} else prices


def join_urls(
    context: Context, param: Parameter, values: tuple[tuple[str, ...], ...]
) -> tuple[str, ...]:
    """Return the URLs of an option that was given any number of times."""
    return tuple(url for urls in values for url in urls)


def read_limits(context: Context, param: Parameter, values: tuple[str, ...]) -> dict[str, int]:
    """Turn `matrix-rows=200`, given any number of times, into values by the fields of `Limits`."""
    try:
        return dict(map(limits.parse_raised, values))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def section(title: str, *decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Add these options to a command, under `title` in the help of a `SectionedCommand`."""

    def apply(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        for option in function.__click_params__[-len(decorators) :]:
            option.section = title
        return function

    return apply


class SectionedCommand(click.Command):
    """A command with so many options that its help shows them in sections."""

    def format_options(self, ctx: Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
                sections.setdefault(getattr(option, "section", "Other"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


OUT = section(
    "Files",
    click.option("-o", "--out", type=FILE, help="Output folder.  [default: out/<manifest>/]"),
)
MEDIA = section(
    "Files",
    click.option(
        "--media",
        type=PLACE,
        metavar="s3://BUCKET/PREFIX",
        help="Keep the files in this object store (also gs:// and az://; needs the extra `store`),"
        " or in a folder that is mounted, /mnt/pictures. A batch stays where it began.  [default:"
        " $BATCHGEN_MEDIA, else that of your configuration, each with a folder for the batch; else"
        " the batch folder]",
    ),
)
JOURNAL = section(
    "Files",
    click.option(
        "--journal",
        type=DATABASE,
        metavar="postgresql://HOST/DATABASE",
        help="Keep the journal in this database, so that another machine can go on (needs the extra"
        " `postgres`). The password comes from PGPASSWORD, a service file or ~/.pgpass.  [default:"
        " $BATCHGEN_JOURNAL, else the batch folder]",
    ),
    click.option(
        "--batch",
        type=NAME,
        metavar="NAME",
        help="The batch's name in that database.  [default: the list's name]",
    ),
)
NEW_BATCH = section(
    "Files",
    click.option(
        "--new-batch",
        is_flag=True,
        help="Begin a second batch of a list that has one in another folder; it is paid again.",
    ),
)
SHARED = section(
    "Files",
    click.option(
        "--allow-shared-folder",
        is_flag=True,
        help="Write to a batch folder that others can write to.",
    ),
)
RAISE_LIMIT = click.option(
    "--raise-limit",
    multiple=True,
    metavar="NAME=N",
    callback=read_limits,
    help="Let a list or schema take more than is usual, as matrix-rows=200; repeatable.",
)
DEPLOYMENT = click.option(
    "--deployment",
    metavar="ID",
    callback=read_deployment,
    help="In place of a model: your serverless deployment of rows that name none.",
)
READING = section(
    "What to run",
    click.option(
        "--model",
        shell_complete=completion.model,
        help="Model of rows that name none.  [default: Ideogram 2.0]",
    ),
    DEPLOYMENT,
    click.option(
        "--node",
        "nodes",
        multiple=True,
        metavar="NAME=NODE.INPUT",
        callback=read_nodes,
        help="What a name in the list is in the deployment's workflow, as prompt=6.text;"
        " repeatable.",
    ),
    click.option(
        "--workflow",
        type=FILE,
        help="A file that ComfyUI exported for its API: sent to the deployment in place of its own"
        " workflow.",
    ),
    click.option("--schema", type=FILE, help="File with that model's input schema."),
    click.option(
        "--format", type=click.Choice([*FORMATS]), help="Read the manifest as this format."
    ),
    click.option(
        "--input",
        "input_name",
        metavar="INPUT",
        help="The manifest is a folder of pictures, videos or sounds: one row for each, as this"
        " input.",
    ),
    click.option(
        "--fit",
        is_flag=True,
        help="Send pictures of more than 6 MiB smaller: as JPEG, or PNG if transparent, of at most"
        " 4096 pixels a side.",
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
        help="Copy a column into the results without sending it; '*' is every column that is no"
        " input of the model; repeatable.",
    ),
    click.option(
        "--id",
        "id_template",
        metavar="TEMPLATE",
        help="Make each row's id of columns, as in '{Category}-{number}'.",
    ),
    click.option(
        "--expand",
        is_flag=True,
        help="Unfold {a|b} and __wildcard__ in prompts: each makes several rows; see `batchgen help"
        " unfolding`.",
    ),
    click.option(
        "--samples",
        type=click.IntRange(1),
        metavar="N",
        help="Unfold each prompt into N that are drawn from all it stands for.",
    ),
    click.option("--sample-seed", type=int, metavar="N", help="Draw other ones.  [default: 0]"),
    click.option(
        "--allow-path",
        type=click.Path(exists=True, path_type=Path),
        multiple=True,
        metavar="PATH",
        help="Let the manifest read from this file or folder too; repeatable.",
    ),
    RAISE_LIMIT,
)
PRICE = click.option(
    "--price",
    multiple=True,
    metavar="[MODEL=]USD",
    callback=read_price,
    help="What a request costs, in place of what RunComfy says; repeatable.",
)
PRICE_PER_SECOND = click.option(
    "--price-per-second",
    multiple=True,
    metavar="[HARDWARE=]USD",
    callback=read_price,
    help="What a second of a deployment's instance costs, as AMPERE_48=0.0007, to estimate costs"
    " by; repeatable.",
)
JSON = section(
    "Output",
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
)
SERVICE = section(
    "Service",
    click.option("--base-url", metavar="URL", help="Base URL of the API, ending in /v1."),
    click.option(
        "--serverless-url",
        metavar="URL",
        help="Base URL of the API of deployments, ending in /prod/v2.",
    ),
    click.option(
        "--media-host",
        "media_hosts",
        multiple=True,
        metavar="HOST[:PORT]",
        help="Download files from this host too; repeatable.",
    ),
)


@dataclass(frozen=True)
class Runtime:
    """What a test replaces: the clock, how long things wait, and how hosts of URLs are found.

    last: what is done when the command has said everything, also an error.
    """

    clock: Clock
    timing: Timing
    open_probe: "OpenProbe | None" = None
    last: ExitStack = field(default_factory=ExitStack)


def runtime() -> Runtime:
    """What `main` was called with."""
    return click.get_current_context().find_object(Runtime) or Runtime(Clock(), DEFAULT_TIMING)


class Commands(click.Group):
    """Commands in the order of a batch's life, not of the alphabet."""

    def list_commands(self, ctx: Context) -> list[str]:
        return list(self.commands)


def _keep_database(context: Context, _: Parameter, value: str | None) -> None:
    context.meta[_DATABASE] = value or None


_DATABASE = "batchgen.journal"  # the name under which a command's context keeps what was said


def BATCH(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument BATCH, and the option that names the database of its journal."""
    said = click.option(
        "--journal",
        type=DATABASE,
        metavar="URL",
        envvar=JOURNAL_VARIABLE,
        expose_value=False,
        callback=_keep_database,
        help="The database that keeps its journal, as for `run`.  [default: $BATCHGEN_JOURNAL]",
    )
    batch = click.argument("batch", shell_complete=completion.batch)
    return batch(said(command))


def database_said() -> str | None:
    """The database of `--journal` of a command with BATCH, or of the environment."""
    said: str | None = click.get_current_context().meta.get(_DATABASE)
    return said


def find_batch(text: str) -> "Folder":
    """The folder that BATCH means: itself, or that of a list. Raises UsageError."""
    # Here, since `--help` needs none of it.
    from batchgen.operations.find_batch import find_existing, known_batches

    folder = find_existing(text, known_batches(), database_said())
    folder.shared = bool(click.get_current_context().params.get("allow_shared_folder"))
    return folder


def given_options(context: Context | None = None) -> dict[str, Any]:
    """The options of a run that the command line gives, by their names in `RunOptions`.

    context: of a command; None is the one that runs. An empty text, as of a variable that is not
    set in a script, gives none.
    """
    from batchgen.config import RunOptions

    context = context or click.get_current_context()
    found = {
        name: value
        for name, value in context.params.items()
        if name in RunOptions.__dataclass_fields__
        and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        and value != ""
    }
    if context.params.get("deployment"):
        if "model" in found:
            raise click.UsageError(
                "--model and --deployment are two ways to say the same: give one."
            )
        found["model"] = context.params["deployment"]
    for name, nobody in (("ping", ""), ("notify", ())):
        if context.params.get(f"no_{name}"):
            if name in found:
                raise click.UsageError(f"Choose one of --{name} and --no-{name}.")
            found[name] = nobody
    # Before the command's name they mean the same.
    before = {name: True for name in ("quiet", "verbose") if manners.given(name)}
    return {**{n: v for n, v in before.items() if n in context.params}, **found}


def limits_given() -> limits.Limits:
    """What a list and a schema may take."""
    return limits.DEFAULT_LIMITS.raised(given_options().get("raise_limit", {}))


def options_without_manifest() -> "RunOptions":
    """The options of a command that reads no manifest. Raises as `read_configuration` does."""
    from batchgen.config import merge_options
    from batchgen.configuration.file import read_configuration

    own = read_configuration(os.environ).of_run
    return merge_options(given_options(), {}, os.environ, own, {})
