"""Rows that something before the API refused -> whether it was their fault. Pure.

A firewall's page or a redirect says nothing about the row by itself: it may strike this prompt, or
whatever is sent from here. So the row is held, pending in the journal, and the next one is sent. If
the API accepts a row that was sent later, the held one alone was refused. If it accepts none, the
fault is not a row's.
"""

from dataclasses import dataclass, field

from batchgen.core.text import plural

MAX_BLOCKED_IN_A_ROW = 10


@dataclass(frozen=True, slots=True)
class HeldRow:
    """where: the row's place and id, for a message. at: seconds on the clock of `sent_at`."""

    key: str
    where: str
    reason: str
    code: int
    at: float


@dataclass
class HeldRows:
    """rows: held since, and still pending. in_a_row: refused since the API last answered.

    any_accepted: whether the API accepted a row in this run.
    """

    rows: list[HeldRow] = field(default_factory=list)
    in_a_row: int = 0
    any_accepted: bool = False

    def on_blocked(self, row: HeldRow) -> None:
        self.rows.append(row)
        self.in_a_row += 1

    def on_answered(self) -> None:
        """The API itself answered a submission."""
        self.in_a_row = 0

    def on_accepted(self, sent_at: float) -> list[HeldRow]:
        """Return the rows that were refused before a row left that was accepted; they fail."""
        self.any_accepted = True
        self.in_a_row = 0
        settled = [row for row in self.rows if row.at <= sent_at]
        self.rows = [row for row in self.rows if row.at > sent_at]
        return settled

    @property
    def stops_everything(self) -> bool:
        return self.in_a_row >= MAX_BLOCKED_IN_A_ROW

    def describe(self) -> str:
        """Name the first of the held rows, and say how many more there are; "" for none."""
        if not self.rows:
            return ""
        first, *others = self.rows
        more = f" It was so with {plural(len(others), 'other row')} as well." if others else ""
        return f"{first.where}: {first.reason}.{more}"
