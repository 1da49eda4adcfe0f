"""What the sandbox itself manages: a bare client that does nothing but ask.

Each connection goes round: a POST, its result, its picture. Answers are cut by Content-Length and
looked at no further, so that the client costs far less than the sandbox. Run as a script of its own
it prints one JSON line: `{"requests", "seconds"}`.
"""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

MODEL = "ideogram/ideogram-v2/generate"
TOKEN = "Authorization: Bearer a-token\r\n"


class Line:
    """One keep-alive connection; `ask` sends the bytes of a request and returns a body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> "Line":
        return cls(*await asyncio.open_connection(host, port))

    async def ask(self, request: bytes) -> bytes:
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await self.reader.readexactly(length)


def get(path: str, host: str, extra: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n".encode()


async def visitor(api: Line, files: Line, host: str, media: str, orders: list[int]) -> None:
    """Take the next of `orders` until there is none, and see it through."""
    while orders:
        body = json.dumps({"prompt": f"a heron, number {orders.pop()}"})
        post = (
            f"POST /v1/models/{MODEL} HTTP/1.1\r\nHost: {host}\r\n{TOKEN}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
        request_id = json.loads(await api.ask(post.encode()))["request_id"]
        await api.ask(get(f"/v1/requests/{request_id}/result?include_cost=true", host, TOKEN))
        await files.ask(get(f"/media/{request_id}/0.png", media))


async def press(base_url: str, media_host: str, rows: int, at_once: int) -> float:
    """Return the seconds that `rows` rows took, three requests each, `at_once` under way."""
    host = urlsplit(base_url).netloc
    ends = [(name, int(port)) for name, port in (host.split(":"), media_host.split(":"))]
    lines = [[await Line.open(*end) for end in ends] for _ in range(at_once)]
    orders = list(range(rows))
    start = time.perf_counter()
    await asyncio.gather(*(visitor(a, f, host, media_host, orders) for a, f in lines))
    return time.perf_counter() - start


def main() -> None:
    base_url, media_host, rows, at_once = sys.argv[1:5]
    seconds = asyncio.run(press(base_url, media_host, int(rows), int(at_once)))
    print(json.dumps({"requests": 3 * int(rows), "seconds": seconds}))


if __name__ == "__main__":
    main()
