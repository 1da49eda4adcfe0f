"""`resolve`: settle `unknown` rows.

A person attaches the request that they found in their account, writes the row off, or sends it
again. Nothing is decided or paid without them. A rehearsal's account is the ledger of its sandbox,
which can be asked.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from batchgen.api.poll_outcome import Failed, Missing, Unauthorized, Unclear
from batchgen.api.runcomfy import capabilities_of
from batchgen.api.service import PollResult
from batchgen.batch_folder import Folder
from batchgen.clock import to_iso
from batchgen.config import RunOptions
from batchgen.core.identity import REQUEST_ID_PATTERN
from batchgen.core.local_files import FileChanged
from batchgen.core.states import State
from batchgen.core.targets import WORKFLOW, another_seed
from batchgen.core.timing import Timing
from batchgen.errors import ServiceUnreachable, TokenRefused, UsageError
from batchgen.inputs.workflow import KeptWorkflows
from batchgen.journal.receipts import Receipt, ReceiptLog
from batchgen.journal.writer import Journal, Request, RequestIdInUse
from batchgen.operations import batch
from batchgen.operations.batch import open_batch
from batchgen.operations.take_over import recover_submitting
from batchgen.report.next_steps import command
from batchgen.validation.model_schema import load_schema
from batchgen.validation.schema_registry import schema_path

UNCHANGED = "Nothing was changed."


@dataclass(frozen=True, slots=True)
class UnknownRow:
    """What a person needs to find an unknown row's request in their account.

    sent_at: ISO 8601, UTC. price: USD. reason: why nobody can tell whether it was accepted.
    answer: what came, status, type and first bytes; "" where nothing did.
    found: in a rehearsal, the requests for this input that the sandbox's ledger has and no row has;
        None where that cannot be known.
    repeats_need_change: sent again as it is, it makes nothing if it was accepted before.
    other_seeds: with which it would make something, by its inputs that are seeds, or by one of its
        workflow where it has none.
    """

    id: str
    source: str
    model: str
    sent_at: str
    price: float | None
    input: dict[str, Any]
    reason: str
    answer: str
    found: tuple[str, ...] | None = None
    repeats_need_change: bool = False
    other_seeds: dict[str, int] = field(default_factory=dict)


def resolve(
    folder: Folder,
    action: str,
    ids: tuple[str, ...],
    request_id: str | None,
    flags: RunOptions,
    timing: Timing,
    agree: Callable[[list[UnknownRow]], bool] = lambda rows: True,
) -> list[UnknownRow]:
    """Settle the unknown rows with these ids, all if none is given; return what is still unknown.

    action: "attach", with one id and the request_id; "write-off"; "send-again"; "" only returns
        the rows with these ids.
    agree: asked before rows are written off or sent again; without a yes nothing is changed.
    Raises what `attach` raises, and UsageError for an id that no unknown row has.
    """
    with open_batch(folder, timing) as journal:
        recover_submitting(journal, folder)
        if action == "attach":
            row, *others = select_unknown(journal, ids)
            if others:
                raise UsageError(
                    f"{len(others) + 1} unknown rows have the id {row.id}: its row was changed"
                    " after it was sent. Nothing was changed."
                )
            attach(journal, folder, row, request_id or "", flags, timing)
        elif action:
            rows = select_unknown(journal, ids, listed=action == "send-again")
            for row in rows if agree([_for_person(journal, folder, row) for row in rows]) else ():
                if action == "write-off":
                    journal.record_written_off(row)
                else:
                    journal.record_retry(row.key, "batchgen resolve --send-again")
        else:
            rows = select_unknown(journal, ids)
            found = [_for_person(journal, folder, row) for row in rows]
            return _with_ledger(journal, folder, found)
        return [_for_person(journal, folder, row) for row in journal.requests_in(State.UNKNOWN)]


def _with_ledger(journal: Journal, folder: Folder, rows: list[UnknownRow]) -> list[UnknownRow]:
    """Return the rows of a rehearsal with what the sandbox's ledger has of them."""
    if not (rows and journal.get_meta("sandbox")):
        return rows
    from batchgen.sandbox.ledger import requests_for

    try:
        found = requests_for(folder.sandbox, [(row.model, row.input) for row in rows])
    except sqlite3.Error:  # damaged, which is no loss; the rows can still be settled
        return rows
    return [
        replace(row, found=tuple(id for id in ids if journal.id_of_request(id) is None))
        for row, ids in zip(rows, found, strict=True)
    ]


def _for_person(journal: Journal, folder: Folder, row: Request) -> UnknownRow:
    sent_at = "" if row.submitted_at is None else to_iso(row.submitted_at)
    input = json.loads(row.input)
    needs_change = capabilities_of(row.model).repeats_need_change
    return UnknownRow(
        row.id, row.source, row.model, sent_at, row.price, input, row.error or "",
        journal.answer_of(row.key),
        repeats_need_change=needs_change,
        other_seeds=another_seed(input, row.key, _inputs_of(folder, row.model, input))
        if needs_change else {},
    )  # fmt: skip


def _inputs_of(folder: Folder, model: str, input: dict[str, Any]) -> Iterator[str]:
    """Yield the inputs of a row's workflow, as the batch keeps it; none where it does not.

    Nothing is read before the first is asked for, which a row with a seed does not need.
    """
    with suppress(UsageError, OSError, FileChanged):
        if WORKFLOW not in input:
            yield from load_schema(schema_path(folder.schemas, model)).properties
            return
        nodes = KeptWorkflows(folder.workflows).read(input[WORKFLOW])
        yield from (f"{id}.{name}" for id, node in nodes.items() for name in node.get("inputs", ()))


def select_unknown(
    journal: Journal, ids: tuple[str, ...], *, listed: bool = False
) -> list[Request]:
    """Return the unknown rows with these ids, all if none is given, the oldest first.

    listed: only rows that the manifest still has; no other is ever sent.
    Raises UsageError for an id that none of these rows has.
    """
    rows = journal.requests_in(State.UNKNOWN, listed=listed)
    if missing := set(ids) - {row.id for row in rows}:
        what = "unknown row of the manifest" if listed else "unknown row"
        raise UsageError(f"No {what} has the id {', '.join(sorted(missing))}.")
    return [row for row in rows if not ids or row.id in ids]


def attach(
    journal: Journal,
    folder: Folder,
    row: Request,
    request_id: str,
    flags: RunOptions,
    timing: Timing,
) -> None:
    """Give an unknown row the request that a person found; the next run collects its result.

    Raises UsageError if the API has no such request, if another row has it, or if the API says that
    it is of another model; TokenRefused; ServiceUnreachable if the API's answer is not clear.
    """
    if not REQUEST_ID_PATTERN.fullmatch(request_id):
        raise UsageError(f"{request_id!r} is no request_id.", _where_to_look(journal, folder))
    with batch.reach_endpoint(journal, folder, flags) as where:
        result = where.ask(
            lambda services: services.of(row.model).result(row.model, request_id), timing
        )
    _refuse_mismatch(row, request_id, result, _where_to_look(journal, folder))
    with ExitStack() as stack:
        # A run may go on here beside a journal in a database; its next start writes the receipt.
        log = None if journal.is_shared else stack.enter_context(ReceiptLog(folder.receipts))
        try:
            journal.record_attached(row, request_id)
        except RequestIdInUse:
            what = f"{request_id} is another row's request already. {UNCHANGED}"
            remedy = f"Look for the request with the input of row {row.id!r}."
            raise UsageError(what, remedy) from None
        if log is not None:
            log.append(Receipt(row.key, row.attempts, request_id, journal.now()))


def _where_to_look(journal: Journal, folder: Folder) -> str:
    if journal.get_meta("sandbox"):
        return f"To see what the sandbox has: {command('resolve', str(folder.path))}"
    return "Copy the request_id from the account that this token belongs to."


def _refuse_mismatch(row: Request, request_id: str, result: PollResult, remedy: str) -> None:
    match result.outcome:
        case Unauthorized(reason):
            what = f"RunComfy refused the token ({reason}). {UNCHANGED}"
            raise TokenRefused(what, TokenRefused.ANOTHER)
        case Unclear(reason):
            what = f"RunComfy gave no clear answer about {request_id} ({reason}). {UNCHANGED}"
            raise ServiceUnreachable(what, "Try again later.")
        case Missing(reason) | Failed(reason, api_status=""):
            what = f"RunComfy knows no request {request_id} in this account ({reason}). {UNCHANGED}"
            raise UsageError(what, remedy)
    if result.model is not None and result.model != row.model:
        mismatch = (
            f"{request_id} was made by {result.model}, and row {row.id!r} is for {row.model}."
        )
        raise UsageError(f"{mismatch} {UNCHANGED}", "Look for the request with this row's input.")
