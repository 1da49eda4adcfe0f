"""A row that something before the API refused: its own fault, or everybody's."""

from batchgen.engine.held_rows import MAX_BLOCKED_IN_A_ROW, HeldRow, HeldRows

WHY = "refused before it reached RunComfy (403, a firewall's page)"


def held(number, at):
    return HeldRow(f"key-{number}", f"list.csv:{number}: row 'r{number}'", WHY, 403, at)


def test_a_row_is_settled_by_one_that_left_later_and_was_accepted():
    rows = HeldRows()
    row = held(2, at=10.0)
    rows.on_blocked(row)

    assert rows.on_accepted(sent_at=9.0) == []
    assert rows.on_accepted(sent_at=11.0) == [row]
    assert rows.on_accepted(sent_at=12.0) == []
    assert rows.rows == []


def test_a_row_that_was_refused_after_the_last_acceptance_stays_held():
    rows = HeldRows()
    rows.on_accepted(sent_at=1.0)
    rows.on_blocked(held(2, at=10.0))

    assert [row.key for row in rows.rows] == ["key-2"]
    assert rows.any_accepted


def test_many_in_a_row_stop_everything_and_an_answer_begins_a_new_count():
    rows = HeldRows()
    for number in range(MAX_BLOCKED_IN_A_ROW - 1):
        rows.on_blocked(held(number, at=number))
    assert not rows.stops_everything
    rows.on_answered()
    rows.on_blocked(held(20, at=20))
    assert not rows.stops_everything

    for number in range(MAX_BLOCKED_IN_A_ROW):
        rows.on_blocked(held(number, at=30))
    assert rows.stops_everything


def test_the_first_row_is_named_and_the_others_are_counted():
    rows = HeldRows()
    assert rows.describe() == ""
    rows.on_blocked(held(2, at=1))
    assert rows.describe() == f"list.csv:2: row 'r2': {WHY}."
    rows.on_blocked(held(3, at=2))
    rows.on_blocked(held(4, at=3))
    assert rows.describe().startswith("list.csv:2: row 'r2'")
    assert rows.describe().endswith("2 other rows as well.")
