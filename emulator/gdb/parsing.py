# SPDX-License-Identifier: Apache-2.0
"""The arguments of gdb's packets."""

import re

from aether_edgecloud.emulator.gdb.packets import parse_hex
from aether_edgecloud.emulator.gdb.requests import Motion, Resume, TargetError

_MOST_DIGITS = 16


class Malformed(Exception):
    """A packet that does not follow the protocol."""


def number(digits: bytes) -> int:
    """A hexadecimal number of up to 64 bits. Malformed for anything else."""
    value = parse_hex(digits) if len(digits) <= _MOST_DIGITS else None
    if value is None:
        raise Malformed
    return value


def address_and_size(text: bytes) -> tuple[int, int]:
    """`ADDRESS,SIZE`. Malformed for anything else, or if it runs past the last address."""
    first, comma, second = text.partition(b",")
    if not comma:
        raise Malformed
    address, size = number(first), number(second)
    if address + size > 1 << 64:
        raise Malformed
    return address, size


def from_hex(digits: bytes) -> bytes:
    """Bytes, two digits each. Malformed for anything else."""
    if re.fullmatch(rb"([0-9a-fA-F]{2})*", digits) is None:
        raise Malformed
    return bytes.fromhex(digits.decode())


def thread_id(text: bytes) -> int:
    """A thread's number; 0 for any, -1 for all. Malformed for anything else."""
    return -1 if text == b"-1" else number(text)


_ACTION = re.compile(
    rb"(?:[cs]|[CS][0-9a-fA-F]{2}|r([0-9a-fA-F]+),([0-9a-fA-F]+))(?::([0-9a-fA-F]+|-1))?"
)


def resume(payload: bytes, thread: int) -> Resume | None:
    """What a packet that makes the target go asks for; None for no such packet.

    `thread` is the one that steps where the packet names none. All CPUs of a recording move
    together: who is to stay behind moves too.
    """
    match payload[:1]:
        case b"b" if payload in (b"bs", b"bc"):
            return Resume(Motion.STEP_BACK if payload == b"bs" else Motion.BACK, thread)
        case b"c" | b"s" if len(payload) > 1:
            raise TargetError("the PC of a recording cannot be set")
        case b"c" | b"C":
            return Resume(Motion.FORWARD, thread)
        case b"s" | b"S":
            return Resume(Motion.STEP, thread)
    return _actions(payload, thread) if payload.startswith(b"vCont;") else None


def _actions(payload: bytes, thread: int) -> Resume:
    """vCont: the first action that steps decides; without one all go on."""
    found: Resume | None = None
    for text in payload.split(b";")[1:]:
        action = _ACTION.fullmatch(text)
        if action is None:
            raise Malformed
        named = thread_id(action[3]) if action[3] else -1
        who = named if named > 0 else thread
        if found is not None:
            continue
        match text[:1]:
            case b"s" | b"S":
                found = Resume(Motion.STEP, who)
            case b"r":
                found = Resume(Motion.STEP_RANGE, who, number(action[1]), number(action[2]))
    return found or Resume(Motion.FORWARD, thread)
