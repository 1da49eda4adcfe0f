"""How many rows a second are claimed: in a file by one run, in a database by one and by several.

A claim is what is durable before a body leaves: the account taken, a limit of cost compared, and a
row `submitting`. Alone it is a transaction of its own; a run makes those of the same moment in one.
Without sending anything, so this is what the journal takes at most.
"""

import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from databases import database, server

from batchgen.batch_folder import JournalPlace
from batchgen.clock import Clock
from batchgen.core.addresses import JournalAddress
from batchgen.core.budget import ActiveLimit
from batchgen.core.prices import Estimate
from batchgen.core.rows import Row
from batchgen.journal.postgres.accounts import Account
from batchgen.journal.recovery import Recovery
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal

from .measure import Figures
from .table import table

MODEL = "ideogram/ideogram-v2/generate"
ROWS = 40_000
SEVERAL = 5
TOGETHER = 16  # claims of one moment
LIMIT = ActiveLimit(1e6, "", "--max-cost", "the batch")


def claim(place: JournalPlace, seconds: float, together: int) -> tuple[int, float]:
    """Claim rows for so long; return how many, and the seconds."""
    with closing(Journal(place, Clock())) as journal:
        journal.store.let_others_start("running")
        account = Account(journal, "benchmark") if journal.is_shared else None
        journal.start_run("list.csv", {})
        begun, claimed, read_to = time.monotonic(), 0, 0
        while time.monotonic() < begun + seconds:
            if account is None:
                rows = journal.next_pending(read_to, [])[:50]
            else:
                with journal.transaction():
                    rows = journal.take_pending(50, [], [])
            if not rows:
                break
            read_to = rows[-1].position
            for first in range(0, len(rows), together):
                with journal.transaction():
                    if account is not None:
                        account.take()
                    for row in rows[first : first + together]:
                        journal.record_submitting(row, Estimate(0.03), [LIMIT], {})
                        claimed += 1
        return claimed, time.monotonic() - begun


def listed(place: JournalPlace, rows: int) -> None:
    with closing(StagedRows()) as staged, closing(Journal(place, Clock())) as journal:
        for n in range(1, rows + 1):
            staged.add(Row(n, f"list:{n}", f"r{n}", MODEL, {"prompt": f"fox {n}"}, {}))
        Recovery(journal).list_rows(staged)


def claims(seconds: float) -> Figures:
    """Claims a second, by where and how many, each alone and TOGETHER."""
    found = {}
    for together in (1, TOGETHER):
        with tempfile.TemporaryDirectory(prefix="batchgen-bench-") as folder:
            path = Path(folder) / "batch.db"
            listed(path, ROWS)
            claimed, took = claim(path, seconds, together)
            found[f"file_1_{together}"] = claimed / took
    with server() as one:
        for runs in (1, SEVERAL):
            for together in (1, TOGETHER):
                with database(one) as here:
                    listed(JournalAddress(here.url, "list"), ROWS)
                    found[f"database_{runs}_{together}"] = _by_several(
                        here.url, runs, seconds, together
                    )
    return found


def _by_several(url: str, runs: int, seconds: float, together: int) -> float:
    words = [sys.executable, "-m", "tests.benchmarks.claims", url, str(seconds), str(together)]
    children = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(runs)]
    said = [child.communicate()[0].split() for child in children]
    return sum(int(claimed) / float(took) for claimed, took in said)


def claims_table(found: Figures) -> str:
    names = {"file_1": "batch.db, one run", "database_1": "PostgreSQL, one run",
             f"database_{SEVERAL}": f"PostgreSQL, {SEVERAL} runs"}  # fmt: skip
    lines = [
        [name, *(f"{found[f'{key}_{together}']:.0f}" for together in (1, TOGETHER))]
        for key, name in names.items()
    ]
    return table(["claims a second", "one by one", f"{TOGETHER} in a transaction"], lines)


if __name__ == "__main__":
    place = JournalAddress(sys.argv[1], "list")
    print(*claim(place, float(sys.argv[2]), int(sys.argv[3])))
