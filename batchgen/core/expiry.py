"""How old a result may grow before it is lost. Pure: ages are arguments, in seconds."""

from batchgen.core.text import plural

DAY_S = 86400.0
# Source: docs/maintainers/wire.md: results of RunComfy's serverless API are deleted after seven
# days, and that is taken for true of every model.
RESULTS_KEPT_S = 7 * DAY_S
PAID_BUT_GONE = "paid, but gone"  # how the reason of such a row begins
URGENT_SHARE = 5 / 7  # of that time; from then on a result is fetched before anything is submitted


def is_urgent(age: float, kept_s: float = RESULTS_KEPT_S) -> bool:
    """Whether a request that was submitted `age` seconds ago is fetched before anything else.

    kept_s: the seconds for which the service keeps results.
    """
    return age >= kept_s * URGENT_SHARE


def has_expired(age: float, kept_s: float = RESULTS_KEPT_S) -> bool:
    """Whether a result that nobody has is gone for good. age, kept_s: as above."""
    return age >= kept_s


def expiry_warning(ages: list[float], kept_s: float = RESULTS_KEPT_S) -> str:
    """Return what to say about requests of these ages that are not fetched yet; "" for nothing."""
    old = [age for age in ages if is_urgent(age, kept_s)]
    if not old:
        return ""
    return (
        f"{plural(len(old), 'row')} submitted up to {max(old) / DAY_S:.0f} days ago: RunComfy"
        f" deletes results after {kept_s / DAY_S:.0f}, so they are fetched before anything is"
        " submitted."
    )
