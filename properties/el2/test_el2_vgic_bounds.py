# SPDX-License-Identifier: Apache-2.0
"""INTIDs that the virtual GIC does not have, where an INTID is expected: nothing changes."""

from pathlib import Path

import keystone
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import format, manifest
from aether_edgecloud.emulator.bundle.manifest import (
    Device,
    DeviceKind,
    Image,
    Memory,
    Vm,
    Window,
)
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.toolchain import Artefact

BASE = 0x4000_0000
LIMIT = 5_000_000
UART = Device(DeviceKind.VPL011, 0x900_0000, 0x1000)
GIC = Device(DeviceKind.VGICV2, 0x800_0000, 0x1000, cpu_interface=Window(0x801_0000, 0x2000))

# All priorities 0xf8; then GICC_DIR and GICC_EOIR with every INTID from 96 on. x9 counts the words
# of priorities that are not what was written.
GUEST = """
    movz    x1, #0x800, lsl #16
    movz    x2, #0x801, lsl #16
    movz    w3, #0xf8f8
    movk    w3, #0xf8f8, lsl #16
    mov     x4, #0x400          // GICD_IPRIORITYR
priority:
    str     w3, [x1, x4]
    add     x4, x4, #4
    cmp     x4, #0x460
    b.lo    priority
    movz    w5, #0x201          // GICC_CTLR: on, EOImode
    str     w5, [x2]
    add     x6, x2, #0x1000
    mov     x4, #96
intid:
    str     w4, [x6]            // GICC_DIR
    str     w4, [x2, #0x10]     // GICC_EOIR
    add     x4, x4, #1
    cmp     x4, #1024
    b.lo    intid
    mov     x9, #0
    mov     x4, #0x400
look:
    ldr     w5, [x1, x4]
    cmp     w5, w3
    cinc    x9, x9, ne
    add     x4, x4, #4
    cmp     x4, #0x460
    b.lo    look
    add     x2, x9, #0x41       // A: none
    mov     x1, #1
    movz    x0, #0xc600, lsl #16
    movk    x0, #2              // AETHER_CONSOLE_WRITE
    hvc     #0
    movz    x0, #0x8400, lsl #16
    movk    x0, #8              // SYSTEM_OFF
    hvc     #0
"""


def run(el2: Artefact, assembly: str) -> Machine:
    """The machine after a VM with one vCPU, alone on it, has run this to its end."""
    code, _ = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN).asm(
        assembly, as_bytes=True
    )
    vm = Vm("test", 1, BASE, 0, (Memory(BASE, 1 << 20),), (Image(0, BASE),), (UART, GIC))
    tree = manifest.encode(manifest.Manifest((vm,), equal_shares([[0]])))
    bundle = format.pack(format.Bundle(tree, (format.Blob("image", code),)))
    machine = Machine(virt(64 << 20), BootImage.from_file(Path(el2.flat)), bundle)
    assert machine.run(until=LIMIT).kind is StopKind.SYSTEM_OFF
    return machine


def test_ends_of_interrupts_that_are_not_there_change_nothing(el2: Artefact) -> None:
    machine = run(el2, GUEST)
    lines = bytes(machine.console.output).decode("latin-1").split("\r\n")
    assert lines[2:] == ["A", "[aether] end: guest-off", ""]


LOADED_AT = 0x4020_0000
VMS = 8

# GICD_SGIR with every filter, all targets, and all reserved bits, for every SGI.
SENDS = """
    movz    x1, #0x800, lsl #16
    add     x1, x1, #0xf00
    mov     x4, #0
send:
    lsl     w5, w4, #24
    orr     w5, w5, #0xff0000
    orr     w5, w5, #0xf
    str     w5, [x1]
    add     x4, x4, #1
    cmp     x4, #256
    b.lo    send
    movz    x0, #0x8400, lsl #16
    movk    x0, #8
    hvc     #0
"""


def test_sgis_reach_vcpus_that_are_there_and_nothing_else(el2: Artefact) -> None:
    """Of the VMs that there are not, all is as it was at boot."""
    machine = run(el2, SENDS)
    with Path(el2.elf).open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        vms = next(symbol for symbol in table.iter_symbols() if symbol.name == "vms")
        start = LOADED_AT + vms["st_value"] - machine.board.ram_base
        size = vms["st_size"] // VMS
    memory = machine.memory.bytes
    assert any(memory[start : start + size])
    others = bytes(memory[start + size : start + VMS * size])
    assert others == bytes(len(others)), "written behind the VM"
