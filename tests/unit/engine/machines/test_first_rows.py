"""Which models a machine leaves to another that tries them first."""

from batchgen.engine.machines.first_rows import FirstRows, TriedModel

PATIENCE_S = 30.0


def first_rows(accepted: str = "", needed: str = "") -> FirstRows:
    return FirstRows(accepted.split().__contains__, needed.split().__contains__, PATIENCE_S)


def tried(unsent: int = 0, accepted: int = 0, under_way: int = 0) -> list[TriedModel]:
    return [TriedModel("m", unsent, accepted, under_way)]


def test_a_model_is_left_to_whoever_is_about_to_send_its_first_row():
    assert first_rows().left_to_others(tried(unsent=3), 0.0) == {"m"}
    assert first_rows().left_to_others([], 0.0) == set()


def test_until_that_was_accepted_or_one_was_here():
    assert first_rows().left_to_others(tried(unsent=3, accepted=1, under_way=1), 0.0) == set()
    assert first_rows(accepted="m").left_to_others(tried(unsent=3), 0.0) == set()


def test_below_a_limit_it_is_left_until_its_cost_is_known_however_long_that_takes():
    rows, here = tried(accepted=1, under_way=1), first_rows(accepted="m", needed="m")

    assert here.left_to_others(rows, 0.0) == here.left_to_others(rows, 1000.0) == {"m"}
    assert first_rows(accepted="m").left_to_others(rows, 0.0) == set()


def test_a_machine_that_cannot_send_its_row_holds_nobody_up_for_long():
    rows, here = tried(unsent=1), first_rows()

    assert here.left_to_others(rows, 5.0) == {"m"}
    assert here.left_to_others(rows, 5.0 + PATIENCE_S) == set()


def test_the_wait_begins_anew_where_it_was_over():
    rows, here = tried(unsent=1), first_rows()
    here.left_to_others(rows, 0.0)
    here.left_to_others([], 10.0)

    assert here.left_to_others(rows, PATIENCE_S) == {"m"}
