# SPDX-License-Identifier: Apache-2.0
"""A guest whose translation tables would lie in a device: the walk must not read its registers.

A read of GICC_IAR acknowledges an interrupt; HCR_EL2.PTW makes such a walk a permission fault of
stage 2, so that no table walk, speculative ones included, has an effect on a device.
"""

from pathlib import Path

import keystone

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
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.toolchain import Artefact

BASE = 0x4000_0000
GICC = 0x801_0000
RAM_SIZE = 64 << 20
LIMIT = 3_000_000

# The lower half of the address space is the memory, by a block; the upper half's table is the GICC.
GUEST = f"""
    adr     x0, vectors
    msr     vbar_el1, x0
    movz    x1, #0x4008, lsl #16
    movz    x2, #0x4000, lsl #16
    movk    x2, #0x701
    str     x2, [x1, #8]
    msr     ttbr0_el1, x1
    movz    x0, #{GICC >> 16:#x}, lsl #16
    msr     ttbr1_el1, x0
    movz    x0, #2, lsl #32
    movk    x0, #0x8019, lsl #16
    movk    x0, #0x19           // both halves 39 bits, so walks start at level 1; 4 KiB
    msr     tcr_el1, x0
    mov     x0, #0xff
    msr     mair_el1, x0
    isb
    mrs     x0, sctlr_el1
    orr     x0, x0, #1
    msr     sctlr_el1, x0
    isb
    mov     x1, #0xffffff8000000000
    ldr     x0, [x1]
    b       off
    .p2align 11
vectors:
    .p2align 9
    nop
    .p2align 9
    mrs     x2, esr_el1
    mov     x1, #8
    movz    x0, #0xc600, lsl #16
    movk    x0, #2              // AETHER_CONSOLE_WRITE
    hvc     #0
off:
    movz    x0, #0x8400, lsl #16
    movk    x0, #8              // SYSTEM_OFF
    hvc     #0
"""

EC_DATA_ABORT_SAME = 0x25
SYNCHRONOUS_EXTERNAL = 0x10


def test_a_walk_does_not_read_a_device(el2: Artefact) -> None:
    """It is an external abort. Were the registers read, they would be a descriptor: of a valid
    mapping, or not, as the interrupts are."""
    code, _ = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN).asm(
        GUEST, as_bytes=True
    )
    gic = Device(DeviceKind.VGICV2, 0x800_0000, 0x1000, cpu_interface=Window(GICC, 0x2000))
    uart = Device(DeviceKind.VPL011, 0x900_0000, 0x1000)
    vm = Vm("test", 1, BASE, 0, (Memory(BASE, 1 << 20),), (Image(0, BASE),), (uart, gic))
    tree = manifest.encode(manifest.Manifest((vm,), equal_shares([[0]])))
    bundle = format.pack(format.Bundle(tree, (format.Blob("image", code),)))
    image = BootImage.from_file(Path(el2.flat))
    machine = Machine(virt(RAM_SIZE), image, bundle, mmu=MmuMode.MODEL)
    assert machine.run(until=LIMIT).kind is StopKind.SYSTEM_OFF
    console = bytes(machine.console.output)
    start = console.index(b"vm test: start\r\n") + len(b"vm test: start\r\n")
    esr = int.from_bytes(console[start : start + 8], "little")
    assert esr >> 26 == EC_DATA_ABORT_SAME
    assert esr & 0x3F == SYNCHRONOUS_EXTERNAL, "the walk has read the device"
