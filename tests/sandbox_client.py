"""A client of a running sandbox's control endpoints, for tests to read well."""

import ssl
from collections import Counter
from types import TracebackType
from typing import Any

import httpx

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # to read them takes 20 ms a client


class Control:
    """Sees what a sandbox saw, and tells it what shall go wrong.

    base_url: the sandbox's, with `/v1`.
    """

    def __init__(self, base_url: str) -> None:
        origin = base_url.removesuffix("/v1")
        self.serverless_url = f"{origin}/prod/v2"
        self._http = httpx.Client(
            base_url=f"{origin}/_sandbox",
            trust_env=False,
            timeout=30,
            # The sandbox closes one that is idle for five seconds, as httpx does by itself.
            limits=httpx.Limits(keepalive_expiry=1.0),
            verify=NO_CERTIFICATES,
        )

    def __enter__(self) -> "Control":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _get(self, what: str) -> Any:
        return self._http.get(what).raise_for_status().json()

    def _post(self, what: str, **content: Any) -> Any:
        answer = self._http.post(what, json=content)
        if answer.status_code == 400:
            raise ValueError(answer.json()["error"])
        return answer.raise_for_status().json()

    @property
    def posts(self) -> int:
        """How many submissions arrived whole, accepted or not."""
        return int(self.counts()["posts"])

    @property
    def accepted(self) -> int:
        """How many submissions were accepted."""
        return int(self.counts()["accepted"])

    @property
    def billed_usd(self) -> float:
        return float(self.counts()["billed_usd"])

    @property
    def cpu_seconds(self) -> float:
        """How much processor time the sandbox's process used so far."""
        return float(self._get("/cpu"))

    def counts(self) -> dict[str, Any]:
        """posts, accepted, billed_usd, by_status, by_answer, polls, media, media_with_token,
        throttled, dropped."""
        found: dict[str, Any] = self._get("/counts")
        return found

    def instances(self) -> list[dict[str, Any]]:
        """Every instance of a deployment, in the order in which they woke: instance_id, deployment,
        hardware, usd_per_second, woke_at, free_at, down_at (Unix seconds; None is never),
        idle_seconds, requests, serving (the last request_id), seconds and usd so far."""
        found: list[dict[str, Any]] = self._get("/instances")
        return found

    def ledger(self) -> list[dict[str, Any]]:
        """Every accepted request in order: request_id, model (of a deployment `deployments/ID`),
        input (JSON text), input_sha256,
        price, accepted_at, started_at, finish_at, cancelled_at (Unix seconds), state, billed,
        seen_at (when a poll was first answered with its end; None before that)."""
        found: list[dict[str, Any]] = self._get("/ledger")
        return found

    def log(self) -> list[dict[str, Any]]:
        """Every submission that arrived whole, in order: arrived_at (Unix seconds), model,
        input_sha256, answer (HTTP status, or the fault's name), request_id."""
        found: list[dict[str, Any]] = self._get("/log")
        return found

    def billed_per_input(self) -> dict[str, int]:
        """How often each input is billed, by its JSON as `ledger.canonical_input` writes it."""
        return dict(Counter(row["input"] for row in self.ledger() if row["billed"]))

    def fault(
        self,
        name: str,
        times: int | None = 1,
        on: str | None = None,
        match: str | None = None,
        value: Any = None,
    ) -> None:
        """Let a fault of `faults.FAULTS` strike.

        times: how often; None is always. on: submit, status, result, cancel, media, model,
            deployment, object-info or balance; None is where the fault belongs. match: only
            prompts that contain it.

        Raises ValueError if there is no such fault, or it cannot strike there.
        """
        self._post("/faults", fault=name, times=times, on=on, match=match, value=value)

    def set(self, **options: Any) -> dict[str, Any]:
        """Change options of `batchgen sandbox` under way, e.g. `seconds=0`, `balance=0.05`; return
        all that can change.

        Raises ValueError for an option that does not exist or is fixed at the start.
        """
        found: dict[str, Any] = self._post("/options", **options)
        return found

    def change_deployment(self, id: str, **changes: Any) -> dict[str, Any]:
        """Change a deployment as its owner would: is_enabled, is_deleted, max_instances,
        workflow_version, workflow_api_json, object_info, ...; return it as it is now.

        Raises ValueError for a deployment or change that does not exist.
        """
        found: dict[str, Any] = self._post("/deployment", id=id, **changes)
        return found

    def reset(self) -> None:
        """Forget everything: requests, ledger, counts, faults; options as at the start."""
        self._post("/reset")
