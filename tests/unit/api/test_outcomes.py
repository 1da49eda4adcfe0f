"""What an answer means: the specification's "May this POST be repeated?" and the wire's codes."""

import asyncio
import gzip
import json
import ssl
import zlib
from types import SimpleNamespace

import aiohttp
import pytest
from helpers import told
from hypothesis import given, settings
from hypothesis import strategies as st

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
from batchgen.api.response import (
    EXCERPT_BYTES,
    LISTED_CODES,
    MAX_RESPONSE_BYTES,
    MAX_VALUES,
    Response,
    decode,
)
from batchgen.api.submit_outcome import (
    Accepted,
    HaltReason,
    ModelHalt,
    OutcomeUnknown,
    Rejected,
    classify_submit,
    refusal_of_files,
    refusal_of_question,
)
from batchgen.core.identity import REQUEST_ID_PATTERN
from batchgen.core.states import Event

NOW = 1_800_000_000.0
ID = "req_8f-42"
BASE = "https://model-api.runcomfy.net/v1/requests"
PICTURE = "https://media.runcomfy.net/a.png"
TAKEN = {
    "request_id": ID,
    "status_url": f"{BASE}/{ID}/status",
    "result_url": f"{BASE}/{ID}/result",
    "cancel_url": f"{BASE}/{ID}/cancel",
}
CUT = aiohttp.ClientPayloadError("Response payload is not completed")
PAGE = b"<html>Sign in to the hotel's network</html>"


def answer(status, body=b"", *, error=None, **headers):
    """A reply whose body was opened; `retry_after=…` gives that header."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return decode(status, names, raw, error, NOW)


def submitted(status, body=b"", **how):
    return told(classify_submit(answer(status, body, **how)))


def outcome(verdict):
    """The parts of a verdict on which a row's money hangs."""
    return verdict.event, verdict.stop, verdict.throttled


# -- may this POST be repeated? ------------------------------------------------------------------

RETURNED, REFUSED, LOST = Event.NOT_ACCEPTED, Event.REJECTED, Event.OUTCOME_UNKNOWN
THROTTLED = Event.THROTTLED
NO_MONEY = "Insufficient balance, please top up"

# status, body, what happened to the row, why all others stop, whether to slow down
TABLE = {
    "2xx, listed code: bad model": (200, {"error_code": 400001}, REFUSED, None, False),
    "2xx, listed code: no balance": (
        200,
        {"error_code": 400002},
        RETURNED,
        HaltReason.BALANCE,
        False,
    ),
    "2xx, listed code: bad account": (
        200,
        {"error_code": 400004},
        RETURNED,
        HaltReason.TOKEN,
        False,
    ),
    "2xx, listed code: not allowed": (200, {"error_code": 403001}, RETURNED, "model", False),
    "2xx, listed code: not found": (200, {"error_code": 404001}, REFUSED, None, False),
    "2xx, listed code: bad input": (200, {"error_code": 422001}, REFUSED, None, False),
    "2xx, listed code: 422": (200, {"error_code": 422}, REFUSED, None, False),
    "2xx, listed code: 429": (200, {"error_code": 429}, THROTTLED, None, True),
    "2xx, a code of the server's own": (200, {"error_code": 500001}, LOST, None, False),
    "2xx, a code nobody listed": (200, {"error_code": 418001}, LOST, None, False),
    "2xx, a code that is no number": (200, {"error_code": "overloaded"}, LOST, None, False),
    "2xx, code as text": (200, {"error_code": "422001"}, REFUSED, None, False),
    "2xx, code inside error": (200, {"error": {"code": 422001}}, REFUSED, None, False),
    "2xx, a page": (200, PAGE, LOST, None, False),
    "2xx, nothing": (200, b"", LOST, None, False),
    "2xx, empty object": (200, {}, LOST, None, False),
    "2xx, a list": (200, [], LOST, None, False),
    "2xx, null": (200, b"null", LOST, None, False),
    "2xx, an id that is none": (200, {"request_id": "a b"}, LOST, None, False),
    "2xx, an id too long": (200, {"request_id": "a" * 129}, LOST, None, False),
    "2xx, an id that is a number": (200, {"request_id": 7}, LOST, None, False),
    "2xx, balance words and no code": (200, {"message": NO_MONEY}, LOST, None, False),
    "204": (204, b"", LOST, None, False),
    "400002": (400, {"error_code": 400002, "message": "x"}, RETURNED, HaltReason.BALANCE, False),
    "402": (402, b"", RETURNED, HaltReason.BALANCE, False),
    "402, a page": (402, PAGE, RETURNED, HaltReason.BALANCE, False),
    "400, balance words": (400, {"message": NO_MONEY}, RETURNED, HaltReason.BALANCE, False),
    "403, balance words": (
        403,
        {"detail": "Payment required."},
        RETURNED,
        HaltReason.BALANCE,
        False,
    ),
    "409, balance words": (409, {"error": "out of credits"}, RETURNED, HaltReason.BALANCE, False),
    "422, balance words": (
        422,
        {"detail": "Not enough credits"},
        RETURNED,
        HaltReason.BALANCE,
        False,
    ),
    "429, balance words": (429, {"message": NO_MONEY}, RETURNED, HaltReason.BALANCE, False),
    "429, 400002": (429, {"error_code": 400002}, RETURNED, HaltReason.BALANCE, False),
    "400, balance words inside error": (
        *(400, {"error": {"message": NO_MONEY}}),
        *(RETURNED, HaltReason.BALANCE, False),
    ),
    "429": (429, {"error_code": 429}, THROTTLED, None, True),
    "429, its own code": (429, {"error_code": 429001, "message": "slow"}, THROTTLED, None, True),
    "429, a page": (429, PAGE, THROTTLED, None, True),
    "401": (401, b"", RETURNED, HaltReason.TOKEN, False),
    "403": (403, b"", RETURNED, "row", False),
    "403, a page": (403, PAGE, RETURNED, "row", False),
    "403, words and no code": (403, {"message": "Forbidden"}, RETURNED, "row", False),
    "403, a code nobody listed": (403, {"error_code": 403009}, RETURNED, "row", False),
    "403, 400004": (403, {"error_code": 400004}, RETURNED, HaltReason.TOKEN, False),
    "400, 400004": (400, {"error_code": 400004}, RETURNED, HaltReason.TOKEN, False),
    "403, 403001": (403, {"error_code": 403001}, RETURNED, "model", False),
    "408": (408, b"", LOST, None, False),
    "409": (409, {"message": "conflict"}, LOST, None, False),
    "499": (499, b"", LOST, None, False),
    "408, listed code": (408, {"error_code": 400001}, REFUSED, None, False),
    "400": (400, b"", REFUSED, None, False),
    "400, 400001": (400, {"error_code": 400001}, REFUSED, None, False),
    "404": (404, PAGE, REFUSED, None, False),
    "404, 404001": (404, {"error_code": 404001}, REFUSED, None, False),
    "405": (405, b"", REFUSED, None, False),
    "413": (413, b"", REFUSED, None, False),
    "422": (422, {"detail": [{"loc": ["body", "seed"], "msg": "x"}]}, REFUSED, None, False),
    "422, 422001": (422, {"error_code": 422001}, REFUSED, None, False),
    "451": (451, b"", REFUSED, None, False),
    "307": (307, b"", RETURNED, "row", False),
    "308": (308, b"", RETURNED, "row", False),
    "300": (300, b"", LOST, HaltReason.SERVICE, False),
    "301": (301, b"", LOST, HaltReason.SERVICE, False),
    "302": (302, b"", LOST, HaltReason.SERVICE, False),
    "303": (303, b"", LOST, HaltReason.SERVICE, False),
    "304": (304, b"", LOST, HaltReason.SERVICE, False),
    "101": (101, b"", LOST, None, False),
    "500": (500, b"", LOST, None, False),
    "500, listed code": (500, {"error_code": 400001}, LOST, None, False),
    "500, balance words": (500, {"message": NO_MONEY}, LOST, None, False),
    "500, even with an id": (500, TAKEN, LOST, None, False),
    "502": (502, PAGE, LOST, None, False),
    "503": (503, b"", LOST, None, False),
    "504": (504, b"", LOST, None, False),
    "599": (599, b"", LOST, None, False),
}


@pytest.mark.parametrize(
    ("status", "body", "event", "stop", "throttled"), TABLE.values(), ids=TABLE.keys()
)
def test_may_this_post_be_repeated(status, body, event, stop, throttled):
    assert outcome(submitted(status, body)) == (event, stop, throttled)


@pytest.mark.parametrize(
    ("status", "body", "perhaps"),
    [
        (402, b"", True),
        (402, {"message": NO_MONEY}, True),
        (402, {"error_code": 400002}, False),
        (400, {"error_code": 400002}, False),
        (400, {"message": NO_MONEY}, False),
    ],
)
def test_only_a_402_without_the_apis_own_code_may_be_for_one_model(status, body, perhaps):
    assert classify_submit(answer(status, body)).perhaps_model is perhaps


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, {}, None),
        (401, b"", HaltReason.TOKEN),
        (403, PAGE, HaltReason.TOKEN),
        (400, {"error_code": 400004}, HaltReason.TOKEN),
        (200, {"error_code": 400004}, HaltReason.TOKEN),
        (403, {"error_code": 403001}, None),
        (404, {"error_code": 404001}, None),
        (307, b"", HaltReason.SERVICE),
        (500, b"", None),
        (None, b"", None),
    ],
    ids=str,
)
def test_a_free_question_tells_whether_all_is_refused(status, body, why):
    assert refusal_of_question(answer(status, body)) is why


def test_what_came_is_kept_of_an_answer_that_tells_nothing():
    unknown = classify_submit(answer(200, {"id": 7}, content_type="application/json"))
    redirected = classify_submit(answer(302, PAGE))

    assert unknown.answer == '200 application/json\n{"id": 7}'
    assert redirected.row.answer == f"302\n{PAGE.decode()}"
    assert classify_submit(answer(502, b"\xff" * 9000)).answer.count("\\xff") == EXCERPT_BYTES
    assert classify_submit(Response(error=CUT)).answer == ""


# -- compressed answers --------------------------------------------------------------------------

RAW_DEFLATE = zlib.compressobj(wbits=-15)
WHOLE = json.dumps(TAKEN).encode()


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (gzip.compress(WHOLE), {"content_encoding": "gzip"}),
        (gzip.compress(WHOLE), {}),
        (zlib.compress(WHOLE), {"content_encoding": "deflate"}),
        (RAW_DEFLATE.compress(WHOLE) + RAW_DEFLATE.flush(), {"content_encoding": "deflate"}),
        (WHOLE, {"content_encoding": "gzip"}),
        (WHOLE, {"content_encoding": "deflate"}),
    ],
    ids=["gzip", "unsaid gzip", "deflate", "raw deflate", "no gzip", "no deflate"],
)
def test_a_compressed_answer_is_decoded_whatever_it_says(content, headers):
    verdict = submitted(200, content, **headers)

    assert (verdict.event, verdict.request_id, verdict.reason) == (Event.ACCEPTED, ID, "")


@pytest.mark.parametrize("end", range(1, len(gzip.compress(WHOLE)), 7))
def test_a_compressed_answer_that_breaks_off_gives_the_whole_id_or_none(end):
    verdict = submitted(200, gzip.compress(WHOLE)[:end], error=CUT)

    assert verdict.request_id in (None, ID)
    assert (verdict.event is Event.ACCEPTED) == (verdict.request_id is not None)


def test_an_answer_in_an_encoding_that_nobody_knows_is_unknown_and_kept():
    verdict = classify_submit(answer(200, b"\x0b\x02\x80", content_encoding="br"))

    assert isinstance(verdict, OutcomeUnknown)
    assert "\\x80" in verdict.answer


def test_a_bomb_is_decoded_to_the_limit_and_its_id_is_found():
    long = b'{"request_id":"%s","x":"' % ID.encode() + bytes(16 * MAX_RESPONSE_BYTES)
    bomb = gzip.compress(long, compresslevel=1)
    reply = answer(200, bomb)

    assert len(reply.content) == MAX_RESPONSE_BYTES
    assert isinstance(classify_submit(reply), Accepted)
    assert isinstance(classify_result(reply, ID), Unclear)


def test_json_of_millions_of_values_is_not_decoded():
    assert answer(200, b"[" + b"0," * MAX_VALUES + b"0]").body is None


@pytest.mark.parametrize("status", [200, 201, 202])
def test_an_id_makes_a_row_submitted(status):
    verdict = submitted(status, TAKEN)

    assert (verdict.event, verdict.request_id, verdict.reason) == (Event.ACCEPTED, ID, "")


@pytest.mark.parametrize(
    "body",
    [
        {"request_id": ID},
        {"status_url": f"{BASE}/{ID}/status"},
        {"result_url": f"{BASE}/{ID}/result"},
        {"result_url": f"{BASE}/{ID}"},
        {"request_id": None, "status_url": f"{BASE}/{ID}/status"},
        {"request_id": "not an id", "result_url": f"{BASE}/{ID}/result"},
        {"request_id": ID, "error_code": 400002, "message": "Insufficient balance"},
        {"request_id": ID, "error": "could not be queued at once"},
        {"request_id": "a" * 128},
    ],
    ids=lambda body: ",".join(body),
)
def test_an_id_counts_wherever_an_accepting_answer_has_it(body):
    verdict = submitted(200, body)

    assert (verdict.event, verdict.stop) == (Event.ACCEPTED, None)
    assert verdict.request_id in (ID, "a" * 128)


def test_an_answer_that_breaks_off_gives_the_whole_id_or_none():
    whole = json.dumps(TAKEN).encode()
    known_from = whole.index(ID.encode()) + len(ID) + 1  # with its closing quotation mark

    for end in range(len(whole)):
        verdict = submitted(200, whole[:end], error=CUT)

        if end < known_from:
            assert (verdict.event, verdict.request_id) == (Event.OUTCOME_UNKNOWN, None), end
        else:
            assert (verdict.event, verdict.request_id) == (Event.ACCEPTED, ID), end
            assert verdict.reason, end  # noted


def test_an_id_is_found_in_an_answer_that_is_no_json():
    verdict = submitted(200, b'\xff\xfe"request_id" : "%s" \x00' % ID.encode())

    assert (verdict.event, verdict.request_id) == (Event.ACCEPTED, ID)


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("code", sorted(LISTED_CODES))
def test_a_listed_code_means_the_same_with_a_200_as_with_a_4xx(status, code):
    verdict = submitted(status, {"error_code": code, "error_message": "why"})

    assert outcome(verdict) == outcome(submitted(400, {"error_code": code}))
    assert verdict.code == code
    assert "why" in verdict.reason


def test_the_words_of_a_prompt_in_a_422_do_not_stop_the_batch():
    echo = [{"loc": ["body", "prompt"], "msg": "too long", "input": "a purse, insufficient funds"}]

    verdict = submitted(422, {"detail": echo})

    assert outcome(verdict) == (Event.REJECTED, None, False)
    assert verdict.reason == "prompt: too long"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error_message": "a", "message": "b"}, "a"),
        ({"message": " two\n lines "}, "two lines"),
        ({"error": {"message": "inside"}}, "inside"),
        ({"detail": ["x", {"loc": ["body", "a", 0], "msg": "m"}]}, "x; a.0: m"),
        ({"detail": [{"loc": 5, "msg": "m"}, {"msg": "n"}, None]}, "5: m; n; None"),
        ({"message": "\ud800"}, "?"),
        ({"message": 7}, "error 422"),
        ([], "error 422"),
    ],
)
def test_a_refusal_keeps_the_apis_own_words(body, reason):
    assert submitted(422, body).reason == reason


@pytest.mark.parametrize(
    ("header", "wait"),
    [({}, None), ({"retry_after": "12"}, 12.0), ({"retry_after": "soon"}, None)],
    ids=["nothing", "seconds", "nonsense"],
)
def test_a_429_says_how_long_to_wait(header, wait):
    assert submitted(429, **header).wait == wait


# -- when no answer came -------------------------------------------------------------------------


WHERE = SimpleNamespace(
    host="a.example", port=443, ssl=True, is_ssl=True, real_url="https://a.example/"
)


def certificate_refused():
    error = aiohttp.ClientConnectorError(WHERE, OSError(1, "certificate verify failed"))
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    return error


def proxy_answer(status):
    return aiohttp.ClientHttpProxyError(WHERE, (), status=status)


def subclasses(kind):
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def made(kind):
    """An error of this class: their constructors have little in common."""
    broken = OSError(111, "refused")
    for values in (("it broke",), (WHERE, ()), (WHERE, broken), ("path", WHERE, broken)):
        try:
            error = kind(*values)
            str(error)
        except (TypeError, AttributeError):
            continue
        return error
    return kind(b"expected", b"got", "a.example", 443)


AIOHTTP = {kind.__name__: made(kind) for kind in sorted(subclasses(aiohttp.ClientError), key=repr)}
FOREIGN = {
    "UnicodeEncodeError": UnicodeEncodeError("idna", "ä", 0, 1, "label too long"),
    "OSError": OSError(24, "Too many open files"),
    "RuntimeError": RuntimeError("a paid request is never sent twice"),
    "ValueError": ValueError("an odd header"),
    "MemoryError": MemoryError(),
    "certificate": certificate_refused(),
    "bare certificate": ssl.SSLCertVerificationError("expired"),
    "proxy login": proxy_answer(407),
    "proxy in trouble": proxy_answer(502),
    "TimeoutError": TimeoutError(),
    "cancelled": asyncio.CancelledError(),
    "interrupted": KeyboardInterrupt(),
    "nothing at all": None,
}
ERRORS = AIOHTTP | FOREIGN

# What another try may cure. The rest is a mistake in what we were told, which no try cures.
PASSES = {
    *("ClientConnectionError", "ClientConnectionResetError", "ClientConnectorDNSError"),
    *("ClientConnectorError", "ClientConnectorSSLError", "ClientOSError", "ClientSSLError"),
    *("ClientProxyConnectionError", "UnixClientConnectorError", "ConnectionTimeoutError"),
    *("ServerConnectionError", "ServerDisconnectedError", "ServerTimeoutError"),
    *("SocketTimeoutError", "ServerFingerprintMismatch", "ClientPayloadError"),
    *("ClientResponseError", "ClientHttpProxyError", "ContentTypeError", "TooManyRedirects"),
    *("WSServerHandshakeError", "proxy in trouble", "TimeoutError", "OSError", "nothing at all"),
}
STAYS = {
    *("ClientError", "ClientConnectorCertificateError", "InvalidURL", "InvalidUrlClientError"),
    *("InvalidUrlRedirectClientError", "NonHttpUrlClientError", "NonHttpUrlRedirectClientError"),
    *("RedirectClientError", "UploadAbortedError", "UnicodeEncodeError", "RuntimeError"),
    *("ValueError", "MemoryError", "certificate", "bare certificate", "proxy login"),
}
WEB_SOCKETS_AND_FORMS = {
    *("BadContentDispositionHeader", "BadContentDispositionParam", "EofStream"),
    *("WSMessageTypeError", "WebSocketError"),
}
OURS = {"cancelled", "interrupted"}
NOT_IN_THE_OLDEST = {"UploadAbortedError"}  # of aiohttp that pyproject.toml allows


def test_every_error_of_the_http_library_is_sorted():
    exported = {
        n for n, v in vars(aiohttp).items() if isinstance(v, type) and issubclass(v, Exception)
    }

    assert exported - WEB_SOCKETS_AND_FORMS <= set(AIOHTTP)
    assert set(ERRORS) | NOT_IN_THE_OLDEST == PASSES | STAYS | OURS


OUT_OF_MEMORY = {"MemoryError": HaltReason.MEMORY}


@pytest.mark.parametrize("name", ERRORS)
def test_whatever_breaks_before_the_body_is_opened_leaves_the_row_pending(name):
    verdict = told(classify_submit(Response(body_sent=False, error=ERRORS[name])))

    assert verdict.event is None
    assert verdict.request_id is None
    assert verdict.offline == (name in PASSES)
    assert verdict.stop == (OUT_OF_MEMORY.get(name, HaltReason.SERVICE) if name in STAYS else None)


@pytest.mark.parametrize("name", ERRORS)
def test_whatever_breaks_after_the_body_is_opened_loses_the_answer(name):
    verdict = told(classify_submit(Response(error=ERRORS[name])))

    assert outcome(verdict) == (Event.OUTCOME_UNKNOWN, OUT_OF_MEMORY.get(name), False)
    assert not verdict.offline


@pytest.mark.parametrize("name", ERRORS)
def test_whatever_breaks_an_accepting_answer_before_its_id_loses_it(name):
    verdict = submitted(200, b'{"request_id": "half', error=ERRORS[name])

    assert outcome(verdict) == (Event.OUTCOME_UNKNOWN, OUT_OF_MEMORY.get(name), False)


# -- what a result says --------------------------------------------------------------------------


def result(body, status=200, **how):
    return classify_result(answer(status, body, **how), ID)


def said(word, **more):
    return {"request_id": ID, "status": word, **more}


@pytest.mark.parametrize("form", [str.lower, str.upper, str.title, " {} ".format])
@pytest.mark.parametrize(
    ("words", "doing"),
    [
        ("completed succeeded success", Completed),
        ("failed error", Failed),
        ("cancelled canceled", Cancelled),
        ("in_queue in_progress pending waiting starting processing", Running),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_word_of_a_result_says_what_the_request_does(words, doing, form):
    for word in words.split():
        assert isinstance(result(said(form(word), output=PICTURE)), doing)


ODD_WORDS = [said(None), said(""), said(7), said(["completed"]), said("timeout"), {}]


@pytest.mark.parametrize("body", ODD_WORDS, ids=str)
def test_a_result_with_an_output_is_fetched_whatever_its_word_which_is_told(body):
    outcome = result(body | {"output": PICTURE})

    assert isinstance(outcome, Completed)
    assert "no word we know" in outcome.note or "names no state" in outcome.note


@pytest.mark.parametrize("body", ODD_WORDS, ids=str)
def test_a_result_without_an_output_nor_a_word_that_we_know_runs_and_is_told(body):
    outcome = result(body | {"error": "took too long"})

    assert isinstance(outcome, Running)
    assert "took too long" in outcome.note


def test_a_result_that_runs_is_not_fetched_whatever_its_output():
    assert result(said("in_progress", output=PICTURE)) == Running("in_progress")


@pytest.mark.parametrize(
    ("said_position", "position"),
    [(0, 0), (41, 41), (None, None), (-1, None), ("3", None), (True, None), (10**12, None)],
)
def test_a_place_in_the_queue_is_kept_if_it_is_one(said_position, position):
    running = result(said("in_queue", queue_position=said_position))

    assert running == Running("in_queue", queue_position=position)
    assert result(said("in_progress", queue_position=said_position)) == Running("in_progress")


def test_an_output_that_nobody_can_fetch_is_shown():
    outcome = result(said("completed", output={"image": "/media/1.png"}))

    assert isinstance(outcome, Failed)
    assert "/media/1.png" in outcome.reason
    assert "before you pay again" in outcome.reason


def test_what_an_output_says_of_itself_is_the_reason():
    output = {"images": [], "message": "filtered by the safety checker"}

    assert "safety checker" in result(said("completed", output=output)).reason


def test_urls_beside_the_outputs_are_numbered():
    output = {"images": [PICTURE], "terms": "https://www.runcomfy.com/terms"}

    assert result(said("completed", output=output)).beside == {2}


@pytest.mark.parametrize("status", [400, 404, 200])
def test_a_result_that_is_not_ready_is_of_a_request_that_runs(status):
    not_ready = {"error_code": 400005, "message": "Request not ready"}

    assert isinstance(result(not_ready, status), Running)
    assert isinstance(result(said("completed", output=PICTURE, **not_ready)), Completed)


@pytest.mark.parametrize(
    ("body", "usd"),
    [
        ({"balance_usd": 120.4, "balance_microdollars": 120400000, "currency": "USD"}, 120.4),
        ({"balance_usd": -3}, -3.0),
        ({"balance_usd": 5, "error_code": 500001}, None),
        *(({"balance_usd": value}, None) for value in (None, True, "5")),
        *((b'{"balance_usd": %s}' % value, None) for value in (b"NaN", b"Infinity", b"-1e999")),
        ([], None),
    ],
    ids=str,
)
def test_a_balance_is_a_number_or_unknown(body, usd):
    assert parse_balance(answer(200, body)) == usd
    assert parse_balance(answer(500, body)) is None


ASK_AGAIN = {
    "no answer": Response(error=aiohttp.SocketTimeoutError()),
    "cut": answer(200, said("completed", output=PICTURE), error=CUT),
    "a page": answer(200, PAGE),
    "empty": answer(200),
    "a list": answer(200, [said("failed")]),
    "another id": answer(200, {"request_id": "other", "status": "failed"}),
    "500": answer(500, said("failed")),
    "500, listed code": answer(500, {"error_code": 404001}),
    "502": answer(502, PAGE),
    "503": answer(503),
    "302": answer(302),
    "404 of a gateway": answer(404, PAGE),
    "400 of a gateway": answer(400),
    "429": answer(429),
    "408": answer(408),
    "no balance": answer(400, {"error_code": 400002}),
}


@pytest.mark.parametrize("reply", ASK_AGAIN.values(), ids=ASK_AGAIN.keys())
def test_an_answer_that_says_nothing_of_the_request_is_asked_for_again(reply):
    assert isinstance(classify_result(reply, ID), Unclear)


@pytest.mark.parametrize(
    ("status", "body", "doing"),
    [
        (404, {"error_code": 404001}, Missing),
        (200, {"error_code": 404001}, Missing),
        (200, said("failed", error_code=404001), Failed),
        (403, {"error_code": 403001}, Failed),
        (400, {"error_code": 400001}, Failed),
        (401, {}, Unauthorized),
        (403, {}, Unclear),
        (403, PAGE, Unclear),
        (401, {"error_code": 400004}, Unauthorized),
        (400, {"error_code": 400004}, Unauthorized),
        (200, {"error_code": 400004}, Unauthorized),
        (200, said("error", error_code=400004), Unauthorized),
        (200, said("failed", error={"code": 422, "message": "no"}), Failed),
    ],
)
def test_a_refused_question_says_what_is_wrong(status, body, doing):
    assert isinstance(result(body, status), doing)


@pytest.mark.parametrize("status", [429, 503])
def test_a_question_is_repeated_when_the_api_asks_for_it(status):
    assert result(b"", status, retry_after="120").retry_after == 120.0


@pytest.mark.parametrize(
    ("cost", "usd"),
    [
        (0.06, 0.06),
        (0, 0.0),
        ("0.5", 0.5),
        ({"usd": 0.1}, 0.1),
        ({"amount": "0.2", "currency": "USD"}, 0.2),
        ({"total": 3}, 3.0),
        (None, None),
        (-1, None),
        (True, None),
        ("free", None),
        ("nan", None),
        ([], None),
        ({}, None),
        ({"usd": {}}, None),
        (10**400, None),
        (1e9, None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_cost_of_a_request_is_read_or_unknown(cost, usd):
    assert result(said("completed", output=PICTURE, cost=cost)).cost == usd


def test_a_request_that_completed_without_output_failed_with_its_reason():
    finding = result(said("completed", output={}, error="filtered"))

    assert isinstance(finding, Failed)
    assert finding.reason == "filtered"


@pytest.mark.parametrize(
    ("status", "body", "cancelled"),
    [
        (200, {"outcome": "cancelled"}, True),
        (202, {"outcome": "CANCELED"}, True),
        (202, {"status": "cancelled"}, True),
        (200, {"outcome": "not_cancellable"}, False),
        (200, {"outcome": "perhaps"}, None),
        (200, PAGE, None),
        (404, {"outcome": "cancelled"}, None),
        (None, b"", None),
    ],
    ids=str,
)
def test_a_cancellation_is_sure_only_when_the_api_says_so(status, body, cancelled):
    assert classify_cancel(answer(status, body)) is cancelled


# -- whatever comes ------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
NAMES = st.sampled_from(
    [
        *("request_id", "status_url", "result_url", "status", "output", "image", "cost", "usd"),
        *("error_code", "code", "error_message", "message", "error", "detail", "loc", "msg"),
    ]
)
VALUES = (
    SCALARS
    | st.sampled_from([ID, PICTURE, TAKEN["status_url"], "completed", "failed", 10**400, "\ud800"])
    | st.sampled_from(sorted(LISTED_CODES))
)
BODIES = st.dictionaries(
    NAMES,
    st.recursive(
        VALUES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=6,
)
DEEP = st.builds(
    lambda depth, name: b'{"%s":' % name * depth + b"1" + b"}" * depth,
    st.integers(1, 4000),
    st.sampled_from([b"error", b"detail", b"status", b"request_id"]),
)
ANSWERS = st.builds(
    decode,
    status=st.none() | st.integers(100, 599) | st.sampled_from([200, 400, 422, 429]),
    headers=st.dictionaries(st.just("retry-after"), st.text()),
    content=st.binary() | DEEP | BODIES.map(json.dumps).map(str.encode),
    error=st.none() | st.sampled_from(list(ERRORS.values())),
    now=st.just(NOW),
)


@settings(max_examples=100)
@given(ANSWERS)
def test_no_answer_to_a_post_can_surprise_the_judge(reply):
    verdict = told(classify_submit(reply))

    status = reply.status or 0
    assert verdict.event is not None
    assert (verdict.event is Event.ACCEPTED) == (verdict.request_id is not None)
    if verdict.request_id is not None:
        assert REQUEST_ID_PATTERN.fullmatch(verdict.request_id)
        assert verdict.request_id.encode() in reply.content
        assert 200 <= status < 300
    if verdict.event in (RETURNED, THROTTLED, REFUSED) and 200 <= status < 300:
        assert isinstance(reply.body, dict)
        assert verdict.code in LISTED_CODES | {429}
    if not 200 <= status < 500:
        assert verdict.event is Event.OUTCOME_UNKNOWN
    verdict.reason.encode()  # the journal can keep it
    assert verdict.code is None or abs(verdict.code) < 2**63


@settings(max_examples=100)
@given(ANSWERS)
def test_no_answer_to_a_question_can_surprise_the_judge(reply):
    match classify_result(reply, ID):
        case Completed(_, urls):
            assert urls
            for url in urls:
                url.encode()  # the journal can keep it
        case Failed(reason, code):
            assert (reply.status or 0) < 500
            assert reply.error is None
            assert code is None or abs(code) < 2**63
            reason.encode()
        case Unclear(reason, code) | Unauthorized(reason, code):
            assert code is None or abs(code) < 2**63
            reason.encode()


FILE = {"file": "a.png", "sha256": "0" * 64}
WITH_FILE = json.dumps({"prompt": "a", "seed": 7, "image": FILE})


@pytest.mark.parametrize(
    ("reason", "code", "input", "stops"),
    [
        ("data: URIs are not accepted", 422, WITH_FILE, True),
        ("image: Input should be a URL", 422, WITH_FILE, True),
        ("Bad Request", 400, WITH_FILE, True),
        ("Request Entity Too Large", 413, WITH_FILE, True),
        ("prompt or image: unfit", 422, WITH_FILE, True),
        ("prompt: the words are not allowed", 422, WITH_FILE, False),
        ("seed: too large", 422, WITH_FILE, False),
        ("prompt: no URL is allowed", 422, WITH_FILE, True),  # in doubt the row is not blamed
        ("Not Found", 404, WITH_FILE, False),
        ("there is no such model_id", 400001, WITH_FILE, False),
        ("Bad Request", 400, json.dumps({"prompt": "a"}), False),
        ("Bad Request", 400, json.dumps({"images": ["https://a/b.png", FILE]}), True),
        ("Bad Request", 400, "no JSON", False),
    ],
)
def test_a_refusal_before_any_file_was_taken_stops_the_model_unless_it_names_another_input(
    reason, code, input, stops
):
    refused = Rejected(reason, code)
    found = refusal_of_files(refused, input)

    assert isinstance(found, ModelHalt) == stops
    assert stops or found == refused
    if stops:
        assert reason in found.row.reason
        assert "public https:// address" in found.row.reason


def test_an_answer_is_kept_without_the_files_that_it_repeats():
    uri = "data:image/png;base64," + "iVBOR" * 1000
    kept = classify_submit(answer(500, {"detail": f"no {uri} please", "input": {"image": uri}}))

    assert kept.reason == "the API answered 500: no data:image/png;base64,… please"
    assert "iVBORiVBOR" not in kept.answer
