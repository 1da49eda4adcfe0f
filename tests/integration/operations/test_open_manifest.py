"""Reading a manifest with the options of the command line, and the problems of its ids."""

from conftest import Command, Write


def test_made_ids_that_come_twice_are_problems_with_both_lines(
    batchgen: Command, write: Write
) -> None:
    text = "Kind,no,prompt\nbird,1,a heron\ncar,1,a bus\nbird,1,a fox\n"
    outcome = batchgen("validate", write("list.csv", text), "--id", "{Kind}-{no}")

    assert outcome.code == 65
    assert 'list.csv:4: row "bird-1", id: this id was given before, in list.csv:2' in outcome.stderr
    assert outcome.stderr.count("list.csv:3") == 0


def test_a_template_that_cannot_be_read_is_a_wrong_option(batchgen: Command, write: Write) -> None:
    outcome = batchgen("validate", write("list.csv", "prompt\na heron\n"), "--id", "{prompt")

    assert outcome.code == 2
    assert "--id: '{prompt' has a { without its other brace" in outcome.stderr
