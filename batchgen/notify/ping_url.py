"""What a monitor is asked for when a run begins and when it ends. Pure.

A monitor that hears nothing for too long raises the alarm, so it notices also a night that never
began. Three conventions are known:

- healthchecks.io, and whatever follows it: the URL for success, `/start` and `/fail` behind its
  path, `rid` for the run, the words as the body of a POST.
  Source: https://healthchecks.io/docs/http_api/
- Uptime Kuma, by `/api/push/…`: `status`, `msg` and `ping` in the query; it knows no start.
  Source: its `server/routers/api-router.js`.
- Cronitor, by its host: `state`, `series`, `status_code` and `message` in the query.
  Source: https://cronitor.io/docs/telemetry-api
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from batchgen.core.text import truncate

MAX_BODY_CHARS = 8000  # healthchecks keeps 10 KB or more
MAX_KUMA_CHARS = 250  # shown in a line of a list
MAX_CRONITOR_CHARS = 2000
MAX_KUMA_MS = 86_400_000  # it refuses a longer one
_KUMA = re.compile(r"/api/push/[^/]+/?")


class Moment(StrEnum):
    """The moments of a run, as Cronitor calls them."""

    START = "run"
    SUCCESS = "complete"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Ping:
    """A request: a POST where there is a body, else a GET."""

    url: str
    body: str = ""


def ping_request(
    url: str, moment: Moment, run_id: str, *, text: str = "", code: int = 0, seconds: float = 0.0
) -> Ping | None:
    """Return what is asked for; None where the monitor does not know such a moment.

    url: as `parse_ping_url` returns it. run_id: a UUID. text: lines of words. code: the exit code.
    seconds: that the run took.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    words = text.replace("\n", "; ")
    if _KUMA.search(parts.path):
        if moment is Moment.START:
            return None
        told = {
            "status": "up" if moment is Moment.SUCCESS else "down",
            "msg": truncate(words, MAX_KUMA_CHARS) or "OK",
            "ping": str(min(round(seconds * 1000), MAX_KUMA_MS)),
        }
        return Ping(_with_query(parts, told))
    if host == "cronitor.link" or host.endswith(".cronitor.link"):
        told = {"state": moment.value, "series": run_id}
        if moment is not Moment.START:
            told |= {"status_code": str(code), "message": truncate(words, MAX_CRONITOR_CHARS)}
        return Ping(_with_query(parts, told))
    ending = {Moment.START: "/start", Moment.SUCCESS: "", Moment.FAIL: "/fail"}[moment]
    path = parts.path.rstrip("/") + ending if ending else parts.path
    where = _with_query(parts._replace(path=path), {"rid": run_id})
    return Ping(where, truncate(text, MAX_BODY_CHARS))


def _with_query(parts: SplitResult, told: dict[str, str]) -> str:
    """Return a URL whose query has `told`, beside what else stood there."""
    there = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in there if name not in told]
    return urlunsplit(parts._replace(query=urlencode([*kept, *told.items()]), fragment=""))
