"""Serve the site that ``tests.builds.django_site`` collected, by Django and WhiteNoise: a process of its own.

``python -m tests.builds.django_server STORAGE DIRECTORY`` prints the port, and serves until it is ended.
"""

from __future__ import annotations

import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.core.wsgi import get_wsgi_application

from tests.builds.django_site import configure

__all__ = ["urlpatterns"]

urlpatterns: list[object] = []
"""Nothing but static files: everything else is Django's own page about what is missing."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main(storage: str, directory: Path) -> None:
    configure(
        storage,
        directory,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="tests.builds.django_server",
        MIDDLEWARE=["whitenoise.middleware.WhiteNoiseMiddleware"],
    )
    with make_server("127.0.0.1", 0, get_wsgi_application(), _Server, _Quiet) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
