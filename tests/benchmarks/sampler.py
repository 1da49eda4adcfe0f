"""Runs `batchgen` and notes what its main thread does, by CPU time: a script for `budget`.

Each millisecond of CPU its stack is looked at, and the CPU that the thread has used since the last
look is taken for that. C counts as its caller's. Waiting costs nothing, and is not seen.
"""

import json
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY_S = 0.001
# What a frame of a module is there for, by a part of its path; of a stack, the innermost counts
# that is found here.
PLACES = (
    ("importlib._bootstrap", "start: loading modules"),
    ("/batchgen/operations/open_manifest.py", "start: the list"),
    ("/batchgen/report/", "end: reports"),
    ("/batchgen/media/thumbnails.py", "end: reports"),
    ("/logging/__init__.py", "log, progress"),
    ("/batchgen/log.py", "log, progress"),
    ("/batchgen/cli/progress.py", "log, progress"),
    ("/batchgen/journal/", "journal: statements"),
    ("/batchgen/media/", "files: downloading, keeping"),
    ("/batchgen/api/", "HTTP: what is sent and answered"),
    ("/aiohttp/", "HTTP: aiohttp"),
    ("/asyncio/selector_events.py", "HTTP: aiohttp"),
    ("/batchgen/clock.py", "engine"),
    ("/batchgen/engine/", "engine"),
    ("/asyncio/", "event loop, tasks, timers"),
    ("/selectors.py", "event loop, tasks, timers"),
)
OTHER = "the rest"
THREADS = "threads: commits, receipts, syncs"
CHECKERS = "processes that check files"


def place_of(frame: FrameType | None) -> str:
    """What a stack is there for; frame: the innermost."""
    while frame is not None:
        for part, place in PLACES:
            if part in frame.f_code.co_filename:
                return place
        frame = frame.f_back
    return OTHER


def main() -> None:
    """`sampler.py FILE WORDS...`: run batchgen; write CPU seconds by place as JSON into FILE."""
    from batchgen.cli.main import main as batchgen

    file, sys.argv = Path(sys.argv[1]).absolute(), ["batchgen", *sys.argv[2:]]
    spent = Counter({PLACES[0][1]: time.thread_time()})
    last = time.thread_time()

    def look(signum: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.thread_time()
        spent[place_of(frame)] += now - last
        last = now

    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    try:
        batchgen()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        spent[THREADS] = time.process_time() - time.thread_time()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent[CHECKERS] = children.ru_utime + children.ru_stime
        file.write_text(json.dumps(spent), encoding="utf-8")


if __name__ == "__main__":
    main()
