"""Text for people: shortened, quoted, and safe on a terminal or in a shell. Pure."""

import difflib
import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any

MAX_SHOWN_CHARS = 60
MAX_SHOWN_CHOICES = 24
MAX_MARKS = 30  # on one letter; source: Unicode Annex 15, Stream-Safe Text Format
SHORT_CHARS = 256  # of a text that takes no time whatever it is
# Marks that Unicode lists as letters, since they stand for two marks each.
_DOUBLE_MARKS = frozenset("\u0f73\u0f75\u0f81")
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNDECODED = re.compile("[\udc80-\udcff]")
_DATA_URI = re.compile(r"(data:[\w/+.-]{0,100};base64,)[A-Za-z0-9+/=_-]*")
HIDDEN = "[hidden]"  # in place of a secret
# A database's user alone is no secret, and its URL is what a person gives again.
_LOGIN = re.compile(r"((?<!postgresql):(?:\\?/){2}|:(?:\\?/){2}(?=[^\s/?#\\@]*:))[^\s/?#\\]*@")


def terminal_safe(text: str) -> str:
    """Return `text` as one line, with whatever could steer a terminal shown as an escape.

    That is also what could forge a line, or the order of what is read: line breaks, bidi marks.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in show_undecoded(text)
    )


def unturned(text: str) -> str:
    """Return `text` with each mark that turns the direction of what is read shown by its code.

    As templates/store.js does for what scripts show.
    """
    return text if text.isascii() else _TURNS.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)


def terminal_safe_json(value: Any) -> str:
    """Return a value as JSON in which a terminal finds nothing to obey; it reads as the same."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def show_undecoded(name: str) -> str:
    """Return the name of a file with each byte that is no UTF-8 as an escape, such as `\\xfc`.

    Python keeps such a byte as half of a surrogate pair, which no database and no console takes.
    """
    return _UNDECODED.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", name)


def hide_logins(text: str) -> str:
    """Return a text without the user and password in its URLs, `https://user:password@host`."""
    return _LOGIN.sub(rf"\1{HIDDEN}@", text) if "@" in text else text


def shell_quote(text: str) -> str:
    """Return `text` as one word of a POSIX shell, harmless to paste into a terminal.

    A control character would act on the terminal itself before a shell saw its quotes.
    """
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_shell_escape, text))}'"


def shell_path(path: str) -> str:
    """Return a path as one word of a POSIX shell that no command takes for an option."""
    return shell_quote(f"./{path}" if path.startswith("-") else path)


def _shell_escape(c: str) -> str:
    if c.isprintable() and c not in "'\\":
        return c
    code = c.encode(errors="surrogateescape" if _UNDECODED.fullmatch(c) else "replace")
    return "".join(f"\\{byte:03o}" for byte in code)


def plural(count: int, noun: str) -> str:
    """Return `1 row`, `2 rows`. noun: in the singular, of a plural in s."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def nonzero(counts: Mapping[str, int]) -> str:
    """Return `3 whole, 1 lost`, without what there is none of."""
    return ", ".join(f"{n} {name}" for name, n in counts.items() if n)


def shorten_data_uris(text: str) -> str:
    """Return a text without the files in it: `data:image/png;base64,…`."""
    return _DATA_URI.sub(r"\1…", text) if "base64," in text else text


def show_bytes(size: int) -> str:
    """Return a size as `4 MB`, of 1,000,000 bytes each, with a digit behind the point below 10."""
    for unit, bytes_ in (("GB", 10**9), ("MB", 10**6), ("kB", 1000)):
        if size >= bytes_:
            shown = size / bytes_
            return f"{shown:.0f} {unit}" if shown >= 10 else f"{shown:.1f} {unit}"
    return plural(size, "byte")


def is_text(text: str) -> bool:
    """Say whether a text can be sent: no NUL, and no half of a surrogate pair."""
    if "\0" in text:
        return False
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def compose(text: str) -> str:
    """Return the text in Unicode's form NFC; as it is if a letter has more than MAX_MARKS marks.

    No language has such letters, and the time to sort their marks grows with the square of their
    number.
    """
    if len(text) > SHORT_CHARS and not text.isascii():
        runs = groupby(text, lambda c: c in _DOUBLE_MARKS or unicodedata.combining(c) > 0)
        if any(marks and sum(1 for _ in run) > MAX_MARKS for marks, run in runs):
            return text
    return unicodedata.normalize("NFC", text)


def describe_error(error: BaseException | None) -> str:
    """Say what broke, for a log line: the class is often all that httpx tells."""
    if error is None:
        return "no answer"
    # Hidden first: what a cut leaves of a login is not known for one.
    text = replace_surrogates(hide_logins(" ".join(str(error).split()))[:200])
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# What differs between two reports of the same cause: addresses, ids, numbers. A status says which
# cause it is, so a number after one of these words stays.
_DETAILS = re.compile(
    r"""[a-z][a-z0-9+.-]*://[^\s'"<>)]+
    | \b(?=[\w-]*\d)(?=[\w-]*[a-z])[\w-]{8,}\b
    | (?<!answered\ )(?<!http\ )(?<!status\ )(?<!code\ )(?<!error\ )\b\d+(?:[.,:]\d+)*\b""",
    re.IGNORECASE | re.VERBOSE,
)


def cause_kind(reason: str) -> str:
    """Return what a reason has in common with others of the same cause."""
    return _DETAILS.sub("…", reason)


def replace_surrogates(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can spell and no database takes."""
    return text.encode(errors="replace").decode()


def quote_value(value: Any) -> str:
    """Return a value in the form of a message: a text in quotes, everything else as JSON."""
    if isinstance(value, str):
        return repr(truncate(value))
    # Only the beginning is shown, and a list can be long.
    shortened = value[:MAX_SHOWN_CHARS] if isinstance(value, list) else value
    return escape_unprintable(truncate(json.dumps(shortened, ensure_ascii=False, default=str)))


def truncate(text: str, longest: int = MAX_SHOWN_CHARS) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def truncate_columns(text: str, columns: int) -> str:
    """Shorten a text to columns of a terminal, where a Chinese character or an emoji takes two."""
    ends = [*accumulate(1 + (unicodedata.east_asian_width(one) in ("W", "F")) for one in text)]
    if not ends or ends[-1] <= columns:
        return text
    return f"{text[: sum(end < columns for end in ends)]}…"


def closest_match(text: str, known: Iterable[str]) -> str | None:
    """Return the known word that was most likely meant, whatever its case; None if none is near."""
    by_fold = {word.casefold(): word for word in known}
    close = difflib.get_close_matches(text.casefold()[:MAX_SHOWN_CHARS], by_fold, n=1, cutoff=0.6)
    return by_fold[close[0]] if close else None


def list_choices(allowed: Sequence[Any]) -> str:
    shown = [str(c) if isinstance(c, str) else json.dumps(c) for c in allowed[:MAX_SHOWN_CHOICES]]
    more = ["…"] if len(allowed) > MAX_SHOWN_CHOICES else []
    return ", ".join([*(escape_unprintable(truncate(text)) for text in shown), *more])


def yaml_escaped(text: str) -> str:
    """Return what stands between double quotes in YAML with its unprintable characters escaped.

    In YAML a character is one escape; it does not take JSON's two for one beyond U+FFFF.
    """
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)


def escape_unprintable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
