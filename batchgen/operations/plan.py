"""What a run would do with a manifest, told before anything is sent. Source: design.md, `plan`.

A row that is new while a row of the same id, or else of the same position, is no longer listed is a
changed row: a new request, named with the inputs that differ.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from batchgen.batch_folder import Folder
from batchgen.core.prices import Price
from batchgen.core.states import State
from batchgen.journal.reader import Reader
from batchgen.journal.staging import StagedRows
from batchgen.operations.open_manifest import ProblemSink, open_manifest_for, require_valid_rows
from batchgen.operations.prices import price_of
from batchgen.validation.schema_registry import SchemaRegistry

NEW, CHANGED, UNLISTED = "new", "changed", "no longer listed"


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """What becomes of one row. what: `new`, `changed`, `no longer listed`, or the row's state.

    sends: whether the run would pay for it. price: USD; None where unknown or nothing is sent.
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
    """counts: rows by what becomes of them. sends: requests; cost: USD of those with a price."""

    counts: Counter[str] = field(default_factory=Counter)
    sends: int = 0
    cost: float = 0.0
    unpriced: int = 0

    def add(self, step: PlannedRow) -> None:
        self.counts[step.what] += 1
        self.sends += step.sends
        self.cost += step.price or 0.0
        self.unpriced += step.sends and step.price is None

    def seconds(self, rate: float) -> float:
        """How long the submissions take at `rate` POSTs per second."""
        return max(self.sends - 1, 0) / rate

    def as_json(self) -> dict[str, Any]:
        return {
            "counts": dict(self.counts),
            "sends": self.sends,
            "cost": round(self.cost, 6),
            "unpriced": self.unpriced,
        }


def planned_rows(
    listing: StagedRows,
    folder: Folder,
    price_of: Callable[[str], Price | None],
    reopened: Collection[str] = (),
) -> Iterator[PlannedRow]:
    """Yield a step for each row of the manifest, in its order, then for those it no longer has.

    price_of: a model -> its price.
    reopened: the states whose rows the person asked to send again.
    """
    with listing.beside(folder.journal) as db:
        db.execute(
            "CREATE TEMP TABLE gone AS SELECT id, position, source, model, input, state, attempts"
            " FROM journal.requests WHERE key NOT IN (SELECT key FROM rows)"
            " AND (listed = 1 OR state IN ('submitted', 'completed', 'unknown'))"
        )
        db.execute("CREATE INDEX temp.gone_id ON gone (id)")
        db.execute("CREATE INDEX temp.gone_position ON gone (position)")
        rows = db.execute(
            "SELECT n.position, n.id, n.source, n.model, n.input, n.problem, o.state, o.id"
            " FROM rows AS n LEFT JOIN journal.requests AS o USING (key) ORDER BY n.position"
        )
        try:
            for position, id, source, model, input, problem, state, known_as in rows:
                name = id or known_as or f"row {position}"
                if problem:
                    yield PlannedRow("invalid", name, source, model, False, None)
                elif state is not None:
                    sends = state == "pending" or state in reopened
                    usd = _usd(price_of(model), input) if sends else None
                    yield PlannedRow(state, name, source, model, sends, usd)
                else:
                    old = _replaced(db, id, position)
                    changes = _changes(old, model, json.loads(input)) if old else ()
                    what = CHANGED if old else NEW
                    usd = _usd(price_of(model), input)
                    yield PlannedRow(what, name, source, model, True, usd, changes)
            for id, source, model in db.execute(
                "SELECT id, source, model FROM gone ORDER BY position"
            ):
                yield PlannedRow(UNLISTED, id, source, model, False, None)
        finally:
            db.execute("DROP TABLE temp.gone")


def _usd(price: Price | None, input: str) -> float | None:
    return None if price is None else price.of(input)


def _replaced(db: Any, id: str | None, position: int) -> tuple[str, str] | None:
    """The (model, input) of the row that a new one stands in for, which is then spoken for."""
    where, value = ("id = ?", id) if id is not None else ("position = ?", position)
    found = db.execute(f"SELECT rowid, model, input FROM gone WHERE {where}", (value,)).fetchone()
    if found is None:
        return None
    db.execute("DELETE FROM gone WHERE rowid = ?", (found[0],))
    return found[1], found[2]


def _changes(old: tuple[str, str], model: str, input: dict[str, Any]) -> tuple[str, ...]:
    before = {"model": old[0], **json.loads(old[1])}
    now = {"model": model, **input}
    return tuple(
        f"{name}: {_shown(before, name)} -> {_shown(now, name)}"
        for name in dict.fromkeys([*before, *now])
        if _exactly(before, name) != _exactly(now, name)
    )


def _exactly(values: dict[str, Any], name: str) -> str | None:
    """As a row's identity has it: 5, 5.0 and true are three values."""
    return json.dumps(values[name], sort_keys=True) if name in values else None


def _shown(values: dict[str, Any], name: str) -> str:
    if name not in values:
        return "(none)"
    text = json.dumps(values[name], ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def plan(
    flags: Mapping[str, Any], path: str, show: ProblemSink, step: Callable[[PlannedRow], None]
) -> tuple[Plan, float]:
    """Tell what a run would do, calling `step` for each row; return the sum and POSTs per second.

    Nothing is sent. Raises as `run` does before its first POST.
    """
    manifest, options = open_manifest_for(flags, path)
    folder = Folder(options.out)
    known = SchemaRegistry(options.model, options.schema, folder.schemas, None)
    listing = StagedRows()
    try:
        require_valid_rows(manifest, known, listing, show, options)
        whole = Plan()
        seen = _prices_seen(folder)
        reopened = [State.FAILED] * options.retry_failed
        reopened += [State.UNKNOWN] * (options.on_unknown == "resubmit")
        find_price = partial(price_of, options.price, otherwise=seen.get)
        for found in planned_rows(listing, folder, find_price, reopened):
            whole.add(found)
            step(found)
        return whole, options.rate
    finally:
        listing.close()


def _prices_seen(folder: Folder) -> dict[str, Price | None]:
    """What models cost when this batch last ran; the catalogue is not asked for a plan."""
    if not folder.journal.is_file():
        return {}
    reader = Reader(folder.journal)
    try:
        return reader.prices()
    finally:
        reader.close()
