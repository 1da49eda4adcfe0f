"""One process, one event loop, two servers: the API's origin and the media's."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from batchgen import event_loop
from batchgen.errors import ServiceUnreachable, StoppedEarly
from batchgen.files import open_in_place
from batchgen.sandbox.apps import MediaServer, SandboxApi
from batchgen.sandbox.call import CallProtocol
from batchgen.sandbox.options import SandboxOptions
from batchgen.sandbox.state import SandboxState

LOOPBACK = "127.0.0.1"
LOCK_TIMEOUT_S = 10.0  # a sandbox that was killed before gets this long to exit


class SandboxServer(uvicorn.Server):
    """uvicorn's server without its signal handlers, since two of them run here."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def leave(self) -> None:
        """Stop now, and close every connection."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        self.should_exit = self.force_exit = True


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback. Raises ServiceUnreachable if the port is taken."""
    # The protocol is named because asyncio sets TCP_NODELAY only where it is, and an answer's head
    # and body are two writes: without it each waits 40 ms for the other side's delayed ACK.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((LOOPBACK, port))
    except OSError as wrong:
        sock.close()
        raise ServiceUnreachable(
            f"The sandbox cannot listen on port {port}: {wrong.strerror}.", "Choose another --port."
        ) from wrong
    sock.listen(2048)
    return sock


def lock_folder(folder: Path) -> int:
    """Lock the folder for this process, and return the descriptor of the lock.

    Raises StoppedEarly if another sandbox keeps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = open_in_place(folder / "sandbox.lock")
    end = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                os.close(held)
                raise StoppedEarly(
                    f"{folder} is in use by another sandbox.",
                    "Stop that one, or take another folder.",
                ) from None
            time.sleep(0.05)
        else:
            return held


def serve(options: SandboxOptions) -> None:
    """Serve until a signal, or until standard input ends if the options say so."""
    if options.exit_with_stdin:
        # A terminal's Ctrl-C or hang-up reaches the whole process group; the parent decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ExitStack() as stack:
        if options.folder is not None:
            stack.callback(os.close, lock_folder(options.folder))
        state = SandboxState(options)
        stack.callback(state.ledger.close)
        ports = (options.port, options.media_port)
        api, media = (stack.enter_context(listen(port)) for port in ports)
        state.base_url = f"http://{LOOPBACK}:{api.getsockname()[1]}/v1"
        state.media_host = f"{LOOPBACK}:{media.getsockname()[1]}"
        event_loop.run(run_servers(state, api, media))


def make_server(app: Any, options: SandboxOptions) -> SandboxServer:
    return SandboxServer(
        uvicorn.Config(
            app, http=CallProtocol, ws="none", lifespan="off", log_config=None, log_level="error",
            access_log=False, proxy_headers=False, server_header=False,
            timeout_keep_alive=options.idle_seconds,  # type: ignore[arg-type]  # goes to call_later
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip


async def run_servers(state: SandboxState, api: socket.socket, media: socket.socket) -> None:
    servers = [
        make_server(SandboxApi(state), state.options),
        make_server(MediaServer(state), state.options),
    ]
    loop = asyncio.get_running_loop()

    def leave() -> None:
        for server in servers:
            server.leave()

    loop.add_signal_handler(signal.SIGTERM, leave)
    if state.options.exit_with_stdin:
        try:
            loop.add_reader(0, watch_stdin, leave)
        except PermissionError:  # of a file, or /dev/null: all that it will say is there already
            loop.call_soon(leave)
    else:
        loop.add_signal_handler(signal.SIGINT, leave)
    # Both sockets listen already, so that a client may connect as soon as it has read this.
    apis = {"base_url": state.base_url, "serverless_url": f"{state.origin}/prod/v2"}
    address = {**apis, "media_host": state.media_host, "pid": os.getpid()}
    print(json.dumps(address), flush=True)
    await asyncio.gather(servers[0].serve([api]), servers[1].serve([media]))


def watch_stdin(leave: Callable[[], None]) -> None:
    """Call `leave` at the end of standard input, i.e. when the parent process is gone."""
    if not os.read(0, 4096):
        asyncio.get_running_loop().remove_reader(0)
        leave()
