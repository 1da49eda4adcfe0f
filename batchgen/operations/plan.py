"""`plan`: what a run would do with a manifest, without sending anything.

A new row takes the place of one that the manifest no longer has and that has the same id, or, for a
row without an id, the same position. It is told as a changed row, with the inputs that differ; it
is a new request all the same.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from batchgen.batch_folder import Folder
from batchgen.core.prices import Price
from batchgen.core.states import State
from batchgen.journal.comparison import compare
from batchgen.journal.reader import Reader
from batchgen.journal.staging import StagedRows
from batchgen.operations.find_batch import find_folder, known_batches
from batchgen.operations.open_manifest import ProblemSink, open_manifest_for, require_valid_rows
from batchgen.operations.prices import price_of
from batchgen.validation.schema_registry import SchemaRegistry

NEW, CHANGED, UNLISTED = "new", "changed", "no longer listed"


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """What becomes of one row.

    what: `new`, `changed`, `no longer listed`, or the row's state.
    sends: whether the run would pay for it. price: USD; None if unknown or if nothing is sent.
    changes: for a changed row, `name: old -> new` for each input that differs.
    """

    what: str
    id: str
    source: str
    model: str
    sends: bool
    price: float | None
    changes: tuple[str, ...] = ()


@dataclass
class Plan:
    """Sums over the planned rows.

    counts: rows by what becomes of them. sends: requests. cost: USD of those with a price.
    unpriced: requests without one.
    """

    counts: Counter[str] = field(default_factory=Counter)
    sends: int = 0
    cost: float = 0.0
    unpriced: int = 0

    def add(self, row: PlannedRow) -> None:
        self.counts[row.what] += 1
        self.sends += row.sends
        self.cost += row.price or 0.0
        self.unpriced += row.sends and row.price is None

    def seconds(self, rate: float) -> float:
        """Return the seconds that the submissions take. rate: submissions per second."""
        return max(self.sends - 1, 0) / rate

    def as_json(self) -> dict[str, Any]:
        return {
            "counts": dict(self.counts),
            "sends": self.sends,
            "cost": round(self.cost, 6),
            "unpriced": self.unpriced,
        }


def planned_rows(
    staged: StagedRows,
    folder: Folder,
    find_price: Callable[[str], Price | None],
    reopened: Collection[State] = (),
) -> Iterator[PlannedRow]:
    """Yield what becomes of each row of the manifest, in order, then of those it no longer has.

    find_price: returns the price of a model.
    reopened: the states whose rows the person asked to send again.
    Raises StorageDamaged if the journal cannot be read.
    """
    with compare(staged, folder.journal) as comparison, comparison.gone_rows() as gone:
        for row in comparison.rows():
            name = row.id or row.journal_id or f"row {row.position}"
            changes: tuple[str, ...] = ()
            if row.problem:
                what, sends = "invalid", False
            elif row.state is not None:
                what, sends = row.state, row.state == State.PENDING or row.state in reopened
            elif old := gone.take_predecessor(row):
                what, sends = CHANGED, True
                changes = _changes(old, row.model, json.loads(row.input))
            else:
                what, sends = NEW, True
            price = find_price(row.model) if sends else None
            usd = None if price is None else price.of(row.input)
            yield PlannedRow(what, name, row.source, row.model, sends, usd, changes)
        for id, source, model in gone:
            yield PlannedRow(UNLISTED, id, source, model, False, None)


def _changes(old: tuple[str, str], model: str, input: dict[str, Any]) -> tuple[str, ...]:
    """Return `name: old -> new` for the model and each input that differ."""
    before = {"model": old[0], **json.loads(old[1])}
    now = {"model": model, **input}
    return tuple(
        f"{name}: {_shown(before, name)} -> {_shown(now, name)}"
        for name in dict.fromkeys([*before, *now])
        if _canonical(before, name) != _canonical(now, name)
    )


def _canonical(values: dict[str, Any], name: str) -> str | None:
    """Return a value as a key is made from it: 5, 5.0 and true are three values."""
    return json.dumps(values[name], sort_keys=True) if name in values else None


def _shown(values: dict[str, Any], name: str) -> str:
    if name not in values:
        return "(none)"
    text = json.dumps(values[name], ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def plan(
    flags: Mapping[str, Any], path: str, show: ProblemSink, step: Callable[[PlannedRow], None]
) -> tuple[Plan, float]:
    """Call `step` for each row with what a run would do; return the sums and the rate.

    show: gets each problem of the manifest. The rate is in submissions per second. Nothing is sent.
    Raises what `run` raises before its first submission.
    """
    manifest, options = open_manifest_for(flags, path)
    folder = Folder(find_folder(path, options, known_batches(), lambda question: None))
    known = SchemaRegistry(options.model, options.schema, folder.schemas, None)
    sums = Plan()
    reopened = [State.FAILED] * options.retry_failed
    reopened += [State.UNKNOWN] * (options.on_unknown == "resubmit")
    with closing(StagedRows()) as staged:
        require_valid_rows(manifest, known, staged, show, options)
        find_price = partial(price_of, options.price, otherwise=_prices_seen(folder).get)
        for row in planned_rows(staged, folder, find_price, reopened):
            sums.add(row)
            step(row)
    return sums, options.rate


def _prices_seen(folder: Folder) -> dict[str, Price | None]:
    """Return the price of each model when this batch last ran; a plan asks no catalogue."""
    if not folder.journal.is_file():
        return {}
    with closing(Reader(folder.journal)) as reader:
        return reader.prices()
