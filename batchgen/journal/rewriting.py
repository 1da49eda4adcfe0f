"""Rows of an edited list that were sent already, only written differently.

Each row that the journal does not know is compared with the sent rows that the list no longer has.
`core.likeness` says what is alike; SQLite finds it, since both can be a million. Each paid row is
taken at most once, so two rows of one list are never merged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from sqlite3 import Connection
from typing import NamedTuple

from batchgen.batch_folder import JournalPlace
from batchgen.core import likeness
from batchgen.core.states import State
from batchgen.journal.faults import checked

# What cost money or may have, and is not over.
PAID = (
    *(State.SAVED, State.COMPLETED, State.SUBMITTED, State.SUBMITTING, State.UNKNOWN),
    State.WRITTEN_OFF,
)
# What is sent again when a person asks for it, or corrected: so it has no CHANGED row.
HELD = (State.FAILED, State.CANCELLED)
EXAMPLES = 5

# A key of the list that an earlier run found to be another row of the journal. A row that the list
# has itself is not taken, and of two keys of one row the first.
TAKE_BY_ALIAS = """INSERT INTO pairs
    SELECT MIN(position), aliases.row, 'same', rows.key FROM rows
    JOIN journal.aliases AS aliases ON aliases.key = rows.key
    WHERE rows.key NOT IN (SELECT key FROM journal.requests)
        AND aliases.row IN (SELECT key FROM journal.requests)
        AND aliases.row NOT IN (SELECT key FROM rows)
    GROUP BY aliases.row"""
TAKE = """UPDATE rows SET key = pairs.key FROM pairs
    WHERE pairs.position = rows.position AND kind = 'same' AND rows.key = pairs.was"""
HAS_NEW = """SELECT EXISTS (SELECT 1 FROM rows
    WHERE problem = '' AND key NOT IN (SELECT key FROM journal.requests))"""
HAS_ALIKE = """SELECT EXISTS (SELECT 1 FROM rows
    JOIN journal.requests AS paid ON paid.input = rows.input AND paid.model = rows.model
    WHERE problem = '')"""
CREATE_PAID = f"""CREATE TEMP TABLE paid AS
    SELECT key, listed, position, request_form(model, input) AS request,
        CASE WHEN state NOT IN ({", ".join(f"'{state}'" for state in HELD)})
            THEN prompt_form(input) END AS prompt,
        id_form(given_id(key, model, input, id, name)) AS id
    FROM journal.requests WHERE state IN ({", ".join(f"'{state}'" for state in (*PAID, *HELD))})
        AND model <> '' AND key NOT IN (SELECT key FROM rows)"""
CREATE_NEW = """CREATE TEMP TABLE new AS
    SELECT position, key, request_form(model, input) AS request, prompt_form(input) AS prompt,
        id_form(id) AS id
    FROM rows WHERE problem = '' AND key NOT IN (SELECT key FROM journal.requests)"""


class Kind(StrEnum):
    """What a new row is to the paid row that it is paired with."""

    SAME = "same"  # alike but for its writing: it is that row
    RENAMED = "renamed"  # alike but for an id that is another one
    CHANGED = "changed"  # of the same prompt


class Pair(NamedTuple):
    """A new row, and a paid one that the list no longer has. inputs: JSON."""

    source: str
    id: str | None
    model: str
    input: str
    paid_id: str
    paid_model: str
    paid_input: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """How many new rows are of each kind, and some of each."""

    counts: dict[Kind, int]
    examples: dict[Kind, list[Pair]]


def pair_rewritten(connection: Connection, journal: JournalPlace) -> Rewritten:
    """Pair new rows with paid ones, and give those that are the SAME the keys of theirs.

    connection: as `StagedRows.attached` hands it out. What an earlier run took is taken again, and
    is not counted.
    """
    if _has_aliases(connection):
        connection.execute(TAKE_BY_ALIAS)
        connection.execute(TAKE)
    before = connection.execute("SELECT COUNT(*) FROM pairs").fetchone()[0]
    if connection.execute(HAS_NEW).fetchone()[0]:
        _pair(connection)
    rows = connection.execute("SELECT kind, COUNT(*) FROM pairs GROUP BY kind")
    counts = {Kind(kind): count for kind, count in rows}
    if before:
        counts[Kind.SAME] -= before
    # Read before the keys change, as what is known by an alias has its new one already.
    examples = {kind: list(_examples(connection, journal, kind)) for kind in counts}
    if counts.get(Kind.SAME):
        connection.execute(TAKE)
    return Rewritten(counts, examples)


def count_paid(connection: Connection) -> int:
    """Return how many rows of the list are paid ones: as they were, rewritten, or with other ids.

    connection: as `pair_rewritten` takes it. No row is given another key. Where no row has the same
    inputs, none is looked at more closely: nearly all lists are new, and may have a million rows.
    """
    states = ", ".join(f"'{state}'" for state in PAID)
    alike = f"key IN (SELECT key FROM journal.requests WHERE state IN ({states}))"
    try:
        if connection.execute(HAS_ALIKE).fetchone()[0]:
            _pair(connection)
        (count,) = connection.execute(
            f"SELECT (SELECT COUNT(*) FROM rows WHERE {alike})"
            f" + (SELECT COUNT(*) FROM pairs WHERE kind IN (?, ?) AND {alike})",
            (Kind.SAME, Kind.RENAMED),
        ).fetchone()
    finally:
        connection.execute("DELETE FROM pairs")
    return int(count)


def _has_aliases(connection: Connection) -> bool:
    """Say whether the journal has the table; one of before does not, nor does an absent one."""
    query = "SELECT EXISTS (SELECT 1 FROM journal.sqlite_schema WHERE name = 'aliases')"
    return bool(connection.execute(query).fetchone()[0])


def _pair(connection: Connection) -> None:
    for function in (likeness.request_form, likeness.prompt_form, likeness.id_form):
        arguments = 2 if function is likeness.request_form else 1
        connection.create_function(function.__name__, arguments, function, deterministic=True)
    connection.create_function("given_id", 5, likeness.given_id, deterministic=True)
    connection.execute(CREATE_PAID)
    try:
        if connection.execute("SELECT EXISTS (SELECT 1 FROM paid)").fetchone()[0]:
            connection.execute(CREATE_NEW)
            _match(connection, Kind.SAME, "request, id")
            # Ids that were added to a list, or taken out of it.
            _match(connection, Kind.SAME, "request", "new.id = '' OR paid.id = ''")
            _match(connection, Kind.RENAMED, "request")
            _match(connection, Kind.CHANGED, "prompt")
    finally:
        connection.execute("DROP TABLE temp.paid")
        connection.execute("DROP TABLE IF EXISTS temp.new")


def _match(connection: Connection, kind: Kind, columns: str, where: str = "TRUE") -> None:
    """Pair the rows that are alike in `columns`, the first with the first, and take them out."""
    first = "id <> ''"  # where one side lacks ids, its rows find their likes before any others
    connection.execute(
        f"""INSERT INTO pairs SELECT new.position, paid.key, '{kind}', new.key
        FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {columns} ORDER BY {first}, position) AS n
                FROM new) AS new
            JOIN (SELECT *, ROW_NUMBER() OVER
                (PARTITION BY {columns} ORDER BY {first}, listed DESC, position, key) AS n
                FROM paid) AS paid
            USING ({columns}, n)
        WHERE {where}"""
    )
    connection.execute("DELETE FROM temp.new WHERE position IN (SELECT position FROM pairs)")
    connection.execute("DELETE FROM temp.paid WHERE key IN (SELECT key FROM pairs)")


def _examples(connection: Connection, journal: JournalPlace, kind: Kind) -> Iterator[Pair]:
    found = connection.execute(
        """SELECT rows.source, rows.id AS given_id, rows.model AS given_model,
            rows.input AS given_input, paid.id, paid.model, paid.input
        FROM pairs JOIN rows ON rows.position = pairs.position AND rows.key = pairs.was
            JOIN journal.requests AS paid ON paid.key = pairs.key
        WHERE kind = ? ORDER BY pairs.position LIMIT ?""",
        (kind, EXAMPLES),
    )
    return map(Pair._make, checked(found, journal))
