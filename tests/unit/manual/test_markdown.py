"""Pages of docs/ as text for a terminal."""

import pytest

from batchgen.manual.markdown import (
    Code,
    Definition,
    Heading,
    Item,
    Paragraph,
    blocks,
    for_terminal,
    plain,
    section,
)

PAGE = """\
# Title

First words,
in two lines.

## Part one

```sh
# Part two
batchgen run list.csv   # not a heading
```

### Below

Words.

## Part two

Others.
"""


def test_a_part_ends_at_the_next_heading_of_its_level_and_a_comment_in_code_is_none():
    part = section(PAGE, "Part one")

    assert part.startswith("```sh\n# Part two\n")
    assert part.endswith("### Below\n\nWords.\n")


def test_a_part_that_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        section(PAGE, "Part three")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("## A `run`\n", [Heading(2, "A run")]),
        ("Two\nlines.\n\nNext.\n", [Paragraph("Two lines."), Paragraph("Next.")]),
        ("```text\n| a\n\n  b\n```\n", [Code(("| a", "", "  b"), "text")]),
        ("- a:\n\n  ```sh\n  a\n    b\n  ```\n", [Item("- ", "a:"), Code(("a", "  b"), "sh")]),
        ("```{toctree}\nguide\n```\n", []),
        ("(label)=\n## A\n", [Heading(2, "A")]),
        ("- one\n  more\n- two\n", [Item("- ", "one more"), Item("- ", "two")]),
        ("Before:\n- one\n", [Paragraph("Before:"), Item("- ", "one")]),
        ("1. one\n2. two\n", [Item("1. ", "one"), Item("2. ", "two")]),
        ("`--all`\n: Every\n  row.\n", [Definition("--all", "Every row.")]),
        ("| a | b |\n|---|---|\n| `x \\| y` | z |\n", [Definition("x | y", "z")]),
        ("| a | b | c |\n|---|---|---|\n| | 69 | away |\n", [Definition("", "69; away")]),
    ],
)
def test_blocks(text, expected):
    assert [*blocks(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see [the *guide*](../guide.md#part) and `a_b`", "see the guide and a_b"),
        ("**Nothing is paid twice.** A row *is*", "Nothing is paid twice. A row is"),
        ("`--meta '*'` is `*`", "--meta '*' is *"),
        ("2 * 3 * 4", "2 * 3 * 4"),
    ],
)
def test_what_stands_in_a_line_is_plain(text, expected):
    assert plain(text) == expected


def test_no_line_is_wider_than_the_terminal_but_code():
    row = f"| {'t' * 40} | {'m ' * 60} |"
    text = f"{'word ' * 60}\n\n- {'item ' * 40}\n\n| a | b |\n|---|---|\n{row}\n"

    shown = for_terminal(text, 60)

    assert max(map(len, shown.splitlines())) <= 60
    assert shown.splitlines()[-1].startswith(" " * 28 + "m m")


def test_headings_are_shown_as_the_caller_says():
    assert for_terminal("# One\n\nText.\n", 60, str.upper) == "ONE\n\nText.\n"
