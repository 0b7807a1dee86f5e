"""``[redis]``: its defaults, its URLs, what belongs together, and that nobody is shown a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges.config import Redis, dump
from edgecache.edges.config_load import ConfigMistakes, load
from edgecache.edges.config_redis import (
    EMBEDDED,
    HIDDEN,
    MAX_ENCRYPTION_KEYS,
    MIN_SECRET,
    NAMESPACE,
    REDIS,
    SECRET,
    without_password,
)
from edgecache.edges.config_values import Unreadable
from edgecache.errors import ConfigError
from edgecache.redis_client import connect
from edgecache.stores import seal
from edgecache.stores.redis_layout import Names
from tests.edges.configured import SMALL, mistakes, written

WORD = "open-sesame"
LONG_WORD = f"{WORD}-and-more"


# What it amounts to.


def test_without_a_url_there_is_no_redis_and_the_rest_has_defaults(tmp_path: Path) -> None:
    config = load(written(tmp_path, SMALL))
    assert (config.redis.url, config.redis.secret, config.redis.encryption_keys) == (None, None, ())
    assert (config.redis.namespace, config.redis.lease, config.redis.budget) == ("edgecache", 10.0, 0.05)
    assert (config.redis.connections, config.redis.write_behind) == (32, 32 * 2**20)
    assert (config.redis.fill_lock, config.redis.memory, config.server.workers) == (0.0, 256 * 2**20, 1)


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, f'{SMALL}[redis]\nurl = "redis://a:1"\nsecret = "{LONG_WORD}"\nlease = 5\n')
    environ = {
        "EDGECACHE_REDIS_URL": "rediss://:pw@b/3",
        "EDGECACHE_REDIS_SECRET": "another secret of some length",
        "EDGECACHE_REDIS_ENCRYPTION_KEYS": "the current key of these, and the previous key",
        "EDGECACHE_REDIS_PORT": "tcp://10.0.0.1:6379",  # Kubernetes, for a service called edgecache-redis
        "EDGECACHE_SERVER_WORKERS": "4",
    }
    config = load(path, environ=environ)
    assert (config.redis.url, config.redis.lease, config.server.workers) == ("rediss://:pw@b/3", 5.0, 4)
    assert config.redis.secret == "another secret of some length"
    assert config.redis.encryption_keys == ("the current key of these", "and the previous key")
    assert config.sources["redis.url"] == "EDGECACHE_REDIS_URL"
    assert config.sources["redis.lease"] == f"{path}:6"


@pytest.mark.parametrize(("lease", "used"), [("10", 2.0), ("1.5", 1.5)])
def test_the_embedded_server_s_address_takes_the_word_s_place(lease: str, used: float) -> None:
    """And as there is no network between, the lease is a short one."""
    environ = {"EDGECACHE_ORIGIN_URLS": "http://a", "EDGECACHE_REDIS_URL": EMBEDDED, "EDGECACHE_REDIS_LEASE": lease}
    config = load(environ=environ)
    assert config.redis.is_embedded
    running = config.with_redis("unix:///run/edge/redis.sock", LONG_WORD)
    assert (running.redis.url, running.redis.secret) == ("unix:///run/edge/redis.sock", LONG_WORD)
    assert (running.redis.is_embedded, running.redis.lease, running.origin) == (False, used, config.origin)
    assert config.redis.is_embedded


# URLs.

GOOD_URLS = [
    EMBEDDED,
    "redis://localhost",
    "redis://localhost:6379/",
    "redis://:pw@10.0.0.1:6379/15",
    "redis://edge:p%40ss@[::1]:6379/0",
    "rediss://edge:pw@redis.internal",
    "rediss://redis.internal:6380/1?ssl_ca_certs=/etc/ca.pem&ssl_certfile=/a&ssl_keyfile=/b",
    "unix:///run/redis.sock",
    "unix://edge:pw@/run/redis.sock?db=2",
    "redis+cluster://edge:pw@node-1:7000",
    "rediss+cluster://node-1:7000/?ssl_ca_certs=/etc/ca.pem",
    "redis+sentinel://one:26379,two:26379,[::1]:26379/mymaster",
    "redis+sentinel://edge:pw@one/mymaster/2",
    "rediss+sentinel://one,two/mymaster?ssl_ca_certs=/etc/ca.pem",
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_url(url: str) -> None:
    assert REDIS.read(url) == REDIS.read_word(url) == url


@pytest.mark.parametrize("url", [url for url in GOOD_URLS if url != EMBEDDED])
async def test_a_client_can_be_made_of_every_url(url: str) -> None:
    """All that is missing are the certificates, which are read at once."""
    if "ssl_" in url:
        with pytest.raises(ConfigError, match="certificates"):
            connect(url, connections=1, waiting=1, retries=0)
    else:
        await connect(url, connections=1, waiting=1, retries=0).aclose()


BAD_URLS = [
    ("", "not the URL of a Redis server", 'write "embedded", or a URL that begins with redis://, '),
    ("localhost:6379", "not the URL of a Redis server", "redis+sentinel://"),
    ("http://localhost:6379", "not the URL of a Redis server", "rediss://"),
    ("redis+tls://localhost", "not the URL of a Redis server", "rediss://"),
    ("Embedded", "not the URL of a Redis server", "embedded"),
    ("redis://", "of the form redis://HOST:PORT", "%2F"),
    ("redis://:6379", "of the form redis://HOST:PORT", "%2F"),
    ("redis://a:0", "of the form redis://HOST:PORT", "%2F"),
    ("redis://a:70000", "of the form redis://HOST:PORT", "%2F"),
    ("redis://a:b", "of the form redis://HOST:PORT", "%2F"),
    ("redis://*:6379", "of the form redis://HOST:PORT", "%2F"),
    ("redis://a,b", "of the form redis://HOST:PORT", "%2F"),
    ("redis://a/nine", "of the form redis://HOST:PORT", "%2F"),
    ("redis://:pa/ss@a", "of the form redis://HOST:PORT", "/ is written %2F"),
    ("redis://:pa@ss@a", "of the form redis://HOST:PORT", "@ %40"),
    ("redis://:pa#ss@a", "of the form redis://HOST:PORT", "# %23"),
    ("redis://a b", "of the form redis://HOST:PORT", ""),
    ("redis://a?password=x", "an option of a URL with redis:// that is not known", "leave out the ?"),
    ("rediss://a?ssl_cert_reqs=none", "an option", "it can have ssl_ca_certs, ssl_certfile, ssl_keyfile"),
    ("rediss://a?ssl_ca_certs=", "an option", "ssl_ca_certs"),
    ("unix://run/redis.sock", "of the form unix:///PATH", ""),
    ("unix:///run/", "of the form unix:///PATH", ""),
    ("unix:///run/redis.sock?db=two", "db is the number of a database", "unix:///PATH"),
    ("redis+cluster://a/1", "of the form redis+cluster://HOST:PORT", ""),
    ("redis+sentinel://a", "of the form redis+sentinel://HOST:PORT,HOST:PORT/SERVICE", ""),
    ("redis+sentinel://a,/mymaster", "of the form redis+sentinel://", ""),
    ("redis+sentinel://a/my master", "of the form redis+sentinel://", ""),
]


@pytest.mark.parametrize(("url", "message", "hint"), BAD_URLS)
def test_no_url(tmp_path: Path, url: str, message: str, hint: str) -> None:
    (mistake,) = mistakes(tmp_path, f"{SMALL}[redis]\nurl = {json.dumps(url)}\n")
    assert mistake.where.endswith(":4:7")
    assert message in mistake.message
    assert hint in mistake.hint


@given(
    user=st.text("abc-1", max_size=4),
    password=st.text("xyz%:!", min_size=1, max_size=8).filter(lambda text: HIDDEN not in text),
    rest=st.sampled_from(["h:1/0", "h:1,g:2/service", "[::1]", "/run/redis.sock?db=1"]),
)
def test_a_url_is_shown_without_its_password(user: str, password: str, rest: str) -> None:
    assert without_password(f"redis://{user}:{password}@{rest}") == f"redis://{user}:{HIDDEN}@{rest}"
    assert without_password(f"redis://{password.replace(':', '')}@{rest}") == f"redis://{HIDDEN}@{rest}"
    assert without_password(f"redis://{rest}") == f"redis://{rest}"


# What is right by itself, and wrong together.


def test_several_workers_need_a_server(tmp_path: Path) -> None:
    text = f'{SMALL}[server]\nworkers = 4\n[redis]\nurl = "redis://a"\n'
    assert load(written(tmp_path, text)).server.workers == 4
    (mistake,) = mistakes(tmp_path, SMALL, EDGECACHE_SERVER_WORKERS="2")
    assert mistake.where == "environment variable EDGECACHE_SERVER_WORKERS"
    assert mistake.message == "several workers need a Redis server to share purges"
    assert mistake.hint == 'write url = "embedded" under [redis], or start with --redis embedded or --redis URL'
    wrong = mistakes(tmp_path, f'{SMALL}[server]\nworkers = 4\n[redis]\nurl = "http://a"\n')
    assert ["not the URL" in one.message for one in wrong] == [True], "one mistake is told once"


def test_encryption_keys_need_a_secret_and_are_two_at_most(tmp_path: Path) -> None:
    keys = json.dumps([f"{LONG_WORD}-{number}" for number in range(3)])
    text = f"{SMALL}[redis]\nencryption_keys = {keys}\n"
    many, alone = mistakes(tmp_path, text)
    assert many.message == "more than 2 encryption_keys"
    assert alone.message == "encryption_keys are given without secret"
    assert mistakes(tmp_path, f'{text}secret = "{LONG_WORD}"\n')[0].message == many.message
    assert load(written(tmp_path, f"{SMALL}[redis]\nencryption_keys = []\n")).redis.encryption_keys == ()


# What other floors say too.


def test_a_secret_is_as_long_as_a_seal_wants_it() -> None:
    assert (MIN_SECRET, MAX_ENCRYPTION_KEYS) == (seal.MIN_SECRET, seal.MAX_ENCRYPTION_KEYS)
    for text in ("é" * 8, "a" * 16):
        seal.Seal(SECRET.read(text).encode())
    for text in ("é" * 7, "a" * 15, HIDDEN):
        with pytest.raises(Unreadable, match="fewer than 16 bytes"):
            SECRET.read(text)
    with pytest.raises(Unreadable, match="not printable"):
        SECRET.read("a line that ends here\n")


@given(st.text(max_size=70) | st.text("aZ0_.-:{}*", max_size=70))
def test_a_namespace_is_what_names_of_keys_can_begin_with(text: str) -> None:
    def taken() -> bool:
        try:
            Names(text)
        except ConfigError:
            return False
        return True

    def read() -> bool:
        try:
            NAMESPACE.read(text)
        except Unreadable:
            return False
        return True

    assert taken() == read()


# Nobody is shown a secret.


def test_a_dump_and_a_repr_hide_secrets(tmp_path: Path) -> None:
    text = (
        f'{SMALL}[redis]\nurl = "redis://edge:{WORD}@a:6379/1"\nsecret = "{LONG_WORD}-1"\n'
        f'encryption_keys = ["{LONG_WORD}-2", "{LONG_WORD}-3"]\n'
    )
    config = load(written(tmp_path, text))
    shown = dump(config)
    assert f'url = "redis://edge:{HIDDEN}@a:6379/1"' in shown
    assert f'secret = "{HIDDEN}"' in shown
    assert f'encryption_keys = ["{HIDDEN}", "{HIDDEN}"]' in shown
    assert WORD not in shown + repr(config) + str(config.redis)
    assert repr(Redis()).startswith("Redis(url=None, namespace='edgecache', secret=None, encryption_keys=()")


SECRETIVE_MISTAKES = [
    f'[redis]\nsecret = "{WORD}"',
    f'[redis]\nsecret = {WORD}',
    f'[redis]\nsecret = "{LONG_WORD}\n',
    f'[redis]\nsecret = "{LONG_WORD}" "x"',
    f'[redis]\nsecret = ["{LONG_WORD}"]',
    f'[redis]\nsecret.is = "{LONG_WORD}"',
    f'[redis]\nsecrt = "{LONG_WORD}"',
    f'[redis]\npassword = "{LONG_WORD}"',
    f'[redis]\nencryption_keys = "{LONG_WORD}"',
    f'[redis]\nencryption_keys = [\n  "{WORD}",\n]',
    f'[redis]\nencryption_keys = [\n  "{LONG_WORD}\n]',
    f'[redis]\nencryption_keys = [\n  "{LONG_WORD}1", "{LONG_WORD}2", "{LONG_WORD}3"]',
    f'[redis]\nurl = "reds://edge:{WORD}@a"',
    f'[redis]\nurl = "redis://:{WORD}/@a"',
    f'[redis]\nurl = "redis://a?password={WORD}"',
    f'[redis]\nurl = redis://:{WORD}@a',
    f'[redis\nurl = "redis://:{WORD}@a"',
    f'redis.secret = "{WORD}"',
    f'redis.encryption_keys = [\n"{WORD}",\n{WORD}]',
    f'redis = {{ secret = "{LONG_WORD}", leese = 1 }}',
    f'redis = {{ lease = 99, secret = "{LONG_WORD}" }}',
    f'redis = "redis://:{WORD}@a"',
    f'redis_url = "redis://:{WORD}@a"',
    f'secret = "{LONG_WORD}"',
    f'[[redis]]\nsecret = "{LONG_WORD}"',
    f'[tokens.ci]\nall = true\nsha256 = "{WORD}"',
    f'[tokens.ci]\nall = true\nsha256 = {WORD}',
    f'[tokens.ci]\nall = true\nsha = "{WORD}"',
    f'[tokens]\nci = "{WORD}"',
    f'tokens = "{WORD}"',
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETIVE_MISTAKES)
@pytest.mark.parametrize("first", [True, False])
def test_no_mistake_repeats_a_secret(tmp_path: Path, text: str, first: bool) -> None:
    if first:
        text = f"{text}\n{SMALL}"
    elif text.startswith("["):
        text = f"{SMALL}{text}\n"
    found = mistakes(tmp_path, text)
    assert found
    for mistake in found:
        assert WORD not in f"{mistake} {mistake.message} {mistake.hint} {mistake.line} {mistake.where}"


SECRETIVE = (
    f'[origin]\nurls = ["http://127.0.0.1:8000"]\n\n[redis]\nurl = "redis://edge:{WORD}@a:6379/1"  # here\n'
    f'secret = "{LONG_WORD}"\nencryption_keys = [\n    "{LONG_WORD}",\n    "{LONG_WORD}",\n]\nlease = 5\n\n'
    f'[tokens.ci]\nall = true\nsha256 = "{WORD}"\n\n[cache]\ngrace = 1\n'
)


@given(at=st.integers(0, len(SECRETIVE) - 1), length=st.integers(0, 2), put=st.text("a\"'[]{}=,.#\n ", max_size=2))
def test_no_slip_of_the_finger_shows_a_secret(
    tmp_path_factory: pytest.TempPathFactory, at: int, length: int, put: str
) -> None:
    text = SECRETIVE[:at] + put + SECRETIVE[at + length :]
    path = tmp_path_factory.getbasetemp() / "slip.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigMistakes) as caught:
        load(str(path))
    for mistake in caught.value.mistakes:
        shown = f"{mistake.message}{mistake.hint}{mistake.line}"
        assert not any(WORD[at : at + 6] in shown for at in range(len(WORD) - 5))


@pytest.mark.parametrize("key", ["URL", "SECRET", "ENCRYPTION_KEYS"])
def test_no_mistake_in_the_environment_repeats_a_secret(tmp_path: Path, key: str) -> None:
    (mistake,) = mistakes(tmp_path, SMALL, **{f"EDGECACHE_REDIS_{key}": WORD})
    assert WORD not in f"{mistake} {mistake.message} {mistake.hint} {mistake.line}"


def test_a_mistake_elsewhere_in_the_table_still_has_its_line(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, f'{SMALL}[redis]\nsecret = "{LONG_WORD}"\nlease = "soon"\n')
    assert mistake.line == 'lease = "soon"\n        ^^^^^^'
    (mistake,) = mistakes(tmp_path, f"{SMALL}[redis]\nlease = 5\n[cache]\ngrace = soon\n")
    assert mistake.line == "grace = soon\n        ^"
