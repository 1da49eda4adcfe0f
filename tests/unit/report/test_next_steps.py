"""The commands that are advised, and for which rows there is none."""

from batchgen.core.states import NOTHING_MADE
from batchgen.report.next_steps import command_for_cause, command_for_row


def test_a_failed_row_is_queued_again():
    assert command_for_row("out/a b", "failed", "x", True, "no luck") == (
        "batchgen retry 'out/a b' --id x"
    )
    assert command_for_cause("out/a", "failed", "no luck") == (
        "batchgen retry out/a --cause 'no luck'"
    )


def test_what_would_make_nothing_again_is_not_advised():
    assert command_for_row("out/a", "failed", "x", True, NOTHING_MADE) is None
    assert command_for_cause("out/a", "failed", NOTHING_MADE) is None


def test_a_row_that_may_have_been_billed_is_settled_whatever_its_reason():
    assert command_for_row("out/a", "unknown", "x", True, NOTHING_MADE) == (
        "batchgen resolve out/a --id x"
    )
