"""Text for people: what a terminal and a shell make of it."""

import subprocess

import pytest

from batchgen.core.text import shell_quote, show_undecoded, terminal_safe

LATIN_1 = b"Gr\xfc\xdfe.csv".decode(errors="surrogateescape")


def test_bytes_of_a_name_that_are_no_utf_8_are_shown_as_bytes() -> None:
    assert show_undecoded(LATIN_1) == terminal_safe(LATIN_1) == r"Gr\xfc\xdfe.csv"
    assert show_undecoded("Grüße.csv") == "Grüße.csv"


@pytest.mark.parametrize("name", ["a b", "it's", "$(date)", "back\\slash\n", "Grüße", LATIN_1])
def test_a_quoted_name_is_the_same_name_in_a_shell(name: str) -> None:
    command = ["bash", "-c", f"printf %s {shell_quote(name)}"]
    printed = subprocess.run(command, check=True, capture_output=True).stdout

    assert printed == name.encode(errors="surrogateescape")
