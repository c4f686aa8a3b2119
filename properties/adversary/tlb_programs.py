# SPDX-License-Identifier: Apache-2.0
"""Small programs at EL2 that change translations, a guest that looks at what it can reach then, and
a TLB that forgets nothing it may keep."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.plan import RATES
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.properties.machine.bare import RAM_SIZE, assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p

PAGES = tuple(p.DATA + n * 0x1000 for n in range(4))
"""PAs; each begins with its own number, counted from SECRET."""
SECRET = 0x5EC0
FAULT = 0xFA017
"""What a load that is not translated leaves in its register."""
IPAS = (p.IPA, p.IPA + 0x1000)
"""Mapped at the start to the first two pages."""
LIMIT = 100_000
NOWHERE = 0xF000_0000
"""IPA that is not mapped."""

FORGET_ALL = "tlbi alle1\n tlbi alle2\n dsb nsh\n isb\n"
"""What comes first: TLBs hold anything at reset."""

VISIT = f"""
    b visit
.balign 2048
    .space 0x400
    b visited
.balign 128
visit:
    adr x1, visit
    sub x1, x1, #0x480
    msr vbar_el2, x1
    {constant("x1", NOWHERE)}
    msr elr_el2, x1
    {constant("x1", 0x3C5)}
    msr spsr_el2, x1
    eret
visited:
    adr x1, begin
    sub x1, x1, #2048
    msr vbar_el2, x1
"""
"""Down to EL1, which has no code, and back: from here on stage 2 may be cached."""

_VECTORS = """
b begin
.balign 2048
{same}
.balign 128
b .
.balign 1024
    mrs x1, elr_el2
    add x1, x1, #4
    msr elr_el2, x1
    {marker}
    eret
.balign 2048
begin:
    adr x1, begin
    sub x1, x1, #2048
    msr vbar_el2, x1
"""
_SAME = """.balign 2048
    nop
.balign 512
    mrs x1, elr_el2
    add x1, x1, #4
    msr elr_el2, x1
    {marker}
    eret
"""


def load(register: str, address: int) -> str:
    """A load; FAULT if it takes an exception to EL2."""
    return f"{constant('x0', address)}\nldr x2, [x0]\nmov {register}, x2\n"


def guest(ipas: Sequence[int] = IPAS) -> bytes:
    """Load from each address, into X20 and up, and switch the machine off."""
    loads = "".join(load(f"x{20 + n}", ipa) for n, ipa in enumerate(ipas))
    return assemble(f"{loads}movz x0, #0x8400, lsl #16\n movk x0, #8\n smc #0\n b .")[64:]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended: what its loads found, None where it did not end."""

    found: tuple[int, ...] | None
    adversary: TlbAdversary
    machine: Machine

    def leaks(self, pa: int) -> bool:
        """Whether a load reached a page."""
        return self.found is not None and SECRET + PAGES.index(pa) in self.found


def boot(
    body: str,
    *,
    start: str = FORGET_ALL + p.STAGE2_ON + VISIT,
    ipas: Sequence[int] = IPAS,
    code: bytes | None = None,
    cpus: int = 1,
) -> Machine:
    """A machine about to run a program that goes down to a guest, which loads from `ipas`."""
    marker = constant("x2", FAULT)
    begin = _VECTORS.format(same=_SAME.format(marker=marker), marker=marker)
    image = assemble(f"{begin}{start}{body}{p.LEAVE}")
    machine = Machine(virt(RAM_SIZE, cpus=cpus), BootImage(image, len(image)), mmu=MmuMode.MODEL)
    p.load(machine)
    memory = machine.memory
    for number, pa in enumerate(PAGES):
        memory.write(pa, struct.pack("<Q", SECRET + number))
    memory.write(p.GUEST, code or guest(ipas))
    return machine


def finish(machine: Machine, count: int) -> tuple[int, ...] | None:
    """Run to the end; the first `count` of the registers from X20."""
    stop = machine.run(LIMIT)
    if stop.kind is not StopKind.SYSTEM_OFF:
        return None
    engine = machine.cpu.engine
    return tuple(engine.read(reg.X[20 + n]) for n in range(count))


def run(
    body: str,
    *,
    seed: int = 1,
    rate: int = RATES,
    start: str = FORGET_ALL + p.STAGE2_ON + VISIT,
    ipas: Sequence[int] = IPAS,
    code: bytes | None = None,
    count: int | None = None,
) -> Outcome:
    """Run a program against such a TLB."""
    machine = boot(body, start=start, ipas=ipas, code=code)
    adversary = TlbAdversary(machine, Choices(seed, rate))
    found = finish(machine, len(ipas) if count is None else count)
    return Outcome(found, adversary, machine)
