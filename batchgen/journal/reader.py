"""Reading a journal that another process may be writing: for `status`, `plan` and the reports.

The file is opened for reading only, and an older version is read as it is, without migrating it.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from batchgen.batch_folder import Folder, Holder, JournalPlace
from batchgen.clock import to_iso
from batchgen.core.addresses import JournalAddress
from batchgen.core.expiry import DAY_S
from batchgen.core.identity import json_object
from batchgen.core.prices import Price, SeenCost, read_prices, read_seen
from batchgen.core.states import State
from batchgen.core.text import cause_kind
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import BatchgenError, NewerJournal, UsageError
from batchgen.files import refuse_linked_database
from batchgen.journal import stored_values
from batchgen.journal.database import COUNTS_QUERY, count_states, marks
from batchgen.journal.faults import (
    checked,
    damaged_journal,
    odd_value,
    remembered,
    sqlite_error,
    storage_errors,
)
from batchgen.journal.requests import made_by_older
from batchgen.journal.schema import SHOWN, VERSION
from batchgen.journal.sqlite.inspection import harden, limit_work, refuse_foreign_schema
from batchgen.journal.sqlite.read_only import uri_for_reading
from batchgen.journal.staging import LOCAL_FILES_QUERY

# The two halves of SHOWN: the rows of the manifest in its order, then those that it no longer has.
# Each query is in order by its index; a single one would sort a million rows first.
SHOWN_IN_ORDER = ("listed = 1", "(listed IS NULL OR listed <> 1) AND attempts > 0")
MAX_CAUSES = 1000  # that are told apart; the most common reasons come first
ORDER = "listed DESC, position, created_at, requests.key"  # key: outputs of a row together
REQUEST_COLUMNS = (
    "position", "id", "source", "model", "input", "meta", "state", "request_id", "api_status",
    "attempts", "error_code", "error", "price", "cost", "created_at", "submitted_at",
    "completed_at", "saved_at", "listed", "key",
)  # fmt: skip
OUTPUT_COLUMNS = (
    "n", "kind", "url", "path", "bytes", "sha256", "content_type", "width", "height", "duration",
    "note",
)  # fmt: skip
RUN_COLUMNS = (
    "started_at", "ended_at", "process", "version", "manifest", "exit_code", "ending",
)  # fmt: skip


def has_journal(address: JournalAddress, timing: Timing = DEFAULT_TIMING) -> bool:
    """Say whether a database has a batch. Raises as `PostgresConnection`."""
    from batchgen.journal.postgres.connection import PostgresConnection
    from batchgen.journal.postgres.schema import version_of

    with closing(PostgresConnection(address, timing, read_only=True)) as connection:
        return version_of(connection) is not None


def find_holder(folder: Folder) -> Holder | None:
    """Return who holds a batch now, here or on another machine; None if nobody does.

    It writes nothing, and waits for nobody but a database.
    """
    with suppress(BatchgenError):
        if isinstance(folder.journal, JournalAddress):
            from batchgen.journal.postgres.store import find_machines

            found = [one for one in find_machines(folder.journal) if one.stands]
            # That of `Reader.last_run`, if any is under way.
            latest = max(found, key=lambda one: (one.takes_commands, one.epoch), default=None)
            return latest and Holder(f"process {latest.process}", latest.doing)
    return folder.holder()


class Reader:
    """Open a journal for reading only. Raises UsageError if there is none.

    stop: asked every millisecond or so of SQLite's work; with a yes, what is read ends with
        StorageDamaged.
    left_out: the first file that `rows` had to leave out, in words; "" if none.

    Every method that reads raises StorageDamaged or one of its subclasses.
    """

    def __init__(
        self,
        path: JournalPlace,
        timing: Timing = DEFAULT_TIMING,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self._path = path
        self.left_out = ""
        self._copy = ExitStack()
        self._db: Any
        if isinstance(path, Path):
            self._open_file(path, timing, stop)
        else:
            self._open_database(path, timing)

    def _open_database(self, address: JournalAddress, timing: Timing) -> None:
        # Here, since most batches need none of it.
        from batchgen.journal.postgres.connection import PostgresConnection
        from batchgen.journal.postgres.schema import version_of

        self._has_notes = True
        self._db = PostgresConnection(address, timing, read_only=True)
        try:
            if version_of(self._db) is None:
                raise UsageError(
                    f"There is no batch {address.batch} in {address.url}.",
                    "Name a batch that was run there, as its list or by its name.",
                )
        except BatchgenError:
            self.close()
            raise

    def _open_file(self, path: Path, timing: Timing, stop: Callable[[], bool] | None) -> None:
        if not path.is_file():
            raise UsageError(
                f"There is no batch in {path.parent}: it has no {path.name}.",
                "Name an output folder, or a manifest that was run from this folder.",
            )
        refuse_linked_database(path, written=False)
        with storage_errors(path):
            uri = self._copy.enter_context(uri_for_reading(path))
            self._db = sqlite3.connect(uri, uri=True, timeout=timing.busy)
        try:
            with storage_errors(path):
                harden(self._db)
                limit_work(self._db, path, stop)
                (version,) = self._db.execute("PRAGMA user_version").fetchone()
            self._has_notes = version >= 4  # an older journal is read as it is
            if version > VERSION:
                raise NewerJournal(str(path), version, VERSION)
            if version == 0:
                raise UsageError(
                    f"There is no batch in {path.parent} yet: {path.name} is just being made, or a"
                    " run was ended while it made it. Nothing was sent by then.",
                    "Look again in a moment, or run the list again.",
                )
            with storage_errors(path):
                refuse_foreign_schema(self._db, path)
        except BatchgenError:
            self.close()
            raise

    def close(self) -> None:
        self._db.close()
        self._copy.close()

    def query(self, sql: str, *values: Any) -> Iterator[dict[str, Any]]:
        """Yield what a query finds, by column, without holding it. For this folder only."""
        try:
            cursor = self._db.execute(sql, values)
            yield from _by_column(cursor, checked(cursor, self._path))
        except sqlite3.Error as error:
            raise sqlite_error(error, self._path) from error

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """Read everything in the block from one snapshot, whatever a run writes meanwhile."""
        with storage_errors(self._path):
            is_file = isinstance(self._path, Path)
            self._db.execute(
                "BEGIN" if is_file else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            )
        try:
            yield
        finally:
            self._db.rollback()

    @property
    def is_shared(self) -> bool:
        """Whether other machines reach the journal."""
        return not isinstance(self._path, Path)

    def check(self) -> None:
        """Read the whole file. Raises StorageDamaged if it is not whole.

        The pages of a database are its server's to check.
        """
        if not isinstance(self._path, Path):
            return
        (found,) = next(iter(self.query("PRAGMA quick_check(1)"))).values()
        if found != "ok":
            raise damaged_journal(self._path, found)

    def counts(self) -> Counter[State]:
        """Return the rows by state, of those that `Database.state_counts` has."""
        found = self.query(COUNTS_QUERY)
        return count_states((row["state"], row["listed"], row["n"]) for row in found)

    def money(self) -> dict[str, float | int | None]:
        """Return what the batch has cost.

        committed: USD spent, reserved or possibly spent. reserved, unknown: the part of it of rows
        in these states. unpriced: the number of rows that were sent without a price or cost.
        estimated: whether some of it is by the time that requests took; estimated_least and
        estimated_most: what one of these has come to, None before the first.
        """
        # An index finds the rows in a state. `unpriced` looks at every row once, and its first
        # condition excludes most of them.
        (row,) = self.query(
            """SELECT (SELECT COALESCE(SUM(usd), 0) FROM spending) AS committed,
                (SELECT COALESCE(SUM(price), 0) FROM requests
                    WHERE state IN ('submitting', 'submitted')) AS reserved,
                (SELECT COALESCE(SUM(price), 0) FROM requests WHERE state = 'unknown') AS unknown,
                (SELECT COUNT(*) FROM requests WHERE price IS NULL AND attempts > 0
                    AND cost IS NULL AND NOT EXISTS
                    (SELECT 1 FROM spending WHERE spending.key = requests.key)) AS unpriced"""
        )
        sums = {name: round(value, 6) for name, value in row.items()}
        least, most = self.estimated_spread() or (None, None)
        spread = {"estimated_least": least, "estimated_most": most}
        return {**sums, "estimated": bool(self.get_meta("by_time")), **spread}

    def estimated_spread(self) -> tuple[float, float] | None:
        """Return the least and the most, USD, that a request came to by its time; None if none."""
        models = self.get_meta("by_time")
        if not models:
            return None
        (found,) = self.query(
            "SELECT MIN(cost) AS least, MAX(cost) AS most FROM requests"
            f" WHERE cost IS NOT NULL AND model IN ({marks(models)})",
            *models,
        )
        return None if found["most"] is None else (found["least"], found["most"])

    def older_versions(self, versions: Mapping[str, str]) -> list[tuple[str, str, int]]:
        """Return (model, version, rows) of saved rows that another version has made.

        versions: of now, by model. Older journals know none.
        """
        if not (self._has_notes and versions):
            return []
        where, values = made_by_older(versions)
        found = self.query(
            f"""SELECT model, version, COUNT(*) AS rows FROM requests WHERE {where}
            GROUP BY model, version ORDER BY model, version""",
            *values,
        )
        return [(row["model"], row["version"], row["rows"]) for row in found]

    def committed_usd(self, since: str) -> float:
        """Return the USD that are spent, reserved or possibly spent since a time of the journal."""
        query = "SELECT COALESCE(SUM(usd), 0) AS committed FROM spending WHERE at >= ?"
        return float(next(self.query(query, since))["committed"])

    def causes(self) -> list[dict[str, Any]]:
        """Return why rows are not saved, the 50 most common first: state, cause, rows, example.

        Reasons that differ in addresses, ids or numbers only are one cause; `cause` is the most
        common of them.
        """
        found = self.query(
            "SELECT state, COALESCE(error, '') AS cause, COUNT(*) AS rows, MIN(id) AS example"
            f" FROM requests WHERE error IS NOT NULL AND state || '' <> 'saved' AND {SHOWN}"
            # "||": without the index on `state`, so that every row is looked at once.
            " GROUP BY state, cause ORDER BY rows DESC, state, cause"
        )
        causes: dict[tuple[str, str], dict[str, Any]] = {}
        for reason in found:
            kind = reason["state"], cause_kind(reason["cause"])
            if kind in causes:
                causes[kind]["rows"] += reason["rows"]
            elif len(causes) < MAX_CAUSES:
                causes[kind] = reason
        # The sort is stable, so equal numbers stay in the order of the query.
        return sorted(causes.values(), key=lambda cause: -cause["rows"])[:50]

    def ids(self) -> Iterator[tuple[str, str | None, int]]:
        """Yield id, request_id and how many outputs each row in the reports has, in no order."""
        outputs = "SELECT COUNT(*) FROM outputs WHERE outputs.key = requests.key"
        rows = f"SELECT id, request_id, ({outputs}) AS outputs FROM requests WHERE {SHOWN}"
        for row in self.query(rows):
            yield row["id"], row["request_id"], row["outputs"]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row that is in the reports: REQUEST_COLUMNS and `outputs`, a list by `n`.

        `input` and `meta` are decoded; an output has OUTPUT_COLUMNS, all but `n` and `url` None if
        it was not saved, or has a value that batchgen does not write.
        """
        columns = ", ".join((*(f"requests.{name}" for name in REQUEST_COLUMNS), *OUTPUT_COLUMNS))
        if not self._has_notes:
            columns = columns.removesuffix("duration, note") + "NULL AS duration, NULL AS note"
        try:
            for shown in SHOWN_IN_ORDER:
                read = self._db.execute if isinstance(self._path, Path) else self._db.stream
                found = read(
                    f"SELECT {columns} FROM requests LEFT JOIN outputs USING (key)"
                    f" WHERE {shown} ORDER BY {ORDER}, n"
                )
                for row in _with_outputs(_by_column(found, found)):
                    self._refuse_odd(row)
                    self._leave_out_odd_files(row)
                    yield row
        except sqlite3.Error as error:
            raise sqlite_error(error, self._path) from error

    def _refuse_odd(self, row: dict[str, Any]) -> None:
        """Decode `input` and `meta`. Raises StorageDamaged for a value that is none of ours."""
        values = tuple(map(row.__getitem__, REQUEST_COLUMNS))
        column = _first_odd(values)
        for name in ("input", "meta"):
            text = row[name]
            row[name] = json_object(text or "{}") if column is None else None
            if row[name] is None:
                raise odd_value(self._path, REQUEST_COLUMNS, values, column or name)
        row["listed"] = bool(row["listed"])

    def _leave_out_odd_files(self, row: dict[str, Any]) -> None:
        for output in row["outputs"]:
            values = tuple(output.values())
            if column := _first_odd_of_file(values):
                if column in ("n", "url"):
                    raise odd_value(self._path, OUTPUT_COLUMNS, values, column)
                self.left_out = self.left_out or (
                    f"row {row['id']!r}: the {column} {str(output[column])[:200]!r} is none that"
                    " batchgen writes. This file, and any other like it, is left out."
                )
                output.update(dict.fromkeys(output.keys() - {"n", "url"}))

    def names_in(self, column: str) -> list[str]:
        """Return the names in the JSON objects of a column, in the order of their first rows.

        column: `input` or `meta`. Raises ValueError for any other.
        """
        if column not in ("input", "meta"):
            raise ValueError(column)
        found = self.query(
            f"SELECT each.key AS field FROM requests, json_each(CASE WHEN"
            f" json_valid(requests.{column}) THEN requests.{column} ELSE '{{}}' END) AS each"
            f" WHERE {SHOWN} GROUP BY each.key"
            " ORDER BY MIN(requests.position), MIN(each.id)"
        )
        return [row["field"] for row in found]

    def last_run(self) -> dict[str, Any] | None:
        """Return RUN_COLUMNS of the latest run, of one under way if any is; None if none was."""
        columns = ", ".join(f"runs.{name}" for name in RUN_COLUMNS)
        runs = "SELECT {} FROM runs{} ORDER BY {}runs.id DESC LIMIT 1"
        if self.is_shared:
            under_way = (
                " LEFT JOIN machines ON machines.process = runs.process"
                " AND machines.read_to IS NOT NULL AND runs.ended_at IS NULL"
            )
            query = runs.format(columns, under_way, "machines.epoch DESC NULLS LAST, ")
        else:
            query = runs.format(columns, "", "")
        return next(self.query(query), None)

    def last_refusal(self) -> str:
        """Return why the latest run was refused; "" if it was not.

        A run that was refused ends when it begins (`Journal.refuse_run`).
        """
        run = self.last_run() or {}
        is_refusal = run.get("ended_at") is not None and run["ended_at"] == run["started_at"]
        return str(run["ending"]) if is_refusal else ""

    def last_start(self) -> str | None:
        """Return when the last run began that was not refused; None if there was none."""
        (row,) = self.query(
            "SELECT MAX(started_at) AS began FROM runs"
            " WHERE ended_at IS NULL OR ended_at <> started_at"
        )
        began: str | None = row["began"]
        return began

    def machines(self) -> list[dict[str, Any]]:
        """Return the runs that are in a batch whose journal is in a database, the longest first.

        Each with process, doing, since, quiet_seconds, reached and rows, by state.
        """
        if not self.is_shared:
            return []
        # Here, since most batches need none of it.
        from batchgen.journal.postgres.store import machines_of

        return [
            {
                "process": one.process,
                "doing": one.doing,
                "since": to_iso(one.since),
                "quiet_seconds": round(one.quiet, 1),
                "reached": one.stands,
                "rows": one.rows,
            }
            for one in machines_of(self._db)
        ]

    def last_run_number(self) -> int | None:
        """Return the number of the latest run; None if there was none."""
        (row,) = self.query("SELECT MAX(id) AS run FROM runs")
        number: int | None = row["run"]
        return number

    def oldest_in_flight(self) -> str | None:
        """Return when the oldest request without a result was sent; None if there is none."""
        (row,) = self.query(
            "SELECT MIN(submitted_at) AS oldest FROM requests WHERE state = ?", State.SUBMITTED
        )
        oldest: str | None = row["oldest"]
        return oldest

    def first_to_expire(self, now: float) -> tuple[int, str | None]:
        """Return how many results are not on disk, and when the first of their requests was sent;
        0 and None if all are.

        A request without a result counts once it is a day old: a younger one is under way.
        now: seconds since the epoch.
        """
        (row,) = self.query(
            "SELECT COUNT(*) AS results, MIN(submitted_at) AS oldest FROM requests"
            " WHERE state = ? OR (state = ? AND submitted_at < ?)",
            *(State.COMPLETED, State.SUBMITTED, to_iso(now - DAY_S)),
        )
        return row["results"], row["oldest"]

    def has_files(self) -> bool:
        """Return whether any file was kept."""
        (row,) = self.query("SELECT EXISTS (SELECT 1 FROM outputs WHERE path IS NOT NULL) AS kept")
        return bool(row["kept"])

    def has_sent(self) -> bool:
        """Return whether any row was sent, or may have been."""
        (row,) = self.query(
            "SELECT EXISTS (SELECT 1 FROM requests WHERE attempts > 0 OR state = 'submitting')"
            " AS sent"
        )
        return bool(row["sent"])

    def local_files(self) -> Iterator[str]:
        """Yield the path of each local file that the listed rows have, in order."""
        for row in self.query(LOCAL_FILES_QUERY):
            yield row["local_file"]

    def is_rehearsal(self) -> bool:
        """Return whether the requests went to the sandbox: its files are placeholders."""
        return self.get_meta("sandbox") is True

    def get_meta(self, name: str) -> Any:
        """Return the value that an earlier run kept under `name`; None if there is none."""
        found = next(self.query("SELECT value FROM memory WHERE name = ?", name), None)
        return remembered(name, found["value"], self._path) if found else None

    def prices(self) -> dict[str, Price | None]:
        """Return the price of each model, as a run last asked for it."""
        return read_prices(self.get_meta("prices"))

    def seen_costs(self) -> dict[str, SeenCost]:
        """Return what each model's requests have cost so far."""
        return read_seen(self.get_meta("costs"))

    def pace(self) -> float | None:
        """Return the learned rate in submissions per second; None before the first submission."""
        saved = self.get_meta("pace")
        return saved["rate"] if saved else None


def _by_column(cursor: Any, rows: Iterable[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Return the rows of a cursor as dictionaries by column."""
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in rows)


def _with_outputs(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one dictionary for each request. found: a row for each output, those of a request
    together.
    """
    for _, group in groupby(found, itemgetter("key")):
        outputs = []
        for request in group:
            output = dict(zip(OUTPUT_COLUMNS, map(request.pop, OUTPUT_COLUMNS), strict=True))
            if output["n"] is not None:
                outputs.append(output)
        request["outputs"] = outputs
        yield request


# Read for each of a million rows: what is JSON is checked where it is decoded.
_first_odd = stored_values.checker(REQUEST_COLUMNS, but=("input", "meta"))
_first_odd_of_file = stored_values.checker(OUTPUT_COLUMNS)


def summary(reader: Reader) -> dict[str, Any]:
    """Return the numbers of a batch for `summary.json`, `--json` and the gallery."""
    found = numbers(reader)
    before = ("rows", "rehearsal", "counts")
    first = {name: found[name] for name in before}
    return {**first, "causes": reader.causes(), **found}


def numbers(reader: Reader) -> dict[str, Any]:
    """Return those of `summary` that are quick to read."""
    counts = reader.counts()
    run, paused = reader.last_run() or {}, reader.get_meta("paused")
    media = reader.get_meta("media")
    return {
        "rows": sum(counts.values()),
        "rehearsal": reader.is_rehearsal(),
        "counts": {str(state): counts.get(state, 0) for state in State},
        "money_usd": reader.money(),
        "paused_since": paused and paused["at"],
        "kept": reader.get_meta("kept") or {},
        "media": str(media) if media else None,
        "run": {
            name: run.get(name)
            for name in ("started_at", "ended_at", "manifest", "exit_code", "ending", "version")
        },
    }
