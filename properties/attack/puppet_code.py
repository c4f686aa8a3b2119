# SPDX-License-Identifier: Apache-2.0
"""The guest of a puppet: a loop around WFI, and pieces of code that do one thing and go back to it.

The driver puts a vCPU's PC to a piece and its arguments into registers. MMU off, interrupts masked,
EL1h. All of it is position independent and lies in the first page of the VM's memory.

X26 is the loop's own. An exception sets X27 to the vector's number + 1 and goes back to the loop,
with ESR_EL1, FAR_EL1 and ELR_EL1 as it found them; a sweep counts it and goes on.
"""

import functools
import struct
from enum import Enum

import keystone

VECTORS = 0x800
_PIECE = 0x40
_SPIN = 400
"""Iterations between two WFIs of a vCPU that has an interrupt pending, which ends a WFI at once."""


class Piece(Enum):
    """What a puppet does; the value is the code. X1 and up are arguments, X0 and up results."""

    START = """
        movz x2, #0x800
        adr x1, .
        bfi x1, x2, #0, #12
        msr vbar_el1, x1
        isb
    """
    REST = f"""
    rest:
        wfi
        mov x26, #{_SPIN}
    spin:
        sub x26, x26, #1
        cbnz x26, spin
        b rest
    """
    # After X25 turns of a loop: two that are set going at once are not always at the same place.
    HVC = """
    delay:
        cbz x25, call
        sub x25, x25, #1
        b delay
    call:
        hvc #0
    """
    SMC = "smc #0"
    LOAD = "ldr x2, [x1]"
    STORE = "str x2, [x1]"
    EXECUTE = "blr x1"
    STAGE1 = """
        msr mair_el1, x3
        msr tcr_el1, x2
        msr ttbr0_el1, x1
        dsb sy
        isb
        tlbi vmalle1
        dsb sy
        isb
        msr sctlr_el1, x4
        isb
    """
    # In two blocks: a CPU's turn ends only between blocks.
    FLIP = """
    flip:
        str x2, [x1]
        b back
    back:
        str x3, [x1]
        sub x4, x4, #1
        cbnz x4, flip
    """
    SWEEP_READ = "mov x4, #0"
    SWEEP_WRITE = "mov x4, #1"
    STORE_32 = "str w2, [x1]"
    LOAD_32 = "ldr w2, [x1]"
    READ_ISR = "mrs x0, isr_el1"
    CRASH = "ldp x2, x3, [x1]"

    @property
    def offset(self) -> int:
        return list(Piece).index(self) * _PIECE


_SWEEP_AT = 0x700
# Reads or writes X2 words (64 at most) from X1, X3 bytes apart; bit n of X0: the n-th went through.
_SWEEP = """
    mov x0, #0
    mov x5, #0
    mov x25, #1
next:
    mov x23, #0
    cbnz x4, write
    ldr x6, [x1]
    b look
write:
    str xzr, [x1]
look:
    cmp x23, #0
    cset x6, eq
    lsl x6, x6, x5
    orr x0, x0, x6
    add x1, x1, x3
    add x5, x5, #1
    sub x2, x2, #1
    cbnz x2, next
    mov x25, #0
"""
_VECTOR = """
    cbnz x25, swept
    mov x27, #{number}
    b #{rest}
swept:
    mrs x24, elr_el1
    add x24, x24, #4
    msr elr_el1, x24
    mov x23, #1
    eret
"""
REST = Piece.REST.offset
RESTED = REST + 4
"""Where PC stands while a vCPU waits."""
RESTING = range(REST, RESTED + 16, 4)
"""Where PC stands while a vCPU waits, and between two waits: nothing is done there."""


@functools.cache
def image() -> bytes:
    """The puppet's memory from its first byte: all vCPUs of a VM start there."""
    ks = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN)
    found = bytearray(0x1000)

    def put(offset: int, text: str) -> int:
        code, _ = ks.asm(text, offset)
        assert code is not None
        data = bytes(code)
        assert not any(found[offset : offset + len(data)])
        found[offset : offset + len(data)] = data
        return offset + len(data)

    for piece in Piece:
        end = put(piece.offset, piece.value)
        if piece in (Piece.SWEEP_READ, Piece.SWEEP_WRITE):
            put(end, f"b #{_SWEEP_AT}")
        elif piece is not Piece.REST:
            put(end, f"b #{REST}")
    put(put(_SWEEP_AT, _SWEEP), f"b #{REST}")
    for number in range(16):
        put(VECTORS + number * 0x80, _VECTOR.format(number=number + 1, rest=REST))
    return bytes(found)


def words() -> tuple[int, ...]:
    """The image as instructions."""
    return struct.unpack(f"<{len(image()) // 4}I", image())
