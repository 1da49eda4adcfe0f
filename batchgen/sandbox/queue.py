"""The queue of the emulated service: N slots, first come first served, without I/O.

Nothing runs in the background: a request's start and end follow from when it came, how long it
takes and when a slot was free, so they are worked out at the next question, however late that is.
"""

import heapq
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple


class QueuedRequest(NamedTuple):
    """A request in the queue; seconds: how long it will take once it has a slot."""

    ticket: int
    request_id: str
    accepted_at: float
    seconds: float


@dataclass
class Instance:
    """A machine that runs a deployment's requests, one at a time. Times are Unix seconds.

    woke_at: when its bill began. free_at: when its last request ends. idle_seconds: how long it is
    kept after that; None is for good. requests: how many it has got. serving: the last one's id.
    """

    id: str
    deployment: str
    hardware: str
    woke_at: float
    free_at: float
    idle_seconds: float | None
    requests: int = 0
    serving: str = ""

    @property
    def down_at(self) -> float | None:
        """When it is shut down, if nothing more comes; None is never."""
        return None if self.idle_seconds is None else self.free_at + self.idle_seconds


class StartedRequest(NamedTuple):
    """A request that got its slot at `started_at`. Times are Unix seconds.

    instance: on which it runs, as it is now; number: of the request there, from 1.
    """

    request_id: str
    started_at: float
    finish_at: float
    instance: Instance | None = None
    number: int = 0


class RequestQueue:
    """slots: requests that run at the same time. busy: finish times of those that may run now."""

    def __init__(self, slots: int, busy: list[float] | None = None) -> None:
        self.free_at = [0.0] * slots
        for finish in busy or []:
            heapq.heappushpop(self.free_at, finish)
        self.waiting: deque[QueuedRequest] = deque()
        self.tickets: dict[str, int] = {}
        # Tickets that were cancelled and not reached yet, in order, so that a position
        # in the queue costs two bisections.
        self.left: list[int] = []
        self.issued = 0

    def add(self, request_id: str, accepted_at: float, seconds: float) -> None:
        self.waiting.append(QueuedRequest(self.issued, request_id, accepted_at, seconds))
        self.tickets[request_id] = self.issued
        self.issued += 1

    def advance(self, now: float) -> list[StartedRequest]:
        """Start all requests whose turn has come by `now`, and return them."""
        started = []
        while self.waiting:
            head = self.waiting[0]
            if self.left and self.left[0] == head.ticket:
                self.left.pop(0)
                self.waiting.popleft()
                continue
            begun = self._begin(head, now)
            if begun is None:
                break
            self.waiting.popleft()
            del self.tickets[head.request_id]
            started.append(begun)
        return started

    def _begin(self, head: QueuedRequest, now: float) -> StartedRequest | None:
        """Give the first request its slot; None if there is none by `now`."""
        start = max(head.accepted_at, self.free_at[0])
        if start > now:
            return None
        heapq.heapreplace(self.free_at, start + head.seconds)
        return StartedRequest(head.request_id, start, start + head.seconds)

    def remove(self, request_id: str) -> bool:
        """Take a request out; False if it is not in the queue (any more)."""
        ticket = self.tickets.pop(request_id, None)
        if ticket is None:
            return False
        insort(self.left, ticket)
        return True

    def position(self, request_id: str) -> int:
        """How many requests are before this one; 0 is next, or waits for its instance to boot."""
        ticket = self.tickets.get(request_id)
        if ticket is None:
            return 0
        return ticket - self.waiting[0].ticket - bisect_left(self.left, ticket)

    def resize(self, slots: int, now: float) -> None:
        """Change the number of slots; those that are free soonest are removed first."""
        more = slots - len(self.free_at)
        self.free_at = heapq.nlargest(slots, self.free_at + [now] * max(more, 0))
        heapq.heapify(self.free_at)
