"""The commands that look after a batch between its runs."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from batchgen.cli.options import (
    BATCH,
    DURATION,
    JSON,
    MEDIA,
    NAME,
    NAMED_FILE,
    SERVICE,
    SHARED,
    database_said,
    find_batch,
    options_without_manifest,
    runtime,
)
from batchgen.core.text import nonzero
from batchgen.errors import UsageError

if TYPE_CHECKING:
    from batchgen.batch_folder import Folder
    from batchgen.operations.resolve import UnknownRow
    from batchgen.report.filters import Filter


@click.command(short_help="Queue failed rows again; the next run pays for them.")
@BATCH
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this row; repeatable.")
@click.option("--cause", metavar="TEXT", help="Only rows whose error contains this text.")
@click.option(
    "--state",
    type=click.Choice(["failed", "cancelled", "unknown", "written_off", "saved"]),
    default="failed",
    help="The state of the rows to queue.  [default: failed]",
)
@click.option(
    "--older-versions",
    is_flag=True,
    help="Saved rows that a deployment made with another version of its workflow than today's.",
)
@JSON
@SHARED
@SERVICE
def retry(
    batch: str,
    ids: tuple[str, ...],
    cause: str | None,
    state: str,
    older_versions: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Queue rows of BATCH that failed again; the next run submits and pays for them.

    An unknown row may have been billed already: look for it in your account first (`batchgen
    resolve`), and name it with --id. A row that you wrote off stays so unless you name it. A saved
    row is made anew; its old file stays. A row of a deployment that made nothing, since it sent
    what an earlier one had sent, stays failed unless --id or --cause names it.

    \b
    Examples:
        batchgen retry out/list
        batchgen retry out/list --cause "content policy"
        batchgen retry out/list --state unknown --id heron
        batchgen retry out/list --older-versions

    \b
    Exit codes:
        0    done, or nothing to do
        2    there is no such batch or row
        75   a run holds the batch
    """
    from batchgen.cli import output
    from batchgen.operations.models import CatalogueIfAllowed, stored_versions
    from batchgen.operations.retry import retry

    if older_versions:
        if click.get_current_context().get_parameter_source("state") is ParameterSource.COMMANDLINE:
            raise UsageError("Choose one of --older-versions, which are saved rows, and --state.")
        state = "saved"
    if cause == "":
        raise UsageError(
            "--cause is empty, as of a variable that is not set, and every row has that in its"
            " error. Nothing was queued.",
            "Write a part of the error, or leave --cause out.",
        )
    if state in ("unknown", "written_off", "saved") and not (ids or older_versions):
        raise UsageError(
            f"--state {state} needs --id: these rows were or may have been billed already.",
            "Name each one with --id.",
        )
    folder = find_batch(batch)
    timing, versions = runtime().timing, None
    if older_versions:
        versions = stored_versions(folder, CatalogueIfAllowed(options_without_manifest(), timing))
    reopened = retry(folder, state, ids, cause, timing, versions)
    command = output.next_run(folder) if reopened else None
    if as_json:
        output.as_json({"queued": reopened, "next": command})
        return
    output.queued(folder, reopened, command, failed=state == "failed" and not (ids or cause))


@click.command(short_help="Settle rows that may have been billed.")
@BATCH
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this row; repeatable.")
@click.option("--all", "every", is_flag=True, help="Settle every unknown row.")
@click.option(
    "--attach", metavar="REQUEST_ID", help="The request that you found in your account for --id."
)
@click.option("--write-off", is_flag=True, help="Give the rows up; they are not submitted again.")
@click.option(
    "--send-again", is_flag=True, help="Queue the rows again; the next run pays for them."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@JSON
@SERVICE
@SHARED
def resolve(
    batch: str,
    ids: tuple[str, ...],
    every: bool,
    attach: str | None,
    write_off: bool,
    send_again: bool,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Settle the unknown rows of BATCH: requests that may or may not have been accepted.

    Without an option they are listed with the time and the input to look for in your RunComfy
    account; on a terminal each is then asked about. What they may have cost stays counted. A
    rehearsal looks them up in the ledger of its sandbox.

    \b
    Examples:
        batchgen resolve out/list
        batchgen resolve out/list --id heron --attach 5e3c9a52-8f7d-4c52-a6a3-0d7c3a1f2b11
        batchgen resolve out/list --id heron --id fox --write-off
        batchgen resolve out/list --all --send-again

    \b
    Exit codes:
        0    done, or nothing to do
        1    rows are still unknown
        2    there is no such batch, row or request
        69   RunComfy could not be reached
        75   a run holds the batch
        77   the token is missing or was refused
    """
    from batchgen.cli import output
    from batchgen.cli.terminal import ask
    from batchgen.log import write_stderr
    from batchgen.operations.resolve import resolve

    actions = {"attach": attach, "write-off": write_off, "send-again": send_again}
    chosen = [name for name, given in actions.items() if given]
    if len(chosen) > 1:
        raise UsageError("Choose one of --attach, --write-off and --send-again.")
    if attach and len(ids) != 1:
        raise UsageError("--attach needs one --id: the row that the request belongs to.")
    if (write_off or send_again) and not ids and not every:
        raise UsageError(f"--{chosen[0]} needs --id for each row, or --all.")
    folder = find_batch(batch)
    options, timing = options_without_manifest(), runtime().timing
    settled = 1 if attach else 0

    def agree(rows: "list[UnknownRow]") -> bool:
        nonlocal settled
        question = output.cost_of_settling(chosen[0], rows)
        answer = None if yes or not rows else ask(question)
        if answer is None and rows:
            write_stderr(question.rpartition(". ")[0] + ".")
        settled = 0 if answer is False else len(rows)
        return answer is not False

    left = resolve(folder, chosen[0] if chosen else "", ids, attach, options, timing, agree)
    if as_json:
        output.as_json([asdict(row) for row in left])
    elif chosen:
        output.settled(chosen[0], settled, folder)
    else:
        output.unknown_rows(left, folder)
        if sys.stdin.isatty() and sys.stdout.isatty():
            for row in left:
                while (answer := output.ask_about(row))[0]:
                    try:
                        left = resolve(folder, answer[0], (row.id,), answer[1], options, timing)
                        break
                    except UsageError as error:  # such as a request_id that was mistyped
                        output.error(error)
    sys.exit(1 if left else 0)


@click.command(short_help="Check every file; download broken ones again, unpaid.")
@BATCH
@JSON
@MEDIA
@SERVICE
@SHARED
def verify(batch: str, as_json: bool, **given: Any) -> None:
    """Check every file of BATCH; download missing and damaged ones again, unpaid.

    Files in an object store are read there. A damaged file is kept under another name beside the
    new one. Files that RunComfy no longer hosts are named: they would have to be paid for again. So
    are rows that are paid for and not saved yet; a run asks for these again.

    \b
    Examples:
        batchgen verify out/list

    \b
    Exit codes:
        0    every file is whole, or is whole again
        1    files are lost: they would have to be paid for again
        2    there is no such batch
        69   files could not be downloaded now, or not yet, or the store of the files could not be
             used: run it again later
        75   a run holds the batch
        77   a file has to be downloaded, and the token is missing or was refused
    """
    from batchgen.cli import output
    from batchgen.operations.verify import verify as verify_files

    folder = find_batch(batch)
    said: list[str] = []
    show = said.append if as_json else output.line
    found = verify_files(folder, options_without_manifest(), show, runtime().timing)
    lost = len(found.lost) + len(found.gone)
    if as_json:
        output.as_json({**asdict(found), "said": said})
    else:
        output.verified(folder, found)
    if lost or found.later or found.waiting:
        sys.exit(1 if lost else 69)


@click.command(short_help="Fetch files from the batch's store that are missing here.")
@BATCH
@JSON
@MEDIA
@SHARED
def pull(batch: str, as_json: bool, **given: Any) -> None:
    """Fetch the files of BATCH that are in its object store (`run --media`) and not in its folder.

    Each is compared with the journal before it gets its name. What is in the folder already stays
    as it is. RunComfy is not asked, and nothing is paid.

    \b
    Examples:
        batchgen pull out/list
        batchgen pull copied/list --media s3://studio-media/spring

    \b
    Exit codes:
        0    every file is here, or the batch has no store
        1    files are missing or changed in the store; `verify` fetches them again
        2    there is no such batch, or it is kept elsewhere
        69   the store could not be used: run it again later
        74   the journal is damaged, or the disk is full
        75   a run holds the batch
    """
    from batchgen.cli import output
    from batchgen.operations.report import pull_media

    folder = find_batch(batch)
    said: list[str] = []
    show = said.append if as_json else output.line
    found = pull_media(folder, options_without_manifest(), show, runtime().timing)
    if as_json:
        output.as_json({**asdict(found), "said": said})
    else:
        output.pulled(folder, found)
    if found.left:
        sys.exit(1)


@click.command(short_help="Cancel requests that are still in RunComfy's queue.")
@BATCH
@JSON
@SERVICE
@SHARED
def cancel(batch: str, as_json: bool, **given: Any) -> None:
    """Cancel the requests of BATCH that are still in RunComfy's queue.

    A request to a model that is in progress cannot be cancelled; the next run collects it. One to a
    deployment can, and what it may have cost stays counted.

    \b
    Examples:
        batchgen cancel out/list

    \b
    Exit codes:
        0    every request in flight was asked about
        2    there is no such batch
        69   RunComfy could not be reached
        75   a run holds the batch: interrupt that first
        77   the token is missing or was refused
    """
    from batchgen.cli import output
    from batchgen.operations.cancel import cancel

    folder = find_batch(batch)
    done = cancel(folder, options_without_manifest(), runtime().timing)
    counts = {
        "cancelled": done.cancelled,
        "already in progress": done.running,
        "without a clear answer": done.unclear,
    }
    if as_json:
        output.as_json(asdict(done))
    else:
        output.note(f"{nonzero(counts) or 'Nothing is in flight'}.")
    if done.unclear:
        sys.exit(69)


@click.command(short_help="Write tables and gallery again.")
@BATCH
@click.option(
    "--where",
    multiple=True,
    metavar="NAME=VALUE",
    help="Show only these rows in the gallery; also NAME!=VALUE, and NAME~TEXT for a part of a"
    " text; repeatable.",
)
@click.option("--picks", type=NAMED_FILE, help="Show only the rows of this file from the gallery.")
@click.option(
    "--to",
    type=NAMED_FILE,
    metavar="FOLDER",
    help="Write nothing into BATCH, but copy the files of these rows and a small gallery of them to"
    " FOLDER, to be mailed or put on a web server. Rejected rows stay behind.",
)
@click.option(
    "--no-thumbnails",
    is_flag=True,
    help="Make no small pictures for the gallery; it loads the large ones.",
)
@click.option(
    "--media",
    "move",
    type=click.Choice(["download", "upload"]),
    help="Of a batch in an object store: fetch its missing files first, as `pull` does, or put the"
    " report beside them afterwards.",
)
@click.option("--excel", is_flag=True, help="Write results-excel.csv too, which Excel reads.")
@click.option(
    "--decimal-comma",
    is_flag=True,
    help="With --excel: for an Excel that writes a number 0,5; its cells are separated by"
    " semicolons.",
)
@JSON
@SHARED
def report(
    batch: str,
    where: tuple[str, ...],
    picks: Path | None,
    to: Path | None,
    no_thumbnails: bool,
    move: str | None,
    excel: bool,
    decimal_comma: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Write results.csv, results.jsonl, summary.json and the gallery of BATCH again.

    They are made from the journal, batch.db; nothing is sent. If it is damaged they show what can
    still be read. The gallery shows up to 100,000 rows; choose them with --where or --picks, which
    do not change the tables. A NAME is state, id, model, error, error_code, cost, source, an input,
    or metadata.

    With --to, BATCH stays as it is, and FOLDER gets index.html with a gallery of these rows and the
    files in it, listed in files.sha256. What FOLDER had from an earlier call is replaced; if it has
    anything else, nothing is written. Costs, failures, commands and paths of this computer are not
    in it, but prompts, models, settings and request_ids are.

    The files of a batch that keeps them in an object store are not here, so the gallery shows
    their small pictures alone. --media download fetches the files. --media upload puts report and
    tables beside them in the store, where the links work, too: with costs, errors and commands, for
    all who may read there.

    Excel takes results.csv for the text of an older Windows. With --excel there is a table beside
    it that begins with a byte order mark; results.csv stays as it is, for scripts.

    \b
    Examples:
        batchgen report out/list
        batchgen report out/list --where state=failed --where "error~policy"
        batchgen report out/list --where style=anime --where cost!=0.03
        batchgen report out/list --picks picks.csv
        batchgen report out/list --picks picks.csv --to for-ada
        batchgen report out/list --excel --decimal-comma
        batchgen report out/list --media download

    \b
    Exit codes:
        0    written, also where no row matches
        1    written, but files could not be fetched from the store
        2    there is no such batch, name or row, or FOLDER or the store has files of others
        69   the store could not be used
        74   its journal or a file is damaged or missing, or the disk is full
        75   files are to be fetched, and a run holds the batch
    """
    from batchgen import log
    from batchgen.cli import output
    from batchgen.operations.report import pull_media, upload_report, write_report
    from batchgen.report import filters, tables

    if decimal_comma and not excel:
        raise UsageError("--decimal-comma needs --excel: results.csv is the same everywhere.")
    if excel and to is not None:
        raise UsageError("--excel is for the tables of the batch, which --to leaves as they are.")
    if move == "upload" and to is not None:
        raise UsageError("--media upload puts the batch's own report there, which --to leaves.")
    folder = find_batch(batch)
    found = None if picks is None else filters.read_picks(_lines_of(picks), str(picks))
    view = filters.Filter(where, found)
    left: list[str] = []
    if move == "download":
        left = pull_media(
            folder, options_without_manifest(), log.write_stderr, runtime().timing
        ).left
    if to is not None:
        _share(folder, view, to, thumbnails=not no_thumbnails, as_json=as_json)
        sys.exit(1 if left else 0)
    form = tables.WITH_DECIMAL_COMMA if decimal_comma else tables.IN_ENGLISH
    shown = write_report(folder, view, thumbnails=not no_thumbnails, excel=form if excel else None)
    if not shown and view.description:
        log.write_stderr(f"No row matches {view.description}.")
    page = str(folder.path / "report" / "index.html")
    if move == "upload":
        page = upload_report(folder, options_without_manifest(), runtime().timing)
    if as_json:
        output.as_json({"gallery": page, "rows": shown})
    else:
        output.line(page)
    if left:
        sys.exit(1)


def _share(folder: "Folder", view: "Filter", to: Path, *, thumbnails: bool, as_json: bool) -> None:
    from batchgen.cli import output
    from batchgen.report.share import share

    page, rows, files = share(folder, view, to, thumbnails=thumbnails)
    if as_json:
        output.as_json({"gallery": str(page), "rows": rows, "files": files})
    else:
        output.line(page)


def _lines_of(path: Path) -> list[str]:
    """The lines of a text file with their ends. Raises UsageError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(file)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path} cannot be read: {why}.") from None


@click.command(short_help="Show how far a batch is, also while it runs.")
@BATCH
@click.option("--watch", is_flag=True, help="Show it again and again until Ctrl-C.")
@click.option(
    "--interval",
    type=DURATION,
    metavar="2s",
    help="With --watch: the time between two looks.  [default: 2s]",
)
@click.option("--until-done", is_flag=True, help="With --watch: until no run goes on.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the numbers as JSON; with --watch a line for each look.",
)
def status(
    batch: str, watch: bool, interval: float | None, until_done: bool, as_json: bool
) -> None:
    """Show how far BATCH is, also while it runs. BATCH is an output folder or its manifest.

    With --watch it is shown in place, with the rate now, over the run and over the night, what is
    in flight and for how long, its place in RunComfy's queue, 429s, when the last row will have
    been submitted, results about to expire, and the last five problems. Without a terminal there is
    a line for each change. It reads the journal only, and costs the run nothing.

    \b
    Examples:
        batchgen status out/list
        batchgen status list.csv --json | jq .counts.saved
        batchgen status out/list --watch
        batchgen status out/list --watch --interval 1m --until-done >> progress.log

    \b
    Exit codes:
        0    shown, also where Ctrl-C ended --watch
        2    there is no such batch
        74   its journal is damaged
    """
    from batchgen.cli import output

    if not watch and (until_done or interval is not None):
        raise UsageError("--interval and --until-done need --watch.")
    folder = find_batch(batch)
    if watch:
        from batchgen.cli.watch import watch as show

        around = runtime()
        show(
            folder,
            around.clock,
            around.timing,
            interval=2.0 if interval is None else interval,
            until_done=until_done,
            in_json=as_json,
        )
    elif as_json:
        from batchgen.library.batch import Batch

        output.as_json(Batch(folder).status())
    else:
        output.status(folder)


@click.group(short_help="Move a batch's journal into a database, or back.")
def journal() -> None:
    """Move the journal of a batch into a database, or back into its folder."""


@journal.command(short_help="Copy the journal into a database, or back, and go on there.")
@BATCH
@click.option(
    "--batch", "name", type=NAME, metavar="NAME", help="The batch's name in the database."
)
@click.option("--back", is_flag=True, help="Copy it out of the database, into the batch folder.")
@SHARED
def copy(batch: str, name: str | None, back: bool, **given: bool) -> None:
    """Copy the journal of BATCH from its folder into the database of --journal, or --back.

    Every row is compared afterwards. From then on the copy is the journal, and the other one is
    left, for you to delete: batch.db.copied in the folder, or the schema in the database, which
    refuses runs. The files and the receipts stay where they are. Nothing is sent.

    \b
    Examples:
        batchgen journal copy out/list --journal postgresql://batchgen@db.example/batches
        batchgen journal copy out/list --journal postgresql://batchgen@db.example/batches --back

    \b
    Exit codes:
        0    copied, and found to be the same
        2    there is no such journal, or one is in its place already
        74   the journal is damaged, or the database cannot keep it
        75   a run holds the batch, or the database cannot be reached
    """
    from batchgen.cli import output
    from batchgen.journal.postgres import move
    from batchgen.operations.find_batch import address_in

    url = database_said()
    if url is None:
        raise click.UsageError("Name the database with --journal, or set BATCHGEN_JOURNAL.")
    folder = find_batch(batch)
    address = address_in(folder, url, name, batch)
    action = move.to_folder if back else move.to_database
    moved = action(folder, address, runtime().timing)
    place = folder.file if back else address
    events = moved.rows["events"]
    output.note(f"{moved.rows['requests']} rows and {events} events are in {place} now.")
