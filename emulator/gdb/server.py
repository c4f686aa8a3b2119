# SPDX-License-Identifier: Apache-2.0
"""The connection: one gdb at a time, over TCP on this host or over stdin and stdout."""

import os
import select
import signal
import socket
from typing import Protocol

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.gdb.requests import Target
from aether_edgecloud.emulator.gdb.session import Receive, Session
from aether_edgecloud.emulator.signals import SignalWatch

HOST = "127.0.0.1"
_CHUNK = 1 << 16


class _Channel(Protocol):
    """Two directions of bytes. Both methods raise OSError when the other side is gone."""

    @property
    def source(self) -> int:
        """The descriptor to wait on."""

    def read(self) -> bytes:
        """What has come, once there is something; empty at the end."""

    def write(self, data: bytes) -> None:
        """Send all of it."""


class _Tcp:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @property
    def source(self) -> int:
        return self._connection.fileno()

    def read(self) -> bytes:
        return self._connection.recv(_CHUNK)

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)


class _Stdio:
    source = 0

    def read(self) -> bytes:
        return os.read(0, _CHUNK)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(1, data) :]


def listen(port: int) -> socket.socket:
    """A socket that gdb can connect to; `port` 0 is a free one. UserError if it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except OSError as e:
        listener.close()
        raise UserError(
            f"{HOST}:{port} cannot be listened on ({e.strerror})",
            where="--port",
            fix="use another, or 0 for any that is free",
        ) from None
    return listener


def serve(target: Target, listener: socket.socket, *, once: bool) -> None:
    """Serve one gdb after another until one kills the target, with `once` only the first. The
    target stays where the last one left it. KeyboardInterrupt and SystemExit for signals."""
    with SignalWatch(lambda: None) as signals:
        while True:
            with signals.waiting():
                connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                killed = _talk(target, _Tcp(connection), signals, listener)
            target.remove_all()
            if killed or once:
                return


def serve_stdio(target: Target) -> None:
    """Serve the gdb that has started this process (`target remote | ...`)."""
    with SignalWatch(lambda: None) as signals:
        # Ctrl-C at gdb's terminal reaches its whole process group; gdb says so in a byte, too.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _talk(target, _Stdio(), signals, None)


def _talk(
    target: Target, channel: _Channel, signals: SignalWatch, listener: socket.socket | None
) -> bool:
    """One session; whether it ended in a kill. A gdb that goes away just ends it."""
    session = Session(target)
    receive = _receiver(channel, signals)
    try:
        while not session.ended:
            _wait(channel, signals, listener)
            data = channel.read()
            if not data:
                break
            channel.write(session.feed(data))
            while session.has_work:
                channel.write(session.work(receive))
    except OSError:
        return False
    return session.killed


def _wait(channel: _Channel, signals: SignalWatch, listener: socket.socket | None) -> None:
    """Until something comes from gdb. There is one cursor: a second gdb is sent away."""
    sources = [channel.source] if listener is None else [channel.source, listener.fileno()]
    while True:
        with signals.waiting():
            ready, _, _ = select.select(sources, [], [])
        if channel.source in ready or listener is None:
            return
        listener.accept()[0].close()


def _receiver(channel: _Channel, signals: SignalWatch) -> Receive:
    def receive() -> bytes | None:
        signals.check()
        if not select.select([channel.source], [], [], 0)[0]:
            return b""
        try:
            return channel.read() or None
        except OSError:
            return None

    return receive
