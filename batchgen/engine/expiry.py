"""How old a result may grow before it is lost. Pure.

Source: api.md: serverless results are deleted after 7 days; treated as true for every model.
"""

DAY = 86400.0
EXPIRES_AFTER = 7 * DAY
PRESSING_AFTER = 5 * DAY


def pressing(age: float) -> bool:
    """Whether a request submitted `age` seconds ago is fetched before anything new is submitted."""
    return age >= PRESSING_AFTER


def warning(ages: list[float]) -> str:
    """What to say about requests of these ages in seconds, not fetched yet; "" for nothing."""
    old = [age for age in ages if pressing(age)]
    if not old:
        return ""
    rows = "1 row" if len(old) == 1 else f"{len(old)} rows"
    return (
        f"{rows} submitted up to {max(old) / DAY:.0f} days ago: RunComfy deletes results after"
        f" {EXPIRES_AFTER / DAY:.0f}, so they are fetched before anything is submitted."
    )
