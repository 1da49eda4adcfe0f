"""The tables of batch.db and how older ones become today's. Source: design.md, "Journal".

The last of the migrations leaves `storage.VERSION` behind.
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
