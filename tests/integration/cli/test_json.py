"""What programs read: each command's JSON satisfies its schema, and errors and progress do too."""

import copy
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from conftest import Command, Once, Write
from helpers import PATIENT, Outcome, PretendClock, many, table
from sandbox_client import Control

from batchgen.cli.main import cli
from batchgen.core.states import State
from batchgen.resources import schemas_folder

# Commands without --json, and why.
WITHOUT = {
    "help": "a text for people; the schemas and this documentation are for programs",
    "journal copy": "confirms in one line what it has done, or ends with an error",
    "sandbox": "prints one line of JSON by itself, and serves until it is ended",
    "work": "a run of one of several machines; `status --json` has what all have done",
}
MODEL = "ideogram/ideogram-v2/generate"
BRUSH = "atelier/brush-2/text-to-image"
DOCUMENT = json.loads((schemas_folder() / "output.schema.json").read_text(encoding="utf-8"))
OUTPUTS = DOCUMENT["properties"].keys() - {"--version"}
# Every command, in forms that print all that it can say, and the exit code of each. FOLDER is a
# batch with rows in many states, REACH leads to the sandbox.
FORMS: dict[str, list[tuple[list[str], int]]] = {
    "init": [(["new.yaml"], 0), (["--from", "prompts.tsv"], 0)],
    "run": [(["list.csv", "--rate", "1000/s", "REACH"], 1)],
    "validate": [(["list.csv"], 0), (["bad.csv"], 65), (["urls.csv", "--check-urls"], 0)],
    "plan": [
        (["list.csv", "REACH"], 0),
        (["list.csv", "--max-cost", "5", "--limit", "1", "--retry-failed", "REACH"], 0),
        (["edited.csv", "--out", "FOLDER", "--price", "0.5"], 0),
    ],
    "status": [(["FOLDER"], 0)],
    "retry": [(["FOLDER"], 0), (["FOLDER", "--cause", "no such"], 0)],
    "resolve": [
        (["FOLDER"], 1),
        (["FOLDER", "--id", "lost", "--write-off", "-y"], 0),
        (["rehearsal"], 1),
    ],
    "verify": [(["FOLDER", "REACH"], 0), (["broken", "REACH"], 0)],
    "pull": [(["FOLDER"], 0)],
    "cancel": [(["FOLDER", "REACH"], 0)],
    "report": [
        (["FOLDER"], 0),
        (["FOLDER", "--where", "id=nobody"], 0),
        (["FOLDER", "--to", "for-ada"], 0),
    ],
    "models list": [([], 0), (["--online", "REACH"], 0)],
    "models show": [([MODEL], 0)],
    "models fetch": [([BRUSH, "REACH"], 0)],
    "models forget": [([BRUSH], 0)],
    "pause": [(["FOLDER"], 0)],
    "resume": [(["FOLDER"], 0)],
    "set": [(["FOLDER", "rate=20/m", "max-cost=30", "--keep"], 0)],
    "doctor": [(["list.csv", "--", "REACH"], 0), ([], 69)],
    "config show": [([], 0), (["list.csv"], 0)],
    "config path": [([], 0)],
    "login": [([], 0)],
    "logout": [([], 0), ([], 0)],
    "schedule install": [
        (["list.csv", "--at", "01:30", "--by", "cron", "--until", "07:00"], 0),
        (["list.csv", "--at", "01:30", "--by", "systemd", "--dry-run"], 0),
    ],
    "schedule list": [([], 0)],
    "schedule show": [(["list"], 0)],
    "schedule check": [([], 0)],
    "schedule remove": [(["list"], 0)],
}
CRONTAB = """#!/bin/sh
case "$1" in
-l) cat "$CRONTAB_FILE" ;;
-) cat > "$CRONTAB_FILE.new" && mv "$CRONTAB_FILE.new" "$CRONTAB_FILE" ;;
esac
"""


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from leaves(inner, f"{name} {word}".strip())
    else:
        yield name, command


COMMANDS = dict(leaves(cli))


def closed(schema: Any) -> Any:
    """The same schema, in which an object has no properties that are not described."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(value) for name, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return made


STRICT = closed(copy.deepcopy(DOCUMENT))


def require(value: Any, pointer: str) -> None:
    """Fail where a value does not satisfy the part of the schemas at `pointer`."""
    place, name = pointer.split("/")
    validator = jsonschema.Draft202012Validator({"$defs": STRICT["$defs"], **STRICT[place][name]})
    assert [error.message for error in validator.iter_errors(value)] == []


@pytest.fixture
def batch(
    run: Command,
    sandbox: Control,
    write: Write,
    here: Path,
    once: Once,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A batch with rows in many states, which the sandbox has forgotten, and what else FORMS
    names."""
    outside = here / "outside"

    def begin() -> None:
        write("prompts.tsv", "Key\tPrompt\tNote\n1\tAn owl\tquiet\n2\tA fox\tred\n")
        write("bad.csv", "id,prompt,seed\nfox,a fox,12a\n,,x\n")
        write("urls.csv", table(many(1)))
        prompts = {"saved": "a heron", "failed": "a fox [[failed:no luck]]"}
        prompts |= {"lost": "an elk [[lost]]"}
        write("list.csv", table(prompts))
        write("edited.csv", table({**prompts, "saved": "a grey heron", "more": "an owl"}))
        outside.mkdir()
        (outside / "crontab").write_text(CRONTAB)
        (outside / "crontab").chmod(0o755)
        (here / "table").touch()
        assert run("list.csv").code == 1
        sandbox.reset()

    once("batch", begin)
    monkeypatch.setattr(sys, "stdin", io.StringIO("a-token-for-login\n"))
    monkeypatch.setenv("CRONTAB_FILE", str(here / "table"))
    monkeypatch.setenv("PATH", f"{outside}:{os.environ['PATH']}")
    return here / "out" / "list"


def test_every_command_that_prints_has_json_and_a_schema_for_it() -> None:
    """A new command needs --json (`JSON` of cli/options.py), its schema in
    schemas/output.schema.json, and a form in FORMS; or a reason in WITHOUT."""
    printing = COMMANDS.keys() - WITHOUT.keys()

    assert {n for n, c in COMMANDS.items() if any("--json" in p.opts for p in c.params)} == printing
    assert printing == OUTPUTS
    assert FORMS.keys() == printing


def test_the_schemas_are_schemas() -> None:
    jsonschema.Draft202012Validator.check_schema(DOCUMENT)
    assert {*DOCUMENT["$defs"]["counts"]["required"]} == {*map(str, State)}


@PATIENT
@pytest.mark.parametrize("name", FORMS)
def test_what_a_command_prints_satisfies_its_schema(
    batchgen: Command,
    run: Command,
    here: Path,
    batch: Path,
    reach: list[str],
    name: str,
) -> None:
    if name in ("models forget",):
        batchgen("models", "fetch", BRUSH, *reach)
    if name == "config show":
        batchgen("set", "list.csv", "rate=3/m", "--keep")
    if name.startswith("schedule "):
        batchgen("schedule", "install", "list.csv", "--at", "01:30", "--by", "cron")
    if name == "verify":
        assert run("urls.csv", "--out", "broken").code == 0
        next((here / "broken" / "images").iterdir()).unlink()
    if name == "resolve":
        batchgen("run", "list.csv", "--sandbox", "--out", "rehearsal", "--rate", "1000/s")
    for words, code in FORMS[name]:
        given: list[object] = []
        for word in words:
            given += reach if word == "REACH" else [batch if word == "FOLDER" else word]
        outcome = batchgen(*name.split(), "--json", *given)
        assert (outcome.code, words) == (code, words), outcome.stderr
        require(json.loads(outcome.stdout), f"properties/{name}")


def test_each_line_of_a_watch_satisfies_its_schema(batchgen: Command, batch: Path) -> None:
    outcome = batchgen("status", batch, "--watch", "--until-done", "--json")

    assert outcome.code == 0
    (line,) = outcome.stdout.splitlines()
    require(json.loads(line), "$defs/look")
    assert json.loads(line)["counts"]["saved"] == 1


def test_the_version_satisfies_its_schema(batchgen: Command) -> None:
    require(json.loads(batchgen("--version", "--json").stdout), "properties/--version")


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (["status", "nothing", "--json"], "UsageError", 2),
        (["status", "--json"], "UsageError", 2),
        (["stauts", "--json"], "UsageError", 2),
        (["plan", "list.csv", "--max-cots", "3", "--json"], "UsageError", 2),
        (["plan", "bad.csv", "--json"], "ManifestInvalid", 65),
        (["run", "bad.csv", "--json"], "ManifestInvalid", 65),
        (["models", "list", "--online", "--json"], "ServiceUnreachable", 69),
        (["report", "damaged", "--json"], "StorageDamaged", 74),
    ],
    ids=str,
)
@pytest.mark.timing(catalogue_total=1.0)
def test_an_error_is_the_last_line_of_stderr_and_stdout_is_empty(
    batchgen: Command, here: Path, write: Write, words: list[str], kind: str, code: int
) -> None:
    write("bad.csv", "id,prompt,seed\nfox,a fox,12a\n")
    (here / "damaged").mkdir()
    (here / "damaged" / "batch.db").write_bytes(b"SQLite format 3\0 and nothing more" * 100)

    outcome = batchgen(*words)

    assert (outcome.code, outcome.stdout) == (code, "")
    told = json.loads(outcome.stderr.splitlines()[-1])
    require(told, "$defs/error")
    assert (told["kind"], told["exit_code"]) == (kind, code)
    if code == 65:
        assert told["problems"][0]["line"] == 2
        assert told["problems"][0]["row"] == "fox"
        assert len(outcome.stderr.splitlines()) == 1


def test_without_json_an_error_is_words(batchgen: Command) -> None:
    assert not batchgen("status", "nothing").stderr.startswith("{")


def test_json_that_stands_for_the_runs_of_a_schedule_is_not_the_commands_own(
    batchgen: Command, here: Path
) -> None:
    words = ["schedule", "install", "nothing.csv", "--at", "01:30", "--", "--json"]

    assert not batchgen(*words).stderr.startswith("{")


# -- progress --------------------------------------------------------------------------------------


def lines_of(outcome: Outcome) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in outcome.stderr.splitlines()]
    for line in found:
        require(line, f"$defs/{line['type']}")
    return found


@pytest.fixture
def followed(run: Command, write: Write, sandbox: Control) -> Callable[..., list[dict[str, Any]]]:
    """The lines of a run of thirty rows: `followed("-v")`."""

    def follow(*options: str) -> list[dict[str, Any]]:
        sandbox.fault("422", match="number 3,")
        return lines_of(run(write("list.csv", table(many(30))), "--progress", "json", *options))

    return follow


def test_every_line_of_a_run_is_an_object_and_the_last_progress_is_whole(
    followed: Callable[..., list[dict[str, Any]]],
) -> None:
    lines = followed()

    progress = [line for line in lines if line["type"] == "progress"]
    assert [line["last"] for line in progress] == [False] * (len(progress) - 1) + [True]
    assert progress[0]["counts"]["pending"] == 30
    assert progress[-1]["counts"]["saved"] + progress[-1]["counts"]["failed"] == 30
    assert progress[-1]["committed_usd"] > 0
    assert [line for line in lines if line["type"] == "message"]


def test_progress_comes_once_a_second_at_most(
    run: Command, write: Write, clock: PretendClock
) -> None:
    began = clock.monotonic()
    lines = lines_of(
        run(write("list.csv", table(many(50))), "--progress", "json", "--rate", "150/m")
    )
    progress = [line for line in lines if line["type"] == "progress"]

    # The first and the last are beside those of each second.
    assert 3 <= len(progress) <= clock.monotonic() - began + 3


def test_progress_for_a_program_is_there_with_quiet_too(
    followed: Callable[..., list[dict[str, Any]]],
) -> None:
    assert {line["type"] for line in followed("-q")} >= {"progress"}


def test_the_steps_of_a_verbose_run_are_objects_with_their_level(
    followed: Callable[..., list[dict[str, Any]]],
) -> None:
    assert {line.get("level") for line in followed("-v")} >= {"debug", "info"}


def test_stdout_is_the_summary_alone(run: Command, write: Write) -> None:
    outcome = run(write("list.csv", table(many(2))), "--progress", "json", "--json")

    require(json.loads(outcome.stdout), "properties/run")


def test_an_error_of_a_run_with_progress_is_an_object(batchgen: Command) -> None:
    (line,) = lines_of(batchgen("run", "nothing.csv", "--progress", "json"))

    assert (line["type"], line["exit_code"]) == ("error", 2)
