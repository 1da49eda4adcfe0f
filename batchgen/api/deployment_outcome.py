"""What the answers of a deployment mean for a row. Pure. Source: docs/maintainers/wire.md.

What is the same for models is judged by their rules; here are the codes and the form of results
that deployments alone have.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from batchgen.api.poll_outcome import (
    COMPLETED_WORDS,
    Completed,
    Failed,
    PollOutcome,
    Unauthorized,
    classify_result,
)
from batchgen.api.response import Response, read_code, to_text
from batchgen.api.submit_outcome import (
    Halt,
    HaltReason,
    ModelHalt,
    NotAccepted,
    SubmitOutcome,
    Throttled,
    classify_submit,
    refuses_token,
)
from batchgen.core.states import NOTHING_MADE
from batchgen.core.text import truncate

BAD_TOKEN = 401001
NOT_ALLOWED = 403003
NO_FUNDS = 10001
DISABLED = 10002
DELETED = 10003
MAX_SECONDS = 7 * 86400.0  # results are kept no longer
MAX_ID = 200  # characters of an instance's id
MADE = "output"  # the type of a result; that of a preview is `temp`


def is_token_refused(response: Response) -> bool:
    """Whether the API itself says so."""
    return refuses_token(response) or response.code == BAD_TOKEN


def classify_inference(response: Response) -> SubmitOutcome:
    """Say what the answer to a paid POST means for its row."""
    took_nothing = response.body_sent and response.request_id is None
    if took_nothing and response.status is not None and response.status < 500:
        code, text = response.code, response.text or f"error {response.code}"
        if code == NO_FUNDS:
            reason = (
                f"balance used up: {text}. RunComfy disables a deployment with it, so enable it"
                " again when the account is topped up"
            )
            return Halt(NotAccepted(reason, code), HaltReason.BALANCE)
        if code == DISABLED:
            return ModelHalt(NotAccepted(f"the deployment is disabled: {text}", code))
        if code == DELETED:
            return ModelHalt(NotAccepted(f"the deployment was deleted: {text}", code))
        if code in (BAD_TOKEN, NOT_ALLOWED):
            why = "token refused" if code == BAD_TOKEN else "not allowed"
            return Halt(NotAccepted(f"{why}: {text}", code), HaltReason.TOKEN)
        if "queue" in text.lower() and "full" in text.lower():  # how it says so is not known
            return Throttled(response.retry_after, code or response.status)
    return classify_submit(response)


def classify_deployment_result(
    response: Response, request_id: str, nodes: Collection[str] = ()
) -> PollOutcome:
    """Say what the answer of the `result` endpoint means for the request `request_id`.

    nodes: whose outputs the person keeps, if one of these has made any; none given is all.
    """
    body = response.body
    if response.code == BAD_TOKEN:
        return Unauthorized(response.text or "the token was refused", response.code)
    if response.status != 200 or not isinstance(body, dict):
        return classify_result(response, request_id)
    made = _made(body.get("outputs"))
    plain = as_of_a_model(body)
    errors = _errors(body.get("error"))
    text = errors[0] if errors else response.text
    code = response.code if response.code is not None else (errors[1] if errors else None)
    outcome = classify_result(replace(response, body=plain, text=text, code=code), request_id)
    others = frozenset(n for n, (_, node) in enumerate(made, 1) if node not in nodes)
    match outcome:
        case Completed(urls=urls) if 0 < len(others) < len(made) == len(urls):
            return replace(outcome, unwanted=others)
        case Completed(note=note) if made and nodes and len(others) == len(made):
            told = f"no node of {', '.join(nodes)} has made an output, so all are kept"
            return replace(outcome, note=note or told)
        case Completed(api_status=word) | Failed(api_status=word) if (
            word in COMPLETED_WORDS and not plain.get("output") and not errors
        ):
            return Failed(NOTHING_MADE, None, word)
    return outcome


def seconds_taken(response: Response) -> float | None:
    """Return the seconds from a request's acceptance to its end; None where it does not say both.

    That has the wait for an instance and its start in it, which are billed in part.
    """
    body = response.body if isinstance(response.body, dict) else {}
    try:
        began, ended = (datetime.fromisoformat(body[n]) for n in ("created_at", "finished_at"))
        seconds = (ended - began).total_seconds()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < MAX_SECONDS else None


def instance_of(response: Response) -> str | None:
    """Return the id of the instance that works on a request; None where none is said."""
    body = response.body if isinstance(response.body, dict) else {}
    id = body.get("instance_id")
    return id if isinstance(id, str) and id.isprintable() and 0 < len(id) <= MAX_ID else None


def as_of_a_model(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result in the form in which models answer: what was made alone is its output."""
    plain = {name: value for name, value in body.items() if name != "outputs"}
    if made := _made(body.get("outputs")):
        plain["output"] = {"files": [file for file, _ in made]}
    return plain


def _made(outputs: Any) -> list[tuple[Any, str]]:
    """Return (URL, node) of each result in their order; previews and texts are none.

    In place of the URL of a file that has none, what there is: it may be in the result itself.
    """
    found: list[tuple[Any, str]] = []
    seen: set[str] = set()
    for node, by_kind in outputs.items() if isinstance(outputs, Mapping) else ():
        lists = by_kind.values() if isinstance(by_kind, Mapping) else ()
        for one in (one for files in lists if isinstance(files, list) for one in files):
            if not isinstance(one, Mapping) or one.get("type", MADE) != MADE:
                continue
            url = one.get("url")
            if not isinstance(url, str) or not url.strip():
                found.append((one, node))
            elif url not in seen:
                seen.add(url)
                found.append((url, node))
    return found


def _errors(found: Any) -> tuple[str, int | None] | None:
    """Return the words and the code of `[{errorCode, error, debugInfo}, …]`; None without."""
    errors = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    if not errors:
        return None
    texts = (" ".join(to_text(one.get("error") or "").split()) for one in errors[:10])
    text = truncate("; ".join(filter(None, texts)), 500)
    code = read_code(errors[0].get("errorCode"))
    return text or "the workflow failed without saying why", code
