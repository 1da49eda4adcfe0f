"""The tables and views of batch.db, and the migrations that make them.

VERSION is what the last migration leaves in SQLite's `PRAGMA user_version`. A migration that was
released is never changed: a new journal is made by all of them in turn. The rules are in
docs/maintainers/journal-versions.md.

The views answer what people ask of a batch; nothing in the program reads them.
"""

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 4

# The last is where sqlite-utils notes which migrations were made.
TABLES = (
    *("requests", "outputs", "spending", "events", "runs", "memory", "aliases", "commands"),
    "_sqlite_migrations",
)

# SQL: whether a row of `requests` is in the reports. A row that was sent stays in them when the
# manifest no longer has it.
SHOWN = "(requests.listed = 1 OR requests.attempts > 0)"

# SQL: whether a row of `events` is a submission that was answered with a rate limit (429). Before
# version 3, every submission that was not accepted had the same event, and the detail told why.
THROTTLED = "(event = 'throttled' OR (event = 'returned' AND detail = 'rate limit'))"


def m001_first_tables(db: "Database") -> None:
    db.table("requests").create(
        {
            "key": str,
            "id": str,
            "name": str,  # the stem of its files
            "folded": str,  # the name as a case-blind file system sees it
            "position": int,
            "listed": int,  # 1: the last manifest had this row
            "source": str,
            "model": str,
            "input": str,
            "meta": str,
            "state": str,
            "request_id": str,
            "api_status": str,
            "attempts": int,
            "error_code": int,
            "error": str,
            "price": float,
            "cost": float,
            "result": str,
            "created_at": str,
            "submitted_at": str,
            "completed_at": str,
            "saved_at": str,
        },
        pk="key",
        not_null={"key", "id", "name", "folded", "position", "model", "input", "state"},
        defaults={"listed": 1, "attempts": 0, "meta": "{}"},
    )
    requests = db.table("requests")
    requests.create_index(["request_id"], unique=True)
    requests.create_index(["folded"], unique=True)
    requests.create_index(["state", "listed", "position"])
    requests.create_index(["listed", "position"])
    db.table("outputs").create(
        {
            "key": str,
            "n": int,
            "kind": str,
            "url": str,
            "path": str,
            "bytes": int,
            "sha256": str,
            "content_type": str,
            "width": int,
            "height": int,
        },
        pk=("key", "n"),
        foreign_keys=[("key", "requests", "key")],
    )
    db.table("outputs").create_index(["path"], unique=True)
    # What each POST cost or may have cost, in USD; a row that was sent again has several.
    db.table("spending").create(
        {"key": str, "attempt": int, "at": str, "usd": float}, pk=("key", "attempt")
    )
    db.table("spending").create_index(["at"])
    db.table("events").create(
        {
            "seq": int,
            "at": str,
            "run": int,
            "key": str,
            "event": str,
            "from": str,
            "to": str,
            "attempt": int,
            "request_id": str,
            "detail": str,
        },
        pk="seq",
    )
    db.table("events").create_index(["key"])
    db.table("runs").create(
        {
            "id": int,
            "started_at": str,
            "ended_at": str,
            "process": str,
            "version": str,
            "manifest": str,
            "exit_code": int,
            "ending": str,
            "counts": str,
        },
        pk="id",
    )
    # What a run hands to the next, as JSON: the learned rate, the bytes of receipts read so far.
    db.table("memory").create({"name": str, "value": str}, pk="name")
    db.execute("PRAGMA user_version = 1")


def m002_delivered_and_views(db: "Database") -> None:
    # The SHA-256 of what the host delivered, where provenance was written into the file afterwards;
    # null where the file is what was delivered, as in every older journal.
    db.table("outputs").add_column("delivered_sha256", str)
    for name, query in VIEWS_OF_2.items():
        db.create_view(name, query)
    db.execute("PRAGMA user_version = 2")


def m003_throttled(db: "Database") -> None:
    # An event of its own for a 429. The events of older journals stay as they were written.
    db.execute("DROP VIEW IF EXISTS by_hour")
    db.create_view("by_hour", BY_HOUR_OF_3)
    db.execute("PRAGMA user_version = 3")


def m004_written_off(db: "Database") -> None:
    # Why a file is not known to be whole; null where it was checked, as in every older journal.
    db.table("outputs").add_column("note", str)
    # How long a film or a sound plays, in seconds; null where its header does not tell.
    db.table("outputs").add_column("duration", float)
    # A state of its own for a row that a person gave up; it was `failed` before.
    db.execute(
        """UPDATE requests SET state = 'written_off' WHERE state = 'failed' AND
            (SELECT event FROM events WHERE events.key = requests.key ORDER BY seq DESC LIMIT 1)
            = 'written off'"""
    )
    # What came for a submission, where it does not tell whether the request was accepted.
    db.table("requests").add_column("answer", str)
    # Of what made the row, such as a workflow; null where it has no version, and in older journals.
    db.table("requests").add_column("version", str)
    # The keys of rows that a list has rewritten, and of the rows that were paid for in their place.
    db.table("aliases").create({"key": str, "row": str}, pk="key", not_null={"row"})
    # What is asked of a run under way, until the run takes it.
    db.table("commands").create(
        {"seq": int, "at": str, "run": int, "command": str, "value": str, "keep": int},
        pk="seq",
        not_null={"at", "command", "value", "keep"},
        defaults={"value": "", "keep": 0},
    )
    for name, query in VIEWS_OF_4.items():
        db.execute(f"DROP VIEW IF EXISTS {name}")
        db.create_view(name, query)
    db.execute("PRAGMA user_version = 4")


MIGRATIONS = (
    m001_first_tables,
    m002_delivered_and_views,
    m003_throttled,
    m004_written_off,
)


def migrate(connection: sqlite3.Connection, *, stop_before: str | None = None) -> None:
    """Apply the migrations that a journal lacks, each in a transaction of its own.

    stop_before: the name of the first migration to leave out, for tests. Raises sqlite3.Error.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    # Here, since only a new or older journal needs it.
    from sqlite_utils import Database, Migrations

    migrations = Migrations("batchgen")
    for migration in MIGRATIONS:
        migrations()(migration)
    migrations.apply(Database(connection), stop_before=stop_before)


_SECONDS = "(julianday(completed_at) - julianday(submitted_at)) * 86400"
_USD = "ROUND(SUM(usd), 6)"  # null where no price is known
# Hours and days are UTC, as every time in the journal. `files` has no order: sorting a million rows
# would delay a query for ten of them.
VIEWS_OF_2 = {
    "files": """
        SELECT path, id, n, kind, model,
            COALESCE(json_extract(input, '$.prompt'), json_extract(input, '$.text'),
                json_extract(input, '$.tags')) AS prompt,
            input, request_id, width, height, bytes, submitted_at, saved_at
        FROM requests JOIN outputs USING (key) WHERE path IS NOT NULL
        """,
    "by_model": f"""
        SELECT model, COUNT(*) AS rows, SUM(state = 'saved') AS saved,
            SUM(state = 'failed') AS failed, SUM(state = 'unknown') AS unknown,
            SUM(state IN ('pending', 'submitting', 'submitted', 'completed')) AS unfinished,
            SUM(files) AS files, {_USD} AS usd, ROUND(AVG({_SECONDS}), 1) AS mean_seconds
        FROM requests
            LEFT JOIN (SELECT key, SUM(usd) AS usd FROM spending GROUP BY key) USING (key)
            LEFT JOIN (SELECT key, COUNT(path) AS files FROM outputs GROUP BY key) USING (key)
        WHERE {SHOWN} GROUP BY model ORDER BY rows DESC
        """,
    "by_hour": """
        SELECT hour, SUM(submitted) AS submitted, SUM(returned) AS returned,
            SUM(completed) AS completed, SUM(saved) AS saved, SUM(failed) AS failed,
            SUM(files) AS files
        FROM (
            SELECT substr(at, 1, 13) || ':00Z' AS hour, "to" = 'submitted' AS submitted,
                event = 'returned' AS returned, event = 'done' AS completed,
                event = 'saved' AS saved, "to" = 'failed' AS failed, 0 AS files
            FROM events
            UNION ALL
            SELECT substr(saved_at, 1, 13) || ':00Z', 0, 0, 0, 0, 0, 1
            FROM requests JOIN outputs USING (key) WHERE path IS NOT NULL AND saved_at IS NOT NULL
        ) GROUP BY hour ORDER BY hour
        """,
    "by_day": f"""
        SELECT day, model, SUM(requests) AS requests, {_USD} AS usd
        FROM (
            SELECT key, substr(at, 1, 10) AS day, 1 AS requests, NULL AS usd
            FROM events WHERE "to" = 'submitted'
            UNION ALL SELECT key, substr(at, 1, 10), 0, usd FROM spending
        ) JOIN requests USING (key) GROUP BY day, model ORDER BY day, model
        """,
    "by_cause": f"""
        SELECT state, error_code, error AS cause, COUNT(*) AS rows, MIN(id) AS example
        FROM requests WHERE error IS NOT NULL AND state <> 'saved' AND {SHOWN}
        GROUP BY state, error_code, error ORDER BY rows DESC
        """,
    "by_setting": f"""
        SELECT each.key AS setting, CASE WHEN each.type IN ('true', 'false') THEN each.type
            ELSE each.value END AS value, COUNT(*) AS rows,
            SUM(state = 'saved') AS saved, SUM(state = 'failed') AS failed, {_USD} AS usd
        FROM requests JOIN json_each(input) AS each
            LEFT JOIN (SELECT key, SUM(usd) AS usd FROM spending GROUP BY key) AS spent
                ON spent.key = requests.key
        WHERE {SHOWN} AND each.type NOT IN ('object', 'array') AND length(each.value) <= 80
            AND each.key NOT IN ('prompt', 'negative_prompt', 'text', 'tags')
        GROUP BY setting, value ORDER BY setting, rows DESC
        """,
    "slowest": f"""
        SELECT id, model, state, ROUND({_SECONDS}, 1) AS seconds, request_id, submitted_at,
            completed_at
        FROM requests WHERE completed_at IS NOT NULL ORDER BY seconds DESC LIMIT 100
        """,
}

# returned: every submission that was surely not accepted, with those that were throttled.
BY_HOUR_OF_3 = f"""
    SELECT hour, SUM(submitted) AS submitted, SUM(returned) AS returned,
        SUM(throttled) AS throttled, SUM(completed) AS completed, SUM(saved) AS saved,
        SUM(failed) AS failed, SUM(files) AS files
    FROM (
        SELECT substr(at, 1, 13) || ':00Z' AS hour, "to" = 'submitted' AS submitted,
            event IN ('returned', 'throttled') AS returned, {THROTTLED} AS throttled,
            event = 'done' AS completed, event = 'saved' AS saved, "to" = 'failed' AS failed,
            0 AS files
        FROM events
        UNION ALL
        SELECT substr(saved_at, 1, 13) || ':00Z', 0, 0, 0, 0, 0, 0, 1
        FROM requests JOIN outputs USING (key) WHERE path IS NOT NULL AND saved_at IS NOT NULL
    ) GROUP BY hour ORDER BY hour
    """
# Given up by a person is no failure; before version 4 it was stored as one.
# The others say in words of PostgreSQL, too, what they said before.
VIEWS_OF_4 = {
    "by_model": VIEWS_OF_2["by_model"].replace(
        "AS unknown,", "AS unknown, SUM(state = 'written_off') AS written_off,"
    ),
    "by_hour": BY_HOUR_OF_3.replace(
        "\"to\" = 'failed'", "\"to\" = 'failed' AND event <> 'written off'"
    ).replace("0, 0, 0, 0, 0, 0, 1", "FALSE, FALSE, FALSE, FALSE, FALSE, FALSE, 1"),
    "by_setting": VIEWS_OF_2["by_setting"]
    .replace("JOIN json_each", "CROSS JOIN json_each")
    .replace(
        "GROUP BY setting, value ORDER BY setting, rows DESC", "GROUP BY 1, 2 ORDER BY 1, 3 DESC"
    ),
    "slowest": VIEWS_OF_2["slowest"].replace("DESC LIMIT", "DESC NULLS LAST LIMIT"),
}
VIEWS = {**VIEWS_OF_2, **VIEWS_OF_4}
