"""Settling `unknown` rows: attach the request that was found in the account, write the row off, or
send it again. Nothing is decided without a person; nothing is paid for without their word.
"""

import json
from dataclasses import dataclass
from typing import Any

from batchgen import event_loop
from batchgen.api import endpoint
from batchgen.api.poll_outcome import Failed, Unauthorized, Unclear
from batchgen.api.response import REQUEST_ID_PATTERN
from batchgen.api.service import PollResult
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.core.states import State
from batchgen.errors import ServiceUnreachable, TokenRefused, UsageError
from batchgen.journal.receipts import Receipt, ReceiptLog
from batchgen.journal.writer import Journal, Request, RequestIdInUse
from batchgen.operations import batch
from batchgen.operations.batch import open_batch


@dataclass(frozen=True, slots=True)
class UnknownRow:
    """An unknown row as a person needs to see it: what to look for in the account, and when."""

    id: str
    source: str
    model: str
    sent_at: str
    price: float | None
    input: dict[str, Any]
    reason: str


def resolve(
    folder: Folder, action: str, ids: tuple[str, ...], request_id: str | None, flags: RunOptions
) -> list[UnknownRow]:
    """Do `action` to the unknown rows with these ids, all without any; return what is left unknown.

    action: "attach", with one id and the request_id; "write-off"; "send-again"; "" does nothing.
    Raises as `attach` does, and UsageError for an id that no unknown row has.
    """
    with open_batch(folder) as journal:
        if action == "attach":
            row, *others = select_unknown(journal, ids)
            if others:
                raise UsageError(
                    f"{len(others) + 1} unknown rows have the id {row.id}: its row was changed"
                    " after it was sent. Nothing was changed."
                )
            attach(journal, folder, row, request_id or "", flags)
        elif action:
            for row in select_unknown(journal, ids, listed=action == "send-again"):
                if action == "write-off":
                    journal.record_written_off(row)
                else:
                    journal.record_retry(row.key, "batchgen resolve --send-again")
        else:
            select_unknown(journal, ids)
            return [row for row in unknown_rows(journal) if not ids or row.id in ids]
        return unknown_rows(journal)


def unknown_rows(journal: Journal) -> list[UnknownRow]:
    """Every unknown row, the oldest first."""
    rows = journal.fetch_all(
        "SELECT id, source, model, submitted_at, price, input, COALESCE(error, '')"
        " FROM requests WHERE state = 'unknown' ORDER BY submitted_at"
    )
    return [
        UnknownRow(id, source, model, sent_at, price, json.loads(input), reason)
        for id, source, model, sent_at, price, input, reason in rows
    ]


def select_unknown(
    journal: Journal, ids: tuple[str, ...], *, listed: bool = False
) -> list[Request]:
    """The unknown rows with these ids, or all where none is given. Raises UsageError.

    listed: only rows that the manifest still has; no other is ever sent.
    """
    rows = journal.requests_in(State.UNKNOWN, listed=listed)
    if missing := set(ids) - {row.id for row in rows}:
        what = "unknown row of the manifest" if listed else "unknown row"
        raise UsageError(f"No {what} has the id {', '.join(sorted(missing))}.")
    return [row for row in rows if not ids or row.id in ids]


def attach(
    journal: Journal, folder: Folder, row: Request, request_id: str, flags: RunOptions
) -> None:
    """Give an unknown row the request that a person found; the next run collects it.

    Raises UsageError if there is no such request, if it is another row's, or if the API says that
    another model made it; ServiceUnreachable if the API says nothing clear.
    """
    if not REQUEST_ID_PATTERN.fullmatch(request_id):
        raise UsageError(f"{request_id!r} is no request_id.", "Copy it from your account.")
    _refuse_mismatch(row, request_id, _ask(journal, folder, request_id, flags))
    with ReceiptLog(folder.receipts) as receipts:
        try:
            journal.record_attached(row, request_id)
        except RequestIdInUse:
            raise UsageError(
                f"{request_id} is another row's request already. Nothing was changed.",
                f"Look for the request with the input of row {row.id!r}.",
            ) from None
        receipts.append(Receipt(row.key, row.attempts, request_id, journal.now()))


def _ask(journal: Journal, folder: Folder, request_id: str, flags: RunOptions) -> PollResult:
    async def ask(where: endpoint.Endpoint) -> PollResult:
        async with where.service() as service:
            return await service.result(request_id)

    with batch.reach_endpoint(journal, folder, flags) as where:
        return event_loop.run(ask(where))


def _refuse_mismatch(row: Request, request_id: str, result: PollResult) -> None:
    match result.outcome:
        case Unauthorized(reason):
            raise TokenRefused(
                f"RunComfy refused the token ({reason}). Nothing was changed.",
                "Set RUNCOMFY_TOKEN to a token that works.",
            )
        case Unclear(reason):
            raise ServiceUnreachable(
                f"RunComfy gave no clear answer about {request_id} ({reason})."
                " Nothing was changed.",
                "Try again later.",
            )
        case Failed(reason, api_status=""):
            raise UsageError(
                f"RunComfy knows no request {request_id} in this account ({reason})."
                " Nothing was changed.",
                "Copy the request_id from the account that this token belongs to.",
            )
    if result.model is not None and result.model != row.model:
        raise UsageError(
            f"{request_id} was made by {result.model}, and row {row.id!r} is for {row.model}."
            " Nothing was changed.",
            "Look for the request with this row's input.",
        )
