# SPDX-License-Identifier: Apache-2.0
"""EL2 programs of a few instructions, as flat binaries, Images and ELF files."""

import struct
from dataclasses import dataclass

import keystone

IMAGE_MAGIC = b"ARM\x64"
EM_AARCH64 = 183
_PT_LOAD = 1

_PROGRAM = """
    mov x20, x0
    movz x10, #0x0900, lsl #16
    adr x11, text
next:
    ldrb w12, [x11], #1
    cbz w12, told
    str w12, [x10]
    b next
told:
{body}
    movz x0, #0x8400, lsl #16
    movk x0, #8
    smc #0
    b .
text:
    .asciz "hello"
    .balign 8
"""

TELL_DTB = """
    cbz x20, none
    ldr w12, [x20]
    movz w13, #0x0dd0
    movk w13, #0xedfe, lsl #16
    movz x11, #0x2b
    cmp w12, w13
    b.ne none
    str w11, [x10]
none:
"""
"""Prints + if X0 points to a device tree; the two halves of its magic are swapped in memory."""


def code(body: str = "") -> bytes:
    """Prints hello on the PL011, does `body`, with X0 of the entry in X20 and the UART in X10, and
    asks PSCI to switch off."""
    engine = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN)
    found, _ = engine.asm(_PROGRAM.format(body=body), 0, as_bytes=True)
    assert isinstance(found, bytes)
    return found


def image(
    program: bytes, *, text_offset: int = 0, size: int | None = None, flags: int = 0xA
) -> bytes:
    """An arm64 Image of it."""
    whole = 64 + len(program) if size is None else size
    head = struct.pack("<IIQQQ", 0x1400_0010, 0, text_offset, whole, flags)  # b . + 64
    return (head.ljust(56, b"\0") + IMAGE_MAGIC).ljust(64, b"\0") + program


@dataclass(frozen=True, slots=True)
class Part:
    """A segment to load: VA, PA, contents, and its size in memory."""

    vaddr: int
    paddr: int
    data: bytes
    memory: int | None = None
    flags: int = 5


def elf(
    *parts: Part, entry: int, machine: int = EM_AARCH64, bits: int = 64, kind: int = 2
) -> bytes:
    """An ELF file of these segments."""
    start = 64 + 56 * len(parts)
    headers, contents = b"", b""
    for part in parts:
        memory = len(part.data) if part.memory is None else part.memory
        headers += struct.pack(
            "<IIQQQQQQ",
            *(_PT_LOAD, part.flags, start + len(contents), part.vaddr, part.paddr),
            *(len(part.data), memory, 8),
        )
        contents += part.data
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    numbers = (kind, machine, 1, entry, 64, 0, 0, 64, 56, len(parts), 64, 0, 0)
    return ident + struct.pack("<HHIQQQIHHHHHH", *numbers) + headers + contents
