"""Which schema decides: once kept it serves all commands, and never makes other rows of a batch."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import PATIENT, query, states, table
from sandbox_client import Control
from servers import listening

from batchgen.operations.models import MAX_PAGES
from batchgen.resources import schemas_folder
from batchgen.sandbox import Address

MODEL = "ideogram/ideogram-v2/generate"
BRUSH = "atelier/brush-2/text-to-image"


@pytest.fixture
def cached(here: Path) -> Callable[[str], Path]:
    """Return where `models fetch` keeps the schema of a model."""
    return lambda model: Path(os.environ["XDG_CACHE_HOME"]) / f"batchgen/schemas/{model}.json"


@pytest.fixture
def fetched(batchgen: Command, reach: list[str], cached: Callable[[str], Path]) -> Path:
    """The kept schema of BRUSH."""
    outcome = batchgen("models", "fetch", BRUSH, *reach)
    assert (outcome.code, outcome.stdout) == (0, f"{cached(BRUSH)}\n")
    return cached(BRUSH)


@pytest.fixture
def catalogue(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands without --base-url find the sandbox's catalogue."""
    monkeypatch.setenv("RUNCOMFY_MODEL_API_BASE", address.base_url)


def keep(path: Path, model: str, **types: str) -> None:
    """Write a schema as `models fetch` would, with these inputs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    properties = {"prompt": {"type": "string"}} | {n: {"type": t} for n, t in types.items()}
    schema = {"type": "object", "required": ["prompt"], "properties": properties}
    path.write_text(json.dumps({"model_id": model, "input": schema, "fetched_at": "2026-11-01"}))


# Fetched once, it serves


def test_a_schema_that_was_fetched_serves_every_later_command_without_the_catalogue(
    run: Command,
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    fetched: Path,
    catalogue: None,
) -> None:
    sandbox.fault("500", times=None, on="model")
    manifest = write("list.csv", table({"heron": "A heron"}))

    for command in ("validate", "plan"):
        outcome = batchgen(command, manifest, "--model", BRUSH)
        assert (outcome.code, outcome.stderr) == (0, "")
    assert "prompt: string" in batchgen("models", "show", BRUSH).stdout
    assert f"{BRUSH}  $0.03 per output" in batchgen("models", "list").stdout
    assert "  fetched (20" in batchgen("models", "list", "--search", "brush").stdout
    assert run(manifest, "--model", BRUSH).code == 0
    assert states(folder) == {"heron": "saved"}


@PATIENT
def test_a_rehearsal_knows_a_model_that_was_fetched(
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    fetched: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    manifest = write("list.csv", table({"heron": "A heron"}))

    outcome = batchgen("run", manifest, "--model", BRUSH, "--sandbox", "--rate", "100/s")

    assert outcome.code == 0
    assert states(folder) == {"heron": "saved"}
    assert sandbox.posts == 0


def test_what_was_fetched_comes_before_what_comes_along_in_a_new_batch(
    run: Command, folder: Path, sandbox: Control, write: Write, cached: Callable[[str], Path]
) -> None:
    keep(cached(MODEL), MODEL, seed="string")

    run(write("list.csv", "prompt,seed\nA heron,7\n"))

    assert json.loads(query(folder, "SELECT input FROM requests")[0][0])["seed"] == "7"


def test_a_schema_can_be_forgotten(batchgen: Command, fetched: Path) -> None:
    forgotten = batchgen("models", "forget", BRUSH)
    again = batchgen("models", "forget", BRUSH)

    assert (forgotten.code, forgotten.stdout) == (0, f"{fetched}\n")
    assert not fetched.exists()
    assert (again.code, again.stderr) == (2, f"No schema of {BRUSH} was fetched.\n")
    assert "comes with batchgen stays" in batchgen("models", "forget", MODEL).stderr


def test_without_a_home_a_schema_can_still_go_to_a_file(
    batchgen: Command, here: Path, reach: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")

    kept = batchgen("models", "fetch", BRUSH, *reach)

    assert (kept.code, kept.stdout) == (2, "")
    assert "XDG_CACHE_HOME" in kept.stderr
    assert batchgen("models", "list").code == 0
    assert batchgen("models", "fetch", BRUSH, "-o", "brush.json", *reach).code == 0


def test_a_kept_schema_that_is_damaged_is_named_with_the_way_out(
    batchgen: Command, write: Write, fetched: Path
) -> None:
    fetched.write_text('{"input":')

    outcome = batchgen("validate", write("list.csv", "prompt\nA\n"), "--model", BRUSH)

    assert outcome.code == 2
    assert f"{fetched} is not a usable model schema" in outcome.stderr
    assert "batchgen models" in outcome.stderr


# A batch keeps what it began with


def test_a_refreshed_schema_never_pays_again_for_the_rows_of_a_batch(
    run: Command, folder: Path, sandbox: Control, write: Write, cached: Callable[[str], Path]
) -> None:
    rows = "prompt,size\nA heron,7\n"
    keep(cached(BRUSH), BRUSH, size="string")
    run(write("list.csv", rows), "--model", BRUSH)
    keep(cached(BRUSH), BRUSH, size="integer")

    assert run(write("list.csv", rows), "--model", BRUSH, "--max-time", "1h").code == 0
    run(write("list.csv", f"{rows}A fox,8\n"), "--model", BRUSH)

    sent = [json.loads(input)["size"] for (input,) in query(folder, "SELECT input FROM requests")]
    assert sent == ["7", "8"]
    assert sandbox.posts == 2


@pytest.mark.parametrize("has_copy", [True, False])
def test_a_batch_checked_by_what_came_along_stays_with_it(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    cached: Callable[[str], Path],
    has_copy: bool,
) -> None:
    rows = "prompt,seed\nA heron,7\n"
    run(write("list.csv", rows))
    copy = folder / "schemas" / f"{MODEL}.json"
    bundled = json.loads((schemas_folder() / f"{MODEL}.json").read_text())
    assert json.loads(copy.read_text())["input"] == bundled["input"]
    assert json.loads(copy.read_text())["fetched_at"] == bundled["date"]
    if not has_copy:
        copy.unlink()  # as in a batch of an earlier version
    keep(cached(MODEL), MODEL, seed="string")

    run(write("list.csv", f"{rows}A fox,8\n"))

    sent = [json.loads(input)["seed"] for (input,) in query(folder, "SELECT input FROM requests")]
    assert sent == [7, 8]
    assert sandbox.posts == 2
    assert copy.is_file()


# Asked where it is needed


def test_plan_and_validate_ask_the_catalogue_where_there_is_a_token(
    batchgen: Command,
    here: Path,
    sandbox: Control,
    write: Write,
    catalogue: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = write("list.csv", table({"heron": "A heron"}))
    ways = (("validate",), ("plan",), ("run", "--dry-run"))
    commands = [(words[0], manifest, *words[1:], "--model", BRUSH) for words in ways]

    assert [batchgen(*words).code for words in commands] == [0, 0, 0]

    monkeypatch.delenv("RUNCOMFY_TOKEN")
    for words in commands:
        outcome = batchgen(*words)
        assert outcome.code == 2
        assert f"Get it with: batchgen models fetch {BRUSH}" in outcome.stderr
    # These have neither --schema nor --sandbox.
    shown = batchgen("models", "show", BRUSH).stderr
    assert "name a file: batchgen run LIST --schema FILE" in shown
    fetched = batchgen("models", "fetch", BRUSH).stderr
    assert "without an account: batchgen run LIST --sandbox" in fetched
    assert sandbox.posts == 0
    assert [path.name for path in here.iterdir()] == ["list.csv"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ideogram/ideogram-v2/generat", MODEL),
        ("Ideogram/Ideogram-V2/Generate", MODEL),
        ("atelier/brush-2/text-to-imag", BRUSH),
        ("atelier/brush/text-to-image", BRUSH),
        ("ideogram v2", ""),
    ],
)
@pytest.mark.parametrize("command", ["run", "validate", "models fetch"])
def test_an_id_that_is_nearly_right_is_told_with_the_right_one(
    batchgen: Command,
    here: Path,
    sandbox: Control,
    write: Write,
    catalogue: None,
    given: str,
    meant: str,
    command: str,
) -> None:
    words = [write("list.csv", table({"heron": "A heron"})), "--model", given]
    outcome = batchgen(*command.split(), *(words if "fetch" not in command else [given]))

    assert outcome.code in (2, 69)
    assert (f"Did you mean {meant}?" if meant else "is not a model id") in outcome.stderr
    assert [path.name for path in here.iterdir()] == ["list.csv"]


@pytest.mark.parametrize("model", ["../../../outside", "a/../../b", "/etc/x", "a\nb/c"])
def test_no_id_leads_out_of_the_folder_of_schemas(
    batchgen: Command, here: Path, write: Write, reach: list[str], model: str
) -> None:
    (here / "outside.json").write_text('{"properties": {"prompt": {}}}')

    assert batchgen("models", "fetch", model, *reach).code == 2
    assert batchgen("models", "forget", model).code == 2
    assert batchgen("models", "show", model).code == 2
    assert batchgen("validate", write("list.csv", "prompt\nA\n"), "--model", model).code == 2


# A catalogue from a stranger


@contextmanager
def catalogue_of(page: Callable[[int], bytes]) -> Iterator[tuple[str, list[int]]]:
    """A catalogue that answers by `page`, from an offset on; its base URL and what was asked."""
    asked: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            asked.append(int(head.partition(b"offset=")[2].split(None, 1)[0]))
            body = page(asked[-1])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    with listening(talk) as port:
        yield f"http://127.0.0.1:{port}/v1", asked


def test_a_catalogue_that_never_ends_is_listed_up_to_a_number_of_pages(batchgen: Command) -> None:
    def page(offset: int) -> bytes:
        return json.dumps({"models": [{"model_id": f"a/b/model-{offset}"}]}).encode()

    with catalogue_of(page) as (base, asked):
        outcome = batchgen("models", "list", "--online", "--base-url", base)

    assert outcome.code == 0
    assert len(asked) == MAX_PAGES


def test_of_one_page_no_more_is_taken_than_was_asked_for(batchgen: Command) -> None:
    def page(offset: int) -> bytes:
        ids = range(50_000) if offset == 0 else ()
        return json.dumps({"models": [{"model_id": f"a/b/model-{n}"} for n in ids]}).encode()

    with catalogue_of(page) as (base, _):
        outcome = batchgen("models", "list", "--online", "--base-url", base)

    assert outcome.stdout.count("a/b/model-") == 100


def test_a_page_of_many_megabytes_is_no_list(batchgen: Command) -> None:
    def page(offset: int) -> bytes:
        return json.dumps({"models": [{"model_id": "a/b/c", "x": "a" * (9 << 20)}]}).encode()

    with catalogue_of(page) as (base, _):
        outcome = batchgen("models", "list", "--online", "--base-url", base)

    assert outcome.code == 69
    assert "no list of models" in outcome.stderr


@pytest.mark.timing(catalogue_total=1.0)
def test_a_catalogue_that_takes_its_time_for_each_page_is_given_up(batchgen: Command) -> None:
    def page(offset: int) -> bytes:
        time.sleep(0.1)
        return json.dumps({"models": [{"model_id": f"a/b/model-{offset}"}]}).encode()

    with catalogue_of(page) as (base, _):
        outcome = batchgen("models", "list", "--online", "--base-url", base)

    assert outcome.code == 69
    assert "was not read in 1 s" in outcome.stderr


def test_what_a_catalogue_says_cannot_steer_the_terminal(batchgen: Command) -> None:
    steering = "\x1b]0;owned\x07\u202egpj\n$ rm -rf /\x9b2J"
    entries = [
        {
            "model_id": "a/b/c",
            "display_name": steering,
            "categories": [steering, {"x": steering}, 10**400],
            "base_price_usd": 0.5,
            "price_unit": steering,
        },
        {"model_id": "a/b/d", "base_price_usd": 10**400, "display_name": [steering]},
        {"model_id": f"a/b/{steering}"},
        steering,
    ]

    def page(offset: int) -> bytes:
        return json.dumps({"models": entries if offset == 0 else []}).encode()

    with catalogue_of(page) as (base, _):
        outcome = batchgen("models", "list", "--online", "--base-url", base)

    assert outcome.code == 0
    assert "\\x1b]0;owned\\x07\\u202egpj $ rm -rf /" in outcome.stdout
    assert outcome.stdout.replace("\n", "").isprintable()
