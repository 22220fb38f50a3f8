"""In a pod: one version of a service, some of whose answers may be failures."""

import argparse
import asyncio
import random

from rollout.playground.http import Respond, Server

PORT = 9080


async def serve(version: str, fails: float) -> None:
    """Answer for ever; `fails` is the share of 500s."""

    def answer(path: str, respond: Respond) -> None:
        respond(500 if random.random() < fails else 200, {"x-version": version})

    loop = asyncio.get_running_loop()
    await (await loop.create_server(lambda: Server(answer, set()), "", PORT)).serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--fails", type=float, default=0.0)
    o = parser.parse_args()
    asyncio.run(serve(o.version, o.fails))
