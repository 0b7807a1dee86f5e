"""Where responses come from. The engine knows ``base`` only; ``app`` makes an origin from settings (``choice``).

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
files          a directory instead of servers: files, their codings, entity tags and ranges
file_paths     which names a request target stands for
file_tree      files below a root, and nothing else
open_file      one version of a file, and its bytes
file_response  conditions and ranges of a file; its body
entity_tags    tags made of content, once per version
media_types    which Content-Type a name has
choice         which of the two kinds it is
=============  =======================================================================================

Everything that an origin does wrong is an ``OriginError``; a response that could be read in two ways is
one of those things. No byte reaches anybody but the exchange it was sent for.
"""
