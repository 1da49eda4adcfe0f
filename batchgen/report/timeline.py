"""A batch's last night as an inline SVG: submissions, completions, 429s, stops and changes. Pure.

Widths are in percent and heights in pixels, so that text keeps its size on a narrow screen. Colours
are in gallery.css. Times are UTC, as everywhere in a batch.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

MAX_BARS = 96
MAX_TICKS = 6
NIGHT_GAP_S = 6 * 3600.0  # without any event, which parts two nights
BAR_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
DAY_S = 86400
# Pixels from the top: legend, marks, bars above the axis, bars below it, labels.
LEGEND, MARK, REACH = 18, 4, 48  # the height of the legend, a mark's radius, the longest bar
AXIS = LEGEND + 3 * MARK + REACH
LABELS = AXIS + REACH + 16
HEIGHT = LABELS + 6


class ActivityCount(NamedTuple):
    """at: seconds since the epoch. kind: submitted, completed or throttled. n: how many then."""

    at: float
    kind: str
    n: int


class RunStop(NamedTuple):
    """A run that stopped early. at: seconds since the epoch."""

    at: float
    why: str


class RunChange(NamedTuple):
    """What a person asked of a run under way. at: seconds since the epoch."""

    at: float
    what: str


def draw_timeline(
    counts: Sequence[ActivityCount],
    stops: Iterable[RunStop],
    words: Mapping[str, str],
    changes: Iterable[RunChange] = (),
) -> str:
    """Return the last night of a batch as an <svg>; "" where nothing happened.

    words: the texts of `timeline` in words.json.
    """
    if not counts:
        return ""
    start = last_night(sorted({count.at for count in counts}))
    counts = [count for count in counts if count.at >= start]
    end = max(count.at for count in counts)
    stops = [stop for stop in stops if start <= stop.at <= end + NIGHT_GAP_S]
    changes = [change for change in changes if start <= change.at <= end + NIGHT_GAP_S]
    end = max([end, *(stop.at for stop in stops), *(change.at for change in changes)])
    scale = Scale.over(start, end)
    bars = {kind: Counter[int]() for kind in ("submitted", "completed", "throttled")}
    for at, kind, n in counts:
        bars[kind][scale.bar(at)] += n
    title = words["title"].format(
        start=_utc(start, "%Y-%m-%d %H:%M"),
        end=_utc(end, "%Y-%m-%d %H:%M"),
        **{kind: f"{found.total():,}" for kind, found in bars.items()},
        stops=len(stops),
    )
    parts = [
        f'<svg class="timeline" role="img" width="100%" height="{HEIGHT}"'
        f' xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>',
        *_legend(words, bool(bars["throttled"]), bool(stops), bool(changes)),
        *_bars(bars, scale),
        f'<line class="tl-axis" x1="0" x2="100%" y1="{AXIS}" y2="{AXIS}"/>',
        *_ticks(scale),
        *_marks(bars["throttled"], stops, changes, scale, words),
        "</svg>",
    ]
    return "\n".join(parts)


def last_night(times: Sequence[float]) -> float:
    """Return the first of the sorted `times` after the last gap of NIGHT_GAP_S."""
    start = times[-1]
    for time in reversed(times):
        if start - time > NIGHT_GAP_S:
            break
        start = time
    return start


def bar_seconds(span: float, most: int) -> int:
    """Return the seconds of a bar, so that at most `most` bars cover `span` seconds."""
    days = DAY_S * math.ceil(span / DAY_S / most)
    return next((seconds for seconds in BAR_SECONDS if span <= seconds * most), days)


class Scale(NamedTuple):
    """Time in bars.

    start: of the first bar, seconds since the epoch. seconds: of each bar. bars: their number.
    """

    start: float
    seconds: int
    bars: int

    @classmethod
    def over(cls, start: float, end: float) -> "Scale":
        seconds = bar_seconds(end - start, MAX_BARS - 1)  # aligned, they may need one more
        begin = math.floor(start / seconds) * seconds
        return cls(begin, seconds, math.floor((end - begin) / seconds) + 1)

    def bar(self, at: float) -> int:
        return math.floor((at - self.start) / self.seconds)

    def percent(self, bars: float) -> str:
        return f"{bars / self.bars * 100:.2f}%"

    @property
    def end(self) -> float:
        return self.start + self.seconds * self.bars


def _legend(
    words: Mapping[str, str], throttled: bool, stopped: bool, changed: bool
) -> Iterable[str]:
    yield '<g class="tl-legend">'
    for x, kind in ((0, "submitted"), (90, "completed")):
        yield f'<rect class="tl-{kind}" x="{x}" y="2" width="9" height="9"/>'
        yield _label(str(x + 14), 11, "start", words[kind])
    if throttled:
        yield f'<circle class="tl-throttled" cx="184" cy="7" r="{MARK}"/>'
        yield _label("193", 11, "start", words["slow"])
    if stopped:
        yield '<line class="tl-stop" x1="304" x2="304" y1="1" y2="13"/>'
        yield _label("310", 11, "start", words["stopped"])
    if changed:
        yield '<line class="tl-change" x1="364" x2="364" y1="1" y2="13"/>'
        yield _label("370", 11, "start", words["changed"])
    yield _label("100%", 11, "end", words["zone"])
    yield "</g>"


def _bars(bars: Mapping[str, Counter[int]], scale: Scale) -> Iterable[str]:
    highest = max([1, *bars["submitted"].values(), *bars["completed"].values()])
    for kind, up in (("submitted", True), ("completed", False)):
        for bar, n in sorted(bars[kind].items()):
            height = max(n / highest * (REACH - 2), 1)
            y = AXIS - height if up else AXIS
            yield (
                f'<rect class="tl-{kind}" x="{scale.percent(bar)}" y="{y:.1f}"'
                f' width="{scale.percent(0.85)}" height="{height:.1f}"/>'
            )


def _ticks(scale: Scale) -> Iterable[str]:
    apart = bar_seconds(scale.end - scale.start, MAX_TICKS)
    first = math.ceil(scale.start / apart)
    last = math.floor(scale.end / apart)
    for at in (number * apart for number in range(first, last + 1)):
        part = (at - scale.start) / (scale.end - scale.start)
        anchor = "start" if part < 0.05 else "end" if part > 0.95 else "middle"
        form = "%H:%M:%S" if apart < 60 else "%H:%M" if apart < DAY_S else "%d %b"
        yield _label(f"{part * 100:.2f}%", LABELS, anchor, _utc(at, form))


def _marks(
    throttled: Counter[int],
    stops: Iterable[RunStop],
    changes: Iterable[RunChange],
    scale: Scale,
    words: Mapping[str, str],
) -> Iterable[str]:
    for bar, n in sorted(throttled.items()):
        time = _utc(scale.start + bar * scale.seconds)
        yield (
            f'<circle class="tl-throttled" cx="{scale.percent(bar + 0.5)}"'
            f' cy="{LEGEND + MARK}" r="{MARK}">'
            f"<title>{escape(words['throttled'].format(time=time, n=n))}</title></circle>"
        )
    lines = [("change", change) for change in changes] + [("stop", stop) for stop in stops]
    for kind, (at, why) in lines:
        x = scale.percent((at - scale.start) / scale.seconds)
        yield (
            f'<line class="tl-{kind}" x1="{x}" x2="{x}" y1="{LEGEND}" y2="{AXIS + REACH}">'
            f"<title>{escape(words['stop'].format(time=_utc(at), why=why))}</title></line>"
        )


def _label(x: str, y: int, anchor: str, text: str) -> str:
    return f'<text class="tl-label" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _utc(at: float, form: str = "%H:%M") -> str:
    return datetime.fromtimestamp(at, UTC).strftime(form)
