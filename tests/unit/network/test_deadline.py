"""How long an exchange may have taken, by what it has brought."""

import pytest

from batchgen.network.deadline import allowed_seconds

KIB = 1024


@pytest.mark.parametrize(
    ("size", "seconds"),
    [
        (0, 60.0),  # the grace
        (60 * KIB, 60.0),
        (61 * KIB, 61.0),  # a second for each KiB
        (1 << 30, 3600.0),  # the whole
    ],
)
def test_an_exchange_may_take_its_grace_then_as_long_as_it_moves_and_never_more_than_the_whole(
    size: int, seconds: float
) -> None:
    assert allowed_seconds(size, KIB, grace=60.0, total=3600.0) == seconds
