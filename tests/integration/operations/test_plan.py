"""plan: what a run would do, told before it is done, and nothing is sent."""

import json
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import Outcome, many, table, tally
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox_client import Control

MODEL = "ideogram/ideogram-v2/generate"
BRUSH = "atelier/brush-2/text-to-image"


@pytest.fixture
def plan(batchgen: Command, folder: Path) -> Command:
    """`plan("list.csv")`: what it says; it must have gone well."""

    def plan_it(manifest: str, *options: object) -> Outcome:
        outcome = batchgen("plan", manifest, "--out", folder, *options)
        assert (outcome.code, outcome.stderr) == (0, "")
        return outcome

    return plan_it


@pytest.fixture
def told(plan: Command) -> Callable[..., dict[str, Any]]:
    """The plan as JSON."""
    return lambda manifest, *options: json.loads(plan(manifest, "--json", *options).stdout)


def lines(outcome: Outcome) -> list[str]:
    """The lines of rows, without the totals."""
    return re.split(r"^\d+ rows?: ", outcome.stdout, flags=re.MULTILINE)[0].splitlines()


# What it tells


def test_a_plan_of_a_new_list_needs_no_token_and_leaves_no_trace(
    plan: Command, here: Path, sandbox: Control, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    outcome = plan(write("list.csv", table(many(3))))

    assert lines(outcome)[0] == "new               row-1 (list.csv:2)"
    assert "3 rows: 3 new" in outcome.stdout
    assert "would send 3 requests" in outcome.stdout
    assert "Their price is unknown" in outcome.stdout
    assert "$" not in outcome.stdout
    assert "Nothing was sent." in outcome.stdout
    assert sorted(path.name for path in here.iterdir()) == ["list.csv"]
    assert sandbox.posts == 0


def test_a_plan_of_a_finished_batch_sends_nothing(
    run: Command, plan: Command, write: Write
) -> None:
    manifest = write("list.csv", table(many(3)))
    run(manifest)

    outcome = plan(manifest)
    assert lines(outcome) == []
    assert "3 rows: 3 saved" in outcome.stdout
    assert "would send 0 requests, for $0.00" in outcome.stdout


def test_prompts_that_unfold_are_told_with_what_each_comes_to(
    run: Command, plan: Command, told: Callable[..., dict[str, Any]], write: Write
) -> None:
    texts = ["a {red|blue} fox", "an owl", *(f"{{a|b|c}} {n}" for n in range(12))]
    run(write("list.txt", "a {red|blue} fox\n"), "--expand")
    manifest = write("list.txt", "\n".join(texts))

    outcome = plan(manifest, "--expand", "--price", "0.5")
    assert lines(outcome)[1] == "new               row 4 (list.txt:3): a 0"
    assert re.findall(r".* into .*", outcome.stdout) == [
        "list.txt:1 unfolds into 2 rows: 0 requests, for $0.00",
        *(f"list.txt:{n} unfolds into 3 rows: 3 requests, for $1.50" for n in range(3, 12)),
        "3 more prompts into 9 rows: 9 requests, for $4.50",
    ]
    assert told(manifest, "--expand")["unfolded"] == {"prompts": 13, "rows": 38}
    assert " into " not in plan(write("list.txt", "an owl\n"), "--expand").stdout


def test_rows_are_told_apart_by_what_becomes_of_them(
    run: Command, plan: Command, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost", match="number 1")
    sandbox.fault("422", match="number 2")
    rows = many(6)
    run(write("list.csv", table(rows)), "--limit", 4)

    rows["row-3"] = "a fox"
    del rows["row-4"]
    outcome = plan(write("list.csv", table(rows | {"row-7": "an owl"})))
    assert lines(outcome) == [
        "unknown           row-1 (list.csv:2)",
        "failed            row-2 (list.csv:3)",
        'changed           row-3 (list.csv:4): prompt: "a heron, number 3" -> "a fox"',
        "pending           row-5 (list.csv:5)",
        "pending           row-6 (list.csv:6)",
        "new               row-7 (list.csv:7)",
        "no longer listed  row-4 (list.csv:5)",
    ]
    assert "would send 4 requests, for $0.12" in outcome.stdout


def test_every_field_that_changed_is_named_with_what_it_was_and_is(
    run: Command, plan: Command, write: Write
) -> None:
    old = {"id": "heron", "prompt": "a heron", "seed": 1, "style": "anime"}
    new = {"id": "heron", "prompt": "a fox", "seed": 2, "aspect_ratio": "16:9"}
    run(write("list.jsonl", json.dumps(old)))

    (line,) = lines(plan(write("list.jsonl", json.dumps(new))))
    head, _, changes = line.partition(": ")
    assert head == "changed           heron (list.jsonl:1)"
    assert set(changes.split(", ")) == {
        'prompt: "a heron" -> "a fox"',
        "seed: 1 -> 2",
        'style: "anime" -> (none)',
        'aspect_ratio: (none) -> "16:9"',
    }


def test_a_change_of_the_model_is_named(
    run: Command, plan: Command, write: Write, schemas: dict[str, Path]
) -> None:
    run(write("list.csv", table({"heron": "a heron"})))

    (line,) = lines(plan("list.csv", "--model", BRUSH, "--schema", schemas[BRUSH]))
    assert line.endswith(f'heron (list.csv:2): model: "{MODEL}" -> "{BRUSH}"')


@pytest.mark.parametrize(("old", "new"), [("5", "5.5"), ("1", "true"), ("[1]", "[true]")])
def test_a_value_that_is_equal_but_sent_otherwise_is_a_change_that_is_named(
    run: Command, plan: Command, sandbox: Control, write: Write, here: Path, old: str, new: str
) -> None:
    properties = {"prompt": {"type": "string"}, "strength": {}}
    write("schema.json", json.dumps({"type": "object", "properties": properties}))
    options = ("--model", BRUSH, "--schema", "schema.json")
    row = '{"id": "heron", "prompt": "a heron", "strength": %s}'
    run(write("list.jsonl", row % old), *options)

    (line,) = lines(plan(write("list.jsonl", row % new), *options))
    assert line.endswith(f": strength: {old} -> {new}")
    run("list.jsonl", *options)
    assert sandbox.posts == 2


def test_the_order_of_a_rows_fields_is_no_change(run: Command, plan: Command, write: Write) -> None:
    run(write("list.jsonl", '{"prompt": "a heron", "seed": 1}'))

    assert lines(plan(write("list.jsonl", '{"seed": 1, "prompt": "a heron"}'))) == []


def test_a_row_without_an_id_is_known_by_its_place(
    run: Command, plan: Command, write: Write
) -> None:
    run(write("list.txt", "a heron\na fox\nan owl\n"))

    outcome = plan(write("list.txt", "a heron\na red fox\nan owl\n"))
    (line,) = lines(outcome)
    assert line.startswith("changed")
    assert line.endswith('(list.txt:2): prompt: "a fox" -> "a red fox"')


def test_the_time_follows_the_rate_and_the_price_the_last_run(
    run: Command, plan: Command, told: Callable[..., dict[str, Any]], sandbox: Control,
    write: Write,
) -> None:  # fmt: skip
    sandbox.set(price=0.05)
    run(write("list.csv", table(many(1))))
    manifest = write("list.csv", table(many(61)))

    found = told(manifest)
    assert (found["sends"], found["cost"], found["seconds"]) == (60, 3.0, 59.0)
    assert found["counts"] == {"saved": 1, "new": 60}
    assert told(manifest, "--rate", "30/m")["seconds"] == 118.0
    assert "60 requests, for $3.00; at 60/m" in plan(manifest).stdout


def test_a_plan_asks_the_catalogue_once_where_there_is_a_token(
    plan: Command, told: Callable[..., dict[str, Any]], sandbox: Control, write: Write,
    reach: list[str],
) -> None:  # fmt: skip
    sandbox.set(price=0.07)
    manifest = write("list.csv", table(many(3)))

    assert "would send 3 requests, for $0.21;" in plan(manifest, *reach).stdout
    found = told(manifest, *reach)
    assert (found["cost"], found["unpriced"], found["prices_from"]) == (0.21, 0, None)
    assert told(manifest, *reach, "--price", "0.5")["cost"] == 1.5
    assert sandbox.posts == 0


def test_a_plan_that_cannot_ask_says_why_and_from_when_its_price_is(
    run: Command, plan: Command, told: Callable[..., dict[str, Any]], sandbox: Control,
    write: Write, reach: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run(write("list.csv", table(many(1))))
    sandbox.set(price=0.07)
    manifest = write("list.csv", table(many(2)))
    stamp = r"The price is that of 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d .*, since "

    outcome = plan(manifest)  # the base URL of all tests leads nowhere
    assert "would send 1 request, for $0.03;" in outcome.stdout
    assert re.search(stamp + r"RunComfy cannot be reached\.\n", outcome.stdout)
    assert told(manifest)["prices_from"].startswith("20")
    sandbox.set(token="another")
    assert re.search(stamp + r"RunComfy refused the token\.\n", plan(manifest, *reach).stdout)
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    assert re.search(stamp + "there is no token", plan(manifest, *reach).stdout)


def test_a_plan_of_a_rehearsal_has_the_prices_of_the_rehearsal(
    batchgen: Command, plan: Command, folder: Path, sandbox: Control, write: Write, reach: list[str]
) -> None:
    batchgen("run", write("list.csv", table(many(1))), "--out", folder, "--sandbox")
    sandbox.set(price=0.07)
    outcome = plan(write("list.csv", table(many(2))), *reach)

    assert "would send 1 request, for $0.03;" in outcome.stdout
    assert "since a rehearsal has prices of its own" in outcome.stdout


def test_the_price_of_a_person_beats_the_last_runs_and_that_of_a_list_does_not(
    run: Command, told: Callable[..., dict[str, Any]], write: Write
) -> None:
    run(write("list.yaml", "rows: [one]\n"))
    manifest = write("list.yaml", "price: 0.5\nrows: [one, two, three]\n")

    assert told(manifest)["cost"] == 0.06
    assert told(manifest, "--price", 0.5)["cost"] == 1.0


def test_problems_are_shown_as_a_run_shows_them(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    manifest = write("list.csv", "id,prompt,style\nheron,a heron,anime\nfox,a fox,cubist\n")
    outcome = batchgen("plan", manifest, "--out", folder)

    assert (outcome.code, outcome.stdout) == (65, "")
    assert outcome.stderr == run(manifest).stderr
    skipping = batchgen("plan", manifest, "--out", folder, "--skip-invalid", "--json")
    found = json.loads(skipping.stdout)
    assert (found["counts"], found["sends"]) == ({"new": 1, "invalid": 1}, 1)


def test_a_dry_run_is_a_plan(
    run: Command, plan: Command, folder: Path, sandbox: Control, write: Write, reach: list[str]
) -> None:
    manifest = write("list.csv", table(many(3)))
    dry = run(manifest, "--dry-run", "--rate", "60/m")

    assert (dry.code, dry.stdout) == (0, plan(manifest, *reach).stdout)
    assert "for $0.09" in dry.stdout
    assert not folder.exists()
    assert sandbox.counts()["polls"] == sandbox.posts == 0


@pytest.mark.parametrize(
    ("fault", "option"),
    [("failed", ["--retry-failed"]), ("lost", ["--on-unknown", "resubmit"])],
)
def test_a_dry_run_counts_what_its_options_send_again(
    run: Command, sandbox: Control, write: Write, fault: str, option: list[str]
) -> None:
    sandbox.fault(fault, times=2)
    manifest = write("list.csv", table(many(3)))
    run(manifest)

    assert json.loads(run(manifest, "--dry-run", "--json").stdout)["sends"] == 0
    assert json.loads(run(manifest, "--dry-run", "--json", *option).stdout)["sends"] == 2
    assert sandbox.posts == 3
    run(manifest, *option)
    assert sandbox.posts == 5


def test_a_plan_changes_nothing_in_the_folder(
    run: Command, plan: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(3))))

    def content() -> dict[Path, bytes]:
        # SQLite makes two files of its own beside a journal that it reads; they hold nothing.
        files = (path for path in folder.rglob("*") if path.is_file())
        return {
            path: path.read_bytes() for path in files if path.suffix not in (".db-shm", ".db-wal")
        }

    before = content()
    plan(write("list.csv", table(many(5, "a fox"))))

    assert content() == before


def test_what_is_kept_for_later_runs_counts_and_is_named(
    run: Command, batchgen: Command, folder: Path, write: Write, reach: list[str]
) -> None:
    manifest = write("list.csv", table(many(9)))
    run(manifest, "--limit", 1)
    batchgen("set", folder, "rate=20/m", "max-cost=0.12", "--keep")
    words = ["--out", folder, *reach]

    shown = batchgen("plan", manifest, *words).stdout
    found = json.loads(batchgen("plan", manifest, "--json", *words).stdout)
    typed = json.loads(batchgen("plan", manifest, "--json", "--rate", "10/m", *words).stdout)

    assert "of which max-cost of batchgen set leaves $0.09; at 20/m submitting takes 21 s." in shown
    assert "Kept by batchgen set: rate 20/m, max-cost 0.12." in shown
    assert (found["kept"], found["seconds"]) == ({"rate": "20/m", "max-cost": "0.12"}, 21.0)
    assert found["at_most"] == 0.09
    assert typed["seconds"] == 42.0  # what is typed is never loosened


# It agrees with the run that follows


EDITS: dict[str, tuple[str, str]] = {
    "the same": ("a\nb\n", "a\nb\n"),
    "added": ("a\n", "a\nb\nc\n"),
    "put before": ("a\nb\n", "c\na\nb\n"),
    "changed": ("a\nb\n", "a\nc\n"),
    "all changed": ("a\nb\n", "c\nd\n"),
    "removed": ("a\nb\nc\n", "b\n"),
    "reordered": ("a\nb\nc\n", "c\na\nb\n"),
    "repeated": ("a\n", "a\na\na\n"),
    "repeated less": ("a\na\na\n", "a\n"),
    "all at once": ("a\nb\nc\na\n", "d\na\na\na\nc\n"),
}


# Those of which a batch that was stopped has rows of each kind.
OF_A_STOPPED_BATCH = ("removed", "repeated less", "all at once")


@pytest.mark.parametrize(
    ("edit", "stopped"),
    [
        *(pytest.param(edit, (), id=f"{edit}-finished") for edit in EDITS),
        *(pytest.param(e, ("--limit", 1), id=f"{e}-stopped") for e in OF_A_STOPPED_BATCH),
    ],
)
def test_what_is_planned_is_what_is_sent_and_billed(
    run: Command,
    told: Callable[..., dict[str, Any]],
    folder: Path,
    sandbox: Control,
    write: Write,
    edit: str,
    stopped: tuple[object, ...],
) -> None:
    before, after = EDITS[edit]
    run(write("list.txt", before), *stopped)
    posts, billed = sandbox.posts, sandbox.billed_usd

    found = told(write("list.txt", after))
    assert sandbox.posts == posts
    assert run("list.txt").code == 0
    assert sandbox.posts - posts == found["sends"]
    assert sandbox.billed_usd - billed == pytest.approx(found["cost"])
    assert found["sends"] == sum(found["counts"].get(w, 0) for w in ("new", "changed", "pending"))
    assert told("list.txt")["counts"] == {"saved": after.count("\n")}


IDS = st.sampled_from([None, "heron", "fox", "owl"])
PROMPTS = st.sampled_from(["one", "two", "three [[422]]", "four [[lost]]", "five [[failed]]"])
ROWS = st.lists(st.tuples(IDS, PROMPTS), min_size=1, max_size=6).filter(
    lambda rows: len(named := [id for id, _ in rows if id]) == len(set(named))
)
FOLDERS = count()


@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lists=st.lists(ROWS, min_size=2, max_size=3), limit=st.integers(0, 3))
def test_whatever_the_lists_a_run_sends_what_its_plan_told(
    run: Command,
    here: Path,
    sandbox: Control,
    write: Write,
    lists: list[list[tuple[str | None, str]]],
    limit: int,
) -> None:
    sandbox.reset()
    out = here / f"story-{next(FOLDERS)}"
    options = ("--out", out, "--new-list", "--allow-changed")
    for number, rows in enumerate(lists):
        text = [json.dumps({"prompt": p} | ({"id": id} if id else {})) for id, p in rows]
        manifest = write("list.jsonl", "\n".join(text))
        # Three lost answers in a row end a run, and the plan cannot know; the last run is whole.
        last = number == len(lists) - 1
        words = [*options, *(() if last else ("--limit", limit))]
        told = json.loads(run(manifest, *words, "--dry-run", "--json").stdout)
        posts = sandbox.posts
        ended = run(manifest, *words, "--expect-plan", told["digest"])
        assert ended.code != 2
        if "were lost" in ended.stderr:
            assert sandbox.posts - posts <= told["sends"]
        else:
            assert sandbox.posts - posts == told["sends"]


def test_a_plan_can_be_asked_for_while_the_batch_runs(
    start: Callable[..., Any], told: Callable[..., dict[str, Any]], sandbox: Control, write: Write
) -> None:
    sandbox.set(seconds=1000)
    child = start(write("list.csv", table(many(1))), "-v")
    assert any("accepted as" in line for line in child.stderr)

    assert told("list.csv")["counts"] == {"submitted": 1}


def test_a_batch_that_is_paid_and_not_fetched_sends_nothing(
    run: Command, told: Callable[..., dict[str, Any]], folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("media-500", times=None)
    manifest = write("list.csv", table(many(2)))
    run(manifest)
    assert tally(folder) == {"completed": 2}

    assert told(manifest)["sends"] == 0
