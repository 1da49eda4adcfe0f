"""`status --watch`: what a batch looks like at one moment. It reads, and holds nobody up."""

from contextlib import closing

from batchgen.batch_folder import Folder
from batchgen.clock import from_iso
from batchgen.core.expiry import RESULTS_KEPT_S
from batchgen.core.timing import Timing
from batchgen.errors import UsageError
from batchgen.journal.follow import MINUTE_S, QUEUE, Follower, in_flight_since, instances
from batchgen.journal.reader import Reader, find_holder, numbers
from batchgen.journal.stored_values import QUEUE_FIELDS
from batchgen.report.frame import Look


def look(folder: Folder, follower: Follower, now: float, timing: Timing) -> Look:
    """Return what a batch looks like now. now: seconds since the epoch.

    Raises UsageError if there is no batch and none begins, and StorageDamaged.
    """
    found = Look(now, str(folder.path))
    holder = find_holder(folder)
    try:
        reader = Reader(folder.journal, timing)
    except UsageError:
        if holder is None:
            raise
        found.runner, found.doing = str(holder), holder.doing or "at work in the folder"
        return found
    with closing(reader), reader.one_moment():
        found.numbers = numbers(reader)
        found.numbers |= {"instances": instances(reader), "machines": reader.machines()}
        run = reader.last_run() or {}
        follower.look(reader, now)
        found.rate = reader.pace()
        found.in_flight = [now - at for at in in_flight_since(reader)]
        found.expiring, first = reader.first_to_expire(now)
        queue = reader.get_meta(QUEUE)
    goes_on = holder is not None and not run.get("ended_at")
    if holder is not None:
        found.runner = str(holder)
        if not (goes_on and holder.is_process(run.get("process"))):
            found.doing = holder.doing or "at work in the folder"
    found.first_to_expire = None if first is None else RESULTS_KEPT_S - (now - from_iso(first))
    started = from_iso(run["started_at"]) if run.get("started_at") else now
    until = from_iso(run["ended_at"]) if run.get("ended_at") else now
    young = now - started < MINUTE_S  # then the first submission began no interval
    submitted = max(len(follower.minute) - young, 0)
    found.last_minute = submitted / max(min(MINUTE_S, now - started), 1.0)
    found.of_run = follower.submitted / max(until - started, 1.0)
    if follower.night is not None:
        found.night = follower.night
        submitted_tonight = follower.before + follower.submitted
        found.of_night = submitted_tonight / max(until - follower.night, 1.0)
    if goes_on and queue and found.in_flight and queue["at"] >= run["started_at"]:
        found.queue = {name: queue[name] for name in ("at", *QUEUE_FIELDS)}
    found.throttled = follower.throttled
    found.problems, found.changes = [*follower.problems], [*follower.changes]
    return found
