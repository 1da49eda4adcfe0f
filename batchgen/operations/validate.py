"""Check a manifest against its models' schemas; nothing is sent."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgen.batch_folder import Folder
from batchgen.config import default_out, has_name_of_its_own
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import ManifestInvalid
from batchgen.journal.staging import StagedRows
from batchgen.operations.find_batch import keep_model
from batchgen.operations.models import CatalogueIfAllowed, schema_folders
from batchgen.operations.open_manifest import (
    ProblemSink,
    check_rows,
    open_manifest_for,
    open_workflow,
    schemas_for,
)

if TYPE_CHECKING:
    from batchgen.operations.check_urls import OpenProbe, ProbeResult


def validate(
    flags: Mapping[str, Any],
    path: str,
    show: ProblemSink,
    *,
    check_urls: bool = False,
    timing: Timing = DEFAULT_TIMING,
    open_probe: "OpenProbe | None" = None,
) -> tuple[int, "ProbeResult | None"]:
    """Check a manifest, without an account where the schemas of its models are at hand.

    Returns how many rows are valid, and what the probe of their URLs found, if it was asked for.
    flags: as `open_manifest_for` has them. show: called with each problem.
    Raises ManifestInvalid after the last, UsageError, and ServiceUnreachable or TokenRefused where
    the catalogue has to be asked for a schema.
    """
    manifest, options = open_manifest_for(flags, path, _folder_of)
    options = keep_model(options, Folder(options.out))
    folders = schema_folders(Folder(options.out))
    workflow = open_workflow(manifest, options)
    source = CatalogueIfAllowed(options, timing, workflow.classes if workflow else ())
    known = schemas_for(options, folders, source, workflow)
    probed = None
    with closing(StagedRows(keep=check_urls)) as listing:
        problems = check_rows(manifest, known, listing, show, fit=options.fit, workflow=workflow)
        if check_urls:
            # Here, since it brings httpx, which nothing else needs.
            from batchgen.operations.check_urls import probe_file_inputs

            probed = probe_file_inputs(listing, known, show, timing, open_probe)
            problems += probed.problems
        if problems:
            raise ManifestInvalid(manifest.file, problems, str(probed or ""))
        return len(listing), probed


def _folder_of(manifest: str) -> Path:
    """Return a folder for any manifest: one from a pipe can be checked before its run names one."""
    return default_out(manifest if has_name_of_its_own(manifest) else "-")
