"""The user's schedules: installed, listed, looked after and removed.

What is scheduled stands in a file of batchgen's own beside the crontab or the units, and is checked
against these: a line that somebody has deleted is missed.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from batchgen.batch_folder import Folder
from batchgen.clock import from_iso
from batchgen.config import has_name_of_its_own
from batchgen.core.text import shell_quote
from batchgen.errors import BatchgenError, StorageDamaged, UsageError
from batchgen.files import config_folder, open_regular, write_whole
from batchgen.journal.reader import Reader, find_holder
from batchgen.operations.find_batch import find_existing, known_batches, look_into
from batchgen.schedule import crontab, system, units
from batchgen.schedule.entry import Entry, check_words, from_json

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a schedule does what it says.

    wrong: what does not, in words; "" if nothing. began: the start of the last run, local time;
    None if there was none. next_start: local time.
    """

    entry: Entry
    wrong: str
    began: datetime | None
    next_start: datetime


def install(entry: Entry) -> None:
    """Write and enable a schedule, in the place of one of the same name.

    Raises UsageError for a name that another list has, or what no schedule can hold; SystemRefused;
    OSError.
    """
    check_words(entry)
    old = next((one for one in entries() if one.name == entry.name), None)
    if old is not None and old.manifest != entry.manifest:
        raise UsageError(
            f"The schedule {entry.name!r} is that of {old.manifest}.",
            "Give this one another name with --name.",
        )
    if entry.by == "cron":
        before = system.read_crontab()
        after = crontab.with_block(before, entry.name, crontab.block(entry))
    if old is not None and old.by != entry.by:
        _take_out(old)
    # First, so that nothing runs that no list shows.
    _write(entry_path(entry.name), entry.to_json())
    try:
        if entry.by == "cron":
            system.write_crontab(after)
        else:
            _enable(entry)
    except (BatchgenError, OSError):
        if old is None:
            entry_path(entry.name).unlink(missing_ok=True)
        raise


def _enable(entry: Entry) -> None:
    service, timer = unit_paths(entry.name)
    if timer.exists():
        system.systemctl("stop", timer.name)
    _write(service, units.service(entry))
    _write(timer, units.timer(entry))
    system.systemctl("daemon-reload")
    # Else it makes up for a start since the last one of a timer of this name, i.e. starts at once.
    # Before systemd 244 it cannot be asked to forget that.
    with contextlib.suppress(system.SystemRefused):
        system.systemctl("clean", "--what=state", timer.name)
    system.systemctl("enable", "--now", timer.name)


def remove(entry: Entry) -> None:
    """Take a schedule out. Raises UsageError, SystemRefused, OSError."""
    _take_out(entry)
    entry_path(entry.name).unlink(missing_ok=True)


def _take_out(entry: Entry) -> None:
    if entry.by == "cron":
        before = system.read_crontab()
        after = crontab.without_block(before, entry.name)
        if after != before:
            system.write_crontab(after)
        return
    service, timer = unit_paths(entry.name)
    if timer.exists():
        system.systemctl("disable", "--now", timer.name)
    service.unlink(missing_ok=True)
    timer.unlink(missing_ok=True)
    system.systemctl("daemon-reload")


def entries() -> list[Entry]:
    """Return the user's schedules by their names. Raises UsageError, StorageDamaged, OSError."""
    return sorted(_read_entries(), key=lambda entry: entry.name)


def find(text: str) -> Entry:
    """Return the schedule of a name, or of a list. Raises UsageError without exactly one."""
    there = entries()
    path = os.path.abspath(text)  # noqa: PTH100
    named = [entry for entry in there if entry.name == text]
    found = named or [entry for entry in there if entry.manifest == path]
    if len(found) == 1:
        return found[0]
    names = ", ".join(entry.name for entry in found or there) or "none"
    many = "has several schedules" if found else "is no schedule, and has none"
    raise UsageError(f"{text} {many}.", f"There are: {names}.")


def files(entry: Entry) -> Mapping[str, str]:
    """Return what stands where when a schedule is installed, by its place."""
    if entry.by == "cron":
        return {"crontab": crontab.block(entry).decode()}
    service, timer = unit_paths(entry.name)
    return {str(service): units.service(entry), str(timer): units.timer(entry)}


def look_after(entry: Entry, now: datetime, grace: timedelta) -> Health:
    """Say whether a schedule is still installed and whether its last run began in time.

    grace: how late a start may be. Raises UsageError, SystemRefused.
    """
    began, refused, running = _last_run(entry)
    wrong = ""
    if not _is_installed(entry):
        where = "your crontab" if entry.by == "cron" else "your systemd units"
        wrong = f"it is no longer in {where}"
    elif not running and entry.timetable.is_late(now, entry.since, began, grace):
        due = entry.timetable.last_start(now - grace)
        wrong = f"no run has begun since {due:%Y-%m-%d %H:%M}, when it was due"
        if refused:
            wrong += f"; the last one was refused: {refused}"
    return Health(entry, wrong, began, entry.timetable.next_start(now))


def _is_installed(entry: Entry) -> bool:
    if entry.by == "cron":
        return crontab.block(entry) in system.read_crontab()
    service, timer = unit_paths(entry.name)
    return service.is_file() and timer.is_file()


def environment_of(entry: Entry) -> dict[str, str]:
    """Return what a run of the schedule is given. Raises UsageError, SystemRefused."""
    if entry.by == "systemd":
        return {**system.systemd_environment(), **entry.environment}
    above = crontab.variables(system.read_crontab(), entry.name)
    return {**system.cron_environment(), **above, **entry.environment}


def log_of(entry: Entry) -> Path | None:
    """Return the log of a schedule's batch; None before its first run."""
    folder = _batch(entry)
    return None if folder is None else folder.log


def _last_run(entry: Entry) -> tuple[datetime | None, str, bool]:
    """Return when the last run of the batch began, why one after it was refused ("" if none was),
    and whether one holds its folder now.
    """
    folder = _batch(entry)
    if folder is None:
        return None, "", False
    running = find_holder(folder) is not None
    try:
        with closing(Reader(folder.journal)) as reader:
            start, refused = reader.last_start(), reader.last_refusal()
    except (UsageError, StorageDamaged):
        return None, "", running
    began = None if start is None else datetime.fromtimestamp(from_iso(start))
    return began, refused, running


def _batch(entry: Entry) -> Folder | None:
    """Return the batch folder, found as the run finds it, with an absolute path.

    None if there is none yet. A rehearsal by hand is none: no night has begun in it.
    """
    try:
        with contextlib.chdir(entry.folder):
            place = entry.out or entry.manifest
            found = find_existing(place, known_batches(), entry.database())
            folder = Folder(found.path.absolute(), database=found.database)
    except (OSError, UsageError):
        return None
    batch = look_into(folder)
    rehearsed = batch is not None and batch.rehearsal and not entry.is_rehearsal()
    return None if rehearsed else folder


# -- places ---------------------------------------------------------------------------------------


def entry_path(name: str) -> Path:
    return _configuration() / "batchgen" / "schedules" / f"{name}.json"


def unit_paths(name: str) -> tuple[Path, Path]:
    """Return where the service and the timer of a schedule stand."""
    folder = _configuration() / "systemd" / "user"
    unit = units.unit_name(name)
    return folder / f"{unit}.service", folder / f"{unit}.timer"


def check_manifest(manifest: str) -> str:
    """Return the absolute path of a list that a schedule can run. Raises UsageError."""
    if not manifest:
        what = "The name of the list is empty, as of a variable that is not set."
        raise UsageError(what, "Name a file, or a folder.")
    if not has_name_of_its_own(manifest):
        raise UsageError(f"{manifest} cannot be read at night.", "Write the list into a file.")
    path = Path(os.path.abspath(manifest))  # noqa: PTH100  # a link to the list of the day stays one
    if not path.exists():
        raise UsageError(f"There is no {manifest}.", f"Look into {shell_quote(str(path.parent))}.")
    if not (path.is_file() or path.is_dir()):  # a run would wait for what nobody writes at night
        what = f"{manifest} is a pipe or a device, and cannot be read at night."
        raise UsageError(what, "Write the list into a file.")
    return str(path)


def _configuration() -> Path:
    folder = config_folder(os.environ)
    if folder is None:
        what = "There is no home folder to keep a schedule in."
        raise UsageError(what, "Set HOME, or XDG_CONFIG_HOME to a folder of yours.")
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with write_whole(path) as file:
        file.write(text)


def _read_entries() -> Iterator[Entry]:
    for path in entry_path("x").parent.glob("*.json"):
        try:
            with open_regular(path) as file:
                yield from_json(file.read(MAX_BYTES).decode())
        except (OSError, ValueError) as error:
            raise StorageDamaged(
                f"{path} cannot be read as a schedule ({error}).",
                "Remove it, and install the schedule again.",
            ) from None
