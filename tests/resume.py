"""Going on with a batch in this process, with values for which the command line has no option."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from helpers import TOKEN, PretendClock

from batchgen import event_loop
from batchgen.api.endpoint import Endpoint
from batchgen.batch_folder import Folder
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.engine.collector import OutputOptions
from batchgen.engine.policy import Policy
from batchgen.engine.run_outcome import RunOutcome
from batchgen.journal.recovery import open_journal
from batchgen.media.destination import Destination
from batchgen.media.download import DEFAULT_LIMITS, DownloadLimits
from batchgen.network.media_hosts import parse_media_host
from batchgen.operations.execute import Progress, execute
from batchgen.sandbox import Address

KEEPING = OutputOptions(provenance=True, sidecars=False, thumbnails=False, max_outputs=100)


class NoProgress:
    """Shows nothing."""

    def changed(self) -> None: ...

    def close(self) -> None: ...


NO_PROGRESS = NoProgress()


def resume(
    folder: Path,
    address: Address,
    *,
    timing: Timing = DEFAULT_TIMING,
    limits: DownloadLimits = DEFAULT_LIMITS,
    destination: Destination | None = None,
    keeping: OutputOptions = KEEPING,
    progress: Progress = NO_PROGRESS,
    on_collected: Callable[[], None] = lambda: None,
) -> RunOutcome:
    """Go on with the rows in the journal of `folder`, as `run` does."""
    host = parse_media_host(address.media_host)
    endpoint = Endpoint(address.base_url, TOKEN, (host,), use_proxy=False)
    batch = Folder(folder)
    with ExitStack() as stack:
        stack.enter_context(batch.locked())
        journal, receipts = open_journal(stack, batch, PretendClock())
        journal.start_run("list.csv", {})
        run = execute(
            journal, receipts, batch, endpoint, Policy(rate=1000.0), keeping,
            lambda *_: progress, timing=timing, limits=limits, destination=destination,
            on_collected=on_collected,
        )  # fmt: skip
        return event_loop.run(run)
