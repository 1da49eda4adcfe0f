"""How good it is what the probes found, and what to do about the rest. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import aiohttp

from batchgen.api.response import Response
from batchgen.api.submit_outcome import HaltReason, refusal_of_question
from batchgen.core.budget import show_usd
from batchgen.core.prices import Price, Unit
from batchgen.core.text import describe_error, plural, shell_quote
from batchgen.doctor.finding import Finding, fail, ok, warn
from batchgen.errors import ServiceUnreachable, TokenRefused

SLOW_S = 5.0
SKEW_WARN_S = 30.0
SKEW_FAIL_S = 300.0  # a window of a night, and a day's limit of cost, are off by it
USUAL_ROW_BYTES = 3_000_000  # of a picture, where none of the batch is known
SPARE_BYTES = 64 << 20  # for the journal and the report
SPARE_FILES = 1000
FILES_A_ROW = 3  # the picture, its thumbnail, its sidecar
SET_CLOCK = (
    "Set the clock by the network: sudo timedatectl set-ntp true (Linux), or sudo systemsetup"
    " -setusingnetworktime on (macOS)"
)
KNOWN_LATER = "It is asked for when token and service are in order."
AGAIN = "then run batchgen doctor again."


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a free question that needs the token.

    host: that was asked. seconds: that it took. skew: seconds by which this computer's clock is
    ahead of the service's; None where the answer has no date.
    """

    host: str
    response: Response
    seconds: float
    skew: float | None


@dataclass(frozen=True, slots=True)
class Disk:
    """free: bytes for this user. files: that can still be made; None where there is no such limit.

    kind: of the file system, as `ext4`. trusted: whether its locks and renames are known to hold,
    None for one that is tried at the start of a run.
    """

    free: int
    files: int | None
    kind: str
    trusted: bool | None


@dataclass(frozen=True, slots=True)
class Tonight:
    """What a run would do: requests, and rows that are paid for and not on disk.

    usd: of the requests with a price. unpriced: requests without. floor: they may well cost more.
    """

    sends: int
    collects: int
    usd: float
    unpriced: int
    floor: bool

    def cost(self) -> str:
        if self.sends and self.unpriced == self.sends:
            return "an amount that nobody knows"
        return f"{'at least' if self.floor or self.unpriced else 'about'} {show_usd(self.usd)}"


def describe_told(ping: str | None, notify: Sequence[str], on_finish: object) -> str:
    """Say who is told of a run, without what is secret in their addresses; "" for nobody."""
    told = []
    if ping:
        told.append(f"a monitor at {urlsplit(ping).hostname}")
    if notify:
        schemes = ", ".join(dict.fromkeys(url.partition("://")[0] for url in notify))
        told.append(f"{plural(len(notify), 'message')} by {schemes}")
    if on_finish:
        told.append("a command of yours")
    return ", ".join(told)


def judge_service(answer: Answer) -> Finding:
    response, took = answer.response, f"in {answer.seconds:.1f} s"
    unreachable = ServiceUnreachable.exit_code
    if response.status is None:
        why = describe_error(response.error)
        remedy = remedy_of(response.error)
        return fail("service", f"{answer.host} cannot be reached ({why})", remedy, unreachable)
    said = f"{answer.host} answered {took}"
    if refusal_of_question(response) is HaltReason.SERVICE or response.status >= 500:
        what = f"{answer.host} answered with {response.status}"
        remedy = f"Wait a while, check --base-url and the proxy, {AGAIN}"
        return fail("service", what, remedy, unreachable)
    if response.status == 429:
        return warn("service", f"{said}, with a rate limit (429)", "Lower --rate if it stays so.")
    if answer.seconds > SLOW_S:
        return warn("service", said, "A slow line is no fault; the run waits longer for answers.")
    return ok("service", said)


def remedy_of(error: BaseException | None) -> str:
    """Return what helps against what kept an answer away."""
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return f"Check HTTPS_PROXY and ALL_PROXY: the proxy does not let it through; {AGAIN}"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"Check the clock, SSL_CERT_FILE and SSL_CERT_DIR, {AGAIN}"
    return f"Check the network, the proxy and --base-url, {AGAIN}"


def judge_token(where: str, answer: Answer | None) -> Finding:
    """where: the token was found. answer: None where nobody was asked."""
    status = None if answer is None else answer.response.status
    if answer is not None and refusal_of_question(answer.response) is HaltReason.TOKEN:
        said = f"that of {where} was refused"
        return fail("token", said, TokenRefused.ANOTHER, TokenRefused.exit_code)
    if status == 200:
        return ok("token", f"that of {where} is accepted")
    return warn(
        "token", f"found in {where}, but nobody said that it is accepted", f"See service, {AGAIN}"
    )


def judge_clock(skew: float | None) -> Finding:
    if skew is None:
        return ok("clock", "no answer had a date to compare it with")
    if abs(skew) <= SKEW_WARN_S:
        return ok("clock", f"within {max(abs(skew), 1):.0f} s of the service's")
    way = "ahead of" if skew > 0 else "behind"
    said = f"{_duration(abs(skew))} {way} the service's"
    return (warn if abs(skew) <= SKEW_FAIL_S else fail)("clock", said, SET_CLOCK)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if round(seconds / size) >= 2:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def judge_balance(balance: float | None, tonight: Tonight | None) -> Finding:
    """balance: USD; None where nobody says. tonight: None without a list."""
    needs = tonight is not None and tonight.sends > 0
    cost = "" if tonight is None or not needs else f"; tonight costs {tonight.cost()}"
    if balance is None:
        return warn("balance", f"nobody says{cost}", "Look it up in your RunComfy profile.")
    said = f"{show_usd(balance)}{cost}"
    if balance <= 0 and (needs or tonight is None):
        return fail("balance", said, "Top up the account.")
    if tonight is not None and needs and balance < tonight.usd:
        remedy = "Top up the account; else the run stops when it is used up, and goes on later."
        return fail("balance", said, remedy)
    return ok("balance", said)


def judge_limit(left: tuple[float, str] | None, tonight: Tonight, asked: str = "") -> Finding:
    """left: USD that the tightest limit of cost leaves, and its name; None without a limit.

    asked: as `judge_prices` has it.
    """
    if left is None:
        if not tonight.sends:
            return ok("limit", "none, and there is nothing to send")
        return warn(
            "limit", "no limit of cost", "Set one: --max-cost 20, or max_cost in config.toml."
        )
    usd, name = left
    said = f"{name} leaves {show_usd(usd)}"
    if tonight.sends and tonight.unpriced:
        what = f"{said}, and the price is not known of {plural(tonight.unpriced, 'request')}"
        if asked:
            return warn("limit", what, KNOWN_LATER)
        return fail("limit", what, "Say it in USD for a request: --price 0.06")
    if tonight.sends and usd < tonight.usd:
        remedy = f"The run stops there, and goes on later; raise {name} to have all rows."
        return warn("limit", f"{said}; tonight costs {tonight.cost()}", remedy)
    return ok("limit", said)


def judge_prices(prices: Mapping[str, Price | None], asked: str) -> Iterator[Finding]:
    """prices: of each model that is to be sent. asked: why nobody was asked; "" where one was."""
    for model, price in prices.items():
        if price is None and asked:
            yield warn("price", f"{model}: not known, since {asked}", KNOWN_LATER)
        elif price is None:
            remedy = f"Say it in USD for a request: --price {shell_quote(f'{model}=0.06')}"
            yield warn("price", f"{model}: not known", remedy)
        else:
            each = {Unit.REQUEST: "a request", Unit.OUTPUT: "an output", Unit.SECOND: "a second"}
            least = "at least " if price.floor else ""
            yield ok("price", f"{model}: {least}{show_usd(price.usd)} for {each[price.unit]}")


def judge_disk(disk: Disk, row_bytes: float | None, rows: int, folder: str) -> Iterator[Finding]:
    """row_bytes: that a row has taken so far; None where none is known. rows: that are to come."""
    each = USUAL_ROW_BYTES if row_bytes is None else row_bytes
    need = round(each * rows * 1.1) + (SPARE_BYTES if rows else 0)
    basis = "as a picture usually is" if row_bytes is None else "by the sizes so far"
    said = f"{_bytes(disk.free)} free"
    if rows:
        verb = "needs" if rows == 1 else "need"
        said += f"; {plural(rows, 'row')} {verb} about {_bytes(need)}, {basis}"
    if disk.free < max(need, SPARE_BYTES):
        remedy = f"Make room there, or choose another disk with --out: df -h {shell_quote(folder)}"
        yield fail("space", said, remedy)
    elif disk.files is not None and disk.files < FILES_A_ROW * rows + SPARE_FILES:
        remedy = f"Delete files there, or choose another disk: df -i {shell_quote(folder)}"
        yield fail("space", f"{disk.files:,} more files can be made there, too few", remedy)
    else:
        yield ok("space", said)
    kind = disk.kind or "of unknown type"
    another = "Choose a folder on a local disk with --out."
    if disk.trusted is False:
        said = f"{kind} is of a network: neither locks nor the journal can be trusted there"
        yield fail("disk", said, another)
    elif disk.trusted is None:
        remedy = f"A run tries it first. Run this batch from one computer only. {another}"
        yield warn("disk", f"{kind}: whether it keeps its promises is not known", remedy)
    else:
        yield ok("disk", f"{kind}, a local file system")


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def judge_receipts(whole: int | None, torn: int, sent: bool, path: str) -> Finding:
    """whole, torn: lines of receipts.log that can be read, and that cannot; None without a file.

    sent: whether the journal has rows that were sent.
    """
    if whole is None:
        if not sent:
            return ok("receipts", "none yet")
        return warn("receipts", f"{path} is gone", "The next run writes it again from the journal.")
    if torn > 1:  # a power cut leaves one
        remedy = "The journal has them too. Keep a copy of the folder before the next run."
        return warn("receipts", f"{torn} of {whole + torn} cannot be read", remedy)
    return ok("receipts", f"{plural(whole, 'receipt')} can be read")


def judge_start(
    name: str, next_start: datetime, wrong: str, by: str, starts: str
) -> Iterator[Finding]:
    """wrong: what the schedule does not do, as `Health` has it. starts: why nothing starts it, and
    the remedy on the next line; "" where it is started.
    """
    when = f"{name}: next start {next_start:%a %Y-%m-%d %H:%M}, by {by}"
    if starts:
        said, _, remedy = starts.partition("\n")
        yield fail("schedule", f"{name}: {said}", remedy)
    if wrong:
        yield fail("schedule", f"{name}: {wrong}", f"batchgen schedule show {shell_quote(name)}")
    if not starts and not wrong:
        yield ok("schedule", when)
