"""What a server says instead of an answer."""

from __future__ import annotations

from typing import Final

__all__ = ["ODD_REPLIES", "REFUSALS"]

REFUSALS: Final = [
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "MISCONF Redis is configured to save RDB snapshots",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions",
    "NOSCRIPT No matching script.",
    "BUSY Redis is busy running a script.",
    "CLUSTERDOWN The cluster is down",
    "MOVED 3999 127.0.0.1:1",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "MASTERDOWN Link with MASTER is down",
    "ERR unknown command",
    "",
]

ODD_REPLIES: Final = [b":1\r\n", b"+OK\r\n", b"*0\r\n", b"*1\r\n:1\r\n", b"$-1\r\n", b"*-1\r\n", b"!\r\n"]
"""Answers to another question, and one that is none."""
