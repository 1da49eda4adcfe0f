"""The process that checks files for check_pool.py, and the form in which the two talk.

A request is a line of JSON, then the bytes of the download if it is held in memory; the answer is a
line of JSON, and so is what the process says when it is ready. Not pickle: a decoder that a hostile
picture has taken over must not reach the run.
"""

import errno
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batchgen.errors import LeadsOutside
from batchgen.media.check import CheckedFile, Costly, MediaBroken, check_file
from batchgen.media.formats import Format
from batchgen.media.thumbnails import keep_thumbnail
from batchgen.media.xmp import Provenance

READY: dict[str, Any] = {}  # what it says first
MAX_MEMORY_BYTES = 3 << 30  # some four times what the largest picture takes


def encode_request(
    part: Path,
    format: Format,
    content: bytes | None,
    facts: Provenance | None,
    sent_before: Collection[str],
    max_pixels: int | None,
    report: Path | None,
) -> bytes:
    """report: where a thumbnail is kept, as `keep_thumbnail` has it; None where none is made.

    The others are those of `check_file`.
    """
    request = {
        "part": str(part),
        "format": asdict(format),
        "size": None if content is None else len(content),
        "facts": facts,
        "sent_before": list(sent_before),
        "max_pixels": max_pixels,
        "report": None if report is None else str(report),
    }
    return json.dumps(request).encode() + b"\n" + (content or b"")


def decode_answer(part: Path, format: Format, line: bytes) -> CheckedFile:
    """Return or raise what `check_file` did in the process; RuntimeError if that has a bug."""
    answer = json.loads(line)
    if "broken" in answer:
        raise MediaBroken(answer["broken"], answer["sha256"])
    if "costly" in answer:
        raise Costly
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    if "leads_outside" in answer:
        raise LeadsOutside(*answer["leads_outside"])
    if "bug" in answer:
        raise RuntimeError(answer["bug"])
    return CheckedFile(part, format, **answer)


def main() -> None:
    """Answer requests until standard input ends, as it also does when the run is killed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the run decides when the process ends
    with suppress(OSError, ValueError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    with suppress(BrokenPipeError):
        _say(READY)
        for line in sys.stdin.buffer:
            request = json.loads(line)
            size = request["size"]
            content = None if size is None else sys.stdin.buffer.read(size)
            seen: list[Any] = []
            answer, checked = _check(request, content, seen.append)
            _say(answer)
            # Now, since a picture does not wait for its thumbnail to be saved.
            if request["report"] is not None and checked is not None and seen:
                keep_thumbnail(Path(request["report"]), checked, seen.pop())
            seen.clear()  # a picture takes much memory, and the next file may be long in coming


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def _check(
    request: dict[str, Any], content: bytes | None, see: Callable[[Any], None]
) -> tuple[dict[str, Any], CheckedFile | None]:
    """Return the answer, and the file if it is whole. see: as `check_file` has it."""
    part, format = Path(request["part"]), Format(**request["format"])
    try:
        facts, sent_before = request["facts"], request["sent_before"]
        max_pixels = request["max_pixels"]
        checked = check_file(
            part, format, content, facts, sent_before, max_pixels=max_pixels, see=see
        )
        answer = asdict(checked)
        del answer["part"], answer["format"]
        return answer, checked
    except MediaBroken as error:
        answer = {"broken": str(error), "sha256": error.sha256}
    except Costly:
        answer = {"costly": True}
    except OSError as error:
        answer = {"errno": error.errno or errno.EIO}
    except LeadsOutside as error:
        answer = {"leads_outside": [error.what, error.remedy]}
    except MemoryError:
        answer = {"errno": errno.ENOMEM}
    except Exception:  # noqa: BLE001
        answer = {"bug": traceback.format_exc()}
    return answer, None
