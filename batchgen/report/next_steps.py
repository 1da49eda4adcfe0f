"""What a person does next, as commands to copy. Pure.

Every command that batchgen advises is built here, from words that are quoted for a shell; errors
and the journal, which know nothing of reports, quote by `core.text.shell_quote` themselves.
"""

from collections.abc import Mapping
from typing import Any

from batchgen.core.run_words import run_words
from batchgen.core.states import State, makes_nothing_again
from batchgen.core.text import shell_path, shell_quote

MAX_CAUSE_CHARS = 200  # enough to tell a cause from others


def command(*words: str) -> str:
    """Return a command of batchgen, to be pasted into a shell."""
    return " ".join(["batchgen", *map(shell_quote, words)])


def command_for_row(batch: str, state: str, id: str, listed: bool, cause: str = "") -> str | None:
    """Return the command that deals with one row of `batch`; None where a run or nobody does.

    cause: why it is not saved, "" where nothing says so; only a change of the list mends some.
    """
    if state == State.UNKNOWN:
        return command("resolve", batch, "--id", id)
    reopens = _reopens(state) or state == State.WRITTEN_OFF  # each by its id
    helps = reopens and listed and not makes_nothing_again(cause)
    return command(*_retry(batch, state), "--id", id) if helps else None


def command_for_cause(batch: str, state: str, cause: str) -> str | None:
    """Return the command that deals with all rows in `state` for this cause; None as above."""
    if state == State.UNKNOWN:
        return command("resolve", batch)
    if not _reopens(state) or not cause or makes_nothing_again(cause):
        return None
    if len(cause) > MAX_CAUSE_CHARS:  # cut between words: half an id is none
        cause = cause[:MAX_CAUSE_CHARS].rpartition(" ")[0] or cause[:MAX_CAUSE_CHARS]
    return command(*_retry(batch, state), "--cause", cause)


def command_for_state(batch: str, state: str) -> str | None:
    """Return the command that deals with all rows in `state`; None as above."""
    if state == State.UNKNOWN:
        return command("resolve", batch)
    return command(*_retry(batch, state)) if _reopens(state) else None


def command_for_lost_files(batch: str, state: str, ids: list[str]) -> str:
    """Return the command that queues the rows of lost files again, each id once.

    state: of these rows, saved or failed.
    """
    chosen = [word for id in dict.fromkeys(ids) for word in ("--id", id)]
    return command(*_retry(batch, state), *chosen)


def commands_to_resolve(batch: str) -> list[tuple[str, str]]:
    """Return the three ways to settle an unknown row, each with what it is for."""
    start = f"{command('resolve', batch)} --id ID"
    return [
        (f"{start} --attach REQUEST_ID", "it is there: collect it"),
        (f"{start} --send-again", "it is not: pay for it"),
        (f"{start} --write-off", "give it up"),
    ]


def command_to_run(
    manifest: str, out: str | None, options: Mapping[str, Any], *, rehearsal: bool
) -> str:
    """Return the command of the next run. out: the folder, where it is not the manifest's own.

    options: of the last run's command line, as `core/run_words.py` has them.
    """
    words = [*run_words(options), *([] if out is None else ["--out", out])]
    words += ["--sandbox"] if rehearsal else []
    return " ".join(["batchgen run", shell_path(manifest), *map(shell_quote, words)])


def _reopens(state: str) -> bool:
    return state in (State.FAILED, State.CANCELLED)


def _retry(batch: str, state: str) -> list[str]:
    return ["retry", batch, *([] if state == State.FAILED else ["--state", state])]
