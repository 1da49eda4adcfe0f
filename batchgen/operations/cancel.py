"""`cancel`: ask the API to cancel the requests in flight."""

from dataclasses import dataclass

from batchgen import event_loop
from batchgen.api import endpoint
from batchgen.api.poll_outcome import QUEUED_WORDS, Running
from batchgen.api.service import Service
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.core.states import Event, State
from batchgen.core.timing import Timing
from batchgen.journal.writer import Journal, Request
from batchgen.operations import batch
from batchgen.operations.batch import open_batch
from batchgen.operations.take_over import recover_submitting


@dataclass
class CancelResult:
    """Numbers of requests. running: no longer cancelled by the API. unclear: without an answer."""

    cancelled: int = 0
    running: int = 0
    unclear: int = 0


def cancel(folder: Folder, flags: RunOptions, timing: Timing) -> CancelResult:
    """Cancel every accepted request that the API lets us cancel.

    Raises what `reach_endpoint` raises, and StorageDamaged.
    """
    done = CancelResult()
    with (
        open_batch(folder, timing) as journal,
        batch.reach_endpoint(journal, folder, flags) as where,
    ):
        recover_submitting(journal, folder)
        event_loop.run(_cancel_all(journal, where, timing, done))
    return done


async def _cancel_all(
    journal: Journal, where: endpoint.Endpoint, timing: Timing, done: CancelResult
) -> None:
    async with where.services(timing) as services:
        for row in journal.requests_in(State.SUBMITTED):
            service = services.of(row.model)
            is_free = await _waits(service, row)
            answer = await service.cancel(row.model, row.request_id or "")
            _count(answer, done)
            if not answer:
                continue
            with journal.transaction():
                # Another run that has taken it meanwhile, or asked about it, finds out itself.
                if journal.may_write(row.key, State.SUBMITTED):
                    reason = "cancelled by batchgen cancel"
                    cost = 0.0 if is_free else None
                    journal.record_ended(
                        row, Event.CANCELLED, None, reason, api_status="cancelled", cost=cost
                    )


async def _waits(service: Service, row: Request) -> bool:
    """Say whether a request surely has not begun, and so costs nothing if it is cancelled now."""
    if not service.capabilities.cancels_running:
        return True
    found = await service.result(row.model, row.request_id or "")
    queued = isinstance(found.outcome, Running) and found.outcome.api_status in QUEUED_WORDS
    return queued and found.instance is None


def _count(answer: bool | None, done: CancelResult) -> None:
    """answer: as `Service.cancel` gives it."""
    if answer:
        done.cancelled += 1
    elif answer is False:
        done.running += 1
    else:
        done.unclear += 1
