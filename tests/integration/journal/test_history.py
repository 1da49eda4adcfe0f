"""Any history: whatever is answered and wherever we are killed, no row is paid for twice.

Hypothesis writes the story over a real journal and real receipts. The ledger of a pretend API is
the judge: it knows what left us, and what of that a person had asked for. Each history has up to
ten chapters; `BATCHGEN_HISTORIES=5000 python -m pytest tests/integration/journal/test_history.py`
tells many more.
"""

import asyncio
import atexit
import gzip
import json
import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from databases import Database
from helpers import told
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

from batchgen.api.deployment_outcome import classify_deployment_result, classify_inference
from batchgen.api.poll_outcome import (
    Cancelled,
    Completed,
    Failed,
    Missing,
    Running,
    Unclear,
    classify_result,
)
from batchgen.api.response import Response, decode
from batchgen.api.submit_outcome import classify_submit
from batchgen.clock import Clock, to_iso
from batchgen.core.addresses import JournalAddress
from batchgen.core.budget import CostLimits, active_limits
from batchgen.core.expiry import DAY_S, PAID_BUT_GONE, has_expired
from batchgen.core.prices import Estimate
from batchgen.core.rows import Entry, Place, Problem, Row
from batchgen.core.states import SURELY_NOT_ACCEPTED, Event, State, makes_nothing_again
from batchgen.engine.held_rows import HeldRow, HeldRows
from batchgen.journal.files import StoredFile
from batchgen.journal.receipts import Receipt, ReceiptLog
from batchgen.journal.recovery import Recovery
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import CostLimitReached, Journal, RequestIdInUse

EXAMPLES = int(os.environ.get("BATCHGEN_HISTORIES", "60"))
MODEL = "ideogram/ideogram-v2/generate"
PRICE = 0.03
GONE = aiohttp.ClientOSError("connection reset by peer")


@dataclass(frozen=True)
class Answer:
    """What comes back for a POST. taken: the API accepted the request, and bills it.

    `ID` in the body stands for the request's id, `OTHER` for one that another row has.
    """

    name: str
    reply: Response
    taken: bool = False

    def __repr__(self):
        return self.name


def says(name, status, body, *, taken=False, error=None):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(name, decode(status, {}, raw, error, 0.0), taken)


URL = "https://model-api.runcomfy.net/v1/requests/ID/status"
NO_ROUTE = aiohttp.ClientConnectionError("no route")
ANSWERS = [
    says("accepted", 200, {"request_id": "ID", "status_url": URL}, taken=True),
    says("accepted beside an error", 200, {"request_id": "ID", "error": "slow"}, taken=True),
    says("accepted, cut after the id", 200, b'{"request_id": "ID", "sta', taken=True, error=GONE),
    says("accepted, cut in the id", 200, b'{"request_id": "I', taken=True, error=GONE),
    says("the id of another row", 200, {"request_id": "OTHER"}, taken=True),
    says("a page, and accepted", 200, b"<html>", taken=True),
    says("502, and accepted", 502, b"", taken=True),
    says("500, not accepted", 500, b""),
    says("408, and accepted", 408, b"", taken=True),
    says("422", 422, {"detail": [{"loc": ["body", "seed"], "msg": "too large"}]}),
    says("429", 429, {"error_code": 429}),
    says("no balance", 400, {"error_code": 400002}),
    says("no funds", 400, {"error_code": 10001}),
    says("disabled, in a 200", 200, {"error_code": 10002}),
    says("a full queue, in a 200", 200, {"error_code": 429001, "message": "the queue is full"}),
    says("token refused", 401, {"error_code": 401001}),
    says("307", 307, b""),
    says("403 of a firewall", 403, b"<html>"),
    says("403001", 403, {"error_code": 403001}),
    says("accepted, compressed", 200, gzip.compress(b'{"request_id": "ID"}'), taken=True),
    says("an id of another shape", 200, {"request_id": ["ID"]}, taken=True),
    Answer("lost, and accepted", Response(error=aiohttp.SocketTimeoutError()), taken=True),
    Answer("lost, not accepted", Response(error=GONE)),
    Answer("cancelled by us, and accepted", Response(error=asyncio.CancelledError()), True),
    Answer(
        "never opened", Response(body_sent=False, error=aiohttp.ClientConnectionError("no route"))
    ),
]
DEATHS = ["before W1", "after W1", "W2 failed", "after W2", "after the receipt"]
ANSWER = st.sampled_from(ANSWERS) | st.sampled_from(ANSWERS[:5])
DEATH = st.none() | st.none() | st.sampled_from(DEATHS)
PICK = st.integers(0, 7)
IDS = [None, None, "hero", "Hero", "heron"]
PROMPTS = ["a fox", "a boat", "a lighthouse"]
ROW = st.tuples(st.sampled_from(IDS), st.sampled_from(PROMPTS), st.booleans())
EDITS = st.tuples(st.sampled_from(["add", "add", "change", "remove"]), PICK, ROW)
DICE = st.none() | st.randoms(use_true_random=False)
RARELY = st.sampled_from([False, False, False, True])
ENDS = ["done", "done, with a cost", "done, two files", "nothing made", "failed", "cancelled"]
NO_ENDS = ["running", "500", "another id", "garbage", "not known"]


class PretendClock(Clock):
    time = 1_800_000_000.0

    def now(self):
        self.time += 1
        return self.time


class Killed(Exception):
    """The process is gone, with whatever it had not written."""


class Ledger:
    """What the pretend API saw, and what of that was asked for.

    has_left: rows of which a body left us, until a person asks for another.
    receipted: those of them whose receipt is written. owner: the row of each id.
    reached: the id that each row was given, as far as it came to us. billed: USD by id.
    for_nothing: POSTs that left us, were not accepted, and did not say so.
    asked: rows that a person asked for, and that did not leave us since.
    """

    def __init__(self):
        self.has_left = set()
        self.receipted = set()
        self.reached = {}
        self.owner = {}
        self.billed = {}
        self.for_nothing = 0
        self.asked = set()

    def leaves(self, key):
        assert key not in self.has_left, "a row was sent again unasked"
        self.has_left.add(key)
        self.receipted.discard(key)
        self.asked.discard(key)

    def accepts(self, key):
        id = f"req-{len(self.owner) + 1}"
        self.owner[id] = key
        self.billed[id] = PRICE
        return id

    def asked_for(self, key):
        self.has_left.discard(key)
        self.reached.pop(key, None)
        self.asked.add(key)


@dataclass(frozen=True)
class Run:
    """What happens in one run: each step is one of its methods below, with arguments.

    dies: 1 when receipts were read, 2 when the manifest was.
    """

    story: list
    retries: bool
    resubmits: bool
    backs_up: bool
    dies: int


STEPS = st.one_of(
    st.tuples(st.just("send"), ANSWER, DEATH, PICK),
    st.tuples(st.just("send"), ANSWER, DEATH, PICK),
    st.tuples(st.just("ask"), st.sampled_from(ENDS * 2 + NO_ENDS), PICK, RARELY),
    st.tuples(st.just("fetch"), RARELY, PICK, RARELY),
)
RUNS = st.builds(
    Run,
    story=st.lists(STEPS, min_size=3, max_size=12),
    retries=RARELY,
    resubmits=RARELY,
    backs_up=RARELY,
    dies=st.sampled_from([0, 0, 0, 0, 1, 2]),
)


@cache
def empty_journal():
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "batch.db"
    Journal(path, Clock()).close()
    return path


class AnyHistory(RuleBasedStateMachine):
    """After each rule a run is open, if it was not killed: only then are there things to say."""

    target = MODEL
    prompt_at = "prompt"
    classify_submit = staticmethod(classify_submit)
    classify_result = staticmethod(classify_result)

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.begin()
        self.clock = PretendClock()
        self.ledger = Ledger()
        self.in_doubt = set()  # keys of rows whose answer was lost
        self.manifest = [(None, "a fox", True), ("hero", "a boat", True), (None, "a fox", True)]
        self.journal = self.receipts = self.cap = None
        self.books_are_whole = True  # no journal was ever lost or set back

    def teardown(self):
        self.kill()
        shutil.rmtree(self.folder)

    @initialize(cap=st.sampled_from([None, None, 0.06, 0.12]))
    def a_person_sets_a_limit(self, cap):
        self.cap = cap

    @rule(run=RUNS)
    def cron_starts_a_run(self, run):
        self.live_through(run)

    @rule(edits=st.lists(EDITS, min_size=1, max_size=4), dice=DICE, run=RUNS)
    def the_manifest_is_edited(self, edits, dice, run):
        for edit in edits:
            self.edit(*edit)
        if dice is not None:
            dice.shuffle(self.manifest)
        self.live_through(run)

    @rule(
        state=st.sampled_from([State.FAILED, State.UNKNOWN, State.CANCELLED, State.WRITTEN_OFF]),
        run=RUNS,
    )
    def a_person_asks_for_a_row_to_be_sent_again(self, state, run):
        self.kill()
        self.journal = self.open_journal()
        if rows := self.rows(state):
            self.journal.record_retry(rows[0].key, "batchgen retry")
            self.asked_for(rows[0].key)
        self.live_through(run)

    @rule(run=RUNS)
    def a_week_passes(self, run):
        self.clock.time += 7 * DAY_S
        self.live_through(run)

    @rule(finds_it=st.booleans(), dies=RARELY, which=PICK, run=RUNS)
    def a_person_settles_an_unknown_row(self, finds_it, dies, which, run):
        """Having looked into the account: the request is there, or the row is given up."""
        self.kill()
        self.journal = self.open_journal()
        if rows := self.rows(State.UNKNOWN):
            row = rows[which % len(rows)]
            if finds_it:
                self.attach(row, dies)
            else:
                self.journal.record_written_off(row)
                self.in_doubt.discard(row.key)
        self.live_through(run)

    def attach(self, row, dies):
        """What `batchgen resolve --attach` does once the API has confirmed the request."""
        known = [
            id for (id,) in self.query("SELECT request_id FROM requests WHERE request_id > ''")
        ]
        if known:
            with pytest.raises(RequestIdInUse):
                self.journal.record_attached(row, known[0])
        own = [id for id, key in self.ledger.owner.items() if key == row.key and id not in known]
        if own:
            self.journal.record_attached(row, own[-1])
            self.is_known(row, own[-1])
            if not dies:
                receipt = Receipt(row.key, row.attempts, own[-1], self.journal.now())
                with ReceiptLog(self.folder / "receipts.log") as receipts:
                    receipts.append(receipt)
                self.ledger.receipted.add(row.key)

    @rule(deleted=st.booleans(), run=RUNS)
    def the_journal_is_deleted_or_set_back_to_an_older_backup(self, deleted, run):
        self.kill()
        if deleted or self.has_backup():
            self.lose_journal()
            # A backup from before that is of another story: its attempts have the same numbers.
            self.set_back(deleted=deleted)
        self.live_through(run)

    def edit(self, how, which, row):
        """Add, change or remove a row."""
        n = which % (len(self.manifest) or 1)
        if how == "add" and (row[0] is None or row[0] not in [id for id, *_ in self.manifest]):
            self.manifest.insert(n, row)
        elif how == "change" and self.manifest:
            self.manifest[n] = (self.manifest[n][0], *row[1:])
        elif how == "remove" and self.manifest:
            self.manifest.pop(n)

    def lose_journal(self):
        """Only what is in receipts.log can be known from now on; the rest is the person's risk."""
        self.books_are_whole = False
        self.in_doubt.clear()
        self.ledger.asked.clear()
        self.ledger.has_left &= self.ledger.receipted
        written = {receipt.request_id for receipt in self.written()}
        self.ledger.reached = {k: id for k, id in self.ledger.reached.items() if id in written}

    # -- a run ---------------------------------------------------------------------------------

    def live_through(self, run):
        self.kill()
        try:
            self.start(run)
            for step, *details in run.story:
                getattr(self, step)(*details)
        except Killed:
            self.kill()
        if run.backs_up:
            self.kill()
            self.back_up()

    # -- the journal as a whole ------------------------------------------------------------------

    def begin(self):
        """With a journal without rows: its migrations take longer than a run of the story."""
        shutil.copy(empty_journal(), self.folder / "batch.db")

    def open_journal(self):
        return Journal(self.folder / "batch.db", self.clock)

    def has_backup(self):
        return (self.folder / "backup.db").exists()

    def back_up(self):
        shutil.copy(self.folder / "batch.db", self.folder / "backup.db")

    def set_back(self, *, deleted):
        for path in self.folder.glob("batch.db*"):
            path.unlink()
        if deleted:
            (self.folder / "backup.db").unlink(missing_ok=True)
        else:
            shutil.copy(self.folder / "backup.db", self.folder / "batch.db")

    # -- the steps of a run ----------------------------------------------------------------------

    def start(self, run):
        """What wiring does before anything is sent."""
        self.receipts = ReceiptLog(self.folder / "receipts.log")
        self.journal = self.open_journal()
        intake = Recovery(self.journal)
        intake.recover(intake.unread(self.receipts), self.receipts.end)
        self.die_if(run.dies, 1)
        intake.complete(self.receipts)
        self.ledger.receipted |= set(self.ledger.reached)
        self.list_rows(intake)
        self.die_if(run.dies, 2)
        if run.retries:
            self.reopen(intake, State.FAILED)
        if run.resubmits:
            self.reopen(intake, State.UNKNOWN)
        self.journal.start_run("list.csv", {})
        self.held = HeldRows()

    def list_rows(self, intake):
        listing = StagedRows()
        for position, (id, prompt, is_valid) in enumerate(self.manifest, 1):
            values, place = {self.prompt_at: prompt}, Place("list.csv", position)
            if is_valid:
                listing.add(Row(position, place.source, id, self.target, values, {}))
            else:
                problem = Problem(place, "it is too long", field=self.prompt_at)
                entry = Entry(position, place, id, None, values)
                listing.add_invalid(entry, self.target, [problem])
        intake.list_rows(listing)
        listing.close()

    def reopen(self, intake, state):
        for row in self.rows(state):
            if self.is_listed(row) and not self.made_nothing(row):
                self.asked_for(row.key)
        intake.reopen(state, "a flag")

    def send(self, answer, dies, which):
        """What Submitter does with a row, in its order."""
        held = {row.key for row in self.held.rows}
        due = [row for row in self.journal.next_pending(0, []) if row.key not in held]
        if not due:
            return
        row = due[which % len(due)]
        self.die_if(dies, "before W1")
        if not answer.reply.body_sent:
            assert told(self.classify_submit(answer.reply)).event is None
            return
        try:
            limits = active_limits(
                CostLimits(batch=self.cap), datetime.fromtimestamp(self.clock.now(), UTC)
            )
            self.journal.record_submitting(
                row, Estimate(PRICE), limits, {"pace": {"next_at": self.clock.now()}}
            )
        except CostLimitReached:
            assert self.journal.committed_usd() + PRICE > self.cap
            return
        self.ledger.leaves(row.key)
        self.in_doubt.add(row.key)
        self.ledger.for_nothing += not answer.taken
        reply = self.replied(row, answer)
        self.die_if(dies, "after W1")
        verdict = told(self.classify_submit(reply))
        if verdict.request_id is not None:
            sent_at = self.clock.now()
            self.keep_id(row, verdict.request_id, dies)
            for blocked in self.held.on_accepted(sent_at):
                self.journal.record_blocked(blocked.key, blocked.code, blocked.reason)
            return
        self.journal.record_not_accepted(row, verdict.event, verdict.code, verdict.reason)
        if verdict.event in SURELY_NOT_ACCEPTED:
            self.ledger.has_left.discard(row.key)
        if verdict.event is not Event.OUTCOME_UNKNOWN:
            assert not answer.taken
            self.ledger.for_nothing -= 1
            self.in_doubt.discard(row.key)
        if verdict.stop == "row":
            self.held.on_blocked(
                HeldRow(row.key, row.id, verdict.reason, verdict.code, self.clock.now())
            )

    def replied(self, row, answer):
        """The answer with the id that the API gave, having taken the request or not."""
        id = self.ledger.accepts(row.key) if answer.taken else "none"
        other = (self.known_ids() or [id])[0]
        content = answer.reply.content.replace(b"ID", id.encode())
        content = content.replace(b"OTHER", other.encode())
        return decode(answer.reply.status, {}, content, answer.reply.error, 0.0)

    def keep_id(self, row, request_id, dies):
        is_its_own = self.ledger.owner.get(request_id) == row.key
        if dies != "W2 failed" or not is_its_own:
            try:
                self.journal.record_accepted(row, request_id)
            except RequestIdInUse as twice:
                self.journal.record_not_accepted(row, Event.OUTCOME_UNKNOWN, None, twice.what)
                return
            self.is_known(row, request_id)
            self.die_if(dies, "after W2")
        at = to_iso(self.clock.now())
        self.receipts.append(Receipt(row.key, row.attempts + 1, request_id, at))
        self.ledger.receipted.add(row.key)
        self.is_known(row, request_id)
        if dies in ("W2 failed", "after the receipt"):
            raise Killed

    def is_known(self, row, request_id):
        self.ledger.reached[row.key] = request_id
        self.in_doubt.discard(row.key)

    def ask(self, says, which, dies):
        if rows := self.rows(State.SUBMITTED):
            self.settle(rows[which % len(rows)], says)
            self.die_if(dies, True)

    def settle(self, row, says):
        """What Watcher does with an answer."""
        reply = self.result(row.request_id, says)
        outcome = self.classify_result(reply, row.request_id)
        assert isinstance(outcome, Running | Unclear | Missing) == (says in NO_ENDS)
        match outcome:
            case Missing(reason, code) if self.has_expired(row):
                self.journal.record_ended(row, Event.FAILED, code, f"{PAID_BUT_GONE}: {reason}")
            case Completed(api_status, urls, cost):
                self.bill(row, cost)
                self.journal.record_completed(row, api_status, dict(enumerate(urls, 1)), cost, "{}")
            case Failed(reason, code, _, cost):
                self.bill(row, cost)
                self.journal.record_ended(row, Event.FAILED, code, reason, cost=cost)
            case Cancelled(_, cost):
                cost = 0.0 if cost is None else cost
                self.bill(row, cost)
                self.journal.record_ended(row, Event.CANCELLED, None, "cancelled", cost=cost)

    def has_expired(self, row):
        return has_expired(self.clock.now() - row.submitted_at)

    def bill(self, row, cost):
        if cost is not None:
            self.ledger.billed[row.request_id] = cost

    def fetch(self, is_gone, which, dies):
        """What Collector does with an output."""
        if not (rows := self.rows(State.COMPLETED)):
            return
        row = rows[which % len(rows)]
        missing = [output for output in self.journal.get_outputs(row.key) if output.path is None]
        path = f"images/{row.name}-{missing[0].n}.png"
        file = StoredFile(path, "image", 9, "0", None, "image/png", None, None)
        if is_gone and self.has_expired(row):
            self.journal.record_ended(row, Event.FAILED, None, PAID_BUT_GONE)
        elif is_gone and len(missing) < len(self.journal.get_outputs(row.key)):
            self.journal.record_saved_without(row, missing)  # URLs beside the output
        elif is_gone:
            self.journal.set_error(row, "the host of the output answered 404")
        elif len(missing) > 1:
            self.journal.record_file(missing[0], file)
        else:
            self.journal.record_saved(row, missing[0], file)
        self.die_if(dies, True)

    # -- what is always true ---------------------------------------------------------------------

    @precondition(lambda self: self.journal is not None)
    @invariant()
    def no_row_whose_answer_was_lost_is_anything_but_unknown(self):
        states = dict(self.query("SELECT key, state FROM requests"))

        assert {states.get(key) for key in self.in_doubt} <= {State.UNKNOWN}

    @precondition(lambda self: self.journal is not None)
    @invariant()
    def no_row_is_left_in_the_middle_of_being_sent(self):
        assert self.rows(State.SUBMITTING) == []

    @precondition(lambda self: self.journal is not None)
    @invariant()
    def every_row_has_the_id_that_reached_us_and_is_followed(self):
        rows = {row.key: row for state in State for row in self.rows(state)}
        for key, id in self.ledger.reached.items():
            assert rows[key].request_id == id
            assert rows[key].state not in (State.PENDING, State.INVALID, State.UNKNOWN)

    @precondition(lambda self: self.journal is not None)
    @invariant()
    def every_row_that_a_person_asked_for_is_to_be_sent(self):
        states = dict(self.query("SELECT key, state FROM requests"))

        # Of these too, one that surely never left, and is listed no more, is forgotten.
        assert {states.get(key, State.PENDING) for key in self.ledger.asked} <= {State.PENDING}

    @precondition(lambda self: self.journal is not None)
    @invariant()
    def every_id_is_its_own_rows(self):
        for key, id in self.query("SELECT key, request_id FROM requests WHERE request_id > ''"):
            assert self.ledger.owner[id] == key

    @precondition(lambda self: self.journal is not None)
    @invariant()
    def what_the_journal_counts_is_what_it_holds(self):
        ((committed,),) = self.query("SELECT COALESCE(SUM(usd), 0) FROM spending")

        assert self.journal.committed_usd() == pytest.approx(committed)
        assert +self.journal.state_counts == self.journal.count_states()

    @precondition(lambda self: self.journal is not None)
    @invariant()
    def every_cent_is_counted_and_no_more_spent_than_the_person_allowed(self):
        may_cost = sum(self.ledger.billed.values()) + PRICE * self.ledger.for_nothing
        if self.books_are_whole:
            assert self.journal.committed_usd() == pytest.approx(may_cost)
        if self.cap is not None and self.books_are_whole:
            assert self.journal.committed_usd() <= self.cap + 1e-9

    @precondition(lambda self: self.journal is not None)
    @invariant()
    def every_change_of_state_has_its_event(self):
        stories = {}
        for key, old, new in self.query('SELECT key, "from", "to" FROM events ORDER BY seq'):
            stories.setdefault(key, []).append((old, new))
        for key, story in stories.items():
            assert all(before[1] == after[0] for before, after in pairwise(story))
            found = self.query("SELECT state FROM requests WHERE key = ?", key)
            # A row that surely never left, and is listed no more, is forgotten.
            forgotten = not found and story[-1][1] == State.PENDING
            assert forgotten or found == [(story[-1][1],)]
        for key, state in self.query("SELECT key, state FROM requests"):
            assert key in stories or state in (State.PENDING, State.INVALID)

    # -- small words -----------------------------------------------------------------------------

    def kill(self):
        """What is not written by now never is."""
        if self.journal is not None:
            self.journal.close()
        if self.receipts is not None:
            self.receipts.__exit__(None, None, None)
        self.journal = self.receipts = None

    def die_if(self, dies, here):
        if dies == here:
            raise Killed

    def asked_for(self, key):
        self.ledger.asked_for(key)
        self.in_doubt.discard(key)

    def rows(self, state):
        return self.journal.requests_in(state)

    def query(self, text, *values):
        return self.journal.fetch_all(text, *values)

    def known_ids(self):
        return [id for (id,) in self.query("SELECT request_id FROM requests WHERE request_id > ''")]

    def is_listed(self, row):
        ((listed,),) = self.query("SELECT listed FROM requests WHERE key = ?", row.key)
        return bool(listed)

    def made_nothing(self, row):
        """Whether it failed since a deployment makes nothing of an equal request."""
        ((state, error),) = self.query("SELECT state, error FROM requests WHERE key = ?", row.key)
        return state == State.FAILED and makes_nothing_again(error or "")

    def written(self):
        with ReceiptLog(self.folder / "receipts.log") as log:
            return list(log.since(0))

    @staticmethod
    def finished(word, urls):
        """What the API answers for a finished request, beside its id."""
        return {"status": word, "output": {"images": urls}}

    def result(self, request_id, says):
        word = {"nothing made": "completed"}.get(says, says.partition(",")[0])
        urls = [f"https://a.runcomfy.net/{n}.png" for n in range(2)]
        if says == "nothing made":
            urls = []
        elif says != "done, two files":
            urls.pop()
        body = {"request_id": request_id, **self.finished(word.replace("done", "completed"), urls)}
        if says == "done, with a cost":
            body["cost"] = 0.02
        if says == "another id":
            body |= {"request_id": "another", "status": "failed"}
        if says == "not known":
            body = {"error_code": 404001}
        raw = b"<html>" if says == "garbage" else json.dumps(body).encode()
        return decode({"500": 500, "not known": 404}.get(says, 200), {}, raw, None, 0.0)


class AnyHistoryOfADeployment(AnyHistory):
    """The same for a person's own workflow."""

    target = "deployments/11111111-1111-4111-8111-111111111111"
    prompt_at = "6.text"
    classify_submit = staticmethod(classify_inference)
    classify_result = staticmethod(classify_deployment_result)

    @staticmethod
    def finished(word, urls):
        preview = {"url": "https://a.runcomfy.net/preview.png", "type": "temp"}
        files = [{"url": url, "type": "output"} for url in urls]
        made = {"9": {"images": files}, "10": {"images": [preview]}} if urls else {}
        errors = [{"errorCode": 500001, "error": "no memory"}] if word == "failed" else None
        word = {"completed": "succeeded", "cancelled": "canceled"}.get(word, word)
        return {"status": word, "outputs": made, "error": errors}


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=EXAMPLES, stateful_step_count=10)
TestAnyHistoryOfADeployment = AnyHistoryOfADeployment.TestCase
TestAnyHistoryOfADeployment.settings = settings(
    max_examples=max(EXAMPLES // 2, 1), stateful_step_count=10
)


class AnyHistoryInADatabase(AnyHistory):
    """The same over PostgreSQL; each history has a batch of its own."""

    database: Database

    def __init__(self):
        super().__init__()
        self.place = JournalAddress(self.database.url, f"b{uuid.uuid4().hex[:12]}")
        self.kept = f"kept_{self.place.batch}"

    def begin(self):
        """With nothing: its journal is made by the first run."""

    def teardown(self):
        super().teardown()
        for schema in (self.place.schema, self.kept):
            self.database.query(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    def open_journal(self):
        return Journal(self.place, self.clock)

    def tables(self):
        found = self.database.query(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", self.place.schema
        )
        return [name for (name,) in found]

    def has_backup(self):
        return bool(self.database.query("SELECT 1 FROM pg_namespace WHERE nspname = %s", self.kept))

    def back_up(self):
        self.database.query(f"DROP SCHEMA IF EXISTS {self.kept} CASCADE")
        self.database.query(f"CREATE SCHEMA {self.kept}")
        for name in self.tables():
            table = f"{self.place.schema}.{name}"
            self.database.query(f"CREATE TABLE {self.kept}.{name} AS TABLE {table}")

    def set_back(self, *, deleted):
        if deleted:
            self.database.query(f"DROP SCHEMA IF EXISTS {self.place.schema} CASCADE")
            self.database.query(f"DROP SCHEMA IF EXISTS {self.kept} CASCADE")
            return
        for name in self.tables():
            self.database.query(f"TRUNCATE {self.place.schema}.{name}")
            self.database.query(
                f"INSERT INTO {self.place.schema}.{name} OVERRIDING SYSTEM VALUE"
                f" SELECT * FROM {self.kept}.{name}"
            )


def test_any_history_in_a_database(database):
    class Here(AnyHistoryInADatabase):
        pass

    Here.database = database
    examples = settings(max_examples=max(EXAMPLES // 15, 1), stateful_step_count=6)
    run_state_machine_as_test(Here, settings=examples)
