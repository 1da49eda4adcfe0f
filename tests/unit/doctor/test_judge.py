"""What doctor makes of what it found: ok, warn or fail, and a remedy for each that is wrong."""

import ssl
from datetime import datetime

import aiohttp
import pytest

from batchgen.api.response import Response
from batchgen.core.prices import Price, Unit
from batchgen.doctor import judge
from batchgen.doctor.finding import Finding, Status, exit_code, fail, ok, warn
from batchgen.doctor.judge import Answer, Disk, Tonight
from batchgen.errors import ServiceUnreachable

GB = 10**9
NOTHING = Tonight(0, 0, 0.0, 0, floor=False)


def tonight(sends=10, usd=0.3, unpriced=0):
    return Tonight(sends, 0, usd, unpriced, floor=False)


def answer(status=200, seconds=0.2, error=None, code=None, body=None):
    response = Response(status=status, error=error, code=code, body=body)
    return Answer("api.test", response, seconds, 0.0)


def of(finding):
    return finding.status, finding.exit_code if finding.status is Status.FAIL else 0


def everything():
    """A finding of each kind that is not ok."""
    yield judge.judge_service(answer(None, error=OSError("no route")))
    yield judge.judge_service(answer(503))
    yield judge.judge_service(answer(429))
    yield judge.judge_service(answer(seconds=9))
    yield judge.judge_token("RUNCOMFY_TOKEN", answer(401))
    yield judge.judge_token("RUNCOMFY_TOKEN", None)
    yield judge.judge_clock(400.0)
    yield judge.judge_balance(None, tonight())
    yield judge.judge_balance(0.0, tonight())
    yield judge.judge_balance(0.1, tonight())
    yield judge.judge_limit(None, tonight())
    yield judge.judge_limit((0.1, "--max-cost"), tonight())
    yield judge.judge_limit((9.0, "--max-cost"), tonight(unpriced=2))
    yield judge.judge_limit((9.0, "--max-cost"), tonight(unpriced=2), "there is no token")
    yield from judge.judge_prices({"a/b": None}, "there is no token")
    yield from judge.judge_prices({"a/b": None}, "")
    yield from judge.judge_disk(Disk(1, None, "nfs4", trusted=False), None, 1, "/out")
    yield from judge.judge_disk(Disk(9 * GB, 5, "", trusted=None), None, 1, "/out")
    yield judge.judge_receipts(None, 0, True, "receipts.log")
    yield judge.judge_receipts(3, 2, True, "receipts.log")
    yield from judge.judge_start("list", datetime(2026, 1, 2), "it is gone", "cron", "")
    yield from judge.judge_start("list", datetime(2026, 1, 2), "", "cron", "no cron\nStart it")


def test_each_fault_of_a_schedule_is_named():
    night = datetime(2026, 1, 2)
    both = [*judge.judge_start("list", night, "it did not begin", "cron", "no cron\nStart it")]
    (well,) = judge.judge_start("list", night, "", "cron", "")

    assert [one.said for one in both] == ["list: no cron", "list: it did not begin"]
    assert well.status is Status.OK


def test_what_is_wrong_has_a_remedy():
    found = [one for one in everything() if one.status is not Status.OK]

    assert len(found) == 24
    assert [one for one in found if not one.remedy] == []


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([], 0),
        ([ok("a", ""), warn("b", "", "x")], 0),
        ([fail("a", "", "x"), ok("b", "")], 1),
        ([fail("a", "", "x"), fail("service", "", "x", 69)], 69),
        ([fail("service", "", "x", 69), fail("token", "", "x", 77)], 77),
    ],
    ids=range(5),
)
def test_the_exit_code_is_the_tokens_before_the_services_before_any_other(found, code):
    assert exit_code(found) == code


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        (answer(), Status.OK, 0),
        (answer(404), Status.OK, 0),
        (answer(401), Status.OK, 0),  # reached; the token's own line says the rest
        (answer(429), Status.WARN, 0),
        (answer(seconds=6.0), Status.WARN, 0),
        (answer(500), Status.FAIL, 69),
        (answer(302), Status.FAIL, 69),
        (answer(None, error=TimeoutError()), Status.FAIL, 69),
    ],
)
def test_a_service_that_gives_no_answer_of_its_own_fails(given, status, code):
    assert of(judge.judge_service(given)) == (status, code)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (aiohttp.ClientProxyConnectionError(None, OSError("refused")), "HTTPS_PROXY"),
        (aiohttp.ClientHttpProxyError(None, (), status=407), "HTTPS_PROXY"),
        (aiohttp.ClientConnectorCertificateError(None, ssl.SSLError()), "SSL_CERT_FILE"),
        (OSError("no route to host"), "network"),
    ],
)
def test_the_remedy_is_that_of_what_kept_the_answer_away(error, word):
    assert word in judge.remedy_of(error)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, (Status.OK, 0)),
        (401, (Status.FAIL, 77)),
        (403, (Status.FAIL, 77)),
        (500, (Status.WARN, 0)),
        (None, (Status.WARN, 0)),
    ],
)
def test_a_token_is_accepted_refused_or_nobody_said(status, expected):
    assert of(judge.judge_token("RUNCOMFY_TOKEN", answer(status))) == expected


@pytest.mark.parametrize(
    ("skew", "status", "said"),
    [
        (None, Status.OK, "no answer had a date to compare it with"),
        (0.4, Status.OK, "within 1 s of the service's"),
        (-30.0, Status.OK, "within 30 s of the service's"),
        (45.0, Status.WARN, "45 seconds ahead of the service's"),
        (-290.0, Status.WARN, "5 minutes behind the service's"),
        (7200.0, Status.FAIL, "2 hours ahead of the service's"),
        (-9 * 86400.0, Status.FAIL, "9 days behind the service's"),
    ],
)
def test_a_clock_that_is_off_is_told_with_the_way(skew, status, said):
    found = judge.judge_clock(skew)

    assert (found.status, found.said) == (status, said)


@pytest.mark.parametrize(
    ("balance", "planned", "status"),
    [
        (100.0, tonight(), Status.OK),
        (0.3, tonight(), Status.OK),
        (0.29, tonight(), Status.FAIL),
        (0.0, tonight(usd=0.0, unpriced=10), Status.FAIL),
        (-1.0, NOTHING, Status.OK),
        (-1.0, None, Status.FAIL),
        (None, None, Status.WARN),
    ],
)
def test_the_balance_has_to_last_for_tonight(balance, planned, status):
    assert judge.judge_balance(balance, planned).status is status


@pytest.mark.parametrize(
    ("left", "planned", "status"),
    [
        (None, NOTHING, Status.OK),
        (None, tonight(), Status.WARN),
        ((0.3, "--max-cost"), tonight(), Status.OK),
        ((0.29, "--max-cost"), tonight(), Status.WARN),
        ((9.0, "--max-cost"), tonight(unpriced=1), Status.FAIL),
    ],
)
def test_a_limit_of_cost_is_compared_with_tonight(left, planned, status):
    assert judge.judge_limit(left, planned).status is status


def test_each_model_has_a_line_with_its_price():
    prices = {"a/b": Price(0.03, Unit.OUTPUT), "c/d": Price(0.2, Unit.SECOND, floor=True)}

    said = [one.said for one in judge.judge_prices({**prices, "e/f": None}, "why")]
    assert said == [
        "a/b: $0.03 for an output",
        "c/d: at least $0.20 for a second",
        "e/f: not known, since why",
    ]


@pytest.mark.parametrize(
    ("disk", "row_bytes", "rows", "statuses"),
    [
        (Disk(GB, None, "ext4", trusted=True), 1_000_000.0, 100, ["ok", "ok"]),
        (Disk(GB, None, "ext4", trusted=True), 10_000_000.0, 100, ["fail", "ok"]),
        (Disk(GB, None, "ext4", trusted=True), None, 500, ["fail", "ok"]),
        (Disk(GB, None, "nfs4", trusted=False), None, 0, ["ok", "fail"]),
        (Disk(GB, 900, "ext4", trusted=True), None, 1, ["fail", "ok"]),
        (Disk(GB, None, "odd", trusted=None), None, 0, ["ok", "warn"]),
        (Disk(1000, None, "ext4", trusted=True), None, 0, ["fail", "ok"]),
    ],
)
def test_the_room_has_to_do_for_what_is_to_come(disk, row_bytes, rows, statuses):
    assert [one.status for one in judge.judge_disk(disk, row_bytes, rows, "/out")] == statuses


def test_the_room_is_told_by_what_it_was_reckoned():
    first, _ = judge.judge_disk(Disk(2 * GB, None, "ext4", trusted=True), 2e6, 100, "/out")
    assert first.said == "2.0 GB free; 100 rows need about 287 MB, by the sizes so far"
    first, _ = judge.judge_disk(Disk(2 * GB, None, "ext4", trusted=True), 2e6, 1, "/out")
    assert first.said == "2.0 GB free; 1 row needs about 69 MB, by the sizes so far"


@pytest.mark.parametrize(
    ("whole", "torn", "sent", "status"),
    [
        (None, 0, False, Status.OK),
        (None, 0, True, Status.WARN),
        (5, 0, True, Status.OK),
        (5, 1, True, Status.OK),
        (5, 2, True, Status.WARN),
    ],
)
def test_receipts_are_there_and_whole(whole, torn, sent, status):
    assert judge.judge_receipts(whole, torn, sent, "receipts.log").status is status


def test_an_unreachable_service_has_the_exit_code_of_the_error():
    assert judge.judge_service(answer(None)).exit_code == ServiceUnreachable.exit_code


def test_a_finding_is_the_same_in_json():
    assert Finding("token", Status.FAIL, "refused", "do", 77).as_json() == {
        **{"check": "token", "status": "fail", "said": "refused", "remedy": "do"}
    }
