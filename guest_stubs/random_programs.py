# SPDX-License-Identifier: Apache-2.0
"""Guest programs as data: steps of a few instructions each, and the image that they make.

A step is a value; nothing here is random. Most steps may use any register but X16 and X17, which
belong to the exception vectors, X27, which counts loops, and X28, where a program goes on after a
fetch that failed. Addresses are IPAs.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Protocol

import keystone

MEMORY_BASE = 0x4000_0000
MEMORY_SIZE = 2 << 20
"""A block at level 2 of stage 2."""
FAR_BASE = 0x8000_0000
FAR_SIZE = 64 << 10
"""More memory, in pages."""
VECTORS = MEMORY_BASE + 0x1000
CODE = (MEMORY_BASE + 0x2000, MEMORY_BASE + 0x6000)
"""Of each vCPU; the first is the entry."""
CODE_SIZE = 0x4000
TABLES = MEMORY_BASE + 0xA000
TABLE_PAGES = 8
"""For tables of stage 1; the first is the root, at level 1."""
IMAGE_SIZE = TABLES + TABLE_PAGES * 0x1000 - MEMORY_BASE
DATA = MEMORY_BASE + 0x2_0000
STACK = MEMORY_BASE + 0x4_0000
GICD = 0x0800_0000
GICC = 0x0801_0000

T0SZ_39_BITS = 25
"""TCR_EL1.T0SZ for which the walk begins at level 1, in the first page of TABLES."""
MAIR = 0x04_44_00_FF
"""Normal Write-Back, Device-nGnRnE, Normal Non-cacheable, Device-nGnRE."""
TO_EL1 = 0x7777
"""The SVC by which steps at EL0 end."""

_GIC_ACKNOWLEDGE = 0xC
_GIC_END = 0x10
_EL1H_MASKED = 0x3C5
_CPU_ON = 0xC400_0003
_SYSTEM_OFF = 0x8400_0008
_SYSTEM_RESET = 0x8400_0009
_NOP = 0xD503201F
_ERET = 0xD69F03E0

Words = tuple[int, ...]


@cache
def _assembler() -> keystone.Ks:
    return keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN)


@cache
def assemble(text: str) -> Words:
    """Instructions, apart by semicolons; ValueError for what is none."""
    try:
        code, _ = _assembler().asm(text, as_bytes=True)
    except keystone.KsError as error:
        raise ValueError(f"{text}: {error}") from None
    return struct.unpack(f"<{len(code) // 4}I", code)


def set_register(register: int, value: int) -> Words:
    """MOVZ and as many MOVK as it takes."""
    halves = [(value >> 16 * i & 0xFFFF, i) for i in range(4)]
    used = [(half, i) for half, i in halves if half] or [(0, 0)]
    return tuple(
        (0xF2800000 if n else 0xD2800000) | i << 21 | half << 5 | register
        for n, (half, i) in enumerate(used)
    )


def msr(encoding: int, register: int) -> int:
    """MSR of the register with this encoding: op0:op1:CRn:CRm:op2, 16 bits, op0 being 2 or 3; with
    op0 1 a SYS instruction."""
    return 0xD5000000 | (encoding & 0xFFFF) << 5 | register


def mrs(encoding: int, register: int) -> int:
    """MRS of it; with op0 1 a SYSL."""
    return msr(encoding, register) | 1 << 21


def sysreg(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """The encoding that `msr` and `mrs` take."""
    return op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


def _adr(register: int, words: int) -> int:
    """The address of the instruction so many words ahead of this one."""
    offset = 4 * words & 0x1FFFFF
    return 0x10000000 | (offset & 3) << 29 | (offset >> 2) << 5 | register


def _branch(words: int) -> int:
    return 0x14000000 | words & 0x3FFFFFF


def _cbnz(register: int, words: int) -> int:
    return 0xB5000000 | (words & 0x7FFFF) << 5 | register


class Step(Protocol):
    """What a program does next."""

    def words(self) -> Words:
        """Its instructions. They run from any address."""


def _words(steps: Iterable[Step]) -> Words:
    return tuple(word for step in steps for word in step.words())


@dataclass(frozen=True, slots=True)
class Text(Step):
    """Instructions that the assembler knows."""

    text: str

    def words(self) -> Words:
        return assemble(self.text)


@dataclass(frozen=True, slots=True)
class Word(Step):
    """Any instruction word."""

    word: int

    def words(self) -> Words:
        return (self.word,)

    def __repr__(self) -> str:
        return f"Word({self.word:#x})"


@dataclass(frozen=True, slots=True)
class With(Step):
    """Instructions after some registers have been set."""

    registers: tuple[tuple[int, int], ...]
    then: Step

    def words(self) -> Words:
        settings = (
            word for number, value in self.registers for word in set_register(number, value)
        )
        return (*settings, *self.then.words())

    def __repr__(self) -> str:
        values = ", ".join(f"x{number}={value:#x}" for number, value in self.registers)
        return f"With({values}: {self.then})"


@dataclass(frozen=True, slots=True)
class Jump(Step):
    """To an address. What comes after it runs when the fetch there has failed."""

    address: int

    def words(self) -> Words:
        there = set_register(9, self.address)
        return (*there, _adr(28, 2), *assemble("br x9"))

    def __repr__(self) -> str:
        return f"Jump({self.address:#x})"


@dataclass(frozen=True, slots=True)
class Eret(Step):
    """ERET with any SPSR, to an address; None: to what follows."""

    spsr: int
    address: int | None = None

    def words(self) -> Words:
        state = (*set_register(9, self.spsr), *assemble("msr spsr_el1, x9"))
        if self.address is None:
            there: Words = (_adr(28, 3), *assemble("msr elr_el1, x28"), _ERET)
        else:
            to = (*set_register(9, self.address), *assemble("msr elr_el1, x9"))
            there = (*to, _adr(28, 2), _ERET)
        return state + there

    def __repr__(self) -> str:
        return f"Eret(spsr={self.spsr:#x}, {'next' if self.address is None else hex(self.address)})"


@dataclass(frozen=True, slots=True)
class AtEl0(Step):
    """Steps at EL0; the vectors take the vCPU back to EL1 by the SVC at their end."""

    steps: tuple[Step, ...]
    masked: bool = False

    def words(self) -> Words:
        return (*Eret(0x3C0 if self.masked else 0).words(), *_words(self.steps), _svc(TO_EL1))


def _svc(number: int) -> int:
    return 0xD4000001 | number << 5


@dataclass(frozen=True, slots=True)
class Loop(Step):
    """Steps, so many times. Loops do not nest."""

    steps: tuple[Step, ...]
    times: int

    def words(self) -> Words:
        body = _words(self.steps)
        back = -len(body) - 1
        return (
            *set_register(27, self.times),
            *body,
            *assemble("sub x27, x27, #1"),
            _cbnz(27, back),
        )


@dataclass(frozen=True, slots=True)
class Patch(Step):
    """Store another instruction over one of the program's own, perhaps with what the architecture
    demands for that, and execute it."""

    word: int
    maintained: bool = True

    def words(self) -> Words:
        care = (
            assemble("dc cvau, x9; dsb ish; ic ivau, x9; dsb ish; isb") if self.maintained else ()
        )
        store = (*set_register(10, self.word), *assemble("str w10, [x9]"), *care)
        return (_adr(9, len(store) + 1), *store, _NOP)

    def __repr__(self) -> str:
        return f"Patch({self.word:#x}, maintained={self.maintained})"


@dataclass(frozen=True, slots=True)
class Mmu(Step):
    """Set the registers of stage 1 and turn it on, or off."""

    ttbr0: int = TABLES
    tcr: int = 0x2_0080_3500 | T0SZ_39_BITS
    mair: int = MAIR
    sctlr: int = 0x30D0_1805

    def words(self) -> Words:
        values = ("ttbr0_el1", self.ttbr0), ("tcr_el1", self.tcr), ("mair_el1", self.mair)
        words = [
            word
            for name, value in values
            for word in (*set_register(9, value), *assemble(f"msr {name}, x9"))
        ]
        on = (*set_register(9, self.sctlr), *assemble("tlbi vmalle1; dsb ish; isb"))
        return (*words, *on, _adr(28, 3), *assemble("msr sctlr_el1, x9; isb"))

    def __repr__(self) -> str:
        return (
            f"Mmu(ttbr0={self.ttbr0:#x}, tcr={self.tcr:#x}, mair={self.mair:#x}, "
            f"sctlr={self.sctlr:#x})"
        )


@dataclass(frozen=True, slots=True)
class Store(Step):
    """Bytes, stored by double words at an address; the last is filled up with zeros."""

    address: int
    data: bytes

    def words(self) -> Words:
        words = [*set_register(9, self.address)]
        padded = self.data + bytes(-len(self.data) % 8)
        for (value,) in struct.iter_unpack("<Q", padded):
            words += (*set_register(10, value), *assemble("str x10, [x9], #8"))
        return tuple(words)

    def __repr__(self) -> str:
        return f"Store({self.address:#x}, {self.data.hex()})"


class Vectors(Enum):
    """What the exception vectors do."""

    SKIP = "a failed instruction is passed over, an interrupt acknowledged and ended"
    RETURN = "an ERET at once"
    HANG = "a branch to itself"
    NOTHING = "undefined instructions, so the exception repeats"


class End(Enum):
    """What comes after the last step."""

    AGAIN = "from the first one again"
    SLEEP = "WFI for ever"
    OFF = "PSCI SYSTEM_OFF"
    RESET = "PSCI SYSTEM_RESET"


@dataclass(frozen=True, slots=True)
class Program:
    """A guest: the steps of each vCPU, its vectors, and what stands in its stage-1 tables, as
    (page, index, descriptor); the first GiB and the second are mapped one to one by blocks
    unless these say otherwise. Nothing uses the tables before a step turns the MMU on."""

    vcpus: tuple[tuple[Step, ...], ...]
    vectors: Vectors = Vectors.SKIP
    end: End = End.AGAIN
    tables: tuple[tuple[int, int, int], ...] = ()

    def image(self) -> bytes:
        """IMAGE_SIZE bytes for MEMORY_BASE; the entry is CODE[0]. ValueError if the steps are too
        many."""
        image = bytearray(IMAGE_SIZE)
        _place(image, VECTORS, _vectors(self.vectors))
        for number, steps in enumerate(self.vcpus):
            first = _start(number, len(self.vcpus))
            body = _words(steps)
            code = (*first, *body, *_end(self.end, -len(body)))
            if 4 * len(code) > CODE_SIZE:
                raise ValueError(f"{len(code)} instructions are too many")
            _place(image, CODE[number], code)
        descriptors = {(0, 0): _DEVICE_BLOCK, (0, 1): _NORMAL_BLOCK | MEMORY_BASE}
        descriptors |= {(0, 2): _NORMAL_BLOCK | FAR_BASE}
        descriptors |= {(page, index): value for page, index, value in self.tables}
        for (page, index), value in descriptors.items():
            at = TABLES - MEMORY_BASE + 0x1000 * page + 8 * index
            struct.pack_into("<Q", image, at, value)
        return bytes(image)


_NORMAL_BLOCK = 0x701
"""A 1 GiB block: AF, Inner Shareable, attributes 0, read-write at EL1, executable."""
_DEVICE_BLOCK = 0x405 | 1 << 54 | 1 << 53


def _place(image: bytearray, address: int, words: Words) -> None:
    struct.pack_into(f"<{len(words)}I", image, address - MEMORY_BASE, *words)


def _start(vcpu: int, vcpus: int) -> Words:
    """Vectors, stack, FP, and the other vCPU; X19 to X22 hold addresses worth having."""
    words = [*set_register(9, VECTORS), *assemble("msr vbar_el1, x9")]
    words += [*set_register(9, STACK - 0x4000 * vcpu), *assemble("mov sp, x9; msr sp_el0, x9")]
    words += assemble("mov x9, #0x300000; msr cpacr_el1, x9; isb")
    if vcpu == 0 and vcpus > 1:
        for number, value in ((0, _CPU_ON), (1, 1), (2, CODE[1]), (3, 0)):
            words += set_register(number, value)
        words += assemble("hvc #0")
    for number, value in ((19, DATA), (20, CODE[vcpu]), (21, TABLES), (22, FAR_BASE)):
        words += set_register(number, value)
    return (*words, _adr(28, 1))


def _end(end: End, back: int) -> Words:
    match end:
        case End.AGAIN:
            return (_branch(back),)
        case End.SLEEP:
            return (*assemble("wfi"), _branch(-1))
    function = _SYSTEM_OFF if end is End.OFF else _SYSTEM_RESET
    return (*set_register(0, function), *assemble("hvc #0"), _branch(0))


def _vectors(kind: Vectors) -> Words:
    if kind is Vectors.NOTHING:
        return ()
    if kind is Vectors.SKIP:
        entries = [_synchronous(), _interrupt(), (_ERET,), (_ERET,)] * 4
    else:
        entries = [(_ERET,) if kind is Vectors.RETURN else (_branch(0),)] * 16
    return tuple(word for entry in entries for word in entry + (0,) * (32 - len(entry)))


@cache
def _synchronous() -> Words:
    """To EL1 after the SVC of TO_EL1, to X28 when there was nothing to execute, to the instruction
    after an SVC, else past the instruction."""
    to_el1 = (*set_register(16, _EL1H_MASKED), *assemble("msr spsr_el1, x16"), _ERET)
    elsewhere = (*assemble("msr elr_el1, x28"), *to_el1)
    past = (*assemble("mrs x16, elr_el1; add x16, x16, #4; msr elr_el1, x16"), _ERET)
    el0_ends = assemble(f"mrs x16, esr_el1; mov w17, #{TO_EL1}; cmp w17, w16, uxth")
    return (
        *assemble("mrs x16, esr_el1; lsr x17, x16, #26; cmp x17, #0x15"),
        _b_cond(_NE, 3 + len(el0_ends) + len(to_el1)),
        *el0_ends,
        _b_cond(_EQ, 2),
        _ERET,
        *to_el1,
        *assemble("cmp x17, #0xe; mov x16, #0x22; ccmp x17, x16, #4, ne"),
        _b_cond(_EQ, 4 + len(past)),
        *assemble("and x17, x17, #0x3e; cmp x17, #0x20"),
        _b_cond(_EQ, 1 + len(past)),
        *past,
        *elsewhere,
    )


_EQ, _NE = 0, 1


def _b_cond(condition: int, words: int) -> int:
    return 0x54000000 | (words & 0x7FFFF) << 5 | condition


@cache
def _interrupt() -> Words:
    """Acknowledged and ended, and the timer turned off."""
    here = set_register(16, GICC)
    take = f"ldr w17, [x16, #{_GIC_ACKNOWLEDGE}]; str w17, [x16, #{_GIC_END}]"
    return (*here, *assemble(f"msr cntv_ctl_el0, xzr; {take}"), _ERET)
