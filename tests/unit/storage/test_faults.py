"""Errors of obstore in words of ours, by texts that it has shown against real servers."""

import pytest

from batchgen.storage.faults import fault_of

ANSWER = (
    "Generic S3 error: Error performing PUT http://s/b/k in 1ms - Server returned non-2xx status"
)
SECRETS = (
    "<AWSAccessKeyId>AKIAIOSFODNN7EXAMPLE</AWSAccessKeyId>?X-Amz-Signature=f00&X-Amz-Credential=x"
)


@pytest.mark.parametrize(
    ("kind", "text", "why", "again"),
    [
        ("PermissionDeniedError", f"{ANSWER} code: 403 Forbidden: <Code>AccessDenied</Code>",
         "refused this (403 AccessDenied)", False),
        ("PermissionDeniedError", "", "refused this (403)", False),
        ("UnauthenticatedError", f"{ANSWER} code: 401 Unauthorized: ", "refused this (401)", False),
        ("FileNotFoundError", f"{ANSWER} code: 404 Not Found: <Code>NoSuchBucket</Code>",
         "has no such bucket", False),
        ("GenericError", f"{ANSWER} code: 503 Service Unavailable: <Code>SlowDown</Code>",
         "answered 503 SlowDown", False),
        ("GenericError", f"{ANSWER} code: 400 Bad Request: <Code>EntityTooLarge</Code>",
         "answered 400 EntityTooLarge", False),
        ("GenericError", "PUT http://169.254.169.254/latest/api/token status code: 403 Forbidden",
         "gets no credentials: neither the environment nor this machine has any", False),
        ("GenericError", "HTTP error: error sending request … kind: Timeout, source: TimedOut",
         "does not answer in time", True),
        ("TimeoutError", "", "does not answer in time", True),
        ("GenericError", "kind: Connect, source: … Connection refused", "cannot be reached", True),
        ("GenericError", "HTTP error: builder error … kind: Builder, source: BadScheme",
         "has an address without TLS, http://, which is not allowed", False),
        ("NotSupportedError", "", "cannot put an object only where there is none", False),
        ("GenericError", "Account must be specified … source: MissingAccount", "needs an account",
         False),
        ("JoinError", "task panicked", "failed (JoinError)", True),
    ],
)  # fmt: skip
def test_an_error_is_told_in_words_of_ours(kind: str, text: str, why: str, again: bool) -> None:
    fault = fault_of(kind, text + SECRETS)

    assert (fault.why, fault.again) == (why, again)
    assert "AKIA" not in fault.why + fault.remedy
    assert "f00" not in fault.why + fault.remedy


def test_a_code_that_is_no_word_is_not_shown() -> None:
    text = f"{ANSWER} code: 500 Internal Server Error: <Code>\x1b[2J{'x' * 99}</Code>"
    assert fault_of("GenericError", text).why == "answered 500"
