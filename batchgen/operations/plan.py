"""`plan`: what a run would do with a manifest, without sending anything.

A row that was paid for and is only written differently counts as that row. A renamed row asks for
what was paid for under another id; a run pays for it with `--allow-changed` only. Any other new row
takes the place of one that the manifest no longer has and that has the same id, or, for a row
without an id, the same position. It is told as a changed row, with the inputs that differ; it is a
new request all the same.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from batchgen.api.catalogue import Catalogue
from batchgen.api.endpoint import find_endpoint
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.core.budget import active_limits, what_is_left
from batchgen.core.identity import json_object, prompt_of
from batchgen.core.likeness import input_changes
from batchgen.core.prices import Estimate, Price, SeenCost, estimate
from batchgen.core.states import State, makes_nothing_again
from batchgen.core.terms import RowTerms, Terms
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import ServiceUnreachable, TokenRefused, UsageError
from batchgen.journal import command_table
from batchgen.journal.comparison import Comparison, compare
from batchgen.journal.reader import Reader
from batchgen.journal.staging import StagedRows
from batchgen.operations.find_batch import (
    as_batch_has_it,
    ask_nobody,
    find_folder,
    known_batches,
    run_folder,
)
from batchgen.operations.models import schema_folders, stored_versions
from batchgen.operations.open_manifest import (
    ProblemSink,
    open_manifest_for,
    open_workflow,
    require_valid_rows,
    schemas_for,
)
from batchgen.operations.prices import (
    asked_services,
    other_batches,
    require_agreed,
    said_prices,
    tell_of_unused_prices,
    told_before,
)
from batchgen.operations.take_over import refuse_renamed, states_to_send

NEW, CHANGED, RENAMED, UNLISTED = "new", "changed", "renamed", "no longer listed"
NOTHING = Estimate(0.0)
SHOWN_PROMPTS = 10  # of those that unfold


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """What becomes of one row.

    what: `new`, `changed`, `renamed`, `no longer listed`, or the row's state.
    sends: whether the run would pay for it. expected: what that costs.
    template, prompt: of a row that comes of a prompt that unfolds: as written, and as sent.
    changes: for a changed or renamed row, `name: old -> new` for each input that differs.
    key: of the row; "" for one that is no longer listed.
    """

    what: str
    id: str
    source: str
    model: str
    sends: bool
    expected: Estimate
    changes: tuple[str, ...] = ()
    key: str = ""
    template: Any = None
    prompt: str = ""


@dataclass
class Sums:
    """rows: of the list. sends: requests. cost: USD of those with a price.

    floor: they may well cost more. unpriced: requests without a price.
    """

    rows: int = 0
    sends: int = 0
    cost: float = 0.0
    floor: bool = False
    unpriced: int = 0

    def add(self, row: PlannedRow) -> None:
        self.rows += 1
        self.sends += row.sends
        self.cost += row.expected.usd or 0.0
        self.floor = self.floor or row.expected.floor
        self.unpriced += row.expected.usd is None


@dataclass
class UnfoldedPrompts:
    """What the prompts that unfold come to.

    first: place and sums of each of the first. others: the sums of the `many` others.
    """

    first: list[tuple[str, Sums]] = field(default_factory=list)
    others: Sums = field(default_factory=Sums)
    many: int = 0
    _last: tuple[str, Any] | None = None

    def add(self, row: PlannedRow) -> None:
        """Add a row; those of one prompt come one behind the other."""
        if row.template is None:
            return
        if (row.source, row.template) != self._last:
            self._last = row.source, row.template
            if len(self.first) < SHOWN_PROMPTS:
                self.first.append((row.source, Sums()))
            else:
                self.many += 1
        (self.others if self.many else self.first[-1][1]).add(row)

    def as_json(self) -> dict[str, int]:
        rows = self.others.rows + sum(one.rows for _, one in self.first)
        return {"prompts": len(self.first) + self.many, "rows": rows}


@dataclass
class Plan(Sums):
    """Sums over the planned rows.

    counts: rows by what becomes of them. unfolded: those that come of prompts that unfold.
    prices_from: when the oldest of the prices was asked for, as the journal writes times, where the
        catalogue was not asked now; "" where it was, or where a person gave them.
    files, file_bytes: local files among the inputs of the list's rows. fitted, fitted_as: of these
        the pictures that are sent smaller (--fit), and what becomes of one.
    not_asked: why the catalogue was not asked, in words; "" where it was.
    prices: of the models that requests are sent to; None where it is not known.
    left: the name, USD, and USD that are left, of each limit of cost.
    terms: what `--expect-plan` takes. rate: submissions per second.
    kept: what `set --keep` left for it, as written, by setting.
    paused_since: as the journal writes it; "" where the batch is not paused.
    estimated: some of the cost is by what requests have come to, and not by a price. spread: from
        what to what they came, USD, None before the first.
    folder: of the batch. older: model, version, number of its saved rows, and today's version,
        where that is another.
    """

    counts: Counter[str] = field(default_factory=Counter)
    unfolded: UnfoldedPrompts = field(default_factory=UnfoldedPrompts)
    prices_from: str = ""
    not_asked: str = ""
    prices: Mapping[str, Price | None] = field(default_factory=dict)
    files: int = 0
    file_bytes: int = 0
    fitted: int = 0
    fitted_as: str = ""
    left: list[tuple[str, float, float]] = field(default_factory=list)
    terms: Terms | None = None
    estimated: bool = False
    spread: tuple[float, float] | None = None
    older: list[tuple[str, str, int, str]] = field(default_factory=list)
    folder: str = ""
    rate: float = 1.0
    kept: Mapping[str, str] = field(default_factory=dict)
    paused_since: str = ""

    @property
    def digest(self) -> str:
        """What `--expect-plan` takes."""
        return str(self.terms)

    @property
    def at_most(self) -> float:
        """USD that the run would spend, as far as it is known."""
        return min([self.cost, *(rest for _, _, rest in self.left)])

    def add(self, row: PlannedRow) -> None:
        super().add(row)
        self.counts[row.what] += 1
        self.unfolded.add(row)

    @property
    def seconds(self) -> float:
        """The seconds that the submissions take."""
        return max(self.sends - 1, 0) / self.rate

    def as_json(self) -> dict[str, Any]:
        return {
            "counts": dict(self.counts),
            "sends": self.sends,
            "cost": round(self.cost, 6),
            "cost_is_floor": self.floor,
            "cost_is_estimate": self.estimated,
            "requests_came_to": self.spread and {"least": self.spread[0], "most": self.spread[1]},
            "unpriced": self.unpriced,
            "prices_from": self.prices_from or None,
            "files": self.files,
            "file_bytes": self.file_bytes,
            "fitted": self.fitted,
            "unfolded": self.unfolded.as_json(),
            "older_versions": [
                {"model": model, "version": version, "rows": rows, "now": now}
                for model, version, rows, now in self.older
            ],
            "limits": [
                {"name": name, "usd": usd, "left": round(left, 6)} for name, usd, left in self.left
            ],
            "at_most": round(self.at_most, 6),
            "kept": dict(self.kept),
            "paused_since": self.paused_since or None,
            "digest": self.digest,
            "seconds": round(self.seconds, 1),
        }


def planned_rows(
    staged: StagedRows,
    folder: Folder,
    expect: Callable[[str, str], Estimate],
    states: Collection[State] = (State.PENDING,),
    limit: int | None = None,
    *,
    unfolds: bool = False,
) -> Generator[PlannedRow, None, None]:
    """Yield what becomes of each row of the manifest, in order, then of those it no longer has.

    expect: returns what a request is expected to cost, by its model and input.
    states: those whose rows are sent. limit: the most rows that are sent; None is all.
    unfolds: whether the prompts of the list do.
    Raises StorageDamaged if the journal cannot be read.
    """
    with compare(staged, folder.journal) as comparison:
        comparison.pair_rewritten()
        yield from _compared_rows(comparison, expect, states, limit, unfolds)


def _compared_rows(
    comparison: Comparison,
    expect: Callable[[str, str], Estimate],
    states: Collection[State],
    limit: int | None,
    unfolds: bool,
) -> Iterator[PlannedRow]:
    left = math.inf if limit is None else limit
    with comparison.gone_rows() as gone:
        for row in comparison.rows():
            name = row.id or row.journal_id or f"row {row.position}"
            changes: tuple[str, ...] = ()
            if row.problem:
                what, sends = "invalid", False
            elif row.state is not None:
                vain = row.state == State.FAILED and makes_nothing_again(row.error or "")
                what, sends = row.state, row.state in states and not vain
            elif renamed := gone.take_renamed(row):
                what, sends = RENAMED, True
                ids = renamed[0], row.id or ""
                changes = input_changes(renamed[1:], row.model, row.input, ids)
            elif old := gone.take_predecessor(row):
                what, sends = CHANGED, True
                changes = input_changes(old, row.model, row.input)
            else:
                what, sends = NEW, True
            sends = sends and left > 0
            left -= sends
            expected = expect(row.model, row.input) if sends else NOTHING
            found = PlannedRow(what, name, row.source, row.model, sends, expected, changes, row.key)
            if unfolds and row.template is not None:
                prompt = prompt_of(json_object(row.input) or {})
                found = replace(found, template=row.template, prompt=prompt)
            yield found
        for id, source, model in gone:
            yield PlannedRow(UNLISTED, id, source, model, False, NOTHING)


def plan(
    flags: Mapping[str, Any],
    path: str,
    show: ProblemSink,
    step: Callable[[PlannedRow], None],
    timing: Timing = DEFAULT_TIMING,
) -> Plan:
    """Call `step` for each row with what a run would do; return the sums. Nothing is sent.

    show: gets each problem of the manifest.
    Raises what `run` raises before its first submission.
    """
    manifest, options = open_manifest_for(flags, path)
    batches = known_batches()
    folder = run_folder(find_folder(path, options, batches, ask_nobody), path, options)
    others, now = other_batches(batches, folder, options), datetime.now()
    options, kept = as_batch_has_it(options, folder, now)
    limits = active_limits(options.limits, now, others.committed_usd)
    sums, rows = Plan(rate=options.rate, kept=kept, folder=str(folder.path)), RowTerms()
    with closing(StagedRows()) as staged, ExitStack() as stack:
        workflow = open_workflow(manifest, options)
        classes = workflow.classes if workflow else ()
        prices = _Prices(options, folder, stack, timing, [limit.since for limit in limits], classes)
        known = schemas_for(options, schema_folders(folder), prices.catalogue, workflow)
        require_valid_rows(manifest, known, staged, show, options, workflow=workflow)
        if not folder.has_journal():
            refuse_renamed(staged, path, folder, options, batches, ask_nobody)
        tell_of_unused_prices(options, staged.models)
        sums.files, sums.file_bytes = staged.count_files()
        sums.fitted, sums.fitted_as = staged.fitted()
        found = planned_rows(
            staged,
            folder,
            prices.expect,
            states_to_send(options),
            options.limit,
            unfolds=manifest.unfolds,
        )
        # Whatever `step` raises: it reads a journal that is closed after it.
        stack.enter_context(closing(found))
        for row in found:
            sums.add(row)
            if row.sends:
                rows.add(row.key, row.model)
            step(row)
        versions = stored_versions(folder, prices.catalogue)
        with suppress(UsageError), closing(Reader(folder.journal)) as reader:
            sums.paused_since = command_table.paused_since(reader)
            sums.older = [(*one, versions[one[0]]) for one in reader.older_versions(versions)]
    sums.prices_from, sums.not_asked = min(prices.times, default=""), prices.not_asked
    sums.prices = prices.found
    sums.estimated = any(
        price is None and (cost := prices.seen.get(model)) is not None and cost.request is not None
        for model, price in prices.found.items()
    )
    sums.spread = prices.spread
    sums.left = what_is_left(limits, prices.committed_usd)
    service, serverless = prices.services
    sums.terms = rows.terms(
        service, prices.found, prices.seen, sums.left, options.limit, serverless
    )
    if options.expect_plan is not None:
        require_agreed(options.expect_plan, sums.terms, path)
    return sums


class _Prices:
    """What requests cost: by the person, else by the catalogue where there is a token to ask with,
    else as this batch was told when it last ran.

    found: the prices that were needed, by model. seen: what its requests have cost.
    spread: as `Plan` has it.
    times: when the prices that were used and not asked for now had been asked for.
    catalogue: which has the schemas, too; None where it is not asked.
    not_asked: why it was not asked, in words; "" where it was, or was not needed.
    services: as `asked_services` has them.
    since: the stamps for `committed_usd`. node_classes: as `Endpoint` has them.
    """

    def __init__(
        self,
        options: RunOptions,
        folder: Folder,
        stack: ExitStack,
        timing: Timing,
        since: Iterable[str],
        node_classes: tuple[str, ...],
    ) -> None:
        self._options = options
        self.found: dict[str, Price | None] = {}
        self._committed: dict[str, float] = {}
        self.times: set[str] = set()
        self.not_asked = ""
        self.spread: tuple[float, float] | None = None
        self._before: dict[str, Price | None] = {}
        self.seen: dict[str, SeenCost] = {}
        rehearsal = options.sandbox
        with suppress(UsageError), closing(Reader(folder.journal)) as reader:  # or no batch yet
            self._before, self.seen = reader.prices(), reader.seen_costs()
            self.spread = reader.estimated_spread()
            self._committed = {stamp: reader.committed_usd(stamp) for stamp in since}
            rehearsal = rehearsal or reader.is_rehearsal()
        self.catalogue: Catalogue | None = None
        self.services = asked_services(options, rehearsal=rehearsal)
        if rehearsal:
            self.not_asked = "a rehearsal has prices of its own"
            return
        try:
            endpoint = find_endpoint(options)
        except TokenRefused:
            self.not_asked = "there is no token to ask RunComfy with"
        else:
            endpoint = replace(endpoint, node_classes=node_classes)
            self.catalogue = stack.enter_context(closing(Catalogue(endpoint, timing)))

    def expect(self, model: str, input: str) -> Estimate:
        """Return what a request is expected to cost. input: JSON."""
        if model not in self.found:
            self.found[model] = self._find(model)
        return estimate(self.found[model], self.seen.get(model), input)

    def committed_usd(self, since: str) -> float:
        """Return the USD that the batch has spent, reserved or possibly spent since a stamp."""
        return self._committed.get(since, 0.0)

    def _find(self, model: str) -> Price | None:
        of_person, written = said_prices(self._options, model)
        if of_person is not None:
            return of_person
        try:
            if self.catalogue is not None:
                return self.catalogue.price(model) or written
        except ServiceUnreachable:
            self.not_asked = "RunComfy cannot be reached"
        except TokenRefused:
            self.not_asked = "RunComfy refused the token"
        before = told_before(self._before.get(model), written)
        if before is not None and before is not written:
            self.times.add(before.at)
        return before
