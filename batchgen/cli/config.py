"""The commands that tell what holds for a run, and where that was said."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from batchgen.cli.options import JSON, Commands

if TYPE_CHECKING:
    from batchgen.config import RunOptions
    from batchgen.configuration.settings import Configuration

# Options that a run's own command line alone can say, or that say how a manifest is read.
_OF_A_COMMAND = {
    *("yes", "expect_plan", "quiet", "verbose", "log_file", "sandbox", "window", "retry_failed"),
    *("on_unknown", "skip_invalid", "new_list", "new_batch", "allow_changed"),
    *("allow_shared_folder", "allow_path", "allow_hooks", "format", "columns", "meta"),
    *("id_template", "input_name", "nodes", "expand", "samples", "sample_seed"),
    *("raise_limit", "sources"),
}
_AMOUNTS = ("max_cost", "max_cost_per_day", "max_cost_per_month", "all_per_day", "all_per_month")
_SECRET = ("ping", "notify")


@click.group(cls=Commands, short_help="Tell what holds for a run, and where that was said.")
def config() -> None:
    """Tell what holds for a run, and where that was said: an option, the manifest, the environment,
    your configuration or nobody.

    \b
    Examples:
        batchgen config show list.yaml
        nano "$(batchgen config path)"

    `batchgen help environment` lists the variables, and each command tells its exit codes.
    """


@config.command("show")
@click.argument("manifest", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(manifest: str | None, as_json: bool) -> None:
    """Show every setting with its value and where that was said, as a run without options has it.

    With MANIFEST as a run of that list has it. URLs that are told how a run ended are secrets, so
    of each no more than its beginning is shown.

    \b
    Examples:
        batchgen config show
        batchgen config show list.yaml --json

    \b
    Exit codes:
        0    shown
        2    there is no such file, or the configuration has a problem
        65   the settings of the manifest have problems
        74   the journal of its batch is damaged
    """
    from batchgen.cli import output
    from batchgen.config import VARIABLES, Source, merge_options
    from batchgen.configuration.file import read_configuration

    own = read_configuration(os.environ)
    if manifest is None:
        options = merge_options({}, {}, os.environ, own.of_run, {})
    else:
        options = _options_of(manifest)
    names = [name for name in options.sources if name not in _OF_A_COMMAND]
    if options.own_price is None:
        names.remove("own_price")
    if manifest is None:
        names.remove("out")  # depends on it
    whence: dict[str, Callable[[str], str]] = {
        Source.KEPT: lambda name: " (batchgen set)",
        Source.ENVIRONMENT: lambda name: f" ({VARIABLES[name]})",
        Source.CONFIGURATION: lambda name: f" (line {_line(own, name)})",
    }
    if as_json:
        settings = {
            name: {"value": _hidden(name, getattr(options, name)), "source": options.sources[name]}
            | ({"line": _line(own, name)} if options.sources[name] == "configuration" else {})
            for name in names
        }
        trusted = [str(folder) for folder in own.trusted]
        output.as_json({"file": own.file, "settings": settings, "trusted": trusted})
        return
    there = own.file is not None and os.path.exists(own.file)  # noqa: PTH110
    output.line(
        f"{own.file or 'There is no home for a configuration.'}{'' if there else ' (none)'}"
    )
    words = {name: _words(name, options) for name in names}
    width = max(map(len, words.values()))
    for name in names:
        source = options.sources[name]
        said = f"{source}{whence[source](name) if source in whence else ''}"
        output.line(f"  {_shown_name(name):24}  {words[name]:{width}}  {said}")
    for folder in own.trusted:
        output.line(
            f"  {'trusted':24}  {folder:{width}}  configuration (line {_line(own, 'trusted')})"
        )


@config.command("path")
@JSON
def path(as_json: bool) -> None:
    """Print where your configuration is, whether there is one yet or not.

    \b
    Examples:
        batchgen config path
        nano "$(batchgen config path)"

    \b
    Exit codes:
        0    printed
        2    there is no home folder, so no place for one
    """
    from batchgen.cli import output
    from batchgen.configuration.file import configuration_file
    from batchgen.errors import UsageError

    found = configuration_file(os.environ)
    if found is None:
        what = "There is no home folder to keep a configuration in."
        raise UsageError(what, "Set HOME, or XDG_CONFIG_HOME to a folder of yours.")
    output.path(found, as_json=as_json)


def _options_of(manifest: str) -> "RunOptions":
    """Return what holds for a run of a manifest, after its problems were shown."""
    from contextlib import closing
    from datetime import datetime

    from batchgen.batch_folder import Folder
    from batchgen.cli import output
    from batchgen.config import default_out, has_name_of_its_own
    from batchgen.errors import ManifestInvalid
    from batchgen.operations.find_batch import as_batch_has_it
    from batchgen.operations.open_manifest import open_manifest_for

    opened, options = open_manifest_for(
        {}, manifest, lambda name: default_out(name if has_name_of_its_own(name) else "-")
    )
    with closing(output.Problems(options.reading.problems)) as problems:
        for problem in opened.problems:
            problems.show(problem)
    if opened.problems:
        raise ManifestInvalid(opened.file, len(opened.problems))
    options, _ = as_batch_has_it(options, Folder(options.out), datetime.now())
    return options


def _line(own: "Configuration", name: str) -> int:
    written = {"all_per_day": "max_cost_per_day", "all_per_month": "max_cost_per_month"}
    written["own_price"] = "price"
    return own.lines[written.get(name, name)]


def _shown_name(name: str) -> str:
    if name == "own_price":
        return "price (yours)"
    if name.startswith("all_"):
        return f"max_cost_{name.removeprefix('all_')} (all)"
    return name


def _words(name: str, options: "RunOptions") -> str:
    from batchgen.core.budget import show_usd
    from batchgen.core.text import shell_quote
    from batchgen.core.units import show_rate

    value = _hidden(name, getattr(options, name))
    if value is None or value == ():
        return "-"
    if name == "rate":
        return show_rate(value)
    if name in _AMOUNTS or name == "ask_above":
        return show_usd(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "schema" and isinstance(value, Mapping):
        return "in the list itself"
    if isinstance(value, Mapping):
        return ", ".join(f"{model}={show_usd(usd)}" for model, usd in value.items())
    if name == "on_finish" and not isinstance(value, str):
        return " ".join(map(shell_quote, value))
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


def _hidden(name: str, value: Any) -> Any:
    """Return a setting as it may be shown, and as JSON can have it."""
    from batchgen.core.redaction import mask_url
    from batchgen.core.text import hide_logins

    if name in _SECRET and value:
        return mask_url(value) if isinstance(value, str) else [*map(mask_url, value)]
    if isinstance(value, str):
        return hide_logins(value)
    if value is None or isinstance(value, bool | int | float | tuple | Mapping):
        return value
    return str(value)
