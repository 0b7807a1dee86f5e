"""A site in two releases, whose pages want assets with digests in their names; and servers that have one of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from tests.scenarios.rig import Received, Reply

__all__ = ["IMMUTABLE", "NEW", "OLD", "Release", "Server"]

IMMUTABLE: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Release:
    """A page, and its assets by their targets."""

    name: str
    asset_lifetime: str = IMMUTABLE

    def target(self, what: str, extension: str = "js") -> str:
        """Return where an asset is: a digest of what it says is part of its name."""
        digest = hashlib.sha256(f"{what} of {self.name}".encode()).hexdigest()[:12]
        return f"/assets/{what}-{digest}.{extension}"

    @property
    def assets(self) -> dict[str, tuple[str, bytes]]:
        """Content types and contents by target."""
        chunk = f"export const release = {self.name!r};".encode()
        style = f"body {{ --release: {self.name}; }}".encode()
        more = {self.target(f"more{n}"): ("text/javascript", b"more of %s" % self.name.encode()) for n in range(17)}
        return {
            self.target("main"): ("text/javascript", self._main().encode()),
            self.target("chunk"): ("text/javascript", chunk),
            self.target("style", "css"): ("text/css", style),
            **more,
        }

    @property
    def page(self) -> bytes:
        """The page: it tells whoever has framed it whether all of it came, and is of one release."""
        return f"""<!doctype html><title>{self.name}</title>
<script>
const tell = word => parent.postMessage(word, "*");
addEventListener("error", event => tell("broken: " + (event.target.src || event.target.href || event.message)), true);
</script>
<link rel="stylesheet" href="{self.target("style", "css")}">
<script type="module" src="{self.target("main")}"></script>
""".encode()

    def _main(self) -> str:
        return f"""
try {{
  const chunk = await import("{self.target("chunk")}");
  const style = getComputedStyle(document.body).getPropertyValue("--release").trim();
  tell(chunk.release === {self.name!r} && style === {self.name!r} ? "whole" : "broken: mixed");
}} catch (error) {{
  tell("broken: " + error.message);
}}
"""

    def answer(self, request: Received, *, falls_back: bool = False, keeps_errors: bool = False) -> Reply:
        """Answer as a server that has this release.

        ``falls_back``: as a single-page application, which answers with its page to whatever it does not have.
        ``keeps_errors``: with a header rule for everything below ``/assets/``.
        """
        path = request.target.partition("?")[0]
        if path in self.assets:
            content_type, content = self.assets[path]
            return Reply(200, {"Content-Type": content_type, "Cache-Control": self.asset_lifetime}, content)
        page = {"Content-Type": "text/html", "Cache-Control": IMMUTABLE if path.startswith("/assets/") else "no-cache"}
        if path == "/" or falls_back:
            return Reply(200, page, self.page)
        return Reply(404, page if keeps_errors else {"Content-Type": "text/html"}, b"<h1>not here</h1>")


OLD: Final = Release("old")
NEW: Final = Release("new")


class Server:
    """A script that serves a release, which can be replaced while it runs."""

    def __init__(self, release: Release, *, falls_back: bool = False, keeps_errors: bool = False) -> None:
        self.release = release
        self.falls_back = falls_back
        self.keeps_errors = keeps_errors

    def __call__(self, request: Received) -> Reply:
        """Answer as the release that is there."""
        return self.release.answer(request, falls_back=self.falls_back, keeps_errors=self.keeps_errors)
