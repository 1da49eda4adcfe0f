"""A batch script as people write it with httpx: a semaphore, a poll each second, no memory.

`naive_httpx.py BASE_URL LIST.JSONL FOLDER AT_ONCE`. It keeps no journal, checks nothing and syncs
nothing; a POST that fails is sent again, which may pay twice.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import httpx

MODEL = "ideogram/ideogram-v2/generate"
POLL_EVERY = 1.0
TRIES = 5


async def submit(client: httpx.AsyncClient, base: str, prompt: str) -> str:
    for _ in range(TRIES):
        try:
            answer = await client.post(f"{base}/models/{MODEL}", json={"prompt": prompt})
            while answer.status_code == 429:
                await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
                answer = await client.post(f"{base}/models/{MODEL}", json={"prompt": prompt})
            answer.raise_for_status()
            return answer.json()["request_id"]
        except (httpx.HTTPError, ValueError):
            await asyncio.sleep(1)
    raise RuntimeError("gave up")


async def wait(client: httpx.AsyncClient, base: str, request_id: str) -> str:
    while True:
        answer = await client.get(f"{base}/requests/{request_id}/status")
        answer.raise_for_status()
        if answer.json()["status"] not in ("in_queue", "in_progress"):
            break
        await asyncio.sleep(POLL_EVERY)
    answer = await client.get(f"{base}/requests/{request_id}/result")
    answer.raise_for_status()
    return answer.json()["output"]["image"]


async def make(
    client: httpx.AsyncClient, plain: httpx.AsyncClient, base: str, row: dict, folder: Path
) -> None:
    request_id = await submit(client, base, row["prompt"])
    url = await wait(client, base, request_id)
    answer = await plain.get(url)
    answer.raise_for_status()
    (folder / f"{row['id']}.png").write_bytes(answer.content)


async def main() -> None:
    base, manifest, folder, at_once = sys.argv[1:5]
    token = {"Authorization": f"Bearer {os.environ['RUNCOMFY_TOKEN']}"}
    gate = asyncio.Semaphore(int(at_once))
    rows = [json.loads(line) for line in Path(manifest).read_text().splitlines()]

    async with (
        httpx.AsyncClient(headers=token, timeout=60) as client,
        httpx.AsyncClient(timeout=60) as plain,
    ):

        async def one(row: dict) -> None:
            async with gate:
                try:
                    await make(client, plain, base, row, Path(folder))
                except Exception as error:  # noqa: BLE001
                    print(f"{row['id']}: {error!r}", file=sys.stderr)

        await asyncio.gather(*map(one, rows))


if __name__ == "__main__":
    asyncio.run(main())
