"""Re-hash and decode every file of a batch; download again, unpaid, what is missing or damaged.

A damaged file is put aside, never thrown away, until a whole one is in its place. What a picture
says of itself (provenance.py) is compared with the journal.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from batchgen import event_loop
from batchgen.api import endpoint
from batchgen.api.poll_outcome import Completed, PollOutcome, Unauthorized, Unclear
from batchgen.api.service import Service
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import BatchgenError, ServiceUnreachable, TokenRefused
from batchgen.files import open_regular, sync_folder
from batchgen.journal.writer import Journal
from batchgen.media import provenance, xmp
from batchgen.media.check import MediaBroken, MediaError, decode_picture
from batchgen.media.download import Downloader, MediaGone
from batchgen.media.formats import SIGNATURE_BYTES, format_of
from batchgen.operations import batch
from batchgen.operations.batch import open_batch

LineSink = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file that the journal says is saved, and its row.

    sha256: of the file as it lies there. delivered_sha256: of what the host delivered, where that
    was without the facts; None where the file is that.
    """

    key: str
    n: int
    id: str
    model: str
    input: str
    request_id: str | None
    submitted_at: str | None
    url: str
    path: str
    sha256: str
    delivered_sha256: str | None

    def facts(self) -> xmp.Provenance:
        return provenance.make_provenance(
            id=self.id,
            model=self.model,
            input=json.loads(self.input),
            request_id=self.request_id,
            submitted_at=self.submitted_at,
            output=self.n,
        )


@dataclass
class VerifyResult:
    """whole, restored: counts. lost: ids whose file would have to be paid for again.

    later: ids whose file could not be fetched now, and may still be had.
    """

    whole: int = 0
    restored: int = 0
    lost: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)


def verify(
    folder: Folder, flags: RunOptions, show: LineSink, timing: Timing = DEFAULT_TIMING
) -> VerifyResult:
    """Check every file, and restore what can be; `show` gets a line for each that is not whole.

    The account is needed only if something has to be downloaded again. Raises what `service` does.
    """
    found = VerifyResult()
    with open_batch(folder, timing) as journal:
        broken: list[SavedFile] = []
        for file in files(journal):
            path = folder.path / file.path
            if reason := file_problem(path, file.sha256):
                show(f"{file.path}: {reason}{_whose(journal, path, file)}")
                broken.append(file)
                continue
            found.whole += 1
            if other := _other_request(path, file):
                show(
                    f"{file.path}: it is whole, but says that it is request {other};"
                    f" the journal has {file.request_id}"
                )
        if broken:
            with batch.reach_endpoint(journal, folder, flags) as where:
                event_loop.run(_restore_all(journal, folder, where, timing, broken, found, show))
    return found


def files(journal: Journal) -> Iterator[SavedFile]:
    """Every file that is saved. Raises LeadsOutside for one whose path is none of ours."""
    rows = journal.fetch_all(
        "SELECT o.key, o.n, r.id, r.model, r.input, r.request_id, r.submitted_at, o.url, o.path,"
        " o.sha256, o.delivered_sha256"
        " FROM outputs AS o JOIN requests AS r USING (key)"
        " WHERE o.path IS NOT NULL ORDER BY r.position, o.n"
    )
    for row in rows:
        file = SavedFile(*row)
        journal.refuse_odd(file.id, {"key": file.key, "n": file.n, "path": file.path})
        yield file


def file_problem(path: Path, sha256: str) -> str | None:
    """What is wrong with a saved file; None if it is whole."""
    try:
        with open_regular(path) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return "changed since it was saved"
            file.seek(0)
            found = format_of(file.read(SIGNATURE_BYTES))
        if found is not None and found.pillow:
            decode_picture(path, found)
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    except MediaBroken as error:
        return str(error)
    return None


def _other_request(path: Path, file: SavedFile) -> str | None:
    """The request that a picture says it is of, where that is not the journal's."""
    facts = provenance.read_provenance(path) or {}
    said = facts.get("request_id")
    return said if isinstance(said, str) and said != file.request_id else None


def _whose(journal: Journal, path: Path, file: SavedFile) -> str:
    """Words for a file in the wrong place: which row's picture it is."""
    other = _other_request(path, file)
    row = other and journal.fetch_one("SELECT id FROM requests WHERE request_id = ?", other)
    return f", but the picture of row {row[0]!r}" if row else ""


async def _restore_all(
    journal: Journal,
    folder: Folder,
    where: endpoint.Endpoint,
    timing: Timing,
    broken: list[SavedFile],
    found: VerifyResult,
    show: LineSink,
) -> None:
    async with (
        where.service(timing) as service,
        Downloader(folder.path, where.media_hosts, where.use_proxy) as media,
    ):
        for file in broken:
            try:
                same = await _restore(journal, folder, service, media, file)
            except TokenRefused:
                raise
            except (MediaError, BatchgenError) as error:
                show(f"{file.path}: not restored: {error}")
                # Only the host's own word means that a file is gone for good.
                gone = isinstance(error, MediaGone)
                (found.lost if gone else found.later).append(file.id)
            else:
                changed = "" if same else "; the host's file is not the one of before"
                show(f"{file.path}: restored, unpaid{changed}")
                found.restored += 1


async def _restore(
    journal: Journal, folder: Folder, service: Service, media: Downloader, file: SavedFile
) -> bool:
    """Put a whole file in its place. Return whether the host delivered the same as before."""
    outcome = await _ask(service, file)
    url = file.url
    if isinstance(outcome, Completed) and len(outcome.urls) >= file.n:
        url = outcome.urls[file.n - 1]
    facts = None if file.delivered_sha256 is None else file.facts()
    try:
        fetched = await media.fetch(url, f"{file.key}-{file.n}", facts)
    except MediaGone as error:
        if isinstance(outcome, Unclear):  # only the stored URL is known to be gone
            raise ServiceUnreachable(f"RunComfy gave no clear answer ({outcome.reason})") from error
        raise
    target = folder.path / file.path
    _put_aside(target)
    fetched.part.rename(target)
    sync_folder(target.parent)
    columns = fetched.columns()
    if columns["sha256"] != file.sha256 or columns["delivered_sha256"] != file.delivered_sha256:
        journal.replace_file(file.key, file.n, columns)
    known = file.delivered_sha256 or file.sha256
    return known == (fetched.delivered_sha256 or fetched.sha256)


async def _ask(service: Service, file: SavedFile) -> PollOutcome:
    """Ask for the result, whose URLs are fresh. Raises TokenRefused."""
    outcome = (await service.result(file.request_id or "")).outcome
    if isinstance(outcome, Unauthorized):
        raise TokenRefused(
            f"RunComfy refused the token ({outcome.reason}). What is broken stays as it is.",
            TokenRefused.ANOTHER,
        )
    return outcome


def _put_aside(target: Path) -> None:
    if os.path.lexists(target):
        n = 1
        while os.path.lexists(aside := target.with_name(f"{target.name}.damaged-{n}")):
            n += 1
        target.rename(aside)
