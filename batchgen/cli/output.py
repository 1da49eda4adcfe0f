"""What a person reads: problems, errors, summaries. stdout carries results, stderr the rest."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from batchgen.batch_folder import Folder
from batchgen.cli.progress import rate_words
from batchgen.clock import Clock, from_iso
from batchgen.core.expiry import RESULTS_KEPT_S
from batchgen.core.states import State
from batchgen.core.text import terminal_safe
from batchgen.errors import BatchgenError
from batchgen.journal.reader import Reader, summary
from batchgen.log import write_stderr

if TYPE_CHECKING:  # what these modules import would make `status` and an error slow to come
    from batchgen.core.rows import Problem
    from batchgen.engine.run_outcome import RunOutcome
    from batchgen.operations.plan import Plan, PlannedRow
    from batchgen.operations.resolve import UnknownRow
    from batchgen.validation.validator import Validator

MOST_ALIKE = 10


class Problems:
    """Shows problems as they are found; of one kind many times over, the first and how many."""

    def __init__(self) -> None:
        self._alike: Counter[tuple[str, str]] = Counter()

    def show(self, found: "Problem") -> None:
        kind = (found.field, found.what)
        self._alike[kind] += 1
        if self._alike[kind] <= MOST_ALIKE:
            problem(found)

    def close(self) -> None:
        for (field, what), times in self._alike.items():
            if times > MOST_ALIKE:
                write_stderr(
                    f"and {times - MOST_ALIKE} more: {field + ': ' if field else ''}{what}"
                )


def problem(found: "Problem") -> None:
    """`list.csv:14: row "fox", seed: '12a' is not a whole number`, and what would be right."""
    where = f'row "{found.row}"' if found.row else ""
    who = ", ".join(part for part in (where, found.field) if part)
    write_stderr(f"{found.place}: {who + ': ' if who else ''}{found.what}")
    _indented(found.remedy)


def error(found: BatchgenError) -> None:
    write_stderr(found.what)
    _indented(found.remedy)


def _indented(text: str) -> None:
    for line in text.splitlines():
        write_stderr(f"  {line}")


def after_run(folder: Folder, ending: "RunOutcome", *, quiet: bool) -> None:
    """The end of a run: states, causes, money, where to look, what to do next."""
    reader = Reader(folder.journal)
    try:
        numbers = summary(reader)
    finally:
        reader.close()
    if quiet or not ending.said:
        write_stderr(ending.reason)
    _indented(ending.remedy)
    _counts(numbers)
    _causes(numbers["causes"])
    _next_steps(folder, numbers["counts"])
    write_stderr(f"Pictures and report: {folder.path / 'report' / 'index.html'}")


def _counts(numbers: Mapping[str, Any]) -> None:
    write_stderr("  " + ", ".join(f"{n} {state}" for state, n in numbers["counts"].items() if n))
    write_stderr(f"  {_money(numbers)}")


def _money(numbers: Mapping[str, Any]) -> str:
    money = numbers["money_usd"]
    text = f"${money['committed']:.2f} spent or reserved"
    if money["unknown"]:
        text += f", of it ${money['unknown']:.2f} unknown"
    if money["unpriced"]:
        text += f"; {money['unpriced']} requests have no known price and are not counted"
    return f"rehearsed with the sandbox: {text}, all pretend" if numbers["rehearsal"] else text


def _causes(causes: list[dict[str, Any]]) -> None:
    for cause in causes[:10]:
        reason = cause["cause"] or "no reason given"
        write_stderr(f"  {cause['rows']} {cause['state']}: {reason}  (e.g. {cause['example']})")
    if len(causes) > 10:
        write_stderr(f"  and {len(causes) - 10} more causes in summary.json")


def _next_steps(folder: Folder, counts: Mapping[str, int]) -> None:
    where = shlex.quote(str(folder.path))
    if counts[State.FAILED]:
        write_stderr("Send the failed rows again (paid again) with the next run:")
        write_stderr(f"  batchgen retry {where}")
    if counts[State.UNKNOWN]:
        write_stderr(
            "Unknown rows may have been billed, so they are not sent again unasked. Look for them"
        )
        write_stderr("in your RunComfy account, and settle them with:")
        write_stderr(f"  batchgen resolve {where}")
    if counts[State.COMPLETED]:
        write_stderr(
            "Completed rows are paid for and not on disk yet; the next run fetches them, unpaid."
        )


def step(found: "PlannedRow") -> None:
    """A row's line of a plan, on stdout; a saved row needs none."""
    if found.what != State.SAVED:
        changes = f": {', '.join(found.changes)}" if found.changes else ""
        click.echo(terminal_safe(f"{found.what:<17} {found.id} ({found.source}){changes}"))


def plan(whole: "Plan", rate: float) -> None:
    """The sum of a plan, on stdout."""
    counts = ", ".join(f"{n} {what}" for what, n in whole.counts.items())
    click.echo(f"{sum(whole.counts.values())} rows: {counts}")
    cost = f"${whole.cost:.2f}"
    if whole.unpriced:
        cost += f" and {whole.unpriced} requests without a known price"
    click.echo(
        f"A run would send {whole.sends} requests, for {cost}; at {rate_words(rate)} submitting"
        f" them takes {_span(whole.seconds(rate))}. Nothing was sent."
    )


def unknown_rows(rows: "list[UnknownRow]", folder: Folder, as_json: bool) -> None:
    """The unknown rows, on stdout, with all that helps to find them in the account."""
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"{folder.path} has no unknown rows.")
        return
    for row in rows:
        price = "an unknown price" if row.price is None else f"${row.price:.2f}"
        click.echo(
            terminal_safe(f"{row.id} ({row.source}), sent {row.sent_at}, {price}, {row.model}")
        )
        click.echo(terminal_safe(f"  {json.dumps(row.input, ensure_ascii=False)}"))
        click.echo(terminal_safe(f"  {row.reason}"))
    where = shlex.quote(str(folder.path))
    click.echo(f"{len(rows)} unknown. Look for each in your RunComfy account, at that time. Then")
    click.echo(f"  batchgen resolve {where} --id ID --attach REQUEST_ID   it is there: collect it")
    click.echo(f"  batchgen resolve {where} --id ID --send-again          it is not: pay for it")
    click.echo(f"  batchgen resolve {where} --id ID --write-off           give it up")


def ask_about(row: "UnknownRow") -> tuple[str, str | None]:
    """Ask a person at a terminal about one row; return the action, "" for none, and the request."""
    answers = {"a": "attach", "s": "send-again", "w": "write-off", "k": ""}
    given = click.prompt(
        f"{terminal_safe(row.id)}: [a]ttach, [s]end again, [w]rite off or [k]eep",
        type=click.Choice(list(answers)),
        default="k",
        show_choices=False,
    )
    request_id = click.prompt("request_id").strip() if given == "a" else None
    return answers[given], request_id


def lost_files(folder: Folder, ids: list[str]) -> None:
    """How to pay again for what RunComfy hosts no longer, on stdout."""
    chosen = " ".join(f"--id {shlex.quote(id)}" for id in dict.fromkeys(ids))
    click.echo("RunComfy hosts the lost ones no longer. To make and pay for them again:")
    click.echo(
        terminal_safe(f"  batchgen retry {shlex.quote(str(folder.path))} --state saved {chosen}")
    )


def status(folder: Folder) -> None:
    """How far a batch is, on stdout."""
    reader = Reader(folder.journal)
    try:
        numbers = summary(reader)
        rate = reader.pace()
        oldest, first = reader.oldest_in_flight(), reader.first_to_expire()
    finally:
        reader.close()
    now = Clock().now()
    run = numbers["run"]
    going_on = run["started_at"] and not run["ended_at"]
    lines = [f"{folder.path}: {numbers['rows']} rows"]
    lines += [f"  {n:>7} {state}" for state, n in numbers["counts"].items() if n]
    lines.append(f"  {_money(numbers)}")
    if oldest:
        lines.append(f"  oldest request in flight: {_span(now - from_iso(oldest))}")
    if first:
        left = RESULTS_KEPT_S - (now - from_iso(first))
        lines.append(f"  results not fetched yet may expire from {_span(left)} on")
    pending = numbers["counts"][State.PENDING]
    if rate:
        lines.append(f"  rate {rate_words(rate)}")
        if pending and going_on:
            lines.append(f"  about {_span(pending / rate)} to submit the rest")
    if run["started_at"]:
        ending = run["ending"] or "running, or killed"
        lines.append(f"  last run: {run['started_at']}, {ending}")
    click.echo(terminal_safe("\n".join(lines)))


def _span(span: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if span >= 2 * size:
            return f"{span / size:.0f} {unit}"
    return f"{max(span, 0):.0f} s"


def model(name: str, validator: "Validator") -> None:
    """A model's inputs, a line each, on stdout."""
    click.echo(name)
    for field, schema in validator.properties.items():
        needed = " (required)" if field in validator.required else ""
        click.echo(terminal_safe(f"  {field}: {_kind(schema)}{needed}"))


def _kind(schema: Mapping[str, Any]) -> str:
    kind = str(schema.get("type") or "anything")
    if options := schema.get("enum"):
        kind += ", one of " + ", ".join(json.dumps(option) for option in options)
    bounds = [f"{name} {schema[name]}" for name in ("minimum", "maximum", "maxLength", "maxItems")
              if name in schema]  # fmt: skip
    return ", ".join([kind, *bounds])
