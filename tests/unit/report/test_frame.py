"""What a look at a batch shows, at a terminal, in a line and as JSON."""

import json
from datetime import UTC, datetime

from batchgen.core.states import State
from batchgen.report.frame import Look, as_json, frame, line

NOW = datetime(2026, 11, 27, 2, 30, 5, tzinfo=UTC).timestamp()
RUN = {"started_at": "2026-11-27T01:30:00.000Z", "ended_at": None, "ending": None}


def look(**changed):
    """A look at a batch of a hundred rows in the middle of its night."""
    counts = dict.fromkeys(State, 0) | {State.PENDING: 60, State.SUBMITTED: 4, State.SAVED: 36}
    numbers = {
        "rows": 100,
        "rehearsal": False,
        "counts": {str(state): n for state, n in counts.items()} | changed.pop("counts", {}),
        "money_usd": {
            "committed": 1.2,
            "reserved": 0.12,
            "unknown": 0.0,
            "unpriced": 0,
            "estimated": False,
        },
        "paused_since": None,
        "kept": {},
        "run": RUN,
    }
    numbers |= changed.pop("numbers", {})
    values = {
        "at": NOW,
        "batch": "out/list",
        "runner": "process 27017",
        "numbers": numbers,
        "rate": 1.0,
        "last_minute": 0.5,
        "of_run": 0.1,
        "in_flight": [240.0, 30.0, 10.0, 2.0],
    }
    return Look(**values | changed)


def shown(one, width=100):
    return frame(one, width, UTC)


def test_a_frame_shows_how_a_night_goes():
    assert shown(look()) == [
        "out/list  02:30:05",
        "running (process 27017)",
        "  rows       100: 60 pending, 4 submitted, 36 saved",
        "  cost       $1.20 spent or reserved",
        "  rate       30/m now, 6/m over this run, at most 60/m",
        "  in flight  4: the oldest for 4 min, half for 10 s or longer",
        "  submitted  by 02:32, in 2 min",
    ]


def test_a_line_is_cut_by_the_columns_that_it_takes():
    """A line that wraps would leave a rest of itself behind at the next frame."""
    problem = {"at": RUN["started_at"], "id": "狐狸", "state": "failed", "why": "雪" * 40}

    wide = shown(look(problems=[problem]), 60)[-1]
    assert wide == "    01:30 狐狸 failed: " + "雪" * 18 + "…"
    assert shown(look(batch="a" * 99), 60)[0] == "a" * 59 + "…"
    assert shown(look(batch="狐" * 25), 60)[0] == "狐" * 25 + "  02:30:05"


def test_a_frame_shows_the_queue_and_the_whole_night_where_they_are_known():
    queue = {"at": "2026-11-27T02:30:04.000Z", "waiting": 3, "first": 2, "last": 9}
    evening = datetime(2026, 11, 26, 22, 0, tzinfo=UTC).timestamp()
    one = look(queue=queue, night=evening, of_night=0.05)

    assert "  queue      3 wait at RunComfy, at positions 2 to 9" in shown(one)
    assert (
        "  rate       30/m now, 6/m over this run, 3/m since 2026-11-26 22:00, at most 60/m"
        in shown(one)
    )
    assert as_json(one)["queue"] == queue
    assert as_json(one)["rate_per_second"]["night"] == 0.05
    assert as_json(one)["night_since"] == "2026-11-26T22:00:00Z"
    assert as_json(look())["night_since"] is as_json(look())["queue"] is None


def test_a_frame_shows_what_needs_a_look():
    problem = {"at": "2026-11-26T23:10:00.000Z", "id": "fox", "state": "failed"}
    found = shown(
        look(
            throttled=3,
            expiring=2,
            first_to_expire=90000.0,
            changes=[{"at": "2026-11-27T02:00:00.000Z", "what": "set rate 20/m (was 60/m)"}],
            problems=[problem | {"why": "content policy\nno"}, problem | {"id": "owl", "why": ""}],
        )
    )

    assert "told to slow down (429) 3 times" in "".join(found)
    assert "  expiring   2 results not fetched, the first may be gone in 25 h" in found
    late = shown(look(expiring=1, first_to_expire=-5.0))
    assert "  expiring   1 result not fetched, the first may be gone already" in late
    assert "  changed    02:00 set rate 20/m (was 60/m)" in found
    assert found[-3:] == [
        "  problems, the latest first",
        "    2026-11-26 23:10 owl failed: no reason given",
        "    2026-11-26 23:10 fox failed: content policy no",
    ]


def test_no_line_is_wider_than_the_terminal_and_none_steers_it():
    hostile = {
        "at": "2026-11-27T02:00:00.000Z",
        "id": "\x1b[2J",
        "state": "failed",
        "why": "x" * 500,
    }

    found = shown(look(problems=[hostile]), 40)

    assert max(map(len, found)) <= 40
    assert "\x1b" not in "".join(found)


def test_a_paused_batch_says_since_when_and_no_end():
    paused = look(numbers={"paused_since": "2026-11-27T02:10:00.000Z"})

    assert shown(paused)[1] == "paused since 02:10 (process 27017)"
    assert paused.ends_at is None


def test_without_a_run_it_says_so():
    over = RUN | {"ended_at": "2026-11-27T02:00:00.000Z", "ending": "Every row is saved."}

    assert shown(look(runner="", numbers={"run": over}))[1] == (
        "no run under way; the last one: Every row is saved."
    )
    assert "was killed" in shown(look(runner=""))[1]
    assert shown(look(runner="", numbers={"run": {"started_at": None}}))[1] == "no run under way"


def test_before_there_is_a_journal_it_says_who_begins():
    starting = Look(NOW, "out/list", "process 1", "reading list.csv, 3,000 rows so far")

    assert shown(starting)[1:] == ["process 1 is reading list.csv, 3,000 rows so far"]
    assert line(starting, UTC) == "02:30 process 1 is reading list.csv, 3,000 rows so far"
    assert as_json(starting)["running"] is False


def test_the_end_is_that_of_the_rate_of_the_last_minute_else_of_the_one_allowed():
    assert look().ends_at == NOW + 120
    assert look(last_minute=0.0).ends_at == NOW + 60
    assert look(counts={"pending": 0}).ends_at is None
    assert look(runner="").ends_at is None


def test_a_line_has_what_changes():
    assert line(look(throttled=2), UTC) == (
        "02:30 60 pending, 4 submitted, 36 saved · 30/m now · $1.20 · 2 × 429"
        " · running (process 27017)"
    )


def test_a_frame_as_json_has_the_same_values():
    found = json.loads(json.dumps(as_json(look())))

    assert found["at"] == "2026-11-27T02:30:05Z"
    assert found["counts"]["saved"] == 36
    rates = {"allowed": 1.0, "last_minute": 0.5, "run": 0.1, "night": None}
    assert found["rate_per_second"] == rates
    assert found["in_flight_seconds"] == [240.0, 30.0, 10.0, 2.0]
    assert found["submitted_by"] == "2026-11-27T02:32:05Z"
    assert (found["running"], found["process"]) == (True, "process 27017")


def test_a_frame_names_the_instances_that_are_at_work_and_counts_what_is_too_many():
    found = [
        {"id": f"row-{n}", "instance": f"gpu-{n}", "since": "2026-11-27T02:30:00.000Z",
         "waited_seconds": 180.0}
        for n in range(5)
    ]  # fmt: skip

    lines = shown(look(numbers={"instances": found}), 200)

    assert (
        "  instances  gpu-0 on row-0 for 5 s, after 3 min; gpu-1 on row-1 for 5 s, after 3 min;"
        " gpu-2 on row-2 for 5 s, after 3 min; 2 more"
    ) in lines
    assert not any("instances" in one for one in shown(look(numbers={"instances": []})))


def test_a_frame_names_each_machine_what_it_has_and_whether_it_is_heard_of():
    machine = {"process": "431 on render-2", "doing": "running", "reached": True,
               "since": "2026-11-27T02:10:05.000Z", "quiet_seconds": 0.4,
               "rows": {"submitted": 13, "pending": 1}}  # fmt: skip
    silent = machine | {"process": "7 on \x1b[31mx", "quiet_seconds": 42.0, "rows": {}}
    lines = shown(look(numbers={"machines": [machine, silent]}), 200)

    assert "  machines   431 on render-2, running for 20 min: 1 pending, 13 submitted" in lines
    (other,) = (one for one in lines if "on \\x1b" in one)
    assert other.endswith("no rows; not heard of for 42 s")
    assert not any("machines" in one for one in shown(look(numbers={"machines": []})))
