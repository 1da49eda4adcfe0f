"""Any bytes as an answer of the API: an outcome that is known, and no id of a paid row lost."""

import gzip
import json
import re

from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from batchgen.api.catalogue_price import parse_price
from batchgen.api.outputs import find_outputs, inline_content, without_content
from batchgen.api.poll_outcome import (
    Cancelled,
    Completed,
    Failed,
    Missing,
    Running,
    Unauthorized,
    Unclear,
    classify_cancel,
    classify_result,
    parse_balance,
)
from batchgen.api.response import decode
from batchgen.api.submit_outcome import (
    Accepted,
    Blocked,
    Halt,
    ModelHalt,
    NotAccepted,
    NotSent,
    OutcomeUnknown,
    Rejected,
    Throttled,
    classify_submit,
    refusal_of_question,
)
from batchgen.core.prices import Price

NOW = 1_800_000_000.0
ID = "req_8f-42"
URL = f"https://model-api.runcomfy.net/v1/requests/{ID}"
ID_IN_BYTES = re.compile(rb'"request_id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')

WORDS = st.sampled_from(
    ["completed", "failed", "in_queue", "cancelled", "succeeded", "usd", "\ud800", "", ID, "x"]
)
TEXTS = st.one_of(
    st.text(max_size=8),
    WORDS,
    st.sampled_from(
        [
            f"{URL}/result",
            "https://media.runcomfy.net/a.png",
            "http://[",
            "data:image/png;base64,iVBO",
            "data:,%zz",
            "A" * 44,
            "[" * 2000,
            '{"image": "https://x/a.png"}',
            "insufficient balance",
            "\x1b]0;x\x07",
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-2, 500),
    st.sampled_from([400001, 400002, 400004, 400005, 403001, 404001, 422001, 429]),
    st.sampled_from([10**30, -(10**400), 1e308, float("nan"), float("inf"), -0.0]),
)
NAMES = st.one_of(
    st.text(max_size=3),
    st.sampled_from(
        [
            "request_id",
            "status",
            "status_url",
            "result_url",
            "output",
            "outputs",
            "image",
            "images",
            "b64_json",
            "error",
            "code",
            "error_code",
            "error_message",
            "message",
            "detail",
            "loc",
            "msg",
            "cost",
            "usd",
            "balance_usd",
            "outcome",
            "model_id",
            "data",
            "base_price_usd",
            "price_unit",
            "pricing_note",
            "input_schema",
            "properties",
            "default",
        ]
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
MEANT = st.fixed_dictionaries(
    {},
    optional={
        "request_id": st.just(ID) | VALUES,
        "status": WORDS | VALUES,
        "output": VALUES,
        "result_url": st.just(f"{URL}/result") | VALUES,
        "error_code": NUMBERS | VALUES,
        "error": VALUES,
        "detail": VALUES,
        "cost": VALUES,
        "balance_usd": VALUES,
    },
)
DEEP = st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"", b"\xff\xfe{"])


@st.composite
def bodies(draw):
    """JSON, also cut, changed, compressed or in another encoding; or any bytes."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.binary(max_size=200) | DEEP)
    value = draw(MEANT | VALUES | st.builds(lambda a, b: [a, b], MEANT, VALUES))
    content = json.dumps(value).encode()
    match draw(st.integers(0, 7)):
        case 0:
            content = content[: draw(st.integers(0, len(content)))]
        case 1:
            at = draw(st.integers(0, len(content)))
            content = content[:at] + draw(st.binary(max_size=4)) + content[at + 1 :]
        case 2:
            content = gzip.compress(content)[: draw(st.integers(1, 400))]
        case 3:
            content = json.dumps(value).encode("utf-16")
    return content


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": st.text(max_size=8) | st.sampled_from(["-1", "1e9", "9" * 500, "٣", "nan"]),
        "content-type": st.text(max_size=8),
        "content-encoding": st.sampled_from(["gzip", "deflate", "br", "\xff"]),
    },
)
ERRORS = st.sampled_from([None, None, TimeoutError(), OSError("away"), MemoryError(), ValueError()])
STATUSES = st.one_of(
    st.sampled_from([200, 201, 202, 307, 400, 401, 402, 403, 404, 409, 422, 429, 500, 503]),
    st.integers(100, 999),
)
SUBMITTED = (
    Accepted, Throttled, Rejected, NotSent, Blocked, OutcomeUnknown, ModelHalt, Halt,
)  # fmt: skip
ASKED = (Running, Completed, Failed, Missing, Cancelled, Unclear, Unauthorized)


@fuzz
@given(STATUSES | st.none(), HEADERS, bodies(), ERRORS)
def test_any_answer_to_a_paid_post_is_an_outcome_and_keeps_its_id(
    status, headers, content, error
) -> None:
    if status is None:  # no answer began
        headers, content, error = {}, b"", error or OSError("away")
    response = decode(status, headers, content, error, NOW)

    outcome = classify_submit(response)

    assert isinstance(outcome, SUBMITTED)
    assert not isinstance(outcome, NotSent)  # the body was handed over
    if isinstance(outcome, Accepted):
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,128}", outcome.request_id)
    elif status is None or 200 <= status < 300:
        id_in_name = isinstance(response.body, dict) and response.body.get("request_id") == ID
        assert not id_in_name
        # What is not JSON may be half of an answer that had one.
        assert isinstance(response.body, dict) or not ID_IN_BYTES.search(response.content)
    row = outcome.row if isinstance(outcome, Halt | ModelHalt) else outcome
    if status is None or status >= 500 or status < 200:
        assert isinstance(row, OutcomeUnknown)
    if isinstance(row, OutcomeUnknown | Rejected | NotAccepted | Blocked):
        row.reason.encode()  # it goes to a terminal and a journal
    for code in (response.code, getattr(row, "code", None)):
        assert code is None or abs(code) < 1 << 63
    assert response.retry_after is None or 1 <= response.retry_after <= 3600


@fuzz
@given(STATUSES | st.none(), HEADERS, bodies(), ERRORS)
def test_any_answer_to_a_question_is_an_outcome_that_a_journal_can_hold(
    status, headers, content, error
) -> None:
    response = decode(status, headers, content, error, NOW)

    outcome = classify_result(response, ID)

    assert isinstance(outcome, ASKED)
    for text in (getattr(outcome, "reason", ""), getattr(outcome, "api_status", "")):
        text.encode()
    cost = getattr(outcome, "cost", None)
    assert cost is None or 0 <= cost < float("inf")
    if isinstance(outcome, Completed):
        outcome.note.encode()
        assert outcome.urls
        assert len(outcome.urls) == len(find_outputs(response.body))
        for n, url in enumerate(outcome.urls, 1):
            url.encode()
            inline_content(response.body, n)
    without_content(response.body).encode()
    assert classify_cancel(response) in (True, False, None)
    refusal_of_question(response)
    balance = parse_balance(response)
    assert balance is None or abs(balance) < float("inf")
    if isinstance(response.body, dict):
        assert isinstance(parse_price(response.body), Price | None)
