"""`pause`, `resume` and `set`: ask something of a run, or note it in a batch that none goes on in.

Without a run the command takes the folder's lock and writes the journal as every other does. With
one it leaves the command in the table `commands` and waits until the run has taken it; where
several machines run, until each has.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core.addresses import JournalAddress
from batchgen.core.assignments import DEFAULT, PAUSE, RESUME, in_words
from batchgen.core.states import RunEvent
from batchgen.core.text import shell_quote
from batchgen.core.timing import Timing
from batchgen.errors import BatchBusy, UsageError
from batchgen.journal import command_table
from batchgen.journal.command_table import Steering
from batchgen.journal.reader import Reader, find_holder
from batchgen.operations.batch import open_batch
from batchgen.report.next_steps import command

STEP_S = 0.05  # between two looks whether the run has taken it


@dataclass
class Steered:
    """What came of a command.

    holder: who goes on in the batch; "" if nobody does. answers: what the run has made of it, empty
    where it has not taken it yet. paused_since: as the journal writes it; "" for not at all.
    kept: what holds for later runs, as written, by setting.
    """

    holder: str = ""
    answers: list[Steering] = field(default_factory=list)
    paused_since: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)


def pause(folder: Folder, timing: Timing) -> Steered:
    """Let nothing more be submitted: by the run under way, or by the next ones."""
    return _steer(folder, {PAUSE: ""}, timing, keep=True)


def resume(folder: Folder, timing: Timing) -> Steered:
    """Take a pause back."""
    return _steer(folder, {RESUME: ""}, timing, keep=True)


def change(folder: Folder, asked: Mapping[str, str], timing: Timing, *, keep: bool) -> Steered:
    """Set something in the run under way, and with `keep` for later ones too.

    asked: values as written, by setting; each can be read. Raises UsageError if no run goes on,
    unless it is kept.
    """
    return _steer(folder, asked, timing, keep=keep)


def _steer(folder: Folder, asked: Mapping[str, str], timing: Timing, *, keep: bool) -> Steered:
    """Raises UsageError if there is no such batch, StorageDamaged, and as `change` does."""
    with closing(Reader(folder.journal, timing)):
        pass  # there is a batch, and not the beginning of one
    while True:
        try:
            return _without_run(folder, asked, timing, keep=keep)
        except BatchBusy:
            found = _ask_run(folder, asked, timing, keep=keep)
            if found is not None:
                return found


def _without_run(
    folder: Folder, asked: Mapping[str, str], timing: Timing, *, keep: bool
) -> Steered:
    if not keep and not isinstance(folder.journal, JournalAddress):
        with folder.locked():
            raise _nothing_to_set(folder, asked)
    with open_batch(folder, timing) as journal:
        if under_way := [one for one in journal.other_machines() if one.takes_commands]:
            raise BatchBusy(str(folder.path), f"process {under_way[0].process}")
        if not keep:
            raise _nothing_to_set(folder, asked)
        command_table.settle(journal)
        kept = {**command_table.kept(journal)}
        if PAUSE in asked or RESUME in asked:
            command_table.record_pause(journal, journal.now() if PAUSE in asked else "")
        else:
            kept = {name: text for name, text in {**kept, **asked}.items() if text != DEFAULT}
            detail = f"{in_words(asked)}, kept"
            memory = {command_table.KEPT: kept or None}
            command_table.record_event(journal, RunEvent.SET, detail, memory)
        return Steered(paused_since=command_table.paused_since(journal), kept=kept)


def _ask_run(
    folder: Folder, asked: Mapping[str, str], timing: Timing, *, keep: bool
) -> Steered | None:
    """Leave a command for the run, and wait until it is taken; None if nobody is there any more."""
    folder.refuse_others()
    with closing(Reader(folder.journal, timing)) as reader:
        holder = find_holder(folder)
        if holder is None:
            return None
        number, run = reader.last_run_number(), reader.last_run() or {}
        goes_on = not run.get("ended_at") and holder.is_process(run.get("process"))
        goes_on |= reader.is_shared  # all that take commands
        if not goes_on and not {PAUSE, RESUME} & asked.keys():
            doing = f" ({holder.doing})" if holder.doing else ""
            raise UsageError(
                f"{holder} holds {folder.path}{doing}, and no run submits yet that something could"
                " be set in. Nothing was changed.",
                "Ask again in a moment.",
            )
        before = max((one.seq for one in command_table.history(reader)), default=0)
        now = Clock().now()
        numbers = command_table.send(
            folder.journal, number if goes_on else None, asked, keep=keep, now=now, timing=timing
        )
        until = time.monotonic() + timing.command_wait
        while command_table.still_waiting(reader, numbers):
            if find_holder(folder) is None:
                return None  # it has ended; what it has not taken is of no run any more
            if time.monotonic() >= until:
                return Steered(
                    str(holder), [], command_table.paused_since(reader), command_table.kept(reader)
                )
            time.sleep(STEP_S)
        answers = command_table.history(reader, before)
        if reader.is_shared:  # each run has given one
            answers = [*{(one.event, one.detail): one for one in answers}.values()]
        return Steered(
            str(holder), answers, command_table.paused_since(reader), command_table.kept(reader)
        )


def _nothing_to_set(folder: Folder, asked: Mapping[str, str]) -> UsageError:
    words = [f"{name}={text}" for name, text in asked.items()]
    keep = command("set", str(folder.path), *words, "--keep")
    given = {name: text for name, text in asked.items() if text != DEFAULT}
    options = " ".join(f"--{name} {shell_quote(text)}" for name, text in given.items())
    next_run = "The next run has it so, unless something else is kept. To keep nothing"
    if given:
        next_run = f"Give the next run the options {options}, or set it for all later runs"
    return UsageError(
        f"No run goes on in {folder.path}, so there is nothing to set now. Nothing was changed.",
        f"{next_run}:\n{keep}",
    )
