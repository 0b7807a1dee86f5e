"""``edgecache proxy`` as a server under measurement: as anybody would start it, by command line and environment.

Metrics are on, as always. The access log is off unless the case has one. Several workers, and a second tier, come with
the embedded Redis server, whose time is counted too: it is a child of the edge.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import ClassVar, Final

import edgecache
from benchmarks.processes import Failed, free_port
from benchmarks.servers import Server, Setup, exchange

__all__ = ["Compiled", "Edge"]

_MIB: Final = 1024 * 1024
_COMPILED: Final = Path(__file__).parent.parent / ".compiled" / ".venv" / "bin" / "python"
"""What ``make compiled`` makes."""


class Edge(Server):
    """What all this is about."""

    NAME = "edgecache"
    PACKAGE = "edgecache"
    PYTHON: ClassVar[str] = sys.executable

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.admin = free_port()
        self._token = secrets.token_urlsafe(32)

    @classmethod
    def missing(cls) -> str:
        return ""

    @classmethod
    def version(cls) -> str:
        return f"edgecache/{edgecache.__version__}, Python {sys.version.partition(' ')[0]}"

    def command(self) -> list[str]:
        setup = self.setup
        options = {
            "--to": f"http://127.0.0.1:{setup.origin}",
            "--listen": f"127.0.0.1:{self.port}",
            "--admin": f"127.0.0.1:{self.admin}",
            "--memory": f"{setup.memory // _MIB}MiB",
            "--access-log": "combined" if setup.access_log else "off",
            "--workers": str(setup.workers),
        }
        if setup.workers > 1 or setup.second_tier:
            options["--redis"] = "embedded"
        command = [self.PYTHON, "-m", "edgecache.cli.main", "proxy"]
        return [*command, *(word for option in options.items() for word in option)]

    def environ(self) -> dict[str, str]:
        setup = self.setup
        environ = {
            "EDGECACHE_TOKEN": self._token,
            "EDGECACHE_SERVER_KEEPALIVE_TIMEOUT": "300s",
            "EDGECACHE_SERVER_DRAIN_TIMEOUT": "1s",
            "EDGECACHE_ORIGIN_KEEPALIVE": "60s",
            "EDGECACHE_REDIS_MEMORY": f"{1024 * _MIB}",
        }
        if setup.access_log:
            environ["EDGECACHE_LOG_FILE"] = str(setup.directory / "access.log")
        if setup.certificate is not None:
            environ["EDGECACHE_SERVER_TLS_CERT"] = str(setup.certificate)
        return environ

    def purge(self, tag: str) -> None:
        order = json.dumps({"selectors": [{"kind": "tag", "value": tag}]})
        fields = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if exchange(self.admin, "POST", "/v1/purge", fields, order) != 200:
            raise Failed(f"{self.NAME} did not confirm a purge")


class Compiled(Edge):
    """The same, with those modules compiled that can be: ``make compiled`` first."""

    NAME = "compiled"
    PYTHON = str(_COMPILED)

    @classmethod
    def missing(cls) -> str:
        return "" if _COMPILED.exists() else "make compiled"

    @classmethod
    def version(cls) -> str:
        return f"{super().version()}, compiled"
