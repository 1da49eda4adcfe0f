"""Looks at what a run needs: the service, the disk. It judges nothing, and pays for nothing."""

import os
import shutil
import time
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from batchgen import files
from batchgen.api.endpoint import Endpoint
from batchgen.clock import Clock
from batchgen.core.timing import Timing
from batchgen.doctor.judge import Answer, Disk


def ask_service(endpoint: Endpoint, model: str, clock: Clock, timing: Timing) -> Answer:
    """Ask the service for what is free and needs the token: the balance, else a model.

    Raises ServiceUnreachable where the environment's certificates or proxy cannot be used.
    """
    began, at = time.monotonic(), clock.now()
    response = endpoint.ask(lambda services: services.models.ask_account(model), timing)
    seconds = time.monotonic() - began
    skew = None
    if response.date:
        with suppress(ValueError, OverflowError):
            date = parsedate_to_datetime(response.date)
            # It is cut to the second, and was written somewhere in between.
            there = date.replace(tzinfo=date.tzinfo or UTC).timestamp() + 0.5
            skew = (at + clock.now()) / 2 - there
    return Answer(urlsplit(endpoint.base).hostname or "", response, seconds, skew)


def nearest_folder(path: Path) -> Path:
    """Return the folder itself, or the first above it that there is."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def is_writable(folder: Path) -> bool:
    """Whether this user may make files in a folder that there is; nothing is written."""
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE)


_EFFECTIVE = os.access in os.supports_effective_ids


def look_at_disk(folder: Path) -> Disk:
    """folder: one that there is. Raises OSError."""
    status = os.statvfs(folder)
    kind = files.file_system(folder)
    trusted = None if kind not in files.LOCAL_FILE_SYSTEMS else True
    if kind in files.UNTRUSTED_FILE_SYSTEMS:
        trusted = False
    return Disk(
        shutil.disk_usage(folder).free, status.f_favail if status.f_files else None, kind, trusted
    )
