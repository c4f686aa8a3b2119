# SPDX-License-Identifier: Apache-2.0
"""After an instruction that EL2 emulates, the guest goes on behind it: once, and with what the
instruction leaves. The guest adds up the steps that it took, and says the sum as eight bytes."""

from pathlib import Path

import keystone
import pytest

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import format, manifest
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Image, Memory, Vm
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.toolchain import Artefact

BASE = 0x4000_0000
UART = 0x900_0000
IBRD = 0x24
RAM_SIZE = 64 << 20
LIMIT = 3_000_000

SAY = """
say:
    mov     x2, x9
    mov     x1, #8
    movz    x0, #0xc600, lsl #16
    movk    x0, #2              // AETHER_CONSOLE_WRITE
    hvc     #0
    movz    x0, #0x8400, lsl #16
    movk    x0, #8              // SYSTEM_OFF
    hvc     #0
"""

EMULATED = {
    "hvc": "movz x0, #0x8400, lsl #16\n hvc #0",
    "hvc-with-a-number": "hvc #7",
    "smc": "movz x0, #0x8400, lsl #16\n smc #0",
    "mrs": "mrs x0, id_aa64pfr0_el1",
    "msr": "msr mdscr_el1, xzr",
    "load": f"mov x1, #{UART:#x}\n ldr w0, [x1, #0x18]",
    "store": f"mov x1, #{UART:#x}\n str wzr, [x1, #{IBRD}]",
    "maintenance-of-nothing": "movz x1, #0xb00, lsl #16\n dc cvac, x1",
}


def said(el2: Artefact, assembly: str, *more: Device) -> int:
    """x9 at the end. The run has to end by itself."""
    code, _ = keystone.Ks(keystone.KS_ARCH_ARM64, keystone.KS_MODE_LITTLE_ENDIAN).asm(
        assembly + SAY, as_bytes=True
    )
    uart = Device(DeviceKind.VPL011, UART, 0x1000)
    vm = Vm("test", 1, BASE, 0, (Memory(BASE, 1 << 20),), (Image(0, BASE),), (uart, *more))
    tree = manifest.encode(manifest.Manifest((vm,), equal_shares([[0]])))
    bundle = format.pack(format.Bundle(tree, (format.Blob("image", code),)))
    machine = Machine(virt(RAM_SIZE), BootImage.from_file(Path(el2.flat)), bundle)
    end = machine.run(until=LIMIT).kind
    assert end is StopKind.SYSTEM_OFF, "the guest does not get to its end"
    console = bytes(machine.console.output)
    start = console.index(b"vm test: start\r\n") + len(b"vm test: start\r\n")
    return int.from_bytes(console[start : start + 8], "little")


@pytest.mark.parametrize("what", EMULATED)
def test_the_guest_goes_on_behind_it(el2: Artefact, what: str) -> None:
    steps = f"""
        mov     x9, #1
        {EMULATED[what]}
        add     x9, x9, #2
        add     x9, x9, #4
    """
    assert said(el2, steps) == 7


@pytest.mark.parametrize(("store", "kept"), [("strb", 0xCD), ("strh", 0xABCD), ("str", 0xABCD)])
def test_a_narrow_store_stores_what_is_narrow(el2: Artefact, store: str, kept: int) -> None:
    """UARTIBRD has 16 bits: of a byte store it gets 8."""
    steps = f"""
        mov     x1, #{UART:#x}
        add     x1, x1, #{IBRD}
        movz    w0, #0xabcd
        movk    w0, #0x1234, lsl #16
        {store} w0, [x1]
        ldr     w9, [x1]
    """
    assert said(el2, steps) == kept


TELEMETRY = Device(DeviceKind.TELEMETRY, 0xA00_0000, 0x1000)


def test_a_store_to_what_is_read_only_is_no_store_to_a_device(el2: Artefact) -> None:
    """A permission fault leaves HPFAR_EL2 UNKNOWN: here, with the page of the UART in it."""
    steps = f"""
        adr     x0, vectors
        msr     vbar_el1, x0
        isb
        mov     x9, #1
        mov     x1, #{UART:#x}
        str     wzr, [x1, #{IBRD}]
        mov     x1, #{TELEMETRY.ipa:#x}
        str     wzr, [x1]
        b       say
        .p2align 11
    vectors:
        .p2align 9
        nop
        .p2align 9
        mov     x9, #64
        b       say
    """
    assert said(el2, steps, TELEMETRY) == 64
