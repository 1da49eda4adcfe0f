"""A manifest of any format: its settings, and its entries as a stream.

CSV, TSV, JSONL, text and folders are read row by row, so that a million rows need no more memory
than ten; JSON and YAML, which can carry settings, are held as a whole. Every entry has its file and
line. Nothing is checked against a model here, except that a table's columns are inputs of it: that
is one problem, not one in every row.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

from batchgen.core.limits import DEFAULT_LIMITS, Limits
from batchgen.core.messages import model_id_problem
from batchgen.core.rows import Entry, Place, Problem
from batchgen.core.strict_json import lower_first
from batchgen.core.targets import deployment_id
from batchgen.core.text import closest_match, list_choices, quote_value
from batchgen.errors import UsageError
from batchgen.files import FileRefused
from batchgen.manifest.allowed_paths import AllowedPaths
from batchgen.manifest.columns import ALL_COLUMNS, NO_NAMES, ColumnMapping, EntryParts, Properties
from batchgen.manifest.document import Document
from batchgen.manifest.read_media_folder import media_files
from batchgen.manifest.records import Header, Item, Record, Unreadable, file_problem, over_limit
from batchgen.manifest.settings import Settings, read_settings, value_bytes
from batchgen.manifest.source import FOLDER, ManifestSource, find_source
from batchgen.manifest.wildcard_files import WildcardFiles
from batchgen.templates.grammar import looks_like_template
from batchgen.templates.id_template import IdTemplate, Unfilled
from batchgen.templates.unfold import Unfolding
from batchgen.templates.wildcards import CannotUnfold

TEMPLATE = "template"  # the name of the metadata that has a prompt as it was written


def open_manifest(
    path: str | Path | None,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    nodes: Mapping[str, str] | None = None,
    meta: Collection[str] = (),
    id_template: IdTemplate | None = None,
    expand: bool = False,
    samples: int | None = None,
    sample_seed: int | None = None,
    stdin: BinaryIO | None = None,
    allowed: tuple[Path, ...] = (),
    secrets: tuple[Path, ...] = (),
    use_schema: bool = True,
    input: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> "Manifest":
    """Open a manifest and read its settings; rows are read later, by `Manifest.entries`.

    path: as it was typed, which is how problems name the file; None or `-` is `stdin`.
    format: one of FORMATS; None takes the one of the file's suffix.
    columns: the name in the file by the input's name. nodes: the input of a node, as `6.text`, by
        the name in the file. meta: names that are metadata, `*` for all
        that are no input of the model. All are added to those that the manifest sets.
    id_template: what ids are made of; None takes the manifest's, if it has one.
    expand: whether prompts unfold, also if the manifest does not say so. samples: of each prompt,
        and sample_seed: by which they are drawn; None takes the manifest's. `samples` unfolds too.
    allowed, secrets: `extra` and `secrets` of AllowedPaths, for files that the manifest names.
    use_schema: whether the schema that the manifest names will be read.
    input: what each file of a folder is, in place of the manifest's own; None for that.
    limits: what it may take of time, memory and money.

    Raises UsageError where there is no such file, it cannot be opened, or its form is not known.
    What is wrong inside the file is a Problem, never an exception.
    """
    source = find_source(path, format=format, stream=stdin, limits=limits)
    path = source.path or Path()
    is_folder = source.format == FOLDER
    paths = AllowedPaths(path if is_folder else path.parent, allowed, secrets)
    if is_folder:
        source = replace(source, allowed=paths)
    found = Manifest(
        source, dict(columns or {}), meta, id_template, paths, use_schema, input, dict(nodes or {})
    )
    if input and not found.sources[-1].is_media_folder and not found.problems:
        what = f"--input is for a folder of files, and {found.sources[-1].file} is none."
        raise UsageError(what, "In a list, the path of a file stands in the cell of the input.")
    found.unfold(expand, samples, sample_seed)
    return found


class Manifest:
    """file: its name in messages. settings: what it sets. problems: those of its settings.

    allowed: the files that it may name.
    """

    def __init__(
        self,
        source: ManifestSource,
        columns: dict[str, str],
        meta: Collection[str],
        id_template: IdTemplate | None,
        allowed: AllowedPaths,
        use_schema: bool,
        input: str | None,
        nodes: dict[str, str],
    ) -> None:
        self.file = source.file
        self.settings = Settings()
        self._input = input
        if source.format == FOLDER:
            source = replace(source, input=input or "")
        self.problems: list[Problem] = []
        self.sources = [source]  # this file, and the one that it takes its rows from
        self._source = source
        self._limits = source.limits
        self.allowed = allowed
        self._use_schema = use_schema
        self._document: Document | None = None
        self._settings_document: Document | None = None
        self._read_document()
        self._columns = {**self.settings.columns, **columns}
        self._nodes = {**self.settings.nodes, **nodes}
        self._meta = {*self.settings.meta, *meta}
        self._id_template = id_template or self.settings.id
        self.wildcards = WildcardFiles(allowed)
        self.template_place: Place | None = None  # of a prompt that looks like one, and is none
        self._unfolding: Unfolding | None = None
        self._unfolded_rows = self._unfolded_bytes = 0

    @property
    def unfolds(self) -> bool:
        """Whether its prompts do."""
        return self._unfolding is not None

    def unfold(self, expand: bool, samples: int | None, seed: int | None) -> None:
        """Let prompts unfold, if this or the manifest says so; as `open_manifest` has these."""
        samples = samples or self.settings.samples
        if expand or self.settings.expand or samples:
            seed = self.settings.sample_seed if seed is None else seed
            self._unfolding = Unfolding(self.wildcards.read, samples, seed, self._limits)

    def entries(self, properties: Properties | None = None) -> Iterator[Entry | Problem]:
        """Yield the entries in the order of the manifest, with defaults and matrix applied.

        properties: the input names of a model, by its id, None meaning the default model; returns
            None where they are not known, and then every name passes as an input.

        A Problem takes the place of an entry that could not be read, or of a whole table's column;
        it is `whole` if the file is unreliable after it. `problems` are not repeated here.
        The position counts rows that could not be read, so that mending one moves no other.
        """
        known = properties or (lambda _: None)
        names = ColumnMapping(self._columns, self._meta, known, self._id_template, self._nodes)
        adds = self.settings.defaults or self.settings.matrix or names.copies()
        added = _Added(self._limits, self.settings, names) if adds else None
        is_plain = not adds and self._unfolding is None and self._id_template is None
        position = 0
        if problems := [*self._unknown_input(names), *self._unknown_nodes(names)]:
            yield from problems
            return
        reported = any(problem.whole for problem in self.problems)
        try:
            for item in self._items(names):
                if isinstance(item, Problem):
                    position += not item.whole
                    reported |= item.whole
                    yield item
                elif isinstance(item, Header):
                    for problem in (*self._separator_problems(item), *names.check_header(item)):
                        reported = True
                        yield problem
                    if reported and names.has_no_inputs(item):
                        return
                elif is_plain and (found := names.plain(item)):
                    position += 1  # in a third of the time of the rest
                    id, inputs = found
                    cells = inputs.keys() if item.cells else NO_NAMES
                    entry = Entry(position, item.place, id, None, inputs, cells)
                    if self.template_place is None:
                        self._look_at(entry, names)
                    yield entry
                else:
                    entries = self._expand(item, names, position, added)
                    if self._unfolding is not None:
                        entries = self._unfold_all(entries, names, position, self._unfolding)
                    for made in entries:
                        position += 1
                        if self._unfolding is None and self.template_place is None:
                            self._look_at(made, names)
                        yield made
        except Unreadable as error:
            yield error.problem
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            yield Problem(Place(self.file), f"it cannot be read on: {reason}", whole=True)
        else:
            if not position and not reported:
                yield self._no_rows()

    def _read_document(self) -> None:
        """Read the settings of a format that has some, and find where the rows are."""
        try:
            document = self._source.document()
        except Unreadable as error:
            self.problems.append(error.problem)
            self._document = _NO_ROWS
            return
        except OSError as error:
            raise _cannot_open(self.file, error) from None
        if document is None:
            _try_to_open(self._source)
            return
        self._document = document
        if not document.settings and document.rows is not None:
            self.problems += document.problems
            return
        self._settings_document = document
        self.settings, problems = read_settings(document, self._limits)
        self.problems += problems
        if self.settings.input is not None and document.rows is not None:
            self._input_for_a_list(document, self.file)
        if self.settings.from_ is not None and document.rows is None:
            self._take_rows_from(self.settings.from_, document)
        if not self._use_schema:
            return
        if isinstance(self.settings.schema, str):
            self._check_schema(self.settings.schema, document)
        elif self.settings.schema is None and "schema" in document.settings:
            self._document = _NO_ROWS  # it was no schema, and nothing else may check the rows

    def _take_rows_from(self, name: str, document: Document) -> None:
        """Take the rows from another file, which has no settings of its own."""
        self._document = None
        place = document.place(("from",))
        try:
            source = find_source(
                name,
                format=self.settings.format,
                folder=self.allowed.folder,
                limits=self._limits,
            )
            source = replace(
                source, allowed=self.allowed, input=self._input or self.settings.input or ""
            )
            if source.input and source.format != FOLDER:
                self._input_for_a_list(document, source.file)
            if source.format == FOLDER:
                self.allowed.check_folder(self.allowed.folder / name)
            _try_to_open(source)
            self._document = source.document()
            if self._document is not None:
                if self._document.settings:
                    what = f"{source.file} has settings of its own, which are not read here"
                    remedy = "Run that file, or take its settings out."
                    self.problems.append(file_problem(place, what, remedy, "from"))
                self.problems += self._document.problems
            self._source = source
            self.sources.append(source)
        except FileRefused as error:
            self._refuse("from", place, name, error)
        except UsageError as error:
            what = lower_first(error.what.rstrip("."))
            remedy = error.remedy.replace("Add --format", "Add format:")
            self.problems.append(file_problem(place, what, remedy, "from"))
            self._document = _NO_ROWS
        except Unreadable as error:
            self.problems.append(error.problem)
            self._document = _NO_ROWS

    def _input_for_a_list(self, document: Document, file: str) -> None:
        place = document.place(("input",))
        what = f"input is for a folder of files, and {file} is none"
        remedy = "In a list, the path of a file stands in the cell of the input."
        self.problems.append(file_problem(place, what, remedy, "input"))

    def _check_schema(self, name: str, document: Document) -> None:
        """Refuse a schema file that is not allowed; no rows are read then, as none can be checked.

        A missing file is reported later, by the code that reads the schema.
        """
        try:
            self.allowed.open(self.allowed.folder / name).close()
        except FileRefused as error:
            self._refuse("schema", document.place(("schema",)), name, error)
            self.settings.schema = None
        except (OSError, ValueError):
            pass

    def _refuse(self, field: str, place: Place, name: str, error: FileRefused) -> None:
        what = f"{self.allowed.folder / name} {error.what}"
        self.problems.append(file_problem(place, what, error.remedy, field))
        self._document = _NO_ROWS

    def refuse_file_of(self, setting: str, what: str, remedy: str) -> None:
        """Add the problem of a file that a setting names; no rows are read then."""
        document = self._settings_document
        place = Place(self.file) if document is None else document.place((setting,))
        self.problems.append(file_problem(place, what, remedy, setting))
        self._document = _NO_ROWS

    def _items(self, names: ColumnMapping) -> Iterator[Item]:
        if self._document is None:
            return self._source.items(names.knows_any, names.prompt_name(None))
        return iter(()) if self._document.rows is None else self._document.rows()

    def _separator_problems(self, header: Header) -> Iterator[Problem]:
        """Refuse a table that earlier versions read as one column of metadata, and sent so.

        They knew one separator for each format. Rows that take their prompt from `defaults:` were
        valid then, and with cells of their own they would be other rows, paid for again.
        """
        first = header.names[0] or ""
        unsent = ALL_COLUMNS in self._meta or first.startswith("_")
        if header.separator and unsent and (self.settings.defaults or self.settings.matrix):
            what = f"the cells seem to be separated by {header.separator}"
            yield file_problem(header.place, what, "Save it with commas, as CSV UTF-8.")

    def _unknown_input(self, names: ColumnMapping) -> Iterator[Problem]:
        """Yield the problem of a folder whose files are no input of the model, if it is one."""
        name = self._source.input
        known = names.properties(None) if name else None  # which may ask the catalogue
        if known is None or names.input_of(name, None) in known:
            return
        near = closest_match(name, known)
        remedy = f"Did you mean {near}?" if near else f"Its inputs are {list_choices([*known])}."
        what = "the model has no input of this name"
        yield Problem(Place(self._source.file), what, remedy, field=name, whole=True)

    def _unknown_nodes(self, names: ColumnMapping) -> Iterator[Problem]:
        """Yield a problem for each input of a node that the workflow does not have."""
        known = names.properties(None) if self._nodes else None
        if known is None or not all("." in name for name in known):  # a model has no nodes
            return
        places = self._places("nodes", self.settings.nodes)
        for name, wanted in self._nodes.items():
            if wanted in known:
                continue
            node, _, input = wanted.partition(".")
            others = [one.partition(".")[2] for one in known if one.startswith(f"{node}.")]
            what = f"node {node} of the workflow has no input {quote_value(input)}"
            remedy = f"It has {list_choices(others)}."
            if not others:
                what = f"the workflow has no node {quote_value(node)} with an input"
                near = [one for one in known if one.endswith(f".{input}")]
                remedy = f"Its inputs are {list_choices(near or [*known])}."
            place = places.get(name, Place(self.file))
            yield Problem(place, what, remedy, field=f"nodes.{name}", whole=True)

    def _no_rows(self) -> Problem:
        file = self._source.file
        if self._source.is_media_folder:
            what = "the folder holds no pictures, videos or sounds"
            return Problem(Place(file), what, "Name a folder that has some.", whole=True)
        if self._source.format == FOLDER:
            remedy = "If each picture in it is a row, say which input it is, as --input image."
            has_media = self._source.path is not None and media_files(self._source.path)
            what = "the folder holds no .txt files"
            return Problem(Place(file), what, remedy if has_media else "", whole=True)
        return Problem(Place(file), "there are no rows", "Write at least one prompt.", whole=True)

    def _expand(
        self, record: Record, names: ColumnMapping, position: int, added: "_Added | None"
    ) -> Iterator[Entry | Problem]:
        """Yield the entries that one record makes; `position` were made before it."""
        if self._source.format == "yaml" and (problem := _colon_problem(record, names)):
            yield problem
            return
        parts = names.split(record)
        try:
            parts.id = names.made_id(record, parts)
        except Unfilled as error:
            yield names.unfilled_problem(record, error)
            return
        if problem := _id_or_model_problem(parts, record.place):
            yield problem
            return
        id = None if parts.id is None else str(parts.id)
        cells = parts.inputs.keys() if record.cells else frozenset()
        values, places = parts.inputs, parts.places
        if defaults := self.settings.defaults:
            values = {**names.inputs_of(defaults, parts.model), **values}
            theirs = names.inputs_of(self._places("defaults", defaults), parts.model)
            places = {**theirs, **places}
        # A row's own value is used in place of the matrix's, as in place of a default; the other
        # reading would cost more.
        matrix = self.settings.matrix
        axes = {
            name: axis
            for name, axis in matrix.items()
            if names.input_of(name, parts.model) not in parts.inputs
        }
        if added is not None:
            added.count(record, parts.inputs, axes)
        if not axes:
            at = position + 1
            yield Entry(at, record.place, id, parts.model, values, cells, parts.meta, places)
            return
        places = {**names.inputs_of(self._places("matrix", axes), parts.model), **places}
        for at, combination in enumerate(product(*axes.values()), start=position + 1):
            chosen = dict(zip(axes, combination, strict=True))
            full_id = None if id is None else id + "".join(map(_suffix, chosen, combination))
            row = values | names.inputs_of(chosen, parts.model)
            yield Entry(at, record.place, full_id, parts.model, row, cells, parts.meta, places)

    def _unfold_all(
        self,
        entries: Iterator[Entry | Problem],
        names: ColumnMapping,
        position: int,
        unfolding: Unfolding,
    ) -> Iterator[Entry | Problem]:
        """Yield what each entry unfolds into, in the place of it.

        Raises Unreadable where all of them come to more than the limits allow.
        """
        for entry in entries:
            if isinstance(entry, Problem):
                position += 1
                yield entry
                continue
            name = names.prompt_name(entry.model)
            for made in _unfold(entry, name, unfolding):
                position += 1
                if isinstance(made, Entry):
                    made = made._replace(position=position)
                    if made.meta is not entry.meta:
                        self._count_unfolded(entry.place, made.values[name])
                yield made

    def _count_unfolded(self, place: Place, text: str) -> None:
        self._unfolded_rows += 1
        self._unfolded_bytes += len(text.encode(errors="replace"))
        if self._unfolded_rows > self._limits.unfolded_total:
            what = f"the prompts have unfolded into {self._unfolded_rows:,} rows up to this one"
            raise over_limit(self._limits, "unfolded_total", place, what)
        if self._unfolded_bytes > self._limits.unfolded_bytes:
            what = "the prompts have unfolded into too much text up to this one"
            raise over_limit(self._limits, "unfolded_bytes", place, what)

    def _look_at(self, entry: Entry | Problem, names: ColumnMapping) -> None:
        """Keep the place of a prompt that would unfold; what is in the wild may well mean it so."""
        if isinstance(entry, Entry):
            prompt = entry.values.get(names.prompt_name(entry.model))
            if isinstance(prompt, str) and looks_like_template(prompt):
                self.template_place = entry.place

    def _places(self, setting: str, names: Mapping[str, Any]) -> dict[str, Place]:
        document = self._settings_document
        if document is None:
            return {}
        return {name: document.place((setting, name)) for name in names}


class _Added:
    """Counts what a manifest's settings add to its rows: a short one may make a very long list."""

    def __init__(self, limits: Limits, settings: Settings, names: ColumnMapping) -> None:
        self._limits = limits
        self._requests = self._bytes = 0
        self._defaults = {name: value_bytes(one) for name, one in settings.defaults.items()}
        self._all_defaults = sum(self._defaults.values())
        self._matrix = {name: sum(map(value_bytes, axis)) for name, axis in settings.matrix.items()}
        self._copies = names.copies()

    def count(
        self, record: Record, own: Mapping[str, Any], axes: Mapping[str, Collection[Any]]
    ) -> None:
        """Count the entries of a record. own: its inputs. axes: of the matrix. Raises Unreadable.

        An entry that a setting adds nothing to costs as much as a comparison or two.
        """
        if self._defaults:
            twice = own.keys() & self._defaults.keys()
            defaults = self._all_defaults - sum(self._defaults[name] for name in twice)
        else:
            defaults = 0
        if self._copies and isinstance(record.values, Mapping):
            for name in self._copies.keys() & record.values.keys():
                self._bytes += self._copies[name] * value_bytes(record.values[name])
        if axes:
            made = math.prod(map(len, axes.values()))
            self._requests += made
            self._bytes += (made - 1) * sum(map(value_bytes, own.values()))
            self._bytes += sum(self._matrix[n] * (made // len(axis)) for n, axis in axes.items())
            if self._requests > self._limits.matrix_total:
                what = f"the matrix has made {self._requests:,} requests up to this row"
                raise over_limit(self._limits, "matrix_total", record.place, what)
            defaults *= made
        self._bytes += defaults
        if self._bytes > self._limits.default_total:
            what = "defaults:, matrix: and columns: add too much to the rows up to this one"
            raise over_limit(self._limits, "default_total", record.place, what)


_NO_ROWS = Document({}, {}, None)


def _unfold(entry: Entry, name: str, unfolding: Unfolding) -> Iterator[Entry | Problem]:
    """Yield an entry for each text of its prompt. name: of the prompt."""
    written = entry.values.get(name)
    if not isinstance(written, str):
        yield entry
        return
    place = entry.places.get(name, entry.place)
    try:
        texts = unfolding.texts(written)
    except CannotUnfold as error:
        yield Problem(error.place or place, error.what, error.remedy, entry.id, name)
        return
    for text, form in texts:
        if not form and text == written:
            yield entry
            return
        if TEMPLATE in entry.meta:
            what = "there is metadata of this name, under which the prompt as written is kept"
            remedy = "Carry it along under another name, as with --column _template=template."
            yield Problem(place, what, remedy, entry.id, TEMPLATE)
            return
        id = f"{entry.id}-{form}" if entry.id is not None and form else entry.id
        meta = {**entry.meta, TEMPLATE: written}
        yield entry._replace(id=id, values={**entry.values, name: text}, meta=meta)


def _suffix(name: str, value: Any) -> str:
    """Return what a value of the matrix adds to an id, such as `-seed1`; it alone decides that."""
    return f"-{name}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def _colon_problem(record: Record, names: ColumnMapping) -> Problem | None:
    """Return the problem of a prompt that YAML took for a name: `- A robot: 3d render`."""
    if not isinstance(record.values, dict) or len(record.values) != 1:
        return None
    name = next(iter(record.values))
    if " " not in name or names.knows_any([name]):
        return None
    what = f"{quote_value(name)} is read as a name, since a colon and a blank follow"
    return Problem(record.place, what, "If all of it is a prompt, put quotes around it.")


def _id_or_model_problem(parts: EntryParts, place: Place) -> Problem | None:
    """Return the problem of a row's id or model, if there is one."""
    id, model = parts.id, parts.model
    where = parts.places.get("id", place)
    if id is not None and (isinstance(id, bool) or not isinstance(id, str | int)):
        remedy = "Write a text, or take it out: rows without an id get a readable one."
        return Problem(where, f"{quote_value(id)} is not an id", remedy, field="id")
    if isinstance(id, str) and not id.strip():
        return Problem(where, "the id is blank", "Write a text, or take it out.", field="id")
    row = None if id is None else str(id)
    what: str | None
    if parts.twice:
        what = "two names of the row stand for it"
        return Problem(place, what, "Take one of them out.", row, parts.twice)
    if parts.deployment is not None:
        where = parts.places.get("deployment", place)
        if model is None:
            what = f"{quote_value(parts.deployment)} is not the id of a deployment"
            remedy = "Write it as your list of deployments shows it."
            return Problem(where, what, remedy, row, "deployment")
        if not isinstance(model, str) or deployment_id(model) != parts.deployment:
            what = "a row is sent to a model or to a deployment, and this one names both"
            return Problem(where, what, "Take one of them out.", row, "deployment")
    elif model is not None:
        what = f"{quote_value(model)} is no model id"
        if isinstance(model, str):
            what = model_id_problem(model)
        if what:
            remedy = "Write it as the model's page does, like ideogram/ideogram-v2/generate."
            return Problem(parts.places.get("model", place), what, remedy, row, "model")
    return None


def _try_to_open(source: ManifestSource) -> None:
    """Raise UsageError or FileRefused before any row is read, if the file cannot be opened."""
    try:
        if source.path is None:
            return
        if source.format == FOLDER:
            next(source.path.iterdir(), None)
        elif source.allowed is not None:
            source.allowed.open(source.path).close()
        elif source.path.is_file():  # a pipe can be opened only once
            source.path.open("rb").close()
    except FileRefused:
        raise
    except OSError as error:
        raise _cannot_open(source.file, error) from None


def _cannot_open(file: str, error: OSError) -> UsageError:
    reason = (error.strerror or str(error)).lower()
    return UsageError(f"{file} cannot be read: {reason}.", "Look at its permissions.")
