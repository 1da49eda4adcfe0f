"""How a run ended, or why it did not begin, in the words of those who are told. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from batchgen.core.text import nonzero, truncate
from batchgen.engine.run_outcome import FOR_A_PERSON, News, RunOutcome
from batchgen.errors import BatchBusy, BatchgenError, Declined, OutsideWindow
from batchgen.notify.ping_url import Moment
from batchgen.report import summary_text

MAX_TITLE_CHARS = 120
# A service's or a checker's reason may repeat what was sent, in quotes: a long text is left out.
_LONG_QUOTE = re.compile(r"'[^']{24,}(?:'|$)|\"[^\"]{24,}(?:\"|$)|[“‘][^”’]{24,}(?:[”’]|$)")


@dataclass(frozen=True, slots=True)
class Ending:
    """code, reason, remedy: as a RunOutcome has them.

    moment: what a monitor is told; None for nothing. news: whether a person has to be told, as with
    --quiet. numbers: as summary.json has them; None where there is no journal to read.
    manifest, batch: where they are; batch is None where it is not known.
    new: rows that are newly in trouble, in words.
    """

    code: int
    reason: str
    remedy: str
    moment: Moment | None
    news: bool
    manifest: str
    batch: str | None = None
    numbers: Mapping[str, Any] | None = None
    new: str = ""

    @classmethod
    def of_run(cls, outcome: RunOutcome, *, news: News, manifest: str) -> "Ending":
        """Of a run that began. A monitor learns how the batch is, each time; a person, what is new.

        A limit that the person set is no failure: the next run goes on. See `with_numbers`, too.
        """
        well = outcome.code == 0 or outcome.is_limit
        moment = Moment.SUCCESS if well else Moment.FAIL
        new = nonzero({str(state): count for state, count in news.rows.items()})
        words = (outcome.code, outcome.reason, outcome.remedy)
        return cls(*words, moment, news.any, manifest, new=new)

    @classmethod
    def of_error(cls, error: Exception, *, manifest: str) -> "Ending":
        """Of a run that did not begin, or broke off.

        A monitor is not told of a run that was not due: another one has the batch and tells of it
        itself, the window is closed, or the person said no. If none comes, it hears nothing.
        """
        if not isinstance(error, BatchgenError):
            what = f"The run broke off: {type(error).__name__}"
            return cls(1, what, "", Moment.FAIL, True, manifest)
        not_due = isinstance(error, BatchBusy | OutsideWindow | Declined)
        moment = None if not_due else Moment.FAIL
        news = not isinstance(error, Declined)
        return cls(error.exit_code, error.what, error.remedy, moment, news, manifest)

    def with_numbers(self, batch: str | None, numbers: Mapping[str, Any] | None) -> "Ending":
        """Add how the batch is. Rows that a person has to settle are a failure at a limit too, or a
        list that reaches one each night would never tell a monitor of them.
        """
        unsettled = numbers is not None and any(numbers["counts"].get(one) for one in FOR_A_PERSON)
        bad = unsettled and self.moment is Moment.SUCCESS
        moment = Moment.FAIL if bad else self.moment
        return replace(self, batch=batch, numbers=numbers, moment=moment)

    @property
    def failed(self) -> bool:
        return self.moment is not Moment.SUCCESS

    def title(self) -> str:
        """Return the subject of a message: first what is new."""
        new = f"new: {self.new}. " if self.new else ""
        return truncate(
            f"{self.manifest.rpartition('/')[2]}: {new}{_shown(self.reason)}", MAX_TITLE_CHARS
        )

    def lines(self) -> list[str]:
        """Return what happened: the states, the money, the first causes; no prompts."""
        numbers = self.numbers
        lines = [f"{self.manifest.rpartition('/')[2]}: {_shown(self.reason)}"]
        if numbers is not None:
            lines += filter(None, [nonzero(numbers["counts"]), summary_text.money(numbers)])
            causes = summary_text.causes(numbers["causes"], examples=False)
            lines += map(_shown, causes)
        return [*lines, f"exit code {self.code}"]

    def message(self, program: str) -> str:
        """Return `lines` with what to do next. program: how batchgen is called."""
        steps = [] if self.remedy == "" else self.remedy.splitlines()
        if self.numbers is not None and self.batch is not None:
            steps += summary_text.next_steps(self.batch, self.numbers, program)
        where = [] if self.batch is None else [f"Batch: {self.batch}"]
        return "\n".join([*self.lines(), *map(_shown, steps), *where])

    def as_json(self) -> dict[str, Any]:
        """Return what a hook reads: summary.json's numbers, if there are any, and the ending."""
        return {
            **(self.numbers or {}),
            "exit_code": self.code,
            "reason": self.reason,
            "remedy": self.remedy,
            "news": self.news,
            "manifest": self.manifest,
            "folder": self.batch,
        }


def _shown(text: str) -> str:
    return _LONG_QUOTE.sub("…", text)
