"""What a person reads: problems, errors, summaries. stdout carries results, stderr the rest."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from batchgen.clock import Clock, seconds
from batchgen.ending import Ending
from batchgen.errors import BatchgenError
from batchgen.folder import Folder
from batchgen.logs import say, visible
from batchgen.progress import rate_words
from batchgen.reading import Reader, summary
from batchgen.rows import Problem
from batchgen.states import State
from batchgen.validation import Validator

MOST_ALIKE = 10
EXPIRES_AFTER = 7 * 86400.0  # documented for serverless results; treated as true (api.md)


class Problems:
    """Shows problems as they are found; of one kind many times over, the first and how many."""

    def __init__(self) -> None:
        self._alike: Counter[tuple[str, str]] = Counter()

    def show(self, found: Problem) -> None:
        kind = (found.field, found.what)
        self._alike[kind] += 1
        if self._alike[kind] <= MOST_ALIKE:
            problem(found)

    def close(self) -> None:
        for (field, what), times in self._alike.items():
            if times > MOST_ALIKE:
                say(f"and {times - MOST_ALIKE} more: {field + ': ' if field else ''}{what}")


def problem(found: Problem) -> None:
    """`list.csv:14: row "fox", seed: '12a' is not a whole number`, and what would be right."""
    where = f'row "{found.row}"' if found.row else ""
    who = ", ".join(part for part in (where, found.field) if part)
    say(f"{found.place}: {who + ': ' if who else ''}{found.what}")
    _indented(found.remedy)


def error(found: BatchgenError) -> None:
    say(found.what)
    _indented(found.remedy)


def _indented(text: str) -> None:
    for line in text.splitlines():
        say(f"  {line}")


def after_run(folder: Folder, ending: Ending, *, quiet: bool) -> None:
    """The end of a run: states, causes, money, where to look, what to do next."""
    reader = Reader(folder.journal)
    try:
        numbers = summary(reader)
    finally:
        reader.close()
    if quiet or not ending.said:
        say(ending.reason)
    _indented(ending.remedy)
    _counts(numbers)
    _causes(numbers["causes"])
    _next_steps(folder, numbers["counts"])
    say(f"Pictures and report: {folder.path / 'report' / 'index.html'}")


def _counts(numbers: Mapping[str, Any]) -> None:
    say("  " + ", ".join(f"{n} {state}" for state, n in numbers["counts"].items() if n))
    say(f"  {_money(numbers)}")


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
        say(f"  {cause['rows']} {cause['state']}: {reason}  (e.g. {cause['example']})")
    if len(causes) > 10:
        say(f"  and {len(causes) - 10} more causes in summary.json")


def _next_steps(folder: Folder, counts: Mapping[str, int]) -> None:
    where = shlex.quote(str(folder.path))
    if counts[State.FAILED]:
        say("Send the failed rows again (paid again) with the next run:")
        say(f"  batchgen retry {where}")
    if counts[State.UNKNOWN]:
        say("Unknown rows may have been billed, so they are not sent again unasked. Look for them")
        say("in your RunComfy account; for each one that is not there:")
        say(f"  batchgen retry {where} --state unknown --id ID")
    if counts[State.COMPLETED]:
        say("Completed rows are paid for and not on disk yet; the next run fetches them, unpaid.")


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
        lines.append(f"  oldest request in flight: {_span(now - seconds(oldest))}")
    if first:
        left = EXPIRES_AFTER - (now - seconds(first))
        lines.append(f"  results not fetched yet may expire from {_span(left)} on")
    pending = numbers["counts"][State.PENDING]
    if rate:
        lines.append(f"  rate {rate_words(rate)}")
        if pending and going_on:
            lines.append(f"  about {_span(pending / rate)} to submit the rest")
    if run["started_at"]:
        ending = run["ending"] or "running, or killed"
        lines.append(f"  last run: {run['started_at']}, {ending}")
    click.echo(visible("\n".join(lines)))


def _span(span: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if span >= 2 * size:
            return f"{span / size:.0f} {unit}"
    return f"{max(span, 0):.0f} s"


def model(name: str, validator: Validator) -> None:
    """A model's inputs, a line each, on stdout."""
    click.echo(name)
    for field, schema in validator.properties.items():
        needed = " (required)" if field in validator.required else ""
        click.echo(visible(f"  {field}: {_kind(schema)}{needed}"))


def _kind(schema: Mapping[str, Any]) -> str:
    kind = str(schema.get("type") or "anything")
    if options := schema.get("enum"):
        kind += ", one of " + ", ".join(json.dumps(option) for option in options)
    bounds = [f"{name} {schema[name]}" for name in ("minimum", "maximum", "maxLength", "maxItems")
              if name in schema]  # fmt: skip
    return ", ".join([kind, *bounds])
