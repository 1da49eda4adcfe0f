"""Looks at all that a run needs, one thing after the other, and hands out what each judge says."""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from batchgen.api.credentials import locate_token, token_file_is_readable_by_others
from batchgen.api.endpoint import Endpoint, find_endpoint
from batchgen.api.poll_outcome import parse_balance
from batchgen.batch_folder import Folder
from batchgen.clock import Clock, from_iso, show_time
from batchgen.config import RunOptions, merge_options
from batchgen.configuration.file import read_configuration
from batchgen.core.addresses import JournalAddress
from batchgen.core.budget import active_limits, tightest
from batchgen.core.rows import Problem
from batchgen.core.states import State
from batchgen.core.text import hide_logins, plural, shell_path, shell_quote
from batchgen.core.timing import Timing
from batchgen.doctor import judge
from batchgen.doctor.finding import Finding, fail, failed_by, ok, warn
from batchgen.doctor.judge import Answer, Tonight
from batchgen.doctor.probe import ask_service, is_writable, look_at_disk, nearest_folder
from batchgen.errors import BatchgenError, ManifestInvalid, StoppedEarly, UsageError
from batchgen.journal.postgres.store import examine as examine_database
from batchgen.journal.reader import Reader, find_holder
from batchgen.journal.receipts import count_receipts
from batchgen.journal.totals import saved_bytes
from batchgen.network.session import proxy_for
from batchgen.notify.notification import require_usable
from batchgen.operations.batch import media_place, open_destination
from batchgen.operations.find_batch import (
    as_batch_has_it,
    ask_nobody,
    find_folder,
    known_batches,
    run_folder,
)
from batchgen.operations.open_manifest import open_manifest_for
from batchgen.operations.plan import Plan, plan
from batchgen.operations.prices import other_batches
from batchgen.schedule import schedules, system

PATIENCE_S = 10.0
GRACE = timedelta(minutes=15)  # as of `schedule check`


def impatient(timing: Timing) -> Timing:
    """Return how long a person who sits and waits lets a service be asked; a run waits longer."""
    pool, read = min(timing.query_pool, PATIENCE_S), min(timing.query_read, PATIENCE_S)
    return replace(timing, query_pool=pool, query_read=read)


@dataclass
class Examination:
    """What is looked at: a list as a run with some options would have it, or without one the rest.

    flags: options of the run, as `open_manifest_for` has them. manifest: None is no list.
    """

    flags: Mapping[str, Any]
    manifest: str | None
    clock: Clock
    timing: Timing
    _folder: Folder | None = field(default=None, init=False)
    _row_bytes: float | None = field(default=None, init=False)
    _has_journal: bool = field(default=False, init=False)
    _has_sent: bool = field(default=False, init=False)
    _is_readable: bool = field(default=True, init=False)

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, in the order in which a run would come upon it."""
        try:
            own = read_configuration(os.environ)
        except UsageError as error:
            yield failed_by("settings", error)
            return
        there = own.file is not None and Path(own.file).exists()
        yield ok("settings", f"those of {own.file}" if there else "no config.toml, so the defaults")
        try:
            options, not_obeyed = self._options(own.of_run)
        except BatchgenError as error:
            yield failed_by("list", error)
            return
        yield from self._told(options, not_obeyed)
        answer: Answer | None = None
        for found in self._service(options):
            if isinstance(found, Answer):
                answer = found
            else:
                yield found
        tonight: Tonight | None = None
        if self.manifest is not None:
            yield from self._batch(self.manifest, options)
            if self._folder is not None and self._is_readable:
                planned = yield from self._plan(self.manifest)
                if planned is not None:
                    now = datetime.fromtimestamp(self.clock.now())
                    options, _ = as_batch_has_it(options, self._folder, now)
                    tonight = _tonight(planned)
                    yield from self._money(planned, tonight, self._folder, options)
            if self._folder is not None:
                yield from self._disk(self._folder, tonight)
        if answer is not None and answer.response.status == 200:
            yield judge.judge_balance(parse_balance(answer.response), tonight)
        yield from self._schedules()

    def _options(self, own: Mapping[str, Any]) -> tuple[RunOptions, Sequence[str]]:
        """Return the options, and the settings of the list that only a trusted one may have."""
        if self.manifest is None:
            return merge_options(self.flags, {}, os.environ, own, {}), ()
        opened, options = open_manifest_for(self.flags, self.manifest)
        return options, opened.settings.not_obeyed

    def _told(self, options: RunOptions, not_obeyed: Sequence[str]) -> Iterator[Finding]:
        """Yield who is told of a run, if anybody is, and what is in the way; nobody is told now."""
        if options.sandbox:
            return
        if options.notify:
            try:
                require_usable(options.notify, self.timing.notify)
            except UsageError as error:
                yield failed_by("told", error)
                return
        if told := judge.describe_told(options.ping, options.notify, options.on_finish):
            yield ok("told", told)
        if not_obeyed:
            what = f"{', '.join(not_obeyed)} of the list will not be obeyed: it is not trusted"
            remedy = "Add --allow-hooks, or its folder to `trusted`: batchgen config path"
            yield warn("told", what, remedy)

    # -- the service -------------------------------------------------------------------------------

    def _service(self, options: RunOptions) -> Iterator[Finding | Answer]:
        if options.sandbox:
            yield ok("service", "a rehearsal asks nobody, and needs no token")
            return
        try:
            where = locate_token(os.environ)[1]
        except BatchgenError as error:
            yield failed_by("token", error)
            return
        try:
            endpoint = find_endpoint(options)
            answer = ask_service(endpoint, options.model, self.clock, self.timing)
        except BatchgenError as error:
            yield failed_by("service", error)
            return
        yield judge.judge_token(where, answer)
        if token_file_is_readable_by_others(os.environ):
            what = f"{where} can be read by others on this computer"
            yield warn("token", what, f"chmod 600 {shell_quote(where)}")
        yield _way(endpoint)
        yield judge.judge_service(answer)
        if answer.response.status is not None:
            yield judge.judge_clock(answer.skew)
        yield answer

    # -- the batch ---------------------------------------------------------------------------------

    def _batch(self, manifest: str, options: RunOptions) -> Iterator[Finding]:
        try:
            place = find_folder(manifest, options, known_batches(), ask_nobody)
            folder = run_folder(place, manifest, options)
            folder.refuse_foreign_files()
            folder.refuse_as_manifest(Path(manifest))
            folder.refuse_others()
            folder.refuse_links()
        except BatchgenError as error:
            yield failed_by("folder", error)
            return
        self._folder = folder
        near = nearest_folder(place)
        if not is_writable(near):
            remedy = f"Choose another folder with --out, or: ls -ld {shell_quote(str(near))}"
            yield fail("folder", f"{near} cannot be written", remedy)
        else:
            yield ok("folder", f"{place}" + ("" if place.exists() else ", which the run will make"))
        holder = find_holder(folder)
        if holder and isinstance(folder.journal, JournalAddress):
            yield ok("lock", f"{holder} is at work, and others may join")
        elif holder:
            remedy = f"Wait for it to end: batchgen status {shell_quote(str(place))}"
            yield warn("lock", f"in use by {holder}", remedy)
        else:
            yield ok("lock", "free")
        yield self._journal(folder, options)
        yield self._receipts(folder)
        if self._is_readable:
            yield from self._media(folder, options)

    def _journal(self, folder: Folder, options: RunOptions) -> Finding:
        if not isinstance(folder.journal, Path):
            return self._database(folder, folder.journal)
        if not folder.journal.exists():
            return ok("journal", "none yet; the first run makes it")
        self._has_journal = True
        try:
            with closing(Reader(folder.journal, self.timing)) as reader:
                reader.check()
                rows, size = saved_bytes(reader)
                self._row_bytes = size / rows if rows else None
                self._has_sent = reader.has_sent()
                counts = reader.counts()
                if self._has_sent and reader.is_rehearsal() is not options.sandbox:
                    kind = "a rehearsal" if reader.is_rehearsal() else "real requests"
                    said = f"{folder.path} holds {kind}, and this run would be none"
                    if options.sandbox:
                        said = (
                            f"{folder.path} holds {kind}, and a rehearsal needs a folder of its own"
                        )
                    return fail("journal", said, "Choose another folder with --out.")
        except UsageError as error:  # it is just being made
            return warn("journal", error.what.removesuffix("."), error.remedy)
        except BatchgenError as error:
            self._is_readable = False
            return failed_by("journal", error)
        saved = f"{counts[State.SAVED]} saved of {plural(sum(counts.values()), 'row')}"
        return ok("journal", f"whole; {saved}")

    def _database(self, folder: Folder, place: JournalAddress) -> Finding:
        try:
            allowed = examine_database(place, self.timing)
            if not allowed.may:
                schema = place.schema
                return fail(
                    "journal",
                    f"{place} can be reached, and its user may not write there",
                    f'In psql, as its owner: CREATE SCHEMA "{schema}" AUTHORIZATION the_user;'
                    ' CREATE SCHEMA "batchgen" AUTHORIZATION the_user;',
                )
            said = f"PostgreSQL {allowed.version}, {'with' if allowed.encrypted else 'without'} TLS"
            if not allowed.exists:
                return ok("journal", f"{place} can be reached ({said}); the first run makes it")
            self._has_journal = True
            with closing(Reader(place, self.timing)) as reader:
                self._has_sent = reader.has_sent()
                counts = reader.counts()
        except BatchgenError as error:
            self._is_readable = False
            return failed_by("journal", error)
        saved = f"{counts[State.SAVED]} saved of {plural(sum(counts.values()), 'row')}"
        return ok("journal", f"{place} can be reached ({said}); {saved}")

    def _media(self, folder: Folder, options: RunOptions) -> Iterator[Finding]:
        """Yield whether the place elsewhere takes files, if the batch has one."""
        try:
            with ExitStack() as stack:
                reader = None
                if folder.holds_batch() and self._has_journal:
                    reader = stack.enter_context(closing(Reader(folder.journal, self.timing)))
                place = media_place(reader, folder, known_batches(), options)
            if place:
                open_destination(place, folder, self.timing)
                yield ok("media", f"{place} takes files, and hands them out")
        except BatchgenError as error:
            yield failed_by("media", error)

    def _receipts(self, folder: Folder) -> Finding:
        try:
            whole, torn = count_receipts(folder.receipts)
        except FileNotFoundError:
            return judge.judge_receipts(None, 0, self._has_sent, str(folder.receipts))
        except OSError as error:
            what = f"{folder.receipts} cannot be read ({error.strerror or error})"
            return fail("receipts", what, f"ls -l {shell_quote(str(folder.receipts))}")
        return judge.judge_receipts(whole, torn, self._has_sent, str(folder.receipts))

    def _plan(self, manifest: str) -> Generator[Finding, None, Plan | None]:
        problems: list[Problem] = []
        try:
            planned = plan(self.flags, manifest, problems.append, lambda row: None, self.timing)
        except ManifestInvalid as error:
            what = error.what.removesuffix(" Nothing was sent.").removesuffix(".")
            yield fail("list", what, f"batchgen validate {shell_path(manifest)}")
            return None
        except BatchgenError as error:
            yield failed_by("list", error)
            return None
        rows = plural(sum(planned.counts.values()), "row")
        sends = plural(planned.sends, "request")
        yield ok("list", f"{rows}; a run would send {sends}")
        if planned.paused_since:
            since = show_time(from_iso(planned.paused_since))
            remedy = f"To go on: batchgen resume {shell_quote(planned.folder)}"
            yield warn("paused", f"since {since}: a run sends nothing", remedy)
        return planned

    def _money(
        self, planned: Plan, tonight: Tonight, folder: Folder, options: RunOptions
    ) -> Iterator[Finding]:
        if options.sandbox:
            return
        yield from judge.judge_prices(planned.prices, planned.not_asked)
        try:
            yield judge.judge_limit(self._left(folder, options), tonight, planned.not_asked)
        except StoppedEarly as error:
            yield failed_by("limit", error)

    def _left(self, folder: Folder, options: RunOptions) -> tuple[float, str] | None:
        """Return what the tightest limit leaves, and its name. Raises StoppedEarly."""
        others = other_batches(known_batches(), folder, options)
        now = datetime.fromtimestamp(self.clock.now())
        limits = active_limits(options.limits, now, others.committed_usd)
        if not self._has_journal:
            return tightest(limits, lambda since: 0.0)
        with closing(Reader(folder.journal, self.timing)) as reader:
            return tightest(limits, reader.committed_usd)

    def _disk(self, folder: Folder, tonight: Tonight | None) -> Iterator[Finding]:
        near = nearest_folder(folder.path)
        rows = 0 if tonight is None else tonight.sends + tonight.collects
        try:
            disk = look_at_disk(near)
        except OSError as error:
            yield fail("space", f"{near}: {error.strerror}", f"df -h {shell_quote(str(near))}")
            return
        yield from judge.judge_disk(disk, self._row_bytes, rows, str(near))

    # -- what starts it ----------------------------------------------------------------------------

    def _schedules(self) -> Iterator[Finding]:
        path = None if self.manifest is None else os.path.abspath(self.manifest)  # noqa: PTH100
        try:
            found = [one for one in schedules.entries() if path in (None, one.manifest)]
            if not found:
                yield ok("schedule", "none; it runs when you start it")
            for entry in found:
                now = datetime.fromtimestamp(self.clock.now())
                health = schedules.look_after(entry, now, GRACE)
                starts = ""
                if entry.by == "systemd" and not system.lingers():
                    starts = (
                        "systemd starts it only while you are logged in\nloginctl enable-linger"
                    )
                elif entry.by == "cron" and system.cron_runs() is False:
                    starts = (
                        "no cron daemon runs on this computer\nStart it: sudo systemctl enable"
                        " --now cron"
                    )
                yield from judge.judge_start(
                    entry.name, health.next_start, health.wrong, entry.by, starts
                )
        except BatchgenError as error:
            yield failed_by("schedule", error)


def _way(endpoint: Endpoint) -> Finding:
    """Say by which proxy and certificates the service was asked."""
    proxy = proxy_for(endpoint.base) if endpoint.use_proxy else None
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    through = f"through the proxy {hide_logins(proxy)}" if proxy else "no proxy"
    return ok("network", f"{through}; certificates {f'of {named}' if named else 'as they come'}")


def _tonight(planned: Plan) -> Tonight:
    """Return what one run of a plan sends."""
    collects = planned.counts[State.SUBMITTED] + planned.counts[State.COMPLETED]
    return Tonight(planned.sends, collects, planned.cost, planned.unpriced, planned.floor)
