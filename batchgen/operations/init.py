"""`init`: write a manifest that is valid as it stands, for a model or for a list that there is."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchgen import resources
from batchgen.api import credentials
from batchgen.config import RunOptions, Source
from batchgen.core.identity import PROMPT_NAMES
from batchgen.core.rows import Problem
from batchgen.core.targets import deployment_id, suggest_nodes
from batchgen.core.text import is_text, shell_path, shell_quote, show_undecoded
from batchgen.core.timing import Timing
from batchgen.errors import ManifestInvalid, UsageError
from batchgen.files import FileRefused
from batchgen.manifest.allowed_paths import AllowedPaths
from batchgen.manifest.guess import ColumnFacts, Guess, guess_columns, may_be_known
from batchgen.manifest.records import Header, Record, Unreadable
from batchgen.manifest.source import FOLDER, ManifestSource, find_source
from batchgen.manifest.template import (
    InputLine,
    can_be_column,
    can_be_named,
    csv_template,
    yaml_for_list,
    yaml_template,
)
from batchgen.operations.models import CatalogueIfAllowed, schema_folders
from batchgen.operations.open_manifest import ProblemSink
from batchgen.validation.examples import (
    NoExample,
    describe_input,
    example_rows,
    example_value,
    value_fits,
)
from batchgen.validation.schema_registry import SchemaRegistry
from batchgen.validation.validator import Validator

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class NewManifest:
    """A manifest before it is written. path: None for standard output.

    guess, rows: of the list that it is for; None where there is none. needed: the inputs that the
    model needs and the list does not have, which have an example.
    """

    path: Path | None
    text: str
    guess: Guess | None = None
    rows: int | None = None
    needed: tuple[str, ...] = ()


def new_manifest(out: str | None, options: RunOptions, timing: Timing, *, csv: bool) -> NewManifest:
    """Return a manifest with example rows for the model of `options`, as YAML or as a table.

    out: where it is to be written; None takes a usual name, `-` is standard output.
    Raises UsageError where the model has no schema, or no row is known that fits it; and
    ServiceUnreachable or TokenRefused where the catalogue has to be asked for the schema.
    """
    path = _path(out, Path("list.csv" if csv else "list.yaml"))
    validator = _validator(options, timing)
    if csv:
        unsaid = options.sources["model"] == Source.DEFAULT
        return NewManifest(path, table_for_model(options.model, validator, names_model=not unsaid))
    shown = "list.yaml" if path is None else str(path)
    schema = _schema_setting(options.schema, path)
    return NewManifest(path, yaml_for_model(options.model, validator, shown, schema))


def yaml_for_model(model: str, validator: Validator, name: str, schema: str | None = None) -> str:
    """Return a YAML manifest with example rows. name: of its file, for the comments.

    schema: the setting of that name. Raises UsageError where no row is known that fits.
    """
    rows = _example_rows(model, validator, cells=False)
    nodes = _nodes(model, validator)
    examples = {"prompt": "a lighthouse at dawn", "seed": 1}  # another than the workflow's own
    own = {name: value for name, value in examples.items() if name in nodes}
    return yaml_template(
        model,
        {id: {**own, **row} for id, row in rows.items()},
        _input_lines(validator),
        title=[
            f"Prompts for {model}.",
            "What stands behind a # is a comment: take the # and a blank away to use it.",
            *_commands(name),
        ],
        editor_schema=_editor_schema(),
        schema=schema,
        nodes={name: place for name, place in nodes.items() if name in own},
    )


def _nodes(model: str, validator: Validator) -> dict[str, str]:
    """Return what a list may call inputs of a deployment's nodes; empty for a model."""
    return {} if deployment_id(model) is None else suggest_nodes(validator.properties)


def table_for_model(model: str, validator: Validator, *, names_model: bool = True) -> str:
    """Return a table with example rows, and a column for each input that can have one.

    names_model: whether it has a column for the model, so that it is the same for everybody.
    Raises UsageError where no row is known that fits.
    """
    rows = _example_rows(model, validator, cells=True)
    needed = list(dict.fromkeys(name for row in rows.values() for name in row))
    rest = [name for name in validator.properties if name not in needed and can_be_column(name)]
    return csv_template(model if names_model else None, rows, [*needed, *rest])


def _example_rows(model: str, validator: Validator, *, cells: bool) -> dict[str, dict[str, Any]]:
    try:
        rows = example_rows(validator, cells=cells)
    except NoExample as error:
        raise _no_example(model, error.names) from None
    usable = can_be_column if cells else can_be_named
    if unnamed := [name for row in rows.values() for name in row if not usable(name)]:
        raise _no_example(model, unnamed)
    return rows


def manifest_for_list(
    out: str | None, listed: str, options: RunOptions, timing: Timing, show: ProblemSink
) -> NewManifest:
    """Return a YAML manifest that takes its rows from the file or folder `listed`.

    options: `columns` and `format` say what need not be guessed. show: called with each problem of
    a list that cannot be read.
    Raises ManifestInvalid after the last, and as `new_manifest` does.
    """
    source = find_source(listed, format=options.format, limits=options.reading)
    if source.path is None:
        remedy = "Save it into a file, and name that with --from."
        raise UsageError("A list from standard input cannot be named in a manifest.", remedy)
    stem = source.path.name if source.format == FOLDER else source.path.stem
    path = _path(out, source.path.parent / f"{stem or 'list'}.yaml")
    relative = _relative(source, Path() if path is None else path.parent)
    validator = _validator(options, timing)
    nodes = _nodes(options.model, validator)
    inputs = [name for name in (*nodes, *validator.properties) if can_be_named(name)]
    facts, rows, cells = _read_list(source, [*inputs, *options.columns.values()], show)
    if lacking := [name for name in options.columns.values() if name not in facts]:
        names = ", ".join(facts) or "none"
        raise UsageError(f"{source.file} has no column {lacking[0]!r}.", f"Its columns: {names}.")
    guess = guess_columns(
        [fact for fact in facts.values() if is_text(fact.name)],
        inputs,
        lambda name, value: value_fits(
            validator, nodes.get(name, name), value, cell=cells and isinstance(value, str)
        ),
        options.columns,
    )
    # A text alone is the prompt.
    prompt = next((name for name in PROMPT_NAMES if name in inputs), "")
    targets = guess.targets if facts else {prompt}
    nodes = {name: place for name, place in nodes.items() if name in targets}
    filled = {nodes.get(name, name) for name in targets}
    lacking = [name for name in validator.required if name not in filled]
    needed = {name: example_value(validator, name) for name in lacking if can_be_named(name)}
    needed = {name: value for name, value in needed.items() if value is not None}
    own_name = source.path.suffix.lower().lstrip(".")
    text = yaml_for_list(
        options.model,
        relative,
        [one for one in _input_lines(validator) if one.name not in filled],
        columns=guess.columns,
        meta=guess.meta,
        needed=needed,
        title=[f"The rows of {show_undecoded(source.path.name)}, for {options.model}.",
               "What each column stands for was guessed: look at it before you run it.",
               *_commands(f"{stem}.yaml" if path is None else str(path))],
        editor_schema=_editor_schema(),
        schema=_schema_setting(options.schema, path),
        format=options.format if options.format and options.format != own_name else None,
        nodes=nodes,
    )  # fmt: skip
    return NewManifest(path, text, guess, rows, tuple(needed))


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet. Raises UsageError where it is, and OSError."""
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                path.unlink(missing_ok=True)
                raise
    except FileExistsError:
        remedy = "Name another file, or move that one away."
        raise UsageError(f"{path} is there already; nothing was written.", remedy) from None
    except FileNotFoundError:
        raise UsageError(f"There is no folder {path.parent}.", "Make it first.") from None


def _path(out: str | None, usual: Path) -> Path | None:
    """Return where to write; None for standard output. Raises UsageError for what is there."""
    if out == STDOUT:
        return None
    path = Path(out) if out else usual
    if os.path.lexists(path):
        other = path.with_name(f"{path.stem}-2{path.suffix}")
        remedy = f"Name another file, as {shell_path(str(other))}, or move that one away."
        raise UsageError(f"{path} is there already, and init overwrites nothing.", remedy)
    return path


def _validator(options: RunOptions, timing: Timing) -> Validator:
    source = CatalogueIfAllowed(options, timing)
    folders, limits = schema_folders(None), options.reading
    schemas = SchemaRegistry(options.model, options.schema, folders, source, limits)
    return schemas.validator(options.model)


def _read_list(
    source: ManifestSource, names: Sequence[str], show: ProblemSink
) -> tuple[dict[str, ColumnFacts], int, bool]:
    """Read a whole list; return what is known of its columns, how many rows, whether it is a table.

    names: what is known to stand for something. Raises ManifestInvalid.
    """
    facts: dict[str, ColumnFacts] = {}
    rows, cells, found = 0, False, 0
    try:
        if (document := source.document()) is not None:
            if document.settings or document.rows is None:
                what = f"{source.file} is a manifest with settings of its own."
                raise UsageError(what, f"Run that: batchgen run {shell_path(source.file)}")
            items = document.rows()
        else:
            items = source.items(lambda header: may_be_known(header, names))
        for item in items:
            if isinstance(item, Problem):
                show(item)
                found += 1
            elif isinstance(item, Header):
                facts = {n: ColumnFacts(n) for n in item.names if n is not None}
            elif isinstance(item, Record):
                rows += 1
                cells |= item.cells
                if isinstance(item.values, Mapping):
                    for name, value in item.values.items():
                        facts.setdefault(name, ColumnFacts(name)).add(value)
    except Unreadable as error:
        show(error.problem)
        found += 1
    except OSError as error:
        raise UsageError(f"{source.file} cannot be read: {error.strerror or error}.") from None
    if found:
        raise ManifestInvalid(source.file, found, "Nothing was written.")
    return facts, rows, cells


def _relative(source: ManifestSource, folder: Path) -> str:
    """Return the list as a manifest in `folder` names it. Raises UsageError where it may not."""
    path = source.path or Path()
    allowed = AllowedPaths(folder, secrets=credentials.token_files(os.environ))
    try:
        if source.format == FOLDER:
            allowed.check_folder(path)
        else:
            allowed.open(path).close()
    except FileRefused as error:
        what = f"{source.file} {error.what}, so that a manifest in {folder} could not name it."
        raise UsageError(what, "Write the manifest beside the list, or above it.") from None
    except OSError as error:
        raise UsageError(f"{source.file} cannot be read: {error.strerror or error}.") from None
    relative = os.path.relpath(path.absolute(), folder.absolute())
    if not is_text(relative) or not relative.isprintable():
        what = f"{source.file} has a name that a manifest cannot say."
        raise UsageError(what, "Rename it, then run the same command again.")
    return relative


def _schema_setting(schema: object, path: Path | None) -> str | None:
    """Return how a manifest names a schema's file. Raises UsageError where it may not."""
    if not isinstance(schema, Path):  # there is no manifest yet that could hold it
        return None
    folder = Path() if path is None else path.parent
    try:
        AllowedPaths(folder).open(schema).close()
    except OSError:
        what = f"{schema} does not lie below {folder}, so that a manifest there cannot name it."
        raise UsageError(what, "Copy it there; or keep it with batchgen models fetch.") from None
    return os.path.relpath(schema.absolute(), folder.absolute())


def _input_lines(validator: Validator) -> list[InputLine]:
    """Return what the model takes, as comments show it, the needed inputs first."""
    lines = []
    for name in sorted(validator.properties, key=lambda name: name not in validator.required):
        schema = validator.properties[name]
        value = example_value(validator, name)
        words = describe_input(schema) + (", required" if name in validator.required else "")
        note = ""
        if value is not None:
            is_default = "default" in schema and schema["default"] == value
            note = "this is the model's default" if is_default else "an example"
        if can_be_named(name):
            lines.append(InputLine(name, words, value, note))
    return lines


def _commands(name: str) -> list[str]:
    """Return the comment that says what to do with the file of this name."""
    shown = shell_path(name)
    return [
        "",
        f"    batchgen validate {shown}",
        f"    batchgen run {shown} --sandbox --out rehearsal     without account and cost",
        f"    batchgen run {shown} --max-cost 20",
    ]


def _editor_schema() -> str:
    """Return where an editor finds the schema of manifests: in the file that came with batchgen.

    A path needs neither a network nor a public address; on another computer an editor completes
    nothing. As a URI, since a blank would end it. Source: yaml-language-server, modelineUtil.ts.
    """
    return (resources.schemas_folder() / "manifest.schema.json").resolve().as_uri()


def _no_example(model: str, names: Sequence[str]) -> UsageError:
    which = f"its input {names[0]}" if names else "its inputs together"
    return UsageError(
        f"No value is known that fits what {model} wants for {which}. Nothing was written.",
        f"Write the list yourself; its inputs are: batchgen models show {shell_quote(model)}",
    )
