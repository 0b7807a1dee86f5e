"""The others: nginx, Varnish and HAProxy from Debian's packages, each as cheap as its own documentation makes it.

What all of them have in common: one worker (or as many as the case says), connections kept open to clients and to the
origin, no log unless the case has one, what is stored in memory (for nginx: files in memory), and room for more than is
asked for.
"""

from __future__ import annotations

import os
import re
from typing import ClassVar, Final

from benchmarks.processes import Failed
from benchmarks.servers import Need, Server, exchange, first_line, is_program, located

__all__ = ["PEERS", "HAProxy", "Nginx", "Varnish"]

_MIB: Final = 1024 * 1024
_KIB: Final = 1024
_WITHOUT_LENGTH: Final = "  http-after-response del-header content-length if { status 304 }"
"""HAProxy tells the length that a 200 would have (RFC 9110 §8.6 lets it), and wrk waits for the content."""

_MANY: Final = 1_000_000_000
"""Requests on one connection: more than there are."""


class Nginx(Server):
    """``proxy_cache``. Its files are in memory; their descriptors are kept open, and ``sendfile`` is left off, because
    to hand over pages one by one costs more than to copy them until bodies are large.
    """

    NAME = "nginx"
    PACKAGE = "nginx"
    LACKS = frozenset({Need.PURGE, Need.SECOND_TIER})
    SENDFILE_FROM: ClassVar[int] = 64 * _KIB

    @classmethod
    def missing(cls) -> str:
        return "" if is_program("nginx") else "apt install nginx"

    @classmethod
    def version(cls) -> str:
        return first_line(located("nginx"), "-v").partition("version: ")[2]

    def command(self) -> list[str]:
        path = self.setup.directory / "nginx.conf"
        path.write_text(self._configuration())
        return [located("nginx"), "-c", str(path), "-p", str(self.setup.directory), "-e", str(self.log)]

    def stored_bytes(self) -> int:
        root = self.setup.directory / "cache"
        return sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())

    def _configuration(self) -> str:
        setup = self.setup
        log = f"{setup.directory}/access.log combined buffer=64k flush=1s" if setup.access_log else "off"
        listen = f"127.0.0.1:{self.port} backlog=4096"
        tls = ""
        if setup.certificate is not None:
            listen += " ssl"
            tls = f"ssl_certificate {setup.certificate}; ssl_certificate_key {setup.certificate};"
        sendfile = "on" if setup.largest >= self.SENDFILE_FROM else "off"
        return f"""
{"user root;" if os.getuid() == 0 else ""}
daemon off; worker_processes {setup.workers}; pid {setup.directory}/nginx.pid; worker_rlimit_nofile 65536;
events {{ worker_connections 8192; multi_accept on; use epoll; }}
http {{
  access_log {log}; server_tokens off; sendfile {sendfile}; sendfile_max_chunk 2m; tcp_nopush on; tcp_nodelay on;
  keepalive_requests {_MANY}; keepalive_timeout 300s; reset_timedout_connection on; output_buffers 2 128k;
  open_file_cache max=200000 inactive=300s; open_file_cache_valid 300s;
  client_body_temp_path {setup.directory}/body; proxy_temp_path {setup.directory}/temp;
  fastcgi_temp_path {setup.directory}/f; uwsgi_temp_path {setup.directory}/u; scgi_temp_path {setup.directory}/s;
  proxy_cache_path {setup.directory}/cache levels=1:2 keys_zone=c:128m max_size={setup.memory // _MIB}m inactive=1d
    use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{setup.origin}; keepalive 1024; keepalive_requests {_MANY}; }}
  server {{
    listen {listen}; {tls}
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_buffers 8 16k;
      proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_cache c; proxy_cache_key $http_host$request_uri; add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""


class Varnish(Server):
    """``malloc`` storage, one pool of threads, and no opinion about cookies: what the origin calls public is shared."""

    NAME = "varnish"
    PACKAGE = "varnish"
    LACKS = frozenset({Need.TLS, Need.SECOND_TIER})

    @classmethod
    def missing(cls) -> str:
        return "" if is_program("varnishd") else "apt install varnish"

    @classmethod
    def version(cls) -> str:
        said = first_line(located("varnishd"), "-V")
        found = re.search(r"varnish-([\d.]+)", said)
        return f"varnish/{found[1]}" if found else said

    def command(self) -> list[str]:
        setup = self.setup
        path = setup.directory / "edge.vcl"
        path.write_text(self._configuration())
        parameters = {
            "thread_pools": 1, "thread_pool_min": 100 * setup.workers, "thread_pool_max": 2000, "timeout_idle": 300,
            "default_grace": 0, "default_keep": 0, "listen_depth": 4096, "http_max_hdr": 64,
        }  # fmt: skip
        options = [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
        jail = ["-j", "none"] if os.getuid() == 0 else []
        return [
            *(located("varnishd"), *jail, "-F", "-f", str(path), "-n", str(setup.directory / "varnish")),
            *("-a", f"127.0.0.1:{self.port}", "-T", "none", "-s", f"malloc,{setup.memory // _MIB}m", *options),
        ]

    def companions(self) -> list[list[str]]:
        if not self.setup.access_log:
            return []
        directory = self.setup.directory
        return [[located("varnishncsa"), "-n", str(directory / "varnish"), "-w", str(directory / "access.log")]]

    def purge(self, tag: str) -> None:
        if exchange(self.port, "BAN", "/", {"Host": "bench.example", "X-Tag": tag}) != 200:
            raise Failed(f"{self.NAME} refused a ban")

    def _configuration(self) -> str:
        return f"""
vcl 4.1;
import std;
backend origin {{ .host = "127.0.0.1"; .port = "{self.setup.origin}"; }}
sub vcl_recv {{
  if (req.method == "BAN") {{
    if (std.ban("obj.http.Surrogate-Key ~ (^|\\s)" + req.http.X-Tag + "(\\s|$)")) {{ return (synth(200)); }}
    return (synth(400));
  }}
  if (req.method == "GET" || req.method == "HEAD") {{ return (hash); }}
}}
sub vcl_backend_response {{
  if (beresp.http.Cache-Control ~ "no-store") {{
    set beresp.uncacheable = true; set beresp.ttl = 120s; return (deliver);
  }}
}}
sub vcl_deliver {{ set resp.http.X-Cache = obj.hits; }}
"""


class HAProxy(Server):
    """Its small-object cache, in blocks of 1 KiB of shared memory. By default it keeps nothing that is larger than a
    256th of that, and nothing for longer than a minute, so both are said.
    """

    NAME = "haproxy"
    PACKAGE = "haproxy"
    LACKS = frozenset({Need.RANGE, Need.PURGE, Need.SECOND_TIER})
    GROWS = False

    @classmethod
    def missing(cls) -> str:
        return "" if is_program("haproxy") else "apt install haproxy"

    @classmethod
    def version(cls) -> str:
        found = re.search(r"version (\d[\d.]+)", first_line(located("haproxy"), "-v"))
        return f"haproxy/{found[1]}" if found else "haproxy"

    def command(self) -> list[str]:
        path = self.setup.directory / "haproxy.cfg"
        path.write_text(self._configuration())
        return [located("haproxy"), "-db", "-f", str(path)]

    def _configuration(self) -> str:
        setup = self.setup
        megabytes = min(setup.memory // _MIB, 4095)
        largest = min(setup.largest + 8 * _KIB, megabytes * _MIB // 2)
        tls = f" ssl crt {setup.certificate} alpn http/1.1" if setup.certificate is not None else ""
        return f"""
global
  nbthread {setup.workers}
  maxconn 8192
{"  log stdout format raw local0" if setup.access_log else ""}
defaults
  mode http
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  http-reuse always
{"  log global" if setup.access_log else ""}
{"  option httplog" if setup.access_log else ""}
cache c
  total-max-size {megabytes}
  max-object-size {largest}
  max-age 3600
  process-vary on
frontend f
  bind 127.0.0.1:{self.port} backlog 4096{tls}
{_WITHOUT_LENGTH if setup.conditional else ""}
  default_backend b
backend b
  http-request cache-use c
  http-response cache-store c
  server origin 127.0.0.1:{setup.origin} pool-max-conn -1
"""


PEERS: Final[tuple[type[Server], ...]] = (Nginx, Varnish, HAProxy)
"""In the order of the table."""
