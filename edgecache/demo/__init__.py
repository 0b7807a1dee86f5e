"""A small web site to put behind the edge: what ``edgecache demo`` and ``make run`` show when there is no origin yet.

It stands apart from the floors: it imports nothing of edgecache and is an origin like any other, in a process
of its own.
"""
