"""The file by which commands find a supervisor, and learn what became of a reload."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecache.processes.status_file import Report, StatusFile, watched, watched_pid

ADDRESS = ("127.0.0.1", 8081)
URL = "http://127.0.0.1:8081"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.fixture
def file(environ: dict[str, str]) -> Iterator[StatusFile]:
    file = StatusFile(environ)
    yield file
    file.remove()


def test_what_is_written_is_read(file: StatusFile, environ: dict[str, str], tmp_path: Path) -> None:
    file.stand_at([ADDRESS], Report(os.getpid(), 1))
    found = watched(URL, environ)
    assert found is not None
    assert (found.report(), found.lives) == (Report(os.getpid(), 1), True)
    file.write(Report(os.getpid(), 2, begun=1, finished=1, error="é" * 10_000))
    assert (found.report().generation, set(found.report().error)) == (2, {"é"})
    (path,) = (tmp_path / "edgecache").iterdir()
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("127.0.0.1:8081.pid", 0o600)
    found.close()


def test_it_is_found_by_its_process(file: StatusFile, environ: dict[str, str]) -> None:
    file.stand_at([ADDRESS], Report(os.getpid(), 1))
    found = watched_pid(os.getpid(), environ)
    assert found is not None
    found.close()
    assert watched_pid(os.getpid() + 1, environ) is None


def test_nobody_is_there(environ: dict[str, str]) -> None:
    assert watched(URL, environ) is None
    assert watched_pid(os.getpid(), environ) is None
    assert watched(URL, {}) is None


def test_a_file_whose_writer_has_ended_is_nobody(environ: dict[str, str], tmp_path: Path) -> None:
    """Whoever has its number now is not to be signalled."""
    if (child := os.fork()) == 0:
        StatusFile(environ).stand_at([ADDRESS], Report(1, 1))
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "edgecache" / "127.0.0.1:8081.pid").exists()
    assert watched(URL, environ) is None
    assert watched_pid(1, environ) is None


def test_what_was_left_behind_is_taken_over(file: StatusFile, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "edgecache").mkdir()
    (tmp_path / "edgecache" / "127.0.0.1:8081.pid").write_text("x" * 10_000)
    file.stand_at([ADDRESS], Report(os.getpid(), 1))
    found = watched(URL, environ)
    assert found is not None
    assert found.report() == Report(os.getpid(), 1)
    found.close()


def test_the_last_report_is_read_after_it_has_moved(file: StatusFile, environ: dict[str, str], tmp_path: Path) -> None:
    file.stand_at([ADDRESS], Report(os.getpid(), 1))
    found = watched(URL, environ)
    assert found is not None
    file.stand_at([("127.0.0.1", 9)], Report(os.getpid(), 2))
    assert (found.report().generation, found.lives) == (2, False)
    assert [path.name for path in (tmp_path / "edgecache").iterdir()] == ["127.0.0.1:9.pid"]
    found.close()


def test_a_child_lets_go_and_the_parent_keeps_it(file: StatusFile, environ: dict[str, str]) -> None:
    file.stand_at([ADDRESS], Report(os.getpid(), 1))
    if (child := os.fork()) == 0:
        file.let_go()
        os._exit(0)
    os.waitpid(child, 0)
    found = watched(URL, environ)
    assert found is not None
    assert found.lives
    found.close()


def test_nowhere_to_write_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    StatusFile({}).stand_at([ADDRESS], Report(os.getpid(), 1))
    assert "edgecache reload will not find this process" in caplog.text
