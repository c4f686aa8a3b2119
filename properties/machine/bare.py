# SPDX-License-Identifier: Apache-2.0
"""Small programs at EL2, EL1 and EL0 on the bare machine, and the exception they end with.

A program sets registers up at EL2, goes down to the level under test and does one thing. The first
exception that reaches a vector of EL2 or EL1 is recorded and the machine is switched off.
"""

import functools
import struct
from dataclasses import dataclass

import keystone

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind

LOAD = 0x4020_0000
RAM_SIZE = 64 << 20
LIMIT = 100_000
NO_MEMORY = 0x2000_0000  # a PA where neither RAM nor a device answers

SPSR = {0: 0x3C0, 1: 0x3C5, 2: 0x3C9}

_HEADER_SIZE = 64
_PROGRAM = """
    adr x1, vectors_el2
    msr vbar_el2, x1
    adr x1, vectors_el1
    msr vbar_el1, x1
    mov x1, #0x33ff
    msr cptr_el2, x1
    mov x1, #0x300000
    msr cpacr_el1, x1
    mov x1, #0x80000000
    msr hcr_el2, x1
    movz x1, #0x0800
    movk x1, #0x30d0, lsl #16
    msr sctlr_el1, x1
    movz x1, #0x4030, lsl #16
    msr sp_el0, x1
    msr sp_el1, x1
    mov sp, x1
    {setup}
    isb
    adr x1, trigger
    msr elr_el2, x1
    {spsr}
    msr spsr_el2, x1
    mov x1, xzr
    eret
trigger:
    {body}
done:
    mov x28, #0x100
    b off
record_el2:
    mrs x20, esr_el2
    mrs x21, elr_el2
    mrs x22, far_el2
    mrs x23, spsr_el2
    mrs x24, s3_4_c6_c0_4
    b off
record_el1:
    mrs x20, esr_el1
    mrs x21, elr_el1
    mrs x22, far_el1
    mrs x23, spsr_el1
    b off
off:
    adr x26, trigger
    movz x0, #0x8400, lsl #16
    movk x0, #8
    smc #0
    b .
.balign 2048
vectors_el2:
{vectors_el2}
.balign 2048
vectors_el1:
{vectors_el1}
"""


def _vectors(el: int) -> str:
    entries = (f"mov x28, #{el << 4 | n}\n b record_el{el}\n .balign 128" for n in range(16))
    return "\n".join(entries)


@dataclass(frozen=True, slots=True)
class Taken:
    """The exception that ended a program: at which EL, by which of the 16 vectors, with what in
    the syndrome registers. `elr` is relative to the first instruction of the body."""

    el: int
    vector: int
    esr: int
    elr: int
    far: int
    spsr: int
    hpfar: int

    @property
    def ec(self) -> int:
        return self.esr >> 26

    @property
    def iss(self) -> int:
        return self.esr & 0x1FF_FFFF


@functools.cache
def assemble(text: str) -> bytes:
    """A64 machine code at LOAD + 64, behind an Image header."""
    engine = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN)
    code, _ = engine.asm(text, LOAD + _HEADER_SIZE, as_bytes=True)
    assert isinstance(code, bytes)
    branch = struct.pack("<I", 0x14000000 | _HEADER_SIZE // 4)
    size = _HEADER_SIZE + len(code)
    header = branch + bytes(4) + struct.pack("<QQQ", 0, size, 0xA) + bytes(16) + b"ARM\x64"
    return header.ljust(_HEADER_SIZE, b"\0") + code


def program(body: str, *, el: int = 1, setup: str = "", spsr: int | None = None) -> bytes:
    """The image of a program whose `body` runs at `el` after `setup` at EL2."""
    text = _PROGRAM.format(
        setup=setup,
        body=body,
        spsr=constant("x1", SPSR[el] if spsr is None else spsr),
        vectors_el2=_vectors(2),
        vectors_el1=_vectors(1),
    )
    return assemble(text)


def boot(image: bytes, mmu: MmuMode, memory: dict[int, bytes] | None = None) -> Machine:
    """A machine with the image loaded and `memory` (PA to contents) written."""
    machine = Machine(virt(RAM_SIZE), BootImage(image, len(image)), mmu=mmu)
    for pa, data in (memory or {}).items():
        offset = pa - machine.board.ram_base
        machine.memory.bytes[offset : offset + len(data)] = data
    return machine


def result(machine: Machine) -> Taken | None:
    """The recorded exception; None if the body ran through (at EL1 or EL2)."""
    x = machine.cpu.registers()
    if x[28] == 0x100:
        return None
    el, vector = x[28] >> 4, x[28] & 15
    return Taken(el, vector, x[20], x[21] - x[26], x[22], x[23], x[24] if el == 2 else 0)


def run(
    body: str,
    mmu: MmuMode,
    *,
    el: int = 1,
    setup: str = "",
    spsr: int | None = None,
    memory: dict[int, bytes] | None = None,
) -> Taken | None:
    """Run a program to its end."""
    machine = boot(program(body, el=el, setup=setup, spsr=spsr), mmu, memory)
    stop = machine.run(LIMIT)
    assert stop.kind is StopKind.SYSTEM_OFF, stop
    return result(machine)


def hcr(bits: int) -> str:
    """HCR_EL2 = RW | bits."""
    value = bits | 1 << 31
    words = [f"movz x1, #{value & 0xFFFF}"]
    words += [f"movk x1, #{value >> s & 0xFFFF}, lsl #{s}" for s in (16, 32)]
    return "\n".join([*words, "msr hcr_el2, x1"])


def constant(register: str, value: int) -> str:
    """Load a 64-bit constant into a general-purpose register."""
    lines = [f"movz {register}, #{value & 0xFFFF}"]
    lines += [f"movk {register}, #{value >> s & 0xFFFF}, lsl #{s}" for s in (16, 32, 48)]
    return "\n".join(lines)
