"""The configuration: what it amounts to, what wins, and what is said about mistakes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecache.edges import access_log
from edgecache.edges.config import DEFAULT_SOURCE, GROUPS, TABLES, Config, Log, Origin, dump, settings, table_of
from edgecache.edges.config_load import ConfigMistakes, load
from edgecache.edges.settings import ServerSettings
from edgecache.edges.tokens import Scope, Token
from edgecache.errors import ConfigError
from edgecache.origin.settings import OriginSettings
from edgecache.purging.selector import Kind
from edgecache.semantics import policy
from tests.edges.configured import SMALL, mistakes, written

DIGEST = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"


# What it amounts to.


def test_the_smallest_file_is_an_origin_and_defaults(tmp_path: Path) -> None:
    config = load(written(tmp_path, SMALL))
    assert config.cache.policy() == policy.DEFAULT
    assert config.server.settings() == ServerSettings()
    assert config.origin.settings() == OriginSettings(urls=("http://127.0.0.1:8000",))


def test_units_are_read(tmp_path: Path) -> None:
    text = (
        SMALL + 'connect_timeout = "500ms"\n[cache]\nmemory = "1g"\nmax_object = "10MB"\nkeep = "1h30m"\ngrace = 2.5\n'
    )
    config = load(written(tmp_path, text))
    assert (config.cache.memory, config.cache.max_object) == (2**30, 10_000_000)
    assert (config.origin.connect_timeout, config.cache.keep, config.cache.grace) == (0.5, 5400.0, 2.5)


def test_a_later_source_wins_and_each_value_knows_its_source(tmp_path: Path) -> None:
    path = written(tmp_path, '[cache]\nmemory = "2MiB"\ngrace = 1\nkeep = 1\n' + SMALL)
    config = load(
        path,
        environ={
            "EDGECACHE_CACHE_MEMORY": "3MiB",
            "EDGECACHE_CACHE_GRACE": "2s",
            "EDGECACHE_LOG_LEVEL": "",
            "PATH": "/bin",
        },
        flags={("cache", "memory"): ("--memory", "4MiB"), ("origin", "urls"): ("--to", ("http://a", "http://b"))},
    )
    assert (config.cache.memory, config.cache.grace, config.cache.keep) == (4 * 2**20, 2.0, 1.0)
    assert config.origin.urls == ("http://a", "http://b")
    assert config.sources == {
        "cache.memory": "--memory",
        "cache.grace": "EDGECACHE_CACHE_GRACE",
        "cache.keep": f"{path}:4",
        "origin.urls": "--to",
    }


def test_the_environment_alone_is_enough() -> None:
    config = load(
        environ={
            "EDGECACHE_ORIGIN_URLS": "http://a:8000, http://b:8000",
            "EDGECACHE_ORIGIN_MAX_CONNECTIONS": "7",
            "EDGECACHE_CACHE_HONOUR_RELOAD": "no",
            "EDGECACHE_CACHE_HEURISTIC_FRACTION": "0.25",
        }
    )
    assert config.origin.urls == ("http://a:8000", "http://b:8000")
    assert config.origin.max_connections == 7
    assert not config.cache.honour_reload
    assert config.cache.heuristic_fraction == 0.25


def test_what_kubernetes_puts_into_the_environment_is_no_mistake() -> None:
    load(
        environ={
            "EDGECACHE_ORIGIN_URLS": "http://a",
            "EDGECACHE_ADMIN_PORT": "tcp://10.0.0.1:8081",
            "EDGECACHE_ADMIN_SERVICE_HOST": "10.0.0.1",
            "EDGECACHE_ADMIN_SERVICE_PORT_HTTP": "8081",
            "EDGECACHE_ADMIN_PORT_8081_TCP_ADDR": "10.0.0.1",
            "EDGECACHE_TOKEN": "not ours to read",
        }
    )


@pytest.mark.parametrize(
    ("host", "sent"), [("keep", None), ("origin", "app.example:8000"), ("WWW.example.org", "www.example.org")]
)
def test_which_host_the_origin_is_sent(host: str, sent: str | None) -> None:
    environ = {"EDGECACHE_ORIGIN_URLS": "http://app.example:8000", "EDGECACHE_ORIGIN_HOST": host}
    assert load(environ=environ).origin.settings().host == sent


def test_tokens_have_names_and_scopes(tmp_path: Path) -> None:
    text = (
        f'{SMALL}[tokens.shop]\nsha256 = "{DIGEST}"\nhosts = ["Shop.example:80", "*.shop.example"]\n'
        'tag_prefixes = ["product:"]\nkinds = ["tag", "url"]\nsoft_only = true\nrate = 60\n'
        f'[tokens]\nroot = {{ sha256 = "{"0" * 64}", all = true, deploy = true }}\n'
    )
    config = load(written(tmp_path, text), environ={"EDGECACHE_TOKENS_SHOP_ALL": "true"})
    kinds = frozenset({Kind.TAG, Kind.URL})
    assert config.granted() == [
        Token("shop", DIGEST.lower(), Scope(("shop.example", "*.shop.example"), ("product:",), kinds, True, rate=60)),
        Token("root", "0" * 64, Scope(all=True, deploy=True)),
    ]
    assert config.sources["tokens.shop.rate"] == f"{tmp_path}/edgecache.toml:9"
    assert config.tokens["root"].hosts == ()
    again = load(written(tmp_path, dump(config)))
    assert again.tokens == config.tokens


# Mistakes.

LINE_MISTAKES = [
    ('[cahe]\nmemory = 1', 3, 1, "unknown table [cahe]", "did you mean [cache]?"),
    ('[cache]\nmemroy = "1GiB"', 4, 1, "unknown key memroy in [cache]", "did you mean memory?"),
    ('[server]\nmemory = "1GiB"', 4, 1, "unknown key memory in [server]", "memory belongs to [cache]"),
    ('[cache]\nfrobnicate = 1', 4, 1, "unknown key frobnicate in [cache]", "[cache] knows memory, "),
    ('[cache]\nmemory = "lots"', 4, 10, 'memory: "lots" is not a size', "units are KiB"),
    ('[cache]\nmemory = 1000', 4, 10, 'memory: 1000 is less than "1MiB"', 'memory = "256MiB"'),
    ('[cache]\neviction = "arc"', 4, 12, 'eviction: "arc" is none of lru, lfu, fifo, s3fifo', 'eviction = "lru"'),
    ('[cache]\ngrace = "5 minutes"', 4, 9, 'grace: "5 minutes" is not a duration', "as in 30s or 1h30m"),
    ('[cache]\ngrace = -1', 4, 9, 'grace: "-1s" is less than "0s"', 'grace = "30s"'),
    ('[cache]\ngrace = inf', 4, 9, "grace: Infinity is not a duration", 'grace = "30s"'),
    ('[cache]\ngrace = "99w99999d"', 4, 9, 'is more than "3650d"', 'grace = "30s"'),
    ('[cache]\nname = "my cache"', 4, 8, 'name: "my cache" is not a token', "RFC 9110 §5.6.2"),
    ('[cache]\nmax_variants = "8"', 4, 16, 'max_variants: "8" is not a whole number', "max_variants = 64"),
    ('[cache]\nhonour_reload = "yes"', 4, 17, 'honour_reload: "yes" is neither true nor false', "without quotes"),
    ('[cache]\nheuristic_fraction = 10', 4, 22, "heuristic_fraction: 10.0 is more than 1", "heuristic_fraction = 0.1"),
    ('[server]\nlisten = 8080', 4, 10, "listen: 8080 is not a text", "double quotes"),
    ('[server]\nlisten = "8080"', 4, 10, 'listen: "8080" is not HOST:PORT', 'write "127.0.0.1:8080"'),
    ('[server]\nlisten = ":8080"', 4, 10, 'listen: ":8080" names no interface', "* for every one"),
    ('[server]\nlisten = "::1:8080"', 4, 10, 'listen: "::1:8080" is not HOST:PORT', "[::1]:8080"),
    ('[server]\nlisten = "[::g]:80"', 4, 10, "holds no IPv6 address", "HOST:PORT"),
    ('[server]\nlisten = "a:70000"', 4, 10, "port 70000 is more than 65535", "HOST:PORT"),
    ('[server]\nlisten = "unix:run.sock"', 4, 10, "names no socket", "absolute path"),
    ('[server]\nlisten = "127.0.0.1:8081"', 4, 10, "both listen on 127.0.0.1:8081", "another port"),
    ('[server]\ntls_key = "key.pem"', 4, 11, "tls_key is given without tls_cert", "add tls_cert to [server]"),
    ('[server]\ntrusted_peers = ["10.0.0.1/8"]', 4, 18, "is not an address or a network", 'write "10.0.0.0/8"'),
    ('[server]\ntrusted_peers = "10.0.0.0/8"', 4, 17, "trusted_peers: not a list", 'trusted_peers = ["10.0.0.0/8"]'),
    ('[server]\ndefault_authority = "a b"', 4, 21, "holds no host name", "a host name with or without a port"),
    ('[log]\naccess = "fancy"', 4, 10, 'access: "fancy" is none of common, ', "expected one of common, "),
    ('[log]\nlevel = ""', 4, 9, 'level: "" is none of debug, ', 'level = "info"'),
    ('[log]\nfile = ""', 4, 8, "is empty or not printable", 'file = "access.log"'),
    ('[token.ci]\nall = true', 3, 1, "unknown table [token]", "did you mean [tokens.NAME]?"),
    ('[[tokens]]\nsha256 = ""', 3, 1, "tokens are tables with names", "[tokens.NAME]"),
    ('[tokens]', 3, 1, "tokens are tables with names", "[tokens.NAME]"),
    ('[tokens]\nci = 5', 4, 6, "tokens.ci is a table", "[tokens.NAME]"),
    ('[tokens."a.b"]\nall = true', 3, 1, '"a.b" is not a name', "letters, digits"),
    ('[tokens.ci]\nall = true', 3, 1, "[tokens.ci] has no sha256", "sha256sum"),
    (f'[tokens.ci]\nsha256 = "{DIGEST}"', 3, 1, "[tokens.ci] may purge nothing", "all = true"),
    (f'[tokens.ci]\nsha256 = "{DIGEST}"\nhosts = ["a b"]', 5, 10, "is not a host or a pattern", "*.example.org"),
    (f'[tokens.ci]\nsha256 = "{DIGEST}"\nhosts = ["a", "**"]', 5, 15, "is not a host or a pattern", "*.example.org"),
    (f'[tokens.ci]\nsha256 = "{DIGEST}"\ntag_prefixes = [""]', 5, 17, "is empty", 'tag_prefixes = ["product:"]'),
    (f'[tokens.ci]\nsha256 = "{DIGEST}"\nall = true\nkinds = ["tags"]', 6, 10, '"tags" is none of url', "kinds = "),
    (f'[tokens.ci]\nsha256 = "{DIGEST}"\nall = true\nrate = -1', 6, 8, "rate: -1 is less than 0", "rate = 60"),
    (f'[tokens.ci]\nsha256 = "{DIGEST}"\nhosts = ["a"]\nall = true', 5, 9, "all = true lifts hosts", "leave one"),
    ('[server]\nworkers = 0', 4, 11, "workers: 0 is less than 1", "workers = 4"),
    ('[server]\nworkers = 1000', 4, 11, "workers: 1000 is more than 256", "workers = 4"),
    ('[server]\nworkers = 2', 4, 11, "several workers need a Redis server", "--redis embedded or --redis URL"),
    ('[redis]\nlease = 0.5', 4, 9, 'lease: 0.5 is less than "1s"', 'lease = "10s"'),
    ('[redis]\nlease = "2m"', 4, 9, 'lease: "2m" is more than "1m"', 'lease = "10s"'),
    ('[redis]\nbudget = "4ms"', 4, 10, "budget: 0.004 is less than 0.005", 'budget = "50ms"'),
    ('[redis]\nbudget = 2', 4, 10, 'budget: "2s" is more than "1s"', 'budget = "50ms"'),
    ('[redis]\nconnections = 0', 4, 15, "connections: 0 is less than 1", "connections = 32"),
    ('[redis]\nwrite_behind = 1', 4, 16, 'write_behind: 1 is less than "1MiB"', 'write_behind = "32MiB"'),
    ('[redis]\nfill_lock = "2m"', 4, 13, 'fill_lock: "2m" is more than "1m"', 'fill_lock = "2s"'),
    ('[redis]\nmemory = "1MiB"', 4, 10, 'memory: "1MiB" is less than "16MiB"', 'memory = "256MiB"'),
    ('[redis]\nnamespace = "a:b"', 4, 13, "namespace: not a name that keys can", "letters, digits, _ . -"),
    ('[[log]]\nfile = "-"', 3, 1, "log is a table", "write [log] on a line of its own"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "message", "hint"), LINE_MISTAKES)
def test_a_mistake_has_a_place_a_reason_and_a_remedy(
    tmp_path: Path, text: str, line: int, column: int, message: str, hint: str
) -> None:
    (mistake,) = mistakes(tmp_path, f"{SMALL}{text}\n")
    assert mistake.where == f"{tmp_path}/edgecache.toml:{line}:{column}"
    assert message in mistake.message
    assert hint in mistake.hint
    shown, carets = mistake.line.split("\n")
    assert shown == f"{SMALL}{text}".split("\n")[line - 1]
    assert carets.index("^") == column - 1


ORIGIN_MISTAKES = [
    ("", "no origin is given", 'urls = ["http://127.0.0.1:8000"]'),
    ("[origin]\nurls = []\n", "no origin is given", 'urls = ["http://127.0.0.1:8000"]'),
    ('[origin]\nurls = ["127.0.0.1:8000"]\n', "unknown kind of origin", "http://host:port"),
    ('[origin]\nurls = ["ftp://a"]\n', "unknown kind of origin", "http://host:port"),
    ('[origin]\nurls = ["http://a/b"]\n', "an origin has no path", "http://host:port"),
    ('[origin]\nurls = ["http://a?b"]\n', "no query", "http://host:port"),
    ('[origin]\nurls = ["http://me@a"]\n', "no user name", "http://host:port"),
    ('[origin]\nurls = ["http://a", "http://b"]\nhost = "origin"\n', "not one name", 'host = "keep"'),
    ('[origin]\nurls = ["unix:/a"]\nhost = "origin"\n', "not one name", 'host = "keep"'),
    ('[origin]\nurls = ["http://a"]\nkey_file = "key"\n', "key_file is given without cert_file", "add cert_file"),
    ('[origin]\nurls = ["file://dist"]\n', "not the path of a directory on this machine", "file:///srv/dist"),
    ('[origin]\nurls = ["file:dist"]\n', "not the path of a directory on this machine", "file:///srv/dist"),
    ('[origin]\nurls = ["file:///"]\n', "the whole file system", "file:///srv/dist"),
    ('[origin]\nurls = ["file:///a?b"]\n', "no query", "file:///path"),
    ('[origin]\nurls = ["file:///a", "file:///b"]\n', "the only origin", 'urls = ["file:///a"]'),
    ('[origin]\nurls = ["http://b", "file:///a"]\nhost = "origin"\n', "the only origin", 'urls = ["file:///a"]'),
]


@pytest.mark.parametrize("more", ["", 'host = "origin"\n', 'host = "www.example.org"\n', "keepalive = 0\n"])
def test_to_a_directory_no_other_setting_means_anything(tmp_path: Path, more: str) -> None:
    config = load(written(tmp_path, f'[origin]\nurls = ["file:///srv/my%20dist"]\n{more}'))
    assert config.origin.directory == "/srv/my dist"
    assert config.origin.settings().urls == ("file:///srv/my%20dist",)
    assert load(written(tmp_path, dump(config))).origin == config.origin


def test_servers_are_no_directory() -> None:
    assert load(environ={"EDGECACHE_ORIGIN_URLS": "http://a,http://b"}).origin.directory is None


@pytest.mark.parametrize(("text", "message", "hint"), ORIGIN_MISTAKES)
def test_a_mistake_about_the_origin(tmp_path: Path, text: str, message: str, hint: str) -> None:
    (mistake,) = mistakes(tmp_path, text)
    assert message in mistake.message
    assert hint in mistake.hint


def test_every_mistake_is_told_in_the_order_of_the_file_then_the_environment(tmp_path: Path) -> None:
    text = 'grace = 1\n[server]\nlisten = "x"\nlistn = 1\n[cache]\nkeep = true\n[origin]\nurls = ["a", 5]\n'
    found = mistakes(tmp_path, text, EDGECACHE_CACHE_GRACE="x", EDGECACHE_CACHE_GRASE="1")
    assert [mistake.where.rpartition(".toml")[2] or mistake.where for mistake in found] == [
        ":1:1",
        ":3:10",
        ":4:1",
        ":6:8",
        ":8:9",
        ":8:14",
        "environment variable EDGECACHE_CACHE_GRACE",
        "environment variable EDGECACHE_CACHE_GRASE",
    ]


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("[server\nlisten = 1", ":1:8", "expected ']'", ""),
        ("[server]\nlisten = 127.0.0.1:8080", ":2:", "not TOML: ", ""),
        ("[server]\nlisten = localhost", ":2:10", "invalid value", "double quotes"),
        ("[cache]\ngrace = 1\ngrace = 2\n", ":3:10", "cannot overwrite a value", "once"),
        ("a = [1", ":1:7", "unclosed array", ""),
        (f"a = {'[' * 5000}", ":1:", "nested", ""),
        (f"a = 1{'0' * 5000}", ":1:", "digits", ""),
    ],
)
def test_what_is_no_toml_is_shown_where_reading_stopped(
    tmp_path: Path, text: str, where: str, message: str, hint: str
) -> None:
    (mistake,) = mistakes(tmp_path, text)
    assert where in mistake.where
    assert message in mistake.message
    assert hint in mistake.hint
    assert mistake.line.split("\n")[0] in text


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigMistakes, match="No such file"):
        load(str(tmp_path / "absent.toml"))
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigMistakes, match="byte 5 is not UTF-8"):
        load(str(tmp_path / "latin.toml"))


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode() + b"[cahe]\r\n")
    with pytest.raises(ConfigMistakes) as caught:
        load(str(path))
    (mistake,) = caught.value.mistakes
    assert (mistake.where, mistake.line) == (f"{path}:3:1", "[cahe]\n^^^^^^")


def test_a_line_too_long_for_a_terminal_is_cut(tmp_path: Path) -> None:
    long = "x" * 1000
    (mistake,) = mistakes(tmp_path, f'{SMALL}[cache]\nname = " {long}"\n')
    assert max(map(len, mistake.line.split("\n"))) < 200
    (mistake,) = mistakes(tmp_path, f'{SMALL}trusted = "{long}"  # {long}\n[log]\naccess = "off"')
    assert max(map(len, mistake.line.split("\n"))) < 200


# The tables themselves.


@pytest.mark.parametrize("table", [*TABLES, *(f"{group}.one" for group in GROUPS)])
def test_every_example_is_a_value(table: str, tmp_path: Path) -> None:
    contradicts = {"all"} if table.startswith("tokens.") else {"workers", "manifests"}  # those need more
    examples = {key: one.example for key, one in settings(table_of(table)).items() if key not in contradicts}
    lines = [f"{key} = {example}" for key, example in examples.items()]
    text = f"[{table}]\n" + "\n".join(lines) + "\n"
    config = load(written(tmp_path, text if table == "origin" else text + SMALL))
    assert len([source for source in config.sources if source.startswith(f"{table}.")]) == len(lines)


def test_settings_that_others_own_are_all_offered_with_their_defaults() -> None:
    offered = set(settings(TABLES["cache"])) - {"memory", "eviction", "encoded"}
    assert offered <= {field.name for field in dataclasses.fields(policy.Policy)}
    offered = set(settings(TABLES["server"])) - {"workers", "lane"}
    assert {field.name for field in dataclasses.fields(ServerSettings)} - {"reuse_port"} == offered
    assert {field.name for field in dataclasses.fields(OriginSettings)} == set(settings(TABLES["origin"]))
    formats = settings(Log)["access"].kind.noun
    assert all(name in formats for name in access_log.FORMATS)
    config = Config(origin=Origin(urls=("http://a",)))
    assert config.origin.settings() == OriginSettings(urls=("http://a",))


def test_unknown_keys_are_refused_by_the_tables_too() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"urls": ["http://a"], "url": 1}, Origin)


def test_a_dump_names_sources_and_reads_back_to_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL + 'host = "origin"\n[cache]\nmemory = "3MiB"\ngrace = 0.25\n')
    config = load(path, environ={"EDGECACHE_SERVER_TRUSTED_PEERS": "10.0.0.0/8,unix"})
    text = dump(config)
    lines = text.splitlines()
    assert any(line.startswith('memory = "3MiB"') and line.endswith(f"# {path}:5") for line in lines)
    assert any(line.endswith("# EDGECACHE_SERVER_TRUSTED_PEERS") for line in lines)
    assert any(line.startswith('listen = "127.0.0.1:8080"') and line.endswith(f"# {DEFAULT_SOURCE}") for line in lines)
    again = load(written(tmp_path, text))
    assert msgspec.structs.replace(again, sources=config.sources) == config


toml_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1m", "1MiB", "a:1", "http://a"]),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
tables = st.sampled_from([*TABLES, *GROUPS, "tokens.a", 'tokens."b.c"', "x"])
names = st.sampled_from([*TABLES, *(key for one in (*TABLES.values(), *GROUPS.values()) for key in settings(one)), "x"])


@given(st.dictionaries(tables | names, st.dictionaries(names, toml_values, max_size=4), max_size=4))
def test_any_values_load_or_are_mistakes(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, dict[str, object]]
) -> None:
    lines = []
    for table, pairs in tree.items():
        lines.append(f"[{table}]")
        lines += [
            f"{key} = {json.dumps(value).replace('NaN', 'nan').replace('Inf', 'inf')}" for key, value in pairs.items()
        ]
    path = written(tmp_path_factory.mktemp("any"), "\n".join(lines))
    assert all(mistake.message and mistake.where for mistake in mistakes_or_none(path))


def mistakes_or_none(path: str) -> tuple[ConfigError, ...]:
    try:
        load(path)
    except ConfigMistakes as error:
        return error.mistakes
    return ()
