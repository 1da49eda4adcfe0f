"""How old a result may grow before it is lost. Pure.

Source: api.md: serverless results are deleted after 7 days; treated as true for every model.
"""

from batchgen.core.text import plural

DAY_S = 86400.0
EXPIRES_AFTER_S = 7 * DAY_S
URGENT_AFTER_S = 5 * DAY_S


def is_urgent(age: float) -> bool:
    """Whether a request submitted `age` seconds ago is fetched before anything new is submitted."""
    return age >= URGENT_AFTER_S


def expiry_warning(ages: list[float]) -> str:
    """What to say about requests of these ages in seconds, not fetched yet; "" for nothing."""
    old = [age for age in ages if is_urgent(age)]
    if not old:
        return ""
    return (
        f"{plural(len(old), 'row')} submitted up to {max(old) / DAY_S:.0f} days ago: RunComfy"
        f" deletes results after {EXPIRES_AFTER_S / DAY_S:.0f}, so they are fetched before anything"
        " is submitted."
    )
