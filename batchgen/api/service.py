"""What a run needs of a service that makes outputs for money.

The engine knows this protocol and nothing of a service's paths, words or codes. `model_api.py` and
`deployment_api.py` are its implementations; `runcomfy.py` chooses by what a row is sent to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from batchgen.api.body import Body
from batchgen.api.client import Commit
from batchgen.api.poll_outcome import PollOutcome
from batchgen.api.submit_outcome import HaltReason, SubmitOutcome
from batchgen.network.media_hosts import MediaHost

# A hash, as an input has it -> the JSON object that the batch keeps under it. Raises FileChanged.
ReadKept = Callable[[str], Mapping[str, Any]]
# An input, as the journal has it, and what reads what it names -> what is sent for it, as JSON.
Shape = Callable[[Mapping[str, Any], ReadKept], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a service can do.

    cancels_running: whether a request in progress can be cancelled; a queued one always can.
    results_kept_s: seconds for which a result can be fetched.
    repeats_need_change: whether a request that sends the same as an earlier one makes nothing.
    shape: how an input is put into the body of a request; None: as it is.
    """

    cancels_running: bool
    results_kept_s: float
    repeats_need_change: bool = False
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class PollResult:
    """The answer to a question about a request.

    content: as it came, for the journal, without inline outputs. unreachable: what failed where no
    answer began, else "". model: that made the request, by the service's word; None where it does
    not say. seconds: that it took, of a service that bills time; None where it does not say.
    instance: that works on it, or has; None where the service does not say.
    """

    outcome: PollOutcome
    content: str = ""
    unreachable: str = ""
    model: str | None = None
    seconds: float | None = None
    instance: str | None = None


class Service(Protocol):
    """media_hosts: where outputs may be fetched from."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def media_hosts(self) -> tuple[MediaHost, ...]: ...

    async def submit(self, model: str, body: Body, commit: Commit) -> SubmitOutcome:
        """Send one paid request, once.

        model: what it is sent to. body: the input in its shape, as JSON; the caller closes it.
        commit: awaited before the first byte of the body leaves; if it raises, none does. Raises
        nothing, and a cancellation is not raised either: the caller records the outcome first and
        asks its task whether it was cancelled.
        """

    async def result(self, model: str, request_id: str) -> PollResult:
        """Ask for a request's state and outputs. Free, and may be repeated. Raises MemoryError."""

    async def inline_output(self, model: str, request_id: str, n: int) -> bytes | None:
        """Return the n-th output, from 1, of a request whose result has it inline.

        Asks once more, so that many large results need not be in memory until they are files.
        None: it is not there now. Raises MemoryError.
        """

    async def cancel(self, model: str, request_id: str) -> bool | None:
        """Return True: cancelled. False: it cannot be, and still runs. None: no clear answer."""

    async def balance(self) -> float | None:
        """Return the USD in the wallet; None where nobody says."""

    async def refusal(self, model: str) -> HaltReason | None:
        """Ask something free, about `model` or the account, to find out whether all is refused.

        Returns why no submission would fare better, TOKEN or SERVICE; None where that is not so, or
        no answer came.
        """


class Services(Protocol):
    """Which service makes what."""

    def of(self, model: str) -> Service:
        """Return the service that a row with this model is sent to."""
