"""What operations on a batch share: its locked journal, its API, and where its files go."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from batchgen import event_loop
from batchgen.api.endpoint import Endpoint, find_endpoint
from batchgen.batch_folder import Folder
from batchgen.clock import Clock, to_iso
from batchgen.config import RunOptions, Source
from batchgen.core.addresses import JournalAddress, is_path
from batchgen.core.targets import deployment_id
from batchgen.core.timing import Timing
from batchgen.errors import BatchBusy
from batchgen.journal.reader import Reader
from batchgen.journal.recovery import open_for_writing
from batchgen.journal.writer import Journal
from batchgen.media.destination import Destination
from batchgen.media.local_folder import LocalFolder
from batchgen.network.media_hosts import parse_media_host
from batchgen.operations.find_batch import known_batches
from batchgen.operations.known_batches import KnownBatches
from batchgen.storage.mounted_folder import MountedFolder
from batchgen.storage.object_store import ObjectStore
from batchgen.storage.place import KEPT, Said, settle_place, wanted_place
from batchgen.validation.schema_registry import stored_schemas

log = logging.getLogger(__name__)


@contextmanager
def start_rehearsal(folder: Folder) -> Iterator[Endpoint]:
    """Run the sandbox for the block; it keeps its requests in the batch folder.

    It knows the models and deployments whose schemas the batch has. Raises what `sandbox.started`
    raises.
    """
    from batchgen import sandbox

    options: list[str] = []
    for model, path in stored_schemas(folder.schemas).items():
        option = "--schema" if deployment_id(model) is None else "--deployment"
        options += [option, str(path)]
    with sandbox.started(folder.sandbox, options=options) as address:
        hosts = (parse_media_host(address.media_host),)
        yield Endpoint(address.base_url, "sandbox", hosts, use_proxy=False)


@contextmanager
def reach_endpoint(journal: Journal, folder: Folder, flags: RunOptions) -> Iterator[Endpoint]:
    """Hand out the API that a batch's requests went to: its own sandbox, or the real one.

    Raises what `start_rehearsal` and `find_endpoint` raise.
    """
    if journal.get_meta("sandbox"):
        with start_rehearsal(folder) as where:
            yield where
    else:
        yield find_endpoint(flags)


@contextmanager
def open_batch(folder: Folder, timing: Timing, *, files: bool = False) -> Iterator[Journal]:
    """Hand out the journal of an existing batch, with the folder locked for the block.

    files: those of the batch may be written to. Else a journal in a database needs no lock of the
    folder: other runs go on, and the rows that they have are theirs.
    Raises BatchBusy if a run holds it, and StorageDamaged.
    """
    with ExitStack() as stack:
        is_shared = isinstance(folder.journal, JournalAddress)
        with suppress(*[BatchBusy] * (is_shared and not files)):
            stack.enter_context(folder.locked())
        journal = stack.enter_context(closing(open_for_writing(folder, Clock(), timing)))
        journal.store.let_others_start("at work")
        folder.keep_journal_place()
        yield journal


def media_place(
    journal: Journal | Reader | None, folder: Folder, known: KnownBatches, flags: RunOptions
) -> str:
    """Return where the media of a batch are kept; "" is its folder. Raises as `settle_place`.

    journal: None where there is none yet.
    """
    remembered = known.media_of(folder.path)
    kept, rehearsal = None, flags.sandbox
    if journal is not None:
        rehearsal = bool(journal.get_meta("sandbox"))
        if (found := journal.get_meta(KEPT)) is not None:
            kept = str(found)  # of whatever kind a stranger's is
        else:
            kept = _place_before(folder, remembered)
    typed = flags.sources.get("media") is Source.FLAG
    name = folder.path.resolve().name
    wanted = wanted_place(flags.media, name, typed=typed, rehearsal=rehearsal)
    place, notice = settle_place(Said(wanted, typed, kept, remembered), str(folder.path))
    if notice:
        log.info("%s", notice)
    return place or ""


def _place_before(folder: Folder, remembered: frozenset[str]) -> str | None:
    """Return where files were kept, of a journal that does not say; None where there is none."""
    with closing(Reader(folder.journal)) as reader:
        if reader.has_files():  # of an earlier version
            return ""
        if reader.has_sent() and len(remembered) == 1:  # rebuilt from receipts
            (place,) = remembered
            return place
    return None


def find_destination(
    journal: Journal | Reader, folder: Folder, flags: RunOptions, timing: Timing
) -> Destination:
    """Return where the files of an existing batch are kept. Raises as `media_place` and
    `open_destination` do. What the person says of a place is believed from then on.
    """
    known = known_batches()
    place = media_place(journal, folder, known, flags)
    destination = open_destination(place, folder, timing)
    if place and place not in known.media_of(folder.path):
        # It costs nothing, and is no list's.
        at = to_iso(Clock().now())
        known.remember("-", folder.path, rehearsal=True, at=at, media=place)
    return destination


def open_destination(place: str, folder: Folder, timing: Timing) -> Destination:
    """Return where the files of a batch are kept. place: as `media_place` returns it.

    A place elsewhere is tried first: raises as `ObjectStore`, and as `require` of it and of
    `MountedFolder` do.
    """
    if not place:
        return LocalFolder(folder.path)
    elsewhere = (
        MountedFolder(place, folder.path)
        if is_path(place)
        else ObjectStore(place, folder.path, timing)
    )
    event_loop.run(elsewhere.require())
    return elsewhere
