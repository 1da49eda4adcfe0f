"""What is done to a batch between runs: retry, cancel; and to model schemas: list, fetch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchgen import event_loop, models, service
from batchgen.api import Api
from batchgen.clock import Clock
from batchgen.config import Flags
from batchgen.errors import ServiceUnreachable, UsageError
from batchgen.findings import Doing, after_cancel, after_result
from batchgen.folder import Folder
from batchgen.journal import Journal, Request
from batchgen.reply import Reply
from batchgen.states import Event, State


@contextmanager
def opened(folder: Folder) -> Iterator[Journal]:
    """The journal of an existing batch, held against runs."""
    with folder.locked():
        journal = Journal(folder.journal, Clock())
        try:
            yield journal
        finally:
            journal.close()


def retry(folder: Folder, state: str, ids: tuple[str, ...], cause: str | None) -> int:
    """Reopen rows; return how many. Raises UsageError for an id that no row in `state` has."""
    with opened(folder) as journal:
        rows = journal.in_state(State(state), listed=True)
        if missing := set(ids) - {row.id for row in rows}:
            raise UsageError(f"No {state} row has the id {', '.join(sorted(missing))}.")
        chosen = [
            row
            for row in rows
            if (not ids or row.id in ids) and (cause is None or cause in (row.error or ""))
        ]
        for row in chosen:
            journal.retry(row.key, f"batchgen retry --state {state}")
        return len(chosen)


@dataclass
class Cancelled:
    cancelled: int = 0
    running: int = 0
    unclear: int = 0


def cancel(folder: Folder, flags: Flags) -> Cancelled:
    """Ask for every request in flight to be cancelled; those in progress stay as they are."""
    done = Cancelled()
    with opened(folder) as journal, service.reached(journal, folder, flags) as where:
        event_loop.run(_cancel_all(journal, where, done))
    return done


async def _cancel_all(journal: Journal, where: service.Service, done: Cancelled) -> None:
    async with where.api() as api:
        for row in journal.in_state(State.SUBMITTED):
            await _cancel(journal, api, row, done)


async def _cancel(journal: Journal, api: Api, row: Request, done: Cancelled) -> None:
    assert row.request_id is not None
    answer = after_cancel(await api.cancel(row.request_id))
    if answer is None:
        # No clear word: the request's own status may have one.
        asked = after_result(await api.status(row.request_id), row.request_id, 0.0)
        answer = True if asked.doing is Doing.CANCELLED else None
    if answer:
        reason = "cancelled by batchgen cancel"
        journal.ended(row, Event.CANCELLED, None, reason, api_status="cancelled")
        done.cancelled += 1
    elif answer is False:
        done.running += 1
    else:
        done.unclear += 1


def list_models(search: str, online: Flags | None) -> list[str]:
    """Model ids; those that come with batchgen, or with `online` those of the catalogue."""
    if online is None:
        here = models.schemas_folder()
        ids = [path.relative_to(here).with_suffix("").as_posix() for path in models.bundled()]
        return [id for id in ids if search.lower() in id.lower()]
    where = service.service(online)

    async def ask() -> list[str]:
        found: list[str] = []
        async with where.api() as api:
            while True:
                reply = await api.models(search, offset=len(found))
                page = _page(reply)
                found += [str(entry.get("model_id")) for entry in page if isinstance(entry, dict)]
                if not page:
                    return found

    return event_loop.run(ask())


def _page(reply: Reply) -> list[object]:
    body = reply.json()
    if reply.status == 200 and isinstance(body, dict) and isinstance(body.get("models"), list):
        return list(body["models"])
    service.refuse_token(reply)
    raise ServiceUnreachable(
        "RunComfy's catalogue gave no list of models.",
        "Name the model as its page does, and its schema with --schema.",
    )


def fetch_model(model: str, out: Path | None, flags: Flags) -> Path:
    """Write the catalogue's schema of `model` into a file; return its path."""
    found = service.catalogue(service.service(flags))(model)
    if found is None:
        raise ServiceUnreachable(
            f"RunComfy's catalogue has no answer about {model}.",
            "Check the model's name; its page has the schema, which --schema takes from a file.",
        )
    path = out or Path(model.replace("/", "-") + ".json")
    models.write(path, model, found)
    return path
