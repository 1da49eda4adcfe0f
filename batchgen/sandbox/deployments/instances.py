"""The instances of a deployment, and the requests that wait for one, without background work.

A request takes an instance that is warm and idle; else one more is woken, as long as there may be
more; else it waits for the first that is free. An instance that was idle for as long as it is kept
warm is shut down, and the next one begins with a cold start. RunComfy wakes another instance only
when `queue_size` requests wait for each (D); here one is woken at once. One of the least that a
deployment always has is warm at its first request; its bill begins with that here.
"""

import uuid
from collections.abc import Iterable
from typing import NamedTuple

from batchgen.sandbox.queue import Instance, QueuedRequest, RequestQueue, StartedRequest


class Scaling(NamedTuple):
    """Times are seconds. keep_warm: how long an idle instance is kept; cold_start: until one runs.

    least: instances that are never shut down. most: at the same time.
    """

    deployment: str
    hardware: str
    least: int
    most: int
    keep_warm: float
    cold_start: float


class InstanceQueue(RequestQueue):
    """The queue of a deployment. instances: those that are up, of a sandbox before."""

    def __init__(self, scaling: Scaling, instances: Iterable[Instance] = ()) -> None:
        super().__init__(1)
        self.scaling = scaling
        self.instances = list(instances)

    def _begin(self, head: QueuedRequest, now: float) -> StartedRequest | None:
        at = head.accepted_at
        self.instances = [i for i in self.instances if i.down_at is None or i.down_at >= at]
        idle = [i for i in self.instances if i.free_at <= at]
        if idle:
            chosen, start = max(idle, key=lambda i: i.free_at), at
        elif len(self.instances) < self.scaling.most:
            chosen = self._wake(at)
            start = at if chosen.idle_seconds is None else at + self.scaling.cold_start
        else:
            chosen = min(self.instances, key=lambda i: i.free_at)
            start = chosen.free_at
            if start > now:
                return None
        chosen.free_at = start + head.seconds
        chosen.requests += 1
        chosen.serving = head.request_id
        return StartedRequest(head.request_id, start, chosen.free_at, chosen, chosen.requests)

    def _wake(self, at: float) -> Instance:
        scaling = self.scaling
        kept = sum(i.idle_seconds is None for i in self.instances) < scaling.least
        woken = Instance(
            str(uuid.uuid4()), scaling.deployment, scaling.hardware, at, at,
            None if kept else scaling.keep_warm,
        )  # fmt: skip
        self.instances.append(woken)
        return woken

    def stop(self, request_id: str, now: float) -> Instance | None:
        """End a request that runs, or waits for its instance to boot; None if it has ended."""
        for instance in self.instances:
            if instance.serving == request_id and instance.free_at > now:
                instance.free_at = now
                return instance
        return None
