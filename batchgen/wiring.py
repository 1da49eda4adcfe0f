"""Putting a run together: folder, lock, journal, clients, engine, signals, reports."""

import asyncio
import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from batchgen import __version__, config, logs, models, report
from batchgen.answers import Reply, Stop, after_submit, balance_of
from batchgen.api import Api
from batchgen.clock import Clock
from batchgen.collector import Collector
from batchgen.config import Config, Flags
from batchgen.ending import GO_ON, Ending, final
from batchgen.engine import Engine
from batchgen.errors import ManifestInvalid, StorageDamaged, TokenRefused, UsageError
from batchgen.folder import Folder
from batchgen.hosts import MediaHost, media_host
from batchgen.intake import Intake
from batchgen.intent import Report, check
from batchgen.journal import Journal
from batchgen.listing import Listing
from batchgen.manifest import Manifest, open_manifest
from batchgen.media import Media
from batchgen.models import Models
from batchgen.plan import Plan, Step, steps
from batchgen.progress import Progress
from batchgen.reading import Reader
from batchgen.receipts import Receipts
from batchgen.situation import Situation
from batchgen.states import State
from batchgen.submitter import Policy, Submitter
from batchgen.watcher import Watcher

log = logging.getLogger("batchgen")


@dataclass(frozen=True, slots=True)
class Service:
    """Where the API is and how to get in. use_proxy: whether the environment's proxies apply."""

    base: str
    token: str
    media_hosts: tuple[MediaHost, ...]
    use_proxy: bool = True

    def api(self) -> Api:
        return Api(self.base, self.token, self.use_proxy)


def service(flags: Flags) -> Service:
    """Raises UsageError or TokenRefused."""
    try:
        hosts = tuple(media_host(text) for text in flags.media_hosts)
    except ValueError as error:
        raise UsageError(f"--media-host: {error}.") from None
    base = config.base_url(flags.base_url, os.environ)
    token = config.token(os.environ)
    if config.token_file_is_open(os.environ):
        path = config.token_file(os.environ)
        log.warning("%s can be read by others on this computer: chmod 600 %s", path, path)
    return Service(base, token, hosts)


@contextmanager
def rehearsal(folder: Folder, schema: Path | None) -> Iterator[Service]:
    """Start the sandbox for the length of the block; its requests stay in the batch folder."""
    from batchgen import sandbox

    options = ["--schema", str(schema)] if schema is not None else []
    with sandbox.started(folder.sandbox, options=options) as address:
        hosts = (media_host(address.media_host),)
        yield Service(address.base_url, "sandbox", hosts, use_proxy=False)


@contextmanager
def reached(journal: Journal, folder: Folder, flags: Flags) -> Iterator[Service]:
    """The API that a batch's requests went to: its own sandbox, or the real one.

    Raises as `service` does.
    """
    if journal.remembered("sandbox"):
        with rehearsal(folder, None) as where:
            yield where
    else:
        yield service(flags)


def open_for(flags: Flags, path: str) -> tuple[Manifest, Config]:
    """Raises UsageError if there is no such file, or its form is not known."""
    stdin = sys.stdin.buffer if path == "-" else None
    manifest = open_manifest(
        path, format=flags.format, columns=flags.columns, meta=flags.meta, stdin=stdin
    )
    file = None if path == "-" else Path(path)
    return manifest, config.merged(flags, manifest.settings, file, datetime.now())


def catalogue(service: Service) -> Callable[[str], dict[str, Any] | None]:
    """Return what asks the API about a model, once, and gives None where it has no answer."""

    async def ask(model: str) -> Reply:
        async with service.api() as api:
            return await api.model(model)

    def fetch(model: str) -> dict[str, Any] | None:
        reply = asyncio.run(ask(model))
        refuse_token(reply)
        found = reply.json()
        return found if reply.status == 200 and isinstance(found, dict) else None

    return fetch


def refuse_token(reply: Reply) -> None:
    """Raise TokenRefused if that is what an answer to a free question says."""
    if reply.status is not None and after_submit(reply, 0.0).stop is Stop.TOKEN:
        raise TokenRefused(
            "RunComfy refused the token. Nothing was sent.",
            TokenRefused.ANOTHER,
        )


def validate(flags: Flags, path: str, show: Report) -> int:
    """Check a manifest without an account; return how many rows are good.

    show: called with each problem. Raises ManifestInvalid after the last, or UsageError.
    """
    manifest, settings = open_for(flags, path)
    kept = Folder(flags.out or config.default_out(path)).schemas
    known = Models(settings.model, settings.schema, kept, None)
    listing = Listing()
    try:
        if problems := check(manifest, known, listing, show):
            raise ManifestInvalid(manifest.file, problems)
        return len(listing)
    finally:
        listing.close()


def plan(flags: Flags, path: str, show: Report, step: Callable[[Step], None]) -> tuple[Plan, float]:
    """Tell what a run would do, calling `step` for each row; return the sum and POSTs per second.

    Nothing is sent. Raises as `run` does before its first POST.
    """
    manifest, settings = open_for(flags, path)
    folder = Folder(flags.out or config.default_out(path))
    known = Models(settings.model, settings.schema, folder.schemas, None)
    listing = Listing()
    try:
        _check_all(manifest, known, listing, show, flags)
        whole = Plan()
        seen = _prices_seen(folder)
        reopened = [State.FAILED] * flags.retry_failed
        reopened += [State.UNKNOWN] * (flags.on_unknown == "resubmit")
        prices = partial(_price, settings, otherwise=seen.get)
        for found in steps(listing, folder, prices, reopened):
            whole.add(found)
            step(found)
        return whole, settings.rate
    finally:
        listing.close()


def run(
    flags: Flags,
    path: str,
    show: Report,
    *,
    quiet: bool,
    verbose: bool,
    log_file: Path | None = None,
    clock: Clock | None = None,
) -> tuple[Ending, Folder]:
    """Run a manifest. Raises every BatchgenError; nothing was sent by then unless it says so.

    clock: None is the machine's own.
    """
    manifest, settings = open_for(flags, path)
    folder = Folder(flags.out or config.default_out(path))
    with ExitStack() as stack:
        claim = partial(_claim, stack, folder, log_file, quiet=quiet, verbose=verbose)
        if existed := folder.path.is_dir():
            claim()  # before anything that takes time: cron may have started a second run
        where = None if flags.sandbox else service(flags)
        listing = Listing()
        stack.callback(listing.close)
        fetch = None if where is None else catalogue(where)
        known = Models(settings.model, settings.schema, folder.schemas, fetch)
        _check_all(manifest, known, listing, show, flags)
        if not existed:
            claim()
        if where is None:
            where = stack.enter_context(rehearsal(folder, settings.schema))
        known.keep(folder.schemas)
        journal, receipts = _open_books(stack, folder, clock or Clock())
        _keep_apart(journal, folder, rehearsing=flags.sandbox)
        _take_over(journal, receipts, listing, manifest.file, flags)
        sending = journal.pending_models()
        prices = _prices(sending, settings, catalogue(where))
        _refuse_unpriced(settings, prices)
        _warn_of_balance(where, sum(n * (prices[model] or 0.0) for model, n in sending.items()))
        journal.start_run(manifest.file, {"prices": prices})
        log.info("batchgen %s runs %s into %s", __version__, manifest.file, folder.path)
        ending = asyncio.run(
            _night(journal, receipts, folder, where, _policy(settings, prices), quiet)
        )
    return ending, folder


def _refuse_unpriced(settings: Config, prices: dict[str, float | None]) -> None:
    if settings.limits.any() and None in prices.values():
        unpriced = ", ".join(model for model, price in prices.items() if price is None)
        raise UsageError(
            f"--max-cost needs to know the price of a request, and RunComfy gives none for"
            f" {unpriced}. Nothing was sent.",
            "Write it in a YAML manifest, in USD, e.g. price: 0.06",
        )


def _check_all(
    manifest: Manifest, known: Models, listing: Listing, show: Report, flags: Flags
) -> None:
    problems = check(manifest, known, listing, show)
    if problems and not flags.skip_invalid:
        remedy = "Mend them, or run the other rows with --skip-invalid."
        raise ManifestInvalid(manifest.file, problems, remedy)


def _claim(
    stack: ExitStack, folder: Folder, log_file: Path | None, *, quiet: bool, verbose: bool
) -> None:
    """Make the folder, keep others out of it, and begin to log there."""
    folder.create()
    stack.enter_context(folder.locked())
    logs.set_up(log_file or folder.log, quiet=quiet, verbose=verbose)
    stack.callback(logs.close)


def _open_books(stack: ExitStack, folder: Folder, clock: Clock) -> tuple[Journal, Receipts]:
    """Open journal and receipts. A journal that is gone is rebuilt from them or refused."""
    fresh = not folder.journal.exists() or folder.journal.stat().st_size == 0
    try:
        receipts = stack.enter_context(Receipts(folder.receipts))
    except OSError as error:
        raise StorageDamaged(
            f"{folder.receipts} cannot be written: {error.strerror}. Nothing was sent.",
            "Make room, or make the folder writable.",
        ) from error
    if fresh and receipts.end:
        log.warning("%s is gone: rebuilding it from receipts.log.", folder.journal)
    elif fresh and any((folder.path / kind).is_dir() for kind in ("images", "videos", "audio")):
        raise StorageDamaged(
            f"{folder.path} holds pictures but no journal, so nobody can tell what was paid for."
            " Nothing was sent.",
            "Put batch.db or receipts.log back, or choose another folder with --out.",
        )
    journal = Journal(folder.journal, clock)
    stack.callback(journal.close)
    return journal, receipts


def _keep_apart(journal: Journal, folder: Folder, *, rehearsing: bool) -> None:
    """A rehearsal's placeholders must never pass for pictures, nor its ids be asked about."""
    before = journal.remembered("sandbox")
    if before is not None and before != rehearsing:
        kind = "a rehearsal with --sandbox" if before else "a batch of real requests"
        raise UsageError(
            f"{folder.path} holds {kind}. Nothing was sent.",
            "Choose another folder with --out" + (", or delete that one." if before else "."),
        )
    with journal.transaction():
        journal.remember({"sandbox": rehearsing})


def _refuse_other_list(journal: Journal, listing: Listing, manifest: str, flags: Flags) -> None:
    """A list that shares no row with the one before it was hardly meant for the same folder."""
    before = journal.remembered("manifest")
    path = manifest if manifest.startswith("<") else str(Path(manifest).resolve())
    if before not in (None, path) and not flags.new_list:
        with listing.beside(journal.path) as db:
            (held,) = db.execute(
                "SELECT COUNT(*) FROM journal.requests WHERE listed = 1"
            ).fetchone()
            shared = db.execute(
                "SELECT 1 FROM rows JOIN journal.requests AS o"
                " ON o.key = rows.key OR (o.id = rows.id AND o.listed = 1) LIMIT 1"
            ).fetchone()
        if held and not shared:
            raise UsageError(
                f"{journal.path.parent} holds {held} rows of {before}, and {manifest} has none of"
                " them. Nothing was sent.",
                "Choose another folder with --out, or let the new list take the place of the old"
                " one with --new-list; what was paid for stays.",
            )
    with journal.transaction():
        journal.remember({"manifest": path})


def _take_over(
    journal: Journal, receipts: Receipts, listing: Listing, manifest: str, flags: Flags
) -> None:
    """Recover, list the manifest's rows, and reopen what the person asked to."""
    intake = Intake(journal)
    read_to = journal.remembered("receipts_read") or 0
    found = intake.recover(receipts.since(read_to), receipts.end)
    if found["receipts"]:
        log.warning("%d requests were found in receipts.log.", found["receipts"])
    if found["unknown"]:
        log.warning("%d rows are unknown: their run ended in mid-request.", found["unknown"])
    _refuse_other_list(journal, listing, manifest, flags)
    intake.list_rows(listing)
    if flags.retry_failed:
        intake.reopen(State.FAILED, "--retry-failed")
    if flags.on_unknown == "resubmit":
        intake.reopen(State.UNKNOWN, "--on-unknown resubmit")


def _prices(
    sending: Iterable[str], settings: Config, fetch: Callable[[str], dict[str, Any] | None]
) -> dict[str, float | None]:
    """What a request of each model to be submitted costs; said out loud where nobody knows."""
    prices: dict[str, float | None] = {}
    for model in sending:
        price = _price(settings, model, lambda model: models.price(fetch(model) or {}))
        if price is None:
            log.warning("%s: RunComfy gives no price for a request; it is not counted.", model)
        prices[model] = price
    return prices


def _warn_of_balance(where: Service, cost: float) -> None:
    """Say now that the money will not last; where nobody knows the balance, say nothing."""
    url = config.balance_url(where.base)
    if not cost or url is None:
        return

    async def ask() -> Reply:
        async with where.api() as api:
            return await api.balance(url)

    balance = balance_of(asyncio.run(ask()))
    if balance is not None and balance < cost:
        log.warning(
            "The balance is $%.2f and the pending rows cost about $%.2f: the run stops when it is"
            " used up.",
            balance,
            cost,
        )


def _prices_seen(folder: Folder) -> dict[str, float | None]:
    """What requests cost when this batch last ran; the catalogue is not asked for a plan."""
    if not folder.journal.is_file():
        return {}
    reader = Reader(folder.journal)
    try:
        return reader.prices()
    finally:
        reader.close()


def _price(settings: Config, model: str, otherwise: Callable[[str], float | None]) -> float | None:
    """The manifest's word on a model's price, else another's. USD a request."""
    price = settings.prices.get(model, settings.price)
    return otherwise(model) if price is None else price


def _policy(settings: Config, prices: dict[str, float | None]) -> Policy:
    return Policy(
        rate=settings.rate,
        concurrency=settings.concurrency,
        limit=settings.limit,
        limits=settings.limits,
        prices=prices,
        stop_after=settings.stop_after,
    )


async def _night(
    journal: Journal,
    receipts: Receipts,
    folder: Folder,
    where: Service,
    policy: Policy,
    quiet: bool,
) -> Ending:
    clock = journal.clock
    situation = Situation(clock, random.Random())
    async with where.api() as api, Media(folder.path, where.media_hosts, where.use_proxy) as media:
        media.clear_parts()
        submitter = Submitter(journal, receipts, folder, api, situation, policy)
        watcher = Watcher(journal, api, situation, policy.rate)
        collector = Collector(journal, folder, media, watcher, situation)
        progress = Progress(
            lambda: (journal.counts, journal.committed(), submitter.pace.rate),
            clock.monotonic,
            quiet=quiet,
        )
        engine = Engine(journal, submitter, watcher, collector, situation, progress.changed)
        with _signals(engine):
            try:
                await engine.run()
            finally:
                progress.close()
            ending = final(journal.counts, situation.ending)
            log.info("ended with exit code %d: %s", ending.code, ending.reason)
            try:
                journal.end_run(ending.code, ending.reason, engine.memory())
            except StorageDamaged as error:
                ending = Ending.under_way(error) if ending.code in (0, 1) else ending
            try:
                report.write(folder)
            except OSError as error:
                log.error("The reports could not be written: %s.", error.strerror or error)
                ending = _without_reports(ending, folder)
    return ending


def _without_reports(ending: Ending, folder: Folder) -> Ending:
    """Nothing that was paid for is lost, but it is no success either."""
    if ending.code not in (0, 1):
        return ending
    remedy = f"Make room on the disk, then: batchgen report {folder.path}"
    return Ending(75, f"{ending.reason} Its reports could not be written.", remedy)


@contextmanager
def _signals(engine: Engine) -> Iterator[None]:
    """Once: submit nothing more. Ctrl-C collects what is in flight first; SIGTERM and SIGHUP, whose
    senders do not wait long, only wait for open POSTs. Twice: leave now.
    """
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def on(number: signal.Signals) -> None:
        seen.append(number)
        ending = Ending(128 + number, f"Interrupted by {number.name}.", GO_ON, calm=True)
        if len(seen) > 1:
            engine.leave(ending)
        elif number is signal.SIGINT:
            logs.say("Stopping: collecting what is in flight. Ctrl-C again leaves at once.")
            engine.stop(ending)
        else:
            engine.hurry(ending)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
