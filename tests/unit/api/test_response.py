"""What is made of an answer's bytes before anything judges it."""

import json

import pytest

from batchgen.api.outputs import find_outputs
from batchgen.api.poll_outcome import Completed, classify_result
from batchgen.api.response import decode, decode_json

ID = "req_8f-42"
HALF, PAIR = "\ud83d", "\U0001f98a"
URL = "https://a.runcomfy.net/1.png"


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({HALF: [HALF, PAIR]}).encode(),
        json.dumps({HALF: [HALF, PAIR]}).upper().replace("\\U", "\\u").encode(),
        json.dumps({HALF: [HALF, PAIR]}, ensure_ascii=False).encode(errors="surrogatepass"),
        json.dumps({HALF: [HALF, PAIR]}).encode("utf-16"),
        json.dumps({HALF: [HALF, PAIR]}, ensure_ascii=False).encode("utf-16", "surrogatepass"),
    ],
    ids=["escaped", "in capitals", "in UTF-8", "escaped in UTF-16", "in UTF-16"],
)
def test_no_text_of_an_answer_has_half_of_a_surrogate_pair(content: bytes) -> None:
    body = decode_json(content)

    json.dumps(body, ensure_ascii=False).encode()  # as the journal and a terminal take it
    [[half, pair]] = body.values()
    assert set(half) <= {"?", "\ufffd"}
    assert pair == PAIR


def test_a_state_that_no_database_takes_is_recorded_all_the_same() -> None:
    body = {"request_id": ID, "status": HALF, "output": {"image": URL}}

    outcome = classify_result(decode(200, {}, json.dumps(body).encode(), None, 0.0), ID)

    assert isinstance(outcome, Completed)
    assert outcome.api_status == "?"


def test_nor_has_json_in_json() -> None:
    body = {"output": json.dumps({"image": f"{URL}?{HALF}"})}

    assert [output.url for output in find_outputs(body)] == [f"{URL}??"]
