"""The sandbox answers as the Model API does, bills in its own ledger, and misbehaves to order."""

import io
import json
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from PIL import Image
from sandbox_client import NO_CERTIFICATES, Control

from batchgen.cli.sandbox import sandbox as sandbox_command
from batchgen.errors import ServiceUnreachable
from batchgen.sandbox import Address, read_address, spawn, started, stop
from batchgen.sandbox.api_faults import API_FAULTS
from batchgen.sandbox.catalogue import standard_schema
from batchgen.sandbox.faults import (
    ACCEPTED_FIRST,
    FAULTS,
    OUTCOME,
    POLL,
    FaultPlan,
    find_markers,
    value_problem,
)
from batchgen.sandbox.ledger import canonical_input
from batchgen.sandbox.media import pad_png, stamp_png
from batchgen.sandbox.media_faults import MEDIA_FAULTS
from batchgen.sandbox.placeholder import NOTICE, draw_card, encode, picture_size
from batchgen.sandbox.queue import RequestQueue
from batchgen.sandbox.requests import REWORDINGS
from batchgen.sandbox.services import DEPLOYMENTS, MODELS

MODEL = "ideogram/ideogram-v2/generate"
GENERATE = f"/models/{MODEL}"
PLAINLY: dict[str, Any] = {"trust_env": False, "timeout": 20, "verify": NO_CERTIFICATES}
AT_ONCE = ["--seconds", "0", "--spread", "0"]
FOR_EVER = 100_000.0


class Client(httpx.Client):
    """A customer of the API, with a token."""

    def __init__(self, base_url: str) -> None:
        token = {"Authorization": "Bearer a-token"}
        super().__init__(base_url=base_url, headers=token, **PLAINLY)

    def ask(self, prompt: str = "a heron", **more: Any) -> httpx.Response:
        return self.post(GENERATE, json={"prompt": prompt, **more})

    def order(self, prompt: str = "a heron", **more: Any) -> str:
        return str(self.ask(prompt, **more).raise_for_status().json()["request_id"])

    def status(self, request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/requests/{request_id}/status").json()
        return found

    def result(self, request_id: str, **query: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/requests/{request_id}/result", params=query).json()
        return found

    def cancel(self, request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.post(f"/requests/{request_id}/cancel").json()
        return found

    def picture_url(self, prompt: str = "a heron", **more: Any) -> str:
        return str(self.result(self.order(prompt, **more))["output"]["image"])


@pytest.fixture
def control(sandbox: Control) -> Control:
    """Of a sandbox whose pictures have their usual size."""
    sandbox.set(picture_size=512)
    return sandbox


@pytest.fixture
def client(address: Address, control: Control) -> Iterator[Client]:
    with Client(address.base_url) as found:
        yield found


@pytest.fixture
def plain() -> Iterator[httpx.Client]:
    """A client without a token, for media."""
    with httpx.Client(**PLAINLY) as found:
        yield found


def raw_request(address: Address, prompt: str = "a heron") -> bytes:
    body = json.dumps({"prompt": prompt}).encode()
    head = f"POST /v1{GENERATE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def connect(url: str) -> socket.socket:
    where = httpx.URL(url)
    return socket.create_connection((where.host, where.port), timeout=20)


def read_to_end(sock: socket.socket) -> bytes:
    """All bytes until FIN; a RST raises ConnectionResetError."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def exchange(address: Address, request: bytes) -> bytes:
    with connect(address.base_url) as sock:
        sock.sendall(request)
        return read_to_end(sock)


# The API as documented


def test_a_request_is_accepted_finished_and_its_picture_delivered(
    client: Client, plain: httpx.Client
) -> None:
    answer = client.ask("a heron").json()
    result = client.get(answer["result_url"]).json()
    picture = plain.get(result["output"]["image"])

    assert set(answer) == {"request_id", "status_url", "result_url", "cancel_url"}
    assert client.get(answer["status_url"]).json()["status"] == "completed"
    assert result["status"] == "completed"
    assert result["model_id"] == MODEL
    assert "cost" not in result
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (512, 512)


def test_the_cost_is_told_when_asked_for(client: Client) -> None:
    assert client.result(client.order(), include_cost="true")["cost"] == 0.03


def test_the_queue_is_first_come_first_served_and_tells_positions(
    client: Client, control: Control
) -> None:
    control.set(slots=1, seconds=FOR_EVER)
    first, second, third = (client.order(f"heron {n}") for n in range(3))

    assert client.status(first)["status"] == "in_progress"
    assert client.status(second) | {"queue_position": 0} == client.status(second)
    assert client.result(third)["queue_position"] == 1
    assert client.result(third)["output"] is None


def test_only_what_is_in_the_queue_can_be_cancelled_and_it_is_refunded(
    client: Client, control: Control
) -> None:
    control.set(slots=1, seconds=FOR_EVER)
    first, second, third = (client.order(f"heron {n}") for n in range(3))

    assert client.cancel(second)["outcome"] == "cancelled"
    assert client.cancel(first) == {
        "request_id": first,
        "status": "in_progress",
        "outcome": "not_cancellable",
    }
    assert client.cancel(second)["outcome"] == "not_cancellable"
    assert client.result(second)["status"] == "cancelled"
    assert client.status(third)["queue_position"] == 0
    assert control.billed_usd == pytest.approx(0.06)
    assert [row["billed"] for row in control.ledger()] == [True, False, True]


def test_a_missing_or_refused_token_is_turned_away(address: Address, client: Client) -> None:
    for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer refused"}):
        answer = httpx.get(f"{address.base_url}/requests/abc/status", headers=headers, **PLAINLY)
        assert (answer.status_code, answer.json()["error_code"]) == (401, 400004)
    client.headers["Authorization"] = "Bearer refused"
    assert client.ask().status_code == 401


def test_only_the_given_token_is_accepted(client: Client, control: Control) -> None:
    control.set(token="right")
    assert client.ask().status_code == 401
    client.headers["Authorization"] = "Bearer right"
    assert client.ask().status_code == 200


def test_unknown_requests_and_models_have_their_codes(client: Client) -> None:
    assert client.status("no-such-id")["error_code"] == 404001
    assert client.get("/requests/not~an~id/status").json()["error_code"] == 400001
    assert client.post("/models/no/such", json={"prompt": "x"}).json()["error_code"] == 400001
    assert client.get("/nowhere").status_code == 404


@pytest.mark.parametrize(
    ("given", "loc", "kind"),
    [
        ({}, ["body", "prompt"], "missing"),
        ({"prompt": 7}, ["body", "prompt"], "string_type"),
        ({"prompt": "x", "seed": "12a"}, ["body", "seed"], "integer_type"),
        ({"prompt": "x", "style": "baroque"}, ["body", "style"], "enum"),
        ([], ["body"], "object_type"),
    ],
)
def test_an_input_that_does_not_fit_is_a_422_with_its_place(
    client: Client, control: Control, given: Any, loc: list[str], kind: str
) -> None:
    answer = client.post(GENERATE, json=given)

    assert answer.status_code == 422
    assert [(d["loc"], d["type"]) for d in answer.json()["detail"]] == [(loc, kind)]
    assert (control.posts, control.accepted) == (1, 0)


def test_nonstandard_schemas_are_read_as_far_as_they_mean_something() -> None:
    odd = {"properties": {"type": {"type": "float", "validations": []}, "x": {"type": "wish"}}}
    assert standard_schema(odd) == {
        "properties": {"type": {"type": "number", "validations": []}, "x": {}}
    }


def test_too_many_posts_are_throttled_and_told_when_to_come_back(
    client: Client, control: Control
) -> None:
    control.set(rate=0.01)
    assert client.ask().status_code == 200
    in_seconds = client.ask()
    control.set(retry_after="date")
    at_a_date = client.ask()

    assert (in_seconds.status_code, in_seconds.headers["retry-after"]) == (429, "100")
    assert at_a_date.headers["retry-after"].endswith("GMT")
    assert control.counts()["throttled"] == 2
    assert [post["answer"] for post in control.log()] == ["200", "429", "429"]


def test_the_wallet_empties_and_then_nothing_is_accepted(
    address: Address, client: Client, control: Control
) -> None:
    control.set(balance=0.05)
    wallet = address.base_url.replace("/v1", "/prod/v2/balance")
    client.order()

    assert client.get(wallet).json() == {"balance_usd": 0.02, "currency": "USD"}
    assert client.ask().json()["error_code"] == 400002
    assert control.accepted == 1


def test_the_ledger_counts_what_each_input_was_billed(client: Client, control: Control) -> None:
    client.order("a heron", seed=1)
    client.order(seed=1, prompt="a heron")
    client.order("a fox")

    assert control.billed_per_input() == {
        canonical_input({"prompt": "a heron", "seed": 1}): 2,
        canonical_input({"prompt": "a fox"}): 1,
    }
    assert control.counts()["by_status"] == {"completed": 3}


def test_models_are_listed_and_described_with_their_price(client: Client) -> None:
    one = client.get(GENERATE).json()
    listed = client.get("/models", params={"search": "IDEOGRAM"}).json()

    assert one["input_schema"]["required"] == ["prompt"]
    assert (one["base_price_usd"], one["price_unit"], one["pricing_note"]) == (0.03, "output", "")
    assert one.keys() == listed["models"][0].keys() | {"input_schema"}
    assert [m["model_id"] for m in listed["models"]] == [MODEL]
    assert listed.keys() == {"models", "total", "limit", "offset"}
    assert client.get("/models", params={"search": "nothing"}).json()["total"] == 0
    assert client.get("/models/categories").json() == {
        "categories": ["audio-generation", "image-generation", "video-generation"]
    }


def test_a_video_is_billed_by_its_seconds_and_a_note_says_that_it_may_be_more(
    client: Client, control: Control
) -> None:
    control.set(all_models=True, price=0.15, pricing_note="from; audio is extra", cost_factor=2)
    video = "/models/a/b/text-to-video"
    one = client.get(video).json()

    def cost(**given: Any) -> float:
        answer = client.post(video, json={"prompt": "x", **given}).json()
        return float(client.result(answer["request_id"], include_cost="true")["cost"])

    assert (one["base_price_usd"], one["price_unit"]) == (0.15, "second")
    assert one["pricing_note"] == "from; audio is extra"
    assert (cost(duration=8), cost(duration="4"), cost(duration="auto"), cost()) == (
        2.4, 1.2, 1.5, 1.5,
    )  # fmt: skip
    assert control.billed_usd == 6.6


def test_a_model_that_was_fetched_is_rehearsed_as_it_is_in_the_catalogue(tmp_path: Path) -> None:
    fetched = {
        "model_id": "a/b/text-to-video",
        "display_name": "Clips",
        "categories": ["text-to-video"],
        "base_price_usd": 0.5,
        "price_unit": "second",
        "pricing_note": "1080p costs more",
        "input_schema": {"type": "object", "required": ["prompt"], "properties": {}},
        "model_url": "https://www.runcomfy.com/models/a/b/text-to-video",
    }
    path = tmp_path / "fetched.json"
    path.write_text(json.dumps(fetched))
    with (
        started(None, options=[*AT_ONCE, "--schema", str(path)]) as address,
        Client(address.base_url) as client,
    ):
        assert client.get("/models/a/b/text-to-video").json() == fetched
        assert client.post("/models/a/b/text-to-video", json={}).status_code == 422
        ordered = client.post("/models/a/b/text-to-video", json={"prompt": "x", "duration": 3})
        result = client.result(ordered.json()["request_id"], include_cost="true")
        assert result["cost"] == 1.5


def test_what_has_not_finished_may_be_a_400_and_what_is_accepted_a_202(
    client: Client, control: Control
) -> None:
    control.set(seconds=FOR_EVER)
    control.fault("202")
    control.fault("not-ready", times=None)
    accepted = client.ask()
    told = client.get(accepted.json()["result_url"])

    assert accepted.status_code == 202
    assert (told.status_code, told.json()["error_code"]) == (400, 400005)
    control.set(seconds=0)
    assert client.result(client.order("a fox"))["status"] == "completed"


def test_several_pictures_videos_and_sounds_have_their_fields_and_bytes(
    client: Client, control: Control, plain: httpx.Client
) -> None:
    control.set(all_models=True)

    def output(model: str, **given: Any) -> dict[str, Any]:
        answer = client.post(f"/models/{model}", json={"prompt": "x", **given}).json()
        found: dict[str, Any] = client.result(answer["request_id"])["output"]
        return found

    images = output("a/b/text-to-image", num_images=3, output_format="jpeg")["images"]
    video = plain.get(output("a/b/text-to-video")["video"]).content
    sound = plain.get(output("a/music")["audio"]).content
    first, second = (plain.get(url).content for url in images[:2])

    assert len(images) == 3
    assert first.startswith(b"\xff\xd8\xff")
    assert first != second
    assert video[4:12] == b"ftypisom"
    assert struct.unpack(">I", video[:4])[0] == 24
    assert (sound[:4], sound[8:12]) == (b"RIFF", b"WAVE")


# Media


def test_media_live_on_another_origin_that_notes_a_token_it_should_not_see(
    address: Address, client: Client, control: Control, plain: httpx.Client
) -> None:
    url = client.picture_url()
    assert httpx.URL(url).netloc.decode() == address.media_host != httpx.URL(address.base_url)
    plain.get(url)
    assert control.counts()["media_with_token"] == 0
    client.get(url)
    assert (control.counts()["media"], control.counts()["media_with_token"]) == (2, 1)


def test_there_is_no_picture_before_the_request_is_finished(
    address: Address, client: Client, control: Control, plain: httpx.Client
) -> None:
    control.set(seconds=FOR_EVER)
    url = f"http://{address.media_host}/media/{client.order()}/0.png"
    assert plain.get(url).status_code == 404


def test_pictures_are_the_same_for_the_same_input_and_differ_otherwise() -> None:
    def picture(prompt: str, n: int = 0, **given: Any) -> bytes:
        return encode(draw_card(given, prompt, n, 128), "PNG")

    assert picture("a heron", seed=1) == picture("a heron", seed=1)
    assert len({picture("a heron", n=n, seed=s) for n in (0, 1) for s in (0, 1)}) == 4
    assert picture("a heron") != picture("a fox")


def test_a_picture_shows_its_prompt_and_that_it_is_a_placeholder() -> None:
    def ink(prompt: str) -> bytes:
        """The picture's text alone: how much of white each pixel has."""
        return draw_card({}, prompt, 0, 512).tobytes()

    assert NOTICE.startswith("PLACEHOLDER")
    assert any(ink(""))
    assert ink("a heron") != ink("")
    assert ink("a heron") != ink("a fox")


@pytest.mark.parametrize("prompt", ["", "A fox", "Übersee, 東京", "a" * 9999, "\ud800 half"])
def test_the_text_of_a_picture_is_white_on_a_dark_colour(prompt: str) -> None:
    for n in range(5):
        card = draw_card({"prompt": prompt}, prompt, n, 128).convert("RGB")
        colours = {colour for _, colour in card.getcolors(2**16) or ()}

        assert max(card.getpixel((127, 127))) < 128
        assert (255, 255, 255) in colours


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({"aspect_ratio": "16:9"}, (512, 288)),
        ({"aspect_ratio": "1:3"}, (171, 512)),
        ({"aspect_ratio": "auto"}, (512, 512)),
        ({"width": 100, "height": 50}, (512, 256)),
    ],
)
def test_pictures_have_the_aspect_ratio_that_was_asked_for(
    given: dict[str, Any], size: tuple[int, int]
) -> None:
    assert picture_size(given, 512) == size


def test_a_picture_can_be_made_as_large_as_wanted_and_is_still_one(
    client: Client, control: Control, plain: httpx.Client
) -> None:
    control.set(picture_bytes=300_000)
    content = plain.get(client.picture_url()).content
    assert len(content) >= 300_000
    Image.open(io.BytesIO(content)).load()


# Restarts


def test_pictures_can_be_stamped_instead_of_drawn(
    client: Client, plain: httpx.Client, control: Control
) -> None:
    control.set(pictures="stamped", picture_bytes=30_000)
    content = plain.get(client.picture_url("Übersee")).content

    assert content == pad_png(stamp_png(canonical_input({"prompt": "Übersee"}), 0, 512), 30_000)
    assert content != plain.get(client.picture_url("a heron")).content
    picture = Image.open(io.BytesIO(content))
    picture.load()
    assert picture.size == (512, 512)


def test_the_ledger_tells_when_a_poll_first_saw_the_end(client: Client, control: Control) -> None:
    asked, unasked = client.order("one"), client.order("two")
    client.status(asked)
    (first, second) = control.ledger()
    client.result(asked)

    assert first["request_id"] == asked
    assert first["seen_at"] >= first["finish_at"]
    assert (second["request_id"], second["seen_at"]) == (unasked, None)
    assert control.ledger()[0]["seen_at"] == first["seen_at"]


def test_an_unfinished_request_has_no_seen_end(client: Client, control: Control) -> None:
    control.set(seconds=FOR_EVER)
    client.status(client.order())

    assert control.ledger()[0]["seen_at"] is None


def test_the_processor_time_of_the_sandbox_is_told(control: Control) -> None:
    before = control.cpu_seconds
    control.counts()

    assert 0 < before < control.cpu_seconds


def test_a_killed_sandbox_goes_on_from_its_folder(tmp_path: Path) -> None:
    options = ["--slots", "1", "--seconds", str(FOR_EVER), "--folder", str(tmp_path)]
    with tempfile.TemporaryFile("w+") as stderr:
        child = spawn(None, options, stderr)
        try:
            address = read_address(child, stderr)
            with Client(address.base_url) as client, Control(address.base_url) as control:
                running, waiting = client.order("one"), client.order("two")
                before = control.ledger()
            child.send_signal(signal.SIGKILL)
        finally:
            stop(child)

    with started(tmp_path, options=options[:4]) as address, Client(address.base_url) as client:
        with Control(address.base_url) as control:
            assert control.ledger() == before
            assert (control.posts, control.billed_usd) == (2, 0.06)
        assert client.status(running)["status"] == "in_progress"
        assert client.status(waiting)["queue_position"] == 0
        assert client.cancel(waiting)["outcome"] == "cancelled"


def test_a_sandbox_outlives_ctrl_c_but_not_the_pipe_from_its_parent() -> None:
    with tempfile.TemporaryFile("w+") as stderr:
        child = spawn(None, AT_ONCE, stderr)
        try:
            address = read_address(child, stderr)
            child.send_signal(signal.SIGINT)
            with Client(address.base_url) as client:
                assert client.ask().status_code == 200
            assert child.stdin is not None
            child.stdin.close()
            assert child.wait(20) == 0
        finally:
            stop(child)


def test_a_sandbox_that_cannot_start_says_why(address: Address) -> None:
    port = str(httpx.URL(address.base_url).port)
    with (
        pytest.raises(ServiceUnreachable, match="cannot listen"),
        started(None, options=["--port", port]),
    ):
        pass


def test_the_queue_gives_places_in_order_however_late_it_is_asked() -> None:
    queue = RequestQueue(2)
    for name in "abcd":
        queue.add(name, accepted_at=10.0, seconds=5.0)
    queue.remove("c")

    found = queue.advance(now=100.0)

    assert [(s.request_id, s.started_at) for s in found] == [("a", 10.0), ("b", 10.0), ("d", 15.0)]


# Faults on the wire


def test_a_lost_answer_is_billed_and_ends_with_fin(address: Address, control: Control) -> None:
    control.fault("lost")
    assert exchange(address, raw_request(address)) == b""
    assert (control.posts, control.accepted) == (1, 1)


def test_a_lost_answer_can_end_with_rst(address: Address, control: Control) -> None:
    control.fault("lost-rst")
    with pytest.raises(ConnectionResetError):
        exchange(address, raw_request(address))
    assert control.accepted == 1


def test_a_hangup_comes_after_the_whole_body_and_bills_nothing(
    address: Address, control: Control
) -> None:
    control.fault("hangup")
    assert exchange(address, raw_request(address)) == b""
    assert (control.posts, control.accepted) == (1, 0)


def test_a_dropped_call_is_closed_before_its_body(address: Address, control: Control) -> None:
    control.fault("drop")
    head, _, _ = raw_request(address).partition(b"\r\n\r\n")
    assert exchange(address, head + b"\r\n\r\n") == b""
    assert (control.posts, control.accepted, control.counts()["dropped"]) == (0, 0, 1)


def test_a_silent_sandbox_has_billed_and_holds_the_connection(
    address: Address, control: Control
) -> None:
    control.fault("silent", value=None)
    with connect(address.base_url) as sock:
        sock.sendall(raw_request(address))
        while not control.accepted:
            pass
        control.counts()
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


def test_an_answer_can_be_cut_after_or_inside_the_id(address: Address, control: Control) -> None:
    control.fault("cut-after-id")
    after = exchange(address, raw_request(address))
    control.fault("cut-before-id")
    inside = exchange(address, raw_request(address))
    first, second = (row["request_id"] for row in control.ledger())

    assert after.endswith(f'"request_id":"{first}",'.encode())
    assert b"content-length" in after
    assert inside.endswith(second[:18].encode())


@pytest.mark.parametrize("name", ["500", "502", "503", "504"])
def test_a_server_error_bills_and_a_refusal_with_5xx_does_not(
    client: Client, control: Control, name: str
) -> None:
    control.fault(name)
    control.fault("refuse-5xx", value=int(name))
    assert [client.ask().status_code for _ in range(3)] == [int(name), int(name), 200]
    assert control.accepted == 2


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("balance", 400, 400002), ("balance-402", 402, None), ("balance-429", 429, None),
        ("401", 401, None), ("403", 403, None), ("400004", 400, 400004), ("403001", 403, 403001),
        ("400001", 400, 400001), ("404", 404, None), ("408", 408, None), ("409", 409, None),
        ("413", 413, None), ("422", 422, None), ("499", 499, None), ("429", 429, 429001),
        ("error-in-200", 200, 400002), ("status", 418, None),
    ],
)  # fmt: skip
def test_refusals_have_their_status_and_bill_nothing(
    client: Client, control: Control, name: str, status: int, code: int | None
) -> None:
    control.fault(name)
    answer = client.ask()
    assert (answer.status_code, answer.json().get("error_code")) == (status, code)
    assert (control.posts, control.accepted) == (1, 0)


@pytest.mark.parametrize("status", [302, 307])
def test_redirects_lead_to_the_other_origin(
    address: Address, client: Client, control: Control, status: int
) -> None:
    control.fault(str(status))
    answer = client.ask()
    assert answer.status_code == status
    assert answer.headers["location"] == f"http://{address.media_host}/v1{GENERATE}"
    assert control.accepted == 0


def test_accepted_orders_can_have_odd_answers(client: Client, control: Control) -> None:
    first = client.order()
    said = {}
    for name in ("html-200", "empty-200", "no-id", "id-in-urls-only", "id-beside-error", "same-id"):
        control.fault(name)
        said[name] = client.ask()
    ids = [row["request_id"] for row in control.ledger()]

    assert {answer.status_code for answer in said.values()} == {200}
    assert said["html-200"].text.startswith("<!doctype html>")
    assert said["empty-200"].content == b""
    assert said["no-id"].json() == {"status": "in_queue"}
    assert "request_id" not in said["id-in-urls-only"].json()
    assert ids[4] in said["id-in-urls-only"].json()["result_url"]
    assert said["id-beside-error"].json()["error_code"] == 500001
    assert said["id-beside-error"].json()["request_id"] == ids[5]
    assert said["same-id"].json()["request_id"] == ids[5]
    assert ids[0] == first
    assert len(set(ids)) == 7


def test_a_big_answer_is_big_and_still_json(client: Client, control: Control) -> None:
    for value in ("id-first", "id-last"):
        control.fault("big-answer", value=value)
        answer = client.ask()
        assert len(answer.content) > 5 * 2**20
        assert answer.json()["request_id"] == control.ledger()[-1]["request_id"]


# Faults on polls, outcomes and media


def test_status_words_can_be_odd_while_it_runs(client: Client, control: Control) -> None:
    control.set(seconds=FOR_EVER)
    words = {
        name: [client.status(request)["status"] for _ in range(4)]
        for name in ("odd-word", "pending-words", "back-to-queue", "upper-case")
        for request in [client.order(f"heron [[{name}]]")]
    }
    assert words == {
        "odd-word": ["warming_up"] * 4,
        "pending-words": ["pending", "waiting", "starting", "processing"],
        "back-to-queue": ["in_progress", "in_queue"] * 2,
        "upper-case": ["IN_PROGRESS"] * 4,
    }


def test_a_poll_meets_its_fault_so_many_times_and_then_the_result(client: Client) -> None:
    request = client.order("heron [[poll-500:2]]")
    answers = [client.get(f"/requests/{request}/result").status_code for _ in range(3)]
    assert answers == [500, 500, 200]


def test_a_poll_can_speak_of_another_request(client: Client, control: Control) -> None:
    request = client.order()
    control.fault("poll-other-id", on="result")
    assert client.status(request)["request_id"] == request
    assert client.result(request)["request_id"] != request
    assert client.result(request)["request_id"] == request


def test_outcomes_are_decided_once_per_request(client: Client, control: Control) -> None:
    lucky, unlucky = client.order("lucky"), client.order("unlucky")
    control.fault("failed", match="unlucky", value="no luck")

    assert client.result(lucky)["status"] == "completed"
    for _ in range(2):
        assert client.result(unlucky)["error"] == "no luck"
        assert client.status(unlucky)["status"] == "failed"


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("empty-result", {"output": {}}),
        ("canceled", {"status": "canceled", "output": None}),
        ("succeeded", {"status": "succeeded"}),
        ("failed:out of luck", {"status": "failed", "error": "out of luck"}),
        ("failed-in-200", {"error_code": 500001}),
        ("404001", {"error_code": 404001}),
        ("media-other-host", {"output": {"image": "https://evil.example/x.png"}}),
    ],
)
def test_markers_in_the_prompt_rehearse_outcomes(
    client: Client, marker: str, expected: dict[str, Any]
) -> None:
    result = client.result(client.order(f"a heron [[{marker}]] at dawn"))
    assert {name: result.get(name) for name in expected} == expected


def test_bare_outputs_are_a_url_or_a_list(client: Client) -> None:
    assert client.result(client.order("[[bare-url]]"))["output"].startswith("http://")
    assert len(client.result(client.order("[[bare-list]]"))["output"]) == 1


def test_slow_rows_take_their_time(client: Client, control: Control) -> None:
    client.order("a heron [[slow:7.5]]")
    assert control.ledger()[0]["seconds"] == 7.5


@pytest.mark.parametrize(
    ("name", "status", "start"),
    [
        ("media-404", 404, b""), ("media-500", 500, b""), ("media-expired", 410, b""),
        ("media-html", 200, b"<!doctype html>"), ("media-json", 200, b"{"),
        ("media-wrong-type", 200, b"\xff\xd8\xff"), ("media-redirect", 302, b""),
        ("media-redirect-loop", 302, b""),
    ],
)  # fmt: skip
def test_media_can_be_something_else(
    client: Client, plain: httpx.Client, name: str, status: int, start: bytes
) -> None:
    answer = plain.get(client.picture_url(f"heron [[{name}]]"))
    assert answer.status_code == status
    assert answer.content.startswith(start)


def test_media_can_be_redirected_once_or_for_ever(client: Client, plain: httpx.Client) -> None:
    once = plain.get(client.picture_url("[[media-redirect]]"), follow_redirects=True)
    assert once.headers["content-type"] == "image/png"
    with pytest.raises(httpx.TooManyRedirects):
        plain.get(client.picture_url("[[media-redirect-loop]]"), follow_redirects=True)


def test_media_can_be_short_empty_truncated_or_corrupt(client: Client, plain: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        plain.get(client.picture_url("[[media-short]]"))
    assert plain.get(client.picture_url("[[media-empty]]")).content == b""
    for name in ("media-truncated", "media-corrupt"):
        damaged = plain.get(client.picture_url(f"[[{name}]]")).content
        assert damaged.startswith(b"\x89PNG")
        with pytest.raises((OSError, SyntaxError)):
            Image.open(io.BytesIO(damaged)).load()


@pytest.mark.parametrize("name", ["media-stall", "media-slow", "media-endless"])
def test_media_can_begin_well_and_never_end(client: Client, plain: httpx.Client, name: str) -> None:
    with plain.stream("GET", client.picture_url(f"[[{name}]]")) as answer:
        assert next(answer.iter_raw(1)) == b"\x89"


def test_a_small_download_can_be_a_bomb_or_a_huge_picture(
    client: Client, plain: httpx.Client
) -> None:
    huge = plain.get(client.picture_url("[[media-huge-pixels]]")).content
    with plain.stream("GET", client.picture_url("[[media-gzip-bomb]]")) as answer:
        bomb = b"".join(answer.iter_raw())

    assert len(huge) < 2**18
    assert struct.unpack(">II", huge[16:24]) == (40_000, 40_000)
    assert bomb.startswith(b"\x1f\x8b")
    assert len(bomb) < 2**19


# The book of faults


def test_every_fault_has_its_deed() -> None:
    deeds = {*API_FAULTS, *REWORDINGS, *MODELS.outcomes, *MEDIA_FAULTS, "slow"}
    assert set(FAULTS) == deeds
    assert set(API_FAULTS) >= ACCEPTED_FIRST
    assert {n for n, f in FAULTS.items() if f.stages == OUTCOME} == set(MODELS.outcomes)
    assert set(DEPLOYMENTS.outcomes) == set(MODELS.outcomes)
    assert set(REWORDINGS) <= {n for n, f in FAULTS.items() if f.stages == POLL}


def test_a_fault_can_be_put_on_another_operation_or_is_refused(
    client: Client, control: Control
) -> None:
    control.fault("503", on="model")
    assert client.get(GENERATE).status_code == 503
    assert client.get(GENERATE).status_code == 200
    with pytest.raises(ValueError, match="cannot strike"):
        control.fault("poll-500", on="submit")
    with pytest.raises(ValueError, match="no such fault"):
        control.fault("gremlins")


def test_markers_take_json_values_and_ignore_other_brackets() -> None:
    text = 'a [[status:[402, {"message": "x"}]]] b [[nonsense]] [[lost]] [[429:none]]'
    assert list(find_markers(text)) == [
        ("status", [402, {"message": "x"}]),
        ("lost", None),
        ("429", "none"),
    ]


def test_the_dice_fall_alike_whatever_the_order_of_the_calls() -> None:
    def struck(names: list[str], seed: int) -> set[str]:
        book = FaultPlan({"lost": 0.3}, seed)
        return {name for name in names if book.pick("submit", "", name, lambda: 0)}

    names = [f"row {n}" for n in range(200)]
    assert struck(names, seed=1) == struck(names[::-1], seed=1)
    assert struck(names, seed=1) != struck(names, seed=2)
    assert 30 < len(struck(names, seed=1)) < 90


def test_the_dice_of_the_command_line_strike_over_http() -> None:
    with (
        started(None, options=[*AT_ONCE, "--fault", "500=1"]) as address,
        Client(address.base_url) as client,
    ):
        assert client.ask().status_code == 500


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize(
    "option",
    ["--seconds", "--spread", "--rate", "--price", "--cost-factor", "--balance", "--idle-seconds"],
)
def test_no_option_takes_what_is_not_a_finite_number(option: str, value: str) -> None:
    with pytest.raises(click.BadParameter):
        sandbox_command.make_context("sandbox", [option, value])


@pytest.mark.parametrize("dice", ["lost=nan", "lost=inf"])
def test_a_probability_is_a_number_from_0_to_1(dice: str) -> None:
    with pytest.raises(click.BadParameter):
        sandbox_command.make_context("sandbox", ["--fault", dice])


# What a web page or a prompt of somebody else's may do


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},  # a name that was made to lead here
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example:80"},
    ],
)
@pytest.mark.parametrize(("method", "what"), [("GET", "ledger"), ("POST", "reset")])
def test_the_control_endpoints_are_closed_to_web_pages(
    client: Client, control: Control, headers: dict[str, str], method: str, what: str
) -> None:
    client.order()

    origin = str(client.base_url).removesuffix("/v1/")
    answer = httpx.request(method, f"{origin}/_sandbox/{what}", headers=headers, **PLAINLY)
    assert answer.status_code == 403
    assert "a heron" not in answer.text
    assert control.accepted == 1


@pytest.mark.parametrize("what", ["reset", "faults", "options"])
def test_a_link_changes_nothing(client: Client, control: Control, what: str) -> None:
    client.order()

    origin = str(client.base_url).removesuffix("/v1/")
    assert httpx.get(f"{origin}/_sandbox/{what}", **PLAINLY).status_code == 405
    assert control.accepted == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("slots", value) for value in (0, -1, 1.5, "3", True, None, 10**9)],
        *[("seconds", value) for value in (-1, "1", None, [], True)],
        *[("picture_size", value) for value in (15, 8193, 10**6)],
        *[("retry_after", "never"), ("retry_after", []), ("pictures", "real"), ("token", 7)],
        *[("balance", -1), ("all_models", 1), ("dice_seed", "x"), ("port", 80), ("folder", "/tmp")],
    ],
)
def test_an_option_that_the_command_line_would_refuse_is_refused(
    control: Control, name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=name):
        control.set(**{name: value})


@pytest.mark.parametrize(
    "hook",
    [
        {"fault": "lost", "times": 0},
        {"fault": "lost", "times": "many"},
        {"fault": "lost", "match": 7},
        {"fault": []},
        {},
        [],
        "lost",
    ],
)
def test_a_fault_that_is_none_is_refused(client: Client, control: Control, hook: Any) -> None:
    origin = str(client.base_url).removesuffix("/v1/")
    answer = httpx.post(f"{origin}/_sandbox/faults", json=hook, **PLAINLY)
    assert answer.status_code == 400
    client.order()


def test_a_body_that_is_nested_too_deeply_is_refused(client: Client) -> None:
    origin = str(client.base_url).removesuffix("/v1/")
    answer = httpx.post(f"{origin}/_sandbox/options", content=b"[" * 200_000, **PLAINLY)
    assert answer.status_code == 400


@pytest.mark.parametrize("marker", ["[[lost:0]]", "[[lost:", "[[", "[[a]]", "[[failed:[[[["])
def test_a_prompt_full_of_markers_takes_no_time(marker: str) -> None:
    assert len([*find_markers(marker * 100_000)]) <= 100


def test_a_marker_of_brackets_alone_is_a_text() -> None:
    value = "[" * 1900
    assert [*find_markers(f"[[failed:{value}]]")] == [("failed", value)]


SENSELESS = [
    *(("status", value) for value in ("abc", 99, 1000, [402], [402, "x", 1], {}, True, 1e300)),
    *(("refuse-5xx", value) for value in ("503", [503], 10**30)),
    *((name, value) for name in ("error-in-200", "failed-in-200") for value in ("x", [], -1, 1.5)),
    *((name, value) for name in ("inline", "inline-base64") for value in ("no colour", 7, [])),
    *(("slow", value) for value in ("soon", -1, 1e300, [])),
    *(("large-result", value) for value in ("much", -1, 2**40)),
    *((name, "1\r\nX-Owned: 1") for name in ("429", "media-redirect")),
]


@pytest.mark.parametrize(("name", "value"), SENSELESS)
def test_a_value_that_a_fault_cannot_have_is_refused_in_a_sentence(
    client: Client, control: Control, name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"the fault {name} cannot have the value"):
        control.fault(name, value=value)
    answer = client.ask(f"a heron [[{name}:{json.dumps(value)}]]")

    assert answer.status_code == 422
    assert f"the fault {name} cannot have the value" in answer.json()["detail"][0]["msg"]
    assert control.accepted == 0


def test_of_a_standard_input_that_has_nothing_to_say_the_end_is_there_at_once() -> None:
    """As of /dev/null, whose end no event loop can wait for."""
    line = [sys.executable, "-m", "batchgen", "sandbox", "--exit-with-stdin"]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=True)

    assert json.loads(done.stdout)["pid"]
    assert done.stderr == b""


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_have_its_own_value(name: str) -> None:
    assert value_problem(name, FAULTS[name].value) is None


def test_an_id_that_was_handed_out_before_is_none_where_there_is_no_id(
    client: Client, control: Control
) -> None:
    control.fault("same-id", on="status")
    assert client.status(client.order())["status"] == "completed"
