# SPDX-License-Identifier: Apache-2.0
"""Two vCPUs of one VM on one CPU, with one VMID and one ASID, but tables of their own: each sees
its own memory. On a machine on which each has a CPU for itself, nothing else could happen."""

from pathlib import Path

import keystone

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.bundle.description import (
    Description,
    DtbChoice,
    ImageBytes,
    ScheduleDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.monitor.events import EventKind
from aether_edgecloud.emulator.monitor.monitor import Monitor, Record
from aether_edgecloud.emulator.toolchain import Artefact

BASE = 0x4000_0000
LIMIT = 20_000_000
ROUNDS = 0x4_0000
"""Of a vCPU: more than a slot of 5 ms holds."""
SWITCHES = 6

# Level 1: entry 1 maps the memory to itself, entry 2 leads to level 2, which maps 2 MiB.
GUEST = f"""
    mov     x19, #0             // which vCPU
    movz    x20, #0x4010, lsl #16
    // Table n of 0x40100000: 0 and 1 of vCPU 0, 2 and 3 of vCPU 1.
    movz    x1, #0x4000, lsl #16
    movk    x1, #0x701
    str     x1, [x20, #8]
    movz    x2, #0x2000
    add     x3, x20, x2
    str     x1, [x3, #8]
    movz    x4, #0x4010, lsl #16
    movk    x4, #0x1003
    str     x4, [x20, #16]
    movk    x4, #0x3003
    str     x4, [x3, #16]
    movz    x5, #0x1000
    add     x6, x20, x5
    str     x1, [x6]            // vCPU 0: the first 2 MiB
    add     x6, x3, x5
    movz    x7, #0x4020, lsl #16
    movk    x7, #0x701
    str     x7, [x6]            // vCPU 1: the second
    movz    x8, #0x401f, lsl #16
    mov     x9, #1
    str     x9, [x8]            // what vCPU 0 is to see, and what vCPU 1
    movz    x8, #0x403f, lsl #16
    mov     x9, #2
    str     x9, [x8]
    movz    x0, #0xc400, lsl #16
    movk    x0, #3              // CPU_ON
    mov     x1, #1
    adr     x2, second
    mov     x3, #0
    hvc     #0
    mov     x21, #1
    b       both
second:
    mov     x19, #1
    movz    x20, #0x4010, lsl #16
    movk    x20, #0x2000
    mov     x21, #2
both:
    mov     x0, #0xff
    msr     mair_el1, x0
    movz    x0, #2, lsl #32
    movk    x0, #0x3519         // T0SZ 25; walks Inner Shareable, Write-Back
    msr     tcr_el1, x0
    msr     ttbr0_el1, x20
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    mrs     x0, sctlr_el1
    orr     x0, x0, #1
    msr     sctlr_el1, x0
    isb
    movz    x1, #0x801f, lsl #16
    movz    x2, #{ROUNDS >> 16:#x}, lsl #16
    mov     x9, #0
again:
    ldr     x3, [x1]
    cmp     x3, x21
    cinc    x9, x9, ne
    sub     x2, x2, #1
    cbnz    x2, again
    movz    x4, #0x4010, lsl #16
    movk    x4, #0x4000
    mov     x5, #1
    add     x9, x9, x5          // so that 0 says: not there yet
    str     x9, [x4, x19, lsl #3]
    cbnz    x19, off
wait:
    ldr     x5, [x4, #8]
    cbz     x5, wait
    mov     x2, x9
    mov     x3, x5
    mov     x1, #16
    movz    x0, #0xc600, lsl #16
    movk    x0, #2              // AETHER_CONSOLE_WRITE
    hvc     #0
off:
    movz    x0, #0x8400, lsl #16
    movk    x0, #2              // CPU_OFF
    hvc     #0
"""


def test_each_sees_what_its_own_tables_map(el2: Artefact) -> None:
    code, _ = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN).asm(
        GUEST, as_bytes=True
    )
    vm = VmDescription(
        name="test",
        memory=(Memory(BASE, 4 << 20),),
        images=(ImageBytes("test", code, BASE),),
        vcpus=2,
        cpus=(0, 0),
        devices=(DeviceKind.VPL011, DeviceKind.VGICV2),
        dtb=DtbChoice.NONE,
    )
    bundle = build(Description((vm,), ScheduleDescription()), where="one VM")
    image = BootImage.from_file(Path(el2.flat))
    machine = Machine(virt(64 << 20), image, bundle, mmu=MmuMode.MODEL)
    monitor = Monitor(machine, record=Record.EVENTS)
    assert machine.run(until=LIMIT).kind is StopKind.SYSTEM_OFF
    console = bytes(machine.console.output)
    start = console.index(b"vm test: start\r\n") + len(b"vm test: start\r\n")
    seen = [int.from_bytes(console[start + 8 * i : start + 8 * i + 8], "little") for i in (0, 1)]
    assert seen == [1, 1], "a vCPU has seen what the other's tables map"
    # The emulator's TLB tells the two apart by their tables; a real one does not.
    invalidated = [e for e in monitor.events if e.kind is EventKind.TLBI and e.name == "vmalle1"]
    assert len(invalidated) >= SWITCHES, "no TLBI between two vCPUs"
