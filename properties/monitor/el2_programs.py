# SPDX-License-Identifier: Apache-2.0
"""Small programs at EL2 that change a stage 2, or EL2's own tables, well or badly.

A program begins with a stage 2 tree of three levels that was there at reset, VMID 1, and stage 2
on. What it does then is its body; at the end it goes down to EL1, where the machine is switched
off.
"""

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.monitor.monitor import Monitor, Record
from aether_edgecloud.emulator.monitor.violation import Rule, Violation
from aether_edgecloud.properties.machine.bare import LOAD, RAM_SIZE, assemble, constant

LIMIT = 200_000

ROOT, L2, L3, SPARE, SPARE2, ROOT2, ROOT2_L2 = range(0x4100_0000, 0x4100_7000, 0x1000)
"""PAs of tables. The spare pages hold zeros and are not linked; the second root has EL1's code."""
EL2_ROOT, EL2_L2, EL2_L3, EL2_SPARE = range(0x4110_0000, 0x4110_4000, 0x1000)
POISONED = 0x4120_0000
"""PA of a page that is in no table and was not loaded."""
GUEST = 0x4080_0000
"""PA and IPA of EL1's code."""
DATA = 0x4200_0000
"""PA of what the test pages map."""
IPA = 0x4120_0000
"""Of the test pages: entries of L3, which is entry 9 of L2, which is entry 1 of ROOT."""
VA = 0x4320_0000
"""The same in EL2's own tables."""

PAGE_LEAF, BLOCK_LEAF, TABLE = 0x7FF, 0x7FD, 3
EL2_PAGE = 1 << 54 | 0x743  # XN, AF, inner shareable, AP[1] = 1, AttrIndx 0
EL2_BLOCK = 0x741
EXECUTABLE = 0x741
VTCR = 1 << 31 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 25
"""39-bit IPA from level 1, 40-bit PA."""
TCR = 1 << 31 | 1 << 23 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 25
HCR = 1 << 31 | 1
SCTLR_ON = 0x30C5_0831


def entry(table: int, index: int) -> int:
    """PA of an entry."""
    return table + 8 * index


def vttbr(root: int, vmid: int = 1) -> int:
    """VTTBR_EL2."""
    return vmid << 48 | root


def _words(entries: dict[int, int]) -> bytes:
    return b"".join(entries.get(n, 0).to_bytes(8, "little") for n in range(512))


def tables() -> dict[int, bytes]:
    """What RAM holds at reset."""
    guest = assemble_at_guest()
    return {
        ROOT: _words({1: L2 | TABLE}),
        L2: _words({4: GUEST | BLOCK_LEAF, 9: L3 | TABLE}),
        L3: _words({0: DATA | PAGE_LEAF, 1: DATA + 0x1000 | PAGE_LEAF}),
        ROOT2: _words({1: ROOT2_L2 | TABLE}),
        ROOT2_L2: _words({4: GUEST | BLOCK_LEAF}),
        EL2_ROOT: _words({0: EL2_BLOCK, 1: EL2_L2 | TABLE}),
        EL2_L2: _words(
            {
                **{n: 0x4000_0000 + (n << 21) | EXECUTABLE for n in range(32) if n != 25},
                25: EL2_L3 | TABLE,
            }
        ),
        EL2_L3: _words({0: DATA | EL2_PAGE, 1: DATA + 0x1000 | EL2_PAGE}),
        GUEST: guest,
    }


def assemble_at_guest() -> bytes:
    """Switch the machine off."""
    text = "movz x0, #0x8400, lsl #16\n movk x0, #8\n smc #0\n b ."
    return assemble(text)[64:]


def write(address: int, value: int) -> str:
    """A 64-bit store."""
    return f"{constant('x1', address)}\n{constant('x2', value)}\nstr x2, [x1]\n"


def msr(register: str, value: int) -> str:
    """A system register."""
    return f"{constant('x1', value)}\nmsr {register}, x1\n"


def tlbi(operation: str, address: int | None = None) -> str:
    """A TLBI; `address` in bytes."""
    if address is None:
        return f"tlbi {operation}\n"
    return f"{constant('x1', address >> 12)}\ntlbi {operation}, x1\n"


DSB_ISHST, DSB_ISH, DSB_NSH, ISB = "dsb ishst\n", "dsb ish\n", "dsb nsh\n", "isb\n"
FLUSH_ALL = f"{DSB_ISHST}{tlbi('vmalls12e1is')}{DSB_ISH}{ISB}"


def flush_ipa(ipa: int = IPA) -> str:
    """The whole sequence for one entry of the current VMID."""
    steps = (DSB_ISHST, tlbi("ipas2e1is", ipa), DSB_ISH, tlbi("vmalle1is"), DSB_ISH, ISB)
    return "".join(steps)


def flush_va(va: int = VA) -> str:
    """The same for EL2's own tables."""
    return f"{DSB_ISHST}{tlbi('vae2is', va)}{DSB_ISH}{ISB}"


STAGE2_ON = f"{msr('vtcr_el2', VTCR)}{msr('vttbr_el2', vttbr(ROOT))}{msr('hcr_el2', HCR)}{ISB}"
EL2_MMU_ON = (
    f"{msr('mair_el2', 0xFF)}{msr('tcr_el2', TCR)}{msr('ttbr0_el2', EL2_ROOT)}{ISB}"
    f"{msr('sctlr_el2', SCTLR_ON)}{ISB}"
)
LEAVE = f"{msr('elr_el2', GUEST)}{msr('spsr_el2', 0x3C5)}eret\nb .\n"


def boot(body: str, *, start: str = STAGE2_ON, end: str = LEAVE) -> Machine:
    """A machine about to run a program."""
    image = assemble(f"{start}{body}{end}")
    assert len(image) <= 4096
    machine = Machine(virt(RAM_SIZE), BootImage(image, len(image)), mmu=MmuMode.MODEL)
    load(machine)
    return machine


def load(machine: Machine) -> None:
    """Put the tables and EL1's code into RAM."""
    for pa, data in tables().items():
        offset = pa - machine.board.ram_base
        machine.memory.bytes[offset : offset + len(data)] = data


def run(
    body: str,
    *,
    start: str = STAGE2_ON,
    end: str = LEAVE,
    ignore: frozenset[Rule] = frozenset(),
) -> Violation | None:
    """Run a program to its end, or to the first violation."""
    machine = boot(body, start=start, end=end)
    monitor = Monitor(machine, ignore=ignore)
    stop = machine.run(LIMIT)
    # A program that goes nowhere after its mistake locks up before it can be stopped.
    ends = (StopKind.BREAK, StopKind.LOCKUP) if monitor.violation else (StopKind.SYSTEM_OFF,)
    assert stop.kind in ends, stop
    return monitor.violation


def record(body: str, *, start: str = STAGE2_ON) -> Monitor:
    """Run a program with every event kept."""
    machine = boot(body, start=start)
    monitor = Monitor(machine, record=Record.EVENTS)
    stop = machine.run(LIMIT)
    assert stop.kind is StopKind.SYSTEM_OFF, stop
    return monitor


def rule_of(body: str, *, start: str = STAGE2_ON, end: str = LEAVE) -> Rule | None:
    """The rule that a program breaks first."""
    violation = run(body, start=start, end=end)
    return None if violation is None else violation.rule


CODE = LOAD
