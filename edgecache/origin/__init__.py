"""Where responses come from. The engine knows ``base`` only; ``app`` makes an ``Upstreams`` from settings.

=============  =======================================================================================
module         what it knows
=============  =======================================================================================
base           the contract: send a head and a body, get a head and a stream
settings       what an operator may say
address        where a server is; TLS
wire           heads as bytes: written so that they are one request, read so that they are one response
framing        where a body ends
inflow         bytes received and not yet taken, bounded
connection     one connection, one exchange at a time
response       what the caller holds: the body, or the tunnel
pool           connections kept, opened and counted
health         whether to trust a server, whether to retry
server         one address, its pool, its health
upstreams      several servers: choice and retry
=============  =======================================================================================

Everything that an origin does wrong is an ``OriginError``; a response that could be read in two ways is
one of those things. No byte reaches anybody but the exchange it was sent for.
"""
