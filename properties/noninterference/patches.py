# SPDX-License-Identifier: Apache-2.0
"""The hypervisor with instructions taken out: leaks that need no compiler."""

from collections.abc import Callable
from dataclasses import replace

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine.image import BootImage

_NOP = 0xD503201F
_WFI = 0xD503207F
_MSR, _RT = 0xD5000000, 0x1F
_BL = 0b100101


def without_write(register: str, function: str) -> BootImage:
    """`function` does not write the register (MSR) any more; it did so once."""
    key = reg.key(*sysregs.by_name(register).encoding)
    return _patched(function, lambda at, word: word & ~_RT == _MSR | key << 5, count=1)


def without_call(function: str, callee: str) -> BootImage:
    """`function` does not call `callee` any more; it did so once."""
    target = _names().address_of(callee)

    def calls(at: int, word: int) -> bool:
        offset = (word & 0x3FF_FFFF) - (word >> 25 & 1) * 0x400_0000
        return word >> 26 == _BL and at + 4 * offset == target

    return _patched(function, calls, count=1)


def without_sleep(*functions: str) -> BootImage:
    """These functions do not wait for an interrupt (WFI), but look again and again."""
    return _patched("", lambda at, word: word == _WFI, functions=functions)


def _names() -> symbols.Symbols:
    el2 = binary.load(None)
    return symbols.load(el2.elf, range(len(el2.image.data)))


def _patched(
    function: str,
    goes: Callable[[int, int], bool],
    *,
    count: int | None = None,
    functions: tuple[str, ...] = (),
) -> BootImage:
    names, image = _names(), binary.load(None).image
    data = bytearray(image.data)
    found = 0
    for at in range(0, len(data) - 3, 4):
        word = int.from_bytes(data[at : at + 4], "little")
        if goes(at, word) and (names.at(at) or "").partition("+")[0] in (functions or (function,)):
            data[at : at + 4] = _NOP.to_bytes(4, "little")
            found += 1
    assert found if count is None else found == count, f"{found} places in {function or functions}"
    return replace(image, data=bytes(data))
