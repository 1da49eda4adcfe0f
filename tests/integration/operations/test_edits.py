"""A list is edited between runs: what is new is sent, what is paid stays, nothing twice."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import many, media, query, states, table, tally
from sandbox_client import Control

BRUSH = "atelier/brush-2/text-to-image"


def sent(sandbox: Control) -> list[str]:
    """Every prompt that was accepted, sorted."""
    return sorted(json.loads(row["input"])["prompt"] for row in sandbox.ledger())


def listed(folder: Path) -> dict[str, str]:
    """The state of each row that the last list had."""
    return dict(query(folder, "SELECT id, state FROM requests WHERE listed = 1 ORDER BY position"))


def lose_journal(folder: Path) -> None:
    for file in folder.glob("batch.db*"):
        file.unlink()


def test_added_rows_alone_are_sent(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table(many(2))))

    assert run(write("list.csv", table(many(4)))).code == 0
    assert sent(sandbox) == sorted(many(4).values())
    assert tally(folder) == {"saved": 4}


def test_rows_without_ids_that_move_down_are_not_sent_again(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.txt", "a heron\na fox\n"))

    assert run(write("list.txt", "an owl\na heron\na fox\n")).code == 0
    assert sent(sandbox) == ["a fox", "a heron", "an owl"]


def test_every_changed_row_is_a_new_request_and_every_old_picture_stays(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table(many(3))))
    before = {path: (folder / path).read_bytes() for path in media(folder)}

    assert run(write("list.csv", table(many(3, "a fox")))).code == 0
    assert sandbox.posts == 6
    assert len(media(folder)) == 6
    assert {path: (folder / path).read_bytes() for path in before} == before


def test_a_change_that_is_taken_back_is_not_paid_a_third_time(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    for prompt in ("a heron", "a grey heron", "a heron"):
        assert run(write("list.csv", table({"heron": prompt}))).code == 0

    assert sent(sandbox) == ["a grey heron", "a heron"]
    ((prompt,),) = query(folder, "SELECT input ->> 'prompt' FROM requests WHERE listed = 1")
    assert prompt == "a heron"


def test_a_renamed_id_is_a_new_request_if_that_is_meant_and_the_old_picture_stays(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table({"heron": "a heron", "fox": "a fox"})))

    renamed = write("list.csv", table({"grey": "a heron", "fox": "a fox"}))
    assert run(renamed).code == 2
    assert run(renamed, "--allow-changed").code == 0
    assert sandbox.posts == 3
    assert listed(folder) == {"grey": "saved", "fox": "saved"}
    assert media(folder) == ["images/fox.png", "images/grey.png", "images/heron.png"]


def test_rows_whose_ids_change_places_are_new_requests_with_names_of_their_own(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table({"heron": "a heron", "fox": "a fox"})))

    swapped = write("list.csv", table({"heron": "a fox", "fox": "a heron"}))
    assert run(swapped).code == 2
    assert run(swapped, "--allow-changed").code == 0
    assert sandbox.posts == 4
    assert len(media(folder)) == 4


def test_a_removed_row_that_failed_is_not_tried_again_and_does_not_count(
    run: Command, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", match="fox")
    assert run(write("list.csv", table({"heron": "a heron", "fox": "a fox"}))).code == 1

    assert run(write("list.csv", table({"heron": "a heron"})), "--retry-failed").code == 0
    assert sandbox.posts == 2


def test_a_removed_row_that_may_have_been_billed_is_still_shown(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost", match="fox")
    run(write("list.csv", table({"heron": "a heron", "fox": "a fox"})))

    outcome = run(write("list.csv", table({"heron": "a heron"})))
    assert outcome.code == 1
    assert "1 unknown" in outcome.stderr
    assert states(folder)["fox"] == "unknown"


def test_a_row_that_comes_back_is_as_it_was(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    both = table({"heron": "a heron", "fox": "a fox"})
    for text in (both, table({"heron": "a heron"}), both):
        assert run(write("list.csv", text)).code == 0

    assert sandbox.posts == 2
    assert listed(folder) == {"heron": "saved", "fox": "saved"}


def test_a_new_order_is_the_order_of_submission_of_what_is_left(
    run: Command, sandbox: Control, write: Write
) -> None:
    rows = many(4)
    run(write("list.csv", table(rows)), "--limit", 1)
    run(write("list.csv", table(dict(reversed(rows.items())))), "--concurrency", 1)

    order = [json.loads(row["input"])["prompt"][-1] for row in sandbox.ledger()]
    assert order == ["1", "4", "3", "2"]


def test_a_changed_default_changes_the_rows_that_do_not_say_it_themselves(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    text = """
        defaults: {style: %s}
        rows:
          - {id: heron, prompt: a heron}
          - {id: fox, prompt: a fox, style: anime}
    """
    run(write("list.yaml", text % "realistic"))
    told = batchgen("plan", write("list.yaml", text % "anime"), "--out", folder).stdout

    assert 'style: "realistic" -> "anime"' in told
    assert "fox" not in told
    assert run("list.yaml").code == 0
    assert sandbox.posts == 3


def test_a_longer_matrix_sends_the_new_combinations_alone(
    run: Command, sandbox: Control, write: Write
) -> None:
    text = "matrix: {seed: [%s]}\nrows: [a heron, a fox]\n"
    run(write("list.yaml", text % "1, 2"))
    assert sandbox.posts == 4

    assert run(write("list.yaml", text % "1, 2, 3")).code == 0
    assert sandbox.posts == 6
    assert run(write("list.yaml", text % "3, 1")).code == 0
    assert sandbox.posts == 6


def test_an_edited_file_of_a_wildcard_sends_the_texts_that_are_new_alone(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    write("hue.txt", "red\nblue\n")
    text = "id,prompt\nfox,a __hue__ fox\n,a {__hue__|green} owl\n"
    manifest = write("list.csv", text)
    assert run(manifest, "--expand").code == 0
    before = states(folder)
    assert [id.partition("-")[0] for id in before] == ["fox"] * 2 + ["0003", "0004", "0005"]

    write("hue.txt", "# another order, another comment\nblack\nblue\nred\n")
    assert run(manifest, "--expand").code == 0
    assert sent(sandbox) == sorted(
        [f"a {hue} fox" for hue in ("red", "blue", "black")]
        + [f"a {hue} owl" for hue in ("red", "blue", "black", "green")]
    )
    assert before.items() <= states(folder).items()

    write("hue.txt", "red\n")
    assert run(manifest, "--expand").code == 0
    assert sandbox.posts == 7
    assert len(listed(folder)) == 3


def test_a_file_of_a_wildcard_that_grows_changes_few_of_a_sample(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    write("hue.txt", "".join(f"hue {n}\n" for n in range(30)))
    manifest = write("list.txt", "a __hue__ fox and a __hue__ owl\n")
    assert run(manifest, "--samples", 20).code == 0
    assert sandbox.posts == 20

    write("hue.txt", "".join(f"hue {n}\n" for n in range(31)))
    assert run(manifest, "--samples", 20).code == 0
    new = [prompt for prompt in sent(sandbox) if "hue 30" in prompt]
    assert sandbox.posts == 20 + len(new) <= 25


def test_what_was_written_and_what_was_sent_are_both_in_the_report(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", match="a red fox")
    manifest = write("list.csv", "id,prompt\nfox,a {red|blue} fox\n")
    assert run(manifest, "--expand").code == 1

    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [(row["input"]["prompt"], row["state"]) for row in found] == [
        ("a red fox", "failed"),
        ("a blue fox", "saved"),
    ]
    assert {row["meta"]["template"] for row in found} == {"a {red|blue} fox"}
    assert run(manifest, "--expand", "--retry-failed").code == 0
    assert tally(folder) == {"saved": 2}


def test_a_schema_that_wants_another_type_makes_another_request_and_the_plan_says_so(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    def schema(kind: str) -> str:
        properties = {"prompt": {"type": "string"}, "size": {"type": kind}}
        return json.dumps({"type": "object", "properties": properties})

    options = ("--model", BRUSH, "--schema", "schema.json")
    write("schema.json", schema("string"))
    run(write("list.csv", "id,prompt,size\nheron,a heron,42\n"), *options)
    write("schema.json", schema("integer"))

    told = batchgen("plan", "list.csv", "--out", folder, *options).stdout
    assert 'size: "42" -> 42' in told
    assert run("list.csv", *options).code == 0
    assert [json.loads(row["input"])["size"] for row in sandbox.ledger()] == ["42", 42]


def test_a_schema_that_only_knows_more_changes_nothing(
    run: Command, sandbox: Control, write: Write
) -> None:
    options = ("--model", BRUSH, "--schema", "schema.json")
    text = {"type": "string"}
    manifest = write("list.csv", table(many(2)))
    for properties in ({"prompt": text}, {"prompt": text, "mood": text | {"default": "calm"}}):
        write("schema.json", json.dumps({"type": "object", "properties": properties}))
        assert run(manifest, *options).code == 0

    assert sandbox.posts == 2


def test_a_schema_under_which_paid_rows_are_invalid_sends_nothing(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    options = ("--model", BRUSH, "--schema", "schema.json")
    manifest = write("list.csv", table(many(2)))
    for longest in (1000, 3):
        properties = {"prompt": {"type": "string", "maxLength": longest}}
        write("schema.json", json.dumps({"type": "object", "properties": properties}))
        outcome = run(manifest, *options)

    assert outcome.code == 65
    assert sandbox.posts == 2
    assert tally(folder) == {"saved": 2}


def test_the_same_list_under_another_path_goes_on(
    run: Command, here: Path, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table(many(3))), "--limit", 1)
    (here / "lists").mkdir()
    shutil.move("list.csv", "lists/spring.csv")

    assert run("lists/spring.csv").code == 0
    assert sandbox.posts == 3
    assert tally(folder) == {"saved": 3}


def test_the_same_rows_in_another_format_go_on(
    run: Command, sandbox: Control, write: Write
) -> None:
    rows = {"heron": "a heron", "fox": "a fox"}
    run(write("list.csv", table(rows)))
    lines = [json.dumps({"id": id, "prompt": prompt}) for id, prompt in rows.items()]

    assert run(write("list.jsonl", "\n".join(lines))).code == 0
    assert sandbox.posts == 2


# Two lists, one folder


def test_another_list_into_the_same_folder_is_refused_and_changes_nothing(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table(many(3))), "--limit", 1)
    outcome = run(write("other.csv", table({"fox": "a fox"})))

    assert outcome.code == 2
    assert "holds 3 rows of" in outcome.stderr
    assert "list.csv, and other.csv has none of them. Nothing was sent." in outcome.stderr
    assert "--new-list" in outcome.stderr
    assert sandbox.posts == 1
    assert tally(folder) == {"saved": 1, "pending": 2}
    assert run("list.csv").code == 0
    assert sandbox.posts == 3


def test_a_new_list_takes_the_place_of_the_old_one_when_asked_to(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table(many(3))), "--limit", 1)
    other = write("other.csv", table({"fox": "a fox"}))

    assert run(other, "--new-list").code == 0
    assert sandbox.posts == 2
    assert states(folder) == {"row-1": "saved", "fox": "saved"}
    assert listed(folder) == {"fox": "saved"}
    assert media(folder) == ["images/fox.png", "images/row-1.png"]
    assert run(other).code == 0
    assert sandbox.posts == 2


def test_the_old_list_is_known_by_what_was_paid_of_it(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table(many(3))), "--limit", 1)
    run(write("other.csv", table({"fox": "a fox"})), "--new-list")

    assert run("list.csv").code == 0
    assert sandbox.posts == 4
    assert listed(folder) == dict.fromkeys(many(3), "saved")


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param({"heron": "a grey heron"}, id="an id in common"),
        pytest.param({"heron": "a heron", "fox": "a fox"}, id="a row in common"),
    ],
)
def test_a_list_that_shares_a_row_is_the_same_list_edited(
    run: Command, sandbox: Control, write: Write, rows: dict[str, str]
) -> None:
    run(write("list.csv", table({"heron": "a heron", "owl": "an owl"})))
    Path("list.csv").unlink()

    assert run(write("edited.csv", table(rows))).code == 0
    assert sandbox.posts == 3


def test_a_list_that_has_only_ids_in_common_with_one_that_is_still_there_is_another_one(
    run: Command, sandbox: Control, write: Write
) -> None:
    """Two lists of one name went into one folder, since both counted from 1."""
    run(write("spring/list.csv", table({"1": "a heron", "2": "an owl"})))
    namesake = write("autumn/list.csv", table({"1": "a fox", "2": "an elk", "3": "a crane"}))
    refused = run(namesake)

    assert (refused.code, sandbox.posts) == (2, 2), refused
    assert "has none of them" in refused.stderr
    assert run(namesake, "--new-list").code == 0


def test_a_journal_that_is_lost_after_the_list_was_rewritten_is_not_paid_for_again(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    """Receipts have the keys of the rows as they were sent, and only the journal had the others."""
    run(write("list.csv", table({"0001": "a heron", "0002": "an owl"})))
    rewritten = write("list.csv", table({"1": "a heron", "2": "an owl"}))
    assert run(rewritten).code == 0
    lose_journal(folder)

    for _ in range(2):
        refused = run(rewritten)
        assert (refused.code, sandbox.posts) == (2, 2), refused
        assert "2 requests of receipts.log are paid for and of no row" in refused.stderr
    assert run(write("list.csv", table({"0001": "a heron", "0002": "an owl"}))).code == 0
    assert sandbox.posts == 2


def test_a_lost_journal_and_new_rows_go_on_where_that_is_meant(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table({"heron": "a heron", "owl": "an owl"})))
    lose_journal(folder)
    manifest = write("list.csv", table({"heron": "a heron", "fox": "a fox"}))

    assert run(manifest).code == 2
    assert run(manifest, "--allow-changed").code == 0
    assert sandbox.posts == 3


def test_a_journal_from_a_backup_is_told_to_be_older_than_the_receipts(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(2)))
    run(manifest, "--limit", 1)
    backup = (folder / "batch.db").read_bytes()
    assert "older" not in run(manifest).stderr
    lose_journal(folder)
    (folder / "batch.db").write_bytes(backup)
    outcome = run(manifest)

    assert (outcome.code, sandbox.posts) == (0, 2), outcome
    assert "older than receipts.log, as a backup is: 1 request was sent after" in outcome.stderr


def test_a_list_that_was_edited_in_its_place_may_change_altogether(
    run: Command, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table(many(2))))

    assert run(write("list.csv", table({"fox": "a fox"}))).code == 0
    assert sandbox.posts == 3


def test_what_the_old_list_has_in_flight_is_collected_for_the_new_one(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("media-500", times=None, match="heron")
    run(write("list.csv", table({"heron": "a heron"})))
    assert states(folder) == {"heron": "completed"}

    run(write("other.csv", table({"fox": "a fox"})), "--new-list")
    assert states(folder)["fox"] == "saved"
    assert states(folder)["heron"] == "completed"
    assert sandbox.posts == 2
