"""Any history of several machines on one list: no row is paid for twice, and no id is lost.

Hypothesis writes the story over a real database: machines come, take rows, send them, die, sleep
until another lets them go, and wake up with an answer in hand. `BATCHGEN_HISTORIES=1000` tells
more.
"""

import os
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from databases import Database
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from batchgen.clock import Clock
from batchgen.core.addresses import JournalAddress
from batchgen.core.prices import Estimate
from batchgen.core.rows import Row
from batchgen.core.states import Event, State
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.errors import JournalTaken, StorageDamaged
from batchgen.journal.receipts import Receipt
from batchgen.journal.recovery import Recovery
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import HandedIn, Journal, Request

EXAMPLES = int(os.environ.get("BATCHGEN_HISTORIES", "25"))
MODEL = "ideogram/ideogram-v2/generate"
ROWS = 4
PATIENT = replace(DEFAULT_TIMING, machine_gone=0.0, machine_lease=3600.0)
HASTY = replace(PATIENT, machine_lease=0.0)  # takes whoever has rows for asleep
AT = "2026-10-18T03:04:05.678Z"
WHICH = st.integers(0, 5)
# Whether the API accepts it and bills it, and what the program hears: an id, "" for a 429, or None.
COMES_OF_IT: dict[str, tuple[bool, str | None]] = {
    "accepted": (True, "id"), "429": (False, ""), "accepted, and lost": (True, None),
}  # fmt: skip


@dataclass
class Machine:
    """in_hand: rows that it took and has not sent. open: the POSTs without an outcome, each with
    what is going to come of it: an id, "" for a 429, or None for nothing.
    """

    journal: Journal
    in_hand: list[Request] = field(default_factory=list)
    open: list[tuple[Request, str | None]] = field(default_factory=list)


class ManyMachines(RuleBasedStateMachine):
    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database, self.batch = database, JournalAddress(database.url, "list")
        self.machines: list[Machine] = []
        self.billed: Counter[str] = Counter()  # by key: what left us and was accepted
        self.asked: Counter[str] = Counter()  # by key: how often a person had it sent again
        self.heard: set[str] = set()  # ids that reached a machine which lived on

    def teardown(self) -> None:
        for machine in self.machines:
            with suppress(StorageDamaged):
                machine.journal.close()
        self.database.query("DROP SCHEMA IF EXISTS batchgen_list CASCADE")

    def come(self, timing: Any) -> Machine:
        machine = Machine(Journal(self.batch, Clock(), timing))
        machine.journal.store.let_others_start("running")
        return machine

    @initialize()
    def begin(self) -> None:
        first = self.come(PATIENT)
        with closing(StagedRows()) as rows:
            for n in range(1, ROWS + 1):
                rows.add(Row(n, f"list.csv:{n}", f"r{n}", MODEL, {"prompt": f"fox {n}"}, {}))
            Recovery(first.journal).list_rows(rows)
        self.machines = [first, self.come(HASTY)]

    def one(self, which: int) -> Machine:
        return self.machines[which % len(self.machines)]

    def overtaken(self, machine: Machine) -> None:
        """It was let go: it hands in what it gets, and ends."""
        for row, id in machine.open:
            if id:
                machine.journal.hand_in(Receipt(row.key, row.attempts + 1, id, AT))
                self.heard.add(id)
        machine.journal.close()
        self.machines.remove(machine)

    @rule(hasty=st.booleans())
    @precondition(lambda self: len(self.machines) < 3)
    def a_machine_comes(self, hasty: bool) -> None:
        self.machines.append(self.come(HASTY if hasty else PATIENT))

    @rule(which=WHICH, count=st.integers(1, 2), becomes=st.sampled_from([*COMES_OF_IT]))
    @precondition(lambda self: self.machines)
    def sends_a_row(self, which: int, count: int, becomes: str) -> None:
        machine = self.one(which)
        try:
            if not machine.in_hand:
                with machine.journal.transaction():
                    machine.in_hand = machine.journal.take_pending(count, [], [])
            if not machine.in_hand:
                return
            row = machine.in_hand.pop(0)
            known = self.handed_in(row)
            machine.journal.record_submitting(row, Estimate(0.03), [], {})
        except JournalTaken:
            self.overtaken(machine)
            return
        except HandedIn:
            with machine.journal.transaction():
                machine.journal.let_go_of(row.key)
            return
        assert not known, "its id was there"
        accepted, id = COMES_OF_IT[becomes]
        self.billed[row.key] += accepted
        machine.open.append((row, id and f"req-{self.billed.total()}-{row.id}"))

    def handed_in(self, row: Request) -> list[Any]:
        return self.database.query(
            "SELECT request_id FROM batchgen_list.receipts WHERE key = %s", row.key
        )

    @rule(which=WHICH)
    @precondition(lambda self: self.machines)
    def gets_an_answer(self, which: int) -> None:
        machine = self.one(which)
        if not machine.open:
            return
        row, id = machine.open[0]
        try:
            if id:
                machine.journal.record_accepted(row, id)
                self.heard.add(id)
            elif id is None:
                event = Event.OUTCOME_UNKNOWN
                machine.journal.record_not_accepted(row, event, None, "nothing came")
            else:
                machine.journal.record_not_accepted(row, Event.THROTTLED, 429, "rate limit")
                machine.in_hand.append(row)
            machine.open.pop(0)
        except JournalTaken:
            self.overtaken(machine)

    @rule(which=WHICH)
    @precondition(lambda self: self.machines)
    def looks_after_the_others(self, which: int) -> None:
        machine = self.one(which)
        try:
            Recovery(machine.journal).recover([], 0, wait=False)
            with machine.journal.transaction():
                machine.journal.take_accepted(2)
        except JournalTaken:
            self.overtaken(machine)

    @rule(which=WHICH)
    @precondition(lambda self: len(self.machines) > 2)
    def dies(self, which: int) -> None:
        machine = self.one(which)
        machine.journal.connection.raw.close()
        machine.journal.close()  # its other connection
        self.machines.remove(machine)

    @rule(which=WHICH)
    @precondition(lambda self: len(self.machines) > 2)
    def ends_in_order(self, which: int) -> None:
        machine = self.one(which)
        if not machine.open:
            machine.journal.close()
            self.machines.remove(machine)

    @rule()
    def a_person_has_an_unknown_row_sent_again(self) -> None:
        with closing(Journal(self.batch, Clock(), PATIENT)) as journal:
            for row in journal.requests_in(State.UNKNOWN)[:1]:
                journal.record_retry(row.key, "send again")
                self.asked[row.key] += 1

    @invariant()
    def nothing_is_paid_for_twice_unasked(self) -> None:
        twice = {key: n for key, n in self.billed.items() if n > 1 + self.asked[key]}
        assert not twice

    @invariant()
    def no_id_that_was_heard_of_is_lost(self) -> None:
        if not self.heard:
            return
        known = {
            id
            for table in ("requests", "receipts", "events")
            for (id,) in self.database.query(f"SELECT request_id FROM batchgen_list.{table}")
        }
        assert not self.heard - known


def test_any_history_of_several_machines(database: Database) -> None:
    run_state_machine_as_test(
        lambda: ManyMachines(database),
        settings=settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None),
    )
