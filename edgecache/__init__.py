"""edgecache: a reverse-proxy HTTP edge cache.

Floors, lowest first; an import only ever goes down (``tests/test_floors.py``):

    0  http        HTTP's words: messages, fields, directives. No clock, no I/O, no opinion on caching
    1  semantics   RFC 9111's decisions. ``now`` is a parameter; a decision is a value with a reason
    2  stores      where responses rest          purging   what has been purged
       origin      where responses come from    assets    what build tools have named
    3  engine      one request's life
    4  edges       sockets and people: server, admin, log, metrics, config
    5  cli         commands
       app         composition root: the only module that may import every floor
"""

__version__ = "0.1.0.dev0"
