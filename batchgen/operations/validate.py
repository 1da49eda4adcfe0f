"""Check a manifest against its models' schemas; nothing is sent."""

from collections.abc import Mapping
from typing import Any

from batchgen.batch_folder import Folder
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import ManifestInvalid
from batchgen.journal.staging import StagedRows
from batchgen.operations.check_urls import ProbeResult
from batchgen.operations.open_manifest import ProblemSink, check_rows, open_manifest_for
from batchgen.validation.schema_registry import SchemaRegistry


def validate(
    flags: Mapping[str, Any],
    path: str,
    show: ProblemSink,
    *,
    check_urls: bool = False,
    timing: Timing = DEFAULT_TIMING,
) -> tuple[int, ProbeResult | None]:
    """Check a manifest without an account.

    Returns how many rows are valid, and what the probe of their URLs found, if it was asked for.
    flags: as `open_manifest_for` has them. show: called with each problem.
    Raises ManifestInvalid after the last, or UsageError.
    """
    manifest, options = open_manifest_for(flags, path)
    known = SchemaRegistry(options.model, options.schema, Folder(options.out).schemas, None)
    listing = StagedRows()
    try:
        problems = check_rows(manifest, known, listing, show)
        probed = None
        if check_urls:
            from batchgen.operations.check_urls import (
                probe_file_inputs,  # here, since it brings httpx, and a run needs neither
            )

            probed = probe_file_inputs(listing, known, show, timing)
        if problems := problems + (probed.problems if probed else 0):
            raise ManifestInvalid(manifest.file, problems, str(probed or ""))
        return len(listing), probed
    finally:
        listing.close()
