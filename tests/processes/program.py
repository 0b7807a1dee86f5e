"""``python -m tests.processes.program FILE [WORKERS]``: ``edgecache run -c FILE``, with so many workers.

Where what is tested is processes, they need not share anything, which the configuration would insist on.
"""

from __future__ import annotations

import os
import sys

import msgspec

from edgecache.cli.launch import launch
from edgecache.edges.config import Config
from edgecache.edges.config_load import load


def main(path: str, workers: str = "") -> int:
    def loaded() -> Config:
        config = load(path, environ=os.environ)
        if not workers:
            return config
        return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, workers=int(workers)))

    return launch(loaded)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
