"""What a text looks like without secrets, however they are spelled or cut."""

import base64
import json

import pytest

from batchgen.core.redaction import Secrets

PASSWORD = "S3cret/of:the proxy"
SPELLED = "S3cret%2Fof%3Athe%20proxy"
BASIC = base64.b64encode(f"jo:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"wrong password {PASSWORD}",
        f"GET http://jo:{SPELLED}@proxy.example:8080",
        f"at {SPELLED.lower()}",
        f"Proxy-Authorization: Basic {BASIC}",
        json.dumps({"password": PASSWORD}).replace("/", r"\/"),
        "the beginning alone: S3cret/of:th…",
    ],
)
def test_a_password_is_hidden_however_it_is_spelled(text: str) -> None:
    secrets = Secrets()
    secrets.keep_login(f"http://jo:{SPELLED}@proxy.example:8080")

    shown = secrets.hide(text)
    assert "S3cret" not in shown
    assert "s3cret" not in shown
    assert BASIC not in shown
    assert "[hidden]" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://us:pw@proxy:1/x", "at http://[hidden]@proxy:1/x"),
        ("https://user:p@ss@host and ftp://a@b", "https://[hidden]@host and ftp://[hidden]@b"),
        (r"http:\/\/us:pw@proxy", r"http:\/\/[hidden]@proxy"),
        ("https://cdn.example/heron@2x.png", "https://cdn.example/heron@2x.png"),
        ("https://cdn.example?to=a@b.example", "https://cdn.example?to=a@b.example"),
        ("write to me@example.com", "write to me@example.com"),
        ("postgresql://ann@db/batches", "postgresql://ann@db/batches"),
        ("postgresql://ann:pw@db/batches", "postgresql://[hidden]@db/batches"),
    ],
)
def test_the_login_in_a_url_is_hidden_whoever_it_belongs_to(text: str, shown: str) -> None:
    assert Secrets().hide(text) == shown


def test_a_short_secret_hides_no_words() -> None:
    secrets = Secrets()
    secrets.keep("the")

    assert secrets.hide("the other row") == "the other row"


def test_in_an_answer_urls_and_the_id_of_the_request_stay_as_they_are() -> None:
    secrets = Secrets()
    secrets.keep("aquarelle")
    answer = {
        "request_id": "aquarelle-1",
        "said": ["not for aquarelle", 7, None],
        "url": "https://media.example/aquarelle/1.png",
    }

    assert secrets.hide_in_json(answer) == answer | {"said": ["not for [hidden]", 7, None]}


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        ("https://hc-ping.com/5bf66975-d4c7", "at https://hc-ping.com/5bf66975-d4c7/fail: no",
         "at https://hc-ping.com/[hidden]/fail: no"),
        ("https://hc-ping.com/5bf66975-d4c7", "GET /5bf66975-d4c7/start", "GET /[hidden]/start"),
        ("https://kuma.example/api/push/Xk3dAbc9Ty12", "kuma.example:443 is gone",
         "kuma.example:443 is gone"),
        ("https://ping.example/my-own-list-of-pictures",
         "no ping.example/my-own-list-of-pictures", "no [hidden]"),
        ("https://kuma.example/api/push/Xk3dAbc9Ty12?status=up", "of Xk3dAbc9Ty12", "of [hidden]"),
        ("https://ping.example/notifications/of-pictures", "2 notifications of pictures",
         "2 notifications of pictures"),
        ("https://hc-ping.com/5bf66975-d4c7", "see https://hub.example", "see https://hub.example"),
        ("mailto://me:pass-word@mail.example", "login pass-word failed", "login [hidden] failed"),
        ("tgram://123456789:aBcDeF/12", "tgram://123456789:aBcDeF/12 timed out",
         "[hidden] timed out"),
    ],
)  # fmt: skip
def test_an_address_that_is_a_secret_is_hidden_and_others_are_not(
    url: str, text: str, shown: str
) -> None:
    secrets = Secrets()
    secrets.keep_url(url)

    assert secrets.hide(text) == shown


@pytest.mark.parametrize(
    "form", ["abcdefghijkl/mnop+qrs", "abcdefghijkl%2Fmnop%2Bqrs", r"abcdefghijkl\/mnop+qrs"]
)
def test_a_secret_whose_forms_begin_alike_is_hidden_to_its_end(form: str) -> None:
    secrets = Secrets()
    secrets.keep("abcdefghijkl/mnop+qrs")

    assert secrets.hide(f"token {form}, refused") == "token [hidden], refused"
