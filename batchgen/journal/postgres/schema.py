"""The tables, indexes and views of a batch in PostgreSQL: those that the migrations give batch.db.

They are read out of a new SQLite journal, so nothing of them is said twice. PostgreSQL gets what a
view or a question takes for granted there: a few functions under SQLite's names.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from batchgen.errors import NewerJournal, StorageDamaged
from batchgen.journal.postgres.connection import PostgresConnection, quoted
from batchgen.journal.schema import TABLES, VERSION, VIEWS, migrate

_TYPES = {"INTEGER": "bigint", "TEXT": 'text COLLATE "C"', "FLOAT": "double precision"}
_TYPES["REAL"] = _TYPES["FLOAT"]
# Each run has a row in `machines` while it is there: its transactions begin by counting one on in
# `writes`, and one whose row is gone writes nothing more. `owner` of a row of `requests` is the
# epoch of the run that has it. `spent` has the sums of `spending` by run and quarter of an hour, so
# that a limit of cost looks at few rows. Into `receipts`, whoever holds the id of a request that he
# may not write himself puts it.
_OF_ITS_OWN = (
    "CREATE TABLE journal_version (version bigint NOT NULL)",
    f"INSERT INTO journal_version VALUES ({VERSION})",
    """CREATE TABLE machines (epoch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run text NOT NULL, process text NOT NULL, doing text NOT NULL,
        since timestamptz NOT NULL DEFAULT clock_timestamp(),
        seen timestamptz NOT NULL DEFAULT clock_timestamp(), writes bigint NOT NULL DEFAULT 0,
        read_to bigint)""",
    """CREATE TABLE spent (epoch bigint NOT NULL, quarter text COLLATE "C" NOT NULL,
        usd double precision NOT NULL, PRIMARY KEY (epoch, quarter))""",
    """CREATE TABLE receipts (key text NOT NULL, attempt bigint NOT NULL, request_id text NOT NULL,
        at text NOT NULL, PRIMARY KEY (key, attempt, request_id))""",
)
_OF_ROWS = (
    "ALTER TABLE requests ADD COLUMN owner bigint",
    "CREATE INDEX ON requests (owner) WHERE owner IS NOT NULL",
)
# As SQLite has them, of what is asked here.
_FUNCTIONS = r"""
    CREATE FUNCTION instr(text, text) RETURNS integer LANGUAGE sql IMMUTABLE AS
        $$ SELECT strpos($1, $2) $$;
    CREATE FUNCTION round(double precision, integer) RETURNS double precision
        LANGUAGE sql IMMUTABLE AS
        $$ SELECT pg_catalog.round($1::numeric, $2)::double precision $$;
    CREATE FUNCTION julianday(text) RETURNS double precision LANGUAGE sql STABLE AS
        $$ SELECT extract(epoch FROM $1::timestamptz)::double precision / 86400 + 2440587.5 $$;
    CREATE FUNCTION counted(bigint, boolean) RETURNS bigint LANGUAGE sql IMMUTABLE AS
        $$ SELECT $1 + COALESCE($2, FALSE)::integer $$;
    CREATE AGGREGATE sum(boolean) (SFUNC = counted, STYPE = bigint, INITCOND = '0');
    CREATE FUNCTION json_valid(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS
        $$ SELECT $1 IS JSON $$;
    CREATE FUNCTION json_extract(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS
        $$ SELECT $1::json ->> substr($2, 3) $$;
    CREATE FUNCTION json_text(json) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE WHEN $1::text ~* '\\u(0000|d[89a-f])' THEN $1::text ELSE $1 #>> '{}' END $$;
    CREATE FUNCTION json_kind(json) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE json_typeof($1) WHEN 'string' THEN 'text' WHEN 'boolean' THEN $1::text
            WHEN 'number' THEN CASE WHEN $1::text ~ '^-?[0-9]+$' THEN 'integer' ELSE 'real' END
            ELSE json_typeof($1) END $$;
    CREATE FUNCTION json_each(text) RETURNS TABLE (key text, value text, type text, id bigint)
        LANGUAGE sql IMMUTABLE AS $$
        SELECT e.key, here.json_text(e.value), here.json_kind(e.value), e.n
        FROM pg_catalog.json_each($1::json) WITH ORDINALITY AS e (key, value, n) $$;
    CREATE FUNCTION json_tree(text) RETURNS TABLE (key text, value text, type text)
        LANGUAGE sql IMMUTABLE AS $$
        WITH RECURSIVE tree (key, value) AS (
            SELECT NULL::text, $1::json
            UNION ALL SELECT inner_.key, inner_.value FROM tree, LATERAL (
                SELECT e.key, e.value FROM pg_catalog.json_each(CASE json_typeof(tree.value)
                    WHEN 'object' THEN tree.value ELSE '{}' END) AS e
                UNION ALL SELECT NULL, a.value FROM json_array_elements(
                    CASE json_typeof(tree.value) WHEN 'array' THEN tree.value ELSE '[]' END) AS a
            ) AS inner_)
        SELECT key, here.json_text(value), here.json_kind(value) FROM tree $$;
"""


def version_of(connection: PostgresConnection) -> int | None:
    """Return the version of a batch's journal; None if there is none.

    Raises NewerJournal, and StorageDamaged where the schema is of something else.
    """
    schema = connection.address.schema
    there = connection.execute(
        "SELECT to_regclass(?) IS NOT NULL, to_regclass(?) IS NOT NULL",
        (f"{quoted(schema)}.journal_version", f"{quoted(schema)}.requests"),
    ).fetchone()
    if there == (False, False):
        return None
    if there != (True, True):
        raise StorageDamaged(
            f"{connection.address}: the schema {schema} holds tables of something else. Nothing"
            " was sent.",
            "Give the batch another name with --batch.",
        )
    (version,) = connection.execute("SELECT version FROM journal_version").fetchone()
    if version > VERSION:
        raise NewerJournal(str(connection.address), version, VERSION)
    return int(version)


def create(connection: PostgresConnection) -> None:
    """Make schema, tables and views of a batch, inside a transaction of the caller."""
    # Where somebody has made it for this user, the right to make schemas is not needed.
    schema = connection.address.schema
    found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = ?", (schema,))
    if found.fetchone() is None:
        connection.script(f"CREATE SCHEMA {quoted(schema)}")
    connection.script(_FUNCTIONS.replace("here.", f"{quoted(schema)}."))
    for statement in (*_OF_ITS_OWN, *statements(), *_OF_ROWS):
        connection.script(statement)


def statements() -> Iterator[str]:
    """Yield what makes the tables, indexes and views that a new batch.db has."""
    with closing(sqlite3.connect(":memory:")) as model:
        migrate(model)
        for table in TABLES:
            if not table.startswith("_"):
                yield _table(model, table)
                yield from _indexes(model, table)
        for name, query in VIEWS.items():
            yield f"CREATE VIEW {name} AS {query}"


def columns_of(model: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in model.execute(f"PRAGMA table_info({table})")]


def keys_of(model: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns of a table's primary key, in its order."""
    found = model.execute(f"PRAGMA table_info({table})").fetchall()
    return [row[1] for row in sorted(found, key=lambda row: row[5]) if row[5]]


def _table(model: sqlite3.Connection, table: str) -> str:
    found = model.execute(f"PRAGMA table_info({table})").fetchall()
    keys = keys_of(model, table)
    lines = []
    for _, name, kind, not_null, default, key in found:
        line = f"{quoted(name)} {_TYPES[kind]}"
        if keys == [name] and kind == "INTEGER":
            line += " GENERATED BY DEFAULT AS IDENTITY"
        if not_null or key:
            line += " NOT NULL"
        if default is not None:
            line += f" DEFAULT {default}"
        lines.append(line)
    lines.append(f"PRIMARY KEY ({', '.join(map(quoted, keys))})")
    return f"CREATE TABLE {quoted(table)} ({', '.join(lines)})"


def _indexes(model: sqlite3.Connection, table: str) -> Iterator[str]:
    for _, name, unique, origin, _ in model.execute(f"PRAGMA index_list({table})").fetchall():
        if origin == "c":
            parts = [row[2] for row in model.execute(f"PRAGMA index_info({name})")]
            kind = "UNIQUE INDEX" if unique else "INDEX"
            yield f"CREATE {kind} ON {quoted(table)} ({', '.join(map(quoted, parts))})"
