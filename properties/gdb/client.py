# SPDX-License-Identifier: Apache-2.0
"""The debugger's side of the protocol, as far as tests need it."""

import re

from aether_edgecloud.emulator.gdb.packets import expand_runs, unescape
from aether_edgecloud.emulator.gdb.session import Session

_FRAME = re.compile(rb"\$([^#]*)#([0-9a-f]{2})", re.DOTALL)


def packet(payload: bytes) -> bytes:
    """As gdb sends it."""
    body = bytearray()
    for byte in payload:
        body += bytes((0x7D, byte ^ 0x20)) if byte in b"$#}*" else bytes((byte,))
    return b"$%b#%02x" % (bytes(body), sum(body) & 0xFF)


def payloads(data: bytes) -> list[bytes]:
    """What the packets in `data` hold; the checksums have to fit, and nothing but
    acknowledgements may be between them."""
    found = []
    for body, digits in _FRAME.findall(data):
        assert sum(body) & 0xFF == int(digits, 16)
        found.append(unescape(expand_runs(body)))
    assert not _FRAME.sub(b"", data).strip(b"+-"), data
    return found


def ask(session: Session, payload: bytes, later: bytes = b"") -> list[bytes]:
    """The answers to one packet; `later` comes while the target runs."""
    data = session.feed(packet(payload))
    waiting = [later]
    while session.has_work:
        data += session.work(lambda: waiting.pop() if waiting else b"")
    return payloads(data)
