"""The error answers of the Model API, as the sandbox words them. Pure. Source: its error codes."""

from typing import Any


def error_body(code: int, message: str) -> dict[str, Any]:
    """The documented body of an error."""
    return {"error_code": code, "error_message": message}


def invalid_input(what: str, kind: str, *place: str) -> tuple[int, dict[str, Any]]:
    """The answer to a body that is no input of the model. place: names from the body inwards."""
    return 422, {"detail": [{"loc": ["body", *place], "msg": what, "type": kind}]}


UNKNOWN_MODEL = 400, error_body(400001, "InvalidResourceIdentifier: there is no such model_id")
BAD_REQUEST_ID = 400, error_body(400001, "InvalidResourceIdentifier: malformed request_id")
NO_BALANCE = 400, error_body(400002, "InsufficientResources: insufficient balance")
NOT_READY = 400, error_body(400005, "RequestNotReady: the request has not finished")
BAD_TOKEN = 401, error_body(400004, "UserAccountError: invalid or expired token")
NO_REQUEST = 404, error_body(404001, "ResourceNotFound: the request does not exist or has expired")
NO_ROUTE = 404, {"detail": "Not Found"}
WRONG_METHOD = 405, {"detail": "Method Not Allowed"}
TOO_LARGE = 413, {"detail": "Request Entity Too Large"}
TOO_MANY_REQUESTS = 429, error_body(429001, "TooManyRequests: rate limit exceeded, slow down")

# The fault of this name answers with this status and body; nothing is accepted or billed.
REFUSALS: dict[str, tuple[int, Any]] = {
    "balance": NO_BALANCE,
    "balance-402": (402, {"message": "Payment Required: top up your balance"}),
    "balance-429": (429, {"message": "Insufficient balance. Please top up and try again."}),
    "401": (401, {"message": "Unauthorized"}),
    "403": (403, {"message": "Forbidden"}),
    "400004": (400, error_body(400004, "UserAccountError: the account is inactive")),
    "403001": (403, error_body(403001, "PermissionDenied: this request belongs to someone else")),
    "400001": UNKNOWN_MODEL,
    "404": NO_ROUTE,
    "404001": NO_REQUEST,
    "408": (408, {"message": "Request Timeout"}),
    "409": (409, {"message": "Conflict"}),
    "413": TOO_LARGE,
    "422": invalid_input("the sandbox was told so", "fault", "prompt"),
    "no-data-uri": (
        422,
        {"detail": [{"loc": ["body"], "msg": "data: URIs are not accepted", "type": "url_scheme"}]},
    ),
    "499": (499, {"message": "Client Closed Request"}),
}
