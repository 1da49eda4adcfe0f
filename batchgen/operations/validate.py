"""Check a manifest against its models' schemas; nothing is sent."""

from batchgen import config
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.errors import ManifestInvalid
from batchgen.journal.staging import StagedRows
from batchgen.operations.check_urls import ProbeResult
from batchgen.operations.open_manifest import ProblemSink, check_rows, open_manifest_for
from batchgen.validation.schema_registry import SchemaRegistry


def validate(
    flags: RunOptions, path: str, show: ProblemSink, *, check_urls: bool = False
) -> "tuple[int, ProbeResult | None]":
    """Check a manifest without an account; return how many rows are good, and what of their URLs.

    show: called with each problem. Raises ManifestInvalid after the last, or UsageError.
    """
    manifest, settings = open_manifest_for(flags, path)
    kept = Folder(flags.out or config.default_out(path)).schemas
    known = SchemaRegistry(settings.model, settings.schema, kept, None)
    listing = StagedRows()
    try:
        problems = check_rows(manifest, known, listing, show)
        probed = None
        if check_urls:
            from batchgen.operations.check_urls import (
                probe_file_inputs,  # here, since it brings httpx, and a run needs neither
            )

            probed = probe_file_inputs(listing, known, show)
        if problems := problems + (probed.problems if probed else 0):
            raise ManifestInvalid(manifest.file, problems, str(probed or ""))
        return len(listing), probed
    finally:
        listing.close()
