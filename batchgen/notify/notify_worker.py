"""The process that sends messages with apprise; notification.py starts it.

It reads one JSON object: `urls`, and to send something `title`, `body`, `failed` and `pictures`. It
prints a line that begins with FAILED for each address that cannot be used or was not reached,
without showing it, and what apprise says.
"""

import importlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FAILED = "failed: "
MAX_SAID_CHARS = 200


def main() -> None:
    request = json.load(sys.stdin.buffer)
    complaints = _Complaints(logging.WARNING)
    logging.basicConfig(handlers=[complaints], level=logging.WARNING)
    apprise: Any = importlib.import_module("apprise")  # which is not always there to be checked
    failures = 0
    with _sheet(request.get("pictures", [])) as sheet:
        for number, url in enumerate(request["urls"], 1):
            complaints.first = ""
            name = f"address {number} ({url.partition('://')[0]})"
            service = apprise.Apprise.instantiate(url)
            if service is None:
                why = "cannot be used"
            elif "body" not in request or _send(apprise, service, request, sheet):
                continue
            else:
                why = "was not reached"
            failures += 1
            print(f"{FAILED}{name} {why}{complaints.first}", flush=True)
    sys.exit(1 if failures else 0)


class _Complaints(logging.Handler):
    """Prints what apprise says. first: of it, behind a colon; "" where it said nothing."""

    first = ""

    def emit(self, record: logging.LogRecord) -> None:
        said = " ".join(record.getMessage().split())
        self.first = self.first or f": {said[:MAX_SAID_CHARS]}"
        print(said, flush=True)


def _send(apprise: Any, service: Any, request: dict[str, Any], sheet: Path | None) -> bool:
    """Return whether a message was taken, without its pictures where they were not."""
    kinds = apprise.NotifyType
    one = apprise.Apprise()
    one.add(service)
    message = {
        "title": request["title"],
        "body": request["body"],
        "notify_type": kinds.FAILURE if request["failed"] else kinds.SUCCESS,
        "body_format": apprise.NotifyFormat.TEXT,
    }
    if sheet is not None and one.notify(**message, attach=str(sheet)):
        return True
    return bool(one.notify(**message))


@contextmanager
def _sheet(pictures: list[str]) -> Iterator[Path | None]:
    """A file with small copies of pictures; None where there are none."""
    from batchgen.notify.contact_sheet import write_contact_sheet

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pictures.jpg"
        yield path if pictures and write_contact_sheet(path, map(Path, pictures)) else None
