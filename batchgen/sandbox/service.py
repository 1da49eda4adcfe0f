"""What the two APIs do not have in common; everything else is written once, for both."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from batchgen.sandbox.call import Header
from batchgen.sandbox.ledger import LedgerRow
from batchgen.sandbox.media import MediaFormat
from batchgen.sandbox.state import SandboxState

PollAnswer = dict[str, Any]
# (the answer of a finished request, fault's value) -> what is answered instead
Outcome = Callable[[PollAnswer, Any], PollAnswer]


class Refusal(NamedTuple):
    """The answer to a POST that is not accepted. body: anything that JSON can hold."""

    status: int
    body: Any
    headers: tuple[Header, ...] = ()


class Terms(NamedTuple):
    """On what terms a request is accepted.

    price: USD; 0 where seconds are billed. workflow: all that it does, as JSON, for a deployment.
    repeats: whether that was done before, so that nothing is left to do.
    """

    price: float
    workflow: str | None = None
    repeats: bool = False


class Service(Protocol):
    """One of the two APIs.

    prefix: what stands before a subject's id in the ledger. outcomes: how each fault of OUTCOME
    ends a request; those in outcomes_in_status are told by `status` too. position_in_result:
    whether `result` tells the place in the queue as well.
    """

    prefix: str
    outcomes: Mapping[str, Outcome]
    outcomes_in_status: frozenset[str]
    cancelled_status: int
    position_in_result: bool

    def find(self, state: SandboxState, subject: str) -> Any:
        """Return what requests of this id are made to; None where there is nothing."""

    def refusal(self, state: SandboxState, target: Any, given: dict[str, Any]) -> Refusal | None:
        """Say why a readable body is not accepted; None accepts it."""

    def terms(self, state: SandboxState, target: Any, given: dict[str, Any]) -> Terms:
        """Return on what terms a body is accepted; given: without the content of its files."""

    def worded(self, state: SandboxState, status: int, body: Any) -> tuple[int, Any]:
        """Return an error as this API words it; given: as the Model API does."""

    def text(self, given: dict[str, Any]) -> str:
        """Return all texts of a body, in which markers are looked for."""

    def urls(self, state: SandboxState, row: LedgerRow) -> dict[str, str]:
        """Return `status_url`, `result_url` and `cancel_url` of a request."""

    def is_gone(self, state: SandboxState, row: LedgerRow, now: float) -> bool:
        """Whether a request has expired."""

    def status(self, state: SandboxState, row: LedgerRow, word: str) -> PollAnswer:
        """Return the answer of `status`; word: the request's state."""

    def result(self, state: SandboxState, row: LedgerRow, word: str, *, cost: bool) -> PollAnswer:
        """Return the answer of `result`; cost: whether the price was asked for."""

    def cancel(self, state: SandboxState, row: LedgerRow, now: float) -> bool:
        """Cancel a request; False where it is too late."""

    def files(self, state: SandboxState, row: LedgerRow) -> list[MediaFormat]:
        """Return the formats of a request's files, in the order of their numbers."""

    def picture(self, state: SandboxState, row: LedgerRow) -> str:
        """Return what a request's files show, as the JSON of an input."""
