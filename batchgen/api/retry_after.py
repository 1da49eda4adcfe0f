"""The Retry-After header: seconds, or a date. Pure: the time is an argument."""

from datetime import UTC
from email.utils import parsedate_to_datetime

MIN_WAIT_S, MAX_WAIT_S = 1.0, 3600.0


def parse_retry_after(header: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, clamped to 1 s … 1 h.

    header: `"120"` or an HTTP date (RFC 9110, 10.2.3); None when there was none.
    now: seconds since the epoch.

    Returns None for no header and for one that is neither.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
            # HTTP dates are UTC, also in the forms that do not say so.
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    if seconds != seconds:  # "nan" is a float to Python
        return None
    return min(max(seconds, MIN_WAIT_S), MAX_WAIT_S)
