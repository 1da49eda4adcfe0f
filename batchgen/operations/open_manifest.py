"""A manifest and the models' schemas -> the rows to run, or every problem at once."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchgen import config
from batchgen.api import credentials
from batchgen.config import RunOptions, Source
from batchgen.configuration.file import read_configuration
from batchgen.configuration.settings import Configuration
from batchgen.core.limits import DEFAULT_LIMITS
from batchgen.core.local_files import FileUnusable, FindFile
from batchgen.core.messages import duplicate_id_problem
from batchgen.core.rows import Entry, Place, Problem, Row
from batchgen.core.targets import WORKFLOW, deployment_id
from batchgen.core.text import is_text
from batchgen.errors import ManifestInvalid, UsageError
from batchgen.inputs.find_files import LocalFiles
from batchgen.inputs.workflow import OwnWorkflow, read_workflow
from batchgen.journal.staging import StagedRows
from batchgen.log import warn
from batchgen.manifest.manifest import Manifest, open_manifest
from batchgen.templates.id_template import IdTemplate, parse_id_template
from batchgen.validation.schema_registry import SchemaRegistry, SchemaSource

ProblemSink = Callable[[Problem], None]


def check_rows(
    manifest: Manifest,
    models: SchemaRegistry,
    listing: StagedRows,
    report: ProblemSink,
    count: Callable[[int], None] = lambda rows: None,
    *,
    fit: bool = False,
    workflow: OwnWorkflow | None = None,
) -> int:
    """Read the whole manifest into `listing`; return how many problems there are.

    report: called with each problem, in the order of the file. count: with the rows read so far.
    fit: whether large pictures are made smaller to be sent. workflow: which rows of deployments
        send.
    Raises NoSchema or UsageError where a model's rows cannot be checked at all; ManifestInvalid if
    the file as a whole cannot be trusted, after reporting why.
    """
    for problem in manifest.problems:
        report(problem)
    found, broken = len(manifest.problems), bool(manifest.problems)
    position = 0
    find_file = LocalFiles(manifest.allowed, listing.add_file, fit).check
    own = None if workflow is None else _WorkflowOfRows(workflow, models)
    for item in manifest.entries(models.properties):
        if isinstance(item, Problem):
            problems = [item]
            broken = broken or item.whole
            if not item.whole:
                position += 1
                lost = Entry(position, item.place, item.row, models.default, {})
                listing.add_invalid(lost, models.default, problems)
        else:
            position = item.position
            problems = _check_entry(item, models, listing, find_file, own)
            broken = broken or any(problem.whole for problem in problems)
        count(position)
        for problem in problems:
            report(problem)
        found += len(problems)
    if manifest.template_place is not None:
        warn(
            f"{manifest.template_place}: the prompt is sent as it stands; to unfold its {{a|b}} or"
            " __name__, add --expand."
        )
    if broken:
        raise ManifestInvalid(manifest.file, found)
    if own is not None and not own.models:
        what = (
            f"{own.workflow.path} is sent to a deployment, and no row names one. Nothing was sent."
        )
        raise UsageError(what, "Say which: deployment: ID in the list, or --deployment ID.")
    _tell_of_repeats(manifest.file, listing)
    return found


def _tell_of_repeats(file: str, listing: StagedRows) -> None:
    """Warn of rows that would be paid for and make nothing, as they send the same as others."""
    own = [model for model in listing.models() if deployment_id(model) is not None]
    if not own:
        return
    from batchgen.api.runcomfy import capabilities_of  # here, since it brings aiohttp

    wanted = [model for model in own if capabilities_of(model).repeats_need_change]
    for repeats in listing.repeats(wanted):
        send = "1 row sends" if repeats.rows == 1 else f"{repeats.rows} rows send"
        warn(
            f"{file}: {send} the same to {repeats.model} as an earlier one, e.g."
            f" {repeats.source} as {repeats.first}. ComfyUI makes nothing of an equal request, and"
            " it is billed: give each row something of its own, such as a seed."
        )


class _WorkflowOfRows:
    """What rows of deployments have by the person's own workflow, which they send.

    models: deployments to which rows go.
    """

    def __init__(self, workflow: OwnWorkflow, schemas: SchemaRegistry) -> None:
        self.workflow = workflow
        self.models: set[str] = set()
        self._schemas = schemas
        self._unfit: dict[str, list[Problem]] = {}

    def see(self, model: str) -> None:
        """Note what a row is sent to."""
        if deployment_id(model) is not None:
            self.models.add(model)

    def add_to(self, row: Row) -> Row:
        """Return a row with the hash of the workflow, if it is sent to a deployment."""
        if row.model not in self.models:
            return row
        values = {name: value for name, value in row.input.items() if name != WORKFLOW}
        return row._replace(input={**values, WORKFLOW: self.workflow.digest})

    def unfit_for(self, row: Row) -> list[Problem]:
        """Return what its deployment does not take of the workflow, where the row says no other.

        Each is told once, since it is the file's.
        """
        if row.model not in self.models:
            return []
        if row.model not in self._unfit:
            self._unfit[row.model] = [*self._find_unfit(row.model)]
        told = [one for one in self._unfit[row.model] if one.field not in row.input]
        self._unfit[row.model] = [one for one in self._unfit[row.model] if one not in told]
        return told

    def _find_unfit(self, model: str) -> Iterator[Problem]:
        place = Place(self.workflow.path)
        for field, what, remedy in self.workflow.absent.get(model, ()):
            yield Problem(place, what, remedy, field=field, whole=True)
        validator = self._schemas.validator(model)
        values = {
            name: schema["default"]
            for name, schema in validator.properties.items()
            if "default" in schema and name not in validator.hosted
        }
        entry = Entry(0, place, None, model, values)
        checked = validator.check_entry(entry, default_model=model)
        for problem in checked if isinstance(checked, list) else ():
            yield replace(problem, whole=True)


def _check_entry(
    entry: Entry,
    models: SchemaRegistry,
    listing: StagedRows,
    find_file: FindFile,
    own: _WorkflowOfRows | None,
) -> list[Problem]:
    validator = models.validator(entry.model)
    checked = validator.check_entry(entry, default_model=models.default, find_file=find_file)
    problems = [] if isinstance(checked, Row) else checked
    if own is not None:
        own.see(entry.model or models.default)
        if isinstance(checked, Row):
            checked = own.add_to(checked)
            problems = own.unfit_for(checked)
    if entry.id is not None and is_text(entry.id):  # else it has a problem, and cannot be stored
        first = listing.claim(entry.id, entry.place.source)
        if first is not None:
            place = entry.places.get("id", entry.place)
            problems = [*problems, duplicate_id_problem(place, entry.id, first)]
    if problems or not isinstance(checked, Row):
        listing.add_invalid(entry, entry.model or models.default, problems)
    else:
        listing.add(checked)
    return problems


def open_manifest_for(
    flags: Mapping[str, Any], path: str, default_out: Callable[[str], Path] = config.default_out
) -> tuple[Manifest, RunOptions]:
    """Open the manifest, and merge its settings with the command line's and the configuration's.

    flags: the options that were given, by the names of `RunOptions`.
    default_out: returns the output folder of a manifest, if none was given.
    Raises UsageError if there is no such file, its form is not known, or `id_template` cannot be
    read, and as `default_out` and `read_configuration` do.
    """
    manifest = open_manifest(
        path,
        format=flags.get("format"),
        columns=flags.get("columns"),
        nodes=flags.get("nodes"),
        meta=flags.get("meta", ()),
        input=flags.get("input_name"),
        id_template=_id_template(flags.get("id_template")),
        expand=flags.get("expand", False),
        samples=flags.get("samples"),
        sample_seed=flags.get("sample_seed"),
        stdin=sys.stdin.buffer if path == "-" else None,
        allowed=flags.get("allow_path", ()),
        secrets=credentials.token_files(os.environ),
        use_schema="schema" not in flags,
        limits=DEFAULT_LIMITS.raised(flags.get("raise_limit", {})),
    )
    own = read_configuration(os.environ)
    if not (flags.get("allow_hooks") or _is_trusted(path, own)):
        manifest.settings.disobey(config.HOOKS)
    written = manifest.settings.run_options(Path() if path == "-" else Path(path).parent)
    named = flags.get("batch")
    defaults = {} if "out" in flags else {"out": Path("out", named) if named else default_out(path)}
    return manifest, config.merge_options(flags, written, os.environ, own.of_run, defaults)


def open_workflow(manifest: Manifest, options: RunOptions) -> OwnWorkflow | None:
    """Return the workflow that rows of deployments send; None where that is the deployment's own.

    What is wrong with a file that the manifest names is one of its problems. Raises UsageError for
    one that the command line names.
    """
    if options.workflow is None:
        return None
    by_manifest = options.sources["workflow"] == Source.MANIFEST
    try:
        if not by_manifest:
            return read_workflow(options.workflow, options.reading)
        named = manifest.allowed.folder / (manifest.settings.workflow or "")
        return read_workflow(named, options.reading, manifest.allowed.open)
    except FileUnusable as error:
        if not by_manifest:
            raise UsageError(f"--workflow: {error.what}. Nothing was sent.", error.remedy) from None
        manifest.refuse_file_of("workflow", error.what, error.remedy)
        return None


def schemas_for(
    options: RunOptions,
    folders: Sequence[Path],
    source: SchemaSource | None,
    workflow: OwnWorkflow | None,
) -> SchemaRegistry:
    """Return the schemas that the rows of a list are checked by. folders, source: as there."""
    found = (options.model, options.schema, folders, source, options.reading)
    return SchemaRegistry(*found) if workflow is None else SchemaRegistry(*found, workflow.adapt)


def _is_trusted(path: str, own: Configuration) -> bool:
    """Whether the person trusts the folder of a manifest; of a link, that of its file."""
    return path != "-" and own.trusts(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120


def _id_template(text: str | None) -> IdTemplate | None:
    try:
        return None if text is None else parse_id_template(text)
    except ValueError as error:
        raise UsageError(f"--id: {error}.") from None


def require_valid_rows(
    manifest: Manifest,
    known: SchemaRegistry,
    listing: StagedRows,
    show: ProblemSink,
    options: RunOptions,
    count: Callable[[int], None] = lambda rows: None,
    *,
    workflow: OwnWorkflow | None = None,
) -> int:
    """Return how many problems were shown. Raises ManifestInvalid if there may be none.

    show, count, workflow: as `check_rows` takes them.
    """
    problems = check_rows(manifest, known, listing, show, count, fit=options.fit, workflow=workflow)
    if problems and not options.skip_invalid:
        remedy = "Fix them, or run the other rows with --skip-invalid."
        raise ManifestInvalid(manifest.file, problems, remedy)
    return problems
