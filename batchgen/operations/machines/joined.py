"""A list that another machine has read in, for a run on one where the list is not at hand.

Its rows stand in the journal. What the other run was told by its list or its options, and is the
batch's and not the computer's, stands there as well, and holds here unless an option says else.
"""

import io
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from batchgen.config import RunOptions, Source, default_out, merge_options
from batchgen.configuration.file import read_configuration
from batchgen.core.addresses import JournalAddress, parse_batch_name
from batchgen.core.text import shell_quote
from batchgen.core.timing import Timing
from batchgen.errors import UsageError
from batchgen.journal.reader import Reader, has_journal
from batchgen.journal.stored_values import TOLD_OPTIONS
from batchgen.manifest.manifest import Manifest, open_manifest
from batchgen.operations.unchanged import ManifestImport

TOLD = "options"  # the name under which `set_meta` keeps them


class AlreadyListed(ManifestImport):
    """Stands for the import of a list whose rows the journal has."""

    def __init__(self, file: str) -> None:
        self.file = file

    def unless_listed_in(self, journal: Any) -> None:
        """There is nothing to read."""

    def is_listed_in(self, journal: Any) -> bool:
        return True


def options_memory(options: RunOptions) -> dict[str, Any]:
    """Return what a run keeps for those that join it, as `set_meta` takes it.

    That is what its list and its options say, and its limit of cost wherever it is from: the
    configuration of another machine may have none.
    """
    said = (Source.FLAG, Source.MANIFEST)
    kept = {
        name: getattr(options, name)
        for name in TOLD_OPTIONS
        if (name == "max_cost" or options.sources.get(name) in said)
        and getattr(options, name) is not None
    }
    plain = {name: dict(one) if isinstance(one, Mapping) else one for name, one in kept.items()}
    return {TOLD: plain or None}


def join(
    flags: Mapping[str, Any], name: str, timing: Timing
) -> tuple[Manifest, RunOptions, AlreadyListed]:
    """Return an empty list, the options of a run that joins a batch, and what its import is.

    name: of the batch, or its list, of which the name is meant. Raises UsageError where there is no
    such batch, or no other machine can work on it.
    """
    own = read_configuration(os.environ)
    asked = merge_options(flags, {}, os.environ, own.of_run, {})
    if asked.journal is None:
        raise UsageError(
            "Which database has the batch? Nothing was sent.",
            f"batchgen work {shell_quote(name)} --journal postgresql://HOST/DATABASE",
        )
    address = _address(asked.journal, name, timing)
    batch = address.batch
    with closing(Reader(address, timing)) as reader:
        file, told = reader.get_meta("manifest"), reader.get_meta(TOLD) or {}
        if reader.is_rehearsal():
            raise UsageError(
                f"The batch {batch} is a rehearsal, which one machine runs with its list."
                " Nothing was sent."
            )
        if file is None:
            raise UsageError(
                f"No list was read into the batch {batch} yet. Nothing was sent.",
                "Run its list on a machine that has it, and then this again.",
            )
    told = {key: tuple(one) if isinstance(one, list) else one for key, one in told.items()}
    defaults = {} if "out" in flags else {"out": Path("out", batch)}
    options = merge_options({**flags, "batch": batch}, told, os.environ, own.of_run, defaults)
    empty = open_manifest("-", format="jsonl", stdin=io.BytesIO())
    return empty, options, AlreadyListed(str(file))


def _address(url: str, name: str, timing: Timing) -> JournalAddress:
    """Return the batch of this name, or else of the list of this name."""
    try:
        address = JournalAddress(url, parse_batch_name(name))
        if has_journal(address, timing):
            return address
    except ValueError:  # as of a path
        pass
    try:
        return JournalAddress(url, parse_batch_name(default_out(name).name))
    except ValueError as error:
        raise UsageError(f"{name!r}: {error} Nothing was sent.") from None
