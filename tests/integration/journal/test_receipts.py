"""receipts.log: what survives a full disk, a lost journal and a power cut in mid-line."""

import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.journal.receipts import PREALLOCATED_BYTES, Receipt, ReceiptLog, parse_receipt

AT = "2026-10-18T03:04:05.678Z"


def receipt(n=1, attempt=1):
    return Receipt(f"{n:032x}", attempt, f"req-{n}", AT)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "receipts.log"


def wrote(path, *found):
    """What a run leaves that gave these receipts; the file's end is where the next one starts."""
    with ReceiptLog(path) as log:
        for one in found:
            log.append(one)
        return log.end


def read(path, offset=0):
    with ReceiptLog(path) as log:
        return list(log.since(offset))


def lines(path):
    """The bytes that are no room taken ahead."""
    return path.read_bytes().rstrip(b"\0")


def test_a_new_log_is_empty_private_and_has_room_taken_ahead(path):
    assert read(path) == []
    assert path.stat().st_size == PREALLOCATED_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_given_is_read_again_in_order(path):
    given_out = [receipt(n) for n in range(5)]
    wrote(path, *given_out)

    assert read(path) == given_out


def test_a_receipt_is_a_line_that_people_can_read(path):
    wrote(path, receipt(7, attempt=2))

    key, attempt, request_id, at, checksum = lines(path).decode().split()
    assert (key, attempt, request_id, at) == (f"{7:032x}", "2", "req-7", AT)
    assert len(checksum) == 8


def test_a_receipt_is_read_by_the_log_that_wrote_it(path):
    with ReceiptLog(path) as log:
        log.append(receipt(1))
        assert list(log.since(0)) == [receipt(1)]
        log.append(receipt(2))
        assert list(log.since(0)) == [receipt(1), receipt(2)]


def test_the_next_run_appends_after_the_last_line(path):
    end = wrote(path, receipt(1))

    assert wrote(path, receipt(2)) == end + len(receipt(2).line())
    assert lines(path) == receipt(1).line() + receipt(2).line()


def test_a_run_reads_only_what_it_has_not_read_before(path):
    first = wrote(path, receipt(1), receipt(2))
    wrote(path, receipt(3))

    assert read(path, first) == [receipt(3)]
    assert read(path, first + len(receipt(3).line())) == []


def test_reading_on_from_where_a_longer_log_ended_is_no_error(path):
    wrote(path, receipt(1))

    assert read(path, 10**9) == []


@pytest.mark.parametrize("length", range(len(receipt(2).line())))
def test_a_torn_line_is_skipped_and_does_not_swallow_the_next(path, length):
    path.write_bytes(receipt(1).line() + receipt(2).line()[:length])
    wrote(path, receipt(3))

    # A line that lacks no more than its end of line is whole.
    torn = [receipt(2)] if length == len(receipt(2).line()) - 1 else []
    assert read(path) == [receipt(1), *torn, receipt(3)]


@pytest.mark.parametrize(
    "zeros", [0, 1, PREALLOCATED_BYTES - 1, PREALLOCATED_BYTES, 3 * PREALLOCATED_BYTES]
)
def test_zeros_that_a_power_cut_left_are_room_not_lines(path, zeros):
    path.write_bytes(receipt(1).line() + bytes(zeros))

    assert read(path) == [receipt(1)]
    wrote(path, receipt(2))
    assert read(path) == [receipt(1), receipt(2)]


def test_zeros_in_the_middle_lose_no_other_line(path):
    path.write_bytes(receipt(1).line() + bytes(100) + receipt(3).line())

    assert read(path) == [receipt(1), receipt(3)]


@pytest.mark.parametrize("place", range(0, len(receipt(2).line()) - 1, 7))
def test_a_line_with_a_wrong_byte_is_not_believed(path, place):
    bad = bytearray(receipt(2).line())
    bad[place] ^= 0x01
    path.write_bytes(receipt(1).line() + bytes(bad) + receipt(3).line())

    assert read(path) == [receipt(1), receipt(3)]


def test_room_is_always_taken_ahead(path):
    with ReceiptLog(path) as log:
        for n in range(2 * PREALLOCATED_BYTES // len(receipt().line())):
            log.append(receipt(n))
            assert path.stat().st_size - log.end >= PREALLOCATED_BYTES // 2 - len(receipt().line())
    assert len(read(path)) == 2 * PREALLOCATED_BYTES // len(receipt().line())


def test_a_line_is_written_into_the_room_without_growing_the_file(path):
    wrote(path)
    before = path.stat().st_size

    wrote(path, receipt(1))

    assert path.stat().st_size == before


def test_a_log_that_cannot_be_opened_is_an_error_at_once(path):
    path.mkdir()

    with pytest.raises(OSError):
        ReceiptLog(path)


KEYS = st.text("0123456789abcdef", min_size=32, max_size=32)
IDS = st.from_regex(r"\A[A-Za-z0-9_-]{1,128}\Z")
RECEIPTS = st.builds(Receipt, KEYS, st.integers(1, 10**6), IDS, st.just(AT))


@given(RECEIPTS)
def test_every_receipt_survives_its_line(one):
    assert parse_receipt(one.line().strip(b"\n")) == one


@given(RECEIPTS, st.data())
def test_no_part_of_a_line_is_taken_for_a_receipt(one, data):
    line = one.line().strip(b"\n")
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, len(line)))

    assert parse_receipt(line[start:end]) == (one if line[start:end] == line else None)


@settings(max_examples=300)
@given(st.binary())
def test_any_bytes_are_no_receipt(line):
    assert parse_receipt(line) is None
