"""What a name in a manifest stands for: the row's id, its model, an input, or metadata.

`--column TARGET=SOURCE` gives an input another name in the file. Metadata is copied into the
results and never sent: what `--meta` names, what begins with `_`, and with `--meta '*'` every name
that is no input of the model. What `--meta` names is metadata even if the model has such an input.
What `--id` makes ids of is metadata unless it is an input.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from batchgen.core.identity import PROMPT_NAMES
from batchgen.core.messages import MAX_NAME_CHARS, MOST_UNKNOWN, option_of, unknown_columns_problems
from batchgen.core.rows import RESERVED, Place, Problem
from batchgen.core.targets import deployment_target
from batchgen.core.text import (
    closest_match,
    escape_unprintable,
    list_choices,
    plural,
    quote_value,
    shell_quote,
    truncate,
)
from batchgen.manifest.records import Header, Record
from batchgen.manifest.separators import SEPARATORS, KnowsAny
from batchgen.templates.id_template import IdTemplate, Unfilled

T = TypeVar("T")
ALL_COLUMNS = "*"
NO_NAMES: frozenset[str] = frozenset()
NOT_PLAIN = frozenset(RESERVED) - {"id"}
MAX_CACHED_NAMES = 1000  # a file can have new names in every row

# A model's id, None for the default model -> the names of its inputs; None where they are unknown.
Properties = Callable[[str | None], Collection[str] | None]


@dataclass(slots=True)
class EntryParts:
    """The parts of a record.

    deployment: as written; if it is the id of one, `model` is its target.
    places: of inputs, as far as they are known. twice: an input that two names stand for, else "".
    """

    id: Any = None
    model: Any = None
    deployment: Any = None
    inputs: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    twice: str = ""


class ColumnMapping:
    """Sorts the values of records. columns: source by target. meta: names that are metadata.

    id_template: what ids are made of, if not of the name `id` alone.
    nodes: inputs of nodes, as `6.text`, by the names that stand for them, unless the model itself
        has an input of such a name.

    What a name stands for is found once for each model, since most rows have the same names.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        meta: Collection[str],
        properties: Properties,
        id_template: IdTemplate | None = None,
        nodes: Mapping[str, str] | None = None,
    ) -> None:
        self._targets: dict[str, list[str]] = {}
        for target, source in columns.items():
            self._targets.setdefault(source, []).append(target)
        self._nodes = dict(nodes or {})
        self._meta = frozenset(meta)
        self._id_template = id_template
        self._of_ids = frozenset(id_template.names if id_template else ())
        self._properties = properties
        self._dropped: set[str] = set()
        self._known: dict[str | None, Collection[str] | None] = {}
        self._prompts: dict[str | None, str] = {}
        self._resolved: dict[str | None, dict[str, list[str] | None]] = {}
        # The names that stand for the input of the same name, by model.
        self._direct: dict[str | None, set[str]] = {}
        self._models = [n for n, targets in self._targets.items() if "model" in targets]

    def properties(self, model: str | None) -> Collection[str] | None:
        """Return the inputs of a model; None where they are unknown."""
        if model not in self._known:
            self._known[model] = self._properties(model)
        return self._known[model]

    def input_of(self, name: str, model: str | None) -> str:
        """Return the input that a name stands for where it is no other's, by `nodes`."""
        if name not in self._nodes:
            return name
        known = self.properties(model)
        return name if known is not None and name in known else self._nodes[name]

    def inputs_of(self, values: Mapping[str, T], model: str | None) -> dict[str, T]:
        """Return the same values by the inputs that their names stand for."""
        if not self._nodes:
            return dict(values)
        return {self.input_of(name, model): value for name, value in values.items()}

    def copies(self) -> dict[str, int]:
        """Return how often more than once a value is used, by the names of those that are."""
        return {n: len(targets) - 1 for n, targets in self._targets.items() if len(targets) > 1}

    def knows_any(self, names: Collection[str]) -> bool:
        """Whether one of these names is `id`, `model`, an input, or named by --column or --meta.

        The inputs are those of the default model; it is asked last, since it may have no schema.
        """
        told = self._meta.union(self._targets, RESERVED, self._of_ids, self._nodes)
        if any(name in told for name in names):
            return True
        known = self.properties(None)
        return any(name in (PROMPT_NAMES if known is None else known) for name in names)

    def prompt_name(self, model: str | None) -> str:
        """Return the input that a text alone stands for; some models call it text or tags."""
        if model not in self._prompts:
            known = self.properties(model)
            inputs = [self.input_of(name, model) for name in PROMPT_NAMES]
            found = (one for one in inputs if known is None or one in known)
            self._prompts[model] = next(found, inputs[0])
        return self._prompts[model]

    def targets(self, name: str, model: str | None) -> list[str] | None:
        """Return the inputs (or `id`, `model`) that a name stands for; None if it is metadata."""
        if name in self._targets:
            return [self.input_of(target, model) for target in self._targets[name]]
        if name in RESERVED and name not in self._meta:
            return [name]
        if name.startswith("_") or name in self._meta:
            return None
        if ALL_COLUMNS in self._meta or name in self._of_ids:
            known = self.properties(model)
            if known is not None and self.input_of(name, model) not in known:
                return None
        return [self.input_of(name, model)]

    def plain(self, record: Record) -> tuple[str | None, dict[str, Any]] | None:
        """Return a record's id and inputs, as `split` does, where there is no doubt of them.

        None where it has anything else, a value's place, or names that were not resolved before.
        """
        values = record.values
        if isinstance(values, str):
            return None if record.id is not None else (None, {self.prompt_name(None): values})
        if record.places or not values.keys() <= self._direct.get(None, NO_NAMES):
            return None
        inputs = dict(values)
        id = inputs.pop("id", record.id)
        if not (id is None or (isinstance(id, str) and id.strip())):
            return None
        return (id, inputs) if NOT_PLAIN.isdisjoint(inputs) else None

    def split(self, record: Record) -> EntryParts:
        """Sort a record's values into id, model, inputs and metadata."""
        parts = EntryParts(id=record.id)
        if isinstance(record.values, str):
            parts.inputs[self.prompt_name(None)] = record.values
            return parts
        model = self._model_of(record.values)
        uses = self._targets_for(model)
        if record.values.keys() <= self._direct.get(model, NO_NAMES) and not record.places:
            parts.inputs = dict(record.values)  # most rows; a fifth of the time of the loop below
            parts.id = parts.inputs.pop("id", record.id)
            parts.model = parts.inputs.pop("model", None)
            parts.deployment = parts.inputs.pop("deployment", None)
            return _with_deployment(parts)
        for name, value in record.values.items():
            targets = uses[name] if name in uses else self._resolve_name(name, model)
            if targets is None:
                parts.meta[name] = value
                continue
            for target in targets:
                if self._is_metadata(target, model):
                    parts.meta[target] = value
                elif target == "id":
                    parts.id = value
                elif target == "model":
                    parts.model = value
                elif target == "deployment":
                    parts.deployment = value
                else:
                    parts.twice = target if target in parts.inputs else parts.twice
                    parts.inputs[target] = value
                if record.places and name in record.places:
                    parts.places[target] = record.places[name]
        return _with_deployment(parts)

    def made_id(self, record: Record, parts: EntryParts) -> Any:
        """Return the row's id: as the template makes it, else as it was written. Raises Unfilled.

        In the template, `id` is what the row's id would be without it.
        """
        if self._id_template is None:
            return parts.id
        values = record.values
        if isinstance(values, str):
            values = {self.prompt_name(None): values}
        return self._id_template.fill(values if parts.id is None else {"id": parts.id, **values})

    def unfilled_problem(self, record: Record, error: Unfilled) -> Problem:
        """Say what a row lacks, and what may have been meant."""
        what, remedy = error.what, "Write it, or leave the row out."
        if record.cells:  # empty cells are no values
            what = Unfilled(error.name, "it is empty").what if error.is_absent else what
        elif error.is_absent and not isinstance(record.values, str):
            near = closest_match(error.name, record.values)
            remedy = f"Did you mean {escape_unprintable(near)}?" if near else remedy
        place = record.places.get(error.name, record.place)
        return Problem(place, what, remedy, field=error.name)

    def _is_metadata(self, target: str, model: str | None) -> bool:
        """Whether a target of --column is metadata: `--column _id=id` carries an id along."""
        known = self.properties(model) if target.startswith("_") else ()
        return target.startswith("_") and (known is None or target not in known)

    def _inputs(self, name: str) -> list[str]:
        """Return the inputs of the default model, `id` or `model` that a column stands for."""
        targets = self.targets(name, None) or []
        return [target for target in targets if not self._is_metadata(target, None)]

    def _model_of(self, values: Mapping[str, Any]) -> str | None:
        model = values.get(self._models[0] if self._models else "model")
        if isinstance(model, str) and model:
            return model
        deployment = values.get("deployment")
        if isinstance(deployment, str) and deployment:
            with suppress(ValueError):
                return deployment_target(deployment)
        return None

    def _targets_for(self, model: str | None) -> dict[str, list[str] | None]:
        """Return the targets of names that were resolved for a model."""
        return self._resolved.setdefault(model, {})

    def _resolve_name(self, name: str, model: str | None) -> list[str] | None:
        targets = [] if name in self._dropped else self.targets(name, model)
        if sum(map(len, self._resolved.values())) >= MAX_CACHED_NAMES:
            self._resolved.clear()
            self._direct.clear()
        self._targets_for(model)[name] = targets
        if targets == [name]:
            self._direct.setdefault(model, set()).add(name)
        return targets

    def check_header(self, header: Header) -> Iterator[Problem]:
        """Yield the problems of a table's columns; unknown columns are left out of every row.

        Where rows name their own models, a column may be known to one and not to another. Then
        unknown names are problems of the rows.
        """
        names = [name for name in header.names if name is not None]
        yield from self._missing_columns(header, names)
        uses: dict[str, str] = {}
        for name in names:
            for target in self._inputs(name):
                if target in uses:
                    both = f"{quote_value(uses[target])} and {quote_value(name)}"
                    what = f"columns {both} are both read as {target}"
                    remedy = (
                        f"Rename one of them, or carry it along with {option_of('--meta', name)}."
                    )
                    yield Problem(header.column(name), what, remedy, field=name, whole=True)
                uses[target] = name
        known = None if {"model", "deployment"} & uses.keys() else self.properties(None)
        if known is None:
            return
        unknown = {t: n for t, n in uses.items() if t not in known and t not in RESERVED}
        self._dropped.update(unknown.values())
        alone = []
        for target, name in islice(unknown.items(), MOST_UNKNOWN):
            if joined := _joined_problem(name, known, header, self.knows_any):
                yield joined
            else:
                alone.append((target, header.column(name)))
        # A name that another column has is not meant by this one.
        yield from unknown_columns_problems(alone, {*known, *RESERVED} - uses.keys())
        if len(unknown) > MOST_UNKNOWN:
            more = plural(len(unknown) - MOST_UNKNOWN, "more column")
            remedy = "To carry all of them along unsent, add --meta '*'."
            what = f"{more} have names that are no input of the model"
            yield Problem(header.place, what, remedy, whole=True)

    def has_no_inputs(self, header: Header) -> bool:
        """Whether no column is an input, so that reading the rows would find nothing more."""
        names = [n for n in header.names if n is not None and n not in self._dropped]
        used = {target for name in names for target in self._inputs(name)}
        return used <= set(RESERVED)

    def _missing_columns(self, header: Header, names: list[str]) -> Iterator[Problem]:
        mapped = {"id"} & {target for targets in self._targets.values() for target in targets}
        wanted = [
            (source, option_of("--column", f"{'/'.join(t)}={source}"))
            for source, t in self._targets.items()
        ]
        wanted += [(name, option_of("--meta", name)) for name in sorted(self._meta - {ALL_COLUMNS})]
        if self._id_template is not None:
            option = option_of("--id", self._id_template.text)
            wanted += [(name, option) for name in sorted(self._of_ids - mapped)]
        there = set(names)
        missing = [(source, option) for source, option in wanted if source not in there]
        if not self._of_ids <= there | mapped:
            self._id_template = None  # told once, and not again in every row
        for source, option in missing[:MOST_UNKNOWN]:
            near = closest_match(source, names)
            remedy = f"The columns are {list_choices(names)}."
            if near:
                remedy = f"Did you mean {escape_unprintable(near)}?"
            named = truncate(option, MAX_NAME_CHARS)
            what = f"there is no column {quote_value(source)}, which {named} names"
            yield Problem(header.place, what, remedy, field=source, whole=True)
        if len(missing) > MOST_UNKNOWN:
            what = (
                f"{plural(len(missing) - MOST_UNKNOWN, 'more column')} that are named are missing"
            )
            yield Problem(header.place, what, whole=True)


def _with_deployment(parts: EntryParts) -> EntryParts:
    """Return the parts with a row's deployment as its model, if it names no model beside it."""
    if parts.model is None and isinstance(parts.deployment, str):
        with suppress(ValueError):
            parts.model = deployment_target(parts.deployment)
    return parts


def _joined_problem(
    name: str, known: Collection[str], header: Header, knows_any: KnowsAny
) -> Problem | None:
    """Return the problem of a name that is several columns, by another separator, else None.

    It must not be mapped to an input: all cells of a row would be sent as one text. The same holds
    for a line of text that is taken for a header of one column.
    """
    for separator, word in SEPARATORS.items():
        names = [part.strip(' "') for part in name.split(separator)]
        if len(names) < 2 or not (len(header.names) == 1 or knows_any(names)):
            continue
        what = f"the model has no such input; these seem to be columns separated by {word}"
        remedy = "Separate all cells of the file in the same way."
        if len(header.names) == 1:
            near = ((one, closest_match(one, [*known, *RESERVED])) for one in names)
            option = next((f"{found}={one}" for one, found in near if found), "prompt=COLUMN")
            remedy = f"Say which column is which input: --column {shell_quote(option)}"
        return Problem(header.column(name), what, remedy, field=name, whole=True)
    if len(header.names) == 1 and " " in name and not closest_match(name, [*known, *RESERVED]):
        what = "a table begins with the names of its columns, and the model has no such input"
        remedy = "Begin with a line of names, such as prompt; or, if each line is a prompt, add"
        return Problem(
            header.column(name), what, f"{remedy} --format text.", field=name, whole=True
        )
    return None
