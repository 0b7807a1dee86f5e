"""HTTP's words: values in, values out. No clock, no I/O, and no opinion about caching.

Nothing here raises on what the network sent: a value that does not follow its grammar is None, absent, or what
its section of the RFC says about invalid ones. Field values are ``str`` holding one byte per character
(``message``).

=================  ======================================  ====================================================
module             specification                           what it knows
=================  ======================================  ====================================================
message            RFC 9110 §5-6, RFC 9112 §2-5            heads as immutable values, and as bytes
fields             RFC 9110 §5.6, §7.6.1, §8.8.3           lists, tokens, dates, entity tags, connection fields
cache_control      RFC 9111 §5.2, RFC 9213, W3C edge-arch  directives of responses and requests
conditional        RFC 9110 §13, §15.4.5                   preconditions a cache evaluates; what a 304 carries
ranges             RFC 9110 §14, §13.1.5                   Range, Content-Range, If-Range, multipart/byteranges
negotiation        RFC 9110 §12.5, RFC 9111 §4.1           selecting fields brought to one spelling per meaning
cache_status       RFC 9211                                one member of Cache-Status
memo               -                                       bounded memory for parsers of short values
=================  ======================================  ====================================================
"""
