"""What a person does next about rows that are not saved, as commands to copy. Pure."""

from batchgen.core.states import State
from batchgen.core.text import shell_quote

MOST_OF_A_CAUSE = 200  # characters; enough to tell it from others


def command_for_row(batch: str, state: str, id: str, listed: bool) -> str | None:
    """Return the command that deals with one row of `batch`; None where a run or nobody does."""
    if state == State.UNKNOWN:
        return f"batchgen resolve {shell_quote(batch)} --id {shell_quote(id)}"
    return f"{_retry(batch, state)} --id {shell_quote(id)}" if _reopens(state) and listed else None


def command_for_cause(batch: str, state: str, cause: str) -> str | None:
    """Return the command that deals with all rows in `state` for this cause; None as above."""
    if state == State.UNKNOWN:
        return f"batchgen resolve {shell_quote(batch)}"
    if not _reopens(state) or not cause:
        return None
    return f"{_retry(batch, state)} --cause {shell_quote(cause[:MOST_OF_A_CAUSE])}"


def _reopens(state: str) -> bool:
    return state in (State.FAILED, State.CANCELLED)


def _retry(batch: str, state: str) -> str:
    chosen = "" if state == State.FAILED else f" --state {state}"
    return f"batchgen retry {shell_quote(batch)}{chosen}"
