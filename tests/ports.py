"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

_given: set[int] = set()
_chance = random.SystemRandom()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens, another one each time.

    It is below those that systems give to connections that go out, so that none of these gets it meanwhile.
    """
    while True:
        port = _chance.randrange(10_000, 32_000)
        with socket.socket() as probe:
            if port not in _given and probe.connect_ex(("127.0.0.1", port)) and _can_be_bound(port):
                _given.add(port)
                return port


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
