# SPDX-License-Identifier: Apache-2.0
"""A CPU that is stopped, read and written from outside: what is written is what it goes on with."""

from dataclasses import replace

import keystone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.arch.pstate import PState
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.core import Activity
from aether_edgecloud.properties.machine import bare

pytestmark = pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)

PIECE = 0x4040_0000
TABLE = 0x4050_0000
REST = "rest: wfi\n b rest\n"
WORDS = st.integers(0, (1 << 64) - 1)


def resting(mmu: MmuMode, piece: str = "nop", *, el: int = 1) -> Machine:
    """A machine whose CPU rests in WFI at `el`, with a piece of code that goes to rest too."""
    engine = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN)
    code, _ = engine.asm(f"{piece}\n{REST}", PIECE, as_bytes=True)
    machine = bare.boot(bare.program(REST, el=el), mmu, {PIECE: code})
    machine.on_wait = lambda number: True
    assert machine.run(bare.LIMIT).kind is StopKind.BREAK
    return machine


def go(machine: Machine) -> list[int]:
    """X0 to X30 when the piece has been executed."""
    machine.cpu.access.pc = PIECE
    stop = machine.run(machine.instructions + 1000)
    assert stop.kind is StopKind.BREAK, stop
    return machine.cpu.access.x


@settings(max_examples=15)
@given(st.lists(WORDS, min_size=31, max_size=31), st.integers(0, 30), WORDS)
def test_general_purpose_registers(mmu: MmuMode, values: list[int], one: int, word: int) -> None:
    machine = resting(mmu, "add x0, x1, x2\n mvn x3, x30")
    machine.cpu.access.write_all_x(values)
    machine.cpu.access.write_x(one, word)
    values[one] = word
    assert machine.cpu.access.x == values == machine.cpu.registers()[:31]
    x = go(machine)
    mask = (1 << 64) - 1
    assert (x[0], x[3]) == (values[1] + values[2] & mask, ~values[30] & mask)
    machine.close()


@pytest.mark.parametrize("el", [0, 1, 2])
@pytest.mark.parametrize("sp_sel", [0, 1])
def test_pstate_and_its_stack_pointer(mmu: MmuMode, el: int, sp_sel: int) -> None:
    """From EL2 to each level and back: the stack pointers are banked, flags and masks hold."""
    if el == 0 and sp_sel:
        return
    machine = resting(mmu, "mov x0, sp\n cset x1, eq\n cset x2, cs", el=2)
    access = machine.cpu.access
    home = access.pstate
    access.sp = 0x1000
    for level, select in ((0, 0), (1, 1), (2, 1)):
        access.pstate = PState(el=level, sp_sel=select)
        access.sp = 0x2000 + 0x100 * level
    access.write("SCTLR_EL1", access.read("SCTLR_EL1") | 1 << 16)  # nTWI: WFI at EL0 waits
    access.pstate = wanted = PState(nzcv=0b0110, daif=0b0010, el=el, sp_sel=sp_sel)
    assert access.pstate == wanted
    assert machine.cpu.current_el == el
    expected = 0x2000 + (0x100 * el if sp_sel else 0)
    assert access.sp == expected
    assert go(machine)[:3] == [expected, 1, 1]
    assert access.pstate == replace(wanted, nzcv=access.pstate.nzcv)
    access.pstate = home
    assert access.sp == 0x2200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VBAR_EL2", 0x4060_0000),
        ("TPIDR_EL1", 0x1234_5678_9ABC_DEF0),
        ("HCR_EL2", 1 << 31 | 1 << 7 | 1 << 3),  # RW, VI, FMO: Unicorn has a part of it
        ("CNTV_CVAL_EL0", 0x7777_0000_0000),
        ("CNTVOFF_EL2", 0x55),
        ("PMSELR_EL0", 3),
        ("VTTBR_EL2", 5 << 48 | TABLE),
    ],
)
def test_a_system_register_reads_as_it_was_written(mmu: MmuMode, name: str, value: int) -> None:
    machine = resting(mmu, f"mrs x0, {name}", el=2)
    machine.cpu.access.write(name, value)
    assert go(machine)[0] == value


def test_a_register_of_stage_1_takes_effect(mmu: MmuMode) -> None:
    """The MMU on, from outside; what is translated no longer holds when the tables are others."""
    machine = resting(mmu, "ldr x0, [x1]", el=1)
    access = machine.cpu.access
    block = 0x705  # AF, inner shareable, AttrIndx 1
    for table, target in ((TABLE, 0x4000_0000), (TABLE + 0x1000, 0x4060_0000)):
        rows = {1: 0x4000_0000 | block, 2: table + 0x4000 | 3}
        for index, row in rows.items():
            machine.write_pa(table + 8 * index, row.to_bytes(8, "little"))
        machine.write_pa(table + 0x4000, (target | block).to_bytes(8, "little"))
    machine.write_pa(0x4060_0000, b"elsewhere"[:8])
    access.write("MAIR_EL1", 0xFF00)
    access.write("TCR_EL1", 25 | 1 << 23 | 0x3500 | 1 << 32)
    access.write("TTBR0_EL1", TABLE)
    access.write("SCTLR_EL1", 0x30D0_0801)
    access.write_x(1, 0x8000_0000)
    first = go(machine)[0]
    assert first == int.from_bytes(machine.read_pa(0x4000_0000, 8), "little")
    access.write("TTBR0_EL1", 1 << 48 | TABLE + 0x1000)
    assert go(machine)[0].to_bytes(8, "little") == b"elsewher"


def test_a_timer_that_is_set_fires(mmu: MmuMode) -> None:
    machine = resting(mmu, "nop", el=1)
    machine.on_wait = None
    machine.cpu.access.write("CNTV_CVAL_EL0", machine.counter + 5_000)
    machine.cpu.access.write("CNTV_CTL_EL0", 1)
    machine.run(machine.instructions + 100)
    assert machine.counter > 5_000


def test_what_cannot_be_written_is_refused(mmu: MmuMode) -> None:
    access = resting(mmu).cpu.access
    for name in ("MIDR_EL1", "CNTPCT_EL0", "CurrentEL"):
        with pytest.raises(ValueError, match="cannot be written"):
            access.write(name, 1)
    for name in ("NO_SUCH_EL1",):
        with pytest.raises(KeyError):
            access.write(name, 1)
        with pytest.raises(KeyError):
            access.read(name)


def test_a_cpu_that_waits_can_be_woken(mmu: MmuMode) -> None:
    machine = resting(mmu, "mov x0, #77")
    machine.on_wait = None
    assert machine.run(bare.LIMIT).kind is StopKind.DEADLOCK
    assert machine._cores[0].activity is Activity.WAITING
    machine.cpu.access.pc = PIECE
    machine.wake(0)
    assert machine.run(bare.LIMIT).kind is StopKind.DEADLOCK
    assert machine.cpu.access.x[0] == 77


def test_a_guest_is_found_by_its_vmid_below_el2(mmu: MmuMode) -> None:
    machine = resting(mmu)
    machine.cpu.access.write("VTTBR_EL2", 3 << 48)
    assert machine.find_guest(3) == 0
    assert machine.find_guest(0) is None
    machine.cpu.access.pstate = PState(el=2)
    assert machine.find_guest(3) is None
