"""The token, and logins of proxies and URLs, are in nothing that batchgen writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import PATIENT, TOKEN, query, table, tally
from sandbox_client import Control
from servers import HOST, Wire, listening, proxy

from batchgen import sandbox as sandbox_process
from batchgen.config import TOKEN_VARIABLES, environment_without_secrets

PASSWORD = "S3cret/of:the proxy"
SPELLED = "S3cret%2Fof%3Athe%20proxy"


def files_with(secret: str, place: Path) -> list[str]:
    return [
        str(path.relative_to(place))
        for path in place.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


def test_a_proxys_login_is_in_no_file_and_on_no_terminal(
    run: Command, folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(proxy(Wire(), None, f"407 who is jo:{PASSWORD}")) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://jo:{SPELLED}@{HOST}:{port}")
        manifest = write("list.csv", table({"heron": "a heron"}))
        ended = run(manifest, "--base-url", "https://models.invalid/v1")

    assert ended.code == 69
    assert f"url='http://[hidden]@{HOST}:{port}'" in ended.stderr
    for secret in (SPELLED, PASSWORD, "S3cret"):
        assert secret not in ended.stdout + ended.stderr
        assert files_with(secret, folder) == []


@PATIENT
def test_a_token_that_the_service_repeats_is_written_nowhere_but_in_the_input_that_has_it(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("failed", value=f"{'x' * 480} Bearer {TOKEN} is not for this", match="heron")
    sandbox.fault("status", value=[500, f"<p>Authorization: Bearer {TOKEN}</p>"], match="fox")
    sandbox.fault("status", value=[422, {"detail": f"no {TOKEN}"}], match="owl")
    sandbox.fault("odd-word", value=f"waiting for {TOKEN}", match="elk", times=1)
    prompts = {"heron": "a heron", "fox": "a fox", "owl": "an owl", "elk": "an elk"}
    ended = run(write("list.csv", table(prompts)), "-v")

    assert ended.code == 1
    assert tally(folder) == {"failed": 2, "unknown": 1, "saved": 1}
    shown = "".join(batchgen("resolve", folder, *more).stdout for more in ((), ("--json",)))
    for text in (TOKEN, TOKEN[:12]):
        assert text not in ended.stdout + ended.stderr + shown
        assert files_with(text, folder) == []
    assert "no [hidden]" in (folder / "results.csv").read_text(encoding="utf-8")

    run(write("other.csv", table({"crow": f"a crow, {TOKEN}"})), "--out", "out/other")
    (crow,) = query(folder.parent / "other", "SELECT input FROM requests")
    assert json.loads(crow[0])["prompt"] == f"a crow, {TOKEN}"
    assert TOKEN in (folder.parent / "other" / "results.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("list.csv", "is read as the list list.csv"),
        ("all/new.txt", "is read as the list all"),
        ("notes.txt", "is no log of batchgen, and would get its lines"),
        ("out/list/receipts.log", "is a file of the batch in out/list"),
        ("out/list/images/fox.png", "is a file of the batch in out/list"),
        ("logs/new.log", "There is no folder logs"),
    ],
)
def test_a_log_in_a_file_with_something_else_is_refused_and_nothing_is_sent_or_written(
    batchgen: Command, here: Path, reach: list[str], sandbox: Control, write: Write, name: str,
    why: str,
) -> None:  # fmt: skip
    write("list.csv", table({"heron": "a heron"}))
    write("all/heron.txt", "a heron\n")
    write("notes.txt", "milk\n")
    before = sorted(here.rglob("*"))

    manifest = "all" if name.startswith("all") else "list.csv"
    ended = batchgen("run", manifest, "--log-file", name, *reach)
    assert ended.code == 2
    assert why in ended.stderr
    assert "Nothing was sent." in ended.stderr
    assert sorted(here.rglob("*")) == before
    assert (here / "notes.txt").read_text() == "milk\n"


def test_a_log_goes_on_in_its_file(
    run: Command, here: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table({"heron": "a heron"}))
    write("empty.log", "")
    lines = []
    for name in ("own.log", "own.log", "empty.log", "out/list/batchgen.log"):
        assert run(manifest, "--log-file", name).code == 0
        lines.append((here / name).read_text().count("\n"))
    assert 0 < lines[0] < lines[1]


def test_the_sandboxs_process_has_neither_token_nor_proxy(
    monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    for name in (*TOKEN_VARIABLES, "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://jo:{TOKEN}@{HOST}:9")

    with (here / "stderr").open("w+", encoding="utf-8") as stderr:
        child = sandbox_process.spawn(None, [], stderr)
        try:
            sandbox_process.read_address(child, stderr)
            found = Path(f"/proc/{child.pid}/environ")
            environment = found.read_bytes() if found.exists() else b"PATH="
        finally:
            sandbox_process.stop(child)
    assert b"PATH=" in environment
    assert TOKEN.encode() not in environment


def test_a_process_without_secrets_has_the_rest_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNCOMFY_TOKEN", TOKEN)
    monkeypatch.setenv("https_proxy", f"http://jo:{TOKEN}@{HOST}:9")

    code = "import os; print(dict(os.environ))"
    command = [sys.executable, "-c", code]
    shown = subprocess.run(
        command, env=environment_without_secrets(), check=True, capture_output=True, text=True
    ).stdout
    assert TOKEN not in shown
    assert os.environ["PATH"] in shown
