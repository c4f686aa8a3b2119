# SPDX-License-Identifier: Apache-2.0
"""The server over real sockets. What clients send lies in the sockets before it starts."""

import os
import select
import socket
from collections.abc import Iterator

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.gdb import server
from aether_edgecloud.properties.gdb.client import packet, payloads
from aether_edgecloud.properties.gdb.scripted import ScriptedTarget


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with server.listen(0) as found:
        yield found


def _client(listener: socket.socket, data: bytes) -> socket.socket:
    """A gdb that sends all it has to say and closes its side."""
    connection = socket.create_connection(listener.getsockname())
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    return connection


def _received(connection: socket.socket) -> bytes:
    with connection:
        found = b""
        while part := connection.recv(1 << 16):
            found += part
    return found


def test_a_session(listener: socket.socket) -> None:
    client = _client(listener, packet(b"qC") + packet(b"vCont;s:1") + packet(b"D"))
    target = ScriptedTarget()
    server.serve(target, listener, once=True)
    assert payloads(_received(client)) == [b"QC1", b"T05thread:1;core:0;3:0103;", b"OK"]
    assert target.position == 1


def test_the_next_gdb_finds_the_target_where_the_last_one_left_it(
    listener: socket.socket,
) -> None:
    """And nothing that the last one has set."""
    target = ScriptedTarget()
    first = _client(listener, packet(b"vCont;s:1") + packet(b"Z0,50,4") + packet(b"D"))
    server.serve(target, listener, once=True)
    _received(first)
    assert (target.position, target.points) == (1, set())
    second = _client(listener, packet(b"vCont;s:1") + packet(b"k"))
    server.serve(target, listener, once=False)
    _received(second)
    assert target.position == 2


def test_one_that_goes_away_ends_only_its_session(listener: socket.socket) -> None:
    target = ScriptedTarget()
    _client(listener, b"$m10").close()
    server.serve(target, listener, once=True)
    dying = _client(listener, packet(b"vCont;c"))
    server.serve(target, listener, once=True)
    assert target.position > 0
    _received(dying)


def test_garbage_is_answered_by_nothing(listener: socket.socket) -> None:
    noise = bytes(range(256)).replace(b"$", b"") * 50
    client = _client(listener, noise + packet(b"qC") + packet(b"D"))
    server.serve(ScriptedTarget(), listener, once=True)
    assert payloads(_received(client)) == [b"QC1", b"OK"]


def test_a_second_gdb_is_sent_away(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first goes on, here until nothing more comes."""
    first = socket.create_connection(listener.getsockname())
    first.sendall(packet(b"qC"))
    second = _client(listener, packet(b"qC"))
    wait = select.select

    def select_once_more(
        readable: list[int], writable: list[int], special: list[int]
    ) -> tuple[list[int], list[int], list[int]]:
        ready = wait(readable, writable, special)
        if ready[0] == [listener.fileno()]:
            first.sendall(packet(b"D"))
        return ready

    monkeypatch.setattr(select, "select", select_once_more)
    server.serve(ScriptedTarget(), listener, once=True)
    assert payloads(_received(first)) == [b"QC1", b"OK"]
    with pytest.raises(ConnectionResetError):
        _received(second)


def test_a_port_that_is_taken(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+ cannot be listened on"):
        server.listen(port)


def test_over_stdin_and_stdout() -> None:
    to_server, from_gdb = os.pipe()
    to_gdb, from_server = os.pipe()
    os.write(from_gdb, packet(b"qC") + packet(b"D"))
    saved = os.dup(0), os.dup(1)
    try:
        os.dup2(to_server, 0)
        os.dup2(from_server, 1)
        server.serve_stdio(ScriptedTarget())
    finally:
        os.dup2(saved[0], 0)
        os.dup2(saved[1], 1)
    assert payloads(os.read(to_gdb, 1000)) == [b"QC1", b"OK"]
    for fd in (to_server, from_gdb, to_gdb, from_server, *saved):
        os.close(fd)
