"""The same as naive_httpx.py, with aiohttp.

`naive_aiohttp.py BASE_URL LIST.JSONL FOLDER AT_ONCE [jitter]`. With `jitter` it comes back from a
429 at a random time after Retry-After, so that not all come at once.
"""

import asyncio
import json
import os
import random
import sys
from pathlib import Path

import aiohttp

MODEL = "ideogram/ideogram-v2/generate"
POLL_EVERY = 1.0
TRIES = 5
JITTER = 1.0 if "jitter" in sys.argv[5:] else 0.0


async def submit(session: aiohttp.ClientSession, base: str, prompt: str) -> str:
    tries = 0
    while True:
        try:
            async with session.post(f"{base}/models/{MODEL}", json={"prompt": prompt}) as answer:
                if answer.status == 429:
                    pause = float(answer.headers.get("retry-after", 1))
                    await asyncio.sleep(pause + random.uniform(0, JITTER))
                    continue
                answer.raise_for_status()
                return (await answer.json())["request_id"]
        except (aiohttp.ClientError, ValueError):
            tries += 1
            if tries == TRIES:
                raise
            await asyncio.sleep(1)


async def wait(session: aiohttp.ClientSession, base: str, request_id: str) -> str:
    while True:
        async with session.get(f"{base}/requests/{request_id}/status") as answer:
            answer.raise_for_status()
            if (await answer.json())["status"] not in ("in_queue", "in_progress"):
                break
        await asyncio.sleep(POLL_EVERY)
    async with session.get(f"{base}/requests/{request_id}/result") as answer:
        answer.raise_for_status()
        return (await answer.json())["output"]["image"]


async def make(
    session: aiohttp.ClientSession, plain: aiohttp.ClientSession, base: str, row: dict, to: Path
) -> None:
    request_id = await submit(session, base, row["prompt"])
    url = await wait(session, base, request_id)
    async with plain.get(url) as answer:
        answer.raise_for_status()
        content = await answer.read()
    (to / f"{row['id']}.png").write_bytes(content)


async def main() -> None:
    base, manifest, folder, at_once = sys.argv[1:5]
    token = {"Authorization": f"Bearer {os.environ['RUNCOMFY_TOKEN']}"}
    gate = asyncio.Semaphore(int(at_once))
    rows = [json.loads(line) for line in Path(manifest).read_text().splitlines()]

    async with aiohttp.ClientSession(headers=token) as session, aiohttp.ClientSession() as plain:

        async def one(row: dict) -> None:
            async with gate:
                try:
                    await make(session, plain, base, row, Path(folder))
                except Exception as error:  # noqa: BLE001
                    print(f"{row['id']}: {error!r}", file=sys.stderr)

        await asyncio.gather(*map(one, rows))


if __name__ == "__main__":
    asyncio.run(main())
