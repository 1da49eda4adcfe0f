"""Every error we raise, drawn as a tree. Each is made from facts and knows its exit code.

    BatchgenError
    ├── UsageError            2   wrong option or argument
    ├── ManifestInvalid      65   problems in the manifest; nothing was sent
    ├── ServiceUnreachable   69   the API could not be reached, or not safely
    ├── StorageDamaged       74   journal or disk cannot be trusted; nothing was sent
    │   ├── JournalLocked    75   another program writes to it, and goes on doing so
    │   ├── JournalUnreachable 75 its database does not answer
    │   ├── JournalTaken     75   other machines have let this run go
    │   ├── JournalUnusable  74   it is in order, and the system does not let it be used
    │   ├── LeadsOutside     74   what somebody put there would have us write outside the batch
    │   ├── SharedFolder     74   somebody else can write to the batch folder
    │   └── NewerJournal     74   written by a later batchgen
    ├── StoppedEarly         75   run again to go on
    │   ├── BatchBusy        75   another run holds the folder
    │   ├── OutsideWindow    75   started at a time at which nothing is to be sent
    │   ├── Declined         75   the person said no
    │   └── Interrupted  128 + n  the signal n, or the program that called it, ended the run
    └── TokenRefused         77   token missing, malformed or refused

Exit codes are `sysexits.h`'s where that file has one. `cli/main.py` alone prints errors.
"""

import errno
import sys
from collections.abc import Sequence

from batchgen.core.rows import Problem
from batchgen.core.text import plural, shell_quote


class BatchgenError(Exception):
    """what: what happened, where and what it cost. remedy: what to do next."""

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class UsageError(BatchgenError):
    exit_code = 2

    @classmethod
    def for_lack_of(cls, extra: str, what: str) -> "UsageError":
        """Return the error for a package that is not installed. extra: of batchgen, which has it.

        The pip of this Python adds to the batchgen that runs; another one may fetch what an index
        has under this name.
        """
        python = shell_quote(sys.executable)
        return cls(what, f"{python} -m pip install 'batchgen[{extra}]'")


class ManifestInvalid(BatchgenError):
    """The problems themselves have been shown one by one; a file can have a million."""

    exit_code = 65

    def __init__(self, file: str, count: int, remedy: str = "") -> None:
        super().__init__(f"{plural(count, 'problem')} in {file}. Nothing was sent.", remedy)
        self.count = count
        self.problems: Sequence[Problem] = ()  # the first ones, for programs


class ServiceUnreachable(BatchgenError):
    exit_code = 69


class StorageDamaged(BatchgenError):
    exit_code = 74


class JournalLocked(StorageDamaged):
    exit_code = 75

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is kept locked by another program. Nothing was lost.",
            "Close what writes to it, then run the same command again to go on.",
        )


class JournalUnreachable(StorageDamaged):
    """The database does not answer. why: in its words, or the system's."""

    exit_code = 75

    def __init__(self, place: str, why: str) -> None:
        super().__init__(
            f"{place} cannot be reached: {why}. Nothing was lost.",
            "See whether the database runs and may be reached from here, then run the same command"
            " again to go on.",
        )


class JournalTaken(StorageDamaged):
    """Other machines have let this run go, since it had shown no sign of life for a while."""

    exit_code = 75

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place}: other machines have let this run go, since they had not heard of it for a"
            " while. It writes nothing more; its rows are theirs. Nothing was lost.",
            "Run the same command again to go on beside them.",
        )


class JournalUnusable(StorageDamaged):
    """No room, no permission, no free descriptor: nothing that a backup would help against."""


class LeadsOutside(StorageDamaged):
    """A link in the batch folder, or a value in its journal, that batchgen never made."""


class SharedFolder(StorageDamaged):
    """who: with what they are there, as "the group artists". owner: the number of a user, if it is
    another.
    """

    def __init__(self, folder: str, who: str, owner: int | None) -> None:
        place = shell_quote(folder)
        if owner is None:
            own = f"chmod go-w {place}"
            odd = "its disk lets everybody write, as some network and USB drives do"
        else:
            own = f"sudo chown -R $(id -u) {place}"
            odd = (
                "it comes from outside of this container (which docker run --user"
                f" {owner} runs as its owner)"
            )
        super().__init__(
            f"{folder}: {who} can write to it too. Whoever does can have this command pay again,"
            " or overwrite other files of yours, by what they change there. Nothing was changed"
            " and nothing was sent.",
            f"If it is to be yours alone: {own}\n"
            f"If you trust all who can write to it, as in a studio, or {odd}, add:"
            " --allow-shared-folder",
        )


class NewerJournal(StorageDamaged):
    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"{path} was written by a newer batchgen (journal version {found}, this one reads"
            f" up to {known}). Nothing was changed and nothing was sent.",
            "Upgrade batchgen, then run the same command again.",
        )


class StoppedEarly(BatchgenError):
    """calm, once: as a RunOutcome has them."""

    exit_code = 75

    def __init__(self, what: str, remedy: str = "", *, calm: bool = False, once: str = "") -> None:
        super().__init__(what, remedy)
        self.calm = calm
        self.once = once


class BatchBusy(StoppedEarly):
    def __init__(self, folder: str, holder: str) -> None:
        self.folder = folder
        self.holder = holder
        super().__init__(
            f"{folder} is in use by another run ({holder}). Nothing was sent.",
            f"Wait for it to end, or look at it with: batchgen status {shell_quote(folder)}",
        )


class OutsideWindow(StoppedEarly):
    pass


class Declined(StoppedEarly):
    def __init__(self) -> None:
        super().__init__("Nothing was sent.")


class Interrupted(StoppedEarly):
    """exit_code: 128 and the number of the signal."""

    def __init__(self, what: str, remedy: str, exit_code: int) -> None:
        super().__init__(what, remedy, calm=True)
        self.exit_code = exit_code


class TokenRefused(BatchgenError):
    exit_code = 77
    FOR_CRON = "cron and systemd read what was stored so; they do not read what a shell exports."
    ANOTHER = (
        "Store a token that works with batchgen login, or set RUNCOMFY_TOKEN to one, which comes"
        f" first; then run the same command again.\n{FOR_CRON}"
    )


def of_system(error: Exception, again: str) -> BatchgenError | None:
    """Return an error of the disk or of the memory as one of ours; None for any other.

    again: how to go on.
    """
    if isinstance(error, OSError):
        return _of_disk(error)
    if out_of_memory(error):
        return StoppedEarly("There is not enough memory. Nothing that was sent is lost.", again)
    return None


def _of_disk(found: OSError) -> StorageDamaged:
    where = found.filename or "the output folder"
    remedy = ""
    if disk_full(found):
        what = f"No space left for {where}; free some, then run the same command again."
    elif found.errno in (errno.EMFILE, errno.ENFILE):
        what = "No more files can be opened; allow more (ulimit -n), then run it again."
    else:
        what = f"{found.filename or 'the disk'}: {found.strerror or found}."
        if found.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            remedy = "Make that writable, or copy the batch folder and name the copy."
    return StorageDamaged(what, remedy)


def disk_full(error: BaseException) -> bool:
    """Whether the disk, or what a user may have of it, was full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def out_of_memory(error: BaseException) -> bool:
    """Whether the system had no memory left, also for a thread, which Python words differently."""
    return isinstance(error, MemoryError) or "can't start new thread" in str(error)
