"""What a text looks like without secrets: the token, and logins of proxies and URLs. Pure."""

import base64
import json
import re
from typing import Any
from urllib.parse import quote, unquote

from batchgen.core.text import HIDDEN, hide_logins

MIN_CHARS = 8  # a shorter one would be found in half of all words
# A message may be cut within a secret. So much of its beginning is told from any other text.
CERTAIN_CHARS = 12
_KEY = re.compile(r"[0-9]|[a-z][A-Z]")  # a part of a URL without these may be a word


def mask_url(url: str) -> str:
    """Return what may be shown of a URL that is a secret as a whole: `https://[hidden]`."""
    scheme, slashes, _ = url.partition("://")
    return f"{scheme}{slashes}{HIDDEN}" if slashes else HIDDEN


class Secrets:
    """The secrets of a process; `log.secrets` are those of this one. It learns them as it goes."""

    def __init__(self) -> None:
        self._forms: list[str] = []  # what the secrets may look like, the longest first

    def keep(self, secret: str) -> None:
        """Hide a secret from now on, as it is and as URLs and JSON spell it."""
        url = quote(secret, safe="")
        forms = {secret, url, url.lower(), json.dumps(secret)[1:-1], secret.replace("/", r"\/")}
        if new := [f for f in forms if len(f) >= MIN_CHARS and f not in self._forms]:
            self._forms = sorted([*self._forms, *new], key=len, reverse=True)

    def keep_login(self, url: str) -> None:
        """Hide the login in a URL, `user:password@`, and its password alone."""
        login = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
        plain = unquote(login)
        for secret in (login, plain, login.partition(":")[2], plain.partition(":")[2]):
            self.keep(secret)
        self.keep(base64.b64encode(plain.encode(errors="surrogateescape")).decode())

    def keep_url(self, url: str) -> None:
        """Hide a URL that is a secret as a whole, of whatever scheme, and the keys in it alone."""
        scheme, _, rest = url.partition("://")
        path = rest.partition("/")[2]
        # Its first characters decide what is hidden, and a million addresses begin with https://.
        # The host stays, so that a person sees who did not answer, if the path is no word.
        if scheme not in ("http", "https"):
            self.keep(url)
        elif len(path) >= CERTAIN_CHARS and _KEY.search(path[:CERTAIN_CHARS]):
            self.keep(path)
        else:
            self.keep(rest)
        for part in re.split(r"[/?&=@:#,]+", rest):
            if len(part) >= CERTAIN_CHARS and _KEY.search(part):
                self.keep(part)
        if "@" in rest:
            self.keep_login(url)

    def hide(self, text: str) -> str:
        """Return a text without the secrets that are known, and without the login in any URL."""
        for form in self._forms:
            # A short one is replaced as a whole; a long one as far as it is there, in any form.
            start = form[:CERTAIN_CHARS]
            if start in text:
                rests = [other[CERTAIN_CHARS:] for other in self._forms if other.startswith(start)]
                first, *others = text.split(start)
                text = HIDDEN.join(
                    [first, *(s[max(_alike(s, rest) for rest in rests) :] for s in others)]
                )
        return hide_logins(text)

    def are_in(self, content: bytes) -> bool:
        """Whether `hide` would hide a secret that is known."""
        return any(form[:CERTAIN_CHARS].encode() in content for form in self._forms)

    def hide_in_json(self, value: Any) -> Any:
        """Return decoded JSON without secrets in its texts, except URLs and the id of a request.

        A URL is fetched as it is. Raises RecursionError where the value is nested too deeply.
        """
        if isinstance(value, str):
            is_url = value.lstrip()[:8].lower().startswith(("http://", "https://"))
            return value if is_url else self.hide(value)
        if isinstance(value, list):
            return [self.hide_in_json(item) for item in value]
        if isinstance(value, dict):
            return {k: v if k == "request_id" else self.hide_in_json(v) for k, v in value.items()}
        return value


def _alike(one: str, other: str) -> int:
    """Return how many characters at their beginning are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
