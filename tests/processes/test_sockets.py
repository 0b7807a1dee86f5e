"""Sockets that are kept, shared, handed over and refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgecache.errors import ConfigError
from edgecache.processes.sockets import Listening, listen


def bound(address: str = "127.0.0.1:0", slots: int = 1, held: Listening | None = None, **more: bool) -> Listening:
    return listen(address, slots=slots, backlog=16, held=held, **more)


def port_of(listening: Listening) -> int:
    return int(listening.addresses[0].rpartition(":")[2])


@pytest.fixture
def three() -> Iterator[Listening]:
    with closing(bound(slots=3)) as listening:
        yield listening


def test_a_socket_for_each_slot_all_on_one_port(three: Listening) -> None:
    assert len(three.addresses) == 1
    assert len({one.getsockname() for one in three}) == 1
    assert len({three.of_slot(slot) for slot in range(3)}) == 3
    with socket.create_connection(("127.0.0.1", port_of(three))):
        pass


def test_a_port_that_a_stranger_has_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=rf"cannot listen on {address}: Address already in use"):
            bound(address)


def test_a_port_that_another_edge_of_this_user_has_is_refused_too(three: Listening) -> None:
    with pytest.raises(ConfigError, match="already in use"):
        bound(f"127.0.0.1:{port_of(three)}")


def test_a_successor_takes_over_what_both_name(three: Listening) -> None:
    port = port_of(three)
    with closing(bound(slots=5, held=three)) as more:
        assert port_of(more) == port
        assert [more.of_slot(slot) for slot in range(3)] == [three.of_slot(slot) for slot in range(3)]
        assert three.surplus(more) == []
        three.close(more)
        assert all(one.fileno() >= 0 for one in more)
        with closing(bound(slots=2, held=more)) as fewer:
            assert more.surplus(fewer) == [more.of_slot(slot)[0] for slot in (2, 3, 4)]
            more.close(fewer)
            assert [one.fileno() >= 0 for one in more] == [True, True, False, False, False]


def test_what_cannot_be_had_leaves_what_is_held(three: Listening) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError):
        bound(f"127.0.0.1:{taken.getsockname()[1]}", held=three)
    assert all(one.fileno() >= 0 for one in three)


def test_nobody_else_can_join_an_address_that_is_not_shared() -> None:
    with closing(bound(shared=False)) as alone, pytest.raises(ConfigError):
        bound(f"127.0.0.1:{port_of(alone)}")


def test_a_name_with_several_addresses_has_one_port() -> None:
    with closing(bound("localhost:0", slots=2)) as listening:
        assert len({address.rpartition(":")[2] for address in listening.addresses}) == 1
        assert len(listening.of_slot(0)) == len(listening.addresses)


def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on no\.such\.host\.invalid:80"):
        bound("no.such.host.invalid:80")


def test_a_unix_socket_is_one_for_all_and_its_file_goes_with_the_last(tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    first = bound(f"unix:{path}", slots=3)
    assert (first.addresses, len(set(first))) == ([f"unix:{path}"], 1)
    assert first.of_slot(0) == first.of_slot(2)
    second = bound(f"unix:{path}", slots=2, held=first)
    first.close(second)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    second.close()
    assert not path.exists()


def test_a_unix_socket_that_was_left_behind_is_replaced_and_other_files_are_not(tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with closing(bound(f"unix:{path}")):
        pass
    path.write_text("precious")
    with pytest.raises(ConfigError, match="cannot listen on unix:"):
        bound(f"unix:{path}")
    assert path.read_text() == "precious"


def test_a_successor_on_the_same_path_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    with closing(bound(f"unix:{path}")) as stranger, closing(bound(f"unix:{path}")):
        stranger.close()
        assert path.exists()
