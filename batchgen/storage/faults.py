"""What an error of an object store means. Pure.

obstore says in its type what was refused, and all else in a text, in which a store's answer, signed
URLs and ids of keys may stand: only words of ours are shown.
Source: obstore 0.12's exceptions, and the texts of the object_store crate.
"""

import re
from typing import NamedTuple

from batchgen.errors import ServiceUnreachable

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
# Where a machine in a cloud is asked for credentials.
_CREDENTIALS = ("169.254.169.254", "169.254.170.2", "metadata.google", "TokenRequest", "security-")


class StoreUnreachable(ServiceUnreachable):
    """The store of the media cannot be used now. What was paid for stays where it is."""


class Fault(NamedTuple):
    """why: in words, to follow "the store".

    again: whether no answer came, so that another try may go better; where the answer was "later",
    obstore has waited already.

    remedy: what a person can do; "" where only time helps.
    """

    why: str
    again: bool
    remedy: str = ""


_MISSING_BUCKET = Fault(
    "has no such bucket", again=False, remedy="Make the bucket, or name one that is there."
)


def is_missing_bucket(text: str) -> bool:
    """Whether an error says that there is no bucket, and not only no object."""
    return any(word in text for word in _NO_BUCKET)


def fault_of(kind: str, text: str) -> Fault:
    """Say what an error means. kind: the name of its class. text: what it says."""
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    code = f" {found[1]}" if (found := _CODE.search(text)) else ""
    if is_missing_bucket(text):
        return _MISSING_BUCKET
    if any(word in text for word in _CREDENTIALS):
        return Fault(
            "gets no credentials: neither the environment nor this machine has any",
            again=False,
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what your store has.",
        )
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or status in (401, 403):
        return Fault(
            f"refused this ({status or 403}{code})",
            again=False,
            remedy="Check the credentials, and that they may put and get objects there.",
        )
    if kind in ("NotSupportedError", "NotImplementedError") or status == 501:
        return Fault(
            "cannot put an object only where there is none",
            again=False,
            remedy="Name a store that has conditional writes (If-None-Match).",
        )
    if "BadScheme" in text:
        return Fault(
            "has an address without TLS, http://, which is not allowed",
            again=False,
            remedy="Give it one with https; where you trust the network, set AWS_ALLOW_HTTP=true.",
        )
    if "MissingAccount" in text:
        return Fault(
            "needs an account", again=False, remedy="Set AZURE_STORAGE_ACCOUNT_NAME to its name."
        )
    if status:
        return Fault(f"answered {status}{code}", again=False)
    if "kind: Timeout" in text or "TimedOut" in text or kind == "TimeoutError":
        return Fault("does not answer in time", again=True)
    if "kind: Connect" in text:
        return Fault(
            "cannot be reached", again=True, remedy="Check network, proxy and the store's address."
        )
    return Fault(f"failed ({kind})", again=True)


def unreachable(place: str, fault: Fault, after: str) -> StoreUnreachable:
    """Return the error for a fault. after: what that costs, and what goes on, in sentences."""
    return StoreUnreachable(f"{place}: the store {fault.why}. {after}", fault.remedy)
