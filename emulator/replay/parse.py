# SPDX-License-Identifier: Apache-2.0
"""Conditions and addresses as a user writes them."""

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay.conditions import (
    Access,
    AnyOf,
    Condition,
    EventOf,
    Execute,
    Read,
    RegisterWrite,
    StepOut,
    StepOver,
    TableEntryWrite,
    Write,
)
from aether_edgecloud.emulator.replay.replay import Replay, whole
from aether_edgecloud.emulator.replay.views.memory import Space, physical

CONDITIONS = (
    "exec:[el2:|guest:]SYMBOL|ADDRESS, exec:FILE:LINE, write:[SPACE:]ADDRESS[+SIZE], read:..., "
    "access:..., table:PA, reg:NAME, event:KIND[,KIND], over, out"
)
_END = 1 << 64
_SPACES = {space.value: space for space in Space}
_ACCESSES: dict[str, type[Access] | type[Read] | type[Write]] = {
    "access": Access,
    "read": Read,
    "write": Write,
}


def number(text: str) -> int:
    """Decimal, or hexadecimal with 0x; `_` may stand between digits. UserError for others."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < _END:
        raise UserError(f"{text!r} is no number", fix="write it as 4096 or 0x1000")
    return value


def address(replay: Replay, text: str) -> int:
    """A number, or a symbol of the binary at EL2, with `+OFFSET` behind it or not."""
    name, plus, offset = text.partition("+")
    found = replay.symbols.address_of(name)
    if found is None:
        if not text[:1].isdigit():
            raise UserError(f"there is no symbol {name!r}", fix="use an address, as 0x40200000")
        return number(text)
    return _below_end(found + (number(offset) if plus else 0))


def place(replay: Replay, text: str) -> tuple[Space, int]:
    """`[va:|ipa:|pa:|el2:|guest:]ADDRESS`; a VA of the cursor's CPU where nothing is said. A symbol
    of a binary that moves itself is where it is mapped at the cursor."""
    head, colon, rest = text.partition(":")
    if not colon:
        return Space.VA, _mapped(replay, text, Space.VA)
    if head not in _SPACES:
        fix = f"use {', '.join(_SPACES)}"
        raise UserError(f"there is no address space {head!r}", fix=fix)
    return _SPACES[head], _mapped(replay, rest, _SPACES[head])


def range_of(replay: Replay, text: str, size: int) -> tuple[Space, int, int]:
    """A place with `+SIZE` behind it, `size` bytes without; a symbol's offset is then the first.
    UserError if it goes past the last address; without `+SIZE` it is cut off there."""
    head, plus, tail = text.rpartition("+")
    if plus and (head.rpartition(":")[2][:1].isdigit() or "+" in head):
        space, start = place(replay, head)
        size = number(tail)
        _below_end(start + max(size, 1) - 1)
        return space, start, size
    space, start = place(replay, text)
    if plus and not number(tail):
        fix = f"behind a symbol the first + is an offset; {head}+0+8 is 8 bytes"
        raise UserError(f"{text!r} is {head!r}", fix=fix)
    return space, start, min(size, _END - start)


def condition(replay: Replay, text: str) -> Condition:
    """What `CONDITIONS` lists. Addresses of memory are translated at the cursor."""
    kind, colon, rest = text.partition(":")
    match kind:
        case "over" if not colon:
            return StepOver()
        case "out" if not colon:
            return StepOut()
        case "exec" if rest:
            return _execute(replay, rest)
        case "read" | "write" | "access" if rest:
            space, start, size = range_of(replay, rest, 1)
            return _ACCESSES[kind](_physical(replay, start, space), size)
        case "table" if rest:
            return TableEntryWrite(number(rest))
        case "reg" if rest:
            return RegisterWrite(rest)
        case "event" if rest:
            return EventOf(frozenset(event_kind(word) for word in rest.split(",")))
    raise UserError(f"{text!r} cannot be sought", fix=f"use {CONDITIONS}")


def event_kind(text: str) -> EventKind:
    """By its name in any case, `-` or `_` between its words."""
    name = text.strip().upper().replace("-", "_")
    if name not in EventKind.__members__:
        names = ", ".join(kind_name(kind) for kind in EventKind)
        raise UserError(f"there is no kind of event {text!r}", fix=f"kinds: {names}")
    return EventKind[name]


def kind_name(kind: EventKind) -> str:
    """As users write it."""
    return kind.name.lower().replace("_", "-")


def _everywhere(replay: Replay, text: str) -> tuple[int, ...]:
    """What `address` reads: of a symbol each address at which the binary may run."""
    found = address(replay, text)
    is_symbol = replay.symbols.address_of(text.partition("+")[0]) is not None
    return replay.program.everywhere(found) if is_symbol else (found,)


def _mapped(replay: Replay, text: str, space: Space) -> int:
    found = _everywhere(replay, text)
    if len(found) == 1:
        return found[0]
    return next((va for va in found if physical(replay, va, space) is not None), found[0])


def _at_el2(addresses: tuple[int, ...]) -> Condition:
    if len(addresses) == 1:
        return Execute(addresses[0], el=2)
    return AnyOf(tuple(Execute(va, el=2) for va in addresses))


def _execute(replay: Replay, text: str) -> Condition:
    space, colon, rest = text.partition(":")
    if colon and space == Space.VA_EL2.value:
        return _at_el2(_everywhere(replay, rest))
    if colon and space == Space.VA_GUEST.value:
        va = address(replay, rest)
        return AnyOf((Execute(va, el=1), Execute(va, el=0)))
    file, colon, line = text.rpartition(":")
    if colon:
        row = whole(line)
        if row is None:
            fix = "use exec:[el2:|guest:]SYMBOL or ADDRESS, or exec:FILE:LINE"
            raise UserError(f"{line!r} is no line", fix=fix)
        found = replay.program.addresses(file, row)
        if not found:
            raise UserError(f"no code comes from {text}", fix="name a line with code")
        return _at_el2(replay.program.everywhere(found[0]))
    addresses = _everywhere(replay, text)
    if replay.program.has(addresses[0]):
        return _at_el2(addresses)
    return Execute(addresses[0])


def _below_end(value: int) -> int:
    if value >= _END:
        raise UserError(f"{value:#x} is past the last address", fix="addresses have 64 bits")
    return value


def _physical(replay: Replay, start: int, space: Space) -> int:
    found = physical(replay, start, space)
    if found is None:
        raise UserError(
            f"{start:#x} is not mapped at the cursor", fix="give a PA, as pa:0x40000000"
        )
    return found
