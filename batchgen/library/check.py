"""What a list is and what a run would do with it; nothing is sent."""

from collections.abc import Callable
from dataclasses import dataclass
from os import fspath
from typing import TYPE_CHECKING, Unpack

from batchgen.core.rows import Problem
from batchgen.errors import BatchgenError
from batchgen.library.frontend import PROGRAM, Frontend, answering, problems_kept
from batchgen.library.keywords import AnyPath, Options, ReadingOptions, most_problems, read_options
from batchgen.operations import plan as planning
from batchgen.operations import validate as validating
from batchgen.operations.plan import Plan, PlannedRow

if TYPE_CHECKING:
    from batchgen.operations.check_urls import OpenProbe, ProbeResult


@dataclass(frozen=True, slots=True)
class Validation:
    """A list that is valid.

    rows: how many it has. urls: what became of its URLs; None where they were not checked.
    warnings: about URLs, the first 200 at most, unless `raise_limit` says more.
    """

    rows: int
    urls: "ProbeResult | None" = None
    warnings: tuple[Problem, ...] = ()


def validate(
    manifest: AnyPath,
    *,
    check_urls: bool = False,
    frontend: Frontend = PROGRAM,
    open_probe: "OpenProbe | None" = None,
    **options: Unpack[ReadingOptions],
) -> Validation:
    """Check every row of a list against its model's schema; nothing is sent to RunComfy.

    check_urls: whether each URL of the rows is asked for, without the token.
    frontend, open_probe: what the command line adds.
    Raises ManifestInvalid, whose `problems` are the first ones; UsageError; ServiceUnreachable or
    TokenRefused where no schema is here and the catalogue has to be asked.
    """
    flags = read_options(options)
    with answering(frontend), problems_kept(frontend.problem, most_problems(flags)) as kept:
        rows, urls = validating.validate(
            *(flags, fspath(manifest), kept.show),
            check_urls=check_urls,
            timing=frontend.timing,
            open_probe=open_probe,
        )
    return Validation(rows, urls, tuple(kept.problems))


def plan(
    manifest: AnyPath,
    *,
    on_row: Callable[[PlannedRow], None] = lambda row: None,
    frontend: Frontend = PROGRAM,
    **options: Unpack[Options],
) -> Plan:
    """Return what `run` would do with the same options: requests, cost and digest; nothing is sent.

    on_row: called with each row, in order: what becomes of it, and what that costs. What it raises
        ends the call.
    frontend: what the command line adds. Raises what `run` raises before its first submission.
    """
    flags, own = read_options(options), list[Exception]()

    def tell(row: PlannedRow) -> None:
        try:
            on_row(row)
        except Exception as error:
            own.append(error)
            raise

    try:
        with answering(frontend), problems_kept(frontend.problem, most_problems(flags)) as kept:
            return planning.plan(flags, fspath(manifest), kept.show, tell, frontend.timing)
    except BatchgenError:
        if own:  # such as an OSError of the program, which is none of the batch
            raise own[0] from None
        raise
