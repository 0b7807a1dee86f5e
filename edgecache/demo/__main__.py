"""``python -m edgecache.demo [PORT]``: serve the demo site on 127.0.0.1 until standard input ends.

The first line on standard output is the URL. Waiting for the end of standard input means that the site never
outlives whoever started it, not even when that one is killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading

from aiohttp import web

from edgecache.demo.site import make_site


async def _serve(port: int) -> None:
    runner = web.AppRunner(make_site(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, bound = runner.addresses[0]
        print(f"http://{host}:{bound}", flush=True)
        await _end_of_input()
    finally:
        await runner.cleanup()


async def _end_of_input() -> None:
    """Wait in a thread that nobody waits for: an interrupt must not have to wait for input."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    try:
        asyncio.run(_serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    except KeyboardInterrupt:
        sys.exit(130)
