"""Sends a ping: tried three times at most, and over after its time whatever the other side does."""

import asyncio
from functools import partial

from batchgen.core.text import describe_error, replace_surrogates
from batchgen.errors import BatchgenError
from batchgen.event_loop import Loop
from batchgen.network.http import aiohttp
from batchgen.network.session import USER_AGENT, exact_url, open_session, proxy_for
from batchgen.notify.ping_url import Ping
from batchgen.threads import Threads

TRIES = 3
PAUSE_S = 1.0
MAX_ANSWER_BYTES = 200
# How healthchecks says that it did not count a ping which it took, with 200.
NOT_COUNTED = "OK ("


def send_ping(ping: Ping, seconds: float) -> str:
    """Return why a monitor did not take a ping; "" if it did. Raises nothing of its own.

    It does not take longer than so many seconds, whatever a name server or the monitor do.
    """
    try:
        # Threads of its own, which nobody waits for: to look up a name has no end that can be set.
        with (
            Threads(1, shutdown_timeout=0.0) as threads,
            asyncio.Runner(loop_factory=partial(Loop, threads)) as runner,
        ):
            return runner.run(_send(ping, seconds))
    except BatchgenError as error:  # certificates or a proxy that cannot be used
        return error.what
    except (MemoryError, OSError) as error:
        return describe_error(error)


async def _send(ping: Ping, seconds: float) -> str:
    why = ""
    try:
        async with (
            asyncio.timeout(seconds),
            open_session(aiohttp.ClientTimeout(total=None), use_proxy=_proxy(ping)) as session,
        ):
            for again in range(TRIES):
                if again:
                    await asyncio.sleep(PAUSE_S)
                why, may_pass = await _try(session, ping)
                if not may_pass:
                    break
    except TimeoutError:
        return why or f"no answer in {seconds:g} s"
    return why


def _proxy(ping: Ping) -> bool:
    return ping.url.startswith("https://")


async def _try(session: aiohttp.ClientSession, ping: Ping) -> tuple[str, bool]:
    """Return why it was not taken, "" if it was, and whether another try may fare better."""
    headers = {"User-Agent": USER_AGENT, "Content-Type": "text/plain; charset=utf-8"}
    # A redirect is not followed: the words are for the address that the person gave.
    ask = partial(session.request, allow_redirects=False, proxy=proxy_for(ping.url))
    try:
        if ping.body:
            body = replace_surrogates(ping.body).encode()
            asked = ask("POST", exact_url(ping.url), headers=headers, data=body)
        else:
            asked = ask("GET", exact_url(ping.url), headers={"User-Agent": USER_AGENT})
        async with asked as answer:
            if 300 <= answer.status < 400:
                return f"it answered {answer.status} and leads elsewhere; use that address", False
            if not 200 <= answer.status < 300:
                return f"it answered {answer.status}", answer.status >= 500 or answer.status == 429
            said = (await answer.content.read(MAX_ANSWER_BYTES)).decode(errors="replace")
            return (f"it answered {said}" if said.startswith(NOT_COUNTED) else ""), False
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return describe_error(error), True
