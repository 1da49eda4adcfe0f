"""The picture of a night: what it counts, where a night begins, and that no text steers it."""

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from batchgen.report import timeline
from batchgen.report.gallery import TEMPLATES
from batchgen.report.timeline import (
    DAY_S,
    MAX_BARS,
    MAX_TICKS,
    NIGHT_GAP_S,
    ActivityCount,
    RunChange,
    RunStop,
    Scale,
    draw_timeline,
)

WORDS = json.loads((TEMPLATES / "words.json").read_text(encoding="utf-8"))["timeline"]
SVG = "{http://www.w3.org/2000/svg}"
NIGHT = datetime(2026, 11, 22, 23, 0, tzinfo=UTC).timestamp()
times = st.floats(0, 4e9)
counts = st.builds(
    ActivityCount,
    st.floats(NIGHT, NIGHT + 3 * DAY_S),
    st.sampled_from(["submitted", "completed", "throttled"]),
    st.integers(1, 10_000),
)
# What XML has no form for; a page of HTML does not mind it.
texts = st.text(st.characters(exclude_categories=["C"]))
stops = st.builds(RunStop, st.floats(NIGHT, NIGHT + 3 * DAY_S), texts)


def drawn(counts, stops=()):
    return ET.fromstring(draw_timeline(counts, stops, WORDS))


def of_class(svg, name):
    """The elements of a class, without those of the legend."""
    (legend,) = svg.iterfind(f"{SVG}g")
    explained = [*legend.iter()]
    return [e for e in svg.iter() if e.get("class") == name and e not in explained]


def percent(element, name):
    return float(element.get(name).removesuffix("%"))


def test_a_batch_in_which_nothing_happened_has_no_timeline():
    assert draw_timeline([], [RunStop(NIGHT, "nothing was sent")], WORDS) == ""


def test_its_title_says_in_words_what_it_shows():
    svg = drawn(
        [
            ActivityCount(NIGHT, "submitted", 1200),
            ActivityCount(NIGHT + 3600, "completed", 1100),
            ActivityCount(NIGHT + 60, "throttled", 3),
        ],
        [RunStop(NIGHT + 7200, "The time limit is reached.")],
    )

    assert svg.get("role") == "img"
    assert svg[0].tag == f"{SVG}title"
    assert svg[0].text == (
        "2026-11-22 23:00 to 2026-11-23 01:00 UTC. Submitted: 1,200, completed: 1,100,"
        " told to slow down (429): 3, stopped: 1"
    )


def test_bars_are_as_high_as_what_they_count():
    svg = drawn(
        [ActivityCount(NIGHT, "submitted", 100), ActivityCount(NIGHT + 3600, "submitted", 50)]
    )

    high, low = (float(bar.get("height")) for bar in of_class(svg, "tl-submitted"))
    assert high == 2 * low


def test_submissions_stand_on_the_axis_and_completions_hang_from_it():
    svg = drawn([ActivityCount(NIGHT, "submitted", 10), ActivityCount(NIGHT, "completed", 10)])

    (sent,), (done,), (axis,) = (
        of_class(svg, f"tl-{name}") for name in ("submitted", "completed", "axis")
    )
    assert float(sent.get("y")) + float(sent.get("height")) == float(axis.get("y1"))
    assert float(done.get("y")) == float(axis.get("y1"))


def test_the_legend_explains_what_there_is():
    svg = drawn([ActivityCount(NIGHT, "submitted", 1)])
    stopped = drawn(
        [ActivityCount(NIGHT, "submitted", 1), ActivityCount(NIGHT, "throttled", 1)],
        [RunStop(NIGHT, "")],
    )

    legends = [[text.text for text in s.iterfind(f"{SVG}g/{SVG}text")] for s in (svg, stopped)]
    assert legends == [
        ["submitted", "completed", "UTC"],
        ["submitted", "completed", "slow down (429)", "stop", "UTC"],
    ]


def test_a_429_and_a_stop_are_marked_with_their_time_and_words():
    svg = drawn(
        [ActivityCount(NIGHT, "submitted", 1), ActivityCount(NIGHT + 600, "throttled", 4)],
        [RunStop(NIGHT + 3600, "Balance used up.")],
    )

    (slowed,), (stopped,) = of_class(svg, "tl-throttled"), of_class(svg, "tl-stop")
    assert slowed[0].text == "23:10: told to slow down (429), 4 times"
    assert stopped[0].text == "00:00: Balance used up."


def test_the_nights_before_a_long_pause_are_left_out():
    before = NIGHT - NIGHT_GAP_S - 1
    svg = drawn(
        [ActivityCount(before, "submitted", 7), ActivityCount(NIGHT, "submitted", 1)],
        [RunStop(before, "enough")],
    )

    assert svg[0].text.startswith("2026-11-22 23:00 to")
    assert "Submitted: 1," in svg[0].text
    assert of_class(svg, "tl-stop") == []


@given(st.lists(counts, min_size=1), st.lists(stops))
def test_every_night_fits_and_is_read_by_a_parser(counts, stops):
    svg = drawn(counts, stops)

    for name in ("submitted", "completed"):
        bars = of_class(svg, f"tl-{name}")
        assert len(bars) <= MAX_BARS
        assert all(0 <= percent(b, "x") <= 100 - percent(b, "width") + 0.02 for b in bars)
        assert all(0 < float(b.get("height")) <= timeline.REACH for b in bars)
    marks = of_class(svg, "tl-stop")
    assert all(0 <= percent(line, "x1") <= 100 for line in marks)
    assert len(of_class(svg, "tl-label")) <= MAX_TICKS + 1


@given(st.lists(counts, min_size=1))
def test_nothing_of_the_night_is_lost_on_the_way_to_the_bars(counts):
    start = timeline.last_night(sorted({count.at for count in counts}))
    night = [count for count in counts if count.at >= start]
    scale = Scale.over(start, max(count.at for count in night))

    assert all(0 <= scale.bar(count.at) < scale.bars <= MAX_BARS for count in night)


@given(st.lists(times, min_size=1, unique=True).map(sorted))
def test_a_night_has_no_long_pause_in_it_and_one_before_it(times):
    start = timeline.last_night(times)
    night = [time for time in times if time >= start]

    assert all(later - time <= NIGHT_GAP_S for time, later in pairwise(night))
    assert all(start - time > NIGHT_GAP_S for time in times if time < start)


@given(st.floats(0, 100 * 365 * DAY_S), st.integers(2, 200))
def test_a_step_covers_the_span(span, most):
    assert span <= timeline.bar_seconds(span, most) * most


def test_a_reason_from_outside_is_text():
    hostile = '</title></svg><script>alert("x")</script>&'
    svg = drawn([ActivityCount(NIGHT, "submitted", 1)], [RunStop(NIGHT, hostile)])

    assert [element for element in svg.iter() if "script" in element.tag] == []
    assert of_class(svg, "tl-stop")[0][0].text == f"23:00: {hostile}"


def test_what_a_person_changed_under_way_is_a_mark_and_in_the_legend():
    changes = [RunChange(NIGHT + 60, "set rate 20/m (was 60/m)"), RunChange(NIGHT + 90, "<b>")]
    counts = [ActivityCount(NIGHT, "submitted", 3), ActivityCount(NIGHT + 120, "completed", 3)]

    svg = ET.fromstring(draw_timeline(counts, [], WORDS, changes))

    marks = of_class(svg, "tl-change")
    assert [mark[0].text for mark in marks] == ["23:01: set rate 20/m (was 60/m)", "23:01: <b>"]
    assert "changed by hand" in "".join(svg.itertext())
    assert "changed by hand" not in "".join(drawn(counts).itertext())
