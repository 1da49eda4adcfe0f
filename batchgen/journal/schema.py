"""batch.db: its tables, its views, and how older ones become today's. Source: design.md, "Journal".

The views answer what people ask of a batch; nothing in the program reads them. The last of the
migrations leaves `storage.VERSION` behind.
"""

from sqlite_utils import Database, Migrations

migrations = Migrations("batchgen")


@migrations()
def m001_first_tables(db: Database) -> None:
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
    # What a run hands to the next: the learned pace and times, the receipts read so far.
    db.table("memory").create({"name": str, "value": str}, pk="name")
    db.execute("PRAGMA user_version = 1")


@migrations()
def m002_delivered_and_views(db: Database) -> None:
    # The hash of what the host delivered, where the file is not that to the byte any more since its
    # facts were written into it; null where it is, as in every older journal.
    db.table("outputs").add_column("delivered_sha256", str)
    for name, query in VIEWS.items():
        db.create_view(name, query)
    db.execute("PRAGMA user_version = 2")


_SHOWN = "(listed = 1 OR attempts > 0)"  # the rows that the reports have
_SECONDS = "(julianday(completed_at) - julianday(submitted_at)) * 86400"
_USD = "ROUND(SUM(usd), 6)"  # null where no price is known
# Hours and days are UTC, as every time in the journal. Without an order where there can be a
# million rows: whoever wants ten should not wait until all are sorted.
VIEWS = {
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
        WHERE {_SHOWN} GROUP BY model ORDER BY rows DESC
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
        FROM requests WHERE error IS NOT NULL AND state <> 'saved' AND {_SHOWN}
        GROUP BY state, error_code, error ORDER BY rows DESC
        """,
    "by_setting": f"""
        SELECT each.key AS setting, CASE WHEN each.type IN ('true', 'false') THEN each.type
            ELSE each.value END AS value, COUNT(*) AS rows,
            SUM(state = 'saved') AS saved, SUM(state = 'failed') AS failed, {_USD} AS usd
        FROM requests JOIN json_each(input) AS each
            LEFT JOIN (SELECT key, SUM(usd) AS usd FROM spending GROUP BY key) AS spent
                ON spent.key = requests.key
        WHERE {_SHOWN} AND each.type NOT IN ('object', 'array') AND length(each.value) <= 80
            AND each.key NOT IN ('prompt', 'negative_prompt', 'text', 'tags')
        GROUP BY setting, value ORDER BY setting, rows DESC
        """,
    "slowest": f"""
        SELECT id, model, state, ROUND({_SECONDS}, 1) AS seconds, request_id, submitted_at,
            completed_at
        FROM requests WHERE completed_at IS NOT NULL ORDER BY seconds DESC LIMIT 100
        """,
}
