"""A real S3 server in a process of its own, and what stands between it and a run.

Needs the extra `test-anywhere`; tests that take `store` are skipped without it.
"""

import http.client
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree

HOST = "127.0.0.1"
PATIENCE_S = 60.0
S3 = "{http://s3.amazonaws.com/doc/2006-03-01/}"
LISTED = f"{S3}Key"
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"  # of nobody
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@contextmanager
def s3_server() -> Iterator[int]:
    """Start moto's server; yield its port."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection((HOST, port), 1.0):
                break
            assert process.poll() is None, "the server has ended"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@dataclass
class Seen:
    """A request that came: its headers have small letters."""

    method: str
    path: str
    headers: dict[str, str]


Answer = tuple[int, bytes]


@dataclass
class Store:
    """A bucket, reached through a server in this process that tells what came and can refuse it.

    port: of moto. answer: takes a request; what it returns is the answer in place of moto's, None
    is moto's own, and b"" as a body with the status 0 hangs until the test is over. lost: as
    `answer`, once moto has done what it was asked.
    """

    bucket: str
    port: int
    endpoint: str = ""
    seen: list[Seen] = field(default_factory=list)
    answer: Callable[[Seen], Answer | None] = lambda request: None
    lost: Callable[[Seen], Answer | None] = lambda request: None
    forgets: str = ""  # a header that does not reach moto
    over: threading.Event = field(default_factory=threading.Event)

    def place(self, prefix: str) -> str:
        return f"s3://{self.bucket}/{prefix}"

    def names(self) -> list[str]:
        """Return the names of all objects but the mark, sorted."""
        keys: list[str] = []
        token: str | None = ""
        while token is not None:
            more = f"&continuation-token={urllib.parse.quote(token)}" if token else ""
            found = ElementTree.fromstring(self._ask("GET", f"?list-type=2{more}")[0])
            keys += [str(key.text) for key in found.iter(LISTED)]
            token = found.findtext(f"{S3}NextContinuationToken")
        return sorted(key for key in keys if not key.endswith("/.batchgen"))

    def get(self, key: str) -> bytes:
        return self._ask("GET", f"/{urllib.parse.quote(key)}")[0]

    def metadata(self, key: str) -> dict[str, str]:
        return self._ask("HEAD", f"/{urllib.parse.quote(key)}")[1]

    def put(self, key: str, content: bytes, **metadata: str) -> None:
        headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        self._ask("PUT", f"/{urllib.parse.quote(key)}", content, headers)

    def delete(self, key: str) -> None:
        self._ask("DELETE", f"/{urllib.parse.quote(key)}")

    def puts(self) -> list[str]:
        """Return the names of all objects that a run put, in order, each time, but the mark."""
        keys = [s.path.partition("?")[0] for s in self.seen if s.method == "PUT"]
        return [key for key in keys if not key.endswith("/.batchgen")]

    def _ask(
        self, method: str, path: str, content: bytes | None = None, headers: Any = None
    ) -> tuple[bytes, dict[str, str]]:
        url = f"http://{HOST}:{self.port}/{self.bucket}{path}"
        # moto hands nothing out to nobody, and checks no signature.
        who = f"AWS4-HMAC-SHA256 Credential={CREDENTIALS['AWS_ACCESS_KEY_ID']}/20260101/us-east-1"
        who += "/s3/aws4_request, SignedHeaders=host, Signature=none"
        headers = {"Authorization": who, "Content-Type": "binary/octet-stream", **(headers or {})}
        request = urllib.request.Request(url, content, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read(), {k.lower(): v for k, v in answer.headers.items()}


@contextmanager
def bucket(port: int) -> Iterator[Store]:
    """Make a bucket in a server that runs on a port, and stand before it."""
    store = Store(f"bucket-{uuid.uuid4().hex[:8]}", port)
    store._ask("PUT", "")

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            with suppress(OSError):
                super().handle_one_request()

        def _pass_on(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {k.lower(): v for k, v in self.headers.items()}
            seen = Seen(self.command, self.path, headers)
            store.seen.append(seen)
            given = store.answer(seen)
            if given == (0, b""):
                store.over.wait(PATIENCE_S)
                self.close_connection = True
                return
            more: dict[str, str] = {}
            if given is None:
                server = http.client.HTTPConnection(HOST, port)
                headers.pop(store.forgets, None)
                server.request(self.command, self.path, content, headers)
                answer = server.getresponse()
                status, body = answer.status, answer.read()
                more = {k: v for k, v in answer.headers.items() if k.lower() != "connection"}
                server.close()
                given = store.lost(seen)
            if given is not None:
                (status, body), more = given, {}
            self.send_response_only(status)
            for name, value in more.items():
                if name.lower() not in ("content-length", "transfer-encoding"):
                    self.send_header(name, value)
            size = more.get("content-length", "0") if self.command == "HEAD" else str(len(body))
            self.send_header("content-length", size)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Between)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    store.endpoint = f"http://{HOST}:{server.server_address[1]}"
    try:
        yield store
    finally:
        store.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
