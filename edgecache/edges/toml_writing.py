"""Writing values as TOML, each on one line.

Only what people write in rules: texts, numbers, switches, lists and tables. ``tomllib`` reads back what was given.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["toml_of"]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def toml_of(value: Any) -> str:
    """Return a value as TOML."""
    match value:
        case dict():
            pairs = ", ".join(f"{_key(key)} = {toml_of(one)}" for key, one in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case list():
            return f"[{', '.join(map(toml_of, value))}]"
        case str():
            return _text(value)
        case _:
            return str(value).lower()


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
