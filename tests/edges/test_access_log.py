from __future__ import annotations

import json
import logging
import os
import re
import resource
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgecache.edges.access_log import FORMATS, LOG_FIELDS, LineWriter, LogStatistics, access_log
from edgecache.edges.finished import Aborted, Finished
from edgecache.engine.exchange import Exchange, Request
from edgecache.errors import ConfigError
from edgecache.http.message import RequestHead, fields_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ARRIVED = 1_763_858_400.1239  # 2025-11-23 00:40:00 UTC
ANYTHING = st.text(st.characters(max_codepoint=0xFF))

HEAD = RequestHead(
    "GET",
    "http",
    "example.com",
    "/a?b=c",
    fields_of([("Referer", "https://example.com/"), ("User-Agent", "Agent/1"), ("Cookie", "s=SECRET1")]),
)
EXCHANGE = Exchange(
    Request(HEAD),
    ARRIVED,
    result="revalidated",
    reason="validated",
    cache_status="edgecache; hit; detail=validated",
    origin_status=304,
    origin_seconds=0.0123456789,
)
FINISHED = Finished(
    exchange=EXCHANGE,
    method="GET",
    target="/a?b=c",
    authority="example.com",
    version="1.1",
    peer="192.0.2.7",
    status=200,
    bytes_sent=1024,
    seconds=0.25,
    first_byte_seconds=0.0200000001,
    aborted=Aborted.NO,
    fields=HEAD.fields,
)
REFUSED = Finished(
    exchange=None,
    method="",
    target="",
    authority="",
    version="",
    peer="192.0.2.7",
    status=400,
    bytes_sent=0,
    seconds=0.0,
    first_byte_seconds=None,
    aborted=Aborted.NO,
    fields=None,
)
COMMON = '192.0.2.7 - - [23/Nov/2025:00:40:00 +0000] "GET /a?b=c HTTP/1.1" 200 1024'


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("common", COMMON),
        ("combined", f'{COMMON} "https://example.com/" "Agent/1"'),
        ("extended", f'{COMMON} "https://example.com/" "Agent/1" revalidated validated 0.250000'),
    ],
)
def test_the_text_formats(name, line):
    assert FORMATS[name](FINISHED, ARRIVED) == line


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("common", '192.0.2.7 - - [23/Nov/2025:00:40:00 +0000] "-" 400 -'),
        ("combined", '192.0.2.7 - - [23/Nov/2025:00:40:00 +0000] "-" 400 - "-" "-"'),
        ("extended", '192.0.2.7 - - [23/Nov/2025:00:40:00 +0000] "-" 400 - "-" "-" error - 0.000000'),
    ],
)
def test_a_message_that_never_became_a_request_has_its_line_too(name, line):
    assert FORMATS[name](REFUSED, ARRIVED) == line


def test_a_json_line():
    assert json.loads(FORMATS["json"](FINISHED, ARRIVED)) == {
        "time": "2025-11-23T00:40:00.123Z",
        "peer": "192.0.2.7",
        "method": "GET",
        "authority": "example.com",
        "target": "/a?b=c",
        "version": "1.1",
        "status": 200,
        "bytes": 1024,
        "seconds": 0.25,
        "first_byte_seconds": 0.02,
        "result": "revalidated",
        "reason": "validated",
        "cache_status": "edgecache; hit; detail=validated",
        "origin_status": 304,
        "origin_seconds": 0.012346,
        "content_type": None,
        "lifetime": None,
        "referer": "https://example.com/",
        "user_agent": "Agent/1",
        "aborted": "",
    }


@pytest.mark.parametrize("finished", [FINISHED, REFUSED], ids=["answered", "refused"])
def test_a_json_line_has_the_keys_of_the_table_in_its_order(finished):
    assert list(json.loads(FORMATS["json"](finished, ARRIVED))) == [field.name for field in LOG_FIELDS]


def test_the_table_explains_each_key():
    assert all(field.unit and field.summary.endswith(".") for field in LOG_FIELDS)


@pytest.mark.parametrize("name", FORMATS)
def test_credentials_are_not_logged(name):
    fields = fields_of(
        [*FINISHED.fields.items(), ("Authorization", "Basic SECRET2"), ("Proxy-Authorization", "SECRET3")]
    )
    assert "SECRET" not in FORMATS[name](replace(FINISHED, fields=fields), ARRIVED)


@pytest.mark.parametrize(
    ("hostile", "logged"),
    [
        ('"', r"\x22"),
        ("\\", r"\x5C"),
        ("\r\n", r"\x0D\x0A"),
        ("\x1b[2J", r"\x1B[2J"),
        ("\x00\x7f", r"\x00\x7F"),
        ("caf\xc3\xa9", r"caf\xC3\xA9"),
    ],
)
def test_what_could_forge_a_line_is_escaped(hostile, logged):
    fields = fields_of([("User-Agent", hostile)])
    assert FORMATS["combined"](replace(FINISHED, fields=fields), ARRIVED).endswith(f' "{logged}"')


def hostile(method: str, target: str, referer: str, agent: str) -> Finished:
    fields = fields_of([("Referer", referer), ("User-Agent", agent)])
    return replace(FINISHED, method=method, target=target, authority=target, version=method, peer=agent, fields=fields)


def unescaped(value: str) -> str:
    return "" if value == "-" else re.sub(r"\\x(..)", lambda match: chr(int(match[1], 16)), value)


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_any_exchange_is_one_line_of_printable_ascii(method, target, referer, agent):
    for line in FORMATS.values():
        assert re.fullmatch(r"[ -~]+", line(hostile(method, target, referer, agent), ARRIVED))


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_a_json_line_gives_back_what_was_received(method, target, referer, agent):
    line = json.loads(FORMATS["json"](hostile(method, target, referer, agent), ARRIVED))
    assert (line["method"], line["target"], line["referer"], line["user_agent"]) == (method, target, referer, agent)


@given(ANYTHING.filter(bool), ANYTHING, ANYTHING.filter("-".__ne__), ANYTHING.filter("-".__ne__))
def test_a_combined_line_can_be_taken_apart_again(method, target, referer, agent):
    line = FORMATS["combined"](hostile(method, target, referer, agent), ARRIVED)
    parts = re.fullmatch(r'.* - - \[[^]]*\] "([^"]*)" 200 1024 "([^"]*)" "([^"]*)"', line)
    assert parts is not None
    assert unescaped(parts[1]) == f"{method} {target} HTTP/{method}"
    assert unescaped(parts[2]) == referer
    assert unescaped(parts[3]) == agent


def test_lines_are_written_in_order_and_dated_by_their_request(tmp_path):
    writer = LineWriter(str(tmp_path / "access.log"))
    log = access_log(writer, "common", now=lambda: ARRIVED + 60)
    log(replace(FINISHED, seconds=60.0))
    log(replace(FINISHED, seconds=0.0, status=404))
    assert writer.close()
    first, second = (tmp_path / "access.log").read_text().splitlines()
    assert first == COMMON
    assert second == COMMON.replace("00:40:00", "00:41:00").replace(" 200 ", " 404 ")
    assert writer.statistics() == LogStatistics(2, 0, 0, 0)


def test_a_file_is_appended_to_and_not_for_everybody_to_read(tmp_path):
    path = tmp_path / "access.log"
    for line in "ab":
        writer = LineWriter(str(path))
        writer.write(line)
        assert writer.close()
    assert path.read_text() == "a\nb\n"
    assert path.stat().st_mode & 0o007 == 0


def test_standard_output(capfd):
    writer = LineWriter("-")
    writer.write("a line")
    writer.reopen()
    assert writer.close()
    assert capfd.readouterr().out == "a line\n"


def test_a_place_that_cannot_be_written_to_is_a_mistake_in_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory") as caught:
        LineWriter(str(tmp_path / "missing" / "access.log"))
    assert caught.value.hint


def test_after_a_rotation_lines_go_to_the_new_file(tmp_path):
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    writer = LineWriter(str(path))
    writer.write("before")
    path.rename(rotated)
    writer.reopen()
    writer.write("after")
    assert writer.close()
    assert path.read_text().splitlines()[-1] == "after"
    assert sorted((rotated.read_text() + path.read_text()).split()) == ["after", "before"]


def test_a_rotation_that_fails_keeps_the_old_file(tmp_path, caplog):
    directory = tmp_path / "logs"
    directory.mkdir()
    writer = LineWriter(str(directory / "access.log"))
    directory.rename(tmp_path / "moved")
    writer.reopen()
    writer.write("a line")
    assert writer.close()
    assert (tmp_path / "moved" / "access.log").read_text() == "a line\n"
    assert "cannot be reopened" in caplog.text


@pytest.fixture
def pipe(tmp_path):
    """A pipe that somebody holds open and does not read: its path, and the reading end."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    yield path, reader
    os.close(reader)


def drain(reader: int) -> list[bytes]:
    content = bytearray()
    while piece := os.read(reader, 65536):
        content += piece
    return content.splitlines()


def test_a_blocked_pipe_drops_lines_and_counts_them(pipe):
    path, reader = pipe
    writer = LineWriter(path, max_lines=1000)
    written = 20_000  # 2 MB, where a pipe holds 64 KiB, the thread 1000 lines and the queue 1000 more
    for number in range(written):
        writer.write(f"{number:099d}")
    dropped = writer.statistics().dropped_full
    assert 0 < dropped < written
    lines: list[bytes] = []
    reading = threading.Thread(target=lambda: lines.extend(drain(reader)))
    reading.start()
    assert writer.close(timeout=30)
    reading.join()
    assert len(lines) == written - dropped == writer.statistics().written
    assert [int(line) for line in lines] == sorted(int(line) for line in lines)


def test_lines_of_two_writers_stay_whole_in_one_pipe(pipe):
    """As of two workers with one standard output."""
    path, reader = pipe
    writers = [LineWriter(path), LineWriter(path)]
    for writer, letter in zip(writers, "ab", strict=True):
        for _ in range(9000):
            writer.write(letter * 99)
    closing = [threading.Thread(target=writer.close, args=(30,)) for writer in writers]
    for one in closing:
        one.start()
    lines = drain(reader)
    for one in closing:
        one.join()
    assert len(lines) == 18_000
    assert all(len(set(line)) == 1 for line in lines)


def test_the_queue_is_bounded_in_bytes_too(pipe):
    path, reader = pipe
    writer = LineWriter(path, max_bytes=250_000)
    for _ in range(10):
        writer.write("x" * 99_999)
    assert writer.statistics().dropped_full > 0
    reading = threading.Thread(target=drain, args=(reader,))
    reading.start()
    assert writer.close(timeout=30)
    reading.join()


def test_a_stop_does_not_wait_for_ever_on_a_blocked_pipe(pipe):
    path, reader = pipe
    writer = LineWriter(path)
    writer.write("x" * 1_000_000)
    assert not writer.close(timeout=0.01)
    drain(reader)
    assert writer.close(timeout=30)


def test_lines_after_the_stop_are_dropped(tmp_path):
    writer = LineWriter(str(tmp_path / "access.log"))
    assert writer.close()
    writer.write("late")
    assert writer.statistics() == LogStatistics(0, 0, 1, 0)


def test_a_full_disk_drops_lines_counts_them_and_is_reported_once(caplog):
    writer = LineWriter("/dev/full")
    for _ in range(3):
        writer.write("a line")
    assert writer.close()
    assert writer.statistics() == LogStatistics(0, 0, 0, 3)
    assert caplog.text.count("No space left on device") == 1


@contextmanager
def reported() -> Iterator[threading.Event]:
    """An event that is set when the writer's thread reports something."""
    event = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda _: event.set()
    logger = logging.getLogger("edgecache.edges.access_log")
    logger.addHandler(handler)
    try:
        yield event
    finally:
        logger.removeHandler(handler)


def test_a_line_cut_short_by_a_full_disk_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "access.log"
    path.write_text("one\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = LineWriter(str(path))
    with reported() as failure:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            writer.write("two")
            writer.write("three")
            failure.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.write("four")
    assert writer.close()
    assert path.read_text() == "one\ntwo\nth\nfour\n"
    assert writer.statistics() == LogStatistics(2, 0, 0, 1)
