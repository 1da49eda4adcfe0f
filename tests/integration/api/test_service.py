"""A second service can be put in: its paths, words and codes are its own, and the engine's are not.

It takes jobs in place of models, says `ready` in place of `completed`, and answers 507 when there
is no money. It is a real server on loopback.
"""

import asyncio
import io
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from helpers import states
from PIL import Image

from batchgen import event_loop
from batchgen.api.client import ApiClient, Commit
from batchgen.api.endpoint import Endpoint
from batchgen.api.poll_outcome import Cancelled, Completed, Failed, Running, Unclear
from batchgen.api.service import Capabilities, PollResult, Service
from batchgen.api.submit_outcome import (
    Accepted,
    Halt,
    HaltReason,
    NotAccepted,
    NotSent,
    OutcomeUnknown,
    Rejected,
    SubmitOutcome,
)
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core.prices import Price
from batchgen.core.rows import Row
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.engine.policy import Policy
from batchgen.engine.run_outcome import RunOutcome
from batchgen.journal.recovery import Recovery, open_journal
from batchgen.journal.staging import StagedRows
from batchgen.network.media_hosts import MediaHost
from batchgen.operations.execute import OutputOptions, execute


class Jobs:
    """The service, as a program that speaks to it sees it. To be entered and left."""

    capabilities = Capabilities(cancels_running=True, results_kept_s=86400.0)

    def __init__(self, client: ApiClient, host: MediaHost) -> None:
        self._client = client
        self.media_hosts = (host,)

    async def __aenter__(self) -> "Jobs":
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._client.__aexit__(*error)

    async def submit(self, model: str, body: bytes, commit: Commit) -> SubmitOutcome:
        response = await self._client.post_once("/jobs", body, commit)
        if not response.body_sent:
            return NotSent("not sent", offline=True)
        match response.status:
            case 201:
                return Accepted(response.body["job"])
            case 406:
                return Rejected(response.body["because"], 406)
            case 507:
                return Halt(NotAccepted("no money", 507), HaltReason.BALANCE)
        return OutcomeUnknown(f"answered {response.status}", response.status)

    def of(self, model: str) -> "Jobs":
        return self

    async def result(self, model: str, request_id: str) -> PollResult:
        response = await self._client.ask(f"/jobs/{request_id}")
        match response.body:
            case {"phase": "ready", "files": [*files]}:
                outcome: Any = Completed("ready", tuple(files))
            case {"phase": "broken", "because": reason}:
                outcome = Failed(reason, api_status="broken")
            case {"phase": "stopped"}:
                outcome = Cancelled("stopped")
            case {"phase": phase}:
                outcome = Running(phase)
            case _:
                outcome = Unclear(f"answered {response.status}")
        unreachable = type(response.error).__name__ if response.status is None else ""
        return PollResult(outcome, response.content.decode(), unreachable)

    async def inline_output(self, model: str, request_id: str, n: int) -> bytes | None:
        return None

    async def cancel(self, model: str, request_id: str) -> bool | None:
        return None

    async def balance(self) -> float | None:
        return None

    async def refusal(self, model: str) -> HaltReason | None:
        return None


@dataclass(frozen=True, slots=True)
class JobsEndpoint(Endpoint):
    """The one line in which endpoint.py would choose this service."""

    def services(self, timing: Timing = DEFAULT_TIMING, now: Any = None) -> Any:
        client = ApiClient(self.base, self.token, self.use_proxy, timing)
        return Jobs(client, self.media_hosts[0])


@dataclass
class JobsServer:
    """jobs: the prompts that were accepted, by job."""

    port: int = 0
    jobs: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    asked: set[str] = field(default_factory=set)

    async def post(self, request: web.Request) -> web.Response:
        self.tokens.add(request.headers.get("Authorization", ""))
        prompt = json.loads(await request.read())["prompt"]
        if prompt == "nonsense":
            return web.json_response({"because": "no such thing"}, status=406)
        if prompt == "dear":
            return web.json_response({}, status=507)
        job = f"j-{next(self.numbers)}"
        self.jobs[job] = prompt
        return web.json_response({"job": job}, status=201)

    async def get(self, request: web.Request) -> web.Response:
        job = request.match_info["job"]
        if job not in self.asked:  # running at the first question
            self.asked.add(job)
            return web.json_response({"phase": "baking"})
        if self.jobs[job] == "a stone":
            return web.json_response({"phase": "broken", "because": "too hard"})
        url = f"http://127.0.0.1:{self.port}/files/{job}.png"
        return web.json_response({"phase": "ready", "files": [url]})

    async def file(self, request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        picture = io.BytesIO()
        Image.new("RGB", (8, 8)).save(picture, "PNG")
        return web.Response(body=picture.getvalue(), content_type="image/png")


@pytest.fixture
def server() -> Iterator[JobsServer]:
    found = JobsServer()
    app = web.Application()
    app.add_routes([web.post("/api/jobs", found.post), web.get("/api/jobs/{job}", found.get)])
    app.add_routes([web.get("/files/{name}", found.file)])
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    found.port = runner.addresses[0][1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield found
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(runner.cleanup())
    loop.close()


class Silent:
    """Shows no progress."""

    def changed(self) -> None:
        pass

    def close(self) -> None:
        pass


def run_jobs(path: Path, port: int, prompts: list[str]) -> RunOutcome:
    """One run of a list of prompts, as operations.run has it behind the command line."""
    folder = Folder(path)
    folder.create()
    host = MediaHost("127.0.0.1", port)
    endpoint = JobsEndpoint(f"http://127.0.0.1:{port}/api", "a-token", (host,), use_proxy=False)
    staged = StagedRows()
    for position, prompt in enumerate(prompts, start=1):
        place = f"list:{position}"
        staged.add(Row(position, place, f"row-{position}", "jobs/any", {"prompt": prompt}, {}))
    with ExitStack() as stack:
        stack.callback(staged.close)
        stack.enter_context(folder.locked())
        journal, receipts = open_journal(stack, folder, Clock())
        recovery = Recovery(journal)
        recovery.recover(receipts.since(0), receipts.end)
        recovery.list_rows(staged)
        journal.start_run("list", {})
        policy = Policy(rate=1000.0, prices={"jobs/any": Price(0.5)})
        options = OutputOptions(provenance=True, sidecars=False, thumbnails=False, max_outputs=100)
        return event_loop.run(
            execute(journal, receipts, folder, endpoint, policy, options, lambda *_: Silent())
        )


def test_the_second_service_keeps_the_protocol() -> None:
    client = ApiClient("http://127.0.0.1:1", "a-token", False, DEFAULT_TIMING)
    jobs: Service = Jobs(client, MediaHost("127.0.0.1"))

    assert jobs.capabilities.cancels_running


def test_a_batch_runs_through_a_second_service(tmp_path: Path, server: JobsServer) -> None:
    outcome = run_jobs(tmp_path / "out", server.port, ["a heron", "nonsense", "a stone", "a fox"])

    assert outcome.code == 1
    assert states(tmp_path / "out") == {
        "row-1": "saved",
        "row-2": "failed",
        "row-3": "failed",
        "row-4": "saved",
    }
    assert sorted(server.jobs.values()) == ["a fox", "a heron", "a stone"]
    assert len([*(tmp_path / "out" / "images").glob("*.png")]) == 2
    assert server.tokens == {"Bearer a-token"}


def test_its_empty_wallet_stops_the_run_as_any_other(tmp_path: Path, server: JobsServer) -> None:
    outcome = run_jobs(tmp_path / "out", server.port, ["dear", "a fox"])

    assert outcome.code == 75
    assert states(tmp_path / "out") == {"row-1": "pending", "row-2": "pending"}
    assert server.jobs == {}
