"""What operations on a batch share: its locked journal, its API, and where its files go."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from batchgen.api.endpoint import Endpoint, find_endpoint
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.config import RunOptions
from batchgen.core.targets import deployment_id
from batchgen.core.timing import Timing
from batchgen.journal.writer import Journal
from batchgen.media.destination import Destination
from batchgen.media.local_folder import LocalFolder
from batchgen.network.media_hosts import parse_media_host
from batchgen.validation.schema_registry import stored_schemas


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
def open_batch(folder: Folder, timing: Timing) -> Iterator[Journal]:
    """Hand out the journal of an existing batch, with the folder locked for the block.

    Raises BatchBusy if a run holds it, and StorageDamaged.
    """
    with folder.locked(), closing(Journal(folder.journal, Clock(), timing)) as journal:
        yield journal


def open_destination(folder: Folder) -> Destination:
    """Return where the files of a batch go to."""
    return LocalFolder(folder.path)
