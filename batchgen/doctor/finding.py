"""What an examination found, and the exit code that follows. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from batchgen.core.text import hide_logins
from batchgen.errors import BatchgenError, ServiceUnreachable, TokenRefused

WRONG = 1


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    check: what, in a word. said: how it is, without what to do. remedy: lines that can be pasted or
    followed; "" where nothing is wrong. exit_code: of the examination, where it fails.
    """

    check: str
    status: Status
    said: str
    remedy: str = ""
    exit_code: int = WRONG

    def as_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "status": str(self.status),
            "said": self.said,
            "remedy": self.remedy,
        }


def ok(check: str, said: str) -> Finding:
    return Finding(check, Status.OK, said)


def warn(check: str, said: str, remedy: str) -> Finding:
    return Finding(check, Status.WARN, said, remedy)


def fail(check: str, said: str, remedy: str, exit_code: int = WRONG) -> Finding:
    return Finding(check, Status.FAIL, said, remedy, exit_code)


def failed_by(check: str, error: BatchgenError) -> Finding:
    """Return the finding that an error makes, which a run would raise too."""
    said = hide_logins(error.what).removesuffix(" Nothing was sent.").removesuffix(".")
    code = error.exit_code if isinstance(error, TokenRefused | ServiceUnreachable) else WRONG
    return fail(check, said, error.remedy or "Follow that, then run this command again.", code)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 77 where the token is at fault, else 69 for the service, else 1; 0 without a fault."""
    codes = {finding.exit_code for finding in findings if finding.status is Status.FAIL}
    first = (TokenRefused.exit_code, ServiceUnreachable.exit_code, WRONG)
    return next((code for code in first if code in codes), 0)
