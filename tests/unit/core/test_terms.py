"""The digest of what a run is about to do: what changes it, and what it says of a difference."""

from dataclasses import replace

import pytest

from batchgen.core.prices import Price, SeenCost, Unit
from batchgen.core.terms import REHEARSAL, RowTerms, parse_terms

API = "https://model-api.runcomfy.net/v1"
ROWS = [("k1", "a/b"), ("k2", "a/b"), ("k3", "a/c")]
PRICES = {"a/b": Price(0.03, Unit.OUTPUT, {"num_images": 1}, at="2026-11-26T20:00:00.000Z")}
CAP = [("--max-cost", 5.0, 4.5)]


def terms(rows=ROWS, service=API, prices=PRICES, seen=None, limits=CAP, limit=None, serverless=""):
    found = RowTerms()
    for key, model in rows:
        found.add(key, model)
    return found.terms(service, prices, seen or {}, limits, limit, serverless)


def changed(**parts):
    return terms().differences(terms(**parts))


def test_the_same_again_is_the_same():
    assert terms() == terms()
    assert changed() == []


def test_where_deployments_are_asked_counts_if_one_is_sent_to():
    own = [*ROWS, ("k4", "deployments/1")]
    here, there = (f"https://{host}/prod/v2" for host in ("api.runcomfy.net", "example.com"))

    assert terms(own, serverless=here).differences(terms(own, serverless=there)) == [
        "what a request costs, or which service is asked"
    ]
    assert terms(serverless=here) == terms(serverless=there)


def test_a_digest_is_read_back():
    assert parse_terms(f" {terms()}\n") == terms()


@pytest.mark.parametrize("text", ["", "3", "3-ab-cd-ef", f"x{terms()}", f"{terms()}0"])
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(ValueError, match="is not a digest"):
        parse_terms(text)


@pytest.mark.parametrize(
    "rows", [ROWS[:2], [*ROWS, ("k4", "a/b")], [("k0", "a/b"), *ROWS[1:]], ROWS[::-1], []]
)
def test_other_rows_are_told_with_their_number(rows):
    (words,) = [words for words in changed(rows=rows) if words.startswith("the rows")]

    assert "3 requests then" in words
    assert f"{len(rows)} request" in words


@pytest.mark.parametrize(
    "prices",
    [
        {},
        {"a/b": replace(PRICES["a/b"], usd=0.04)},
        {"a/b": replace(PRICES["a/b"], unit=Unit.SECOND)},
        {"a/b": replace(PRICES["a/b"], outputs={"num_images": 2})},
        {"a/b": replace(PRICES["a/b"], floor=True)},
        {**PRICES, "a/c": Price(0.03)},
    ],
)
def test_another_price_is_told(prices):
    assert changed(prices=prices) == ["what a request costs, or which service is asked"]


def test_a_higher_cost_that_was_seen_and_another_service_are_told_as_prices():
    assert len(changed(seen={"a/b": SeenCost(0.05, 0.05)})) == 1
    assert len(changed(service="https://example.com/v1")) == 1
    assert len(changed(service=REHEARSAL)) == 1


def test_when_a_price_was_asked_for_and_prices_of_other_models_change_nothing():
    later = {"a/b": replace(PRICES["a/b"], at="2026-11-27T20:00:00.000Z"), "a/d": Price(9.0)}

    assert changed(prices=later) == []


def test_pretend_prices_are_no_part_of_a_rehearsal():
    assert terms(service=REHEARSAL) == terms(service=REHEARSAL, prices={})


@pytest.mark.parametrize(
    "other",
    [
        {"limits": []},
        {"limits": [("--max-cost", 6.0, 4.5)]},
        {"limits": [("--max-cost", 5.0, 4.4)]},
        {"limits": [*CAP, ("--max-cost-per-day", 9.0, 9.0)]},
        {"limit": 3},
    ],
)
def test_another_limit_is_told(other):
    assert changed(**other) == ["the limits, or what they leave"]


def test_every_difference_is_told():
    assert len(changed(rows=[], prices={}, service=REHEARSAL, limits=[])) == 3
