"""Limits of the configuration count all batches of a person on this computer together."""

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from conftest import Command, Own, Write
from databases import Database
from databases import database as database_of
from helpers import NEVER_ASKING, PretendClock, change, many, query, table, tally
from sandbox_client import Control

from batchgen import event_loop
from batchgen.api.endpoint import Endpoint
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core.addresses import JOURNAL_VARIABLE, JournalAddress
from batchgen.core.budget import CostLimits
from batchgen.core.prices import Price
from batchgen.engine.collector import OutputOptions
from batchgen.engine.other_batches import OtherBatches
from batchgen.engine.policy import Policy
from batchgen.errors import StoppedEarly
from batchgen.journal.postgres.accounts import Account
from batchgen.journal.recovery import open_journal
from batchgen.journal.writer import Journal
from batchgen.operations.execute import execute


@contextmanager
def journal_in(database: Database, batch: str) -> Iterator[Journal]:
    with closing(Journal(JournalAddress(database.url, batch), Clock())) as journal:
        journal.store.let_others_start("running")
        yield journal


@pytest.fixture
def run_of(run: Command, write: Write) -> Command:
    """Run a list of so many rows under a name, in the folder of that name."""

    def run_it(name: str, rows: int, *options: object):
        manifest = write(f"{name}.csv", table(many(rows, name)))
        return run(manifest, "--out", name, *options)  # the last --out holds

    return run_it


def test_lists_whose_journals_are_in_a_database_that_an_option_names_have_one_limit(
    own: Own, run_of: Command, sandbox: Control, database: Database
) -> None:
    own("max_cost_per_day = 0.10\n")
    where = ("--journal", database.url)
    assert run_of("spring", 1, *where).code == 0
    assert run_of("summer", 1, *where).code == 0
    assert run_of("autumn", 3, *where).code == 75
    assert sandbox.posts == 3

    told = run_of("winter", 1)
    assert (told.code, sandbox.posts) == (75, 3)
    assert "set BATCHGEN_JOURNAL to its URL" in told.stderr
    assert "Run its list again" not in told.stderr


def test_a_computer_that_got_another_name_counts_what_it_spent_before(
    own: Own,
    run_of: Command,
    sandbox: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own("max_cost_per_day = 0.10\n")
    assert run_of("spring", 2).code == 0
    monkeypatch.setattr(socket, "gethostname", lambda: "another")

    assert run_of("autumn", 3).code == 75
    assert sandbox.posts == 3


def test_two_lists_have_one_limit_of_a_day(
    own: Own, run_of: Command, sandbox: Control, here: Path
) -> None:
    own("max_cost_per_day = 0.10\n")

    assert run_of("spring", 2).code == 0
    outcome = run_of("autumn", 3)
    assert (outcome.code, sandbox.posts) == (75, 3)
    assert tally(here / "autumn") == {"saved": 1, "pending": 2}
    assert "of which max_cost_per_day of your configuration leaves $0.04" in outcome.stderr
    assert (
        "would pass the limit of $0.10 for today, max_cost_per_day of your configuration"
        " ($0.09 is spent or reserved by all your batches). It was not sent."
    ) in outcome.stderr
    assert "or for one run say --max-cost-per-day, or run again tomorrow." in outcome.stderr


def test_what_one_list_may_cost_counts_that_list_alone(
    own: Own, run_of: Command, sandbox: Control
) -> None:
    own("max_cost = 0.07\n")

    assert (run_of("spring", 2).code, run_of("autumn", 2).code) == (0, 0)
    outcome = run_of("winter", 3)
    assert (outcome.code, sandbox.posts) == (75, 6)
    assert "the batch, max_cost of your configuration ($0.06" in outcome.stderr


def test_an_option_counts_its_own_list_in_place_of_all(
    own: Own, run_of: Command, sandbox: Control
) -> None:
    own("max_cost_per_month = 0.05\n")
    assert run_of("spring", 2).code == 75

    outcome = run_of("autumn", 3, "--max-cost-per-month", "0.07")
    assert (outcome.code, sandbox.posts) == (75, 3)
    assert "Raise --max-cost-per-month to go on" in outcome.stderr


def test_a_limit_of_a_manifest_holds_beside_it(
    own: Own, run: Command, write: Write, sandbox: Control
) -> None:
    own("max_cost_per_day = 0.07\n")
    manifest = write("list.yaml", "max_cost_per_day: 100\nrows: [a heron, a fox, an owl]\n")

    assert run(manifest).code == 75
    assert sandbox.posts == 2


def test_what_was_spent_on_another_day_does_not_count_for_today(
    own: Own, run_of: Command, sandbox: Control, here: Path
) -> None:
    own("max_cost_per_day = 0.07\n")
    run_of("spring", 2)
    for key, attempt in query(here / "spring", "SELECT key, attempt FROM spending"):
        before = "UPDATE spending SET at = '2020-01-01T00:00:00.000Z' WHERE key = ? AND attempt = ?"
        change(here / "spring", before, key, attempt)

    assert (run_of("autumn", 2).code, sandbox.posts) == (0, 4)


def test_a_rehearsal_does_not_count_and_counts_nothing_but_itself(
    own: Own,
    run_of: Command,
    batchgen: Command,
    write: Write,
    sandbox: Control,
    here: Path,
) -> None:
    own("max_cost_per_day = 0.07\n")
    assert run_of("spring", 1).code == 0
    for name in ("first", "second"):
        words = ("--sandbox", "--out", name, "--rate", "1000/s")
        manifest = write(f"{name}.csv", table(many(1, name)))
        batchgen("run", manifest, *words, timing=NEVER_ASKING)
        assert tally(here / name) == {"submitted": 1}

    assert (run_of("autumn", 1).code, sandbox.posts) == (0, 2)


def test_a_batch_that_was_written_today_and_cannot_be_read_stops_the_run_before_it_pays(
    own: Own, run_of: Command, sandbox: Control, here: Path
) -> None:
    own("max_cost_per_day = 0.50\n")
    run_of("spring", 2)
    (here / "spring" / "batch.db").write_bytes(b"no database" * 1000)

    outcome = run_of("autumn", 2)
    assert (outcome.code, sandbox.posts) == (75, 2)
    assert f"What the batch in {here / 'spring'} has cost cannot be read" in outcome.stderr
    assert run_of("autumn", 2, "--max-cost-per-day", "1").code == 0


def test_a_batch_that_is_gone_or_that_was_written_long_ago_stops_nobody(
    own: Own, run_of: Command, sandbox: Control, here: Path
) -> None:
    own("max_cost_per_day = 0.50\n")
    run_of("spring", 1)
    run_of("summer", 1)
    (here / "spring").rename(here / "elsewhere")
    (here / "summer" / "batch.db").write_bytes(b"no database" * 1000)
    for path in (here / "summer").glob("batch.db*"):
        os.utime(path, (1e9, 1e9))

    assert (run_of("autumn", 1).code, sandbox.posts) == (0, 3)


def test_batches_in_another_database_or_of_another_account_count(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the account in this batch's database are counted by its table, and once."""
    folders = [tmp_path / "same", tmp_path / "account", tmp_path / "elsewhere"]
    with database_of(database.server) as another, ExitStack() as stack:
        here = stack.enter_context(journal_in(database, "here"))
        account = Account(here, "somebody")
        for folder, where, name in zip(
            folders, (database, database, another), ("somebody", "else", "somebody"), strict=True
        ):
            folder.mkdir()
            journal = stack.enter_context(journal_in(where, folder.name))
            Account(journal, name)
            with journal.transaction():
                journal.set_cost("0" * 32, 1, "2026-11-27T08:00:00.000Z", 0.25)
            Folder(folder).name_database(journal.path)
        found = []
        for url in (database.url, another.url):
            monkeypatch.setenv(JOURNAL_VARIABLE, url)
            mine = [folder for folder in folders if Folder(folder).kept_address().url == url]
            others = OtherBatches(lambda mine=mine: mine, account)
            found.append(others.committed_usd("2026-11-27T00:00:00.000Z"))

    assert found == [0.5, 0.5]


def test_a_batch_in_a_database_that_is_away_stops_the_run(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://me@127.0.0.1:1/first"
    Folder(tmp_path).name_database(JournalAddress(url, "list"))
    monkeypatch.setenv(JOURNAL_VARIABLE, url)
    with journal_in(database, "here") as here:
        others = OtherBatches(lambda: [tmp_path], Account(here, "somebody"))

        with pytest.raises(StoppedEarly, match="cannot be reached"):
            others.committed_usd("2026-11-27T00:00:00.000Z")


def test_two_runs_at_once_do_not_pass_the_limit_together(
    own: Own,
    start: Callable[..., "object"],
    write: Write,
    sandbox: Control,
    here: Path,
) -> None:
    own("max_cost_per_day = 0.09\n")
    started = []
    for name in ("spring", "autumn"):
        manifest = write(f"{name}.csv", table(many(4, name)))
        started.append(start(manifest, "--out", name))

    assert [child.wait(120) for child in started] == [75, 75]
    # Two that saw each other's reservation may both have stopped before the limit.
    assert 0 < sandbox.billed_usd <= 0.09 + 1e-9
    spent = [query(here / n, "SELECT SUM(usd) FROM spending") for n in ("spring", "autumn")]
    assert sum(usd or 0 for ((usd,),) in spent) == pytest.approx(sandbox.billed_usd)


def test_what_another_run_reserves_at_the_same_moment_is_seen_before_the_body_leaves(
    run_of: Command, sandbox: Control, here: Path, clock: PretendClock, address
) -> None:
    run_of("other", 1)
    run_of("list", 1, "--limit", 0)
    # It appears between the reservation and the body: at the second look.
    looks = iter([[], [here / "other"]])
    others = OtherBatches(partial(next, looks))
    policy = Policy(
        rate=1000.0,
        limits=CostLimits(all_day=0.05),
        prices={"ideogram/ideogram-v2/generate": Price(0.03)},
    )
    with ExitStack() as stack:
        folder = Folder(here / "list")
        journal, receipts = open_journal(stack, folder, clock)
        journal.start_run("list.csv", {})
        endpoint = Endpoint(address.base_url, "pretend-token", (), use_proxy=False)
        outcome = event_loop.run(
            execute(
                *(
                    journal,
                    receipts,
                    folder,
                    endpoint,
                    policy,
                    OutputOptions(False, False, False, 1),
                ),
                lambda numbers, now: NoProgress(),
                others=others,
            )
        )

    assert (outcome.code, sandbox.posts) == (75, 1)
    assert "$0.06 is spent or reserved by all your batches" in outcome.reason
    assert tally(here / "list") == {"pending": 1}
    assert query(here / "list", "SELECT SUM(usd) FROM spending") == [(0.0,)]


class NoProgress:
    def changed(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_journal_that_changed_is_read_again_however_soon(
    tmp_path: Path, here: Path, run_of: Command
) -> None:
    run_of("list", 1)
    others = OtherBatches(lambda: [here / "list"])
    since = "2020-01-01T00:00:00.000Z"

    for usd in (0.5, 0.25, 4.0):
        with closing(sqlite3.connect(here / "list" / "batch.db")) as journal, journal:
            journal.execute("UPDATE spending SET usd = ?", (usd,))
        assert others.committed_usd(since) == usd
