"""Build one small site with the tools that people use, to see the names and the manifests that they really write.

The tools are installed from ``package-lock.json`` into ``.builds``, and a site is built there when its sources have
changed. Needs node and npm; nothing of what it makes is committed.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
INSTALLED: Final = HERE.parent.parent / ".builds"

COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "vite": ("npx", "--no", "--", "vite", "build"),
    "rollup": ("npx", "--no", "--", "rollup", "--config", "--silent"),
    "webpack": ("node", "webpack.js", "webpack"),
    "webpack-sha256": ("node", "webpack.js", "webpack-sha256"),
    "esbuild": ("node", "esbuild.js"),
    "parcel": ("npx", "--no", "--", "parcel", "build", "index.html", "--cache-dir", "cache"),
}
"""Name of a build -> what makes ``dist`` in a copy of the site."""

PUBLIC: Final = (
    *("robots.txt", "sw.js", "manifest.webmanifest", "favicon.ico", "logo.png", "data.json"),
    *("user-settings.js", "theme-default.css", "static/js/jquery-3.7.1.min.js", "assets/three-Vector3D.js"),
    "img/IMG_20240101_123456.png",
)
"""What is copied beside the built files and keeps its name."""

TIMEOUT: Final = 300.0
"""Seconds for one build; the slowest takes about ten."""


def install() -> None:
    """Install the tools, unless the lock file is that of the last time."""
    lock = (HERE / "package-lock.json").read_bytes()
    done = INSTALLED / "node_modules" / ".lock"
    if done.exists() and done.read_bytes() == lock:
        return
    INSTALLED.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, INSTALLED)
    _run(("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"), INSTALLED)
    done.write_bytes(lock)


def built(name: str) -> Path:
    """Return the directory of the built site, after building it if it is not there for the sources as they are."""
    site = INSTALLED / f"{name}-{_digest()}"
    if not site.exists():
        install()
        making = INSTALLED / "making" / "site"
        shutil.rmtree(making, ignore_errors=True)
        _copy(making)
        _run(COMMANDS[name], making)
        for path in PUBLIC:
            target = making / "dist" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.encode())
        making.rename(site)
    return site / "dist"


def _run(command: tuple[str, ...], where: Path) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _digest() -> str:
    """Return what changes with any source of the builds."""
    digest = hashlib.sha256()
    for path in sorted(path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        if not path.name.startswith("test_"):
            digest.update(b"%s\n%s\n" % (str(path.relative_to(HERE)).encode(), path.read_bytes()))
    return digest.hexdigest()[:12]


def _copy(to: Path) -> None:
    shutil.copytree(HERE / "site", to)
    for path in (*HERE.glob("*.js"), HERE / ".parcelrc", HERE / "package.json"):
        shutil.copy(path, to)
    write_binaries(to / "src")


def write_binaries(to: Path) -> None:
    """Write the files that are no text: two pictures, a font that is none, and a module that adds two numbers."""
    to.joinpath("photo.png").write_bytes(_png(b"\x20\x80\x80"))
    to.joinpath("background.png").write_bytes(_png(b"\xf0\xf0\xf0"))
    to.joinpath("letters.woff2").write_bytes(b"wOF2" + bytes(range(256)) * 8)
    wasm = "0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b"
    to.joinpath("add.wasm").write_bytes(bytes.fromhex(wasm))


def _png(colour: bytes, size: int = 16) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\x00" + colour * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
