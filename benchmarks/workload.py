"""What is asked for: which objects, in which order, and what a request looks like.

Theory
    One file of draws, made by Python with a fixed seed, is read by every load generator: so wrk and our own
    client ask for the same objects, and every server is asked the same. ``skew`` is the exponent of Zipf's law; the
    draws of a measurement are a circle of ``DRAWS``, which every connection goes round together.

    A request has the dozen fields that a browser sends. With ``fresh_fields`` three of them (Referer, Cookie, and
    User-Agent) are others in every request, so that nothing that is remembered of the last head of a connection helps.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

__all__ = ["DRAWS", "HOST", "Workload"]

DRAWS: Final = 65_536
HOST: Final = "bench.example"

_SEED: Final = 20_261_122

_BROWSER: Final = {
    "Host": HOST,
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": f"http://{HOST}/start/page",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Upgrade-Insecure-Requests": "1",
    "Priority": "u=0, i",
}

_FRESH: Final = {
    "Referer": f"http://{HOST}/start/page?{{}}",
    "Cookie": "session=0123456789abcdef{}; theme=dark",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.{}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Which requests.

    Attributes:
        kind: what the origin is asked for, see ``origin``.
        size: of the body, bytes.
        objects: how many there are; 0: every request is for another one that nobody has asked for.
        skew: exponent of Zipf's law; 0: each as likely as any other, negative: one after the other, round and round.
        fields: beside a browser's, or in place of them.
        fresh_fields: whether some fields are others in every request.
        status: what every answer has to be.
    """

    kind: str = "hit"
    size: int = 1024
    objects: int = 10_000
    skew: float = 1.0
    fields: tuple[tuple[str, str], ...] = ()
    fresh_fields: bool = False
    status: int = 200

    def target(self, number: int | str) -> str:
        """Return the target of one object."""
        return f"/{self.kind}/{self.size}/{number}"

    def head(self, number: int | str, *, mark: str = "") -> str:
        """Return a request; ``mark`` is what is new in its fields, if they are fresh ones."""
        fields = _BROWSER | dict(self.fields)
        if self.fresh_fields:
            fields |= {name: value.format(mark) for name, value in _FRESH.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"GET {self.target(number)} HTTP/1.1\r\n{lines}\r\n"

    def draws(self) -> list[int]:
        """Return the numbers of the objects in the order in which they are asked for."""
        if self.skew < 0:
            return [index % self.objects for index in range(max(DRAWS // self.objects, 1) * self.objects)]
        weights = list(accumulate((rank + 1) ** -self.skew for rank in range(self.objects)))
        return random.Random(_SEED).choices(range(self.objects), cum_weights=weights, k=DRAWS)
