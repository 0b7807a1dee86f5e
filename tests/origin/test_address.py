"""Addresses: what can be configured, and that everything else is refused when it is."""

from __future__ import annotations

import pytest

from edgecache.errors import ConfigError
from edgecache.origin.address import Address, directory_of, parse_address
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
        "file:",
        "file:dist",
        "file://dist",
        "file://localhost/srv/dist",
        "file://./dist",
        "file:/",
        "file:///",
        "file:////",
        "file:///srv?q",
        "file:///srv/#f",
        "file:///srv%00",
        "file:///srv\n",
        "file:///srv\t/dist",
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


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("file:///srv/dist", "/srv/dist"),
        ("file:///srv/dist/", "/srv/dist"),
        ("file:/srv/dist", "/srv/dist"),
        ("FILE:///srv/dist", "/srv/dist"),
        ("file:////srv", "/srv"),
        ("file:///srv/a%20b%3Fc", "/srv/a b?c"),
        ("file:///srv/caf%C3%A9", "/srv/caf\u00e9"),
        ("file:///srv/caf\u00e9", "/srv/caf\u00e9"),
        ("file:///srv/%ff", "/srv/\udcff"),
        ("file:///srv/a:b@c", "/srv/a:b@c"),
    ],
)
def test_directories(url: str, directory: str) -> None:
    assert parse_address(url) == Address(url, directory=directory)
    assert directory_of([url]) == directory


def test_a_directory_is_an_origin_by_itself() -> None:
    assert directory_of([]) is None
    assert directory_of(["http://a", "unix:/b"]) is None
    for urls in (["file:///a", "file:///b"], ["file:///a", "http://b"], ["http://b", "file:///a"]):
        with pytest.raises(ConfigError) as caught:
            directory_of(urls)
        assert 'urls = ["file:///a"]' in caught.value.hint
