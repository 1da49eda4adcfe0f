"""Tells of a run at its two moments: when it begins, and when it has ended."""

import logging
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from batchgen import log as logs
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions, Source
from batchgen.core.text import describe_error
from batchgen.core.timing import Timing
from batchgen.engine.run_outcome import News, RunOutcome
from batchgen.engine.stop import heeded_signals
from batchgen.errors import BatchgenError
from batchgen.journal import totals
from batchgen.journal.reader import Reader, summary
from batchgen.log import secrets, warn
from batchgen.notify.contact_sheet import MAX_PICTURES
from batchgen.notify.ending import Ending
from batchgen.notify.hook import run_hook
from batchgen.notify.notification import require_usable, send_notification
from batchgen.notify.ping import send_ping
from batchgen.notify.ping_url import Moment, ping_request

log = logging.getLogger(__name__)


class Announcer:
    """One run's; nothing that it does or that fails here changes how the run ends.

    A rehearsal is told to nobody, but to a command or an address of its own command line.
    """

    def __init__(
        self, options: RunOptions, manifest: str, timing: Timing, program: str = "batchgen"
    ) -> None:
        """options: as far as they are known before the manifest is. program: as it can be typed
        from anywhere.
        """
        self._timing = timing
        self._program = program
        self._manifest = manifest
        self._run_id = str(uuid.uuid4())
        self._began: float | None = None
        self._folder: Folder | None = None
        self._ending: Ending | None = None
        self._error: Exception | None = None
        self.use(options)

    def use(self, options: RunOptions) -> None:
        """Go by these options from now on."""
        self._options = options
        for url in (options.ping, *options.notify):
            if url:
                secrets.keep_url(url)

    def require_usable(self) -> None:
        """Raise UsageError, before anything is paid, where a message surely cannot be sent."""
        if self._options.notify and self._is_for_now("notify"):
            require_usable(self._options.notify, self._timing.notify)

    def at(self, folder: Folder) -> None:
        """Say which batch folder the run has."""
        self._folder = folder

    def begin(self) -> None:
        """The run begins: ping the monitor."""
        self._began = time.monotonic()
        with _harmless():
            self._ping(Moment.START)

    def ended(self, outcome: RunOutcome, *, news: News) -> None:
        """The run has ended, and its folder is free: ping the monitor at once.

        news: what a person is to be told, as with --quiet.
        """
        self._end(Ending.of_run(outcome, news=news, manifest=self._place()))

    def broke_off(self, error: Exception) -> None:
        """The run did not begin, or broke off. Nobody is told before `finish`."""
        self._error = error

    def finish(self) -> None:
        """Tell whoever is left. Last of all, since it may take a while; a signal ends it."""
        try:
            if self._ending is None and self._error is not None:
                self._end(Ending.of_error(self._error, manifest=self._place()))
            if self._ending is not None:
                with _ended_by_signals():
                    with _harmless():
                        self._notify(self._ending)
                    with _harmless():
                        self._run_hook(self._ending)
        finally:
            logs.close()

    def _end(self, ending: Ending) -> None:
        if not self._is_anybody_told():
            return
        self._ending = ending = ending.with_numbers(self._batch(), self._numbers())
        if ending.moment is not None:
            with _ended_by_signals(), _harmless():
                self._ping(ending.moment, "\n".join(ending.lines()), ending.code)

    def _ping(self, moment: Moment, text: str = "", code: int = 0) -> None:
        options = self._options
        if not options.ping or options.sandbox:
            return
        seconds = 0.0 if self._began is None else time.monotonic() - self._began
        ping = ping_request(
            options.ping, moment, self._run_id, text=secrets.hide(text), code=code, seconds=seconds
        )
        if ping is None:
            return
        name = moment.name.lower()
        if why := send_ping(ping, self._seconds(self._timing.ping, code)):
            warn(f"The ping ({name}) was not taken: {why}. The run is not affected.")
        else:
            log.debug("pinged: %s", name)

    def _notify(self, ending: Ending) -> None:
        options = self._options
        due = ending.news or options.notify_when == "always"
        if not (options.notify and due and self._is_for_now("notify")):
            return
        why = send_notification(
            options.notify,
            secrets.hide(ending.title()),
            secrets.hide(ending.message(self._program)),
            failed=ending.failed,
            pictures=self._pictures() if options.notify_pictures else (),
            seconds=self._seconds(self._timing.notify, ending.code),
        )
        if why:
            warn(f"The message could not be sent: {why}. The run is not affected.")

    def _run_hook(self, ending: Ending) -> None:
        command = self._options.on_finish
        if not command or not self._is_for_now("on_finish"):
            return
        seconds = self._seconds(self._timing.on_finish, ending.code)
        log.debug("on_finish begins")
        if why := run_hook(command, ending, Path(self._place()).parent, seconds):
            warn(f"on_finish failed: {why}. The run is not affected.")

    def _seconds(self, usual: float, code: int) -> float:
        """Return the time that one has: after a signal, whose sender does not wait, it is short."""
        return min(usual, self._timing.leaving) if code >= 128 else usual

    def _is_anybody_told(self) -> bool:
        options = self._options
        asked = [name for name in ("notify", "on_finish") if getattr(options, name)]
        return bool(options.ping and not options.sandbox) or any(map(self._is_for_now, asked))

    def _is_for_now(self, name: str) -> bool:
        return not self._options.sandbox or self._options.sources.get(name) is Source.FLAG

    def _place(self) -> str:
        """Return the manifest's absolute path, or `-`."""
        return "-" if self._manifest == "-" else str(Path(self._manifest).absolute())

    def _batch(self) -> str | None:
        return None if self._folder is None else str(self._folder.path.absolute())

    def _pictures(self) -> list[Path]:
        """Return the first pictures that this run saved."""
        if self._folder is None or self._began is None:
            return []
        with (
            suppress(BatchgenError, OSError, MemoryError),
            closing(Reader(self._folder.journal)) as reader,
        ):
            since = (reader.last_run() or {}).get("started_at") or ""
            return [
                self._folder.path / path
                for path in totals.pictures_since(reader, since, MAX_PICTURES)
            ]
        return []

    def _numbers(self) -> dict[str, Any] | None:
        """Return the numbers of the batch; None where there are none, or they cannot be read."""
        if self._folder is None:
            return None
        with (
            suppress(BatchgenError, OSError, MemoryError),
            closing(Reader(self._folder.journal)) as reader,
        ):
            return summary(reader)
        return None


@contextmanager
def _harmless() -> Iterator[None]:
    """Whatever breaks in the block is a warning: the run's own end stays what it is."""
    try:
        yield
    except Exception as error:
        warn(f"Others could not be told of the run: {describe_error(error)}.")
        log.debug("where that was", exc_info=error)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A signal ends the block, and not the process: the run's own end stays what it is."""

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in heeded_signals()}
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
