"""The numbers of summary.json in words: what a terminal, a mail and a monitor are told. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from batchgen.core.budget import show_usd
from batchgen.core.states import State, makes_nothing_again
from batchgen.core.text import plural, truncate
from batchgen.report.next_steps import command_for_state

MAX_CAUSES = 10
MAX_CAUSE_CHARS = 300  # a line or a few
UNKNOWN_ROWS = """\
Unknown rows may have been billed, so they are not sent again unasked. Look for them
in your RunComfy account, and settle them with:"""
REHEARSED_UNKNOWN_ROWS = """\
Unknown rows may have been billed, so they are not sent again unasked. To look for them
in the sandbox's ledger, which stands for your account here, and to settle them:"""
MADE_NOTHING = """\
{rows} made nothing, and would make and cost the same again. To get a picture, give
each another seed in the list, which makes it another row, and run the list again."""
COMPLETED_ROWS = (
    "Completed rows are paid for and not on disk yet; the next run asks for them again, unpaid."
)


def money(numbers: Mapping[str, Any]) -> str:
    """Return what was spent. numbers: as `journal.reader.summary` has them, here and below."""
    sums = numbers["money_usd"]
    text = f"{show_usd(sums['committed'])} spent or reserved"
    if sums["estimated"]:
        text += f" ({estimated(sums)})"
    if sums["unknown"]:
        text += f", {show_usd(sums['unknown'])} of it for unknown rows"
    if sums["unpriced"]:
        text += f"; not counted: {plural(sums['unpriced'], 'request')} without a known price"
    return f"rehearsed with the sandbox: {text}, all pretend" if numbers["rehearsal"] else text


def estimated(sums: Mapping[str, Any]) -> str:
    """Return how far the costs of deployments are estimates. sums: `money_usd` of the numbers."""
    text = "deployments by an estimate: their seconds, at the price that you said"
    found = spread(sums["estimated_least"], sums["estimated_most"])
    return f"{text}; a request came to {found}" if found else text


def spread(least: float | None, most: float | None) -> str:
    """Return from what to what, USD, requests came: `$0.01 to $0.04`; "" before the first."""
    if least is None or most is None:
        return ""
    return " to ".join(dict.fromkeys([show_usd(least), show_usd(most)]))


def causes(found: Sequence[Mapping[str, Any]], *, examples: bool = True) -> list[str]:
    """Return a line for each of the first causes, and one for the others.

    examples: whether each names a row. An id that batchgen made has words of the prompt.
    """
    lines = []
    for cause in found[:MAX_CAUSES]:
        reason = truncate(" ".join(cause["cause"].split()), MAX_CAUSE_CHARS) or "no reason given"
        example = f"  (e.g. {cause['example']})" if examples else ""
        lines.append(f"{cause['rows']} {cause['state']}: {reason}{example}")
    if len(found) > MAX_CAUSES:
        lines.append(f"and {plural(len(found) - MAX_CAUSES, 'more cause')} in summary.json")
    return lines


def next_steps(batch: str, numbers: Mapping[str, Any], program: str) -> list[str]:
    """Return what a person can do about the rows, in lines. program: how batchgen is called."""
    counts = numbers["counts"]
    lines = []

    def show(state: State) -> None:
        command = command_for_state(batch, state) or ""
        lines.append(f"  {program}{command.removeprefix('batchgen')}")

    made_nothing = sum(
        cause["rows"]
        for cause in numbers["causes"]
        if cause["state"] == State.FAILED and makes_nothing_again(cause["cause"])
    )
    if made_nothing:
        lines += MADE_NOTHING.format(rows=plural(made_nothing, "row")).splitlines()
    if counts[State.FAILED] > made_nothing:
        lines.append("To queue the failed rows again (the next run pays for them again):")
        show(State.FAILED)
    if counts[State.CANCELLED]:
        lines.append("To queue the cancelled rows again (the next run pays for them again):")
        show(State.CANCELLED)
    if counts[State.UNKNOWN]:
        lines += (REHEARSED_UNKNOWN_ROWS if numbers["rehearsal"] else UNKNOWN_ROWS).splitlines()
        show(State.UNKNOWN)
    if counts[State.COMPLETED]:
        lines.append(COMPLETED_ROWS)
    return lines
