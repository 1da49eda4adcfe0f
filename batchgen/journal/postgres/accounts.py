"""The accounts to which the batches of a database are sent: the rate of each, and its batches.

They stand in a schema of their own, since an account may have many batches. Whoever submits takes
the account's row, and holds it until his transaction is committed: so no two runs take the same
slot, nor the same dollar below a limit of cost. After that row a transaction waits for no other but
those that keep what later runs have to know, which come last.
"""

from collections.abc import Sequence
from typing import Any

from batchgen.core.addresses import JournalAddress
from batchgen.journal.database import Database, quarter
from batchgen.journal.postgres.connection import quoted, same_database

SCHEMA = "batchgen"  # no batch has this name: theirs begin with batchgen_
_TABLES = (
    "CREATE TABLE IF NOT EXISTS batchgen.accounts (account text PRIMARY KEY, rate text)",
    """CREATE TABLE IF NOT EXISTS batchgen.batches (account text NOT NULL, schema text NOT NULL,
        PRIMARY KEY (account, schema))""",
)
# The time after the row was taken, which may have been waited for.
_TAKE = """WITH taken AS MATERIALIZED (
        SELECT rate FROM batchgen.accounts WHERE account = ? FOR UPDATE)
    SELECT rate, CAST(extract(epoch FROM clock_timestamp()) AS double precision) FROM taken"""

# The same, where somebody has deleted the row.
_MAKE = """INSERT INTO batchgen.accounts (account) VALUES (?)
    ON CONFLICT (account) DO UPDATE SET account = excluded.account
    RETURNING rate, CAST(extract(epoch FROM clock_timestamp()) AS double precision)"""


class Account:
    """An account in the database of a batch. name: tells accounts apart, and no secret.

    Raises StorageDamaged or one of its subclasses, as every method does.
    """

    def __init__(self, journal: Database, name: str) -> None:
        self._journal = journal
        self._name = name
        address: JournalAddress = journal.store.address  # type: ignore[attr-defined]
        self._url, self._schema = address.url, address.schema
        with journal.transaction():
            (there,) = journal.fetch_one("SELECT to_regclass('batchgen.batches') IS NOT NULL")
            if not there:
                self._execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", SCHEMA)
                found = journal.fetch_one("SELECT 1 FROM pg_namespace WHERE nspname = ?", SCHEMA)
                if found is None:
                    self._execute(f"CREATE SCHEMA {SCHEMA}")
                for statement in _TABLES:
                    self._execute(statement)
            for table, values in (("accounts (account)", [name]),
                                  ("batches (account, schema)", [name, self._schema])):  # fmt: skip
                marks = ", ".join("?" * len(values))
                self._execute(
                    f"INSERT INTO batchgen.{table} VALUES ({marks}) ON CONFLICT DO NOTHING", *values
                )

    def _execute(self, sql: str, *values: Any) -> None:
        self._journal.connection.execute(sql, values)

    def take(self) -> tuple[str | None, float]:
        """Keep others from submitting until the open transaction ends.

        Returns what is kept of the rate, None before the first, and the time by the database's
        clock, in seconds since the epoch.
        """
        rate, now = self._journal.fetch_one(_TAKE, self._name) or self._journal.fetch_one(
            _MAKE, self._name
        )
        return rate, float(now)

    def keep(self, rate: str) -> None:
        """Keep something of the rate, inside the transaction that took the account."""
        self._execute("UPDATE batchgen.accounts SET rate = ? WHERE account = ?", rate, self._name)

    def rate(self) -> tuple[str | None, float]:
        """As `take`, of what is committed, and without keeping anybody."""
        ((rate, now),) = self._journal.fetch_committed(
            "SELECT (SELECT rate FROM batchgen.accounts WHERE account = ?),"
            " CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
            self._name,
        )
        return rate, float(now)

    def counts(self, address: JournalAddress) -> bool:
        """Return whether a batch is one of those here that are sent to the account."""
        if not same_database(address.url, self._url):
            return False
        found = self._journal.fetch_committed(
            "SELECT 1 FROM batchgen.batches WHERE account = ? AND schema = ?",
            self._name,
            address.schema,
        )
        return bool(found)

    def committed_by_others(self, since: str) -> float:
        """Return the USD that its other batches here have spent or may have spent since a time."""
        found = self._journal.fetch_committed(
            "SELECT schema FROM batchgen.batches WHERE account = ? AND schema <> ?"
            " AND to_regclass(quote_ident(schema) || '.spent') IS NOT NULL",
            self._name,
            self._schema,
        )
        if not found:
            return 0.0
        spent = " UNION ALL ".join(f"SELECT * FROM {quoted(schema)}.spent" for (schema,) in found)
        sums: Sequence[Any] = self._journal.fetch_committed(
            f"SELECT COALESCE(SUM(usd), 0) FROM ({spent}) AS spent WHERE quarter >= ?",
            quarter(since),
        )
        return max(float(sums[0][0]), 0.0)
