# SPDX-License-Identifier: Apache-2.0
"""What ran before on the machine, or goes wrong beside the guest, neither reaches a guest nor gives
it power over the hypervisor. In the emulator, where every state can be made."""

import struct
from pathlib import Path

import keystone
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from unicorn import arm64_const as uc

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import format, manifest
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Image, Memory, Vm
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.emulator.cpu.registers import FPCR, FPSR, CoreRegister
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.toolchain import Artefact

BASE = 0x4000_0000
UART = 0x900_0000
NO_DEVICE = 0xB00_0000
LOADED_AT = 0x4020_0000
RAM_SIZE = 64 << 20
LIMIT = 3_000_000
GICC_CTLR, GICD_CTLR, GICD_ISENABLER0 = 0x0, 0x0, 0x100
OFF = "\n movz x0, #0x8400, lsl #16\n movk x0, #8\n hvc #0\n"
RESET = "\n movz x0, #0x8400, lsl #16\n movk x0, #9\n hvc #0\n"


def guest(assembly: str) -> bytes:
    """A bundle whose VM runs this from its first byte on, with a UART at its usual place."""
    code, _ = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN).asm(
        assembly, as_bytes=True
    )
    uart = Device(DeviceKind.VPL011, UART, 0x1000)
    vm = Vm("test", 1, BASE, 0, (Memory(BASE, 1 << 20),), (Image(0, BASE),), (uart,))
    tree = manifest.encode(manifest.Manifest((vm,), equal_shares([[0]])))
    return format.pack(format.Bundle(tree, (format.Blob("image", code),)))


def machine_with(el2: Artefact, assembly: str) -> Machine:
    return Machine(virt(RAM_SIZE), BootImage.from_file(Path(el2.flat)), guest(assembly))


def lines(machine: Machine) -> list[str]:
    return bytes(machine.console.output).decode("latin-1").split("\r\n")


def test_a_guest_cannot_use_interrupts_that_firmware_left_enabled(el2: Artefact) -> None:
    machine = machine_with(
        el2,
        "mov x1, #1\n msr cntv_tval_el0, x1\n msr cntv_ctl_el0, x1\n mov x2, #1000\n"
        "again: sub x2, x2, #1\n cbnz x2, again" + OFF,
    )
    gic = machine.devices.gic
    gic.distributor.write(GICD_ISENABLER0, 4, 0xFFFFFFFF)
    gic.distributor.write(GICD_CTLR, 4, 1)
    gic.cpu_interface(0).write(0x4, 4, 0xFF)  # GICC_PMR: all priorities
    gic.cpu_interface(0).write(GICC_CTLR, 4, 1)
    assert machine.run(until=LIMIT).kind is StopKind.SYSTEM_OFF
    assert lines(machine)[1:] == ["[aether] vm test: start", "[aether] end: guest-off", ""]


DOUBLES = [CoreRegister(f"d{n}", uc.UC_ARM64_REG_D0 + n) for n in range(32)]


def test_fp_registers_are_zero_for_a_guest(el2: Artefact) -> None:
    machine = machine_with(el2, OFF)
    for register in (*DOUBLES, FPCR, FPSR):
        machine.cpu.engine.write(register, 0x0080_0001)
    assert machine.cpu.engine.read(DOUBLES[31]) == 0x0080_0001
    assert machine.run(until=LIMIT).kind is StopKind.SYSTEM_OFF
    assert [machine.cpu.engine.read(r) for r in (*DOUBLES, FPCR, FPSR)] == [0] * 34


def test_fp_registers_do_not_outlive_a_reset(el2: Artefact) -> None:
    machine = machine_with(
        el2,
        "mov x1, #0x300000\n msr cpacr_el1, x1\n isb\n fmov x2, d31\n mov x1, #8\n"
        "movz x0, #0xc600, lsl #16\n movk x0, #2\n hvc #0\n"  # AETHER_CONSOLE_WRITE
        "movz x3, #0x4141\n fmov d31, x3" + RESET,
    )
    machine.run(until=LIMIT)
    console = bytes(machine.console.output)
    assert console.count(b"vm test: reset\r\n" + bytes(8)) >= 2
    assert b"A" not in console.replace(b"Aether", b"")


def test_a_console_that_aborts_still_ends_in_power_off(el2: Artefact) -> None:
    machine = machine_with(el2, OFF)
    memory = bytes(machine.memory.bytes)
    reg = struct.pack(">QQ", UART, 0x1000)
    assert memory.count(reg) >= 1
    machine.memory.bytes[: len(memory)] = memory.replace(reg, struct.pack(">QQ", NO_DEVICE, 0x1000))
    assert machine.run(until=LIMIT).kind is StopKind.SYSTEM_OFF
    assert bytes(machine.console.output) == b""
    # The record is of the first exception, on the main stack, not of the one in its report.
    with Path(el2.elf).open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        at = {s.name: LOADED_AT + s["st_value"] for s in table.iter_symbols()}
    offset = at["panic_record"] - machine.board.ram_base + 31 * 8
    sp = int.from_bytes(bytes(machine.memory.bytes[offset : offset + 8]), "little")
    assert at["stack_start"] < sp < at["stack_end"]


def test_a_counter_without_a_frequency_is_refused(el2: Artefact) -> None:
    machine = machine_with(el2, OFF)
    machine.devices.timers[0].frequency = 0
    assert machine.run(until=LIMIT).kind is StopKind.SYSTEM_OFF
    assert lines(machine)[1].startswith("[aether] boot: timer: CNTFRQ_EL0 is 0; ")


@pytest.mark.parametrize(("bits", "store"), [(32, "str w1"), (16, "strh w1"), (8, "strb w1")])
def test_a_big_endian_guest_writes_the_byte_it_means(el2: Artefact, bits: int, store: str) -> None:
    machine = machine_with(
        el2,
        "mrs x2, sctlr_el1\n orr x2, x2, #0x2000000\n msr sctlr_el1, x2\n isb\n"  # EE
        f"mov x1, #{0x42 << (bits - 8):#x}\n movz x2, #0x900, lsl #16\n {store}, [x2]\n"
        "ldr w3, [x2, #0xff4]\n lsr w3, w3, #24\n cmp w3, #0xf0\n b.ne off\n"  # PCELLID1
        f"{store}, [x2]\n off:" + OFF,
    )
    assert machine.run(until=LIMIT).kind is StopKind.SYSTEM_OFF
    assert lines(machine)[2] == "BB"
