"""What a person reads: problems, errors, summaries. stdout carries results, stderr the rest."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchgen.batch_folder import Folder, Holder
from batchgen.cli import manners
from batchgen.clock import Clock, from_iso, show_time
from batchgen.config import default_out, has_name_of_its_own
from batchgen.core.assignments import in_words
from batchgen.core.budget import show_usd
from batchgen.core.expiry import RESULTS_KEPT_S
from batchgen.core.limits import how_to_raise
from batchgen.core.run_words import GIVEN
from batchgen.core.states import State
from batchgen.core.text import (
    nonzero,
    plural,
    shell_quote,
    show_bytes,
    terminal_safe,
    terminal_safe_json,
    truncate,
)
from batchgen.core.units import show_rate, show_span
from batchgen.errors import (
    BatchBusy,
    BatchgenError,
    ManifestInvalid,
    UsageError,
)
from batchgen.journal import command_table
from batchgen.journal.reader import Reader, find_holder, summary
from batchgen.library.batch import numbers_and_runner
from batchgen.log import write_json_line, write_stderr, writes_json_lines
from batchgen.report import next_steps, summary_text
from batchgen.report.frame import shown_instances, shown_machine

if TYPE_CHECKING:  # what these modules import takes long, and `status` and errors need none of it
    from batchgen.core.rows import Problem
    from batchgen.engine.run_outcome import RunOutcome
    from batchgen.manifest.guess import Guess
    from batchgen.operations.models import ListedDeployment, ListedModel
    from batchgen.operations.plan import Plan, PlannedRow, Sums
    from batchgen.operations.resolve import UnknownRow
    from batchgen.operations.verify import VerifyResult
    from batchgen.storage.pull import Pulled
    from batchgen.validation.validator import Validator

# Of words for states, and of a plan: green needs nobody, red a person, yellow waits.
COLORS: dict[str, str] = {
    State.SAVED: "green",
    **dict.fromkeys((State.FAILED, State.UNKNOWN, State.INVALID), "red"),
    **{"ok": "green", "warn": "yellow", "fail": "red"},
    **dict.fromkeys((State.CANCELLED, State.COMPLETED, "renamed", "changed"), "yellow"),
}
ALIKE = 20  # problems of one kind are a part of all that are shown
MOST_OF_AN_ANSWER = 500  # characters; --json has all that is kept
MOST_IN_MAIL = 12  # problems, of two lines each
LOOK_FOR_EACH = "Look for each in your RunComfy account, at that time."
LEDGER_SAYS = "The sandbox's ledger says of each whether it was accepted."


class Problems:
    """Shows problems as they are found; of one kind many times over, the first and how many.

    for_mail: show few of them, whatever their kinds. most: that are shown. as_json: show none:
    the result or the error has them.
    """

    def __init__(self, most: int, *, for_mail: bool = False, as_json: bool = False) -> None:
        self._as_json = as_json
        self._alike: Counter[tuple[str, str]] = Counter()
        self._shown = self._left_out = 0
        self._for_mail = for_mail
        self._most = MOST_IN_MAIL if for_mail else most
        self._most_alike = self._most if for_mail else most // ALIKE
        self._all = 0

    def __enter__(self) -> "Problems":
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        self.close()

    def show(self, found: "Problem") -> None:
        if self._as_json:
            return
        self._all += 1
        if self._shown == self._most:  # nobody reads more, and the kinds would fill the memory
            self._left_out += 1
            return
        kind = (found.field, found.what)
        self._alike[kind] += 1
        if self._alike[kind] <= self._most_alike:
            self._shown += 1
            problem(found)

    def close(self) -> None:
        for (field, what), times in self._alike.items():
            if times > self._most_alike and not self._for_mail:
                where = f"{field}: " if field else ""
                write_stderr(f"and {times - self._most_alike} more: {where}{what}")
        if self._left_out:
            write_stderr(f"and {plural(self._left_out, 'more problem')}")
        if self._all > self._shown and not self._for_mail:
            _indented(how_to_raise("problems", ALIKE * self._all, "To see all of them"))


def problems_as_json(problems: "Iterable[Problem]") -> list[dict[str, Any]]:
    return [
        {
            "file": found.place.file,
            "line": found.place.line or None,
            "row": found.row,
            "field": found.field or None,
            "what": found.what,
            "remedy": found.remedy,
        }
        for found in problems
    ]


def problem(found: "Problem") -> None:
    """`list.csv:14: row "fox", seed: '12a' is not a whole number`, and what would be right."""
    where = f'row "{found.row}"' if found.row else ""
    who = ", ".join(part for part in (where, found.field) if part)
    write_stderr(f"{found.place}: {who + ': ' if who else ''}{found.what}")
    _indented(found.remedy)


def error(found: BatchgenError) -> None:
    """An error in words, or as an object where the output is JSON."""
    progress = _progress_of(Folder(Path(found.folder))) if isinstance(found, BatchBusy) else ""
    if not (manners.is_json() or writes_json_lines()):
        write_stderr(found.what)
        _indented(progress)
        _indented(found.remedy)
        return
    what = " ".join(filter(None, (found.what, progress)))
    problems = problems_as_json(found.problems) if isinstance(found, ManifestInvalid) else ()
    error_object(type(found).__name__, found.exit_code, what, found.remedy, problems)


def error_object(
    kind: str, code: int, what: str, remedy: str = "", problems: Sequence[dict[str, Any]] = ()
) -> None:
    """An error as one line of JSON, on stderr. kind: of `errors.py`, mostly."""
    told = {"type": "error", "kind": kind, "exit_code": code, "what": what, "remedy": remedy}
    write_json_line(told | ({"problems": [*problems]} if problems else {}))


def _progress_of(folder: Folder) -> str:
    """How far the run is that holds a batch; "" where that cannot be read, or no run does."""
    with suppress(BatchgenError), closing(Reader(folder.journal)) as reader:
        run = reader.last_run()
        if run and not run["ended_at"]:
            counts = nonzero({str(state): reader.counts()[state] for state in State})
            return f"It goes on since {show_time(from_iso(run['started_at']))}: {counts}."
    return ""


def _indented(text: str) -> None:
    for line in text.splitlines():
        write_stderr(f"  {line}")


def after_run(
    folder: Folder, ending: "RunOutcome", new: Mapping[State, int], *, quiet: bool
) -> None:
    """The end of a run: states, causes, money, where to look, what to do next.

    new: rows that a person was not told of before, as far as that was asked.
    quiet: it is probably a mail, so it is whole by itself: commands can be typed from anywhere.
    """
    if quiet or not ending.said:
        write_stderr(ending.reason)
    _indented(ending.remedy)
    if quiet and ending.remedy:
        _indented(how_to_run_again())
    try:
        with closing(Reader(folder.journal)) as reader:
            numbers = summary(reader)
    except (BatchgenError, OSError) as found:
        # As without descriptors; the run is over all the same.
        write_stderr(f"How far the batch is cannot be read now: {found}")
        _indented(next_steps.command("status", str(folder.path)))
        return
    write_stderr(f"  {nonzero(numbers['counts'])}")
    if new:
        write_stderr(
            f"  new since you were told last: {nonzero({str(s): n for s, n in new.items()})}"
        )
    write_stderr(f"  {summary_text.money(numbers)}")
    for one in summary_text.causes(numbers["causes"]):
        write_stderr(f"  {one}")
    for one in summary_text.next_steps(
        str(folder.path), numbers, program() if quiet else "batchgen"
    ):
        write_stderr(one)
    page = folder.path / "report" / "index.html"
    if numbers["media"]:
        write_stderr(f"Pictures: {numbers['media']}")
    if page.is_file():  # it could not be written on a full disk
        write_stderr(f"{'Report' if numbers['media'] else 'Pictures and report'}: {page}")
    if quiet:
        write_stderr(f"Log: {folder.log}")


def program() -> str:
    """This program as it can be typed from anywhere, for a shell."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shell_quote(sys.executable)} -m batchgen"
    return shell_quote(str(called.absolute())) if "/" in sys.argv[0] else "batchgen"


def how_to_run_again() -> str:
    """The command that is running, as it can be typed from anywhere, and a line about it.

    Without its window: by the time that a person reads this, that has often closed.
    """
    given = sys.argv[1:]
    words = [
        word
        for before, word in zip(["", *given], given, strict=False)
        if "--window" not in (before, word.partition("=")[0])
    ]
    said = "The command was" + ("" if words == given else ", without its --window")
    command = " ".join([program(), *map(shell_quote, words)])
    return f"{said}:\ncd {shell_quote(str(Path.cwd()))} && {command}"


def step(found: "PlannedRow") -> None:
    """A row's line of a plan, on stdout; a saved row needs none."""
    if found.what != State.SAVED:
        more = ", ".join(found.changes) or truncate(found.prompt)
        changes = f": {more}" if more else ""
        state_line("", f"{found.what:<17}", f" {found.id} ({found.source}){changes}")


def plan(whole: "Plan") -> None:
    """The sum of a plan, on stdout."""
    counts = ", ".join(f"{n} {what}" for what, n in whole.counts.items())
    line(f"{plural(sum(whole.counts.values()), 'row')}: {counts}")
    left = ""
    if whole.at_most < whole.cost:
        _, name = min((left, name) for name, _, left in whole.left)
        left = f", of which {name} leaves {show_usd(whole.at_most)}"
    for place, sums in whole.unfolded.first:
        line(f"{place} unfolds into {_unfolded(sums)}")
    if whole.unfolded.many:
        prompts = plural(whole.unfolded.many, "more prompt")
        line(f"{prompts} into {_unfolded(whole.unfolded.others)}")
    line(
        f"A run would send {_requests(whole)}{left}; at {show_rate(whole.rate)} submitting takes"
        f" {show_span(whole.seconds)}. Nothing was sent."
    )
    if whole.paused_since:
        since = show_time(from_iso(whole.paused_since))
        line(f"The batch is paused since {since}: until it goes on, a run sends nothing.")
        line(f"  {next_steps.command('resume', whole.folder)}")
    if whole.kept:
        line(f"Kept by batchgen set: {in_words(whole.kept)}.")
    if whole.files:
        size = show_bytes(whole.file_bytes)
        line(f"The rows name {plural(whole.files, 'local file')} of {size}, which are sent inline.")
    if whole.fitted:
        made = plural(whole.fitted, "picture")
        line(f"Of these {made} made smaller to be sent (--fit), e.g. {whole.fitted_as}.")
    if whole.estimated:
        came_to = f" ({summary_text.spread(*whole.spread)})" if whole.spread else ""
        line(
            "Where there is no price, the cost is an estimate: the most that a request has come"
            f" to{came_to}."
        )
    if whole.prices_from:
        asked = show_time(from_iso(whole.prices_from))
        line(f"The price is that of {asked}, since {whole.not_asked}.")
    for model, version, count, now in whole.older:
        made = "1 saved row was" if count == 1 else f"{count} saved rows were"
        line(
            f"{made} made by version {version} of {model}, which is {now} now. To pay for new ones:"
        )
        line(f"  batchgen retry {shell_quote(whole.folder)} --older-versions")
    if whole.counts["renamed"]:
        rows = plural(whole.counts["renamed"], "renamed row")
        line(f"Without --allow-changed a run stops at {rows}, before it sends anything.")
    if whole.unpriced:
        whose = "Their" if whole.unpriced == whole.sends else f"Of {whole.unpriced} of them the"
        why = f", since {whole.not_asked}" if whole.not_asked else ""
        line(f"{whose} price is unknown{why}; say it with --price to see the cost.")


def _requests(sums: "Sums") -> str:
    """Return `4 requests, for $0.24`; without the amount where no price is known."""
    requests = plural(sums.sends, "request")
    if sums.unpriced < sums.sends or not sums.sends:
        requests += f", for {'at least ' if sums.floor else ''}{show_usd(sums.cost)}"
    return requests


def _unfolded(sums: "Sums") -> str:
    return f"{plural(sums.rows, 'row')}: {_requests(sums)}"


def guess(
    listed: str, found: "Guess", rows: int, needed: tuple[str, ...], *, to_stderr: bool
) -> None:
    """What the columns of a list were taken for. needed: inputs that it lacks."""
    lines = [f"{listed}: {plural(rows, 'row')}"]
    width = min(max((len(use.name) for use in found.uses), default=0), 40)
    for use in found.uses:
        what = use.target or "metadata, not sent"
        lines.append(f"  {use.name:<{width}}  {what}{f' ({use.why})' if use.why else ''}")
    if not found.uses:
        lines.append("  each text is a prompt")
    for name in needed:
        lines.append(f"  The model needs {name}, which the list does not have: write it under")
        lines.append("  defaults:, where an example stands now.")
    for one in lines:
        (write_stderr if to_stderr else line)(one)


REPEATS = (
    "Sent again as it is, a row of a deployment makes nothing if its first request did run. Give it"
    " another seed in the list, which makes it another row, write this one off, and run the list"
    " again."
)


def unknown_rows(rows: "list[UnknownRow]", folder: Folder) -> None:
    """The unknown rows, on stdout, with all that helps to find them in the account.

    A rehearsal has none: there, what the sandbox's ledger has of them.
    """
    if not rows:
        line(f"{folder.path} has no unknown rows.")
        return
    if any(row.repeats_need_change for row in rows):
        line(REPEATS)
    for row in rows:
        price = "an unknown price" if row.price is None else show_usd(row.price)
        sent = show_time(from_iso(row.sent_at))
        line(f"{row.id} ({row.source}), sent {sent}, {price}, {row.model}")
        line(f"  {json.dumps(row.input, ensure_ascii=False)}")
        line(f"  {row.reason}")
        for place, seed in row.other_seeds.items():
            instead = f", in place of {row.input[place]}" if place in row.input else ""
            line(f"  Another seed for it: write {seed} as {place} in {row.source}{instead}; then")
            words = ("resolve", str(folder.path), "--id", row.id, "--write-off")
            line(f"    {next_steps.command(*words)}")
        if row.answer:
            line(f"  What came: {truncate(' '.join(row.answer.split()), MOST_OF_AN_ANSWER)}")
        if row.found is not None:
            accepted = f"accepted as {' and as '.join(row.found)}"
            line(f"  The sandbox's ledger: {accepted if row.found else 'never accepted'}")
    with closing(Reader(folder.journal)) as reader:
        rehearsal = reader.is_rehearsal()
    line(f"{len(rows)} unknown. {LEDGER_SAYS if rehearsal else LOOK_FOR_EACH} Then")
    ways = next_steps.commands_to_resolve(str(folder.path))
    width = max(len(command) for command, _ in ways)
    for command, purpose in ways:
        line(f"  {command:<{width}}   {purpose}")


def ask_about(row: "UnknownRow") -> tuple[str, str | None]:
    """Ask a person at a terminal about one row; return the action, "" for none, and the request."""
    answers = {"a": "attach", "s": "send-again", "w": "write-off", "k": ""}
    given = click.prompt(
        f"{terminal_safe(row.id)}: [a]ttach, [s]end again, [w]rite off or [k]eep",
        type=click.Choice(list(answers)),
        default="k",
        show_choices=False,
    )
    if given in ("s", "w") and not click.confirm(cost_of_settling(answers[given], [row])):
        return ask_about(row)
    found = row.found[0] if row.found else None
    request_id = click.prompt("request_id", default=found).strip() if given == "a" else None
    return answers[given], request_id


def settled(action: str, count: int, folder: Folder) -> None:
    """What was done with unknown rows, and what the next run does with them, on stdout.

    action: "attach", "send-again" or "write-off".
    """
    if action == "send-again":
        queued(folder, count, next_run(folder) if count else None)
    elif action == "attach":
        note(f"{plural(count, 'row')} attached to its request; the next run collects it, unpaid.")
    else:
        note(f"{plural(count, 'row')} written off.")


def queued(folder: Folder, count: int, command: str | None, *, failed: bool = False) -> None:
    """How many rows the next run submits. command: of that run; None where it is not known.

    failed: whether all failed rows were meant, of which there may be none.
    """
    note(f"{plural(count, 'row')} queued again.")
    with closing(Reader(folder.journal)) as reader:
        paused = command_table.paused_since(reader)
        cancelled = reader.counts()[State.CANCELLED]
    if cancelled and failed and not count:
        queue = next_steps.command_for_state(str(folder.path), State.CANCELLED)
        note(f"To queue {plural(cancelled, 'cancelled row')}: {queue}")
    if not count:
        return
    if paused:
        note(f"The batch is paused. First: {next_steps.command('resume', str(folder.path))}")
    then = "The run after that" if paused else "The next run"
    note(f"{then} submits them{f': {command}' if command else ', with the same options.'}")


def cost_of_settling(action: str, rows: "list[UnknownRow]") -> str:
    """What it costs to settle rows without their requests, and the question for a yes.

    action: "send-again" or "write-off".
    """
    known = [row.price for row in rows if row.price is not None]
    price = f"{'at least ' if len(known) < len(rows) else ''}{show_usd(sum(known))}"
    if not known:
        price = "a price that is not known"
    one = len(rows) == 1
    if action == "send-again":
        again = "again if it was accepted" if one else "again for each that was accepted"
        what, them = ("it", "it") if one else (f"{len(rows)} rows", "them")
        trap = f" {REPEATS}" if any(row.repeats_need_change for row in rows) else ""
        return f"The next run pays {price} for {what}, {again}.{trap} Send {them} again?"
    what, them = ("It", "it") if one else (f"{len(rows)} rows", "them")
    return f"{what} may have cost {price}, which stays counted. Give {them} up?"


def line(text: object) -> None:
    """A line on stdout, of which some may have come from outside."""
    click.echo(terminal_safe(str(text)))


def note(text: object) -> None:
    """A line on stdout that says what was done; none with --quiet."""
    if not manners.is_quiet():
        line(text)


def state_line(before: str, word: str, after: str = "") -> None:
    """A line on stdout in which one word says how things stand, in a colour where there are any."""
    shown = click.style(terminal_safe(word), fg=COLORS.get(word.strip()))
    click.echo(f"{terminal_safe(before)}{shown}{terminal_safe(after)}")


def as_json(value: object) -> None:
    """A value as JSON, on stdout, for programs and for a terminal."""
    click.echo(terminal_safe_json(value))


_print_json = as_json  # where an argument has that name


def path(where: object, *, as_json: bool) -> None:
    """The path of a file, which is the result of a command, on stdout."""
    if as_json:
        _print_json({"path": str(where)})
    else:
        line(where)


def lost_files(folder: Folder, saved: list[str], failed: list[str]) -> None:
    """How to pay again for what RunComfy hosts no longer, on stdout; ids of rows by their state."""
    line("RunComfy no longer hosts the lost files. To make and pay for them again:")
    for state, ids in ((State.SAVED, saved), (State.FAILED, failed)):
        if ids:
            line(f"  {next_steps.command_for_lost_files(str(folder.path), state, ids)}")


def verified(folder: Folder, found: "VerifyResult") -> None:
    """What became of the files of a batch, on stdout."""
    lost = len(found.lost) + len(found.gone)
    needs_nobody = not (lost or found.later or found.waiting)
    say = note if needs_nobody else line
    say(f"{found.whole} whole, {found.restored} restored, {lost} lost.")
    if lost:
        lost_files(folder, found.lost, found.gone)
    if found.later:
        line(f"{len(found.later)} could not be downloaded now: run it again later.")
    if found.waiting:
        line(f"{len(found.waiting)} not fetched yet: the next run asks again, unpaid.")


def pulled(folder: Folder, found: "Pulled") -> None:
    """What became of the files of a batch that has them in a store, on stdout."""
    say = line if found.left else note
    say(f"{found.fetched} fetched, {found.here} here already, {len(found.left)} left.")
    if found.left:
        line(f"See what is wrong: {next_steps.command('verify', str(folder.path))}")


def next_run(folder: Folder) -> str | None:
    """Return the command that submits what is pending; None where it cannot be known."""
    with closing(Reader(folder.journal)) as reader:
        manifest = (reader.last_run() or {}).get("manifest") or ""
        listed = reader.get_meta("manifest")
        rehearsal, given = reader.is_rehearsal(), reader.get_meta(GIVEN)
    if manifest and listed and os.path.abspath(manifest) != listed:  # noqa: PTH100
        manifest = str(listed)  # named from another folder, where another list may be
    # Standard input, or a list of another computer.
    if not (manifest and has_name_of_its_own(manifest) and Path(manifest).exists()):
        return None
    if given is None:  # it was sent elsewhere, or by an older batchgen
        return None
    own = default_out(manifest).resolve() == folder.path.resolve()
    out = None if own else str(folder.path)
    return next_steps.command_to_run(manifest, out, given, rehearsal=rehearsal)


def status(folder: Folder) -> None:
    """How far a batch is, on stdout."""
    try:
        reader = Reader(folder.journal)
    except UsageError:
        holder = find_holder(folder)
        if holder is None:
            raise
        line(f"{folder.path}: {_starting(holder)}. Nothing was sent yet.")
        return
    now = Clock().now()
    with closing(reader):
        numbers, runner = numbers_and_runner(folder, reader)
        rate = reader.pace()
        oldest, (_, first) = reader.oldest_in_flight(), reader.first_to_expire(now)
    run = numbers["run"]
    line(f"{folder.path}: {plural(numbers['rows'], 'row')}")
    for state, n in numbers["counts"].items():
        if n:
            state_line(f"  {n:>7} ", state)
    lines = [f"  {summary_text.money(numbers)}"]
    if oldest:
        lines.append(f"  oldest request in flight: {show_span(now - from_iso(oldest))}")
    if numbers["instances"]:
        lines.append(f"  instances: {shown_instances(numbers['instances'], now)}")
    lines += [f"  machine {shown_machine(one, now)}" for one in numbers["machines"]]
    if first:
        left = RESULTS_KEPT_S - (now - from_iso(first))
        gone = f"expire from {show_span(left)} on" if left > 0 else "be gone already"
        lines.append(f"  results not fetched yet may {gone}")
    pending = numbers["counts"][State.PENDING]
    if rate:
        lines.append(f"  rate {show_rate(rate)}")
        if pending and runner:
            lines.append(f"  about {show_span(pending / rate)} to submit the rest")
    if run["started_at"]:
        started = from_iso(run["started_at"])
        ending = run["ending"] or "was killed; run it again to go on"
        if runner:
            ending = f"running ({runner}, since {_clock_time(started, now)})"
        lines.append(f"  last run: {show_time(started)}, {ending}")
    if numbers["media"]:
        lines.append(f"  files in {numbers['media']}")
    if numbers["paused_since"]:
        since = show_time(from_iso(numbers["paused_since"]))
        lines.append(f"  paused since {since}: {next_steps.command('resume', str(folder.path))}")
    if numbers["kept"]:
        lines.append(f"  kept by batchgen set: {in_words(numbers['kept'])}")
    if not runner and (holder := find_holder(folder)):
        lines.append(f"  now: {_starting(holder)}")
    if found := folder.others():
        path, who = found
        lines.append(f"  {path}: {who} can write to it, and have changed what is said here")
    for one in lines:
        line(one)


def _starting(holder: Holder) -> str:
    return f"{holder} is {holder.doing or 'at work in the folder'}"


def _clock_time(at: float, now: float) -> str:
    """Return the local time, with the date where that is not today's."""
    then, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    return f"{then:%H:%M}" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M}"


def models(found: "Sequence[ListedModel | ListedDeployment]") -> None:
    """Models, a line each, on stdout: the id, then what is known, in columns."""
    rows = [astuple(one) for one in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{text:<{width}}" for text, width in zip(row, widths, strict=True) if width)
        line("  ".join(cells).rstrip())


def model(name: str, validator: "Validator") -> None:
    """A model's inputs, a line each, on stdout."""
    from batchgen.validation.examples import describe_input  # here, since it brings jsonschema

    line(name)
    for field, schema in validator.properties.items():
        needed = " (required)" if field in validator.required else ""
        line(f"  {field}: {describe_input(schema)}{needed}")
