"""Probe the hosted file inputs of a manifest's rows before anything is paid for."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from batchgen import event_loop
from batchgen.core.rows import Place, Problem
from batchgen.core.text import plural
from batchgen.core.timing import Timing
from batchgen.journal.staging import FileInput, StagedRows
from batchgen.network.url_probe import UrlProbe
from batchgen.network.url_rules import UrlProblem
from batchgen.validation.schema_registry import SchemaRegistry

MAX_PROBES_AHEAD = 64
OpenProbe = Callable[[Timing], UrlProbe]


@dataclass(slots=True)
class ProbeResult:
    """urls: how many were probed, each once. problems, warnings: of how many of them."""

    urls: int = 0
    problems: int = 0
    warnings: int = 0

    def __str__(self) -> str:
        if not self.urls:
            return "There are no URLs to probe."
        warnings = f", {plural(self.warnings, 'warning')}" if self.warnings else ""
        return f"{plural(self.urls, 'URL')} probed{warnings}."


def probe_file_inputs(
    listing: StagedRows,
    known: SchemaRegistry,
    show: Callable[[Problem], None],
    timing: Timing,
    open_probe: OpenProbe | None,
) -> ProbeResult:
    """Probe every hosted file input of the valid rows in `listing`, each URL once.

    show: called with each problem and warning, in the order of the manifest.
    open_probe: None asks the real hosts.
    """
    fields = {model: known.validator(model).hosted for model in listing.models()}
    return event_loop.run(_probe_all(listing.hosted(fields), show, timing, open_probe or UrlProbe))


async def _probe_all(
    inputs: Iterator[FileInput],
    show: Callable[[Problem], None],
    timing: Timing,
    open_probe: OpenProbe,
) -> ProbeResult:
    found = ProbeResult()
    waiting: deque[tuple[FileInput, asyncio.Task[UrlProblem | None]]] = deque()

    async def tell_first() -> None:
        one, task = waiting.popleft()
        flaw = await task
        found.urls += 1
        if flaw is not None:
            found.problems += flaw.sure
            found.warnings += not flaw.sure
            show(_problem(one, flaw))

    async with aclosing(open_probe(timing)) as probe:
        for one in inputs:
            waiting.append((one, asyncio.create_task(probe.probe(one.url, one.kind))))
            if len(waiting) >= MAX_PROBES_AHEAD:
                await tell_first()
        while waiting:
            await tell_first()
    return found


def _problem(one: FileInput, flaw: UrlProblem) -> Problem:
    what = flaw.what if flaw.sure else f"warning: {flaw.what}"
    if one.rows > 1:
        what += f" (and in {plural(one.rows - 1, 'more row')})"
    # `image_urls[0]` is the first of them; people count from one.
    field = re.sub(r"\[(\d+)\]", lambda n: f"[{int(n[1]) + 1}]", one.field)
    return Problem(Place(one.source), what, flaw.remedy, one.id, field)
