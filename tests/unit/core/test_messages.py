"""Advice that can be pasted: words from a list are data to the shell, and nothing is spoilt."""

import shlex

import pytest
import yaml

from batchgen.core.messages import option_of, unknown_columns_problems
from batchgen.core.rows import Place

HERE = Place("list.csv", 1)
KNOWN = ["prompt", "aspect_ratio", "seed", "id"]


def problems(*names: str) -> list[str]:
    return [p.remedy for p in unknown_columns_problems([(n, HERE) for n in names], KNOWN)]


@pytest.mark.parametrize("name", ["Aspect Ratio", "$(touch x)", "it's", "a;b", "-n", "`id`"])
def test_a_name_from_a_list_is_one_word_of_the_shell(name: str) -> None:
    words = shlex.split(option_of("--meta", name))
    assert words in (["--meta", name], [f"--meta={name}"])

    (remedy,) = problems(name)
    assert option_of("--meta", name) in remedy


def test_a_column_that_was_probably_meant_is_renamed_in_quotes() -> None:
    (remedy,) = problems("Aspect Ratio")
    assert "add --column 'aspect_ratio=Aspect Ratio'." in remedy


def test_six_unknown_columns_have_one_line_that_settles_them() -> None:
    names = ["Prompt", "Aspect Ratio", "Category", "Challenge", "Note", "$(x)"]
    *others, last = problems(*names)

    assert not any("--meta" in remedy for remedy in others)
    (line,) = [line for line in last.splitlines() if "--column" in line]
    assert shlex.split(line.partition("add ")[2]) == [
        *("--column", "prompt=Prompt", "--column", "aspect_ratio=Aspect Ratio"),
        *("--meta", "Category", "--meta", "Challenge", "--meta", "Note", "--meta", "$(x)"),
    ]
    assert "--meta '*'" in last
    assert 'columns: {"prompt": "Prompt", "aspect_ratio": "Aspect Ratio"}' in last
    assert 'meta: ["Category", "Challenge", "Note", "$(x)"]' in last


def test_the_yaml_that_settles_columns_can_be_pasted() -> None:
    *_, last = problems("Prompt", "😀 Mood", "a\u2028b")
    settings = yaml.safe_load(last.partition("manifest:\n")[2])
    assert settings == {"columns": {"prompt": "Prompt"}, "meta": ["😀 Mood", "a\u2028b"]}


def test_two_columns_are_not_both_taken_for_one_input() -> None:
    *_, last = problems("Prompt", "PROMPT")
    assert last.count("--column") == 1
    assert "--meta" in last
