# SPDX-License-Identifier: Apache-2.0
"""A debugger without gdb: asks a server over TCP and waits for its answers."""

import re
import socket
import time

from aether_edgecloud.emulator.gdb.packets import expand_runs, unescape
from aether_edgecloud.properties.gdb.client import packet

_FRAME = re.compile(rb"\$([^#]*)#[0-9a-f]{2}", re.DOTALL)


class Remote:
    """One connection; `patience` is how long an answer may take, in seconds."""

    def __init__(self, port: int, patience: float = 120.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(patience)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.ask(b"qSupported:swbreak+;hwbreak+")

    @classmethod
    def wait_for(cls, port: int, patience: float = 120.0) -> "Remote":
        """Once somebody listens there, and has time."""
        end = time.monotonic() + patience
        while True:
            try:
                return cls(port, patience)
            except ConnectionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def ask(self, payload: bytes) -> bytes:
        """The answer to a packet; console output before it is dropped."""
        self._socket.sendall(packet(payload))
        while True:
            answer = self._next()
            if answer == b"OK" or answer[:1] != b"O":
                return answer

    def _next(self) -> bytes:
        while (found := _FRAME.search(self._received)) is None:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the server has gone")
            self._received += data
        self._received = self._received[found.end() :]
        self._socket.sendall(b"+")
        return unescape(expand_runs(found[1]))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
