"""Text for people: what a terminal and a shell make of it, and what is one cause."""

import subprocess
import unicodedata

import pytest

from batchgen.core.text import cause_kind, compose, shell_quote, show_undecoded, terminal_safe

LATIN_1 = b"Gr\xfc\xdfe.csv".decode(errors="surrogateescape")


def test_bytes_of_a_name_that_are_no_utf_8_are_shown_as_bytes() -> None:
    assert show_undecoded(LATIN_1) == terminal_safe(LATIN_1) == r"Gr\xfc\xdfe.csv"
    assert show_undecoded("Grüße.csv") == "Grüße.csv"


@pytest.mark.parametrize("name", ["a b", "it's", "$(date)", "back\\slash\n", "Grüße", LATIN_1])
def test_a_quoted_name_is_the_same_name_in_a_shell(name: str) -> None:
    command = ["bash", "-c", f"printf %s {shell_quote(name)}"]
    printed = subprocess.run(command, check=True, capture_output=True).stdout

    assert printed == name.encode(errors="surrogateescape")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no memory on 10.0.0.7:8443", "no memory on 10.0.12.9:443"),
        ("request 5e3c9a52-8f7d-4c52-a6a3-0d7c3a1f2b11 is gone", "request 1b2c3d4e-0f is gone"),
        ("cannot read https://a.example/1.png?x=2", "cannot read https://b.example/2.jpg"),
        ("worker gpu-a100-17 died at 0x7f3a9c001234", "worker gpu-b200-3x died at 0x7f3a9c009999"),
        ("took 12.5 s of 10", "took 131 s of 10"),
        ("[2026-11-26 01:30:05] no luck", "[2026-11-27 23:00:59] no luck"),
    ],
)
def test_reasons_that_differ_in_details_are_one_cause(one: str, other: str) -> None:
    assert one != other
    assert cause_kind(one) == cause_kind(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the API answered 502", "the API answered 503"),
        ("HTTP 404", "HTTP 403"),
        ("content policy", "no memory"),
        ("prompt: too long", "seed: too long"),
    ],
)
def test_reasons_that_need_another_remedy_are_two_causes(one: str, other: str) -> None:
    assert cause_kind(one) != cause_kind(other)


MARKS = "\u0301\u0316"  # in the order that Unicode does not have, so that they are sorted


@pytest.mark.parametrize("text", ["e\u0301", "が" * 300, "ha\u030a" * 300, "a" + MARKS * 15])
def test_a_text_is_composed_as_unicode_says(text: str) -> None:
    assert compose(unicodedata.normalize("NFD", text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("marks", [MARKS * 500_000, "\u0f73" * 1_000_000])
def test_more_marks_than_any_letter_has_are_not_sorted(marks: str) -> None:
    """It takes hours: the time grows with the square of their number."""
    assert compose(f"a{marks}") == f"a{marks}"
