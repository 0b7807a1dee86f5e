"""Configuration files for tests, and what is said about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecache.edges.config_load import ConfigMistakes, load
from edgecache.errors import ConfigError

__all__ = ["SMALL", "mistakes", "written"]

SMALL = '[origin]\nurls = ["http://127.0.0.1:8000"]\n'
"""The least that is a configuration."""


def written(directory: Path, text: str) -> str:
    path = directory / "edgecache.toml"
    path.write_text(text, "utf-8")
    return str(path)


def mistakes(directory: Path, text: str, **environ: str) -> list[ConfigError]:
    with pytest.raises(ConfigMistakes) as caught:
        load(written(directory, text), environ=environ)
    return list(caught.value.mistakes)
