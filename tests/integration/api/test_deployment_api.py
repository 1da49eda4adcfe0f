"""Deployments of a person's own workflows, through the whole program: paid once, none lost."""

import json
import re
import shlex
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from deployments import NODES, rehearse
from helpers import NEVER_ASKING, PATIENT, error_of, media, query, states, tally, until
from PIL import Image
from sandbox_client import Control

from batchgen.journal.reader import Reader
from batchgen.sandbox import Address
from batchgen.sandbox.deployments.samples import PHOTO, SAMPLES, SIZES, TEXT


@pytest.fixture
def manifest(write: Write) -> str:
    """Two rows, whose prompts and seeds are inputs of nodes."""
    return write(
        "list.yaml",
        f"""
deployment: {TEXT}
nodes: {{prompt: 6.text, seed: 31.seed}}
defaults: {{seed: 7}}
rows:
  - {{id: heron, prompt: a heron}}
  - {{id: owl, prompt: an owl, seed: 8}}
""",
    )


def test_rows_are_made_by_a_deployment(
    run: Command, folder: Path, manifest: str, sandbox: Control
) -> None:
    assert run(manifest).code == 0
    assert run(manifest).code == 0  # and sends nothing

    assert states(folder) == {"heron": "saved", "owl": "saved"}
    assert len(media(folder)) == 2  # what a PreviewImage made is no output
    sent = [json.loads(row["input"]) for row in sandbox.ledger()]
    assert sent == [
        {"overrides": {"6": {"inputs": {"text": text}}, "31": {"inputs": {"seed": seed}}}}
        for text, seed in (("a heron", 7), ("an owl", 8))
    ]
    assert query(folder, "SELECT DISTINCT model, version FROM requests") == [
        (f"deployments/{TEXT}", "v1")
    ]


def test_a_table_a_text_and_a_matrix_name_inputs_of_nodes(
    batchgen: Command, write: Write, reach: list[str], sandbox: Control, here: Path
) -> None:
    table = write("list.csv", "id,prompt,seed\na,a heron,3\n")
    text = write("list.txt", "a heron\n")
    matrix = write(
        "list.yaml",
        f"deployment: {TEXT}\nnodes: {{prompt: 6.text, steps: 31.steps}}\n"
        "matrix: {steps: [20, 30]}\nrows: [{id: a, prompt: a heron}]\n",
    )
    for list in (table, text):
        told = batchgen("plan", list, "--deployment", TEXT, *NODES, *reach)
        assert (told.code, "1 row: 1 new" in told.stdout) == (0, True)

    told = batchgen("run", matrix, "--limit", 0, *reach, "--rate", "1000/s")

    assert told.code == 75
    assert query(here / "out/list", "SELECT id, input FROM requests ORDER BY position") == [
        ("a-steps20", '{"6.text": "a heron", "31.steps": 20}'),
        ("a-steps30", '{"6.text": "a heron", "31.steps": 30}'),
    ]


def test_a_row_may_name_its_own_deployment_beside_models(
    run: Command, folder: Path, write: Write, sandbox: Control
) -> None:
    rows = [
        {"id": "model", "prompt": "a heron"},
        {"id": "own", "deployment": TEXT, "prompt": "a heron"},
    ]
    lines = write("list.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))

    assert run(lines, "--node", "prompt=6.text").code == 0

    assert [row["model"] for row in sandbox.ledger()] == [
        "ideogram/ideogram-v2/generate",
        f"deployments/{TEXT}",
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("seed: many", "31.seed: 'many' is not"),
        ("cfg: 1000.0", "31.cfg: 1000.0 is"),
        ("sampler: eulerr", "Did you mean euler?"),
        ("wrong: 5", "node 31 of the workflow has no input 'stepps'"),
        ("photo: 5", "the workflow has no node '99'"),
        ("other: 5", "other: the model has no input of this name"),
        ("deployment: a b", "is not the id of a deployment"),
        ("model: ideogram/ideogram-v2/generate", "this one names both"),
    ],
)
def test_what_the_workflow_does_not_take_is_told_before_anything_is_sent(
    run: Command, write: Write, sandbox: Control, row: str, problem: str
) -> None:
    nodes = {"seed": "31.seed", "cfg": "31.cfg", "sampler": "31.sampler_name"}
    extra = {"wrong": "31.stepps", "photo": "99.image"}
    name = row.partition(":")[0]
    nodes |= {name: extra[name]} if name in extra else {}
    beside = f"deployment: {TEXT}, " if name == "model" else ""
    path = write(
        "list.yaml",
        f"deployment: {TEXT}\nnodes: {json.dumps({'prompt': '6.text', **nodes})}\n"
        f"rows:\n  - {{id: a, prompt: a heron, {beside}{row}}}\n",
    )

    told = run(path)

    assert told.code == 65
    assert problem in told.stderr
    assert "list.yaml:" in told.stderr
    assert sandbox.posts == 0


def test_an_unknown_deployment_is_told_with_one_of_the_account(
    run: Command, write: Write, sandbox: Control
) -> None:
    told = run(write("list.txt", "a heron\n"), "--deployment", TEXT[:-1] + "2", *NODES)

    assert told.code == 2
    assert f"Did you mean deployments/{TEXT}?" in told.stderr


def test_a_local_photo_is_sent_inside_the_overrides(
    run: Command, folder: Path, write: Write, here: Path, sandbox: Control
) -> None:
    Image.new("RGB", (32, 32), "teal").save(here / "heron.png")
    path = write("list.csv", "id,prompt,photo\na,a heron,heron.png\n")

    told = run(path, "--deployment", PHOTO, "--node", "prompt=6.text", "--node", "photo=12.image")

    assert told.code == 0
    (row,) = sandbox.ledger()
    image = json.loads(row["input"])["overrides"]["12"]["inputs"]["image"]
    assert image.startswith("data:sha256:")  # as the sandbox notes what came
    ((kept,),) = query(folder, "SELECT input FROM requests")
    assert json.loads(kept)["12.image"].keys() == {"file", "sha256"}


def test_every_output_of_every_node_is_kept(
    run: Command, folder: Path, write: Write, sandbox: Control
) -> None:
    assert run(write("list.txt", "a heron\n"), "--deployment", SIZES, *NODES).code == 0

    assert len(media(folder)) == 2


def test_outputs_of_chosen_nodes_alone_are_kept_and_verified(
    run: Command, batchgen: Command, folder: Path, write: Write, reach: list[str],
    sandbox: Control,
) -> None:  # fmt: skip
    path = write(
        "list.yaml",
        f"deployment: {SIZES}\noutputs: [15]\nnodes: {{prompt: 6.text}}\n"
        "rows: [{id: a, prompt: a heron}]\n",
    )

    assert run(path).code == 0

    (large,) = media(folder)
    content = (folder / large).read_bytes()
    (folder / large).unlink()
    assert batchgen("verify", folder, *reach).code == 0
    assert (folder / large).read_bytes() == content  # the same of the two again
    other = run(write("list.txt", "a fox\n"), "--new-list", "--deployment", SIZES, *NODES)
    assert (other.code, len(media(folder))) == (0, 3)


def test_a_repetition_makes_nothing_and_is_told_with_what_to_change(
    run: Command, folder: Path, write: Write, sandbox: Control
) -> None:
    path = write("list.csv", "id,prompt\na,a heron\nb,a heron\n")

    told = run(path, "--deployment", TEXT, *NODES)

    assert told.code == 1
    assert states(folder) == {"a": "saved", "b": "failed"}
    assert "change one, such as the seed" in error_of(folder, "b")
    assert "1 row made nothing, and would make and cost the same again." in told.stderr
    assert "batchgen retry" not in told.stderr
    assert run(path, "--deployment", TEXT, *NODES).code == 1
    assert sandbox.accepted == 2  # it is not sent again


def test_a_run_that_sends_failed_rows_again_leaves_what_would_make_nothing(
    run: Command, batchgen: Command, folder: Path, write: Write, reach: list[str],
    sandbox: Control,
) -> None:  # fmt: skip
    path = write("list.csv", "id,prompt\na,a heron\nb,a heron\n")
    options = ("--deployment", TEXT, *NODES, "--retry-failed")
    run(path, *options)

    planned = batchgen("run", path, "--dry-run", "--out", folder, *reach, *options)
    told = run(path, *options)

    assert "A run would send 0 requests" in planned.stdout
    assert states(folder) == {"a": "saved", "b": "failed"}
    assert (told.code, sandbox.accepted) == (1, 2)


def test_what_made_nothing_is_queued_again_only_where_it_is_named(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    path = write("list.csv", "id,prompt\na,a heron\nb,a heron\nc,an owl [[failed:no luck]]\n")
    told = run(path, "--deployment", TEXT, *NODES)
    assert "1 row made nothing" in told.stderr
    assert f"batchgen retry {folder}\n" in told.stderr  # for c

    outcome = batchgen("retry", folder)

    assert states(folder) == {"a": "saved", "b": "failed", "c": "pending"}
    assert "1 row would make nothing again, and cost the same: left as it is, e.g. b." in (
        outcome.stderr
    )
    assert batchgen("retry", folder, "--id", "b").code == 0
    assert states(folder)["b"] == "pending"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_enabled": False}, "the deployment is disabled"),
        ({"is_deleted": True}, "RunComfy has no such deployment"),
    ],
)
def test_rows_of_a_deployment_that_takes_nothing_stay_pending_until_it_does(
    run: Command,
    folder: Path,
    manifest: str,
    sandbox: Control,
    changes: dict[str, Any],
    words: str,
) -> None:
    assert run(manifest, "--limit", 1).code == 75
    sandbox.change_deployment(TEXT, **changes)

    told = run(manifest)

    assert told.code == 75
    assert words in told.stderr
    assert sandbox.posts == 1
    assert states(folder) == {"heron": "saved", "owl": "pending"}

    sandbox.change_deployment(TEXT, is_enabled=True, is_deleted=False)
    assert run(manifest).code == 0
    assert sandbox.accepted == 2


def test_without_funds_all_rows_stay_pending_and_both_steps_are_told(
    run: Command, folder: Path, manifest: str, sandbox: Control
) -> None:
    sandbox.set(balance=0.0)

    told = run(manifest)

    assert told.code == 75
    assert "enable it again" in told.stderr
    assert tally(folder) == {"pending": 2}
    sandbox.set(balance=None)
    assert run(manifest).code == 75  # it is still disabled
    sandbox.change_deployment(TEXT, is_enabled=True)
    assert run(manifest).code == 0
    assert sandbox.accepted == 2


def test_a_changed_workflow_is_told_and_new_rows_are_made_with_it(
    run: Command, folder: Path, manifest: str, sandbox: Control
) -> None:
    assert run(manifest, "--limit", 1).code == 75
    sandbox.change_deployment(TEXT, workflow_version="v2")

    told = run(manifest)

    assert told.code == 0
    assert "its workflow has changed" in told.stderr
    assert "version v1 then, v2 now" in told.stderr
    versions = query(folder, "SELECT id, version FROM requests ORDER BY id")
    assert versions == [("heron", "v1"), ("owl", "v2")]
    assert sandbox.accepted == 2


@PATIENT
def test_no_more_requests_are_under_way_than_there_are_instances(
    run: Command, write: Write, sandbox: Control
) -> None:
    sandbox.set(seconds=0.2)
    rows = "".join(f"{n},a heron,{n}\n" for n in range(6))

    told = run(write("list.csv", f"id,prompt,seed\n{rows}"), "--deployment", TEXT, *NODES)
    assert "6 saved" in told.stderr

    starts = [(row["accepted_at"], 1) for row in sandbox.ledger()]
    ends = [(row["seen_at"], -1) for row in sandbox.ledger()]
    under_way = most = 0
    for _, change in sorted(starts + ends):
        under_way += change
        most = max(most, under_way)
    assert most == 2  # max_instances


@pytest.mark.parametrize("fault", ["lost", "500", "lost-rst"])
def test_a_lost_answer_leaves_the_row_unknown(
    run: Command, folder: Path, manifest: str, sandbox: Control, fault: str
) -> None:
    sandbox.fault(fault, match="heron")

    assert run(manifest).code == 1
    assert run(manifest).code == 1

    assert states(folder) == {"heron": "unknown", "owl": "saved"}
    assert sandbox.posts == 2  # one for each row


def test_a_running_request_can_be_cancelled(
    run: Command, batchgen: Command, folder: Path, write: Write, reach: list[str],
    sandbox: Control,
) -> None:  # fmt: skip
    sandbox.set(seconds=600.0)
    path = write("list.txt", "a heron\n")
    run(path, "--deployment", TEXT, *NODES, timing=NEVER_ASKING)
    assert tally(folder) == {"submitted": 1}
    (instance,) = sandbox.instances()
    assert instance["serving"] == sandbox.ledger()[0]["request_id"]  # it runs

    told = batchgen("cancel", folder, *reach)

    assert told.code == 0
    assert tally(folder) == {"cancelled": 1}


def spent(folder: Path) -> float:
    ((usd,),) = query(folder, "SELECT COALESCE(SUM(usd), 0) FROM spending")
    return float(usd)


def test_what_a_cancelled_request_may_have_cost_stays_counted_if_it_ran(
    run: Command, batchgen: Command, folder: Path, write: Write, reach: list[str],
    sandbox: Control,
) -> None:  # fmt: skip
    """An instance is billed by the second, and nobody says what these come to."""
    sandbox.set(seconds=600.0)
    options = ("--deployment", TEXT, *NODES, "--price", 0.5)
    run(write("list.txt", "a heron\nan owl\n"), *options, timing=NEVER_ASKING)
    waits = folder.parent / "waits"
    third = (write("waits.txt", "a fox\n"), "--out", waits)
    batchgen("run", *third, *options, *reach, timing=NEVER_ASKING)
    assert [row["state"] for row in sandbox.ledger()] == ["in_progress"] * 2 + ["in_queue"]
    assert (spent(folder), spent(waits)) == (1.0, 0.5)

    for one in (waits, folder):
        batchgen("cancel", one, *reach)

    assert (tally(folder), tally(waits)) == ({"cancelled": 2}, {"cancelled": 1})
    assert (spent(folder), spent(waits)) == (1.0, 0.0)


def test_a_request_that_somebody_else_cancelled_counts_as_one_that_ran(
    run: Command, folder: Path, write: Write, sandbox: Control
) -> None:
    sandbox.fault("canceled")
    run(write("list.txt", "a heron\n"), "--deployment", TEXT, *NODES, "--price", 0.5)

    assert tally(folder) == {"cancelled": 1}
    assert spent(folder) == 0.5


def test_a_failed_result_is_told_in_the_words_of_the_workflow(
    run: Command, folder: Path, manifest: str, sandbox: Control
) -> None:
    sandbox.fault("failed", match="heron", value="CUDA out of memory")

    assert run(manifest).code == 1

    assert "CUDA out of memory" in error_of(folder, "heron")
    assert states(folder)["owl"] == "saved"


def test_damaged_files_are_fetched_again_unpaid(
    run: Command, batchgen: Command, folder: Path, manifest: str, sandbox: Control,
    reach: list[str],
) -> None:  # fmt: skip
    run(manifest)
    (folder / media(folder)[0]).unlink()

    told = batchgen("verify", folder, *reach)

    assert told.code == 0, told.stderr
    assert len(media(folder)) == 2
    assert sandbox.accepted == 2


@PATIENT
def test_a_full_queue_that_is_told_with_a_200_is_a_429(
    run: Command, folder: Path, write: Write, sandbox: Control
) -> None:
    sandbox.change_deployment(SIZES, queue_size=1)
    sandbox.set(full_queue="error", seconds=0.3)  # long enough for the others to find it full
    rows = "".join(f"{n},a heron,{n}\n" for n in range(6))
    options = ("--deployment", SIZES, *NODES, "--concurrency", 6)
    told = run(write("list.csv", f"id,prompt,seed\n{rows}"), *options)

    assert (told.code, tally(folder)) == (0, {"saved": 6})
    assert query(folder, "SELECT COUNT(*) FROM events WHERE event = 'throttled'") > [(0,)]
    assert sandbox.accepted == 6
    with closing(Reader(folder / "batch.db")) as reader:
        pace = reader.pace()
    assert pace is not None
    assert pace < 1000  # what `run` may submit in a second


@pytest.mark.slow
def test_a_full_queue_slows_the_run_down_until_it_has_room(
    start: Callable[..., Any], folder: Path, write: Write, sandbox: Control
) -> None:
    sandbox.set(full_queue="429", seconds=0.2)
    rows = "".join(f"{n},a heron,{n}\n" for n in range(60))
    options = ("--deployment", SIZES, *NODES, "--concurrency", 8, "--rate", "20/s")
    child = start(write("list.csv", f"id,prompt,seed\n{rows}"), *options)

    def pace() -> float:
        """The rate that was learned, in submissions per second."""
        with closing(Reader(folder / "batch.db")) as reader:
            return reader.pace() or 20.0

    until(child, lambda: sandbox.accepted > 10 and sandbox.counts()["throttled"] > 2)
    sandbox.set(full_queue="waits", seconds=0.01)
    known = sandbox.accepted + 8  # then every refusal has come and slowed it down
    until(child, lambda: sandbox.accepted > known)
    slow = pace()
    told = child.communicate()[1]

    assert child.returncode == 0, told
    assert slow < 15
    assert pace() > slow
    assert tally(folder) == {"saved": 60}
    assert sandbox.accepted == 60
    assert {*sandbox.billed_per_input().values()} == {1}


def test_a_rehearsal_has_the_deployment_as_it_was_fetched(
    batchgen: Command, write: Write, here: Path, reach: list[str], sandbox: Control,
    address: Address,
) -> None:  # fmt: skip
    before = sandbox.posts

    told = rehearse(batchgen, address.base_url, write("list.txt", "a heron\n"))

    assert told.returncode == 0, told.stderr
    assert sandbox.posts == before  # its own sandbox was asked
    assert states(here / "out/list") == {"0001-a-heron": "saved"}


def test_equal_rows_are_told_of_before_they_are_paid_for(
    batchgen: Command, write: Write, reach: list[str], sandbox: Control
) -> None:
    path = write("list.csv", "id,prompt,seed\na,a heron,1\nb,a heron,1\nc,a heron,2\nd,a heron,1\n")

    told = batchgen("plan", path, "--deployment", TEXT, *NODES, *reach)

    assert f"2 rows send the same to deployments/{TEXT} as an earlier one" in told.stderr
    assert "list.csv:3 as list.csv:2" in told.stderr
    assert "same" not in batchgen("plan", path, *reach).stderr  # a model makes another picture


@pytest.mark.parametrize("fault", ["503", "html-200", "drop"])
def test_what_the_nodes_take_may_be_out_of_reach_and_that_is_told(
    run: Command, folder: Path, manifest: str, sandbox: Control, fault: str
) -> None:
    sandbox.fault(fault, on="object-info", times=None)

    told = run(manifest)

    assert (told.code, states(folder)) == (0, {"heron": "saved", "owl": "saved"})
    assert "What ranges and choices the nodes have could not be fetched" in told.stderr


def test_resolve_says_that_an_equal_request_makes_nothing(
    run: Command, batchgen: Command, folder: Path, manifest: str, sandbox: Control
) -> None:
    sandbox.fault("lost", match="heron")
    run(manifest)

    listed = batchgen("resolve", folder)
    again = batchgen("resolve", folder, "--all", "--send-again")

    assert "another seed" in listed.stdout
    assert "Another seed for it: write " in listed.stdout
    assert "another seed" in again.stderr
    run(manifest)
    assert states(folder) == {"heron": "failed", "owl": "saved"}  # the first request did run


@pytest.mark.parametrize("before", ["seed: 7", ""])
def test_an_unknown_row_is_made_with_the_seed_that_resolve_offers(
    run: Command, batchgen: Command, folder: Path, write: Write, sandbox: Control, before: str
) -> None:
    """As a person does it: by what is printed, whether the row had a seed or not."""
    head = f"deployment: {TEXT}\nnodes: {{prompt: 6.text, seed: 31.seed}}\nrows:\n"
    sandbox.fault("lost")
    run(write("list.yaml", f"{head}  - {{id: heron, prompt: a heron, {before}}}\n"))
    listed = batchgen("resolve", folder).stdout
    assert batchgen("resolve", folder).stdout == listed

    found = re.search(r"write (\d+) as 31\.seed in list\.yaml:4(.*); then\n +batchgen (.+)", listed)
    assert found, listed
    assert found[2] == (", in place of 7" if before else "")
    row = f"{{id: heron, prompt: a heron, 31.seed: {found[1]}}}"
    write("list.yaml", f"{head}  - {row}\n")
    assert batchgen(*shlex.split(found[3]), "--yes").code == 0
    told = run("list.yaml")

    assert told.code == 0, told.stderr
    assert query(folder, "SELECT state FROM requests WHERE listed = 1") == [("saved",)]
    assert query(folder, "SELECT state FROM requests WHERE listed <> 1") == [("written_off",)]
    assert sandbox.accepted == 2


def test_a_seed_is_offered_for_a_workflow_of_ones_own_too(
    run: Command, batchgen: Command, folder: Path, write: Write, here: Path, sandbox: Control
) -> None:
    (workflow,) = (one["payload"]["workflow_api_json"] for one in SAMPLES if one["id"] == SIZES)
    renamed = json.dumps(workflow).replace('"31"', '"77"')
    (here / "own.json").write_text(renamed)
    path = write("list.csv", "id,prompt\na,a heron\n")
    sandbox.fault("lost")
    run(path, "--deployment", TEXT, *NODES[:2], "--workflow", "own.json")

    assert " as 77.seed in list.csv:2; then" in batchgen("resolve", folder).stdout


def test_an_input_that_two_names_of_a_row_stand_for_is_a_problem(
    run: Command, write: Write, sandbox: Control
) -> None:
    rows = write("list.jsonl", '{"id": "a", "prompt": "a heron", "seed": 1, "31.seed": 5}\n')

    told = run(rows, "--deployment", TEXT, *NODES)

    assert told.code == 65
    assert "31.seed: two names of the row stand for it" in told.stderr


def test_deployments_are_listed_and_their_inputs_are_shown(
    batchgen: Command, sandbox: Control, address: Address
) -> None:
    sandbox.change_deployment(PHOTO, is_enabled=False)
    base = ("--base-url", address.base_url)

    listed = batchgen("models", "list", "--deployments", *base)
    shown = batchgen("models", "show", f"deployments/{TEXT}", *base)

    lines = {line.split()[0]: " ".join(line.split()) for line in listed.stdout.splitlines()}
    assert "AMPERE_48 0 to 2 instances v1" in lines[f"deployments/{TEXT}"]
    assert "disabled" in lines[f"deployments/{PHOTO}"]
    assert "31.sampler_name: " in shown.stdout
    as_json = batchgen("models", "list", "--deployments", "--json", *base)
    assert json.loads(as_json.stdout)[0]["version"] == "v1"


def test_a_first_list_for_a_deployment_names_its_likeliest_inputs(
    run: Command, batchgen: Command, here: Path, write: Write, sandbox: Control, address: Address
) -> None:
    base = ("--base-url", address.base_url)
    table = write("own.csv", "prompt,Seed\na heron,3\n")

    assert batchgen("init", "new.yaml", "--deployment", TEXT, *base).code == 0
    assert batchgen("init", "--from", table, "--deployment", TEXT, *base).code == 0

    written = (here / "new.yaml").read_text()
    assert f'deployment: "{TEXT}"' in written
    assert "  prompt: 6.text\n  seed: 31.seed\n" in written
    guessed = (here / "own.yaml").read_text()
    assert "  prompt: 6.text\n  seed: 31.seed\n" in guessed
    assert "columns:" in guessed  # Seed is seed
    assert run("new.yaml").code == 0
    assert run("own.yaml", "--out", "own").code == 0
    assert sandbox.accepted == 2


@PATIENT
def test_costs_are_estimated_by_seconds_and_reserved_for_the_next(
    run: Command, batchgen: Command, folder: Path, write: Write, reach: list[str],
    sandbox: Control,
) -> None:  # fmt: skip
    sandbox.set(seconds=0.2, spread=0.0)
    path = write("list.csv", "id,prompt,seed\na,a heron,1\nb,a heron,2\nc,a heron,3\n")
    words = ("--deployment", TEXT, *NODES, "--price-per-second", "AMPERE_48=0.1")
    refused = run(path, *words, "--max-cost", 1).stderr
    assert "--max-cost needs to know the price" in refused  # nothing is measured yet

    run(path, *words, "--limit", 1)
    told = run(path, *words, "--max-cost", 0.05).stderr

    costs = query(folder, "SELECT cost FROM requests WHERE cost IS NOT NULL")
    assert len(costs) == 2  # the third would pass the limit
    assert all(0.019 < cost < 0.021 for (cost,) in costs)
    assert "at the price that you said; a request came to $0.02)" in told
    assert "no price is known" not in told  # it was measured
    sums = json.loads(batchgen("status", folder, "--json").stdout)["money_usd"]
    assert sums["estimated_least"] == min(cost for (cost,) in costs)
    assert sums["estimated_most"] == max(cost for (cost,) in costs)
    assert "would pass the limit" in told
    planned = batchgen("plan", path, "--out", folder, *words, *reach)
    assert "the cost is an estimate: the most that a request has come to ($0.02)." in planned.stdout
    found = json.loads(batchgen("plan", path, "--out", folder, *words, *reach, "--json").stdout)
    assert found["requests_came_to"] == {
        "least": sums["estimated_least"],
        "most": sums["estimated_most"],
    }
    page = (folder / "report" / "index.html").read_text()
    assert "deployments by an estimate ($0.02 a request)" in page


def test_rows_of_an_older_version_are_told_and_made_anew_only_when_asked_for(
    run: Command, batchgen: Command, folder: Path, manifest: str, sandbox: Control,
    reach: list[str],
) -> None:  # fmt: skip
    run(manifest)
    sandbox.change_deployment(TEXT, workflow_version="v2")

    planned = batchgen("plan", manifest, "--out", folder, *reach)
    run(manifest)
    assert "2 saved rows were made by version v1" in planned.stdout
    assert "--older-versions" in planned.stdout
    assert sandbox.accepted == 2  # nothing else sends them again

    assert batchgen("retry", folder, "--older-versions", *reach).code == 0
    assert tally(folder) == {"pending": 2}
    sandbox.set(cache=False)  # the sandbox's workflow is the same
    assert run(manifest).code == 0
    assert query(folder, "SELECT DISTINCT version FROM requests") == [("v2",)]
    assert "2 rows queued" not in batchgen("retry", folder, "--older-versions", *reach).stdout


def test_where_deployments_are_asked_is_part_of_what_is_agreed_to(
    run: Command, batchgen: Command, folder: Path, manifest: str, reach: list[str],
    sandbox: Control, address: Address,
) -> None:  # fmt: skip
    own = address.base_url.replace("/v1", "/prod/v2")
    planned = batchgen("plan", manifest, "--out", folder, *reach, "--json")
    digest = json.loads(planned.stdout)["digest"]
    other = own.replace("127.0.0.1", "localhost")

    told = run(manifest, "--expect-plan", digest, "--serverless-url", other)

    assert told.code == 2
    assert "which service is asked" in told.stderr
    assert sandbox.posts == 0
    assert run(manifest, "--expect-plan", digest, "--serverless-url", own).code == 0
