"""`retry`: make rows `pending` again. The next run sends them, and pays for them again."""

import logging
from collections.abc import Mapping

from batchgen.batch_folder import Folder
from batchgen.core.states import State, makes_nothing_again
from batchgen.core.text import cause_kind, plural
from batchgen.core.timing import Timing
from batchgen.errors import UsageError
from batchgen.operations.batch import open_batch
from batchgen.operations.take_over import recover_submitting

log = logging.getLogger(__name__)


def retry(
    folder: Folder,
    state: str,
    ids: tuple[str, ...],
    cause: str | None,
    timing: Timing,
    versions: Mapping[str, str] | None = None,
) -> int:
    """Reopen listed rows in a state; return how many.

    Rows that would make nothing again, and cost the same, stay unless ids or cause name them.

    ids: only these rows, all if none is given. cause: only rows whose error has this text, whatever
        addresses, ids and numbers are in it. versions: only saved rows that others than these, by
        model, have made.
    Raises UsageError for an id that no listed row in `state` has.
    """
    with open_batch(folder, timing) as journal:
        recover_submitting(journal, folder)
        if versions is None:
            rows = journal.requests_in(State(state), listed=True)
        else:
            rows = journal.saved_by_older(versions)
        if missing := set(ids) - {row.id for row in rows}:
            raise UsageError(f"No {state} row has the id {', '.join(sorted(missing))}.")
        named = [row for row in rows if not ids or row.id in ids]
        chosen = [row for row in named if cause is None or _has_cause(row.error or "", cause)]
        if not ids and cause is None:
            futile = [row for row in chosen if makes_nothing_again(row.error or "")]
            chosen = [row for row in chosen if not makes_nothing_again(row.error or "")]
            if futile:
                log.warning(
                    "%s would make nothing again, and cost the same: left as it is, e.g. %s. Give"
                    " each another seed in the list, or name it with --id.",
                    plural(len(futile), "row"),
                    futile[0].id,
                )
        for row in chosen:
            journal.record_retry(row.key, f"batchgen retry --state {state}")
        return len(chosen)


def _has_cause(error: str, cause: str) -> bool:
    kind = cause_kind(cause)  # of a number or an id alone nothing is left, which all would have
    return cause in error or (any(map(str.isalpha, kind)) and kind in cause_kind(error))
