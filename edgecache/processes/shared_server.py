"""The embedded server under the supervisor's eyes: started when a configuration asks for it, and again when it dies.

Theory
    One server and one secret for the life of the supervisor: workers of two generations share what they store, and
    both hear the other's purges. A configuration that no longer wants it leaves it running, unused, for the next one
    that does. Its memory is what the first configuration said.

Called by the supervisor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from typing import TYPE_CHECKING, Final

from edgecache.errors import ConfigError
from edgecache.processes.embedded import EmbeddedServer

if TYPE_CHECKING:
    from pathlib import Path

    from edgecache.edges.config import Config

__all__ = ["SharedServer"]

_logger = logging.getLogger(__name__)

_SECRET_BYTES: Final = 32
_AGAIN_SECONDS: Final = 1.0
"""Between two attempts to start it; meanwhile the workers go on as without Redis."""


class SharedServer:
    """An embedded server in ``directory``, once it is needed."""

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory
        self._secret: Final = secrets.token_urlsafe(_SECRET_BYTES)
        self._server: EmbeddedServer | None = None
        self._url = ""
        self._started = 0.0
        self.due: float | None = None
        """When ``look`` wants to be called, in seconds of the monotonic clock; None when it can wait for a signal."""

    def completed(self, config: Config) -> Config:
        """Return a configuration with the URL of the server that it asks for, started now if it did not run.

        Raise ``ConfigError`` when it cannot be started.
        """
        if not config.redis.is_embedded:
            return config
        if self._server is None:
            server = EmbeddedServer(self._directory, memory=config.redis.memory)
            self._url, self._server, self._started = server.start(), server, time.monotonic()
        return config.with_redis(self._url, config.redis.secret or self._secret)

    def look(self) -> None:
        """Start it again if it has died."""
        if self._server is None:
            return
        if self.due is None and self._has_ended(self._server):
            _logger.error("the embedded server has ended, another is started; what it held is fetched anew")
            self.due = max(time.monotonic(), self._started + _AGAIN_SECONDS)
        if self.due is not None and time.monotonic() >= self.due:
            self._restart(self._server)

    def stop(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.stop()

    def _restart(self, server: EmbeddedServer) -> None:
        self._started, self.due = time.monotonic(), None
        try:
            server.restart()
        except ConfigError as error:
            _logger.error("%s %s", error, error.line)
            self.due = time.monotonic() + _AGAIN_SECONDS

    def _has_ended(self, server: EmbeddedServer) -> bool:
        with contextlib.suppress(ChildProcessError):  # somebody has looked before
            return os.waitpid(server.pid, os.WNOHANG)[0] != 0
        return True
