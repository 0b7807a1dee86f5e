"""Addresses: what can be configured, and that everything else is refused when it is."""

from __future__ import annotations

import pytest

from edgecache.errors import ConfigError
from edgecache.origin.address import Address, parse_address
from edgecache.origin.settings import OriginSettings
from edgecache.origin.upstreams import Upstreams


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "path"),
    [
        ("http://10.0.0.1:8000", "10.0.0.1", 8000, False, None),
        ("http://app", "app", 80, False, None),
        ("http://app/", "app", 80, False, None),
        ("https://app.example", "app.example", 443, True, None),
        ("HTTPS://App.Example:8443", "app.example", 8443, True, None),
        ("http://[::1]:81", "::1", 81, False, None),
        ("unix:/run/app.sock", "", 0, False, "/run/app.sock"),
        ("unix:///run/app.sock", "", 0, False, "/run/app.sock"),
        ("http+unix:/run/app.sock", "", 0, False, "/run/app.sock"),
        ("http+unix://%2Frun%2Fapp.sock", "", 0, False, "/run/app.sock"),
    ],
)
def test_addresses(url: str, host: str, port: int, tls: bool, path: str | None) -> None:
    assert parse_address(url) == Address(url, host, port, tls, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app",
        "app:8000",
        "ftp://app",
        "http://",
        "http://:80",
        "http://app:0",
        "http://app:65536",
        "http://app:x",
        "http://app/base",
        "http://app/?q",
        "http://app?",
        "http://app/#f",
        "http://user@app",
        "http://user:secret@app",
        "http://a b",
        "http://a\\b",
        "http://\u00e4pp",
        "http://[::1",
        "unix:",
        "unix:app.sock",
        "unix:/a?b",
        "http+unix://app.sock",
        "unix:/a%00b",
    ],
)
def test_what_is_not_an_origin_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(url)


@pytest.mark.parametrize(
    "settings",
    [
        OriginSettings(urls=()),
        OriginSettings(urls=("http://app/x",)),
        OriginSettings(urls=("http://app",), host="a b"),
        OriginSettings(urls=("http://app",), host=""),
        OriginSettings(urls=("http://app",), host="user@app"),
        OriginSettings(urls=("https://app",), ca_file="/nonexistent.pem"),
        OriginSettings(urls=("https://app",), cert_file="/nonexistent.pem"),
    ],
    ids=repr,
)
def test_settings_that_cannot_work_are_refused_at_once(settings: OriginSettings) -> None:
    with pytest.raises(ConfigError):
        Upstreams(settings)
