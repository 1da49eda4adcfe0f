"""Reading a manifest with the options of the command line, and the problems of its ids."""

import pytest
from conftest import Command, Write


def test_made_ids_that_come_twice_are_problems_with_both_lines(
    batchgen: Command, write: Write
) -> None:
    text = "Kind,no,prompt\nbird,1,a heron\ncar,1,a bus\nbird,1,a fox\n"
    outcome = batchgen("validate", write("list.csv", text), "--id", "{Kind}-{no}")

    assert outcome.code == 65
    assert 'list.csv:4: row "bird-1", id: this id was given before, in list.csv:2' in outcome.stderr
    assert outcome.stderr.count("list.csv:3") == 0


HINT = "list.txt:2: the prompt is sent as it stands; to unfold its {a|b} or __name__, add --expand."


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_prompt_that_would_unfold_is_told_of_once_and_is_no_problem(
    batchgen: Command, write: Write, command: str
) -> None:
    manifest = write("list.txt", "a fox\na {red|blue} fox\na __hue__ fox\n")

    outcome = batchgen(command, manifest)
    assert (outcome.code, outcome.stderr) == (0, f"{HINT}\n")
    plain = write("plain.txt", '{"a": "fox"}\n{best}, __ and snake_case\n')
    assert batchgen(command, plain, "--format", "text").stderr == ""


def test_a_run_tells_so_too(run: Command, write: Write) -> None:
    assert HINT in run(write("list.txt", "a fox\na {red|blue} fox\n")).stderr


def test_a_template_that_cannot_be_read_is_a_wrong_option(batchgen: Command, write: Write) -> None:
    outcome = batchgen("validate", write("list.csv", "prompt\na heron\n"), "--id", "{prompt")

    assert outcome.code == 2
    assert "--id: '{prompt' has a { without its other brace" in outcome.stderr
