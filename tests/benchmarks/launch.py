"""Run one command and print what it used: a script, started as a process of its own.

The kernel counts a child's peak memory from the size of whoever started it, so the starter has to
be small; and the time does not include what the benchmarks do before and after. Prints one JSON
line: `{"exit_code", "started_at", "seconds", "cpu_seconds", "peak_bytes"}`; started_at in Unix
seconds; CPU and memory include the command's own children (the memory of the largest one of them).
"""

import json
import os
import sys
import time


def main() -> None:
    """`launch.py FILE COMMAND...`: what the command says goes into FILE."""
    said = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    streams = [(os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
    started_at, start = time.time(), time.monotonic()
    pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=streams)
    _, status, used = os.wait4(pid, 0)
    seconds = time.monotonic() - start
    unit = 1 if sys.platform == "darwin" else 1024
    found = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "started_at": started_at,
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * unit,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
