"""A real server that can be looked into, and can come back with older data."""

from __future__ import annotations

from pathlib import Path

import redis

from edgecache.purging.redis_log import connect
from edgecache.redis_client import Client
from tests.faults.redis_server import RedisServer

__all__ = ["LedgerServer"]


class LedgerServer(RedisServer):
    """Running from the beginning. ``save`` and ``restart`` are the two halves of going back in time."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory, *options)
        self.directory = directory
        self.start()
        self.admin = redis.Redis(unix_socket_path=str(self.socket))

    def client(self) -> Client:
        return connect(self.url)

    def save(self) -> None:
        self.admin.save()

    def restart(self) -> None:
        """Kill it; it comes back with what was saved last, or empty."""
        self.kill()
        self.start()

    def forget(self) -> None:
        """There was nothing saved."""
        (self.directory / "dump.rdb").unlink(missing_ok=True)

    def clear(self) -> None:
        """As new, for the next test."""
        self.admin.flushall()
        self.forget()

    def stop(self) -> None:
        self.admin.close()
        self.kill()
