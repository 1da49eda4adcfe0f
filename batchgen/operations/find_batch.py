"""Which folder holds a list's batch: the default one, or where this user has run the list before.

The default folder depends on the working directory. So the same list from another directory, or
under the name of a link, would begin a second batch, and every row would be paid for again.
"""

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from batchgen.batch_folder import Folder
from batchgen.config import (
    DEFAULT_MODEL,
    RunOptions,
    Source,
    default_out,
    has_name_of_its_own,
    with_kept,
)
from batchgen.core.addresses import JournalAddress, parse_batch_name
from batchgen.core.text import plural, shell_quote
from batchgen.errors import StorageDamaged, UsageError
from batchgen.files import state_folder
from batchgen.journal import command_table
from batchgen.journal.reader import Reader, find_holder
from batchgen.operations.known_batches import KnownBatch, KnownBatches, ListPath

log = logging.getLogger(__name__)

UNNAMED_MODEL = "unnamed_model"  # the name under which `set_meta` keeps it
# Asks a person; None if there is none.
Ask = Callable[[str], bool | None]


def ask_nobody(question: str) -> None:
    """Be an `Ask` where nobody is to be asked."""


class SecondBatch(UsageError):
    """The run would begin a second batch of a list, and pay for its rows again."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a folder says of its batch.

    manifest: the path of its list; None if it is not known.
    may_have_paid: whether a row was sent; True also where the journal cannot tell.
    rehearsal: whether its requests went to the sandbox.
    """

    manifest: str | None
    may_have_paid: bool
    rehearsal: bool


def known_batches() -> KnownBatches:
    """Return the memory of the user who runs this program."""
    return KnownBatches(state_folder(os.environ))


def look_into(folder: Folder) -> Finding | None:
    """Return what is known of the batch in a folder; None if there is none."""
    if not folder.holds_batch():
        return None
    try:
        with closing(Reader(folder.journal)) as reader:
            return Finding(reader.get_meta("manifest"), reader.has_sent(), reader.is_rehearsal())
    except (UsageError, StorageDamaged):
        return Finding(None, True, rehearsal=False)


def run_folder(place: Path, manifest: str, options: RunOptions) -> Folder:
    """Return the folder in which a run goes on, with the database that the person names for it.

    What is named for all lists holds for no rehearsal, and for no batch that has a journal of its
    own. Raises UsageError where a batch with batch.db is to go on in a database, and for a list
    whose name is none for a batch there.
    """
    folder = Folder(place, shared=options.allow_shared_folder)
    typed = options.sources.get("journal") is Source.FLAG
    if options.journal is None or (options.sandbox and not typed):
        return folder
    if folder.file.exists() and not folder.pointer.exists():
        if not typed:
            log.info(
                "The journal stays in %s; %s is for new batches.", folder.file, options.journal
            )
            return folder
        raise UsageError(
            f"{place} keeps its journal in batch.db, and not in {options.journal}. Nothing was"
            " sent.",
            "To go on there, leave out --journal. To take it along:\nbatchgen journal copy"
            f" {shell_quote(str(place))} --journal {shell_quote(options.journal)}",
        )
    folder.database = address_in(folder, options.journal, options.batch, manifest)
    return folder


def address_in(folder: Folder, url: str, batch: str | None, text: str) -> JournalAddress:
    """Return the batch that is meant: by its name, as its folder has it, or the stem of a list."""
    kept = folder.kept_address() if folder.pointer.exists() else None
    if batch is None and kept is not None and kept.url == url:
        return kept
    name = batch or default_out(text).name
    try:
        return JournalAddress(url, parse_batch_name(name))
    except ValueError as error:
        raise UsageError(f"{name!r}: {error} Nothing was sent.", "Name it with --batch.") from None


def find_folder(manifest: str, options: RunOptions, known: KnownBatches, ask: Ask) -> Path:
    """Return the folder in which a run of the manifest goes on, or begins its batch.

    ask: asked before a second batch is begun. Raises SecondBatch unless the person agrees, or
    `--out` or `--new-batch` says that it is meant.
    """
    wanted = ListPath.of(manifest)
    if options.sources.get("out") != Source.DEFAULT or wanted is None:
        return options.out
    found = look_into(Folder(options.out))
    if found is not None and wanted.names(found.manifest):
        return options.out
    if found is None and (before := _named_by_target(wanted)):
        return before
    if options.new_batch or options.sandbox:
        return options.out
    other = _other_batch(wanted, options.out, known)
    if other is None:
        return options.out
    error = _second_batch(manifest, options.out, *other)
    if not ask(f"{error.what.removesuffix(' Nothing was sent.')} Go on all the same?"):
        raise error
    return options.out


def refuse_other_run(
    manifest: str, options: RunOptions, folder: Folder, known: KnownBatches, before: set[str]
) -> None:
    """Raise SecondBatch where another run has begun a batch of the list since `find_folder` looked.

    before: the folders that were known then. Each run is remembered, and looks then: so of two at
    the same time the second sees the first.
    """
    wanted = ListPath.of(manifest)
    if wanted is None or begins_by_will(options):
        return
    for batch in known.begun_before(wanted, folder.path):
        if batch.folder not in before and not batch.rehearsal:
            other = Folder(Path(batch.folder))
            if find_holder(other):
                raise _second_batch(manifest, folder.path, batch, look_into(other))


def begins_by_will(options: RunOptions) -> bool:
    """Whether the person says that a second batch is meant, or it costs nothing."""
    named = options.sources.get("out") != Source.DEFAULT
    return named or options.new_batch or options.sandbox


def _named_by_target(wanted: ListPath) -> Path | None:
    """Return the folder that 0.1.0 gave to a link, by the name of its target, if it has its batch.

    0.1.0 also kept the list's path without links.
    """
    folder = Path("out") / (Path(wanted.resolved).stem or "batch")
    found = look_into(Folder(folder)) if wanted.written != wanted.resolved else None
    return folder if found is not None and wanted.names(found.manifest) else None


def _other_batch(
    wanted: ListPath, out: Path, known: KnownBatches
) -> tuple[KnownBatch, Finding | None] | None:
    """Return the last batch of the list in another folder that may have cost money.

    Without a finding it is gone: deleted, moved, or on a disk that is not mounted.
    """
    batches = [batch for batch in known.of(wanted) if not batch.rehearsal]
    for batch in batches:
        if Path(batch.folder) == out.resolve() and look_into(Folder(out)) is not None:
            continue
        folder = Folder(Path(batch.folder))
        found = look_into(folder)
        if found is not None and (found.may_have_paid or find_holder(folder)):
            return batch, found
        if found is None and batch.is_here() and batch == batches[0]:
            return batch, None
    return None


def _second_batch(
    manifest: str, out: Path, batch: KnownBatch, found: Finding | None
) -> SecondBatch:
    if found is None:
        return SecondBatch(
            f"{manifest} had its batch in {batch.folder}, which is gone. A new one in {out} would"
            " pay for every row again. Nothing was sent.",
            "If it was moved, or its disk is not mounted, name its folder with --out.\n"
            "To begin a new one, add --new-batch.",
        )
    return SecondBatch(
        f"{manifest} has its batch in {batch.folder}. A second one in {out} would pay for its rows"
        " again. Nothing was sent.",
        f"To go on there, add: --out {shell_quote(batch.folder)}\n"
        "To begin a second one, add --new-batch.",
    )


def keep_model(options: RunOptions, folder: Folder) -> RunOptions:
    """Return the options with the model of rows that name none as the folder's batch has it.

    A batch keeps what the first run took that sent a row, where neither an option nor the manifest
    says it: a configuration that changes later would have those rows paid for again.
    """
    if options.sources["model"] not in (Source.CONFIGURATION, Source.DEFAULT):
        return options
    try:
        with closing(Reader(folder.journal)) as reader:
            if not reader.has_sent():
                return options
            kept = reader.get_meta(UNNAMED_MODEL) or DEFAULT_MODEL
    except (UsageError, StorageDamaged):  # there is none, or the run says what is wrong with it
        return options
    if kept != options.model:
        log.info("Rows that name no model keep %s, as this batch began.", kept)
    return replace(options, model=kept)


def as_batch_has_it(
    options: RunOptions, folder: Folder, now: datetime
) -> tuple[RunOptions, Mapping[str, str]]:
    """Return the options as a run in this folder has them, and what `set --keep` left there."""
    kept: Mapping[str, str] = {}
    options = keep_model(options, folder)
    with suppress(UsageError), closing(Reader(folder.journal)) as reader:  # or no batch yet
        kept = command_table.kept(reader)
    return with_kept(options, kept, now), kept


def model_memory(options: RunOptions) -> dict[str, str]:
    """Return what a journal keeps for `keep_model`, as `set_meta` takes it."""
    said = options.sources["model"] in (Source.FLAG, Source.MANIFEST)
    return {} if said else {UNNAMED_MODEL: options.model}


def find_existing(text: str, known: KnownBatches, url: str | None = None) -> Folder:
    """Return the folder that a person means: itself, or the batch of a list, wherever that is.

    url: of the database that keeps journals, as the person says it; a batch there needs no folder
        here yet. Raises UsageError where there is none, or more than one.
    """
    if url is None:
        return _find_existing(text, known)
    try:
        folder = _find_existing(text, known)
    except UsageError:
        folder = Folder(default_out(text))
    if not folder.file.exists():
        folder.database = address_in(folder, url, None, text)
    return folder


def _find_existing(text: str, known: KnownBatches) -> Folder:
    if not text:
        what = "The name of the batch is empty, as of a variable that is not set."
        raise UsageError(what, "Name a batch folder, or its list.")
    itself = Folder(Path(text))
    if _exists(itself) or (not has_name_of_its_own(text) and text != "-"):
        return _existing(itself, text)
    default = Folder(default_out(text))
    wanted = ListPath.of(text)
    if wanted is None:
        return _existing(default, text)
    found = look_into(default)
    if found is not None and (found.manifest is None or wanted.names(found.manifest)):
        return default
    if before := _named_by_target(wanted):
        return Folder(before)
    elsewhere = _known_folders(wanted, known)
    if len(elsewhere) > 1:
        places = "\n".join(f"  {shell_quote(place)}" for place in elsewhere)
        count = plural(len(elsewhere), "folder")
        raise UsageError(f"{text} has batches in {count}.", f"Name one of them:\n{places}")
    if elsewhere:
        return Folder(Path(elsewhere[0]))
    return _existing(default, text)


def _known_folders(wanted: ListPath, known: KnownBatches) -> list[str]:
    """Return the folders that have a batch of the list now: real ones, else rehearsals."""
    there: dict[str, KnownBatch] = {}
    for batch in known.of(wanted):
        found = look_into(Folder(Path(batch.folder)))
        if found is not None and (
            found.manifest is None or batch.is_of(ListPath(found.manifest, ""))
        ):
            there.setdefault(batch.folder, batch)
    real = [folder for folder, batch in there.items() if not batch.rehearsal]
    return real or [*there]


def _existing(folder: Folder, text: str) -> Folder:
    if _exists(folder):
        return folder
    nor = "" if str(folder.path) == text else f", nor in {folder.path}"
    raise UsageError(
        f"There is no batch in {text}{nor}.",
        "Name an output folder, or a list that you have run.",
    )


def _exists(folder: Folder) -> bool:
    """Say whether there is a journal, or a run that is about to make one."""
    return folder.has_journal() or find_holder(folder) is not None
